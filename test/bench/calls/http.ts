/** A plain Node HTTP server for POSTed JSON, connections kept alive, without a framework's cost and without a log. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export async function serveJson(
  answer: (request: IncomingMessage, response: ServerResponse, body: unknown) => Promise<void>,
): Promise<{ address: string; stop(): Promise<void> }> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    try {
      await answer(request, response, text === "" ? undefined : JSON.parse(text));
    } catch (error) {
      console.error(error);
      response.writeHead(500).end();
    }
  });
  // A pause between two rounds must not close the connections.
  server.keepAliveTimeout = 120_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

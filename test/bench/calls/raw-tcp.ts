/** The floor: length-prefixed frames over one TCP connection, not encrypted. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { createEchoCaller, serveEcho, type BytePipe } from "./frames.ts";
import type { System } from "./system.ts";

export const rawTcp: System = {
  async startCallee() {
    const server = createServer({ noDelay: true }, (socket) => serveEcho(pipeOf(socket)));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return {
      address: String((server.address() as AddressInfo).port),
      async stop() {
        server.close();
      },
    };
  },
  async startCaller(address) {
    const socket = connect({ host: "127.0.0.1", port: Number(address), noDelay: true });
    await once(socket, "connect");
    return {
      encrypter: "none",
      call: createEchoCaller(pipeOf(socket)),
      async stop() {
        socket.destroy();
      },
    };
  },
};

function pipeOf(socket: Socket): BytePipe {
  return { write: (bytes) => socket.write(bytes), onData: (receive) => socket.on("data", receive) };
}

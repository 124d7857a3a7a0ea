/** MCP by its own SDK, streamable HTTP with JSON answers, one session: a tool that returns its argument. */
import { randomUUID } from "node:crypto";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { CallToolRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { serveJson } from "./http.ts";
import type { System } from "./system.ts";

export const mcpHttp: System = {
  async startCallee() {
    const server = new Server({ name: "echo", version: "1" }, { capabilities: { tools: {} } });
    server.setRequestHandler(CallToolRequestSchema, ({ params }) => ({
      content: [{ type: "text", text: String(params.arguments?.["text"]) }],
    }));
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, enableJsonResponse: true });
    await server.connect(transport);
    return serveJson((request, response, body) => transport.handleRequest(request, response, body));
  },
  async startCaller(address) {
    const client = new Client({ name: "bench", version: "1" });
    await client.connect(new StreamableHTTPClientTransport(new URL(address)));
    return {
      encrypter: "none",
      async call(payload) {
        const result = await client.callTool({ name: "echo", arguments: { text: payload } });
        return (result.content as { text: string }[])[0]!.text;
      },
      stop: () => client.close(),
    };
  },
};

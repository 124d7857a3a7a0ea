/**
 * A real MCP server over stdio with side effects that can be counted: `append` adds one line to the file of its first argument,
 * then waits until `<file>.go` exists (or for ever) before it answers.
 */
import { appendFileSync, existsSync } from "node:fs";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: counter-server.ts FILE");

const server = new McpServer({ name: "counter", version: "1" });
server.registerTool("append", { description: "Adds a line, then waits until it may answer." }, async () => {
  appendFileSync(file, "once\n");
  while (!existsSync(`${file}.go`)) await new Promise((later) => setTimeout(later, 20));
  return { content: [{ type: "text", text: "appended" }] };
});
server.registerTool("hello", { description: "Answers at once." }, () => ({
  content: [{ type: "text", text: "hello" }],
}));
await server.connect(new StdioServerTransport());
// Its node was killed: nobody waits for an answer, and nobody else would end this process.
process.stdin.once("end", () => process.exit());

/** What is called in the benches: a tool that says what it was told, through the same path as every other. */
import type { Tool } from "../../../node/tools/registry.ts";

export const ECHO = "bench.echo";

export function echoTool(readOnly: boolean): Tool {
  return {
    name: ECHO,
    description: "Says what it was told.",
    readOnly,
    for: "members",
    onShare: false,
    inputSchema: {
      type: "object",
      properties: { text: { type: "string" } },
      required: ["text"],
      additionalProperties: false,
    },
    run: ({ args }) => Promise.resolve({ content: [{ type: "text", text: args["text"] as string }], isError: false }),
  };
}

/** What a tool is, to caller and callee: MCP's tool with kin's own declarations. */

/** JSON; travels as text because DAG-CBOR here carries no floats (F1). */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface ToolDescription {
  /** `git.log`, `fs.read`, `everything.echo`. */
  name: string;
  description: string;
  /** JSON Schema (2020-12) of the arguments, an object schema. */
  inputSchema: { [key: string]: Json };
  /** True: running it twice changes nothing; such a call does not wait for the disk (§6). */
  readOnly: boolean;
}

/** One piece of a tool's answer, in MCP's words. */
export type ToolContent =
  | { type: "text"; text: string }
  | { type: "blob"; hash: string; bytes: number; mediaType: string; name?: string };

export interface ToolResult {
  content: ToolContent[];
  structured?: Json | undefined;
  /** True: the tool ran and says that it failed. */
  isError: boolean;
}

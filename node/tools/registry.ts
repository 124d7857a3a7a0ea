/**
 * What a tool is on this machine, and the table of them. Built-in tools are here from the start; those of MCP servers come and go.
 */
import type { PersonId } from "../../protocols/ids.ts";
import type { Json, ToolDescription, ToolResult } from "../../protocols/tool.ts";
import type { Right, RightFor, Share } from "../guard/authorize.ts";
import { KinError } from "../../protocols/errors.ts";
import { TOOL_NAME_PATTERN } from "../../protocols/limits.ts";
import { createValidator } from "./validate.ts";

export type Arguments = { [key: string]: Json };

/** A text among arguments that fit the schema; empty if it is absent. */
export function textArgument(args: Arguments, name: string): string {
  const value = args[name];
  return typeof value === "string" ? value : "";
}

/** What a running tool knows of its call. */
export interface ToolContext {
  args: Arguments;
  /** The share that the asker may read and asked about; null for tools that need none. */
  share: Share | null;
  person: PersonId;
}

export interface Tool extends ToolDescription {
  for: RightFor;
  /** True: runs on one share, given by the argument `share` or by there being only one. */
  onShare: boolean;
  run(context: ToolContext, signal: AbortSignal): Promise<ToolResult>;
}

/** Tools that one node may have; a server that lists more is cut there. */
export const MAX_TOOLS = 1000;

export interface RegisteredTool extends Tool {
  right: Right;
  /** @throws KinError INVALID_ARGUMENTS that names the argument, its value and what is expected. */
  validate(args: Arguments): void;
}

export interface Registry {
  /** @throws KinError NAME_TAKEN if another tool has the name; INVALID_ARGUMENTS if name or schema can't be used. */
  add(tool: Tool): void;
  remove(name: string): void;
  find(name: string): RegisteredTool | undefined;
  /** By name. */
  all(): RegisteredTool[];
}

export function createRegistry(): Registry {
  const tools = new Map<string, RegisteredTool>();
  return {
    add(tool) {
      checkName(tool.name, tools);
      const right: Right = { kind: "tool", name: tool.name, for: tool.for, onShare: tool.onShare };
      tools.set(tool.name, { ...tool, right, validate: createValidator(tool) });
    },
    remove: (name) => void tools.delete(name),
    find: (name) => tools.get(name),
    all: () => [...tools.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  };
}

/** Two tools that only differ in case would be taken for each other by a person (J4). */
function checkName(name: string, tools: ReadonlyMap<string, RegisteredTool>): void {
  if (!TOOL_NAME_PATTERN.test(name))
    throw new KinError("INVALID_ARGUMENTS", `"${name}" can't name a tool: expected a dotted name such as git.log`);
  if (tools.size >= MAX_TOOLS)
    throw new KinError("OVERLOADED", `tool "${name}" is left out: this node already has ${MAX_TOOLS} tools`);
  const twin = [...tools.keys()].find((known) => known.toLowerCase() === name.toLowerCase());
  if (twin !== undefined) throw new KinError("NAME_TAKEN", `tool "${name}" is left out: there is a tool "${twin}"`);
}

/** All tools of this node: built-in ones, those of MCP servers, and those that an agent brings. */
import type { Time } from "../../protocols/effects.ts";
import type { ToolResult } from "../../protocols/tool.ts";
import type { RecordAudit } from "../guard/audit.ts";
import type { Asker, Decision, Share } from "../guard/authorize.ts";
import type { ToolCall, ToolPath } from "./call.ts";
import type { McpServer } from "./mcp-client.ts";
import type { Arguments, RegisteredTool, Tool } from "./registry.ts";
import type { ShareLimits } from "./share.ts";
import { fileTools } from "./builtin/file.ts";
import { gitTools } from "./builtin/git.ts";
import { timeTool } from "./builtin/time.ts";
import { callTool, decide } from "./call.ts";
import { createMcpClients } from "./mcp-client.ts";
import { createRegistry } from "./registry.ts";

export interface ToolsDeps {
  /** Read at every call: what was shared a moment ago counts. */
  shares: () => readonly Share[];
  mcpServers: { [name: string]: McpServer };
  /** Appends to the here chain. */
  record: RecordAudit;
  /** Where kin keeps its own files: never served, whatever is shared. */
  limits: ShareLimits;
  /** What MCP tools said of themselves when they were first seen. */
  pinsFile: string;
  time: Time;
  /** Tools came or went: cards are to be made anew. */
  onChange?: () => void;
  /** A record of a read-only call could not be written. */
  onAuditLost: (error: unknown) => void;
}

export interface Tools {
  shares: () => readonly Share[];
  limits: ShareLimits;
  /** @throws KinError, see `callTool`. */
  call(call: ToolCall, signal: AbortSignal): Promise<ToolResult>;
  find(name: string): RegisteredTool | undefined;
  decide(asker: Asker, tool: RegisteredTool, args: Arguments): Decision;
  all(): RegisteredTool[];
  /** @throws KinError NAME_TAKEN */
  add(tool: Tool): void;
  /** Resolves when MCP servers that were never seen have told their tools. */
  learned: Promise<void>;
  problems(): string[];
  /** @throws KinError NOT_FOUND */
  approve(tool: string): Promise<void>;
  close(): Promise<void>;
}

/** @throws KinError CORRUPT if the pins can't be read. */
export async function createTools(deps: ToolsDeps): Promise<Tools> {
  const registry = createRegistry();
  for (const tool of [...fileTools(deps.limits), ...gitTools(deps.limits), timeTool(deps.time)]) registry.add(tool);
  const { mcpServers: servers, pinsFile, time, shares, record } = deps;
  const mcp = await createMcpClients({ servers, registry, pinsFile, time, onChange: deps.onChange ?? (() => {}) });
  const path: ToolPath = { registry, shares, record, time, onAuditLost: deps.onAuditLost };
  return {
    shares,
    limits: deps.limits,
    call: (call, signal) => callTool(path, call, signal),
    find: (name) => registry.find(name),
    decide: (asker, tool, args) => decide(path, asker, tool, args),
    all: () => registry.all(),
    add: (tool) => registry.add(tool),
    learned: mcp.learned,
    problems: () => mcp.problems(),
    approve: (tool) => mcp.approve(tool),
    close: () => mcp.close(),
  };
}

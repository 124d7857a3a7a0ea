/**
 * The one tool path: every call of a tool, by whom and for what ever, goes through `callTool`.
 *
 *   audit started → authorize → validate → run (deadline, bounded output) → audit ended
 *
 * A read-only call does not wait for the disk: its records ride in the next group commit. One with side effects starts only
 * after its record is durable. A refusal has both records too.
 */
import type { Time } from "../../protocols/effects.ts";
import type { ToolResult } from "../../protocols/tool.ts";
import type { AuditCaller, AuditEnded, AuditRecord, AuditStarted, RecordAudit } from "../guard/audit.ts";
import type { Asker, Decision, Share } from "../guard/authorize.ts";
import type { Arguments, RegisteredTool, Registry } from "./registry.ts";
import { KinError, tellableReason } from "../../protocols/errors.ts";
import { argumentsHash } from "../guard/audit.ts";
import { authorize } from "../guard/authorize.ts";
import { ANSWER_BOUNDS, boundResult, STEP_BOUNDS } from "./output.ts";

/** A tool that names no other bound ends after this. A call's own deadline may be sooner, never later. */
export const TOOL_TIMEOUT_MS = 60_000;
/** A share's name in an audit record. */
const MAX_RECORDED_NAME = 64;

export interface ToolCall {
  asker: Asker;
  caller: AuditCaller;
  /** Envelope id, hex. */
  call: string;
  tool: string;
  args: Arguments;
}

export interface ToolPath {
  registry: Registry;
  shares: () => readonly Share[];
  record: RecordAudit;
  time: Time;
  /** What the records could not be written for; the call of a read-only tool goes on. */
  onAuditLost: (error: unknown) => void;
}

/** @throws KinError NOT_FOUND, DENIED, SHARE_NEEDED, INVALID_ARGUMENTS, DEADLINE_EXCEEDED, CANCELLED, TOOL_FAILED */
export async function callTool(path: ToolPath, call: ToolCall, signal: AbortSignal): Promise<ToolResult> {
  const began = path.time.monotonic();
  const tool = path.registry.find(call.tool);
  const waits = tool !== undefined && !tool.readOnly;
  await record(path, waits, started(path, call));
  try {
    if (tool === undefined) throw new KinError("NOT_FOUND", `there is no tool "${call.tool}" here`);
    const share = allowed(decide(path, call.asker, tool, call.args));
    tool.validate(call.args);
    const bounds = call.asker.through === null ? ANSWER_BOUNDS : STEP_BOUNDS;
    const result = boundResult(await runBounded(path.time, tool, call, share, signal), bounds);
    await record(path, waits, ended(path, call, result.isError ? "tool-error" : "ok", began));
    return result;
  } catch (thrown) {
    const error =
      thrown instanceof KinError
        ? thrown
        : new KinError("TOOL_FAILED", `${call.tool}: ${tellableReason(thrown)}`, { cause: thrown });
    await record(path, waits, ended(path, call, error.code, began));
    throw error;
  }
}

/** Whether this call would be let in; nothing is run or recorded. */
export function decide(path: Pick<ToolPath, "shares">, asker: Asker, tool: RegisteredTool, args: Arguments): Decision {
  // A tool that isn't on a share may have an argument of its own that is called `share`.
  const name = tool.onShare ? args["share"] : undefined;
  if (name !== undefined && typeof name !== "string")
    return {
      allowed: false,
      code: "INVALID_ARGUMENTS",
      message: `${tool.name}: "share" must be the name of a share, got ${JSON.stringify(name).slice(0, 60)}`,
    };
  return authorize(asker, tool.right, name, path.shares());
}

function allowed(decision: Decision): Share | null {
  if (decision.allowed) return decision.share;
  throw new KinError(decision.code, decision.message, { hint: decision.hint });
}

async function runBounded(
  time: Time,
  tool: RegisteredTool,
  call: ToolCall,
  share: Share | null,
  signal: AbortSignal,
): Promise<ToolResult> {
  // One controller for both ends: `AbortSignal.any` costs more than the rest of a short call.
  const stop = new AbortController();
  const both = stop.signal;
  const pass = (): void => stop.abort(signal.reason);
  if (signal.aborted) pass();
  signal.addEventListener("abort", pass, { once: true });
  const cancel = time.after(TOOL_TIMEOUT_MS, () => stop.abort(lateness(tool)));
  try {
    both.throwIfAborted();
    // The race lets a tool that ignores its signal hang without holding the call.
    return await Promise.race([tool.run({ args: call.args, share, person: call.asker.person }, both), aborted(both)]);
  } catch (error) {
    if (!both.aborted) throw error;
    throw both.reason instanceof KinError
      ? both.reason
      : new KinError("CANCELLED", `${tool.name} was cancelled`, { cause: error });
  } finally {
    cancel();
    signal.removeEventListener("abort", pass);
  }
}

/** Made when it is needed: an error costs its stack. */
function lateness(tool: RegisteredTool): KinError {
  return new KinError("DEADLINE_EXCEEDED", `${tool.name} took longer than ${TOOL_TIMEOUT_MS / 1000} s and was stopped`);
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
}

async function record(path: ToolPath, waits: boolean, what: AuditRecord): Promise<void> {
  const written = waits ? path.record(what) : path.record(what, "soon");
  if (waits) await written;
  else written.catch(path.onAuditLost);
}

function started(path: ToolPath, call: ToolCall): AuditStarted {
  const share = call.args["share"];
  return {
    event: "started",
    at: path.time.now(),
    call: call.call,
    caller: call.caller,
    target: `tools/${call.tool}`,
    through: call.asker.through,
    share: typeof share === "string" ? share.slice(0, MAX_RECORDED_NAME) : null,
    arguments: argumentsHash(call.args),
  };
}

const REFUSALS: ReadonlySet<string> = new Set(["DENIED", "SHARE_NEEDED", "NOT_FOUND", "INVALID_ARGUMENTS"]);

function ended(path: ToolPath, call: ToolCall, outcome: string, began: number): AuditEnded {
  return {
    event: REFUSALS.has(outcome) ? "refused" : "ended",
    at: path.time.now(),
    call: call.call,
    caller: call.caller,
    target: `tools/${call.tool}`,
    through: call.asker.through,
    outcome,
    ms: Math.round(path.time.monotonic() - began),
  };
}

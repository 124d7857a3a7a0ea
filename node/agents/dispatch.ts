/**
 * One door for local, remote and gateway calls: who may, once only, how deep, how long; then the tool or the agent runs.
 */
import type { PersonId } from "../../protocols/ids.ts";
import type { CallOutcome, CallTarget, IncomingCall, Part } from "../../protocols/invoke.ts";

/** What dispatch can run: an agent of this machine, or one of its tools. */
export interface Runnable {
  /** False: side effects, so the call is durable before it starts (§6). */
  readOnly: boolean;
  /** Default deny. The arguments matter: a share is for some people only. @throws KinError INVALID_ARGUMENTS, SHARE_NEEDED, NOT_FOUND */
  mayCall(person: PersonId, args: IncomingCall["request"]["arguments"]): boolean;
  /** `emit` sends progress and resolves when there is room for more. @throws KinError; anything else becomes TOOL_FAILED or AGENT_FAILED */
  run(call: IncomingCall, emit: (parts: Part[]) => Promise<void>, signal: AbortSignal): Promise<CallOutcome>;
}

export type FindRunnable = (target: CallTarget) => Runnable | undefined;

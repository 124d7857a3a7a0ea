/**
 * `/kin/invoke/1`: one long-lived stream per peer pair carries all calls of both directions as frames.
 *
 *   caller                                        callee
 *     │ request  c=1 ───────────────────────────▶ │  checks (below), authorizes, makes it durable if it has side effects
 *     │ ◀──────────────────────── accepted c=1 n=0 │  a signed receipt; or `refused` c=1, and the call is over
 *     │ ◀──────────────────────── progress c=1 n=1 │
 *     │ ack [1, 2] ─────────────────────────────▶ │  "of call 1 I have used everything below 2"
 *     │ ◀──────────────────────── progress c=1 n=2 │
 *     │                   ✂  the connection breaks, the callee works on and keeps what was not acknowledged
 *     │ resume   c=1 from 3 (new stream) ───────▶ │
 *     │ ◀──────────────────────── progress c=1 n=3 │
 *     │ ◀────────────── result n=4 or failure n=4 │
 *     │ ack [1, 5] ─────────────────────────────▶ │  the callee forgets the call
 *     │ cancel   c=2 (any time) ────────────────▶ │  the call that its `re` names ends with failure CANCELLED
 *
 * The stream. Either peer may open it; ahead of the first call, right after hello, the one with the smaller device id does. If
 * both did, both are served and either may carry anything. Frames are `varint length ‖ DAG-CBOR` (F1). A frame that does not follow this page ends its stream, and
 * nothing else: calls in flight are resumed on another stream.
 *
 * A frame is a map:
 *   t  text   request | cancel | resume        said by the caller
 *             accepted | refused | progress | result | failure   said by the callee
 *             ack                              said by the caller
 *   c  uint   (all but ack) the number of the call on this stream. The side that calls draws it: 1, 2, 3 …, strictly
 *             rising over its request, resume and cancel frames on this stream. Both sides count for themselves: whose number
 *             it is follows from `t`. An answer carries the number of the request or resume that it answers.
 *   e  map    (all but ack) the sealed envelope: {b: envelope bytes, k: key, s: signature, p?: path}, its `kind` is "invoke/" + t
 *   a  array  (ack only) [c, n, c, n, …], at most 256 pairs: of call c every event with an index below n has been used
 *
 * The envelopes (`envelope.ts`). Those of the caller have `boot` = the callee's boot id as its hello said it, and
 * `to` = [person, device, name of the agent or tool]. Those of the callee have `to` = the request's `from`.
 * `re` is the id (leaf hash) of the request in every envelope but the request itself. Bodies: `invoke-bodies.ts`.
 * Who signs: an agent's accepted, progress and result are `from` [person, device, agent], signed with the agent's key. A
 * tool speaks with its device's voice: `from` [person, device, null], signed with the device's key. `refused` is always the
 * device's (there may be no such agent); `failure` may be either's.
 *
 * Numbers. Events of a call have the indexes 0, 1, 2 … without a gap: accepted is 0, the last is one result or one failure.
 * `refused` has none: it comes instead of `accepted`, or as the answer to a cancel or a resume that was not granted.
 *
 * The callee checks a request in this order and answers the first failure with `refused`: signature and whose key it is
 * (BAD_SIGNATURE), `from` is the peer of this stream (BAD_REQUEST), mesh (WRONG_MESH), `to` is me (BAD_REQUEST), boot
 * (WRONG_BOOT, R11), clocks (CLOCK_SKEW, EXPIRED; exp − iat ≤ 10 min), member (NOT_A_MEMBER), (person, id) not seen in this
 * boot (REPLAYED; OVERLOADED when that person's table is full), body (BAD_REQUEST), calls in flight
 * (OVERLOADED), rights (DENIED, NOT_FOUND, …), chain and depth (LOOP, TOO_DEEP), deadline, key. Cancel and resume pass the same checks and must be signed by the key that
 * signed the request, from the same `from` (DENIED).
 *
 * Flow control. The callee has at most 32 events, or 256 KiB of envelopes (one may be larger), of a call that the caller
 * has not acknowledged; then that call waits, alone. The caller acknowledges after every 8 events or 64 KiB that it has used,
 * and the last event ahead of its next request, at the latest after 20 ms.
 *
 * Resume. A stream that breaks ends no call. The caller opens another and sends resume, `from` = the next index it has not
 * got (it acknowledges nothing: an ack follows). The callee answers with the events from there on. If it no longer has the call:
 *   it never saw the request in this boot                           refused NOT_FOUND: send the same request again
 *   it has a durable record of how the call ended                   the result or failure, with index `from`
 *   else                                                            failure OUTCOME_UNKNOWN, with index `from` (R8, R11)
 * With from = 0 a recorded result follows an accepted (0, 1), and a failure is said as `refused`, as always at index 0.
 *
 * Time. `deadline` travels as remaining ms and counts from arrival. A wall clock that is more than 5 min off fails calls
 * (CLOCK_SKEW); so that a smaller error does no harm, the caller signs exp = iat + min(10 min, deadline + 5 min).
 *
 * Once (R8). A request carries an idempotency key, scoped to the caller's person. A retry is a new envelope with the same
 * key and the same target, parts and arguments; `retry` names the first request's id and iat. The callee joins it to the call
 * that runs, answers it from the record, says OUTCOME_UNKNOWN if it was started and nobody knows how it ended, or
 * INVALID_ARGUMENTS if key and content do not belong together.
 */
import { KinError } from "./errors.ts";
import { MAX_CALL_DEPTH } from "./limits.ts";
import type { EnvelopeId, MeshId, PersonId, DeviceId } from "./ids.ts";
import type { Sealed } from "./signature.ts";
import type { Sender } from "./envelope.ts";
import type { ErrorShape } from "./errors.ts";
import type { Json, ToolResult } from "./tool.ts";

/** A part of a message or an artifact, in A2A 1.0's words. */
export type Part =
  | { text: string }
  | { data: Json }
  /** SHA-256 in hex, bytes, media type: fetched by /kin/blob/1 (F6). */
  | { blob: { hash: string; bytes: number; mediaType: string; name?: string | undefined } };

export type CallTarget = { agent: string } | { tool: string };

/** What a call costs at most. Absent: the callee's own bounds. */
export interface Budget {
  tokens?: number | undefined;
  /** Millionths of a US dollar. */
  costMicros?: number | undefined;
  /** Delegations still allowed below this call. */
  depth: number;
}

/** A link of the delegation chain; the first is who asked originally. */
export interface ChainLink {
  person: PersonId;
  device: DeviceId;
  agent: string | null;
}

export interface CallRequest {
  target: CallTarget;
  /** To an agent: what is said. To a tool: empty. */
  parts: Part[];
  /** To a tool: its arguments. To an agent: settings such as `{"share": "app"}`. */
  arguments: { [key: string]: Json };
  /** 16 bytes; a retry carries the same (R8). */
  key: Uint8Array;
  /** Remaining ms, counted from arrival (F1). */
  deadlineMs: number;
  budget: Budget;
  chain: ChainLink[];
  /** Set when this is a retry under the same key: the first request's id and iat (R8). */
  retryOf?: { request: EnvelopeId; iat: number } | undefined;
}

/** What the caller sees, in this order: accepted, progress*, then one result or failure. */
export type CallEvent =
  | { type: "accepted"; index: 0 }
  | { type: "progress"; index: number; parts: Part[] }
  | { type: "result"; index: number; outcome: CallOutcome }
  | { type: "failure"; index: number; error: ErrorShape };

export type CallOutcome = { parts: Part[] } | { tool: ToolResult };

/** agents → network: calls `to`; the events end with a result or a failure. Refusals arrive as a failure. Aborting sends a cancel. */
export type InvokeRemote = (call: OutgoingCall, signal: AbortSignal) => AsyncIterable<SignedCallEvent>;

export interface OutgoingCall {
  from: Sender;
  to: { person: PersonId; device: DeviceId };
  request: CallRequest;
  trace?: string | undefined;
}

/** The event with the sealed envelope that proves it. */
export type SignedCallEvent = CallEvent & { sealed?: Sealed | undefined };

/** A request whose signature, mesh, boot, times, replay and membership have been checked by the network side. */
export interface IncomingCall {
  mesh: MeshId;
  id: EnvelopeId;
  from: Sender;
  request: CallRequest;
  trace?: string | undefined;
  sealed: Sealed;
  /** "live" over a stream, "durable" as an event (§7). */
  way: "live" | "durable";
  /** Wall ms after which the result is worthless. */
  deadlineAt: number;
  /** Until when the idempotency row is kept: the envelope's `exp` (R8). */
  expiresAt: number;
}

/**
 * network → agents: one door for every call. Yields `accepted` only when the call is authorized (and, with side effects,
 * durable), or a failure at once (a refusal). Stops when `signal` fires (cancel, deadline).
 */
export type HandleInvocation = (call: IncomingCall, signal: AbortSignal) => AsyncIterable<CallEvent>;

/** How a call ended, as the durable record says it. */
export type RecordedOutcome = { outcome: CallOutcome } | { error: ErrorShape };

/** network → agents: how a call ended that the network side no longer has. `callerKey` must be the key that signed the request. */
export type RecallOutcome = (request: EnvelopeId, callerKey: Uint8Array) => Promise<RecordedOutcome | undefined>;

export const INVOKE_PROTOCOL = "/kin/invoke/1";

/**
 * What a request that an agent makes on behalf of `parent` must carry: one link more, one delegation less, and no more time
 * than is left. `self` is the agent that delegates. @throws KinError TOO_DEEP, DEADLINE_EXCEEDED
 */
export function delegation(
  parent: IncomingCall,
  self: ChainLink,
  nowMs: number,
): Pick<CallRequest, "budget" | "chain" | "deadlineMs"> {
  const { budget, chain } = parent.request;
  if (budget.depth < 1 || chain.length > MAX_CALL_DEPTH)
    throw new KinError(
      "TOO_DEEP",
      `this call may not be delegated further: it is ${chain.length} deep and its budget allows ${budget.depth} more`,
    );
  const deadlineMs = Math.floor(parent.deadlineAt - nowMs);
  if (deadlineMs < 1)
    throw new KinError("DEADLINE_EXCEEDED", "the call's deadline has passed: nothing is left to delegate");
  return { budget: { ...budget, depth: budget.depth - 1 }, chain: [...chain, self], deadlineMs };
}

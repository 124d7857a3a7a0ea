/**
 * `/kin/invoke/1`: one long-lived stream per peer pair that carries all calls of both directions as frames.
 *
 * (dialogue, frames and state machines: see below; the two function types are where agents and network meet)
 */
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

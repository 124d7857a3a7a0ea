/**
 * Events (§7, F4, F5, R9): header + body. The id of an event is the hash of its header; events carry no signature, heads do.
 *
 *   header = { v: 1, log, seq, prev | null, deps: [event ids], hlc, kind, audience, bodyHash }
 *   id     = SHA-256(canonical header bytes);   bodyHash = SHA-256(body bytes);   every body holds 16 random bytes `n`
 *   log id = SHA-256("kin/log/1" ‖ canonical { mesh, device, incarnation, chain })
 *   head   = { log, seq, id, hlc }, signed "kin/head/1" ‖ canonical bytes, by the device's key
 *
 *   body, clear  = { n, c: value }                                     roster records, cards, agent keys, log openings
 *   body, mesh   = { n, e: epoch id, x: AES-256-GCM }                  key = HKDF(epoch key, "kin/mesh/1" ‖ log), nonce = n[0..12]
 *   body, direct = { n, r: [[device, enc, wrapped key]…], x }          HPKE to each device's sealing key, info as R7
 *   body, here   = { n, c: value }                                     never leaves this machine
 *   AAD of x     = canonical { mesh, epoch?, header without bodyHash }
 */
import type { DeviceId, EpochId, EventId, LogId } from "./ids.ts";

export type Audience = "mesh" | "direct" | "here";
export type Chain = "mesh" | "here";

/** What an event is about. */
export type EventKind =
  | "log-opened" // seq 0 of each log
  | "roster" // a sealed roster record, clear
  | "agent-key" // a sealed agent-key record, clear
  | "card" // a sealed card
  | "epoch-sealed" // an epoch's key, sealed to a device that lacks it (R6)
  | "invocation-asked"
  | "invocation-declined"
  | "invocation-answered"
  | "here-head" // witness of the here chain (R9)
  | "audit-started" // here
  | "audit-ended" // here
  | "call-started" // here: the idempotency row (R8)
  | "call-ended" // here
  | (string & {});

export interface EventHeader {
  log: LogId;
  /** From 0, without gaps. */
  seq: number;
  /** null exactly at seq 0. */
  prev: EventId | null;
  deps: EventId[];
  /** 8 bytes (F1). */
  hlc: Uint8Array;
  kind: EventKind;
  audience: Audience;
  /** 32 bytes. */
  bodyHash: Uint8Array;
}

export interface LogOpening {
  device: DeviceId;
  /** 16 random bytes, marked outside the database too. */
  incarnation: Uint8Array;
  chain: Chain;
}

/** An event as it is stored and sent: received bytes are kept. A peer may lack a body, never a header (R9). */
export interface StoredEvent {
  id: EventId;
  header: EventHeader;
  headerBytes: Uint8Array;
  body: Uint8Array | null;
}

export interface Head {
  log: LogId;
  seq: number;
  id: EventId;
  hlc: Uint8Array;
}

export interface SignedHead {
  head: Head;
  bytes: Uint8Array;
  sig: Uint8Array;
}

/** The keys that open bodies on this device. */
export interface BodyKeys {
  /** Epoch keys held, 32 bytes each. */
  epochKey(epoch: EpochId): Uint8Array | undefined;
}

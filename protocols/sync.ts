/**
 * `/kin/sync/1`: how two members become equal again and stay so. One long-lived stream per pair of devices; both sides
 * speak alike, and each frame is a DAG-CBOR map with `t`:
 *
 *   both   → vector   { full: true, r: [roster heads], logs: [[device, incarnation, seq, event id]…], f?: […] }   the first frame
 *   A      → want     { logs: [[log, from, to]…], ids: [event ids whose body is missing] }
 *   B      → records  { r: [sealed roster records] }                   roster and revocations first, before any run
 *   B      → run      { log, from, ev: [[header, body | null]…], h: null }        part of a run, bounded
 *   B      → run      { log, from, ev: […], h: [head, signature] }      its end: a signed head (F4)
 *   B      → bodies   { b: [[event id, body]…] }                        what did not fit into the run, what `ids` asked
 *   either → fork     { o: [device, incarnation], a: [head, sig], b: [head, sig], hs: [headers], pa, pb: [headers] }   proof, gossiped first (R2)
 *   A      → part     { log, tip, from }    from a log that was written twice: the run from `from` on the way to event `tip`
 *   either → vector   { full: false, … }                                later: logs that have grown, or that are new
 *   either → end      { code, message }                                 says why, then closes
 *
 * Pull: who is behind wants, nobody sends unasked, with one exception. When the peer has all that we told it of a log of our
 * own, what that log gains is pushed as runs at once (the live tail); of other logs it gains a `vector` with `full: false`.
 * A cut needs no memory: the next stream begins with the vectors. A `here` chain is named in no frame (R9): the chain of an
 * opening is not even a field, it is always "mesh".
 *
 * A log that was written twice stands in a vector as far as its histories are one; beside it, in `f: [[device, incarnation,
 * [[seq, event id]…]]…]`, the ends of all that the sender has of it. Who lacks one asks for `part`s, lower until it meets what it has.
 *
 * Back-pressure: a frame is built only when the wire took the one before, so nothing is queued but numbers. What
 * a stream has carried it does not carry again. A peer is dropped when what it sends is useless too often, or when it stops reading.
 */
import { decodeShared, encode, type Value } from "./bytes.ts";
import { KinError, type ErrorShape } from "./errors.ts";
import {
  eventValue,
  logIdOf,
  parseEvent,
  parseSignedHead,
  signedHeadValue,
  type LogOpening,
  type SignedHead,
  type StoredEvent,
} from "./events.ts";
import { idBytes, idOf, type EventId, type LogId, type MeshId, type RecordId } from "./ids.ts";
import { MAX_EVENT_BODY_BYTES, MAX_EVENT_HEADER_BYTES, MAX_EVENTS_PER_HEAD, MAX_FRAME_BYTES } from "./limits.ts";
import { asMap, parseSealed, sealedValue, type Sealed } from "./signature.ts";

export const SYNC_PROTOCOL = "/kin/sync/1";

/** Logs in a vector: 250 people with 16 logs each. One entry is 90 bytes, so a full vector fits one frame. */
export const MAX_VECTOR_LOGS = 4096;
/** Roster heads in a vector: concurrent roster acts are rare. */
export const MAX_ROSTER_HEADS = 256;
/** Roster records in one frame. */
export const MAX_RECORDS_PER_FRAME = 256;
/** Events whose body one `want` may ask for. */
export const MAX_WANTED_BODIES = 1024;
/** A run never spans more than one head's worth of events (F4). */
export const MAX_RUN_EVENTS = MAX_EVENTS_PER_HEAD;
/** Above this a run carries headers only; the bodies follow in `bodies` (R9: headers always). */
export const RUN_BODY_BYTES = 4 * 1024 * 1024;
/** What the receiver holds of a run whose head has not come yet: all headers and {@link RUN_BODY_BYTES}, with one body over. */
export const MAX_RUN_BYTES = MAX_RUN_EVENTS * MAX_EVENT_HEADER_BYTES + RUN_BODY_BYTES + MAX_EVENT_BODY_BYTES;
/** A part is closed once it is this long: with the largest body it still fits one frame. */
export const PART_BYTES = MAX_FRAME_BYTES - MAX_EVENT_BODY_BYTES - 64 * 1024;
/** Ends of one log that was written twice: who writes more histories than this under one key is not believed more. */
export const MAX_BRANCHES = 16;
/** Useless frames or entries (known events, unknown bodies, stale claims) beyond the useful ones until a peer is dropped. */
export const MAX_JUNK = 10_000;
/** Bodies that one stream serves on request: each is asked for once. */
export const MAX_BODIES_SERVED = 65_536;
/** A wire that takes nothing for so long is dropped: the peer has stopped reading. */
export const STALL_MS = 30_000;
/** A log that a peer was asked for and did not deliver for so long is asked from another. */
export const CLAIM_MS = 10_000;

export interface VectorEntry {
  log: LogId;
  opening: LogOpening;
  seq: number;
  id: EventId;
}

export interface Wanted {
  log: LogId;
  from: number;
  /** Inclusive. */
  to: number;
}

/** A log that was written twice, and where its histories end as far as the sender has them (R2). */
export interface ForkedLog {
  log: LogId;
  opening: LogOpening;
  ends: { seq: number; id: EventId }[];
}

/** A contiguous run of one log that ends at a signed head (F4). */
export interface EventRun {
  log: LogId;
  from: number;
  events: StoredEvent[];
  head: SignedHead;
}

/** A body that travels by itself. */
export interface LooseBody {
  id: EventId;
  body: Uint8Array;
}

/**
 * Two signed heads that no single chain contains (R2): `headers` are the chain from just after `a` up to `b`, and its first
 * `prev` is not `a`'s id. With equal seqs there are none and the ids differ. `parting` says where, exactly: both chains from
 * just after the last event that they share up to `a`'s seq. Without it (the first release made none) that event may lie lower.
 */
export interface ForkProof {
  log: LogId;
  opening: LogOpening;
  a: SignedHead;
  b: SignedHead;
  headers: Uint8Array[];
  parting?: { a: Uint8Array[]; b: Uint8Array[] } | undefined;
}

export type SyncFrame =
  | { type: "vector"; full: boolean; roster: RecordId[]; logs: VectorEntry[]; forked?: ForkedLog[] | undefined }
  | { type: "want"; logs: Wanted[]; bodies: EventId[] }
  | { type: "records"; records: Sealed[] }
  | { type: "run"; log: LogId; from: number; events: StoredEvent[]; head: SignedHead | null }
  | { type: "bodies"; bodies: LooseBody[] }
  | { type: "fork"; proof: ForkProof }
  | { type: "part"; log: LogId; tip: EventId; from: number }
  | { type: "end"; error: ErrorShape };

export function encodeSyncFrame(frame: SyncFrame): Uint8Array {
  return encode(frameValue(frame));
}

function frameValue(frame: SyncFrame): unknown {
  switch (frame.type) {
    case "vector":
      return {
        t: "vector",
        v: 1,
        full: frame.full,
        r: frame.roster.map(idBytes),
        logs: frame.logs.map(({ opening, seq, id }) => [...openingValue(opening), seq, idBytes(id)]),
        ...((frame.forked ?? []).length > 0 && { f: frame.forked!.map(forkedValue) }),
      };
    case "want":
      return {
        t: "want",
        logs: frame.logs.map(({ log, from, to }) => [idBytes(log), from, to]),
        ids: frame.bodies.map(idBytes),
      };
    case "records":
      return { t: "records", r: frame.records.map(sealedValue) };
    case "run":
      return {
        t: "run",
        log: idBytes(frame.log),
        from: frame.from,
        ev: frame.events.map(eventValue),
        h: frame.head === null ? null : signedHeadValue(frame.head),
      };
    case "bodies":
      return { t: "bodies", b: frame.bodies.map(({ id, body }) => [idBytes(id), body]) };
    case "fork":
      return {
        t: "fork",
        o: openingValue(frame.proof.opening),
        a: signedHeadValue(frame.proof.a),
        b: signedHeadValue(frame.proof.b),
        hs: frame.proof.headers,
        ...(frame.proof.parting !== undefined && { pa: frame.proof.parting.a, pb: frame.proof.parting.b }),
      };
    case "part":
      return { t: "part", log: idBytes(frame.log), tip: idBytes(frame.tip), from: frame.from };
    case "end":
      return { t: "end", code: frame.error.code, message: frame.error.message };
  }
}

/**
 * Shape and limits of a frame. Log ids are derived here from their openings, so an entry cannot lie about them.
 * @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION
 */
export function parseSyncFrame(bytes: Uint8Array, mesh: MeshId): SyncFrame {
  // A run's events are stored and let go of together, so their bytes may be the frame's.
  const map = asMap(decodeShared(bytes), "a sync frame");
  switch (map["t"]) {
    case "vector":
      if (map["v"] !== 1)
        throw new KinError("UNSUPPORTED_VERSION", `a vector of version ${String(map["v"])}: this kin reads version 1`);
      fields(map, ["t", "v", "full", "r", "logs", "f"]);
      return {
        type: "vector",
        full: flag(map["full"], "full"),
        roster: list(map["r"], "r", MAX_ROSTER_HEADS, (item) => idOf<"record">(item)),
        logs: parseEntries(map["logs"], mesh),
        ...(map["f"] !== undefined && {
          forked: list(map["f"], "f", MAX_VECTOR_LOGS, (item) => parseForked(item, mesh)),
        }),
      };
    case "want":
      fields(map, ["t", "logs", "ids"]);
      return {
        type: "want",
        logs: list(map["logs"], "logs", MAX_VECTOR_LOGS, parseWanted),
        bodies: list(map["ids"], "ids", MAX_WANTED_BODIES, (item) => idOf<"event">(item)),
      };
    case "records":
      fields(map, ["t", "r"]);
      return { type: "records", records: list(map["r"], "r", MAX_RECORDS_PER_FRAME, parseSealed) };
    case "run":
      fields(map, ["t", "log", "from", "ev", "h"]);
      return {
        type: "run",
        log: idOf(map["log"]),
        from: count(map["from"], "from"),
        events: list(map["ev"], "ev", MAX_RUN_EVENTS, parseEvent),
        head: map["h"] === null ? null : parseSignedHead(map["h"]),
      };
    case "bodies":
      fields(map, ["t", "b"]);
      return { type: "bodies", bodies: list(map["b"], "b", MAX_WANTED_BODIES, parseBody) };
    case "fork": {
      fields(map, ["t", "o", "a", "b", "hs", "pa", "pb"]);
      const opening = parseOpening(tuple(map["o"], 2, "[device, incarnation]"));
      const proof: ForkProof = {
        opening,
        log: logIdOf(mesh, opening),
        a: parseSignedHead(map["a"]),
        b: parseSignedHead(map["b"]),
        headers: list(map["hs"], "hs", MAX_RUN_EVENTS, parseHeaderBytes),
      };
      if (map["pa"] === undefined && map["pb"] === undefined) return { type: "fork", proof };
      const [a, b] = ["pa", "pb"].map((name) => list(map[name], name, MAX_RUN_EVENTS, parseHeaderBytes));
      return { type: "fork", proof: { ...proof, parting: { a: a!, b: b! } } };
    }
    case "part":
      fields(map, ["t", "log", "tip", "from"]);
      return { type: "part", log: idOf(map["log"]), tip: idOf(map["tip"]), from: count(map["from"], "from") };
    case "end": {
      fields(map, ["t", "code", "message"]);
      const { code, message } = map;
      if (typeof code !== "string" || typeof message !== "string" || code.length > 64 || message.length > 1024)
        throw new KinError("BAD_REQUEST", "an end names a code and a message of at most 1024 characters");
      return { type: "end", error: { code, message } };
    }
    default:
      throw new KinError("BAD_REQUEST", `no sync frame is of type ${JSON.stringify(map["t"])?.slice(0, 40)}`);
  }
}

function openingValue(opening: LogOpening): [Uint8Array, Uint8Array] {
  return [idBytes(opening.device), opening.incarnation];
}

function parseEntries(value: unknown, mesh: MeshId): VectorEntry[] {
  const entries = list(value, "logs", MAX_VECTOR_LOGS, (item) => {
    const [device, incarnation, seq, id] = tuple(item, 4, "[device, incarnation, seq, event id]");
    const opening = parseOpening([device, incarnation]);
    return { log: logIdOf(mesh, opening), opening, seq: count(seq, "seq"), id: idOf<"event">(id) };
  });
  if (new Set(entries.map(({ log }) => log)).size < entries.length)
    throw new KinError("BAD_REQUEST", "a vector names a log twice");
  return entries;
}

function forkedValue({ opening, ends }: ForkedLog): Value {
  return [...openingValue(opening), ends.map(({ seq, id }) => [seq, idBytes(id)])];
}

function parseForked(item: unknown, mesh: MeshId): ForkedLog {
  const [device, incarnation, said] = tuple(item, 3, "[device, incarnation, [[seq, event id]…]]");
  const opening = parseOpening([device, incarnation]);
  const ends = list(said, "f", MAX_BRANCHES, (end) => {
    const [seq, id] = tuple(end, 2, "[seq, event id]");
    return { seq: count(seq, "seq"), id: idOf<"event">(id) };
  });
  return { log: logIdOf(mesh, opening), opening, ends };
}

function parseOpening([device, incarnation]: unknown[]): LogOpening {
  if (!(incarnation instanceof Uint8Array) || incarnation.length !== 16)
    throw new KinError("BAD_REQUEST", "a log's incarnation is 16 bytes");
  return { device: idOf(device), incarnation, chain: "mesh" };
}

function parseWanted(item: unknown): Wanted {
  const [log, first, last] = tuple(item, 3, "[log, from, to]");
  const from = count(first, "from");
  const to = count(last, "to");
  if (to < from) throw new KinError("BAD_REQUEST", `a want of a run from ${from} to ${to}`);
  return { log: idOf(log), from, to };
}

function parseHeaderBytes(item: unknown): Uint8Array {
  if (!(item instanceof Uint8Array)) throw new KinError("BAD_REQUEST", "an event's header is bytes");
  if (item.length > MAX_EVENT_HEADER_BYTES)
    throw new KinError("TOO_LARGE", `an event's header of ${item.length} bytes: at most ${MAX_EVENT_HEADER_BYTES}`);
  return item;
}

function parseBody(item: unknown): LooseBody {
  const [id, body] = tuple(item, 2, "[event id, body]");
  if (!(body instanceof Uint8Array)) throw new KinError("BAD_REQUEST", "an event's body is bytes");
  if (body.length > MAX_EVENT_BODY_BYTES)
    throw new KinError("TOO_LARGE", `an event's body of ${body.length} bytes: at most ${MAX_EVENT_BODY_BYTES}`);
  return { id: idOf(id), body };
}

function fields(map: Record<string, unknown>, allowed: string[]): void {
  for (const key of Object.keys(map))
    if (!allowed.includes(key))
      throw new KinError("BAD_REQUEST", `a sync frame "${String(map["t"])}" has no field "${key}"`);
}

function list<T>(value: unknown, name: string, most: number, parse: (item: unknown) => T): T[] {
  if (!Array.isArray(value)) throw new KinError("BAD_REQUEST", `"${name}" of a sync frame is a list`);
  if (value.length > most)
    throw new KinError("TOO_LARGE", `"${name}" of a sync frame has ${value.length} items: at most ${most}`);
  return value.map((item) => parse(item));
}

function tuple(value: unknown, length: number, form: string): Value[] {
  if (!Array.isArray(value) || value.length !== length)
    throw new KinError("BAD_REQUEST", `an item of a sync frame is ${form}`);
  return value as Value[];
}

function count(value: unknown, name: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new KinError("BAD_REQUEST", `"${name}" of a sync frame is an integer from 0`);
  return value;
}

function flag(value: unknown, name: string): boolean {
  if (typeof value !== "boolean") throw new KinError("BAD_REQUEST", `"${name}" of a sync frame is true or false`);
  return value;
}

/** How many of `events` go into the next frame: at least one, unless there are none. */
export function partOf(events: readonly StoredEvent[]): number {
  let bytes = 0;
  let taken = 0;
  for (const { headerBytes, body } of events) {
    const more = headerBytes.length + (body?.length ?? 0) + 16;
    if (taken > 0 && bytes + more > PART_BYTES) break;
    bytes += more;
    taken++;
  }
  return taken;
}

/** Cuts what travels by itself into frames of at most {@link PART_BYTES} (one large item may be alone). */
export function partsBySize<T>(items: readonly T[], size: (item: T) => number, most: number): T[][] {
  const parts: T[][] = [];
  let bytes = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const more = size(item) + 64;
    if (bytes + more > PART_BYTES || parts.at(-1)!.length >= most) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(item);
    bytes += more;
  }
  return parts;
}

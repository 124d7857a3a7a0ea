/**
 * An export: one file that proves what is in it to somebody who has only the mesh id (docs/protocol.md §26). A first line, then
 * frames (F1), in this order:
 *
 *   "kin export 1\n"
 *   export   { v: 1, mesh, all, here }                                  whether it is all of the mesh, and has my own `here` chains
 *   records  { r: [sealed roster records] }                             1 or more; causes first
 *   keys     { k: [sealed agent-key records] }*
 *   fork     { o: [device, incarnation], a, b, hs }*                    as in `/kin/sync/1`
 *   open     { e: [[event id, "key" | "said", bytes]…] }*               what sealed bodies of single events say
 *   (log     { o: [device, incarnation, chain], from, to, stop }        a range of one log …
 *    run     { ev: [[header, body | null]…], h: null | signed head }+)* … in runs that end at signed heads (F4)
 *   end      { s: sealed { v: 1, mesh, by: [person, device], at, file: SHA-256 of all before, n } }
 *
 * Both sides hold one frame at a time, and of a run its headers.
 */
import { decode, encode } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import { KinError } from "./errors.ts";
import {
  eventValue,
  logIdOf,
  parseEvent,
  parseLogOpening,
  parseSignedHead,
  signedHeadValue,
  type EventHeader,
  type LogOpening,
  type SignedHead,
  type StoredEvent,
} from "./events.ts";
import { readFields, type Fields } from "./fields.ts";
import { idBytes, idOf, type DeviceId, type EventId, type LogId, type MeshId, type PersonId } from "./ids.ts";
import { MAX_EVENT_BODY_BYTES, MAX_EVENTS_PER_HEAD } from "./limits.ts";
import type { Cut, Membership } from "./membership.ts";
import { asMap, isSealed, parseSealed, sealedValue, sealOne, type Sealed } from "./signature.ts";
import { encodeSyncFrame, MAX_RECORDS_PER_FRAME, parseSyncFrame, type ForkProof } from "./sync.ts";

/** With the version: a program that can't read it sees so before anything else. */
export const EXPORT_LINE = "kin export 1\n";
/** Bodies that one export opens: a reader keeps what they say until the end. */
export const MAX_OPENED = 256;
/** Entries of one `open` frame: with the largest values it would not fit a frame, so a writer counts bytes too. */
export const MAX_OPENED_PER_FRAME = 64;

/** What the exporter shows of one sealed body: the key that opens it and no other, or his word. */
export interface Opened {
  id: EventId;
  how: "key" | "said";
  /** 32 bytes, or the canonical bytes of the value. */
  bytes: Uint8Array;
}

/** The key that an event's body holds; such a body is never opened: it would show far more than one event. Null: it holds none. */
export function keyInBody({ kind, audience }: Pick<EventHeader, "kind" | "audience">): string | null {
  if (kind === "epoch-sealed") return "the key of an epoch";
  const isPrivate = kind === "note-shared" || (kind === "note-opened" && audience === "direct");
  return isPrivate ? "the key of a private note" : null;
}

/** A stretch of one log, both ends included. */
export interface LogRange {
  log: LogId;
  opening: LogOpening;
  from: number;
  to: number;
  /** The seq at which a fork or a removal ends the log, if that is not above `to`. */
  stop: number | null;
}

export type ExportFrame =
  | { type: "export"; mesh: MeshId; all: boolean; here: boolean }
  | { type: "records"; records: Sealed[] }
  | { type: "keys"; keys: Sealed[] }
  | { type: "fork"; proof: ForkProof }
  | { type: "open"; opened: Opened[] }
  | ({ type: "log" } & LogRange)
  | { type: "run"; events: StoredEvent[]; head: SignedHead | null }
  | { type: "end"; sealed: Sealed };

export function encodeExportFrame(frame: ExportFrame): Uint8Array {
  switch (frame.type) {
    case "export":
      return encode({ t: "export", v: 1, mesh: idBytes(frame.mesh), all: frame.all, here: frame.here });
    case "records":
    case "fork":
      return encodeSyncFrame(frame);
    case "keys":
      return encode({ t: "keys", k: frame.keys.map(sealedValue) });
    case "open":
      return encode({ t: "open", e: frame.opened.map(({ id, how, bytes }) => [idBytes(id), how, bytes]) });
    case "log": {
      const { opening, from, to, stop } = frame;
      return encode({ t: "log", o: [idBytes(opening.device), opening.incarnation, opening.chain], from, to, stop });
    }
    case "run": {
      const { events, head } = frame;
      return encode({ t: "run", ev: events.map(eventValue), h: head === null ? null : signedHeadValue(head) });
    }
    case "end":
      return encode({ t: "end", s: sealedValue(frame.sealed) });
  }
}

/**
 * Shape and limits of one frame. `mesh` is that of the `export` frame; the first frame is read without.
 * @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION
 */
export function parseExportFrame(bytes: Uint8Array, mesh: MeshId | null): ExportFrame {
  const fields = readFields(decode(bytes), "a frame of an export");
  const type = fields.oneOf("t", ["export", "records", "keys", "fork", "open", "log", "run", "end"]);
  if ((type === "export") !== (mesh === null))
    throw new KinError("BAD_REQUEST", `an export begins with its "export" frame, and has no other; this is "${type}"`);
  if (type === "fork") return parseFork(bytes, mesh!);
  const parsed = parseFields(type, fields, mesh);
  fields.end();
  return parsed;
}

function parseFork(bytes: Uint8Array, mesh: MeshId): ExportFrame {
  return parseSyncFrame(bytes, mesh) as ExportFrame & { type: "fork" };
}

function parseFields(type: Exclude<ExportFrame["type"], "fork">, fields: Fields, mesh: MeshId | null): ExportFrame {
  switch (type) {
    case "export": {
      const version = fields.raw("v");
      if (version !== 1)
        throw new KinError("UNSUPPORTED_VERSION", `an export of version ${String(version)}: this kin reads version 1`);
      return { type, mesh: fields.id("mesh"), all: flag(fields, "all"), here: flag(fields, "here") };
    }
    case "records":
      return { type, records: fields.list("r", 1, MAX_RECORDS_PER_FRAME, parseSealed) };
    case "keys":
      return { type, keys: fields.list("k", 1, MAX_RECORDS_PER_FRAME, parseSealed) };
    case "open":
      return { type, opened: fields.list("e", 1, MAX_OPENED_PER_FRAME, parseOpened) };
    case "log":
      return { type, ...parseRange(fields, mesh!) };
    case "run": {
      const events = fields.list("ev", 1, MAX_EVENTS_PER_HEAD, parseEvent);
      const head = fields.raw("h");
      return { type, events, head: head === null ? null : parseSignedHead(head) };
    }
    case "end":
      return { type, sealed: parseSealed(fields.raw("s")) };
  }
}

function parseOpened(value: unknown): Opened {
  const [id, how, bytes] = Array.isArray(value) && value.length === 3 ? value : [];
  if (!(bytes instanceof Uint8Array) || (how !== "key" && how !== "said"))
    throw new KinError("BAD_REQUEST", 'what opens a body is [event id, "key" | "said", bytes]');
  if (how === "key" ? bytes.length !== 32 : bytes.length > MAX_EVENT_BODY_BYTES)
    throw new KinError("BAD_REQUEST", `what opens a body is 32 bytes or its value, not ${bytes.length} bytes`);
  return { id: idOf(id), how, bytes };
}

function parseRange(fields: Fields, mesh: MeshId): LogRange {
  const o = fields.raw("o");
  const [device, incarnation, chain] = Array.isArray(o) && o.length === 3 ? o : [];
  const opening = parseLogOpening({ device, incarnation, chain });
  const from = fields.integer("from", 0, Number.MAX_SAFE_INTEGER);
  const to = fields.integer("to", from, Number.MAX_SAFE_INTEGER);
  const stop = fields.raw("stop") === null ? null : fields.integer("stop", from, to);
  return { log: logIdOf(mesh, opening), opening, from, to, stop };
}

function flag(fields: Fields, name: string): boolean {
  const value = fields.raw(name);
  if (typeof value !== "boolean") throw new KinError("BAD_REQUEST", `"${name}" of an export is true or false`);
  return value;
}

// ── Where a log ends ──

/** The cut at which a log of a device that is no longer a living member's ends (R5): null if the device lives, "none" if nothing of it counts. */
export function cutOf(
  membership: Membership,
  { log, opening }: Pick<LogRange, "log" | "opening">,
): Cut | "none" | null {
  const former = membership.formerDevices.get(opening.device);
  if (former === undefined || membership.devices.has(opening.device)) return null;
  return former.cuts.get(log) ?? "none";
}

/**
 * The `stop` of a range. `forkedAt`: the first seq that the log has twice, if a proof of that is in the file. `idAtCut`: the id
 * that the range has at the seq of {@link cutOf}, if it holds that seq.
 */
export function stopOf(
  range: Omit<LogRange, "stop">,
  by: { membership: Membership; forkedAt: number | undefined; idAtCut: EventId | undefined },
): number | null {
  const { opening, from, to } = range;
  if (opening.chain === "here") return null;
  const ends = [...endOfCut(range, cutOf(by.membership, range), by.idAtCut)];
  if (by.forkedAt !== undefined) ends.push(by.forkedAt);
  const end = Math.min(...ends);
  return end > to ? null : Math.max(end, from);
}

function endOfCut(
  { from, to }: Omit<LogRange, "stop">,
  cut: Cut | "none" | null,
  idAtCut: EventId | undefined,
): number[] {
  if (cut === null) return [];
  if (cut === "none") return [0];
  if (from > cut.seq) return [cut.seq + 1];
  // Only the chain up to the event that the cut names shows what was written before it.
  if (to < cut.seq) return [from];
  return [idAtCut === cut.id ? cut.seq + 1 : cut.seq];
}

/** True if `device` is or was a living device of a living member. */
export function isOrWasMembers(membership: Membership, device: DeviceId): boolean {
  return membership.devices.has(device) || membership.formerDevices.has(device);
}

// ── The end ──

/** Who made the file, when, and what it was then. */
export interface ExportEnd {
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  /** Wall ms, by the exporter's clock. */
  at: number;
  /** SHA-256 of all bytes before the `end` frame. */
  file: Uint8Array;
}

/** `n`: 16 random bytes. */
export function sealExport(device: SigningKey, end: ExportEnd, n: Uint8Array): Sealed {
  const by = [idBytes(end.person), idBytes(end.device)];
  return sealOne(device, "export", encode({ v: 1, mesh: idBytes(end.mesh), by, at: end.at, file: end.file, n }));
}

/** Shape and seal; whose device it is, is the caller's question. @throws KinError BAD_REQUEST, BAD_SIGNATURE, UNSUPPORTED_VERSION */
export function openExportEnd(sealed: Sealed): ExportEnd {
  const fields = readFields(asMap(decode(sealed.bytes), "the end of an export"), "the end of an export");
  const version = fields.raw("v");
  if (version !== 1)
    throw new KinError("UNSUPPORTED_VERSION", `an export's end of version ${String(version)}, expected 1`);
  const [person, device] = fields.list("by", 2, 2, (item) => idOf(item)) as unknown as [PersonId, DeviceId];
  const end: ExportEnd = {
    mesh: fields.id("mesh"),
    person,
    device,
    at: fields.integer("at", 0, Number.MAX_SAFE_INTEGER),
    file: fields.bytes("file", 32),
  };
  fields.bytes("n", 16);
  fields.end();
  if (idOf(sealed.seal.key) !== device || !isSealed("export", sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", `the export is not sealed by device ${device}, which it says has made it`);
  return end;
}

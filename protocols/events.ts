/**
 * Events (§7, F4, F5, R9): header + body. The id of an event is the hash of its header; events carry no signature, heads do.
 *
 *   header = { v: 1, log, seq, prev | null, deps: [event ids], hlc, kind, audience, bodyHash }
 *   id     = SHA-256(canonical header bytes);   bodyHash = SHA-256(body bytes);   every body holds 16 random bytes `n`
 *   log id = SHA-256("kin/log/1" ‖ canonical { mesh, device, incarnation, chain })
 *   head   = { log, seq, id, hlc }, signed "kin/head/1" ‖ canonical bytes, by the device's key
 *
 * `deps` are strictly ascending. Seq 0 of each log is `log-opened`, whose clear body says { device, incarnation, chain }.
 * On the wire: event = [header bytes, body | null], signed head = [head bytes, sig], opening = { device, incarnation, chain }.
 * A run of events proves itself by its prev links up to one signed head ({@link verifyRun}). Bodies: `event-body.ts`.
 */
import { sha256, sha256Hex, verify } from "#crypto";
import { compareBytes, concat, decode, encode, equal, utf8Bytes } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import { KinError } from "./errors.ts";
import { idBytes, idOf, idOfAgain, isName, type DeviceId, type EventId, type LogId, type MeshId } from "./ids.ts";
import { MAX_DEPS, MAX_EVENT_BODY_BYTES, MAX_EVENT_HEADER_BYTES, MAX_EVENTS_PER_HEAD } from "./limits.ts";
import { asMap } from "./signature.ts";

export type Audience = "mesh" | "direct" | "here";
export type Chain = "mesh" | "here";

/** What an event is about. */
export type EventKind =
  | "log-opened" // seq 0 of each log
  | "roster" // a sealed roster record, clear
  | "agent-key" // a sealed agent-key record, clear
  | "card" // a sealed card
  | "re-issued" // of: ids of what the next events say again, clear (R2, R5, R13)
  | "epoch-sealed" // an epoch's key, sealed to a device that lacks it (R6)
  | "invocation-asked"
  | "invocation-declined"
  | "invocation-answered"
  | "fact-set" // documents: protocols/document.ts
  | "note-opened"
  | "note-shared"
  | "note-edited"
  | "record-changed"
  | "here-head" // witness of the here chain (R9)
  | "audit" // here: node/guard/audit.ts
  | "audit-started" // here, of earlier versions
  | "audit-ended" // here, of earlier versions
  | "call-started" // here: the idempotency row (R8)
  | "call-ended" // here
  | (string & {});

export interface EventHeader {
  log: LogId;
  /** From 0, without gaps. */
  seq: number;
  /** null exactly at seq 0. */
  prev: EventId | null;
  /** At most 64, strictly ascending. */
  deps: EventId[];
  /** 8 bytes (F1). */
  hlc: Uint8Array;
  kind: EventKind;
  audience: Audience;
  /** 32 bytes. */
  bodyHash: Uint8Array;
}

/** A header before its body exists: what the body is sealed to. */
export type UnsealedHeader = Omit<EventHeader, "bodyHash">;

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

/** The last event of a log as far as somebody has it. */
export interface Tip {
  seq: number;
  id: EventId;
  hlc: Uint8Array;
}

const AUDIENCES: readonly Audience[] = ["mesh", "direct", "here"];
const CHAINS: readonly Chain[] = ["mesh", "here"];
const HLC_BYTES = 8;
const INCARNATION_BYTES = 16;
const BODY_HASH_BYTES = 32;
const LOG_DOMAIN = utf8Bytes("kin/log/1");
const HEAD_DOMAIN = utf8Bytes("kin/head/1");

// ── Logs ──

export function logIdOf(mesh: MeshId, opening: LogOpening): LogId {
  return idOf(sha256(LOG_DOMAIN, encode({ mesh: idBytes(mesh), ...logOpeningValue(opening) })));
}

export function logOpeningValue(opening: LogOpening): { device: Uint8Array; incarnation: Uint8Array; chain: Chain } {
  return { device: idBytes(opening.device), incarnation: opening.incarnation, chain: opening.chain };
}

/** @throws KinError BAD_REQUEST */
export function parseLogOpening(value: unknown): LogOpening {
  const map = asMap(value, "a log's opening");
  onlyKeys(map, ["device", "incarnation", "chain"], "a log's opening");
  const { device, incarnation, chain } = map;
  if (!isBytes(incarnation, INCARNATION_BYTES)) throw bad("a log's incarnation is 16 bytes");
  if (!CHAINS.includes(chain as Chain)) throw bad(`a log's chain is mesh or here, not ${JSON.stringify(chain)}`);
  return { device: idOf(device), incarnation, chain: chain as Chain };
}

// ── Headers and events ──

/**
 * The event of this header and these body bytes; `deps` are sorted and made unique.
 * @param encoded {@link encodeUnsealed} of a header whose deps are that already
 * @throws KinError BAD_REQUEST, TOO_LARGE
 */
export function makeEvent(unsealed: UnsealedHeader, body: Uint8Array, encoded?: Uint8Array): StoredEvent {
  if (body.length > MAX_EVENT_BODY_BYTES)
    throw new KinError(
      "TOO_LARGE",
      `the body of a ${unsealed.kind} event has ${body.length} bytes: at most ${MAX_EVENT_BODY_BYTES}; send what is large as a blob`,
    );
  const header: EventHeader = { ...unsealed, deps: sortedDeps(unsealed.deps), bodyHash: sha256(body) };
  checkHeader(header);
  const headerBytes = withBodyHash(encoded ?? encodeUnsealed(header), header.bodyHash);
  return { id: eventId(headerBytes), header, headerBytes, body };
}

export function sortedDeps(deps: readonly EventId[]): EventId[] {
  return [...new Set(deps)].toSorted();
}

export function encodeHeader(header: EventHeader): Uint8Array {
  return withBodyHash(encodeUnsealed(header), header.bodyHash);
}

/** The header without `bodyHash`: part of what a body is sealed to. */
export function encodeUnsealed(header: UnsealedHeader): Uint8Array {
  return encode(unsealedValue(header));
}

/** The key `bodyHash` and the head of 32 bytes. In canonical order it is the last of a header's keys. */
const BODY_HASH_KEY = concat(Uint8Array.of(0x68), utf8Bytes("bodyHash"), Uint8Array.of(0x58, 0x20));

function withBodyHash(unsealed: Uint8Array, bodyHash: Uint8Array): Uint8Array {
  const bytes = concat(unsealed, BODY_HASH_KEY, bodyHash);
  bytes[0]!++; // one key more
  return bytes;
}

/** {@link encodeUnsealed} of the header that these are the bytes of, in parts. */
export function unsealedParts(headerBytes: Uint8Array): Uint8Array[] {
  return [
    Uint8Array.of(headerBytes[0]! - 1),
    headerBytes.subarray(1, headerBytes.length - BODY_HASH_KEY.length - BODY_HASH_BYTES),
  ];
}

/** {@link encodeUnsealed} before it is encoded. */
export function unsealedValue(header: UnsealedHeader): Record<string, unknown> {
  return {
    v: 1,
    log: idBytes(header.log),
    seq: header.seq,
    prev: header.prev === null ? null : idBytes(header.prev),
    deps: header.deps.map(idBytes),
    hlc: header.hlc,
    kind: header.kind,
    audience: header.audience,
  };
}

const logOf = idOfAgain<"log">();
const HEADER_KEYS = ["v", "log", "seq", "prev", "deps", "hlc", "kind", "audience", "bodyHash"];

/** @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION */
export function decodeHeader(bytes: Uint8Array): EventHeader {
  if (bytes.length > MAX_EVENT_HEADER_BYTES)
    throw new KinError("TOO_LARGE", `an event's header of ${bytes.length} bytes: at most ${MAX_EVENT_HEADER_BYTES}`);
  const map = asMap(decode(bytes), "an event's header");
  if (map["v"] !== 1)
    throw new KinError("UNSUPPORTED_VERSION", `an event of version ${String(map["v"])}: this kin reads version 1`);
  onlyKeys(map, HEADER_KEYS, "an event's header");
  const { log, seq, prev, deps, hlc, kind, audience, bodyHash } = map;
  if (!Array.isArray(deps)) throw bad("an event's deps are a list of event ids");
  const header = {
    log: logOf(log),
    seq: seq as number,
    prev: prev === null ? null : idOf<"event">(prev),
    deps: deps.map((dep) => idOf<"event">(dep)),
    hlc: hlc as Uint8Array,
    kind: kind as string,
    audience: audience as Audience,
    bodyHash: bodyHash as Uint8Array,
  };
  checkHeader(header);
  return header;
}

function checkHeader(header: EventHeader): void {
  const { seq, prev, deps, hlc, kind, audience, bodyHash } = header;
  if (typeof seq !== "number" || !Number.isSafeInteger(seq) || seq < 0)
    throw bad(`an event's seq is an integer from 0, not ${JSON.stringify(seq)}`);
  if ((prev === null) !== (seq === 0)) throw bad(`an event's prev is null at seq 0 and only there (seq ${seq})`);
  if (deps.length > MAX_DEPS) throw new KinError("TOO_LARGE", `${deps.length} deps of one event: at most ${MAX_DEPS}`);
  if (deps.some((dep, i) => i > 0 && deps[i - 1]! >= dep)) throw bad("an event's deps are strictly ascending");
  if (prev !== null && deps.includes(prev)) throw bad("an event's prev is not one of its deps");
  if (!isBytes(hlc, HLC_BYTES)) throw bad("an event's hlc is 8 bytes");
  if (typeof kind !== "string" || !isName(kind)) throw bad(`${JSON.stringify(kind)} is not the name of an event kind`);
  if ((kind === "log-opened") !== (seq === 0))
    throw bad(`seq 0 is log-opened and nothing else is (${kind}, seq ${seq})`);
  if (!AUDIENCES.includes(audience))
    throw bad(`an event's audience is mesh, direct or here, not ${JSON.stringify(audience)}`);
  if (!isBytes(bodyHash, BODY_HASH_BYTES)) throw bad("an event's bodyHash is 32 bytes");
}

export function eventId(headerBytes: Uint8Array): EventId {
  return sha256Hex(headerBytes) as EventId;
}

export function isBodyOf(header: Pick<EventHeader, "bodyHash">, body: Uint8Array): boolean {
  return body.length <= MAX_EVENT_BODY_BYTES && equal(sha256(body), header.bodyHash);
}

export function eventValue(event: StoredEvent): [Uint8Array, Uint8Array | null] {
  return [event.headerBytes, event.body];
}

/** Decodes the header, computes the id and checks the body against its hash. @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION */
export function parseEvent(value: unknown): StoredEvent {
  const [headerBytes, body] = Array.isArray(value) && value.length === 2 ? value : [];
  if (!(headerBytes instanceof Uint8Array) || !(body === null || body instanceof Uint8Array))
    throw bad("an event is [header bytes, body bytes | null]");
  const header = decodeHeader(headerBytes);
  if (body !== null && !isBodyOf(header, body))
    throw bad(`the body of event ${header.seq} of log ${header.log} does not match its bodyHash`);
  return { id: eventId(headerBytes), header, headerBytes, body };
}

// ── Heads ──

export function signHead(deviceKey: SigningKey, head: Head): SignedHead {
  const bytes = encodeHead(head);
  return { head, bytes, sig: deviceKey.sign(concat(HEAD_DOMAIN, bytes)) };
}

/** True if the head is what its bytes say and its signature is that of the device's key (R15). */
export function verifyHead(deviceKey: Uint8Array, signed: SignedHead): boolean {
  return (
    equal(encodeHead(signed.head), signed.bytes) && verify(deviceKey, concat(HEAD_DOMAIN, signed.bytes), signed.sig)
  );
}

function encodeHead(head: Head): Uint8Array {
  return encode({ log: idBytes(head.log), seq: head.seq, id: idBytes(head.id), hlc: head.hlc });
}

export function signedHeadValue(signed: SignedHead): [Uint8Array, Uint8Array] {
  return [signed.bytes, signed.sig];
}

/** Shape only; the signature is {@link verifyHead}'s. @throws KinError BAD_REQUEST */
export function parseSignedHead(value: unknown): SignedHead {
  const [bytes, sig] = Array.isArray(value) && value.length === 2 ? value : [];
  if (!(bytes instanceof Uint8Array) || !isBytes(sig, 64)) throw bad("a signed head is [head bytes, 64 bytes]");
  const map = asMap(decode(bytes), "a head");
  onlyKeys(map, ["log", "seq", "id", "hlc"], "a head");
  const { log, seq, id, hlc } = map;
  if (typeof seq !== "number" || seq < 0) throw bad("a head's seq is an integer from 0");
  if (!isBytes(hlc, HLC_BYTES)) throw bad("a head's hlc is 8 bytes");
  return { head: { log: idOf(log), seq, id: idOf(id), hlc }, bytes, sig };
}

// ── Runs ──

/**
 * Checks a contiguous run of parsed events ({@link parseEvent}) of one log that begins directly after `previous` (null: at
 * seq 0) and ends at `head`: prev links, rising stamps (R13), audiences that belong to the chain (R9), one signature (F4).
 * That `log` is `logIdOf(mesh, opening)` and that the stamps are above those of `deps` are the caller's checks.
 * @throws KinError BAD_REQUEST, TOO_LARGE, BAD_SIGNATURE
 */
export function verifyRun(
  of: { log: LogId; opening: LogOpening },
  previous: Tip | null,
  events: readonly StoredEvent[],
  signed: SignedHead,
): void {
  if (events.length === 0) throw bad(`a run of log ${of.log} without events`);
  if (events.length > MAX_EVENTS_PER_HEAD)
    throw new KinError("TOO_LARGE", `a run of ${events.length} events under one head: at most ${MAX_EVENTS_PER_HEAD}`);
  let tip = previous;
  for (const event of events) tip = checkLink(of, tip, event);
  const { head } = signed;
  if (head.log !== of.log || head.seq !== tip!.seq || head.id !== tip!.id || !equal(head.hlc, tip!.hlc))
    throw bad(`the run ends at event ${tip!.seq} (${tip!.id}) of log ${of.log}, its head at ${head.seq} (${head.id})`);
  if (!verifyHead(idBytes(of.opening.device), signed))
    throw new KinError(
      "BAD_SIGNATURE",
      `the head ${head.seq} of log ${of.log} is not signed by device ${of.opening.device}`,
    );
}

function checkLink(of: { log: LogId; opening: LogOpening }, tip: Tip | null, event: StoredEvent): Tip {
  const { id, header, body } = event;
  const { seq, hlc } = header;
  const at = `event ${seq} of log ${of.log}`;
  if (header.log !== of.log) throw bad(`an event of log ${header.log} in a run of log ${of.log}`);
  if (seq !== (tip?.seq ?? -1) + 1) throw bad(`${at} where ${(tip?.seq ?? -1) + 1} was expected`);
  if (header.prev !== (tip?.id ?? null)) throw bad(`${at} follows ${header.prev}, expected ${tip?.id}`);
  if (tip !== null && compareBytes(hlc, tip.hlc) <= 0) throw bad(`${at} is not stamped after the one before it`);
  if ((header.audience === "here") !== (of.opening.chain === "here"))
    throw bad(`${at} is for "${header.audience}" and does not belong to a ${of.opening.chain} chain`);
  if (seq === 0 && body !== null) checkOpened(of.opening, body);
  return { seq, id, hlc };
}

/** The body of `log-opened` repeats the opening that the log's id is made of. */
function checkOpened(opening: LogOpening, body: Uint8Array): void {
  const said = parseLogOpening(asMap(decode(body), "a body")["c"]);
  if (said.device !== opening.device || said.chain !== opening.chain || !equal(said.incarnation, opening.incarnation))
    throw bad(`the log-opened event of device ${opening.device} says another opening`);
}

// ── Small checks ──

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function onlyKeys(map: Record<string, unknown>, keys: readonly string[], what: string): void {
  for (const key of Object.keys(map)) if (!keys.includes(key)) throw bad(`${what} has no field "${key}"`);
}

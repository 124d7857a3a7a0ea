/**
 * Snapshots (R16): what a newcomer needs instead of the bodies of old events. A snapshot is a vector (how far it reaches in each
 * log) and the hash of the state that the events up to there fold to. Three kinds of `mesh` events say it; heads sign them (F4):
 *
 *   snapshot-proposed   { v: 1, at: [[log, seq, event id]…], views: [[name, version]…], state: hash, bytes }     by who made it
 *   snapshot-signed     { v: 1, s: snapshot id, how: "recomputed" | "adopted" }    by who got the same, or took it in
 *   dormant             { v: 1, p: person id, on: true | false }                   by an admin: nobody waits for this person
 *
 *   snapshot id = SHA-256("kin/snapshot/1" ‖ canonical { mesh, at, views, state, bytes });   `at` ascends by log, `views` by name
 *   state hash  = SHA-256("kin/snapshot-state/1" ‖ state);   the state's bytes are those of `sync/snapshot-state.ts`
 *
 * `/kin/snapshot/1` carries the state itself, between members, sealed under an epoch of the mesh so that who carries it need not
 * be able to read it. Bulk has a stream of its own, so it never holds up a sync. A node that can serve says "snapshot" in its hello.
 *
 *   asker                                holder
 *   { s: snapshot id }              →
 *                                   ←    { of: parts, e: epoch id }          or { error: {code, message} }
 *                                   ←    { n, i: 12 bytes, x: AES-256-GCM }*  each part, then the holder closes
 *
 *   key = HKDF-SHA256(epoch key, no salt, "kin/snapshot/1" ‖ snapshot id);   AAD = canonical { mesh, s, n, of };   a part ≤ 256 KiB
 */
import { aeadOpen, aeadSeal, hkdf, sha256 } from "#crypto";
import { concat, decode, encode, equal, utf8Bytes, type Value } from "./bytes.ts";
import type { Random, Wire } from "./effects.ts";
import { errorShape, KinError } from "./errors.ts";
import { readFields } from "./fields.ts";
import {
  idBytes,
  idOf,
  isName,
  type EpochId,
  type EventId,
  type Id,
  type LogId,
  type MeshId,
  type PersonId,
} from "./ids.ts";
import { asMap } from "./signature.ts";

export const SNAPSHOT_PROTOCOL = "/kin/snapshot/1";
/** Told in the hello by who answers {@link SNAPSHOT_PROTOCOL}. */
export const SNAPSHOT_FEATURE = "snapshot";

/** Logs in one snapshot: one entry is 75 bytes, and the proposal must fit an event's body (256 KiB). */
export const MAX_SNAPSHOT_LOGS = 2048;
export const MAX_SNAPSHOT_VIEWS = 64;
/** A state is held in memory while it is made and taken in. */
export const MAX_SNAPSHOT_BYTES = 64 * 1024 * 1024;
/** Four parts fit a frame; a part lost by a cut costs little. */
export const SNAPSHOT_PART_BYTES = 256 * 1024;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const ID_DOMAIN = utf8Bytes("kin/snapshot/1");
const STATE_DOMAIN = utf8Bytes("kin/snapshot-state/1");

export type SnapshotId = Id<"snapshot">;

/** How far a snapshot reaches in each log, inclusive. */
export type SnapshotVector = ReadonlyMap<LogId, { seq: number; id: EventId }>;

/** What a proposal says. */
export interface SnapshotClaim {
  at: SnapshotVector;
  /** What the state is made of, ascending by name. */
  views: readonly { name: string; version: number }[];
  /** {@link stateHash} of the state, 32 bytes. */
  state: Uint8Array;
  /** Length of the state. */
  bytes: number;
}

export interface Snapshot extends SnapshotClaim {
  id: SnapshotId;
}

/** "recomputed": folded from the events themselves and got the same. "adopted": taken in instead of bodies that were missing. */
export type SignedHow = "recomputed" | "adopted";

export function stateHash(state: Uint8Array): Uint8Array {
  return sha256(STATE_DOMAIN, state);
}

export function snapshotOf(mesh: MeshId, claim: SnapshotClaim): Snapshot {
  return { ...claim, id: idOf(sha256(ID_DOMAIN, encode({ mesh: idBytes(mesh), ...claimValue(claim) }))) };
}

function claimValue({ at, views, state, bytes }: SnapshotClaim) {
  return {
    at: [...at].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([log, { seq, id }]) => [idBytes(log), seq, idBytes(id)]),
    views: views.toSorted((a, b) => (a.name < b.name ? -1 : 1)).map(({ name, version }) => [name, version]),
    state,
    bytes,
  };
}

// ── What events say ──

/** @throws KinError TOO_LARGE */
export function proposalValue(claim: SnapshotClaim): Value {
  if (claim.at.size > MAX_SNAPSHOT_LOGS)
    throw new KinError("TOO_LARGE", `a snapshot of ${claim.at.size} logs: at most ${MAX_SNAPSHOT_LOGS}`);
  return { v: 1, ...claimValue(claim) };
}

/** @throws KinError BAD_REQUEST, UNSUPPORTED_VERSION */
export function parseProposal(mesh: MeshId, value: unknown): Snapshot {
  const fields = readVersioned(value, "a snapshot-proposed event");
  const at = fields.list("at", 0, MAX_SNAPSHOT_LOGS, parseMark);
  const views = fields.list("views", 0, MAX_SNAPSHOT_VIEWS, parseView);
  const state = fields.bytes("state", 32);
  const bytes = fields.integer("bytes", 0, MAX_SNAPSHOT_BYTES);
  fields.end();
  ascending(
    at.map(([log]) => log),
    "the logs of a snapshot",
  );
  ascending(
    views.map(({ name }) => name),
    "the views of a snapshot",
  );
  return snapshotOf(mesh, { at: new Map(at), views, state, bytes });
}

function parseMark(item: unknown): [LogId, { seq: number; id: EventId }] {
  const [log, seq, id] = Array.isArray(item) && item.length === 3 ? item : [];
  if (typeof seq !== "number" || seq < 0)
    throw new KinError("BAD_REQUEST", "where a snapshot ends in a log is [log, seq, event id]");
  return [idOf(log), { seq, id: idOf(id) }];
}

function parseView(item: unknown): { name: string; version: number } {
  const [name, version] = Array.isArray(item) && item.length === 2 ? item : [];
  if (typeof name !== "string" || !isName(name) || typeof version !== "number" || version < 1)
    throw new KinError("BAD_REQUEST", "a view of a snapshot is [name, version from 1]");
  return { name, version };
}

function ascending(names: readonly string[], what: string): void {
  if (names.some((name, i) => i > 0 && names[i - 1]! >= name))
    throw new KinError("BAD_REQUEST", `${what} are strictly ascending`);
}

export function signedValue(snapshot: SnapshotId, how: SignedHow): Value {
  return { v: 1, s: idBytes(snapshot), how };
}

/** @throws KinError BAD_REQUEST, UNSUPPORTED_VERSION */
export function parseSigned(value: unknown): { snapshot: SnapshotId; how: SignedHow } {
  const fields = readVersioned(value, "a snapshot-signed event");
  const signed = { snapshot: fields.id<"snapshot">("s"), how: fields.oneOf("how", ["recomputed", "adopted"] as const) };
  fields.end();
  return signed;
}

export function dormantValue(person: PersonId, on: boolean): Value {
  return { v: 1, p: idBytes(person), on };
}

/** @throws KinError BAD_REQUEST, UNSUPPORTED_VERSION */
export function parseDormant(value: unknown): { person: PersonId; on: boolean } {
  const fields = readVersioned(value, "a dormant event");
  const person = fields.id<"person">("p");
  const on = fields.raw("on");
  fields.end();
  if (typeof on !== "boolean") throw new KinError("BAD_REQUEST", '"on" of a dormant event is true or false');
  return { person, on };
}

function readVersioned(value: unknown, what: string) {
  const fields = readFields(value, what);
  if (fields.raw("v") !== 1)
    throw new KinError(
      "UNSUPPORTED_VERSION",
      `${what} of version ${String(fields.raw("v"))}: this kin reads version 1`,
    );
  return fields;
}

// ── /kin/snapshot/1 ──

export interface SnapshotContext {
  mesh: MeshId;
  snapshot: SnapshotId;
}

/**
 * Asks for the state of a snapshot. What comes is checked against what was signed: another state, or more of it, is refused.
 * @throws KinError NOT_FOUND and what else the holder refuses with, BAD_SIGNATURE (not what was signed), BAD_REQUEST, UNREACHABLE
 */
export async function askSnapshot(
  wire: Wire,
  mesh: MeshId,
  snapshot: Snapshot,
  epochKey: (epoch: EpochId) => Uint8Array | undefined,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const most = partsOf(snapshot.bytes);
  let sealed: { key: Uint8Array; of: number } | null = null;
  await wire.send(encode({ s: idBytes(snapshot.id) }));
  for await (const bytes of wire.frames()) {
    const map = asMap(decode(bytes), "an answer of /kin/snapshot/1");
    if (sealed === null) sealed = { ...openAnswer(map, snapshot.id, epochKey), of: most };
    else parts.push(openPart(map, { mesh, snapshot: snapshot.id }, { ...sealed, n: parts.length }));
    if (parts.length === most) break;
  }
  if (sealed === null || parts.length < most)
    throw new KinError("UNREACHABLE", `the peer stopped after ${parts.length} of ${most} parts of a snapshot`);
  const state = concat(...parts);
  if (state.length !== snapshot.bytes || !equal(stateHash(state), snapshot.state))
    throw new KinError(
      "BAD_SIGNATURE",
      `the state that came is not the one that was signed for snapshot ${snapshot.id}`,
    );
  await wire.close();
  return state;
}

function openAnswer(
  map: Record<string, unknown>,
  snapshot: SnapshotId,
  epochKey: (epoch: EpochId) => Uint8Array | undefined,
): { key: Uint8Array } {
  if (map["error"] !== undefined) {
    const { code, message } = asMap(map["error"], "an error");
    throw new KinError(String(code).slice(0, 64), String(message).slice(0, 1024));
  }
  const epoch = idOf<"epoch">(map["e"]);
  const key = epochKey(epoch);
  if (key === undefined)
    throw new KinError("NOT_FOUND", `a snapshot sealed under epoch ${epoch}, whose key is not here yet`);
  return { key: partKey(key, snapshot) };
}

function openPart(
  map: Record<string, unknown>,
  context: SnapshotContext,
  { key, n, of }: { key: Uint8Array; n: number; of: number },
): Uint8Array {
  const { i, x } = map;
  if (map["n"] !== n || !(i instanceof Uint8Array) || i.length !== NONCE_BYTES || !(x instanceof Uint8Array))
    throw new KinError("BAD_REQUEST", `part ${n} of a snapshot is {n, i: 12 bytes, x}`);
  const part = x.length > SNAPSHOT_PART_BYTES + 16 ? null : aeadOpen(key, i, x, partData(context, n, of));
  if (part === null) throw new KinError("BAD_SIGNATURE", `part ${n} of a snapshot is not sealed for it`);
  return part;
}

/** What a holder needs to answer. */
export interface SnapshotHolder {
  mesh: MeshId;
  random: Random;
  /** The epoch to seal under, with its key. */
  epoch(): { epoch: EpochId; key: Uint8Array } | undefined;
  /** @throws KinError NOT_FOUND */
  state(snapshot: SnapshotId): Promise<Uint8Array>;
}

/** Answers one question, then closes. @throws what breaks the wire */
export async function answerSnapshot(wire: Wire, holder: SnapshotHolder): Promise<void> {
  for await (const bytes of wire.frames()) {
    const fields = readFields(decode(bytes), "a question of /kin/snapshot/1");
    const snapshot = fields.id<"snapshot">("s");
    fields.end();
    try {
      await sendState(wire, holder, snapshot);
    } catch (error) {
      if (wire.signal.aborted) throw error;
      const { code, message } = errorShape(error);
      await wire.send(encode({ error: { code, message } }));
    }
    break;
  }
  await wire.close();
}

async function sendState(wire: Wire, holder: SnapshotHolder, snapshot: SnapshotId): Promise<void> {
  const { mesh, random } = holder;
  const state = await holder.state(snapshot);
  const sealing = holder.epoch();
  if (sealing === undefined) throw new KinError("NOT_FOUND", "there is no epoch to seal a snapshot under");
  const of = partsOf(state.length);
  const key = partKey(sealing.key, snapshot);
  await wire.send(encode({ of, e: idBytes(sealing.epoch) }));
  for (let n = 0; n < of; n++) {
    const i = random.bytes(NONCE_BYTES);
    const part = state.subarray(n * SNAPSHOT_PART_BYTES, (n + 1) * SNAPSHOT_PART_BYTES);
    await wire.send(encode({ n, i, x: aeadSeal(key, i, part, partData({ mesh, snapshot }, n, of)) }));
  }
}

/** At least one, so that an empty state is an answer too. */
function partsOf(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / SNAPSHOT_PART_BYTES));
}

function partKey(epochKey: Uint8Array, snapshot: SnapshotId): Uint8Array {
  return hkdf(epochKey, new Uint8Array(), concat(ID_DOMAIN, idBytes(snapshot)), KEY_BYTES);
}

function partData({ mesh, snapshot }: SnapshotContext, n: number, of: number): Uint8Array {
  return encode({ mesh: idBytes(mesh), s: idBytes(snapshot), n, of });
}

/**
 * Bodies of events (F5, R6, R7). A body is bound to its header: it opens in no other event.
 *
 *   clear  = { n, c: value }                         roster records, cards, agent keys, log openings; and everything `here`
 *   mesh   = { n, e: epoch id, x: AES-256-GCM }      key = HKDF-SHA256(epoch key, no salt, "kin/mesh/1" ‖ log)
 *   direct = { n, r: [[device, enc, wrapped]…], x }  key = 32 random bytes, wrapped by HPKE to each device's sealing key
 *
 *   n      = 16 random bytes;   nonce of x = n[0..12];   what x holds = canonical bytes of the value
 *   AAD    = canonical { mesh, epoch?, header: the header without bodyHash }, of x and of each wrapped key
 *   info   = canonical ["kin/direct/1", mesh, author device, log, seq, [devices]];   `r` is ascending by device
 */
import { aeadOpen, aeadSeal, hkdf, hpkeOpen, hpkeSeal } from "#crypto";
import { concat, decode, encode, utf8Bytes, type Value } from "./bytes.ts";
import type { SealingKey } from "./crypto/keys.ts";
import type { Random } from "./effects.ts";
import { KinError } from "./errors.ts";
import {
  encodeUnsealed,
  isBodyOf,
  sortedDeps,
  unsealedParts,
  type EventHeader,
  type StoredEvent,
  type UnsealedHeader,
} from "./events.ts";
import { idBytes, idOf, idOfAgain, type DeviceId, type EpochId, type LogId, type MeshId } from "./ids.ts";
import { MAX_DIRECT_RECIPIENTS } from "./limits.ts";
import { asMap } from "./signature.ts";

/** What a body is to be: how it is sealed, for whom, and what it says. */
export type BodyPlan =
  | { form: "clear"; value: Value }
  | { form: "mesh"; epoch: EpochId; key: Uint8Array; value: Value }
  | { form: "direct"; recipients: readonly { device: DeviceId; sealingKey: Uint8Array }[]; value: Value };

/** Whose event, in which mesh: part of what a body is bound to. */
export interface BodyContext {
  mesh: MeshId;
  /** The device of the log's opening. */
  author: DeviceId;
}

/** The keys that open bodies on this device. */
export interface BodyKeys {
  device: DeviceId;
  /** Epoch keys held, 32 bytes each. */
  epochKey(epoch: EpochId): Uint8Array | undefined;
  /** This device's sealing keys, newest first; older ones until the mail to them has expired (R7). */
  sealingKeys(): readonly SealingKey[];
}

export type OpenedBody =
  | { state: "open"; value: Value }
  /** In order, but not for us to read: an epoch that we lack (it may come, R6), or other devices. */
  | { state: "locked"; why: "epoch"; epoch: EpochId }
  | { state: "locked"; why: "recipients"; recipients: DeviceId[] }
  /** Malformed, or sealed for another event. `message` says what was wrong. */
  | { state: "refused"; message: string };

/** Kinds that everybody must be able to read, members or not, and so are always clear in the mesh chain. */
const CLEAR_KINDS: readonly string[] = ["log-opened", "roster", "agent-key", "re-issued"];
/** Signed by themselves and meant to be shown: clear or sealed, as the author likes. */
const MAYBE_CLEAR_KINDS: readonly string[] = ["card", "here-head"];

const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const KEY_BYTES = 32;
const ENC_BYTES = 32;
const TAG_BYTES = 16;
const WRAPPED_BYTES = KEY_BYTES + TAG_BYTES;
const MESH_KEY_INFO = utf8Bytes("kin/mesh/1");

/**
 * Body bytes for this header.
 * @param encoded {@link encodeUnsealed} of a header whose deps are in order
 * @throws KinError BAD_REQUEST if the plan does not fit the header's audience and kind
 */
export function sealBody(
  context: BodyContext,
  header: UnsealedHeader,
  plan: BodyPlan,
  random: Random,
  encoded?: Uint8Array,
): Uint8Array | Promise<Uint8Array> {
  const misfit = whyMisfit(header, plan.form);
  if (misfit !== null) throw new KinError("BAD_REQUEST", misfit);
  const n = random.bytes(SALT_BYTES);
  switch (plan.form) {
    case "clear":
      return encode({ n, c: plan.value });
    case "mesh": {
      const aad = additionalData(context, plan.epoch, encoded ?? inOrder(header));
      const x = aeadSeal(meshKey(plan.key, header), nonceOf(n), encode(plan.value), aad);
      return encode({ n, e: idBytes(plan.epoch), x });
    }
    case "direct":
      return sealDirect(context, header, plan, n, random);
  }
}

async function sealDirect(
  context: BodyContext,
  header: UnsealedHeader,
  plan: BodyPlan & { form: "direct" },
  n: Uint8Array,
  random: Random,
): Promise<Uint8Array> {
  const recipients = plan.recipients.toSorted((a, b) => (a.device < b.device ? -1 : 1));
  const devices = recipients.map((recipient) => recipient.device);
  const misfit = whyNotRecipients(devices);
  if (misfit !== null) throw new KinError("BAD_REQUEST", misfit);
  const key = random.bytes(KEY_BYTES);
  const aad = additionalData(context, undefined, inOrder(header));
  const info = directInfo(context, header, devices);
  const x = aeadSeal(key, nonceOf(n), encode(plan.value), aad);
  const r = await Promise.all(
    recipients.map(async ({ device, sealingKey }) => {
      const { enc, ciphertext } = await hpkeSeal(sealingKey, info, aad, key);
      return [idBytes(device), enc, ciphertext];
    }),
  );
  return encode({ n, r, x });
}

/** Opens a body with the keys of this device. Whatever the bytes are, it returns; nothing of what it refuses is shown. */
export async function openBody(
  context: BodyContext,
  header: EventHeader,
  body: Uint8Array,
  keys: BodyKeys,
): Promise<OpenedBody> {
  try {
    if (!isBodyOf(header, body)) return refused("the body does not match the header's bodyHash");
    const parsed = parseFitting(header, body);
    return parsed.form === "direct"
      ? await openDirect(context, header, parsed, keys)
      : openForAll(context, header, parsed, keys);
  } catch (error) {
    return refusedFor(error);
  }
}

/**
 * As {@link openBody}, without waiting: for a stored event, whose body is known to match its header's hash, that is not sealed
 * to single devices.
 */
export function openShared(
  context: BodyContext,
  { header, headerBytes, body }: Pick<StoredEvent, "header" | "headerBytes"> & { body: Uint8Array },
  keys: Pick<BodyKeys, "epochKey">,
): OpenedBody {
  try {
    const parsed = parseFitting(header, body);
    return parsed.form === "direct"
      ? refused("the body is sealed to single devices")
      : openForAll(context, header, parsed, keys, unsealedParts(headerBytes));
  } catch (error) {
    return refusedFor(error);
  }
}

function openForAll(
  context: BodyContext,
  header: EventHeader,
  body: ClearBody | MeshBody,
  keys: Pick<BodyKeys, "epochKey">,
  encoded: readonly Uint8Array[] = [inOrder(header)],
): OpenedBody {
  if (body.form === "clear") return { state: "open", value: body.value };
  const key = keys.epochKey(body.epoch);
  if (key === undefined) return { state: "locked", why: "epoch", epoch: body.epoch };
  const plain = aeadOpen(
    meshKey(key, header),
    nonceOf(body.n),
    body.x,
    additionalData(context, body.epoch, ...encoded),
  );
  if (plain === null) return refused(`the body is not sealed for this event under epoch ${body.epoch}`);
  return { state: "open", value: decode(plain) };
}

/** A sealed body begins with its map's head, the key "e" and the head of 32 bytes. */
const SEALED_START = Uint8Array.of(0xa3, 0x61, 0x65, 0x58, 0x20);
const sealedUnder = idOfAgain<"epoch">();

/** The epoch that a body says it is sealed under, without opening or parsing it; null: it is of another form. */
export function epochOf(body: Uint8Array): EpochId | null {
  const end = SEALED_START.length + KEY_BYTES;
  if (body.length < end || SEALED_START.some((byte, i) => body[i] !== byte)) return null;
  return sealedUnder(body.subarray(SEALED_START.length, end));
}

/** The devices to which a direct body is sealed, without opening it; none if it is of another form. */
export function recipientsOf(body: Uint8Array): DeviceId[] {
  const { r } = asMap(decode(body), "an event's body");
  return Array.isArray(r) ? r.map((entry) => idOf<"device">((entry as Value[])[0])) : [];
}

async function openDirect(
  context: BodyContext,
  header: EventHeader,
  body: DirectBody,
  keys: BodyKeys,
): Promise<OpenedBody> {
  const recipients = body.wrapped.map((entry) => entry.device);
  if (!recipients.includes(keys.device)) return { state: "locked", why: "recipients", recipients };
  const key = await unwrapKey(context, header, body, keys);
  if (key === null) return refused("the body is not sealed to a sealing key of this device for this event");
  const plain = aeadOpen(key, nonceOf(body.n), body.x, additionalData(context, undefined, inOrder(header)));
  return plain === null
    ? refused("the content key of a direct body does not open it")
    : { state: "open", value: decode(plain) };
}

async function unwrapKey(
  context: BodyContext,
  header: EventHeader,
  body: DirectBody,
  keys: BodyKeys,
): Promise<Uint8Array | null> {
  const recipients = body.wrapped.map((entry) => entry.device);
  const ours = body.wrapped.find((entry) => entry.device === keys.device);
  if (ours === undefined) return null;
  const aad = additionalData(context, undefined, inOrder(header));
  const info = directInfo(context, header, recipients);
  for (const sealingKey of keys.sealingKeys()) {
    const key = await hpkeOpen(sealingKey, ours, info, aad);
    if (key !== null) return key;
  }
  return null;
}

// ── For an outsider: an export (docs/protocol.md §26) ──

/** The value of a clear body, undefined if the body is sealed. @throws KinError BAD_REQUEST */
export function clearValue(header: EventHeader, body: Uint8Array): Value | undefined {
  const parsed = parseFitting(header, body);
  return parsed.form === "clear" ? parsed.value : undefined;
}

/** The key of one direct body, which opens no other; null if it is not sealed to this device. @throws KinError BAD_REQUEST */
export async function contentKey(
  context: BodyContext,
  header: EventHeader,
  body: Uint8Array,
  keys: BodyKeys,
): Promise<Uint8Array | null> {
  const parsed = parseBody(body);
  return parsed.form === "direct" ? unwrapKey(context, header, parsed, keys) : null;
}

/** What a direct body says, opened by the key that somebody shows; undefined if it does not open it. @throws KinError BAD_REQUEST */
export function openWithKey(
  context: BodyContext,
  header: EventHeader,
  body: Uint8Array,
  key: Uint8Array,
): Value | undefined {
  const parsed = parseFitting(header, body);
  if (parsed.form !== "direct") return undefined;
  const plain = aeadOpen(key, nonceOf(parsed.n), parsed.x, additionalData(context, undefined, inOrder(header)));
  return plain === null ? undefined : decode(plain);
}

/** Whether a mesh body could say this: its length is that of the sealed bytes. Their key is the log's and is never shown. @throws KinError BAD_REQUEST */
export function couldSay(header: EventHeader, body: Uint8Array, value: Uint8Array): boolean {
  const parsed = parseBody(body);
  return parsed.form === "mesh" && header.audience === "mesh" && parsed.x.length === value.length + TAG_BYTES;
}

// ── Shapes ──

interface ClearBody {
  form: "clear";
  value: Value;
}
interface MeshBody {
  form: "mesh";
  n: Uint8Array;
  epoch: EpochId;
  x: Uint8Array;
}
interface DirectBody {
  form: "direct";
  n: Uint8Array;
  wrapped: { device: DeviceId; enc: Uint8Array; ciphertext: Uint8Array }[];
  x: Uint8Array;
}

/** A body that may stand under this header. @throws KinError BAD_REQUEST, TOO_LARGE */
function parseFitting(header: EventHeader, body: Uint8Array): ClearBody | MeshBody | DirectBody {
  const parsed = parseBody(body);
  const misfit = whyMisfit(header, parsed.form);
  if (misfit !== null) throw new KinError("BAD_REQUEST", misfit);
  return parsed;
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
function parseBody(body: Uint8Array): ClearBody | MeshBody | DirectBody {
  const map = asMap(decode(body), "an event's body");
  const { n, c, e, r, x } = map;
  const form = Object.keys(map).toSorted().join(",");
  if (!(n instanceof Uint8Array) || n.length !== SALT_BYTES)
    throw new KinError("BAD_REQUEST", "a body's n is 16 bytes");
  if (form === "c,n") return { form: "clear", value: c as Value };
  if (form === "e,n,x" && x instanceof Uint8Array) return { form: "mesh", n, epoch: idOf(e), x };
  if (form === "n,r,x" && x instanceof Uint8Array && Array.isArray(r))
    return { form: "direct", n, wrapped: parseWrapped(r), x };
  throw new KinError("BAD_REQUEST", `a body is {n, c}, {n, e, x} or {n, r, x}, not {${form}}`);
}

function parseWrapped(entries: unknown[]): DirectBody["wrapped"] {
  const wrapped = entries.map((entry) => {
    const [device, enc, ciphertext] = Array.isArray(entry) && entry.length === 3 ? entry : [];
    if (!(enc instanceof Uint8Array) || enc.length !== ENC_BYTES)
      throw new KinError("BAD_REQUEST", "a recipient of a direct body is [device, 32 bytes, 48 bytes]");
    if (!(ciphertext instanceof Uint8Array) || ciphertext.length !== WRAPPED_BYTES)
      throw new KinError("BAD_REQUEST", "a recipient of a direct body is [device, 32 bytes, 48 bytes]");
    return { device: idOf<"device">(device), enc, ciphertext };
  });
  const misfit = whyNotRecipients(wrapped.map((entry) => entry.device));
  if (misfit !== null) throw new KinError("BAD_REQUEST", misfit);
  return wrapped;
}

function whyNotRecipients(devices: readonly DeviceId[]): string | null {
  if (devices.length === 0 || devices.length > MAX_DIRECT_RECIPIENTS)
    return `a direct body for ${devices.length} devices: 1 to ${MAX_DIRECT_RECIPIENTS}`;
  if (devices.some((device, i) => i > 0 && devices[i - 1]! >= device))
    return "the recipients of a direct body are strictly ascending";
  return null;
}

/** Why a body of this form can't stand under this header, or null if it can. */
function whyMisfit(header: UnsealedHeader, form: BodyPlan["form"]): string | null {
  const { kind, audience } = header;
  switch (audience) {
    case "here":
      return form === "clear" ? null : `a body for "here" is clear, this ${kind} is ${form}`;
    case "direct":
      if (CLEAR_KINDS.includes(kind)) return `a ${kind} event is for the mesh, not for single devices`;
      return form === "direct" ? null : `a direct body is sealed to devices, this ${kind} is ${form}`;
    case "mesh":
      if (MAYBE_CLEAR_KINDS.includes(kind) && form === "clear") return null;
      if (CLEAR_KINDS.includes(kind)) return form === "clear" ? null : `a ${kind} event is clear, this one is ${form}`;
      return form === "mesh" ? null : `a ${kind} event for the mesh is sealed under an epoch, this one is ${form}`;
  }
}

// ── What a body is bound to ──

/** The header is the last of the three, so it is put there as it is encoded already. */
function additionalData({ mesh }: BodyContext, epoch: EpochId | undefined, ...header: Uint8Array[]): Uint8Array {
  if (before === null || before.mesh !== mesh || before.epoch !== epoch) {
    const bytes = encode({
      mesh: idBytes(mesh),
      epoch: epoch === undefined ? undefined : idBytes(epoch),
      header: null,
    });
    before = { mesh, epoch, bytes: bytes.subarray(0, -1) };
  }
  return concat(before.bytes, ...header);
}

/** What comes before the header is the same for all events of an epoch. */
let before: { mesh: MeshId; epoch: EpochId | undefined; bytes: Uint8Array } | null = null;

function inOrder(header: UnsealedHeader): Uint8Array {
  return encodeUnsealed({ ...header, deps: sortedDeps(header.deps) });
}

function directInfo({ mesh, author }: BodyContext, header: UnsealedHeader, devices: readonly DeviceId[]): Uint8Array {
  const { log, seq } = header;
  return encode(["kin/direct/1", idBytes(mesh), idBytes(author), idBytes(log), seq, devices.map(idBytes)]);
}

/** With its key derived anew a sealing took 1.2 to 2.3 times the CPU, so the newest of each epoch key are kept as long as it is. */
const MAX_MESH_KEYS = 256;
const meshKeys = new WeakMap<Uint8Array, Map<LogId, Uint8Array>>();

function meshKey(epochKey: Uint8Array, { log }: UnsealedHeader): Uint8Array {
  const ofEpoch = meshKeys.get(epochKey) ?? new Map<LogId, Uint8Array>();
  meshKeys.set(epochKey, ofEpoch);
  let key = ofEpoch.get(log);
  if (key === undefined) {
    key = hkdf(epochKey, new Uint8Array(), concat(MESH_KEY_INFO, idBytes(log)), KEY_BYTES);
    if (ofEpoch.size >= MAX_MESH_KEYS) ofEpoch.delete(ofEpoch.keys().next().value!);
    ofEpoch.set(log, key);
  }
  return key;
}

function nonceOf(n: Uint8Array): Uint8Array {
  return n.subarray(0, NONCE_BYTES);
}

function refused(message: string): OpenedBody {
  return { state: "refused", message };
}

/** What malformed bytes are to whoever opens them; other errors are ours. */
function refusedFor(error: unknown): OpenedBody {
  if (error instanceof KinError) return refused(error.message);
  throw error;
}

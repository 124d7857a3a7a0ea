/**
 * Every message between agents (§5): who says what to whom, in which mesh, valid until when, signed by the speaker's key.
 *
 *   { v: 1, mesh, from: [person, device, agent | null], to: [person, device | null, agent | null], kind, id, boot?, iat, exp,
 *     hlc, trace?, caps, re?, body | bodyHash }
 *
 * `id` is 16 random bytes (so no leaf can be guessed from its sibling's hash); the envelope's own id is its leaf hash (R18).
 * `from[2] = null` is a person at the CLI: signed by the device's key, kind "envelope/device". An agent signs with its own
 * key, kind "envelope/agent", bound to the device by an `agent-key` record (F3).
 */
import { decode, encode, fromHex, type Value } from "./bytes.ts";
import { KinError } from "./errors.ts";
import { idBytes, idOf, isName, type DeviceId, type EnvelopeId, type MeshId, type PersonId } from "./ids.ts";
import { MAX_ENVELOPE_BYTES, MAX_ENVELOPE_LIFE_MS, SKEW_LIMIT_MS, TOOL_NAME_PATTERN } from "./limits.ts";
import { asMap, isSealedLeaf, leafHash, type Sealed, type SealKind } from "./signature.ts";

/** What an envelope says. `invoke/*` live and durable calls alike. */
export const ENVELOPE_KINDS = [
  "invoke/request",
  "invoke/accepted",
  "invoke/refused",
  "invoke/progress",
  "invoke/result",
  "invoke/failure",
  "invoke/cancel",
  "invoke/resume",
] as const;
export type EnvelopeKind = (typeof ENVELOPE_KINDS)[number];

export interface Sender {
  person: PersonId;
  device: DeviceId;
  /** null: the person at the CLI. */
  agent: string | null;
}

export interface Recipient {
  person: PersonId;
  /** null only in a durable request that any device of the person may pick up by R8's rule; live ones name one. */
  device: DeviceId | null;
  /** An agent's or a tool's name; null: the caller at the CLI. */
  agent: string | null;
}

export interface Envelope {
  mesh: MeshId;
  from: Sender;
  to: Recipient;
  kind: EnvelopeKind;
  /** 16 random bytes. */
  id: Uint8Array;
  /** Callee's boot id, 16 bytes: in every live request (R11). */
  boot?: Uint8Array | undefined;
  /** Wall ms. */
  iat: number;
  exp: number;
  /** 8 bytes (F1). */
  hlc: Uint8Array;
  /** W3C traceparent. */
  trace?: string | undefined;
  /** Capabilities that travel along. */
  caps: Uint8Array[];
  /** Hash of the request that this belongs to (R11). */
  re?: EnvelopeId | undefined;
  body?: Value | undefined;
  /** Instead of `body`, when it travels as a blob (F6). */
  bodyHash?: Uint8Array | undefined;
}

/** Capabilities in one envelope: a chain has at most 8 links (§8), and a call needs a few. */
const MAX_CAPS = 32;

const KEYS = new Set([
  "v",
  "mesh",
  "from",
  "to",
  "kind",
  "id",
  "boot",
  "iat",
  "exp",
  "hlc",
  "trace",
  "caps",
  "re",
  "body",
  "bodyHash",
]);

export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const { from, to } = envelope;
  const bytes = encode({
    v: 1,
    mesh: idBytes(envelope.mesh),
    from: [idBytes(from.person), idBytes(from.device), from.agent],
    to: [idBytes(to.person), to.device === null ? null : idBytes(to.device), to.agent],
    kind: envelope.kind,
    id: envelope.id,
    boot: envelope.boot,
    iat: envelope.iat,
    exp: envelope.exp,
    hlc: envelope.hlc,
    trace: envelope.trace,
    caps: envelope.caps,
    re: envelope.re === undefined ? undefined : fromHex(envelope.re),
    body: envelope.body,
    bodyHash: envelope.bodyHash,
  });
  if (bytes.length > MAX_ENVELOPE_BYTES)
    throw new KinError(
      "TOO_LARGE",
      `an envelope of ${bytes.length} bytes: at most ${MAX_ENVELOPE_BYTES}; send what is large as an attachment`,
    );
  return bytes;
}

/** Shape only: signature, time, mesh and replay are the caller's next questions. @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION */
export function decodeEnvelope(bytes: Uint8Array): Envelope {
  if (bytes.length > MAX_ENVELOPE_BYTES)
    throw new KinError("TOO_LARGE", `an envelope of ${bytes.length} bytes: at most ${MAX_ENVELOPE_BYTES}`);
  const map = asMap(decode(bytes), "an envelope");
  if (map["v"] !== 1)
    throw new KinError("UNSUPPORTED_VERSION", `an envelope of version ${String(map["v"])}: this kin reads version 1`);
  for (const key of Object.keys(map))
    if (!KEYS.has(key)) throw new KinError("BAD_REQUEST", `an envelope has no field "${key}"`);
  const { from, to, kind, id, boot, iat, exp, hlc, trace, caps, re, body, bodyHash } = map;
  if (!ENVELOPE_KINDS.includes(kind as EnvelopeKind))
    throw new KinError("BAD_REQUEST", `unknown envelope kind ${JSON.stringify(kind)}`);
  if (!isBytes(id, 16)) throw new KinError("BAD_REQUEST", "an envelope's id is 16 bytes");
  if (boot !== undefined && !isBytes(boot, 16)) throw new KinError("BAD_REQUEST", "an envelope's boot is 16 bytes");
  if (!isBytes(hlc, 8)) throw new KinError("BAD_REQUEST", "an envelope's hlc is 8 bytes");
  if (!isMs(iat) || !isMs(exp)) throw new KinError("BAD_REQUEST", "an envelope's iat and exp are integer ms");
  if (
    trace !== undefined &&
    !(typeof trace === "string" && /^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(trace))
  )
    throw new KinError("BAD_REQUEST", "an envelope's trace is a W3C traceparent");
  if (!Array.isArray(caps) || caps.length > MAX_CAPS || !caps.every((cap) => cap instanceof Uint8Array))
    throw new KinError("BAD_REQUEST", `an envelope's caps are at most ${MAX_CAPS} byte strings`);
  if ((body === undefined) === (bodyHash === undefined))
    throw new KinError("BAD_REQUEST", "an envelope has a body or a bodyHash");
  if (bodyHash !== undefined && !isBytes(bodyHash, 32))
    throw new KinError("BAD_REQUEST", "an envelope's bodyHash is 32 bytes");
  const envelope: Envelope = {
    mesh: idOf(map["mesh"]),
    from: parseSender(from),
    to: parseRecipient(to),
    kind: kind as EnvelopeKind,
    id,
    iat,
    exp,
    hlc,
    caps: caps,
  };
  if (boot !== undefined) envelope.boot = boot;
  if (trace !== undefined) envelope.trace = trace;
  if (re !== undefined) envelope.re = idOf(re);
  if (body !== undefined) envelope.body = body as Value;
  if (bodyHash !== undefined) envelope.bodyHash = bodyHash;
  return envelope;
}

function parseSender(value: unknown): Sender {
  if (!Array.isArray(value) || value.length !== 3)
    throw new KinError("BAD_REQUEST", "an envelope's from is [person, device, agent | null]");
  const agent = parseName(value[2], "from");
  if (agent !== null && !isName(agent))
    throw new KinError("BAD_REQUEST", `an envelope is from an agent or a person, never from the tool ${agent}`);
  return { person: idOf(value[0]), device: idOf(value[1]), agent };
}

function parseRecipient(value: unknown): Recipient {
  if (!Array.isArray(value) || value.length !== 3)
    throw new KinError("BAD_REQUEST", "an envelope's to is [person, device | null, agent | null]");
  return {
    person: idOf(value[0]),
    device: value[1] === null ? null : idOf(value[1]),
    agent: parseName(value[2], "to"),
  };
}

function parseName(value: unknown, where: string): string | null {
  if (value === null) return null;
  if (typeof value !== "string" || !(isName(value) || TOOL_NAME_PATTERN.test(value)))
    throw new KinError(
      "BAD_REQUEST",
      `an envelope's ${where} names ${JSON.stringify(value)}, which is no agent's or tool's name`,
    );
  return value;
}

function isBytes(value: unknown, length: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length === length;
}

function isMs(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** The leaf kind under which an envelope of this sender is sealed. */
export function envelopeSealKind(from: Sender): SealKind {
  return from.agent === null ? "envelope/device" : "envelope/agent";
}

export function envelopeId(sealed: Sealed, from: Sender): EnvelopeId {
  return idOf(leafHash(envelopeSealKind(from), sealed.bytes));
}

export interface OpenedEnvelope {
  envelope: Envelope;
  id: EnvelopeId;
  sealed: Sealed;
}

/**
 * Decodes and checks the signature. `keyMaySpeakFor` says whether this key is the device's (agent null) or is bound to that
 * agent on that device by a living agent-key record.
 * @throws KinError BAD_REQUEST, BAD_SIGNATURE …
 */
export function openEnvelope(
  sealed: Sealed,
  keyMaySpeakFor: (key: Uint8Array, from: Sender) => boolean,
): OpenedEnvelope {
  const envelope = decodeEnvelope(sealed.bytes);
  if (!keyMaySpeakFor(sealed.seal.key, envelope.from))
    throw new KinError(
      "BAD_SIGNATURE",
      `the signing key does not belong to ${envelope.from.agent ?? "the device"} that the envelope is from`,
    );
  const kind = envelopeSealKind(envelope.from);
  const leaf = leafHash(kind, sealed.bytes);
  if (!isSealedLeaf(leaf, sealed.seal)) throw new KinError("BAD_SIGNATURE", "the envelope's signature does not match");
  return { envelope, id: idOf(leaf), sealed };
}

/**
 * Clock bounds of a live envelope (§5). @throws KinError EXPIRED, CLOCK_SKEW, BAD_REQUEST
 * @param now wall ms of the checker
 */
export function checkTimes(envelope: Envelope, now: number): void {
  if (envelope.exp <= envelope.iat || envelope.exp - envelope.iat > MAX_ENVELOPE_LIFE_MS)
    throw new KinError(
      "BAD_REQUEST",
      `an envelope lives for at most ${MAX_ENVELOPE_LIFE_MS / 60_000} min, this one says ${Math.round((envelope.exp - envelope.iat) / 1000)} s`,
    );
  if (envelope.iat > now + SKEW_LIMIT_MS)
    throw new KinError(
      "CLOCK_SKEW",
      `the envelope is from ${Math.round((envelope.iat - now) / 1000)} s in the future: the sender's clock is ahead of ours or ours is behind`,
    );
  if (envelope.exp <= now)
    throw new KinError("EXPIRED", `the envelope expired ${Math.round((now - envelope.exp) / 1000)} s ago`);
}

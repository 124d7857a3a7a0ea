/**
 * Ids and the strings that people paste. On the wire an id is 32 raw bytes (F1); in memory it is its lower-case hex,
 * branded, so that it can be a Map key and that one kind is never taken for another. For people it has a prefix (F2).
 */
import { base32 } from "multiformats/bases/base32";
import { sha256 } from "#crypto";
import { concat, equal, fromHex, toHex } from "./bytes.ts";
import { KinError } from "./errors.ts";
import { NAME_PATTERN, TOOL_NAME_PATTERN } from "./limits.ts";

export type Id<Kind extends string> = string & { readonly __kind: Kind };
/** SHA-256 of the genesis record. */
export type MeshId = Id<"mesh">;
/** Hash of the record that admitted the person; for the founder of the genesis (R1). Outlives every key. */
export type PersonId = Id<"person">;
/** The device's Ed25519 public key: the same key as its libp2p peer id. */
export type DeviceId = Id<"device">;
/** An agent's Ed25519 public key. */
export type AgentKey = Id<"agent-key">;
/** Leaf hash of a roster record (R18). */
export type RecordId = Id<"record">;
/** SHA-256 of an event's header. */
export type EventId = Id<"event">;
/** SHA-256 of a log's opening: mesh, device, incarnation, chain. */
export type LogId = Id<"log">;
/** Leaf hash of an envelope (R18). */
export type EnvelopeId = Id<"envelope">;
/** Hash of the `epoch` record that opened it (R6). */
export type EpochId = Id<"epoch">;

/** Names an id of 32 bytes. @throws KinError BAD_REQUEST if it has another length. */
export function idOf<Kind extends string>(bytes: unknown): Id<Kind> {
  if (!(bytes instanceof Uint8Array) || bytes.length !== 32)
    throw new KinError(
      "BAD_REQUEST",
      `an id is 32 bytes, got ${bytes instanceof Uint8Array ? `${bytes.length} bytes` : typeof bytes}`,
    );
  return toHex(bytes) as Id<Kind>;
}

/** An {@link idOf} that knows the last one again: a run names its log and its epoch a thousand times. */
export function idOfAgain<Kind extends string>(): (bytes: unknown) => Id<Kind> {
  let last: { bytes: Uint8Array; id: Id<Kind> } | null = null;
  return (bytes) => {
    if (last !== null && bytes instanceof Uint8Array && equal(bytes, last.bytes)) return last.id;
    const id = idOf<Kind>(bytes);
    last = { bytes: idBytes(id), id };
    return id;
  };
}

export function idBytes(id: Id<string>): Uint8Array {
  return fromHex(id);
}

export type TextPrefix = "kint" | "kinc" | "kinm" | "kinp" | "kine" | "kini";

const WHAT: Record<TextPrefix, string> = {
  kint: "a ticket (kin join)",
  kinc: "a capability (kin grants)",
  kinm: "a mesh id",
  kinp: "a person id (kin members)",
  kine: "an event id (kin log)",
  kini: "an invocation id (kin wait)",
};
const TEXT_VERSION = 1;

/** `prefix` + version digit + lower-case base32 of `version byte ‖ body ‖ first 4 bytes of SHA-256 of both` (F2). */
export function formatText(prefix: TextPrefix, body: Uint8Array): string {
  const payload = concat(Uint8Array.of(TEXT_VERSION), body);
  return `${prefix}${TEXT_VERSION}${base32.baseEncode(concat(payload, sha256(payload).subarray(0, 4)))}`;
}

export type ParsedText =
  | { ok: true; body: Uint8Array }
  | { ok: false; why: "other" | "wrong-kind" | "version" | "damaged"; message: string };

/** Reads a pasted string, in any case (a QR code is upper case), ignoring white space around and line breaks within. */
export function parseText(prefix: TextPrefix, pasted: string): ParsedText {
  const text = pasted.replace(/\s+/g, "").toLowerCase();
  const found = /^(kin[tcmpei])(\d)([a-z2-7]*)$/.exec(text);
  const loose = /^(kin[tcmpei])(\d)/.exec(text);
  const shown = pasted.trim().length > 24 ? `${pasted.trim().slice(0, 24)}…` : pasted.trim();
  if (loose === null)
    return {
      ok: false,
      why: "other",
      message: `"${shown}" is not ${WHAT[prefix]}: that starts with ${prefix}${TEXT_VERSION}`,
    };
  if (loose[1] !== prefix)
    return {
      ok: false,
      why: "wrong-kind",
      message: `"${shown}" is ${WHAT[loose[1] as TextPrefix]}, expected ${WHAT[prefix]}`,
    };
  if (loose[2] !== String(TEXT_VERSION))
    return {
      ok: false,
      why: "version",
      message: `"${shown}" has version ${loose[2]}, this kin reads version ${TEXT_VERSION}`,
    };
  if (found === null)
    return { ok: false, why: "damaged", message: `"${shown}" has characters that do not belong there` };
  let bytes: Uint8Array;
  try {
    bytes = base32.baseDecode(found[3]!);
  } catch {
    return { ok: false, why: "damaged", message: `"${shown}" is cut off or has a wrong character` };
  }
  const payload = bytes.subarray(0, -4);
  if (
    bytes.length < 6 ||
    payload[0] !== TEXT_VERSION ||
    !equal(sha256(payload).subarray(0, 4), bytes.subarray(-4)) ||
    base32.baseEncode(bytes) !== found[3]
  )
    return {
      ok: false,
      why: "damaged",
      message: `"${shown}" is damaged: its checksum does not match (is a piece missing?)`,
    };
  return { ok: true, body: payload.subarray(1) };
}

/** `<mesh>` in protocol ids: base32 of the first 16 bytes (F1). */
export function meshTag(mesh: MeshId): string {
  return base32.baseEncode(idBytes(mesh).subarray(0, 16));
}

/** First 4 characters of the person id's text, as in `ana~k3f9` (F7). */
export function personTag(person: PersonId): string {
  return base32.baseEncode(idBytes(person)).slice(0, 4);
}

export function isName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/** What a user types: `ana/reviewer`, `ana@laptop/reviewer`, `ana~k3f9/tools/git.log`, `ana/models/qwen3`. */
export interface Address {
  person: string;
  /** From `~`, 4 characters. */
  tag?: string | undefined;
  /** From `@`. */
  device?: string | undefined;
  kind: "agent" | "tool" | "model";
  name: string;
}

/** @throws KinError USAGE that says which part is wrong. */
export function parseAddress(text: string): Address {
  const [who, ...rest] = text.split("/");
  const found = /^([a-z][a-z0-9-]{0,31})(?:~([a-z2-7]{4}))?(?:@([a-z][a-z0-9-]{0,31}))?$/.exec(who ?? "");
  const form = "an address looks like ana/reviewer, ana@laptop/reviewer or ana/tools/git.log";
  if (found === null) throw new KinError("USAGE", `"${text}" does not name a person: ${form}`);
  const base = { person: found[1]!, tag: found[2], device: found[3] };
  if (rest.length === 1 && isName(rest[0]!)) return { ...base, kind: "agent", name: rest[0]! };
  if (rest.length === 2 && rest[0] === "tools" && TOOL_NAME_PATTERN.test(rest[1]!))
    return { ...base, kind: "tool", name: rest[1]! };
  if (rest.length === 2 && rest[0] === "models" && rest[1] !== "") return { ...base, kind: "model", name: rest[1]! };
  throw new KinError("USAGE", `"${text}" does not name an agent or a tool: ${form}`);
}

/**
 * Cards: what an agent or a tool says of itself, signed by its device (kind "card"). They travel as events, as DHT provider
 * records under CIDs of `agent:<name>`, `tool:<name>`, `skill:<tag>`, and over `/kin/card/1`.
 */
import { decode, encode } from "./bytes.ts";
import { KinError } from "./errors.ts";
import { idBytes, idOf, isName, type AgentKey, type DeviceId, type MeshId, type PersonId } from "./ids.ts";
import { MAX_ARRAY_ITEMS, TOOL_NAME_PATTERN } from "./limits.ts";
import type { Membership } from "./membership.ts";
import { asMap, isSealed, type Sealed } from "./signature.ts";
import type { Json } from "./tool.ts";

/** Who may ask: all members, or these persons. Default deny (§6, part 7). */
export type Allowed = { mesh: true } | { persons: PersonId[] };

export interface AgentCard {
  kind: "agent";
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  name: string;
  description: string;
  skills: string[];
  /** The agent's own Ed25519 key and its generation (R17). */
  key: AgentKey;
  generation: number;
  /** Who may ask, so that a listing can say `mayAsk`; the callee decides. */
  allowed: Allowed;
  /** Names of shares it can be asked about. */
  shares: string[];
  /** Integer ms; the newest of one (device, name) counts. */
  issuedAt: number;
  /** True: the agent is gone. */
  ended: boolean;
}

export interface ToolCard {
  kind: "tool";
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  name: string;
  description: string;
  inputSchema: { [key: string]: Json };
  readOnly: boolean;
  allowed: Allowed;
  shares: string[];
  issuedAt: number;
  ended: boolean;
}

export type Card = AgentCard | ToolCard;

/** A card's text fields, in characters: enough to choose by, too short to smuggle a document. */
const MAX_DESCRIPTION = 2000;
const MAX_SCHEMA_TEXT = 32 * 1024;
const MAX_TAGS = 64;

/** Canonical bytes, to be sealed by the device's key as kind "card". Times are wall ms; the schema travels as JSON text (F1). */
export function encodeCard(card: Card): Uint8Array {
  return encode({
    v: 1,
    kind: card.kind,
    mesh: idBytes(card.mesh),
    person: idBytes(card.person),
    device: idBytes(card.device),
    name: card.name,
    description: card.description,
    allowed: "mesh" in card.allowed ? "mesh" : card.allowed.persons.map(idBytes),
    shares: card.shares,
    at: card.issuedAt,
    ended: card.ended,
    ...(card.kind === "agent"
      ? { skills: card.skills, key: idBytes(card.key), gen: card.generation }
      : { schema: JSON.stringify(card.inputSchema), ro: card.readOnly }),
  });
}

/** Shape only. @throws KinError BAD_REQUEST, UNSUPPORTED_VERSION */
export function parseCard(bytes: Uint8Array): Card {
  const map = asMap(decode(bytes), "a card");
  if (map["v"] !== 1)
    throw new KinError("UNSUPPORTED_VERSION", `a card of version ${String(map["v"])}: this kin reads version 1`);
  const { kind, name, description, at, ended } = map;
  if (typeof description !== "string" || description.length > MAX_DESCRIPTION)
    throw bad(`a description of at most ${MAX_DESCRIPTION} characters`);
  if (typeof at !== "number" || at < 0 || typeof ended !== "boolean") throw bad("an issue time and an end mark");
  const base = {
    mesh: idOf<"mesh">(map["mesh"]),
    person: idOf<"person">(map["person"]),
    device: idOf<"device">(map["device"]),
    description,
    allowed: parseAllowed(map["allowed"]),
    shares: names(map["shares"], "shares"),
    issuedAt: at,
    ended,
  };
  if (kind === "agent") {
    onlyKeys(map, ["skills", "key", "gen"]);
    if (typeof name !== "string" || !isName(name)) throw bad("an agent's name");
    if (typeof map["gen"] !== "number" || map["gen"] < 1) throw bad("a generation from 1");
    return {
      kind,
      name,
      ...base,
      skills: names(map["skills"], "skills"),
      key: idOf(map["key"]),
      generation: map["gen"],
    };
  }
  if (kind === "tool") {
    onlyKeys(map, ["schema", "ro"]);
    if (typeof name !== "string" || !TOOL_NAME_PATTERN.test(name)) throw bad("a tool's name");
    if (typeof map["ro"] !== "boolean") throw bad("whether it is read-only");
    return { kind, name, ...base, inputSchema: parseSchema(map["schema"]), readOnly: map["ro"] };
  }
  throw bad(`kind "agent" or "tool", not ${JSON.stringify(kind)}`);
}

export interface OpenedCard {
  card: Card;
  sealed: Sealed;
}

/**
 * Decodes and verifies: the seal is the device's, the device is a living one of that person in this mesh.
 * @throws KinError BAD_REQUEST, BAD_SIGNATURE, WRONG_MESH, NOT_A_MEMBER
 */
export function openCard(sealed: Sealed, membership: Membership): OpenedCard {
  const card = parseCard(sealed.bytes);
  if (card.mesh !== membership.mesh) throw new KinError("WRONG_MESH", `the card of ${card.name} is of another mesh`);
  if (idOf(sealed.seal.key) !== card.device || !isSealed("card", sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", `the card of ${card.name} is not signed by the device that it names`);
  if (membership.devices.get(card.device)?.member.person !== card.person)
    throw new KinError("NOT_A_MEMBER", `the card of ${card.name} is of a device that is not a member's`);
  return { card, sealed };
}

/** May this person ask it, as far as the card says? The callee decides. */
export function isAllowed(allowed: Allowed, person: PersonId): boolean {
  return "mesh" in allowed || allowed.persons.includes(person);
}

/** One card a device, kind and name: the newest counts. */
export function cardSlot(card: Card): string {
  return `${card.device}/${card.kind}/${card.name}`;
}

const BASE_KEYS = ["v", "kind", "mesh", "person", "device", "name", "description", "allowed", "shares", "at", "ended"];

function onlyKeys(map: Record<string, unknown>, more: string[]): void {
  for (const key of Object.keys(map))
    if (!BASE_KEYS.includes(key) && !more.includes(key))
      throw new KinError("BAD_REQUEST", `a card has no field "${key}"`);
}

function parseAllowed(value: unknown): Allowed {
  if (value === "mesh") return { mesh: true };
  if (!Array.isArray(value) || value.length > MAX_ARRAY_ITEMS) throw bad('"mesh" or a list of persons');
  return { persons: value.map((person) => idOf(person)) };
}

function names(value: unknown, what: string): string[] {
  if (
    !Array.isArray(value) ||
    value.length > MAX_TAGS ||
    !value.every((name) => typeof name === "string" && isName(name))
  )
    throw bad(`${what}: at most ${MAX_TAGS} names`);
  return value;
}

function parseSchema(value: unknown): { [key: string]: Json } {
  if (typeof value !== "string" || value.length > MAX_SCHEMA_TEXT) throw bad("a JSON Schema of at most 32 KiB");
  let schema: unknown;
  try {
    schema = JSON.parse(value);
  } catch {
    throw bad("a JSON Schema that is JSON");
  }
  return asMap(schema, "a JSON Schema") as { [key: string]: Json };
}

function bad(expected: string): KinError {
  return new KinError("BAD_REQUEST", `a card needs ${expected}`);
}

/**
 * Which key speaks for which agent (F3, R17): records signed by the device, told in hello, carried as events, joined to every export.
 *
 *   agent-key   = { v: 1, type: "agent-key", mesh, person, device, agent, key, generation, hlc, n }     sealed by the device's key, kind "agent-key"
 *   agent-ended = { v: 1, type: "agent-ended", mesh, person, device, agent, generation, hlc, n }
 *
 * The key is random, for one (mesh, agent, generation). A higher generation, or an end at that generation or above, ends it for
 * new messages; what it signed before stays verifiable.
 */
import { isAdmissibleKey } from "#crypto";
import { decode, encode, equal } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import type { Sender } from "./envelope.ts";
import { KinError } from "./errors.ts";
import { readFields } from "./fields.ts";
import { idBytes, idOf, type AgentKey, type DeviceId, type MeshId, type PersonId, type RecordId } from "./ids.ts";
import type { Membership } from "./membership.ts";
import { isSealed, leafHash, sealOne, type Sealed } from "./signature.ts";

/** A device has at most this many agents, and an agent this many keys in its life: a registry entry each. */
export const MAX_AGENTS_PER_DEVICE = 256;
export const MAX_AGENT_GENERATIONS = 1024;

export interface AgentKeyRecord {
  /** Leaf hash. */
  id: RecordId;
  type: "agent-key" | "agent-ended";
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  /** F7. */
  agent: string;
  /** null exactly in an agent-ended record. */
  key: AgentKey | null;
  /** From 1. */
  generation: number;
  /** 8 bytes (F1). */
  hlc: Uint8Array;
  sealed: Sealed;
}

/** Binds `key`, or ends the agent where it is null. `n`: 16 random bytes. */
export function makeAgentKey(
  device: SigningKey,
  fields: {
    mesh: MeshId;
    person: PersonId;
    agent: string;
    key: AgentKey | null;
    generation: number;
    hlc: Uint8Array;
    n: Uint8Array;
  },
): AgentKeyRecord {
  const { mesh, person, agent, key, generation, hlc, n } = fields;
  const bytes = encode({
    v: 1,
    type: key === null ? "agent-ended" : "agent-key",
    mesh: idBytes(mesh),
    person: idBytes(person),
    device: device.publicKey,
    agent,
    key: key === null ? undefined : idBytes(key),
    generation,
    hlc,
    n,
  });
  return parseAgentKey(sealOne(device, "agent-key", bytes));
}

/** Shape, signature and key; whose device it is, is asked when it is used. @throws KinError BAD_REQUEST, UNSUPPORTED_VERSION, BAD_SIGNATURE */
export function parseAgentKey(sealed: Sealed): AgentKeyRecord {
  const fields = readFields(decode(sealed.bytes), "an agent-key record");
  const version = fields.raw("v");
  if (version !== 1)
    throw new KinError("UNSUPPORTED_VERSION", `an agent-key record of version ${JSON.stringify(version)}, expected 1`);
  const type = fields.oneOf("type", ["agent-key", "agent-ended"]);
  const record: AgentKeyRecord = {
    id: idOf(leafHash("agent-key", sealed.bytes)),
    type,
    mesh: fields.id("mesh"),
    person: fields.id("person"),
    device: fields.id("device"),
    agent: fields.name("agent"),
    key: type === "agent-key" ? fields.id("key") : null,
    generation: fields.integer("generation", 1, Number.MAX_SAFE_INTEGER),
    hlc: fields.bytes("hlc", 8),
    sealed,
  };
  fields.bytes("n", 16);
  fields.end();
  if (!equal(sealed.seal.key, idBytes(record.device)) || !isSealed("agent-key", sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", `the agent-key record of ${record.agent} is not signed by its device`);
  if (record.key !== null && !isAdmissibleKey(idBytes(record.key)))
    throw new KinError("BAD_REQUEST", `the key of ${record.agent} is not an Ed25519 key of prime order (R15)`);
  return record;
}

export interface AgentKeys {
  /** Takes a record in; one that is known changes nothing. @throws KinError as {@link parseAgentKey}, WRONG_MESH, TOO_LARGE */
  bind(sealed: Sealed): AgentKeyRecord;
  /** For `openEnvelope`: a living device of that person for a person at the CLI; for an agent its newest key that has not ended. */
  maySpeakFor(key: Uint8Array, from: Sender, membership: Membership): boolean;
  /** For what was signed earlier: any key that the device ever bound to the agent. */
  couldSpeakFor(key: Uint8Array, from: Sender): boolean;
  /** The newest key record of an agent, undefined if it has none or has ended. */
  current(device: DeviceId, agent: string): AgentKeyRecord | undefined;
  /** All records of a device: what hello tells. */
  ofDevice(device: DeviceId): AgentKeyRecord[];
}

interface AgentEntry {
  records: Map<RecordId, AgentKeyRecord>;
  newest: AgentKeyRecord | undefined;
  endedAt: number;
}

export function createAgentKeys(mesh: MeshId): AgentKeys {
  const byDevice = new Map<DeviceId, Map<string, AgentEntry>>();

  function bind(sealed: Sealed): AgentKeyRecord {
    const record = parseAgentKey(sealed);
    if (record.mesh !== mesh)
      throw new KinError("WRONG_MESH", `an agent-key record of the mesh ${record.mesh}, expected ${mesh}`);
    const entry = entryOf(record);
    if (entry.records.has(record.id)) return record;
    if (entry.records.size >= MAX_AGENT_GENERATIONS)
      throw new KinError("TOO_LARGE", `${record.agent} has ${MAX_AGENT_GENERATIONS} key records, the most`);
    entry.records.set(record.id, record);
    if (record.type === "agent-ended") entry.endedAt = Math.max(entry.endedAt, record.generation);
    else if (isNewer(record, entry.newest)) entry.newest = record;
    return record;
  }

  function entryOf(record: AgentKeyRecord): AgentEntry {
    const agents = byDevice.get(record.device) ?? new Map<string, AgentEntry>();
    const entry = agents.get(record.agent) ?? { records: new Map(), newest: undefined, endedAt: 0 };
    if (!agents.has(record.agent) && agents.size >= MAX_AGENTS_PER_DEVICE)
      throw new KinError("TOO_LARGE", `one device has at most ${MAX_AGENTS_PER_DEVICE} agents`);
    byDevice.set(record.device, agents.set(record.agent, entry));
    return entry;
  }

  function current(device: DeviceId, agent: string): AgentKeyRecord | undefined {
    const entry = byDevice.get(device)?.get(agent);
    return entry?.newest !== undefined && entry.newest.generation > entry.endedAt ? entry.newest : undefined;
  }

  return {
    bind,
    current,
    maySpeakFor(key, from, membership) {
      if (membership.devices.get(from.device)?.member.person !== from.person) return false;
      if (from.agent === null) return equal(key, idBytes(from.device));
      const record = current(from.device, from.agent);
      return record?.person === from.person && record.key !== null && equal(key, idBytes(record.key));
    },
    couldSpeakFor(key, from) {
      if (from.agent === null) return equal(key, idBytes(from.device));
      const records = byDevice.get(from.device)?.get(from.agent)?.records.values() ?? [];
      return [...records].some(
        (record) => record.person === from.person && record.key !== null && equal(key, idBytes(record.key)),
      );
    },
    ofDevice: (device) => [...(byDevice.get(device)?.values() ?? [])].flatMap((entry) => [...entry.records.values()]),
  };
}

/** Of two keys of one generation, which only a faulty device binds, the one with the lower record id holds everywhere. */
function isNewer(record: AgentKeyRecord, than: AgentKeyRecord | undefined): boolean {
  if (than === undefined || record.generation !== than.generation) return record.generation > (than?.generation ?? 0);
  return record.id < than.id;
}

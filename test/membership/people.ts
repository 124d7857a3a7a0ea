/** A mesh of made-up people: real keys, real records, each person with a view of his own of what was written so far. */
import { sealingKeyFromSeed, sha256, signingKeyFromSeed } from "#crypto";
import { toHex, utf8Bytes } from "../../protocols/bytes.ts";
import type { SealingKey, SigningKey } from "../../protocols/crypto/keys.ts";
import {
  idBytes,
  idOf,
  type DeviceId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
} from "../../protocols/ids.ts";
import type { Membership, Role } from "../../protocols/membership.ts";
import {
  makeCertificate,
  makeGenesis,
  makeProof,
  makeRecord,
  personIdOf,
  stampOf,
  type BodyOf,
  type LogCut,
  type NewDevice,
  type ReadPolicy,
  type RosterRecord,
  type RosterType,
} from "../../protocols/roster-record.ts";
import { foldRoster } from "../../protocols/roster.ts";
import { ticketKey } from "../../protocols/ticket.ts";

export const NOW = 1_800_000_000_000;
export const HOUR = 3_600_000;

const keyOf = (text: string): Uint8Array => sha256(utf8Bytes(text));

let drawn = 0;
/** Different each time, the same in each run. */
export function someBytes(count: number): Uint8Array {
  return keyOf(`bytes ${drawn++}`).slice(0, count);
}

export interface Machine {
  key: SigningKey;
  id: DeviceId;
  name: string;
  sealing: SealingKey;
}

export interface Person {
  name: string;
  key: SigningKey;
  /** The machine that he writes with. */
  machine: Machine;
  /** Set when he is admitted. */
  id: PersonId;
  /** What he knows, causes first. */
  view: RosterRecord[];
}

export function machine(name: string, seed = name): Machine {
  const key = signingKeyFromSeed(keyOf(`device ${seed}`));
  return { key, id: idOf(key.publicKey), name, sealing: sealingKeyFromSeed(keyOf(`sealing ${seed}`)) };
}

export function person(name: string): Person {
  return {
    name,
    key: signingKeyFromSeed(keyOf(`person ${name}`)),
    machine: machine("laptop", `${name} laptop`),
    id: idOf(new Uint8Array(32)),
    view: [],
  };
}

export function newDevice(of: Machine): NewDevice {
  return { id: of.id, name: of.name, sealingKey: of.sealing.publicKey };
}

export function found(name = "ben", policy: ReadPolicy = "reads-all", recovery?: Uint8Array): Person {
  const founder = person(name);
  const genesis = makeGenesis(
    { mesh: "team", name, personKey: founder.key, device: newDevice(founder.machine), policy, recovery },
    { hlc: stampOf(NOW), n: someBytes(16), certificateN: someBytes(16) },
  );
  founder.id = personIdOf(genesis.id);
  founder.view = [genesis];
  return founder;
}

export function meshOf(who: Person): MeshId {
  return who.view[0]!.mesh;
}

export function headsOf(records: RosterRecord[]): RosterRecord["id"][] {
  const named = new Set(records.flatMap((record) => record.parents));
  return records.map((record) => record.id).filter((id) => !named.has(id));
}

export interface Stamped {
  /** Wall ms. */
  at?: number;
  /** What he pretends to know, for a back-dated record. */
  knowing?: RosterRecord[];
  /** Instead of his own machine. */
  on?: Machine;
  /** Whom he pretends to be. */
  as?: PersonId;
}

/** Writes a record, rightful or not, on top of what `who` knows. */
export function act<T extends Exclude<RosterType, "genesis">>(
  who: Person,
  body: BodyOf<T>,
  { at = NOW, knowing = who.view, on = who.machine, as = who.id }: Stamped = {},
): RosterRecord<T> {
  const record = makeRecord(
    { mesh: meshOf(who), person: as, device: on.key, parents: headsOf(knowing), hlc: stampOf(at), n: someBytes(16) },
    body,
  );
  learn(who, [record]);
  return record;
}

export function learn(who: Person, records: RosterRecord[]): void {
  const known = new Set(who.view.map((record) => record.id));
  who.view = [...who.view, ...records.filter((record) => !known.has(record.id))];
}

/** Everybody learns what everybody knows. */
export function syncAll(...people: Person[]): RosterRecord[] {
  for (const one of people) for (const other of people) learn(one, other.view);
  return people[0]!.view;
}

export function invite(
  by: Person,
  {
    uses = 1,
    role = "member",
    expires = NOW + HOUR,
    seed = someBytes(16),
    shares,
    ...stamped
  }: Partial<{
    uses: number;
    role: Role;
    expires: number;
    seed: Uint8Array;
    shares: { device: DeviceId; uses: number }[];
  }> &
    Stamped = {},
): { record: RosterRecord<"invite-opened">; seed: Uint8Array } {
  const record = act(
    by,
    {
      type: "invite-opened",
      key: ticketKey(seed, meshOf(by)).publicKey,
      name: null,
      role,
      expires,
      shares: shares ?? [{ device: by.machine.id, uses }],
    },
    stamped,
  );
  return { record, seed };
}

/** Admits `guest` by an invite; the record may be wrong on purpose. */
export function admitBy(
  by: Person,
  guest: Person,
  ticket: { record: RosterRecord<"invite-opened">; seed: Uint8Array },
  change: Partial<BodyOf<"admit">> = {},
  stamped: Stamped = {},
): RosterRecord<"admit"> {
  const mesh = meshOf(by);
  const challenge = someBytes(32);
  const device = newDevice(guest.machine);
  const proof = makeProof(ticketKey(ticket.seed, mesh), {
    mesh,
    invite: ticket.record.id,
    personKey: guest.key.publicKey,
    device: device.id,
    sealingKey: device.sealingKey,
    admitting: by.machine.id,
    challenge,
  });
  const record = act(
    by,
    {
      type: "admit",
      name: guest.name,
      personKey: guest.key.publicKey,
      role: ticket.record.body.role,
      device,
      cert: makeCertificate(guest.key, idBytes(mesh), device, someBytes(16)),
      invite: ticket.record.id,
      use: 0,
      challenge,
      proof,
      ...change,
    },
    stamped,
  );
  if (guest.view.length === 0) guest.id = personIdOf(record.id);
  learn(guest, by.view);
  return record;
}

/** Invites and admits in one go; everybody given learns of it. */
export function admit(by: Person, name: string, role: Role = "member", ...others: Person[]): Person {
  const guest = person(name);
  admitBy(by, guest, invite(by, { role }));
  for (const other of others) learn(other, by.view);
  return guest;
}

export function remove(by: Person, whom: Person, cuts: LogCut[] = [], stamped: Stamped = {}): RosterRecord<"remove"> {
  return act(by, { type: "remove", person: whom.id, cuts }, stamped);
}

export function setRole(by: Person, whom: Person, role: Role, stamped: Stamped = {}): RosterRecord<"role"> {
  return act(by, { type: "role", person: whom.id, role }, stamped);
}

export function addDevice(
  by: Person,
  whose: Person,
  added: Machine,
  stamped: Stamped = {},
): RosterRecord<"device-added"> {
  const cert = makeCertificate(whose.key, idBytes(meshOf(by)), newDevice(added), someBytes(16));
  return act(by, { type: "device-added", person: whose.id, device: newDevice(added), cert }, stamped);
}

export function log(name: string): LogId {
  return idOf(keyOf(`log ${name}`));
}

export function event(name: string): EventId {
  return idOf(keyOf(`event ${name}`));
}

/** The names of living members with their roles, for reading a result at a glance. */
export function who(membership: Membership): string[] {
  return [...membership.members.values()].map((member) => `${member.name}:${member.role}`).toSorted();
}

export function fold(records: Iterable<RosterRecord>): Membership {
  return foldRoster(records);
}

/** One text for equal memberships. */
export function canonical(membership: Membership): string {
  return JSON.stringify(membership, (_key, value: unknown) => {
    if (value instanceof Map) return [...value];
    if (value instanceof Uint8Array) return toHex(value);
    return value;
  });
}

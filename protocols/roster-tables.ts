/**
 * What a set of records amounts to, while it is being folded: persons, devices, invites and epochs that some valid record made, and
 * the accepted enders. Entries are replaced, never changed, so that a copy of the tables is a copy of its maps.
 */
import type { DeviceId, EpochId, LogId, PersonId, RecordId } from "./ids.ts";
import {
  allowedLog,
  type AllowedLog,
  type Cut,
  type Epoch,
  type Invite,
  type Member,
  type Membership,
  type Role,
} from "./membership.ts";
import {
  bySeniority,
  closesInvite,
  endsDevice,
  endsPerson,
  isConcurrent,
  isEnder,
  isInPast,
  maximal,
  type Node,
} from "./roster-graph.ts";
import type { BodyOf, LogCut, NewDevice } from "./roster-record.ts";
import { personIdOf } from "./roster-record.ts";

export interface PersonEntry {
  id: PersonId;
  admission: Node;
  founder: boolean;
  baseRole: Role;
  /** Valid role records, causes first. */
  roles: Node[];
  name: string;
  nameBy: Node;
  personKey: Uint8Array;
  keyBy: Node;
  recovery: Uint8Array | undefined;
}

export interface DeviceEntry {
  id: DeviceId;
  person: PersonId;
  /** The record that brought it in. */
  grant: Node;
  /** Grants from the person's first device. */
  grants: number;
  name: string;
  sealingKey: Uint8Array;
  sealingBy: Node;
}

export interface InviteEntry {
  node: Node;
  body: BodyOf<"invite-opened">;
  /** Uses that valid admissions took. */
  used: { device: DeviceId; use: number; by: Node }[];
}

export interface Tables {
  genesis: Node;
  persons: Map<PersonId, PersonEntry>;
  devices: Map<DeviceId, DeviceEntry>;
  invites: Map<RecordId, InviteEntry>;
  epochs: Map<EpochId, Node>;
  /** Valid records that let a device's logs go on after a fork (R2). */
  allowances: Node[];
  /** Accepted enders. */
  accepted: Node[];
  void: Map<RecordId, string>;
}

export function startTables(genesis: Node): Tables {
  const body = genesis.body as BodyOf<"genesis">;
  const tables: Tables = {
    genesis,
    persons: new Map(),
    devices: new Map(),
    invites: new Map(),
    epochs: new Map(),
    allowances: [],
    accepted: [],
    void: new Map(),
  };
  addPerson(tables, genesis, { ...body, role: "admin", name: body.founder }, true);
  return tables;
}

export function copyTables(tables: Tables): Tables {
  return {
    genesis: tables.genesis,
    persons: new Map(tables.persons),
    devices: new Map(tables.devices),
    invites: new Map(tables.invites),
    epochs: new Map(tables.epochs),
    allowances: [...tables.allowances],
    accepted: [...tables.accepted],
    void: new Map(tables.void),
  };
}

// ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────

export function roleOf(person: PersonEntry, among: Node[] = person.roles): Role {
  const last = maximal(among);
  if (last.length === 0) return person.baseRole;
  return last.every((node) => (node.body as BodyOf<"role">).role === "admin") ? "admin" : "member";
}

/** The role that a person had in the past of `node`, from the records that are valid here. */
export function roleBefore(person: PersonEntry, node: Node): Role {
  return roleOf(
    person,
    person.roles.filter((role) => isInPast(role, node)),
  );
}

/** The role records that make him an admin, most senior author first; none if his admission does. */
export function adminGrants(person: PersonEntry): Node[] {
  return roleOf(person) === "admin" ? maximal(person.roles).toSorted(bySeniority) : [];
}

/** The record that his rank is counted from. */
export function grantOf(person: PersonEntry): Node {
  return adminGrants(person)[0] ?? person.admission;
}

export function grantsOf(person: PersonEntry): number {
  return person.founder ? 0 : grantOf(person).rank.grants + 1;
}

export function isLivingPerson(tables: Tables, person: PersonId): boolean {
  return tables.persons.has(person) && !tables.accepted.some((ender) => endsPerson(ender, person));
}

export function isLivingDevice(tables: Tables, device: DeviceEntry): boolean {
  return isLivingPerson(tables, device.person) && !tables.accepted.some((ender) => endsDevice(ender, device));
}

export function livingDevices(tables: Tables, person: PersonId): DeviceEntry[] {
  return [...tables.devices.values()].filter((device) => device.person === person && isLivingDevice(tables, device));
}

export function isAdmin(tables: Tables, person: PersonId): boolean {
  const entry = tables.persons.get(person);
  return entry !== undefined && roleOf(entry) === "admin" && isLivingPerson(tables, person);
}

export function adminCount(tables: Tables): number {
  return [...tables.persons.keys()].filter((person) => isAdmin(tables, person)).length;
}

export function isInviteClosed(tables: Tables, invite: InviteEntry): boolean {
  return tables.accepted.some((ender) => closesInvite(ender, invite.node));
}

/** Who has or had the name, other than `except`. */
export function holderOf(tables: Tables, name: string, except?: PersonId): PersonEntry | undefined {
  for (const person of tables.persons.values()) if (person.name === name && person.id !== except) return person;
  return undefined;
}

// ── what a valid record does ────────────────────────────────────────────────────────────────────────────────────────

/** Applies a record that is valid here and whose past has been applied. */
export function applyRecord(tables: Tables, node: Node): void {
  const { body } = node;
  if (isEnder(node)) tables.accepted.push(node);
  switch (body.type) {
    case "genesis":
      return;
    case "admit": {
      addPerson(tables, node, body, false);
      const invite = tables.invites.get(body.invite)!;
      const use = { device: node.record.author.device, use: body.use, by: node };
      tables.invites.set(body.invite, { ...invite, used: [...invite.used, use] });
      return;
    }
    case "role": {
      const person = tables.persons.get(body.person)!;
      tables.persons.set(body.person, { ...person, roles: [...person.roles, node] });
      return;
    }
    case "rename": {
      const person = tables.persons.get(body.person)!;
      if (isOverridden(person.nameBy, node)) return;
      tables.persons.set(body.person, { ...person, name: body.name, nameBy: node });
      return;
    }
    case "device-added":
      addDevice(tables, node, body.person, body.device);
      return;
    case "sealing-key": {
      const device = tables.devices.get(node.record.author.device)!;
      if (isOverridden(device.sealingBy, node)) return;
      tables.devices.set(device.id, { ...device, sealingKey: body.sealing, sealingBy: node });
      return;
    }
    case "person-rekeyed":
      rekeyPerson(tables, node, body);
      return;
    case "invite-opened":
      tables.invites.set(node.id, { node, body, used: [] });
      return;
    case "epoch":
      tables.epochs.set(node.id as string as EpochId, node);
      return;
    case "log-allowed":
      tables.allowances.push(node);
      return;
    case "remove":
    case "leave":
    case "device-removed":
    case "invite-closed":
      return;
  }
}

/** Of two concurrent records that set the same thing the more senior author's holds (R4). */
function isOverridden(current: Node, next: Node): boolean {
  return isConcurrent(current, next) && bySeniority(current, next) < 0;
}

function addPerson(
  tables: Tables,
  node: Node,
  body: { name: string; role: Role; personKey: Uint8Array; device: NewDevice; recovery?: Uint8Array | undefined },
  founder: boolean,
): void {
  const id = personIdOf(node.id);
  tables.persons.set(id, {
    id,
    admission: node,
    founder,
    baseRole: body.role,
    roles: [],
    name: body.name,
    nameBy: node,
    personKey: body.personKey,
    keyBy: node,
    recovery: body.recovery,
  });
  addDevice(tables, node, id, body.device);
}

function addDevice(tables: Tables, node: Node, person: PersonId, device: NewDevice): void {
  const by = tables.devices.get(node.record.author.device);
  const isFirst = node.body.type === "genesis" || node.body.type === "admit";
  tables.devices.set(device.id, {
    id: device.id,
    person,
    grant: node,
    grants: isFirst ? 0 : by !== undefined && by.person === person ? by.grants + 1 : 1,
    name: device.name,
    sealingKey: device.sealingKey,
    sealingBy: node,
  });
}

function rekeyPerson(tables: Tables, node: Node, body: BodyOf<"person-rekeyed">): void {
  const person = tables.persons.get(body.person)!;
  if (!isOverridden(person.keyBy, node))
    tables.persons.set(person.id, { ...person, personKey: body.personKey, keyBy: node });
  for (const { device } of body.devices) {
    const known = tables.devices.get(device.id);
    if (known === undefined) addDevice(tables, node, person.id, device);
    else if (known.person === person.id && !isOverridden(known.sealingBy, node))
      tables.devices.set(device.id, { ...known, name: device.name, sealingKey: device.sealingKey, sealingBy: node });
  }
}

// ── the result ──────────────────────────────────────────────────────────────────────────────────────────────────────

export function membershipOf(tables: Tables, heads: RecordId[], waiting: RecordId[]): Membership {
  const genesis = tables.genesis.body as BodyOf<"genesis">;
  const members = new Map<PersonId, Member>();
  const removed = new Map<PersonId, { name: string; record: RecordId; cuts: ReadonlyMap<LogId, Cut> }>();
  for (const person of sorted(tables.persons)) {
    const enders = firstOf(tables.accepted.filter((ender) => endsPerson(ender, person.id)));
    if (enders.length > 0) removed.set(person.id, { name: person.name, record: enders[0]!.id, cuts: cutsOf(enders) });
    else members.set(person.id, memberOf(person));
  }
  const devices = new Map<DeviceId, { member: Member; device: Member["devices"][number] }>();
  const formerDevices = new Map<DeviceId, { person: PersonId; record: RecordId; cuts: ReadonlyMap<LogId, Cut> }>();
  for (const entry of sorted(tables.devices)) {
    const enders = firstOf(tables.accepted.filter((ender) => endsDevice(ender, entry)));
    const member = members.get(entry.person);
    if (enders.length > 0 || member === undefined) {
      const record = enders[0]?.id ?? removed.get(entry.person)!.record;
      formerDevices.set(entry.id, { person: entry.person, record, cuts: cutsOf(enders) });
      continue;
    }
    const device = { id: entry.id, name: entry.name, sealingKey: entry.sealingKey };
    member.devices.push(device);
    devices.set(entry.id, { member, device });
  }
  const standing = standingOf(tables, devices);
  return {
    mesh: tables.genesis.record.mesh,
    name: genesis.name,
    founder: personIdOf(tables.genesis.id),
    policy: genesis.policy,
    members,
    devices,
    removed,
    formerDevices,
    invites: new Map(sorted(tables.invites).map((invite) => [invite.node.id, inviteOf(tables, invite)])),
    epochs: new Map(sorted(tables.epochs).map((node) => [node.id as string as EpochId, epochOf(node, standing)])),
    allowedLogs: allowedLogsOf(tables),
    heads,
    waiting,
    void: new Map([...tables.void].toSorted(([a], [b]) => (a < b ? -1 : 1))),
  };
}

/** A log is allowed for the device that the record names: naming another's log says nothing of it. */
function allowedLogsOf(tables: Tables): ReadonlySet<AllowedLog> {
  const pairs = tables.allowances.flatMap(({ body }) => {
    const { device, logs } = body as BodyOf<"log-allowed">;
    return logs.map((log) => allowedLog(device, log));
  });
  return new Set(pairs.toSorted());
}

function memberOf(person: PersonEntry): Member {
  return {
    person: person.id,
    name: person.name,
    role: roleOf(person),
    rank: grantsOf(person),
    personKey: person.personKey,
    devices: [],
  };
}

function inviteOf(tables: Tables, invite: InviteEntry): Invite {
  const usesLeft = new Map(
    invite.body.shares.map(({ device, uses }) => [
      device,
      uses - invite.used.filter((used) => used.device === device).length,
    ]),
  );
  return {
    record: invite.node.id,
    name: invite.body.name,
    role: invite.body.role,
    expiresAt: invite.body.expires,
    closed: isInviteClosed(tables, invite),
    openedBy: invite.node.record.author,
    usesLeft,
    used: invite.used.map(({ device, use, by }) => ({ device, use, person: personIdOf(by.id), admission: by.id })),
    key: invite.body.key,
  };
}

/** What decides whether an epoch may be written under (R6): who has ended, and who is there. */
interface Standing {
  enders: readonly Node[];
  devices: ReadonlySet<DeviceId>;
}

/** One object as long as nothing of it changes, so that a record which ends or brings nobody costs no look at all epochs. */
function standingOf({ accepted }: Tables, living: Membership["devices"]): Standing {
  const enders = accepted.filter(({ body }) => body.type !== "role");
  const isSame =
    enders.length === lastStanding.enders.length &&
    enders.every((ender, i) => ender === lastStanding.enders[i]) &&
    living.size === lastStanding.devices.size &&
    [...living.keys()].every((device) => lastStanding.devices.has(device));
  if (!isSame) lastStanding = { enders, devices: new Set(living.keys()) };
  return lastStanding;
}

let lastStanding: Standing = { enders: [], devices: new Set() };
const lastEpochs = new WeakMap<Node, { standing: Standing; epoch: Epoch }>();

function epochOf(node: Node, standing: Standing): Epoch {
  const last = lastEpochs.get(node);
  if (last?.standing === standing) return last.epoch;
  const body = node.body as BodyOf<"epoch">;
  const recipients = last?.epoch.recipients ?? body.keys.map((key) => key.device);
  const epoch: Epoch = {
    id: node.id as string as EpochId,
    parents: body.after,
    recipients,
    keyHash: body.keyHash,
    author: node.record.author,
    keys: body.keys,
    usable:
      standing.enders.every((ender) => isInPast(ender, node)) && recipients.every((one) => standing.devices.has(one)),
  };
  lastEpochs.set(node, { standing, epoch });
  return epoch;
}

/** Of several enders those that did not know another: who ended it again, knowingly, adds nothing. Most senior first. */
function firstOf(enders: Node[]): Node[] {
  return enders.filter((ender) => !enders.some((other) => isInPast(other, ender))).toSorted(bySeniority);
}

/** The lower cut holds: a log counts as far as every one of the enders lets it (R5). */
function cutsOf(enders: Node[]): ReadonlyMap<LogId, Cut> {
  const lists = enders.map((ender) => new Map(listedCuts(ender).map((cut) => [cut.log, cut])));
  const out = new Map<LogId, Cut>();
  for (const log of lists[0]?.keys() ?? []) {
    const cuts = lists.map((list) => list.get(log));
    if (cuts.includes(undefined)) continue;
    const [lowest] = (cuts as LogCut[]).toSorted((a, b) => a.seq - b.seq || (a.id < b.id ? -1 : 1));
    out.set(log, { seq: lowest!.seq, id: lowest!.id });
  }
  return new Map([...out].toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function listedCuts(ender: Node): LogCut[] {
  return "cuts" in ender.body ? ender.body.cuts : [];
}

/** Values in the order of their keys, so that equal memberships look equal whatever the order of arrival. */
function sorted<K extends string, V>(map: Map<K, V>): V[] {
  return [...map.keys()].toSorted().map((key) => map.get(key)!);
}

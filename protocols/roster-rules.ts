/**
 * Whether a record's author had the right to write it, judged by what he knew: the fold of the record's own past. The answer
 * never changes; what he did not know is weighed by the two passes of `roster.ts`.
 */
import { idBytes, type DeviceId } from "./ids.ts";
import type { Role } from "./membership.ts";
import type { Grants, Node, Rank } from "./roster-graph.ts";
import {
  isCertified,
  isLogWord,
  isProof,
  isRecordOf,
  isRecovery,
  proofSubjectOf,
  stampMs,
  type BodyOf,
  type NewDevice,
  type RosterRecord,
} from "./roster-record.ts";
import {
  adminCount,
  adminGrants,
  grantOf,
  grantsOf,
  holderOf,
  isAdmin,
  isInviteClosed,
  isLivingDevice,
  isLivingPerson,
  livingDevices,
  roleOf,
  type DeviceEntry,
  type PersonEntry,
  type Tables,
} from "./roster-tables.ts";

/** Living devices of one person: more are refused, so that nobody fills the roster with machines (L13). */
export const MAX_DEVICES_PER_PERSON = 16;

/** Why a record is void, where others build on the words. */
export const LAST_ADMIN = "LAST_ADMIN: a mesh always has an admin, and this would end the last one";

export interface Judgement {
  verdict: string | null;
  needsAdmin: boolean;
  rank: Rank;
  grants: Grants;
}

/** Judges `record` in `view`, the fold of its own past. */
export function judge(record: RosterRecord, view: Tables): Judgement {
  if (isRecordOf(record, "person-rekeyed") && record.body.recovery !== undefined) return judgeRecovery(record, view);
  const device = view.devices.get(record.author.device);
  const person = view.persons.get(record.author.person);
  if (device === undefined || person === undefined || device.person !== person.id)
    return refused("its author's device does not belong to a member that its author knew");
  const needsAdmin = !isOwnMatter(record, view);
  const standing = {
    needsAdmin,
    rank: rankOf(person, device),
    grants: grantsFor(record, view, person, device, needsAdmin),
  };
  if (!isLivingPerson(view, person.id)) return { ...standing, verdict: "its author had been removed" };
  if (!isLivingDevice(view, device)) return { ...standing, verdict: "its author's device had been removed" };
  if (needsAdmin && roleOf(person) !== "admin") return { ...standing, verdict: `its author is not an admin` };
  return { ...standing, verdict: judgeBody(record, view, person) };
}

function refused(verdict: string): Judgement {
  const rank: Rank = { grants: Number.MAX_SAFE_INTEGER, grant: "" as Rank["grant"], deviceGrants: 0, deviceGrant: "" };
  return { verdict, needsAdmin: true, rank, grants: { required: [], anyOf: [] } };
}

function rankOf(person: PersonEntry, device: DeviceEntry): Rank {
  return {
    grants: grantsOf(person),
    grant: grantOf(person).id,
    deviceGrants: device.grants,
    deviceGrant: device.grant.id,
  };
}

function grantsFor(
  record: RosterRecord,
  view: Tables,
  person: PersonEntry,
  device: DeviceEntry,
  needsAdmin: boolean,
): Grants {
  const required = [person.admission];
  if (device.grant !== person.admission) required.push(device.grant);
  if (record.body.type === "admit") {
    const invite = view.invites.get(record.body.invite);
    if (invite !== undefined) required.push(invite.node);
  }
  return { required, anyOf: needsAdmin ? adminGrants(person) : [] };
}

/** What a member does with himself and his devices, and what every member may do. */
function isOwnMatter(record: RosterRecord, view: Tables): boolean {
  const { body, author } = record;
  switch (body.type) {
    case "leave":
    case "sealing-key":
    case "epoch":
      return true;
    case "role":
      return body.person === author.person && body.role === "member";
    case "device-added":
    case "rename":
      return body.person === author.person;
    case "device-removed":
      return view.devices.get(body.device)?.person === author.person;
    case "log-allowed":
      return body.word !== undefined && view.devices.get(body.device)?.person === author.person;
    default:
      return false;
  }
}

function judgeBody(record: RosterRecord, view: Tables, author: PersonEntry): string | null {
  const { body } = record;
  switch (body.type) {
    case "genesis":
    case "leave":
      return body.type === "leave" && endsLastAdmin(view, author) ? LAST_ADMIN : null;
    case "admit":
      return judgeAdmission(record as RosterRecord<"admit">, view);
    case "remove":
      return judgeRemoval(body, view, author);
    case "role":
      return judgeRole(body, view, author);
    case "device-added":
      return judgeNewDevice(record, body, view);
    case "device-removed":
      return judgeDeviceRemoval(body.device, view, author);
    case "log-allowed":
      return judgeAllowance(record as RosterRecord<"log-allowed">, view);
    case "person-rekeyed":
      return judgeRekeying(body, view);
    case "rename":
      return judgeName(body.name, view, body.person);
    case "invite-opened":
      return judgeInvite(body, view);
    case "invite-closed": {
      const invite = view.invites.get(body.invite);
      if (invite === undefined) return "it closes an invite that its author did not know";
      return isInviteClosed(view, invite) ? "the invite was closed already" : null;
    }
    case "epoch":
      return body.after.every((epoch) => view.epochs.has(epoch))
        ? null
        : "it follows an epoch that its author did not know";
    case "sealing-key":
      return null;
  }
}

function endsLastAdmin(view: Tables, target: PersonEntry): boolean {
  return isAdmin(view, target.id) && adminCount(view) === 1;
}

function judgeAdmission(record: RosterRecord<"admit">, view: Tables): string | null {
  const { body, author } = record;
  const invite = view.invites.get(body.invite);
  if (invite === undefined) return "it uses an invite that its author did not know";
  if (isInviteClosed(view, invite)) return "its invite was closed";
  if (body.role !== invite.body.role) return `it admits as ${body.role}, its invite says ${invite.body.role}`;
  const share = invite.body.shares.find((item) => item.device === author.device);
  if (share === undefined) return "its author's device holds no share of the invite";
  if (body.use >= share.uses) return `it is use ${body.use + 1} of a share of ${share.uses}`;
  if (invite.used.some((used) => used.device === author.device && used.use === body.use))
    return `use ${body.use + 1} of this share was taken`;
  if (stampMs(record.hlc) > invite.body.expires) return "its invite had expired";
  if (!isProved(record, invite.body.key)) return "its ticket proof does not match";
  return judgeName(body.name, view) ?? judgeUnknownDevice(body.device, view);
}

/** An admission names its invite by hash, so its proof is good or bad for ever. */
const proved = new WeakMap<RosterRecord, boolean>();

function isProved(record: RosterRecord<"admit">, inviteKey: Uint8Array): boolean {
  const known = proved.get(record);
  if (known !== undefined) return known;
  const good = isProof(inviteKey, record.body.proof, proofSubjectOf(record));
  proved.set(record, good);
  return good;
}

function judgeName(name: string, view: Tables, self?: PersonEntry["id"]): string | null {
  if (self !== undefined && !isLivingPerson(view, self)) return "it names nobody who was a member";
  const holder = holderOf(view, name, self);
  if (holder === undefined) return null;
  return isLivingPerson(view, holder.id) ? `the name ${name} was taken` : `the name ${name} was a removed member's`;
}

function judgeUnknownDevice(device: NewDevice, view: Tables): string | null {
  return view.devices.has(device.id) ? "its device is or was in the mesh already" : null;
}

function judgeRemoval(body: BodyOf<"remove">, view: Tables, author: PersonEntry): string | null {
  const target = view.persons.get(body.person);
  if (target === undefined || !isLivingPerson(view, body.person)) return "it removes nobody who was a member";
  if (target === author) return "nobody removes himself: that is a leave";
  if (target.founder) return "the founder is ended only by himself";
  return endsLastAdmin(view, target) ? LAST_ADMIN : null;
}

function judgeRole(body: BodyOf<"role">, view: Tables, author: PersonEntry): string | null {
  const target = view.persons.get(body.person);
  if (target === undefined || !isLivingPerson(view, body.person)) return "it gives a role to nobody who was a member";
  if (target === author && body.role === "admin") return "nobody raises his own role";
  if (roleOf(target) === body.role) return `${target.name} was ${roleWord(body.role)} already`;
  if (body.role === "admin") return null;
  if (target.founder && target !== author) return "the founder's role is lowered only by himself";
  return endsLastAdmin(view, target) ? LAST_ADMIN : null;
}

function roleWord(role: Role): string {
  return role === "admin" ? "an admin" : "a member";
}

/** R1: certified by the person key, and countersigned by being written by another living device of his or by an admin. */
function judgeNewDevice(record: RosterRecord, body: BodyOf<"device-added">, view: Tables): string | null {
  const person = view.persons.get(body.person);
  if (person === undefined || !isLivingPerson(view, body.person)) return "it adds a device to nobody who was a member";
  if (!isCertified(body.cert, person.personKey, idBytes(record.mesh), body.device))
    return `its certificate is not by ${person.name}'s person key`;
  const living = livingDevices(view, person.id);
  if (living.length >= MAX_DEVICES_PER_PERSON) return `${person.name} has ${MAX_DEVICES_PER_PERSON} devices, the most`;
  if (living.some((device) => device.name === body.device.name))
    return `${person.name} has a device called ${body.device.name}`;
  return judgeUnknownDevice(body.device, view);
}

function judgeDeviceRemoval(id: DeviceId, view: Tables, author: PersonEntry): string | null {
  const device = view.devices.get(id);
  if (device === undefined || !isLivingDevice(view, device)) return "it removes no device that was a member's";
  if (device.person !== author.id)
    return view.persons.get(device.person)!.founder
      ? "the founder's devices are ended by himself or by rekeying"
      : null;
  return livingDevices(view, author.id).length === 1 ? "nobody removes his only device: that is a leave" : null;
}

/** R2: after a device's first fork its person's key opens its logs, after that an admin. */
function judgeAllowance(record: RosterRecord<"log-allowed">, view: Tables): string | null {
  const { device: id, word } = record.body;
  const device = view.devices.get(id);
  if (device === undefined || !isLivingDevice(view, device)) return "it allows logs of no device that is a member's";
  if (word === undefined) return null;
  const person = view.persons.get(device.person)!;
  if (!isLogWord(record, person.personKey)) return `its word is not by ${person.name}'s person key`;
  return isWordSpent(view, id) ? WORD_SPENT : null;
}

const WORD_SPENT = "the device's person has allowed its logs once before: now it takes an admin";

function isWordSpent(tables: Tables, device: DeviceId): boolean {
  return tables.allowances.some(({ body }) => {
    const allowed = body as BodyOf<"log-allowed">;
    return allowed.device === device && allowed.word !== undefined;
  });
}

function judgeRekeying(body: BodyOf<"person-rekeyed">, view: Tables): string | null {
  if (!isLivingPerson(view, body.person)) return "it rekeys nobody who was a member";
  const devices = body.devices.map((entry) => entry.device);
  if (new Set(devices.map((device) => device.id)).size < devices.length) return "it lists a device twice";
  if (new Set(devices.map((device) => device.name)).size < devices.length) return "it lists two devices of one name";
  for (const device of devices) {
    const known = view.devices.get(device.id);
    if (known !== undefined && (known.person !== body.person || !isLivingDevice(view, known)))
      return `the device ${device.name} is another's or has ended`;
  }
  return null;
}

/** R1: the recovery key speaks for the person; the author is one of the listed devices, which may be new. */
function judgeRecovery(record: RosterRecord<"person-rekeyed">, view: Tables): Judgement {
  const { body, author } = record;
  const person = view.persons.get(body.person);
  if (person === undefined || author.person !== body.person)
    return refused("its author is not the person that it rekeys");
  const rank: Rank = { grants: -1, grant: person.admission.id, deviceGrants: 0, deviceGrant: "" };
  const standing = { needsAdmin: false, rank, grants: { required: [person.admission], anyOf: [] } };
  if (!body.devices.some((entry) => entry.device.id === author.device))
    return { ...standing, verdict: "its author's device is not in its list" };
  if (person.recovery === undefined || !isRecovery(body.recovery!, person.recovery, record))
    return { ...standing, verdict: `it is not signed by ${person.name}'s recovery key` };
  return { ...standing, verdict: judgeRekeying(body, view) };
}

function judgeInvite(body: BodyOf<"invite-opened">, view: Tables): string | null {
  for (const { device } of body.shares) {
    const holder = view.devices.get(device);
    if (holder === undefined || !isLivingDevice(view, holder) || !isAdmin(view, holder.person))
      return "it gives a share to a device that is no admin's";
  }
  return null;
}

/** Why a node that has the right in its own past cannot stand beside what the fold has found valid so far, or null. */
export function clash(node: Node, tables: Tables): string | null {
  const { body } = node;
  switch (body.type) {
    case "admit": {
      const invite = tables.invites.get(body.invite);
      const { device } = node.record.author;
      const taken = invite?.used.some((used) => used.device === device && used.use === body.use);
      return taken === true ? `use ${body.use + 1} of this share was taken by another admission` : null;
    }
    case "device-added":
      return livingDevices(tables, body.person).length >= MAX_DEVICES_PER_PERSON
        ? `more than ${MAX_DEVICES_PER_PERSON} devices were added at once`
        : null;
    case "log-allowed":
      return body.word !== undefined && isWordSpent(tables, body.device) ? WORD_SPENT : null;
    default:
      return null;
  }
}

/** The devices that a record brings into the mesh. */
export function newDevicesOf(node: Node): DeviceId[] {
  const { body } = node;
  switch (body.type) {
    case "genesis":
    case "admit":
    case "device-added":
      return [body.device.id];
    case "person-rekeyed":
      return body.devices.map((entry) => entry.device.id);
    default:
      return [];
  }
}

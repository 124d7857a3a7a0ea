/**
 * The records as a graph (R3): who knew what. Concurrency is decided from `parents` alone: two records are concurrent if
 * neither is in the other's past. Stamps never count.
 */
import type { PersonId, DeviceId, RecordId } from "./ids.ts";
import type { RosterBody, RosterRecord } from "./roster-record.ts";

/** How senior an author is, read in his record's own past; less is more senior (R3). */
export interface Rank {
  /** Grants from genesis to him: the founder 0; −1 for a recovery key, which stands over every device of its person. */
  grants: number;
  /** The record that made him what he is. */
  grant: RecordId;
  /** Grants from the person's first device to the author's, so that two devices of one person are never equal. */
  deviceGrants: number;
  deviceGrant: RecordId | "";
}

/** A record in its place, with everything about it that its own past decides. That never changes. */
export interface Node {
  record: RosterRecord;
  id: RecordId;
  body: RosterBody;
  /** Position in the arrival order of one roster: only the index of the bit sets. */
  index: number;
  /** Longest way from the genesis: sorting by it puts causes first. */
  depth: number;
  /** Bit set of the indexes of its transitive parents. */
  past: Uint32Array;
  /** Its parents without those that are in the past of another. */
  parents: Node[];
  /** Why it has no right in its own past, or null. */
  verdict: string | null;
  /** Whether it counts only because its author was an admin. */
  needsAdmin: boolean;
  rank: Rank;
  grants: Grants;
}

/** What a record stands on: all of `required` and, where there are some, one of `anyOf`. */
export interface Grants {
  /** The author's device and his admission, an admission's invite. */
  required: Node[];
  /** The role records that made the author an admin. */
  anyOf: Node[];
}

export function isInPast(earlier: Node, later: Node): boolean {
  return hasBit(later.past, earlier.index);
}

export function hasBit(set: Uint32Array, index: number): boolean {
  return ((set[index >>> 5] ?? 0) & (1 << (index & 31))) !== 0;
}

export function isConcurrent(a: Node, b: Node): boolean {
  return a !== b && !isInPast(a, b) && !isInPast(b, a);
}

/** The bit set of everything that `parents` know, themselves included. */
export function pastOf(parents: Node[]): Uint32Array {
  const top = parents.reduce((max, parent) => Math.max(max, parent.index), -1);
  const past = new Uint32Array((top + 32) >>> 5); // none for none: −1 >>> 5 is 2^27 words
  for (const parent of parents) {
    for (let i = 0; i < parent.past.length; i++) past[i]! |= parent.past[i]!;
    past[parent.index >>> 5]! |= 1 << (parent.index & 31);
  }
  return past;
}

/** Without those that are in the past of another one. */
export function maximal(nodes: Node[]): Node[] {
  return nodes.filter((node) => !nodes.some((other) => isInPast(node, other)));
}

/** Causes first, then by id. */
export function byCause(a: Node, b: Node): number {
  return a.depth - b.depth || compareIds(a.id, b.id);
}

/** The most senior author first, then causes, then by id: the order of pass 1. */
export function bySeniority(a: Node, b: Node): number {
  return compareRanks(a.rank, b.rank) || byCause(a, b);
}

export function compareRanks(a: Rank, b: Rank): number {
  return (
    a.grants - b.grants ||
    compareIds(a.grant, b.grant) ||
    a.deviceGrants - b.deviceGrants ||
    compareIds(a.deviceGrant, b.deviceGrant)
  );
}

function compareIds(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Records that end something: they are decided before all others (pass 1). */
export function isEnder(node: Node): boolean {
  switch (node.body.type) {
    case "remove":
    case "leave":
    case "device-removed":
    case "person-rekeyed":
    case "invite-closed":
      return true;
    case "role":
      return node.body.role === "member";
    default:
      return false;
  }
}

/** True if `ender` ends the device that `grant` brought in. */
export function endsDevice(ender: Node, device: { id: DeviceId; person: PersonId; grant: Node }): boolean {
  const { body } = ender;
  switch (body.type) {
    case "remove":
      return body.person === device.person;
    case "leave":
      return ender.record.author.person === device.person;
    case "device-removed":
      return body.device === device.id;
    case "person-rekeyed":
      return (
        body.person === device.person &&
        !body.devices.some((kept) => kept.device.id === device.id) &&
        !isInPast(ender, device.grant)
      );
    default:
      return false;
  }
}

export function endsPerson(ender: Node, person: PersonId): boolean {
  return ender.body.type === "remove"
    ? ender.body.person === person
    : ender.body.type === "leave" && ender.record.author.person === person;
}

/** True if `ender` closes the invite: by name, or because it ends or demotes who opened it (whoever knows the seed is no longer trusted). */
export function closesInvite(ender: Node, invite: Node): boolean {
  if (isInPast(ender, invite)) return false;
  const { body } = ender;
  const { person, device } = invite.record.author;
  switch (body.type) {
    case "invite-closed":
      return body.invite === invite.id;
    case "role":
      return body.person === person;
    default:
      return endsPerson(ender, person) || endsDevice(ender, { id: device, person, grant: invite });
  }
}

/**
 * True if the accepted `ender` takes the effect of `node`: it did not know it and hits its author or the invite that it uses. What
 * the ender knew stands: who removes somebody and has seen his acts lets them stand (R5 cuts the rest).
 */
export function voids(ender: Node, node: Node): boolean {
  if (ender === node || isInPast(node, ender)) return false;
  const { person, device } = node.record.author;
  if (node.body.type === "admit") {
    const invite = node.grants.required.find((grant) => grant.body.type === "invite-opened");
    if (invite !== undefined && closesInvite(ender, invite)) return true;
  }
  if (ender.body.type === "role") return ender.body.person === person && node.needsAdmin && !isInPast(ender, node);
  const grant = node.grants.required.find((granting) => bringsDevice(granting, device));
  return endsPerson(ender, person) || (grant !== undefined && endsDevice(ender, { id: device, person, grant }));
}

export function bringsDevice(node: Node, device: DeviceId): boolean {
  const { body } = node;
  switch (body.type) {
    case "genesis":
    case "admit":
    case "device-added":
      return body.device.id === device;
    case "person-rekeyed":
      return body.devices.some((entry) => entry.device.id === device);
    default:
      return false;
  }
}

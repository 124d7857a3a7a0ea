/**
 * Membership (§4; R1, R3–R5, R10, R12, R14): signed roster records that name their parents, and the pure fold that gives
 * the same members on every node from any order, subset or duplication of them.
 */
import type { SealedEpochKey } from "./epoch.ts";
import {
  personTag,
  type DeviceId,
  type EpochId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
  type RecordId,
} from "./ids.ts";
import type { ReadPolicy } from "./roster-record.ts";

export type Role = "admin" | "member";

export interface Device {
  id: DeviceId;
  /** F7; unique among the person's devices. */
  name: string;
  /** X25519, 32 bytes (R7): the newest certified. */
  sealingKey: Uint8Array;
}

export interface Member {
  person: PersonId;
  name: string;
  role: Role;
  /** Number of grants from genesis (R3): founder 0. */
  rank: number;
  /** Ed25519 person key, 32 bytes: the newest (R1). */
  personKey: Uint8Array;
  devices: Device[];
}

/** Where a log of a removed person ends (R5). */
export interface Cut {
  seq: number;
  id: EventId;
}

export interface Invite {
  record: RecordId;
  /** Name that the ticket suggests. */
  name: string | null;
  role: Role;
  expiresAt: number;
  /** Closed by a record, or because who opened it is no longer an admin. Expiry is not in it: the fold reads no clock. */
  closed: boolean;
  openedBy: { person: PersonId; device: DeviceId };
  /** Uses left per admitting device. */
  usesLeft: Map<DeviceId, number>;
  /** Uses that admissions took: by which device, which of its uses, and whom it admitted. */
  used: { device: DeviceId; use: number; person: PersonId; admission: RecordId }[];
  /** Ed25519 public key derived from the seed. */
  key: Uint8Array;
}

export interface Epoch {
  id: EpochId;
  /** Epoch records that this one knew: none for the first. */
  parents: EpochId[];
  recipients: DeviceId[];
  /** SHA-256("kin/epoch/1" ‖ key). */
  keyHash: Uint8Array;
  author: { person: PersonId; device: DeviceId };
  /** The key, sealed to each recipient by the author's device: `openEpochKey(mesh, keyHash, sealed, author.device, mine)`. */
  keys: SealedEpochKey[];
  /**
   * False if a recipient is no living device, or if a removal, rekeying or closing is not in its past: then somebody outside
   * may hold its key, and nothing new is written under it (R6).
   */
  usable: boolean;
}

/** A log and the device for which a record allows it: what is said of another's device counts for nothing. */
export type AllowedLog = `${DeviceId}/${LogId}`;

export function allowedLog(device: DeviceId, log: LogId): AllowedLog {
  return `${device}/${log}`;
}

export function isLogAllowed({ allowedLogs }: Pick<Membership, "allowedLogs">, device: DeviceId, log: LogId): boolean {
  return allowedLogs.has(allowedLog(device, log));
}

/** The result of the fold. Immutable: a new one is made when records arrive. */
export interface Membership {
  mesh: MeshId;
  name: string;
  founder: PersonId;
  /** Whether a newcomer gets all epochs or a new one (R6). */
  policy: ReadPolicy;
  /** By person id, living members only. */
  members: ReadonlyMap<PersonId, Member>;
  /** Living devices of living members. */
  devices: ReadonlyMap<DeviceId, { member: Member; device: Device }>;
  /** Who once was a member, with the record that ended it. */
  removed: ReadonlyMap<
    PersonId,
    {
      name: string;
      record: RecordId;
      /** Cuts by log; a log of theirs that is not listed is cut at 0. */ cuts: ReadonlyMap<LogId, Cut>;
    }
  >;
  /** Devices that once were a member's: to whom, the record that ended it, and where its logs end (one that is not listed: at 0). */
  formerDevices: ReadonlyMap<DeviceId, { person: PersonId; record: RecordId; cuts: ReadonlyMap<LogId, Cut> }>;
  invites: ReadonlyMap<RecordId, Invite>;
  epochs: ReadonlyMap<EpochId, Epoch>;
  /** Logs that count whole although their device has written another one twice (R2): {@link isLogAllowed} asks. */
  allowedLogs: ReadonlySet<AllowedLog>;
  /** Records without children: the parents of the next one. */
  heads: RecordId[];
  /** Records whose parents are missing. */
  waiting: RecordId[];
  /** Records without effect, and why, in words. */
  void: ReadonlyMap<RecordId, string>;
}

/** `ana`, or `ana~k3f9` where two members have the same name, be it a removed one's (F7, R12). */
export function displayName(membership: Membership, person: PersonId): string {
  const name = membership.members.get(person)?.name ?? membership.removed.get(person)?.name ?? "?";
  return isShared(membership, name) ? `${name}~${personTag(person)}` : name;
}

/** Two came with one name at once, and it is still so or one of them is gone: who stays does not become the other (R12). */
function isShared(membership: Membership, name: string): boolean {
  const living = [...membership.members.values()].filter((member) => member.name === name);
  const removed = [...membership.removed.values()].filter((former) => former.name === name);
  return living.length + removed.length > 1;
}

export type NamedMember =
  | { ok: true; member: Member }
  | { ok: false; why: "unknown" | "removed" | "ambiguous"; candidates: string[] };

/** The living member that a typed name means; `tag` is what follows `~`. */
export function memberNamed(membership: Membership, name: string, tag?: string): NamedMember {
  const alike = [...membership.members.values()].filter(
    (member) => member.name === name && (tag === undefined || personTag(member.person) === tag),
  );
  if (alike.length === 1 && (tag !== undefined || !isShared(membership, name))) return { ok: true, member: alike[0]! };
  const candidates = alike.map((member) => displayName(membership, member.person));
  if (candidates.length > 0) return { ok: false, why: "ambiguous", candidates };
  const wasMember = [...membership.removed.values()].some((former) => former.name === name);
  return { ok: false, why: wasMember ? "removed" : "unknown", candidates: [] };
}

/** True if somebody has or had this name in the mesh: a removed member's name is not given again (R12). */
export function isNameTaken(membership: Membership, name: string): boolean {
  return (
    [...membership.members.values()].some((member) => member.name === name) ||
    [...membership.removed.values()].some((former) => former.name === name)
  );
}

/** `wanted`, or the first of `wanted-2`, `wanted-3`, … that nobody has or had. */
export function freeName(membership: Membership, wanted: string): string {
  if (!isNameTaken(membership, wanted)) return wanted;
  const stem = wanted.slice(0, 28);
  for (let i = 2; ; i++) if (!isNameTaken(membership, `${stem}-${i}`)) return `${stem}-${i}`;
}

/**
 * Epochs to write `mesh` events under, best first: usable ones that no other usable one follows, then the rest (R6). The
 * writer takes the first whose key it holds; where there is none it opens one.
 */
export function usableEpochs(membership: Membership): Epoch[] {
  const usable = [...membership.epochs.values()].filter((epoch) => epoch.usable);
  const followed = new Set(usable.flatMap((epoch) => epoch.parents));
  return usable.toSorted((a, b) => Number(followed.has(a.id)) - Number(followed.has(b.id)) || (a.id < b.id ? -1 : 1));
}

/** Epochs that no other follows: the `after` of the next one. */
export function epochHeads(membership: Membership): EpochId[] {
  const followed = new Set([...membership.epochs.values()].flatMap((epoch) => epoch.parents));
  return [...membership.epochs.keys()].filter((id) => !followed.has(id)).toSorted();
}

/** Whether an event at `seq` of `log` by `device` still counts (R5); `id` of the event at the cut itself must be the one it names. */
export function isWithinCut(membership: Membership, device: DeviceId, log: LogId, seq: number, id: EventId): boolean {
  const former = membership.formerDevices.get(device);
  if (former === undefined) return membership.devices.has(device);
  const cut = former.cuts.get(log);
  return cut !== undefined && (seq < cut.seq || (seq === cut.seq && id === cut.id));
}

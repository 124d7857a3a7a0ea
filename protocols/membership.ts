/**
 * Membership (§4; R1, R3–R5, R10, R12, R14): signed roster records that name their parents, and the pure fold that gives
 * the same members on every node from any order, subset or duplication of them.
 */
import type { DeviceId, EpochId, EventId, LogId, MeshId, PersonId, RecordId } from "./ids.ts";

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
  closed: boolean;
  /** Uses left per admitting device. */
  usesLeft: Map<DeviceId, number>;
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
}

/** The result of the fold. Immutable: a new one is made when records arrive. */
export interface Membership {
  mesh: MeshId;
  name: string;
  founder: PersonId;
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
  /** Devices that once were a member's: to whom. */
  formerDevices: ReadonlyMap<DeviceId, { person: PersonId; record: RecordId }>;
  invites: ReadonlyMap<RecordId, Invite>;
  epochs: ReadonlyMap<EpochId, Epoch>;
  /** Records without children: the parents of the next one. */
  heads: RecordId[];
  /** Records whose parents are missing. */
  waiting: RecordId[];
  /** Records without effect, and why, in words. */
  void: ReadonlyMap<RecordId, string>;
}

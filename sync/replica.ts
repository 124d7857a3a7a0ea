/**
 * The one object through which a node has history: its own two chains (mesh and `here`), everybody else's, the membership
 * that they fold to, and the keys that open bodies. It appends, receives, reads, and says what changed. What is stored is the
 * truth; what is in memory can be rebuilt from it.
 */
import type { Value } from "../protocols/bytes.ts";
import type { SealingKey, SigningKey } from "../protocols/crypto/keys.ts";
import type { Random, Time } from "../protocols/effects.ts";
import type { Audience, EventKind, StoredEvent } from "../protocols/events.ts";
import type { DeviceId, EpochId, EventId, LogId, MeshId, PersonId, RecordId } from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import type { Sealed } from "../protocols/signature.ts";
import type { EventRun, ForkProof, LooseBody, Wanted } from "../protocols/sync.ts";
import type { LogOpening } from "../protocols/events.ts";
import type { Vector } from "./reconcile.ts";
import type { EventStore, StoreBatch } from "./store.ts";

/** Where epoch keys are kept: the keystore. `put` is durable when it resolves. */
export interface EpochKeys {
  get(epoch: EpochId): Uint8Array | undefined;
  put(epoch: EpochId, key: Uint8Array): Promise<void>;
}

/** One life of this device's logs (R2), marked outside the database too. */
export interface Incarnation {
  /** 16 random bytes. */
  id: Uint8Array;
  /** The device's first: it may run what was asked before its birth (R8). */
  first: boolean;
  /** Wall ms. */
  bornAt: number;
}

export interface ReplicaOptions {
  store: EventStore;
  mesh: MeshId;
  deviceKey: SigningKey;
  /** Newest first; older ones open what was sealed before a rotation (R7). */
  sealingKeys: SealingKey[];
  epochKeys: EpochKeys;
  incarnation: Incarnation;
  /** Makes the next incarnation and marks it durably outside the database, before the replica writes under it. */
  renewIncarnation(): Promise<Incarnation>;
  time: Time;
  random: Random;
  /** The genesis and what a join handed over (or what the founder just made). They are kept; giving them again is harmless. */
  records?: Sealed[];
}

/** An event to append. `to` only for `direct`; `clear` only where the kind allows it (roster, agent-key, log-opened). */
export interface NewEntry {
  kind: EventKind;
  audience: Audience;
  value: Value;
  to?: DeviceId[];
  clear?: boolean;
}

export type Standing =
  | { state: "good" }
  /** Its stamp is ahead of our clock; it counts from then on (R13). */
  | { state: "held"; until: number }
  /** Stored and shown, without effect (R5, R2). */
  | { state: "quarantined"; why: string };

export interface ReadableEvent {
  id: EventId;
  log: LogId;
  seq: number;
  device: DeviceId;
  /** Whose device it is or was; null if the fold does not say. */
  person: PersonId | null;
  kind: EventKind;
  audience: Audience;
  /** Wall ms of its stamp. */
  at: number;
  hlc: Uint8Array;
  deps: EventId[];
  standing: Standing;
  /** What it says, or undefined with the reason in `unreadable`. */
  value: Value | undefined;
  unreadable: null | "no-body" | "no-key" | "not-for-us" | "damaged";
}

export type ReplicaChange =
  /** Events that have effect and can be read, each told once: own, received, released from hold, or opened by a late key. */
  | { type: "applied"; events: ReadableEvent[] }
  /** Logs have grown (whatever can be read of them): sessions tell their peers. */
  | { type: "grown"; logs: LogId[] }
  | { type: "membership"; membership: Membership }
  | { type: "forked"; proof: ForkProof }
  /** A peer knew more of our log than we did, or our log forked: the next append opens a new one (R2). */
  | { type: "incarnation-ended"; log: LogId };

export interface Received {
  /** Events that were new. */
  stored: number;
  known: number;
  fork: ForkProof | null;
}

export interface Replica {
  readonly mesh: MeshId;
  readonly device: DeviceId;
  readonly store: EventStore;
  membership(): Membership;
  /** The living incarnation. */
  incarnation(): Incarnation;
  /** True: the next append opens a new log first (R2). */
  needsNewIncarnation(): boolean;
  /** Called in order, after the change is durable. Returns how to stop. A listener must not throw. */
  on(listener: (change: ReplicaChange) => void): () => void;

  /**
   * Appends own events in one transaction; resolves when durable. `values` are stored with them.
   * @throws KinError NOT_A_MEMBER, REMOVED, TOO_LARGE, DISK_FULL, CLOSED
   */
  append(entries: NewEntry[], options?: { values?: StoreBatch["values"] }): Promise<ReadableEvent[]>;
  read(event: StoredEvent): Promise<ReadableEvent>;
  event(id: EventId): Promise<ReadableEvent | undefined>;
  /** Events in order of arrival from `position`; `next` is where to go on, and equals `position` at the end. */
  events(options?: {
    position?: number;
    limit?: number;
    kinds?: ReadonlySet<EventKind>;
  }): Promise<{ next: number; events: ReadableEvent[] }>;

  /** How far we are in each log that may travel; `here` chains are not among them (R9). */
  vector(): Vector;
  /** True if events of this log would be accepted now: its device is or was a member's and the log is not frozen. */
  accepts(log: LogId, opening: LogOpening): boolean;
  /** The run that starts at `from` and ends at a signed head, at most MAX_RUN_EVENTS long; undefined if we have none. */
  runFrom(log: LogId, from: number): Promise<{ run: EventRun; left: LooseBody[] } | undefined>;
  /** @throws KinError BAD_REQUEST, BAD_SIGNATURE, NOT_A_MEMBER if the run cannot be right: the peer broke the protocol. */
  receive(run: EventRun, opening: LogOpening): Promise<Received>;
  /** Bodies of events whose header we have. Returns how many were missing and right. */
  receiveBodies(bodies: LooseBody[]): Promise<number>;
  bodies(ids: EventId[]): Promise<LooseBody[]>;
  missingBodies(limit: number): Promise<EventId[]>;

  /** All roster records we have, parents first. */
  records(): Sealed[];
  rosterHeads(): RecordId[];
  /** Roster records inside these ranges, and those whose event we lack: they travel before any run. */
  recordsIn(ranges: Wanted[]): Sealed[];
  /** Takes in records that came outside of events (join, `present`, sync). Returns how many were new. @throws KinError BAD_SIGNATURE, BAD_REQUEST, TOO_LARGE */
  learn(records: Sealed[]): Promise<number>;

  forks(): ForkProof[];
  /** True: it was new and right, and its log is frozen now. @throws KinError BAD_REQUEST, BAD_SIGNATURE if it proves nothing. */
  receiveFork(proof: ForkProof): Promise<boolean>;
  /** The proof that a peer's position in a log contradicts ours can only be made from its run: this makes it from ours. */
  headAt(log: LogId, seq: number): Promise<EventRun["head"] | undefined>;
  /** A peer says that it has this much of a log of ours (R2). */
  noticeOwnLog(log: LogId, seq: number, id: EventId): void;

  close(): Promise<void>;
}

/**
 * The one object through which a node has history: its own two chains (mesh and `here`), everybody else's, the membership
 * that they fold to, and the keys that open bodies. It appends, receives, reads, and says what changed. What is stored is the
 * truth; what is in memory can be rebuilt from it. This file is the contract and connects the parts:
 *
 *   writing ── own-logs ── log            what we say          reading ── quarantine     what it means, whether it counts
 *   receiving ── runs, fork, held         what others say      records · epochs          who is in, who can read
 *                          all on one ground: logs, vector, forks, listeners, the order of taking in
 */
import type { Value } from "../protocols/bytes.ts";
import type { SealingKey, SigningKey } from "../protocols/crypto/keys.ts";
import type { Random, Time } from "../protocols/effects.ts";
import type { ErrorShape } from "../protocols/errors.ts";
import type { BodyKeys } from "../protocols/event-body.ts";
import type { Audience, EventKind, LogOpening, StoredEvent } from "../protocols/events.ts";
import {
  idOf,
  type DeviceId,
  type EpochId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
  type RecordId,
} from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import type { RosterBody, RosterRecord } from "../protocols/roster-record.ts";
import type { Roster } from "../protocols/roster.ts";
import type { Sealed } from "../protocols/signature.ts";
import {
  MAX_ROSTER_HEADS,
  type EventRun,
  type ForkedLog,
  type ForkProof,
  type LooseBody,
  type Wanted,
} from "../protocols/sync.ts";
import { createBranches } from "./branches.ts";
import { createClaims, type Claims } from "./claims.ts";
import { CLOCK_BOUND_KEY, createClock } from "./clock.ts";
import { createEpochs } from "./epochs.ts";
import { createForks, type Forks } from "./forks.ts";
import { createGround, type Ground, type KnownLog } from "./ground.ts";
import { createGoingOn, type GoingOn } from "./going-on.ts";
import { createHeld, type Held } from "./held.ts";
import { openOwnLogs, type OwnLogs } from "./own-logs.ts";
import { createMending, leaveOutDamage, tellDamage, type Mending } from "./mending.ts";
import { recut, type Standing } from "./quarantine.ts";
import { createReading, type Reading } from "./reading.ts";
import { createReceiving } from "./receiving.ts";
import type { Vector } from "./reconcile.ts";
import { createRecords } from "./records.ts";
import { createReissues } from "./reissue.ts";
import { runFrom } from "./runs.ts";
import { tipOf, type Damage, type EventStore, type StoreBatch } from "./store.ts";
import { medianSkew, type ClockSample } from "./skew.ts";
import { createWitness } from "./witness.ts";
import { createWriting } from "./writing.ts";

/** Where epoch keys are kept: the keystore. `put` is durable when it resolves. */
export interface EpochKeys {
  get: (epoch: EpochId) => Uint8Array | undefined;
  put: (epoch: EpochId, key: Uint8Array) => Promise<void>;
}

/** One life of this device's logs (R2), marked outside the database too. */
export interface Incarnation {
  /** 16 random bytes. */
  id: Uint8Array;
  /** The device's first: it may run what was asked before its birth (R8). */
  first: boolean;
  /** Wall ms. */
  bornAt: number;
  /**
   * Made at this start for this store: nothing was ever written under it. Without it, a store that does not know the
   * incarnation is a restored or emptied one, and the replica asks for a new incarnation before it writes (R2).
   */
  fresh?: boolean;
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
  renewIncarnation: () => Promise<Incarnation>;
  time: Time;
  random: Random;
  /** The person's, where it is on this machine: it lets the device's logs go on after a first fork (R2). */
  personKey?: SigningKey | undefined;
  /** What the connected peers' clocks show now, minus ours (R13). @default nobody's */
  clocks?: (() => readonly ClockSample[]) | undefined;
  /**
   * Has any peer told since our start what it has? Until then nothing is written to the mesh that nobody asked for (R2).
   * @default always
   */
  hasHeard?: (() => boolean) | undefined;
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
  /** Where its author said first what he says again here (R2, R13); null: that has not come yet. */
  repeats?: { log: LogId; seq: number } | null;
  /** What must not count if it does (R2, R13): what it says again, and other copies of that. */
  insteadOf?: EventId[];
  /** What it says, opened when it is asked for; undefined: the reason is in `unreadable`. Neither is in a spread copy. */
  value: Value | undefined;
  /** "no-body": it is to come. "pruned": a snapshot stands for it (R16). */
  unreadable: null | "no-body" | "no-key" | "not-for-us" | "damaged" | "pruned";
}

export type ReplicaChange =
  /**
   * Events that have effect and whose key is here, each told once: own, received, released from hold, or opened by a late key.
   * Nobody has opened them yet: one may turn out to be damaged.
   */
  | { type: "applied"; events: ReadableEvent[] }
  /** Logs have grown (whatever can be read of them): sessions tell their peers. */
  | { type: "grown"; logs: LogId[] }
  | { type: "membership"; membership: Membership }
  | { type: "forked"; proof: ForkProof }
  /** What was told of these logs may count no longer, or again (a removal, a fork): views fold again from the start. */
  | { type: "rejudged"; logs: LogId[] }
  /** A peer knew more of our log than we did, or our log forked: the next append opens a new one (R2). */
  | { type: "incarnation-ended"; log: LogId }
  /** Rows of a log can't be read: they are left out, and fetched again from who has them (P18). */
  | { type: "damaged"; log: LogId; events: number }
  | { type: "mended"; log: LogId; events: number }
  /** Something that the replica does by itself failed; it is tried again at the next change. */
  | { type: "trouble"; error: ErrorShape };

export interface RosterAct {
  records: (RosterBody & { type: Exclude<RosterBody["type"], "genesis"> })[];
  entries?: NewEntry[];
  /** Key of the epoch among `records`: kept before anything is written, and `entries` are sealed under it. */
  epochKey?: Uint8Array;
}

export interface Received {
  /** Events that were new. */
  stored: number;
  known: number;
  fork: ForkProof | null;
  /** True: it is another history of the log, and begins after the point where that parts from ours. Ask for what is before. */
  lower?: true;
}

export interface Replica {
  readonly mesh: MeshId;
  readonly device: DeviceId;
  readonly store: EventStore;
  /** Which session fetches which log. */
  readonly claims: Claims;
  /** What folds to the membership: for `present` and its proofs (R14). Records are added by `learn` and `act` only. */
  readonly roster: Pick<Roster, "has" | "get" | "records" | "consider" | "proofFor" | "removalOf">;
  membership(): Membership;
  /** The living incarnation. */
  incarnation(): Incarnation;
  /** A new HLC stamp, 8 bytes, for what is signed outside of events. */
  stamp(): Uint8Array;
  /** True: the next append opens a new log first (R2). */
  needsNewIncarnation(): boolean;
  /** Called in order, after the change is durable. Returns how to stop. A listener must not throw. */
  on(listener: (change: ReplicaChange) => void): () => void;

  /**
   * Appends own events in one transaction; resolves when durable. `values` are stored with them.
   * @throws KinError NOT_A_MEMBER, REMOVED, TOO_LARGE, DISK_FULL, CLOSED
   */
  append(entries: NewEntry[], options?: { values?: StoreBatch["values"] }): Promise<ReadableEvent[]>;
  /**
   * Writes roster records, one act at a time: `build` gets the membership and says what they are; each one names the one
   * before as its parent, and `entries` are appended after them in the same transaction.
   * @throws KinError what `build` and {@link append} throw
   */
  act(build: (membership: Membership) => Promise<RosterAct> | RosterAct): Promise<RosterRecord[]>;
  read(event: StoredEvent): Promise<ReadableEvent>;
  event(id: EventId): Promise<ReadableEvent | undefined>;
  /** Events in order of arrival from `position`; `next` is where to go on, and equals `position` at the end. */
  events(options?: {
    position?: number;
    limit?: number;
    kinds?: ReadonlySet<EventKind>;
    /** Without those for which a snapshot stands: a view has nothing to fold of them. @default false */
    unpruned?: boolean;
  }): Promise<{ next: number; events: ReadableEvent[] }>;

  /** How far we are in each log that may travel; `here` chains are not among them (R9). */
  vector(): Vector;
  /** True if events of this log would be accepted now: its device is or was a member's and the log is not frozen. */
  accepts(log: LogId, opening: LogOpening): boolean;
  /**
   * The run that starts at `from` and ends at a signed head, at most MAX_RUN_EVENTS long; undefined if we have none. `left`
   * are events whose body was too much for it.
   */
  runFrom(log: LogId, from: number): Promise<{ run: EventRun; left: EventId[] } | undefined>;
  /** @throws KinError BAD_REQUEST, BAD_SIGNATURE, NOT_A_MEMBER if the run cannot be right: the peer broke the protocol. */
  receive(run: EventRun, opening: LogOpening): Promise<Received>;
  /** Bodies of events whose header we have. Returns how many were missing and right. */
  receiveBodies(bodies: LooseBody[]): Promise<number>;
  bodies(ids: EventId[]): Promise<LooseBody[]>;
  missingBodies(limit: number): Promise<EventId[]>;
  /** Bodies that a snapshot stands for (R16): those that we hold are dropped, those that we lack are missed no longer. */
  prune(ids: EventId[]): Promise<void>;
  /** The reverse: nothing stands for these any more. Stored events without a body, which are asked for again. */
  miss(events: StoredEvent[]): Promise<void>;
  /** Views fold again from the start: what they begin with has changed. */
  refold(): void;

  /** All roster records we have, parents first. */
  records(): Sealed[];
  rosterHeads(): RecordId[];
  knowsRecords(ids: Iterable<RecordId>): boolean;
  /** Roster records inside these ranges, and those whose event we lack: they travel before any run. */
  recordsIn(ranges: Wanted[]): { id: RecordId; sealed: Sealed }[];
  /** Takes in records that came outside of events (join, `present`, sync). Returns how many were new. @throws KinError BAD_SIGNATURE, BAD_REQUEST, TOO_LARGE */
  learn(records: Sealed[]): Promise<number>;

  /** Places of logs that may travel whose rows are damaged: whoever has them can mend them. */
  damage(): ReadonlyMap<LogId, Damage>;
  /** Puts the events and the head of a run in the place of damaged ones. Returns how many. @throws KinError BAD_SIGNATURE, FORKED, BAD_REQUEST */
  mend(run: EventRun): Promise<number>;

  forks(): ForkProof[];
  /** Logs that were written twice, and where their histories end here (R2). */
  forkedLogs(): ForkedLog[];
  /** Whether we have this event, on whatever history of its log. */
  hasEvent(log: LogId, seq: number, id: EventId): Promise<boolean>;
  /** Events that are on another history of their log than the one in the store: {@link events} has not got them. */
  branchEvents(): Promise<ReadableEvent[]>;
  /** As {@link runFrom}, on the history that leads to event `tip`. */
  runTo(log: LogId, tip: EventId, from: number): Promise<{ run: EventRun; left: EventId[] } | undefined>;
  /** True: it was new and right, and says of a lower parting than what we knew. @throws KinError BAD_REQUEST, BAD_SIGNATURE if it proves nothing. */
  receiveFork(proof: ForkProof): Promise<boolean>;
  /** A peer says that it has this much of a log of ours (R2). */
  noticeOwnLog(log: LogId, seq: number, id: EventId): void;

  /**
   * Says again what has no effect where it stands: one's own entries, and by an admin those of a removed member (R2, R5).
   * @throws KinError DENIED, NOT_FOUND, BAD_REQUEST if one counts
   */
  reissue(ids: readonly EventId[]): Promise<ReadableEvent[]>;

  /** An epoch record for these devices, and its key: part of an act (R6). */
  newEpoch(
    from: Membership,
    recipients: Iterable<{ device: { id: DeviceId; sealingKey: Uint8Array } }>,
  ): Promise<RosterAct>;

  /** Resolves when the replica has done what it does by itself: sharing epoch keys, witnessing, releasing. */
  idle(): Promise<void>;
  /** Waits for what was asked before. The store stays open: who opened it closes it. */
  close(): Promise<void>;
}

const NO_CLOCKS: readonly ClockSample[] = [];
/** Events that one step of a full read takes. */
const PAGE_EVENTS = 512;

/** @throws KinError BAD_REQUEST if no record of `options` or of the store is the mesh's genesis; CORRUPT */
export async function openReplica(options: ReplicaOptions): Promise<Replica> {
  const { mesh, deviceKey, epochKeys, time, random } = options;
  let damageSeen = false;
  const noticed = () => {
    damageSeen = true;
    if (isOpen) mending.look();
  };
  const store = leaveOutDamage(options.store, noticed);
  let isOpen = false;
  const device = idOf<"device">(deviceKey.publicKey);
  const clock = createClock({ time, bound: await store.value(CLOCK_BOUND_KEY) });
  const ground = createGround({ mesh, device, store, clock, time, random });
  const claims = createClaims(time);
  const bodyKeys: BodyKeys = {
    device,
    epochKey: (epoch) => epochKeys.get(epoch),
    sealingKeys: () => options.sealingKeys,
  };

  const records = createRecords(ground, membershipChanged);
  const { membership, roster } = records;
  const branches = createBranches(store);
  const witness = createWitness(ground, branches, membership);
  const reissues = createReissues(ground);
  const looked: { at: readonly ClockSample[] | null; others: number; skewMs: number | null } = {
    at: null,
    others: 0,
    skewMs: null,
  };
  /** Each append asks: the same samples give the same. */
  const skewMs = () => {
    const samples = options.clocks?.() ?? NO_CLOCKS;
    const others = membership().members.size - 1;
    if (samples !== looked.at || others !== looked.others)
      Object.assign(looked, { at: samples, others, skewMs: medianSkew(samples, others) });
    return looked.skewMs;
  };
  const find = async (id: EventId) => (await branches.event(id)) ?? store.event(id);
  const reading = createReading(ground, {
    membership,
    bodyKeys,
    isMissing: (event) => receiving.isMissing(event),
    find,
    stands: witness.stands,
    reissues,
    noteHeld: (event) => held.note(event),
  });
  const epochs = createEpochs({
    ground,
    membership,
    records: () => roster.records(),
    keys: epochKeys,
    get sealingKeys() {
      return options.sealingKeys;
    },
    read: reading.read,
    write: (entries, values) => writing.write({ entries, values }),
  });
  const receiving = createReceiving({
    ground,
    records,
    reading,
    epochs,
    branches,
    witness,
    forks: () => forks,
    endIncarnation: (log) => ownLogs.end(log),
    isLiving: (log) => log === ownLogs.living(),
    reissues,
  });
  const forks: Forks = createForks({
    ground,
    branches,
    witness,
    membership,
    learnRecords: records.learnFrom,
    missingRows: receiving.missingRows,
    noteMissing: receiving.noteMissing,
    noteReissues: reissues.note,
    isReissue: reissues.isPartOf,
    goOn: () => ground.inBackground(goingOn.settle()),
    deliverBranch: receiving.deliverLate,
    endIncarnation: (log) => ownLogs.end(log),
  });
  const mending: Mending = createMending({
    ground,
    store: options.store,
    deliverLate: receiving.deliverLate,
    missBodies: receiving.missBodies,
  });
  const held: Held = createHeld(ground, branches, receiving.deliver, receiving.deliverLate);
  const writing = createWriting({
    ground,
    records,
    epochs,
    epochKeys,
    ownLogs: () => ownLogs,
    deviceKey,
    reading,
    takeOwn: receiving.takeOwn,
    hasHeard: options.hasHeard,
    wrote: () => goingOn.isDue() && ground.inBackground(goingOn.settle()),
    skewMs,
  });
  const goingOn: GoingOn = createGoingOn({
    ground,
    records,
    branches,
    reissues,
    find,
    read: reading.read,
    findHeld: (known) => held.find(known).then(held.schedule),
    epochs,
    writing,
    ownLogs: () => ownLogs,
    personKey: options.personKey ?? null,
  });

  await loadLogs(ground, held);
  await receiving.load();
  await epochs.load();
  await records.load(options.records ?? []);
  await reissues.load();
  await forks.load();
  const { incarnation, renewIncarnation: renew } = options;
  const ownLogs: OwnLogs = await openOwnLogs({ ground, membership, deviceKey, incarnation, renew, skewMs });
  held.schedule();
  await epochs.takeFromRoster();
  const loose = await records.loose();
  if (loose.length > 0) await writing.write({ records: loose });
  isOpen = true;
  if (damageSeen) mending.look();

  async function membershipChanged(before: Membership, after: Membership): Promise<void> {
    ground.emit({ type: "membership", membership: after });
    const changed = new Set(recut(before, after));
    const touched = [...ground.logs.values()].filter(({ opening, tip }) => changed.has(opening.device) && tip !== null);
    // One record may take another's place: as many logs, and not the same.
    const allows = ground.forks.size > 0 && [...after.allowedLogs].join() !== [...before.allowedLogs].join();
    if (allows) await witness.lookAgain();
    if (allows && [...ground.forks.values()].some(({ opening }) => opening.device === device))
      ground.inBackground(goingOn.settle());
    const logs = allows ? [...ground.logs.keys()] : touched.map(({ log }) => log);
    if (logs.length > 0) ground.emit({ type: "rejudged", logs });
    await epochs.takeFromRoster();
    ground.inBackground(epochs.share());
  }

  async function close(): Promise<void> {
    ground.close();
    held.stop();
    await ownLogs.close();
    await ground.idle();
  }

  return {
    mesh,
    device,
    store: tellDamage(options.store, noticed),
    claims,
    roster,
    membership,
    incarnation: ownLogs.incarnation,
    needsNewIncarnation: ownLogs.hasEnded,
    on: ground.on,
    append: writing.append,
    act: writing.act,
    read: reading.read,
    event: async (id) => {
      const found = await find(id);
      return found === undefined ? undefined : reading.read(found);
    },
    events: (asked) => eventsFrom(store, ground.logs, reading, receiving.isMissing, asked),
    vector: () => ground.vector,
    accepts: receiving.accepts,
    runFrom: async (log, from) =>
      ground.logs.get(log)?.opening.chain === "mesh" ? runFrom(store, log, from) : undefined,
    receive: receiving.receive,
    receiveBodies: receiving.receiveBodies,
    bodies: receiving.bodies,
    missingBodies: async (limit) => receiving.missingBodies(limit),
    prune: receiving.prune,
    miss: receiving.missBodies,
    refold: () => ground.emit({ type: "rejudged", logs: [...ground.logs.keys()] }),
    records: () => roster.records().map(({ sealed }) => sealed),
    stamp: () => clock.stamp(),
    rosterHeads: () => membership().heads.slice(0, MAX_ROSTER_HEADS),
    knowsRecords: (ids) => [...ids].every((id) => roster.has(id)),
    recordsIn: records.within,
    learn: records.learn,
    damage: mending.damage,
    mend: mending.mend,
    forks: () => [...ground.forks.values()],
    forkedLogs: forks.ended,
    hasEvent: forks.has,
    async branchEvents() {
      const ids = [...ground.forks.keys()].flatMap((log) => branches.idsOf(log));
      const events = await Promise.all(ids.map((id) => branches.event(id)));
      return Promise.all(events.filter((event) => event !== undefined).map((event) => reading.read(event)));
    },
    runTo: async (log, tip, from) =>
      ground.logs.get(log)?.opening.chain === "mesh" ? runFrom(branches.history(log, tip), log, from) : undefined,
    receiveFork: forks.receive,
    noticeOwnLog: ownLogs.noticeMore,
    reissue: goingOn.reissue,
    newEpoch: epochs.open,
    idle: ground.idle,
    close,
  };
}

/** What the store has of each log. */
async function loadLogs({ store, clock, logs, undepended, noteInVector }: Ground, held: Held) {
  for (const state of await store.logs()) {
    const { log, opening } = state;
    const tip = tipOf(state);
    const known: KnownLog = { log, opening, tip, due: tip, heldFrom: null };
    logs.set(log, known);
    if (tip !== null && clock.isHeld(tip.hlc)) await held.find(known);
    noteInVector(known);
    if (opening.chain === "mesh") undepended.add(log);
  }
}

async function eventsFrom(
  store: EventStore,
  logs: Ground["logs"],
  reading: Reading,
  isMissing: (event: StoredEvent) => boolean,
  { position = 0, limit = PAGE_EVENTS, kinds, unpruned = false }: Parameters<Replica["events"]>[0] = {},
) {
  const stored = await store.since(position, limit, kinds);
  // A log that is stored and not yet taken in is told when it is.
  const untaken = stored.findIndex(({ event }) => !logs.has(event.header.log));
  const page = untaken < 0 ? stored : stored.slice(0, untaken);
  const wanted = page.filter(({ event }) => !(unpruned && event.body === null && !isMissing(event)));
  const readable: ReadableEvent[] = [];
  for (const { event } of wanted) readable.push(await reading.read(event));
  return { next: page.length === 0 ? position : page.at(-1)!.position + 1, events: readable };
}

/**
 * The one object through which a node has history: its own two chains (mesh and `here`), everybody else's, the membership
 * that they fold to, and the keys that open bodies. It appends, receives, reads, and says what changed. What is stored is the
 * truth; what is in memory can be rebuilt from it.
 */
import { decode, equal, type Value } from "../protocols/bytes.ts";
import type { SealingKey, SigningKey } from "../protocols/crypto/keys.ts";
import type { Random, Time } from "../protocols/effects.ts";
import { newEpochKey, epochKeyHash, openEpochKey, sealEpochKeys } from "../protocols/epoch.ts";
import { KinError, errorShape, type ErrorShape } from "../protocols/errors.ts";
import { openBody, type BodyKeys, type BodyPlan, type OpenedBody } from "../protocols/event-body.ts";
import {
  isBodyOf,
  logIdOf,
  verifyRun,
  type Audience,
  type EventKind,
  type LogOpening,
  type StoredEvent,
  type Tip,
} from "../protocols/events.ts";
import {
  idBytes,
  idOf,
  type DeviceId,
  type EpochId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
  type RecordId,
} from "../protocols/ids.ts";
import { MAX_DEPS, MAX_OPEN_LOGS } from "../protocols/limits.ts";
import { epochHeads, usableEpochs, type Membership } from "../protocols/membership.ts";
import {
  isRecordOf,
  makeRecord,
  parseRosterValue,
  recordIdOf,
  type RecordAuthor,
  type RosterBody,
  type RosterRecord,
} from "../protocols/roster-record.ts";
import { LAST_ADMIN } from "../protocols/roster-rules.ts";
import { createRoster, type Roster } from "../protocols/roster.ts";
import { asMap, sealedValue, type Sealed } from "../protocols/signature.ts";
import {
  MAX_ROSTER_HEADS,
  MAX_VECTOR_LOGS,
  type EventRun,
  type ForkProof,
  type LooseBody,
  type VectorEntry,
  type Wanted,
} from "../protocols/sync.ts";
import { createClaims, type Claims } from "./claims.ts";
import { CLOCK_BOUND_KEY, compareStamps, createClock, decodeStamp } from "./clock.ts";
import { checkForkProof } from "./fork.ts";
import { openLog, type NewEvent, type OwnLog } from "./log.ts";
import { judge, recut, type Standing } from "./quarantine.ts";
import type { Vector } from "./reconcile.ts";
import { forkRow, parseForkRow, parseRecordRow, recordRow } from "./rows.ts";
import { proveFork, runFrom, unknownPart } from "./runs.ts";
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
  /** What was told of these logs may count no longer, or again (a removal, a fork): views fold again from the start. */
  | { type: "rejudged"; logs: LogId[] }
  /** A peer knew more of our log than we did, or our log forked: the next append opens a new one (R2). */
  | { type: "incarnation-ended"; log: LogId }
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

  /** All roster records we have, parents first. */
  records(): Sealed[];
  rosterHeads(): RecordId[];
  knowsRecords(ids: Iterable<RecordId>): boolean;
  /** Roster records inside these ranges, and those whose event we lack: they travel before any run. */
  recordsIn(ranges: Wanted[]): { id: RecordId; sealed: Sealed }[];
  /** Takes in records that came outside of events (join, `present`, sync). Returns how many were new. @throws KinError BAD_SIGNATURE, BAD_REQUEST, TOO_LARGE */
  learn(records: Sealed[]): Promise<number>;

  forks(): ForkProof[];
  /** True: it was new and right, and its log is frozen now. @throws KinError BAD_REQUEST, BAD_SIGNATURE if it proves nothing. */
  receiveFork(proof: ForkProof): Promise<boolean>;
  /** A peer says that it has this much of a log of ours (R2). */
  noticeOwnLog(log: LogId, seq: number, id: EventId): void;

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

/** Unwitnessed `here` events after which the mesh chain names the `here` chain's head (R9). */
const HERE_HEAD_EVERY = 64;
/** How long the first append after a start waits for a peer that says it has more of our log (R2). */
const SUSPICION_MS = 2_000;
/** Deps remembered that have not come yet, to judge again what named them. */
const MAX_AWAITED_DEPS = 10_000;
/** Records whose parents we lack: more are refused. */
const MAX_WAITING_RECORDS = 4_096;
/** Events that one step of a long read takes from the store. */
const PAGE_EVENTS = 64;
/** Events that one step of a full read takes. */
const SCAN_EVENTS = 512;
const INCARNATION_KEY = "incarnation";

/** An epoch that we may write under. */
interface OpenEpoch {
  epoch: EpochId;
  key: Uint8Array;
}

interface KnownLog {
  log: LogId;
  opening: LogOpening;
  tip: Tip | null;
  /** The last event that is not held. */
  due: Tip | null;
  /** The first one that is (R13); all after it are. */
  heldFrom: number | null;
}

/** @throws KinError BAD_REQUEST if no record of `options` or of the store is the mesh's genesis; CORRUPT */
export async function openReplica(options: ReplicaOptions): Promise<Replica> {
  const { store, mesh, deviceKey, epochKeys, time, random } = options;
  const device = idOf<"device">(deviceKey.publicKey);
  const roster = createRoster(mesh);
  const clock = createClock({ time, bound: await store.value(CLOCK_BOUND_KEY) });
  const claims = createClaims(time);
  const listeners = new Set<(change: ReplicaChange) => void>();
  const logs = new Map<LogId, KnownLog>();
  const vector = new Map<LogId, VectorEntry>();
  /** Where each record's event is; null if we have the record alone. */
  const recordAt = new Map<RecordId, { log: LogId; seq: number } | null>();
  const forks = new Map<LogId, ForkProof>();
  const missing = new Set<EventId>();
  const lockedEpochs = new Set<EpochId>();
  const sharedEpochs = new Set<string>();
  const awaitedDeps = new Map<EventId, { log: LogId; hlc: Uint8Array }>();
  /** Logs that have grown since we last named them in `deps`. */
  const undepended = new Set<LogId>();
  const inOrder = createQueue();
  const oneAct = createQueue();
  const oneRenewal = createQueue();
  const background = new Set<Promise<unknown>>();
  const bodyKeys: BodyKeys = {
    device,
    epochKey: (epoch) => epochKeys.get(epoch),
    sealingKeys: () => options.sealingKeys,
  };
  /** Values of own events between their writing and their telling. */
  const justSaid = new Map<EventId, Value>();
  let incarnation = options.incarnation;
  let ended = false;
  let wrote = false;
  let lookedAtShares = false;
  let suspicion: Promise<void> | null = null;
  let endSuspicion: () => void = () => undefined;
  let hereUnwitnessed = 0;
  let cancelRelease: (() => void) | null = null;
  let closed = false;

  await load();
  let membership = currentMembership();
  let own = await openOwn("mesh");
  let ownHere = await openOwn("here");
  await takeEpochKeys();
  await publishOwnRecords();

  // ── start ──

  async function load(): Promise<void> {
    for (const state of await store.logs()) {
      const { log, opening } = state;
      const tip = state.id === null || state.hlc === null ? null : { seq: state.seq, id: state.id, hlc: state.hlc };
      const known: KnownLog = { log, opening, tip, due: tip, heldFrom: null };
      logs.set(log, known);
      if (tip !== null && clock.isHeld(tip.hlc)) await findHeld(known);
      noteInVector(known);
      if (opening.chain === "mesh") undepended.add(log);
    }
    for (const { key, value } of await store.values("fork/"))
      forks.set(key.slice(5) as LogId, parseForkRow(value, mesh));
    for (const { key } of await store.values("missing/")) missing.add(key.slice(8) as EventId);
    for (const { key } of await store.values("locked/")) lockedEpochs.add(key.slice(7) as EpochId);
    for (const { key } of await store.values("shared/")) sharedEpochs.add(key.slice(7));
    const rows = (await store.values("roster/")).map(({ key, value }) => ({
      id: key.slice(7),
      ...parseRecordRow(value),
    }));
    for (const { id, at } of rows) recordAt.set(id as RecordId, at);
    roster.add(rows.map(({ sealed }) => sealed));
    const { added, refused } = roster.add(options.records ?? []);
    if (refused[0] !== undefined) throw new KinError(refused[0].error.code, refused[0].error.message);
    await keepRecords(added);
    await checkIncarnation();
    scheduleRelease();
  }

  /** A store that does not know the incarnation was restored or emptied: what it wrote may be out there (R2). */
  async function checkIncarnation(): Promise<void> {
    const row = await store.value(INCARNATION_KEY);
    ended = !incarnation.fresh && (row === undefined || !equal(row, incarnation.id));
    if (!ended) await store.append({ values: [{ key: INCARNATION_KEY, value: incarnation.id }] });
  }

  function currentMembership(): Membership {
    if (roster.membership === null)
      throw new KinError("BAD_REQUEST", `the genesis of mesh ${mesh} is missing: neither given nor in the store`);
    return roster.membership;
  }

  function openOwn(chain: "mesh" | "here"): Promise<OwnLog> {
    return openLog({ store, mesh, key: deviceKey, incarnation: incarnation.id, chain, clock, random });
  }

  /** Records of ours that no event carries yet: a founder's genesis, or what a crash left between two steps. */
  async function publishOwnRecords(): Promise<void> {
    const isLoose = ({ id, author }: RosterRecord) => recordAt.get(id) === null && author.device === device;
    if (!roster.records().some(isLoose) || !membership.devices.has(device)) return;
    // A crash right after an act leaves the place of its records unknown: it is in our log.
    const mine = [...logs.values()].filter(({ opening }) => opening.device === device && opening.chain === "mesh");
    for (const { log, tip } of mine)
      for (let at = 0; at <= (tip?.seq ?? -1); at += PAGE_EVENTS)
        await placeRecords(await store.range(log, at, at + PAGE_EVENTS));
    const loose = roster.records().filter(isLoose);
    if (loose.length > 0) await write({ records: loose, entries: [], values: [] });
  }

  /** Remembers durably which events carry these records. */
  async function placeRecords(events: StoredEvent[]): Promise<RosterRecord[]> {
    const records: RosterRecord[] = [];
    const placed: RosterRecord[] = [];
    for (const event of events) {
      const record = recordOf(event);
      if (record === null) continue;
      records.push(record);
      // Received ones have their row from the transaction that stored the event.
      if (recordAt.get(record.id) === null) placed.push(record);
      recordAt.set(record.id, { log: event.header.log, seq: event.header.seq });
    }
    await keepRecords(placed);
    return records;
  }

  // ── telling ──

  function emit(change: ReplicaChange): void {
    for (const listener of listeners) listener(change);
  }

  function inBackground(work: Promise<unknown>): void {
    const done = work.catch((error: unknown) => {
      if (!closed) emit({ type: "trouble", error: errorShape(error) });
    });
    background.add(done);
    void done.finally(() => background.delete(done));
  }

  function noteInVector({ log, opening, tip }: KnownLog): void {
    if (opening.chain === "mesh" && tip !== null) vector.set(log, { log, opening, seq: tip.seq, id: tip.id });
  }

  // ── writing ──

  async function append(entries: NewEntry[], { values = [] }: { values?: StoreBatch["values"] } = {}) {
    if (entries.some(needsEpoch) && writableEpoch() === undefined) return appendUnderNewEpoch(entries, values);
    return write({ records: [], entries, values });
  }

  function needsEpoch(entry: NewEntry): boolean {
    return entry.audience === "mesh" && !isClear(entry);
  }

  function isClear(entry: NewEntry): boolean {
    return entry.clear === true || entry.audience === "here" || entry.kind === "roster" || entry.kind === "agent-key";
  }

  /** R6: the best epoch that nobody outside the folded roster can read, if we hold its key. */
  function writableEpoch(): OpenEpoch | undefined {
    for (const { id } of usableEpochs(membership)) {
      const key = epochKeys.get(id);
      if (key !== undefined) return { epoch: id, key };
    }
    return undefined;
  }

  async function appendUnderNewEpoch(entries: NewEntry[], values: NonNullable<StoreBatch["values"]>) {
    const first = await oneAct(async () => {
      checkLiving();
      if (writableEpoch() !== undefined) return null; // somebody was faster
      const { records, epoch } = await prepareAct(await newEpoch(membership, membership.devices.values()));
      return write({ records, entries, values, epoch });
    });
    return first ?? write({ records: [], entries, values });
  }

  /** An epoch record for these devices, and its key. */
  async function newEpoch(
    from: Membership,
    recipients: Iterable<{ device: { id: DeviceId; sealingKey: Uint8Array } }>,
  ) {
    const key = newEpochKey(random);
    const keys = await sealEpochKeys(
      mesh,
      key,
      [...recipients].map((one) => one.device),
      device,
    );
    const record: RosterBody & { type: "epoch" } = {
      type: "epoch",
      after: epochHeads(from),
      keyHash: epochKeyHash(key),
      keys,
    };
    return { records: [record], epochKey: key } satisfies RosterAct;
  }

  function act(build: (membership: Membership) => Promise<RosterAct> | RosterAct): Promise<RosterRecord[]> {
    return oneAct(async () => {
      checkLiving();
      const planned = await build(membership);
      const { records, epoch } = await prepareAct(planned);
      checkRightful(records);
      const entries = planned.entries ?? [];
      const needs = entries.some(needsEpoch) && epoch === undefined && writableEpoch() === undefined;
      if (needs) throw new KinError("BAD_REQUEST", "a roster act with sealed events needs an epoch to seal them under");
      await write({ records, entries, values: [], epoch });
      return records;
    });
  }

  /** Makes the records, each on top of the one before, and keeps the epoch's key. */
  async function prepareAct(planned: RosterAct): Promise<{
    records: RosterRecord[];
    epoch: OpenEpoch | undefined;
  }> {
    const records: RosterRecord[] = [];
    let parents = membership.heads;
    for (const body of planned.records) {
      const by: RecordAuthor = {
        mesh,
        person: membership.devices.get(device)!.member.person,
        device: deviceKey,
        parents,
        hlc: clock.stamp(),
        n: random.bytes(16),
      };
      const record = makeRecord(by, body as never) as RosterRecord;
      records.push(record);
      parents = [record.id];
    }
    const opened = records.find((record) => isRecordOf(record, "epoch"));
    if (opened === undefined || planned.epochKey === undefined) return { records, epoch: undefined };
    const epoch = idOf<"epoch">(idBytes(opened.id));
    await epochKeys.put(epoch, planned.epochKey);
    return { records, epoch: { epoch, key: planned.epochKey } };
  }

  /** What the fold would void is not written. */
  function checkRightful(records: RosterRecord[]): void {
    const trial = createRoster(mesh);
    trial.addRecords([...roster.records(), ...records]);
    for (const { id, body } of records) {
      const why = trial.membership?.void.get(id);
      if (why === undefined) continue;
      throw new KinError(why === LAST_ADMIN ? "LAST_ADMIN" : "DENIED", `"${body.type}" would have no effect: ${why}`);
    }
  }

  interface Writing {
    records: RosterRecord[];
    entries: NewEntry[];
    values: NonNullable<StoreBatch["values"]>;
    /** Opened by one of `records`. */
    epoch?: OpenEpoch | undefined;
  }

  async function write({ records, entries, values, epoch }: Writing): Promise<ReadableEvent[]> {
    checkLiving();
    await settleIncarnation();
    const toMesh = entries.filter(({ audience }) => audience !== "here");
    const toHere = entries.filter(({ audience }) => audience === "here");
    const rosterEntries = records.map(({ sealed }): NewEntry => {
      return { kind: "roster", audience: "mesh", value: sealedValue(sealed) as Value };
    });
    const rows = records.map(({ id, sealed }) => recordRow(id, sealed, null));
    for (const { id } of records) recordAt.set(id, null);
    const inMesh = [...rosterEntries, ...toMesh];
    if (inMesh.length + toHere.length === 0 && values.length > 0) await store.append({ values });
    const meshDone = inMesh.length === 0 ? [] : await writeMesh(inMesh, [...values, ...rows], epoch ?? writableEpoch());
    const hereDone = toHere.length === 0 ? [] : await writeHere(toHere, inMesh.length === 0 ? values : []);
    meshDone.splice(0, records.length);
    return entries.map(({ audience }) => (audience === "here" ? hereDone : meshDone).shift()!);
  }

  async function writeMesh(entries: NewEntry[], values: NonNullable<StoreBatch["values"]>, epoch?: OpenEpoch) {
    const [first, ...others] = entries.map((entry): NewEvent => {
      return { kind: entry.kind, audience: entry.audience, body: bodyPlan(entry, epoch) };
    });
    const deps = takeDeps();
    try {
      wrote = true;
      const events = [{ ...first!, deps: deps.map(({ tip }) => tip) }, ...others];
      const done = await writeTo(own, events, values, entries);
      // Not at the start: nothing is written before a peer could say that it has more of our log (R2).
      if (!lookedAtShares) inBackground(shareEpochs());
      lookedAtShares = true;
      return done;
    } catch (error) {
      for (const { log } of deps) undepended.add(log);
      throw error;
    }
  }

  async function writeHere(entries: NewEntry[], values: NonNullable<StoreBatch["values"]>): Promise<ReadableEvent[]> {
    const log = ownHere;
    const events = entries.map(({ kind, value }): NewEvent => {
      return { kind, audience: "here", body: { form: "clear", value } };
    });
    const done = await writeTo(log, events, values, entries);
    hereUnwitnessed += done.length;
    if (hereUnwitnessed >= HERE_HEAD_EVERY && writableEpoch() !== undefined) {
      hereUnwitnessed = 0;
      inBackground(witness(log));
    }
    return done;
  }

  async function writeTo(
    log: OwnLog,
    events: NewEvent[],
    values: NonNullable<StoreBatch["values"]>,
    entries: NewEntry[],
  ): Promise<ReadableEvent[]> {
    const done = await log.append(events, values);
    done.forEach(({ id }, i) => justSaid.set(id, entries[i]!.value));
    await inOrder(() => takeOwn(log, done));
    const readable = await Promise.all(done.map((event) => read(event)));
    for (const { id } of done) justSaid.delete(id);
    return readable;
  }

  /** R9: peers witness how far the `here` chain was, without a word of what it says. */
  async function witness(log: OwnLog): Promise<void> {
    const tip = log.tip();
    const head = tip === null ? undefined : await store.headFrom(log.log, tip.seq);
    if (head === undefined) return;
    await append([{ kind: "here-head", audience: "mesh", value: { h: [head.bytes, head.sig] } }]);
  }

  function checkLiving(): void {
    if (closed) throw new KinError("CLOSED", "the replica is closed");
    if (membership.devices.has(device)) return;
    if (membership.formerDevices.has(device))
      throw new KinError("REMOVED", `this device was removed from ${membership.name}`);
    throw new KinError("NOT_A_MEMBER", `this device is not a member's in ${membership.name}`);
  }

  /** Before the first write: has a peer more of our log than we? Then, and after a fork, a new log (R2). */
  async function settleIncarnation(): Promise<void> {
    if (!wrote && suspicion !== null) await suspicion;
    if (!ended) return;
    await oneRenewal(async () => {
      if (!ended) return;
      const mine = [...logs.values()].filter(({ opening }) => opening.device === device && opening.chain === "mesh");
      if (mine.length >= MAX_OPEN_LOGS)
        throw new KinError("FORKED", `this device has begun ${mine.length} logs: at most ${MAX_OPEN_LOGS}`);
      await Promise.all([own.close(), ownHere.close()]);
      incarnation = await options.renewIncarnation();
      await store.append({ values: [{ key: INCARNATION_KEY, value: incarnation.id }] });
      own = await openOwn("mesh");
      ownHere = await openOwn("here");
      ended = false;
    });
  }

  function endIncarnation(log: LogId): void {
    if (ended || log !== own.log) return;
    ended = true;
    endSuspicion();
    emit({ type: "incarnation-ended", log });
  }

  function bodyPlan(entry: NewEntry, epoch: OpenEpoch | undefined): BodyPlan {
    const { value } = entry;
    if (isClear(entry)) return { form: "clear", value };
    if (entry.audience === "direct") return { form: "direct", recipients: recipientsOf(entry), value };
    if (epoch === undefined) throw new KinError("INTERNAL", "there is no epoch to write under");
    return { form: "mesh", ...epoch, value };
  }

  function recipientsOf(entry: NewEntry): { device: DeviceId; sealingKey: Uint8Array }[] {
    return [...new Set(entry.to ?? [])].map((id) => {
      const found = membership.devices.get(id);
      if (found === undefined)
        throw new KinError("NOT_A_MEMBER", `a ${entry.kind} event for device ${id}, which is no living member's`);
      return { device: id, sealingKey: found.device.sealingKey };
    });
  }

  /** The newest events of other logs that our next event comes after: never held ones (R13), nor those of removed devices. */
  function takeDeps(): { log: LogId; tip: Tip }[] {
    const out: { log: LogId; tip: Tip }[] = [];
    for (const log of undepended) {
      if (out.length >= MAX_DEPS) break;
      const known = logs.get(log)!;
      undepended.delete(log);
      if (log === own.log || known.due === null || forks.has(log) || !membership.devices.has(known.opening.device))
        continue;
      out.push({ log, tip: known.due });
    }
    return out;
  }

  // ── taking in ──

  /** Own events that are durable now, in the order of the log; those before them that another append wrote, too. */
  async function takeOwn(log: OwnLog, done: StoredEvent[]): Promise<void> {
    const from = (logs.get(log.log)?.tip?.seq ?? -1) + 1;
    const fresh = done.filter(({ header }) => header.seq >= from);
    const last = fresh.at(-1);
    if (last === undefined) return;
    const isNext = fresh[0]!.header.seq === from;
    await take(log.log, log.opening, isNext ? fresh : await store.range(log.log, from, last.header.seq + 1));
  }

  /** Makes stored events count. Runs one after the other; events that were taken already are skipped. */
  async function take(log: LogId, opening: LogOpening, events: StoredEvent[]): Promise<number> {
    const known = logs.get(log) ?? { log, opening, tip: null, due: null, heldFrom: null };
    logs.set(log, known);
    const fresh = events.filter(({ header }) => header.seq > (known.tip?.seq ?? -1));
    const last = fresh.at(-1);
    if (last === undefined) return 0;
    known.tip = { seq: last.header.seq, id: last.id, hlc: last.header.hlc };
    noteInVector(known);
    for (const event of fresh) if (event.body === null) missing.add(event.id);
    await takeRecords(fresh);
    if (opening.chain === "mesh") emit({ type: "grown", logs: [log] });
    await deliver(known, fresh);
    judgeDependants(fresh);
    return fresh.length;
  }

  async function takeRecords(events: StoredEvent[]): Promise<void> {
    const records = await placeRecords(events);
    if (records.length > 0 && roster.addRecords(records).length > 0) await membershipChanged();
  }

  /** The roster record that an event carries, if it is one of this mesh. */
  function recordOf(event: StoredEvent): RosterRecord | null {
    if (event.header.kind !== "roster" || event.body === null) return null;
    try {
      const record = parseRosterValue(asMap(decode(event.body), "a body")["c"]);
      return record.mesh === mesh ? record : null;
    } catch (error) {
      if (error instanceof KinError) return null; // signed nonsense has no effect, like any void record
      throw error;
    }
  }

  async function membershipChanged(): Promise<void> {
    const before = membership;
    membership = currentMembership();
    emit({ type: "membership", membership });
    const changed = new Set(recut(before, membership));
    const touched = [...logs.values()].filter(({ opening, tip }) => changed.has(opening.device) && tip !== null);
    if (touched.length > 0) emit({ type: "rejudged", logs: touched.map(({ log }) => log) });
    await takeEpochKeys();
    inBackground(shareEpochs());
  }

  async function takeEpochKeys(): Promise<void> {
    for (const epoch of membership.epochs.values()) {
      const sealed = epoch.keys.find((key) => key.device === device);
      if (sealed === undefined || epochKeys.get(epoch.id) !== undefined) continue;
      for (const sealingKey of options.sealingKeys) {
        const key = await openEpochKey(mesh, epoch.keyHash, sealed, epoch.author.device, sealingKey);
        if (key === null) continue;
        await keepEpochKey(epoch.id, key);
        break;
      }
    }
  }

  async function keepEpochKey(epoch: EpochId, key: Uint8Array): Promise<void> {
    await epochKeys.put(epoch, key);
    if (lockedEpochs.has(epoch)) await unlock(epoch);
  }

  /** Bodies that waited for this epoch's key. */
  async function unlock(epoch: EpochId): Promise<void> {
    const onlyIt: BodyKeys = { ...bodyKeys, epochKey: (id) => (id === epoch ? epochKeys.get(id) : undefined) };
    for await (const events of scan()) {
      const opened: ReadableEvent[] = [];
      for (const event of events) {
        if (event.header.audience !== "mesh" || isClearKind(event.header.kind)) continue;
        const readable = await read(event, onlyIt);
        if (readable.unreadable === null && readable.standing.state === "good") opened.push(readable);
      }
      if (opened.length > 0) emit({ type: "applied", events: opened });
    }
    lockedEpochs.delete(epoch);
    await store.append({ values: [{ key: `locked/${epoch}`, value: null }] });
  }

  async function* scan(): AsyncGenerator<StoredEvent[]> {
    for (let position = 0; ;) {
      const page = await store.since(position, SCAN_EVENTS);
      if (page.length === 0) return;
      yield page.map(({ event }) => event);
      position = page.at(-1)!.position + 1;
    }
  }

  /** Tells what counts and can be read; remembers what is held or locked. */
  async function deliver(known: KnownLog, events: StoredEvent[], wereHeld = false): Promise<void> {
    const applied: ReadableEvent[] = [];
    for (const event of events) {
      const readable = await read(event);
      if (readable.standing.state === "held") {
        known.heldFrom ??= event.header.seq;
        continue;
      }
      clock.observe(event.header.hlc);
      // A roster record counts at once, but its stamp may lie ahead all the same.
      if (!clock.isHeld(event.header.hlc)) known.due = { seq: event.header.seq, id: event.id, hlc: event.header.hlc };
      if (readable.standing.state !== "good") continue;
      // Roster records are never held: among held events they have been told before.
      if (readable.unreadable === null && !(wereHeld && readable.kind === "roster")) applied.push(readable);
      if (readable.unreadable === "no-key") await noteLocked(event);
      if (readable.kind === "epoch-sealed" && readable.unreadable === null) await takeSealedEpoch(readable);
    }
    if (known.opening.chain === "mesh") undepended.add(known.log);
    if (known.heldFrom !== null) scheduleRelease();
    if (applied.length > 0) emit({ type: "applied", events: applied });
  }

  async function noteLocked(event: StoredEvent): Promise<void> {
    const opening = logs.get(event.header.log)!.opening;
    const opened = await openBody({ mesh, author: opening.device }, event.header, event.body!, bodyKeys);
    if (opened.state !== "locked" || opened.why !== "epoch" || lockedEpochs.has(opened.epoch)) return;
    lockedEpochs.add(opened.epoch);
    await store.append({ values: [{ key: `locked/${opened.epoch}`, value: new Uint8Array() }] });
  }

  /** An epoch's key from whoever holds it: right if it is the key whose hash the epoch's record names (R6). */
  async function takeSealedEpoch({ value }: ReadableEvent): Promise<void> {
    const { e, k } = asMap(value, "an epoch-sealed event");
    if (!(k instanceof Uint8Array) || !(e instanceof Uint8Array) || e.length !== 32) return;
    const epoch = membership.epochs.get(idOf(e));
    if (epoch === undefined || epochKeys.get(epoch.id) !== undefined || !equal(epochKeyHash(k), epoch.keyHash)) return;
    await keepEpochKey(epoch.id, k);
  }

  /**
   * Any holder may seal an epoch to a device that lacks it (R6); so that not all do, it is the one who opened the epoch and
   * the one who let the device in. Under "from-epoch" newcomers get only what is still written under.
   */
  async function shareEpochs(): Promise<void> {
    if (closed || !membership.devices.has(device)) return;
    const letIn = new Map<DeviceId, DeviceId>();
    for (const { body, author } of roster.records())
      if (body.type === "admit" || body.type === "device-added") letIn.set(body.device.id, author.device);
    const epochs = membership.policy === "reads-all" ? [...membership.epochs.values()] : usableEpochs(membership);
    const entries: NewEntry[] = [];
    const rows: NonNullable<StoreBatch["values"]> = [];
    for (const epoch of epochs) {
      const key = epochKeys.get(epoch.id);
      if (key === undefined) continue;
      for (const to of membership.devices.keys()) {
        const row = `${epoch.id}/${to}`;
        const isOurs = epoch.author.device === device || letIn.get(to) === device;
        if (!isOurs || to === device || epoch.recipients.includes(to) || sharedEpochs.has(row)) continue;
        if (entries.length >= SCAN_EVENTS) break; // the rest at the next change
        sharedEpochs.add(row);
        rows.push({ key: `shared/${row}`, value: new Uint8Array() });
        entries.push({ kind: "epoch-sealed", audience: "direct", value: { e: idBytes(epoch.id), k: key }, to: [to] });
      }
    }
    if (entries.length === 0) return;
    try {
      await write({ records: [], entries, values: rows });
    } catch (error) {
      for (const { key } of rows) sharedEpochs.delete(key.slice(7));
      throw error;
    }
  }

  /** Deps that have come late and show that what named them is stamped before them. */
  function judgeDependants(events: StoredEvent[]): void {
    const touched = new Set<LogId>();
    for (const { id, header } of events) {
      const dependant = awaitedDeps.get(id);
      if (dependant === undefined) continue;
      awaitedDeps.delete(id);
      if (compareStamps(header.hlc, dependant.hlc) >= 0) touched.add(dependant.log);
    }
    if (touched.size > 0) emit({ type: "rejudged", logs: [...touched] });
  }

  // ── held events (R13) ──

  async function findHeld(known: KnownLog): Promise<void> {
    known.due = null;
    for (let to = known.tip!.seq + 1; to > 0; to -= PAGE_EVENTS) {
      const page = await store.range(known.log, Math.max(0, to - PAGE_EVENTS), to);
      const due = page.findLast(({ header }) => !clock.isHeld(header.hlc));
      if (due === undefined) continue;
      known.due = { seq: due.header.seq, id: due.id, hlc: due.header.hlc };
      break;
    }
    known.heldFrom = (known.due?.seq ?? -1) + 1;
  }

  function scheduleRelease(): void {
    cancelRelease?.();
    cancelRelease = null;
    const waits = [...logs.values()].filter(({ heldFrom }) => heldFrom !== null);
    if (waits.length === 0 || closed) return;
    // Looked at each time the first may be due, and now and then in case the wall clock is set.
    cancelRelease = time.after(HELD_LOOK_MS, () => inBackground(inOrder(releaseHeld)));
  }

  async function releaseHeld(): Promise<void> {
    for (const known of logs.values()) {
      if (known.heldFrom === null) continue;
      const first = (await store.range(known.log, known.heldFrom, known.heldFrom + 1))[0];
      if (first === undefined || clock.isHeld(first.header.hlc)) continue;
      const from = known.heldFrom;
      known.heldFrom = null;
      for (let at = from; at <= known.tip!.seq && known.heldFrom === null; at += PAGE_EVENTS)
        await deliver(known, await store.range(known.log, at, Math.min(at + PAGE_EVENTS, known.tip!.seq + 1)), true);
    }
    scheduleRelease();
  }

  // ── reading ──

  async function read(event: StoredEvent, keys: BodyKeys = bodyKeys): Promise<ReadableEvent> {
    const { header, id } = event;
    const author = logs.get(header.log)?.opening.device;
    if (author === undefined)
      throw new KinError("NOT_FOUND", `event ${id} is of log ${header.log}, which we do not have`);
    const opened = event.body === null ? null : await openOnce(event, author, keys);
    return {
      id,
      log: header.log,
      seq: header.seq,
      device: author,
      person: membership.devices.get(author)?.member.person ?? membership.formerDevices.get(author)?.person ?? null,
      kind: header.kind,
      audience: header.audience,
      at: decodeStamp(header.hlc).ms,
      hlc: header.hlc,
      deps: header.deps,
      standing: await standingOf(event, author),
      value: opened?.state === "open" ? opened.value : undefined,
      unreadable: unreadableWhy(opened),
    };
  }

  /** What we have just written need not be opened again. */
  async function openOnce({ id, header, body }: StoredEvent, author: DeviceId, keys: BodyKeys): Promise<OpenedBody> {
    const value = justSaid.get(id);
    return value === undefined ? openBody({ mesh, author }, header, body!, keys) : { state: "open", value };
  }

  async function standingOf({ id, header }: StoredEvent, author: DeviceId): Promise<Standing> {
    const deps: StoredEvent["header"][] = [];
    for (const dep of header.deps) {
      const found = await store.event(dep);
      if (found !== undefined) deps.push(found.header);
      else if (awaitedDeps.size < MAX_AWAITED_DEPS) awaitedDeps.set(dep, { log: header.log, hlc: header.hlc });
    }
    return judge({ id, header }, author, { membership, clock, fork: forks.get(header.log), deps });
  }

  async function events({ position = 0, limit = SCAN_EVENTS, kinds }: Parameters<Replica["events"]>[0] = {}) {
    const page = await store.since(position, limit);
    const wanted = page.filter(({ event }) => kinds === undefined || kinds.has(event.header.kind));
    const readable: ReadableEvent[] = [];
    for (const { event } of wanted) readable.push(await read(event));
    return { next: page.length === 0 ? position : page.at(-1)!.position + 1, events: readable };
  }

  // ── what a session needs ──

  function accepts(log: LogId, opening: LogOpening): boolean {
    const { device: author } = opening;
    if (forks.has(log) || !(membership.devices.has(author) || membership.formerDevices.has(author))) return false;
    if (logs.has(log)) return true;
    const theirs = [...vector.values()].filter((entry) => entry.opening.device === author);
    return theirs.length < MAX_OPEN_LOGS && vector.size < MAX_VECTOR_LOGS;
  }

  async function receive(run: EventRun, opening: LogOpening): Promise<Received> {
    const { log, head } = run;
    if (opening.chain !== "mesh" || logIdOf(mesh, opening) !== log)
      throw new KinError("BAD_REQUEST", `log ${log} is not the one of device ${opening.device} that it is said to be`);
    if (forks.has(log)) return { stored: 0, known: run.events.length, fork: null };
    if (!accepts(log, opening))
      throw new KinError(
        "NOT_A_MEMBER",
        `log ${log} of device ${opening.device} is not accepted: no member's, or one too many`,
      );
    const known = logs.get(log);
    const events = await unknownPart(store, run, known?.tip ?? null);
    if (events === "fork") return { stored: 0, known: 0, fork: await freeze(run, opening, known!) };
    if (events.length === 0) return { stored: 0, known: run.events.length, fork: null };
    verifyRun({ log, opening }, known?.tip ?? null, events, head);
    await store.append({
      logs: known === undefined ? [{ log, opening }] : [],
      events,
      heads: [head],
      values: [...recordRows(events), ...missingRows(events)],
    });
    if (log === own.log) endIncarnation(log);
    const stored = await inOrder(() => take(log, opening, events));
    return { stored, known: run.events.length - stored, fork: null };
  }

  /** The log ends where the two histories part (R2). */
  async function freeze(run: EventRun, opening: LogOpening, known: KnownLog): Promise<ForkProof> {
    const newest = (await store.headFrom(run.log, known.tip!.seq)) ?? null;
    const proof = await proveFork(store, run, opening, newest);
    await keepFork(proof);
    return proof;
  }

  async function keepFork(proof: ForkProof): Promise<void> {
    checkForkProof(proof);
    await store.append({ values: [forkRow(proof)] });
    if (forks.has(proof.log)) return;
    forks.set(proof.log, proof);
    emit({ type: "forked", proof });
    if (logs.has(proof.log)) emit({ type: "rejudged", logs: [proof.log] });
    endIncarnation(proof.log);
  }

  async function receiveFork(proof: ForkProof): Promise<boolean> {
    if (forks.has(proof.log)) return false;
    const { device: author } = proof.opening;
    if (!membership.devices.has(author) && !membership.formerDevices.has(author)) return false;
    await keepFork(proof);
    return true;
  }

  function recordRows(events: StoredEvent[]): NonNullable<StoreBatch["values"]> {
    return events.flatMap((event) => {
      const record = recordOf(event);
      return record === null ? [] : [recordRow(record.id, record.sealed, event.header)];
    });
  }

  function missingRows(events: StoredEvent[]): NonNullable<StoreBatch["values"]> {
    return events.flatMap(({ id, body }) => (body === null ? [{ key: `missing/${id}`, value: new Uint8Array() }] : []));
  }

  async function receiveBodies(bodies: LooseBody[]): Promise<number> {
    const right: StoredEvent[] = [];
    for (const { id, body } of bodies) {
      if (!missing.has(id)) continue;
      const event = await store.event(id);
      if (event === undefined || event.body !== null || !isBodyOf(event.header, body)) continue;
      right.push({ ...event, body });
    }
    if (right.length === 0) return 0;
    const gone = right.map(({ id }) => ({ key: `missing/${id}`, value: null }));
    const found = right.map(({ id, body }) => ({ id, body: body! }));
    await store.append({ bodies: found, values: [...gone, ...recordRows(right)] });
    await inOrder(async () => {
      const fresh = right.filter(({ id }) => missing.delete(id));
      await takeRecords(fresh);
      for (const event of fresh) await deliverLate(event);
    });
    return right.length;
  }

  /** An event whose body came after its header. */
  async function deliverLate(event: StoredEvent): Promise<void> {
    const readable = await read(event);
    if (readable.standing.state !== "good") return;
    if (readable.unreadable === "no-key") await noteLocked(event);
    if (readable.unreadable !== null) return;
    if (readable.kind === "epoch-sealed") await takeSealedEpoch(readable);
    emit({ type: "applied", events: [readable] });
  }

  async function bodies(ids: EventId[]): Promise<LooseBody[]> {
    const out: LooseBody[] = [];
    for (const id of ids) {
      const event = await store.event(id);
      if (event !== undefined && event.body !== null && event.header.audience !== "here")
        out.push({ id, body: event.body });
    }
    return out;
  }

  function recordsIn(ranges: Wanted[]): { id: RecordId; sealed: Sealed }[] {
    const wanted = new Map(ranges.map((range) => [range.log, range]));
    return roster.records().flatMap(({ id, sealed }) => {
      const at = recordAt.get(id);
      const range = at == null ? undefined : wanted.get(at.log);
      const isIn = range !== undefined && at!.seq >= range.from && at!.seq <= range.to;
      return at == null || isIn ? [{ id, sealed }] : [];
    });
  }

  async function learn(sealed: Sealed[]): Promise<number> {
    if (membership.waiting.length + sealed.length > MAX_WAITING_RECORDS)
      throw new KinError("OVERLOADED", `${membership.waiting.length} roster records wait for their parents`);
    // Known ones cost a hash, not a signature: a peer may send them often.
    const { added, refused } = roster.add(sealed.filter((record) => !isKnownRecord(record)));
    if (added.length > 0) {
      await keepRecords(added);
      await inOrder(membershipChanged);
    }
    const forged = refused.find(({ error }) => error.code === "BAD_SIGNATURE");
    if (forged !== undefined) throw new KinError(forged.error.code, forged.error.message);
    return added.length;
  }

  function isKnownRecord(sealed: Sealed): boolean {
    return roster.has(recordIdOf(sealed, "roster")) || roster.has(recordIdOf(sealed, "genesis"));
  }

  async function keepRecords(records: RosterRecord[]): Promise<void> {
    for (const { id } of records) if (!recordAt.has(id)) recordAt.set(id, null);
    const rows = records.map(({ id, sealed }) => recordRow(id, sealed, recordAt.get(id) ?? null));
    if (rows.length > 0) await store.append({ values: rows });
  }

  function noticeOwnLog(log: LogId, seq: number): void {
    if (log !== own.log || seq <= (own.tip()?.seq ?? -1) || wrote || suspicion !== null) return;
    suspicion = new Promise((resolve) => {
      const cancel = time.after(SUSPICION_MS, resolve);
      endSuspicion = () => {
        cancel();
        resolve();
      };
    });
  }

  async function idle(): Promise<void> {
    while (background.size > 0) await Promise.all(background);
    await inOrder(async () => undefined);
  }

  async function close(): Promise<void> {
    closed = true;
    cancelRelease?.();
    endSuspicion();
    await Promise.all([own.close(), ownHere.close()]);
    await idle();
  }

  return {
    mesh,
    device,
    store,
    claims,
    roster,
    membership: () => membership,
    incarnation: () => incarnation,
    needsNewIncarnation: () => ended,
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    append,
    act,
    read: (event) => read(event),
    event: async (id) => {
      const found = await store.event(id);
      return found === undefined ? undefined : read(found);
    },
    events,
    vector: () => vector,
    accepts,
    runFrom: async (log, from) => (logs.get(log)?.opening.chain === "mesh" ? runFrom(store, log, from) : undefined),
    receive,
    receiveBodies,
    bodies,
    missingBodies: async (limit) => [...missing].slice(0, limit),
    records: () => roster.records().map(({ sealed }) => sealed),
    stamp: () => clock.stamp(),
    rosterHeads: () => membership.heads.slice(0, MAX_ROSTER_HEADS),
    knowsRecords: (ids) => [...ids].every((id) => roster.has(id)),
    recordsIn,
    learn,
    forks: () => [...forks.values()],
    receiveFork,
    noticeOwnLog,
    newEpoch,
    idle,
    close,
  };
}

/** How often held events are looked at: the wall clock may be set at any time. */
const HELD_LOOK_MS = 10_000;

function unreadableWhy(opened: OpenedBody | null): ReadableEvent["unreadable"] {
  if (opened === null) return "no-body";
  switch (opened.state) {
    case "open":
      return null;
    case "refused":
      return "damaged";
    case "locked":
      return opened.why === "epoch" ? "no-key" : "not-for-us";
  }
}

/** Kinds whose mesh body is never sealed. */
function isClearKind(kind: EventKind): boolean {
  return kind === "roster" || kind === "agent-key" || kind === "log-opened";
}

/** Runs jobs one after the other. */
function createQueue(): <T>(job: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (job) => {
    const next = last.then(job, job);
    last = next.catch(() => undefined);
    return next;
  };
}

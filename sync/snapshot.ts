/**
 * Snapshots and pruning (R16): a member who was away for a year catches up by headers, one snapshot and the tail.
 *
 *   make    ── fold all events up to a vector ── snapshot-proposed
 *   others  ── sound? fold the same themselves ── same hash: snapshot-signed        another: no signature, named (C23, C24)
 *   who lacks bodies ── it counts ── fetch its state ── hash right ── base, snapshot-signed "adopted" ── views fold again from it
 *   prune   ── it counts for anybody, and all that aren't dormant have signed ── base durable ── bodies dropped, headers stay
 *
 * Signing and adopting happen by themselves, one at a time and not more often than {@link GAP_MS} for one proposer; making and
 * pruning are a person's acts. Dropped are bodies of `mesh` events that a view of the snapshot stands for: so never `direct` ones
 * (asks and answers, with the blobs they hold), roster records, agent and epoch keys, log openings, nor what newer kins say.
 *
 * An older kin makes snapshots of fewer views. They are signed and taken in too, until this node begins with more: what begins with
 * notes must not give way to what has none. A kin that lacks a view of a snapshot signs nothing of it.
 */
import type { Time } from "../protocols/effects.ts";
import { errorShape, KinError } from "../protocols/errors.ts";
import type { DeviceId, EventId, PersonId } from "../protocols/ids.ts";
import { equal } from "../protocols/bytes.ts";
import {
  dormantValue,
  proposalValue,
  signedValue,
  snapshotOf,
  stateHash,
  type SignedHow,
  type Snapshot,
  type SnapshotId,
} from "../protocols/snapshot.ts";
import { createQueue } from "./ground.ts";
import { openProjection } from "./projection.ts";
import type { Replica } from "./replica.ts";
import { baseOf, type Base, type SnapshotBase } from "./snapshot-base.ts";
import { foldState, furthestVector, isHere, kindsOf, parseState, reaches, whyUnsound } from "./snapshot-state.ts";
import type { SnapshotView } from "./snapshot-view.ts";
import {
  counts,
  createVotes,
  personsWhoRecomputed,
  SNAPSHOT_KINDS,
  standsForAll,
  waitingFor,
  type Proposal,
} from "./snapshot-votes.ts";

export interface SnapshotsDeps {
  replica: Replica;
  base: SnapshotBase;
  views: readonly SnapshotView[];
  time: Pick<Time, "monotonic" | "after">;
  /** The state from somebody who has it, checked against what was signed. @throws KinError if nobody has it */
  fetch: (snapshot: Snapshot, signal: AbortSignal) => Promise<Uint8Array>;
  /** Resolves when the views have folded all that is here. */
  settled: () => Promise<unknown>;
  /** False: nothing is signed yet (R2). Look again once it is true. @default always */
  hasHeard?: (() => boolean) | undefined;
  /** Told what could not be done by itself. */
  warn: (sentence: string) => void;
}

/** What this node makes of a snapshot. */
export type Verdict =
  /** Signed by us. */
  | { state: "recomputed" | "adopted" }
  /** Not yet: what we lack for it. */
  | { state: "waits"; why: string }
  /** It gets no signature of ours, or does not stand any more. */
  | { state: "refused"; why: string };

export interface SnapshotInfo {
  snapshot: Snapshot;
  /** Who made it first, as far as we know. */
  by: DeviceId;
  /** Wall ms. */
  at: number;
  /** Events up to its vector. */
  events: number;
  signers: ReadonlyMap<DeviceId, SignedHow>;
  /** For anybody who may come. */
  counts: boolean;
  /** Devices that pruning behind it still waits for. */
  waitingFor: DeviceId[];
  verdict: Verdict;
  /** We begin with it. */
  isBase: boolean;
}

export interface Pruned {
  snapshot: Snapshot;
  /** Bodies that were dropped now, or would be. */
  bodies: number;
  bytes: number;
}

export interface Snapshots {
  /** What is known, newest first. */
  list(): SnapshotInfo[];
  /** Makes one of all that is here and tells the mesh. @throws KinError NOT_FOUND (nothing new), TOO_LARGE, NOT_A_MEMBER, … */
  make(): Promise<SnapshotInfo>;
  /** Drops what the furthest snapshot that all hold stands for. @throws KinError NOT_FOUND with whom it waits for */
  prune(options?: { dryRun?: boolean; signal?: AbortSignal }): Promise<Pruned>;
  /** Says of a person that nobody need wait for them, or again. @throws KinError DENIED unless an admin says it */
  setDormant(person: PersonId, on: boolean): Promise<void>;
  dormant(): PersonId[];
  /** For who asks over `/kin/snapshot/1`. @throws KinError NOT_FOUND */
  state(snapshot: SnapshotId): Promise<Uint8Array>;
  /** Looks now at what could be signed or taken in; resolves when done. It looks by itself after each change. */
  look(): Promise<void>;
  close(): Promise<void>;
}

/** After a change it waits so long, so that a sync in full swing is not interrupted by each event. */
const LOOK_MS = 300;
/** Between two foldings for one person's proposals: a flood of proposals costs one folding a minute. */
export const GAP_MS = 60_000;
/** After no peer could give a state. */
const RETRY_MS = 10_000;
/** Missing bodies that one look looks at. */
const MISSED_EVENTS = 64;
/** Bodies that one transaction drops. */
const DROP_EVENTS = 256;
const LESS = "it is of an older kin, and stands for less than what this node begins with";
/** Kinds that no snapshot stands for (R16): a view that claims one is a fault. */
const NEVER_PRUNED: readonly string[] = [
  "log-opened",
  "roster",
  "agent-key",
  "epoch-sealed",
  "here-head",
  "invocation-asked",
  "invocation-declined",
  "invocation-answered",
  ...SNAPSHOT_KINDS,
];

export async function openSnapshots(deps: SnapshotsDeps): Promise<Snapshots> {
  const { replica, base, time, warn } = deps;
  const views = deps.views.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  checkViews(views);
  let votes = createVotes(replica.mesh);
  /** While what was said folds again, `votes` are what they were. */
  let folding = votes;
  /** What we found wrong, or could not fold yet. */
  const notes = new Map<SnapshotId, Verdict & { why: string }>();
  const nextFor = new Map<PersonId, number>();
  /** Of which nothing lacks here. */
  const whole = new Set<SnapshotId>();
  let nextFetch = 0;
  let soughtLost = false;
  /** Who is in, or what was written twice, has changed since the signed ones were looked at. */
  let isRejudged = true;
  const closing = new AbortController();
  const oneAtATime = createQueue();
  let cancelLook: (() => void) | null = null;

  const projection = await openProjection(replica, {
    kinds: SNAPSHOT_KINDS,
    fold: (event) => folding.take(event),
    clear: () => void (folding = createVotes(replica.mesh)),
    changed() {
      votes = folding;
      lookLater(LOOK_MS);
    },
    failed: (error) => warn(`what was said of snapshots could not be read: ${errorShape(error).message}`),
  });
  const unsubscribe = replica.on(({ type }) => {
    if (type === "membership" || type === "forked" || type === "rejudged") isRejudged = true;
    if (type === "grown" || type === "membership" || type === "applied" || type === "forked") lookLater(LOOK_MS);
  });
  lookLater(LOOK_MS);

  // ── looking by itself ──

  function lookLater(delayMs: number): void {
    if (closing.signal.aborted || cancelLook !== null || votes.proposals().length === 0) return;
    cancelLook = time.after(delayMs, () => {
      cancelLook = null;
      look().catch((error: unknown) => warn(`a snapshot could not be looked at: ${errorShape(error).message}`));
    });
  }

  function look(): Promise<void> {
    return oneAtATime(async () => {
      await projection.settled();
      if (closing.signal.aborted || !isLiving() || !isForAll()) return;
      if (base.isLost() && !soughtLost) await missLost();
      if (isRejudged) await lookAtSigned();
      if (deps.hasHeard?.() === false) return;
      for (const proposal of newestOfEachPerson()) await judge(proposal);
      await adoptOne();
    });
  }

  /** The state that we began with is damaged: its bodies are asked for again, and whoever has the state may give that. */
  async function missLost(): Promise<void> {
    warn("the snapshot that this node begins with is damaged: it is fetched again");
    const kinds = kindsOf(views);
    for (const { log, seq: last } of replica.vector().values())
      for (let from = 0; from <= last; from += DROP_EVENTS) {
        const events = await replica.store.range(log, from, Math.min(from + DROP_EVENTS, last + 1));
        await replica.miss(
          events.filter(({ header, body }) => body === null && header.audience === "mesh" && kinds.has(header.kind)),
        );
      }
    soughtLost = true;
    replica.refold();
  }

  /** What we once signed may not stand any more: a removal that cuts deeper, a fork. */
  async function lookAtSigned(): Promise<void> {
    isRejudged = false;
    for (const { id, at } of candidates()) {
      if (!votes.signers(id).has(replica.device)) continue;
      const unsound = await whyUnsound(replica, at);
      if (unsound !== null) notes.set(id, { state: "refused", why: unsound.why });
      else notes.delete(id);
    }
  }

  /** Where newcomers read from their own epoch on, a state would tell them what was before: there are no snapshots then. */
  function isForAll(): boolean {
    return replica.membership().policy === "reads-all";
  }

  function checkForAll(): void {
    if (!isForAll())
      throw new KinError(
        "DENIED",
        "newcomers of this mesh read nothing from before them, and a snapshot would tell them",
      );
  }

  function isLiving(): boolean {
    return replica.membership().devices.has(replica.device);
  }

  /** A person's older proposals are not looked at, so the work is bounded by the number of members. */
  function newestOfEachPerson(): Proposal[] {
    const newest = new Map<PersonId, Proposal>();
    for (const proposal of votes.proposals()) {
      const person = replica.membership().devices.get(proposal.by)?.member.person;
      if (person !== undefined && !newest.has(person)) newest.set(person, proposal);
    }
    return [...newest.values()];
  }

  async function judge({ snapshot, by }: Proposal): Promise<void> {
    if (votes.signers(snapshot.id).has(replica.device) || notes.get(snapshot.id)?.state === "refused") return;
    const unsound = await whyUnsound(replica, snapshot.at);
    const of = viewsOf(snapshot);
    const why = (unsound?.waits === false ? unsound.why : null) ?? (of === null ? otherViews(snapshot) : null);
    if (of === null || why !== null) return refuse(snapshot, by, why ?? otherViews(snapshot));
    if (isLess(snapshot)) return wait(snapshot, LESS);
    if (unsound !== null) return wait(snapshot, unsound.why);
    if (!(await isHere(replica, snapshot.at))) return wait(snapshot, "events that it reaches to are not here yet");
    if (!isTurnOf(by)) return;
    const folded = await foldState(replica, of, base.current(), snapshot.at);
    if (!folded.ok) {
      if (folded.why === "other-history" || folded.why === "open") return refuse(snapshot, by, folded.message);
      return wait(snapshot, folded.message);
    }
    if (folded.state.length !== snapshot.bytes || !equal(stateHash(folded.state), snapshot.state))
      return refuse(snapshot, by, "its state is not what its events fold to");
    notes.delete(snapshot.id);
    await sign(snapshot, "recomputed");
  }

  /** So many foldings a minute and person, whatever they propose. */
  function isTurnOf(by: DeviceId): boolean {
    const { person } = replica.membership().devices.get(by)!.member;
    const now = time.monotonic();
    const next = nextFor.get(person) ?? now;
    if (next > now) {
      lookLater(next - now);
      return false;
    }
    nextFor.set(person, now + GAP_MS);
    return true;
  }

  function refuse(snapshot: Snapshot, by: DeviceId, why: string): void {
    notes.set(snapshot.id, { state: "refused", why });
    warn(`snapshot ${snapshot.id.slice(0, 12)} of ${nameOf(by)} is not signed: ${why}`);
  }

  function wait(snapshot: Snapshot, why: string): void {
    notes.set(snapshot.id, { state: "waits", why });
  }

  function nameOf(device: DeviceId): string {
    return replica.membership().devices.get(device)?.member.name ?? `device ${device.slice(0, 8)}`;
  }

  /** The views that it is made of; null: this kin lacks one of them. */
  function viewsOf(snapshot: Snapshot): SnapshotView[] | null {
    if (!standsForAll({ views }, snapshot)) return null;
    return views.filter((view) => snapshot.views.some(({ name }) => name === view.name));
  }

  /** Another version of kin folds other views: neither is wrong, but who can't fold one of them can't sign for it. */
  function otherViews(snapshot: Snapshot): string {
    const theirs = snapshot.views.map(({ name, version }) => `${name} ${version}`).join(", ");
    const ours = views.map(({ name, version }) => `${name} ${version}`).join(", ");
    return `it is made of ${theirs || "nothing"}, this kin's of ${ours || "nothing"}`;
  }

  /** What this node begins with stands for more: signing would let others drop what nothing would stand for here. */
  function isLess(snapshot: Snapshot): boolean {
    const current = base.current();
    return current !== null && !standsForAll(snapshot, current.snapshot);
  }

  async function sign(snapshot: Snapshot, how: SignedHow): Promise<void> {
    await replica.append([{ kind: "snapshot-signed", audience: "mesh", value: signedValue(snapshot.id, how) }]);
    await projection.settled();
  }

  // ── taking one in ──

  /** The furthest that counts for us, stands for something that we lack, and can be had. */
  async function adoptOne(): Promise<void> {
    const now = time.monotonic();
    if (nextFetch > now) return lookLater(nextFetch - now);
    const isLacking = await misses();
    for (const snapshot of candidates()) {
      // What we signed once may lack all the same: the disk was restored.
      if (!isLacking && votes.signers(snapshot.id).has(replica.device)) continue;
      if (!countsForMe(snapshot)) continue;
      if (!(await isHere(replica, snapshot.at)) || !isFurther(snapshot) || !(await standsForMissing(snapshot)))
        continue;
      const unsound = await whyUnsound(replica, snapshot.at);
      if (unsound !== null) {
        notes.set(snapshot.id, { state: unsound.waits ? "waits" : "refused", why: unsound.why });
        continue;
      }
      try {
        await takeIn(snapshot, await deps.fetch(snapshot, closing.signal));
        return;
      } catch (error) {
        if (closing.signal.aborted) return;
        const { code, message } = errorShape(error);
        wait(snapshot, message);
        nextFetch = now + RETRY_MS;
        // That nobody keeps it is no fault: bodies that lack may still come by themselves.
        if (code !== "NOT_FOUND") warn(`snapshot ${snapshot.id.slice(0, 12)} could not be taken in: ${message}`);
      }
    }
    if (nextFetch > now) lookLater(RETRY_MS);
  }

  /** Whether bodies lack for which nothing stands. What stands for a body that a mending has asked for again ends the asking. */
  async function misses(): Promise<boolean> {
    const ids = await replica.missingBodies(MISSED_EVENTS);
    const covered: EventId[] = [];
    for (const id of ids) {
      const event = await replica.event(id);
      const view = views.find(({ kinds }) => event !== undefined && kinds.has(event.kind));
      if (event?.audience === "mesh" && view !== undefined && base.current()?.covers(view, event) === true)
        covered.push(id);
    }
    if (covered.length > 0) await replica.prune(covered);
    return ids.length > covered.length;
  }

  function countsForMe({ id }: Snapshot): boolean {
    const membership = replica.membership();
    const me = membership.devices.get(replica.device)!.member.person;
    return counts(personsWhoRecomputed(votes.signers(id), membership), membership, me);
  }

  /** True if there is an event up to there, for one of our views, that we can't read and may never be able to. */
  async function standsForMissing(snapshot: Snapshot): Promise<boolean> {
    const { id, at } = snapshot;
    const of = viewsOf(snapshot);
    if (of === null || whole.has(id)) return false;
    const current = base.current();
    const isAfterBase = current !== null && standsForAll(current.snapshot, snapshot);
    for (const [log, { seq: last }] of at)
      for (let from = isAfterBase ? (current.at.get(log)?.seq ?? -1) + 1 : 0; from <= last; from += DROP_EVENTS)
        for (const event of await replica.store.range(log, from, Math.min(from + DROP_EVENTS, last + 1))) {
          const view = of.find(({ kinds }) => kinds.has(event.header.kind));
          if (event.header.audience !== "mesh" || view === undefined) continue;
          if (current?.covers(view, event.header) === true) continue;
          if (event.body === null || (await replica.read(event)).unreadable === "no-key") return true;
        }
    whole.add(id);
    return false;
  }

  /** Each once, those of most views first, of these the furthest. */
  function candidates(): Snapshot[] {
    const all = new Map(votes.proposals().map(({ snapshot }) => [snapshot.id, snapshot]));
    return [...all.values()].toSorted((a, b) => b.views.length - a.views.length || eventsIn(b) - eventsIn(a));
  }

  function isFurther(snapshot: Snapshot): boolean {
    const current = base.current();
    if (current === null) return true;
    if (!reaches(snapshot.at, current.at) || isLess(snapshot)) return false;
    return !reaches(current.at, snapshot.at) || !standsForAll(current.snapshot, snapshot);
  }

  async function takeIn(snapshot: Snapshot, state: Uint8Array): Promise<void> {
    await checkHeaders(snapshot);
    checkRows(snapshot, state);
    await base.put(snapshot, state);
    replica.refold();
    // What others may still need of us stays: only what we lack is missed no longer.
    await dropBodies(snapshot, base.current()!, { held: false });
    notes.delete(snapshot.id);
    await sign(snapshot, "adopted");
  }

  async function checkHeaders({ at }: Snapshot): Promise<void> {
    for (const [log, { seq, id }] of at) {
      if (!(await replica.hasEvent(log, seq, id)))
        throw new KinError("FORKED", `it names another event ${seq} of log ${log} than the one that is here`);
    }
  }

  /** What our views can't take is not put in the place of anything. */
  function checkRows(snapshot: Snapshot, state: Uint8Array): void {
    const of = viewsOf(snapshot);
    if (of === null) throw new KinError("UNSUPPORTED_VERSION", otherViews(snapshot));
    const sections = parseState(state);
    for (const view of of) {
      const section = sections.find(({ name, version }) => name === view.name && version === view.version);
      if (section === undefined) throw new KinError("BAD_REQUEST", `its state has no rows of view ${view.name}`);
      view.open().load(section.rows);
    }
  }

  // ── pruning ──

  async function prune({ dryRun = false, signal }: Parameters<Snapshots["prune"]>[0] = {}): Promise<Pruned> {
    checkForAll();
    return oneAtATime(async () => {
      await projection.settled();
      const snapshot = await prunable();
      const next = await baseFor(snapshot);
      if (!dryRun) await beginWith(next);
      return { snapshot, ...(await dropBodies(snapshot, next, { held: true, dryRun, signal })) };
    });
  }

  async function prunable(): Promise<Snapshot> {
    for (const snapshot of candidates()) if ((await whyNotPrune(snapshot)) === null) return snapshot;
    const nearest = candidates()[0];
    throw new KinError(
      "NOT_FOUND",
      nearest === undefined
        ? "there is no snapshot to prune behind"
        : `nothing can be pruned: ${await whyNotPrune(nearest)}`,
      { hint: nearest === undefined ? "kin snapshot make" : "kin snapshot ls" },
    );
  }

  async function whyNotPrune(snapshot: Snapshot): Promise<string | null> {
    const membership = replica.membership();
    const signers = votes.signers(snapshot.id);
    const short = snapshot.id.slice(0, 12);
    if (!signers.has(replica.device)) return `this node has not signed snapshot ${short}`;
    const unsound = await whyUnsound(replica, snapshot.at);
    if (unsound !== null) return `snapshot ${short} does not stand: ${unsound.why}`;
    if (isLess(snapshot)) return `snapshot ${short}: ${LESS}`;
    if (!counts(personsWhoRecomputed(signers, membership), membership, null))
      return `snapshot ${short} is signed by too few: two persons must have recomputed it`;
    const waits = waitingFor(votes, snapshot, membership).map(nameOf);
    return waits.length === 0 ? null : `snapshot ${short} waits for ${[...new Set(waits)].join(", ")}`;
  }

  /** What stands for the bodies that go: what this node begins with already, if it reaches as far, or the snapshot. */
  async function baseFor(snapshot: Snapshot): Promise<Base> {
    const current = base.current();
    if (current !== null && reaches(current.at, snapshot.at) && standsForAll(current.snapshot, snapshot))
      return current;
    const folded = await foldState(replica, viewsOf(snapshot) ?? [], current, snapshot.at);
    if (!folded.ok) throw new KinError("NOT_FOUND", `snapshot ${snapshot.id.slice(0, 12)}: ${folded.message}`);
    if (!equal(stateHash(folded.state), snapshot.state))
      throw new KinError("CORRUPT", `snapshot ${snapshot.id.slice(0, 12)} is not what its events fold to any more`);
    return baseOf(snapshot, folded.state);
  }

  /** It is durable before the first body goes. */
  async function beginWith({ snapshot, state }: Base): Promise<void> {
    if (base.current()?.snapshot.id === snapshot.id) return;
    await base.put(snapshot, state);
    // A view that has begun with what was before reads to its end before that is gone; one that begins now begins with this.
    await deps.settled();
  }

  async function dropBodies(
    { at, views: named }: Snapshot,
    standing: Base,
    { held, dryRun = false, signal }: { held: boolean; dryRun?: boolean; signal?: AbortSignal | undefined },
  ): Promise<{ bodies: number; bytes: number }> {
    const of = views.filter((view) => named.some(({ name }) => name === view.name));
    const dropped = { bodies: 0, bytes: 0 };
    for (const [log, { seq, id: end }] of at) {
      const [stored] = await replica.store.range(log, seq, seq + 1);
      // Of a log that was written twice only what its histories share is surely what the snapshot stands for.
      const last = stored?.id === end ? seq : (replica.vector().get(log)?.seq ?? -1);
      for (let from = 0; from <= last; from += DROP_EVENTS) {
        signal?.throwIfAborted();
        closing.signal.throwIfAborted();
        const ids: EventId[] = [];
        for (const { id, header, body } of await replica.store.range(
          log,
          from,
          Math.min(from + DROP_EVENTS, last + 1),
        )) {
          if (header.audience !== "mesh" || (body === null) === held) continue;
          const view = of.find(({ kinds }) => kinds.has(header.kind));
          if (view === undefined || !standing.covers(view, header)) continue;
          ids.push(id);
          dropped.bodies++;
          dropped.bytes += body?.length ?? 0;
        }
        if (ids.length > 0 && !dryRun) await replica.prune(ids);
      }
    }
    return dropped;
  }

  // ── a person's acts ──

  async function make(): Promise<SnapshotInfo> {
    checkForAll();
    return oneAtATime(async () => {
      const at = await furthestVector(replica, views, base.current());
      const folded = await foldState(replica, views, base.current(), at);
      if (!folded.ok) throw new KinError("NOT_FOUND", `no snapshot can be made now: ${folded.message}`);
      const named = views.map(({ name, version }) => ({ name, version }));
      const { state } = folded;
      const snapshot = snapshotOf(replica.mesh, { at, views: named, state: stateHash(state), bytes: state.length });
      await replica.append([{ kind: "snapshot-proposed", audience: "mesh", value: proposalValue(snapshot) }]);
      await projection.settled();
      return list().find((info) => info.snapshot.id === snapshot.id)!;
    });
  }

  async function setDormant(person: PersonId, on: boolean): Promise<void> {
    if (replica.membership().devices.get(replica.device)?.member.role !== "admin")
      throw new KinError("DENIED", "only an admin says who is dormant");
    await replica.append([{ kind: "dormant", audience: "mesh", value: dormantValue(person, on) }]);
    await projection.settled();
  }

  function list(): SnapshotInfo[] {
    const membership = replica.membership();
    const first = new Map<SnapshotId, Proposal>();
    for (const proposal of votes.proposals()) first.set(proposal.snapshot.id, proposal);
    return [...first.values()].map(({ snapshot, by, at }) => {
      const signers = votes.signers(snapshot.id);
      const mine = signers.get(replica.device);
      const note = notes.get(snapshot.id);
      const verdict: Verdict =
        mine === undefined || note?.state === "refused"
          ? (note ?? { state: "waits", why: "it was not looked at yet" })
          : { state: mine };
      return {
        snapshot,
        by,
        at,
        events: eventsIn(snapshot),
        signers,
        counts: counts(personsWhoRecomputed(signers, membership), membership, null),
        waitingFor: waitingFor(votes, snapshot, membership),
        verdict,
        isBase: base.current()?.snapshot.id === snapshot.id,
      };
    });
  }

  return {
    list,
    make,
    prune,
    setDormant,
    dormant: () => [...votes.dormant(replica.membership())],
    async state(id) {
      checkForAll();
      const current = base.current();
      if (current === null || current.snapshot.id !== id)
        throw new KinError("NOT_FOUND", `the state of snapshot ${id.slice(0, 12)} is not kept here`);
      return current.state;
    },
    look,
    async close() {
      closing.abort(new KinError("CLOSED", "snapshots are closed"));
      cancelLook?.();
      unsubscribe();
      await oneAtATime(async () => undefined);
      await projection.close();
    },
  };
}

/** Events up to a snapshot's vector. */
function eventsIn({ at }: Snapshot): number {
  let sum = 0;
  for (const { seq } of at.values()) sum += seq + 1;
  return sum;
}

function checkViews(views: readonly SnapshotView[]): void {
  const seen = new Set<string>(NEVER_PRUNED);
  for (const { name, kinds } of views)
    for (const kind of kinds) {
      if (seen.has(kind)) throw new KinError("INTERNAL", `view ${name} can't stand for ${kind} events`);
      seen.add(kind);
    }
}

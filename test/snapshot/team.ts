/** A small mesh whose members keep facts, or all documents, make snapshots, prune and fetch states from each other over wires in memory. */
import { answerSnapshot, askSnapshot, type Snapshot } from "../../protocols/snapshot.ts";
import { factSetValue, type FactScope, type NoteId } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { toHex } from "../../protocols/bytes.ts";
import { heldEpoch } from "../../sync/epochs.ts";
import { openDocuments, type Documents } from "../../sync/documents.ts";
import { factsView, type Facts } from "../../sync/documents/facts.ts";
import { documentViews } from "../../sync/documents/snapshot-views.ts";
import { runTrial } from "../../sync/documents/trial.ts";
import { openSnapshots, type Snapshots } from "../../sync/snapshot.ts";
import { openSnapshotBase, type SnapshotBase } from "../../sync/snapshot-base.ts";
import { openSnapshotProjection } from "../../sync/snapshot-projection.ts";
import type { SnapshotView } from "../../sync/snapshot-view.ts";
import type { Projection } from "../../sync/projection.ts";
import { admitMember, foundMesh, startSync, testTime, type TestMember, type TestTime } from "../sync/mesh.ts";
import { seededRandom } from "../sync/chains.ts";
import { wirePair } from "../wire-pair.ts";

export interface Mate {
  member: TestMember;
  base: SnapshotBase;
  facts: Projection & { fold(): Facts };
  snapshots: Snapshots;
  warnings: string[];
  /** Resolves when its views have folded all that is here. */
  settled(): Promise<unknown>;
  /** Whom it asks for states, in this order. */
  peers: Mate[];
  /** What it gives to who asks; a liar's is something else. */
  give(snapshot: Snapshot): Promise<Uint8Array>;
  close(): Promise<void>;
}

export async function mateOf(member: TestMember, views: readonly SnapshotView[] = [factsView]): Promise<Mate> {
  const { replica, time } = member;
  const base = await openSnapshotBase(replica.store, replica.mesh);
  const facts = await openSnapshotProjection(replica, base, factsView);
  const warnings: string[] = [];
  const mate: Mate = {
    member,
    base,
    facts,
    warnings,
    peers: [],
    settled: () => facts.settled(),
    give: ({ id }) => mate.snapshots.state(id),
    snapshots: await openSnapshots({
      replica,
      base,
      views,
      time,
      fetch: (snapshot) => fetchFrom(mate, snapshot),
      settled: () => mate.settled(),
      warn: (sentence) => void warnings.push(sentence),
    }),
    async close() {
      await mate.snapshots.close();
      await facts.close();
    },
  };
  return mate;
}

/** A member who writes notes and records too. */
export interface Writer extends Mate {
  documents: Documents;
  failures: unknown[];
}

let opened = 0;

/** Of this kin; `views`: fewer of them are an older kin's. */
export async function writerOf(member: TestMember, views = viewsOf(member)): Promise<Writer> {
  const { replica, time } = member;
  const mate = await mateOf(member, views);
  const { facts, close } = mate;
  const failures: unknown[] = [];
  const documents = await openDocuments({
    replica,
    base: mate.base,
    person: replica.membership().devices.get(replica.device)!.member.person,
    runTrial: async (trial) => runTrial(trial),
    time,
    random: seededRandom(`${member.name} writes ${opened++}`),
    failed: (error) => failures.push(error),
  });
  return Object.assign(mate, {
    documents,
    failures,
    settled: () => Promise.all([facts.settled(), documents.settled()]),
    async close() {
      await close();
      await documents.close();
    },
  });
}

export function viewsOf({ replica }: TestMember): SnapshotView[] {
  return [factsView, ...documentViews(replica.mesh, async (trial) => runTrial(trial))];
}

async function fetchFrom(mate: Mate, snapshot: Snapshot): Promise<Uint8Array> {
  let failure = new KinError("NOT_FOUND", "nobody has it");
  for (const peer of mate.peers) {
    const { left, right } = wirePair();
    const { replica, epochKeys } = peer.member;
    const answering = answerSnapshot(right, {
      mesh: replica.mesh,
      random: seededRandom(`parts ${snapshot.id}`),
      epoch: () => heldEpoch(replica.membership(), (id) => epochKeys.get(id)),
      state: () => peer.give(snapshot),
    });
    try {
      return await askSnapshot(left, replica.mesh, snapshot, (epoch) => mate.member.epochKeys.get(epoch));
    } catch (error) {
      failure = error as KinError;
      left.abort(failure);
    } finally {
      await answering.catch(() => undefined);
    }
  }
  throw failure;
}

export async function set(mate: Mate, key: string, json: string | null, scope: FactScope = null): Promise<void> {
  await mate.facts.settled();
  const value = factSetValue({ scope, key, json, replaces: mate.facts.fold().standing(scope, key) });
  await mate.member.replica.append([{ kind: "fact-set", audience: "mesh", value }]);
  await mate.facts.settled();
}

export function factsOf(mate: Mate): { [key: string]: (string | null)[] } {
  return Object.fromEntries(
    mate.facts
      .fold()
      .list(null)
      .map(({ key, values }) => [key, values.map(({ json }) => json)]),
  );
}

export function hashOf(mate: Mate): string {
  return toHex(mate.facts.fold().hash());
}

/** Syncs each with the first until nothing is new, twice, so that what one brought reaches all. */
export async function syncAll(...mates: Mate[]): Promise<void> {
  for (let round = 0; round < 2; round++)
    for (const [i, a] of mates.entries()) for (const b of mates.slice(i + 1)) await meet(a, b);
}

export async function meet(a: Mate, b: Mate): Promise<void> {
  const syncing = startSync(a.member, b.member);
  const ended = syncing.ends.then((ends) => {
    throw new Error(`sync ended: ${JSON.stringify(ends)}`);
  });
  await Promise.race([syncing.caughtUp, ended]);
  ended.catch(() => undefined);
  await syncing.stop();
  for (const { member, settled } of [a, b]) {
    await member.replica.idle();
    await settled();
  }
}

/** Everybody looks, one after the other, and tells the others. */
export async function lookAll(time: TestTime, ...mates: Mate[]): Promise<void> {
  time.pass(61_000);
  for (const mate of mates) await mate.snapshots.look();
  await syncAll(...mates);
}

export async function bodiesOf({ member }: Mate, kind = "fact-set"): Promise<{ held: number; dropped: number }> {
  const events = (await member.replica.store.since(0, 100_000)).filter(({ event }) => event.header.kind === kind);
  const held = events.filter(({ event }) => event.body !== null).length;
  return { held, dropped: events.length - held };
}

/** Founded by the first; all in step, and whoever lacks a state asks the others. */
export async function writersOf(...names: string[]): Promise<{ time: TestTime; mates: Writer[] }> {
  const time = testTime();
  const founder = await foundMesh(names[0]!, time);
  const mates = [await writerOf(founder)];
  for (const name of names.slice(1)) mates.push(await writerOf(await admitMember(founder, name)));
  await syncAll(...mates);
  introduce(mates);
  return { time, mates };
}

export function introduce(mates: readonly Mate[]): void {
  for (const mate of mates) mate.peers = mates.filter((other) => other !== mate);
}

export function textOf({ documents }: Writer, id: NoteId): string | undefined {
  const note = documents.notes.get(id);
  return note?.form === "text" ? note.text.text() : undefined;
}

/** One, if all have the same bytes. */
export async function hashesOf(...mates: Writer[]): Promise<Set<string>> {
  return new Set(await Promise.all(mates.map(async ({ documents }) => toHex(await documents.hash()))));
}

/** The first makes one, the others sign, and all prune. */
export async function pruneAll(time: TestTime, ...mates: Writer[]): Promise<Snapshot> {
  const { snapshot } = await mates[0]!.snapshots.make();
  await syncAll(...mates);
  await lookAll(time, ...mates);
  for (const mate of mates) await mate.snapshots.prune();
  return snapshot;
}

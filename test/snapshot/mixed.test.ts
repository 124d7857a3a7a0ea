/** A mesh of which some have not updated: an older kin knows snapshots of facts only, this one of notes and records too. */
import { expect, test } from "vitest";
import type { Snapshot } from "../../protocols/snapshot.ts";
import { factsView } from "../../sync/documents/facts.ts";
import { admitMember, memberOf } from "../sync/mesh.ts";
import {
  bodiesOf,
  factsOf,
  hashesOf,
  introduce,
  lookAll,
  meet,
  set,
  syncAll,
  textOf,
  writerOf,
  writersOf,
  type Writer,
} from "./team.ts";

const infoOf = (mate: Writer, { id }: Snapshot) => mate.snapshots.list().find(({ snapshot }) => snapshot.id === id)!;

/** The same node, of an older kin. */
async function asOlder(mate: Writer): Promise<Writer> {
  await mate.close();
  return writerOf(await mate.member.reopen(), [factsView]);
}

async function updated(mate: Writer): Promise<Writer> {
  await mate.close();
  return writerOf(await mate.member.reopen());
}

async function mixed() {
  const { time, mates } = await writersOf("ana", "ben", "old");
  const old = await asOlder(mates[2]!);
  const [ana, ben] = mates as [Writer, Writer];
  introduce([ana, ben, old]);
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(id, { text: "one\n" });
  await set(ana, "a", "1");
  await set(ana, "a", "2");
  await syncAll(ana, ben, old);
  return { time, ana, ben, old, id };
}

test("an older kin signs nothing that holds notes, and until it is updated no body of them is dropped [snapshot-mixed]", async () => {
  const { time, ana, ben, old } = await mixed();
  const { snapshot } = await ana.snapshots.make();
  await syncAll(ana, ben, old);
  await lookAll(time, ben, old, ana);
  expect(infoOf(old, snapshot).verdict).toMatchObject({
    state: "refused",
    why: "it is made of facts 1, notes 1, records 1, this kin's of facts 1",
  });
  expect(infoOf(ana, snapshot)).toMatchObject({ counts: true, waitingFor: [old.member.replica.device] });
  await expect(ana.snapshots.prune()).rejects.toThrow(/waits for old/);

  // What it makes itself the others sign and take in, and only what that holds is dropped.
  const older = (await old.snapshots.make()).snapshot;
  expect(older.views).toEqual([{ name: "facts", version: 1 }]);
  await syncAll(ana, ben, old);
  await lookAll(time, ana, ben, old);
  for (const mate of [ana, ben, old]) {
    expect(infoOf(mate, older)).toMatchObject({ verdict: { state: "recomputed" }, waitingFor: [] });
    expect(await mate.snapshots.prune()).toMatchObject({ snapshot: { id: older.id }, bodies: 2 });
    expect(await bodiesOf(mate, "note-edited")).toEqual({ held: 1, dropped: 0 });
  }
  // That old holds the facts up to there says nothing of the notes.
  expect(infoOf(ana, snapshot).waitingFor).toEqual([old.member.replica.device]);
  const dan = await writerOf(await admitMember(ana.member, "dan"));
  dan.peers = [ana];
  await syncAll(ana, dan);
  await dan.snapshots.look();
  await dan.settled();
  expect(dan.base.current()?.snapshot.id).toBe(older.id);
  expect(factsOf(dan)).toEqual({ a: ["2"] });
  expect((await hashesOf(ana, dan)).size).toBe(1);
});

test("after the update a snapshot with notes follows one without [snapshot-mixed]", async () => {
  const { time, ana, ben, old, id } = await mixed();
  await old.snapshots.make();
  await syncAll(ana, ben, old);
  await lookAll(time, ana, ben, old);
  for (const mate of [ana, ben, old]) await mate.snapshots.prune();
  const now = await updated(old);
  introduce([ana, ben, now]);
  const { snapshot } = await now.snapshots.make();
  await syncAll(ana, ben, now);
  await lookAll(time, ana, ben, now);
  for (const mate of [ana, ben, now]) {
    expect(infoOf(mate, snapshot).verdict).toEqual({ state: "recomputed" });
    expect(await mate.snapshots.prune()).toMatchObject({ snapshot: { id: snapshot.id }, bodies: 2 });
    expect(textOf(mate, id)).toBe("one\n");
  }
  expect((await hashesOf(ana, ben, now)).size).toBe(1);
});

test("who begins with notes signs nothing that has none, however far it reaches, and newcomers get the notes [snapshot-mixed]", async () => {
  const { time, ana, ben, old, id } = await mixed();
  await ana.snapshots.setDormant(memberOf(ana.member, "old").person, true);
  const { snapshot } = await ana.snapshots.make();
  await syncAll(ana, ben);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) expect(await mate.snapshots.prune()).toMatchObject({ snapshot: { id: snapshot.id } });

  await set(old, "b", "1");
  await syncAll(ana, ben, old);
  const less = (await old.snapshots.make()).snapshot;
  await syncAll(ana, ben, old);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) {
    expect(infoOf(mate, less).verdict).toMatchObject({
      state: "waits",
      why: expect.stringContaining("of an older kin"),
    });
    expect(mate.base.current()?.snapshot.id).toBe(snapshot.id);
  }
  expect([...infoOf(ana, less).signers.keys()]).toEqual([old.member.replica.device]);
  expect(infoOf(ana, snapshot).verdict).toEqual({ state: "recomputed" });
  const dan = await writerOf(await admitMember(ana.member, "dan"));
  dan.peers = [old, ben];
  await meet(ana, ben);
  await syncAll(ben, dan);
  await dan.snapshots.look();
  await dan.settled();
  expect(dan.base.current()?.snapshot.id).toBe(snapshot.id);
  expect(textOf(dan, id)).toBe("one\n");
  expect((await hashesOf(ana, dan)).size).toBe(1);
});

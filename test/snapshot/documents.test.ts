/** Notes and records as part of a snapshot: who begins with it writes, reads and judges as who has folded every edit (R16). */
import { expect, test } from "vitest";
import type { EventId } from "../../protocols/ids.ts";
import { removePerson } from "../../sync/acts.ts";
import { noteEditedValue, yjsClientOf } from "../../protocols/document.ts";
import { createNoteText, writeText } from "../../sync/documents/note-text.ts";
import { admitMember, memberOf, startSync, until } from "../sync/mesh.ts";
import {
  bodiesOf,
  introduce,
  hashesOf,
  lookAll,
  meet,
  pruneAll,
  syncAll,
  textOf,
  writerOf,
  writersOf,
  type Mate,
  type Writer,
} from "./team.ts";

const personOf = (mate: Mate, name: string) => memberOf(mate.member, name).person;

test("a member who was away gets notes and settings from the snapshot, and what he wrote meanwhile counts [snapshot-notes]", async () => {
  const { time, mates } = await writersOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Writer, Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", form: "text", persons: null });
  await ana.documents.notes.edit(id, { text: "one\ntwo\nthree\n" });
  await syncAll(...mates);
  for (let i = 0; i < 12; i++) {
    const writer = i % 2 === 0 ? ana : ben;
    await writer.documents.notes.edit(id, { append: `line ${i} 😀\n` });
    if (i % 3 === 0) await meet(ana, ben);
  }
  await ben.documents.notes.edit(id, { text: textOf(ben, id)!.replace("two\n", "") });
  await ana.documents.records.set("helper", "description", "one");
  await ana.documents.records.set("helper", "description", "two");
  await meet(ana, ben);
  await cem.documents.notes.edit(id, { text: "one\ntwo, says cem\nthree\n" });

  await ana.snapshots.setDormant(personOf(ana, "cem"), true);
  const { snapshot } = await ana.snapshots.make();
  expect(snapshot.views.map(({ name }) => name)).toEqual(["facts", "notes", "records"]);
  await meet(ana, ben);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) await mate.snapshots.prune();
  expect(await bodiesOf(ana, "note-edited")).toMatchObject({ held: 0, dropped: 14 });
  expect(await bodiesOf(ana, "note-opened")).toMatchObject({ held: 0, dropped: 1 });
  expect(await bodiesOf(ana, "record-changed")).toMatchObject({ held: 0, dropped: 2 });
  await ben.documents.notes.edit(id, { append: "tail\n" });

  await syncAll(...mates);
  expect(textOf(cem, id)).not.toContain("line 3");
  await cem.snapshots.look();
  await syncAll(...mates);
  expect(await cem.member.replica.missingBodies(100)).toEqual([]);
  for (const mate of mates) {
    expect(textOf(mate, id)).toBe(textOf(ana, id));
    const person = personOf(ana, "ana");
    const { state, history } = mate.documents.records.get(person, "helper")!;
    expect(state.values()).toEqual({ description: "two" });
    expect(history).toHaveLength(2);
    expect(
      mate.documents.notes
        .get(id)!
        .editors.map(({ edits }) => edits)
        .toSorted((a, b) => a - b),
    ).toEqual([1, 7, 8]);
  }
  expect(textOf(cem, id)).toContain("says cem");
  expect(textOf(cem, id)).toContain("tail");
  expect((await hashesOf(...mates)).size).toBe(1);

  // Who began with it writes on, and a newcomer, from nothing, too.
  await cem.documents.notes.edit(id, { text: `${textOf(cem, id)!.replace("three", "3")}cem again\n` });
  const dan = await writerOf(await admitMember(ana.member, "dan"));
  dan.peers = [ana];
  await syncAll(...mates, dan);
  await dan.snapshots.look();
  await dan.settled();
  await dan.documents.notes.edit(id, { append: "dan\n" });
  await syncAll(...mates, dan);
  expect((await hashesOf(...mates, dan)).size).toBe(1);
  expect(textOf(ana, id)).toMatch(/3[^]*cem again\n[^]*dan\n/);
  expect([...mates, dan].flatMap(({ documents, failures }) => [...documents.refused(), ...failures])).toEqual([]);
  for (const mate of [...mates, dan]) {
    mate.member.replica.refold();
    await mate.settled();
  }
  expect((await hashesOf(...mates, dan)).size).toBe(1);
  for (const mate of [...mates, dan]) await mate.close();
});

test("edits of private notes stay as they are, and reach who begins with a snapshot and reads them [snapshot-sealed]", async () => {
  const { time, mates } = await writersOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Writer, Writer, Writer];
  const secret = await ana.documents.notes.open({ title: "secret", form: "text", persons: [personOf(ana, "ben")] });
  await ana.documents.notes.edit(secret, { text: "for two" });
  const open = await ana.documents.notes.open({ title: "open", form: "text", persons: null });
  await ana.documents.notes.edit(open, { text: "for all" });
  await syncAll(...mates);
  // Cem can't read it and gets the same state.
  expect(textOf(cem, secret)).toBeUndefined();
  const snapshot = await pruneAll(time, cem, ana, ben);
  expect([...cem.snapshots.list()[0]!.signers.values()]).toEqual(["recomputed", "recomputed", "recomputed"]);
  for (const mate of mates) {
    expect(await bodiesOf(mate, "note-edited")).toEqual({ held: 1, dropped: 1 });
    expect(await bodiesOf(mate, "note-opened")).toEqual({ held: 1, dropped: 1 });
  }
  expect(await cem.snapshots.prune({ dryRun: true })).toMatchObject({ bodies: 0, snapshot: { id: snapshot.id } });
  await ben.documents.notes.edit(secret, { append: " of us" });
  await syncAll(...mates);
  for (const mate of [ana, ben]) {
    mate.member.replica.refold();
    await mate.settled();
    expect(textOf(mate, secret)).toBe("for two of us");
    expect(textOf(mate, open)).toBe("for all");
  }
  const dan = await writerOf(await admitMember(ana.member, "dan"));
  dan.peers = [cem];
  await meet(ana, cem);
  await syncAll(cem, dan);
  await dan.snapshots.look();
  await dan.settled();
  await ana.documents.notes.share(secret, [personOf(ana, "dan")]);
  await syncAll(ana, cem, dan);
  expect(textOf(dan, secret)).toBe("for two of us");
  expect(textOf(dan, open)).toBe("for all");
  expect(await dan.member.replica.missingBodies(10)).toEqual([]);
});

test("an edit that waits is in no state: its body stays, and it counts when what it waits for comes [snapshot-waits]", async () => {
  const { time, mates } = await writersOf("ana", "ben", "mal");
  const [ana, ben, mal] = mates as [Writer, Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", form: "text", persons: null });
  for (const mate of mates) await mate.documents.facts.set(null, mate.member.name, "1");
  await syncAll(...mates);
  // Mal says that he has seen what ben will write only later.
  const [log] = [...ben.member.replica.vector().values()].filter(
    ({ opening }) => opening.device === ben.member.replica.device,
  );
  const [mine] = [...mal.member.replica.vector().values()].filter(
    ({ opening }) => opening.device === mal.member.replica.device,
  );
  const [bens, mals] = [yjsClientOf(log!.log, id), yjsClientOf(mine!.log, id)];
  const will = createNoteText();
  for (const { bytes } of writeText(will.state(), bens, [], [{ at: 0, removed: 0, inserted: "ben!" }]))
    will.apply([bytes]);
  const [made] = writeText(will.state(), mals, will.runs(), [{ at: 4, removed: 0, inserted: "of mal" }]);
  const value = noteEditedValue({ note: id, seen: new Map([[bens, 4]]), life: 0, update: { open: made!.bytes } });
  await mal.member.replica.append([{ kind: "note-edited", audience: "mesh", value }]);
  await syncAll(...mates);
  expect(ana.documents.notes.get(id)).toMatchObject({ waiting: 1 });
  await pruneAll(time, ana, ben, mal);
  for (const mate of mates) expect(await bodiesOf(mate, "note-edited")).toEqual({ held: 1, dropped: 0 });
  const dan = await writerOf(await admitMember(ana.member, "dan"));
  dan.peers = [ana];
  await syncAll(ana, dan);
  await dan.snapshots.look();
  await dan.settled();
  expect(dan.documents.notes.get(id)).toMatchObject({ waiting: 1 });
  await ben.documents.notes.edit(id, { text: "ben!" });
  await syncAll(...mates, dan);
  for (const mate of [...mates, dan]) {
    expect(textOf(mate, id), mate.member.name).toBe("ben!of mal");
    mate.member.replica.refold();
    await mate.settled();
  }
  expect((await hashesOf(...mates, dan)).size).toBe(1);
  // The next one has it, also from the base on.
  time.pass(61_000);
  await pruneAll(time, ana, ben, mal, dan);
  for (const mate of [...mates, dan]) expect((await bodiesOf(mate, "note-edited")).held).toBe(0);
  expect((await hashesOf(...mates, dan)).size).toBe(1);
});

test("the history of a fact says what stands, and how much is gone, once the rest is pruned [facts-history-pruned]", async () => {
  const { time, mates } = await writersOf("ana", "ben");
  const [ana, ben] = mates as [Writer, Writer];
  for (const json of ["1", "2"]) await ana.documents.facts.set(null, "port", json);
  await meet(ana, ben);
  await ana.documents.facts.set(null, "port", "3");
  await ben.documents.facts.set(null, "port", "4");
  await meet(ana, ben);
  await ana.snapshots.make();
  await meet(ana, ben);
  await lookAll(time, ana, ben);
  await ana.snapshots.prune();
  const { sets, missing } = await ana.documents.facts.history(null, "port");
  expect(sets.map(({ json }) => json).toSorted((a, b) => Number(a) - Number(b))).toEqual(["3", "4"]);
  for (const { replaces, isStanding } of sets) expect([replaces, isStanding]).toEqual([null, true]);
  expect(missing).toBe(2);
  await ana.documents.facts.set(null, "port", "5");
  const now = await ana.documents.facts.history(null, "port");
  expect([now.sets.map(({ json, replaces }) => [json, replaces]), now.missing]).toEqual([[["5", 2]], 4]);
});

test("an edit that comes after later ones begins its note from the state, not from nothing, once the rest is pruned [snapshot-late]", async () => {
  const { time, mates } = await writersOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Writer, Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", form: "text", persons: null });
  await ana.documents.notes.edit(id, { text: "hello world\n" });
  await ana.documents.notes.edit(id, { text: "world\n" });
  await ana.documents.notes.edit(id, { append: "more\n" });
  await meet(ana, ben);
  const edits = (await ben.member.replica.store.since(0, 1000)).filter(
    ({ event }) => event.header.kind === "note-edited",
  );
  // Ben has lost the one that only deletes, so cem decides the next one without it.
  await ben.member.replica.prune([edits[1]!.event.id]);
  await meet(ben, cem);
  expect(textOf(cem, id)).toBe("hello world\nmore\n");
  await cem.snapshots.make();
  for (const [from, to] of [
    [cem, ben],
    [ben, ana],
    [ana, ben],
    [ben, cem],
  ] as const) {
    await meet(from, to);
    time.pass(61_000);
    await to.snapshots.look();
  }
  await cem.snapshots.prune();
  expect(await bodiesOf(cem, "note-edited")).toEqual({ held: 1, dropped: 2 });
  const syncing = startSync(ana.member, cem.member);
  await until(async () => (await cem.member.replica.missingBodies(1)).length === 0, "the body has come");
  await syncing.stop();
  await cem.settled();
  expect(textOf(cem, id)).toBe("world\nmore\n");
  expect((await hashesOf(ana, cem)).size).toBe(1);
  cem.member.replica.refold();
  await cem.settled();
  expect((await hashesOf(ana, cem)).size).toBe(1);
});

/** Somewhere among the rest. */
function expectOnce(mate: Writer, id: EventId, words: string, rest: string): void {
  const text = textOf(mate, id)!;
  expect([text.split(words).length - 1, text.replace(words, "")], mate.member.name).toEqual([1, rest]);
}

test.each([false, true])(
  "what a restored device writes before it hears of what it had written takes nothing of that away, and is there too, pruned: %s [documents-twice] [snapshot-fork]",
  async (isPruned) => {
    const { time, mates } = await writersOf("ana", "ben", "cem");
    const [ana, ben, cem] = mates as [Writer, Writer, Writer];
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await syncAll(...mates);
    await ben.documents.notes.edit(id, { append: "ben\n" });
    await syncAll(...mates);
    const backup = ben.member.disk.crash();
    await ben.documents.facts.set(null, "later", "1");
    await ben.documents.notes.edit(id, { append: "ben, later\n" });
    await syncAll(...mates);
    await ana.documents.notes.edit(id, { append: "ana, on that\n" });
    await syncAll(...mates);
    if (isPruned) await pruneAll(time, ...mates);
    await ben.close();
    const restored = await writerOf(await ben.member.reopen(backup));
    const team = [ana, restored, cem];
    introduce(team);
    await restored.documents.notes.edit(id, { append: "ben, twice\n" });
    for (let i = 0; i < 4; i++) {
      await syncAll(...team);
      await restored.documents.facts.set(null, "again", String(i));
    }
    time.pass(61_000);
    await restored.snapshots.look();
    await syncAll(...team);
    expect(ana.member.replica.forks()).toHaveLength(1);
    await restored.documents.notes.edit(id, { append: "ben, after\n" });
    await syncAll(...team);
    const dan = await writerOf(await admitMember(ana.member, "dan"));
    dan.peers = [ana];
    await syncAll(ana, dan);
    await dan.snapshots.look();
    await dan.settled();
    expect(dan.base.current() !== null).toBe(isPruned);
    for (const mate of [...team, dan]) {
      expectOnce(mate, id, "ben, twice\n", "ben\nben, later\nana, on that\nben, after\n");
      expect(mate.failures).toEqual([]);
    }
    expect((await hashesOf(...team, dan)).size).toBe(1);
    // No vector reaches into a log beyond where it was written twice: what counts there is in no state, nor what has seen it.
    time.pass(61_000);
    await pruneAll(time, ...team, dan);
    const eve = await writerOf(await admitMember(ana.member, "eve"));
    eve.peers = [ana];
    await syncAll(ana, eve);
    await eve.snapshots.look();
    for (const mate of [...team, dan, eve]) {
      mate.member.replica.refold();
      await mate.settled();
      expectOnce(mate, id, "ben, twice\n", "ben\nben, later\nana, on that\nben, after\n");
    }
    expect((await hashesOf(...team, dan, eve)).size).toBe(1);
  },
);

test("a removal leaves what a snapshot has of who was removed before his cut, and takes what came after it [snapshot-notes]", async () => {
  const { time, mates } = await writersOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Writer, Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await syncAll(...mates);
  await ben.documents.notes.edit(id, { text: "of ben\n" });
  await syncAll(...mates);
  await pruneAll(time, ...mates);
  await removePerson(ana.member.replica, personOf(ana, "ben"));
  await ben.documents.notes.edit(id, { append: "after his cut\n" });
  await meet(ben, cem);
  expect(textOf(cem, id)).toContain("after his cut");
  await meet(ana, cem);
  await ana.documents.notes.edit(id, { append: "of ana\n" });
  await meet(ana, cem);
  for (const mate of [ana, cem]) expect(textOf(mate, id)).toBe("of ben\nof ana\n");
  expect((await hashesOf(ana, cem)).size).toBe(1);
  expect(ana.documents.notes.get(id)!.editors.map(({ edits }) => edits)).toEqual([1, 1]);
});

test("C25: an old replica that brings the bodies again changes nothing of a note, and what was pruned says so [no-resurrection]", async () => {
  const { time, mates } = await writersOf("ana", "ben", "old");
  const [ana, ben, old] = mates as [Writer, Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(id, { text: "a secret\n" });
  await syncAll(...mates);
  await ana.documents.notes.edit(id, { text: "nothing\n" });
  await ana.snapshots.setDormant(personOf(ana, "old"), true);
  await syncAll(ana, ben);
  await pruneAll(time, ana, ben);
  const { state } = ana.base.current()!;
  expect(new TextDecoder().decode(state)).not.toContain("secret");
  const dan = await writerOf(await admitMember(ana.member, "dan"));
  dan.peers = [ana, ben];
  await meet(ana, old);
  await meet(dan, old);
  expect(textOf(old, id)).toBe("a secret\n");
  await syncAll(ana, ben, old, dan);
  time.pass(61_000);
  for (const mate of [dan, old]) await mate.snapshots.look();
  await syncAll(ana, ben, old, dan);
  for (const mate of [ana, ben, old, dan]) {
    mate.member.replica.refold();
    await mate.settled();
    expect(textOf(mate, id), mate.member.name).toBe("nothing\n");
  }
  expect((await hashesOf(ana, ben, old, dan)).size).toBe(1);
  const edits = (await ana.member.replica.store.since(0, 1000)).filter(
    ({ event }) => event.header.kind === "note-edited",
  );
  expect(await ana.member.replica.event(edits[0]!.event.id)).toMatchObject({ unreadable: "pruned" });
});

test("with a damaged state nothing is written that would not go on from it; fetched again, notes and settings are as before [snapshot-lost]", async () => {
  const { time, mates } = await writersOf("ana", "ben");
  const [ana, ben] = mates as [Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(id, { text: "one\n" });
  await ben.documents.records.set("helper", "description", "one");
  await syncAll(ana, ben);
  await pruneAll(time, ana, ben);
  const [part] = await ben.member.replica.store.values("snapshot/part/");
  await ben.close();
  await ben.member.replica.store.append({ values: [{ key: part!.key, value: part!.value.with(9, 255) }] });
  const again = await writerOf(await ben.member.reopen());
  again.peers = [ana];
  expect(again.documents.notes.all()).toEqual([]);
  await expect(again.documents.records.set("helper", "description", "two")).rejects.toMatchObject({ code: "CORRUPT" });
  await again.snapshots.look();
  await again.settled();
  await again.documents.records.set("helper", "description", "two");
  await again.documents.notes.edit(id, { append: "two\n" });
  await syncAll(ana, again);
  expect((await hashesOf(ana, again)).size).toBe(1);
  expect(textOf(ana, id)).toBe("one\ntwo\n");
  expect(ana.documents.records.get(personOf(ana, "ben"), "helper")!.state.values()).toEqual({ description: "two" });
  expect(ana.documents.refused()).toEqual([]);
});

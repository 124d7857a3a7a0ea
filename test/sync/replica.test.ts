/** What a replica keeps, obeys, holds, quarantines and forgets to nobody. */
import { expect, test } from "vitest";
import { encode } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { openEpoch, removePerson, openInvite } from "../../sync/acts.ts";
import { openProjection, openSeenView } from "../../sync/projection.ts";
import type { ReadableEvent, ReplicaChange } from "../../sync/replica.ts";
import type { EventStore } from "../../sync/store.ts";
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { bytesOf } from "./chains.ts";
import {
  admitMember,
  allEvents,
  benAndAna,
  foundMesh,
  incarnationOf,
  memberOf,
  note,
  notesOf,
  startSync,
  stateOf,
  syncOnce,
  type TestMember,
  testTime,
  until,
} from "./mesh.ts";

function changesOf({ replica }: TestMember): ReplicaChange[] {
  const changes: ReplicaChange[] = [];
  replica.on((change) => changes.push(change));
  return changes;
}

async function noteEvents(member: TestMember): Promise<ReadableEvent[]> {
  return (await allEvents(member)).filter(({ kind }) => kind === "note");
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "done",
    (error: KinError) => error.code,
  );
}

test("what was appended is there after a restart, with the same membership", async () => {
  const { ben } = await benAndAna();
  await ben.replica.append([note("kept")]);
  const before = stateOf(ben);
  const again = await ben.reopen(ben.disk.crash());
  expect(stateOf(again)).toEqual(before);
  expect(await notesOf(again)).toEqual(["kept"]);
  await again.replica.append([note("and on")]);
  expect(again.replica.vector().size).toBe(1);
});

test("bodies are sealed from the first event on; the roster is clear (F5)", async () => {
  const { ben } = await benAndAna();
  await ben.replica.append([note("a secret of the team")]);
  for (const file of ben.disk.files.values()) expect(Buffer.from(file).includes("a secret of the team")).toBe(false);
  const log = [...ben.replica.vector().keys()][0]!;
  const stored = await ben.replica.store.range(log, 0, 100);
  const clear = stored.filter(({ body }) => Buffer.from(body!).includes("genesis"));
  expect(clear.map(({ header }) => header.kind)).toEqual(["roster"]);
});

test("R6: who was removed cannot read what is written after, and the removal opened the epoch in the same act [remove-everywhere]", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  await ben.replica.append([note("all three")]);
  await syncOnce(ben, li);
  const acts = await removePerson(ben.replica, memberOf(ben, "li").person);
  expect(acts.map(({ body }) => body.type)).toEqual(["remove", "epoch"]);
  await ben.replica.append([note("without li")]);
  await syncOnce(ben, ana);
  expect(await notesOf(ana)).toEqual(["all three", "without li"]);
  const epochs = [...ben.replica.membership().epochs.values()];
  expect(epochs.filter(({ recipients }) => recipients.includes(li.replica.device))).not.toHaveLength(epochs.length);
  expect([...li.epochKeys.held.keys()]).not.toContain(acts[1]!.id);
});

test("R6: an epoch with somebody outside is not written under; the append opens a new one", async () => {
  const { ben } = await benAndAna();
  await ben.replica.append([note("first")]);
  const before = ben.replica.membership().epochs.size;
  await ben.replica.act(() => ({
    records: [{ type: "remove", person: memberOf(ben, "ana").person, cuts: [] }],
  }));
  await ben.replica.append([note("second")]);
  expect(ben.replica.membership().epochs.size).toBe(before + 1);
  const kinds = (await allEvents(ben)).slice(-2).map(({ kind }) => kind);
  expect(kinds).toEqual(["roster", "note"]);
});

test("R6: a body whose key is missing stays unread until any holder has sealed the epoch to us", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  // Ana does not know of Li yet: her epoch leaves him out.
  await openEpoch(ana.replica);
  await ana.replica.append([note("by ana")]);
  const changes = changesOf(li);
  await syncOnce(ana, ben);
  await syncOnce(ben, li);
  const [sealed] = await noteEvents(li);
  if (sealed!.unreadable !== null) expect(sealed!.unreadable).toBe("no-key");
  await ben.replica.idle();
  await ana.replica.idle();
  await syncOnce(ana, ben);
  await syncOnce(ben, li);
  await li.replica.idle();
  expect(await notesOf(li)).toEqual(["by ana"]);
  const told = changes.flatMap((change) => (change.type === "applied" ? change.events : []));
  expect(told.filter(({ kind }) => kind === "note")).toHaveLength(1);
});

test("R6: a full disk under the key store and its marks stops no event; the key is kept with the next record [keys-again]", async () => {
  const { ben, ana } = await benAndAna();
  const disk = createMemoryDisk();
  let isFull = false;
  const full = () => Promise.reject(new KinError("DISK_FULL", "full"));
  const openStore = async (): Promise<EventStore> => {
    const store = await openMemoryStore(disk);
    const isMark = ({ key }: { key: string }) => key.startsWith("locked/");
    return { ...store, append: (batch) => (isFull && batch.values?.some(isMark) ? full() : store.append(batch)) };
  };
  const li = await admitMember(ben, "li", { openStore });
  const put = li.epochKeys.put.bind(li.epochKeys);
  isFull = true;
  li.epochKeys.put = full;
  await openEpoch(ana.replica);
  const clear = { kind: "re-issued", audience: "mesh" as const, value: { of: [] }, clear: true };
  await ana.replica.append([note("by ana"), clear]);
  const changes = changesOf(li);
  for (let round = 0; round < 2; round++) {
    await syncOnce(ana, ben);
    await syncOnce(ben, li);
    for (const { replica } of [ana, ben, li]) await replica.idle();
  }
  const kindsTold = () =>
    changes.flatMap((change) => (change.type === "applied" ? change.events.map(({ kind }) => kind) : []));
  expect(stateOf(li)).toEqual(stateOf(ben));
  expect(kindsTold()).toContain("re-issued"); // it came after what can't be read
  expect((await noteEvents(li)).map(({ unreadable }) => unreadable)).toEqual(["no-key"]);
  expect(changes.some((change) => change.type === "trouble" && change.error.code === "DISK_FULL")).toBe(true);
  isFull = false;
  li.epochKeys.put = put;
  await admitMember(ben, "dan");
  await syncOnce(ben, li);
  await li.replica.idle();
  expect(await notesOf(li)).toEqual(["by ana"]);
  expect(kindsTold().filter((kind) => kind === "note")).toHaveLength(1);
});

test("R5: what a removed person wrote after the cut is stored and shown, and has no effect", async () => {
  const { ben, ana } = await benAndAna();
  const li = await admitMember(ben, "li");
  await ana.replica.append([note("before")]);
  await syncOnce(ana, ben);
  await syncOnce(ben, li);
  await removePerson(ben.replica, memberOf(ben, "ana").person);
  await ana.replica.append([note("after")]); // she does not know yet
  await syncOnce(ana, li);
  expect(await notesOf(li)).toEqual(["after", "before"]);
  const changes = changesOf(li);
  await syncOnce(ben, li);
  expect(changes.some(({ type }) => type === "rejudged")).toBe(true);
  expect(await notesOf(li)).toEqual(["before"]);
  const late = (await noteEvents(li)).find(({ value }) => value === "after");
  expect(late?.standing).toMatchObject({ state: "quarantined" });
  await syncOnce(li, ben);
  expect(await notesOf(ben)).toEqual(["before"]);
  expect(stateOf(ben)).toEqual(stateOf(li));
});

test("a removed device cannot write once it knows, and is not synced with", async () => {
  const { ben, ana } = await benAndAna();
  await removePerson(ben.replica, memberOf(ben, "ana").person);
  const records = ben.replica.records();
  await ana.replica.learn(records);
  expect(await refusalOf(ana.replica.append([note("x")]))).toBe("REMOVED");
  const syncing = startSync(ben, ana);
  const [end] = await syncing.ends;
  expect(end).toMatchObject({ reason: "refused-by-us", error: { code: "REMOVED" } });
});

test("R13: an event stamped 10 years ahead is held, not dropped and in nobody's deps, and counts when it is due", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const year = 365 * 86_400_000;
  const ana = await admitMember(ben, "ana", { time: time.shifted(10 * year) });
  const [ahead] = await ana.replica.append([note("from the future")]);
  await syncOnce(ana, ben);
  expect(stateOf(ben)).toEqual(stateOf(ana));
  expect(await notesOf(ben)).toEqual([]);
  expect((await ben.replica.event(ahead!.id))?.standing.state).toBe("held");
  const [mine] = await ben.replica.append([note("now")]);
  expect(mine!.deps).not.toContain(ahead!.id);
  expect(mine!.at).toBe(time.now());
  const changes = changesOf(ben);
  time.pass(10 * year);
  await ben.replica.idle();
  expect(await notesOf(ben)).toEqual(["from the future", "now"]);
  const told = changes.flatMap((change) => (change.type === "applied" ? change.events : []));
  expect(told.map(({ kind }) => kind)).toEqual(["log-opened", "note"]);
  const [next] = await ben.replica.append([note("later")]);
  expect(next!.deps).toContain(ahead!.id);
});

test("R13: a roster record is obeyed whatever its event's stamp", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana", { role: "admin", time: time.shifted(86_400_000) });
  await syncOnce(ana, ben);
  const { replica } = ana;
  await openInvite(replica, {
    key: ana.keys.person.publicKey,
    name: "li",
    role: "member",
    expires: time.now(),
    shares: [{ device: replica.device, uses: 1 }],
  });
  await syncOnce(ana, ben);
  expect([...ben.replica.membership().invites.values()].map(({ name }) => name)).toContain("li");
});

test("an event names the newest events of other logs, once", async () => {
  const { ben, ana } = await benAndAna();
  const [a] = await ana.replica.append([note("a")]);
  await syncOnce(ana, ben);
  const [b] = await ben.replica.append([note("b")]);
  const [c] = await ben.replica.append([note("c")]);
  expect(b!.deps).toEqual([a!.id]);
  expect(c!.deps).toEqual([]);
});

test("R9: the here chain is in no vector, no dep and no frame, and the mesh chain witnesses it", async () => {
  const { ben, ana } = await benAndAna();
  await ben.replica.append([note("open")]);
  const frames: string[] = [];
  const syncing = startSync(ana, ben, {
    tap: (_, frame) => {
      frames.push(Buffer.from(frame).toString("latin1"));
      return frame;
    },
  });
  await syncing.caughtUp;
  for (let i = 0; i < 64; i++)
    await ben.replica.append([{ kind: "audit-started", audience: "here", value: `only here ${i}` }]);
  await ben.replica.idle();
  await until(async () => (await allEvents(ana)).some(({ kind }) => kind === "here-head"), "the witness arrived");
  await syncing.stop();
  const here = (await allEvents(ben)).filter(({ audience }) => audience === "here");
  expect(here).toHaveLength(65);
  expect((await allEvents(ana)).some(({ audience }) => audience === "here")).toBe(false);
  expect(ben.replica.vector().has(here[0]!.log)).toBe(false);
  expect(frames.some((frame) => frame.includes("only here"))).toBe(false);
  expect(await ben.replica.runFrom(here[0]!.log, 0)).toBeUndefined();
  expect(await ben.replica.bodies([here[1]!.id])).toEqual([]);
});

/** Ben's folder as it was before he went on: a restored backup under the same keys. */
async function restoredBackup() {
  const { ben, ana, time } = await benAndAna();
  await ben.replica.append([note("in both")]);
  const backup = ben.disk.crash();
  await ben.replica.append([note("lost to the backup")]);
  await syncOnce(ben, ana);
  const old = await ben.reopen(backup);
  return { ana, old, time };
}

test("R2: a restored backup imports what its peers know of its log and goes on in a new one (P19)", async () => {
  const { ana, old } = await restoredBackup();
  const log = [...old.replica.vector().values()].find(({ opening }) => opening.device === old.replica.device)!.log;
  const changes = changesOf(old);
  await syncOnce(old, ana);
  expect(changes).toContainEqual({ type: "incarnation-ended", log });
  expect(old.replica.needsNewIncarnation()).toBe(true);
  const [next] = await old.replica.append([note("after the restore")]);
  expect(next!.log).not.toBe(log);
  await syncOnce(old, ana);
  expect(await notesOf(ana)).toEqual(["after the restore", "in both", "lost to the backup"]);
  expect(stateOf(old)).toEqual(stateOf(ana));
  expect(ana.replica.forks()).toEqual([]);
});

test("R2: the first write after a start waits a moment for a peer that says it has more of our log", async () => {
  const { ana, old, time } = await restoredBackup();
  const theirs = [...ana.replica.vector().values()].find(({ opening }) => opening.device === old.replica.device)!;
  old.replica.noticeOwnLog(theirs.log, theirs.seq, theirs.id);
  let isWritten = false;
  const writing = old.replica.append([note("hasty")]).then(([event]) => {
    isWritten = true;
    return event!;
  });
  await old.replica.idle();
  expect(isWritten).toBe(false);
  await syncOnce(old, ana);
  expect((await writing).log).not.toBe(theirs.log);
  expect(ana.replica.forks()).toEqual([]);
  time.pass(0);
});

test("R2: a peer that only says so does not stop us", async () => {
  const { ben, time } = await benAndAna();
  const again = await ben.reopen();
  const own = [...again.replica.vector().values()][0]!;
  again.replica.noticeOwnLog(own.log, 2 ** 50, own.id);
  const writing = again.replica.append([note("at last")]);
  await new Promise((resolve) => setTimeout(resolve, 5));
  time.pass(5_000);
  expect((await writing)[0]!.log).toBe(own.log);
});

test("R2: a store that does not know the incarnation makes a new one before it writes", async () => {
  const { ben } = await benAndAna();
  const before = [...ben.replica.vector().keys()];
  const again = await ben.reopen(ben.disk, incarnationOf("marked outside"));
  expect(again.replica.needsNewIncarnation()).toBe(true);
  const [event] = await again.replica.append([note("new log")]);
  expect(before).not.toContain(event!.log);
  expect(again.replica.incarnation().first).toBe(false);
});

test("a run that cannot be right is refused, and changes nothing", async () => {
  const { ben, ana } = await benAndAna();
  await ben.replica.append([note("1")]);
  await ben.replica.append([note("2")]);
  const entry = [...ben.replica.vector().values()].find(({ opening }) => opening.device === ben.replica.device)!;
  const from = ana.replica.vector().get(entry.log)!.seq + 1;
  const { run } = (await ben.replica.runFrom(entry.log, from))!;
  const other = bytesOf("nobody's").subarray(0, 16);
  const flipped = Uint8Array.from(run.head.sig, (byte, i) => (i === 9 ? byte ^ 4 : byte));
  const stranger = { ...entry.opening, device: run.head.head.id as never };
  const before = stateOf(ana);
  const cases: [string, Promise<unknown>, string][] = [
    [
      "a gap (C4)",
      ana.replica.receive({ ...run, from: from + 1, events: run.events.slice(1) }, entry.opening),
      "BAD_REQUEST",
    ],
    [
      "its middle missing",
      ana.replica.receive({ ...run, events: run.events.toSpliced(1, 1) }, entry.opening),
      "BAD_REQUEST",
    ],
    ["no events", ana.replica.receive({ ...run, events: [] }, entry.opening), "BAD_REQUEST"],
    [
      "another head's signature",
      ana.replica.receive({ ...run, head: { ...run.head, sig: flipped } }, entry.opening),
      "BAD_SIGNATURE",
    ],
    ["another opening", ana.replica.receive(run, { ...entry.opening, incarnation: other }), "BAD_REQUEST"],
    ["a stranger's log", ana.replica.receive(run, stranger), "BAD_REQUEST"],
  ];
  for (const [what, work, code] of cases) expect([what, await refusalOf(work)]).toEqual([what, code]);
  expect(stateOf(ana)).toEqual(before);
  expect(await ana.replica.receive(run, entry.opening)).toMatchObject({ stored: run.events.length, fork: null });
  expect(await ana.replica.receive(run, entry.opening)).toMatchObject({ stored: 0, known: run.events.length });
});

test("an act that the fold would void is refused before it is written", async () => {
  const { ben, ana } = await benAndAna();
  const before = stateOf(ana);
  expect(await refusalOf(removePerson(ana.replica, memberOf(ben, "ben").person))).toBe("DENIED");
  expect(await refusalOf(removePerson(ben.replica, memberOf(ben, "ben").person))).toMatch(/LAST_ADMIN|DENIED/);
  expect(stateOf(ana)).toEqual(before);
});

test("a full disk refuses an append, and the next one goes on where the log stands (P17)", async () => {
  const { ben } = await benAndAna();
  await ben.replica.append([note("1")]);
  const { disk } = ben;
  const append = disk.append.bind(disk);
  disk.append = () => Promise.reject(Object.assign(new Error("no space"), { code: "ENOSPC" }));
  expect(await refusalOf(ben.replica.append([note("2")]))).not.toBe("done");
  disk.append = append;
  await ben.replica.append([note("3")]);
  expect(await notesOf(ben)).toEqual(["1", "3"]);
});

test("events of one append are next to each other and come with their values, or not at all", async () => {
  const { ben } = await benAndAna();
  const values = [{ key: "mine/1", value: encode("row") }];
  const [a, b] = await ben.replica.append([note("a"), note("b")], { values });
  expect(b!.seq).toBe(a!.seq + 1);
  expect(await ben.replica.store.value("mine/1")).toEqual(encode("row"));
  const tooLarge = { ...note(""), value: new Uint8Array(300_000) };
  const more = [{ key: "mine/2", value: encode("row") }];
  expect(await refusalOf(ben.replica.append([note("c"), tooLarge], { values: more }))).toBe("TOO_LARGE");
  expect(await ben.replica.store.value("mine/2")).toBeUndefined();
  expect(await notesOf(ben)).toEqual(["a", "b"]);
});

test("a view stands at a position, folds each event once and again from the start when some count no longer [view-folds]", async () => {
  const { ben, ana } = await benAndAna();
  await ana.replica.append([note("1")]);
  let texts: string[] = [];
  let starts = 0;
  const view = await openProjection(ana.replica, {
    kinds: new Set(["note"]),
    fold: ({ value }) => texts.push(value as string),
    clear: () => {
      starts++;
      texts = [];
    },
  });
  expect(texts).toEqual(["1"]);
  await ben.replica.append([note("2")]);
  await syncOnce(ana, ben);
  await view.settled();
  expect(texts).toEqual(["1", "2"]);
  expect(view.position()).toBe((await allEvents(ana)).length);
  await ben.replica.act(async () => ({
    records: [{ type: "remove", person: memberOf(ben, "ana").person, cuts: [] }],
  }));
  await ana.replica.learn(ben.replica.records());
  await view.settled();
  expect([starts, texts]).toEqual([1, ["2"]]);
  await view.close();
});

test("a saved view goes on where it stood, also with what it could not read then", async () => {
  const { ben, ana, time } = await benAndAna();
  await ben.replica.append([note("1")]);
  await syncOnce(ana, ben);
  const first = await openSeenView(ana.replica);
  await first.save();
  await first.close();
  const again = await ana.reopen();
  time.pass(60_000);
  await ben.replica.append([note("2")]);
  await syncOnce(again, ben);
  const second = await openSeenView(again.replica);
  expect(second.lastSeen(ben.replica.device)).toBe(time.now());
  expect(second.position()).toBe((await allEvents(again)).length);
  await second.close();
});

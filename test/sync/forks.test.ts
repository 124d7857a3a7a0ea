/** After a fork (R2): what counts, what is said again, who lets a device go on, and what none of it can be used for. */
import { expect, test } from "vitest";
import type { KinError } from "../../protocols/errors.ts";
import { formatText, type EventId } from "../../protocols/ids.ts";
import { MAX_OPEN_LOGS } from "../../protocols/limits.ts";
import { makeLogWord } from "../../protocols/roster-record.ts";
import { encodeSyncFrame, type ForkProof } from "../../protocols/sync.ts";
import type { MeshNode } from "../../node/gateway/mesh.ts";
import { historyWarnings, syncAllow, syncReissue } from "../../node/gateway/verbs/forks.ts";
import { allowLogs, removePerson } from "../../sync/acts.ts";
import { forkPoint } from "../../sync/fork.ts";
import { openProjection } from "../../sync/projection.ts";
import type { ReplicaChange } from "../../sync/replica.ts";
import {
  admitMember,
  foundMesh,
  incarnationOf,
  meet,
  memberOf,
  note,
  notesOf,
  startSync,
  syncOnce,
  testTime,
  twinOf,
  until,
  type TestMember,
} from "./mesh.ts";

/** Ana and Ben, and Li's device that will live twice. */
async function team(options: Parameters<typeof admitMember>[2] = {}) {
  const time = testTime();
  const ana = await foundMesh("ana", time);
  const ben = await admitMember(ana, "ben");
  const li = await admitMember(ana, "li", options);
  await li.replica.append([note("shared")]);
  await rounds([ana, ben, li]);
  return { time, ana, ben, li };
}

/** Everybody meets everybody, some times. */
async function rounds(members: TestMember[], count = 4): Promise<void> {
  for (let round = 0; round < count; round++) {
    for (const [i, one] of members.entries())
      for (const other of members.slice(i + 1)) if (one.replica.device !== other.replica.device) await meet(one, other);
    for (const { replica } of members) await replica.idle();
  }
}

/** Li's log was written twice: Ana has a1, Ben has b1 and b2. */
async function partedTeam() {
  const { ana, ben, li } = await team();
  const twin = await twinOf(li);
  await li.replica.append([note("a1")]);
  await twin.replica.append([note("b1"), note("b2")]);
  await meet(li, ana);
  await meet(twin, ben);
  return { ana, ben, li, twin };
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "done",
    (error: KinError) => error.code,
  );
}

async function standingOf({ replica }: TestMember, id: EventId) {
  return (await replica.event(id))?.standing.state;
}

test("R2: what others had built on stays on both histories, and what nobody had built on waits in quarantine [fork-witness]", async () => {
  const { ana, ben, li } = await team();
  const twin = await twinOf(li);
  const [a1] = await li.replica.append([note("a1")]);
  const [b1] = await twin.replica.append([note("b1")]);
  await meet(li, ana);
  await meet(twin, ben);
  await ana.replica.append([note("ana builds on a1")]);
  await ben.replica.append([note("ben builds on b1")]);
  const [a2] = await li.replica.append([note("a2")]);
  const [b2] = await twin.replica.append([note("b2")]);
  await meet(li, ana);
  await meet(twin, ben);
  await li.replica.close(); // neither life is heard of again
  await twin.replica.close();
  await rounds([ana, ben]);
  for (const member of [ana, ben]) {
    const states = await Promise.all([a1, b1, a2, b2].map((event) => standingOf(member, event!.id)));
    expect(states).toEqual(["good", "good", "quarantined", "quarantined"]);
    expect(member.replica.forks().map(forkPoint)).toEqual([a1!.seq - 1]);
  }
  const texts = ["a1", "ana builds on a1", "b1", "ben builds on b1", "shared"];
  expect(await notesOf(ana)).toEqual(texts);
  expect(await notesOf(ben)).toEqual(texts);
  const again = await ana.reopen();
  expect(await notesOf(again)).toEqual(texts);
});

test("R2: a view folds both histories of a forked log, each entry once, also after a restart [fork-views]", async () => {
  const { ana, ben, li } = await team();
  const twin = await twinOf(li);
  let texts: string[] = [];
  const options = {
    kinds: new Set(["note"]),
    fold: ({ value }: { value: unknown }) => texts.push(String(value)),
    clear: () => (texts = []),
  };
  const view = await openProjection(ana.replica, options);
  await li.replica.append([note("a")]);
  await twin.replica.append([note("b")]);
  await meet(li, ana);
  await meet(twin, ben);
  await ben.replica.append([note("on b")]);
  await ana.replica.append([note("on a")]);
  await rounds([ana, ben]);
  await view.settled();
  expect(texts.toSorted()).toEqual(["a", "b", "on a", "on b", "shared"]);
  await view.close();
  const again = await ana.reopen();
  texts = [];
  await openProjection(again.replica, options);
  expect(texts.toSorted()).toEqual(["a", "b", "on a", "on b", "shared"]);
});

test("R2: who comes back to a forked log says again what had no effect, once, and all agree [fork-reissue]", async () => {
  const { ana, ben, li } = await team();
  const twin = await twinOf(li);
  await li.replica.append([note("a1"), note("a2")]);
  await twin.replica.append([
    note("b1"),
    { ...note("for ana"), audience: "direct", to: [ana.replica.device, li.replica.device] },
  ]);
  await meet(li, ana);
  await meet(twin, ben);
  await twin.replica.close();
  await rounds([ana, ben, li], 6);
  const texts = ["a1", "a2", "b1", "for ana", "shared"];
  expect(await notesOf(ana)).toEqual(texts);
  expect(await notesOf(li)).toEqual(texts);
  const again = await li.reopen();
  await again.replica.append([note("later")]);
  await again.replica.idle();
  expect(await notesOf(again)).toEqual([...texts, "later"].toSorted()); // not said a third time
});

test("R2: a copy steps back when it turns out that somebody had built on what it repeats [reissue-once]", async () => {
  const { ana, ben, li } = await team();
  const twin = await twinOf(li);
  const [a1] = await li.replica.append([note("a1")]);
  await meet(li, ana);
  await meet(li, ben);
  await li.replica.close();
  await ana.replica.append([note("on a1")]); // nobody hears of it for a while
  await twin.replica.append([note("b1")]);
  await rounds([ben, twin], 4);
  for (const member of [ben, twin]) {
    expect(await standingOf(member, a1!.id)).toBe("quarantined");
    expect(await notesOf(member)).toEqual(["a1", "b1", "shared"]); // copies
  }
  await rounds([ana, ben, twin], 4);
  for (const member of [ana, ben, twin]) {
    expect(await standingOf(member, a1!.id)).toBe("good");
    expect(await notesOf(member)).toEqual(["a1", "b1", "on a1", "shared"]);
  }
});

test("R2: a marker takes nothing away that counts", async () => {
  const { ana, ben } = await team();
  const [mine] = await ana.replica.append([note("ana's own")]);
  await rounds([ana, ben]);
  const marker = {
    kind: "re-issued",
    audience: "mesh" as const,
    value: { of: [Buffer.from(mine!.id, "hex")] },
    clear: true,
  };
  const [, copy] = await ben.replica.append([marker, note("not what ana said")]);
  await rounds([ana, ben]);
  expect(await standingOf(ana, mine!.id)).toBe("good");
  expect(await ana.replica.event(copy!.id)).toMatchObject({
    standing: { state: "quarantined", why: expect.stringContaining("first said") as string },
  });
});

test("R2: the person's key lets a forked device's new log count once; the second time it takes an admin [fork-way-back]", async () => {
  const { ana, ben, li } = await team();
  const changes: ReplicaChange[] = [];
  for (const [round, state] of [
    [1, "good"],
    [2, "quarantined"],
  ] as const) {
    const twin = await twinOf(li);
    await twin.replica.append([note(`twin ${round}`)]);
    await li.replica.append([note(`life ${round}`)]);
    await meet(twin, ben);
    await twin.replica.close();
    await meet(li, ana);
    if (round === 2) li.replica.on((change) => changes.push(change));
    await rounds([ana, ben, li], 5);
    const [event] = await li.replica.append([note(`after fork ${round}`)]);
    await rounds([ana, ben, li], 2);
    expect(await standingOf(ana, event!.id)).toBe(state);
    expect(await standingOf(ben, event!.id)).toBe(state);
  }
  const said = changes.flatMap((change) => (change.type === "trouble" ? [change.error.code] : []));
  expect(said).toContain("FORKED");
  expect(await refusalOf(allowLogs(ben.replica, li.replica.device))).toBe("DENIED"); // no admin
  const logs = [...li.replica.vector().values()].filter(({ opening }) => opening.device === li.replica.device);
  const again = { device: li.replica.device, logs: [logs.at(-1)!.log] };
  const word = makeLogWord(li.keys.person, li.replica.mesh, again, new Uint8Array(16));
  const second = li.replica.act(() => ({ records: [{ type: "log-allowed", ...again, word }] }));
  expect(await refusalOf(second)).toBe("DENIED"); // also where the device insists
  await allowLogs(ana.replica, li.replica.device);
  await rounds([ana, ben, li], 5);
  const expected = ["after fork 1", "after fork 2", "life 1", "life 2", "shared", "twin 1", "twin 2"];
  for (const member of [ana, ben, li]) expect(await notesOf(member)).toEqual(expected);
});

test("R2: a device key alone opens no log that counts after a fork: without the person's key it takes an admin", async () => {
  const { ana, ben, li } = await team({ personKey: null });
  const twin = await twinOf(li);
  await twin.replica.append([note("twin")]);
  await li.replica.append([note("life")]);
  await meet(twin, ben);
  await twin.replica.close();
  await rounds([ana, ben, li], 4);
  const [event] = await li.replica.append([note("after")]);
  await rounds([ana, ben, li], 2);
  expect(await standingOf(ana, event!.id)).toBe("quarantined");
  expect(await refusalOf(allowLogs(ana.replica, li.replica.device))).toBe("done");
  await rounds([ana, ben, li], 4);
  expect(await notesOf(ben)).toEqual(["after", "life", "shared", "twin"]);
});

test("R2: a restored founder who is alone is not locked out", async () => {
  const time = testTime();
  const ana = await foundMesh("ana", time);
  const ben = await admitMember(ana, "ben");
  for (let round = 1; round <= 3; round++) {
    const twin = await twinOf(ana);
    await twin.replica.append([note(`twin ${round}`)]);
    await ana.replica.append([note(`life ${round}`)]);
    await meet(twin, ben);
    await twin.replica.close();
    await rounds([ana, ben], 4);
    const [event] = await ana.replica.append([note(`after ${round}`)]);
    await rounds([ana, ben], 2);
    expect(await standingOf(ben, event!.id)).toBe("good");
  }
});

test("R2: a device has at most 16 open logs; one that was written twice is not open [open-logs]", async () => {
  const { ana, li } = await team();
  for (let i = 1; i < MAX_OPEN_LOGS; i++) {
    const life = await li.reopen(undefined, incarnationOf(`life ${i}`, { fresh: true }));
    await life.replica.append([note(`life ${i}`)]);
    await syncOnce(life, ana);
    Object.assign(li, life);
  }
  const opening = { device: li.replica.device, incarnation: new Uint8Array(16), chain: "mesh" as const };
  const others = [...ana.replica.vector().values()].filter(({ opening: { device } }) => device === li.replica.device);
  expect(others).toHaveLength(MAX_OPEN_LOGS);
  expect(ana.replica.accepts(ana.replica.mesh as never, opening)).toBe(false);
  const ended = await li.reopen(undefined, incarnationOf("one too many"));
  expect(await refusalOf(ended.replica.append([note("more")]))).toBe("FORKED");
});

test("a proof that does not say where the histories part is refused from a peer, and read where the first release kept it", async () => {
  const { ana, ben } = await partedTeam();
  await rounds([ana, ben]);
  const [proof] = ana.replica.forks() as [ForkProof];
  const { parting: _, ...old } = proof;
  const fresh = await foundMesh("carl", testTime());
  expect(await refusalOf(fresh.replica.receiveFork(old))).toBe("done"); // a stranger's: nothing
  expect(fresh.replica.forks()).toEqual([]);
  const dave = await admitMember(ana, "dave");
  expect(await refusalOf(dave.replica.receiveFork(old))).toBe("BAD_REQUEST");
  await dave.replica.store.append({
    values: [{ key: `fork/${proof.log}`, value: encodeSyncFrame({ type: "fork", proof: old }) }],
  });
  const again = await dave.reopen();
  expect(again.replica.forks()).toEqual([old]);
  await rounds([again, ana]);
  expect(again.replica.forks().map(forkPoint)).toEqual([forkPoint(proof)]);
  expect(again.replica.forks()[0]!.parting).toBeDefined();
});

test("R5: removing whose log was written twice keeps what others had built on, on every history (R2)", async () => {
  const { ana, ben, li, twin } = await partedTeam();
  await ana.replica.append([note("on a1")]);
  await ben.replica.append([note("on b2")]);
  await li.replica.close();
  await twin.replica.close();
  await rounds([ana, ben]);
  await removePerson(ana.replica, memberOf(ana, "li").person);
  await rounds([ana, ben]);
  for (const member of [ana, ben])
    expect(await notesOf(member)).toEqual(["a1", "b1", "b2", "on a1", "on b2", "shared"]);
});

test("R2: sync allow and sync reissue say what they did, and why not", async () => {
  const { ana, ben, li } = await team({ personKey: null });
  const nodeOf = ({ replica }: TestMember) =>
    ({ mesh: () => ({ replica, me: { device: replica.device } }) }) as unknown as MeshNode;
  await expect(syncAllow(nodeOf(ana), { who: "li" })).rejects.toMatchObject({ code: "USAGE" }); // nothing was written twice
  const twin = await twinOf(li);
  await twin.replica.append([note("twin")]);
  await li.replica.append([note("life")]);
  await meet(twin, ben);
  await rounds([ana, ben, li], 4);
  await expect(syncAllow(nodeOf(ana), { who: "li" })).rejects.toMatchObject({ code: "NOT_FOUND" }); // it has begun no new log
  await li.replica.append([note("after")]);
  await rounds([ana, ben, li], 2);
  await expect(syncAllow(nodeOf(ana), { who: "nobody" })).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(syncAllow(nodeOf(ben), { who: "li@laptop" })).rejects.toMatchObject({ code: "DENIED" });
  expect(historyWarnings(ana)).toEqual([
    expect.stringMatching(/^li@laptop has written two.*kin sync allow li@laptop$/),
  ]);
  expect(await syncAllow(nodeOf(ana), { who: "li@laptop" })).toMatchObject({ device: "li@laptop" });
  expect(historyWarnings(ana)).toEqual([expect.stringMatching(/^li@laptop has written two.*counts$/)]);
  await removePerson(ana.replica, memberOf(ana, "li").person);
  const [late] = await li.replica.append([note("late")]);
  await meet(li, ben);
  await rounds([ana, ben]);
  await expect(syncReissue(nodeOf(ana), { events: ["nonsense"] })).rejects.toMatchObject({ code: "USAGE" });
  const { items } = await syncReissue(nodeOf(ana), { events: [formatText("kine", Buffer.from(late!.id, "hex"))] });
  expect(items).toEqual([
    { event: expect.stringMatching(/^kine1/) as string, again: expect.stringMatching(/^kine1/) as string },
  ]);
  expect(await notesOf(ana)).toContain("late");
});

test("R5: an admin says again what a removed member wrote after his cut; nobody else does [reissue-removed]", async () => {
  const { ana, ben, li } = await team();
  await removePerson(ana.replica, memberOf(ana, "li").person);
  const [late] = await li.replica.append([note("worth keeping")]); // he does not know yet
  await meet(li, ben);
  await rounds([ana, ben]);
  expect(await standingOf(ana, late!.id)).toBe("quarantined");
  expect(await refusalOf(ben.replica.reissue([late!.id]))).toBe("DENIED");
  const [mine] = await ben.replica.append([note("ben's own")]);
  await rounds([ana, ben]);
  expect(await refusalOf(ana.replica.reissue([mine!.id]))).toBe("BAD_REQUEST"); // it counts
  expect(await refusalOf(ana.replica.reissue(["00".repeat(32) as EventId]))).toBe("NOT_FOUND");
  const [copy] = await ana.replica.reissue([late!.id]);
  await rounds([ana, ben]);
  expect(await ben.replica.event(copy!.id)).toMatchObject({ value: "worth keeping", standing: { state: "good" } });
  expect(await notesOf(ben)).toEqual(["ben's own", "shared", "worth keeping"]);
});

test("R2: an end of a log that nobody has costs a peer its asking, and stops nothing else", async () => {
  const { ana, ben, li } = await team();
  const entry = [...li.replica.vector().values()].find(({ opening }) => opening.device === li.replica.device)!;
  const forked = [{ log: entry.log, opening: entry.opening, ends: [{ seq: 3, id: "11".repeat(32) as EventId }] }];
  const lie = encodeSyncFrame({
    type: "vector",
    full: true,
    roster: [],
    logs: [...ben.replica.vector().values()],
    forked,
  });
  const syncing = startSync(ana, ben, { tap: (from, frame, i) => (from === "right" && i === 0 ? lie : frame) });
  await ana.replica.append([note("goes on")]);
  await until(async () => (await notesOf(ben)).includes("goes on"), "the sync goes on");
  await syncing.stop();
  expect(ana.replica.forks()).toEqual([]);
});

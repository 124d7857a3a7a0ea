import { expect, test } from "vitest";
import { idOf } from "../../protocols/ids.ts";
import { proposalValue, snapshotOf, stateHash, type Snapshot } from "../../protocols/snapshot.ts";
import { removePerson } from "../../sync/acts.ts";
import { openSnapshotProjection } from "../../sync/snapshot-projection.ts";
import { foldState } from "../../sync/snapshot-state.ts";
import { factsView } from "../../sync/documents/facts.ts";
import { admitMember, foundMesh, memberOf, note, testTime } from "../sync/mesh.ts";
import { bodiesOf, factsOf, hashOf, lookAll, mateOf, meet, set, syncAll, type Mate } from "./team.ts";

/** Ana founds, ben and cem are in; all in step. */
async function teamOf(...names: string[]) {
  const time = testTime();
  const founder = await foundMesh(names[0]!, time);
  const mates: Mate[] = [await mateOf(founder)];
  for (const name of names.slice(1)) mates.push(await mateOf(await admitMember(founder, name)));
  await syncAll(...mates);
  for (const mate of mates) mate.peers = mates.filter((other) => other !== mate);
  return { time, mates };
}

const infoOf = (mate: Mate, { id }: Snapshot) => mate.snapshots.list().find(({ snapshot }) => snapshot.id === id)!;
const personOf = (mate: Mate, name: string) => memberOf(mate.member, name).person;

test("a snapshot counts when two persons have recomputed it, and not before [R16]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Mate, Mate, Mate];
  await set(ana, "a", "1");
  await set(ben, "b", "2");
  await syncAll(...mates);
  const { snapshot } = await ana.snapshots.make();
  await syncAll(...mates);
  expect(infoOf(cem, snapshot)).toMatchObject({ counts: false, verdict: { state: "waits" } });
  await ben.snapshots.look();
  await syncAll(...mates);
  expect(infoOf(cem, snapshot)).toMatchObject({ counts: true });
  await lookAll(time, ...mates);
  for (const mate of mates)
    expect(infoOf(mate, snapshot)).toMatchObject({ counts: true, waitingFor: [], verdict: { state: "recomputed" } });
  expect([...infoOf(ana, snapshot).signers.values()]).toEqual(["recomputed", "recomputed", "recomputed"]);
  expect(mates.flatMap(({ warnings }) => warnings)).toEqual([]);
});

test("with one other person his signature alone counts for a newcomer [R16]", async () => {
  const { mates } = await teamOf("ana", "ben");
  const [ana, ben] = mates as [Mate, Mate];
  await set(ana, "a", "1");
  const { snapshot, counts } = await ana.snapshots.make();
  expect(counts).toBe(false);
  await syncAll(ana, ben);
  await ben.snapshots.look();
  expect(infoOf(ben, snapshot).counts).toBe(true);
  const alone = await mateOf(await foundMesh("dan", testTime()));
  await set(alone, "a", "1");
  expect((await alone.snapshots.make()).counts).toBe(true);
  expect((await alone.snapshots.prune()).bodies).toBe(1);
});

test("C23: a proposal with a wrong state hash gets no second signature and is named [R16]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "mal");
  const [ana, ben, mal] = mates as [Mate, Mate, Mate];
  await set(ana, "a", "1");
  await syncAll(...mates);
  const honest = (await mal.snapshots.make()).snapshot;
  const lie = snapshotOf(mal.member.replica.mesh, { ...honest, state: stateHash(new Uint8Array(3)) });
  await mal.member.replica.append([{ kind: "snapshot-proposed", audience: "mesh", value: proposalValue(lie) }]);
  await syncAll(...mates);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) {
    expect(infoOf(mate, lie).verdict).toEqual({ state: "refused", why: "its state is not what its events fold to" });
    expect(mate.warnings).toEqual([expect.stringContaining(`of mal is not signed`)]);
  }
  expect([...infoOf(ana, lie).signers.keys()]).toEqual([mal.member.replica.device]);
  expect(infoOf(ana, lie).counts).toBe(false);
  await expect(ana.snapshots.prune()).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("C24: a proposal that hides a removal gets no signature, is named, and is not taken in [snapshot-revocation]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "cem", "mal");
  const [ana, ben, cem, mal] = mates as [Mate, Mate, Mate, Mate];
  await set(ana, "a", "1");
  await syncAll(...mates);
  const malLog = [...mal.member.replica.vector().values()].find(
    ({ opening }) => opening.device === mal.member.replica.device,
  );
  await removePerson(ana.member.replica, personOf(ana, "mal"));
  // What mal writes after his removal reaches ben first, who does not know of it yet and signs.
  await set(mal, "a", '"mine"');
  await meet(mal, ben);
  const { snapshot } = await ben.snapshots.make();
  expect(snapshot.at.get(malLog?.log ?? [...snapshot.at.keys()][0]!)).toBeDefined();
  await meet(ben, cem);
  await meet(ana, cem);
  await meet(ana, ben);
  await lookAll(time, ana, cem);
  for (const mate of [ana, cem]) {
    expect(infoOf(mate, snapshot).verdict).toMatchObject({
      state: "refused",
      why: expect.stringContaining("removal of mal"),
    });
    expect(infoOf(mate, snapshot).counts).toBe(false);
    expect(factsOf(mate)).toEqual({ a: ["1"] });
  }
  await meet(ana, ben);
  expect(factsOf(ben)).toEqual({ a: ["1"] });
  // Ben, who knows now, makes another, which does count.
  time.pass(61_000);
  const better = (await ben.snapshots.make()).snapshot;
  await syncAll(ana, ben, cem);
  await lookAll(time, ana, ben, cem);
  expect(infoOf(cem, better)).toMatchObject({ counts: true, waitingFor: [] });
});

test("a vector that leaves out what it comes after is refused, and so is another history", async () => {
  const { time, mates } = await teamOf("ana", "ben");
  const [ana, ben] = mates as [Mate, Mate];
  await set(ben, "b", "1");
  await syncAll(ana, ben);
  await set(ana, "a", "1");
  const { snapshot } = await ana.snapshots.make();
  const open = new Map(
    [...snapshot.at].filter(
      ([log]) => ana.member.replica.vector().get(log)!.opening.device !== ben.member.replica.device,
    ),
  );
  expect(open.size).toBe(snapshot.at.size - 1);
  const folded = await foldState(ana.member.replica, [factsView], null, open);
  expect(folded).toMatchObject({ ok: false, why: "open" });
  const other = new Map(
    [...snapshot.at].map(([log, mark], i) => [log, i === 0 ? { ...mark, id: [...snapshot.at.values()][1]!.id } : mark]),
  );
  expect(await foldState(ana.member.replica, [factsView], null, other)).toMatchObject({
    ok: false,
    why: "other-history",
  });
  const lie = snapshotOf(ana.member.replica.mesh, { ...snapshot, at: open });
  await ana.member.replica.append([{ kind: "snapshot-proposed", audience: "mesh", value: proposalValue(lie) }]);
  await syncAll(ana, ben);
  await lookAll(time, ben);
  expect(infoOf(ben, lie).verdict).toMatchObject({ state: "refused" });
});

test("pruning waits for everybody who isn't dormant, drops bodies, keeps headers and all that is not the view's [prune-acknowledged]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Mate, Mate, Mate];
  for (let i = 0; i < 10; i++) await set(ana, `k${i % 3}`, String(i));
  await ana.member.replica.append([note("not a view's")]);
  await meet(ana, ben);
  const { snapshot } = await ana.snapshots.make();
  await meet(ana, ben);
  await ben.snapshots.look();
  await meet(ana, ben);
  expect(infoOf(ana, snapshot)).toMatchObject({ counts: true, waitingFor: [cem.member.replica.device] });
  await expect(ana.snapshots.prune()).rejects.toThrow(/waits for cem/);
  expect(await bodiesOf(ana)).toEqual({ held: 10, dropped: 0 });
  await expect(ben.snapshots.setDormant(personOf(ben, "cem"), true)).rejects.toMatchObject({ code: "DENIED" });
  await ben.member.replica.append([
    { kind: "dormant", audience: "mesh", value: { v: 1, p: Buffer.from(personOf(ben, "cem"), "hex"), on: true } },
  ]);
  await meet(ana, ben);
  expect(ana.snapshots.dormant()).toEqual([]);
  await ana.snapshots.setDormant(personOf(ana, "cem"), true);
  expect(ana.snapshots.dormant()).toEqual([personOf(ana, "cem")]);
  expect(await ana.snapshots.prune({ dryRun: true })).toMatchObject({ bodies: 10 });
  expect(await bodiesOf(ana)).toEqual({ held: 10, dropped: 0 });
  const before = hashOf(ana);
  expect(await ana.snapshots.prune()).toMatchObject({ bodies: 10, snapshot: { id: snapshot.id } });
  expect(await bodiesOf(ana)).toEqual({ held: 0, dropped: 10 });
  await ana.facts.settled();
  expect(hashOf(ana)).toBe(before);
  const rest = (await ana.member.replica.store.since(0, 1000)).filter(({ event }) => event.header.kind !== "fact-set");
  expect(rest.every(({ event }) => event.body !== null)).toBe(true);
  expect(await ana.member.replica.missingBodies(10)).toEqual([]);
  await ana.snapshots.setDormant(personOf(ana, "cem"), false);
  expect(ana.snapshots.dormant()).toEqual([]);
  time.pass(1);
});

test("a member who was away catches up by headers, snapshot and tail, and what he wrote meanwhile counts [catch-up]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Mate, Mate, Mate];
  await set(ana, "before", "1");
  await syncAll(...mates);
  for (let i = 0; i < 30; i++) await set(i % 2 === 0 ? ana : ben, `k${i % 7}`, String(i));
  await syncAll(ana, ben);
  await set(cem, "from-cem", '"offline"');
  await set(cem, "k1", '"concurrent"');
  await ana.snapshots.setDormant(personOf(ana, "cem"), true);
  await ana.snapshots.make();
  await syncAll(ana, ben);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) expect((await mate.snapshots.prune()).bodies).toBe(31);
  await set(ben, "tail", "1");
  await syncAll(ana, ben, cem);
  expect(await cem.member.replica.missingBodies(1000)).not.toEqual([]);
  expect(factsOf(cem)).not.toEqual(factsOf(ana));
  await cem.snapshots.look();
  await cem.facts.settled();
  await syncAll(...mates);
  expect(await cem.member.replica.missingBodies(1000)).toEqual([]);
  expect(hashOf(cem)).toBe(hashOf(ana));
  expect(hashOf(ben)).toBe(hashOf(ana));
  expect(factsOf(cem)).toMatchObject({ "from-cem": ['"offline"'], before: ["1"], tail: ["1"] });
  expect(factsOf(ana)["k1"]).toContain('"concurrent"');
  expect(infoOf(ana, cem.base.current()!.snapshot).signers.get(cem.member.replica.device)).toBe("adopted");
  expect(cem.warnings).toEqual([]);
});

test("a newcomer takes in no state that is not the signed one, whoever gives it [lying-provider]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "cem");
  const [ana, ben] = mates as [Mate, Mate];
  for (let i = 0; i < 5; i++) await set(ana, `k${i}`, String(i));
  await meet(ana, ben);
  await ana.snapshots.setDormant(personOf(ana, "cem"), true);
  const { snapshot } = await ana.snapshots.make();
  await meet(ana, ben);
  await ben.snapshots.look();
  await meet(ana, ben);
  await ana.snapshots.prune();
  await ben.snapshots.prune();
  await set(ana, "k0", '"new"');
  const dan = await mateOf(await admitMember(ana.member, "dan"));
  await meet(ana, ben);
  const truth = await ana.snapshots.state(snapshot.id);
  const lies = [truth.with(truth.length - 1, 7), truth.subarray(0, 10), Buffer.concat([truth, truth])];
  const told: number[] = [];
  dan.peers = lies.map((lie, i) => ({ ...ben, give: async () => (told.push(i), lie) }));
  await meet(dan, ana);
  await meet(dan, ben);
  await dan.snapshots.look();
  expect(told).toEqual([0, 1, 2]);
  expect(dan.base.current()).toBeNull();
  expect(dan.warnings).toContainEqual(expect.stringContaining("not the one that was signed"));
  dan.peers = [...dan.peers, ana];
  time.pass(11_000);
  await dan.snapshots.look();
  await dan.facts.settled();
  expect(hashOf(dan)).toBe(hashOf(ana));
});

test("a newcomer takes in no snapshot that only one other person has signed, however much it lacks [one-signature]", async () => {
  const { mates } = await teamOf("mal", "ben");
  const [mal, ben] = mates as [Mate, Mate];
  for (let i = 0; i < 5; i++) await set(mal, `k${i}`, String(i));
  const { snapshot } = await mal.snapshots.make();
  // Mal throws away what only a second signature would let him throw away, and offers his state for it.
  const folded = await foldState(mal.member.replica, [factsView], null, snapshot.at);
  await mal.base.put(snapshot, folded.ok ? folded.state : new Uint8Array());
  await meet(mal, ben);
  const events = await mal.member.replica.store.since(0, 100);
  await mal.member.replica.prune(
    events.filter(({ event }) => event.header.kind === "fact-set").map(({ event }) => event.id),
  );
  const dan = await mateOf(await admitMember(mal.member, "dan"));
  dan.peers = [mal];
  await meet(dan, mal);
  await dan.snapshots.look();
  expect(await dan.member.replica.missingBodies(10)).toHaveLength(5);
  expect(infoOf(dan, snapshot)).toMatchObject({ counts: false, verdict: { state: "waits" } });
  expect(dan.base.current()).toBeNull();
  await ben.snapshots.look();
  await syncAll(mal, ben, dan);
  await dan.snapshots.look();
  await dan.facts.settled();
  expect(dan.base.current()?.snapshot.id).toBe(snapshot.id);
  expect(hashOf(dan)).toBe(hashOf(ben));
});

test("C25: an old replica that comes back brings nothing to life that was deleted and pruned [no-resurrection]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "old");
  const [ana, ben, old] = mates as [Mate, Mate, Mate];
  await set(ana, "gone", '"secret"');
  await syncAll(...mates);
  await set(ana, "gone", null);
  await ana.snapshots.setDormant(personOf(ana, "old"), true);
  await syncAll(ana, ben);
  await ana.snapshots.make();
  await syncAll(ana, ben);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) await mate.snapshots.prune();
  const dan = await mateOf(await admitMember(ana.member, "dan"));
  dan.peers = [ana, ben];
  // Dan hears of the old fact first, with its body, from who never saw that it was deleted.
  await meet(ana, old);
  await meet(dan, old);
  expect(factsOf(old)).toEqual({ gone: ['"secret"'] });
  await syncAll(ana, ben, old, dan);
  time.pass(61_000);
  for (const mate of [dan, old]) await mate.snapshots.look();
  await syncAll(ana, ben, old, dan);
  for (const mate of [ana, ben, dan, old]) expect(factsOf(mate), mate.member.name).toEqual({});
  expect(new Set([ana, ben, dan, old].map(hashOf)).size).toBe(1);
  for (const mate of [ana, ben, dan, old]) {
    mate.member.replica.refold();
    await mate.facts.settled();
    expect(factsOf(mate), mate.member.name).toEqual({});
  }
});

test("one folding a minute for one person's proposals, whatever they are [snapshot-rate]", async () => {
  const { time, mates } = await teamOf("ana", "mal");
  const [ana, mal] = mates as [Mate, Mate];
  await set(mal, "a", "1");
  const { snapshot } = await mal.snapshots.make();
  const lies: Snapshot[] = [];
  for (let i = 0; i < 20; i++) {
    const lie = snapshotOf(mal.member.replica.mesh, { ...snapshot, state: stateHash(new Uint8Array([i])) });
    lies.push(lie);
    await mal.member.replica.append([{ kind: "snapshot-proposed", audience: "mesh", value: proposalValue(lie) }]);
    await meet(mal, ana);
    await ana.snapshots.look();
  }
  expect(ana.warnings).toHaveLength(1);
  expect(ana.snapshots.list().length).toBeLessThanOrEqual(8);
  time.pass(61_000);
  await ana.snapshots.look();
  expect(ana.warnings).toHaveLength(2);
  expect(infoOf(ana, lies.at(-1)!).verdict).toMatchObject({ state: "refused" });
});

/** Counts notes: what is folded twice shows. */
function tallyView() {
  return {
    name: "tally",
    version: 1,
    kinds: new Set(["note"]),
    open() {
      let count = 0;
      return {
        fold: () => void count++,
        rows: () => [Uint8Array.of(count)],
        load: (rows: Iterable<Uint8Array>) => [...rows].forEach((row) => (count += row[0]!)),
        count: () => count,
      };
    },
  };
}

test("C25: an event that the base stands for is not folded again, though its body is here [no-resurrection]", async () => {
  const view = tallyView();
  const member = await foundMesh("ana", testTime());
  const mate = await mateOf(member, [view, factsView]);
  for (let i = 0; i < 5; i++) await member.replica.append([note(`${i}`)]);
  const { snapshot } = await mate.snapshots.make();
  const folded = await foldState(member.replica, [factsView, view], null, snapshot.at);
  await mate.base.put(snapshot, folded.ok ? folded.state : new Uint8Array());
  const tally = await openSnapshotProjection(member.replica, mate.base, view);
  expect(tally.fold().count()).toBe(5);
  await member.replica.append([note("one more")]);
  member.replica.refold();
  await tally.settled();
  expect(tally.fold().count()).toBe(6);
  expect(await bodiesOf(mate, "note")).toEqual({ held: 6, dropped: 0 });
  await tally.close();
});

test("after a device has written twice from before the snapshot, snapshots go on: what others had built on stays [snapshot-fork]", async () => {
  const { time, mates } = await teamOf("ana", "ben", "cem");
  const [ana, ben, cem] = mates as [Mate, Mate, Mate];
  await set(ben, "b", "0");
  await syncAll(...mates);
  const backup = ben.member.disk.crash();
  await set(ben, "b", "1");
  await syncAll(...mates);
  await set(ana, "a", "1");
  await syncAll(...mates);
  const first = (await ana.snapshots.make()).snapshot;
  await syncAll(...mates);
  await lookAll(time, ...mates);
  for (const mate of [ana, cem]) await mate.snapshots.prune();
  await ben.close();

  const restored = await mateOf(await ben.member.reopen(backup));
  restored.peers = [ana, cem];
  await set(restored, "b", '"twice"');
  const team = [ana, restored, cem];
  for (let round = 0; round < 4; round++) {
    await syncAll(...team);
    await set(restored, `r${round}`, "1");
  }
  await syncAll(...team);
  expect(ana.member.replica.forks()).toHaveLength(1);
  await lookAll(time, ...team);
  for (const mate of team) {
    await mate.facts.settled();
    expect(factsOf(mate), mate.member.name).toMatchObject({ a: ["1"], r3: ["1"] });
  }
  expect(new Set(team.map(hashOf)).size).toBe(1);

  time.pass(61_000);
  const { snapshot } = await cem.snapshots.make();
  expect([...snapshot.at].every(([log, { seq }]) => seq >= (first.at.get(log)?.seq ?? -1))).toBe(true);
  await syncAll(...team);
  await lookAll(time, ...team);
  expect(infoOf(ana, snapshot)).toMatchObject({ counts: true, waitingFor: [] });
  expect((await ana.snapshots.prune()).snapshot.id).toBe(snapshot.id);
  const dan = await mateOf(await admitMember(ana.member, "dan"));
  dan.peers = [ana];
  await meet(dan, ana);
  await dan.snapshots.look();
  await dan.facts.settled();
  expect(hashOf(dan)).toBe(hashOf(ana));
  for (const mate of team) {
    mate.member.replica.refold();
    await mate.facts.settled();
    expect(hashOf(mate), mate.member.name).toBe(hashOf(dan));
  }
});

test("a state that is damaged on the disk is fetched again, and nothing of it is taken for deleted [snapshot-lost]", async () => {
  const { time, mates } = await teamOf("ana", "ben");
  const [ana, ben] = mates as [Mate, Mate];
  for (let i = 0; i < 5; i++) await set(ana, `k${i}`, String(i));
  await syncAll(ana, ben);
  await ana.snapshots.make();
  await syncAll(ana, ben);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) await mate.snapshots.prune();
  const hash = hashOf(ben);
  const [part] = await ben.member.replica.store.values("snapshot/part/");
  await ben.close();
  await ben.member.replica.store.append({ values: [{ key: part!.key, value: part!.value.with(9, 255) }] });
  const again = await mateOf(await ben.member.reopen());
  again.peers = [ana];
  expect(factsOf(again)).toEqual({});
  await again.snapshots.look();
  await again.facts.settled();
  expect(again.warnings).toEqual([expect.stringContaining("is damaged: it is fetched again")]);
  expect(hashOf(again)).toBe(hash);
  expect(await again.member.replica.missingBodies(10)).toEqual([]);
});

test("a snapshot that a deeper cut has taken the ground from is shown as refused, and nothing is pruned behind it", async () => {
  const { time, mates } = await teamOf("ana", "ben", "mal");
  const [ana, ben, mal] = mates as [Mate, Mate, Mate];
  await set(mal, "m", "1");
  await syncAll(...mates);
  const { snapshot } = await ana.snapshots.make();
  await syncAll(...mates);
  await lookAll(time, ...mates);
  expect(infoOf(ana, snapshot).verdict).toEqual({ state: "recomputed" });
  const { log } = [...ana.member.replica.vector().values()].find(
    ({ opening }) => opening.device === mal.member.replica.device,
  )!;
  const [first] = await ana.member.replica.store.range(log, 0, 1);
  await ana.member.replica.act(() => ({
    records: [{ type: "remove", person: personOf(ana, "mal"), cuts: [{ log, seq: 0, id: first!.id }] }],
  }));
  await meet(ana, ben);
  for (const mate of [ana, ben]) {
    await mate.snapshots.look();
    expect(infoOf(mate, snapshot).verdict).toMatchObject({
      state: "refused",
      why: expect.stringContaining("removal of mal"),
    });
    await expect(mate.snapshots.prune()).rejects.toThrow(/does not stand/);
  }
});

test("where newcomers read from their own epoch on, nobody makes, gives or prunes behind a snapshot", async () => {
  const mate = await mateOf(await foundMesh("ana", testTime(), "from-epoch"));
  await set(mate, "a", "1");
  const refusal = { code: "DENIED" };
  await expect(mate.snapshots.make()).rejects.toMatchObject(refusal);
  await expect(mate.snapshots.prune()).rejects.toMatchObject(refusal);
  await expect(mate.snapshots.state(idOf(new Uint8Array(32)))).rejects.toMatchObject(refusal);
  expect(await bodiesOf(mate)).toEqual({ held: 1, dropped: 0 });
});

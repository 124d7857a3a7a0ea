/** `/kin/sync/1` between real replicas: equal after every cut, live afterwards, and nothing that a peer sends does harm. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { decode } from "../../protocols/bytes.ts";
import { encodeSyncFrame, parseSyncFrame, type SyncFrame } from "../../protocols/sync.ts";
import { removePerson } from "../../sync/acts.ts";
import { runSync } from "../../sync/session.ts";
import { wirePair } from "../wire-pair.ts";
import {
  admitMember,
  foundMesh,
  memberOf,
  note,
  notesOf,
  startSync,
  stateOf,
  syncOnce,
  testTime,
  until,
  type TestMember,
} from "./mesh.ts";

test("two replicas that wrote apart are equal after one sync", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await ben.replica.append([note("from ben")]);
  await ana.replica.append([note("from ana"), note("again")]);
  await syncOnce(ana, ben);
  expect(stateOf(ana)).toEqual(stateOf(ben));
  expect(await notesOf(ana)).toEqual(["again", "from ana", "from ben"]);
  expect(await notesOf(ben)).toEqual(["again", "from ana", "from ben"]);
});

test("after the first reconcile each side's new events reach the other while the stream is open", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  const syncing = startSync(ana, ben);
  await syncing.caughtUp;
  for (let i = 0; i < 5; i++) {
    await ben.replica.append([note(`ben ${i}`)]);
    await ana.replica.append([note(`ana ${i}`)]);
  }
  await until(async () => (await notesOf(ana)).length === 10 && (await notesOf(ben)).length === 10, "all ten arrived");
  expect(stateOf(ana)).toEqual(stateOf(ben));
  expect(await syncing.stop()).toMatchObject([{ error: null }, { error: null }]);
});

test("a log reaches who never meets its author, and a newcomer reads what was written before (F5, R6)", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  await ben.replica.append([note("before all")]);
  const ana = await admitMember(ben, "ana");
  const li = await admitMember(ben, "li");
  await ana.replica.append([note("by ana")]);
  await syncOnce(ana, ben);
  await syncOnce(ben, li);
  expect(await notesOf(li)).toEqual(["before all", "by ana"]);
  expect(stateOf(li)).toEqual(stateOf(ben));
});

test("roster and revocations go before the runs that wait to be served", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  for (let i = 0; i < 10; i++) await ben.replica.append([note(`${i}`)]);
  const li = await admitMember(ben, "li");
  await removePerson(ben.replica, memberOf(ben, "li").person);
  await li.replica.close();
  const sent: string[] = [];
  const syncing = startSync(ana, ben, {
    tap: (from, frame) => {
      if (from === "right") sent.push((decode(frame) as { t: string }).t);
      return frame;
    },
  });
  await syncing.caughtUp;
  await syncing.stop();
  expect(sent.indexOf("records")).toBeGreaterThan(0);
  expect(sent.indexOf("records")).toBeLessThan(sent.indexOf("run"));
  expect([...ana.replica.membership().removed.values()].map(({ name }) => name)).toEqual(["li"]);
});

/** What a random history is made of. */
type Step =
  | { who: number; what: "write"; count: number }
  | { who: number; what: "sync"; with: number; cutAfter: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ who: fc.nat(2), what: fc.constant("write" as const), count: fc.integer({ min: 1, max: 5 }) }),
  fc.record({
    who: fc.nat(2),
    what: fc.constant("sync" as const),
    with: fc.nat(2),
    cutAfter: fc.integer({ min: 0, max: 12 }),
  }),
);

test("any three replicas become equal, whatever they wrote and wherever their syncs were cut (P3)", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const time = testTime();
      const ben = await foundMesh("ben", time);
      const members = [ben, await admitMember(ben, "ana"), await admitMember(ben, "li")];
      let written = 0;
      for (const one of steps) {
        time.pass(1000);
        const me = members[one.who]!;
        if (one.what === "write")
          await me.replica.append(Array.from({ length: one.count }, () => note(`${me.name} ${written++}`)));
        else if (one.with !== one.who) await cutSync(me, members[one.with]!, one.cutAfter);
      }
      const [a, b, c] = members as [TestMember, TestMember, TestMember];
      await settle(a, b, c);
      expect(stateOf(b)).toEqual(stateOf(a));
      expect(stateOf(c)).toEqual(stateOf(a));
      const notes = await notesOf(a);
      expect(notes).toHaveLength(written);
      expect(await notesOf(b)).toEqual(notes);
      expect(await notesOf(c)).toEqual(notes);
    }),
    { numRuns: 8 },
  );
});

/** Syncs round and round until nobody has anything new to say: keys that are shared on the way need a second round. */
async function settle(...members: TestMember[]): Promise<void> {
  for (let round = 0; round < 4; round++)
    for (const [i, member] of members.entries()) {
      await syncOnce(member, members[(i + 1) % members.length]!);
      for (const { replica } of members) await replica.idle();
    }
}

/** A sync that breaks after some frames in either direction. */
async function cutSync(a: TestMember, b: TestMember, frames: number): Promise<void> {
  let left = frames;
  const syncing = startSync(a, b, {
    tap: (_, frame) => {
      if (left-- === 0) queueMicrotask(() => syncing.pair.cut());
      return frame;
    },
  });
  await Promise.race([syncing.caughtUp, syncing.ends]);
  await syncing.stop();
}

test("a run of 7 MiB travels in parts; bodies that did not fit follow, also after a cut in between (R9)", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  const large = Array.from({ length: 28 }, (_, i) => ({ ...note(""), value: new Uint8Array(250_000).fill(i) }));
  await ben.replica.append(large);
  let runs = 0;
  const syncing = startSync(ana, ben, {
    tap: (_, frame) => {
      const { t } = decode(frame) as { t: string };
      if (t === "run") runs++;
      return t === "bodies" ? null : frame; // lost with the connection
    },
  });
  await syncing.caughtUp;
  syncing.pair.cut();
  await syncing.ends;
  expect(runs).toBeGreaterThan(4);
  expect(stateOf(ana)).toEqual(stateOf(ben));
  expect(await ana.replica.missingBodies(100)).not.toEqual([]);
  const again = await ana.reopen();
  const second = startSync(again, ben);
  await until(async () => (await again.replica.missingBodies(1)).length === 0, "all bodies came");
  await second.stop();
  const values = (await again.replica.events({ limit: 4096, kinds: new Set(["note"]) })).events;
  expect(values.every(({ value }, i) => value instanceof Uint8Array && value[0] === i)).toBe(true);
});

test("what one writes travels live through another to a third, and a removal ends the removed one's session", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  const li = await admitMember(ben, "li");
  const [first, second] = [startSync(ana, ben), startSync(ben, li)];
  await Promise.all([first.caughtUp, second.caughtUp]);
  for (let i = 0; i < 3; i++) await ana.replica.append([note(`ana ${i}`)]);
  await until(async () => (await notesOf(li)).length === 3, "li has all three");
  await removePerson(ben.replica, memberOf(ben, "ana").person);
  const [, bens] = await first.ends;
  expect(bens).toMatchObject({ reason: "refused-by-us", error: { code: "REMOVED" } });
  await until(() => li.replica.membership().removed.size === 1, "li knows of the removal");
  await ben.replica.append([note("after")]);
  await until(async () => (await notesOf(li)).length === 4, "li goes on");
  expect(stateOf(li)).toEqual(stateOf(ben));
  await second.stop();
});

test("[sync-end] who sends a body that is not its event's is told why, keeps what was right, and may begin again", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await ana.replica.append([note("right")]);
  await ana.replica.append([note("wrong on the way")]);
  const entry = [...ana.replica.vector().values()].find(({ opening }) => opening.device === ana.replica.device)!;
  const { run } = (await ana.replica.runFrom(entry.log, 0))!;
  const { left, right } = wirePair();
  const { signal } = new AbortController();
  const ended = runSync(right, ben.replica, { peer: ana.replica.device, time, signal });
  const said: SyncFrame[] = [];
  await left.send(encodeSyncFrame({ type: "vector", full: true, roster: ana.replica.rosterHeads(), logs: [entry] }));
  for await (const bytes of left.frames()) {
    const frame = parseSyncFrame(bytes, ana.replica.mesh);
    said.push(frame);
    if (frame.type === "end") await left.close();
    if (frame.type !== "want" || frame.logs.length === 0) continue;
    const bodiless = run.events.map((event) => ({ ...event, body: null }));
    await left.send(encodeSyncFrame({ type: "run", log: entry.log, from: 0, events: bodiless, head: run.head }));
    const [first, last] = [run.events.at(-2)!, run.events.at(-1)!];
    const bodies = [
      { id: last.id, body: first.body! },
      ...run.events.slice(0, -1).map(({ id, body }) => ({ id, body: body! })),
    ];
    await left.send(encodeSyncFrame({ type: "bodies", bodies }));
    const changed = run.events.map((event) => ({ ...event, body: first.body }));
    await left.send(encodeSyncFrame({ type: "run", log: entry.log, from: 0, events: changed, head: run.head }));
  }
  const error = { code: "BAD_REQUEST", message: expect.stringContaining("does not match its bodyHash") as string };
  expect(said.at(-1)).toMatchObject({ type: "end", error });
  expect(await ended).toMatchObject({ reason: "refused-by-us", error });
  expect(await notesOf(ben), "a wrong body alone is passed over").toEqual(["right", "unreadable"]);
  await syncOnce(ana, ben);
  expect(await notesOf(ben)).toEqual(["right", "wrong on the way"]);
});

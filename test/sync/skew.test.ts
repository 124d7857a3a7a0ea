/** A clock that is far off (R13): who says so, what is not signed with it, and what becomes of what was signed while it was ahead. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { KinError } from "../../protocols/errors.ts";
import type { EventId, PersonId } from "../../protocols/ids.ts";
import { SKEW_LIMIT_MS } from "../../protocols/limits.ts";
import { medianSkew, skewRefusal, type ClockSample } from "../../sync/skew.ts";
import { createPeerClocks } from "../../node/net/peer-clocks.ts";
import type { NetworkEvent } from "../../node/net/network.ts";
import { openProjection } from "../../sync/projection.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import { admitMember, foundMesh, note, notesOf, syncOnce, testTime, type TestMember } from "./mesh.ts";

const HOUR = 3_600_000;
const MINUTE = 60_000;

function samples(...skews: number[]): ClockSample[] {
  return skews.map((skewMs, i) => ({ person: `p${i}` as PersonId, skewMs }));
}

test("R13: no minority of the connected people can make a node say that its clock is off, whatever they tell [skew-liars]", () => {
  const honest = fc.array(fc.integer({ min: -SKEW_LIMIT_MS, max: SKEW_LIMIT_MS }), { minLength: 1, maxLength: 9 });
  const lies = fc.array(fc.integer({ min: -1e15, max: 1e15 }), { maxLength: 9 });
  fc.assert(
    fc.property(honest, lies, fc.integer({ min: 0, max: 40 }), (truths, told, others) => {
      fc.pre(told.length <= truths.length);
      expect(skewRefusal(medianSkew(samples(...truths, ...told), others))).toBeNull();
    }),
    { numRuns: 500 },
  );
  expect(skewRefusal(medianSkew(samples(9 * HOUR), 1))).toBeNull(); // one alone is never believed
  expect(skewRefusal(medianSkew(samples(9 * HOUR, 9 * HOUR), 5))).toBeNull(); // two of five are too few
});

test("R13: a person's devices are one voice, and his best one [skew-liars]", () => {
  const one = "liar" as PersonId;
  const many = Array.from({ length: 12 }, () => ({ person: one, skewMs: 9 * HOUR }));
  expect(medianSkew([...many, ...samples(1, 2)], 3)).toBe(2);
  for (const his of [
    [9 * HOUR, 10],
    [10, 9 * HOUR],
  ])
    expect(medianSkew([...his.map((skewMs) => ({ person: one, skewMs })), ...samples(20)], 2)).toBe(10);
});

test("R13: when most say so, the refusal names by how much and to which side", () => {
  expect(medianSkew(samples(7 * 60_000, 8 * 60_000), 2)).toBe(7 * 60_000);
  const behind = skewRefusal(medianSkew(samples(7 * 60_000, 7 * 60_000, 0), 3));
  expect(behind).toMatchObject({ code: "CLOCK_SKEW", message: expect.stringContaining("7 min behind") as string });
  const ahead = skewRefusal(medianSkew(samples(-3 * 24 * HOUR, -4 * 24 * HOUR, -5 * 24 * HOUR), 9));
  expect(ahead?.message).toContain("4 days ahead");
  expect(skewRefusal(SKEW_LIMIT_MS)).toBeNull();
  expect(skewRefusal(-SKEW_LIMIT_MS - 1)).not.toBeNull();
});

async function refusalOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "done",
    (error: KinError) => error.code,
  );
}

test("R13: with a clock that is far off nothing is signed for the mesh; the here chain goes on, and all does when it is put right [skew-refused]", async () => {
  let told: ClockSample[] = [];
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana", { clocks: () => told });
  await admitMember(ben, "li");
  await syncOnce(ana, ben);
  await ana.replica.append([note("before")]);
  told = samples(HOUR, HOUR);
  expect(await refusalOf(ana.replica.append([note("wrong")]))).toBe("CLOCK_SKEW");
  expect(
    await refusalOf(ana.replica.act(() => ({ records: [{ type: "rename", person: "" as PersonId, name: "x" }] }))),
  ).not.toBe("done");
  expect(await refusalOf(ana.replica.append([{ kind: "audit-started", audience: "here", value: 1 }]))).toBe("done");
  told = samples(0, 0);
  expect(await refusalOf(ana.replica.append([note("right")]))).toBe("done");
  await syncOnce(ana, ben);
  expect(await notesOf(ben)).toEqual(["before", "right"]);
});

test("R13: whose clock was ahead ends that log when it is put right, and says the held entries again with right stamps, once [own-ahead]", async () => {
  const year = 365 * 24 * HOUR;
  let ahead = 10 * year;
  let told: ClockSample[] = [];
  const time = testTime();
  const hers = { ...time, now: () => time.now() + ahead };
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana", { time: hers, clocks: () => told });
  await admitMember(ben, "li");
  const [early] = await ana.replica.append([note("from the future")]);
  await syncOnce(ana, ben);
  expect(await notesOf(ben)).toEqual([]);
  ahead = 0;
  const [unsure] = await ana.replica.append([note("nobody confirms")]); // a clock that jumped back may be the wrong one
  expect(unsure!.log).toBe(early!.log);
  told = samples(0, 3);
  const [next] = await ana.replica.append([note("now")]);
  expect(next!.log).not.toBe(early!.log);
  expect(next!.at).toBeLessThan(time.now() + 1000);
  await ana.replica.idle();
  await syncOnce(ana, ben);
  const all = ["from the future", "nobody confirms", "now"];
  expect(await notesOf(ana)).toEqual(all);
  expect(await notesOf(ben)).toEqual(all);
  time.pass(11 * year); // the old stamps are due: what was said again counts, and only that
  await ben.replica.idle();
  expect(await notesOf(ben)).toEqual(all);
  expect((await ben.replica.event(early!.id))?.standing).toMatchObject({ state: "quarantined" });
});

/** What a view of notes has folded, that begins now. */
async function shownBy({ replica }: TestMember) {
  const { shown } = await viewOf(replica);
  return async () => {
    await replica.idle();
    return shown();
  };
}

async function viewOf(replica: TestMember["replica"]) {
  let folded: Pick<ReadableEvent, "id" | "value">[] = [];
  const view = await openProjection(replica, {
    kinds: new Set(["note"]),
    fold: ({ id, value }) => void folded.push({ id, value }),
    clear: () => void folded.splice(0),
    saved: {
      name: "notes",
      save: () => folded.map(({ id, value }) => ({ id, value: value! })),
      restore: (state) => void (folded = state as unknown as typeof folded),
    },
  });
  return {
    view,
    async shown() {
      await view.settled();
      return folded;
    },
  };
}

test("R13: what counted before the clock was set back is told again when it is due, to a view that began anew meanwhile [held-again]", async () => {
  let ahead = 10 * MINUTE;
  const time = testTime();
  const ben = await foundMesh("ben", { ...time, now: () => time.now() + ahead });
  await ben.replica.append([note("early")]);
  expect(await notesOf(ben)).toEqual(["early"]);
  ahead = 0;
  const shown = await shownBy(ben);
  expect(await shown()).toEqual([]);
  time.pass(6 * MINUTE);
  expect((await shown()).map(({ value }) => value)).toEqual(["early"]);
});

/** Ana's clock was ahead and is right now: what she said, and what said it again under a stamp that does not end it. */
async function saidTwice() {
  const clock = { ahead: 8 * MINUTE };
  const time = testTime();
  let told: ClockSample[] = [];
  const ben = await foundMesh("ben", time.shifted(4.5 * MINUTE));
  const ana = await admitMember(ben, "ana", {
    time: { ...time, now: () => time.now() + clock.ahead },
    clocks: () => told,
  });
  await admitMember(ben, "li");
  const [early] = await ana.replica.append([note("early")]);
  clock.ahead = 0;
  told = samples(0, 3);
  await ben.replica.append([note("ben's")]);
  await syncOnce(ben, ana); // her stamps rise above his, which is ahead of her clock
  const [now] = await ana.replica.append([note("now")]);
  await ana.replica.idle();
  return { clock, time, ben, ana, early: early!, log: now!.log };
}

/** Its first saying has counted, and is ahead of a clock that was set back. */
async function heldOnceMore() {
  const { clock, time, ana, early } = await saidTwice();
  time.pass(4 * MINUTE);
  await ana.replica.idle();
  expect((await ana.replica.event(early.id))?.standing.state).toBe("good");
  clock.ahead = -4 * MINUTE;
  return { time, ana, early };
}

function earlyOf(events: Pick<ReadableEvent, "id" | "value">[]): EventId[] {
  return events.filter(({ value }) => value === "early").map(({ id }) => id);
}

test("R13: what is said again counts while its first saying is held once more, and a view shows one of them at any time", async () => {
  const { time, ana, early } = await heldOnceMore();
  const shown = await shownBy(ana);
  const copy = earlyOf(await shown());
  expect(copy).toHaveLength(1);
  expect(copy).not.toEqual([early.id]);
  time.pass(5 * MINUTE);
  expect(earlyOf(await shown())).toEqual([early.id]);
});

test("R13: what came due while a view was away takes the place of what said it again: the view begins anew [due-away]", async () => {
  const { time, ana, early } = await heldOnceMore();
  const before = await viewOf(ana.replica);
  expect(earlyOf(await before.shown())).not.toEqual([early.id]);
  await before.view.save();
  await before.view.close();
  await ana.replica.close();
  time.pass(5 * MINUTE);
  const again = await ana.reopen();
  expect((await again.replica.event(early.id))?.standing.state).toBe("good");
  const after = await viewOf(again.replica);
  expect(earlyOf(await after.shown())).toEqual([early.id]);
});

test("R2: what says something again is known as such although the marker's body came after it [marker-late]", async () => {
  const { ana, ben, early, log } = await saidTwice();
  const { run } = (await ana.replica.runFrom(log, 0))!;
  const marker = run.events.find(({ header }) => header.kind === "re-issued")!;
  const events = run.events.map((event) => (event === marker ? { ...event, body: null } : event));
  const { opening } = ana.replica.vector().get(log)!;
  await ben.replica.receive({ ...run, events }, opening);
  const copy = events.find(({ header }) => header.seq === marker.header.seq + 1)!;
  expect((await ben.replica.event(copy.id))?.repeats).toBeUndefined();
  expect(await ben.replica.receiveBodies([{ id: marker.id, body: marker.body! }])).toBe(1);
  expect((await ben.replica.event(copy.id))?.repeats).toEqual({ log: early.log, seq: early.seq });
});

test("R13: what a peer's clock shows is counted on with our monotonic clock, so that it stays right when ours is set", () => {
  let [wall, mono] = [1_000_000, 50];
  const listeners: ((event: NetworkEvent) => void)[] = [];
  const network = {
    peers: () => [],
    on: (listener: (event: NetworkEvent) => void) => {
      listeners.push(listener);
      return () => void listeners.splice(0);
    },
  };
  const clocks = createPeerClocks(network, { now: () => wall, monotonic: () => mono });
  const greeting = { skewMs: 2 * HOUR } as never;
  for (const listener of listeners)
    listener({ type: "peer-connected", device: "d" as never, person: "p" as PersonId, greeting });
  expect(clocks.samples()).toEqual([{ person: "p", skewMs: 2 * HOUR }]);
  wall += 2 * HOUR + 10; // our clock is put right, ten milliseconds later
  mono += 10;
  expect(clocks.samples()).toEqual([{ person: "p", skewMs: 0 }]);
  for (const listener of listeners)
    listener({ type: "peer-disconnected", device: "d" as never, person: "p" as PersonId });
  expect(clocks.samples()).toEqual([]);
  clocks.stop();
  expect(listeners).toEqual([]);
});

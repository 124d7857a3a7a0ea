/** How far other devices are, and which events do not count here: what `kin sync status` shows. */
import { expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { removePerson } from "../../sync/acts.ts";
import { openProgress, type Progress } from "../../sync/progress.ts";
import { runSync } from "../../sync/session.ts";
import { createTally } from "../../sync/tally.ts";
import { wirePair } from "../wire-pair.ts";
import { admitMember, foundMesh, memberOf, note, syncOnce, testTime, until, type TestMember } from "./mesh.ts";

async function two() {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await ana.replica.append([note("the first opens her log")]);
  await ana.replica.idle();
  await syncOnce(ana, ben);
  await ben.replica.idle();
  return { time, ben, ana };
}

/** A session of Ana's side that reports to her progress, as a node wires it. */
function session(ana: TestMember, ben: TestMember, progress: Progress) {
  const pair = wirePair();
  const stop = new AbortController();
  const { signal } = stop;
  let over = async (): Promise<void> => {};
  const ends = Promise.all([
    runSync(pair.left, ana.replica, {
      peer: ben.replica.device,
      time: ana.time,
      signal,
      onBegin: (logs) => (over = progress.begin(ben.replica.device, logs)),
      onCaughtUp: () => void progress.caughtUp(ben.replica.device),
    }),
    runSync(pair.right, ben.replica, { peer: ana.replica.device, time: ben.time, signal }),
  ]);
  return {
    async stop() {
      stop.abort();
      await ends;
      await over();
    },
    async cut() {
      pair.cut(new KinError("CLOSED", "cut"));
      await ends;
      await over();
    },
  };
}

const lacks = (progress: Progress, device: DeviceId) => {
  const { weLack, theyLack } = progress.of(device)!;
  return { weLack, theyLack };
};

test("[sync-status] while a session is on it is in step now; after it, what each writes alone is what the other lacks", async () => {
  const { time, ben, ana } = await two();
  const progress = await openProgress(ana.replica, time);
  const { device } = ben.replica;
  expect(progress.of(device)).toBeUndefined();
  expect(progress.hasHeard()).toBe(false);
  const first = session(ana, ben, progress);
  await until(() => progress.of(device)?.inStepAt === time.now(), "they are in step");
  expect(progress.of(device)).toMatchObject({ isOn: true, weLack: 0, theyLack: 0 });
  expect(progress.hasHeard()).toBe(true);
  await first.stop();
  const met = time.now();
  time.pass(60_000);
  await ana.replica.append([note("one"), note("two"), note("three")]);
  expect(progress.of(device)).toMatchObject({ isOn: false, inStepAt: met, weLack: 0, theyLack: 3 });
  await ben.replica.append([note("of ben")]);
  expect(lacks(progress, device)).toEqual({ weLack: 0, theyLack: 3 }); // nobody has told yet
  const second = session(ana, ben, progress);
  await until(() => progress.of(device)?.inStepAt === time.now(), "in step again");
  await second.cut();
});

test("[sync-status] what is known of a device outlives a restart, and ends with its membership", async () => {
  const { time, ben, ana } = await two();
  const progress = await openProgress(ana.replica, time);
  const one = session(ana, ben, progress);
  await until(() => progress.of(ben.replica.device)?.inStepAt === time.now(), "in step");
  await progress.close();
  await one.stop();
  const met = time.now();
  await ana.replica.append([note("alone")]);
  time.pass(1000);
  const again = await openProgress(ana.replica, time);
  expect(again.of(ben.replica.device)).toMatchObject({ isOn: false, inStepAt: met, theyLack: 1 });
  expect(again.hasHeard()).toBe(false);
  const li = await admitMember(ben, "li");
  await syncOnce(li, ben);
  const bens = await openProgress(ben.replica, time);
  const other = session(ben, li, bens);
  await until(() => bens.of(li.replica.device) !== undefined, "li is known");
  await other.stop();
  await removePerson(ben.replica, memberOf(ben, "li").person);
  expect((await openProgress(ben.replica, time)).of(li.replica.device)).toBeUndefined();
});

test("[sync-status] a device has what it wrote itself, whoever has brought it", async () => {
  const { time, ben, ana } = await two();
  const li = await admitMember(ben, "li");
  await syncOnce(li, ben);
  const progress = await openProgress(ana.replica, time);
  await li.replica.append([note("of li")]);
  await syncOnce(li, ben);
  await syncOnce(ben, ana);
  const [log] = [...ana.replica.vector().values()].filter(({ opening }) => opening.device === li.replica.device);
  expect(progress.has(li.replica.device, log!.log)).toBe(log!.seq);
  expect(progress.has(ben.replica.device, log!.log)).toBe(-1);
});

test("[sync-status] what a device has told afresh counts beside what it said when the long session began", async () => {
  const { time, ben, ana } = await two();
  const progress = await openProgress(ana.replica, time);
  const { device } = ben.replica;
  const vector = [...ana.replica.vector().values()];
  const told = (has: (seq: number) => number) =>
    new Map(
      vector.map(({ log, opening, seq, id }) => {
        const claimed = { seq: has(seq), id };
        return [log, { opening, claimed, has: has(seq), told: -1, asked: -1, served: -1 }];
      }),
    );
  const endLong = progress.begin(
    device,
    told(() => 0),
  );
  const before = progress.of(device)!.theyLack;
  expect(before).toBeGreaterThan(0);
  await progress.begin(
    device,
    told((seq) => seq),
  )();
  expect(progress.of(device)).toMatchObject({ isOn: true, theyLack: 0, inStepAt: time.now() });
  await endLong();
  expect(progress.of(device)).toMatchObject({ isOn: false, theyLack: 0 });
});

test("[sync-status] held and quarantined events are counted, each time as they stand now, and a look may end early", async () => {
  const { time, ben, ana } = await two();
  const ahead = await admitMember(ben, "carl", { time: time.shifted(10 * 60_000) });
  await syncOnce(ana, ben);
  await ahead.replica.append([note("from the future"), note("and another")]);
  await syncOnce(ahead, ana);
  const tally = createTally(ana.replica);
  const none = await tally.look(() => false);
  expect(none.isWhole).toBe(false);
  const first = await tally.look(() => true);
  expect(first.isWhole).toBe(true);
  expect(first.flaws.held).toBeGreaterThanOrEqual(2);
  expect(first.flaws.quarantined).toBe(0);
  time.pass(11 * 60_000);
  await until(async () => (await tally.look(() => true)).flaws.held === 0, "they are due");
  // Ben has seen nothing of Carl: his removal cuts all of it.
  await removePerson(ben.replica, memberOf(ben, "carl").person);
  await syncOnce(ben, ana);
  await until(async () => (await tally.look(() => true)).flaws.quarantined >= 2, "they have no effect now");
  tally.stop();
});

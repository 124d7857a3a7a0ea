/** Runs group D: each attack against a real replica; the victim answers as the case says, stays whole and takes the next honest peer. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeSyncFrame, MAX_JUNK, parseSyncFrame, STALL_MS, type SyncFrame } from "../../protocols/sync.ts";
import { createClaims } from "../../sync/claims.ts";
import { runSync } from "../../sync/session.ts";
import {
  admitMember,
  foundMesh,
  note,
  notesOf,
  startSync,
  stateOf,
  syncOnce,
  testTime,
  until,
  type TestMember,
} from "../sync/mesh.ts";
import { wirePair } from "../wire-pair.ts";
import { SYNC_ATTACKS } from "./d.ts";

async function victimAndAttacker() {
  const time = testTime();
  const victim = await foundMesh("victim", time);
  const attacker = await admitMember(victim, "mallory");
  await syncOnce(victim, attacker);
  await victim.replica.append([note("mine")]);
  await attacker.replica.append([note("theirs"), note("more")]);
  return { time, victim, attacker };
}

/** The victim's side of a stream on which the attacker says these frames, then listens. */
async function attacked(victim: TestMember, attacker: TestMember, frames: Uint8Array[]) {
  const { left, right } = wirePair();
  const stopping = new AbortController();
  const peer = attacker.replica.device;
  const ended = runSync(left, victim.replica, { peer, time: victim.time, signal: stopping.signal });
  const said: string[] = [];
  const listening = (async () => {
    for await (const frame of right.frames()) said.push(parseSyncFrame(frame, victim.replica.mesh).type);
  })().catch(() => undefined);
  try {
    for (const frame of frames) await right.send(frame);
  } catch {
    // the victim has closed
  }
  return {
    ended,
    said,
    send: (frame: Uint8Array) => right.send(frame),
    async stop() {
      stopping.abort();
      await right.close().catch(() => undefined);
      await listening;
      return ended;
    },
  };
}

function vectorOf({ replica }: TestMember): SyncFrame & { type: "vector" } {
  return { type: "vector", full: true, roster: replica.rosterHeads(), logs: [...replica.vector().values()] };
}

describe("group D: sync", () => {
  for (const { id, says, frames, refusal } of SYNC_ATTACKS)
    test(`${id}: ${says} → ${refusal ?? "goes on"}`, async () => {
      const { victim, attacker } = await victimAndAttacker();
      const session = await attacked(victim, attacker, await frames(attacker, vectorOf(attacker)));
      if (refusal === null) await new Promise((resolve) => setTimeout(resolve, 5));
      else await until(() => session.said.includes("end"), "the victim says why it ends");
      const end = await session.stop();
      expect(end.error?.code ?? null).toBe(refusal);
      await syncOnce(attacker, victim);
      expect(stateOf(victim)).toEqual(stateOf(attacker));
      expect(await notesOf(victim)).toEqual(["mine", "more", "theirs"]);
    });
});

test("D9: a peer that stops reading is dropped, and costs one frame of memory meanwhile", async () => {
  const { victim, attacker, time } = await victimAndAttacker();
  const { left, right } = wirePair({ capacity: 1 });
  const peer = attacker.replica.device;
  const ended = runSync(left, victim.replica, { peer, time, signal: new AbortController().signal });
  await right.send(encodeSyncFrame({ ...vectorOf(attacker), logs: [] }));
  const all = [...victim.replica.vector().values()].map(({ log, seq }) => ({ log, from: 0, to: seq }));
  await right.send(encodeSyncFrame({ type: "want", logs: all, bodies: [] }));
  await new Promise((resolve) => setTimeout(resolve, 20));
  time.pass(STALL_MS + 1);
  expect(await ended).toMatchObject({ reason: "stalled" });
});

test("D7: a log that one peer withholds is fetched from the next when its claim has run out", async () => {
  const { victim, attacker, time } = await victimAndAttacker();
  const li = await admitMember(victim, "li");
  await li.replica.append([note("by li")]);
  const { replica } = attacker;
  await replica.learn(victim.replica.records());
  await syncOnce(attacker, li);
  const session = await attacked(victim, attacker, [encodeSyncFrame(vectorOf(attacker))]);
  await until(() => session.said.includes("want"), "the victim asked");
  const honest = startSync(victim, li);
  await until(() => honest.pair.sent.left > 0 && honest.pair.sent.right > 0, "the honest peer is there");
  expect(await notesOf(victim)).not.toContain("by li");
  time.pass(10_001);
  await until(async () => (await notesOf(victim)).includes("by li"), "the honest peer delivered it");
  await honest.stop();
  await session.stop();
});

test("D8: a log that one peer dribbles, an event now and then, is fetched from the next", async () => {
  const { victim, attacker, time } = await victimAndAttacker();
  const li = await admitMember(victim, "li");
  for (let i = 0; i < 30; i++) await li.replica.append([note(`by li ${i}`)]);
  await attacker.replica.learn(victim.replica.records());
  await syncOnce(attacker, li);
  const { log } = [...li.replica.vector().values()].find(({ opening }) => opening.device === li.replica.device)!;
  const wanted = vectorOf(attacker);
  const session = await attacked(victim, attacker, [encodeSyncFrame(wanted)]);
  await until(() => session.said.includes("want"), "the victim asked");
  const honest = startSync(victim, li);
  await until(() => honest.pair.sent.left > 0 && honest.pair.sent.right > 0, "the honest peer is there");
  const isThere = async (): Promise<boolean> => (await notesOf(victim)).includes("by li 29");
  // The others look every 10 s whether the minute is over.
  for (let seq = 0; seq < 10 && !(await isThere()); seq++) {
    const { run } = (await li.replica.runFrom(log, seq))!;
    const head = (await li.replica.store.headFrom(log, seq))!;
    const events = run.events.slice(0, head.head.seq - seq + 1);
    seq = head.head.seq;
    await session.send(encodeSyncFrame({ type: "run", log, from: events[0]!.header.seq, events, head }));
    await until(() => (victim.replica.vector().get(log)?.seq ?? -1) >= seq, "one more came");
    time.pass(9_000); // in time each time
  }
  await until(isThere, "the honest peer delivered the rest");
  await honest.stop();
  await session.stop();
});

test("D11: a stream cut at any frame leaves both sides whole, and the next one makes them equal", async () => {
  for (let cutAt = 0; cutAt < 8; cutAt++) {
    const { victim, attacker } = await victimAndAttacker();
    let frame = 0;
    const syncing = startSync(victim, attacker, {
      tap: (_, bytes) => {
        if (frame++ !== cutAt) return bytes;
        syncing.pair.cut();
        return bytes.subarray(0, bytes.length >> 1);
      },
    });
    await Promise.race([syncing.caughtUp, syncing.ends]);
    await syncing.stop();
    await syncOnce(victim, attacker);
    expect(stateOf(victim)).toEqual(stateOf(attacker));
  }
});

test("D14: two syncs at once with the same peer end equal, with nothing fetched twice but what raced", async () => {
  const { victim, attacker } = await victimAndAttacker();
  const both = [startSync(victim, attacker), startSync(attacker, victim)];
  await Promise.all(both.map(({ caughtUp }) => caughtUp));
  for (const { stop } of both) expect(await stop()).toMatchObject([{ error: null }, { error: null }]);
  expect(stateOf(victim)).toEqual(stateOf(attacker));
});

test("R2: who hears in a sync that a peer has more of his log than he has writes nothing into it before that came", async () => {
  const { victim, attacker } = await victimAndAttacker();
  const backup = victim.disk.crash();
  const [lost] = await victim.replica.append([note("after the backup")]);
  await syncOnce(victim, attacker);
  const restored = await victim.reopen(backup);
  const session = await attacked(restored, attacker, [encodeSyncFrame(vectorOf(attacker))]);
  await until(() => session.said.includes("want"), "it asks for what it lacks");
  let written = false;
  const writing = restored.replica.append([note("hasty")]).finally(() => (written = true));
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(written).toBe(false);
  await session.stop();
  await syncOnce(restored, attacker);
  expect((await writing)[0]!.log).not.toBe(lost!.log);
  await syncOnce(restored, attacker);
  expect(attacker.replica.forks()).toEqual([]);
});

test("who is no member gets nothing but the reason", async () => {
  const { victim, time } = await victimAndAttacker();
  const stranger = await foundMesh("stranger", testTime());
  const session = await attacked(victim, stranger, []);
  await until(() => session.said.includes("end"), "it was told");
  time.pass(2_001); // it does not close its side: the victim does not wait for ever
  expect(await session.ended).toMatchObject({ reason: "refused-by-us", error: { code: "NOT_A_MEMBER" } });
  await session.stop();
  expect(session.said).toEqual(["end"]);
});

test("P6: real frames with flipped, cut and repeated bytes end a session or change nothing; never a crash", async () => {
  const { victim, attacker } = await victimAndAttacker();
  const real: Uint8Array[] = [];
  const copy = await admitMember(victim, "tap");
  await copy.replica.append([note("tapped")]);
  const tapped = startSync(copy, victim, {
    tap: (from, frame) => {
      if (from === "left") real.push(frame);
      return frame;
    },
  });
  await tapped.caughtUp;
  await tapped.stop();
  real.push(encodeSyncFrame(vectorOf(attacker)));
  const before = stateOf(victim);
  const mutation = fc.record({ frame: fc.nat(real.length - 1), at: fc.nat(), to: fc.nat(255), cut: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 6 }), async (mutations) => {
      const frames = mutations.map(({ frame, at, to, cut }) => {
        const bytes = Uint8Array.from(real[frame]!);
        bytes[at % bytes.length] = to;
        return cut ? bytes.subarray(0, at % bytes.length) : bytes;
      });
      const session = await attacked(victim, attacker, frames);
      const end = await session.stop();
      expect(["closed", "stopped", "refused-by-us", "refused-by-peer", "broken"]).toContain(end.reason);
      expect(end.error?.code).not.toBe("INTERNAL");
      expect(stateOf(victim)).toEqual(before);
    }),
    { numRuns: 300 },
  );
});

test("claims: one holder a log, given back at the end or when nothing comes", () => {
  const time = testTime();
  const claims = createClaims(time);
  const [a, b] = [{}, {}];
  const log = "l" as never;
  let freed = 0;
  claims.onFree(() => freed++);
  expect([claims.take(log, a), claims.take(log, a), claims.take(log, b)]).toEqual([true, true, false]);
  claims.done(log, b);
  expect(freed).toBe(0);
  time.pass(10_000);
  expect(claims.take(log, b)).toBe(true);
  claims.release(a);
  expect(claims.take(log, a)).toBe(false);
  claims.release(b);
  expect(claims.take(log, a)).toBe(true);
  expect(MAX_JUNK).toBe(10_000);
});

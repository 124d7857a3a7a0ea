/** Vectors, and the frames that carry them: what is said is what is read, and every decision is exact. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import {
  encodeSyncFrame,
  parseSyncFrame,
  partOf,
  partsBySize,
  PART_BYTES,
  type SyncFrame,
} from "../../protocols/sync.ts";
import type { DeviceId, EventId, LogId } from "../../protocols/ids.ts";
import { logIdOf } from "../../protocols/events.ts";
import { compareLog, forksOf, isCaughtUp, newsFor, takeClaim, wantsOf, type PeerLogs } from "../../sync/reconcile.ts";
import { bytesOf, makeChain, mesh } from "./chains.ts";

const ids = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes));
const seqs = fc.oneof(fc.nat(20), fc.constant(Number.MAX_SAFE_INTEGER));
const openings = fc.record({
  device: ids.map((id) => id as DeviceId),
  incarnation: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  chain: fc.constant("mesh" as const),
});
const entries = fc
  .record({ opening: openings, seq: seqs, id: ids.map((id) => id as EventId) })
  .map((entry) => ({ ...entry, log: logIdOf(mesh, entry.opening) }));

const chain = makeChain("ben", 6);
const frames: fc.Arbitrary<SyncFrame> = fc.oneof(
  fc.record({
    type: fc.constant("vector" as const),
    full: fc.boolean(),
    roster: fc.array(ids as fc.Arbitrary<never>, { maxLength: 4 }),
    logs: fc.uniqueArray(entries, { maxLength: 8, selector: ({ log }) => log }),
  }),
  fc.record({
    type: fc.constant("want" as const),
    logs: fc.array(
      fc
        .record({ log: ids as fc.Arbitrary<LogId>, from: fc.nat(9), more: fc.nat(9) })
        .map(({ log, from, more }) => ({ log, from, to: from + more })),
      { maxLength: 5 },
    ),
    bodies: fc.array(ids as fc.Arbitrary<EventId>, { maxLength: 5 }),
  }),
  fc.record({ from: fc.nat(5), bare: fc.boolean(), last: fc.boolean() }).map(({ from, bare, last }): SyncFrame => {
    const events = chain.events.slice(from).map((event) => (bare ? { ...event, body: null } : event));
    return { type: "run", log: chain.log, from, events, head: last ? chain.headAt(5) : null };
  }),
  fc.constant<SyncFrame>({ type: "bodies", bodies: chain.events.map(({ id, body }) => ({ id, body: body! })) }),
  fc.constant<SyncFrame>({ type: "end", error: { code: "OVERLOADED", message: "enough" } }),
  fc.constant<SyncFrame>({
    type: "fork",
    proof: { log: chain.log, opening: chain.opening, a: chain.headAt(2), b: chain.headAt(2), headers: [] },
  }),
);

test("each frame is read as it was said", () => {
  fc.assert(
    fc.property(frames, (frame) => {
      expect(parseSyncFrame(encodeSyncFrame(frame), mesh)).toEqual(frame);
    }),
  );
});

test("whatever bytes come, reading gives a frame or a KinError", () => {
  fc.assert(
    fc.property(frames, fc.nat(), fc.nat(255), (frame, at, byte) => {
      const bytes = Uint8Array.from(encodeSyncFrame(frame));
      bytes[at % bytes.length] = byte;
      try {
        parseSyncFrame(bytes, mesh);
      } catch (error) {
        expect(error).toMatchObject({ name: "KinError" });
      }
    }),
    { numRuns: 500 },
  );
});

/** A log as far as one side has it: one chain of ids, or another branch from `forkAt` on. */
function at(log: number, seq: number, branch = "") {
  const opening = {
    device: toHex(bytesOf(`d${log}`)) as DeviceId,
    incarnation: new Uint8Array(16),
    chain: "mesh" as const,
  };
  return { log: `log${log}` as LogId, opening, seq, id: `${log} ${seq}${branch}` as EventId };
}

function vectorOf(seqsOf: number[]) {
  return new Map(seqsOf.flatMap((seq, log) => (seq < 0 ? [] : [[at(log, seq).log, at(log, seq)]])));
}

const positions = fc.array(fc.integer({ min: -1, max: 9 }), { minLength: 4, maxLength: 4 });
const all = () => true;

test("what two sides want of each other is exactly what makes them equal, in one round [reconcile-exact]", () => {
  fc.assert(
    fc.property(positions, positions, (mine, theirs) => {
      const logs: PeerLogs = new Map();
      for (const entry of vectorOf(theirs).values()) takeClaim(logs, entry);
      const wants = wantsOf(vectorOf(mine), logs, all);
      const after = [...mine];
      for (const { log, from, to } of wants) {
        const i = Number(log.slice(3));
        expect(from).toBe(mine[i]! + 1);
        after[i] = to;
      }
      expect(after).toEqual(mine.map((seq, i) => Math.max(seq, theirs[i]!)));
      expect(isCaughtUp(vectorOf(after), logs, all)).toBe(true);
      expect(isCaughtUp(vectorOf(mine), logs, all)).toBe(wants.length === 0);
      expect(forksOf(vectorOf(mine), logs)).toEqual([]);
    }),
  );
});

test("what was asked is not asked again, and what is withheld by `may` is not asked at all", () => {
  const logs: PeerLogs = new Map();
  takeClaim(logs, at(0, 5));
  takeClaim(logs, at(1, 5));
  logs.get(at(0, 5).log)!.asked = 5;
  expect(wantsOf(new Map(), logs, (log) => log !== at(1, 5).log)).toEqual([]);
  takeClaim(logs, at(0, 8));
  expect(wantsOf(new Map(), logs, (log) => log === at(0, 5).log)).toMatchObject([{ to: 8 }]);
});

test("a claim that says nothing new is not news, a lower one neither", () => {
  const logs: PeerLogs = new Map();
  expect([takeClaim(logs, at(0, 5)), takeClaim(logs, at(0, 5)), takeClaim(logs, at(0, 3))]).toEqual([
    true,
    false,
    false,
  ]);
});

test("an equal seq with another id is a fork, and nothing else is", () => {
  expect(compareLog(at(0, 3), at(0, 3))).toBe("equal");
  expect(compareLog(at(0, 3), at(0, 3, "'"))).toBe("fork");
  expect(compareLog(at(0, 3), at(0, 4, "'"))).toBe("behind");
  expect(compareLog(at(0, 3), undefined)).toBe("ahead");
  expect(compareLog(undefined, undefined)).toBe("equal");
});

test("the live tail: own logs are pushed to who has followed them, others are told, and nothing twice", () => {
  const logs: PeerLogs = new Map();
  takeClaim(logs, at(0, 5));
  takeClaim(logs, at(1, 5));
  for (const known of logs.values()) known.told = 5;
  const isOurs = ({ log }: { log: LogId }) => log === at(0, 0).log || log === at(2, 0).log;
  const mine = vectorOf([7, 6, 2, -1]);
  const { push, tell } = newsFor(mine, logs, isOurs);
  expect(push).toEqual([{ log: at(0, 7).log, from: 6, to: 7 }]);
  expect(tell.map(({ log }) => log)).toEqual([at(1, 6).log, at(2, 2).log]);
  for (const known of logs.values()) known.told = 9;
  expect(newsFor(vectorOf([7, 6, -1, -1]), logs, isOurs)).toEqual({ push: [], tell: [] });
});

test("parts fit a frame, whatever the sizes, and leave nothing out", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(262_144), { maxLength: 60 }), fc.integer({ min: 1, max: 40 }), (sizes, most) => {
      const parts = partsBySize(sizes, (size) => size, most);
      expect(parts.flat()).toEqual(sizes);
      for (const part of parts) {
        expect(part.length).toBeLessThanOrEqual(most);
        expect(part.length === 1 || part.reduce((sum, size) => sum + size, 0) <= PART_BYTES).toBe(true);
      }
    }),
  );
  const big = { ...chain.events[1]!, body: new Uint8Array(200_000) };
  expect(partOf([big, big, big, big, big])).toBe(3);
  expect(partOf([])).toBe(0);
});

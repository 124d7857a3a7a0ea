import * as fc from "fast-check";
import { expect, test } from "vitest";
import { SKEW_LIMIT_MS } from "../../protocols/limits.ts";
import {
  BOUND_RESERVE_MS,
  compareStamps,
  createClock,
  decodeStamp,
  encodeStamp,
  MAX_STAMP_MS,
  type Clock,
  type Stamp,
} from "../../sync/clock.ts";

const NOW = 1_700_000_000_000;
const ms = fc.integer({ min: 0, max: MAX_STAMP_MS });
const stamp = fc.record({ ms, counter: fc.integer({ min: 0, max: 65_535 }) });

function wall(now: number) {
  const time = { now: () => time.at, at: now };
  return time;
}

function order(a: Stamp, b: Stamp): number {
  return Math.sign(a.ms - b.ms || a.counter - b.counter);
}

test("a stamp is 8 bytes and byte order is time order", () => {
  fc.assert(
    fc.property(stamp, stamp, (a, b) => {
      expect(encodeStamp(a)).toHaveLength(8);
      expect(decodeStamp(encodeStamp(a))).toEqual(a);
      expect(Math.sign(compareStamps(encodeStamp(a), encodeStamp(b)))).toBe(order(a, b));
    }),
  );
  expect(encodeStamp({ ms: 0x0123456789ab, counter: 0xcdef })).toEqual(
    Uint8Array.of(0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef),
  );
  expect(() => decodeStamp(new Uint8Array(7))).toThrow(/8 bytes, not 7/);
});

/** Steps of a clock's life: the wall jumps anywhere, stamps are drawn, foreign stamps come in, the process restarts. */
const step = fc.oneof(
  fc.record({ do: fc.constant("jump" as const), by: fc.integer({ min: -2 * 3_600_000, max: 2 * 3_600_000 }) }),
  fc.record({ do: fc.constant("tick" as const), by: fc.integer({ min: 0, max: 50 }) }),
  fc.record({ do: fc.constant("stamp" as const) }),
  fc.record({ do: fc.constant("observe" as const), ahead: fc.integer({ min: -600_000, max: 600_000 }) }),
  fc.record({ do: fc.constant("store" as const) }),
  fc.record({ do: fc.constant("restart" as const) }),
);

test("C14 C15: stamps rise strictly under jumps of the wall clock, foreign stamps and restarts", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const time = wall(NOW);
      let clock = createClock({ time });
      let stored = clock.bound();
      let last: Uint8Array | null = null;
      const drawn = (next: Uint8Array) => {
        if (last !== null) expect(compareStamps(next, last)).toBeGreaterThan(0);
        last = next;
      };
      for (const what of steps)
        switch (what.do) {
          case "jump":
          case "tick":
            time.at = Math.max(0, time.at + what.by);
            break;
          case "stamp":
            drawn(clock.stamp());
            stored = clock.bound(); // as the batch that carries the event stores it
            break;
          case "observe": {
            const foreign = encodeStamp({ ms: Math.max(0, time.at + what.ahead), counter: 7 });
            if (clock.observe(foreign) === "seen") {
              const next = clock.stamp();
              expect(compareStamps(next, foreign)).toBeGreaterThan(0);
              drawn(next);
              stored = clock.bound();
            }
            break;
          }
          case "store":
            stored = clock.bound();
            break;
          case "restart":
            clock = createClock({ time, bound: stored });
            break;
        }
    }),
  );
});

test("after a restart no stamp is below one that was given out within the reserve after the last batch", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 20 }),
      fc.integer({ min: -1e9, max: 1e9 }),
      (waits, jump) => {
        const time = wall(NOW);
        const before = createClock({ time });
        const bound = before.bound();
        let last = before.stamp();
        for (const wait of waits) {
          time.at += wait;
          last = before.stamp();
        }
        expect(time.at - NOW).toBeLessThan(BOUND_RESERVE_MS);
        time.at += jump;
        expect(compareStamps(createClock({ time, bound }).stamp(), last)).toBeGreaterThan(0);
      },
    ),
  );
});

test("restarting again and again does not carry the clock away from the wall", () => {
  const time = wall(NOW);
  let clock = createClock({ time });
  for (let i = 0; i < 100; i++) {
    clock.stamp();
    clock = createClock({ time, bound: clock.bound() });
  }
  expect(decodeStamp(clock.stamp()).ms - NOW).toBeLessThanOrEqual(BOUND_RESERVE_MS);
});

test("R13 C11: a stamp more than 5 min ahead is held and moves nothing; C12: one of 1970 does neither", () => {
  const time = wall(NOW);
  const clock = createClock({ time });
  const at = (aheadMs: number) => encodeStamp({ ms: NOW + aheadMs, counter: 0 });
  expect(clock.observe(at(SKEW_LIMIT_MS + 1))).toBe("held");
  expect(clock.observe(encodeStamp({ ms: 253_402_300_799_999, counter: 65_535 }))).toBe("held");
  expect(clock.observe(encodeStamp({ ms: MAX_STAMP_MS, counter: 65_535 }))).toBe("held");
  expect(clock.observe(encodeStamp({ ms: 0, counter: 0 }))).toBe("seen");
  expect(decodeStamp(clock.stamp())).toEqual({ ms: NOW, counter: 0 });
  expect(clock.observe(at(SKEW_LIMIT_MS))).toBe("seen");
  expect(decodeStamp(clock.stamp())).toEqual({ ms: NOW + SKEW_LIMIT_MS, counter: 1 });
});

test("a held stamp is due when the wall has come within 5 min of it", () => {
  const time = wall(NOW);
  const clock = createClock({ time });
  const held = encodeStamp({ ms: NOW + 3_600_000, counter: 3 });
  expect(clock.isHeld(held)).toBe(true);
  time.at = clock.dueAt(held) - 1;
  expect(clock.isHeld(held)).toBe(true);
  time.at = clock.dueAt(held);
  expect(clock.observe(held)).toBe("seen");
});

test("P9: whatever a peer stamps, our clock moves by 5 min at most", () => {
  fc.assert(
    fc.property(fc.array(stamp), (foreign) => {
      const clock: Clock = createClock({ time: wall(NOW) });
      for (const one of foreign) clock.observe(encodeStamp(one));
      expect(decodeStamp(clock.stamp()).ms).toBeLessThanOrEqual(NOW + SKEW_LIMIT_MS + 1);
    }),
  );
});

test("R13 C13: a full counter gives the next ms and 0, and never waits", () => {
  const clock = createClock({ time: wall(NOW) });
  expect(clock.observe(encodeStamp({ ms: NOW, counter: 65_534 }))).toBe("seen");
  expect(decodeStamp(clock.stamp())).toEqual({ ms: NOW, counter: 65_535 });
  expect(decodeStamp(clock.stamp())).toEqual({ ms: NOW + 1, counter: 0 });
  expect(decodeStamp(clock.stamp())).toEqual({ ms: NOW + 1, counter: 1 });
});

test("R13: a stamp is above those of prev and deps, also where they lie ahead", () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ ms: fc.integer({ min: 0, max: MAX_STAMP_MS - 1 }), counter: fc.nat(65_535) })),
      (after) => {
        const bytes = after.map(encodeStamp);
        const next = createClock({ time: wall(NOW) }).stamp(bytes);
        for (const one of bytes) expect(compareStamps(next, one)).toBeGreaterThan(0);
      },
    ),
  );
});

test("K13: a wall clock that shows nonsense gives stamps, and the end of time is an error", () => {
  for (const now of [-5, Number.NaN, 1.5, 0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const clock = createClock({ time: wall(now) });
    expect(compareStamps(clock.stamp(), clock.stamp())).toBeLessThan(0);
    expect(clock.bound()).toHaveLength(8);
  }
  const last = encodeStamp({ ms: MAX_STAMP_MS, counter: 65_535 });
  expect(() => createClock({ time: wall(NOW) }).stamp([last])).toThrow(/no stamp is left/);
});

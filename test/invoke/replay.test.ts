import * as fc from "fast-check";
import { expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import type { Time } from "../../protocols/effects.ts";
import { idOf } from "../../protocols/ids.ts";
import { REPLAY_GRACE_MS } from "../../protocols/limits.ts";
import { createReplayTable } from "../../protocols/replay.ts";
import { random } from "./world.ts";

const person = (fill: number) => idOf<"person">(new Uint8Array(32).fill(fill));

function clock(): Time & { at: number } {
  return {
    at: 1_000_000,
    now() {
      return this.at;
    },
    monotonic() {
      return this.at;
    },
    after: () => () => {},
  };
}

test("A18: an id is known until its expiry + 5 min, and the table is a set for any sequence of ids and times", () => {
  const step = fc.record({
    // Few of them, so that they come again. Of eight zeros, which no dice throw, the table makes another id.
    id: fc
      .uint8Array({ minLength: 16, maxLength: 16 })
      .map((bytes) => bytes.map((byte, i) => (byte % 2) + Number(i === 0))),
    wait: fc.nat({ max: 100_000 }),
    life: fc.integer({ min: 1, max: 600_000 }),
    who: fc.nat({ max: 2 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const time = clock();
      const table = createReplayTable({ time, random });
      const model = new Map<string, number>();
      for (const { id, wait, life, who } of steps) {
        time.at += wait;
        const key = `${who}/${toHex(id.subarray(0, 8))}`;
        const until = model.get(key);
        const said = table.add(person(who), id, time.at + life);
        if (until !== undefined && until >= time.at) expect(said).toBe("replayed");
        if (until === undefined || until + 120_000 < time.at) expect(said).toBe("fresh");
        if (said === "fresh") model.set(key, time.at + life + REPLAY_GRACE_MS);
        expect(table.has(person(who), id)).toBe(true);
      }
    }),
  );
});

test("A18: a full table refuses new work of that person and forgets nothing; others go on", () => {
  const time = clock();
  const table = createReplayTable({ time, random }, { perPerson: 100, total: 150 });
  const ids = Array.from({ length: 100 }, () => random.bytes(16));
  for (const id of ids) expect(table.add(person(1), id, time.at + 1000)).toBe("fresh");
  expect(table.add(person(1), random.bytes(16), time.at + 1000)).toBe("full");
  for (const id of ids) expect(table.add(person(1), id, time.at + 1000)).toBe("replayed");
  for (let i = 0; i < 50; i++) expect(table.add(person(2), random.bytes(16), time.at + 1000)).toBe("fresh");
  expect(table.add(person(2), random.bytes(16), time.at + 1000)).toBe("full"); // everybody's bound
  time.at += REPLAY_GRACE_MS + 121_000;
  expect(table.add(person(1), random.bytes(16), time.at + 1000)).toBe("fresh");
  expect(table.size).toBe(1);
});

test("100,000 ids of which many lie side by side are all remembered", () => {
  const time = clock();
  const table = createReplayTable({ time, random });
  const id = (i: number): Uint8Array => {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setUint32(4, i);
    return bytes;
  };
  for (let i = 0; i < 100_000; i++) if (i !== 1) expect(table.add(person(1), id(i), time.at + 1000)).toBe("fresh");
  for (let i = 0; i < 100_000; i += 97) if (i !== 1) expect(table.has(person(1), id(i))).toBe(true);
  expect(table.has(person(1), id(100_001))).toBe(false);
  expect(table.size).toBe(99_999);
});

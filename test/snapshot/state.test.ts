import fc from "fast-check";
import { expect, test } from "vitest";
import { compareBytes, toHex, utf8Bytes } from "../../protocols/bytes.ts";
import { factsView } from "../../sync/documents/facts.ts";
import { encodeState, foldState, furthestVector, parseState, reaches } from "../../sync/snapshot-state.ts";
import { MAX_ROW_BYTES } from "../../sync/snapshot-view.ts";
import { admitMember, foundMesh, testTime } from "../sync/mesh.ts";
import { hashOf, mateOf, meet, set, syncAll, type Mate } from "./team.ts";

const row = fc.uint8Array({ maxLength: 40 });
const sections = fc.uniqueArray(fc.constantFrom("cards", "facts", "notes", "plans"), { maxLength: 4 }).chain((names) =>
  fc.tuple(
    ...names.map((name) =>
      fc.record({
        name: fc.constant(name),
        version: fc.integer({ min: 1, max: 9 }),
        rows: fc.uniqueArray(row, { maxLength: 20, comparator: (a, b) => compareBytes(a, b) === 0 }),
      }),
    ),
  ),
);

test("a state has one form, whatever the order of views and rows, and reads back [snapshot-canonical]", () => {
  fc.assert(
    fc.property(sections, fc.infiniteStream(fc.nat()), (some, noise) => {
      const shuffled = some
        .map((section) => ({ ...section, rows: shuffle(section.rows, noise) }))
        .toSorted(() => (noise.next().value! % 2 === 0 ? 1 : -1));
      const state = encodeState(some);
      expect(toHex(encodeState(shuffled))).toBe(toHex(state));
      const back = parseState(state);
      expect(back).toEqual(
        some
          .map((section) => ({ ...section, rows: section.rows.toSorted(compareBytes) }))
          .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
      );
      expect(toHex(encodeState(back))).toBe(toHex(state));
    }),
  );
});

test("a state that is cut, has a row twice or out of order, or names its views out of order is refused", () => {
  const good = encodeState([
    { name: "facts", version: 1, rows: [utf8Bytes("x"), utf8Bytes("y")] },
    { name: "notes", version: 1, rows: [] },
  ]);
  for (let length = 1; length < good.length; length++) {
    const cut = good.subarray(0, length);
    // Cut between two sections it is a state too: of fewer views.
    if (parsesTo(cut) !== null) expect(parsesTo(cut)).toBe(1);
  }
  const x = good.indexOf(0x78);
  expect(() => parseState(good.with(x, 0x79))).toThrow(/not after/);
  expect(() => parseState(good.with(good.indexOf(0x66), 0x7a))).toThrow(/ascending by name/);
  const rows = [utf8Bytes("a"), utf8Bytes("a")];
  expect(() => encodeState([{ name: "facts", version: 1, rows }])).toThrow(/twice/);
  expect(() => encodeState([{ name: "facts", version: 1, rows: [new Uint8Array(MAX_ROW_BYTES + 1)] }])).toThrow(
    /too long/,
  );
});

function parsesTo(state: Uint8Array): number | null {
  try {
    return parseState(state).length;
  } catch {
    return null;
  }
}

function shuffle<T>(items: readonly T[], noise: Iterator<number>): T[] {
  return items
    .map((item) => ({ item, at: Number(noise.next().value) }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}

type Step = { who: number; do: "set" | "unset" | "meet"; key: number; with: number };
const steps = fc.array(
  fc.record({
    who: fc.integer({ min: 0, max: 2 }),
    do: fc.constantFrom<Step["do"]>("set", "set", "unset", "meet"),
    key: fc.integer({ min: 0, max: 3 }),
    with: fc.integer({ min: 0, max: 2 }),
  }),
  { minLength: 4, maxLength: 24 },
);

async function play(mates: Mate[], some: readonly Step[]): Promise<void> {
  for (const [i, step] of some.entries()) {
    const mate = mates[step.who]!;
    const other = mates[step.with]!;
    if (step.do === "meet" && mate !== other) await meet(mate, other);
    if (step.do === "set") await set(mate, `k${step.key}`, String(i));
    if (step.do === "unset") await set(mate, `k${step.key}`, null);
  }
}

test("whoever folds the same vector gets the same state, and a base with the rest is the whole [snapshot-pure]", async () => {
  await fc.assert(
    fc.asyncProperty(steps, steps, async (before, after) => {
      const ana = await foundMesh("ana", testTime());
      const mates = [await mateOf(ana)];
      for (const name of ["ben", "cem"]) mates.push(await mateOf(await admitMember(ana, name)));
      await syncAll(...mates);
      await play(mates, before);
      // The vector of one who has not seen everything: what the others have beyond it is not in the state.
      const { replica } = mates[before.length % 3]!.member;
      const at = await furthestVector(replica, [factsView], null);
      await play(mates, after);
      await syncAll(...mates);
      const states = await Promise.all(mates.map(({ member }) => foldState(member.replica, [factsView], null, at)));
      const [first] = states;
      if (first?.ok !== true) throw new Error(JSON.stringify(first));
      for (const state of states) expect(state.ok && toHex(state.state)).toBe(toHex(first.state));

      // From the base on: the same state further on, and the same view.
      const [mate, other] = mates as [Mate, Mate];
      const views = [{ name: "facts", version: 1 }];
      const id = "00".repeat(32) as never;
      await mate.base.put({ id, at, views, state: new Uint8Array(32), bytes: first.state.length }, first.state);
      mate.member.replica.refold();
      await mate.facts.settled();
      expect(hashOf(mate)).toBe(hashOf(other));
      const all = await furthestVector(other.member.replica, [factsView], null);
      expect(reaches(all, at)).toBe(true);
      const from = await foldState(mate.member.replica, [factsView], mate.base.current(), all);
      const whole = await foldState(other.member.replica, [factsView], null, all);
      expect(from.ok && toHex(from.state)).toBe(whole.ok && toHex(whole.state));
    }),
    { numRuns: 12 },
  );
}, 30_000);

import fc from "fast-check";
import { expect, test } from "vitest";
import { canonical, fold, who } from "../membership/people.ts";
import { CASES } from "./l.ts";

test.each(CASES)("$id has no effect: $what", ({ play }) => {
  const { records, refused, members } = play();
  const membership = fold(records);
  for (const { record, why } of refused) expect(membership.void.get(record.id)).toMatch(why);
  expect(who(membership)).toEqual(members);
  fc.assert(
    fc.property(fc.shuffledSubarray(records, { minLength: records.length }), (order) => {
      expect(canonical(fold(order))).toBe(canonical(membership));
    }),
    { numRuns: 5 },
  );
});

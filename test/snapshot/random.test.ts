import fc from "fast-check";
import { expect, test } from "vitest";
import type { KinError } from "../../protocols/errors.ts";
import { admitMember, foundMesh, memberOf, testTime } from "../sync/mesh.ts";
import { bodiesOf, factsOf, hashOf, mateOf, meet, set, syncAll, type Mate } from "./team.ts";

const NAMES = ["ana", "ben", "cem", "dan"];
const KINDS = [
  "set",
  "set",
  "set",
  "unset",
  "meet",
  "meet",
  "make",
  "look",
  "prune",
  "restart",
  "sleep",
  "wake",
  "everybody",
] as const;
const step = fc.record({
  do: fc.constantFrom(...KINDS),
  who: fc.nat({ max: NAMES.length - 1 }),
  with: fc.nat({ max: NAMES.length - 1 }),
  key: fc.nat({ max: 3 }),
});

/** What may be refused in the middle of things: nothing to make or to prune, no right to say it. */
async function tried(work: Promise<unknown>): Promise<void> {
  await work.catch((error: KinError) => expect(["NOT_FOUND", "DENIED"]).toContain(error.code));
}

test("whatever is written, signed, pruned, restarted and met in whatever order, all end as who has never pruned [snapshot-pure]", async () => {
  let prunedRuns = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 45 }), async (steps) => {
      const time = testTime();
      const founder = await foundMesh("ana", time);
      const mates = [await mateOf(founder)];
      for (const name of NAMES.slice(1)) mates.push(await mateOf(await admitMember(founder, name, { role: "admin" })));
      // Eve hears everything at once and keeps every body.
      const eve = await mateOf(await admitMember(founder, "eve"));
      const all = (): Mate[] => [...mates, eve];
      const introduce = (): void => all().forEach((mate) => (mate.peers = all().filter((other) => other !== mate)));
      introduce();
      await syncAll(...all());

      for (const [i, { do: what, who, with: other, key }] of steps.entries()) {
        const mate = mates[who]!;
        if (what === "set") await set(mate, `k${key}`, String(i));
        if (what === "unset") await set(mate, `k${key}`, null);
        if (what === "meet" && who !== other) await meet(mate, mates[other]!);
        if (what === "make") await tried(mate.snapshots.make());
        if (what === "look") await mate.snapshots.look();
        if (what === "prune") await tried(mate.snapshots.prune());
        if (what === "everybody") {
          await tried(mate.snapshots.make());
          await syncAll(...all());
          for (const one of mates) await one.snapshots.look();
          await syncAll(...all());
          await tried(mate.snapshots.prune());
        }
        if (what === "sleep" || what === "wake")
          await tried(mate.snapshots.setDormant(memberOf(mate.member, NAMES[other]!).person, what === "sleep"));
        if (what === "restart") {
          await mate.close();
          mates[who] = await mateOf(await mate.member.reopen());
          introduce();
        }
        await meet(mates[who]!, eve);
        await eve.snapshots.look();
        time.pass(61_000);
      }
      for (let round = 0; round < 3; round++) {
        await syncAll(...all());
        time.pass(61_000);
        for (const mate of mates) await mate.snapshots.look();
      }
      for (const mate of mates) {
        await mate.facts.settled();
        expect(factsOf(mate), mate.member.name).toEqual(factsOf(eve));
        expect(hashOf(mate), mate.member.name).toBe(hashOf(eve));
        mate.member.replica.refold();
        await mate.facts.settled();
        expect(hashOf(mate), `${mate.member.name}, folded anew`).toBe(hashOf(eve));
      }
      expect((await bodiesOf(eve)).dropped).toBe(0);
      const dropped = await Promise.all(mates.map(async (mate) => (await bodiesOf(mate)).dropped));
      if (dropped.some((count) => count > 0)) prunedRuns++;
      for (const mate of all()) await mate.close();
    }),
    { numRuns: 6 },
  );
  expect(prunedRuns).toBeGreaterThan(0);
}, 120_000);

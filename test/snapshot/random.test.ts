import fc from "fast-check";
import { expect, test } from "vitest";
import { memberOf } from "../sync/mesh.ts";
import { foundTeam, play, tried, turnsOf, type Turn } from "./schedule.ts";
import { bodiesOf, factsOf, hashOf, mateOf, set, type Mate } from "./team.ts";

const NAMES = ["ana", "ben", "cem", "dan"] as const;
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
const TURNS = turnsOf({ kinds: KINDS, mates: NAMES.length, mostAt: 3 }, { minLength: 20, maxLength: 45 });

async function write(mate: Mate, { do: what, with: other, at }: Turn, i: number): Promise<void> {
  if (what === "set") await set(mate, `k${at}`, String(i));
  if (what === "unset") await set(mate, `k${at}`, null);
  if (what === "sleep" || what === "wake") {
    const { person } = memberOf(mate.member, NAMES[other]!);
    await tried(mate.snapshots.setDormant(person, what === "sleep"), "DENIED");
  }
}

test("whatever is written, signed, pruned, restarted and met in whatever order, all end as who has never pruned [snapshot-pure]", async () => {
  let prunedRuns = 0;
  const property = fc.asyncProperty(TURNS, async (turns) => {
    const team = await foundTeam(NAMES, (member) => mateOf(member));
    const { mates, eve, all } = team;
    await play(team, turns, { write, heard: () => eve.snapshots.look() });
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
  });
  await fc.assert(property, { numRuns: 6 });
  expect(prunedRuns).toBeGreaterThan(0);
}, 120_000);

/** P29 with real processes and the real store: both sides are killed while queued calls travel, run and are answered. */
import { expect, test } from "vitest";
import { counter, seesTool } from "./counter.ts";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

const CALLS = 6;
/** Kills of each side, while calls are queued and after. */
const ROUNDS = 3;

async function killed(person: Person): Promise<void> {
  process.kill(await person.pid(), "SIGKILL");
  await until(async () => (await person.kin(["up"])).code === 0);
}

test("SIGKILL on either side again and again: each queued call has one result or OUTCOME_UNKNOWN, and no tool ran twice", async () => {
  await using world = await openWorld();
  const counted = counter(world);
  const { ben, ana } = await twoPeople(world, null, counted.settings);
  await seesTool(ana, "ben/tools/counter.append");
  await counted.go();
  const ids: string[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = 0; i < CALLS / ROUNDS; i++) {
      const asked = await ana.json<{ id: string }>(["call", "ben/tools/counter.append", "--later"]);
      ids.push(asked.id);
    }
    // Not together: what one has not written the other may have seen.
    await killed(round % 2 === 0 ? ben : ana);
    await killed(round % 2 === 0 ? ana : ben);
  }
  const ends = [];
  for (const id of ids) {
    const ended = await ana.kin(["wait", id, "--timeout", "90s"]);
    ends.push(ended.code === 0 ? "result" : (/\((\w+)\)/.exec(ended.err)?.[1] ?? ended.err));
  }
  const results = ends.filter((end) => end === "result").length;
  const unknown = ends.filter((end) => end === "OUTCOME_UNKNOWN").length;
  expect(results + unknown, ends.join()).toBe(CALLS);
  // A call that ran twice would be one more than there are ends for.
  expect(await counted.runs()).toBeGreaterThanOrEqual(results);
  expect(await counted.runs()).toBeLessThanOrEqual(CALLS);
}, 240_000);

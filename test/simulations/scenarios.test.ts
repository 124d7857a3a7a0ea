/**
 * Every scenario with a few seeds: nothing is violated, and what happened is what its name says (counted). The many seeds are
 * played by hand: `node simulations/run.ts partition-heal --seeds 1..20000`.
 */
import { describe, expect, test } from "vitest";
import { play } from "../../simulations/scenario.ts";
import { SCENARIOS } from "../../simulations/scenarios/all.ts";
import { REGRESSIONS } from "./regressions.ts";

function scenarioOf(name: string) {
  const found = SCENARIOS.find((scenario) => scenario.name === name);
  if (found === undefined) throw new Error(`no scenario ${name}`);
  return found;
}

async function playGood(name: string, seed: number, peers?: number) {
  const scenario = scenarioOf(name);
  const result = await play(scenario, seed, peers ?? scenario.peers.default);
  expect(result.violations, `node simulations/run.ts ${name} --seed ${seed} --peers ${result.peers}`).toEqual([]);
  return result;
}

/** Seeds, and what must have happened at least once over all of them. */
const EXERCISED: { name: string; seeds: number[]; figures: string[] }[] = [
  {
    name: "partition-heal",
    seeds: [1, 2, 3],
    figures: [
      "partitions",
      "clogs",
      "packets lost",
      "frames dropped",
      "frames duplicated",
      "frames reordered",
      "power cuts",
    ],
  },
  {
    name: "offline-week",
    seeds: [1],
    figures: ["asks that came through a third member", "joins", "notes", "snapshots adopted"],
  },
  {
    name: "clock-skew",
    seeds: [1],
    figures: ["standings looked at", "most that an honest clock was moved, ms"],
  },
  {
    name: "churn",
    seeds: [1, 2, 3, 4],
    figures: ["kills", "stops", "power cuts", "machines that went offline", "joins", "removals", "proofs presented"],
  },
  {
    name: "malicious-peer",
    seeds: [1, 2, 3, 4, 5, 7],
    figures: [
      "mallory forks",
      "mallory floods",
      "mallory far future",
      "mallory withholds",
      "mallory forges",
      "forks seen",
    ],
  },
  {
    name: "backup-restore",
    seeds: [1, 2, 3, 6],
    figures: ["restored alone", "restored with others in reach", "incarnations", "effects"],
  },
  {
    name: "member-removed-while-away",
    seeds: [1, 2, 3],
    figures: ["her events in quarantine", "her events that count", "bodies of a later epoch"],
  },
  {
    name: "disk-faults",
    seeds: [1, 3, 6],
    figures: [
      "disk ENOSPC",
      "disk EIO",
      "power cuts",
      "disk torn writes",
      "disk bytes lost at a crash",
      "bits flipped",
    ],
  },
  { name: "kill-every-step", seeds: [1], figures: ["kills at a step", "effects", "asks ended with result"] },
];

describe("scenarios", () => {
  test.each(EXERCISED)(
    "$name: equal after each heal, nothing acknowledged lost, nothing twice, nothing without a right [simulator-scenarios]",
    { timeout: 120_000 },
    async ({ name, seeds, figures }) => {
      const happened: { [figure: string]: number } = {};
      for (const seed of seeds)
        for (const [figure, count] of Object.entries((await playGood(name, seed)).stats))
          happened[figure] = (happened[figure] ?? 0) + count;
      for (const figure of figures) expect(happened[figure] ?? 0, `${figure} in ${name}`).toBeGreaterThan(0);
    },
  );

  test("each scenario of the list is played here", () => {
    expect(EXERCISED.map(({ name }) => name).toSorted()).toEqual(SCENARIOS.map(({ name }) => name).toSorted());
  });
});

/** Words typed, facts set and settings made: each of them is looked for at each heal. */
const DOCUMENTS = [
  "facts done",
  "edits done",
  "opens done",
  "shares done",
  "settings done",
  "boards done",
  "cards: add",
  "cards: edit",
  "cards: move",
  "cards: assign",
  "cards: remove",
  "cards that stand",
  "removed cards that are gone",
  "offers done",
  "snapshots done",
  "snapshots recomputed",
  "bodies pruned",
];

test(
  "facts, notes, boards, settings, cards and snapshots read alike after each heal, each acknowledged word once [simulator-documents] [simulator-boards]",
  { timeout: 120_000 },
  async () => {
    const happened: { [figure: string]: number } = {};
    for (const seed of [11, 12, 13])
      for (const [figure, count] of Object.entries((await playGood("partition-heal", seed, 3)).stats))
        happened[figure] = (happened[figure] ?? 0) + count;
    for (const figure of DOCUMENTS) expect(happened[figure] ?? 0, figure).toBeGreaterThan(0);
  },
);

describe("seeds that found a bug once", () => {
  test.each(REGRESSIONS)("$scenario $seed: $bug", { timeout: 60_000 }, async ({ scenario, seed, peers }) => {
    await playGood(scenario, seed, peers);
  });
});

/** P3's size for CI: each run heals three times. 500 schedules by hand: `--seeds 1..167`. */
const RUNS = 20;
const FIRST_SEED = 1000;

test(
  `P3: ${RUNS * 3} schedules of partitions, loss, restarts and wrong clocks end byte-identical [P3]`,
  { timeout: 240_000 },
  async () => {
    let heals = 0;
    for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++)
      heals += (await playGood("partition-heal", seed, 3 + (seed % 2))).stats["heals"] ?? 0;
    expect(heals).toBe(RUNS * 3);
  },
);

/**
 * One machine's clock is wrong: ten years ahead or behind, jumping while it runs, drifting along the edge of what is tolerated.
 * The others' clocks are good to a second. A bad clock must hurt only its owner (R13, P9): nobody else's stamps move by more
 * than 5 min, nothing of the others is held or quarantined.
 */
import { SKEW_LIMIT_MS } from "../../protocols/limits.ts";
import { stampMs } from "../../protocols/roster-record.ts";
import { BOUND_RESERVE_MS } from "../../sync/clock.ts";
import type { Scenario, Stage } from "../scenario.ts";
import type { Machine } from "../machine.ts";
import { restart } from "./partition-heal.ts";

const YEAR_MS = 365 * 86_400_000;
const RUN_MS = 10 * 60_000;
const CHECK_MS = 60_000;
/** The others are set by NTP. */
const GOOD_MS = 1_000;
/** 40 s a minute: crosses the limit within the run. */
const FAST = 0.7;

const WRONG: readonly { name: string; begin(machine: Machine, stage: Stage): void }[] = [
  { name: "ten years ahead", begin: ({ clock }) => void (clock.offsetMs = 10 * YEAR_MS) },
  { name: "ten years behind", begin: ({ clock }) => void (clock.offsetMs = -10 * YEAR_MS) },
  { name: "at the end of time", begin: ({ clock }) => void (clock.offsetMs = 2 ** 48) },
  { name: "drifting over the edge", begin: ({ clock }) => void (clock.drift = FAST) },
  { name: "at the edge", begin: ({ clock }) => void (clock.offsetMs = SKEW_LIMIT_MS - 2_000) },
  { name: "jumping", begin: jump },
];

export const clockSkew: Scenario = {
  name: "clock-skew",
  summary: "one wrong clock (years, jumps, drift, the edge) among good ones; hurts only its owner",
  peers: { default: 4, least: 3, most: 12 },
  async run(stage) {
    const { team, work, dice, world } = stage;
    const [, ...others] = team.machines;
    const bad = dice.pick(others);
    const honest = team.machines.filter((machine) => machine !== bad);
    for (const { clock } of honest) clock.offsetMs = Math.round(dice.between(-GOOD_MS, GOOD_MS));
    const wrong = dice.pick(WRONG);
    world.count(`clock ${wrong.name}`);
    // Calls of the one with the wrong clock are refused, and its durable ones lie in years to come.
    work.go(RUN_MS, 3_000, { ask: 0, askAgain: 0, call: 0 }, [bad]);
    work.go(RUN_MS, 2_000, {}, honest, honest);
    await team.pass(RUN_MS / 5);
    wrong.begin(bad, stage);
    while (world.now() < RUN_MS) {
      await team.pass(CHECK_MS);
      if (dice.chance(0.2)) restart(stage, dice.pick(team.machines), dice.chance(0.5));
      await checkHonest(stage, honest);
    }
    await team.pass(60_000);
    await checkHonest(stage, honest);
    await team.heal();
    await checkHonest(stage, honest);
  },
};

function jump(machine: Machine, { world, dice }: Stage): void {
  const next = (): void => {
    if (world.now() > RUN_MS) return;
    machine.clock.offsetMs = Math.round(dice.between(-3_600_000, 3_600_000));
    world.count("clock jumps");
    world.after(dice.between(10_000, 60_000), "clock jump", next);
  };
  next();
}

async function checkHonest({ team, world }: Stage, honest: readonly Machine[]): Promise<void> {
  const devices = new Set(honest.map(({ device }) => device));
  for (const { process, clock, name } of honest) {
    if (process === null) continue;
    const ahead = stampMs(process.replica.stamp()) - clock.now();
    world.stats["most that an honest clock was moved, ms"] = Math.max(
      world.stats["most that an honest clock was moved, ms"] ?? 0,
      ahead,
    );
    if (ahead > SKEW_LIMIT_MS + BOUND_RESERVE_MS)
      world.violate(`the stamps of ${name} are ${ahead} ms ahead of its clock: a foreign clock moved them`);
    const { events } = await team.complete(process.replica.events({ limit: 10_000 }));
    const hurt = events.find(({ device, standing }) => devices.has(device) && standing.state !== "good");
    world.count("standings looked at", events.length);
    if (hurt !== undefined)
      world.violate(
        `${name} holds an event of a good clock for ${hurt.standing.state}: ${JSON.stringify(hurt.standing)}`,
      );
  }
}

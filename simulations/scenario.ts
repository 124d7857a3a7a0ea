/** What a scenario is, and how one is run from a seed to its result. */
import type { ReadPolicy } from "../protocols/roster-record.ts";
import { foundTeam, type Team } from "./team.ts";
import { createWork, type Work } from "./work.ts";
import { createWorld, type Dice, type World } from "./world.ts";

export interface Scenario {
  name: string;
  /** One line for who reads the list. */
  summary: string;
  peers: { default: number; least: number; most: number };
  policy?: ReadPolicy;
  /** Members besides the founder who are admins. @default 0 */
  admins?: number;
  run(stage: Stage): Promise<void>;
}

/** What a scenario has to play with. */
export interface Stage {
  world: World;
  team: Team;
  work: Work;
  /** The scenario's own draws. */
  dice: Dice;
}

export interface Result {
  scenario: string;
  seed: number;
  peers: number;
  events: number;
  virtualMs: number;
  traceHash: string;
  violations: string[];
  /** What happened, counted: shows that the scenario did what its name says. */
  stats: { [figure: string]: number };
}

/** Plays a scenario. What the code under test throws where nobody catches it is a violation like any other. */
export async function play(scenario: Scenario, seed: number, peers = scenario.peers.default): Promise<Result> {
  const world = createWorld(seed);
  const uncaught = (error: unknown): void =>
    world.violate(`nobody caught ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  process.on("unhandledRejection", uncaught);
  try {
    const { policy, admins } = scenario;
    const team = await foundTeam(world, { peers, ...(policy && { policy }), ...(admins !== undefined && { admins }) });
    await scenario.run({ world, team, work: createWork(team), dice: world.dice("scenario") });
  } catch (error) {
    world.violate(`the scenario itself stopped: ${(error as Error).stack ?? String(error)}`);
  } finally {
    await world.settle();
    process.off("unhandledRejection", uncaught);
  }
  return {
    scenario: scenario.name,
    seed,
    peers,
    events: world.events,
    virtualMs: Math.round(world.now()),
    traceHash: world.traceHash(),
    violations: world.violations,
    stats: Object.fromEntries(Object.entries(world.stats).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  };
}

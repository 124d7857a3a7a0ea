/**
 * The network falls into pieces and comes together again, three times: partitions, clogs in turn, lost packets, then frames
 * that vanish, come twice or in another order; processes are killed and machines lose their power meanwhile. After each
 * round all must be equal.
 */
import { SYNC_PROTOCOL } from "../../protocols/sync.ts";
import type { Machine } from "../machine.ts";
import type { Scenario, Stage } from "../scenario.ts";
import { halves } from "../team.ts";

const ROUNDS = 3;
const ROUND_MS = 60_000;
/** P3 asks for up to 30 % each. */
const MOST_RAW = 0.3;

export const partitionHeal: Scenario = {
  name: "partition-heal",
  summary: "partitions, clogs, loss, duplication, reordering and restarts; equal after each heal",
  peers: { default: 4, least: 2, most: 12 },
  admins: 1,
  async run(stage) {
    const { team, work } = stage;
    for (let round = 0; round < ROUNDS; round++) {
      work.go(ROUND_MS, 1_500);
      misbehave(stage);
      await team.pass(ROUND_MS);
      await team.heal();
    }
  },
};

/** Plans the faults of one round. */
function misbehave(stage: Stage): void {
  const { team, dice, world } = stage;
  const { network } = team;
  network.faults.latencyMs = [0.5, dice.pick([2, 20, 300])];
  network.faults.loss = dice.chance(0.5) ? dice.between(0, 0.3) : 0;
  if (dice.chance(0.4)) {
    const most = dice.between(0, MOST_RAW);
    network.faults.raw = {
      protocol: SYNC_PROTOCOL,
      drop: dice.between(0, most),
      duplicate: dice.between(0, most),
      reorder: dice.between(0, most),
    };
  }
  const at = (run: () => void): void => void world.after(dice.between(0, ROUND_MS * 0.8), "fault", run);
  for (let i = dice.int(1, 3); i > 0; i--)
    at(() => network.partition(halves(team, dice).map((half) => half.map(({ device }) => device))));
  if (dice.chance(0.5)) swizzleClog(stage);
  for (let i = dice.int(0, 2); i > 0; i--) {
    const machine = dice.pick(team.machines);
    const power = dice.chance(0.7);
    at(() => restart(stage, machine, power));
  }
  for (const { clock } of team.machines)
    if (dice.chance(0.3)) at(() => (clock.offsetMs = Math.round(dice.between(-600_000, 600_000))));
}

/** With its power, or its process alone: that is killed, or ends in order. */
export function restart({ world, dice }: Stage, machine: Machine, power: boolean): void {
  if (machine.process === null) return;
  if (power || dice.chance(0.5)) machine.kill({ power });
  else void machine.stop();
  world.after(dice.between(100, 15_000), "restart", () => {
    if (!machine.isRunning() && machine.trouble === null) void machine.start();
  });
}

/** Machine after machine is clogged, then they are freed in another order. */
function swizzleClog({ team, dice, world }: Stage): void {
  const some = dice.shuffled(team.machines).slice(0, dice.int(1, team.machines.length));
  for (const { device } of some)
    world.after(dice.between(0, ROUND_MS / 3), "clog", () => team.network.clog(device, true));
  for (const { device } of dice.shuffled(some))
    world.after(dice.between(ROUND_MS / 3, ROUND_MS), "unclog", () => team.network.clog(device, false));
}

/**
 * Disks that are full, that fail now and then, that lose what was not flushed when the power goes, and that flip bits while a
 * machine is off. What was acknowledged is kept; what cannot be read is noticed and comes back from the others.
 */
import type { Scenario, Stage } from "../scenario.ts";
import type { Machine } from "../machine.ts";
import { restart } from "./partition-heal.ts";

const ROUNDS = 2;
const ROUND_MS = 90_000;
const MOST_ERRORS = 0.2;

export const diskFaults: Scenario = {
  name: "disk-faults",
  summary: "full disks, I/O errors, power cuts with torn writes, flipped bits; nothing acknowledged is lost",
  peers: { default: 3, least: 2, most: 12 },
  async run(stage) {
    const { team, work, dice } = stage;
    for (let round = 0; round < ROUNDS; round++) {
      work.go(ROUND_MS, 1_000);
      for (const machine of team.machines) breakDisk(stage, machine);
      // One disk at a time rots: of what all have lost, nothing could come back.
      if (dice.chance(0.5)) rot(stage, dice.pick(team.machines));
      await team.pass(ROUND_MS);
      await team.heal();
    }
  },
};

function breakDisk(stage: Stage, machine: Machine): void {
  const { world, dice } = stage;
  const { faults } = machine.disk;
  const at = (run: () => void): void => void world.after(dice.between(0, ROUND_MS * 0.8), "disk fault", run);
  if (dice.chance(0.6))
    at(() => {
      faults.full = true;
      world.count("disks filled");
      world.after(dice.between(1_000, 20_000), "space again", () => (faults.full = false));
    });
  if (dice.chance(0.6))
    at(() => {
      faults.errorChance = dice.between(0, MOST_ERRORS);
      world.after(dice.between(1_000, 20_000), "no more errors", () => (faults.errorChance = 0));
    });
  for (let i = dice.int(0, 3); i > 0; i--) at(() => restart(stage, machine, true));
}

/** The machine is off, a few bits flip, it starts again. */
function rot({ world, dice }: Stage, machine: Machine): void {
  world.after(dice.between(ROUND_MS / 3, ROUND_MS * 0.7), "rot", () => {
    if (machine.isRunning()) machine.kill();
    world.count("bits flipped", machine.disk.flipBits(dice.int(1, 3)));
  });
}

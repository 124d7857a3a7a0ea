/**
 * Nothing stays as it is: processes are killed and started all the time, machines go offline and come back, people are let in by
 * any of several admins, also on both sides of a partition at once, and some are removed.
 */
import { removePerson } from "../../sync/acts.ts";
import type { Scenario, Stage } from "../scenario.ts";
import { halves, upOnes } from "../team.ts";
import { restart } from "./partition-heal.ts";

const RUN_MS = 4 * 60_000;
const STEPS = 24;
const LEAST_LEFT = 3;
const MOST_JOINS = 3;
/** What a kill cuts off never ends: nobody waits for it longer. */
const PATIENCE_MS = 20_000;

export const churn: Scenario = {
  name: "churn",
  summary: "starts, kills, joins by several admins at once, removals, machines that come and go",
  peers: { default: 4, least: 3, most: 12 },
  admins: 2,
  async run(stage) {
    const { team, work, dice, world } = stage;
    work.go(RUN_MS, 2_000);
    let joins = 0;
    for (let step = 0; step < STEPS; step++) {
      await team.pass(RUN_MS / STEPS);
      const draw = dice.next();
      if (draw < 0.35) restart(stage, dice.pick(team.machines), dice.chance(0.5));
      else if (draw < 0.55) comeAndGo(stage);
      else if (draw < 0.65) team.network.partition(halves(team, dice).map((half) => half.map(({ device }) => device)));
      else if (draw < 0.75) team.network.heal();
      else if (draw < 0.9 && joins < MOST_JOINS) await team.attempt(letIn(stage, `guest-${joins++}`), PATIENCE_MS);
      else if (draw < 0.95) await team.attempt(removeSomebody(stage), PATIENCE_MS);
    }
    await team.heal();
    world.count("members in the end", team.living().length);
  },
};

function comeAndGo({ team, dice, world }: Stage): void {
  const { device } = dice.pick(team.machines);
  team.network.setOffline(device, true);
  world.count("machines that went offline");
  world.after(dice.between(1_000, 60_000), "back online", () => team.network.setOffline(device, false));
}

async function letIn({ team, dice }: Stage, name: string): Promise<void> {
  const admins = upOnes(team).filter(({ process, device }) => {
    return process!.replica.membership().devices.get(device)?.member.role === "admin";
  });
  if (admins.length > 0) await team.join(dice.pick(admins), name);
}

/** By the founder, of somebody who is no founder: who that hits is down from now on for the others. */
async function removeSomebody({ team, dice, world }: Stage): Promise<void> {
  const [founder, ...others] = team.machines;
  const gone = dice.pick(others);
  if (team.living().length < LEAST_LEFT) return;
  const replica = founder?.process?.replica;
  const person = replica?.membership().devices.get(gone.device)?.member.person;
  if (replica === undefined || person === undefined) return;
  world.count("removals");
  await removePerson(replica, person);
}

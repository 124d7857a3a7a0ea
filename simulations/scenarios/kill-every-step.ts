/**
 * P29: one durable call after the other, each with a kill at another step of it: of the executor, of the caller or of both, with
 * or without the power. A step is an event of the simulation: each write, each frame, each timer between "asked" and "answered".
 * The button is pressed at most once a call, and every call is answered.
 *
 * One run takes each tenth step from an offset that is its seed, so that ten seeds in a row kill at all of them.
 */
import type { Machine } from "../machine.ts";
import type { Scenario, Stage } from "../scenario.ts";

const STRIDE = 10;
/** After so many events a call without a kill has long been answered (seen: about 60 to 250). */
const MOST_STEPS = 280;
const ANSWERED_WITHIN_MS = 10 * 60_000;

export const killEveryStep: Scenario = {
  name: "kill-every-step",
  summary: "caller, executor or both are killed at every step of a durable call; its effect happens at most once",
  peers: { default: 3, least: 2, most: 5 },
  async run(stage) {
    const { team, world } = stage;
    const [caller, executor] = team.machines as [Machine, Machine];
    await team.pass(5_000);
    const victims = [[executor], [caller], [caller, executor]];
    for (let step = world.seed % STRIDE; step < MOST_STEPS; step += STRIDE)
      for (const killed of victims) await oneCall(stage, caller, executor, killed, step);
    await team.heal();
  },
};

async function oneCall(
  { team, work, world, dice }: Stage,
  caller: Machine,
  executor: Machine,
  killed: readonly Machine[],
  step: number,
): Promise<void> {
  const asked = work.ask(caller, executor);
  asked.catch(() => world.count("asks that the kill cut off"));
  const from = world.events;
  await world.run(world.now() + ANSWERED_WITHIN_MS, () => world.events >= from + step);
  for (const machine of killed) if (machine.process !== null) machine.kill({ power: dice.chance(0.7) });
  await team.pass(dice.between(10, 3_000));
  for (const machine of killed) if (!machine.isRunning()) await team.complete(machine.start());
  const isAnswered = (): boolean => caller.process!.outbox.waiting().length === 0;
  await world.run(world.now() + ANSWERED_WITHIN_MS, isAnswered);
  world.count("kills at a step");
  if (!isAnswered())
    world.violate(`no answer after a kill of ${killed.map(({ name }) => name).join(" and ")} at step ${step}`);
}

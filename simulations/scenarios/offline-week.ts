/**
 * Ben is on a train for a week, without a network. He writes, is written to, is asked and asks; meanwhile somebody joins and
 * the epoch changes. Who asked him leaves before he is back, so that what was asked reaches him through a third member, who
 * cannot read it. He is said to be dormant, so that those at home can make a snapshot and drop old bodies: the newcomer
 * begins with it.
 */
import { openEpoch } from "../../sync/acts.ts";
import type { Machine } from "../machine.ts";
import type { Scenario } from "../scenario.ts";
import { processOf } from "../team.ts";

const DAY_MS = 86_400_000;
const AWAY_MS = 7 * DAY_MS;
/** Signing goes by itself: one folding a minute and proposer. */
const SIGNED_MS = 5 * 60_000;
/** About 30 acts a day, of all together. */
const EVERY_MS = DAY_MS / 30;

export const offlineWeek: Scenario = {
  name: "offline-week",
  summary: "a member works a week without a network; asked, answered and equal when he is back",
  peers: { default: 4, least: 3, most: 12 },
  async run({ team, work, world, dice }) {
    const [founder, traveller, asker] = team.machines as [Machine, Machine, Machine];
    team.network.setOffline(traveller.device, true);
    work.go(AWAY_MS, EVERY_MS, { call: 0, epoch: 0.02 });
    await team.pass(dice.between(0.5, 1.5) * DAY_MS);
    await team.complete(openEpoch(processOf(founder).replica));
    const person = processOf(founder).replica.membership().devices.get(traveller.device)!.member.person;
    await team.complete(processOf(founder).snapshots.setDormant(person, true));
    await team.complete(processOf(founder).snapshots.make());
    await team.pass(SIGNED_MS);
    for (const machine of team.machines)
      if (machine !== traveller)
        world.count("bodies pruned", (await team.complete(processOf(machine).snapshots.prune())).bodies);
    const newcomer = await team.complete(team.join(founder, "newcomer"));
    await team.pass(SIGNED_MS);
    if (
      !processOf(newcomer)
        .snapshots.list()
        .some(({ isBase }) => isBase)
    )
      world.violate(`${newcomer.name} did not begin with the snapshot`);
    const asked = 3;
    for (let i = 0; i < asked; i++) void work.ask(asker, traveller);
    await team.pass(DAY_MS);
    // A laptop that is closed in the evening.
    traveller.kill({ power: dice.chance(0.5) });
    await team.pass(DAY_MS);
    await team.complete(traveller.start());
    await team.pass(AWAY_MS - world.now());
    const lengths = team.machines.map(({ process }) => process?.replica.vector().size ?? 0);
    world.count("logs when he is back", Math.max(...lengths));
    // The one who asked is gone; what he asked is with the others.
    team.network.setOffline(asker.device, true);
    await team.pass(60_000);
    team.network.setOffline(traveller.device, false);
    await team.pass(10 * 60_000);
    const missing = asked - answersHere(traveller.name);
    if (missing > 0)
      world.violate(`${missing} of ${asked} calls did not reach ${traveller.name} through a third member`);
    else world.count("asks that came through a third member", asked);
    team.network.setOffline(asker.device, false);
    await team.heal();

    /** What was taken back meanwhile is not owed. */
    function answersHere(name: string): number {
      return team.witness.asked.filter(({ caller, callee, once, withdrawn }) => {
        return caller === asker.name && callee === name && (withdrawn || team.witness.effects.has(once));
      }).length;
    }
  },
};

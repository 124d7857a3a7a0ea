/**
 * Cleo is removed while she and one other are away together. She goes on writing and asking, the other believes her and builds
 * on it. When all hear of each other: her later events count nowhere, nothing that she asked after it runs at who knows of it,
 * and nothing written after the removal can be read with any key that her machine has (P10, P11, R5, R6).
 */
import { openBody } from "../../protocols/event-body.ts";
import type { EpochId } from "../../protocols/ids.ts";
import { removePerson } from "../../sync/acts.ts";
import type { Machine } from "../machine.ts";
import type { Scenario, Stage } from "../scenario.ts";
import { processOf } from "../team.ts";

const PART_MS = 2 * 60_000;
/** Who is connected hears of a removal within this. */
const HEARD_MS = 10_000;

export const memberRemovedWhileAway: Scenario = {
  name: "member-removed-while-away",
  summary: "removed while away with one who does not know it; her later acts count nowhere, she reads nothing new",
  peers: { default: 5, least: 4, most: 12 },
  async run(stage) {
    const { team, work, dice, world } = stage;
    const [founder, companion, gone, ...rest] = team.machines as [Machine, Machine, Machine, ...Machine[]];
    const home = [founder, ...rest];
    work.go(4 * PART_MS, 2_500);
    await team.pass(PART_MS);
    team.network.partition([home, [companion, gone]].map((side) => side.map(({ device }) => device)));
    await team.pass(dice.between(0, PART_MS));

    const person = processOf(founder).replica.membership().devices.get(gone.device)!.member.person;
    const removedAt = world.now();
    // Those that were before the others came have been given to them when they joined.
    const known = new Set(processOf(founder).replica.membership().epochs.keys());
    await team.complete(removePerson(processOf(founder).replica, person));
    team.remove(gone);
    await team.pass(HEARD_MS);
    const effectsBefore = new Set(team.witness.effects.keys());
    await team.pass(PART_MS);
    const built = team.witness.acknowledged.filter(({ author }) => author === gone.name).length;
    world.count("her events in all", built);

    // Home first, then everybody: she tries to come back, too.
    team.network.partition([[...home, gone].map(({ device }) => device), [companion.device]]);
    await team.pass(PART_MS);
    await checkUnread(stage, gone, home, known);
    await team.heal();
    await checkUnread(stage, gone, team.living(), known);
    await checkWithoutEffect(stage, gone, person, home, removedAt, effectsBefore);
  },
};

/** Every body that the others have, tried with all keys of the removed machine. */
async function checkUnread(
  { team, world }: Stage,
  gone: Machine,
  others: readonly Machine[],
  known: ReadonlySet<EpochId>,
): Promise<void> {
  const { replica, store } = processOf(others[0]!);
  const later = new Set<EpochId>();
  for (const { id, recipients } of replica.membership().epochs.values())
    if (!known.has(id) && !recipients.includes(gone.device)) later.add(id);
  for (const id of later)
    if (gone.epochKeys.has(id)) world.violate(`${gone.name} has the key of an epoch that it is no recipient of`);
  for (const { log, opening, seq } of await team.complete(store.logs())) {
    if (opening.chain !== "mesh" || opening.device === gone.device) continue;
    for (const { header, body } of await team.complete(store.range(log, 0, seq + 1))) {
      if (header.audience !== "mesh" || body === null) continue;
      let epoch: EpochId | null = null;
      const keys = {
        device: gone.device,
        epochKey: (id: EpochId) => gone.epochKeys.get((epoch = id)),
        sealingKeys: () => [gone.keys.sealing],
      };
      const opened = await team.complete(openBody({ mesh: team.mesh, author: opening.device }, header, body, keys));
      if (epoch === null || !later.has(epoch)) continue;
      world.count("bodies of a later epoch");
      if (opened.state === "open") world.violate(`${gone.name} reads what was written after its removal`);
    }
  }
}

/** Who knew of the removal ran nothing of hers after it. */
async function checkWithoutEffect(
  { team, world }: Stage,
  gone: Machine,
  person: string,
  knowing: readonly Machine[],
  removedAt: number,
  before: ReadonlySet<string>,
): Promise<void> {
  const names = new Set(knowing.map(({ name }) => name));
  for (const [once, machines] of team.witness.effects) {
    if (!once.startsWith(person) || before.has(once)) continue;
    if (machines.some((name) => names.has(name)))
      world.violate(
        `${gone.name} was removed at ${removedAt} ms and a call of hers had its effect on ${machines.join()} later`,
      );
  }
  const { replica } = processOf(team.machines[0]!);
  const { events } = await team.complete(replica.events({ limit: 100_000 }));
  const hers = events.filter(({ device }) => device === gone.device);
  world.count("her events that count", hers.filter(({ standing }) => standing.state === "good").length);
  world.count("her events in quarantine", hers.filter(({ standing }) => standing.state === "quarantined").length);
}

/**
 * Ben's disk is copied, he works on, then the disk breaks and the copy is put back: his log is older than what others have of
 * it, and so is his table of calls that ran (P19, R2, R8). The marker of his incarnation lies beside the database and is newer
 * than the copy, or was copied with it: then nothing on his machine says that it is an old one. His settings, which a card tells
 * to the mesh, and what documents kept (`views.db`) may be of the copy or of today. Restored with others in reach he opens a new log and forks nothing; restored alone he may write
 * before he can know better: then the fork is found, proved and the same everywhere. No call runs twice either way.
 */
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import type { Machine } from "../machine.ts";
import { idsIn, processOf, type Team } from "../team.ts";
import type { Scenario } from "../scenario.ts";

const PART_MS = 2 * 60_000;
const OTHERS_EVERY_MS = 2_500;
const HIS_EVERY_MS = 8_000;
/** Who is in reach is heard within this. */
const HEARD_MS = 5_000;

export const backupRestore: Scenario = {
  name: "backup-restore",
  summary: "a machine's disk is replaced by an older copy of it, with others in reach or alone; nothing runs twice",
  peers: { default: 4, least: 3, most: 12 },
  async run({ team, work, dice, world }) {
    const restored = dice.pick(team.machines.slice(1));
    const others = team.machines.filter((machine) => machine !== restored);
    const isAlone = dice.chance(0.4);
    const isMarkerOld = dice.chance(0.7);
    const [first, last] = [PART_MS * dice.between(0.2, 1), dice.between(0, 20_000)];
    work.go(3 * PART_MS, OTHERS_EVERY_MS, { ask: 4 }, others);
    work.go(first + PART_MS + last, HIS_EVERY_MS, { ask: 4 }, [restored]);
    await team.pass(first);
    if (dice.chance(0.5)) await endInOrder(team, restored);
    const copy = restored.disk.backup();
    const { incarnation, offers, kept } = restored;
    await team.pass(PART_MS / 2);
    restored.offers = "another button";
    await team.attempt(processOf(restored).refreshCards(), PART_MS);
    await team.pass(PART_MS / 2);
    for (let i = 0; i < 3; i++)
      for (const from of others) if (from.process !== null) void work.ask(from, restored).catch(refused);
    await team.pass(last);

    restored.kill({ power: true });
    restored.disk.restore(copy);
    team.witness.forget(restored.name);
    if (isMarkerOld) Object.assign(restored, { incarnation });
    if (dice.chance(0.5)) Object.assign(restored, { offers });
    if (dice.chance(0.5)) Object.assign(restored, { kept });
    world.count(isAlone ? "restored alone" : "restored with others in reach");
    world.count(isMarkerOld ? "with the marker of the copy" : "with the newer marker");
    if (isAlone) team.network.setOffline(restored.device, true);
    // What only the broken disk had is gone with it.
    await excuseWhatNobodyHas();
    await team.pass(dice.between(100, 5_000));
    await team.complete(restored.start());
    // What a person writes goes on the disk at once; only what a node writes by itself waits until it has heard somebody.
    if (!isAlone) await team.pass(HEARD_MS);
    work.go(PART_MS / 2, HIS_EVERY_MS, { ask: 4 }, [restored]);
    await team.pass(PART_MS / 2);
    await team.heal();
    const forks = team.living()[0]!.process!.replica.forks().length;
    world.count("forks", forks);
    if (forks > 0 && !isAlone) world.violate(`${restored.name} was restored with others in reach and forked its log`);

    function refused(): void {
      world.count("asks refused");
    }

    async function excuseWhatNobodyHas(): Promise<void> {
      const left = await team.eventsOf(others.filter(({ process }) => process !== null));
      const kept = await team.complete(eventsIn(copy));
      for (const { id, author } of team.witness.acknowledged)
        if (author === restored.name && !left.has(id) && !kept.has(id)) team.witness.excused.add(id);
    }
  },
};

/** So that documents keep what they folded; then it goes on. */
async function endInOrder(team: Team, machine: Machine): Promise<void> {
  if (machine.process === null) return;
  await team.complete(machine.stop());
  await team.complete(machine.start());
}

async function eventsIn(files: ReadonlyMap<string, Uint8Array>): Promise<Set<string>> {
  return idsIn([await openMemoryStore(createMemoryDisk({ files }))]);
}

/**
 * How many events a second the simulator plays, with 100, 1,000 and 10,000 machines. Each is the whole real node of
 * `simulations/machine.ts`: store, replica, sessions, ledger, outbox. They stand in meshes side by side under one heap, since
 * nobody has a team of 10,000 where everybody is connected to everybody (50 million connections): meshes of ten, and of two
 * in the lighter profile of 10,000, where the roster that each machine checks is smaller and less is said.
 */
import { foundTeam, type Team } from "../../simulations/team.ts";
import { createWork } from "../../simulations/work.ts";
import { createWorld, type World } from "../../simulations/world.ts";
import type { Bench, Row } from "./main.ts";
import { rounded } from "./measure.ts";

interface Profile {
  machines: number;
  meshPeers: number;
  /** Somebody in each mesh does something about this often. */
  everyMs: number;
}

const PROFILES: readonly Profile[] = [
  { machines: 100, meshPeers: 10, everyMs: 1_000 },
  { machines: 1_000, meshPeers: 10, everyMs: 1_000 },
  { machines: 10_000, meshPeers: 2, everyMs: 5_000 },
];
const QUICK: readonly Profile[] = [{ machines: 6, meshPeers: 3, everyMs: 1_000 }];
/** Virtual time that is measured. */
const MEASURED_MS = 10_000;

export const simulatorBench: Bench = {
  title: `simulator: whole nodes under one heap, ${MEASURED_MS / 1000} virtual s`,
  columns: {
    name: "machines",
    meshPeers: "in meshes of",
    events: "events",
    eventsPerSecond: "events/s",
    eventsPerCpuSecond: "events a CPU s",
    frames: "frames",
    acknowledged: "acknowledged",
    seconds: "real s",
    setupSeconds: "setting up, s",
    rssMb: "RSS, MB",
  },
  async measure({ quick, only, say }) {
    const rows: Row[] = [];
    for (const profile of quick ? QUICK : PROFILES) {
      if (only.length > 0 && !only.includes(String(profile.machines))) continue;
      say(`${profile.machines} machines`);
      rows.push(await measureProfile(profile));
    }
    return rows;
  },
};

async function measureProfile({ machines, meshPeers, everyMs }: Profile): Promise<Row> {
  const world = createWorld(machines);
  const setUpAt = process.hrtime.bigint();
  const teams: { team: Team; world: World }[] = [];
  for (let i = 0; i < machines / meshPeers; i++) {
    const own = withDice(world, `mesh ${i}`);
    teams.push({ team: await foundTeam(own, { peers: meshPeers }), world: own });
  }
  const startAt = process.hrtime.bigint();
  const cpuAt = process.cpuUsage();
  const before = { events: world.events, ...world.stats };
  for (const { team } of teams) createWork(team).go(MEASURED_MS, everyMs, { epoch: 0, withdraw: 0 });
  await world.run(world.now() + MEASURED_MS);
  const cpu = process.cpuUsage(cpuAt);
  const seconds = Number(process.hrtime.bigint() - startAt) / 1e9;
  if (world.violations[0] !== undefined) throw new Error(world.violations[0]);
  const events = world.events - before.events;
  const since = (figure: string): number =>
    (world.stats[figure] ?? 0) - ((before as { [figure: string]: number })[figure] ?? 0);
  return {
    name: String(machines),
    meshPeers,
    events,
    eventsPerSecond: Math.round(events / seconds),
    eventsPerCpuSecond: Math.round(events / ((cpu.user + cpu.system) / 1e6)),
    frames: since("frames"),
    acknowledged: since("acknowledged"),
    seconds: rounded(seconds, 1),
    setupSeconds: rounded(Number(startAt - setUpAt) / 1e9, 1),
    rssMb: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
}

/** The same world with draws of its own: no two meshes do the same. */
function withDice(world: World, label: string): World {
  return Object.create(world, { dice: { value: (stream: string) => world.dice(`${label} ${stream}`) } }) as World;
}

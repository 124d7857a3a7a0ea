/**
 * A colleague comes back after a long absence (P5): two whole nodes in processes of their own, over libp2p on loopback, joined by a
 * ticket. Ana is away while Ben writes; the clock begins with her node's start and ends when she holds and has folded all. Then the
 * same for few new events among the many: what an everyday sync costs.
 */
import type { DeviceId } from "../../protocols/ids.ts";
import type { Home } from "../../node/home.ts";
import { NODE_FLAGS } from "../../node/node-flags.ts";
import type { Arrived, Written } from "./absence/member.ts";
import { startChild, type Child } from "./child.ts";
import { makeHome, removeHome } from "./kin-node.ts";
import type { Bench, BenchOptions, Row } from "./main.ts";
import { rounded } from "./measure.ts";

const FULL = { events: 100_000, keys: 5_000, few: 100 };
const QUICK = { events: 1_000, keys: 100, few: 10 };

const MEMBER = new URL("absence/member.ts", import.meta.url).pathname;

export const absenceBench: Bench = {
  title: `absence: a node comes back and lacks ${FULL.events.toLocaleString("en-US")} facts of a colleague, then ${FULL.few}; two whole nodes over libp2p`,
  columns: {
    name: "lacks",
    events: "events",
    seconds: "s from its start",
    cpuSeconds: "its CPU s",
    eventsPerSecond: "events/s",
    rssMb: "peak RSS MB",
    bytes: "bytes on the wire",
  },
  async measure(options: BenchOptions): Promise<Row[]> {
    const { events, keys, few } = options.quick ? QUICK : FULL;
    const homes = { ana: makeHome("ana"), ben: makeHome("ben") };
    const ben = await startMember(homes.ben);
    try {
      const { ticket } = await ben.ask<{ ticket: string }>({ do: "invite" });
      const first = await startMember(homes.ana);
      await first.ask({ do: "join", ticket });
      await first.ask({ do: "await", ...(await ben.ask<Written>({ do: "write", count: 1, keys })) });
      await first.stop();
      const rows: Row[] = [];
      for (const count of [events, few]) {
        options.say(`Ben writes ${count} facts while Ana is away…`);
        const written = await ben.ask<Written>({ do: "write", count, keys });
        rows.push(await comeBack(homes.ana, written, count));
      }
      rows.push(await comeBack(homes.ana, await ben.ask<Written>({ do: "write", count: 0, keys }), 0));
      return rows;
    } finally {
      await ben.stop();
      for (const home of Object.values(homes)) removeHome(home);
    }
  },
};

function startMember(home: Home): Promise<Child> {
  return startChild(MEMBER, [home.dataFolder], NODE_FLAGS);
}

async function comeBack(
  home: Home,
  { device, last }: { device: DeviceId; last: number },
  events: number,
): Promise<Row> {
  const ana = await startMember(home);
  try {
    const arrived = await ana.ask<Arrived>({ do: "await", device, last });
    return {
      name: events === 0 ? "nothing" : `${events.toLocaleString("en-US")} events`,
      events,
      seconds: rounded(arrived.seconds, 2),
      cpuSeconds: rounded(arrived.cpuSeconds, 2),
      eventsPerSecond: Math.round(events / arrived.seconds),
      rssMb: Math.round(arrived.rssMb),
      bytes: arrived.bytes,
    };
  } finally {
    await ana.stop();
  }
}

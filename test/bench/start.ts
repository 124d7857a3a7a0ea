/**
 * From the spawn of a process to its node listening, then memory and CPU of the idle node. Several runs, the systems in turn;
 * medians.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { startChild } from "./child.ts";
import type { Bench, Row } from "./main.ts";
import { median } from "./measure.ts";
import type { Usage } from "./usage.ts";

/** Row name → its program below `start/` and arguments. */
const PROGRAMS: { [name: string]: readonly [program: string, ...args: string[]] } = {
  libp2p: ["libp2p.ts"],
};
const FULL = { runs: 5, settleMs: 2000, idleMs: 5000 };
const QUICK = { runs: 1, settleMs: 100, idleMs: 200 };

export const startBench: Bench = {
  title: `start: process spawn to listening, then the idle node; medians of ${FULL.runs} runs`,
  columns: {
    name: "system",
    startMs: "listening ms",
    rssMiB: "idle RSS MiB",
    idleCpuPercent: "idle CPU % of a core",
    runs: "runs",
  },
  async measure(options) {
    const { runs, settleMs, idleMs } = options.quick ? QUICK : FULL;
    const names = Object.keys(PROGRAMS).filter((name) => options.only.length === 0 || options.only.includes(name));
    const seen = new Map(names.map((name) => [name, [] as Omit<Row, "name">[]]));
    for (let run = 1; run <= runs; run++)
      for (const name of names) {
        options.say(`run ${run} of ${runs}: ${name}`);
        seen.get(name)!.push(await measureStart(PROGRAMS[name]!, settleMs, idleMs));
      }
    return names.map((name) => ({ name, ...medians(seen.get(name)!), runs }));
  },
};

async function measureStart([program, ...args]: readonly [string, ...string[]], settleMs: number, idleMs: number) {
  const child = await startChild(join(import.meta.dirname, "start", program), args);
  try {
    await sleep(settleMs);
    const before = await child.ask<Usage>(null);
    await sleep(idleMs);
    const after = await child.ask<Usage>(null);
    return {
      startMs: child.startMs,
      rssMiB: after.rssBytes / 2 ** 20,
      idleCpuPercent: ((after.cpuMs - before.cpuMs) / (after.atMs - before.atMs)) * 100,
    };
  } finally {
    await child.stop();
  }
}

function medians(runs: readonly { [field: string]: unknown }[]): { [field: string]: number } {
  const fields = Object.keys(runs[0] ?? {});
  return Object.fromEntries(
    fields.map((field) => [field, Math.round(median(runs.map((run) => run[field] as number)) * 10) / 10]),
  );
}

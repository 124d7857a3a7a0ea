/**
 * From the spawn of a process to its node listening, then memory and CPU of the idle node. Several runs, the systems in turn;
 * medians.
 */
import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { NODE_FLAGS } from "../../node/node-flags.ts";
import { startChild } from "./child.ts";
import type { Bench, Row } from "./main.ts";
import { median, rounded } from "./measure.ts";
import type { Usage } from "./usage.ts";

interface Program {
  file: string;
  /** How the keys of the home that it starts in lie on the disk; absent: it has no home. */
  keys?: "raw" | "sealed";
}

/** Row name → its program below `start/`. */
const PROGRAMS: { [name: string]: Program } = {
  libp2p: { file: "libp2p.ts" },
  kin: { file: "kin.ts", keys: "raw" },
  "kin-sealed": { file: "kin.ts", keys: "sealed" },
};
const FULL = { runs: 3, settleMs: 2000, idleMs: 5000 };
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
    const homes = await makeHomes(names);
    try {
      for (let run = 1; run <= runs; run++)
        for (const name of names) {
          options.say(`run ${run} of ${runs}: ${name}`);
          seen.get(name)!.push(await measureStart(PROGRAMS[name]!, homes.get(name), settleMs, idleMs));
        }
    } finally {
      for (const home of homes.values()) rmSync(home, { recursive: true, force: true });
    }
    return names.map((name) => ({ name, ...medians(seen.get(name)!), runs }));
  },
};

/** Row name → folder. Identity and mesh are made before: only a start is measured. */
async function makeHomes(names: readonly string[]): Promise<Map<string, string>> {
  const homes = new Map<string, string>();
  for (const name of names) {
    const { keys } = PROGRAMS[name]!;
    if (keys === undefined) continue;
    const child = await startChild(join(import.meta.dirname, "start", "prepare.ts"), [keys]);
    homes.set(name, child.ready as string);
    await child.stop();
  }
  return homes;
}

async function measureStart(program: Program, home: string | undefined, settleMs: number, idleMs: number) {
  const args = home === undefined ? [] : [home, program.keys!];
  const child = await startChild(
    join(import.meta.dirname, "start", program.file),
    args,
    home === undefined ? [] : NODE_FLAGS,
  );
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
    fields.map((field) => [field, rounded(median(runs.map((run) => run[field] as number)), 1)]),
  );
}

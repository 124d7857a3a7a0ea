/** What it takes to write a long history into a file that proves itself, and to check the file with the mesh id alone. Each in a process of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startChild } from "./child.ts";
import type { Bench, BenchOptions, Row } from "./main.ts";
import { median, rounded } from "./measure.ts";
import { prepareLog } from "./resync/prepare.ts";

const FULL = { events: 100_000, rounds: 3, flushes: [64, 8, 1] };
const QUICK = { events: 2_000, rounds: 1, flushes: [64] };
const SIDE = join(import.meta.dirname, "exports/side.ts");

interface Done {
  seconds: number;
  rssMb: number;
  events: number;
  bytes: number;
}

export const exportsBench: Bench = {
  title: `an export of ${FULL.events.toLocaleString("en-US")} events, written from log.db and verified; medians of ${FULL.rounds}`,
  columns: {
    name: "verb",
    flush: "events a flush",
    events: "events",
    seconds: "seconds",
    eventsPerSecond: "events/s",
    rssMb: "peak RSS MB",
    bytes: "bytes",
  },
  async measure(options) {
    const folder = mkdtempSync(join(tmpdir(), "kin-exports-"));
    try {
      const { flushes } = options.quick ? QUICK : FULL;
      const rows: Row[] = [];
      for (const flush of flushes) rows.push(...(await measureOne(folder, flush, options)));
      return rows;
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

async function measureOne(folder: string, flush: number, options: BenchOptions): Promise<Row[]> {
  const { events, rounds } = options.quick ? QUICK : FULL;
  options.say(`writing ${events} events, a head each ${flush}`);
  const log = await prepareLog(folder, events, flush);
  const file = join(folder, `${flush}.kin`);
  const rows: Row[] = [];
  for (const name of ["export", "verify"]) {
    const runs: Done[] = [];
    for (let round = 0; round < rounds; round++) runs.push(await runOnce([name, folder, log, file]));
    const of = (field: keyof Done): number => median(runs.map((run) => run[field]));
    const seconds = of("seconds");
    options.say(`${name} ${flush}: ${seconds.toFixed(2)} s`);
    const { events: done, bytes } = runs[0]!;
    const eventsPerSecond = Math.round(done / seconds);
    rows.push({
      name,
      flush,
      events: done,
      seconds: rounded(seconds, 2),
      eventsPerSecond,
      rssMb: Math.round(of("rssMb")),
      bytes,
    });
  }
  return rows;
}

async function runOnce(args: string[]): Promise<Done> {
  const child = await startChild(SIDE, args);
  try {
    return await child.ask<Done>({});
  } finally {
    await child.stop();
  }
}

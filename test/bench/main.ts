/**
 * `npm run bench <name>`: measures and prints a table with units; `-- --json` prints one object
 * `{bench, machine, commit, rows}` instead. `-- --quick` is for trying the bench itself: its figures mean nothing.
 */
import { execFileSync } from "node:child_process";
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { endAll, endAllWhenInterrupted, takeOwnTemp } from "../own-temp.ts";
import { absenceBench } from "./absence.ts";
import { appendsBench } from "./appends.ts";
import { callsBench } from "./calls.ts";
import { catchupBench } from "./catchup.ts";
import { costsBench } from "./costs.ts";
import { exportsBench } from "./exports.ts";
import { factsBench } from "./facts.ts";
import { resyncBench } from "./resync.ts";
import { simulatorBench } from "./simulator.ts";
import { startBench } from "./start.ts";
import { statusBench } from "./status.ts";
import { formatTable } from "./table.ts";

export interface Bench {
  /** Shown above the table. */
  title: string;
  /** Field → heading with its unit, in the table's order. */
  columns: { [field: string]: string };
  measure(options: BenchOptions): Promise<Row[]>;
}
export interface Row {
  name: string;
  [field: string]: string | number;
}
export interface BenchOptions {
  quick: boolean;
  /** Rows to measure; empty: all. */
  only: readonly string[];
  /** Progress, for a person who waits. */
  say(line: string): void;
}

const BENCHES: { [name: string]: Bench } = {
  absence: absenceBench,
  appends: appendsBench,
  calls: callsBench,
  costs: costsBench,
  exports: exportsBench,
  facts: factsBench,
  resync: resyncBench,
  simulator: simulatorBench,
  start: startBench,
  status: statusBench,
  catchup: catchupBench,
};

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: "boolean", default: false },
    quick: { type: "boolean", default: false },
    only: { type: "string", multiple: true, default: [] },
  },
});
const [name = ""] = positionals;
const bench = BENCHES[name];
if (bench === undefined) {
  console.error(`no bench ${JSON.stringify(name)}: npm run bench ${Object.keys(BENCHES).join(" | ")} [-- --json]`);
  process.exit(2);
}

const folder = takeOwnTemp("kin-bench-");
endAllWhenInterrupted(folder);
const rows = await bench
  .measure({ quick: values.quick, only: values.only, say: (line) => console.error(line) })
  .finally(() => endAll(folder));
const header = { bench: name, machine: machine(), commit: commit() };
if (values.json) console.log(JSON.stringify({ ...header, rows }));
else {
  console.log(`${bench.title}\n${header.machine}, commit ${header.commit}\n`);
  console.log(formatTable(bench.columns, rows));
}

function machine(): string {
  const [first] = cpus();
  return `${cpus().length} × ${first?.model.trim() ?? process.arch}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${process.arch}, Node ${process.version}`;
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    return git("rev-parse", "--short=12", "HEAD") + (git("status", "--porcelain") === "" ? "" : " with changes");
  } catch {
    return "unknown (no git)";
  }
}

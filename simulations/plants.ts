/**
 * `npm run plants`: does the simulator find bugs? Five are planted one after the other, each a text of one line exchanged in a
 * copy of the tree, and the scenarios that should notice are played with the same seeds with and without it. A plant that no
 * seed catches, or a seed that is red without one, ends it with exit code 1.
 *
 * `-- --seeds 20` how many seeds each (default 12), `-- --only fsync,dedup` these plants. `-- --quick` stops at the first seed that
 * catches, begins with one that has done so before, and does not play the seeds without the plant: for CI, where they are played
 * anyway.
 */
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import type { Result } from "./scenario.ts";

interface Plant {
  name: string;
  what: string;
  file: string;
  /** Stands exactly once in the file. */
  search: string;
  replace: string;
  /** Who should notice. */
  scenario: string;
  /** A seed that has noticed. */
  seed: number;
}

const PLANTS: readonly Plant[] = [
  {
    name: "fsync",
    what: "the store says durable without flushing",
    file: "sync/stores/memory.ts",
    search: "\n      await disk.flush(name);",
    replace: "",
    scenario: "disk-faults",
    seed: 1,
  },
  {
    name: "wall",
    what: "events are ordered by the wall clock alone",
    file: "sync/clock.ts",
    search: "if (nowMs > floor.ms) return { ms: nowMs, counter: 0 };",
    replace: "if (nowMs !== floor.ms) return { ms: nowMs, counter: 0 };",
    scenario: "clock-skew",
    seed: 1,
  },
  {
    name: "dedup",
    what: "a restart forgets which calls have run",
    file: "node/agents/ledger.ts",
    search: "for (const { key, value } of await store.values(PREFIX)) add(parseRow(key, value));",
    replace: "",
    scenario: "kill-every-step",
    seed: 1,
  },
  {
    name: "fork",
    what: "another history of a log is taken for the one that is here",
    file: "sync/runs.ts",
    search: "events[last - from]!.id === mine ? events.slice",
    replace: "last >= from ? events.slice",
    scenario: "malicious-peer",
    seed: 4,
  },
  {
    name: "durable",
    what: "what was received counts before it is on the disk",
    file: "sync/receiving.ts",
    search: "await store.append({\n      logs: known === undefined",
    replace: "void store.append({\n      logs: known === undefined",
    scenario: "disk-faults",
    seed: 1,
  },
];

const ROOT = join(import.meta.dirname, "..");
const COPIED = ["protocols", "sync", "node", "simulations", "package.json"];
const DEFAULT_SEEDS = 12;
/** Of one seed: a plant may make a simulation run for ever. */
const SEED_LIMIT_MS = 300_000;
const run = promisify(execFile);

const { values } = parseArgs({
  options: { seeds: { type: "string" }, only: { type: "string" }, quick: { type: "boolean", default: false } },
});
const seeds = Number(values.seeds ?? DEFAULT_SEEDS);
const only = values.only?.split(",");
const plants = PLANTS.filter(({ name }) => only === undefined || only.includes(name));
if (!Number.isInteger(seeds) || seeds < 1 || plants.length === 0) {
  console.error(
    `usage: npm run plants -- [--seeds N] [--only ${PLANTS.map(({ name }) => name).join(",")}] [--quick]; seeds are at least 1`,
  );
  process.exit(2);
}

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
const copy = mkdtempSync(join(tmpdir(), "kin-plants-"));
let failed = 0;
try {
  for (const path of COPIED) cpSync(join(ROOT, path), join(copy, path), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  for (const plant of plants) failed += (await tryPlant(plant)) ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true, force: true });
}
console.log(`${plants.length - failed} of ${plants.length} plants caught`);
process.exitCode = failed === 0 ? 0 : 1;

async function tryPlant(plant: Plant): Promise<boolean> {
  const path = join(copy, plant.file);
  const original = readFileSync(path, "utf8");
  if (original.split(plant.search).length !== 2) {
    console.log(`NOT CAUGHT ${plant.name}: its text does not stand exactly once in ${plant.file}`);
    return false;
  }
  const caught: number[] = [];
  const red: number[] = [];
  let sentence = "";
  let tried = 0;
  const begin = values.quick ? plant.seed : 1;
  for (let seed = begin; seed < begin + seeds; seed++) {
    tried++;
    if (!values.quick && (await violations(plant.scenario, seed)).length > 0) red.push(seed);
    writeFileSync(
      path,
      original.replace(plant.search, () => plant.replace),
    );
    const [first] = await violations(plant.scenario, seed);
    writeFileSync(path, original);
    if (first === undefined) continue;
    caught.push(seed);
    sentence ||= first;
    if (values.quick) break;
  }
  const isCaught = caught.length > 0 && red.length === 0;
  console.log(
    `${isCaught ? "caught    " : "NOT CAUGHT"} ${plant.name} (${plant.what}): ${plant.scenario}, ${caught.length} of ${tried} seeds: ${caught.join()}`,
  );
  if (red.length > 0) console.log(`           red without it: ${red.join()}`);
  if (sentence !== "") console.log(`           ${sentence.slice(0, 160)}`);
  return isCaught;
}

async function violations(scenario: string, seed: number): Promise<string[]> {
  const args = [join(copy, "simulations", "run.ts"), scenario, "--seed", String(seed), "--json"];
  try {
    const options = { timeout: SEED_LIMIT_MS, maxBuffer: 2 ** 26, signal: interrupted.signal };
    const { stdout } = await run(process.execPath, args, options);
    return (JSON.parse(stdout) as Result).violations;
  } catch (error) {
    interrupted.signal.throwIfAborted(); // the copy goes too
    const { stdout, killed } = error as { stdout?: string; killed?: boolean };
    if (killed === true) return []; // a busy machine is no catch
    if (stdout === undefined || !stdout.startsWith("{")) throw error;
    return (JSON.parse(stdout) as Result).violations;
  }
}

/**
 * `npm run faults`: applies each fault of `test/faults.ts` in a copy of the tree, runs the tests that cite its requirement and
 * prints which of them goes red, and is green without it. A fault that no test notices is a promise that nothing keeps: exit code 1.
 *
 * `-- --seed 7 --count 20` draws a sample (CI), `-- --only R3,L7` these requirements' faults.
 */
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { citationPattern, citingFiles, readCitations } from "./citations.ts";
import { chance } from "./disk/random.ts";
import { FAULTS, type Fault } from "./faults.ts";
import { endAll, endAllWhenInterrupted, killAll, straysIn, takeOwnTemp } from "./own-temp.ts";

const ROOT = join(import.meta.dirname, "..");
/** A fault may make a test wait for ever; the test's own limit is 30 s (120 s with real processes), and a few tests may cite one requirement. */
const RUN_LIMIT_MS = 180_000;
/** Without a fault they end, also on a busy machine. */
const GREEN_LIMIT_MS = 900_000;
/** So many times as long as without the fault. */
const HANGS_AFTER = 3;
/** At the same time, each in a copy of its own. */
const SIDE_BY_SIDE = 2;
/** Their tests start processes: slower than others. */
const PROCESSES = /^test\/(node|disk|bench|cli|interop|independent|simulations)\//;
/** Ignored by git, needed to run the tests: linked into the copy. */
const LINKED = ["node_modules", "test/interop/bin"];

const { values } = parseArgs({
  options: { seed: { type: "string" }, count: { type: "string" }, only: { type: "string" } },
});
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const only = values.only?.split(",");
const wanted = only === undefined ? FAULTS : FAULTS.filter(({ requirement }) => only.includes(requirement));
const faults = sample(wanted, Number(values.count ?? wanted.length), seed);
if (faults.length === 0) {
  console.error(
    `no fault ${values.only === undefined ? "to apply" : `for a requirement ${values.only}`}: see test/faults.ts`,
  );
  process.exit(2);
}

// Everything lies in it: the copies, and what their tests make and start.
const folder = takeOwnTemp("kin-faults-");
endAllWhenInterrupted(folder);
let survived = 0;
try {
  console.log(`${faults.length} of ${FAULTS.length} faults, seed ${seed}`);
  const citations = readCitations(ROOT);
  const waiting = faults.values();
  const applyAll = async (bench: Bench): Promise<void> => {
    for (const fault of waiting) {
      const { red, text } = await apply(fault, citingFiles(ROOT, citations, fault.requirement), bench);
      if (!red) survived++;
      console.log(`${red ? "red     " : "SURVIVED"}  ${fault.requirement}  ${fault.file}  ${text}`);
    }
  };
  await Promise.all(Array.from({ length: Math.min(SIDE_BY_SIDE, faults.length) }, (_, i) => applyAll(makeBench(i))));
} finally {
  endAll(folder);
}
console.log(`${faults.length - survived} passed, ${survived} failed`);
process.exitCode = survived === 0 ? 0 : 1;

/** A copy of the tree in which one fault at a time is applied, and the temporary folder of its tests. */
interface Bench {
  copy: string;
  temp: string;
}

interface Outcome {
  /** As `vitest -t` matches it. */
  name: string;
  file: string;
  state: "passed" | "failed" | "other";
}

interface Verdict {
  red: boolean;
  text: string;
}

/** The likely quickest of the citing files alone, then the others together: most faults need no more than the first. */
function inTurns(files: readonly string[]): string[][] {
  const rank = (file: string): number => (PROCESSES.test(file) ? 1 : 0);
  const [first, ...others] = files.toSorted((a, b) => rank(a) - rank(b));
  return [first === undefined ? [] : [first], others].filter((turn) => turn.length > 0);
}

async function apply(fault: Fault, files: readonly string[], bench: Bench): Promise<Verdict> {
  const path = join(bench.copy, fault.file);
  const original = readFileSync(path, "utf8");
  if (original.split(fault.search).length !== 2) return { red: false, text: "its text does not occur exactly once" };
  const cited = citationPattern(fault.requirement);
  const withFault = async (turn: readonly string[], limitMs: number): Promise<Outcome[] | undefined> => {
    writeFileSync(
      path,
      original.replace(fault.search, () => fault.replace),
    );
    const outcomes = await runTests(turn, cited, bench, limitMs);
    writeFileSync(path, original);
    return outcomes;
  };
  let why = "no test ran: the fault must break the behaviour, not the file";
  for (const turn of inTurns(files)) {
    let outcomes = await withFault(turn, RUN_LIMIT_MS);
    if (outcomes === undefined) {
      const began = performance.now();
      const green = await runTests(turn, cited, bench, GREEN_LIMIT_MS);
      if (green?.every(({ state }) => state !== "failed") !== true)
        return { red: false, text: "it hangs, and its tests are not green without it" };
      const limitMs = Math.max(RUN_LIMIT_MS, HANGS_AFTER * (performance.now() - began));
      if (limitMs > RUN_LIMIT_MS) outcomes = await withFault(turn, limitMs);
      if (outcomes === undefined) return { red: true, text: `hangs: no end within ${Math.round(limitMs / 1000)} s` };
    }
    const red = await redOnlyWithFault(outcomes, bench);
    if (red !== undefined) return { red: true, text: `${red.file}: ${red.name}` };
    if (outcomes.some(({ state }) => state === "failed")) why = "what is red with it is red without it too";
    else if (outcomes.some(({ state }) => state === "passed")) why = "its tests stay green";
  }
  return { red: false, text: why };
}

/** Only a test that is green without the fault proves anything by turning red: the same once more, without it. */
async function redOnlyWithFault(outcomes: readonly Outcome[], bench: Bench): Promise<Outcome | undefined> {
  for (const red of outcomes.filter(({ state }) => state === "failed")) {
    const alone = `^${red.name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$`;
    const again = await runTests([red.file], alone, bench, GREEN_LIMIT_MS);
    if (again?.some(({ name, state }) => name === red.name && state === "passed")) return red;
  }
  return undefined;
}

/** undefined: did not end in time. */
async function runTests(
  files: readonly string[],
  pattern: string,
  { copy, temp }: Bench,
  limitMs: number,
): Promise<Outcome[] | undefined> {
  const report = join(copy, ".faults-report.json");
  rmSync(report, { force: true });
  const vitest = join(copy, "node_modules", "vitest", "vitest.mjs");
  // The first red test is enough.
  const args = [vitest, "run", "--bail=1", "--reporter=json", `--outputFile=${report}`, "-t", pattern, ...files];
  const env = { ...process.env, TMPDIR: temp };
  // A group of its own: Ctrl-C reaches this process alone, which then ends everything.
  const child = spawn(process.execPath, args, { cwd: copy, env, stdio: "ignore", detached: true });
  const inTime = await new Promise<boolean>((resolve, reject) => {
    const limit = setTimeout(() => {
      killAll(straysIn(temp)); // its workers, and the nodes that its tests started
      process.kill(-child.pid!, "SIGKILL");
      resolve(false);
    }, limitMs);
    child.once("error", reject);
    child.once("exit", () => {
      clearTimeout(limit);
      resolve(true);
    });
  });
  if (!inTime) return undefined;
  return existsSync(report) ? readReport(report) : [];
}

interface JsonReport {
  testResults: {
    name: string;
    assertionResults: { ancestorTitles: string[]; title: string; status: string }[];
  }[];
}

function readReport(path: string): Outcome[] {
  const report = JSON.parse(readFileSync(path, "utf8")) as JsonReport;
  return report.testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ ancestorTitles, title, status }) => ({
      name: [...ancestorTitles, title].join(" > "),
      file: name.slice(name.indexOf("/test/") + 1),
      state: status === "passed" || status === "failed" ? status : "other",
    })),
  );
}

function makeBench(index: number): Bench {
  const temp = join(folder, `t${index}`);
  mkdirSync(temp);
  return { copy: copyTree(join(folder, `${index}`)), temp };
}

/** What git would commit. */
function copyTree(copy: string): string {
  const listed = execFileSync("git", ["-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"], {
    cwd: ROOT,
  });
  for (const file of listed
    .toString()
    .split("\0")
    .filter((name) => name !== "" && existsSync(join(ROOT, name)))) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(ROOT, file), join(copy, file));
  }
  for (const path of LINKED.filter((name) => existsSync(join(ROOT, name)))) {
    mkdirSync(dirname(join(copy, path)), { recursive: true });
    symlinkSync(join(ROOT, path), join(copy, path));
  }
  return copy;
}

/** `count` of `all` in an order that only the seed decides (Fisher–Yates). */
function sample<T>(all: readonly T[], count: number, seed: number): T[] {
  const items = [...all];
  const random = chance(seed);
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items.slice(0, count);
}

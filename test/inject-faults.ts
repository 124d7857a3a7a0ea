/**
 * `npm run faults`: applies each fault of `test/faults.ts` in a copy of the tree, runs the tests that cite its requirement and
 * prints which of them goes red. A fault that no test notices is a promise that nothing keeps: exit code 1.
 *
 * `-- --seed 7 --count 20` draws a sample (CI), `-- --only R3,L7` these requirements' faults.
 */
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { citationPattern, citingFiles, readCitations, type Citation } from "./citations.ts";
import { FAULTS, type Fault } from "./faults.ts";

const ROOT = join(import.meta.dirname, "..");
/** A fault may make a test wait for ever; the test's own limit is 30 s (120 s with real processes), and a few tests may cite one requirement. */
const RUN_LIMIT_MS = 180_000;
/** The run without a fault has all that is cited in it. */
const GREEN_LIMIT_MS = 900_000;
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

const copy = copyTree();
let survived = 0;
try {
  console.log(`${faults.length} of ${FAULTS.length} faults, seed ${seed}`);
  const citations = readCitations(copy);
  const green = await greenTests(faults, citations);
  for (const fault of faults) {
    const verdict = await apply(fault, citations, green);
    if (!verdict.red) survived++;
    console.log(`${verdict.red ? "red     " : "SURVIVED"}  ${fault.requirement}  ${fault.file}  ${verdict.text}`);
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
console.log(`${faults.length - survived} passed, ${survived} failed`);
process.exitCode = survived === 0 ? 0 : 1;

interface Outcome {
  name: string;
  file: string;
  state: "passed" | "failed" | "other";
  /** Of the whole file. */
  fileMs: number;
}

/** What is green without a fault, and how long each file took for it. */
interface Green {
  tests: Set<string>;
  fileMs: Map<string, number>;
}

/** Only a test that is green without the fault can prove anything by turning red. */
async function greenTests(faults: readonly Fault[], citations: readonly Citation[]): Promise<Green> {
  const ids = [...new Set(faults.map(({ requirement }) => requirement))];
  const outcomes = await runTests(
    ids.flatMap((id) => citingFiles(copy, citations, id)),
    ids,
    GREEN_LIMIT_MS,
  );
  if (outcomes === undefined)
    throw new Error(`the tests did not end within ${GREEN_LIMIT_MS / 1000} s without a fault`);
  for (const { state, file, name } of outcomes)
    if (state === "failed") console.log(`red before any fault: ${file}: ${name}`);
  return {
    tests: new Set(outcomes.filter(({ state }) => state === "passed").map(testKey)),
    fileMs: new Map(outcomes.map(({ file, fileMs }) => [file, fileMs])),
  };
}

/** The quickest of the citing files alone, then the others together: most faults need no more than the first. */
function inTurns(files: readonly string[], { fileMs }: Green): string[][] {
  const [first, ...others] = files.toSorted((a, b) => (fileMs.get(a) ?? 0) - (fileMs.get(b) ?? 0));
  return [first === undefined ? [] : [first], others].filter((turn) => turn.length > 0);
}

async function apply(
  fault: Fault,
  citations: readonly Citation[],
  green: Green,
): Promise<{ red: boolean; text: string }> {
  const path = join(copy, fault.file);
  const original = readFileSync(path, "utf8");
  if (original.split(fault.search).length !== 2) return { red: false, text: "its text does not occur exactly once" };
  const files = citingFiles(copy, citations, fault.requirement);
  const pattern = new RegExp(citationPattern(fault.requirement));
  if (![...green.tests].some((key) => pattern.test(key.slice(key.indexOf("\n") + 1))))
    return { red: false, text: "no test that cites it is green without the fault" };
  writeFileSync(
    path,
    original.replace(fault.search, () => fault.replace),
  );
  try {
    let ran = false;
    for (const turn of inTurns(files, green)) {
      const outcomes = await runTests(turn, [fault.requirement], RUN_LIMIT_MS);
      if (outcomes === undefined) return { red: true, text: `hangs: no end within ${RUN_LIMIT_MS / 1000} s` };
      const red = outcomes.find((outcome) => outcome.state === "failed" && green.tests.has(testKey(outcome)));
      if (red !== undefined) return { red: true, text: `${red.file}: ${red.name}` };
      ran ||= outcomes.some((outcome) => outcome.state === "passed");
    }
    return {
      red: false,
      text: ran ? "its tests stay green" : "no test ran: the fault must break the behaviour, not the file",
    };
  } finally {
    writeFileSync(path, original);
  }
}

function testKey({ file, name }: Pick<Outcome, "file" | "name">): string {
  return `${file}\n${name}`;
}

/** undefined: did not end in time. */
async function runTests(
  files: readonly string[],
  ids: readonly string[],
  limitMs: number,
): Promise<Outcome[] | undefined> {
  if (files.length === 0) return [];
  const report = join(copy, ".faults-report.json");
  rmSync(report, { force: true });
  const vitest = join(copy, "node_modules", "vitest", "vitest.mjs");
  const pattern = ids.map(citationPattern).join("|");
  const args = [vitest, "run", "--reporter=json", `--outputFile=${report}`, "-t", pattern, ...new Set(files)];
  // A group of its own: with the limit's end its workers and the nodes that its tests started go too.
  const child = spawn(process.execPath, args, { cwd: copy, stdio: "ignore", detached: true });
  const inTime = await new Promise<boolean>((resolve, reject) => {
    const limit = setTimeout(() => {
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
    startTime: number;
    endTime: number;
    assertionResults: { fullName: string; status: string }[];
  }[];
}

function readReport(path: string): Outcome[] {
  const report = JSON.parse(readFileSync(path, "utf8")) as JsonReport;
  return report.testResults.flatMap(({ name, startTime, endTime, assertionResults }) =>
    assertionResults.map(({ fullName, status }) => ({
      name: fullName,
      file: name.slice(name.indexOf("/test/") + 1),
      state: status === "passed" || status === "failed" ? status : "other",
      fileMs: endTime - startTime,
    })),
  );
}

/** What git would commit, in a temporary folder. */
function copyTree(): string {
  const folder = mkdtempSync(join(tmpdir(), "kin-faults-"));
  const listed = execFileSync("git", ["-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"], {
    cwd: ROOT,
  });
  for (const file of listed
    .toString()
    .split("\0")
    .filter((name) => name !== "" && existsSync(join(ROOT, name)))) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    cpSync(join(ROOT, file), join(folder, file));
  }
  for (const path of LINKED.filter((name) => existsSync(join(ROOT, name)))) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    symlinkSync(join(ROOT, path), join(folder, path));
  }
  return folder;
}

/** `count` of `all` in an order that only the seed decides (Fisher–Yates over mulberry32). */
function sample<T>(all: readonly T[], count: number, seed: number): T[] {
  const items = [...all];
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items.slice(0, count);
}

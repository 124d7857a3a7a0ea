/**
 * A stranger's client against a real node: `test/interop/stranger/` is a Go program that was written from `docs/protocol.md`
 * alone. It joins by ticket, asks an agent, calls a tool, verifies the signed answers, refuses one that was tampered with, and
 * reads the test vectors as we do.
 */
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test, type TestContext } from "vitest";
import { MAIN, runKin } from "../cli/run-kin.ts";

const SOURCE = join(import.meta.dirname, "stranger");
const BINARY = join(import.meta.dirname, "bin", "stranger");
const VECTORS = join(import.meta.dirname, "../vectors");
/** With an empty module cache the build downloads and compiles go-libp2p: about a minute on two cores. */
const BUILD_LIMIT_MS = 10 * 60_000;
/** Longer than the stranger's own limit. */
const RUN_LIMIT_MS = 90_000;
const START_LIMIT_MS = 120_000;
/** What makes a build impossible on this machine rather than wrong. */
const CANNOT_BUILD = /no such host|dial tcp|connection refused|i\/o timeout|toolchain not available|requires go >=/;

const run = promisify(execFile);

/** @returns why it cannot be built here; undefined: it is built */
async function buildStranger(): Promise<string | undefined> {
  try {
    await run("go", ["version"]);
  } catch {
    return "no `go` on the PATH: install Go 1.26 or later";
  }
  try {
    const args = ["build", "-trimpath", "-buildvcs=false", "-o", BINARY, "."];
    await run("go", args, { cwd: SOURCE, timeout: BUILD_LIMIT_MS });
    return undefined;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr ?? String(error);
    if (!CANNOT_BUILD.test(said)) throw error;
    return `go could not build the stranger: ${said.trim().split("\n").at(-1)}`;
  }
}

interface Line {
  event: string;
  [field: string]: unknown;
}

async function stranger(...args: string[]): Promise<{ code: number; lines: Line[] }> {
  const parse = (out: string): Line[] =>
    out
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Line);
  try {
    const { stdout } = await run(BINARY, args, { timeout: RUN_LIMIT_MS, maxBuffer: 16 * 1024 * 1024 });
    return { code: 0, lines: parse(stdout) };
  } catch (error) {
    const { code, stdout } = error as { code?: unknown; stdout?: string };
    if (typeof code !== "number") throw error;
    return { code, lines: parse(stdout ?? "") };
  }
}

let missing: string | undefined;
let folder: string;
let home: string;
let ticket: string;

/** A node of Ben's that shares a small repository, and a ticket for several guests. */
async function startBen(): Promise<void> {
  home = join(folder, "home");
  const repository = join(folder, "app");
  await mkdir(home, { mode: 0o700 });
  await chmod(home, 0o700);
  await mkdir(repository);
  await writeFile(join(home, "config.jsonc"), '{"listen":{"hosts":["127.0.0.1"]},"discovery":{"mdns":false}}');
  const git = (...args: string[]) =>
    run("git", ["-c", "user.name=Ben", "-c", "user.email=ben@example.org", ...args], { cwd: repository });
  await git("init", "-q");
  await writeFile(join(repository, "notes.txt"), "the first line\n");
  await git("add", ".");
  await git("commit", "-qm", "begin the notes");
  const args = ["invite", "--name", "ana", "--as", "ben", "--share", repository, "--share-name", "app", "--uses", "5"];
  const invited = await kin(...args, "--json");
  expect(invited, invited.err).toMatchObject({ code: 0 });
  ({ ticket } = JSON.parse(invited.out) as { ticket: string });
}

function kin(...args: string[]) {
  return runKin(args, { home, program: MAIN });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kin-stranger-"));
  missing = await buildStranger();
  if (missing === undefined) await startBen();
}, BUILD_LIMIT_MS + START_LIMIT_MS);

afterAll(async () => {
  if (missing === undefined && home !== undefined) await kin("down");
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
}, START_LIMIT_MS);

/** With KIN_REQUIRE_ALL=1 (CI) the reporter counts a skip as a failure. */
function needsGo(context: TestContext): void {
  if (missing !== undefined) context.skip(missing);
}

describe("the stranger, written from docs/protocol.md", () => {
  test(
    "joins by ticket, asks the reviewer, calls git.log over one stream, and verifies each signed answer",
    async (context) => {
      needsGo(context);
      const ask = ["-agent", "reviewer", "-text", "what changed in the last commit?"];
      const { code, lines } = await stranger(
        "call",
        "-ticket",
        ticket,
        ...ask,
        "-tool",
        "git.log",
        "-args",
        '{"max":3}',
      );
      expect(code, JSON.stringify(lines)).toBe(0);
      const of = (event: string): Line[] => lines.filter((line) => line.event === event);
      expect(of("connected")).toMatchObject([{ muxer: "/yamux/1.0.0" }]);
      expect((of("joined")[0]!["members"] as string[]).toSorted()).toEqual(["ana", "ben"]);
      expect(of("joined")[0]!["epochs"]).toBe(1);
      expect(of("accepted")).toMatchObject([
        { target: "reviewer", answer: { index: 0, signedBy: "envelope/agent" } },
        { target: "git.log", answer: { index: 0, signedBy: "envelope/device" } },
      ]);
      const [review, log] = of("result");
      expect(review).toMatchObject({ target: "reviewer", answer: { signedBy: "envelope/agent" } });
      expect(review!["text"]).toContain("begin the notes");
      expect(JSON.stringify(log!["answer"])).toContain("begin the notes");
      expect(log).toMatchObject({ target: "git.log", answer: { signedBy: "envelope/device" } });
      const members = await kin("members", "--json");
      expect(members.out).toContain('"ana"');
    },
    RUN_LIMIT_MS,
  );

  test(
    "resumes calls on a new stream, takes and opens the whole log and the cards, and comes back with the same keys",
    async (context) => {
      needsGo(context);
      const asks = ["-agent", "reviewer", "-tool", "git.log", "-resume", "-sync", "-again"];
      const { code, lines } = await stranger("call", "-ticket", ticket, "-name", "rita", ...asks);
      expect(code, JSON.stringify(lines)).toBe(0);
      const of = (event: string): Line[] => lines.filter((line) => line.event === event);
      expect(of("resumed")).toMatchObject([{ from: 1 }, { from: 1 }]);
      expect(of("result")).toMatchObject([{ target: "reviewer" }, { target: "git.log" }]);
      const [cards] = of("cards");
      expect(cards!["names"]).toEqual(expect.arrayContaining(["agent:reviewer", "tool:git.log"]));
      const [synced] = of("synced");
      expect(synced).toMatchObject({ logs: 1, kinds: { "log-opened": 1 } });
      // The log also holds older cards of the same name.
      expect([...new Set(synced!["cards"] as string[])]).toEqual(cards!["names"]);
      const { kinds, opened, locked } = synced as unknown as {
        kinds: { [kind: string]: number };
        opened: number;
        locked: number;
      };
      const events = Object.values(kinds).reduce((sum, count) => sum + count, 0);
      expect(opened + locked).toBe(events);
      expect(synced!["records"]).toBe(kinds["roster"]);
      // What is sealed to other guests alone stays locked.
      expect(locked).toBeLessThanOrEqual(kinds["epoch-sealed"] ?? 0);
      expect(of("greeted again")).toHaveLength(1);
    },
    RUN_LIMIT_MS,
  );

  test(
    "refuses a result of which one bit was changed on the way",
    async (context) => {
      needsGo(context);
      const { code, lines } = await stranger(
        "call",
        "-ticket",
        ticket,
        "-name",
        "tess",
        "-agent",
        "reviewer",
        "-tamper",
      );
      expect(code, JSON.stringify(lines)).toBe(3);
      expect(lines.at(-1)).toMatchObject({ event: "error" });
      expect(lines.at(-1)!["message"]).toContain("BAD_SIGNATURE");
      expect(lines.some((line) => line.event === "result")).toBe(false);
    },
    RUN_LIMIT_MS,
  );

  test(
    "hears refusals with their code: a name that is taken, a tool that is not for it",
    async (context) => {
      needsGo(context);
      const twice = await stranger("call", "-ticket", ticket, "-name", "ben", "-agent", "reviewer");
      expect(twice.code, JSON.stringify(twice.lines)).toBe(4);
      expect(twice.lines.at(-1)!["message"]).toContain("NAME_TAKEN");
      const denied = await stranger("call", "-ticket", ticket, "-name", "dan", "-tool", "fs.write");
      expect(denied.code, JSON.stringify(denied.lines)).toBe(4);
      expect(denied.lines.at(-1)!["message"]).toContain("DENIED");
    },
    RUN_LIMIT_MS,
  );

  test("agrees with every test vector", async (context) => {
    needsGo(context);
    const { code, lines } = await stranger("vectors", VECTORS);
    expect(lines.filter((line) => line["failed"] !== null)).toEqual([]);
    expect(code).toBe(0);
    const files = (await readdir(VECTORS)).filter((name) => name.endsWith(".json"));
    expect(lines.map((line) => line["file"] as string).toSorted()).toEqual(files.toSorted());
    for (const line of lines) expect(line["checks"]).toBeGreaterThan(5);
  });

  test("notices a vector that was changed", async (context) => {
    needsGo(context);
    const broken = join(folder, "broken");
    await mkdir(broken);
    const key = "00".repeat(32);
    const signatures = [{ name: "changed", key, message: "00", signature: "00".repeat(64), valid: true }];
    await writeFile(join(broken, "ed25519.json"), JSON.stringify({ seeds: [], keys: [], signatures }));
    const { code, lines } = await stranger("vectors", broken);
    expect(code).toBe(1);
    expect(lines).toMatchObject([{ file: "ed25519.json", failed: [expect.stringContaining("changed")] }]);
  });
});

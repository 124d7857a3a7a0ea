/** A run of tests leaves nothing: not when its tests clean up after themselves, not when they don't, not after Ctrl-C. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { isAlive } from "../node/alive.ts";

const ROOT = join(import.meta.dirname, "..");

/** Leaves a folder and a daemon, whose number it writes down; then fails, or waits for ever. */
const LEAVES = `
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "vitest";
test("leaves", async () => {
  mkdtempSync(join(tmpdir(), "kin-left-"));
  const daemon = spawn("sleep", ["600"], { detached: true, stdio: "ignore" });
  daemon.unref();
  writeFileSync("daemon", String(daemon.pid));
  if (process.env.WAITS) await new Promise(() => setInterval(() => {}, 1000));
}, 600_000);
`;

/** Vitest over one file of a folder of its own, with our set-up. */
function runOf(source: string, env: object = {}) {
  const folder = mkdtempSync(join(tmpdir(), "own-"));
  symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
  writeFileSync(join(folder, "a.test.mjs"), source);
  const setup = { globalSetup: join(ROOT, "test/setup/run.ts"), setupFiles: join(ROOT, "test/setup/file.ts") };
  writeFileSync(
    join(folder, "vitest.config.mjs"),
    `export default { test: { include: ["*.test.mjs"], pool: "forks", ...${JSON.stringify(setup)} } };`,
  );
  const child = spawn(process.execPath, [join(ROOT, "node_modules/vitest/vitest.mjs"), "run"], {
    cwd: folder,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (said += chunk.toString()));
  const ended = new Promise<{ code: number | null; said: string; left: string[] }>((resolve) =>
    child.once("close", (code) =>
      resolve({ code, said, left: readdirSync(tmpdir()).filter((name) => name.startsWith("kin-")) }),
    ),
  );
  return { child, ended, daemon: join(folder, "daemon") };
}

test("own-temp: a daemon that a test leaves fails its file and is ended; its folder is removed", async () => {
  const { ended, daemon } = runOf(LEAVES);
  const { code, said, left } = await ended;
  expect(said).toContain("these tests left behind:\nprocess ");
  expect(said).toContain("sleep 600");
  expect({ code, left }).toEqual({ code: 1, left: [] });
  expect(isAlive(Number(readFileSync(daemon, "utf8")))).toBe(false);
});

test("own-temp: a folder that no test file removes fails the run; one that cleans up passes", async () => {
  const outside = `import { mkdtempSync } from "node:fs"; import { tmpdir } from "node:os"; import { test } from "vitest";
mkdtempSync(tmpdir() + "/kin-early-"); test.skip("never", () => {});`;
  const leaves = await runOf(outside).ended;
  expect(leaves.said).toMatch(/the tests left behind:\nfolder kin-early-\w+/);
  expect({ code: leaves.code, left: leaves.left }).toEqual({ code: 1, left: [] });
  const clean = await runOf(`import { test } from "vitest"; test("clean", () => {});`).ended;
  expect(clean.code, clean.said).toBe(0);
});

test.each(["SIGINT", "SIGTERM"] as const)(
  "own-temp: %s to the runner ends what its tests have started, and removes their folders",
  async (signal) => {
    const { child, ended, daemon } = runOf(LEAVES, { WAITS: "1" });
    while (!existsSync(daemon)) await sleep(20);
    await sleep(50); // its number is written by now
    child.kill(signal);
    expect((await ended).left).toEqual([]);
    expect(isAlive(Number(readFileSync(daemon, "utf8")))).toBe(false);
  },
);

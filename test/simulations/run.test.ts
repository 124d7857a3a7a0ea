/** The command: one seed is one trace in any process, what it prints, what it refuses. And that planted bugs are found. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..");

function run(file: string, ...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(ROOT, "simulations", file), ...args], { cwd: ROOT });
    let out = "";
    let err = "";
    child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
    child.stderr.on("data", (bytes: Buffer) => (err += bytes.toString()));
    child.once("error", reject);
    child.once("exit", (code) => resolve({ code, out, err }));
  });
}

test(
  "the same seed gives the same trace in two processes, also behind another seed, and another seed another [simulator-seed]",
  { timeout: 60_000 },
  async () => {
    const json = async (...seeds: string[]) => {
      const { code, out } = await run("run.ts", "partition-heal", ...seeds, "--peers", "3", "--json");
      expect(code).toBe(0);
      return out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { [field: string]: unknown });
    };
    const [[first], [other, again]] = await Promise.all([json("--seed", "7"), json("--seeds", "6..7")]);
    if (first === undefined || other === undefined) throw new Error("a run has printed nothing");
    expect(again).toEqual(first);
    expect(other["traceHash"]).not.toBe(first["traceHash"]);
    expect(first).toMatchObject({ scenario: "partition-heal", seed: 7, peers: 3, violations: [] });
    expect(first["events"]).toBeGreaterThan(500);
    expect(first["virtualMs"]).toBeGreaterThan(180_000);
    expect(first["traceHash"]).toMatch(/^[0-9a-f]{64}$/);
  },
);

test(
  "without a scenario the list is printed; what is wrong is said with exit code 2 [simulator-run]",
  { timeout: 30_000 },
  async () => {
    const list = await run("run.ts");
    expect(list.code).toBe(0);
    for (const name of [
      "partition-heal",
      "offline-week",
      "clock-skew",
      "churn",
      "malicious-peer",
      "backup-restore",
      "disk-faults",
    ])
      expect(list.out).toContain(`  ${name}`);
    const wrong = await Promise.all([
      run("run.ts", "particle-heal"),
      run("run.ts", "churn", "--peers", "99"),
      run("run.ts", "churn", "--seed", "x"),
      run("run.ts", "churn", "--seeds", "9..3"),
      run("run.ts", "churn", "--fast"),
    ]);
    expect(wrong.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2]);
    expect(wrong[0].err).toContain('no scenario "particle-heal": there are partition-heal, ');
    expect(wrong[1].err).toContain("--peers 99: churn needs a whole number from 3 to 12");
    expect(wrong[2].err).toContain("--seed x: a seed is a whole number");
    expect(wrong[3].err).toContain("--seeds 9..3: two whole numbers like 1..100");
    expect(wrong[4].err).toContain("--fast");
  },
);

test("five planted bugs are found [simulator-plants]", { timeout: 240_000 }, async () => {
  const { code, out } = await run("plants.ts", "--seeds", "3", "--quick");
  expect(out).toContain("5 of 5 plants caught");
  expect(out.match(/^caught {5}/gm)).toHaveLength(5);
  expect(code).toBe(0);
});

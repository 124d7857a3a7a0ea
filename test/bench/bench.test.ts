/** The bench harness itself, not speed: a quick run of the cheapest system of each bench, as `--json` prints it. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { median, percentile } from "./measure.ts";

const MAIN = join(import.meta.dirname, "main.ts");

async function bench(...args: string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [MAIN, ...args, "--quick"])).stdout;
}

test("bench-figures: --json prints one object with machine, commit and the promised fields", async () => {
  const printed = JSON.parse(await bench("calls", "--json", "--only", "raw-tcp")) as {
    rows: { [field: string]: unknown }[];
  };
  expect(printed).toMatchObject({ bench: "calls", machine: expect.any(String), commit: expect.any(String) });
  expect(printed.rows.map(({ name, inFlight }) => [name, inFlight])).toEqual([
    ["raw-tcp", 1],
    ["raw-tcp", 16],
    ["raw-tcp", 64],
  ]);
  for (const row of printed.rows) {
    expect(row).toMatchObject({ bytes: 1024, errors: 0, encrypter: "none" });
    for (const field of ["p50Us", "p95Us", "callsPerSecond"]) expect(row[field]).toBeGreaterThan(0);
  }
});

test("bench-figures: resync and appends print the promised rows", async () => {
  const rowsOf = async (...args: string[]) =>
    (JSON.parse(await bench(...args, "--json")) as { rows: { [field: string]: unknown }[] }).rows;
  const resync = await rowsOf("resync");
  expect(resync.map(({ name }) => name)).toEqual([
    "kin",
    "kin-viewed",
    "unsigned-floor",
    "automerge",
    "find-100-differences",
  ]);
  for (const row of resync.slice(0, 4))
    for (const field of ["events", "seconds", "rssMb"]) expect(row[field], String(row["name"])).toBeGreaterThan(0);
  expect(resync[4]).toMatchObject({ events: 100_000, roundTrips: 1 });
  const appends = await rowsOf("appends");
  expect(appends.map(({ name, writers }) => `${String(name)} ${String(writers)}`)).toEqual([
    "kin 1",
    "kin 16",
    "kin 64",
    "store 1",
    "store 16",
    "store 64",
    "single-commits 1",
    "fdatasync 1",
  ]);
  for (const row of appends) expect(row["appendsPerSecond"]).toBeGreaterThan(0);
}, 120_000);

test("bench-figures: without --json a table with units is printed", async () => {
  const printed = await bench("start", "--only", "libp2p");
  expect(printed).toMatch(/listening ms +idle RSS MiB +idle CPU % of a core/);
  expect(printed).toMatch(/\nlibp2p +\d/);
});

test("bench-figures: an unknown bench is a usage error that names the known ones", async () => {
  await expect(bench("speed")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/calls \| .*costs \| .*start/) as string,
  });
});

test("bench-figures: percentiles are the nearest rank", () => {
  const sorted = Array.from({ length: 100 }, (_, i) => i + 1);
  expect([percentile(sorted, 0.5), percentile(sorted, 0.95), percentile(sorted, 1), percentile([], 0.5)]).toEqual([
    50, 95, 100, 0,
  ]);
  expect(median([3, 1, 2])).toBe(2);
});

test("bench-figures: facts prints kin, Yjs and Automerge of one run, with how many times kin's each is", async () => {
  const { rows } = JSON.parse(await bench("facts", "--json")) as { rows: { [field: string]: unknown }[] };
  expect(rows.map(({ name }) => name)).toEqual(["kin", "yjs", "automerge", "kin-durable"]);
  expect(rows[0]).toMatchObject({ writeRatio: 1, mergeRatio: 1 });
  for (const row of rows.slice(0, 3)) for (const field of ["writeUs", "mergeUs"]) expect(row[field]).toBeGreaterThan(0);
}, 60_000);

test("bench-figures: absence lets a whole node come back to many events, to few and to none", async () => {
  const { rows } = JSON.parse(await bench("absence", "--json")) as { rows: { [field: string]: unknown }[] };
  expect(rows.map(({ name }) => name)).toEqual(["1,000 events", "10 events", "nothing"]);
  for (const row of rows) for (const field of ["seconds", "rssMb"]) expect(row[field]).toBeGreaterThan(0);
  expect(rows[0]!["bytes"]).toBeGreaterThan(100_000);
}, 120_000);

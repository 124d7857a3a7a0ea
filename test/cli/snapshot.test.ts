import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { changeless } from "./changeless.ts";
import { runKin, type Ran } from "./run-kin.ts";

let home: string;
const kin = (...args: string[]): Promise<Ran> => runKin(args, { home });

beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "kin-snapshot-cli-")));
  expect(await kin("up", "--as", "ben")).toMatchObject({ code: 0, err: "" });
});
afterAll(async () => {
  await kin("down");
  rmSync(home, { recursive: true, force: true });
});

test("kin snapshot says who has signed, whom it waits for and why one is not signed, without what remote text wanted", async () => {
  const made = await kin("snapshot", "make");
  expect(made).toMatchObject({ code: 0, err: "" });
  expect(made.out).toContain("snapshot abcdef012345: 7 events as 3.0 MiB");
  const list = await kin("snapshot", "ls");
  expect(list.out).toMatch(/abcdef012345 +ben .* this node begins with it; all have it/);
  expect(list.out).toMatch(/refused here: its state is \[31mwrong/);
  expect(list.out).toContain("nobody waits for cem");
  expect(changeless(list.out)).toBe(true);
  const shown = await kin("snapshot", "show", "abcd");
  expect(shown.out).toContain("signed by  ben@laptop (recomputed)");
  expect(shown.out).toContain("too few have signed");
});

test("kin snapshot prune and dormant say what they did, or would do", async () => {
  expect((await kin("snapshot", "prune", "--dry-run")).out).toContain("6 bodies of 2.0 KiB would be dropped");
  expect((await kin("snapshot", "prune")).out).toContain("6 bodies of 2.0 KiB dropped behind snapshot abcdef012345");
  expect((await kin("snapshot", "dormant", "ana")).out).toContain("nobody waits for ana any more");
  expect((await kin("snapshot", "dormant", "ana", "--off")).out).toContain("pruning waits for ana again");
});

test("F9: kin snapshot prints one object", async () => {
  const list = JSON.parse((await kin("snapshot", "ls", "--json")).out) as { v: number; items: unknown[] };
  expect(list).toMatchObject({
    v: 1,
    items: [{ id: "abcdef012345", base: true }, { here: "refused" }],
    dormant: ["cem"],
  });
  expect(JSON.parse((await kin("snapshot", "prune", "--json")).out)).toEqual({
    v: 1,
    id: "abcdef012345",
    bodies: 6,
    bytes: 2048,
    dryRun: false,
  });
  expect((await kin("snapshot")).code).toBe(2);
});

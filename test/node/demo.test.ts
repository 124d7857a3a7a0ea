import { spawn } from "node:child_process";
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { isAlive } from "../../node/alive.ts";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** A copy, as an unpacked archive would be: the demo of the repository itself may be running. */
async function unpacked(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "kin-demo-"));
  for (const part of ["node", "protocols", "sync", "package.json"])
    await cp(join(REPOSITORY, part), join(folder, part), { recursive: true });
  await symlink(join(REPOSITORY, "node_modules"), join(folder, "node_modules"));
  return folder;
}

test("the demo stops what it has started when whoever watches presses Ctrl-C", async () => {
  const folder = await unpacked();
  const demo = spawn(process.execPath, [join(folder, "node/main.ts"), "demo"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  let node = 0;
  const code = await new Promise((resolve) => {
    demo.stdout.setEncoding("utf8").on("data", (text: string) => {
      const before = out;
      out += text;
      if (before.includes("admitted to") || !out.includes("admitted to")) return;
      const lock = readFileSync(join(folder, ".kin/demo/ben/lock.json"), "utf8");
      node = (JSON.parse(lock) as { pid: number }).pid;
      demo.kill("SIGINT");
    });
    demo.once("close", resolve);
  });
  expect(out).toContain("This folder is no git clone");
  expect(out).toContain("ana$ kin join kint1");
  expect(out).toMatch(/The demo stopped: it was interrupted\n$/);
  expect(code).toBe(1);
  expect(node).toBeGreaterThan(0);
  expect(isAlive(node)).toBe(false);
  expect(existsSync(join(folder, ".kin"))).toBe(false);
  await rm(folder, { recursive: true });
}, 120_000);

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { lockFolder } from "../../node/lock.ts";

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "kin-lock-"))));
const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
});

/** Another process that takes the lock and holds it; resolves with what it said. */
function holder(): Promise<{ child: ChildProcess; said: string }> {
  const source = `
    const { lockFolder } = await import(${JSON.stringify(new URL("../../node/lock.ts", import.meta.url).href)});
    try { lockFolder(${JSON.stringify(folder)}); console.log("held"); setInterval(() => {}, 1000); }
    catch (error) { console.log(error.code + " " + error.message); }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return new Promise((resolve) => {
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes("\n")) resolve({ child, said: said.trim() });
    });
  });
}

test("K8: a second node on one folder is refused with the process of the first [one-folder-one-node]", async () => {
  const { child, said } = await holder();
  expect(said).toBe("held");
  expect(() => lockFolder(folder)).toThrow(
    expect.objectContaining({ code: "FOLDER_IN_USE", message: expect.stringContaining(`process ${child.pid}`) }),
  );
});

test("the lock ends with its process, also by kill -9, and a reused process id in the file holds nothing", async () => {
  const { child } = await holder();
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
  writeFileSync(join(folder, "lock.json"), JSON.stringify({ pid: process.ppid }));
  const lock = lockFolder(folder);
  lock.release();
});

test("two nodes of one process exclude each other too; after a release the next may start", () => {
  const first = lockFolder(folder);
  expect(() => lockFolder(folder)).toThrow(expect.objectContaining({ code: "FOLDER_IN_USE" }));
  first.release();
  first.release();
  const second = lockFolder(folder);
  expect(() => lockFolder(folder)).toThrow(expect.objectContaining({ code: "FOLDER_IN_USE" }));
  second.release();
});

test("of several that start at once exactly one gets it, and the others name it", async () => {
  const all = await Promise.all([holder(), holder(), holder(), holder()]);
  const winners = all.filter(({ said }) => said === "held");
  expect(winners).toHaveLength(1);
  for (const { said } of all)
    if (said !== "held")
      expect(said).toBe(`FOLDER_IN_USE a node is already running on ${folder}: process ${winners[0]!.child.pid}`);
});

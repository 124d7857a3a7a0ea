import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { idOf } from "../../protocols/ids.ts";
import type { Time } from "../../protocols/effects.ts";
import { createLedger, type CallRow } from "../../node/agents/ledger.ts";
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { random, realTime, valueStore } from "./world.ts";

const person = idOf<"person">(new Uint8Array(32).fill(1));
const warn = (sentence: string): never => {
  throw new Error(sentence);
};

function row(change: Partial<CallRow> = {}): CallRow {
  return {
    person,
    key: random.bytes(16),
    request: idOf(random.bytes(32)),
    digest: random.bytes(32),
    callerKey: random.bytes(32),
    expiresAt: Date.now() + 60_000,
    ...change,
  };
}

test("R8: after a restart what was started without an end is unknown, what ended is answered to the caller's key only", async () => {
  const disk = createMemoryDisk();
  const store = await openMemoryStore(disk);
  const before = await createLedger({ store, time: realTime(), warn });
  const [open, done, failed] = [row(), row(), row()];
  for (const one of [open, done, failed]) await before.begin(one);
  await before.end(person, done.key, {
    outcome: { tool: { content: [{ type: "text", text: "ok" }], isError: false } },
  });
  await before.end(person, failed.key, { error: { code: "TOOL_FAILED", message: "no", hint: "try" } });
  before.stop();
  await store.close();

  const after = await createLedger({ store: await openMemoryStore(disk), time: realTime(), warn });
  expect(after.find(person, open.key)).toMatchObject({ ...open, state: "unknown" });
  expect(await after.outcome(after.find(person, open.key)!)).toBeUndefined();
  expect(await after.recall(open.request, open.callerKey)).toBeUndefined();
  expect(await after.recall(done.request, done.callerKey)).toEqual({
    outcome: { tool: { content: [{ type: "text", text: "ok" }], isError: false } },
  });
  expect(await after.recall(failed.request, failed.callerKey)).toEqual({
    error: { code: "TOOL_FAILED", message: "no", hint: "try" },
  });
  expect(await after.recall(done.request, failed.callerKey)).toBeUndefined();
  after.stop();
});

test("R8: a row is kept until its call's signed expiry, and while the call runs; then it is pruned", async () => {
  let now = 1000;
  let prune = (): void => {};
  const time: Time = { now: () => now, monotonic: () => now, after: (_ms, run) => ((prune = run), () => {}) };
  const store = valueStore();
  const ledger = await createLedger({ store, time, warn });
  const [ended, running] = [row({ expiresAt: 2000 }), row({ expiresAt: 2000 })];
  await ledger.begin(ended);
  await ledger.begin(running);
  await ledger.end(person, ended.key, { error: { code: "X", message: "x" } });
  const pruned = async (): Promise<number> => {
    prune();
    await new Promise((resolve) => setImmediate(resolve));
    return (await store.values("call/")).length;
  };
  now = 1999;
  expect(await pruned()).toBe(2);
  now = 2000;
  expect(await pruned()).toBe(1);
  expect(ledger.find(person, ended.key)).toBeUndefined();
  await ledger.end(person, running.key, { error: { code: "X", message: "x" } });
  expect(await pruned()).toBe(0);
  ledger.stop();
});

test("a full ledger refuses new work of that person, not of others, and forgets nothing", async () => {
  const ledger = await createLedger({ store: valueStore(), time: realTime(), warn }, { perPerson: 3 });
  const rows = [row(), row(), row()];
  for (const one of rows) await ledger.begin(one);
  await expect(ledger.begin(row())).rejects.toMatchObject({ code: "OVERLOADED" });
  await ledger.begin(row({ person: idOf(new Uint8Array(32).fill(2)) }));
  for (const one of rows) expect(ledger.find(person, one.key)?.state).toBe("started");
  ledger.stop();
});

test("an end that can't be written is still known to this process", async () => {
  const store = valueStore();
  const ledger = await createLedger({ store, time: realTime(), warn });
  const one = row();
  await ledger.begin(one);
  store.append = () => Promise.reject(new Error("ENOSPC"));
  const outcome = { error: { code: "TOOL_FAILED", message: "x" } };
  await expect(ledger.end(person, one.key, outcome)).rejects.toThrow("ENOSPC");
  expect(await ledger.recall(one.request, one.callerKey)).toEqual(outcome);
  ledger.stop();
});

test("a row that can't be read is CORRUPT, by name", async () => {
  const store = valueStore();
  await store.append({ values: [{ key: `call/${person}/00`, value: Uint8Array.of(1, 2) }] });
  await expect(createLedger({ store, time: realTime(), warn })).rejects.toMatchObject({ code: "CORRUPT" });
});

test("P29: a callee that is killed after started and before answered says OUTCOME_UNKNOWN, and the effect is there once", async () => {
  const folder = await mkdtemp(join(tmpdir(), "kin-ledger-"));
  try {
    const key = Buffer.from(random.bytes(16)).toString("hex");
    const run = (after: string): Promise<string> => runCallee(folder, key, after);
    expect(await run("kill")).toBe("accepted"); // SIGKILL while the tool runs
    expect(await run("answer")).toBe("failure:OUTCOME_UNKNOWN");
    expect(await readFile(join(folder, "effects"), "utf8")).toBe("x");
    const other = Buffer.from(random.bytes(16)).toString("hex");
    expect(await runCallee(folder, other, "answer")).toBe("accepted result:done");
    expect(await runCallee(folder, other, "answer")).toBe("accepted result:done"); // from the record, after a restart
    expect(await readFile(join(folder, "effects"), "utf8")).toBe("xx");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

function runCallee(folder: string, key: string, after: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const script = new URL("./killed-callee.ts", import.meta.url).pathname;
    const child = spawn(process.execPath, [script, folder, key, after], { stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => (said += chunk.toString()));
    child.on("error", reject);
    child.on("close", () => resolve(said.trim()));
  });
}

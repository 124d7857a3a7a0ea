/**
 * A callee in a process of its own, with a real log.db: handles one call with side effects and prints what it answered.
 * `node killed-callee.ts FOLDER KEY kill|answer`; `kill` ends the process with SIGKILL while the tool runs.
 */
import { appendFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { fromHex } from "../../protocols/bytes.ts";
import { idOf } from "../../protocols/ids.ts";
import { createDispatch } from "../../node/agents/dispatch.ts";
import { createLedger } from "../../node/agents/ledger.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { open, random, realTime, request, sleep, told } from "./world.ts";

const [folder, key, after] = process.argv.slice(2) as [string, string, string];
const person = idOf<"person">(new Uint8Array(32).fill(1));
const device = idOf<"device">(new Uint8Array(32).fill(2));
const from = { person, device, agent: null };
const time = realTime();
const warn = (sentence: string, error: unknown): void => console.error(sentence, error);

const store = await openLibsqlStore({ file: join(folder, "log.db") });
const ledger = await createLedger({ store, time, warn });
const effect = open(async () => {
  appendFileSync(join(folder, "effects"), "x");
  await sleep(100);
  if (after === "kill") process.kill(process.pid, "SIGKILL");
  return { parts: [{ text: "done" }] };
}, false);
const handle = createDispatch({
  self: { person, device },
  find: () => effect,
  isMember: () => true,
  ledger,
  time,
  record: () => Promise.resolve(),
  warn,
});
const call = {
  mesh: idOf<"mesh">(new Uint8Array(32)),
  id: idOf<"envelope">(random.bytes(32)),
  from,
  request: request(from, { tool: "write" }, { key: fromHex(key) }),
  sealed: {
    bytes: new Uint8Array(),
    seal: { key: new Uint8Array(32), sig: new Uint8Array(64), path: { index: 0, size: 1, hashes: [] } },
  },
  way: "live" as const,
  deadlineAt: time.now() + 10_000,
  expiresAt: time.now() + 60_000,
};
for await (const event of handle(call, new AbortController().signal)) writeSync(1, `${told([event])} `);
ledger.stop();
await store.close();

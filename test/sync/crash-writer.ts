/**
 * The child of `store-crash.test.ts`: writes events of its own log with several writers at once and prints the seq of each
 * one that was acknowledged, until it is killed.
 *
 *   node crash-writer.ts <log.db>
 */
import { writeSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { createClock, CLOCK_BOUND_KEY } from "../../sync/clock.ts";
import { openLog } from "../../sync/log.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { bytesOf, deviceOf, epoch, epochKey, mesh } from "./chains.ts";

const WRITERS = 8;

const store = await openLibsqlStore({ file: process.argv[2]! });
const bound = await store.value(CLOCK_BOUND_KEY);
const log = await openLog({
  store,
  mesh,
  key: deviceOf("ana").key,
  incarnation: bytesOf("incarnation").subarray(0, 16),
  chain: "mesh",
  clock: createClock({ time: Date, bound }),
  random: { bytes: (count) => new Uint8Array(randomBytes(count)) },
});
writeSync(1, `ready\n`);

async function writeForEver(): Promise<never> {
  for (;;) {
    const text = "x".repeat(Math.floor(Math.random() * 4000));
    const value = { key: `last/${log.log}`, value: Uint8Array.of(1) };
    const body = { form: "mesh", epoch, key: epochKey, value: { text } } as const;
    const [event] = await log.append([{ kind: "note", audience: "mesh", body }], [value]);
    writeSync(1, `${event!.header.seq} ${event!.id}\n`);
  }
}
await Promise.all(Array.from({ length: WRITERS }, writeForEver));

/**
 * The child of the tests in this folder: writes events of its own log with several writers at once and says of each one that it
 * was acknowledged, or refused, until it is killed.
 *
 *   node writer.ts <log.db> [<module of the store>]      says "ready", "<seq> <event id>", "refused <code> <message>"
 */
import { writeSync } from "node:fs";
import { KinError } from "../../protocols/errors.ts";
import { epoch, epochKey, openAnasLog } from "../sync/chains.ts";

const WRITERS = 8;
/** Mostly small; now and then large, so that the write-ahead log often moves into the file. */
const SMALL_BYTES = 4_000;
const LARGE_BYTES = 60_000;
const LARGE_RATIO = 0.05;
const PAUSE_AFTER_REFUSAL_MS = 5;

const [file, module = new URL("../../sync/stores/libsql.ts", import.meta.url).href] = process.argv.slice(2);
const { openLibsqlStore } = (await import(module)) as typeof import("../../sync/stores/libsql.ts");
const store = await openLibsqlStore({ file: file! });
const log = await openAnasLog(store);
say("ready");

async function writeForEver(): Promise<never> {
  for (;;) {
    const text = "x".repeat(Math.random() * (Math.random() < LARGE_RATIO ? LARGE_BYTES : SMALL_BYTES));
    const value = { key: `last/${log.log}`, value: Uint8Array.of(1) };
    const body = { form: "mesh", epoch, key: epochKey, value: { text } } as const;
    try {
      const [event] = await log.append([{ kind: "note", audience: "mesh", body }], [value]);
      say(`${event!.header.seq} ${event!.id}`);
    } catch (error) {
      if (!(error instanceof KinError)) throw error;
      say(`refused ${error.code} ${error.message}`);
      await new Promise((later) => setTimeout(later, PAUSE_AFTER_REFUSAL_MS));
    }
  }
}
await Promise.all(Array.from({ length: WRITERS }, writeForEver));

/** In one write: nothing of it can come apart from it. A pipe that is full is waited for. */
function say(line: string): void {
  for (;;) {
    try {
      writeSync(1, `${line}\n`);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

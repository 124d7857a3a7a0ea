/**
 * The real store: `log.db` in a worker thread (§7 Storage), batches of one flush as one transaction, acknowledged after the
 * commit. What the file looks like is `log-file.ts`; what runs in the thread is `libsql-worker.ts`.
 */
import { Worker } from "node:worker_threads";
import { KinError, kinError, type ErrorShape } from "../../protocols/errors.ts";
import type { EventStore } from "../store.ts";
import { createGroupCommit } from "./group.ts";
import type { LogFile, LogFileOptions } from "./log-file.ts";
import type { Reply } from "./libsql-worker.ts";
import { packBatches } from "./packed-batch.ts";

export interface LibsqlStore extends EventStore {
  /** Transactions committed since it was opened: with group commit far fewer than batches. */
  transactions(): Promise<number>;
}

type Asks = Omit<LogFile, "commit"> & {
  open(options: LogFileOptions): null;
  commit(...args: Parameters<LogFile["commit"]>): (ErrorShape | null)[];
};

/** @throws KinError FOLDER_IN_USE, CORRUPT, UNSUPPORTED_VERSION, DISK_FULL */
export async function openLibsqlStore(options: LogFileOptions): Promise<LibsqlStore> {
  const thread = startThread();
  let closing: Promise<void> | null = null;
  const group = createGroupCommit(async (batches) =>
    (await thread.ask("commit", packBatches(batches))).map((refusal) => (refusal === null ? null : kinError(refusal))),
  );

  function open<T>(work: () => Promise<T>): Promise<T> {
    return closing === null ? work() : Promise.reject(new KinError("CLOSED", "the store is closed"));
  }

  async function close(): Promise<void> {
    await group.drained();
    await thread.ask("close").finally(thread.ended);
  }

  try {
    await thread.ask("open", options);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    append: (batch) => open(() => group.append(batch)),
    logs: () => open(() => thread.ask("logs")),
    event: (id) => open(() => thread.ask("event", id)),
    range: (log, from, to) => open(() => thread.ask("range", log, from, to)),
    headFrom: (log, seq) => open(() => thread.ask("headFrom", log, seq)),
    since: (position, limit) => open(() => thread.ask("since", position, limit)),
    value: (key) => open(() => thread.ask("value", key)),
    values: (prefix) => open(() => thread.ask("values", prefix)),
    damaged: (log, from, to) => open(() => thread.ask("damaged", log, from, to)),
    repair: (repair) => open(() => thread.ask("repair", repair)),
    transactions: () => open(() => thread.ask("transactions")),
    close: () => (closing ??= close()),
  };
}

/** Questions to the worker and their answers. If the thread dies, every open question fails with why. */
function startThread() {
  const worker = new Worker(new URL("./libsql-worker.ts", import.meta.url));
  const open = new Map<number, { done(value: unknown): void; failed(error: unknown): void }>();
  let nextNumber = 0;
  let death: unknown = null;

  worker.on("message", (reply: Reply) => {
    const question = open.get(reply.n);
    open.delete(reply.n);
    if ("error" in reply) question?.failed(kinError(reply.error));
    else question?.done(reply.value);
  });
  worker.on("error", (error) => (death = error));
  const exited = new Promise<void>((resolve) => {
    worker.on("exit", () => {
      death = new KinError(
        "CLOSED",
        `the thread of log.db ended${death === null ? "" : `: ${(death as Error).message}`}`,
        {
          cause: death ?? undefined,
        },
      );
      for (const question of open.values()) question.failed(death);
      open.clear();
      resolve();
    });
  });

  function ask<Ask extends keyof Asks>(ask: Ask, ...args: Parameters<Asks[Ask]>): Promise<ReturnType<Asks[Ask]>> {
    return new Promise((done, failed) => {
      if (death !== null) return failed(death);
      const n = nextNumber++;
      open.set(n, { done: (value) => done(value as ReturnType<Asks[Ask]>), failed });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      worker.postMessage({ n, ask, args }, args.flatMap(buffersOf));
    });
  }

  return { ask, ended: () => exited };
}

/** What of a question is handed over instead of copied. */
function buffersOf(argument: unknown): ArrayBuffer[] {
  const bytes = (argument as { bytes?: unknown }).bytes;
  return bytes instanceof Uint8Array ? [bytes.buffer as ArrayBuffer] : [];
}

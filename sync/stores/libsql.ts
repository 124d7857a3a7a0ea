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

/** @throws KinError FOLDER_IN_USE, CORRUPT, UNSUPPORTED_VERSION, DISK_FULL, DISK_FAILED */
export async function openLibsqlStore(options: LogFileOptions): Promise<LibsqlStore> {
  let thread: Promise<Thread> | null = null;
  let closing: Promise<void> | null = null;
  const group = createGroupCommit(async (batches) =>
    (await ask("commit", packBatches(batches))).map((refusal) => (refusal === null ? null : kinError(refusal))),
  );

  /** The thread, with the file open. One that the disk has failed ends: the next question begins another. */
  function running(): Promise<Thread> {
    return (thread ??= begin());
  }

  async function begin(): Promise<Thread> {
    const begun = startThread();
    void begun.ended.then(() => (thread = null));
    await begun.ask("open", options);
    return begun;
  }

  async function ask<Ask extends keyof Asks>(
    what: Ask,
    ...args: Parameters<Asks[Ask]>
  ): Promise<ReturnType<Asks[Ask]>> {
    return (await running()).ask(what, ...args);
  }

  function open<T>(work: () => Promise<T>): Promise<T> {
    return closing === null ? work() : Promise.reject(new KinError("CLOSED", "the store is closed"));
  }

  async function close(): Promise<void> {
    await group.drained();
    const last = await thread?.catch(() => null);
    await last?.ask("close").finally(() => last.ended);
  }

  await running();
  return {
    append: (batch) => open(() => group.append(batch)),
    logs: () => open(() => ask("logs")),
    event: (id) => open(() => ask("event", id)),
    range: (log, from, to) => open(() => ask("range", log, from, to)),
    headFrom: (log, seq) => open(() => ask("headFrom", log, seq)),
    since: (position, limit, kinds) => open(() => ask("since", position, limit, kinds)),
    value: (key) => open(() => ask("value", key)),
    values: (prefix) => open(() => ask("values", prefix)),
    damaged: (log, from, to) => open(() => ask("damaged", log, from, to)),
    repair: (repair) => open(() => ask("repair", repair)),
    transactions: () => open(() => ask("transactions")),
    close: () => (closing ??= close()),
  };
}

interface Thread {
  ask<Ask extends keyof Asks>(ask: Ask, ...args: Parameters<Asks[Ask]>): Promise<ReturnType<Asks[Ask]>>;
  ended: Promise<void>;
}

/** Questions to the worker and their answers. If the thread ends, every open question fails with why. */
function startThread(): Thread {
  const worker = new Worker(new URL("./libsql-worker.ts", import.meta.url));
  const open = new Map<number, { done(value: unknown): void; failed(error: unknown): void }>();
  let nextNumber = 0;
  let cause: Error | null = null;
  let death: KinError | null = null;

  worker.on("message", (reply: Reply) => {
    const question = open.get(reply.n);
    open.delete(reply.n);
    if ("value" in reply) return question?.done(reply.value);
    const error = kinError(reply.error);
    if (error.code === "DISK_FAILED") cause = error;
    question?.failed(error);
  });
  worker.on("error", (error: Error) => (cause = error));
  const ended = new Promise<void>((resolve) => {
    worker.on("exit", () => {
      const code = cause instanceof KinError ? cause.code : "CLOSED";
      const why = cause === null ? "" : `: ${cause.message}`;
      death = new KinError(code, `the thread of log.db ended${why}`, { cause });
      for (const question of open.values()) question.failed(death);
      open.clear();
      resolve();
    });
  });

  const ask: Thread["ask"] = (what, ...args) =>
    new Promise((done, failed) => {
      if (death !== null) return failed(death);
      const n = nextNumber++;
      open.set(n, { done: (value) => done(value as ReturnType<Asks[typeof what]>), failed });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      worker.postMessage({ n, ask: what, args }, args.flatMap(buffersOf));
    });
  return { ask, ended };
}

/** What of a question is handed over instead of copied. */
function buffersOf(argument: unknown): ArrayBuffer[] {
  const bytes = (argument as { bytes?: unknown } | undefined)?.bytes;
  return bytes instanceof Uint8Array ? [bytes.buffer as ArrayBuffer] : [];
}

/**
 * Trials of foreign updates in a thread of their own (impure by name): a document that costs seconds of CPU, or all the memory it
 * can get, costs that thread and not the node. A trial that does not end in time ends the thread; the next one gets a new one.
 * What did not finish is no judgement of the update: the caller holds it and tries again.
 *
 *   parent → { n, trial }      worker-thread.ts → { n, tried } | { n, error }
 */
import { Worker } from "node:worker_threads";
import { KinError, kinError, type ErrorShape } from "../../protocols/errors.ts";
import type { Tried } from "./arrivals.ts";
import type { RunTrial, Trial } from "./trial.ts";

export interface TrialThread {
  run: RunTrial;
  close(): Promise<void>;
}

export interface TrialThreadOptions {
  /** @default 5000: far above what a trial of honest updates takes, below what a person waits without a word */
  limitMs?: number;
  /** Of the thread's JavaScript heap. @default 256 */
  heapMb?: number;
}

export type Question = { n: number; trial: Trial };
/** The number of the first message, which answers nothing. */
export const READY = -1;
export type Reply = { n: number } & ({ tried: Tried } | { error: ErrorShape });

/** Its thread starts with the first trial. */
export function createTrialThread({ limitMs = 5_000, heapMb = 256 }: TrialThreadOptions = {}): TrialThread {
  let thread: { worker: Worker; ready: Promise<void> } | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let asked = 0;
  let closed = false;
  let open: { n: number; done(tried: Tried): void; failed(error: unknown): void } | null = null;

  /** One at a time: what one costs is not put on another's account. */
  function run(trial: Trial): Promise<Tried> {
    const next = last.then(() => ask(trial));
    last = next.catch(() => undefined);
    return next;
  }

  async function ask(trial: Trial): Promise<Tried> {
    if (closed) throw new KinError("CLOSED", "the thread that tries updates is closed");
    const { worker, ready } = (thread ??= start());
    await ready;
    const { promise, resolve, reject } = Promise.withResolvers<Tried>();
    const question: Question = { n: asked++, trial };
    open = { n: question.n, done: resolve, failed: reject };
    const late = new KinError("DEADLINE_EXCEEDED", `trying an update took over ${limitMs} ms`);
    const timer = setTimeout(() => reject(late), limitMs);
    try {
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      worker.postMessage(question);
      return await promise;
    } catch (error) {
      // A library that threw may have been left half way: the next trial gets a thread that knows nothing of it.
      thread = null;
      void worker.terminate();
      throw error;
    } finally {
      clearTimeout(timer);
      open = null;
    }
  }

  function start(): NonNullable<typeof thread> {
    const worker = new Worker(new URL("./worker-thread.ts", import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: heapMb },
    });
    worker.unref();
    const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
    ready.catch(() => undefined);
    const ended = (why: unknown): void => {
      const error = new KinError("OVERLOADED", `the thread that tries updates ended: ${String(why)}`);
      reject(error);
      if (thread?.worker !== worker) return;
      thread = null;
      open?.failed(error);
    };
    worker.on("message", (reply: Reply) => {
      if (reply.n === READY) return resolve();
      if (reply.n !== open?.n) return;
      if ("tried" in reply) open.done(reply.tried);
      else open.failed(kinError(reply.error));
    });
    worker.on("error", ended);
    worker.on("exit", ended);
    return { worker, ready };
  }

  return {
    run,
    async close() {
      closed = true;
      await thread?.worker.terminate();
    },
  };
}

/**
 * Group commit: batches that arrive while one transaction is on its way to the disk form the next one. A batch resolves when
 * its transaction is durable. At most one transaction is in flight.
 */
import { KinError } from "../../protocols/errors.ts";
import type { StoreBatch } from "../store.ts";
import { batchBytes } from "./batch.ts";

/** Batches in one transaction. */
export const MAX_GROUP_BATCHES = 1024;
/** Bytes in one transaction, if it has more than one batch: bounds the time that a group takes. */
export const MAX_GROUP_BYTES = 8 * 1024 * 1024;
/** Bytes that may wait; more are refused with OVERLOADED. */
export const MAX_WAITING_BYTES = 128 * 1024 * 1024;

export interface GroupCommit {
  append(batch: StoreBatch): Promise<void>;
  /** Resolves when everything asked for before is settled. */
  drained(): Promise<void>;
}

interface Waiting {
  batch: StoreBatch;
  bytes: number;
  done(): void;
  failed(error: unknown): void;
}

/** @param commit writes the batches as one transaction and says of each whether it is in it; throws if there was none */
export function createGroupCommit(commit: (batches: StoreBatch[]) => Promise<(KinError | null)[]>): GroupCommit {
  const waiting: Waiting[] = [];
  let waitingBytes = 0;
  let running: Promise<void> | null = null;

  function append(batch: StoreBatch): Promise<void> {
    const bytes = batchBytes(batch);
    return new Promise((done, failed) => {
      if (waitingBytes + bytes > MAX_WAITING_BYTES && waiting.length > 0)
        return failed(
          new KinError("OVERLOADED", `${waitingBytes} bytes wait for the disk: at most ${MAX_WAITING_BYTES}`),
        );
      waiting.push({ batch, bytes, done, failed });
      waitingBytes += bytes;
      running ??= run();
    });
  }

  async function run(): Promise<void> {
    await Promise.resolve(); // batches of one tick are one group
    while (waiting.length > 0) await commitGroup(takeGroup());
    running = null;
  }

  function takeGroup(): Waiting[] {
    let bytes = 0;
    let count = 0;
    for (const one of waiting) {
      bytes += one.bytes;
      if (count === MAX_GROUP_BATCHES || (count > 0 && bytes > MAX_GROUP_BYTES)) break;
      count++;
    }
    const group = waiting.splice(0, count);
    for (const one of group) waitingBytes -= one.bytes;
    return group;
  }

  async function commitGroup(group: Waiting[]): Promise<void> {
    try {
      const refusals = await commit(group.map((one) => one.batch));
      group.forEach((one, i) => (refusals[i] == null ? one.done() : one.failed(refusals[i])));
    } catch (error) {
      for (const one of group) one.failed(error);
    }
  }

  return {
    append,
    drained: async () => {
      await running;
    },
  };
}

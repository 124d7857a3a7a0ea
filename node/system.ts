/** The real clock and the real randomness behind `protocols/effects.ts`. */
import { randomFillSync } from "node:crypto";
import type { Random, Time } from "../protocols/effects.ts";

/** 24.8 days: what is longer setTimeout runs at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, run) {
    let timer: NodeJS.Timeout;
    const arm = (leftMs: number): void => {
      const isLong = leftMs > MAX_TIMER_MS;
      timer = isLong ? setTimeout(() => arm(leftMs - MAX_TIMER_MS), MAX_TIMER_MS) : setTimeout(run, leftMs);
    };
    arm(delayMs);
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Random = { bytes: drawRandom };

/** A draw from the system costs 3.6 µs whatever its length, and a call needs several of 16 bytes: they are drawn together. */
const POOL_BYTES = 4096;
/** Longer ones are drawn by themselves. */
const MAX_POOLED_BYTES = 64;
const pool = new Uint8Array(POOL_BYTES);
let poolAt = POOL_BYTES;

function drawRandom(count: number): Uint8Array {
  if (count > MAX_POOLED_BYTES) return randomFillSync(new Uint8Array(count));
  if (poolAt + count > POOL_BYTES) {
    randomFillSync(pool);
    poolAt = 0;
  }
  const bytes = pool.slice(poolAt, poolAt + count);
  pool.fill(0, poolAt, poolAt + count); // keys are made of it: no copy stays behind
  poolAt += count;
  return bytes;
}

/** The real clock and the real randomness behind `protocols/effects.ts`. */
import { randomFillSync } from "node:crypto";
import type { Random, Time } from "../protocols/effects.ts";

export const systemTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
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

/** The real clock and the real randomness behind `protocols/effects.ts`. */
import { randomBytes } from "node:crypto";
import type { Random, Time } from "../protocols/effects.ts";

export const systemTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};

export const systemRandom: Random = { bytes: (count) => new Uint8Array(randomBytes(count)) };

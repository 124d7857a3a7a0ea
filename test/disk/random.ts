/** Reproducible chance for tests: mulberry32. `KIN_SEED` sets the seed; else each run has another one, which it prints. */
export interface Chance {
  readonly seed: number;
  /** 0 ≤ x < 1. */
  next(): number;
  /** An integer, 0 ≤ n < `below`. */
  below(below: number): number;
  pick<T>(items: readonly T[]): T;
}

export function chance(seed = Number(process.env["KIN_SEED"] ?? Math.floor(Math.random() * 2 ** 32))): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (bound: number): number => Math.floor(next() * bound);
  return { seed, next, below, pick: (items) => items[below(items.length)]! };
}

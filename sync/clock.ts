/**
 * The hybrid logical clock (F1, R13): stamps that rise with everything seen and stay near the wall clock.
 *
 *   stamp = 8 bytes big-endian: 48 bits ms ‖ 16 bits counter; byte order is time order
 *
 *   wall  ───────●──────────────●────▶      stamp() = the wall's ms, 0   while the wall is ahead of the last stamp
 *   stamps  …  (m,0)(m,1)(m,2)(w,0)                 = last ms, counter+1 while it is not (it jumped back, or is the same ms)
 *                                                   = last ms + 1, 0     when the counter is full: it never waits
 *
 * A foreign stamp more than 5 min ahead of our wall clock is held: it moves nothing, so a bad clock hurts only its owner.
 * What was stamped stays below every later stamp also over restarts: `bound` goes into each batch, and the next clock starts there.
 */
import { compareBytes } from "../protocols/bytes.ts";
import type { Time } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";

/** 48 bits: the year 10889. */
export const MAX_STAMP_MS = 2 ** 48 - 1;
const MAX_COUNTER = 2 ** 16 - 1;
const COUNTER_SIZE = 2 ** 16;

/** How far ahead of the wall a stored bound reaches: covers the live messages stamped since the last batch, and is too short to be seen. */
export const BOUND_RESERVE_MS = 1000;

/** The store's value that holds the bound. */
export const CLOCK_BOUND_KEY = "clock/bound";

export interface Stamp {
  /** 0 to 2^48 − 1. */
  ms: number;
  /** 0 to 65,535. */
  counter: number;
}

export interface Clock {
  /** A stamp above all given, observed, and `after`. @throws KinError CLOCK_SKEW at the end of time */
  stamp(after?: readonly Uint8Array[]): Uint8Array;
  /** Takes notice of a foreign stamp. @throws KinError BAD_REQUEST unless it is 8 bytes */
  observe(stamp: Uint8Array): "seen" | "held";
  /** More than 5 min ahead of our wall clock now. */
  isHeld(stamp: Uint8Array): boolean;
  /** Wall ms at which a stamp is no longer held. */
  dueAt(stamp: Uint8Array): number;
  /** Forgets stamps that are held now: a log begun after a clock was put right does not go on ahead (R13). */
  comeBack(): void;
  /** To be stored with the next batch under {@link CLOCK_BOUND_KEY}. */
  bound(): Uint8Array;
}

/** @param bound what {@link Clock.bound} gave to the newest stored batch */
export function createClock(deps: { time: Pick<Time, "now">; bound?: Uint8Array | undefined }): Clock {
  const { time } = deps;
  let last: Stamp = deps.bound === undefined ? { ms: 0, counter: 0 } : decodeStamp(deps.bound);

  function stamp(after: readonly Uint8Array[] = []): Uint8Array {
    let floor = last;
    for (const bytes of after) floor = later(floor, decodeStamp(bytes));
    last = next(floor, wallMs(time));
    return encodeStamp(last);
  }

  function observe(bytes: Uint8Array): "seen" | "held" {
    if (isHeld(bytes)) return "held";
    last = later(last, decodeStamp(bytes));
    return "seen";
  }

  function isHeld(bytes: Uint8Array): boolean {
    return decodeStamp(bytes).ms > wallMs(time) + SKEW_LIMIT_MS;
  }

  return {
    stamp,
    observe,
    isHeld,
    comeBack() {
      if (isHeld(encodeStamp(last))) last = { ms: 0, counter: 0 };
    },
    dueAt: (bytes) => decodeStamp(bytes).ms - SKEW_LIMIT_MS,
    // Counted from the wall, not from `last`: else each restart would carry the clock further ahead.
    bound: () => encodeStamp(later(last, { ms: Math.min(wallMs(time) + BOUND_RESERVE_MS, MAX_STAMP_MS), counter: 0 })),
  };
}

/** The smallest stamp above `floor` that is not behind the wall clock. */
function next(floor: Stamp, nowMs: number): Stamp {
  if (nowMs > floor.ms) return { ms: nowMs, counter: 0 };
  if (floor.counter < MAX_COUNTER) return { ms: floor.ms, counter: floor.counter + 1 };
  if (floor.ms < MAX_STAMP_MS) return { ms: floor.ms + 1, counter: 0 };
  throw new KinError("CLOCK_SKEW", `no stamp is left after ${MAX_STAMP_MS} ms: this machine's clock is broken`);
}

function later(a: Stamp, b: Stamp): Stamp {
  return b.ms > a.ms || (b.ms === a.ms && b.counter > a.counter) ? b : a;
}

/** A wall clock may show anything; what does not fit in 48 bits counts as the nearest that does. */
function wallMs(time: Pick<Time, "now">): number {
  const now = Math.floor(time.now());
  return Number.isNaN(now) ? 0 : Math.min(Math.max(now, 0), MAX_STAMP_MS);
}

export function encodeStamp(stamp: Stamp): Uint8Array {
  const high = Math.floor(stamp.ms / COUNTER_SIZE);
  const { counter } = stamp;
  const low = stamp.ms % COUNTER_SIZE;
  return Uint8Array.of(high >>> 24, high >>> 16, high >>> 8, high, low >>> 8, low, counter >>> 8, counter);
}

/** @throws KinError BAD_REQUEST unless `bytes` are 8 */
export function decodeStamp(bytes: Uint8Array): Stamp {
  if (bytes.length !== 8) throw new KinError("BAD_REQUEST", `a stamp is 8 bytes, not ${bytes.length}`);
  // By hand: a view takes five times as long, and each event of a run is compared several times.
  const byte = (at: number) => bytes[at]!;
  const high = ((byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3)) >>> 0;
  return { ms: high * COUNTER_SIZE + ((byte(4) << 8) | byte(5)), counter: (byte(6) << 8) | byte(7) };
}

/** Less than 0 if `a` is before `b`. */
export function compareStamps(a: Uint8Array, b: Uint8Array): number {
  return compareBytes(a, b);
}

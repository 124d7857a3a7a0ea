/** Closed-loop measurement of one kind of call: so many in flight, for so long, with a warm-up that isn't counted. */
import type { Caller } from "./calls/system.ts";
import { usage } from "./usage.ts";

export interface Round {
  inFlight: number;
  bytes: number;
  warmUpMs: number;
  measureMs: number;
}
export interface Measured {
  p50Us: number;
  p95Us: number;
  callsPerSecond: number;
  errors: number;
  /** Calls of warm-up and measurement together, and what they cost the caller's process, all threads. */
  calls: number;
  cpuMs: number;
}

/** In flight while a caller warms up: as many as it is ever measured with. */
const WARM_UP_IN_FLIGHT = 64;
/** A system that needs longer for its warm-up calls than this is measured as it is. */
const WARM_UP_LIMIT_MS = 60_000;
const WARM_UP_STEP_MS = 100;

export async function measure(caller: Caller, round: Round): Promise<Measured> {
  const payload = "x".repeat(round.bytes);
  const before = usage();
  const settling = await callFor(caller, payload, round.inFlight, round.warmUpMs);
  const began = performance.now();
  const { latencies, errors } = await callFor(caller, payload, round.inFlight, round.measureMs);
  const seconds = (performance.now() - began) / 1000;
  const sorted = Float64Array.from(latencies).toSorted();
  return {
    p50Us: percentile(sorted, 0.5) * 1000,
    p95Us: percentile(sorted, 0.95) * 1000,
    callsPerSecond: latencies.length / seconds,
    errors,
    calls: settling.latencies.length + latencies.length,
    cpuMs: usage().cpuMs - before.cpuMs,
  };
}

/**
 * So many calls that every system's hot path is compiled: counted in calls, not in time, since a slow system would else be
 * measured while V8 still interprets it.
 */
export async function warmUp(caller: Caller, bytes: number, calls: number): Promise<number> {
  const payload = "x".repeat(bytes);
  const began = performance.now();
  let made = 0;
  while (made < calls && performance.now() - began < WARM_UP_LIMIT_MS)
    made += (await callFor(caller, payload, WARM_UP_IN_FLIGHT, WARM_UP_STEP_MS)).latencies.length;
  return made;
}

async function callFor(
  caller: Caller,
  payload: string,
  inFlight: number,
  durationMs: number,
): Promise<{ latencies: number[]; errors: number }> {
  const latencies: number[] = [];
  let errors = 0;
  const until = performance.now() + durationMs;
  const worker = async (): Promise<void> => {
    for (let now = performance.now(); now < until;) {
      try {
        const back = await caller.call(payload);
        if (back.length !== payload.length) throw new Error(`sent ${payload.length} bytes, got ${back.length}`);
        const after = performance.now();
        latencies.push(after - now);
        now = after;
      } catch (error) {
        // The first one is shown: a bench of failing calls must not look like a fast one.
        if (errors++ === 0) console.error(error);
        now = performance.now();
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return { latencies, errors };
}

/** Nearest rank; 0 when nothing was measured. */
export function percentile(sorted: ArrayLike<number>, ratio: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * ratio) - 1)] ?? 0;
}

/** To so many digits after the point. */
export function rounded(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}

export function median(values: readonly number[]): number {
  return percentile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}

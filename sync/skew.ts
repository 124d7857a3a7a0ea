/**
 * What the peers' clocks say of ours (R13). A node whose own clock is far off signs nothing for the mesh: its stamps would be
 * held by everybody else, or lie before what it answers.
 *
 *   one sample a person (the one nearest to ours of his devices) ─▶ enough of them? ─▶ the median, the nearer of two middle ones
 *
 * Enough is three, or everybody else where the mesh has fewer, and never one alone: so no single peer can stop a node, nor any
 * minority of those that are connected, however many devices it has.
 */
import { KinError } from "../protocols/errors.ts";
import type { PersonId } from "../protocols/ids.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";

/** A connected peer's wall clock minus ours, ms, now. */
export interface ClockSample {
  person: PersonId;
  skewMs: number;
}

/** Samples that are enough in a large mesh, and the fewest that are ever believed. */
const ENOUGH = 3;
const FEWEST = 2;

/** How far the others' clocks are from ours, ms, positive when they are ahead; null: too few say. `others` are people besides us. */
export function medianSkew(samples: readonly ClockSample[], others: number): number | null {
  const nearest = new Map<PersonId, number>();
  for (const { person, skewMs } of samples) {
    const held = nearest.get(person);
    if (held === undefined || Math.abs(skewMs) < Math.abs(held)) nearest.set(person, skewMs);
  }
  const sorted = [...nearest.values()].toSorted((a, b) => a - b);
  if (sorted.length < Math.max(FEWEST, Math.min(ENOUGH, others))) return null;
  const low = sorted[Math.floor((sorted.length - 1) / 2)]!;
  const high = sorted[Math.floor(sorted.length / 2)]!;
  if (low < 0 !== high < 0) return 0;
  return Math.abs(low) < Math.abs(high) ? low : high;
}

/** Why nothing may be signed with this clock, or null. */
export function skewRefusal(skewMs: number | null): KinError | null {
  if (skewMs === null || Math.abs(skewMs) <= SKEW_LIMIT_MS) return null;
  const side = skewMs > 0 ? "behind" : "ahead of";
  return new KinError(
    "CLOCK_SKEW",
    `this machine's clock is ${inWords(Math.abs(skewMs))} ${side} those of the connected members: nothing is signed with it`,
    { hint: "set this machine's clock (usually by turning on its network time), then try again" },
  );
}

function inWords(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

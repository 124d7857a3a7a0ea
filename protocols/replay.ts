/**
 * What has been seen in this boot (R11): (person, id) of every live request, cancel and resume until its `exp` + 5 min. A full
 * table refuses new work of that person instead of forgetting old. Nothing is written: after a restart the boot id is another.
 *
 * Ids are kept by 8 of their 16 random bytes, in one table per person and minute of expiry: 16 bytes an id, and a whole
 * table goes at once. Nobody but a person's own keys puts ids into his tables, so a forced collision harms only himself; a million
 * honest ids collide with probability 3·10⁻⁸.
 */
import type { Random, Time } from "./effects.ts";
import type { PersonId } from "./ids.ts";
import { MAX_ENVELOPE_LIFE_MS, REPLAY_GRACE_MS, SKEW_LIMIT_MS } from "./limits.ts";

/** Ids of one person: about 1,600 calls/s for ever, or 30,000/s for half a minute; 32 MiB at most. */
export const MAX_IDS_PER_PERSON = 1_000_000;
/** Ids of all persons. */
export const MAX_IDS = 4_000_000;
const BUCKET_MS = 60_000;
/** No envelope that passed the time checks is remembered for longer than this. */
const LONGEST_MS = MAX_ENVELOPE_LIFE_MS + SKEW_LIMIT_MS + REPLAY_GRACE_MS;

export interface ReplayTable {
  /** Remembers the id unless it is known or there is no room. `exp` in wall ms. */
  add(person: PersonId, id: Uint8Array, exp: number): "fresh" | "replayed" | "full";
  /** True if the id was added and is still remembered. */
  has(person: PersonId, id: Uint8Array): boolean;
  readonly size: number;
}

export interface ReplayLimits {
  /** @default MAX_IDS_PER_PERSON */
  perPerson?: number;
  /** @default MAX_IDS */
  total?: number;
}

interface Seen {
  count: number;
  /** By the monotonic minute in which all of it may be forgotten. */
  buckets: Map<number, IdSet>;
}

export function createReplayTable(
  deps: { time: Time; random: Random },
  { perPerson = MAX_IDS_PER_PERSON, total = MAX_IDS }: ReplayLimits = {},
): ReplayTable {
  const people = new Map<PersonId, Seen>();
  const multiplier = new DataView(deps.random.bytes(4).slice().buffer).getUint32(0) | 1;
  let size = 0;
  let sweptAt = -1;

  function sweep(minute: number): void {
    if (minute === sweptAt) return;
    sweptAt = minute;
    for (const [person, seen] of people) {
      for (const [end, ids] of seen.buckets) {
        if (end >= minute) continue;
        seen.buckets.delete(end);
        seen.count -= ids.size;
        size -= ids.size;
      }
      if (seen.buckets.size === 0) people.delete(person);
    }
  }

  return {
    get size() {
      return size;
    },
    has: (person, id) => isIn(people.get(person), id),
    add(person, id, exp) {
      const at = deps.time.monotonic();
      sweep(Math.floor(at / BUCKET_MS));
      let seen = people.get(person);
      if (isIn(seen, id)) return "replayed";
      if (size >= total || (seen?.count ?? 0) >= perPerson) return "full";
      if (seen === undefined) people.set(person, (seen = { count: 0, buckets: new Map() }));
      const keepMs = Math.min(Math.max(exp - deps.time.now(), 0) + REPLAY_GRACE_MS, LONGEST_MS);
      const end = Math.ceil((at + keepMs) / BUCKET_MS);
      let ids = seen.buckets.get(end);
      if (ids === undefined) seen.buckets.set(end, (ids = createIdSet(multiplier)));
      ids.add(id);
      seen.count++;
      size++;
      return "fresh";
    },
  };
}

function isIn(seen: Seen | undefined, id: Uint8Array): boolean {
  if (seen === undefined) return false;
  for (const ids of seen.buckets.values()) if (ids.has(id)) return true;
  return false;
}

interface IdSet {
  has(id: Uint8Array): boolean;
  /** The id is not in it. */
  add(id: Uint8Array): void;
  readonly size: number;
}

/** Open addressing, at most half full. The secret multiplier spreads ids that a sender has chosen to lie side by side. */
function createIdSet(multiplier: number): IdSet {
  let slots = new Uint32Array(2 * 64);
  let size = 0;

  function slotOf(low: number, high: number): number {
    const mask = slots.length / 2 - 1;
    let slot = (Math.imul(low ^ Math.imul(high, multiplier), multiplier) >>> 7) & mask;
    while (slots[2 * slot] !== 0 || slots[2 * slot + 1] !== 0) {
      if (slots[2 * slot] === low && slots[2 * slot + 1] === high) return slot;
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  function put(low: number, high: number): void {
    const slot = slotOf(low, high);
    slots[2 * slot] = low;
    slots[2 * slot + 1] = high;
  }

  function grow(): void {
    const old = slots;
    slots = new Uint32Array(old.length * 2);
    for (let i = 0; i < old.length; i += 2) if (old[i] !== 0 || old[i + 1] !== 0) put(old[i]!, old[i + 1]!);
  }

  return {
    get size() {
      return size;
    },
    has(id) {
      const [low, high] = words(id);
      return slots[2 * slotOf(low, high)] === low && slots[2 * slotOf(low, high) + 1] === high;
    },
    add(id) {
      if (4 * (size + 1) > slots.length) grow();
      put(...words(id));
      size++;
    },
  };
}

/** Two 32-bit words of the id; (0, 0) marks a free slot and becomes (0, 1). */
function words(id: Uint8Array): [number, number] {
  const view = new DataView(id.buffer, id.byteOffset, id.byteLength);
  const low = view.getUint32(0);
  const high = view.getUint32(4);
  return low === 0 && high === 0 ? [0, 1] : [low, high];
}

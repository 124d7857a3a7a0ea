/**
 * One seed, one heap of events, one line of time. Everything that happens in a simulation is an event of this heap: a timer,
 * a frame that arrives, a write that reaches the disk, a crash. The real, asynchronous code of kin runs inside of it:
 *
 *   take the earliest event ─▶ virtual time jumps there ─▶ run it ─▶ let every promise settle that can ─▶ the next one
 *
 * "Every promise" is one turn of the real event loop: nothing in here waits for a real timer, thread or socket (keys and
 * seals are computed in place, see `webcrypto.ts`), so after one turn nothing is left but what waits for the heap. The same
 * seed therefore gives the same events in the same order; `traceHash` is the hash of all of them, with every byte that
 * was sent or written.
 */
import { createHash } from "node:crypto";
import type { Random, Time } from "../protocols/effects.ts";
import { seedDeadlines } from "./deadlines.ts";
import { seedWebCrypto } from "./webcrypto.ts";

/** The first moment of each simulation, wall ms: 2027-01-15. */
export const START_MS = 1_800_000_000_000;
/** Events that one simulation may have: one that never ends is a bug that must be seen. */
const MAX_EVENTS = 20_000_000;

/** Draws that only the seed and the name of the stream decide. */
export interface Dice extends Random {
  /** 0 ≤ x < 1 */
  next(): number;
  /** A whole number, `from` ≤ x ≤ `to`. */
  int(from: number, to: number): number;
  between(from: number, to: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  shuffled<T>(items: readonly T[]): T[];
}

export interface World {
  readonly seed: number;
  /** Virtual ms since {@link START_MS}; with fractions. */
  now(): number;
  /** A stream of draws of its own: what one part draws moves nobody else's. */
  dice(stream: string): Dice;
  /** Runs once after `delayMs`. Returns what takes it back. */
  after(delayMs: number, what: string, run: () => void): () => void;
  /** Runs events until `untilMs` of virtual time, or until `isDone` (looked at after each event). */
  run(untilMs: number, isDone?: () => boolean): Promise<void>;
  /** Lets what has been started by the caller go on, without moving time. */
  settle(): Promise<void>;
  /** Adds to the trace: what happened, and bytes that belong to it. */
  note(what: string, bytes?: Uint8Array): void;
  /** Adds one, or `by`, to a figure of the result. */
  count(figure: string, by?: number): void;
  readonly stats: { [figure: string]: number };
  readonly events: number;
  traceHash(): string;
  /** What must not be; shown with the seed. */
  readonly violations: string[];
  violate(sentence: string): void;
}

interface Scheduled {
  at: number;
  /** Ties are broken by the order of asking. */
  nth: number;
  what: string;
  run: (() => void) | null;
}

/** At most so many violations are kept: the first ones tell. */
const MAX_VIOLATIONS = 50;

export function createWorld(seed: number): World {
  const heap = createHeap();
  const hash = createHash("sha256");
  const stats: { [figure: string]: number } = {};
  const violations: string[] = [];
  let now = 0;
  let asked = 0;
  let events = 0;
  seedWebCrypto(createDice(`${seed} webcrypto`), createDice(`${seed} getRandomValues`));

  function note(what: string, bytes?: Uint8Array): void {
    hash.update(`${now}|${what}|${bytes?.length ?? ""}\n`);
    if (bytes !== undefined) hash.update(bytes);
  }

  async function run(untilMs: number, isDone: () => boolean = () => false): Promise<void> {
    await turn();
    while (!isDone()) {
      const next = heap.peek();
      if (next === undefined || next.at > untilMs) {
        now = Math.max(now, untilMs);
        return;
      }
      heap.pop();
      if (next.run === null) continue;
      now = next.at;
      if (++events > MAX_EVENTS) throw new Error(`the simulation of seed ${seed} had ${MAX_EVENTS} events and no end`);
      note(next.what);
      next.run();
      await turn();
    }
  }

  function after(delayMs: number, what: string, go: () => void): () => void {
    // Whole microseconds: sums of fractions must not depend on the order of adding. Never early: who asks for the rest of a
    // wait again and again must get past it.
    const at = (Math.round(now * 1000) + Math.ceil(Math.max(0, delayMs) * 1000)) / 1000;
    const one: Scheduled = { at, nth: asked++, what, run: go };
    heap.push(one);
    return () => (one.run = null);
  }
  seedDeadlines(after);

  return {
    seed,
    now: () => now,
    dice: (stream) => createDice(`${seed} ${stream}`),
    after,
    run,
    settle: turn,
    note,
    count: (figure, by = 1) => (stats[figure] = (stats[figure] ?? 0) + by),
    stats,
    get events() {
      return events;
    },
    traceHash: () => hash.copy().digest("hex"),
    violations,
    violate(sentence) {
      note(`violation: ${sentence}`);
      if (violations.length < MAX_VIOLATIONS) violations.push(sentence);
    },
  };
}

/** All microtasks, also those that microtasks start, run before the next immediate does. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

// ── clocks ──

/** A machine's clock: what its owner's node takes for the time. */
export interface SimClock {
  /** Its wall clock minus the true one, ms. May be anything. */
  offsetMs: number;
  /** How much faster than true it runs: 0.01 gains 36 s an hour. Only the wall drifts; timers stay as good as quartz. */
  drift: number;
  now(): number;
}

export function createClock(world: World): SimClock {
  const clock: SimClock = {
    offsetMs: 0,
    drift: 0,
    now: () => Math.floor(START_MS + clock.offsetMs + world.now() * (1 + clock.drift)),
  };
  return clock;
}

/** Says whether a process still lives: when it is killed, nothing that it waits for ever comes. */
export interface Life {
  alive: boolean;
}

/** `Time` for one process. */
export function timeOf(world: World, clock: SimClock, life: Life, name: string): Time {
  const bornAt = world.now();
  return {
    now: () => clock.now(),
    monotonic: () => world.now() - bornAt,
    after: (delayMs, run) =>
      world.after(delayMs, `${name} timer`, () => {
        if (life.alive) run();
      }),
  };
}

// ── dice ──

/** sfc32 (Chris Doty-Humphrey's small fast counter), seeded with a hash of the stream's name. */
export function createDice(name: string): Dice {
  const state = new Uint32Array(createHash("sha256").update(name).digest().buffer.slice(0, 16));
  let [a = 0, b = 0, c = 0, d = 1] = state;

  function word(): number {
    const sum = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  }

  const dice: Dice = {
    next: () => word() / 2 ** 32,
    int: (from, to) => from + Math.floor(dice.next() * (to - from + 1)),
    between: (from, to) => from + dice.next() * (to - from),
    chance: (probability) => dice.next() < probability,
    pick: (items) => items[dice.int(0, items.length - 1)]!,
    shuffled(items) {
      const out = [...items];
      for (let i = out.length - 1; i > 0; i--) {
        const j = dice.int(0, i);
        [out[i], out[j]] = [out[j]!, out[i]!];
      }
      return out;
    },
    bytes(count) {
      const out = new Uint8Array(count);
      for (let i = 0; i < count; i++) out[i] = word();
      return out;
    },
  };
  return dice;
}

// ── heap ──

/** A binary heap by time, then by order of asking. */
function createHeap() {
  const items: Scheduled[] = [];
  const isBefore = (a: Scheduled, b: Scheduled): boolean => a.at < b.at || (a.at === b.at && a.nth < b.nth);

  function push(item: Scheduled): void {
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(item, items[parent]!)) break;
      items[at] = items[parent]!;
      at = parent;
    }
    items[at] = item;
  }

  function pop(): void {
    const last = items.pop();
    if (last === undefined || items.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && isBefore(items[child + 1]!, items[child]!)) child++;
      if (!isBefore(items[child]!, last)) break;
      items[at] = items[child]!;
      at = child;
    }
    items[at] = last;
  }

  return { push, pop, peek: () => items[0] };
}

/**
 * What a handler must survive (P6): frames from four generators, drawn from a seed, and a run that pours them over a handler
 * while an honest peer goes on.
 *
 *   random bytes · bit flips of real frames · real frames with wrong things at some place · lengths that lie
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect } from "vitest";
import { decode, encode, type Value } from "../protocols/bytes.ts";
import type { Wire } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import { createFrameReader, frame } from "../protocols/frame.ts";
import { createLoopback } from "../node/net/loopback.ts";

/** Draws integers from 0 to below `below`. */
export type Roll = (below: number) => number;

/** A small generator of numbers from a seed: a failure can be repeated. */
export function dice(seed: number): Roll {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Makes what goes over the stream: frames with their length in front, or what pretends to be. */
export type Generator = (roll: Roll, real: readonly Uint8Array[]) => Uint8Array;

const pick = <T>(roll: Roll, items: readonly T[]): T => items[roll(items.length)]!;

export function randomBytes(roll: Roll): Uint8Array {
  return Uint8Array.from({ length: roll(200) }, () => roll(256));
}

export function bitFlip(roll: Roll, real: readonly Uint8Array[]): Uint8Array {
  const bytes = pick(roll, real).slice();
  for (let i = 0; i <= roll(3); i++) bytes[roll(bytes.length)]! ^= 1 << roll(8);
  return bytes;
}

/** Wrong things to find in a frame: of every type, empty, huge, negative, of the right shape with nothing in it. */
const SCRAPS: readonly ((roll: Roll) => Value)[] = [
  () => null,
  () => true,
  (roll) => roll(3) - 1,
  () => 2 ** 53 - 1,
  () => -(2 ** 53 - 1),
  (roll) => "x".repeat(roll(300)),
  () => "__proto__",
  (roll) => new Uint8Array(roll(70)),
  () => new Uint8Array(32),
  () => [],
  () => ({}),
  () => ["request", "ack", "result"],
  (roll) => Array.from({ length: roll(400) }, (_, i) => i),
  () => ({ b: new Uint8Array(3), k: new Uint8Array(32), s: new Uint8Array(64) }),
  () => ({ b: new Uint8Array(3), k: new Uint8Array(32), s: new Uint8Array(64), p: [0, 2, []] }),
  () => ({ toString: 1, constructor: 2, hasOwnProperty: null }),
];

/** A real frame in which one to three places are taken out, doubled, swapped or replaced; also inside of sealed bytes. */
export function structured(roll: Roll, real: readonly Uint8Array[]): Uint8Array {
  let value: Value = decode(pick(roll, real));
  for (let i = 0; i <= roll(3); i++) value = mutated(roll, value);
  try {
    return encode(value);
  } catch {
    return encode({ t: pick(roll, SCRAPS)(roll) });
  }
}

function mutated(roll: Roll, value: Value): Value {
  const scrap = (): Value => pick(roll, SCRAPS)(roll);
  if (roll(6) === 0) return scrap();
  if (Array.isArray(value)) {
    if (value.length === 0 || roll(4) === 0) return [...value, scrap()];
    const at = roll(value.length);
    const action = roll(3);
    if (action === 0) return value.toSpliced(at, 1);
    if (action === 1) return [...value, value[at]!];
    return value.with(at, mutated(roll, value[at]!));
  }
  if (value instanceof Uint8Array) {
    const inner = innerMap(value);
    if (inner !== null) return encode(mutated(roll, inner));
    return value.subarray(0, roll(value.length + 1));
  }
  if (typeof value !== "object" || value === null) return scrap();
  const keys = Object.keys(value);
  if (keys.length === 0 || roll(5) === 0) return { ...value, [pick(roll, ["z", "v", "t", "e"])]: scrap() };
  const key = pick(roll, keys);
  const { [key]: old, ...rest } = value as { [key: string]: Value };
  return roll(4) === 0 ? rest : { ...rest, [key]: mutated(roll, old!) };
}

/** Sealed messages are bytes that hold a map of their own. */
function innerMap(bytes: Uint8Array): Value | null {
  try {
    const value = decode(bytes);
    return typeof value === "object" && value !== null ? value : null;
  } catch {
    return null;
  }
}

/** A CBOR length inside of a real frame that says more or less than there is, or the frame's end is missing. */
export function innerLengthLies(roll: Roll, real: readonly Uint8Array[]): Uint8Array {
  const bytes = pick(roll, real).slice();
  const from = roll(bytes.length);
  const at = bytes.findIndex((byte, i) => i >= from && byte >> 5 >= 2 && byte >> 5 <= 5);
  if (at < 0 || roll(3) === 0) return bytes.subarray(0, roll(bytes.length));
  bytes[at] = (bytes[at]! & 0xe0) | pick(roll, [0, 23, 24, 25, 26, 27, 31]);
  return bytes;
}

/** A frame whose own length lies: too long, too short, not minimal, of five bytes, larger than any frame may be. */
function framingLies(roll: Roll, real: readonly Uint8Array[]): Uint8Array {
  const payload = pick(roll, real);
  const prefix = pick(roll, [
    [(payload.length + 1 + roll(60)) & 127],
    [roll(payload.length) & 127],
    [0x80, 0x00],
    [0xff, 0xff, 0xff, 0xff, 0x01],
    [0xff, 0xff, 0xff, 0x7f],
    [0x80, 0x80, 0x80, 0x01],
    [0],
    [],
  ]);
  return Uint8Array.from([...prefix, ...payload.subarray(0, roll(payload.length + 1))]);
}

export const GENERATORS: readonly (readonly [name: string, make: Generator])[] = [
  ["random bytes", (roll) => (roll(2) === 0 ? frame(randomBytes(roll)) : randomBytes(roll))],
  ["bit flips of real frames", (roll, real) => frame(bitFlip(roll, real))],
  ["real frames with wrong things in them", (roll, real) => frame(structured(roll, real))],
  ["lengths that lie", (roll, real) => (roll(2) === 0 ? framingLies(roll, real) : frame(innerLengthLies(roll, real)))],
];

export interface Victim {
  /** Frames that a real peer sends in one conversation, in order: what garbage follows, and what it is made of. */
  real: readonly Uint8Array[];
  /** Serves one stream to its end; what it rejects with must be a KinError. */
  serve(wire: Wire): Promise<unknown>;
  /** A whole conversation of somebody else. Rejects if it does not go as it should. */
  honest(): Promise<void>;
  /** Faults that the victim tells elsewhere than by `serve`: none may come of garbage. */
  faults?: unknown[];
}

/** Frames of one generator and handler. */
export const FRAMES = 5000;
const HONEST_EVERY = 1000;
/** Frames of one stream at most: most end at the first. */
const PER_STREAM = 3;
const MAX_GROWTH_BYTES = 50e6;

/** Pours `count` things over the handler. Rejects at the first stream that does not end, or ends with anything but a KinError. */
export async function pour(victim: Victim, generate: Generator, seed: number, count: number = FRAMES): Promise<Poured> {
  const roll = dice(seed);
  const poured = { frames: 0, streams: 0, refused: 0 };
  let before = 0;
  while (poured.frames < count) {
    if (poured.frames % HONEST_EVERY < PER_STREAM) await victim.honest();
    // The first tenth fills caches and makes the compiler's code: what grows after it grows for ever.
    if (before === 0 && poured.frames >= count / 10) before = memoryInUse();
    const prologue = roll(victim.real.length + 1);
    const chunks = Array.from({ length: 1 + roll(PER_STREAM) }, () => generate(roll, victim.real));
    const error = await oneStream(victim, victim.real.slice(0, prologue).map(frame), chunks);
    poured.streams++;
    poured.frames += chunks.length;
    if (error !== null) poured.refused++;
    if (error !== null && !(error instanceof KinError)) throw error;
  }
  await victim.honest();
  expect(victim.faults ?? []).toEqual([]);
  expect(memoryInUse() - before, "bytes that stay").toBeLessThan(MAX_GROWTH_BYTES);
  return poured;
}

export interface Poured {
  frames: number;
  streams: number;
  refused: number;
}

/** Sends bytes as a stream brings them, cut into frames by the same reader; what the handler says is read and dropped. */
async function oneStream(victim: Victim, prologue: Uint8Array[], garbage: Uint8Array[]): Promise<unknown> {
  const [ours, theirs] = createLoopback();
  const served = victim.serve(theirs).then(
    () => null,
    (error: unknown) => error,
  );
  const heard = drain(ours);
  const reader = createFrameReader();
  try {
    for (const chunk of [...prologue, ...garbage])
      for (const payload of reader.push(chunk)) await ours.send(payload.slice());
    if (reader.pending > 0) ours.abort(new KinError("BAD_REQUEST", "the peer ended its side inside a frame"));
    else await ours.close();
  } catch (error) {
    ours.abort(error as Error);
  }
  const end = await served;
  ours.abort(new KinError("CLOSED", "the stream is over"));
  await heard;
  return end;
}

async function drain(wire: Wire): Promise<void> {
  try {
    for await (const _ of wire.frames());
  } catch {
    // It breaks when it is over.
  }
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Resident memory of this process after a collection, without the empty pages that V8 keeps for the next burst. */
export function memoryInUse(): number {
  collect();
  const { rss, heapTotal, heapUsed } = process.memoryUsage();
  return rss - (heapTotal - heapUsed);
}

/** Both ends of a conversation in memory; what the left one sends is kept. */
export function recorded(): { left: Wire; right: Wire; frames: Uint8Array[] } {
  const [left, right] = createLoopback();
  const frames: Uint8Array[] = [];
  return {
    left: {
      signal: left.signal,
      abort: (reason) => left.abort(reason),
      close: () => left.close(),
      frames: () => left.frames(),
      send: (bytes) => {
        frames.push(bytes.slice());
        return left.send(bytes);
      },
    },
    right,
    frames,
  };
}

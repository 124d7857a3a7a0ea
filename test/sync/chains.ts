/** Signed logs to test with: real keys, real hashes, from a seed. */
import { sha256, signingKeyFromSeed } from "#crypto";
import { utf8Bytes } from "../../protocols/bytes.ts";
import type { Random } from "../../protocols/effects.ts";
import {
  logIdOf,
  logOpeningValue,
  makeEvent,
  signHead,
  type Chain,
  type LogOpening,
  type SignedHead,
  type StoredEvent,
  type UnsealedHeader,
} from "../../protocols/events.ts";
import { sealBody } from "../../protocols/event-body.ts";
import { idOf, type EpochId, type MeshId } from "../../protocols/ids.ts";
import { systemRandom, systemTime } from "../../node/system.ts";
import { CLOCK_BOUND_KEY, createClock, encodeStamp } from "../../sync/clock.ts";
import { openLog } from "../../sync/log.ts";
import type { EventStore } from "../../sync/store.ts";

export const mesh: MeshId = idOf(bytesOf("mesh"));
export const epoch: EpochId = idOf(bytesOf("epoch"));
export const epochKey = bytesOf("epoch key");

/** 32 bytes that are always the same for one name. */
export function bytesOf(name: string): Uint8Array {
  return sha256(utf8Bytes(name));
}

export function seededRandom(seed: string): Random {
  let drawn = 0;
  return {
    bytes: (count) => {
      const out = new Uint8Array(count);
      for (let at = 0; at < count; at += 32) out.set(bytesOf(`${seed} ${drawn++}`).subarray(0, count - at), at);
      return out;
    },
  };
}

export function deviceOf(name: string) {
  const key = signingKeyFromSeed(bytesOf(name));
  return { key, id: idOf<"device">(key.publicKey) };
}

export interface ChainOfEvents {
  key: ReturnType<typeof signingKeyFromSeed>;
  opening: LogOpening;
  log: ReturnType<typeof logIdOf>;
  events: StoredEvent[];
  /** A signed head at any event. */
  headAt(seq: number): SignedHead;
}

/** A log of `count` events, of `kinds` in turn. Chains with the same `author` and another `branch` are a fork from `forkAt` on. */
export function makeChain(
  author: string,
  count: number,
  {
    chain = "mesh",
    branch = "",
    forkAt = 0,
    kinds = ["note"],
  }: { chain?: Chain; branch?: string; forkAt?: number; kinds?: readonly string[] } = {},
): ChainOfEvents {
  const { key, id } = deviceOf(author);
  const opening: LogOpening = { device: id, incarnation: bytesOf(author).subarray(0, 16), chain };
  const log = logIdOf(mesh, opening);
  const events: StoredEvent[] = [];
  for (let seq = 0; seq < count; seq++) {
    const header: UnsealedHeader = {
      log,
      seq,
      prev: events.at(-1)?.id ?? null,
      deps: [],
      hlc: encodeStamp({ ms: 1_700_000_000_000 + seq, counter: 0 }),
      kind: seq === 0 ? "log-opened" : kinds[seq % kinds.length]!,
      audience: chain,
    };
    const value = seq === 0 ? logOpeningValue(opening) : { text: `${author} ${seq}${seq >= forkAt ? branch : ""}` };
    const clear = seq === 0 || chain === "here";
    const random = seededRandom(`${author} ${seq} ${seq >= forkAt ? branch : ""}`);
    const plan = clear ? { form: "clear" as const, value } : { form: "mesh" as const, epoch, key: epochKey, value };
    events.push(makeEvent(header, sealBody({ mesh, author: id }, header, plan, random) as Uint8Array));
  }
  const headAt = (seq: number) => {
    const event = events[seq]!;
    return signHead(key, { log, seq, id: event.id, hlc: event.header.hlc });
  };
  return { key, opening, log, events, headAt };
}

/** Ana's log in a store, by the machine's clock. */
export async function openAnasLog(store: EventStore) {
  return openLog({
    store,
    mesh,
    key: deviceOf("ana").key,
    incarnation: bytesOf("incarnation").subarray(0, 16),
    chain: "mesh",
    clock: createClock({ time: systemTime, bound: await store.value(CLOCK_BOUND_KEY) }),
    random: systemRandom,
  });
}

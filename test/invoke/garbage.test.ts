/** P6: what is malformed ends its stream, never the node, never other peers' calls. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { encode } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { decodeInvokeFrame, encodeInvokeFrame } from "../../protocols/invoke-frames.ts";
import { body, envelope, rawPeer, sealAs } from "./raw.ts";
import { all, createWorld, echo, invoke, random, sleep, told, type TestNode } from "./world.ts";

const FRAMES_PER_GENERATOR = 5000;

/** A small generator of numbers from a seed: a failure can be repeated. */
function dice(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % below;
  };
}

type Generator = (roll: (below: number) => number, real: Uint8Array[]) => Uint8Array;

const random1: Generator = (roll) => Uint8Array.from({ length: roll(200) }, () => roll(256));

const bitFlip: Generator = (roll, real) => {
  const frame = real[roll(real.length)]!.slice();
  for (let i = 0; i <= roll(3); i++) frame[roll(frame.length)]! ^= 1 << roll(8);
  return frame;
};

const SCRAPS: ((roll: (below: number) => number) => unknown)[] = [
  () => null,
  (roll) => roll(3) - 1,
  () => 2 ** 53 - 1,
  (roll) => "x".repeat(roll(50)),
  (roll) => new Uint8Array(roll(70)),
  () => ["request", "ack", "result"],
  () => ({ b: new Uint8Array(3), k: new Uint8Array(32), s: new Uint8Array(64) }),
  () => ({ b: new Uint8Array(3), k: new Uint8Array(32), s: new Uint8Array(64), p: [0, 2, []] }),
  () => [1, 2, 3],
];

const structured: Generator = (roll) => {
  const scrap = (): unknown => SCRAPS[roll(SCRAPS.length)]!(roll);
  const t = ["request", "cancel", "resume", "accepted", "progress", "result", "failure", "refused", "ack", "hello"][
    roll(10)
  ];
  const frame: Record<string, unknown> = { t: roll(10) === 0 ? scrap() : t };
  if (roll(4) > 0) frame["c"] = roll(2) === 0 ? 1 + roll(5) : scrap();
  if (roll(4) > 0) frame["e"] = scrap();
  if (roll(4) === 0) frame["a"] = scrap();
  if (roll(20) === 0) frame["z"] = scrap();
  return encode(frame);
};

/** Real frames in which a length says more or less than there is, or the end is missing. */
const lengthLies: Generator = (roll, real) => {
  const frame = real[roll(real.length)]!.slice();
  const at = frame.findIndex((byte, i) => i >= roll(frame.length) && byte >> 5 >= 2 && byte >> 5 <= 5);
  if (at < 0 || roll(3) === 0) return frame.subarray(0, roll(frame.length));
  frame[at] = (frame[at]! & 0xe0) | [0, 23, 24, 25, 26, 27, 31][roll(7)]!;
  return frame;
};

async function realFrames(ana: TestNode, ben: TestNode): Promise<Uint8Array[]> {
  const sealed = await sealAs(ana, ana.me(), envelope(ben, "invoke/request", ana.me(), { boot: new Uint8Array(16) }));
  const [first, second] = await Promise.all(
    [1, 2].map((depth) =>
      sealAs(
        ana,
        ana.me(),
        envelope(ben, "invoke/request", ana.me(), {
          boot: new Uint8Array(16),
          body: body(
            ana.me(),
            { tool: "echo" },
            { parts: [{ text: "hello" }, { data: { a: [1, depth] } }], budget: { depth } },
          ),
        }),
      ),
    ),
  );
  return [
    encodeInvokeFrame({ t: "request", call: 1, sealed }),
    encodeInvokeFrame({ t: "request", call: 1, sealed: first! }),
    encodeInvokeFrame({ t: "resume", call: 1, sealed: second! }),
    encodeInvokeFrame({
      t: "ack",
      acks: [
        { call: 1, below: 2 },
        { call: 2, below: 300 },
      ],
    }),
  ];
}

test.each([
  ["random bytes", random1],
  ["bit flips of real frames", bitFlip],
  ["frames of the right shape with wrong things in it", structured],
  ["lengths that lie", lengthLies],
] as const)(
  "P6: %s ×5,000 never crash a node, and calls of others go on",
  async (_name, generate) => {
    const world = createWorld();
    const eve = await world.add("eve");
    const ana = await world.add("ana");
    const ben = await world.add("ben", { runnables: { "tools/echo": echo } });
    const real = await realFrames(eve, ben);
    const roll = dice(7);
    const heapBefore = process.memoryUsage().heapUsed;
    let ended = 0;
    let peer = rawPeer(eve, ben);
    for (let i = 0; i < FRAMES_PER_GENERATOR; i++) {
      const bytes = generate(roll, real);
      await peer.sendBytes(bytes).catch(() => {});
      if (i % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (peer.pair.right.signal.aborted) {
        ended++;
        peer = rawPeer(eve, ben);
      }
      if (i % 1000 === 500)
        expect(told(await all(invoke(ana, ben, { tool: "echo" }, { parts: [{ text: "still here" }] })))).toBe(
          "accepted result:still here",
        );
    }
    await sleep(10);
    expect(ended).toBeGreaterThan(100);
    expect(ben.invocations.size).toBe(0);
    expect(process.memoryUsage().heapUsed - heapBefore).toBeLessThan(200e6);
    await world.stop();
  },
  60_000,
);

test("P6: decoding garbage throws a KinError that says what is wrong, and nothing else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        decodeInvokeFrame(bytes);
      } catch (error) {
        expect(error).toBeInstanceOf(KinError);
      }
    }),
    { numRuns: 2000 },
  );
});

test("a frame larger than the largest envelope with its seal is refused before it is decoded", () => {
  expect(() => decodeInvokeFrame(random.bytes(256 * 1024 + 1025))).toThrow("at most");
});

test.each([
  ["a field that nobody knows", { t: "request", c: 1, e: {}, x: 1 }, "no field"],
  ["a type that nobody knows", { t: "hello", c: 1, e: {} }, "unknown invoke frame"],
  ["no call number", { t: "request", e: {} }, "integer from 1"],
  ["call number 0", { t: "request", c: 0, e: {} }, "integer from 1"],
  ["no envelope", { t: "request", c: 1 }, "a sealed message is a map"],
  ["an ack with a call number", { t: "ack", c: 1, a: [1, 1] }, "only t and a"],
  ["an ack of nothing", { t: "ack", a: [] }, "1 to 256 pairs"],
  ["an ack of half a pair", { t: "ack", a: [1] }, "1 to 256 pairs"],
  ["an ack of 257 calls", { t: "ack", a: Array(514).fill(1) }, "1 to 256 pairs"],
  ["an ack in a request", { t: "request", c: 1, e: {}, a: [1, 1] }, "only t, c and e"],
])("a frame with %s is refused", (_name, frame, why) => {
  expect(() => decodeInvokeFrame(encode(frame))).toThrow(why);
});

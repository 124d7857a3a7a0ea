/** P6: what is malformed ends its stream, never the node, never other peers' calls. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { encode } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { decodeInvokeFrame, encodeInvokeFrame } from "../../protocols/invoke-frames.ts";
import {
  bitFlip,
  dice,
  FRAMES as FRAMES_PER_GENERATOR,
  innerLengthLies,
  memoryInUse,
  randomBytes,
  structured,
  type Generator,
  type Roll,
} from "../garbage.ts";
import { body, envelope, rawPeer, sealAs } from "./raw.ts";
import { all, createWorld, echo, invoke, random, told, type TestNode } from "./world.ts";

const SCRAPS: ((roll: Roll) => unknown)[] = [
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

/** Frames of this protocol with the wrong things in them; {@link structured} changes real ones. */
const shaped: Generator = (roll) => {
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

const mixed: Generator = (roll, real) => (roll(2) === 0 ? shaped : structured)(roll, real);

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
  ["random bytes", randomBytes],
  ["bit flips of real frames", bitFlip],
  ["frames of the right shape with wrong things in it", mixed],
  ["lengths that lie", innerLengthLies],
] as const)(
  "[garbage-invoke] %s ×5,000 never crash a node, and calls of others go on",
  async (_name, generate) => {
    const world = createWorld();
    const eve = await world.add("eve");
    const ana = await world.add("ana");
    const ben = await world.add("ben", { runnables: { "tools/echo": echo } });
    const real = await realFrames(eve, ben);
    const roll = dice(7);
    const before = memoryInUse();
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
    expect(ended).toBeGreaterThan(100);
    // That a call has ended is acknowledged a moment later.
    await expect.poll(() => ben.invocations.size).toBe(0);
    expect(memoryInUse() - before).toBeLessThan(50e6);
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

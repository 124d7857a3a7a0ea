/** A stream that breaks ends no call. */
import * as fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Envelope } from "../../protocols/envelope.ts";
import { decodeInvokeFrame } from "../../protocols/invoke-frames.ts";
import { resumeBody } from "../../protocols/invoke-bodies.ts";
import { encodeEnvelope } from "../../protocols/envelope.ts";
import { body, envelope, idOfSealed, rawPeer } from "./raw.ts";
import {
  all,
  counting,
  createWorld,
  invoke,
  open,
  random,
  sleep,
  started,
  told,
  valueStore,
  type World,
} from "./world.ts";

let world: World;
beforeEach(() => void (world = createWorld()));
afterEach(async () => await world.stop());

const COUNT = 12;
const WHOLE = `accepted ${Array.from({ length: COUNT }, (_, i) => `progress:${i + 1}`).join(" ")} result:done`;

/** Cuts the n-th opened wire at the frame that `cuts[n]` says: of the caller (left) or the callee (right), before it arrives or after. */
function cutAt(cuts: { side: "left" | "right"; frame: number; lost: boolean }[]): void {
  let opened = 0;
  const { wires } = world;
  Object.defineProperty(world, "wireOptions", {
    get: () => {
      const cut = cuts[opened++];
      const at = opened - 1;
      return cut === undefined
        ? {}
        : {
            tap(side: string, frame: Uint8Array, nth: number) {
              if (side !== cut.side || nth !== cut.frame) return frame;
              if (cut.lost) wires[at]!.cut();
              else setImmediate(() => wires[at]!.cut());
              return frame;
            },
          };
    },
  });
}

test("a call whose stream is cut at any frame, of either side, lost or delivered, is told whole and runs once [resume-cut] [cut-mid-stream]", async () => {
  const cases = [];
  for (const side of ["left", "right"] as const)
    for (const lost of [true, false])
      for (let frame = 0; frame < (side === "right" ? COUNT + 2 : 3); frame++) cases.push([{ side, frame, lost }]);
  for (const cuts of cases) await tellWhole(cuts);
}, 60_000);

test("a call whose stream is cut again and again at random frames is told whole and runs once", async () => {
  const cut = fc.record({
    side: fc.constantFrom("left" as const, "right" as const),
    frame: fc.nat({ max: 6 }),
    lost: fc.boolean(),
  });
  await fc.assert(fc.asyncProperty(fc.array(cut, { minLength: 2, maxLength: 4 }), tellWhole), { numRuns: 15 });
}, 60_000);

async function tellWhole(cuts: { side: "left" | "right"; frame: number; lost: boolean }[]): Promise<void> {
  world = createWorld();
  cutAt(cuts);
  let ran = 0;
  const ana = await world.add("ana");
  const ben = await world.add("ben", {
    runnables: {
      reviewer: open((call, emit, signal) => {
        ran++;
        return counting(COUNT).run(call, emit, signal);
      }),
    },
  });
  const events = await all(invoke(ana, ben, { agent: "reviewer" }));
  expect({ cuts, told: told(events), ran }).toEqual({ cuts, told: WHOLE, ran: 1 });
  await world.stop();
}

test("a slow reader whose stream is cut again and again gets every event, and no more are kept for it than the window", async () => {
  const ana = await world.add("ana");
  let said = 0;
  const ben = await world.add("ben", {
    runnables: {
      chatter: open(async (_call, emit) => {
        for (; said < 200; said++) await emit([{ text: String(said) }]);
        return { parts: [] };
      }),
    },
  });
  const heard: number[] = [];
  for await (const event of invoke(ana, ben, { agent: "chatter" })) {
    heard.push(event.index);
    if (heard.length % 40 !== 5) continue;
    await sleep(10);
    world.wires.at(-1)!.cut();
    await sleep(120); // it has resumed, and has filled the window once more at most
    expect(said - heard.length).toBeLessThan(45);
  }
  expect(heard).toEqual(Array.from({ length: 202 }, (_, i) => i));
  expect(world.wires.length).toBeGreaterThan(4);
});

test("64 calls on a stream that is cut all end well", async () => {
  const ana = await world.add("ana");
  const go = Promise.withResolvers<void>();
  const ben = await world.add("ben", {
    runnables: { "tools/echo": open(async (call) => (await go.promise, { parts: call.request.parts })) },
  });
  const calls = await Promise.all(
    Array.from({ length: 64 }, (_, i) => started(invoke(ana, ben, { tool: "echo" }, { parts: [{ text: String(i) }] }))),
  );
  world.wires[0]!.cut();
  go.resolve();
  (await Promise.all(calls.map((call) => call.rest))).forEach((events, i) =>
    expect(told(events)).toBe(`accepted result:${i}`),
  );
  expect(world.wires).toHaveLength(2);
});

test("a peer that does not come back leaves the outcome unknown at the deadline", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { reviewer: open(() => new Promise(() => {})) } });
  const call = await started(invoke(ana, ben, { agent: "reviewer" }, { deadlineMs: 500 }));
  ben.online = false;
  world.wires[0]!.cut();
  expect(told(await call.rest)).toBe("accepted failure:OUTCOME_UNKNOWN");
});

test("R11: after the callee's restart a resume is answered with OUTCOME_UNKNOWN where no record is", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { reviewer: open(() => new Promise(() => {})) } });
  const call = await started(invoke(ana, ben, { agent: "reviewer" }));
  await world.add("ben", { runnables: { reviewer: counting(1) }, of: ben });
  await ben.invocations.stop();
  const events = await call.rest;
  expect(told(events)).toBe("accepted failure:OUTCOME_UNKNOWN");
  expect(events.at(-1)!.sealed).toBeDefined(); // the callee itself says so
});

test("R11: after the callee's restart a resume is answered from the durable record, to the caller's key only", async () => {
  const store = valueStore();
  let ran = 0;
  const once = open(() => (ran++, Promise.resolve({ parts: [{ text: "written" }] })), false);
  const ana = await world.add("ana", { runnables: { scout: counting(1) } });
  const ben = await world.add("ben", { runnables: { echo: once }, store });
  const first = rawPeer(ana, ben);
  const asked = body(ana.me(), { agent: "echo" });
  const sealed = await first.say("request", { body: asked });
  expect([await first.hear(), await first.hear()]).toEqual(["accepted", "result"]);
  await ben.invocations.stop();

  const again = await world.add("ben", { runnables: { echo: once }, store, of: ben });
  const re = idOfSealed(sealed);
  const resume = (from: number): NonNullable<Envelope["body"]> =>
    resumeBody({ from, id: new Uint8Array(16), boot: ben.boot });
  const late = rawPeer(ana, again);
  await late.say("resume", { re, body: resume(1) });
  expect(await late.hear()).toBe("result");
  expect(Buffer.from(late.last!.bytes).includes("written")).toBe(true);
  await late.send({ t: "ack", acks: [{ call: 1, below: 2 }] });
  await late.say("resume", { re, body: resume(0) });
  expect([await late.hear(), await late.hear()]).toEqual(["accepted", "result"]);
  await late.send({ t: "ack", acks: [{ call: 2, below: 2 }] });
  await late.say("resume", { re, body: resume(1) }, { as: ana.me("scout") }); // another key
  expect(await late.hear()).toBe("failure");
  expect(Buffer.from(late.last!.bytes).includes("OUTCOME_UNKNOWN")).toBe(true);
  expect(ran).toBe(1);
});

test("R11: a recorded end that nobody is left to sign is unknown, never a refusal [mute-record]", async () => {
  const store = valueStore();
  const ana = await world.add("ana");
  const ben = await world.add("ben", {
    runnables: { echo: open(() => Promise.resolve({ parts: [{ text: "written" }] }), false) },
    store,
  });
  const first = rawPeer(ana, ben);
  const sealed = await first.say("request", { body: body(ana.me(), { agent: "echo" }) });
  expect([await first.hear(), await first.hear()]).toEqual(["accepted", "result"]);
  await ben.invocations.stop();

  ben.agentKeys.delete("echo");
  const again = await world.add("ben", { store, of: ben });
  const late = rawPeer(ana, again);
  const resume = resumeBody({ from: 1, id: new Uint8Array(16), boot: ben.boot });
  await late.say("resume", { re: idOfSealed(sealed), body: resume });
  expect(await late.hear()).toBe("failure");
  expect(Buffer.from(late.last!.bytes).includes("OUTCOME_UNKNOWN")).toBe(true);
});

test("a request that never arrived is sent again, not resumed: the callee says NOT_FOUND", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { "tools/echo": counting(0) } });
  const peer = rawPeer(ana, ben);
  const never = encodeEnvelope(envelope(ben, "invoke/request", ana.me(), {}));
  const re = idOfSealed(await ana.seal(null)!(never));
  const resume = resumeBody({ from: 0, id: random.bytes(16), boot: ben.boot });
  await peer.say("resume", { re, body: resume });
  expect(await peer.hear()).toBe("refused:NOT_FOUND");
});

test("R11: a request that was seen in this boot and is forgotten is unknown, never run again", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { "tools/echo": counting(0) } });
  const peer = rawPeer(ana, ben);
  const id = random.bytes(16);
  const re = idOfSealed(await peer.say("request", { id }));
  expect([await peer.hear(), await peer.hear()]).toEqual(["accepted", "result"]);
  await peer.send({ t: "ack", acks: [{ call: 1, below: 2 }] });
  await peer.say("resume", { re, body: resumeBody({ from: 1, id, boot: ben.boot }) });
  expect(await peer.hear()).toBe("failure");
  expect(Buffer.from(peer.last!.bytes).includes("OUTCOME_UNKNOWN")).toBe(true);
});

test("a callee that says WRONG_BOOT again and again ends the call", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { reviewer: counting(1) } });
  ben.boot = random.bytes(16);
  expect(told(await all(invoke(ana, ben, { agent: "reviewer" })))).toBe("failure:WRONG_BOOT");
  expect(world.wires).toHaveLength(2);
});

test("a hello that was out of date costs one more attempt, not the call", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { reviewer: counting(1) } });
  const right = ben.boot;
  ben.boot = random.bytes(16); // what ana's side believes
  const seen: string[] = [];
  world.wireOptions = {
    tap(_side, frame) {
      seen.push(decodeInvokeFrame(frame).t);
      if (seen.at(-1) === "refused") ben.boot = right;
      return frame;
    },
  };
  expect(told(await all(invoke(ana, ben, { agent: "reviewer" })))).toBe("accepted progress:1 result:done");
  expect(seen.slice(0, 3)).toEqual(["request", "refused", "request"]);
});

import { afterEach, beforeEach, expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import { openEnvelope } from "../../protocols/envelope.ts";
import {
  createWorld,
  all,
  counting,
  echo,
  invoke,
  open,
  realTime,
  request,
  sleep,
  told,
  until,
  type World,
} from "./world.ts";

let world: World;
beforeEach(() => void (world = createWorld()));
afterEach(async () => await world.stop());

test("a call streams accepted, progress and its result, each signed by the agent that was asked [invoke-stream]", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { reviewer: counting(3) } });
  const events = await all(invoke(ana, ben, { agent: "reviewer" }));
  expect(told(events)).toBe("accepted progress:1 progress:2 progress:3 result:done");
  expect(events.map((event) => event.index)).toEqual([0, 1, 2, 3, 4]);
  for (const event of events) {
    const { envelope } = openEnvelope(event.sealed!, (key) =>
      Buffer.from(key).equals(ben.agentKeys.get("reviewer")!.publicKey),
    );
    expect(envelope.from).toEqual(ben.me("reviewer"));
    expect(envelope.to).toEqual(ana.me());
  }
});

test("a tool answers with its device's key", async () => {
  const ana = await world.add("ana");
  const answer = { tool: { content: [{ type: "text" as const, text: "π" }], structured: { x: 1.5 }, isError: false } };
  const ben = await world.add("ben", { runnables: { "tools/git.log": open(() => Promise.resolve(answer)) } });
  const events = await all(invoke(ana, ben, { tool: "git.log" }, { arguments: { max: 3 } }));
  expect(events.at(-1)).toMatchObject({ type: "result", index: 1, outcome: answer });
  expect(Buffer.from(events.at(-1)!.sealed!.seal.key)).toEqual(Buffer.from(ben.deviceKey.publicKey));
});

test("64 calls in flight share one stream, both directions at once, and each gets its own answer [one-stream]", async () => {
  const ana = await world.add("ana", { runnables: { "tools/echo": echo } });
  const ben = await world.add("ben", { runnables: { "tools/echo": echo } });
  await ana.invocations.connect(ben.device, new AbortController().signal);
  const before = ben.signatures.count;
  const calls = Array.from({ length: 64 }, (_, i) =>
    all(invoke(i % 2 ? ana : ben, i % 2 ? ben : ana, { tool: "echo" }, { parts: [{ text: `number ${i}` }] })),
  );
  const answers = await Promise.all(calls);
  answers.forEach((events, i) => expect(told(events)).toBe(`accepted result:number ${i}`));
  expect(world.wires).toHaveLength(1);
  // 32 requests in one tick, 32 × (accepted + result) in another: not one signature for each of the 96 messages
  expect(ben.signatures.count - before).toBeLessThan(12);
});

test("300 calls at once wait for the 256 places instead of being refused", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { "tools/echo": echo } });
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, i) => all(invoke(ana, ben, { tool: "echo" }, { parts: [{ text: `${i}` }] }))),
  );
  answers.forEach((events, i) => expect(told(events)).toBe(`accepted result:${i}`));
  await until(() => ben.invocations.size === 0);
});

test("a result that is ready in the tick of accepted shares its signature", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { reviewer: counting(0) } });
  const events = await all(invoke(ana, ben, { agent: "reviewer" }));
  expect(Buffer.from(events[1]!.sealed!.seal.sig)).toEqual(Buffer.from(events[0]!.sealed!.seal.sig));
  expect(events[0]!.sealed!.seal.path.size).toBe(2);
});

test("a node calls its own agents through the same door, with sealed envelopes", async () => {
  const ana = await world.add("ana", { runnables: { guide: counting(1) } });
  const events = await all(invoke(ana, ana, { agent: "guide" }));
  expect(told(events)).toBe("accepted progress:1 result:done");
  expect(events.every((event) => event.sealed !== undefined)).toBe(true);
  expect(world.wires).toHaveLength(0);
});

test("aborting a call cancels it at the callee, whose tool sees its signal [cancel-signal]", async () => {
  const ana = await world.add("ana");
  const seen = Promise.withResolvers<string>();
  const hangs = open((_call, _emit, signal) => {
    signal.addEventListener("abort", () => seen.resolve((signal.reason as { code: string }).code));
    return new Promise(() => {});
  });
  const ben = await world.add("ben", { runnables: { reviewer: hangs } });
  const stop = new AbortController();
  const events = [];
  for await (const event of invoke(ana, ben, { agent: "reviewer" }, {}, stop.signal)) {
    events.push(event);
    if (event.type === "accepted") stop.abort();
  }
  expect(told(events)).toBe("accepted failure:CANCELLED");
  expect(await seen.promise).toBe("CANCELLED");
});

test("a caller that stops reading cancels the call", async () => {
  const ana = await world.add("ana");
  const seen = Promise.withResolvers<void>();
  const ben = await world.add("ben", {
    runnables: {
      reviewer: open(async (_call, emit, signal) => {
        signal.addEventListener("abort", () => seen.resolve());
        for (;;) await emit([{ text: "more" }]);
      }),
    },
  });
  for await (const event of invoke(ana, ben, { agent: "reviewer" })) if (event.type === "progress") break;
  await seen.promise;
});

test("a tool that hangs ends with DEADLINE_EXCEEDED, and its signal fires [deadline-kept] [hanging-tool]", async () => {
  const ana = await world.add("ana");
  let aborted = false;
  const ben = await world.add("ben", {
    runnables: {
      "tools/hang": open((_call, _emit, signal) => {
        signal.addEventListener("abort", () => (aborted = true));
        return new Promise(() => {});
      }),
    },
  });
  const events = await all(invoke(ana, ben, { tool: "hang" }, { deadlineMs: 60 }));
  expect(told(events)).toBe("accepted failure:DEADLINE_EXCEEDED");
  expect(events.at(-1)!.sealed).toBeDefined();
  expect(aborted).toBe(true);
});

test("a callee that never answers is given up after the deadline", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", {
    handle: () => ({ [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) }),
  });
  const events = await all(invoke(ana, ben, { agent: "reviewer" }, { deadlineMs: 30 }));
  expect(told(events)).toBe("failure:DEADLINE_EXCEEDED");
});

test("what a runnable throws arrives as a typed failure [invoke-stream]", async () => {
  const ana = await world.add("ana");
  const boom = open(() => Promise.reject(new Error("the disk is on fire")));
  const ben = await world.add("ben", { runnables: { reviewer: boom, "tools/boom": boom } });
  const [agent, tool] = await Promise.all([
    all(invoke(ana, ben, { agent: "reviewer" })),
    all(invoke(ana, ben, { tool: "boom" })),
  ]);
  expect(agent.at(-1)).toMatchObject({ error: { code: "AGENT_FAILED", message: "the disk is on fire" } });
  expect(tool.at(-1)).toMatchObject({ error: { code: "TOOL_FAILED" } });
});

test("a result that is larger than an envelope arrives as TOO_LARGE", async () => {
  const ana = await world.add("ana");
  const large = open(() =>
    Promise.resolve({ parts: Array.from({ length: 3 }, () => ({ text: "x".repeat(100_000) })) }),
  );
  const ben = await world.add("ben", { runnables: { reviewer: large } });
  expect(told(await all(invoke(ana, ben, { agent: "reviewer" })))).toBe("accepted failure:TOO_LARGE");
});

test("what the caller's node would not accept is a failure of its call, not of the stream", async () => {
  const ana = await world.add("ana");
  const long = "x".repeat(131_073);
  const ben = await world.add("ben", {
    runnables: {
      text: open(() => Promise.resolve({ parts: [{ text: long }] })),
      data: open(() => Promise.resolve({ parts: [{ data: long }] })),
      parts: open(() => Promise.resolve({ parts: Array.from({ length: 257 }, () => ({ text: "" })) })),
      progress: open(async (_call, emit) => (await emit([{ text: long }]), { parts: [] })),
      written: open(() => Promise.resolve({ parts: [{ text: long }] }), false),
      "tools/text": open(() => Promise.resolve({ tool: { content: [{ type: "text", text: long }], isError: false } })),
      "tools/code": open(() => Promise.reject(new KinError("enoent", "no such file"))),
    },
  });
  for (const agent of ["text", "data", "parts", "progress", "written"])
    expect(told(await all(invoke(ana, ben, { agent })))).toBe("accepted failure:TOO_LARGE");
  expect(told(await all(invoke(ana, ben, { tool: "text" })))).toBe("accepted failure:TOO_LARGE");
  expect(told(await all(invoke(ana, ben, { tool: "code" })))).toBe("accepted failure:INTERNAL");
  expect(told(await all(invoke(ana, ben, { agent: "text" }, { parts: [{ text: long }] })))).toBe("failure:TOO_LARGE");
  expect(world.wires).toHaveLength(1);
});

test("a call to somebody who is offline fails at once with the reason", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben");
  ben.online = false;
  const events = await all(invoke(ana, ben, { agent: "reviewer" }));
  expect(told(events)).toBe("failure:OFFLINE");
});

test("a clock that is 6 min off is named before the call is sent [clock-skew]", async () => {
  const ana = await world.add("ana", { skewOf: () => 6 * 60_000 });
  const ben = await world.add("ben", { runnables: { reviewer: echo } });
  const events = await all(invoke(ana, ben, { agent: "reviewer" }));
  expect(events).toMatchObject([{ type: "failure", error: { code: "CLOCK_SKEW" } }]);
  expect(JSON.stringify(events)).toContain(`device ${ben.device.slice(0, 8)} is 6.0 min ahead of`);
});

test("a clock that is 4 min off, either way, does no harm", async () => {
  for (const minutes of [4, -4]) {
    const ana = await world.add("ana", { time: realTime(minutes * 60_000) });
    const ben = await world.add("ben", { runnables: { reviewer: counting(1) } });
    const events = await all(invoke(ana, ben, { agent: "reviewer" }, { deadlineMs: 5000 }));
    expect(told(events)).toBe("accepted progress:1 result:done");
  }
});

test("one slow reader stops only its own call, and the callee keeps no more than the window [back-pressure]", async () => {
  const ana = await world.add("ana");
  let said = 0;
  const ben = await world.add("ben", {
    runnables: {
      chatter: open(async (_call, emit) => {
        for (; said < 500; said++) await emit([{ text: "x".repeat(1000) }]);
        return { parts: [{ text: "done" }] };
      }),
      "tools/echo": echo,
    },
  });
  const slow = invoke(ana, ben, { agent: "chatter" })[Symbol.asyncIterator]();
  await slow.next();
  for (let i = 0; i < 50; i++)
    expect(told(await all(invoke(ana, ben, { tool: "echo" }, { parts: [{ text: `${i}` }] })))).toBe(
      `accepted result:${i}`,
    );
  expect(said).toBeLessThan(60); // window 32 + 8 in dispatch + what is in hand
  const rest = [];
  for (let next = await slow.next(); next.done !== true; next = await slow.next()) rest.push(next.value);
  expect(rest).toHaveLength(501);
  expect(rest.at(-1)).toMatchObject({ type: "result", index: 501 });
});

test("large progress is bounded by bytes, and none is lost", async () => {
  const ana = await world.add("ana");
  let said = 0;
  const ben = await world.add("ben", {
    runnables: {
      chatter: open(async (_call, emit) => {
        for (; said < 40; said++) await emit([{ text: "x".repeat(100_000) }]);
        return { parts: [] };
      }),
    },
  });
  const slow = invoke(ana, ben, { agent: "chatter" })[Symbol.asyncIterator]();
  await slow.next();
  await sleep(100);
  expect(said).toBeLessThan(16); // 3 in the window of 256 KiB, 8 in dispatch
  let count = 0;
  for (let next = await slow.next(); next.done !== true; next = await slow.next()) count++;
  expect(count).toBe(41);
});

test("a call whose caller never reads ends at its deadline", async () => {
  const ana = await world.add("ana");
  const ben = await world.add("ben", { runnables: { chatter: counting(1000) } });
  const slow = invoke(ana, ben, { agent: "chatter" }, { deadlineMs: 100 })[Symbol.asyncIterator]();
  const first = await slow.next();
  await sleep(200);
  const rest = [first.value];
  for (let next = await slow.next(); next.done !== true; next = await slow.next()) rest.push(next.value);
  expect(rest.at(-1)).toMatchObject({ type: "failure", error: { code: "DEADLINE_EXCEEDED" } });
});

test("a request that is delegated carries one link more, one delegation less and the time that is left [budget-depth]", async () => {
  const { delegation } = await import("../../protocols/invoke.ts");
  const ana = await world.add("ana");
  const first = request(ana.me(), { agent: "reviewer" }, { budget: { depth: 1, tokens: 7 } });
  const call = { request: first, deadlineAt: 5000 } as Parameters<typeof delegation>[0];
  const link = { ...ana.me("reviewer") };
  const next = delegation(call, link, 2000);
  expect(next).toEqual({ budget: { depth: 0, tokens: 7 }, chain: [ana.me(), link], deadlineMs: 3000 });
  expect(() => delegation({ ...call, request: { ...first, ...next } }, link, 2000)).toThrow("may not be delegated");
  expect(() => delegation(call, link, 5000)).toThrow("deadline has passed");
});

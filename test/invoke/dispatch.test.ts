/** The one door: rights, chains, once only, deadlines, and what is durable when. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import { idOf } from "../../protocols/ids.ts";
import type { CallEvent, CallRequest, CallTarget, IncomingCall } from "../../protocols/invoke.ts";
import { fetchBefore, type Runnable } from "../../node/agents/dispatch.ts";
import { envelope, idOfSealed, sealAs } from "./raw.ts";
import {
  all,
  counting,
  createWorld,
  echo,
  invoke,
  open,
  random,
  request,
  sleep,
  told,
  valueStore,
  type TestNode,
  type World,
} from "./world.ts";

let world: World;
let ana: TestNode;
let ran = 0;
beforeEach(async () => {
  world = createWorld();
  ran = 0;
  ana = await world.add("ana");
});
afterEach(async () => await world.stop());

const write = open(() => (ran++, Promise.resolve({ parts: [{ text: `run ${ran}` }] })), false);

async function call(
  to: TestNode,
  target: CallTarget,
  change: Partial<CallRequest> = {},
  from: TestNode = ana,
): Promise<IncomingCall> {
  const asked = request(from.me(), target, change);
  const sealed = await sealAs(from, from.me(), envelope(to, "invoke/request", from.me(), {}));
  const now = Date.now();
  return {
    mesh: idOf(new Uint8Array(32)),
    id: idOfSealed(sealed),
    from: from.me(),
    request: asked,
    sealed,
    way: "durable",
    deadlineAt: now + asked.deadlineMs,
    expiresAt: now + 60_000,
  };
}

async function handled(to: TestNode, incoming: IncomingCall, signal = new AbortController().signal): Promise<string> {
  const events: CallEvent[] = [];
  for await (const event of to.handle(incoming, signal)) events.push(event);
  expect(events.map((event) => event.index)).toEqual(events.map((_, i) => i));
  return told(events);
}

test("nothing is fetched for who may not call, nor for what has begun before [caller-gone-fetching]", async () => {
  const fetched: string[] = [];
  let mayCall: Runnable["mayCall"] = () => true;
  let word: "unknown" | "never-begun" = "never-begun";
  const work: Runnable = {
    ...write,
    mayCall: (...asked) => mayCall(...asked),
    fetch: async ({ id }) => void fetched.push(id),
  };
  const incoming = await call(ana, { tool: "work" });
  const look = (): Promise<void> =>
    fetchBefore({ find: () => work, ledger: { wordOn: async () => word } }, incoming, new AbortController().signal);
  mayCall = () => false;
  await look();
  mayCall = () => {
    throw new KinError("INVALID_ARGUMENTS", "it has no such setting");
  };
  await look();
  mayCall = () => true;
  word = "unknown";
  await look();
  expect(fetched).toEqual([]);
  word = "never-begun";
  await look();
  expect(fetched).toEqual([incoming.id]);
});

test("default deny: absent and forbidden look the same to others, and are told apart to the owner [default-deny]", async () => {
  const secret: Runnable = { ...echo, mayCall: (person) => person === ben.person };
  const ben = await world.add("ben", { runnables: { "tools/secret": secret } });
  const forbidden = await all(invoke(ana, ben, { tool: "secret" }));
  const absent = await all(invoke(ana, ben, { tool: "absent" }));
  expect(told(forbidden)).toBe("failure:DENIED");
  expect(told(absent)).toBe("failure:DENIED");
  expect(JSON.stringify(absent.map((event) => ({ ...event, sealed: 0 })))).toBe(
    JSON.stringify(forbidden.map((event) => ({ ...event, sealed: 0 }))).replace("secret", "absent"),
  );
  expect(told(await all(invoke(ben, ben, { tool: "absent" })))).toBe("failure:NOT_FOUND");
  expect(told(await all(invoke(ben, ben, { tool: "secret" })))).toBe("accepted result:");
  expect(ben.records.map(({ event, target, outcome }) => [event, target, outcome])).toEqual([
    ["refused", "tools/secret", "DENIED"],
    ["refused", "tools/absent", "DENIED"],
    ["refused", "tools/absent", "NOT_FOUND"],
  ]);
});

test("who is no member is refused at the door as well", async () => {
  const ben = await world.add("ben", { runnables: { reviewer: echo } });
  world.remove(ana);
  expect(await handled(ben, await call(ben, { agent: "reviewer" }))).toBe("failure:NOT_A_MEMBER");
});

test("an agent's run is audited with its start and end", async () => {
  const ben = await world.add("ben", { runnables: { reviewer: counting(1) } });
  await handled(ben, await call(ben, { agent: "reviewer" }, { arguments: { share: "app" } }));
  expect(ben.records).toMatchObject([
    { event: "started", target: "reviewer", share: "app", caller: { person: ana.person } },
    { event: "ended", outcome: "ok" },
  ]);
});

test("J10: a loop A→B→A is refused by A", async () => {
  const ben = await world.add("ben", { runnables: { b: counting(0) } });
  const a: Runnable = open(async (incoming, _emit, signal) => {
    const { delegation } = await import("../../protocols/invoke.ts");
    const next = delegation(incoming, ana.me("a"), Date.now());
    const events = await all(
      ana.invocations.invoke(
        {
          from: ana.me("a"),
          to: { person: ben.person, device: ben.device },
          request: { ...request(ana.me("a"), { agent: "b" }), ...next },
        },
        signal,
      ),
    );
    return { parts: [{ text: told(events) }] };
  });
  const b: Runnable = open(async (incoming, _emit, signal) => {
    const { delegation } = await import("../../protocols/invoke.ts");
    const next = delegation(incoming, ben.me("b"), Date.now());
    const events = await all(
      ben.invocations.invoke(
        {
          from: ben.me("b"),
          to: { person: ana.person, device: ana.device },
          request: { ...request(ben.me("b"), { agent: "a" }), ...next },
        },
        signal,
      ),
    );
    return { parts: [{ text: told(events) }] };
  });
  await world.stop();
  const anaLoops = await world.add("ana", { runnables: { a }, of: ana });
  const benLoops = await world.add("ben", { runnables: { b }, of: ben });
  Object.assign(ana, anaLoops);
  Object.assign(ben, benLoops);
  const events = await all(invoke(ana, ana, { agent: "a" }));
  expect(told(events)).toBe("accepted result:accepted result:failure:LOOP");
});

test("TOO_DEEP: delegations done and delegations allowed are at most 16 together [budget-depth]", async () => {
  const ben = await world.add("ben", { runnables: { reviewer: echo } });
  const link = (agent: string) => ({ person: idOf<"person">(random.bytes(32)), device: ana.device, agent });
  const chain = [...Array.from({ length: 10 }, (_, i) => link(`x${i}`)), { ...ana.me() }];
  const deep = await call(ben, { agent: "reviewer" }, { chain, budget: { depth: 7 } });
  expect(await handled(ben, deep)).toBe("failure:TOO_DEEP");
  const good = await call(ben, { agent: "reviewer" }, { chain, budget: { depth: 6 } });
  expect(await handled(ben, good)).toBe("accepted result:");
});

test("a chain that does not end with the caller is refused", async () => {
  const ben = await world.add("ben", { runnables: { reviewer: echo } });
  const lied = await call(ben, { agent: "reviewer" }, { chain: [{ ...ben.me() }] });
  expect(await handled(ben, lied)).toBe("failure:BAD_REQUEST");
});

test("a durable call that comes after its deadline is refused", async () => {
  const ben = await world.add("ben", { runnables: { reviewer: write } });
  const late = { ...(await call(ben, { agent: "reviewer" })), deadlineAt: Date.now() - 1 };
  expect(await handled(ben, late)).toBe("failure:DEADLINE_EXCEEDED");
  expect(ran).toBe(0);
});

test("R8: a call with side effects is durable before accepted and before it runs; its end before the result", async () => {
  const store = valueStore();
  const log: string[] = [];
  const slow = {
    ...store,
    append: async (batch: Parameters<typeof store.append>[0]) => {
      await sleep(20);
      await store.append(batch);
      log.push("durable");
    },
  };
  const ben = await world.add("ben", {
    store: slow,
    runnables: { w: open(() => (log.push("ran"), Promise.resolve({ parts: [] })), false) },
  });
  for await (const event of ben.handle(await call(ben, { agent: "w" }), new AbortController().signal))
    log.push(event.type);
  expect(log.slice(0, 1)).toEqual(["durable"]);
  expect(log.indexOf("durable")).toBeLessThan(log.indexOf("ran"));
  expect(log.slice(-2)).toEqual(["durable", "result"]);
});

test("R8: a read-only call writes nothing and does not wait for the disk", async () => {
  const store = { ...valueStore(), append: () => new Promise<void>(() => {}) };
  const ben = await world.add("ben", { store, runnables: { "tools/read": echo } });
  expect(await handled(ben, await call(ben, { tool: "read" }))).toBe("accepted result:");
});

test("R8: a disk that fails before the start refuses the call, and it does not run", async () => {
  const store = { ...valueStore(), append: () => Promise.reject(new Error("ENOSPC")) };
  const ben = await world.add("ben", { store, runnables: { w: write } });
  expect(await handled(ben, await call(ben, { agent: "w" }))).toBe("failure:INTERNAL");
  expect(ran).toBe(0);
});

test("R8: the same key with the same request is answered from the record; the tool runs once", async () => {
  const ben = await world.add("ben", { runnables: { w: write } });
  const key = random.bytes(16);
  const first = await call(ben, { agent: "w" }, { key });
  expect(await handled(ben, first)).toBe("accepted result:run 1");
  const retry = await call(ben, { agent: "w" }, { key, retryOf: { request: first.id, iat: Date.now() } });
  expect(await handled(ben, retry)).toBe("accepted result:run 1");
  expect(ran).toBe(1);
});

test("R8: the same key while the call still runs joins it, and leaving does not stop it", async () => {
  const go = Promise.withResolvers<void>();
  const slow = open(async () => (ran++, await go.promise, { parts: [{ text: "both" }] }), false);
  const ben = await world.add("ben", { runnables: { w: slow } });
  const key = random.bytes(16);
  const first = handled(ben, await call(ben, { agent: "w" }, { key }));
  const second = handled(ben, await call(ben, { agent: "w" }, { key }));
  const stop = new AbortController();
  const third = handled(ben, await call(ben, { agent: "w" }, { key }), stop.signal);
  const fourth = handled(ben, await call(ben, { agent: "w" }, { key, deadlineMs: 30 }));
  await sleep(10);
  stop.abort(new Error("gone"));
  expect(await third).toBe("accepted failure:INTERNAL");
  expect(await fourth).toBe("accepted failure:DEADLINE_EXCEEDED");
  go.resolve();
  expect([await first, await second]).toEqual(["accepted result:both", "accepted result:both"]);
  expect(ran).toBe(1);
});

test("R8: a key that is used for another request is refused, running or recorded; another person's same key is his own", async () => {
  const carl = await world.add("carl");
  const ben = await world.add("ben", { runnables: { w: write } });
  const key = random.bytes(16);
  const first = await call(ben, { agent: "w" }, { key });
  await handled(ben, first);
  const other = await call(ben, { agent: "w" }, { key, parts: [{ text: "else" }] });
  expect(await handled(ben, other)).toBe("failure:INVALID_ARGUMENTS");
  const wrong = await call(ben, { agent: "w" }, { key, retryOf: { request: other.id, iat: Date.now() } });
  expect(await handled(ben, wrong)).toBe("failure:INVALID_ARGUMENTS");
  expect(await handled(ben, await call(ben, { agent: "w" }, { key }, carl))).toBe("accepted result:run 2");
});

test("R8: a failure is recorded like a result, and a retry does not run again", async () => {
  const fails = open(() => (ran++, Promise.reject(new Error("half done"))), false);
  const ben = await world.add("ben", { runnables: { "tools/w": fails } });
  const key = random.bytes(16);
  expect(await handled(ben, await call(ben, { tool: "w" }, { key }))).toBe("accepted failure:TOOL_FAILED");
  expect(await handled(ben, await call(ben, { tool: "w" }, { key }))).toBe("accepted failure:TOOL_FAILED");
  expect(ran).toBe(1);
});

test("R8: a cancelled call with side effects leaves a record that says so", async () => {
  const ben = await world.add("ben", { runnables: { w: open(() => new Promise(() => {}), false) } });
  const key = random.bytes(16);
  const stop = new AbortController();
  setTimeout(() => stop.abort(Object.assign(new Error("gone"))), 20);
  expect(await handled(ben, await call(ben, { agent: "w" }, { key }), stop.signal)).toBe("accepted failure:INTERNAL");
  expect(await handled(ben, await call(ben, { agent: "w" }, { key }))).toBe("accepted failure:INTERNAL");
});

test("R8: a retry of a request whose record may have been dropped is unknown, not run", async () => {
  const ben = await world.add("ben", { runnables: { w: write } });
  const old = { request: idOf<"envelope">(random.bytes(32)), iat: Date.now() - 11 * 60_000 };
  expect(await handled(ben, await call(ben, { agent: "w" }, { retryOf: old }))).toBe("failure:OUTCOME_UNKNOWN");
  const young = { ...old, iat: Date.now() - 60_000 };
  expect(await handled(ben, await call(ben, { agent: "w" }, { retryOf: young }))).toBe("accepted result:run 1");
});

test("R8: an incarnation that isn't the first runs nothing with side effects that was signed before it", async () => {
  const ben = await world.add("ben", {
    runnables: { w: write, r: echo },
    dispatch: { notBefore: () => Date.now() + 300_000 },
  });
  expect(await handled(ben, await call(ben, { agent: "w" }))).toBe("failure:OUTCOME_UNKNOWN");
  expect(await handled(ben, await call(ben, { agent: "r" }))).toBe("accepted result:");
  expect(ran).toBe(0);
});

test("J11: calls of one person over the bound are refused, others' are not", async () => {
  const carl = await world.add("carl");
  const go = Promise.withResolvers<void>();
  const slow = open(async () => (await go.promise, { parts: [] }));
  const ben = await world.add("ben", { runnables: { w: slow }, dispatch: { maxCallsPerPerson: 2 } });
  const running = [handled(ben, await call(ben, { agent: "w" })), handled(ben, await call(ben, { agent: "w" }))];
  expect(await handled(ben, await call(ben, { agent: "w" }))).toBe("failure:OVERLOADED");
  const other = handled(ben, await call(ben, { agent: "w" }, {}, carl));
  go.resolve();
  expect(await Promise.all([...running, other])).toEqual(Array(3).fill("accepted result:"));
  expect(await handled(ben, await call(ben, { agent: "w" }))).toBe("accepted result:");
});

test("a runnable that goes on emitting after its call is over is told so", async () => {
  const told = Promise.withResolvers<unknown>();
  const chatty = open(async (_call, emit) => {
    try {
      for (;;) await emit([{ text: "x" }]);
    } catch (error) {
      told.resolve(error);
      throw error;
    }
  });
  const ben = await world.add("ben", { runnables: { a: chatty } });
  for await (const event of ben.handle(await call(ben, { agent: "a" }), new AbortController().signal))
    if (event.type === "progress") break;
  expect(await told.promise).toMatchObject({ code: "CANCELLED" });
});

test("a caller that leaves right after accepted stops the run", async () => {
  const seen = Promise.withResolvers<void>();
  const hangs = open((_call, _emit, signal) => {
    signal.addEventListener("abort", () => seen.resolve());
    return new Promise(() => {});
  });
  const ben = await world.add("ben", { runnables: { a: hangs } });
  for await (const event of ben.handle(await call(ben, { agent: "a" }), new AbortController().signal))
    if (event.type === "accepted") break;
  await seen.promise;
});

import { expect, test } from "vitest";
import { sealingKeyFromSeed } from "#crypto";
import { utf8Bytes } from "../../protocols/bytes.ts";
import { encode } from "../../protocols/bytes.ts";
import { logIdOf, parseLogOpening, verifyRun, type StoredEvent } from "../../protocols/events.ts";
import { openBody, type BodyKeys } from "../../protocols/event-body.ts";
import { idOf } from "../../protocols/ids.ts";
import { MAX_EVENTS_PER_HEAD } from "../../protocols/limits.ts";
import { CLOCK_BOUND_KEY, compareStamps, createClock, encodeStamp } from "../../sync/clock.ts";
import { newIncarnation, openLog, type LogDeps, type NewEvent } from "../../sync/log.ts";
import type { EventStore, StoreBatch } from "../../sync/store.ts";
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { bytesOf, deviceOf, epoch, epochKey, mesh, seededRandom } from "./chains.ts";

const NOW = 1_700_000_000_000;
const ana = deviceOf("ana");
const ben = { id: deviceOf("ben").id, sealing: sealingKeyFromSeed(bytesOf("ben seals")) };
const incarnation = bytesOf("incarnation").subarray(0, 16);
const benKeys: BodyKeys = {
  device: ben.id,
  epochKey: (asked) => (asked === epoch ? epochKey : undefined),
  sealingKeys: () => [ben.sealing],
};

interface Setup {
  store: EventStore;
  /** Every batch that reached the store. */
  batches: StoreBatch[];
  time: { at: number; now(): number };
  deps: LogDeps;
}

async function setup(change: Partial<LogDeps> = {}, disk = createMemoryDisk()): Promise<Setup> {
  const inner = await openMemoryStore(disk);
  const batches: StoreBatch[] = [];
  const store: EventStore = { ...inner, append: (batch) => (batches.push(batch), inner.append(batch)) };
  const time = { at: NOW, now: () => time.at };
  const clock = createClock({ time });
  const deps: LogDeps = {
    store,
    mesh,
    key: ana.key,
    incarnation,
    chain: "mesh",
    clock,
    random: seededRandom("log"),
    ...change,
  };
  return { store, batches, time, deps };
}

const note = (text: string): NewEvent => ({
  kind: "note",
  audience: "mesh",
  body: { form: "mesh", epoch, key: epochKey, value: { text } },
});

async function textOf(event: StoredEvent): Promise<unknown> {
  return openBody({ mesh, author: ana.id }, event.header, event.body!, benKeys);
}

/** The whole log as a peer checks it. */
async function verifyAll({ store }: Setup, log: Awaited<ReturnType<typeof openLog>>): Promise<StoredEvent[]> {
  const events = await store.range(log.log, 0, 1e9);
  for (let from = 0; from < events.length;) {
    const head = (await store.headFrom(log.log, from))!;
    const before = from === 0 ? null : events[from - 1]!;
    const previous = before && { seq: from - 1, id: before.id, hlc: before.header.hlc };
    verifyRun(log, previous, events.slice(from, head.head.seq + 1), head);
    from = head.head.seq + 1;
  }
  return events;
}

test("the first append opens the log: log-opened at seq 0, in the same batch", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  expect(log.tip()).toBeNull();
  expect(at.batches).toHaveLength(0);
  const [event] = await log.append([note("one")]);
  expect(at.batches).toHaveLength(1);
  const events = await verifyAll(at, log);
  expect(events.map((one) => one.header.kind)).toEqual(["log-opened", "note"]);
  expect(events[1]).toEqual(event);
  const opened = await openBody({ mesh, author: ana.id }, events[0]!.header, events[0]!.body!, benKeys);
  expect(parseLogOpening(opened.state === "open" ? opened.value : null)).toEqual(log.opening);
  expect(log.log).toBe(logIdOf(mesh, log.opening));
  expect(log.tip()).toEqual({ seq: 1, id: event!.id, hlc: event!.header.hlc });
});

test("F4: what is asked for in one tick is one batch with one signed head, in order", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const made = await Promise.all(Array.from({ length: 50 }, (_, i) => log.append([note(`${i}a`), note(`${i}b`)])));
  expect(at.batches).toHaveLength(1);
  expect(at.batches[0]!.heads).toHaveLength(1);
  const events = await verifyAll(at, log);
  expect(events.slice(1)).toEqual(made.flat());
  expect(await textOf(made[7]![1]!)).toEqual({ state: "open", value: { text: "7b" } });
});

test("what is asked for while a flush is on its way goes into the next one", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  await Promise.all(
    Array.from({ length: 20 }, async (_, writer) => {
      for (let i = 0; i < 10; i++) await log.append([note(`${writer} ${i}`)]);
    }),
  );
  expect(await verifyAll(at, log)).toHaveLength(201);
  expect(at.batches.length).toBeLessThan(30);
});

test("F4: a head covers at most 1,024 events", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const clear: NewEvent = { kind: "card", audience: "mesh", body: { form: "clear", value: 1 } };
  await Promise.all(Array.from({ length: 25 }, () => log.append(Array.from({ length: 100 }, () => clear))));
  for (const batch of at.batches) expect(batch.events!.length).toBeLessThanOrEqual(MAX_EVENTS_PER_HEAD);
  expect(await verifyAll(at, log)).toHaveLength(2501);
  await expect(log.append(Array.from({ length: 1024 }, () => clear))).rejects.toMatchObject({ code: "TOO_LARGE" });
});

test("values ride in the same batch, with the clock's bound above every stamp", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const [event] = await log.append([note("x")], [{ key: "call/1", value: utf8Bytes("started") }]);
  expect(at.batches).toHaveLength(1);
  expect(await at.store.value("call/1")).toEqual(utf8Bytes("started"));
  const bound = (await at.store.value(CLOCK_BOUND_KEY))!;
  expect(compareStamps(bound, event!.header.hlc)).toBeGreaterThanOrEqual(0);
});

test("a body that is sealed late, or to devices, keeps its place and opens only as this event", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const recipients = [{ device: ben.id, sealingKey: ben.sealing.publicKey }];
  const direct: NewEvent = {
    kind: "invocation-asked",
    audience: "direct",
    body: { form: "direct", recipients, value: "psst" },
  };
  const slow: NewEvent = {
    kind: "card",
    audience: "mesh",
    body: async (header) => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return encode({ n: new Uint8Array(16), c: { seq: header.seq, log: header.log } });
    },
  };
  const [[first], [second], [third]] = (await Promise.all([
    log.append([slow]),
    log.append([direct]),
    log.append([note("after")]),
  ])) as [[StoredEvent], [StoredEvent], [StoredEvent]];
  expect([first, second, third].map((event) => event.header.seq)).toEqual([1, 2, 3]);
  expect(await textOf(first)).toEqual({ state: "open", value: { seq: 1, log: log.log } });
  expect(await textOf(second)).toEqual({ state: "open", value: "psst" });
  await verifyAll(at, log);
});

test("an append that can't be sealed fails alone, and the others are contiguous", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const broken: NewEvent = { kind: "note", audience: "mesh", body: () => Promise.reject(new Error("no key")) };
  const unfit: NewEvent = { kind: "note", audience: "mesh", body: { form: "clear", value: 1 } };
  const large: NewEvent = { kind: "card", audience: "mesh", body: { form: "clear", value: new Uint8Array(300_000) } };
  const results = await Promise.allSettled([
    log.append([note("a")]),
    log.append([note("b"), broken]),
    log.append([unfit]),
    log.append([large]),
    log.append([note("c")], [{ key: "not a key", value: null }]),
    log.append([]),
    log.append([note("d")]),
  ]);
  expect(results.map((result) => result.status === "fulfilled")).toEqual([
    true,
    false,
    false,
    false,
    false,
    false,
    true,
  ]);
  const events = await verifyAll(at, log);
  expect(await Promise.all(events.slice(1).map(textOf))).toEqual(
    ["a", "d"].map((text) => ({ state: "open", value: { text } })),
  );
});

test("R13: an event is stamped after prev and deps; deps are ascending, unique and never a held one", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const dep = (name: string, aheadMs: number) => ({
    id: idOf<"event">(bytesOf(name)),
    hlc: encodeStamp({ ms: NOW + aheadMs, counter: 9 }),
  });
  const near = [dep("p", 1000), dep("q", 240_000), dep("p", 1000)];
  const [event] = await log.append([{ ...note("x"), deps: near }]);
  expect(event!.header.deps).toEqual([near[0]!.id, near[1]!.id].toSorted());
  expect(compareStamps(event!.header.hlc, near[1]!.hlc)).toBeGreaterThan(0);
  await expect(log.append([{ ...note("x"), deps: [dep("r", 600_000)] }])).rejects.toMatchObject({
    code: "BAD_REQUEST",
  });
  const many = Array.from({ length: 65 }, (_, i) => dep(`${i}`, 0));
  await expect(log.append([{ ...note("x"), deps: many }])).rejects.toMatchObject({ code: "TOO_LARGE" });
  const [next] = await log.append([{ ...note("y"), deps: [{ id: event!.id, hlc: event!.header.hlc }] }]);
  expect(next!.header.deps).toEqual([]); // prev implies it
});

test("C14: the wall clock may go back, also over a restart: stamps of the log rise", async () => {
  const disk = createMemoryDisk();
  const at = await setup({}, disk);
  const log = await openLog(at.deps);
  await log.append([note("before")]);
  at.time.at -= 3_600_000;
  await log.append([note("later")]);
  const again = await setup({ clock: createClock({ time: { now: () => NOW - 7_200_000 } }) }, disk);
  const reopened = await openLog(again.deps);
  expect(reopened.tip()).toEqual(log.tip());
  await reopened.append([note("after the restart")]);
  expect(await verifyAll(again, reopened)).toHaveLength(4);
});

test("R2: another incarnation is another log, and the old one is not touched", async () => {
  const at = await setup();
  const old = await openLog(at.deps);
  await old.append([note("old")]);
  const fresh = await openLog({ ...at.deps, incarnation: newIncarnation(seededRandom("again")) });
  await fresh.append([note("new")]);
  expect(fresh.log).not.toBe(old.log);
  expect((await at.store.logs()).map((state) => state.seq)).toEqual([1, 1]);
});

test("R9: the here chain is a log of its own that takes nothing for others", async () => {
  const at = await setup({ chain: "here" });
  const log = await openLog(at.deps);
  const audit: NewEvent = { kind: "audit-started", audience: "here", body: { form: "clear", value: "x" } };
  await log.append([audit]);
  expect(await verifyAll(at, log)).toHaveLength(2);
  expect(log.log).not.toBe((await openLog({ ...at.deps, chain: "mesh" })).log);
  expect(log.opening.chain).toBe("here");
  await expect(log.append([note("leaks")])).rejects.toMatchObject({ code: "BAD_REQUEST" });
  const mesh = await openLog({ ...at.deps, chain: "mesh" });
  await expect(mesh.append([audit])).rejects.toMatchObject({ code: "BAD_REQUEST" });
});

test("K3: when the disk is full the append fails, and the log goes on where the store stands", async () => {
  const disk = createMemoryDisk();
  const at = await setup({}, disk);
  let full = true;
  const store: EventStore = {
    ...at.store,
    append: async (batch) => {
      if (full) await openMemoryStore(createMemoryDisk({ capacityBytes: 10 })).then((small) => small.append(batch));
      return at.store.append(batch);
    },
  };
  const log = await openLog({ ...at.deps, store });
  const failing = [log.append([note("lost")]), log.append([note("lost too")])];
  for (const one of failing) await expect(one).rejects.toMatchObject({ code: "DISK_FULL" });
  expect(log.tip()).toBeNull();
  full = false;
  await log.append([note("kept")]);
  expect(await verifyAll(at, log)).toHaveLength(2);
});

test("after a commit whose outcome was reported wrongly the log continues what the disk holds", async () => {
  const disk = createMemoryDisk();
  const at = await setup({}, disk);
  let lying = true;
  const store: EventStore = {
    ...at.store,
    append: async (batch) => {
      await at.store.append(batch);
      if (lying) throw new Error("the answer got lost");
    },
  };
  const log = await openLog({ ...at.deps, store });
  await expect(log.append([note("written")])).rejects.toThrow(/got lost/);
  expect(log.tip()?.seq).toBe(1);
  lying = false;
  await log.append([note("next")]);
  expect(await verifyAll(at, log)).toHaveLength(3);
});

test("close waits for what was asked, then refuses", async () => {
  const at = await setup();
  const log = await openLog(at.deps);
  const written = log.append([note("last")]);
  await log.close();
  expect(await at.store.since(0, 10)).toHaveLength(2);
  await written;
  await expect(log.append([note("late")])).rejects.toMatchObject({ code: "CLOSED" });
});

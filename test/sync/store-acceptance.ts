/** What every {@link EventStore} must do. A store brings a way to open the same data again. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { EventStore, StoreBatch, StoreRepair } from "../../sync/store.ts";
import { MAX_BATCH_ITEMS, tipOf } from "../../sync/store.ts";
import { utf8Bytes } from "../../protocols/bytes.ts";
import { verifyRun } from "../../protocols/events.ts";
import { makeChain, type ChainOfEvents } from "./chains.ts";

export interface StoreUnderTest {
  /** Opens the data folder of this test; called again after `close` it finds what was written. */
  open(): Promise<EventStore>;
  cleanUp(): Promise<void>;
}

/** A batch with events [from, to) of a chain and a head at its end. */
export function batchOf(chain: ChainOfEvents, from: number, to: number): StoreBatch {
  return {
    logs: from === 0 ? [{ log: chain.log, opening: chain.opening }] : [],
    events: chain.events.slice(from, to),
    heads: to > from ? [chain.headAt(to - 1)] : [],
  };
}

export function storeAcceptance(name: string, prepare: () => Promise<StoreUnderTest>): void {
  describe(`${name} keeps the port's promises`, () => {
    let under: StoreUnderTest;
    let store: EventStore;
    const ana = makeChain("ana", 8);
    const ben = makeChain("ben", 5);

    beforeEach(async () => {
      under = await prepare();
      store = await under.open();
    });
    afterEach(async () => {
      await store.close();
      await under.cleanUp();
    });
    async function reopen(): Promise<void> {
      await store.close();
      store = await under.open();
    }

    test("a new store is empty", async () => {
      expect(await store.logs()).toEqual([]);
      expect(await store.since(0, 10)).toEqual([]);
      expect(await store.value("x")).toBeUndefined();
      expect(await store.event(ana.events[0]!.id)).toBeUndefined();
      expect(await store.range(ana.log, 0, 10)).toEqual([]);
      expect(await store.headFrom(ana.log, 0)).toBeUndefined();
    });

    test("what was appended reads back the same, before and after a restart", async () => {
      await store.append(batchOf(ana, 0, 3));
      await store.append(batchOf(ben, 0, 2));
      await store.append(batchOf(ana, 3, 8));
      for (const when of ["before", "after"]) {
        expect(await store.range(ana.log, 0, 100), when).toEqual(ana.events);
        expect(await store.range(ana.log, 2, 5)).toEqual(ana.events.slice(2, 5));
        expect(await store.range(ana.log, 6, 3)).toEqual([]);
        expect(await store.event(ben.events[1]!.id)).toEqual(ben.events[1]);
        expect(await store.headFrom(ana.log, 0)).toEqual(ana.headAt(2));
        expect(await store.headFrom(ana.log, 3)).toEqual(ana.headAt(7));
        expect(await store.headFrom(ana.log, 8)).toBeUndefined();
        const logs = await store.logs();
        expect(logs).toHaveLength(2);
        expect(logs.find((state) => state.log === ana.log)).toEqual({
          log: ana.log,
          opening: ana.opening,
          seq: 7,
          id: ana.events[7]!.id,
          hlc: ana.events[7]!.header.hlc,
          head: ana.headAt(7),
        });
        await reopen();
      }
    });

    test("a stored run verifies against the stored tip", async () => {
      await store.append(batchOf(ana, 0, 3));
      const state = (await store.logs())[0];
      await store.append(batchOf(ana, 3, 8));
      const events = await store.range(ana.log, 3, 8);
      verifyRun(ana, tipOf(state), events, (await store.headFrom(ana.log, 3))!);
    });

    test("positions count arrivals without gaps and stay over a restart", async () => {
      await store.append(batchOf(ana, 0, 2));
      await store.append(batchOf(ben, 0, 5));
      await store.append(batchOf(ana, 2, 4));
      const arrived = [...ana.events.slice(0, 2), ...ben.events, ...ana.events.slice(2, 4)];
      for (const when of ["before", "after"]) {
        expect(await store.since(0, 100), when).toEqual(arrived.map((event, position) => ({ position, event })));
        expect((await store.since(3, 2)).map((item) => item.position)).toEqual([3, 4]);
        expect(await store.since(9, 10)).toEqual([]);
        await reopen();
      }
      await store.append(batchOf(ana, 4, 5));
      expect(await store.since(9, 10)).toEqual([{ position: 9, event: ana.events[4] }]);
    });

    test("[since-kinds] events of some kinds are those that reading all and leaving out the others gives", async () => {
      const kinds = ["note", "card", "fact-set"];
      const chains = [makeChain("ana", 30, { kinds }), makeChain("ben", 9, { kinds: ["card"] })] as const;
      await store.append(batchOf(chains[0], 0, 11));
      await store.append(batchOf(chains[1], 0, 9));
      await store.append(batchOf(chains[0], 11, 20));
      for (const when of ["before", "after"]) {
        const all = await store.since(0, 100);
        for (const some of [["card"], ["note", "fact-set"], ["log-opened"], ["unheard-of"], [...kinds, "log-opened"]])
          for (const [position, limit] of [
            [0, 100],
            [0, 3],
            [10, 4],
            [28, 2],
            [100, 1],
          ] as const) {
            const expected = all.filter((one) => one.position >= position && some.includes(one.event.header.kind));
            expect(await store.since(position, limit, new Set(some)), when).toEqual(expected.slice(0, limit));
          }
        await reopen();
      }
      await store.append(batchOf(chains[0], 20, 30));
      expect((await store.since(29, 2, new Set(["note"]))).map(({ event }) => event.header.seq)).toEqual([21, 24]);
    });

    test("values are replaced, deleted and listed by prefix in byte order", async () => {
      const value = (text: string) => utf8Bytes(text);
      await store.append({
        values: ["call/b", "call/a", "call", "calm", "call/B", "call/~"].map((key) => ({ key, value: value(key) })),
      });
      await store.append({
        values: [
          { key: "call/a", value: value("new") },
          { key: "calm", value: null },
        ],
      });
      for (const when of ["before", "after"]) {
        expect(await store.value("call/a"), when).toEqual(value("new"));
        expect(await store.value("calm")).toBeUndefined();
        expect((await store.values("call/")).map((item) => item.key)).toEqual(["call/B", "call/a", "call/b", "call/~"]);
        expect(await store.values("call/a")).toEqual([{ key: "call/a", value: value("new") }]);
        await reopen();
      }
    });

    test("a value of the same batch is there exactly when its events are", async () => {
      await store.append({ ...batchOf(ana, 0, 2), values: [{ key: "k", value: utf8Bytes("1") }] });
      const gap = { ...batchOf(ana, 4, 5), values: [{ key: "k", value: utf8Bytes("2") }] };
      await expect(store.append(gap)).rejects.toMatchObject({ code: "BAD_REQUEST" });
      await reopen();
      expect(await store.value("k")).toEqual(utf8Bytes("1"));
      expect((await store.logs())[0]!.seq).toBe(1);
    });

    test("a body that was missing is added, a foreign one is refused [store-port]", async () => {
      const bare = ana.events.map((event) => ({ ...event, body: null }));
      await store.append({ ...batchOf(ana, 0, 0), events: bare, heads: [ana.headAt(7)] });
      expect((await store.event(ana.events[3]!.id))!.body).toBeNull();
      const foreign = { id: ana.events[3]!.id, body: ana.events[4]!.body! };
      await expect(store.append({ bodies: [foreign] })).rejects.toMatchObject({ code: "BAD_REQUEST" });
      await store.append({ bodies: [{ id: ana.events[3]!.id, body: ana.events[3]!.body! }] });
      await reopen();
      expect(await store.range(ana.log, 2, 5)).toEqual([bare[2], ana.events[3], bare[4]]);
      await expect(store.append({ bodies: [{ id: ben.events[0]!.id, body: ben.events[0]!.body! }] })).rejects.toThrow(
        /not stored/,
      );
    });

    test("a dropped body is gone, its header, place and head stay, and it can be brought again [prune-headers]", async () => {
      await store.append(batchOf(ana, 0, 8));
      const dropped = [1, 4].map((seq) => ana.events[seq]!.id);
      await store.append({ drops: dropped, values: [{ key: "k", value: utf8Bytes("pruned") }] });
      const left = ana.events.map((event) => (dropped.includes(event.id) ? { ...event, body: null } : event));
      for (const when of ["before", "after"]) {
        expect(await store.range(ana.log, 0, 10), when).toEqual(left);
        expect((await store.since(0, 10)).map(({ event }) => event)).toEqual(left);
        expect(await store.event(dropped[0]!)).toEqual(left[1]);
        expect(await store.damaged(ana.log, 0, 10)).toEqual({ events: [], heads: [] });
        expect(await store.value("k")).toEqual(utf8Bytes("pruned"));
        verifyRun(ana, null, await store.range(ana.log, 0, 8), (await store.headFrom(ana.log, 7))!);
        await store.append({ drops: dropped });
        await reopen();
      }
      await store.append({ bodies: [{ id: dropped[0]!, body: ana.events[1]!.body! }] });
      expect(await store.event(dropped[0]!)).toEqual(ana.events[1]);
    });

    test("what is not stored can't be dropped, nor what the same batch brings; nothing of the batch is kept", async () => {
      await store.append(batchOf(ana, 0, 4));
      const id = ana.events[5]!.id;
      const refused: StoreBatch[] = [
        { drops: [id] },
        { ...batchOf(ana, 4, 6), drops: [id] },
        { drops: [ana.events[2]!.id, ben.events[0]!.id] },
      ];
      for (const batch of refused) await expect(store.append(batch)).rejects.toMatchObject({ code: "BAD_REQUEST" });
      await reopen();
      expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 4));
    });

    test("drops and bodies of one moment are taken in the order of asking", async () => {
      await store.append(batchOf(ana, 0, 4));
      const { id, body } = ana.events[2]!;
      await Promise.all([
        store.append({ drops: [id] }),
        store.append({ bodies: [{ id, body: body! }] }),
        store.append({ drops: [ana.events[3]!.id] }),
        store.append(batchOf(ana, 4, 6)),
        store.append({ drops: [ana.events[5]!.id] }),
      ]);
      await reopen();
      const left = ana.events.slice(0, 6).map((event, at) => (at === 3 || at === 5 ? { ...event, body: null } : event));
      expect(await store.range(ana.log, 0, 10)).toEqual(left);
    });

    test("what is stored already is skipped, and brings a body that was missing", async () => {
      await store.append({ ...batchOf(ana, 0, 4), events: ana.events.slice(0, 4).map((e) => ({ ...e, body: null })) });
      await store.append(batchOf(ana, 0, 6));
      await store.append(batchOf(ana, 0, 6));
      expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 6));
      expect(await store.since(0, 100)).toHaveLength(6);
    });

    test("C4: a gap is refused and changes nothing", async () => {
      await store.append(batchOf(ana, 0, 2));
      await expect(store.append(batchOf(ana, 3, 5))).rejects.toMatchObject({ code: "BAD_REQUEST" });
      await expect(store.append(batchOf(ben, 1, 2))).rejects.toMatchObject({ code: "BAD_REQUEST" });
      await expect(store.append({ events: [ben.events[0]!] })).rejects.toThrow(/not known/);
      expect(await store.since(0, 100)).toHaveLength(2);
      await store.append(batchOf(ana, 2, 5));
    });

    test("C1: another branch of a log is FORKED and changes nothing", async () => {
      const other = makeChain("ana", 8, { branch: "'", forkAt: 4 });
      expect(other.events[3]!.id).toBe(ana.events[3]!.id);
      await store.append(batchOf(ana, 0, 6));
      for (const batch of [batchOf(other, 4, 5), batchOf(other, 6, 8), { heads: [other.headAt(5)] }])
        await expect(store.append(batch)).rejects.toMatchObject({ code: "FORKED" });
      await reopen();
      expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 6));
    });

    test("a head of an event that is not stored is refused", async () => {
      await store.append(batchOf(ana, 0, 2));
      await expect(store.append({ heads: [ana.headAt(2)] })).rejects.toMatchObject({ code: "BAD_REQUEST" });
      await store.append({ heads: [ana.headAt(0)] });
      expect(await store.headFrom(ana.log, 0)).toEqual(ana.headAt(0));
      expect((await store.logs())[0]!.head).toEqual(ana.headAt(1));
    });

    test("what is too large for one batch is refused", async () => {
      const values = Array.from({ length: MAX_BATCH_ITEMS + 1 }, (_, i) => ({ key: `k${i}`, value: null }));
      await expect(store.append({ values })).rejects.toMatchObject({ code: "TOO_LARGE" });
      const large = [{ key: "k", value: new Uint8Array(1024 * 1024 + 1) }];
      await expect(store.append({ values: large })).rejects.toMatchObject({ code: "TOO_LARGE" });
      await expect(store.append({ values: [{ key: "ключ", value: null }] })).rejects.toMatchObject({
        code: "BAD_REQUEST",
      });
    });

    test("batches of one moment build on each other, and each fails alone", async () => {
      const results = await Promise.allSettled([
        store.append(batchOf(ana, 0, 2)),
        store.append(batchOf(ben, 3, 5)),
        store.append(batchOf(ana, 2, 4)),
        store.append(batchOf(ana, 1, 6)),
        store.append(batchOf(ben, 0, 1)),
        store.append({ bodies: [{ id: ana.events[1]!.id, body: ana.events[1]!.body! }] }),
      ]);
      expect(results.map((result) => result.status)).toEqual([
        "fulfilled",
        "rejected",
        "fulfilled",
        "fulfilled",
        "fulfilled",
        "fulfilled",
      ]);
      await reopen();
      expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 6));
      expect(await store.range(ben.log, 0, 10)).toEqual(ben.events.slice(0, 1));
    });

    test("a repair puts nothing in the place of what is good, adds nothing, and takes no other branch [store-port]", async () => {
      await store.append(batchOf(ana, 0, 6));
      const other = makeChain("ana", 8, { branch: "'", forkAt: 4 });
      expect(await store.damaged(ana.log, 0, 100)).toEqual({ events: [], heads: [] });
      const right = { events: ana.events.slice(2, 6), heads: [ana.headAt(5)] };
      const note = [{ key: "k", value: utf8Bytes("repaired") }];
      expect(await store.repair({ ...right, values: note })).toBe(0);
      const refused: [StoreRepair, string][] = [
        [{ events: [other.events[5]!] }, "FORKED"],
        [{ heads: [other.headAt(5)] }, "FORKED"],
        [{ events: ana.events.slice(4, 7) }, "BAD_REQUEST"],
        [{ heads: [ana.headAt(7)] }, "BAD_REQUEST"],
        [{ events: [ben.events[0]!] }, "BAD_REQUEST"],
      ];
      for (const [repair, code] of refused) await expect(store.repair(repair), code).rejects.toMatchObject({ code });
      await reopen();
      expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 6));
      expect(await store.value("k")).toEqual(utf8Bytes("repaired"));
    });

    test("a read never sees what is not durable yet", async () => {
      const written = store.append(batchOf(ana, 0, 3)).then(() => "written");
      const read = store.logs().then((logs) => (logs.length === 0 ? "before" : written));
      expect(["before", "written"]).toContain(await read);
      await written;
    });

    test("close writes what was asked before, and afterwards everything is CLOSED", async () => {
      const written = store.append(batchOf(ana, 0, 3));
      await store.close();
      await written;
      await store.close();
      await expect(store.append(batchOf(ana, 3, 4))).rejects.toMatchObject({ code: "CLOSED" });
      await expect(store.logs()).rejects.toMatchObject({ code: "CLOSED" });
      store = await under.open();
      expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 3));
    });
  });
}

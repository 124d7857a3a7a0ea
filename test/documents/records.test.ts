/** Records: our reading of Automerge's bytes against its own, and two devices of one person that were apart. */
import * as A from "@automerge/automerge";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import { automergeActorOf, recordChangedValue, recordDocumentId } from "../../protocols/document.ts";
import { idOf, type LogId } from "../../protocols/ids.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import { createRecord, parseChange } from "../../sync/documents/automerge.ts";
import { createRecords, type Records } from "../../sync/documents/records.ts";
import { runTrial } from "../../sync/documents/trial.ts";
import { bytesOf, mesh } from "../sync/chains.ts";
import { foundMesh, testTime } from "../sync/mesh.ts";
import { withDocuments } from "./scene.ts";

const person = idOf<"person">(bytesOf("ana"));
const ID = recordDocumentId(mesh, person, "agent", "helper");
const LOGS = ["laptop", "phone", "desk"].map((name) => idOf<"log">(bytesOf(name)));
const settings = fc.oneof(
  fc.string({ maxLength: 20, unit: "grapheme" }),
  fc.integer(),
  fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  fc.boolean(),
  fc.constant(null),
  fc.constant(undefined),
);
const keys = fc.constantFrom("description", "paused", "max-seconds");

test("records-bytes: a change reads as Automerge itself reads it, and what it makes is always read", () => {
  const step = fc.record({ key: keys, value: settings, actor: fc.nat(2), meets: fc.nat(2) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), (steps) => {
      const records = LOGS.map(() => createRecord());
      const made: Uint8Array[][] = LOGS.map(() => []);
      for (const { key, value, actor, meets } of steps) {
        const name = automergeActorOf(LOGS[actor]!, ID);
        for (const bytes of made[meets]!)
          if (!made[actor]!.includes(bytes)) {
            made[actor]!.push(bytes);
            records[actor]!.apply([bytes]);
          }
        const bytes = records[actor]!.change(name, new Map([[key, value]]));
        if (bytes === null) continue;
        records[actor]!.apply([bytes]);
        made[actor]!.push(bytes);
        const read = parseChange(bytes, name);
        const theirs = A.decodeChange(bytes);
        expect({ ...read, bytes: undefined, ops: undefined }).toEqual({
          hash: theirs.hash,
          actor: theirs.actor,
          seq: theirs.seq,
          startOp: theirs.startOp,
          deps: theirs.deps,
          bytes: undefined,
          ops: undefined,
        });
        expect(read.ops).toEqual(
          theirs.ops.map((op) => ({
            key: op.key,
            value: op.action === "del" ? undefined : op.value,
            replaces: op.pred,
          })),
        );
      }
    }),
    { numRuns: 60 },
  );
});

test("records-bytes: a change with any byte flipped is refused", () => {
  const name = automergeActorOf(LOGS[0]!, ID);
  const bytes = createRecord().change(name, new Map([["description", "what it does"]]))!;
  for (let at = 0; at < bytes.length; at++)
    for (const flip of [1, 0x80]) {
      const damaged = bytes.slice();
      damaged[at]! ^= flip;
      expect(() => parseChange(damaged, name)).toThrow();
    }
});

describe("two devices of one person", () => {
  let count = 0;
  function eventOf(log: LogId, seq: number, change: Uint8Array): ReadableEvent {
    return {
      id: idOf(bytesOf(`${log} ${seq} ${toHex(change)}`)),
      log,
      seq,
      device: idOf(bytesOf(`device ${log}`)),
      person,
      kind: "record-changed",
      audience: "mesh",
      at: 1000 + count++,
      hlc: new Uint8Array(8),
      deps: [],
      standing: { state: "good" },
      value: recordChangedValue({ about: "agent", name: "helper", change }),
      unreadable: null,
    };
  }
  function open(): Records & { refusals: string[] } {
    const refusals: string[] = [];
    const records = createRecords({
      mesh,
      isTrusted: () => false,
      runTrial: async (trial) => runTrial(trial),
      refused: (_event, _kind, error) => refusals.push(error.message),
      held: (error) => refusals.push(String(error)),
    });
    return { ...records, refusals };
  }

  test("records-converge: changes from any order of logs are the same record, with both values where they were apart", async () => {
    const step = fc.record({ who: fc.nat(2), key: keys, value: settings, learns: fc.nat(2) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 1, maxLength: 10 }),
        fc.array(fc.nat(2), { minLength: 40, maxLength: 40 }),
        async (steps, order) => {
          const devices = LOGS.map((log) => ({ log, records: open(), events: [] as ReadableEvent[], seq: 0 }));
          for (const { who, key, value, learns } of steps) {
            const [me, other] = [devices[who]!, devices[learns]!];
            for (const event of other.events)
              if (!me.events.includes(event)) {
                me.events.push(event);
                me.records.fold(event);
              }
            await me.records.pump();
            const bytes = me.records
              .stateOf(person, "helper")
              .change(automergeActorOf(me.log, ID), new Map([[key, value]]));
            if (bytes === null) continue;
            const event = eventOf(me.log, me.seq++, bytes);
            me.events.push(event);
            me.records.fold(event);
            await me.records.pump();
          }
          const all = [...new Set(devices.flatMap(({ events }) => events))];
          const straight = open();
          for (const event of all) straight.fold(event);
          await straight.pump();
          // Each log in its own order, the logs in any.
          const queues = LOGS.map((log) => all.filter((event) => event.log === log).toSorted((a, b) => a.seq - b.seq));
          const mixed = open();
          for (const log of [...order, 0, 1, 2]) {
            const next = queues[log]!.splice(0, 1)[0];
            if (next === undefined) continue;
            mixed.fold(next);
            await mixed.pump();
          }
          for (const queue of queues) for (const event of queue) mixed.fold(event);
          await mixed.pump();
          expect(toHex(mixed.hash())).toBe(toHex(straight.hash()));
          expect([...mixed.refusals, ...straight.refusals]).toEqual([]);
          const [a, b] = [mixed, straight].map((records) => records.get(person, "helper"));
          expect(a?.state.conflicts()).toEqual(b?.state.conflicts());
          expect(a?.waiting ?? 0).toBe(0);
        },
      ),
      { numRuns: 25 },
    );
  });
});

test("a setting is set, kept over a restart, unset, and has its history", async () => {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const { records } = ana.documents;
  expect(await records.set("helper", "description", "one")).toBe(true);
  expect(await records.set("helper", "description", "one")).toBe(false);
  expect(await records.set("helper", "description", "two")).toBe(true);
  expect(await records.set("helper", "paused", true)).toBe(true);
  expect(await records.set("helper", "paused", undefined)).toBe(true);
  expect(await records.set("helper", "paused", undefined)).toBe(false);
  const again = await withDocuments(await ana.member.reopen());
  const me = again.member.replica.membership().devices.get(again.member.replica.device)!.member.person;
  const record = again.documents.records.get(me, "helper")!;
  expect(record.state.values()).toEqual({ description: "two" });
  expect(record.history.flatMap(({ ops }) => ops)).toEqual([
    { key: "description", value: "one" },
    { key: "description", value: "two" },
    { key: "paused", value: true },
    { key: "paused", value: undefined },
  ]);
  expect(again.documents.refused()).toEqual([]);
});

/** Which events repeat which: read from their order alone, on every history alike. */
import { expect, test } from "vitest";
import { encode } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { makeEvent, type StoredEvent } from "../../protocols/events.ts";
import { idBytes, type DeviceId, type EventId, type LogId } from "../../protocols/ids.ts";
import { encodeStamp } from "../../sync/clock.ts";
import { createReissues, MAX_REISSUED } from "../../sync/reissue.ts";
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { bytesOf, makeChain } from "./chains.ts";

const chain = makeChain("li", 2);
const originals = ["a", "b", "c"].map((name) => Buffer.from(bytesOf(name)).toString("hex") as EventId);

function after(prev: StoredEvent, kind: string, body: unknown, seq = prev.header.seq + 1): StoredEvent {
  const hlc = encodeStamp({ ms: 1_700_000_100_000 + seq, counter: 0 });
  const header = { log: chain.log, seq, prev: prev.id, deps: [], hlc, kind, audience: "mesh" as const };
  return makeEvent(header, encode({ n: new Uint8Array(16), c: body as never }));
}

async function reissues() {
  const store = await openMemoryStore(createMemoryDisk());
  const { log, opening } = chain;
  const known = { log, opening, tip: null, due: null, heldFrom: null };
  const made = createReissues({ store, logs: new Map<LogId, typeof known>([[log, known]]) });
  return { store, made, again: () => createReissues({ store, logs: new Map([[log, known]]) }) };
}

const marker = after(chain.events[1]!, "re-issued", { of: originals.map(idBytes) });
const copies = originals.reduce((made: StoredEvent[], _, i) => [...made, after(made.at(-1) ?? marker, "note", i)], []);

test("the events right after a marker repeat what it lists, in order, and no event after these; also after a restart", async () => {
  const { made, again } = await reissues();
  const later = after(copies.at(-1)!, "note", "another");
  await made.note([marker, copies[0]!]);
  await made.note([...copies.slice(1), later]); // a run may end anywhere
  const reopened = again();
  await reopened.load();
  for (const one of [made, reopened]) {
    expect(copies.map(({ id }) => one.before(id)[0])).toEqual(originals);
    expect(one.before(later.id)).toEqual([]);
    expect(one.isRepeatedBy(chain.opening.device, originals[1]!)).toBe(true);
    expect(one.isRepeatedBy("00" as DeviceId, originals[1]!)).toBe(false);
  }
});

test("a disk that takes no rows stops no event: they are kept with the next ones [rows-again]", async () => {
  const { store } = await reissues();
  const { log, opening } = chain;
  const logs = new Map([[log, { log, opening, tip: null, due: null, heldFrom: null }]]);
  let isFull = true;
  const append: typeof store.append = (batch) =>
    isFull ? Promise.reject(new KinError("DISK_FULL", "full")) : store.append(batch);
  const made = createReissues({ store: { ...store, append }, logs });
  await made.note([marker, ...copies]);
  expect(copies.map(({ id }) => made.before(id)[0])).toEqual(originals);
  isFull = false;
  await made.note([]);
  expect((await store.values("reissued/")).map(({ key }) => key.slice(9)).toSorted()).toEqual(
    copies.map(({ id }) => id).toSorted(),
  );
});

test("where a log parts right after a marker, what follows on either history repeats, whichever came first", async () => {
  const { made } = await reissues();
  const other = after(marker, "note", "on the other history");
  await made.note([marker, ...copies]);
  await made.note([other]);
  expect(made.before(copies[0]!.id)[0]).toBe(originals[0]);
  expect(made.before(other.id)[0]).toBe(originals[0]);
  // Of two copies of one original one steps back: the one with the higher id.
  const [low, high] = [copies[0]!.id, other.id].toSorted();
  expect(made.before(high!)).toContain(low);
  expect(made.before(low!)).not.toContain(high);
});

test("a marker that lists nonsense or too much repeats nothing", async () => {
  for (const of of [undefined, "x", [1, 2], Array.from({ length: MAX_REISSUED + 1 }, () => idBytes(originals[0]!))]) {
    const { made } = await reissues();
    const bad = after(chain.events[1]!, "re-issued", of === undefined ? {} : { of });
    const next = after(bad, "note", 1);
    await made.note([bad, next]);
    expect(made.before(next.id)).toEqual([]);
  }
});

test("R13: an original has ended only for its own device, and only if it was stamped over five minutes after the marker", async () => {
  const { made } = await reissues();
  await made.note([marker, ...copies]);
  const at = (ms: number) => encodeStamp({ ms: 1_700_000_100_002 + ms, counter: 0 });
  const { device } = chain.opening;
  expect(made.hasEnded(originals[0]!, device, at(300_001))).toBe(true);
  expect(made.hasEnded(originals[0]!, device, at(300_000))).toBe(false);
  expect(made.hasEnded(originals[0]!, "00" as DeviceId, at(300_001))).toBe(false);
});

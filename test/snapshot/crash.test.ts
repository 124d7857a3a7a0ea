import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Disk } from "../../protocols/effects.ts";
import { snapshotOf, stateHash } from "../../protocols/snapshot.ts";
import { createMemoryDisk, type MemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { openSnapshotBase } from "../../sync/snapshot-base.ts";
import { encodeState } from "../../sync/snapshot-state.ts";
import { factsView } from "../../sync/documents/facts.ts";
import { batchOf } from "../sync/store-acceptance.ts";
import { makeChain, mesh } from "../sync/chains.ts";
import { foundMesh, testTime } from "../sync/mesh.ts";
import { bodiesOf, hashOf, mateOf, set, type Mate } from "./team.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kin-snapshot-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A mesh of one with 600 facts over 40 keys, so that pruning takes several transactions. */
async function filled(): Promise<{ mate: Mate; hash: string }> {
  const mate = await mateOf(await foundMesh("ana", testTime()));
  for (let i = 0; i < 600; i += 60) {
    const value = (n: number) => ({ s: null, k: `k${n % 40}`, v: String(n), r: [] });
    await mate.member.replica.append(
      Array.from({ length: 60 }, (_, n) => ({ kind: "fact-set", audience: "mesh" as const, value: value(i + n) })),
    );
  }
  await mate.facts.settled();
  await mate.snapshots.make();
  return { mate, hash: hashOf(mate) };
}

/** What the disk is after each of its writes, with and without what was not flushed. */
function watched(disk: MemoryDisk): { disk: Disk; crashes: MemoryDisk[] } {
  const crashes: MemoryDisk[] = [];
  return {
    crashes,
    disk: {
      read: (name) => disk.read(name),
      append: async (name, bytes) => {
        await disk.append(name, bytes);
        crashes.push(disk.crash(0), disk.crash(Math.floor(bytes.length / 2)));
      },
      flush: async (name) => {
        await disk.flush(name);
        crashes.push(disk.crash(0));
      },
    },
  };
}

test("a crash at any write of a pruning loses nothing: what is gone is in the base, and pruning goes on [prune-crash]", async () => {
  const { mate, hash } = await filled();
  await mate.close();
  const { disk, crashes } = watched(mate.member.disk);
  const member = await mate.member.reopen({ ...mate.member.disk, ...disk });
  const again = await mateOf(member);
  crashes.length = 0;
  expect((await again.snapshots.prune()).bodies).toBe(600);
  expect(crashes.length).toBeGreaterThan(10);
  let partly = 0;
  for (const [i, crash] of crashes.entries()) {
    const risen = await mateOf(await again.member.reopen(crash));
    const { dropped } = await bodiesOf(risen);
    if (dropped > 0 && dropped < 600) partly++;
    if (dropped > 0) expect(risen.base.current(), `write ${i}`).not.toBeNull();
    expect(hashOf(risen), `write ${i}`).toBe(hash);
    expect(await risen.member.replica.missingBodies(1)).toEqual([]);
    expect((await risen.snapshots.prune()).bodies).toBe(600 - dropped);
    expect(await bodiesOf(risen)).toEqual({ held: 0, dropped: 600 });
    expect(hashOf(risen)).toBe(hash);
    await risen.close();
  }
  expect(partly).toBeGreaterThan(2);
}, 30_000);

test("after pruning and a restart views are as before, on a fresh fold too, and a new snapshot goes on from the base [prune-restart]", async () => {
  const { mate, hash } = await filled();
  await mate.snapshots.prune();
  await set(mate, "new", "1");
  await set(mate, "k1", '"changed"');
  const now = hashOf(mate);
  expect(now).not.toBe(hash);
  await mate.close();
  const again = await mateOf(await mate.member.reopen());
  expect(hashOf(again)).toBe(now);
  const info = await again.snapshots.make();
  expect(await again.snapshots.prune()).toMatchObject({ bodies: 2, snapshot: { id: info.snapshot.id } });
  expect(again.snapshots.list().filter(({ isBase }) => isBase)).toMatchObject([{ snapshot: { id: info.snapshot.id } }]);
  await again.close();
  const once = await mateOf(await again.member.reopen());
  expect(hashOf(once)).toBe(now);
  expect(await bodiesOf(once)).toEqual({ held: 0, dropped: 602 });
  await once.close();
});

test("a state over several values is kept whole, one at a time, in both stores; a damaged one is known to be lost", async () => {
  const ana = makeChain("ana", 3);
  const at = new Map([[ana.log, { seq: 2, id: ana.events[2]!.id }]]);
  const rows = Array.from({ length: 3 }, (_, i) => new Uint8Array(700_000).fill(i));
  const state = encodeState([{ name: "facts", version: 1, rows }]);
  const claim = { at, views: [{ name: "facts", version: 1 }], state: stateHash(state), bytes: state.length };
  const file = join(folder, "log.db");
  const disk = createMemoryDisk();
  for (const open of [() => openLibsqlStore({ file }), () => openMemoryStore(disk)]) {
    let store = await open();
    await store.append(batchOf(ana, 0, 3));
    const base = await openSnapshotBase(store, mesh);
    const small = encodeState([{ name: "facts", version: 1, rows: [] }]);
    await base.put(snapshotOf(mesh, { ...claim, state: stateHash(small), bytes: small.length }), small);
    await base.put(snapshotOf(mesh, claim), state);
    expect(await store.values("snapshot/part/")).toHaveLength(5);
    await store.append({ values: [{ key: "snapshot/part/left-behind", value: new Uint8Array(1) }] });
    await store.close();
    store = await open();
    const loaded = (await openSnapshotBase(store, mesh)).current()!;
    expect(loaded.rows(factsView)).toEqual(rows);
    const parts = await store.values("snapshot/part/");
    expect(parts).toHaveLength(5);
    await store.append({ values: [{ key: parts[4]!.key, value: new Uint8Array(4) }] });
    const damaged = await openSnapshotBase(store, mesh);
    expect([damaged.current(), damaged.isLost()]).toEqual([null, true]);
    await damaged.put(snapshotOf(mesh, claim), state);
    expect([damaged.current()?.state.length, damaged.isLost()]).toEqual([state.length, false]);
    expect((await openSnapshotBase(store, mesh)).current()?.state.length).toBe(state.length);
    await store.close();
  }
});

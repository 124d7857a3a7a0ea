import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { Disk } from "../../protocols/effects.ts";
import { createMemoryDisk, type MemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { makeChain } from "./chains.ts";
import { batchOf, storeAcceptance } from "./store-acceptance.ts";

storeAcceptance("the memory store", async () => {
  const disk = createMemoryDisk();
  return { open: () => openMemoryStore(disk), cleanUp: async () => undefined };
});

const ana = makeChain("ana", 12);

async function written(disk: Disk, to: number): Promise<number> {
  const store = await openMemoryStore(disk);
  let acknowledged = 0;
  for (let seq = 0; seq < to; seq++) {
    await store.append(batchOf(ana, seq, seq + 1));
    acknowledged++;
  }
  return acknowledged;
}

async function countIn(disk: Disk): Promise<number> {
  const store = await openMemoryStore(disk);
  return (await store.since(0, 100)).length;
}

test("a power cut loses nothing acknowledged, whatever part of the last record was written", async () => {
  const disk = createMemoryDisk();
  await written(disk, 5);
  const store = await openMemoryStore({ ...disk, flush: () => new Promise(() => undefined) });
  void store.append(batchOf(ana, 5, 6));
  await new Promise((resolve) => setImmediate(resolve));
  const before = disk.files.get("log-0")!.length;
  for (let kept = 0; kept <= before; kept += 37) {
    const left = disk.crash(kept);
    expect(await countIn(left)).toBeGreaterThanOrEqual(5);
    // …and the store goes on from there, over one more restart
    const again = await openMemoryStore(left);
    await again.append(batchOf(ana, 0, 8));
    expect(await countIn(left.crash())).toBe(8);
  }
});

test("the detector works: a disk that lies about flush loses what was acknowledged", async () => {
  const honest = createMemoryDisk();
  await written(honest, 5);
  const disk = createMemoryDisk();
  await written({ ...disk, flush: async () => undefined }, 5);
  expect(await countIn(honest.crash())).toBe(5);
  expect(await countIn(disk.crash())).toBeLessThan(5);
});

test("damage before the last record is CORRUPT, never a wrong answer", async () => {
  const disk = createMemoryDisk();
  await written(disk, 6);
  const bytes = disk.files.get("log-0")!;
  await fc.assert(
    fc.asyncProperty(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const damaged = bytes.slice();
      damaged[at]! ^= flip;
      const files = new Map([["log-0", damaged]]);
      const outcome = await countIn(createMemoryDisk({ files })).catch((error: { code: string }) => error.code);
      // in the last record damage can't be told from a cut: at most that one is gone
      expect(["CORRUPT", 5]).toContain(outcome);
    }),
    { numRuns: 200 },
  );
});

test("K3: a full disk fails the append as DISK_FULL and keeps what was acknowledged; it goes on where there is room", async () => {
  const one = createMemoryDisk();
  await written(one, 3);
  const size = one.files.get("log-0")!.length;
  const disk: MemoryDisk = createMemoryDisk({ capacityBytes: size + 100, files: one.files });
  const store = await openMemoryStore(disk);
  await expect(store.append(batchOf(ana, 3, 4))).rejects.toMatchObject({ code: "DISK_FULL" });
  expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 3));
  const roomy = createMemoryDisk({ files: disk.files });
  const again = await openMemoryStore(roomy);
  await again.append(batchOf(ana, 3, 5));
  expect(await countIn(roomy)).toBe(5);
});

test("a flush that fails after all was written leaves the store in step with its disk", async () => {
  const disk = createMemoryDisk();
  await written(disk, 2);
  let broken = true;
  const store = await openMemoryStore({
    ...disk,
    flush: async (name) => {
      if (broken) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      await disk.flush(name);
    },
  });
  await expect(store.append(batchOf(ana, 2, 3))).rejects.toMatchObject({ code: "DISK_FULL" });
  broken = false;
  await store.append(batchOf(ana, 2, 4));
  expect(await countIn(disk.crash())).toBe(4);
});

test("many writers share a flush", async () => {
  const disk = createMemoryDisk();
  let flushes = 0;
  const store = await openMemoryStore({ ...disk, flush: async (name) => (flushes++, disk.flush(name)) });
  await store.append(batchOf(ana, 0, 1));
  flushes = 0;
  await Promise.all(Array.from({ length: 500 }, (_, i) => store.append({ values: [{ key: `k${i}`, value: null }] })));
  expect(flushes).toBeLessThan(5);
});

test("after a write that failed nothing is read that a power cut could take: it is flushed first, or the read fails (simulator, disk-faults seed 22)", async () => {
  const disk = createMemoryDisk();
  await written(disk, 3);
  let isBroken = true;
  const store = await openMemoryStore({
    ...disk,
    flush: (name) => (isBroken ? Promise.reject(new Error("EIO")) : disk.flush(name)),
  });
  await expect(store.append(batchOf(ana, 3, 4))).rejects.toMatchObject({ code: "DISK_FAILED" });
  await expect(store.range(ana.log, 0, 10)).rejects.toMatchObject({ code: "DISK_FAILED" });
  isBroken = false;
  const seen = await store.range(ana.log, 0, 10);
  expect(await countIn(disk.crash(0))).toBe(seen.length);
  await store.append(batchOf(ana, 0, 6));
  expect(await countIn(disk.crash(0))).toBe(6);
});

import { expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import type { StoreBatch } from "../../sync/store.ts";
import { createGroupCommit, MAX_GROUP_BATCHES, MAX_GROUP_BYTES, MAX_WAITING_BYTES } from "../../sync/stores/group.ts";

/** A commit that ends when it is told to, and keeps what it was given. */
function slowDisk() {
  const groups: StoreBatch[][] = [];
  const ends: (() => void)[] = [];
  let inFlight = 0;
  return {
    groups,
    mostInFlight: 0,
    async commit(this: { mostInFlight: number }, batches: StoreBatch[]): Promise<(KinError | null)[]> {
      groups.push(batches);
      this.mostInFlight = Math.max(this.mostInFlight, ++inFlight);
      await new Promise<void>((resolve) => ends.push(resolve));
      inFlight--;
      return batches.map((batch) => (batch.values?.[0]?.key === "bad" ? new KinError("BAD_REQUEST", "bad") : null));
    },
    async end(): Promise<void> {
      ends.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

const batch = (key: string, bytes = 1): StoreBatch => ({ values: [{ key, value: new Uint8Array(bytes) }] });
const tick = () => new Promise((resolve) => setImmediate(resolve));

test("what arrives while one transaction is on its way forms the next, and never two are [group-commit]", async () => {
  const disk = slowDisk();
  const group = createGroupCommit((batches) => disk.commit(batches));
  const order: string[] = [];
  const append = (key: string) => group.append(batch(key)).then(() => order.push(key));
  const all = [append("a"), append("b")];
  await tick();
  for (const key of ["c", "d", "e"]) all.push(append(key));
  await tick();
  expect(order).toEqual([]);
  await disk.end();
  expect(order).toEqual(["a", "b"]);
  all.push(append("f"));
  await disk.end();
  await disk.end();
  await Promise.all(all);
  expect(disk.groups.map((one) => one.length)).toEqual([2, 3, 1]);
  expect(disk.mostInFlight).toBe(1);
});

test("a refused batch fails alone; a failed transaction fails all that were in it and none of the next", async () => {
  const disk = slowDisk();
  let broken = false;
  const group = createGroupCommit(async (batches) => {
    if (broken) throw new KinError("DISK_FULL", "full");
    return disk.commit(batches);
  });
  const first = Promise.allSettled([group.append(batch("a")), group.append(batch("bad")), group.append(batch("c"))]);
  await tick();
  await disk.end();
  expect((await first).map((one) => one.status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  broken = true;
  const second = await Promise.allSettled([group.append(batch("d")), group.append(batch("e"))]);
  expect(second.map((one) => one.status)).toEqual(["rejected", "rejected"]);
  broken = false;
  const third = group.append(batch("f"));
  await tick();
  await disk.end();
  await third;
});

test("a group is bounded in batches and bytes, and what waits in bytes", async () => {
  const disk = slowDisk();
  const group = createGroupCommit((batches) => disk.commit(batches));
  const many = Array.from({ length: MAX_GROUP_BATCHES + 1 }, (_, i) => group.append(batch(`${i}`)));
  const large = Array.from({ length: 3 }, () => group.append(batch("large", MAX_GROUP_BYTES / 2 - 10)));
  await tick();
  for (let i = 0; i < 3; i++) await disk.end();
  await Promise.all([...many, ...large]);
  expect(disk.groups.map((one) => one.length)).toEqual([MAX_GROUP_BATCHES, 3, 1]);

  const blocked = [group.append(batch("first"))];
  await tick();
  for (let bytes = 0; bytes + MAX_GROUP_BYTES <= MAX_WAITING_BYTES - MAX_GROUP_BYTES; bytes += MAX_GROUP_BYTES)
    blocked.push(group.append(batch("waits", MAX_GROUP_BYTES - 10)));
  await expect(group.append(batch("too much", 2 * MAX_GROUP_BYTES))).rejects.toMatchObject({ code: "OVERLOADED" });
  while (disk.groups.flat().length < blocked.length + many.length + large.length) await disk.end();
  await disk.end();
  await Promise.all(blocked);
});

test("drained resolves when what was asked for before is settled", async () => {
  const disk = slowDisk();
  const group = createGroupCommit((batches) => disk.commit(batches));
  await group.drained();
  let written = false;
  void group.append(batch("a")).then(() => (written = true));
  const drained = group.drained();
  await tick();
  await disk.end();
  await drained;
  expect(written).toBe(true);
});

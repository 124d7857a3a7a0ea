/** Events are found by their id wherever it is kept: in memory, in the index, in an index of an older format. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, expect, test } from "vitest";
import type { EventStore } from "../../sync/store.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { makeChain } from "./chains.ts";
import { batchOf } from "./store-acceptance.ts";

const root = mkdtempSync(join(tmpdir(), "kin-ids-"));
afterAll(() => rmSync(root, { recursive: true }));

/** One block of ids and some. */
const long = makeChain("long", 4300);
const idAt = (seq: number) => long.events[seq]!.id;

/** Does something to a closed file. */
function inFile<T>(file: string, work: (db: Database.Database) => T): T {
  const db = new Database(file);
  try {
    return work(db);
  } finally {
    db.close();
  }
}

/** To be asked last: a statement holds the file. */
function numberOf(file: string, sql: string): number {
  return inFile(file, (db) => (db.prepare(sql).raw().get() as [number])[0]);
}

/** Some of each kind of place. */
async function expectFound(store: EventStore, count: number): Promise<void> {
  for (const seq of [0, 1, 4094, 4095, 4096, 4200, 4299].filter((one) => one < count))
    expect((await store.event(idAt(seq)))?.header.seq).toBe(seq);
  expect(await store.event(makeChain("a stranger", 1).events[0]!.id)).toBeUndefined();
}

test("ids go into the index a block at a time and are found before, after and over a restart [ids-in-blocks]", async () => {
  const file = join(root, "blocks.db");
  let store = await openLibsqlStore({ file });
  for (const [from, to] of [
    [0, 2000],
    [2000, 4096],
    [4096, 4200],
  ] as const) {
    await store.append(batchOf(long, from, to));
    await expectFound(store, to);
  }
  await store.close();
  store = await openLibsqlStore({ file });
  await expectFound(store, 4200);
  await store.append(batchOf(long, 4200, 4300));
  await store.append({ drops: [idAt(7), idAt(4299)] });
  await expectFound(store, 4300);
  const bodiless = await Promise.all(
    [7, 8, 4298, 4299].map(async (seq) => (await store.event(idAt(seq)))!.body === null),
  );
  expect(bodiless).toEqual([true, false, false, true]);
  await store.close();
  expect(numberOf(file, "SELECT count(*) FROM ids")).toBe(4096);
});

test("a block that a failed transaction filled is filled again [ids-in-blocks]", async () => {
  const store = await openLibsqlStore({ file: join(root, "failed.db"), maxBytes: 1000 * 4096 });
  await store.append(batchOf(long, 0, 4000));
  const values = Array.from({ length: 4 }, (_, i) => ({ key: `large/${i}`, value: new Uint8Array(1_000_000) }));
  for (let i = 0; i < 3; i++)
    await expect(store.append({ ...batchOf(long, 4000, 4200), values })).rejects.toMatchObject({ code: "DISK_FULL" });
  await expectFound(store, 4000);
  expect(await store.event(idAt(4100))).toBeUndefined();
  await store.append(batchOf(long, 4000, 4200));
  await expectFound(store, 4200);
  await store.close();
});

test("damaged rows on both sides of the index are found by their ids once they are right [ids-in-blocks]", async () => {
  const file = join(root, "damaged.db");
  let store = await openLibsqlStore({ file });
  await store.append(batchOf(long, 0, 4096));
  await store.append(batchOf(long, 4096, 4200));
  await store.close();
  const bad = [9, 4100, 4199];
  inFile(file, (db) =>
    db.exec(`DELETE FROM events WHERE seq IN (9, 4199); DELETE FROM ids WHERE position = 9;
      UPDATE events SET id = zeroblob(32) WHERE seq = 4100`),
  );
  store = await openLibsqlStore({ file });
  expect((await store.damaged(long.log, 0, 4200)).events).toEqual(bad);
  for (const seq of bad) expect(await store.event(idAt(seq))).toBeUndefined();
  expect(await store.repair({ events: bad.map((seq) => long.events[seq]!) })).toBe(3);
  for (const seq of bad) expect(await store.event(idAt(seq))).toEqual(long.events[seq]);
  expect((await store.damaged(long.log, 0, 4200)).events).toEqual([]);
  // What took a row's place at the end is not written over.
  await store.append(batchOf(long, 4200, 4300));
  await expectFound(store, 4300);
  await store.close();
});

test("a file of format 2 keeps its format and its index [ids-in-blocks]", async () => {
  const file = join(root, "format-2.db");
  let store = await openLibsqlStore({ file });
  await store.append(batchOf(long, 0, 20));
  await store.close();
  inFile(file, (db) =>
    db.exec(`
      CREATE TABLE before (position INTEGER PRIMARY KEY, log INTEGER NOT NULL REFERENCES logs, seq INTEGER NOT NULL,
        id BLOB NOT NULL UNIQUE, header BLOB NOT NULL, body BLOB, UNIQUE (log, seq));
      INSERT INTO before SELECT * FROM events; DROP TABLE events; ALTER TABLE before RENAME TO events; DROP TABLE ids;
      PRAGMA user_version = 2`),
  );
  store = await openLibsqlStore({ file });
  await expectFound(store, 20);
  await store.append(batchOf(long, 20, 4116));
  await store.append(batchOf(long, 4116, 4300));
  await expectFound(store, 4300);
  await store.close();
  expect(numberOf(file, "PRAGMA user_version")).toBe(2);
});

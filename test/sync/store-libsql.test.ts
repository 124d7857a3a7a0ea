import { execFile } from "node:child_process";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import Database from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import { utf8Bytes } from "../../protocols/bytes.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { makeChain } from "./chains.ts";
import { batchOf, storeAcceptance } from "./store-acceptance.ts";

let root: string;
let counter = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "kin-store-"));
});
afterAll(() => rm(root, { recursive: true }));
const newFile = () => join(root, `log-${counter++}.db`);

storeAcceptance("the libSQL store", async () => {
  const file = newFile();
  return { open: () => openLibsqlStore({ file }), cleanUp: async () => undefined };
});

const ana = makeChain("ana", 40);

/** A closed file with the chain in it. */
async function filled(): Promise<string> {
  const file = newFile();
  const store = await openLibsqlStore({ file });
  await store.append(batchOf(ana, 0, 21));
  await store.append({ ...batchOf(ana, 21, 40), values: [{ key: "k", value: utf8Bytes("value") }] });
  await store.close();
  return file;
}

function damage(file: string, sql: string): void {
  const db = new Database(file);
  db.exec(sql);
  db.close();
}

test("group commit: 2,000 appends of 64 writers take far fewer transactions", async () => {
  const store = await openLibsqlStore({ file: newFile() });
  const before = await store.transactions();
  let written = 0;
  await Promise.all(
    Array.from({ length: 64 }, async (_, writer) => {
      for (let i = 0; i < 32; i++, written++)
        await store.append({ values: [{ key: `${writer}/${i}`, value: new Uint8Array(8) }] });
    }),
  );
  const transactions = (await store.transactions()) - before;
  expect(written).toBe(2048);
  expect(transactions).toBeLessThan(written / 16);
  expect(await store.values("63/")).toHaveLength(32);
  await store.close();
});

test("K8: a second store on the same file is refused", async () => {
  const file = newFile();
  const store = await openLibsqlStore({ file });
  await expect(openLibsqlStore({ file })).rejects.toMatchObject({ code: "FOLDER_IN_USE" });
  await store.append(batchOf(ana, 0, 3));
  await store.close();
  await (await openLibsqlStore({ file })).close();
});

test("K3: at the size bound an append is DISK_FULL, nothing of it is kept, and reading goes on", async () => {
  const store = await openLibsqlStore({ file: newFile(), maxBytes: 30 * 4096 });
  await store.append(batchOf(ana, 0, 3));
  const large = [{ key: "large", value: new Uint8Array(200_000) }];
  await expect(store.append({ ...batchOf(ana, 3, 6), values: large })).rejects.toMatchObject({ code: "DISK_FULL" });
  expect(await store.range(ana.log, 0, 10)).toEqual(ana.events.slice(0, 3));
  expect(await store.value("large")).toBeUndefined();
  await store.append(batchOf(ana, 3, 6));
  expect(await store.since(0, 10)).toHaveLength(6);
  await store.close();
});

test("K6: each damaged row is CORRUPT by name when it is read, and the others are still read", async () => {
  const cases: [
    sql: string,
    names: RegExp,
    read: (store: Awaited<ReturnType<typeof openLibsqlStore>>) => Promise<unknown>,
  ][] = [
    ["UPDATE events SET header = zeroblob(20) WHERE seq = 5", /position 5/, (s) => s.range(ana.log, 4, 6)],
    [
      "UPDATE events SET header = (SELECT header FROM events WHERE seq = 6) WHERE seq = 5",
      /position 5/,
      (s) => s.since(0, 9),
    ],
    ["UPDATE events SET body = x'00' WHERE seq = 5", /position 5/, (s) => s.event(ana.events[5]!.id)],
    ["UPDATE events SET id = zeroblob(32) WHERE seq = 5", /position 5/, (s) => s.range(ana.log, 5, 6)],
    ["DELETE FROM events WHERE seq = 5", /39 rows where 40|4 rows/, (s) => s.range(ana.log, 3, 8)],
    ["DELETE FROM events WHERE seq = 5", /position 5 is missing/, (s) => s.since(0, 9)],
    ["UPDATE heads SET sig = zeroblob(64)", /head 20/, (s) => s.headFrom(ana.log, 0)],
  ];
  for (const [sql, names, read] of cases) {
    const file = await filled();
    damage(file, sql);
    const store = await openLibsqlStore({ file });
    const error = await read(store).then(
      () => expect.fail(`read in spite of: ${sql}`),
      (error: { code: string; message: string }) => error,
    );
    expect(error, sql).toMatchObject({ code: "CORRUPT" });
    expect(error.message).toMatch(names);
    expect(await store.range(ana.log, 10, 20)).toEqual(ana.events.slice(10, 20));
    await store.close();
  }
}, 120_000);

test("[since-kinds] what the file keeps of kinds is made again where it is damaged, gone, or was never written", async () => {
  const kinds = ["note", "card", "fact-set"];
  const long = makeChain("ana", 4200, { kinds });
  const cases: string[] = [
    "SELECT 1",
    "DROP TABLE kinds",
    "DELETE FROM kinds",
    "UPDATE kinds SET sum = x'00'",
    "UPDATE kinds SET bytes = zeroblob(length(bytes))",
    "UPDATE kinds SET bytes = CAST(bytes AS TEXT), block = 1",
    // Whoever takes the events for cards finds none.
    "UPDATE kinds SET bytes = replace(bytes, x'03', x'02')",
  ];
  for (const sql of cases) {
    const file = newFile();
    let store = await openLibsqlStore({ file });
    for (let from = 0; from < 4200; from += 600) await store.append(batchOf(long, from, from + 600));
    await store.close();
    damage(file, sql);
    for (const when of ["damaged", "made again"]) {
      store = await openLibsqlStore({ file });
      for (const kind of kinds) {
        const expected = long.events.flatMap(({ header }, i) => (header.kind === kind ? [i] : []));
        const found = await store.since(0, 5000, new Set([kind]));
        expect(
          found.map(({ position }) => position),
          `${sql}: ${when}`,
        ).toEqual(expected);
      }
      await store.append({ values: [{ key: "a-commit", value: utf8Bytes(when) }] });
      await store.close();
    }
  }
}, 120_000);

test("K6: [damage-repaired] an event whose header is damaged may be of any kind: whoever wants some is told, until it is mended", async () => {
  const file = await filled();
  damage(file, "UPDATE events SET header = zeroblob(20) WHERE seq = 5");
  const store = await openLibsqlStore({ file });
  for (const kind of ["note", "card"])
    await expect(store.since(3, 40, new Set([kind]))).rejects.toMatchObject({ code: "CORRUPT" });
  await store.repair({ events: [ana.events[5]!] });
  expect(await store.since(3, 40, new Set(["note"]))).toHaveLength(37);
  expect(await store.since(3, 40, new Set(["card"]))).toEqual([]);
  await store.close();
});

test("K6: [damage-repaired] damaged and missing rows are named, and right ones take their place, the tip's too", async () => {
  const cases: [sql: string, events: number[], heads?: number[]][] = [
    ["UPDATE events SET header = zeroblob(20) WHERE seq = 5", [5]],
    ["UPDATE events SET header = (SELECT header FROM events WHERE seq = 6) WHERE seq = 5", [5]],
    ["UPDATE events SET id = (SELECT id FROM events WHERE seq = 6) || x'00' WHERE seq = 5", [5]],
    ["UPDATE events SET body = x'00' WHERE seq IN (4, 5, 6, 39)", [4, 5, 6, 39]],
    ["DELETE FROM events WHERE seq IN (0, 7, 8)", [0, 7, 8]],
    ["DELETE FROM events WHERE seq = 39", [39]],
    ["UPDATE events SET header = x'' WHERE seq > 36; UPDATE heads SET sum = x'' WHERE seq = 20", [37, 38, 39], [20]],
  ];
  for (const [sql, events, heads = []] of cases) {
    const file = await filled();
    damage(file, sql);
    let store = await openLibsqlStore({ file });
    expect(await store.damaged(ana.log, 0, 100), sql).toEqual({ events, heads });
    expect((await store.logs())[0]).toMatchObject({ seq: 39, id: ana.events[39]!.id });
    const wrong = makeChain("ana", 40, { branch: "'", forkAt: 3 }).events.filter((_, seq) => events.includes(seq));
    if (events[0] !== 0) await expect(store.repair({ events: wrong })).rejects.toMatchObject({ code: "FORKED" });
    const right = { events: ana.events.filter((_, seq) => events.includes(seq)), heads: heads.map(ana.headAt) };
    expect(await store.repair(right), sql).toBe(events.length + heads.length);
    await store.append({ values: [{ key: "after", value: utf8Bytes("x") }] });
    await store.close();
    store = await openLibsqlStore({ file });
    expect(await store.damaged(ana.log, 0, 100)).toEqual({ events: [], heads: [] });
    expect(await store.range(ana.log, 0, 100)).toEqual(ana.events);
    expect(await store.since(0, 100)).toEqual(ana.events.map((event, position) => ({ position, event })));
    await store.close();
  }
}, 120_000);

test("K6: [damaged-type] a blob that claims to be text, and is none, is an error and not the end of the process", async () => {
  const file = await filled();
  damage(
    file,
    `UPDATE events SET header = CAST(x'ffff' AS TEXT) WHERE seq = 5; UPDATE heads SET sig = CAST(sig AS TEXT)`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", READ_DAMAGED, file, STORE_MODULE]);
  // Text with the right bytes in it is as good as a blob.
  expect(stdout).toBe("CORRUPT read\n");
}, 60_000);

/** In a process of its own, because it could end. */
const READ_DAMAGED = `
import(process.argv[2]).then(async ({ openLibsqlStore }) => {
  const store = await openLibsqlStore({ file: process.argv[1] });
  const [{ log }] = await store.logs();
  const codes = [];
  for (const read of [() => store.since(5, 1), () => store.headFrom(log, 0)])
    codes.push(await read().then(() => "read", (error) => error.code));
  console.log(codes.join(" "));
  await store.close();
});`;
const STORE_MODULE = fileURLToPath(new URL("../../sync/stores/libsql.ts", import.meta.url));

test("K6: a body that is not damaged stays when a header without one takes its place", async () => {
  const file = await filled();
  damage(file, "UPDATE events SET header = zeroblob(20) WHERE seq = 5");
  const store = await openLibsqlStore({ file });
  expect(await store.repair({ events: [{ ...ana.events[5]!, body: null }] })).toBe(1);
  expect(await store.event(ana.events[5]!.id)).toEqual(ana.events[5]);
  await store.close();
});

test("a damaged log, a foreign file and a newer format are refused at open", async () => {
  const broken = await filled();
  damage(broken, "UPDATE logs SET chain = 'here'");
  await expect(openLibsqlStore({ file: broken })).rejects.toMatchObject({ code: "CORRUPT" });
  const forgetful = await filled();
  damage(forgetful, "UPDATE state SET value = x'00' WHERE key = 'k'");
  await expect(openLibsqlStore({ file: forgetful })).rejects.toThrow(/the value k does not match/);
  const authorless = await filled();
  damage(authorless, "PRAGMA foreign_keys = OFF; DELETE FROM authors");
  await expect(openLibsqlStore({ file: authorless })).rejects.toMatchObject({ code: "CORRUPT" });
  const shortened = await filled();
  damage(shortened, "UPDATE authors SET device = x'07'");
  await expect(openLibsqlStore({ file: shortened })).rejects.toMatchObject({ code: "CORRUPT" });
  const foreign = newFile();
  damage(foreign, "CREATE TABLE theirs (a)");
  await expect(openLibsqlStore({ file: foreign })).rejects.toMatchObject({ code: "CORRUPT" });
  const newer = await filled();
  damage(newer, "PRAGMA user_version = 99");
  await expect(openLibsqlStore({ file: newer })).rejects.toMatchObject({ code: "UNSUPPORTED_VERSION" });
  const text = newFile();
  const handle = await open(text, "w");
  await handle.write("hello, this is not a database at all. ".repeat(200));
  await handle.close();
  await expect(openLibsqlStore({ file: text })).rejects.toMatchObject({ code: "CORRUPT" });
  await expect(openLibsqlStore({ file: join(root, "nowhere", "log.db") })).rejects.toMatchObject({
    code: "DISK_FAILED",
  });
});

test("authors and logs are stored once, as small integers", async () => {
  const file = newFile();
  const store = await openLibsqlStore({ file });
  await store.append(batchOf(ana, 0, 40));
  await store.append(batchOf(makeChain("ana", 5, { chain: "here" }), 0, 5));
  await store.close();
  const db = new Database(file);
  const count = (table: string) => (db.prepare(`SELECT count(*) FROM ${table}`).raw().get() as number[])[0];
  expect([count("authors"), count("logs"), count("events")]).toEqual([1, 2, 45]);
  db.close();
});

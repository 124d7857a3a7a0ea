/** P18: damage on the disk is noticed, left out, told, and repaired from peers while everything else goes on. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { LogId } from "../../protocols/ids.ts";
import { historyWarnings } from "../../node/gateway/verbs/forks.ts";
import { openProjection } from "../../sync/projection.ts";
import type { ReplicaChange } from "../../sync/replica.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import {
  admitMember,
  foundMesh,
  note,
  notesOf,
  startSync,
  stateOf,
  syncOnce,
  testTime,
  until,
  type TestMember,
} from "./mesh.ts";

let folder: string;
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), "kin-mending-"))));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

/** Ana on a real file, in step with Ben and Li, and her file after `sql` was done to it. */
async function damagedAna(sql: string) {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const file = join(folder, `log-${files++}.db`);
  const ana = await admitMember(ben, "ana", { openStore: () => openLibsqlStore({ file }) });
  const li = await admitMember(ben, "li");
  for (let i = 0; i < 20; i++) await ben.replica.append([note(`${i}`)]);
  await syncOnce(ana, ben);
  await syncOnce(li, ben);
  await ana.replica.append([note("hers")]);
  await syncOnce(ana, ben);
  const log = ownLog(ben);
  await ana.replica.close();
  await ana.replica.store.close();
  const db = new Database(file);
  db.exec(sql.replaceAll(":log", `(SELECT log FROM logs WHERE id = x'${log}')`));
  db.close();
  return { ben, li, log, ana: await ana.reopen() };
}

function ownLog({ replica }: TestMember): LogId {
  return [...replica.vector().values()].find(({ opening }) => opening.device === replica.device)!.log;
}

function heard({ replica }: TestMember): ReplicaChange[] {
  const changes: ReplicaChange[] = [];
  replica.on((change) => changes.push(change));
  return changes;
}

const EVERY_NOTE = [...Array.from({ length: 20 }, (_, i) => `${i}`), "hers"].toSorted();

const CASES: [what: string, sql: string][] = [
  ["a header", "UPDATE events SET header = zeroblob(20) WHERE log = :log AND seq = 9"],
  ["a body", "UPDATE events SET body = x'00' WHERE log = :log AND seq = 9"],
  ["bodies in a row", "UPDATE events SET body = x'00' WHERE log = :log AND seq BETWEEN 8 AND 14"],
  ["a row that is gone", "DELETE FROM events WHERE log = :log AND seq = 9"],
  [
    "the last row",
    "UPDATE events SET header = zeroblob(9) WHERE log = :log AND seq = (SELECT max(seq) FROM events WHERE log = :log)",
  ],
  ["heads", "UPDATE heads SET sig = zeroblob(64) WHERE log = :log AND seq > 10"],
];

for (const [what, sql] of CASES)
  test(`P18: ${what} damaged: left out and told, the rest goes on, and the next peer mends it [damage-mended]`, async () => {
    const { ana, ben, log } = await damagedAna(sql);
    const changes = heard(ana);
    let texts: string[] = [];
    const view = await openProjection(ana.replica, {
      kinds: new Set(["note"]),
      fold: ({ value }) => texts.push(value as string),
      clear: () => (texts = []),
    });
    await ana.replica.runFrom(log, 0); // reads its heads, as serving a peer does
    await ana.replica.idle();
    expect(ana.replica.damage().has(log)).toBe(true);
    expect(historyWarnings(ana)).toEqual([expect.stringMatching(/rows? of log.db (is|are) damaged/)]);
    expect(changes).toContainEqual(expect.objectContaining({ type: "trouble" }));
    expect(texts.filter((text) => !EVERY_NOTE.includes(text))).toEqual([]); // never a wrong one
    await ana.replica.append([note("meanwhile")]);
    const syncing = startSync(ana, ben);
    await until(() => ana.replica.damage().size === 0, "all is whole");
    await until(async () => (await notesOf(ben)).includes("meanwhile"), "the sync went on");
    await until(() => texts.includes("9"), "the view has it");
    await syncing.stop();
    await view.settled();
    expect(texts.toSorted()).toEqual([...EVERY_NOTE, "meanwhile"].toSorted());
    expect(await notesOf(ana)).toEqual([...EVERY_NOTE, "meanwhile"].toSorted());
    expect(changes).toContainEqual(expect.objectContaining({ type: "mended", log }));
    expect(ana.replica.forks()).toEqual([]);
    expect(stateOf(ana)).toEqual(stateOf(ben));
    await view.close();
    const again = await ana.reopen();
    expect(await notesOf(again)).toEqual([...EVERY_NOTE, "meanwhile"].toSorted());
    await again.replica.close();
    await again.replica.store.close();
  });

test("P18: a damaged node still serves the rest to a peer that has nothing, and takes new events in", async () => {
  const { ana, ben, li } = await damagedAna("UPDATE events SET body = x'00' WHERE log = :log AND seq = 9");
  await ben.replica.append([note("newer")]);
  await li.replica.append([note("by li")]);
  const first = startSync(ana, li);
  await until(async () => (await notesOf(ana)).includes("by li"), "ana has what li wrote");
  await until(() => ana.replica.damage().size === 0, "li has mended it");
  await first.stop();
  await syncOnce(ana, ben);
  expect(await notesOf(ana)).toContain("newer");
  await ana.replica.close();
  await ana.replica.store.close();
});

test("P18: who reads the store itself is told of damage by an error, and it is mended all the same", async () => {
  const { ana, ben, log } = await damagedAna("UPDATE events SET body = x'00' WHERE log = :log AND seq = 9");
  await expect(ana.replica.store.range(log, 0, 20)).rejects.toMatchObject({ code: "CORRUPT" });
  await ana.replica.idle();
  expect(ana.replica.damage().get(log)?.events).toEqual([9]);
  await syncOnce(ana, ben);
  await until(() => ana.replica.damage().size === 0, "it is whole");
  expect(await ana.replica.store.range(log, 0, 20)).toHaveLength(20);
  await ana.replica.close();
  await ana.replica.store.close();
});

test("P18: a peer that brings another event for a damaged place mends nothing [damage-mended]", async () => {
  const { ana, ben, log } = await damagedAna("UPDATE events SET body = x'00' WHERE log = :log AND seq = 9");
  await notesOf(ana);
  await ana.replica.idle();
  const { run } = (await ben.replica.runFrom(log, 9))!;
  const flipped = Uint8Array.from(run.head.sig, (byte, i) => (i === 5 ? byte ^ 1 : byte));
  await expect(ana.replica.mend({ ...run, head: { ...run.head, sig: flipped } })).rejects.toMatchObject({
    code: "BAD_SIGNATURE",
  });
  const own = (await ben.replica.runFrom(ownLog(ana), 0))!.run;
  await expect(ana.replica.mend({ ...run, events: own.events })).rejects.toMatchObject({ code: /FORKED|BAD_REQUEST/ });
  expect(ana.replica.damage().get(log)?.events).toEqual([9]);
  const changes = heard(ana);
  expect(await ana.replica.mend(run)).toBe(1);
  expect(ana.replica.damage().size).toBe(0);
  const told = changes.flatMap((change) => (change.type === "applied" ? change.events : []));
  expect(told.map(({ id }) => id)).toEqual([run.events[0]!.id]); // who folds what comes hears of it
  await ana.replica.close();
  await ana.replica.store.close();
});

test("P18: a peer that has no body any more mends the row that is gone; the body is asked of the others [damage-mended]", async () => {
  const { ana, ben, log } = await damagedAna("DELETE FROM events WHERE log = :log AND seq = 9");
  await notesOf(ana);
  await ana.replica.idle();
  const { run } = (await ben.replica.runFrom(log, 9))!;
  expect(await ana.replica.mend({ ...run, events: run.events.map((event) => ({ ...event, body: null })) })).toBe(1);
  expect(await ana.replica.missingBodies(9)).toEqual([run.events[0]!.id]);
  await syncOnce(ana, ben);
  await until(async () => (await notesOf(ana)).length === EVERY_NOTE.length, "the body came");
  expect(await notesOf(ana)).toEqual(EVERY_NOTE);
  await ana.replica.close();
  await ana.replica.store.close();
});

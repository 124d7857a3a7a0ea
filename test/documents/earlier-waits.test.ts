/** An edit goes on from what its device wrote before: while that does not count, nothing is written that nobody would take. */
import { expect, test } from "vitest";
import { admitMember, foundMesh, testTime, until } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments } from "./scene.ts";

const MINUTE_MS = 60_000;

test("[earlier-waits] after a start with a clock set back, own changes that are held are not written over: a word says why", async () => {
  const base = testTime();
  let backMs = 0;
  const time = { ...base, now: () => base.now() - backMs };
  const ana = await withDocuments(await foundMesh("ana", base));
  const ben = await withDocuments(await admitMember(ana.member, "ben", { time }));
  await meet(ana, ben);
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  const board = await ana.documents.notes.open({ title: "cards", persons: null, form: "board" });
  await meet(ana, ben);
  await ben.documents.notes.edit(id, { append: "first\n" });
  await ben.documents.boards.edit(board, { act: "columns", names: ["todo", "later"] });
  await ben.documents.records.set("helper", "description", "first");
  await ben.documents.close();

  backMs = 10 * MINUTE_MS;
  const again = await withDocuments(await ben.member.reopen());
  const second = [
    () => again.documents.notes.edit(id, { append: "second\n" }),
    () => again.documents.boards.edit(board, { act: "columns", names: ["todo", "done"] }),
    () => again.documents.records.set("helper", "description", "second"),
  ];
  for (const write of second) await expect(write()).rejects.toMatchObject({ code: "CLOCK_SKEW" });

  backMs = 0;
  base.pass(10 * MINUTE_MS);
  await until(() => again.documents.notes.get(id)?.text.text() === "first\n", "what was held counts");
  for (const write of second) await write();
  await meet(ana, again);
  expect(ana.documents.notes.get(id)!.text.text()).toBe("first\nsecond\n");
  expect(ana.documents.refused()).toEqual([]);
  expect(await hashOf(ana.documents)).toBe(await hashOf(again.documents));
});

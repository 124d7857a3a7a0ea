/** Edits that are said again in a new log (R13): whose clock was ahead loses no word, wherever the two logs come first. */
import { expect, test } from "vitest";
import { idOf } from "../../protocols/ids.ts";
import type { ClockSample } from "../../sync/skew.ts";
import { bytesOf } from "../sync/chains.ts";
import { admitMember, foundMesh, testTime } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments } from "./scene.ts";

const YEAR = 365 * 24 * 3_600_000;

test("documents-again: what was written while a clock was ahead counts where it was first said, when it is said again", async () => {
  let ahead = YEAR;
  let told: ClockSample[] = [];
  const time = testTime();
  const ben = await withDocuments(await foundMesh("ben", time));
  const hers = { ...time, now: () => time.now() + ahead };
  const ana = await withDocuments(await admitMember(ben.member, "ana", { time: hers, clocks: () => told }));
  const li = await withDocuments(await admitMember(ben.member, "li"));
  const note = await ben.documents.notes.open({ title: "plan", persons: null });
  await ben.documents.notes.edit(note, { text: "of ben\n" });
  await meet(ben, ana);
  await meet(ben, li);
  await ana.documents.notes.edit(note, { append: "from the future\n" });
  await ana.documents.notes.edit(note, { append: "and more\n" });
  await ana.documents.records.set("helper", "description", "ahead");
  await meet(ben, ana);
  expect(ben.documents.notes.get(note)!.text.text()).toBe("of ben\n");

  ahead = 0;
  told = [0, 1, 2].map((i) => ({ person: idOf(bytesOf(`person ${i}`)), skewMs: 0 }));
  await ana.documents.notes.edit(note, { append: "now\n" });
  await ana.member.replica.idle();
  await ana.documents.settled();
  // Li gets it from Ben, who has both logs; she has neither.
  await meet(ana, ben);
  await meet(ben, li);
  for (const { documents, failures } of [ana, ben, li]) {
    const lines = documents.notes.get(note)!.text.text().split("\n").toSorted();
    expect(lines).toEqual(["", "and more", "from the future", "now", "of ben"]);
    expect(failures).toEqual([]);
    // Made for the log that ended just then, and made again for the new one.
    expect(documents.refused()).toMatchObject([{ message: expect.stringContaining("its author's log writes as") }]);
  }
  expect(new Set(await Promise.all([ana, ben, li].map(({ documents }) => hashOf(documents)))).size).toBe(1);
  const { person } = ana.member.replica.membership().devices.get(ana.member.replica.device)!.member;
  expect(li.documents.records.get(person, "helper")!.state.values()).toEqual({ description: "ahead" });
});

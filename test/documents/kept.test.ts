/** What documents keep over a restart (compaction): the same as folding the log, and good only if nothing was judged anew. */
import { describe, expect, test } from "vitest";
import type { DocumentKeep } from "../../sync/documents/saved.ts";
import { removePerson } from "../../sync/acts.ts";
import { runTrial } from "../../sync/documents/trial.ts";
import { admitMember, foundMesh, memberOf, testTime } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments, type Writer } from "./scene.ts";

function shelf(): DocumentKeep & { rows: Uint8Array[] | null; saves: number } {
  const kept = {
    rows: null as Uint8Array[] | null,
    saves: 0,
    load: async () => kept.rows,
    save: async (rows: Uint8Array[]) => {
      kept.rows = rows;
      kept.saves++;
    },
  };
  return kept;
}

/** Notes, facts and settings by two, one of whose edits waits. */
async function written(keep: DocumentKeep) {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const ben = await withDocuments(await admitMember(ana.member, "ben"), { keep });
  await meet(ana, ben);
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(id, { text: "words of ana\n" });
  await meet(ana, ben);
  await ben.documents.notes.edit(id, { append: "and of ben\n" });
  const mine = await ben.documents.notes.open({ title: "mine", persons: [] });
  await ben.documents.notes.edit(mine, { text: "secret" });
  for (let i = 0; i < 300; i++) await ben.documents.facts.set(null, `k${i}`, String(i));
  await ben.documents.facts.set(null, "k0", null);
  await ben.documents.records.set("helper", "description", "one");
  await ben.documents.records.set("helper", "paused", true);
  await ana.documents.notes.edit(id, { append: "late\n" });
  return { ana, ben, id, mine };
}

/** Closes and opens again; counts the trials of the start. */
async function restart(writer: Writer, keep: DocumentKeep) {
  await writer.documents.close();
  let trials = 0;
  const again = await withDocuments(await writer.member.reopen(), {
    keep,
    runTrial: async (trial) => {
      trials++;
      return runTrial(trial);
    },
  });
  await again.documents.settled();
  return { again, trials: () => trials };
}

describe("what is kept", () => {
  test("documents-kept: a start goes on from it, without folding the log, and writes as before", async () => {
    const keep = shelf();
    const { ana, ben, id, mine } = await written(keep);
    const hash = await hashOf(ben.documents);
    const { again, trials } = await restart(ben, keep);
    expect(keep.saves).toBe(1);
    expect(trials()).toBe(0);
    expect(await hashOf(again.documents)).toBe(hash);
    expect(again.documents.notes.get(mine)!.text.text()).toBe("secret");
    expect(again.documents.notes.get(id)!.editors).toHaveLength(2);
    expect((await again.documents.facts.history(null, "k0")).sets.map(({ json }) => json)).toEqual([null, "0"]);
    await again.documents.notes.edit(id, { append: "and again\n" });
    await again.documents.notes.edit(mine, { append: "!" });
    await again.documents.records.set("helper", "description", "two");
    await meet(ana, again);
    expect(again.documents.notes.get(id)!.text.text().split("\n").toSorted()).toEqual([
      "",
      "and again",
      "and of ben",
      "late",
      "words of ana",
    ]);
    expect(await hashOf(again.documents)).toBe(await hashOf(ana.documents));
    const person = memberOf(ana.member, "ben").person;
    expect(ana.documents.records.get(person, "helper")!.state.values()).toEqual({ description: "two", paused: true });
    expect([...again.documents.refused(), ...ana.documents.refused(), ...again.failures]).toEqual([]);
    const third = await restart(again, keep);
    expect(await hashOf(third.again.documents)).toBe(await hashOf(ana.documents));
  });

  test("documents-kept: an edit that waited goes on waiting, and counts when what it builds on comes", async () => {
    const keep = shelf();
    const ana = await withDocuments(await foundMesh("ana", testTime()));
    const ben = await withDocuments(await admitMember(ana.member, "ben"));
    const li = await withDocuments(await admitMember(ana.member, "li"), {
      keep,
      runTrial: async () => {
        throw new Error("not now");
      },
    });
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "one\n" });
    await meet(ana, ben);
    await ben.documents.notes.edit(id, { append: "two\n" });
    await meet(ana, li);
    await meet(ben, li);
    expect(li.documents.notes.get(id)).toMatchObject({ waiting: 2 });
    const { again } = await restart(li, keep);
    expect(keep.saves).toBe(1);
    expect(again.documents.notes.get(id)!.text.text()).toBe("one\ntwo\n");
  });

  test("documents-kept: an end without saving: the log is folded, whatever is kept", async () => {
    const keep = shelf();
    const { ben } = await written(keep);
    const { again } = await restart(ben, keep);
    await again.documents.facts.set(null, "k1", '"newer"');
    // A crash: nothing is saved, the rows of the start before are still there.
    const crashed = await withDocuments(await again.member.reopen(), { keep });
    expect(crashed.documents.facts.get(null, "k1")!.values.map(({ json }) => json)).toEqual(['"newer"']);
    expect(keep.saves).toBe(1);
  });

  test("documents-kept: a removal that came in between: what is kept is not used", async () => {
    const keep = shelf();
    const { ana, ben, id } = await written(keep);
    const shelfOfLi = shelf();
    const li = await withDocuments(await admitMember(ana.member, "li"), { keep: shelfOfLi });
    await meet(ana, li);
    await meet(ana, ben);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await ben.documents.notes.edit(id, { append: "unseen\n" }); // he does not know it yet
    await meet(ben, li);
    expect(li.documents.notes.get(id)!.text.text()).toContain("unseen");
    const { again } = await restart(li, shelfOfLi);
    await again.documents.close();
    expect(shelfOfLi.saves).toBe(2);
    // The roster comes while no documents are open.
    await again.member.replica.learn(ana.member.replica.records());
    const after = await withDocuments(again.member, { keep: shelfOfLi });
    expect(after.documents.notes.get(id)!.text.text()).not.toContain("unseen");
    expect(after.documents.notes.get(id)!.text.text()).toContain("and of ben");
  });

  test.each([
    ["no rows", (_rows: Uint8Array[]): Uint8Array[] => []],
    ["a row that is cut off", (rows: Uint8Array[]) => rows.map((row, i) => (i === 3 ? row.subarray(0, 5) : row))],
    ["no head", (rows: Uint8Array[]) => rows.slice(1)],
    ["a row of nobody", (rows: Uint8Array[]) => [...rows, Uint8Array.of(0x82, 0x61, 0x7a, 0x40)]],
  ])("damaged (%s): the log is folded", async (_, damage) => {
    const keep = shelf();
    const { ben } = await written(keep);
    const hash = await hashOf(ben.documents);
    await ben.documents.close();
    keep.rows = damage(keep.rows!);
    const again = await withDocuments(await ben.member.reopen(), { keep });
    expect(await hashOf(again.documents)).toBe(hash);
  });
});

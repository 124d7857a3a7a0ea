/** Notes over real replicas: edited apart, private ones, removed members, devices that forgot. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Mesh } from "../../node/gateway/mesh.ts";
import { formatNoteId } from "../../node/gateway/verbs/note-items.ts";
import { findNote } from "../../node/gateway/verbs/notes.ts";
import { formatText } from "../../protocols/ids.ts";
import { removePerson } from "../../sync/acts.ts";
import { createNoteText, TEXT_SHAPE, writeText } from "../../sync/documents/note-text.ts";
import { diffText } from "../../sync/documents/text-diff.ts";
import { parseUpdate } from "../../sync/documents/yjs.ts";
import { addDevice } from "../invoke/durable-scene.ts";
import { bytesOf } from "../sync/chains.ts";
import { admitMember, foundMesh, memberOf, syncOnce, testTime, until } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments, type Writer } from "./scene.ts";

async function anaAndBen(): Promise<[Writer, Writer]> {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const ben = await withDocuments(await admitMember(ana.member, "ben"));
  await meet(ana, ben);
  return [ana, ben];
}

function textOf({ documents }: Writer, id: string): string | undefined {
  return documents.notes.get(id as never)?.text.text();
}

describe("notes", () => {
  test("notes-merge: two who edit apart keep each other's words; both see who edited", async () => {
    const [ana, ben] = await anaAndBen();
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "milk\nbread\ntea\n" });
    await meet(ana, ben);
    expect(textOf(ben, id)).toBe("milk\nbread\ntea\n");
    await ana.documents.notes.edit(id, { text: "oat milk\nbread\ntea\n" });
    await ben.documents.notes.edit(id, { text: "milk\nbread\ngreen tea\n" });
    await ben.documents.notes.edit(id, { append: "jam\n" });
    await meet(ana, ben);
    expect(textOf(ana, id)).toBe("oat milk\nbread\ngreen tea\njam\n");
    expect(textOf(ben, id)).toBe(textOf(ana, id));
    expect(await hashOf(ana.documents)).toBe(await hashOf(ben.documents));
    const { editors } = ana.documents.notes.get(id)!;
    expect(editors.map(({ device, edits }) => [device, edits])).toEqual(
      expect.arrayContaining([
        [ana.member.replica.device, 2],
        [ben.member.replica.device, 2],
      ]),
    );
    expect(ana.documents.refused()).toEqual([]);
    expect(await ana.documents.notes.edit(id, { text: textOf(ana, id)! })).toBe(false);
  });

  test("notes-named: a note is found by its id, its title or how that begins, also where the title looks like an id", async () => {
    const ana = await withDocuments(await foundMesh("ana", testTime()));
    const mesh = { documents: ana.documents } as Mesh;
    const opened = async (title: string) => await ana.documents.notes.open({ title, persons: null });
    const [king, kine] = [await opened("King1 plan"), await opened("kine1 of cattle")];
    const plan = await opened("plan");
    // Somebody's title can't stand in for another note's id.
    await opened(formatNoteId(plan));
    for (const [typed, id] of [
      ["King1 plan", king],
      ["king1", king],
      ["kine1 of cattle", kine],
      ["kine1 of", kine],
      ["pl", plan],
      [formatNoteId(plan), plan],
      [formatNoteId(plan).toUpperCase(), plan],
    ] as const)
      expect(await findNote(mesh, typed), typed).toMatchObject({ id });
    for (const [typed, code] of [
      ["King1 plam", "NOT_FOUND"],
      [`${formatNoteId(plan)}x`, "WRONG_KIND_OF_TEXT"],
      [formatText("kinm", bytesOf("x")), "WRONG_KIND_OF_TEXT"],
      [formatText("kine", bytesOf("x")), "NOT_FOUND"],
    ] as const)
      await expect(findNote(mesh, typed), typed).rejects.toMatchObject({ code });
  });

  test("notes-editor: an editor that was open while others wrote changes only what its user changed", async () => {
    const [ana, ben] = await anaAndBen();
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "one\ntwo\nthree\n" });
    const { text } = ana.documents.notes.get(id)!;
    const base = { runs: text.runs(), text: text.text() };
    await meet(ana, ben);
    await ben.documents.notes.edit(id, { text: "zero\none\ntwo\nthree and more\n" });
    await ana.documents.notes.edit(id, { append: "four\n" });
    await meet(ana, ben);
    await ana.documents.notes.edit(id, { text: "one\nthe three\n", base });
    expect(textOf(ana, id)).toBe("zero\none\nthe three and more\nfour\n");
  });

  test("notes-private: only its people read a private note, also who is let in later, who reads what was written before", async () => {
    const [ana, ben] = await anaAndBen();
    const li = await withDocuments(await admitMember(ana.member, "li"));
    await meet(ana, li);
    await meet(ana, ben);
    const ofBen = memberOf(ana.member, "ben").person;
    const id = await ana.documents.notes.open({ title: "secret", persons: [ofBen] });
    await ana.documents.notes.edit(id, { text: "for two" });
    await meet(ana, ben);
    await meet(ben, li);
    await ben.documents.notes.edit(id, { append: " of us" });
    await meet(ben, li);
    await meet(ana, li);
    expect(textOf(ana, id)).toBe("for two of us");
    expect(li.documents.notes.all()).toEqual([]);
    await expect(li.documents.notes.edit(id, { append: "!" })).rejects.toMatchObject({ code: "NOT_FOUND" });
    await ben.documents.notes.share(id, [memberOf(ana.member, "li").person]);
    await meet(ben, li);
    expect(textOf(li, id)).toBe("for two of us");
    expect(li.documents.notes.get(id)).toMatchObject({ title: "secret" });
    expect(li.documents.notes.get(id)!.persons).toHaveLength(3);
    await li.documents.notes.edit(id, { append: " and me" });
    await meet(li, ana);
    expect(textOf(ana, id)).toBe("for two of us and me");
    await expect(
      ana.documents.notes.share(await ana.documents.notes.open({ title: "open", persons: null }), [ofBen]),
    ).rejects.toMatchObject({ code: "BAD_REQUEST" });
  });

  test("notes-machines: a new machine of somebody reads his private notes, old words too, given by his other machine or by who opened them", async () => {
    const [ana, ben] = await anaAndBen();
    const id = await ana.documents.notes.open({ title: "secret", persons: [memberOf(ana.member, "ben").person] });
    await ana.documents.notes.edit(id, { text: "old words" });
    await meet(ana, ben);
    // Ana is away.
    const desk = await withDocuments(await addDevice(ben.member, "desk"));
    await until(async () => {
      await meet(ben, desk);
      return textOf(desk, id) === "old words";
    }, "his desk reads it");
    await desk.documents.notes.edit(id, { append: ", and from the desk" });
    await meet(ben, desk);
    await meet(ana, ben);
    expect(textOf(ana, id)).toBe("old words, and from the desk");
    const phone = await withDocuments(await addDevice(ana.member, "phone"));
    await ana.documents.close();
    const again = await withDocuments(await ana.member.reopen());
    await until(async () => {
      await meet(again, phone);
      return textOf(phone, id) === "old words, and from the desk";
    }, "her phone reads it");
    expect([...again.failures, ...ben.failures, ...desk.failures]).toEqual([]);
  });

  test("notes-removed: what a removed member wrote after his cut has no effect, also on who had seen it", async () => {
    const [ana, ben] = await anaAndBen();
    const li = await withDocuments(await admitMember(ana.member, "li"));
    await meet(ana, li);
    await meet(ana, ben);
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "kept" });
    await meet(ana, ben);
    await ben.documents.notes.edit(id, { text: "kept, by ben" });
    await meet(ana, ben);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await ben.documents.notes.edit(id, { text: "gone" });
    await meet(ben, li);
    expect(textOf(li, id)).toBe("gone");
    await meet(ana, li);
    expect(textOf(li, id)).toBe("kept, by ben");
    expect(await hashOf(li.documents)).toBe(await hashOf(ana.documents));
    await li.documents.notes.edit(id, { append: "!" });
    await meet(ana, li);
    expect(textOf(ana, id)).toBe("kept, by ben!");
  });

  test("a new incarnation of a device goes on in its notes as somebody new", async () => {
    const [ana, ben] = await anaAndBen();
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "before " });
    await meet(ana, ben);
    const earlier = ana.member.disk.crash();
    await ana.documents.notes.edit(id, { append: "lost " });
    await meet(ana, ben);
    await ana.documents.close();
    const restored = await withDocuments(await ana.member.reopen(earlier));
    await meet(restored, ben);
    await restored.documents.notes.edit(id, { append: "after" });
    await meet(restored, ben);
    expect(textOf(ben, id)).toBe("before lost after");
    expect(await hashOf(restored.documents)).toBe(await hashOf(ben.documents));
    expect(ben.documents.notes.get(id)!.text.seen().size).toBe(2);
  });

  test("a newcomer without the keys of the time before reads what began after him", async () => {
    const ana = await withDocuments(await foundMesh("ana", testTime(), "from-epoch"));
    const old = await ana.documents.notes.open({ title: "old", persons: null });
    await ana.documents.notes.edit(old, { text: "before him" });
    await admitMember(ana.member, "li");
    await ana.documents.notes.edit(old, { append: "!" });
    await removePerson(ana.member.replica, memberOf(ana.member, "li").person);
    const ben = await withDocuments(await admitMember(ana.member, "ben"));
    const fresh = await ana.documents.notes.open({ title: "new", persons: null });
    await ana.documents.notes.edit(fresh, { text: "with him" });
    await ana.documents.notes.edit(old, { append: "!" });
    await meet(ana, ben);
    expect(textOf(ben, fresh)).toBe("with him");
    expect(ben.documents.notes.get(old)).toBeUndefined();
    expect(ben.documents.refused()).toEqual([]);
  });

  test.each([
    ["a title of two lines", { title: "a\nb", persons: null }, "BAD_REQUEST"],
    ["no title", { title: " ", persons: null }, "BAD_REQUEST"],
    ["a long title", { title: "x".repeat(201), persons: null }, "TOO_LARGE"],
  ])("%s is refused", async (_, note, code) => {
    const ana = await withDocuments(await foundMesh("ana", testTime()));
    await expect(ana.documents.notes.open(note)).rejects.toMatchObject({ code });
  });

  test("a text of over a million characters is refused, a long one travels in pieces", async () => {
    const [ana, ben] = await anaAndBen();
    const id = await ana.documents.notes.open({ title: "long", persons: null });
    const long = "😀 fünf Wörter auf jeder Zeile\n".repeat(3_000);
    await ana.documents.notes.edit(id, { text: long });
    await meet(ana, ben);
    expect(textOf(ben, id)).toBe(long);
    await expect(ana.documents.notes.edit(id, { text: "x".repeat(1024 * 1024 + 1) })).rejects.toMatchObject({
      code: "TOO_LARGE",
    });
  });
});

test("a text that is changed in a thousand places is few updates, and right, also where others have changed it since [note-many-places]", () => {
  const [mine, theirs] = [createNoteText(), createNoteText()];
  const lines = Array.from({ length: 2000 }, (_, i) => `line ${i}`);
  const first = writeText(mine.state(), 1, [], [{ at: 0, removed: 0, inserted: lines.join("\n") }]);
  for (const text of [mine, theirs]) text.apply(first.map(({ bytes }) => bytes));
  const [base, shown] = [mine.runs(), mine.text()];
  const wanted = lines
    .map((line, i) => (i % 2 === 0 ? line : `${line}!`))
    .map((line) => line.replace("line 12", "row 12"));
  // Somebody took the first half away, and wrote before the rest.
  const half = shown.indexOf("line 1000");
  const others = writeText(theirs.state(), 2, base, [{ at: 0, removed: half, inserted: "theirs\n" }]);
  mine.apply(others.map(({ bytes }) => bytes));
  const made = writeText(mine.state(), 3, base, diffText(shown, wanted.join("\n")));
  expect(made.length).toBeLessThan(20);
  for (const { bytes, seen } of made) {
    parseUpdate(bytes, 3, seen, TEXT_SHAPE);
    mine.apply([bytes]);
  }
  const text = mine.text();
  expect(text.endsWith(wanted.slice(1001).join("\n"))).toBe(true);
  expect(text.split("!")).toHaveLength(1001);
  expect(text.split("theirs\n")).toHaveLength(2);
  expect(text).not.toContain("line 500");
});

test("documents-converge: three who write notes, facts and records while some are apart end with the same bytes", async () => {
  const step = fc.record({
    who: fc.nat(2),
    does: fc.constantFrom("edit", "append", "fact", "meet", "restart"),
    with: fc.nat(2),
    at: fc.nat(20),
    word: fc.constantFrom("a", "b ", "\n", "cc"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 18 }), async (steps) => {
      const ana = await withDocuments(await foundMesh("ana", testTime()));
      const all = [
        ana,
        await withDocuments(await admitMember(ana.member, "ben")),
        await withDocuments(await admitMember(ana.member, "li")),
      ];
      const id = await ana.documents.notes.open({ title: "plan", persons: null });
      for (const other of all.slice(1)) await meet(ana, other);
      for (const { who, does, with: other, at, word } of steps) {
        const { documents } = all[who]!;
        const text = documents.notes.get(id)!.text.text();
        const from = at % (text.length + 1);
        if (does === "edit")
          await documents.notes.edit(id, { text: text.slice(0, from) + word + text.slice(from + word.length) });
        if (does === "append") await documents.notes.edit(id, { append: word });
        if (does === "fact") await documents.facts.set(null, word.trim() || "k", String(at));
        if (does === "meet" && who !== other) await meet(all[who]!, all[other]!);
        if (does === "restart") {
          await documents.close();
          all[who] = await withDocuments(await all[who]!.member.reopen());
        }
      }
      for (const [a, b] of [
        [0, 1],
        [1, 2],
        [0, 1],
      ] as const)
        await meet(all[a]!, all[b]!);
      const hashes = await Promise.all(all.map(({ documents }) => hashOf(documents)));
      expect(new Set(hashes).size).toBe(1);
      expect(all.flatMap(({ documents, failures }) => [...documents.refused(), ...failures])).toEqual([]);
      await syncOnce(all[0]!.member, all[2]!.member);
    }),
    { numRuns: 10 },
  );
});

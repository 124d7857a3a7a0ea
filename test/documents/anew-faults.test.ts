/** What members typed beside words that a removal cut off is said anew, whatever the removed one or this machine did. */
import { expect, test } from "vitest";
import { noteEditedValue, yjsClientOf, type NoteId } from "../../protocols/document.ts";
import { logIdOf } from "../../protocols/events.ts";
import { removePerson } from "../../sync/acts.ts";
import type { DocumentsDeps } from "../../sync/documents.ts";
import { meantBy, writeMeant } from "../../sync/documents/anew.ts";
import { createNoteText, TEXT_SHAPE, writeText, type NoteText } from "../../sync/documents/note-text.ts";
import { runTrial } from "../../sync/documents/trial.ts";
import { parseUpdate, type Update } from "../../sync/documents/yjs.ts";
import type { Hunk } from "../../sync/documents/text-diff.ts";
import type { NewEntry } from "../../sync/replica.ts";
import { admitMember, foundMesh, memberOf, testTime, until, type TestTime } from "../sync/mesh.ts";
import { meet, withDocuments, type Writer } from "./scene.ts";

interface Scene {
  id: NoteId;
  time: TestTime;
  ana: Writer;
  /** Removed, and has not heard of it. */
  ben: Writer;
  li: Writer;
}

async function scene(more: Partial<DocumentsDeps> = {}): Promise<Scene> {
  const time = testTime();
  const ana = await withDocuments(await foundMesh("ana", time));
  const ben = await withDocuments(await admitMember(ana.member, "ben"));
  const li = await withDocuments(await admitMember(ana.member, "li"), more);
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(id, { text: "start." });
  for (const other of [ben, li, ben]) await meet(ana, other);
  await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
  return { id, time, ana, ben, li };
}

function textOf({ documents }: Writer, id: NoteId): string {
  return documents.notes.get(id)!.text.text();
}

function clientOf({ member: { replica } }: Writer, id: NoteId): number {
  const { mesh, device } = replica;
  return yjsClientOf(logIdOf(mesh, { device, incarnation: replica.incarnation().id, chain: "mesh" }), id);
}

async function allRead({ id, ana, li }: Scene, text: string): Promise<void> {
  await until(async () => {
    await meet(ana, li);
    return [ana, li].every((one) => textOf(one, id) === text && one.documents.notes.get(id)!.waiting === 0);
  }, `all read "${text}"`);
}

test.each<["misplaced" | "sealed to one"]>([["misplaced"], ["sealed to one"]])(
  "an edit of his that nobody took, %s, before one that others built on",
  async (how) => {
    const all = await scene();
    const { id, ana, ben, li } = all;
    const { text } = ben.documents.notes.get(id)!;
    // At the end of the text, and from "s" on.
    const hunk = { at: how === "misplaced" ? 6 : 0, removed: 0, inserted: "xy" };
    const [made] = writeText(text.state(), clientOf(ben, id), text.runs(), [hunk]);
    const { bytes, seen } = made!;
    if (how === "misplaced") bytes.set([0], bytes.indexOf(5, 12)); // its left unit is the first
    const value = noteEditedValue({ note: id, seen, life: 0, update: { open: bytes } });
    const entry: NewEntry =
      how === "misplaced"
        ? { kind: "note-edited", audience: "mesh", value }
        : { kind: "note-edited", audience: "direct", value, to: [li.member.replica.device] };
    await ben.member.replica.append([entry]);
    await ben.documents.settled();
    expect(ben.documents.refused()).toHaveLength(1);
    await ben.documents.notes.edit(id, { append: " ben's" });
    await meet(ben, li);
    await li.documents.notes.edit(id, { append: " li's" });
    expect(textOf(li, id)).toBe("start. ben's li's");
    await allRead(all, "start. li's");
    expect(ana.failures).toEqual([]);
  },
);

test.each([
  ["start. ben", "start."],
  ["star", "star"],
])("who only took words away, so that it read %j, makes nobody wait", async (wanted, text) => {
  const all = await scene();
  const { id, ben, li } = all;
  await ben.documents.notes.edit(id, { append: " ben's" });
  await meet(ben, li);
  await li.documents.notes.edit(id, { text: wanted });
  await allRead(all, text);
});

test("a machine that was too busy to try it says it later", async () => {
  let busy = 0;
  const all = await scene({
    runTrial: async (trial) => {
      const own = trial.form !== "record" && trial.updates.some(({ client }) => client === busy);
      if (own) throw new Error("busy");
      return runTrial(trial);
    },
  });
  const { id, time, ana, ben, li } = all;
  await ben.documents.notes.edit(id, { append: " ben's" });
  await meet(ben, li);
  await li.documents.notes.edit(id, { append: " li's" });
  busy = clientOf(li, id);
  await until(async () => {
    await meet(ana, li);
    return li.failures.length > 0;
  }, "it was tried");
  busy = 0;
  time.pass(60_000);
  await allRead(all, "start. li's");
});

test("a text that was made of what is shown now takes none of the words away that are said anew", async () => {
  const all = await scene({ hasHeard: () => false });
  const { id, ana, ben, li } = all;
  await ben.documents.notes.edit(id, { append: " ben's" });
  await meet(ben, li);
  await li.documents.notes.edit(id, { append: " li's" });
  await meet(ana, li);
  await meet(ana, li);
  expect(textOf(li, id)).toBe("start.");
  await li.documents.notes.edit(id, { text: "Start." });
  await allRead(all, "Start. li's");
});

test("words in many places are said anew in few updates", () => {
  const [then, now] = [createNoteText(), createNoteText()];
  const edit = (client: number, texts: NoteText[], hunks: Hunk[]): Update[] =>
    writeText(then.state(), client, then.runs(), hunks).map(({ bytes, seen }) => {
      for (const text of texts) text.apply([bytes]);
      return parseUpdate(bytes, client, seen, TEXT_SHAPE);
    });
  edit(1, [then, now], [{ at: 0, removed: 0, inserted: "ab".repeat(300) }]);
  const cut = edit(2, [then], [{ at: 0, removed: 0, inserted: "cut" }]);
  const mine = edit(
    3,
    [then],
    Array.from({ length: 300 }, (_, i) => ({ at: 3 + i * 2, removed: 1, inserted: "z" })),
  );
  const made = writeMeant(now.state(), 4, "text", meantBy(now.state(), [...cut, ...mine], new Set(mine)));
  for (const { bytes, seen } of made) {
    parseUpdate(bytes, 4, seen, TEXT_SHAPE);
    now.apply([bytes]);
  }
  expect(made.length).toBe(3);
  expect(now.text()).toBe("zb".repeat(300));
});

/**
 * All members see the id of a private note: who was never given it can say that he shares it, with a key that he made up. That
 * gives him nothing, and takes nothing from its people.
 */
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import {
  noteEditedValue,
  noteSharedValue,
  parseNoteEdited,
  sealUpdate,
  yjsClientOf,
  type NoteId,
} from "../../protocols/document.ts";
import { logIdOf } from "../../protocols/events.ts";
import { createNoteText, writeText } from "../../sync/documents/note-text.ts";
import { entryFor } from "../../sync/documents/writing.ts";
import { seededRandom } from "../sync/chains.ts";
import { admitMember, foundMesh, memberOf, testTime, until } from "../sync/mesh.ts";
import { meet, withDocuments, type Writer } from "./scene.ts";

const MADE_UP = new Uint8Array(32).fill(7);

function textOf({ documents }: Writer, id: NoteId): string | undefined {
  return documents.notes.get(id)?.text.text();
}

/** Ana's note for Ben and her; Mal and Li have seen that there is one. */
async function scene() {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const others: Writer[] = [];
  for (const name of ["ben", "mal", "li"]) others.push(await withDocuments(await admitMember(ana.member, name)));
  const [ben, mal, li] = others as [Writer, Writer, Writer];
  for (const one of [...others, ...others]) await meet(ana, one);
  const person = (name: string) => memberOf(ana.member, name).person;
  const id = await ana.documents.notes.open({ title: "secret", persons: [person("ben")] });
  await ana.documents.notes.edit(id, { text: "for two of us. " });
  for (const one of others) await meet(ana, one);
  return { ana, ben, mal, li, id, person };
}

/** Mal says so to one of them. */
async function share(mal: Writer, id: NoteId, to: Writer): Promise<void> {
  const { events } = await mal.member.replica.events({ kinds: new Set(["note-edited"]) });
  expect(parseNoteEdited(events[0]!.value).note).toBe(id);
  const { device } = to.member.replica;
  const persons = [memberOf(mal.member, "mal").person];
  const value = noteSharedValue({
    note: id,
    title: "renamed by mal",
    form: "text",
    privacy: { persons, devices: [device], key: MADE_UP },
  });
  await mal.member.replica.append([entryFor("note-shared", value, [device])]);
  await meet(mal, to);
}

describe("made-up-share: a share of a private note counts only if its key is the note's", () => {
  test("its opener's node shows it for the same people, and gives him the key neither at a start nor with a share to others", async () => {
    const { ana, ben, mal, li, id, person } = await scene();
    await share(mal, id, ana);
    expect(ana.documents.notes.get(id)).toMatchObject({
      title: "secret",
      persons: [person("ana"), person("ben")].toSorted(),
    });
    await ana.documents.close();
    const again = await withDocuments(await ana.member.reopen());
    await again.documents.settled();
    await again.documents.notes.share(id, [person("li")]);
    await until(async () => {
      await meet(again, li);
      return textOf(li, id) === "for two of us. ";
    }, "li reads it");
    for (const one of [ben, mal]) await meet(again, one);
    expect(textOf(mal, id)).toBe("");
    expect(toHex(mal.documents.notes.get(id)!.key!)).toBe(toHex(MADE_UP));
    expect(again.failures).toEqual([]);
  });

  test("to one who is let in later: she reads the note's words, and hers reach its people", async () => {
    const { ana, mal, li, id, person } = await scene();
    await share(mal, id, li);
    expect(li.documents.notes.get(id)).toMatchObject({ title: "renamed by mal", waiting: 1 });
    await li.documents.notes.edit(id, { append: "to mal only" });
    await ana.documents.notes.share(id, [person("li")]);
    await meet(ana, li);
    expect(li.documents.notes.get(id)).toMatchObject({ title: "secret", waiting: 0 });
    expect(textOf(li, id)).toBe("for two of us. ");
    await li.documents.notes.edit(id, { append: "li was here. " });
    await meet(ana, li);
    expect(textOf(ana, id)).toBe("for two of us. li was here. ");
    expect(ana.documents.refused().map(({ message }) => message)).toEqual([
      "an edit that is sealed with another key than the note's",
    ]);
    await li.documents.close();
    const again = await withDocuments(await li.member.reopen());
    await again.documents.settled();
    expect(textOf(again, id)).toBe("for two of us. li was here. ");
  });

  test("whom another let in gets the key from the opener, too: nothing that was made up comes before it", async () => {
    const { ana, ben, mal, li, id, person } = await scene();
    await share(mal, id, li);
    await ben.documents.notes.share(id, [person("li")]);
    await meet(ben, li);
    await meet(ben, ana);
    await until(async () => {
      await meet(ana, li);
      return textOf(li, id) === "for two of us. ";
    }, "li reads it");
    const { events } = await ana.member.replica.events({ kinds: new Set(["note-shared"]) });
    expect(events.filter(({ device }) => device === ana.member.replica.device)).toHaveLength(1);
  });

  test("an edit of his keeps no later one of its people waiting", async () => {
    const { ana, mal, id } = await scene();
    const { replica } = mal.member;
    const log = logIdOf(replica.mesh, { device: replica.device, incarnation: replica.incarnation().id, chain: "mesh" });
    const made = writeText(
      createNoteText().state(),
      yjsClientOf(log, id),
      [],
      [{ at: 0, removed: 0, inserted: "mal's" }],
    );
    const [{ bytes, seen }] = made as [(typeof made)[0]];
    const at = { mesh: replica.mesh, note: id, author: replica.device };
    const update = sealUpdate(at, MADE_UP, bytes, seededRandom("mal"));
    await replica.append([entryFor("note-edited", noteEditedValue({ note: id, seen, life: 0, update }), null)]);
    await meet(mal, ana);
    expect(ana.documents.notes.get(id)!.waiting).toBe(0);
    expect(textOf(ana, id)).toBe("for two of us. ");
  });
});

/** `kin note new|edit|show|share|ls`: texts that several people and agents edit, offline too. */
import type { NoteId } from "../../../protocols/document.ts";
import { KinError } from "../../../protocols/errors.ts";
import { formatText, idBytes, idOf, parseText, type PersonId } from "../../../protocols/ids.ts";
import { displayName } from "../../../protocols/membership.ts";
import type { NoteBase } from "../../../sync/documents.ts";
import type { Note } from "../../../sync/documents/notes.ts";
import { didYouMean } from "../../did-you-mean.ts";
import type { NoteItem, NoteRun, Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, personOf, resolveMember } from "../resolve.ts";

export async function noteNew(node: MeshNode, params: Params<"note-new">): Promise<Result<"note-new">> {
  const mesh = needMembership(node);
  const persons = params.for === "mesh" ? null : personsNamed(mesh, params.for);
  const id = await mesh.documents.notes.open({ title: params.title, persons });
  if (params.text !== "") await mesh.documents.notes.edit(id, { text: params.text });
  return noteItem(mesh, mesh.documents.notes.get(id)!);
}

export async function noteEdit(node: MeshNode, params: Params<"note-edit">): Promise<Result<"note-edit">> {
  const mesh = needMembership(node);
  const note = await findNote(mesh, params.note);
  const changed = await mesh.documents.notes.edit(
    note.id,
    params.append
      ? { append: ownLine(note.text.text(), params.text) }
      : { text: params.text, ...(params.base !== null && { base: baseOf(note, params.base) }) },
  );
  return { ...noteItem(mesh, mesh.documents.notes.get(note.id)!), changed };
}

export async function noteShow(node: MeshNode, params: Params<"note-show">): Promise<Result<"note-show">> {
  const mesh = needMesh(node);
  const note = await findNote(mesh, params.note);
  const visible = note.text.runs().filter(({ text }) => text !== null);
  return {
    ...noteItem(mesh, note),
    text: note.text.text(),
    base: visible.map(({ client, clock, length }): NoteRun => [client, clock, length]),
    editors: note.editors.map(({ device, edits, at }) => ({
      by: personOf(mesh.replica.membership(), device),
      device: deviceName(mesh.replica.membership(), device),
      edits,
      at,
    })),
  };
}

export async function noteShare(node: MeshNode, params: Params<"note-share">): Promise<Result<"note-share">> {
  const mesh = needMembership(node);
  const note = await findNote(mesh, params.note);
  await mesh.documents.notes.share(note.id, personsNamed(mesh, params.for));
  return noteItem(mesh, mesh.documents.notes.get(note.id)!);
}

export async function noteList(node: MeshNode): Promise<Result<"note-ls">> {
  const mesh = needMesh(node);
  await mesh.documents.settled();
  const notes = mesh.documents.notes.all().toSorted((a, b) => b.at - a.at);
  return { items: notes.map((note) => noteItem(mesh, note)) };
}

function ownLine(before: string, added: string): string {
  const start = before === "" || before.endsWith("\n") ? "" : "\n";
  return `${start}${added}${added.endsWith("\n") ? "" : "\n"}`;
}

/** By id, by title, or by how one title begins. @throws KinError NOT_FOUND, USAGE if several are meant */
async function findNote(mesh: Mesh, typed: string): Promise<Note> {
  await mesh.documents.settled();
  const all = mesh.documents.notes.all();
  const byId = /^kin[a-z]1/i.test(typed) ? noteById(mesh, typed) : undefined;
  if (byId !== undefined) return byId;
  const exact = all.filter(({ title }) => title === typed);
  const begun = all.filter(({ title }) => title.toLowerCase().startsWith(typed.toLowerCase()));
  const found = exact.length > 0 ? exact : begun;
  if (found.length === 1) return found[0]!;
  if (found.length > 1)
    throw new KinError("USAGE", `${found.length} notes are called "${typed}"`, {
      hint: `say which: ${found.map(({ id }) => formatNoteId(id)).join(" or ")}`,
    });
  const near = didYouMean(
    typed,
    all.map(({ title }) => title),
  );
  throw new KinError("NOT_FOUND", `there is no note "${typed}" that you can read`, {
    hint: near === null ? "kin note ls" : `did you mean "${near}"?`,
  });
}

function noteById(mesh: Mesh, typed: string): Note | undefined {
  const parsed = parseText("kine", typed);
  if (!parsed.ok) throw new KinError("WRONG_KIND_OF_TEXT", parsed.message, { hint: "kin note ls" });
  const note = mesh.documents.notes.get(idOf(parsed.body));
  if (note === undefined)
    throw new KinError("NOT_FOUND", `there is no note ${typed} that you can read`, { hint: "kin note ls" });
  return note;
}

function formatNoteId(id: NoteId): string {
  return formatText("kine", idBytes(id));
}

/** What was shown to be edited. Runs that this note never had change nothing. @throws KinError INVALID_ARGUMENTS */
function baseOf(note: Note, { runs, text }: { runs: NoteRun[]; text: string }): NoteBase {
  const length = runs.reduce((sum, run) => sum + run[2], 0);
  const seen = note.text.seen();
  const isOurs = runs.every(
    ([client, clock, units]) => clock >= 0 && units > 0 && clock + units <= (seen.get(client) ?? 0),
  );
  if (length !== text.length || !isOurs)
    throw new KinError("INVALID_ARGUMENTS", `the text that was edited is not one of "${note.title}"`);
  let at = 0;
  return {
    text,
    runs: runs.map(([client, clock, units]) => ({ client, clock, length: units, text: text.slice(at, (at += units)) })),
  };
}

function personsNamed(mesh: Mesh, names: string[]): PersonId[] {
  return names.map((name) => {
    const [person, tag] = name.split("~");
    return resolveMember(mesh.replica.membership(), { person: person!, tag }).person;
  });
}

function noteItem(mesh: Mesh, note: Note): NoteItem {
  const membership = mesh.replica.membership();
  const [last] = note.editors;
  return {
    id: formatNoteId(note.id),
    title: note.title,
    for: note.persons === null ? "mesh" : note.persons.map((person) => displayName(membership, person)),
    openedBy: personOf(membership, note.openedBy),
    editedBy: last === undefined ? null : personOf(membership, last.device),
    at: note.at,
    characters: note.text.text().length,
    waiting: note.waiting,
  };
}

/** `kin note new|edit|show|share|ls`: texts and boards that several people and agents edit, offline too. */
import type { NoteId, Seen } from "../../../protocols/document.ts";
import { KinError } from "../../../protocols/errors.ts";
import { idOf, parseText, type PersonId } from "../../../protocols/ids.ts";
import type { NoteBase } from "../../../sync/documents.ts";
import { checkColumns } from "../../../sync/documents/board-acts.ts";
import type { Board, Note } from "../../../sync/documents/notes.ts";
import { didYouMean } from "../../did-you-mean.ts";
import type { NoteRun, Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, personNamed, personOf } from "../resolve.ts";
import { boardText, columnItems, formatNoteId, noteItem, shownRuns } from "./note-items.ts";

export async function noteNew(node: MeshNode, params: Params<"note-new">): Promise<Result<"note-new">> {
  const mesh = needMembership(node);
  const persons = params.for === "mesh" ? null : personsNamed(mesh, params.for);
  const { notes, boards } = mesh.documents;
  if (params.columns !== null) checkColumns(params.columns);
  const id = await notes.open({ title: params.title, persons, form: params.columns === null ? "text" : "board" });
  if (params.columns !== null) await boards.edit(id, { act: "columns", names: params.columns });
  else if (params.text !== "") await notes.edit(id, { text: params.text });
  return noteItem(mesh, noteOf(mesh, id)!);
}

export async function noteEdit(node: MeshNode, params: Params<"note-edit">): Promise<Result<"note-edit">> {
  const mesh = needMembership(node);
  const note = await findNote(mesh, params.note);
  if (note.form === "board")
    throw new KinError("USAGE", `"${note.title}" is a board: its cards are edited one by one`, {
      hint: `kin board edit ${formatNoteId(note.id)} <card>`,
    });
  const changed = await mesh.documents.notes.edit(
    note.id,
    params.append
      ? { append: ownLine(note.text.text(), params.text) }
      : { text: params.text, ...(params.base !== null && { base: baseOf(note.text.seen(), params.base, note.title) }) },
  );
  return { ...noteItem(mesh, mesh.documents.notes.get(note.id)!), changed };
}

export async function noteShow(node: MeshNode, params: Params<"note-show">): Promise<Result<"note-show">> {
  const mesh = needMesh(node);
  const note = await findNote(mesh, params.note);
  return {
    ...noteItem(mesh, note),
    ...(note.form === "text"
      ? { text: note.text.text(), base: shownRuns(note.text.runs()), columns: null }
      : { text: boardText(mesh, note), base: [], columns: columnItems(mesh, note) }),
    editors: note.editors.map(({ device, edits, at }) => ({
      by: personOf(mesh.replica.membership(), device),
      device: deviceName(mesh.replica.membership(), device),
      edits,
      at,
    })),
    refused: refusedOf(mesh, note.id),
  };
}

function refusedOf({ documents, replica }: Mesh, id: NoteId): Result<"note-show">["refused"] {
  return documents
    .refused()
    .filter(({ of }) => of === id)
    .map(({ event, device, message }) => ({
      event: formatNoteId(event),
      by: personOf(replica.membership(), device),
      device: deviceName(replica.membership(), device),
      message,
    }));
}

export async function noteShare(node: MeshNode, params: Params<"note-share">): Promise<Result<"note-share">> {
  const mesh = needMembership(node);
  const note = await findNote(mesh, params.note);
  await mesh.documents.notes.share(note.id, personsNamed(mesh, params.for));
  return noteItem(mesh, noteOf(mesh, note.id)!);
}

export async function noteList(node: MeshNode): Promise<Result<"note-ls">> {
  const mesh = needMesh(node);
  await mesh.documents.settled();
  const notes = allNotes(mesh).toSorted((a, b) => b.at - a.at);
  return { items: notes.map((note) => noteItem(mesh, note)) };
}

function ownLine(before: string, added: string): string {
  const start = before === "" || before.endsWith("\n") ? "" : "\n";
  return `${start}${added}${added.endsWith("\n") ? "" : "\n"}`;
}

/** By id, by title, or by how one title begins. @throws KinError NOT_FOUND, WRONG_KIND_OF_TEXT, USAGE if several are meant */
export async function findNote(mesh: Mesh, typed: string): Promise<Note | Board> {
  await mesh.documents.settled();
  const all = allNotes(mesh);
  const parsed = parseText("kine", typed);
  const byId = parsed.ok ? noteOf(mesh, idOf(parsed.body)) : undefined;
  if (byId !== undefined) return byId;
  const exact = all.filter(({ title }) => title === typed);
  const begun = all.filter(({ title }) => title.toLowerCase().startsWith(typed.toLowerCase()));
  const found = exact.length > 0 ? exact : begun;
  if (found.length === 1) return found[0]!;
  if (found.length > 1)
    throw new KinError("USAGE", `${found.length} notes and boards are called "${typed}"`, {
      hint: `say which: ${found.map(({ id }) => formatNoteId(id)).join(" or ")}`,
    });
  // Only now: "Kine1 plan" is a title too.
  if (!parsed.ok && parsed.why !== "other")
    throw new KinError("WRONG_KIND_OF_TEXT", parsed.message, { hint: "kin note ls" });
  const near = didYouMean(
    typed,
    all.map(({ title }) => title),
  );
  throw new KinError("NOT_FOUND", `there is no note or board "${typed}" that you can read`, {
    hint: near === null ? "kin note ls" : `did you mean "${near}"?`,
  });
}

function allNotes({ documents }: Mesh): (Note | Board)[] {
  return [...documents.notes.all(), ...documents.boards.all()];
}

function noteOf({ documents }: Mesh, id: NoteId): Note | Board | undefined {
  return documents.notes.get(id) ?? documents.boards.get(id);
}

/** What was shown to be edited. Runs that this document never had change nothing. @throws KinError INVALID_ARGUMENTS */
export function baseOf(seen: Seen, { runs, text }: { runs: NoteRun[]; text: string }, title: string): NoteBase {
  const length = runs.reduce((sum, run) => sum + run[2], 0);
  const isOurs = runs.every(
    ([client, clock, units]) => clock >= 0 && units > 0 && clock + units <= (seen.get(client) ?? 0),
  );
  if (length !== text.length || !isOurs)
    throw new KinError("INVALID_ARGUMENTS", `the text that was edited is not one of "${title}"`);
  let at = 0;
  return {
    text,
    runs: runs.map(([client, clock, units]) => ({ client, clock, length: units, text: text.slice(at, (at += units)) })),
  };
}

export function personsNamed(mesh: Mesh, names: string[]): PersonId[] {
  return names.map((name) => personNamed(mesh.replica.membership(), name));
}

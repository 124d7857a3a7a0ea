/** What people and programs see of texts and boards. */
import type { NoteId } from "../../../protocols/document.ts";
import { formatText, idBytes, type PersonId } from "../../../protocols/ids.ts";
import { displayName } from "../../../protocols/membership.ts";
import type { Card } from "../../../sync/documents/board.ts";
import { formatBoard, shortIds } from "../../../sync/documents/board-names.ts";
import type { Board, Note } from "../../../sync/documents/notes.ts";
import type { Run } from "../../../sync/documents/yjs.ts";
import type { CardItem, ColumnItem, NoteItem, NoteRun } from "../control-api.ts";
import type { Mesh } from "../mesh.ts";
import { personOf } from "../resolve.ts";

export function noteItem(mesh: Mesh, note: Note | Board): NoteItem {
  const membership = mesh.replica.membership();
  const [last] = note.editors;
  return {
    id: formatNoteId(note.id),
    form: note.form,
    title: note.title,
    for: note.persons === null ? "mesh" : note.persons.map((person) => displayName(membership, person)),
    openedBy: personOf(membership, note.openedBy),
    editedBy: last === undefined ? null : personOf(membership, last.device),
    at: note.at,
    ...sizeOf(note),
    waiting: note.waiting,
  };
}

function sizeOf(note: Note | Board): Pick<NoteItem, "characters" | "cards"> {
  if (note.form === "text") return { characters: note.text.text().length, cards: null };
  const cards = note.board.columns().flatMap((column) => column.cards);
  return { characters: cards.reduce((sum, { text }) => sum + text.length, 0), cards: cards.length };
}

export function columnItems(mesh: Mesh, { board }: Board): ColumnItem[] {
  const columns = board.columns();
  const short = shortIds(columns);
  const item = ({ id, text, runs, assigned }: Card): CardItem => ({
    id,
    short: short.get(id)!,
    text,
    base: shownRuns(runs),
    for: assigned.map(nameIn(mesh)),
  });
  return columns.map(({ name, cards }) => ({ name, cards: cards.map(item) }));
}

export function boardText(mesh: Mesh, { board }: Board): string {
  return formatBoard(board.columns(), nameIn(mesh));
}

export function nameIn(mesh: Mesh): (person: PersonId) => string {
  return (person) => displayName(mesh.replica.membership(), person);
}

export function formatNoteId(id: NoteId): string {
  return formatText("kine", idBytes(id));
}

/** What an editor is opened with. */
export function shownRuns(runs: readonly Run[]): NoteRun[] {
  return runs.flatMap(({ client, clock, length, text }) => (text === null ? [] : [[client, clock, length]]));
}

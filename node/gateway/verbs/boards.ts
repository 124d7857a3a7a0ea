/** `kin board show|add|move|edit|assign|rm|columns`: cards that several people and agents move and edit, offline too. */
import { KinError } from "../../../protocols/errors.ts";
import type { PersonId } from "../../../protocols/ids.ts";
import { newCardId, type CardId } from "../../../sync/documents/board.ts";
import type { BoardAct, CardPlace } from "../../../sync/documents/board-acts.ts";
import { findCard, findColumn } from "../../../sync/documents/board-names.ts";
import type { Board } from "../../../sync/documents/notes.ts";
import type { BoardResult, CardPlaceParam, Params, Result } from "../control-api.ts";
import { needMembership, type Mesh, type MeshNode } from "../mesh.ts";
import { columnItems, formatNoteId, nameIn, noteItem } from "./note-items.ts";
import { baseOf, findNote, personsNamed } from "./notes.ts";

export async function boardAdd(node: MeshNode, params: Params<"board-add">): Promise<Result<"board-add">> {
  const { mesh, board } = await needBoard(node, params.board);
  const card = newCardId(node.random);
  const assigned = readersNamed(mesh, board, params.for);
  const column = params.column === null ? null : columnNamed(board, params.column);
  return edited(mesh, board, card, { act: "add", card, text: params.text, column, place: params.place, assigned });
}

export async function boardMove(node: MeshNode, params: Params<"board-move">): Promise<Result<"board-move">> {
  const { mesh, board } = await needBoard(node, params.board);
  const card = cardNamed(board, params.card);
  const column = params.column === null ? null : columnNamed(board, params.column);
  return edited(mesh, board, card, { act: "move", card, column, place: placeNamed(board, params.place) });
}

export async function boardEdit(node: MeshNode, params: Params<"board-edit">): Promise<Result<"board-edit">> {
  const { mesh, board } = await needBoard(node, params.board);
  // What an editor was opened with may be removed by now: its id was said.
  const card = params.base === null ? cardNamed(board, params.card) : params.card;
  const base = params.base === null ? {} : { base: baseOf(board.board.seen(), params.base, board.title) };
  return edited(mesh, board, card, { act: "edit", card, text: params.text, ...base });
}

export async function boardAssign(node: MeshNode, params: Params<"board-assign">): Promise<Result<"board-assign">> {
  const { mesh, board } = await needBoard(node, params.board);
  const card = cardNamed(board, params.card);
  const to = readersNamed(mesh, board, params.to);
  return edited(mesh, board, card, { act: "assign", card, to, notTo: personsNamed(mesh, params.notTo) });
}

export async function boardCard(node: MeshNode, params: Params<"board-card">): Promise<Result<"board-card">> {
  const { mesh, board } = await needBoard(node, params.board);
  return resultOf(mesh, board, cardNamed(board, params.card));
}

export async function boardRemove(node: MeshNode, params: Params<"board-rm">): Promise<Result<"board-rm">> {
  const { mesh, board } = await needBoard(node, params.board);
  const card = cardNamed(board, params.card);
  const before = resultOf(mesh, board, card);
  await mesh.documents.boards.edit(board.id, { act: "remove", card });
  return { ...before, ...noteItem(mesh, mesh.documents.boards.get(board.id)!), changed: true };
}

export async function boardColumns(node: MeshNode, params: Params<"board-columns">): Promise<Result<"board-columns">> {
  const { mesh, board } = await needBoard(node, params.board);
  const changed =
    params.columns !== null && (await mesh.documents.boards.edit(board.id, { act: "columns", names: params.columns }));
  const now = mesh.documents.boards.get(board.id)!;
  return { ...noteItem(mesh, now), columns: now.board.columns().map(({ name }) => name), changed };
}

async function needBoard(node: MeshNode, typed: string): Promise<{ mesh: Mesh; board: Board }> {
  const mesh = needMembership(node);
  const found = await findNote(mesh, typed);
  if (found.form === "text")
    throw new KinError("USAGE", `"${found.title}" is a text, not a board`, {
      hint: `kin note edit ${formatNoteId(found.id)}`,
    });
  return { mesh, board: found };
}

async function edited(mesh: Mesh, board: Board, card: CardId, act: BoardAct): Promise<BoardResult> {
  const changed = await mesh.documents.boards.edit(board.id, act);
  return { ...resultOf(mesh, mesh.documents.boards.get(board.id)!, card), changed };
}

/** Somebody may have removed it this very moment. @throws KinError NOT_FOUND */
function resultOf(mesh: Mesh, board: Board, card: CardId): BoardResult {
  for (const column of columnItems(mesh, board))
    for (const item of column.cards)
      if (item.id === card) return { ...noteItem(mesh, board), card: item, column: column.name, changed: false };
  throw new KinError("NOT_FOUND", `the card ${card} was removed from "${board.title}"`);
}

/** Whom a card is given to reads it. @throws KinError BAD_REQUEST */
function readersNamed(mesh: Mesh, { persons, title, id }: Board, names: string[]): PersonId[] {
  const named = personsNamed(mesh, names);
  const blind = persons === null ? undefined : named.find((person) => !persons.includes(person));
  if (blind === undefined) return named;
  const name = nameIn(mesh)(blind);
  throw new KinError("BAD_REQUEST", `"${title}" is private, and ${name} can't read it`, {
    hint: `kin note share ${formatNoteId(id)} ${name}`,
  });
}

function placeNamed(board: Board, place: CardPlaceParam): CardPlace {
  if (typeof place === "string") return place;
  return "before" in place ? { before: cardNamed(board, place.before) } : { after: cardNamed(board, place.after) };
}

function cardNamed({ board, title, id }: Board, typed: string): CardId {
  return orHint(() => findCard(board.columns(), typed, title).id, `kin board show ${formatNoteId(id)}`);
}

function columnNamed({ board, title, id }: Board, typed: string): string {
  return orHint(() => findColumn(board.columns(), typed, title), `kin board columns ${formatNoteId(id)}`);
}

function orHint<T>(find: () => T, hint: string): T {
  try {
    return find();
  } catch (error) {
    if (error instanceof KinError) throw new KinError(error.code, error.message, { hint });
    throw error;
  }
}

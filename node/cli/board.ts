/** `kin board new | ls | show | add | move | edit | assign | rm | columns | share`. */
import { firstLine } from "./board-columns.ts";
import type { Context } from "./context.ts";
import { editorOf, saveEdited } from "./editor.ts";
import { EXIT, table } from "./output.ts";
import { ago, columnNames, names, noteNew, noteShow, request, whom } from "./note.ts";
import { readPiped } from "./piped.ts";
import type { BoardResult, CardItem, CardPlaceParam } from "../gateway/control-api.ts";
import { KinError } from "../../protocols/errors.ts";

/** Said to whoever pipes in more, or a picture. */
const TEXT_ONLY = "a card holds UTF-8 text of at most 8192 characters, and no files";

export async function boardNew(
  context: Context,
  title: string,
  options: { for: string; columns: string },
): Promise<number> {
  return noteNew(context, title, { ...options, board: true });
}

export async function boardList(context: Context): Promise<number> {
  const { items } = await request(context, "note-ls", {});
  const boards = items.filter(({ form }) => form === "board");
  context.output.object({ items: boards });
  const rows = boards.map((board) => [
    board.title,
    whom(board),
    `${board.editedBy ?? board.openedBy}, ${ago(board.at)}`,
    String(board.cards),
    board.id,
  ]);
  if (rows.length === 0) context.output.line(`no boards: ${context.command("board new <title>")}`);
  else await table(context.output, ["board", "for", "last changed by", "cards", "id"], rows);
  return EXIT.ok;
}

/** The board, or one card with all its words. */
export async function boardShow(context: Context, board: string, card: string | undefined): Promise<number> {
  if (card === undefined) return noteShow(context, board);
  const result = await request(context, "board-card", { board, card });
  const { output } = context;
  output.object(result);
  const readers = result.card.for.length === 0 ? "" : ` · for ${result.card.for.join(", ")}`;
  output.line(`${result.card.id} · in ${result.column}${readers}`, "dim");
  output.line(result.card.text.trim());
  return EXIT.ok;
}

interface PlaceOptions {
  top?: boolean;
  before?: string;
  after?: string;
}

export async function boardAdd(
  context: Context,
  board: string,
  words: string[],
  options: { column?: string; for?: string; top?: boolean },
): Promise<number> {
  const text = words.length > 0 ? words.join(" ") : await readPiped(true, TEXT_ONLY);
  if (text === null)
    throw new KinError("USAGE", `kin board add ${board} needs what the card says`, {
      hint: `${context.command(`board add ${board} "…"`)}, or pipe it in`,
    });
  const result = await request(context, "board-add", {
    board,
    text: text.trim(),
    column: options.column ?? null,
    place: options.top === true ? "top" : "end",
    for: options.for === undefined ? [] : names(options.for),
  });
  return told(context, result, (card, column) => `${card.short} is in ${column}: ${firstLine(card)}`);
}

export async function boardMove(
  context: Context,
  board: string,
  card: string,
  column: string | undefined,
  options: PlaceOptions,
): Promise<number> {
  const place = placeOf(options);
  if (column === undefined && place === "end")
    throw new KinError("USAGE", `kin board move ${board} ${card} needs to know where to`, {
      hint: "a column, --top, --before <card> or --after <card>",
    });
  const result = await request(context, "board-move", { board, card, column: column ?? null, place });
  return told(context, result, (moved, now) => `${moved.short} is in ${now}: ${firstLine(moved)}`);
}

function placeOf({ top, before, after }: PlaceOptions): CardPlaceParam {
  if (Number(top === true) + Number(before !== undefined) + Number(after !== undefined) > 1)
    throw new KinError("USAGE", "--top, --before and --after: say one of them");
  if (before !== undefined) return { before };
  if (after !== undefined) return { after };
  return top === true ? "top" : "end";
}

/** From `--text`, a pipe, or the editor. */
export async function boardEdit(
  context: Context,
  board: string,
  card: string,
  options: { text?: string },
): Promise<number> {
  const typed = options.text ?? (await readPiped(false, TEXT_ONLY));
  const result =
    typed === null
      ? await editByHand(context, board, card)
      : await request(context, "board-edit", { board, card, text: typed.trim(), base: null });
  return told(context, result, (edited) => `${edited.short} says: ${firstLine(edited)}`);
}

/** What others write while the editor is open stays: the node is told what the editor was opened with. */
async function editByHand(context: Context, board: string, card: string): Promise<BoardResult> {
  const editor = editorOf(context, `board edit ${board} ${card}`, "--text");
  const { id, card: shown } = await request(context, "board-card", { board, card });
  const base = { runs: shown.base, text: shown.text };
  return saveEdited(editor, shown.text, (text) =>
    request(context, "board-edit", { board: id, card: shown.id, text: text.trim(), base }),
  );
}

export async function boardAssign(
  context: Context,
  board: string,
  card: string,
  people: string[],
  options: { remove?: boolean },
): Promise<number> {
  const who = people.flatMap(names);
  const [to, notTo] = options.remove === true ? [[], who] : [who, []];
  const result = await request(context, "board-assign", { board, card, to, notTo });
  return told(context, result, (given) => {
    const readers = given.for.length === 0 ? "nobody" : given.for.join(", ");
    return `${given.short} is for ${readers}: ${firstLine(given)}`;
  });
}

export async function boardRemove(context: Context, board: string, card: string): Promise<number> {
  const result = await request(context, "board-rm", { board, card });
  return told(context, result, (removed) => `${removed.short} is gone: ${firstLine(removed)}`);
}

export async function boardColumns(context: Context, board: string, typed: string | undefined): Promise<number> {
  const columns = typed === undefined ? null : columnNames(typed);
  const result = await request(context, "board-columns", { board, columns });
  context.output.object(result);
  context.output.line(result.columns.join(", "));
  return EXIT.ok;
}

function told({ output }: Context, result: BoardResult, says: (card: CardItem, column: string) => string): number {
  output.object(result);
  output.line(result.changed ? says(result.card, result.column) : "that is so already");
  return EXIT.ok;
}

/** `kin note new | edit | show | share | ls`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { editorOf, saveEdited } from "./editor.ts";
import { EXIT, counted, duration, table } from "./output.ts";
import { readPiped } from "./piped.ts";
import type { NoteItem, Params, Result, Verb } from "../gateway/control-api.ts";
import { KinError } from "../../protocols/errors.ts";

/** Edits without effect that are told with a note, the newest. */
const SHOWN_REFUSED = 3;
/** Said to whoever pipes in more, or a picture. */
const TEXT_ONLY = "a note holds UTF-8 text of at most 1 MiB, and no files";
/** Of a board that is begun without saying them. */
const DEFAULT_COLUMNS = "todo,doing,done";

export async function noteNew(
  context: Context,
  title: string,
  options: { for: string; text?: string; board?: boolean; columns?: string },
): Promise<number> {
  const isBoard = options.board === true || options.columns !== undefined;
  if (isBoard && options.text !== undefined)
    throw new KinError("USAGE", "a board begins with columns, not with a text", {
      hint: `${context.command(`board add ${quoted(title)} "…"`)} afterwards`,
    });
  const columns = isBoard ? columnNames(options.columns ?? DEFAULT_COLUMNS) : null;
  const text = isBoard ? "" : (options.text ?? (await readPiped(false, TEXT_ONLY)) ?? "");
  const note = await request(context, "note-new", { title, for: readers(options.for), text, columns });
  context.output.object(note);
  context.output.line(`"${note.title}" is there for ${whom(note)}`);
  const next = isBoard ? `board add ${quoted(note.title)} "…"` : `note edit ${quoted(note.title)}`;
  context.output.line(context.command(next), "dim");
  return EXIT.ok;
}

/** From `--text`, `--append`, a pipe, or the editor. */
export async function noteEdit(
  context: Context,
  name: string,
  options: { text?: string; append?: string },
): Promise<number> {
  if (options.text !== undefined && options.append !== undefined)
    throw new KinError("USAGE", "--text replaces the note, --append adds to it: say one of them");
  const typed = options.append ?? options.text ?? (await readPiped(false, TEXT_ONLY));
  const append = options.append !== undefined;
  const result =
    typed === null
      ? await editByHand(context, name)
      : await request(context, "note-edit", { note: name, text: typed, append, base: null });
  context.output.object(result);
  context.output.line(result.changed ? `"${result.title}" is changed` : `"${result.title}" says that already`);
  return EXIT.ok;
}

export async function noteShow(context: Context, name: string): Promise<number> {
  const note = await request(context, "note-show", { note: name });
  context.output.object(note);
  context.output.line(`${note.title} · for ${whom(note)}`, "dim");
  if (note.columns === null) context.output.line(note.text.replace(/\n$/, ""));
  else await (await import("./board-columns.ts")).showColumns(context.output, note.columns);
  for (const { by, device, edits, at } of note.editors)
    context.output.line(`${by}@${device} · ${counted(edits, "edit")}, ${ago(at)}`, "dim");
  for (const { by, device, message } of note.refused.slice(-SHOWN_REFUSED))
    context.output.line(`an edit by ${by}@${device} has no effect: ${message}`, "dim");
  if (note.refused.length > 0) context.output.line(context.command(`sync why ${note.refused.at(-1)!.event}`), "dim");
  if (note.waiting > 0) context.output.line(`${note.waiting} edits wait for what they build on`, "dim");
  return EXIT.ok;
}

export async function noteShare(context: Context, name: string, people: string[]): Promise<number> {
  const note = await request(context, "note-share", { note: name, for: people.flatMap(names) });
  context.output.object(note);
  context.output.line(`"${note.title}" is for ${whom(note)} now`);
  return EXIT.ok;
}

export async function noteList(context: Context): Promise<number> {
  const { items } = await request(context, "note-ls", {});
  context.output.object({ items });
  const rows = items.map((note) => [
    note.title,
    whom(note),
    note.editedBy === null ? `${note.openedBy}, ${ago(note.at)}` : `${note.editedBy}, ${ago(note.at)}`,
    note.cards === null ? String(note.characters) : counted(note.cards, "card"),
    note.id,
  ]);
  if (rows.length === 0) context.output.line(`no notes: ${context.command("note new <title>")}`);
  else await table(context.output, ["note", "for", "last changed by", "characters", "id"], rows);
  return EXIT.ok;
}

/** What others write while the editor is open stays: the node is told what the editor was opened with. */
async function editByHand(context: Context, name: string): Promise<Result<"note-edit">> {
  const editor = editorOf(context, `note edit ${name}`, "--text, --append");
  const { id, text: shown, base, form } = await request(context, "note-show", { note: name });
  const save = (text: string): Promise<Result<"note-edit">> =>
    request(context, "note-edit", { note: id, text, append: false, base: { runs: base, text: shown } });
  // A board is no text: the node says what to do.
  return form === "board" ? save("") : saveEdited(editor, shown, save);
}

export async function request<V extends Verb>(context: Context, verb: V, params: Params<V>): Promise<Result<V>> {
  const client = await connectControl(context.home.socketPath);
  const result = await client.request(verb, params, { signal: context.signal });
  client.close();
  return result;
}

export function columnNames(words: string): string[] {
  return words.split(",").map((name) => name.trim());
}

function readers(words: string): "mesh" | string[] {
  return words === "mesh" ? "mesh" : names(words);
}

export function names(words: string): string[] {
  const people = words.split(",").map((word) => word.trim());
  if (people.some((person) => person === ""))
    throw new KinError("USAGE", `"${words}" names nobody in one place, expected names such as ana,li`);
  return people;
}

export function whom(note: NoteItem): string {
  return note.for === "mesh" ? "all members" : note.for.join(", ");
}

export function ago(at: number): string {
  return `${duration(Date.now() - at)} ago`;
}

function quoted(title: string): string {
  return /^[\w./-]+$/.test(title) ? title : JSON.stringify(title);
}

/**
 * What a snapshot holds of notes for the mesh (R16): all that is needed to judge and apply further edits as who has folded every one.
 *
 *   [1, note, form, title, device, stamp]                             how it was opened
 *   [2, note, n, bytes]                                               part n of its state, in its one form (`yjs-state.ts`)
 *   [3, note, client, n, [[end, [[other client, clock]…]]…]]          where updates of a client ended, 64 a row; with each what its
 *                                                                     author had seen of others that he had not when he wrote before
 *   [4, note, device, edits, at]                                      who has edited it: how many that count, wall ms of the newest
 *
 * What an author had seen of himself is where his last update ended, and nobody unsees: so the ends say all that was in the edits'
 * `h`. That a state can follow from its ends is checked before anything begins with it ({@link checkNote}).
 */
import { compareBytes, concat, decode, encode, type Value } from "../../protocols/bytes.ts";
import {
  checkTitle,
  isNoteForm,
  MAX_CLIENT_CLOCK,
  type NoteForm,
  type NoteId,
  type Seen,
} from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type DeviceId } from "../../protocols/ids.ts";
import { checkState } from "./yjs-state.ts";
import { loadDocument, seenBy, type Shape } from "./yjs.ts";

export interface NoteRows {
  id: NoteId;
  form: NoteForm;
  title: string;
  openedBy: DeviceId;
  /** Stamp of its opening. */
  hlc: Uint8Array;
  /** null: nothing was written yet. */
  state: Uint8Array | null;
  /** Client → end → what that update's author had seen. */
  ends: Map<number, Map<number, Seen>>;
  editors: Map<DeviceId, { edits: number; at: number }>;
}

const OPENED = 1;
const STATE = 2;
const ENDS = 3;
const EDITOR = 4;
/** Half of what a row may have. */
const PART_BYTES = 512 * 1024;
/** An end may name 1,023 other clients, each with 14 bytes: under 1 MiB a row. */
const ROW_ENDS = 64;

export function* noteRows({ id, form, title, openedBy, hlc, state, ends, editors }: NoteRows): Generator<Uint8Array> {
  const note = idBytes(id);
  yield encode([OPENED, note, form, title, idBytes(openedBy), hlc]);
  for (let at = 0; at < (state?.length ?? 0); at += PART_BYTES)
    yield encode([STATE, note, at / PART_BYTES, state!.subarray(at, at + PART_BYTES)]);
  for (const [client, byEnd] of ends) {
    const items = endItems(client, byEnd);
    for (let at = 0; at < items.length; at += ROW_ENDS)
      yield encode([ENDS, note, client, at / ROW_ENDS, items.slice(at, at + ROW_ENDS)]);
  }
  for (const [device, { edits, at }] of editors) yield encode([EDITOR, note, idBytes(device), edits, at]);
}

function endItems(client: number, byEnd: ReadonlyMap<number, Seen>): Value[] {
  let before: Seen = new Map();
  return ascending(byEnd).map(([end, seen]) => {
    const news = ascending(seen).filter(([other, clock]) => other !== client && before.get(other) !== clock);
    before = seen;
    return [end, news];
  });
}

function ascending<T>(of: ReadonlyMap<number, T>): [number, T][] {
  return [...of].toSorted(([a], [b]) => a - b);
}

/** In any order. @throws KinError BAD_REQUEST */
export function parseNoteRows(rows: Iterable<Uint8Array>): NoteRows[] {
  const notes = new Map<NoteId, NoteRows & { parts: Uint8Array[] }>();
  // Of one kind and note they ascend by their number.
  const parsed = [...rows].toSorted(compareBytes).map((row) => list(decode(row)));
  for (const [kind, id, ...rest] of parsed) {
    if (kind !== OPENED) continue;
    if (notes.has(idOf(id))) throw bad("a note that is opened twice");
    notes.set(idOf(id), { ...parseOpened(rest), id: idOf(id) });
  }
  for (const [kind, id, ...rest] of parsed) {
    const note = notes.get(idOf(id));
    if (note === undefined) throw bad("a row of one that nobody opened");
    if (kind !== OPENED) parsePart(note, kind, rest);
  }
  return [...notes.values()].map(({ parts, ...note }) => ({
    ...note,
    state: parts.length === 0 ? null : concat(...parts),
  }));
}

function parseOpened([form, title, device, hlc]: Value[]): Omit<NoteRows, "id"> & { parts: Uint8Array[] } {
  if (!isNoteForm(form) || typeof title !== "string")
    throw bad("how it was opened is [1, note, form, title, device, stamp]");
  checkTitle(title);
  if (bytes(hlc).length !== 8) throw bad("a stamp has 8 bytes");
  const opened = { form, title, openedBy: idOf<"device">(bytes(device)), hlc: bytes(hlc) };
  return { ...opened, state: null, parts: [], ends: new Map(), editors: new Map() };
}

function parsePart(note: NoteRows & { parts: Uint8Array[] }, kind: Value | undefined, rest: Value[]): void {
  switch (kind) {
    case STATE: {
      const [n, part] = rest;
      if (n !== note.parts.length) throw bad("a part of its state lacks");
      note.parts.push(bytes(part));
      return;
    }
    case ENDS: {
      const [client, n, items] = rest;
      const byEnd = note.ends.get(count(client)) ?? new Map<number, Seen>();
      note.ends.set(count(client), byEnd);
      if (count(n) * ROW_ENDS !== byEnd.size) throw bad("ends of a client lack");
      parseEnds(count(client), byEnd, list(items));
      return;
    }
    case EDITOR: {
      const [device, edits, at] = rest;
      note.editors.set(idOf(bytes(device)), { edits: count(edits), at: count(at) });
      return;
    }
    default:
      throw bad(`a row of kind ${JSON.stringify(kind)}`);
  }
}

function parseEnds(client: number, byEnd: Map<number, Seen>, items: Value[]): void {
  let [last, before] = [...byEnd].at(-1) ?? [0, new Map<number, number>()];
  for (const item of items) {
    const [end, news] = list(item);
    const to = count(end);
    if (to <= last || to > MAX_CLIENT_CLOCK) throw bad(`an update of client ${client} ends at ${to}`);
    const seen = new Map(before);
    if (last > 0) seen.set(client, last);
    for (const one of list(news)) {
      const [other, clock] = list(one).map(count);
      if (other === undefined || clock === undefined || other === client || clock <= (before.get(other) ?? 0))
        throw bad(`what client ${client} had seen is not more than before`);
      seen.set(other, clock);
    }
    byEnd.set(to, seen);
    [last, before] = [to, seen];
  }
}

/**
 * Whether its state follows from updates that ended where it says, each after what it had seen, and somebody wrote them.
 * @throws KinError BAD_REQUEST
 */
export function checkNote({ state, ends, editors }: NoteRows, shape: Shape): void {
  if (state !== null) checkState(state, shape);
  const seen = state === null ? new Map<number, number>() : seenBy(loadDocument(state));
  for (const [client, byEnd] of ends)
    if ([...byEnd.keys()].at(-1) !== seen.get(client)) throw bad(`its state has not what client ${client} wrote`);
  if (seen.size !== ends.size) throw bad("its state has units that nobody wrote");
  let updates = 0;
  for (const [client, byEnd] of ends)
    for (const known of byEnd.values()) {
      updates++;
      for (const [other, clock] of known)
        if (other !== client) checkSeen(client, known, other, ends.get(other)?.get(clock));
    }
  const edits = [...editors.values()].reduce((sum, one) => sum + one.edits, 0);
  if (edits < updates || [...editors.values()].some((one) => one.edits < 1))
    throw bad(`${updates} updates by editors of ${edits}`);
}

/** As an edit is judged: what was seen is whole. */
function checkSeen(client: number, known: Seen, other: number, theirs: Seen | undefined): void {
  if (theirs === undefined) throw bad(`client ${client} had seen half of an update of client ${other}`);
  for (const [third, least] of theirs)
    if ((known.get(third) ?? 0) < least)
      throw bad(`client ${client} had seen one of client ${other} without what that one had seen`);
}

function list(value: Value | undefined): Value[] {
  if (!Array.isArray(value)) throw bad("a row is a list");
  return value;
}

function bytes(value: Value | undefined): Uint8Array {
  if (!(value instanceof Uint8Array)) throw bad("bytes are expected");
  return value;
}

function count(value: Value | undefined): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw bad("a number from 0 is expected");
  return value;
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", `rows of a note: ${message}`);
}

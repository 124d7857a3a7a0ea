/**
 * The text of a note as Yjs keeps it, and what may become of a foreign update. Yjs itself never sees one that {@link parseTextUpdate}
 * has not read to its last byte: nothing of what it does not expect can throw half way, wait for ever or take another's place.
 *
 *   update (form V1) = [structs of at most one client: the author's] ‖ [deleted ranges]
 *   struct           = text with the unit left and right of it when it was written; a unit is [client, clock], one UTF-16 code
 *
 * An update is right if an honest author could have made it who had seen exactly what it says (`seen`):
 *   - it goes on where the last one of its client ended, and names only units that were seen, or earlier ones of its own;
 *   - what was seen is whole: it ends each client's part where an update of that client ended, with what that one had seen;
 *   - nothing that was seen stands between the left and the right unit of a struct ({@link whyMisplaced}, on a copy).
 * None of this depends on what else a replica has, so all refuse the same, and what remains is what Yjs converges for.
 */
import * as Y from "yjs";
import { sha256 } from "#crypto";
import { encode, utf8Text } from "../../protocols/bytes.ts";
import { MAX_CLIENT_CLOCK, MAX_UPDATE_BYTES, type Seen } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { isLowSurrogate, type Hunk } from "./text-diff.ts";

export interface Unit {
  client: number;
  clock: number;
}

export interface TextUpdate {
  bytes: Uint8Array;
  client: number;
  /** Clocks of its own units: `from ≤ clock < to`; equal if it only deletes. */
  from: number;
  to: number;
  seen: Seen;
  inserts: TextInsert[];
}
export interface TextInsert {
  clock: number;
  /** The unit before it and after it when it was written; null: the beginning, the end. */
  left: Unit | null;
  right: Unit | null;
}

/** Consecutive units of one client, as they stand in the text. */
export interface TextRun extends Unit {
  length: number;
  /** null: deleted. */
  text: string | null;
}

/** Pieces of text in one update: an edit has few. Each may cost Yjs a walk past all that is concurrent to it. */
export const MAX_UPDATE_STRUCTS = 1024;
const MAX_DELETED_RANGES = 4096;
const ROOT = "text";
const CONTENT_STRING = 4;
const CONTENT_BITS = 0x1f;
const HAS_LEFT = 0x80;
const HAS_RIGHT = 0x40;
/** Parent information says the name of a root. */
const ROOT_PARENT = 1;

// ── reading ──

/** Reads an update that `client` is to have written after what it had `seen`. @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseTextUpdate(bytes: Uint8Array, client: number, seen: Seen): TextUpdate {
  if (bytes.length > MAX_UPDATE_BYTES)
    throw new KinError("TOO_LARGE", `an update of ${bytes.length} bytes: at most ${MAX_UPDATE_BYTES}`);
  const reader = createReader(bytes);
  const from = seen.get(client) ?? 0;
  const update: TextUpdate = { bytes, client, from, to: from, seen, inserts: [] };
  const clients = reader.count("clients");
  if (clients > 1) throw bad(`structs of ${clients} clients in one update: an author writes as one`);
  if (clients === 1) readStructs(reader, update);
  const ranges = readDeleted(reader, update);
  if (!reader.ended()) throw bad("bytes after its end");
  if (update.inserts.length + ranges === 0) throw bad("an update that changes nothing");
  return update;
}

function readStructs(reader: Reader, update: TextUpdate): void {
  const structs = reader.count("structs");
  if (structs === 0 || structs > MAX_UPDATE_STRUCTS) throw bad(`${structs} structs: 1 to ${MAX_UPDATE_STRUCTS}`);
  const client = reader.count("a client id");
  if (client !== update.client) throw bad(`structs of client ${client}: its author's log writes as ${update.client}`);
  const from = reader.count("a clock");
  if (from !== update.from) throw bad(`structs from clock ${from}: their author says that he was at ${update.from}`);
  for (let i = 0; i < structs; i++) readStruct(reader, update);
}

function readStruct(reader: Reader, update: TextUpdate): void {
  const info = reader.byte();
  if ((info & CONTENT_BITS) !== CONTENT_STRING || (info & 0x20) !== 0)
    throw bad(`a struct of kind 0x${info.toString(16)}: a note is text`);
  const isOwn = (unit: Unit): boolean => unit.client === update.client && unit.clock < update.to;
  const readUnit = (): Unit => {
    const unit = { client: reader.count("a client id"), clock: reader.count("a clock") };
    if (!isOwn(unit) && unit.clock >= seenOf(update, unit.client))
      throw bad(`unit ${unit.client}:${unit.clock} is named, and was not seen`);
    return unit;
  };
  const left = (info & HAS_LEFT) !== 0 ? readUnit() : null;
  const right = (info & HAS_RIGHT) !== 0 ? readUnit() : null;
  if (left === null && right === null && (reader.count("a parent") !== ROOT_PARENT || reader.text() !== ROOT))
    throw bad(`text outside of "${ROOT}"`);
  const length = reader.text().length;
  if (length === 0) throw bad("an empty piece of text");
  update.inserts.push({ clock: update.to, left, right });
  update.to += length;
  if (update.to > MAX_CLIENT_CLOCK)
    throw new KinError("TOO_LARGE", `over ${MAX_CLIENT_CLOCK} units of one log in one note: begin a new note`);
}

function seenOf(update: TextUpdate, client: number): number {
  return client === update.client ? update.from : (update.seen.get(client) ?? 0);
}

/** How many ranges there were. */
function readDeleted(reader: Reader, update: TextUpdate): number {
  let ranges = 0;
  let lastClient = Infinity;
  for (let clients = reader.count("clients"); clients > 0; clients--) {
    const client = reader.count("a client id");
    if (client >= lastClient) throw bad("deleted ranges are not in the order of their clients");
    lastClient = client;
    const count = reader.count("ranges");
    ranges += count;
    if (count === 0 || ranges > MAX_DELETED_RANGES) throw bad(`${ranges} deleted ranges: 1 to ${MAX_DELETED_RANGES}`);
    for (let i = 0, end = -1; i < count; i++) {
      const clock = reader.count("a clock");
      const length = reader.count("a length");
      if (clock <= end || length === 0) throw bad("deleted ranges are not apart and ascending");
      end = clock + length;
      if (end > seenOf(update, client)) throw bad(`units of ${client} up to ${end} are deleted, and were not seen`);
    }
  }
  return ranges;
}

interface Reader {
  byte(): number;
  /** An unsigned number in its shortest form, at most 2^53 − 1. */
  count(what: string): number;
  text(): string;
  ended(): boolean;
}

function createReader(bytes: Uint8Array): Reader {
  let at = 0;
  const byte = (): number => {
    if (at >= bytes.length) throw bad("it ends early");
    return bytes[at++]!;
  };
  const count = (what: string): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const next = byte();
      value += (next & 0x7f) * factor;
      if (value > Number.MAX_SAFE_INTEGER) throw bad(`${what} is over 2^53 − 1`);
      if (next >= 0x80) continue;
      if (next === 0 && factor > 1) throw bad(`${what} has a shorter form`);
      return value;
    }
  };
  return {
    byte,
    count,
    text() {
      const length = count("a length");
      if (length > bytes.length - at) throw bad("it ends early");
      at += length;
      try {
        return utf8Text(bytes.subarray(at - length, at));
      } catch {
        throw bad("text that is not UTF-8");
      }
    },
    ended: () => at === bytes.length,
  };
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", `an update of a note: ${message}`);
}

// ── the text ──

export interface NoteText {
  text(): string;
  /** Runs in the order of the text, deleted ones too; the same however the text was put together. */
  runs(): TextRun[];
  /** How many units of each client it has. */
  seen(): Seen;
  /** Applies updates that were tried. */
  apply(updates: readonly Uint8Array[]): void;
  /** All of it as one update; of what is deleted only the places. */
  state(): Uint8Array;
  /** Of text, places of what was deleted and clients: equal on replicas that applied the same updates. */
  hash(): Uint8Array;
}

export function createNoteText(state: Uint8Array | null = null): NoteText {
  const doc = new Y.Doc();
  if (state !== null) Y.applyUpdate(doc, state);
  const root = doc.getText(ROOT);
  const runs = (): TextRun[] => runsOf(root);
  const seen = (): Seen => Y.decodeStateVector(Y.encodeStateVector(doc));
  return {
    text: () => root.toJSON(),
    runs,
    seen,
    apply(updates) {
      doc.transact(() => {
        for (const update of updates) Y.applyUpdate(doc, update);
      });
      if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null)
        throw new KinError("INTERNAL", "an update was applied before what it needs");
    },
    state: () => Y.encodeStateAsUpdate(doc),
    hash: () =>
      sha256(
        encode([
          runs().map(({ client, clock, length, text }) => [client, clock, text ?? length]),
          [...seen()].toSorted(([a], [b]) => a - b),
        ]),
      ),
  };
}

function runsOf(root: Y.Text): TextRun[] {
  const runs: TextRun[] = [];
  for (let item = root._start; item !== null; item = item.right) {
    const { client, clock } = item.id;
    const text = item.deleted ? null : (item.content as Y.ContentString).str;
    const last = runs.at(-1);
    const goesOn =
      last?.client === client && last.clock + last.length === clock && (last.text === null) === item.deleted;
    if (!goesOn) runs.push({ client, clock, length: item.length, text });
    else {
      last.length += item.length;
      if (text !== null) last.text += text;
    }
  }
  return runs;
}

// ── trying ──

/**
 * Applies updates, one after the other, to a copy. Returns how many were right; of the next one, why it is not.
 * Expects what they have seen to be in `state` or among those before.
 */
export function tryTextUpdates(
  state: Uint8Array,
  updates: readonly TextUpdate[],
): { right: number; refused: string | null } {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, state);
  for (const [right, update] of updates.entries()) {
    Y.applyUpdate(doc, update.bytes);
    const refused = whyMisplaced(doc, update);
    if (refused !== null) return { right, refused };
  }
  return { right: updates.length, refused: null };
}

/** Why its author can't have written this where he says, or null. */
function whyMisplaced(doc: Y.Doc, update: TextUpdate): string | null {
  if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null) return "it needs what it has not seen";
  const root = doc.getText(ROOT);
  for (const insert of update.inserts)
    if (!isBetween(root, doc.store, update, insert))
      return `what it puts at clock ${insert.clock} does not stand between units that were neighbours for its author`;
  return null;
}

function isBetween(
  root: Y.Text,
  store: Y.Doc["store"],
  update: TextUpdate,
  { clock, left, right }: TextInsert,
): boolean {
  let found = false;
  for (const run of unitsAfter(root, store, left)) {
    const end = run.clock + run.length;
    const meetsRight = right !== null && run.client === right.client && run.clock <= right.clock && right.clock < end;
    const isEmpty = meetsRight && right.clock === run.clock;
    const known = run.client === update.client ? clock : (update.seen.get(run.client) ?? 0);
    if (!isEmpty && run.clock < known) return false;
    found ||= run.client === update.client && run.clock <= clock && clock < end;
    if (meetsRight) return found;
  }
  return found && right === null;
}

/** What stands after `left` (null: everything), to the end. */
function* unitsAfter(root: Y.Text, store: Y.Doc["store"], left: Unit | null): Generator<Unit & { length: number }> {
  let item = root._start;
  if (left !== null) {
    const holder = Y.getItem(store, Y.createID(left.client, left.clock));
    const rest = holder.id.clock + holder.length - left.clock - 1;
    if (rest > 0) yield { client: left.client, clock: left.clock + 1, length: rest };
    item = holder.right;
  }
  for (; item !== null; item = item.right) yield { client: item.id.client, clock: item.id.clock, length: item.length };
}

// ── writing ──

/** Text of one update: with it the largest stays under what an event may hold (4 bytes a unit at most). */
const MAX_INSERT_UNITS = 16 * 1024;

/**
 * The updates that `client` makes to turn what a reader saw (`base`: its visible runs then) into what he made of it (`hunks`, of
 * that text), wherever its units stand now. Returns each with what it has seen.
 */
export function writeText(
  state: Uint8Array,
  client: number,
  base: readonly TextRun[],
  hunks: readonly Hunk[],
): { seen: Seen; bytes: Uint8Array }[] {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, state);
  doc.clientID = client;
  const root = doc.getText(ROOT);
  const made: { seen: Seen; bytes: Uint8Array }[] = [];
  let seen: Seen = new Map();
  doc.on("update", (bytes: Uint8Array) => made.push({ seen, bytes }));
  const transact = (run: () => void): void => {
    seen = Y.decodeStateVector(Y.encodeStateVector(doc));
    doc.transact(run);
  };
  // From the end, so that places before stay where they are.
  for (const { at, removed, inserted } of hunks.toReversed()) {
    const [first = "", ...others] = pieces(inserted);
    let place = placeAfter(root, unitAt(base, at - 1));
    transact(() => {
      for (const { index, length } of visibleRanges(root, base, at, removed)) root.delete(index, length);
      root.insert(place, first);
    });
    place += first.length;
    for (const piece of others) {
      transact(() => root.insert(place, piece));
      place += piece.length;
    }
  }
  return made;
}

/** Never between the two halves of a character outside the basic plane: alone they are no text. */
function pieces(text: string): string[] {
  const out: string[] = [];
  for (let at = 0; at < text.length;) {
    let end = Math.min(at + MAX_INSERT_UNITS, text.length);
    if (end < text.length && isLowSurrogate(text.charCodeAt(end))) end--;
    out.push(text.slice(at, end));
    at = end;
  }
  return out;
}

/** The unit at `index` of what the runs show; null: before the first. */
function unitAt(runs: readonly TextRun[], index: number): Unit | null {
  if (index < 0) return null;
  let rest = index;
  for (const { client, clock, length, text } of runs) {
    if (text === null) continue;
    if (rest < length) return { client, clock: clock + rest };
    rest -= length;
  }
  throw new KinError("INTERNAL", `there is no unit ${index} in a text of ${index - rest}`);
}

/** Where something directly after this unit goes, also if the unit is deleted by now. */
function placeAfter(root: Y.Text, unit: Unit | null): number {
  if (unit === null) return 0;
  let index = 0;
  for (const { client, clock, length, text } of runsOf(root)) {
    const isHere = client === unit.client && clock <= unit.clock && unit.clock < clock + length;
    if (isHere) return text === null ? index : index + unit.clock - clock + 1;
    if (text !== null) index += length;
  }
  throw new KinError("NOT_FOUND", "what was edited is not of this note");
}

/** Where `count` units of the base from `at` on are visible now; the last first. */
function visibleRanges(root: Y.Text, base: readonly TextRun[], at: number, count: number) {
  const gone = unitsOf(base, at, count);
  const ranges: { index: number; length: number }[] = [];
  let index = 0;
  for (const { client, clock, length, text } of runsOf(root)) {
    if (text === null) continue;
    for (let i = 0; i < length; i++, index++) {
      if (gone.get(client)?.has(clock + i) !== true) continue;
      const last = ranges.at(-1);
      if (last !== undefined && last.index + last.length === index) last.length++;
      else ranges.push({ index, length: 1 });
    }
  }
  return ranges.toReversed();
}

/** `count` visible units from `at` on: client → clocks. */
function unitsOf(runs: readonly TextRun[], at: number, count: number): Map<number, Set<number>> {
  const units = new Map<number, Set<number>>();
  let index = 0;
  for (const { client, clock, length, text } of runs) {
    if (text === null) continue;
    const clocks = units.get(client) ?? new Set<number>();
    units.set(client, clocks);
    for (let i = Math.max(0, at - index); i < Math.min(length, at + count - index); i++) clocks.add(clock + i);
    index += length;
  }
  return units;
}

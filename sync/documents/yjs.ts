/**
 * Documents that Yjs keeps, and what may become of a foreign update. Yjs itself never sees one that {@link parseUpdate} has not
 * read to its last byte: nothing of what it does not expect can throw half way, wait for ever or take another's place. What a
 * document of some form is made of, roots, texts and entries, says its {@link Shape}.
 *
 *   update (form V1) = [structs of at most one client: the author's] ‖ [deleted ranges]
 *   struct           = text or an entry, with the unit left and right of it when it was written; a unit is [client, clock], one
 *                      UTF-16 code of a text or one entry
 *   chain            = a text: units from left to right; or all entries under one key: the last one counts, if it is not deleted
 *
 * An update is right if an honest author could have made it who had seen exactly what it says (`seen`):
 *   - it goes on where the last one of its client ended, and names only units that were seen, or earlier ones of its own;
 *   - what was seen is whole: it ends each client's part where an update of that client ended, with what that one had seen;
 *   - nothing that was seen stands between the left and the right unit of a struct ({@link whyMisplaced}, on a copy);
 *   - the chain that it stands in is one that a document of this form has, with a value that may stand there.
 * None of this depends on what else a replica has, so all refuse the same, and what remains is what Yjs converges for.
 */
import * as Y from "yjs";
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import { MAX_CLIENT_CLOCK, MAX_UPDATE_BYTES, type Seen } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Tried } from "./arrivals.ts";

export type YDoc = Y.Doc;
export type YText = Y.Text;
export type YItem = Y.Item;

export interface Unit {
  client: number;
  clock: number;
}

export interface Update {
  bytes: Uint8Array;
  client: number;
  /** Clocks of its own units: `from ≤ clock < to`; equal if it only deletes. */
  from: number;
  to: number;
  seen: Seen;
  inserts: Insert[];
  deleted: Range[];
}
/** Units of one client. */
export interface Range {
  client: number;
  clock: number;
  length: number;
}
export interface Insert {
  clock: number;
  /** The unit before it and after it when it was written; null: the beginning, the end. */
  left: Unit | null;
  right: Unit | null;
  /** Of an entry; null: text. */
  value: string | null;
}

/** What documents of one form are made of. */
export interface Shape {
  /** "a note", for refusals. */
  name: string;
  /** "text", for refusals. */
  content: string;
  hasEntries: boolean;
  /** Why such a document has no such text (`key` and `value` null) or entry, or null. */
  refuses(root: string, key: string | null, value: string | null): string | null;
}

/** What has a name in a document: a text, or entries. */
type Root = ReturnType<Y.Doc["get"]>;

/** Consecutive units of one client, as they stand in a chain. */
export interface Run extends Unit {
  length: number;
  /** Text, or the value of an entry; null: deleted. */
  text: string | null;
}

/** Pieces of one update: an edit has few. Each may cost Yjs a walk past all that is concurrent to it. */
export const MAX_UPDATE_STRUCTS = 1024;
const MAX_DELETED_RANGES = 4096;
/** What an entry says: a few words. Bytes of UTF-8. */
const MAX_VALUE_BYTES = 256;
export const CONTENT_STRING = 4;
export const CONTENT_ANY = 8;
export const CONTENT_BITS = 0x1f;
export const HAS_LEFT = 0x80;
export const HAS_RIGHT = 0x40;
export const HAS_KEY = 0x20;
/** Parent information says the name of a root. */
export const ROOT_PARENT = 1;
/** A value of lib0 (`writeAny`) that is text. */
const ANY_TEXT = 119;

// ── reading ──

/** Reads an update that `client` is to have written after what it had `seen`. @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseUpdate(bytes: Uint8Array, client: number, seen: Seen, shape: Shape): Update {
  if (bytes.length > MAX_UPDATE_BYTES)
    throw new KinError("TOO_LARGE", `an update of ${bytes.length} bytes: at most ${MAX_UPDATE_BYTES}`);
  const bad = (message: string): KinError => badUpdate(shape, message);
  const reader = createReader(bytes, bad);
  const from = seen.get(client) ?? 0;
  const update: Update = { bytes, client, from, to: from, seen, inserts: [], deleted: [] };
  const clients = reader.count("clients");
  if (clients > 1) throw bad(`structs of ${clients} clients in one update: an author writes as one`);
  if (clients === 1) readStructs(reader, update, shape, bad);
  readDeleted(reader, update, bad);
  if (!reader.ended()) throw bad("bytes after its end");
  if (update.inserts.length + update.deleted.length === 0) throw bad("an update that changes nothing");
  return update;
}

export type Bad = (message: string) => KinError;

function readStructs(reader: Reader, update: Update, shape: Shape, bad: Bad): void {
  const structs = reader.count("structs");
  if (structs === 0 || structs > MAX_UPDATE_STRUCTS) throw bad(`${structs} structs: 1 to ${MAX_UPDATE_STRUCTS}`);
  const client = reader.count("a client id");
  if (client !== update.client) throw bad(`structs of client ${client}: its author's log writes as ${update.client}`);
  const from = reader.count("a clock");
  if (from !== update.from) throw bad(`structs from clock ${from}: their author says that he was at ${update.from}`);
  for (let i = 0; i < structs; i++) readStruct(reader, update, shape, bad);
}

function readStruct(reader: Reader, update: Update, shape: Shape, bad: Bad): void {
  const info = reader.byte();
  const isText = (info & (CONTENT_BITS | HAS_KEY)) === CONTENT_STRING;
  // Whoever sets an entry knows none to its right.
  const isEntry = shape.hasEntries && (info | HAS_LEFT) === (CONTENT_ANY | HAS_KEY | HAS_LEFT);
  if (!isText && !isEntry) throw bad(`a struct of kind 0x${info.toString(16)}: ${shape.name} is ${shape.content}`);
  const isOwn = (unit: Unit): boolean => unit.client === update.client && unit.clock < update.to;
  const readUnit = (): Unit => {
    const unit = { client: reader.count("a client id"), clock: reader.count("a clock") };
    if (!isOwn(unit) && unit.clock >= seenOf(update, unit.client))
      throw bad(`unit ${unit.client}:${unit.clock} is named, and was not seen`);
    return unit;
  };
  const left = (info & HAS_LEFT) !== 0 ? readUnit() : null;
  const right = (info & HAS_RIGHT) !== 0 ? readUnit() : null;
  const isFirst = left === null && right === null;
  if (isFirst && reader.count("a parent") !== ROOT_PARENT) throw bad(`${shape.content} inside of something`);
  const root = isFirst ? reader.text() : null;
  const key = isFirst && isEntry ? reader.text() : null;
  const value = isEntry ? readValue(reader, bad) : null;
  const length = isEntry ? 1 : reader.text().length;
  if (length === 0) throw bad("an empty piece of text");
  // Where it has neighbours, they say where it stands: that is seen on a copy.
  const refusal = root === null ? null : shape.refuses(root, key, value);
  if (refusal !== null) throw bad(refusal);
  update.inserts.push({ clock: update.to, left, right, value });
  update.to += length;
  if (update.to > MAX_CLIENT_CLOCK)
    throw new KinError("TOO_LARGE", `over ${MAX_CLIENT_CLOCK} units of one log in ${shape.name}: begin a new one`);
}

export function readValue(reader: Reader, bad: Bad): string {
  if (reader.count("values") !== 1 || reader.byte() !== ANY_TEXT) throw bad("an entry that is not one text");
  const value = reader.text();
  if (utf8Bytes(value).length > MAX_VALUE_BYTES) throw bad(`an entry of over ${MAX_VALUE_BYTES} bytes`);
  return value;
}

function seenOf(update: Update, client: number): number {
  return client === update.client ? update.from : (update.seen.get(client) ?? 0);
}

function readDeleted(reader: Reader, update: Update, bad: Bad): void {
  const { deleted } = update;
  let lastClient = Infinity;
  for (let clients = reader.count("clients"); clients > 0; clients--) {
    const client = reader.count("a client id");
    if (client >= lastClient) throw bad("deleted ranges are not in the order of their clients");
    lastClient = client;
    const count = reader.count("ranges");
    const ranges = deleted.length + count;
    if (count === 0 || ranges > MAX_DELETED_RANGES) throw bad(`${ranges} deleted ranges: 1 to ${MAX_DELETED_RANGES}`);
    for (let i = 0, end = -1; i < count; i++) {
      const clock = reader.count("a clock");
      const length = reader.count("a length");
      if (clock <= end || length === 0) throw bad("deleted ranges are not apart and ascending");
      end = clock + length;
      if (end > seenOf(update, client)) throw bad(`units of ${client} up to ${end} are deleted, and were not seen`);
      deleted.push({ client, clock, length });
    }
  }
}

export interface Reader {
  byte(): number;
  /** An unsigned number in its shortest form, at most 2^53 − 1. */
  count(what: string): number;
  text(): string;
  ended(): boolean;
}

export function createReader(bytes: Uint8Array, bad: Bad): Reader {
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

function badUpdate({ name }: Shape, message: string): KinError {
  return new KinError("BAD_REQUEST", `an update of ${name}: ${message}`);
}

// ── the document ──

/** What documents of all forms have. */
export interface SharedDocument {
  /** How many units of each client it has. */
  seen(): Seen;
  /** Applies updates that were tried. */
  apply(updates: readonly Uint8Array[]): void;
  /** All of it as one update; of what is deleted only the places. */
  state(): Uint8Array;
  /** Of what it says, places of what was deleted and clients: equal on replicas that applied the same updates. */
  hash(): Uint8Array;
}

export function loadDocument(state: Uint8Array | null): Y.Doc {
  const doc = new Y.Doc();
  if (state !== null) Y.applyUpdate(doc, state);
  return doc;
}

/**
 * All of it as one update, the same bytes as Yjs's own. That one looks for the name of each root among all roots for each chain
 * that has one: with a root for each card of a board it is quadratic. Where it finds the name itself it asks nobody.
 */
export function encodeState(doc: Y.Doc): Uint8Array {
  const names = new Map([...doc.share].map(([name, root]) => [root as Y.Item["parent"], name]));
  const first = [...doc.store.clients.values()].flatMap((structs) =>
    structs.filter(
      (item): item is Y.Item => item instanceof Y.Item && item.origin === null && item.rightOrigin === null,
    ),
  );
  const parents = first.map(({ parent }) => parent);
  try {
    for (const item of first) item.parent = names.get(item.parent) as unknown as Y.Item["parent"];
    return Y.encodeStateAsUpdate(doc);
  } finally {
    for (const [i, item] of first.entries()) item.parent = parents[i]!;
  }
}

/** With what these updates have deleted: its text too. */
export function loadWithDeleted(state: Uint8Array, updates: readonly Uint8Array[]): Y.Doc {
  const doc = new Y.Doc({ gc: false });
  for (const update of [state, ...updates]) Y.applyUpdate(doc, update);
  return doc;
}

export function seenBy(doc: Y.Doc): Seen {
  return Y.decodeStateVector(Y.encodeStateVector(doc));
}

export function applyUpdates(doc: Y.Doc, updates: readonly Uint8Array[]): void {
  doc.transact(() => {
    for (const update of updates) Y.applyUpdate(doc, update);
  });
  if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null)
    throw new KinError("INTERNAL", "an update was applied before what it needs");
}

/** Runs of a chain from this unit on, deleted ones too; the same however the chain was put together. */
export function runsFrom(first: Y.Item | null): Run[] {
  const runs: Run[] = [];
  for (let item = first; item !== null; item = item.right) {
    const { client, clock } = item.id;
    const text = item.deleted ? null : textOf(item.content);
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

/** Text of units, the value of an entry; of what was deleted only where it is kept. */
export function textOf(content: Y.Item["content"]): string {
  return content instanceof Y.ContentAny ? String(content.arr[0]) : (content as Y.ContentString).str;
}

/** What an entry says. */
export function valueOf({ deleted, content }: Y.Item): string | null {
  return deleted ? null : textOf(content);
}

/** What stands first in a text (null), or under a key. */
export function firstOf(root: Root, key: string | null): Y.Item | null {
  let item = key === null ? root._start : (root._map.get(key) ?? null);
  while (item !== null && item.left !== null) item = item.left;
  return item;
}

/** An update as its author makes it, and what he had seen. */
export interface MadeUpdate {
  seen: Seen;
  bytes: Uint8Array;
}

/** The updates that `client` makes: one for each transaction. */
export function writeAs(
  state: Uint8Array,
  client: number,
  write: (doc: Y.Doc, transact: (run: () => void) => void) => void,
): MadeUpdate[] {
  const doc = loadDocument(state);
  doc.clientID = client;
  const made: MadeUpdate[] = [];
  let seen: Seen = new Map();
  doc.on("update", (bytes: Uint8Array) => made.push({ seen, bytes }));
  write(doc, (run) => {
    seen = seenBy(doc);
    doc.transact(run);
  });
  return made;
}

// ── trying ──

/**
 * Applies updates, one after the other, to a copy. Returns how many were right; of the next one, why it is not.
 * Expects what they have seen to be in `state` or among those before.
 */
export function tryUpdates(state: Uint8Array, updates: readonly Update[], shape: Shape): Tried {
  const doc = loadDocument(state);
  const nameOf = createNames(doc);
  for (const [right, update] of updates.entries()) {
    Y.applyUpdate(doc, update.bytes);
    const refused = whyMisplaced(doc, update, shape, nameOf);
    if (refused !== null) return { right, refused };
  }
  return { right: updates.length, refused: null };
}

/** Names of roots, also of those that come. */
function createNames(doc: Y.Doc): (root: Root) => string {
  const names = new Map<Root, string>();
  return (root) => {
    if (!names.has(root)) for (const [name, one] of doc.share) names.set(one, name);
    return names.get(root)!;
  };
}

/** Why its author can't have written this where he says, or null. */
function whyMisplaced(doc: Y.Doc, update: Update, shape: Shape, nameOf: (root: Root) => string): string | null {
  if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null) return "it needs what it has not seen";
  for (const insert of update.inserts) {
    const { parent, parentSub: key } = Y.getItem(doc.store, Y.createID(update.client, insert.clock));
    const root = parent as Root;
    const refusal = shape.refuses(nameOf(root), key, insert.value);
    if (refusal !== null) return refusal;
    if (!isBetween(() => firstOf(root, key), doc.store, update, insert))
      return `what it puts at clock ${insert.clock} does not stand between units that were neighbours for its author`;
  }
  return null;
}

function isBetween(
  first: () => Y.Item | null,
  store: Y.Doc["store"],
  update: Update,
  { clock, left, right }: Insert,
): boolean {
  let found = false;
  for (const run of unitsAfter(first, store, left)) {
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

/** What stands in a chain after `left` (null: everything), to the end. */
function* unitsAfter(
  first: () => Y.Item | null,
  store: Y.Doc["store"],
  left: Unit | null,
): Generator<Unit & { length: number }> {
  let item: Y.Item | null;
  if (left === null) item = first();
  else {
    const holder = Y.getItem(store, Y.createID(left.client, left.clock));
    const rest = holder.id.clock + holder.length - left.clock - 1;
    if (rest > 0) yield { client: left.client, clock: left.clock + 1, length: rest };
    item = holder.right;
  }
  for (; item !== null; item = item.right) yield { client: item.id.client, clock: item.id.clock, length: item.length };
}

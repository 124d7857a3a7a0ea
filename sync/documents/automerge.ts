/**
 * Records as Automerge keeps them, and what may become of a foreign change. Automerge itself never sees one that
 * {@link parseChange} has not read to its last byte: it takes single change chunks that are not compressed, and of them only what
 * sets and unsets keys of the root. Source of the format: automerge.org/automerge-binary-format-spec, "Change chunk".
 *
 *   chunk   = 85 6f 4a 83 ‖ first 4 bytes of the hash ‖ 01 ‖ uleb length ‖ contents;   hash = SHA-256(01 ‖ length ‖ contents)
 *   contents = deps ‖ actor ‖ seq ‖ start op ‖ time ‖ message ‖ other actors ‖ columns ‖ their bytes;   no more after them
 *
 * A change is right if an honest author could have made it who had exactly its deps: his last change is among them (`seq`), its
 * operations are numbered from the next one on (`startOp`), what it replaces was set there, under the same key.
 */
import * as A from "@automerge/automerge";
import { sha256 } from "#crypto";
import { compareBytes, toHex, utf8Text } from "../../protocols/bytes.ts";
import { MAX_CHANGE_BYTES } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Tried } from "./arrivals.ts";

export type Setting = string | number | boolean | null;

export interface RecordChange {
  bytes: Uint8Array;
  /** Lower-case hex, as are `deps`. */
  hash: string;
  actor: string;
  /** From 1. */
  seq: number;
  startOp: number;
  deps: string[];
  ops: ChangeOp[];
}
export interface ChangeOp {
  key: string;
  /** undefined: unset. */
  value: Setting | undefined;
  /** `counter@actor` of the operations that it takes the place of. */
  replaces: string[];
}

/** A record is a page of settings; a change touches few. */
export const MAX_CHANGE_OPS = 64;
/** Changes of one log in one record: Automerge takes milliseconds for each. */
export const MAX_RECORD_SEQ = 4096;
const MAX_DEPS = 64;
const MAX_ACTORS = 64;
const MAX_TEXT_BYTES = 4096;
const MAX_OP_COUNTER = 2 ** 31;
const KEY_PATTERN = /^[a-z][a-zA-Z0-9-]{0,63}$/;

const MAGIC = Uint8Array.of(0x85, 0x6f, 0x4a, 0x83);
const CHANGE_CHUNK = 1;
const ACTOR_BYTES = 16;
const HASH_BYTES = 32;
const SET = 1;
const DELETE = 3;
/** Specification and type of the columns that a change of root keys has, ascending. */
const COLUMN = {
  key: 0x15,
  insert: 0x34,
  action: 0x42,
  meta: 0x56,
  raw: 0x57,
  count: 0x70,
  actor: 0x71,
  counter: 0x73,
};

// ── reading ──

/** Reads a change that `actor` is to have made. @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseChange(bytes: Uint8Array, actor: string): RecordChange {
  if (bytes.length > MAX_CHANGE_BYTES)
    throw new KinError("TOO_LARGE", `a change of ${bytes.length} bytes: at most ${MAX_CHANGE_BYTES}`);
  const reader = createReader(bytes);
  if (compareBytes(reader.bytes(4), MAGIC) !== 0) throw bad("it does not begin as one of Automerge");
  const checksum = reader.bytes(4);
  const hashed = bytes.subarray(8);
  const type = reader.byte();
  if (type !== CHANGE_CHUNK) throw bad(`a chunk of type ${type}: a change that is not compressed is ${CHANGE_CHUNK}`);
  if (reader.uint() !== reader.left()) throw bad("its length is not that of its bytes");
  const hash = sha256(hashed);
  if (compareBytes(hash.subarray(0, 4), checksum) !== 0) throw bad("its checksum is not that of its bytes");
  const deps = reader.list(MAX_DEPS, () => toHex(reader.bytes(HASH_BYTES)));
  if (deps.some((dep, i) => i > 0 && deps[i - 1]! >= dep)) throw bad("its deps are not strictly ascending");
  const author = readActor(reader);
  if (author !== actor) throw bad(`a change of actor ${author}: its author's log writes as ${actor}`);
  const seq = reader.uint();
  if (seq < 1 || seq > MAX_RECORD_SEQ) throw bad(`its seq is ${seq}: 1 to ${MAX_RECORD_SEQ}`);
  const startOp = reader.uint();
  if (startOp < 1 || startOp > MAX_OP_COUNTER) throw bad(`its first operation is ${startOp}`);
  if (reader.int() !== 0 || reader.uint() !== 0) throw bad("time and message are those of the event: 0 and none");
  const actors = [actor, ...reader.list(MAX_ACTORS, () => readActor(reader))];
  if (new Set(actors).size !== actors.length) throw bad("an actor is named twice");
  return { bytes, hash: toHex(hash), actor, seq, startOp, deps, ops: readOps(readColumns(reader), actors) };
}

/** Who is to have made it, as it says itself; null: that can't be read. */
export function authorOf(bytes: Uint8Array): string | null {
  const reader = createReader(bytes);
  try {
    reader.bytes(MAGIC.length + 4);
    reader.byte();
    reader.uint();
    reader.list(MAX_DEPS, () => reader.bytes(HASH_BYTES));
    return readActor(reader);
  } catch {
    return null;
  }
}

function readActor(reader: Reader): string {
  if (reader.uint() !== ACTOR_BYTES) throw bad(`an actor is ${ACTOR_BYTES} bytes`);
  return toHex(reader.bytes(ACTOR_BYTES));
}

type Columns = { [Name in keyof typeof COLUMN]: Uint8Array };

function readColumns(reader: Reader): Columns {
  const named = reader.list(Object.keys(COLUMN).length, () => ({ spec: reader.uint(), length: reader.uint() }));
  const columns = Object.fromEntries(Object.keys(COLUMN).map((name) => [name, new Uint8Array()])) as Columns;
  let last = 0;
  for (const { spec, length } of named) {
    const name = (Object.keys(COLUMN) as (keyof typeof COLUMN)[]).find((one) => COLUMN[one] === spec);
    if (name === undefined || spec <= last)
      throw bad(`column 0x${spec.toString(16)}: a record has keys and plain values`);
    last = spec;
    columns[name] = reader.bytes(length);
  }
  if (reader.left() > 0) throw bad("bytes after its end");
  return columns;
}

function readOps(columns: Columns, actors: string[]): ChangeOp[] {
  const actions = decodeRuns(columns.action, MAX_CHANGE_OPS, (reader) => reader.uint());
  const count = actions.length;
  if (count === 0) throw bad("a change that changes nothing");
  const keys = decodeRuns(columns.key, count, (reader) => reader.text());
  const metas = decodeRuns(columns.meta, count, (reader) => reader.uint());
  const counts = decodeRuns(columns.count, count, (reader) => reader.uint());
  checkNoInserts(columns.insert, count);
  const replaced = counts.reduce<number>((sum, one) => sum + (one ?? 0), 0);
  if (replaced > MAX_CHANGE_OPS * MAX_ACTORS) throw bad(`${replaced} operations are replaced by one change`);
  const replacedBy = decodeRuns(columns.actor, replaced, (reader) => reader.uint());
  const counters = undelta(decodeRuns(columns.counter, replaced, (reader) => reader.int()));
  if (keys.length !== count || metas.length !== count || counts.length !== count)
    throw bad("its columns are of different lengths");
  if (replacedBy.length !== replaced || counters.length !== replaced)
    throw bad("what it replaces is not as much as it says");
  const raw = createReader(columns.raw);
  let at = 0;
  const ops = actions.map((action, i): ChangeOp => {
    const key = keys[i];
    if (typeof key !== "string" || !KEY_PATTERN.test(key)) throw bad(`${JSON.stringify(key)} is no setting's name`);
    const value = readValue(metas[i] ?? 0, raw);
    const isUnset = action === DELETE && value === null;
    if (action !== SET && !isUnset) throw bad(`an operation of kind ${action}: a record is set and unset`);
    const replaces = readReplaced(replacedBy, counters, actors, at, (at += counts[i] ?? 0));
    if (isUnset && replaces.length === 0) throw bad("it unsets what was not set");
    return { key, value: isUnset ? undefined : value, replaces };
  });
  if (raw.left() > 0) throw bad("values after the last operation");
  if (new Set(ops.map(({ key }) => key)).size !== count) throw bad("it sets one key twice");
  return ops;
}

/** Those from `from` to `to`, in the order of Automerge: by counter, then by actor. */
function readReplaced(
  indexes: (number | null)[],
  counters: number[],
  actors: string[],
  from: number,
  to: number,
): string[] {
  let last = "";
  const out: string[] = [];
  for (let i = from; i < to; i++) {
    const [actor, counter] = [actors[indexes[i] ?? -1], counters[i]!];
    if (actor === undefined) throw bad("it replaces an operation of nobody");
    if (!Number.isSafeInteger(counter) || counter < 1 || counter > MAX_OP_COUNTER)
      throw bad(`it replaces operation ${counter}`);
    const order = `${String(counter).padStart(10, "0")}${actor}`;
    if (order <= last) throw bad("what it replaces is not in order");
    last = order;
    out.push(`${counter}@${actor}`);
  }
  return out;
}

/** Value types of Automerge: 0 null, 1 false, 2 true, 4 integer, 6 text; `meta` is length × 16 + type. */
function readValue(meta: number, raw: Reader): Setting {
  const length = Math.floor(meta / 16);
  const type = meta % 16;
  if (type <= 2 && length === 0) return [null, false, true][type]!;
  if (length > MAX_TEXT_BYTES)
    throw new KinError("TOO_LARGE", `a setting of ${length} bytes: at most ${MAX_TEXT_BYTES}`);
  const value = createReader(raw.bytes(length));
  if (type === 4) {
    const number = value.int();
    if (value.left() > 0) throw bad("a number that is shorter than it says");
    return number;
  }
  if (type === 6) return value.rest();
  throw bad(`a value of type ${type}: a setting is text, an integer, true, false or null`);
}

function checkNoInserts(column: Uint8Array, count: number): void {
  if (column.length === 0) return;
  const reader = createReader(column);
  if (reader.uint() !== count || reader.left() > 0) throw bad("it inserts into a list");
}

/** A column of runs: n > 0: one value n times; n < 0: −n values; 0: as many nulls as follow. */
function decodeRuns<T>(column: Uint8Array, most: number, read: (reader: Reader) => T): (T | null)[] {
  const reader = createReader(column);
  const out: (T | null)[] = [];
  while (reader.left() > 0) {
    const run = reader.int();
    const length = run === 0 ? reader.uint() : Math.abs(run);
    if (length === 0 || out.length + length > most) throw bad(`a column of over ${most} rows`);
    const value = run > 0 ? read(reader) : null;
    for (let i = 0; i < length; i++) out.push(run < 0 ? read(reader) : value);
  }
  return out;
}

function undelta(deltas: (number | null)[]): number[] {
  let sum = 0;
  return deltas.map((delta) => (sum += delta ?? NaN));
}

interface Reader {
  byte(): number;
  bytes(count: number): Uint8Array;
  /** LEB128, at most 2^53 − 1, in its shortest form. */
  uint(): number;
  int(): number;
  text(): string;
  /** All that is left, as text. */
  rest(): string;
  list<T>(most: number, item: () => T): T[];
  left(): number;
}

/** Seven bytes of seven bits: more than any number here. */
const MAX_LEB_BYTES = 7;

function createReader(input: Uint8Array): Reader {
  let at = 0;
  const bytes = (count: number): Uint8Array => {
    if (count > input.length - at) throw bad("it ends early");
    at += count;
    return input.subarray(at - count, at);
  };
  const leb = (): { value: number; last: number; length: number; factor: number } => {
    let [value, factor] = [0, 1];
    for (let length = 1; length <= MAX_LEB_BYTES; length++, factor *= 128) {
      const last = bytes(1)[0]!;
      value += (last & 0x7f) * factor;
      if (last < 0x80) return { value, last, length, factor: factor * 128 };
    }
    throw bad("a number over 2^49");
  };
  const uint = (): number => {
    const { value, last, length } = leb();
    if (last === 0 && length > 1) throw bad("a number has a shorter form");
    return value;
  };
  const utf8 = (slice: Uint8Array): string => {
    try {
      return utf8Text(slice);
    } catch {
      throw bad("text that is not UTF-8");
    }
  };
  return {
    byte: () => bytes(1)[0]!,
    bytes,
    uint,
    int() {
      const { value, last, factor } = leb();
      return (last & 0x40) === 0 ? value : value - factor;
    },
    text: () => utf8(bytes(uint())),
    rest: () => utf8(bytes(input.length - at)),
    list(most, item) {
      const count = uint();
      if (count > most) throw bad(`a list of ${count}: at most ${most}`);
      return Array.from({ length: count }, item);
    },
    left: () => input.length - at,
  };
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", `a record's change: ${message}`);
}

// ── the record ──

export interface RecordState {
  values(): { [key: string]: Setting };
  /** Keys that were set without knowledge of each other: all values, the one that counts among them. */
  conflicts(): { [key: string]: Setting[] };
  /** Applies changes that were tried, all at once. */
  apply(changes: readonly Uint8Array[]): void;
  /** The bytes of a change by `actor` that sets keys, or unsets them (undefined); null if that changes nothing. */
  change(actor: string, settings: ReadonlyMap<string, Setting | undefined>): Uint8Array | null;
  /** All of it with its history, as Automerge saves it. */
  state(): Uint8Array;
  /** Hashes of the newest changes. */
  heads(): string[];
  /** The bytes of all changes, by hash: as they came. */
  changes(): Map<string, Uint8Array>;
}

type Doc = A.Doc<{ [key: string]: unknown }>;
/** Of whoever only reads. */
const READER = "00".repeat(ACTOR_BYTES);

export function createRecord(state: Uint8Array | null = null): RecordState {
  let doc: Doc = state === null ? A.init({ actor: READER }) : A.load(state, { actor: READER });
  return {
    values: () => Object.fromEntries(Object.entries(doc).map(([key, value]) => [key, settingOf(value)])),
    conflicts: () =>
      Object.fromEntries(
        Object.keys(doc).flatMap((key) => {
          const all = A.getConflicts(doc, key);
          return all === undefined ? [] : [[key, Object.values(all).map(settingOf)]];
        }),
      ),
    apply(changes) {
      [doc] = A.applyChanges(doc, [...changes]);
    },
    change(actor, settings) {
      const copy = A.clone(doc, { actor });
      const changed = A.change(copy, { time: 0 }, (record) => {
        for (const [key, value] of settings)
          if (value === undefined) delete record[key];
          else record[key] = typeof value === "string" ? new A.ImmutableString(value) : value;
      });
      if (A.equals(A.getHeads(changed), A.getHeads(doc))) return null;
      return A.getLastLocalChange(changed) ?? null;
    },
    state: () => A.save(doc),
    heads: () => A.getHeads(doc).toSorted(),
    changes: () => new Map(A.getAllChanges(doc).map((bytes) => [toHex(sha256(bytes.subarray(8))), bytes])),
  };
}

function settingOf(value: unknown): Setting {
  return A.isImmutableString(value) ? String(value) : (value as Setting);
}

/** Applies changes to a copy. What its reading and its judgement let through must not fail here: if it does, it is held. */
export function tryChanges(state: Uint8Array, changes: readonly RecordChange[]): Tried {
  const copy = createRecord(state);
  for (const { bytes, hash } of changes) {
    copy.apply([bytes]);
    if (!copy.heads().includes(hash)) throw new KinError("INTERNAL", `change ${hash} was not applied`);
  }
  return { right: changes.length, refused: null };
}

/**
 * Canonical DAG-CBOR (F1): ASCII keys, shorter ones first, then by their bytes; integers within ±(2^53 − 1) in their shortest
 * form; no floats, no tags. There is one encoding of each value, so strict reading is one pass: what is not the canonical
 * encoding is refused where it is met, and depth, counts and lengths are checked before anything is built of them.
 *
 * Written by hand because every message passes here several times. `test/protocols/cbor.test.ts` holds it to @ipld/dag-cbor:
 * the same bytes, and the same verdict on bytes that were altered.
 */
import { KinError } from "./errors.ts";
import { MAX_ARRAY_ITEMS, MAX_DEPTH, MAX_MAP_ITEMS } from "./limits.ts";

export type Value = null | boolean | number | string | Uint8Array | Value[] | { [key: string]: Value | undefined };

const UINT = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;
const TWO_32 = 2 ** 32;
/** The upper 32 bits of 2^53 − 1. */
const MAX_HIGH = 2 ** 21 - 1;

// ---- encode

/** Longest head: one byte and eight of the number. */
const HEAD_BYTES = 9;
/** What one text or key may be for the loop to be faster than the encoder's call. */
const SHORT_CHARS = 64;
const FIRST_BYTES = 4096;
/** A scratch buffer that a large value made larger than this is not kept. */
const MAX_KEPT_BYTES = 1024 * 1024;

const toUtf8 = new TextEncoder();
let scratch = new Uint8Array(FIRST_BYTES);
let end = 0;

/** Canonical encoding. Keys whose value is `undefined` are left out. @throws KinError BAD_REQUEST on a float, a bigint or another foreign value */
export function encode(value: unknown): Uint8Array<ArrayBuffer> {
  end = 0;
  write(value);
  const bytes = scratch.slice(0, end);
  if (scratch.length > MAX_KEPT_BYTES) scratch = new Uint8Array(FIRST_BYTES);
  return bytes;
}

function room(bytes: number): void {
  if (end + bytes <= scratch.length) return;
  const larger = new Uint8Array(Math.max(2 * scratch.length, end + bytes));
  larger.set(scratch.subarray(0, end));
  scratch = larger;
}

function write(value: unknown): void {
  switch (typeof value) {
    case "string":
      return writeText(value);
    case "number":
      return writeNumber(value);
    case "boolean":
      return writeByte(value ? TRUE : FALSE);
    case "object":
      if (value === null) return writeByte(NULL);
      if (value instanceof Uint8Array) return writeBytes(BYTES, value);
      if (Array.isArray(value)) return writeArray(value);
      return writeMap(value as Record<string, unknown>);
    default:
      throw new KinError("BAD_REQUEST", `cannot encode a ${typeof value}`);
  }
}

function writeByte(byte: number): void {
  room(1);
  scratch[end++] = byte;
}

/** The shortest head that says `count`. */
function writeHead(major: number, count: number): void {
  room(HEAD_BYTES);
  const top = major << 5;
  if (count < 24) {
    scratch[end++] = top | count;
  } else if (count < 0x100) {
    scratch[end++] = top | 24;
    scratch[end++] = count;
  } else if (count < 0x10000) {
    scratch[end++] = top | 25;
    scratch[end++] = count >>> 8;
    scratch[end++] = count;
  } else if (count < TWO_32) {
    scratch[end++] = top | 26;
    writeUint32(count);
  } else {
    scratch[end++] = top | 27;
    writeUint32(Math.floor(count / TWO_32));
    writeUint32(count >>> 0);
  }
}

function writeUint32(number: number): void {
  scratch[end++] = number >>> 24;
  scratch[end++] = number >>> 16;
  scratch[end++] = number >>> 8;
  scratch[end++] = number;
}

function writeNumber(value: number): void {
  if (!Number.isSafeInteger(value) || Object.is(value, -0))
    throw new KinError("BAD_REQUEST", `cannot encode the number ${value}: only integers within ±(2^53 − 1)`);
  if (value < 0) writeHead(NEGATIVE, -1 - value);
  else writeHead(UINT, value);
}

function writeBytes(major: number, bytes: Uint8Array): void {
  writeHead(major, bytes.length);
  room(bytes.length);
  scratch.set(bytes, end);
  end += bytes.length;
}

function writeText(text: string): void {
  if (text.length > SHORT_CHARS || !writeAscii(text)) writeBytes(TEXT, toUtf8.encode(text));
}

/** False, and nothing is written, if the text is not ASCII. */
function writeAscii(text: string): boolean {
  const before = end;
  writeHead(TEXT, text.length);
  room(text.length);
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7f) {
      end = before;
      return false;
    }
    scratch[end++] = code;
  }
  return true;
}

function writeArray(items: unknown[]): void {
  writeHead(ARRAY, items.length);
  for (const item of items) write(item);
}

function writeMap(map: Record<string, unknown>): void {
  const keys: string[] = [];
  for (const key of Object.keys(map)) if (map[key] !== undefined) insert(keys, key);
  writeHead(MAP, keys.length);
  for (const key of keys) {
    if (!writeAscii(key))
      throw new KinError("BAD_REQUEST", `cannot encode the map key ${JSON.stringify(key.slice(0, 40))}: not ASCII`);
    write(map[key]);
  }
}

/** Into its place. Maps are small and mostly in order already; large ones (a view's state) come sorted or pay for it. */
function insert(keys: string[], key: string): void {
  let at = keys.length;
  while (at > 0 && isBefore(key, keys[at - 1]!)) at--;
  if (at === keys.length) keys.push(key);
  else keys.splice(at, 0, key);
}

/** ASCII: the order of code units is that of the bytes. */
function isBefore(a: string, b: string): boolean {
  return a.length === b.length ? a < b : a.length < b.length;
}

// ---- decode

const FORBIDDEN_KEYS = new Set(["__proto__", "constructor", "prototype"]);
const ASCII = Array.from({ length: 128 }, (_, code) => String.fromCharCode(code));
const fromUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** What is being read, and where. One value is read at a time: nothing in between gives way to anything else. */
let input = new Uint8Array(0);
let at = 0;

/** Byte strings are pieces of the input's memory. */
let isShared = false;

/** As {@link decode}, but byte strings are pieces of `bytes` and not copies: for what is used up or kept as a whole. */
export function decodeShared(bytes: Uint8Array): Value {
  isShared = true;
  try {
    return decode(bytes);
  } finally {
    isShared = false;
  }
}

/** Strict inverse of {@link encode}. @throws KinError BAD_REQUEST (or TOO_LARGE for a limit) naming the offset and what was wrong. */
export function decode(bytes: Uint8Array): Value {
  // A Buffer's `slice` shares memory, a Uint8Array's copies.
  input = new Uint8Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
  at = 0;
  if (bytes.length === 0) throw bad("empty");
  const value = read(0);
  if (at !== input.length) throw bad("trailing bytes");
  input = input.subarray(0, 0);
  return value;
}

function bad(why: string): KinError {
  return new KinError("BAD_REQUEST", `bad CBOR at byte ${at}: ${why}`);
}

/** @param depth containers around it */
function read(depth: number): Value {
  if (at >= input.length) throw bad("ends early");
  const head = input[at++]!;
  switch (head >> 5) {
    case UINT:
      return readCount(head);
    case NEGATIVE: {
      const count = readCount(head);
      if (count >= Number.MAX_SAFE_INTEGER) throw bad("integer under −(2^53 − 1)");
      return -1 - count;
    }
    case BYTES: {
      const from = skip(readCount(head));
      return isShared ? input.subarray(from, at) : input.slice(from, at);
    }
    case TEXT: {
      const from = skip(readCount(head));
      return textOf(from, at);
    }
    case ARRAY:
      return readArray(readCount(head), depth);
    case MAP:
      return readMap(readCount(head), depth);
    case TAG:
      throw bad("tag");
    default:
      if (head === NULL) return null;
      if (head === TRUE || head === FALSE) return head === TRUE;
      throw bad(`simple value or float (byte ${at - 1} is 0x${head.toString(16)})`);
  }
}

/** The number that a head says, which must be in its shortest form. */
function readCount(head: number): number {
  const info = head & 31;
  if (info < 24) return info;
  if (info === 31) throw bad("indefinite length");
  if (info > 27) throw bad("reserved length");
  const size = 1 << (info - 24);
  if (at + size > input.length) throw bad("ends inside a length");
  let count = 0;
  let least = 24;
  if (size === 1) count = input[at]!;
  else if (size === 2) {
    count = (input[at]! << 8) | input[at + 1]!;
    least = 0x100;
  } else if (size === 4) {
    count = uint32(at);
    least = 0x10000;
  } else {
    const high = uint32(at);
    if (high > MAX_HIGH) throw bad("integer over 2^53 − 1");
    count = high * TWO_32 + uint32(at + 4);
    least = TWO_32;
  }
  if (count < least) throw bad("not canonical: the number has a shorter form");
  at += size;
  return count;
}

function uint32(from: number): number {
  return ((input[from]! << 24) | (input[from + 1]! << 16) | (input[from + 2]! << 8) | input[from + 3]!) >>> 0;
}

/** Passes over `length` bytes; returns where they begin. */
function skip(length: number): number {
  if (length > input.length - at) throw bad(`length ${length} is longer than the input`);
  const from = at;
  at += length;
  return from;
}

function textOf(from: number, to: number): string {
  if (to - from <= SHORT_CHARS) {
    let text = "";
    let i = from;
    for (; i < to && input[i]! < 0x80; i++) text += ASCII[input[i]!]!;
    if (i === to) return text;
  }
  try {
    return fromUtf8.decode(input.subarray(from, to));
  } catch {
    throw bad("text is not UTF-8");
  }
}

function readArray(count: number, depth: number): Value[] {
  if (count > MAX_ARRAY_ITEMS) throw new KinError("TOO_LARGE", `array of ${count} items: at most ${MAX_ARRAY_ITEMS}`);
  checkDepth(depth);
  const items: Value[] = [];
  for (let i = 0; i < count; i++) items.push(read(depth + 1));
  return items;
}

function readMap(count: number, depth: number): { [key: string]: Value } {
  if (count > MAX_MAP_ITEMS) throw new KinError("TOO_LARGE", `map of ${count} entries: at most ${MAX_MAP_ITEMS}`);
  checkDepth(depth);
  const map: { [key: string]: Value } = {};
  let last = "";
  for (let i = 0; i < count; i++) {
    const key = readKey();
    if (i > 0 && !isBefore(last, key)) throw bad(`not canonical: map key ${key.slice(0, 40)} out of order or twice`);
    map[key] = read(depth + 1);
    last = key;
  }
  return map;
}

function readKey(): string {
  if (at >= input.length) throw bad("ends early");
  const head = input[at++]!;
  if (head >> 5 !== TEXT) throw bad("map key is not text");
  const from = skip(readCount(head));
  for (let i = from; i < at; i++) if (input[i]! > 0x7f) throw bad("map key is not ASCII");
  const key = textOf(from, at);
  if (FORBIDDEN_KEYS.has(key)) throw bad(`map key ${key}`);
  return key;
}

/** Bounds the recursion too. */
function checkDepth(depth: number): void {
  if (depth >= MAX_DEPTH) throw new KinError("TOO_LARGE", `nested deeper than ${MAX_DEPTH}`);
}

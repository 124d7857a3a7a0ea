/**
 * Canonical bytes (F1): DAG-CBOR with ASCII keys, integers within ±(2^53 − 1), no floats, no tags. What is received is
 * decoded strictly: `decode` first walks the bytes without building anything (bounded depth, counts and lengths), then
 * decodes, then re-encodes and refuses what does not give the same bytes.
 */
import * as dagCbor from "@ipld/dag-cbor";
import { KinError } from "./errors.ts";
import { MAX_ARRAY_ITEMS, MAX_DEPTH, MAX_MAP_ITEMS } from "./limits.ts";

export type Value = null | boolean | number | string | Uint8Array | Value[] | { [key: string]: Value | undefined };

/** Canonical encoding. Keys whose value is `undefined` are left out. Throws BAD_REQUEST on a float, a bigint or another foreign value. */
export function encode(value: unknown): Uint8Array {
  const bytes = dagCbor.encode(strip(value));
  // Large results come as a Buffer, whose `slice` and comparisons differ.
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Strict inverse of {@link encode}. @throws KinError BAD_REQUEST (or TOO_LARGE for a limit) naming the offset and what was wrong. */
export function decode(bytes: Uint8Array): Value {
  scan(bytes);
  let value: Value;
  try {
    value = dagCbor.decode(bytes);
  } catch (cause) {
    throw new KinError("BAD_REQUEST", `not DAG-CBOR: ${(cause as Error).message}`, { cause });
  }
  if (!equal(dagCbor.encode(value), bytes))
    throw new KinError("BAD_REQUEST", "not canonical DAG-CBOR: encoding it again gives other bytes");
  return value;
}

function strip(value: unknown): unknown {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) || Object.is(value, -0))
      throw new KinError("BAD_REQUEST", `cannot encode the number ${value}: only integers within ±(2^53 − 1)`);
    return value;
  }
  if (value instanceof Uint8Array) return value;
  if (Array.isArray(value)) return value.map(strip);
  if (typeof value === "object") {
    const out: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined) continue;
      out[key] = strip(item);
    }
    return out;
  }
  throw new KinError("BAD_REQUEST", `cannot encode a ${typeof value}`);
}

const FORBIDDEN_KEYS = new Set(["__proto__", "constructor", "prototype"]);

/** Walks CBOR without recursion and without building values; throws at the first thing that is not allowed. */
function scan(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const open: { left: number; map: boolean; key: boolean }[] = [];
  let at = 0;
  const fail = (why: string): never => {
    throw new KinError("BAD_REQUEST", `bad CBOR at byte ${at}: ${why}`);
  };
  if (bytes.length === 0) fail("empty");
  for (;;) {
    if (at >= bytes.length) fail("ends early");
    const start = at;
    const head = bytes[at++]!;
    const major = head >> 5;
    const info = head & 31;
    let length = info;
    if (major !== 7) {
      if (info === 31) fail("indefinite length");
      if (info > 27) fail("reserved length");
      if (info >= 24) {
        const size = 1 << (info - 24);
        if (at + size > bytes.length) fail("ends inside a length");
        if (size === 1) length = bytes[at]!;
        else if (size === 2) length = view.getUint16(at);
        else if (size === 4) length = view.getUint32(at);
        else {
          const big = view.getBigUint64(at);
          if (big > BigInt(Number.MAX_SAFE_INTEGER)) fail("integer over 2^53 − 1");
          length = Number(big);
        }
        at += size;
      }
    }
    const top = open.at(-1);
    if (top?.map === true && top.key && major !== 3) fail("map key is not text");
    let child: { left: number; map: boolean; key: boolean } | undefined;
    switch (major) {
      case 0:
        break;
      case 1:
        if (length >= Number.MAX_SAFE_INTEGER) fail("integer under −(2^53 − 1)");
        break;
      case 2:
      case 3: {
        if (length > bytes.length - at) fail(`length ${length} is longer than the input`);
        if (top?.map === true && top.key) {
          for (let i = at; i < at + length; i++) if (bytes[i]! > 0x7f) fail("map key is not ASCII");
          const key = String.fromCharCode(...bytes.subarray(at, at + Math.min(length, 16)));
          if (FORBIDDEN_KEYS.has(key)) fail(`map key ${key}`);
        } else if (major === 3) checkText(bytes.subarray(at, at + length), fail);
        at += length;
        break;
      }
      case 4:
        if (length > MAX_ARRAY_ITEMS)
          throw new KinError("TOO_LARGE", `array of ${length} items: at most ${MAX_ARRAY_ITEMS}`);
        if (open.length >= MAX_DEPTH) throw new KinError("TOO_LARGE", `nested deeper than ${MAX_DEPTH}`);
        child = { left: length, map: false, key: false };
        break;
      case 5:
        if (length > MAX_MAP_ITEMS)
          throw new KinError("TOO_LARGE", `map of ${length} entries: at most ${MAX_MAP_ITEMS}`);
        if (open.length >= MAX_DEPTH) throw new KinError("TOO_LARGE", `nested deeper than ${MAX_DEPTH}`);
        child = { left: length * 2, map: true, key: true };
        break;
      case 6:
        fail("tag");
        break;
      default:
        if (info !== 20 && info !== 21 && info !== 22)
          fail(`simple value or float (byte ${start} is 0x${head.toString(16)})`);
    }
    if (child !== undefined && child.left > 0) {
      open.push(child);
      continue;
    }
    for (;;) {
      const parent = open.at(-1);
      if (parent === undefined) {
        if (at !== bytes.length) fail("trailing bytes");
        return;
      }
      parent.left--;
      if (parent.map) parent.key = !parent.key;
      if (parent.left > 0) break;
      open.pop();
    }
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
function checkText(bytes: Uint8Array, fail: (why: string) => never): void {
  try {
    utf8.decode(bytes);
  } catch {
    fail("text is not UTF-8");
  }
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Byte order, shorter first on a common prefix. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return a.length - b.length;
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export function toHex(bytes: Uint8Array): string {
  let out = "";
  for (const byte of bytes) out += HEX[byte];
  return out;
}

/** @throws KinError BAD_REQUEST unless `hex` is lower-case hex of whole bytes. */
export function fromHex(hex: string): Uint8Array {
  if (!/^([0-9a-f]{2})*$/.test(hex)) throw new KinError("BAD_REQUEST", `not lower-case hex: ${hex.slice(0, 80)}`);
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

const encoder = new TextEncoder();
export function utf8Bytes(text: string): Uint8Array {
  return encoder.encode(text);
}

export function utf8Text(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

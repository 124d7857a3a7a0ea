/** Bytes and their forms: canonical DAG-CBOR (`cbor.ts`), hex, UTF-8, order. */
import { KinError } from "./errors.ts";

export { decode, decodeShared, encode, type Value } from "./cbor.ts";

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

/** The two digits of each byte, as ASCII. */
const HEX_DIGITS = Uint8Array.from({ length: 512 }, (_, i) =>
  "0123456789abcdef".charCodeAt(((i >> 1) >> (i % 2 === 0 ? 4 : 0)) & 15),
);
/** Digits of an id. */
const hexScratch = new Uint8Array(64);
const ascii = new TextDecoder("latin1");

/** One flat string: one that is added up byte by byte takes twice the time and a kilobyte (measured). */
export function toHex(bytes: Uint8Array): string {
  const digits = bytes.length === 32 ? hexScratch : new Uint8Array(2 * bytes.length);
  for (let i = 0; i < bytes.length; i++) {
    const at = 2 * bytes[i]!;
    digits[2 * i] = HEX_DIGITS[at]!;
    digits[2 * i + 1] = HEX_DIGITS[at + 1]!;
  }
  return ascii.decode(digits);
}

/** @throws KinError BAD_REQUEST unless `hex` is lower-case hex of whole bytes. */
export function fromHex(hex: string): Uint8Array {
  const out = new Uint8Array(hex.length >>> 1);
  let seen = 0;
  for (let i = 0; i < out.length; i++) {
    const byte = (nibble(hex.charCodeAt(2 * i)) << 4) | nibble(hex.charCodeAt(2 * i + 1));
    seen |= byte;
    out[i] = byte;
  }
  // A character that is no digit makes `seen` negative.
  if (seen < 0 || hex.length % 2 !== 0) throw new KinError("BAD_REQUEST", `not lower-case hex: ${hex.slice(0, 80)}`);
  return out;
}

/** −1 for what is no lower-case hex digit. */
function nibble(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  return code >= 0x61 && code <= 0x66 ? code - 0x57 : -1;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
export function utf8Bytes(text: string): Uint8Array {
  return encoder.encode(text);
}

export function utf8Text(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

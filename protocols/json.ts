/**
 * JSON that travels as text inside CBOR (F1: no floats there). Read strictly: what two readers could read in two ways
 * (a name twice in one object) and what could harm one (`__proto__`, endless nesting) is refused.
 */
import { KinError } from "./errors.ts";
import type { Json } from "./tool.ts";

/** Deeper JSON overflows recursive readers; nothing that a tool takes or gives is that deep. */
export const MAX_JSON_DEPTH = 64;

const FORBIDDEN_NAMES = new Set(["__proto__", "constructor", "prototype"]);

/** @throws KinError BAD_REQUEST, TOO_LARGE (over `maxChars`) */
export function parseJson(text: string, what: string, maxChars: number): Json {
  if (text.length > maxChars)
    throw new KinError("TOO_LARGE", `${what} has ${text.length} characters of JSON: at most ${maxChars}`);
  checkDepth(text, what);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (cause) {
    throw new KinError("BAD_REQUEST", `${what} is not JSON: ${(cause as Error).message}`, { cause });
  }
  checkNames(text, what);
  return value;
}

/** @throws KinError BAD_REQUEST for what JSON cannot say. */
export function formatJson(value: Json, what: string): string {
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw new KinError("BAD_REQUEST", `${what} cannot be written as JSON`);
  return text;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const BRACKET_OPEN = 0x5b;
const BRACKET_CLOSE = 0x5d;
const BRACE_OPEN = 0x7b;
const BRACE_CLOSE = 0x7d;

/** Before the text is parsed at all: counts brackets outside of strings. */
function checkDepth(text: string, what: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = endOfString(text, at);
    else if (code === BRACE_OPEN || code === BRACKET_OPEN) depth++;
    else if (code === BRACE_CLOSE || code === BRACKET_CLOSE) depth--;
    if (depth > MAX_JSON_DEPTH) throw new KinError("TOO_LARGE", `${what} is nested deeper than ${MAX_JSON_DEPTH}`);
  }
}

/** Of text that is known to be JSON: the string before a ":" is a name. */
function checkNames(text: string, what: string): void {
  const open: (Set<string> | null)[] = [];
  let last: readonly [number, number] = [0, 0];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      const end = endOfString(text, at);
      last = [at, end + 1];
      at = end;
    } else if (code === BRACE_OPEN) open.push(new Set());
    else if (code === BRACKET_OPEN) open.push(null);
    else if (code === BRACE_CLOSE || code === BRACKET_CLOSE) open.pop();
    else if (code === COLON) addName(open.at(-1) ?? null, JSON.parse(text.slice(...last)) as string, what);
  }
}

/** Where the string that begins at `start` has its closing quote; the text's end if it has none. */
function endOfString(text: string, start: number): number {
  let at = start;
  do at = text.indexOf('"', at + 1);
  while (at >= 0 && isEscaped(text, at));
  return at < 0 ? text.length : at;
}

function isEscaped(text: string, at: number): boolean {
  let backslashes = 0;
  while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes++;
  return backslashes % 2 === 1;
}

function addName(names: Set<string> | null, name: string, what: string): void {
  if (FORBIDDEN_NAMES.has(name)) throw new KinError("BAD_REQUEST", `${what} has the name "${name}"`);
  if (names?.has(name) === true)
    throw new KinError("BAD_REQUEST", `${what} has the name "${name}" twice in one object`);
  names?.add(name);
}

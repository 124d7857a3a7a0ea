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

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]/g;

/** Before the text is parsed at all: counts brackets outside of strings. */
function checkDepth(text: string, what: string): void {
  let depth = 0;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{" || token === "[") depth++;
    else if (token === "}" || token === "]") depth--;
    if (depth > MAX_JSON_DEPTH) throw new KinError("TOO_LARGE", `${what} is nested deeper than ${MAX_JSON_DEPTH}`);
  }
}

/** Of text that is known to be JSON: a string directly before ":" is a name. */
function checkNames(text: string, what: string): void {
  const open: (Set<string> | null)[] = [];
  let last = "";
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(null);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") addName(open.at(-1) ?? null, JSON.parse(last) as string, what);
    last = token;
  }
}

function addName(names: Set<string> | null, name: string, what: string): void {
  if (FORBIDDEN_NAMES.has(name)) throw new KinError("BAD_REQUEST", `${what} has the name "${name}"`);
  if (names?.has(name) === true)
    throw new KinError("BAD_REQUEST", `${what} has the name "${name}" twice in one object`);
  names?.add(name);
}

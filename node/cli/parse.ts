/** Words on the command line → values; each failure says the word, what was expected and an example. */
import { KinError } from "../../protocols/errors.ts";
import { NAME_PATTERN } from "../../protocols/limits.ts";
import type { Json } from "../../protocols/tool.ts";

const UNIT_MS: { [unit: string]: number } = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90s`, `2m`, `24h`, `7d`; ms. @throws KinError USAGE */
export function parseDuration(word: string, option: string): number {
  const found = /^(\d{1,9})(ms|s|m|h|d)$/.exec(word);
  const ms = found === null ? 0 : Number(found[1]) * UNIT_MS[found[2]!]!;
  if (ms <= 0 || !Number.isSafeInteger(ms))
    throw new KinError("USAGE", `${option} is "${word}", expected a time such as 90s, 2m or 24h`);
  return ms;
}

/** @throws KinError USAGE */
export function parseCount(word: string, option: string, most: number): number {
  const count = /^\d{1,9}$/.test(word) ? Number(word) : 0;
  if (count < 1 || count > most)
    throw new KinError("USAGE", `${option} is "${word}", expected a number from 1 to ${most}`);
  return count;
}

/** F7. @throws KinError USAGE */
export function parseName(word: string, option: string): string {
  if (NAME_PATTERN.test(word)) return word;
  const near = nearestName(word);
  throw new KinError("USAGE", `${option} is "${word}", expected a–z first, then a–z, 0–9 or -, at most 32 characters`, {
    hint: near === null ? undefined : `for example ${near}`,
  });
}

/** The word made into a name, if anything of it is left: `App 2.0` → `app-2-0`. */
export function nearestName(word: string): string | null {
  const name = word
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+/, "")
    .slice(0, 32)
    .replace(/-+$/, "");
  return NAME_PATTERN.test(name) ? name : null;
}

/**
 * `8080` and `{"a":1}` are JSON; what is not is text, and so is a number that would be written in another way: the version
 * `1.10`, the commit `1234e56`. @throws KinError USAGE
 */
export function jsonOrText(word: string, what: string, hint: string): Json {
  let value: Json;
  try {
    value = JSON.parse(word) as Json;
  } catch {
    return word;
  }
  if (typeof value === "number") return String(value) === word.trim() ? value : word;
  checkNumbers(word, what, hint);
  return value;
}

/**
 * Of text that is JSON: `1.0` and `1e3` may become 1 and 1000, one that is too large or too long for a number may not. `what`:
 * how the sentence begins, "the value has". @throws KinError USAGE
 */
export function checkNumbers(json: string, what: string, hint: string): void {
  for (const [word] of json.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g)) {
    if (word.startsWith('"') || decimal(word) === decimal(String(Number(word)))) continue;
    throw new KinError("USAGE", `${what} the number ${word.slice(0, 60)}, which would become ${Number(word)}`, {
      hint,
    });
  }
}

/** The same for all ways to write a number. */
function decimal(word: string): string {
  const [, whole = "", fraction = "", power = "0"] = /^-?(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(word) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const significant = digits.replace(/(?<!0)0+$/, "");
  if (significant === "") return whole === "" ? word : "0";
  return `${significant}e${Number(power) - fraction.length + digits.length - significant.length}`;
}

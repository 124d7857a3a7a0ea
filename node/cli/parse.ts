/** Words on the command line → values; each failure says the word, what was expected and an example. */
import { KinError } from "../../protocols/errors.ts";
import { NAME_PATTERN } from "../../protocols/limits.ts";

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

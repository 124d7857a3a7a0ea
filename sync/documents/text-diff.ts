/**
 * What somebody has changed in a text, as few hunks as a merge needs: by lines, and within lines without what both ends have in
 * common, so that two people who edit different lines, or different ends of one, don't take each other's words away.
 */

/** At `at` of the old text `removed` units give way to `inserted`. Hunks are ascending and apart. */
export interface Hunk {
  at: number;
  removed: number;
  inserted: string;
}

/** Cells of the table that lines are compared in; a text that was changed all over becomes one hunk. */
const MAX_CELLS = 4_000_000;

export function diffText(before: string, after: string): Hunk[] {
  const { start, end } = commonEnds(before, after);
  const oldLines = linesOf(before.slice(start, before.length - end));
  const newLines = linesOf(after.slice(start, after.length - end));
  const hunks: Hunk[] = [];
  let at = start;
  for (const { removed, inserted } of diffLines(oldLines, newLines)) {
    const [from, to] = [removed.join(""), inserted.join("")];
    if (from !== to) hunks.push(trimmed(at, from, to));
    at += from.length;
  }
  return hunks.filter(({ removed, inserted }) => removed > 0 || inserted !== "");
}

/** Runs of lines that are equal (both sides), and runs that are not. */
function diffLines(before: string[], after: string[]): { removed: string[]; inserted: string[] }[] {
  if (before.length * after.length > MAX_CELLS) return [{ removed: before, inserted: after }];
  const table = commonLengths(before, after);
  const width = after.length + 1;
  const out: { removed: string[]; inserted: string[] }[] = [];
  let changed: { removed: string[]; inserted: string[] } = { removed: [], inserted: [] };
  const flush = (): void => {
    if (changed.removed.length + changed.inserted.length > 0) out.push(changed);
    changed = { removed: [], inserted: [] };
  };
  let i = 0;
  let j = 0;
  while (i < before.length || j < after.length) {
    if (i < before.length && j < after.length && before[i] === after[j]) {
      flush();
      out.push({ removed: [before[i++]!], inserted: [after[j++]!] });
    } else if (j >= after.length || (i < before.length && table[(i + 1) * width + j]! >= table[i * width + j + 1]!))
      changed.removed.push(before[i++]!);
    else changed.inserted.push(after[j++]!);
  }
  flush();
  return out;
}

/** Length of the longest common subsequence of the lines from (i, j) on, at i × width + j. */
function commonLengths(before: string[], after: string[]): Uint32Array {
  const width = after.length + 1;
  const table = new Uint32Array((before.length + 1) * width);
  for (let i = before.length - 1; i >= 0; i--)
    for (let j = after.length - 1; j >= 0; j--)
      table[i * width + j] =
        before[i] === after[j]
          ? table[(i + 1) * width + j + 1]! + 1
          : Math.max(table[(i + 1) * width + j]!, table[i * width + j + 1]!);
  return table;
}

function trimmed(at: number, from: string, to: string): Hunk {
  const { start, end } = commonEnds(from, to);
  return { at: at + start, removed: from.length - start - end, inserted: to.slice(start, to.length - end) };
}

/** How much two texts have in common at their beginning and at their end, never half a character. */
function commonEnds(a: string, b: string): { start: number; end: number } {
  const most = Math.min(a.length, b.length);
  let start = 0;
  while (start < most && a[start] === b[start]) start++;
  if (splitsCharacter(a, start) || splitsCharacter(b, start)) start--;
  let end = 0;
  while (end < most - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  if (splitsCharacter(a, a.length - end) || splitsCharacter(b, b.length - end)) end--;
  return { start, end };
}

function splitsCharacter(text: string, at: number): boolean {
  return at > 0 && at < text.length && isLowSurrogate(text.charCodeAt(at)) && isHighSurrogate(text.charCodeAt(at - 1));
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code < 0xdc00;
}

export function isLowSurrogate(code: number): boolean {
  return code >= 0xdc00 && code < 0xe000;
}

/** With their line breaks. */
function linesOf(text: string): string[] {
  return text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
}

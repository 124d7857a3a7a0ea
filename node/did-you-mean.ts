/** The word that a typing error was meant to be, or null if none is near. */

/** More changes than this in a word, or than a third of its letters, and it is another word. */
const MAX_CHANGES = 3;
/** Nobody mistypes a word this long; the comparison is quadratic. */
const MAX_LENGTH = 64;

export function didYouMean(typed: string, known: readonly string[]): string | null {
  if (typed.length === 0 || typed.length > MAX_LENGTH) return null;
  let best: { word: string; changes: number } | null = null;
  for (const word of known) {
    const changes = changesBetween(typed.toLowerCase(), word.toLowerCase());
    if (best === null || changes < best.changes) best = { word, changes };
  }
  if (best === null) return null;
  return best.changes <= Math.min(MAX_CHANGES, Math.max(1, Math.floor(typed.length / 2.5))) ? best.word : null;
}

/** Letters inserted, dropped, replaced or swapped with their neighbour (Damerau–Levenshtein, restricted). */
export function changesBetween(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let changes = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1));
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        changes = Math.min(changes, beforeLast[column - 2]! + 1);
      current.push(changes);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length]!;
}

/** The text of a note: one text of Yjs, changed as what somebody made of what he was shown. */
import { sha256 } from "#crypto";
import { encode } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { isLowSurrogate, type Hunk } from "./text-diff.ts";
import {
  applyUpdates,
  encodeState,
  loadDocument,
  runsFrom,
  seenBy,
  writeAs,
  type MadeUpdate,
  type Run,
  type Shape,
  type SharedDocument,
  type Unit,
  type YText,
} from "./yjs.ts";

export const TEXT = "text";

export const TEXT_SHAPE: Shape = {
  name: "a note",
  content: "text",
  hasEntries: false,
  refuses: (root) => (root === TEXT ? null : `text outside of "${TEXT}"`),
};

export interface NoteText extends SharedDocument {
  text(): string;
  /** Runs in the order of the text, deleted ones too; the same however the text was put together. */
  runs(): Run[];
}

export function createNoteText(state: Uint8Array | null = null): NoteText {
  const doc = loadDocument(state);
  const root = doc.getText(TEXT);
  const runs = (): Run[] => runsFrom(root._start);
  return {
    text: () => root.toJSON(),
    runs,
    seen: () => seenBy(doc),
    apply: (updates) => applyUpdates(doc, updates),
    state: () => encodeState(doc),
    hash: () =>
      sha256(
        encode([
          runs().map(({ client, clock, length, text }) => [client, clock, text ?? length]),
          [...seenBy(doc)].toSorted(([a], [b]) => a - b),
        ]),
      ),
  };
}

/** Text of one update: with it the largest stays under what an event may hold (4 bytes a unit at most). */
const MAX_INSERT_UNITS = 16 * 1024;

/** {@link editText} as updates of `client`, each with what it has seen. */
export function writeText(
  state: Uint8Array,
  client: number,
  base: readonly Run[],
  hunks: readonly Hunk[],
): MadeUpdate[] {
  return writeAs(state, client, (doc, transact) => editText(doc.getText(TEXT), base, hunks, transact));
}

/**
 * Turns what a reader saw (`base`: its visible runs then) into what he made of it (`hunks`, of that text), wherever its units
 * stand now.
 */
export function editText(
  root: YText,
  base: readonly Run[],
  hunks: readonly Hunk[],
  transact: (run: () => void) => void,
): void {
  // From the end, so that places before stay where they are.
  for (const { at, removed, inserted } of hunks.toReversed()) {
    const [first = "", ...others] = pieces(inserted);
    let place = placeAfter(root, lastUnit(root, base, at));
    transact(() => {
      for (const { index, length } of visibleRanges(root, base, at, removed)) root.delete(index, length);
      root.insert(place, first);
    });
    place += first.length;
    for (const piece of others) {
      transact(() => root.insert(place, piece));
      place += piece.length;
    }
  }
}

/** Never between the two halves of a character outside the basic plane: alone they are no text. */
function pieces(text: string): string[] {
  const out: string[] = [];
  for (let at = 0; at < text.length;) {
    let end = Math.min(at + MAX_INSERT_UNITS, text.length);
    if (end < text.length && isLowSurrogate(text.charCodeAt(end))) end--;
    out.push(text.slice(at, end));
    at = end;
  }
  return out;
}

/**
 * The last of the first `count` units that the runs show which is still of this text: what somebody wrote who was removed since may
 * be of it no more. null: none is.
 */
function lastUnit(root: YText, runs: readonly Run[], count: number): Unit | null {
  const known = seenBy(root.doc!);
  let last: Unit | null = null;
  let rest = count;
  for (const { client, clock, length, text } of runs) {
    if (text === null || rest === 0) continue;
    const shown = Math.min(rest, length);
    rest -= shown;
    const end = Math.min(clock + shown, known.get(client) ?? 0);
    if (end > clock) last = { client, clock: end - 1 };
  }
  if (rest > 0) throw new KinError("INTERNAL", `there are not ${count} units in a text of ${count - rest}`);
  return last;
}

/** Where something directly after this unit goes, also if the unit is deleted by now. */
function placeAfter(root: YText, unit: Unit | null): number {
  if (unit === null) return 0;
  let index = 0;
  for (const { client, clock, length, text } of runsFrom(root._start)) {
    const isHere = client === unit.client && clock <= unit.clock && unit.clock < clock + length;
    if (isHere) return text === null ? index : index + unit.clock - clock + 1;
    if (text !== null) index += length;
  }
  throw new KinError("INTERNAL", `unit ${unit.client}:${unit.clock} is of another text`);
}

/** Where `count` units of the base from `at` on are visible now; the last first. */
function visibleRanges(root: YText, base: readonly Run[], at: number, count: number) {
  const gone = unitsOf(base, at, count);
  const ranges: { index: number; length: number }[] = [];
  let index = 0;
  for (const { client, clock, length, text } of runsFrom(root._start)) {
    if (text === null) continue;
    for (let i = 0; i < length; i++, index++) {
      if (gone.get(client)?.has(clock + i) !== true) continue;
      const last = ranges.at(-1);
      if (last !== undefined && last.index + last.length === index) last.length++;
      else ranges.push({ index, length: 1 });
    }
  }
  return ranges.toReversed();
}

/** `count` visible units from `at` on: client → clocks. */
function unitsOf(runs: readonly Run[], at: number, count: number): Map<number, Set<number>> {
  const units = new Map<number, Set<number>>();
  let index = 0;
  for (const { client, clock, length, text } of runs) {
    if (text === null) continue;
    const clocks = units.get(client) ?? new Set<number>();
    units.set(client, clocks);
    for (let i = Math.max(0, at - index); i < Math.min(length, at + count - index); i++) clocks.add(clock + i);
    index += length;
  }
  return units;
}

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
 * Turns what a reader saw (`base`: its visible runs then) into what he made of it (`hunks`, of that text, in its order), wherever its
 * units stand now. Units keep their order, so all places are found before anything is changed.
 */
export function editText(
  root: YText,
  base: readonly Run[],
  hunks: readonly Hunk[],
  transact: (run: () => void) => void,
): void {
  const placed = placeHunks(root, base, hunks);
  // From the end, so that places before stay where they are.
  for (const some of together(placed).toReversed()) {
    const [{ place, inserted }] = some as [Placed];
    const [first = "", ...others] = pieces(inserted);
    transact(() => {
      for (const one of some.toReversed()) {
        for (const { index, length } of one.gone.toReversed()) root.delete(index, length);
        root.insert(one.place, one === some[0] ? first : one.inserted);
      }
    });
    let at = place + first.length;
    for (const piece of others) {
      transact(() => root.insert(at, piece));
      at += piece.length;
    }
  }
}

/** A hunk, where it goes now. */
interface Placed {
  place: number;
  /** What it takes away and is to be seen, ascending. */
  gone: { index: number; length: number }[];
  inserted: string;
}

/** Places of a text that one update changes, and units that it takes away or types there: one append has at most 1,023 updates. */
const UPDATE_HUNKS = 128;
const UPDATE_UNITS = 4096;

/** Those that one update may hold. */
function together(placed: readonly Placed[]): Placed[][] {
  const out: Placed[][] = [];
  let size = Infinity;
  for (const one of placed) {
    const own = one.gone.reduce((sum, { length }) => sum + length, one.inserted.length);
    size += own;
    const last = out.at(-1);
    if (last === undefined || last.length === UPDATE_HUNKS || size > UPDATE_UNITS) [size] = [own, out.push([one])];
    else last.push(one);
  }
  return out;
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

/** Units of one client that stand beside each other, at this index if they are to be seen. */
interface Stretch {
  clock: number;
  length: number;
  index: number;
  isShown: boolean;
}
/** Units of one client, the first of which was at this index of the base. */
type Part = Pick<Run, "client" | "clock" | "length"> & { at: number };

function placeHunks(root: YText, base: readonly Run[], hunks: readonly Hunk[]): Placed[] {
  const parts: Part[] = [];
  let total = 0;
  for (const { client, clock, length, text } of base) {
    if (text === null) continue;
    parts.push({ client, clock, length, at: total });
    total += length;
  }
  const stretches = stretchesOf(root);
  const known = seenBy(root.doc!);
  return hunks.map(({ at, removed, inserted }) => {
    if (at + removed > total)
      throw new KinError("INTERNAL", `there are not ${at + removed} units in a text of ${total}`);
    const gone = between(parts, at, at + removed).flatMap((part) => shownOf(stretches, part));
    return { place: placeAfter(stretches, lastUnit(parts, at, known)), gone: joined(gone), inserted };
  });
}

/** By client, ascending by clock. */
function stretchesOf(root: YText): Map<number, Stretch[]> {
  const stretches = new Map<number, Stretch[]>();
  let index = 0;
  for (const { client, clock, length, text } of runsFrom(root._start)) {
    const own = stretches.get(client) ?? [];
    stretches.set(client, own);
    own.push({ clock, length, index, isShown: text !== null });
    if (text !== null) index += length;
  }
  for (const own of stretches.values()) own.sort((a, b) => a.clock - b.clock);
  return stretches;
}

/** The first that ends behind this place. */
function firstBehind<T>(all: readonly T[], endOf: (one: T) => number, place: number): number {
  let [low, high] = [0, all.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (endOf(all[middle]!) > place) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** What of the base stands from `from` on and before `to`. */
function between(parts: readonly Part[], from: number, to: number): Part[] {
  const found: Part[] = [];
  for (let i = firstBehind(parts, ({ at, length }) => at + length, from); i < parts.length && parts[i]!.at < to; i++) {
    const { client, clock, length, at } = parts[i]!;
    const skipped = Math.max(0, from - at);
    const end = Math.min(length, to - at);
    found.push({ client, clock: clock + skipped, length: end - skipped, at: at + skipped });
  }
  return found;
}

/** Where units are to be seen now. */
function shownOf(stretches: ReadonlyMap<number, Stretch[]>, { client, clock, length }: Part): Placed["gone"] {
  const own = stretches.get(client) ?? [];
  const end = clock + length;
  const shown: Placed["gone"] = [];
  for (let i = firstBehind(own, (one) => one.clock + one.length, clock); i < own.length && own[i]!.clock < end; i++) {
    const one = own[i]!;
    const from = Math.max(clock, one.clock);
    if (one.isShown)
      shown.push({ index: one.index + from - one.clock, length: Math.min(end, one.clock + one.length) - from });
  }
  return shown;
}

function joined(ranges: Placed["gone"]): Placed["gone"] {
  const out: Placed["gone"] = [];
  for (const { index, length } of ranges.toSorted((a, b) => a.index - b.index)) {
    const last = out.at(-1);
    if (last !== undefined && last.index + last.length === index) last.length += length;
    else out.push({ index, length });
  }
  return out;
}

/**
 * The last of the first `count` units of the base which is still of this text: what somebody wrote who was removed since may be of it
 * no more. null: none is.
 */
function lastUnit(parts: readonly Part[], count: number, known: ReadonlyMap<number, number>): Unit | null {
  for (let i = firstBehind(parts, ({ at }) => at, count - 1) - 1; i >= 0; i--) {
    const { client, clock, length, at } = parts[i]!;
    const end = Math.min(clock + Math.min(length, count - at), known.get(client) ?? 0);
    if (end > clock) return { client, clock: end - 1 };
  }
  return null;
}

/** Where something directly after this unit goes, also if the unit is deleted by now. */
function placeAfter(stretches: ReadonlyMap<number, Stretch[]>, unit: Unit | null): number {
  if (unit === null) return 0;
  const own = stretches.get(unit.client) ?? [];
  const found = own[firstBehind(own, ({ clock, length }) => clock + length, unit.clock)];
  if (found === undefined || found.clock > unit.clock)
    throw new KinError("INTERNAL", `unit ${unit.client}:${unit.clock} is of another text`);
  return found.isShown ? found.index + unit.clock - found.clock + 1 : found.index;
}

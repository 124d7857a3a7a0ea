/**
 * What somebody meant by edits that count no more, because they stand on words that a removal cut off (R5): as changes of what
 * counts now, for another life of his log (`arrivals.ts`). What he has typed is said again where it stood, what he took away is
 * taken away; what others have set meanwhile stays as they set it.
 */
import type { NoteForm } from "../../protocols/document.ts";
import { MARKS, TEXT_ROOT } from "./board.ts";
import { editText, TEXT } from "./note-text.ts";
import type { Hunk } from "./text-diff.ts";
import {
  firstOf,
  loadDocument,
  loadWithDeleted,
  runsFrom,
  seenBy,
  textOf,
  writeAs,
  type MadeUpdate,
  type Range,
  type Run,
  type Unit,
  type Update,
  type YItem,
} from "./yjs.ts";

export interface Meant {
  /** Hunks of what `runs` show: the text as it counted when this was found out. */
  texts: { root: string; runs: Run[]; hunks: Hunk[] }[];
  /** `value` null: it is taken away. `instead`: what stood there when this was found out; what somebody has set since stays. */
  entries: { root: string; key: string; value: string | null; instead: Unit | null }[];
}

/** Entries that one update sets: with what they take the place of it stays far below what one may have. */
const UPDATE_ENTRIES = 256;
/** No card has this text: nobody marks it. */
const NO_CARD = `${TEXT_ROOT}${"0".repeat(16)}`;

/**
 * @param state what counts
 * @param updates what did once, in an order in which it can be applied; they were tried
 * @param mine those of them that are to be said again
 */
export function meantBy(state: Uint8Array, updates: readonly Update[], mine: ReadonlySet<Update>): Meant {
  const now = loadDocument(state);
  const then = loadWithDeleted(
    state,
    updates.map(({ bytes }) => bytes),
  );
  const known = seenBy(now);
  const own = [...mine];
  const is = {
    known: (client: number, clock: number) => clock < (known.get(client) ?? 0),
    mine: within(own.map(({ client, from, to }) => ({ client, clock: from, length: to - from }))),
    /** Taken away by what is said again. */
    gone: within(own.flatMap(({ deleted }) => deleted)),
    seen: (client: number, clock: number) => own.some(({ seen }) => clock < (seen.get(client) ?? 0)),
  };
  const meant: Meant = { texts: [], entries: [] };
  for (const [name, root] of then.share) {
    const first = now.share.get(name)?._start ?? null;
    const hunks = hunksIn(first, root._start, is);
    if (hunks.length > 0) meant.texts.push({ root: name, runs: runsFrom(first), hunks });
    for (const key of root._map.keys()) {
      const stands = now.share.get(name)?._map.get(key) ?? null;
      const value = entryIn(stands, firstOf(root, key), is, name === MARKS);
      if (value !== undefined) meant.entries.push({ root: name, key, value, instead: stands?.id ?? null });
    }
  }
  return meant;
}

type IsUnit = (client: number, clock: number) => boolean;
interface Questions {
  known: IsUnit;
  mine: IsUnit;
  gone: IsUnit;
  seen: IsUnit;
}

function within(ranges: readonly Range[]): IsUnit {
  const clocks = new Map<number, Set<number>>();
  for (const { client, clock, length } of ranges) {
    const set = clocks.get(client) ?? new Set<number>();
    clocks.set(client, set);
    for (let i = 0; i < length; i++) set.add(clock + i);
  }
  return (client, clock) => clocks.get(client)?.has(clock) ?? false;
}

/** What stands in a chain now stands in the same order among what stood there then. */
function hunksIn(now: YItem | null, then: YItem | null, is: Questions): Hunk[] {
  const hunks: Hunk[] = [];
  const shown = visible(now);
  let at = 0;
  let open: Hunk | null = null;
  const hunk = (): Hunk => {
    if (open === null) hunks.push((open = { at, removed: 0, inserted: "" }));
    return open;
  };
  for (let item = then; item !== null; item = item.right) {
    for (let i = 0; i < item.length; i++) {
      const { client, clock } = { client: item.id.client, clock: item.id.clock + i };
      if (!is.known(client, clock)) {
        if (is.mine(client, clock) && !is.gone(client, clock)) hunk().inserted += textOf(item.content)[i]!;
      } else if (shown.next().value === true) {
        if (is.gone(client, clock)) hunk().removed++;
        else open = null;
        at++;
      }
    }
  }
  return hunks;
}

/** Of each unit of a chain, whether it is to be seen. */
function* visible(first: YItem | null): Generator<boolean, undefined> {
  for (let item = first; item !== null; item = item.right) for (let i = 0; i < item.length; i++) yield !item.deleted;
}

/** undefined: it stays. A mark is its author's own: nobody else has set it. */
function entryIn(now: YItem | null, first: YItem | null, is: Questions, isMark: boolean): string | null | undefined {
  const isNews = now !== null && !is.seen(now.id.client, now.id.clock);
  if (isNews && !isMark) return undefined;
  let value: string | undefined;
  for (let item = first; item !== null; item = item.right) {
    const { client, clock } = item.id;
    if (!is.known(client, clock) && is.mine(client, clock) && !is.gone(client, clock)) value = textOf(item.content);
  }
  if (value !== undefined) return value;
  return now !== null && !now.deleted && is.gone(now.id.client, now.id.clock) ? null : undefined;
}

/**
 * As updates of `client`. If nothing was typed or set it writes a space and takes it away: his edits wait no more once something of the
 * later life counts.
 */
export function writeMeant(state: Uint8Array, client: number, form: NoteForm, { texts, entries }: Meant): MadeUpdate[] {
  return writeAs(state, client, (doc, transact) => {
    for (const { root, runs, hunks } of texts) {
      const wellFormed = hunks.map((hunk) => ({ ...hunk, inserted: hunk.inserted.toWellFormed() }));
      editText(doc.getText(root), runs, wellFormed, transact);
    }
    for (let at = 0; at < entries.length; at += UPDATE_ENTRIES)
      transact(() => {
        for (const { root, key, value, instead } of entries.slice(at, at + UPDATE_ENTRIES)) {
          const map = doc.getMap(root);
          const isMark = root === MARKS && value !== null;
          if (!isMark && !isSame(map._map.get(key)?.id ?? null, instead)) continue;
          if (value === null) map.delete(key);
          else map.set(root === MARKS ? ownMark(key, client) : key, value);
        }
      });
    if (seenBy(doc).has(client)) return;
    const text = doc.getText(form === "text" ? TEXT : NO_CARD);
    transact(() => text.insert(0, " "));
    transact(() => text.delete(0, 1));
  });
}

function isSame(a: Unit | null, b: Unit | null): boolean {
  return a?.client === b?.client && a?.clock === b?.clock;
}

function ownMark(key: string, client: number): string {
  return `${key.slice(0, key.indexOf("/"))}/${client}`;
}

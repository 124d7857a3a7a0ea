/**
 * A board: columns of cards that several people and agents change at once. It is a document of Yjs of texts and entries; a card
 * is known by 16 hexadecimal digits of chance:
 *
 *   text     card/<card>                        what it says: who edit it at once keep each other's words
 *   entries  marks      <card>/<client> → yes   who has done something to it
 *   entries  places     <card> → order, column  where it stands: one place; of moves at once one counts
 *   entries  assigned   <card>/<person> → yes
 *   entries  columns    name → order
 *
 * A card is there as long as it has a mark. Each act sets its author's anew; who removes the card deletes those that he has seen,
 * and nothing else: what somebody does to it at the same time brings it back whole, and no act is lost. Any set of acts is a board: a card
 * without a place stands in the first column, a column that a card names and nobody has is shown after the others.
 */
import { sha256 } from "#crypto";
import { encode, toHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";
import type { Random } from "../../protocols/effects.ts";
import type { PersonId } from "../../protocols/ids.ts";
import { isOrder } from "./order.ts";
import {
  applyUpdates,
  encodeState,
  firstOf,
  loadDocument,
  runsFrom,
  seenBy,
  valueOf,
  type Run,
  type Shape,
  type SharedDocument,
  type YDoc,
} from "./yjs.ts";

/** 16 lower-case hexadecimal digits. */
export type CardId = string;

export interface Card {
  id: CardId;
  text: string;
  /** Of its text. */
  runs: Run[];
  column: string;
  /** null: nobody has said where it stands. */
  order: string | null;
  /** Ascending. */
  assigned: PersonId[];
}
export interface BoardColumn {
  name: string;
  /** null: nobody has this column, a card names it. */
  order: string | null;
  cards: Card[];
}
export interface BoardState extends SharedDocument {
  /** With all their cards, in order. */
  columns(): BoardColumn[];
}

/** Where there is none. */
export const FIRST_COLUMN = "todo";
/** With its order an entry is shorter than one may be. */
const MAX_COLUMN_BYTES = 64;

const CARD_BYTES = 8;
const CARD = /^[0-9a-f]{16}$/;
const TEXT = /^card\/[0-9a-f]{16}$/;
const MARKED = /^[0-9a-f]{16}\/(0|[1-9][0-9]{0,15})$/;
const ASSIGNED = /^[0-9a-f]{16}\/[0-9a-f]{64}$/;
const COLUMN = /^[^ \p{Cc}]([^\p{Cc}]*[^ \p{Cc}])?$/u;
export const YES = "yes";
export const TEXT_ROOT = "card/";
export const MARKS = "marks";
export const COLUMNS = "columns";
export const PLACES = "places";
export const ASSIGNMENTS = "assigned";

export const BOARD_SHAPE: Shape = {
  name: "a board",
  content: "texts and entries",
  hasEntries: true,
  refuses(root, key, value) {
    if (value === null) return key === null && TEXT.test(root) ? null : `text in "${root}"`;
    const isRight = key !== null && isEntry(root, key, value);
    return isRight ? null : `no board has "${value}" as "${key}" of "${root}"`;
  },
};

function isEntry(root: string, key: string, value: string): boolean {
  if (root === COLUMNS) return isColumnName(key) && isOrder(value);
  if (root === PLACES) return CARD.test(key) && placeOf(value) !== null;
  return ((root === MARKS && MARKED.test(key)) || (root === ASSIGNMENTS && ASSIGNED.test(key))) && value === YES;
}

export function isColumnName(name: string): boolean {
  return COLUMN.test(name) && utf8Bytes(name).length <= MAX_COLUMN_BYTES;
}

/** "order column" */
function placeOf(value: string): { order: string; column: string } | null {
  const at = value.indexOf(" ");
  const [order, column] = [value.slice(0, at), value.slice(at + 1)];
  return at > 0 && isOrder(order) && isColumnName(column) ? { order, column } : null;
}

export function newCardId(random: Random): CardId {
  return toHex(random.bytes(CARD_BYTES));
}

// ── what it says ──

export function createBoard(state: Uint8Array | null = null): BoardState {
  const doc = loadDocument(state);
  return {
    columns: () => columnsOf(doc),
    seen: () => seenBy(doc),
    apply: (updates) => applyUpdates(doc, updates),
    state: () => encodeState(doc),
    hash: () => sha256(encode([[...chainsOf(doc)], [...seenBy(doc)].toSorted(([a], [b]) => a - b)])),
  };
}

function columnsOf(doc: YDoc): BoardColumn[] {
  const cards = cardsOf(doc);
  const own = [...entriesOf(doc, COLUMNS)].map(([name, order]) => ({ name, order }));
  own.sort((a, b) => compare(a.order, b.order) || compare(a.name, b.name));
  const [first = FIRST_COLUMN] = own.map(({ name }) => name);
  const stands = Map.groupBy(cards, ({ column }) => (column === "" ? first : column));
  const named = new Set(own.map(({ name }) => name));
  const others = [...stands.keys()].filter((name) => !named.has(name)).toSorted();
  return [...own, ...others.map((name) => ({ name, order: null }))].map(({ name, order }) => {
    const inIt = (stands.get(name) ?? []).map((card) => ({ ...card, column: name }));
    return { name, order, cards: inIt.toSorted(byOrder) };
  });
}

/** Without a column: "". */
function cardsOf(doc: YDoc): Card[] {
  const places = entriesOf(doc, PLACES);
  const assigned = byCard(entriesOf(doc, ASSIGNMENTS));
  return [...byCard(entriesOf(doc, MARKS)).keys()].map((id): Card => {
    const runs = runsFrom(doc.share.get(TEXT_ROOT + id)?._start ?? null).filter(({ text }) => text !== null);
    const { order = null, column = "" } = placeOf(places.get(id) ?? "") ?? {};
    const to = (assigned.get(id) ?? []).map((key) => key.slice(CARD_BYTES * 2 + 1) as PersonId).toSorted();
    return { id, text: runs.map(({ text }) => text).join(""), runs, column, order, assigned: to };
  });
}

/** Keys `<card>/…` of each card. */
export function byCard(entries: ReadonlyMap<string, string>): Map<CardId, string[]> {
  return Map.groupBy(entries.keys(), (key) => key.slice(0, CARD_BYTES * 2));
}

export function entriesOf(doc: YDoc, root: string): Map<string, string> {
  const entries = new Map<string, string>();
  for (const [key, item] of doc.share.get(root)?._map ?? []) {
    const value = valueOf(item);
    if (value !== null) entries.set(key, value);
  }
  return entries;
}

/** Who has no place stands last. */
function byOrder(a: Card, b: Card): number {
  if (a.order === null || b.order === null)
    return Number(a.order === null) - Number(b.order === null) || compare(a.id, b.id);
  return compare(a.order, b.order) || compare(a.id, b.id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

/** All texts and all that ever stood under each key. */
function* chainsOf(doc: YDoc): Generator<Value> {
  for (const [name, root] of [...doc.share].toSorted(([a], [b]) => compare(a, b))) {
    const keys = root._map.size === 0 ? [null] : [...root._map.keys()].toSorted();
    for (const key of keys)
      yield [
        name,
        key,
        runsFrom(firstOf(root, key)).map(({ client, clock, length, text }) => [client, clock, text ?? length]),
      ];
  }
}

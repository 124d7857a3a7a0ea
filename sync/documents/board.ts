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
import { KinError } from "../../protocols/errors.ts";
import type { PersonId } from "../../protocols/ids.ts";
import { editText } from "./note-text.ts";
import { isOrder, MAX_ORDER_DIGITS, orderBetween } from "./order.ts";
import { diffText } from "./text-diff.ts";
import {
  applyUpdates,
  encodeState,
  firstOf,
  loadDocument,
  runsFrom,
  seenBy,
  valueOf,
  writeAs,
  type MadeUpdate,
  type Run,
  type Shape,
  type SharedDocument,
  type YDoc,
  type YItem,
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

/** Where in a column. */
export type CardPlace = "top" | "end" | { before: CardId } | { after: CardId };
export type BoardAct =
  /** Those that are not named are taken away. */
  | { act: "columns"; names: readonly string[] }
  | { act: "add"; card: CardId; text: string; column: string | null; place: CardPlace; assigned: readonly PersonId[] }
  | { act: "move"; card: CardId; column: string | null; place: CardPlace }
  /** `base`: what its author was shown. */
  | { act: "edit"; card: CardId; text: string; base?: { runs: readonly Run[]; text: string } }
  | { act: "assign"; card: CardId; to: readonly PersonId[]; notTo: readonly PersonId[] }
  | { act: "remove"; card: CardId };

export const DEFAULT_COLUMNS: readonly string[] = ["todo", "doing", "done"];
/** What people oversee. What others make at the same time may be more. */
const MAX_COLUMNS = 32;
const MAX_CARDS = 1024;
const MAX_ASSIGNED = 32;
/** A card is a few lines; a text is a note. In UTF-16 units. */
const MAX_CARD_UNITS = 8192;
/** With its order an entry is shorter than one may be. */
const MAX_COLUMN_BYTES = 64;
/** An edit in more pieces is one piece: it has to fit into one update. */
const MAX_HUNKS = 128;

/** Of an id, to be typed. */
const LEAST_DIGITS = 3;
const CARD_BYTES = 8;
const CARD = /^[0-9a-f]{16}$/;
const TEXT = /^card\/[0-9a-f]{16}$/;
const MARKED = /^[0-9a-f]{16}\/(0|[1-9][0-9]{0,15})$/;
const ASSIGNED = /^[0-9a-f]{16}\/[0-9a-f]{64}$/;
const COLUMN = /^[^ \p{Cc}]([^\p{Cc}]*[^ \p{Cc}])?$/u;
const YES = "yes";
const TEXT_ROOT = "card/";
const MARKS = "marks";
const COLUMNS = "columns";
const PLACES = "places";
const ASSIGNMENTS = "assigned";

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

function isColumnName(name: string): boolean {
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
  const [first = DEFAULT_COLUMNS[0]!] = own.map(({ name }) => name);
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
function byCard(entries: ReadonlyMap<string, string>): Map<CardId, string[]> {
  return Map.groupBy(entries.keys(), (key) => key.slice(0, CARD_BYTES * 2));
}

function entriesOf(doc: YDoc, root: string): Map<string, string> {
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

// ── for people ──

/** The fewest digits that say which card of its board it is. */
export function shortIds(columns: readonly BoardColumn[]): Map<CardId, string> {
  const ids = columns.flatMap(({ cards }) => cards.map(({ id }) => id)).toSorted();
  const common = (a: string, b = ""): number => [...a].findIndex((digit, i) => digit !== b[i]);
  return new Map(
    ids.map((id, i) => [
      id,
      id.slice(0, Math.max(LEAST_DIGITS, common(id, ids[i - 1]) + 1, common(id, ids[i + 1]) + 1)),
    ]),
  );
}

/** By how its id begins, its text, or how its text begins. @throws KinError NOT_FOUND, USAGE if several are meant */
export function findCard(columns: readonly BoardColumn[], typed: string, title: string): Card {
  const cards = columns.flatMap((column) => column.cards);
  const words = typed.trim().toLowerCase();
  const tries = [
    (card: Card) => words.length >= LEAST_DIGITS && card.id.startsWith(words),
    ({ text }: Card) => text.trim().toLowerCase() === words,
    ({ text }: Card) => words !== "" && text.trim().toLowerCase().startsWith(words),
  ];
  return oneOf(
    tries.map((isMeant) => cards.filter(isMeant)),
    `card "${typed}"`,
    title,
  );
}

/** By its name, or how it begins, in capitals or not. @throws KinError NOT_FOUND, USAGE if several are meant */
export function findColumn(columns: readonly BoardColumn[], typed: string, title: string): string {
  const words = typed.trim().toLowerCase();
  const tries = [
    (name: string) => name === typed,
    (name: string) => name.toLowerCase() === words,
    (name: string) => words !== "" && name.toLowerCase().startsWith(words),
  ];
  const names = columns.map(({ name }) => name);
  return oneOf(
    tries.map((isMeant) => names.filter(isMeant)),
    `column "${typed}"`,
    title,
  );
}

function oneOf<T>(tries: T[][], what: string, title: string): T {
  const found = tries.find((some) => some.length > 0) ?? [];
  if (found.length > 1) throw new KinError("USAGE", `${found.length} of "${title}" are meant by the ${what}`);
  if (found.length === 0) throw new KinError("NOT_FOUND", `there is no ${what} on "${title}"`);
  return found[0]!;
}

/** As Markdown: what programs and agents read. */
export function formatBoard(columns: readonly BoardColumn[], nameOf: (person: PersonId) => string): string {
  const short = shortIds(columns);
  const line = ({ id, text, assigned }: Card): string => {
    const people = assigned.length === 0 ? "" : ` (${assigned.map(nameOf).join(", ")})`;
    return `- ${short.get(id)!} ${text.trim().replace(/\s*\n\s*/g, " / ")}${people}\n`;
  };
  return columns.map(({ name, cards }) => `## ${name}\n${cards.map(line).join("")}`).join("");
}

// ── acts ──

type Step = (doc: YDoc) => void;

/** The update by which `client` does this; none if it is so already. @throws KinError NOT_FOUND, BAD_REQUEST, TOO_LARGE */
export function writeBoard(board: BoardState, client: number, act: BoardAct, random: Random): MadeUpdate[] {
  const steps = stepsOf(board.columns(), act, random);
  if (steps.length === 0) return [];
  return writeAs(board.state(), client, (doc, transact) =>
    transact(() => {
      for (const step of steps) step(doc);
    }),
  );
}

function stepsOf(columns: BoardColumn[], act: BoardAct, random: Random): Step[] {
  switch (act.act) {
    case "columns":
      return setColumns(columns, act.names, random);
    case "add":
      return add(columns, act, random);
    case "move":
      return move(columns, act, random);
    case "edit":
      return edit(columns, act);
    case "assign":
      return assign(columns, act);
    case "remove":
      cardIn(columns, act.card);
      return [(doc) => removeMarks(doc, act.card)];
  }
}

/** @throws KinError BAD_REQUEST */
export function checkColumns(names: readonly string[]): void {
  if (names.length === 0 || names.length > MAX_COLUMNS)
    throw new KinError("BAD_REQUEST", `${names.length} columns: a board has 1 to ${MAX_COLUMNS}`);
  const wrong = names.find((name, i) => !isColumnName(name) || names.indexOf(name) !== i);
  if (wrong !== undefined)
    throw new KinError(
      "BAD_REQUEST",
      `${JSON.stringify(wrong)} is no column's name, or is named twice: a few words each`,
    );
}

function setColumns(columns: BoardColumn[], names: readonly string[], random: Random): Step[] {
  checkColumns(names);
  const gone = columns.filter(({ name }) => !names.includes(name));
  const full = gone.find(({ cards }) => cards.length > 0);
  if (full !== undefined)
    throw new KinError("BAD_REQUEST", `${full.cards.length} cards stand in "${full.name}": move them first`);
  const orders = names.map((name) => columns.find((column) => column.name === name)?.order ?? null);
  return [...gone.map(({ name }) => unset(COLUMNS, name)), ...setOrders(names, orders, random)];
}

/** Whatever stands in order stays as it is. */
function setOrders(names: readonly string[], orders: (string | null)[], random: Random): Step[] {
  const steps: Step[] = [];
  let last: string | null = null;
  for (const [i, own] of orders.entries()) {
    const isAfter = (order: string | null): order is string => order !== null && (last === null || order > last);
    if (!isAfter(own)) {
      const next: string | undefined = orders.slice(i + 1).find(isAfter);
      last = orderBetween(last, next ?? null, random);
      steps.push(set(COLUMNS, names[i]!, last));
    } else last = own;
  }
  return steps;
}

function add(
  columns: BoardColumn[],
  { card, text, column, place, assigned }: BoardAct & { act: "add" },
  random: Random,
): Step[] {
  checkText(text);
  if (columns.some(({ cards }) => cards.some(({ id }) => id === card)))
    throw new KinError("BAD_REQUEST", `there is a card ${card} on this board already`);
  const count = columns.reduce((sum, { cards }) => sum + cards.length, 0);
  if (count >= MAX_CARDS) throw new KinError("TOO_LARGE", `a board of ${count} cards: at most ${MAX_CARDS}`);
  checkAssigned(assigned);
  return [
    (doc) => doc.getText(TEXT_ROOT + card).insert(0, text.toWellFormed()),
    ...putInto(columnFor(columns, column, place), card, place, random),
    ...assigned.map((person) => set(ASSIGNMENTS, `${card}/${person}`, YES)),
    mark(card),
  ];
}

function move(columns: BoardColumn[], { card, column, place }: BoardAct & { act: "move" }, random: Random): Step[] {
  const moved = cardIn(columns, card);
  const into = columnFor(columns, column, place, moved);
  const others = into.cards.filter(({ id }) => id !== card);
  const at = into.cards.findIndex(({ id }) => id === card);
  if (at === indexOf(others, place) && moved.order !== null) return [];
  return [...putInto({ ...into, cards: others }, card, place, random), mark(card)];
}

/** The one that is named; else that of the neighbour; else that of the card itself; else the first. */
function columnFor(columns: BoardColumn[], name: string | null, place: CardPlace, card?: Card): BoardColumn {
  const beside = typeof place === "string" ? null : cardIn(columns, "before" in place ? place.before : place.after);
  if (name !== null && beside !== null && beside.column !== name)
    throw new KinError("BAD_REQUEST", `the card beside it stands in "${beside.column}", not in "${name}"`);
  const wanted = name ?? beside?.column ?? card?.column;
  if (wanted === undefined) return columns[0] ?? { name: DEFAULT_COLUMNS[0]!, order: null, cards: [] };
  const found = columns.find((column) => column.name === wanted);
  if (found === undefined) throw new KinError("NOT_FOUND", `there is no column "${wanted}"`);
  return found;
}

/** @param into without the card */
function putInto({ name, cards }: BoardColumn, card: CardId, place: CardPlace, random: Random): Step[] {
  const at = indexOf(cards, place);
  const left = cards.slice(0, at).findLast(({ order }) => order !== null)?.order ?? null;
  // Of cards with one order it goes behind the last.
  const right = cards.slice(at).find(({ order }) => order !== null && (left === null || order > left))?.order ?? null;
  const order = orderBetween(left, right, random);
  if (order.length <= MAX_ORDER_DIGITS) return [set(PLACES, card, `${order} ${name}`)];
  let last: string | null = null;
  return cards
    .map(({ id }) => id)
    .toSpliced(at, 0, card)
    .map((id) => {
      last = orderBetween(last, null, random);
      return set(PLACES, id, `${last} ${name}`);
    });
}

function indexOf(cards: Card[], place: CardPlace): number {
  if (place === "top") return 0;
  if (place === "end") return cards.length;
  const beside = "before" in place ? place.before : place.after;
  const at = cards.findIndex(({ id }) => id === beside);
  return "before" in place ? at : at + 1;
}

function edit(columns: BoardColumn[], { card, text, base }: BoardAct & { act: "edit" }): Step[] {
  const { runs, text: now } = cardIn(columns, card);
  checkText(text);
  const shown = base ?? { runs, text: now };
  const wanted = text.toWellFormed();
  const found = diffText(shown.text, wanted);
  const hunks = found.length > MAX_HUNKS ? [{ at: 0, removed: shown.text.length, inserted: wanted }] : found;
  if (hunks.length === 0) return [];
  return [(doc) => editText(doc.getText(TEXT_ROOT + card), shown.runs, hunks, (run) => run()), mark(card)];
}

function assign(columns: BoardColumn[], { card, to, notTo }: BoardAct & { act: "assign" }): Step[] {
  const { assigned } = cardIn(columns, card);
  const key = (person: PersonId): string => `${card}/${person}`;
  const fresh = to.filter((person) => !assigned.includes(person));
  const gone = notTo.filter((person) => assigned.includes(person) && !to.includes(person));
  if (fresh.length + gone.length === 0) return [];
  checkAssigned([...assigned.filter((person) => !gone.includes(person)), ...fresh]);
  return [
    ...fresh.map((person) => set(ASSIGNMENTS, key(person), YES)),
    ...gone.map((person) => unset(ASSIGNMENTS, key(person))),
    mark(card),
  ];
}

function cardIn(columns: BoardColumn[], id: CardId): Card {
  const card = columns.flatMap(({ cards }) => cards).find((one) => one.id === id);
  if (card === undefined) throw new KinError("NOT_FOUND", `there is no card ${id} on this board`);
  return card;
}

function checkText(text: string): void {
  if (text.trim() === "") throw new KinError("BAD_REQUEST", "a card says something: its text is empty");
  if (text.length > MAX_CARD_UNITS)
    throw new KinError(
      "TOO_LARGE",
      `a card of ${text.length} characters: at most ${MAX_CARD_UNITS}; what is longer is a note`,
    );
}

function checkAssigned(people: readonly PersonId[]): void {
  if (people.length > MAX_ASSIGNED)
    throw new KinError("TOO_LARGE", `a card for ${people.length} people: at most ${MAX_ASSIGNED}`);
}

function set(root: string, key: string, value: string): Step {
  return (doc) => void doc.getMap(root).set(key, value);
}

function unset(root: string, key: string): Step {
  return (doc) => doc.getMap(root).delete(key);
}

/** Of the author: whoever he is in the document that he writes in. */
function mark(card: CardId): Step {
  return (doc) => set(MARKS, `${card}/${doc.clientID}`, YES)(doc);
}

function removeMarks(doc: YDoc, card: CardId): void {
  for (const key of byCard(entriesOf(doc, MARKS)).get(card) ?? []) unset(MARKS, key)(doc);
}

/**
 * What people and agents do to a board, as updates of its document. Each act touches as little as it can, and sets its author's mark
 * on the card, so that acts at once stay side by side (`board.ts`).
 */
import type { Random } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { PersonId } from "../../protocols/ids.ts";
import {
  ASSIGNMENTS,
  byCard,
  COLUMNS,
  entriesOf,
  FIRST_COLUMN,
  isColumnName,
  MARKS,
  PLACES,
  TEXT_ROOT,
  YES,
  type BoardColumn,
  type BoardState,
  type Card,
  type CardId,
} from "./board.ts";
import { editText } from "./note-text.ts";
import { MAX_ORDER_DIGITS, orderBetween } from "./order.ts";
import { diffText } from "./text-diff.ts";
import { writeAs, type MadeUpdate, type Run, type YDoc } from "./yjs.ts";

/** Where in a column. */
export type CardPlace = "top" | "end" | { before: CardId } | { after: CardId };
export type BoardAct =
  /** Those that are not named are taken away. */
  | { act: "columns"; names: readonly string[] }
  | { act: "add"; card: CardId; text: string; column: string | null; place: CardPlace; assigned: readonly PersonId[] }
  | { act: "move"; card: CardId; column: string | null; place: CardPlace }
  /** `base`: what its author was shown, if that was before. */
  | { act: "edit"; card: CardId; text: string; base?: { runs: readonly Run[]; text: string } }
  | { act: "assign"; card: CardId; to: readonly PersonId[]; notTo: readonly PersonId[] }
  | { act: "remove"; card: CardId };

/** What people oversee. What others make at the same time may be more. */
const MAX_COLUMNS = 32;
/** New orders for all of them, and a card with all that it may have, are one update (`MAX_UPDATE_STRUCTS`). */
const MAX_CARDS = 900;
const MAX_ASSIGNED = 32;
/** A card is a few lines; a text is a note. In UTF-16 units. */
const MAX_CARD_UNITS = 8192;
/** An edit in more pieces is one piece: it has to fit into one update. */
const MAX_HUNKS = 128;

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
  if (wanted === undefined) return columns[0] ?? { name: FIRST_COLUMN, order: null, cards: [] };
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

/** Who was shown the card may have it open while somebody removes it: what he makes of it brings it back. */
function edit(columns: BoardColumn[], { card, text, base }: BoardAct & { act: "edit" }): Step[] {
  checkText(text);
  const shown = base ?? cardIn(columns, card);
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

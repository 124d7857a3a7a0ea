/** Boards: places between places, and acts of several at once, in every order of delivery. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf, type PersonId } from "../../protocols/ids.ts";
import { BOARD_SHAPE, createBoard, newCardId, type BoardState, type Card } from "../../sync/documents/board.ts";
import { writeBoard, type BoardAct } from "../../sync/documents/board-acts.ts";
import { findCard, findColumn, shortIds } from "../../sync/documents/board-names.ts";
import { isOrder, MAX_ORDER_DIGITS, orderBetween } from "../../sync/documents/order.ts";
import { parseUpdate, tryUpdates, writeAs, type MadeUpdate } from "../../sync/documents/yjs.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";

const PEOPLE = ["ana", "ben"].map((name) => idOf<"person">(bytesOf(name))) as [PersonId, PersonId];

describe("orders", () => {
  const digits = fc.array(fc.constantFrom(...Array.from("0149aiyz")), { minLength: 1, maxLength: 9 });
  const order = digits.map((all) => all.join("")).filter(isOrder);

  test("board-order: between any two orders there is one, whoever made them", () => {
    fc.assert(
      fc.property(fc.option(order), fc.option(order), fc.integer(), (a, b, seed) => {
        fc.pre(a === null || b === null || a !== b);
        const [left, right] = a !== null && b !== null && a > b ? [b, a] : [a, b];
        const made = orderBetween(left, right, seededRandom(String(seed)));
        expect(isOrder(made)).toBe(true);
        if (left !== null) expect(made > left).toBe(true);
        if (right !== null) expect(made < right).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test("board-order: thousands at an end stay short; two who put something at one place make different ones", () => {
    const random = seededRandom("orders");
    let [first, last] = [orderBetween(null, null, random), orderBetween(null, null, random)];
    for (let i = 0; i < 5000; i++) {
      [first, last] = [orderBetween(null, first, random), orderBetween(last, null, random)];
      expect(first.length).toBeLessThan(9);
      expect(last.length).toBeLessThan(9);
    }
    const made = Array.from({ length: 20 }, () => orderBetween("4", "5", random));
    expect(new Set(made).size).toBe(20);
  });
});

/** A replica that applies only what it has tried. */
class Replica {
  readonly board: BoardState = createBoard();
  readonly client: number;
  readonly has: Made[] = [];
  readonly random;
  constructor(client: number) {
    this.client = client;
    this.random = seededRandom(String(client));
  }

  act(act: BoardAct): boolean {
    const [made] = writeBoard(this.board, this.client, act, this.random);
    if (made !== undefined) this.take({ ...made, client: this.client });
    return made !== undefined;
  }

  add(text: string, more: { column?: string; place?: "top" | "end" } = {}): string {
    const card = newCardId(this.random);
    const { column = null, place = "end" } = more;
    this.act({ act: "add", card, text, column, place, assigned: [] });
    return card;
  }

  take(made: Made): void {
    const update = parseUpdate(made.bytes, made.client, made.seen, BOARD_SHAPE);
    expect(tryUpdates(this.board.state(), [update], BOARD_SHAPE)).toEqual({ right: 1, refused: null });
    this.board.apply([made.bytes]);
    this.has.push(made);
  }

  /** In the order in which the other has them: causes first. */
  learn(from: Replica): void {
    for (const made of from.has) if (!this.has.includes(made)) this.take(made);
  }

  cards(): Card[] {
    return this.board.columns().flatMap(({ cards }) => cards);
  }
  /** "todo: a, b" */
  shows(): string[] {
    return this.board.columns().map(({ name, cards }) => `${name}: ${cards.map(({ text }) => text).join(", ")}`);
  }
}
type Made = MadeUpdate & { client: number };

/** Two with a board of three columns, and card "a" in the first. */
function two(): { ana: Replica; ben: Replica; card: string } {
  const [ana, ben] = [new Replica(2 ** 53 - 1), new Replica(7)];
  ana.act({ act: "columns", names: ["todo", "doing", "done"] });
  const card = ana.add("a");
  ben.learn(ana);
  return { ana, ben, card };
}

function equalise(...all: Replica[]): void {
  for (const one of all) for (const other of all) one.learn(other);
  expect(new Set(all.map(({ board }) => toHex(board.hash()))).size).toBe(1);
  expect(new Set(all.map((one) => JSON.stringify(one.shows()))).size).toBe(1);
}

describe("acts at once", () => {
  test("board-move: two who move one card find it in one column, the same for both, with its words", () => {
    const { ana, ben, card } = two();
    ana.act({ act: "move", card, column: "doing", place: "end" });
    ben.act({ act: "move", card, column: "done", place: "end" });
    equalise(ana, ben);
    expect(ana.cards()).toHaveLength(1);
    expect(["doing", "done"]).toContain(ana.cards()[0]!.column);
    expect(ana.cards()[0]!.text).toBe("a");
  });

  test("board-edit: an edit and a move both stay; of two edits of one card all words stay", () => {
    const { ana, ben, card } = two();
    ana.act({ act: "edit", card, text: "a, and more" });
    ben.act({ act: "move", card, column: "done", place: "end" });
    equalise(ana, ben);
    expect(ben.shows()).toEqual(["todo: ", "doing: ", "done: a, and more"]);
    ana.act({ act: "edit", card, text: "big a, and more" });
    ben.act({ act: "edit", card, text: "a, and more!" });
    equalise(ana, ben);
    expect(ben.cards()[0]!.text).toBe("big a, and more!");
  });

  test.each([
    ["edit", { act: "edit", text: "a!" }, (card: Card) => card.text === "a!" && card.column === "todo"],
    [
      "move",
      { act: "move", column: "done", place: "end" },
      (card: Card) => card.text === "a" && card.column === "done",
    ],
    ["assign", { act: "assign", to: [PEOPLE[1]], notTo: [] }, (card: Card) => card.assigned[0] === PEOPLE[1]],
  ] as const)("board-remove: who removes a card takes nothing away that he has not seen (%s)", (_, act, isRight) => {
    const { ana, ben, card } = two();
    ana.act({ act: "remove", card });
    expect(ana.cards()).toEqual([]);
    ben.act({ ...act, card });
    equalise(ana, ben);
    expect(ana.cards().map(isRight)).toEqual([true]);
    ben.act({ act: "remove", card });
    equalise(ana, ben);
    expect(ana.cards()).toEqual([]);
    expect(() => ana.act({ act: "edit", card, text: "x" })).toThrow("no card");
  });

  test("board-remove: an editor that was open while the card was removed brings it back with what was written", () => {
    const { ana, ben, card } = two();
    const { runs, text } = ana.cards()[0]!;
    ben.act({ act: "remove", card });
    equalise(ana, ben);
    expect(ana.cards()).toEqual([]);
    expect(ana.act({ act: "edit", card, text, base: { runs, text } })).toBe(false);
    ana.act({ act: "edit", card, text: "a, and more", base: { runs, text } });
    equalise(ana, ben);
    expect(ben.shows()[0]).toBe("todo: a, and more");
  });

  test("board-remove: three at once, also where the remover has seen one of the two others", () => {
    for (const winner of [3, 9]) {
      const { ana, ben, card } = two();
      const li = new Replica(winner);
      li.learn(ana);
      ben.act({ act: "edit", card, text: "a, ben" });
      li.act({ act: "edit", card, text: "li, a" });
      ana.learn(li);
      ana.act({ act: "remove", card });
      equalise(ana, ben, li);
      expect(ana.cards().map(({ text }) => text)).toEqual(["li, a, ben"]);
    }
  });

  test("board-columns: columns that two add at once are both there; one that somebody needs does not go", () => {
    const { ana, ben, card } = two();
    ana.act({ act: "columns", names: ["todo", "doing", "review", "done"] });
    ben.act({ act: "columns", names: ["ideas", "todo", "doing", "done"] });
    equalise(ana, ben);
    expect(ben.shows()).toEqual(["ideas: ", "todo: a", "doing: ", "review: ", "done: "]);
    ana.act({ act: "columns", names: ["ideas", "todo", "review", "done"] });
    ben.act({ act: "move", card, column: "doing", place: "end" });
    equalise(ana, ben);
    expect(ana.shows()).toEqual(["ideas: ", "todo: ", "review: ", "done: ", "doing: a"]);
    expect(() => ana.act({ act: "columns", names: ["todo"] })).toThrow('1 cards stand in "doing"');
    expect(ana.act({ act: "columns", names: ["done", "doing", "todo"] })).toBe(true);
    expect(ana.shows()).toEqual(["done: ", "doing: a", "todo: "]);
    expect(ana.act({ act: "columns", names: ["done", "doing", "todo"] })).toBe(false);
  });

  test("people who are assigned at once are all assigned", () => {
    const { ana, ben, card } = two();
    ana.act({ act: "assign", card, to: [PEOPLE[0]], notTo: [] });
    ben.act({ act: "assign", card, to: [PEOPLE[1]], notTo: [] });
    equalise(ana, ben);
    expect(ana.cards()[0]!.assigned).toEqual(PEOPLE.toSorted());
    expect(ana.act({ act: "assign", card, to: [PEOPLE[1]], notTo: [] })).toBe(false);
    ana.act({ act: "assign", card, to: [], notTo: [PEOPLE[0]] });
    equalise(ana, ben);
    expect(ben.cards()[0]!.assigned).toEqual([PEOPLE[1]]);
  });
});

describe("places", () => {
  test("a card is put at the top, at the end, before or after another", () => {
    const { ana, card } = two();
    const b = ana.add("b");
    ana.add("c", { place: "top" });
    expect(ana.shows()[0]).toBe("todo: c, a, b");
    ana.act({ act: "move", card: b, column: null, place: { before: card } });
    expect(ana.shows()[0]).toBe("todo: c, b, a");
    ana.act({ act: "move", card: b, column: null, place: { after: card } });
    expect(ana.shows()[0]).toBe("todo: c, a, b");
    expect(ana.act({ act: "move", card: b, column: null, place: "end" })).toBe(false);
    expect(ana.act({ act: "move", card: b, column: "todo", place: { after: card } })).toBe(false);
    ana.act({ act: "move", card: b, column: "done", place: "top" });
    ana.act({ act: "move", card, column: null, place: { before: b } });
    expect(ana.shows()).toEqual(["todo: c", "doing: ", "done: a, b"]);
    const beside = { act: "move", card, column: "todo", place: { before: b } } as const;
    expect(() => ana.act(beside)).toThrow('stands in "done", not in "todo"');
  });

  test("board-order: hundreds that are put between the same two stay in order: then the column gets new orders", () => {
    const { ana, card } = two();
    ana.add("z");
    const names = ["z"];
    let longest = 0;
    for (let i = 0; i < 400; i++) {
      const next = newCardId(ana.random);
      const act: BoardAct = {
        act: "add",
        card: next,
        text: String(i),
        column: null,
        place: { after: card },
        assigned: [],
      };
      ana.board.apply(writeBoard(ana.board, ana.client, act, ana.random).map(({ bytes }) => bytes));
      names.unshift(String(i));
      longest = Math.max(longest, ...ana.cards().map(({ order }) => order!.length));
    }
    expect(ana.cards().map(({ text }) => text)).toEqual(["a", ...names]);
    expect(longest).toBeLessThanOrEqual(MAX_ORDER_DIGITS);
    // They were long, and are short again.
    expect(longest).toBeGreaterThan(MAX_ORDER_DIGITS - 8);
    expect(Math.max(...ana.cards().map(({ order }) => order!.length))).toBeLessThan(longest);
  }, 30_000);
});

test("a card is meant by its id, all it says, or how either begins; what may mean two is said to", () => {
  const card = (id: string, text: string): Card => ({
    id: id.padEnd(16, "0"),
    text,
    runs: [],
    column: "",
    order: null,
    assigned: [],
  });
  const columns = [
    { name: "Todo", order: "1", cards: [card("add1", "fix login"), card("add2", "Fix")] },
    { name: "To test", order: "2", cards: [card("3e0", "add it")] },
  ];
  const meant = (typed: string): string => findCard(columns, typed, "b").text;
  expect([...shortIds(columns).values()]).toEqual(["3e0", "add1", "add2"]);
  expect([meant("fix l"), meant("FIX"), meant("add2"), meant(`add1${"0".repeat(12)}`), meant("add it")]).toEqual([
    "fix login",
    "Fix",
    "Fix",
    "fix login",
    "add it",
  ]);
  expect(() => meant("add")).toThrow('3 of "b" are meant by the card "add"');
  expect(() => meant("a")).toThrow('there is no card "a" on "b"');
  expect(findColumn(columns, "to t", "b")).toBe("To test");
  expect(findColumn(columns, "TODO", "b")).toBe("Todo");
  expect(() => findColumn(columns, "to", "b")).toThrow("2 of");
  expect(() => findColumn(columns, "", "b")).toThrow("there is no column");
});

test.each<[string, (replica: Replica, card: string) => BoardAct, string]>([
  ["a column that is not there", (_, card) => ({ act: "move", card, column: "dne", place: "end" }), 'no column "dne"'],
  ["a card that is not there", () => ({ act: "remove", card: "0".repeat(16) }), "there is no card"],
  ["an empty card", (_, card) => ({ act: "edit", card, text: " \n" }), "its text is empty"],
  [
    "a card as long as a book",
    (_, card) => ({ act: "edit", card, text: "x".repeat(8193) }),
    "what is longer is a note",
  ],
  ["no columns", () => ({ act: "columns", names: [] }), "0 columns"],
  ["a column of two lines", () => ({ act: "columns", names: ["a\nb"] }), "no column's name"],
  ["a column twice", () => ({ act: "columns", names: ["todo", "a", "a"] }), "named twice"],
  ["a long name", () => ({ act: "columns", names: ["todo", "x".repeat(65)] }), "no column's name"],
  ["33 columns", () => ({ act: "columns", names: Array.from({ length: 33 }, (_, i) => `c${i}`) }), "33 columns"],
  [
    "a crowd on one card",
    (_, card) => ({
      act: "assign",
      card,
      to: Array.from({ length: 33 }, (_one, i) => idOf(bytesOf(`p${i}`))),
      notTo: [],
    }),
    "33 people",
  ],
])("%s is refused by who would write it", (_, actOf, message) => {
  const { ana, card } = two();
  expect(() => ana.act(actOf(ana, card))).toThrow(message);
  expect(ana.shows()).toEqual(["todo: a", "doing: ", "done: "]);
});

test("a board of over 900 cards is refused; that many in one column get new orders in one update", () => {
  const ana = new Replica(5000);
  // By many at once: none of them knows the others.
  const adds = Array.from({ length: 900 }, (_, client) => {
    const card = newCardId(ana.random);
    const act: BoardAct = { act: "add", card, text: "x", column: null, place: "top", assigned: [] };
    return writeBoard(createBoard(), client, act, ana.random)[0]!.bytes;
  });
  ana.board.apply(adds);
  expect(() => ana.add("one more")).toThrow("a board of 900 cards");
  const [first, second, third] = ana.cards() as [Card, Card, Card];
  const near = writeAs(ana.board.state(), 4000, (doc, transact) =>
    transact(() => {
      doc.getMap("places").set(first.id, `${"0".repeat(62)}1 todo`);
      doc.getMap("places").set(second.id, `${"0".repeat(62)}2 todo`);
    }),
  );
  ana.board.apply(near.map(({ bytes }) => bytes));
  const made = writeBoard(
    ana.board,
    ana.client,
    { act: "move", card: third.id, column: null, place: { after: first.id } },
    ana.random,
  );
  ana.board.apply(made.map(({ bytes }) => bytes));
  expect(
    ana
      .cards()
      .slice(0, 3)
      .map(({ id }) => id),
  ).toEqual([first.id, third.id, second.id]);
  expect(ana.cards().every(({ order }) => order!.length < 9)).toBe(true);
  expect(parseUpdate(made[0]!.bytes, ana.client, made[0]!.seen, BOARD_SHAPE).inserts.length).toBeGreaterThan(900);
});

const step = fc.record({
  who: fc.nat(3),
  does: fc.constantFrom("add", "move", "move", "edit", "assign", "remove", "columns", "learn", "learn"),
  card: fc.nat(5),
  other: fc.nat(5),
  place: fc.constantFrom("top", "end", "before", "after"),
  column: fc.nat(3),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function play(one: Replica, { does, card, other, place, column }: Step): void {
  const cards = one.cards();
  const columns = one.board.columns().map(({ name }) => name);
  const of = (n: number): Card | undefined => cards[n % Math.max(1, cards.length)];
  const [it, beside] = [of(card), of(other)];
  const name = columns[column % columns.length]!;
  if (does === "add") return void one.add(`words ${other}`, { column: name, place: place === "top" ? "top" : "end" });
  if (does === "columns") {
    const wanted = [...columns.slice(0, column), `c${other}`, ...columns.slice(column)];
    return void one.act({ act: "columns", names: [...new Set(wanted)] });
  }
  if (it === undefined) return;
  if (does === "edit") one.act({ act: "edit", card: it.id, text: `${it.text.slice(other)}+${other}` });
  if (does === "assign") one.act({ act: "assign", card: it.id, to: [PEOPLE[other % 2]!], notTo: [PEOPLE[card % 2]!] });
  if (does === "remove" && other > 2) one.act({ act: "remove", card: it.id });
  if (does !== "move") return;
  if (place === "top" || place === "end") one.act({ act: "move", card: it.id, column: name, place });
  else if (beside !== undefined && beside !== it)
    one.act({
      act: "move",
      card: it.id,
      column: null,
      place: place === "before" ? { before: beside.id } : { after: beside.id },
    });
}

test("board-converge: acts of four who know what they know, in any order that keeps causes first, end with the same bytes; no card is there twice", () => {
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 5, maxLength: 40 }),
      fc.array(fc.nat(1000), { minLength: 9 }),
      (steps, keys) => {
        const all = [2 ** 53 - 1, 5, 2 ** 40 + 1, 77].map((client) => new Replica(client));
        all[0]!.act({ act: "columns", names: ["todo", "doing"] });
        for (const one of all) one.learn(all[0]!);
        for (const one of steps) {
          if (one.does === "learn") all[one.who]!.learn(all[one.other % 4]!);
          else play(all[one.who]!, one);
        }
        equalise(...all);
        const other = new Replica(1);
        for (const made of inSomeOrder(all[0]!.has, keys)) other.take(made);
        expect(toHex(other.board.hash())).toBe(toHex(all[0]!.board.hash()));
        const ids = other.cards().map(({ id }) => id);
        expect(new Set(ids).size).toBe(ids.length);
        // What a snapshot or a start begins with is the same bytes, and goes on in the same way.
        const states = [...all, other].map(({ board }) => toHex(createBoard(board.state()).state()));
        expect(new Set(states).size).toBe(1);
        expect(toHex(createBoard(other.board.state()).hash())).toBe(toHex(other.board.hash()));
      },
    ),
    { numRuns: 60 },
  );
}, 60_000);

test("board-bytes: an update with a byte changed, cut or doubled is refused with a word, or tried without harm: nothing is thrown half way", () => {
  const { ana, ben, card } = two();
  ana.act({ act: "edit", card, text: "a, and b" });
  ben.act({ act: "move", card, column: "done", place: "end" });
  ben.act({ act: "assign", card, to: [PEOPLE[0]], notTo: [] });
  ben.act({ act: "remove", card });
  const changes = fc.record({
    which: fc.nat(),
    at: fc.nat(),
    bits: fc.integer({ min: 1, max: 255 }),
    how: fc.constantFrom("flip", "cut", "double", "drop"),
  });
  let [refused, tried] = [0, 0];
  fc.assert(
    fc.property(fc.array(changes, { minLength: 1, maxLength: 2 }), (all) => {
      const made = ben.has[all[0]!.which % ben.has.length]!;
      let bytes = made.bytes;
      for (const change of all) bytes = changed(bytes, change);
      const before = new Replica(1);
      for (const one of ben.has.slice(0, ben.has.indexOf(made))) before.board.apply([one.bytes]);
      const state = before.board.state();
      try {
        const update = parseUpdate(bytes, made.client, made.seen, BOARD_SHAPE);
        const { right, refused: why } = tryUpdates(state, [update], BOARD_SHAPE);
        tried++;
        if (why !== null) return;
        expect(right).toBe(1);
        before.board.apply([bytes]);
        expect(before.shows().length).toBeGreaterThanOrEqual(1);
      } catch (error) {
        refused++;
        expect(error).toBeInstanceOf(KinError);
        expect(["BAD_REQUEST", "TOO_LARGE"]).toContain((error as KinError).code);
      }
    }),
    { numRuns: 1500 },
  );
  expect(Math.min(refused, tried)).toBeGreaterThan(2);
});

function changed(bytes: Uint8Array, { at, bits, how }: { at: number; bits: number; how: string }): Uint8Array {
  if (bytes.length === 0) return bytes;
  const place = at % bytes.length;
  if (how === "cut") return bytes.slice(0, place);
  if (how === "drop") return Uint8Array.from([...bytes.slice(0, place), ...bytes.slice(place + 1)]);
  if (how === "double") return Uint8Array.from([...bytes.slice(0, place + 1), ...bytes.slice(place)]);
  return bytes.with(place, bytes[place]! ^ bits);
}

/** Any order in which each comes after what it has seen. */
function inSomeOrder(made: Made[], keys: number[]): Made[] {
  const left = made.map((one, i) => ({ one, key: keys[i % keys.length]! * 31 + i * keys[(i + 1) % keys.length]! }));
  const out: Made[] = [];
  const has = new Map<number, number>();
  const isReady = ({ client, seen }: Made): boolean =>
    [...seen].every(([other, clock]) => (has.get(other) ?? 0) >= clock) &&
    made.filter((one) => one.client === client && !out.includes(one))[0]!.seen === seen;
  while (left.length > 0) {
    const next = left.filter(({ one }) => isReady(one)).toSorted((a, b) => a.key - b.key)[0]!;
    left.splice(left.indexOf(next), 1);
    out.push(next.one);
    has.set(next.one.client, parseUpdate(next.one.bytes, next.one.client, next.one.seen, BOARD_SHAPE).to);
  }
  return out;
}

/**
 * Group C of the attacks on boards: what a member may write into the log as an edit of one, and what must become of it. One line a
 * case, on top of `c.ts`: what is wrong with any update of Yjs is wrong here too.
 */
import { concat } from "../../protocols/bytes.ts";
import { yjsClientOf, type NoteId } from "../../protocols/document.ts";
import { logIdOf } from "../../protocols/events.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { createBoard, type Card } from "../../sync/documents/board.ts";
import { firstOf, loadDocument, runsFrom } from "../../sync/documents/yjs.ts";
import type { NewEntry } from "../../sync/replica.ts";
import type { Writer } from "../documents/scene.ts";
import { info, noteEdited, text, uint, updateOf } from "./yjs-bytes.ts";

export interface BoardAttack {
  id: string;
  says: string;
  becomes: "refused" | "waits";
  because?: string;
  entries(scene: BoardScene): NewEntry[];
}

export interface BoardScene {
  board: NoteId;
  /** Ana's one card. It was moved: two entries say where it stands. */
  card: string;
  /** Of the attacker. */
  client: number;
  victim: number;
  seen: Map<number, number>;
  everybody: DeviceId[];
  /** Units of a chain, first to last. */
  chain(root: string, key: string | null): [client: number, clock: number][];
}

const [TEXT, ENTRY, KEY, LEFT, RIGHT] = [4, 8, 0x20, 0x80, 0x40];
const value = (words: string): Uint8Array => concat(uint(1, 119), text(words));
const inRoot = (name: string): Uint8Array => concat(uint(1), text(name));

/** The first under its key. */
const entry = (root: string, key: string, says: Uint8Array): Uint8Array =>
  concat(info(ENTRY | KEY), inRoot(root), text(key), says);
/** After another. */
const entryAfter = (left: [number, number], says: Uint8Array): Uint8Array =>
  concat(info(ENTRY | KEY | LEFT), uint(...left), says);
const textIn = (root: string, words: string): Uint8Array => concat(info(TEXT), inRoot(root), text(words));

const update = (client: number, clock: number, ...structs: Uint8Array[]): Uint8Array =>
  updateOf(client, clock, structs);

function edit({ board, seen }: BoardScene, u: Uint8Array, had: Iterable<[number, number]> = seen): NewEntry {
  return noteEdited(board, had, u);
}

/** One struct, whatever the scene says of it. */
function one(
  says: string,
  because: string,
  struct: (scene: BoardScene) => Uint8Array,
  more: Partial<BoardAttack> = {},
): BoardAttack {
  return {
    id: "C19",
    says,
    because,
    becomes: "refused",
    entries: (scene) => [edit(scene, update(scene.client, 0, struct(scene)))],
    ...more,
  };
}

const OTHER = "ab".repeat(8);
const PERSON = "cd".repeat(32);

export const BOARD_ATTACKS: BoardAttack[] = [
  {
    id: "C16",
    says: "an entry under the client id of somebody else",
    becomes: "refused",
    because: "its author's log writes as",
    entries: (scene) => [
      edit(scene, update(scene.victim, scene.seen.get(scene.victim)!, entry("columns", "x", value("i")))),
    ],
  },
  {
    id: "C17",
    says: "two moves with the same clock",
    becomes: "refused",
    because: "an edit from clock 0 of a log that wrote up to 1",
    entries: (scene) =>
      ["i1 done", "i2 todo"].map((place) => edit(scene, update(scene.client, 0, entry("places", OTHER, value(place))))),
  },
  {
    id: "C18",
    says: "a gap before its clock that is never filled",
    becomes: "waits",
    entries: (scene) => [
      edit(scene, update(scene.client, 1000, entry("columns", "x", value("i"))), [...scene.seen, [scene.client, 1000]]),
    ],
  },
  {
    id: "C18",
    says: "puts itself after an entry that nobody has written",
    becomes: "waits",
    entries: (scene) => [
      edit(scene, update(scene.client, 0, entryAfter([4711, 0], value("i todo"))), [...scene.seen, [4711, 1]]),
    ],
  },
  one("an entry of a name that no board has", "no board has", () => entry("colours", "x", value("red"))),
  one("an entry under __proto__", "no board has", () => entry("__proto__", "x", value("y"))),
  one("a column with a line break in its name", "no board has", () => entry("columns", "a\nb", value("i"))),
  one("a column without a name", "no board has", () => entry("columns", "", value("i"))),
  one("a column whose order leaves no room before it", "no board has", () => entry("columns", "x", value("i0"))),
  one("a column whose order is long", "no board has", () => entry("columns", "x", value("i".repeat(65)))),
  one("a card that stands nowhere", "no board has", ({ card }) => entry("places", card, value("doing"))),
  one("a place of what is no card", "no board has", () => entry("places", "card", value("i doing"))),
  one("a card given to what is nobody", "no board has", () => entry("assigned", `${OTHER}/ben`, value("yes"))),
  one("a card given with other words than yes", "no board has", () =>
    entry("assigned", `${OTHER}/${PERSON}`, value("no")),
  ),
  one("a mark of what is no client", "no board has", () => entry("marks", `${OTHER}/007`, value("yes"))),
  one("an entry that is a number", "not one text", () => entry("columns", "x", uint(1, 125, 7))),
  one("an entry that is an object", "not one text", () =>
    entry("columns", "x", concat(uint(1, 118, 1), text("a"), uint(126))),
  ),
  one("two values in one entry", "not one text", () =>
    entry("columns", "x", concat(uint(2, 119), text("i"), uint(119), text("j"))),
  ),
  one("an entry of no value", "not one text", () => entry("columns", "x", uint(0))),
  one("an entry as long as a text", "over 256 bytes", ({ card }) =>
    entry("places", card, value(`i ${"x".repeat(300)}`)),
  ),
  one("an entry that is cut off", "ends early", () =>
    concat(info(ENTRY | KEY), inRoot("columns"), text("x"), uint(1, 119, 99)),
  ),
  one("an entry without a key", "kind 0x8", () => concat(info(ENTRY), inRoot("columns"), value("i"))),
  one("an entry with a right neighbour", "kind 0x68", ({ chain, card }) =>
    concat(info(ENTRY | KEY | RIGHT), uint(...chain("places", card)[0]!), value("i todo")),
  ),
  one("text under a key", "kind 0x24", () => concat(info(TEXT | KEY), inRoot("places"), text(OTHER), text("i todo"))),
  ...[
    { kind: 0, name: "garbage (GC)" },
    { kind: 1, name: "deleted content" },
    { kind: 3, name: "bytes" },
    { kind: 5, name: "an embed" },
    { kind: 7, name: "a type inside of it" },
    { kind: 9, name: "a document inside of it" },
    { kind: 10, name: "a skipped range" },
  ].map(({ kind, name }) =>
    one(`content that no board has: ${name}`, "a board is texts and entries", () =>
      concat(info(kind | KEY), inRoot("columns"), text("x"), uint(1, 1, 1)),
    ),
  ),
  one("a note's text", 'text in "text"', () => textIn("text", "x")),
  one("text where entries stand", 'text in "columns"', () => textIn("columns", "x")),
  one("text of what is no card", 'text in "card/x"', () => textIn("card/x", "x")),
  one("text that stands after an entry", 'text in "places"', ({ chain, card }) =>
    concat(info(TEXT | LEFT), uint(...chain("places", card).at(-1)!), text("x")),
  ),
  one("text that stands before an entry", 'text in "columns"', ({ chain }) =>
    concat(info(TEXT | RIGHT), uint(...chain("columns", "todo")[0]!), text("x")),
  ),
  one("an entry that stands in a text", "no board has", ({ chain, card }) =>
    entryAfter(chain(`card/${card}`, null)[0]!, value("yes")),
  ),
  one("a place that stands among columns", "no board has", ({ chain }) =>
    entryAfter(chain("columns", "todo")[0]!, value("i todo")),
  ),
  one("an entry as the first of many that it has seen", "neighbours", ({ card }) =>
    entry("places", card, value("i todo")),
  ),
  one("an entry after one that it knows to be old", "neighbours", ({ chain, card }) =>
    entryAfter(chain("places", card)[0]!, value("i todo")),
  ),
  one("an entry after one that it has not seen", "was not seen", ({ victim, seen }) =>
    entryAfter([victim, seen.get(victim)!], value("i todo")),
  ),
  {
    id: "C19",
    says: "takes away what nobody has put there",
    becomes: "refused",
    because: "are deleted, and were not seen",
    entries: (scene) => [edit(scene, concat(uint(0), uint(1, scene.victim, 1, scene.seen.get(scene.victim)!, 1)))],
  },
  {
    id: "C19",
    says: "a right act, then bytes after its end",
    becomes: "refused",
    because: "bytes after its end",
    entries: (scene) => [edit(scene, concat(update(scene.client, 0, entry("columns", "x", value("i"))), uint(0)))],
  },
  {
    id: "C19",
    says: "a thousand and more entries at once",
    becomes: "refused",
    because: "1025 structs",
    entries: (scene) => {
      const many = Array.from({ length: 1025 }, (_, i) => entry("columns", `c${i}`, value("i")));
      return [edit(scene, update(scene.client, 0, ...many))];
    },
  },
  {
    id: "C19",
    says: "a right act, then one that is none, in one update: neither counts",
    becomes: "refused",
    because: "no board has",
    entries: (scene) => [
      edit(scene, update(scene.client, 0, entry("columns", "x", value("i")), entry("columns", "y", value("Y")))),
    ],
  },
  {
    id: "C19",
    says: "an edit that only some can read",
    becomes: "refused",
    because: "not for all",
    entries: (scene) => [
      {
        ...edit(scene, update(scene.client, 0, entry("columns", "x", value("i")))),
        audience: "direct",
        to: scene.everybody,
      },
    ],
  },
  {
    id: "C19",
    says: "a note of a form that nobody knows",
    becomes: "refused",
    because: "a note of form 3",
    entries: () => [{ kind: "note-opened", audience: "mesh", value: { f: 3, t: "from the future" } }],
  },
];

export function boardSceneOf(attacker: Writer, victim: Writer, board: NoteId): BoardScene {
  const clientOf = ({ member }: Writer): number => {
    const { mesh, device, incarnation } = member.replica;
    return yjsClientOf(logIdOf(mesh, { device, incarnation: incarnation().id, chain: "mesh" }), board);
  };
  const { board: state } = attacker.documents.boards.get(board)!;
  const doc = loadDocument(state.state());
  const chain = (root: string, key: string | null): [number, number][] => {
    return runsFrom(firstOf(doc.share.get(root)!, key)).flatMap(({ client, clock, length }) =>
      Array.from({ length }, (_, i): [number, number] => [client, clock + i]),
    );
  };
  const [{ id: card }] = createBoard(state.state())
    .columns()
    .flatMap(({ cards }) => cards) as [Card];
  const everybody = [...attacker.member.replica.membership().devices.keys()];
  return {
    board,
    card,
    client: clientOf(attacker),
    victim: clientOf(victim),
    seen: new Map(state.seen()),
    everybody,
    chain,
  };
}

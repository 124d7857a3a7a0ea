/**
 * What people do on boards: they open them, name columns, add cards and move, edit, assign and remove them, also a card that they
 * have had open for a while. Each act on a card is noted when it begins, and its event when it is acknowledged (`CardAct`).
 */
import type { NoteId } from "../protocols/document.ts";
import type { PersonId } from "../protocols/ids.ts";
import type { BoardAct, CardPlace } from "../sync/documents/board-acts.ts";
import { newCardId, type BoardColumn, type Card } from "../sync/documents/board.ts";
import type { Board } from "../sync/documents/notes.ts";
import type { Machine, Process } from "./machine.ts";
import type { Team } from "./team.ts";
import type { CardAct } from "./witness.ts";
import type { Dice } from "./world.ts";

export interface BoardWork {
  /** Another board; columns for one if there are enough. */
  open(machine: Machine): Promise<void>;
  /** Something is done to a card of some board. */
  act(machine: Machine): Promise<void>;
}

/** Few, so that they are written at once on both sides of a partition. */
const MOST_BOARDS = 2;
const MOST_CARDS = 4;
const COLUMNS = ["todo", "doing", "done", "later"];
const PRIVATE_CHANCE = 0.3;
const STRIKE_CHANCE = 0.15;
/** Of who edits a card: that he leaves it open, and that he edits the one that he left open. */
const OPEN_CHANCE = 0.3;
const WHAT: readonly (readonly ["add" | "edit" | "move" | "assign" | "remove", number])[] = [
  ["add", 0.25],
  ["edit", 0.35],
  ["move", 0.15],
  ["assign", 0.1],
  ["remove", 0.15],
];

type CardChange = Exclude<BoardAct, { act: "columns" }>;
/** A card that somebody has before him. */
interface Shown {
  board: NoteId;
  card: Pick<Card, "id" | "runs" | "text">;
}

export function createBoardWork({ world, witness }: Team, dice: Dice, word: (machine: Machine) => string): BoardWork {
  const leftOpen = new WeakMap<Process, Shown>();

  async function open(machine: Machine): Promise<void> {
    const { documents, replica, invoke } = machine.process!;
    const boards = boardsOf(documents);
    if (boards.length >= MOST_BOARDS) return nameColumns(documents, dice.pick(boards));
    const persons = dice.chance(PRIVATE_CHANCE) ? [somebody(replica)] : null;
    const id = await documents.notes.open({ title: word(machine), persons, form: "board" });
    if (persons !== null) witness.secret(id, [invoke.self.person, ...persons]);
    const board = documents.boards.get(id);
    // Under a clock that is ahead it does not count yet.
    if (board !== undefined) await nameColumns(documents, board);
  }

  async function nameColumns({ boards }: Process["documents"], { id, board }: Board): Promise<void> {
    const full = new Set(board.columns().flatMap(({ name, cards }) => (cards.length > 0 ? [name] : [])));
    const [first = "", ...others] = dice.shuffled(COLUMNS);
    const names = [first, ...others.filter((name) => full.has(name) || dice.chance(0.7))];
    await boards.edit(id, { act: "columns", names });
  }

  async function act(machine: Machine): Promise<void> {
    const process = machine.process!;
    const boards = boardsOf(process.documents);
    if (boards.length === 0) return open(machine);
    const board = dice.pick(boards);
    const columns = board.board.columns();
    const cards = columns.flatMap((column) => column.cards);
    const what = drawn();
    if (cards.length === 0 || (what === "add" && cards.length < MOST_CARDS))
      return add(machine, process, board.id, columns);
    const card = dice.pick(cards);
    switch (what) {
      case "move":
        return write(machine, process, board.id, { act: "move", card: card.id, ...somewhere(columns, card) });
      case "assign":
        return assign(machine, process, board.id, card);
      case "remove":
        return remove(machine, process, board, card);
      default:
        return edit(machine, process, { board: board.id, card });
    }
  }

  function drawn(): (typeof WHAT)[number][0] {
    let left = dice.next();
    return (WHAT.find(([, share]) => (left -= share) < 0) ?? WHAT[0]!)[0];
  }

  function add(machine: Machine, process: Process, board: NoteId, columns: BoardColumn[]): Promise<void> {
    const text = word(machine);
    const person = dice.chance(0.3) ? somebody(process.replica) : null;
    const assigned = person === null ? [] : [person];
    const card = newCardId(dice);
    return write(
      machine,
      process,
      board,
      { act: "add", card, text, ...somewhere(columns), assigned },
      { word: text, person },
    );
  }

  /** Beside another card, or at an end of a column. */
  function somewhere(columns: BoardColumn[], card?: Card): { column: string | null; place: CardPlace } {
    const others = columns.flatMap(({ cards }) => cards).filter(({ id }) => id !== card?.id);
    if (others.length > 0 && dice.chance(0.5)) {
      const { id } = dice.pick(others);
      return { column: null, place: dice.chance(0.5) ? { before: id } : { after: id } };
    }
    const column = columns.length === 0 ? null : dice.pick(columns).name;
    return { column, place: dice.chance(0.5) ? "top" : "end" };
  }

  async function assign(
    machine: Machine,
    process: Process,
    board: NoteId,
    { id: card, assigned }: Card,
  ): Promise<void> {
    const person = somebody(process.replica);
    if (!assigned.includes(person))
      return write(machine, process, board, { act: "assign", card, to: [person], notTo: [] }, { person });
    witness.strike(assignmentText(card, person));
    await write(machine, process, board, { act: "assign", card, to: [], notTo: [person] });
  }

  /** Puts a word in, or takes one out of several. */
  async function edit(machine: Machine, process: Process, picked: Shown): Promise<void> {
    const left = leftOpen.get(process);
    const { board, card } = left !== undefined && dice.chance(OPEN_CHANCE) ? left : picked;
    if (dice.chance(OPEN_CHANCE)) leftOpen.set(process, picked);
    const base = { runs: card.runs, text: card.text };
    const now = base.text.split(" ");
    const change = (): CardChange => ({ act: "edit", card: card.id, base, text: now.join(" ") });
    if (now.length > 1 && dice.chance(STRIKE_CHANCE)) {
      for (const gone of now.splice(dice.int(0, now.length - 1), 1)) witness.strike(gone);
      return write(machine, process, board, change());
    }
    const typed = word(machine);
    now.splice(dice.int(0, now.length), 0, typed);
    await write(machine, process, board, change(), { word: typed });
  }

  async function remove(machine: Machine, process: Process, { id, waiting }: Board, { id: card }: Card): Promise<void> {
    const saw = waiting === 0 ? await actsThatCount(process, card) : [];
    await write(machine, process, id, { act: "remove", card }, { removal: { saw: new Set(saw), had: null } });
  }

  async function actsThatCount({ replica }: Process, card: string) {
    const acts = [...witness.cardActs].flatMap((one) => (one.card === card && one.event !== null ? one.event.id : []));
    const events = await Promise.all(acts.map((id) => replica.event(id)));
    return acts.filter((_, i) => events[i]?.standing.state === "good");
  }

  async function write(
    { name }: Machine,
    { documents, replica, written }: Process,
    board: NoteId,
    what: CardChange,
    noted: Partial<Pick<CardAct, "word" | "person" | "removal">> = {},
  ): Promise<void> {
    const { card } = what;
    const one: CardAct = { board, card, author: name, event: null, word: null, person: null, removal: null, ...noted };
    witness.cardActs.add(one);
    if (!(await documents.boards.edit(board, what))) return void witness.cardActs.delete(one);
    world.count(`cards: ${what.act}`);
    const event = written.findLast(({ kind }) => kind === "note-edited");
    if (event === undefined) return;
    const { id, log, seq } = event;
    one.event = { id, log, seq };
    if (one.removal !== null) one.removal.had = new Map([...replica.vector()].map(([of, end]) => [of, end.seq]));
  }

  function somebody(replica: Process["replica"]): PersonId {
    return dice.pick([...replica.membership().members.keys()].toSorted());
  }

  return { open, act };
}

function boardsOf({ boards }: Process["documents"]): Board[] {
  return boards.all().toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

/** What is struck when somebody is no longer to have a card. */
export function assignmentText(card: string, person: PersonId): string {
  return `${card} of ${person}`;
}

/**
 * What people do in documents: facts, shared and private notes and boards, settings, and snapshots of it all. Each piece that is
 * typed is a word of its own, so that the checks at a heal can say of each which text it must stand in.
 */
import type { NoteId } from "../protocols/document.ts";
import type { Note } from "../sync/documents/notes.ts";
import { createBoardWork } from "./board-work.ts";
import type { Machine, Process } from "./machine.ts";
import type { Team } from "./team.ts";
import type { Dice } from "./world.ts";

/** The record that everybody has one of. */
export const RECORD = "clerk";
/** Few, so that they are written at once on both sides of a partition. */
const KEYS = ["colour", "place", "owner"];
const SETTINGS = ["model", "depth"];
/** Notes that a mesh writes in. */
const MOST_NOTES = 3;
/** CJK ideographs. */
const FIRST_LETTER = 0x4e00;
const LETTERS = 20_000;
const WORD_PADDING = [0, 40] as const;
const STRIKE_CHANCE = 0.2;
const APPEND_CHANCE = 0.4;

export interface Editing {
  /** Does one act; what it wrote is acknowledged when it resolves. */
  act(what: EditingAct, machine: Machine): Promise<void>;
}

const EDITING_ACTS = [
  "fact",
  "open",
  "edit",
  "share",
  "setting",
  "board",
  "card",
  "offer",
  "snapshot",
  "prune",
] as const;
export type EditingAct = (typeof EDITING_ACTS)[number];

export function isEditingAct(what: string): what is EditingAct {
  return (EDITING_ACTS as readonly string[]).includes(what);
}

export function createEditing(team: Team, dice: Dice): Editing {
  const { world, witness } = team;
  const boards = createBoardWork(team, dice, word);
  let words = 0;

  /** Begins with a letter of its own: what a word takes away or puts in is then no letter of its neighbours. */
  function word({ name }: Machine): string {
    const letter = String.fromCodePoint(FIRST_LETTER + (words % LETTERS));
    return `${letter}${name}-${words++}-${"x".repeat(dice.int(...WORD_PADDING))}`;
  }

  async function act(what: EditingAct, machine: Machine): Promise<void> {
    const process = machine.process!;
    const { written, documents } = process;
    // What the node wrote by itself, as cards.
    witness.acknowledge(machine.name, written.splice(0));
    switch (what) {
      case "fact": {
        const json = dice.chance(0.1) ? null : JSON.stringify(word(machine));
        await documents.facts.set(null, dice.pick(KEYS), json);
        break;
      }
      case "open":
        await open(machine, process);
        break;
      case "edit":
        await edit(machine, process);
        break;
      case "share":
        await share(machine, process);
        break;
      case "setting":
        await documents.records.set(RECORD, dice.pick(SETTINGS), dice.chance(0.1) ? undefined : word(machine));
        break;
      case "board":
        await boards.open(machine);
        break;
      case "card":
        await boards.act(machine);
        break;
      case "offer":
        machine.offers = word(machine);
        await process.refreshCards();
        break;
      case "snapshot":
        await process.snapshots.make();
        break;
      case "prune":
        world.count("bodies pruned", (await process.snapshots.prune()).bodies);
    }
    world.count(`${what}s done`);
    witness.acknowledge(machine.name, written.splice(0));
  }

  async function open(machine: Machine, { documents, replica, invoke }: Process): Promise<void> {
    if (documents.notes.all().length >= MOST_NOTES) return edit(machine, machine.process!);
    const persons = dice.chance(0.5) ? null : [somebody(replica)];
    const id = await documents.notes.open({ title: word(machine), persons });
    if (persons !== null) witness.secret(id, [invoke.self.person, ...persons]);
  }

  function somebody(replica: Process["replica"]) {
    return dice.pick([...replica.membership().members.keys()].toSorted());
  }

  async function edit(machine: Machine, process: Process): Promise<void> {
    const { documents, written } = process;
    const notes = documents.notes.all().toSorted((a, b) => (a.id < b.id ? -1 : 1));
    if (notes.length === 0) return open(machine, process);
    const note = dice.pick(notes);
    const typed = await write(machine, documents, note);
    const event = written.findLast(({ kind }) => kind === "note-edited");
    if (typed !== null && event !== undefined)
      witness.typed({ event: event.id, author: machine.name, note: note.id, word: typed });
  }

  /** Puts a word in, or takes one out. Returns what stands there now. */
  async function write(machine: Machine, { notes }: Process["documents"], note: Note): Promise<string | null> {
    const base = { runs: note.text.runs(), text: note.text.text() };
    const now = base.text.split(" ");
    const at = dice.int(0, now.length - 1);
    if (dice.chance(STRIKE_CHANCE)) {
      for (const gone of now.splice(at, 1)) witness.strike(gone);
      await notes.edit(note.id, { base, text: now.join(" ") });
      return null;
    }
    const typed = word(machine);
    if (dice.chance(APPEND_CHANCE)) return (await notes.edit(note.id, { append: `${typed} ` })) ? typed : null;
    now.splice(at, 0, typed);
    return (await notes.edit(note.id, { base, text: now.join(" ") })) ? typed : null;
  }

  async function share(machine: Machine, { documents, replica }: Process): Promise<void> {
    const mine = [...documents.notes.all(), ...documents.boards.all()]
      .filter(({ persons }) => persons !== null)
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
    if (mine.length === 0) return;
    const { id } = dice.pick(mine) as { id: NoteId };
    const person = somebody(replica);
    // From here on he may have it, whatever becomes of this process. Of a note whose opening a kill cut off nothing is known.
    if (witness.secrets.has(id)) witness.secret(id, [person]);
    await documents.notes.share(id, [person]);
  }

  return { act };
}

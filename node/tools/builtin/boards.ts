/**
 * `board.show`, `board.add`, `board.move`, `board.edit`, `board.assign`, `board.remove`: what the steps of an agent may do with
 * boards, as with notes (`documents.ts`): shown to who may read them, changed by and as the owner of this node.
 */
import type { PersonId } from "../../../protocols/ids.ts";
import type { Random } from "../../../protocols/effects.ts";
import { KinError } from "../../../protocols/errors.ts";
import type { Json } from "../../../protocols/tool.ts";
import type { Documents } from "../../../sync/documents.ts";
import { newCardId } from "../../../sync/documents/board.ts";
import type { BoardAct, CardPlace } from "../../../sync/documents/board-acts.ts";
import { findCard, findColumn, formatBoard } from "../../../sync/documents/board-names.ts";
import type { Board } from "../../../sync/documents/notes.ts";
import { textResult } from "../output.ts";
import { textArgument, type Arguments, type Tool } from "../registry.ts";
import { checkOwner, findNote, OF_AGENTS, schema } from "./document-access.ts";

export interface BoardToolsDeps {
  documents: Pick<Documents, "notes" | "boards" | "settled">;
  me: PersonId;
  nameOf(person: PersonId): string;
  /** @throws KinError NOT_FOUND */
  personNamed(name: string): PersonId;
  random: Random;
}

const board = { type: "string", description: "the board's title" };
const card = { type: "string", description: "how the card's id or its text begins" };
const column = { type: "string", description: "a column's name" };
const text = { type: "string", description: "what the card says" };
const people = { type: "array", items: { type: "string" }, description: "members' names" };
const top = { type: "boolean", description: "above the other cards" };

export function boardTools(deps: BoardToolsDeps): Tool[] {
  const { documents } = deps;
  const nameOf = (person: PersonId): string => deps.nameOf(person);

  async function show({ title, board: state }: Board) {
    const columns = state.columns();
    const shown = columns.map(({ name, cards }) => ({
      name,
      cards: cards.map(({ id, text: says, assigned }) => ({ id, text: says, for: assigned.map(nameOf) })),
    }));
    return textResult(formatBoard(columns, nameOf), { title, columns: shown });
  }

  /** A tool that does one act and shows what the board says then. */
  function acting(
    name: string,
    description: string,
    required: { [name: string]: Json },
    optional: { [name: string]: Json },
    actOf: (args: Arguments, on: Board) => BoardAct,
  ): Tool {
    return {
      ...OF_AGENTS,
      name,
      description: `${description}, as the owner of this node and for nobody else.`,
      readOnly: false,
      inputSchema: schema({ board, ...required }, optional),
      async run({ args, person }) {
        checkOwner(person, deps.me, "boards are changed here");
        await documents.settled();
        const found = findNote(documents, "board", textArgument(args, "board"), person);
        await documents.boards.edit(found.id, actOf(args, found));
        return show(documents.boards.get(found.id)!);
      },
    };
  }

  const cardOf = (on: Board, args: Arguments, name = "card"): string =>
    findCard(on.board.columns(), textArgument(args, name), on.title).id;
  const columnOf = (on: Board, args: Arguments): string | null =>
    args["column"] === undefined ? null : findColumn(on.board.columns(), textArgument(args, "column"), on.title);
  const peopleOf = (args: Arguments, name: string): PersonId[] =>
    (Array.isArray(args[name]) ? args[name] : []).flatMap((one) =>
      typeof one === "string" ? [deps.personNamed(one)] : [],
    );

  function placeOf(on: Board, args: Arguments): CardPlace {
    const said = ["top", "before", "after"].filter((name) => args[name] !== undefined && args[name] !== false);
    if (said.length > 1) throw new KinError("INVALID_ARGUMENTS", `${said.join(" and ")}: one of them at a time`);
    if (args["before"] !== undefined) return { before: cardOf(on, args, "before") };
    if (args["after"] !== undefined) return { after: cardOf(on, args, "after") };
    return args["top"] === true ? "top" : "end";
  }

  return [
    {
      ...OF_AGENTS,
      name: "board.show",
      description: "The columns and cards of a shared board that who asks may read.",
      readOnly: true,
      inputSchema: schema({ board }),
      async run({ args, person }) {
        await documents.settled();
        return show(findNote(documents, "board", textArgument(args, "board"), person));
      },
    },
    acting("board.add", "Puts a card on a board", { text }, { column, top, for: people }, (args, on) => ({
      act: "add",
      card: newCardId(deps.random),
      text: textArgument(args, "text"),
      column: columnOf(on, args),
      place: args["top"] === true ? "top" : "end",
      assigned: peopleOf(args, "for"),
    })),
    acting("board.move", "Moves a card", { card }, { column, top, before: card, after: card }, (args, on) => ({
      act: "move",
      card: cardOf(on, args),
      column: columnOf(on, args),
      place: placeOf(on, args),
    })),
    acting("board.edit", "Changes what a card says", { card, text }, {}, (args, on) => ({
      act: "edit",
      card: cardOf(on, args),
      text: textArgument(args, "text"),
    })),
    acting("board.assign", "Says whose a card is", { card }, { for: people, notFor: people }, (args, on) => ({
      act: "assign",
      card: cardOf(on, args),
      to: peopleOf(args, "for"),
      notTo: peopleOf(args, "notFor"),
    })),
    acting("board.remove", "Takes a card away", { card }, {}, (args, on) => ({
      act: "remove",
      card: cardOf(on, args),
    })),
  ];
}

/** Runs group C on boards: each attack against real replicas that get it in different orders; the board stays, and all say the same. */
import { beforeAll, expect, test } from "vitest";
import type { NoteId } from "../../protocols/document.ts";
import { newCardId } from "../../sync/documents/board.ts";
import { hashOf, meet, withDocuments, type Writer } from "../documents/scene.ts";
import { seededRandom } from "../sync/chains.ts";
import { admitMember, foundMesh, testTime } from "../sync/mesh.ts";
import { BOARD_ATTACKS, boardSceneOf } from "./c-boards.ts";

let ana: Writer;
let ben: Writer;
let mallory: Writer;
const random = seededRandom("cards of attacks");
beforeAll(async () => {
  ana = await withDocuments(await foundMesh("ana", testTime()));
  mallory = await withDocuments(await admitMember(ana.member, "mallory"));
  ben = await withDocuments(await admitMember(ana.member, "ben"));
});

/** A board of Ana's that all have, with a card that was moved. */
async function newBoard(): Promise<NoteId> {
  const { notes, boards } = ana.documents;
  const board = await notes.open({ title: "release", persons: null, form: "board" });
  await boards.edit(board, { act: "columns", names: ["todo", "doing"] });
  await add(ana, board, "honest");
  const card = boards.get(board)!.board.columns()[0]!.cards[0]!.id;
  await boards.edit(board, { act: "move", card, column: "doing", place: "end" });
  await meet(ana, mallory);
  await meet(ana, ben);
  return board;
}

async function add({ documents }: Writer, board: NoteId, text: string): Promise<void> {
  const card = newCardId(random);
  await documents.boards.edit(board, { act: "add", card, text, column: "todo", place: "end", assigned: [] });
}

function shows({ documents }: Writer, board: NoteId): string[] {
  const columns = documents.boards.get(board)!.board.columns();
  return columns.map(({ name, cards }) => `${name}: ${cards.map(({ text }) => text).join(", ")}`);
}

for (const { id, says, becomes, because = "", entries } of BOARD_ATTACKS)
  test(`${id}: a board: ${says} → ${becomes}`, async () => {
    const board = await newBoard();
    const written = await mallory.member.replica.append(entries(boardSceneOf(mallory, ana, board)));
    // Ana gets it before Ben's card, Ben after his own.
    await meet(ana, mallory);
    await add(ben, board, "ben's");
    await meet(ben, mallory);
    await meet(ana, ben);
    await meet(ana, mallory);
    for (const writer of [ana, ben, mallory]) {
      const refused = writer.documents.refused().filter(({ event }) => written.some((one) => one.id === event));
      expect(refused.map(({ event }) => event)).toEqual(becomes === "refused" ? [written.at(-1)!.id] : []);
      expect(refused[0]?.message ?? "").toContain(because);
      expect(shows(writer, board)).toEqual(["todo: ben's", "doing: honest"]);
      expect(writer.failures).toEqual([]);
    }
    // A refusal ends nobody.
    await add(ana, board, "more");
    if (becomes === "refused") await add(mallory, board, "sorry");
    await meet(ana, mallory);
    await meet(ana, ben);
    await meet(ben, mallory);
    expect(shows(ben, board)[0]!.split(", ").length).toBe(becomes === "refused" ? 3 : 2);
    expect(new Set(await Promise.all([ana, ben, mallory].map(({ documents }) => hashOf(documents)))).size).toBe(1);
  });

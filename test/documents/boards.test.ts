/** Boards over real replicas: apart and together, private ones, removed members, what a start goes on from, agents' tools. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, encode, type Value } from "../../protocols/bytes.ts";
import { idBytes, type PersonId } from "../../protocols/ids.ts";
import type { Json } from "../../protocols/tool.ts";
import type { MeshNode } from "../../node/gateway/mesh.ts";
import { noteShow } from "../../node/gateway/verbs/notes.ts";
import { syncWhy } from "../../node/gateway/verbs/sync.ts";
import { boardTools } from "../../node/tools/builtin/boards.ts";
import { documentTools } from "../../node/tools/builtin/documents.ts";
import { resultText } from "../../node/tools/output.ts";
import { removePerson } from "../../sync/acts.ts";
import { newCardId } from "../../sync/documents/board.ts";
import type { BoardAct, CardPlace } from "../../sync/documents/board-acts.ts";
import { parseSavedRow, savedRow, type DocumentKeep } from "../../sync/documents/saved.ts";
import { addDevice } from "../invoke/durable-scene.ts";
import { seededRandom } from "../sync/chains.ts";
import { admitMember, foundMesh, memberOf, testTime, until } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments, type Writer } from "./scene.ts";

const random = seededRandom("cards");

async function openBoard({ documents }: Writer, persons: PersonId[] | null = null): Promise<string> {
  const id = await documents.notes.open({ title: "Release 1.0", persons, form: "board" });
  await documents.boards.edit(id, { act: "columns", names: ["todo", "doing", "done"] });
  return id;
}

async function add({ documents }: Writer, board: string, text: string): Promise<string> {
  const card = newCardId(random);
  const place: CardPlace = "end";
  await documents.boards.edit(board as never, { act: "add", card, text, column: null, place, assigned: [] });
  return card;
}

function shows({ documents }: Writer, board: string): string | undefined {
  const state = documents.boards.get(board as never)?.board;
  if (state === undefined) return undefined;
  const columns = state.columns().filter(({ cards }) => cards.length > 0);
  return columns.map(({ name, cards }) => `${name}: ${cards.map(({ text }) => text).join(", ")}`).join("; ");
}

async function anaAndBen(): Promise<[Writer, Writer]> {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const ben = await withDocuments(await admitMember(ana.member, "ben"));
  await meet(ana, ben);
  return [ana, ben];
}

describe("boards", () => {
  test("board-apart: what two did apart is on both when they meet: one card in one column, all words, nothing lost", async () => {
    const [ana, ben] = await anaAndBen();
    const board = await openBoard(ana);
    const [login, docs] = [await add(ana, board, "fix login"), await add(ana, board, "write docs")];
    await meet(ana, ben);
    const act = ana.documents.boards.edit;
    await act(board as never, { act: "move", card: login, column: "doing", place: "end" });
    await act(board as never, { act: "edit", card: docs, text: "write all docs" });
    await act(board as never, { act: "remove", card: docs });
    await ben.documents.boards.edit(board as never, { act: "move", card: login, column: "done", place: "end" });
    await ben.documents.boards.edit(board as never, { act: "edit", card: docs, text: "write docs soon" });
    await add(ben, board, "sleep");
    await meet(ana, ben);
    expect([
      "todo: write all docs soon, sleep; doing: fix login",
      "todo: write all docs soon, sleep; done: fix login",
    ]).toContain(shows(ana, board));
    expect(shows(ben, board)).toBe(shows(ana, board));
    expect(await hashOf(ana.documents)).toBe(await hashOf(ben.documents));
    expect([...ana.documents.refused(), ...ben.documents.refused(), ...ana.failures, ...ben.failures]).toEqual([]);
    expect(ana.documents.boards.get(board as never)!.editors).toHaveLength(2);
    expect(ana.documents.notes.all()).toEqual([]);
    const id = board as never;
    await expect(ana.documents.notes.edit(id, { text: "x" })).rejects.toMatchObject({ code: "BAD_REQUEST" });
    const note = await ana.documents.notes.open({ title: "text", persons: null });
    await expect(ana.documents.boards.edit(note, { act: "remove", card: docs })).rejects.toMatchObject({
      code: "BAD_REQUEST",
    });
  });

  test("board-private: only its people read a private board, also who is let in later and their new machines", async () => {
    const [ana, ben] = await anaAndBen();
    const li = await withDocuments(await admitMember(ana.member, "li"));
    await meet(ana, li);
    await meet(ana, ben);
    const board = await openBoard(ana, [memberOf(ana.member, "ben").person]);
    await add(ana, board, "secret");
    await meet(ana, ben);
    await meet(ana, li);
    expect(shows(ben, board)).toBe("todo: secret");
    expect(li.documents.boards.all()).toEqual([]);
    await ben.documents.notes.share(board as never, [memberOf(ana.member, "li").person]);
    await meet(ben, li);
    expect(shows(li, board)).toBe("todo: secret");
    await add(li, board, "mine");
    await meet(li, ana);
    expect(shows(ana, board)).toBe("todo: secret, mine");
    const desk = await withDocuments(await addDevice(ben.member, "desk"));
    await until(async () => {
      await meet(ben, desk);
      return shows(desk, board) === "todo: secret";
    }, "his desk reads it");
  });

  test("what a removed member did after his cut has no effect", async () => {
    const [ana, ben] = await anaAndBen();
    const li = await withDocuments(await admitMember(ana.member, "li"));
    await meet(ana, li);
    const board = await openBoard(ana);
    const card = await add(ana, board, "kept");
    await meet(ana, ben);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await ben.documents.boards.edit(board as never, { act: "remove", card });
    await meet(ben, li);
    expect(shows(li, board)).toBe("");
    await meet(ana, li);
    expect(shows(li, board)).toBe("todo: kept");
  });

  test("board-kept: a start goes on from what is kept, and from nothing that an older kin kept, which passed over boards", async () => {
    const kept: { rows: Uint8Array[] | null } = { rows: null };
    const keep: DocumentKeep = {
      load: async () => kept.rows,
      save: async (rows) => void (kept.rows = rows),
    };
    const ana = await withDocuments(await foundMesh("ana", testTime()), { keep });
    const board = await openBoard(ana);
    const card = await add(ana, board, "one");
    const hash = await hashOf(ana.documents);
    await ana.documents.close();
    const again = await withDocuments(await ana.member.reopen(), {
      keep,
      runTrial: () => Promise.reject(new Error("nothing is folded again")),
    });
    expect(await hashOf(again.documents)).toBe(hash);
    await again.documents.boards.edit(board as never, { act: "move", card, column: "done", place: "end" });
    expect(shows(again, board)).toBe("done: one");
    await again.documents.close();
    // As the kin before this one: it has read the log and knows no board.
    const [head, ...rows] = kept.rows!;
    const ofBoard = (row: Uint8Array): boolean => Buffer.from(row).includes(Buffer.from(board, "hex"));
    kept.rows = [asOlder(head!), ...rows.filter((row) => !ofBoard(row))];
    const after = await withDocuments(await again.member.reopen(), { keep });
    expect(shows(after, board)).toBe("done: one");
  });

  test("an old copy of a device goes on in its boards as somebody new", async () => {
    const [ana, ben] = await anaAndBen();
    const board = await openBoard(ana);
    const card = await add(ana, board, "one");
    await meet(ana, ben);
    const earlier = ana.member.disk.crash();
    await ana.documents.boards.edit(board as never, { act: "move", card, column: "doing", place: "end" });
    await meet(ana, ben);
    await ana.documents.close();
    const restored = await withDocuments(await ana.member.reopen(earlier));
    await meet(restored, ben);
    await restored.documents.boards.edit(board as never, { act: "move", card, column: "done", place: "end" });
    await meet(restored, ben);
    expect(shows(ben, board)).toBe("done: one");
    expect(await hashOf(restored.documents)).toBe(await hashOf(ben.documents));
  });
});

/** The first row as it was before boards: what it is good for began with the members. */
function asOlder(row: Uint8Array): Uint8Array {
  const [tag, goodFor, ...rest] = parseSavedRow(row);
  const [version, ...others] = decode(goodFor) as Value[];
  expect(version).toBe(4);
  return savedRow(tag, encode(others), ...rest);
}

test("board-replicas: three who change boards while some are apart or start again end with the same bytes; each card is there once", async () => {
  const step = fc.record({
    who: fc.nat(2),
    does: fc.constantFrom("add", "move", "move", "edit", "remove", "columns", "meet", "restart"),
    with: fc.nat(2),
    at: fc.nat(9),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 6, maxLength: 20 }), async (steps) => {
      const ana = await withDocuments(await foundMesh("ana", testTime()));
      const all = [
        ana,
        await withDocuments(await admitMember(ana.member, "ben")),
        await withDocuments(await admitMember(ana.member, "li")),
      ];
      const board = await openBoard(ana);
      await add(ana, board, "first");
      for (const other of all.slice(1)) await meet(ana, other);
      for (const { who, does, with: other, at } of steps) {
        const writer = all[who]!;
        const columns = writer.documents.boards.get(board as never)!.board.columns();
        const cards = columns.flatMap(({ cards: inIt }) => inIt);
        const card = cards[at % Math.max(1, cards.length)];
        const act = (one: BoardAct) => writer.documents.boards.edit(board as never, one);
        if (does === "add") await add(writer, board, `card ${at}`);
        if (does === "columns")
          await act({
            act: "columns",
            names: [...columns.map(({ name }) => name), `c${at}`].slice(-9).filter(isFirst),
          }).catch(expectRefusal);
        if (does === "move" && card !== undefined)
          await act({
            act: "move",
            card: card.id,
            column: columns[other % columns.length]!.name,
            place: at % 2 === 0 ? "top" : "end",
          });
        if (does === "edit" && card !== undefined)
          await act({ act: "edit", card: card.id, text: `${card.text}.${at}` });
        if (does === "remove" && card !== undefined && at < 3) await act({ act: "remove", card: card.id });
        if (does === "meet" && who !== other) await meet(writer, all[other]!);
        if (does === "restart") {
          await writer.documents.close();
          all[who] = await withDocuments(await writer.member.reopen());
        }
      }
      for (const [a, b] of [
        [0, 1],
        [1, 2],
        [0, 1],
      ] as const)
        await meet(all[a]!, all[b]!);
      expect(new Set(await Promise.all(all.map(({ documents }) => hashOf(documents)))).size).toBe(1);
      expect(new Set(all.map((one) => shows(one, board))).size).toBe(1);
      expect(all.flatMap(({ documents, failures }) => [...documents.refused(), ...failures])).toEqual([]);
      const ids = all[2]!.documents.boards
        .get(board as never)!
        .board.columns()
        .flatMap(({ cards }) => cards.map(({ id }) => id));
      expect(new Set(ids).size).toBe(ids.length);
    }),
    { numRuns: 8 },
  );
}, 60_000);

function isFirst(name: string, i: number, all: string[]): boolean {
  return all.indexOf(name) === i;
}

/** Cards stand in a column that was to go. */
function expectRefusal(error: unknown): void {
  expect(error).toMatchObject({ code: "BAD_REQUEST" });
}

test("board-tools: steps show boards to who may read them; only the node's owner changes them, beside other people", async () => {
  const [ana, ben] = await anaAndBen();
  const [me, other] = ["ana", "ben"].map((name) => memberOf(ana.member, name).person) as [PersonId, PersonId];
  const names = new Map([
    [me, "ana"],
    [other, "ben"],
  ]);
  const tools = [
    ...boardTools({
      documents: ana.documents,
      me,
      nameOf: (person) => names.get(person) ?? "nobody",
      personNamed: (name) => memberOf(ana.member, name).person,
      random: seededRandom("tools"),
    }),
    ...documentTools(ana.documents, me),
  ];
  const call = async (person: PersonId, name: string, args: { [name: string]: Json }) => {
    const tool = tools.find((one) => one.name === name)!;
    return resultText(await tool.run({ args, share: null, person }, new AbortController().signal));
  };
  const board = await openBoard(ana);
  const on = { board: "Release 1.0" };
  expect(await call(me, "board.add", { ...on, text: "fix login", for: ["ben"] })).toMatch(
    /^## todo\n- [0-9a-f]{3,} fix login \(ben\)\n## doing\n## done\n$/,
  );
  await call(me, "board.add", { ...on, text: "urgent", column: "DOING", top: true });
  expect(await call(me, "board.move", { ...on, card: "fix", before: "urg" })).toContain("## doing\n- ");
  await meet(ana, ben);
  await ben.documents.boards.edit(board as never, {
    act: "move",
    card: ben.documents.boards.get(board as never)!.board.columns()[1]!.cards[0]!.id,
    column: "done",
    place: "end",
  });
  await call(me, "board.edit", { ...on, card: "fix login", text: "fix the login" });
  await call(me, "board.assign", { ...on, card: "fix", for: ["ana"], notFor: ["ben"] });
  await meet(ana, ben);
  expect(shows(ana, board)).toBe("doing: urgent; done: fix the login");
  expect(await call(other, "board.show", on)).toContain("fix the login (ana)");
  await call(me, "board.remove", { ...on, card: "urgent" });
  expect(shows(ana, board)).toBe("done: fix the login");
  for (const [person, name, args, code] of [
    [other, "board.add", { ...on, text: "x" }, "DENIED"],
    [me, "board.show", { board: "else" }, "NOT_FOUND"],
    [me, "board.move", { ...on, card: "nothing", column: "done" }, "NOT_FOUND"],
    [me, "board.move", { ...on, card: "fix", column: "do" }, "USAGE"],
    [me, "board.move", { ...on, card: "fix", before: "fix", top: true }, "INVALID_ARGUMENTS"],
    [me, "note.append", { note: "Release 1.0", text: "x" }, "NOT_FOUND"],
  ] as const)
    await expect(call(person, name, { ...args }), name).rejects.toMatchObject({ code });
  await openBoard(ana, []);
  await expect(call(me, "board.show", on)).rejects.toMatchObject({ code: "INVALID_ARGUMENTS" });
  expect(await call(other, "board.show", on)).toContain("fix the login");
  expect(tools.filter(({ readOnly }) => readOnly).map(({ name }) => name)).toContain("board.show");
});

test("documents-refused: who looks at a board, or asks why, is told of edits without effect, also after a restart, and of those that wait", async () => {
  const kept: { rows: Uint8Array[] | null } = { rows: null };
  const keep: DocumentKeep = { load: async () => kept.rows, save: async (rows) => void (kept.rows = rows) };
  const ana = await withDocuments(await foundMesh("ana", testTime()), { keep });
  const board = await openBoard(ana);
  const byClient = ([a]: number[], [b]: number[]): number => a! - b!;
  const edit = (h: Value, u: Uint8Array) =>
    ({ kind: "note-edited", audience: "mesh", value: { d: idBytes(board as never), h, u } }) as const;
  const [refused, waits] = await ana.member.replica.append([
    edit([], Uint8Array.of(0, 0)),
    edit(
      [...ana.documents.boards.get(board as never)!.board.seen(), [4711, 5]].toSorted(byClient),
      Uint8Array.of(0, 1, 0xe7, 0x24, 1, 0, 1),
    ),
  ]);
  await ana.documents.settled();
  await ana.documents.close();
  const again = await withDocuments(await ana.member.reopen(), { keep });
  const { replica } = again.member;
  const me = { device: replica.device };
  const mesh = { replica, documents: again.documents, progress: { has: () => -1 }, me };
  const node = { mesh: () => mesh, time: again.member.time } as unknown as MeshNode;
  const shown = await noteShow(node, { note: "Release" });
  expect(shown).toMatchObject({ waiting: 1, refused: [{ by: "ana" }] });
  expect(shown.refused[0]!.message).toContain("changes nothing");
  expect(await syncWhy(node, { item: shown.refused[0]!.event })).toMatchObject({
    state: "refused",
    said: [expect.stringContaining("note-edited"), expect.stringContaining("on all others: an update of a board: ")],
  });
  expect((await syncWhy(node, { item: refused!.id })).state).toBe("refused");
  expect(await syncWhy(node, { item: waits!.id })).toMatchObject({ state: "waits" });
  expect((await syncWhy(node, { item: board })).state).toBe("counts");
});

/** Edits that stood on what a removal cut off: their authors make them anew, and nothing that a member has typed is lost. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { yjsClientOf, type NoteId } from "../../protocols/document.ts";
import { idOf } from "../../protocols/ids.ts";
import { removeDevice, removePerson } from "../../sync/acts.ts";
import { meantBy, writeMeant } from "../../sync/documents/anew.ts";
import { BOARD_SHAPE, createBoard, newCardId, type BoardState } from "../../sync/documents/board.ts";
import { writeBoard, type BoardAct } from "../../sync/documents/board-acts.ts";
import { createNoteText, TEXT_SHAPE, writeText, type NoteText } from "../../sync/documents/note-text.ts";
import { parseUpdate, type Update } from "../../sync/documents/yjs.ts";
import { addDevice } from "../invoke/durable-scene.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import { admitMember, foundMesh, meet as meetWithRefusal, memberOf, testTime, twinOf, until } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments, type Writer } from "./scene.ts";

function textOf({ documents }: Writer, id: string): string | undefined {
  return documents.notes.get(id as never)?.text.text();
}

async function team(...names: string[]): Promise<Writer[]> {
  const ana = await withDocuments(await foundMesh("ana", testTime()));
  const others: Writer[] = [];
  for (const name of names) others.push(await withDocuments(await admitMember(ana.member, name)));
  for (const other of others) await meet(ana, other);
  return [ana, ...others];
}

/** Until nothing waits any more, and all read the same. */
async function allMeet(writers: readonly Writer[]): Promise<void> {
  await until(async () => {
    for (const one of writers) for (const other of writers) if (one !== other) await meet(one, other);
    const hashes = await Promise.all(writers.map(({ documents }) => hashOf(documents)));
    return new Set(hashes).size === 1 && writers.every((writer) => waiting(writer) === 0);
  }, "all read the same");
  expect(writers.flatMap(({ failures }) => failures)).toEqual([]);
}

function waiting({ member, documents }: Writer): number {
  const people = [...member.replica.membership().members.keys()];
  const all = [
    ...documents.notes.all(),
    ...documents.boards.all(),
    ...people.flatMap((person) => documents.records.get(person, "helper") ?? []),
  ];
  return all.reduce((sum, one) => sum + one.waiting, 0);
}

describe("words-anew: what members typed beside words that a removal cut off is said anew by their devices", () => {
  test("a text: his words, where they stood; who built on them says his own anew; both write on; also after a restart", async () => {
    const [ana, ben, li, cleo] = (await team("ben", "li", "cleo")) as [Writer, Writer, Writer, Writer];
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "first line\nlast line\n" });
    await allMeet([ana, ben, li, cleo]);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    // None of these three has heard of it.
    await ben.documents.notes.edit(id, { text: "first line\nben's line\nlast line\n" });
    await meet(ben, li);
    await li.documents.notes.edit(id, { text: "first line\nben's line and li's\nlast\n" });
    await li.documents.notes.edit(id, { append: "li's end\n" });
    const { events } = await li.member.replica.events({ kinds: new Set(["note-edited"]) });
    const before = events.filter(({ device }) => device === li.member.replica.device).map((event) => event.id);
    await meet(li, cleo);
    await cleo.documents.notes.edit(id, { text: "first line\nben's line and li's, cleo's\nlast\nli's end\n" });
    await allMeet([ana, li, cleo]);
    expect(textOf(ana, id)).toMatch(/^first line\n.*li's end\n$/s);
    expect(textOf(ana, id)).not.toContain("ben");
    expect(before).toHaveLength(2);
    for (const one of [ana, li, cleo]) {
      expect(one.documents.notes.get(id)!.waiting).toBe(0);
      expect(before.every((event) => one.documents.isMadeAnew(event))).toBe(true);
    }

    await cleo.documents.notes.edit(id, { append: "cleo's end\n" });
    await li.documents.close();
    const again = await withDocuments(await li.member.reopen());
    await again.documents.notes.edit(id, { append: "li's other end\n" });
    await allMeet([ana, again, cleo]);
    const text = textOf(ana, id)!;
    for (const words of [" and li's", ", cleo's", "li's end\n", "cleo's end\n", "li's other end\n"])
      expect(text.split(words).length - 1, words).toBe(1);
    expect([ana, again, cleo].flatMap(({ documents }) => documents.refused())).toEqual([]);
  });

  test("an editor that was open when the removal came saves what its user changed, where the rest stands", async () => {
    const [ana, ben, li] = (await team("ben", "li")) as [Writer, Writer, Writer];
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await ana.documents.notes.edit(id, { text: "one\ntwo\n" });
    await allMeet([ana, ben, li]);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await ben.documents.notes.edit(id, { text: "one\nben's\ntwo\n" });
    await meet(ben, li);
    const { text } = li.documents.notes.get(id)!;
    const base = { runs: text.runs(), text: text.text() };
    await meet(ana, li);
    await li.documents.notes.edit(id, { text: "one\nben's\nafter ben's\ntwo, too\n", base });
    await allMeet([ana, li]);
    expect(textOf(ana, id)).toBe("one\nafter ben's\ntwo, too\n");
  });

  test("who is asked for a change before anything else was heard of writes it behind his words made anew", async () => {
    const [ana, ben, li] = (await team("ben", "li")) as [Writer, Writer, Writer];
    const quiet = await withDocuments(await admitMember(ana.member, "quiet"), { hasHeard: () => false });
    const id = await ana.documents.notes.open({ title: "plan", persons: null });
    await allMeet([ana, ben, li, quiet]);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await ben.documents.notes.edit(id, { text: "ben's" });
    await meet(ben, quiet);
    await quiet.documents.notes.edit(id, { append: " quiet's" });
    await meet(ana, quiet);
    await meet(ana, quiet);
    expect([textOf(ana, id), quiet.documents.notes.get(id)!.waiting]).toEqual(["", 1]);
    await quiet.documents.notes.edit(id, { append: ", more" });
    await allMeet([ana, li, quiet]);
    expect(textOf(ana, id)).toBe(" quiet's, more");
  });

  test("a private note, and words of a log that has ended since: once, also after a restart", async () => {
    const [ana, ben, li] = (await team("ben", "li")) as [Writer, Writer, Writer];
    const witness = await withDocuments(await admitMember(ana.member, "dora"));
    const persons = ["ben", "li"].map((name) => memberOf(ana.member, name).person);
    const id = await ana.documents.notes.open({ title: "plan", persons });
    await ana.documents.notes.edit(id, { text: "start." });
    await allMeet([ana, ben, li, witness]);
    const earlier = li.member.disk.crash();
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await ben.documents.notes.edit(id, { append: " ben's." });
    await meet(ben, li);
    await li.documents.notes.edit(id, { append: " li's." });
    await meet(li, witness);
    await li.documents.close();
    let restored = await withDocuments(await li.member.reopen(earlier));
    await meet(restored, witness);
    await restored.documents.notes.edit(id, { append: " again." }).catch(() => undefined);
    await until(async () => {
      for (const other of [witness, ana]) await meet(restored, other);
      return textOf(ana, id)!.includes("li's");
    }, "her words are said in her new log");
    await restored.documents.close();
    restored = await withDocuments(await restored.member.reopen());
    await restored.documents.notes.edit(id, { append: " end." });
    await meet(ana, restored);
    const text = textOf(ana, id)!;
    expect(text.startsWith("start.")).toBe(true);
    for (const words of [" li's.", " end."]) expect(text.split(words).length - 1, words).toBe(1);
    expect(text).not.toContain("ben's");
  });

  test("a board: cards, places, marks and words", async () => {
    const [ana, ben, li] = (await team("ben", "li")) as [Writer, Writer, Writer];
    const random = seededRandom("cards");
    const act = (who: Writer) => who.documents.boards.edit;
    const id = await ana.documents.notes.open({ title: "Release", persons: null, form: "board" });
    await act(ana)(id, { act: "columns", names: ["todo", "doing", "done"] });
    const [one, two, fresh] = [1, 2, 3].map(() => newCardId(random)) as [string, string, string];
    for (const [card, text] of [
      [one, "one"],
      [two, "two"],
    ] as const)
      await act(ana)(id, { act: "add", card, text, column: null, place: "end", assigned: [] });
    await allMeet([ana, ben, li]);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await act(ben)(id, { act: "move", card: one, column: "doing", place: "end" });
    await act(ben)(id, { act: "edit", card: two, text: "two by ben" });
    await meet(ben, li);
    await act(li)(id, { act: "move", card: one, column: "done", place: "end" });
    await act(li)(id, { act: "edit", card: two, text: "two by ben and li" });
    await act(li)(id, {
      act: "add",
      card: fresh,
      text: "li's card",
      column: "doing",
      place: "end",
      assigned: [memberOf(ana.member, "li").person],
    });
    await allMeet([ana, li]);
    const columns = ana.documents.boards.get(id)!.board.columns();
    const shown = columns.map(({ name, cards }) => [name, cards.map(({ text }) => text)]);
    expect(shown).toEqual([
      ["todo", ["two and li"]],
      ["doing", ["li's card"]],
      ["done", ["one"]],
    ]);
    expect(columns[1]!.cards[0]!.assigned).toEqual([memberOf(ana.member, "li").person]);
    await act(li)(id, { act: "remove", card: one });
    await allMeet([ana, li]);
    expect(ana.documents.boards.get(id)!.board.columns()[2]!.cards).toEqual([]);
  });

  test("a card whose whole text is written before anything else was heard of keeps his words that are said again first", async () => {
    const [ana, ben] = (await team("ben")) as [Writer, Writer];
    const quiet = await withDocuments(await admitMember(ana.member, "quiet"), { hasHeard: () => false });
    const card = newCardId(seededRandom("a card"));
    const act = (who: Writer) => who.documents.boards.edit;
    const id = await ana.documents.notes.open({ title: "Release", persons: null, form: "board" });
    await act(ana)(id, { act: "add", card, text: "one", column: null, place: "end", assigned: [] });
    await allMeet([ana, ben, quiet]);
    await removePerson(ana.member.replica, memberOf(ana.member, "ben").person);
    await act(ben)(id, { act: "edit", card, text: "one, ben's" });
    await meet(ben, quiet);
    await act(quiet)(id, { act: "edit", card, text: "one, ben's, quiet's" });
    await meet(ana, quiet);
    await meet(ana, quiet);
    await act(quiet)(id, { act: "edit", card, text: "one and more" });
    await allMeet([ana, quiet]);
    const [shown] = ana.documents.boards
      .get(id)!
      .board.columns()
      .flatMap(({ cards }) => cards);
    for (const words of ["one", ", quiet's", " and more"]) expect(shown!.text.split(words)).toHaveLength(2);
  });

  test("settings of one's own agents, after a lost machine of one's own has set some", async () => {
    const ana = await withDocuments(await foundMesh("ana", testTime()));
    const phone = await withDocuments(await addDevice(ana.member, "phone"));
    const desk = await withDocuments(await addDevice(ana.member, "desk"));
    const ben = await withDocuments(await admitMember(ana.member, "ben"));
    const all = [ana, phone, desk, ben];
    await ana.documents.records.set("helper", "description", "first");
    await allMeet(all);
    await removeDevice(ana.member.replica, phone.member.replica.device);
    await phone.documents.records.set("helper", "description", "a thief's");
    await meet(phone, desk);
    await desk.documents.records.set("helper", "paused", true);
    await desk.documents.records.set("helper", "model", "small");
    await allMeet([ana, desk, ben]);
    const { person } = memberOf(ana.member, "ana");
    const of = (who: Writer) => who.documents.records.get(person, "helper")!;
    expect(of(ben).state.values()).toEqual({ description: "first", paused: true, model: "small" });
    await desk.documents.records.set("helper", "model", "large");
    await allMeet([ana, desk, ben]);
    expect(of(ben).state.values()).toEqual({ description: "first", paused: true, model: "large" });
    expect(of(ben).waiting).toBe(0);
  });
});

test("words-anew: of any edits, all that one typed and took away is meant again where it was, and nothing of the other's", () => {
  const note = idOf<"event">(bytesOf("note"));
  const [start, gone, mine] = ["start", "gone", "mine"].map((name) => yjsClientOf(idOf(bytesOf(name)), note));
  const edit = fc.record({
    isMine: fc.boolean(),
    at: fc.nat(100),
    removed: fc.nat(6),
    says: fc.constantFrom("", "ab", "x\ny", "üé"),
  });
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 12 }), (edits) => {
      const [then, now] = [createNoteText(), createNoteText()];
      for (const { bytes } of writeText(then.state(), start!, [], [{ at: 0, removed: 0, inserted: "start" }]))
        for (const text of [then, now]) text.apply([bytes]);
      /** Each unit that was ever there, in order, and who took it away. */
      let units = Array.from("start").map((unit, clock) => ({
        unit,
        client: start!,
        clock,
        takenBy: new Set<number>(),
      }));
      const clocks: Record<number, number> = { [mine!]: 0, [gone!]: 0 };
      const updates: Update[] = [];
      for (const { isMine, at, removed, says } of edits) {
        const client = isMine ? mine! : gone!;
        const shown = units.filter(({ takenBy }) => takenBy.size === 0);
        const place = Math.min(at, shown.length);
        const taken = shown.slice(place, place + removed);
        const hunk = { at: place, removed: taken.length, inserted: says };
        for (const { bytes, seen } of writeText(then.state(), client, then.runs(), [hunk])) {
          updates.push(parseUpdate(bytes, client, seen, TEXT_SHAPE));
          then.apply([bytes]);
        }
        for (const { takenBy } of taken) takenBy.add(client);
        for (const unit of says) units.push({ unit, client, clock: clocks[client]!++, takenBy: new Set() });
        units = inOrder(then, units);
      }
      const life = yjsClientOf(idOf(bytesOf("mine")), note, 1);
      const own = new Set(updates.filter(({ client }) => client === mine));
      for (const { bytes, seen } of writeMeant(now.state(), life, "text", meantBy(now.state(), updates, own))) {
        parseUpdate(bytes, life, seen, TEXT_SHAPE);
        now.apply([bytes]);
      }
      const expected = units.filter(({ client, takenBy }) => client !== gone && !takenBy.has(mine!));
      expect(now.text()).toBe(expected.map(({ unit }) => unit).join(""));
    }),
    { numRuns: 300 },
  );
});

test("words-anew: of a board, what others have set since stays theirs; marks are the new client's own", () => {
  const random = seededRandom("cards");
  const [then, now] = [createBoard(), createBoard()];
  const [old, gone, mine, life, other] = [1, 2, 3, 4, 5];
  const write = (client: number | undefined, boards: BoardState[], act: BoardAct): Update[] =>
    writeBoard(boards[0]!, client!, act, random).map(({ bytes, seen }) => {
      for (const board of boards) board.apply([bytes]);
      return parseUpdate(bytes, client!, seen, BOARD_SHAPE);
    });
  const [one, two] = [newCardId(random), newCardId(random)];
  write(old, [then, now], { act: "columns", names: ["todo", "doing", "done"] });
  for (const card of [one, two])
    write(old, [then, now], { act: "add", card, text: card, column: null, place: "end", assigned: [] });
  const updates = [one, two].flatMap((card) =>
    [gone, mine].flatMap((client) =>
      write(client, [then], { act: "move", card, column: client === gone ? "doing" : "done", place: "end" }),
    ),
  );
  write(other, [now], { act: "move", card: one, column: "doing", place: "end" });
  const own = new Set(updates.filter(({ client }) => client === mine));
  const meant = meantBy(now.state(), updates, own);
  expect(meant.entries.map(({ root, key }) => `${root} ${key}`).toSorted()).toEqual(
    [`marks ${one}/${mine}`, `marks ${two}/${mine}`, `places ${two}`].toSorted(),
  );
  const before = createBoard(now.state());
  for (const { bytes, seen } of writeMeant(now.state(), life, "board", meant)) {
    parseUpdate(bytes, life, seen, BOARD_SHAPE);
    now.apply([bytes]);
  }
  expect(now.columns().map(({ name, cards }) => [name, cards.map(({ id }) => id)])).toEqual([
    ["todo", []],
    ["doing", [one]],
    ["done", [two]],
  ]);
  // Who has not seen that takes the card away as he knew it: it stays, by the new mark.
  const [removal] = writeBoard(before, other, { act: "remove", card: two }, random);
  now.apply([removal!.bytes]);
  expect(now.columns()[2]!.cards.map(({ id }) => id)).toEqual([two]);
});

test("words-anew: what somebody sets or does while it is found out what was meant stays: a removal that is said anew takes only what it knew", () => {
  const random = seededRandom("cards");
  const [then, now] = [createBoard(), createBoard()];
  const [old, gone, mine, life, other] = [1, 2, 3, 4, 5] as const;
  const write = (client: number, boards: BoardState[], act: BoardAct): Update[] =>
    writeBoard(boards[0]!, client, act, random).map(({ bytes, seen }) => {
      for (const board of boards) board.apply([bytes]);
      return parseUpdate(bytes, client, seen, BOARD_SHAPE);
    });
  const [one, two] = [newCardId(random), newCardId(random)];
  write(old, [then, now], { act: "columns", names: ["todo", "doing"] });
  for (const card of [one, two]) {
    write(old, [then, now], { act: "add", card, text: card, column: null, place: "end", assigned: [] });
    write(other, [then, now], { act: "edit", card, text: `${card}!` });
  }
  const cut = write(gone, [then], { act: "edit", card: one, text: "cut off" });
  const own = [
    ...write(mine, [then], { act: "remove", card: one }),
    ...write(mine, [then], { act: "move", card: two, column: "doing", place: "end" }),
  ];
  const meant = meantBy(now.state(), [...cut, ...own], new Set(own));
  write(other, [now], { act: "edit", card: one, text: "still needed" });
  write(other, [now], { act: "move", card: two, column: "todo", place: "top" });
  for (const { bytes, seen } of writeMeant(now.state(), life, "board", meant)) {
    parseUpdate(bytes, life, seen, BOARD_SHAPE);
    now.apply([bytes]);
  }
  expect(now.columns().map(({ name, cards }) => [name, cards.map(({ id }) => id).toSorted()])).toEqual([
    ["todo", [one, two].toSorted()],
    ["doing", []],
  ]);
});

/** As they stand in a text, those that were taken away too. */
function inOrder<Unit extends { client: number; clock: number }>(text: NoteText, units: readonly Unit[]): Unit[] {
  const byId = new Map(units.map((unit) => [`${unit.client}:${unit.clock}`, unit]));
  return text
    .runs()
    .flatMap(({ client, clock, length }) => Array.from({ length }, (_, i) => byId.get(`${client}:${clock + i}`)!));
}

describe("words-clash: what a device wrote before it heard of its other life is said again there too, in a life of its own", () => {
  test.each(["li", "twin"])("a note, a board and settings, if %s is built on", async (builtOn) => {
    const [ana, ben, li] = (await team("ben", "li")) as [Writer, Writer, Writer];
    const random = seededRandom("cards");
    const note = await ana.documents.notes.open({ title: "plan", persons: null });
    const board = await ana.documents.notes.open({ title: "Release", persons: null, form: "board" });
    await ana.documents.boards.edit(board, { act: "columns", names: ["todo", "doing", "done"] });
    await allMeet([ana, ben, li]);
    await li.documents.notes.edit(note, { text: "start. end." });
    const [one, two] = [newCardId(random), newCardId(random)];
    const add = (who: Writer, card: string, text: string) =>
      who.documents.boards.edit(board, { act: "add", card, text, column: null, place: "end", assigned: [] });
    await add(li, one, "one");
    await allMeet([ana, ben, li]);

    // Her folder, copied with all that marks it.
    const twin = await withDocuments(await twinOf(li.member));
    await li.documents.notes.edit(note, { text: "start. here. end." });
    await li.documents.notes.edit(note, { text: "start. and here. end!" });
    await add(li, two, "two");
    await li.documents.records.set("helper", "model", "small");
    await twin.documents.notes.edit(note, { text: "start. end. there." });
    await twin.documents.notes.edit(note, { text: "begin. end. over there." });
    await twin.documents.boards.edit(board, { act: "move", card: one, column: "done", place: "end" });
    await twin.documents.records.set("helper", "paused", true);

    const [first, second] = builtOn === "li" ? [li, twin] : [twin, li];
    await meet(first, ben);
    await ben.documents.notes.edit(note, { append: " ben." });
    await meet(ana, ben);
    await second.documents.close();
    const again = await withDocuments(await second.member.reopen());
    await first.documents.close();
    await syncAll([again, ana, ben]);
    await until(async () => {
      await syncAll([again, ana, ben]);
      const text = textOf(ana, note)!;
      return text.includes("here.") && text.includes("there.");
    }, "both are there");
    await until(async () => {
      await syncAll([again, ana, ben]);
      return new Set(await Promise.all([again, ana, ben].map(({ documents }) => hashOf(documents)))).size === 1;
    }, "all read the same");
    const text = textOf(ana, note)!;
    for (const words of ["and here", "over there", " ben."]) expect(text.split(words).length - 1, text).toBe(1);
    const shown = ana.documents.boards.get(board)!.board.columns();
    expect(shown.map(({ name, cards }) => [name, cards.map((card) => card.text)])).toEqual([
      ["todo", ["two"]],
      ["doing", []],
      ["done", ["one"]],
    ]);
    const { person } = memberOf(ana.member, "li");
    expect(ben.documents.records.get(person, "helper")!.state.values()).toEqual({ model: "small", paused: true });
    expect(again.documents.refused()).toEqual([]);
    expect([...again.failures, ...ana.failures, ...ben.failures]).toEqual([]);

    await again.documents.close();
    const last = await withDocuments(await again.member.reopen());
    await last.documents.notes.edit(note, { append: " last." });
    await syncAll([last, ana, ben]);
    expect(textOf(ana, note)).toBe(`${text} last.`);
  });

  test.each(["ben", "twin"])(
    "where others built on both histories, and %s goes on: everybody's words, once",
    async (who) => {
      const [ana, ben, li] = (await team("ben", "li")) as [Writer, Writer, Writer];
      const note = await ana.documents.notes.open({ title: "plan", persons: null });
      await ana.documents.notes.edit(note, { text: "start." });
      await allMeet([ana, ben, li]);
      const twin = await withDocuments(await twinOf(ben.member));
      await ben.documents.notes.edit(note, { append: " ben's long words" });
      await twin.documents.notes.edit(note, { append: " twin" });
      await meetWithRefusal(ben.member, ana.member);
      await meetWithRefusal(twin.member, li.member);
      for (const { documents } of [ana, li]) await documents.settled();
      await ana.documents.notes.edit(note, { append: " ana's" });
      await li.documents.notes.edit(note, { append: " li's" });
      await ben.documents.close();
      await twin.documents.close();
      const on = await withDocuments(await (who === "ben" ? ben : twin).member.reopen());
      await until(async () => {
        await syncAll([ana, li, on]);
        const texts = [ana, li, on].map((writer) => textOf(writer, note)!);
        const words = [" ben's long words", " twin", " ana's", " li's"];
        return texts.every((text) => text === texts[0] && words.every((word) => text.split(word).length === 2));
      }, "all words are on all");
    },
  );

  test("who built on words that their author has said anew since says his own anew, too", async () => {
    const names = ["ben", "li", "cleo", "dora"];
    const [ana, ben, li, cleo, dora] = (await team(...names)) as [Writer, Writer, Writer, Writer, Writer];
    const twin = await withDocuments(await twinOf(ben.member));
    // Which history comes first is a matter of the events' ids: in some of these it is the one, in some the other.
    const notes: NoteId[] = [];
    for (let i = 0; i < 8; i++) notes.push(await ana.documents.notes.open({ title: `${i}`, persons: null }));
    for (const other of [ben, twin, li, cleo, dora]) await meet(ana, other);
    for (const note of notes) {
      await ben.documents.notes.edit(note, { append: " ben's long words" });
      await twin.documents.notes.edit(note, { append: " twin" });
    }
    // Of the two who built on the other history the second has not heard of the first's saying.
    for (const [history, first, second, says] of [
      [ben, ana, dora, [" ana's", " dora's"]],
      [twin, li, cleo, [" li's", " cleo's"]],
    ] as const) {
      await meetWithRefusal(history.member, first.member);
      await first.documents.settled();
      for (const note of notes) await first.documents.notes.edit(note, { append: says[0] });
      await meet(first, second);
      for (const note of notes) await second.documents.notes.edit(note, { append: says[1] });
    }
    await ben.documents.close();
    await twin.documents.close();
    const allRead = (writers: Writer[], words: string[]) =>
      until(async () => {
        await syncAll(writers);
        return notes.every((note) => {
          const texts = writers.map((writer) => textOf(writer, note)!);
          return texts.every((text) => text === texts[0] && words.every((word) => text.split(word).length === 2));
        });
      }, `all read ${words.join()}`);
    await allRead([ana, li], [" ana's", " li's"]);
    await allRead([ana, li, cleo, dora], [" ana's", " li's", " cleo's", " dora's"]);
  });

  /** A fork ends the sync in which it is found. */
  async function syncAll(writers: readonly Writer[]): Promise<void> {
    for (const one of writers)
      for (const other of writers) if (one !== other) await meetWithRefusal(one.member, other.member);
    for (const { documents } of writers) await documents.settled();
  }
});

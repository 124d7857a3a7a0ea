/** States of notes that say what nobody wrote: no honest node signs them, and what can follow from no edits is not taken in. */
import { expect, test } from "vitest";
import { encode } from "../../protocols/bytes.ts";
import { idBytes } from "../../protocols/ids.ts";
import { proposalValue, signedValue, snapshotOf, stateHash, type Snapshot } from "../../protocols/snapshot.ts";
import { noteRows, parseNoteRows, type NoteRows } from "../../sync/documents/note-rows.ts";
import { createNoteText, writeText } from "../../sync/documents/note-text.ts";
import { documentRows } from "../../sync/documents/snapshot-views.ts";
import { canonicalState } from "../../sync/documents/yjs-state.ts";
import { encodeState, foldState, parseState } from "../../sync/snapshot-state.ts";
import { admitMember } from "../sync/mesh.ts";
import { lookAll, meet, syncAll, textOf, viewsOf, writerOf, writersOf, type Writer } from "./team.ts";

type Lie = (note: NoteRows, mal: Writer) => NoteRows;

function rewritten(note: NoteRows, client: number, word: string): Uint8Array {
  const text = createNoteText(note.state);
  for (const { bytes } of writeText(text.state(), client, text.runs(), [{ at: 0, removed: 2, inserted: word }]))
    text.apply([bytes]);
  return canonicalState(text.state());
}

const LIES: { [what: string]: Lie } = {
  "a text that was bent": (note) => ({ ...note, state: rewritten(note, [...note.ends.keys()][0]!, "by mal ") }),
  "an editor who was none": (note, mal) => ({
    ...note,
    editors: new Map([...note.editors, [mal.member.replica.device, { edits: 3, at: 1 }]]),
  }),
  "another opener": (note, mal) => ({ ...note, openedBy: mal.member.replica.device }),
  "less than all edits": (note) => ({ ...note, state: null, ends: new Map(), editors: new Map() }),
};
/** What no edits lead to. */
const IMPOSSIBLE: { [what: string]: Lie } = {
  "a text of a client that never ended": (note) => ({ ...note, state: rewritten(note, 12_345, "x") }),
  "an end beyond the text": (note) => {
    const [client, byEnd] = [...note.ends][0]!;
    const last = [...byEnd.keys()].at(-1)!;
    const longer = new Map([...byEnd, [last + 7, new Map([...byEnd.get(last)!, [client, last]])]]);
    return { ...note, ends: new Map([...note.ends, [client, longer]]) };
  },
  "what was seen of nobody": (note) => {
    const [client, byEnd] = [...note.ends][0]!;
    const last = [...byEnd.keys()].at(-1)!;
    const more = new Map([...byEnd, [last, new Map([...byEnd.get(last)!, [99, 4]])]]);
    return { ...note, ends: new Map([...note.ends, [client, more]]) };
  },
  "edits by nobody": (note) => ({ ...note, editors: new Map() }),
};

/** The snapshot that mal would make of what is here, with the lie in the note's place. */
async function lieOf(mal: Writer, lie: Lie): Promise<{ snapshot: Snapshot; state: Uint8Array }> {
  const { replica } = mal.member;
  const honest = (await mal.snapshots.make()).snapshot;
  const folded = await foldState(replica, viewsOf(mal.member), null, honest.at);
  if (!folded.ok) throw new Error(folded.message);
  const sections = parseState(folded.state).map((section) => {
    if (section.name !== "notes") return section;
    const rows = parseNoteRows(documentRows(section.rows)).flatMap((note) => [...noteRows(lie(note, mal))]);
    return { ...section, rows };
  });
  const state = encodeState(sections);
  return { snapshot: snapshotOf(replica.mesh, { ...honest, state: stateHash(state), bytes: state.length }), state };
}

async function scene() {
  const { time, mates } = await writersOf("ana", "ben", "mal");
  const [ana, ben, mal] = mates as [Writer, Writer, Writer];
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  await ana.documents.notes.edit(id, { text: "one\ntwo\n" });
  await syncAll(...mates);
  await ben.documents.notes.edit(id, { append: "three\n" });
  await syncAll(...mates);
  return { time, ana, ben, mal, id };
}

test.each(Object.entries({ ...LIES, ...IMPOSSIBLE }))(
  "C23: a state with %s gets no second signature [snapshot-lies]",
  async (_, lie) => {
    const { time, ana, ben, mal } = await scene();
    const { snapshot } = await lieOf(mal, lie);
    await mal.member.replica.append([{ kind: "snapshot-proposed", audience: "mesh", value: proposalValue(snapshot) }]);
    await syncAll(ana, ben, mal);
    await lookAll(time, ana, ben);
    for (const mate of [ana, ben]) {
      const info = mate.snapshots.list().find((one) => one.snapshot.id === snapshot.id)!;
      expect(info.verdict).toEqual({ state: "refused", why: "its state is not what its events fold to" });
      expect([...info.signers.keys()]).toEqual([mal.member.replica.device]);
    }
  },
);

test.each(Object.entries(IMPOSSIBLE))(
  "a state with %s is not taken in, though two have signed it [snapshot-lies]",
  async (_, lie) => {
    const { time, ana, ben, mal, id } = await scene();
    const { snapshot, state } = await lieOf(mal, lie);
    await mal.member.replica.append([{ kind: "snapshot-proposed", audience: "mesh", value: proposalValue(snapshot) }]);
    await meet(mal, ben);
    await ben.member.replica.append([
      { kind: "snapshot-signed", audience: "mesh", value: signedValue(snapshot.id, "recomputed") },
    ]);
    // Both have thrown away what they wrote, and offer the lie for it.
    for (const mate of [ben, mal]) {
      const events = await mate.member.replica.store.since(0, 1000);
      const edits = events.filter(({ event }) => event.header.kind === "note-edited");
      await mate.member.replica.prune(edits.map(({ event }) => event.id));
    }
    const dan = await writerOf(await admitMember(ana.member, "dan"));
    dan.peers = [{ ...mal, give: async () => state }];
    await meet(ana, mal);
    await meet(mal, ben);
    await meet(mal, dan);
    await meet(ben, dan);
    await meet(mal, dan);
    time.pass(11_000);
    await dan.snapshots.look();
    const info = dan.snapshots.list().find((one) => one.snapshot.id === snapshot.id)!;
    expect(info).toMatchObject({ counts: true, verdict: { state: "waits" } });
    expect(dan.warnings.at(-1)).toMatch(/could not be taken in: (rows of a note|the state of a note)/);
    expect(dan.base.current()).toBeNull();
    expect(textOf(dan, id)).toBe("");
  },
);

test("rows that are no rows of notes are refused [snapshot-lies]", async () => {
  const { mal, id } = await scene();
  const { snapshot } = await mal.snapshots.make();
  const folded = await foldState(mal.member.replica, viewsOf(mal.member), null, snapshot.at);
  if (!folded.ok) throw new Error(folded.message);
  const rows = documentRows(parseState(folded.state).find(({ name }) => name === "notes")!.rows);
  const opened = rows.find((row) => row[1] === 1)!;
  const wrong: [string, Uint8Array[]][] = [
    ["nobody opened", rows.filter((row) => row !== opened)],
    ["opened twice", [...rows, encode([1, idBytes(id), "text", "other", new Uint8Array(32), new Uint8Array(8)])]],
    ["how it was opened", [encode([1, idBytes(id), "sheet", "plan", new Uint8Array(32), new Uint8Array(8)])]],
    ["a part of its state lacks", [opened, encode([2, idBytes(id), 1, new Uint8Array(3)])]],
    ["ends of a client lack", [opened, encode([3, idBytes(id), 5, 1, []])]],
    ["ends at 0", [opened, encode([3, idBytes(id), 5, 0, [[0, []]]])]],
    ["not more than before", [opened, encode([3, idBytes(id), 5, 0, [[1, [[6, 0]]]]])]],
    ["a row of kind 7", [opened, encode([7, idBytes(id)])]],
    ["a row is a list", [opened, encode("row")]],
  ];
  for (const [why, some] of wrong) expect(() => parseNoteRows(some), why).toThrow(why);
  expect(parseNoteRows(rows)).toHaveLength(1);
});

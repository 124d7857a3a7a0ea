/**
 * Group C of the attacks, the part about documents: what a member may write into the log as an edit of a note or a change of a
 * record, and what must become of it. One line a case. An attacker signs and seals as he should: only what he says is wrong.
 */
import { readFileSync } from "node:fs";
import * as A from "@automerge/automerge";
import * as Y from "yjs";
import { sha256 } from "#crypto";
import { concat, fromHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";
import { automergeActorOf, MAX_LIVES, recordDocumentId, yjsClientOf, type NoteId } from "../../protocols/document.ts";
import { logIdOf } from "../../protocols/events.ts";
import { idBytes, type LogId } from "../../protocols/ids.ts";
import type { NewEntry } from "../../sync/replica.ts";
import type { Writer } from "../documents/scene.ts";
import { info, noDeletes, noteEdited, text, uint, updateOf as update } from "./yjs-bytes.ts";

export interface DocumentAttack {
  id: string;
  says: string;
  /** "waits": it is kept for what may come, has no effect, and stops nobody but its author in that document. */
  becomes: "refused" | "waits";
  /** Part of the refusal: a case that is refused for another reason proves nothing. */
  because?: string;
  /** Events of the attacker, in their order. The last one is the attack, those before are as they should be. */
  entries(scene: AttackScene): NewEntry[];
  /** How many of them count. */
  good?: number;
}

export interface AttackScene {
  note: NoteId;
  attacker: Writer;
  log: LogId;
  /** Of the attacker, in the note. */
  client: number;
  /** Ana's. */
  victim: number;
  /** What both have of the note: client → clock. */
  seen: Map<number, number>;
  state: Uint8Array;
  /** The attacker's, with a record of its own. */
  agent: string;
  /** Of the attacker, in that record. */
  actor: string;
}

// ── bytes of Yjs ──

const root = concat(uint(1), text("text"));
const after = (client: number, clock: number, words: string): Uint8Array =>
  concat(info(4 | 0x80), uint(client, clock), text(words));
const between = (left: [number, number], right: [number, number], words: string): Uint8Array =>
  concat(info(4 | 0xc0), uint(...left, ...right), text(words));

const lastOf = ({ victim, seen }: AttackScene): number => seen.get(victim)! - 1;
/** What an honest author writes there. */
const atEnd = (scene: AttackScene, words: string): Uint8Array => after(scene.victim, lastOf(scene), words);

// ── events ──

function edit({ note, seen }: AttackScene, bytes: Uint8Array, had: Iterable<[number, number]> = seen): NewEntry {
  return noteEdited(note, had, bytes);
}

function inLife(scene: AttackScene, life: Value, bytes: Uint8Array): NewEntry {
  const { value, ...entry } = edit(scene, bytes);
  return { ...entry, value: { ...(value as object), l: life } };
}

function change({ agent }: AttackScene, bytes: Uint8Array): NewEntry {
  return { kind: "record-changed", audience: "mesh", value: { e: ["agent", agent], u: bytes } };
}

/** What the library makes for somebody with this client id. */
function madeBy(scene: AttackScene, client: number, act: (note: Y.Text) => void): Uint8Array {
  const doc = new Y.Doc();
  Y.applyUpdate(doc, scene.state);
  doc.clientID = client;
  const updates: Uint8Array[] = [];
  doc.on("update", (bytes: Uint8Array) => updates.push(bytes));
  doc.transact(() => act(doc.getText("text")));
  return updates[0]!;
}

// ── bytes of Automerge ──

/** A chunk whose length and checksum are right, whatever is in it. */
function chunk(type: number, contents: Uint8Array): Uint8Array {
  const hashed = concat(Uint8Array.of(type), uint(contents.length), contents);
  return concat(fromHex("856f4a83"), sha256(hashed).subarray(0, 4), hashed);
}

function changeOf(
  actor: string,
  columns: [number, Uint8Array][],
  { seq = 1, startOp = 1, deps = [] as Uint8Array[] } = {},
) {
  return chunk(
    1,
    concat(
      uint(deps.length),
      ...deps,
      uint(16),
      fromHex(actor),
      uint(seq, startOp, 0, 0, 0),
      uint(columns.length),
      ...columns.map(([spec, bytes]) => uint(spec, bytes.length)),
      ...columns.map(([, bytes]) => bytes),
    ),
  );
}

const column = {
  key: (words: string): [number, Uint8Array] => [0x15, concat(Uint8Array.of(0x7f), text(words))],
  insert: [0x34, uint(1)] as [number, Uint8Array],
  action: (action: number): [number, Uint8Array] => [0x42, Uint8Array.of(0x7f, action)],
  /** One null. */
  value: [0x56, Uint8Array.of(0x7f, 0)] as [number, Uint8Array],
  replaces: (...numbers: [actor: number, counter: number][]): [number, Uint8Array][] => [
    [0x70, Uint8Array.of(0x7f, numbers.length)],
    ...(numbers.length === 0
      ? []
      : ([
          [0x71, concat(Uint8Array.of(128 - numbers.length), ...numbers.map(([actor]) => uint(actor)))],
          [0x73, concat(Uint8Array.of(128 - numbers.length), ...numbers.map(([, counter]) => uint(counter)))],
        ] as [number, Uint8Array][])),
  ],
};

/** A change with these columns. */
const changed = (scene: AttackScene, ...columns: [number, Uint8Array][]): NewEntry =>
  change(scene, changeOf(scene.actor, columns));

/** A change that sets one key to null, as it should be. */
const plain = (actor: string, key = "paused", more: Parameters<typeof changeOf>[2] = {}): Uint8Array =>
  changeOf(actor, [column.key(key), column.insert, column.action(1), column.value, ...column.replaces()], more);

/** What the library makes for this actor. */
function savedBy(actor: string, act: (record: { [key: string]: unknown }) => void): Uint8Array {
  const doc = A.change(A.init<{ [key: string]: unknown }>({ actor }), { time: 0 }, act);
  return A.getLastLocalChange(doc)!;
}

function wholeDocument(actor: string): Uint8Array {
  return A.save(A.change(A.init<{ [key: string]: unknown }>({ actor }), (doc) => void (doc["a"] = "x".repeat(10_000))));
}

/** A real change with its contents compressed, 1,000 : 1 and more. */
async function compressed(contents: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([contents as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(new CompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const bomb = chunk(2, await compressed(new Uint8Array(4 * 1024 * 1024)));
const crashers = (
  JSON.parse(readFileSync(new URL("automerge-crashers.json", import.meta.url), "utf8")) as {
    crashers: { name: string; hex: string }[];
  }
).crashers;

export const DOCUMENT_ATTACKS: DocumentAttack[] = [
  {
    id: "C16",
    says: "text under the client id of somebody else",
    becomes: "refused",
    because: "its author's log writes as",
    entries: (scene) => [
      edit(
        scene,
        madeBy(scene, scene.victim, (note) => note.insert(0, "as ana: ")),
      ),
    ],
  },
  {
    id: "C16",
    says: "text under a client id of nobody",
    becomes: "refused",
    because: "its author's log writes as",
    entries: (scene) => [
      edit(
        scene,
        madeBy(scene, 4711, (note) => note.insert(0, "as nobody: ")),
      ),
    ],
  },
  {
    id: "C16",
    says: "own text and text of somebody else in one update",
    becomes: "refused",
    because: "structs of 2 clients",
    entries: (scene) => {
      const { client, victim, seen } = scene;
      const at = seen.get(victim)!;
      const own = concat(uint(1, client, 0), after(victim, at - 1, "mine"));
      const foreign = concat(uint(1, victim, at), after(victim, at - 1, "hers"));
      return [edit(scene, concat(uint(2), own, foreign, noDeletes))];
    },
  },
  {
    id: "C16",
    says: "an edit that says to be of a later life, under the client id of the first",
    becomes: "refused",
    because: "its author's log writes as",
    entries: (scene) => [inLife(scene, 1, update(scene.client, 0, [atEnd(scene, "<first>")]))],
  },
  {
    id: "C16",
    says: "an edit of the first life under the client id of a later one",
    becomes: "refused",
    because: "its author's log writes as",
    entries: (scene) => [edit(scene, update(yjsClientOf(scene.log, scene.note, 1), 0, [atEnd(scene, "<later>")]))],
  },
  ...([0, -1, MAX_LIVES, "1"] as const).map((life): DocumentAttack => ({
    id: "C16",
    says: `an edit of life ${JSON.stringify(life)}`,
    becomes: "refused",
    because: "an integer from 1 to 7",
    entries: (scene) => [inLife(scene, life, update(scene.client, 0, [atEnd(scene, "<none>")]))],
  })),
  {
    id: "C17",
    says: "two edits of a later life with the same clock",
    becomes: "refused",
    because: "an edit from clock 0 of a log that wrote up to 5",
    good: 1,
    entries: (scene) =>
      ["<one>", "<two>"].map((words) =>
        inLife(scene, 1, update(yjsClientOf(scene.log, scene.note, 1), 0, [atEnd(scene, words)])),
      ),
  },
  {
    id: "C17",
    says: "two edits with the same clock and other words",
    becomes: "refused",
    because: "an edit from clock 0 of a log that wrote up to 5",
    good: 1,
    entries: (scene) => [
      edit(scene, update(scene.client, 0, [atEnd(scene, "<one>")])),
      edit(scene, update(scene.client, 0, [atEnd(scene, "<two>")])),
    ],
  },
  {
    id: "C17",
    says: "an edit that begins inside of the one before",
    becomes: "refused",
    because: "an edit from clock 2 of a log that wrote up to 5",
    good: 1,
    entries: (scene) => [
      edit(scene, update(scene.client, 0, [atEnd(scene, "<one>")])),
      edit(scene, update(scene.client, 2, [atEnd(scene, "<two>")]), [...scene.seen, [scene.client, 2]]),
    ],
  },
  {
    id: "C18",
    says: "a clock that is 2^40 ahead",
    becomes: "refused",
    because: "what an edit has seen",
    entries: (scene) => [
      edit(scene, update(scene.client, 2 ** 40, [atEnd(scene, "x")]), [...scene.seen, [scene.client, 2 ** 40]]),
    ],
  },
  {
    id: "C18",
    says: "a clock that is 2^40 ahead of what it says to have seen",
    becomes: "refused",
    because: "says that he was at 0",
    entries: (scene) => [edit(scene, update(scene.client, 2 ** 40, [atEnd(scene, "x")]))],
  },
  {
    id: "C18",
    says: "a gap before its clock that is never filled",
    becomes: "waits",
    entries: (scene) => [
      edit(scene, update(scene.client, 1000, [atEnd(scene, "x")]), [...scene.seen, [scene.client, 1000]]),
    ],
  },
  {
    id: "C18",
    says: "builds on a writer who never writes",
    becomes: "waits",
    entries: (scene) => [edit(scene, update(scene.client, 0, [after(4711, 0, "x")]), [...scene.seen, [4711, 5]])],
  },
  {
    id: "C19",
    says: "a right piece of text, then one that is cut off",
    becomes: "refused",
    because: "ends early",
    entries: (scene) => {
      const whole = update(scene.client, 0, [atEnd(scene, "good"), atEnd(scene, "bad")]);
      return [edit(scene, whole.subarray(0, -4))];
    },
  },
  {
    id: "C19",
    says: "a right piece of text, then one of a kind that nobody knows",
    becomes: "refused",
    because: "kind 0x1f",
    entries: (scene) => [
      edit(scene, update(scene.client, 0, [atEnd(scene, "good"), concat(info(31), uint(0x7f), text("bad"))])),
    ],
  },
  ...[
    { kind: 0, name: "garbage (GC)" },
    { kind: 1, name: "deleted content" },
    { kind: 2, name: "JSON" },
    { kind: 3, name: "bytes" },
    { kind: 5, name: "an embed" },
    { kind: 6, name: "a format" },
    { kind: 7, name: "a type inside the text" },
    { kind: 8, name: "any values" },
    { kind: 9, name: "a document inside the text" },
    { kind: 10, name: "a skipped range" },
  ].map(({ kind, name }): DocumentAttack => ({
    id: "C19",
    says: `content that is no text: ${name}`,
    becomes: "refused",
    because: "a note is text",
    entries: (scene) => [
      edit(scene, update(scene.client, 0, [concat(info(kind | 0x80), uint(scene.victim, lastOf(scene), 1, 1, 1))])),
    ],
  })),
  {
    id: "C19",
    says: "text in another root",
    becomes: "refused",
    because: "outside of",
    entries: (scene) => [edit(scene, update(scene.client, 0, [concat(uint(4, 1), text("other"), text("x"))]))],
  },
  {
    id: "C19",
    says: "a key inside the text (parentSub)",
    becomes: "refused",
    because: "kind 0x24",
    entries: (scene) => [edit(scene, update(scene.client, 0, [concat(uint(4 | 0x20), root, text("key"), text("x"))]))],
  },
  {
    id: "C19",
    says: "text that is not UTF-8",
    becomes: "refused",
    because: "not UTF-8",
    entries: (scene) => [
      edit(
        scene,
        update(scene.client, 0, [
          concat(info(4 | 0x80), uint(scene.victim, lastOf(scene), 2), Uint8Array.of(0xc3, 0x28)),
        ]),
      ),
    ],
  },
  {
    id: "C19",
    says: "bytes after its end",
    becomes: "refused",
    because: "bytes after its end",
    entries: (scene) => [edit(scene, concat(update(scene.client, 0, [atEnd(scene, "x")]), uint(0)))],
  },
  {
    id: "C19",
    says: "a number in a longer form than it needs",
    becomes: "refused",
    because: "shorter form",
    entries: (scene) => [
      edit(scene, concat(Uint8Array.of(0x81, 0), update(scene.client, 0, [atEnd(scene, "x")]).subarray(1))),
    ],
  },
  {
    id: "C19",
    says: "deletes what nobody has written, 2^53 of it",
    becomes: "refused",
    because: "are deleted, and were not seen",
    entries: (scene) => [edit(scene, concat(uint(0), uint(1, scene.victim, 1, 0, Number.MAX_SAFE_INTEGER)))],
  },
  {
    id: "C19",
    says: "an update of nothing",
    becomes: "refused",
    because: "changes nothing",
    entries: (scene) => [edit(scene, uint(0, 0))],
  },
  {
    id: "C19",
    says: "an update in Yjs's other form (V2)",
    becomes: "refused",
    because: "an update of a note",
    entries: (scene) => [
      edit(scene, Y.convertUpdateFormatV1ToV2(madeBy(scene, scene.client, (note) => note.insert(0, "x")))),
    ],
  },
  {
    id: "C19",
    says: "text whose right neighbour stands left of its left one",
    becomes: "refused",
    because: "neighbours",
    entries: (scene) => [edit(scene, update(scene.client, 0, [between([scene.victim, 5], [scene.victim, 1], "x")]))],
  },
  {
    id: "C19",
    says: "text between two units that were no neighbours",
    becomes: "refused",
    because: "neighbours",
    entries: (scene) => [edit(scene, update(scene.client, 0, [between([scene.victim, 0], [scene.victim, 5], "x")]))],
  },
  {
    id: "C19",
    says: "text whose neighbours are one unit",
    becomes: "refused",
    because: "neighbours",
    entries: (scene) => [edit(scene, update(scene.client, 0, [between([scene.victim, 1], [scene.victim, 1], "x")]))],
  },
  {
    id: "C19",
    says: "text that builds on itself",
    becomes: "refused",
    because: "was not seen",
    entries: (scene) => [edit(scene, update(scene.client, 0, [after(scene.client, 0, "x")]))],
  },
  {
    id: "C19",
    says: "text that builds on what it has not seen",
    becomes: "refused",
    because: "was not seen",
    entries: (scene) => [edit(scene, update(scene.client, 0, [after(scene.victim, 3, "x")]), [[scene.victim, 3]])],
  },
  {
    id: "C19",
    says: "has seen half of somebody's edit",
    becomes: "refused",
    because: "half of an edit",
    entries: (scene) => [edit(scene, update(scene.client, 0, [after(scene.victim, 2, "x")]), [[scene.victim, 3]])],
  },
  {
    id: "C19",
    says: "forgets between two edits what it had seen",
    becomes: "refused",
    because: "without what that one had seen",
    good: 1,
    entries: (scene) => [
      edit(scene, update(scene.client, 0, [atEnd(scene, "<one>")])),
      edit(scene, update(scene.client, 5, [after(scene.client, 4, "<two>")]), [[scene.client, 5]]),
    ],
  },
  {
    id: "C19",
    says: "a sealed edit of a note that is for the mesh",
    becomes: "refused",
    because: "sealed edit",
    entries: ({ note }) => [
      {
        kind: "note-edited",
        audience: "mesh",
        value: { d: idBytes(note), h: [], n: new Uint8Array(12), x: new Uint8Array(40) },
      },
    ],
  },
  {
    id: "C19",
    says: "an edit that only some can read",
    becomes: "refused",
    because: "not for all",
    entries: (scene) => {
      const { members } = scene.attacker.member.replica.membership();
      const to = [...members.values()].flatMap(({ devices }) => devices.map(({ id }) => id));
      return [{ ...edit(scene, update(scene.client, 0, [atEnd(scene, "x")])), audience: "direct", to }];
    },
  },
  {
    id: "C20",
    says: "a compressed change, 4 MiB of zeros in 4 KiB",
    becomes: "refused",
    because: "chunk of type 2",
    entries: (scene) => [change(scene, bomb)],
  },
  {
    id: "C20",
    says: "a whole document in the place of a change",
    becomes: "refused",
    because: "chunk of type 0",
    entries: (scene) => [change(scene, wholeDocument(scene.actor))],
  },
  {
    id: "C20",
    says: "a column of 2^40 equal rows in six bytes",
    becomes: "refused",
    because: "over 64 rows",
    entries: (scene) => [
      changed(
        scene,
        column.key("a"),
        column.insert,
        [0x42, concat(Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x20), uint(1))],
        column.value,
      ),
    ],
  },
  {
    id: "C20",
    says: "a value that is 2^40 bytes long",
    becomes: "refused",
    because: "1099511627776 bytes",
    entries: (scene) => [
      changed(
        scene,
        column.key("a"),
        column.insert,
        column.action(1),
        [0x56, concat(Uint8Array.of(0x7f), uint(2 ** 44 + 6))],
        [0x57, utf8Bytes("short")],
        ...column.replaces(),
      ),
    ],
  },
  {
    id: "C21",
    says: "two changes with the same seq",
    becomes: "refused",
    because: "that made 1 already",
    good: 1,
    entries: (scene) => [change(scene, plain(scene.actor)), change(scene, plain(scene.actor, "description"))],
  },
  {
    id: "C21",
    says: "a seq that is never reached",
    becomes: "waits",
    entries: (scene) => [change(scene, plain(scene.actor, "paused", { seq: 7 }))],
  },
  {
    id: "C21",
    says: "deps that nobody has",
    becomes: "waits",
    entries: (scene) => [change(scene, plain(scene.actor, "paused", { deps: [new Uint8Array(32).fill(7)] }))],
  },
  {
    id: "C21",
    says: "a second change that does not know the first",
    becomes: "refused",
    because: "does not know the one before",
    good: 1,
    entries: (scene) => [
      change(scene, plain(scene.actor)),
      change(scene, plain(scene.actor, "description", { seq: 2 })),
    ],
  },
  {
    id: "C21",
    says: "a change of another actor",
    becomes: "refused",
    because: "its author's log writes as",
    entries: (scene) => [change(scene, plain("ab".repeat(16)))],
  },
  {
    id: "C21",
    says: "operations numbered from 2^30 on",
    becomes: "refused",
    because: "operations from",
    entries: (scene) => [change(scene, plain(scene.actor, "paused", { startOp: 2 ** 30 }))],
  },
  {
    id: "C21",
    says: "replaces an operation that was never made",
    becomes: "refused",
    because: "replaces what was not set",
    entries: (scene) => [
      changed(scene, column.key("a"), column.insert, column.action(1), column.value, ...column.replaces([0, 9])),
    ],
  },
  {
    id: "C21",
    says: "lists, maps and texts inside a record",
    becomes: "refused",
    because: "a list of 10",
    entries: (scene) => [
      change(
        scene,
        savedBy(scene.actor, (record) => void (record["a"] = { b: [1, "x"] })),
      ),
    ],
  },
  {
    id: "C21",
    says: "a floating point number",
    becomes: "refused",
    because: "a value of type 5",
    entries: (scene) => [
      change(
        scene,
        savedBy(scene.actor, (record) => void (record["a"] = 0.5)),
      ),
    ],
  },
  {
    id: "C21",
    says: "a key that no setting has",
    becomes: "refused",
    because: "no setting's name",
    entries: (scene) => [change(scene, plain(scene.actor, "__proto__"))],
  },
  {
    id: "C21",
    says: "an action of a kind that nobody knows",
    becomes: "refused",
    because: "operation of kind 48",
    entries: (scene) => [
      changed(scene, column.key("a"), column.insert, column.action(48), column.value, ...column.replaces()),
    ],
  },
  {
    id: "C21",
    says: "a wrong checksum",
    becomes: "refused",
    because: "checksum",
    entries: (scene) => {
      const bytes = plain(scene.actor).slice();
      bytes[5]! ^= 1;
      return [change(scene, bytes)];
    },
  },
  ...crashers.map(({ name, hex }): DocumentAttack => ({
    id: "C22",
    says: `what Automerge once crashed on: ${name}`,
    becomes: "refused",
    because: name.startsWith("action-is-48") ? "its author's log writes as" : "a chunk of type 0",
    entries: (scene) => [change(scene, fromHex(hex))],
  })),
];

export function sceneOf(attacker: Writer, victim: Writer, note: NoteId, agent: string): AttackScene {
  const { replica } = attacker.member;
  const logOf = ({ member }: Writer): LogId => {
    const { mesh, device, incarnation } = member.replica;
    return logIdOf(mesh, { device, incarnation: incarnation().id, chain: "mesh" });
  };
  const log = logOf(attacker);
  const { text: noteText } = attacker.documents.notes.get(note)!;
  const { person } = replica.membership().devices.get(replica.device)!.member;
  return {
    note,
    attacker,
    log,
    client: yjsClientOf(log, note),
    victim: yjsClientOf(logOf(victim), note),
    seen: new Map(noteText.seen()),
    state: noteText.state(),
    agent,
    actor: automergeActorOf(log, recordDocumentId(replica.mesh, person, "agent", agent)),
  };
}

/** Vectors of documents (§28): who writes inside one, a private note's update, what facts fold to. */
import { concat, fromHex, toHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";
import {
  automergeActorOf,
  factSetValue,
  recordDocumentId,
  sealUpdate,
  yjsClientOf,
  type FactSet,
} from "../../protocols/document.ts";
import { idBytes, idOf, type DeviceId, type EventId, type LogId, type MeshId, type PersonId } from "../../protocols/ids.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import type { Random } from "../../protocols/effects.ts";
import { BOARD_SHAPE, createBoard, newCardId, type BoardState } from "../../sync/documents/board.ts";
import { writeBoard, type BoardAct } from "../../sync/documents/board-acts.ts";
import { createFacts } from "../../sync/documents/facts.ts";
import { parseUpdate } from "../../sync/documents/yjs.ts";
import { bytesOf, hexOf } from "./basics.ts";
import type { VectorFile } from "./make.ts";

const MESH: MeshId = idOf(bytesOf("mesh"));
const NOTE: EventId = idOf(bytesOf("note"));
const LOG: LogId = idOf(bytesOf("writing log"));
const [ANA, BEN] = ["ana", "ben"].map((name) => idOf<"person">(bytesOf(`${name} person id`))) as [PersonId, PersonId];
const AUTHOR: DeviceId = idOf(bytesOf("ana device id"));

export function documentVectors(): { [file: string]: VectorFile } {
  const record = recordDocumentId(MESH, ANA, "agent", "reviewer");
  const update = utf8Bytes("an update");
  const sealed = sealUpdate({ mesh: MESH, note: NOTE, author: AUTHOR }, bytesOf("note key"), update, {
    bytes: (count) => bytesOf("note nonce", count),
  }) as { nonce: Uint8Array; sealed: Uint8Array };
  return {
    "document.json": {
      section: "28",
      about:
        "client and actor: as whom log writes in note and in the record of ana's agent reviewer, lives: in later lives. privateUpdate: x opens under key for that author. facts: events, in any order, amount to standing (newest first); refused: values that are none. board: updates of clients, in any order that keeps causes first, show columns (names of cards, text, people); wrong: updates of a fourth client after all of them, that every reader refuses.",
      mesh: MESH,
      log: LOG,
      note: NOTE,
      person: ANA,
      client: yjsClientOf(LOG, NOTE),
      record,
      actor: automergeActorOf(LOG, record),
      lives: [1, 7].map((life) => ({
        life,
        client: yjsClientOf(LOG, NOTE, life),
        actor: automergeActorOf(LOG, record, life),
      })),
      privateUpdate: {
        author: AUTHOR,
        key: toHex(bytesOf("note key")),
        n: toHex(sealed.nonce),
        x: toHex(sealed.sealed),
        update: toHex(update),
      },
      facts: facts(),
      board: board(),
      refused: refused(),
    },
  };
}

function eventId(name: string): EventId {
  return idOf(bytesOf(`fact ${name}`));
}

function facts() {
  const set = (name: string, ms: number, person: PersonId, fact: Partial<FactSet> & { key: string }, ...replaced: string[]) => ({
    id: eventId(name),
    person,
    device: AUTHOR,
    hlc: stampOf(ms),
    value: factSetValue({ scope: null, json: `"${name}"`, ...fact, replaces: replaced.map(eventId) }),
  });
  const agents = { person: ANA, agent: "reviewer" };
  const events = [
    set("a", 10, ANA, { key: "deploy/window" }),
    set("b", 20, BEN, { key: "deploy/window" }, "a"),
    set("c", 30, ANA, { key: "deploy/window" }, "a"),
    set("unset", 40, ANA, { key: "gone", json: null }),
    set("before what it replaces", 50, BEN, { key: "late" }, "late one"),
    set("late one", 60, ANA, { key: "late" }),
    set("of an agent", 70, ANA, { key: "style", scope: agents }),
    set("by somebody else", 80, BEN, { key: "style", scope: agents }),
  ];
  const folded = createFacts();
  for (const event of events) folded.fold(event);
  const registers = [
    [null, "deploy/window"],
    [null, "gone"],
    [null, "late"],
    [agents, "style"],
  ] as const;
  return {
    events: events.map(({ id, person, device, hlc, value }) => ({
      id,
      person,
      device,
      hlc: toHex(hlc),
      value: hexOf(value),
    })),
    standing: registers.map(([scope, key]) => ({
      scope: scope === null ? null : [scope.person, scope.agent],
      key,
      ids: folded.standing(scope, key),
    })),
  };
}

function refused() {
  const good = { s: null, k: "deploy/window", v: "1", r: [] as Value[] };
  const ids = [bytesOf("b"), bytesOf("a")].toSorted((a, b) => b[0]! - a[0]!);
  const wrong: [string, { [field: string]: Value }][] = [
    ["an empty key", { ...good, k: "" }],
    ["white space in a key", { ...good, k: "a key" }],
    ["a key of 129 bytes", { ...good, k: "k".repeat(129) }],
    ["a value that is no JSON", { ...good, v: "{" }],
    ["a value nested 33 deep", { ...good, v: "[".repeat(33) + "]".repeat(33) }],
    ["ids that are not ascending", { ...good, r: ids }],
    ["a scope without an agent", { ...good, s: [idBytes(ANA)] }],
    ["an unknown field", { ...good, x: 1 }],
    ["no r", { s: null, k: "key", v: "1" }],
  ];
  return wrong.map(([name, value]) => ({ name, value: hexOf(value) }));
}

/** Two who move one card at once, while one of them edits it and the other removes one that the first assigns. */
function board() {
  const random = countingRandom("board");
  const [login, docs] = [newCardId(random), newCardId(random)];
  const clients = [2 ** 53 - 1, 7, 4711];
  const known = clients.map(() => createBoard());
  const updates: { client: number; seen: [number, number][]; update: string }[] = [];
  const act = (who: number, done: BoardAct): void => {
    for (const { seen, bytes } of writeBoard(known[who]!, clients[who]!, done, random)) {
      updates.push({ client: clients[who]!, seen: pairs(seen), update: toHex(bytes) });
      known[who]!.apply([bytes]);
    }
  };
  const meet = (): void => known.forEach((one) => learn(one, updates));
  act(0, { act: "columns", names: ["todo", "doing", "done"] });
  act(0, { act: "add", card: login, text: "fix login", column: null, place: "end", assigned: [] });
  act(0, { act: "add", card: docs, text: "write docs", column: null, place: "top", assigned: [BEN] });
  meet();
  act(0, { act: "move", card: login, column: "doing", place: "end" });
  act(0, { act: "remove", card: docs });
  act(1, { act: "move", card: login, column: "done", place: "end" });
  act(1, { act: "edit", card: login, text: "fix the login" });
  act(2, { act: "assign", card: docs, to: [ANA], notTo: [BEN] });
  act(2, { act: "columns", names: ["todo", "doing", "review", "done"] });
  meet();
  const columns = known[0]!.columns().map(({ name, cards }) => ({
    name,
    cards: cards.map(({ id, text, assigned }) => ({ card: id, text, people: assigned })),
  }));
  return { updates, columns, wrong: wrongUpdates(known[0]!) };
}

function learn(one: BoardState, updates: readonly { client: number; seen: [number, number][]; update: string }[]): void {
  for (const { client, seen, update } of updates) {
    const from = seen.find(([other]) => other === client)?.[1] ?? 0;
    const { to } = parseUpdate(fromHex(update), client, new Map(seen), BOARD_SHAPE);
    const has = one.seen().get(client) ?? 0;
    if (has < to || (from === to && has === to)) one.apply([fromHex(update)]);
  }
}

/** Of one struct each, by client 9 after all that is there. */
function wrongUpdates(whole: BoardState) {
  const text = (words: string): Uint8Array => concat(Uint8Array.of(utf8Bytes(words).length), utf8Bytes(words));
  const entry = (root: string, key: string, value: string): Uint8Array =>
    concat(Uint8Array.of(0x28, 1), text(root), text(key), Uint8Array.of(1, 119), text(value));
  const structs: [string, Uint8Array][] = [
    ["a note's text", concat(Uint8Array.of(4, 1), text("text"), text("x"))],
    ["text of what is no card", concat(Uint8Array.of(4, 1), text("card/1"), text("x"))],
    ["an order that ends in 0", entry("columns", "new", "i0")],
    ["a place without an order", entry("places", "0".repeat(16), "todo")],
    ["a column that ends in a space", entry("columns", "new ", "i")],
    ["a root of no board", entry("colours", "red", "yes")],
    ["a mark of a client with a zero before it", entry("marks", `${"0".repeat(16)}/07`, "yes")],
    ["the first of a key that has one", entry("columns", "todo", "i")],
    ["an integer", concat(Uint8Array.of(0x28, 1), text("columns"), text("new"), Uint8Array.of(1, 125, 5))],
    ["two values", concat(Uint8Array.of(0x28, 1), text("columns"), text("new"), Uint8Array.of(2, 119), text("i"), Uint8Array.of(119), text("i"))],
  ];
  const seen = pairs(whole.seen());
  return structs.map(([name, struct]) => {
    const update = concat(Uint8Array.of(1, 1, 9, 0), struct, Uint8Array.of(0));
    return { name, client: 9, seen, update: toHex(update) };
  });
}

function pairs(seen: ReadonlyMap<number, number>): [number, number][] {
  return [...seen].toSorted(([a], [b]) => a - b);
}

function countingRandom(seed: string): Random {
  let drawn = 0;
  return { bytes: (count) => bytesOf(`${seed} ${drawn++}`, count) };
}

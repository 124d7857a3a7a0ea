import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode, fromHex, toHex, type Value } from "../../protocols/bytes.ts";
import {
  idBytes,
  idOf,
  type DeviceId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
} from "../../protocols/ids.ts";
import {
  answerSnapshot,
  askSnapshot,
  dormantValue,
  MAX_SNAPSHOT_LOGS,
  parseDormant,
  parseProposal,
  parseSigned,
  proposalValue,
  signedValue,
  SNAPSHOT_PART_BYTES,
  snapshotOf,
  stateHash,
  type Snapshot,
  type SnapshotId,
} from "../../protocols/snapshot.ts";
import { factsView } from "../../sync/documents/facts.ts";
import { checkNote, noteRows, parseNoteRows } from "../../sync/documents/note-rows.ts";
import { createNoteText, TEXT_SHAPE } from "../../sync/documents/note-text.ts";
import { parseRecordRows, recordRows } from "../../sync/documents/record-rows.ts";
import { canonicalState } from "../../sync/documents/yjs-state.ts";
import { parseUpdate } from "../../sync/documents/yjs.ts";
import { encodeState } from "../../sync/snapshot-state.ts";
import { bytesOf, epoch, epochKey, mesh, seededRandom } from "../sync/chains.ts";
import { wirePair } from "../wire-pair.ts";

const id = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => idOf<never>(bytes));
const claim = fc.record({
  at: fc
    .uniqueArray(fc.tuple(id, fc.record({ seq: fc.nat(), id })), { maxLength: 20, selector: ([log]) => log })
    .map((marks) => new Map<LogId, { seq: number; id: EventId }>(marks)),
  views: fc.uniqueArray(
    fc.record({ name: fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/), version: fc.integer({ min: 1, max: 1000 }) }),
    { maxLength: 8, selector: ({ name }) => name },
  ),
  state: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  bytes: fc.nat({ max: 1000 }),
});

test("what an event says of a snapshot reads back, and its id depends on all of it and on nothing else [snapshot-canonical]", () => {
  fc.assert(
    fc.property(claim, (one) => {
      const made = snapshotOf(mesh, one);
      const read = parseProposal(mesh, decode(encode(proposalValue(one))));
      expect(read.id).toBe(made.id);
      expect(read.at).toEqual(one.at);
      const reversed = { ...one, at: new Map([...one.at].toReversed()), views: one.views.toReversed() };
      expect(snapshotOf(mesh, reversed).id).toBe(made.id);
      const others: Snapshot[] = [
        snapshotOf(idOf(bytesOf("another mesh")), one),
        snapshotOf(mesh, { ...one, bytes: one.bytes + 1 }),
        snapshotOf(mesh, { ...one, state: one.state.with(0, one.state[0]! ^ 1) }),
        snapshotOf(mesh, { ...one, views: [...one.views, { name: "zzzzzzzzzz", version: 1 }] }),
        snapshotOf(mesh, {
          ...one,
          at: new Map([...one.at, [idOf(bytesOf("log")), { seq: 1, id: idOf(bytesOf("e")) }]]),
        }),
      ];
      expect(new Set([made.id, ...others.map((other) => other.id)]).size).toBe(6);
    }),
  );
  fc.assert(
    fc.property(id, fc.constantFrom("recomputed", "adopted"), fc.boolean(), (some, how, on) => {
      expect(parseSigned(decode(encode(signedValue(some, how as "adopted"))))).toEqual({ snapshot: some, how });
      expect(parseDormant(decode(encode(dormantValue(some, on))))).toEqual({ person: some, on });
    }),
  );
});

test("a malformed proposal, signature or dormancy is refused", () => {
  const log = (n: number): Uint8Array => new Uint8Array(32).fill(n);
  const good = { v: 1, at: [[log(1), 3, log(9)]], views: [["facts", 1]], state: log(5), bytes: 10 };
  parseProposal(mesh, good);
  const wrong: Record<string, Value> = {
    version: { ...good, v: 2 },
    "unknown field": { ...good, more: 1 },
    "logs out of order": {
      ...good,
      at: [
        [log(2), 3, log(9)],
        [log(1), 3, log(9)],
      ],
    },
    "a log twice": {
      ...good,
      at: [
        [log(1), 3, log(9)],
        [log(1), 4, log(9)],
      ],
    },
    "seq below 0": { ...good, at: [[log(1), -1, log(9)]] },
    "a mark of two": { ...good, at: [[log(1), 3]] },
    "views out of order": {
      ...good,
      views: [
        ["notes", 1],
        ["facts", 1],
      ],
    },
    "no name": { ...good, views: [["Facts", 1]] },
    "version 0": { ...good, views: [["facts", 0]] },
    "a short hash": { ...good, state: log(5).subarray(1) },
    "too many bytes": { ...good, bytes: 2 ** 40 },
    "no map": [1, 2],
  };
  for (const [what, value] of Object.entries(wrong)) expect(() => parseProposal(mesh, value), what).toThrow();
  expect(() => parseSigned({ v: 1, s: log(1), how: "guessed" })).toThrow(/one of/);
  expect(() => parseSigned({ v: 2, s: log(1), how: "adopted" })).toThrow(/version 2/);
  expect(() => parseDormant({ v: 1, p: log(1), on: 1 })).toThrow(/true or false/);
  const at = new Map(
    Array.from({ length: MAX_SNAPSHOT_LOGS + 1 }, (_, n) => [
      idOf<"log">(bytesOf(`${n}`)),
      { seq: 0, id: idOf<"event">(log(1)) },
    ]),
  );
  expect(() => proposalValue({ at, views: [], state: log(1), bytes: 0 })).toThrow(/at most 2048/);
});

function stateOf(length: number): { state: Uint8Array; snapshot: Snapshot } {
  const state = new Uint8Array(length).map((_, i) => (i * 7) & 255);
  return { state, snapshot: snapshotOf(mesh, { at: new Map(), views: [], state: stateHash(state), bytes: length }) };
}

/** Asks over a wire in memory; `tap` changes what the holder sends. */
async function ask(
  snapshot: Snapshot,
  give: (id: SnapshotId) => Promise<Uint8Array>,
  options: { tap?: (frame: Uint8Array, nth: number) => Uint8Array | null; as?: MeshId; keys?: boolean } = {},
): Promise<Uint8Array> {
  const { tap, as = mesh, keys = true } = options;
  const pair = wirePair(
    tap === undefined ? {} : { tap: (from, frame, nth) => (from === "right" ? tap(frame, nth) : frame) },
  );
  const holder = { mesh, random: seededRandom("parts"), epoch: () => ({ epoch, key: epochKey }), state: give };
  const answering = answerSnapshot(pair.right, holder).catch(() => undefined);
  try {
    return await askSnapshot(pair.left, as, snapshot, (asked) => (keys && asked === epoch ? epochKey : undefined));
  } catch (error) {
    pair.left.abort(error as Error);
    throw error;
  } finally {
    await answering;
  }
}

test("a state arrives as it was signed, of any length, sealed on its way", async () => {
  for (const length of [0, 1, SNAPSHOT_PART_BYTES, 3 * SNAPSHOT_PART_BYTES + 5]) {
    const { state, snapshot } = stateOf(length);
    const seen: Uint8Array[] = [];
    const tap = (frame: Uint8Array): Uint8Array => (seen.push(frame), frame);
    expect(toHex(await ask(snapshot, async () => state, { tap }))).toBe(toHex(state));
    expect(seen).toHaveLength(1 + Math.max(1, Math.ceil(length / SNAPSHOT_PART_BYTES)));
    const clear = toHex(state.subarray(0, 64));
    if (length > 64) for (const frame of seen) expect(toHex(frame)).not.toContain(clear);
  }
});

test("another state, a changed, lost or swapped part, another mesh and an unknown epoch are refused [lying-provider]", async () => {
  const { state, snapshot } = stateOf(3 * SNAPSHOT_PART_BYTES);
  const give = async (): Promise<Uint8Array> => state;
  const parts: Uint8Array[] = [];
  const cases: [string, () => Promise<unknown>][] = [
    ["BAD_SIGNATURE", () => ask(snapshot, async () => state.with(5, 1))],
    ["BAD_SIGNATURE", () => ask(snapshot, async () => state.subarray(0, 9))],
    ["BAD_SIGNATURE", () => ask(snapshot, async () => new Uint8Array([...state, 1]))],
    [
      "BAD_SIGNATURE",
      () => ask(snapshot, give, { tap: (frame, nth) => (nth === 2 ? frame.with(frame.length - 1, 0) : frame) }),
    ],
    ["BAD_REQUEST", () => ask(snapshot, give, { tap: (frame, nth) => (nth === 1 ? null : frame) })],
    [
      "BAD_REQUEST",
      () => ask(snapshot, give, { tap: (frame, nth) => (parts.push(frame), nth === 2 ? parts[1]! : frame) }),
    ],
    ["BAD_SIGNATURE", () => ask(snapshot, give, { as: idOf(bytesOf("another mesh")) })],
    ["NOT_FOUND", () => ask(snapshot, give, { keys: false })],
    ["BAD_REQUEST", () => ask(snapshot, give, { tap: () => new Uint8Array([0xff, 1, 2]) })],
  ];
  for (const [i, [code, asked]] of cases.entries()) await expect(asked(), `case ${i}`).rejects.toMatchObject({ code });
  const stopped = { tap: (frame: Uint8Array, nth: number) => (nth >= 2 ? null : frame) };
  await expect(ask(snapshot, give, stopped)).rejects.toMatchObject({ code: "UNREACHABLE" });
  const failing = ask(snapshot, async () => Promise.reject(new Error("disk /home/ana is full")));
  await expect(failing).rejects.toMatchObject({ code: "INTERNAL" });
});

test("a question that is none ends the stream, and a holder without an epoch says so", async () => {
  const holder = { mesh, random: seededRandom("x"), epoch: () => undefined, state: async () => new Uint8Array() };
  for (const question of [{ s: 1 }, { s: bytesOf("s"), from: 3 }, [1]]) {
    const { left, right } = wirePair();
    await left.send(encode(question));
    await expect(answerSnapshot(right, holder)).rejects.toMatchObject({ code: "BAD_REQUEST" });
  }
  const { left, right } = wirePair();
  await left.send(encode({ s: idBytes(idOf<"snapshot">(bytesOf("s"))) }));
  await answerSnapshot(right, holder);
  for await (const frame of left.frames()) expect(decode(frame)).toMatchObject({ error: { code: "NOT_FOUND" } });
});

test("§27: the vectors of snapshots read as ours, and a holder of theirs is understood", async () => {
  const vectors = JSON.parse(readFileSync(new URL("../vectors/snapshot.json", import.meta.url), "utf8")) as Vectors;
  const rows = vectors.rows.map(fromHex);
  const state = encodeState([
    { name: "facts", version: 1, rows },
    { name: "cards", version: 1, rows: [] },
  ]);
  expect(toHex(state)).toBe(vectors.state);
  expect(toHex(stateHash(state))).toBe(vectors.stateHash);
  const facts = factsView.open();
  facts.load(rows);
  expect(facts.list(null)).toMatchObject([{ key: "deploy/window", values: [{ json: '"friday"' }] }]);
  expect([...facts.rows()].map(toHex).toSorted()).toEqual(vectors.rows.toSorted());
  const snapshot = parseProposal(vectors.mesh, decode(fromHex(vectors.proposal)));
  expect(snapshot.id).toBe(vectors.id);
  expect(parseSigned(decode(fromHex(vectors.signed)))).toEqual({ snapshot: vectors.id, how: "recomputed" });
  expect(parseDormant(decode(fromHex(vectors.dormant)))).toMatchObject({ on: true });

  const { left, right } = wirePair();
  const [asked, ...answers] = vectors.frames;
  const asking = askSnapshot(left, vectors.mesh, snapshot, () => fromHex(vectors.epoch.key));
  for await (const frame of right.frames()) {
    expect(toHex(frame)).toBe(asked!.frame);
    for (const answer of answers) await right.send(fromHex(answer.frame));
    break;
  }
  await right.close();
  expect(toHex(await asking)).toBe(vectors.state);
});

test("§27: the rows of a note and a record are what their updates and changes amount to [document-state]", () => {
  const { note, record } = JSON.parse(
    readFileSync(new URL("../vectors/snapshot.json", import.meta.url), "utf8"),
  ) as DocumentVectors;
  const [read] = parseNoteRows(note.rows.map(fromHex));
  expect(read).toMatchObject({ id: note.note, form: "text", title: note.title, openedBy: note.openedBy });
  checkNote(read!, TEXT_SHAPE);
  const text = createNoteText();
  // Who wrote last first, as far as causes allow.
  const left = [...note.updates];
  while (left.length > 0) {
    const known = text.seen();
    const ready = left.findLastIndex(
      ({ client, seen }, i) =>
        seen.every(([other, clock]) => (known.get(other) ?? 0) >= clock) &&
        !left.slice(0, i).some((before) => before.client === client),
    );
    const [{ client, seen, update }] = left.splice(ready, 1) as [(typeof left)[number]];
    text.apply([parseUpdate(fromHex(update), client, new Map(seen), TEXT_SHAPE).bytes]);
  }
  expect(text.text()).toBe(note.text);
  expect(toHex(canonicalState(text.state()))).toBe(toHex(read!.state!));
  expect([...noteRows(read!)].map(toHex).toSorted()).toEqual(note.rows.toSorted());
  const counted = new Map<string, number>();
  for (const { device } of note.updates) counted.set(device, (counted.get(device) ?? 0) + 1);
  expect(new Map([...read!.editors].map(([device, { edits }]) => [device, edits]))).toEqual(counted);

  const changes = record.changes.map((one) => ({ ...one, ...record, change: fromHex(one.change) }));
  expect([...recordRows({ ...record, changes })].map(toHex)).toEqual(record.rows);
  expect(parseRecordRows(record.rows.map(fromHex))[0]!.changes).toMatchObject(
    record.changes.map(({ event, at }) => ({ event, at, log: record.log })),
  );
});

interface DocumentVectors {
  note: {
    note: string;
    title: string;
    openedBy: string;
    text: string;
    rows: string[];
    updates: { client: number; device: string; seen: [number, number][]; update: string }[];
  };
  record: {
    person: PersonId;
    name: string;
    log: LogId;
    device: DeviceId;
    changes: { event: EventId; at: number; change: string }[];
    rows: string[];
  };
}

interface Vectors {
  mesh: MeshId;
  rows: string[];
  state: string;
  stateHash: string;
  id: SnapshotId;
  proposal: string;
  signed: string;
  dormant: string;
  epoch: { key: string };
  frames: { frame: string }[];
}

/**
 * Records: small pages of settings whose history matters, each about one thing of one person (so far: an agent). Only devices of
 * that person write them; two of his devices that were apart are merged by Automerge, and the value that lost is still shown.
 */
import { sha256 } from "#crypto";
import { encode, fromHex, type Value } from "../../protocols/bytes.ts";
import {
  automergeActorOf,
  MAX_LIVES,
  parseRecordChanged,
  recordDocumentId,
  type RecordDocumentId,
} from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EventId, type LogId, type PersonId } from "../../protocols/ids.ts";
import type { ReadableEvent } from "../replica.ts";
import { createArrivals, type Arrivals, type DocumentEvent } from "./arrivals.ts";
import {
  authorOf,
  createRecord,
  parseChange,
  type ChangeOp,
  type RecordChange,
  type RecordState,
  type Setting,
} from "./automerge.ts";
import { parseRecordRows, recordRows, type ChangeRow, type RecordRows } from "./record-rows.ts";
import { decidedOf, decidedValue, savedRow, savedRows, type SavedRow } from "./saved.ts";
import {
  attempt,
  createCollection,
  isBy,
  orRefusal,
  type Author,
  type DocumentDeps,
  type DocumentFold,
} from "./collection.ts";

export interface RecordEntry {
  event: EventId;
  device: DeviceId;
  at: number;
  ops: { key: string; value: Setting | undefined }[];
}

export interface KinRecord {
  id: RecordDocumentId;
  person: PersonId;
  name: string;
  state: RecordState;
  /** All changes that count, in the order in which they were applied here. */
  history: RecordEntry[];
  waiting: number;
}

export interface Records extends DocumentFold<RecordDocumentId> {
  get(person: PersonId, name: string): KinRecord | undefined;
  /** Of one that may not exist yet. */
  stateOf(person: PersonId, name: string): RecordState;
  /** What a device meant by changes of it that wait for what was `cut` off; null: none do. */
  meant(
    id: RecordDocumentId,
    by: Author,
    cut: readonly DocumentEvent[],
  ): { events: EventId[]; name: string; settings: Settings } | null;
  /** What changes that were refused would have set. */
  settingsOf(id: RecordDocumentId, changes: readonly DocumentEvent[]): { name: string; settings: Settings };
}

/** undefined: unset. */
export type Settings = ReadonlyMap<string, Setting | undefined>;

/** What was had when a change was made: how far of each actor, and the highest operation. */
interface Past {
  clock: ReadonlyMap<string, number>;
  maxOp: number;
}

interface State {
  id: RecordDocumentId;
  person: PersonId;
  name: string;
  record: RecordState;
  history: (RecordEntry & { log: LogId; hash: string })[];
  /** By hash of the change: what is known after it. */
  pasts: Map<string, Past>;
  seqs: Map<string, number>;
  /** `counter@actor` → which key it set, in which change of its actor. */
  sets: Map<string, { key: string; seq: number }>;
  arrivals: Arrivals<Change>;
}

type Change = RecordChange & { event: EventId };

export function createRecords(deps: DocumentDeps): Records {
  const records = createCollection<RecordDocumentId, State>();
  /** What a snapshot stands for. */
  const bases = new Map<RecordDocumentId, RecordRows>();
  const stateOf = (id: RecordDocumentId, person: PersonId, name: string): State =>
    records.touch(id, () => newState(id, person, name));

  function idOfEvent({ person, value }: Pick<ReadableEvent, "person" | "value">): RecordDocumentId {
    const { about, name } = parseRecordChanged(value);
    if (person === null) throw new KinError("DENIED", "a record of a device that is nobody's");
    return recordDocumentId(deps.mesh, person, about, name);
  }

  function newState(id: RecordDocumentId, person: PersonId, name: string): State {
    const state: State = { id, person, name, ...emptyRecord(), arrivals: undefined as never };
    state.arrivals = createArrivals<Change>({
      lifeOf: ({ log, value }) => lifeOf(id, log, parseRecordChanged(value).change),
      hasLife: (log, life) => state.seqs.has(automergeActorOf(log, id, life)),
      read: ({ id: event, log, value }) => changeOf(id, event, log, parseRecordChanged(value).change),
      judge: (change) => judge(state, change),
      note: (change) => note(state, change),
      attempt: (changes) =>
        attempt(
          deps,
          changes.map(({ event }) => event),
          () => ({ form: "record", state: state.record.state(), updates: changes }),
        ),
      apply(changes, events) {
        state.record.apply(changes.map(({ bytes }) => bytes));
        changes.forEach((change, i) => state.history.push(entryOf(change, events[i]!)));
      },
      refused: (event, error) => deps.refused(event, "record-changed", error),
      held: (error) => deps.held(error),
    });
    return state;
  }

  function fold(event: ReadableEvent): KinError | null | { late: RecordDocumentId } {
    // Who can't read it would have another record than who can.
    if (event.audience !== "mesh") return new KinError("BAD_REQUEST", "a record's change that is not for all");
    const id = idOfEvent(event);
    const { name } = parseRecordChanged(event.value);
    return stateOf(id, event.person!, name).arrivals.push(event) === "late" ? { late: id } : null;
  }

  function meant(id: RecordDocumentId, by: Author, cut: readonly DocumentEvent[]) {
    const state = records.get(id);
    const own = state?.arrivals.reach(cut).filter(({ event }) => isBy(by, event)) ?? [];
    if (state === undefined || own.length === 0) return null;
    return { events: own.map(({ event }) => event.id), name: state.name, settings: settingsBy(state, own) };
  }

  function settingsOf(id: RecordDocumentId, changes: readonly DocumentEvent[]) {
    const state = records.get(id)!;
    const read = changes.map((event) => ({
      event,
      update: changeOf(id, event.id, event.log, parseRecordChanged(event.value).change),
    }));
    return { name: state.name, settings: settingsBy(state, read) };
  }

  const { pump, clear, retry, pending, left, waitingOf, lastLife } = records;
  return {
    pump,
    clear,
    retry,
    pending,
    left,
    waitingOf,
    lastLife,
    meant,
    settingsOf,
    fold: (event) => orRefusal(() => fold(event)),
    get(person, name) {
      const state = records.get(recordDocumentId(deps.mesh, person, "agent", name));
      if (state === undefined) return undefined;
      const { id, record, history, arrivals } = state;
      return { id, person, name, state: record, history, waiting: arrivals.waiting().length };
    },
    stateOf: (person, name) =>
      records.get(recordDocumentId(deps.mesh, person, "agent", name))?.record ?? createRecord(),
    idOf: idOfEvent,
    begin(id) {
      const state = records.get(id as RecordDocumentId);
      if (state === undefined) return;
      state.arrivals.clear();
      Object.assign(state, emptyRecord());
      const base = bases.get(id as RecordDocumentId);
      if (base !== undefined) beginFrom(state, base);
    },
    *rows() {
      for (const { person, name, record, history } of records.all()) {
        const changes = record.changes();
        const made = history.map((entry) => ({ ...entry, change: changes.get(entry.hash)! }));
        yield* recordRows({ person, name, changes: made });
      }
    },
    beginWith(rows) {
      bases.clear();
      for (const base of parseRecordRows(rows)) {
        const { person, name } = base;
        const id = recordDocumentId(deps.mesh, person, "agent", name);
        bases.set(id, base);
        if (records.get(id) === undefined) beginFrom(stateOf(id, person, name), base);
      }
    },
    check: () => undefined, // each change was judged when it was taken
    *saved() {
      for (const state of records.all()) yield* savedRecord(state);
    },
    load(row) {
      if (row[0] === "record") {
        const [, id, person, name, bytes] = row as unknown as [string, Uint8Array, Uint8Array, string, Uint8Array];
        stateOf(idOf(id), idOf(person), name).record = createRecord(bytes);
        return true;
      }
      const state = RECORD_ROWS.has(row[0]) ? records.get(idOf(row[1])) : undefined;
      if (state !== undefined) loadRecord(state, row);
      return state !== undefined;
    },
    hash: () =>
      sha256(
        encode(
          records
            .all()
            .map(({ id, record }): Value => [
              idBytes(id),
              record.heads().map(fromHex),
              Object.entries(record.values()).toSorted(([a], [b]) => (a < b ? -1 : 1)),
            ]),
        ),
      ),
  };
}

function emptyRecord(): Pick<State, "record" | "history" | "pasts" | "seqs" | "sets"> {
  return { record: createRecord(), history: [], pasts: new Map(), seqs: new Map(), sets: new Map() };
}

/** The life of its log in which a change says that it was made. What says none that there is, is refused in the first. */
function lifeOf(id: RecordDocumentId, log: LogId, bytes: Uint8Array): number {
  const author = authorOf(bytes);
  for (let life = 1; life < MAX_LIVES; life++) if (author === automergeActorOf(log, id, life)) return life;
  return 0;
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
function changeOf(id: RecordDocumentId, event: EventId, log: LogId, bytes: Uint8Array): Change {
  return { ...parseChange(bytes, automergeActorOf(log, id, lifeOf(id, log, bytes))), event };
}

/** The last value of each key, unless it was set since. */
function settingsBy({ history }: State, changes: readonly { event: DocumentEvent; update: Change }[]): Settings {
  const settings = new Map<string, Setting | undefined>();
  for (const { event, update } of changes)
    for (const { key, value } of update.ops) {
      const isNewer = (entry: RecordEntry): boolean => entry.at > event.at && entry.ops.some((op) => op.key === key);
      if (!history.some(isNewer)) settings.set(key, value);
    }
  return settings;
}

type Made = Pick<DocumentEvent, "id" | "log" | "device" | "at">;

function entryOf({ ops, hash }: RecordChange, { id, log, device, at }: Made): State["history"][number] {
  return { event: id, log, device, at, hash, ops: ops.map(({ key, value }) => ({ key, value })) };
}

/** They are judged as when they first came: what can't follow from each other is no state. @throws KinError BAD_REQUEST */
function beginFrom(state: State, { changes }: RecordRows): void {
  const left = new Map<LogId, { row: ChangeRow; change: Change }[]>();
  for (const row of changes) {
    const queue = left.get(row.log) ?? [];
    left.set(row.log, queue);
    queue.push({ row, change: changeOf(state.id, row.event, row.log, row.change) });
  }
  for (let found = true; found;) {
    found = false;
    for (const queue of left.values())
      for (let next = queue[0]; next !== undefined; next = queue[0]) {
        const judged = judge(state, next.change);
        if (judged instanceof KinError) throw judged;
        if (judged === "waits") break;
        queue.shift();
        found = true;
        note(state, next.change);
        state.record.apply([next.change.bytes]);
        state.history.push(entryOf(next.change, { ...next.row, id: next.row.event }));
      }
  }
  if ([...left.values()].some((queue) => queue.length > 0)) throw refusal("it comes after one that is not there");
}

function judge({ pasts, seqs, sets }: State, change: Change): "next" | "waits" | KinError {
  const { actor, seq, startOp, deps, ops } = change;
  const mine = seqs.get(actor) ?? 0;
  if (seq <= mine) return refusal(`change ${seq} of a log that made ${mine} already`);
  if (seq > mine + 1 || deps.some((dep) => !pasts.has(dep))) return "waits";
  const { clock, maxOp } = pastOf(pasts, deps);
  if ((clock.get(actor) ?? 0) !== mine) return refusal(`change ${seq} that does not know the one before it`);
  if (startOp !== maxOp + 1) return refusal(`operations from ${startOp} on after ${maxOp}`);
  const unknown = ops.find(({ key, replaces }) => replaces.some((op) => !wasSet(sets, clock, key, op)));
  return unknown === undefined ? "next" : refusal(`"${unknown.key}" replaces what was not set there when it was made`);
}

function wasSet(sets: State["sets"], clock: Past["clock"], key: string, op: string): boolean {
  const found = sets.get(op);
  return found !== undefined && found.key === key && found.seq <= (clock.get(op.slice(op.indexOf("@") + 1)) ?? 0);
}

function pastOf(pasts: State["pasts"], deps: readonly string[]): { clock: Map<string, number>; maxOp: number } {
  const clock = new Map<string, number>();
  let maxOp = 0;
  for (const dep of deps) {
    const past = pasts.get(dep)!;
    maxOp = Math.max(maxOp, past.maxOp);
    for (const [actor, seq] of past.clock) clock.set(actor, Math.max(seq, clock.get(actor) ?? 0));
  }
  return { clock, maxOp };
}

function note({ pasts, seqs, sets }: State, { hash, actor, seq, startOp, deps, ops }: Change): () => void {
  const { clock } = pastOf(pasts, deps);
  pasts.set(hash, { clock: clock.set(actor, seq), maxOp: startOp + ops.length - 1 });
  seqs.set(actor, seq);
  const made = ops.map((op, i): [string, ChangeOp] => [`${startOp + i}@${actor}`, op]);
  for (const [id, { key, value }] of made) if (value !== undefined) sets.set(id, { key, seq });
  return () => {
    pasts.delete(hash);
    if (seq === 1) seqs.delete(actor);
    else seqs.set(actor, seq - 1);
    for (const [id] of made) sets.delete(id);
  };
}

function refusal(message: string): KinError {
  return new KinError("BAD_REQUEST", `a record's change: ${message}`);
}

// ── what is kept ──

const RECORD_ROWS: ReadonlySet<string> = new Set(["history", "pasts", "sets", "changes"]);

/** The row that makes it comes first. */
function* savedRecord({ id, person, name, record, history, pasts, sets, arrivals }: State): Generator<Uint8Array> {
  const row = idBytes(id);
  yield savedRow("record", row, idBytes(person), name, record.state());
  yield* savedRows(
    "history",
    row,
    history.map(({ event, log, device, at, hash, ops }) => [
      idBytes(event),
      idBytes(log),
      idBytes(device),
      at,
      hash,
      ops.map(({ key, value }) => (value === undefined ? [key] : [key, value])),
    ]),
  );
  yield* savedRows(
    "pasts",
    row,
    [...pasts].map(([hash, { clock, maxOp }]) => [hash, maxOp, [...clock]]),
  );
  yield* savedRows(
    "sets",
    row,
    [...sets].map(([op, { key, seq }]) => [op, key, seq]),
  );
  yield* savedRows("changes", row, arrivals.decided().map(decidedValue));
}

function loadRecord(state: State, [tag, , rest]: SavedRow): void {
  const items = rest as Value[][];
  if (tag === "changes") state.arrivals.restore(items.map(decidedOf));
  for (const item of items)
    switch (tag) {
      case "history": {
        const [event, log, device, at, hash, ops] = item as [
          Uint8Array,
          Uint8Array,
          Uint8Array,
          number,
          string,
          [string, Setting?][],
        ];
        const changed = ops.map(([key, ...value]) => ({ key, value: value[0] }));
        state.history.push({ event: idOf(event), log: idOf(log), device: idOf(device), at, hash, ops: changed });
        break;
      }
      case "pasts": {
        const [hash, maxOp, clock] = item as [string, number, [string, number][]];
        state.pasts.set(hash, { maxOp, clock: new Map(clock) });
        for (const [actor, seq] of clock) state.seqs.set(actor, Math.max(seq, state.seqs.get(actor) ?? 0));
        break;
      }
      case "sets": {
        const [op, key, seq] = item as [string, string, number];
        state.sets.set(op, { key, seq });
      }
    }
}

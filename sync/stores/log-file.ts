/**
 * `log.db`, the truth (§7): one connection to one SQLite file, called synchronously, so only ever from the store's worker.
 *
 *   WAL, synchronous=FULL: a commit returns after fdatasync.   locking_mode=EXCLUSIVE: a second process is refused.
 *   authors, logs → small integers;   events by position (order of arrival, from 0, no gaps), by (log, seq) and by id (`log-file-ids.ts`)
 *
 * Everything read is checked: an event by the hashes it carries, the other rows by a sum of their own. Damage is CORRUPT with
 * the row's name, never a wrong answer.
 */
import { createHash } from "node:crypto";
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import Database from "libsql";
import { encode, equal, fromHex, toHex } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import {
  isBodyOf,
  parseEvent,
  parseSignedHead,
  type Chain,
  type LogOpening,
  type SignedHead,
  type StoredEvent,
} from "../../protocols/events.ts";
import { idOf, type DeviceId, type EventId, type LogId } from "../../protocols/ids.ts";
import type { Damage, LogState, StoreRepair } from "../store.ts";
import {
  planBatch,
  type BatchPlan,
  type PlannedBatch,
  type PlannedEvent,
  type PlannedHead,
  type Stored,
} from "./batch.ts";
import { createIdIndex, createUniqueIds, ID_TABLE } from "./log-file-ids.ts";
import { createKindIndex } from "./log-file-kinds.ts";
import { planRepair } from "./repair.ts";
import { walDamage } from "./wal.ts";
import { unpackBatches, type PackedBatches } from "./packed-batch.ts";

/** "kinL": tells our file from any other SQLite file. */
const APPLICATION_ID = 0x6b696e4c;
/** Pages of 4 KiB in the WAL before they move to the file (SQLite's default). */
const CHECKPOINT_PAGES = 1000;
const PAGE_BYTES = 4096;
/** Rows of one INSERT: the call costs more than the row (measured 7.2 µs a row alone, 1.7 µs in sixteens). */
const ROWS_PER_INSERT = 16;
const SUM_BYTES = 8;
/** Keys are printable ASCII, so DEL is above every one that starts with a prefix. */
const END_OF_KEYS = "\u007f";

/** Far more than a write-ahead log grows to between two checkpoints; a larger one is a foreign thing. */
const MAX_REWRITTEN_BYTES = 256 * 1024 * 1024;

/** A new file gets all of these in their order; an older one those from its format (`PRAGMA user_version`) to {@link UPGRADES_TO}. Added, never changed. */
const MIGRATIONS = [
  `CREATE TABLE authors (author INTEGER PRIMARY KEY, device BLOB NOT NULL UNIQUE);
   CREATE TABLE logs (log INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, author INTEGER NOT NULL REFERENCES authors,
     incarnation BLOB NOT NULL, chain TEXT NOT NULL, sum BLOB NOT NULL);
   CREATE TABLE events (position INTEGER PRIMARY KEY, log INTEGER NOT NULL REFERENCES logs, seq INTEGER NOT NULL,
     id BLOB NOT NULL UNIQUE, header BLOB NOT NULL, body BLOB, UNIQUE (log, seq));
   CREATE TABLE heads (log INTEGER NOT NULL, seq INTEGER NOT NULL, bytes BLOB NOT NULL, sig BLOB NOT NULL, sum BLOB NOT NULL,
     PRIMARY KEY (log, seq)) WITHOUT ROWID;
   CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL, sum BLOB NOT NULL) WITHOUT ROWID;`,
  `CREATE TABLE counts (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
   INSERT INTO counts SELECT 'state', count(*) FROM state;
   CREATE TRIGGER state_more AFTER INSERT ON state BEGIN UPDATE counts SET number = number + 1 WHERE name = 'state'; END;
   CREATE TRIGGER state_less AFTER DELETE ON state BEGIN UPDATE counts SET number = number - 1 WHERE name = 'state'; END;`,
  `DROP TABLE events;
   CREATE TABLE events (position INTEGER PRIMARY KEY, log INTEGER NOT NULL REFERENCES logs, seq INTEGER NOT NULL,
     id BLOB NOT NULL, header BLOB NOT NULL, body BLOB, UNIQUE (log, seq));
   ${ID_TABLE}`,
];
/** Format 3 is for files that begin with it: all events would be written anew, and damaged ones could not be. */
const UPGRADES_TO = 2;

export interface LogFileOptions {
  /** Path of `log.db`; its folder exists. */
  file: string;
  /** The file grows no further; an append beyond is DISK_FULL. @default no bound but the disk's */
  maxBytes?: number | undefined;
}

interface KnownLog {
  row: number;
  opening: LogOpening;
  seq: number;
  id: EventId | null;
  hlc: Uint8Array | null;
}

/** What one transaction will write. */
interface Group {
  events: PlannedEvent[];
  byId: Map<EventId, PlannedEvent>;
  byPlace: Map<string, EventId>;
  heads: Map<string, PlannedHead>;
  bodies: Map<EventId, Uint8Array>;
  drops: Set<EventId>;
  values: Map<string, Uint8Array | null>;
}

type Placed = { position: number; event: StoredEvent };
type EventRow = [
  position: number,
  log: Uint8Array,
  seq: number,
  id: Uint8Array,
  header: Uint8Array,
  body: Uint8Array | null,
];
type HeadRow = [seq: number, bytes: Uint8Array, sig: Uint8Array, sum: Uint8Array];
type StateRow = [key: Uint8Array, value: Uint8Array, sum: Uint8Array];

/**
 * Columns are read as the type that they have: in a damaged file a blob may claim to be text, and on text that is not UTF-8
 * libsql 0.5 ends the whole process (a panic in its Rust part).
 */
const blob = (column: string): string => `CAST(${column} AS BLOB)`;
const integer = (column: string): string => `CAST(${column} AS INTEGER)`;

const SELECT_EVENT = `SELECT e.position, ${blob("l.id")}, ${integer("e.seq")}, ${blob("e.id")}, ${blob("e.header")}, ${blob("e.body")} FROM events e JOIN logs l ON l.log = e.log`;

export type LogFile = ReturnType<typeof openLogFile>;

/** @throws KinError FOLDER_IN_USE, CORRUPT, UNSUPPORTED_VERSION, DISK_FULL */
export function openLogFile({ file, maxBytes }: LogFileOptions) {
  const db = guarded(() => openDatabase(file, maxBytes));
  const sql = guarded(() => prepareAll(db));
  const ids = guarded(() => (numberOf(db, "user_version") > UPGRADES_TO ? createIdIndex(db) : createUniqueIds(db)));
  const kinds = guarded(() => createKindIndex(db, sumOf));
  let logs = new Map<LogId, KnownLog>();
  let nextPosition = 0;
  let transactionCount = 0;
  /** A transaction failed: what we remember of the file may not be what it holds. */
  let isStale = true;
  onFile(checkState);

  /**
   * A damaged key is not found: what was done once (R8) would be done again. So all keys are looked at, and not only those read,
   * and counted: a page that is lost takes rows along that nobody would miss.
   */
  function checkState(): void {
    let before = "";
    let count = 0;
    for (const row of sql.states.iterate("", END_OF_KEYS) as Iterable<StateRow>) {
      valueOf(row);
      const key = textOf(row[0]);
      if (key <= before) throw corrupt(`the values ${before} and ${key} are not in their order`);
      before = key;
      count++;
    }
    const [expected] = (sql.countOf.get("state") as [number] | undefined) ?? [null];
    if (count !== expected) throw corrupt(`it has ${count} values where ${expected ?? "their number"} was kept`);
  }

  function onFile<T>(work: () => T): T {
    return guarded(() => {
      if (db.inTransaction) db.exec("ROLLBACK"); // one that the disk did not let us end
      if (isStale) loadTips();
      isStale = false;
      return work();
    });
  }

  function loadTips(): void {
    const found = new Map<LogId, KnownLog>();
    for (const row of sql.logs.all() as Parameters<typeof logOf>[0][]) {
      const known = logOf(row);
      const log = idOf<"log">(plain(row[1]));
      Object.assign(known, lastOf(log, known.row));
      found.set(log, known);
    }
    nextPosition = ((sql.lastPosition.get() as [number | null])[0] ?? -1) + 1;
    // Where rows can't be read, those before them are found; the others are told when somebody reads them.
    tried(() => ids.load(nextPosition));
    tried(() => kinds.load(nextPosition));
    logs = found;
  }

  /** Where a log ends: its last event; where that row is damaged or gone, its newest head says so too. */
  function lastOf(log: LogId, row: number): Pick<KnownLog, "seq" | "id" | "hlc"> {
    const last = sql.lastOfLog.get(row) as EventRow | undefined;
    const newest = sql.lastHead.get(row) as HeadRow | undefined;
    const seq = Math.max(last?.[2] ?? -1, newest?.[0] ?? -1);
    if (seq < 0) return { seq, id: null, hlc: null };
    const event = last?.[2] === seq ? tried(() => eventOf(last)) : undefined;
    if (event !== undefined) return { seq, id: event.id, hlc: event.header.hlc };
    const signed = newest?.[0] === seq ? headOf(log, newest) : undefined;
    if (signed === undefined) throw corrupt(`event ${seq} of log ${log}, its last one, and no head says what it was`);
    return { seq, id: signed.head.id, hlc: signed.head.hlc };
  }

  // ── Writing ──

  /** Writes what the batches bring as one transaction; says of each whether it is in it. Throws if there was none. */
  function commit(packed: PackedBatches): (KinError | null)[] {
    const batches = unpackBatches(packed);
    return onFile(() => {
      try {
        db.exec("BEGIN IMMEDIATE");
        const group = emptyGroup();
        const refusals = batches.map((batch) => take(group, batch));
        write(group);
        db.exec("COMMIT");
        transactionCount++;
        return refusals;
      } catch (error) {
        isStale = true;
        if (db.inTransaction) db.exec("ROLLBACK");
        throw error;
      }
    });
  }

  /** Adds a batch to the group, or says why it can't be added. */
  function take(group: Group, batch: PlannedBatch): KinError | null {
    let plan: BatchPlan;
    try {
      plan = planBatch(lookUp(group), batch);
    } catch (error) {
      if (error instanceof KinError) return error;
      throw error;
    }
    for (const { log, opening } of plan.logs) logs.set(log, insertLog(log, opening));
    for (const event of plan.events) {
      const { log, seq, hlc } = event.header;
      Object.assign(logs.get(log)!, { seq, id: event.id, hlc });
      group.events.push(event);
      group.byId.set(event.id, event);
      group.byPlace.set(`${log} ${seq}`, event.id);
    }
    for (const head of plan.heads) group.heads.set(`${head.head.log} ${head.head.seq}`, head);
    for (const { id, body } of plan.bodies) {
      group.bodies.set(id, body);
      group.drops.delete(id);
    }
    for (const id of plan.drops) {
      group.bodies.delete(id);
      group.drops.add(id);
    }
    for (const { key, value } of plan.values) group.values.set(key, value);
    return null;
  }

  function lookUp(group: Group): Stored {
    return {
      log: (log) => logs.get(log),
      idAt: (log, seq) => {
        const known = logs.get(log);
        if (known === undefined || seq > known.seq) return undefined;
        const pending = group.byPlace.get(`${log} ${seq}`);
        if (pending !== undefined) return pending;
        const row = (sql.range.all(known.row, seq, seq + 1) as EventRow[])[0];
        if (row === undefined) throw corrupt(`event ${seq} of log ${log} is gone`); // and not another branch of it
        return eventOf(row).id;
      },
      event: (id) => {
        const stored = group.byId.get(id) ?? findEvent(id);
        const hasBody = (stored?.body !== null && !group.drops.has(id)) || group.bodies.has(id);
        return stored && { header: stored.header, hasBody };
      },
      hasHead: (log, seq) => {
        const known = logs.get(log);
        return (
          group.heads.has(`${log} ${seq}`) || (known !== undefined && sql.headAt.get(known.row, seq) !== undefined)
        );
      },
    };
  }

  function insertLog(log: LogId, opening: LogOpening): KnownLog {
    const device = fromHex(opening.device);
    const author = internAuthor(device);
    const { incarnation, chain } = opening;
    const { lastInsertRowid } = sql.insertLog.run([fromHex(log), author, incarnation, chain, logSum(log, opening)]);
    return { row: Number(lastInsertRowid), opening, seq: -1, id: null, hlc: null };
  }

  function internAuthor(device: Uint8Array): number {
    const row = sql.author.get([device]) as [number] | undefined;
    return row?.[0] ?? Number(sql.insertAuthor.run([device]).lastInsertRowid);
  }

  function write(group: Group): void {
    let position = nextPosition;
    const rows = group.events.map((event) => {
      const { log, seq } = event.header;
      return [nextPosition++, logs.get(log)!.row, seq, Buffer.from(event.id, "hex"), event.headerBytes, event.body];
    });
    let at = 0;
    for (; at + ROWS_PER_INSERT <= rows.length; at += ROWS_PER_INSERT)
      sql.insertEvents.run(rows.slice(at, at + ROWS_PER_INSERT).flat());
    for (; at < rows.length; at++) sql.insertEvent.run(rows[at]!);
    for (const { head, bytes, sig } of group.heads.values())
      sql.insertHead.run([logs.get(head.log)!.row, head.seq, bytes, sig, sumOf(bytes, sig)]);
    for (const { id, header } of group.events) {
      kinds.put(position, header.kind);
      ids.put(id, position++);
    }
    ids.settle(nextPosition);
    kinds.settle();
    for (const [id, body] of group.bodies) sql.setBody.run([body, ids.find(id)]);
    for (const id of group.drops) sql.setBody.run([null, ids.find(id)]);
    setValues([...group.values].map(([key, value]) => ({ key, value })));
  }

  function setValues(values: { key: string; value: Uint8Array | null }[]): void {
    for (const { key, value } of values)
      if (value === null) sql.deleteState.run([key]);
      else sql.setState.run([key, value, sumOf(Buffer.from(key), value)]);
  }

  // ── Reading ──

  function event(id: EventId): StoredEvent | undefined {
    return onFile(() => findEvent(id));
  }

  function findEvent(id: EventId): StoredEvent | undefined {
    const position = ids.find(id);
    const row = position === undefined ? undefined : (sql.eventAt.get(position) as EventRow | undefined);
    return row && eventOf(row);
  }

  function states(): LogState[] {
    return onFile(() =>
      [...logs].map(([log, { row, opening, seq, id, hlc }]) => {
        // A damaged one is found by `damaged`; it keeps nobody from the logs.
        const head = tried(() => {
          const last = sql.lastHead.get(row) as HeadRow | undefined;
          return last && headOf(log, last);
        });
        return { log, opening, seq, id, hlc, head: head ?? null };
      }),
    );
  }

  function range(log: LogId, from: number, to: number): StoredEvent[] {
    return onFile(() => {
      const known = logs.get(log);
      if (known === undefined) return [];
      const events = (sql.range.all(known.row, from, to) as EventRow[]).map(eventOf);
      const expected = Math.max(0, Math.min(to, known.seq + 1) - Math.max(from, 0));
      if (events.length !== expected)
        throw corrupt(`events ${from} to ${to - 1} of log ${log}: ${events.length} rows where ${expected} belong`);
      return events;
    });
  }

  function headFrom(log: LogId, seq: number): SignedHead | undefined {
    return onFile(() => {
      const row = sql.headFrom.get(logs.get(log)?.row ?? -1, seq) as HeadRow | undefined;
      return row && headOf(log, row);
    });
  }

  function since(position: number, limit: number, ofKinds?: ReadonlySet<string>): Placed[] {
    return onFile(() => (ofKinds === undefined ? inARow(position, limit) : sinceOf(ofKinds, position, limit)));
  }

  function inARow(position: number, limit: number): Placed[] {
    const rows = sql.since.all(position, limit) as EventRow[];
    return rows.map((row, i) => {
      if (row[0] !== position + i) throw corrupt(`the event at position ${position + i} is missing`);
      return { position: row[0], event: eventOf(row) };
    });
  }

  function sinceOf(ofKinds: ReadonlySet<string>, position: number, limit: number): Placed[] {
    for (let from = position; ;) {
      const places = kinds.positions(ofKinds, from, limit);
      const found = rowsOf(places).filter(({ event }) => ofKinds.has(event.header.kind));
      if (found.length > 0 || places.length === 0) return found;
      from = places.at(-1)! + 1;
    }
  }

  function rowsOf(places: readonly number[]): Placed[] {
    const found: Placed[] = [];
    for (let i = 0; i < places.length;) {
      const first = i;
      while (places[++i] === places[first]! + i - first);
      const rows = inARow(places[first]!, i - first);
      if (rows.length < i - first) throw corrupt(`the event at position ${places[first]! + rows.length} is missing`);
      found.push(...rows);
    }
    return found;
  }

  function value(key: string): Uint8Array | undefined {
    return onFile(() => {
      const row = sql.state.get(key) as StateRow | undefined;
      return row && valueOf(row);
    });
  }

  function values(prefix: string): { key: string; value: Uint8Array }[] {
    return onFile(() =>
      (sql.states.all(prefix, prefix + END_OF_KEYS) as StateRow[]).map((row) => ({
        key: textOf(row[0]),
        value: valueOf(row),
      })),
    );
  }

  // ── Damage ──

  function damaged(log: LogId, from: number, to: number): Damage {
    return onFile(() => {
      const found: Damage = { events: [], heads: [] };
      const known = logs.get(log);
      for (let seq = Math.max(from, 0); seq < Math.min(to, (known?.seq ?? -1) + 1); seq++) {
        const event = goodEvent(log, seq);
        // Also by its id: a damaged index would say that it isn't there.
        if (event === undefined || tried(() => findEvent(event.id)) === undefined) found.events.push(seq);
        if (tried(() => sql.headAt.get(known!.row, seq)) !== undefined && goodHead(log, seq) === undefined)
          found.heads.push(seq);
      }
      return found;
    });
  }

  function goodEvent(log: LogId, seq: number): StoredEvent | undefined {
    return tried(() => {
      const row = (sql.range.all(logs.get(log)?.row ?? -1, seq, seq + 1) as EventRow[])[0];
      return row && eventOf(row);
    });
  }

  function goodHead(log: LogId, seq: number): SignedHead | undefined {
    return tried(() => {
      const row = sql.headFrom.get(logs.get(log)?.row ?? -1, seq) as HeadRow | undefined;
      return row?.[0] === seq ? headOf(log, row) : undefined;
    });
  }

  function repair(wanted: StoreRepair): number {
    return onFile(() => {
      const plan = planRepair({ tip: (log) => logs.get(log), event: goodEvent, head: goodHead }, wanted);
      try {
        db.exec("BEGIN IMMEDIATE");
        for (const event of plan.events) replaceEvent(event);
        for (const { head, bytes, sig } of plan.heads)
          sql.setHead.run([logs.get(head.log)!.row, head.seq, bytes, sig, sumOf(bytes, sig)]);
        setValues(wanted.values ?? []);
        db.exec("COMMIT");
        transactionCount++;
      } catch (error) {
        if (db.inTransaction) db.exec("ROLLBACK");
        throw error;
      } finally {
        isStale = true; // a row that was gone may stand behind all others now
      }
      return plan.events.length + plan.heads.length;
    });
  }

  /** The row keeps its position; one that is gone gets the first free one. A body that we still have stays. */
  function replaceEvent({ id, header, headerBytes, body }: StoredEvent): void {
    const { row } = logs.get(header.log)!;
    const there = sql.placeOf.get(row, header.seq) as [number, Uint8Array | null] | undefined;
    const position = there?.[0] ?? (sql.freePosition.get() as [number])[0];
    const had = there?.[1] ?? null;
    const kept = body ?? (had !== null && isBodyOf(header, plain(had)) ? had : null);
    // What was damaged to carry this id is in the way of it.
    const other = ids.find(id);
    if (other !== undefined && other !== position) sql.freeId.run([other]);
    sql.setEvent.run([position, row, header.seq, fromHex(id), headerBytes, kept]);
    ids.put(id, position);
  }

  return {
    commit,
    damaged,
    repair,
    event,
    logs: states,
    range,
    headFrom,
    since,
    value,
    values,
    /** How many transactions were committed since it was opened. */
    transactions: () => transactionCount,
    close: () => db.close(),
  };
}

// ── The file ──

function openDatabase(file: string, maxBytes: number | undefined): Database.Database {
  settleWal(`${file}-wal`);
  const db = new Database(file);
  try {
    db.pragma("locking_mode = EXCLUSIVE");
    db.pragma("journal_mode = WAL");
    db.pragma("synchronous = FULL");
    db.pragma("foreign_keys = ON");
    db.pragma(`wal_autocheckpoint = ${CHECKPOINT_PAGES}`);
    migrate(db, file);
    if (maxBytes !== undefined) db.pragma(`max_page_count = ${Math.ceil(maxBytes / PAGE_BYTES)}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Refuses a damaged write-ahead log, of which SQLite would forget a part; writes a good one over itself and syncs it. After a sync that failed, Linux takes the pages for clean: a later sync
 * says that all is well, and what stands before it in the file is lost with the power all the same.
 */
function settleWal(wal: string): void {
  if (!existsSync(wal) || statSync(wal).size > MAX_REWRITTEN_BYTES) return;
  const fd = openSync(wal, "r+");
  try {
    const bytes = readFileSync(fd);
    const damage = walDamage(bytes);
    if (damage !== null) throw corrupt(`${wal}: ${damage}`);
    for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at, bytes.length - at, at);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function migrate(db: Database.Database, file: string): void {
  const [tables] = db.prepare("SELECT count(*) FROM sqlite_schema").raw().get() as [number];
  if (tables > 0 && numberOf(db, "application_id") !== APPLICATION_ID) throw corrupt(`${file} is not a log of kin`);
  const version = numberOf(db, "user_version");
  if (version > MIGRATIONS.length)
    throw new KinError(
      "UNSUPPORTED_VERSION",
      `${file} has format ${version}, this kin reads up to ${MIGRATIONS.length}`,
      {
        hint: "update kin",
      },
    );
  const end = version === 0 ? MIGRATIONS.length : UPGRADES_TO;
  for (let step = version; step < end; step++) {
    db.exec("BEGIN IMMEDIATE");
    db.exec(MIGRATIONS[step]!);
    db.pragma(`application_id = ${APPLICATION_ID}`);
    db.pragma(`user_version = ${step + 1}`);
    db.exec("COMMIT");
  }
}

function numberOf(db: Database.Database, pragma: string): number {
  return (db.prepare(`PRAGMA ${pragma}`).raw().get() as [number])[0];
}

function prepareAll(db: Database.Database) {
  const read = (text: string) => db.prepare(text).raw();
  const row = "(?, ?, ?, ?, ?, ?)";
  const head = `SELECT ${integer("seq")}, ${["bytes", "sig", "sum"].map(blob).join(", ")} FROM heads`;
  const state = `SELECT ${["key", "value", "sum"].map(blob).join(", ")} FROM state`;
  const insertEvents = `INSERT INTO events (position, log, seq, id, header, body) VALUES `;
  return {
    logs: read(
      `SELECT l.log, ${["l.id", "a.device", "l.incarnation", "l.chain", "l.sum"].map(blob).join(", ")} FROM logs l LEFT JOIN authors a ON a.author = l.author ORDER BY l.log`,
    ),
    lastOfLog: read(`${SELECT_EVENT} WHERE e.log = ? ORDER BY e.seq DESC LIMIT 1`),
    lastPosition: read("SELECT max(position) FROM events"),
    author: read("SELECT author FROM authors WHERE device = ?"),
    insertAuthor: db.prepare("INSERT INTO authors (device) VALUES (?)"),
    insertLog: db.prepare("INSERT INTO logs (id, author, incarnation, chain, sum) VALUES (?, ?, ?, ?, ?)"),
    insertEvent: db.prepare(insertEvents + row),
    insertEvents: db.prepare(insertEvents + Array.from({ length: ROWS_PER_INSERT }, () => row).join(", ")),
    insertHead: db.prepare("INSERT INTO heads (log, seq, bytes, sig, sum) VALUES (?, ?, ?, ?, ?)"),
    setHead: db.prepare("INSERT OR REPLACE INTO heads (log, seq, bytes, sig, sum) VALUES (?, ?, ?, ?, ?)"),
    setEvent: db.prepare(insertEvents.replace("INSERT", "INSERT OR REPLACE") + row),
    freeId: db.prepare("UPDATE events SET id = randomblob(32) WHERE position = ?"),
    placeOf: read(`SELECT position, ${blob("body")} FROM events WHERE log = ? AND seq = ?`),
    freePosition: read(
      `SELECT min(p) FROM (SELECT 0 AS p WHERE NOT EXISTS (SELECT 1 FROM events WHERE position = 0)
       UNION ALL SELECT e.position + 1 FROM events e WHERE NOT EXISTS (SELECT 1 FROM events f WHERE f.position = e.position + 1))`,
    ),
    setBody: db.prepare("UPDATE events SET body = ? WHERE position = ?"),
    setState: db.prepare(
      // Not REPLACE: it would delete without the trigger that counts.
      "INSERT INTO state (key, value, sum) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value, sum = excluded.sum",
    ),
    deleteState: db.prepare("DELETE FROM state WHERE key = ?"),
    eventAt: read(`${SELECT_EVENT} WHERE e.position = ?`),
    // Only ever asked with `all`: libsql's `get` after an `all` of the same statement gives the first row of that one.
    range: read(`${SELECT_EVENT} WHERE e.log = ? AND e.seq >= ? AND e.seq < ? ORDER BY e.seq`),
    since: read(`${SELECT_EVENT} WHERE e.position >= ? ORDER BY e.position LIMIT ?`),
    headAt: read("SELECT 1 FROM heads WHERE log = ? AND seq = ?"),
    headFrom: read(`${head} WHERE log = ? AND seq >= ? ORDER BY seq LIMIT 1`),
    lastHead: read(`${head} WHERE log = ? ORDER BY seq DESC LIMIT 1`),
    countOf: read(`SELECT ${integer("number")} FROM counts WHERE name = ?`),
    state: read(`${state} WHERE key = ?`),
    states: read(`${state} WHERE key >= ? AND key < ? ORDER BY key`),
  };
}

function emptyGroup(): Group {
  return {
    events: [],
    byId: new Map(),
    byPlace: new Map(),
    heads: new Map(),
    bodies: new Map(),
    drops: new Set(),
    values: new Map(),
  };
}

// ── Rows ──

function eventOf([position, log, seq, id, header, body]: EventRow): StoredEvent {
  const where = `the event at position ${position} (${seq} of log ${toHex(log)})`;
  let event: StoredEvent;
  try {
    event = parseEvent([plain(header), body === null ? null : plain(body)]);
  } catch (cause) {
    throw corrupt(`${where}: ${(cause as Error).message}`, cause);
  }
  if (event.id !== toHex(id)) throw corrupt(`${where}: its header hashes to ${event.id}, not to its id ${toHex(id)}`);
  if (event.header.seq !== seq || event.header.log !== toHex(log))
    throw corrupt(`${where}: its header says ${event.header.seq} of log ${event.header.log}`);
  return event;
}

function headOf(log: LogId, [seq, bytes, sig, sum]: HeadRow): SignedHead {
  const where = `the head ${seq} of log ${log}`;
  if (!equal(sumOf(bytes, sig), sum)) throw corrupt(`${where} does not match its sum`);
  const head = parseSignedHead([plain(bytes), plain(sig)]);
  if (head.head.log !== log || head.head.seq !== seq) throw corrupt(`${where} names another place`);
  return head;
}

function logOf([row, id, device, incarnation, chain, sum]: [
  number,
  Uint8Array,
  Uint8Array | null,
  Uint8Array,
  Uint8Array,
  Uint8Array,
]): KnownLog {
  const where = `log ${row} (${toHex(id)})`;
  if (device === null) throw corrupt(`the author of ${where} is missing`);
  const opening: LogOpening = {
    device: toHex(device) as DeviceId, // of whatever length: the sum says whether it is right
    incarnation: plain(incarnation),
    chain: textOf(chain) as Chain,
  };
  if (!equal(logSum(toHex(id) as LogId, opening), sum)) throw corrupt(`${where} does not match its sum`);
  return { row, opening, seq: -1, id: null, hlc: null };
}

function valueOf([key, value, sum]: StateRow): Uint8Array {
  if (!equal(sumOf(key, value), sum)) throw corrupt(`the value ${textOf(key)} does not match its sum`);
  return plain(value);
}

function logSum(log: LogId, { device, incarnation, chain }: LogOpening): Uint8Array {
  return sumOf(encode([log, device, incarnation, chain]));
}

/** Tells damage, not malice: the file is ours alone. */
function sumOf(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(Uint8Array.of(part.length & 255)).update(part);
  return plain(hash.digest().subarray(0, SUM_BYTES));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

// ── Errors ──

/** Undefined where what is read is damaged; other errors pass. */
function tried<T>(work: () => T): T | undefined {
  try {
    return guarded(work);
  } catch (error) {
    if (error instanceof KinError && error.code === "CORRUPT") return undefined;
    throw error;
  }
}

function corrupt(what: string, cause?: unknown): KinError {
  return new KinError("CORRUPT", `log.db is damaged: ${what}`, {
    cause,
    hint: "kin doctor --repair puts the damaged file aside and saves what can be read; the rest comes from your peers",
  });
}

/** Runs `work`; what SQLite throws becomes ours. */
function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof KinError ? error : sqlError(error as Error & { code?: string });
  }
}

function sqlError(cause: Error & { code?: string }): KinError {
  const { message } = cause;
  const code = cause.code ?? "";
  if (code === "SQLITE_FULL" || code === "ENOSPC" || message.includes("ENOSPC"))
    return new KinError("DISK_FULL", "the disk is full: log.db could not be written, nothing of it was kept", {
      cause,
      hint: "free some space; what was acknowledged before is safe",
    });
  if (/^SQLITE_(IOERR|READONLY|CANTOPEN)|^E(IO|ROFS|ACCES|PERM)$/.test(code) || message.startsWith("ConnectionFailed"))
    return new KinError("DISK_FAILED", `the disk failed: log.db could not be read or written (${code}: ${message})`, {
      cause,
      hint: "look at the disk, its mount and who owns the folder; what was acknowledged before is as safe as the disk is",
    });
  if (code === "SQLITE_BUSY" || code === "SQLITE_LOCKED")
    return new KinError("FOLDER_IN_USE", "log.db is open in another process", { cause });
  return corrupt(`${code === "" ? "" : `${code}: `}${message}`, cause);
}

/**
 * What can still be read of a damaged `log.db`, row by row, each one checked like everything that is read; and how it gets into
 * another store: each log as far as it goes on without a gap, up to a signed head. Behind a gap an event can't count: it
 * waits in the damaged file until somebody has brought what is missing.
 */
import { createHash } from "node:crypto";
import Database from "libsql";
import { equal, decode } from "../../protocols/bytes.ts";
import {
  logIdOf,
  parseEvent,
  parseLogOpening,
  parseSignedHead,
  verifyRun,
  type LogOpening,
  type SignedHead,
  type StoredEvent,
  type Tip,
} from "../../protocols/events.ts";
import type { LogId, MeshId } from "../../protocols/ids.ts";
import { MAX_EVENTS_PER_HEAD } from "../../protocols/limits.ts";
import { asMap } from "../../protocols/signature.ts";
import { tipOf, type EventStore, type StoreBatch } from "../store.ts";

export interface Salvage {
  openings: Map<LogId, LogOpening>;
  /** By seq. */
  events: Map<LogId, Map<number, StoredEvent>>;
  /** Ascending by seq. */
  heads: Map<LogId, SignedHead[]>;
  values: { key: string; value: Uint8Array }[];
}

export interface Saved {
  events: number;
  values: number;
  /** Readable, and behind a gap or without a signed head. */
  left: number;
}

/** Rows of the smallest event that a page could hold: bounds how far rows are looked for when the file can't say how many there are. */
const EVENTS_A_PAGE = 16;
/** Values of one batch. */
const BATCH_VALUES = 1024;
const NOTHING = new Uint8Array();
/** What the new store must find out by itself: it is another one (R2), and what it lacks. */
const OWN_KEYS = /^(incarnation$|missing\/)/;

/** Reads a file that nobody has open. SQLite may write to it: give a copy. Never throws for damage; finds less. */
export function readDamaged(file: string, mesh: MeshId): Salvage {
  const found: Salvage = { openings: new Map(), events: new Map(), heads: new Map(), values: [] };
  const db = tried(() => new Database(file));
  if (db === undefined) return found;
  const read = (text: string) => tried(() => db.prepare(text).raw());
  const blob = (column: string): string => `CAST(${column} AS BLOB)`;
  const rowsOf = (text: string, ...args: unknown[]): unknown[][] => {
    const statement = read(text);
    return (statement && tried(() => statement.all(...args) as unknown[][])) ?? [];
  };

  const pages = (rowsOf("PRAGMA page_count")[0]?.[0] as number | undefined) ?? 0;
  const last =
    (rowsOf("SELECT max(position) FROM events")[0]?.[0] as number | null | undefined) ?? pages * EVENTS_A_PAGE;
  const eventAt = read(`SELECT ${blob("header")}, ${blob("body")} FROM events WHERE position = ?`);
  for (let position = 0; position <= last; position++) {
    const row = tried(() => eventAt?.get(position) as [Uint8Array, Uint8Array | null] | undefined);
    if (row !== undefined) noteEvent(found, row, mesh);
  }
  const logs = `SELECT ${blob("a.device")}, ${blob("l.incarnation")}, ${blob("l.chain")} FROM logs l JOIN authors a ON a.author = l.author`;
  for (const row of rowsOf(logs)) noteOpening(found, row as [Uint8Array, Uint8Array, Uint8Array], mesh);
  for (const [bytes, sig] of rowsOf(`SELECT ${blob("bytes")}, ${blob("sig")} FROM heads ORDER BY log, seq`)) {
    const signed = tried(() => parseSignedHead([plain(bytes), plain(sig)]));
    if (signed !== undefined) found.heads.set(signed.head.log, [...(found.heads.get(signed.head.log) ?? []), signed]);
  }
  for (const row of rowsOf(`SELECT ${blob("key")}, ${blob("value")}, ${blob("sum")} FROM state`))
    noteValue(found, row as [Uint8Array, Uint8Array, Uint8Array]);
  tried(() => db.close());
  return found;
}

function noteEvent({ events, openings }: Salvage, [header, body]: [Uint8Array, Uint8Array | null], mesh: MeshId): void {
  const headerBytes = plain(header);
  const whole = body === null ? undefined : tried(() => parseEvent([headerBytes, plain(body)]));
  const event = whole ?? tried(() => parseEvent([headerBytes, null]));
  if (event === undefined) return;
  const { log, seq } = event.header;
  const ofLog = events.get(log) ?? new Map<number, StoredEvent>();
  events.set(log, ofLog.set(seq, event));
  if (seq !== 0 || event.body === null) return;
  const opening = tried(() => parseLogOpening(asMap(decode(event.body!), "a body")["c"]));
  if (opening !== undefined && logIdOf(mesh, opening) === log) openings.set(log, opening);
}

function noteOpening({ openings }: Salvage, row: [Uint8Array, Uint8Array, Uint8Array], mesh: MeshId): void {
  const opening = tried(() => {
    const [device, incarnation, chain] = row.map(plain) as [Uint8Array, Uint8Array, Uint8Array];
    return parseLogOpening({ device, incarnation, chain: Buffer.from(chain).toString("latin1") });
  });
  if (opening !== undefined) openings.set(logIdOf(mesh, opening), opening);
}

function noteValue({ values }: Salvage, [key, value, sum]: [Uint8Array, Uint8Array, Uint8Array]): void {
  const isRight = tried(() => equal(stateSum(key, value), plain(sum)));
  const name = Buffer.from(key).toString("latin1");
  if (isRight === true && !OWN_KEYS.test(name)) values.push({ key: name, value: plain(value) });
}

/** Appends what goes on from where the store stands. Values only where the store has none of that key. */
export async function putSalvage(store: EventStore, { openings, events, heads, values }: Salvage): Promise<Saved> {
  const saved: Saved = { events: 0, values: 0, left: 0 };
  const states = new Map((await store.logs()).map((state) => [state.log, state]));
  for (const [log, ofLog] of events) {
    const opening = openings.get(log);
    let tip = tipOf(states.get(log));
    let batch = emptyBatch();
    for (const signed of opening === undefined ? [] : (heads.get(log) ?? [])) {
      const run = runTo(ofLog, tip, signed.head.seq);
      if (run === undefined || !isRight(log, opening!, tip, run, signed)) continue;
      if (tip === null) batch.logs.push({ log, opening: opening! });
      batch.events.push(...run);
      batch.heads.push(signed);
      for (const { id, body } of run) if (body === null) batch.values.push({ key: `missing/${id}`, value: NOTHING });
      tip = signed.head;
      saved.events += run.length;
      if (batch.events.length < MAX_EVENTS_PER_HEAD) continue;
      await store.append(batch);
      batch = emptyBatch();
    }
    await store.append(batch);
    saved.left += [...ofLog.keys()].filter((seq) => seq > (tip?.seq ?? -1)).length;
  }
  const fresh = [];
  for (const one of values) if ((await store.value(one.key)) === undefined) fresh.push(one);
  for (let at = 0; at < fresh.length; at += BATCH_VALUES)
    await store.append({ values: fresh.slice(at, at + BATCH_VALUES) });
  return { ...saved, values: fresh.length };
}

function emptyBatch() {
  return { logs: [], events: [], heads: [], values: [] } as Required<
    Pick<StoreBatch, "logs" | "events" | "heads" | "values">
  >;
}

function isRight(log: LogId, opening: LogOpening, tip: Tip | null, run: StoredEvent[], head: SignedHead): boolean {
  return tried(() => (verifyRun({ log, opening }, tip, run, head), true)) === true;
}

/** The events after `tip` up to `seq`; undefined where one is missing, or there are none. */
function runTo(ofLog: ReadonlyMap<number, StoredEvent>, tip: Tip | null, seq: number): StoredEvent[] | undefined {
  const from = (tip?.seq ?? -1) + 1;
  if (seq < from || seq - from >= MAX_EVENTS_PER_HEAD) return undefined;
  const run: StoredEvent[] = [];
  for (let at = from; at <= seq; at++) {
    const event = ofLog.get(at);
    if (event === undefined) return undefined;
    run.push(event);
  }
  return run;
}

/** As `log-file.ts` sums a value. */
function stateSum(key: Uint8Array, value: Uint8Array): Uint8Array {
  const hash = createHash("sha256");
  for (const part of [key, value]) hash.update(Uint8Array.of(part.length & 255)).update(part);
  return new Uint8Array(hash.digest().subarray(0, 8));
}

function plain(bytes: unknown): Uint8Array {
  if (!(bytes instanceof Uint8Array)) throw new TypeError("a row without bytes");
  return new Uint8Array(bytes);
}

/** Undefined where it can't be read. */
function tried<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch {
    return undefined;
  }
}

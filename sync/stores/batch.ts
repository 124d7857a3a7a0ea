/**
 * What one batch changes, decided before anything is written, the same for every store: what is stored already is skipped,
 * what does not follow is refused. Pure over a few look-ups.
 */
import { KinError } from "../../protocols/errors.ts";
import { isBodyOf, type EventHeader, type Head, type LogOpening } from "../../protocols/events.ts";
import { compareBytes } from "../../protocols/bytes.ts";
import type { EventId, LogId } from "../../protocols/ids.ts";
import { MAX_BATCH_ITEMS, type StoreBatch } from "../store.ts";

/** What is stored now. */
export interface Stored {
  log(log: LogId): { opening: LogOpening; seq: number; id: EventId | null; hlc: Uint8Array | null } | undefined;
  idAt(log: LogId, seq: number): EventId | undefined;
  event(id: EventId): { header: Pick<EventHeader, "bodyHash">; hasBody: boolean } | undefined;
  hasHead(log: LogId, seq: number): boolean;
}

/** What of an event is looked at here: a stored event is one. */
export interface PlannedEvent {
  id: EventId;
  header: Pick<EventHeader, "log" | "seq" | "prev" | "hlc" | "kind" | "bodyHash">;
  headerBytes: Uint8Array;
  body: Uint8Array | null;
}

/** What of a head is looked at here: a signed head is one. */
export interface PlannedHead {
  head: Pick<Head, "log" | "seq" | "id">;
  bytes: Uint8Array;
  sig: Uint8Array;
}

export type PlannedBatch<Event = PlannedEvent, Head = PlannedHead> = Omit<StoreBatch, "events" | "heads"> & {
  events?: Event[];
  heads?: Head[];
};

/** What is new. */
export interface BatchPlan<Event = PlannedEvent, Head = PlannedHead> {
  logs: { log: LogId; opening: LogOpening }[];
  events: Event[];
  heads: Head[];
  bodies: { id: EventId; body: Uint8Array }[];
  drops: EventId[];
  values: { key: string; value: Uint8Array | null }[];
}

/** Bound of a value: it is one small record, not a file. */
export const MAX_VALUE_BYTES = 1024 * 1024;
/** Printable ASCII, so that every store sorts keys alike. */
const KEY_PATTERN = /^[\x21-\x7e]{1,512}$/;

/** @throws KinError BAD_REQUEST, FORKED, TOO_LARGE */
export function planBatch<Event extends PlannedEvent, Head extends PlannedHead>(
  stored: Stored,
  batch: PlannedBatch<Event, Head>,
): BatchPlan<Event, Head> {
  checkBounds(batch);
  const plan: BatchPlan<Event, Head> = {
    logs: [],
    events: [],
    heads: [],
    bodies: [],
    drops: [],
    values: batch.values ?? [],
  };
  const tips = new Map<LogId, { seq: number; id: EventId | null; hlc: Uint8Array | null }>();
  const added = new Map<EventId, Event>();
  const addedAt = new Map<string, EventId>();
  const tipIn = (log: LogId) => tips.get(log) ?? stored.log(log);
  const idAt = (log: LogId, seq: number) => addedAt.get(`${log} ${seq}`) ?? stored.idAt(log, seq);

  for (const { log, opening } of batch.logs ?? []) {
    if (tipIn(log) !== undefined) continue;
    tips.set(log, { seq: -1, id: null, hlc: null });
    plan.logs.push({ log, opening });
  }
  for (const event of batch.events ?? []) {
    const { log, seq, prev, hlc } = event.header;
    const tip = tipIn(log);
    if (tip === undefined) throw bad(`event ${seq} of log ${log}, which is not known`);
    if (seq <= tip.seq) {
      if (idAt(log, seq) !== event.id) throw forked(event, idAt(log, seq));
      if (event.body !== null) addBody(event.id, event.body);
      continue;
    }
    if (seq !== tip.seq + 1) throw bad(`event ${seq} of log ${log} where ${tip.seq + 1} was expected`);
    if (prev !== tip.id) throw forked(event, tip.id);
    if (tip.hlc !== null && compareBytes(hlc, tip.hlc) <= 0)
      throw bad(`event ${seq} of log ${log} is not stamped after the one before it`);
    tips.set(log, { seq, id: event.id, hlc });
    added.set(event.id, event);
    addedAt.set(`${log} ${seq}`, event.id);
    plan.events.push(event);
  }
  for (const head of batch.heads ?? []) {
    const { log, seq, id } = head.head;
    const there = idAt(log, seq);
    if (there === undefined) throw bad(`a head at event ${seq} of log ${log}, which is not stored`);
    if (there !== id)
      throw new KinError("FORKED", `a head names ${id} as event ${seq} of log ${log}, stored is ${there}`);
    if (!stored.hasHead(log, seq)) plan.heads.push(head);
  }
  for (const { id, body } of batch.bodies ?? []) addBody(id, body);
  for (const id of batch.drops ?? []) drop(id);
  return plan;

  function addBody(id: EventId, body: Uint8Array): void {
    const event = added.get(id) ?? stored.event(id);
    if (event === undefined) throw bad(`a body of event ${id}, which is not stored`);
    if (!isBodyOf(event.header, body)) throw bad(`the body brought for event ${id} does not match its bodyHash`);
    const hasBody = "hasBody" in event ? event.hasBody : event.body !== null;
    if (!hasBody) plan.bodies.push({ id, body });
  }

  function drop(id: EventId): void {
    if (added.has(id) || plan.bodies.some((brought) => brought.id === id))
      throw bad(`the body of event ${id} is brought and dropped at once`);
    const event = stored.event(id);
    if (event === undefined) throw bad(`the body of event ${id} is to be dropped, which is not stored`);
    if (event.hasBody) plan.drops.push(id);
  }
}

/** Counts, keys and sizes: what can be said without looking at what is stored. @throws KinError BAD_REQUEST, TOO_LARGE */
export function checkBounds({ logs, events, heads, bodies, drops, values }: PlannedBatch): void {
  for (const [what, items] of Object.entries({ logs, events, heads, bodies, drops, values }))
    if (items !== undefined && items.length > MAX_BATCH_ITEMS)
      throw new KinError("TOO_LARGE", `${items.length} ${what} in one batch: at most ${MAX_BATCH_ITEMS}`);
  for (const { key, value } of values ?? []) {
    if (!KEY_PATTERN.test(key)) throw bad(`"${key.slice(0, 80)}" is not a key: 1 to 512 printable ASCII characters`);
    if (value !== null && value.length > MAX_VALUE_BYTES)
      throw new KinError("TOO_LARGE", `the value ${key} has ${value.length} bytes: at most ${MAX_VALUE_BYTES}`);
  }
}

/** Bytes that a batch holds: what a queue of batches is bounded by. */
export function batchBytes({ events, heads, bodies, values }: StoreBatch): number {
  let sum = 0;
  for (const event of events ?? []) sum += event.headerBytes.length + (event.body?.length ?? 0);
  for (const head of heads ?? []) sum += head.bytes.length + head.sig.length;
  for (const { body } of bodies ?? []) sum += body.length;
  for (const { key, value } of values ?? []) sum += key.length + (value?.length ?? 0);
  return sum;
}

function forked(event: PlannedEvent, there: EventId | null | undefined): KinError {
  const { log, seq } = event.header;
  return new KinError(
    "FORKED",
    `event ${seq} of log ${log} (${event.id}) does not continue what is stored (${there}): the log has two branches`,
  );
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}

/**
 * Which right rows take the place of damaged ones, decided before anything is written, the same for every store. A place in a
 * log has one event that belongs there: the one that the event after it, a head at it, or the log's tip names.
 */
import { KinError } from "../../protocols/errors.ts";
import type { SignedHead, StoredEvent } from "../../protocols/events.ts";
import type { EventId, LogId } from "../../protocols/ids.ts";
import type { StoreRepair } from "../store.ts";
import { checkBounds } from "./batch.ts";

/** What is stored and good. */
export interface GoodRows {
  tip(log: LogId): { seq: number; id: EventId | null } | undefined;
  /** Undefined: damaged or gone. */
  event(log: LogId, seq: number): StoredEvent | undefined;
  /** Undefined: damaged, gone, or there was none. */
  head(log: LogId, seq: number): SignedHead | undefined;
}

export interface RepairPlan {
  events: StoredEvent[];
  heads: SignedHead[];
}

/** @throws KinError FORKED, BAD_REQUEST, TOO_LARGE */
export function planRepair(stored: GoodRows, repair: StoreRepair): RepairPlan {
  checkBounds(repair);
  const named = new Map<string, EventId>();
  const placed = new Map<string, EventId>();
  for (const { head } of repair.heads ?? []) named.set(`${head.log} ${head.seq}`, head.id);
  const events: StoredEvent[] = [];
  // From the end: what is put in names what comes before it.
  for (const event of (repair.events ?? []).toSorted((a, b) => b.header.seq - a.header.seq)) {
    const { log, seq, prev } = event.header;
    const place = `event ${seq} of log ${log}`;
    const tip = stored.tip(log);
    if (tip === undefined || seq > tip.seq) throw bad(`${place} is beyond what is stored: a repair adds nothing`);
    const good = stored.event(log, seq);
    const belongs = good?.id ?? named.get(`${log} ${seq}`) ?? nameOf(stored, tip, log, seq);
    if (belongs === undefined)
      throw bad(`nothing says which event belongs at ${seq} of log ${log}: give what follows it`);
    if (belongs !== event.id) throw forked(place, event.id, belongs);
    const before = seq === 0 ? null : stored.event(log, seq - 1);
    if (before !== undefined && (before?.id ?? null) !== prev)
      throw forked(`event ${seq - 1} of log ${log}`, prev, before?.id);
    placed.set(`${log} ${seq}`, event.id);
    if (seq > 0) named.set(`${log} ${seq - 1}`, prev!);
    if (good === undefined) events.push(event);
  }
  const heads = (repair.heads ?? []).filter(({ head: { log, seq, id } }) => {
    const there = placed.get(`${log} ${seq}`) ?? stored.event(log, seq)?.id;
    if (there === undefined) throw bad(`a head at event ${seq} of log ${log}, which is damaged or not stored`);
    if (there !== id) throw forked(`event ${seq} of log ${log}`, id, there);
    return stored.head(log, seq) === undefined;
  });
  return { events: events.toReversed(), heads };
}

function nameOf(stored: GoodRows, tip: { seq: number; id: EventId | null }, log: LogId, seq: number) {
  if (seq === tip.seq) return tip.id ?? undefined;
  return stored.event(log, seq + 1)?.header.prev ?? stored.head(log, seq)?.head.id;
}

function forked(place: string, given: EventId | null, belongs: EventId | undefined): KinError {
  return new KinError("FORKED", `${place} is ${belongs}, a repair brings ${given}: the log has two branches`);
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}

/**
 * The other histories of logs that were written twice (R2). The store keeps one history of each log, the first that came; the
 * events of the others are kept here, as values, and read through the same questions.
 *
 *   in the store   0 ─ 1 ─ 2 ─ 3 ─ 4
 *                          └── 3' ─ 4'        branch rows: 3', 4' (its end, signed)
 *                              └── 4''        and one more
 */
import { decode, encode } from "../protocols/bytes.ts";
import {
  eventValue,
  parseEvent,
  parseSignedHead,
  signedHeadValue,
  type SignedHead,
  type StoredEvent,
} from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { asMap } from "../protocols/signature.ts";
import { MAX_BRANCHES } from "../protocols/sync.ts";
import type { RunStore } from "./runs.ts";
import type { EventStore, StoreBatch } from "./store.ts";

/** Events kept of a log beside its first history: a year of an honest device, and a bound for another. */
const MAX_BRANCH_EVENTS = 65_536;

type Values = NonNullable<StoreBatch["values"]>;

interface BranchEvent {
  log: LogId;
  seq: number;
  prev: EventId | null;
  head: SignedHead | null;
}

export interface Branches {
  load(): Promise<void>;
  has(id: EventId): boolean;
  /** Where a branch event is; undefined if it is none. */
  place(id: EventId): { log: LogId; seq: number; prev: EventId | null } | undefined;
  event(id: EventId): Promise<StoredEvent | undefined>;
  /** Ids of all branch events of a log, causes first. */
  idsOf(log: LogId): EventId[];
  /** Where the branches of a log end. */
  ends(log: LogId): { seq: number; id: EventId }[];
  /** The history that ends with this event, as a store of its own. */
  history(log: LogId, end: EventId): RunStore;
  /** False: the log has too many histories, or too long ones; more is not kept. */
  fits(events: readonly StoredEvent[]): boolean;
  /** The rows of a run's events that are neither in the store nor here. */
  rowsOf(events: readonly StoredEvent[], head: SignedHead): Values;
  /** The row of an event whose body came late. */
  bodyRow(event: StoredEvent): Values[number];
  /** Remembers what `rowsOf` made rows of, now that they are durable. */
  add(events: readonly StoredEvent[], head: SignedHead): void;
}

export function createBranches(store: EventStore): Branches {
  const known = new Map<EventId, BranchEvent>();
  const byLog = new Map<LogId, Map<EventId, BranchEvent>>();

  async function load(): Promise<void> {
    for (const { value } of await store.values("branch/")) {
      const { event, head } = parseRow(value);
      remember(event, head);
    }
  }

  function remember({ id, header }: StoredEvent, head: SignedHead | null): void {
    const found = known.get(id);
    const kept = { log: header.log, seq: header.seq, prev: header.prev, head: head ?? found?.head ?? null };
    known.set(id, kept);
    const ofLog = byLog.get(header.log) ?? new Map<EventId, BranchEvent>();
    byLog.set(header.log, ofLog.set(id, kept));
  }

  async function event(id: EventId): Promise<StoredEvent | undefined> {
    const place = known.get(id);
    const row = place === undefined ? undefined : await store.value(keyOf(place, id));
    return row === undefined ? undefined : parseRow(row).event;
  }

  function ends(log: LogId): { seq: number; id: EventId }[] {
    const ofLog = [...(byLog.get(log) ?? [])];
    const followed = new Set(ofLog.map(([, { prev }]) => prev));
    return ofLog.filter(([id]) => !followed.has(id)).map(([id, { seq }]) => ({ seq, id }));
  }

  /** Ids from just after the store's history up to `end`. */
  function pathTo(end: EventId): EventId[] {
    const path: EventId[] = [];
    for (let at = known.get(end), id = end; at !== undefined; id = at.prev!, at = known.get(id)) {
      path.push(id);
      if (at.prev === null) break;
    }
    return path.toReversed();
  }

  function history(log: LogId, end: EventId): RunStore {
    const path = pathTo(end);
    if (path.length === 0) return store;
    const first = known.get(path[0]!)!.seq;
    return {
      async range(_, from, to) {
        const shared = await store.range(log, from, Math.min(to, first));
        const own: StoredEvent[] = [];
        for (const id of path.slice(Math.max(0, from - first), Math.max(0, to - first))) own.push((await event(id))!);
        return [...shared, ...own];
      },
      async headFrom(_, seq) {
        const shared = seq < first ? await store.headFrom(log, seq) : undefined;
        if (shared !== undefined && shared.head.seq < first) return shared;
        const own = path.slice(Math.max(0, seq - first)).map((id) => known.get(id)!.head);
        return own.find((head) => head !== null) ?? undefined;
      },
    };
  }

  function fits(events: readonly StoredEvent[]): boolean {
    const { log, prev } = events[0]!.header;
    const isNewEnd = prev === null || !known.has(prev) || !ends(log).some(({ id }) => id === prev);
    const size = byLog.get(log)?.size ?? 0;
    return size + events.length <= MAX_BRANCH_EVENTS && (!isNewEnd || ends(log).length < MAX_BRANCHES - 1);
  }

  return {
    load,
    has: (id) => known.has(id),
    place: (id) => known.get(id),
    event,
    idsOf: (log) => [...(byLog.get(log) ?? [])].toSorted(([, a], [, b]) => a.seq - b.seq).map(([id]) => id),
    ends,
    history,
    fits,
    rowsOf: (events, head) => events.map((one) => rowOf(one, one.id === head.head.id ? head : null)),
    bodyRow: (one) => rowOf(one, known.get(one.id)?.head ?? null),
    add(events, head) {
      for (const one of events) remember(one, one.id === head.head.id ? head : null);
    },
  };
}

function keyOf({ log, seq }: { log: LogId; seq: number }, id: EventId): string {
  return `branch/${log}/${String(seq).padStart(16, "0")}/${id}`;
}

function rowOf(event: StoredEvent, head: SignedHead | null): Values[number] {
  const value = encode({ e: eventValue(event), h: head === null ? null : signedHeadValue(head) });
  return { key: keyOf(event.header, event.id), value };
}

function parseRow(row: Uint8Array): { event: StoredEvent; head: SignedHead | null } {
  const { e, h } = asMap(decode(row), "a branch row");
  return { event: parseEvent(e), head: h === null ? null : parseSignedHead(h) };
}

/**
 * The port behind which events are kept. Two implementations, one acceptance suite: `stores/memory` (over `Disk`, for the
 * simulator) and `stores/libsql` (the real one). Everything that is appended in one call is one transaction.
 *
 * What a batch may hold is checked by `stores/batch.ts`, the same for both: a new event follows directly what is stored; one
 * that is stored already is skipped (two syncs may bring the same run); another one at a taken seq is FORKED and changes nothing.
 */
import type { EventId, LogId } from "../protocols/ids.ts";
import type { LogOpening, SignedHead, StoredEvent, Tip } from "../protocols/events.ts";

/** What a log is and how far we have it. */
export interface LogState {
  log: LogId;
  opening: LogOpening;
  /** Last event; −1 if none. */
  seq: number;
  id: EventId | null;
  /** Stamp of the last event. */
  hlc: Uint8Array | null;
  /** Newest signed head at or below `seq`. */
  head: SignedHead | null;
}

/** The last stored event of a log, as `verifyRun` wants it. */
export function tipOf(state: LogState | undefined): Tip | null {
  if (state === undefined || state.id === null || state.hlc === null) return null;
  return { seq: state.seq, id: state.id, hlc: state.hlc };
}

/** Events, bodies, drops, heads, logs or values that one batch may hold, each. */
export const MAX_BATCH_ITEMS = 4096;

export interface StoreBatch {
  /** Logs that are new with this batch. */
  logs?: { log: LogId; opening: LogOpening }[];
  /** Contiguous per log, in order, each directly after what is stored. */
  events?: StoredEvent[];
  /** Of events that are stored or in this batch. */
  heads?: SignedHead[];
  /** Bodies that were missing. */
  bodies?: { id: EventId; body: Uint8Array }[];
  /** Stored events whose body is kept no longer (R16); the header stays (R9). None that this batch brings a body of. */
  drops?: EventId[];
  /** Small durable state in the same transaction (HLC bound, idempotency rows, …); null deletes. */
  values?: { key: string; value: Uint8Array | null }[];
}

/** Rows that are right again: events and heads of places that are stored, and what else changes with them. */
export type StoreRepair = Pick<StoreBatch, "events" | "heads" | "values">;

/** Places of one log, by seq, whose row can't be read or is not what it says. */
export interface Damage {
  events: number[];
  heads: number[];
}

export interface EventStore {
  /**
   * Durable when it resolves. Batches that wait during one flush are committed together; each succeeds or fails by itself.
   * @throws KinError BAD_REQUEST (a gap, an unknown log, a foreign head or body), FORKED, TOO_LARGE, OVERLOADED, DISK_FULL, CORRUPT, CLOSED
   */
  append(batch: StoreBatch): Promise<void>;
  logs(): Promise<LogState[]>;
  event(id: EventId): Promise<StoredEvent | undefined>;
  /** Events of one log, `from ≤ seq < to`, in order, as far as we have them. */
  range(log: LogId, from: number, to: number): Promise<StoredEvent[]>;
  /** The first signed head of `log` at or above `seq`. */
  headFrom(log: LogId, seq: number): Promise<SignedHead | undefined>;
  /**
   * At most `limit` events in order of arrival, from `position` (0 = first); a position is stable across restarts, without gaps.
   * With `kinds` the next `limit` events of these; none: there are no more.
   */
  since(
    position: number,
    limit: number,
    kinds?: ReadonlySet<string>,
  ): Promise<{ position: number; event: StoredEvent }[]>;
  value(key: string): Promise<Uint8Array | undefined>;
  /** Keys that start with `prefix`, in byte order. */
  values(prefix: string): Promise<{ key: string; value: Uint8Array }[]>;
  /** Which of the events `from ≤ seq < to` of a log, and of the heads there, are damaged or gone: reading them is CORRUPT. */
  damaged(log: LogId, from: number, to: number): Promise<Damage>;
  /**
   * Puts right rows in the place of damaged ones, in one transaction; a row that is good stays as it is. What belongs to a
   * place is what the event after it, or a good head at it, names; give a damaged stretch up to one of these. Durable when it
   * resolves. Returns how many rows were replaced.
   * @throws KinError FORKED (another event belongs there), BAD_REQUEST (nothing says what belongs there, or beyond the log's end)
   */
  repair(repair: StoreRepair): Promise<number>;
  /** Writes what was asked before, then ends. Safe to call twice. */
  close(): Promise<void>;
}

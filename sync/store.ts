/**
 * The port behind which events are kept. Two implementations, one acceptance suite: `stores/memory` (over `Disk`, for the
 * simulator) and `stores/libsql` (the real one). Everything that is appended in one call is one transaction.
 */
import type { EventId, LogId } from "../protocols/ids.ts";
import type { LogOpening, SignedHead, StoredEvent } from "../protocols/events.ts";

/** What a log is and how far we have it. */
export interface LogState {
  log: LogId;
  opening: LogOpening;
  /** Last event; −1 if none. */
  seq: number;
  id: EventId | null;
  /** Newest signed head at or below `seq`. */
  head: SignedHead | null;
}

export interface StoreBatch {
  /** Logs that are new with this batch. */
  logs?: { log: LogId; opening: LogOpening }[];
  /** Contiguous per log, in order, each directly after what is stored. */
  events?: StoredEvent[];
  heads?: SignedHead[];
  /** Bodies that were missing. */
  bodies?: { id: EventId; body: Uint8Array }[];
  /** Small durable state in the same transaction (HLC bound, idempotency rows, …); null deletes. */
  values?: { key: string; value: Uint8Array | null }[];
}

export interface EventStore {
  /** Durable when it resolves. Batches that wait during one flush are committed together. @throws KinError DISK_FULL, CORRUPT, CLOSED */
  append(batch: StoreBatch): Promise<void>;
  logs(): Promise<LogState[]>;
  event(id: EventId): Promise<StoredEvent | undefined>;
  /** Events of one log, `from ≤ seq < to`, in order. */
  range(log: LogId, from: number, to: number): Promise<StoredEvent[]>;
  /** The first signed head of `log` at or above `seq`. */
  headFrom(log: LogId, seq: number): Promise<SignedHead | undefined>;
  /** All events in order of arrival, from `position` (0 = first); a position is stable across restarts. */
  since(position: number, limit: number): Promise<{ position: number; event: StoredEvent }[]>;
  value(key: string): Promise<Uint8Array | undefined>;
  /** Keys that start with `prefix`, in byte order. */
  values(prefix: string): Promise<{ key: string; value: Uint8Array }[]>;
  close(): Promise<void>;
}

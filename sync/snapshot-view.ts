/**
 * What a view must offer so that a snapshot can stand for the events it was folded from (R16). A view here is made of `mesh`
 * events alone and is a pure, order-independent fold: what it says follows from the set of events, so two persons who fold
 * the same set get the same rows.
 *
 *   fold(all) = load(rows of fold(A)), then fold(all − A)          for every set A of events that contains its own causes
 *
 * A row is small canonical bytes; their order does not count (a snapshot sorts them). Rows may name events, logs, devices, stamps
 * and values, never what depends on the reader: the clock, the order of arrival, or what the roster says (a person, a name).
 * A deleted thing leaves no row if no later event can bring it back by itself; otherwise its tombstone is a row.
 *
 * What a view can't put into rows it *keeps*: the body of such an event stays, and whoever begins with the rows folds it himself.
 * Which those are is part of the rows, so that who never had the body knows it too.
 */
import type { EventKind } from "../protocols/events.ts";
import type { LogId } from "../protocols/ids.ts";
import type { ReadableEvent } from "./replica.ts";

export interface SnapshotFold {
  /** Takes one event that counts and can be read; each once, in any order. Must not throw. */
  fold(event: ReadableEvent): void;
  /** Decides what was taken, if that is not done at once. Returns why it can't be decided here and now; null: it is. */
  settle?(): Promise<string | null>;
  /** All there is, as rows of at most {@link MAX_ROW_BYTES}, in any order, none twice. */
  rows(): Iterable<Uint8Array>;
  /** Takes the rows of another fold, of the same view and version; this one is empty. @throws KinError BAD_REQUEST if they can't be right */
  load(rows: Iterable<Uint8Array>): void;
}

/** An event up to the vector that the rows do not stand for. */
export interface KeptEvent {
  log: LogId;
  seq: number;
  /** Later events may let it count: a fold that goes on from the rows takes it again. */
  waits: boolean;
}

/** What is known of a view without folding. */
export interface SnapshotPart {
  /** A name (F7), the same at all nodes: "facts". */
  name: string;
  /** Counts up when the fold or its rows change their meaning: nodes of another version don't sign for each other. */
  version: number;
  /** The kinds that it is made of; pruning drops bodies of these only. No two views share one. */
  kinds: ReadonlySet<EventKind>;
  /** Reads from its rows what they do not stand for. @default nothing @throws KinError BAD_REQUEST */
  kept?(rows: Iterable<Uint8Array>): Iterable<KeptEvent>;
}

export interface SnapshotView<Fold extends SnapshotFold = SnapshotFold> extends SnapshotPart {
  /** An empty one. */
  open(): Fold;
}

/** One row: the value of one key, one document, one card. */
export const MAX_ROW_BYTES = 1024 * 1024;

/**
 * All documents of one kind, by id, each with what has come for it: what notes and records have in common. What documents.ts
 * does with each kind is {@link DocumentFold}.
 */
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId, EventId, LogId, MeshId } from "../../protocols/ids.ts";
import type { ReadableEvent } from "../replica.ts";
import type { Arrivals, DocumentEvent, Tried } from "./arrivals.ts";
import type { SavedRow } from "./saved.ts";
import type { RunTrial, Trial } from "./trial.ts";

export interface DocumentDeps {
  mesh: MeshId;
  /** This device made it just now: it is not tried. */
  isTrusted(id: EventId): boolean;
  runTrial: RunTrial;
  /** An update has no effect on any node. */
  refused(event: DocumentEvent, kind: ReadableEvent["kind"], error: KinError): void;
  /** An update could not be tried on this machine. */
  held(error: unknown): void;
}

export interface DocumentFold<Id extends string> {
  /** An event of its kinds. Returns why it has no effect; "late": {@link begin} it anew. */
  fold(event: ReadableEvent): KinError | null | { late: Id };
  /** Decides what can be decided. */
  pump(): Promise<void>;
  /** Of an update. @throws KinError BAD_REQUEST, TOO_LARGE, DENIED */
  idOf(event: Pick<ReadableEvent, "person" | "value">): Id;
  /** Throws away what the updates of a document have made, if there is one of this id: they are folded again. */
  begin(id: string): void;
  clear(): void;
  /** Held updates are tried again at the next pump. */
  retry(): void;
  /** Updates that wait. */
  pending(): EventId[];
  /** Those of them that their authors have made anew. */
  left(): EventId[];
  /** Updates of this device that wait and that it has not made anew, by document. */
  waitingOf(device: DeviceId): { id: Id; events: EventId[] }[];
  /** The last life in which a log wrote in this document, and its updates that wait there. */
  lastLife(id: Id, log: LogId): { life: number; waiting: EventId[] };
  saved(): Iterable<Uint8Array>;
  /** Takes one row back; false: it is none of this kind. */
  load(row: SavedRow): boolean;
  /** Of all documents for the mesh: equal where the same events are readable. */
  hash(): Uint8Array;
  /** What has been decided of documents for the mesh, as rows of a snapshot (R16): the same wherever the same events were folded. */
  rows(): Iterable<Uint8Array>;
  /**
   * Rows that stand for the first updates: documents that are not here are made of them now, others when they {@link begin} anew.
   * @throws KinError BAD_REQUEST
   */
  beginWith(rows: Iterable<Uint8Array>): void;
  /** Whether what {@link beginWith} took can follow from any updates. @throws KinError BAD_REQUEST */
  check(): void;
}

interface Arriving<Id> {
  id: Id;
  arrivals: Omit<Arrivals<unknown>, "reach">;
}

export interface Collection<Id extends string, State extends Arriving<Id>> extends Pick<
  DocumentFold<Id>,
  "pump" | "clear" | "retry" | "pending" | "left" | "waitingOf" | "lastLife"
> {
  get(id: Id): State | undefined;
  /** The one of this id, made if there is none: something comes for it. */
  touch(id: Id, make: () => State): State;
  /** In the order of their ids. */
  all(): State[];
}

export function createCollection<Id extends string, State extends Arriving<Id>>(): Collection<Id, State> {
  const states = new Map<Id, State>();
  /** Something has come for them since the last pump. */
  const fresh = new Set<Id>();
  /** Something may wait in them. */
  const busy = new Set<Id>();
  const busyOnes = (): State[] => [...busy].map((id) => states.get(id)!);
  return {
    get: (id) => states.get(id),
    touch(id, make) {
      let state = states.get(id);
      if (state === undefined) states.set(id, (state = make()));
      fresh.add(id);
      busy.add(id);
      return state;
    },
    all: () => [...states.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1)),
    async pump() {
      for (const id of fresh) {
        fresh.delete(id);
        const arrivals = states.get(id)?.arrivals;
        await arrivals?.pump();
        if (arrivals?.pending().length === 0 && !fresh.has(id)) busy.delete(id);
      }
    },
    clear() {
      for (const { arrivals } of states.values()) arrivals.clear();
      states.clear();
      fresh.clear();
      busy.clear();
    },
    retry() {
      for (const { id, arrivals } of busyOnes()) {
        arrivals.retry();
        fresh.add(id);
      }
    },
    pending: () => busyOnes().flatMap(({ arrivals }) => arrivals.pending().map(({ id }) => id)),
    left: () => busyOnes().flatMap(({ arrivals }) => arrivals.left().map(({ id }) => id)),
    waitingOf: (device) =>
      busyOnes().flatMap(({ id, arrivals }) => {
        const own = arrivals.waiting().filter((event) => event.device === device);
        return own.length === 0 ? [] : [{ id, events: own.map((event) => event.id) }];
      }),
    lastLife: (id, log) => states.get(id)?.arrivals.lastLife(log) ?? { life: 0, waiting: [] },
  };
}

/** Whose updates are to be said anew. */
export interface Author {
  device: DeviceId;
  /** Those that were already. */
  done: ReadonlySet<EventId>;
}

export function isBy({ device, done }: Author, event: DocumentEvent): boolean {
  return event.device === device && !done.has(event.id);
}

/** What this device made of what it has needs no trial. */
export async function attempt(
  deps: Pick<DocumentDeps, "isTrusted" | "runTrial">,
  events: readonly EventId[],
  trial: () => Trial,
): Promise<Tried> {
  return events.every((id) => deps.isTrusted(id)) ? { right: events.length, refused: null } : deps.runTrial(trial());
}

/** Why an event has no effect, where that was thrown. */
export function orRefusal<T>(fold: () => T): T | KinError {
  try {
    return fold();
  } catch (error) {
    if (error instanceof KinError) return error;
    throw error;
  }
}

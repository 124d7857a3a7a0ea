/**
 * What the parts of a replica stand on: which logs there are and how far we have them, the proofs of forks, who listens, and
 * the one order in which events are taken in. State without decisions; those are in the parts (`replica.ts` connects them).
 */
import type { Random, Time } from "../protocols/effects.ts";
import { errorShape } from "../protocols/errors.ts";
import type { LogOpening, Tip } from "../protocols/events.ts";
import type { DeviceId, EventId, LogId, MeshId } from "../protocols/ids.ts";
import type { ForkProof, VectorEntry } from "../protocols/sync.ts";
import type { Clock } from "./clock.ts";
import type { ReplicaChange } from "./replica.ts";
import type { EventStore } from "./store.ts";

/** How far we have a log, and how much of it counts. */
export interface KnownLog {
  log: LogId;
  opening: LogOpening;
  tip: Tip | null;
  /** The last event that is not held. */
  due: Tip | null;
  /** The first one that is (R13); all after it are. */
  heldFrom: number | null;
  /** Of a log that was written twice (R2): the last event that its histories share; null: they share none. */
  shared?: { seq: number; id: EventId } | null;
}

export interface Ground {
  readonly mesh: MeshId;
  readonly device: DeviceId;
  readonly store: EventStore;
  readonly clock: Clock;
  readonly time: Time;
  readonly random: Random;
  readonly logs: Map<LogId, KnownLog>;
  readonly vector: Map<LogId, VectorEntry>;
  readonly forks: Map<LogId, ForkProof>;
  /** Logs that have grown since we last named them in `deps`. */
  readonly undepended: Set<LogId>;
  /** Names the log in the vector as far as we have it and it is one history; a `here` chain is in none (R9). */
  noteInVector: (known: KnownLog) => void;
  emit: (change: ReplicaChange) => void;
  /** Returns how to stop. */
  on: (listener: (change: ReplicaChange) => void) => () => void;
  /** Runs jobs that take events in, one after the other. */
  inOrder: <T>(job: () => Promise<T>) => Promise<T>;
  /** Work that nobody waits for; a failure is told as trouble. */
  inBackground: (work: Promise<unknown>) => void;
  /** Resolves when background work and jobs in order are done. */
  idle: () => Promise<void>;
  isClosed: () => boolean;
  close: () => void;
}

export type GroundDeps = Pick<Ground, "mesh" | "device" | "store" | "clock" | "time" | "random">;

export function createGround(deps: GroundDeps): Ground {
  const listeners = new Set<(change: ReplicaChange) => void>();
  const background = new Set<Promise<unknown>>();
  const vector = new Map<LogId, VectorEntry>();
  const inOrder = createQueue();
  let closed = false;

  function emit(change: ReplicaChange): void {
    for (const listener of listeners) listener(change);
  }

  return {
    ...deps,
    logs: new Map(),
    vector,
    forks: new Map(),
    undepended: new Set(),
    noteInVector({ log, opening, tip, shared }) {
      const last = shared === undefined ? tip : shared;
      if (last === null) vector.delete(log);
      else if (opening.chain === "mesh") vector.set(log, { log, opening, seq: last.seq, id: last.id });
    },
    emit,
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    inOrder,
    inBackground(work) {
      const done = work.catch((error: unknown) => {
        if (!closed) emit({ type: "trouble", error: errorShape(error) });
      });
      background.add(done);
      void done.finally(() => background.delete(done));
    },
    async idle() {
      while (background.size > 0) await Promise.all(background);
      await inOrder(async () => undefined);
    },
    isClosed: () => closed,
    close() {
      closed = true;
    },
  };
}

/** Runs jobs one after the other. */
export function createQueue(): <T>(job: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (job) => {
    const next = last.then(job, job);
    last = next.catch(() => undefined);
    return next;
  };
}

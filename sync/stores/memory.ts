/**
 * The store of simulations and tests: everything in memory, each group of batches written as one record of a journal through
 * `Disk` {append, flush, read} and acknowledged after `flush`. At open the journal is replayed.
 *
 * Nobody reads what is not durable yet: reads wait for the group in flight.
 */
import { decode, encode, fromHex } from "../../protocols/bytes.ts";
import type { Disk } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import {
  eventValue,
  logOpeningValue,
  parseEvent,
  parseLogOpening,
  parseSignedHead,
  signedHeadValue,
  type LogOpening,
  type SignedHead,
  type StoredEvent,
} from "../../protocols/events.ts";
import { idBytes, idOf, type EventId, type LogId } from "../../protocols/ids.ts";
import type { EventStore, LogState, StoreBatch } from "../store.ts";
import { planBatch, type BatchPlan, type Stored } from "./batch.ts";
import { createGroupCommit } from "./group.ts";
import { planRepair, type GoodRows } from "./repair.ts";
import { frameRecord, readRecords, segmentName } from "./journal.ts";

type Plan = BatchPlan<StoredEvent, SignedHead>;

interface MemoryLog {
  opening: LogOpening;
  /** At its seq. */
  events: StoredEvent[];
  /** Ascending by seq. */
  heads: SignedHead[];
}

/** Everything that the journal says. */
interface Memory {
  logs: Map<LogId, MemoryLog>;
  events: Map<EventId, StoredEvent>;
  arrived: EventId[];
  values: Map<string, Uint8Array>;
  /** Index of the segment that takes the next record. */
  segment: number;
}

/** @throws KinError CORRUPT */
export async function openMemoryStore(disk: Disk): Promise<EventStore> {
  let loaded: Promise<Memory> | null = null;
  let committing: Promise<unknown> = Promise.resolve();
  let closed = false;
  /** A write failed: what can be read of it may not be durable. */
  let isDoubtful = false;
  const current = () => (loaded ??= reload());
  const group = createGroupCommit((batches) => {
    const commit = commitGroup(batches);
    committing = commit.catch(() => undefined);
    return commit;
  });
  await current();

  async function reload(): Promise<Memory> {
    try {
      const memory = await load(disk, isDoubtful);
      isDoubtful = false;
      return memory;
    } catch (error) {
      loaded = null; // a disk that fails now is asked again
      throw diskError(error);
    }
  }

  async function commitGroup(batches: StoreBatch[]): Promise<(KinError | null)[]> {
    const now = await current();
    const plans: Plan[] = [];
    const refusals = batches.map((batch) => {
      try {
        const plan = planBatch(lookUp(now), batch);
        apply(now, plan);
        plans.push(plan);
        return null;
      } catch (error) {
        if (error instanceof KinError) return error;
        throw error;
      }
    });
    if (plans.length === 0) return refusals;
    try {
      const name = segmentName(now.segment);
      await disk.append(name, frameRecord(encode(plans.map(planValue))));
      await disk.flush(name);
    } catch (cause) {
      isDoubtful = true;
      loaded = null; // what the disk took of it, only the disk knows: the next one reads it again
      throw diskError(cause);
    }
    return refusals;
  }

  async function read<T>(look: (memory: Memory) => T): Promise<T> {
    if (closed) throw new KinError("CLOSED", "the store is closed");
    for (;;) {
      const seen = committing;
      await seen;
      const memory = await current();
      if (seen === committing) return look(memory);
    }
  }

  return {
    append: async (batch) => {
      if (closed) throw new KinError("CLOSED", "the store is closed");
      return group.append(batch);
    },
    logs: () => read(({ logs }) => [...logs.keys()].map((log) => stateOf(logs, log))),
    event: (id) => read(({ events }) => events.get(id)),
    range: (log, from, to) => read(({ logs }) => logs.get(log)?.events.slice(Math.max(from, 0), Math.max(to, 0)) ?? []),
    headFrom: (log, seq) =>
      read(({ logs }) => {
        const heads = logs.get(log)?.heads ?? [];
        return heads[headIndex(heads, seq)];
      }),
    since: (position, limit, kinds) =>
      read(({ arrived, events }) => {
        const found: { position: number; event: StoredEvent }[] = [];
        for (let at = Math.max(position, 0); at < arrived.length && found.length < limit; at++) {
          const event = events.get(arrived[at]!)!;
          if (kinds === undefined || kinds.has(event.header.kind)) found.push({ position: at, event });
        }
        return found;
      }),
    value: (key) => read(({ values }) => values.get(key)),
    values: (prefix) =>
      read(({ values }) =>
        [...values]
          .filter(([key]) => key.startsWith(prefix))
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([key, value]) => ({ key, value })),
      ),
    // What is damaged on its disk, a journal notices when it is opened: in memory all rows are good.
    damaged: () => read(() => ({ events: [], heads: [] })),
    repair: async (repair) => {
      await read((memory) => planRepair(goodRows(memory), repair));
      if (repair.values !== undefined && repair.values.length > 0) await group.append({ values: repair.values });
      return 0;
    },
    close: async () => {
      closed = true;
      await group.drained();
    },
  };
}

function diskError(cause: unknown): KinError {
  if (cause instanceof KinError) return cause;
  const code = (cause as { code?: unknown }).code === "ENOSPC" ? "DISK_FULL" : "DISK_FAILED";
  return new KinError(code, `the journal could not be written: ${(cause as Error).message}`, { cause });
}

// ── State ──

function emptyMemory(): Memory {
  return { logs: new Map(), events: new Map(), arrived: [], values: new Map(), segment: 0 };
}

function lookUp({ logs, events }: Memory): Stored {
  return {
    log: (log) => (logs.has(log) ? stateOf(logs, log) : undefined),
    idAt: (log, seq) => logs.get(log)?.events[seq]?.id,
    event: (id) => {
      const event = events.get(id);
      return event && { header: event.header, hasBody: event.body !== null };
    },
    hasHead: (log, seq) => {
      const heads = logs.get(log)?.heads ?? [];
      return heads[headIndex(heads, seq)]?.head.seq === seq;
    },
  };
}

function goodRows({ logs }: Memory): GoodRows {
  return {
    tip: (log) => (logs.has(log) ? stateOf(logs, log) : undefined),
    event: (log, seq) => logs.get(log)?.events[seq],
    head: (log, seq) => {
      const heads = logs.get(log)?.heads ?? [];
      const found = heads[headIndex(heads, seq)];
      return found?.head.seq === seq ? found : undefined;
    },
  };
}

function stateOf(logs: Memory["logs"], log: LogId): LogState {
  const { opening, events, heads } = logs.get(log)!;
  const last = events.at(-1);
  return {
    log,
    opening,
    seq: events.length - 1,
    id: last?.id ?? null,
    hlc: last?.header.hlc ?? null,
    head: heads.at(-1) ?? null,
  };
}

function apply(memory: Memory, plan: Plan): void {
  for (const { log, opening } of plan.logs) memory.logs.set(log, { opening, events: [], heads: [] });
  for (const event of plan.events) {
    memory.logs.get(event.header.log)!.events.push(event);
    memory.events.set(event.id, event);
    memory.arrived.push(event.id);
  }
  for (const head of plan.heads) {
    const { heads } = memory.logs.get(head.head.log)!;
    heads.splice(headIndex(heads, head.head.seq), 0, head);
  }
  for (const { id, body } of plan.bodies) {
    const whole = { ...memory.events.get(id)!, body };
    memory.events.set(id, whole);
    memory.logs.get(whole.header.log)!.events[whole.header.seq] = whole;
  }
  for (const id of plan.drops) {
    const bare = { ...memory.events.get(id)!, body: null };
    memory.events.set(id, bare);
    memory.logs.get(bare.header.log)!.events[bare.header.seq] = bare;
  }
  for (const { key, value } of plan.values)
    if (value === null) memory.values.delete(key);
    else memory.values.set(key, value);
}

/** Index of the first head at or above `seq`; mostly the question is about the newest. */
function headIndex(heads: readonly SignedHead[], seq: number): number {
  let from = 0;
  let to = heads.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (heads[middle]!.head.seq < seq) from = middle + 1;
    else to = middle;
  }
  return from;
}

// ── Journal ──

/** @param flushed what is read is flushed first: nobody is told what a power cut could take */
async function load(disk: Disk, flushed: boolean): Promise<Memory> {
  const memory = emptyMemory();
  for (;;) {
    const name = segmentName(memory.segment);
    if (flushed && (await disk.read(name)).length > 0) await disk.flush(name);
    const { records, cutOff } = readRecords(name, await disk.read(name));
    for (const [i, record] of records.entries()) replay(memory, record, `${name}, record ${i}`);
    if (!cutOff) {
      const next = await disk.read(segmentName(memory.segment + 1));
      if (next.length === 0) return memory;
    }
    memory.segment++;
  }
}

function replay(memory: Memory, record: Uint8Array, where: string): void {
  try {
    for (const value of decode(record) as PlanValue[]) apply(memory, planBatch(lookUp(memory), parsePlan(value)));
  } catch (cause) {
    throw new KinError("CORRUPT", `${where}: ${(cause as Error).message}`, { cause });
  }
}

type PlanValue = {
  l: unknown[];
  e: unknown[];
  h: unknown[];
  b: [Uint8Array, Uint8Array][];
  /** Not in journals of before pruning. */
  d?: Uint8Array[];
  v: [string, Uint8Array | null][];
};

function planValue(plan: Plan): PlanValue {
  return {
    l: plan.logs.map(({ log, opening }) => [idBytes(log), logOpeningValue(opening)]),
    e: plan.events.map(eventValue),
    h: plan.heads.map(signedHeadValue),
    b: plan.bodies.map(({ id, body }) => [fromHex(id), body]),
    d: plan.drops.map((id) => fromHex(id)),
    v: plan.values.map(({ key, value }) => [key, value]),
  };
}

function parsePlan(value: PlanValue): StoreBatch {
  return {
    logs: value.l.map((item) => {
      const [log, opening] = item as [Uint8Array, unknown];
      return { log: idOf(log), opening: parseLogOpening(opening) };
    }),
    events: value.e.map(parseEvent),
    heads: value.h.map(parseSignedHead),
    bodies: value.b.map(([id, body]) => ({ id: idOf(id), body })),
    drops: (value.d ?? []).map((id) => idOf(id)),
    values: value.v.map(([key, item]) => ({ key, value: item })),
  };
}

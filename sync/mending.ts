/**
 * Damage on the disk (P18): every row is checked when it is read; what is not what it says is left out, told in words, and
 * fetched again from whoever has it, while all the rest goes on.
 *
 *   read ─ CORRUPT ─▶ the good rows are given ─▶ which rows? ─▶ told: "damaged" ─▶ a session asks a peer for them
 *                                                                 told: "mended" ◀─ put in place, each proved by what follows it
 *
 * Small values (rows of state) are nobody else's: their damage stays an error with the row's name. So does that of the `here` chain.
 */
import { KinError } from "../protocols/errors.ts";
import { verifyHead, type StoredEvent } from "../protocols/events.ts";
import { idBytes, type LogId } from "../protocols/ids.ts";
import type { EventRun } from "../protocols/sync.ts";
import type { Ground } from "./ground.ts";
import type { Damage, EventStore } from "./store.ts";

/** Places looked at in one step: the store's thread is free for others in between. */
const CHECK_EVENTS = 1024;
/** Damaged places of one log that are remembered; the rest are found when these are whole. */
const MAX_DAMAGED = 4096;

export interface Mending {
  /** Places that are damaged and that somebody else may have; `here` chains are not among them. */
  damage: () => ReadonlyMap<LogId, Damage>;
  /** Looks which rows are damaged; called when a read has met one. */
  look: () => void;
  /** Puts right rows in the place of damaged ones. Returns how many were. @throws KinError BAD_SIGNATURE, FORKED, BAD_REQUEST */
  mend: (run: EventRun) => Promise<number>;
}

/** The same store, but what is damaged is left out instead of stopping who reads. `noticed` is called each time. */
export function leaveOutDamage(store: EventStore, noticed: () => void): EventStore {
  async function good<T>(read: Promise<T>, otherwise: () => Promise<T>): Promise<T> {
    try {
      return await read;
    } catch (error) {
      if (!(error instanceof KinError && error.code === "CORRUPT")) throw error;
      noticed();
      return otherwise();
    }
  }

  /** Up to the first damaged one. */
  async function rangeBefore(log: LogId, from: number, to: number): Promise<StoredEvent[]> {
    const [first] = (await store.damaged(log, from, to)).events.toSorted((a, b) => a - b);
    return first === undefined || first <= from ? [] : store.range(log, from, first);
  }

  async function sinceGood(position: number, limit: number, kinds?: ReadonlySet<string>) {
    const out: Awaited<ReturnType<EventStore["since"]>> = [];
    for (let at = position; out.length === 0 || at < position + limit; at++) {
      const one = await good(store.since(at, 1), async () => null);
      if (one?.length === 0) break;
      if (one !== null && (kinds?.has(one[0]!.event.header.kind) ?? true)) out.push(...one);
    }
    return out;
  }

  async function nextHead(log: LogId, seq: number) {
    const { heads } = await store.damaged(log, seq, seq + CHECK_EVENTS);
    for (const bad of heads.toSorted((a, b) => a - b)) {
      const found = await good(store.headFrom(log, bad + 1), async () => undefined);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  return {
    ...store,
    event: (id) => good(store.event(id), async () => undefined),
    range: (log, from, to) => good(store.range(log, from, to), () => rangeBefore(log, from, to)),
    headFrom: (log, seq) => good(store.headFrom(log, seq), () => nextHead(log, seq)),
    since: (position, limit, kinds) =>
      good(store.since(position, limit, kinds), () => sinceGood(position, limit, kinds)),
  };
}

/** The same store: damage is an error as it is, and `noticed` is called. */
export function tellDamage(store: EventStore, noticed: () => void): EventStore {
  async function telling<T>(read: Promise<T>): Promise<T> {
    try {
      return await read;
    } catch (error) {
      if (error instanceof KinError && error.code === "CORRUPT") noticed();
      throw error;
    }
  }

  return {
    ...store,
    event: (id) => telling(store.event(id)),
    range: (log, from, to) => telling(store.range(log, from, to)),
    headFrom: (log, seq) => telling(store.headFrom(log, seq)),
    since: (position, limit, kinds) => telling(store.since(position, limit, kinds)),
  };
}

export interface MendingDeps {
  ground: Pick<Ground, "logs" | "emit" | "inBackground" | "inOrder">;
  /** The store as it is. */
  store: EventStore;
  /** Tells events that could not be read before. */
  deliverLate: (events: StoredEvent[]) => Promise<void>;
  /** Bodies that a run left out are missed from now on. */
  missBodies: (events: StoredEvent[]) => Promise<void>;
}

export function createMending({ ground, store, deliverLate, missBodies }: MendingDeps): Mending {
  const { logs, emit } = ground;
  const damage = new Map<LogId, Damage>();
  let looking: Promise<void> | null = null;
  let again = false;

  function look(): void {
    again = true;
    looking ??= lookAll().finally(() => (looking = null));
    ground.inBackground(looking);
  }

  async function lookAll(): Promise<void> {
    while (again) {
      again = false;
      for (const { log } of logs.values()) await lookAt(log);
    }
  }

  async function lookAt(log: LogId): Promise<void> {
    const { opening, tip } = logs.get(log)!;
    const found: Damage = { events: [], heads: [] };
    for (let at = 0; at <= (tip?.seq ?? -1) && found.events.length < MAX_DAMAGED; at += CHECK_EVENTS) {
      const { events, heads } = await store.damaged(log, at, at + CHECK_EVENTS);
      found.events.push(...events);
      found.heads.push(...heads);
    }
    const before = damage.get(log);
    const isSame = before !== undefined && String(before.events) === String(found.events);
    if (found.events.length + found.heads.length === 0) damage.delete(log);
    else damage.set(log, found);
    if (!damage.has(log) || isSame) return;
    const whose = opening.chain === "here" ? "nobody else has them" : "they are fetched from who has them";
    const message = `${inWords(found)} of log ${log.slice(0, 8)} are damaged on the disk and left out: ${whose}`;
    emit({ type: "trouble", error: { code: "CORRUPT", message } });
    emit({ type: "damaged", log, events: found.events.length });
  }

  async function mend(run: EventRun): Promise<number> {
    const { log, head } = run;
    const known = logs.get(log);
    const found = damage.get(log);
    if (known?.tip == null || found === undefined) return 0;
    if (!verifyHead(idBytes(known.opening.device), head))
      throw new KinError("BAD_SIGNATURE", `the head ${head.head.seq} of log ${log} is not signed by its device`);
    if (run.events.some(({ header }) => header.log !== log))
      throw new KinError("BAD_REQUEST", `events of other logs can't mend log ${log}`);
    const { seq: last } = known.tip;
    const events = run.events.filter(({ header }) => header.seq <= last);
    const count = await store.repair({ events, heads: head.head.seq <= last ? [head] : [] });
    if (count === 0) return 0;
    const bad = new Set(found.events);
    const places = events.filter(({ header }) => bad.has(header.seq)).map(({ header }) => header.seq);
    await lookAt(log);
    const whole: StoredEvent[] = [];
    for (const seq of places) {
      const [event] = await store.range(log, seq, seq + 1).catch(() => []);
      if (event !== undefined) whole.push(event);
    }
    await missBodies(whole.filter(({ body }) => body === null));
    await ground.inOrder(() => deliverLate(whole.filter(({ body }) => body !== null)));
    emit({ type: "rejudged", logs: [log] });
    emit({ type: "mended", log, events: whole.length });
    return count;
  }

  return {
    damage: () => new Map([...damage].filter(([log]) => logs.get(log)?.opening.chain === "mesh")),
    look,
    mend,
  };
}

function inWords({ events, heads }: Damage): string {
  const some = events.length === 1 ? "1 event" : `${events.length} events`;
  return heads.length === 0 ? some : `${some} and ${heads.length} signed heads`;
}

/**
 * The updates of one document, from their events to the document. What counts is a function of the set of events, not of their
 * order of arrival, and for each log of its own order only:
 *
 *   event ──▶ queue of its log, by seq ──▶ first one: read ──▶ judge ──▶ next: tried on a copy, applied
 *                                             │ no key yet       ├─ waits: for what it has seen; those behind it wait too
 *                                             └ waits            └─ refused: for everybody, for ever; the next one is looked at
 *
 * What stands on words that a removal cut off (R5) waits for ever. Its author goes on in another life of his log in this document,
 * with a queue and a client id of its own (`anew.ts`).
 *
 * What a device says again stands behind all that counts in the log where it said it first: a restored disk made it without what
 * others had built on there, and takes nothing of that away. If the log has gone on in this document, what is said again is refused,
 * and its author says it in another life (`writing.ts`).
 *
 * An event that comes after later ones of its log were decided (its body or key was missing) makes the document begin anew, so
 * that those are decided again with it among them. A trial that this machine could not finish decides nothing: it is held and
 * tried later, here only.
 */
import { MAX_LIVES } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import type { EventId, LogId } from "../../protocols/ids.ts";
import type { ReadableEvent } from "../replica.ts";

export type DocumentEvent = Pick<ReadableEvent, "id" | "log" | "seq" | "device" | "person" | "at" | "value"> & Again;
/** `log` and `seq` are those of what it says again. */
interface Again {
  isAgain?: boolean;
}
/** Where an event stands in its queue. */
type Place = { seq: number } & Again;

/** Stands where its author said it first, if it is said again: its clocks are that log's. */
export function placed(event: ReadableEvent): ReadableEvent & Again {
  if (event.repeats === undefined) return event;
  const { value, unreadable } = event; // opened when they are asked for: a copy of the event has them not
  return { ...event, value, unreadable, ...event.repeats, isAgain: true };
}

/** How many were right, from the first on; of the next one why it is refused, if it is. */
export interface Tried {
  right: number;
  refused: string | null;
}

/** One document of some form. */
export interface Receiver<Update> {
  /** Of its log, in which the event was written. */
  lifeOf(event: DocumentEvent): number;
  /** Whether anything counts that was written in this life of this log. */
  hasLife(log: LogId, life: number): boolean;
  /** null: not to be read yet. @throws KinError refused for everybody */
  read(event: DocumentEvent): Update | null;
  /** Where it stands to what was noted. An error: refused for everybody. */
  judge(update: Update): "next" | "waits" | KinError;
  /** Takes it as applied, for the judgement of others; returns how to take that back. */
  note(update: Update): () => void;
  /** Tries those that were noted on a copy without them. Rejects if it could not be tried here and now. */
  attempt(updates: Update[]): Promise<Tried>;
  apply(updates: Update[], events: DocumentEvent[]): void;
  refused(event: DocumentEvent, error: KinError): void;
  /** A trial could not be finished. */
  held(error: unknown): void;
}

export interface Arrivals<Update> {
  /** "late": later events of its log were decided without it; the document must begin anew. */
  push(event: DocumentEvent): "queued" | "known" | "late";
  /** Decides all that can be decided now. One at a time. */
  pump(): Promise<void>;
  /** Held ones are tried again at the next pump. */
  retry(): void;
  /** All events that wait for something. */
  pending(): DocumentEvent[];
  /** Those of them that their authors have made anew in a later life. */
  left(): DocumentEvent[];
  /** The others. */
  waiting(): DocumentEvent[];
  /** The last life in which a log wrote, and its events that wait there. */
  lastLife(log: LogId): { life: number; waiting: EventId[] };
  /**
   * Which of `others` and of those that wait would count if all of `others` were to, in an order in which they could be applied.
   * Those that are `wrong` would not. Decides nothing.
   */
  reach(others: readonly DocumentEvent[], wrong?: ReadonlySet<EventId>): { event: DocumentEvent; update: Update }[];
  /** Events that are decided: for what is saved. */
  decided(): Decided[];
  /** Takes back what was saved; nothing was pushed yet. */
  restore(decided: Decided[]): void;
  clear(): void;
}

export type Decided = { id: EventId; log: LogId; life: number } & Place;

/** Updates of one trial: a copy is made for each trial. */
const MAX_BATCH = 256;

interface Entry<Update> {
  event: DocumentEvent;
  life: number;
  /** Read once. */
  update: Update | null;
}
interface Taken<Update> {
  entry: Entry<Update>;
  update: Update;
  undo: () => void;
}

/** A log in one of its lives. */
type Lane = `${LogId}/${number}`;

export function createArrivals<Update>(receiver: Receiver<Update>): Arrivals<Update> {
  const queues = new Map<Lane, Entry<Update>[]>();
  const decided = new Map<EventId, Decided>();
  const lastDecided = new Map<Lane, Place>();
  const heldLanes = new Set<Lane>();
  /** Counts up when the document begins anew: what was under way then is void. */
  let generation = 0;

  function push(event: DocumentEvent): "queued" | "known" | "late" {
    if (decided.has(event.id)) return "known";
    const entry = entryOf(event);
    const lane = laneOf(entry);
    const last = lastDecided.get(lane);
    if (last !== undefined && comparePlaces(event, last) <= 0) return "late";
    const queue = queues.get(lane) ?? [];
    queues.set(lane, queue);
    return insert(queue, entry) ? "queued" : "known";
  }

  function entryOf(event: DocumentEvent): Entry<Update> {
    return { event, life: receiver.lifeOf(event), update: null };
  }

  function laneOf({ event: { log }, life }: Entry<Update>): Lane {
    return `${log}/${life}`;
  }

  /** False: it stands there already. */
  function insert(queue: Entry<Update>[], entry: Entry<Update>): boolean {
    // Nearly always it is the last.
    let at = queue.length;
    while (at > 0 && isAfter(queue[at - 1]!.event, entry.event)) at--;
    if (queue[at - 1]?.event.id === entry.event.id) return false;
    queue.splice(at, 0, entry);
    return true;
  }

  async function pump(): Promise<void> {
    for (let most = MAX_BATCH; ;) {
      const batch = collect(most);
      if (batch.length === 0) return;
      const began = generation;
      const tried = await attempt(batch);
      if (began !== generation) return;
      const right = tried?.right ?? 0;
      const rest = batch.slice(right);
      for (const { undo } of rest.toReversed()) undo();
      const done = batch.slice(0, right);
      if (done.length > 0)
        receiver.apply(
          done.map(({ update }) => update),
          done.map(({ entry }) => entry.event),
        );
      for (const { entry } of done) decide(entry);
      const [failed] = rest;
      if (tried !== null && tried.refused !== null && failed !== undefined)
        refuse(failed.entry, new KinError("BAD_REQUEST", tried.refused));
      if (tried === null && batch.length === 1) heldLanes.add(laneOf(failed!.entry));
      // Which of many could not be tried is found in smaller trials.
      if (tried === null) most = Math.max(1, batch.length >> 2);
    }
  }

  async function attempt(batch: Taken<Update>[]): Promise<Tried | null> {
    try {
      return await receiver.attempt(batch.map(({ update }) => update));
    } catch (error) {
      if (batch.length === 1) receiver.held(error);
      return null;
    }
  }

  /** Notes what comes next, log by log, until nothing does. They stay in their queues until they are decided. */
  function collect(most: number): Taken<Update>[] {
    const batch: Taken<Update>[] = [];
    const places = new Map<Lane, number>();
    for (let found = true; found;) {
      found = false;
      for (const lane of queues.keys()) {
        while (batch.length < most) {
          const taken = next(lane, places, batch.length > 0);
          if (taken === null) break;
          batch.push({ ...taken, undo: receiver.note(taken.update) });
          places.set(lane, (places.get(lane) ?? 0) + 1);
          found = true;
        }
        if (batch.length >= most) return batch;
      }
    }
    return batch;
  }

  /** @param isTentative something is noted that may yet prove wrong: nothing is refused for what was noted */
  function next(
    lane: Lane,
    places: Map<Lane, number>,
    isTentative: boolean,
  ): { entry: Entry<Update>; update: Update } | null {
    for (;;) {
      const place = places.get(lane) ?? 0;
      const entry = heldLanes.has(lane) ? undefined : queues.get(lane)?.[place];
      if (entry === undefined) return null;
      const judged = judge(entry);
      if (judged === "next") return { entry, update: entry.update! };
      if (judged === "waits") return null;
      if (isTentative) return null;
      refuse(entry, judged);
    }
  }

  function judge(entry: Entry<Update>): "next" | "waits" | KinError {
    try {
      entry.update ??= receiver.read(entry.event);
      return entry.update === null ? "waits" : receiver.judge(entry.update);
    } catch (error) {
      if (error instanceof KinError) return error;
      throw error;
    }
  }

  function refuse(entry: Entry<Update>, error: KinError): void {
    decide(entry);
    receiver.refused(entry.event, error);
  }

  function decide(entry: Entry<Update>): void {
    const { id, log, seq, isAgain = false } = entry.event;
    const lane = laneOf(entry);
    const queue = queues.get(lane)!;
    const at = queue.findIndex(({ event }) => event.id === id);
    queue.splice(at, 1);
    if (queue.length === 0) queues.delete(lane);
    remember({ id, log, life: entry.life, seq, isAgain });
  }

  function remember(one: Decided): void {
    decided.set(one.id, one);
    const lane: Lane = `${one.log}/${one.life}`;
    const last = lastDecided.get(lane);
    if (last === undefined || comparePlaces(one, last) > 0) lastDecided.set(lane, one);
  }

  function isLeft({ event: { log }, life }: Entry<Update>): boolean {
    for (let later = life + 1; later < MAX_LIVES; later++) if (receiver.hasLife(log, later)) return true;
    return false;
  }

  function lastLife(log: LogId): { life: number; waiting: EventId[] } {
    for (let life = MAX_LIVES - 1; life > 0; life--)
      if (queues.has(`${log}/${life}`) || receiver.hasLife(log, life)) return inLife(log, life);
    return inLife(log, 0);
  }

  function inLife(log: LogId, life: number): { life: number; waiting: EventId[] } {
    return { life, waiting: (queues.get(`${log}/${life}`) ?? []).map(({ event }) => event.id) };
  }

  /** @param isOne what is asked of the first of a queue */
  function waitingIn(isOne: (first: Entry<Update>) => boolean): DocumentEvent[] {
    return [...queues.values()].flatMap((queue) => (isOne(queue[0]!) ? queue.map(({ event }) => event) : []));
  }

  function reach(
    others: readonly DocumentEvent[],
    wrong: ReadonlySet<EventId> = new Set(),
  ): { event: DocumentEvent; update: Update }[] {
    const lanes = new Map(
      [...queues].map(([lane, queue]) => [lane, queue.filter(({ event }) => !wrong.has(event.id))]),
    );
    for (const event of others) {
      if (wrong.has(event.id)) continue;
      const entry = entryOf(event);
      const lane = laneOf(entry);
      const queue = lanes.get(lane) ?? [];
      lanes.set(lane, queue);
      insert(queue, entry);
    }
    const reached = reachIn([...lanes.values()], judge, ({ update }) => receiver.note(update!));
    return reached.map(({ event, update }) => ({ event, update: update! }));
  }

  return {
    push,
    pump,
    retry: () => heldLanes.clear(),
    pending: () => waitingIn(() => true),
    left: () => waitingIn(isLeft),
    waiting: () => waitingIn((entry) => !isLeft(entry)),
    lastLife,
    reach,
    decided: () => [...decided.values()],
    restore(all) {
      for (const one of all) remember(one);
    },
    clear() {
      generation++;
      queues.clear();
      decided.clear();
      lastDecided.clear();
      heldLanes.clear();
    },
  };
}

/** What would count of some queues, in an order in which it could. Decides nothing: what is noted on the way is taken back. */
export function reachIn<T>(
  queues: readonly T[][],
  judge: (one: T) => "next" | "waits" | KinError,
  note: (one: T) => () => void,
): T[] {
  const reached: T[] = [];
  const undos: (() => void)[] = [];
  for (let found = true; found;) {
    found = false;
    for (const queue of queues)
      for (let [one] = queue; one !== undefined; [one] = queue) {
        const judged = judge(one);
        if (judged === "waits") break;
        queue.shift();
        found = true;
        if (judged !== "next") continue;
        undos.push(note(one));
        reached.push(one);
      }
  }
  for (const undo of undos.toReversed()) undo();
  return reached;
}

/** By place; where a log was written twice, by id. */
function isAfter(a: DocumentEvent, b: DocumentEvent): boolean {
  const order = comparePlaces(a, b);
  return order === 0 ? a.id > b.id : order > 0;
}

/** What is said again behind the rest, both by seq. */
function comparePlaces(a: Place, b: Place): number {
  return Number(a.isAgain ?? false) - Number(b.isAgain ?? false) || a.seq - b.seq;
}

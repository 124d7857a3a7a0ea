/**
 * Writing one's own log (§7, F4). Everything that is asked for while one flush is on its way to the disk becomes the next
 * one: one batch, one signed head, one transaction.
 *
 *   append ─┐                     ┌─ stamp, header ─ seal ─ event ─┐ (one after the other: each names the one before)
 *   append ─┼─ waiting ── flush ──┤                                ├── head, signed ── store.append ── durable: all resolve
 *   append ─┘                     └─ …                            ─┘
 *
 * The `here` chain is the same class with its own log (R9). The first flush opens the log with `log-opened` at seq 0; a node
 * that writes nothing opens none. An append whose sealing fails is left out; the others are not touched by it.
 */
import type { Random } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import {
  encodeUnsealed,
  logIdOf,
  logOpeningValue,
  makeEvent,
  signHead,
  sortedDeps,
  type Audience,
  type Chain,
  type EventKind,
  type LogOpening,
  type StoredEvent,
  type Tip,
  type UnsealedHeader,
} from "../protocols/events.ts";
import { sealBody, type BodyContext, type BodyPlan } from "../protocols/event-body.ts";
import { idOf, type DeviceId, type EventId, type LogId, type MeshId } from "../protocols/ids.ts";
import { MAX_EVENTS_PER_HEAD } from "../protocols/limits.ts";
import type { SigningKey } from "../protocols/crypto/keys.ts";
import { CLOCK_BOUND_KEY, type Clock } from "./clock.ts";
import { checkBounds } from "./stores/batch.ts";
import { tipOf, type EventStore, type StoreBatch } from "./store.ts";

/** Appends that may wait for the disk; more are refused with OVERLOADED. */
export const MAX_WAITING_APPENDS = 10_000;
/** Bytes of bodies after which a flush takes no further append: bounds the time that one flush takes. */
const MAX_FLUSH_BYTES = 4 * 1024 * 1024;
const INCARNATION_BYTES = 16;

/** An event to be written. */
export interface NewEvent {
  kind: EventKind;
  audience: Audience;
  /** Heads of other logs that `prev` does not imply, with their stamps. Never a held one. */
  deps?: readonly { id: EventId; hlc: Uint8Array }[] | undefined;
  /** What it says and how it is sealed; a function gets the header, for what depends on log, seq or stamp, and may seal by itself. */
  body: BodyPlan | ((header: UnsealedHeader) => Uint8Array | Promise<Uint8Array>);
}

export interface OwnLog {
  readonly log: LogId;
  readonly opening: LogOpening;
  /** The last durable event; null while nothing was written. */
  tip(): Tip | null;
  /**
   * Writes the events next to each other, in order, in one transaction with `values`; resolves when they are durable.
   * @throws KinError what sealing and {@link EventStore.append} throw, OVERLOADED, TOO_LARGE, CLOSED
   */
  append(events: readonly NewEvent[], values?: StoreBatch["values"]): Promise<StoredEvent[]>;
  /** Waits for what was asked before; refuses what comes after. The store stays open. */
  close(): Promise<void>;
}

export interface LogDeps {
  store: EventStore;
  mesh: MeshId;
  /** The device's key: signs the heads. */
  key: SigningKey;
  /** 16 bytes, from {@link newIncarnation}, marked outside the database too. */
  incarnation: Uint8Array;
  chain: Chain;
  clock: Clock;
  random: Random;
}

export function newIncarnation(random: Random): Uint8Array {
  return random.bytes(INCARNATION_BYTES);
}

interface Waiting {
  events: readonly NewEvent[];
  values: NonNullable<StoreBatch["values"]>;
  done(events: StoredEvent[]): void;
  failed(error: unknown): void;
}

interface Built extends Waiting {
  made: StoredEvent[];
}

/** Goes on with the log of this device, incarnation and chain where the store has it, or begins it. */
export async function openLog(deps: LogDeps): Promise<OwnLog> {
  const { store, mesh, key, incarnation, chain, clock, random } = deps;
  const device: DeviceId = idOf(key.publicKey);
  const opening: LogOpening = { device, incarnation, chain };
  const log = logIdOf(mesh, opening);
  const context: BodyContext = { mesh, author: device };

  const waiting: Waiting[] = [];
  let tip = await storedTip();
  /** A flush failed and the store could not be asked yet where the log stands. */
  let isUnsure = false;
  let flushing: Promise<void> | null = null;
  let closed = false;

  async function storedTip(): Promise<Tip | null> {
    return tipOf((await store.logs()).find((state) => state.log === log));
  }

  async function settleTip(): Promise<void> {
    if (!isUnsure) return;
    tip = await storedTip();
    isUnsure = false;
  }

  function append(events: readonly NewEvent[], values: StoreBatch["values"] = []): Promise<StoredEvent[]> {
    return new Promise((done, failed) => {
      const refusal = whyNot(events, values);
      if (refusal !== null) return failed(refusal);
      checkBounds({ values });
      waiting.push({ events, values, done, failed });
      flushing ??= flushAll();
    });
  }

  function whyNot(events: Waiting["events"], values: Waiting["values"]): KinError | null {
    if (closed) return new KinError("CLOSED", `log ${log} is closed`);
    if (events.length === 0) return new KinError("BAD_REQUEST", "nothing to append: values alone go to the store");
    const stranger = events.find((event) => (event.audience === "here") !== (chain === "here"));
    if (stranger !== undefined)
      return new KinError(
        "BAD_REQUEST",
        `a ${stranger.kind} event for "${stranger.audience}" does not belong to a ${chain} chain`,
      );
    if (events.length >= MAX_EVENTS_PER_HEAD || values.length >= MAX_EVENTS_PER_HEAD)
      return new KinError(
        "TOO_LARGE",
        `${events.length} events and ${values.length} values in one append: at most ${MAX_EVENTS_PER_HEAD - 1} each`,
      );
    if (waiting.length >= MAX_WAITING_APPENDS)
      return new KinError("OVERLOADED", `${waiting.length} appends wait for the disk`);
    return null;
  }

  async function flushAll(): Promise<void> {
    await Promise.resolve(); // what is asked for in this tick belongs to the first flush
    while (waiting.length > 0) await flush();
    flushing = null;
  }

  async function flush(): Promise<void> {
    const built: Built[] = [];
    try {
      await settleTip();
      const first = await opened();
      const at = await buildWaiting(first === null ? tip : tipAt(first), first === null ? 0 : 1, built);
      if (built.length > 0) await commit(first, at!, built);
    } catch (error) {
      for (const one of built.length > 0 ? built : waiting.splice(0)) one.failed(error);
      // The disk may hold what it reported as failed: only the store knows where the log stands.
      isUnsure = true;
      await settleTip().catch(() => undefined);
    }
  }

  /** Builds what waits, up to one head's and one flush's bounds, into `built`; returns the last event's place. */
  async function buildWaiting(after: Tip | null, eventCount: number, built: Built[]): Promise<Tip | null> {
    let at = after;
    let values = 0;
    let bytes = 0;
    for (let next = waiting[0]; next !== undefined && bytes < MAX_FLUSH_BYTES; next = waiting[0]) {
      eventCount += next.events.length;
      values += next.values.length;
      if (eventCount > MAX_EVENTS_PER_HEAD || values > MAX_EVENTS_PER_HEAD) break;
      waiting.shift();
      try {
        const made = await buildAll(at, next.events);
        at = tipAt(made.at(-1)!);
        bytes += made.reduce((sum, event) => sum + event.body!.length, 0);
        built.push({ ...next, made });
      } catch (error) {
        next.failed(error);
      }
    }
    return at;
  }

  /** The log's first event, if it is not written yet. */
  async function opened(): Promise<StoredEvent | null> {
    if (tip !== null) return null;
    const value = logOpeningValue(opening);
    return build(null, { kind: "log-opened", audience: chain, body: { form: "clear", value } });
  }

  async function buildAll(after: Tip | null, wanted: readonly NewEvent[]): Promise<StoredEvent[]> {
    const events: StoredEvent[] = [];
    let at = after;
    for (const one of wanted) {
      const event = await build(at, one);
      events.push(event);
      at = tipAt(event);
    }
    return events;
  }

  async function build(after: Tip | null, wanted: NewEvent): Promise<StoredEvent> {
    const deps = (wanted.deps ?? []).filter((dep) => dep.id !== after?.id);
    const held = deps.find((dep) => clock.isHeld(dep.hlc));
    if (held !== undefined)
      throw new KinError(
        "BAD_REQUEST",
        `event ${held.id} is stamped in the future and can't be a dep until it is due (R13)`,
      );
    const header: UnsealedHeader = {
      log,
      seq: after === null ? 0 : after.seq + 1,
      prev: after?.id ?? null,
      deps: sortedDeps(deps.map((dep) => dep.id)),
      hlc: clock.stamp([...deps.map((dep) => dep.hlc), ...(after === null ? [] : [after.hlc])]),
      kind: wanted.kind,
      audience: wanted.audience,
    };
    const { body } = wanted;
    const encoded = encodeUnsealed(header);
    const sealed = typeof body === "function" ? body(header) : sealBody(context, header, body, random, encoded);
    return makeEvent(header, sealed instanceof Promise ? await sealed : sealed, encoded);
  }

  async function commit(first: StoredEvent | null, at: Tip, built: readonly Built[]): Promise<void> {
    await store.append({
      logs: first === null ? [] : [{ log, opening }],
      events: [...(first === null ? [] : [first]), ...built.flatMap((one) => one.made)],
      heads: [signHead(key, { log, ...at })],
      values: [...built.flatMap((one) => one.values), { key: CLOCK_BOUND_KEY, value: clock.bound() }],
    });
    tip = at;
    for (const one of built) one.done(one.made);
  }

  async function close(): Promise<void> {
    closed = true;
    await flushing;
  }

  return { log, opening, tip: () => tip, append, close };
}

function tipAt(event: StoredEvent): Tip {
  return { seq: event.header.seq, id: event.id, hlc: event.header.hlc };
}

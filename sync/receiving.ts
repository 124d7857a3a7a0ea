/**
 * Taking in what others wrote, and making stored events count: durable first, then told, in one order for own and foreign.
 *
 *   run ─ whose? known part off ─┬─ follows ── verify ── store ── take ── records · deliver: held | locked | told
 *                                └─ parts ways ── proof of the fork ── the log is frozen (R2)
 */
import { KinError } from "../protocols/errors.ts";
import { isBodyOf, logIdOf, verifyRun, type LogOpening, type StoredEvent } from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { MAX_OPEN_LOGS } from "../protocols/limits.ts";
import type { Membership } from "../protocols/membership.ts";
import { MAX_VECTOR_LOGS, type EventRun, type ForkProof, type LooseBody } from "../protocols/sync.ts";
import type { Epochs } from "./epochs.ts";
import { checkForkProof } from "./fork.ts";
import type { Ground, KnownLog } from "./ground.ts";
import type { Held } from "./held.ts";
import type { OwnLog } from "./log.ts";
import type { Reading } from "./reading.ts";
import type { Records } from "./records.ts";
import type { ReadableEvent, Received } from "./replica.ts";
import { forkRow } from "./rows.ts";
import { proveFork, unknownPart } from "./runs.ts";
import type { StoreBatch } from "./store.ts";

export interface ReceivingDeps {
  ground: Ground;
  records: Records;
  reading: Reading;
  epochs: Pick<Epochs, "takeFromEvent" | "noteLocked">;
  held: () => Pick<Held, "schedule">;
  /** The log cannot be gone on with; matters if it is our own. */
  endIncarnation(log: LogId): void;
  isLiving(log: LogId): boolean;
}

export interface Receiving {
  load(): Promise<void>;
  accepts(log: LogId, opening: LogOpening): boolean;
  receive(run: EventRun, opening: LogOpening): Promise<Received>;
  receiveBodies(bodies: LooseBody[]): Promise<number>;
  bodies(ids: EventId[]): Promise<LooseBody[]>;
  missingBodies(limit: number): EventId[];
  isMissing(id: EventId): boolean;
  prune(ids: EventId[]): Promise<void>;
  receiveFork(proof: ForkProof): Promise<boolean>;
  /** Own events that are durable now, in the order of the log; those before them that another append wrote, too. */
  takeOwn(log: OwnLog, done: StoredEvent[]): Promise<void>;
  /** Tells what counts and can be read; remembers what is held or locked. */
  deliver(known: KnownLog, events: StoredEvent[], wereHeld?: boolean): Promise<void>;
}

export function createReceiving(deps: ReceivingDeps): Receiving {
  const { ground, records, reading, epochs } = deps;
  const { mesh, store, clock, logs, vector, forks, emit } = ground;
  const membership = (): Membership => records.membership();
  const missing = new Set<EventId>();

  async function load(): Promise<void> {
    for (const { key } of await store.values("missing/")) missing.add(key.slice(8) as EventId);
  }

  function accepts(log: LogId, opening: LogOpening): boolean {
    const { device: author } = opening;
    if (forks.has(log) || !(membership().devices.has(author) || membership().formerDevices.has(author))) return false;
    if (logs.has(log)) return true;
    const theirs = [...vector.values()].filter((entry) => entry.opening.device === author);
    return theirs.length < MAX_OPEN_LOGS && vector.size < MAX_VECTOR_LOGS;
  }

  async function receive(run: EventRun, opening: LogOpening): Promise<Received> {
    const { log, head } = run;
    if (opening.chain !== "mesh" || logIdOf(mesh, opening) !== log)
      throw new KinError("BAD_REQUEST", `log ${log} is not the one of device ${opening.device} that it is said to be`);
    if (forks.has(log)) return { stored: 0, known: run.events.length, fork: null };
    if (!accepts(log, opening))
      throw new KinError(
        "NOT_A_MEMBER",
        `log ${log} of device ${opening.device} is not accepted: no member's, or one too many`,
      );
    const known = logs.get(log);
    const events = await unknownPart(store, run, known?.tip ?? null);
    if (events === "fork") return { stored: 0, known: 0, fork: await freeze(run, opening, known!) };
    if (events.length === 0) return { stored: 0, known: run.events.length, fork: null };
    verifyRun({ log, opening }, known?.tip ?? null, events, head);
    await store.append({
      logs: known === undefined ? [{ log, opening }] : [],
      events,
      heads: [head],
      values: [...records.rowsOf(events), ...missingRows(events)],
    });
    if (deps.isLiving(log)) deps.endIncarnation(log);
    const stored = await ground.inOrder(() => take(log, opening, events));
    return { stored, known: run.events.length - stored, fork: null };
  }

  function missingRows(events: StoredEvent[]): NonNullable<StoreBatch["values"]> {
    return events.flatMap(({ id, body }) => (body === null ? [{ key: `missing/${id}`, value: new Uint8Array() }] : []));
  }

  // ── forks ──

  /** The log ends where the two histories part (R2). */
  async function freeze(run: EventRun, opening: LogOpening, known: KnownLog): Promise<ForkProof> {
    const newest = (await store.headFrom(run.log, known.tip!.seq)) ?? null;
    const proof = await proveFork(store, run, opening, newest);
    await keepFork(proof);
    return proof;
  }

  async function keepFork(proof: ForkProof): Promise<void> {
    checkForkProof(proof);
    await store.append({ values: [forkRow(proof)] });
    if (forks.has(proof.log)) return;
    forks.set(proof.log, proof);
    emit({ type: "forked", proof });
    if (logs.has(proof.log)) emit({ type: "rejudged", logs: [proof.log] });
    deps.endIncarnation(proof.log);
  }

  async function receiveFork(proof: ForkProof): Promise<boolean> {
    if (forks.has(proof.log)) return false;
    const { device: author } = proof.opening;
    if (!membership().devices.has(author) && !membership().formerDevices.has(author)) return false;
    await keepFork(proof);
    return true;
  }

  // ── taking in ──

  async function takeOwn(log: OwnLog, done: StoredEvent[]): Promise<void> {
    const from = (logs.get(log.log)?.tip?.seq ?? -1) + 1;
    const fresh = done.filter(({ header }) => header.seq >= from);
    const last = fresh.at(-1);
    if (last === undefined) return;
    const isNext = fresh[0]!.header.seq === from;
    await take(log.log, log.opening, isNext ? fresh : await store.range(log.log, from, last.header.seq + 1));
  }

  /** Makes stored events count. Runs one after the other; events that were taken already are skipped. */
  async function take(log: LogId, opening: LogOpening, events: StoredEvent[]): Promise<number> {
    const known = logs.get(log) ?? { log, opening, tip: null, due: null, heldFrom: null };
    logs.set(log, known);
    const fresh = events.filter(({ header }) => header.seq > (known.tip?.seq ?? -1));
    const last = fresh.at(-1);
    if (last === undefined) return 0;
    known.tip = { seq: last.header.seq, id: last.id, hlc: last.header.hlc };
    ground.noteInVector(known);
    for (const event of fresh) if (event.body === null) missing.add(event.id);
    await records.take(fresh);
    if (opening.chain === "mesh") emit({ type: "grown", logs: [log] });
    await deliver(known, fresh);
    reading.judgeDependants(fresh);
    return fresh.length;
  }

  async function deliver(known: KnownLog, events: StoredEvent[], wereHeld = false): Promise<void> {
    const applied: ReadableEvent[] = [];
    for (const event of events) {
      const readable = await reading.read(event);
      if (readable.standing.state === "held") {
        known.heldFrom ??= event.header.seq;
        continue;
      }
      clock.observe(event.header.hlc);
      // A roster record counts at once, but its stamp may lie ahead all the same.
      if (!clock.isHeld(event.header.hlc)) known.due = { seq: event.header.seq, id: event.id, hlc: event.header.hlc };
      if (readable.standing.state !== "good") continue;
      // Roster records are never held: among held events they have been told before.
      if (readable.unreadable === null && !(wereHeld && readable.kind === "roster")) applied.push(readable);
      if (readable.unreadable === "no-key") await epochs.noteLocked(event);
      if (readable.kind === "epoch-sealed" && readable.unreadable === null) await epochs.takeFromEvent(readable);
    }
    if (known.opening.chain === "mesh") ground.undepended.add(known.log);
    if (known.heldFrom !== null) deps.held().schedule();
    if (applied.length > 0) emit({ type: "applied", events: applied });
  }

  // ── bodies that come by themselves ──

  async function receiveBodies(bodies: LooseBody[]): Promise<number> {
    const right: StoredEvent[] = [];
    for (const { id, body } of bodies) {
      if (!missing.has(id)) continue;
      const event = await store.event(id);
      if (event === undefined || event.body !== null || !isBodyOf(event.header, body)) continue;
      right.push({ ...event, body });
    }
    if (right.length === 0) return 0;
    const gone = right.map(({ id }) => ({ key: `missing/${id}`, value: null }));
    const found = right.map(({ id, body }) => ({ id, body: body! }));
    await store.append({ bodies: found, values: [...gone, ...records.rowsOf(right)] });
    await ground.inOrder(async () => {
      const fresh = right.filter(({ id }) => missing.delete(id));
      await records.take(fresh);
      for (const event of fresh) await deliverLate(event);
    });
    return right.length;
  }

  /** An event whose body came after its header. */
  async function deliverLate(event: StoredEvent): Promise<void> {
    const readable = await reading.read(event);
    if (readable.standing.state !== "good") return;
    if (readable.unreadable === "no-key") await epochs.noteLocked(event);
    if (readable.unreadable !== null) return;
    if (readable.kind === "epoch-sealed") await epochs.takeFromEvent(readable);
    emit({ type: "applied", events: [readable] });
  }

  async function bodies(ids: EventId[]): Promise<LooseBody[]> {
    const out: LooseBody[] = [];
    for (const id of ids) {
      const event = await store.event(id);
      if (event !== undefined && event.body !== null && event.header.audience !== "here")
        out.push({ id, body: event.body });
    }
    return out;
  }

  async function prune(ids: EventId[]): Promise<void> {
    const missed = ids.filter((id) => missing.has(id)).map((id) => ({ key: `missing/${id}`, value: null }));
    await store.append({ drops: ids, values: missed });
    for (const id of ids) missing.delete(id);
  }

  return {
    load,
    accepts,
    receive,
    receiveBodies,
    bodies,
    missingBodies: (limit) => [...missing].slice(0, limit),
    isMissing: (id) => missing.has(id),
    prune,
    receiveFork,
    takeOwn,
    deliver,
  };
}

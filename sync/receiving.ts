/**
 * Taking in what others wrote, and making stored events count: durable first, then told, in one order for own and foreign.
 *
 *   run ─ whose? known part off ─┬─ follows ── verify ── store ── take ── records · deliver: held | locked | told
 *                                └─ parts ways ── forks (R2)
 */
import { KinError } from "../protocols/errors.ts";
import { isBodyOf, logIdOf, verifyRun, type LogOpening, type StoredEvent } from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { MAX_OPEN_LOGS } from "../protocols/limits.ts";
import type { Membership } from "../protocols/membership.ts";
import { MAX_VECTOR_LOGS, type EventRun, type LooseBody } from "../protocols/sync.ts";
import type { Branches } from "./branches.ts";
import type { Epochs } from "./epochs.ts";
import { forkPoint } from "./fork.ts";
import type { Forks } from "./forks.ts";
import type { Ground, KnownLog } from "./ground.ts";
import type { OwnLog } from "./log.ts";
import type { Reading } from "./reading.ts";
import type { Records } from "./records.ts";
import { MAX_REISSUED, REISSUED, type Reissues } from "./reissue.ts";
import type { ReadableEvent, Received } from "./replica.ts";
import { unknownPart } from "./runs.ts";
import type { StoreBatch } from "./store.ts";
import type { Witness } from "./witness.ts";

export interface ReceivingDeps {
  ground: Ground;
  records: Records;
  reading: Reading;
  epochs: Pick<Epochs, "takeFromEvent" | "noteLocked">;
  branches: Pick<Branches, "event" | "has" | "place" | "idsOf" | "bodyRow">;
  forks: () => Pick<Forks, "takeParted" | "place">;
  witness: Pick<Witness, "look">;
  /** The log cannot be gone on with; matters if it is our own. */
  endIncarnation: (log: LogId) => void;
  isLiving: (log: LogId) => boolean;
  reissues: Pick<Reissues, "note" | "isPartOf">;
}

export interface Receiving {
  load: () => Promise<void>;
  accepts: (log: LogId, opening: LogOpening) => boolean;
  receive: (run: EventRun, opening: LogOpening) => Promise<Received>;
  receiveBodies: (bodies: LooseBody[]) => Promise<number>;
  bodies: (ids: EventId[]) => Promise<LooseBody[]>;
  missingBodies: (limit: number) => EventId[];
  isMissing: (event: Pick<StoredEvent, "id" | "header">) => boolean;
  prune: (ids: EventId[]) => Promise<void>;
  /** Rows of bodies that are to come, and their remembering once they are durable. */
  missingRows: (events: StoredEvent[]) => NonNullable<StoreBatch["values"]>;
  noteMissing: (events: StoredEvent[]) => void;
  /** Stored events whose body is gone are missed from now on. */
  missBodies: (events: StoredEvent[]) => Promise<void>;
  /** Tells events that came late: their body, or the branch that they are on. */
  deliverLate: (events: StoredEvent[]) => Promise<void>;
  /** Own events that are durable now, in the order of the log; those before them that another append wrote, too. */
  takeOwn: (log: Pick<OwnLog, "log" | "opening">, done: StoredEvent[]) => Promise<void>;
  /** Tells what counts and can be read; remembers what is held or locked. */
  deliver: (known: KnownLog, events: StoredEvent[], wereHeld?: boolean) => Promise<void>;
}

export function createReceiving(deps: ReceivingDeps): Receiving {
  const { ground, records, reading, epochs, branches } = deps;
  const { mesh, store, clock, logs, vector, forks, emit } = ground;
  const membership = (): Membership => records.membership();
  const missing = new Set<EventId>();

  async function load(): Promise<void> {
    for (const { key } of await store.values("missing/")) missing.add(key.slice(8) as EventId);
  }

  function accepts(log: LogId, opening: LogOpening): boolean {
    const { device: author } = opening;
    const known = logs.get(log);
    const proof = forks.get(log);
    if (!isMembers(author) || (proof !== undefined && (known?.tip?.seq ?? -1) >= forkPoint(proof))) return false;
    if (known !== undefined) return true;
    const theirs = [...vector.values()].filter((entry) => entry.opening.device === author && !forks.has(entry.log));
    return theirs.length < MAX_OPEN_LOGS && vector.size < MAX_VECTOR_LOGS;
  }

  /** Is or was a member's. */
  function isMembers(author: LogOpening["device"]): boolean {
    return membership().devices.has(author) || membership().formerDevices.has(author);
  }

  async function receive(run: EventRun, opening: LogOpening): Promise<Received> {
    const { log, head } = run;
    if (opening.chain !== "mesh" || logIdOf(mesh, opening) !== log)
      throw new KinError("BAD_REQUEST", `log ${log} is not the one of device ${opening.device} that it is said to be`);
    const known = logs.get(log);
    if (!isMembers(opening.device) || (known === undefined && !accepts(log, opening)))
      throw new KinError(
        "NOT_A_MEMBER",
        `log ${log} of device ${opening.device} is not accepted: no member's, or one too many`,
      );
    const events = await newPart(run, opening, known);
    if (!Array.isArray(events)) return events;
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

  /** What of a run continues the log as we have it; else what came of it as another history of the log (R2). */
  async function newPart(
    run: EventRun,
    opening: LogOpening,
    known: KnownLog | undefined,
  ): Promise<StoredEvent[] | Received> {
    const isForked = forks.has(run.log) && known !== undefined;
    const events = isForked ? "fork" : await unknownPart(store, run, known?.tip ?? null);
    if (events !== "fork") return events;
    const took = await deps.forks().takeParted(run, opening, known!);
    if (took.parted === "lower") return { stored: 0, known: 0, fork: null, lower: true };
    if (took.parted === "branch")
      return { stored: took.stored, known: run.events.length - took.stored, fork: took.fork };
    const first = await unknownPart(store, run, known!.tip);
    return first === "fork" ? [] : first; // another run was faster
  }

  function missingRows(events: StoredEvent[]): NonNullable<StoreBatch["values"]> {
    return events.flatMap(({ id, body }) => (body === null ? [{ key: `missing/${id}`, value: new Uint8Array() }] : []));
  }

  // ── taking in ──

  async function takeOwn(log: Pick<OwnLog, "log" | "opening">, done: StoredEvent[]): Promise<void> {
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
    if (forks.has(log)) await deps.forks().place(log);
    else ground.noteInVector(known);
    noteMissing(fresh);
    await deps.reissues.note(fresh);
    await records.take(fresh);
    const more = await deps.witness.look(fresh);
    if (opening.chain === "mesh") emit({ type: "grown", logs: [log] });
    await deliver(known, fresh);
    reading.judgeDependants(fresh);
    // What is said again takes the place of what views may have been told before.
    if (fresh.some(deps.reissues.isPartOf)) emit({ type: "rejudged", logs: [...logs.keys()] });
    else if (more.length > 0) emit({ type: "rejudged", logs: more });
    return fresh.length;
  }

  function noteMissing(events: StoredEvent[]): void {
    for (const event of events) if (event.body === null) missing.add(event.id);
  }

  async function deliver(known: KnownLog, events: StoredEvent[], wereHeld = false): Promise<void> {
    const applied: ReadableEvent[] = [];
    for (const event of events) {
      const readable = await reading.read(event);
      if (readable.standing.state === "held") continue;
      clock.observe(event.header.hlc);
      // A roster record counts at once, but its stamp may lie ahead all the same.
      if (!clock.isHeld(event.header.hlc)) known.due = { seq: event.header.seq, id: event.id, hlc: event.header.hlc };
      if (readable.standing.state !== "good") continue;
      // Roster records are never held: among held events they have been told before.
      if ((await takeKeys(event, readable)) && !(wereHeld && readable.kind === "roster")) applied.push(readable);
    }
    if (known.opening.chain === "mesh") ground.undepended.add(known.log);
    if (applied.length > 0) emit({ type: "applied", events: applied });
    // Now that it is due, what says it again steps back, or it takes the place of what it repeats.
    if (wereHeld && events.some(deps.reissues.isPartOf)) emit({ type: "rejudged", logs: [...logs.keys()] });
  }

  /** What keys an event brings or lacks. True: it can be read, or opened by whoever asks what it says. */
  async function takeKeys(event: StoredEvent, readable: ReadableEvent): Promise<boolean> {
    const sealing = reading.sealing(event);
    if (sealing?.isHeld === false) await epochs.noteLocked(sealing.epoch);
    if (sealing !== null && readable.kind !== "epoch-sealed") return sealing.isHeld;
    if (readable.unreadable !== null) return false;
    if (readable.kind === "epoch-sealed") await epochs.takeFromEvent(readable);
    return true;
  }

  // ── bodies that come by themselves ──

  async function receiveBodies(bodies: LooseBody[]): Promise<number> {
    const right: StoredEvent[] = [];
    for (const { id, body } of bodies) {
      if (!missing.has(id)) continue;
      const event = await find(id);
      if (event === undefined || event.body !== null || !isBodyOf(event.header, body)) continue;
      right.push({ ...event, body });
    }
    if (right.length === 0) return 0;
    const [aside, inStore] = [right.filter(({ id }) => branches.has(id)), right.filter(({ id }) => !branches.has(id))];
    const gone = right.map(({ id }) => ({ key: `missing/${id}`, value: null }));
    const found = inStore.map(({ id, body }) => ({ id, body: body! }));
    const values = [...gone, ...records.rowsOf(inStore), ...aside.map((event) => branches.bodyRow(event))];
    await store.append({ bodies: found, values });
    await records.learnFrom(aside);
    await ground.inOrder(async () => {
      const fresh = right.filter(({ id }) => missing.delete(id));
      await noteLateMarkers(fresh);
      await records.take(fresh.filter(({ id }) => !branches.has(id)));
      await deliverLate(fresh);
    });
    if (right.some(deps.reissues.isPartOf)) emit({ type: "rejudged", logs: [...logs.keys()] });
    else if (aside.length > 0) emit({ type: "rejudged", logs: [...new Set(aside.map(({ header }) => header.log))] });
    return right.length;
  }

  /** What follows a marker was taken in before anybody could read that it says something again. */
  async function noteLateMarkers(events: StoredEvent[]): Promise<void> {
    for (const event of events) {
      const { kind, log, seq } = event.header;
      if (kind !== REISSUED) continue;
      const next = branches.has(event.id) ? [] : await store.range(log, seq + 1, seq + 1 + MAX_REISSUED);
      for (const id of branches.idsOf(log)) if (branches.place(id)!.seq > seq) next.push((await branches.event(id))!);
      await deps.reissues.note([event, ...next]);
    }
  }

  async function missBodies(events: StoredEvent[]): Promise<void> {
    if (events.length === 0) return;
    await store.append({ values: missingRows(events) });
    noteMissing(events);
  }

  async function find(id: EventId): Promise<StoredEvent | undefined> {
    return (await branches.event(id)) ?? store.event(id);
  }

  async function deliverLate(events: StoredEvent[]): Promise<void> {
    for (const event of events) await deliverOne(event);
  }

  async function deliverOne(event: StoredEvent): Promise<void> {
    const readable = await reading.read(event);
    if (readable.standing.state !== "good") return;
    if (await takeKeys(event, readable)) emit({ type: "applied", events: [readable] });
  }

  async function bodies(ids: EventId[]): Promise<LooseBody[]> {
    const out: LooseBody[] = [];
    for (const id of ids) {
      const event = await find(id);
      if (event !== undefined && event.body !== null && event.header.audience !== "here")
        out.push({ id, body: event.body });
    }
    return out;
  }

  async function prune(ids: EventId[]): Promise<void> {
    const missed = ids.filter((id) => missing.has(id)).map((id) => ({ key: `missing/${id}`, value: null }));
    await store.append({ drops: ids.filter((id) => !missing.has(id)), values: missed });
    for (const id of ids) missing.delete(id);
  }

  return {
    load,
    accepts,
    receive,
    receiveBodies,
    bodies,
    missingBodies: (limit) => [...missing].slice(0, limit),
    // What is stored and not yet taken in is told when it is: nobody may pass over it meanwhile.
    isMissing: ({ id, header }) =>
      missing.has(id) || (!branches.has(id) && header.seq > (logs.get(header.log)?.tip?.seq ?? -1)),
    prune,
    missingRows,
    noteMissing,
    missBodies,
    deliverLate,
    takeOwn,
    deliver,
  };
}

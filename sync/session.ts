/**
 * One `/kin/sync/1` stream (dialogue: `protocols/sync.ts`). Two loops and no queue: the reader takes one frame at a time, reading
 * the next while one is on its way to the disk, and answers only by changing what we know of the peer; the writer looks at
 * that, builds the one frame that matters most, and waits until the wire has taken it. So a slow peer costs us one frame of
 * memory, a fast one two, and a cut needs no clean-up.
 *
 *   order of writing:  vector · fork proofs · our own news (push) · what we want · other histories of forked logs that we want ·
 *                      news of other logs · records, runs, parts of histories, bodies asked of us
 */
import type { Time, Wire } from "../protocols/effects.ts";
import { errorShape, KinError, WIRE_CODES, type ErrorShape } from "../protocols/errors.ts";
import type { SignedHead, StoredEvent } from "../protocols/events.ts";
import type { DeviceId, EventId, LogId, RecordId } from "../protocols/ids.ts";
import { MAX_OPEN_LOGS } from "../protocols/limits.ts";
import type { Sealed } from "../protocols/signature.ts";
import {
  CLAIM_MS,
  encodeSyncFrame,
  MAX_JUNK,
  MAX_RECORDS_PER_FRAME,
  MAX_RUN_BYTES,
  MAX_RUN_EVENTS,
  MAX_VECTOR_LOGS,
  MAX_WANTED_BODIES,
  MAX_BODIES_SERVED,
  parseSyncFrame,
  partOf,
  partsBySize,
  STALL_MS,
  type EventRun,
  type LooseBody,
  type SyncFrame,
  type VectorEntry,
  type Wanted,
} from "../protocols/sync.ts";
import { forksOf, isCaughtUp, newsFor, peerLog, takeClaim, wantsOf, type PeerLog, type PeerLogs } from "./reconcile.ts";
import { createParting } from "./parting.ts";
import type { Replica } from "./replica.ts";

export interface SyncOptions {
  /** The device at the other end, as the connection has proved it. */
  peer: DeviceId;
  time: Pick<Time, "monotonic" | "after">;
  /** Ends the session from our side. */
  signal: AbortSignal;
  /** Called once, when we first have all that the peer named in its vector. */
  onCaughtUp?: (() => void) | undefined;
  /** Given once what this session knows of the peer's logs: it changes while the session lasts, and is read only. */
  onBegin?: ((logs: ReadonlyMap<LogId, Readonly<PeerLog>>) => void) | undefined;
}

/** Why a session ended. `error` says what the peer or we did not accept. */
export interface SyncEnd {
  reason: "closed" | "stopped" | "broken" | "stalled" | "refused-by-us" | "refused-by-peer";
  error: ErrorShape | null;
}

/** A roster record costs a signature and curve checks: its uselessness counts more. */
const RECORD_WEIGHT = 10;
/** Bodies taken from the store at once: at most 4 MiB. */
const BODIES_AT_ONCE = 16;
/** How long a peer may take to close its side after we have closed ours. */
const PARTING_MS = 2_000;

/** Speaks until the wire or `signal` ends. Never throws: what a peer does is a {@link SyncEnd}. */
export async function runSync(wire: Wire, replica: Replica, options: SyncOptions): Promise<SyncEnd> {
  const session = createSession(wire, replica, options);
  options.onBegin?.(session.logs);
  const stops = [
    replica.on(session.noticeChange),
    replica.claims.onFree(session.noticeFree),
    onAbort(options.signal, () => session.end({ reason: "stopped", error: null })),
  ];
  const reading = session.read();
  await session.write();
  for (const stop of stops) stop();
  session.forget();
  const { reason, error } = session.ended()!;
  if (reason === "broken" || reason === "stalled") wire.abort(new KinError("CLOSED", `sync ${reason}`));
  else await part(wire, reading, options.time);
  await reading;
  return { reason, error };
}

/** Closes our side and waits for the peer's, but not for ever. */
async function part(wire: Wire, reading: Promise<void>, time: SyncOptions["time"]): Promise<void> {
  const cancel = time.after(PARTING_MS, () => wire.abort(new KinError("CLOSED", "the peer does not close its side")));
  await wire.close().catch(() => undefined);
  await reading;
  cancel();
}

function onAbort(signal: AbortSignal, run: () => void): () => void {
  if (signal.aborted) run();
  else signal.addEventListener("abort", run, { once: true });
  return () => signal.removeEventListener("abort", run);
}

/** What the writer has to send besides what follows from the vectors. */
interface Serving {
  /** Runs asked of us, in the order of asking; at most one range a log. */
  runs: Map<LogId, { from: number; to: number }>;
  /** Bodies asked of us. */
  bodies: EventId[];
  /** Parts of forked logs asked of us. */
  parts: { log: LogId; tip: EventId; from: number }[];
  /** Frames that belong together and are already built: parts of one run, its records, its bodies. Bounded by one run. */
  ready: SyncFrame[];
}

function createSession(wire: Wire, replica: Replica, options: SyncOptions) {
  const { peer, time } = options;
  const me = {};
  const logs: PeerLogs = new Map();
  const serving: Serving = { runs: new Map(), bodies: [], parts: [], ready: [] };
  const parting = createParting(replica, me);
  const logsOfDevice = new Map<DeviceId, number>();
  const recordsTold = new Set<RecordId>();
  const forksTold = new Set<LogId>();
  const bodiesTold = new Set<EventId>();
  const heads = { theirs: null as Set<RecordId> | null };
  let partial: { log: LogId; from: number; events: StoredEvent[]; bytes: number } | null = null;
  let bodiesAsked = 0;
  let junk = 0;
  let over: SyncEnd | null = null;
  let caughtUp = false;
  let blocked = false;
  let unserved = false;
  const due = { vector: true, news: false, wants: false, bodies: false, loose: false, ends: false };
  let wake: () => void = () => undefined;
  let cancelLook: (() => void) | null = null;

  // ── both loops ──

  function end(as: SyncEnd): void {
    over ??= as;
    wake();
  }

  function lookAgain(): void {
    due.wants = due.ends = true;
    wake();
  }

  function noticeFree(): void {
    if (blocked) lookAgain();
  }

  function noticeChange(change: { type: string }): void {
    if (change.type === "grown" || change.type === "forked") due.news = due.ends = true;
    if (change.type === "damaged") due.ends = true;
    // What was asked while its rows were damaged is asked again on the next stream.
    if (change.type === "mended" && unserved) end({ reason: "stopped", error: null });
    if (change.type === "membership") {
      due.wants = due.news = true;
      if (!isMember()) end({ reason: "refused-by-us", error: notMember() });
    }
    noticeCaughtUp();
    wake();
  }

  function isMember(): boolean {
    return replica.membership().devices.has(peer);
  }

  function notMember(): ErrorShape {
    const removed = replica.membership().formerDevices.has(peer);
    return {
      code: removed ? "REMOVED" : "NOT_A_MEMBER",
      message: `device ${peer} ${removed ? "is no longer" : "is not"} a member's`,
    };
  }

  function may(log: LogId, known: PeerLog): boolean {
    return replica.accepts(log, known.opening);
  }

  // ── reading ──

  async function read(): Promise<void> {
    if (!isMember()) end({ reason: "refused-by-us", error: notMember() });
    let taking = Promise.resolve();
    try {
      for await (const bytes of wire.frames()) {
        if (over !== null) continue; // the wire is read to its end, so that it can close
        const frame = parsed(bytes);
        await taking;
        taking = take(frame).then(afterFrame, refuse);
      }
      await taking;
      end({ reason: "closed", error: null });
    } catch (error) {
      await taking;
      end({ reason: "broken", error: errorShape(error) });
    }
  }

  /** What a frame says, or why it says nothing: that is told in its turn. */
  function parsed(bytes: Uint8Array): SyncFrame | KinError {
    try {
      return parseSyncFrame(bytes, replica.mesh);
    } catch (error) {
      if (error instanceof KinError) return error;
      throw error;
    }
  }

  function refuse(error: unknown): void {
    end({ reason: "refused-by-us", error: errorShape(error) });
  }

  function afterFrame(): void {
    if (junk > MAX_JUNK)
      refuse(new KinError("OVERLOADED", `${junk} of the things that ${peer} sent were of no use: at most ${MAX_JUNK}`));
    noticeCaughtUp();
    wake();
  }

  async function take(frame: SyncFrame | KinError): Promise<void> {
    if (over !== null) return;
    if (frame instanceof KinError) throw frame;
    if (frame.type === "end") return end({ reason: "refused-by-peer", error: frame.error });
    if ((heads.theirs === null) !== (frame.type === "vector" && frame.full))
      throw new KinError("BAD_REQUEST", `a sync begins with one full vector, ${peer} sent a "${frame.type}"`);
    switch (frame.type) {
      case "vector":
        return takeVector(frame);
      case "want":
        return takeWant(frame);
      case "records":
        return count(RECORD_WEIGHT * frame.records.length, RECORD_WEIGHT * (await replica.learn(frame.records)));
      case "run":
        return await takeRun(frame);
      case "bodies":
        return await takeBodies(frame.bodies);
      case "part":
        return takePart(frame);
      case "fork":
        return count(1, (await replica.receiveFork(frame.proof)) ? 1 : 0);
    }
  }

  /** Of `all` that a frame held, `useful` was news. Useful things make up for as many useless ones. */
  function count(all: number, useful: number): void {
    junk = Math.max(0, junk + all - 2 * useful);
  }

  function takeVector(frame: SyncFrame & { type: "vector" }): void {
    let news = 0;
    for (const entry of frame.logs) {
      if (entry.opening.device === replica.device) replica.noticeOwnLog(entry.log, entry.seq, entry.id);
      if (isRoomFor(entry) && takeClaim(logs, entry)) news++;
    }
    heads.theirs = new Set(frame.roster);
    due.loose = replica.rosterHeads().some((head) => !heads.theirs!.has(head));
    const ends = parting.take(frame.forked ?? []);
    const all = frame.logs.length + (frame.forked ?? []).reduce((sum, one) => sum + one.ends.length, 0);
    count(Math.max(1, all), Math.max(frame.full ? 1 : 0, news + ends));
    due.wants = due.news = due.ends = true;
    if (frame.full) due.bodies = true;
  }

  /** Another history of a log, or some of it, is asked for: seldom, so each asking counts. */
  function takePart({ log, tip, from }: SyncFrame & { type: "part" }): void {
    count(RECORD_WEIGHT, 0);
    if (serving.parts.length < MAX_OPEN_LOGS) serving.parts.push({ log, tip, from });
  }

  /** At most so many logs of one device as a replica takes (R2). */
  function isRoomFor({ log, opening }: VectorEntry): boolean {
    if (logs.has(log)) return true;
    const theirs = (logsOfDevice.get(opening.device) ?? 0) + 1;
    if (theirs > MAX_OPEN_LOGS) return false;
    logsOfDevice.set(opening.device, theirs);
    return true;
  }

  function takeWant(frame: SyncFrame & { type: "want" }): void {
    for (const { log, from, to } of frame.logs) {
      const mine = replica.vector().get(log);
      const known = mine === undefined ? undefined : peerLog(logs, log, mine.opening);
      // What this stream has carried is not carried again: asking everything again and again gains nothing (D4).
      const start = Math.max(from, (known?.served ?? -1) + 1);
      const last = Math.min(to, mine?.seq ?? -1);
      count(1, known !== undefined && start <= last ? 1 : 0);
      if (known === undefined || start > last) continue;
      const waiting = serving.runs.get(log);
      serving.runs.set(
        log,
        waiting === undefined ? { from: start, to: last } : { ...waiting, to: Math.max(waiting.to, last) },
      );
    }
    for (const id of frame.bodies) {
      const fresh =
        !bodiesTold.has(id) && bodiesTold.size < MAX_BODIES_SERVED && serving.bodies.length < MAX_WANTED_BODIES;
      count(1, fresh ? 1 : 0);
      if (!fresh) continue;
      bodiesTold.add(id);
      serving.bodies.push(id);
    }
  }

  async function takeRun(frame: SyncFrame & { type: "run" }): Promise<void> {
    const { log, from, events } = frame;
    const known = logs.get(log) ?? parting.peerLogOf(log);
    checkAsked(frame, known);
    partial ??= { log, from, events: [], bytes: 0 };
    if (
      partial.log !== log ||
      from !== partial.from + partial.events.length ||
      (events.length === 0 && frame.head === null)
    )
      throw new KinError(
        "BAD_REQUEST",
        `a part of a run of log ${log} from ${from}, expected the next part of ${partial.log}`,
      );
    partial.events.push(...events);
    for (const event of events) partial.bytes += event.headerBytes.length + (event.body?.length ?? 0);
    if (partial.events.length > MAX_RUN_EVENTS || partial.bytes > MAX_RUN_BYTES)
      throw new KinError(
        "TOO_LARGE",
        `a run of ${partial.events.length} events and ${partial.bytes} bytes without a head`,
      );
    if (frame.head !== null) await finishRun(known!, frame.head);
  }

  /** A run was asked for, or it is the live tail of one of the peer's own logs (D5). */
  function checkAsked({ log, from }: { log: LogId; from: number }, known: PeerLog | undefined): void {
    const asked = known !== undefined && (from <= known.asked || partial?.log === log || parting.isAsked(log, from));
    const tail = known !== undefined && known.opening.device === peer && known.claimed !== null;
    if (!asked && !tail) throw new KinError("BAD_REQUEST", `a run of log ${log} from ${from} that nobody asked for`);
  }

  async function finishRun(known: PeerLog, head: SignedHead): Promise<void> {
    const { log, from, events } = partial!;
    partial = null;
    replica.claims.take(log, me);
    const run = { log, from, events, head };
    const isPart = parting.isAsked(log, from);
    const got = await replica.receive(run, known.opening);
    const { seq, id } = head.head;
    // What came to find where two histories part was of use.
    count(got.stored + got.known, isPart ? got.stored + got.known : got.stored);
    if (isPart || got.lower === true || got.fork !== null) {
      await parting.got(run, got, known);
      due.ends = true;
      return;
    }
    known.has = Math.max(known.has, seq);
    if (known.claimed === null || seq > known.claimed.seq) known.claimed = { seq, id };
    if (seq >= known.asked || seq >= known.claimed.seq) replica.claims.done(log, me);
  }

  async function takeBodies(bodies: LooseBody[]): Promise<void> {
    const useful = await replica.receiveBodies(bodies);
    count(bodies.length, useful);
    if (useful > 0 && bodiesAsked > 0) due.bodies = true;
  }

  function noticeCaughtUp(): void {
    if (caughtUp || over !== null || heads.theirs === null) return;
    if (due.ends || !parting.isDone()) return;
    if (!isCaughtUp(replica.vector(), logs, may) || !replica.knowsRecords(heads.theirs)) return;
    caughtUp = true;
    options.onCaughtUp?.();
  }

  // ── writing ──

  async function write(): Promise<void> {
    for (;;) {
      const asleep = new Promise<void>((resolve) => (wake = resolve));
      if (over !== null) break;
      try {
        const frame = await nextFrame();
        if (frame === null) await asleep;
        else await send(frame);
      } catch (error) {
        end({ reason: "broken", error: errorShape(error) });
      }
    }
    if (over.reason === "refused-by-us") await send({ type: "end", error: forWire(over.error) }).catch(() => undefined);
  }

  /** What is wrong on this machine is not told in its own words. */
  function forWire(error: ErrorShape | null): ErrorShape {
    if (error === null || !(WIRE_CODES as readonly string[]).includes(error.code))
      return { code: "INTERNAL", message: "the other side can't go on" };
    return { code: error.code, message: error.message.slice(0, 1024) };
  }

  /** Resolves when the wire has room again; ends the session if it has none for {@link STALL_MS}. */
  async function send(frame: SyncFrame): Promise<void> {
    const cancel = time.after(STALL_MS, () => {
      end({ reason: "stalled", error: { code: "CLOSED", message: `${peer} took nothing for ${STALL_MS / 1000} s` } });
      wire.abort(new KinError("CLOSED", "sync stalled"));
    });
    try {
      await wire.send(encodeSyncFrame(frame));
    } finally {
      cancel();
    }
  }

  /** The most urgent frame, or null if there is nothing to say. */
  async function nextFrame(): Promise<SyncFrame | null> {
    if (serving.ready.length > 0) return serving.ready.shift()!;
    if (due.vector) return firstVector();
    for (const proof of replica.forks()) {
      if (forksTold.has(proof.log)) continue;
      forksTold.add(proof.log);
      return { type: "fork", proof };
    }
    if (heads.theirs === null) return null; // all else depends on what the peer has
    return (await ownNews()) ?? (await want()) ?? (await askPart()) ?? news() ?? (await serve());
  }

  function firstVector(): SyncFrame {
    due.vector = false;
    const entries = [...replica.vector().values()].slice(0, MAX_VECTOR_LOGS);
    for (const entry of entries) noteTold(entry);
    const forked = parting.untold();
    return { type: "vector", full: true, roster: replica.rosterHeads(), logs: entries, forked };
  }

  /** Where the peer's history of a log parts from ours, and what of it we lack (R2). */
  async function askPart(): Promise<SyncFrame | null> {
    if (!due.ends) return null;
    due.ends = false;
    const ask = await parting.next([...forksOf(replica.vector(), logs), ...(await strangeOwn())], logs);
    due.ends ||= ask !== null && ask !== "blocked";
    if (ask === "blocked") lookLater();
    noticeCaughtUp();
    return ask === "blocked" ? null : ask;
  }

  /** Our own logs of which the peer has an event that we have not, though ours are longer: an old copy of us went on (R2, R8). */
  async function strangeOwn(): Promise<LogId[]> {
    const out: LogId[] = [];
    for (const [log, { opening, claimed }] of logs)
      if (
        opening.device === replica.device &&
        claimed !== null &&
        claimed.seq <= (replica.vector().get(log)?.seq ?? -1)
      )
        if (!(await replica.hasEvent(log, claimed.seq, claimed.id))) out.push(log);
    return out;
  }

  function noteTold(entry: VectorEntry): void {
    const known = peerLog(logs, entry.log, entry.opening);
    if (known !== undefined) known.told = Math.max(known.told, entry.seq);
  }

  /** The live tail of our own logs. */
  async function ownNews(): Promise<SyncFrame | null> {
    if (!due.news) return null;
    const { push } = newsFor(replica.vector(), logs, ({ opening }) => opening.device === replica.device);
    for (const { log, from, to } of push) {
      if ((await prepareRun(log, from)) !== null) continue;
      // What can't be read now is not pushed: the peer is told of it with what the log gains next.
      const known = logs.get(log)!;
      known.told = Math.max(known.told, to);
    }
    return serving.ready.shift() ?? null;
  }

  function news(): SyncFrame | null {
    if (!due.news) return null;
    const { push, tell } = newsFor(replica.vector(), logs, ({ opening }) => opening.device === replica.device);
    // What our own logs have gained since is pushed first in the next round.
    due.news = push.length > 0;
    if (due.news) wake();
    for (const entry of tell) noteTold(entry);
    const forked = parting.untold();
    if (tell.length + forked.length === 0) return null;
    return { type: "vector", full: false, roster: replica.rosterHeads(), logs: tell, forked };
  }

  async function want(): Promise<SyncFrame | null> {
    const { wants: isWanting, bodies: isMissing } = due;
    if (!isWanting && !isMissing) return null;
    due.wants = due.bodies = false; // before anything is waited for: what comes meanwhile is due again
    const wanted = isWanting ? claimed() : [];
    const bodies = isMissing ? await replica.missingBodies(MAX_WANTED_BODIES) : [];
    bodiesAsked += bodies.length;
    return wanted.length + bodies.length === 0 ? null : { type: "want", logs: wanted, bodies };
  }

  /** What we want and nobody else is fetching. */
  function claimed(): Wanted[] {
    const wants = wantsOf(replica.vector(), logs, (log, known) => may(log, known) && !parting.isParted(log));
    const free = wants.filter(({ log }) => replica.claims.take(log, me));
    for (const { log, to } of free) logs.get(log)!.asked = to;
    blocked = free.length < wants.length;
    if (blocked) lookLater();
    return free;
  }

  /** Another session fetches what we want too: look again when its claim may have run out. */
  function lookLater(): void {
    cancelLook ??= time.after(CLAIM_MS, () => {
      cancelLook = null;
      lookAgain();
    });
  }

  async function serve(): Promise<SyncFrame | null> {
    if (due.loose || serving.runs.size > 0) {
      due.loose = false;
      prepareRecords();
      if (serving.ready.length > 0) return serving.ready.shift()!;
    }
    const [next] = serving.runs;
    if (next !== undefined) {
      const [log, { from, to }] = next;
      const reached = await prepareRun(log, from);
      if (reached === null || reached >= to) serving.runs.delete(log);
      else serving.runs.set(log, { from: reached + 1, to });
      // The next round of writing goes on here, after what is more urgent.
      return serving.ready.shift() ?? (await serve());
    }
    const part = serving.parts.shift();
    if (part !== undefined) {
      const found = await replica.runTo(part.log, part.tip, part.from);
      if (found !== undefined) prepareFrames(part.log, found.run);
      serving.bodies.push(...(found?.left ?? []));
      return serving.ready.shift() ?? (await serve());
    }
    if (serving.bodies.length === 0) return null;
    prepareBodies(await replica.bodies(serving.bodies.splice(0, BODIES_AT_ONCE)));
    return serving.ready.shift() ?? (await serve());
  }

  /** Roster and revocations first: those in all runs that wait to be served. */
  function prepareRecords(): void {
    const ranges = [...serving.runs].map(([log, { from, to }]) => ({ log, from, to }));
    const fresh = replica.recordsIn(ranges).filter(({ id }) => !recordsTold.has(id));
    for (const { id } of fresh) recordsTold.add(id);
    const parts = partsBySize(
      fresh.map(({ sealed }) => sealed),
      (sealed: Sealed) => sealed.bytes.length + 512 + 34 * sealed.seal.path.hashes.length,
      MAX_RECORDS_PER_FRAME,
    );
    serving.ready.push(...parts.map((records): SyncFrame => ({ type: "records", records })));
  }

  /** Cuts the run from `from` into frames. Returns the seq that it reaches, null if there is none. */
  async function prepareRun(log: LogId, from: number): Promise<number | null> {
    const found = await replica.runFrom(log, from);
    if (found === undefined) {
      unserved ||= replica.damage().has(log);
      return null;
    }
    const { head } = found.run;
    prepareFrames(log, found.run);
    serving.bodies.push(...found.left);
    const known = logs.get(log);
    if (known !== undefined) {
      known.served = Math.max(known.served, head.head.seq);
      known.has = Math.max(known.has, head.head.seq);
      known.told = Math.max(known.told, head.head.seq);
    }
    return head.head.seq;
  }

  function prepareFrames(log: LogId, { events, head }: EventRun): void {
    let at = 0;
    do {
      const part = events.slice(at, at + partOf(events.slice(at)));
      at += part.length;
      const isLast = at >= events.length;
      const { seq } = part[0]!.header;
      serving.ready.push({ type: "run", log, from: seq, events: part, head: isLast ? head : null });
    } while (at < events.length);
  }

  function prepareBodies(bodies: LooseBody[]): void {
    const parts = partsBySize(bodies, ({ body }) => body.length, MAX_WANTED_BODIES);
    serving.ready.push(...parts.map((some): SyncFrame => ({ type: "bodies", bodies: some })));
  }

  function forget(): void {
    cancelLook?.();
    replica.claims.release(me);
  }

  return { logs, read, write, end, ended: () => over, noticeChange, noticeFree, forget };
}

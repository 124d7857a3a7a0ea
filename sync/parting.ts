/**
 * What one session asks for besides what the vectors say: other histories of forked logs, and what is damaged here (P18).
 *
 * How it finds where the peer's history of a log parts from ours, and fetches what it has of it (R2). A log has one
 * history until it is seen that it has two; then each end that the peer names and we lack is asked for, from a place that
 * lies lower each time until the answer meets what we have, and upward from there to the end.
 *
 *   ours     0 1 2 3 4 5 6 7 8          ask from 7: "lower" · from 3: meets 2 ─ parts at 4 ─ stored ─ on from 6 … to the end
 *   theirs   0 1 2 3 4' 5' 6' 7' 8'
 */
import { KinError } from "../protocols/errors.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { MAX_BRANCHES, type EventRun, type ForkedLog, type SyncFrame } from "../protocols/sync.ts";
import { forkPoint } from "./fork.ts";
import type { PeerLog, PeerLogs } from "./reconcile.ts";
import type { Received, Replica } from "./replica.ts";

/** How far below our own end the first asking begins; four times as far each time. */
const FIRST_STEP = 16;
const STEP_GROWTH = 4;

/** Logs with histories that one peer may name: forks are rare, and each log costs some kilobytes. */
const MAX_NAMED_LOGS = 1024;

interface Asking {
  tip: EventId;
  tipSeq: number;
  from: number;
  step: number;
}

export interface Parting {
  /** Takes what the peer says of forked logs. Returns how many ends were new. */
  take(forked: ForkedLog[]): number;
  /** What we know of forked logs and have not told on this stream. */
  untold(): ForkedLog[];
  /** The next thing to ask, null if there is nothing, "blocked" if another session is at it. */
  next(conflicts: LogId[], logs: PeerLogs): Promise<(SyncFrame & { type: "part" }) | null | "blocked">;
  isAsked(log: LogId, from: number): boolean;
  /** The log has another history at the peer: it is fetched by parts, not by wants. */
  isParted(log: LogId): boolean;
  peerLogOf(log: LogId): PeerLog | undefined;
  /** An answer, or a run that showed that the log has two histories. */
  got(run: EventRun, received: Received, known: PeerLog): Promise<void>;
  /** True if we have every end that the peer has named, as far as can be. */
  isDone(): boolean;
}

export function createParting(replica: Replica, me: object): Parting {
  /** What the peer named. */
  const named = new Map<LogId, { known: PeerLog; ends: Map<EventId, number> }>();
  const told = new Set<EventId>();
  const asking = new Map<LogId, Asking>();
  /** What was asked, until its answer comes: it may have become needless meanwhile. */
  const sent = new Map<LogId, { tip: EventId; from: number }>();
  /** Up to where a damaged log has been asked for on this stream. */
  const mended = new Map<LogId, number>();
  const unresolved = new Map<LogId, Set<EventId>>();
  const givenUp = new Set<EventId>();

  function take(forked: ForkedLog[]): number {
    let news = 0;
    for (const { log, opening, ends } of forked)
      for (const { seq, id } of ends) {
        const known: PeerLog = { opening, claimed: null, has: -1, told: -1, asked: -1, served: -1 };
        if (name(log, known, seq, id)) news++;
      }
    return news;
  }

  function name(log: LogId, known: PeerLog, seq: number, id: EventId): boolean {
    const found = named.get(log) ?? { known, ends: new Map<EventId, number>() };
    if (found.ends.has(id) || found.ends.size >= MAX_BRANCHES) return false;
    if (!named.has(log) && named.size >= MAX_NAMED_LOGS) return false;
    named.set(log, found);
    found.ends.set(id, seq);
    return true;
  }

  function untold(): ForkedLog[] {
    const news: ForkedLog[] = [];
    for (const { log, opening, ends } of replica.forkedLogs()) {
      const fresh = ends.filter(({ id }) => !told.has(id));
      for (const { id } of fresh) told.add(id);
      if (fresh.length > 0) news.push({ log, opening, ends: fresh });
    }
    return news;
  }

  async function next(conflicts: LogId[], logs: PeerLogs): Promise<(SyncFrame & { type: "part" }) | null | "blocked"> {
    const forked = new Set(replica.forkedLogs().map(({ log }) => log));
    for (const [log, known] of logs)
      if (known.claimed !== null && (forked.has(log) || conflicts.includes(log)))
        name(log, known, known.claimed.seq, known.claimed.id);
    let isBlocked = false;
    const damaged = damagedPart(logs);
    if (damaged !== null) return damaged;
    for (const [log, { ends }] of named) {
      await resolve(log, ends);
      const ask = asking.get(log) ?? begin(log, ends);
      if (ask === undefined || sent.has(log)) continue;
      if (!replica.claims.take(log, me)) {
        isBlocked = true;
        continue;
      }
      sent.set(log, { tip: ask.tip, from: ask.from });
      return { type: "part", log, tip: ask.tip, from: ask.from };
    }
    return isBlocked ? "blocked" : null;
  }

  /** The first damaged place of each log is asked for once on a stream, if the peer has it; a run mends what follows too. */
  function damagedPart(logs: PeerLogs): (SyncFrame & { type: "part" }) | null {
    for (const [log, { events, heads }] of replica.damage()) {
      const peer = logs.get(log);
      const from = [...events, ...heads].find((seq) => seq > (mended.get(log) ?? -1));
      if (from === undefined || peer?.claimed == null || peer.has < from || sent.has(log)) continue;
      mended.set(log, from);
      sent.set(log, { tip: peer.claimed.id, from });
      return { type: "part", log, tip: peer.claimed.id, from };
    }
    return null;
  }

  /** Which of the named ends we still lack. */
  async function resolve(log: LogId, ends: Map<EventId, number>): Promise<void> {
    const lacking = new Set<EventId>();
    for (const [id, seq] of ends) {
      if (await replica.hasEvent(log, seq, id)) ends.delete(id);
      else if (!givenUp.has(id)) lacking.add(id);
    }
    if (lacking.size === 0) unresolved.delete(log);
    else unresolved.set(log, lacking);
    const ask = asking.get(log);
    if (ask === undefined || lacking.has(ask.tip)) return;
    asking.delete(log);
    replica.claims.done(log, me);
  }

  function begin(log: LogId, ends: Map<EventId, number>): Asking | undefined {
    const [tip] = unresolved.get(log) ?? [];
    if (tip === undefined) return undefined;
    const mine = replica.forkedLogs().find((one) => one.log === log);
    const proof = mine === undefined ? undefined : replica.forks().find((one) => one.log === log);
    const tipSeq = ends.get(tip)!;
    const last = Math.min(replica.vector().get(log)?.seq ?? -1, tipSeq);
    const from = proof === undefined ? last - FIRST_STEP + 1 : Math.min(forkPoint(proof), last) + 1;
    const ask = { tip, tipSeq, from: Math.max(0, Math.min(from, tipSeq)), step: FIRST_STEP };
    asking.set(log, ask);
    return ask;
  }

  async function got(run: EventRun, { stored, lower }: Received, known: PeerLog): Promise<void> {
    const { log, from } = run;
    if (replica.damage().has(log)) await replica.mend(run);
    const end = run.head.head;
    const ask = asking.get(log);
    const was = sent.get(log);
    sent.delete(log);
    if (was === undefined && ask === undefined) {
      const claimed = known.claimed ?? end;
      name(log, known, claimed.seq, claimed.id);
      return;
    }
    if (ask === undefined || was === undefined || ask.tip !== was.tip || ask.from !== from) return;
    if (lower === true) {
      if (ask.from === 0 && from === 0)
        throw new KinError("BAD_REQUEST", `a history of log ${log} that never meets another of it`);
      ask.from = Math.max(0, ask.from - ask.step);
      ask.step *= STEP_GROWTH;
    } else {
      if (end.seq >= ask.tipSeq || (stored === 0 && end.seq < ask.from)) givenUp.add(ask.tip);
      ask.from = end.seq + 1;
    }
  }

  return {
    take,
    untold,
    next,
    isAsked: (log, from) => sent.get(log)?.from === from,
    isParted: (log) => unresolved.has(log),
    peerLogOf: (log) => named.get(log)?.known,
    got,
    isDone: () => unresolved.size === 0,
  };
}

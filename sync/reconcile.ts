/**
 * What two vectors say about each other, and what we remember of one peer while its stream is open. Pure: no I/O, no clock.
 * A log has one writer, so its position `(seq, event id)` says all: a higher seq is ahead, an equal seq with another id is
 * a fork (R2).
 */
import type { LogOpening } from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { MAX_VECTOR_LOGS, type VectorEntry, type Wanted } from "../protocols/sync.ts";

export interface Position {
  seq: number;
  id: EventId;
}

export type Vector = ReadonlyMap<LogId, VectorEntry>;

export type Relation = "equal" | "behind" | "ahead" | "fork";

/** How we stand to the peer in one log. */
export function compareLog(mine: Position | undefined, theirs: Position | undefined): Relation {
  const mySeq = mine?.seq ?? -1;
  const theirSeq = theirs?.seq ?? -1;
  if (mySeq !== theirSeq) return mySeq < theirSeq ? "behind" : "ahead";
  return mine?.id === theirs?.id ? "equal" : "fork";
}

/** What of one log the peer has, and what has passed between us on this stream. Seqs are inclusive; −1 is nothing. */
export interface PeerLog {
  opening: LogOpening;
  /** What it last said that it has; null if we only know of it from our side. */
  claimed: Position | null;
  /** It has at least this much: claimed, sent by it, or sent by us. */
  has: number;
  /** What we last told it that we have. */
  told: number;
  /** We have asked it for all up to here. */
  asked: number;
  /** Up to here this stream has carried the log from us to it. */
  served: number;
}

export type PeerLogs = Map<LogId, PeerLog>;

/** The peer's log, made if there is room. Undefined: it names more logs than a mesh may have. */
export function peerLog(logs: PeerLogs, log: LogId, opening: LogOpening): PeerLog | undefined {
  const found = logs.get(log);
  if (found !== undefined) return found;
  if (logs.size >= MAX_VECTOR_LOGS) return undefined;
  const made: PeerLog = { opening, claimed: null, has: -1, told: -1, asked: -1, served: -1 };
  logs.set(log, made);
  return made;
}

/** Takes in one entry of the peer's vector. False: it said nothing new (or there are too many logs). */
export function takeClaim(logs: PeerLogs, entry: VectorEntry): boolean {
  const known = peerLog(logs, entry.log, entry.opening);
  if (known === undefined) return false;
  if (known.claimed !== null && entry.seq <= known.claimed.seq && entry.id === known.claimed.id) return false;
  if (known.claimed !== null && entry.seq < known.claimed.seq) return false;
  known.claimed = { seq: entry.seq, id: entry.id };
  known.has = Math.max(known.has, entry.seq);
  return true;
}

/** What we lack and the peer claims, in the order of the logs' ids. `may` says which logs we can take now. */
export function wantsOf(mine: Vector, logs: PeerLogs, may: (log: LogId, peer: PeerLog) => boolean): Wanted[] {
  const out: Wanted[] = [];
  for (const [log, peer] of logs) {
    const have = mine.get(log)?.seq ?? -1;
    const from = Math.max(have, peer.asked) + 1;
    if (peer.claimed === null || peer.claimed.seq < from || !may(log, peer)) continue;
    out.push({ log, from: have + 1, to: peer.claimed.seq });
  }
  return out.sort((a, b) => (a.log < b.log ? -1 : 1));
}

/** Logs in which both have equally many events and another last one. */
export function forksOf(mine: Vector, logs: PeerLogs): LogId[] {
  return [...logs]
    .filter(([log, { claimed }]) => claimed !== null && compareLog(mine.get(log), claimed) === "fork")
    .map(([log]) => log)
    .sort();
}

/**
 * What the peer is told after its and our first vector: `push` what it has followed of our own logs so far, `tell` the rest.
 * Nothing is told twice, and nothing that the peer has.
 */
export function newsFor(
  mine: Vector,
  logs: PeerLogs,
  isOurs: (entry: VectorEntry) => boolean,
): { push: Wanted[]; tell: VectorEntry[] } {
  const push: Wanted[] = [];
  const tell: VectorEntry[] = [];
  for (const entry of mine.values()) {
    const peer = logs.get(entry.log);
    const has = peer?.has ?? -1;
    const told = peer?.told ?? -1;
    if (entry.seq <= has || entry.seq <= told) continue;
    if (peer !== undefined && isOurs(entry) && told >= 0 && has === told)
      push.push({ log: entry.log, from: has + 1, to: entry.seq });
    else tell.push(entry);
  }
  return { push, tell };
}

/** True if the peer has named nothing that we lack. */
export function isCaughtUp(mine: Vector, logs: PeerLogs, may: (log: LogId, peer: PeerLog) => boolean): boolean {
  for (const [log, peer] of logs)
    if (peer.claimed !== null && peer.claimed.seq > (mine.get(log)?.seq ?? -1) && may(log, peer)) return false;
  return true;
}

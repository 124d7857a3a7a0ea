/**
 * The state that a snapshot is the hash of: the rows of each view, folded from all events up to a vector (R16).
 *
 *   state   = section*, ascending by the view's name
 *   section = item([name, version, count of rows]) ‖ item(row)*, rows strictly ascending by bytes;   item(x) = u32 length ‖ x
 *
 * It is a pure function of the vector, whoever folds it: the vector holds its own causes, and reaches past no removal's cut and
 * no fork. That makes a lie visible: who folds the same events gets the same bytes.
 *
 *   log a  ●──●──●──●──●──┊──●            ┊ the vector: what is behind it is in the state
 *   log b  ●──●──●──┊──●──●                 a base (an older snapshot) may stand for the first part of it
 */
import { compareBytes, concat, decode, encode } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import type { LogOpening, StoredEvent } from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { isWithinCut } from "../protocols/membership.ts";
import { MAX_SNAPSHOT_BYTES, type SnapshotVector } from "../protocols/snapshot.ts";
import { forkedAt, forkPoint } from "./fork.ts";
import type { Replica } from "./replica.ts";
import { MAX_ROW_BYTES, type SnapshotFold, type SnapshotPart, type SnapshotView } from "./snapshot-view.ts";

/** Events that one step takes from the store: at most 16 MiB of bodies. */
const PAGE_EVENTS = 64;
const LENGTH_BYTES = 4;

// ── bytes ──

/** One view's part of a state. */
export interface Section {
  name: string;
  version: number;
  rows: Uint8Array[];
}

/** @throws KinError TOO_LARGE, INTERNAL if a view gives a row twice */
export function encodeState(sections: readonly Section[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (const { name, version, rows } of sections.toSorted((a, b) => (a.name < b.name ? -1 : 1)))
    for (const item of [encode([name, version, rows.length]), ...sortedRows(name, rows)]) {
      bytes += LENGTH_BYTES + item.length;
      if (bytes > MAX_SNAPSHOT_BYTES)
        throw new KinError("TOO_LARGE", `a snapshot's state is over ${MAX_SNAPSHOT_BYTES} bytes`);
      parts.push(lengthOf(item), item);
    }
  return concat(...parts);
}

function sortedRows(name: string, rows: readonly Uint8Array[]): Uint8Array[] {
  const sorted = rows.toSorted(compareBytes);
  const wrong = sorted.find(
    (row, i) => row.length > MAX_ROW_BYTES || (i > 0 && compareBytes(sorted[i - 1]!, row) === 0),
  );
  if (wrong !== undefined)
    throw new KinError("INTERNAL", `view ${name} gives a row of ${wrong.length} bytes that is too long or there twice`);
  return sorted;
}

/** @throws KinError BAD_REQUEST if the bytes are not the one form of a state */
export function parseState(state: Uint8Array): Section[] {
  const sections: Section[] = [];
  let at = 0;
  while (at < state.length) {
    const head = decode(itemAt(state, at));
    at += LENGTH_BYTES + itemAt(state, at).length;
    const [name, version, count] = Array.isArray(head) && head.length === 3 ? head : [];
    if (typeof name !== "string" || typeof version !== "number" || typeof count !== "number" || count > state.length)
      throw new KinError("BAD_REQUEST", "a section of a state begins with [name, version, rows]");
    if (sections.length > 0 && sections.at(-1)!.name >= name)
      throw new KinError("BAD_REQUEST", "the sections of a state are ascending by name");
    const rows: Uint8Array[] = [];
    for (let n = 0; n < count; n++) {
      const row = itemAt(state, at);
      at += LENGTH_BYTES + row.length;
      if (n > 0 && compareBytes(rows[n - 1]!, row) >= 0)
        throw new KinError("BAD_REQUEST", `row ${n} of view ${name} is not after the one before it`);
      rows.push(row);
    }
    sections.push({ name, version, rows });
  }
  return sections;
}

function itemAt(state: Uint8Array, at: number): Uint8Array {
  const start = at + LENGTH_BYTES;
  if (start > state.length) throw new KinError("BAD_REQUEST", "a state ends inside an item");
  const length = new DataView(state.buffer, state.byteOffset + at).getUint32(0);
  if (length > state.length - start) throw new KinError("BAD_REQUEST", "a state ends inside an item");
  return state.subarray(start, start + length);
}

function lengthOf(item: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(LENGTH_BYTES);
  new DataView(bytes.buffer).setUint32(0, item.length);
  return bytes;
}

// ── which events ──

/** What is known of an older snapshot that stands for the first events. */
export interface BaseRows {
  at: SnapshotVector;
  /** Rows of a view of this version, if the base has it. */
  rows(view: SnapshotPart): Uint8Array[] | undefined;
}

type Source = Pick<Replica, "read" | "event" | "store" | "vector" | "membership" | "forks" | "hasEvent">;

/** Why a vector would count what does not count (C24), in words; null: it is sound. `waits`: more of the log may show that it is. */
export async function whyUnsound(replica: Source, at: SnapshotVector): Promise<{ why: string; waits: boolean } | null> {
  const membership = replica.membership();
  for (const [log, { seq, id }] of at) {
    const opening = openingOf(replica, log);
    if (opening === undefined) continue; // not here yet: not for us to judge
    const { device } = opening;
    const forked = forkedAt({ log, opening }, replica.forks(), membership);
    if (forked !== undefined && seq >= forked && !(await stands(replica, id)))
      return {
        waits: true,
        why: `it hides a fork: what log ${log} says from event ${forked} on does not count by itself`,
      };
    if (isWithinCut(membership, device, log, seq, id)) continue;
    const former = membership.formerDevices.get(device);
    if (former === undefined) return { waits: false, why: `log ${log} is of device ${device}, which is no member's` };
    const end = former.cuts.get(log)?.seq;
    const who = membership.removed.get(former.person)?.name ?? `device ${device.slice(0, 8)}`;
    const counts = end === undefined ? "of which nothing counts" : `which ends at ${end}`;
    return { waits: false, why: `it hides the removal of ${who}: it reaches event ${seq} of log ${log}, ${counts}` };
  }
  return null;
}

function openingOf(replica: Source, log: LogId): LogOpening | undefined {
  return replica.vector().get(log)?.opening ?? replica.forks().find((proof) => proof.log === log)?.opening;
}

/** Beyond a fork counts what others had built on (R2). */
async function stands(replica: Source, id: EventId): Promise<boolean> {
  const event = await replica.event(id);
  return event === undefined || event.standing.state === "good";
}

/** True if `a` reaches at least as far as `b` in each log. */
export function reaches(a: SnapshotVector, b: SnapshotVector): boolean {
  return [...b].every(([log, { seq }]) => (a.get(log)?.seq ?? -1) >= seq);
}

/** True if all headers up to there are here, on whatever history. */
export async function isHere(replica: Source, at: SnapshotVector): Promise<boolean> {
  for (const [log, { seq, id }] of at)
    if ((replica.vector().get(log)?.seq ?? -1) < seq && !(await replica.hasEvent(log, seq, id))) return false;
  return true;
}

/** The furthest vector whose events count, are all here with what `views` need, and hold their own causes. */
export async function furthestVector(
  replica: Source,
  views: readonly SnapshotView[],
  base: BaseRows | null,
): Promise<SnapshotVector> {
  const membership = replica.membership();
  const kinds = kindsOf(views);
  const ids = new Map<LogId, { from: number; ids: EventId[] }>();
  const places = new Map<EventId, { log: LogId; seq: number }>();
  const causes: { log: LogId; seq: number; deps: EventId[] }[] = [];
  for (const { log, opening, seq } of replica.vector().values()) {
    const from = (base?.at.get(log)?.seq ?? -1) + 1;
    const here: EventId[] = [];
    ids.set(log, { from, ids: here });
    const forked = forkedAt({ log, opening }, replica.forks(), membership);
    for await (const { id, header, body } of eventsOf(replica, log, from, seq)) {
      const isMissing = body === null && kinds.has(header.kind) && header.audience === "mesh";
      if (forked !== undefined && header.seq >= forked && !(await stands(replica, id))) break;
      if (isMissing || !isWithinCut(membership, opening.device, log, header.seq, id)) break;
      places.set(id, { log, seq: header.seq });
      here.push(id);
      if (header.deps.length > 0) causes.push({ log, seq: header.seq, deps: header.deps });
    }
  }
  const reach = new Map([...ids].map(([log, { from, ids: here }]) => [log, from + here.length - 1]));
  const isIn = async (dep: EventId): Promise<boolean> => {
    const place = places.get(dep) ?? (await placeOf(replica, dep));
    if (place === undefined) return false;
    return place.seq <= (reach.get(place.log) ?? base?.at.get(place.log)?.seq ?? -1) || isBeyondFork(replica, place);
  };
  for (let lowered = true; lowered;) {
    lowered = false;
    for (const { log, seq, deps } of causes) {
      if (seq > reach.get(log)!) continue;
      for (const dep of deps)
        if (!(await isIn(dep))) {
          reach.set(log, Math.min(reach.get(log)!, seq - 1));
          lowered = true;
        }
    }
  }
  const at = new Map(base?.at);
  for (const [log, { from, ids: here }] of ids) {
    const seq = reach.get(log)!;
    if (seq >= from) at.set(log, { seq, id: here[seq - from]! });
  }
  return at;
}

async function placeOf(replica: Source, id: EventId): Promise<{ log: LogId; seq: number } | undefined> {
  return replica.event(id);
}

/** A log that was written twice is in a vector up to where its histories part; what was built on the rest comes after it all the same. */
function isBeyondFork(replica: Source, { log, seq }: { log: LogId; seq: number }): boolean {
  const proof = replica.forks().find((one) => one.log === log);
  return proof !== undefined && seq > forkPoint(proof);
}

async function* eventsOf(replica: Source, log: LogId, from: number, to: number): AsyncGenerator<StoredEvent> {
  for (let at = from; at <= to; at += PAGE_EVENTS)
    yield* await replica.store.range(log, at, Math.min(at + PAGE_EVENTS, to + 1));
}

export function kindsOf(views: readonly SnapshotPart[]): ReadonlySet<string> {
  return new Set(views.flatMap(({ kinds }) => [...kinds]));
}

// ── folding ──

/** It can't be folded: now ("behind", "no-body", "no-key", "held", "undecided"), here ("older") or at all. */
export interface NotFolded {
  ok: false;
  why: "behind" | "no-body" | "no-key" | "held" | "undecided" | "older" | "other-history" | "open";
  message: string;
}

export type Folded = { ok: true; state: Uint8Array } | NotFolded;

/** Folds all events up to `at`, from `base` on. */
export async function foldState(
  replica: Source,
  views: readonly SnapshotView[],
  base: BaseRows | null,
  at: SnapshotVector,
): Promise<Folded> {
  if (base !== null && !reaches(at, base.at))
    return not("older", "it is older than the snapshot that this node begins with");
  const folds = views.map((view) => openFold(view, base));
  const byKind = new Map(folds.flatMap((one) => [...one.view.kinds].map((kind) => [kind, one] as const)));
  const seen = new Set<EventId>();
  const causes = new Set<EventId>();
  const isWhole = folds.every(({ based }) => based);
  for (const [log, { seq, id }] of at) {
    const baseSeq = base?.at.get(log)?.seq ?? -1;
    const mine = replica.vector().get(log);
    // Of a log that was written twice the base may hold more than the vectors name.
    if (isWhole && base?.at.get(log)?.id === id) continue;
    if (mine === undefined || mine.seq < seq)
      return not(
        "behind",
        `event ${seq} of log ${log} is not here yet: ${mine === undefined ? "nothing" : mine.seq} is`,
      );
    // The last one is always looked at: it must be the one that the vector names.
    for await (const event of eventsOf(replica, log, isWhole ? Math.min(baseSeq + 1, seq) : 0, seq)) {
      const { header } = event;
      if (header.seq === seq && event.id !== id)
        return not("other-history", `it names another event ${seq} of log ${log} than the one that is here`);
      if (header.seq <= baseSeq && byKind.get(header.kind)?.based !== false) continue;
      if (header.seq > baseSeq) {
        seen.add(event.id);
        for (const dep of header.deps) causes.add(dep);
      }
      const fold = byKind.get(header.kind);
      if (fold === undefined || header.audience !== "mesh") continue;
      const refusal = await foldOne(replica, fold.fold, event);
      if (refusal !== null) return refusal;
    }
  }
  for (const cause of causes) {
    if (seen.has(cause)) continue;
    const place = await placeOf(replica, cause);
    if (place === undefined) return not("behind", `event ${cause}, which others come after, is not here yet`);
    if (place.seq > (at.get(place.log)?.seq ?? -1) && !isBeyondFork(replica, place))
      return not("open", `it leaves out event ${place.seq} of log ${place.log}, which what it holds comes after`);
  }
  for (const one of folds) {
    const refusal = (await foldKept(replica, one, base)) ?? (await settle(one));
    if (refusal !== null) return refusal;
  }
  return { ok: true, state: encodeState(folds.map(({ view, fold }) => ({ ...view, rows: [...fold.rows()] }))) };
}

interface OpenFold {
  view: SnapshotView;
  fold: SnapshotFold;
  /** It began with rows of the base. */
  based: boolean;
}

function openFold(view: SnapshotView, base: BaseRows | null): OpenFold {
  const fold = view.open();
  const rows = base?.rows(view);
  if (rows !== undefined) fold.load(rows);
  return { view, fold, based: rows !== undefined };
}

/** What waited when the base was made is in no row of it: a later event may let it count. */
async function foldKept(
  replica: Source,
  { view, fold, based }: OpenFold,
  base: BaseRows | null,
): Promise<NotFolded | null> {
  if (!based || view.kept === undefined) return null;
  for (const { log, seq, waits } of view.kept(base?.rows(view) ?? [])) {
    if (!waits) continue;
    const [event] = await replica.store.range(log, seq, seq + 1);
    if (event === undefined) return not("no-body", `event ${seq} of log ${log} is not here`);
    const refusal = await foldOne(replica, fold, event);
    if (refusal !== null) return refusal;
  }
  return null;
}

async function settle({ fold }: OpenFold): Promise<NotFolded | null> {
  const why = (await fold.settle?.()) ?? null;
  return why === null ? null : not("undecided", why);
}

/** Null: it was folded, or has no effect on anybody. */
async function foldOne(replica: Source, fold: SnapshotFold, event: StoredEvent): Promise<NotFolded | null> {
  const readable = await replica.read(event);
  const { standing, unreadable } = readable;
  const where = `event ${event.header.seq} of log ${event.header.log}`;
  if (standing.state === "held") return not("held", `${where} is stamped in the future`);
  if (standing.state === "quarantined") return null;
  switch (unreadable) {
    case null:
      fold.fold(readable);
      return null;
    case "no-body":
    case "pruned":
      return not("no-body", `the body of ${where} is not here`);
    case "no-key":
      return not("no-key", `${where} is sealed under an epoch whose key is not here`);
    case "not-for-us":
    case "damaged":
      return null; // to nobody who holds the key
  }
}

function not(why: NotFolded["why"], message: string): NotFolded {
  return { ok: false, why, message };
}

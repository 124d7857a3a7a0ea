/**
 * Logs that were written twice (R2): found where a run and what we have part ways, proved exactly, kept on all branches, and
 * judged: up to the parting all counts, beyond it what others had built on.
 *
 *   run ─ verified ─┬─ does not meet what we have ──▶ "lower": ask for what comes before
 *                   ├─ continues the first history ─▶ stored there
 *                   └─ parts from it ──────────────▶ proof of the lowest parting · branch rows · told again what counts
 *
 * A replaced proof is as long as one run on each side; proofs are checked whoever brings them.
 */
import { KinError } from "../protocols/errors.ts";
import { verifyRun, type LogOpening, type StoredEvent } from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import type { EventRun, ForkedLog, ForkProof } from "../protocols/sync.ts";
import type { Branches } from "./branches.ts";
import { checkForkProof, forkPoint, makeForkProof } from "./fork.ts";
import type { Ground, KnownLog } from "./ground.ts";
import { forkRows, parseForkRows } from "./rows.ts";
import type { StoreBatch } from "./store.ts";
import type { Witness } from "./witness.ts";

type Values = NonNullable<StoreBatch["values"]>;

export interface ForksDeps {
  ground: Ground;
  branches: Branches;
  witness: Witness;
  membership: () => Membership;
  /** Roster records count whatever history carries them. */
  learnRecords: (events: StoredEvent[]) => Promise<void>;
  missingRows: (events: StoredEvent[]) => Values;
  noteMissing: (events: StoredEvent[]) => void;
  /** The log cannot be gone on with; matters if it is our own. */
  endIncarnation: (log: LogId) => void;
  /** Looks for what says again what lost its effect. */
  noteReissues: (events: StoredEvent[]) => Promise<void>;
  isReissue: (event: StoredEvent) => boolean;
  /** Something happened to our own logs. */
  goOn: () => void;
  /** Tells events of branches that count. */
  deliverBranch: (events: StoredEvent[]) => Promise<void>;
}

export interface Forks {
  load: () => Promise<void>;
  /**
   * A run that is not what we have at its place. "lower": it begins after the parting. A number: so many of its events were new
   * on a branch. "first": it continues the first history after all.
   */
  takeParted: (run: EventRun, opening: LogOpening, known: KnownLog) => Promise<Parted>;
  /** True: it was new and right, and says more than what we had. @throws KinError BAD_REQUEST, BAD_SIGNATURE */
  receive: (proof: ForkProof) => Promise<boolean>;
  /** Logs that were written twice, and where their histories end here. */
  ended: () => ForkedLog[];
  /** The vector names a log that was written twice as far as its histories are one. */
  place: (log: LogId) => Promise<void>;
  /** Whether we have this event, on whatever history of the log. */
  has: (log: LogId, seq: number, id: EventId) => Promise<boolean>;
}

export type Parted =
  | { parted: "lower" }
  | { parted: "first" }
  | { parted: "branch"; stored: number; fork: ForkProof | null };

export function createForks(deps: ForksDeps): Forks {
  const { ground, branches, witness } = deps;
  const { mesh, store, logs, forks, emit } = ground;

  async function load(): Promise<void> {
    for (const proof of parseForkRows(await store.values("fork/"), mesh)) forks.set(proof.log, proof);
    await branches.load();
    for (const log of forks.keys()) await place(log);
    await witness.lookAgain();
  }

  async function place(log: LogId): Promise<void> {
    const [known, proof] = [logs.get(log), forks.get(log)];
    if (known?.tip == null || proof === undefined) return;
    const point = forkPoint(proof);
    const [last] = await store.range(log, point, point + 1);
    if (known.tip.seq >= point) known.shared = last === undefined ? null : { seq: point, id: last.id };
    ground.noteInVector(known);
  }

  async function takeParted(run: EventRun, opening: LogOpening, known: KnownLog): Promise<Parted> {
    const { log, from, events, head } = run;
    const { prev } = events[0]!.header;
    verifyRun({ log, opening }, from === 0 ? null : { seq: from - 1, id: prev!, hlc: new Uint8Array(8) }, events, head);
    if (prev !== null && !(await has(log, from - 1, prev))) return { parted: "lower" };
    const mine = new Map(
      (await store.range(log, from, from + events.length)).map(({ id, header }) => [header.seq, id]),
    );
    const at = events.findIndex(({ id, header }) => mine.get(header.seq) !== id);
    const isOnFirst = at > 0 || prev === null || !branches.has(prev);
    if (at < 0 || (isOnFirst && from + at > known.tip!.seq)) return { parted: "first" };
    const proof = isOnFirst ? await proofAt(from + at - 1, { head, events: events.slice(at) }, opening) : null;
    const lower = proof !== null && isLower(proof) ? proof : null;
    const fresh = branches.fits(events.slice(at)) ? events.slice(at).filter(({ id }) => !branches.has(id)) : [];
    if (fresh.length > 0) await store.append({ values: [...branches.rowsOf(fresh, head), ...deps.missingRows(fresh)] });
    branches.add(fresh, head);
    deps.noteMissing(fresh);
    if (lower !== null) await keep(lower);
    await deps.learnRecords(fresh);
    await tellWhatCounts(fresh, log);
    return { parted: "branch", stored: fresh.length, fork: lower };
  }

  async function proofAt(point: number, other: { head: EventRun["head"]; events: StoredEvent[] }, opening: LogOpening) {
    const { log } = other.head.head;
    const head = await store.headFrom(log, point + 1);
    if (head === undefined) throw new KinError("CORRUPT", `log ${log} has events without a signed head`);
    const events = await store.range(log, point + 1, head.head.seq + 1);
    return makeForkProof({ log, opening }, { head, events }, other);
  }

  function isLower(proof: ForkProof): boolean {
    const held = forks.get(proof.log);
    if (held === undefined) return true;
    const [new_, old] = [forkPoint(proof), forkPoint(held)];
    return new_ < old || (new_ === old && held.parting === undefined && proof.parting !== undefined);
  }

  async function keep(proof: ForkProof): Promise<void> {
    checkForkProof(proof);
    const stale = (await store.values(`fork/${proof.log}/`)).map(({ key }) => ({ key, value: null }));
    await store.append({ values: [...stale, ...forkRows(proof)] });
    if (!isLower(proof)) return;
    forks.set(proof.log, proof);
    await ground.inOrder(async () => {
      await place(proof.log);
      await witness.lookAgain();
    });
    const { device } = proof.opening;
    const touched = [...logs.values()].filter(({ opening }) => opening.device === device);
    emit({ type: "forked", proof });
    if (touched.length > 0) emit({ type: "rejudged", logs: touched.map(({ log }) => log) });
    deps.endIncarnation(proof.log);
    if (device === ground.device) deps.goOn();
  }

  async function receive(proof: ForkProof): Promise<boolean> {
    const { device } = proof.opening;
    const { devices, formerDevices } = deps.membership();
    if (!isLower(proof) || !(devices.has(device) || formerDevices.has(device))) return false;
    if (proof.parting === undefined)
      throw new KinError("BAD_REQUEST", `a fork proof of log ${proof.log} does not say where its histories part`);
    await keep(proof);
    return true;
  }

  /** New branch events may be named by what counts, and may name what waits. */
  async function tellWhatCounts(fresh: StoredEvent[], log: LogId): Promise<void> {
    if (fresh.length === 0) return;
    await ground.inOrder(() => deps.noteReissues(fresh));
    const more = new Set(await ground.inOrder(() => witness.look(fresh)));
    await deps.deliverBranch(fresh);
    emit({ type: "grown", logs: [log] });
    if (fresh.some(({ id, header }) => witness.stands(log, header.seq, id))) more.add(log);
    // A marker ends what it repeats, wherever it stands.
    if (fresh.some(deps.isReissue)) emit({ type: "rejudged", logs: [...logs.keys()] });
    else if (more.size > 0) emit({ type: "rejudged", logs: [...more] });
    if (logs.get(log)?.opening.device === ground.device) deps.goOn();
  }

  function ended(): ForkedLog[] {
    return [...forks.values()].map(({ log, opening }) => {
      const tip = logs.get(log)?.tip ?? null;
      return { log, opening, ends: [...(tip === null ? [] : [{ seq: tip.seq, id: tip.id }]), ...branches.ends(log)] };
    });
  }

  async function has(log: LogId, seq: number, id: EventId): Promise<boolean> {
    if (branches.has(id)) return true;
    if ((logs.get(log)?.tip?.seq ?? -1) < seq) return false;
    const [mine] = await store.range(log, seq, seq + 1);
    return mine === undefined || mine.id === id; // a damaged row is not another history
  }

  return { load, takeParted, receive, ended, place, has };
}

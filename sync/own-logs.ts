/**
 * This device's two logs, the mesh chain and `here`, in their living incarnation (R2): what is written goes through them, and
 * when a peer knows more of our log than we do, or it was written twice, the next write begins a new one.
 *
 *   living ── a peer has more of our log · a fork · a store that does not know the incarnation ──▶ ended
 *   ended ── next write: renew, marked outside the database first ──▶ living
 */
import { equal } from "../protocols/bytes.ts";
import type { SigningKey } from "../protocols/crypto/keys.ts";
import { KinError } from "../protocols/errors.ts";
import type { StoredEvent, Tip } from "../protocols/events.ts";
import type { LogId } from "../protocols/ids.ts";
import { MAX_DEPS, MAX_OPEN_LOGS, SKEW_LIMIT_MS } from "../protocols/limits.ts";
import type { Membership } from "../protocols/membership.ts";
import { createQueue, type Ground, type KnownLog } from "./ground.ts";
import { openLog, type NewEvent, type OwnLog } from "./log.ts";
import type { Incarnation } from "./replica.ts";
import type { StoreBatch } from "./store.ts";

/** How long the first append after a start waits for a peer that says it has more of our log. */
const SUSPICION_MS = 2_000;
const INCARNATION_KEY = "incarnation";

export interface OwnLogsDeps {
  ground: Ground;
  membership: () => Membership;
  deviceKey: SigningKey;
  incarnation: Incarnation;
  /** Makes the next one and marks it durably outside the database. */
  renew: () => Promise<Incarnation>;
  /** How far the others' clocks are from ours, as far as enough of them say (R13). */
  skewMs: () => number | null;
}

export interface OwnLogs {
  incarnation: () => Incarnation;
  /** True: the next write opens a new log first. */
  hasEnded: () => boolean;
  /** Called for each log that cannot be gone on with; of others than the living one it means nothing. */
  end: (log: LogId) => void;
  /** A peer says that it has our log up to `seq`. */
  noticeMore: (log: LogId, seq: number) => void;
  /** Before each write. @throws KinError FORKED if too many logs have been begun */
  settle: () => Promise<void>;
  /** Appends to the mesh chain, after the newest events of others; says in which log. */
  appendToMesh: (
    events: NewEvent[],
    values: NonNullable<StoreBatch["values"]>,
  ) => Promise<{ log: OwnLog; done: StoredEvent[] }>;
  appendToHere: (
    events: NewEvent[],
    values: NonNullable<StoreBatch["values"]>,
  ) => Promise<{ log: OwnLog; done: StoredEvent[] }>;
  /** The mesh chain of the living incarnation, written or not. */
  living: () => LogId;
  close: () => Promise<void>;
}

export async function openOwnLogs(deps: OwnLogsDeps): Promise<OwnLogs> {
  const { ground, deviceKey } = deps;
  const { mesh, device, store, clock, time, random, logs, forks, undepended } = ground;
  const oneRenewal = createQueue();
  let { incarnation } = deps;
  let ended = await isForeign();
  let wrote = false;
  let suspicion: Promise<void> | null = null;
  let endSuspicion: () => void = () => undefined;
  let own = await open("mesh");
  let here = await open("here");

  /** A store that does not know the incarnation was restored or emptied: what it wrote may be out there. */
  async function isForeign(): Promise<boolean> {
    const row = await store.value(INCARNATION_KEY);
    if (!incarnation.fresh && (row === undefined || !equal(row, incarnation.id))) return true;
    await mark();
    return false;
  }

  async function mark(): Promise<void> {
    await store.append({ values: [{ key: INCARNATION_KEY, value: incarnation.id }] });
  }

  function open(chain: "mesh" | "here"): Promise<OwnLog> {
    return openLog({ store, mesh, key: deviceKey, incarnation: incarnation.id, chain, clock, random });
  }

  async function settle(): Promise<void> {
    if (!wrote && suspicion !== null) await suspicion;
    if (isAhead()) end(own.log);
    if (!ended) return;
    await oneRenewal(async () => {
      if (!ended) return;
      const isOpen = ({ log, opening }: KnownLog) =>
        opening.device === device && opening.chain === "mesh" && !forks.has(log);
      const mine = [...logs.values()].filter(isOpen);
      if (mine.length >= MAX_OPEN_LOGS)
        throw new KinError("FORKED", `this device has ${mine.length} open logs: at most ${MAX_OPEN_LOGS}`);
      await Promise.all([own.close(), here.close()]);
      if (isClockConfirmed()) clock.comeBack();
      incarnation = await deps.renew();
      await mark();
      own = await open("mesh");
      here = await open("here");
      ended = false;
    });
  }

  /** Our clock was ahead and has been put right: the log can't go on below its own stamps. */
  function isAhead(): boolean {
    const tip = own.tip();
    return tip !== null && clock.isHeld(tip.hlc) && isClockConfirmed();
  }

  /** Only the others can say that it is not our clock that is wrong now. */
  function isClockConfirmed(): boolean {
    const skewMs = deps.skewMs();
    return skewMs !== null && Math.abs(skewMs) <= SKEW_LIMIT_MS;
  }

  function end(log: LogId): void {
    if (ended || log !== own.log) return;
    ended = true;
    endSuspicion();
    ground.emit({ type: "incarnation-ended", log });
  }

  function noticeMore(log: LogId, seq: number): void {
    if (log !== own.log || seq <= (own.tip()?.seq ?? -1) || wrote || suspicion !== null) return;
    suspicion = new Promise((resolve) => {
      const cancel = time.after(SUSPICION_MS, resolve);
      endSuspicion = () => {
        cancel();
        resolve();
      };
    });
  }

  async function appendToMesh([first, ...others]: NewEvent[], values: NonNullable<StoreBatch["values"]>) {
    const log = own;
    const deps = takeDeps();
    try {
      wrote = true;
      const events = [{ ...first!, deps: deps.map(({ tip }) => tip) }, ...others];
      return { log, done: await log.append(events, values) };
    } catch (error) {
      for (const { log: other } of deps) undepended.add(other);
      throw error;
    }
  }

  /** The newest events of other logs that our next event comes after: never held ones (R13), nor those of removed devices. */
  function takeDeps(): { log: LogId; tip: Tip }[] {
    const out: { log: LogId; tip: Tip }[] = [];
    for (const log of undepended) {
      if (out.length >= MAX_DEPS) break;
      const known = logs.get(log)!;
      // Our clock was set back since: it is named once it is due again.
      if (known.due !== null && clock.isHeld(known.due.hlc)) continue;
      undepended.delete(log);
      if (log === own.log || known.due === null || forks.has(log) || !isMembers(known.opening.device)) continue;
      out.push({ log, tip: known.due });
    }
    return out;
  }

  function isMembers(author: typeof device): boolean {
    return deps.membership().devices.has(author);
  }

  return {
    incarnation: () => incarnation,
    hasEnded: () => ended,
    end,
    noticeMore,
    settle,
    appendToMesh,
    async appendToHere(events, values) {
      const log = here;
      return { log, done: await log.append(events, values) };
    },
    living: () => own.log,
    async close() {
      endSuspicion();
      await Promise.all([own.close(), here.close()]);
    },
  };
}

/**
 * How far a device's logs count once it has written one twice (R2): up to where the histories part, and beyond it what lies in
 * the causal past of another device's event that counts itself. Logs that it begins otherwise count when the roster allows them.
 *
 *   forked log   0 ─ 1 ─ 2 ─┬─ 3 ─ 4 ─ 5          free until 2
 *                           │      ╰──── named by another's event: 3 and 4 stay
 *                           └─ 3' ─ 4'            nobody built on it: quarantine
 *
 * The least set that these sentences describe, whatever the order in which events come: each event is looked at once, what it
 * names and is not here yet waits, and what is named by an event that does not count itself waits for that one.
 */
import type { StoredEvent } from "../protocols/events.ts";
import type { DeviceId, EventId, LogId } from "../protocols/ids.ts";
import { isLogAllowed, type Membership } from "../protocols/membership.ts";
import type { Branches } from "./branches.ts";
import { forkPoint } from "./fork.ts";
import type { Ground } from "./ground.ts";

/** Events that one step of a full look takes. */
const PAGE_EVENTS = 512;
/** Namings that wait for what they name; with more, all is looked at again when something of a forked device comes. */
const MAX_WAITING = 65_536;

export interface Witness {
  /** Looks at all there is; to be called at start and when forks or allowed logs change. */
  lookAgain: () => Promise<void>;
  /** Looks at events that are new: stored, or on a branch. Returns the logs in which more counts now. */
  look: (events: readonly StoredEvent[]) => Promise<LogId[]>;
  /** Whether an event counts as far as forks are concerned. */
  stands: (log: LogId, seq: number, id: EventId) => boolean;
  /** The last seq of a log that counts whoever has seen it; Infinity if its device has written nothing twice. */
  freeUntil: (log: LogId) => number;
}

/** An event of a device that has forked a log. */
interface Place {
  device: DeviceId;
  log: LogId;
  seq: number;
  id: EventId;
}

export function createWitness(
  ground: Pick<Ground, "store" | "logs" | "forks">,
  branches: Branches,
  membership: () => Membership,
): Witness {
  const { store, logs, forks } = ground;
  let forked = new Set<DeviceId>();
  /** How far the store's history of a log is witnessed. */
  const reach = new Map<LogId, number>();
  /** Witnessed events on branches. */
  const onBranch = new Set<EventId>();
  /** What is named by events that don't count by themselves: it counts when they do. */
  const conditional: { from: Place; to: EventId }[] = [];
  /** Named, and not here. */
  const waiting = new Map<EventId, Place[]>();
  let isOverfull = false;

  function freeUntil(log: LogId): number {
    const proof = forks.get(log);
    if (proof !== undefined) return forkPoint(proof);
    const device = logs.get(log)?.opening.device;
    if (device === undefined || !forked.has(device) || logs.get(log)!.opening.chain === "here") return Infinity;
    return isLogAllowed(membership(), device, log) ? Infinity : -1;
  }

  function isWitnessed(log: LogId, seq: number, id: EventId): boolean {
    return branches.has(id) ? onBranch.has(id) : seq <= (reach.get(log) ?? -1);
  }

  function stands(log: LogId, seq: number, id: EventId): boolean {
    return seq <= freeUntil(log) || isWitnessed(log, seq, id);
  }

  async function lookAgain(): Promise<void> {
    forked = new Set([...forks.values()].map(({ opening }) => opening.device));
    reach.clear();
    onBranch.clear();
    conditional.length = 0;
    waiting.clear();
    isOverfull = false;
    if (forked.size === 0) return;
    for (let position = 0; ;) {
      const page = await store.since(position, PAGE_EVENTS);
      for (const { event } of page) await name(event);
      if (page.length === 0) break;
      position = page.at(-1)!.position + 1;
    }
    for (const log of forks.keys())
      for (const id of branches.idsOf(log)) {
        const event = await branches.event(id);
        if (event !== undefined) await name(event);
      }
    await fire();
  }

  async function look(events: readonly StoredEvent[]): Promise<LogId[]> {
    if (forked.size === 0) return [];
    const before = new Map([...forks.keys(), ...reach.keys()].map((log) => [log, sizeOf(log)]));
    for (const event of events) {
      await name(event);
      await arrived(event);
    }
    await fire();
    if (isOverfull && events.some(({ header }) => forked.has(logs.get(header.log)!.opening.device))) await lookAgain();
    const touched = new Set([...before.keys(), ...reach.keys()]);
    return [...touched].filter((log) => sizeOf(log) !== (before.get(log) ?? freeUntil(log)));
  }

  /** Grows with what is witnessed of a log. */
  function sizeOf(log: LogId): number {
    return Math.max(reach.get(log) ?? -1, freeUntil(log)) + branches.idsOf(log).filter((id) => onBranch.has(id)).length;
  }

  async function name({ id, header }: StoredEvent): Promise<void> {
    const opening = logs.get(header.log)?.opening;
    if (opening === undefined || opening.chain === "here") return;
    const from: Place = { device: opening.device, log: header.log, seq: header.seq, id };
    for (const dep of header.deps) await named(from, dep);
  }

  async function named(from: Place, dep: EventId): Promise<void> {
    const to = await placeOf(dep);
    if (to === undefined) return wait(dep, from);
    if (!forked.has(to.device)) return;
    if (isFirm(from, to)) return raise(to);
    conditional.push({ from, to: dep });
  }

  /** The naming event counts, and is another device's: or it is itself in the past of one that is. */
  function isFirm(from: Place, to: Place): boolean {
    if (!forked.has(from.device)) return true;
    if (isWitnessed(from.log, from.seq, from.id)) return true;
    return from.device !== to.device && from.seq <= freeUntil(from.log);
  }

  function wait(dep: EventId, from: Place): void {
    if (waiting.size >= MAX_WAITING) isOverfull = true;
    else waiting.set(dep, [...(waiting.get(dep) ?? []), from]);
  }

  async function arrived({ id }: StoredEvent): Promise<void> {
    const by = waiting.get(id);
    if (by === undefined) return;
    waiting.delete(id);
    for (const from of by) await named(from, id);
  }

  /** This event and all before it in its log count. */
  function raise(to: Place): void {
    let { seq } = to;
    for (let id = to.id, at = branches.place(id); at !== undefined; at = branches.place(id)) {
      if (onBranch.has(id)) return;
      onBranch.add(id);
      seq = at.seq - 1;
      if (at.prev === null) return;
      id = at.prev;
    }
    if (seq > (reach.get(to.log) ?? -1)) reach.set(to.log, seq);
  }

  /** What was named by events that count now counts too, and so on. */
  async function fire(): Promise<void> {
    for (let again = true; again;) {
      const due = conditional.filter(({ from }) => isWitnessed(from.log, from.seq, from.id));
      again = due.length > 0;
      for (const one of due) {
        conditional.splice(conditional.indexOf(one), 1);
        const place = await placeOf(one.to);
        if (place !== undefined) raise(place);
      }
    }
  }

  async function placeOf(id: EventId): Promise<Place | undefined> {
    const found = branches.place(id) ?? (await store.event(id))?.header;
    const device = found === undefined ? undefined : logs.get(found.log)?.opening.device;
    return device === undefined ? undefined : { device, log: found!.log, seq: found!.seq, id };
  }

  return { lookAgain, look, stands, freeUntil };
}

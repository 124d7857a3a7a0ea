/**
 * Whether an event counts. What does not is stored, shown and relayed all the same, and has no effect: so replicas stay
 * equal in what they hold, and agree on what it means as soon as they hold the same.
 */
import type { EventHeader } from "../protocols/events.ts";
import type { DeviceId, EventId } from "../protocols/ids.ts";
import { isWithinCut, type Membership } from "../protocols/membership.ts";
import type { ForkProof } from "../protocols/sync.ts";
import { compareStamps, type Clock } from "./clock.ts";

export type Standing =
  | { state: "good" }
  /** Its stamp is ahead of our clock; it counts from then on (R13). */
  | { state: "held"; until: number }
  /** Stored and shown, without effect (R2, R5, R13). */
  | { state: "quarantined"; why: string };

export interface Judgement {
  membership: Membership;
  clock: Pick<Clock, "isHeld" | "dueAt">;
  /** The proof that the event's log was written twice, if there is one. */
  fork: ForkProof | undefined;
  /** Those of the event's deps that we hold. */
  deps: readonly Pick<EventHeader, "hlc">[];
}

/** `device` wrote the event's log. */
export function judge(event: { id: EventId; header: EventHeader }, device: DeviceId, by: Judgement): Standing {
  const { header, id } = event;
  const { membership, clock, fork, deps } = by;
  if (fork !== undefined && header.seq >= fork.a.head.seq)
    return quarantined("the log was written twice from here on: one device, two histories");
  if (header.audience !== "here" && !isWithinCut(membership, device, header.log, header.seq, id))
    return quarantined("its author was removed before it, as the removal says");
  if (deps.some((dep) => compareStamps(dep.hlc, header.hlc) >= 0))
    return quarantined("it is stamped before what it says to come after");
  if (header.kind !== "roster" && clock.isHeld(header.hlc)) return { state: "held", until: clock.dueAt(header.hlc) };
  return { state: "good" };
}

function quarantined(why: string): Standing {
  return { state: "quarantined", why };
}

/** Devices whose cuts differ between two folds: what they wrote must be judged again. */
export function recut(before: Membership, after: Membership): DeviceId[] {
  const devices = new Set([...before.formerDevices.keys(), ...after.formerDevices.keys()]);
  return [...devices].filter((device) => cutsOf(before, device) !== cutsOf(after, device));
}

function cutsOf(membership: Membership, device: DeviceId): string {
  const former = membership.formerDevices.get(device);
  if (former === undefined) return membership.devices.has(device) ? "living" : "unknown";
  return [...former.cuts]
    .map(([log, { seq, id }]) => `${log} ${seq} ${id}`)
    .toSorted()
    .join();
}

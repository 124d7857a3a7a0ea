/**
 * Whether an event counts. What does not is stored, shown and relayed all the same, and has no effect: so replicas stay
 * equal in what they hold, and agree on what it means as soon as they hold the same.
 */
import type { EventHeader } from "../protocols/events.ts";
import type { DeviceId, EventId } from "../protocols/ids.ts";
import { isWithinCut, type Membership } from "../protocols/membership.ts";
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
  /** Whether it counts as far as forks of its device's logs are concerned (R2). */
  stands: boolean;
  /** It says again what counts where it was first said: an event that was re-issued and came to count all the same. */
  isElsewhere: boolean;
  /** Its owner has said it again with a lower stamp (R13). */
  hasEnded: boolean;
  /** Those of the event's deps that we hold. */
  deps: readonly Pick<EventHeader, "hlc">[];
}

/** `device` wrote the event's log. */
export function judge(event: { id: EventId; header: EventHeader }, device: DeviceId, by: Judgement): Standing {
  const { header, id } = event;
  const { membership, clock, deps } = by;
  if (!by.stands) return quarantined("its device has written two histories, and nobody had built on this part of them");
  if (header.audience !== "here" && !isWithinCut(membership, device, header.log, header.seq, id))
    return quarantined("its author was removed before it, as the removal says");
  if (deps.some((dep) => compareStamps(dep.hlc, header.hlc) >= 0))
    return quarantined("it is stamped before what it says to come after");
  if (by.isElsewhere) return quarantined("it says again what counts where it was first said");
  if (by.hasEnded) return quarantined("it was stamped ahead of all clocks, and its owner has said it again");
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

/**
 * Which events do not count here, or cannot be read here, and why: counted in passes over the log, each from where the last one
 * ended, so that a look costs what is new. What was found is looked at again each time: it may count by now.
 */
import type { EventId } from "../protocols/ids.ts";
import type { ReadableEvent, Replica } from "./replica.ts";

/** Events that one step reads. */
const PAGE_EVENTS = 512;
/** Found ones that are looked at again; more are only counted. */
const MAX_FOUND = 4096;

export type Flaw = "held" | "quarantined" | "no-key" | "no-body" | "damaged";

export interface Counts {
  flaws: Record<Flaw, number>;
  /** Events looked at so far. */
  counted: number;
  /** False: there was no time for all of them. */
  isWhole: boolean;
}

export interface Tally {
  /** Goes on counting while `hasTime` says so. */
  look(hasTime: () => boolean): Promise<Counts>;
  stop(): void;
}

export function createTally(replica: Pick<Replica, "on" | "events" | "event">): Tally {
  const found = new Map<EventId, Flaw>();
  let beyond: Record<Flaw, number> = none();
  let position = 0;
  let counted = 0;
  let looking: Promise<Counts> | null = null;
  const stop = replica.on((change) => {
    if (change.type === "rejudged") startOver();
  });

  function startOver(): void {
    found.clear();
    beyond = none();
    position = counted = 0;
  }

  function note(event: ReadableEvent): void {
    const flaw = flawOf(event);
    if (flaw === null) return void found.delete(event.id);
    if (found.has(event.id) || found.size < MAX_FOUND) found.set(event.id, flaw);
    else beyond[flaw]++;
  }

  async function count(hasTime: () => boolean): Promise<Counts> {
    for (const id of found.keys()) {
      const event = await replica.event(id);
      if (event !== undefined) note(event);
      if (!hasTime()) return result(false);
    }
    for (;;) {
      const from = position;
      const page = await replica.events({ position: from, limit: PAGE_EVENTS });
      if (position !== from) continue; // it was started over meanwhile
      if (page.next === from) return result(true);
      for (const event of page.events) note(event);
      position = page.next;
      counted += page.events.length;
      if (!hasTime()) return result(false);
    }
  }

  function result(isWhole: boolean): Counts {
    const flaws = { ...beyond };
    for (const flaw of found.values()) flaws[flaw]++;
    return { flaws, counted, isWhole };
  }

  return {
    look(hasTime) {
      looking ??= count(hasTime).finally(() => (looking = null));
      return looking;
    },
    stop,
  };
}

function none(): Record<Flaw, number> {
  return { held: 0, quarantined: 0, "no-key": 0, "no-body": 0, damaged: 0 };
}

/** null: it counts, and what it says can be read, is not for us, or was pruned. */
function flawOf({ standing, unreadable }: ReadableEvent): Flaw | null {
  if (standing.state !== "good") return standing.state;
  return unreadable === "not-for-us" || unreadable === "pruned" ? null : unreadable;
}

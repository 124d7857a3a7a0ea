/**
 * Events that are stamped more than five minutes ahead (R13): stored, counted in vectors, relayed, and told when they are due.
 *
 *   log   0 1 2 3 │ 4 5          due = 3, heldFrom = 4: stamps rise along a log, so all after the first held one are held
 */
import type { StoredEvent } from "../protocols/events.ts";
import type { Ground, KnownLog } from "./ground.ts";

/** How often held events are looked at: the wall clock may be set at any time. */
const HELD_LOOK_MS = 10_000;
/** Events that one step takes from the store. */
const PAGE_EVENTS = 64;

export interface Held {
  /** Where the held events of a log that was just loaded begin. */
  find: (known: KnownLog) => Promise<void>;
  /** To be called when something is held. */
  schedule: () => void;
  stop: () => void;
}

export function createHeld(
  ground: Pick<Ground, "store" | "clock" | "time" | "logs" | "inOrder" | "inBackground" | "isClosed">,
  deliver: (known: KnownLog, events: StoredEvent[], wereHeld: true) => Promise<void>,
): Held {
  const { store, clock, logs } = ground;
  let cancel: (() => void) | null = null;

  async function find(known: KnownLog): Promise<void> {
    known.due = null;
    for (let to = known.tip!.seq + 1; to > 0; to -= PAGE_EVENTS) {
      const page = await store.range(known.log, Math.max(0, to - PAGE_EVENTS), to);
      const due = page.findLast(({ header }) => !clock.isHeld(header.hlc));
      if (due === undefined) continue;
      known.due = { seq: due.header.seq, id: due.id, hlc: due.header.hlc };
      break;
    }
    known.heldFrom = (known.due?.seq ?? -1) + 1;
  }

  function schedule(): void {
    stop();
    const waits = [...logs.values()].some(({ heldFrom }) => heldFrom !== null);
    if (!waits || ground.isClosed()) return;
    cancel = ground.time.after(HELD_LOOK_MS, () => ground.inBackground(ground.inOrder(release)));
  }

  async function release(): Promise<void> {
    for (const known of logs.values()) {
      if (known.heldFrom === null) continue;
      const first = (await store.range(known.log, known.heldFrom, known.heldFrom + 1))[0];
      if (first === undefined || clock.isHeld(first.header.hlc)) continue;
      const from = known.heldFrom;
      known.heldFrom = null;
      for (let at = from; at <= known.tip!.seq && known.heldFrom === null; at += PAGE_EVENTS)
        await deliver(known, await store.range(known.log, at, Math.min(at + PAGE_EVENTS, known.tip!.seq + 1)), true);
    }
    schedule();
  }

  function stop(): void {
    cancel?.();
    cancel = null;
  }

  return { find, schedule, stop };
}

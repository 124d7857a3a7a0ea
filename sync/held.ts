/**
 * Events that are stamped more than five minutes ahead (R13): stored, counted in vectors, relayed, and told when they are due.
 *
 *   log   0 1 2 3 │ 4 5          due = 3, heldFrom = 4: stamps rise along a log, so all after the first held one are held
 *
 * Whatever is read as held is noted here, also what has counted before the wall clock was set back: a view that folds anew
 * meanwhile waits for it.
 */
import type { StoredEvent } from "../protocols/events.ts";
import type { Branches } from "./branches.ts";
import { compareStamps } from "./clock.ts";
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
  /** An event was read and is held. */
  note: (event: StoredEvent) => void;
  stop: () => void;
}

export function createHeld(
  ground: Pick<
    Ground,
    "store" | "clock" | "time" | "logs" | "forks" | "emit" | "inOrder" | "inBackground" | "isClosed"
  >,
  branches: Pick<Branches, "has" | "idsOf" | "event">,
  deliver: (known: KnownLog, events: StoredEvent[], wereHeld: true) => Promise<void>,
  deliverBranch: (events: StoredEvent[]) => Promise<void>,
): Held {
  const { store, clock, logs, forks } = ground;
  let cancel: (() => void) | null = null;
  /** The lowest held stamp on another history than the store's (R2). */
  let onBranches: Uint8Array | null = null;

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

  function note({ id, header }: StoredEvent): void {
    const known = logs.get(header.log);
    if (branches.has(id)) {
      if (onBranches === null || compareStamps(header.hlc, onBranches) < 0) onBranches = header.hlc;
    } else if (known !== undefined) known.heldFrom = Math.min(known.heldFrom ?? header.seq, header.seq);
    schedule();
  }

  function schedule(): void {
    const waits = onBranches !== null || [...logs.values()].some(({ heldFrom }) => heldFrom !== null);
    if (!waits || cancel !== null || ground.isClosed()) return;
    cancel = ground.time.after(HELD_LOOK_MS, () => {
      cancel = null;
      ground.inBackground(ground.inOrder(release).finally(schedule));
    });
  }

  async function release(): Promise<void> {
    await releaseBranches();
    for (const known of logs.values()) {
      if (known.heldFrom === null || known.tip === null) continue;
      const first = (await store.range(known.log, known.heldFrom, known.heldFrom + 1))[0];
      if (first === undefined || clock.isHeld(first.header.hlc)) continue;
      const from = known.heldFrom;
      known.heldFrom = null;
      await releaseFrom(known, from);
    }
  }

  async function releaseFrom(known: KnownLog, from: number): Promise<void> {
    for (let at = from; at <= known.tip!.seq && known.heldFrom === null; at += PAGE_EVENTS) {
      let left = at;
      try {
        await deliver(known, await store.range(known.log, at, Math.min(at + PAGE_EVENTS, known.tip!.seq + 1)), true);
        left = at + PAGE_EVENTS;
      } finally {
        // What is held still may be further on, where somebody has read meanwhile; what the store did not give is tried again.
        if (known.heldFrom !== null || left === at) known.heldFrom = Math.min(known.heldFrom ?? left, left);
      }
    }
  }

  async function releaseBranches(): Promise<void> {
    if (onBranches === null || clock.isHeld(onBranches)) return;
    onBranches = null;
    for (const log of forks.keys())
      for (const id of branches.idsOf(log)) {
        const event = await branches.event(id);
        if (event !== undefined) await deliverBranch([event]);
      }
    ground.emit({ type: "rejudged", logs: [...forks.keys()] });
  }

  function stop(): void {
    cancel?.();
    cancel = null;
  }

  return { find, schedule, note, stop };
}

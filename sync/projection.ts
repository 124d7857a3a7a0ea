/**
 * Views: what readable events fold to, with the position at which each stands. A view pulls events in order of arrival, so it
 * can stop anywhere and go on; what it met and could not read yet (held, no key, no body) it remembers by id and takes when
 * the replica tells that it counts now. When what counted counts no longer (a removal, a fork) it folds again from the start.
 *
 *   arrival   0 1 2 3 4 5 6 │ 7 8 …
 *   position ───────────────┘            waiting: { 3, 5 }
 */
import { decode, encode, type Value } from "../protocols/bytes.ts";
import type { EventKind } from "../protocols/events.ts";
import { idBytes, idOf, type DeviceId, type EventId } from "../protocols/ids.ts";
import { asMap } from "../protocols/signature.ts";
import type { ReadableEvent, Replica, ReplicaChange } from "./replica.ts";

/** Events that one step reads. */
const PAGE_EVENTS = 512;
/** Waiting events that a saved view keeps; with more it starts again from 0. */
const MAX_SAVED_WAITING = 4096;

export interface ProjectionOptions {
  /** Kinds that the view is made of; all if it is left out. */
  kinds?: ReadonlySet<EventKind> | undefined;
  /** Takes one event that counts; each once, in order of arrival but for late ones, so it must not depend on the order. Must not throw. */
  fold(event: ReadableEvent): void;
  /** Back to the beginning: nothing folded. */
  clear(): void;
  /** Makes the view resumable: its state is kept in the store under `view/<name>`. */
  saved?: { name: string; save(): Value; restore(state: Value): void } | undefined;
  /**
   * Where a view stands that is kept elsewhere: what it was folded from until then, what it could not read yet, and what it had read
   * and is to be given again.
   */
  start?: { position: number; waiting: readonly EventId[]; again: readonly EventId[] } | undefined;
  /** Called when something was folded, and the view is whole. */
  changed?: (() => void) | undefined;
  /** Told why the store could not be read, or what `fold` threw; the next change tries again. */
  failed?: ((error: unknown) => void) | undefined;
}

export interface Projection {
  /** How far in the order of arrival it stands: all before has been folded or waits. */
  position(): number;
  /** What it met and could not read yet. */
  waiting(): EventId[];
  /** Resolves when all that the replica has now is in the view. */
  settled(): Promise<void>;
  /** Stores where it stands, if it is resumable. */
  save(): Promise<void>;
  close(): Promise<void>;
}

/** Folds all there is, then stays up to date. */
export async function openProjection(replica: Replica, options: ProjectionOptions): Promise<Projection> {
  const { kinds, saved } = options;
  const waiting = new Set<EventId>(options.start?.waiting);
  let position = options.start?.position ?? 0;
  let pulling: Promise<void> | null = null;
  let again = false;
  let fresh = false;
  /** What was told while a page was read: it may be in there as it was before. */
  let meanwhile: Map<EventId, ReadableEvent> | null = null;
  /** Events on other histories of forked logs come with no position: each start folds them once (R2). */
  let tookBranches = false;
  /** What others set while a pull is under way. */
  const asked = { restart: false, close: false };

  const stop = replica.on(notice);
  await restore();
  await settled();

  async function restore(): Promise<void> {
    await lookAgain();
    for (const id of options.start?.again ?? []) {
      const event = await replica.event(id);
      if (event !== undefined && !asked.restart) take(event);
    }
    if (saved === undefined) return;
    const row = await replica.store.value(`view/${saved.name}`);
    if (row === undefined || (await replica.branchEvents()).length > 0) return;
    const state = asMap(decode(row), "a saved view");
    position = state["position"] as number;
    for (const id of state["waiting"] as Uint8Array[]) waiting.add(idOf(id));
    saved.restore(state["state"] as Value);
    await lookAgain();
  }

  /**
   * What was waiting may count now: nothing was received while we were away, so it has come due. Then something else may count no
   * longer (what says it again), and the view begins anew.
   */
  async function lookAgain(): Promise<void> {
    for (const id of waiting) {
      const event = await replica.event(id);
      if (event?.standing.state === "good" && event.unreadable === null) asked.restart = true;
      else if (event !== undefined) take(event);
    }
  }

  function notice(change: ReplicaChange): void {
    if (change.type === "rejudged") asked.restart = true;
    if (change.type === "applied")
      for (const event of change.events)
        if (waiting.has(event.id)) take(event);
        else meanwhile?.set(event.id, event);
    // What the view isn't made of is passed over with the next that it is: an audit record must not be read back by each view.
    if (change.type === "rejudged" || (change.type === "applied" && change.events.some(isWanted)))
      settled().catch((error: unknown) => options.failed?.(error)); // whoever waits for it next pulls again
  }

  function isWanted(event: ReadableEvent): boolean {
    return kinds === undefined || kinds.has(event.kind);
  }

  function take(event: ReadableEvent): void {
    if (!isWanted(event)) return;
    if (event.standing.state === "quarantined") return void waiting.delete(event.id);
    const isReadable = event.standing.state === "good" && event.unreadable === null;
    const mayComeYet =
      event.standing.state === "held" || event.unreadable === "no-key" || event.unreadable === "no-body";
    if (!isReadable) {
      if (mayComeYet) waiting.add(event.id);
      return;
    }
    waiting.delete(event.id);
    options.fold(event);
    fresh = true;
  }

  /** One pull at a time; a change during it makes it look once more. */
  function settled(): Promise<void> {
    again = true;
    pulling ??= pullAll().finally(() => (pulling = null));
    return pulling;
  }

  async function pullAll(): Promise<void> {
    while (again && !asked.close) {
      again = false;
      if (asked.restart) startOver();
      await pull();
      if (!again) await takeBranches();
      if (again) continue; // half of a history that begins anew is no view
      if (fresh) options.changed?.();
      fresh = false;
    }
  }

  function startOver(): void {
    asked.restart = false;
    position = 0;
    tookBranches = false;
    waiting.clear();
    options.clear();
    fresh = true;
  }

  async function pull(): Promise<void> {
    while (!asked.close && !asked.restart) {
      meanwhile = new Map();
      const page = await replica.events({
        position,
        limit: PAGE_EVENTS,
        unpruned: true,
        ...(kinds !== undefined && { kinds }),
      });
      const told = meanwhile;
      meanwhile = null;
      if (page.next === position || asked.restart) break;
      for (const event of page.events) take(told.get(event.id) ?? event);
      position = page.next;
    }
    if (asked.restart) again = true;
  }

  async function takeBranches(): Promise<void> {
    if (tookBranches || asked.close) return;
    tookBranches = true;
    const events = (await replica.branchEvents()).filter(isWanted);
    if (asked.restart) again = true;
    else for (const event of events) take(event);
  }

  async function save(): Promise<void> {
    if (saved === undefined) return;
    await settled();
    if (waiting.size > MAX_SAVED_WAITING) return;
    const state = { position, waiting: [...waiting].map(idBytes), state: saved.save() };
    await replica.store.append({ values: [{ key: `view/${saved.name}`, value: encode(state) }] });
  }

  return {
    position: () => position,
    waiting: () => [...waiting],
    settled,
    save,
    async close() {
      asked.close = true;
      stop();
      await pulling;
    },
  };
}

/** When each device was last heard of, by the stamps of its events: wall ms. */
export interface SeenView extends Projection {
  lastSeen(device: DeviceId): number | null;
}

export async function openSeenView(replica: Replica): Promise<SeenView> {
  const seen = new Map<DeviceId, number>();
  const projection = await openProjection(replica, {
    fold: ({ device, at }) => void seen.set(device, Math.max(at, seen.get(device) ?? 0)),
    clear: () => seen.clear(),
    saved: {
      name: "seen",
      save: () => [...seen].map(([device, at]) => [idBytes(device), at]),
      restore: (state) => {
        for (const [device, at] of state as [Uint8Array, number][]) seen.set(idOf(device), at);
      },
    },
  });
  return { ...projection, lastSeen: (device) => seen.get(device) ?? null };
}

/** Runs (F4): contiguous events of one log up to a signed head, taken from a store to be sent and fitted to what a store has. */
import { KinError } from "../protocols/errors.ts";
import type { SignedHead, StoredEvent, Tip } from "../protocols/events.ts";
import type { EventId, LogId } from "../protocols/ids.ts";
import { MAX_RUN_EVENTS, RUN_BODY_BYTES, type EventRun } from "../protocols/sync.ts";
import type { EventStore } from "./store.ts";

/** Events that one step takes from the store: at most 16 MiB of bodies. */
const PAGE_EVENTS = 64;

export type RunStore = Pick<EventStore, "range" | "headFrom">;

/** The run from `from`; `left` are events whose body was too much for it. Undefined: the store has nothing from there. */
export async function runFrom(
  store: RunStore,
  log: LogId,
  from: number,
): Promise<{ run: EventRun; left: EventId[] } | undefined> {
  const { events, left } = await lightRange(store, log, from, from + MAX_RUN_EVENTS);
  const last = events.at(-1)?.header.seq;
  const head = last === undefined ? undefined : await lastHead(store, log, from, left.length > 0 ? left[0]!.seq : last);
  // Where damage was left out, the head may lie beyond what can be read: nothing is proved then.
  if (head === undefined || head.head.seq > last!) return undefined;
  const within = events.filter(({ header }) => header.seq <= head.head.seq);
  return {
    run: { log, from, events: within, head },
    left: left.filter(({ seq }) => seq <= head.head.seq).map(({ id }) => id),
  };
}

/** Events with bodies until they are RUN_BODY_BYTES, then headers only. */
async function lightRange(store: RunStore, log: LogId, from: number, to: number) {
  const events: StoredEvent[] = [];
  const left: { id: EventId; seq: number }[] = [];
  let bytes = 0;
  for (let at = from; at < to; at += PAGE_EVENTS) {
    const page = await store.range(log, at, Math.min(at + PAGE_EVENTS, to));
    for (const event of page) {
      bytes += event.body?.length ?? 0;
      if (event.body === null || bytes <= RUN_BODY_BYTES) events.push(event);
      else {
        left.push({ id: event.id, seq: event.header.seq });
        events.push({ ...event, body: null });
      }
    }
    if (page.length < PAGE_EVENTS) break;
  }
  return { events, left };
}

/** The last signed head from `from` up to `last`, or the first one after it. */
export async function lastHead(
  store: RunStore,
  log: LogId,
  from: number,
  last: number,
): Promise<SignedHead | undefined> {
  let best = await store.headFrom(log, from);
  if (best === undefined || best.head.seq >= last) return best;
  let low = best.head.seq + 1;
  let high = last;
  while (low <= high) {
    const middle = Math.ceil((low + high) / 2);
    const found = await store.headFrom(log, middle);
    if (found !== undefined && found.head.seq <= last) {
      best = found;
      low = found.head.seq + 1;
    } else high = middle - 1;
  }
  return best;
}

/** The events of a run that come after our `tip`; "fork" if the run is not of the chain that we have. */
export async function unknownPart(store: RunStore, run: EventRun, tip: Tip | null): Promise<StoredEvent[] | "fork"> {
  const { log, from, events } = run;
  const have = tip?.seq ?? -1;
  const end = from + events.length - 1;
  if (events.length === 0 || from > have + 1)
    throw new KinError("BAD_REQUEST", `a run of log ${log} from ${from}: expected one from ${have + 1}`);
  if (tip === null) return events;
  if (from === have + 1) return events[0]!.header.prev === tip.id ? events : "fork";
  const last = Math.min(end, have);
  const mine = last === have ? tip.id : (await store.range(log, last, last + 1))[0]?.id;
  // A damaged row says nothing: what follows it was taken for the same chain once.
  return mine === undefined || events[last - from]!.id === mine ? events.slice(have + 1 - from) : "fork";
}

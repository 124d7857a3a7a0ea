/**
 * Saying again what lost its effect (R2, R5, R13): an owner's entries that a fork put into quarantine or that lie ahead of all
 * clocks, and, by an admin, what a removed member wrote after his cut.
 *
 *   re-issued { of: [ids] }  copy  copy  copy         one append: the copies follow their marker, in the order of `of`
 *
 * A copy counts as long as what it repeats does not: if somebody turns out to have built on the original, the copy steps back, and
 * of two copies one does, so that nothing counts twice. An original that was stamped more than five minutes after its marker has ended: its owner said it
 * again with a right stamp. Who marks what makes no other difference, so a marker can take nothing away that counts.
 */
import { decode, encode } from "../protocols/bytes.ts";
import type { StoredEvent } from "../protocols/events.ts";
import { idBytes, idOf, type DeviceId, type EventId } from "../protocols/ids.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import { asMap } from "../protocols/signature.ts";
import { decodeStamp } from "./clock.ts";
import type { Ground } from "./ground.ts";
import { MAX_BATCH_ITEMS, type StoreBatch } from "./store.ts";

/** The kind of a marker. */
export const REISSUED = "re-issued";
/** Entries that one append says again. */
export const MAX_REISSUED = 256;
/** Newest events looked through at start: what a crash left between a run and its rows is among them. */
const TAIL_EVENTS = 4096;
/** Copies of one original that are compared: two lives of a device make two. */
const MAX_COPIES = 64;
/** A copy of a copy of …: one for each log that a device may lose. */
const MAX_CHAIN = 16;

/** Places in a marker's list that are remembered: copies follow at once, a second history's later. */
const MAX_EXPECTED = 65_536;

type Rows = NonNullable<StoreBatch["values"]>;

interface Following {
  said: readonly Repeated[];
  at: number;
}

interface Repeated {
  /** What the copy repeats. */
  of: EventId;
  copy?: EventId;
  /** Whose marker it is, and its wall ms. */
  device: DeviceId;
  ms: number;
}

export interface Reissues {
  load: () => Promise<void>;
  /** Looks at events in the order of their logs, before they are judged. */
  note: (events: readonly StoredEvent[]) => Promise<void>;
  /** What a copy gives way to where it counts: what it repeats, what that repeats, and its device's other copies of these with a lower id. */
  before: (copy: EventId) => EventId[];
  /** What was said first, of what a copy says again; null: it is no copy. */
  originOf: (copy: EventId) => EventId | null;
  /** A marker, a copy, or what a copy repeats: whether it counts decides whether something else does. */
  isPartOf: (event: Pick<StoredEvent, "id" | "header">) => boolean;
  /** An original of this device that was said again with a lower stamp. */
  hasEnded: (original: EventId, device: DeviceId, hlc: Uint8Array) => boolean;
  /** Has this device said it again? */
  isRepeatedBy: (device: DeviceId, original: EventId) => boolean;
}

export function createReissues(ground: Pick<Ground, "store" | "logs">): Reissues {
  const { store, logs } = ground;
  const copies = new Map<EventId, Repeated>();
  const byOriginal = new Map<EventId, Repeated[]>();
  /** What the event after this one repeats, and those after it; on two histories of a log two events may follow. */
  const expected = new Map<EventId, Following>();
  /** Rows that the disk did not take yet. */
  let unkept: Rows = [];

  async function load(): Promise<void> {
    for (const { key, value } of await store.values("reissued/")) {
      const { o, d, t } = asMap(decode(value), "a row of what was re-issued");
      remember(key.slice(9) as EventId, { of: idOf(o), device: idOf(d), ms: t as number });
    }
    const count = [...logs.values()].reduce((sum, { tip }) => sum + (tip?.seq ?? -1) + 1, 0);
    const tail = await store.since(Math.max(0, count - TAIL_EVENTS), TAIL_EVENTS);
    await note(tail.map(({ event }) => event));
  }

  function remember(copy: EventId, repeated: Repeated): void {
    if (copies.has(copy)) return;
    copies.set(copy, repeated);
    byOriginal.set(repeated.of, [...(byOriginal.get(repeated.of) ?? []), { ...repeated, copy }]);
  }

  async function note(events: readonly StoredEvent[]): Promise<void> {
    const rows: Rows = [];
    for (const event of events) {
      const { id, header } = event;
      if (header.kind === REISSUED)
        expect(id, { said: parseMarker(event, logs.get(header.log)!.opening.device), at: 0 });
      const following = header.prev === null ? undefined : expected.get(header.prev);
      const next = following?.said[following.at];
      if (next === undefined) continue;
      expect(id, { said: following!.said, at: following!.at + 1 });
      if (!copies.has(id)) rows.push(rowOf(id, next));
      remember(id, next);
    }
    await keep(rows);
  }

  /** A full disk must not stop events that are stored from counting: the rows are tried again with the next ones. */
  async function keep(rows: Rows): Promise<void> {
    const tried = [...unkept, ...rows].slice(-MAX_BATCH_ITEMS);
    unkept = [];
    if (tried.length === 0) return;
    try {
      await store.append({ values: tried });
    } catch {
      unkept = [...tried, ...unkept];
    }
  }

  /** Other copies of the same by the same device: another's would let him put his words in its place. */
  function siblings(copy: EventId, { of, device }: Repeated): EventId[] {
    const all = (byOriginal.get(of) ?? []).slice(0, MAX_COPIES);
    return all.filter((other) => other.device === device && other.copy! < copy).map((other) => other.copy!);
  }

  function expect(after: EventId, following: Following): void {
    if (following.at >= following.said.length || expected.has(after)) return;
    expected.set(after, following);
    if (expected.size > MAX_EXPECTED) expected.delete(expected.keys().next().value!);
  }

  return {
    load,
    note,
    before(copy) {
      const out: EventId[] = [];
      let at = copies.get(copy);
      for (let depth = 0; at !== undefined && depth < MAX_CHAIN; depth++, at = copies.get(at.of))
        out.push(at.of, ...siblings(copy, at));
      return out;
    },
    originOf(copy) {
      let at = copies.get(copy);
      for (let depth = 0; at !== undefined && depth < MAX_CHAIN; depth++) {
        const further = copies.get(at.of);
        if (further === undefined) return at.of;
        at = further;
      }
      return null;
    },
    isPartOf: ({ id, header }) => header.kind === REISSUED || copies.has(id) || byOriginal.has(id),
    hasEnded(original, device, hlc) {
      const by = byOriginal.get(original);
      if (by === undefined) return false;
      const { ms } = decodeStamp(hlc);
      return by.some((marker) => marker.device === device && ms > marker.ms + SKEW_LIMIT_MS);
    },
    isRepeatedBy: (device, original) => (byOriginal.get(original) ?? []).some((marker) => marker.device === device),
  };
}

function rowOf(copy: EventId, { of, device, ms }: Repeated): Rows[number] {
  return { key: `reissued/${copy}`, value: encode({ o: idBytes(of), d: idBytes(device), t: ms }) };
}

/** The clear body of a marker; one that says nothing sensible repeats nothing. */
function parseMarker({ header, body }: StoredEvent, device: DeviceId): Repeated[] {
  const { ms } = decodeStamp(header.hlc);
  try {
    const said = asMap(asMap(decode(body ?? new Uint8Array()), "a body")["c"], "a marker")["of"];
    if (!Array.isArray(said) || said.length > MAX_REISSUED) return [];
    return said.map((id) => ({ of: idOf<"event">(id), device, ms }));
  } catch {
    return [];
  }
}

/**
 * The roster as a replica keeps it: each record with the place of the event that carries it, folded to the membership at once.
 * Records come in events, and outside of them (join, `present`, sync: roster first); either way they count.
 */
import { decode } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import type { StoredEvent } from "../protocols/events.ts";
import type { LogId, RecordId } from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import { parseRosterValue, recordIdOf, type RosterRecord } from "../protocols/roster-record.ts";
import { createRoster, type Roster } from "../protocols/roster.ts";
import { asMap, type Sealed } from "../protocols/signature.ts";
import type { Wanted } from "../protocols/sync.ts";
import type { Ground } from "./ground.ts";
import { parseRecordRow, recordRow } from "./rows.ts";
import type { StoreBatch } from "./store.ts";

/** Records whose parents we lack: more are refused. */
const MAX_WAITING_RECORDS = 4_096;
/** Events that one step takes from the store. */
const PAGE_EVENTS = 64;

export interface Records {
  readonly roster: Roster;
  membership: () => Membership;
  /** What the store has and what a join handed over. @throws KinError BAD_REQUEST without a genesis */
  load: (given: Sealed[]) => Promise<void>;
  /** Records that are about to be written: not placed yet. Returns their rows. */
  announce: (records: RosterRecord[]) => NonNullable<StoreBatch["values"]>;
  /** Rows of the records in events that are about to be stored. */
  rowsOf: (events: StoredEvent[]) => NonNullable<StoreBatch["values"]>;
  /** Takes the records of stored events. */
  take: (events: StoredEvent[]) => Promise<void>;
  /** Takes the records of events that are on another history of their log: they count, and their place is nowhere (R2). */
  learnFrom: (events: StoredEvent[]) => Promise<void>;
  /** Takes what came outside of events. Returns how many were new. */
  learn: (sealed: Sealed[]) => Promise<number>;
  /** Records inside these ranges, and those whose event we lack. */
  within: (ranges: Wanted[]) => { id: RecordId; sealed: Sealed }[];
  /** Records of ours that no event carries yet: a founder's genesis, or what a crash left between two steps. */
  loose: () => Promise<RosterRecord[]>;
}

export function createRecords(
  ground: Pick<Ground, "mesh" | "device" | "store" | "logs" | "inOrder" | "inBackground">,
  /** Runs, in the order of taking in, when the fold gives something new. */
  changed: (before: Membership, after: Membership) => Promise<void>,
): Records {
  const { mesh, device, store, logs } = ground;
  const roster = createRoster(mesh);
  const placeOf = new Map<RecordId, { log: LogId; seq: number } | null>();
  let membership: Membership | null = null;

  async function load(given: Sealed[]): Promise<void> {
    const rows = (await store.values("roster/")).map(({ key, value }) => ({
      id: key.slice(7),
      ...parseRecordRow(value),
    }));
    for (const { id, at } of rows) placeOf.set(id as RecordId, at);
    const isNamed = ({ id, sealed }: (typeof rows)[number]) =>
      recordIdOf(sealed, "roster") === id || recordIdOf(sealed, "genesis") === id;
    const stored = roster.add(rows.map(({ sealed }) => sealed)).refused;
    if (!rows.every(isNamed) || stored.some(({ error }) => error.code === "BAD_SIGNATURE"))
      throw new KinError("CORRUPT", "a stored roster record is not what was signed: its row is damaged");
    const { added, refused } = roster.add(given);
    if (refused[0] !== undefined) throw new KinError(refused[0].error.code, refused[0].error.message);
    await keep(added);
    membership = folded();
  }

  function folded(): Membership {
    if (roster.membership === null)
      throw new KinError("BAD_REQUEST", `the genesis of mesh ${mesh} is missing: neither given nor in the store`);
    return roster.membership;
  }

  async function refold(): Promise<void> {
    const before = membership!;
    membership = folded();
    await changed(before, membership);
  }

  async function take(events: StoredEvent[]): Promise<void> {
    const records = await place(events);
    if (records.length > 0 && roster.addRecords(records).length > 0) await refold();
  }

  /** Remembers durably which events carry these records. */
  async function place(events: StoredEvent[]): Promise<RosterRecord[]> {
    const records: RosterRecord[] = [];
    const placed: RosterRecord[] = [];
    for (const event of events) {
      const record = recordOf(event);
      if (record === null) continue;
      records.push(record);
      // Received ones have their row from the transaction that stored the event.
      if (placeOf.get(record.id) === null) placed.push(record);
      placeOf.set(record.id, { log: event.header.log, seq: event.header.seq });
    }
    // A row without its place is sent more often than needed, no more: a full disk must not stop what is stored from counting.
    if (placed.length > 0) ground.inBackground(keep(placed));
    return records;
  }

  /** The roster record that an event carries, if it is one of this mesh. */
  function recordOf(event: StoredEvent): RosterRecord | null {
    if (event.header.kind !== "roster" || event.body === null) return null;
    try {
      const record = parseRosterValue(asMap(decode(event.body), "a body")["c"]);
      return record.mesh === mesh ? record : null;
    } catch (error) {
      if (error instanceof KinError) return null; // signed nonsense has no effect, like any void record
      throw error;
    }
  }

  async function learnFrom(events: StoredEvent[]): Promise<void> {
    const carried = events.flatMap((event) => recordOf(event) ?? []);
    if (carried.length > 0) await learn(carried.map(({ sealed }) => sealed));
  }

  async function learn(sealed: Sealed[]): Promise<number> {
    const waiting = membership!.waiting.length;
    if (waiting + sealed.length > MAX_WAITING_RECORDS)
      throw new KinError("OVERLOADED", `${waiting} roster records wait for their parents`);
    // Known ones cost a hash, not a signature: a peer may send them often.
    const { added, refused } = roster.add(sealed.filter((record) => !isKnown(record)));
    if (added.length > 0) {
      // They are in the roster now: what a full disk does not take is learnt again after a restart.
      await keep(added).finally(() => ground.inOrder(refold));
    }
    const forged = refused.find(({ error }) => error.code === "BAD_SIGNATURE");
    if (forged !== undefined) throw new KinError(forged.error.code, forged.error.message);
    return added.length;
  }

  function isKnown(sealed: Sealed): boolean {
    return roster.has(recordIdOf(sealed, "roster")) || roster.has(recordIdOf(sealed, "genesis"));
  }

  async function keep(records: RosterRecord[]): Promise<void> {
    for (const { id } of records) if (!placeOf.has(id)) placeOf.set(id, null);
    const rows = records.map(({ id, sealed }) => recordRow(id, sealed, placeOf.get(id) ?? null));
    if (rows.length > 0) await store.append({ values: rows });
  }

  function within(ranges: Wanted[]): { id: RecordId; sealed: Sealed }[] {
    const wanted = new Map(ranges.map((range) => [range.log, range]));
    return roster.records().flatMap(({ id, sealed }) => {
      const at = placeOf.get(id);
      const range = at == null ? undefined : wanted.get(at.log);
      const isIn = range !== undefined && at!.seq >= range.from && at!.seq <= range.to;
      return at == null || isIn ? [{ id, sealed }] : [];
    });
  }

  async function loose(): Promise<RosterRecord[]> {
    const isLoose = ({ id, author }: RosterRecord) => placeOf.get(id) === null && author.device === device;
    if (!roster.records().some(isLoose) || !membership!.devices.has(device)) return [];
    // A crash right after an act leaves the place of its records unknown: it is in our log.
    const mine = [...logs.values()].filter(({ opening }) => opening.device === device && opening.chain === "mesh");
    for (const { log, tip } of mine)
      for (let at = 0; at <= (tip?.seq ?? -1); at += PAGE_EVENTS)
        await place(await store.range(log, at, at + PAGE_EVENTS));
    return roster.records().filter(isLoose);
  }

  return {
    roster,
    membership: () => membership!,
    load,
    announce(records) {
      for (const { id } of records) placeOf.set(id, null);
      return records.map(({ id, sealed }) => recordRow(id, sealed, null));
    },
    rowsOf: (events) =>
      events.flatMap((event) => {
        const record = recordOf(event);
        return record === null ? [] : [recordRow(record.id, record.sealed, event.header)];
      }),
    take,
    learnFrom,
    learn,
    within,
    loose,
  };
}

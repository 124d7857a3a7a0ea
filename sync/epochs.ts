/**
 * Epoch keys on one device (R6): which one to write under, opening a new one, taking those that are sealed to us, handing
 * those that we hold to devices that lack them, and telling what a late key opens.
 */
import { equal } from "../protocols/bytes.ts";
import type { SealingKey } from "../protocols/crypto/keys.ts";
import { epochKeyHash, newEpochKey, openEpochKey, sealEpochKeys } from "../protocols/epoch.ts";
import { errorShape } from "../protocols/errors.ts";
import { epochOf } from "../protocols/event-body.ts";
import type { StoredEvent } from "../protocols/events.ts";
import { idBytes, idOf, type DeviceId, type EpochId, type PersonId, type RecordId } from "../protocols/ids.ts";
import { epochHeads, usableEpochs, type Epoch, type Membership } from "../protocols/membership.ts";
import { personIdOf, type RosterBody, type RosterRecord } from "../protocols/roster-record.ts";
import { asMap } from "../protocols/signature.ts";
import type { Ground } from "./ground.ts";
import type { Reading } from "./reading.ts";
import type { EpochKeys, NewEntry, ReadableEvent, RosterAct } from "./replica.ts";
import type { StoreBatch } from "./store.ts";

/** Events that one step of a full read takes, and keys that one round of sharing seals. */
const SCAN_EVENTS = 512;

/** An epoch that we may write under. */
export interface OpenEpoch {
  epoch: EpochId;
  key: Uint8Array;
}

export interface EpochsDeps {
  ground: Pick<Ground, "mesh" | "device" | "store" | "random" | "logs" | "emit" | "isClosed">;
  membership: () => Membership;
  records: () => readonly RosterRecord[];
  keys: EpochKeys;
  /** Newest first. */
  sealingKeys: readonly SealingKey[];
  read: Reading["read"];
  /** Writes sealed keys as events of ours, with `values`. */
  write: (entries: NewEntry[], values: NonNullable<StoreBatch["values"]>) => Promise<unknown>;
}

export interface Epochs {
  load: () => Promise<void>;
  /** The best epoch that nobody outside the folded roster can read, if we hold its key. */
  writable: () => OpenEpoch | undefined;
  /** An epoch record for these devices, and its key: part of an act. */
  open: (
    from: Membership,
    recipients: Iterable<{ device: { id: DeviceId; sealingKey: Uint8Array } }>,
  ) => Promise<RosterAct & { epochKey: Uint8Array }>;
  /** Takes the keys that the roster's epochs hold for us. */
  takeFromRoster: () => Promise<void>;
  /** Takes the key of an `epoch-sealed` event. */
  takeFromEvent: (event: ReadableEvent) => Promise<void>;
  /** Remembers that an event waits for this epoch's key. */
  noteLocked: (epoch: EpochId) => Promise<void>;
  /** Seals what we hold to the devices that lack it and are ours to serve. */
  share: () => Promise<void>;
  /** As {@link share}, also what was shared before: the events that carried it count no longer. */
  shareAgain: () => Promise<void>;
}

type ReadEpoch = Pick<Epoch, "id" | "keyHash" | "recipients" | "keys"> & { author: { device: DeviceId } };

export function createEpochs(deps: EpochsDeps): Epochs {
  const { ground, membership, keys } = deps;
  const { mesh, device, store, random } = ground;
  const locked = new Set<EpochId>();
  const shared = new Set<string>();
  /** Rows of locked epochs that the disk did not take yet: a full one must not stop events that are stored from counting. */
  const unmarked = new Set<EpochId>();
  /** What the roster has for us and no key of ours opens: a later one would not either. */
  const unopened = new Set<EpochId>();
  /** Keys that the key store did not take yet. */
  const unput = new Map<EpochId, Uint8Array>();

  async function load(): Promise<void> {
    for (const { key } of await store.values("locked/")) locked.add(key.slice(7) as EpochId);
    for (const { key } of await store.values("shared/")) shared.add(key.slice(7));
  }

  async function open(from: Membership, recipients: Parameters<Epochs["open"]>[1]) {
    const key = newEpochKey(random);
    const devices = [...recipients].map((one) => one.device);
    const record: RosterBody & { type: "epoch" } = {
      type: "epoch",
      after: epochHeads(from),
      keyHash: epochKeyHash(key),
      keys: await sealEpochKeys(mesh, key, devices, device),
    };
    return { records: [record], epochKey: key } satisfies RosterAct;
  }

  /**
   * Those of the fold, and those whose records count no longer because who opened them was removed at the same time. Nobody writes under
   * these any more; what members wrote under them before they knew counts, and is to be read.
   */
  function toReadUnder(): ReadEpoch[] {
    const { epochs } = membership();
    const cut = deps.records().flatMap(({ id, body, author }): ReadEpoch[] => {
      const epoch = id as string as EpochId;
      if (body.type !== "epoch" || epochs.has(epoch)) return [];
      const { keyHash, keys } = body;
      return [{ id: epoch, author, keyHash, keys, recipients: keys.map((key) => key.device) }];
    });
    return [...epochs.values(), ...cut];
  }

  async function takeFromRoster(): Promise<void> {
    await putAgain();
    for (const epoch of toReadUnder()) {
      const sealed = epoch.keys.find((key) => key.device === device);
      if (sealed === undefined || keys.get(epoch.id) !== undefined || unopened.has(epoch.id)) continue;
      unopened.add(epoch.id);
      for (const sealingKey of deps.sealingKeys) {
        const key = await openEpochKey(mesh, epoch.keyHash, sealed, epoch.author.device, sealingKey);
        if (key === null) continue;
        unopened.delete(epoch.id);
        await keep(epoch.id, key);
        break;
      }
    }
  }

  /** From whoever holds it: right if it is the key whose hash the epoch's record names. */
  async function takeFromEvent({ value }: ReadableEvent): Promise<void> {
    const { e, k } = asMap(value, "an epoch-sealed event");
    if (!(k instanceof Uint8Array) || !(e instanceof Uint8Array) || e.length !== 32) return;
    const id = idOf<"epoch">(e);
    const epoch = toReadUnder().find((one) => one.id === id);
    if (epoch === undefined || keys.get(epoch.id) !== undefined || !equal(epochKeyHash(k), epoch.keyHash)) return;
    unput.set(epoch.id, k);
    await putAgain();
  }

  /** Keys that came in events: one that the key store does not take stops no event, and is tried again with the next. */
  async function putAgain(): Promise<void> {
    for (const [epoch, key] of unput)
      try {
        await keep(epoch, key);
        unput.delete(epoch);
      } catch (error) {
        ground.emit({ type: "trouble", error: errorShape(error) });
      }
  }

  async function keep(epoch: EpochId, key: Uint8Array): Promise<void> {
    await keys.put(epoch, key);
    if (locked.has(epoch)) await unlock(epoch);
  }

  /** Tells the bodies that waited for this epoch's key. */
  async function unlock(epoch: EpochId): Promise<void> {
    for await (const events of scan()) {
      const opened: ReadableEvent[] = [];
      for (const event of events) {
        if (event.header.audience !== "mesh" || event.body === null || epochOf(event.body) !== epoch) continue;
        const readable = await deps.read(event);
        if (readable.standing.state === "good") opened.push(readable);
      }
      if (opened.length > 0) ground.emit({ type: "applied", events: opened });
    }
    locked.delete(epoch);
    unmarked.delete(epoch);
    // A row that stays costs the next start nothing: the key is there.
    await store.append({ values: [{ key: `locked/${epoch}`, value: null }] }).catch(() => undefined);
  }

  async function* scan(): AsyncGenerator<StoredEvent[]> {
    for (let position = 0; ;) {
      const page = await store.since(position, SCAN_EVENTS);
      if (page.length === 0) return;
      yield page.map(({ event }) => event);
      position = page.at(-1)!.position + 1;
    }
  }

  async function noteLocked(epoch: EpochId): Promise<void> {
    if (!locked.has(epoch)) unmarked.add(epoch);
    locked.add(epoch);
    if (unmarked.size === 0) return;
    const marked = [...unmarked];
    const values = marked.map((epoch) => ({ key: `locked/${epoch}`, value: new Uint8Array() }));
    await store.append({ values }).then(
      () => marked.forEach((epoch) => unmarked.delete(epoch)),
      () => undefined,
    );
  }

  /**
   * Any holder may seal an epoch to a device that lacks it; so that not all do, it is the one who opened the epoch and
   * the one who let the device in.
   */
  async function share(): Promise<void> {
    if (ground.isClosed() || !membership().devices.has(device)) return;
    const letIn = new Map<DeviceId, DeviceId>();
    for (const { body, author } of deps.records())
      if (body.type === "admit" || body.type === "device-added") letIn.set(body.device.id, author.device);
    const entries: NewEntry[] = [];
    const rows: NonNullable<StoreBatch["values"]> = [];
    const mayRead = readersOf(membership(), deps.records());
    for (const epoch of toReadUnder()) {
      const key = keys.get(epoch.id);
      if (key === undefined) continue;
      for (const to of membership().devices.keys()) {
        if (!mayRead(epoch, to)) continue;
        const row = `${epoch.id}/${to}`;
        const isOurs = epoch.author.device === device || letIn.get(to) === device;
        if (!isOurs || to === device || epoch.recipients.includes(to) || shared.has(row)) continue;
        if (entries.length >= SCAN_EVENTS) break; // the rest at the next change
        shared.add(row);
        rows.push({ key: `shared/${row}`, value: new Uint8Array() });
        entries.push({ kind: "epoch-sealed", audience: "direct", value: { e: idBytes(epoch.id), k: key }, to: [to] });
      }
    }
    if (entries.length === 0) return;
    try {
      await deps.write(entries, rows);
    } catch (error) {
      for (const { key } of rows) shared.delete(key.slice(7));
      throw error;
    }
  }

  async function shareAgain(): Promise<void> {
    const rows = [...shared].map((row) => ({ key: `shared/${row}`, value: null }));
    shared.clear();
    for (let at = 0; at < rows.length; at += SCAN_EVENTS)
      await store.append({ values: rows.slice(at, at + SCAN_EVENTS) });
    await share();
  }

  const writable = (): OpenEpoch | undefined => heldEpoch(membership(), (id) => keys.get(id));
  return { load, writable, open, takeFromRoster, takeFromEvent, noteLocked, share, shareAgain };
}

/** An epoch to seal under whose key we hold, the best first. */
export function heldEpoch(
  membership: Membership,
  keyOf: (epoch: EpochId) => Uint8Array | undefined,
): OpenEpoch | undefined {
  for (const { id } of usableEpochs(membership)) {
    const key = keyOf(id);
    if (key !== undefined) return { epoch: id, key };
  }
  return undefined;
}

/**
 * Which epochs a device may read (R6): all under "reads-all"; else those that whoever let its person in did not know yet. What
 * was written under an older one was written before him, and what is written under one that was opened at the same time was not.
 */
export function readersOf(
  membership: Membership,
  records: readonly RosterRecord[],
): (epoch: Pick<Epoch, "id">, device: DeviceId) => boolean {
  if (membership.policy === "reads-all") return () => true;
  const byId = new Map(records.map((record) => [record.id, record]));
  const admissions = new Map<PersonId, ReadonlySet<string>>();
  for (const { id, body } of records) if (body.type === "admit") admissions.set(personIdOf(id), pastOf(id, byId));
  return (epoch, device) => {
    const person = membership.devices.get(device)?.member.person;
    return person !== undefined && admissions.get(person)?.has(epoch.id) !== true;
  };
}

function pastOf(id: RecordId, records: ReadonlyMap<RecordId, RosterRecord>): ReadonlySet<string> {
  const past = new Set<RecordId>();
  const next = [id];
  for (let at = next.pop(); at !== undefined; at = next.pop())
    for (const parent of records.get(at)?.parents ?? []) {
      if (past.has(parent)) continue;
      past.add(parent);
      next.push(parent);
    }
  return past;
}

/**
 * Appending one's own: what is sealed how, under which epoch, and which roster records go before it in the same transaction.
 *
 *   append ── an epoch to write under? ──no──▶ open one (one act at a time) ─┐
 *              │yes                                                         ▼
 *   act ───────┴────────────────▶ records · entries · values ── write ── durable ── taken in ── read back
 */
import type { Value } from "../protocols/bytes.ts";
import type { SigningKey } from "../protocols/crypto/keys.ts";
import { KinError } from "../protocols/errors.ts";
import type { BodyPlan } from "../protocols/event-body.ts";
import type { StoredEvent } from "../protocols/events.ts";
import { idBytes, idOf, type DeviceId } from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import { isRecordOf, makeRecord, type RecordAuthor, type RosterRecord } from "../protocols/roster-record.ts";
import { LAST_ADMIN } from "../protocols/roster-rules.ts";
import { createRoster } from "../protocols/roster.ts";
import { sealedValue } from "../protocols/signature.ts";
import type { Epochs, OpenEpoch } from "./epochs.ts";
import { createQueue, type Ground } from "./ground.ts";
import type { NewEvent, OwnLog } from "./log.ts";
import type { OwnLogs } from "./own-logs.ts";
import type { Reading } from "./reading.ts";
import type { Records } from "./records.ts";
import type { EpochKeys, NewEntry, ReadableEvent, RosterAct } from "./replica.ts";
import { skewRefusal } from "./skew.ts";
import type { StoreBatch } from "./store.ts";

/** Unwitnessed `here` events after which the mesh chain names the `here` chain's head (R9). */
const HERE_HEAD_EVERY = 64;

type Values = NonNullable<StoreBatch["values"]>;

export interface Writing {
  append: (entries: NewEntry[], options?: { values?: StoreBatch["values"] }) => Promise<ReadableEvent[]>;
  act: (build: (membership: Membership) => Promise<RosterAct> | RosterAct) => Promise<RosterRecord[]>;
  /** Writes these records before the entries, under the epoch that one of them opened or the best there is. */
  write: (what: Writable) => Promise<ReadableEvent[]>;
}

export interface Writable {
  records?: RosterRecord[];
  entries?: NewEntry[];
  values?: Values;
  /** Opened by one of `records`. */
  epoch?: OpenEpoch | undefined;
}

export interface WritingDeps {
  ground: Pick<
    Ground,
    "mesh" | "device" | "store" | "clock" | "random" | "logs" | "inOrder" | "inBackground" | "isClosed"
  >;
  records: Records;
  epochs: Pick<Epochs, "writable" | "open">;
  epochKeys: Pick<EpochKeys, "put">;
  ownLogs: () => OwnLogs;
  deviceKey: SigningKey;
  reading: Reading;
  /** Takes own events in that are durable now. */
  takeOwn: (log: Pick<OwnLog, "log" | "opening">, done: StoredEvent[]) => Promise<void>;
  /** Called after each write to the mesh. */
  wrote: () => void;
  /** How far the others' clocks are from ours, as far as enough of them say (R13). */
  skewMs: () => number | null;
  /** False: what nobody asked for is not written to the mesh yet (R2). */
  hasHeard?: (() => boolean) | undefined;
}

export function createWriting(deps: WritingDeps): Writing {
  const { ground, records, epochs, ownLogs, reading } = deps;
  const { mesh, device, store, clock, random } = ground;
  const { membership } = records;
  const oneAct = createQueue();
  let hereUnwitnessed = 0;

  async function append(entries: NewEntry[], { values = [] }: { values?: StoreBatch["values"] } = {}) {
    if (entries.some(needsEpoch) && epochs.writable() === undefined) return appendUnderNewEpoch(entries, values);
    return write({ entries, values });
  }

  async function appendUnderNewEpoch(entries: NewEntry[], values: Values) {
    const first = await oneAct(async () => {
      checkLiving();
      if (epochs.writable() !== undefined) return null; // somebody was faster
      const prepared = await prepare(await epochs.open(membership(), membership().devices.values()));
      return write({ ...prepared, entries, values });
    });
    return first ?? write({ entries, values });
  }

  function act(build: Parameters<Writing["act"]>[0]): Promise<RosterRecord[]> {
    return oneAct(async () => {
      checkLiving();
      const planned = await build(membership());
      const prepared = await prepare(planned);
      checkRightful(prepared.records);
      const entries = planned.entries ?? [];
      const needs = entries.some(needsEpoch) && prepared.epoch === undefined && epochs.writable() === undefined;
      if (needs) throw new KinError("BAD_REQUEST", "a roster act with sealed events needs an epoch to seal them under");
      await write({ ...prepared, entries });
      return prepared.records;
    });
  }

  /** Makes the records, each on top of the one before, and keeps the epoch's key. */
  async function prepare(planned: RosterAct): Promise<{ records: RosterRecord[]; epoch: OpenEpoch | undefined }> {
    const made: RosterRecord[] = [];
    let parents = membership().heads;
    for (const body of planned.records) {
      const by: RecordAuthor = {
        mesh,
        person: membership().devices.get(device)!.member.person,
        device: deps.deviceKey,
        parents,
        hlc: clock.stamp(),
        n: random.bytes(16),
      };
      const record = makeRecord(by, body as never) as RosterRecord;
      made.push(record);
      parents = [record.id];
    }
    const opened = made.find((record) => isRecordOf(record, "epoch"));
    if (opened === undefined || planned.epochKey === undefined) return { records: made, epoch: undefined };
    const epoch = idOf<"epoch">(idBytes(opened.id));
    await deps.epochKeys.put(epoch, planned.epochKey);
    return { records: made, epoch: { epoch, key: planned.epochKey } };
  }

  /** What the fold would void is not written. */
  function checkRightful(made: RosterRecord[]): void {
    const trial = createRoster(mesh);
    trial.addRecords([...records.roster.records(), ...made]);
    for (const { id, body } of made) {
      const why = trial.membership?.void.get(id);
      if (why === undefined) continue;
      throw new KinError(why === LAST_ADMIN ? "LAST_ADMIN" : "DENIED", `"${body.type}" would have no effect: ${why}`);
    }
  }

  async function write({ records: made = [], entries = [], values = [], epoch }: Writable): Promise<ReadableEvent[]> {
    checkLiving();
    if (made.length > 0 || entries.some(({ audience }) => audience !== "here")) checkClock();
    await ownLogs().settle();
    const toMesh = entries.filter(({ audience }) => audience !== "here");
    const toHere = entries.filter(({ audience }) => audience === "here");
    const rosterEntries = made.map(({ sealed }): NewEntry => {
      return { kind: "roster", audience: "mesh", value: sealedValue(sealed) as Value };
    });
    const rows = records.announce(made);
    const inMesh = [...rosterEntries, ...toMesh];
    if (inMesh.length + toHere.length === 0 && values.length > 0) await store.append({ values });
    const meshDone =
      inMesh.length === 0 ? [] : await writeMesh(inMesh, [...values, ...rows], epoch ?? epochs.writable());
    const hereDone = toHere.length === 0 ? [] : await writeHere(toHere, inMesh.length === 0 ? values : []);
    meshDone.splice(0, made.length);
    return entries.map(({ audience }) => (audience === "here" ? hereDone : meshDone).shift()!);
  }

  function checkLiving(): void {
    if (ground.isClosed()) throw new KinError("CLOSED", "the replica is closed");
    const { devices, formerDevices, name } = membership();
    if (devices.has(device)) return;
    if (formerDevices.has(device)) throw new KinError("REMOVED", `this device was removed from ${name}`);
    throw new KinError("NOT_A_MEMBER", `this device is not a member's in ${name}`);
  }

  /** With a clock that is far off nothing is signed for the mesh (R13); the `here` chain goes on. */
  function checkClock(): void {
    const refusal = skewRefusal(deps.skewMs());
    if (refusal !== null) throw refusal;
  }

  async function writeMesh(entries: NewEntry[], values: Values, epoch?: OpenEpoch): Promise<ReadableEvent[]> {
    const events = entries.map((entry): NewEvent => {
      return { kind: entry.kind, audience: entry.audience, body: bodyPlan(entry, epoch) };
    });
    const readable = await takeBack(await ownLogs().appendToMesh(events, values).catch(lookForStored), entries);
    // Not at the start: nothing is written before a peer could say that it has more of our log (R2).
    deps.wrote();
    return readable;
  }

  async function writeHere(entries: NewEntry[], values: Values): Promise<ReadableEvent[]> {
    const events = entries.map(({ kind, value }): NewEvent => {
      return { kind, audience: "here", body: { form: "clear", value } };
    });
    const written = await ownLogs().appendToHere(events, values).catch(lookForStored);
    const readable = await takeBack(written, entries);
    hereUnwitnessed += readable.length;
    const isDue = hereUnwitnessed >= HERE_HEAD_EVERY && deps.hasHeard?.() !== false;
    if (isDue && epochs.writable() !== undefined) {
      hereUnwitnessed = 0;
      ground.inBackground(witness(written.log));
    }
    return readable;
  }

  function lookForStored(error: unknown): never {
    ground.inBackground(takeStored());
    throw error;
  }

  /** What the disk holds although it said that it failed counts like all that is stored: else every view would wait for it. */
  async function takeStored(): Promise<void> {
    for (const { log, opening, seq } of await store.logs()) {
      if (opening.device !== device || seq <= (ground.logs.get(log)?.tip?.seq ?? -1)) continue;
      const last = await store.range(log, seq, seq + 1);
      await ground.inOrder(() => deps.takeOwn({ log, opening }, last));
    }
  }

  async function takeBack({ log, done }: { log: OwnLog; done: StoredEvent[] }, entries: NewEntry[]) {
    const said = done.map(({ id }, i) => ({ id, value: entries[i]!.value }));
    return reading.whileSaying(said, async () => {
      await ground.inOrder(() => deps.takeOwn(log, done));
      return Promise.all(done.map((event) => reading.read(event)));
    });
  }

  /** R9: peers witness how far the `here` chain was, without a word of what it says. */
  async function witness(log: OwnLog): Promise<void> {
    const tip = log.tip();
    const head = tip === null ? undefined : await store.headFrom(log.log, tip.seq);
    if (head === undefined) return;
    await append([{ kind: "here-head", audience: "mesh", value: { h: [head.bytes, head.sig] }, clear: true }]);
  }

  function bodyPlan(entry: NewEntry, epoch: OpenEpoch | undefined): BodyPlan {
    const { value } = entry;
    if (isClear(entry)) return { form: "clear", value };
    if (entry.audience === "direct") return { form: "direct", recipients: recipientsOf(entry), value };
    if (epoch === undefined) throw new KinError("INTERNAL", "there is no epoch to write under");
    return { form: "mesh", ...epoch, value };
  }

  function recipientsOf(entry: NewEntry): { device: DeviceId; sealingKey: Uint8Array }[] {
    return [...new Set(entry.to ?? [])].map((id) => {
      const found = membership().devices.get(id);
      if (found === undefined)
        throw new KinError("NOT_A_MEMBER", `a ${entry.kind} event for device ${id}, which is no living member's`);
      return { device: id, sealingKey: found.device.sealingKey };
    });
  }

  return { append, act, write };
}

function needsEpoch(entry: NewEntry): boolean {
  return entry.audience === "mesh" && !isClear(entry);
}

function isClear(entry: NewEntry): boolean {
  return entry.clear === true || entry.audience === "here" || entry.kind === "roster" || entry.kind === "agent-key";
}

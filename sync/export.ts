/**
 * Makes an export (docs/protocol.md §26): what somebody with only the mesh id needs to check some history by himself. It is
 * written frame by frame, with back-pressure, so that a history of any length takes the memory of one run.
 *
 *   what is wanted ─▶ ranges of logs ─▶ "export", records, keys, forks, open ─▶ each range, run by run ─▶ "end", sealed
 *
 * Bodies stay sealed. Those of single events can be shown: of a direct one the key that opens it and no other; of a mesh one,
 * whose key would open the whole log under its epoch, what it says, on the exporter's word. An epoch's or a private note's key is never shown.
 */
import { createSha256 } from "#crypto";
import { parseAgentKey, type AgentKeyRecord } from "../protocols/agent-key.ts";
import { encode, utf8Bytes, type Value } from "../protocols/bytes.ts";
import type { SealingKey, SigningKey } from "../protocols/crypto/keys.ts";
import type { Random, Time } from "../protocols/effects.ts";
import { decodeEnvelope, envelopeId } from "../protocols/envelope.ts";
import { KinError } from "../protocols/errors.ts";
import { clearValue, contentKey } from "../protocols/event-body.ts";
import { signedHeadValue, type LogOpening, type SignedHead, type StoredEvent } from "../protocols/events.ts";
import {
  cutOf,
  encodeExportFrame,
  EXPORT_LINE,
  isOrWasMembers,
  keyInBody,
  MAX_OPENED,
  MAX_OPENED_PER_FRAME,
  sealExport,
  stopOf,
  type ExportFrame,
  type LogRange,
  type Opened,
} from "../protocols/export.ts";
import { frame } from "../protocols/frame.ts";
import {
  idOf,
  type DeviceId,
  type EnvelopeId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
} from "../protocols/ids.ts";
import { MAX_EVENTS_PER_HEAD } from "../protocols/limits.ts";
import type { Membership } from "../protocols/membership.ts";
import { asMap, parseSealed, type Sealed } from "../protocols/signature.ts";
import { MAX_RECORDS_PER_FRAME, partOf, partsBySize, type ForkProof } from "../protocols/sync.ts";
import { ASK_KINDS } from "./asks.ts";
import { forkedAt } from "./fork.ts";
import type { Replica } from "./replica.ts";
import { lastHead } from "./runs.ts";

/** What of the history goes into the file. */
export interface ExportRequest {
  /** All mesh logs; the rest then says only what is shown. */
  all: boolean;
  /** All logs of these devices. */
  devices: readonly DeviceId[];
  /** Each with the run that proves it. */
  events: readonly EventId[];
  /** Calls that travelled as events: all events about them. */
  calls: readonly EnvelopeId[];
  /** My own `here` chains too, and my mesh logs, which witness them (R9). */
  here: boolean;
  /** Show what the bodies of `events` and `calls` say. */
  open: boolean;
}

export interface ExportDeps {
  replica: Pick<
    Replica,
    "mesh" | "device" | "store" | "membership" | "records" | "forks" | "vector" | "idle" | "read" | "events" | "append"
  >;
  deviceKey: SigningKey;
  sealingKeys: () => readonly SealingKey[];
  time: Pick<Time, "now">;
  random: Random;
  /** Resolves when more may come. */
  write: (bytes: Uint8Array) => Promise<void>;
  signal: AbortSignal;
}

/** What went into the file. */
export interface ExportSummary {
  records: number;
  keys: number;
  logs: number;
  events: number;
  /** Events whose body is shown. */
  opened: number;
  /** … of which only on our word. */
  said: number;
  /** Events whose body we lack. */
  bodiless: number;
  hereEvents: number;
  bytes: number;
}

/** Ranges of one file: a call touches two or three, and each device has at most 16 logs. */
const MAX_RANGES = 65_536;
/** Events read from the store at a time: at most 16 MiB of bodies. */
const PAGE_EVENTS = 64;

/** One moment of the replica: what its logs carry is among its records. */
interface View {
  logs: Map<LogId, ExportableLog>;
  membership: Membership;
  records: Sealed[];
  forks: Map<LogId, ForkProof>;
}

/** A log up to a signed head. */
interface ExportableLog {
  log: LogId;
  opening: LogOpening;
  last: number;
}

/** @throws KinError NOT_FOUND, BAD_REQUEST, TOO_LARGE, NOT_A_MEMBER; what `write` throws */
export async function writeExport(deps: ExportDeps, request: ExportRequest): Promise<ExportSummary> {
  const { replica, signal } = deps;
  if (request.here) await witnessAudit(deps);
  const view = await lookAt(deps, request);
  const exporter = personOf(view.membership, replica.device);
  const named = await namedEvents(deps, request);
  const ranges = await withStops(deps, view, await rangesOf(deps, request, view, named));
  const inFile = new Set(ranges.map(({ log }) => log));
  const devices = new Set(ranges.map(({ opening }) => opening.device));
  const forks = [...view.forks.values()].filter(({ opening }) => devices.has(opening.device));
  const opened = request.open ? await openAll(deps, named) : [];
  const keys = await agentKeysOf(deps, view, devices);
  const { records } = view;
  const out = createFrameWriter(deps);

  await out.frame({ type: "export", mesh: replica.mesh, all: request.all, here: request.here });
  for (const part of partsBySize(records, sizeOf, MAX_RECORDS_PER_FRAME))
    await out.frame({ type: "records", records: part });
  for (const part of partsBySize(keys, sizeOf, MAX_RECORDS_PER_FRAME)) await out.frame({ type: "keys", keys: part });
  for (const proof of forks) await out.frame({ type: "fork", proof });
  for (const part of partsBySize(opened, ({ bytes }) => bytes.length, MAX_OPENED_PER_FRAME))
    await out.frame({ type: "open", opened: part });
  const counts = { events: 0, bodiless: 0, hereEvents: 0 };
  for (const range of ranges) {
    await out.frame({ type: "log", ...range });
    for await (const run of runsOf(deps, range)) {
      signal.throwIfAborted();
      await out.frame({ type: "run", ...run });
      counts.events += run.events.length;
      counts.bodiless += run.events.filter(({ body }) => body === null).length;
      if (range.opening.chain === "here") counts.hereEvents += run.events.length;
    }
  }
  await out.end(exporter);
  return {
    ...counts,
    records: records.length,
    keys: keys.length,
    logs: inFile.size,
    opened: opened.length,
    said: opened.filter(({ how }) => how === "said").length,
    bytes: out.bytes(),
  };
}

function sizeOf({ bytes, seal }: Sealed): number {
  return bytes.length + 128 + 34 * seal.path.hashes.length;
}

/** @throws KinError NOT_A_MEMBER */
function personOf(membership: Membership, device: DeviceId): PersonId {
  const person = membership.devices.get(device)?.member.person ?? membership.formerDevices.get(device)?.person;
  if (person !== undefined) return person;
  throw new KinError(
    "NOT_A_MEMBER",
    `this device was never a member's in ${membership.name}: it can prove nothing of it`,
  );
}

/**
 * The mesh chain names the heads of our own `here` chains as they are now (R9): what is in the file can't be shortened later
 * without taking this event, too, from a chain that others hold. Who is no member any more can't write.
 */
async function witnessAudit({ replica }: ExportDeps): Promise<void> {
  if (!replica.membership().devices.has(replica.device)) return;
  const heads = (await replica.store.logs()).flatMap(({ opening, head }) =>
    opening.chain === "here" && opening.device === replica.device && head !== null ? [head] : [],
  );
  const entries = heads.map((head) => {
    return { kind: "here-head", audience: "mesh" as const, value: { h: signedHeadValue(head) }, clear: true };
  });
  if (entries.length > 0) await replica.append(entries);
}

// ── What goes in ──

/** How far each log goes here, to its newest signed head; of one that was written twice the history that the store keeps. */
async function lookAt({ replica }: ExportDeps, { here }: ExportRequest): Promise<View> {
  const states = new Map((await replica.store.logs()).map((state) => [state.log, state]));
  const told = [...replica.vector().values()];
  await replica.idle(); // the records in these logs are folded now
  const membership = replica.membership();
  const [records, forks] = [replica.records(), new Map(replica.forks().map((proof) => [proof.log, proof]))];
  const mine = [...states.values()].filter(
    ({ opening }) => opening.chain === "here" && opening.device === replica.device,
  );
  const logs = new Map<LogId, ExportableLog>();
  for (const { log, opening, seq } of [...told, ...(here ? mine : [])]) {
    if (!isOrWasMembers(membership, opening.device)) continue;
    const end = forks.has(log) ? (states.get(log)?.seq ?? -1) : seq;
    const head = await lastHead(replica.store, log, 0, end);
    if (head !== undefined) logs.set(log, { log, opening, last: head.head.seq });
  }
  return { logs, membership, records, forks };
}

/** The events that are asked for by name, in the order of their ids. @throws KinError NOT_FOUND, BAD_REQUEST */
async function namedEvents(deps: ExportDeps, { events, calls }: ExportRequest): Promise<StoredEvent[]> {
  const found = new Map<EventId, StoredEvent>();
  for (const id of events) found.set(id, await eventOf(deps, id));
  for (const id of calls.length === 0 ? [] : await eventsOfCalls(deps, calls)) found.set(id, await eventOf(deps, id));
  return [...found.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
}

async function eventOf({ replica }: ExportDeps, id: EventId): Promise<StoredEvent> {
  const event = await replica.store.event(id);
  if (event === undefined) throw new KinError("NOT_FOUND", `there is no event ${id} here`);
  if (event.header.audience === "here")
    throw new KinError("BAD_REQUEST", `event ${id} is of this machine's own audit: it leaves it only with all of it`);
  return event;
}

/** @throws KinError NOT_FOUND if one of the calls is not in the log */
async function eventsOfCalls({ replica }: ExportDeps, calls: readonly EnvelopeId[]): Promise<EventId[]> {
  const wanted = new Set(calls);
  const asked = new Set<EnvelopeId>();
  const found: EventId[] = [];
  for (let position = 0; ;) {
    const page = await replica.events({ position, kinds: ASK_KINDS });
    for (const { id, kind, value } of page.events) {
      const call = value === undefined ? null : callOf(kind, value);
      if (call === null || !wanted.has(call)) continue;
      found.push(id);
      if (kind === "invocation-asked") asked.add(call);
    }
    if (page.next === position) break;
    position = page.next;
  }
  const missing = calls.find((call) => !asked.has(call));
  if (missing === undefined) return found;
  throw new KinError(
    "NOT_FOUND",
    `no event here asks the call ${missing}: only calls that waited in an outbox are in the log`,
  );
}

/** The call that an event is about, null if it says none. */
function callOf(kind: string, value: Value): EnvelopeId | null {
  try {
    const { q, re } = asMap(value, kind);
    if (kind !== "invocation-asked") return idOf(re);
    const sealed = parseSealed(q);
    return envelopeId(sealed, decodeEnvelope(sealed.bytes).from);
  } catch (error) {
    if (error instanceof KinError) return null; // somebody's nonsense is about no call
    throw error;
  }
}

type Range = Omit<LogRange, "stop">;

async function rangesOf(
  deps: ExportDeps,
  { all, devices, here }: ExportRequest,
  view: View,
  named: readonly StoredEvent[],
): Promise<Range[]> {
  const { device } = deps.replica;
  const ranges: Range[] = [];
  for (const { log, opening, last } of view.logs.values())
    if (all || devices.includes(opening.device) || (here && opening.device === device))
      ranges.push({ log, opening, from: 0, to: last });
  for (const { id, header } of named) {
    const log = view.logs.get(header.log);
    if (log === undefined || header.seq > log.last)
      throw new KinError("NOT_FOUND", `no signed head proves event ${id} yet`);
    ranges.push({
      log: log.log,
      opening: log.opening,
      from: header.seq,
      to: await endOfProof(deps, view, log, header.seq),
    });
  }
  const merged = merge(ranges);
  if (merged.length > MAX_RANGES)
    throw new KinError("TOO_LARGE", `${merged.length} ranges of logs in one export: at most ${MAX_RANGES}`);
  return merged;
}

/** The head that proves the event at `seq`, and of a log that was cut the one that proves it was written before (R5). */
async function endOfProof(
  { replica }: ExportDeps,
  { membership }: View,
  log: ExportableLog,
  seq: number,
): Promise<number> {
  const cut = cutOf(membership, log);
  const needed = cut === null || cut === "none" || cut.seq < seq ? seq : Math.min(cut.seq, log.last);
  return (await replica.store.headFrom(log.log, needed))?.head.seq ?? log.last;
}

/** Mesh chains before `here` chains, by log, without overlaps. */
function merge(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  for (const range of ranges.toSorted(byPlace)) {
    const last = merged.at(-1);
    if (last?.log === range.log && range.from <= last.to + 1) last.to = Math.max(last.to, range.to);
    else merged.push({ ...range });
  }
  return merged;
}

function byPlace(a: Range, b: Range): number {
  if (a.opening.chain !== b.opening.chain) return a.opening.chain === "mesh" ? -1 : 1;
  if (a.log !== b.log) return a.log < b.log ? -1 : 1;
  return a.from - b.from;
}

async function withStops({ replica }: ExportDeps, view: View, ranges: readonly Range[]): Promise<LogRange[]> {
  const { membership, forks } = view;
  const out: LogRange[] = [];
  for (const range of ranges) {
    const cut = cutOf(membership, range);
    const atCut = cut === null || cut === "none" ? [] : await replica.store.range(range.log, cut.seq, cut.seq + 1);
    const endOfFork = forkedAt(range, forks.values(), membership);
    out.push({ ...range, stop: stopOf(range, { membership, forkedAt: endOfFork, idAtCut: atCut[0]?.id }) });
  }
  return out;
}

/** Agent-key records in the logs of these devices: each once, in the order of their logs. */
async function agentKeysOf(
  { replica, signal }: ExportDeps,
  { logs, membership }: View,
  devices: ReadonlySet<DeviceId>,
): Promise<Sealed[]> {
  const keys = new Map<string, Sealed>();
  for (const { log, opening, last } of logs.values()) {
    if (opening.chain !== "mesh" || !devices.has(opening.device)) continue;
    for (let at = 0; at <= last; at += PAGE_EVENTS) {
      signal.throwIfAborted();
      for (const event of await replica.store.range(log, at, at + PAGE_EVENTS)) {
        const record = agentKeyOf(event, opening, replica.mesh, membership);
        if (record !== null) keys.set(record.id, record.sealed);
      }
    }
  }
  return [...keys.values()];
}

/** The agent-key record that an event carries, if it is good and of its own device. */
function agentKeyOf(
  { header, body }: StoredEvent,
  { device }: LogOpening,
  mesh: MeshId,
  membership: Membership,
): AgentKeyRecord | null {
  if (header.kind !== "agent-key" || body === null) return null;
  try {
    const record = parseAgentKey(parseSealed(clearValue(header, body)));
    const isRight = record.mesh === mesh && record.device === device && record.person === personOf(membership, device);
    return isRight ? record : null;
  } catch (error) {
    if (error instanceof KinError) return null; // signed nonsense binds no key
    throw error;
  }
}

// ── What is shown ──

async function openAll(deps: ExportDeps, events: readonly StoredEvent[]): Promise<Opened[]> {
  const opened: Opened[] = [];
  for (const event of events) {
    const one = await openOne(deps, event);
    if (one !== null) opened.push(one);
  }
  if (opened.length > MAX_OPENED)
    throw new KinError("TOO_LARGE", `one export shows at most ${MAX_OPENED} bodies, not ${opened.length}`);
  return opened;
}

/** null: it is clear, or not for us to read. @throws KinError BAD_REQUEST for what holds a key */
async function openOne({ replica, sealingKeys }: ExportDeps, event: StoredEvent): Promise<Opened | null> {
  const { id, header, body } = event;
  if (body === null) return null;
  const held = keyInBody(header);
  if (held !== null) throw new KinError("BAD_REQUEST", `event ${id} holds ${held}: an export never shows it`);
  const readable = await replica.read(event);
  if (readable.value === undefined) return null;
  if (header.audience === "direct") {
    const keys = { device: replica.device, epochKey: () => undefined, sealingKeys };
    const key = await contentKey({ mesh: replica.mesh, author: readable.device }, header, body, keys);
    return key === null ? null : { id, how: "key", bytes: key };
  }
  return clearValue(header, body) === undefined ? { id, how: "said", bytes: encode(readable.value) } : null;
}

// ── The file ──

/** Frames of one range, each run's last one with its signed head; of the run only what one frame holds is in memory. */
async function* runsOf(
  { replica }: ExportDeps,
  { log, from, to }: LogRange,
): AsyncGenerator<{ events: StoredEvent[]; head: SignedHead | null }> {
  for (let at = from; at <= to;) {
    const most = Math.min(to, at + MAX_EVENTS_PER_HEAD - 1);
    const head = await lastHead(replica.store, log, at, most);
    if (head === undefined || head.head.seq > most)
      throw new KinError("CORRUPT", `log ${log} has no signed head from ${at} to ${most}`);
    while (at <= head.head.seq) {
      const page = await replica.store.range(log, at, Math.min(at + PAGE_EVENTS, head.head.seq + 1));
      if (page[0]?.header.seq !== at)
        throw new KinError("CORRUPT", `event ${at} of log ${log} is missing in the store`);
      for (let events = page.splice(0, partOf(page)); events.length > 0; events = page.splice(0, partOf(page))) {
        at += events.length;
        yield { events, head: at > head.head.seq ? head : null };
      }
    }
  }
}

function createFrameWriter({ replica, deviceKey, time, random, write }: ExportDeps) {
  const hash = createSha256();
  let bytes = 0;

  async function put(piece: Uint8Array): Promise<void> {
    hash.update(piece);
    bytes += piece.length;
    await write(piece);
  }

  let begun = false;
  return {
    async frame(value: ExportFrame): Promise<void> {
      if (!begun) await put(utf8Bytes(EXPORT_LINE));
      begun = true;
      await put(frame(encodeExportFrame(value)));
    },
    async end(person: PersonId): Promise<void> {
      const end = { mesh: replica.mesh, person, device: replica.device, at: time.now(), file: hash.digest() };
      const last = frame(encodeExportFrame({ type: "end", sealed: sealExport(deviceKey, end, random.bytes(16)) }));
      bytes += last.length;
      await write(last);
    },
    bytes: () => bytes,
  };
}

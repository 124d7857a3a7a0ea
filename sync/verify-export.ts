/**
 * Checks an export (docs/protocol.md §26) with nothing but the mesh id: no node, no keys, no network, no clock. It believes
 * nothing in the file but what follows from that id: the genesis is the record with that hash, the roster follows from it, the
 * devices' keys from the roster, the logs from those keys. The first thing that is wrong ends it, and is named.
 *
 *   "export" ─▶ records ─▶ membership ─▶ keys, forks, open ─▶ (log ─▶ runs)* ─▶ end
 *                              │             │
 *                              └─ whose log, until when ─┘
 *
 * Memory: the roster, one frame, the headers of one run, 100 bytes an event for the stamps.
 */
import { createSha256 } from "#crypto";
import { createAgentKeys, type AgentKeys } from "../protocols/agent-key.ts";
import { concat, decode, equal, toHex, utf8Bytes, type Value } from "../protocols/bytes.ts";
import { errorShape, KinError } from "../protocols/errors.ts";
import { clearValue, couldSay, openWithKey } from "../protocols/event-body.ts";
import { verifyRun, type StoredEvent, type Tip } from "../protocols/events.ts";
import {
  cutOf,
  EXPORT_LINE,
  isOrWasMembers,
  keyInBody,
  MAX_OPENED,
  openExportEnd,
  parseExportFrame,
  stopOf,
  type ExportEnd,
  type ExportFrame,
  type LogRange,
  type Opened,
} from "../protocols/export.ts";
import {
  formatText,
  idBytes,
  type DeviceId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
  type RecordId,
} from "../protocols/ids.ts";
import { MAX_EVENTS_PER_HEAD, MAX_FRAME_BYTES } from "../protocols/limits.ts";
import type { Membership } from "../protocols/membership.ts";
import { parseRosterRecord, parseRosterValue, recordIdOf, type RosterRecord } from "../protocols/roster-record.ts";
import { createRoster } from "../protocols/roster.ts";
import { parseSealed, type Sealed } from "../protocols/signature.ts";
import type { ForkProof } from "../protocols/sync.ts";
import { checkForkProof, forkedAt } from "./fork.ts";
import { createAudits } from "./verify-audit.ts";
import { verifyCalls, type CallWord, type ProvenCall } from "./verify-calls.ts";

/** Roster records, agent keys, forks and ranges of one file, each: far above any mesh, and a bound. */
const MAX_ITEMS = 65_536;
/** Stamps remembered to judge what comes after them; 100 bytes each. */
const MAX_STAMPS = 1_000_000;
/** Events that are named as without effect; the rest is counted. */
const MAX_NAMED = 8;

/** A sealed body is a map of three ({n, e, x} or {n, r, x}), a clear one of two ({n, c}). */
const SEALED_BODY = 0xa3;

/** One range of a log, proved. */
export interface ProvenLog extends LogRange {
  device: DeviceId;
  person: PersonId | null;
  firstId: EventId;
  lastId: EventId;
  /** Wall ms of the last event's stamp, by its author's clock. */
  lastHlc: Uint8Array;
  /** Why it stops. */
  why: "forked" | "removed" | null;
  /** Events without their body. */
  bodiless: number;
}

/** What one body says. */
export interface ShownEvent extends Omit<CallWord, "person"> {
  person: PersonId | null;
  log: LogId;
  seq: number;
  hlc: Uint8Array;
  /** By its key, or by the exporter's word. */
  how: Opened["how"];
}

export interface ExportReport {
  mesh: MeshId;
  membership: Membership;
  records: number;
  agentKeys: number;
  by: ExportEnd;
  all: boolean;
  here: boolean;
  logs: ProvenLog[];
  events: number;
  sealed: number;
  forks: ForkProof[];
  shown: ShownEvent[];
  calls: ProvenCall[];
  /** Of the exporter's own `here` chains: how far peers could witness them. */
  audit: { log: LogId; events: number; witnessedTo: number | null }[];
  /** Events stamped before what they say to come after: without effect (R13). */
  misStamped: { count: number; events: EventId[] };
}

export interface ExportProblem {
  code: string;
  message: string;
  /** Byte at which the frame begins that shows it. */
  offset: number;
  /** In which log, if it is about one. */
  log: LogId | null;
}

export type Verdict = { ok: true; report: ExportReport } | { ok: false; mesh: MeshId | null; problem: ExportProblem };

/** `mesh`: what the reader knows; null: the file's own word is taken, and the reader has to compare it. */
export async function verifyExport(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  mesh: MeshId | null,
): Promise<Verdict> {
  const reading = createReading(mesh);
  try {
    for await (const chunk of chunks) reading.push(chunk);
    return { ok: true, report: reading.end() };
  } catch (error) {
    if (!(error instanceof KinError)) throw error;
    const { code, message } = errorShape(error);
    return {
      ok: false,
      mesh: reading.mesh(),
      problem: { code, message, offset: reading.offset(), log: reading.log() },
    };
  }
}

/** Bytes to frames, each with its place; the hash of all before the `end`. Frame by frame: what is wrong is named where it stands. */
function createReading(given: MeshId | null) {
  const hash = createSha256();
  const checks = createChecks(given);
  const line = utf8Bytes(EXPORT_LINE);
  let rest: Uint8Array = new Uint8Array(0);
  let offset = 0;

  function push(chunk: Uint8Array): void {
    rest = rest.length === 0 ? chunk.slice() : concat(rest, chunk);
    if (offset === 0 && !takeLine()) return;
    let at = 0;
    for (let next = frameAt(rest, at); next !== null; next = frameAt(rest, at)) {
      take(rest.subarray(at, next.end), rest.subarray(next.start, next.end));
      at = next.end;
    }
    rest = rest.slice(at);
  }

  function takeLine(): boolean {
    checkLine(rest.subarray(0, line.length));
    if (rest.length < line.length) return false;
    hash.update(line);
    offset = line.length;
    rest = rest.subarray(line.length);
    return true;
  }

  function take(whole: Uint8Array, payload: Uint8Array): void {
    const parsed = parseExportFrame(payload, checks.mesh());
    checks.take(parsed, parsed.type === "end" && !checks.isDone() ? hash.digest() : null);
    if (parsed.type !== "end") hash.update(whole);
    offset += whole.length;
  }

  function end(): ExportReport {
    if (offset === 0) throw bad("the file ends within its first line");
    const isDone = checks.isDone();
    if (rest.length > 0 && isDone) throw bad(`${rest.length} bytes follow the end of the export`);
    if (rest.length > 0) throw bad(`the file is cut off in the middle of a frame, ${rest.length} bytes into it`);
    if (!isDone) throw bad("the file is cut off: its end is missing");
    return checks.report();
  }

  return { push, end, mesh: () => checks.mesh() ?? given, offset: () => offset, log: () => checks.log() };
}

function checkLine(start: Uint8Array): void {
  const line = utf8Bytes(EXPORT_LINE);
  if (equal(start, line.subarray(0, start.length))) return;
  const other = /^kin export (\d+)/.exec(String.fromCharCode(...start))?.[1];
  if (other !== undefined && other !== "1")
    throw new KinError("UNSUPPORTED_VERSION", `an export of version ${other}: this kin reads version 1`);
  throw bad(`this is no export: one begins with the line "${EXPORT_LINE.trim()}"`);
}

/** Where the frame at `at` begins and ends, null if it is not all there. @throws KinError BAD_REQUEST, TOO_LARGE */
function frameAt(bytes: Uint8Array, at: number): { start: number; end: number } | null {
  let length = 0;
  for (let i = 0; i < MAX_VARINT_BYTES; i++) {
    const byte = bytes[at + i];
    if (byte === undefined) return null;
    length |= (byte & 127) << (7 * i);
    if (byte > 127) continue;
    if (i > 0 && byte === 0) throw bad("a frame length that is not minimal");
    if (length === 0 || length > MAX_FRAME_BYTES)
      throw new KinError("TOO_LARGE", `a frame of ${length} bytes: 1 to ${MAX_FRAME_BYTES}`);
    const start = at + i + 1;
    return start + length <= bytes.length ? { start, end: start + length } : null;
  }
  throw bad("a frame length of more than 4 bytes");
}

/** Of a frame's length (F1). */
const MAX_VARINT_BYTES = 4;

const ORDER: readonly ExportFrame["type"][] = ["export", "records", "keys", "fork", "open", "log", "run", "end"];

/** The range that is being read. */
interface Reading {
  range: LogRange;
  person: PersonId | null;
  tip: Tip | null;
  /** Events since the last head, without bodies but the opening's. */
  run: StoredEvent[];
  firstId: EventId | null;
  idAtCut: EventId | undefined;
  bodiless: number;
}

/** The checks on frames in their order. Throws at the first that fails. */
function createChecks(given: MeshId | null) {
  let mesh: MeshId | null = null;
  let all = false;
  let here = false;
  let last: ExportFrame["type"] | null = null;
  const records = new Map<RecordId, RosterRecord>();
  let membership: Membership | null = null;
  let keys: AgentKeys | null = null;
  const keyIds = new Set<RecordId>();
  const forks = new Map<LogId, ForkProof>();
  const opened = new Map<EventId, Opened>();
  let lastOpened: EventId | null = null;
  let reading: Reading | null = null;
  const logs: ProvenLog[] = [];
  const shown: ShownEvent[] = [];
  const stamps = createStamps();
  const audits = createAudits();
  let events = 0;
  let sealed = 0;
  let by: ExportEnd | null = null;

  function take(frame: ExportFrame, hash: Uint8Array | null): void {
    checkOrder(frame.type);
    switch (frame.type) {
      case "export":
        return takeExport(frame);
      case "records":
        return takeRecords(frame.records);
      case "keys":
        return frame.keys.forEach(takeKey);
      case "fork":
        return takeFork(frame.proof);
      case "open":
        return frame.opened.forEach(takeOpened);
      case "log":
        return takeLog(frame);
      case "run":
        return takeRun(frame.events, frame.head);
      case "end":
        return takeEnd(frame.sealed, hash!);
    }
  }

  function checkOrder(type: ExportFrame["type"]): void {
    if (by !== null) throw bad(`a "${type}" frame follows the end of the export`);
    const isBack = last !== null && ORDER.indexOf(type) < ORDER.indexOf(last) && !(last === "run" && type === "log");
    if (isBack || (last === null && type !== "export") || (last === "export" && type !== "records"))
      throw bad(`a "${type}" frame after "${last ?? "nothing"}": the order is ${ORDER.join(", ")}`);
    if (type === "run" && reading === null) throw bad("events of no log");
    if ((type === "log" || type === "end") && reading !== null) endLog(reading);
    if (ORDER.indexOf(type) > ORDER.indexOf("records") && membership === null) fold();
    last = type;
  }

  // ── who is in ──

  function takeExport(frame: ExportFrame & { type: "export" }): void {
    mesh = frame.mesh;
    ({ all, here } = frame);
    if (given !== null && given !== mesh)
      throw new KinError("WRONG_MESH", `the export is of the mesh ${textOf(mesh)}, not of ${textOf(given)}`);
  }

  function takeRecords(sealedRecords: readonly Sealed[]): void {
    for (const one of sealedRecords) {
      const record = parseRosterRecord(one);
      const { id, body } = record;
      if (record.mesh !== mesh)
        throw new KinError("WRONG_MESH", `the roster record ${id} (${body.type}) is of another mesh`);
      if (records.has(id)) throw bad(`the roster record ${id} (${body.type}) is in the file twice`);
      if ((records.size === 0) !== (body.type === "genesis"))
        throw bad("the first roster record, and no other, is the genesis");
      const missing = record.parents.find((parent) => !records.has(parent));
      if (missing !== undefined)
        throw bad(
          `the roster record ${id} (${body.type}) builds on ${missing}, which the file leaves out or has later`,
        );
      records.set(id, record);
      if (records.size > MAX_ITEMS) throw tooMany("roster records");
    }
  }

  function fold(): void {
    const roster = createRoster(mesh!);
    roster.addRecords(records.values());
    membership = roster.membership!;
    keys = createAgentKeys(mesh!);
  }

  function personOf(device: DeviceId): PersonId | null {
    return membership!.devices.get(device)?.member.person ?? membership!.formerDevices.get(device)?.person ?? null;
  }

  function checkDevice(device: DeviceId, what: string): void {
    if (!isOrWasMembers(membership!, device))
      throw new KinError("NOT_A_MEMBER", `${what} is of device ${device}, which never was a member's`);
  }

  function takeKey(one: Sealed): void {
    const record = keys!.bind(one);
    checkDevice(record.device, `an agent-key record of ${record.agent}`);
    if (personOf(record.device) !== record.person)
      throw bad(`the agent-key record of ${record.agent} names another person than its device's`);
    if (keyIds.has(record.id)) throw bad(`the agent-key record ${record.id} is in the file twice`);
    keyIds.add(record.id);
    if (keyIds.size > MAX_ITEMS) throw tooMany("agent-key records");
  }

  function takeFork(proof: ForkProof): void {
    checkDevice(proof.opening.device, `a fork proof of log ${proof.log}`);
    if (forks.has(proof.log)) throw bad(`log ${proof.log} has two fork proofs`);
    checkForkProof(proof);
    forks.set(proof.log, proof);
    if (forks.size > MAX_ITEMS) throw tooMany("fork proofs");
  }

  function takeOpened(one: Opened): void {
    if (lastOpened !== null && one.id <= lastOpened) throw bad(`what opens event ${one.id} is not in ascending order`);
    lastOpened = one.id;
    opened.set(one.id, one);
    if (opened.size > MAX_OPENED) throw tooMany("opened events");
  }

  // ── the logs ──

  function takeLog(range: LogRange): void {
    const { log, opening, from } = range;
    checkDevice(opening.device, `log ${log}`);
    if (opening.chain === "here" && !here)
      throw bad(`log ${log} is a "here" chain, and the export says that it has none`);
    const before = logs.at(-1);
    if (before !== undefined && !isAfter(range, before))
      throw bad(`the range of log ${log} from ${from} comes after one that it should come before, or overlaps it`);
    const person = personOf(opening.device);
    reading = { range, person, tip: null, run: [], firstId: null, idAtCut: undefined, bodiless: 0 };
    if (logs.length >= MAX_ITEMS) throw tooMany("ranges of logs");
  }

  function takeRun(page: readonly StoredEvent[], head: Parameters<typeof verifyRun>[3] | null): void {
    const now = reading!;
    for (const event of page) takeEvent(now, event);
    if (head === null) return;
    const [first] = now.run;
    const { from } = now.range;
    // What comes before a range that begins later is not in the file: only its id is known, from the first event.
    const before = from === 0 ? null : { seq: from - 1, id: first!.header.prev!, hlc: new Uint8Array(8) };
    verifyRun(now.range, now.tip ?? before, now.run, head);
    now.tip = { seq: head.head.seq, id: head.head.id, hlc: head.head.hlc };
    now.run = [];
    if (head.head.seq > now.range.to)
      throw bad(`log ${now.range.log} has event ${head.head.seq}, and its range ends at ${now.range.to}`);
  }

  function takeEvent(now: Reading, event: StoredEvent): void {
    const { id, header, body } = event;
    if (now.run.length >= MAX_EVENTS_PER_HEAD)
      throw new KinError("TOO_LARGE", `a run of log ${header.log} of more than ${MAX_EVENTS_PER_HEAD} events`);
    now.run.push(header.seq === 0 ? event : { ...event, body: null });
    now.firstId ??= id;
    const cut = cutOf(membership!, now.range);
    if (cut !== null && cut !== "none" && cut.seq === header.seq) now.idAtCut = id;
    events++;
    if (body === null) now.bodiless++;
    stamps.take(event);
    if (now.range.opening.chain === "here") return audits.takeHere(now.range, event);
    if (body !== null) takeBody(now, event, body);
  }

  function takeBody(now: Reading, event: StoredEvent, body: Uint8Array): void {
    const { kind } = event.header;
    if (kind === "roster") checkCarried(event, body);
    if (kind === "here-head") audits.takeWitness(now.range.opening.device, clearOrNull(event, body), event);
    if (body[0] === SEALED_BODY) sealed++;
    const key = opened.get(event.id);
    if (key === undefined) return;
    opened.delete(event.id);
    const value = openBody(now, event, body, key);
    const { id, header } = event;
    const { log, seq, hlc } = header;
    const { device } = now.range.opening;
    shown.push({ event: id, kind, device, person: now.person, value, log, seq, hlc, how: key.how });
  }

  /** A rightful roster record in a log that is missing among the records was left out: the membership would be another one. */
  function checkCarried(event: StoredEvent, body: Uint8Array): void {
    let record: RosterRecord;
    try {
      const value = clearValue(event.header, body);
      const id = recordIdOf(parseSealed(value), "roster");
      if (records.has(id)) return;
      record = parseRosterValue(value);
    } catch (error) {
      if (error instanceof KinError) return; // signed nonsense has no effect
      throw error;
    }
    if (record.mesh !== mesh || records.has(record.id) || !record.parents.every((parent) => records.has(parent)))
      return;
    throw bad(
      `event ${event.id} carries the roster record ${record.id} (${record.body.type}), which the file leaves out`,
    );
  }

  function openBody(now: Reading, event: StoredEvent, body: Uint8Array, { how, bytes }: Opened): Value {
    const { header, id } = event;
    const { device } = now.range.opening;
    const held = keyInBody(header);
    if (held !== null) throw bad(`event ${id} holds ${held}, which no export opens`);
    if (how === "said") {
      if (!couldSay(header, body, bytes)) throw bad(`event ${id} can't say what the export says that it says`);
      return decode(bytes);
    }
    const value = openWithKey({ mesh: mesh!, author: device }, header, body, bytes);
    if (value === undefined) throw bad(`the key that is shown for event ${id} does not open it`);
    return value;
  }

  function endLog(now: Reading): void {
    const { range, tip, run, firstId, idAtCut, bodiless, person } = now;
    const { log, opening, from, to } = range;
    if (run.length > 0) throw bad(`log ${log} ends with ${run.length} events that no signed head proves`);
    if (tip === null || tip.seq !== to)
      throw bad(`log ${log} should go from ${from} to ${to} and ends at ${tip === null ? "nothing" : tip.seq}`);
    const endOfFork = forkedAt(range, forks.values(), membership!);
    const stop = stopOf(range, { membership: membership!, forkedAt: endOfFork, idAtCut });
    const why = whyStopped(stop, endOfFork, from);
    if (stop !== range.stop) throw bad(wrongStop(range, stop, why));
    if (opening.chain === "here") audits.endHere(range);
    const { device } = opening;
    logs.push({ ...range, device, person, firstId: firstId!, lastId: tip.id, lastHlc: tip.hlc, why, bodiless });
    reading = null;
  }

  // ── the end ──

  function takeEnd(one: Sealed, hash: Uint8Array): void {
    const [left] = opened.keys();
    if (left !== undefined) throw bad(`the export opens event ${left}, which it does not hold with its body`);
    const end = openExportEnd(one);
    if (end.mesh !== mesh) throw new KinError("WRONG_MESH", "the end of the export is of another mesh");
    checkDevice(end.device, "the export's end");
    if (personOf(end.device) !== end.person) throw bad("the export's end names another person than its device's");
    if (!equal(end.file, hash)) throw bad("the file was changed after its exporter sealed it: its hash is another one");
    if (here) audits.check(end.device);
    const stranger = logs.find(({ opening }) => opening.chain === "here" && opening.device !== end.device);
    if (stranger !== undefined)
      throw bad(`log ${stranger.log} is a "here" chain of another device than the exporter's`);
    by = end;
  }

  function report(): ExportReport {
    // What is only said of a call proves nothing of it.
    const calls = verifyCalls(
      shown.filter(({ how }) => how === "key"),
      mesh!,
      keys!,
    );
    return {
      mesh: mesh!,
      membership: membership!,
      records: records.size,
      agentKeys: keyIds.size,
      by: by!,
      all,
      here,
      logs,
      events,
      sealed: sealed - shown.length,
      forks: [...forks.values()],
      shown,
      calls,
      audit: audits.report(),
      misStamped: stamps.wrong(),
    };
  }

  return { take, report, isDone: () => by !== null, mesh: () => mesh, log: () => reading?.range.log ?? null };
}

function whyStopped(stop: number | null, endOfFork: number | undefined, from: number): ProvenLog["why"] {
  if (stop === null) return null;
  return endOfFork !== undefined && Math.max(endOfFork, from) === stop ? "forked" : "removed";
}

function wrongStop({ log, from, to, stop }: LogRange, right: number | null, why: ProvenLog["why"]): string {
  const claimed = stop === null ? `all events from ${from} to ${to} have effect` : `it ends at ${stop}`;
  if (right === null) return `the file says of log ${log} that ${claimed}, and nothing in it ends that log`;
  const cause = why === "forked" ? "it, or another log of its device, was written twice" : "its device was removed";
  return `log ${log} has no effect from ${right} on, because ${cause}; the file says that ${claimed}`;
}

/** Mesh chains before here chains, then by log, then by seq without overlap. */
function isAfter(range: LogRange, before: LogRange): boolean {
  if (range.opening.chain !== before.opening.chain) return range.opening.chain === "here";
  return range.log === before.log ? range.from > before.to : range.log > before.log;
}

function clearOrNull({ header }: StoredEvent, body: Uint8Array): Value | null {
  try {
    return clearValue(header, body) ?? null;
  } catch (error) {
    if (error instanceof KinError) return null; // somebody's nonsense
    throw error;
  }
}

/** Which events are stamped before what they say to come after, wherever in the file that stands (R13). */
function createStamps() {
  const stamps = new Map<string, string>();
  /** Of deps that have not come: the lowest stamp that names them, and by which event. */
  const awaited = new Map<string, { stamp: string; by: EventId }>();
  const wrong = new Set<EventId>();

  return {
    take({ id, header }: StoredEvent): void {
      const stamp = toHex(header.hlc);
      const named = awaited.get(id);
      awaited.delete(id);
      if (named !== undefined && named.stamp <= stamp) wrong.add(named.by);
      for (const dep of header.deps) {
        const before = stamps.get(dep);
        if (before !== undefined && before >= stamp) wrong.add(id);
        const waits = awaited.get(dep);
        if (before === undefined && (waits === undefined || stamp < waits.stamp) && awaited.size < MAX_STAMPS)
          awaited.set(dep, { stamp, by: id });
      }
      if (stamps.size < MAX_STAMPS) stamps.set(id, stamp);
    },
    wrong: () => ({ count: wrong.size, events: [...wrong].slice(0, MAX_NAMED) }),
  };
}

function textOf(mesh: MeshId): string {
  return formatText("kinm", idBytes(mesh));
}

function tooMany(what: string): KinError {
  return new KinError("TOO_LARGE", `too many ${what} in one export`);
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}

/**
 * Exports that somebody has bent, as data: each case takes a good file apart, changes one thing and, unless it says otherwise,
 * seals the file again with its exporter's own key, as a lying member would. Both `kin verify` and the Python program must find each,
 * and must take the `HONEST` ones at the end.
 */
import { sha256, signingKeyFromSeed } from "#crypto";
import { makeAgentKey } from "../../protocols/agent-key.ts";
import { concat, decode, encode, equal, utf8Bytes, utf8Text, type Value } from "../../protocols/bytes.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import { noteOpenedValue, noteSharedValue } from "../../protocols/document.ts";
import { contentKey } from "../../protocols/event-body.ts";
import {
  decodeHeader,
  encodeHeader,
  eventId,
  logIdOf,
  makeEvent,
  signHead,
  signedHeadValue,
} from "../../protocols/events.ts";
import { EXPORT_LINE, openExportEnd, sealExport } from "../../protocols/export.ts";
import { createFrameReader, frame as framed } from "../../protocols/frame.ts";
import { idBytes, idOf, type EpochId, type EventId, type LogId } from "../../protocols/ids.ts";
import { makeCertificate, stampOf } from "../../protocols/roster-record.ts";
import { parseSealed, sealedValue, sealOne } from "../../protocols/signature.ts";
import { bytesOf } from "../sync/chains.ts";
import { keysOf, memberOf, type TestMember } from "../sync/mesh.ts";
import { exportOf, type Team } from "./team.ts";

type Map_ = Record<string, Value>;
type Event_ = [Uint8Array, Uint8Array | null];

/** A file in pieces: each frame as its value, or as bytes that stand for it. */
export interface Page {
  line: string;
  frames: (Map_ | Uint8Array)[];
  after: Uint8Array;
}

export interface Tampering {
  name: string;
  /** Part of what `kin verify` says. */
  says: string;
  bend(page: Page, team: Team): void;
  /** Sealed again with this key, or left with the old seal. @default the exporter's own */
  seal?: "not again" | "by a stranger";
  /** Bytes at the end of it all. */
  raw?(bytes: Uint8Array): Uint8Array;
  /** The reader knows another mesh. */
  mesh?: "another";
}

// ── taking apart and putting together ──

export function openPage(bytes: Uint8Array): Page {
  const line = utf8Text(bytes.subarray(0, EXPORT_LINE.length));
  const frames = createFrameReader().push(bytes.subarray(EXPORT_LINE.length));
  return { line, frames: frames.map((payload) => decode(payload) as Map_), after: new Uint8Array(0) };
}

export function closePage({ line, frames, after }: Page, by: TestMember, seal: Tampering["seal"]): Uint8Array {
  const [last] = frames.slice(-1) as [Map_];
  const body = concat(utf8Bytes(line), ...frames.slice(0, -1).map((one) => framed(bytesOfFrame(one))));
  const end = openExportEnd(parseSealed(last["s"]));
  const key = seal === "by a stranger" ? signingKeyFromSeed(bytesOf("a stranger")) : by.keys.device;
  const device = idOf<"device">(key.publicKey);
  const sealed = sealExport(key, { ...end, device, file: sha256(body) }, bytesOf("end").subarray(0, 16));
  const s = seal === "not again" ? last["s"]! : (sealedValue(sealed) as Value);
  return concat(body, framed(encode({ ...last, s })), after);
}

function bytesOfFrame(one: Map_ | Uint8Array): Uint8Array {
  return one instanceof Uint8Array ? one : encode(one);
}

function framesOf(page: Page, type: string): Map_[] {
  return page.frames.filter((one): one is Map_ => !(one instanceof Uint8Array) && one["t"] === type);
}

/** The `log` frame of a member's mesh (or here) log, and the `run` frames after it. */
function logOf(
  page: Page,
  { keys }: { keys: { device: SigningKey } },
  chain = "mesh",
): { log: Map_; runs: Map_[]; at: number } {
  const at = page.frames.findIndex(
    (one) =>
      !(one instanceof Uint8Array) &&
      one["t"] === "log" &&
      equal((one["o"] as Uint8Array[])[0]!, keys.device.publicKey) &&
      (one["o"] as Value[])[2] === chain,
  );
  const runs: Map_[] = [];
  for (let i = at + 1; (page.frames[i] as Map_)["t"] === "run"; i++) runs.push(page.frames[i] as Map_);
  return { log: page.frames[at] as Map_, runs, at };
}

/** All events of a log in one run, and how to put others in their place under a head that `key` signs. */
function eventsOf(page: Page, member: TestMember, chain = "mesh") {
  const { log, runs, at } = logOf(page, member, chain);
  const events = runs.flatMap((run) => run["ev"] as Event_[]);
  return {
    log,
    events,
    put(changed: Event_[], key: SigningKey | null = member.keys.device): void {
      const header = decodeHeader(changed.at(-1)![0]);
      const head = { log: header.log, seq: header.seq, id: eventId(changed.at(-1)![0]), hlc: header.hlc };
      const h = key === null ? runs.at(-1)!["h"]! : (signedHeadValue(signHead(key, head)) as Value);
      page.frames.splice(at + 1, runs.length, { t: "run", ev: changed as Value, h });
    },
  };
}

/** The events from `from` on with new ids, as their author would write them now. */
function relink(events: Event_[], from: number): Event_[] {
  const out = events.slice(0, from);
  for (const [bytes, body] of events.slice(from)) {
    const header = decodeHeader(bytes);
    const last = out.at(-1);
    const prev = last === undefined ? null : eventId(last[0]);
    out.push([encodeHeader({ ...header, seq: out.length, prev }), body]);
  }
  return out;
}

function recordsOf(page: Page): Map_[] {
  return framesOf(page, "records").flatMap((one) => one["r"] as Map_[]);
}

function typeOf(record: Map_): string {
  return (decode(record["b"] as Uint8Array) as Map_)["type"] as string;
}

function setRecords(page: Page, records: Map_[]): void {
  const first = page.frames.findIndex((one) => !(one instanceof Uint8Array) && one["t"] === "records");
  page.frames.splice(first, framesOf(page, "records").length, { t: "records", r: records });
}

function headOf(run: Map_): [Uint8Array, Uint8Array] {
  return run["h"] as [Uint8Array, Uint8Array];
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const out = bytes.slice();
  out[at]! ^= 1;
  return out;
}

/** S + L: the same equation, another encoding. */
function malleated(sig: Uint8Array): Uint8Array {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  let s = sig.slice(32).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) + order;
  const out = sig.slice();
  for (let i = 32; i < 64; i++, s >>= 8n) out[i] = Number(s & 255n);
  return out;
}

/** An admission of mallory that ben seals; without the proof that he had a ticket. */
function admissionOf({ ben }: Team, wrong: { device?: Uint8Array } = {}): Map_ {
  const { replica, keys } = ben;
  const membership = replica.membership();
  const mallory = keysOf("mallory");
  const mesh = idBytes(replica.mesh);
  const key = wrong.device ?? mallory.device.publicKey;
  const device = { id: idOf<"device">(key), name: "laptop", sealingKey: mallory.sealing.publicKey };
  const cert = makeCertificate(mallory.person, mesh, device, bytesOf("cert").subarray(0, 16));
  const bytes = encode({
    v: 1,
    mesh,
    type: "admit",
    author: [idBytes(membership.devices.get(replica.device)!.member.person), keys.device.publicKey],
    parents: membership.heads.map(idBytes),
    hlc: stampOf(ben.time.now()),
    n: bytesOf("mallory n").subarray(0, 16),
    name: "mallory",
    personKey: mallory.person.publicKey,
    role: "member",
    device: { key, name: device.name, sealing: device.sealingKey },
    cert: sealedValue(cert),
    invite: idBytes([...membership.invites.keys()][0]!),
    use: 0,
    challenge: bytesOf("challenge"),
    proof: new Uint8Array(64),
  });
  return sealedValue(sealOne(keys.device, "roster", bytes)) as Map_;
}

/** A log that mallory wrote and signed himself. */
function logOfMallory(page: Page, { ben }: Team): void {
  const { device } = keysOf("mallory");
  const opening = {
    device: idOf<"device">(device.publicKey),
    incarnation: bytesOf("mallory").subarray(0, 16),
    chain: "mesh" as const,
  };
  const log = logIdOf(ben.replica.mesh, opening);
  const body = encode({
    n: bytesOf("n").subarray(0, 16),
    c: { device: device.publicKey, incarnation: opening.incarnation, chain: "mesh" },
  });
  const event = makeEvent(
    { log, seq: 0, prev: null, deps: [], hlc: stampOf(ben.time.now()), kind: "log-opened", audience: "mesh" },
    body,
  );
  const head = signHead(device, { log, seq: 0, id: event.id, hlc: event.header.hlc });
  const o = [device.publicKey, opening.incarnation, "mesh"];
  const first = page.frames.findIndex((one) => !(one instanceof Uint8Array) && one["t"] === "log");
  page.frames.splice(
    first,
    0,
    { t: "log", o, from: 0, to: 0, stop: null },
    { t: "run", ev: [[event.headerBytes, body]], h: signedHeadValue(head) as Value },
  );
}

/** Each of them says in his mesh log, signed by his own device, that the exporter's audit has these events. */
function witness(
  page: Page,
  by: readonly TestMember[],
  log: LogId,
  said: readonly { seq: number; id: EventId }[],
): void {
  for (const member of by)
    for (const [i, { seq, id }] of said.entries()) {
      const mesh = eventsOf(page, member);
      const hlc = stampOf(member.time.now() + 60_000 + i);
      const head = signHead(member.keys.device, { log, seq, id, hlc });
      const body = encode({ n: bytesOf("n").subarray(0, 16), c: { h: signedHeadValue(head) } });
      const last = decodeHeader(mesh.events.at(-1)![0]);
      const header = encodeHeader({ ...last, hlc, deps: [], kind: "here-head", bodyHash: sha256(body) });
      mesh.put(relink([...mesh.events, [header, body]], mesh.events.length));
      mesh.log["to"] = mesh.events.length;
    }
}

function openedOf(page: Page): [Uint8Array, string, Uint8Array][] {
  return framesOf(page, "open").flatMap((one) => one["e"] as [Uint8Array, string, Uint8Array][]);
}

const SMALL_ORDER = concat(Uint8Array.of(1), new Uint8Array(31));

// ── bent at random ──

/** Changes one thing somewhere: a frame left out or moved, a value changed, doubled, exchanged or put in the place of another. */
export function bendSomewhere(page: Page, seed: number): void {
  let drawn = 0;
  const draw = (most: number): number => {
    const [a, b, c, d] = bytesOf(`${seed} ${drawn++}`);
    return (((a! << 24) | (b! << 16) | (c! << 8) | d!) >>> 0) % most;
  };
  const count = page.frames.length - 1; // the end is made anew
  const [at, other] = [draw(count), draw(count)];
  const how = draw(10);
  if (how === 0) page.frames.splice(at, 1);
  else if (how === 1) [page.frames[at], page.frames[other]] = [page.frames[other]!, page.frames[at]!];
  else page.frames[at] = bent(page.frames[at] as Value, draw) as Map_;
}

const STRANGE: readonly Value[] = [null, 0, 5, new Uint8Array(32), [], {}, true, "here"];

function bent(value: Value, draw: (most: number) => number): Value {
  if (draw(8) === 0) return STRANGE[draw(STRANGE.length)]!;
  if (typeof value === "number") return [value + 1, Math.max(0, value - 1), 0][draw(3)]!;
  if (typeof value === "boolean") return !value;
  if (value instanceof Uint8Array) return value.length === 0 ? value : flipped(value, draw(value.length));
  if (Array.isArray(value)) return bentList(value, draw);
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) return null;
  const keys = Object.keys(value);
  const key = keys[draw(keys.length)]!;
  return { ...value, [key]: bent((value as Map_)[key]!, draw) };
}

function bentList(list: readonly Value[], draw: (most: number) => number): Value {
  if (list.length === 0) return [0];
  const [at, other] = [draw(list.length), draw(list.length)];
  const how = draw(10);
  if (how === 0) return list.toSpliced(at, 1);
  if (how === 1) return list.toSpliced(at, 0, list[at]!);
  if (how === 2) return list.with(at, list[other]!).with(other, list[at]!);
  return list.with(at, bent(list[at]!, draw));
}

// ── the cases ──

export const TAMPERED: readonly Tampering[] = [
  {
    name: "a head's signature is flipped",
    says: "is not signed by device",
    bend: (page, { ana }) => {
      const [run] = logOf(page, ana).runs.slice(-1);
      run!["h"] = [headOf(run!)[0], flipped(headOf(run!)[1], 3)];
    },
  },
  {
    name: "an event is dropped in the middle",
    says: "where 2 was expected",
    bend: (page, { ana }) => {
      const { events, put } = eventsOf(page, ana);
      put(events.toSpliced(2, 1), null);
    },
  },
  {
    name: "two events are reordered",
    says: "where 2 was expected",
    bend: (page, { ana }) => {
      const { events, put } = eventsOf(page, ana);
      put(events.with(2, events[3]!).with(3, events[2]!), null);
    },
  },
  {
    name: "two bodies are swapped",
    says: "does not match its bodyHash",
    bend: (page, { ana }) => {
      const { events, put } = eventsOf(page, ana);
      put(events.with(2, [events[2]![0], events[3]![1]]).with(3, [events[3]![0], events[2]![1]]), null);
    },
  },
  { name: "the reader knows another mesh", says: "is of the mesh kinm1", bend: () => undefined, mesh: "another" },
  {
    name: "the file says that it is of another mesh",
    says: "is of the mesh kinm1",
    bend: (page) => (framesOf(page, "export")[0]!["mesh"] = bytesOf("another mesh")),
  },
  {
    name: "a removed member's later events are shown as if they counted",
    says: "because its device was removed",
    bend: (page, { cem }) => (logOf(page, cem).log["stop"] = null),
  },
  {
    name: "the cut of a removed member is moved",
    says: "because its device was removed",
    bend: (page, { cem }) => {
      const { log } = logOf(page, cem);
      log["stop"] = (log["stop"] as number) - 1;
    },
  },
  {
    name: "a forged event under a forged head",
    says: "is not signed by device",
    bend: (page, { ana }) => {
      const { events, put } = eventsOf(page, ana);
      const body = encode({ n: bytesOf("n").subarray(0, 16), c: "ana owes me money" });
      const header = decodeHeader(events.at(-1)![0]);
      const forged: Event_ = [encodeHeader({ ...header, bodyHash: sha256(body) }), body];
      put([...events.slice(0, -1), forged], keysOf("mallory").device);
    },
  },
  {
    name: "a head is signed by another member's device",
    says: "is not signed by device",
    bend: (page, { ana, ben }) => {
      const { events, put } = eventsOf(page, ana);
      put(events, ben.keys.device);
    },
  },
  {
    name: "a head's signature is malleated (S + L)",
    says: "is not signed by device",
    bend: (page, { ana }) => {
      const [run] = logOf(page, ana).runs.slice(-1);
      run!["h"] = [headOf(run!)[0], malleated(headOf(run!)[1])];
    },
  },
  {
    name: "CBOR that is not canonical: a number in a longer form",
    says: "shorter form",
    bend: (page) => {
      const at = page.frames.findIndex((one) => !(one instanceof Uint8Array) && one["t"] === "export");
      const bytes = encode(page.frames[at]);
      // a5 61 74 66 export 61 76 01: the version as 18 01
      const v = bytes.findIndex((byte, i) => byte === 0x61 && bytes[i + 1] === 0x76);
      page.frames[at] = concat(bytes.subarray(0, v + 2), Uint8Array.of(0x18), bytes.subarray(v + 2));
    },
  },
  {
    name: "CBOR that is not canonical: keys in another order",
    says: "order",
    bend: (page) => {
      const at = page.frames.findIndex((one) => !(one instanceof Uint8Array) && one["t"] === "records");
      const bytes = encode(page.frames[at]);
      // a2 61 72 … 61 74 67 records, instead of r before t
      const t = encode({ t: "records" }).subarray(1);
      const r = encode({ r: (page.frames[at] as Map_)["r"] }).subarray(1);
      page.frames[at] = concat(bytes.subarray(0, 1), t, r);
    },
  },
  {
    name: "an agent key that another device sealed",
    says: "is not signed by its device",
    bend: (page, { ana }) => {
      const [frame] = framesOf(page, "keys");
      const record = decode((frame!["k"] as Map_[])[0]!["b"] as Uint8Array) as Map_;
      const forged = makeAgentKey(ana.keys.device, {
        mesh: ana.replica.mesh,
        person: idOf(record["person"]),
        agent: "reviewer",
        key: idOf(keysOf("mallory").device.publicKey),
        generation: 2,
        hlc: stampOf(1),
        n: new Uint8Array(16),
      });
      const bytes = encode({ ...(decode(forged.sealed.bytes) as Map_), device: record["device"]! });
      frame!["k"] = [...(frame!["k"] as Map_[]), { ...(sealedValue(forged.sealed) as Map_), b: bytes }];
    },
  },
  {
    name: "an agent key of a device that names another person",
    says: "names another person than its device's",
    bend: (page, { ana, ben }) => {
      const [frame] = framesOf(page, "keys");
      const { person } = ben.replica.membership().devices.get(ben.replica.device)!.member;
      const forged = makeAgentKey(ana.keys.device, {
        mesh: ana.replica.mesh,
        person,
        agent: "reviewer",
        key: idOf(keysOf("mallory").device.publicKey),
        generation: 1,
        hlc: stampOf(1),
        n: new Uint8Array(16),
      });
      frame!["k"] = [...(frame!["k"] as Map_[]), sealedValue(forged.sealed) as Map_];
    },
  },
  {
    name: "a Merkle path that does not lead to what is sealed",
    says: "is not signed by its device",
    bend: (page) => {
      const [frame] = framesOf(page, "keys");
      frame!["k"] = (frame!["k"] as Map_[]).map((one) => ({ ...one, p: [0, 2, [bytesOf("a sibling")]] }));
    },
  },
  {
    name: "a roster record is altered",
    says: "BAD_SIGNATURE",
    bend: (page) => {
      const records = recordsOf(page);
      const at = records.findIndex((one) => typeOf(one) === "admit");
      const body = decode(records[at]!["b"] as Uint8Array) as Map_;
      setRecords(page, records.with(at, { ...records[at]!, b: encode({ ...body, role: "admin" }) }));
    },
  },
  {
    name: "somebody was admitted without proof, and has a log",
    says: "which never was a member's",
    bend: (page, team) => {
      setRecords(page, [...recordsOf(page), admissionOf(team)]);
      logOfMallory(page, team);
    },
  },
  {
    name: "a log of nobody in the mesh",
    says: "which never was a member's",
    bend: (page, team) => logOfMallory(page, team),
  },
  {
    name: "a device key of small order",
    says: "prime order",
    bend: (page, team) => setRecords(page, [...recordsOf(page), admissionOf(team, { device: SMALL_ORDER })]),
  },
  {
    name: "a log is cut off before its head",
    says: "no signed head proves",
    bend: (page, { ana }) => {
      const [run] = logOf(page, ana).runs.slice(-1);
      run!["ev"] = (run!["ev"] as Value[]).slice(0, -1);
      run!["h"] = null;
    },
  },
  {
    name: "a log ends before it says so",
    says: "should go from 0 to",
    bend: (page, { ana }) => {
      const { events, put } = eventsOf(page, ana);
      put(events.slice(0, -1));
    },
  },
  {
    name: "a fork is hidden",
    says: "nothing in it ends that log",
    bend: (page) => (page.frames = page.frames.filter((one) => one instanceof Uint8Array || one["t"] !== "fork")),
  },
  {
    name: "a fork is shown and the log goes on as if it were none",
    says: "was written twice",
    bend: (page) => {
      const [, forked] = framesOf(page, "fork")[0]!["o"] as Uint8Array[];
      const log = framesOf(page, "log").find((one) => equal((one["o"] as Uint8Array[])[1]!, forked!));
      log!["stop"] = null;
    },
  },
  {
    name: "a fork proof whose heads one chain holds",
    says: "proves nothing",
    bend: (page) => {
      const [fork] = framesOf(page, "fork");
      fork!["b"] = fork!["a"]!;
      fork!["hs"] = [];
    },
  },
  {
    name: "the same log twice",
    says: "overlaps it",
    bend: (page, { ana }) => {
      const { log, runs, at } = logOf(page, ana);
      page.frames.splice(at, 0, log, ...runs);
    },
  },
  {
    name: "a key that opens another event",
    says: "does not open it",
    bend: (page) => {
      const keys = openedOf(page).filter(([, how]) => how === "key");
      [keys[0]![2], keys[1]![2]] = [keys[1]![2], keys[0]![2]];
    },
  },
  {
    name: "words that the sealed body is too short for",
    says: "can't say what the export says",
    bend: (page) => {
      const said = openedOf(page).find(([, how]) => how === "said")!;
      said[2] = encode("ana owes me a lot of money, and this is longer than her note");
    },
  },
  {
    name: "an opened event that is not in the file",
    says: "does not hold with its body",
    bend: (page) => {
      const [frame] = framesOf(page, "open");
      frame!["e"] = [...(frame!["e"] as Value[]), [new Uint8Array(32).fill(255), "key", new Uint8Array(32)]];
    },
  },
  {
    name: "a removal is left out",
    says: "which the file leaves out",
    bend: (page) => {
      // with all that builds on it
      const records = recordsOf(page);
      setRecords(
        page,
        records.slice(
          0,
          records.findIndex((one) => typeOf(one) === "remove"),
        ),
      );
    },
  },
  {
    name: "a roster record's parent is left out",
    says: "builds on",
    bend: (page) => {
      const records = recordsOf(page);
      setRecords(
        page,
        records.toSpliced(
          records.findIndex((one) => typeOf(one) === "remove"),
          1,
        ),
      );
    },
  },
  {
    name: "a roster record stands twice",
    says: "is in the file twice",
    bend: (page) => setRecords(page, [...recordsOf(page), recordsOf(page)[1]!]),
  },
  {
    name: "a file of a later version",
    says: "an export of version 2",
    bend: (page) => (page.line = "kin export 2\n"),
  },
  {
    name: "frames of a later version",
    says: "an export of version 2",
    bend: (page) => (framesOf(page, "export")[0]!["v"] = 2),
  },
  {
    name: "an event of a later version",
    says: "an event of version 2",
    bend: (page, { ana }) => {
      const [run] = logOf(page, ana).runs;
      const [first, ...others] = run!["ev"] as Event_[];
      run!["ev"] = [[encode({ ...(decode(first![0]) as Map_), v: 2 }), first![1]], ...others] as Value;
    },
  },
  {
    name: "bytes follow the end",
    says: "follow the end",
    bend: (page) => (page.after = Uint8Array.of(1)),
  },
  {
    name: "a frame follows the end",
    says: "follows the end",
    bend: (page) => (page.after = framed(encode({ t: "records", r: recordsOf(page).slice(0, 1) }))),
  },
  {
    name: "the file is cut off",
    says: "cut off",
    bend: () => undefined,
    raw: (bytes) => bytes.subarray(0, bytes.length - 100),
  },
  {
    name: "a frame is left out by somebody who can't seal",
    says: "was changed after its exporter sealed it",
    seal: "not again",
    bend: (page, { dora }) => {
      const { at, runs } = logOf(page, dora);
      page.frames.splice(at, 1 + runs.length);
    },
  },
  { name: "a stranger seals it", says: "which never was a member's", seal: "by a stranger", bend: () => undefined },
  {
    name: "the audit is cut behind what peers witnessed",
    says: "it was cut",
    bend: (page, { ben }) => {
      const { log, events, put } = eventsOf(page, ben, "here");
      put(events.slice(0, 100));
      log["to"] = 99;
    },
  },
  {
    name: "the audit is cut, and others have a word on its beginning",
    says: "it was cut",
    bend: (page, { ben, ana, cem, dora }) => {
      const { log, events, put } = eventsOf(page, ben, "here");
      const [first] = events[0]!;
      witness(page, [ana, cem, dora], decodeHeader(first).log, [{ seq: 0, id: eventId(first) }]);
      put(events.slice(0, 100));
      log["to"] = 99;
    },
  },
  {
    name: "the audit is rewritten with its owner's own key",
    says: "it was rewritten",
    bend: (page, { ben }) => {
      const { events, put } = eventsOf(page, ben, "here");
      const body = encode({ n: bytesOf("n").subarray(0, 16), c: "nothing happened here" });
      const header = decodeHeader(events[10]![0]);
      put(relink(events.with(10, [encodeHeader({ ...header, bodyHash: sha256(body) }), body]), 11));
    },
  },
  {
    name: "an entry of the audit is deleted and the rest linked anew",
    says: "it was",
    bend: (page, { ben }) => {
      const { log, events, put } = eventsOf(page, ben, "here");
      put(relink(events.toSpliced(10, 1), 10));
      log["to"] = (log["to"] as number) - 1;
    },
  },
  {
    name: "the audit is rewritten and witnessed anew",
    says: "witnessed two different events",
    bend: (page, { ben }) => {
      const audit = eventsOf(page, ben, "here");
      const body = encode({ n: bytesOf("n").subarray(0, 16), c: "nothing happened here" });
      const first = decodeHeader(audit.events[140]![0]);
      const bent = relink(audit.events.with(140, [encodeHeader({ ...first, bodyHash: sha256(body) }), body]), 141);
      audit.put(bent);
      const { log, seq } = decodeHeader(bent.at(-1)![0]);
      witness(page, [ben], log, [{ seq, id: eventId(bent.at(-1)![0]) }]);
    },
  },
  {
    name: "two entries of the audit change places, and all is linked anew",
    says: "it was rewritten",
    bend: (page, { ben }) => {
      const { events, put } = eventsOf(page, ben, "here");
      const [a, b] = [events[10]!, events[11]!].map(([bytes, body]) => ({ header: decodeHeader(bytes), body }));
      const swapped = [
        [encodeHeader({ ...a!.header, bodyHash: b!.header.bodyHash }), b!.body],
        [encodeHeader({ ...b!.header, bodyHash: a!.header.bodyHash }), a!.body],
      ] as Event_[];
      put(relink([...events.slice(0, 10), ...swapped, ...events.slice(12)], 10));
    },
  },
  {
    name: "the audit is left out altogether",
    says: "is missing",
    bend: (page, { ben }) => {
      const { at, runs } = logOf(page, ben, "here");
      page.frames.splice(at, 1 + runs.length);
    },
  },
];

/** Files that others have bent without their exporter, and that are as good as before: no verifier may refuse one. */
export const HONEST: readonly Pick<Tampering, "name" | "bend">[] = [
  {
    name: "others witness made-up events of the exporter's audit: within it, where he witnessed another one, behind its end",
    bend: (page, { ben, ana, cem, dora }) => {
      const { log } = decodeHeader(eventsOf(page, ben, "here").events[0]![0]);
      const said = [10, 150, 500].map((seq) => ({ seq, id: idOf<"event">(bytesOf(`made up ${seq}`)) }));
      witness(page, [ana, cem, dora], log, said);
    },
  },
];

/** Exports by ben, opened by hand, of events that hold a key. */
export async function openedKeys({
  ben,
  ana,
  note,
}: Team): Promise<{ holds: string; event: EventId; bytes: Uint8Array }[]> {
  const [[epoch, epochKey]] = [...ben.epochKeys.held] as [[EpochId, Uint8Array]];
  const devices = [ben.replica.device, ana.replica.device];
  const privacy = { persons: [memberOf(ben, "ana").person], devices, key: bytesOf("a note's key") };
  const head = { title: "for the two of us", form: "text" as const, privacy };
  const entries = [
    { holds: "the key of an epoch", kind: "epoch-sealed", value: { e: idBytes(epoch), k: epochKey } },
    { holds: "the key of a private note", kind: "note-opened", value: noteOpenedValue(head) },
    { holds: "the key of a private note", kind: "note-shared", value: noteSharedValue({ note, ...head }) },
  ];
  const out = [];
  for (const { holds, kind, value } of entries) {
    const [event] = await ben.replica.append([{ kind, audience: "direct", value, to: devices }]);
    const { id, header, body } = (await ben.replica.store.event(event!.id))!;
    const page = openPage(await exportOf(ben, { all: false, events: [id], open: false }));
    const keys = { device: ben.replica.device, epochKey: () => undefined, sealingKeys: () => [ben.keys.sealing] };
    const key = await contentKey({ mesh: ben.replica.mesh, author: ben.replica.device }, header, body!, keys);
    const first = page.frames.findIndex((one) => !(one instanceof Uint8Array) && one["t"] === "log");
    page.frames.splice(first, 0, { t: "open", e: [[idBytes(id), "key", key!]] });
    out.push({ holds, event: id, bytes: closePage(page, ben, undefined) });
  }
  return out;
}

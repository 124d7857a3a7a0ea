/** Vectors of logs, events, heads and sync frames (§16, §19). */
import { signingKeyFromSeed } from "#crypto";
import { encode, toHex } from "../../protocols/bytes.ts";
import {
  eventValue,
  logIdOf,
  logOpeningValue,
  makeEvent,
  signedHeadValue,
  signHead,
  type LogOpening,
  type StoredEvent,
} from "../../protocols/events.ts";
import { idOf, type EventId, type MeshId } from "../../protocols/ids.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import { sealOne } from "../../protocols/signature.ts";
import { encodeSyncFrame, type SyncFrame } from "../../protocols/sync.ts";
import { bytesOf, hexOf } from "./basics.ts";
import type { VectorFile } from "./make.ts";

const NOW = 1_800_000_000_000;
const MESH: MeshId = idOf(bytesOf("mesh"));
const author = signingKeyFromSeed(bytesOf("ben device"));
export const OPENING: LogOpening = {
  device: idOf(author.publicKey),
  incarnation: bytesOf("incarnation", 16),
  chain: "mesh",
};
export const LOG = logIdOf(MESH, OPENING);

export function eventVectors(): { [file: string]: VectorFile } {
  return { "events.json": events(), "sync.json": sync() };
}

function chain(fork = false): StoredEvent[] {
  const out: StoredEvent[] = [];
  const bodies: [string, unknown][] = [
    ["log-opened", logOpeningValue(OPENING)],
    ["agent-key", "one"],
    ["roster", fork ? "other" : "two"],
    ["agent-key", "three"],
  ];
  bodies.forEach(([kind, value], seq) => {
    const prev: EventId | null = out.at(-1)?.id ?? null;
    const deps = seq === 1 ? [idOf<"event">(bytesOf("dep b")), idOf<"event">(bytesOf("dep a"))] : [];
    const header = { log: LOG, seq, prev, deps, hlc: stampOf(NOW, seq), kind, audience: "mesh" as const };
    out.push(makeEvent(header, encode({ n: bytesOf(`body ${seq}`, 16), c: value })));
  });
  return out;
}

function headOf(event: StoredEvent) {
  const { log, seq, hlc } = event.header;
  return signHead(author, { log, seq, id: event.id, hlc });
}

function events(): VectorFile {
  const all = chain();
  const other = chain(true);
  const last = headOf(all[3]!);
  const openings: LogOpening[] = [
    OPENING,
    { ...OPENING, chain: "here" },
    { ...OPENING, incarnation: bytesOf("two", 16) },
  ];
  const header = all[1]!.header;
  const value = {
    v: 1,
    log: bytesOf("x"),
    seq: 1,
    prev: bytesOf("prev"),
    deps: [] as unknown[],
    hlc: stampOf(NOW),
    kind: "card",
    audience: "mesh",
    bodyHash: bytesOf("body"),
  };
  const bad: [string, unknown][] = [
    ["version 2", { ...value, v: 2 }],
    ["seq 0 with prev", { ...value, seq: 0, kind: "log-opened" }],
    ["seq 1 without prev", { ...value, prev: null }],
    ["log-opened at seq 1", { ...value, kind: "log-opened" }],
    ["deps that are not ascending", { ...value, deps: [bytesOf("b"), bytesOf("a")].toSorted((a, b) => b[0]! - a[0]!) }],
    ["a dep twice", { ...value, deps: [bytesOf("b"), bytesOf("b")] }],
    ["prev among deps", { ...value, deps: [bytesOf("prev")] }],
    [
      "65 deps",
      { ...value, deps: Array.from({ length: 65 }, (_, i) => Uint8Array.from([...Array<number>(31).fill(0), i])) },
    ],
    ["a short hlc", { ...value, hlc: new Uint8Array(7) }],
    ["an unknown audience", { ...value, audience: "all" }],
    ["a kind that is no name", { ...value, kind: "Card" }],
    ["an unknown field", { ...value, x: 1 }],
  ];
  return {
    section: "16",
    about:
      "openings: log ids. events: a run with one signed head; each has its id. refused: headers that are none. badRuns: [events, head] of the same log that prove nothing. fork: two signed heads that no chain holds, with the headers between, and from the parting; it parts after seq 1. badForks: other ways from the parting.",
    mesh: MESH,
    deviceSeed: toHex(bytesOf("ben device")),
    openings: openings.map((opening) => ({
      device: opening.device,
      incarnation: toHex(opening.incarnation),
      chain: opening.chain,
      log: logIdOf(MESH, opening),
    })),
    events: all.map((event) => ({
      id: event.id,
      header: toHex(event.headerBytes),
      body: toHex(event.body!),
      seq: event.header.seq,
      kind: event.header.kind,
      deps: event.header.deps,
    })),
    exampleDeps: header.deps,
    head: hexOf(signedHeadValue(last)),
    refused: bad.map(([name, item]) => ({ name, header: hexOf(item) })),
    badRuns: [
      { name: "an event is missing", ...runOf([all[0]!, all[1]!, all[3]!], last) },
      { name: "another event in between", ...runOf([all[0]!, all[1]!, other[2]!, all[3]!], last) },
      { name: "the head of another event", ...runOf(all, headOf(all[2]!)) },
      { name: "a head that somebody else signed", ...runOf(all, forgedHead(all[3]!)) },
      { name: "another body", ...runOf([all[0]!, { ...all[1]!, body: all[2]!.body }, all[2]!, all[3]!], last) },
    ],
    fork: {
      a: hexOf(signedHeadValue(headOf(all[2]!))),
      b: hexOf(signedHeadValue(headOf(other[3]!))),
      headers: [toHex(other[3]!.headerBytes)],
      pa: [toHex(all[2]!.headerBytes)],
      pb: [toHex(other[2]!.headerBytes)],
    },
    badForks: [
      { name: "the same way twice", pa: [toHex(all[2]!.headerBytes)], pb: [toHex(all[2]!.headerBytes)] },
      { name: "ways that do not begin at one event", pa: [toHex(all[2]!.headerBytes)], pb: [toHex(other[3]!.headerBytes)] },
      { name: "one way only", pa: [toHex(all[2]!.headerBytes)] },
      {
        name: "a way that begins too low",
        pa: [toHex(all[1]!.headerBytes), toHex(all[2]!.headerBytes)],
        pb: [toHex(all[1]!.headerBytes), toHex(other[2]!.headerBytes)],
      },
    ],
  };
}

function forgedHead(event: StoredEvent) {
  const { log, seq, hlc } = event.header;
  return signHead(signingKeyFromSeed(bytesOf("ana device")), { log, seq, id: event.id, hlc });
}

function runOf(some: StoredEvent[], head: ReturnType<typeof headOf>) {
  return { events: some.map((event) => hexOf(eventValue(event))), head: hexOf(signedHeadValue(head)) };
}

function sync(): VectorFile {
  const all = chain();
  const other = chain(true);
  const { id } = all[3]!;
  const proof = {
    log: LOG,
    opening: OPENING,
    a: headOf(all[2]!),
    b: headOf(other[3]!),
    headers: [other[3]!.headerBytes],
  };
  const parting = { a: [all[2]!.headerBytes], b: [other[2]!.headerBytes] };
  const ends = [
    { seq: 3, id },
    { seq: 3, id: other[3]!.id },
  ];
  const frames: [string, SyncFrame][] = [
    ["an empty vector", { type: "vector", full: true, roster: [], logs: [] }],
    [
      "a vector",
      {
        type: "vector",
        full: true,
        roster: [idOf(bytesOf("head"))],
        logs: [{ log: LOG, opening: OPENING, seq: 3, id }],
      },
    ],
    ["a want", { type: "want", logs: [{ log: LOG, from: 0, to: 3 }], bodies: [id] }],
    ["records", { type: "records", records: [sealOne(author, "roster", encode({}))] }],
    ["a part of a run", { type: "run", log: LOG, from: 0, events: all.slice(0, 2), head: null }],
    ["its end", { type: "run", log: LOG, from: 2, events: all.slice(2), head: headOf(all[3]!) }],
    ["bodies", { type: "bodies", bodies: [{ id, body: all[3]!.body! }] }],
    ["a fork", { type: "fork", proof }],
    ["a fork and where it parts", { type: "fork", proof: { ...proof, parting } }],
    [
      "a vector with a forked log",
      {
        type: "vector",
        full: true,
        roster: [],
        logs: [{ log: LOG, opening: OPENING, seq: 1, id: all[1]!.id }],
        forked: [{ log: LOG, opening: OPENING, ends }],
      },
    ],
    ["a part", { type: "part", log: LOG, tip: other[3]!.id, from: 2 }],
    ["an end", { type: "end", error: { code: "REMOVED", message: "you were removed" } }],
  ];
  const logs = [[author.publicKey, OPENING.incarnation, 3, bytesOf("id")]];
  const bad: [string, unknown][] = [
    ["an unknown frame", { t: "hi" }],
    ["a vector of version 2", { t: "vector", v: 2, full: true, r: [], logs: [] }],
    ["a log twice", { t: "vector", v: 1, full: true, r: [], logs: [...logs, ...logs] }],
    ["a want that ends before it begins", { t: "want", logs: [[bytesOf("log"), 3, 2]], ids: [] }],
    ["an unknown field", { t: "want", logs: [], ids: [], x: 1 }],
    ["a short id", { t: "want", logs: [], ids: [new Uint8Array(31)] }],
  ];
  return {
    section: "19",
    about:
      "frames: payloads of /kin/sync/1; the log of device and incarnation is log. refused: payloads that end a session.",
    mesh: MESH,
    log: LOG,
    frames: frames.map(([name, frame]) => ({ name, payload: toHex(encodeSyncFrame(frame)) })),
    refused: bad.map(([name, item]) => ({ name, payload: hexOf(item) })),
  };
}

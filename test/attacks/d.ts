/** Group D of the attacks: what a member's device may send on `/kin/sync/1` and what must become of it. One line a case. */
import { sha256 } from "#crypto";
import { encode, toHex } from "../../protocols/bytes.ts";
import { signHead } from "../../protocols/events.ts";
import { idBytes, type EventId } from "../../protocols/ids.ts";
import { encodeSyncFrame, MAX_VECTOR_LOGS, type ForkedLog, type SyncFrame } from "../../protocols/sync.ts";
import type { RosterRecord } from "../../protocols/roster-record.ts";
import { openEpoch } from "../../sync/acts.ts";
import type { TestMember } from "../sync/mesh.ts";

export interface SyncAttack {
  id: string;
  says: string;
  /** What the attacker sends after the victim's vector. `own` is a frame that any honest peer begins with. */
  frames(attacker: TestMember, own: SyncFrame & { type: "vector" }): Promise<Uint8Array[]> | Uint8Array[];
  /** The code with which the victim ends the session; null: it goes on. */
  refusal: string | null;
}

const none = { type: "vector" as const, full: true, roster: [], logs: [] };
const raw = (value: unknown): Uint8Array => encode(value);
const send = encodeSyncFrame;

/** An entry of a log that nobody has. */
function entryOf(attacker: TestMember, i: number): unknown[] {
  const incarnation = new Uint8Array(16);
  new DataView(incarnation.buffer).setUint32(0, i);
  return [idBytes(attacker.replica.device), incarnation, 5, new Uint8Array(32).fill(i & 255)];
}

function vectorOf(logs: unknown[], full = true): Uint8Array {
  return raw({ t: "vector", v: 1, full, r: [], logs });
}

async function ownRun(attacker: TestMember, from = 0) {
  const entry = [...attacker.replica.vector().values()].find(
    ({ opening }) => opening.device === attacker.replica.device,
  )!;
  return { entry, run: (await attacker.replica.runFrom(entry.log, from))!.run };
}

/** Frames of the attacker's own first event, as a part of a run that begins anywhere. */
async function ownParts(attacker: TestMember): Promise<(from: number) => Uint8Array> {
  const { entry, run } = await ownRun(attacker);
  return (from) => send({ type: "run", log: entry.log, head: null, from, events: run.events.slice(0, 1) });
}

export const SYNC_ATTACKS: SyncAttack[] = [
  {
    id: "D1",
    says: "a vector claims 2^53 − 1 events",
    refusal: null,
    frames: (attacker, own) => [
      send({ ...own, logs: own.logs.map((entry) => ({ ...entry, seq: Number.MAX_SAFE_INTEGER })) }),
    ],
  },
  {
    id: "D1",
    says: "a vector claims −1 events",
    refusal: "BAD_REQUEST",
    frames: (attacker) => [vectorOf([[...entryOf(attacker, 1).slice(0, 2), -1, new Uint8Array(32)]])],
  },
  {
    id: "D2",
    says: "a vector of 4,097 logs",
    refusal: "TOO_LARGE",
    frames: (attacker) => [vectorOf(Array.from({ length: MAX_VECTOR_LOGS + 1 }, (_, i) => entryOf(attacker, i)))],
  },
  {
    id: "D2",
    says: "more and more new logs, 4,096 a frame",
    refusal: "OVERLOADED",
    frames: (attacker) =>
      [0, 1, 2, 3].map((n) =>
        vectorOf(
          Array.from({ length: MAX_VECTOR_LOGS }, (_, i) => entryOf(attacker, n * 4096 + i)),
          n === 0,
        ),
      ),
  },
  {
    id: "D2",
    says: "a log named twice",
    refusal: "BAD_REQUEST",
    frames: (attacker) => [vectorOf([entryOf(attacker, 1), entryOf(attacker, 1)])],
  },
  {
    id: "D3",
    says: "says the same vector for ever",
    refusal: "OVERLOADED",
    frames: (_, own) => [
      send(own),
      ...Array.from({ length: 5_100 }, () => send({ ...own, full: false, logs: own.logs.slice(0, 2) })),
    ],
  },
  {
    id: "D4",
    says: "wants everything again and again",
    refusal: "OVERLOADED",
    frames: async (attacker, own) => [
      send(own),
      ...Array.from({ length: 10_100 }, () =>
        send({
          type: "want",
          logs: own.logs.slice(0, 1).map(({ log, seq }) => ({ log, from: 0, to: seq })),
          bodies: [],
        }),
      ),
    ],
  },
  {
    id: "D4",
    says: "wants logs that do not exist",
    refusal: "OVERLOADED",
    frames: (_, own) => [
      send(own),
      ...Array.from({ length: 3 }, () =>
        send({
          type: "want",
          logs: Array.from({ length: 4096 }, (_x, i) => ({
            log: own.logs[0]!.log.replace(/^.{6}/, String(100000 + i)) as never,
            from: 0,
            to: 5,
          })),
          bodies: [],
        }),
      ),
    ],
  },
  {
    id: "D4",
    says: "wants the run from 5 to 3",
    refusal: "BAD_REQUEST",
    frames: (_, own) => [send(own), raw({ t: "want", logs: [[idBytes(own.logs[0]!.log), 5, 3]], ids: [] })],
  },
  {
    id: "D5",
    says: "sends a run that nobody asked for",
    refusal: "BAD_REQUEST",
    frames: async (attacker) => {
      const { run } = await ownRun(attacker);
      return [send(none), send({ type: "run", ...run })];
    },
  },
  {
    id: "D5",
    says: "sends a part of a run and goes on with another",
    refusal: "BAD_REQUEST",
    frames: async (attacker, own) => {
      const partAt = await ownParts(attacker);
      return [send(own), partAt(0), partAt(3)];
    },
  },
  {
    id: "D5",
    says: "sends empty parts for ever",
    refusal: "BAD_REQUEST",
    frames: async (attacker, own) => {
      const { entry } = await ownRun(attacker);
      return [send(own), send({ type: "run", log: entry.log, from: 0, events: [], head: null })];
    },
  },
  {
    id: "D5",
    says: "sends bodies that nobody lacks",
    refusal: "OVERLOADED",
    frames: (_, own) => [
      send(own),
      ...Array.from({ length: 11 }, () =>
        send({
          type: "bodies",
          bodies: Array.from({ length: 1000 }, () => ({ id: own.logs[0]!.id, body: new Uint8Array(8) })),
        }),
      ),
    ],
  },
  {
    id: "D6",
    says: "sends valid events 10,000 times",
    refusal: "OVERLOADED",
    frames: async (attacker, own) => {
      const { run } = await ownRun(attacker);
      const times = Math.ceil(11_000 / run.events.length);
      return [send(own), ...Array.from({ length: times }, () => send({ type: "run", ...run }))];
    },
  },
  {
    id: "D6",
    says: "sends a known record again and again",
    refusal: "OVERLOADED",
    frames: (attacker, own) => {
      const records = attacker.replica.records().slice(0, 1);
      return [send(own), ...Array.from({ length: 1_100 }, () => send({ type: "records", records }))];
    },
  },
  {
    id: "D7",
    says: "claims what it never sends",
    refusal: null,
    frames: (attacker, own) => [send({ ...own, logs: own.logs.map((entry) => ({ ...entry, seq: entry.seq + 1 })) })],
  },
  {
    id: "D12",
    says: "sends the runs of its own log from the end to the beginning",
    refusal: "BAD_REQUEST",
    frames: async (attacker, own) => {
      const { run } = await ownRun(attacker);
      const last = run.events.length - 1;
      return [send(own), send({ ...run, type: "run", from: last + 5, events: run.events.slice(last) })];
    },
  },
  {
    id: "D12",
    says: "sends the parts of a run in the wrong order, a thousand of them",
    refusal: "BAD_REQUEST",
    frames: async (attacker, own) => {
      const partAt = await ownParts(attacker);
      return [send(own), ...Array.from({ length: 1_000 }, (_, i) => partAt(1_000 - i))];
    },
  },
  {
    id: "D13",
    says: "something that is no CBOR",
    refusal: "BAD_REQUEST",
    frames: () => [new Uint8Array([0x1f, 0x8b, 8, 0, 0, 0])],
  },
  {
    id: "D",
    says: "begins with a want",
    refusal: "BAD_REQUEST",
    frames: () => [send({ type: "want", logs: [], bodies: [] })],
  },
  { id: "D", says: "sends a second full vector", refusal: "BAD_REQUEST", frames: (_, own) => [send(own), send(own)] },
  {
    id: "D",
    says: "a vector of version 2",
    refusal: "UNSUPPORTED_VERSION",
    frames: () => [raw({ t: "vector", v: 2, full: true, r: [], logs: [] })],
  },
  { id: "D", says: "a frame of no known type", refusal: "BAD_REQUEST", frames: () => [raw({ t: "snapshot" })] },
  {
    id: "D",
    says: "a frame with a field too many",
    refusal: "BAD_REQUEST",
    frames: () => [raw({ t: "vector", v: 1, full: true, r: [], logs: [], chain: "here" })],
  },
  {
    id: "D",
    says: "a forged roster record",
    refusal: "BAD_SIGNATURE",
    frames: async (attacker, own) => {
      const [{ sealed }] = (await openEpoch(attacker.replica)) as [RosterRecord];
      return [
        send(own),
        send({ type: "records", records: [{ ...sealed, seal: { ...sealed.seal, sig: new Uint8Array(64) } }] }),
      ];
    },
  },
  {
    id: "C4",
    says: "a run with a gap",
    refusal: "BAD_REQUEST",
    frames: async (attacker, own) => {
      const { run } = await ownRun(attacker, 1);
      return [send(own), send({ type: "run", ...run, from: run.from + 7, events: run.events })];
    },
  },
  {
    id: "C9",
    says: "a run whose head another key signed",
    refusal: "BAD_SIGNATURE",
    frames: async (attacker, own) => {
      const { run } = await ownRun(attacker);
      return [send(own), send({ type: "run", ...run, head: { ...run.head, sig: new Uint8Array(64).fill(1) } })];
    },
  },
  {
    id: "D1",
    says: "names ends of histories that nobody has",
    refusal: null,
    frames: (attacker, own) => [send({ ...own, forked: forkedOf(attacker, own, 16) })],
  },
  {
    id: "D2",
    says: "names 17 ends of one log",
    refusal: "TOO_LARGE",
    frames: (attacker, own) => [send({ ...own, forked: forkedOf(attacker, own, 17) })],
  },
  {
    id: "D3",
    says: "names new ends without end",
    refusal: "OVERLOADED",
    frames: (attacker, own) => [
      send(own),
      ...Array.from({ length: 800 }, (_, i) =>
        send({ ...own, full: false, logs: [], forked: forkedOf(attacker, own, 16, i) }),
      ),
    ],
  },
  {
    id: "D4",
    says: "asks for the same part of a log again and again",
    refusal: "OVERLOADED",
    frames: (_, own) => [
      send(own),
      ...Array.from({ length: 1_100 }, () =>
        send({ type: "part", log: own.logs[0]!.log, tip: own.logs[0]!.id, from: 0 }),
      ),
    ],
  },
  {
    id: "D5",
    says: "sends a proof that a log was written twice which does not say where",
    refusal: "BAD_REQUEST",
    frames: async (attacker, own) => {
      const { entry, run } = await ownRun(attacker);
      const { log, opening } = entry;
      const key = attacker.keys.device;
      const head = { ...run.head.head, id: "42".repeat(32) as never };
      const proof = { log, opening, a: run.head, b: signHead(key, head), headers: [] };
      return [send(own), send({ type: "fork", proof })];
    },
  },
];

/** So many ends of the attacker's own log, each new in each round. */
function forkedOf(attacker: TestMember, own: SyncFrame & { type: "vector" }, count: number, round = 0): ForkedLog[] {
  const entry = own.logs.find(({ opening }) => opening.device === attacker.replica.device)!;
  const ends = Array.from({ length: count }, (_, i) => ({ seq: 3, id: toHex(sha256(encode([round, i]))) as EventId }));
  return [{ log: entry.log, opening: entry.opening, ends }];
}

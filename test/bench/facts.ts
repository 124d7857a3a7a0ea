/**
 * One fact written where 20,000 are, and taken in by another replica, against the same in Yjs (a map) and Automerge (a record) in
 * one run: in memory, as bytes that travel. The last row is what `kin facts set` does in all: sealed, chained, signed, on disk.
 */
import * as A from "@automerge/automerge";
import * as Y from "yjs";
import { decode, encode } from "../../protocols/bytes.ts";
import { factSetValue } from "../../protocols/document.ts";
import { idOf } from "../../protocols/ids.ts";
import { needMesh } from "../../node/gateway/mesh.ts";
import { encodeStamp } from "../../sync/clock.ts";
import { createFacts, type Facts } from "../../sync/documents/facts.ts";
import { bytesOf } from "../sync/chains.ts";
import { makeHome, removeHome, startNode } from "./kin-node.ts";
import type { Bench, BenchOptions, Row } from "./main.ts";
import { median, rounded } from "./measure.ts";
import { usage } from "./usage.ts";

const FULL = { facts: 20_000, rounds: 5, writes: { kin: 5_000, yjs: 2_000, automerge: 100, durable: 200 } };
const QUICK = { facts: 200, rounds: 1, writes: { kin: 50, yjs: 50, automerge: 5, durable: 3 } };
type Sizes = typeof FULL;

/** Writes one fact and returns its bytes; takes such bytes in. */
interface Subject {
  name: string;
  writes: number;
  write(key: string, value: string): Uint8Array | Promise<Uint8Array>;
  /** null: there is no other replica here. */
  merge: ((bytes: Uint8Array) => void) | null;
}

export const factsBench: Bench = {
  title:
    "facts: one write where 20,000 facts are; medians of 5 rounds, µs of CPU (kin-durable: of the clock); × is how many times kin's",
  columns: {
    name: "what",
    writes: "writes a round",
    writeUs: "write µs",
    mergeUs: "merge µs",
    writeRatio: "write ×",
    mergeRatio: "merge ×",
    bytes: "bytes",
  },
  async measure(options) {
    const sizes = options.quick ? QUICK : FULL;
    const rows: Row[] = [];
    for (const [name, make] of [
      ["kin", kinFacts],
      ["yjs", yjsMap],
      ["automerge", automergeRecord],
    ] as const)
      if (isWanted(options, name)) rows.push(await measureSubject(make(sizes), sizes));
    if (isWanted(options, "kin-durable")) rows.push(await measureDurable(sizes));
    const kin = rows.find(({ name }) => name === "kin");
    const ratio = (row: Row, field: string): number | string => {
      const [one, other] = [row[field], kin?.[field]];
      return typeof one === "number" && typeof other === "number" ? rounded(one / other, 1) : "";
    };
    return rows.map((row) => ({ ...row, writeRatio: ratio(row, "writeUs"), mergeRatio: ratio(row, "mergeUs") }));
  },
};

function isWanted({ only }: BenchOptions, name: string): boolean {
  return only.length === 0 || only.includes(name);
}

/** @param now µs: of CPU, which other programs on the machine don't change much, or of the clock, for what waits for the disk */
async function measureSubject(subject: Subject, { facts, rounds }: Sizes, now = cpuUs): Promise<Row> {
  const [writeUs, mergeUs]: [number[], number[]] = [[], []];
  let bytes = 0;
  // The first round warms up.
  for (let round = 0; round <= rounds; round++) {
    const made: Uint8Array[] = [];
    const start = now();
    for (let i = 0; i < subject.writes; i++)
      made.push(await subject.write(keyOf((i * 7919) % facts), `value ${round} ${i}`));
    const middle = now();
    for (const one of made) subject.merge?.(one);
    const end = now();
    if (round === 0) continue;
    writeUs.push((middle - start) / subject.writes);
    mergeUs.push((end - middle) / subject.writes);
    bytes = made.reduce((sum, one) => sum + one.length, 0) / made.length;
  }
  return {
    name: subject.name,
    writes: subject.writes,
    writeUs: rounded(median(writeUs), 1),
    mergeUs: subject.merge === null ? "" : rounded(median(mergeUs), 1),
    bytes: Math.round(bytes),
  };
}

function kinFacts({ facts, writes }: Sizes): Subject {
  const [mine, theirs] = [createFacts(), createFacts()];
  let made = 0;
  const event = (value: unknown): Parameters<Facts["fold"]>[0] => ({
    id: idOf(bytesOf(`event ${made++}`)),
    person: idOf(bytesOf("ana")),
    device: idOf(bytesOf("laptop")),
    hlc: encodeStamp({ ms: 1_800_000_000_000 + made, counter: 0 }),
    value: value as never,
  });
  for (let i = 0; i < facts; i++) {
    const first = event(factSetValue({ scope: null, key: keyOf(i), json: '"first"', replaces: [] }));
    mine.fold(first);
    theirs.fold(first);
  }
  // Ids and stamps come with every event of the log, whatever it says: they are made before the clock runs.
  const events = Array.from({ length: writes.kin * 16 }, () => event(null));
  let [written, merged] = [0, 0];
  return {
    name: "kin",
    writes: writes.kin,
    write(key, text) {
      const replaces = mine.standing(null, key);
      const value = factSetValue({ scope: null, key, json: JSON.stringify(text), replaces });
      mine.fold({ ...events[written++]!, value });
      return encode(value);
    },
    merge: (bytes) => void theirs.fold({ ...events[merged++]!, value: decode(bytes) }),
  };
}

function yjsMap({ facts, writes }: Sizes): Subject {
  const [mine, theirs] = [new Y.Doc(), new Y.Doc()];
  const map = mine.getMap("facts");
  mine.transact(() => {
    for (let i = 0; i < facts; i++) map.set(keyOf(i), "first");
  });
  Y.applyUpdate(theirs, Y.encodeStateAsUpdate(mine));
  let last: Uint8Array = new Uint8Array();
  mine.on("update", (bytes: Uint8Array) => (last = bytes));
  return {
    name: "yjs",
    writes: writes.yjs,
    write(key, value) {
      map.set(key, value);
      return last;
    },
    merge: (bytes) => Y.applyUpdate(theirs, bytes),
  };
}

function automergeRecord({ facts, writes }: Sizes): Subject {
  let mine = A.change(A.init<{ [key: string]: string }>(), (doc) => {
    for (let i = 0; i < facts; i++) doc[keyOf(i)] = "first";
  });
  let theirs = A.clone(mine);
  return {
    name: "automerge",
    writes: writes.automerge,
    write(key, value) {
      mine = A.change(mine, (doc) => void (doc[key] = value));
      return A.getLastLocalChange(mine)!;
    },
    merge: (bytes) => void ([theirs] = A.applyChanges(theirs, [bytes])),
  };
}

/** `kin facts set` on a node with its log on libSQL, without the socket. */
async function measureDurable(sizes: Sizes): Promise<Row> {
  const home = makeHome("ben");
  const bench = await startNode(home);
  try {
    await bench.node.found("bench", "ben", "bench");
    const { replica, documents } = needMesh(bench.node);
    const entry = (i: number) => ({
      kind: "fact-set",
      audience: "mesh" as const,
      value: factSetValue({ scope: null, key: keyOf(i), json: '"first"', replaces: [] }),
    });
    for (let i = 0; i < sizes.facts; i += 200)
      await replica.append(Array.from({ length: Math.min(200, sizes.facts - i) }, (_, at) => entry(i + at)));
    await documents.settled();
    const subject: Subject = {
      name: "kin-durable",
      writes: sizes.writes.durable,
      async write(key, value) {
        await documents.facts.set(null, key, JSON.stringify(value));
        return new Uint8Array();
      },
      merge: null,
    };
    return { ...(await measureSubject(subject, sizes, () => performance.now() * 1000)), bytes: "" };
  } finally {
    await bench.stop();
    removeHome(home);
  }
}

function cpuUs(): number {
  return usage().cpuMs * 1000;
}

function keyOf(i: number): string {
  return `team/fact-${i}`;
}

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { utf8Bytes } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import type { StoredEvent } from "../../protocols/events.ts";
import type { LogId } from "../../protocols/ids.ts";
import { openLogFile, type LogFile } from "../../sync/stores/log-file.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { packBatches } from "../../sync/stores/packed-batch.ts";
import type { StoreBatch } from "../../sync/store.ts";
import { makeChain } from "../sync/chains.ts";
import { batchOf } from "../sync/store-acceptance.ts";
import { chance, type Chance } from "./random.ts";

/** Damages of each kind, CI's size; the nightly one: `KIN_DAMAGES=2000 npx vitest run test/disk/damage.test.ts`. */
const DAMAGES = Number(process.env["KIN_DAMAGES"] ?? 60);
const PAGE_BYTES = 4096;
const EVENTS_A_COMMIT = 12;

let scratch: string;
let counter = 0;

const chains = [makeChain("ana", 180), makeChain("ben", 120), makeChain("ana", 60, { chain: "here" })];
const truth = new Map<LogId, StoredEvent[]>(chains.map(({ log, events }) => [log, events]));
const VALUES_A_COMMIT = 2;

interface Files {
  db: Buffer;
  wal: Buffer | null;
}

const batches = chains.flatMap((chain) =>
  Array.from({ length: chain.events.length / EVENTS_A_COMMIT }, (_, i) =>
    batchOf(chain, i * EVENTS_A_COMMIT, (i + 1) * EVENTS_A_COMMIT),
  ),
);
for (const [i, batch] of batches.entries())
  batch.values = Array.from({ length: VALUES_A_COMMIT }, (_, j) => value(i * VALUES_A_COMMIT + j));

/** As a store that was closed leaves it: all in the file. */
let closed: Files;
/** As one that was killed does: the second half of it in the write-ahead log. */
let killed: Files;
/** The write-ahead log of an earlier moment. */
let earlier: Files;

beforeAll(async () => {
  scratch = mkdtempSync(join(tmpdir(), "kin-damage-"));
  const half = await closedWith(batches.slice(0, batches.length / 2));
  closed = await closedWith(batches);
  killed = killedWith(half, batches.slice(batches.length / 2));
  earlier = killedWith(half, batches.slice(batches.length / 2, -5));
});
afterAll(() => rmSync(scratch, { recursive: true }));

async function closedWith(some: StoreBatch[]): Promise<Files> {
  const file = join(scratch, `made-${counter++}.db`);
  const store = await openLibsqlStore({ file });
  for (const batch of some) await store.append(batch);
  await store.close();
  return filesOf(file);
}

function killedWith({ db }: Files, some: StoreBatch[]): Files {
  const file = join(scratch, `made-${counter++}.db`);
  writeFileSync(file, db);
  const store = openLogFile({ file });
  for (const batch of some) store.commit(packBatches([batch]));
  return filesOf(file);
}

function value(number: number): { key: string; value: Uint8Array } {
  return { key: `call/${String(number).padStart(5, "0")}`, value: utf8Bytes(`value ${number}`) };
}

function filesOf(file: string): Files {
  return { db: readFileSync(file), wal: existsSync(`${file}-wal`) ? readFileSync(`${file}-wal`) : null };
}

/** right: all is there; noticed: refused or named; without-last: but for the last transaction; older: the end is missing; wrong: none of these. */
type Outcome = "right" | "noticed" | "without-last" | "older" | "wrong";

interface Seen {
  outcome: Outcome;
  /** After right rows from elsewhere were given; null where there was nothing to repair, or it could not be opened. */
  repaired: boolean | null;
}

function look({ db, wal }: Files): Seen {
  const file = join(scratch, `damaged-${counter++}.db`);
  writeFileSync(file, db);
  if (wal !== null) writeFileSync(`${file}-wal`, wal);
  try {
    return lookAt(file);
  } finally {
    for (const part of ["", "-wal", "-journal", "-shm"]) rmSync(file + part, { force: true });
  }
}

function lookAt(file: string): Seen {
  let store: LogFile;
  try {
    store = openLogFile({ file });
  } catch (error) {
    return { outcome: noticed(error), repaired: null };
  }
  const outcome = outcomeOf(store);
  const repaired = outcome === "noticed" ? repair(store) : null;
  try {
    store.close();
  } catch (error) {
    noticed(error);
  }
  return { outcome, repaired };
}

/** Anything but an error of ours in words is a fault of the store. */
function noticed(error: unknown): Outcome {
  if (!(error instanceof KinError)) throw error;
  return error.code === "CORRUPT" && error.message.includes("log.db") ? "noticed" : "wrong";
}

function outcomeOf(store: LogFile): Outcome {
  try {
    const states = store.logs();
    for (const { log, seq } of states) {
      const { events, heads } = store.damaged(log, 0, seq + 1);
      if (events.length + heads.length > 0) return "noticed";
    }
    return readAll(store);
  } catch (error) {
    return noticed(error);
  }
}

function readAll(store: LogFile): Outcome {
  let count = 0;
  for (const { log, seq, opening } of store.logs()) {
    const expected = truth.get(log)?.slice(0, seq + 1);
    if (expected === undefined || opening.device !== chains.find((chain) => chain.log === log)!.opening.device)
      return "wrong";
    count += expected.length;
    if (!isSame(store.range(log, 0, 1e6), expected)) return "wrong";
    for (const event of expected) if (!isSame([store.event(event.id)], [event])) return "wrong";
    const head = store.headFrom(log, seq);
    if (head !== undefined && head.head.id !== expected[head.head.seq]?.id) return "wrong";
  }
  if (store.since(0, 1e6).length !== count) return "wrong";
  const values = store.values("call/");
  for (const { key, value: bytes } of values) {
    if (!isSame([bytes], [value(Number(key.slice(5))).value])) return "wrong";
    if (store.value(key) === undefined) return "wrong";
  }
  const total = [...truth.values()].reduce((sum, events) => sum + events.length, 0);
  const missing = total - count;
  if (values.length !== VALUES_A_COMMIT * (batches.length - missing / EVENTS_A_COMMIT)) return "wrong";
  return missing === 0 ? "right" : missing === EVENTS_A_COMMIT ? "without-last" : "older";
}

function isSame(a: readonly unknown[], b: readonly unknown[]): boolean {
  return isDeepStrictEqual(a, b);
}

/** With what a peer would send. */
function repair(store: LogFile): boolean {
  try {
    for (const { log, seq } of store.logs()) {
      const { events, heads } = store.damaged(log, 0, seq + 1);
      const chain = chains.find((one) => one.log === log)!;
      store.repair({ events: events.map((at) => chain.events[at]!), heads: heads.map((at) => chain.headAt(at)) });
    }
    return outcomeOf(store) === "right";
  } catch (error) {
    noticed(error);
    return false;
  }
}

const KINDS: { [kind: string]: { allowed: Outcome[]; damage(random: Chance): Files } } = {
  "a bit of the database": {
    allowed: ["right", "noticed"],
    damage: (random) => ({ ...closed, db: flipped(closed.db, random) }),
  },
  "a bit of the write-ahead log": {
    // A flip in its last transaction looks like one that was not synced: what came before is there.
    allowed: ["right", "noticed", "without-last"],
    damage: (random) => ({ ...killed, wal: flipped(killed.wal!, random) }),
  },
  "a bit of the database under a write-ahead log": {
    allowed: ["right", "noticed"],
    damage: (random) => ({ ...killed, db: flipped(killed.db, random) }),
  },
  "a database cut short": {
    allowed: ["noticed"],
    damage: (random) => ({ ...closed, db: closed.db.subarray(0, 1 + random.below(closed.db.length - 1)) }),
  },
  "a write-ahead log cut short": {
    // As a restored backup is: whole, and older. Peers that know more say so before the first write (R2).
    allowed: ["right", "without-last", "older", "noticed"],
    damage: (random) => ({ ...killed, wal: killed.wal!.subarray(0, random.below(killed.wal!.length)) }),
  },
  "two pages in each other's place": {
    // Two empty ones may be exchanged.
    allowed: ["right", "noticed"],
    damage: (random) => ({ ...closed, db: swapped(closed.db, random) }),
  },
  "a write-ahead log of earlier": {
    allowed: ["older"],
    damage: () => ({ db: closed.db, wal: earlier.wal }),
  },
};

for (const [kind, { allowed, damage }] of Object.entries(KINDS))
  test(
    `P18 K6 K7: ${kind}: nothing is read wrong without a word`,
    () => {
      const random = chance();
      const count = kind.endsWith("earlier") ? 1 : DAMAGES;
      const seen: Seen[] = [];
      for (let i = 0; i < count; i++) seen.push(look(damage(random)));
      const of = (outcome: Outcome): number => seen.filter((one) => one.outcome === outcome).length;
      const repairs = seen.filter(({ repaired }) => repaired !== null);
      const repaired = repairs.filter((one) => one.repaired).length;
      console.log(
        `P18: ${kind}: ${count} damages: ${of("wrong")} wrong, ${of("noticed")} noticed (${repaired} of ${repairs.length} that could be opened repaired in place), ${of("without-last")} without the last transaction, ${of("older")} older, ${of("right")} without effect, seed ${random.seed}`,
      );
      expect(seen.map(({ outcome }) => outcome).filter((outcome) => !allowed.includes(outcome))).toEqual([]);
    },
    60_000 + DAMAGES * 500,
  );

test("P18: a store that was killed has no -shm to lose, and opens without any", () => {
  expect(closed.wal).toBeNull();
  expect(killed.wal!.length).toBeGreaterThan(PAGE_BYTES);
  expect(readdirSync(scratch).filter((name) => name.endsWith("-shm"))).toEqual([]);
  expect(look(killed).outcome).toBe("right");
  expect(look(closed).outcome).toBe("right");
});

function flipped(bytes: Buffer, random: Chance): Buffer {
  const copy = Buffer.from(bytes);
  copy[random.below(copy.length)]! ^= 1 << random.below(8);
  return copy;
}

function swapped(bytes: Buffer, random: Chance): Buffer {
  const pages = bytes.length / PAGE_BYTES;
  const [a, b] = [random.below(pages), random.below(pages - 1)];
  const other = b < a ? b : b + 1;
  const copy = Buffer.from(bytes);
  bytes.copy(copy, a * PAGE_BYTES, other * PAGE_BYTES, (other + 1) * PAGE_BYTES);
  bytes.copy(copy, other * PAGE_BYTES, a * PAGE_BYTES, (a + 1) * PAGE_BYTES);
  return copy;
}

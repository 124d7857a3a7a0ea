/**
 * What was started, and how it ended: one row for each call with side effects, by (caller's person, idempotency key), so that
 * it runs once whatever the network does (R8). A row is durable before the call runs and is kept until the call's signed
 * expiry. What a restart finds started without an outcome is unknown for ever: nobody runs it again.
 *
 *   (none) ──begin──▶ started ──end──▶ ended
 *                        └──restart──▶ unknown
 */
import { decode, encode, equal, fromHex, toHex, type Value } from "../../protocols/bytes.ts";
import type { Time } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type EnvelopeId, type PersonId } from "../../protocols/ids.ts";
import { outcomeValue, parseOutcome, parseRefused, refusedBody, requestDigest } from "../../protocols/invoke-bodies.ts";
import type { CallRequest, RecallOutcome, RecordedOutcome } from "../../protocols/invoke.ts";
import { asMap } from "../../protocols/signature.ts";
import type { LedgerWord } from "../../sync/outbox.ts";
import type { EventStore } from "../../sync/store.ts";

/** Rows of one person: 7 min of 300 calls/s with side effects. */
export const MAX_ROWS_PER_PERSON = 131_072;
/** Rows of everybody, about 400 B of memory each. */
const MAX_ROWS = 524_288;
/** Expired rows are looked for this often. */
const PRUNE_EVERY_MS = 60_000;
/** Rows that one transaction deletes. */
const PRUNE_BATCH = 1024;
const PREFIX = "call/";

export interface CallRow {
  person: PersonId;
  /** 16 bytes. */
  key: Uint8Array;
  request: EnvelopeId;
  /** The first request under this key, if the one that began it was a retry (R8). */
  first?: EnvelopeId | undefined;
  /** `requestDigest`: what a retry must have in common. */
  digest: Uint8Array;
  /** The key that signed the request: who may ask how it ended. */
  callerKey: Uint8Array;
  /** Wall ms: the envelope's `exp`. */
  expiresAt: number;
}

export interface LedgerEntry extends CallRow {
  state: "started" | "ended" | "unknown";
}

export interface Ledger {
  find(person: PersonId, key: Uint8Array): LedgerEntry | undefined;
  /** Durable when it resolves. @throws KinError OVERLOADED if the table is full; DISK_FULL … */
  begin(row: CallRow): Promise<void>;
  /** Durable when it resolves. If it rejects, this process still knows the outcome. */
  end(person: PersonId, key: Uint8Array, outcome: RecordedOutcome): Promise<void>;
  /** Undefined unless the entry has ended. */
  outcome(entry: LedgerEntry): Promise<RecordedOutcome | undefined>;
  recall: RecallOutcome;
  /** What is known of a call with this key and content, whichever envelope began it. */
  wordOn(person: PersonId, request: CallRequest): Promise<LedgerWord>;
  stop(): void;
}

interface Row extends LedgerEntry {
  name: string;
  /** Until it is on disk. */
  outcome: RecordedOutcome | undefined;
}

export interface LedgerDeps {
  store: Pick<EventStore, "append" | "value" | "values">;
  time: Time;
  /** Told what went wrong while rows were pruned: the rows stay and are tried again. */
  warn(sentence: string, error: unknown): void;
}

export interface LedgerLimits {
  /** @default MAX_ROWS_PER_PERSON */
  perPerson?: number;
}

/** Loads what the store knows. @throws KinError CORRUPT for a row that is none */
export async function createLedger(
  deps: LedgerDeps,
  { perPerson = MAX_ROWS_PER_PERSON }: LedgerLimits = {},
): Promise<Ledger> {
  const { store, time } = deps;
  const rows = new Map<string, Row>();
  const byRequest = new Map<EnvelopeId, Row>();
  const counts = new Map<PersonId, number>();

  for (const { key, value } of await store.values(PREFIX)) add(parseRow(key, value));
  let cancelPrune = time.after(PRUNE_EVERY_MS, prune);

  function add(row: Row): void {
    rows.set(row.name, row);
    byRequest.set(row.request, row);
    counts.set(row.person, (counts.get(row.person) ?? 0) + 1);
  }

  function drop(row: Row): void {
    rows.delete(row.name);
    byRequest.delete(row.request);
    const left = counts.get(row.person)! - 1;
    if (left === 0) counts.delete(row.person);
    else counts.set(row.person, left);
  }

  /** What runs is kept whatever its expiry says: its end must find its row. */
  function prune(): void {
    const now = time.now();
    const old = [...rows.values()].filter((row) => row.expiresAt <= now && row.state !== "started");
    void deleteRows(old).finally(() => (cancelPrune = stopped ? () => {} : time.after(PRUNE_EVERY_MS, prune)));
  }

  async function deleteRows(old: Row[]): Promise<void> {
    try {
      for (let at = 0; at < old.length; at += PRUNE_BATCH) {
        const batch = old.slice(at, at + PRUNE_BATCH);
        await store.append({ values: batch.map((row) => ({ key: row.name, value: null })) });
        for (const row of batch) drop(row);
      }
    } catch (error) {
      deps.warn("expired rows of the call ledger could not be deleted", error);
    }
  }

  let stopped = false;

  async function begin(call: CallRow): Promise<void> {
    const name = rowName(call.person, call.key);
    if (rows.has(name)) throw new KinError("INTERNAL", "a call with this key was begun before");
    if ((counts.get(call.person) ?? 0) >= perPerson || rows.size >= MAX_ROWS)
      throw new KinError("OVERLOADED", "too many calls with side effects in the last minutes: try again later");
    const row: Row = { ...call, name, state: "started", outcome: undefined };
    add(row);
    try {
      await store.append({ values: [{ key: name, value: formatRow(row, undefined) }] });
    } catch (error) {
      drop(row);
      throw error;
    }
  }

  async function end(person: PersonId, key: Uint8Array, outcome: RecordedOutcome): Promise<void> {
    const row = rows.get(rowName(person, key));
    if (row === undefined) throw new KinError("INTERNAL", "a call ended that was not begun");
    row.state = "ended";
    row.outcome = outcome;
    await store.append({ values: [{ key: row.name, value: formatRow(row, outcome) }] });
    row.outcome = undefined;
  }

  async function outcomeOf(row: Row): Promise<RecordedOutcome | undefined> {
    if (row.state !== "ended") return undefined;
    if (row.outcome !== undefined) return row.outcome;
    const value = await store.value(row.name);
    return value === undefined ? undefined : parseRowOutcome(value);
  }

  return {
    find: (person, key) => rows.get(rowName(person, key)),
    begin,
    end,
    outcome: (entry) => outcomeOf(entry as Row),
    async recall(request, callerKey) {
      const row = byRequest.get(request);
      return row !== undefined && equal(row.callerKey, callerKey) ? await outcomeOf(row) : undefined;
    },
    async wordOn(person, request) {
      const row = rows.get(rowName(person, request.key));
      if (row === undefined || !equal(row.digest, requestDigest(request))) return "never-begun";
      return (await outcomeOf(row)) ?? "unknown";
    },
    stop() {
      stopped = true;
      cancelPrune();
    },
  };
}

function rowName(person: PersonId, key: Uint8Array): string {
  return `${PREFIX}${person}/${toHex(key)}`;
}

/** `{ v: 1, r: request, f?: first request, d: digest, k: caller's key, x: expiry, o?: {result} | {error} }` */
function formatRow(row: Row, recorded: RecordedOutcome | undefined): Uint8Array {
  const o =
    recorded === undefined
      ? undefined
      : "outcome" in recorded
        ? { result: outcomeValue(recorded.outcome) }
        : { error: refusedBody(recorded.error) };
  const f = row.first === undefined ? undefined : idBytes(row.first);
  return encode({ v: 1, r: idBytes(row.request), f, d: row.digest, k: row.callerKey, x: row.expiresAt, o });
}

function parseRow(name: string, bytes: Uint8Array): Row {
  try {
    const { v, r, f, d, k, x, o } = asMap(decode(bytes), "a row");
    const [person, key] = name.slice(PREFIX.length).split("/");
    if (v !== 1 || !(d instanceof Uint8Array) || !(k instanceof Uint8Array) || typeof x !== "number")
      throw new KinError("CORRUPT", "a row is {v: 1, r, d, k, x, o?}");
    return {
      name,
      person: idOf(fromHex(person ?? "")),
      key: fromHex(key ?? ""),
      request: idOf(r),
      first: f === undefined ? undefined : idOf(f),
      digest: d,
      callerKey: k,
      expiresAt: x,
      state: o === undefined ? "unknown" : "ended",
      outcome: undefined,
    };
  } catch (cause) {
    throw new KinError("CORRUPT", `the ledger's row ${name} can't be read`, { cause });
  }
}

function parseRowOutcome(bytes: Uint8Array): RecordedOutcome | undefined {
  const { o } = asMap(decode(bytes), "a row") as { o?: Value };
  if (o === undefined) return undefined;
  const { result, error } = asMap(o, "an outcome");
  return error === undefined ? { outcome: parseOutcome(result) } : { error: parseRefused(error) };
}

/**
 * Audit records: who called which tool, when, and how it ended. They go into the here chain (R9), so they are canonical
 * data: integers, no undefined. Arguments are recorded by their hash only: a secret in them must not be echoed (J17).
 */
import type { Time } from "../../protocols/effects.ts";
import { KinError, type ErrorCode } from "../../protocols/errors.ts";
import type { Json } from "../../protocols/tool.ts";
import { sha256 } from "#crypto";
import { toHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";

export interface AuditCaller {
  person: string;
  device: string;
  agent: string | null;
}

export interface AuditStarted {
  event: "started";
  at: number;
  /** Envelope id of the call, hex; the steps of an agent share that of its call. */
  call: string;
  caller: AuditCaller;
  /** `tools/git.log` */
  target: string;
  /** The agent whose step it is. */
  through: string | null;
  /** The share the call names, as asked. */
  share: string | null;
  /** SHA-256 of the canonical arguments, hex. */
  arguments: string;
}

export interface AuditEnded {
  event: "ended" | "refused";
  at: number;
  call: string;
  caller: AuditCaller;
  target: string;
  through: string | null;
  /** `ok`, `tool-error` (it ran and says that it failed) or a code. */
  outcome: "ok" | "tool-error" | ErrorCode | (string & {});
  ms: number;
}

export type AuditRecord = AuditStarted | AuditEnded;

/** Events of this kind hold the records that were written together. Before, each record was an event of its own. */
const AUDIT = "audit";
export const AUDIT_KINDS: ReadonlySet<string> = new Set([AUDIT, "audit-started", "audit-ended"]);

/** The event for records that are written together: one header, hash and row for all of them. */
export function auditEntry(records: readonly AuditRecord[]): { kind: string; audience: "here"; value: Value } {
  return {
    kind: AUDIT,
    audience: "here",
    value: records.map((record) => ({ ...record, caller: { ...record.caller } })),
  };
}

/** What {@link auditEntry} wrote, or an earlier kin: then one record. */
export function auditRecords(value: Value): AuditRecord[] {
  return (Array.isArray(value) ? value : [value]) as unknown as AuditRecord[];
}

/** Appends to the here chain; resolves when it is durable. "soon": who asks does not wait, so it may ride with later ones. */
export type RecordAudit = (record: AuditRecord, when?: "soon") => Promise<void>;

/** How long a record that nobody waits for may wait for others: what a crash can take with it of read-only calls. */
const SOON_MS = 20;
/** Records in one event, below 1 KB each, so a quarter of what a body may hold; with so many waiting nobody waits longer. */
const MAX_TOGETHER = 64;
/** Records that are not on the disk yet, about 1 KB of memory each. */
const MAX_UNWRITTEN = 10_000;

export interface AuditWriter {
  record: RecordAudit;
  /** Writes what waits. */
  stop(): Promise<void>;
}

/** A commit signs a head and syncs the disk: records that nobody waits for share one. The order is that of the asking. */
export function createAuditWriter(
  append: (records: AuditRecord[]) => Promise<unknown>,
  time: Pick<Time, "after">,
): AuditWriter {
  let waiting: AuditRecord[] = [];
  let written = Promise.withResolvers<void>();
  let cancelTimer: (() => void) | null = null;
  let unwritten = 0;

  function flush(): Promise<void> {
    cancelTimer?.();
    cancelTimer = null;
    if (waiting.length === 0) return Promise.resolve();
    const [records, { promise, resolve, reject }] = [waiting, written];
    waiting = [];
    written = Promise.withResolvers<void>();
    append(records)
      .then(() => resolve(), reject)
      .finally(() => (unwritten -= records.length));
    return promise;
  }

  return {
    record(record, when) {
      if (unwritten >= MAX_UNWRITTEN)
        return Promise.reject(new KinError("OVERLOADED", `${unwritten} audit records wait for the disk`));
      unwritten++;
      waiting.push(record);
      if (when !== "soon" || waiting.length >= MAX_TOGETHER) return flush();
      cancelTimer ??= time.after(SOON_MS, () => void flush());
      return written.promise;
    },
    stop: flush,
  };
}

/** Keys sorted at every level, so that equal arguments have equal hashes. */
export function argumentsHash(value: Json): string {
  return toHex(sha256(utf8Bytes(JSON.stringify(sorted(value)))));
}

/** The value itself where nothing is out of order, which is most often so. */
function sorted(value: Json): Json {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(sorted);
  const names = Object.keys(value);
  const ordered = names.toSorted();
  const members = ordered.map((name) => [name, sorted(value[name]!)] as const);
  const isSorted = members.every(([name, member], i) => name === names[i] && member === value[name]);
  return isSorted ? value : Object.fromEntries(members);
}

/**
 * Audit records: who called which tool, when, and how it ended. They go into the here chain (R9), so they are canonical
 * data: integers, no undefined. Arguments are recorded by their hash only: a secret in them must not be echoed (J17).
 */
import type { Time } from "../../protocols/effects.ts";
import { KinError, type ErrorCode } from "../../protocols/errors.ts";
import type { Json } from "../../protocols/tool.ts";
import { sha256 } from "#crypto";
import { toHex, utf8Bytes, type Value } from "../../protocols/bytes.ts";

export type AuditKind = "audit-started" | "audit-ended";

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

/** As it stands in an event. */
export function auditValue(record: AuditStarted | AuditEnded): { [key: string]: Value } {
  return { ...record, caller: { ...record.caller } };
}

/** Appends to the here chain; resolves when it is durable. "soon": who asks does not wait, so it may ride with later ones. */
export type RecordAudit = (kind: AuditKind, value: AuditStarted | AuditEnded, when?: "soon") => Promise<void>;

/** How long a record that nobody waits for may wait for others: what a crash can take with it of read-only calls. */
const SOON_MS = 20;
/** Records written together, well below what one append may hold; with so many waiting nobody waits longer. */
const MAX_TOGETHER = 256;
/** Records that are not on the disk yet, about 1 KB of memory each. */
const MAX_UNWRITTEN = 10_000;

export interface AuditWriter {
  record: RecordAudit;
  /** Writes what waits. */
  stop(): Promise<void>;
}

/** A commit signs a head and syncs the disk: records that nobody waits for share one. The order is that of the asking. */
export function createAuditWriter(
  append: (records: { kind: AuditKind; value: AuditStarted | AuditEnded }[]) => Promise<unknown>,
  time: Pick<Time, "after">,
): AuditWriter {
  let waiting: { kind: AuditKind; value: AuditStarted | AuditEnded }[] = [];
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
    record(kind, value, when) {
      if (unwritten >= MAX_UNWRITTEN)
        return Promise.reject(new KinError("OVERLOADED", `${unwritten} audit records wait for the disk`));
      unwritten++;
      waiting.push({ kind, value });
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

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.keys(value)
    .sort()
    .map((key) => [key, sorted(value[key]!)] as const);
  return Object.fromEntries(entries);
}

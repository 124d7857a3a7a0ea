/**
 * Audit records: who called which tool, when, and how it ended. They go into the here chain (R9), so they are canonical
 * data: integers, no undefined. Arguments are recorded by their hash only: a secret in them must not be echoed (J17).
 */
import type { ErrorCode } from "../../protocols/errors.ts";
import type { Json } from "../../protocols/tool.ts";
import { sha256 } from "#crypto";
import { toHex, utf8Bytes } from "../../protocols/bytes.ts";

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

/** Appends to the here chain; resolves when it is durable. */
export type RecordAudit = (kind: AuditKind, value: AuditStarted | AuditEnded) => Promise<void>;

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

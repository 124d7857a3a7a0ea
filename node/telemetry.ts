/**
 * The node's own log file: one JSON line an entry, `{at, level, what, …}`. Bounded: a full file becomes `node.log.1` and
 * a new one begins. It says what happened, never what was in a message: no bodies, keys, tickets or arguments.
 */
import { appendFileSync, chmodSync, existsSync, renameSync, statSync } from "node:fs";
import type { Time } from "../protocols/effects.ts";

export type Level = "info" | "warn" | "error";

export interface Telemetry {
  info(what: string, fields?: LogFields): void;
  warn(what: string, fields?: LogFields): void;
  error(what: string, fields?: LogFields): void;
}

export type LogFields = { [name: string]: string | number | boolean | null };

export const MAX_LOG_BYTES = 1024 * 1024;
/** Remote text can end up in a field. */
const MAX_FIELD_CHARACTERS = 1_000;
const SECRETS = /kin[tc]1[a-z2-7]{16,}/gi;

export function createTelemetry(file: string, time: Pick<Time, "now">, alsoTo?: (line: string) => void): Telemetry {
  let bytes = existsSync(file) ? statSync(file).size : 0;
  const write = (level: Level, what: string, fields: LogFields = {}): void => {
    const line = `${JSON.stringify({ at: new Date(time.now()).toISOString(), level, what: cut(what), ...cutAll(fields) })}\n`;
    alsoTo?.(line);
    try {
      if (bytes + line.length > MAX_LOG_BYTES && existsSync(file)) {
        renameSync(file, `${file}.1`);
        bytes = 0;
      }
      appendFileSync(file, line, { mode: 0o600 });
      if (bytes === 0) chmodSync(file, 0o600);
      bytes += Buffer.byteLength(line);
    } catch {
      // A full disk must not stop a node that only wanted to say something; what matters is in the event log.
    }
  };
  return {
    info: (what, fields) => write("info", what, fields),
    warn: (what, fields) => write("warn", what, fields),
    error: (what, fields) => write("error", what, fields),
  };
}

function cut(text: string): string {
  const clean = text.replace(SECRETS, (secret) => `${secret.slice(0, 5)}…`);
  return clean.length > MAX_FIELD_CHARACTERS ? `${clean.slice(0, MAX_FIELD_CHARACTERS)}…` : clean;
}

function cutAll(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === "string" ? cut(value) : value]),
  );
}

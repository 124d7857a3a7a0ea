/** Is what a writer was told is durable there, and is the log whole? */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "libsql";
import { expect } from "vitest";
import { verifyRun, type SignedHead, type StoredEvent, type Tip } from "../../protocols/events.ts";
import { openLogFile } from "../../sync/stores/log-file.ts";
import { tipOf } from "../../sync/store.ts";

/** What a writer said. */
export interface Said {
  /** Acknowledged events: seq → id. */
  acknowledged: Map<number, string>;
  /** Codes of refusals → how many. */
  refused: Map<string, number>;
  /** Lines that were cut off: at most the last one. */
  torn: number;
}

export function readSaid(text: string): Said {
  const said: Said = { acknowledged: new Map(), refused: new Map(), torn: 0 };
  for (const line of text.split("\n").filter((one) => one !== "" && one !== "ready")) {
    const [first = "", second = ""] = line.split(" ");
    if (first === "refused") said.refused.set(second, (said.refused.get(second) ?? 0) + 1);
    else if (/^\d+$/.test(first) && second.length === 64) said.acknowledged.set(Number(first), second);
    else said.torn++;
  }
  return said;
}

/** Adds what one life acknowledged to what all before did; a seq is given out once. */
export function addAcknowledged(all: Map<number, string>, more: ReadonlyMap<number, string>): void {
  for (const [seq, id] of more) {
    if (all.has(seq)) throw new Error(`seq ${seq} was acknowledged twice: ${all.get(seq)} and ${id}`);
    all.set(seq, id);
  }
}

/**
 * Opens a copy of the file (libsql keeps its lock until its statements are collected) as the store's thread does; returns the
 * acknowledged events that are not there.
 * @throws if the chain is not whole and signed, or the database not sound
 */
export function lostOf(file: string, acknowledged: ReadonlyMap<number, string>): number[] {
  return inCopy(file, (copy) => {
    const store = openLogFile({ file: copy });
    const ids = new Map<number, string>();
    for (const state of store.logs()) {
      let previous: Tip | null = null;
      while ((previous?.seq ?? -1) < state.seq) {
        const from: number = previous === null ? 0 : previous.seq + 1;
        const head: SignedHead = store.headFrom(state.log, from)!;
        const events: StoredEvent[] = store.range(state.log, from, head.head.seq + 1);
        verifyRun(state, previous, events, head);
        for (const event of events) ids.set(event.header.seq, event.id);
        previous = head.head;
      }
      expect(tipOf(state)).toEqual({ seq: state.seq, id: state.head!.head.id, hlc: state.head!.head.hlc });
    }
    store.close();
    return [...acknowledged].filter(([seq, id]) => ids.get(seq) !== id).map(([seq]) => seq);
  });
}

/** @throws what SQLite says is wrong */
export function checkIntegrity(file: string): void {
  inCopy(file, (copy) => {
    const db = new Database(copy);
    expect(db.pragma("integrity_check", { simple: true })).toMatchObject({ integrity_check: "ok" });
    db.close();
  });
}

function inCopy<T>(file: string, work: (copy: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "kin-copy-"));
  try {
    for (const part of ["", "-wal", "-journal"])
      if (existsSync(file + part)) copyFileSync(file + part, join(folder, `log.db${part}`));
    return work(join(folder, "log.db"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/**
 * One node at a time on one data folder. The lock is an exclusive SQLite transaction that the process holds open: the
 * system ends it with the process, so it survives neither `kill -9` nor a reused process id, and two starters can't both
 * get it. Who holds it stands in a file beside it. Never open `lock` by other means: closing any descriptor of it would
 * drop the process's POSIX locks.
 */
import Database from "libsql";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "./alive.ts";
import { writeAtomic } from "./atomic-file.ts";
import { KinError } from "../protocols/errors.ts";

export interface FolderLock {
  release(): void;
}

/** How long to look for the name of a holder that has just begun. */
const HOLDER_WAIT_MS = 500;
const HOLDER_POLL_MS = 10;

/** @throws KinError FOLDER_IN_USE, which names the process that holds the folder; DISK_FULL */
export function lockFolder(folder: string): FolderLock {
  const file = join(folder, "lock");
  const holderFile = join(folder, "lock.json");
  const database = openLock(file);
  try {
    database.exec("PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    throw isBusy(error) ? inUse(folder, holderFile) : lockError(error, file);
  }
  try {
    writeAtomic(holderFile, `${JSON.stringify({ pid: process.pid })}\n`);
  } catch (error) {
    database.close();
    throw error;
  }
  held.add(database);
  return {
    release: () => {
      if (!held.delete(database)) return;
      rmSync(holderFile, { force: true });
      database.close();
    },
  };
}

/** A database that nobody refers to is closed by the garbage collector, and the lock with it. */
const held = new Set<Database.Database>();

function openLock(file: string): Database.Database {
  try {
    return new Database(file, { timeout: 0 });
  } catch (error) {
    throw lockError(error, file);
  }
}

function lockError(error: unknown, file: string): KinError {
  if (isFull(error))
    return new KinError("DISK_FULL", `cannot write ${file}: the disk is full`, {
      hint: "free some space and start again; nothing was changed",
      cause: error,
    });
  return new KinError("INTERNAL", `cannot lock the data folder by ${file}: ${(error as Error).message}`, {
    hint: "check who owns the folder, or set KIN_HOME to a folder of yours",
    cause: error,
  });
}

function isBusy(error: unknown): boolean {
  return /SQLITE_BUSY|SQLITE_LOCKED|locked/.test(`${(error as { code?: string }).code} ${(error as Error).message}`);
}

function isFull(error: unknown): boolean {
  return /SQLITE_FULL|SQLITE_IOERR|disk is full/.test(
    `${(error as { code?: string }).code} ${(error as Error).message}`,
  );
}

function inUse(folder: string, holderFile: string): KinError {
  const pid = holderPid(holderFile);
  return new KinError(
    "FOLDER_IN_USE",
    `a node is already running on ${folder}${pid === null ? "" : `: process ${pid}`}`,
    { hint: "use it (kin status), stop it (kin down), or start another with its own KIN_HOME" },
  );
}

/** The living process that the file names. A holder that began a moment ago may not have written it yet. */
export function holderPid(holderFile: string): number | null {
  for (let waitedMs = 0; ; waitedMs += HOLDER_POLL_MS) {
    const pid = readPid(holderFile);
    if (pid !== null && isAlive(pid)) return pid;
    if (waitedMs >= HOLDER_WAIT_MS) return null;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, HOLDER_POLL_MS);
  }
}

function readPid(file: string): number | null {
  try {
    const { pid } = JSON.parse(readFileSync(file, "utf8")) as { pid?: unknown };
    return Number.isSafeInteger(pid) && (pid as number) > 0 ? (pid as number) : null;
  } catch {
    return null;
  }
}

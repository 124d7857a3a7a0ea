/**
 * Small files that are whole or not there: temporary file, fsync, rename, fsync of the folder. What was in the file before
 * stays until the new content is on the disk.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { KinError } from "../protocols/errors.ts";

/** @throws KinError DISK_FULL; others as they come from the system, with the file's name. */
export function writeAtomic(file: string, content: string | Uint8Array, mode = 0o600): void {
  const bytes = typeof content === "string" ? Buffer.from(content) : content;
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, "w", mode);
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
    syncFolder(dirname(file));
  } catch (error) {
    rmSync(temporary, { force: true });
    throw diskError(error, file);
  }
}

/** A rename or a new file is durable only when its folder is. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** What a failed write means to a person. */
export function diskError(error: unknown, file: string): Error {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new KinError("DISK_FULL", `cannot write ${file}: the disk is full`, {
      hint: "free some space and try again; the old content is kept",
      cause: error,
    });
  if (code === "EACCES" || code === "EPERM" || code === "EROFS")
    return new KinError("INTERNAL", `cannot write ${file}: ${(error as Error).message}`, {
      hint: "check who owns the folder, or set KIN_HOME to a folder of yours",
      cause: error,
    });
  return error instanceof Error ? error : new Error(String(error));
}

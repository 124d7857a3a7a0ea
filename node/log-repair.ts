/**
 * The way out when `log.db` can't be read (P18): the damaged file is put aside, never deleted; what can be read of it goes into a
 * new one; the node then begins a new log (R2) and gets the rest from its peers, its own history too. What stands behind a
 * gap is tried again by each later repair, when peers may have brought what was missing.
 */
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { syncFolder } from "./atomic-file.ts";
import type { MeshFolder } from "./home.ts";
import { KinError } from "../protocols/errors.ts";
import type { MeshId } from "../protocols/ids.ts";
import { putSalvage, readDamaged, type Saved } from "../sync/stores/log-file-salvage.ts";
import { openLibsqlStore } from "../sync/stores/libsql.ts";

const PARTS = ["", "-wal", "-journal", "-shm"];
/** Folders of put-aside files that are looked through; each came of one damage. */
const MAX_ASIDE = 16;

export interface LogRepair extends Saved {
  /** Where the damaged file is now; null: the one in use is sound, older ones were looked through again. */
  aside: string | null;
}

/** What is wrong with the log, or null. Nobody may have it open. */
export async function logDamage({ logFile }: MeshFolder): Promise<string | null> {
  if (!existsSync(logFile)) return null;
  try {
    const store = await openLibsqlStore({ file: logFile });
    await store.close();
    return null;
  } catch (error) {
    if (error instanceof KinError && error.code === "CORRUPT") return error.message;
    throw error;
  }
}

/** The folder's lock is held. @throws KinError DISK_FULL, DISK_FAILED */
export async function repairLog(folder: MeshFolder, mesh: MeshId, now: Date): Promise<LogRepair> {
  const damage = await logDamage(folder);
  const aside = damage === null ? null : putAside(folder, now);
  const sum: LogRepair = { aside, events: 0, values: 0, left: 0 };
  const store = await openLibsqlStore({ file: folder.logFile });
  try {
    for (const name of asideFolders(folder)) {
      const { events, values, left } = await salvage(join(folder.folder, name, basename(folder.logFile)));
      sum.events += events;
      sum.values += values;
      sum.left += left;
    }
  } finally {
    await store.close();
  }
  return sum;

  async function salvage(file: string): Promise<Saved> {
    const scratch = mkdtempSync(join(tmpdir(), "kin-salvage-"));
    try {
      const copy = join(scratch, "log.db");
      for (const part of PARTS) if (existsSync(file + part)) copyFileSync(file + part, copy + part);
      return await putSalvage(store, readDamaged(copy, mesh));
    } finally {
      rmSync(scratch, { recursive: true });
    }
  }
}

/** The views go too: they say at which positions of the damaged log they stand, and are made again. */
function putAside({ folder, logFile, viewsFile }: MeshFolder, now: Date): string {
  const aside = join(folder, `damaged-${now.toISOString().replaceAll(":", "-")}`);
  mkdirSync(aside, { mode: 0o700 });
  for (const file of [logFile, viewsFile])
    for (const part of PARTS) if (existsSync(file + part)) renameSync(file + part, join(aside, basename(file) + part));
  syncFolder(aside);
  syncFolder(folder);
  return aside;
}

function asideFolders({ folder }: MeshFolder): string[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith("damaged-"))
    .toSorted()
    .slice(-MAX_ASIDE);
}

/**
 * The files of one mesh that are not the log itself: `views.db`, all that can be rebuilt (§7), and the mark of this
 * installation's incarnation, kept outside every database so that a restored backup is noticed (R2, R8).
 */
import { existsSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { createClient, type Client } from "@libsql/client";
import { writeAtomic } from "./atomic-file.ts";
import type { MeshFolder } from "./home.ts";
import { fromHex, toHex } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";

const INCARNATION_BYTES = 16;

/** Opens `views.db` in WAL mode with one connection (FACTS: more can corrupt it). May be deleted at any time while nobody runs. */
export async function openViews(folder: MeshFolder): Promise<Client> {
  const client = createClient({ url: pathToFileURL(folder.viewsFile).href, intMode: "number" });
  try {
    await client.execute("PRAGMA journal_mode=WAL");
    // It can be rebuilt from the log, so it needs to be consistent after a crash, not the newest.
    await client.execute("PRAGMA synchronous=NORMAL");
    return client;
  } catch (error) {
    client.close();
    throw new KinError("CORRUPT", `cannot open ${folder.viewsFile}: ${(error as Error).message}`, {
      hint: "delete this file and start again: it is rebuilt from log.db",
      cause: error,
    });
  }
}

/** The incarnation that this folder was last run as; null if none was marked. @throws KinError CORRUPT */
export function readIncarnation(folder: MeshFolder): Uint8Array | null {
  if (!existsSync(folder.incarnationFile)) return null;
  const text = readFileSync(folder.incarnationFile, "utf8").trim();
  if (!/^[0-9a-f]{32}$/.test(text))
    throw new KinError("CORRUPT", `${folder.incarnationFile} does not hold 32 hex digits`, {
      hint: "delete this file: the node then opens a new log, as after a restored backup",
    });
  return fromHex(text);
}

/** Durable when it returns. */
export function writeIncarnation(folder: MeshFolder, incarnation: Uint8Array): void {
  if (incarnation.length !== INCARNATION_BYTES)
    throw new KinError("BAD_REQUEST", `an incarnation is ${INCARNATION_BYTES} bytes, got ${incarnation.length}`);
  writeAtomic(folder.incarnationFile, `${toHex(incarnation)}\n`);
}

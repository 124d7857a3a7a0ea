/**
 * The files of one mesh that are not the log itself: `views.db`, all that can be rebuilt (§7), and the mark of this
 * installation's incarnation, kept outside every database so that a restored backup is noticed (R2, R8).
 */
import { existsSync, readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { createClient, type Client } from "@libsql/client";
import { writeAtomic } from "./atomic-file.ts";
import type { DocumentKeep } from "../sync/documents/saved.ts";
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

/** Rows of documents in `views.db`; what is lost there is folded from the log again. */
export function documentKeep(views: Client): DocumentKeep {
  const table = "CREATE TABLE IF NOT EXISTS documents (n INTEGER PRIMARY KEY, row BLOB NOT NULL)";
  return {
    async load() {
      await views.execute(table);
      const { rows } = await views.execute("SELECT row FROM documents ORDER BY n");
      return rows.length === 0 ? null : rows.map(({ row }) => new Uint8Array(row as ArrayBuffer));
    },
    async save(rows) {
      const inserts = rows.map((row, n) => ({ sql: "INSERT INTO documents VALUES (?, ?)", args: [n, row] }));
      await views.batch([table, "DELETE FROM documents", ...inserts], "write");
    },
  };
}

/** One life of this folder's logs: see `Incarnation` of sync/replica.ts. */
export interface IncarnationMark {
  /** 16 random bytes. */
  id: Uint8Array;
  /** The device's first in this mesh: it may run what was asked before its birth (R8). */
  first: boolean;
  /** Wall ms. */
  bornAt: number;
}

/** An incarnation; `fresh`: begun at this start. */
export type BegunIncarnation = IncarnationMark & { fresh?: true };

/**
 * The incarnation that this start runs as, and how the next one is begun. Only one that is begun where nothing was before is
 * the first: a later one, in the same run too, may not run what was asked before its birth (R8).
 * @param isNew there is no log yet
 */
export function openIncarnation(
  folder: MeshFolder,
  isNew: boolean,
  draw: () => Pick<IncarnationMark, "id" | "bornAt">,
): { current: BegunIncarnation; renew(): Promise<BegunIncarnation> } {
  const begin = (first: boolean): BegunIncarnation => {
    const next = { ...draw(), first };
    writeIncarnation(folder, next);
    return { ...next, fresh: true };
  };
  return { current: readIncarnation(folder) ?? begin(isNew), renew: async () => begin(false) };
}

/** The incarnation that this folder was last run as; null if none was marked. @throws KinError CORRUPT */
export function readIncarnation(folder: MeshFolder): IncarnationMark | null {
  if (!existsSync(folder.incarnationFile)) return null;
  const found = /^1 ([0-9a-f]{32}) (first|later) (\d{1,15})\n$/.exec(readFileSync(folder.incarnationFile, "utf8"));
  if (found === null)
    throw new KinError("CORRUPT", `${folder.incarnationFile} does not hold "1 <32 hex digits> first|later <ms>"`, {
      hint: "delete this file: the node then opens a new log, as after a restored backup",
    });
  return { id: fromHex(found[1]!), first: found[2] === "first", bornAt: Number(found[3]) };
}

/** Durable when it returns. */
export function writeIncarnation(folder: MeshFolder, { id, first, bornAt }: IncarnationMark): void {
  if (id.length !== INCARNATION_BYTES)
    throw new KinError("BAD_REQUEST", `an incarnation is ${INCARNATION_BYTES} bytes, got ${id.length}`);
  writeAtomic(folder.incarnationFile, `1 ${toHex(id)} ${first ? "first" : "later"} ${bornAt}\n`);
}

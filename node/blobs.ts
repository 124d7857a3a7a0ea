/**
 * Attachments on disk (F6): `blobs/<sha256>` and, beside it, who it is about.
 *
 *   <sha256>        the bytes
 *   <sha256>.for    ours: a line each person who may fetch it
 *   <sha256>.from   theirs: a line each person who has sent it; served to nobody, read for nobody else
 *
 * Ours are kept while an ask waits that holds them, theirs while they are fresh and within their sender's quota; `sweep` deletes
 * the rest.
 */
import { createHash, randomUUID } from "node:crypto";
import { appendFile, mkdir, open, readdir, readFile, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../protocols/bytes.ts";
import { syncFolder } from "./atomic-file.ts";
import { KinError } from "../protocols/errors.ts";
import type { PersonId } from "../protocols/ids.ts";
import { MAX_BLOB_BYTES } from "../protocols/limits.ts";

/** What one person's attachments may fill of this disk: four of the largest. */
export const QUOTA_BYTES = 4 * MAX_BLOB_BYTES;
/** And how many files: small ones cost inodes. */
export const QUOTA_COUNT = 1024;
/** What everybody's may fill together. */
const TOTAL_BYTES = 16 * MAX_BLOB_BYTES;
/** Ours are there for a live call that takes its time, theirs for a retry of it. */
const KEEP_OURS_MS = 24 * 3_600_000;
const KEEP_THEIRS_MS = 3_600_000;
const HASH = /^[0-9a-f]{64}$/;

export interface Blobs {
  /** Stores bytes of ours and lets `person` fetch them. @returns SHA-256 in hex */
  put(bytes: Uint8Array, person: PersonId): Promise<string>;
  /**
   * Stores what `person` sends, if it is what `hash` says. Older ones of his make room.
   * @throws KinError BAD_REQUEST, TOO_LARGE, OVERLOADED if what he sends at once is over his quota
   */
  take(hash: string, total: number, chunks: AsyncIterable<Uint8Array>, person: PersonId): Promise<void>;
  /** For a call of `person`: what he has sent or may fetch. Undefined: not here, or not his. */
  read(hash: string, person: PersonId): Promise<Uint8Array | undefined>;
  /** For serving. @throws KinError NOT_FOUND, also for who may not have it: existence is not told */
  serve(
    hash: string,
    person: PersonId,
  ): Promise<{ bytes: number; read(offset: number, length: number): Promise<Uint8Array> }>;
  /** Deletes what nothing needs any more; `held` are hashes that waiting asks hold. `now`: wall ms. */
  sweep(held: ReadonlySet<string>, now: number): Promise<void>;
}

interface Kept {
  hash: string;
  bytes: number;
  /** Wall ms of the last mark; null: no such mark. */
  forAt: number | null;
  fromAt: number | null;
  from: string[];
}

export function openBlobs(folder: string): Blobs {
  const path = (hash: string): string => join(folder, hash);
  /** What is being taken now, by person: bytes that are not on disk yet. */
  const arriving = new Map<PersonId, number[]>();

  async function write(hash: string, chunks: AsyncIterable<Uint8Array>, total: number): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const temporary = join(folder, `.${randomUUID()}`);
    const file = await open(temporary, "wx", 0o600);
    try {
      const sum = createHash("sha256");
      let bytes = 0;
      for await (const chunk of chunks) {
        bytes += chunk.length;
        if (bytes > total || bytes > MAX_BLOB_BYTES)
          throw new KinError("TOO_LARGE", `an attachment of more than ${Math.min(total, MAX_BLOB_BYTES)} bytes`);
        sum.update(chunk);
        await file.write(chunk);
      }
      if (bytes !== total || sum.digest("hex") !== hash)
        throw new KinError(
          "BAD_REQUEST",
          `an attachment of ${bytes} bytes is not the one that was announced (${total} bytes, SHA-256 ${hash.slice(0, 12)}…)`,
        );
      await file.sync();
      await file.close();
      await rename(temporary, path(hash));
    } catch (error) {
      await file.close().catch(() => {});
      await unlink(temporary).catch(() => {});
      throw error;
    }
  }

  /** Undefined: not here. Bytes that are damaged are put aside, so that right ones can be fetched. */
  async function readRight(hash: string): Promise<Uint8Array | undefined> {
    const bytes = await readFile(path(hash)).catch(() => undefined);
    if (bytes === undefined || createHash("sha256").update(bytes).digest("hex") === hash) return bytes;
    await rename(path(hash), `${path(hash)}.damaged`);
    return undefined;
  }

  async function marks(hash: string, kind: "for" | "from"): Promise<string[]> {
    if (!HASH.test(hash)) return [];
    const text = await readFile(`${path(hash)}.${kind}`, "utf8").catch(() => "");
    return [...new Set(text.split("\n").filter((line) => line !== ""))];
  }

  async function list(): Promise<Kept[]> {
    const names = await readdir(folder).catch(() => []);
    const found = names.filter((name) => HASH.test(name)).map((hash) => keptOf(hash));
    return (await Promise.all(found)).filter((kept) => kept !== null);
  }

  async function keptOf(hash: string): Promise<Kept | null> {
    const size = await sizeOf(path(hash));
    if (size === null) return null;
    const [forAt, fromAt] = [await changedAt(`${path(hash)}.for`), await changedAt(`${path(hash)}.from`)];
    return { hash, bytes: size, forAt, fromAt, from: await marks(hash, "from") };
  }

  async function forget(hash: string, kinds: ("for" | "from")[]): Promise<void> {
    for (const kind of kinds) await unlink(`${path(hash)}.${kind}`).catch(() => {});
    const others = [...(await marks(hash, "for")), ...(await marks(hash, "from"))];
    if (others.length === 0) await unlink(path(hash)).catch(() => {});
  }

  /** Oldest first, until a new one of `total` bytes fits into the sender's quota and into everybody's. */
  async function makeRoom(person: PersonId, total: number): Promise<void> {
    const now = arriving.get(person) ?? [];
    const pending = now.reduce((sum, bytes) => sum + bytes, 0);
    if (pending > QUOTA_BYTES || now.length > QUOTA_COUNT)
      throw new KinError("OVERLOADED", `attachments of ${pending} bytes at once: at most ${QUOTA_BYTES} of one person`);
    const theirs = (await list()).filter(({ fromAt }) => fromAt !== null).toSorted((a, b) => a.fromAt! - b.fromAt!);
    const his = theirs.filter(({ from }) => from.includes(person));
    const gone = [
      ...surplus(his, QUOTA_BYTES - pending, QUOTA_COUNT - now.length),
      ...surplus(theirs, TOTAL_BYTES - total, Infinity),
    ];
    for (const { hash } of new Set(gone)) await forget(hash, ["from"]);
  }

  return {
    async put(bytes, person) {
      if (bytes.length > MAX_BLOB_BYTES)
        throw new KinError("TOO_LARGE", `an attachment of ${bytes.length} bytes: at most ${MAX_BLOB_BYTES} (64 MiB)`);
      const hash = toHex(createHash("sha256").update(bytes).digest());
      // An ask that names it is durable, so the bytes are, and right ones take the place of damaged ones.
      if ((await readRight(hash)) === undefined) await write(hash, once(bytes), bytes.length);
      await appendFile(`${path(hash)}.for`, `${person}\n`, { mode: 0o600, flush: true });
      syncFolder(folder);
      return hash;
    },
    async take(hash, total, chunks, person) {
      const now = arriving.get(person) ?? [];
      arriving.set(person, now);
      now.push(total);
      try {
        await makeRoom(person, total);
        // Written again where it is here already: who names the hash of another's attachment has not shown that he has it.
        await write(hash, chunks, total);
        await appendFile(`${path(hash)}.from`, `${person}\n`, { mode: 0o600 });
      } finally {
        now.splice(now.indexOf(total), 1);
        if (now.length === 0) arriving.delete(person);
      }
    },
    async read(hash, person) {
      const his = [...(await marks(hash, "from")), ...(await marks(hash, "for"))].includes(person);
      return his ? readRight(hash) : undefined;
    },
    async serve(hash, person) {
      const size = (await marks(hash, "for")).includes(person) ? await sizeOf(path(hash)) : null;
      if (size === null) throw new KinError("NOT_FOUND", `no attachment ${hash.slice(0, 12)}… for you here`);
      return {
        bytes: size,
        async read(offset, length) {
          await using file = await open(path(hash), "r");
          const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, offset);
          return buffer.subarray(0, bytesRead);
        },
      };
    },
    async sweep(held, now) {
      for (const { hash, forAt, fromAt } of await list()) {
        const isOld = forAt !== null && now - forAt > KEEP_OURS_MS && !held.has(hash);
        const isUsed = fromAt !== null && now - fromAt > KEEP_THEIRS_MS;
        if (isOld || isUsed)
          await forget(hash, [...(isOld ? ["for" as const] : []), ...(isUsed ? ["from" as const] : [])]);
      }
      // What a crash has left half written, and what was damaged.
      for (const name of await readdir(folder).catch(() => []))
        if (
          (name.startsWith(".") || name.endsWith(".damaged")) &&
          now - ((await changedAt(path(name))) ?? now) > KEEP_THEIRS_MS
        )
          await unlink(path(name)).catch(() => {});
    },
  };
}

/** The first of `oldestFirst` that must go so that the rest keeps within bytes and count. */
function surplus(oldestFirst: Kept[], bytes: number, count: number): Kept[] {
  let left = oldestFirst.reduce((sum, kept) => sum + kept.bytes, 0);
  const gone: Kept[] = [];
  for (const kept of oldestFirst) {
    if (left <= bytes && oldestFirst.length - gone.length <= count) break;
    gone.push(kept);
    left -= kept.bytes;
  }
  return gone;
}

function sizeOf(file: string): Promise<number | null> {
  return stat(file).then(
    ({ size }) => size,
    () => null,
  );
}

function changedAt(file: string): Promise<number | null> {
  return stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => null,
  );
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/**
 * Attachments on disk (F6): `blobs/<sha256>` and, beside it, `<sha256>.for` with the persons who may fetch it. A blob without
 * a `.for` line came from somebody else and is served to nobody.
 */
import { createHash, randomUUID } from "node:crypto";
import { appendFile, mkdir, open, readFile, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import type { PersonId } from "../protocols/ids.ts";
import { MAX_BLOB_BYTES } from "../protocols/limits.ts";

export interface Blobs {
  /** Stores bytes of ours and lets `person` fetch them. @returns SHA-256 in hex */
  put(bytes: Uint8Array, person: PersonId): Promise<string>;
  /** Stores what a peer sends, if it is what `hash` says. @throws KinError BAD_REQUEST, TOO_LARGE */
  take(hash: string, total: number, chunks: AsyncIterable<Uint8Array>): Promise<void>;
  /** Undefined: not here. */
  read(hash: string): Promise<Uint8Array | undefined>;
  /** For serving. @throws KinError NOT_FOUND, also for who may not have it: existence is not told */
  serve(
    hash: string,
    person: PersonId,
  ): Promise<{ bytes: number; read(offset: number, length: number): Promise<Uint8Array> }>;
}

export function openBlobs(folder: string): Blobs {
  const path = (hash: string): string => join(folder, hash);

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

  async function has(hash: string): Promise<boolean> {
    return stat(path(hash)).then(
      () => true,
      () => false,
    );
  }

  return {
    async put(bytes, person) {
      if (bytes.length > MAX_BLOB_BYTES)
        throw new KinError("TOO_LARGE", `an attachment of ${bytes.length} bytes: at most ${MAX_BLOB_BYTES} (64 MiB)`);
      const hash = toHex(createHash("sha256").update(bytes).digest());
      if (!(await has(hash))) await write(hash, once(bytes), bytes.length);
      await appendFile(`${path(hash)}.for`, `${person}\n`, { mode: 0o600 });
      return hash;
    },
    async take(hash, total, chunks) {
      if (!(await has(hash))) await write(hash, chunks, total);
    },
    read: (hash) => readFile(path(hash)).catch(() => undefined),
    async serve(hash, person) {
      const allowed = await readFile(`${path(hash)}.for`, "utf8").catch(() => "");
      if (!/^[0-9a-f]{64}$/.test(hash) || !allowed.split("\n").includes(person))
        throw new KinError("NOT_FOUND", `no attachment ${hash.slice(0, 12)}… for you here`);
      const { size } = await stat(path(hash));
      return {
        bytes: size,
        async read(offset, length) {
          await using file = await open(path(hash), "r");
          const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, offset);
          return buffer.subarray(0, bytesRead);
        },
      };
    },
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

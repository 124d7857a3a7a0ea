/**
 * `/kin/blob/1` (F6): bulk bytes by their SHA-256. Members only, and only whom an envelope or event addressed the hash to.
 *
 *   asker                               holder
 *   { hash, offset }              →
 *                                 ←     { bytes: total }               or { error: {code, message} }
 *                                 ←     { data: ≤ 64 KiB }*            from offset to the end, then the holder closes
 *
 * One blob a stream. The asker stops at `total` bytes and checks the hash over the whole; a wrong one is dropped.
 */
import { decode, encode } from "./bytes.ts";
import type { Wire } from "./effects.ts";
import { errorShape, KinError } from "./errors.ts";
import { BLOB_CHUNK_BYTES, MAX_BLOB_BYTES } from "./limits.ts";
import { asMap } from "./signature.ts";

export const BLOB_PROTOCOL = "/kin/blob/1";

/** Yields the bytes from `offset`. @throws KinError NOT_FOUND, DENIED, TOO_LARGE, BAD_REQUEST */
export async function* askBlob(wire: Wire, hash: Uint8Array, offset: number): AsyncGenerator<Uint8Array> {
  await wire.send(encode({ hash, offset }));
  let left: number | undefined;
  for await (const frame of wire.frames()) {
    const map = asMap(decode(frame), "an answer of /kin/blob/1");
    if (left === undefined) {
      if (map["error"] !== undefined) {
        const { code, message } = asMap(map["error"], "an error");
        throw new KinError(String(code), String(message));
      }
      const total = map["bytes"];
      if (typeof total !== "number" || total < offset)
        throw new KinError("BAD_REQUEST", "a blob's answer begins with {bytes: total}");
      if (total > MAX_BLOB_BYTES)
        throw new KinError("TOO_LARGE", `a blob of ${total} bytes: at most ${MAX_BLOB_BYTES}`);
      left = total - offset;
    } else {
      const { data } = map;
      if (!(data instanceof Uint8Array) || data.length === 0 || data.length > BLOB_CHUNK_BYTES || data.length > left)
        throw new KinError("BAD_REQUEST", "a blob's chunk is 1 to 64 KiB and not more than was announced");
      left -= data.length;
      yield data;
    }
    if (left === 0) break;
  }
  if (left !== 0) throw new KinError("UNREACHABLE", "the peer stopped in the middle of a blob");
  await wire.close();
}

/** Answers one question. `find` decides about the asker. @throws what breaks the wire */
export async function answerBlob(
  wire: Wire,
  find: (hash: Uint8Array) => Promise<{ bytes: number; read(offset: number, length: number): Promise<Uint8Array> }>,
): Promise<void> {
  for await (const frame of wire.frames()) {
    const { hash, offset } = asMap(decode(frame), "a question of /kin/blob/1");
    if (!(hash instanceof Uint8Array) || hash.length !== 32 || typeof offset !== "number" || offset < 0)
      throw new KinError("BAD_REQUEST", "a question of /kin/blob/1 is {hash: 32 bytes, offset}");
    let blob;
    try {
      blob = await find(hash);
    } catch (error) {
      const { code, message } = errorShape(error);
      await wire.send(encode({ error: { code, message } }));
      break;
    }
    await wire.send(encode({ bytes: blob.bytes }));
    for (let at = offset; at < blob.bytes;) {
      const data = await blob.read(at, Math.min(BLOB_CHUNK_BYTES, blob.bytes - at));
      if (data.length === 0) throw new KinError("CORRUPT", "a blob's file is shorter than it was");
      await wire.send(encode({ data }));
      at += data.length;
    }
    break;
  }
  await wire.close();
}

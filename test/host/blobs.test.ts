import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openBlobs, type Blobs } from "../../node/blobs.ts";
import { answerBlob, askBlob } from "../../protocols/blob.ts";
import { decode, encode, fromHex, toHex } from "../../protocols/bytes.ts";
import { idOf } from "../../protocols/ids.ts";
import { BLOB_CHUNK_BYTES } from "../../protocols/limits.ts";
import { wirePair, type WirePairOptions } from "../wire-pair.ts";

const ana = idOf<"person">(new Uint8Array(32).fill(1));
/** Who sends. */
const ben = idOf<"person">(new Uint8Array(32).fill(3));
const carl = idOf<"person">(new Uint8Array(32).fill(2));
const content = Uint8Array.from({ length: 3 * BLOB_CHUNK_BYTES + 5 }, (_, index) => (index * 31) % 251);

let folder: string;
let mine: Blobs;
let theirs: Blobs;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kin-blobs-"));
  mine = openBlobs(join(folder, "mine"));
  theirs = openBlobs(join(folder, "theirs"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** `theirs` fetches from `mine` over a wire, as `person`. */
async function fetch(hash: string, total: number, person = ana, options: WirePairOptions = {}): Promise<void> {
  const { left, right } = wirePair(options);
  const answered = answerBlob(right, (asked) => mine.serve(toHex(asked), person));
  answered.catch(() => {});
  await theirs.take(hash, total, askBlob(left, fromHex(hash), 0), ben);
  await answered;
}

test("F6: an attachment travels in chunks of 64 KiB and arrives as it was", async () => {
  const hash = await mine.put(content, ana);
  const sizes: number[] = [];
  const tap = (_from: string, frame: Uint8Array): Uint8Array => {
    const { data } = decode(frame) as { data?: Uint8Array };
    if (data !== undefined) sizes.push(data.length);
    return frame;
  };
  await fetch(hash, content.length, ana, { tap });
  expect(sizes).toEqual([BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES, BLOB_CHUNK_BYTES, 5]);
  expect(await theirs.read(hash, ben)).toEqual(Buffer.from(content));
});

test("P18: [damaged-blob] a flipped bit of an attachment is never read: it is put aside, and right bytes take its place", async () => {
  const hash = await mine.put(content, ana);
  await fetch(hash, content.length);
  for (const [blobs, name, person] of [
    [theirs, "theirs", ben],
    [mine, "mine", ana],
  ] as const) {
    const file = join(folder, name, hash);
    const bytes = await readFile(file);
    bytes[bytes.length >> 1]! ^= 8;
    await writeFile(file, bytes);
    expect(await blobs.read(hash, person)).toBeUndefined();
    expect(await readFile(`${file}.damaged`)).toEqual(bytes);
  }
  await mine.put(content, ana);
  await fetch(hash, content.length);
  expect(await theirs.read(hash, ben)).toEqual(Buffer.from(content));
});

test("F6: a chunk goes on from an offset", async () => {
  const hash = await mine.put(content, ana);
  const { left, right } = wirePair();
  const answered = answerBlob(right, (asked) => mine.serve(toHex(asked), ana));
  const chunks = await Array.fromAsync(askBlob(left, fromHex(hash), content.length - 7));
  await answered;
  expect(chunks).toEqual([content.subarray(-7)]);
});

test("F6: who was not addressed is told the same as of what is not there, and what was fetched is served to nobody", async () => {
  const hash = await mine.put(content, ana);
  const absent = createHash("sha256").update("absent").digest("hex");
  const refused = async (blobs: Blobs, asked: string, person = carl): Promise<string> =>
    blobs.serve(asked, person).then(
      () => "served",
      (error: Error) => error.message.replace(asked.slice(0, 12), "…"),
    );
  expect(await refused(mine, hash)).toBe(await refused(mine, absent));
  await expect(fetch(hash, content.length, carl)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await fetch(hash, content.length);
  expect(await refused(theirs, hash, ana)).toMatch(/no attachment/);
});

test("F6: other bytes, more or fewer than announced are refused, and nothing of them is kept", async () => {
  const hash = await mine.put(content, ana);
  const bend = (change: (data: Uint8Array) => Uint8Array): WirePairOptions => ({
    tap: (_from, frame) => {
      const map = decode(frame) as { data?: Uint8Array };
      return map.data === undefined ? frame : encode({ data: change(map.data) });
    },
  });
  const flipped = bend((data) => data.map((byte, index) => (index === 0 ? byte ^ 1 : byte)));
  await expect(fetch(hash, content.length, ana, flipped)).rejects.toMatchObject({ code: "BAD_REQUEST" });
  await expect(fetch(hash, content.length - 1)).rejects.toMatchObject({ code: "TOO_LARGE" });
  await expect(fetch(hash, content.length + 1)).rejects.toMatchObject({ code: "BAD_REQUEST" });
  await expect(
    fetch(
      hash,
      content.length,
      ana,
      bend((data) => data.subarray(1)),
    ),
  ).rejects.toMatchObject({
    code: "UNREACHABLE",
  });
  expect(await theirs.read(hash, ben)).toBeUndefined();
  expect(await readdir(join(folder, "theirs"))).toEqual([]);
});

/** Attachments against members: reading what another has sent, filling the disk, stalling, and what is kept for how long (F6). */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { openBlobs, QUOTA_BYTES, QUOTA_COUNT, type Blobs } from "../../node/blobs.ts";
import { createAttachments } from "../../node/net/attachments.ts";
import { encode } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf } from "../../protocols/ids.ts";
import type { IncomingCall } from "../../protocols/invoke.ts";
import { wirePair } from "../wire-pair.ts";

const [me, ana, eve] = [1, 2, 3].map((n) => idOf<"person">(new Uint8Array(32).fill(n))) as [never, never, never];
const device = idOf<"device">(new Uint8Array(32).fill(9));
const secret = Buffer.from("the salary list");
const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

let folder: string;
let blobs: Blobs;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kin-redteam-blobs-"));
  blobs = openBlobs(folder);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function take(bytes: Uint8Array, person: never): Promise<string> {
  const hash = hashOf(bytes);
  await blobs.take(hash, bytes.length, chunks(bytes), person);
  return hash;
}

async function hashes(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.length === 64);
}

/** Marks of `hash` as if they were made so long ago. */
async function age(hash: string, kind: "for" | "from", ms: number): Promise<void> {
  const at = new Date(Date.now() - ms);
  await utimes(join(folder, `${hash}.${kind}`), at, at);
}

function callOf(person: never, hash: string, bytes: number): IncomingCall {
  const part = { blob: { hash, bytes, mediaType: "text/plain" } };
  return { from: { person, device, agent: null }, request: { parts: [part] } } as unknown as IncomingCall;
}

test("F6: who knows the hash of another's attachment cannot have it read to him", async () => {
  const hash = await take(secret, ana);
  expect(await blobs.read(hash, eve)).toBeUndefined();
  expect(Buffer.from((await blobs.read(hash, ana))!)).toEqual(secret);
  // Nor by announcing it and sending something else.
  await expect(blobs.take(hash, secret.length, chunks(Buffer.alloc(secret.length)), eve)).rejects.toMatchObject({
    code: "BAD_REQUEST",
  });
  expect(await blobs.read(hash, eve)).toBeUndefined();
  expect(Buffer.from((await blobs.read(hash, ana))!)).toEqual(secret);
});

test("F6: names that are no hash read no file", async () => {
  await take(secret, ana);
  for (const name of ["../passwd", ".", `${"a".repeat(63)}/`, "A".repeat(64)])
    expect(await blobs.read(name, ana)).toBeUndefined();
});

test("F6: one person's attachments stay within his quota; older ones make room, another's do not", async () => {
  const anas = await take(secret, ana);
  for (let i = 0; i < 40; i++) await take(Buffer.from(`eve ${i}`), eve);
  expect(await hashes()).toHaveLength(41);
  const big = { bytes: QUOTA_BYTES };
  await expect(blobs.take("0".repeat(64), big.bytes + 1, chunks(secret), eve)).rejects.toMatchObject({
    code: "OVERLOADED",
  });
  // A promise of all he may have: his older ones go, Ana's stays.
  await expect(blobs.take("0".repeat(64), big.bytes, chunks(secret), eve)).rejects.toMatchObject({
    code: "BAD_REQUEST",
  });
  expect(await hashes()).toEqual([anas]);
  expect(QUOTA_COUNT).toBeLessThanOrEqual(10_000);
});

test("F6: an ask's attachment is held until it is answered, then it goes; what was used goes after an hour", async () => {
  const mine = await blobs.put(secret, ana);
  const live = await blobs.put(Buffer.from("for a live call"), ana);
  const theirs = await take(Buffer.from("theirs"), eve);
  const both = await blobs.put(Buffer.from("both"), ana);
  await take(Buffer.from("both"), eve);
  await age(mine, "for", 25 * 3_600_000);
  await age(theirs, "from", 2 * 3_600_000);
  await age(both, "from", 2 * 3_600_000);
  await blobs.sweep(new Set([mine]), Date.now());
  expect((await hashes()).toSorted()).toEqual([mine, live, both].toSorted());
  expect(await blobs.read(both, eve)).toBeUndefined();
  await blobs.sweep(new Set(), Date.now());
  expect((await hashes()).toSorted()).toEqual([live, both].toSorted());
  await expect(blobs.serve(mine, ana)).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("F6: a caller that stops in the middle ends with the call, and leaves neither file nor stream", async () => {
  const { left, right } = wirePair();
  const attachments = createAttachments(
    { device: idOf<"device">(new Uint8Array(32).fill(8)), handleForMembers: () => {}, open: async () => left },
    blobs,
  );
  const call = new AbortController();
  const read = attachments.read(hashOf(secret), callOf(eve, hashOf(secret), secret.length), call.signal);
  await right.frames()[Symbol.asyncIterator]().next(); // asked; nothing is answered
  call.abort(new Error("the deadline"));
  await expect(read).rejects.toThrow();
  expect(left.signal.aborted).toBe(true);
  expect(await readdir(folder)).toEqual([]);
});

test("a caller that is killed or stops in the middle is told apart from one that sends something wrong [caller-gone-fetching]", async () => {
  const codeAfter = async (after: (pair: ReturnType<typeof wirePair>) => Promise<void> | void): Promise<unknown> => {
    const pair = wirePair();
    const attachments = createAttachments({ device, handleForMembers: () => {}, open: async () => pair.left }, blobs);
    const from = idOf<"device">(new Uint8Array(32).fill(8));
    const call = { ...callOf(eve, hashOf(secret), secret.length), from: { person: eve, device: from, agent: null } };
    const read = attachments.read(hashOf(secret), call, new AbortController().signal);
    await pair.right.frames()[Symbol.asyncIterator]().next();
    await pair.right.send(encode({ bytes: secret.length }));
    await after(pair);
    return read.then(
      () => "it came",
      (error: unknown) => (error as { code?: string }).code,
    );
  };
  expect(await codeAfter(({ cut }) => cut(new KinError("CLOSED", "killed")))).toBe("CLOSED");
  expect(await codeAfter(({ right }) => right.close())).toBe("UNREACHABLE");
  const lie = encode({ data: new Uint8Array(secret.length) });
  expect(await codeAfter(({ right }) => right.send(lie))).toBe("BAD_REQUEST");
  expect(await readdir(folder)).toEqual([]);
});

test("F6: a call reads no attachment that it does not bring, and its own device is not dialled", async () => {
  const attachments = createAttachments(
    { device, handleForMembers: () => {}, open: () => Promise.reject(new Error("dialled")) },
    blobs,
  );
  const hash = await blobs.put(secret, me);
  const other = hashOf(Buffer.from("other"));
  const { signal } = new AbortController();
  await expect(attachments.read(hash, callOf(me, other, 5), signal)).rejects.toMatchObject({ code: "NOT_FOUND" });
  await expect(attachments.read(other, callOf(me, other, 5), signal)).rejects.toMatchObject({ code: "NOT_FOUND" });
  expect(Buffer.from(await attachments.read(hash, callOf(me, hash, 5), signal))).toEqual(secret);
});

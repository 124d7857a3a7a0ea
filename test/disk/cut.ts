/**
 * What a power cut leaves (P2). The journal of `shim.c` says in which order a process changed files and what it waited for; a cut
 * at any point of it leaves what was synced, and of the rest a random part: whole writes, sectors of them, or the first ones. New
 * and removed names are kept in their order, and for sure once their folder was synced.
 */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Chance } from "./random.ts";

export type Change =
  | { kind: "write"; path: string; offset: number; data: Buffer }
  | { kind: "truncate"; path: string; size: number }
  | { kind: "sync" | "sync-folder" | "sync-failed" | "unlink" | "created"; path: string }
  | { kind: "rename"; path: string; to: string }
  /** On standard output. */
  | { kind: "said"; text: string };

const KINDS = [
  "write",
  "truncate",
  "sync",
  "sync-folder",
  "unlink",
  "rename",
  "created",
  "said",
  "sync-failed",
] as const;
const HEAD_BYTES = 24;

/** The changes in their order; a last record that the kill cut off is left out. */
export function readJournal(file: string): Change[] {
  const bytes = readFileSync(file);
  const changes: Change[] = [];
  for (let at = 0; at + HEAD_BYTES <= bytes.length;) {
    const pathLength = bytes.readUInt32LE(at + 4);
    const number = Number(bytes.readBigUInt64LE(at + 8));
    const from = at + HEAD_BYTES + pathLength;
    const to = from + Number(bytes.readBigUInt64LE(at + 16));
    if (to > bytes.length) break;
    const path = bytes.toString("utf8", at + HEAD_BYTES, from);
    const data = bytes.subarray(from, to);
    const kind = KINDS[bytes.readUInt32LE(at) - 1]!;
    if (kind === "write") changes.push({ kind, path, offset: number, data });
    else if (kind === "truncate") changes.push({ kind, path, size: number });
    else if (kind === "rename") changes.push({ kind, path, to: data.toString() });
    else if (kind === "said") changes.push({ kind, text: data.toString() });
    else changes.push({ kind, path });
    at = to;
  }
  return changes;
}

/** A file, by whatever name: what is on the disk for sure, and what was written since. */
interface Content {
  bytes: Buffer;
  size: number;
  pending: { change: Change & { kind: "write" | "truncate" }; failed: boolean }[];
}

type Files = Map<string, Content>;

/** What of the unsynced survives: nothing, all, whole writes, sectors of writes, or the first writes and a part of the next. */
const SURVIVORS = ["nothing", "all", "writes", "sectors", "first"] as const;
const SECTOR_BYTES = [512, 4096];

/** The files of a folder as they are, all of them on the disk. */
export function snapshot(folder: string): Map<string, Buffer> {
  return new Map(readdirSync(folder).map((name) => [join(folder, name), readFileSync(join(folder, name))]));
}

/** The files after a cut that came after the first `count` changes. */
export function cutAfter(
  before: ReadonlyMap<string, Buffer>,
  changes: readonly Change[],
  count: number,
  random: Chance,
): Map<string, Buffer> {
  const files: Files = new Map([...before].map(([path, bytes]) => [path, contentOf(bytes)]));
  /** Names as they are on the disk for sure. */
  let names: Files = new Map(files);
  let renamings: ((names: Files) => void)[] = [];
  const name = (change: (names: Files) => void): void => {
    change(files);
    renamings.push(change);
  };
  for (const change of changes.slice(0, count)) {
    switch (change.kind) {
      case "created": {
        const content = contentOf(Buffer.alloc(0));
        name((all) => all.set(change.path, content));
        break;
      }
      case "write":
      case "truncate":
        files.get(change.path)?.pending.push({ change, failed: false });
        break;
      case "sync":
        sync(files.get(change.path), random);
        break;
      case "sync-failed":
        // The system says so once and then takes the pages for clean: a later sync does not bring them to the disk.
        for (const pending of files.get(change.path)?.pending ?? []) pending.failed = true;
        break;
      case "sync-folder":
        names = new Map(files);
        renamings = [];
        break;
      case "unlink":
        name((all) => all.delete(change.path));
        break;
      case "rename": {
        const content = files.get(change.path);
        name((all) => {
          all.delete(change.path);
          if (content !== undefined) all.set(change.to, content);
        });
        break;
      }
      case "said":
    }
  }
  for (const renaming of renamings.slice(0, random.below(renamings.length + 1))) renaming(names);
  return new Map([...names].map(([path, content]) => [path, survivorOf(content, random)]));
}

function contentOf(bytes: Buffer): Content {
  return { bytes: Buffer.from(bytes), size: bytes.length, pending: [] };
}

function sync(content: Content | undefined, random: Chance): void {
  if (content === undefined) return;
  for (const { change, failed } of content.pending) if (!failed || random.next() < 0.5) apply(content, change);
  content.pending = [];
}

function survivorOf(content: Content, random: Chance): Buffer {
  const left: Content = { ...content, bytes: Buffer.from(content.bytes) };
  const which = random.pick(SURVIVORS);
  const sector = random.pick(SECTOR_BYTES);
  const first = random.below(content.pending.length + 1);
  for (const [i, { change }] of content.pending.entries()) {
    const whole = which === "all" || (which === "writes" && random.next() < 0.5) || (which === "first" && i < first);
    if (whole) apply(left, change);
    else if (change.kind === "write" && (which === "sectors" || (which === "first" && i === first)))
      for (const part of sectorsOf(change, sector)) if (random.next() < 0.5) apply(left, part);
  }
  return left.bytes.subarray(0, left.size);
}

function* sectorsOf(write: Change & { kind: "write" }, sector: number): Generator<Change & { kind: "write" }> {
  const end = write.offset + write.data.length;
  for (let at = write.offset; at < end;) {
    const next = Math.min(end, (Math.floor(at / sector) + 1) * sector);
    yield { ...write, offset: at, data: write.data.subarray(at - write.offset, next - write.offset) };
    at = next;
  }
}

function apply(content: Content, change: Change & { kind: "write" | "truncate" }): void {
  const size = change.kind === "truncate" ? change.size : Math.max(content.size, change.offset + change.data.length);
  if (size > content.bytes.length) {
    const larger = Buffer.alloc(Math.max(size, content.bytes.length * 2));
    content.bytes.copy(larger, 0, 0, content.size);
    content.bytes = larger;
  }
  if (size < content.size) content.bytes.fill(0, size, content.size);
  content.size = size;
  if (change.kind === "write") change.data.copy(content.bytes, change.offset);
}

/** Writes the files into a folder; names are kept, folders are not. */
export function writeFiles(folder: string, files: ReadonlyMap<string, Buffer>): void {
  for (const [path, bytes] of files) writeFileSync(join(folder, basename(path)), bytes);
}

/** What was said before a cut after `count` changes. */
export function saidBefore(changes: readonly Change[], count: number): string {
  return changes
    .slice(0, count)
    .map((change) => (change.kind === "said" ? change.text : ""))
    .join("");
}

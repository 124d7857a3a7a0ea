/**
 * Files of a shared folder, checked where they are opened. A path is refused by its name first (pure, `pathRefusal`), and what
 * was opened is asked for its real place afterwards, so a link that was swapped in between check and open changes nothing.
 *
 * Never served: `.git`, `.env*`, keys by name and by content, links that lead out, files with a second name (a hard link may
 * point to a file outside, and nothing tells where its other name is), whatever is not a plain file.
 */
import type { Stats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { constants } from "node:fs";
import { lstat, open, readlink, realpath } from "node:fs/promises";
import { isAbsolute, join, relative, sep } from "node:path";
import { KinError } from "../../protocols/errors.ts";

/** A text file over this is data: it is neither read nor indexed. */
export const MAX_FILE_BYTES = 4 * 1024 * 1024;
/** PATH_MAX of Linux; a longer one can't be opened anyhow. */
const MAX_PATH_CHARS = 4096;
/** Where a private key says that it is one, and where NUL bytes show that a file is not text. */
const HEAD_BYTES = 8192;

/** A private key begins a line with this, whatever wrote it. */
const KEY_HEADS =
  /^[ +-]?(?:-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d|AGE-SECRET-KEY-1)/m;
/** Names of private keys and of files that are made to hold passwords. */
const KEY_NAMES = [
  /^id_(?:rsa|dsa|ecdsa|ecdsa_sk|ed25519|ed25519_sk)(?!.*\.pub$)/,
  /\.(?:pem|key|p12|pfx|p8|pk8|jks|keystore|ppk|kdbx|gpgkey)$/,
  /^(?:\.netrc|_netrc|\.pgpass|\.git-credentials|\.htpasswd|\.pypirc)$/,
];
/** Characters that a file system or an eye ignores: `.g\u200cit` is `.git` on HFS+. */
const IGNORABLE =
  // oxlint-disable-next-line no-misleading-character-class -- single code points, none is combined
  /[\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F\u202A-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F\uFEFF\uFFA0]/g;

/** Why this relative path is never served, or null. Pure: looks at the name only. */
export function pathRefusal(path: string): string | null {
  if (path === "" || path.length > MAX_PATH_CHARS) return `a path has 1 to ${MAX_PATH_CHARS} characters`;
  // oxlint-disable-next-line no-control-regex -- NUL ends a path in C, the others hide in a terminal
  if (/[\u0000-\u001F\u007F]/.test(path)) return "a path holds no control characters";
  if (isAbsolute(path) || path.startsWith("~")) return "a path is relative to the share";
  const parts = path.split(sep);
  if (parts.includes("..")) return 'a path does not go up ("..")';
  for (const part of parts) {
    const why = partRefusal(part);
    if (why !== null) return why;
  }
  return null;
}

function partRefusal(part: string): string | null {
  const folded = fold(part);
  if (folded === ".git" || /^git~\d$/.test(folded)) return ".git is never served";
  if (folded.startsWith(".env")) return ".env files are never served";
  if (folded === ".ssh" || folded === ".gnupg") return `${folded} is never served`;
  if (KEY_NAMES.some((pattern) => pattern.test(folded))) return "private keys are never served";
  return null;
}

/** One form for all twins of a name: case, Unicode normal form, ignorable characters, what Windows drops at the end. */
function fold(part: string): string {
  return part
    .normalize("NFKC")
    .replace(IGNORABLE, "")
    .toLowerCase()
    .normalize("NFKC")
    .replace(/[. ]+$/, "")
    .replace(/::?\$.*$/, "");
}

/** True if text that begins so is, or holds, a private key. */
export function holdsPrivateKey(text: string): boolean {
  return KEY_HEADS.test(text);
}

export interface Jail {
  /** Real path of the shared folder. */
  root: string;
  /** Real paths of folders that are never served, wherever they are: kin's own data. */
  forbidden: readonly string[];
}

export interface OpenedFile {
  handle: FileHandle;
  /** Relative to the root, free of links. */
  path: string;
  bytes: number;
  mtimeMs: number;
}

/**
 * Opens a plain file below the root; the caller closes it. A link inside the share to a served file is followed once, here.
 * @throws KinError DENIED for what is never served, NOT_FOUND
 */
export async function openInside(jail: Jail, asked: string): Promise<OpenedFile> {
  const path = await resolveInside(jail, asked);
  const handle = await openPlain(jail, path, asked);
  try {
    const stat = await handle.stat();
    const why = await openedRefusal(jail, path, handle, stat);
    if (why !== null) throw denied(asked, why);
    return { handle, path, bytes: stat.size, mtimeMs: stat.mtimeMs };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The path without links, checked by name before and after they are resolved. */
export async function resolveInside(jail: Jail, asked: string): Promise<string> {
  const refused = pathRefusal(asked);
  if (refused !== null) throw denied(asked, refused);
  let real: string;
  try {
    real = await realpath(join(jail.root, asked));
  } catch (cause) {
    throw notFound(asked, cause);
  }
  const path = relative(jail.root, real);
  if (path === "") return ".";
  if (path === ".." || path.startsWith(`..${sep}`) || isAbsolute(path))
    throw denied(asked, "the link leads out of the share");
  const why = pathRefusal(path) ?? forbiddenRefusal(jail, real);
  if (why !== null) throw denied(asked, why);
  return path;
}

/** Reads at most `MAX_FILE_BYTES`. @throws KinError TOO_LARGE, INVALID_ARGUMENTS if it isn't text, DENIED if it is a key. */
export async function readText(jail: Jail, asked: string): Promise<{ path: string; text: string; mtimeMs: number }> {
  const file = await openInside(jail, asked);
  try {
    if (file.bytes > MAX_FILE_BYTES)
      throw new KinError("TOO_LARGE", `${asked} has ${file.bytes} bytes; kin reads text files up to ${MAX_FILE_BYTES}`);
    const bytes = await readBounded(file.handle);
    const head = bytes.subarray(0, HEAD_BYTES);
    if (head.includes(0)) throw new KinError("INVALID_ARGUMENTS", `${asked} is not a text file`);
    const text = bytes.toString("utf8");
    if (holdsPrivateKey(text)) throw denied(asked, "private keys are never served");
    return { path: file.path, text, mtimeMs: file.mtimeMs };
  } finally {
    await file.handle.close();
  }
}

/** The size in `stat` may be a lie (a growing file): never more than the bound. */
async function readBounded(handle: FileHandle): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < MAX_FILE_BYTES) {
    const buffer = Buffer.alloc(Math.min(64 * 1024, MAX_FILE_BYTES - total));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, total);
    if (bytesRead === 0) break;
    chunks.push(buffer.subarray(0, bytesRead));
    total += bytesRead;
  }
  return Buffer.concat(chunks);
}

/** O_NONBLOCK: a FIFO without a writer or a device must not hold us. O_NOFOLLOW: the last part is no link any more. */
async function openPlain(jail: Jail, path: string, asked: string): Promise<FileHandle> {
  const full = join(jail.root, path);
  try {
    // Opening a device may do something (rewind a tape), so that it is none is looked at before; a swap is caught after.
    if (!(await lstat(full)).isFile()) throw denied(asked, "it is not a plain file");
    return await open(full, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (error instanceof KinError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ELOOP" || code === "ENXIO") throw denied(asked, "it is not a plain file");
    if (code === "EACCES" || code === "EPERM") throw denied(asked, "its owner lets nobody read it");
    throw notFound(asked, error);
  }
}

async function openedRefusal(jail: Jail, path: string, handle: FileHandle, stat: Stats): Promise<string | null> {
  if (!stat.isFile()) return "it is not a plain file";
  if (stat.nlink > 1) return `it has ${stat.nlink} names (hard links), and one may lie outside of the share`;
  const place = await placeOf(handle, join(jail.root, path), stat);
  return place === join(jail.root, path) ? null : "it was moved or linked elsewhere while it was opened";
}

/** Where the opened file really is. Linux says it; elsewhere the path must still lead to the same file without a link. */
async function placeOf(handle: FileHandle, expected: string, stat: Stats): Promise<string | null> {
  if (process.platform === "linux") return readlink(`/proc/self/fd/${handle.fd}`);
  const again = await lstat(expected);
  return again.ino === stat.ino && again.dev === stat.dev ? realpath(expected) : null;
}

function forbiddenRefusal(jail: Jail, real: string): string | null {
  const inside = jail.forbidden.some((folder) => real === folder || real.startsWith(folder + sep));
  return inside ? "kin's own data is never served" : null;
}

function denied(asked: string, why: string): KinError {
  return new KinError("DENIED", `"${shown(asked)}" is not served: ${why}`);
}

function notFound(asked: string, cause: unknown): KinError {
  return new KinError("NOT_FOUND", `there is no file "${shown(asked)}" in this share`, { cause });
}

function shown(path: string): string {
  // oxlint-disable-next-line no-control-regex -- a path is shown in a terminal
  return path.slice(0, 200).replace(/[\u0000-\u001F\u007F]/g, "?");
}

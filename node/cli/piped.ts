/**
 * What was piped in: `git diff | kin ask ben/reviewer "review this"`. A pipe or a file is read to its end. Programs that
 * start kin often leave it a socket (or a pipe) that nobody writes to or closes: where there is a question already, a
 * socket that stays silent for a moment counts as nothing, and after a while we say what we wait for.
 */
import { fstatSync } from "node:fs";
import { KinError } from "../../protocols/errors.ts";

/** Text for one question, note or value. Leaves room in a line of the control socket (4 MiB) for JSON's escapes. */
export const MAX_PIPED_BYTES = 1024 * 1024;
const SILENT_SOCKET_MS = 250;
const NOTICE_MS = 2_000;

/**
 * null: nothing was piped. `isNeeded`: there is no question without it. `hint`: what to do with what is too long or no text.
 * @throws KinError TOO_LARGE, INVALID_ARGUMENTS
 */
export async function readPiped(isNeeded: boolean, hint: string): Promise<string | null> {
  const kind = stdinKind();
  if (kind === "none") return null;
  const notice = setTimeout(() => process.stderr.write("kin: reading the standard input until it ends…\n"), NOTICE_MS);
  try {
    const bytes = await readAll(kind === "socket" && !isNeeded, hint);
    return bytes === null ? null : text(bytes, hint);
  } finally {
    clearTimeout(notice);
    process.stdin.destroy();
  }
}

function stdinKind(): "none" | "pipe" | "socket" {
  try {
    const found = fstatSync(0);
    if (found.isFIFO() || found.isFile()) return "pipe";
    return found.isSocket() ? "socket" : "none";
  } catch {
    return "none"; // closed
  }
}

function readAll(mayBeSilent: boolean, hint: string): Promise<Buffer | null> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const silent = setTimeout(() => {
      if (mayBeSilent && bytes === 0) resolve(null);
    }, SILENT_SOCKET_MS);
    process.stdin.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > MAX_PIPED_BYTES)
        reject(new KinError("TOO_LARGE", `more than ${MAX_PIPED_BYTES} bytes were piped in`, { hint }));
    });
    process.stdin.once("end", () => resolve(bytes === 0 ? null : Buffer.concat(chunks)));
    process.stdin.once("error", reject);
    process.stdin.once("close", () => clearTimeout(silent));
  });
}

function text(bytes: Buffer, hint: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new KinError("INVALID_ARGUMENTS", "what was piped in is not UTF-8 text", { hint });
  }
}

/** What somebody writes in `$EDITOR`. It is kept until it has been saved: the node may be down, or refuse it. */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Context } from "./context.ts";
import { diskError } from "../atomic-file.ts";
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import { errorShape, KinError } from "../../protocols/errors.ts";

/** @throws KinError USAGE if there is none */
export function editorOf(context: Context, what: string, otherWays: string): string {
  const editor = context.env["VISUAL"] ?? context.env["EDITOR"];
  if (editor === undefined || editor === "" || !process.stdin.isTTY)
    throw new KinError("USAGE", `kin ${what} needs to know what to write`, {
      hint: editor === undefined ? `${otherWays}, a pipe, or set EDITOR` : `${otherWays} or a pipe`,
    });
  return editor;
}

/** What was changed and not saved stays in its file, and the error says where. @throws KinError USAGE, INVALID_ARGUMENTS; what `save` throws */
export async function saveEdited<T>(editor: string, text: string, save: (text: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "kin-note-"));
  const file = join(folder, "note.md");
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  try {
    writeFileSync(file, text, { mode: 0o600 });
  } catch (error) {
    remove();
    throw diskError(error, file);
  }
  let saved: T;
  try {
    await runEditor(editor, file);
    saved = await save(textIn(file));
  } catch (error) {
    if (!isUnchanged(file, text)) throw keptError(error, file);
    remove();
    throw error;
  }
  remove();
  return saved;
}

/** `EDITOR` may have arguments, as in git. */
function runEditor(editor: string, file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("/bin/sh", ["-c", `${editor} "$1"`, "kin", file], { stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code) =>
      code === 0
        ? resolve()
        : reject(new KinError("USAGE", `the editor "${editor}" ended with ${code ?? "a signal"}: nothing was changed`)),
    );
  });
}

function textIn(file: string): string {
  const bytes = readFileSync(file);
  try {
    return utf8Text(bytes);
  } catch (cause) {
    throw new KinError("INVALID_ARGUMENTS", "what the editor wrote is not UTF-8 text", { cause });
  }
}

/** A file that can't be read may still be all that there is of somebody's words. */
function isUnchanged(file: string, text: string): boolean {
  try {
    return readFileSync(file).equals(utf8Bytes(text));
  } catch {
    return false;
  }
}

function keptError(error: unknown, file: string): KinError {
  const { code, message, hint } = errorShape(error);
  const kept = `what you wrote is kept in ${file}`;
  return new KinError(code, message, { hint: hint === undefined ? kept : `${hint}\n${kept}`, cause: error });
}

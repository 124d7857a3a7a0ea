/**
 * Reading a passphrase: from the file that KIN_PASSPHRASE_FILE names, else from the terminal without echo. It is handed to
 * the node by a pipe, never in an argument or an environment variable, where other processes could see it.
 */
import { fstatSync, openSync, readFileSync, closeSync } from "node:fs";
import { KinError } from "../../protocols/errors.ts";

const MAX_PASSPHRASE_BYTES = 4096;
const CTRL_C = "\u0003";
const CTRL_D = "\u0004";
const BACKSPACES = new Set(["\u007F", "\b"]);

/** @throws KinError PASSPHRASE_NEEDED without a file and without a terminal */
export async function readPassphrase(
  env: NodeJS.ProcessEnv,
  prompt: string,
  why = "the keys are sealed by a passphrase",
): Promise<string> {
  const file = env["KIN_PASSPHRASE_FILE"];
  if (file) return passphraseInFile(file);
  if (!canAsk())
    throw new KinError("PASSPHRASE_NEEDED", `${why}, and there is no terminal to ask for it`, {
      hint: "set KIN_PASSPHRASE_FILE to a file that holds it (mode 0600)",
    });
  return askHidden(prompt);
}

/** A new passphrase, typed twice on a terminal. @throws KinError USAGE if they differ or it is empty */
export async function readNewPassphrase(env: NodeJS.ProcessEnv): Promise<string> {
  const first = await readPassphrase(env, "New passphrase: ", "a new passphrase is needed");
  if (first === "")
    throw new KinError("USAGE", "an empty passphrase protects nothing", { hint: "kin passphrase remove" });
  if (!env["KIN_PASSPHRASE_FILE"] && (await askHidden("Again: ")) !== first)
    throw new KinError("USAGE", "the two passphrases differ; nothing was changed");
  return first;
}

/** Its first line: editors put a line break at the end. @throws KinError KEY_FILE_TOO_OPEN, KEY_FILE_UNREADABLE */
export function passphraseInFile(file: string): string {
  let fd: number | undefined;
  try {
    fd = openSync(file, "r");
    const found = fstatSync(fd);
    if (found.isFile() && (found.mode & 0o077) !== 0)
      throw new KinError(
        "KEY_FILE_TOO_OPEN",
        `the passphrase file ${file} may be read by others: its mode is 0${(found.mode & 0o777).toString(8)}, expected 0600`,
        { hint: `chmod 600 '${file}'` },
      );
    if (found.size > MAX_PASSPHRASE_BYTES) throw new Error(`it has ${found.size} bytes`);
    return readFileSync(fd, "utf8").split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    if (error instanceof KinError) throw error;
    throw new KinError("KEY_FILE_UNREADABLE", `cannot read the passphrase file ${file}: ${(error as Error).message}`, {
      hint: "KIN_PASSPHRASE_FILE names it",
      cause: error,
    });
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** A line from the terminal, shown as typed. */
export async function ask(prompt: string): Promise<string> {
  const { createInterface } = await import("node:readline/promises");
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return (await lines.question(prompt)).trim();
  } finally {
    lines.close();
  }
}

function askHidden(prompt: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const { stdin, stderr } = process;
    let typed = "";
    stdin.setRawMode(true); // before the prompt: what is typed at once must not be shown either
    stderr.write(prompt);
    stdin.setEncoding("utf8");
    const done = (end: () => void): void => {
      stdin.off("data", take);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write("\n");
      end();
    };
    const take = (chunk: string): void => {
      for (const character of chunk) {
        if (character === "\r" || character === "\n") return done(() => resolve(typed));
        if (character === CTRL_C || character === CTRL_D)
          return done(() => reject(new KinError("CANCELLED", "no passphrase was given")));
        if (BACKSPACES.has(character)) typed = Array.from(typed).slice(0, -1).join("");
        else if (typed.length < MAX_PASSPHRASE_BYTES) typed += character;
      }
    };
    stdin.on("data", take);
    stdin.resume();
  });
}

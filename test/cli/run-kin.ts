/** Runs the command as a child process, in a data folder of its own. */
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const SMALL_NODE = fileURLToPath(new URL("small-node.ts", import.meta.url));
export const MAIN = fileURLToPath(new URL("../../node/main.ts", import.meta.url));
export const BIN = fileURLToPath(new URL("../../node/cli/bin.js", import.meta.url));

export interface Ran {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
}

export interface RunOptions {
  home: string;
  program?: string;
  node?: string;
  env?: { [name: string]: string | undefined };
  /** Written to standard input, which is then closed; undefined: there is none. "open": a pipe that is never closed. */
  stdin?: string | { open: true };
  cwd?: string;
  /** A command that runs it, e.g. `["ip", "netns", "exec", "a"]`. */
  through?: readonly string[];
  /** Called with the process and all of its output so far. */
  onOutput?: (child: { kill(signal: NodeJS.Signals): unknown }, out: string) => void;
}

export function runKin(args: string[], options: RunOptions): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const {
      home,
      program = SMALL_NODE,
      node = process.execPath,
      env = {},
      stdin,
      cwd,
      through = [],
      onOutput,
    } = options;
    const [command, ...words] = [...through, node, program, ...args] as [string, ...string[]];
    const child = spawn(command, words, {
      cwd,
      env: {
        ...passedOn(),
        HOME: home,
        KIN_HOME: home,
        ...env,
      },
      stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    let out = "";
    let err = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      out += chunk.toString();
      onOutput?.(child, out);
    });
    child.stderr!.on("data", (chunk: Buffer) => (err += chunk.toString()));
    child.stdin?.on("error", () => {});
    if (typeof stdin === "string") child.stdin!.end(stdin);
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal, out, err }));
  });
}

function passedOn(): { [name: string]: string | undefined } {
  const { PATH, TMPDIR, NODE_COMPILE_CACHE } = process.env;
  return { PATH, TMPDIR, NODE_COMPILE_CACHE };
}

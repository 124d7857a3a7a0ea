/**
 * A temporary folder of one's own: everything that this process and its children make with `os.tmpdir()` lies in it, and every
 * process that was started since has it in its environment. So what is left behind can be named, ended and removed, and nothing
 * of another run on the same machine is ever touched.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface Stray {
  pid: number;
  parent: number;
  command: string;
}

/** A child whose pipe was closed, or a node that was told to stop, is given so long to end. */
const GRACE_MS = 5_000;
const LOOK_EVERY_MS = 50;

/** From now on `os.tmpdir()` is a new folder below the one that it was. Short: a unix socket's path has at most 108 bytes. */
export function takeOwnTemp(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), name));
  process.env["TMPDIR"] = folder;
  return folder;
}

/** Processes that live on in `folder`, besides this one; only Linux tells (elsewhere: none). */
export function straysIn(folder: string): Stray[] {
  return processes().flatMap((pid) => {
    const command = readOf(pid, "cmdline").replaceAll("\0", " ").trim();
    // TMPDIR; where that was not passed on, HOME or KIN_HOME.
    const isIn = readOf(pid, "environ")
      .split("\0")
      .map((one) => one.slice(one.indexOf("=") + 1))
      .some((value) => value === folder || value.startsWith(`${folder}/`));
    if (pid === process.pid || !(isIn || command.includes(`${folder}/`))) return [];
    // `pid (command) state parent …`; a zombie has ended.
    const stat = readOf(pid, "stat");
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return state === undefined || state === "Z" ? [] : [{ pid, parent: Number(parent), command }];
  });
}

/** Those that are still there after a while. */
export async function straysAfterGrace(look: () => Stray[]): Promise<Stray[]> {
  for (const end = performance.now() + GRACE_MS; look().length > 0 && performance.now() < end;)
    await sleep(LOOK_EVERY_MS);
  return look();
}

export function said({ pid, command }: Stray): string {
  return `process ${pid}: ${command}`;
}

export function killAll(strays: readonly Stray[]): void {
  for (const { pid } of strays)
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself meanwhile.
    }
}

/** Ends what lives in the folder and removes it: for the end of a run that was interrupted, or whose limit is over. */
export function endAll(folder: string): void {
  killAll(straysIn(folder));
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
}

/** Ctrl-C and the like end this process, and with it everything in `folder`; without it only what was no daemon would end. */
export function endAllWhenInterrupted(folder: string): void {
  for (const [signal, code] of [
    ["SIGHUP", 129],
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)
    process.once(signal, () => {
      endAll(folder);
      process.exit(code);
    });
}

function processes(): number[] {
  try {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => pid > 0);
  } catch {
    return [];
  }
}

/** "": it has ended, or is another user's. */
function readOf(pid: number, what: string): string {
  try {
    return readFileSync(`/proc/${pid}/${what}`, "latin1");
  } catch {
    return "";
  }
}

/** The failing disk of `shim.c`, compiled once a run, and the environment of a process that gets it. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";

const SOURCE = join(import.meta.dirname, "shim.c");

/** Why there is none here, or null. */
export const noFailingDisk: string | null = whyNot();
if (noFailingDisk !== null && process.env["KIN_REQUIRE_ALL"] === "1") throw new Error(noFailingDisk);

function whyNot(): string | null {
  if (process.platform !== "linux") return "LD_PRELOAD on libc's file calls is tried on Linux only";
  try {
    execFileSync("cc", ["--version"], { stdio: "ignore" });
    return null;
  } catch {
    return "there is no C compiler `cc` (Debian: gcc, libc6-dev)";
  }
}

export interface FailingDisk {
  /** For a process whose files under `folder` are on it. */
  env: { [name: string]: string };
  journal: string;
  /** Makes changes fail, or none any more. */
  fail(failure: Failure | null): void;
  /** How many did. */
  failures(): number;
}

export interface Failure {
  code: "ENOSPC" | "EIO" | "EROFS";
  /** w: write and truncate · s: sync · o: open for writing · r: read */
  kinds: string;
  /** The number of the change that is the first to fail, from 1. @default the next one */
  from?: number;
  /** The first write that fails takes half of its bytes. */
  short?: boolean;
}

/** @param scratch a folder beside the one whose changes are seen */
export function failingDisk(scratch: string, folder: string, { lies = false } = {}): FailingDisk {
  const library = join(scratch, "failing-disk.so");
  const [journal, control, failures] = ["journal", "control", "failures"].map((name) => join(scratch, name)) as [
    string,
    string,
    string,
  ];
  execFileSync("cc", ["-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl", "-lpthread"], { stdio: "pipe" });
  for (const file of [journal, control, failures]) writeFileSync(file, "");
  return {
    journal,
    env: {
      LD_PRELOAD: library,
      KIN_DISK_FOLDER: folder,
      KIN_DISK_JOURNAL: journal,
      KIN_DISK_CONTROL: control,
      KIN_DISK_FAILURES: failures,
      ...(lies ? { KIN_DISK_LIES: "1" } : {}),
    },
    fail(failure) {
      const { code, kinds = "", from = 1, short = false } = failure ?? {};
      const text = code === undefined ? "" : `${constants.errno[code]} ${kinds} ${from} ${short ? "short" : "-"}\n`;
      writeFileSync(control, text);
    },
    failures: () => readFileSync(failures).length,
  };
}

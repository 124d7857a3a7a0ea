/** Runs the Python verifier. Needs python3 with its package cryptography; without it tests skip, and under KIN_REQUIRE_ALL fail. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "vitest";

/** The first on the PATH, or the system's own where that one lacks the package. */
const PYTHONS = ["python3", "/usr/bin/python3"];
const python = await firstWith("import cryptography");
const isNeeded = process.env["KIN_REQUIRE_ALL"] === "1";
if (python === null) console.warn("python3 with its package cryptography is missing (Debian: python3-cryptography)");

/** A test that needs the Python program. */
export const inPython = test.skipIf(python === null && !isNeeded);

export interface PythonRan {
  code: number;
  out: string;
  err: string;
}

/** @param program of this folder */
export function runPython(program: "verify.py" | "vectors.py", args: string[]): Promise<PythonRan> {
  return run([join(import.meta.dirname, program), ...args], python ?? "python3");
}

async function firstWith(program: string): Promise<string | null> {
  for (const one of PYTHONS) if ((await run(["-c", program], one)).code === 0) return one;
  return null;
}

async function run(args: string[], program: string): Promise<PythonRan> {
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { maxBuffer: 2 ** 24 });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const { code, stdout = "", stderr = String(error) } = error as { code: unknown; stdout?: string; stderr?: string };
    return { code: typeof code === "number" ? code : -1, out: stdout, err: stderr };
  }
}

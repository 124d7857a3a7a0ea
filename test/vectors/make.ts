/**
 * Makes the test vectors of `docs/protocol.md`: `node test/vectors/make.ts` rewrites `test/vectors/*.json`. Everything comes from
 * fixed seeds, so the same code always gives the same files; `test/protocols/vectors.test.ts` fails if they differ, and reads each
 * of them through our own code. Another implementation reads the files alone.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { utf8Bytes } from "../../protocols/bytes.ts";
import { bodyVectors } from "./bodies.ts";
import { bytesVectors } from "./basics.ts";
import { dialogueVectors } from "./dialogues.ts";
import { documentVectors } from "./documents.ts";
import { eventVectors } from "./events.ts";
import { exportVectors } from "./exports.ts";
import { rosterVectors } from "./roster.ts";
import { snapshotVectors } from "./snapshots.ts";

export interface VectorFile {
  /** Of docs/protocol.md. */
  section: string;
  about: string;
  [name: string]: unknown;
}

export const FOLDER = import.meta.dirname;

/** Every file by its name. */
export async function makeVectors(): Promise<{ [file: string]: VectorFile }> {
  return {
    ...bytesVectors(),
    ...(await rosterVectors()),
    ...dialogueVectors(),
    ...eventVectors(),
    ...(await bodyVectors()),
    ...snapshotVectors(),
    ...documentVectors(),
    ...(await exportVectors()),
  };
}

/** One line for each item of a list, so that a difference shows where it is. */
export function formatVectors(file: VectorFile): string {
  const fields = Object.entries(file).map(([name, value]) => {
    if (!Array.isArray(value)) return `  ${JSON.stringify(name)}: ${JSON.stringify(value)}`;
    return `  ${JSON.stringify(name)}: [\n${value.map((item) => `    ${JSON.stringify(item)}`).join(",\n")}\n  ]`;
  });
  return `{\n${fields.join(",\n")}\n}\n`;
}

if (import.meta.main)
  for (const [name, file] of Object.entries(await makeVectors()))
    writeFileSync(join(FOLDER, name), utf8Bytes(formatVectors(file)));

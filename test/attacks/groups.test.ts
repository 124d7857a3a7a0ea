/** Every case of the attack groups that issue 3 names is a test: a row of a table, or a test that carries the id. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { citationPattern, readCitations } from "../citations.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const citations = readCitations(ROOT);

/** Where a group's cases may stand. Group F's ids are those of formats too, so only its own files count. */
const GROUPS: readonly { id: string; letter: string; from?: number; count: number; files: RegExp }[] = [
  { id: "group-A", letter: "A", count: 26, files: /./ },
  { id: "group-B", letter: "B", count: 20, files: /./ },
  // The part of the group that is about documents.
  { id: "group-C", letter: "C", from: 16, count: 7, files: /^test\/attacks\/c\./ },
  { id: "group-L", letter: "L", count: 14, files: /./ },
  { id: "group-F", letter: "F", count: 16, files: /^test\/attacks\/f\./ },
];

test.each(GROUPS)("$id: no case is missing", ({ letter, from = 1, count, files }) => {
  const ids = Array.from({ length: count }, (_, index) => `${letter}${index + from}`);
  const cites = (id: string): boolean =>
    citations.some(({ file, text }) => files.test(file) && new RegExp(citationPattern(id)).test(text));
  expect(ids.filter((id) => !cites(id))).toEqual([]);
});

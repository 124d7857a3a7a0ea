import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { citationPattern, citingFiles, readCitations } from "./citations.ts";
import { FAULTS } from "./faults.ts";
import { REQUIREMENTS } from "./requirements.ts";

const ROOT = join(import.meta.dirname, "..");
const citations = readCitations(ROOT);

test("requirements: ids are unique and every one says what and from where", () => {
  const ids = REQUIREMENTS.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(REQUIREMENTS.filter(({ sentence, source }) => !sentence.endsWith(".") || source === "")).toEqual([]);
});

test("requirements: each is cited by at least one test", () => {
  expect(citations.length).toBeGreaterThan(REQUIREMENTS.length);
  const uncited = REQUIREMENTS.filter(({ id }) => citingFiles(ROOT, citations, id).length === 0);
  expect(uncited.map(({ id, sentence }) => `${id}: ${sentence}`)).toEqual([]);
});

test("requirements: each has a fault, and each fault's text stands exactly once in its file", () => {
  const known = new Set(REQUIREMENTS.map(({ id }) => id));
  const broken = FAULTS.flatMap((fault) => {
    const name = `${fault.requirement} in ${fault.file}`;
    if (!known.has(fault.requirement)) return [`${name}: no such requirement`];
    if (fault.search === fault.replace) return [`${name}: changes nothing`];
    const count = readFileSync(join(ROOT, fault.file), "utf8").split(fault.search).length - 1;
    return count === 1 ? [] : [`${name}: its text occurs ${count} times`];
  });
  expect(broken).toEqual([]);
  const faulted = new Set(FAULTS.map(({ requirement }) => requirement));
  expect([...known].filter((id) => !faulted.has(id))).toEqual([]);
});

test("requirements: an id is cited as a whole word only", () => {
  const cites = (id: string, name: string): boolean => new RegExp(citationPattern(id)).test(name);
  expect(cites("A1", "A1 flipped byte")).toBe(true);
  expect(cites("A1", "a flipped byte [A1]")).toBe(true);
  expect(cites("A1", "A15 replay")).toBe(false);
  expect(cites("gate", "the gate-strangers case")).toBe(false);
});

/**
 * An agent is a folder with `AGENT.md`: front matter in YAML, then instructions in words.
 *
 *   ---
 *   name: reviewer                       [a-z][a-z0-9-]{0,31}, as the folder
 *   description: Reviews what changed.   one sentence
 *   skills: [review, git]                tags, optional
 *   for: share-people                    who may ask: share-people, members, me, or a list of names or ids
 *   tools: [git.log, git.diff]           what its steps may call
 *   steps:
 *     - tool: git.log                    called with the rights of who asks
 *       with: { share: "{{settings.share?}}", max: 5 }
 *       as: log                          later: {{log.text}}, {{log.data…}}
 *       when: "{{…}}"                    optional: the step is left out if this is empty or false
 *       say: "{{log.text}}"              optional: told at once, and a part of the answer
 *   answer: "{{log.text}}"               optional if a step says something
 *   data: "{{log.data}}"                 optional: for programs
 *   ---
 *
 * Values: `question` (the first text), `attached` (the other texts and files), `settings`. Mistakes name file, line and column.
 */
import type { Document, Node } from "yaml";
import type { Json } from "../../protocols/tool.ts";
import type { Template } from "./template.ts";
import { isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import { KinError } from "../../protocols/errors.ts";
import { NAME_PATTERN, TOOL_NAME_PATTERN } from "../../protocols/limits.ts";
import { didYouMean } from "../did-you-mean.ts";
import { isProblem, parseTemplate, placesOf } from "./template.ts";

export const MAX_DEFINITION_CHARS = 64 * 1024;
const MAX_STEPS = 32;
const MAX_ITEMS = 64;
const MAX_WORDS = 512;

export interface Step {
  tool: string;
  with: { [argument: string]: Template | Json };
  as: string;
  when: Template | null;
  say: Template | null;
}

export interface Definition {
  name: string;
  description: string;
  skills: string[];
  /** Names and ids as they are written: they are resolved when the agent is loaded (R12). */
  for: "share-people" | "members" | "me" | string[];
  tools: string[];
  steps: Step[];
  answer: Template | null;
  data: Template | null;
  /** Names of settings that its templates read. */
  settings: string[];
  instructions: string;
  file: string;
}

const KEYS = ["name", "description", "skills", "for", "tools", "steps", "answer", "data"];
const STEP_KEYS = ["tool", "with", "as", "when", "say"];
const FIRST_VALUES = ["question", "attached", "settings"];

/** @throws KinError CONFIG_INVALID: `FILE:LINE:COLUMN: what is wrong` */
export function parseDefinition(text: string, file: string): Definition {
  if (text.length > MAX_DEFINITION_CHARS)
    throw new KinError("CONFIG_INVALID", `${file}: over ${MAX_DEFINITION_CHARS} characters`);
  const found = /^\uFEFF?---[ \t]*\r?\n([\s\S]*?)^---[ \t]*\r?$/m.exec(text);
  if (found === null || found.index !== 0)
    throw new KinError("CONFIG_INVALID", `${file}:1:1: expected front matter: a line "---", YAML, a line "---"`);
  const lines = new LineCounter();
  const document = parseDocument(found[1]!, { lineCounter: lines, version: "1.2", merge: false });
  const reader = createReader(document, lines, file);
  const mistake = document.errors[0] ?? document.warnings[0];
  if (mistake !== undefined) reader.fail(mistake.pos[0], mistake.message.split("\n")[0]!);
  return readDefinition(reader, text.slice(found[0].length).trim(), file);
}

function readDefinition(reader: Reader, instructions: string, file: string): Definition {
  reader.keys([], KEYS);
  const steps = reader.length(["steps"], MAX_STEPS);
  const known = [...FIRST_VALUES];
  const definition: Definition = {
    name: reader.text(["name"], NAME_PATTERN, "a name like code-reviewer"),
    description: reader.text(["description"], /^[^\n]{1,512}$/, "one sentence"),
    skills: reader.list(["skills"], NAME_PATTERN, "a tag like review"),
    for: readFor(reader),
    tools: reader.list(["tools"], TOOL_NAME_PATTERN, "the name of a tool like git.log"),
    steps: [],
    answer: null,
    data: null,
    settings: [],
    instructions,
    file,
  };
  for (let index = 0; index < steps; index++) {
    definition.steps.push(readStep(reader, ["steps", index], definition.tools, known));
    known.push(definition.steps.at(-1)!.as);
  }
  definition.answer = reader.template(["answer"], known);
  definition.data = reader.template(["data"], known);
  if (steps === 0) reader.failAt([], "an agent needs steps: a list of tools to call");
  if (definition.answer === null && definition.steps.every((step) => step.say === null))
    reader.failAt([], "it never says anything: give it an answer, or a step with say");
  definition.settings = settingsOf(definition);
  return definition;
}

function readFor(reader: Reader): Definition["for"] {
  if (reader.isList(["for"])) return reader.list(["for"], /^[a-z][a-z0-9~-]{0,127}$/, "a person's name or id (kinp1…)");
  const word = reader.text(["for"], /^(?:share-people|members|me)$/, "share-people, members, me, or a list of people");
  return word as "share-people" | "members" | "me";
}

function readStep(reader: Reader, at: Path, tools: readonly string[], known: readonly string[]): Step {
  reader.keys(at, STEP_KEYS);
  const tool = reader.text([...at, "tool"], TOOL_NAME_PATTERN, "the name of a tool like git.log");
  if (!tools.includes(tool)) reader.failAt([...at, "tool"], `${tool} is not in its list of tools`);
  const as = reader.text([...at, "as"], NAME_PATTERN, "a name for the result");
  if (known.includes(as)) reader.failAt([...at, "as"], `"${as}" is taken: each result has a name of its own`);
  // Its own result is known to what it says, not to what it is called with.
  return {
    tool,
    with: reader.arguments([...at, "with"], known),
    as,
    when: reader.template([...at, "when"], known),
    say: reader.template([...at, "say"], [...known, as]),
  };
}

function settingsOf(definition: Definition): string[] {
  const templates = definition.steps.flatMap((step) => [step.when, step.say, ...Object.values(step.with)]);
  const places = [...templates, definition.answer, definition.data].flatMap((value) =>
    isTemplate(value) ? placesOf(value) : [],
  );
  return [
    ...new Set(places.filter((place) => place.startsWith("settings.")).map((place) => place.slice("settings.".length))),
  ];
}

/** In `with`, texts are templates; numbers, lists and the like are values. */
export function isTemplate(value: Template | Json | null): value is Template {
  return (
    Array.isArray(value) &&
    value.every(
      (part) =>
        typeof part === "string" || (part !== null && typeof part === "object" && "path" in part && "optional" in part),
    )
  );
}

// — Reading with positions —————————————————————————————————————————————————————————————————————————————————————————

type Path = readonly (string | number)[];

interface Reader {
  fail(offset: number, message: string): never;
  failAt(path: Path, message: string): never;
  keys(path: Path, known: readonly string[]): void;
  length(path: Path, max: number): number;
  isList(path: Path): boolean;
  text(path: Path, pattern: RegExp, expected: string): string;
  list(path: Path, pattern: RegExp, expected: string): string[];
  template(path: Path, known: readonly string[]): Template | null;
  arguments(path: Path, known: readonly string[]): { [argument: string]: Template | Json };
}

function createReader(document: Document, lines: LineCounter, file: string): Reader {
  const nodeAt = (path: Path) =>
    (path.length === 0 ? document.contents : (document.getIn(path, true) as Node | undefined | null)) ?? null;
  const fail = (offset: number, message: string): never => {
    const { line, col } = lines.linePos(offset);
    // Line 1 of the file is "---".
    throw new KinError("CONFIG_INVALID", `${file}:${line + 1}:${Math.max(1, col)}: ${message}`);
  };
  const failAt = (path: Path, message: string): never => {
    for (let length = path.length; length >= 0; length--) {
      const range = nodeAt(path.slice(0, length))?.range;
      if (range !== undefined && range !== null) return fail(range[0], message);
    }
    return fail(0, message);
  };
  const readText = (path: Path, pattern: RegExp, expected: string): string => {
    const value = document.getIn(path);
    if (typeof value !== "string" || !pattern.test(value))
      return failAt(path, `${String(path.at(-1))}: expected ${expected}, got ${shown(value)}`);
    return value;
  };
  const readTemplate = (path: Path, text: string, known: readonly string[]): Template => {
    const parsed = parseTemplate(text, known);
    return isProblem(parsed) ? failAt(path, `${String(path.at(-1))}: ${parsed.message}`) : parsed;
  };
  return {
    fail,
    failAt,
    keys(path, known) {
      const node = nodeAt(path);
      if (!isMap(node)) return failAt(path, `expected a map with ${known.join(", ")}`);
      for (const { key } of node.items) {
        const name = isScalar(key) ? String(key.value) : "?";
        if (known.includes(name)) continue;
        const near = didYouMean(name, known);
        fail(
          (key as Node).range?.[0] ?? 0,
          `"${name}" is not known here; ${near === null ? `known: ${known.join(", ")}` : `did you mean "${near}"?`}`,
        );
      }
    },
    length(path, max) {
      const node = nodeAt(path);
      if (node === null) return 0;
      if (!isSeq(node) || node.items.length > max)
        return failAt(path, `${String(path.at(-1))}: expected a list of at most ${max}`);
      return node.items.length;
    },
    isList: (path) => isSeq(nodeAt(path)),
    text: readText,
    list(path, pattern, expected) {
      const node = nodeAt(path);
      if (node === null) return [];
      if (!isSeq(node) || node.items.length > MAX_ITEMS)
        return failAt(path, `${String(path.at(-1))}: expected a list of at most ${MAX_ITEMS}`);
      return node.items.map((_, index) => readText([...path, index], pattern, expected));
    },
    template(path, known) {
      const value = document.getIn(path);
      if (value === undefined) return null;
      if (typeof value !== "string")
        return failAt(path, `${String(path.at(-1))}: expected a text in quotes, got ${shown(value)}`);
      return readTemplate(path, value, known);
    },
    arguments(path, known) {
      const node = nodeAt(path);
      if (node === null) return {};
      if (!isMap(node) || node.items.length > MAX_ITEMS) return failAt(path, `with: expected a map of arguments`);
      const read: { [argument: string]: Template | Json } = {};
      for (const { key } of node.items) {
        const name = isScalar(key) ? String(key.value) : "";
        const value = document.getIn([...path, name]);
        const scalar = typeof value === "string" || typeof value === "number" || typeof value === "boolean";
        if (!scalar) failAt([...path, name], `${name}: expected a text, a number, true or false, got ${shown(value)}`);
        read[name] = typeof value === "string" ? readTemplate([...path, name], value, known) : (value as Json);
      }
      return read;
    },
  };
}

function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > MAX_WORDS ? `${text.slice(0, MAX_WORDS)}…` : text;
}

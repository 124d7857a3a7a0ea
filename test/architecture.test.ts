/**
 * Reads every source file's imports and globals with a real parser and holds them against `architecture-rules.ts`. It needs no
 * config file and no list of files: what git would commit is what is checked.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join, posix } from "node:path";
import { parseSync } from "oxc-parser";
import { expect, test } from "vitest";
import {
  COMPUTED_IMPORTS,
  EMPTY_NAMES,
  EXTRA_IMPORTS,
  FOLDERS,
  IMPURE_GLOBALS,
  IMPURE_SYNC,
  NODE_PARTS,
  PACKAGES,
  PURE,
  PURE_EXCEPTIONS,
  ROOT_FILES,
} from "./architecture-rules.ts";

const ROOT = join(import.meta.dirname, "..");
const SOURCE = /\.(ts|mts|cts|tsx|js|mjs|cjs|jsx)$/;
/** Fewer files than this is a reader that lost its way, not a small project. */
const FEWEST_FILES = 20;

type Sources = ReadonlyMap<string, string>;
interface Manifest {
  imports?: { [name: string]: unknown };
  dependencies?: { [name: string]: string };
  devDependencies?: { [name: string]: string };
}

const sources = readSources();
const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as Manifest;

test("architecture: every import keeps to the table, and there were files to check", () => {
  expect(sources.size).toBeGreaterThan(FEWEST_FILES);
  expect(violations(sources)).toEqual([]);
});

test("architecture: the reader sees every way of importing", () => {
  const source = [
    'import { a } from "./static.ts";',
    'import type { B } from "./type.ts";',
    'import "./bare.ts";',
    'export { c } from "./export.ts";',
    'export * from "./star.ts";',
    'export type { D } from "./export-type.ts";',
    'type E = import("./inline-type.ts").E;',
    'const f = await import("./dynamic.ts");',
    'const g = new URL("./worker.ts", import.meta.url);',
    'const h = require("./required.ts");',
    "const i = import(name);",
  ].join("\n");
  expect(scan("x.ts", source).imports.map((found) => [found.line, found.specifier])).toEqual([
    [1, "./static.ts"],
    [2, "./type.ts"],
    [3, "./bare.ts"],
    [4, "./export.ts"],
    [5, "./star.ts"],
    [6, "./export-type.ts"],
    [7, "./inline-type.ts"],
    [8, "./dynamic.ts"],
    [9, "./worker.ts"],
    [10, "./required.ts"],
    [11, null],
  ]);
});

/** One line for each rule: this source in this file must be refused with these words. */
const PLANTED: readonly [file: string, source: string, refusal: RegExp][] = [
  ["protocols/planted.ts", 'import type { X } from "../sync/store.ts";', /protocols imports nothing of sync/],
  ["protocols/planted.ts", 'const x = await import("../node/planted-config.ts");', /protocols imports nothing of node/],
  ["sync/planted.ts", 'export * from "../node/planted-config.ts";', /sync imports nothing of node/],
  ["relay/planted.ts", 'import "../sync/store.ts";', /relay imports nothing of sync/],
  ["web/planted.ts", 'type X = import("../node/planted-config.ts").X;', /web imports nothing of node/],
  ["node/planted.ts", "export const x = 1;", /no rank/],
  ["node/net/planted.ts", 'import "../../relay/planted-relay.ts";', /node imports nothing of relay/],
  ["node/net/planted.ts", 'import "../agents/planted-agents.ts";', /net and agents .* rank 3/],
  ["node/models/planted.ts", 'import "../guard/planted-guard.ts";', /models and guard .* rank 1/],
  ["node/tools/planted.ts", 'import "../gateway/control-api.ts";', /tools \(rank 2\) imports gateway \(rank 4\)/],
  ["node/config.ts", 'import "./guard/planted-guard.ts";', /base \(rank 0\) imports guard \(rank 1\)/],
  ["sync/planted.ts", 'import "./stores/libsql-planted.ts";', /impure/],
  ["web/planted.ts", 'import "../sync/stores/libsql-planted.ts";', /impure/],
  ["sync/planted.ts", "const now = Date.now();", /Date\.now/],
  ["sync/planted.ts", "const now = new Date();", /new Date/],
  ["protocols/planted.ts", "const x = Math.random();", /Math\.random/],
  ["protocols/planted.ts", "setTimeout(() => {}, 1);", /setTimeout/],
  ["protocols/planted.ts", "const later = setTimeout;", /setTimeout/],
  ["protocols/planted.ts", 'await fetch("http://x");', /fetch/],
  ["protocols/planted.ts", "crypto.getRandomValues(new Uint8Array(1));", /crypto/],
  ["protocols/planted.ts", 'import { readFileSync } from "node:fs";', /node:fs/],
  ["sync/planted.ts", 'import { readFileSync } from "fs";', /fs/],
  ["sync/planted.ts", "const x = await import(name);", /cannot be read/],
  ["node/gateway/planted.ts", 'import type { Libp2p } from "libp2p";', /libp2p is known to/],
  ["protocols/planted.ts", 'import { tls } from "@libp2p/tls";', /libp2p is known to/],
  ["node/net/planted.ts", 'import "left-pad";', /package\.json does not list left-pad/],
  ["node/net/planted.ts", 'import { test } from "vitest";', /test tools/],
  ["node/net/planted.ts", 'import { x } from "@libp2p/noise";', /only for tests/],
  ["node/net/planted.ts", 'import "../../protocols/ids";', /extension/],
  ["node/net/planted.ts", 'import "../../protocols/nowhere.ts";', /no such file/],
  ["node/net/planted-manager.ts", "export {};", /says nothing/],
  ["node/tools/index.ts", "export {};", /says nothing/],
  ["sync/types.ts", "export {};", /says nothing/],
  ["lib/planted.ts", "export {};", /no such folder/],
  ["planted.ts", "export {};", /no such folder/],
  ["node/tools/planted.ts", "const = ;", /cannot be parsed/],
];

/** What the planted imports point at. */
const TARGETS: readonly string[] = [
  "node/config.ts",
  "node/planted-config.ts",
  "relay/planted-relay.ts",
  "node/agents/planted-agents.ts",
  "node/guard/planted-guard.ts",
  "sync/stores/libsql-planted.ts",
];

test("architecture: each kind of violation is found when it is planted", () => {
  const clean = new Map([...TARGETS.map((file): [string, string] => [file, "export {};"]), ...sources]);
  for (const [file, source, refusal] of PLANTED) {
    const planted = new Map(clean).set(file, source);
    const found = violations(planted).filter((line) => line.startsWith(`${file}:`));
    expect(found.join("\n"), `${file}: ${source}`).toMatch(refusal);
  }
});

/** Everything that breaks the table, as `file:line: sentence`. */
function violations(tree: Sources): string[] {
  return [...tree].flatMap(([file, source]) => {
    const scanned = scan(file, source);
    const found = [
      ...placeViolations(file),
      ...scanned.errors,
      ...scanned.imports.flatMap((one) => importViolations(file, one, tree)),
      ...(isPure(file)
        ? scanned.globals.map(({ name, line }) => ({
            line,
            text: `${name} in ${folderOf(file)}/: it is passed in (protocols/effects.ts)`,
          }))
        : []),
    ];
    return found.map(({ line, text }) => `${file}:${line}: ${text}`);
  });
}

interface Found {
  line: number;
  text: string;
}

function placeViolations(file: string): Found[] {
  const found: Found[] = [];
  if (ROOT_FILES.includes(file)) return found;
  const folder = folderOf(file);
  if (!(folder in FOLDERS)) found.push({ line: 1, text: `no such folder in the table: ${folder}` });
  if (folder === "node" && nodePart(file) === undefined)
    found.push({ line: 1, text: "has no rank: add it to NODE_PARTS in test/architecture-rules.ts" });
  for (const name of file.split("/").map((part) => part.replace(/\..*$/, "")))
    if (EMPTY_NAMES.test(name)) found.push({ line: 1, text: `the name ${name} says nothing` });
  return found;
}

function importViolations(file: string, { specifier, line }: Import, tree: Sources): Found[] {
  const refuse = (text: string): Found[] => [{ line, text }];
  if (specifier === null)
    return COMPUTED_IMPORTS.some((exception) => exception.file.test(file))
      ? []
      : refuse("an import whose target cannot be read: name the file in a literal");
  if (specifier.startsWith("#"))
    return specifier in (manifest.imports ?? {}) ? [] : refuse(`package.json has no ${specifier}`);
  if (!specifier.startsWith(".")) return packageViolations(file, specifier).flatMap(refuse);
  const target = posix.normalize(posix.join(posix.dirname(file), specifier));
  if (!/\.[a-z]+$/.test(target)) return refuse(`${specifier} has no extension`);
  if (SOURCE.test(target) && !tree.has(target)) return refuse(`no such file: ${target}`);
  return folderViolations(file, target).flatMap(refuse);
}

function folderViolations(file: string, target: string): string[] {
  const from = folderOf(file);
  const to = folderOf(target);
  if (EXTRA_IMPORTS.some((extra) => extra.from.test(file) && extra.to.test(target))) return [];
  if (IMPURE_SYNC.test(target) && (from === "web" || (from === "sync" && !IMPURE_SYNC.test(file))))
    return [`${target} is impure: nothing else in sync, and nothing in web, imports it`];
  if (from !== to)
    return (FOLDERS[from] ?? []).includes(to) || ROOT_FILES.includes(file) ? [] : [`${from} imports nothing of ${to}`];
  return from === "node" ? rankViolations(nodePart(file), nodePart(target)) : [];
}

function rankViolations(from: Part | undefined, to: Part | undefined): string[] {
  if (from === undefined || to === undefined || from.part === to.part || to.rank < from.rank) return [];
  if (from.rank === to.rank)
    return [`${from.part} and ${to.part} are both of rank ${from.rank}: they never import each other`];
  return [`${from.part} (rank ${from.rank}) imports ${to.part} (rank ${to.rank})`];
}

function packageViolations(file: string, specifier: string): string[] {
  const builtin = specifier.startsWith("node:") || builtinModules.includes(specifier);
  if (builtin) {
    if (isPure(file)) return [`${specifier} in ${folderOf(file)}/: disk, clock and randomness are passed in`];
    return folderOf(file) === "web" ? [`${specifier} in web/: it runs in a browser`] : [];
  }
  const rule = PACKAGES.find((one) => one.package.test(specifier));
  if (rule !== undefined && !rule.where.test(file)) return [`${specifier}: ${rule.reason}`];
  const name = specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
  if (name in (manifest.dependencies ?? {})) return [];
  if (!(name in (manifest.devDependencies ?? {}))) return [`package.json does not list ${name}`];
  return folderOf(file) === "test" || ROOT_FILES.includes(file) ? [] : [`${name} is installed only for tests`];
}

type Part = (typeof NODE_PARTS)[number];

function nodePart(file: string): Part | undefined {
  const rest = file.slice("node/".length);
  return NODE_PARTS.find((part) =>
    part.members.some((member) => (member.endsWith("/") ? rest.startsWith(member) : rest === member)),
  );
}

function folderOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : file;
}

function isPure(file: string): boolean {
  return PURE.test(file) && !PURE_EXCEPTIONS.some((exception) => exception.file.test(file));
}

interface Import {
  line: number;
  /** null: computed at run time. */
  specifier: string | null;
}
interface Scan {
  imports: Import[];
  globals: { name: string; line: number }[];
  errors: Found[];
}
interface Node {
  type: string;
  start: number;
  [field: string]: unknown;
}

const scanned = new Map<string, Scan>();

/** Each source is parsed once, however many planted trees contain it. */
function scan(file: string, source: string): Scan {
  const key = `${file}\n${source}`;
  const known = scanned.get(key);
  if (known !== undefined) return known;
  const fresh = read(file, source);
  scanned.set(key, fresh);
  return fresh;
}

function read(file: string, source: string): Scan {
  const { program, errors } = parseSync(file, source);
  if (errors.length > 0)
    return { imports: [], globals: [], errors: [{ line: 1, text: `cannot be parsed: ${errors[0]!.message}` }] };
  const imports: Import[] = [];
  const globals: { name: string; line: number }[] = [];
  const lineOf = (node: Node): number => source.slice(0, node.start).split("\n").length;
  walk(program as unknown as Node, (node) => {
    const specifier = importOf(node);
    if (specifier !== undefined) imports.push({ line: lineOf(node), specifier });
    const name = globalOf(node);
    if (name !== undefined) globals.push({ name, line: lineOf(node) });
  });
  return { imports, globals, errors: [] };
}

/** undefined: not an import; null: one whose target is computed. */
function importOf(node: Node): string | null | undefined {
  switch (node.type) {
    case "ImportDeclaration":
    case "ExportAllDeclaration":
    case "ImportExpression":
    case "TSImportType":
    case "TSExternalModuleReference":
      return textOf(node["source"] ?? node["argument"] ?? node["expression"]);
    case "ExportNamedDeclaration":
      return node["source"] ? textOf(node["source"]) : undefined;
    case "CallExpression":
      return nameOf(node["callee"]) === "require" ? textOf((node["arguments"] as Node[])[0]) : undefined;
    case "NewExpression": {
      // A worker's file: new URL("./worker.ts", import.meta.url).
      const target = nameOf(node["callee"]) === "URL" ? textOf((node["arguments"] as Node[])[0]) : null;
      return target !== null && target.startsWith(".") && SOURCE.test(target) ? target : undefined;
    }
    default:
      return undefined;
  }
}

function globalOf(node: Node): string | undefined {
  if (node.type === "NewExpression" && nameOf(node["callee"]) === "Date" && (node["arguments"] as Node[]).length === 0)
    return "new Date";
  if (node.type === "MemberExpression" && node["computed"] !== true) {
    const name = `${nameOf(node["object"])}.${nameOf(node["property"])}`;
    return IMPURE_GLOBALS.includes(name) ? name : undefined;
  }
  return node.type === "Identifier" && IMPURE_GLOBALS.includes(node["name"] as string)
    ? (node["name"] as string)
    : undefined;
}

/** Field names of a node that hold a name and not a reference to a variable. */
const NAME_FIELDS: { [type: string]: string } = {
  MemberExpression: "property",
  Property: "key",
  PropertyDefinition: "key",
  MethodDefinition: "key",
  TSPropertySignature: "key",
  TSMethodSignature: "key",
  TSQualifiedName: "right",
};

function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const [field, value] of Object.entries(node)) {
    if (NAME_FIELDS[node.type] === field && node["computed"] !== true) continue;
    for (const child of Array.isArray(value) ? value : [value])
      if (child !== null && typeof child === "object" && typeof (child as Node).type === "string")
        walk(child as Node, visit);
  }
}

function nameOf(node: unknown): string | undefined {
  const one = node as Node | undefined;
  return one?.type === "Identifier" ? (one["name"] as string) : undefined;
}

function textOf(node: unknown): string | null {
  const one = node as Node | undefined;
  if (one?.type === "TSLiteralType") return textOf(one["literal"]);
  return one?.type === "Literal" && typeof one["value"] === "string" ? one["value"] : null;
}

/** What git would commit; in a folder without git, everything but installed packages and hidden folders. */
function readSources(): Map<string, string> {
  let files: string[];
  try {
    const listed = execFileSync("git", ["-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"], {
      cwd: ROOT,
      stdio: ["ignore", "pipe", "ignore"],
    });
    files = listed.toString().split("\0");
  } catch {
    files = readdirSync(ROOT, { recursive: true, encoding: "utf8" }).filter(
      (file) => !/(^|\/)(node_modules|\.[^/]+)(\/|$)/.test(file),
    );
  }
  const found = new Map<string, string>();
  for (const file of files.filter((name) => SOURCE.test(name)).toSorted()) {
    try {
      found.set(file, readFileSync(join(ROOT, file), "utf8"));
    } catch (error) {
      // Deleted in the working tree, still in git's index.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return found;
}

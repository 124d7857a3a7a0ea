/**
 * What a reviewer notices in added lines without a model: conflict markers, secrets by pattern, invisible characters, debug
 * leftovers, added TODOs, files over 1,000 lines, code changed and tests not. Pure. A secret's value is never repeated.
 */
import type { DiffFile } from "./diff.ts";
import { holdsPrivateKey } from "../jail.ts";

export type FindingKind = "conflict" | "secret" | "invisible" | "debug" | "size" | "tests" | "todo";

export interface Finding {
  kind: FindingKind;
  path: string;
  line: number;
  /** What it is, for a person. */
  what: string;
}

/** A file that is longer is hard to review and to keep in mind. */
export const MAX_FILE_LINES = 1000;
/** Minified files have lines of a megabyte; patterns look at their beginning. */
const MAX_LINE_CHARS = 2000;
/** In this order they are told: what must not be merged comes first. */
const ORDER: readonly FindingKind[] = ["conflict", "secret", "invisible", "debug", "size", "tests", "todo"];

export interface FindingOptions {
  /** Lines that each file has now, where that is known. */
  lineCounts?: ReadonlyMap<string, number>;
  /** True: the files are looked at as a whole, so nothing can be said about what was added or left out. */
  whole?: boolean;
}

export function findings(files: readonly DiffFile[], options: FindingOptions = {}): Finding[] {
  const found = files.flatMap((file) => [...fileFindings(file, options.whole === true), ...sizeFinding(file, options)]);
  if (options.whole !== true) found.push(...testFinding(files));
  return found.toSorted(
    (a, b) =>
      ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) || (a.path < b.path ? -1 : a.path > b.path ? 1 : a.line - b.line),
  );
}

function fileFindings(file: DiffFile, whole: boolean): Finding[] {
  if (file.binary || file.status === "deleted") return [];
  const found: Finding[] = [];
  const add = (kind: FindingKind, line: number, what: string) => found.push({ kind, path: file.path, line, what });
  const conflicted = file.addedLines.some(({ text }) => /^(<{7}|>{7})( |$)/.test(text));
  for (const { line, text: full } of file.addedLines) {
    const text = full.slice(0, MAX_LINE_CHARS);
    if (/^(<{7}|>{7}|\|{7})( |$)/.test(text)) add("conflict", line, `conflict marker ${text.slice(0, 7)}`);
    // A line of equal signs alone underlines a heading.
    else if (conflicted && /^={7}$/.test(text)) add("conflict", line, "conflict marker =======");
    const secret = secretIn(text, file.path);
    if (secret !== null) add("secret", line, `looks like ${secret}; take it out and revoke it`);
    if (BIDIRECTIONAL.test(text))
      add("invisible", line, "holds invisible characters that make code read otherwise than it runs");
    const debug = debugIn(text, file.path);
    if (debug !== null) add("debug", line, `debug leftover: ${debug}`);
    const todo = whole ? null : todoIn(text);
    if (todo !== null) add("todo", line, `added ${todo}`);
  }
  return found;
}

// — Secrets ————————————————————————————————————————————————————————————————————————————————————————————————————————

const SECRETS: readonly [RegExp, string][] = [
  [/\b(?:AKIA|ASIA)[0-9A-Z]{16}\b/, "an AWS access key"],
  [/\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})/, "a GitHub token"],
  [/\bglpat-[A-Za-z0-9_-]{20,}/, "a GitLab token"],
  [/\bxox[abeoprs]-[A-Za-z0-9-]{10,}/, "a Slack token"],
  [/\bAIza[0-9A-Za-z_-]{35}/, "a Google API key"],
  [/\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{24,}/, "an API key of a model provider"],
  [/\b[rs]k_live_[0-9A-Za-z]{20,}/, "a Stripe live key"],
  [/\bnpm_[A-Za-z0-9]{36}\b/, "an npm token"],
  [/\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/, "a JSON web token"],
  [/\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@"'`]{1,64}:([^\s:/@"'`$<>{}]{4,})@[a-z0-9[]/i, "a password in a URL"],
];
/** `password = "…"`: a name that says it, then a literal in quotes. */
const NAMED_SECRET =
  /\b[\w.-]{0,40}(?:password|passwd|secret|api_?-?key|access_?-?key|auth_?-?token|private_?-?key)["']?\s*(?::|=|=>|:=)\s*["'`]([^"'`\s]{8,})["'`]/i;
/** Values that only stand for one. */
const PLACEHOLDER =
  /^(?:<.*>|\$\{?.*|%.*%|\{\{.*|x+|\*+|\.+)$|example|changeme|change-me|placeholder|your[-_]|dummy|redacted|not-?a-?secret|secret|password/i;

function secretIn(text: string, path: string): string | null {
  if (holdsPrivateKey(text)) return "a private key";
  for (const [pattern, what] of SECRETS) {
    const hit = pattern.exec(text);
    if (hit !== null && !(hit[1] !== undefined && PLACEHOLDER.test(hit[1])) && !/EXAMPLE/.test(hit[0])) return what;
  }
  const named = NAMED_SECRET.exec(text)?.[1];
  if (named === undefined || PLACEHOLDER.test(named) || isTest(path)) return null;
  // Words in small letters are a name or a sentence, not a secret.
  return /[0-9]/.test(named) && /[A-Za-z]/.test(named) && distinct(named) >= 6 ? "a password or key in the code" : null;
}

function distinct(text: string): number {
  return new Set(text).size;
}

/** Bidirectional controls, tags and zero-width characters ("Trojan Source", CVE-2021-42574). ZWJ and ZWNJ belong to scripts. */
const BIDIRECTIONAL = /[\u200B\u202A-\u202E\u2060-\u2064\u2066-\u2069\u{E0000}-\u{E007F}]/u;

// — Leftovers ——————————————————————————————————————————————————————————————————————————————————————————————————————

const SCRIPT = /\.[cm]?[jt]sx?$|\.(?:vue|svelte)$/;
const DEBUG: readonly [RegExp, RegExp, string][] = [
  [SCRIPT, /^\s*debugger\s*;?\s*(?:\/\/.*)?$/, "debugger"],
  [SCRIPT, /^\s*(?:describe|it|test|context|suite)\.only\s*\(/, ".only, which leaves all other tests out"],
  [/\.py$/, /^\s*(?:breakpoint\(\)|(?:i?pdb|pudb)\.set_trace\(\)|import\s+i?pdb\b)/, "a breakpoint"],
  [/\.rb$/, /^\s*(?:binding\.(?:pry|irb)|byebug)\b/, "a breakpoint"],
  [/\.rs$/, /\bdbg!\s*\(/, "dbg!"],
  [/\.php$/, /^\s*(?:var_dump|dd|print_r)\s*\(/, "a dump"],
  [
    /\.(?:c|cc|cpp|h|hpp|go|java|kt|cs|swift)$/,
    /\b(?:printf|Println|println|WriteLine|print)\s*\(\s*"(?:DEBUG|debug|HERE|here|XXX)\b/,
    "a debug print",
  ],
];
/** Where printing is the purpose. */
const PRINTS =
  /(?:^|\/)(?:bin|cli|scripts?|examples?|demo|bench|benchmarks?|simulations?)(?:\/|\.)|(?:^|\/)(?:main|cli|bin|demo)\.[cm]?[jt]s$/;

function debugIn(text: string, path: string): string | null {
  for (const [files, pattern, what] of DEBUG) if (files.test(path) && pattern.test(text)) return what;
  const printed =
    SCRIPT.test(path) && !PRINTS.test(path) ? /^\s*console\.(?:log|debug|trace|dir)\s*\(/.exec(text) : null;
  return printed === null ? null : printed[0].trim().replace(/\s*\($/, "");
}

/** A mark at the begin of a comment, or one with a colon: prose that speaks about TODOs is none. */
const TODO =
  /(?:\/\/|#|\/\*|^\s*\*|--|<!--|;)\s*(TODO|FIXME|XXX|HACK)\b|(?:\/\/|#|\/\*|^\s*\*|--|<!--).*\b(TODO|FIXME|XXX|HACK)(?:\([^)]{0,40}\))?:/;

function todoIn(text: string): string | null {
  const hit = TODO.exec(text);
  return hit === null ? null : (hit[1] ?? hit[2] ?? null);
}

// — Size and tests —————————————————————————————————————————————————————————————————————————————————————————————————

/** Written by programs, or lists that grow: their length says nothing. */
const GENERATED =
  /(?:^|\/)(?:package-lock\.json|npm-shrinkwrap\.json|pnpm-lock\.yaml|yarn\.lock|Cargo\.lock|go\.sum|poetry\.lock|composer\.lock|Gemfile\.lock|uv\.lock)$|\.(?:min\.(?:js|css)|map|snap|svg|csv|tsv|lock)$/;

function sizeFinding(file: DiffFile, options: FindingOptions): Finding[] {
  if (file.binary || file.status === "deleted" || GENERATED.test(file.path)) return [];
  const known = options.lineCounts?.get(file.path);
  const lines = known ?? file.reaches;
  if (lines <= MAX_FILE_LINES) return [];
  const count = `${known === undefined && file.status !== "added" ? "at least " : ""}${lines} lines`;
  const before = lines - file.added + file.removed;
  const crossed =
    known !== undefined && file.status !== "added" && before <= MAX_FILE_LINES ? `, ${before} before this change` : "";
  return [
    {
      kind: "size",
      path: file.path,
      line: MAX_FILE_LINES + 1,
      what: `has ${count} (over ${MAX_FILE_LINES})${crossed}`,
    },
  ];
}

const CODE =
  /\.(?:[cm]?[jt]sx?|vue|svelte|py|rb|go|rs|java|kt|kts|scala|c|cc|cpp|cxx|h|hpp|cs|swift|m|mm|php|ex|exs|erl|clj|hs|ml|lua|dart|zig|sol|sh|bash|sql)$/;
const TEST =
  /(?:^|\/)(?:tests?|specs?|__tests__|testing|e2e|testdata|fixtures)\/|[._-](?:test|spec)s?\.[^/]+$|_test\.[^/]+$|(?:^|\/)test_[^/]+$|Tests?\.[^/]+$/;

function isTest(path: string): boolean {
  return TEST.test(path);
}

function testFinding(files: readonly DiffFile[]): Finding[] {
  const code = files.filter(
    (file) => CODE.test(file.path) && !isTest(file.path) && file.status !== "deleted" && file.added > 0,
  );
  if (code.length === 0 || files.some((file) => isTest(file.path) && file.added > 0)) return [];
  const most = code.toSorted((a, b) => b.added - a.added)[0]!;
  const others = code.length === 1 ? "" : ` (and ${code.length - 1} more)`;
  return [
    {
      kind: "tests",
      path: most.path,
      line: most.addedLines[0]?.line ?? 1,
      what: `code changed${others}, no test changed with it`,
    },
  ];
}

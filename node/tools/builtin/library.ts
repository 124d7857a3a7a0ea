/**
 * `library.search`, the step of the agent `librarian`: full-text search over a share, in views.db (FTS5). The index follows the
 * files at each question: what is new or changed (time and size) is read, what is gone or not served any more is dropped, and
 * so are shares that are no more.
 */
import type { Json } from "../../../protocols/tool.ts";
import type { Tool } from "../registry.ts";
import type { ShareFolder, ShareLimits } from "../share.ts";
import { KinError } from "../../../protocols/errors.ts";
import { textResult } from "../output.ts";
import { openShare } from "../share.ts";
import { linesOf, SHARE_ARGUMENT } from "./file.ts";

export interface Statement {
  sql: string;
  args: (string | number)[];
}
type Row = { readonly [column: string]: unknown };

/** views.db, as `@libsql/client` opens it. */
export interface Views {
  execute(statement: string | Statement): Promise<{ rows: readonly Row[] }>;
  /** All in one transaction. */
  batch(statements: (string | Statement)[], mode: "write"): Promise<unknown>;
}

/** Larger files are data, not text that somebody reads. */
const MAX_INDEXED_BYTES = 512 * 1024;
/** Text of one share; what comes later in the alphabet is left out and said. */
const MAX_SHARE_BYTES = 128 * 1024 * 1024;
/** Lines that are one entry: a hit's neighbourhood. */
const BLOCK_LINES = 25;
/** Files that are written in one transaction. */
const FILES_PER_BATCH = 64;
const MAX_WORDS = 16;
const MAX_BLOCKS = 60;
const DEFAULT_HITS = 12;
const MAX_HITS = 50;
const LINES_PER_FILE = 3;
const MAX_SHOWN_LINE = 200;

const TABLES = [
  "CREATE TABLE IF NOT EXISTS library_files (share TEXT, root TEXT, path TEXT, mtime REAL, bytes INTEGER, first INTEGER, last INTEGER, PRIMARY KEY (share, path))",
  "CREATE VIRTUAL TABLE IF NOT EXISTS library_text USING fts5(text, parts, share UNINDEXED, path UNINDEXED, line UNINDEXED, tokenize = 'porter unicode61')",
];

/** What is asked in words is found by its other words. */
const FILLERS = new Set(
  "a an and any are as at be by can code do does did file files find for from had has have how i in is it its line me of on or our show tell that the their them there this to use used uses using was we what when where which who why will with you your defined definition about explain please search look".split(
    " ",
  ),
);

/** `views`: null as long as there is no mesh, so no views.db. */
export function libraryTool(limits: ShareLimits, views: () => Views | null, shareNames: () => readonly string[]): Tool {
  const libraries = new WeakMap<Views, Library>();
  return {
    name: "library.search",
    description: "Full-text search over a share.",
    readOnly: true,
    for: "agents",
    onShare: true,
    inputSchema: {
      type: "object",
      properties: {
        share: SHARE_ARGUMENT,
        question: { type: "string", maxLength: 65536 },
        max: { type: "integer", minimum: 1, maximum: MAX_HITS },
      },
      required: ["question"],
      additionalProperties: false,
    },
    async run({ args, share }, signal) {
      const words = wordsOf(args["question"] as string);
      if (words.length === 0)
        return textResult("Ask with the words to look for, for example: where is the ticket parsed?", { hits: [] });
      const folder = await openShare(share!, limits);
      const library = libraryOf(libraries, views());
      const state = await library.follow(folder, shareNames(), signal);
      const hits = await library.search(share!.name, words, (args["max"] as number | undefined) ?? DEFAULT_HITS);
      const tail =
        state.left > 0
          ? `\n(${state.left} files are left out: not text, over ${MAX_INDEXED_BYTES / 1024} KiB, or beyond the bound of a share)`
          : "";
      return textResult(hitsText(share!.name, words, hits, state.files) + tail, {
        hits,
        files: state.files,
      } as unknown as Json);
    },
  };
}

function libraryOf(libraries: WeakMap<Views, Library>, views: Views | null): Library {
  if (views === null) throw new KinError("NOT_IN_MESH", "there is no index yet: this node is in no mesh");
  const library = libraries.get(views) ?? createLibrary(views);
  libraries.set(views, library);
  return library;
}

export interface Hit {
  path: string;
  line: number;
  text: string;
}

export interface Library {
  /** Makes the index equal to what the share serves now. */
  follow(
    folder: ShareFolder,
    shareNames: readonly string[],
    signal: AbortSignal,
  ): Promise<{ files: number; left: number }>;
  search(share: string, words: readonly string[], max: number): Promise<Hit[]>;
}

export function createLibrary(views: Views): Library {
  let turn: Promise<unknown> = Promise.resolve();
  const ready = () => views.batch(TABLES, "write");
  return {
    follow(folder, shareNames, signal) {
      // One at a time: two that index the same files would write them twice.
      const mine = turn.then(async () => {
        await ready();
        await forgetShares(views, shareNames);
        return followShare(views, folder, signal);
      });
      turn = mine.catch(() => {});
      return mine;
    },
    async search(share, words, max) {
      const blocks = await matchingBlocks(views, share, words);
      return pickLines(blocks, words, max);
    },
  };
}

// — Following the files ————————————————————————————————————————————————————————————————————————————————————————————

interface Indexed {
  mtime: number;
  bytes: number;
  first: number;
  last: number;
}

async function followShare(
  views: Views,
  folder: ShareFolder,
  signal: AbortSignal,
): Promise<{ files: number; left: number }> {
  const share = folder.share.name;
  const known = await indexedFiles(views, share, folder.jail.root);
  const { paths } = await folder.list(signal);
  const kept = new Set<string>();
  const next = { row: await nextRow(views) };
  let total = 0;
  let batch: Statement[] = [];
  for (const path of paths) {
    signal.throwIfAborted();
    const file = await folder.look(path);
    if (file === null || file.bytes > MAX_INDEXED_BYTES || total + file.bytes > MAX_SHARE_BYTES) continue;
    const before = known.get(path);
    if (before === undefined || before.mtime !== file.mtimeMs || before.bytes !== file.bytes) {
      const statements = await indexFile(folder, path, file.bytes, next);
      if (statements === null) continue;
      if (before !== undefined) batch.push(...dropRows(share, path, before));
      batch.push(...statements);
    }
    kept.add(path);
    total += file.bytes;
    if (batch.length >= FILES_PER_BATCH * 4) batch = await write(views, batch);
  }
  for (const [path, before] of known) if (!kept.has(path)) batch.push(...dropRows(share, path, before));
  await write(views, batch);
  return { files: kept.size, left: paths.length - kept.size };
}

/** Null if the file is no text or not served. */
async function indexFile(
  folder: ShareFolder,
  path: string,
  bytes: number,
  next: { row: number },
): Promise<Statement[] | null> {
  const file = await folder.readListed(path).catch(() => null);
  if (file === null) return null;
  const lines = linesOf(file.text);
  const first = next.row;
  const statements: Statement[] = [];
  for (let at = 0; at < lines.length; at += BLOCK_LINES) {
    const text = lines.slice(at, at + BLOCK_LINES).join("\n");
    statements.push({
      sql: "INSERT INTO library_text (rowid, text, parts, share, path, line) VALUES (?, ?, ?, ?, ?, ?)",
      args: [next.row++, text, `${path} ${identifierParts(text)}`, folder.share.name, path, at + 1],
    });
  }
  statements.push({
    sql: "INSERT OR REPLACE INTO library_files (share, root, path, mtime, bytes, first, last) VALUES (?, ?, ?, ?, ?, ?, ?)",
    args: [folder.share.name, folder.jail.root, path, file.mtimeMs, bytes, first, next.row - 1],
  });
  return statements;
}

/** `openShareFolder` is found by `share`: the parts of its compound names. */
function identifierParts(text: string): string {
  const names = text.match(/[A-Za-z]+(?:[A-Z][a-z0-9]+)+/g) ?? [];
  return [...new Set(names)].map((name) => name.replace(/([a-z0-9])([A-Z])/g, "$1 $2")).join(" ");
}

/** A share of the same name on another folder is another one. */
async function indexedFiles(views: Views, share: string, root: string): Promise<Map<string, Indexed>> {
  const others = await views.execute({
    sql: "SELECT 1 FROM library_files WHERE share = ? AND root <> ? LIMIT 1",
    args: [share, root],
  });
  if (others.rows.length > 0) await dropShare(views, share);
  const { rows } = await views.execute({
    sql: "SELECT path, mtime, bytes, first, last FROM library_files WHERE share = ?",
    args: [share],
  });
  return new Map(
    rows.map((row) => [
      rowText(row, "path"),
      {
        mtime: Number(row["mtime"]),
        bytes: Number(row["bytes"]),
        first: Number(row["first"]),
        last: Number(row["last"]),
      },
    ]),
  );
}

async function forgetShares(views: Views, names: readonly string[]): Promise<void> {
  const { rows } = await views.execute("SELECT DISTINCT share FROM library_files");
  for (const row of rows) if (!names.includes(rowText(row, "share"))) await dropShare(views, rowText(row, "share"));
}

async function dropShare(views: Views, share: string): Promise<void> {
  await views.batch(
    [
      {
        sql: "DELETE FROM library_text WHERE rowid IN (SELECT t.rowid FROM library_text t WHERE t.share = ?)",
        args: [share],
      },
      { sql: "DELETE FROM library_files WHERE share = ?", args: [share] },
    ],
    "write",
  );
}

function dropRows(share: string, path: string, file: Indexed): Statement[] {
  return [
    { sql: "DELETE FROM library_text WHERE rowid BETWEEN ? AND ?", args: [file.first, file.last] },
    { sql: "DELETE FROM library_files WHERE share = ? AND path = ?", args: [share, path] },
  ];
}

async function nextRow(views: Views): Promise<number> {
  const { rows } = await views.execute("SELECT max(last) AS last FROM library_files");
  return Number(rows[0]?.["last"] ?? 0) + 1;
}

async function write(views: Views, batch: Statement[]): Promise<Statement[]> {
  if (batch.length > 0) await views.batch(batch, "write");
  return [];
}

// — Searching ——————————————————————————————————————————————————————————————————————————————————————————————————————

/** The words that matter, as FTS5 reads words. */
export function wordsOf(question: string): string[] {
  const all = question.match(/[\p{L}\p{N}_]+/gu) ?? [];
  const telling = all.filter((word) => !FILLERS.has(word.toLowerCase()));
  return [...new Set((telling.length > 0 ? telling : all).map((word) => word.toLowerCase()))].slice(0, MAX_WORDS);
}

interface Block {
  path: string;
  line: number;
  text: string;
}

/** All words first; if no place has them all, those that have most of them by rank. */
async function matchingBlocks(views: Views, share: string, words: readonly string[]): Promise<Block[]> {
  // Quoted, a word is never read as an operator of FTS5.
  const terms = words.map((word) => `"${word}"*`);
  for (const joint of [" AND ", " OR "]) {
    const { rows } = await views.execute({
      sql: "SELECT path, line, text FROM library_text WHERE library_text MATCH ? AND share = ? ORDER BY bm25(library_text, 2.0, 1.0) LIMIT ?",
      args: [terms.join(joint), share, MAX_BLOCKS],
    });
    if (rows.length > 0) return rows.map(blockOf);
  }
  return [];
}

function rowText(row: Row, column: string): string {
  const value = row[column];
  return typeof value === "string" ? value : "";
}

function blockOf(row: Row): Block {
  return { path: rowText(row, "path"), line: Number(row["line"]), text: rowText(row, "text") };
}

function pickLines(blocks: readonly Block[], words: readonly string[], max: number): Hit[] {
  const hits: Hit[] = [];
  const perFile = new Map<string, number>();
  for (const block of blocks) {
    const left = Math.min(LINES_PER_FILE - (perFile.get(block.path) ?? 0), max - hits.length);
    const best = bestLines(block, words).slice(0, Math.max(0, left));
    perFile.set(block.path, (perFile.get(block.path) ?? 0) + best.length);
    hits.push(...best);
  }
  return hits;
}

/** Lines with the most words of the question; a block that was found by its file's name shows its first line. */
function bestLines(block: Block, words: readonly string[]): Hit[] {
  const lines = block.text.split("\n").map((text, index) => ({
    path: block.path,
    line: block.line + index,
    text: text.trim().slice(0, MAX_SHOWN_LINE),
    score: score(text, words),
  }));
  const best = Math.max(...lines.map((line) => line.score));
  const chosen =
    best === 0
      ? lines.filter((line) => line.text !== "").slice(0, 1)
      : lines.filter((line) => line.score === best).slice(0, 2);
  return chosen.map(({ path, line, text }) => ({ path, line, text }));
}

function score(text: string, words: readonly string[]): number {
  const lower = text.toLowerCase();
  return words.filter(
    (word) => lower.includes(word) || (word.length > 4 && lower.includes(word.replace(/(?:ing|ed|es|s)$/, ""))),
  ).length;
}

function count(files: number): string {
  return `${files} ${files === 1 ? "file" : "files"}`;
}

function hitsText(share: string, words: readonly string[], hits: readonly Hit[], files: number): string {
  const asked = words.join(" ");
  if (hits.length === 0) return `Nothing about "${asked}" in the ${count(files)} of "${share}".`;
  return [
    `"${asked}" in ${share} (${count(files)}):`,
    ...hits.map((hit) => `  ${hit.path}:${hit.line}: ${hit.text}`),
  ].join("\n");
}

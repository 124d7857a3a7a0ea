/**
 * Reads a unified diff, as `git diff` and `diff -u` print it. Pure and bounded. Hunks are consumed by their counts, so a removed
 * line that reads `-- a/x` (printed `--- a/x`) is not taken for a new file.
 */

/** Lines of one diff that are looked at. */
export const MAX_DIFF_LINES = 200_000;

export interface AddedLine {
  /** Line in the new file, from 1. */
  line: number;
  text: string;
}

export interface DiffFile {
  /** In the new version; of a deleted file in the old one. */
  path: string;
  status: "added" | "modified" | "deleted" | "renamed";
  binary: boolean;
  addedLines: AddedLine[];
  added: number;
  removed: number;
  /** The last line of the new file that the diff shows: it has at least so many. */
  reaches: number;
}

const HUNK = /^@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@/;

export function looksLikeDiff(text: string): boolean {
  return /^diff --git \S|^--- [^\n]+\n\+\+\+ [^\n]+\n@@ -\d/m.test(text.replaceAll("\r\n", "\n"));
}

export function parseDiff(text: string): DiffFile[] {
  const lines = text.split("\n", MAX_DIFF_LINES).map((line) => line.replace(/\r$/, ""));
  const files: DiffFile[] = [];
  let file: DiffFile | undefined;
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at]!;
    const hunk = HUNK.exec(line);
    if (line.startsWith("diff --git ")) files.push((file = newFile(gitPath(line))));
    else if (hunk !== null && file !== undefined) at = readHunk(lines, at + 1, hunk, file);
    else if (line.startsWith("--- ") && lines[at + 1]?.startsWith("+++ ") === true) {
      // Without a `diff --git` line these two begin a file.
      if (file === undefined || file.added + file.removed > 0) files.push((file = newFile("")));
      readPaths(file, line, lines[++at]!);
    } else if (file !== undefined) readHeader(file, line);
  }
  return files.filter((file) => file.path !== "");
}

function newFile(path: string): DiffFile {
  return { path, status: "modified", binary: false, addedLines: [], added: 0, removed: 0, reaches: 0 };
}

function readPaths(file: DiffFile, before: string, after: string): void {
  const [old, now] = [sidePath(before.slice(4)), sidePath(after.slice(4))];
  if (old === null && now !== null) file.status = "added";
  if (now === null && old !== null) file.status = "deleted";
  file.path = now ?? old ?? file.path;
}

function readHeader(file: DiffFile, line: string): void {
  if (line.startsWith("new file mode ")) file.status = "added";
  else if (line.startsWith("deleted file mode ")) file.status = "deleted";
  else if (line.startsWith("rename to ")) Object.assign(file, { status: "renamed", path: unquote(line.slice(10)) });
  else if (line.startsWith("Binary files ") || line === "GIT binary patch") file.binary = true;
}

/** @returns the index of the hunk's last line */
function readHunk(lines: readonly string[], start: number, header: RegExpExecArray, file: DiffFile): number {
  let before = Number(header[1] ?? 1);
  let after = Number(header[3] ?? 1);
  let line = Number(header[2]);
  let at = start;
  for (; at < lines.length && (before > 0 || after > 0); at++) {
    const text = lines[at]!;
    if (text.startsWith("\\")) continue; // "\ No newline at end of file"
    if (text.startsWith("+")) {
      file.addedLines.push({ line, text: text.slice(1) });
      file.added++;
      after--;
      line++;
    } else if (text.startsWith("-")) {
      file.removed++;
      before--;
    } else {
      before--;
      after--;
      line++;
    }
  }
  file.reaches = Math.max(file.reaches, line - 1);
  return at - 1;
}

/** The new path of `diff --git a/x b/x`. With blanks in it only equal halves are sure; `+++` and `rename to` say it better. */
function gitPath(line: string): string {
  const rest = line.slice("diff --git ".length);
  const quoted = / "((?:[^"\\]|\\.)*)"$/.exec(rest);
  if (quoted !== null) return stripSide(unquote(`"${quoted[1]}"`));
  const half = rest.slice((rest.length + 1) / 2);
  return stripSide(
    rest.startsWith("a/") && half.startsWith("b/") && rest.slice(2, (rest.length - 1) / 2) === half.slice(2)
      ? half
      : (rest.split(" ").at(-1) ?? rest),
  );
}

/** Null for /dev/null. A tab begins a time stamp (`diff -u`). */
function sidePath(text: string): string | null {
  const path = unquote(text.split("\t")[0]!.trimEnd());
  return path === "/dev/null" ? null : stripSide(path);
}

function stripSide(path: string): string {
  return path.replace(/^[abciow]\//, "");
}

const ESCAPES: Record<string, string> = { n: "\n", t: "\t", r: "\r", a: "\u0007", b: "\b", f: "\f", v: "\v" };

/** git's C-style quotes: `"a\ttab\303\244"`. */
function unquote(text: string): string {
  if (!text.startsWith('"') || !text.endsWith('"') || text.length < 2) return text;
  const bytes = text.slice(1, -1).replace(/\\([0-7]{3}|.)|[^\\]+/g, (piece, escape: string | undefined) => {
    if (escape === undefined) return Buffer.from(piece).toString("latin1");
    return /^[0-7]{3}$/.test(escape)
      ? String.fromCharCode(Number.parseInt(escape, 8) & 0xff)
      : (ESCAPES[escape] ?? escape);
  });
  return Buffer.from(bytes, "latin1").toString("utf8");
}

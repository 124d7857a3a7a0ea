/** `git.log` and `git.diff` on a share. How git is kept from running anything: `repository.ts`. */
import type { Json } from "../../../protocols/tool.ts";
import type { Arguments, Tool } from "../registry.ts";
import type { Git } from "../repository.ts";
import type { ShareFolder, ShareLimits } from "../share.ts";
import { KinError } from "../../../protocols/errors.ts";
import { holdsPrivateKey, pathRefusal } from "../jail.ts";
import { textResult } from "../output.ts";
import { textArgument } from "../registry.ts";
import { openShare } from "../share.ts";
import { SHARE_ARGUMENT } from "./file.ts";

const DEFAULT_COMMITS = 10;
const MAX_COMMITS = 200;
/** A diff over this is cut at a file's end; the list of files stays whole. */
const MAX_DIFF_BYTES = 1024 * 1024;
/** Files of one diff that are named. */
const MAX_DIFF_FILES = 5000;
/** Files that are left out by name: they go to git as arguments. */
const MAX_EXCLUDED = 500;
/** Files whose length is counted. */
const MAX_COUNTED = 400;
/** As `from`: nothing, so that all files of `to` are new. git writes a missing commit so. */
export const NOTHING = "0".repeat(40);
/** A commit's message in the answer. */
const MAX_BODY_CHARS = 2000;

/** A branch, tag or hash with ~ and ^. No `:` (a file in a commit), no `@{…}`, no `^{/…}`, nothing that begins like an option. */
const REVISION = "^[A-Za-z0-9_][A-Za-z0-9_./+-]*(?:[~^][0-9]*)*$";
const REVISION_ARGUMENT = { type: "string", maxLength: 200, pattern: REVISION } as const;
const PATH_ARGUMENT = {
  type: "string",
  minLength: 1,
  maxLength: 4096,
  description: "Only this file or folder, relative to the share.",
} as const;

export interface Commit {
  hash: string;
  parents: string[];
  author: string;
  /** ISO 8601, as the author's clock said. */
  at: string;
  subject: string;
  body: string;
}

export interface ChangedFile {
  path: string;
  status: "added" | "modified" | "deleted" | "renamed";
  /** Null for binary files. */
  added: number | null;
  removed: number | null;
  /** Lines it has afterwards; null if it is binary or gone, or too many files changed. */
  lines: number | null;
}

export function gitTools(limits: ShareLimits): Tool[] {
  return [logTool(limits), diffTool(limits)];
}

function logTool(limits: ShareLimits): Tool {
  return {
    name: "git.log",
    description: "The last commits of a share, newest first.",
    readOnly: true,
    for: "share-people",
    onShare: true,
    inputSchema: {
      type: "object",
      properties: {
        share: SHARE_ARGUMENT,
        max: {
          type: "integer",
          minimum: 1,
          maximum: MAX_COMMITS,
          description: `How many; ${DEFAULT_COMMITS} if not said.`,
        },
        path: PATH_ARGUMENT,
        since: {
          type: "string",
          maxLength: 64,
          pattern: "^[A-Za-z0-9 :.,+/-]+$",
          description: 'A date, "2 weeks ago", "yesterday".',
        },
        from: { ...REVISION_ARGUMENT, description: "Only what came after this branch, tag or commit." },
        to: { ...REVISION_ARGUMENT, description: "Up to this branch, tag or commit; HEAD if not said." },
      },
      additionalProperties: false,
    },
    async run({ args, share }, signal) {
      const folder = await openShare(share!, limits);
      const commits = await folder.git(signal, async (git) => readLog(git, args));
      const text =
        commits.length === 0
          ? `No commits${args["since"] === undefined ? "" : ` since ${textArgument(args, "since")}`} in "${share!.name}".`
          : commits.map(commitText).join("\n");
      return textResult(text, { commits } as unknown as Json);
    },
  };
}

async function readLog(git: Git, args: Arguments): Promise<Commit[]> {
  if (!(await hasCommits(git))) return [];
  const to = await resolveCommit(git, (args["to"] as string | undefined) ?? "HEAD");
  const range = args["from"] === undefined ? [to] : [to, `^${await resolveCommit(git, args["from"] as string)}`];
  const { text } = await git([
    "log",
    "-z",
    "--no-show-signature",
    "--no-mailmap",
    "--no-color",
    "--no-notes",
    "--no-ext-diff",
    "--no-textconv",
    "--format=tformat:%H%x00%P%x00%an%x00%aI%x00%s%x00%b",
    `--max-count=${(args["max"] as number | undefined) ?? DEFAULT_COMMITS}`,
    ...(args["since"] === undefined ? [] : [`--since=${textArgument(args, "since")}`]),
    "--end-of-options",
    ...range,
    "--",
    ...pathspec(args),
  ]);
  const fields = text.split("\0");
  const commits: Commit[] = [];
  for (let at = 0; at + 5 < fields.length; at += 6)
    commits.push({
      hash: fields[at]!,
      parents: fields[at + 1]!.split(" ").filter((hash) => hash !== ""),
      author: fields[at + 2]!,
      at: fields[at + 3]!,
      subject: fields[at + 4]!,
      body: fields[at + 5]!.trim().slice(0, MAX_BODY_CHARS),
    });
  return commits;
}

function commitText(commit: Commit): string {
  const head = `${commit.hash.slice(0, 10)}  ${commit.at.slice(0, 16).replace("T", " ")}  ${commit.author}  ${commit.subject}`;
  const body = commit.body.split("\n").filter((line) => line.trim() !== "");
  return [head, ...body.map((line) => `    ${line}`)].join("\n");
}

function diffTool(limits: ShareLimits): Tool {
  return {
    name: "git.diff",
    description:
      "What changed in a share. Only `to`: what that commit changed. Only `from`: from there to the files as they are now. Neither: what isn't committed yet. 40 zeros as `from`: from nothing.",
    readOnly: true,
    for: "share-people",
    onShare: true,
    inputSchema: {
      type: "object",
      properties: { share: SHARE_ARGUMENT, from: REVISION_ARGUMENT, to: REVISION_ARGUMENT, path: PATH_ARGUMENT },
      additionalProperties: false,
    },
    async run({ args, share }, signal) {
      const folder = await openShare(share!, limits);
      const diff = await folder.git(signal, (git) => readDiff(git, folder, args, signal));
      const notes = diff.omitted.length === 0 ? "" : `# left out, never served: ${diff.omitted.join(", ")}\n`;
      const cut = diff.cut ? `# the diff is over ${MAX_DIFF_BYTES} bytes; what follows is its beginning\n` : "";
      const { patch, ...rest } = diff;
      return textResult(notes + cut + (patch === "" ? "# no change" : patch), rest as unknown as Json);
    },
  };
}

export interface Diff {
  patch: string;
  /** True: `patch` ends before the last file. */
  cut: boolean;
  files: ChangedFile[];
  /** Paths whose content is never served. */
  omitted: string[];
  /** New files that git does not track, when the other side is the work tree. */
  untracked: string[];
}

async function readDiff(git: Git, folder: ShareFolder, args: Arguments, signal: AbortSignal): Promise<Diff> {
  const sides = await diffSides(git, args);
  const common = [
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--ignore-submodules=all",
    "--submodule=short",
    "--relative",
  ];
  const where = ["--end-of-options", ...sides, "--", ...pathspec(args)];
  const names = parseNames((await git(["diff", ...common, "--name-status", "--no-renames", "-z", ...where])).text);
  const omitted = [...(await folder.refused([...names.keys()], signal))].toSorted();
  if (omitted.length > MAX_EXCLUDED)
    throw new KinError("TOO_LARGE", `${omitted.length} of the changed files are never served; ask for one path`);
  const visible = [...where, ...omitted.map((path) => `:(exclude,literal)${path}`)];
  const counted = (await git(["diff", ...common, "--numstat", "-M", "-z", ...visible])).text;
  const printed = await git(["diff", ...common, "-M", "--src-prefix=a/", "--dst-prefix=b/", "--patch", ...visible], {
    maxBytes: MAX_DIFF_BYTES,
  });
  const sections = splitPatch(printed.text, printed.cut);
  const keys = sections.filter((section) => holdsPrivateKey(section.text));
  const untracked = args["to"] === undefined ? await untrackedFiles(git, args) : [];
  return {
    patch: sections
      .filter((section) => !keys.includes(section))
      .map((section) => section.text)
      .join(""),
    cut: printed.cut,
    files: await withLengths(git, common, sides, parseCounts(counted, names)),
    omitted: [...omitted, ...keys.map((section) => section.path)],
    untracked: untracked.filter((path) => pathRefusal(path) === null),
  };
}

/** Compared with nothing, the added lines of a file are all that it has. */
async function withLengths(
  git: Git,
  common: readonly string[],
  sides: readonly string[],
  files: ChangedFile[],
): Promise<ChangedFile[]> {
  const there = files
    .filter((file) => file.status !== "deleted" && file.added !== null)
    .map((file) => `:(literal)${file.path}`);
  if (there.length === 0 || there.length > MAX_COUNTED) return files;
  const against = [await emptyTree(git), ...sides.slice(1)];
  const { text } = await git([
    "diff",
    ...common,
    "--numstat",
    "--no-renames",
    "-z",
    "--end-of-options",
    ...against,
    "--",
    ...there,
  ]);
  const lengths = new Map(parseCounts(text, new Map()).map((file) => [file.path, file.added]));
  return files.map((file) => ({ ...file, lines: lengths.get(file.path) ?? null }));
}

/** Only hashes go on: a name that could be read as something else never reaches `git diff`. */
async function diffSides(git: Git, args: Arguments): Promise<string[]> {
  const [from, to] = [args["from"] as string | undefined, args["to"] as string | undefined];
  if (from === NOTHING) return [await emptyTree(git), await resolveCommit(git, to ?? "HEAD")];
  if (from !== undefined && to !== undefined) return [await resolveCommit(git, from), await resolveCommit(git, to)];
  if (from !== undefined) return [await resolveCommit(git, from)];
  if (to === undefined) return [(await hasCommits(git)) ? await resolveCommit(git, "HEAD") : await emptyTree(git)];
  const commit = await resolveCommit(git, to);
  const parents = (await git(["rev-list", "--parents", "--max-count=1", "--end-of-options", commit])).text
    .trim()
    .split(" ")
    .slice(1);
  return [parents[0] ?? (await emptyTree(git)), commit];
}

/** @throws KinError INVALID_ARGUMENTS if there is no such commit. */
export async function resolveCommit(git: Git, revision: string): Promise<string> {
  if (!new RegExp(REVISION).test(revision))
    throw new KinError("INVALID_ARGUMENTS", `"${revision}" does not name a commit`);
  const { text } = await git(["rev-parse", "--verify", "--quiet", "--end-of-options", `${revision}^{commit}`], {
    codes: [1, 128],
  });
  const hash = text.trim();
  if (!/^[0-9a-f]{40,64}$/.test(hash))
    throw new KinError("INVALID_ARGUMENTS", `there is no commit "${revision}" in this repository`);
  return hash;
}

export async function hasCommits(git: Git): Promise<boolean> {
  return (await git(["rev-parse", "--verify", "--quiet", "HEAD"], { codes: [1, 128] })).text.trim() !== "";
}

/** The tree without files, by its hash: it needs not exist in the repository. */
async function emptyTree(git: Git): Promise<string> {
  return (await git(["hash-object", "-t", "tree", "--stdin"], { input: "" })).text.trim();
}

async function untrackedFiles(git: Git, args: Arguments): Promise<string[]> {
  const { text } = await git(["ls-files", "-z", "--others", "--exclude-standard", "--", ...pathspec(args)]);
  return text
    .split("\0")
    .filter((path) => path !== "")
    .slice(0, MAX_DIFF_FILES);
}

/** @throws KinError DENIED for a path that is never served. */
function pathspec(args: Arguments): string[] {
  const path = args["path"] as string | undefined;
  if (path === undefined) return ["."];
  const why = pathRefusal(path);
  if (why !== null) throw new KinError("DENIED", `"${path.slice(0, 200)}" is not served: ${why}`);
  return [`:(literal)${path}`];
}

const STATUS: Record<string, ChangedFile["status"]> = { A: "added", D: "deleted" };

function parseNames(text: string): Map<string, ChangedFile["status"]> {
  const fields = text.split("\0");
  const names = new Map<string, ChangedFile["status"]>();
  for (let at = 0; at + 1 < fields.length; at += 2) names.set(fields[at + 1]!, STATUS[fields[at]!] ?? "modified");
  return names;
}

/** `added\tremoved\tpath\0`, and for a rename `added\tremoved\t\0from\0to\0`. */
function parseCounts(text: string, names: ReadonlyMap<string, ChangedFile["status"]>): ChangedFile[] {
  const fields = text.split("\0");
  const files: ChangedFile[] = [];
  for (let at = 0; at < fields.length && files.length < MAX_DIFF_FILES; at++) {
    const [added, removed, path] = fields[at]!.split("\t");
    if (added === undefined || removed === undefined || path === undefined) continue;
    const counts = {
      added: added === "-" ? null : Number(added),
      removed: removed === "-" ? null : Number(removed),
      lines: null,
    };
    if (path !== "") files.push({ path, status: names.get(path) ?? "modified", ...counts });
    else files.push({ path: fields[(at += 2)]!, status: "renamed", ...counts });
  }
  return files;
}

interface Section {
  path: string;
  text: string;
}

/** One section a file. The last one of a cut patch is left out: half a file would be judged wrongly. */
export function splitPatch(patch: string, cut: boolean): Section[] {
  const texts = patch.split(/^(?=diff --git )/m).filter((text) => text !== "");
  const whole = cut && texts.length > 1 ? texts.slice(0, -1) : texts;
  return whole.map((text) => ({
    text,
    path: /^\+\+\+ b\/(.*)$/m.exec(text)?.[1] ?? /^diff --git a\/.* b\/(.*)$/m.exec(text)?.[1] ?? "a file",
  }));
}

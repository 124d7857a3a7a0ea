/**
 * The steps of the agent `reviewer`, as tools that only agents may call:
 *
 *   review.input    question and attachments → is it about an attached diff, an attached text, or the share?
 *   review.scope    question and share → which commits, and what can't be known (no repository, shallow clone, no commit)
 *   review.digest   log and diff → what changed, in order
 *   review.findings diff → what stands out, with file and line
 */
import type { Json, ToolResult } from "../../../protocols/tool.ts";
import type { Tool } from "../registry.ts";
import type { Git } from "../repository.ts";
import type { ShareFolder, ShareLimits } from "../share.ts";
import type { DiffFile } from "./diff.ts";
import type { Finding } from "./findings.ts";
import type { ChangedFile, Commit } from "./git.ts";
import { textResult } from "../output.ts";
import { textArgument } from "../registry.ts";
import { openShare } from "../share.ts";
import { looksLikeDiff, parseDiff } from "./diff.ts";
import { SHARE_ARGUMENT } from "./file.ts";
import { findings, MAX_FILE_LINES } from "./findings.ts";
import { hasCommits, NOTHING, resolveCommit } from "./git.ts";

/** Commits that one review covers. */
const MAX_REVIEWED = 50;
/** What a digest and a list of findings show; the rest is counted. */
const SHOWN_COMMITS = 20;
const SHOWN_FILES = 40;
const SHOWN_FINDINGS = 100;
const MAX_TEXT = 2 * 1024 * 1024;

export function reviewTools(limits: ShareLimits): Tool[] {
  return [inputTool(), scopeTool(limits), digestTool(), findingsTool()];
}

const INSIDE = { readOnly: true, for: "agents" } as const;
const TEXT = { type: "string", maxLength: MAX_TEXT } as const;

// — review.input ———————————————————————————————————————————————————————————————————————————————————————————————————

function inputTool(): Tool {
  return {
    ...INSIDE,
    name: "review.input",
    description: "Finds out whether a question comes with a diff or a text of its own.",
    onShare: false,
    inputSchema: { type: "object", properties: { question: TEXT, attached: TEXT }, additionalProperties: false },
    run({ args }) {
      const [question, attached] = [textArgument(args, "question"), textArgument(args, "attached")];
      const diff = [attached, question].find(looksLikeDiff);
      if (diff !== undefined) return answer({ repository: false, diff, what: "The attached diff" });
      if (attached.trim() === "") return answer({ repository: true, diff: null, what: null });
      return answer({ repository: false, diff: asNewFile(attached), what: "The attached text" });
    },
  };
}

/** A text is looked at as a new file. */
function asNewFile(text: string): string {
  const lines = text.replace(/\n$/, "").split("\n");
  return `--- /dev/null\n+++ b/attachment\n@@ -0,0 +1,${lines.length} @@\n${lines.map((line) => `+${line}`).join("\n")}\n`;
}

// — review.scope ———————————————————————————————————————————————————————————————————————————————————————————————————

/** What a question asks about. */
export type Asked =
  | { about: "commits"; count: number; said: boolean }
  | { about: "uncommitted" }
  | { about: "since"; since: string }
  | { about: "range"; from: string; to: string }
  | { about: "commit"; commit: string };

const NUMBERS: Record<string, number> = {
  two: 2,
  three: 3,
  four: 4,
  five: 5,
  six: 6,
  seven: 7,
  eight: 8,
  nine: 9,
  ten: 10,
};

/** Reads the question; whatever it does not say means the last commit. Pure. */
export function readQuestion(question: string): Asked {
  const text = question.toLowerCase().replace(/\s+/g, " ");
  const range = /\b([\w./~^-]*[\w/~^-])\.{2,3}(\w[\w./~^-]*)/.exec(question);
  if (range !== null) return { about: "range", from: range[1]!, to: range[2]! };
  const between = /\bbetween ([\w./~^-]+) and ([\w./~^-]*[\w~^])/i.exec(question);
  if (between !== null) return { about: "range", from: between[1]!, to: between[2]! };
  const many =
    /\b(?:last|latest|past|recent|newest) (\d{1,3}|two|three|four|five|six|seven|eight|nine|ten) (?:commits?|changes|patches)\b/.exec(
      text,
    )?.[1];
  if (many !== undefined)
    return { about: "commits", count: Math.max(1, Math.min(MAX_REVIEWED, NUMBERS[many] ?? Number(many))), said: true };
  const since = sinceOf(text);
  if (since !== null) return { about: "since", since };
  if (
    /\b(?:uncommitted|not (?:yet )?committed|unstaged|staged|work(?:ing)? ?tree|working (?:copy|directory)|pending|local) ?/.test(
      text,
    ) &&
    /\bchange|\bdiff|\bcommit|\bwork|\bstaged|\bedit/.test(text)
  )
    return { about: "uncommitted" };
  const hash = /\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b/.exec(text)?.[0];
  if (hash !== undefined) return { about: "commit", commit: hash };
  return { about: "commits", count: 1, said: /\b(?:last|latest|most recent|newest|head)\b/.test(text) };
}

function sinceOf(text: string): string | null {
  const unit =
    /\b(?:since|in|over|during|within|from)? ?(?:the )?(?:last|past) (\d{1,3} )?(hours?|days?|weeks?|months?)\b/.exec(
      text,
    );
  if (unit !== null) return `${unit[1]?.trim() ?? "1"} ${unit[2]} ago`;
  const ago =
    /\bsince (\d{1,4} (?:minutes?|hours?|days?|weeks?|months?|years?)(?: ago)?|\d{4}-\d{2}-\d{2}|yesterday|(?:mon|tues|wednes|thurs|fri|satur|sun)day|last week)\b/.exec(
      text,
    );
  if (ago !== null) return /^\d+ \D+$/.test(ago[1]!) && !ago[1]!.endsWith("ago") ? `${ago[1]} ago` : ago[1]!;
  if (/\btoday\b/.test(text)) return "midnight";
  if (/\byesterday\b/.test(text)) return "yesterday.midnight";
  return /\bthis week\b/.test(text) ? "last sunday" : null;
}

interface Scope {
  /** Null: there is nothing to review; `nothing` says why. */
  found: true | null;
  nothing: string | null;
  /** "the last commit of app" */
  what: string;
  note: string;
  /** Null: the work tree against HEAD. */
  to: string | null;
  from: string | null;
  /** Commits to list; 0 for the work tree. */
  commits: number;
  logFrom: string | null;
  /** True: files as a whole, since what was before is not known. */
  whole: boolean;
}

const EMPTY: Scope = {
  found: true,
  nothing: null,
  what: "",
  note: "",
  to: null,
  from: null,
  commits: 0,
  logFrom: null,
  whole: false,
};

function nothing(why: string): Scope {
  return { ...EMPTY, found: null, nothing: why };
}

function scopeTool(limits: ShareLimits): Tool {
  return {
    ...INSIDE,
    name: "review.scope",
    description: "Finds the commits that a question is about.",
    onShare: true,
    inputSchema: { type: "object", properties: { share: SHARE_ARGUMENT, question: TEXT }, additionalProperties: false },
    async run({ args, share }, signal) {
      const folder = await openShare(share!, limits);
      if (folder.repository === null)
        return answer(
          nothing(
            `The share "${share!.name}" has no history to review: ${folder.noRepository}. Ask the librarian about its files.`,
          ) as unknown as Json,
        );
      const scope = await folder.git(signal, (git) =>
        findScope(git, folder, readQuestion(textArgument(args, "question"))),
      );
      return answer(scope as unknown as Json);
    },
  };
}

async function findScope(git: Git, folder: ShareFolder, asked: Asked): Promise<Scope> {
  const name = folder.share.name;
  if (!(await hasCommits(git))) return nothing(`The repository in "${name}" has no commit yet.`);
  switch (asked.about) {
    case "uncommitted":
      return { ...EMPTY, what: `What is not committed yet in ${name}`, from: "HEAD" };
    case "range": {
      const [from, to] = [await commitOrNull(git, asked.from), await commitOrNull(git, asked.to)];
      if (from === null || to === null) return unnamed(git, name, from === null ? asked.from : asked.to);
      return {
        ...EMPTY,
        what: `From ${asked.from} to ${asked.to} in ${name}`,
        to,
        from,
        commits: SHOWN_COMMITS,
        logFrom: from,
      };
    }
    case "commit": {
      const to = await commitOrNull(git, asked.commit);
      return to === null
        ? unnamed(git, name, asked.commit)
        : before(git, to, 1, `Commit ${to.slice(0, 10)} of ${name}`);
    }
    case "since":
      return sinceScope(git, name, asked.since);
    case "commits":
      return before(
        git,
        "HEAD",
        asked.count,
        `The last ${asked.count === 1 ? "commit" : `${asked.count} commits`} of ${name}`,
      );
  }
}

async function sinceScope(git: Git, name: string, since: string): Promise<Scope> {
  const args = ["rev-list", "--first-parent", `--since=${since}`, `--max-count=${MAX_REVIEWED + 1}`, "HEAD", "--", "."];
  const hashes = (await git(args)).text.split("\n").filter((hash) => hash !== "");
  if (hashes.length === 0) return nothing(`No commits in "${name}" since ${since}.`);
  const scope = await reach(git, hashes[0]!, hashes.slice(0, MAX_REVIEWED).at(-1)!, `Since ${since} in ${name}`);
  const cut = hashes.length > MAX_REVIEWED ? `Only the newest ${MAX_REVIEWED} commits were looked at.` : "";
  return { ...scope, note: join(scope.note, cut, notListed(hashes.length)) };
}

function notListed(count: number): string {
  return count > SHOWN_COMMITS ? `The newest ${SHOWN_COMMITS} are listed; the files are those of all.` : "";
}

async function commitOrNull(git: Git, revision: string): Promise<string | null> {
  return resolveCommit(git, revision).catch(() => null);
}

/** What looked like a commit may be a word of the question: say so and show the last one. */
async function unnamed(git: Git, name: string, revision: string): Promise<Scope> {
  const scope = await before(git, "HEAD", 1, `The last commit of ${name}`);
  return { ...scope, note: join(`There is no commit "${revision}" in ${name}; this is the last one.`, scope.note) };
}

/** The last `count` commits up to `end` that touch the share. */
async function before(git: Git, end: string, count: number, what: string): Promise<Scope> {
  const list = (
    await git(["rev-list", "--first-parent", `--max-count=${count}`, "--end-of-options", end, "--", "."])
  ).text.trim();
  const hashes = list === "" ? [await resolveCommit(git, end)] : list.split("\n");
  const scope = await reach(git, hashes[0]!, hashes.at(-1)!, what);
  const few = hashes.length < count && !scope.whole ? `There are only ${hashes.length} commits.` : "";
  return { ...scope, note: join(scope.note, few, notListed(hashes.length)) };
}

/** From before `oldest` to `newest`. In a shallow clone what was before the oldest may not be here. */
async function reach(git: Git, newest: string, oldest: string, what: string): Promise<Scope> {
  const parents = (await git(["rev-list", "--parents", "--max-count=1", "--end-of-options", oldest])).text
    .trim()
    .split(" ")
    .slice(1);
  const base: Scope = { ...EMPTY, what, to: newest, commits: SHOWN_COMMITS };
  if (parents.length > 1 && newest === oldest)
    return {
      ...base,
      note: "It is a merge; this is what it brought to the branch.",
      from: parents[0]!,
      logFrom: parents[0]!,
    };
  if (parents.length > 0) return { ...base, note: "", from: parents[0]!, logFrom: parents[0]! };
  const cut = /^parent /m.test((await git(["cat-file", "commit", oldest])).text.split("\n\n")[0]!);
  if (!cut)
    return {
      ...base,
      note: newest === oldest ? "It is the first commit: everything in it is new." : "",
      from: NOTHING,
      logFrom: null,
    };
  const note = `This is a shallow clone: the commit before ${oldest.slice(0, 10)} is not here, so what changed can't be told. These are the files as they stand.`;
  return { ...base, note, from: NOTHING, logFrom: null, whole: true, commits: newest === oldest ? 1 : SHOWN_COMMITS };
}

// — review.digest ——————————————————————————————————————————————————————————————————————————————————————————————————

function digestTool(): Tool {
  return {
    ...INSIDE,
    name: "review.digest",
    description: "Says what changed, from a log and a diff.",
    onShare: false,
    inputSchema: {
      type: "object",
      properties: {
        what: TEXT,
        note: TEXT,
        commits: { type: "array" },
        diff: TEXT,
        change: { type: "object" },
        whole: { type: "boolean" },
      },
      required: ["what"],
      additionalProperties: false,
    },
    run({ args }) {
      const change = args["change"] as
        | { files: ChangedFile[]; omitted: string[]; untracked: string[]; cut: boolean }
        | undefined;
      const files = change?.files ?? parseDiff(textArgument(args, "diff")).map(asChanged);
      const lines = [
        `## ${textArgument(args, "what")}`,
        ...paragraph(textArgument(args, "note")),
        ...commitLines((args["commits"] ?? []) as unknown as Commit[]),
        ...fileLines(files, args["whole"] === true),
        ...(change === undefined ? [] : leftOut(change)),
      ];
      return Promise.resolve(textResult(`${lines.join("\n")}\n`));
    },
  };
}

function asChanged(file: DiffFile): ChangedFile {
  return {
    path: file.path,
    status: file.status,
    added: file.binary ? null : file.added,
    removed: file.binary ? null : file.removed,
    lines: null,
  };
}

function paragraph(text: string): string[] {
  return text === "" ? [] : ["", text];
}

function commitLines(commits: readonly Commit[]): string[] {
  const shown = commits.slice(0, SHOWN_COMMITS).flatMap((commit) => {
    const body =
      commits.length === 1
        ? commit.body
            .split("\n")
            .filter((line) => line.trim() !== "")
            .slice(0, 12)
        : [];
    return [
      `${commit.hash.slice(0, 10)} ${commit.at.slice(0, 16).replace("T", " ")} ${commit.author}: ${commit.subject}`,
      ...body.map((line) => `  ${line}`),
    ];
  });
  return shown.length === 0 ? [] : ["", ...shown];
}

const MARKS: Record<ChangedFile["status"], string> = {
  added: "new",
  modified: "",
  deleted: "deleted",
  renamed: "renamed",
};

function fileLines(files: readonly ChangedFile[], whole: boolean): string[] {
  if (files.length === 0) return ["", "No file changed."];
  const sum = (of: "added" | "removed") => files.reduce((total, file) => total + (file[of] ?? 0), 0);
  const title = whole
    ? `${plural(files.length, "file")}, ${sum("added")} lines:`
    : `${plural(files.length, "file")} changed, +${sum("added")} −${sum("removed")}:`;
  const shown = files.length <= SHOWN_FILES ? files : files.toSorted((a, b) => size(b) - size(a)).slice(0, SHOWN_FILES);
  const width = Math.min(60, Math.max(...shown.map((file) => file.path.length)));
  const rows = shown.map((file) => `  ${file.path.padEnd(width)}  ${amount(file, whole)}`.trimEnd());
  const rest = files.length - shown.length;
  return ["", title, ...rows, ...(rest > 0 ? [`  … and ${plural(rest, "smaller one")}`] : [])];
}

function amount(file: ChangedFile, whole: boolean): string {
  if (file.added === null) return `binary ${whole ? "" : MARKS[file.status]}`.trimEnd();
  return whole ? `${file.added} lines` : `+${file.added} −${file.removed ?? 0}  ${MARKS[file.status]}`;
}

function size(file: ChangedFile): number {
  return (file.added ?? 0) + (file.removed ?? 0);
}

function leftOut(change: { omitted: string[]; untracked: string[]; cut: boolean }): string[] {
  const lines: string[] = [];
  if (change.omitted.length > 0)
    lines.push(`Left out, never served: ${change.omitted.slice(0, SHOWN_FILES).join(", ")}`);
  if (change.untracked.length > 0)
    lines.push(`New and not added to git, so not in the diff: ${change.untracked.slice(0, SHOWN_FILES).join(", ")}`);
  if (change.cut) lines.push("The diff is very large: the findings are about its first part only.");
  return lines.length === 0 ? [] : ["", ...lines];
}

// — review.findings ————————————————————————————————————————————————————————————————————————————————————————————————

function findingsTool(): Tool {
  return {
    ...INSIDE,
    name: "review.findings",
    description: "Finds what stands out in a diff, by patterns.",
    onShare: false,
    inputSchema: {
      type: "object",
      properties: { diff: TEXT, change: { type: "object" }, whole: { type: "boolean" } },
      required: ["diff"],
      additionalProperties: false,
    },
    run({ args }) {
      const files = parseDiff(args["diff"] as string);
      const changed = (args["change"] as { files: ChangedFile[] } | undefined)?.files ?? [];
      const lineCounts = new Map(
        changed.flatMap((file) => (file.lines === null ? [] : [[file.path, file.lines] as const])),
      );
      const found = findings(files, { lineCounts, whole: args["whole"] === true });
      return Promise.resolve(
        textResult(`${findingsText(found, files.length)}\n`, {
          findings: found.slice(0, SHOWN_FINDINGS),
          count: found.length,
        } as unknown as Json),
      );
    },
  };
}

const CHECKED = `conflict markers, secrets, invisible characters, debug leftovers, files over ${MAX_FILE_LINES} lines, code without tests, added TODOs`;

function findingsText(found: readonly Finding[], files: number): string {
  if (files === 0) return "Nothing to check.";
  if (found.length === 0) return `No findings. Checked by pattern, not by understanding: ${CHECKED}.`;
  const rows = found.slice(0, SHOWN_FINDINGS).map((finding) => `  ${finding.path}:${finding.line}  ${finding.what}`);
  const rest = found.length - rows.length;
  return [
    `${plural(found.length, "finding")}, by pattern (${CHECKED}):`,
    ...rows,
    ...(rest > 0 ? [`  … and ${rest} more`] : []),
  ].join("\n");
}

function answer(data: Json): Promise<ToolResult> {
  return Promise.resolve(textResult("", data));
}

function join(...notes: string[]): string {
  return notes.filter((note) => note !== "").join(" ");
}

function plural(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

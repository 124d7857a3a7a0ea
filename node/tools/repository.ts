/**
 * A git repository that is read without being believed. git runs programs that a repository's own configuration names
 * (diff.external, textconv, clean filters, fsmonitor, hooks, pagers, ssh, remote helpers for missing objects, …), and the list
 * grows with every version. So its configuration is not read at all: each command runs on a shadow, a fresh folder with a
 * configuration of ours, where refs are linked and HEAD, packed-refs, shallow and info/exclude are copied; objects and index
 * are the real ones, by environment. Only settings that change what bytes mean are carried over.
 *
 *   share/.git ──▶ shadow: config (ours)  HEAD  packed-refs  shallow  info/exclude  refs ⇒ share/.git/refs
 *                  GIT_OBJECT_DIRECTORY ⇒ share/.git/objects   GIT_INDEX_FILE ⇒ share/.git/index
 *
 * A .git that leads out of the share (a link, a `gitdir:` file, `commondir`, alternates) would serve another repository's
 * history. Only a linked worktree may, because its repository names the worktree back.
 */
import type { Stats } from "node:fs";
import { spawn } from "node:child_process";
import {
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, isAbsolute, join, resolve, sep } from "node:path";
import { KinError } from "../../protocols/errors.ts";

/** One git command; a log of a huge repository takes seconds. */
const GIT_TIMEOUT_MS = 30_000;
/** What one git command may print before it is stopped. */
export const MAX_GIT_BYTES = 16 * 1024 * 1024;
/** Refs are walked for links that lead out; a repository with more is not served. */
const MAX_REF_ENTRIES = 50_000;
/** Parents that are looked at for a .git. */
const MAX_PARENTS = 64;
/** Settings that say what stored bytes mean, with the values that are carried over. None of them names a program. */
const CARRIED: readonly [string, RegExp][] = [
  ["extensions.objectformat", /^sha(1|256)$/],
  ["core.autocrlf", /^(true|false|input)$/],
  ["core.eol", /^(lf|crlf|native)$/],
  ["core.filemode", /^(true|false)$/],
  ["core.ignorecase", /^(true|false)$/],
  ["core.precomposeunicode", /^(true|false)$/],
  ["core.symlinks", /^(true|false)$/],
];

/** A second belt: the same things off by command line, for what a system-wide configuration could say. */
const GUARDS = [
  "core.hooksPath=/dev/null",
  "core.fsmonitor=false",
  "core.pager=cat",
  "core.attributesFile=/dev/null",
  "core.sshCommand=false",
  "core.askPass=",
  "credential.helper=",
  "protocol.allow=never",
  "log.showSignature=false",
  "log.mailmap=false",
  "submodule.recurse=false",
  "gpg.program=false",
  "core.quotePath=false",
  "safe.directory=*",
  "gc.auto=0",
  "core.bigFileThreshold=8m",
  "maintenance.auto=false",
];

export interface Repository {
  /** Where the work tree begins; the share is this folder or one below it. */
  top: string;
  /** The shared folder: git runs here, so that paths are relative to it. */
  folder: string;
  gitFolder: string;
  /** Where refs and objects are; another folder than `gitFolder` in a linked worktree. */
  commonFolder: string;
}

export type FoundRepository = { repository: Repository } | { none: string };

export interface GitOutput {
  text: string;
  /** True: stopped at `maxBytes`; the text ends in the middle. */
  cut: boolean;
}

/** Finds the repository of a shared folder, or says why there is none that may be read. `folder` is a real path. */
export async function findRepository(folder: string): Promise<FoundRepository> {
  const owner = (await stat(folder)).uid;
  let top = folder;
  for (let level = 0; level < MAX_PARENTS; level++) {
    const entry = await statOrNull(join(top, ".git"));
    // Somebody else's .git above the share (in /tmp, say) is not the share's.
    if (entry !== null && (level === 0 || entry.uid === owner)) return checkRepository(folder, top, entry);
    if (dirname(top) === top) break;
    top = dirname(top);
  }
  return { none: "it is not a git repository" };
}

async function checkRepository(folder: string, top: string, entry: Stats): Promise<FoundRepository> {
  const dotGit = join(top, ".git");
  if (entry.isSymbolicLink()) return { none: "its .git is a link to another place" };
  if (entry.isFile()) return worktree(folder, top, dotGit);
  if (!entry.isDirectory()) return { none: "its .git is not a folder" };
  const repository = { top, folder, gitFolder: dotGit, commonFolder: dotGit };
  return describe(repository);
}

/** `gitdir: …` is followed only to a repository that names this worktree in turn: what lies in the share can't forge that. */
async function worktree(folder: string, top: string, dotGit: string): Promise<FoundRepository> {
  const target = /^gitdir: (.+)$/m.exec(await readSmall(dotGit))?.[1]?.trim();
  const refused = { none: "its .git file leads to a repository elsewhere that does not name it back" };
  if (target === undefined) return refused;
  const gitFolder = await realpath(resolve(top, target)).catch(() => null);
  if (gitFolder === null) return refused;
  const back = (await readSmall(join(gitFolder, "gitdir")).catch(() => "")).trim();
  const common = (await readSmall(join(gitFolder, "commondir")).catch(() => "")).trim();
  if (back === "" || common === "") return refused;
  const named = await realpath(resolve(gitFolder, back)).catch(() => null);
  const commonFolder = await realpath(resolve(gitFolder, common)).catch(() => null);
  if (named !== (await realpath(dotGit)) || commonFolder === null || dirname(dirname(gitFolder)) !== commonFolder)
    return refused;
  return describe({ top, folder, gitFolder, commonFolder });
}

/** Looks for what would lead out of the repository. */
async function describe(repository: Repository): Promise<FoundRepository> {
  const { commonFolder } = repository;
  for (const name of ["HEAD", "objects", "refs"]) {
    const entry = await statOrNull(join(name === "HEAD" ? repository.gitFolder : commonFolder, name));
    if (entry === null) return { none: `its .git has no ${name}` };
    if (entry.isSymbolicLink()) return { none: `its .git/${name} is a link` };
  }
  if ((await statOrNull(join(commonFolder, "reftable"))) !== null)
    return { none: "it keeps its refs in a reftable, which kin does not read yet" };
  if (await hasAlternates(commonFolder))
    return {
      none: "it borrows objects from another repository (objects/info/alternates); `git repack -a -d` and removing that file makes it whole",
    };
  if (await leadsOut(join(commonFolder, "objects"), 1)) return { none: "its .git/objects holds a link" };
  if (await leadsOut(join(commonFolder, "refs"), 32)) return { none: "its .git/refs holds a link" };
  return { repository };
}

async function hasAlternates(commonFolder: string): Promise<boolean> {
  const info = join(commonFolder, "objects", "info");
  const entry = await statOrNull(join(info, "alternates"));
  return entry !== null && (!entry.isFile() || (await readSmall(join(info, "alternates"))).trim() !== "");
}

/** True if a link, or too much to look at, is found. */
async function leadsOut(folder: string, depth: number, seen = { count: 0 }): Promise<boolean> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isSymbolicLink() || ++seen.count > MAX_REF_ENTRIES) return true;
    if (entry.isDirectory() && depth > 0 && (await leadsOut(join(folder, entry.name), depth - 1, seen))) return true;
  }
  return false;
}

/** Runs commands on one shadow of the repository, which is gone afterwards. */
export async function withGit<T>(
  repository: Repository,
  signal: AbortSignal,
  use: (git: Git) => Promise<T>,
): Promise<T> {
  const shadow = await mkdtemp(join(tmpdir(), "kin-git-"));
  try {
    await makeShadow(repository, shadow, signal);
    return await use((args, options) =>
      runGit(repository.folder, args, shadowEnvironment(repository, shadow), { signal, ...options }),
    );
  } finally {
    await rm(shadow, { recursive: true, force: true });
  }
}

export interface GitOptions {
  maxBytes?: number;
  input?: string;
  /** Exit codes that are an answer. 0 is always one. */
  codes?: readonly number[];
}
export type Git = (args: readonly string[], options?: GitOptions) => Promise<GitOutput>;

async function makeShadow(repository: Repository, shadow: string, signal: AbortSignal): Promise<void> {
  await mkdir(join(shadow, "info"));
  await mkdir(join(shadow, "home"));
  await symlink(join(repository.commonFolder, "refs"), join(shadow, "refs"));
  await copyPlain(join(repository.gitFolder, "HEAD"), join(shadow, "HEAD"));
  await copyPlain(join(repository.commonFolder, "packed-refs"), join(shadow, "packed-refs"));
  await copyPlain(join(repository.commonFolder, "shallow"), join(shadow, "shallow"));
  await copyPlain(join(repository.commonFolder, "info", "exclude"), join(shadow, "info", "exclude"));
  for (const name of (await readdir(repository.gitFolder)).filter((name) => /^sharedindex\.[0-9a-f]+$/.test(name)))
    await copyPlain(join(repository.gitFolder, name), join(shadow, name));
  await writeFile(join(shadow, "config"), await carriedConfig(repository, signal));
}

async function carriedConfig(repository: Repository, signal: AbortSignal): Promise<string> {
  const file = join(repository.commonFolder, "config");
  const list =
    (await statOrNull(file))?.isFile() === true
      ? await runGit(
          "/",
          ["config", "--file", file, "--no-includes", "--null", "--list"],
          bareEnvironment("/nonexistent"),
          { signal, codes: [1, 128] },
        )
      : { text: "" };
  const found = new Map<string, string>();
  for (const entry of list.text.split("\0")) {
    const cut = entry.indexOf("\n");
    const [key, value] = cut < 0 ? [entry, "true"] : [entry.slice(0, cut), entry.slice(cut + 1)];
    if (CARRIED.some(([name, pattern]) => name === key && pattern.test(value))) found.set(key, value);
  }
  const version = found.has("extensions.objectformat") ? 1 : 0;
  const lines = [...found].map(([key, value]) => `[${key.split(".")[0]}]\n\t${key.split(".")[1]} = ${value}\n`);
  return `[core]\n\trepositoryformatversion = ${version}\n\tbare = false\n${lines.join("")}`;
}

/** Copies a plain file if there is one: a link or a FIFO in its place is left out. */
async function copyPlain(from: string, to: string): Promise<void> {
  if ((await statOrNull(from))?.isFile() === true) await copyFile(from, to);
}

function shadowEnvironment(repository: Repository, shadow: string): NodeJS.ProcessEnv {
  return {
    ...bareEnvironment(join(shadow, "home")),
    GIT_DIR: shadow,
    GIT_WORK_TREE: repository.top,
    GIT_OBJECT_DIRECTORY: join(repository.commonFolder, "objects"),
    GIT_INDEX_FILE: join(repository.gitFolder, "index"),
  };
}

/** Nothing of our own environment but where programs are. */
function bareEnvironment(home: string): NodeJS.ProcessEnv {
  return {
    PATH: (process.env["PATH"] ?? "/usr/bin:/bin").split(":").filter(isAbsolute).join(":"),
    HOME: home,
    LANG: "C",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_ATTR_NOSYSTEM: "1",
    GIT_TERMINAL_PROMPT: "0",
    GIT_OPTIONAL_LOCKS: "0",
    GIT_NO_LAZY_FETCH: "1",
    GIT_ALLOW_PROTOCOL: "none",
    GIT_PAGER: "cat",
    GIT_LITERAL_PATHSPECS: "0",
    GIT_NO_REPLACE_OBJECTS: "1",
  };
}

async function runGit(
  cwd: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  options: GitOptions & { signal: AbortSignal },
): Promise<GitOutput> {
  const excludes = await personalExcludes();
  const guards = [...GUARDS, `core.excludesFile=${excludes}`].flatMap((guard) => ["-c", guard]);
  const result = await runProcess("git", ["--no-pager", ...guards, ...args], { cwd, env, ...options });
  if (result.code === 0 || result.cut || (options.codes ?? []).includes(result.code))
    return { text: result.stdout, cut: result.cut };
  throw new KinError("TOOL_FAILED", `git ${args[0]} failed: ${firstLine(result.stderr) || `exit code ${result.code}`}`);
}

let knownExcludes: Promise<string> | undefined;

/** My own list of ignored files is mine, not the repository's: it is honoured. */
async function personalExcludes(): Promise<string> {
  knownExcludes ??= (async () => {
    const env = {
      PATH: process.env["PATH"],
      HOME: homedir(),
      XDG_CONFIG_HOME: process.env["XDG_CONFIG_HOME"],
      GIT_CONFIG_NOSYSTEM: "1",
    };
    const args = ["config", "--global", "--type=path", "--get", "core.excludesFile"];
    const set = await runProcess("git", args, { cwd: "/", env, signal: AbortSignal.timeout(GIT_TIMEOUT_MS) });
    const named = set.stdout.trim();
    if (set.code === 0 && isAbsolute(named)) return named;
    const usual = join(process.env["XDG_CONFIG_HOME"] ?? join(homedir(), ".config"), "git", "ignore");
    return (await statOrNull(usual)) === null ? "/dev/null" : usual;
  })();
  return knownExcludes;
}

interface ProcessResult {
  code: number;
  stdout: string;
  stderr: string;
  cut: boolean;
}

/** Runs a program without a shell in a group of its own, which is killed as a whole at the limits. */
async function runProcess(
  program: string,
  args: readonly string[],
  options: GitOptions & { cwd: string; env: NodeJS.ProcessEnv; signal: AbortSignal },
): Promise<ProcessResult> {
  options.signal.throwIfAborted();
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env,
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    shell: false,
  });
  const limit = AbortSignal.any([options.signal, AbortSignal.timeout(GIT_TIMEOUT_MS)]);
  let ended = false;
  const kill = () => {
    // Once it has ended its number may belong to another process.
    if (child.pid !== undefined && !ended) killGroup(child.pid);
  };
  limit.addEventListener("abort", kill, { once: true });
  try {
    child.stdin.on("error", () => {}); // it ended before it had read everything; its exit code says the rest
    child.stdin.end(options.input ?? "");
    const [out, err, code] = await Promise.all([
      collect(child.stdout, options.maxBytes ?? MAX_GIT_BYTES, kill),
      collect(child.stderr, 8192, () => {}),
      new Promise<number>((done, failed) =>
        child.once("error", failed).once("close", (code) => {
          ended = true;
          done(code ?? -1);
        }),
      ),
    ]);
    options.signal.throwIfAborted();
    if (limit.aborted)
      throw new KinError(
        "DEADLINE_EXCEEDED",
        `${program} ${args.at(-1) ?? ""} took longer than ${GIT_TIMEOUT_MS / 1000} s and was stopped`,
      );
    return { code, stdout: out.text, stderr: err.text, cut: out.cut };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT")
      throw new KinError("TOOL_FAILED", `${program} is not installed on this machine, or not on its PATH`, { cause });
    throw cause;
  } finally {
    limit.removeEventListener("abort", kill);
    kill();
  }
}

async function collect(
  stream: NodeJS.ReadableStream,
  maxBytes: number,
  full: () => void,
): Promise<{ text: string; cut: boolean }> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    if (total < maxBytes) chunks.push(chunk.subarray(0, maxBytes - total));
    total += chunk.length;
    if (total > maxBytes) full();
  }
  return { text: Buffer.concat(chunks).toString("utf8"), cut: total > maxBytes };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // it has ended
  }
}

async function readSmall(path: string): Promise<string> {
  const entry = await lstat(path);
  // git writes these with one line; whatever is larger, or no file, is not one of them.
  if (!entry.isFile() || entry.size > 64 * 1024)
    throw new KinError("TOOL_FAILED", `${path.split(sep).at(-1)} is not a small plain file`);
  return readFile(path, "utf8");
}

async function statOrNull(path: string): Promise<Stats | null> {
  return lstat(path).catch(() => null);
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0]!.slice(0, 300).trim();
}

/**
 * Shared folders: which may be shared at all, what of them is served, and in which order.
 *
 * A share serves the files that git would take: tracked ones and new ones that are not ignored; without a repository, whatever
 * no `.gitignore` names. What is never served even then is said in `jail.ts`.
 */
import type { Ignore } from "ignore";
import type { Share } from "../guard/authorize.ts";
import type { Jail } from "./jail.ts";
import type { Git, Repository } from "./repository.ts";
import { createRequire } from "node:module";
import { lstat, readdir, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve, sep } from "node:path";
import { KinError } from "../../protocols/errors.ts";
import { openInside, pathRefusal, readText, resolveInside } from "./jail.ts";
import { findRepository, withGit } from "./repository.ts";

// The package's types say ES module, its code is CommonJS.
const ignore = createRequire(import.meta.url)("ignore") as () => Ignore;

export type { Share } from "../guard/authorize.ts";

/** Files of one share that are listed, searched and indexed. */
export const MAX_SHARE_FILES = 20_000;
/** Nesting of folders that is walked without git. */
const MAX_DEPTH = 32;
/** Folders of the system that hold processes and devices, not work. */
const SYSTEM_FOLDERS = ["/proc", "/sys", "/dev", "/run", "/etc", "/boot"];

export interface ShareLimits {
  /** All folders of kin's own: data, configuration, state. They need not exist yet. */
  dataFolders: readonly string[];
  /** The user's home. */
  home?: string;
}

/** Resolves a folder that somebody wants to share. @throws KinError SHARE_REFUSED that says why. */
export async function checkShare(folder: string, limits: ShareLimits): Promise<string> {
  const real = await realpath(folder).catch((cause: unknown) => {
    throw new KinError("SHARE_REFUSED", `${folder} can't be shared: there is no such folder`, { cause });
  });
  if (!(await stat(real)).isDirectory())
    throw new KinError("SHARE_REFUSED", `${folder} can't be shared: it is a file, expected a folder`);
  const why = shareRefusal(
    real,
    await realOrSame(limits.home ?? homedir()),
    await Promise.all(limits.dataFolders.map(realOrSame)),
  );
  if (why !== null)
    throw new KinError("SHARE_REFUSED", `${folder} can't be shared: ${why}`, { hint: "share one project folder" });
  if (await isGitFolder(real))
    throw new KinError("SHARE_REFUSED", `${folder} can't be shared: it is a git repository's own folder`);
  return real;
}

/** Why a real path must not be shared, or null. Pure. */
export function shareRefusal(real: string, home: string, dataFolders: readonly string[]): string | null {
  if (real === "/") return "it is the whole machine";
  if (real === home) return "it is your home folder, with your keys in it";
  if (holds(real, home)) return `it holds your home folder ${home}`;
  const data = dataFolders.find((folder) => holds(real, folder) || holds(folder, real));
  if (data !== undefined) return holds(real, data) ? `it holds kin's own data (${data})` : "it lies in kin's own data";
  const system = SYSTEM_FOLDERS.find((folder) => holds(folder, real));
  if (system !== undefined) return `it lies in ${system}, which belongs to the system`;
  return pathRefusal(real.slice(1));
}

/** What is wrong with a configured share now, for `kin share ls`; null if nothing. */
export async function shareProblem(share: Share, limits: ShareLimits): Promise<string | null> {
  try {
    await checkShare(share.folder, limits);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

export interface FileList {
  /** Sorted, relative to the share. */
  paths: string[];
  /** True: there are more than `MAX_SHARE_FILES`. */
  cut: boolean;
}

export interface ShareFolder {
  share: Share;
  jail: Jail;
  repository: Repository | null;
  /** Why there is no repository; null if there is one. */
  noRepository: string | null;
  list(signal: AbortSignal): Promise<FileList>;
  /** @throws KinError DENIED, NOT_FOUND, TOO_LARGE, INVALID_ARGUMENTS */
  read(path: string, signal: AbortSignal): Promise<{ path: string; text: string; mtimeMs: number }>;
  /** As `read`, for a path that `list` has just given. */
  readListed(path: string): Promise<{ path: string; text: string; mtimeMs: number }>;
  /** Size and time without reading; null if it is not served. */
  look(path: string): Promise<{ bytes: number; mtimeMs: number } | null>;
  /** Of these paths, existing or not, those that must not be shown. */
  refused(paths: readonly string[], signal: AbortSignal): Promise<Set<string>>;
  /** @throws KinError TOOL_FAILED if there is no repository. */
  git<T>(signal: AbortSignal, use: (git: Git) => Promise<T>): Promise<T>;
}

/** Checks the folder again: what was fine when it was shared may be another folder today. @throws KinError SHARE_REFUSED */
export async function openShare(share: Share, limits: ShareLimits): Promise<ShareFolder> {
  // Why is for its owner: the sentence names folders of this machine.
  const root = await checkShare(share.folder, limits).catch((cause: unknown) => {
    throw new KinError("TOOL_FAILED", `the share "${share.name}" can't be read at present`, {
      hint: "its owner sees why by: kin share ls",
      cause,
    });
  });
  const jail: Jail = { root, forbidden: await Promise.all(limits.dataFolders.map(realOrSame)) };
  const found = await findRepository(root);
  const repository = "repository" in found ? found.repository : null;
  const rules = repository !== null && (await gitRuns(repository)) ? gitRules(repository) : walkRules(root);
  return {
    share,
    jail,
    repository,
    noRepository: "none" in found ? found.none : null,
    list: rules.list,
    refused: rules.refused,
    async read(asked, signal) {
      const path = await resolveInside(jail, asked);
      if (!(await rules.serves(path, signal)))
        throw new KinError(
          "DENIED",
          `"${path}" is not served: it is ignored (.gitignore) or belongs to a repository inside this one`,
        );
      return readText(jail, path);
    },
    async readListed(path) {
      const file = await readText(jail, path);
      // A link is listed under its own name too; its target has been asked for by itself, if it is served.
      if (file.path !== path) throw new KinError("DENIED", `"${path}" is a link`);
      return file;
    },
    look: (path) => look(jail, path),
    git(signal, use) {
      if (repository === null)
        throw new KinError(
          "TOOL_FAILED",
          `the share "${share.name}" has no history: ${"none" in found ? found.none : ""}`,
        );
      return withGit(repository, signal, use);
    },
  };
}

async function look(jail: Jail, path: string): Promise<{ bytes: number; mtimeMs: number } | null> {
  try {
    const file = await openInside(jail, path);
    await file.handle.close();
    // A link is listed under its own name too; its target is listed by itself.
    return file.path === path ? { bytes: file.bytes, mtimeMs: file.mtimeMs } : null;
  } catch {
    return null; // not served
  }
}

interface Rules extends Pick<ShareFolder, "list" | "refused"> {
  /** Whether one existing file would be listed. */
  serves(path: string, signal: AbortSignal): Promise<boolean>;
}

function gitRules(repository: Repository): Rules {
  const listed = async (pathspec: string, signal: AbortSignal) => {
    const args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", pathspec];
    const { text } = await withGit(repository, signal, (git) => git(args));
    // A nested repository is listed as a folder: it has an owner and rules of its own.
    return text.split("\0").filter((path) => path !== "" && !path.endsWith("/"));
  };
  return {
    list: async (signal) => bounded(await listed(".", signal)),
    serves: async (path, signal) => (await listed(`:(literal)${path}`, signal)).includes(path),
    async refused(paths, signal) {
      const refused = new Set(paths.filter((path) => pathRefusal(path) !== null));
      const rest = paths.filter((path) => !refused.has(path));
      if (rest.length === 0) return refused;
      const input = rest.map((path) => `./${path}\0`).join("");
      const { text } = await withGit(repository, signal, (git) =>
        git(["check-ignore", "-z", "--stdin"], { input, codes: [1] }),
      );
      for (const path of text.split("\0")) if (path !== "") refused.add(path.replace(/^\.\//, ""));
      return refused;
    },
  };
}

function walkRules(root: string): Rules {
  return {
    list: async (signal) => bounded(await walk(root, signal)),
    serves: async (path) => !(await isIgnored(root, path)),
    async refused(paths) {
      const refused = new Set<string>();
      for (const path of paths) if (pathRefusal(path) !== null || (await isIgnored(root, path))) refused.add(path);
      return refused;
    },
  };
}

function bounded(paths: string[]): FileList {
  const served = paths.filter((path) => pathRefusal(path) === null).toSorted();
  return { paths: served.slice(0, MAX_SHARE_FILES), cut: served.length > MAX_SHARE_FILES };
}

interface Level {
  folder: string;
  depth: number;
  rules: { base: string; rule: Ignore }[];
}

/** Folders breadth first, so that a deep one does not use up the bound alone. */
async function walk(root: string, signal: AbortSignal): Promise<string[]> {
  const paths: string[] = [];
  const waiting: Level[] = [{ folder: "", depth: 0, rules: [] }];
  for (let level = waiting.shift(); level !== undefined && paths.length <= MAX_SHARE_FILES; level = waiting.shift()) {
    signal.throwIfAborted();
    const rules = [...level.rules, ...(await rulesOf(root, level.folder))];
    for (const entry of await readdir(join(root, level.folder), { withFileTypes: true }).catch(() => [])) {
      const path = level.folder === "" ? entry.name : `${level.folder}/${entry.name}`;
      if (pathRefusal(path) !== null || matches(rules, entry.isDirectory() ? `${path}/` : path)) continue;
      if (entry.isFile()) paths.push(path);
      if (entry.isDirectory() && level.depth < MAX_DEPTH && waiting.length < MAX_SHARE_FILES)
        waiting.push({ folder: path, depth: level.depth + 1, rules });
    }
  }
  return paths;
}

async function isIgnored(root: string, path: string): Promise<boolean> {
  const parts = path.split("/");
  const rules: Level["rules"] = [];
  for (let depth = 0; depth < parts.length; depth++) {
    rules.push(...(await rulesOf(root, parts.slice(0, depth).join("/"))));
    const last = depth === parts.length - 1;
    if (matches(rules, parts.slice(0, depth + 1).join("/") + (last ? "" : "/"))) return true;
  }
  return false;
}

/** The `.gitignore` of one folder, opened like any other file of the share. */
async function rulesOf(root: string, folder: string): Promise<Level["rules"]> {
  const path = folder === "" ? ".gitignore" : `${folder}/.gitignore`;
  const file = await readText({ root, forbidden: [] }, path).catch(() => null);
  return file === null ? [] : [{ base: folder, rule: ignore().add(file.text) }];
}

/** Deeper rules decide over those above, as in git. */
function matches(rules: Level["rules"], path: string): boolean {
  let ignored = false;
  for (const { base, rule } of rules) {
    const verdict = rule.test(base === "" ? path : path.slice(base.length + 1));
    if (verdict.ignored) ignored = true;
    else if (verdict.unignored) ignored = false;
  }
  return ignored;
}

let gitKnown: Promise<boolean> | undefined;

/** Whether git is installed; the files of a share are served without it too, by their `.gitignore`. */
async function gitRuns(repository: Repository): Promise<boolean> {
  gitKnown ??= withGit(repository, AbortSignal.timeout(10_000), (git) => git(["version"])).then(
    () => true,
    () => false,
  );
  return gitKnown;
}

async function isGitFolder(folder: string): Promise<boolean> {
  const found = await Promise.all(
    ["HEAD", "objects", "refs"].map((name) =>
      lstat(join(folder, name)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.every(Boolean);
}

function holds(outer: string, inner: string): boolean {
  return outer === "/" || inner === outer || inner.startsWith(outer + sep);
}

/** The real path of a folder that may not exist yet: of its nearest parent that does. */
async function realOrSame(folder: string): Promise<string> {
  const full = resolve(folder);
  const real = await realpath(full).catch(() => null);
  if (real !== null || dirname(full) === full) return real ?? full;
  return join(await realOrSame(dirname(full)), full.slice(dirname(full).length + 1));
}

/**
 * Attack group F, files, and git on a folder that somebody else filled. Each case builds on a clean repository that is shared
 * as "app" (files `readme.md`, `src/code.ts`, one commit, `.gitignore` with `ignored/` and `*.log`); "SECRET" must reach nobody,
 * the file `MARK` outside of the share must never be made.
 */
import type { Scene } from "../tools/scene.ts";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

export const SECRET = "SECRET-7f3a";

/** A path that `fs.read` must refuse; nor may search, the librarian or a diff show what it holds. */
export interface FileAttack {
  id: string;
  what: string;
  path: string;
  plant?: (scene: Scene) => void;
}

const KEY = ["-----BEGIN OPENSSH", "PRIVATE KEY-----"].join(" ");
const outside = (scene: Scene) => join(scene.root, "outside.txt");
const plant =
  (path: string, content = SECRET) =>
  (scene: Scene) =>
    scene.write(path, content);

export const FILE_ATTACKS: readonly FileAttack[] = [
  { id: "F1", what: "up and out", path: "../outside.txt" },
  { id: "F1", what: "down, then up and out", path: "src/../../outside.txt" },
  { id: "F1", what: "up and back in", path: "../app/readme.md" },
  { id: "F2", what: "absolute", path: "/etc/passwd" },
  { id: "F2", what: "home", path: "~/outside.txt" },
  { id: "F3", what: "percent-encoded", path: "%2e%2e/outside.txt" },
  { id: "F3", what: "percent-encoded slash", path: "..%2foutside.txt" },
  { id: "F4", what: "NUL byte", path: "readme.md\u0000.png" },
  { id: "F4", what: "line break", path: "readme.md\n" },
  {
    id: "F5",
    what: "link to a file outside",
    path: "link.txt",
    plant: (scene) => symlinkSync(outside(scene), join(scene.folder, "link.txt")),
  },
  {
    id: "F5",
    what: "link to a link to outside",
    path: "one.txt",
    plant: (scene) => {
      symlinkSync(outside(scene), join(scene.folder, "two.txt"));
      symlinkSync("two.txt", join(scene.folder, "one.txt"));
    },
  },
  {
    id: "F5",
    what: "link inside to .env",
    path: "settings.txt",
    plant: (scene) => {
      scene.write(".env", SECRET);
      symlinkSync(".env", join(scene.folder, "settings.txt"));
    },
  },
  {
    id: "F5",
    what: "link inside to an ignored file",
    path: "seen.txt",
    plant: (scene) => {
      scene.write("ignored/data.txt", SECRET);
      symlinkSync("ignored/data.txt", join(scene.folder, "seen.txt"));
    },
  },
  {
    id: "F6",
    what: "linked folder",
    path: "away/outside.txt",
    plant: (scene) => symlinkSync(scene.root, join(scene.folder, "away")),
  },
  {
    id: "F6",
    what: "kin's own data through a link",
    path: "data/secret.txt",
    plant: (scene) => {
      writeFileSync(join(scene.data, "secret.txt"), SECRET);
      symlinkSync(scene.data, join(scene.folder, "data"));
    },
  },
  {
    id: "F8",
    what: "hard link to a file outside",
    path: "hard.txt",
    plant: (scene) => linkSync(outside(scene), join(scene.folder, "hard.txt")),
  },
  { id: "F9", what: "/proc/self/root", path: "/proc/self/root/etc/passwd" },
  {
    id: "F9",
    what: "link to /proc/self/environ",
    path: "environ",
    plant: (scene) => symlinkSync("/proc/self/environ", join(scene.folder, "environ")),
  },
  {
    id: "F9",
    what: "link to /proc/self/fd",
    path: "fd/0",
    plant: (scene) => symlinkSync("/proc/self/fd", join(scene.folder, "fd")),
  },
  { id: "F10", what: ".git in capitals", path: ".GIT/config" },
  { id: "F10", what: "8.3 name of .git", path: "git~1/config", plant: plant("git~1/config") },
  { id: "F10", what: ".git with an ignorable character", path: ".g\u200Cit/config", plant: plant(".g\u200Cit/config") },
  { id: "F10", what: ".env in full-width letters", path: ".ｅｎｖ", plant: plant(".ｅｎｖ") },
  { id: "F10", what: ".ENV.local", path: ".ENV.local", plant: plant(".ENV.local") },
  { id: "F10", what: "key in capitals", path: "server.PEM", plant: plant("server.PEM") },
  { id: "F10", what: ".env with a dot behind it", path: ".env.", plant: plant(".env.") },
  { id: "F11", what: ".git/config", path: ".git/config" },
  { id: "F11", what: ".git of a folder inside", path: "nested/.git/config", plant: plant("nested/.git/config") },
  { id: "F11", what: ".env", path: ".env", plant: plant(".env") },
  {
    id: "F11",
    what: ".env that is tracked",
    path: ".env.production",
    plant: (scene) => {
      scene.write(".env.production", SECRET);
      scene.git("add", "-f", ".env.production");
      scene.git("commit", "-qm", "oops");
    },
  },
  { id: "F11", what: "ignored file", path: "ignored/notes.txt", plant: plant("ignored/notes.txt") },
  { id: "F11", what: "ignored by a pattern", path: "debug.log", plant: plant("debug.log") },
  {
    id: "F11",
    what: "ignored by .git/info/exclude",
    path: "mine.txt",
    plant: (scene) => {
      scene.write("mine.txt", SECRET);
      appendFileSync(join(scene.folder, ".git/info/exclude"), "mine.txt\n");
    },
  },
  { id: "F11", what: "id_rsa", path: "keys/id_rsa", plant: plant("keys/id_rsa") },
  { id: "F11", what: "*.p12", path: "cert.p12", plant: plant("cert.p12") },
  { id: "F11", what: ".ssh", path: ".ssh/config", plant: plant(".ssh/config") },
  {
    id: "F11",
    what: "a key under an innocent name",
    path: "notes.txt",
    plant: plant("notes.txt", `deploy with\n${KEY}\n${SECRET}\n`),
  },
  {
    id: "F12",
    what: "FIFO",
    path: "pipe",
    plant: (scene) => void execFileSync("mkfifo", [join(scene.folder, "pipe")]),
  },
  {
    id: "F12",
    what: "link to a device",
    path: "zero",
    plant: (scene) => symlinkSync("/dev/zero", join(scene.folder, "zero")),
  },
  { id: "F12", what: "a folder", path: "src" },
  {
    id: "F13",
    what: "sparse file of 1 TB",
    path: "huge.txt",
    plant: (scene) => {
      scene.write("huge.txt", SECRET);
      truncateSync(join(scene.folder, "huge.txt"), 2 ** 40);
    },
  },
  { id: "F15", what: "glob", path: "*.md" },
  { id: "F15", what: "environment variable", path: "$HOME/outside.txt" },
];

/** Tools and arguments that must be refused or mean nothing, whatever stands in them. */
export interface ArgumentAttack {
  id: string;
  what: string;
  tool: string;
  args: { [key: string]: string };
  /** True: it is taken for a name that nothing has. */
  literal?: boolean;
}

const mark = "touch ../MARK";
export const ARGUMENT_ATTACKS: readonly ArgumentAttack[] = [
  { id: "F14", what: "option as a revision", tool: "git.diff", args: { from: "--output=../MARK" } },
  { id: "F14", what: "option as a revision of the log", tool: "git.log", args: { to: "--output=../MARK" } },
  { id: "F14", what: "option as a path", tool: "git.diff", args: { path: "--output=../MARK" }, literal: true },
  { id: "F14", what: "shell in a revision", tool: "git.log", args: { to: `HEAD; ${mark}` } },
  { id: "F14", what: "substitution in a revision", tool: "git.log", args: { to: `$(${mark})` } },
  { id: "F14", what: "back ticks in since", tool: "git.log", args: { since: `\`${mark}\`` } },
  { id: "F14", what: "line break in since", tool: "git.log", args: { since: "yesterday\n--output=../MARK" } },
  { id: "F14", what: "a file in a commit", tool: "git.diff", args: { from: "HEAD:.env", to: "HEAD:readme.md" } },
  { id: "F14", what: "search in messages", tool: "git.diff", args: { to: ":/first" } },
  { id: "F14", what: "reflog", tool: "git.diff", args: { to: "HEAD@{1}" } },
  { id: "F1", what: "path that leads out", tool: "git.diff", args: { path: "../outside.txt" } },
  { id: "F11", what: "path of .env", tool: "git.diff", args: { path: ".env" } },
  { id: "F15", what: "pathspec magic", tool: "git.log", args: { path: ":(top,exclude)x\u0000" } },
];

/** What a folder's own git data may try. `MARK` is a command that makes the marker file. */
export interface GitAttack {
  id: string;
  what: string;
  /** True: the repository must not be used at all. */
  refused?: boolean;
  plant(scene: Scene, command: string): void;
}

const config = (scene: Scene, ...entries: [string, string][]) => {
  for (const [key, value] of entries) scene.git("config", key, value);
};
const attributes = (scene: Scene, text: string) => {
  scene.write(".gitattributes", text);
  scene.write(".git/info/attributes", text);
};
const hook = (scene: Scene, name: string, command: string) => {
  scene.write(`.git/hooks/${name}`, `#!/bin/sh\n${command}\n`);
  chmodSync(join(scene.folder, ".git/hooks", name), 0o755);
};

export const GIT_ATTACKS: readonly GitAttack[] = [
  { id: "F16", what: "diff.external", plant: (scene, run) => config(scene, ["diff.external", run]) },
  {
    id: "F16",
    what: "diff driver by attribute",
    plant: (scene, run) => {
      config(scene, ["diff.evil.command", run]);
      attributes(scene, "* diff=evil\n");
    },
  },
  {
    id: "F16",
    what: "textconv",
    plant: (scene, run) => {
      config(scene, ["diff.evil.textconv", run]);
      attributes(scene, "* diff=evil\n");
    },
  },
  {
    id: "F16",
    what: "clean and smudge filter",
    plant: (scene, run) => {
      config(scene, ["filter.evil.clean", run], ["filter.evil.smudge", run], ["filter.evil.required", "true"]);
      attributes(scene, "* filter=evil\n");
    },
  },
  {
    id: "F16",
    what: "filter process",
    plant: (scene, run) => {
      config(scene, ["filter.evil.process", run]);
      attributes(scene, "* filter=evil\n");
    },
  },
  {
    id: "F16",
    what: "fsmonitor",
    plant: (scene, run) => config(scene, ["core.fsmonitor", run], ["core.untrackedCache", "true"]),
  },
  {
    id: "F16",
    what: "fsmonitor as a hook",
    plant: (scene, run) => {
      hook(scene, "query-watchman", run);
      config(scene, ["core.fsmonitor", ".git/hooks/query-watchman"]);
    },
  },
  {
    id: "F16",
    what: "hooks",
    plant: (scene, run) => {
      for (const name of ["post-index-change", "post-checkout", "reference-transaction"]) hook(scene, name, run);
      config(scene, ["core.hooksPath", join(scene.folder, ".git/hooks")]);
    },
  },
  {
    id: "F16",
    what: "pager",
    plant: (scene, run) => config(scene, ["core.pager", run], ["pager.log", run], ["pager.diff", run]),
  },
  {
    id: "F16",
    what: "gpg program and shown signatures",
    plant: (scene, run) => config(scene, ["gpg.program", run], ["log.showSignature", "true"]),
  },
  {
    id: "F16",
    what: "alias of a built-in",
    plant: (scene, run) => config(scene, ["alias.log", `!${run}`], ["alias.diff", `!${run}`]),
  },
  {
    id: "F16",
    what: "included configuration",
    plant: (scene, run) => {
      writeFileSync(join(scene.root, "evil.cfg"), `[diff]\n\texternal = ${run}\n[core]\n\tfsmonitor = ${run}\n`);
      config(scene, ["include.path", join(scene.root, "evil.cfg")]);
    },
  },
  {
    id: "F16",
    what: "worktree configuration",
    plant: (scene, run) => {
      config(scene, ["extensions.worktreeConfig", "true"], ["core.repositoryformatversion", "1"]);
      scene.write(".git/config.worktree", `[core]\n\tfsmonitor = ${run}\n`);
    },
  },
  {
    id: "F16",
    what: "missing objects from a remote by ext::",
    plant: (scene, run) => {
      config(
        scene,
        ["core.repositoryformatversion", "1"],
        ["extensions.partialClone", "evil"],
        ["remote.evil.url", `ext::sh -c "${run}"`],
        ["remote.evil.promisor", "true"],
        ["protocol.ext.allow", "always"],
      );
      const blob = scene.git("rev-parse", "HEAD:src/code.ts").trim();
      rmSync(join(scene.folder, ".git/objects", blob.slice(0, 2), blob.slice(2)), { force: true });
    },
  },
  {
    id: "F16",
    what: "missing objects over ssh",
    plant: (scene, run) => {
      config(
        scene,
        ["core.repositoryformatversion", "1"],
        ["extensions.partialClone", "evil"],
        ["remote.evil.url", "ssh://localhost/x"],
        ["remote.evil.promisor", "true"],
        ["core.sshCommand", run],
      );
      const blob = scene.git("rev-parse", "HEAD:src/code.ts").trim();
      rmSync(join(scene.folder, ".git/objects", blob.slice(0, 2), blob.slice(2)), { force: true });
    },
  },
  {
    id: "F16",
    what: "submodule with a configuration of its own",
    plant: (scene, run) => {
      scene.write("sub/x.txt", "x\n");
      execFileSync("git", ["init", "-q", join(scene.folder, "sub")]);
      const sub = (...args: string[]) =>
        execFileSync("git", ["-C", join(scene.folder, "sub"), "-c", "user.name=x", "-c", "user.email=x@x", ...args], {
          stdio: "ignore",
        });
      sub("add", ".");
      sub("commit", "-qm", "x");
      scene.git("add", "sub");
      sub("config", "core.fsmonitor", run);
      sub("config", "diff.external", run);
      scene.write("sub/x.txt", "y\n");
      config(scene, ["diff.submodule", "diff"], ["diff.ignoreSubmodules", "none"]);
    },
  },
  { id: "F9", what: "core.worktree elsewhere", plant: (scene) => config(scene, ["core.worktree", scene.root]) },
  {
    id: "F5",
    what: ".git is a link elsewhere",
    refused: true,
    plant: (scene) => {
      renameSync(join(scene.folder, ".git"), join(scene.root, "moved.git"));
      symlinkSync(join(scene.root, "other/.git"), join(scene.folder, ".git"));
    },
  },
  {
    id: "F5",
    what: ".git file that leads elsewhere",
    refused: true,
    plant: (scene) => {
      rmSync(join(scene.folder, ".git"), { recursive: true });
      writeFileSync(join(scene.folder, ".git"), `gitdir: ${join(scene.root, "other/.git")}\n`);
    },
  },
  {
    id: "F5",
    what: "linked refs",
    refused: true,
    plant: (scene) => {
      rmSync(join(scene.folder, ".git/refs"), { recursive: true });
      symlinkSync(join(scene.root, "other/.git/refs"), join(scene.folder, ".git/refs"));
    },
  },
  {
    id: "F5",
    what: "one linked ref",
    refused: true,
    plant: (scene) => {
      rmSync(join(scene.folder, ".git/refs/heads/main"));
      symlinkSync(join(scene.root, "other/.git/refs/heads/main"), join(scene.folder, ".git/refs/heads/main"));
    },
  },
  {
    id: "F5",
    what: "linked objects",
    refused: true,
    plant: (scene) => {
      rmSync(join(scene.folder, ".git/objects"), { recursive: true });
      symlinkSync(join(scene.root, "other/.git/objects"), join(scene.folder, ".git/objects"));
    },
  },
  {
    id: "F5",
    what: "alternates",
    refused: true,
    plant: (scene) => {
      mkdirSync(join(scene.folder, ".git/objects/info"), { recursive: true });
      writeFileSync(join(scene.folder, ".git/objects/info/alternates"), `${join(scene.root, "other/.git/objects")}\n`);
      const head = execFileSync("git", ["-C", join(scene.root, "other"), "rev-parse", "HEAD"], { encoding: "utf8" });
      writeFileSync(join(scene.folder, ".git/refs/heads/main"), head);
    },
  },
  {
    id: "F5",
    what: "commondir elsewhere",
    plant: (scene) => writeFileSync(join(scene.folder, ".git/commondir"), `${join(scene.root, "other/.git")}\n`),
  },
];

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { pathRefusal } from "../../node/tools/jail.ts";
import { checkShare, openShare, shareProblem, shareRefusal } from "../../node/tools/share.ts";
import { ANA, codeOf, openScene } from "./scene.ts";

const NEVER = new AbortController().signal;

test("shares: home, root, what holds kin's data, system folders and git's own folders are refused, with the reason [share-refused]", async () => {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "kin-share-")));
  try {
    const [home, data] = [join(root, "home"), join(root, "home/.local/share/kin")];
    for (const folder of [
      data,
      join(root, "home/app/.git/hooks"),
      join(root, "home/.ssh"),
      join(root, "bare/refs"),
      join(root, "bare/objects"),
    ])
      mkdirSync(folder, { recursive: true });
    writeFileSync(join(root, "bare/HEAD"), "ref: refs/heads/main\n");
    writeFileSync(join(root, "file"), "");
    symlinkSync(home, join(root, "link"));
    const limits = { dataFolders: [data, join(root, "not-made-yet/kin")], home };
    const why = async (folder: string) =>
      checkShare(folder, limits).catch((error: { code: string; message: string }) => `${error.code} ${error.message}`);
    expect(await why("/")).toMatch(/SHARE_REFUSED.*whole machine/);
    expect(await why(home)).toMatch(/SHARE_REFUSED.*home folder/);
    expect(await why(join(root, "link"))).toMatch(/SHARE_REFUSED.*home folder/);
    expect(await why(root)).toMatch(/SHARE_REFUSED.*holds your home/);
    expect(await why(join(root, "home/.local"))).toMatch(/SHARE_REFUSED.*holds kin's own data/);
    expect(await why(data)).toMatch(/SHARE_REFUSED.*kin's own data/);
    expect(await why("/proc/self")).toMatch(/SHARE_REFUSED.*system/);
    expect(await why(join(root, "home/app/.git"))).toMatch(/SHARE_REFUSED.*\.git/);
    expect(await why(join(root, "home/.ssh"))).toMatch(/SHARE_REFUSED.*\.ssh/);
    expect(await why(join(root, "bare"))).toMatch(/SHARE_REFUSED.*git repository's own/);
    expect(await why(join(root, "file"))).toMatch(/SHARE_REFUSED.*file/);
    expect(await why(join(root, "gone"))).toMatch(/SHARE_REFUSED.*no such folder/);
    expect(await why(join(root, "home/app"))).toBe(join(root, "home/app"));
    expect(
      await shareProblem({ name: "x", folder: join(root, "gone"), rights: "read", for: "mesh" }, limits),
    ).toContain("no such folder");
    expect(
      await shareProblem({ name: "x", folder: join(root, "home/app"), rights: "read", for: "mesh" }, limits),
    ).toBeNull();
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("shares: my real home is refused without being told which it is", async () => {
  expect(await codeOf(checkShare(homedir(), { dataFolders: [] }))).toBe("SHARE_REFUSED");
});

test("shares: a folder is refused exactly if it holds home or data, lies in data or the system, or has a refused name [share-refused]", () => {
  const name = fc.constantFrom("a", "b", "kin", "src");
  const path = fc.array(name, { minLength: 1, maxLength: 5 }).map((parts) => `/${parts.join("/")}`);
  fc.assert(
    fc.property(path, path, path, (folder, home, data) => {
      const holds = (outer: string, inner: string) => `${inner}/`.startsWith(`${outer}/`);
      const expected = holds(folder, home) || holds(folder, data) || holds(data, folder);
      expect(shareRefusal(folder, home, [data]) !== null).toBe(expected);
    }),
  );
});

test("F1 F2 F4 a path is refused by name whatever stands around a forbidden part", () => {
  const part = fc.stringMatching(/^[a-z0-9_-]{1,8}$/);
  const bad = fc.constantFrom("..", ".git", ".GIT", ".env", ".Env.local", "id_rsa", "x.pem", "a\u0000b", ".ssh");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 4 }), bad, fc.array(part, { maxLength: 4 }), (before, bad, after) => {
      expect(pathRefusal([...before, bad, ...after].join("/"))).not.toBeNull();
    }),
  );
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), (parts) => {
      expect(pathRefusal(parts.join("/"))).toBeNull();
    }),
  );
});

test("shares: public halves of keys and files that only look alike are served", () => {
  for (const path of [
    "id_rsa.pub",
    "environment.ts",
    "src/env.ts",
    "keys.md",
    "git/config",
    ".github/ci.yml",
    ".gitignore",
    "monkey.ts",
  ])
    expect(pathRefusal(path)).toBeNull();
});

test("shares: with git, tracked and new files are listed and ignored ones are not; without, .gitignore decides alike", async () => {
  await using scene = await openScene();
  scene.write(".gitignore", "*.log\n/build/\n!keep.log\n");
  for (const path of ["a.txt", "deep/b.txt", "deep/build/c.txt", "build/no.txt", "no.log", "deep/no.log", "keep.log"])
    scene.write(path, "x");
  scene.write("deep/.gitignore", "secret*\n");
  scene.write("deep/secret.txt", "x");
  const limits = { dataFolders: [scene.data] };
  const without = await (await openShare(scene.shares[0]!, limits)).list(NEVER);
  scene.git("init", "-q");
  scene.git("add", "a.txt");
  const opened = await openShare(scene.shares[0]!, limits);
  expect(opened.repository).not.toBeNull();
  const withGit = await opened.list(NEVER);
  expect(withGit).toEqual(without);
  expect(withGit.paths).toEqual([
    ".gitignore",
    "a.txt",
    "deep/.gitignore",
    "deep/b.txt",
    "deep/build/c.txt",
    "keep.log",
  ]);
});

test("shares: a file is read by lines, binary and overlong ones are refused with the reason", async () => {
  await using scene = await openScene();
  scene.write("lines.txt", "one\ntwo\nthree\n");
  scene.write("binary.dat", new Uint8Array([1, 0, 2]));
  scene.write("long.txt", "x".repeat(4 * 1024 * 1024 + 1));
  expect(await scene.text(ANA, "fs.read", { path: "lines.txt", line: 2, lines: 1 })).toBe("two");
  expect((await scene.call(ANA, "fs.read", { path: "lines.txt" })).structured).toEqual({
    path: "lines.txt",
    line: 1,
    lines: 3,
    total: 3,
  });
  expect(await codeOf(scene.call(ANA, "fs.read", { path: "lines.txt", line: 4 }))).toBe("INVALID_ARGUMENTS");
  expect(await codeOf(scene.call(ANA, "fs.read", { path: "binary.dat" }))).toBe("INVALID_ARGUMENTS");
  expect(await codeOf(scene.call(ANA, "fs.read", { path: "long.txt" }))).toBe("TOO_LARGE");
});

test("shares: search says file and line, in any case without a capital", async () => {
  await using scene = await openScene();
  scene.write("a.txt", "one\nTwo words\n");
  scene.write("b/c.txt", "two\n");
  expect(await scene.text(ANA, "fs.search", { text: "two" })).toBe("a.txt:2: Two words\nb/c.txt:1: two");
  expect(await scene.text(ANA, "fs.search", { text: "Two" })).toBe("a.txt:2: Two words");
  expect(await scene.text(ANA, "fs.search", { text: "two", max: 1 })).toContain("the first 1; there may be more");
});

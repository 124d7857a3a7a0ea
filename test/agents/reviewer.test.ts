import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { looksLikeDiff, parseDiff } from "../../node/tools/builtin/diff.ts";
import { findings } from "../../node/tools/builtin/findings.ts";
import { readQuestion } from "../../node/tools/builtin/review.ts";
import { ANA, BEN, codeOf, EVE, git, openScene, type Scene } from "../tools/scene.ts";

type Found = { findings: { kind: string; path: string; line: number }[] };

async function openRepository(): Promise<Scene> {
  const scene = await openScene();
  scene.git("init", "-q");
  scene.write("src/a.ts", "export const a = 1;\n");
  scene.write("test/a.test.ts", "test a\n");
  scene.git("add", ".");
  scene.git("commit", "-qm", "first thing");
  return scene;
}

// Put together here, so that this file holds none itself.
const awsKey = ["AKIA", "ABCDEFGHIJKLMNOP"].join("");
const todo = ["TO", "DO"].join("");

test("reviewer: says what changed in the last commit, then what stands out, each with file and line [reviewer-order]", async () => {
  await using scene = await openRepository();
  scene.write(
    "src/a.ts",
    [
      "export const a = 1;",
      "<".repeat(7) + " HEAD",
      "debugger;",
      "=".repeat(7),
      `const key = "${awsKey}";`,
      ">".repeat(7) + " theirs",
      `// ${todo}: finish`,
      'console.log("x");',
      "",
    ].join("\n"),
  );
  scene.write("src/long.ts", "x\n".repeat(1001));
  scene.git("add", ".");
  scene.git("commit", "-qm", "second thing\n\nWith a reason.");
  const { text, data, said } = await scene.ask(ANA, "reviewer", "what changed in the last commit?");
  expect((data as Found).findings.map(({ kind, path, line }) => [kind, path, line])).toEqual([
    ["conflict", "src/a.ts", 2],
    ["conflict", "src/a.ts", 4],
    ["conflict", "src/a.ts", 6],
    ["secret", "src/a.ts", 5],
    ["debug", "src/a.ts", 3],
    ["debug", "src/a.ts", 8],
    ["size", "src/long.ts", 1001],
    ["tests", "src/long.ts", 1],
    ["todo", "src/a.ts", 7],
  ]);
  expect(text).toContain("second thing");
  expect(text).toContain("With a reason.");
  expect(text).not.toContain("first thing");
  expect(text).toMatch(/src\/long\.ts +\+1001 −0 {2}new/);
  expect(text).toContain("src/a.ts:5  looks like an AWS access key");
  // A finding never repeats the secret.
  expect(text).not.toContain(awsKey);
  // Digest first, then findings; the answer is whole by itself.
  expect(said).toHaveLength(2);
  expect(said[0]).toContain("## The last commit of app");
  expect(said[1]).toContain("9 findings");
  expect(text).toBe(said.join(""));
});

test("reviewer: an attached diff is reviewed instead of the share, also where several shares would need a name", async () => {
  await using scene = await openRepository();
  scene.shares.push({ name: "two", folder: scene.folder, rights: "read", for: [ANA] });
  const diff =
    "diff --git a/x.py b/x.py\n--- a/x.py\n+++ b/x.py\n@@ -3,1 +3,2 @@ def f():\n     y = 1\n+    breakpoint()\n";
  const { text, data } = await scene.ask(ANA, "reviewer", [{ text: "review this" }, { text: diff }]);
  expect((data as Found).findings).toMatchObject([{ kind: "debug", path: "x.py", line: 4 }, { kind: "tests" }]);
  expect(text).toContain("The attached diff");
  expect(text).not.toContain("first thing");
  await expect(scene.ask(ANA, "reviewer", "what changed?"), "it names what was called").rejects.toMatchObject({
    code: "SHARE_NEEDED",
    message: expect.stringMatching(/^the agent reviewer needs the argument "share"/) as string,
  });
  expect((await scene.ask(ANA, "reviewer", "what changed?", { share: "two" })).text).toContain("first thing");
});

test("reviewer: an attached text that is no diff is looked at as a new file", async () => {
  await using scene = await openRepository();
  const { data } = await scene.ask(ANA, "reviewer", [{ text: "is this fine?" }, { text: `one\nkey ${awsKey}\n` }]);
  expect((data as Found).findings).toMatchObject([{ kind: "secret", path: "attachment", line: 2 }]);
});

test("reviewer: a repository of one commit, an empty one and a folder without git are told as what they are", async () => {
  await using scene = await openRepository();
  expect((await scene.ask(ANA, "reviewer", "what changed in the last commit?")).text).toMatch(
    /first commit: everything in it is new[\s\S]*src\/a\.ts +\+1 −0 {2}new/,
  );
  rmSync(join(scene.folder, ".git"), { recursive: true });
  expect((await scene.ask(ANA, "reviewer", "what changed?")).text).toContain(
    '"app" has no history to review: it is not a git repository',
  );
  scene.git("init", "-q");
  expect((await scene.ask(ANA, "reviewer", "what changed?")).text).toContain("has no commit yet");
});

test("reviewer: in a shallow clone it says that the change can't be told and shows the files as they stand [shallow-clone]", async () => {
  await using scene = await openRepository();
  scene.write("src/a.ts", "export const a = 2;\n");
  scene.git("commit", "-qam", "second");
  const clone = join(scene.root, "clone");
  git(scene.root, "clone", "-q", "--depth", "1", pathToFileURL(scene.folder).href, clone);
  scene.shares[0] = { ...scene.shares[0]!, folder: clone };
  const { text } = await scene.ask(ANA, "reviewer", "what changed in the last commit?");
  expect(text).toContain("second");
  expect(text).toContain("shallow clone");
  expect(text).toMatch(/2 files, 2 lines:/);
  expect(text).not.toContain("no test changed");
});

test("reviewer: a clone that belongs to another user is read [foreign-clone]", async () => {
  await using scene = await openRepository();
  if (process.getuid?.() === 0) {
    for (const path of execFileSync("find", [scene.folder], { encoding: "utf8" }).trim().split("\n"))
      chownSync(path, 12345, 12345);
    expect(() =>
      execFileSync("git", ["-C", scene.folder, "log"], {
        stdio: "pipe",
        env: { ...process.env, HOME: scene.root, GIT_CONFIG_GLOBAL: "/dev/null" },
      }),
    ).toThrow("dubious ownership");
  }
  expect((await scene.ask(ANA, "reviewer", "what changed?")).text).toContain("first thing");
});

test("reviewer: what is not committed yet, with new files named that git does not know", async () => {
  await using scene = await openRepository();
  scene.write("src/a.ts", "export const a = 3;\n");
  scene.write("src/new.ts", "new\n");
  scene.write(".env", "x");
  const { text } = await scene.ask(ANA, "reviewer", "review my uncommitted changes");
  expect(text).toMatch(/1 file changed, \+1 −1/);
  expect(text).toContain("not in the diff: src/new.ts");
  expect(text).not.toContain(".env");
});

test("reviewer: ranges, counts, hashes and dates of a question", async () => {
  await using scene = await openRepository();
  for (const n of [2, 3, 4]) {
    scene.write("src/a.ts", `export const a = ${n};\n`);
    scene.git("commit", "-qam", `change ${n}`);
  }
  const hash = scene.git("rev-parse", "--short=10", "HEAD~1").trim();
  const text = async (question: string) => (await scene.ask(ANA, "reviewer", question)).text;
  expect(await text("review the last two commits")).toMatch(/The last 2 commits[\s\S]*change 4[\s\S]*change 3/);
  expect(await text("the last 20 commits")).toContain("There are only 4 commits");
  expect(await text("HEAD~3..HEAD~2")).toContain("change 2");
  expect(await text(`what did ${hash} do?`)).toContain("change 3");
  expect(await text("what changed since 2 days ago?")).toContain("first thing");
  expect(await text("what changed since 2099-01-01?")).toContain("No commits");
  expect(await text("well..hm, what changed?")).toContain('There is no commit "well"');
});

test("reviewer: questions are read as what they say", () => {
  expect(readQuestion("what changed in the last commit?")).toEqual({ about: "commits", count: 1, said: true });
  expect(readQuestion("please review")).toEqual({ about: "commits", count: 1, said: false });
  expect(readQuestion("what happened in the last 3 days")).toEqual({ about: "since", since: "3 days ago" });
  expect(readQuestion("what did you do yesterday?")).toEqual({ about: "since", since: "yesterday.midnight" });
  expect(readQuestion("diff between main and feature/x")).toEqual({ about: "range", from: "main", to: "feature/x" });
  expect(readQuestion("anything not committed yet? show changes")).toEqual({ about: "uncommitted" });
});

test("reviewer: who has no share may not ask it; the owner may", async () => {
  await using scene = await openRepository();
  expect(await codeOf(scene.ask(EVE, "reviewer", "what changed?"))).toBe("DENIED");
  expect(await codeOf(scene.ask(ANA, "reviewer", "what changed?", { share: "other" }))).toBe("DENIED");
  expect(await codeOf(scene.ask(ANA, "reviewer", "what changed?", { shar: "app" }))).toBe("INVALID_ARGUMENTS");
  expect((await scene.ask(BEN, "reviewer", "what changed?")).text).toContain("first thing");
});

test("findings: nothing is found in ordinary code, prose and placeholders", () => {
  const lines = [
    "const password = process.env.PASSWORD;",
    'password: "${DB_PASSWORD}"',
    'const secret = "your-secret-here1";',
    `// no ${todo} is left`,
    "Heading",
    "=".repeat(7),
    'const text = "debugger;";',
    "postgres://user:<password>@host/db",
    "import x from './x.only.ts';",
  ];
  const file = {
    path: "docs/a.ts",
    status: "modified" as const,
    binary: false,
    added: lines.length,
    removed: 0,
    reaches: lines.length,
    addedLines: lines.map((text, index) => ({ text, line: index + 1 })),
  };
  const test = { ...file, path: "test/a.test.ts", addedLines: [] };
  expect(findings([file, test])).toEqual([]);
});

test("findings: invisible characters that turn code around are found", () => {
  const file = {
    path: "a.md",
    status: "modified" as const,
    binary: false,
    added: 1,
    removed: 0,
    reaches: 1,
    addedLines: [{ line: 1, text: "if (admin\u202E) {" }],
  };
  expect(findings([file])).toMatchObject([{ kind: "invisible", line: 1 }]);
});

test("diff: hunks are read by their counts, so lines that look like headers are not taken for them", () => {
  const text = [
    "diff --git a/a.sql b/a.sql",
    "--- a/a.sql",
    "+++ b/a.sql",
    "@@ -1,3 +1,3 @@",
    " one",
    "--- a/gone",
    "+++ b/come",
    " two",
    "diff --git a/old name.txt b/new name.txt",
    "similarity index 100%",
    "rename from old name.txt",
    "rename to new name.txt",
    'diff --git "a/t\\303\\244b.txt" "b/t\\303\\244b.txt"',
    "new file mode 100644",
    "--- /dev/null",
    '+++ "b/t\\303\\244b.txt"',
    "@@ -0,0 +1 @@",
    "+x",
    "\\ No newline at end of file",
    "",
  ].join("\n");
  expect(parseDiff(text).map(({ path, status, added, removed }) => [path, status, added, removed])).toEqual([
    ["a.sql", "modified", 1, 1],
    ["new name.txt", "renamed", 0, 0],
    ["täb.txt", "added", 1, 0],
  ]);
  expect(parseDiff(text)[0]!.addedLines).toEqual([{ line: 2, text: "++ b/come" }]);
  expect(looksLikeDiff(text)).toBe(true);
  expect(looksLikeDiff("--- a\n\nsome text\n+++ b\n")).toBe(false);
});

test("diff: what git prints is counted as git counts it", async () => {
  await using scene = await openRepository();
  mkdirSync(join(scene.folder, "odd"));
  scene.write('odd/na me "ä".txt', "--- a\n+++ b\n@@ -1 +1 @@\n");
  scene.write("src/a.ts", "export const a = 1;\nno end");
  scene.git("add", ".");
  scene.git("commit", "-qm", "odd");
  const result = await scene.call(ANA, "git.diff", { to: "HEAD" });
  const patch = (result.content[0] as { text: string }).text;
  const counted = (result.structured as { files: { path: string; added: number; removed: number }[] }).files;
  expect(parseDiff(patch).map(({ path, added, removed }) => ({ path, added, removed }))).toEqual(
    counted.map(({ path, added, removed }) => ({ path, added, removed })),
  );
  expect(counted.map(({ path }) => path)).toEqual(['odd/na me "ä".txt', "src/a.ts"]);
});

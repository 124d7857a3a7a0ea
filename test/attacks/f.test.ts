import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openInside } from "../../node/tools/jail.ts";
import { ANA, codeOf, git, openScene, type Scene } from "../tools/scene.ts";
import { ARGUMENT_ATTACKS, FILE_ATTACKS, GIT_ATTACKS, SECRET } from "./f.ts";

let template: string;
beforeAll(() => {
  template = mkdtempSync(join(tmpdir(), "kin-field-"));
  git(template, "init", "-q");
  writeFileSync(join(template, ".gitignore"), "ignored/\n*.log\n");
  writeFileSync(join(template, "readme.md"), "# app\n");
  mkdirSync(join(template, "src"));
  writeFileSync(join(template, "src/code.ts"), "export const one = 1;\n");
  git(template, "add", ".");
  git(template, "commit", "-qm", "first");
});
afterAll(() => rmSync(template, { recursive: true, force: true }));

async function openField(): Promise<Scene> {
  const scene = await openScene();
  writeFileSync(join(scene.root, "outside.txt"), SECRET);
  cpSync(template, scene.folder, { recursive: true });
  return scene;
}

/** What tools show, all together; a refusal shows its sentence. */
async function shown(...asked: Promise<unknown>[]): Promise<string> {
  const settled = await Promise.allSettled(asked);
  // A question that is repeated is no answer.
  const text = settled
    .map((one) => JSON.stringify(one.status === "fulfilled" ? one.value : String(one.reason)))
    .join("\n");
  return text.replaceAll(`\\"${SECRET.slice(0, 6)}\\" is in none`, "");
}

const byTools = (scene: Scene) =>
  shown(
    scene.text(ANA, "fs.search", { text: SECRET.slice(0, 6) }),
    scene.text(ANA, "git.log"),
    scene.text(ANA, "git.diff"),
    scene.text(ANA, "git.diff", { to: "HEAD" }),
  );

const byAgents = (scene: Scene) =>
  shown(
    scene.ask(ANA, "librarian", SECRET).then((answer) => answer.data),
    scene.ask(ANA, "reviewer", "what changed in the last commit?"),
    scene.ask(ANA, "reviewer", "what is not committed yet?"),
  );

for (const attack of FILE_ATTACKS)
  test(`${attack.id} files: ${attack.what} is not read`, async () => {
    await using scene = await openField();
    attack.plant?.(scene);
    expect(await codeOf(scene.call(ANA, "fs.read", { path: attack.path }))).toMatch(/^(DENIED|NOT_FOUND|TOO_LARGE)$/);
  });

test("F5 F6 F8 F10 F11 F12 F13 with all of these planted, nothing shows what they hold [share-links]", async () => {
  await using scene = await openField();
  for (const attack of FILE_ATTACKS) attack.plant?.(scene);
  scene.git("add", "--ignore-errors", "-N", "readme.md", "notes.txt", "cert.p12");
  scene.write("found.txt", "SECRETS are spoken of here\n");
  const seen = (await byTools(scene)) + (await byAgents(scene));
  expect(seen).toContain("found.txt");
  expect(seen).not.toContain(SECRET);
});

for (const attack of ARGUMENT_ATTACKS)
  test(`${attack.id} arguments: ${attack.what} is no way out of ${attack.tool}`, async () => {
    await using scene = await openField();
    scene.write(".env", SECRET);
    const answer = await codeOf(scene.call(ANA, attack.tool, attack.args));
    expect(answer).toMatch(attack.literal === true ? /# no change/ : /^(INVALID_ARGUMENTS|DENIED|TOOL_FAILED)$/);
    expect(existsSync(join(scene.root, "MARK"))).toBe(false);
  });

for (const attack of GIT_ATTACKS)
  test(`${attack.id} git: ${attack.what} ${attack.refused === true ? "makes the repository unusable" : "has no effect"}`, async () => {
    await using scene = await openField();
    const other = join(scene.root, "other");
    mkdirSync(other);
    git(other, "init", "-q");
    writeFileSync(join(other, "theirs.txt"), `${SECRET}\n`);
    git(other, "add", ".");
    git(other, "commit", "-qm", SECRET);
    attack.plant(scene, `touch ${join(scene.root, "MARK")}`);
    scene.write("src/code.ts", "export const one = 2;\n");
    const seen = await byTools(scene);
    expect(existsSync(join(scene.root, "MARK"))).toBe(false);
    expect(seen).not.toContain(SECRET);
    if (attack.refused === true) expect(await codeOf(scene.call(ANA, "git.log"))).toBe("TOOL_FAILED");
    else expect(await scene.text(ANA, "git.log")).toContain("first");
  });

test("F16 the same planted command does run in plain git, so these cases can fail", async () => {
  await using scene = await openField();
  scene.git("config", "diff.external", `touch ${join(scene.root, "MARK")}`);
  scene.write("src/code.ts", "export const one = 2;\n");
  scene.git("diff");
  expect(existsSync(join(scene.root, "MARK"))).toBe(true);
});

test("F7 a folder that is swapped for a link while files are opened never gives what lies outside [share-links]", async () => {
  await using scene = await openField();
  const [inside, aside, outside] = [join(scene.folder, "dir"), join(scene.folder, "aside"), join(scene.root, "evil")];
  mkdirSync(inside);
  mkdirSync(outside);
  writeFileSync(join(inside, "f.txt"), "mine");
  writeFileSync(join(outside, "f.txt"), SECRET);
  const jail = { root: scene.folder, forbidden: [] };
  // Another process swaps as fast as it can.
  const script = `for i in $(seq 150); do mv ${inside} ${aside}; ln -s ${outside} ${inside}; rm ${inside}; mv ${aside} ${inside}; done`;
  const { spawn } = await import("node:child_process");
  const swapper = spawn("sh", ["-c", script], { stdio: "ignore" });
  const ended = new Promise<void>((done) => swapper.once("exit", () => done()));
  let running = true;
  void ended.then(() => (running = false));
  const read = new Set<string>();
  while (running) {
    const file = await openInside(jail, "dir/f.txt").catch(() => null);
    if (file === null) continue;
    read.add((await file.handle.readFile()).toString());
    await file.handle.close();
  }
  await ended;
  expect([...read]).toEqual(["mine"]);
});

test("F11 secrets are left out of a diff by name and it says so", async () => {
  await using scene = await openField();
  scene.write(".env", SECRET);
  scene.write("id_ed25519", SECRET);
  scene.write("src/more.ts", "export const two = 2;\n");
  scene.git("add", "-f", ".");
  scene.git("commit", "-qm", "second");
  const text = await scene.text(ANA, "git.diff", { to: "HEAD" });
  expect(text).toContain("left out, never served: .env, id_ed25519");
  expect(text).toContain("+export const two = 2;");
  expect(text).not.toContain(SECRET);
});

test("F11 a file that was tracked once and is ignored now is left out of diffs of the past", async () => {
  await using scene = await openField();
  scene.write("notes.txt", SECRET);
  scene.git("add", ".");
  scene.git("commit", "-qm", "second");
  scene.git("rm", "-q", "--cached", "notes.txt");
  scene.write(".gitignore", "ignored/\n*.log\nnotes.txt\n");
  scene.git("add", ".gitignore");
  scene.git("commit", "-qm", "third");
  expect(await scene.text(ANA, "git.diff", { from: "HEAD~2", to: "HEAD" })).not.toContain(SECRET);
  expect(await scene.text(ANA, "git.diff", { to: "HEAD~1" })).not.toContain(SECRET);
});

test("F5 a share below a repository shows nothing of the folders beside it", async () => {
  await using scene = await openField();
  scene.write("docs/page.md", "page\n");
  scene.write("src/code.ts", `// ${SECRET}\n`);
  scene.git("add", ".");
  scene.git("commit", "-qm", "both");
  scene.shares[0] = { ...scene.shares[0]!, folder: join(scene.folder, "docs") };
  const text = await scene.text(ANA, "git.diff", { to: "HEAD" });
  expect(text).toContain("+page");
  expect(text + (await byTools(scene)) + (await byAgents(scene))).not.toContain(SECRET);
  expect(await scene.text(ANA, "fs.read", { path: "page.md" })).toBe("page");
});

test("F5 a linked worktree, which its repository names back, is served", async () => {
  await using scene = await openField();
  const tree = join(scene.root, "tree");
  scene.git("worktree", "add", "-q", "-b", "side", tree);
  scene.shares[0] = { ...scene.shares[0]!, folder: tree };
  expect(await scene.text(ANA, "git.log")).toContain("first");
  expect(await scene.text(ANA, "fs.read", { path: "readme.md" })).toBe("# app");
});

test("F12 at the sink a FIFO, a socket and a folder are refused and hold nobody", async () => {
  await using scene = await openScene();
  execFileSync("mkfifo", [join(scene.folder, "pipe")]);
  mkdirSync(join(scene.folder, "dir"));
  const server = createServer().listen(join(scene.folder, "socket"));
  await once(server, "listening");
  const jail = { root: scene.folder, forbidden: [] };
  for (const path of ["pipe", "socket", "dir"]) expect(await codeOf(openInside(jail, path))).toBe("DENIED");
  server.close();
});

test("F12 a FIFO in place of a file that git needs does not hold us", async () => {
  await using scene = await openField();
  for (const name of ["packed-refs", "shallow", "config"]) {
    rmSync(join(scene.folder, ".git", name), { force: true });
    execFileSync("mkfifo", [join(scene.folder, ".git", name)]);
  }
  expect(await scene.text(ANA, "git.log")).toContain("first");
});

test("F5 without git's data the same files stay hidden, by .gitignore alone", async () => {
  await using scene = await openField();
  renameSync(join(scene.folder, ".git"), join(scene.root, "gone"));
  scene.write("ignored/a.txt", SECRET);
  scene.write("x.log", SECRET);
  scene.write("src/.gitignore", "!keep.log\nlocal.ts\n");
  scene.write("src/keep.log", "kept");
  scene.write("src/local.ts", SECRET);
  symlinkSync(join(scene.root, "outside.txt"), join(scene.folder, "link.txt"));
  for (const path of ["ignored/a.txt", "x.log", "src/local.ts", "link.txt"])
    expect(await codeOf(scene.call(ANA, "fs.read", { path }))).toBe("DENIED");
  expect(await scene.text(ANA, "fs.read", { path: "src/keep.log" })).toBe("kept");
  expect(await scene.text(ANA, "fs.search", { text: "SECRET" })).toContain("is in none of the 5 files");
});

import { expect, test } from "vitest";
import { ANA, codeOf, openScene } from "./scene.ts";

test("shares: without git installed files are served by .gitignore, and git's tools and the reviewer say what is missing [without-git]", async () => {
  await using scene = await openScene();
  scene.git("init", "-q");
  scene.write(".gitignore", "ignored.txt\n");
  scene.write("ignored.txt", "hidden words");
  scene.write("a.txt", "some words\n");
  scene.git("add", ".");
  scene.git("commit", "-qm", "first");
  const before = process.env["PATH"];
  process.env["PATH"] = scene.data;
  try {
    expect(await scene.text(ANA, "fs.read", { path: "a.txt" })).toBe("some words");
    expect(await scene.text(ANA, "fs.search", { text: "words" })).toBe("a.txt:1: some words");
    expect(await codeOf(scene.call(ANA, "fs.read", { path: "ignored.txt" }))).toBe("DENIED");
    expect((await scene.ask(ANA, "librarian", "words")).text).toContain("a.txt:1");
    await expect(scene.call(ANA, "git.log")).rejects.toThrow("git is not installed on this machine");
    await expect(scene.ask(ANA, "reviewer", "what changed?")).rejects.toThrow("git is not installed on this machine");
  } finally {
    process.env["PATH"] = before;
  }
});

/** The docs against what stands: links lead somewhere, the house of the architecture page is the house of the repository. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const pages = [
  "README.md",
  "CHANGELOG.md",
  ...readdirSync(join(ROOT, "docs"), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".md"))
    .map((file) => `docs/${file}`),
];

test("docs-links: every link to a file of ours leads to one", () => {
  const broken = pages.flatMap((page) =>
    [...readFileSync(join(ROOT, page), "utf8").matchAll(/\]\(([^)#\s]+)[^)]*\)/g)]
      .map(([, target]) => target!)
      .filter((target) => !/^[a-z]+:/.test(target))
      .filter((target) => !existsSync(resolve(ROOT, dirname(page), target)))
      .map((target) => `${page}: ${target}`),
  );
  expect(pages.length).toBeGreaterThan(4);
  expect(broken).toEqual([]);
});

/** `• name name` lists of the block under "## 3."; `name/` opens a folder, `{a,b}` names several. */
function houseOfThePage(): string[] {
  const text = readFileSync(join(ROOT, "docs/architecture.md"), "utf8");
  const block = /```house\n([^]*?)```/.exec(text)?.[1] ?? "";
  let folder = "";
  return block.split("\n").flatMap((line) => {
    const [, opened, rest] = /^ *(?:([a-z-]+(?:\/[a-z-]+)*)\/)?(.*)$/.exec(line)!;
    if (opened !== undefined) folder = opened;
    return [...rest!.split("—")[0]!.matchAll(/([a-z0-9-]+(?:\.js)?)(?=[\s,]|$)/g)].map(([, name]) =>
      join(folder, name!.endsWith(".js") ? name! : `${name}.ts`),
    );
  });
}

test("docs-links: the files that the architecture page names are the files of the house, all of them", () => {
  const built = ["protocols", "sync", "node"].flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, encoding: "utf8" })
      .filter((file) => /\.(ts|js)$/.test(file))
      .map((file) => join(top, file)),
  );
  expect(houseOfThePage().toSorted()).toEqual(built.toSorted());
});

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeRepository, openWorld, until, type Person } from "./people.ts";

const README = new URL("../../README.md", import.meta.url);

/** `who$ kin …` lines of the README, in order, without their comments. */
async function transcript(): Promise<{ who: string; typed: string }[]> {
  const text = await readFile(README, "utf8");
  return [...text.matchAll(/^(ben|ana)\$ (.+)$/gm)].map(([, who, line]) => ({
    who: who!,
    typed: line!.split(/\s+#/)[0]!.trim(),
  }));
}

test("[readme-transcript] every command of the README's transcript runs, and Ana needs two until Ben's agent answers", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const people: { [who: string]: Person } = { ben: await world.person("ben"), ana: await world.person("ana") };
  const files = join(world.folder, "change.diff");
  await writeFile(files, "diff --git a/x.js b/x.js\n--- a/x.js\n+++ b/x.js\n@@ -1 +1,2 @@\n a\n+debugger;\n");
  let ticket = "";
  let anaCommands = 0;
  let answered = false;
  for (const { who, typed } of await transcript()) {
    const person = people[who]!;
    const piped = /^git diff \| (.+)$/.exec(typed);
    const args = words((piped?.[1] ?? typed).replace(/^kin /, "")).map((word) =>
      word === "~/src/app"
        ? folder
        : word === "~/src/other"
          ? join(world.folder, "other")
          : word === "kint1…"
            ? ticket
            : word === "change.diff"
              ? files
              : word,
    );
    if (who === "ana" && !answered) anaCommands++;
    const ran = await person.kin(args, piped === null ? {} : { stdin: await readFile(files, "utf8") });
    expect(ran, `${who}$ ${typed}\n${ran.out}${ran.err}`).toMatchObject({ code: 0 });
    ticket ||= /^kint1[a-z2-7]+$/m.exec(ran.out)?.[0] ?? "";
    if (!answered && args[0] === "ask") {
      expect(ran.out).toContain("Greet politely");
      answered = true;
    } else if (piped !== null || args.includes("--attach")) expect(ran.out).toMatch(/x\.js.*debugger|debugger/s);
  }
  expect(answered).toBe(true);
  expect(anaCommands).toBe(2);
}, 120_000);

/** As a shell splits: quotes group. */
function words(line: string): string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(([, double, single, bare]) => double ?? single ?? bare!);
}

test("[remove-everywhere] a removed member is cut off at once, learns why, and cannot come back with her keys", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const ben = await world.person("ben");
  const ana = await world.person("ana");
  const carl = await world.person("carl");
  const invite = async (name: string): Promise<string> =>
    (await ben.json<{ ticket: string }>(["invite", "--name", name, ...(name === "ana" ? ["--share", folder] : [])]))
      .ticket;
  expect((await ana.kin(["join", await invite("ana")])).code).toBe(0);
  expect((await carl.kin(["join", await invite("carl")])).code).toBe(0);
  expect((await ana.kin(["ask", "ben/reviewer", "what changed?"])).code).toBe(0);
  const removed = await ben.json<{ name: string; epoch: string }>(["remove", "ana"]);
  expect(removed).toMatchObject({ name: "ana", epoch: expect.stringMatching(/^[0-9a-f]{64}$/) as string });
  const members = (person: Person) => async () =>
    (await person.json<{ items: { name: string }[] }>(["members"])).items.map(({ name }) => name).join() === "ben,carl";
  await until(members(carl));
  const asked = await until(async () => {
    const ran = await ana.kin(["ask", "ben/reviewer", "and now?", "--now"]);
    return ran.code !== 0 && ran;
  });
  expect(asked.err).toContain("removed");
  expect((await carl.kin(["ask", "ana/guide", "hello"])).err).toContain("removed");
}, 120_000);

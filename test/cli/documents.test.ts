/** `kin facts`, `kin note`, `kin agents config` at a node of answers: what is asked of it, what people and programs read. */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { columnLines } from "../../node/cli/board-columns.ts";
import { changeless } from "./changeless.ts";
import { runKin, type Ran } from "./run-kin.ts";

let home: string;
const kin = (args: string[], stdin?: string): Promise<Ran> =>
  runKin(args, { home, ...(stdin !== undefined && { stdin }) });
const json = (ran: Ran): { [key: string]: unknown } => JSON.parse(ran.out) as never;

beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "kin-documents-")));
  expect(await kin(["up", "--as", "ben"])).toMatchObject({ code: 0 });
});
afterAll(async () => {
  await kin(["down"]);
  rmSync(home, { recursive: true, force: true });
});

test("F9: a fact's value is JSON, or text; from the word, or from a pipe [values-kept]", async () => {
  const valueOf = async (args: string[], stdin?: string) =>
    (json(await kin(["facts", "set", "k", ...args, "--json"], stdin)) as { values: { value: unknown }[] }).values[0]!
      .value;
  expect(await valueOf(["8080"])).toBe(8080);
  expect(await valueOf(['{"a": [1]}'])).toEqual({ a: [1] });
  expect(await valueOf(["hello there"])).toBe("hello there");
  expect(await valueOf(["8080", "--text"])).toBe("8080");
  expect(await valueOf([], "from a pipe\n")).toBe("from a pipe");
  expect(await valueOf(["1.10"])).toBe("1.10");
  expect(await kin(["facts", "set", "k", '{"id": 12345678901234567890}'])).toMatchObject({
    code: 2,
    err: expect.stringContaining("the value has the number 12345678901234567890"),
  });
  expect(await valueOf(['{"id": 12345678901234567890}', "--text"])).toBe('{"id": 12345678901234567890}');
  expect(await kin(["facts", "set", "k"])).toMatchObject({ code: 2, err: expect.stringContaining("needs a value") });
  expect((await kin(["facts", "set", "k", "8080"])).out).toBe("k = 8080\n");
  expect((await kin(["facts", "unset", "k"])).out).toBe("k is no longer set\n");
});

test("F9: values that were set apart are all shown, with who and when, and nothing that remote text wanted", async () => {
  const got = await kin(["facts", "get", "k"]);
  expect(got.out).toContain("2 values, set without knowledge of each other");
  expect(got.out).toMatch(/ {2}b {2}\(ana@laptop, 1 min ago\)/);
  expect(changeless(got.out)).toBe(true);
  expect(json(await kin(["facts", "get", "k", "--json"]))).toMatchObject({ v: 1, key: "k", scope: "mesh" });
  const listed = await kin(["facts", "ls", "app/"]);
  expect(listed.out).toContain("app/port  8080   ana@laptop");
  expect(listed.out).toContain(" or       [1]");
  expect(listed.out).toContain("2 more: say how their keys begin");
  expect((await kin(["facts", "history", "k"])).out).toContain("(unset)");
  expect(Object.keys(json(await kin(["facts", "ls", "--json"])))).toEqual(["v", "items", "total"]);
});

test("F9: a note is made, shown, changed and shared; what it says can't move the cursor", async () => {
  expect((await kin(["note", "new", "plan", "--for", "ana,li", "--text", "x"])).out).toContain(
    '"plan" is there for ana, li',
  );
  const shown = await kin(["note", "show", "plan"]);
  expect(shown.out).toContain("ana@laptop · 1 edit, 5 s ago");
  expect(shown.out).toContain("an edit by mallory@pc has no effect: an update of a note: it ends[2J early");
  expect(shown.out).toContain("sync why kine1bad");
  expect(changeless(shown.out)).toBe(true);
  expect((await kin(["note", "edit", "plan", "--append", "jam"])).out).toContain("plan: jam true");
  expect((await kin(["note", "edit", "plan"], "all of it")).out).toContain("plan: all of it false");
  expect((await kin(["note", "edit", "plan", "--text", "same"])).out).toContain("says that already");
  expect((await kin(["note", "share", "plan", "ana", "li"])).out).toContain("for ana, li now");
  expect((await kin(["note", "ls"])).out).toContain("plan  all members  ana, 5 s ago     5           kine1abc");
  expect(Object.keys(json(await kin(["note", "ls", "--json"])))).toEqual(["v", "items"]);
});

test("F9: a board is begun, shown and changed; a card is one line, and can't move the cursor", async () => {
  expect((await kin(["note", "new", "Release 1.0", "--board"])).out).toContain(
    '"Release 1.0: todo|doing|done" is there',
  );
  expect((await kin(["note", "new", "r", "--columns", "a, b"])).out).toContain('"r: a|b" is there');
  expect((await kin(["board", "new", "r", "--columns", "a,b", "--for", "ana"])).out).toContain("is there for ana");
  const shown = await kin(["board", "show", "release"]);
  expect(shown.out).toContain("todo · 2\n  a3f fix login\n  b21 write[2J it … (ana, li)\ndone · 0\n");
  expect(changeless(shown.out)).toBe(true);
  expect((await kin(["note", "show", "release"])).out).toBe(shown.out);
  expect((await kin(["board", "show", "release", "a3"])).out).toBe(
    "a3f0000000000000 · in todo · for ana\nfix[2J login\nsecond line\n",
  );
  const said = async (...args: string[]) => (await kin(["board", ...args])).out;
  expect(await said("add", "release", "fix", "it", "--top", "--for", "ana,li")).toBe("a3f is in todo: fix it|top\n");
  expect(await said("add", "release", "fix", "--column", "done")).toBe("a3f is in done: fix|end\n");
  expect((await kin(["board", "add", "release"], "from\na pipe\n")).out).toBe("a3f is in todo: from …\n");
  expect(await said("move", "release", "a3f", "done")).toBe('a3f is in done: a3f|"end"\n');
  expect(await said("move", "release", "a3f", "--before", "b2")).toBe('a3f is in its own: a3f|{"before":"b2"}\n');
  expect(await said("edit", "release", "a3f", "--text", " fixed ")).toBe("a3f says: fixed\n");
  expect(await said("edit", "release", "a3f", "--text", "same")).toBe("that is so already\n");
  expect(await said("assign", "release", "a3f", "ana", "li")).toBe("a3f is for ana, li: not\n");
  expect(await said("assign", "release", "a3f", "ana", "--remove")).toBe("a3f is for nobody: not ana\n");
  expect(await said("rm", "release", "a3f")).toBe("a3f is gone: a3f\n");
  expect(await said("columns", "release")).toBe("todo, done\n");
  expect(await said("columns", "release", "todo, review,done")).toBe("todo, review, done\n");
  expect(await said("share", "release", "li")).toContain("for li now");
  expect(await said("ls")).toContain("no boards");
  expect(json(await kin(["board", "add", "release", "x", "--json"]))).toMatchObject({
    v: 1,
    form: "board",
    card: { short: "a3f" },
    column: "todo",
    changed: true,
  });
  expect(json(await kin(["note", "show", "release", "--json"]))).toMatchObject({
    columns: [
      { name: "todo", cards: [{ text: "fix login" }, { for: ["ana", "li"] }] },
      { name: "done", cards: [] },
    ],
  });
}, 60_000);

test("F9: columns stand side by side where there is room; words wrap inside of theirs", async () => {
  const card = {
    id: "a3f0000000000000",
    short: "a3f",
    text: "fix the login\u001b[2J of all people",
    base: [],
    for: ["ana"],
  };
  const lines = await columnLines(
    [
      { name: "todo", cards: [card, { ...card, short: "b21", text: "日本語", for: [] }] },
      { name: "done", cards: [{ ...card, short: "c00", text: "slept", for: [] }] },
    ],
    20,
  );
  expect(lines).toEqual([
    "todo · 2              done · 1",
    "a3f fix the login[2J  c00 slept",
    "of all people (ana)",
    "b21 日本語",
  ]);
});

test("F9: what can't be meant is a usage error", async () => {
  for (const [args, says] of [
    [["note", "edit", "plan"], "needs to know what to write"],
    [["note", "edit", "plan", "--text", "a", "--append", "b"], "say one of them"],
    [["note", "new", "plan", "--for", "ana,,li", "--text", "x"], "names nobody in one place"],
    [["note", "shw", "plan"], 'did you mean "show"?'],
    [["note", "new", "plan", "--board", "--text", "x"], "begins with columns"],
    [["board", "add", "release"], "needs what the card says"],
    [["board", "move", "release", "a3f"], "needs to know where to"],
    [["board", "move", "release", "a3f", "--top", "--after", "b2"], "say one of them"],
    [["board", "edit", "release", "a3f"], "needs to know what to write"],
    [["board", "mov", "release", "a3f"], 'did you mean "move"?'],
    [["facts"], "kin facts needs one of"],
    [["agents", "config", "guide", "--unset"], "--unset needs a setting"],
    [["agents", "config", "guide", "paused", "true", "--unset"], "not both"],
  ] as const)
    expect(await kin([...args])).toMatchObject({ code: 2, err: expect.stringContaining(says) });
});

test("piped-hint: what is too long is refused with what is possible there: no --attach where there is none", async () => {
  for (const [args, what] of [
    [["note", "new", "x"], "a note holds UTF-8 text"],
    [["note", "edit", "x"], "a note holds UTF-8 text"],
    [["facts", "set", "k"], "a fact holds JSON or UTF-8 text"],
    [["board", "add", "release"], "a card holds UTF-8 text"],
    [["board", "edit", "release", "a3f"], "a card holds UTF-8 text"],
    [["ask", "ben/reviewer", "x"], "send it as a file: --attach FILE"],
  ] as const) {
    const { err } = await kin([...args], "x".repeat(1024 * 1024 + 1));
    expect(err).toContain(`kin: more than 1048576 bytes were piped in (TOO_LARGE)\n  ${what}`);
    expect(err.includes("--attach")).toBe(args[0] === "ask");
  }
});

test("F9: an agent's settings, what lost against them, and their history", async () => {
  const listed = await kin(["agents", "config", "guide"]);
  expect(listed.out).toMatch(/paused {3}true {3}set to false at the same time/);
  expect((await kin(["agents", "config", "guide", "--history"])).out).toMatch(/paused {3}true {3}ben@laptop, 5 s ago/);
  const set = json(await kin(["agents", "config", "guide", "paused", "true", "--json"]));
  expect(set).toMatchObject({ v: 1, agent: "guide: paused true", changed: true });
  expect((await kin(["agents"])).out).toContain("ben/reviewer");
});

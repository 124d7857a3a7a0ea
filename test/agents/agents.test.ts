import { mkdirSync, rmSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { authorize } from "../../node/guard/authorize.ts";
import { BUILT_IN_RIGHTS, whatInviteAllows } from "../../node/tools/share-rights.ts";
import { ANA, BEN, codeOf, EVE, openScene, type Scene } from "../tools/scene.ts";

const SECRET = "c4nary";
const files = (data: unknown) =>
  (data as { hits: { path: string; line: number }[] }).hits.map(({ path, line }) => `${path}:${line}`);

function define(scene: Scene, name: string, text: string): void {
  mkdirSync(join(scene.root, "agents", name), { recursive: true });
  writeFileSync(join(scene.root, "agents", name, "AGENT.md"), text);
}
const timely = (audience: string) =>
  `---\nname: timely\ndescription: Says the time.\nfor: ${audience}\ntools: [time]\nsteps:\n  - { tool: time, as: now }\nanswer: "It is {{now.text}}, {{question}}"\n---\n`;

test("librarian: finds words with file and line, and follows what is written, changed, ignored and deleted [librarian-follows]", async () => {
  await using scene = await openScene();
  scene.write("docs/tickets.md", "# Tickets\n\nA ticket expires after a day.\n");
  scene.write("src/parse.ts", "\n\nexport function parseTicketText() {}\n");
  const ask = async (question: string) => scene.ask(ANA, "librarian", question);
  expect(files((await ask("where is the ticket parsed?")).data)[0]).toBe("src/parse.ts:3");
  expect((await ask("when does a ticket expire?")).text).toContain("docs/tickets.md:3: A ticket expires after a day.");
  scene.write("docs/tickets.md", "nothing of that kind here any more, really\n");
  scene.write("notes.txt", "expires too\n");
  expect(files((await ask("expires")).data)).toEqual(["notes.txt:1"]);
  scene.write(".gitignore", "notes.txt\n");
  expect((await ask("expires")).text).toContain('Nothing about "expires"');
  unlinkSync(join(scene.folder, "src/parse.ts"));
  expect(files((await ask("parse")).data)).toEqual([]);
});

test("librarian: never indexed are .env, keys and ignored files; nothing of them is in views.db", async () => {
  await using scene = await openScene();
  scene.write("fine.txt", "fine words\n");
  scene.write(".gitignore", "private/\n");
  for (const path of [".env", "id_rsa", "x.pem", "private/a.txt", ".git/config"]) scene.write(path, SECRET);
  scene.write("innocent.txt", ["-----BEGIN", "PRIVATE KEY-----\n"].join(" ") + SECRET);
  expect((await scene.ask(ANA, "librarian", SECRET)).text).toContain("Nothing about");
  const { rows } = await scene.views.execute("SELECT text, path FROM library_text");
  expect(rows.map((row) => row["path"] as string).toSorted()).toEqual([".gitignore", "fine.txt"]);
  expect(JSON.stringify(rows)).not.toContain(SECRET);
});

test("librarian: an unchanged file is not read again, and a share that is gone leaves the index", async () => {
  await using scene = await openScene();
  scene.write("a.txt", "alpha\n");
  await scene.ask(ANA, "librarian", "alpha");
  const rowOf = async () =>
    (await scene.views.execute("SELECT first, mtime FROM library_files WHERE path = 'a.txt'")).rows[0];
  const before = await rowOf();
  await scene.ask(ANA, "librarian", "alpha");
  expect(await rowOf()).toEqual(before);
  utimesSync(join(scene.folder, "a.txt"), 1, 1);
  await scene.ask(ANA, "librarian", "alpha");
  expect(await rowOf()).not.toEqual(before);
  const other = join(scene.root, "other");
  mkdirSync(other);
  scene.shares[0] = { name: "other", folder: other, rights: "read", for: [ANA] };
  await scene.ask(ANA, "librarian", "alpha");
  expect((await scene.views.execute("SELECT count(*) AS n FROM library_text")).rows[0]!["n"]).toBe(0);
});

test("librarian: operators of the search language are words", async () => {
  await using scene = await openScene();
  scene.write("a.txt", "alpha NEAR beta\n");
  for (const question of ['alpha" OR "', "alpha AND NOT", "NEAR(alpha", "text:alpha*", "^alpha -beta", "(((("])
    expect(await codeOf(scene.ask(ANA, "librarian", question))).toContain("no error");
});

test("librarian: two that ask at once do not write a file twice", async () => {
  await using scene = await openScene();
  for (let n = 0; n < 30; n++) scene.write(`f${n}.txt`, "alpha\n");
  await Promise.all([1, 2, 3].map(() => scene.ask(ANA, "librarian", "alpha")));
  expect((await scene.views.execute("SELECT count(*) AS n FROM library_text")).rows[0]!["n"]).toBe(30);
});

test("guide: what fits the question comes first, what may not be asked is not named [guide-asks]", async () => {
  const item = (address: string, rest: object = {}) => ({
    address,
    kind: "agent" as const,
    description: "",
    skills: [],
    online: true,
    mayAsk: true,
    shares: [],
    ...rest,
  });
  await using scene = await openScene({
    listing: [
      item("ben/librarian", { skills: ["search"] }),
      item("ben/reviewer", { skills: ["review"], shares: ["app"] }),
      item("li/private", { mayAsk: false }),
      item("li/tools/time", { kind: "tool", online: false }),
    ],
  });
  const all = (await scene.ask(EVE, "guide", "what can I ask?")).text;
  expect(all).toContain("ben/librarian");
  expect(all).toContain("ben/reviewer [app]");
  expect(all).toContain("li/tools/time (offline");
  expect(all).not.toContain("li/private");
  const some = (await scene.ask(EVE, "guide", "who reviews code?")).text;
  expect(some).toContain("ben/reviewer");
  expect(some).not.toContain("ben/librarian");
  // The README's and the demo's words: they search for nothing.
  expect((await scene.ask(EVE, "guide", "what can I ask you?")).text).toMatch(/^You can ask:/);
});

test("shares: what an invite says is exactly what is allowed then, and no more [invite-exact]", async () => {
  await using scene = await openScene();
  scene.shares.push({ name: "other", folder: scene.folder, rights: "read", for: [EVE] });
  const rights = scene.agents.rights();
  const described = (list: readonly { kind: string; name: string }[]) =>
    list.map(({ kind, name }) => `${kind} ${name}`).toSorted();
  // The list that is printed is what is loaded, less what is for agents only.
  expect(described(rights.filter((right) => right.for !== "agents"))).toEqual(described(BUILT_IN_RIGHTS));
  for (const right of BUILT_IN_RIGHTS) expect(rights).toContainEqual(right);
  const said = whatInviteAllows([scene.shares[0]!], "member", rights);
  expect(said).toEqual([
    `ask librarian and reviewer on "app" (${scene.folder}, read only)`,
    `call fs.read, fs.search, git.diff and git.log on "app" (${scene.folder}, read only)`,
    "never see .git, ignored files, .env files, private keys, or links that lead out of the folder",
    "ask guide",
    "call time",
    "ping this node",
  ]);
  for (const right of rights) {
    const may = authorize({ person: ANA, me: false, through: null }, right, undefined, scene.shares).allowed;
    expect(said.some((sentence) => sentence.split(/[ ,]+/).includes(right.name))).toBe(may);
  }
  expect(whatInviteAllows([], "member")).toEqual(["ask guide", "call time", "ping this node"]);
});

test("shares: whoever has none may use guide and time, nothing else; with several the error lists his [share-needed]", async () => {
  await using scene = await openScene();
  scene.write("a.txt", "alpha");
  for (const tool of ["git.log", "git.diff", "fs.read", "fs.search"])
    expect(await codeOf(scene.call(EVE, tool, { path: "a.txt", text: "a" }))).toBe("DENIED");
  for (const agent of ["reviewer", "librarian"]) expect(await codeOf(scene.ask(EVE, agent, "alpha"))).toBe("DENIED");
  expect((await scene.ask(EVE, "guide", "hi")).text).toContain("Nothing here can be asked");
  expect(await scene.text(EVE, "time")).toMatch(/^\d{4}-\d\d-\d\dT/);
  scene.shares.push(
    { name: "two", folder: scene.folder, rights: "read", for: "mesh" },
    { name: "three", folder: scene.folder, rights: "read", for: [BEN] },
  );
  await expect(scene.call(ANA, "fs.read", { path: "a.txt" })).rejects.toThrow(
    'needs the argument "share": one of app, two',
  );
  expect(await scene.text(ANA, "fs.read", { path: "a.txt", share: "two" })).toBe("alpha");
  expect(await scene.text(EVE, "fs.read", { path: "a.txt" })).toBe("alpha");
  expect(await codeOf(scene.call(ANA, "fs.read", { path: "a.txt", share: "three" }))).toBe("DENIED");
});

test("agents: tools of agents are no targets for anybody", async () => {
  await using scene = await openScene();
  for (const tool of ["review.scope", "review.findings", "library.search", "mesh.listing"])
    expect(scene.agents.find({ tool })).toBeUndefined();
  expect(scene.agents.cards().tools.map(({ name }) => name)).toEqual([
    "fs.read",
    "fs.search",
    "git.diff",
    "git.log",
    "time",
  ]);
});

test("agents: cards say who may ask and follow the shares", async () => {
  await using scene = await openScene();
  const reviewer = () => scene.agents.cards().agents.find(({ name }) => name === "reviewer");
  expect(reviewer()).toMatchObject({ allowed: { persons: [ANA] }, shares: ["app"] });
  scene.shares.push({ name: "all", folder: scene.folder, rights: "read", for: "mesh" });
  expect(reviewer()).toMatchObject({ allowed: { mesh: true }, shares: ["app", "all"] });
  scene.shares.length = 0;
  expect(reviewer()).toBeUndefined();
  expect(scene.agents.mine().agents.map(({ name }) => name)).toEqual(["guide", "librarian", "reviewer"]);
});

test("agents: my own folder brings agents, for whom it says, after a reload", async () => {
  await using scene = await openScene();
  define(scene, "timely", timely("[ana, nobody]"));
  expect(scene.agents.find({ agent: "timely" })).toBeUndefined();
  await scene.agents.reload();
  expect((await scene.ask(ANA, "timely", "Ana")).text).toMatch(/^It is .*, Ana$/);
  expect(await codeOf(scene.ask(EVE, "timely", "Eve"))).toBe("DENIED");
  expect(scene.agents.problems().join()).toContain('nobody in this mesh is called "nobody"');
  define(scene, "timely", timely("me"));
  await scene.agents.reload();
  expect(await codeOf(scene.ask(ANA, "timely", "Ana"))).toBe("DENIED");
  expect(scene.agents.cards().agents.some(({ name }) => name === "timely")).toBe(false);
  rmSync(join(scene.root, "agents/timely"), { recursive: true });
  await scene.agents.reload();
  expect(scene.agents.find({ agent: "timely" })).toBeUndefined();
});

test("J4 an agent of mine can't take the place of a built-in one, and a broken one is a problem, not a crash", async () => {
  await using scene = await openScene();
  define(scene, "guide", timely("members").replace("name: timely", "name: guide"));
  define(scene, "broken", "---\nname: [\n---\n");
  define(scene, "other", timely("members"));
  await scene.agents.reload();
  expect((await scene.ask(ANA, "guide", "hi")).text).not.toContain("It is");
  expect(scene.agents.problems().join("\n")).toMatch(/guide is built in[\s\S]*/);
  expect(scene.agents.problems().join("\n")).toMatch(/broken\/AGENT\.md:\d+:\d+/);
  expect(scene.agents.problems().join("\n")).toContain('the agent is named "timely", its folder "other"');
});

test("agents: a step has the rights of who asks, never more: members may ask, the share stays closed [step-rights]", async () => {
  await using scene = await openScene();
  define(
    scene,
    "deputy",
    `---\nname: deputy\ndescription: Reads.\nfor: members\ntools: [fs.read]\nsteps:\n  - { tool: fs.read, with: { path: a.txt }, as: file }\nanswer: "{{file.text}}"\n---\n`,
  );
  await scene.agents.reload();
  scene.write("a.txt", SECRET);
  expect((await scene.ask(ANA, "deputy", "x")).text).toBe(SECRET);
  expect(await codeOf(scene.ask(EVE, "deputy", "x"))).toBe("DENIED");
  expect(scene.audit.map(({ event, through }) => [event, through])).toEqual([
    ["started", "deputy"],
    ["ended", "deputy"],
    ["started", "deputy"],
    ["refused", "deputy"],
  ]);
});

test("agents: files that come with a question are read as text", async () => {
  await using scene = await openScene();
  define(
    scene,
    "echo",
    `---\nname: echo\ndescription: Repeats.\nfor: members\ntools: [time]\nsteps:\n  - { tool: time, as: now }\nanswer: "{{question}}|{{attached}}"\n---\n`,
  );
  await scene.agents.reload();
  const blob = { hash: "0".repeat(64), bytes: 15, mediaType: "text/plain", name: "a.txt" };
  expect((await scene.ask(ANA, "echo", [{ text: "q" }, { blob }])).text).toBe("q|the blob's text");
  expect(await codeOf(scene.ask(ANA, "echo", [{ text: "q" }, { blob: { ...blob, bytes: 2 ** 30 } }]))).toBe(
    "TOO_LARGE",
  );
});

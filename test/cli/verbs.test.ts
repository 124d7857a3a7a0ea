import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { company } from "../../node/cli/join.ts";
import { changeless } from "./changeless.ts";
import { MAIN, runKin, type Ran } from "./run-kin.ts";

let home: string;
const kin = (
  args: string[],
  options: { stdin?: string | { open: true }; env?: { [name: string]: string } } = {},
): Promise<Ran> => runKin(args, { home, ...options });
const json = (ran: Ran): { [key: string]: unknown } => JSON.parse(ran.out) as never;
const lines = (ran: Ran): { [key: string]: unknown }[] =>
  ran.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as never);

beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "kin-verbs-")));
  expect(await kin(["up", "--as", "ben"])).toMatchObject({ code: 0, err: "" });
});
afterAll(async () => {
  expect((await kin(["down"])).code).toBe(0);
  rmSync(home, { recursive: true, force: true });
});

test("F9: status is one object; the program itself prints it too", async () => {
  const ran = await runKin(["status", "--json"], { home, program: MAIN });
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(json(ran)).toMatchObject({ v: 1, name: "ben", mesh: null, listening: ["/ip4/127.0.0.1/tcp/1"] });
  const people = await runKin(["status"], { home, program: MAIN });
  expect(people.out).toContain("ben@laptop");
  expect(people.out).toContain(home);
});

test("F9: lists are {v, items}; for people they are columns, without colours or anything else remote text wanted", async () => {
  expect(json(await kin(["agents", "--json"]))).toMatchObject({
    v: 1,
    items: [{ address: "ben/reviewer", mayAsk: true }],
  });
  const ran = await kin(["agents"]);
  expect(ran.out.split("\n")[0]).toBe("agent         online  may ask  shares  does");
  expect(ran.out).toContain("ben/reviewer  yes     yes      app     reviews [31mred[0m changes");
  expect(changeless(ran.out)).toBe(true);
  for (const verb of ["peers", "tools", "members"])
    expect(Object.keys(json(await kin([verb, "--json"])))).toEqual(["v", "items"]);
});

test("ask streams text once; --json streams one object a line [streamed-once]", async () => {
  const ran = await kin(["ask", "ben/reviewer", "stream"]);
  expect(ran).toMatchObject({ code: 0, out: "one ]0;ownedtwo three\n", err: "" });
  const items = lines(await kin(["ask", "ben/reviewer", "stream", "--json"]));
  expect(items.map(({ type }) => type)).toEqual(["accepted", "progress", "progress", "result"]);
  expect(items[3]).toMatchObject({ data: { count: 3 } });
});

test("an ask carries its words, files, settings, share and times", async () => {
  const file = join(home, "diff.txt");
  writeFileSync(file, "+1");
  const args = [
    "ask",
    "ben@laptop/reviewer",
    "what",
    "changed?",
    "--attach",
    file,
    "--share",
    "app",
    "--set",
    "max=3",
    "who=ana",
    "--deadline",
    "2m",
    "--now",
  ];
  expect(JSON.parse((await kin(args)).out)).toEqual({
    to: "ben@laptop/reviewer",
    text: "what changed?",
    stdin: null,
    attach: [file],
    settings: { max: 3, who: "ana", share: "app" },
    later: false,
    now: true,
    deadlineMs: 120_000,
  });
});

test("what is piped in goes along, alone or with words; a pipe that nobody closes does not hang the question [piped-input]", async () => {
  expect(JSON.parse((await kin(["ask", "ben/reviewer", "review this"], { stdin: "diff ü" })).out)).toMatchObject({
    text: "review this",
    stdin: "diff ü",
  });
  expect(JSON.parse((await kin(["ask", "ben/reviewer"], { stdin: "only this" })).out)).toMatchObject({
    text: "",
    stdin: "only this",
  });
  expect(JSON.parse((await kin(["ask", "ben/reviewer", "hello"], { stdin: { open: true } })).out)).toMatchObject({
    text: "hello",
    stdin: null,
  });
  expect((await kin(["ask", "ben/reviewer", "x"], { stdin: "x".repeat(1024 * 1024 + 1) })).err).toContain("TOO_LARGE");
});

test("exit codes of a call: 5 queued, 4 denied, 6 timed out [exit-codes]", async () => {
  const queued = await kin(["ask", "ben/reviewer", "queue"]);
  expect(queued.code).toBe(5);
  expect(queued.out).toContain("queued: ben's laptop is offline");
  expect(queued.out).toMatch(/node \S+\/node\/cli\/bin\.js wait kini1abc/);
  const queuedJson = await kin(["ask", "ben/reviewer", "queue", "--json"]);
  expect([queuedJson.code, json(queuedJson)]).toMatchObject([
    5,
    { v: 1, outcome: "queued", id: "kini1abc", why: "ben's laptop is offline" },
  ]);

  const denied = await kin(["call", "ben/tools/fs.read", '{"path": ".git/config"}']);
  expect(denied).toMatchObject({ code: 4, out: "", err: "kin: not shared with you (DENIED)\n" });
  const deniedJson = await kin(["ask", "ben/reviewer", "deny", "--json"]);
  expect([deniedJson.code, lines(deniedJson)]).toEqual([
    4,
    [{ type: "failure", error: { code: "DENIED", message: "ben does not let you ask reviewer" } }],
  ]);
  expect((await kin(["ask", "ben/reviewer", "late"])).code).toBe(6);
  expect((await kin(["wait", "kini1abc", "--timeout", "1s"])).code).toBe(6);
  expect(await kin(["wait", "kini1abc"])).toMatchObject({ code: 0, out: "at last\n" });
});

test("a deadline of more than 1 h is a wrong usage, said with the option's name [long-times]", async () => {
  const longest = await kin(["ask", "ben/reviewer", "x", "--deadline", "60m"]);
  expect(JSON.parse(longest.out)).toMatchObject({ deadlineMs: 3_600_000 });
  for (const args of [
    ["ask", "ben/reviewer", "x", "--deadline", "61m"],
    ["call", "ben/tools/git.log", "--deadline", "30d"],
  ])
    expect(await kin(args)).toMatchObject({ code: 2, err: expect.stringContaining("--deadline is at most 1h") });
});

test("an answer that says CLOSED ends kin wait: the node runs [wait-closed]", async () => {
  const waited = await kin(["wait", "kini1closed", "--timeout", "2s"]);
  expect(waited).toMatchObject({ code: 1, out: "", err: "kin: the tool's server has stopped (CLOSED)\n" });
});

test("Ctrl-C cancels the question at the node and ends with what happened", async () => {
  const ran = await runKin(["ask", "ben/reviewer", "hang"], {
    home,
    onOutput: (child, out) => void (out.includes("waiting") && child.kill("SIGINT")),
  });
  expect(ran).toMatchObject({ code: 1, signal: null });
  expect(ran.err).toContain("CANCELLED");
});

test("call sends a JSON object; invite says what the guest will be able to do", async () => {
  expect(await kin(["call", "ben/tools/git.log", '{"max": 3}'])).toMatchObject({ code: 0, out: '{"max":3}\n' });
  const share = join(home, "My App");
  mkdirSync(share);
  const ran = await kin(["invite", "--name", "ana", "--share", share, "--uses", "2", "--expires", "2h"]);
  expect(ran).toMatchObject({ code: 0, err: "" });
  expect(ran.out).toContain("ana will be able to:\n  - ask ben/guide");
  expect(ran.out).toMatch(/npx kin join kint1[a-z2-7]+\n/);
  const made = json(await kin(["invite", "--name", "ana", "--share", share, "--json"]));
  expect(made).toMatchObject({ v: 1, will: ["ask ben/guide"], share: { name: "my-app", folder: share } });
  expect(String(made["ticket"])).toMatch(/^kint1[a-z2-7]+$/);
  const qr = await kin(["invite", "--qr"]);
  expect(qr.out).toMatch(/[█▀▄]{10}/u);
});

test("the other verbs answer too, for people and for programs", async () => {
  expect((await kin(["ping", "ben", "-n", "2"])).out).toContain("ben's clock is 1 h ahead of yours");
  expect(json(await kin(["ping", "ben", "--json"]))).toMatchObject({ v: 1, peer: "ben", maxMs: 1 });
  expect((await kin(["outbox", "ls"])).out).toMatch(/ben\/reviewer +what changed\? .*kini1abc +offline/);
  expect(json(await kin(["outbox", "drop", "kini1abc", "--json"]))).toMatchObject({ v: 1, id: "kini1abc" });
  expect(json(await kin(["audit", "log", "-n", "7", "--json"]))).toMatchObject({
    items: [{ event: "refused", ms: 7 }],
  });
  expect((await kin(["audit", "log"])).out).toContain("1970-01-01T00:00:00.000Z  refused  ana");
  expect((await kin(["share", "ls"])).out).toContain("nothing is shared");
  expect(json(await kin(["share", "add", home, "--name", "app", "--for", "ana,li", "--json"]))).toMatchObject({
    share: { name: "app", for: ["ana", "li"] },
  });
  expect(json(await kin(["share", "rm", "app", "--json"]))).toEqual({ v: 1, name: "app" });
  expect((await kin(["remove", "ana"])).out).toContain("ana is removed");
  expect((await kin(["tools", "approve", "everything.echo"])).out).toContain("everything.echo is on again");
  expect((await kin(["version"])).out).toMatch(/^kin \d+\.\d+\.\d+, Node 24\./);
});

test("what waits: retried, asked again, explained; who is how far; each exit code says what came of it", async () => {
  const retried = await kin(["outbox", "retry", "kini1abc"]);
  expect(retried).toMatchObject({ code: 5, err: "dialling ben@laptop\n" });
  expect(retried.out).toMatch(/^ben is offline\n {2}.* wait kini1abc\n$/);
  const again = await kin(["outbox", "retry", "kini1abc", "--again", "--json"]);
  expect(again.code).toBe(5);
  expect(json(again)).toMatchObject({ v: 1, outcome: "asked-again", newId: "kini1new" });
  const status = await kin(["sync", "status"]);
  expect(status.out).toMatch(/ben@laptop +no +never +3 events +\?/);
  expect(status.out).toMatch(/held +1 stamped ahead/);
  expect(status.out).not.toContain("quarantined");
  expect(json(await kin(["sync", "status", "--json"]))).toMatchObject({ v: 1, items: [{ theyLack: 3 }], events: 9 });
  expect(await kin(["sync", "now"])).toMatchObject({ code: 1, out: "ben is offline\nnobody is reachable now\n" });
  expect((await kin(["sync", "why", "kini1abc"])).out).toMatch(/^nobody has it yet\n {2}.*up\n$/);
  expect((await kin(["sync", "allow", "ben"])).out).toBe("what ben@laptop writes counts again (1 logs)\n");
  const again2 = await kin(["sync", "reissue", "kine1abc", "kine1def", "--json"]);
  expect(json(again2)).toMatchObject({
    v: 1,
    items: [{ event: "kine1abc", again: "kine1again" }, { event: "kine1def" }],
  });
});

test("join says in plain words where it dials and who is there", async () => {
  const { ticket } = json(await kin(["invite", "--name", "ana", "--json"])) as { ticket: string };
  const other = realpathSync(mkdtempSync(join(tmpdir(), "kin-guest-")));
  const ran = await runKin(["join", ticket], { home: other });
  expect(ran.err).toContain("mesh team, invited by ben, as member");
  expect(ran.out).toContain("You are ana in team, with ben.\n");
  expect((await runKin(["down"], { home: other })).code).toBe(0);
  rmSync(other, { recursive: true, force: true });
  expect([company("ben", 1), company("ben", 2), company("ben", 5)]).toEqual([
    "with ben",
    "with ben and 1 other",
    "with ben and 4 others",
  ]);
});

test("set lists and changes settings and says when a restart is needed", async () => {
  expect((await kin(["set"])).out).toContain("discovery.mdns  true");
  expect((await kin(["set", "listen.port", "4567"])).out).toMatch(
    /listen.port is 4567\nIt counts from the next start: .* down && .* up\n/,
  );
  expect(json(await kin(["set", "listen.port", "--json"]))).toMatchObject({ value: 4567 });
  expect(await kin(["set", "listen.prot", "1"])).toMatchObject({
    code: 2,
    err: expect.stringContaining('did you mean "listen.port"?'),
  });
  expect(await kin(["set", "listen.port", "99999"])).toMatchObject({
    code: 2,
    err: expect.stringMatching(/^kin: listen\.port is 99999, expected a port from 0 to 65535/),
  });
});

const USAGE: [args: string[], says: string][] = [
  [["statsu"], 'did you mean "status"?'],
  [["frobnicate"], "there are: invite, join"],
  [["kint1abc"], "join <ticket>"],
  [["share", "lst"], 'did you mean "ls"?'],
  [["outbox"], "needs one of: ls, retry, drop"],
  [["outbox", "drop"], "outbox drop --help"],
  [["ask"], "missing required argument 'who'"],
  [["ask", "ben/reviewer"], "there is nothing to ask"],
  [["ask", "ben", "hi"], "an address looks like ana/reviewer"],
  [["ask", "ben/tools/git.log", "hi"], "call ben/tools/git.log"],
  [["ask", "ben/reviewer", "hi", "--later", "--now"], "choose one"],
  [["ask", "ben/reviewer", "hi", "--deadline", "soon"], "expected a time"],
  [["ask", "ben/reviewer", "hi", "--attach", "/none"], "there is no file /none"],
  [["ask", "ben/reviewer", "hi", "--set", "x"], "expected name=value"],
  [["ask", "ben/reviewer", "hi", "--frob"], "unknown option '--frob'"],
  [["call", "ben/reviewer"], "ask ben/reviewer"],
  [["call", "ben/tools/git.log", "{max: 3}"], "the arguments are not JSON"],
  [["call", "ben/tools/git.log", '{"max": 9007199254740993}'], "the arguments have the number 9007199254740993"],
  [["ask", "ben/reviewer", "hi", "--set", "x=[1e999]"], "--set x has the number 1e999"],
  [["call", "ben/tools/git.log", '{"path": "a", "path": "b"}'], 'has the name "path" twice'],
  [["call", "ben/tools/git.log", '{"__proto__": {}}'], 'has the name "__proto__"'],
  [["tools", "aprove", "x"], 'did you mean "approve"?'],
  [["set", "discovery.mdns", "maybe"], 'is "maybe", expected true or false'],
  [["call", "ben/tools/git.log", "[]"], "expected a JSON object"],
  [["invite", "--name", "Ana Maria"], "for example ana-maria"],
  [["invite", "--uses", "51"], "from 1 to 50"],
  [["invite", "--role", "owner"], "expected member or admin"],
  [["invite", "--share", "/none"], "there is no folder /none"],
  [["join", "hello"], "NOT_A_TICKET"],
  [["join", "kinp1aeaqcaib"], "WRONG_KIND_OF_TEXT"],
];
test("each wrong usage ends with 2 and says what was expected, without a stack [no-stack]", async () => {
  const ran = await kin(["batch", JSON.stringify(USAGE.map(([args]) => args))]);
  const said = ran.err.split(/(?<=#exit \d\n)/);
  expect(said).toHaveLength(USAGE.length);
  USAGE.forEach(([args, says], index) => {
    expect([args, said[index]]).toEqual([args, expect.stringContaining(says)]);
    expect([args, said[index]]).toEqual([args, expect.stringMatching(/#exit 2\n$/)]);
    expect(said[index]).not.toContain("    at ");
  });
  expect(ran.out.replaceAll("#exit 2\n", "")).toBe("");
});

test("F9: errors with --json are {v, error} with the same exit code; --debug shows the stack", async () => {
  const ran = await kin(["remove", "nobody", "--json"]);
  expect([ran.code, ran.err, json(ran)]).toMatchObject([
    1,
    "",
    {
      v: 1,
      error: {
        code: "NOT_FOUND",
        message: 'nobody here is named "nobody"',
        hint: expect.stringMatching(/bin\.js members$/),
      },
    },
  ]);
  expect(json(await kin(["statsu", "--json"]))).toMatchObject({ v: 1, error: { code: "USAGE" } });
  expect((await kin(["remove", "nobody", "--debug"])).err).toContain("    at ");
});

test("doctor checks the installation line by line [doctor-lines]", async () => {
  const ran = await kin(["doctor"]);
  expect(ran.code).toBe(0);
  expect(ran.out).toMatch(/^ok +runtime +Node 24/m);
  expect(ran.out).toMatch(/^warn +keys +raw in /m);
  expect(ran.out).toMatch(/bin\.js passphrase set seals them$/m);
  expect(ran.out).toMatch(/^ok +node +runs, process \d+/m);
  const { items } = json(await kin(["doctor", "--json"])) as { items: { check: string }[] };
  expect(items.map(({ check }) => check)).toEqual(
    expect.arrayContaining(["folders", "format", "settings", "clock", "port", "git", "network", "disk"]),
  );
});

test("help says what there is, and how a verb is used", async () => {
  const ran = await kin(["batch", JSON.stringify([[], ["help"], ["--help"], ["ask", "--help"]])]);
  const said = ran.out.split("#exit 0\n");
  for (const text of said.slice(0, 3)) expect(text).toContain("invite somebody: prints a ticket");
  expect(said[3]).toContain("--attach <file...>");
});

/**
 * `npm start`: two people on this machine. Two real nodes with keys and data folders of their own, spoken to only through the
 * `kin` command, as a person would: invite, join, ask, be refused, go away, be asked, come back and answer.
 *
 * Everything is under `.kin/demo` in the clone, listens on 127.0.0.1, mDNS off. A second start stops its own two nodes first.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, rm, rmdir, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const CLONE = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const FOLDER = join(CLONE, ".kin", "demo");
const MAIN = join(CLONE, "node", "main.ts");

type Who = "ben" | "ana";
interface Ran {
  code: number;
  out: string;
  err: string;
}

/** What the summary counts. */
const done = { passed: 0, failed: 0 };

export async function runDemo(options: { once: boolean }): Promise<number> {
  say("kin: two people, one machine, no server. Each has a node, keys and a data folder of their own.\n");
  await stopOwn();
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true });
  const shared = await sharedFolder();
  try {
    await story(shared);
  } catch (error) {
    done.failed++;
    say(`\nThe demo stopped: ${(error as Error).message}`);
    await stopOwn();
    if (options.once) await cleanUp();
    return 1;
  }
  if (options.once) {
    await stopOwn();
    await cleanUp();
    say(`\n${done.passed} steps worked, ${done.failed} failed. Both nodes are stopped; nothing of them is left.`);
  } else {
    say(`\n${done.passed} steps worked, ${done.failed} failed. Both nodes are still running. Try:\n`);
    for (const [who, command] of NEXT) say(`  ${asTyped(who, command)}`);
    say(`\nStop both: ${asTyped("ben", "down")}; ${asTyped("ana", "down")}`);
  }
  return done.failed === 0 ? 0 : 1;
}

const NEXT: [Who, string][] = [
  ["ana", "agents"],
  ["ana", 'ask ben/librarian "invite"'],
  ["ana", `call ben/tools/git.log '{"max": 3}'`],
  ["ben", "audit log"],
  ["ben", "remove ana"],
];

async function story({ folder, git }: { folder: string; git: boolean }): Promise<void> {
  chapter("Ben and Ana each get a node (on 127.0.0.1 only, mDNS off: nothing leaves this machine)");
  for (const who of ["ben", "ana"] as const) await quietSettings(who);

  chapter("Ben invites Ana and shares one folder, for reading");
  const invited = await step("ben", ["invite", "--name", "ana", "--as", "ben", "--share", folder, "--json"], 0);
  const { ticket, will } = JSON.parse(invited.out) as { ticket: string; will: string[] };
  for (const line of will) say(`    ${line}`);
  say(`    ticket: ${ticket.slice(0, 40)}… (${ticket.length} characters; one person, 24 hours)`);

  chapter("Ana joins with the ticket: that is her first command");
  show(await step("ana", ["join", ticket, "--as", "ana"], 0));

  chapter("Ana asks Ben's agent: her second command, and the answer streams back, signed");
  if (git) show(await step("ana", ["ask", "ben/reviewer", "what changed in the last commit?"], 0), 14);
  else show(await step("ana", ["ask", "ben/librarian", "hello"], 0), 14);

  chapter("What Ben did not share is refused, and says so");
  show(await step("ana", ["call", "ben/tools/fs.read", '{"path": ".git/config"}'], "refused"));

  chapter("Ana closes her laptop. Ben asks her something: it waits for her");
  await step("ana", ["down"], 0);
  const queued = await step("ben", ["ask", "ana/guide", "what can I ask you?", "--json"], 5);
  const { id, why } = lastObject(queued.out) as { id: string; why: string };
  say(`    queued: ${why}`);

  chapter("Ana is back; her node answers what waited, once, without being told");
  await step("ana", ["up"], 0);
  show(await step("ben", ["wait", id, "--timeout", "60s"], 0), 8);
}

/** Runs one command as `who`, says it as it would be typed, and counts whether it ended as expected. */
async function step(who: Who, args: string[], expected: number | "refused"): Promise<Ran> {
  say(
    `  ${who}$ kin ${args
      .filter((arg) => arg !== "--json")
      .map(quoted)
      .join(" ")}`,
  );
  const ran = await kin(who, args);
  const good = expected === "refused" ? ran.code === 4 || ran.code === 1 : ran.code === expected;
  if (!good)
    throw new Error(`"kin ${args[0]}" of ${who} ended with ${ran.code}, expected ${expected}\n${ran.out}${ran.err}`);
  done.passed++;
  return ran;
}

function show(ran: Ran, lines = 12): void {
  const all = `${ran.out}${ran.err}`.trimEnd().split("\n");
  for (const line of all.slice(0, lines)) say(`    ${line}`);
  if (all.length > lines) say(`    … ${all.length - lines} more lines`);
}

function lastObject(out: string): unknown {
  return JSON.parse(out.trim().split("\n").at(-1) ?? "{}");
}

function home(who: Who): string {
  return join(FOLDER, who);
}

async function kin(who: Who, args: string[]): Promise<Ran> {
  return run(process.execPath, [MAIN, ...args], { ...process.env, KIN_HOME: home(who), NO_COLOR: "1" });
}

async function run(command: string, args: string[], env: NodeJS.ProcessEnv, cwd: string = CLONE): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, cwd, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (err += chunk.toString()));
    child.on("error", (error) => resolve({ code: 127, out, err: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, out, err }));
  });
}

/** Written before the first start, so that no node ever listens elsewhere. */
async function quietSettings(who: Who): Promise<void> {
  await mkdir(home(who), { recursive: true, mode: 0o700 });
  const settings = { name: who, listen: { hosts: ["127.0.0.1"] }, discovery: { mdns: false } };
  await writeFile(join(home(who), "config.jsonc"), `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o600 });
}

/** The demo's folder, and the one around it if nothing else is in it. */
async function cleanUp(): Promise<void> {
  await rm(FOLDER, { recursive: true, force: true });
  await rmdir(dirname(FOLDER)).catch(() => {});
}

async function stopOwn(): Promise<void> {
  for (const who of ["ben", "ana"] as const) if (existsSync(home(who))) await kin(who, ["down"]);
}

/**
 * Ben's project: a clone of this repository, beside his data (a folder that holds kin's own data is never shared). Without one,
 * a small repository made here; without git, a small folder.
 */
async function sharedFolder(): Promise<{ folder: string; git: boolean }> {
  const folder = join(FOLDER, "app");
  const settings = join(FOLDER, "gitconfig");
  // The clone may belong to another user; for these commands that is fine.
  await writeFile(settings, "[safe]\n\tdirectory = *\n[user]\n\tname = Ben\n\temail = ben@kin.invalid\n");
  const env = { ...process.env, GIT_CONFIG_GLOBAL: settings, GIT_CONFIG_NOSYSTEM: "1", GIT_TERMINAL_PROMPT: "0" };
  const git = async (args: string[], cwd: string): Promise<Ran> => run("git", args, env, cwd);
  const here = await git(["rev-parse", "--show-toplevel", "--verify", "HEAD"], CLONE);
  if (
    here.code === 0 &&
    resolve(here.out.split("\n")[0] ?? "") === CLONE &&
    (await git(["clone", "-q", CLONE, folder], FOLDER)).code === 0
  ) {
    say("Ben's project is a clone of this repository.\n");
    return { folder, git: true };
  }
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "README.md"), "# app\n\nSays hello.\n");
  if (here.code === 127 || (await git(["init", "-q"], folder)).code !== 0) {
    await writeFile(join(folder, "hello.txt"), "hello from Ben\n");
    say("There is no git on this machine, so Ben's project is a small folder that this demo makes.\n");
    return { folder, git: false };
  }
  await git(["add", "."], folder);
  await git(["commit", "-qm", "Say what it is"], folder);
  await writeFile(join(folder, "hello.js"), 'console.log("hello"); // TODO: greet by name\n');
  await git(["add", "."], folder);
  await git(["commit", "-qm", "Say hello"], folder);
  say("This folder is no git clone, so Ben's project is a small repository that this demo makes.\n");
  return { folder, git: true };
}

/** The command as a person types it, from any folder. */
function asTyped(who: Who, command: string): string {
  return `KIN_HOME=${quoted(home(who))} node ${quoted(join(CLONE, "node", "cli", "bin.js"))} ${command}`;
}

function quoted(arg: string): string {
  if (/^[\w@%+=:,./~-]+$/.test(arg)) return arg.length > 60 && arg.startsWith("kint") ? `${arg.slice(0, 16)}…` : arg;
  return `'${arg.replaceAll("'", String.raw`'\''`)}'`;
}

let chapters = 0;
function chapter(title: string): void {
  say(`\n${++chapters}. ${title}`);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

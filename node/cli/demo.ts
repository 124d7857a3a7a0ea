/**
 * `npm start`: two people on this machine. Two real nodes with keys and data folders of their own, spoken to only through the
 * `kin` command, as a person would: invite, join, ask, be refused, go away, be asked, come back and answer.
 *
 * Everything is under `.kin/demo` in the clone (in the temporary folder if the clone can't be written), listens on 127.0.0.1,
 * mDNS off. A second start stops its own two nodes first.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, lstatSync } from "node:fs";
import { mkdir, realpath, rm, rmdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { EXIT, clean } from "./output.ts";
import { KinError } from "../../protocols/errors.ts";

const CLONE = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const USUAL = join(CLONE, ".kin", "demo");
const FOLDER = demoFolder();
const MAIN = join(CLONE, "node", "main.ts");

type Who = "ben" | "ana";
interface Ran {
  code: number;
  out: string;
  err: string;
}

/** What the summary counts. */
const done = { passed: 0, failed: 0 };
/** Fires when whoever watches has gone or pressed Ctrl-C. */
const end = new AbortController();

/** @param options.interrupt fires at Ctrl-C */
export async function runDemo(options: { once: boolean; interrupt: AbortSignal }): Promise<number> {
  let hasGit = false;
  endEarly(options.interrupt);
  say("kin: two people, one machine, no server. Each has a node, keys and a data folder of their own.");
  checkMine();
  await stopOwn();
  await rm(FOLDER, { recursive: true, force: true });
  await mkdir(FOLDER, { recursive: true, mode: 0o700 });
  checkMine();
  try {
    const shared = await sharedFolder();
    hasGit = shared.git;
    await story(shared);
  } catch (error) {
    done.failed++;
    say(`\nThe demo stopped: ${end.signal.aborted ? "it was interrupted" : (error as Error).message}`);
    await stopOwn();
    if (options.once || end.signal.aborted) await cleanUp();
    return 1;
  }
  const steps = `${done.passed} steps worked, ${done.failed} failed.`;
  if (options.once) {
    await stopOwn();
    await cleanUp();
    say(`\n${steps} Both nodes are stopped; nothing of them is left.`);
    return 0;
  }
  say(`\n${steps} Both nodes are still running. Try, from any folder:\n`);
  for (const [who, command] of NEXT) if (hasGit || !command.includes("git.")) say(`  ${asTyped(who, command)}`);
  say(`\nStop both:\n\n  ${asTyped("ben", "down")}\n  ${asTyped("ana", "down")}`);
  return 0;
}

/** The same at each start, so that a second one finds the nodes of the first. */
function demoFolder(): string {
  if ([USUAL, dirname(USUAL), CLONE].filter((folder) => existsSync(folder)).every(isWritable)) return USUAL;
  const clone = createHash("sha256").update(CLONE).digest("hex").slice(0, 8);
  return join(tmpdir(), `kin-demo-${process.getuid?.() ?? "me"}-${clone}`);
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** In a shared temporary folder somebody else could have made it before. */
function checkMine(): void {
  const found = FOLDER === USUAL ? undefined : lstatSync(FOLDER, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isDirectory() || (process.getuid !== undefined && found.uid !== process.getuid()))
    throw new KinError("DENIED", `${FOLDER} is not a folder of yours`, {
      hint: "run it in a clone that you can write",
    });
}

/** Two nodes must not stay behind a demo that ended in the middle. */
function endEarly(interrupt: AbortSignal): void {
  const stop = (): void => end.abort();
  if (interrupt.aborted) stop();
  interrupt.addEventListener("abort", stop, { once: true });
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.once(signal, stop);
  // `npm start | head`: nobody reads on. The general answer to that, to exit at once, would leave the nodes.
  process.stdout.removeAllListeners("error").on("error", stop);
}

const NEXT: [Who, string][] = [
  ["ana", "agents"],
  ["ana", 'ask ben/librarian "invite"'],
  ["ana", `call ben/tools/git.log '{"max": 3}'`],
  ["ben", "audit log"],
  ["ben", "remove ana"],
];

async function story({ folder, git }: { folder: string; git: boolean }): Promise<void> {
  chapter("Ben and Ana each get a data folder. Both listen on 127.0.0.1 only: nothing leaves this machine");
  for (const who of ["ben", "ana"] as const) await quietSettings(who);
  say(`  ${home("ben")}\n  ${home("ana")}`);

  chapter("Ben invites Ana and shares one folder, for reading. That makes his keys, his mesh and his node");
  const invite = ["invite", "--name", "ana", "--share", folder];
  const invited = await step("ben", invite, 0, { json: true });
  const { ticket, will } = JSON.parse(invited.out) as { ticket: string; will: string[] };
  say("    ana will be able to:");
  for (const line of will) say(`      - ${line}`);
  say(`    ticket: ${ticket.slice(0, 40)}… (${ticket.length} characters, for one person, 24 hours)`);

  chapter("Ana joins with the ticket. That is her first command");
  await step("ana", ["join", ticket], 0, { show: 12 });

  chapter("Ana asks Ben's agent, her second command; the answer streams back, signed");
  if (git) await step("ana", ["ask", "ben/reviewer", "what changed in the last commit?"], 0, { show: 14 });
  else await step("ana", ["ask", "ben/librarian", "hello"], 0, { show: 14 });

  chapter("What Ben does not share is refused");
  await step("ana", ["call", "ben/tools/fs.read", '{"path": ".git/config"}'], EXIT.denied, { show: 4 });

  chapter("Ana goes offline. Ben asks her something: the question waits, and says why");
  await step("ana", ["down"], 0, { show: 1 });
  const queued = await step("ben", ["ask", "ana/guide", "what can I ask you?"], EXIT.queued, { json: true });
  const { id, why } = lastObject(queued.out) as { id: string; why: string };
  say(`    queued: ${why}`);

  chapter("Ana is back. Her node answers by itself, once");
  await step("ana", ["up"], 0, { show: 1 });
  await step("ben", ["wait", id, "--timeout", "60s"], 0, { show: 10 });
}

interface StepOptions {
  /** Asked as a program; what is said of it is up to the story. */
  json?: boolean;
  /** How many lines of what it says are shown, as they come. */
  show?: number;
}

/** Runs one command as `who`, shows it as it would be typed, and counts it if it ended as expected. */
async function step(who: Who, args: string[], expected: number, options: StepOptions = {}): Promise<Ran> {
  say(`  ${who}$ kin ${args.map(quoted).join(" ")}`);
  const shown = shownLines(options.show ?? 0);
  const ran = await kin(who, options.json === true ? [...args, "--json"] : args, shown.take);
  shown.end();
  if (end.signal.aborted) throw new Error("interrupted");
  if (ran.code !== expected)
    throw new Error(`"kin ${args[0]}" of ${who} ended with ${ran.code}, expected ${expected}\n${ran.out}${ran.err}`);
  done.passed++;
  return ran;
}

/** Says at most `most` lines of what a command prints, on both its outputs, in the order in which they come. */
function shownLines(most: number): { take: (text: string) => void; end: () => void } {
  let rest = "";
  let count = 0;
  const line = (text: string): void => {
    count++;
    if (count <= most) say(`    ${text}`.trimEnd());
  };
  return {
    take: (text) => {
      const lines = `${rest}${text}`.split("\n");
      rest = lines.pop() ?? "";
      lines.forEach(line);
    },
    end: () => {
      if (rest !== "") line(rest);
      if (most > 0 && count > most) say(`    … ${count - most} more ${count - most === 1 ? "line" : "lines"}`);
    },
  };
}

function lastObject(out: string): unknown {
  return JSON.parse(out.trim().split("\n").at(-1) ?? "{}");
}

function home(who: Who): string {
  return join(FOLDER, who);
}

async function kin(who: Who, args: string[], take?: (text: string) => void): Promise<Ran> {
  const { KIN_PASSPHRASE_FILE: _file, ...env } = process.env; // the person's own keys have it, these have none
  return run(process.execPath, [MAIN, ...args], { ...env, KIN_HOME: home(who), NO_COLOR: "1" }, CLONE, take);
}

/** A process group of its own: Ctrl-C is for the demo, which then stops what it has started. */
async function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
  cwd: string,
  take: (text: string) => void = () => {},
): Promise<Ran> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, cwd, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const kill = (): void => void child.kill("SIGINT");
    // What stops the nodes at the end must itself not be stopped.
    if (!end.signal.aborted) end.signal.addEventListener("abort", kill, { once: true });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
      take(text);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
      take(text);
    });
    child.once("close", () => end.signal.removeEventListener("abort", kill));
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
    resolve(here.out.split("\n")[0] ?? "") === (await realpath(CLONE)) &&
    (await git(["clone", "-q", CLONE, folder], FOLDER)).code === 0
  ) {
    say("Ben's project is a clone of this repository.");
    return { folder, git: true };
  }
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "README.md"), "# app\n\nSays hello.\n");
  if (here.code === 127 || (await git(["init", "-q"], folder)).code !== 0) {
    await writeFile(join(folder, "hello.txt"), "hello from Ben\n");
    say("There is no git on this machine, so Ben's project is a small folder that this demo makes.");
    return { folder, git: false };
  }
  await git(["add", "."], folder);
  await git(["commit", "-qm", "Say what it is"], folder);
  await writeFile(join(folder, "hello.js"), 'console.log("hello"); // TODO: greet by name\n');
  await git(["add", "."], folder);
  await git(["commit", "-qm", "Say hello"], folder);
  say("This folder is no git clone, so Ben's project is a small repository that this demo makes.");
  return { folder, git: true };
}

/** The command as a person types it, from any folder. */
function asTyped(who: Who, command: string): string {
  return `KIN_HOME=${quoted(home(who))} node ${quoted(join(CLONE, "node", "cli", "bin.js"))} ${command}`;
}

function quoted(arg: string): string {
  if (/^[\w@%+=:,./~-]+$/.test(arg)) return arg.length > 60 && /^kin[it]1/.test(arg) ? `${arg.slice(0, 16)}…` : arg;
  return `'${arg.replaceAll("'", String.raw`'\''`)}'`;
}

let chapters = 0;
function chapter(title: string): void {
  say(`\n${++chapters}. ${title}`);
}

function say(text: string): void {
  if (process.stdout.writable) process.stdout.write(`${clean(text)}\n`);
}

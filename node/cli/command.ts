/** The table of commands: what `kin help` shows. A verb's file is loaded when it runs, never for the help of another. */
import { Command, CommanderError } from "commander";
import { createContext, runVerb, type Context } from "./context.ts";
import { EXIT } from "./output.ts";
import { didYouMean } from "../did-you-mean.ts";
import { KinError } from "../../protocols/errors.ts";

type Run = (context: Context, ...args: never[]) => Promise<number>;

/** Runs one command line; the exit code. `entry` is the file that a daemon is started with. */
export async function runCli(argv: readonly string[], entry?: string): Promise<number> {
  const context = createContext(argv, entry);
  return runVerb(context, async () => {
    const words = withoutGlobalFlags(argv);
    let exit: number = EXIT.ok;
    const program = createProgram((load) => async (...args: unknown[]) => {
      // commander calls with the arguments, then the options, then the command itself
      exit = await (await load())(context, ...(args.slice(0, -1) as never[]));
    });
    checkVerb(program, words);
    try {
      await program.parseAsync(words.length === 0 ? ["help"] : words, { from: "user" });
    } catch (error) {
      if (!(error instanceof CommanderError)) throw error;
      if (error.exitCode !== 0) throw usageError(error, verbOf(program, words));
    }
    return exit;
  });
}

type Lazy = (load: () => Promise<Run>) => (...args: unknown[]) => Promise<void>;

function createProgram(lazy: Lazy): Command {
  const program = new Command("kin");
  program
    .description("A mesh of people's agents without a server: invite a colleague, ask their agents.")
    .helpOption("-h, --help", "show help")
    .version(packageVersion(), "-V, --version", "show the version")
    .exitOverride()
    .configureOutput({ outputError: () => {} })
    .addHelpText(
      "after",
      "\nEvery command takes --json (for programs) and --debug (stack traces).\nExit codes: 0 ok, 1 failed, 2 usage, 3 not running, 4 denied, 5 queued, 6 timed out.",
    );
  const verb = (usage: string, summary: string): Command => program.command(usage).description(summary).exitOverride();

  verb("invite", "invite somebody: prints a ticket")
    .option("--name <name>", "the guest's name")
    .option("--share <folder>", "let the guest read this folder, and ask agents about it")
    .option("--share-name <name>", "name of the share; default: the folder's name")
    .option("--role <role>", "member or admin", "member")
    .option("--uses <n>", "how many people may use the ticket", "1")
    .option("--expires <time>", "how long it is valid, e.g. 30m, 24h, 7d", "24h")
    .option("--mesh <name>", "name of the mesh, if this makes it")
    .option("--as <name>", "my own name, at the first use")
    .option("--qr", "print the QR code also where the terminal seems too narrow")
    .option("--close <ticket>", "close an open invite instead")
    .action(lazy(async () => (await import("./invite.ts")).invite));
  verb("join <ticket...>", "enter a mesh by a ticket (kint1…)")
    .option("--as <name>", "my name there; default: the one in the ticket")
    .action(lazy(async () => (await import("./join.ts")).join));
  verb("up", "start the node; does nothing if it runs")
    .option("--as <name>", "my name, at the first use")
    .action(lazy(async () => (await import("./up.ts")).up));
  verb("down", "stop the node").action(lazy(async () => (await import("./up.ts")).down));
  verb("status", "what the node is doing").action(lazy(async () => (await import("./status.ts")).status));
  verb("peers", "who is reachable, and how").action(lazy(async () => (await import("./lists.ts")).peers));
  const agents = verb("agents", "whom I can ask").action(lazy(async () => (await import("./lists.ts")).agents));
  sub(
    agents,
    "config <agent> [setting] [value]",
    "list or change what an agent's owner sets: description, paused, max-seconds",
  )
    .option("--unset", "as AGENT.md says again")
    .option("--history", "who set what, when")
    .action(lazy(async () => (await import("./agents.ts")).agentsConfig));
  const tools = verb("tools", "what I can call").action(lazy(async () => (await import("./lists.ts")).tools));
  sub(tools, "approve <name>", "accept what a changed tool of an MCP server says of itself now").action(
    lazy(async () => (await import("./lists.ts")).toolsApprove),
  );
  verb("members", "who is in the mesh").action(lazy(async () => (await import("./lists.ts")).members));
  verb("ping <who>", "is a member's node there, how far away")
    .option("-n, --count <n>", "how often", "3")
    .action(lazy(async () => (await import("./ping.ts")).ping));
  callOptions(verb("ask <who> [text...]", 'ask an agent, e.g. kin ask ben/reviewer "what changed?"'))
    .option("--attach <file...>", "send files along")
    .option("--share <name>", "which share the question is about")
    .option("--set <key=value...>", "settings of the agent")
    .action(lazy(async () => (await import("./ask.ts")).ask));
  callOptions(verb("call <tool> [arguments]", "call a tool, e.g. kin call ben/tools/git.log '{\"max\": 3}'")).action(
    lazy(async () => (await import("./ask.ts")).call),
  );
  verb("wait <id>", "wait for the answer to a queued call (kini1…)")
    .option("--timeout <time>", "give up after, e.g. 30s")
    .action(lazy(async () => (await import("./ask.ts")).wait));

  const device = verb("device", "my own machines");
  sub(device, "add", "a ticket for another machine of mine: it will be me")
    .option("--expires <time>", "how long it is valid, e.g. 30m, 24h", "1h")
    .option("--qr", "print the QR code also where the terminal seems too narrow")
    .action(lazy(async () => (await import("./device.ts")).deviceAdd));
  sub(device, "ls", "list them").action(lazy(async () => (await import("./device.ts")).deviceList));
  sub(device, "remove <name>", "cut one off, e.g. a lost laptop").action(
    lazy(async () => (await import("./device.ts")).deviceRemove),
  );
  const outbox = verb("outbox", "calls that wait for somebody to come online");
  sub(outbox, "ls", "list them")
    .option("--all", "also what has been answered or taken back")
    .action(lazy(async () => (await import("./outbox.ts")).outboxList));
  sub(outbox, "retry <id>", "try now, and say what happens")
    .option("--again", "ask as a new call what has expired, was declined or has an unknown outcome")
    .action(lazy(async () => (await import("./outbox.ts")).outboxRetry));
  sub(outbox, "drop <id>", "take one back").action(lazy(async () => (await import("./outbox.ts")).outboxDrop));
  const note = verb("note", "texts and boards that several people and agents edit at once, offline too");
  sub(note, "new <title>", "begin one; what is piped in is its first text")
    .option("--board", "a board of cards instead of a text: kin board")
    .option("--columns <names>", "of a board, comma-separated; default: todo,doing,done")
    .option("--for <people>", "names, comma-separated, or mesh for all", "mesh")
    .option("--text <text>", "its first text")
    .action(lazy(async () => (await import("./note.ts")).noteNew));
  sub(note, "edit <note>", "change it in $EDITOR; what others write meanwhile stays")
    .option("--text <text>", "what it is to say; also from a pipe")
    .option("--append <text>", "add this at its end, on a line of its own")
    .action(lazy(async () => (await import("./note.ts")).noteEdit));
  sub(note, "show <note>", "its text or its columns, and who edited it").action(
    lazy(async () => (await import("./note.ts")).noteShow),
  );
  sub(note, "share <note> <people...>", "let more people read and edit a private one").action(
    lazy(async () => (await import("./note.ts")).noteShare),
  );
  sub(note, "ls", "list them").action(lazy(async () => (await import("./note.ts")).noteList));
  const board = verb("board", "columns of cards that several people and agents move and edit, offline too");
  sub(board, "new <title>", "begin one")
    .option("--for <people>", "names, comma-separated, or mesh for all", "mesh")
    .option("--columns <names>", "comma-separated", "todo,doing,done")
    .action(lazy(async () => (await import("./board.ts")).boardNew));
  sub(board, "ls", "list them").action(lazy(async () => (await import("./board.ts")).boardList));
  sub(board, "show <board> [card]", "its columns; or all that one card says").action(
    lazy(async () => (await import("./board.ts")).boardShow),
  );
  sub(board, "add <board> [text...]", "put a card on it; also from a pipe")
    .option("--column <name>", "default: the first")
    .option("--top", "above the others, not below")
    .option("--for <people>", "whose it is: names, comma-separated")
    .action(lazy(async () => (await import("./board.ts")).boardAdd));
  sub(board, "move <board> <card> [column]", "a card is named by how its id or its text begins")
    .option("--top", "above the others, not below")
    .option("--before <card>", "above this one")
    .option("--after <card>", "below this one")
    .action(lazy(async () => (await import("./board.ts")).boardMove));
  sub(board, "edit <board> <card>", "change what it says in $EDITOR; what others write meanwhile stays")
    .option("--text <text>", "what it is to say; also from a pipe")
    .action(lazy(async () => (await import("./board.ts")).boardEdit));
  sub(board, "assign <board> <card> <people...>", "say whose it is")
    .option("--remove", "no longer theirs")
    .action(lazy(async () => (await import("./board.ts")).boardAssign));
  sub(board, "rm <board> <card>", "take a card away; what others do to it meanwhile brings it back").action(
    lazy(async () => (await import("./board.ts")).boardRemove),
  );
  sub(board, "columns <board> [names]", "list them, or say which there are, e.g. todo,doing,review,done").action(
    lazy(async () => (await import("./board.ts")).boardColumns),
  );
  sub(board, "share <board> <people...>", "let more people read and edit a private one").action(
    lazy(async () => (await import("./note.ts")).noteShare),
  );
  const facts = verb("facts", "what the mesh knows: keyed values, set by anybody, offline too");
  agentOption(sub(facts, "set <key> [value]", "set a fact: JSON or text; without a value from the standard input"))
    .option("--text", "take the value as text also where it is JSON")
    .action(lazy(async () => (await import("./facts.ts")).factsSet));
  agentOption(sub(facts, "get <key>", "its value; several if they were set without knowledge of each other")).action(
    lazy(async () => (await import("./facts.ts")).factsGet),
  );
  agentOption(sub(facts, "ls [prefix]", "list them")).action(lazy(async () => (await import("./facts.ts")).factsList));
  agentOption(sub(facts, "history <key>", "who set it, when, to what")).action(
    lazy(async () => (await import("./facts.ts")).factsHistory),
  );
  agentOption(sub(facts, "unset <key>", "take it away")).action(
    lazy(async () => (await import("./facts.ts")).factsUnset),
  );
  const sync = verb("sync", "who has what, and why something waits");
  sub(sync, "status", "how far each device is").action(lazy(async () => (await import("./sync.ts")).syncStatus));
  sub(sync, "now", "become equal with everybody who is reachable").action(
    lazy(async () => (await import("./sync.ts")).syncNow),
  );
  sub(sync, "why <item>", "what a call (kini1…), an event (kine1…) or a log waits for").action(
    lazy(async () => (await import("./sync.ts")).syncWhy),
  );
  sub(sync, "allow <device>", "let a device's logs count that was run twice (an admin)").action(
    lazy(async () => (await import("./sync.ts")).syncAllow),
  );
  sub(sync, "reissue <events...>", "say again what a fork or a removal took the effect of").action(
    lazy(async () => (await import("./sync.ts")).syncReissue),
  );
  const snapshot = verb("snapshot", "states instead of old history: who was away catches up quickly");
  sub(snapshot, "make", "make one of all that is here").action(
    lazy(async () => (await import("./snapshot.ts")).snapshotMake),
  );
  sub(snapshot, "ls", "list them, and who has signed").action(
    lazy(async () => (await import("./snapshot.ts")).snapshotList),
  );
  sub(snapshot, "show <id>", "what one is made of").action(
    lazy(async () => (await import("./snapshot.ts")).snapshotShow),
  );
  sub(snapshot, "prune", "drop here what a snapshot stands for that all have")
    .option("--dry-run", "only say how much")
    .action(lazy(async () => (await import("./snapshot.ts")).snapshotPrune));
  sub(snapshot, "dormant <name>", "wait no longer for a member who is away (admins)")
    .option("--off", "wait again")
    .action(lazy(async () => (await import("./snapshot.ts")).snapshotDormant));
  verb("export", "write history into a file that proves itself to anybody with the mesh id")
    .option("--out <file>", "default: kin-<date>.kin")
    .option("--call <id...>", "only these queued calls (kini1…), and show what was asked and answered")
    .option("--event <id...>", "only these events (kine1…), and show what they say")
    .option("--log <who...>", "only the logs of these members, e.g. ana or ana@laptop")
    .option("--here", "my own audit too, in clear")
    .option("--sealed", "show nothing")
    .option("--force", "replace the file")
    .action(lazy(async () => (await import("./export.ts")).exportFile));
  verb("verify <file>", "check such a file: needs no node, no keys, no network")
    .option("--mesh <id>", "the mesh id that you know (kinm1…)")
    .action(lazy(async () => (await import("./verify.ts")).verify));
  const audit = verb("audit", "who called what here");
  sub(audit, "log", "the newest records")
    .option("-n, --limit <n>", "how many", "50")
    .action(lazy(async () => (await import("./audit.ts")).auditLog));
  const share = verb("share", "folders that others may read");
  sub(share, "ls", "list them").action(lazy(async () => (await import("./share.ts")).shareList));
  sub(share, "add <folder>", "share a folder")
    .option("--name <name>", "default: the folder's name")
    .option("--for <people>", "names, comma-separated, or mesh for all", "mesh")
    .action(lazy(async () => (await import("./share.ts")).shareAdd));
  sub(share, "rm <name>", "end a share").action(lazy(async () => (await import("./share.ts")).shareRemove));

  verb("remove <name>", "remove a member from the mesh").action(lazy(async () => (await import("./remove.ts")).remove));
  const keys = verb("keys", "the keys of this node");
  sub(keys, "rotate <what> [agent]", "a new key: sealing, person, or agent NAME").action(
    lazy(async () => (await import("./keys.ts")).keysRotate),
  );
  verb("leave", "leave the mesh yourself")
    .option("--yes", "don't ask")
    .option("--unheard", "also if nobody is online to learn of it")
    .action(lazy(async () => (await import("./leave.ts")).leave));
  verb("set [setting] [value]", "list or change settings").action(lazy(async () => (await import("./set.ts")).set));
  verb("doctor", "check this installation")
    .option("--repair", "puts a damaged log.db aside and saves what can be read of it")
    .action(lazy(async () => (await import("./doctor.ts")).doctor));
  const passphrase = verb("passphrase", "protect the keys on this disk by a passphrase");
  sub(passphrase, "set", "set or change it").action(lazy(async () => (await import("./passphrase.ts")).passphraseSet));
  sub(passphrase, "remove", "store the keys without").action(
    lazy(async () => (await import("./passphrase.ts")).passphraseRemove),
  );
  verb("version", "show the version").action(lazy(async () => (await import("./version.ts")).version));
  verb("demo", "a live two-person mesh on this machine")
    .option("--once", "end by itself with a summary, leave nothing")
    .action(lazy(async () => (await import("./version.ts")).demo));
  verb("node", "run the node in this terminal, e.g. under systemd")
    .option("--daemon", "internal: started by kin up")
    .action(lazy(async () => (await import("./node.ts")).node));
  return program;
}

function sub(parent: Command, usage: string, summary: string): Command {
  return parent.command(usage).description(summary).exitOverride();
}

function agentOption(command: Command): Command {
  return command.option("--agent <agent>", "an agent's own facts, e.g. reviewer or ana/reviewer");
}

function callOptions(command: Command): Command {
  return command
    .option("--later", "queue it, don't try now")
    .option("--now", "fail instead of queueing if they are offline")
    .option("--verbose", "if it is queued: what was tried at each address")
    .option("--deadline <time>", "give up after, e.g. 2m");
}

function withoutGlobalFlags(argv: readonly string[]): string[] {
  const end = argv.indexOf("--");
  const head = end < 0 ? argv : argv.slice(0, end);
  return [...head.filter((word) => word !== "--json" && word !== "--debug"), ...(end < 0 ? [] : argv.slice(end))];
}

/** Verbs that list by themselves and have other commands besides. */
const LISTS: ReadonlySet<string> = new Set(["tools", "agents"]);

/** Before commander looks, for our own words. */
function checkVerb(program: Command, words: readonly string[]): void {
  const [verb, next] = words;
  if (verb === undefined || verb.startsWith("-") || verb === "help") return;
  const known = program.commands.map((command) => command.name());
  const found = program.commands.find((command) => command.name() === verb);
  if (found === undefined)
    throw unknownWord("command", verb, known, verb.startsWith("kint1") ? "kin join <ticket>" : null);
  const subs = found.commands.map((command) => command.name());
  if (subs.length === 0 || next === "--help" || next === "-h" || next === "help") return;
  if (next === undefined && LISTS.has(verb)) return;
  if (next === undefined)
    throw new KinError("USAGE", `kin ${verb} needs one of: ${subs.join(", ")}`, { hint: `kin ${verb} ${subs[0]}` });
  if (!subs.includes(next)) throw unknownWord(`kin ${verb} command`, next, subs, null);
}

function unknownWord(what: string, word: string, known: readonly string[], meant: string | null): KinError {
  const near = didYouMean(word, known);
  const hint = meant ?? (near === null ? `there are: ${known.join(", ")}` : `did you mean "${near}"?`);
  return new KinError("USAGE", `"${word}" is not a ${what}`, { hint });
}

/** "ask", "outbox drop" */
function verbOf(program: Command, [verb = "", next = ""]: readonly string[]): string {
  const found = program.commands.find((command) => command.name() === verb);
  return found?.commands.some((command) => command.name() === next) === true ? `${verb} ${next}` : verb;
}

function usageError(error: CommanderError, verb: string): KinError {
  const [first, ...more] = error.message.replace(/^error: /, "").split("\n");
  const suggestion = more.join(" ").replace(/^\(|\)$/g, "");
  const hint = suggestion === "" ? `kin ${verb} --help` : suggestion;
  return new KinError("USAGE", first ?? "bad usage", { hint });
}

export function packageVersion(): string {
  const { readFileSync } = process.getBuiltinModule("node:fs");
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

/** `kin up` and `kin down`, and the start that `invite` and `join` do by themselves. */
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Context } from "./context.ts";
import { connectControl, type ControlClient } from "./control-client.ts";
import { EXIT, clean } from "./output.ts";
import { nearestName, parseName } from "./parse.ts";
import { ask, canAsk, passphraseInFile, readPassphrase } from "./secret.ts";
import { isAlive } from "../alive.ts";
import { loadConfig, setConfig } from "../config.ts";
import { prepareHome } from "../home.ts";
import { hasKeystore, isSealedKeystore } from "../keystore.ts";
import { NODE_FLAGS } from "../node-flags.ts";
import { KinError, kinError, type ErrorShape } from "../../protocols/errors.ts";
import { NAME_PATTERN } from "../../protocols/limits.ts";

/** Opening a sealed keystore, a large log and the network on a slow machine. */
const START_TIMEOUT_MS = 60_000;
/** A node ends every part within 5 s; they are few. */
const STOP_TIMEOUT_MS = 30_000;
const POLL_MS = 20;
const TAIL_CHARACTERS = 2_000;

export async function up(context: Context, options: { as?: string }): Promise<number> {
  const { client, started } = await ensureNode(context, options.as ?? null);
  const state = await client.request("status", {}, { signal: context.signal });
  client.close();
  context.output.object({ started, pid: state.pid, name: state.name, peerId: state.peerId, home: state.home });
  context.output.line(
    started
      ? `${state.name}'s node runs: process ${state.pid}`
      : `${state.name}'s node was already running: process ${state.pid}`,
  );
  return EXIT.ok;
}

export async function down(context: Context): Promise<number> {
  const client = await connectRunning(context);
  if (client === null) {
    context.output.object({ stopped: false, pid: null });
    context.output.line("no node was running");
    return EXIT.ok;
  }
  const { pid } = await client.request("down", {}, { signal: context.signal });
  client.close();
  await waitForEnd(pid);
  context.output.object({ stopped: true, pid });
  context.output.line(`the node has stopped (process ${pid})`);
  return EXIT.ok;
}

async function waitForEnd(pid: number): Promise<void> {
  for (let waitedMs = 0; isAlive(pid); waitedMs += POLL_MS) {
    if (waitedMs >= STOP_TIMEOUT_MS)
      throw new KinError("INTERNAL", `the node has not ended within ${STOP_TIMEOUT_MS / 1000} s`, {
        hint: `kill ${pid}`,
      });
    await sleep(POLL_MS);
  }
}

async function connectRunning(context: Context): Promise<ControlClient | null> {
  try {
    return await connectControl(context.home.socketPath);
  } catch (error) {
    const code = (error as { cause?: NodeJS.ErrnoException }).cause?.code;
    if (error instanceof KinError && error.code === "NOT_RUNNING" && code === undefined) return null;
    throw error;
  }
}

/** The running node; on first use it gets a name and keys and is started. `as`: my name, said by the user. */
export async function ensureNode(
  context: Context,
  as: string | null,
  suggested: string | null = null,
): Promise<{ client: ControlClient; started: boolean }> {
  if (as !== null) parseName(as, "--as");
  const running = await connectRunning(context);
  if (running !== null) return { client: running, started: false };
  prepareHome(context.home);
  await ensureName(context, as, suggested);
  const passphrase = await neededPassphrase(context);
  const started = await startDaemon(context, passphrase);
  return { client: await connectControl(context.home.socketPath), started };
}

/** F7: what the user said, else what the ticket suggests, else the OS user if it fits, else asked. */
async function ensureName(context: Context, as: string | null, suggested: string | null): Promise<void> {
  const { configFile } = context.home;
  if (loadConfig(configFile).name !== null) return;
  setConfig(configFile, "name", as ?? suggested ?? osUserName() ?? (await askName()));
}

function osUserName(): string | null {
  try {
    const { username } = userInfo();
    return NAME_PATTERN.test(username) ? username : null;
  } catch {
    return null; // a uid without an entry in the user database
  }
}

async function askName(): Promise<string> {
  if (!canAsk())
    throw new KinError("USAGE", "kin does not know your name, and there is no terminal to ask for it", {
      hint: "say it once: --as ana",
    });
  for (;;) {
    const name = await ask("Your name in the mesh (a–z, 0–9, -): ");
    if (NAME_PATTERN.test(name)) return name;
    const near = nearestName(name);
    process.stderr.write(`That is no name here${near === null ? "" : `; for example ${near}`}.\n`);
  }
}

async function neededPassphrase(context: Context): Promise<string | null> {
  const { keysFolder } = context.home;
  if (isSealedKeystore(keysFolder)) return readPassphrase(context.env, "Passphrase of the keys: ");
  const file = context.env["KIN_PASSPHRASE_FILE"];
  return !hasKeystore(keysFolder) && file ? passphraseInFile(file) : null;
}

type Ready = { ready: true; pid: number } | { ready: false; error: ErrorShape };

/** Starts the node as a process of its own; false if somebody else was faster. */
async function startDaemon(context: Context, passphrase: string | null): Promise<boolean> {
  const { home } = context;
  const errorFile = join(home.runFolder, "node.err");
  const errors = openSync(errorFile, "w", 0o600);
  const child = spawn(process.execPath, [...NODE_FLAGS, context.entry, "node", "--daemon"], {
    cwd: home.dataFolder,
    detached: true,
    env: daemonEnvironment(context),
    stdio: ["pipe", errors, errors, "pipe"],
  });
  closeSync(errors);
  const [stdin, , , ready] = child.stdio as unknown as [Writable, null, null, Readable];
  stdin.on("error", () => {}); // it may end before it has read; what it says then is what counts
  stdin.end(JSON.stringify({ passphrase }));
  const said = await firstLine(child, ready, context.signal);
  ready.destroy();
  child.unref();
  if (said === "interrupted" || said === "timeout") {
    child.kill();
    throw said === "timeout"
      ? new KinError("INTERNAL", `the node was not ready after ${START_TIMEOUT_MS / 1000} s`, {
          hint: `see ${home.logFile}`,
        })
      : new KinError("CANCELLED", "the start was interrupted");
  }
  if (said === null)
    throw new KinError("INTERNAL", `the node ended while it started: ${tail(errorFile)}`, {
      hint: `see ${home.logFile}`,
    });
  if (said.ready) return true;
  if (said.error.code === "FOLDER_IN_USE" && (await isAnswering(home.socketPath))) return false;
  throw kinError(said.error);
}

function daemonEnvironment(context: Context): NodeJS.ProcessEnv {
  const { KIN_PASSPHRASE_FILE: _file, ...env } = context.env;
  return context.home.kinHome === null ? env : { ...env, KIN_HOME: context.home.kinHome };
}

function firstLine(
  child: ReturnType<typeof spawn>,
  ready: Readable,
  signal: AbortSignal,
): Promise<Ready | null | "timeout" | "interrupted"> {
  return new Promise((resolve) => {
    let text = "";
    const done = (said: Ready | null | "timeout" | "interrupted"): void => {
      clearTimeout(timer);
      resolve(said);
    };
    const timer = setTimeout(() => done("timeout"), START_TIMEOUT_MS);
    signal.addEventListener("abort", () => done("interrupted"), { once: true });
    ready.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (text.includes("\n")) done(JSON.parse(text.slice(0, text.indexOf("\n"))) as Ready);
    });
    ready.once("close", () => done(null));
    child.once("error", () => done(null));
  });
}

/** The one that was faster may still be starting. */
async function isAnswering(socketPath: string): Promise<boolean> {
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += 10 * POLL_MS) {
    try {
      (await connectControl(socketPath)).close();
      return true;
    } catch {
      await sleep(10 * POLL_MS);
    }
  }
  return false;
}

function tail(file: string): string {
  const text = clean(readFileSync(file, "utf8")).trim();
  return text === "" ? "it said nothing" : text.slice(-TAIL_CHARACTERS);
}

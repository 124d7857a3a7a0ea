/**
 * `kin node`: the daemon. It takes the folder's lock, loads settings and keys, starts the mesh node, serves the control
 * socket, and ends cleanly at SIGTERM, SIGINT or `kin down`. With --daemon its parent is `kin up`:
 *
 *   parent → stdin  {"passphrase": text | null}
 *   child  → fd 3   {"ready": true, "pid"} or {"ready": false, "error": {code, message, hint}}, then closed
 */
import { closeSync, writeSync } from "node:fs";
import type { Context } from "./context.ts";
import { EXIT } from "./output.ts";
import { readPassphrase, passphraseInFile } from "./secret.ts";
import { loadConfig } from "../config.ts";
import { prepareHome, type Home } from "../home.ts";
import { hasKeystore, isSealedKeystore, openKeystore } from "../keystore.ts";
import { createLifecycle, type Lifecycle } from "../lifecycle.ts";
import { lockFolder } from "../lock.ts";
import { createTelemetry, type Telemetry } from "../telemetry.ts";
import { serveControl } from "../gateway/control.ts";
import type { StartMeshNode } from "../mesh-node.ts";
import { systemTime } from "../system.ts";
import { errorShape, KinError } from "../../protocols/errors.ts";

export interface RunNodeOptions {
  home: Home;
  passphrase?: string | undefined;
  /** True: log lines go to stderr too. */
  foreground: boolean;
  onReady: (pid: number) => void;
  start: StartMeshNode;
}

const READY_FD = 3;
/** A passphrase and a little JSON. */
const MAX_HANDOVER_BYTES = 16 * 1024;

/** Runs until the node has stopped. @throws KinError why it did not start; everything is released again */
export async function runNode(options: RunNodeOptions): Promise<void> {
  const { home } = options;
  prepareHome(home);
  const telemetry = createTelemetry(home.logFile, systemTime, options.foreground ? toStderr : undefined);
  const lifecycle = createLifecycle();
  try {
    const lock = lockFolder(home.dataFolder);
    lifecycle.onStop("lock", () => lock.release());
    const keystore = openKeystore(home.keysFolder, { passphrase: options.passphrase, now: systemTime.now() });
    const config = loadConfig(home.configFile);
    const { control } = await options.start({ home, config, keystore, telemetry, lifecycle });
    const server = await serveControl(home.socketPath, { ...control, down: async () => downAfterAnswer(lifecycle) });
    lifecycle.onStop("control socket", () => server.close());
  } catch (error) {
    telemetry.error("start failed", { code: errorShape(error).code, message: errorShape(error).message });
    await lifecycle.stop();
    throw error;
  }
  telemetry.info("started", { pid: process.pid });
  options.onReady(process.pid);
  await stopped(lifecycle, telemetry);
}

/** The answer leaves first; the socket closes after what was written to it is sent. */
function downAfterAnswer(lifecycle: Lifecycle): { pid: number } {
  setImmediate(() => void lifecycle.stop());
  return { pid: process.pid };
}

async function stopped(lifecycle: Lifecycle, telemetry: Telemetry): Promise<void> {
  const stop = (reason: string) => (): void => {
    telemetry.info("stopping", { reason });
    void lifecycle.stop();
  };
  process.on("SIGTERM", stop("SIGTERM"));
  process.on("SIGINT", stop("SIGINT"));
  // A stray rejection of a library about one peer must not end the node for the others.
  process.on("unhandledRejection", (reason) => telemetry.error("unhandled rejection", { message: String(reason) }));
  process.on("uncaughtException", (error) => {
    telemetry.error("uncaught exception", { message: error.stack ?? String(error) });
    process.exitCode = EXIT.failed;
    void lifecycle.stop();
  });
  if (!lifecycle.signal.aborted)
    await new Promise<void>((resolve) => lifecycle.signal.addEventListener("abort", () => resolve(), { once: true }));
  for (const { name, error } of await lifecycle.stop())
    telemetry.warn("did not stop well", { name, message: error.message });
  telemetry.info("stopped");
}

function toStderr(line: string): void {
  process.stderr.write(line);
}

/** The verb. */
export async function node(context: Context, options: { daemon?: boolean }): Promise<number> {
  const start = await loadStart();
  if (options.daemon === true) return runDaemon(context, start);
  const passphrase = await foregroundPassphrase(context);
  const onReady = (pid: number): void => context.output.note(`the node runs: process ${pid}; Ctrl-C stops it`);
  await runNode({ home: context.home, passphrase, foreground: true, onReady, start });
  return leave(EXIT.ok);
}

async function loadStart(): Promise<StartMeshNode> {
  return (await import("../mesh-node.ts")).startMeshNode;
}

export async function runDaemon(context: Context, start: StartMeshNode): Promise<number> {
  const tell = (said: object): void => {
    try {
      writeSync(READY_FD, `${JSON.stringify(said)}\n`);
      closeSync(READY_FD);
    } catch {
      // The parent was interrupted; the node runs on, as `kin up` had asked.
    }
  };
  try {
    const passphrase = (await readHandover()) ?? undefined;
    await runNode({
      home: context.home,
      passphrase,
      foreground: false,
      onReady: (pid) => tell({ ready: true, pid }),
      start,
    });
    return leave(EXIT.ok);
  } catch (error) {
    tell({ ready: false, error: errorShape(error) });
    return leave(EXIT.failed);
  }
}

/** Everything of ours is closed; a library's timer or socket must not keep the process. */
function leave(code: number): never {
  process.exit(process.exitCode === undefined ? code : Number(process.exitCode));
}

async function foregroundPassphrase(context: Context): Promise<string | undefined> {
  const { keysFolder } = context.home;
  if (isSealedKeystore(keysFolder)) return readPassphrase(context.env, "Passphrase of the keys: ");
  const file = context.env["KIN_PASSPHRASE_FILE"];
  return !hasKeystore(keysFolder) && file ? passphraseInFile(file) : undefined;
}

async function readHandover(): Promise<string | null> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin) {
    bytes += (chunk as Buffer).length;
    if (bytes > MAX_HANDOVER_BYTES) throw new KinError("TOO_LARGE", "what kin up has handed over is too long");
    chunks.push(chunk as Buffer);
  }
  const { passphrase } = JSON.parse(Buffer.concat(chunks).toString("utf8")) as { passphrase: unknown };
  return typeof passphrase === "string" ? passphrase : null;
}

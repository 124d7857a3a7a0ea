/** `kin doctor`: is this installation sound? Each check says ok, warn or fail, and what to do. Works without a node. */
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync, statSync, statfsSync } from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { dirname, join } from "node:path";
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { rewriteCommands } from "./hint.ts";
import { EXIT } from "./output.ts";
import { loadConfig, type Config } from "../config.ts";
import { meshFolder, readFormat, type Home } from "../home.ts";
import { isSealedKeystore } from "../keystore.ts";
import type { NodeStatus } from "../gateway/control-api.ts";
import { errorShape } from "../../protocols/errors.ts";
import type { MeshId } from "../../protocols/ids.ts";

export type CheckState = "ok" | "warn" | "fail";
export interface CheckItem {
  check: string;
  state: CheckState;
  message: string;
  /** What to do. */
  hint?: string | undefined;
}

/** Below this the log soon can't be written. */
const LITTLE_DISK_BYTES = 200 * 1024 * 1024;
/** The first kin was built in 2026: an earlier clock is wrong for sure, and certificates and stamps would be too. */
const BUILT_AT = Date.UTC(2026, 0, 1);
const GIT_TIMEOUT_MS = 5_000;

export async function doctor(context: Context, { repair = false }: { repair?: boolean } = {}): Promise<number> {
  const { home, output } = context;
  const running = await runningStatus(home);
  const config = configOf(home);
  const items: CheckItem[] = [
    checkNodeVersion(process.versions.node),
    checkFolders(home),
    checkFormat(home),
    checkKeys(home),
    checkSocket(home, running),
    config.item,
    checkClock(Date.now()),
    await checkPort(config.config, running),
    await checkGit(),
    checkInterfaces(config.config),
    checkDisk(home),
    ...(running === null ? await checkLog(home, repair) : []),
    ...(running?.warnings ?? []).map((message): CheckItem => ({
      check: "node",
      state: "warn",
      message: rewriteCommands(message, context.env),
    })),
  ].map((item) => (item.hint === undefined ? item : { ...item, hint: rewriteCommands(item.hint, context.env) }));
  output.object({ items });
  for (const item of items) {
    output.line(`${item.state.padEnd(5)} ${item.check.padEnd(9)} ${item.message}`);
    if (item.hint !== undefined && item.state !== "ok") output.line(`${" ".repeat(16)}${item.hint}`);
  }
  return items.some((item) => item.state === "fail") ? EXIT.failed : EXIT.ok;
}

async function runningStatus(home: Home): Promise<NodeStatus | null> {
  try {
    const client = await connectControl(home.socketPath);
    const status = await client.request("status", {});
    client.close();
    return status;
  } catch {
    return null; // said by the socket's check
  }
}

export function checkNodeVersion(version: string): CheckItem {
  const major = Number(version.split(".")[0]);
  return major >= 24
    ? { check: "runtime", state: "ok", message: `Node ${version}` }
    : {
        check: "runtime",
        state: "fail",
        message: `Node ${version}, expected 24 or newer`,
        hint: "npm ci brings Node 24",
      };
}

export function checkFolders(home: Home): CheckItem {
  const folders = [home.dataFolder, home.runFolder].filter((folder) => existsSync(folder));
  if (folders.length === 0 && !canBeMade(home.dataFolder))
    return {
      check: "folders",
      state: "fail",
      message: `${home.dataFolder} can't be made: the folder above it can't be written`,
      hint: "check who owns it, or set KIN_HOME to a folder of yours",
    };
  if (folders.length === 0)
    return {
      check: "folders",
      state: "ok",
      message: `nothing yet in ${home.dataFolder}: the first kin up or kin join makes it`,
    };
  for (const folder of folders) {
    const { mode } = statSync(folder);
    if ((mode & 0o077) !== 0)
      return {
        check: "folders",
        state: "warn",
        message: `${folder} is open to other users: mode 0${(mode & 0o777).toString(8)}, expected 0700`,
        hint: `chmod 700 '${folder}'`,
      };
    try {
      accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch {
      return { check: "folders", state: "fail", message: `${folder} can't be written`, hint: "check who owns it" };
    }
  }
  return { check: "folders", state: "ok", message: home.dataFolder };
}

function canBeMade(folder: string): boolean {
  try {
    accessSync(nearestExisting(folder), constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function nearestExisting(path: string): string {
  let folder = path;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

export function checkFormat(home: Home): CheckItem {
  try {
    const version = readFormat(home);
    return { check: "format", state: "ok", message: version === null ? "none yet" : `version ${version}` };
  } catch (error) {
    return failed("format", error);
  }
}

/** Reads no key: only whether each file is ours alone, and whether it is sealed. */
export function checkKeys(home: Home): CheckItem {
  const { keysFolder } = home;
  if (!existsSync(keysFolder)) return { check: "keys", state: "ok", message: "none yet" };
  for (const entry of readdirSync(keysFolder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const { mode } = statSync(path);
    if ((mode & 0o077) !== 0)
      return {
        check: "keys",
        state: "fail",
        message: `${path} may be read by other users: mode 0${(mode & 0o777).toString(8)}`,
        hint: `chmod ${entry.isDirectory() ? "700" : "600"} '${path}'`,
      };
  }
  for (const purpose of ["person", "device", "sealing"])
    if (!existsSync(join(keysFolder, `${purpose}.json`)))
      return {
        check: "keys",
        state: "fail",
        message: `${keysFolder}/${purpose}.json is missing`,
        hint: "restore it from a backup",
      };
  return isSealedKeystore(keysFolder)
    ? { check: "keys", state: "ok", message: `sealed by a passphrase in ${keysFolder}` }
    : {
        check: "keys",
        state: "warn",
        message: `raw in ${keysFolder}: who reads this disk or its backups has them`,
        hint: "kin passphrase set seals them",
      };
}

export function checkSocket(home: Home, running: NodeStatus | null): CheckItem {
  if (running !== null)
    return { check: "node", state: "ok", message: `runs, process ${running.pid}, answers on ${home.socketPath}` };
  if (!existsSync(home.socketPath))
    return { check: "node", state: "warn", message: "no node is running", hint: "kin up" };
  return {
    check: "node",
    state: "warn",
    message: `nobody answers on ${home.socketPath}: a node was killed, or hangs`,
    hint: "kin up replaces the file of a dead node",
  };
}

function configOf(home: Home): { config: Config | null; item: CheckItem } {
  try {
    const config = loadConfig(home.configFile);
    const where = existsSync(home.configFile) ? home.configFile : "none: defaults";
    return { config, item: { check: "settings", state: "ok", message: where } };
  } catch (error) {
    return { config: null, item: failed("settings", error) };
  }
}

export function checkClock(now: number): CheckItem {
  return now >= BUILT_AT
    ? { check: "clock", state: "ok", message: new Date(now).toISOString() }
    : {
        check: "clock",
        state: "fail",
        message: `it is ${new Date(now).toISOString()} here, before kin was built`,
        hint: "set the clock: others hold back what is stamped wrongly",
      };
}

async function checkPort(config: Config | null, running: NodeStatus | null): Promise<CheckItem> {
  const check = "port";
  if (running !== null) return { check, state: "ok", message: running.listening.join(", ") || "not listening" };
  const port = config?.listen.port ?? 0;
  if (port === 0)
    return { check, state: "ok", message: "not chosen yet: the first start takes a free one and keeps it" };
  const problem = await listenProblem(port, config?.listen.hosts[0] ?? "127.0.0.1");
  if (problem === null) return { check, state: "ok", message: `${port} is free` };
  return {
    check,
    state: "fail",
    message: `port ${port}: ${problem}`,
    hint: "stop what uses it, or kin set listen.port 0",
  };
}

function listenProblem(port: number, host: string): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) =>
      resolve(error.code === "EADDRINUSE" ? "another program uses it" : error.message),
    );
    server.listen(port, host, () => server.close(() => resolve(null)));
  });
}

function checkGit(): Promise<CheckItem> {
  return new Promise((resolve) => {
    execFile("git", ["--version"], { timeout: GIT_TIMEOUT_MS, env: { PATH: process.env["PATH"] } }, (error, stdout) =>
      resolve(
        error === null
          ? { check: "git", state: "ok", message: stdout.trim() }
          : {
              check: "git",
              state: "warn",
              message: "git was not found: git.log, git.diff and the reviewer can't work on your shares",
              hint: "install git",
            },
      ),
    );
  });
}

function checkInterfaces(config: Config | null): CheckItem {
  const names = Object.entries(networkInterfaces())
    .filter(([, addresses]) => addresses?.some((address) => !address.internal))
    .map(([name]) => name);
  const check = "network";
  if (config?.discovery.mdns === false)
    return { check, state: "ok", message: `${names.join(", ") || "none"}; mDNS is off` };
  return names.length > 0
    ? { check, state: "ok", message: `mDNS looks on ${names.join(", ")}` }
    : {
        check,
        state: "warn",
        message: "no network card but loopback: nobody else can be reached",
        hint: "connect to a network",
      };
}

/** Only while no node runs: the log has one reader. */
async function checkLog(home: Home, repair: boolean): Promise<CheckItem[]> {
  const check = "log";
  const names = existsSync(home.meshesFolder) ? readdirSync(home.meshesFolder) : [];
  const mesh = names.find((name) => /^[0-9a-f]{64}$/.test(name)) as MeshId | undefined;
  if (mesh === undefined) return [];
  const { logDamage, repairLog } = await import("../log-repair.ts");
  const { lockFolder } = await import("../lock.ts");
  const folder = meshFolder(home, mesh);
  let lock;
  try {
    lock = lockFolder(home.dataFolder);
    if (!repair) {
      const damage = await logDamage(folder);
      return damage === null
        ? [{ check, state: "ok", message: folder.logFile }]
        : [{ check, state: "fail", message: damage, hint: REPAIR_HINT }];
    }
    const { aside, events, values, left } = await repairLog(folder, mesh, new Date());
    const kept = aside === null ? "log.db can be read" : `the damaged file is kept in ${aside}`;
    const rest =
      left === 0 ? "" : `; ${left} events wait in it for what is missing before them: repair again after a sync`;
    return [{ check, state: "ok", message: `${kept}; ${events} events and ${values} values were saved${rest}` }];
  } catch (error) {
    return [failed(check, error)];
  } finally {
    lock?.release();
  }
}

const REPAIR_HINT =
  "kin doctor --repair puts the damaged file aside and saves what can be read; the node then gets the rest from your peers";

function checkDisk(home: Home): CheckItem {
  const folder = nearestExisting(home.dataFolder);
  const { bavail, bsize } = statfsSync(folder);
  const freeBytes = bavail * bsize;
  const message = `${(freeBytes / 1024 ** 3).toFixed(1)} GiB free in ${folder}`;
  return freeBytes >= LITTLE_DISK_BYTES
    ? { check: "disk", state: "ok", message }
    : { check: "disk", state: "warn", message, hint: "free some space: nothing can be acknowledged on a full disk" };
}

function failed(check: string, error: unknown): CheckItem {
  const { message, hint } = errorShape(error);
  return { check, state: "fail", message, hint };
}

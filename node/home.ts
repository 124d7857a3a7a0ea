/**
 * Where kin keeps its things (F8). One data folder holds one mesh:
 *
 *   KIN_HOME/{format.json, config.jsonc, keys/, agents/, run/, meshes/<mesh>/{log.db, views.db, blobs/, incarnation}}
 *
 * Without KIN_HOME the same parts lie under XDG: config.jsonc and agents/ under config, format.json, keys/ and meshes/
 * under data, run/ under state. This file must load fast: `kin status` imports it.
 */
import { chmodSync, lstatSync, mkdirSync, readFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { writeAtomic } from "./atomic-file.ts";
import { KinError } from "../protocols/errors.ts";
import type { MeshId } from "../protocols/ids.ts";

/** Version of the layout. A folder that a newer kin has written is refused, never guessed at. */
export const FORMAT_VERSION = 1;
/** A unix socket path over 107 bytes is EINVAL on Linux, over 103 on macOS; some room for a temporary suffix. */
const MAX_SOCKET_PATH_BYTES = 100;

export interface Home {
  /** What the user set as KIN_HOME, absolute; null with XDG folders. */
  kinHome: string | null;
  /** Holds format.json, keys/, meshes/ and the lock: the folder that one node at a time may use. */
  dataFolder: string;
  configFile: string;
  agentsFolder: string;
  formatFile: string;
  keysFolder: string;
  meshesFolder: string;
  runFolder: string;
  logFile: string;
  socketPath: string;
}

export interface MeshFolder {
  folder: string;
  logFile: string;
  viewsFile: string;
  blobsFolder: string;
  incarnationFile: string;
}

/** Names the folders; touches no disk. */
export function resolveHome(env: NodeJS.ProcessEnv = process.env): Home {
  const kinHome = env["KIN_HOME"] ? resolve(env["KIN_HOME"]) : null;
  const xdg = (name: string, fallback: string): string => {
    const set = env[name];
    // The XDG specification: a relative path is invalid and ignored.
    return join(set && isAbsolute(set) ? set : join(env["HOME"] || homedir(), fallback), "kin");
  };
  const config = kinHome ?? xdg("XDG_CONFIG_HOME", ".config");
  const data = kinHome ?? xdg("XDG_DATA_HOME", ".local/share");
  const runFolder = join(kinHome ?? xdg("XDG_STATE_HOME", ".local/state"), "run");
  return {
    kinHome,
    dataFolder: data,
    configFile: join(config, "config.jsonc"),
    agentsFolder: join(config, "agents"),
    formatFile: join(data, "format.json"),
    keysFolder: join(data, "keys"),
    meshesFolder: join(data, "meshes"),
    runFolder,
    logFile: join(runFolder, "node.log"),
    socketPath: socketPath(runFolder, env),
  };
}

/** Creates what is missing, with 0700, and checks the format. @throws KinError UNSUPPORTED_VERSION, CORRUPT, DISK_FULL */
export function prepareHome(home: Home): void {
  for (const folder of [home.dataFolder, home.agentsFolder, home.meshesFolder, home.runFolder]) makeFolder(folder);
  prepareSocketFolder(home);
  const version = readFormat(home);
  if (version === null) writeAtomic(home.formatFile, `${JSON.stringify({ format: FORMAT_VERSION })}\n`);
}

/** The folder's format version; null if it has none yet. @throws KinError UNSUPPORTED_VERSION, CORRUPT */
export function readFormat(home: Home): number | null {
  let text: string;
  try {
    text = readFileSync(home.formatFile, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw new KinError("CORRUPT", `cannot read ${home.formatFile}: ${(error as Error).message}`, { cause: error });
  }
  const version = formatIn(text);
  if (version === null)
    throw new KinError("CORRUPT", `${home.formatFile} does not say a format version: expected {"format": 1}`, {
      hint: "restore the file from a backup; kin does not guess what a data folder is",
    });
  if (version > FORMAT_VERSION)
    throw new KinError(
      "UNSUPPORTED_VERSION",
      `${home.dataFolder} was written by a newer kin: its format is ${version}, this kin knows up to ${FORMAT_VERSION}`,
      { hint: "update kin, or use another folder with KIN_HOME" },
    );
  return version;
}

function formatIn(text: string): number | null {
  try {
    const { format } = JSON.parse(text) as { format?: unknown };
    return Number.isSafeInteger(format) && (format as number) >= 1 ? (format as number) : null;
  } catch {
    return null;
  }
}

/** The files of one mesh. Makes the folders. */
export function prepareMeshFolder(home: Home, mesh: MeshId): MeshFolder {
  const folder = meshFolder(home, mesh);
  makeFolder(folder.folder);
  makeFolder(folder.blobsFolder);
  return folder;
}

export function meshFolder(home: Home, mesh: MeshId): MeshFolder {
  const folder = join(home.meshesFolder, mesh);
  return {
    folder,
    logFile: join(folder, "log.db"),
    viewsFile: join(folder, "views.db"),
    blobsFolder: join(folder, "blobs"),
    incarnationFile: join(folder, "incarnation"),
  };
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOSPC" || code === "EDQUOT")
      throw new KinError("DISK_FULL", `cannot make the folder ${folder}: the disk is full`, {
        hint: "free some space and start again; nothing was changed",
        cause: error,
      });
    throw new KinError("CORRUPT", `cannot make the folder ${folder}: ${(error as Error).message}`, {
      hint: "check who owns the folder above it, or set KIN_HOME to a folder of yours",
      cause: error,
    });
  }
}

/** `run/kin.sock`; where that is too long, a short name by the hash of the folder, in a folder that is only mine. */
function socketPath(runFolder: string, env: NodeJS.ProcessEnv): string {
  const path = join(runFolder, "kin.sock");
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return path;
  const { createHash } = process.getBuiltinModule("node:crypto"); // loaded only here: start-up time
  const name = createHash("sha256").update(runFolder).digest("hex").slice(0, 16);
  const runtime = env["XDG_RUNTIME_DIR"];
  const candidates = [
    ...(runtime && isAbsolute(runtime) ? [join(runtime, `kin-${name}.sock`)] : []),
    join(env["TMPDIR"] || tmpdir(), `kin-${process.getuid?.() ?? 0}`, `${name}.sock`),
    join("/tmp", `kin-${process.getuid?.() ?? 0}`, `${name}.sock`),
  ];
  return candidates.find((candidate) => Buffer.byteLength(candidate) <= MAX_SOCKET_PATH_BYTES) ?? path;
}

/** A folder in a shared temporary folder must be mine alone, or another user could answer in the node's place. */
function prepareSocketFolder(home: Home): void {
  if (Buffer.byteLength(home.socketPath) > MAX_SOCKET_PATH_BYTES)
    throw new KinError(
      "SOCKET_PATH_TOO_LONG",
      `the socket path ${home.socketPath} has ${Buffer.byteLength(home.socketPath)} bytes: at most ${MAX_SOCKET_PATH_BYTES}`,
      { hint: "set KIN_HOME or XDG_RUNTIME_DIR to a shorter folder" },
    );
  const folder = resolve(home.socketPath, "..");
  if (folder === home.runFolder || folder === process.env["XDG_RUNTIME_DIR"]) return;
  makeFolder(folder);
  checkPrivateFolder(folder);
}

/** @throws KinError SOCKET_PATH_TOO_LONG if `folder` is not a real folder of mine with 0700. */
export function checkPrivateFolder(folder: string): void {
  const found = lstatSync(folder);
  const mine = process.getuid === undefined || found.uid === process.getuid();
  if (!found.isDirectory() || !mine)
    throw new KinError(
      "SOCKET_PATH_TOO_LONG",
      `${folder}, where the socket has to lie because the data folder's path is too long, belongs to someone else`,
      { hint: "set KIN_HOME to a shorter folder" },
    );
  if ((found.mode & 0o077) !== 0) chmodSync(folder, 0o700);
}

/**
 * The settings: `config.jsonc`, JSON with comments that people edit and `kin set` changes without losing a comment.
 * Unknown keys and bad values are errors that name file, line and column; nothing is guessed and nothing is dropped.
 */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, isAbsolute } from "node:path";
import {
  applyEdits,
  findNodeAtLocation,
  getNodeValue,
  modify,
  parseTree,
  printParseErrorCode,
  type Node,
  type ParseError,
} from "jsonc-parser";
import { writeAtomic } from "./atomic-file.ts";
import { didYouMean } from "./did-you-mean.ts";
import { KinError } from "../protocols/errors.ts";
import { NAME_PATTERN } from "../protocols/limits.ts";

export type Transport = "tcp" | "websocket" | "webrtc-direct";
export type Encrypter = "tls" | "noise";

export interface ShareConfig {
  name: string;
  /** Absolute. */
  folder: string;
  rights: "read";
  /** People's names or ids (`kinp1…`); a name is resolved once and pinned (R12). */
  for: "mesh" | string[];
}

/** A server in the `mcpServers` dialect: a command to run, or the URL of a running one. */
export interface McpServerConfig {
  command?: string;
  args?: string[];
  env?: { [name: string]: string };
  cwd?: string;
  url?: string;
  headers?: { [name: string]: string };
  /** Who may call its tools. Nobody but me, if absent. */
  for: "mesh" | string[];
  /** True: its own word that a tool only reads is believed, such calls don't wait for the disk. */
  trustReadOnly: boolean;
}

export interface Config {
  /** My name (F7); null until the first use chooses one. */
  name: string | null;
  /** This machine's name in `ana@laptop`; null: made of the host's name. */
  device: string | null;
  /** Port 0: a free one is chosen at the first start and written here, so that it is kept. */
  listen: { port: number; hosts: string[] };
  discovery: { log: boolean; dht: boolean; mdns: boolean };
  transports: Transport[];
  /** In order of preference. */
  encrypters: Encrypter[];
  /** Multiaddrs that others reach me at, besides what is found out. */
  addresses: string[];
  shares: ShareConfig[];
  mcpServers: { [name: string]: McpServerConfig };
}

/** What holds where the file says nothing. */
export const DEFAULT_CONFIG: Config = {
  name: null,
  device: null,
  listen: { port: 0, hosts: ["0.0.0.0", "::"] },
  discovery: { log: true, dht: true, mdns: true },
  transports: ["tcp", "websocket", "webrtc-direct"],
  encrypters: ["tls", "noise"],
  addresses: [],
  shares: [],
  mcpServers: {},
};

/** A setting that `kin set` shows and changes. Shares have `kin share`, MCP servers the file itself. */
export interface Setting {
  path: string;
  what: string;
  defaultValue: unknown;
}

export const SETTINGS: readonly Setting[] = [
  { path: "name", what: "my name: a–z, 0–9, -", defaultValue: null },
  { path: "device", what: "this machine's name", defaultValue: null },
  { path: "listen.port", what: "port; 0: chosen once, then kept", defaultValue: DEFAULT_CONFIG.listen.port },
  { path: "listen.hosts", what: "addresses to listen on", defaultValue: DEFAULT_CONFIG.listen.hosts },
  { path: "discovery.log", what: "find agents in the synced log", defaultValue: true },
  { path: "discovery.dht", what: "find agents over the mesh's DHT", defaultValue: true },
  { path: "discovery.mdns", what: "find peers on the local network", defaultValue: true },
  { path: "transports", what: "tcp, websocket, webrtc-direct", defaultValue: DEFAULT_CONFIG.transports },
  { path: "encrypters", what: "tls, noise, the preferred first", defaultValue: DEFAULT_CONFIG.encrypters },
  { path: "addresses", what: "multiaddrs to announce besides", defaultValue: DEFAULT_CONFIG.addresses },
];

// — The shape as data ————————————————————————————————————————————————————————————————————————————————————————————

/** Says what is wrong with a value, in words that follow "expected"; null: nothing. */
type Check = (value: unknown) => string | null;
type Shape =
  | Check
  | { fields: { [key: string]: Shape }; needs?: string[] }
  | { items: Shape }
  | { values: Shape; keys?: RegExp };

const MAX_ITEMS = 256;
const isText: Check = (value) => (typeof value === "string" && value !== "" ? null : "a text");
const isFlag: Check = (value) => (typeof value === "boolean" ? null : "true or false");
const isNameText: Check = (value) =>
  typeof value === "string" && NAME_PATTERN.test(value) ? null : "a name: a–z first, then a–z, 0–9 or -, at most 32";
const isPort: Check = (value) =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 65_535 ? null : "a port from 0 to 65535";
const isFolder: Check = (value) =>
  typeof value === "string" && isAbsolute(value) ? null : "an absolute path to a folder";
const isAddress: Check = (value) =>
  typeof value === "string" && /^\/[a-z0-9]+\/\S+$/.test(value) ? null : "a multiaddr such as /ip4/192.0.2.1/tcp/4001";
const oneOf =
  (...allowed: string[]): Check =>
  (value) =>
    allowed.includes(value as string) ? null : allowed.map((word) => `"${word}"`).join(" or ");
const isAudience: Check = (value) =>
  value === "mesh" || (Array.isArray(value) && value.length <= MAX_ITEMS && value.every(isPerson))
    ? null
    : '"mesh" or a list of people, such as ["ana"]';

function isPerson(value: unknown): boolean {
  return typeof value === "string" && /^([a-z][a-z0-9-]{0,31}(~[a-z2-7]{4})?|kinp1[a-z2-7]+)$/.test(value);
}

const SHAPE: Shape = {
  fields: {
    name: isNameText,
    device: isNameText,
    listen: { fields: { port: isPort, hosts: { items: isText } } },
    discovery: { fields: { log: isFlag, dht: isFlag, mdns: isFlag } },
    transports: { items: oneOf("tcp", "websocket", "webrtc-direct") },
    encrypters: { items: oneOf("tls", "noise") },
    addresses: { items: isAddress },
    shares: {
      items: {
        fields: { name: isNameText, folder: isFolder, rights: oneOf("read"), for: isAudience },
        needs: ["name", "folder", "for"],
      },
    },
    mcpServers: {
      keys: NAME_PATTERN,
      values: {
        fields: {
          command: isText,
          args: { items: (value) => (typeof value === "string" ? null : "a text") },
          env: { values: (value) => (typeof value === "string" ? null : "a text") },
          cwd: isFolder,
          url: (value) => (typeof value === "string" && /^https?:\/\//.test(value) ? null : "an http or https URL"),
          headers: { values: isText },
          for: isAudience,
          trustReadOnly: isFlag,
        },
      },
    },
  },
};

// — Reading ———————————————————————————————————————————————————————————————————————————————————————————————————————

/** The settings with their defaults; a missing file is an empty one. @throws KinError CONFIG_INVALID */
export function loadConfig(file: string): Config {
  return parseConfig(readConfigText(file), file);
}

/** @throws KinError CONFIG_INVALID: `file:line:column: what, expected …` */
export function parseConfig(text: string, file: string): Config {
  const errors: ParseError[] = [];
  const tree = parseTree(text, errors, { allowTrailingComma: true, disallowComments: false });
  const fail = (offset: number, sentence: string, hint?: string): never => {
    throw new KinError("CONFIG_INVALID", `${file}:${position(text, offset)}: ${sentence}`, { hint });
  };
  const isOnlyComments =
    tree === undefined && errors.every(({ error }) => printParseErrorCode(error) === "ValueExpected");
  if (errors[0] !== undefined && !isOnlyComments)
    fail(errors[0].offset, `not JSON with comments: ${spaced(printParseErrorCode(errors[0].error))}`);
  if (tree === undefined) return structuredClone(DEFAULT_CONFIG);
  checkNode(tree, SHAPE, "", fail);
  const config = withDefaults(getNodeValue(tree) as Partial<Config>);
  checkTogether(config, tree, fail);
  return config;
}

type Fail = (offset: number, sentence: string, hint?: string) => never;

function checkNode(node: Node, shape: Shape, path: string, fail: Fail): void {
  const here = path === "" ? "the settings" : path;
  if (typeof shape === "function") {
    const expected = shape(getNodeValue(node));
    if (expected !== null) fail(node.offset, `${here} is ${shown(getNodeValue(node))}, expected ${expected}`);
  } else if ("items" in shape) {
    if (node.type !== "array") fail(node.offset, `${here} is ${shown(getNodeValue(node))}, expected a list [ … ]`);
    const items = node.children ?? [];
    if (items.length > MAX_ITEMS) fail(node.offset, `${here} has ${items.length} items, expected at most ${MAX_ITEMS}`);
    items.forEach((item, index) => checkNode(item, shape.items, `${here}[${index}]`, fail));
  } else checkObject(node, shape, path, fail);
}

function checkObject(node: Node, shape: Exclude<Shape, Check | { items: Shape }>, path: string, fail: Fail): void {
  const here = path === "" ? "the settings" : path;
  if (node.type !== "object") fail(node.offset, `${here} is ${shown(getNodeValue(node))}, expected { … }`);
  const seen = new Set<string>();
  for (const property of node.children ?? []) {
    const [keyNode, valueNode] = property.children ?? [];
    const key = String(keyNode?.value);
    const at = keyNode?.offset ?? property.offset;
    const name = path === "" ? key : `${path}.${key}`;
    if (seen.has(key)) fail(at, `"${name}" is set twice`);
    seen.add(key);
    const inner = "values" in shape ? keyed(shape, key) : ownField(shape.fields, key);
    if (inner === undefined) fail(at, unknownKey(name, key, shape), knownKeys(key, shape));
    else checkNode(valueNode!, inner, name, fail);
  }
  for (const needed of "needs" in shape ? (shape.needs ?? []) : [])
    if (!seen.has(needed)) fail(node.offset, `${here} has no "${needed}"`);
}

function keyed(shape: { values: Shape; keys?: RegExp }, key: string): Shape | undefined {
  return shape.keys === undefined || shape.keys.test(key) ? shape.values : undefined;
}

function ownField(fields: { [key: string]: Shape }, key: string): Shape | undefined {
  return Object.hasOwn(fields, key) ? fields[key] : undefined;
}

function unknownKey(name: string, key: string, shape: object): string {
  if ("values" in shape) return `"${key}" can't be a server's name, expected a–z first, then a–z, 0–9 or -, at most 32`;
  return `unknown setting "${name}"`;
}

function knownKeys(key: string, shape: { fields: object } | { values: Shape }): string | undefined {
  if ("values" in shape) return undefined;
  const known = Object.keys(shape.fields);
  const near = didYouMean(key, known);
  return near === null ? `settings here: ${known.join(", ")}` : `did you mean "${near}"?`;
}

/** What one value alone can't show. */
function checkTogether(config: Config, tree: Node, fail: Fail): void {
  const at = (...path: (string | number)[]): number => findNodeAtLocation(tree, path)?.offset ?? 0;
  for (const field of ["transports", "encrypters"] as const) {
    if (config[field].length === 0) fail(at(field), `${field} is empty, expected at least one`);
    if (new Set(config[field]).size < config[field].length) fail(at(field), `${field} names one twice`);
  }
  if (config.listen.hosts.length === 0) fail(at("listen", "hosts"), "listen.hosts is empty, expected at least one");
  config.shares.forEach((share, index) => {
    if (config.shares.findIndex(({ name }) => name === share.name) < index)
      fail(at("shares", index, "name"), `a second share is named "${share.name}"`, "give each share its own name");
  });
  for (const [name, server] of Object.entries(config.mcpServers))
    if ((server.command === undefined) === (server.url === undefined))
      fail(at("mcpServers", name), `mcpServers.${name} needs a "command" or a "url", one of the two`);
}

function withDefaults(found: Partial<Config>): Config {
  const base = structuredClone(DEFAULT_CONFIG);
  return {
    ...base,
    ...found,
    listen: { ...base.listen, ...found.listen },
    discovery: { ...base.discovery, ...found.discovery },
    shares: (found.shares ?? []).map((share) => ({ ...share, rights: "read" })),
    mcpServers: Object.fromEntries(
      Object.entries(found.mcpServers ?? {}).map(([name, server]) => [
        name,
        { ...server, for: server.for ?? [], trustReadOnly: server.trustReadOnly ?? false },
      ]),
    ),
  };
}

// — Writing ———————————————————————————————————————————————————————————————————————————————————————————————————————

/** `listen.port` or `["shares", 0]`. */
export type ConfigPath = string | (string | number)[];

/**
 * Sets one value (undefined takes it out) and keeps every comment. The result is checked before it is written, so a bad
 * value never reaches the file. @throws KinError CONFIG_INVALID, DISK_FULL
 */
export function setConfig(file: string, path: ConfigPath, value: unknown): Config {
  const before = readConfigText(file) || FIRST_TEXT;
  parseConfig(before, file);
  const segments = typeof path === "string" ? path.split(".") : path;
  const options = { formattingOptions: { insertSpaces: true, tabSize: 2, insertFinalNewline: true } };
  const after = applyEdits(before, modify(before, segments, value, options));
  const config = parseConfig(after, file);
  makeFolder(dirname(file));
  writeAtomic(file, after.endsWith("\n") ? after : `${after}\n`);
  return config;
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new KinError("CORRUPT", `cannot make the folder ${folder}: ${(cause as Error).message}`, {
      cause,
      hint: "check who owns the folder above it, or set KIN_HOME to a folder of yours",
    });
  }
}

const FIRST_TEXT = `// Settings of kin. "kin set" lists them; changes are read when the node starts, some at once.
{
}
`;

/** Adds a share. @throws KinError CONFIG_INVALID if one of that name exists. */
export function addShareConfig(file: string, share: ShareConfig): Config {
  return setConfig(file, ["shares", loadConfig(file).shares.length], share);
}

/** Adds people to a share, or opens it to the mesh; who is there already stays. @throws KinError NOT_FOUND */
export function widenShareConfig(file: string, name: string, audience: ShareConfig["for"]): Config {
  const { shares } = loadConfig(file);
  const index = shares.findIndex((share) => share.name === name);
  const now = shares[index]?.for;
  if (now === undefined) throw noShare(name, shares);
  if (now === "mesh") return loadConfig(file);
  return setConfig(file, ["shares", index, "for"], audience === "mesh" ? "mesh" : [...new Set([...now, ...audience])]);
}

/** @throws KinError NOT_FOUND */
export function removeShareConfig(file: string, name: string): Config {
  const { shares } = loadConfig(file);
  const index = shares.findIndex((share) => share.name === name);
  if (index < 0) throw noShare(name, shares);
  return setConfig(file, ["shares", index], undefined);
}

function noShare(name: string, shares: readonly ShareConfig[]): KinError {
  const near = didYouMean(
    name,
    shares.map((share) => share.name),
  );
  return new KinError("NOT_FOUND", `no share is named "${name}"`, {
    hint: near === null ? "kin share ls" : `did you mean "${near}"?`,
  });
}

/** The value that a word on the command line means for a setting. @throws KinError USAGE */
export function parseSetting(path: string, word: string): unknown {
  const setting = SETTINGS.find((known) => known.path === path);
  if (setting === undefined) {
    const near = didYouMean(
      path,
      SETTINGS.map((known) => known.path),
    );
    throw new KinError("USAGE", `"${path}" is not a setting`, {
      hint: near === null ? "kin set lists them" : `did you mean "${near}"?`,
    });
  }
  if (Array.isArray(setting.defaultValue)) return word === "" ? [] : word.split(",").map((item) => item.trim());
  if (typeof setting.defaultValue === "number" && /^\d+$/.test(word)) return Number(word);
  if (typeof setting.defaultValue === "boolean") {
    if (["true", "on", "yes"].includes(word)) return true;
    if (["false", "off", "no"].includes(word)) return false;
  }
  return word;
}

function readConfigText(file: string): string {
  if (!existsSync(file)) return "";
  try {
    return readFileSync(file, "utf8").replace(/^\uFEFF/, "");
  } catch (error) {
    throw new KinError("CONFIG_INVALID", `cannot read ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** `line:column`, both from 1. */
function position(text: string, offset: number): string {
  const before = text.slice(0, offset).split("\n");
  return `${before.length}:${(before.at(-1)?.length ?? 0) + 1}`;
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function spaced(code: string): string {
  return code.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}

/**
 * Tools of MCP servers (`mcpServers` of the configuration), as `<server>.<tool>`.
 *
 *   configured → (never seen: started once to learn its tools) → pinned → started at the first call → dies → started again at
 *   the next call, no sooner than its back-off
 *
 * What a tool says of itself is pinned when it is first seen: if it says something else later it is off until approved (J3).
 * One session serves all callers: each request has an id of its own, so answers never cross. Everything is side-effecting and
 * nobody's but mine unless the configuration says otherwise.
 */
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { CallToolResult } from "@modelcontextprotocol/sdk/types.js";
import type { Time } from "../../protocols/effects.ts";
import type { PersonId } from "../../protocols/ids.ts";
import type { Json, ToolContent, ToolResult } from "../../protocols/tool.ts";
import type { Registry } from "./registry.ts";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CallToolResultSchema, ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { readFile, rename, writeFile } from "node:fs/promises";
import { KinError } from "../../protocols/errors.ts";
import { argumentsHash } from "../guard/audit.ts";
import { stripInvisible } from "./output.ts";

/** A server that has not answered `initialize` by then is stopped. */
const CONNECT_TIMEOUT_MS = 20_000;
/** One call; the caller's own deadline may be sooner. */
const CALL_TIMEOUT_MS = 60_000;
/** Calls that one server has at a time. */
const MAX_IN_FLIGHT = 256;
/** Tools of one server, over all pages. */
const MAX_TOOLS_OF_SERVER = 256;
const MAX_PAGES = 32;
const MAX_DESCRIPTION_CHARS = 1024;
/** Of what a server prints on stderr, the end is kept for the problem's sentence. */
const MAX_STDERR_CHARS = 2048;
/** A server that dies is not started again sooner: 0.5 s, 1 s, 2 s … 60 s. */
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 60_000;
/** Pins are small texts. */
const MAX_PINS_CHARS = 16 * 1024 * 1024;

/** One entry of `mcpServers`. */
export interface McpServer {
  command?: string;
  args?: string[];
  env?: { [name: string]: string };
  cwd?: string;
  url?: string;
  headers?: { [name: string]: string };
  /** Who may call its tools, beside me. */
  for: "mesh" | readonly PersonId[];
  /** True: a tool that calls itself read-only is believed. */
  trustReadOnly: boolean;
}

export interface McpDeps {
  servers: { [name: string]: McpServer };
  registry: Registry;
  /** JSON file of what each tool said when it was first seen. */
  pinsFile: string;
  time: Time;
  /** Tools came or went. */
  onChange: () => void;
}

export interface McpClients {
  /** Resolves when servers that were never seen have been asked for their tools (or have failed: see `problems`). */
  learned: Promise<void>;
  /** Sentences: servers that do not start, tools that are off. */
  problems(): string[];
  /** Accepts what a tool says now. @throws KinError NOT_FOUND */
  approve(tool: string): Promise<void>;
  close(): Promise<void>;
}

interface Pin {
  /** The server's own name of the tool. */
  tool: string;
  hash: string;
  description: string;
  inputSchema: { [key: string]: Json };
  readOnlyHint: boolean;
}
/** server → kin's name of the tool → pin */
type Pins = { [server: string]: { [name: string]: Pin } };

interface Session {
  name: string;
  config: McpServer;
  client: Promise<Client> | null;
  stderr: string;
  failures: number;
  /** Monotonic ms before which it is not started again. */
  restartAt: number;
  inFlight: number;
  problem: string | null;
  /** Tools that are off, with what they say now. */
  changed: Map<string, Pin>;
  refused: Map<string, string>;
}

export async function createMcpClients(deps: McpDeps): Promise<McpClients> {
  const pins = await readPins(deps.pinsFile);
  const sessions = Object.entries(deps.servers).map(([name, config]) => newSession(name, config));
  const state: State = { ...deps, pins, closed: false, writing: Promise.resolve() };
  for (const session of sessions)
    for (const name of Object.keys(pins[session.name] ?? {})) register(state, session, name);
  const unseen = sessions.filter((session) => pins[session.name] === undefined);
  return {
    learned: learnAll(state, unseen),
    problems: () => sessions.flatMap((session) => problemsOf(session)),
    approve: (tool) => approve(state, sessions, tool),
    async close() {
      state.closed = true;
      await Promise.all(sessions.map(stop));
      await state.writing.catch(() => {});
    },
  };
}

/** A server that does not start is a problem in words, not an error of the node. */
async function learnAll(state: State, sessions: readonly Session[]): Promise<void> {
  await Promise.allSettled(sessions.map((session) => connected(state, session)));
}

interface State extends McpDeps {
  pins: Pins;
  closed: boolean;
  /** Writes of the pins file, one after the other. */
  writing: Promise<void>;
}

function newSession(name: string, config: McpServer): Session {
  return {
    name,
    config,
    client: null,
    stderr: "",
    failures: 0,
    restartAt: 0,
    inFlight: 0,
    problem: null,
    changed: new Map(),
    refused: new Map(),
  };
}

function problemsOf(session: Session): string[] {
  const off = [...session.changed.keys()].map(
    (name) =>
      `tool ${name} is off: it says something else of itself than when it was first seen. To accept what it says now: kin tools approve ${name}`,
  );
  const refused = [...session.refused.values()];
  return session.problem === null
    ? [...off, ...refused]
    : [`MCP server ${session.name}: ${session.problem}`, ...off, ...refused];
}

// — Tools ——————————————————————————————————————————————————————————————————————————————————————————————————————————

function register(state: State, session: Session, name: string): void {
  const pin = state.pins[session.name]![name]!;
  try {
    state.registry.add({
      name,
      description: pin.description,
      inputSchema: pin.inputSchema,
      readOnly: pin.readOnlyHint && session.config.trustReadOnly,
      for: session.config.for === "mesh" ? "members" : session.config.for,
      onShare: false,
      run: ({ args }, signal) => callRemote(state, session, name, args, signal),
    });
    session.refused.delete(name);
  } catch (error) {
    session.refused.set(name, (error as Error).message);
  }
}

/** Asks the server what it has now: pins what is new, turns off what has changed or is gone. */
async function learn(state: State, session: Session, client: Client): Promise<void> {
  const seen = await listTools(session.name, client);
  const known = (state.pins[session.name] ??= {});
  session.changed.clear();
  session.refused.clear();
  for (const name of Object.keys(known)) state.registry.remove(name);
  const taken = new Set<string>();
  for (const pin of seen) {
    const name = `${session.name}.${pin.tool.replace(/[^a-zA-Z0-9_-]/g, "_").slice(0, 64)}`;
    if (taken.has(name.toLowerCase())) {
      session.refused.set(
        pin.tool,
        `tool "${stripInvisible(pin.tool).slice(0, 80)}" of ${session.name} is left out: another one is called ${name} too`,
      );
      continue;
    }
    taken.add(name.toLowerCase());
    known[name] ??= pin;
    if (known[name].hash === pin.hash) register(state, session, name);
    else session.changed.set(name, pin);
  }
  await savePins(state);
  state.onChange();
}

async function listTools(server: string, client: Client): Promise<Pin[]> {
  const pins: Pin[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < MAX_PAGES && pins.length < MAX_TOOLS_OF_SERVER; page++) {
    const answer = await client.listTools(cursor === undefined ? {} : { cursor }, { timeout: CONNECT_TIMEOUT_MS });
    for (const tool of answer.tools.slice(0, MAX_TOOLS_OF_SERVER - pins.length)) pins.push(pinOf(server, tool));
    cursor = answer.nextCursor;
    if (cursor === undefined) break;
  }
  return pins;
}

function pinOf(server: string, tool: Awaited<ReturnType<Client["listTools"]>>["tools"][number]): Pin {
  const inputSchema = JSON.parse(stripInvisible(JSON.stringify(tool.inputSchema))) as { [key: string]: Json };
  const readOnlyHint = tool.annotations?.readOnlyHint === true;
  const said = tool.description ?? tool.title ?? `a tool of ${server}`;
  const hash = argumentsHash({
    tool: tool.name,
    description: said,
    inputSchema: tool.inputSchema as Json,
    readOnlyHint,
  });
  return {
    tool: tool.name,
    hash,
    description: stripInvisible(said).slice(0, MAX_DESCRIPTION_CHARS),
    inputSchema,
    readOnlyHint,
  };
}

function waiting(sessions: readonly Session[]): string {
  const names = sessions.flatMap((session) => [...session.changed.keys()]);
  return names.length === 0 ? "none does now; kin status says when one does" : `there is: ${names.join(", ")}`;
}

async function approve(state: State, sessions: readonly Session[], name: string): Promise<void> {
  const session = sessions.find((session) => session.changed.has(name));
  if (session === undefined)
    throw new KinError("NOT_FOUND", `no tool "${name}" waits for an approval`, { hint: waiting(sessions) });
  state.pins[session.name]![name] = session.changed.get(name)!;
  session.changed.delete(name);
  register(state, session, name);
  await savePins(state);
  state.onChange();
}

async function callRemote(
  state: State,
  session: Session,
  name: string,
  args: { [key: string]: Json },
  signal: AbortSignal,
): Promise<ToolResult> {
  if (session.inFlight >= MAX_IN_FLIGHT)
    throw new KinError("OVERLOADED", `MCP server ${session.name} already has ${MAX_IN_FLIGHT} calls`);
  session.inFlight++;
  try {
    const client = await connected(state, session);
    // Starting it may have shown that the tool is another one now.
    const pin = state.pins[session.name]?.[name];
    if (pin === undefined || state.registry.find(name) === undefined)
      throw new KinError(
        "NOT_FOUND",
        `${name} is off: ${session.changed.has(name) ? "its description changed since it was first seen" : "its server has it no more"}`,
      );
    signal.throwIfAborted();
    const request = { method: "tools/call", params: { name: pin.tool, arguments: args } } as const;
    const result = await client.request(request, CallToolResultSchema, {
      signal,
      timeout: CALL_TIMEOUT_MS,
      maxTotalTimeout: CALL_TIMEOUT_MS,
    });
    session.failures = 0;
    return toolResult(result);
  } finally {
    session.inFlight--;
  }
}

function toolResult(result: CallToolResult): ToolResult {
  const content = result.content.map((piece): ToolContent => ({
    type: "text",
    text: stripInvisible(pieceText(piece)),
  }));
  const base = { content, isError: result.isError === true };
  return result.structuredContent === undefined ? base : { ...base, structured: result.structuredContent as Json };
}

/** Pictures and sound are named, not carried: no caller of today could show them. */
function pieceText(piece: CallToolResult["content"][number]): string {
  switch (piece.type) {
    case "text":
      return piece.text;
    case "image":
    case "audio":
      return `[${piece.mimeType}, ${Math.floor((piece.data.length * 3) / 4)} bytes]`;
    case "resource":
      return "text" in piece.resource
        ? piece.resource.text
        : `[${piece.resource.mimeType ?? "data"} ${piece.resource.uri}]`;
    case "resource_link":
      return `[${piece.name}: ${piece.uri}]`;
  }
}

// — Sessions ———————————————————————————————————————————————————————————————————————————————————————————————————————

/** The running client, started now if need be. @throws KinError TOOL_FAILED that says why it does not run */
function connected(state: State, session: Session): Promise<Client> {
  if (state.closed) return Promise.reject(new KinError("CLOSED", `MCP server ${session.name} is closed with its node`));
  if (session.client !== null) return session.client;
  const waitMs = session.restartAt - state.time.monotonic();
  if (waitMs > 0)
    return Promise.reject(
      new KinError(
        "TOOL_FAILED",
        `MCP server ${session.name} does not run: ${session.problem ?? "it ended"}; it is started again in ${Math.ceil(waitMs / 1000)} s`,
      ),
    );
  session.client = start(state, session);
  return session.client;
}

async function start(state: State, session: Session): Promise<Client> {
  const client = new Client({ name: "kin", version: "1" });
  session.stderr = "";
  try {
    const transport = openTransport(session);
    // oxlint-disable-next-line prefer-add-event-listener -- the SDK's client is no EventTarget
    client.onclose = () => fell(state, session, client, "it ended");
    // What can't be read on its pipe is its fault; the call that waits for it ends by its time limit.
    // oxlint-disable-next-line prefer-add-event-listener
    client.onerror = () => {};
    await client.connect(transport, { timeout: CONNECT_TIMEOUT_MS });
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => learn(state, session, client));
    await learn(state, session, client);
    session.problem = null;
    return client;
  } catch (cause) {
    fell(state, session, client, (cause as Error).message);
    await client.close().catch(() => {});
    throw new KinError("TOOL_FAILED", `MCP server ${session.name} does not run: ${session.problem}`, { cause });
  }
}

/** The SDK gives a child PATH, HOME and four more; only PATH, HOME and what the configuration names may pass. */
const WITHHELD = { LOGNAME: undefined, SHELL: undefined, TERM: undefined, USER: undefined };

function openTransport(session: Session): Transport {
  const { command, args, env, cwd, url, headers } = session.config;
  if (url !== undefined)
    return new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: headers ?? {} } });
  if (command === undefined) throw new KinError("CONFIG_INVALID", 'it has neither "command" nor "url"');
  const transport = new StdioClientTransport({
    command,
    args: args ?? [],
    env: { ...WITHHELD, ...env } as unknown as Record<string, string>,
    stderr: "pipe",
    ...(cwd === undefined ? {} : { cwd }),
  });
  transport.stderr?.on("data", (chunk: Buffer) => {
    session.stderr = (session.stderr + chunk.toString()).slice(-MAX_STDERR_CHARS);
  });
  return transport;
}

function fell(state: State, session: Session, client: Client, why: string): void {
  // oxlint-disable-next-line prefer-add-event-listener
  client.onclose = () => {};
  session.client = null;
  if (state.closed) return;
  const last = stripInvisible(session.stderr).trim().split("\n").at(-1) ?? "";
  session.problem = last === "" ? why : `${why} (it said: ${last.slice(0, 200)})`;
  session.restartAt =
    state.time.monotonic() + Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(session.failures, 16));
  session.failures++;
}

async function stop(session: Session): Promise<void> {
  const client = await session.client?.catch(() => null);
  session.client = null;
  await client?.close();
}

// — Pins ———————————————————————————————————————————————————————————————————————————————————————————————————————————

/** @throws KinError CORRUPT: without its pins a changed tool would pass as new. */
async function readPins(file: string): Promise<Pins> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return "{}";
    throw error;
  });
  try {
    if (text.length > MAX_PINS_CHARS) throw new Error(`over ${MAX_PINS_CHARS} characters`);
    return Object.assign(Object.create(null) as Pins, JSON.parse(text) as Pins);
  } catch (cause) {
    throw new KinError("CORRUPT", `${file} can't be read: ${(cause as Error).message}`, {
      cause,
      hint: "delete it to see all MCP tools as new",
    });
  }
}

function savePins(state: State): Promise<void> {
  state.writing = writeAfter(state.writing, state.pinsFile, state.pins);
  return state.writing;
}

async function writeAfter(before: Promise<void>, file: string, pins: Pins): Promise<void> {
  await before.catch(() => {}); // whoever asked for that write has its error
  const next = `${file}.next`;
  await writeFile(next, `${JSON.stringify(pins, null, 2)}\n`, { mode: 0o600 });
  await rename(next, file);
}

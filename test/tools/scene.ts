/** A folder to share, a repository in it, and the real tools and agents over them; all of it gone after the test. */
import type { AuditRecord } from "../../node/guard/audit.ts";
import type { Share } from "../../node/guard/authorize.ts";
import type { McpServer } from "../../node/tools/mcp-client.ts";
import type { ListedItem } from "../../node/tools/builtin/listing.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import type { IncomingCall, Part } from "../../protocols/invoke.ts";
import type { Json, ToolResult } from "../../protocols/tool.ts";
import { createClient } from "@libsql/client";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { createAgents } from "../../node/agents/agents.ts";
import { systemTime } from "../../node/system.ts";
import { createTools } from "../../node/tools/tools.ts";

export const BEN = "b".repeat(64) as PersonId;
export const ANA = "a".repeat(64) as PersonId;
export const EVE = "e".repeat(64) as PersonId;

export interface SceneOptions {
  shares?: Share[];
  mcpServers?: { [name: string]: McpServer };
  listing?: ListedItem[];
}

export type Scene = Awaited<ReturnType<typeof openScene>>;

/** `folder` is shared as "app" with Ana unless other shares are given. */
export async function openScene(options: SceneOptions = {}) {
  const root = realpathSync(mkdtempSync(join(tmpdir(), "kin-scene-")));
  const folder = join(root, "app");
  const data = join(root, "kin-data");
  for (const path of [folder, data, join(root, "agents")]) mkdirSync(path);
  const shares: Share[] = options.shares ?? [{ name: "app", folder, rights: "read", for: [ANA] }];
  const audit: AuditRecord[] = [];
  const views = createClient({ url: pathToFileURL(join(root, "views.db")).href });
  const tools = await createTools({
    shares: () => shares,
    mcpServers: options.mcpServers ?? {},
    record: async (value) => void audit.push(value),
    limits: { dataFolders: [data], home: join(root, "home") },
    pinsFile: join(data, "mcp-tools.json"),
    time: systemTime,
    onAuditLost: (error) => {
      throw error;
    },
  });
  const agents = await createAgents({
    tools,
    folder: join(root, "agents"),
    me: () => BEN,
    person: (name) => (name === "ana" ? ANA : undefined),
    listing: () => Promise.resolve(options.listing ?? []),
    views: () => views,
    readBlob: () => Promise.resolve(Buffer.from("the blob's text")),
  });
  return {
    root,
    folder,
    data,
    shares,
    audit,
    tools,
    agents,
    views,
    write(path: string, content: string | Uint8Array) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), content);
    },
    git: (...args: string[]) => git(folder, ...args),
    /** As dispatch does it: rights first, then the run. */
    async call(person: PersonId, tool: string, args: { [key: string]: Json } = {}): Promise<ToolResult> {
      const outcome = await run(agents.find({ tool }), person, args, []);
      return (outcome as { tool: ToolResult }).tool;
    },
    async text(person: PersonId, tool: string, args: { [key: string]: Json } = {}): Promise<string> {
      const result = await this.call(person, tool, args);
      return result.content.map((piece) => (piece.type === "text" ? piece.text : "")).join("\n");
    },
    async ask(person: PersonId, agent: string, parts: Part[] | string, args: { [key: string]: Json } = {}) {
      const said: string[] = [];
      const list = typeof parts === "string" ? [{ text: parts }] : parts;
      const outcome = (await run(agents.find({ agent }), person, args, list, said)) as { parts: Part[] };
      const texts = outcome.parts.map((part) => ("text" in part ? part.text : ""));
      const data = outcome.parts.flatMap((part) => ("data" in part ? [part.data] : []))[0];
      return { text: texts.join(""), data, said };
    },
    async [Symbol.asyncDispose]() {
      await agents.close();
      views.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

async function run(
  found: ReturnType<Awaited<ReturnType<typeof createAgents>>["find"]>,
  person: PersonId,
  args: { [key: string]: Json },
  parts: Part[],
  said: string[] = [],
) {
  if (found === undefined) throw Object.assign(new Error("there is no such target"), { code: "NOT_FOUND" });
  if (!found.mayCall(person, args)) throw Object.assign(new Error("not allowed"), { code: "DENIED" });
  const call = {
    id: "c".repeat(64),
    from: { person, device: "d".repeat(64) as DeviceId, agent: null },
    request: { parts, arguments: args },
  } as unknown as IncomingCall;
  const emit = (parts: Part[]) => {
    for (const part of parts) said.push("text" in part ? part.text : "");
    return Promise.resolve();
  };
  return found.run(call, emit, new AbortController().signal);
}

const QUIET = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_AUTHOR_NAME: "Ben",
  GIT_AUTHOR_EMAIL: "ben@example.org",
  GIT_COMMITTER_NAME: "Ben",
  GIT_COMMITTER_EMAIL: "ben@example.org",
};

export function git(folder: string, ...args: string[]): string {
  return execFileSync("git", ["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", ...args], {
    cwd: folder,
    env: { ...process.env, ...QUIET },
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/** The code of the KinError that this throws; fails if it throws none. */
export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    const value = await work;
    return `no error: ${JSON.stringify(value)}`;
  } catch (error) {
    return (error as { code?: string }).code ?? `no code: ${String(error)}`;
  }
}

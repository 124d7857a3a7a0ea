/**
 * The agents of this node, and with the tools all that a call can run: `find` is what dispatch asks, `cards` what the mesh is
 * told. Built-in agents are folders like those of users (`agents/` in the data folder).
 */
import type { Allowed } from "../../protocols/agent-card.ts";
import type { PersonId } from "../../protocols/ids.ts";
import type { CallTarget, IncomingCall } from "../../protocols/invoke.ts";
import type { Json } from "../../protocols/tool.ts";
import type { Asker, Right } from "../guard/authorize.ts";
import type { Listing } from "../tools/builtin/listing.ts";
import type { Views } from "../tools/builtin/library.ts";
import type { RegisteredTool } from "../tools/registry.ts";
import type { Tools } from "../tools/tools.ts";
import type { ReadBlob } from "./agent.ts";
import type { Definition } from "./definition.ts";
import type { FindRunnable, Runnable } from "./dispatch.ts";
import { lstat, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KinError } from "../../protocols/errors.ts";
import { isName } from "../../protocols/ids.ts";
import { allowedBy, authorize } from "../guard/authorize.ts";
import { listingTool } from "../tools/builtin/listing.ts";
import { libraryTool } from "../tools/builtin/library.ts";
import { reviewTools } from "../tools/builtin/review.ts";
import { fetchAttached, runAgent } from "./agent.ts";
import { MAX_DEFINITION_CHARS, parseDefinition } from "./definition.ts";
import type { AgentSettings } from "./settings.ts";

/** Agents in one folder. */
const MAX_AGENTS = 200;
const BUILT_IN = fileURLToPath(new URL("./builtin/", import.meta.url));

export interface AgentsDeps {
  tools: Tools;
  /** Folder of the user's agents; it need not exist. */
  folder: string;
  /** My person id; null before there is one. */
  me: () => PersonId | null;
  /** A name or an id in `for:`, resolved and pinned (R12); undefined if nobody is called so. */
  person: (nameOrId: string) => PersonId | undefined;
  /** What a person can ask whom: the cards that he can see. */
  listing: Listing;
  /** views.db; null while there is no mesh. */
  views: () => Views | null;
  readBlob: ReadBlob;
  /** What its owner has set; nothing if it is left out. */
  settings?: ((agent: string) => AgentSettings) | undefined;
}

/** What a card says, before it has key, device and date (protocols/agent-card.ts). */
export interface AgentCardContent {
  name: string;
  description: string;
  skills: string[];
  allowed: Allowed;
  shares: string[];
}

export interface ToolCardContent {
  name: string;
  description: string;
  inputSchema: { [key: string]: Json };
  readOnly: boolean;
  allowed: Allowed;
  shares: string[];
}

export interface Cards {
  agents: AgentCardContent[];
  tools: ToolCardContent[];
}

export interface Agents {
  find: FindRunnable;
  /** What others may be told: nothing that is only mine. */
  cards(): Cards;
  /** All that I can ask and call here; `allowed` with no persons: only me. */
  mine(): Cards;
  /** For `whatInviteAllows`. */
  rights(): Right[];
  /** Sentences about agents that could not be loaded. */
  problems(): string[];
  /** Reads the user's folder again. Shares and tools need no reload. */
  reload(): Promise<void>;
  close(): Promise<void>;
}

interface Loaded {
  definition: Definition;
  right: Right;
}

/** @throws KinError CONFIG_INVALID if a built-in agent is broken. */
export async function createAgents(deps: AgentsDeps): Promise<Agents> {
  const { tools } = deps;
  const shareNames = () => tools.shares().map((share) => share.name);
  for (const tool of [
    ...reviewTools(tools.limits),
    libraryTool(tools.limits, deps.views, shareNames),
    listingTool(deps.listing),
  ])
    tools.add(tool);
  const builtIn = await loadFolder(BUILT_IN, deps.person);
  if (builtIn.problems[0] !== undefined) throw new KinError("CONFIG_INVALID", builtIn.problems[0]);
  let agents = builtIn.agents;
  let problems: string[] = [];
  const reload = async () => {
    const mine = await loadFolder(deps.folder, deps.person);
    problems = [...mine.problems, ...shadowing(mine.agents, builtIn.agents)];
    agents = new Map([...mine.agents, ...builtIn.agents]);
  };
  await reload();
  const rights = () => [...[...agents.values()].map((agent) => agent.right), ...tools.all().map((tool) => tool.right)];
  return {
    find: (target) => findRunnable(deps, agents, target),
    cards: () => cardsOf(agents, deps, false),
    mine: () => cardsOf(agents, deps, true),
    rights,
    problems: () => [...problems, ...missingTools(agents, tools)],
    reload,
    close: () => tools.close(),
  };
}

// — Running ————————————————————————————————————————————————————————————————————————————————————————————————————————

function findRunnable(deps: AgentsDeps, agents: ReadonlyMap<string, Loaded>, target: CallTarget): Runnable | undefined {
  if ("agent" in target) {
    const agent = agents.get(target.agent);
    return agent === undefined ? undefined : agentRunnable(deps, agent);
  }
  const tool = deps.tools.find(target.tool);
  // A tool of agents only does not exist for a caller.
  return tool === undefined || tool.for === "agents" ? undefined : toolRunnable(deps, tool);
}

function agentRunnable(deps: AgentsDeps, agent: Loaded): Runnable {
  const { definition, right } = agent;
  const settings = deps.settings?.(definition.name) ?? {};
  return {
    readOnly: definition.tools.every((name) => deps.tools.find(name)?.readOnly === true),
    mayCall(person, args) {
      if (settings.paused === true) throw new KinError("DENIED", `${definition.name} is paused by its owner`);
      checkSettings(definition, args);
      return accept(authorize(askerOf(deps, person), right, args["share"] as string | undefined, deps.tools.shares()));
    },
    fetch: (call, signal) => fetchAttached(deps, call, signal),
    run: (call, emit, signal) =>
      withinTime(definition.name, settings.maxSeconds, signal, (until) =>
        runAgent(definition, deps, call, emit, until),
      ),
  };
}

/** @throws KinError DEADLINE_EXCEEDED */
async function withinTime<T>(
  name: string,
  seconds: number | undefined,
  signal: AbortSignal,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (seconds === undefined) return run(signal);
  const late = AbortSignal.timeout(seconds * 1000);
  try {
    return await run(AbortSignal.any([signal, late]));
  } catch (error) {
    if (!late.aborted || signal.aborted) throw error;
    throw new KinError("DEADLINE_EXCEEDED", `${name} may take ${seconds} s, as its owner has set`, { cause: error });
  }
}

function toolRunnable(deps: AgentsDeps, tool: RegisteredTool): Runnable {
  return {
    readOnly: tool.readOnly,
    mayCall(person, args) {
      if (!accept(deps.tools.decide(askerOf(deps, person), tool, args))) return false;
      tool.validate(args);
      return true;
    },
    async run(call: IncomingCall, _emit, signal) {
      const { person, device, agent } = call.from;
      const request = {
        asker: askerOf(deps, person),
        caller: { person, device, agent },
        call: call.id,
        tool: tool.name,
        args: call.request.arguments,
      };
      return { tool: await deps.tools.call(request, signal) };
    },
  };
}

function askerOf(deps: AgentsDeps, person: PersonId): Asker {
  return { person, me: person === deps.me(), through: null };
}

/** @throws KinError for what the asker can mend, which a bare "no" would hide */
function accept(decision: ReturnType<typeof authorize>): boolean {
  if (decision.allowed) return true;
  if (decision.code === "DENIED" && decision.hint === undefined && !decision.message.startsWith("no share"))
    return false;
  throw new KinError(decision.code, decision.message, { hint: decision.hint });
}

function checkSettings(definition: Definition, args: { [key: string]: Json }): void {
  for (const [name, value] of Object.entries(args)) {
    const known = definition.settings.length === 0 ? "it has none" : `it has: ${definition.settings.join(", ")}`;
    if (!definition.settings.includes(name))
      throw new KinError("INVALID_ARGUMENTS", `${definition.name} has no setting "${name.slice(0, 64)}"; ${known}`);
    if (name === "share" && typeof value !== "string")
      throw new KinError(
        "INVALID_ARGUMENTS",
        `share must be the name of a share, got ${JSON.stringify(value).slice(0, 60)}`,
      );
  }
}

// — Cards ——————————————————————————————————————————————————————————————————————————————————————————————————————————

function cardsOf(agents: ReadonlyMap<string, Loaded>, { tools, settings }: AgentsDeps, mine: boolean): Cards {
  const shares = tools.shares();
  const names = shares.map((share) => share.name);
  const allowed = (right: Right): Allowed | null =>
    allowedBy(right, shares) ?? (mine && right.for !== "agents" ? { persons: [] } : null);
  const cards: Cards = { agents: [], tools: [] };
  for (const { definition, right } of agents.values()) {
    const may = allowed(right);
    const { name, description, skills } = definition;
    if (may !== null)
      cards.agents.push({
        name,
        description: settings?.(name).description ?? description,
        skills,
        allowed: may,
        shares: definition.settings.includes("share") ? names : [],
      });
  }
  for (const { name, description, inputSchema, readOnly, right } of tools.all()) {
    const may = allowed(right);
    if (may !== null)
      cards.tools.push({ name, description, inputSchema, readOnly, allowed: may, shares: right.onShare ? names : [] });
  }
  return cards;
}

// — Loading ————————————————————————————————————————————————————————————————————————————————————————————————————————

async function loadFolder(
  folder: string,
  person: AgentsDeps["person"],
): Promise<{ agents: Map<string, Loaded>; problems: string[] }> {
  const agents = new Map<string, Loaded>();
  const problems: string[] = [];
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries.filter((entry) => entry.isDirectory()).slice(0, MAX_AGENTS)) {
    try {
      const agent = await loadAgent(folder, entry.name, person, problems);
      if (agent !== null) agents.set(entry.name, agent);
    } catch (error) {
      problems.push((error as Error).message);
    }
  }
  return { agents, problems };
}

async function loadAgent(
  folder: string,
  name: string,
  person: AgentsDeps["person"],
  problems: string[],
): Promise<Loaded | null> {
  const file = join(folder, name, "AGENT.md");
  const entry = await lstat(file).catch(() => null);
  if (entry === null) return null;
  if (!entry.isFile() || entry.size > MAX_DEFINITION_CHARS)
    throw new KinError("CONFIG_INVALID", `${file}: expected a plain file of at most ${MAX_DEFINITION_CHARS} bytes`);
  const definition = parseDefinition(await readFile(file, "utf8"), file);
  if (!isName(name) || definition.name !== name)
    throw new KinError(
      "CONFIG_INVALID",
      `${file}: the agent is named "${definition.name}", its folder "${name}"; they must be equal`,
    );
  return { definition, right: { kind: "agent", name, for: resolveFor(definition, person, problems), onShare: false } };
}

/** A name that nobody has lets nobody in. */
function resolveFor(definition: Definition, person: AgentsDeps["person"], problems: string[]): Right["for"] {
  if (definition.for === "me") return [];
  if (typeof definition.for === "string") return definition.for;
  const found = definition.for.map((name) => ({ name, id: person(name) }));
  for (const { name, id } of found)
    if (id === undefined) problems.push(`${definition.file}: for: nobody in this mesh is called "${name}"`);
  return found.flatMap(({ id }) => (id === undefined ? [] : [id]));
}

function shadowing(mine: ReadonlyMap<string, Loaded>, builtIn: ReadonlyMap<string, Loaded>): string[] {
  return [...mine.values()]
    .filter(({ definition }) => builtIn.has(definition.name))
    .map(({ definition }) => `${definition.file}: ${definition.name} is built in; give yours another name`);
}

function missingTools(agents: ReadonlyMap<string, Loaded>, tools: Tools): string[] {
  return [...agents.values()].flatMap(({ definition }) =>
    definition.tools
      .filter((name) => tools.find(name) === undefined)
      .map((name) => `agent ${definition.name} uses the tool ${name}, which is not here`),
  );
}

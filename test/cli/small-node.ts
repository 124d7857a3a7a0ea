/**
 * A small real node for tests of the CLI: the daemon's own way of starting (lock, keystore, settings, control socket),
 * with handlers that answer from memory. Run as a program it is `kin` with this node in place of the mesh node.
 */
import { pathToFileURL } from "node:url";
import { runCli } from "../../node/cli/command.ts";
import { createContext, runVerb } from "../../node/cli/context.ts";
import { runDaemon } from "../../node/cli/node.ts";
import type { NodeParts } from "../../node/mesh-node.ts";
import { loadConfig } from "../../node/config.ts";
import type {
  AgentItem,
  AskItem,
  BoardResult,
  CardItem,
  ColumnItem,
  ControlHandlers,
  NoteItem,
  SnapshotItem,
} from "../../node/gateway/control-api.ts";
import { toHex } from "../../protocols/bytes.ts";
import type { Json } from "../../protocols/tool.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf } from "../../protocols/ids.ts";
import { makeTicket } from "../../protocols/ticket.ts";

const REVIEWER: AgentItem = {
  address: "ben/reviewer",
  person: "ben",
  device: "laptop",
  online: true,
  via: "log",
  path: "direct",
  mayAsk: true,
  description: "reviews \u001B[31mred\u001B[0m changes\u0007",
  shares: ["app"],
};

const SNAPSHOT: SnapshotItem = {
  id: "abcdef012345",
  madeBy: "ben",
  madeAt: 1_800_000_000_000,
  events: 7,
  bytes: 3 * 1024 * 1024,
  signedBy: ["ben"],
  counts: false,
  waitingFor: ["ana"],
  here: "recomputed",
  why: null,
  base: false,
};

/** How the small node answers `ask`, by the text. */
const ANSWERS: { [text: string]: (item: (item: AskItem) => void, signal: AbortSignal) => Promise<Outcome> } = {
  stream: async (item) => {
    item({ type: "accepted" });
    item({ type: "progress", text: "one \u001B]0;owned\u0007" });
    item({ type: "progress", text: "two" });
    item({ type: "result", text: "one \u001B]0;owned\u0007two three", data: { count: 3 } });
    return { outcome: "answered" };
  },
  queue: async () => ({ outcome: "queued", id: "kini1abc", why: "ben's laptop is offline" }),
  deny: async (item) => failed(item, "DENIED", "ben does not let you ask reviewer"),
  late: async (item) => failed(item, "DEADLINE_EXCEEDED", "no answer within 2 s"),
  hang: (item, signal) =>
    new Promise((_, reject) => {
      item({ type: "accepted" });
      item({ type: "progress", text: "waiting" });
      signal.addEventListener("abort", () => reject(signal.reason as Error));
    }),
};

type Outcome = Awaited<ReturnType<ControlHandlers["ask"]>>;

async function failed(item: (item: AskItem) => void, code: string, message: string): Promise<Outcome> {
  item({ type: "failure", error: { code, message } });
  return { outcome: "failed", error: { code, message } };
}

export function smallControl({ home, keystore, config }: NodeParts): Omit<ControlHandlers, "down"> {
  const name = config.name ?? "nobody";
  const seen: string[] = [];
  const device = idOf<"device">(keystore.device.publicKey);
  const answer: ControlHandlers["ask"] = async (params, item, signal) => {
    const answers = ANSWERS[params.text];
    if (answers !== undefined) return answers(item, signal);
    item({ type: "accepted" });
    const { to, text, stdin, attach, settings, later, now, deadlineMs } = params;
    item({ type: "result", text: JSON.stringify({ to, text, stdin, attach, settings, later, now, deadlineMs }) });
    return { outcome: "answered" };
  };
  return {
    status: async () => ({
      name,
      device: "laptop",
      peerId: toHex(keystore.device.publicKey),
      pid: process.pid,
      startedAt: Date.now() - 90_000,
      home: home.dataFolder,
      version: "0.1.0",
      listening: ["/ip4/127.0.0.1/tcp/1"],
      mesh: null,
      peers: { online: 0, known: 0 },
      log: { events: 0, waiting: 0 },
      outbox: 0,
      warnings: [`sealed: ${keystore.isSealed}`],
    }),
    invite: async (params) => {
      seen.push(JSON.stringify(params));
      const expiresAt = Date.now() + params.expiresMs;
      const id = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
      const ticket = makeTicket({
        mesh: idOf<"mesh">(id(1)),
        meshName: params.mesh ?? "team",
        inviter: device,
        inviterName: name,
        role: params.role,
        expiresAt,
        uses: params.uses,
        guestName: params.name,
        invite: idOf<"record">(id(2)),
        seed: new Uint8Array(16).fill(3),
        addresses: ["/ip4/127.0.0.1/tcp/1"],
        relays: [],
      });
      const { uses } = params;
      const share = params.share === null ? null : sharedItem(params.share, params.shareName ?? "none", ["ana"]);
      return {
        ticket,
        mesh: "team",
        meshMade: true,
        addresses: ["/ip4/127.0.0.1/tcp/1"],
        expiresAt,
        uses,
        will: ["ask ben/guide"],
        share,
      };
    },
    "invite-close": async () => ({ closed: true }),
    "device-add": async ({ expiresMs }) => ({
      ticket: "kint1machine",
      mesh: "team",
      addresses: [],
      expiresAt: Date.now() + expiresMs,
    }),
    "device-ls": async () => ({ items: [{ device: "laptop", peerId: "12D", online: true, me: true }] }),
    "device-rm": async ({ name: device }) => ({ device, left: 1 }),
    join: async ({ as }, item) => {
      item({ step: "dialling /ip4/127.0.0.1/tcp/1" });
      return { mesh: "team", inviter: "ben", name: as ?? name, members: 2, agents: [REVIEWER], archived: null };
    },
    ask: answer,
    call: async (params, item) => {
      if (params.to.endsWith("fs.read")) return failed(item, "DENIED", "not shared with you");
      item({ type: "result", text: JSON.stringify(params.arguments) });
      return { outcome: "answered" };
    },
    wait: async ({ id, timeoutMs }, item) => {
      if (id === "kini1closed") return failed(item, "CLOSED", "the tool's server has stopped");
      if (timeoutMs !== null) return { outcome: "queued", id, why: "ben is offline" };
      item({ type: "result", text: "at last" });
      return { outcome: "answered" };
    },
    ping: async ({ to, count }, item) => {
      for (let i = 0; i < count; i++) item({ ms: i });
      return { peer: to, path: "direct", minMs: 0, avgMs: 0.5, maxMs: 1, skewMs: 3_600_000 };
    },
    peers: async () => ({ items: [] }),
    agents: async () => ({ items: [REVIEWER] }),
    tools: async () => ({ items: [] }),
    members: async () => ({ items: [{ name, person: "kinp1abc", role: "admin", devices: [], me: true }] }),
    "keys-rotate": async ({ what, agent }) => ({ what, agent, generation: agent === null ? null : 2, said: "told" }),
    "leave-plan": async () => ({
      mesh: "team",
      role: "member",
      others: 2,
      online: ["ben"],
      devices: ["desk"],
      waiting: [],
      shares: ["app"],
      servers: ["files"],
      folder: "/meshes/1",
    }),
    leave: async () => ({ mesh: "team", told: ["ben"], ended: ["app"], aside: "/meshes/1.archived" }),
    remove: async ({ name: gone }) => {
      if (gone !== "ana") throw new KinError("NOT_FOUND", `nobody here is named "${gone}"`, { hint: "kin members" });
      return { name: gone, person: "kinp1abc", epoch: "e", left: 2, reached: [] };
    },
    "share-ls": async () => ({ items: [] }),
    "share-add": async (params) => ({
      share: sharedItem(params.folder, params.name ?? "none", params.for),
      will: ["call ben/tools/fs.read"],
    }),
    "share-rm": async (params) => params,
    "tools-approve": async ({ name }) => ({ name, problems: [] }),
    "audit-log": async ({ limit }) => ({
      items: [
        { at: 0, event: "refused", caller: "ana", target: "fs.read", call: "kini1abc", outcome: "DENIED", ms: limit },
      ],
    }),
    "outbox-ls": async () => ({
      items: [
        {
          id: "kini1abc",
          to: "ben/reviewer",
          what: "what changed?",
          askedAt: Date.now(),
          expiresAt: Date.now() + 60_000,
          why: "offline",
          state: "carried",
        },
      ],
    }),
    "outbox-drop": async ({ id }) => ({ id, said: "taken back: it will not be run" }),
    "outbox-retry": async ({ id, again }, item) => {
      item({ said: "dialling ben@laptop" });
      if (again)
        return { id, outcome: "asked-again", state: "here", said: "asked again", newId: "kini1new", hint: null };
      return { id, outcome: "waits", state: "carried", said: "ben is offline", newId: null, hint: `kin wait ${id}` };
    },
    "sync-status": async () => ({
      items: [
        {
          peer: "ben@laptop",
          person: "ben",
          device: "laptop",
          online: false,
          inStepAt: null,
          weLack: null,
          theyLack: 3,
        },
      ],
      events: 9,
      logs: [{ log: "ab", writer: "ben@laptop", events: 9 }],
      held: 1,
      quarantined: 0,
      unreadable: 0,
      withoutBody: 0,
      damaged: 0,
      isWhole: true,
      blobs: 0,
      outbox: 1,
      asked: 0,
    }),
    "sync-now": async (_params, item) => {
      const synced = { peer: "ben@laptop", reached: false, inStep: false, got: 0, gave: 0, said: "ben is offline" };
      item(synced);
      return { items: [synced] };
    },
    "sync-why": async ({ item }) => ({
      item,
      kind: "call",
      state: "here",
      said: ["nobody has it yet"],
      hint: "kin up",
    }),
    "sync-allow": async ({ who }) => ({ device: `${who}@laptop`, logs: 1 }),
    "sync-reissue": async ({ events }) => ({ items: events.map((event) => ({ event, again: "kine1again" })) }),
    "snapshot-make": async () => ({ snapshot: SNAPSHOT }),
    "snapshot-ls": async () => ({
      items: [
        { ...SNAPSHOT, counts: true, base: true, waitingFor: [] },
        { ...SNAPSHOT, here: "refused", why: "its state is \u001b[31mwrong" },
      ],
      dormant: ["cem"],
    }),
    "snapshot-show": async ({ id }) => ({
      ...SNAPSHOT,
      id,
      views: [{ name: "facts", version: 1 }],
      signers: [{ device: "ben@laptop", how: "recomputed" }],
      logs: [{ log: "ab".repeat(32), device: "ben@laptop", events: 7 }],
    }),
    "snapshot-prune": async ({ dryRun }) => ({ id: SNAPSHOT.id, bodies: 6, bytes: 2048, dryRun }),
    "snapshot-dormant": async ({ name, on }) => ({ name, dormant: on }),
    "agent-config": async ({ agent }) => smallConfig(agent),
    "agent-config-set": async ({ agent, name, value }) => ({
      ...smallConfig(`${agent}: ${name} ${value}`),
      changed: true,
    }),
    "note-new": async ({ title, for: readers, columns }) => ({
      ...smallNote(columns === null ? title : `${title}: ${columns.join("|")}`),
      for: readers,
    }),
    "note-edit": async ({ note, text, append }) => ({
      ...smallNote(`${note}: ${text} ${append}`),
      changed: text !== "same",
    }),
    "note-show": async ({ note }) => ({
      ...smallNote(note),
      text: "milk\u001b[2J\n",
      base: [[5, 0, 9]],
      columns: note === "release" ? BOARD : null,
      editors: [{ by: "ana", device: "laptop", edits: 1, at: Date.now() - 5_000 }],
      refused: [
        { event: "kine1bad", by: "mallory", device: "pc", message: "an update of a note: it ends\u001b[2J early" },
      ],
    }),
    "note-share": async ({ note, for: readers }) => ({ ...smallNote(note), for: readers }),
    "note-ls": async () => ({ items: [smallNote("plan")] }),
    "board-add": async ({ text, column, place, for: people }) =>
      smallCard({ text: `${text}|${place}`, for: people }, column ?? "todo"),
    "board-move": async ({ card, column, place }) =>
      smallCard({ text: `${card}|${JSON.stringify(place)}` }, column ?? "its own"),
    "board-edit": async ({ text }) => ({ ...smallCard({ text }), changed: text !== "same" }),
    "board-card": async () => smallCard({ text: "fix\u001b[2J login\nsecond line", for: ["ana"] }),
    "board-assign": async ({ to, notTo }) => smallCard({ text: `not ${notTo.join("|")}`, for: to }),
    "board-rm": async ({ card }) => smallCard({ text: card }),
    "board-columns": async ({ columns }) => ({
      ...smallNote("release"),
      columns: columns ?? ["todo", "done"],
      changed: columns !== null,
    }),
    "facts-set": async ({ key, value, unset }) => ({ key, scope: "mesh", values: [factValue(value, unset)] }),
    "facts-get": async ({ key }) => ({ key, scope: "mesh", values: [factValue("a\u001b[31m"), factValue("b")] }),
    "facts-ls": async ({ prefix }) => ({
      items: [{ key: `${prefix}port`, scope: "mesh", values: [factValue(8080), factValue([1])] }],
      total: 3,
    }),
    "facts-history": async () => ({ items: [{ ...factValue(null, true), standing: true, replaced: 1 }], missing: 2 }),
    export: async ({ out, people }, item) => {
      item({ bytes: 20_000_000 });
      const counts = { records: 5, keys: 1, logs: 2, events: 9, opened: 2, said: 1, bodiless: 0, hereEvents: 0 };
      return { file: out, mesh: "kinm1abc", meshName: "team", all: people.length === 0, ...counts, bytes: 20_000_001 };
    },
    reload: async () => {
      const { listen } = loadConfig(home.configFile);
      return { changed: ["listen.port"], restartNeeded: listen.port === config.listen.port ? [] : ["listen.port"] };
    },
  };
}

function smallConfig(agent: string) {
  const at = Date.now() - 5_000;
  return {
    agent,
    settings: [{ name: "paused", value: true, others: [false] }],
    history: [{ name: "paused", value: true, unset: false, by: "ben", device: "laptop", at }],
  };
}

function smallNote(title: string): NoteItem {
  return {
    id: "kine1abc",
    form: "text",
    title,
    for: "mesh",
    openedBy: "ben",
    editedBy: "ana",
    at: Date.now() - 5_000,
    characters: 5,
    cards: null,
    waiting: 0,
  };
}

const CARD: CardItem = { id: "a3f0000000000000", short: "a3f", text: "fix login", base: [], for: [] };
const BOARD: ColumnItem[] = [
  { name: "todo", cards: [CARD, { ...CARD, short: "b21", text: "write\u001b[2J it\ndown", for: ["ana", "li"] }] },
  { name: "done", cards: [] },
];

function smallCard(card: Partial<CardItem>, column = "todo"): BoardResult {
  const board = { ...smallNote("release"), form: "board" as const, cards: 2 };
  return { ...board, card: { ...CARD, ...card }, column, changed: true };
}

function factValue(value: Json, unset = false) {
  return { value, unset, by: "ana", device: "laptop", at: Date.now() - 60_000 };
}

function sharedItem(folder: string, name: string, people: "mesh" | string[]) {
  return { name, folder, rights: "read" as const, for: people, problem: null };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const argv = process.argv.slice(2);
  if (argv[0] === "batch") await batch(JSON.parse(argv[1]!) as string[][]);
  else if (argv[0] === "node") {
    const context = createContext(argv, import.meta.filename);
    process.exitCode = await runVerb(context, () =>
      runDaemon(context, async (parts) => ({ control: smallControl(parts) })),
    );
  } else process.exitCode = await runCli(argv, import.meta.filename);
}

/** Many command lines in one process, each followed by `#exit <code>` on both outputs: starting Node is most of a wrong usage. */
async function batch(all: string[][]): Promise<void> {
  process.setMaxListeners(0);
  process.stdout.setMaxListeners(0);
  for (const argv of all) {
    const code = await runCli(argv, import.meta.filename);
    process.stdout.write(`#exit ${code}\n`);
    process.stderr.write(`#exit ${code}\n`);
  }
}

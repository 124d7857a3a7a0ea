/**
 * What the CLI (and later the deck) asks of a running node over its 0600 unix socket: types only, so that the CLI loads
 * nothing for them. Frames are NDJSON: `{id, verb, params}` → `{id, item}`* → `{id, result}` or `{id, error}`;
 * `{id, cancel: true}` stops a request; a closed socket cancels what it asked.
 * Shapes here are what `--json` prints (F9): the CLI adds `v: 1`.
 */
import type { ErrorShape } from "../../protocols/errors.ts";
import type { Json } from "../../protocols/tool.ts";
import type { ExportSummary } from "../../sync/export.ts";

/** How a peer is reached now. */
export type Path = "direct" | "lan" | "loopback" | "relayed" | "none";
/** From where an agent or a device is known. */
export type Via = "log" | "dht" | "mdns" | "direct" | "self";

export interface AgentItem {
  /** `ben/reviewer` */
  address: string;
  person: string;
  device: string;
  online: boolean;
  via: Via;
  path: Path;
  mayAsk: boolean;
  description: string;
  shares: string[];
}

export interface ToolItem {
  /** `ben/tools/git.log` */
  address: string;
  person: string;
  device: string;
  online: boolean;
  via: Via;
  path: Path;
  mayCall: boolean;
  readOnly: boolean;
  description: string;
  inputSchema: { [key: string]: Json };
  shares: string[];
}

export interface PeerItem {
  person: string;
  device: string;
  peerId: string;
  online: boolean;
  path: Path;
  address: string | null;
  /** "tcp", "ws", "webrtc-direct"; null while not connected. */
  transport: string | null;
  encrypter: string | null;
  /** Round trip of the last ping or hello. */
  rttMs: number | null;
  /** Their wall clock minus ours. */
  skewMs: number | null;
  lastSeenAt: number | null;
}

export interface MemberItem {
  name: string;
  /** `kinp1…` */
  person: string;
  role: "admin" | "member";
  devices: { name: string; peerId: string; online: boolean }[];
  me: boolean;
}

export interface ShareItem {
  name: string;
  folder: string;
  rights: "read";
  /** "mesh" or people's names. */
  for: "mesh" | string[];
  problem: string | null;
}

export interface OutboxItem {
  /** `kini1…` */
  id: string;
  to: string;
  /** What was asked, on one line, cut. */
  what: string;
  askedAt: number;
  expiresAt: number;
  why: string;
  /**
   * `here`: nobody else has it yet; `carried`: others have it, who cannot read it; `sent`: the device that is to run it has it;
   * `gone`: that device was removed.
   */
  state: "here" | "carried" | "sent" | "answered" | "withdrawn" | "expired" | "gone";
}

/** Another device and how far it is. */
export interface SyncPeer {
  /** `ben@laptop` */
  peer: string;
  person: string;
  device: string;
  online: boolean;
  /** Wall ms when both had the same; null: never since this node knows it. */
  inStepAt: number | null;
  /** Events that it has and this node lacks, and the reverse; null: it has never told. */
  weLack: number | null;
  theyLack: number | null;
}

export interface SyncStatus {
  items: SyncPeer[];
  /** Events here, and of which logs. */
  events: number;
  logs: { log: string; writer: string; events: number }[];
  /** Stamped ahead of our clock: they count later. */
  held: number;
  quarantined: number;
  /** Their key has not come yet. */
  unreadable: number;
  /** Their body has not come yet. */
  withoutBody: number;
  damaged: number;
  /** False: there were too many events to look at all of them now; ask again. */
  isWhole: boolean;
  /** Attachments that are kept here for calls that wait. */
  blobs: number;
  outbox: number;
  /** Calls of others that this device is to run. */
  asked: number;
}

export interface SyncedPeer {
  peer: string;
  reached: boolean;
  inStep: boolean;
  got: number;
  gave: number;
  /** In words. */
  said: string;
}

export interface FactValueItem {
  value: Json;
  /** True: `value` says nothing, the key was unset. */
  unset: boolean;
  by: string;
  device: string;
  at: number;
}
export interface FactItem {
  key: string;
  /** "mesh", or the agent whose own it is: `ana/reviewer`. */
  scope: string;
  /** The newest first; several were written without knowledge of each other. */
  values: FactValueItem[];
}

export interface SnapshotItem {
  /** The first characters of its id. */
  id: string;
  madeBy: string;
  madeAt: number;
  /** Events that it stands for. */
  events: number;
  bytes: number;
  /** People who have folded the events themselves and got the same. */
  signedBy: string[];
  /** For anybody who may come. */
  counts: boolean;
  /** People without whom nothing is pruned behind it. */
  waitingFor: string[];
  here: "recomputed" | "adopted" | "waits" | "refused";
  /** Of "waits" and "refused". */
  why: string | null;
  /** This node begins with it. */
  base: boolean;
}

/** Consecutive characters of one writer: its id, the first one's number, how many. */
export type NoteRun = [client: number, clock: number, length: number];
export interface NoteItem {
  /** `kine1…` */
  id: string;
  form: "text" | "board";
  title: string;
  /** "mesh" or people's names. */
  for: "mesh" | string[];
  openedBy: string;
  editedBy: string | null;
  /** When it was last changed. */
  at: number;
  characters: number;
  /** Of a board; null: a text. */
  cards: number | null;
  /** Edits that wait for what they build on. */
  waiting: number;
}
export interface CardItem {
  /** 16 hexadecimal digits. */
  id: string;
  /** As much of them as says which card of its board it is. */
  short: string;
  text: string;
  /** What an editor was opened with: see NoteRun. */
  base: NoteRun[];
  /** People's names. */
  for: string[];
}
export interface ColumnItem {
  name: string;
  cards: CardItem[];
}
/** `card`: how its id or its text begins. */
export type CardPlaceParam = "top" | "end" | { before: string } | { after: string };
export type BoardResult = NoteItem & { card: CardItem; column: string; changed: boolean };

export interface AuditItem {
  at: number;
  event: "started" | "ended" | "refused";
  caller: string;
  target: string;
  call: string;
  outcome: string | null;
  ms: number | null;
}

export interface NodeStatus {
  name: string;
  device: string;
  peerId: string;
  pid: number;
  startedAt: number;
  home: string;
  version: string;
  listening: string[];
  mesh: { name: string; id: string; role: "admin" | "member" | "removed"; members: number } | null;
  peers: { online: number; known: number };
  log: { events: number; waiting: number };
  outbox: number;
  warnings: string[];
}

/** What a call streams to the CLI (F9). */
export type AskItem =
  | { type: "accepted" }
  | { type: "progress"; text: string }
  | { type: "result"; text: string; data?: Json }
  | { type: "failure"; error: ErrorShape };

/** A call that waits. `why` is one plain sentence, `detail` what was tried at each address. */
export interface Queued {
  outcome: "queued";
  id: string;
  why: string;
  detail?: string;
}

/** verb → [params, items streamed, result] */
export interface ControlApi {
  status: [Record<string, never>, never, NodeStatus];
  down: [Record<string, never>, never, { pid: number }];
  /** Makes the mesh if there is none. `share`: absolute path. */
  invite: [
    {
      name: string | null;
      share: string | null;
      shareName: string | null;
      role: "admin" | "member";
      uses: number;
      expiresMs: number;
      mesh: string | null;
    },
    never,
    {
      ticket: string;
      mesh: string;
      meshMade: boolean;
      addresses: string[];
      expiresAt: number;
      uses: number;
      will: string[];
      share: ShareItem | null;
    },
  ];
  "invite-close": [{ ticket: string }, never, { closed: true }];
  /** A ticket for another machine of this person: `join` there. */
  "device-add": [
    { expiresMs: number },
    never,
    { ticket: string; mesh: string; addresses: string[]; expiresAt: number },
  ];
  "device-ls": [
    Record<string, never>,
    never,
    { items: { device: string; peerId: string; online: boolean; me: boolean }[] },
  ];
  "device-rm": [{ name: string }, never, { device: string; left: number }];
  join: [
    { ticket: string; as: string | null },
    { step: string },
    { mesh: string; inviter: string; name: string; members: number; agents: AgentItem[]; archived: string | null },
  ];
  /** `to` as typed. `attach`: absolute paths. `stdin`: piped text. */
  ask: [
    {
      to: string;
      text: string;
      stdin: string | null;
      attach: string[];
      settings: { [key: string]: Json };
      later: boolean;
      now: boolean;
      deadlineMs: number | null;
    },
    AskItem,
    { outcome: "answered" } | Queued | { outcome: "failed"; error: ErrorShape },
  ];
  call: [
    { to: string; arguments: { [key: string]: Json }; later: boolean; now: boolean; deadlineMs: number | null },
    AskItem,
    { outcome: "answered" } | Queued | { outcome: "failed"; error: ErrorShape },
  ];
  /** Waits for a queued call. */
  wait: [
    { id: string; timeoutMs: number | null },
    AskItem,
    { outcome: "answered" } | Queued | { outcome: "failed"; error: ErrorShape },
  ];
  ping: [
    { to: string; count: number },
    { ms: number },
    { peer: string; path: Path; minMs: number; avgMs: number; maxMs: number; skewMs: number | null },
  ];
  peers: [Record<string, never>, never, { items: PeerItem[] }];
  agents: [Record<string, never>, never, { items: AgentItem[] }];
  tools: [Record<string, never>, never, { items: ToolItem[] }];
  members: [Record<string, never>, never, { items: MemberItem[] }];
  remove: [{ name: string }, never, { name: string; person: string; epoch: string; reached: string[]; left: number }];
  /** `agent`: whose key, with "agent". `generation`: of the agent's new key. */
  "keys-rotate": [
    { what: "sealing" | "agent" | "person"; agent: string | null },
    never,
    { what: "sealing" | "agent" | "person"; agent: string | null; generation: number | null; said: string },
  ];
  /** What leaving the mesh means now; changes nothing. `others`: members besides me. `shares`, `servers`: those that are for the whole mesh. */
  "leave-plan": [
    Record<string, never>,
    never,
    {
      mesh: string;
      role: "admin" | "member" | "removed";
      others: number;
      online: string[];
      devices: string[];
      waiting: OutboxItem[];
      shares: string[];
      servers: string[];
      folder: string;
    },
  ];
  /** `unheard`: also if nobody is there to learn of it. `ended`: shares that were for the whole mesh. */
  leave: [{ unheard: boolean }, never, { mesh: string; told: string[]; ended: string[]; aside: string }];
  "share-ls": [Record<string, never>, never, { items: ShareItem[] }];
  "share-add": [
    { folder: string; name: string | null; for: "mesh" | string[] },
    never,
    { share: ShareItem; will: string[] },
  ];
  "share-rm": [{ name: string }, never, { name: string }];
  /** Accepts what a tool of an MCP server says of itself now (J3). `name`: `everything.echo`. */
  "tools-approve": [{ name: string }, never, { name: string; problems: string[] }];
  "audit-log": [{ limit: number }, never, { items: AuditItem[] }];
  /** `all`: also what has been answered or taken back. */
  "outbox-ls": [{ all: boolean }, never, { items: OutboxItem[] }];
  "outbox-drop": [{ id: string }, never, { id: string; said: string }];
  /** Tries now. `again`: asks what has ended without a result once more, as a new call `newId`. */
  "outbox-retry": [
    { id: string; again: boolean },
    { said: string },
    {
      id: string;
      outcome: "answered" | "waits" | "ended" | "asked-again";
      state: OutboxItem["state"];
      said: string;
      newId: string | null;
      hint: string | null;
    },
  ];
  "sync-status": [Record<string, never>, never, SyncStatus];
  /** With all members' devices. */
  "sync-now": [Record<string, never>, SyncedPeer, { items: SyncedPeer[] }];
  /** `item`: a call `kini1…`, an event `kine1…`, or the id of a log or event in hex. */
  "sync-why": [
    { item: string },
    never,
    { item: string; kind: "call" | "event" | "log"; state: string; said: string[]; hint: string | null },
  ];
  /** `who`: `ana`, `ana@laptop`. */
  "sync-allow": [{ who: string }, never, { device: string; logs: number }];
  /** `kine1…` or hex; `again`: the events that say the same now. */
  "sync-reissue": [{ events: string[] }, never, { items: { event: string; again: string }[] }];
  /** `agent`: whose own facts, as typed; null: those of the mesh. */
  "facts-set": [{ key: string; value: Json; unset: boolean; agent: string | null }, never, FactItem];
  "facts-get": [{ key: string; agent: string | null }, never, FactItem];
  "facts-ls": [{ prefix: string; agent: string | null }, never, { items: FactItem[]; total: number }];
  /**
   * All sets of a key, the newest first. `replaced`: how many values each took the place of; null: a snapshot stands for it.
   * `missing`: older ones that are not here, pruned or not come yet.
   */
  "facts-history": [
    { key: string; agent: string | null },
    never,
    { items: (FactValueItem & { standing: boolean; replaced: number | null })[]; missing: number },
  ];
  "snapshot-make": [Record<string, never>, never, { snapshot: SnapshotItem }];
  "snapshot-ls": [Record<string, never>, never, { items: SnapshotItem[]; dormant: string[] }];
  /** `id`: as many of its first characters as needed. */
  "snapshot-show": [
    { id: string },
    never,
    SnapshotItem & {
      views: { name: string; version: number }[];
      signers: { device: string; how: "recomputed" | "adopted" }[];
      logs: { log: string; device: string; events: number }[];
    },
  ];
  "snapshot-prune": [{ dryRun: boolean }, never, { id: string; bodies: number; bytes: number; dryRun: boolean }];
  "snapshot-dormant": [{ name: string; on: boolean }, never, { name: string; dormant: boolean }];
  /** `out`: absolute path. `people`: `ana`, `ana@laptop`; `events`: `kine1…`; `calls`: `kini1…`. None of them: all of the mesh. */
  export: [
    {
      out: string;
      replace: boolean;
      people: string[];
      events: string[];
      calls: string[];
      here: boolean;
      /** Show nothing of what bodies say. */
      sealed: boolean;
    },
    { bytes: number },
    ExportSummary & {
      file: string;
      /** `kinm1…` */
      mesh: string;
      meshName: string;
      all: boolean;
    },
  ];
  /** `history`: the oldest first. `others`: values that were set without knowledge of `value` and lost. */
  "agent-config": [
    { agent: string },
    never,
    {
      agent: string;
      settings: { name: string; value: Json; others: Json[] }[];
      history: { name: string; value: Json; unset: boolean; by: string; device: string; at: number }[];
    },
  ];
  /** `value` as typed; null: unset. */
  "agent-config-set": [
    { agent: string; name: string; value: string | null },
    never,
    Result<"agent-config"> & { changed: boolean },
  ];
  /** `columns`: of a board; null: a text. */
  "note-new": [{ title: string; for: "mesh" | string[]; text: string; columns: string[] | null }, never, NoteItem];
  /** `note`: id or title. `base`: what was shown to whoever edited it, so that what came meanwhile stays. */
  "note-edit": [
    { note: string; text: string; append: boolean; base: { runs: NoteRun[]; text: string } | null },
    never,
    NoteItem & { changed: boolean },
  ];
  "note-show": [
    { note: string },
    never,
    NoteItem & {
      /** Of a board: as Markdown. */
      text: string;
      base: NoteRun[];
      /** Of a board. */
      columns: ColumnItem[] | null;
      editors: { by: string; device: string; edits: number; at: number }[];
      /** Edits that have no effect, on any node. `event`: `kine1…` */
      refused: { event: string; by: string; device: string; message: string }[];
    },
  ];
  "note-share": [{ note: string; for: string[] }, never, NoteItem];
  "note-ls": [Record<string, never>, never, { items: NoteItem[] }];
  /** `column`: null: the first; `for`: people's names. */
  "board-add": [
    { board: string; text: string; column: string | null; place: "top" | "end"; for: string[] },
    never,
    BoardResult,
  ];
  /** `column`: null: that of the card beside it, or its own. */
  "board-move": [{ board: string; card: string; column: string | null; place: CardPlaceParam }, never, BoardResult];
  /** `base`: what an editor was opened with; then `card` is the whole id. */
  "board-edit": [
    { board: string; card: string; text: string; base: { runs: NoteRun[]; text: string } | null },
    never,
    BoardResult,
  ];
  "board-assign": [{ board: string; card: string; to: string[]; notTo: string[] }, never, BoardResult];
  "board-card": [{ board: string; card: string }, never, BoardResult];
  "board-rm": [{ board: string; card: string }, never, BoardResult];
  /** null: only shows them. */
  "board-columns": [
    { board: string; columns: string[] | null },
    never,
    NoteItem & { columns: string[]; changed: boolean },
  ];
  /** Settings were changed on disk: read them again. */
  reload: [Record<string, never>, never, { changed: string[]; restartNeeded: string[] }];
}

export type Verb = keyof ControlApi;
export type Params<V extends Verb> = ControlApi[V][0];
export type Item<V extends Verb> = ControlApi[V][1];
export type Result<V extends Verb> = ControlApi[V][2];

/** Node side: one function a verb. `item` sends one streamed item. */
export type ControlHandlers = {
  [V in Verb]: (params: Params<V>, item: (item: Item<V>) => void, signal: AbortSignal) => Promise<Result<V>>;
};

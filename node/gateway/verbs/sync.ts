/** `kin sync`: how far everybody is, becoming equal now, and why something waits. */
import { KinError } from "../../../protocols/errors.ts";
import {
  formatText,
  idBytes,
  idOf,
  parseText,
  type DeviceId,
  type EventId,
  type LogId,
} from "../../../protocols/ids.ts";
import { displayName } from "../../../protocols/membership.ts";
import type { AskState, PendingAsk } from "../../../sync/outbox.ts";
import type { ReadableEvent } from "../../../sync/replica.ts";
import { awaySentence } from "../away.ts";
import type { Params, Result, SyncedPeer, SyncPeer, SyncStatus } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, peerName } from "../resolve.ts";
import { syncWith } from "../sync-with.ts";
import { carriersOf, stateOf, targetName, whatAsked } from "./outbox.ts";

/** How long a look over the log may take before it says that it has not seen all. */
const TALLY_MS = 2_000;
/** How long those who are connected are asked what they have now. */
const ASK_MS = 1_500;
/** Who has an event: so many are named. */
const MAX_NAMED = 5;

export async function syncStatus(node: MeshNode, signal: AbortSignal): Promise<SyncStatus> {
  const mesh = needMesh(node);
  const soon = AbortSignal.any([signal, AbortSignal.timeout(ASK_MS)]);
  await Promise.all(
    othersOf(mesh)
      .filter((device) => mesh.progress.of(device)?.isOn === true && node.network.greeting(device) !== null)
      .map((device) => syncWith(node, mesh, device, soon)),
  );
  const { time } = node;
  const until = time.monotonic() + TALLY_MS;
  const { flaws, isWhole } = await mesh.tally.look(() => time.monotonic() < until);
  const vector = [...mesh.replica.vector().values()];
  const waiting = mesh.outbox.waiting();
  return {
    items: othersOf(mesh).map((device) => syncPeer(node, mesh, device)),
    events: vector.reduce((sum, { seq }) => sum + seq + 1, 0),
    logs: vector.map(({ log, opening, seq }) => {
      return { log, writer: peerName(mesh.replica.membership(), opening.device), events: seq + 1 };
    }),
    held: flaws.held,
    quarantined: flaws.quarantined,
    unreadable: flaws["no-key"],
    withoutBody: flaws["no-body"],
    damaged: flaws.damaged,
    isWhole,
    blobs: new Set(waiting.filter(({ events }) => events === null).flatMap(({ attached }) => attached)).size,
    outbox: waiting.length,
    asked: mesh.outbox.pending().length,
  };
}

function othersOf(mesh: Mesh): DeviceId[] {
  return [...mesh.replica.membership().devices.keys()].filter((device) => device !== mesh.me.device);
}

function syncPeer(node: MeshNode, mesh: Mesh, device: DeviceId): SyncPeer {
  const membership = mesh.replica.membership();
  const standing = mesh.progress.of(device);
  return {
    peer: peerName(membership, device),
    person: displayName(membership, membership.devices.get(device)!.member.person),
    device: deviceName(membership, device),
    online: node.network.greeting(device) !== null,
    inStepAt: standing?.inStepAt ?? null,
    weLack: standing?.weLack ?? null,
    theyLack: standing?.theyLack ?? null,
  };
}

/** All members' devices at once: each result as it comes. */
export async function syncNow(
  node: MeshNode,
  item: (item: SyncedPeer) => void,
  signal: AbortSignal,
): Promise<Result<"sync-now">> {
  const mesh = needMembership(node);
  const items = await Promise.all(
    othersOf(mesh).map(async (device) => {
      const synced = await syncWith(node, mesh, device, signal);
      item(synced);
      return synced;
    }),
  );
  return { items };
}

type Why = Result<"sync-why">;

/** What a call, an event or a log waits for, in plain words. */
export async function syncWhy(node: MeshNode, { item }: Params<"sync-why">): Promise<Why> {
  const mesh = needMesh(node);
  const call = parseText("kini", item);
  if (call.ok) return whyCall(node, mesh, item, idOf<"envelope">(call.body));
  const event = parseText("kine", item);
  if (event.ok) return whyEvent(node, mesh, item, idOf<"event">(event.body));
  if (!/^[0-9a-f]{64}$/.test(item))
    throw new KinError("USAGE", `${item.slice(0, 40)} is no call (kini1…), no event (kine1…) and no id of a log`, {
      hint: "kin outbox ls --all shows calls, kin sync status --json shows logs, kin sync why LOG its newest event",
    });
  if (mesh.replica.vector().has(item as LogId)) return whyLog(node, mesh, item as LogId);
  return whyEvent(node, mesh, item, item as EventId);
}

// ---- a call

function whyCall(node: MeshNode, mesh: Mesh, item: string, id: AskState["id"]): Why {
  const ask = mesh.outbox.look(id);
  if (ask === undefined) return whyAsked(node, mesh, item, id);
  const state = stateOf(mesh, ask);
  const base = { item, kind: "call" as const, state };
  const said = [
    `${targetName(mesh, ask)} was asked "${whatAsked(ask)}" on ${date(ask.askedAt)}; it is worth answering until ${date(ask.expiresAt)}`,
  ];
  if (ask.executor !== ask.to.device)
    said.push(
      `${peerName(mesh.replica.membership(), ask.to.device)} has handed it to another device of the same person`,
    );
  if (ask.state === "answered") return { ...base, said: [...said, "it has been answered"], hint: `kin wait ${item}` };
  if (ask.state === "withdrawn") return { ...base, said: [...said, "it was taken back"], hint: null };
  if (ask.events !== null) return { ...base, said: [...said, ask.why], hint: `kin outbox retry ${item} --again` };
  said.push(`it was queued because: ${ask.why}`);
  return { ...base, said: [...said, ...whereItIs(node, mesh, ask, state)], hint: `kin outbox retry ${item}` };
}

function whereItIs(node: MeshNode, mesh: Mesh, ask: AskState, state: string): string[] {
  const pending = ask.executor === mesh.me.device ? mesh.outbox.pending().find(({ id }) => id === ask.id) : undefined;
  if (pending !== undefined) return ["this device is to run it", whyPending(node, mesh, pending)];
  const who = peerName(mesh.replica.membership(), ask.executor);
  const isThere = node.network.greeting(ask.executor) !== null || ask.executor === mesh.me.device;
  const said: string[] = [];
  if (state === "carried") said.push(...whoCarries(mesh, ask));
  if (state === "here") said.push("nobody else has it yet: it leaves with the next sync, whoever that is with");
  if (state === "sent") said.push(`it was sent to ${who}, which has not answered yet`);
  if (!isThere) said.push(`now: ${awaySentence(node, mesh, ask.executor)}`, lastInStep(mesh, ask.executor));
  else if (state === "sent") said.push(`${who} is connected: the call runs there, or waits for its turn`);
  if (ask.attached.length > 0)
    said.push(
      `its ${ask.attached.length === 1 ? "attachment is" : "attachments are"} kept here, and fetched from here when both are online at once`,
    );
  return said;
}

/** A call is sealed to the devices of who asks and of who is asked: others carry it without reading it. */
function whoCarries(mesh: Mesh, ask: AskState): string[] {
  const { devices } = mesh.replica.membership();
  const {
    mine = [],
    theirs = [],
    others = [],
  } = Object.groupBy(carriersOf(mesh, ask), (device) => {
    const { person } = devices.get(device)!.member;
    return person === mesh.me.person ? "mine" : person === ask.to.person ? "theirs" : "others";
  });
  const said: string[] = [];
  const say = (carriers: DeviceId[], [one, many]: [one: string, many: string]): void => {
    if (carriers.length === 0) return;
    const [how, deliver] = carriers.length === 1 ? [one, "delivers"] : [many, "deliver"];
    said.push(`${named(mesh, carriers)}${how} and ${deliver} it when they meet`);
  };
  say(mine, [", another device of yours, has it", ", other devices of yours, have it"]);
  say(theirs, [", another device of the person asked, has it", ", other devices of the person asked, have it"]);
  say(others, [" carries it, without being able to read it,", " carry it, without being able to read it,"]);
  return said;
}

function lastInStep(mesh: Mesh, device: DeviceId): string {
  const at = mesh.progress.of(device)?.inStepAt ?? null;
  const who = peerName(mesh.replica.membership(), device);
  return at === null
    ? `this node was never in step with ${who}`
    : `this node was last in step with ${who} on ${date(at)}`;
}

/** A call of somebody else's that this device is to run. */
function whyAsked(node: MeshNode, mesh: Mesh, item: string, id: AskState["id"]): Why {
  const pending = mesh.outbox.pending().find((one) => one.id === id);
  if (pending === undefined)
    throw new KinError("NOT_FOUND", "this node knows no such call: it was asked elsewhere, or live", {
      hint: "kin outbox ls --all",
    });
  const who = peerName(mesh.replica.membership(), pending.from.device);
  const said = [`${who} asked it on ${date(pending.askedAt)}, and this device is to run it`];
  said.push(whyPending(node, mesh, pending));
  return { item, kind: "call", state: pending.state, said, hint: null };
}

function whyPending(node: MeshNode, mesh: Mesh, { state, from: { device } }: PendingAsk): string {
  if (state === "started") return "it has started";
  if (!mesh.progress.hasHeard())
    return "it runs when a peer has told, after this start, that it was not answered before (R8)";
  if (device === mesh.me.device || node.network.greeting(device) !== null) return "it waits for its turn";
  return `it waits for its turn, or, if something is attached, for ${peerName(mesh.replica.membership(), device)} to be there`;
}

// ---- an event

async function whyEvent(node: MeshNode, mesh: Mesh, item: string, id: EventId): Promise<Why> {
  const event = await mesh.replica.event(id);
  if (event === undefined)
    throw new KinError("NOT_FOUND", "this node has no such event or log", {
      hint: "if somebody else has it, it comes with a sync: kin sync now",
    });
  const membership = mesh.replica.membership();
  const author = peerName(membership, event.device);
  const said = [
    `${event.kind}, number ${event.seq} of the log ${event.log.slice(0, 8)} of ${author}, stamped ${date(event.at)}`,
  ];
  await mesh.documents.settled();
  const [state, sentence] = documentStanding(mesh, id) ?? standingOf(node, event);
  said.push(sentence);
  if (event.audience === "here")
    return { item, kind: "event", state, said: [...said, "it never leaves this machine"], hint: null };
  const has = othersOf(mesh).filter((device) => mesh.progress.has(device, event.log) >= event.seq);
  const lacks = othersOf(mesh).length - has.length;
  if (has.length > 0) said.push(`${named(mesh, has)} ${has.length === 1 ? "has" : "have"} it too`);
  if (lacks > 0) said.push(`${lacks} ${lacks === 1 ? "device has" : "devices have"} it not yet, as far as is known`);
  return { item, kind: "event", state, said, hint: state === "counts" ? null : "kin sync now" };
}

/** null: nothing else is to be said than of any event. */
function documentStanding({ documents }: Mesh, id: EventId): [state: string, sentence: string] | null {
  if (documents.isMadeAnew(id))
    return [
      "anew",
      "it is here and has no effect: it stood on what a removal cut off, or in the second history of a log that was " +
        "written twice, and its author has said it anew",
    ];
  const refused = documents.refused().find(({ event }) => event === id);
  if (refused !== undefined)
    return ["refused", `it is here and has no effect, on this node and on all others: ${refused.message}`];
  return documents.isWaiting(id)
    ? ["waits", "it is here, and waits for an edit that it builds on, or for a key"]
    : null;
}

function standingOf(node: MeshNode, { standing, unreadable }: ReadableEvent): [state: string, sentence: string] {
  if (standing.state === "held") {
    const minutes = Math.ceil((standing.until - node.time.now()) / 60_000);
    return [
      "held",
      `it is held until ${date(standing.until)} (${minutes} min): it is stamped ahead of this machine's clock (R13)`,
    ];
  }
  if (standing.state === "quarantined") return ["quarantined", `it has no effect: ${standing.why}`];
  switch (unreadable) {
    case null:
      return ["counts", "it is here, counts, and can be read"];
    case "not-for-us":
      return ["sealed", "it is sealed to others: this node carries it and cannot read it"];
    case "no-key":
      return [
        "no-key",
        "the key of its epoch has not come yet: whoever opened that epoch, or let this device in, sends it",
      ];
    case "no-body":
      return ["no-body", "only its header is here: its body comes from a peer that has it"];
    case "pruned":
      return ["pruned", "its body was pruned: a snapshot stands for it"];
    case "damaged":
      return [
        "damaged",
        "its body can't be opened although the key is here: it is damaged, or its author sealed it wrongly",
      ];
  }
}

// ---- a log

async function whyLog(node: MeshNode, mesh: Mesh, log: LogId): Promise<Why> {
  const { replica, progress } = mesh;
  const { opening, seq } = replica.vector().get(log)!;
  const membership = replica.membership();
  const said = [`the log of ${peerName(membership, opening.device)}: ${seq + 1} events are here`];
  const isForked = replica.forks().some((fork) => fork.log === log);
  const former = membership.formerDevices.get(opening.device);
  const cut = former?.cuts.get(log);
  if (isForked)
    said.push("it was written twice (a copy of that device, or a restored backup): it takes no more events (R2)");
  if (former !== undefined)
    said.push(
      cut === undefined
        ? "its device was removed: nothing of it counts (R5)"
        : `its device was removed: events up to number ${cut.seq} count (R5)`,
    );
  const ahead = othersOf(mesh).filter((device) => progress.has(device, log) > seq);
  if (ahead.length > 0) said.push(`${named(mesh, ahead)} ${ahead.length === 1 ? "has" : "have"} more of it`);
  const last = await replica.store.range(log, seq, seq + 1);
  const state = isForked ? "forked" : former !== undefined ? "cut" : ahead.length > 0 ? "behind" : "counts";
  if (last[0] !== undefined) {
    const event = await replica.read(last[0]);
    said.push(`its newest event, ${formatText("kine", idBytes(event.id))}: ${standingOf(node, event)[1]}`);
  }
  return { item: log, kind: "log", state, said, hint: state === "behind" ? "kin sync now" : null };
}

function named(mesh: Mesh, devices: DeviceId[]): string {
  const names = devices.slice(0, MAX_NAMED).map((device) => peerName(mesh.replica.membership(), device));
  return `${names.join(", ")}${devices.length > MAX_NAMED ? ` and ${devices.length - MAX_NAMED} more` : ""}`;
}

/** "2026-11-21 16:05" in this machine's time zone. */
function date(ms: number): string {
  const at = new Date(ms);
  const two = (value: number): string => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

/** `kin outbox`: what waits for whom and why, trying now, taking back, asking again. */
import { KinError } from "../../../protocols/errors.ts";
import { formatText, idBytes, type DeviceId, type EnvelopeId } from "../../../protocols/ids.ts";
import type { CallRequest } from "../../../protocols/invoke.ts";
import type { AskState } from "../../../sync/outbox.ts";
import { reach } from "../away.ts";
import type { OutboxItem, Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, peerName } from "../resolve.ts";
import { syncWith } from "../sync-with.ts";
import { findTarget, parseCallId, queue } from "./calls.ts";

/** How long `retry` waits for the answer of a device that has the ask. */
const ANSWER_WAIT_MS = 3_000;
/** Enough to tell one's calls apart. */
const WHAT_CHARACTERS = 40;

export function outboxItems(mesh: Mesh, { all }: Params<"outbox-ls">): OutboxItem[] {
  const asks = all ? mesh.outbox.all() : mesh.outbox.waiting();
  return asks.map((ask) => ({
    id: formatText("kini", idBytes(ask.id)),
    to: targetName(mesh, ask),
    what: whatAsked(ask),
    askedAt: ask.askedAt,
    expiresAt: ask.expiresAt,
    why: ask.why,
    state: stateOf(mesh, ask),
  }));
}

/** `ben@laptop/reviewer`, with the device that is to run it. */
export function targetName(mesh: Mesh, ask: AskState): string {
  const isTool = "tool" in ask.request.target;
  return `${peerName(mesh.replica.membership(), ask.executor)}/${isTool ? "tools/" : ""}${ask.to.name}`;
}

/** The question, or a tool's arguments, on one line. */
export function whatAsked({ request }: Pick<AskState, "request">): string {
  const said = request.parts.map((part) =>
    "text" in part ? part.text : `[${"blob" in part ? part.blob.name : "data"}]`,
  );
  const line = ("tool" in request.target ? JSON.stringify(request.arguments) : said.join(" "))
    .replaceAll(/\s+/g, " ")
    .trim();
  return line.length <= WHAT_CHARACTERS ? line : `${line.slice(0, WHAT_CHARACTERS - 1)}…`;
}

export function stateOf(mesh: Mesh, ask: AskState): OutboxItem["state"] {
  return ask.state === "waiting" ? placeOf(mesh, ask) : ask.state;
}

/** How far it has come, whether it still waits or not. */
function placeOf(mesh: Mesh, ask: AskState): "sent" | "carried" | "here" {
  if (hasIt(mesh, ask, ask.executor)) return "sent";
  return carriersOf(mesh, ask).length > 0 ? "carried" : "here";
}

function hasIt(mesh: Mesh, ask: AskState, device: DeviceId): boolean {
  return device === mesh.me.device || mesh.progress.has(device, ask.at.log) >= ask.at.seq;
}

/** Devices that have the ask and are not to run it; those of strangers to it cannot read it. */
export function carriersOf(mesh: Mesh, ask: AskState): DeviceId[] {
  const others = [...mesh.replica.membership().devices.keys()];
  return others.filter((device) => device !== mesh.me.device && device !== ask.executor && hasIt(mesh, ask, device));
}

export async function outboxDrop(node: MeshNode, params: Params<"outbox-drop">): Promise<Result<"outbox-drop">> {
  const mesh = needMesh(node);
  const id = parseCallId(params.id);
  const before = mesh.outbox.look(id);
  const said = before === undefined ? "" : saidOfDrop(mesh, before);
  await mesh.outbox.drop(id);
  return { id: params.id, said };
}

/** Only what never left is certainly not run: a carrier may have met its device, and meet it again before the word of this comes. */
function saidOfDrop(mesh: Mesh, ask: AskState): string {
  const who = peerName(mesh.replica.membership(), ask.executor);
  switch (placeOf(mesh, ask)) {
    case "here":
      return "taken back: it will not be run";
    case "sent":
      return `taken back; ${who} has it already: it is not run there, or stopped if it runs. If it has run, its answer still comes`;
    case "carried": {
      const carriers = carriersOf(mesh, ask).map((device) => peerName(mesh.replica.membership(), device));
      const [others, carry] = [list(carriers), carriers.length === 1 ? "carries" : "carry"];
      return `taken back; ${others} ${carry} it: ${who} may have run it already, or run it before it hears of this. Then its answer still comes`;
    }
  }
}

/** Tries now, and says what happened; what has ended is asked again only with `again`. */
export async function outboxRetry(
  node: MeshNode,
  params: Params<"outbox-retry">,
  say: (item: { said: string }) => void,
  signal: AbortSignal,
): Promise<Result<"outbox-retry">> {
  const mesh = needMembership(node);
  const ask = mesh.outbox.look(parseCallId(params.id));
  if (ask === undefined)
    throw new KinError("NOT_FOUND", "no such call was asked from here", { hint: "kin outbox ls --all" });
  if (params.again) return askAgain(node, mesh, ask, params.id, signal);
  if (ask.events !== null) return ended(mesh, ask, params.id);
  const result = (outcome: "answered" | "waits", said: string, hint: string): Result<"outbox-retry"> => {
    const now = mesh.outbox.look(ask.id)!;
    return { id: params.id, outcome, state: stateOf(mesh, now), said, newId: null, hint };
  };
  const who = peerName(mesh.replica.membership(), ask.executor);
  say({ said: `dialling ${who}` });
  const away = await reach(node, mesh, ask.executor, { signal });
  if (away === null) {
    if (ask.executor !== mesh.me.device) say({ said: (await syncWith(node, mesh, ask.executor, signal)).said });
    const answer = await mesh.outbox.answer(ask.id, AbortSignal.any([signal, AbortSignal.timeout(ANSWER_WAIT_MS)]));
    if (answer !== null) return result("answered", "it is answered", `kin wait ${params.id}`);
    return result("waits", `${who} has it and has not answered yet`, `kin wait ${params.id}`);
  }
  await tellCarriers(node, mesh, ask, say, signal);
  const carriers = carriersOf(mesh, ask).map((device) => peerName(mesh.replica.membership(), device));
  const onWay = carriers.length > 0 ? `${list(carriers)} carries it and delivers it when they meet` : "it waits here";
  return result("waits", `${away.sentence}; ${onWay}`, `kin sync why ${params.id}`);
}

/** Those who are connected take it along. */
async function tellCarriers(
  node: MeshNode,
  mesh: Mesh,
  ask: AskState,
  say: (item: { said: string }) => void,
  signal: AbortSignal,
): Promise<void> {
  const there = node.network.peers().filter(({ device, connected }) => connected && !hasIt(mesh, ask, device));
  for (const synced of await Promise.all(there.map(({ device }) => syncWith(node, mesh, device, signal))))
    say({ said: synced.said });
}

function ended(mesh: Mesh, ask: AskState, id: string): Result<"outbox-retry"> {
  const last = ask.events?.at(-1);
  const state = stateOf(mesh, ask);
  if (last?.type === "result")
    return { id, outcome: "answered", state, said: "it has been answered", newId: null, hint: `kin wait ${id}` };
  const error = last?.type === "failure" ? last.error : undefined;
  const mayHaveRun = error?.code === "OUTCOME_UNKNOWN" || (ask.state === "withdrawn" && placeOf(mesh, ask) !== "here");
  const said = `it has ended: ${error?.message ?? "without a result"} (${error?.code ?? "INTERNAL"})`;
  const caution = mayHaveRun ? "look first whether its effect is there. " : "";
  return {
    id,
    outcome: "ended",
    state,
    said,
    newId: null,
    hint: `${caution}kin outbox retry ${id} --again asks it as a new call`,
  };
}

/** The same content under a new id and key: nothing that has happened to the first counts for it. */
async function askAgain(
  node: MeshNode,
  mesh: Mesh,
  ask: AskState,
  id: string,
  signal: AbortSignal,
): Promise<Result<"outbox-retry">> {
  if (ask.events === null)
    throw new KinError("USAGE", "the call still waits: asked again it could run twice", {
      hint: `kin outbox drop ${id} takes it back; kin outbox retry ${id} tries now`,
    });
  if (ask.events.at(-1)?.type === "result")
    throw new KinError("USAGE", "the call has a result: ask a new one", { hint: `kin wait ${id} shows the result` });
  for (const hash of ask.attached) await mesh.blobs.serve(hash, ask.to.person).catch(() => gone(ask.id));
  const member = mesh.replica.membership().members.get(ask.to.person);
  if (member === undefined)
    throw new KinError("NOT_FOUND", "whom it was asked is no longer a member", { hint: "kin members" });
  const kind = "agent" in ask.request.target ? "agent" : "tool";
  const device = ask.only ? deviceName(mesh.replica.membership(), ask.to.device) : undefined;
  const target = await findTarget(node, mesh, { person: member.name, device, kind, name: ask.to.name }, signal);
  // Another device of the person may have asked the first one.
  const chain = [{ ...mesh.me, agent: null }];
  const request: CallRequest = { ...ask.request, key: node.random.bytes(16), chain, retryOf: undefined };
  const queued = await queue(mesh, target, request, { sentence: `asked again for ${id}`, detail: "" });
  const now = mesh.outbox.look(parseCallId(queued.id))!;
  return {
    id,
    outcome: "asked-again",
    state: stateOf(mesh, now),
    said: `asked again, as ${queued.id}`,
    newId: queued.id,
    hint: `kin wait ${queued.id}`,
  };
}

function gone(id: EnvelopeId): never {
  throw new KinError("NOT_FOUND", `an attachment of the call ${id.slice(0, 8)} is not kept any more`, {
    hint: "ask again with kin ask … --attach",
  });
}

function list(names: string[]): string {
  return names.length <= 2 ? names.join(" and ") : `${names.slice(0, 2).join(", ")} and ${names.length - 2} others`;
}

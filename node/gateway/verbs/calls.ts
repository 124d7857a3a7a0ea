/** `kin ask`, `call`, `wait`, `outbox`: a call goes live to who is there, else it waits in the outbox and says why. */
import { isUtf8 } from "node:buffer";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import { KinError, type ErrorShape } from "../../../protocols/errors.ts";
import {
  formatText,
  idBytes,
  idOf,
  parseAddress,
  parseText,
  type Address,
  type EnvelopeId,
} from "../../../protocols/ids.ts";
import { requestBody } from "../../../protocols/invoke-bodies.ts";
import { sealEnvelope } from "../../../protocols/invoke-deps.ts";
import type { CallEvent, CallOutcome, CallRequest, CallTarget, OutgoingCall, Part } from "../../../protocols/invoke.ts";
import {
  DEFAULT_CALL_DEPTH,
  DEFAULT_DEADLINE_MS,
  MAX_BLOB_BYTES,
  MAX_INLINE_BYTES,
} from "../../../protocols/limits.ts";
import { displayName, type Member } from "../../../protocols/membership.ts";
import type { Card } from "../../../protocols/agent-card.ts";
import { didYouMean } from "../../did-you-mean.ts";
import type { FoundCard } from "../../net/directory.ts";
import { reach, type Away } from "../away.ts";
import type { AskItem, Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { resolveDevices, resolveMember } from "../resolve.ts";

/** A look-up in the DHT before the ask is queued. */
const FIND_TIMEOUT_MS = 5_000;
/** How long an ask to somebody who is away is worth answering. */
const DURABLE_LIFE_MS = 30 * 24 * 3_600_000;
/** Live attempts before a call is queued. */
const MAX_TRIES = 2;
/** Failures that say that the callee was not reached, so that nothing has begun there. */
const NOT_REACHED: ReadonlySet<string> = new Set(["UNREACHABLE", "OFFLINE", "CLOSED"]);

type Send = (item: AskItem) => void;
type Outcome = Result<"ask">;
type Queued = Outcome & { outcome: "queued" };

export async function ask(node: MeshNode, params: Params<"ask">, send: Send, signal: AbortSignal): Promise<Outcome> {
  const mesh = needMembership(node);
  const to = parseAddress(params.to);
  if (to.kind !== "agent")
    throw new KinError("USAGE", `${params.to} names no agent`, { hint: `kin call ${params.to}` });
  const target = await findTarget(node, mesh, to, signal);
  const parts: Part[] = [];
  if (params.text !== "") parts.push({ text: params.text });
  if (params.stdin !== null && params.stdin !== "")
    parts.push(await piece(mesh, target.member, "stdin", Buffer.from(params.stdin), MAX_INLINE_BYTES));
  for (const file of params.attach) {
    const roomBytes = MAX_INLINE_BYTES - inlineBytes(parts);
    parts.push(await piece(mesh, target.member, basename(file), await readAttachment(file), roomBytes));
  }
  return start(
    node,
    mesh,
    target,
    { target: { agent: to.name }, parts, arguments: params.settings },
    params,
    send,
    signal,
  );
}

export async function call(node: MeshNode, params: Params<"call">, send: Send, signal: AbortSignal): Promise<Outcome> {
  const mesh = needMembership(node);
  const to = parseAddress(params.to);
  if (to.kind !== "tool") throw new KinError("USAGE", `${params.to} names no tool`, { hint: `kin ask ${params.to}` });
  const target = await findTarget(node, mesh, to, signal);
  return start(
    node,
    mesh,
    target,
    { target: { tool: to.name }, parts: [], arguments: params.arguments },
    params,
    send,
    signal,
  );
}

/**
 * Text travels inside of the request while there is room, so that who carries a queued call carries it too; the rest as a blob that
 * the callee fetches from here (F6).
 */
async function piece(mesh: Mesh, member: Member, name: string, bytes: Buffer, roomBytes: number): Promise<Part> {
  const isText = !bytes.includes(0) && isUtf8(bytes);
  if (isText && bytes.length <= roomBytes) return { text: bytes.toString("utf8") };
  const hash = await mesh.blobs.put(bytes, member.person);
  const mediaType = isText ? "text/plain" : "application/octet-stream";
  return { blob: { hash, bytes: bytes.length, mediaType, name } };
}

function inlineBytes(parts: Part[]): number {
  return parts.reduce((sum, part) => sum + ("text" in part ? Buffer.byteLength(part.text) : 0), 0);
}

async function readAttachment(file: string): Promise<Buffer> {
  const bytes = await readFile(file).catch((error: Error) => {
    throw new KinError("USAGE", `cannot read the attachment ${file}: ${error.message}`);
  });
  if (bytes.length > MAX_BLOB_BYTES)
    throw new KinError(
      "TOO_LARGE",
      `the attachment ${file} has ${bytes.length} bytes: at most ${MAX_BLOB_BYTES} (64 MiB)`,
    );
  return bytes;
}

export interface Target {
  member: Member;
  device: Member["devices"][number];
  /** The address names the device (`ben@laptop/reviewer`): no other of his is meant. */
  isNamed: boolean;
  name: string;
}

/** Who answers: the device that has such a card, one that is connected first. @throws KinError NOT_FOUND with what there is */
export async function findTarget(node: MeshNode, mesh: Mesh, to: Address, signal: AbortSignal): Promise<Target> {
  const membership = mesh.replica.membership();
  const member = resolveMember(membership, to);
  const devices = resolveDevices(member, to.device);
  const kind = to.kind as Card["kind"];
  const isMatch = ({ card }: FoundCard): boolean =>
    card.person === member.person &&
    card.kind === kind &&
    card.name === to.name &&
    devices.some(({ id }) => id === card.device);
  let found = mesh.directory.list().filter(isMatch);
  if (found.length === 0)
    found = (
      await mesh.directory
        .find(kind, to.name, AbortSignal.any([signal, AbortSignal.timeout(FIND_TIMEOUT_MS)]))
        .catch(() => [])
    ).filter(isMatch);
  if (found.length === 0) found = (await fetchFrom(node, mesh, devices, signal)).filter(isMatch);
  const connected = new Set(
    node.network
      .peers()
      .filter((peer) => peer.connected)
      .map((peer) => peer.device),
  );
  const isThere = (card: Card): number => (card.device === mesh.me.device || connected.has(card.device) ? 0 : 1);
  const best = found.toSorted((a, b) => isThere(a.card) - isThere(b.card) || b.card.issuedAt - a.card.issuedAt)[0];
  if (best === undefined) throw nothingThere(mesh, member, kind, to);
  const device = devices.find(({ id }) => id === best.card.device)!;
  return { member, device, isNamed: to.device !== undefined, name: to.name };
}

/** A person whose cards have not come yet: ask his devices that are connected. */
async function fetchFrom(
  node: MeshNode,
  mesh: Mesh,
  devices: Member["devices"],
  signal: AbortSignal,
): Promise<FoundCard[]> {
  const there = devices.filter(({ id }) => node.network.greeting(id) !== null);
  const answers = await Promise.allSettled(
    there.map(({ id }) => mesh.directory.fetch(id, AbortSignal.any([signal, AbortSignal.timeout(FIND_TIMEOUT_MS)]))),
  );
  return answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
}

function nothingThere(mesh: Mesh, member: Member, kind: Card["kind"], to: Address): KinError {
  const theirs = mesh.directory
    .list()
    .filter(({ card }) => card.person === member.person && card.kind === kind)
    .map(({ card }) => card.name);
  const near = didYouMean(to.name, theirs);
  const who = displayName(mesh.replica.membership(), member.person);
  const prefix = kind === "tool" ? `${who}/tools/` : `${who}/`;
  return new KinError(
    "NOT_FOUND",
    `${who}${to.device === undefined ? "" : `@${to.device}`} offers no ${kind} "${to.name}" that this node knows of`,
    {
      hint:
        near !== null
          ? `did you mean ${prefix}${near}?`
          : theirs.length > 0
            ? `there is: ${[...new Set(theirs)].map((name) => `${prefix}${name}`).join(", ")}`
            : `kin ${kind}s lists what there is`,
    },
  );
}

async function start(
  node: MeshNode,
  mesh: Mesh,
  target: Target,
  what: { target: CallTarget; parts: Part[]; arguments: CallRequest["arguments"] },
  options: { later: boolean; now: boolean; deadlineMs: number | null },
  send: Send,
  signal: AbortSignal,
): Promise<Outcome> {
  const from = { ...mesh.me, agent: null };
  const request: CallRequest = {
    ...what,
    key: node.random.bytes(16),
    deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
    budget: { depth: DEFAULT_CALL_DEPTH },
    chain: [from],
  };
  const who = displayName(mesh.replica.membership(), target.member.person);
  if (options.later) return queue(mesh, target, request, { sentence: "you said --later", detail: "" });
  const call = { from, to: { person: target.member.person, device: target.device.id }, request };
  for (let tries = 1; ; tries++) {
    const away = await reach(node, mesh, target.device.id, { signal, patient: options.now });
    if (away === null) {
      const outcome = await live(mesh, call, send, signal);
      if (!("notReached" in outcome)) return outcome;
      // What looked like a connection was none any more, e.g. to a node that was killed: dial once more.
      if (tries < MAX_TRIES) continue;
      if (options.now) return failed(outcome.notReached, send);
      return queue(mesh, target, request, { sentence: `${who} went offline`, detail: outcome.notReached.message });
    }
    if (options.now)
      return failed({ code: "OFFLINE", message: away.sentence, hint: "without --now it waits in the outbox" }, send);
    return queue(mesh, target, request, away);
  }
}

/** One live call. `notReached`: nothing has begun at the callee. */
async function live(
  mesh: Mesh,
  call: OutgoingCall,
  send: Send,
  signal: AbortSignal,
): Promise<Outcome | { notReached: ErrorShape }> {
  let accepted = false;
  for await (const event of mesh.invoke(call, signal)) {
    if (event.type === "accepted") accepted = true;
    if (event.type === "failure" && !accepted && NOT_REACHED.has(event.error.code)) return { notReached: event.error };
    const end = show(event, send);
    if (end !== null) return end;
  }
  return failed({ code: "INTERNAL", message: "the call ended without a result" }, send);
}

/** Writes the request into the outbox: it leaves with the next sync, whoever it is with. */
export async function queue(mesh: Mesh, target: Target, request: CallRequest, away: Away): Promise<Queued> {
  const to = { person: target.member.person, device: target.device.id, agent: target.name };
  const envelope = { to, kind: "invoke/request" as const, body: requestBody(request) };
  const { sealed } = sealEnvelope(mesh.sealing, null, envelope, DURABLE_LIFE_MS);
  const asked = await mesh.outbox.ask(await sealed, away.sentence, { only: target.isNamed });
  const queued = { outcome: "queued" as const, id: formatText("kini", idBytes(asked)), why: away.sentence };
  return away.detail === "" ? queued : { ...queued, detail: away.detail };
}

/** Sends one event on; the outcome if it was the last. */
function show(event: CallEvent, send: Send): Outcome | null {
  switch (event.type) {
    case "accepted":
      send({ type: "accepted" });
      return null;
    case "progress":
      send({ type: "progress", text: partsText(event.parts) });
      return null;
    case "result": {
      const item = resultItem(event.outcome);
      // The tool ran and says that it has failed: whoever looks only at the exit code must see that too.
      if ("tool" in event.outcome && event.outcome.tool.isError)
        return failed({ code: "TOOL_FAILED", message: item.text }, send);
      send(item);
      return { outcome: "answered" };
    }
    case "failure":
      return failed(event.error, send);
  }
}

function failed(error: ErrorShape, send: Send): Outcome {
  send({ type: "failure", error });
  return { outcome: "failed", error };
}

function resultItem(outcome: CallOutcome): AskItem & { type: "result" } {
  if ("parts" in outcome) {
    const data = outcome.parts.find((part) => "data" in part);
    const item = { type: "result" as const, text: partsText(outcome.parts) };
    return data === undefined ? item : { ...item, data: data.data };
  }
  const { content, structured } = outcome.tool;
  const text = content
    .map((piece) => (piece.type === "text" ? piece.text : `[${piece.name ?? piece.mediaType}, ${piece.bytes} bytes]`))
    .join("\n");
  return structured === undefined ? { type: "result", text } : { type: "result", text, data: structured };
}

/** What a person reads. Data is for programs (`--json` has it); it is shown when there is nothing else to read. */
function partsText(parts: Part[]): string {
  const words = parts.flatMap((part) => {
    if ("text" in part) return [part.text];
    return "blob" in part ? [`[${part.blob.name ?? part.blob.mediaType}, ${part.blob.bytes} bytes]\n`] : [];
  });
  if (words.length > 0) return words.join("");
  return parts.map((part) => ("data" in part ? `${JSON.stringify(part.data, null, 2)}\n` : "")).join("");
}

/** `kin wait`: the answer of a queued call, now or when it comes. */
export async function wait(node: MeshNode, params: Params<"wait">, send: Send, signal: AbortSignal): Promise<Outcome> {
  const mesh = needMesh(node);
  const id = parseCallId(params.id);
  const late = new AbortController();
  const ended = AbortSignal.any([signal, late.signal]);
  const answering = mesh.outbox.answer(id, ended);
  const cancelLate = params.timeoutMs === null ? () => {} : node.time.after(params.timeoutMs, () => late.abort());
  const answer = await answering.finally(cancelLate);
  if (answer === null && !ended.aborted) throw new KinError("CLOSED", "the node stops");
  if (answer === null) return { outcome: "queued", id: params.id, why: mesh.outbox.look(id)?.why ?? "no answer yet" };
  for (const event of answer) {
    const end = show(event.type === "failure" ? withWayOn(event, params.id) : event, send);
    if (end !== null) return end;
  }
  return failed({ code: "OUTCOME_UNKNOWN", message: "the answer says no result" }, send);
}

/** Failures of a queued call after which it may be asked again, as a new one. */
const MAY_ASK_AGAIN: ReadonlySet<string> = new Set([
  "EXPIRED",
  "OUTCOME_UNKNOWN",
  "NOT_FOUND",
  "CANCELLED",
  "CLOSED",
  "UNREACHABLE",
]);

function withWayOn(event: CallEvent & { type: "failure" }, id: string): CallEvent {
  if (!MAY_ASK_AGAIN.has(event.error.code) || event.error.hint !== undefined) return event;
  return { ...event, error: { ...event.error, hint: `kin outbox retry ${id} --again asks it as a new call` } };
}

/** @throws KinError USAGE */
export function parseCallId(text: string): EnvelopeId {
  const parsed = parseText("kini", text);
  if (!parsed.ok) throw new KinError("USAGE", parsed.message, { hint: "kin outbox ls shows the ids of what waits" });
  return idOf(parsed.body);
}

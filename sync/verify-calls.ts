/**
 * What opened events of an export say of durable calls (docs/protocol.md §26): who asked whom for what, and who answered. The
 * envelopes inside are sealed by themselves, so each of these is proved by the caller's or the callee's own key.
 */
import type { AgentKeys } from "../protocols/agent-key.ts";
import type { Value } from "../protocols/bytes.ts";
import { openEnvelope, type Envelope, type OpenedEnvelope, type Sender } from "../protocols/envelope.ts";
import { KinError, type ErrorShape } from "../protocols/errors.ts";
import { idOf, type DeviceId, type EnvelopeId, type EventId, type MeshId, type PersonId } from "../protocols/ids.ts";
import { parseEvent, parseRefused } from "../protocols/invoke-bodies.ts";
import type { CallOutcome, CallRequest } from "../protocols/invoke.ts";
import { asMap, parseSealed } from "../protocols/signature.ts";
import { checkAuthor, durableRequest, MAX_ANSWER_ENVELOPES } from "./asks.ts";

/** An opened event about a call, and who wrote it. */
export interface CallWord {
  event: EventId;
  kind: string;
  device: DeviceId;
  person: PersonId | null;
  value: Value;
}

/** How a call ended, as its callee sealed it. */
export interface ProvenAnswer {
  event: EventId;
  from: Sender;
  /** Wall ms, by his clock. */
  at: number;
  accepted: boolean;
  end: { type: "result"; outcome: CallOutcome } | { type: "failure" | "refused"; error: ErrorShape } | null;
}

export interface ProvenCall {
  id: EnvelopeId;
  /** null: the request is not shown in the file, so what answers it says only which one it means. */
  asked: {
    event: EventId;
    from: Sender;
    to: { person: PersonId; device: DeviceId; name: string | null };
    at: number;
    request: CallRequest;
  } | null;
  answers: ProvenAnswer[];
  declined: { event: EventId; device: DeviceId; error: ErrorShape }[];
  withdrawn: EventId[];
}

/** @throws KinError BAD_REQUEST, BAD_SIGNATURE, WRONG_MESH that names the event */
export function verifyCalls(
  words: readonly CallWord[],
  mesh: MeshId,
  keys: Pick<AgentKeys, "couldSpeakFor">,
): ProvenCall[] {
  const calls = new Map<EnvelopeId, ProvenCall>();
  const open = (value: unknown): OpenedEnvelope => {
    const opened = openEnvelope(parseSealed(value), (key, from) => keys.couldSpeakFor(key, from));
    if (opened.envelope.mesh !== mesh) throw new KinError("WRONG_MESH", "an envelope of another mesh");
    return opened;
  };
  const callOf = (id: EnvelopeId): ProvenCall => {
    const known = calls.get(id) ?? { id, asked: null, answers: [], declined: [], withdrawn: [] };
    calls.set(id, known);
    return known;
  };
  const next = new Map<EventId, DeviceId>();

  /** Requests first: what is said of them is judged by them. */
  for (const word of words) if (word.kind === "invocation-asked") naming(word, () => readAsked(word));
  for (const word of words) if (word.kind === "invocation-declined") naming(word, () => readDeclined(word));
  for (const word of words) if (word.kind === "invocation-answered") naming(word, () => readAnswered(word));
  for (const word of words) if (word.kind === "invocation-withdrawn") naming(word, () => readWithdrawn(word));
  return [...calls.values()];

  function readAsked(word: CallWord): void {
    const { q, ...said } = only(word, ["q", "device", "exp", "only"]);
    const opened = open(q);
    const request = durableRequest(opened);
    checkAuthor(opened, word, said);
    const { id, envelope } = opened;
    const { from, to } = envelope;
    const call = callOf(id);
    call.asked ??= {
      event: word.event,
      from,
      to: { person: to.person, device: to.device!, name: to.agent },
      at: envelope.iat,
      request,
    };
  }

  function readDeclined(word: CallWord): void {
    const { re, code, message, next: to } = only(word, ["re", "code", "message", "next"]);
    const call = callOf(idOf(re));
    call.declined.push({ event: word.event, device: word.device, error: parseRefused({ code, message }) });
    if (to !== undefined) next.set(word.event, idOf(to));
  }

  /** The device that was asked, and those that it, or one of them, named in its place. */
  function mayAnswer({ asked, declined }: ProvenCall, device: DeviceId): boolean {
    const named = new Set([asked!.to.device]);
    for (const found of named)
      for (const one of declined) if (one.device === found && next.has(one.event)) named.add(next.get(one.event)!);
    return named.has(device);
  }

  function readAnswered(word: CallWord): void {
    const { re, ev } = only(word, ["re", "ev"]);
    const call = callOf(idOf(re));
    if (!Array.isArray(ev) || ev.length === 0 || ev.length > MAX_ANSWER_ENVELOPES)
      throw bad(`it holds 1 to ${MAX_ANSWER_ENVELOPES} envelopes`);
    const envelopes = ev.map((value) => open(value).envelope);
    for (const envelope of envelopes) checkAnswer(call, word, envelope);
    const { from, iat } = envelopes.at(-1)!;
    const answer: ProvenAnswer = { event: word.event, from, at: iat, accepted: false, end: null };
    for (const envelope of envelopes) readAnswer(answer, envelope);
    call.answers.push(answer);
  }

  function checkAnswer(call: ProvenCall, word: CallWord, { from, to, re }: Envelope): void {
    if (re !== call.id) throw bad(`it answers the request ${call.id} with an envelope for ${re ?? "none"}`);
    if (from.device !== word.device || from.person !== word.person)
      throw bad("it holds an answer of somebody else than its author");
    const { asked } = call;
    if (asked === null) return;
    if (!mayAnswer(call, word.device)) throw bad("it answers a request that another device was asked");
    if (to.person !== asked.from.person || to.device !== asked.from.device || to.agent !== asked.from.agent)
      throw bad("it holds an answer to somebody else than who asked");
    if (from.agent !== null && from.agent !== asked.to.name)
      throw bad(`it holds an answer of ${from.agent}, not of ${asked.to.name} who was asked`);
  }

  function readWithdrawn(word: CallWord): void {
    const call = callOf(idOf(only(word, ["re"])["re"]));
    if (call.asked !== null && call.asked.from.device !== word.device)
      throw bad("it takes back what another device asked");
    call.withdrawn.push(word.event);
  }
}

function readAnswer(answer: ProvenAnswer, { kind, body }: Envelope): void {
  switch (kind) {
    case "invoke/accepted":
      parseEvent("accepted", body);
      answer.accepted = true;
      return;
    case "invoke/refused":
      answer.end = { type: "refused", error: parseRefused(body) };
      return;
    case "invoke/result":
    case "invoke/failure": {
      const event = parseEvent(kind === "invoke/result" ? "result" : "failure", body);
      if (event.type === "result") answer.end = { type: "result", outcome: event.outcome };
      if (event.type === "failure") answer.end = { type: "failure", error: event.error };
      return;
    }
    default:
      throw bad(`it holds an envelope of kind ${kind}`);
  }
}

function only(word: CallWord, fields: readonly string[]): Record<string, unknown> {
  const map = asMap(word.value, `an ${word.kind} event`);
  const stranger = Object.keys(map).find((key) => !fields.includes(key));
  if (stranger !== undefined) throw bad(`it has no field "${stranger}"`);
  return map;
}

/** Whatever is wrong with an event, the sentence says which. */
function naming(word: CallWord, check: () => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof KinError)) throw error;
    throw new KinError(error.code, `the ${word.kind} event ${word.event}: ${error.message}`, { cause: error });
  }
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}

/**
 * Calls to somebody who is not there (§7, R8). They travel as events, sealed to the devices that they concern:
 *
 *   caller's device                                        the one executing device
 *   invocation-asked     { q: sealed request, device, exp }  →
 *   invocation-withdrawn { re }                              →   not run, unless it has started
 *                        ←  invocation-answered { re, ev: [sealed accepted, sealed result or failure] }
 *                        ←  invocation-declined { re, code, message }      another device may be asked now
 *
 *   asked ──▶ started (a row, durable before it runs) ──▶ answered
 *     │            └── restart ──▶ the ledger's outcome, else answered OUTCOME_UNKNOWN: never run again
 *     ├──▶ expired: answered EXPIRED, never run
 *     └──▶ stamped before an incarnation's birth + 5 min, and it is not the first: answered OUTCOME_UNKNOWN, never run
 *
 * Running is the node's job: it is one function here, the same that live calls go through.
 */
import { utf8Bytes, utf8Text, type Value } from "../protocols/bytes.ts";
import type { Time } from "../protocols/effects.ts";
import { openEnvelope, type OpenedEnvelope } from "../protocols/envelope.ts";
import { errorShape, KinError, type ErrorShape } from "../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EnvelopeId, type PersonId } from "../protocols/ids.ts";
import { eventBody, parseEvent, parseRefused, parseRequest, refusedBody } from "../protocols/invoke-bodies.ts";
import { sealEnvelope, type InvokeDeps } from "../protocols/invoke-deps.ts";
import type { CallEvent, CallRequest, HandleInvocation, IncomingCall, RecallOutcome } from "../protocols/invoke.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import { asMap, parseSealed, sealedValue, type Sealed } from "../protocols/signature.ts";
import { openProjection } from "./projection.ts";
import type { ReadableEvent, Replica } from "./replica.ts";

/** Longest life of a durable request: a month on a boat. */
export const MAX_DURABLE_LIFE_MS = 31 * 24 * 3_600_000;
/** Asks that wait at once, ours and theirs each. */
export const MAX_WAITING_ASKS = 4096;
/** Asks of one person that this device keeps for running. */
export const MAX_ASKS_PER_PERSON = 1024;
/** Asks that run at once; the others wait in order of arrival. */
const MAX_RUNNING = 4;
/** Of one person: whoever asks for long things leaves room for others. */
const MAX_RUNNING_PER_PERSON = 2;
/** Answers and withdrawals of one device that came before their ask; the oldest make room. */
const MAX_EARLY_PER_DEVICE = 256;
/** Sealed envelopes in one answer: accepted and the end. */
const MAX_ANSWER_ENVELOPES = 4;
/** Asks that are remembered for `answer` and `why`, ours and theirs each; those that have ended make room first. */
const MAX_REMEMBERED = 8192;
/** How often expired asks are looked for. */
const EXPIRY_LOOK_MS = 60_000;

export interface OutboxDeps {
  replica: Replica;
  /** Checks and seals envelopes. */
  invoke: InvokeDeps;
  time: Time;
  /** How a started call ended, if the ledger knows it. */
  recall?: RecallOutcome | undefined;
  /** Could this key ever speak for the sender (F3)? What was said stays said when a key has ended. @default `invoke.keyMaySpeakFor` */
  keyCouldSpeakFor?: InvokeDeps["keyMaySpeakFor"] | undefined;
  /** Told each agent-key record before what comes after it in the log: an answer may be its key's first word. */
  learnKey?: ((device: DeviceId, sealed: Sealed) => void) | undefined;
  /** Is this device connected? An ask waits until what is attached to it can be fetched from there (F6). @default always */
  isThere?: ((device: DeviceId) => boolean) | undefined;
  /** Told what could not be run or answered; it is tried again at the next start. */
  warn(sentence: string, error: unknown): void;
}

export interface OutboxLimits {
  /** @default MAX_REMEMBERED */
  remembered?: number;
}

/** A call that waits for its answer. */
export interface WaitingAsk {
  id: EnvelopeId;
  to: { person: PersonId; device: DeviceId; name: string };
  /** Wall ms. */
  askedAt: number;
  expiresAt: number;
  why: string;
  /** SHA-256, hex, of what is attached: kept here until the answer has come (F6). */
  attached: string[];
}

/** A call that this device was asked to run. */
export interface PendingAsk {
  id: EnvelopeId;
  from: { person: PersonId; device: DeviceId; agent: string | null };
  askedAt: number;
  expiresAt: number;
  state: "waiting" | "started";
}

export interface Outbox {
  /** Durable when it resolves. The request names its executing device. `why` it waits, in words. @throws KinError BAD_REQUEST, NOT_A_MEMBER … */
  ask(request: Sealed, why: string): Promise<EnvelopeId>;
  /** Our person's asks without an answer, oldest first. */
  waiting(): WaitingAsk[];
  /** Why an ask has no answer yet; undefined if it has, or if it is unknown. */
  why(id: EnvelopeId): string | undefined;
  /** Takes an ask back: it is not run unless it has started. @throws KinError NOT_FOUND */
  drop(id: EnvelopeId): Promise<void>;
  /** Waits for the answer; null if `signal` fires first. @throws KinError NOT_FOUND */
  answer(id: EnvelopeId, signal: AbortSignal): Promise<CallEvent[] | null>;
  /** What this device is asked and has not answered. */
  pending(): PendingAsk[];
  /** From now on asks are run by `handle`, each at most once. Called once. */
  onAsked(handle: HandleInvocation): void;
  /** Looks again for what can be run, e.g. because a device is there now. */
  lookAgain(): void;
  /** Answers that it won't run it here: then the caller may ask another device. @throws KinError NOT_FOUND */
  decline(id: EnvelopeId, error: ErrorShape): Promise<void>;
  /** Stops running (what runs is aborted and stays "started"). */
  close(): Promise<void>;
}

interface Ask {
  id: EnvelopeId;
  opened: OpenedEnvelope;
  request: CallRequest;
  askedAt: number;
  /** Wall ms: the envelope's `exp`. */
  expiresAt: number;
  answer: CallEvent[] | null;
  isWithdrawn: boolean;
}

export async function createOutbox(
  deps: OutboxDeps,
  { remembered = MAX_REMEMBERED }: OutboxLimits = {},
): Promise<Outbox> {
  const { replica, invoke, time, recall } = deps;
  const me = replica.device;
  /** Asks of our person, in order of arrival. */
  const asked = new Map<EnvelopeId, Ask>();
  /** Asks to this device. */
  const toMe = new Map<EnvelopeId, Ask>();
  /** Those of `toMe` that are neither answered nor taken back in time. */
  const open = new Set<Ask>();
  /** What is said of asks that we do not know (yet): the log that carries the ask may come later. */
  const early = new Map<DeviceId, ReadableEvent[]>();
  const couldSpeakFor: InvokeDeps["keyMaySpeakFor"] =
    deps.keyCouldSpeakFor ?? ((key, from) => invoke.keyMaySpeakFor(key, from));
  const reasons = new Map<EnvelopeId, string>();
  const started = new Set<EnvelopeId>();
  const running = new Map<EnvelopeId, { person: PersonId; work: Promise<void> }>();
  /** What could not be answered; the next look for expired ones tries again what has not started. */
  const stuck = new Set<EnvelopeId>();
  const listeners = new Set<() => void>();
  const stopping = new AbortController();
  let handle: HandleInvocation | null = null;
  /** Started in this process: a restart finds the others. */
  const startedHere = new Set<EnvelopeId>();

  for (const { key } of await replica.store.values("outbox/started/"))
    started.add(key.slice("outbox/started/".length) as EnvelopeId);
  for (const { key, value } of await replica.store.values("outbox/why/"))
    reasons.set(key.slice("outbox/why/".length) as EnvelopeId, utf8Text(value));

  const projection = await openProjection(replica, {
    kinds: new Set([
      "agent-key",
      "invocation-asked",
      "invocation-withdrawn",
      "invocation-answered",
      "invocation-declined",
    ]),
    fold,
    clear() {
      for (const all of [asked, toMe, open, early]) all.clear();
    },
    changed: noticeAll,
    failed: (error) => deps.warn("the calls in the log could not be read", error),
  });
  let cancelLook = time.after(EXPIRY_LOOK_MS, lookForExpired);

  // ── what the events say ──

  function fold(event: ReadableEvent): void {
    try {
      if (event.kind === "agent-key") deps.learnKey?.(event.device, parseSealed(event.value));
      else if (event.kind === "invocation-asked") foldAsked(event);
      else foldReply(event);
    } catch (error) {
      if (!(error instanceof KinError)) throw error;
      deps.warn(`an event "${event.kind}" of device ${event.device.slice(0, 8)} is not what it should be`, error);
    }
  }

  function foldAsked(event: ReadableEvent): void {
    const { q, device } = asMap(event.value, "an invocation-asked event");
    const ask = openAsk(parseSealed(q), event.at);
    const { from, to } = ask.opened.envelope;
    if (from.device !== event.device || from.person !== event.person || to.device !== idOf(device))
      throw new KinError("DENIED", "an ask names another caller or another executing device than its event");
    if (known(ask.id) !== undefined) return;
    if (from.person === invoke.self.person) remember(asked, ask);
    if (to.device === me && isRoomFor(from.person)) {
      remember(toMe, ask);
      open.add(ask);
    }
    for (const said of takeEarly(ask.id)) fold(said);
  }

  function known(id: EnvelopeId): Ask | undefined {
    return asked.get(id) ?? toMe.get(id);
  }

  /** What waits is not put out by what comes later; the refused is looked at again when the log is folded again. */
  function isRoomFor(person: PersonId): boolean {
    if (open.size >= remembered) return false;
    let count = 0;
    for (const { opened } of open) if (opened.envelope.from.person === person) count++;
    return count < MAX_ASKS_PER_PERSON;
  }

  /** The oldest that is done makes room, else the oldest. */
  function remember(map: Map<EnvelopeId, Ask>, ask: Ask): void {
    if (map.size >= remembered) map.delete((firstDone(map) ?? map.values().next().value!).id);
    map.set(ask.id, ask);
  }

  function firstDone(map: Map<EnvelopeId, Ask>): Ask | undefined {
    for (const ask of map.values())
      if (map === toMe ? !open.has(ask) : ask.answer !== null || ask.isWithdrawn) return ask;
    return undefined;
  }

  /** @throws KinError BAD_REQUEST, BAD_SIGNATURE, WRONG_MESH */
  function openAsk(sealed: Sealed, askedAt: number): Ask {
    const opened = openEnvelope(sealed, couldSpeakFor);
    const { envelope, id } = opened;
    if (envelope.mesh !== replica.mesh) throw new KinError("WRONG_MESH", "an ask is of another mesh");
    if (envelope.kind !== "invoke/request" || envelope.to.device === null)
      throw new KinError("BAD_REQUEST", "an ask is a request that names its executing device (R8)");
    if (envelope.exp <= envelope.iat || envelope.exp - envelope.iat > MAX_DURABLE_LIFE_MS)
      throw new KinError("BAD_REQUEST", `an ask lives for at most ${MAX_DURABLE_LIFE_MS / 86_400_000} days`);
    const request = parseRequest(envelope.body);
    return { id, opened, request, askedAt, expiresAt: envelope.exp, answer: null, isWithdrawn: false };
  }

  /** An answer, a refusal to run it or a withdrawal: each counts from one side only, and only for an ask that is known. */
  function foldReply(event: ReadableEvent): void {
    const map = asMap(event.value, `an ${event.kind} event`);
    const ask = known(idOf<"envelope">(map["re"]));
    if (ask === undefined) return keepEarly(event);
    if (event.kind === "invocation-withdrawn") foldWithdrawn(ask, event);
    else foldAnswer(ask, event, map);
  }

  /** By the person who asked, from any device of his. */
  function foldWithdrawn(ask: Ask, { person }: ReadableEvent): void {
    if (person !== ask.opened.envelope.from.person) return;
    ask.isWithdrawn = true;
    if (!started.has(ask.id)) open.delete(ask); // one that has started is answered all the same
  }

  /** An answer counts only from the device that was asked (R8). Our own ends the ask whatever it says: it is never run again. */
  function foldAnswer(ask: Ask, event: ReadableEvent, map: Record<string, unknown>): void {
    if (ask.answer !== null || ask.opened.envelope.to.device !== event.device) return;
    open.delete(ask);
    ask.answer = event.kind === "invocation-declined" ? declined(map) : answered(map["ev"], ask.id, event);
  }

  function keepEarly(event: ReadableEvent): void {
    const theirs = early.get(event.device) ?? [];
    if (theirs.length >= MAX_EARLY_PER_DEVICE) theirs.shift();
    early.set(event.device, [...theirs, event]);
  }

  function takeEarly(id: EnvelopeId): ReadableEvent[] {
    const taken: ReadableEvent[] = [];
    for (const [device, theirs] of early) {
      const about = theirs.filter(({ value }) => idOf((value as { re: unknown }).re) === id);
      if (about.length === 0) continue;
      taken.push(...about);
      early.set(
        device,
        theirs.filter((event) => !about.includes(event)),
      );
    }
    return taken;
  }

  function declined({ code, message }: Record<string, unknown>): CallEvent[] {
    const error = parseRefused({ code: code as string, message: message as string });
    return [{ type: "failure", index: 0, error }];
  }

  /** The sealed envelopes of an answer, each checked by itself. */
  function answered(value: unknown, re: EnvelopeId, { device, person }: ReadableEvent): CallEvent[] {
    if (!Array.isArray(value) || value.length === 0 || value.length > MAX_ANSWER_ENVELOPES)
      throw new KinError("BAD_REQUEST", `an answer holds 1 to ${MAX_ANSWER_ENVELOPES} envelopes`);
    return value.map((item) => {
      const { envelope } = openEnvelope(parseSealed(item), couldSpeakFor);
      if (envelope.re !== re || envelope.from.device !== device || envelope.from.person !== person)
        throw new KinError("BAD_REQUEST", "an answer holds an envelope of another call or device");
      return callEvent(envelope.kind, envelope.body);
    });
  }

  function callEvent(kind: string, body: unknown): CallEvent {
    switch (kind) {
      case "invoke/refused":
        return { type: "failure", index: 0, error: parseRefused(body) };
      case "invoke/accepted":
      case "invoke/result":
      case "invoke/failure":
        return parseEvent(kind.slice("invoke/".length) as CallEvent["type"], body);
      default:
        throw new KinError("BAD_REQUEST", `an answer holds an envelope of kind ${kind}`);
    }
  }

  // ── the caller's side ──

  async function ask(sealed: Sealed, why: string): Promise<EnvelopeId> {
    const { id, opened, expiresAt } = openAsk(sealed, time.now());
    const { from, to } = opened.envelope;
    if (from.device !== me) throw new KinError("BAD_REQUEST", "an ask is signed by the device that writes it");
    if (waiting().length >= MAX_WAITING_ASKS)
      throw new KinError("OVERLOADED", `${MAX_WAITING_ASKS} calls wait for an answer: drop some`);
    const value = { q: sealedValue(sealed) as Value, device: idBytes(to.device!), exp: expiresAt };
    const row = { key: `outbox/why/${id}`, value: utf8Bytes(why) };
    reasons.set(id, why);
    await replica.append(
      [{ kind: "invocation-asked", audience: "direct", value, to: devicesOf(from.person, to.device!) }],
      {
        values: [row],
      },
    );
    await projection.settled();
    return id;
  }

  /** The named device if it lives, and all of the person's. */
  function devicesOf(person: PersonId, other?: DeviceId): DeviceId[] {
    const devices =
      replica
        .membership()
        .members.get(person)
        ?.devices.map(({ id }) => id) ?? [];
    return [...new Set(other === undefined ? devices : [...devices, other])];
  }

  function waiting(): WaitingAsk[] {
    return [...asked.values()]
      .filter(({ answer, isWithdrawn }) => answer === null && !isWithdrawn)
      .map(({ id, opened, request, askedAt, expiresAt }) => {
        const { to } = opened.envelope;
        const name = to.agent ?? ("agent" in request.target ? request.target.agent : request.target.tool);
        const attached = request.parts.flatMap((part) => ("blob" in part ? [part.blob.hash] : []));
        return { id, to: { person: to.person, device: to.device!, name }, askedAt, expiresAt, why: why(id)!, attached };
      });
  }

  function why(id: EnvelopeId): string | undefined {
    const found = asked.get(id);
    if (found === undefined || found.answer !== null) return undefined;
    if (found.isWithdrawn) return "it was taken back";
    if (found.expiresAt <= time.now()) return `it expired without an answer`;
    return reasons.get(id) ?? "waiting for the other device";
  }

  async function drop(id: EnvelopeId): Promise<void> {
    const found = asked.get(id);
    if (found === undefined || found.answer !== null || found.isWithdrawn)
      throw new KinError("NOT_FOUND", "no such call waits in the outbox");
    const { from, to } = found.opened.envelope;
    const living = replica.membership().devices.has(to.device!) ? to.device! : undefined;
    await replica.append(
      [
        {
          kind: "invocation-withdrawn",
          audience: "direct",
          value: { re: idBytes(id) },
          to: devicesOf(from.person, living),
        },
      ],
      { values: [{ key: `outbox/why/${id}`, value: null }] },
    );
    reasons.delete(id);
    await projection.settled();
  }

  function answer(id: EnvelopeId, signal: AbortSignal): Promise<CallEvent[] | null> {
    if (!asked.has(id)) throw new KinError("NOT_FOUND", "no such call was asked from here");
    return new Promise((resolve) => {
      function look(): void {
        const end = ended(id) ?? (signal.aborted || stopping.signal.aborted ? null : undefined);
        if (end === undefined) return;
        listeners.delete(look);
        signal.removeEventListener("abort", look);
        resolve(end);
      }
      listeners.add(look);
      signal.addEventListener("abort", look);
      look();
    });
  }

  /** The answer, or what stands for it: expired, taken back. */
  function ended(id: EnvelopeId): CallEvent[] | undefined {
    const found = asked.get(id);
    if (found === undefined) return undefined;
    if (found.answer !== null) return found.answer;
    if (found.isWithdrawn) return [failure("CANCELLED", "the call was taken back")];
    if (found.expiresAt > time.now()) return undefined;
    return [failure("EXPIRED", "the call expired without an answer")];
  }

  // ── the executing side ──

  function pending(): PendingAsk[] {
    return [...open].map(({ id, opened, askedAt, expiresAt }) => {
      const state = started.has(id) ? "started" : "waiting";
      return { id, from: opened.envelope.from, askedAt, expiresAt, state };
    });
  }

  function onAsked(by: HandleInvocation): void {
    handle = by;
    noticeAll();
  }

  function noticeAll(): void {
    for (const look of listeners) look();
    if (handle === null) return;
    while (running.size < MAX_RUNNING && !stopping.signal.aborted) {
      const next = nextToSettle();
      if (next === undefined) return;
      begin(next);
    }
  }

  /** The oldest of whoever has fewest running. What can't be settled now is in nobody's way. */
  function nextToSettle(): Ask | undefined {
    let best: { ask: Ask; running: number } | undefined;
    for (const ask of open) {
      if (running.has(ask.id) || !canSettle(ask)) continue;
      const { person } = ask.opened.envelope.from;
      const theirs = [...running.values()].filter((one) => one.person === person).length;
      if (theirs < MAX_RUNNING_PER_PERSON && (best === undefined || theirs < best.running))
        best = { ask, running: theirs };
    }
    return best?.ask;
  }

  function canSettle(ask: Ask): boolean {
    if (stuck.has(ask.id)) return false;
    if (started.has(ask.id)) return !startedHere.has(ask.id);
    const { from } = ask.opened.envelope;
    if (!invoke.isMember(from.person, from.device)) return false; // nobody to answer
    const needsCaller = ask.request.parts.some((part) => "blob" in part) && from.device !== me;
    return whyNotRun(ask) !== null || !needsCaller || deps.isThere?.(from.device) !== false;
  }

  function begin(ask: Ask): void {
    const work = settle(ask.id)
      .catch((error: unknown) => deps.warn(`the call ${ask.id.slice(0, 8)} could not be answered`, error))
      .finally(() => {
        running.delete(ask.id);
        // What failed waits: trying at once again would spin.
        if (isOpen(ask.id)) stuck.add(ask.id);
        noticeAll();
      });
    running.set(ask.id, { person: ask.opened.envelope.from.person, work });
  }

  function isOpen(id: EnvelopeId): boolean {
    const ask = toMe.get(id);
    return ask !== undefined && open.has(ask);
  }

  /** Answers one ask, by running it if that is still right. */
  async function settle(id: EnvelopeId): Promise<void> {
    // While events are folded again from the start, what was answered looks as if it were not.
    await projection.settled();
    const one = toMe.get(id);
    if (one === undefined || !open.has(one) || !canSettle(one)) return;
    const refusal = whyNotRun(one);
    if (refusal !== null) return reply(one, [refusal]);
    if (started.has(id)) return reply(one, [await recalled(one)]);
    started.add(id);
    startedHere.add(id);
    try {
      await replica.append([], { values: [{ key: `outbox/started/${id}`, value: new Uint8Array() }] });
    } catch (error) {
      started.delete(id);
      startedHere.delete(id);
      throw error;
    }
    const events = await run(one);
    if (events !== null) await reply(one, events);
  }

  function whyNotRun({ id, opened, askedAt, expiresAt }: Ask): CallEvent | null {
    if (started.has(id)) return null;
    if (!invoke.keyMaySpeakFor(opened.sealed.seal.key, opened.envelope.from))
      return failure("BAD_SIGNATURE", "the key that signed the call has ended meanwhile");
    if (expiresAt <= time.now()) return failure("EXPIRED", "the call expired before this device could run it");
    const { first, bornAt } = replica.incarnation();
    if (!first && askedAt < bornAt + SKEW_LIMIT_MS)
      return failure("OUTCOME_UNKNOWN", "this device was restored since: it may have run the call before (R8)");
    return null;
  }

  /** What was started before a restart ended as the ledger says, or nobody knows how. */
  async function recalled({ id, opened }: Ask): Promise<CallEvent> {
    const found = await recall?.(id, opened.sealed.seal.key);
    if (found === undefined)
      return failure(
        "OUTCOME_UNKNOWN",
        "the call was started, then this device was stopped: nobody knows how it ended",
      );
    return "outcome" in found
      ? { type: "result", index: 1, outcome: found.outcome }
      : { type: "failure", index: 1, error: found.error };
  }

  /** The first and the last event of a run; null if we were stopped meanwhile. */
  async function run(one: Ask): Promise<CallEvent[] | null> {
    const kept: CallEvent[] = [];
    try {
      for await (const event of handle!(incoming(one), stopping.signal))
        if (event.type !== "progress") kept.push(event);
    } catch (error) {
      if (stopping.signal.aborted) return null;
      kept.push({ type: "failure", index: kept.length, error: errorShape(error) });
    }
    if (stopping.signal.aborted && kept.at(-1)?.type !== "result") return null;
    return kept.length === 0 ? [failure("INTERNAL", "the call ended without a result")] : kept;
  }

  function incoming({ id, opened, request, expiresAt }: Ask): IncomingCall {
    const { envelope, sealed } = opened;
    return {
      mesh: replica.mesh,
      id,
      from: envelope.from,
      request,
      trace: envelope.trace,
      sealed,
      way: "durable",
      deadlineAt: Math.min(expiresAt, time.now() + request.deadlineMs),
      expiresAt,
    };
  }

  /** Seals the events and appends them: to all current devices of the caller's person, and our own. */
  async function reply(one: Ask, events: CallEvent[]): Promise<void> {
    const { from } = one.opened.envelope;
    const sealed = await Promise.all(events.map((event) => sealEvent(one, event)));
    const value = { re: idBytes(one.id), ev: sealed.map((item) => sealedValue(item) as Value) };
    await answerWith("invocation-answered", one, value, devicesOf(from.person));
  }

  async function answerWith(kind: string, one: Ask, value: Value, to: DeviceId[]): Promise<void> {
    const row = { key: `outbox/started/${one.id}`, value: null };
    await replica.append([{ kind, audience: "direct", value, to: [...new Set([...to, me])] }], { values: [row] });
    await projection.settled();
    if (isOpen(one.id)) return;
    started.delete(one.id);
    startedHere.delete(one.id);
  }

  function sealEvent(one: Ask, event: CallEvent): Promise<Sealed> {
    const { target } = one.request;
    const isRefused = event.type === "failure" && event.index === 0;
    const voice = !isRefused && "agent" in target && invoke.sealAs(target.agent) !== undefined ? target.agent : null;
    const body = isRefused ? refusedBody(event.error) : eventBody(event);
    const kind = isRefused ? "invoke/refused" : (`invoke/${event.type}` as const);
    const life = MAX_DURABLE_LIFE_MS;
    return sealEnvelope(invoke, voice, { to: one.opened.envelope.from, kind, re: one.id, body }, life).sealed;
  }

  async function decline(id: EnvelopeId, error: ErrorShape): Promise<void> {
    const one = toMe.get(id);
    if (one === undefined || !open.has(one) || started.has(id))
      throw new KinError("NOT_FOUND", "no such ask waits to be run here");
    const value = { re: idBytes(id), code: error.code, message: error.message };
    await answerWith("invocation-declined", one, value, devicesOf(one.opened.envelope.from.person));
  }

  function lookForExpired(): void {
    for (const id of stuck) if (!startedHere.has(id)) stuck.delete(id);
    noticeAll();
    cancelLook = time.after(EXPIRY_LOOK_MS, lookForExpired);
  }

  async function close(): Promise<void> {
    stopping.abort();
    cancelLook();
    for (const look of listeners) look();
    await Promise.allSettled([...running.values()].map(({ work }) => work));
    await projection.close();
  }

  return { ask, waiting, why, drop, answer, pending, onAsked, lookAgain: noticeAll, decline, close };
}

function failure(code: string, message: string): CallEvent & { type: "failure" } {
  return { type: "failure", index: 0, error: { code, message } };
}

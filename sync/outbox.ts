/**
 * Calls to somebody who is not there (§7, R8). They travel as events, sealed to the devices that they concern:
 *
 *   caller's device                                        the one executing device
 *   invocation-asked     { q: sealed request, device, exp, only? }  →      `only`: it is not handed to another device
 *   invocation-withdrawn { re }                              →   not run; what runs is stopped
 *                        ←  invocation-answered { re, ev: [sealed accepted, sealed result or failure] }
 *                        ←  invocation-declined { re, code, message, next? }   `next`: that device runs it instead
 *
 *   asked ──▶ started (a row, durable before it runs) ──▶ answered
 *     │            └── restart ──▶ the ledger's outcome; OUTCOME_UNKNOWN if it had begun; else it has not, and runs now
 *     ├──▶ its caller is gone before what is attached was fetched: it waits for him, and has not started
 *     ├──▶ expired: answered EXPIRED, never run
 *     └──▶ stamped before an incarnation's birth + 5 min, and it is not the first: answered OUTCOME_UNKNOWN, never run
 *
 * Running is the node's job: it is one function here, the same that live calls go through. What the events say: `asks.ts`.
 */
import { utf8Bytes, utf8Text, type Value } from "../protocols/bytes.ts";
import type { Time } from "../protocols/effects.ts";
import { errorShape, KinError, type ErrorShape } from "../protocols/errors.ts";
import { recipientsOf } from "../protocols/event-body.ts";
import { idBytes, type DeviceId, type EnvelopeId, type LogId, type PersonId } from "../protocols/ids.ts";
import { eventBody, refusedBody } from "../protocols/invoke-bodies.ts";
import { sealEnvelope, type InvokeDeps } from "../protocols/invoke-deps.ts";
import type { CallEvent, CallRequest, HandleInvocation, IncomingCall, RecordedOutcome } from "../protocols/invoke.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import { parseSealed, sealedValue, type Sealed } from "../protocols/signature.ts";
import { ASK_KINDS, courseOf, createAsks, MAX_DURABLE_LIFE_MS, type Ask } from "./asks.ts";
import { openProjection } from "./projection.ts";
import type { ReadableEvent, Replica } from "./replica.ts";

/** Asks that wait at once, ours and theirs each. */
export const MAX_WAITING_ASKS = 4096;
/** Asks that run at once; the others wait in order of arrival. */
const MAX_RUNNING = 4;
/** Of one person: whoever asks for long things leaves room for others. */
const MAX_RUNNING_PER_PERSON = 2;
/** Asks that are remembered for `answer` and `look`, ours and theirs each; those that have ended make room first. */
const MAX_REMEMBERED = 8192;
/** Calls with an unknown outcome that the user of this device is told of; the newest. */
const MAX_DOUBTS = 100;
/** How often expired asks are looked for. */
const EXPIRY_LOOK_MS = 60_000;
const ELSEWHERE: ErrorShape = { code: "NOT_FOUND", message: "it is not offered here: another device runs it" };
const REMOVED: ErrorShape = {
  code: "REMOVED",
  message: "this device was removed from the mesh before an answer came: none can reach it any more",
};
const JOINED_LATER: ErrorShape = {
  code: "NOT_FOUND",
  message: "it is offered on another machine of theirs that joined after you asked: ask again",
};
const ONLY_ELSEWHERE: ErrorShape = {
  code: "NOT_FOUND",
  message: "it is not offered on this device any more, only on another one, and the call was for this one",
};
/** The caller's device has gone while something was fetched from it. */
const AWAY = new Set(["CLOSED", "UNREACHABLE", "OFFLINE"]);
const WHY = "outbox/why/";
const STARTED = "outbox/started/";

/** What the ledger says of a call's key: how it ended, that it began and nobody knows how it ended, or that it never began. */
export type LedgerWord = RecordedOutcome | "unknown" | "never-begun";

export interface OutboxDeps {
  replica: Replica;
  /** Checks and seals envelopes. */
  invoke: InvokeDeps;
  time: Time;
  /** Asked after a restart about what was started before it. @default unknown */
  recall?: ((person: PersonId, request: CallRequest) => Promise<LedgerWord>) | undefined;
  /** Could this key ever speak for the sender (F3)? What was said stays said when a key has ended. @default `invoke.keyMaySpeakFor` */
  keyCouldSpeakFor?: InvokeDeps["keyMaySpeakFor"] | undefined;
  /** Told each agent-key record before what comes after it in the log: an answer may be its key's first word. */
  learnKey?: ((device: DeviceId, sealed: Sealed) => void) | undefined;
  /** Is this device connected? An ask waits until what is attached to it can be fetched from there (F6). @default always */
  isThere?: ((device: DeviceId) => boolean) | undefined;
  /** Brings here what the call needs from its caller's device, before it starts. @default nothing */
  fetch?: ((call: IncomingCall, signal: AbortSignal) => Promise<void>) | undefined;
  /**
   * Has a peer told since our start how much it has of our log, and have we got it? Nothing is run or answered until then: if
   * this store is an old copy, the peer shows what was answered, and that our log goes on elsewhere (R2, R8). @default always
   */
  hasHeard?: (() => boolean) | undefined;
  /** Other living devices of our person that offer the target, where this one does not: the ask is handed to the first that can read it. @default none */
  elsewhere?: ((request: CallRequest, caller: PersonId) => DeviceId[]) | undefined;
  /** Told what could not be run or answered; it is tried again at the next start. */
  warn(sentence: string, error: unknown): void;
}

export interface OutboxLimits {
  /** @default MAX_REMEMBERED */
  remembered?: number;
  /** Asks of one person that are before this device at once. @default MAX_ASKS_PER_PERSON of `asks.ts` */
  perPerson?: number;
}

/** A call of our person that travels as an event. */
export interface AskState {
  id: EnvelopeId;
  /** `device`: the one that the request names. */
  to: { person: PersonId; device: DeviceId; name: string };
  request: CallRequest;
  /** The device that asked: it alone can take the ask back. */
  asker: DeviceId;
  /** That device and no other was meant. */
  only: boolean;
  /** Where the ask stands: whoever has so much of the log has it. */
  at: { log: LogId; seq: number };
  /** The device that is to run it, or that has ended it: the named one, or the one to which that has handed it. */
  executor: DeviceId;
  /** Wall ms. */
  askedAt: number;
  expiresAt: number;
  /** `gone`: its executing device was removed from the mesh before it answered, or this one was. */
  state: "waiting" | "answered" | "withdrawn" | "expired" | "gone";
  /** What `answer` gives; null while it waits. */
  events: CallEvent[] | null;
  /** Why it was queued, or what has become of it, in words. */
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
  /**
   * Durable when it resolves. The request names its executing device; with `only` that one hands it to no other of its person.
   * `why` it waits, in words. @throws KinError BAD_REQUEST, NOT_A_MEMBER …
   */
  ask(request: Sealed, why: string, options?: { only?: boolean }): Promise<EnvelopeId>;
  /** Our person's asks that were neither answered nor taken back, oldest first. */
  waiting(): AskState[];
  /** All of our person's that are remembered, oldest first. */
  all(): AskState[];
  look(id: EnvelopeId): AskState | undefined;
  /** Takes an ask back: it is not run, and what runs is stopped. @throws KinError NOT_FOUND, DENIED on another device than the one that asked */
  drop(id: EnvelopeId): Promise<void>;
  /** Waits for the answer; null if `signal` fires first, or if this node stops. @throws KinError NOT_FOUND */
  answer(id: EnvelopeId, signal: AbortSignal): Promise<CallEvent[] | null>;
  /** What this device is asked and has not answered. */
  pending(): PendingAsk[];
  /** Calls that it has answered OUTCOME_UNKNOWN since its start: its user may know whether they ran (R8). At most {@link MAX_DOUBTS}. */
  doubts(): PendingAsk[];
  /** From now on asks are run by `handle`, each at most once. Called once. */
  onAsked(handle: HandleInvocation): void;
  /** Looks again for what can be run, e.g. because a device is there now. */
  lookAgain(): void;
  /** Answers that it won't run it here; `next` runs it instead, else nobody does. @throws KinError NOT_FOUND */
  decline(id: EnvelopeId, error: ErrorShape, next?: DeviceId): Promise<void>;
  /** Stops running (what runs is aborted and stays "started"). */
  close(): Promise<void>;
}

/** An ask that is being answered. */
interface Running {
  person: PersonId;
  work: Promise<void>;
  stop: AbortController;
}

export async function createOutbox(
  deps: OutboxDeps,
  { remembered = MAX_REMEMBERED, perPerson }: OutboxLimits = {},
): Promise<Outbox> {
  const { replica, invoke, time, recall } = deps;
  const me = replica.device;
  const reasons = new Map<EnvelopeId, string>();
  const started = new Set<EnvelopeId>();
  /** Started in this process: a restart finds the others. */
  const startedHere = new Set<EnvelopeId>();
  /** How it ended, where the answer could not be written yet (a full disk): written at a later look. */
  const owed = new Map<EnvelopeId, CallEvent[]>();
  const running = new Map<EnvelopeId, Running>();
  const doubts: PendingAsk[] = [];
  /** What could not be answered; the next look for expired ones tries again what has not started. */
  const stuck = new Set<EnvelopeId>();
  /** Those whose caller was gone before all was fetched: tried again as soon as somebody is there. */
  const away = new Set<EnvelopeId>();
  const listeners = new Set<() => void>();
  const stopping = new AbortController();
  let handle: HandleInvocation | null = null;

  for (const { key } of await replica.store.values(STARTED)) started.add(key.slice(STARTED.length) as EnvelopeId);
  for (const { key, value } of await replica.store.values(WHY))
    reasons.set(key.slice(WHY.length) as EnvelopeId, utf8Text(value));

  const asks = createAsks({
    mesh: replica.mesh,
    self: invoke.self,
    couldSpeakFor: deps.keyCouldSpeakFor ?? ((key, from) => invoke.keyMaySpeakFor(key, from)),
    hasStarted: (id) => started.has(id),
    withdrawn: (id) => running.get(id)?.stop.abort(new KinError("CANCELLED", "the caller took the call back")),
    refused: (event, error) =>
      deps.warn(`an event "${event.kind}" of device ${event.device.slice(0, 8)} is not what it should be`, error),
    remembered,
    perPerson,
  });
  const projection = await openProjection(replica, {
    kinds: new Set(["agent-key", ...ASK_KINDS]),
    fold: (event) => (event.kind === "agent-key" ? learnKey(event) : asks.fold(event)),
    clear: asks.clear,
    changed: noticeAll,
    failed: (error) => deps.warn("the calls in the log could not be read", error),
  });
  await forgetReasons();
  let cancelLook = time.after(EXPIRY_LOOK_MS, lookForExpired);
  // Who was removed answers no more, and hears no more answers: nobody waits on for that.
  const stopListening = replica.on(({ type }) => {
    if (type === "membership") tellListeners();
  });

  function learnKey(event: ReadableEvent): void {
    try {
      deps.learnKey?.(event.device, parseSealed(event.value));
    } catch (error) {
      if (!(error instanceof KinError)) throw error;
      deps.warn(`an agent key of device ${event.device.slice(0, 8)} is not what it should be`, error);
    }
  }

  /** Of asks that have ended nobody asks why they wait. */
  async function forgetReasons(): Promise<void> {
    const waits = new Set(waiting().map(({ id }) => id));
    const done = [...reasons.keys()].filter((id) => !waits.has(id)).slice(0, MAX_WAITING_ASKS);
    if (done.length === 0) return;
    for (const id of done) reasons.delete(id);
    await replica.store.append({ values: done.map((id) => ({ key: `${WHY}${id}`, value: null })) });
  }

  // ── the caller's side ──

  async function ask(sealed: Sealed, why: string, { only = false } = {}): Promise<EnvelopeId> {
    const { id, opened, expiresAt } = asks.read(sealed, time.now());
    const { from, to } = opened.envelope;
    if (from.device !== me) throw new KinError("BAD_REQUEST", "an ask is signed by the device that writes it");
    if (replica.membership().devices.get(to.device!)?.member.person !== to.person)
      throw new KinError("NOT_A_MEMBER", `device ${to.device!.slice(0, 8)} is no living device of the person asked`);
    if (waiting().length >= MAX_WAITING_ASKS)
      throw new KinError("OVERLOADED", `${MAX_WAITING_ASKS} calls wait for an answer: drop some`);
    const named = { q: sealedValue(sealed) as Value, device: idBytes(to.device!), exp: expiresAt };
    const value = only ? { ...named, only } : named;
    reasons.set(id, why);
    await replica.append(
      [{ kind: "invocation-asked", audience: "direct", value, to: devicesOf(from.person, to.person) }],
      { values: [{ key: `${WHY}${id}`, value: utf8Bytes(why) }] },
    );
    await projection.settled();
    return id;
  }

  /** All current devices of these persons. */
  function devicesOf(...persons: PersonId[]): DeviceId[] {
    const { members } = replica.membership();
    return [...new Set(persons.flatMap((person) => members.get(person)?.devices.map(({ id }) => id) ?? []))];
  }

  function isRemoved(): boolean {
    return !replica.membership().devices.has(me);
  }

  function stateOf(ask: Ask): AskState {
    const { id, opened, request, askedAt, expiresAt, isWithdrawn, isOnly } = ask;
    const { from, to } = opened.envelope;
    const course = courseOf(ask);
    const name = to.agent ?? ("agent" in request.target ? request.target.agent : request.target.tool);
    const base = {
      id,
      to: { person: to.person, device: to.device!, name },
      request,
      asker: from.device,
      only: isOnly,
      at: ask.at!,
      executor: course.device,
      askedAt,
      expiresAt,
      attached: request.parts.flatMap((part) => ("blob" in part ? [part.blob.hash] : [])),
    };
    if (course.state === "ended")
      return { ...base, state: "answered", events: course.events, why: "it has been answered" };
    const end = (state: AskState["state"], error: ErrorShape): AskState => {
      return { ...base, state, events: [{ type: "failure", index: 0, error }], why: error.message };
    };
    if (isWithdrawn) return end("withdrawn", { code: "CANCELLED", message: "the call was taken back" });
    if (expiresAt <= time.now())
      return end("expired", { code: "EXPIRED", message: "the call expired without an answer" });
    if (isRemoved()) return end("gone", REMOVED);
    if (!replica.membership().devices.has(course.device))
      return end("gone", {
        code: "OUTCOME_UNKNOWN",
        message: "the device that was to run the call was removed from the mesh before it answered",
      });
    return { ...base, state: "waiting", events: null, why: reasons.get(id) ?? "waiting for the other device" };
  }

  function all(): AskState[] {
    return [...asks.asked.values()].map(stateOf);
  }

  /** Those that nobody has ended: what has expired or lost its device stays until it is answered or taken back. */
  function waiting(): AskState[] {
    return all().filter(({ state }) => state !== "answered" && state !== "withdrawn");
  }

  function look(id: EnvelopeId): AskState | undefined {
    const found = asks.asked.get(id);
    return found === undefined ? undefined : stateOf(found);
  }

  async function drop(id: EnvelopeId): Promise<void> {
    const found = look(id);
    if (found === undefined || found.state === "answered" || found.state === "withdrawn")
      throw new KinError("NOT_FOUND", "no such call waits in the outbox");
    if (found.asker !== me)
      throw new KinError("DENIED", "the call was asked from another device of yours: only that one can take it back");
    const to = devicesOf(invoke.self.person, found.to.person);
    await replica.append([{ kind: "invocation-withdrawn", audience: "direct", value: { re: idBytes(id) }, to }], {
      values: [{ key: `${WHY}${id}`, value: null }],
    });
    reasons.delete(id);
    await projection.settled();
  }

  function answer(id: EnvelopeId, signal: AbortSignal): Promise<CallEvent[] | null> {
    if (!asks.asked.has(id)) throw new KinError("NOT_FOUND", "no such call was asked from here");
    return new Promise((resolve) => {
      function lookNow(): void {
        // Who was removed loses what he has told nobody: then the ask is not there any more.
        const lost = isRemoved() ? [{ type: "failure" as const, index: 0, error: REMOVED }] : undefined;
        const end = look(id)?.events ?? lost ?? (signal.aborted || stopping.signal.aborted ? null : undefined);
        if (end === undefined) return;
        listeners.delete(lookNow);
        signal.removeEventListener("abort", lookNow);
        resolve(end);
      }
      listeners.add(lookNow);
      signal.addEventListener("abort", lookNow);
      lookNow();
    });
  }

  // ── the executing side ──

  function pending(): PendingAsk[] {
    return [...asks.open].map(pendingOf);
  }

  function pendingOf({ id, opened, askedAt, expiresAt }: Ask): PendingAsk {
    const state = started.has(id) ? "started" : "waiting";
    return { id, from: opened.envelope.from, askedAt, expiresAt, state };
  }

  function onAsked(by: HandleInvocation): void {
    handle = by;
    noticeAll();
  }

  function tellListeners(): void {
    for (const lookNow of listeners) lookNow();
  }

  function noticeAll(): void {
    tellListeners();
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
    for (const ask of asks.open) {
      if (running.has(ask.id) || !canSettle(ask)) continue;
      const { person } = ask.opened.envelope.from;
      const theirs = [...running.values()].filter((one) => one.person === person).length;
      if (theirs < MAX_RUNNING_PER_PERSON && (best === undefined || theirs < best.running))
        best = { ask, running: theirs };
    }
    return best?.ask;
  }

  function canSettle(ask: Ask): boolean {
    const { from } = ask.opened.envelope;
    if (stuck.has(ask.id) || devicesOf(from.person).length === 0) return false; // nobody to answer
    if (owed.has(ask.id)) return true;
    if (deps.hasHeard?.() === false) return false;
    if (started.has(ask.id)) return !startedHere.has(ask.id);
    if (whyNotRun(ask) !== null) return true;
    return !needsCaller(ask) || deps.isThere?.(from.device) !== false;
  }

  function needsCaller({ request, opened }: Ask): boolean {
    return request.parts.some((part) => "blob" in part) && opened.envelope.from.device !== me;
  }

  function begin(ask: Ask): void {
    const stop = new AbortController();
    const work = settle(ask.id, AbortSignal.any([stopping.signal, stop.signal]))
      .catch((error: unknown) => deps.warn(`the call ${ask.id.slice(0, 8)} could not be answered`, error))
      .finally(() => {
        running.delete(ask.id);
        // What failed waits: trying at once again would spin.
        if (isOpen(ask.id)) stuck.add(ask.id);
        noticeAll();
      });
    running.set(ask.id, { person: ask.opened.envelope.from.person, work, stop });
  }

  function isOpen(id: EnvelopeId): boolean {
    const ask = asks.toUs.get(id);
    return ask !== undefined && asks.open.has(ask);
  }

  /** Answers one ask, by running it if that is still right. */
  async function settle(id: EnvelopeId, signal: AbortSignal, isFetched = false): Promise<void> {
    // While events are folded again from the start, what was answered looks as if it were not.
    await projection.settled();
    const one = asks.toUs.get(id);
    if (one === undefined || !asks.open.has(one) || !canSettle(one)) return;
    const done = owed.get(id);
    if (done !== undefined) return reply(one, done);
    if (started.has(id)) {
      const known = await recalled(one);
      if (known !== null) return reply(one, known);
    }
    const refusal = whyNotRun(one);
    if (refusal !== null) return reply(one, [refusal]);
    const others = (deps.elsewhere?.(one.request, one.opened.envelope.from.person) ?? []).filter((next) => next !== me);
    if (others.length > 0) return handOn(one, others);
    // Meanwhile all may have changed.
    if (!isFetched && deps.fetch !== undefined && needsCaller(one))
      return (await fetched(one, signal)) ? settle(id, signal, true) : undefined;
    await start(id);
    // Writing may have shown that this store is an old copy (R2), or the caller may have taken the call back meanwhile.
    const late = whyNotRun(one);
    const events = late !== null ? [late] : await run(one, signal);
    if (events !== null) await reply(one, events);
  }

  /** Whoever joined after it was asked can't read it: it would wait there for ever. */
  async function handOn({ id, event, isOnly }: Ask, others: DeviceId[]): Promise<void> {
    if (isOnly) return decline(id, ONLY_ELSEWHERE);
    const [loose] = await replica.bodies([event!]);
    const readers = loose === undefined ? [] : recipientsOf(loose.body);
    const next = others.find((one) => readers.includes(one));
    return next === undefined ? decline(id, JOINED_LATER) : decline(id, ELSEWHERE, next);
  }

  /** False: it was answered, or it waits on and has not started. */
  async function fetched(one: Ask, signal: AbortSignal): Promise<boolean> {
    try {
      await deps.fetch?.(incoming(one), signal);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (error instanceof KinError && AWAY.has(error.code)) away.add(one.id);
      else await reply(one, [{ type: "failure", index: 0, error: errorShape(error) }]);
      return false;
    }
  }

  /** Durable before it runs (R8). */
  async function start(id: EnvelopeId): Promise<void> {
    started.add(id);
    startedHere.add(id);
    try {
      await replica.append([], { values: [{ key: `${STARTED}${id}`, value: new Uint8Array() }] });
    } catch (error) {
      started.delete(id);
      startedHere.delete(id);
      throw error;
    }
  }

  function whyNotRun(one: Ask): CallEvent | null {
    const { opened, expiresAt, isWithdrawn } = one;
    const { from } = opened.envelope;
    if (isWithdrawn) return failure("CANCELLED", "the caller took the call back before it ran");
    if (!invoke.isMember(from.person, from.device))
      return failure("NOT_A_MEMBER", "the device that asked was removed from the mesh meanwhile");
    if (!invoke.keyMaySpeakFor(opened.sealed.seal.key, from))
      return failure("BAD_SIGNATURE", "the key that signed the call has ended meanwhile");
    if (expiresAt <= time.now()) return failure("EXPIRED", "the call expired before this device could run it");
    const course = courseOf(one);
    const { first, bornAt } = replica.incarnation();
    if (!first && course.state === "waiting" && course.since < bornAt + SKEW_LIMIT_MS)
      return failure("OUTCOME_UNKNOWN", "this device was restored since: it may have run the call before (R8)");
    return null;
  }

  /** How what was started before a restart ended, as far as anybody knows; null: it never began, so nothing has happened. */
  async function recalled({ opened, request }: Ask): Promise<CallEvent[] | null> {
    const word = (await recall?.(opened.envelope.from.person, request)) ?? "unknown";
    if (word === "never-begun") return null;
    if (word === "unknown") {
      const why = "the call was started, then this device was stopped: nobody knows how it ended";
      return [failure("OUTCOME_UNKNOWN", why)];
    }
    const end: CallEvent =
      "outcome" in word
        ? { type: "result", index: 1, outcome: word.outcome }
        : { type: "failure", index: 1, error: word.error };
    return [{ type: "accepted", index: 0 }, end];
  }

  /** The first and the last event of a run; null if we were stopped meanwhile. */
  async function run(one: Ask, signal: AbortSignal): Promise<CallEvent[] | null> {
    const kept: CallEvent[] = [];
    try {
      for await (const event of handle!(incoming(one), signal)) if (event.type !== "progress") kept.push(event);
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
    owed.set(one.id, events);
    const sealed = await Promise.all(events.map((event) => sealEvent(one, event)));
    const value = { re: idBytes(one.id), ev: sealed.map((item) => sealedValue(item) as Value) };
    const isDoubtful = events.some((event) => event.type === "failure" && event.error.code === "OUTCOME_UNKNOWN");
    if (isDoubtful && !doubts.some(({ id }) => id === one.id)) doubts.push(pendingOf(one));
    if (doubts.length > MAX_DOUBTS) doubts.shift();
    await answerWith("invocation-answered", one, value, devicesOf(from.person));
    owed.delete(one.id);
  }

  async function answerWith(kind: string, one: Ask, value: Value, to: DeviceId[]): Promise<void> {
    const row = { key: `${STARTED}${one.id}`, value: null };
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

  async function decline(id: EnvelopeId, error: ErrorShape, next?: DeviceId): Promise<void> {
    const one = asks.toUs.get(id);
    if (one === undefined || !asks.open.has(one) || startedHere.has(id))
      throw new KinError("NOT_FOUND", "no such ask waits to be run here");
    const value = { re: idBytes(id), code: error.code, message: error.message };
    const { from } = one.opened.envelope;
    const to = devicesOf(from.person, invoke.self.person);
    await answerWith("invocation-declined", one, next === undefined ? value : { ...value, next: idBytes(next) }, to);
  }

  function lookAgain(): void {
    for (const id of away) stuck.delete(id);
    away.clear();
    noticeAll();
  }

  function lookForExpired(): void {
    for (const id of stuck) if (owed.has(id) || !startedHere.has(id)) stuck.delete(id);
    for (const ask of asks.open)
      if (ask.expiresAt <= time.now() && devicesOf(ask.opened.envelope.from.person).length === 0) asks.forget(ask);
    noticeAll();
    cancelLook = time.after(EXPIRY_LOOK_MS, lookForExpired);
  }

  async function close(): Promise<void> {
    // What runs is recorded with this as its end: it may have had its effect.
    stopping.abort(new KinError("OUTCOME_UNKNOWN", "this device was stopped while the call ran"));
    cancelLook();
    stopListening();
    tellListeners();
    await Promise.allSettled([...running.values()].map(({ work }) => work));
    await projection.close();
  }

  return {
    ask,
    waiting,
    all,
    look,
    drop,
    answer,
    pending,
    doubts: () => [...doubts],
    onAsked,
    lookAgain,
    decline,
    close,
  };
}

function failure(code: string, message: string): CallEvent & { type: "failure" } {
  return { type: "failure", index: 0, error: { code, message } };
}

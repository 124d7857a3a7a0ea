/**
 * The caller's half of `/kin/invoke/1`, without I/O.
 *
 *   connect ──▶ request sent ──answers──▶ result, failure or refused
 *      ▲              │
 *      └── resume ── cut        again and again until the deadline; refused NOT_FOUND: the same request once more
 */
import { checkTimes, envelopeId, openEnvelope, type Recipient, type Sender } from "./envelope.ts";
import { errorShape, kinError, KinError, type ErrorShape } from "./errors.ts";
import type { DeviceId, EnvelopeId } from "./ids.ts";
import { parseEvent, parseRefused, requestBody, resumeBody } from "./invoke-bodies.ts";
import {
  ACK_BYTES,
  ACK_EVENTS,
  checkSkew,
  sealEnvelope,
  WINDOW_BYTES,
  WINDOW_EVENTS,
  type InvokeDeps,
} from "./invoke-deps.ts";
import { encodeInvokeFrame, MAX_ACKS, type CalleeFrame, type CallerFrame } from "./invoke-frames.ts";
import type { CallEvent, InvokeRemote, OutgoingCall, SignedCallEvent } from "./invoke.ts";
import { MAX_CALLS_PER_PEER, MAX_ENVELOPE_BYTES, MAX_ENVELOPE_LIFE_MS, SKEW_LIMIT_MS } from "./limits.ts";
import type { SessionWire } from "./call-callee.ts";
import type { Sealed } from "./signature.ts";

/** The callee says DEADLINE_EXCEEDED itself; we wait so much longer for its answer. */
const DEADLINE_GRACE_MS = 1000;
/** Made once: an error costs its stack. */
const OVER = new KinError("CLOSED", "the call is over");
/** Pauses between attempts to reach a callee again: doubling from the first to the last. */
const FIRST_PAUSE_MS = 50;
const LAST_PAUSE_MS = 5000;
/** That a call has ended is acknowledged ahead of the next request, or so much later: the callee waits for no such ack. */
const END_ACK_DELAY_MS = 20;
/** Calls to one peer that wait for one of the 256 places in flight. */
const MAX_WAITING_CALLS = 4096;
/** After a call was sent these are about something else than the call. */
const SAY_NOTHING: ReadonlySet<string> = new Set(["CLOCK_SKEW", "EXPIRED", "INTERNAL"]);

export interface CallerDeps extends InvokeDeps {
  /** A stream to `device`: one that is open, or a new one. Rejects if the device can't be reached. */
  link(device: DeviceId, signal: AbortSignal): Promise<CallerSession>;
  /** Calls `run` once at the end of this tick: acknowledgements leave together. */
  endOfTick(run: () => void): void;
}

/** One stream, as the caller sees it. */
export interface CallerSession {
  /** @throws KinError if the frame does not follow the protocol: then the stream must end. */
  receive(frame: CalleeFrame): void;
  /** The stream is gone: calls on it look for another. */
  leave(): void;
}

export interface Caller {
  /** `boot`: the callee's boot id as this connection's hello said it. */
  join(wire: SessionWire, boot: Uint8Array): CallerSession;
  invoke: InvokeRemote;
}

interface Session {
  wire: SessionWire;
  boot: Uint8Array;
  lastNumber: number;
  calls: Map<number, Call>;
  /** By number: acknowledgements that were not sent yet. */
  acks: Map<number, number>;
  /** Somebody is about to send them. */
  acking: boolean;
  /** Of ends that nobody waits for. */
  cancelAckTimer: (() => void) | undefined;
  open: boolean;
}

interface SealedRequest {
  sealed: Sealed;
  id: EnvelopeId;
  /** The envelope's `id` and `boot`. */
  nonce: Uint8Array;
  boot: Uint8Array;
}

/** What to say on the next stream: the request, the same once more, a new one for another boot, or resume. */
type Next = "request" | "renew" | "resume";

interface Call {
  outgoing: OutgoingCall;
  to: Recipient;
  /** Who may answer: the agent, or null for a tool. */
  voice: string | null;
  deadlineAt: number;
  request: SealedRequest | undefined;
  /** The request was given to a stream: from then on nobody but the callee knows what became of it. */
  sent: boolean;
  /** Index that must arrive next. */
  next: number;
  /** What arrived and was not taken yet: bounded by the window. */
  queue: { event: SignedCallEvent; bytes: number }[];
  queuedBytes: number;
  usedEvents: number;
  usedBytes: number;
  wake: () => void;
  /** The last event is in the queue. */
  ended: boolean;
  /** It came from the callee, so there is nothing to cancel. */
  heardEnd: boolean;
  attached: { session: Session; number: number; said: Next } | undefined;
  /** Ends the present attempt. */
  cut: (next: Next) => void;
}

export function createCaller(deps: CallerDeps): Caller {
  const places = createPlaces();

  async function* invoke(outgoing: OutgoingCall, signal: AbortSignal): AsyncGenerator<SignedCallEvent, void, void> {
    const call = newCall(outgoing, deps.time.monotonic());
    const over = new AbortController();
    const abort = (): void =>
      finish(call, new KinError("CANCELLED", "the call was cancelled here", { cause: signal.reason }));
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    const cancelDeadline = deps.time.after(outgoing.request.deadlineMs + DEADLINE_GRACE_MS, () =>
      finish(call, lateness(call)),
    );
    void drive(call, over.signal);
    try {
      for (;;) {
        const item = await take(call);
        yield item.event;
        used(call, item.bytes);
        if (item.event.type === "result" || item.event.type === "failure") return;
      }
    } finally {
      call.ended = true;
      cancelDeadline();
      signal.removeEventListener("abort", abort);
      if (!call.heardEnd) void sendCancel(call);
      call.cut("resume");
      over.abort(OVER);
    }
  }

  // ---- to the callee

  /** Carries the call over one stream after the other until it has ended. */
  async function drive(call: Call, signal: AbortSignal): Promise<void> {
    const { device } = call.outgoing.to;
    let free: (() => void) | undefined;
    try {
      free = await places.take(device, signal);
      let next: Next = "request";
      let renewed = false;
      for (let pauseMs = FIRST_PAUSE_MS; !call.ended; pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS)) {
        const session = await reach(call, signal);
        if (session !== undefined) {
          const before = call.next;
          next = await attempt(call, session, next);
          if (next === "renew" && renewed) throw new KinError("WRONG_BOOT", "the callee's boot is not the one it says");
          renewed ||= next === "renew";
          if (call.next > before) pauseMs = FIRST_PAUSE_MS;
        }
        if (!call.ended) await pause(pauseMs, signal);
      }
    } catch (error) {
      finish(call, error);
    } finally {
      free?.();
    }
  }

  /** Undefined: not now; what was sent once is asked for again until the deadline. @throws KinError if nothing was sent yet */
  async function reach(call: Call, signal: AbortSignal): Promise<Session | undefined> {
    const { device } = call.outgoing.to;
    try {
      const session = sessions.get(await deps.link(device, signal));
      checkSkew(deps, device);
      return session;
    } catch (error) {
      if (!call.sent) throw error;
      return undefined;
    }
  }

  /** Says the request or the resume on this stream and waits until the stream or the call ends. */
  async function attempt(call: Call, session: Session, next: Next): Promise<Next> {
    const over = new Promise<Next>((resolve) => (call.cut = resolve));
    if (call.request === undefined || next === "renew") call.request = await sealRequest(call, session.boot);
    const sealed = next === "resume" ? await sealResume(call, call.request, session.boot) : call.request.sealed;
    if (call.ended || !session.open) return next;
    const number = ++session.lastNumber;
    call.attached = { session, number, said: next };
    session.calls.set(number, call);
    call.sent = true;
    session.wire
      .send(encodeInvokeFrame({ t: next === "resume" ? "resume" : "request", call: number, sealed }))
      .catch((error: unknown) => session.wire.fail(error as Error));
    if (session.cancelAckTimer !== undefined) void sendAcks(session);
    const used = call.next - call.queue.length;
    if (used > 0) acknowledge(session, number, used); // what was acknowledged on the broken stream may be lost
    return await over;
  }

  async function sealRequest(call: Call, boot: Uint8Array): Promise<SealedRequest> {
    const { from, request, trace } = call.outgoing;
    const deadlineMs = Math.max(1, Math.floor(call.deadlineAt - deps.time.monotonic()));
    const { sealed, id } = sealEnvelope(
      deps,
      from.agent,
      { to: call.to, kind: "invoke/request", boot, trace, body: requestBody({ ...request, deadlineMs }) },
      Math.min(MAX_ENVELOPE_LIFE_MS, deadlineMs + SKEW_LIMIT_MS),
    );
    const signed = await sealed;
    return { sealed: signed, id: envelopeId(signed, from), nonce: id, boot };
  }

  function sealResume(call: Call, { id, nonce, boot }: SealedRequest, nowBoot: Uint8Array): Promise<Sealed> {
    const body = resumeBody({ from: call.next, id: nonce, boot });
    return sealEnvelope(
      deps,
      call.outgoing.from.agent,
      { to: call.to, kind: "invoke/resume", boot: nowBoot, re: id, body },
      SKEW_LIMIT_MS + SKEW_LIMIT_MS,
    ).sealed;
  }

  async function sendCancel(call: Call): Promise<void> {
    const { attached, request } = call;
    if (attached === undefined || request === undefined) return;
    const { session } = attached;
    try {
      const { sealed } = sealEnvelope(
        deps,
        call.outgoing.from.agent,
        { to: call.to, kind: "invoke/cancel", boot: session.boot, re: request.id, body: {} },
        SKEW_LIMIT_MS + SKEW_LIMIT_MS,
      );
      const frame: Omit<CallerFrame, "call"> = { t: "cancel", sealed: await sealed };
      if (session.open) await session.wire.send(encodeInvokeFrame({ ...frame, call: ++session.lastNumber }));
    } catch (error) {
      session.wire.fail(error as Error);
    }
  }

  // ---- from the callee

  function receive(session: Session, frame: CalleeFrame): void {
    const call = session.calls.get(frame.call);
    if (call === undefined) {
      if (frame.call <= session.lastNumber) return;
      throw new KinError("BAD_REQUEST", `an answer to call ${frame.call}, which was not made on this stream`);
    }
    try {
      hear(session, call, frame);
    } catch (error) {
      finish(call, afterSending(error));
      throw error;
    }
  }

  /** A clock that was set meanwhile, or what went wrong on the other side, says nothing of what became of the call. */
  function afterSending(error: unknown): unknown {
    const { code, message } = errorShape(error);
    if (!SAY_NOTHING.has(code)) return error;
    return new KinError("OUTCOME_UNKNOWN", `the call was sent, its answer can't be taken: ${message}`, {
      cause: error,
    });
  }

  /** @throws KinError if this can't be the callee's answer to this call */
  function hear(session: Session, call: Call, frame: CalleeFrame): void {
    const { envelope } = openEnvelope(frame.sealed, (key, from) => deps.keyMaySpeakFor(key, from));
    const { outgoing, request, voice } = call;
    const { from, to } = envelope;
    const mayBeDevice = voice === null || frame.t === "refused" || frame.t === "failure";
    if (envelope.kind !== `invoke/${frame.t}` || envelope.mesh !== deps.mesh || envelope.body === undefined)
      throw new KinError(
        "BAD_REQUEST",
        `a ${frame.t} frame carries an envelope of kind ${envelope.kind} or another mesh`,
      );
    if (envelope.re !== request!.id) throw new KinError("BAD_REQUEST", "an answer to another request");
    if (from.person !== outgoing.to.person || from.device !== outgoing.to.device)
      throw new KinError("BAD_SIGNATURE", "an answer from somebody who was not asked");
    if (from.agent === null ? !mayBeDevice : from.agent !== voice || frame.t === "refused")
      throw new KinError(
        "BAD_SIGNATURE",
        `a ${frame.t} from ${from.agent ?? "the device"}, but ${voice ?? "its device"} was asked`,
      );
    if (!isTo(to, outgoing.from)) throw new KinError("BAD_REQUEST", "an answer that is addressed to somebody else");
    checkTimes(envelope, deps.time.now());
    if (frame.t === "refused") hearRefused(session, call, parseRefused(envelope.body), frame.sealed);
    else hearEvent(session, call, parseEvent(frame.t, envelope.body), frame.sealed);
  }

  function hearEvent(session: Session, call: Call, event: CallEvent, sealed: Sealed): void {
    // Whatever came between is lost, and with it whether it was ever begun.
    if (event.index > call.next)
      throw new KinError(
        "OUTCOME_UNKNOWN",
        `the call was sent, its answer can't be taken: ${event.type} ${event.index} came, event ${call.next} did not`,
      );
    if (event.index !== call.next || (event.index === 0) !== (event.type === "accepted"))
      throw new KinError(
        "BAD_REQUEST",
        `${event.type} ${event.index} where event ${call.next} of the call was expected`,
      );
    call.next++;
    if (event.type === "result" || event.type === "failure") hearEnd(session, call);
    queue(call, { ...event, sealed }, sealed.bytes.length);
  }

  function hearRefused(session: Session, call: Call, error: ErrorShape, sealed: Sealed): void {
    const { said } = call.attached!;
    if (said === "resume" && error.code === "NOT_FOUND" && call.next === 0) return again(session, call, "request");
    if (said === "resume" && error.code === "OVERLOADED") return again(session, call, "resume");
    if (error.code === "WRONG_BOOT") {
      again(session, call, said === "resume" ? "resume" : "renew");
      session.wire.fail(kinError(error)); // this connection's hello is out of date: the next one says the new boot
      return;
    }
    const index = call.next++;
    hearEnd(session, call);
    const told = said === "resume" ? errorShape(afterSending(kinError(error))) : error;
    queue(call, { type: "failure", index, error: told, sealed }, sealed.bytes.length);
  }

  function again(session: Session, call: Call, next: Next): void {
    session.calls.delete(call.attached!.number);
    call.attached = undefined;
    call.cut(next);
  }

  /** The last event: nothing more comes, so all of it is acknowledged. */
  function hearEnd(session: Session, call: Call): void {
    const { number } = call.attached!;
    acknowledgeEnd(session, number, call.next);
    session.calls.delete(number);
    call.attached = undefined;
    call.heardEnd = true;
  }

  /** @throws KinError BAD_REQUEST if the callee sends more than its window */
  function queue(call: Call, event: SignedCallEvent, bytes: number): void {
    if (call.ended) return used(call, bytes); // cancelled here: what still comes is read and dropped
    if (event.type === "progress" && isOverWindow(call, bytes))
      throw new KinError("BAD_REQUEST", `the callee sent more than ${WINDOW_EVENTS} events that were not acknowledged`);
    call.queue.push({ event, bytes });
    call.queuedBytes += bytes;
    if (call.heardEnd) {
      call.ended = true;
      call.cut("resume");
    }
    call.wake();
  }

  /** Ends the call from our side. */
  function finish(call: Call, error: unknown): void {
    if (call.ended) return;
    call.ended = true;
    call.queue.push({ event: { type: "failure", index: call.next, error: errorShape(error) }, bytes: 0 });
    call.cut("resume");
    call.wake();
  }

  // ---- acknowledgements

  function used(call: Call, bytes: number): void {
    call.usedEvents++;
    call.usedBytes += bytes;
    if (call.attached === undefined || (call.usedEvents < ACK_EVENTS && call.usedBytes < ACK_BYTES)) return;
    call.usedEvents = 0;
    call.usedBytes = 0;
    acknowledge(call.attached.session, call.attached.number, call.next - call.queue.length);
  }

  function acknowledge(session: Session, number: number, below: number): void {
    session.acks.set(number, below);
    if (session.acking) return;
    session.acking = true;
    deps.endOfTick(() => void sendAcks(session));
  }

  function acknowledgeEnd(session: Session, number: number, below: number): void {
    if (session.acks.size >= MAX_ACKS - 1) return acknowledge(session, number, below);
    session.acks.set(number, below);
    if (session.acking) return;
    session.cancelAckTimer ??= deps.time.after(END_ACK_DELAY_MS, () => void sendAcks(session));
  }

  async function sendAcks(session: Session): Promise<void> {
    session.cancelAckTimer?.();
    session.cancelAckTimer = undefined;
    try {
      while (session.acks.size > 0 && session.open) {
        const acks = [...session.acks].slice(0, MAX_ACKS).map(([call, below]) => ({ call, below }));
        for (const { call } of acks) session.acks.delete(call);
        await session.wire.send(encodeInvokeFrame({ t: "ack", acks }));
      }
    } catch (error) {
      session.wire.fail(error as Error);
    } finally {
      session.acking = false;
    }
  }

  // ---- streams and waits

  const sessions = new WeakMap<CallerSession, Session>();

  function join(wire: SessionWire, boot: Uint8Array): CallerSession {
    const session: Session = {
      wire,
      boot,
      lastNumber: 0,
      calls: new Map(),
      acks: new Map(),
      acking: false,
      cancelAckTimer: undefined,
      open: true,
    };
    const joined: CallerSession = {
      receive: (frame) => receive(session, frame),
      leave() {
        session.open = false;
        session.cancelAckTimer?.();
        const cut = [...session.calls.values()];
        session.calls.clear();
        for (const call of cut) {
          call.attached = undefined;
          call.cut("resume");
        }
      },
    };
    sessions.set(joined, session);
    return joined;
  }

  function pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const jitter = 0.5 + deps.random.bytes(1)[0]! / 256;
      const cancel = deps.time.after(ms * jitter, resolve);
      signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
    });
  }

  return { join, invoke };
}

function newCall(outgoing: OutgoingCall, now: number): Call {
  const { target, deadlineMs } = outgoing.request;
  return {
    outgoing,
    to: { ...outgoing.to, agent: "agent" in target ? target.agent : target.tool },
    voice: "agent" in target ? target.agent : null,
    deadlineAt: now + deadlineMs,
    request: undefined,
    sent: false,
    next: 0,
    queue: [],
    queuedBytes: 0,
    usedEvents: 0,
    usedBytes: 0,
    wake: () => {},
    ended: false,
    heardEnd: false,
    attached: undefined,
    cut: () => {},
  };
}

async function take(call: Call): Promise<Call["queue"][number]> {
  while (call.queue.length === 0) await new Promise<void>((resolve) => (call.wake = resolve));
  const item = call.queue.shift()!;
  call.queuedBytes -= item.bytes;
  return item;
}

/** The window, plus what was used and not yet acknowledged. */
function isOverWindow(call: Call, bytes: number): boolean {
  if (call.queue.length >= WINDOW_EVENTS) return true;
  return call.queuedBytes + bytes > WINDOW_BYTES + MAX_ENVELOPE_BYTES;
}

function lateness(call: Call): KinError {
  const ms = call.outgoing.request.deadlineMs;
  if (!call.sent || call.attached !== undefined)
    return new KinError("DEADLINE_EXCEEDED", `the call did not end within its deadline of ${ms} ms`);
  return new KinError(
    "OUTCOME_UNKNOWN",
    `the connection was lost after the request was sent and did not come back within the deadline of ${ms} ms`,
    { hint: "look whether the effect is there before you ask again" },
  );
}

function isTo(to: Recipient, from: Sender): boolean {
  return to.person === from.person && to.device === from.device && to.agent === from.agent;
}

/** At most MAX_CALLS_PER_PEER calls in flight to one device; the others wait in order. A place that gets free is handed on. */
function createPlaces(): { take(device: DeviceId, signal: AbortSignal): Promise<() => void> } {
  const byDevice = new Map<DeviceId, { used: number; waiting: Set<() => void> }>();

  function free(device: DeviceId): void {
    const places = byDevice.get(device)!;
    const [first] = places.waiting;
    if (first === undefined) places.used--;
    else {
      places.waiting.delete(first);
      first();
    }
    if (places.used === 0) byDevice.delete(device);
  }

  return {
    async take(device, signal) {
      let places = byDevice.get(device);
      if (places === undefined) byDevice.set(device, (places = { used: 0, waiting: new Set() }));
      if (places.used < MAX_CALLS_PER_PEER) places.used++;
      else await waitIn(places.waiting, signal);
      return () => free(device);
    },
  };
}

/** Resolves when it is our turn. @throws KinError OVERLOADED; the signal's reason */
function waitIn(waiting: Set<() => void>, signal: AbortSignal): Promise<void> {
  if (waiting.size >= MAX_WAITING_CALLS)
    return Promise.reject(new KinError("OVERLOADED", `${MAX_WAITING_CALLS} calls to this device wait already`));
  return new Promise((resolve, reject) => {
    const turn = (): void => {
      signal.removeEventListener("abort", abort);
      resolve();
    };
    const abort = (): void => {
      waiting.delete(turn);
      reject(signal.reason as Error);
    };
    waiting.add(turn);
    signal.addEventListener("abort", abort, { once: true });
  });
}

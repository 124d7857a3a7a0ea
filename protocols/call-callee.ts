/**
 * The callee's half of `/kin/invoke/1`, without I/O. A call belongs to the callee, not to a stream: streams only look at it.
 *
 *   request ──checks──▶ running ──last event──▶ ended ──acknowledged, or KEEP_ENDED_MS later──▶ forgotten
 *                         │ ▲                     ▲
 *                 stream  ▼ │ resume              │ cancel by the caller's key
 *                  cut  detached ─────────────────┘   (works on; its events wait in the window)
 */
import { equal } from "./bytes.ts";
import {
  checkTimes,
  decodeEnvelope,
  envelopeId,
  openEnvelope,
  type Envelope,
  type OpenedEnvelope,
  type Sender,
} from "./envelope.ts";
import { errorShape, KinError, type ErrorShape } from "./errors.ts";
import type { DeviceId, EnvelopeId } from "./ids.ts";
import { eventBody, parseCancel, parseRequest, parseResume, refusedBody, type ResumeBody } from "./invoke-bodies.ts";
import { checkSkew, isSameSender, sealEnvelope, WINDOW_BYTES, WINDOW_EVENTS, type InvokeDeps } from "./invoke-deps.ts";
import { encodeInvokeFrame, type AckFrame, type CalleeFrame, type CallerFrame } from "./invoke-frames.ts";
import type { CallEvent, HandleInvocation, RecallOutcome, RecordedOutcome } from "./invoke.ts";
import { MAX_CALLS_PER_PEER, MAX_ENVELOPE_LIFE_MS } from "./limits.ts";
import type { ReplayTable } from "./replay.ts";
import type { Sealed } from "./signature.ts";

/** How long the last events of an ended call wait for a caller that comes back: a dead Wi-Fi, a lid closed for a moment. */
export const KEEP_ENDED_MS = 2 * 60_000;
/** Calls of one peer that the callee still knows: those in flight and as many ended ones. */
const MAX_KNOWN_CALLS_PER_PEER = 2 * MAX_CALLS_PER_PEER;
/** Unacknowledged bytes of one peer above which each of his calls may keep only one event. */
const MAX_KEPT_BYTES_PER_PEER = 4 * 1024 * 1024;
/** Refusals that a peer has not read: above that he floods us without listening, and his stream ends. */
const MAX_UNSENT_REFUSALS = 512;

export interface CalleeDeps extends InvokeDeps {
  replay: ReplayTable;
  handle: HandleInvocation;
  recall: RecallOutcome;
}

/** One stream, as the callee sees it. */
export interface CalleeSession {
  /** @throws KinError if the frame does not follow the protocol: then the stream must end. */
  receive(frame: CallerFrame): void;
  /** @throws KinError likewise */
  acknowledge(acks: AckFrame["acks"]): void;
  /** The stream is gone: its calls go on, detached. */
  leave(): void;
}

/** What a session does to its stream. */
export interface SessionWire {
  readonly peer: DeviceId;
  /** Resolves when there is room for more; rejects when the stream is gone. */
  send(frame: Uint8Array): Promise<void>;
  /** Ends the stream at once. */
  fail(error: Error): void;
}

export interface Callee {
  join(wire: SessionWire): CalleeSession;
  /** Aborts what runs. */
  stop(): void;
  /** Calls that are known: running, or ended and not acknowledged. */
  readonly size: number;
}

interface KeptEvent {
  t: CalleeFrame["t"];
  bytes: number;
  sealed: Promise<Sealed>;
}

interface Call {
  id: EnvelopeId;
  peer: Peer;
  /** Whose it is: who may cancel and resume. */
  from: Sender;
  key: Uint8Array;
  /** Who answers: the agent's name, or null for a tool. */
  voice: string | null;
  abort: AbortController;
  /** Events from index `base` to `next` − 1, the unacknowledged ones. */
  kept: KeptEvent[];
  base: number;
  next: number;
  keptBytes: number;
  ended: boolean;
  /** The stream that looks on, and the next index to send on it. */
  view: View | undefined;
  cancelTimer: (() => void) | undefined;
}

interface View {
  session: Session;
  number: number;
  next: number;
  sending: boolean;
}

interface Session extends SessionWire {
  lastNumber: number;
  calls: Map<number, Call>;
  unsentRefusals: number;
  open: boolean;
}

interface Peer {
  device: DeviceId;
  /** In order of arrival. */
  calls: Set<Call>;
  running: number;
  keptBytes: number;
  /** Calls that wait for room. */
  waiting: Set<() => void>;
}

export function createCallee(deps: CalleeDeps): Callee {
  const calls = new Map<EnvelopeId, Call>();
  const peers = new Map<DeviceId, Peer>();

  // ---- frames in

  function receive(session: Session, frame: CallerFrame): void {
    if (frame.call <= session.lastNumber)
      throw new KinError("BAD_REQUEST", `call number ${frame.call} after ${session.lastNumber}: numbers rise`);
    session.lastNumber = frame.call;
    const opened = open(session, frame);
    if (opened === undefined) return;
    const { envelope } = opened;
    try {
      check(envelope, session.peer);
      if (frame.t === "request") start(session, frame.call, opened);
      else if (frame.t === "cancel") cancel(opened);
      else resume(session, frame.call, opened);
    } catch (error) {
      refuse(session, frame.call, envelope.re ?? opened.id, envelope.from, errorShape(error));
    }
  }

  /** Undefined: the signature is wrong and that was answered. @throws KinError for what is no envelope at all */
  function open(session: Session, frame: CallerFrame): OpenedEnvelope | undefined {
    let opened: OpenedEnvelope;
    try {
      opened = openEnvelope(frame.sealed, (key, from) => deps.keyMaySpeakFor(key, from));
    } catch (error) {
      if (!(error instanceof KinError) || error.code !== "BAD_SIGNATURE") throw error;
      const envelope = decodeEnvelope(frame.sealed.bytes);
      refuse(
        session,
        frame.call,
        envelope.re ?? envelopeId(frame.sealed, envelope.from),
        envelope.from,
        errorShape(error),
      );
      return undefined;
    }
    const { kind, re } = opened.envelope;
    if (kind !== `invoke/${frame.t}`)
      throw new KinError("BAD_REQUEST", `a ${frame.t} frame carries an envelope of kind ${kind}`);
    if ((re === undefined) !== (frame.t === "request"))
      throw new KinError("BAD_REQUEST", `re belongs into cancel and resume, not into request; this is a ${frame.t}`);
    return opened;
  }

  /** @throws KinError: the refusal */
  function check(envelope: Envelope, peer: DeviceId): void {
    const { from, to } = envelope;
    if (from.device !== peer)
      throw new KinError("BAD_REQUEST", "a live envelope comes over the stream of the device that it is from");
    if (envelope.mesh !== deps.mesh) throw new KinError("WRONG_MESH", "the envelope belongs to another mesh");
    if (to.person !== deps.self.person || to.device !== deps.self.device || to.agent === null)
      throw new KinError("BAD_REQUEST", "the envelope is addressed to somebody else");
    if (envelope.body === undefined) throw new KinError("BAD_REQUEST", "a live envelope carries its body");
    if (envelope.boot === undefined || !equal(envelope.boot, deps.boot))
      throw new KinError("WRONG_BOOT", "the envelope names a start of this node that is over: say hello again");
    checkSkew(deps, peer);
    checkTimes(envelope, deps.time.now());
    if (!deps.isMember(from.person, from.device))
      throw new KinError("NOT_A_MEMBER", "the caller is not a member of this mesh");
    const seen = deps.replay.add(from.person, envelope.id, envelope.exp);
    if (seen === "replayed") throw new KinError("REPLAYED", "this envelope was here before");
    if (seen === "full")
      throw new KinError("OVERLOADED", "too many calls of this person in the last minutes: try again later");
  }

  // ---- request, cancel, resume

  function start(session: Session, number: number, opened: OpenedEnvelope): void {
    const { envelope, id, sealed } = opened;
    const request = parseRequest(envelope.body);
    const name = "agent" in request.target ? request.target.agent : request.target.tool;
    if (name !== envelope.to.agent)
      throw new KinError("BAD_REQUEST", `the request's target is ${name}, its envelope is to ${envelope.to.agent}`);
    const peer = peerOf(session.peer);
    if (peer.running >= MAX_CALLS_PER_PEER || !hasPlace(peer))
      throw new KinError("OVERLOADED", `${MAX_CALLS_PER_PEER} calls of this device are in flight: wait for one to end`);
    const call = remember(peer, opened, "agent" in request.target ? name : null);
    peer.running++;
    look(call, session, number, 0);
    const arrivedAt = deps.time.now();
    void run(call, {
      mesh: envelope.mesh,
      id,
      from: envelope.from,
      request,
      ...(envelope.trace === undefined ? {} : { trace: envelope.trace }),
      sealed,
      way: "live",
      deadlineAt: arrivedAt + request.deadlineMs,
      expiresAt: envelope.exp,
    });
  }

  function cancel({ envelope, sealed }: OpenedEnvelope): void {
    parseCancel(envelope.body);
    const call = calls.get(envelope.re!);
    if (call === undefined) return;
    checkOwner(call, envelope.from, sealed.seal.key, "cancel");
    if (call.ended) return;
    const reason = new KinError("CANCELLED", "the caller cancelled the call");
    call.abort.abort(reason);
    put(call, { type: "failure", index: call.next, error: errorShape(reason) });
  }

  function resume(session: Session, number: number, opened: OpenedEnvelope): void {
    const { envelope, sealed } = opened;
    const body = parseResume(envelope.body);
    const call = calls.get(envelope.re!);
    if (call === undefined) {
      void resumeLost(session, number, opened, body);
      return;
    }
    checkOwner(call, envelope.from, sealed.seal.key, "resume");
    if (body.from < call.base || body.from > call.next)
      throw new KinError("BAD_REQUEST", `resume from ${body.from}: the call has events ${call.base} to ${call.next}`);
    look(call, session, number, body.from);
    void deliver(call);
  }

  /** The call is not in memory: it never arrived, or it has ended long ago, or before a restart. */
  async function resumeLost(session: Session, number: number, opened: OpenedEnvelope, body: ResumeBody): Promise<void> {
    const { envelope, sealed } = opened;
    const id = envelope.re!;
    try {
      const recorded = await deps.recall(id, sealed.seal.key);
      if (recorded === undefined && equal(body.boot, deps.boot) && !deps.replay.has(envelope.from.person, body.id))
        throw new KinError("NOT_FOUND", "this request never arrived: send it again");
      if (calls.has(id)) throw new KinError("REPLAYED", "this call was resumed twice at once");
      replay(
        session,
        number,
        opened,
        body.from,
        recorded ?? { error: errorShape(unknownOutcome("nothing says how it ended")) },
      );
    } catch (error) {
      refuse(session, number, id, envelope.from, errorShape(error));
    }
  }

  /** Answers from the record: the progress in between is gone, so the end takes the index that the caller waits for. */
  function replay(
    session: Session,
    number: number,
    opened: OpenedEnvelope,
    from: number,
    known: RecordedOutcome,
  ): void {
    const peer = peerOf(session.peer);
    if (!hasPlace(peer)) throw new KinError("OVERLOADED", "too many calls of this device are known: try again later");
    const voice = "outcome" in known && "parts" in known.outcome ? opened.envelope.to.agent : null;
    const isMute = voice !== null && deps.sealAs(voice) === undefined;
    const recorded = isMute
      ? { error: errorShape(unknownOutcome(`${voice}'s key is gone, and only it can sign it`)) }
      : known;
    const call = remember(peer, { ...opened, id: opened.envelope.re! }, voice);
    peer.running++;
    call.base = call.next = from;
    look(call, session, number, from);
    if (from === 0 && "outcome" in recorded) put(call, { type: "accepted", index: 0 });
    put(
      call,
      "outcome" in recorded
        ? { type: "result", index: call.next, outcome: recorded.outcome }
        : { type: "failure", index: call.next, error: recorded.error },
    );
  }

  // ---- a call's life

  async function run(call: Call, incoming: Parameters<HandleInvocation>[0]): Promise<void> {
    try {
      for await (const event of deps.handle(incoming, call.abort.signal)) {
        if (event.type === "progress") await room(call, incoming.deadlineAt);
        if (call.ended) return;
        put(call, event);
        if (call.ended) return;
      }
      throw new KinError("INTERNAL", "the call ended without a result");
    } catch (error) {
      if (!call.ended) put(call, { type: "failure", index: call.next, error: errorShape(error) });
    }
  }

  /** Seals and keeps the event, and sends it if a stream looks on. What was put in one tick shares one signature. */
  function put(call: Call, said: CallEvent): void {
    const event = { ...said, index: call.next } as CallEvent;
    const { t, bytes, sealed } = sealEvent(call, event);
    sealed.catch(() => {}); // `deliver` sees it; a detached call has nobody else to tell
    call.next++;
    call.kept.push({ t, bytes: bytes.length, sealed });
    call.keptBytes += bytes.length;
    call.peer.keptBytes += bytes.length;
    if (event.type === "result" || event.type === "failure") end(call);
    void deliver(call);
  }

  function sealEvent(
    call: Call,
    event: CallEvent,
  ): { t: CalleeFrame["t"]; bytes: Uint8Array; sealed: Promise<Sealed> } {
    const t = event.type === "failure" && event.index === 0 ? "refused" : event.type;
    const voice = t === "refused" || (t === "failure" && deps.sealAs(call.voice) === undefined) ? null : call.voice;
    const body = t === "refused" && event.type === "failure" ? refusedBody(event.error) : eventBody(event);
    const envelope = { to: call.from, kind: `invoke/${t}` as const, re: call.id, body };
    return { t, ...sealEnvelope(deps, voice, envelope, MAX_ENVELOPE_LIFE_MS) };
  }

  function end(call: Call): void {
    call.ended = true;
    call.peer.running--;
    wake(call.peer);
    call.cancelTimer = deps.time.after(KEEP_ENDED_MS, () => forget(call));
  }

  /** Sends what is kept from the view's next index on; one loop a view. */
  async function deliver(call: Call): Promise<void> {
    const { view } = call;
    if (view === undefined || view.sending) return;
    view.sending = true;
    try {
      while (call.view === view && view.session.open && view.next < call.next) {
        const { t, sealed } = call.kept[view.next - call.base]!;
        const frame = encodeInvokeFrame({ t, call: view.number, sealed: await sealed });
        if (call.view !== view) return;
        view.next++;
        await view.session.send(frame);
      }
    } catch (error) {
      view.session.fail(error as Error);
    } finally {
      view.sending = false;
    }
  }

  /** Resolves when the call may keep one more event, or has ended. @throws KinError DEADLINE_EXCEEDED: nobody read it in time */
  async function room(call: Call, deadlineAt: number): Promise<void> {
    while (!call.ended && !hasRoom(call)) {
      const leftMs = deadlineAt - deps.time.now();
      if (leftMs <= 0)
        throw new KinError("DEADLINE_EXCEEDED", "the caller did not take the call's progress before its deadline");
      await new Promise<void>((resolve) => {
        const cancel = deps.time.after(leftMs, resolve);
        call.peer.waiting.add(() => (cancel(), resolve()));
      });
    }
  }

  function hasRoom({ kept, keptBytes, peer }: Call): boolean {
    if (kept.length === 0) return true;
    return kept.length < WINDOW_EVENTS && keptBytes < WINDOW_BYTES && peer.keptBytes < MAX_KEPT_BYTES_PER_PEER;
  }

  function acknowledge(session: Session, acks: AckFrame["acks"]): void {
    for (const { call: number, below } of acks) {
      const call = session.calls.get(number);
      if (call === undefined) {
        if (number <= session.lastNumber) continue;
        throw new KinError("BAD_REQUEST", `an ack of call ${number}, which was not made on this stream`);
      }
      if (below > call.view!.next)
        throw new KinError(
          "BAD_REQUEST",
          `an ack below ${below} of a call of which ${call.view!.next} events were sent`,
        );
      release(call, below);
    }
  }

  function release(call: Call, below: number): void {
    while (call.base < below) {
      const { bytes } = call.kept.shift()!;
      call.base++;
      call.keptBytes -= bytes;
      call.peer.keptBytes -= bytes;
    }
    wake(call.peer);
    if (call.ended && call.kept.length === 0) forget(call);
  }

  // ---- bookkeeping

  function remember(peer: Peer, { envelope, id, sealed }: OpenedEnvelope, voice: string | null): Call {
    const call: Call = {
      id,
      peer,
      from: envelope.from,
      key: sealed.seal.key,
      voice,
      abort: new AbortController(),
      kept: [],
      base: 0,
      next: 0,
      keptBytes: 0,
      ended: false,
      view: undefined,
      cancelTimer: undefined,
    };
    calls.set(id, call);
    peer.calls.add(call);
    return call;
  }

  function look(call: Call, session: Session, number: number, from: number): void {
    if (call.view !== undefined) call.view.session.calls.delete(call.view.number);
    call.view = { session, number, next: from, sending: false };
    session.calls.set(number, call);
  }

  function forget(call: Call): void {
    if (!calls.delete(call.id)) return;
    call.cancelTimer?.();
    call.view?.session.calls.delete(call.view.number);
    call.view = undefined;
    call.peer.keptBytes -= call.keptBytes;
    call.peer.calls.delete(call);
    wake(call.peer);
    if (call.peer.calls.size === 0) peers.delete(call.peer.device);
  }

  /** Makes place by forgetting the oldest call that has ended and whose events were sent or have nobody who waits for them. */
  function hasPlace(peer: Peer): boolean {
    if (peer.calls.size < MAX_KNOWN_CALLS_PER_PEER && peer.keptBytes < 2 * MAX_KEPT_BYTES_PER_PEER) return true;
    for (const call of peer.calls) {
      if (!call.ended || (call.view !== undefined && call.view.next < call.next)) continue;
      forget(call);
      return true;
    }
    return false;
  }

  function peerOf(device: DeviceId): Peer {
    let peer = peers.get(device);
    if (peer === undefined)
      peers.set(device, (peer = { device, calls: new Set(), running: 0, keptBytes: 0, waiting: new Set() }));
    return peer;
  }

  function wake(peer: Peer): void {
    const waiting = [...peer.waiting];
    peer.waiting.clear();
    for (const wake of waiting) wake();
  }

  function refuse(session: Session, number: number, re: EnvelopeId, to: Sender, error: ErrorShape): void {
    if (++session.unsentRefusals > MAX_UNSENT_REFUSALS) {
      session.fail(
        new KinError("OVERLOADED", `${MAX_UNSENT_REFUSALS} refusals wait for this peer, who does not read them`),
      );
      return;
    }
    const { sealed } = sealEnvelope(
      deps,
      null,
      { to, kind: "invoke/refused", re, body: refusedBody(error) },
      MAX_ENVELOPE_LIFE_MS,
    );
    void sendRefusal(session, number, sealed);
  }

  async function sendRefusal(session: Session, number: number, sealed: Promise<Sealed>): Promise<void> {
    try {
      await session.send(encodeInvokeFrame({ t: "refused", call: number, sealed: await sealed }));
    } catch (error) {
      session.fail(error as Error);
    } finally {
      session.unsentRefusals--;
    }
  }

  return {
    get size() {
      return calls.size;
    },
    join(wire) {
      const session: Session = {
        peer: wire.peer,
        send: (frame) => wire.send(frame),
        fail: (error) => wire.fail(error),
        lastNumber: 0,
        calls: new Map(),
        unsentRefusals: 0,
        open: true,
      };
      return {
        receive: (frame) => receive(session, frame),
        acknowledge: (acks) => acknowledge(session, acks),
        leave() {
          session.open = false;
          for (const call of session.calls.values()) call.view = undefined;
          session.calls.clear();
        },
      };
    },
    stop() {
      for (const call of calls.values()) {
        call.cancelTimer?.();
        call.abort.abort(new KinError("OUTCOME_UNKNOWN", "this node stopped while the call ran"));
      }
    },
  };
}

/** @throws KinError DENIED unless the request was made by the same sender with the same key (R11). */
function checkOwner(call: { from: Sender; key: Uint8Array }, from: Sender, key: Uint8Array, what: string): void {
  if (isSameSender(call.from, from) && equal(call.key, key)) return;
  throw new KinError("DENIED", `only the caller's own key may ${what} a call`);
}

function unknownOutcome(why: string): KinError {
  return new KinError("OUTCOME_UNKNOWN", `the call may have run before this node restarted, and ${why}`, {
    hint: "look whether its effect is there before you ask again",
  });
}

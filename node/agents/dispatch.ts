/**
 * One door for local, remote, gateway and scheduled calls: who may, once only, how deep, how long; then the agent or tool runs.
 *
 *   member ─▶ target, rights ─▶ chain: loop, depth ─▶ deadline ─▶ same key before? ─▶ capacity ─▶ durable ─▶ accepted ─▶ run
 *      └──────────┴────────────────────┴───────────────┴────────── refused ┘              (side effects)
 *
 * Of a target that somebody may not call, existence is not revealed: to everybody but the person of this node, "there is none"
 * and "you may not" are the same DENIED. Names of what is shared are no secret to members anyway: cards say them.
 */
import { equal, toHex } from "../../protocols/bytes.ts";
import type { Time } from "../../protocols/effects.ts";
import { decodeEnvelope } from "../../protocols/envelope.ts";
import { errorShape, KinError, tellableReason, type ErrorShape } from "../../protocols/errors.ts";
import type { DeviceId, EnvelopeId, PersonId } from "../../protocols/ids.ts";
import { outcomeValue, requestDigest } from "../../protocols/invoke-bodies.ts";
import type {
  CallEvent,
  CallOutcome,
  CallTarget,
  HandleInvocation,
  IncomingCall,
  Part,
  RecordedOutcome,
} from "../../protocols/invoke.ts";
import { MAX_CALL_DEPTH, MAX_CALLS_PER_PEER, MAX_ENVELOPE_LIFE_MS } from "../../protocols/limits.ts";
import { argumentsHash, type RecordAudit } from "../guard/audit.ts";
import { MAX_DURABLE_LIFE_MS } from "../../sync/asks.ts";
import type { Ledger, LedgerEntry } from "./ledger.ts";

/** What dispatch can run: an agent of this machine, or one of its tools. */
export interface Runnable {
  /** False: side effects, so the call is durable before it starts (§6). */
  readOnly: boolean;
  /** Default deny. The arguments matter: a share is for some people only. @throws KinError INVALID_ARGUMENTS, SHARE_NEEDED, NOT_FOUND */
  mayCall(person: PersonId, args: IncomingCall["request"]["arguments"]): boolean;
  /** Brings here what the call needs from its caller's device; `run` fetches what is not here yet. */
  fetch?: ((call: IncomingCall, signal: AbortSignal) => Promise<void>) | undefined;
  /** `emit` sends progress and resolves when there is room for more; it rejects when the call is over. @throws KinError; anything else becomes TOOL_FAILED or AGENT_FAILED */
  run(call: IncomingCall, emit: (parts: Part[]) => Promise<void>, signal: AbortSignal): Promise<CallOutcome>;
}

export type FindRunnable = (target: CallTarget) => Runnable | undefined;

/** Made once: an error costs its stack. */
const OVER = new KinError("CLOSED", "the call is over");
const UNHEARD = new KinError("CANCELLED", "nobody waits for the call");

/** Progress that waits for the caller before `emit` makes the runnable wait. */
const MAX_WAITING_PROGRESS = 8;

export interface DispatchDeps {
  self: { person: PersonId; device: DeviceId };
  find: FindRunnable;
  isMember(person: PersonId, device: DeviceId): boolean;
  ledger: Ledger;
  time: Time;
  /** Refusals at this door, and the start and end of agents. A tool's own records are made by the tool path. */
  record: RecordAudit;
  /** Told what could not be recorded although the call went on. */
  warn(sentence: string, error: unknown): void;
}

export interface DispatchOptions {
  /**
   * Wall ms before which nothing runs that was signed earlier: for an incarnation that isn't the first its birth + 5 min (R8),
   * because what the lost one ran is not in this ledger. Asked each time: an incarnation may end while the node runs. @default 0
   */
  notBefore?: () => number;
  /** Calls that one person may have running. @default MAX_CALLS_PER_PEER */
  maxCallsPerPerson?: number;
}

/** A call that runs, and everybody who waits for it. */
interface Running {
  digest: () => Uint8Array;
  request: EnvelopeId;
  /** The first request under its key, if this is a retry. */
  first: EnvelopeId | undefined;
  /** Durable, if it has side effects; rejects if that failed. */
  begun: Promise<void>;
  progress: Progress;
  /** Recorded, if it has side effects. Never rejects. */
  outcome: Promise<RecordedOutcome>;
  stop: AbortController;
}

/** What the door says to a call that it lets in. */
type Admitted = { how: "run" | "join"; running: Running } | { how: "recorded"; recorded: RecordedOutcome };

export function createDispatch(
  deps: DispatchDeps,
  { notBefore = () => 0, maxCallsPerPerson = MAX_CALLS_PER_PEER }: DispatchOptions = {},
): HandleInvocation {
  const { ledger, time } = deps;
  const running = new Map<string, Running>();
  const counts = new Map<PersonId, number>();

  async function* handle(call: IncomingCall, signal: AbortSignal): AsyncGenerator<CallEvent, void, void> {
    let admitted: Admitted;
    try {
      admitted = await admit(call);
    } catch (error) {
      recordRefusal(call, errorShape(error));
      yield { type: "failure", index: 0, error: errorShape(error) };
      return;
    }
    if (admitted.how === "run") yield* follow(admitted.running, signal);
    else {
      yield { type: "accepted", index: 0 };
      yield ending(
        admitted.how === "recorded" ? admitted.recorded : await firstOf(admitted.running.outcome, time, call, signal),
        1,
      );
    }
  }

  /** @throws KinError: the refusal */
  async function admit(call: IncomingCall): Promise<Admitted> {
    if (!deps.isMember(call.from.person, call.from.device))
      throw new KinError("NOT_A_MEMBER", "the caller is not a member of this mesh");
    const runnable = findAllowed(call);
    checkChain(call, deps.self.person);
    if (call.deadlineAt <= time.now())
      throw new KinError("DEADLINE_EXCEEDED", "the call's deadline passed before it could start");
    const digest = digestOf(call);
    const earlier = findEarlier(call, digest);
    if (earlier !== undefined) return await earlier;
    if (!runnable.readOnly) checkAge(call);
    return await begin(call, runnable, digest);
  }

  function findAllowed(call: IncomingCall): Runnable {
    const { target } = call.request;
    const { person } = call.from;
    const runnable = deps.find(target);
    if (runnable?.mayCall(person, call.request.arguments) === true) return runnable;
    const what = "agent" in target ? `agent "${target.agent}"` : `tool "${target.tool}"`;
    if (person === deps.self.person && runnable === undefined)
      throw new KinError("NOT_FOUND", `there is no ${what} here`);
    throw new KinError("DENIED", `there is no ${what} here that you may call`);
  }

  /** The same key before: joined, answered from the record, or refused. Undefined: it is the first time. @throws KinError */
  function findEarlier(call: IncomingCall, digest: () => Uint8Array): Promise<Admitted> | undefined {
    const { key, retryOf } = call.request;
    const now = running.get(runningKey(call));
    const entry = now ?? ledger.find(call.from.person, key);
    if (entry === undefined) {
      if (retryOf !== undefined && retryOf.iat + MAX_ENVELOPE_LIFE_MS <= time.now())
        throw unknownOutcome("the first request is so old that its record is gone");
      return undefined;
    }
    const earlier = now === undefined ? (entry as LedgerEntry).digest : now.digest();
    const isOurs = retryOf === undefined || retryOf.request === entry.request || retryOf.request === entry.first;
    if (!equal(earlier, digest()) || !isOurs)
      throw new KinError("INVALID_ARGUMENTS", "this idempotency key was used for another request");
    if (now !== undefined) return now.begun.then(() => ({ how: "join", running: now }));
    return recordedOutcome(entry as LedgerEntry);
  }

  async function recordedOutcome(entry: LedgerEntry): Promise<Admitted> {
    const recorded = await ledger.outcome(entry);
    if (recorded === undefined) throw unknownOutcome("it was started before this node restarted");
    return { how: "recorded", recorded };
  }

  /** R8: what an earlier incarnation may have run is not run again. @throws KinError OUTCOME_UNKNOWN */
  function checkAge(call: IncomingCall): void {
    const limit = notBefore();
    if (limit > 0 && decodeEnvelope(call.sealed.bytes).iat < limit)
      throw unknownOutcome("this node's data was restored after the request was signed");
  }

  async function begin(call: IncomingCall, runnable: Runnable, digest: () => Uint8Array): Promise<Admitted> {
    const { person } = call.from;
    if ((counts.get(person) ?? 0) >= maxCallsPerPerson)
      throw new KinError("OVERLOADED", `${maxCallsPerPerson} calls of yours are running here: wait for one to end`);
    counts.set(person, (counts.get(person) ?? 0) + 1);
    const stop = new AbortController();
    const progress = createProgress();
    const begun = runnable.readOnly ? Promise.resolve() : ledger.begin(rowOf(call, digest()));
    const outcome = begun.then(
      () => execute(call, runnable, progress, stop),
      (error: unknown) => ({ error: errorShape(error) }),
    );
    const first = call.request.retryOf?.request;
    const run: Running = { digest, request: call.id, first, begun, progress, outcome, stop };
    const key = runningKey(call);
    running.set(key, run);
    void outcome.finally(() => {
      running.delete(key);
      release(person);
    });
    await begun;
    return { how: "run", running: run };
  }

  function release(person: PersonId): void {
    const left = counts.get(person)! - 1;
    if (left === 0) counts.delete(person);
    else counts.set(person, left);
  }

  /** Runs it to its end, its deadline or its cancellation, and records how it ended. Never rejects. */
  async function execute(
    call: IncomingCall,
    runnable: Runnable,
    progress: Progress,
    stop: AbortController,
  ): Promise<RecordedOutcome> {
    const began = time.monotonic();
    recordAgent(call, "started", null, 0);
    const ran = await runBounded(call, runnable, progress, stop);
    const recorded = runnable.readOnly ? ran : writable(ran);
    progress.end();
    recordAgent(call, "ended", "outcome" in recorded ? "ok" : recorded.error.code, time.monotonic() - began);
    if (!runnable.readOnly) {
      try {
        await ledger.end(call.from.person, call.request.key, recorded);
      } catch (error) {
        deps.warn(`how call ${call.id} ended could not be recorded`, error);
      }
    }
    return recorded;
  }

  async function runBounded(
    call: IncomingCall,
    runnable: Runnable,
    progress: Progress,
    stop: AbortController,
  ): Promise<RecordedOutcome> {
    const { signal } = stop;
    const cancelTimer = time.after(Math.max(0, call.deadlineAt - time.now()), () => stop.abort(lateness(call)));
    const stopped = new Promise<RecordedOutcome>((resolve) => {
      const give = (): void => resolve({ error: errorShape(signal.reason) });
      if (signal.aborted) give();
      else signal.addEventListener("abort", give, { once: true });
    });
    try {
      const ran = runnable
        .run(call, (parts) => progress.emit(parts), signal)
        .then(
          (outcome) => ({ outcome }),
          (error: unknown) => ({ error: failure(call, error) }),
        );
      return await Promise.race([ran, stopped]);
    } catch (error) {
      return { error: failure(call, error) };
    } finally {
      cancelTimer();
      stop.abort(OVER);
    }
  }

  /** Passes on what the run says. If the caller goes away, the run is stopped. */
  async function* follow(run: Running, signal: AbortSignal): AsyncGenerator<CallEvent, void, void> {
    const stop = (): void => run.stop.abort(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    try {
      yield { type: "accepted", index: 0 };
      let index = 1;
      for (let parts = await run.progress.next(); parts !== undefined; parts = await run.progress.next())
        yield { type: "progress", index: index++, parts };
      yield ending(await run.outcome, index);
    } finally {
      signal.removeEventListener("abort", stop);
      run.stop.abort(UNHEARD);
    }
  }

  // ---- audit

  function recordRefusal(call: IncomingCall, error: ErrorShape): void {
    const value = { ...auditOf(call, time.now()), event: "refused" as const, outcome: error.code, ms: 0 };
    deps.record(value, "soon").catch((lost: unknown) => deps.warn("a refusal could not be recorded", lost));
  }

  function recordAgent(call: IncomingCall, event: "started" | "ended", outcome: string | null, ms: number): void {
    if (!("agent" in call.request.target)) return;
    const base = auditOf(call, time.now());
    const written =
      event === "started"
        ? deps.record({
            ...base,
            event,
            share: shareOf(call),
            arguments: argumentsHash(call.request.arguments),
          })
        : deps.record({ ...base, event, outcome: outcome ?? "ok", ms: Math.round(ms) });
    written.catch((lost: unknown) => deps.warn(`the ${event} of an agent could not be recorded`, lost));
  }

  return handle;
}

/**
 * Brings here what a durable call needs from its caller's device, before it starts: that device may be gone later. For who may not
 * call, and for what has begun before, nothing is fetched: the door has the word. @throws KinError what `Runnable.fetch` throws
 */
export async function fetchBefore(
  { find, ledger }: Pick<DispatchDeps, "find"> & { ledger: Pick<Ledger, "wordOn"> },
  call: IncomingCall,
  signal: AbortSignal,
): Promise<void> {
  const runnable = find(call.request.target);
  if (runnable?.fetch === undefined || !isAllowed(runnable, call)) return;
  if ((await ledger.wordOn(call.from.person, call.request)) === "never-begun") await runnable.fetch(call, signal);
}

function isAllowed(runnable: Runnable, { from, request }: IncomingCall): boolean {
  try {
    return runnable.mayCall(from.person, request.arguments);
  } catch (error) {
    if (error instanceof KinError) return false;
    throw error;
  }
}

/** @throws KinError BAD_REQUEST, LOOP, TOO_DEEP */
function checkChain({ from, request }: IncomingCall, self: PersonId): void {
  const { chain, budget, target } = request;
  const last = chain.at(-1);
  if (last === undefined || last.person !== from.person || last.device !== from.device || last.agent !== from.agent)
    throw new KinError("BAD_REQUEST", "the last link of the chain is the caller");
  if ("agent" in target && chain.some((link) => link.person === self && link.agent === target.agent))
    throw new KinError("LOOP", `agent "${target.agent}" is already part of this chain of calls`);
  if (chain.length - 1 + budget.depth > MAX_CALL_DEPTH)
    throw new KinError(
      "TOO_DEEP",
      `${chain.length - 1} delegations and a budget of ${budget.depth} more: at most ${MAX_CALL_DEPTH} together`,
    );
}

/** Most calls are neither recorded nor made twice: then nobody asks for it. */
function digestOf(call: IncomingCall): () => Uint8Array {
  let digest: Uint8Array | undefined;
  return () => (digest ??= requestDigest(call.request));
}

interface Progress {
  /** Resolves when there is room for more. @throws KinError CANCELLED if the call is over: a loop that emits must end */
  emit(parts: Part[]): Promise<void>;
  end(): void;
  /** Undefined: no more. */
  next(): Promise<Part[] | undefined>;
}

function createProgress(): Progress {
  const state = { waiting: [] as Part[][], ended: false };
  let wakeReader = (): void => {};
  let wakeWriters: (() => void)[] = [];

  function wake(): void {
    const writers = wakeWriters;
    wakeWriters = [];
    for (const wake of writers) wake();
  }

  return {
    async emit(parts) {
      while (!state.ended && state.waiting.length >= MAX_WAITING_PROGRESS)
        await new Promise<void>((resolve) => wakeWriters.push(resolve));
      if (state.ended) throw new KinError("CANCELLED", "the call is over: nobody hears its progress");
      state.waiting.push(parts);
      wakeReader();
    },
    end() {
      state.ended = true;
      wakeReader();
      wake();
    },
    async next() {
      while (!state.ended && state.waiting.length === 0) await new Promise<void>((resolve) => (wakeReader = resolve));
      const parts = state.waiting.shift();
      wake();
      return parts;
    },
  };
}

/** The outcome of a call that somebody else started; our own cancellation and deadline end only the waiting. */
async function firstOf(
  outcome: Promise<RecordedOutcome>,
  time: Time,
  call: IncomingCall,
  signal: AbortSignal,
): Promise<RecordedOutcome> {
  let cancelTimer = (): void => {};
  const gaveUp = new Promise<RecordedOutcome>((resolve) => {
    const give = (error: unknown): void => resolve({ error: errorShape(error) });
    cancelTimer = time.after(Math.max(0, call.deadlineAt - time.now()), () => give(lateness(call)));
    if (signal.aborted) give(signal.reason);
    else signal.addEventListener("abort", () => give(signal.reason), { once: true });
  });
  return await Promise.race([outcome, gaveUp]).finally(() => cancelTimer());
}

function ending(recorded: RecordedOutcome, index: number): CallEvent {
  return "outcome" in recorded
    ? { type: "result", index, outcome: recorded.outcome }
    : { type: "failure", index, error: recorded.error };
}

/** An outcome that no body can hold is the failure that says so, here, before it is recorded. */
function writable(recorded: RecordedOutcome): RecordedOutcome {
  try {
    if ("outcome" in recorded) outcomeValue(recorded.outcome);
    return recorded;
  } catch (error) {
    return { error: errorShape(error) };
  }
}

/** A retry may be of a request that still travels as an event: its row is kept until that one has expired at the latest (R8). */
function rowOf(call: IncomingCall, digest: Uint8Array): Parameters<Ledger["begin"]>[0] {
  const { retryOf } = call.request;
  return {
    person: call.from.person,
    key: call.request.key,
    request: call.id,
    first: retryOf?.request,
    digest,
    callerKey: call.sealed.seal.key,
    expiresAt: Math.max(call.expiresAt, retryOf === undefined ? 0 : retryOf.iat + MAX_DURABLE_LIFE_MS),
  };
}

function runningKey(call: IncomingCall): string {
  return `${call.from.person}/${toHex(call.request.key)}`;
}

/** What a runnable threw, as the caller may see it. */
function failure(call: IncomingCall, error: unknown): ErrorShape {
  if (error instanceof KinError) return errorShape(error);
  const code = "agent" in call.request.target ? "AGENT_FAILED" : "TOOL_FAILED";
  return { code, message: tellableReason(error) };
}

function lateness(call: IncomingCall): KinError {
  return new KinError(
    "DEADLINE_EXCEEDED",
    `the call did not end within its deadline of ${call.request.deadlineMs} ms and was stopped`,
    { hint: "what it did until then stays done" },
  );
}

function unknownOutcome(why: string): KinError {
  return new KinError("OUTCOME_UNKNOWN", `nobody knows how this call ended: ${why}`, {
    hint: "look whether its effect is there before you ask again",
  });
}

function auditOf(call: IncomingCall, at: number) {
  const { target } = call.request;
  return {
    at,
    call: call.id as string,
    caller: call.from,
    target: "agent" in target ? target.agent : `tools/${target.tool}`,
    through: null,
  };
}

function shareOf(call: IncomingCall): string | null {
  const { share } = call.request.arguments;
  return typeof share === "string" ? share.slice(0, 64) : null;
}

/**
 * People who ask each other by events: real replicas, outboxes, ledgers and the real door, over memory disks that can die at any
 * write; no network but syncs that the test orders.
 */
import { afterEach } from "vitest";
import { equal, toHex } from "../../protocols/bytes.ts";
import { errorShape, KinError } from "../../protocols/errors.ts";
import { idBytes, type DeviceId, type EnvelopeId, type PersonId } from "../../protocols/ids.ts";
import { requestBody } from "../../protocols/invoke-bodies.ts";
import { sealEnvelope, type InvokeDeps } from "../../protocols/invoke-deps.ts";
import type { CallEvent, CallRequest, IncomingCall } from "../../protocols/invoke.ts";
import { makeCertificate, stampOf } from "../../protocols/roster-record.ts";
import { sealOne } from "../../protocols/signature.ts";
import { createAsks, type Asks } from "../../sync/asks.ts";
import { createOutbox, type Outbox, type OutboxDeps } from "../../sync/outbox.ts";
import type { MemoryDisk } from "../../sync/stores/memory-disk.ts";
import { createDispatch, type Runnable } from "../../node/agents/dispatch.ts";
import { createLedger } from "../../node/agents/ledger.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import { keysOf, memberOf, openMember, startSync, syncOnce, until, type TestMember } from "../sync/mesh.ts";

/** What tools did to the world: no crash takes it back. */
export interface Effects {
  runs: string[];
}

export interface ActorOptions {
  /** The tool `work`, by what it does; left out: there is none here. */
  work?: Runnable | null;
  outbox?: Partial<OutboxDeps>;
}

/** A device that asks and is asked. */
export interface Actor {
  member: TestMember;
  outbox: Outbox;
  handle: ReturnType<typeof createDispatch>;
  invoke: InvokeDeps;
  warned: string[];
  stop(): Promise<void>;
}

let envelopes = 0;

export function invokeDeps({ replica, keys, time }: TestMember): InvokeDeps {
  const membership = replica.membership();
  const person =
    membership.devices.get(replica.device)?.member.person ?? membership.formerDevices.get(replica.device)!.person;
  const random = seededRandom(`envelopes ${envelopes++}`);
  return {
    mesh: replica.mesh,
    self: { person, device: replica.device },
    boot: new Uint8Array(16),
    keyMaySpeakFor: (key, from) => from.agent === null && equal(key, idBytes(from.device)),
    isMember: (who, device) => replica.membership().devices.get(device)?.member.person === who,
    skewOf: () => 0,
    sealAs: (agent) => (agent === null ? async (bytes) => sealOne(keys.device, "envelope/device", bytes) : undefined),
    time,
    random,
    stamp: () => stampOf(time.now()),
  };
}

/** A fold of asks as this actor has it; throws what is refused if nobody wants it. */
export function asksOf(
  { invoke: { mesh, self, keyMaySpeakFor } }: Actor,
  refused: (error: KinError) => void = (error) => {
    throw error;
  },
): Asks {
  return createAsks({
    mesh,
    self,
    couldSpeakFor: keyMaySpeakFor,
    hasStarted: () => false,
    refused: (_event, error) => refused(error),
    remembered: 16,
  });
}

/** Starts actors; after each test they are stopped. */
export function actorsOfEachTest(): (member: TestMember, options?: ActorOptions) => Promise<Actor> {
  const actors: Actor[] = [];
  afterEach(async () => {
    for (const actor of actors.splice(0)) await actor.stop();
  });
  return async (member, options) => {
    const made = await startActor(member, options);
    actors.push(made);
    return made;
  };
}

/** A tool that leaves a mark and says how often it has run. */
export function marking(
  effects: Effects,
  { readOnly = false, mayCall = () => true }: Partial<Runnable> = {},
): Runnable {
  return {
    readOnly,
    mayCall,
    async run(call) {
      effects.runs.push(toHex(call.request.key));
      return { parts: [{ text: `run ${effects.runs.length}` }] };
    },
  };
}

/** Starts what a node has for durable calls. Nothing is run before `serve`. */
export async function startActor(member: TestMember, { work = null, outbox = {} }: ActorOptions = {}): Promise<Actor> {
  const { replica, time } = member;
  const invoke = invokeDeps(member);
  const warned: string[] = [];
  const warn = (sentence: string, error: unknown): void =>
    void warned.push(`${sentence}: ${errorShape(error).message}`);
  const ledger = await createLedger({ store: replica.store, time, warn });
  const handle = createDispatch(
    {
      self: invoke.self,
      find: (target) => ("tool" in target && target.tool === "work" ? (work ?? undefined) : undefined),
      isMember: invoke.isMember,
      ledger,
      time,
      record: () => Promise.resolve(),
      warn,
    },
    {
      notBefore: () => {
        const { first, bornAt } = replica.incarnation();
        return first ? 0 : bornAt + 300_000;
      },
    },
  );
  const recall: OutboxDeps["recall"] = (person, request) => ledger.wordOn(person, request);
  const box = await createOutbox({ replica, invoke, time, recall, warn, ...outbox });
  return {
    member,
    outbox: box,
    handle,
    invoke,
    warned,
    async stop() {
      ledger.stop();
      await box.close();
    },
  };
}

export interface Asking {
  lifeMs?: number;
  key?: Uint8Array;
  /** A device of `to` by name. @default its first */
  device?: DeviceId;
  retryOf?: CallRequest["retryOf"];
  parts?: CallRequest["parts"];
  /** That device and no other. */
  only?: boolean;
}

export function requestOf(from: Actor, { key, retryOf, parts = [] }: Asking = {}): CallRequest {
  return {
    target: { tool: "work" },
    parts,
    arguments: {},
    key: key ?? from.invoke.random.bytes(16),
    deadlineMs: 60_000,
    budget: { depth: 4 },
    chain: [{ ...from.invoke.self, agent: null }],
    retryOf,
  };
}

export async function ask(from: Actor, to: TestMember, asking: Asking = {}): Promise<EnvelopeId> {
  const sealed = await sealedRequest(from, to, asking);
  return from.outbox.ask(sealed, `${to.name} is offline`, { only: asking.only ?? false });
}

export function sealedRequest(from: Actor, to: TestMember, asking: Asking = {}) {
  const { person } = memberOf(from.member, to.name.split(" ")[0]!);
  const body = requestBody(requestOf(from, asking));
  const address = { person, device: asking.device ?? to.replica.device, agent: "work" };
  const envelope = { to: address, kind: "invoke/request" as const, body };
  return sealEnvelope(from.invoke, null, envelope, asking.lifeMs ?? 86_400_000).sealed;
}

/** The same request over a live stream, as the callee's door sees it. */
export async function liveCall(from: Actor, to: Actor, asking: Asking & { key: Uint8Array }): Promise<IncomingCall> {
  const request = requestOf(from, asking);
  const { self } = to.invoke;
  const envelope = { to: { ...self, agent: "work" }, kind: "invoke/request" as const, body: requestBody(request) };
  const sealed = sealEnvelope(from.invoke, null, envelope, 600_000);
  const now = from.member.time.now();
  return {
    mesh: from.invoke.mesh,
    id: toHex(from.invoke.random.bytes(32)) as EnvelopeId,
    from: { ...from.invoke.self, agent: null },
    request,
    sealed: await sealed.sealed,
    way: "live",
    deadlineAt: now + 60_000,
    expiresAt: now + 600_000,
  };
}

export async function runLive(to: Actor, call: IncomingCall): Promise<CallEvent[]> {
  const events: CallEvent[] = [];
  for await (const event of to.handle(call, new AbortController().signal)) events.push(event);
  return events;
}

/** The answer if it is here now. */
export function answerNow({ outbox }: Actor, id: EnvelopeId): Promise<CallEvent[] | null> {
  return outbox.answer(id, AbortSignal.abort());
}

/** "result:run 1" or the code of the failure; null: no answer yet. */
export async function outcomeOf(actor: Actor, id: EnvelopeId): Promise<string | null> {
  const last = (await answerNow(actor, id))?.at(-1);
  if (last === undefined) return null;
  if (last.type === "failure") return last.error.code;
  if (last.type !== "result" || !("parts" in last.outcome)) throw new Error(`no end: ${JSON.stringify(last)}`);
  const [part] = last.outcome.parts;
  return `result:${part !== undefined && "text" in part ? part.text : ""}`;
}

/** Syncs until the caller has the answer. */
export async function answered(from: Actor, callee: TestMember, id: EnvelopeId): Promise<string | null> {
  await until(async () => {
    if ((await outcomeOf(from, id)) !== null) return true;
    await syncOnce(from.member, callee);
    return (await outcomeOf(from, id)) !== null;
  }, "the answer came");
  return outcomeOf(from, id);
}

/** A second device of a member's person, countersigned by the first one's writing it (R1). */
export async function addDevice(member: TestMember, name: string): Promise<TestMember> {
  const { replica, keys, time } = member;
  const own = keysOf(`${member.name} ${name}`);
  const device = { id: own.id, name, sealingKey: own.sealing.publicKey };
  const person: PersonId = replica.membership().devices.get(replica.device)!.member.person;
  const cert = makeCertificate(keys.person, idBytes(replica.mesh), device, bytesOf(`${name} cert`).subarray(0, 16));
  await replica.act(() => ({ records: [{ type: "device-added", person, device, cert }] }));
  const records = replica.records();
  return openMember(`${member.name} ${name}`, replica.mesh, { time, records });
}

export interface MortalDisk {
  disk: MemoryDisk;
  died: Promise<void>;
  /** From now on the process lives for so many writes and flushes; the next one and all later ones never come back. */
  dieAfter(steps: number): void;
}

/** A disk on which the process can die. */
export function mortal(disk: MemoryDisk): MortalDisk {
  const never = new Promise<never>(() => {});
  let left = Infinity;
  let die!: () => void;
  const died = new Promise<void>((resolve) => (die = resolve));
  const step = (work: () => Promise<void>): Promise<void> => {
    if (left-- > 0) return work();
    die();
    return never;
  };
  return {
    died,
    dieAfter: (steps) => void (left = steps),
    disk: {
      files: disk.files,
      read: (name) => disk.read(name),
      append: (name, bytes) => step(() => disk.append(name, bytes)),
      flush: (name) => step(() => disk.flush(name)),
      crash: (keep) => disk.crash(keep),
    },
  };
}

/** Opens a member again from what its disk has kept, as a new process. */
export function reborn(dead: TestMember, disk: MemoryDisk): Promise<TestMember> {
  const incarnation = { ...dead.replica.incarnation(), fresh: false };
  const { time, epochKeys } = dead;
  return openMember(dead.name, dead.replica.mesh, { time, disk, epochKeys, incarnation });
}

/** One sync from the vectors to the end; given up when somebody dies. */
export async function meet(a: TestMember, b: TestMember, died: Promise<void>[] = []): Promise<void> {
  const syncing = startSync(a, b);
  let isDead = false;
  const dead = Promise.race([new Promise<never>(() => {}), ...died]).then(() => void (isDead = true));
  await Promise.race([syncing.caughtUp, dead]);
  if (!isDead) await Promise.race([syncing.stop(), dead]);
  if (isDead) syncing.pair.cut(new KinError("CLOSED", "killed"));
}

/** Until `done` holds: what is under way waits for other threads' key work, never for a clock. */
export async function settle(done: () => boolean | Promise<boolean>, turns = 400): Promise<boolean> {
  for (let i = 0; i < turns; i++) {
    if (await done()) return true;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return false;
}

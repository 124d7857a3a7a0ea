/** Nodes of one mesh that call each other over in-memory wires: real keys, real seals, real dispatch and ledger, no libp2p. */
import { randomBytes } from "node:crypto";
import { signingKeyFromSeed } from "#crypto";
import { equal } from "../../protocols/bytes.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import type { Time } from "../../protocols/effects.ts";
import type { Sender } from "../../protocols/envelope.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf, type DeviceId, type MeshId, type PersonId } from "../../protocols/ids.ts";
import type { CallRequest, CallTarget, HandleInvocation, SignedCallEvent } from "../../protocols/invoke.ts";
import { createSealer } from "../../protocols/signature.ts";
import type { EventStore } from "../../sync/store.ts";
import { createDispatch, type DispatchOptions, type Runnable } from "../../node/agents/dispatch.ts";
import { createLedger, type Ledger } from "../../node/agents/ledger.ts";
import { createInvocations, type Invocations } from "../../node/net/invoke.ts";
import { wirePair, type WirePair, type WirePairOptions } from "../wire-pair.ts";

export const MESH = idOf<"mesh">(new Uint8Array(32).fill(42)) as MeshId;

export function realTime(offsetMs = 0): Time {
  return {
    now: () => Date.now() + offsetMs,
    monotonic: () => performance.now(),
    after(delayMs, run) {
      const timer = setTimeout(run, delayMs);
      return () => clearTimeout(timer);
    },
  };
}

export const random = { bytes: (count: number) => new Uint8Array(randomBytes(count)) };

/** A store of values alone, in memory: what the ledger needs. */
export function valueStore(): Pick<EventStore, "append" | "value" | "values"> & { appends: number } {
  const values = new Map<string, Uint8Array>();
  const store = {
    appends: 0,
    append(batch: Parameters<EventStore["append"]>[0]) {
      store.appends++;
      for (const { key, value } of batch.values ?? []) {
        if (value === null) values.delete(key);
        else values.set(key, value);
      }
      return Promise.resolve();
    },
    value: (key: string) => Promise.resolve(values.get(key)),
    values: (prefix: string) =>
      Promise.resolve([...values].filter(([key]) => key.startsWith(prefix)).map(([key, value]) => ({ key, value }))),
  };
  return store;
}

export interface NodeOptions {
  runnables?: Record<string, Runnable>;
  /** Instead of dispatch. */
  handle?: HandleInvocation;
  time?: Time;
  store?: Pick<EventStore, "append" | "value" | "values">;
  dispatch?: DispatchOptions;
  skewOf?: (device: DeviceId) => number | null;
  /** Keeps the node's keys: a restart. */
  of?: TestNode;
}

export interface TestNode {
  name: string;
  person: PersonId;
  device: DeviceId;
  boot: Uint8Array;
  deviceKey: SigningKey;
  agentKeys: Map<string, SigningKey>;
  invocations: Invocations;
  handle: HandleInvocation;
  ledger: Ledger;
  me(agent?: string | null): Sender;
  seal(
    agent: string | null,
  ): ((bytes: Uint8Array) => Promise<import("../../protocols/signature.ts").Sealed>) | undefined;
  /** How many signatures its keys have made. */
  signatures: { count: number };
  records: Record<string, unknown>[];
  online: boolean;
}

export interface World {
  add(name: string, options?: NodeOptions): Promise<TestNode>;
  remove(node: TestNode): void;
  /** All wires that were opened, newest last. */
  wires: WirePair[];
  /** Used for the next wires. */
  wireOptions: WirePairOptions;
  stop(): Promise<void>;
}

export function createWorld(): World {
  const nodes = new Map<DeviceId, TestNode>();
  const members = new Set<PersonId>();
  const world: World = { add, remove: (node) => void members.delete(node.person), wires: [], wireOptions: {}, stop };

  function keyMaySpeakFor(key: Uint8Array, from: Sender): boolean {
    const node = nodes.get(from.device);
    if (node === undefined || node.person !== from.person) return false;
    const right = from.agent === null ? node.deviceKey : node.agentKeys.get(from.agent);
    return right !== undefined && equal(right.publicKey, key);
  }

  async function add(name: string, options: NodeOptions = {}): Promise<TestNode> {
    const old = options.of;
    const signatures = { count: 0 };
    const deviceKey = old?.deviceKey ?? signingKeyFromSeed(random.bytes(32));
    const person = old?.person ?? idOf<"person">(random.bytes(32));
    const device = idOf<"device">(deviceKey.publicKey);
    const boot = random.bytes(16);
    const agentKeys = old?.agentKeys ?? new Map<string, SigningKey>();
    for (const target of Object.keys(options.runnables ?? {}))
      if (!target.startsWith("tools/") && !agentKeys.has(target))
        agentKeys.set(target, signingKeyFromSeed(random.bytes(32)));
    const time = options.time ?? realTime();
    const sealers = new Map<string | null, ReturnType<typeof createSealer>>();

    function seal(agent: string | null) {
      const key = agent === null ? deviceKey : agentKeys.get(agent);
      if (key === undefined) return undefined;
      const counted = { publicKey: key.publicKey, sign: (m: Uint8Array) => (signatures.count++, key.sign(m)) };
      const sealer = sealers.get(agent) ?? createSealer(counted, setImmediate);
      sealers.set(agent, sealer);
      return (bytes: Uint8Array) => sealer.seal(agent === null ? "envelope/device" : "envelope/agent", bytes);
    }

    const ledger = await createLedger({ store: options.store ?? valueStore(), time, warn });
    const records: TestNode["records"] = [];
    const find = (target: CallTarget) => options.runnables?.["agent" in target ? target.agent : `tools/${target.tool}`];
    const handle =
      options.handle ??
      createDispatch(
        {
          self: { person, device },
          find,
          isMember: (who) => members.has(who),
          ledger,
          time,
          record: (record) => Promise.resolve(void records.push({ ...record })),
          warn,
        },
        options.dispatch,
      );
    const invocations = createInvocations({
      mesh: MESH,
      self: { person, device },
      boot,
      keyMaySpeakFor,
      isMember: (who) => members.has(who),
      skewOf: options.skewOf ?? (() => 0),
      sealAs: seal,
      time,
      random,
      stamp: () => random.bytes(8),
      open: (to) => open(device, to),
      bootOf: (of) => nodes.get(of)?.boot,
      handle,
      recall: (request, key) => ledger.recall(request, key),
      endOfTick: setImmediate,
    });
    const node: TestNode = {
      name,
      person,
      device,
      boot,
      deviceKey,
      agentKeys,
      invocations,
      handle,
      ledger,
      me: (agent = null) => ({ person, device, agent }),
      seal,
      signatures,
      records,
      online: true,
    };
    nodes.set(device, node);
    members.add(person);
    return node;
  }

  function open(from: DeviceId, to: DeviceId): Promise<WirePair["left"]> {
    const node = nodes.get(to);
    if (node === undefined || !node.online) return Promise.reject(new KinError("OFFLINE", "nobody is there"));
    const pair = wirePair(world.wireOptions);
    world.wires.push(pair);
    void node.invocations.serve(from, pair.right);
    return Promise.resolve(pair.left);
  }

  async function stop(): Promise<void> {
    for (const node of nodes.values()) node.ledger.stop();
    await Promise.all([...nodes.values()].map((node) => node.invocations.stop()));
  }

  return world;
}

function warn(sentence: string, error: unknown): void {
  throw new Error(`${sentence}: ${String(error)}`);
}

export function request(from: Sender, target: CallTarget, change: Partial<CallRequest> = {}): CallRequest {
  return {
    target,
    parts: [],
    arguments: {},
    key: random.bytes(16),
    deadlineMs: 10_000,
    budget: { depth: 4 },
    chain: [{ ...from }],
    ...change,
  };
}

export function invoke(
  from: TestNode,
  to: TestNode,
  target: CallTarget,
  change: Partial<CallRequest> = {},
  signal: AbortSignal = new AbortController().signal,
): AsyncIterable<SignedCallEvent> {
  return from.invocations.invoke(
    { from: from.me(), to: { person: to.person, device: to.device }, request: request(from.me(), target, change) },
    signal,
  );
}

export async function all(events: AsyncIterable<SignedCallEvent>): Promise<SignedCallEvent[]> {
  const list: SignedCallEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

/** Waits for the first event; the promise in `rest` then has all of them. */
export async function started(events: AsyncIterable<SignedCallEvent>): Promise<{ rest: Promise<SignedCallEvent[]> }> {
  const iterator = events[Symbol.asyncIterator]();
  const first = await iterator.next();
  const rest = async (): Promise<SignedCallEvent[]> => {
    const list: SignedCallEvent[] = [];
    for (let next = first; next.done !== true; next = await iterator.next()) list.push(next.value);
    return list;
  };
  return { rest: rest() };
}

/** Looks again and again until it is so. */
export async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await sleep(5);
}

/** `accepted progress:a progress:b result:c`, or `failure:CODE`. */
export function told(events: SignedCallEvent[]): string {
  return events
    .map((event) => {
      if (event.type === "accepted") return "accepted";
      if (event.type === "failure") return `failure:${event.error.code}`;
      const parts = event.type === "progress" ? event.parts : "parts" in event.outcome ? event.outcome.parts : [];
      return `${event.type}:${parts.map((part) => ("text" in part ? part.text : "?")).join("")}`;
    })
    .join(" ");
}

/** A runnable that everybody may call. */
export function open(run: Runnable["run"], readOnly = true): Runnable {
  return { readOnly, mayCall: () => true, run };
}

export const echo = open((call) => Promise.resolve({ parts: call.request.parts }));

/** Says `count` numbers, then "done". */
export function counting(count: number): Runnable {
  return open(async (_call, emit) => {
    for (let i = 1; i <= count; i++) await emit([{ text: String(i) }]);
    return { parts: [{ text: "done" }] };
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * From a connection to a member who is there: the hello, and what a new, second, restarted or lost connection means.
 *
 *   we dialled    ─▶ hello ─▶ greeted ─▶ peer-connected
 *                      └ "a stranger"? present our proof once, hello again
 *   they dialled  ─▶ wait for their hello ─▶ greeted ─▶ peer-connected
 *   another boot id than before ─▶ what hangs from before the restart is cut ─▶ peer-disconnected, peer-connected
 *   the last connection closed  ─▶ peer-disconnected ─▶ `lost`
 *
 * Two peers that dial each other at once get two connections; both choose the same one for new streams (`bestConnection`),
 * and whoever dialled the other one closes it when nothing runs over it.
 */
import type { Connection, Stream } from "@libp2p/interface";
import { equal } from "../../protocols/bytes.ts";
import type { Time, Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { greet, HELLO_PROTOCOL, HELLO_TIMEOUT_MS, type Greeting, type HelloDeps } from "../../protocols/hello.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { JOIN_PROTOCOL } from "../../protocols/join.ts";
import { withoutPeer } from "./addresses.ts";
import { deviceOf } from "./gate.ts";
import type { NetworkEvent } from "./network.ts";
import { bestConnection, type PeerEntries, type PeerEntry } from "./peer-entries.ts";
import { withSignal } from "./with-signal.ts";
import { createWire } from "./wire.ts";

/** Two connections to one peer: how often the one that is not preferred is looked at. */
const DUPLICATE_CHECK_MS = 3_000;

export interface GreetDeps {
  self: DeviceId;
  time: Time;
  entries: PeerEntries;
  /** What we say in a hello to `remote`. @throws KinError NOT_IN_MESH, NOT_A_MEMBER */
  readonly helloFor: (remote: DeviceId) => HelloDeps;
  /** Shows a peer that takes us for a stranger what makes us a member; true: it knows us now. */
  present: ((device: DeviceId, wire: Wire, signal: AbortSignal) => Promise<boolean>) | undefined;
  /** A join is just dialling it: its connection stands although it has not greeted us. */
  readonly isJoining: (device: DeviceId) => boolean;
  readonly nameOf: (device: DeviceId) => string;
  readonly emit: (event: NetworkEvent) => void;
  readonly report: (error: unknown, doing: string) => void;
  /** A peer is there: asks for its addresses. */
  readonly identify: (connection: Connection) => Promise<void>;
  /** Its last connection has closed. */
  readonly lost: (entry: PeerEntry) => void;
  stopped: AbortSignal;
}

export interface Greetings {
  /** A connection of a member: says hello if we dialled. */
  adopt(connection: Connection): void;
  /** The handler of `/kin/hello/1`. */
  accept(stream: Stream, connection: Connection): void;
  /** The hello on this connection, or, if the peer dialled it, whatever hello of the peer comes first. */
  on(entry: PeerEntry, connection: Connection, signal: AbortSignal): Promise<Greeting>;
  next(entry: PeerEntry, signal: AbortSignal): Promise<Greeting>;
}

export function createGreetings(deps: GreetDeps): Greetings {
  const { entries, time, emit, nameOf, report } = deps;
  const soon = (): AbortSignal => AbortSignal.any([deps.stopped, AbortSignal.timeout(HELLO_TIMEOUT_MS)]);

  function adopt(connection: Connection): void {
    const entry = entries.of(deviceOf(connection.remotePeer)!);
    if (entry.connections.has(connection)) return;
    entry.connections.add(connection);
    entry.lastSeenAt = time.now();
    connection.addEventListener("close", () => onClosed(entry, connection));
    if (connection.direction === "outbound") begin(entry, connection);
    checkDuplicates(entry);
  }

  function begin(entry: PeerEntry, connection: Connection): void {
    const hello = say(entry, connection);
    entry.hellos.set(connection, hello);
    hello.catch((error: unknown) => {
      // The peer is there but won't have us: without a hello the connection is good for joining only.
      entry.connections.delete(connection);
      const joins = connection.streams.some((stream) => stream.protocol === JOIN_PROTOCOL);
      if (!joins && !deps.isJoining(entry.device)) connection.abort(asError(error));
    });
  }

  function onClosed(entry: PeerEntry, connection: Connection): void {
    entry.connections.delete(connection);
    entry.hellos.delete(connection);
    if (entry.connections.size > 0) return;
    entry.cancelDuplicateCheck?.();
    const { greeting } = entry;
    entry.greeting = null;
    if (greeting === null) return;
    entry.lastSeenAt = time.now();
    emit({ type: "peer-disconnected", device: entry.device, person: greeting.person });
    deps.lost(entry);
  }

  async function say(entry: PeerEntry, connection: Connection): Promise<Greeting> {
    let greeting: Greeting;
    try {
      greeting = await helloOver(entry, connection);
    } catch (error) {
      if (!takesUsForStranger(error) || deps.present === undefined || connection.status !== "open") throw error;
      await presentOver(entry, connection, error);
      greeting = await helloOver(entry, connection);
    }
    greeted(entry, connection, greeting);
    return greeting;
  }

  async function helloOver(entry: PeerEntry, connection: Connection): Promise<Greeting> {
    const signal = soon();
    const stream = await connection.newStream(HELLO_PROTOCOL, { signal, runOnLimitedConnection: true });
    return greet(createWire(stream), deps.helloFor(entry.device), signal);
  }

  async function presentOver(entry: PeerEntry, connection: Connection, refusal: unknown): Promise<void> {
    const signal = soon();
    const wire = createWire(await connection.newStream(JOIN_PROTOCOL, { signal, runOnLimitedConnection: true }));
    try {
      if (await deps.present!(entry.device, wire, signal)) return;
    } finally {
      wire.close().catch(() => {});
    }
    throw new KinError("NOT_A_MEMBER", `${nameOf(entry.device)} does not take us for a member`, { cause: refusal });
  }

  function accept(stream: Stream, connection: Connection): void {
    const entry = entries.of(deviceOf(connection.remotePeer)!);
    const wire = createWire(stream);
    const hello = greet(wire, deps.helloFor(entry.device), soon()).then((greeting) => {
      greeted(entry, connection, greeting);
      return greeting;
    });
    entry.hellos.set(connection, hello);
    hello.catch((error: unknown) => {
      wire.abort(asError(error));
      report(error, `hello with ${nameOf(entry.device)}`);
    });
  }

  function greeted(entry: PeerEntry, connection: Connection, greeting: Greeting): void {
    if (connection.status !== "open" || !entry.connections.has(connection)) return;
    const before = entry.greeting;
    const restarted = before !== null && !equal(before.boot, greeting.boot);
    if (restarted) dropOlder(entry, connection, before);
    entry.greeting = greeting;
    entry.lastSeenAt = time.now();
    entry.failures = 0;
    entry.cancelRetry?.();
    if (connection.direction === "outbound") entries.remember(entry, [withoutPeer(connection.remoteAddr.toString())]);
    if (before === null || restarted) announce(entry.device, greeting);
    for (const ready of entry.waiting) ready(greeting);
    entry.waiting.clear();
    deps.identify(connection).catch((error: unknown) => {
      if (connection.status === "open") report(error, `asking ${nameOf(entry.device)} for its addresses`);
    });
  }

  /** The peer has a new boot id: what still hangs from before its restart is dead, even if TCP has not noticed. */
  function dropOlder(entry: PeerEntry, fresh: Connection, before: Greeting): void {
    entry.greeting = null;
    for (const old of entry.connections) if (old !== fresh) old.abort(new KinError("CLOSED", "the peer has restarted"));
    emit({ type: "peer-disconnected", device: entry.device, person: before.person });
  }

  function announce(device: DeviceId, greeting: Greeting): void {
    const { person, skewMs, clock } = greeting;
    emit({ type: "peer-connected", device, person, greeting });
    if (clock !== "good") emit({ type: "clock-skew", device, person, skewMs, clock });
  }

  /** Two connections to one peer: ours is closed when it is the worse one and idle. */
  function checkDuplicates(entry: PeerEntry): void {
    entry.cancelDuplicateCheck?.();
    entry.cancelDuplicateCheck = null;
    if (entry.connections.size < 2) return;
    entry.cancelDuplicateCheck = time.after(DUPLICATE_CHECK_MS, () => {
      const best = bestConnection(entry, deps.self);
      for (const one of entry.connections) {
        if (one !== best && one.direction === "outbound" && one.streams.length === 0) one.close().catch(() => {});
      }
      checkDuplicates(entry);
    });
  }

  function next(entry: PeerEntry, signal: AbortSignal): Promise<Greeting> {
    if (entry.greeting !== null) return Promise.resolve(entry.greeting);
    let ready: ((greeting: Greeting) => void) | undefined;
    const greeting = new Promise<Greeting>((resolve) => {
      ready = resolve;
      entry.waiting.add(resolve);
    });
    return withSignal(greeting, signal).finally(() => entry.waiting.delete(ready!));
  }

  return {
    adopt,
    accept,
    next,
    on(entry, connection, signal) {
      if (entry.greeting !== null) return Promise.resolve(entry.greeting);
      const hello = entry.hellos.get(connection);
      return hello === undefined ? next(entry, signal) : withSignal(hello, signal);
    },
  };
}

/** How a refused hello looks: the protocol is not offered to strangers, or the stream is cut, or the peer says so. */
function takesUsForStranger(error: unknown): boolean {
  if (error instanceof KinError) return error.code === "NOT_A_MEMBER" || error.code === "CLOSED";
  return error instanceof Error && /UnsupportedProtocol|StreamReset/.test(error.name);
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

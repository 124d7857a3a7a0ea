/**
 * `Network` of `node/net/network.ts` over simulated wires, as much of it as sync and calls stand on: it dials members, says the
 * real hello, presents the real proofs to who takes us for a stranger, serves `/kin/join/1` and lets guests dial it, and tries
 * again when the real `reconnectDelay` says so. Only libp2p itself is replaced, with addresses and the looking for them.
 */
import type { SigningKey } from "../protocols/crypto/keys.ts";
import type { Random, Time, Wire } from "../protocols/effects.ts";
import { errorShape, KinError } from "../protocols/errors.ts";
import { equal } from "../protocols/bytes.ts";
import { greet, HELLO_PROTOCOL, HELLO_TIMEOUT_MS, type Greeting } from "../protocols/hello.ts";
import type { DeviceId } from "../protocols/ids.ts";
import { JOIN_PROTOCOL, presentRecords } from "../protocols/join.ts";
import type { Membership } from "../protocols/membership.ts";
import { SNAPSHOT_FEATURE } from "../protocols/snapshot.ts";
import type { JoinHandler, Network, NetworkEvent, PeerHandler, PeerState } from "../node/net/network.ts";
import { reconnectDelay } from "../node/net/reconnect.ts";
import type { Replica } from "../sync/replica.ts";
import type { Connection, SimNetwork } from "./network.ts";
import type { Life, World } from "./world.ts";

export interface SimPeersDeps {
  world: World;
  network: SimNetwork;
  life: Life;
  device: DeviceId;
  key: SigningKey;
  boot: Uint8Array;
  replica: Replica;
  time: Time;
  random: Random;
}

export interface SimPeers extends Pick<
  Network,
  "device" | "on" | "open" | "handleForMembers" | "handleJoin" | "greeting" | "peers"
> {
  /** Dials who is new, cuts who is gone. From the first time on it listens. */
  setMembership(membership: Membership): void;
  /** Members with a greeted connection. */
  connected(): DeviceId[];
  stop(): void;
}

/** Streams of a peer that wait for its hello to be over. */
const MAX_EARLY_STREAMS = 8;
/** A second connection to a peer is left alone for so long: its hello may be under way. */
const STALE_MS = 3_000;

interface Entry {
  device: DeviceId;
  connection: Connection | null;
  greeting: Greeting | null;
  failures: number;
  dialling: boolean;
  cancelRetry: (() => void) | null;
  early: { protocol: string; wire: Wire }[];
}

export function createSimPeers(deps: SimPeersDeps): SimPeers {
  const { world, network, replica, time, device: self } = deps;
  const entries = new Map<DeviceId, Entry>();
  const handlers = new Map<string, PeerHandler>();
  const listeners = new Set<(event: NetworkEvent) => void>();
  const stopped = new AbortController();
  let membership = replica.membership();
  let isListening = false;
  let handleJoin: JoinHandler = async () => undefined;

  function entryOf(device: DeviceId): Entry {
    const entry = entries.get(device) ?? {
      device,
      connection: null,
      greeting: null,
      failures: 0,
      dialling: false,
      cancelRetry: null,
      early: [],
    };
    entries.set(device, entry);
    return entry;
  }

  function stateOf({ device, greeting }: Entry): PeerState[] {
    if (greeting === null) return [];
    const path = { path: null, transport: null, encrypter: null, rttMs: null, addresses: [], attempts: [] };
    const seen = { skewMs: greeting.skewMs, lastSeenAt: time.now(), failedAt: null };
    return [{ device, person: greeting.person, connected: true, ...path, ...seen }];
  }

  function personOf(device: DeviceId) {
    return membership.devices.get(device)?.member.person ?? null;
  }

  // ── dialling ──

  function dialSoon(entry: Entry): void {
    entry.cancelRetry?.();
    if (stopped.signal.aborted || entry.device === self || personOf(entry.device) === null) return;
    entry.cancelRetry = time.after(reconnectDelay(entry.failures, deps.random), () => void dial(entry));
  }

  async function dial(entry: Entry): Promise<void> {
    entry.cancelRetry = null;
    if (stopped.signal.aborted || entry.dialling || entry.greeting !== null || personOf(entry.device) === null) return;
    entry.dialling = true;
    let connection: Connection | undefined;
    try {
      connection = await network.dial(self, entry.device);
      if (stopped.signal.aborted || entry.greeting !== null) throw new KinError("CLOSED", "not needed any more");
      greeted(entry, connection, await introduce(connection));
    } catch (error) {
      if (!(error instanceof KinError)) throw error;
      world.count("dials that failed");
      connection?.break(error);
      entry.failures++;
      if (entry.greeting === null) dialSoon(entry);
    } finally {
      entry.dialling = false;
    }
  }

  /** Hello, and once more after our proof if we are taken for a stranger (R14). */
  async function introduce(connection: Connection): Promise<Greeting> {
    try {
      return await hello(connection.open(HELLO_PROTOCOL), connection.peer);
    } catch (error) {
      if (!connection.isOpen() || errorShape(error).code !== "NOT_A_MEMBER") throw error;
      await present(connection);
      return await hello(connection.open(HELLO_PROTOCOL), connection.peer);
    }
  }

  async function present(connection: Connection): Promise<void> {
    const { signal, cancel } = within(HELLO_TIMEOUT_MS);
    try {
      world.count("proofs presented");
      const shown = await presentRecords(
        connection.open(JOIN_PROTOCOL),
        {
          mesh: replica.mesh,
          heads: replica.membership().heads,
          proof: (theirHeads) => replica.roster.proofFor(self, theirHeads),
        },
        signal,
      );
      if (shown.ok) return;
      if (shown.records.length > 0) await replica.learn(shown.records.map((record) => record.sealed));
      throw new KinError(shown.error.code, shown.error.message);
    } finally {
      cancel();
    }
  }

  async function hello(wire: Wire, remote: DeviceId): Promise<Greeting> {
    const { signal, cancel } = within(HELLO_TIMEOUT_MS);
    try {
      const person = personOf(self);
      if (person === null) throw new KinError("REMOVED", "this device is no member's");
      return await greet(
        wire,
        {
          mesh: replica.mesh,
          device: self,
          person,
          key: deps.key,
          boot: deps.boot,
          time,
          random: deps.random,
          features: [SNAPSHOT_FEATURE],
          remote,
          personOf,
          heads: () => replica.rosterHeads(),
          agentKeys: () => [],
        },
        signal,
      );
    } catch (error) {
      wire.abort(error as Error);
      throw error;
    } finally {
      cancel();
    }
  }

  function within(ms: number): { signal: AbortSignal; cancel: () => void } {
    const late = new AbortController();
    const cancel = time.after(ms, () => late.abort(new KinError("DEADLINE_EXCEEDED", "the peer took too long")));
    return { signal: AbortSignal.any([stopped.signal, late.signal]), cancel };
  }

  // ── connections ──

  /** Two dialled each other at once: both keep the connection that the smaller device id has dialled. */
  function isBetter(connection: Connection, than: Connection): boolean {
    const dialler = (one: Connection): DeviceId => (one.isDialler ? self : one.peer);
    return dialler(connection) < dialler(than);
  }

  function greeted(entry: Entry, connection: Connection, greeting: Greeting): void {
    if (!connection.isOpen() || stopped.signal.aborted) return;
    const { greeting: before, connection: old } = entry;
    const hasRestarted = before !== null && !equal(before.boot, greeting.boot);
    if (hasRestarted) emit({ type: "peer-disconnected", device: entry.device, person: before.person });
    const isKept = old !== null && old.isOpen() && !hasRestarted && isBetter(old, connection);
    entry.connection = isKept ? old : connection;
    const spare = isKept ? connection : old;
    entry.greeting = greeting;
    entry.failures = 0;
    entry.cancelRetry?.();
    entry.cancelRetry = null;
    world.count("hellos");
    if (spare !== null && spare.isOpen())
      time.after(hasRestarted ? 0 : STALE_MS, () => spare.break(new KinError("CLOSED", "another connection is used")));
    if (before === null || hasRestarted)
      emit({ type: "peer-connected", device: entry.device, person: greeting.person, greeting });
    for (const { protocol, wire } of entry.early.splice(0)) serve(entry, protocol, wire);
  }

  function lost(connection: Connection): void {
    const entry = entryOf(connection.peer);
    if (entry.connection !== connection) return;
    entry.connection = null;
    entry.early.length = 0;
    const { greeting } = entry;
    entry.greeting = null;
    if (greeting !== null) emit({ type: "peer-disconnected", device: entry.device, person: greeting.person });
    dialSoon(entry);
  }

  function emit(event: NetworkEvent): void {
    for (const listener of listeners) listener(event);
  }

  // ── streams of others ──

  function opened(connection: Connection, protocol: string, wire: Wire): void {
    const entry = entryOf(connection.peer);
    if (protocol === HELLO_PROTOCOL) {
      hello(wire, connection.peer).then(
        (greeting) => greeted(entry, connection, greeting),
        () => world.count("hellos refused"),
      );
    } else if (protocol === JOIN_PROTOCOL) {
      handleJoin(connection.peer, wire).catch((error: Error) => wire.abort(error));
    } else if (entry.greeting !== null) serve(entry, protocol, wire);
    else if (entry.early.length < MAX_EARLY_STREAMS) entry.early.push({ protocol, wire });
    else wire.abort(new KinError("OVERLOADED", "too many streams before the hello"));
  }

  function serve(entry: Entry, protocol: string, wire: Wire): void {
    const handler = handlers.get(protocol);
    const { device, greeting } = entry;
    if (handler === undefined || greeting === null || personOf(device) === null)
      return wire.abort(new KinError("NOT_A_MEMBER", "members only"));
    handler({ device, person: greeting.person, greeting }, wire).catch((error: Error) => wire.abort(error));
  }

  function setMembership(next: Membership): void {
    membership = next;
    if (!isListening) network.listen(self, deps.life, { connected: () => undefined, opened, broken: lost });
    isListening = true;
    for (const entry of entries.values())
      if (personOf(entry.device) === null && entry.connection !== null) {
        const { connection } = entry;
        entry.cancelRetry?.();
        connection.break(new KinError("REMOVED", "no longer a member's"));
      }
    for (const device of membership.devices.keys()) {
      const entry = entryOf(device);
      if (entry.connection === null && entry.cancelRetry === null && !entry.dialling) dialSoon(entry);
    }
  }

  return {
    device: self,
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async open(peer, protocol) {
      const entry = entryOf(peer);
      if (entry.connection === null || entry.greeting === null)
        throw new KinError("UNREACHABLE", `device ${peer.slice(0, 8)} is not there`);
      return entry.connection.open(protocol);
    },
    handleForMembers: (protocol, handler) => void handlers.set(protocol, handler),
    handleJoin: (handler) => (handleJoin = handler),
    greeting: (peer) => entries.get(peer)?.greeting ?? null,
    peers: () => [...entries.values()].flatMap((entry) => stateOf(entry)),
    setMembership,
    connected: () => [...entries.values()].filter(({ greeting }) => greeting !== null).map(({ device }) => device),
    stop() {
      stopped.abort(new KinError("CLOSED", "the node stops"));
      for (const entry of entries.values()) {
        entry.cancelRetry?.();
        entry.connection?.break(new KinError("CLOSED", "the node stops"));
      }
    },
  };
}

/** A guest's wire to the door of the device that his ticket names. @throws KinError UNREACHABLE */
export async function dialForJoin(network: SimNetwork, life: Life, self: DeviceId, inviter: DeviceId): Promise<Wire> {
  const nobody = { connected: () => undefined, opened: () => undefined, broken: () => undefined };
  network.listen(self, life, nobody);
  const connection = await network.dial(self, inviter);
  return connection.open(JOIN_PROTOCOL);
}

/**
 * The network as the rest of the node sees it: members by device id, a wire to each, and who is there.
 *
 *   connect ─▶ dial the addresses we know (dial.ts) ─▶ connection ─▶ hello, opened by the dialer ─▶ peer-connected
 *                                                                      └ "a stranger"? present our proof once, hello again
 *   lost    ─▶ peer-disconnected ─▶ wait (reconnect.ts) ─▶ connect
 *
 * Two peers that dial each other at once get two connections; both choose the same one for new streams (`better`), and
 * whoever dialled the other one closes it when nothing runs over it.
 */
import { networkInterfaces } from "node:os";
import type { Connection, Stream } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import type { CID } from "multiformats/cid";
import type { Encrypter } from "../../protocols/connection.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import type { Random, Time, Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { equal } from "../../protocols/bytes.ts";
import { greet, HELLO_PROTOCOL, HELLO_TIMEOUT_MS, type Greeting } from "../../protocols/hello.ts";
import type { DeviceId, MeshId, PersonId, RecordId } from "../../protocols/ids.ts";
import { JOIN_PROTOCOL } from "../../protocols/join.ts";
import type { Membership } from "../../protocols/membership.ts";
import type { Sealed } from "../../protocols/signature.ts";
import {
  hostOf,
  isDialable,
  isLoopback,
  isPrivate,
  readDefaultInterface,
  sortByTransport,
  ticketAddresses,
  transportOf,
  usefulAddresses,
  withoutPeer,
} from "./addresses.ts";
import { dialAddresses, type DialAttempt } from "./dial.ts";
import { findInviter, listenFor } from "./find-inviter.ts";
import { createGate, deviceOf, type Gate } from "./gate.ts";
import { createLibp2p, peerIdOf, type ListenOptions, type RunningLibp2p } from "./libp2p.ts";
import type { AddressBook, JoinHandler, Network, NetworkEvent, Path, Peer, PeerHandler, PeerState } from "./network.ts";
import { joinFailed, notOpened, unreachable } from "./reach-errors.ts";
import { reconnectDelay } from "./reconnect.ts";
import { createWire } from "./wire.ts";

export type { AddressBook, Network, NetworkEvent, PeerState } from "./network.ts";

export interface PeersDeps {
  /** Ed25519 seed of the device key: libp2p's private key. */
  deviceSeed: Uint8Array;
  /** The same key, to sign hellos. */
  deviceKey: SigningKey;
  device: DeviceId;
  /** 16 random bytes, drawn once at the start of the node (R11). */
  boot: Uint8Array;
  time: Time;
  random: Random;
  /** Roster heads for our hello. */
  rosterHeads(): RecordId[];
  /** Our agents' key records for our hello. */
  agentKeys(): Sealed[];
  /**
   * Shows a peer that takes us for a stranger the records that make us a member, on a `/kin/join/1` wire. True: it knows us now.
   * @throws KinError REMOVED, … which then is what `connect` fails with
   */
  present?: ((device: DeviceId, wire: Wire, signal: AbortSignal) => Promise<boolean>) | undefined;
  addressBook?: AddressBook | undefined;
  /** Faults of handlers and of single peers, which stop nobody else. */
  onError?: ((error: unknown, doing: string) => void) | undefined;
}

export interface PeersOptions {
  listen: ListenOptions;
  /** @default both on */
  discovery?: { dht?: boolean; mdns?: boolean };
  /** @default ["tls", "noise"] */
  encrypters?: readonly Encrypter[];
  features?: readonly string[];
  userAgent?: string;
  /** Multiaddrs that others reach us at besides those that we listen on: a forwarded port, a name. Told to all. */
  announce?: readonly string[];
  /** Dial members by ourselves, at start, when found and when lost. @default true */
  autoConnect?: boolean;
  /** Refuses a device in both directions although it is a member. For tests and proofs. */
  mayConnect?: (device: DeviceId) => boolean;
  /** Tests: mDNS on another port than 5353. */
  mdnsPort?: number;
}

/** Addresses remembered of one device. */
const MAX_ADDRESSES = 16;
/** Dials that we start by ourselves at once: 100 members must not open 100 sockets in one second. */
const MAX_AUTO_DIALS = 8;
/** Wait for a free place among these. */
const AUTO_DIAL_RETRY_MS = 1_000;
/** A whole connect, with hello, when the caller sets no limit. */
const CONNECT_TIMEOUT_MS = 15_000;
/** Older than this, a dial under way is not shared with somebody who asks now. With the bound above: 15 at once for one peer. */
const STALE_DIAL_MS = 1_000;
/** Asking the DHT where a member is, when we know no address. */
const FIND_PEER_TIMEOUT_MS = 3_000;
const OPEN_TIMEOUT_MS = 10_000;
/** Two connections to one peer: how often the one that is not preferred is looked at. */
const DUPLICATE_CHECK_MS = 3_000;
/** Streams that a member may open at once of one protocol; all of them together are bounded by yamux. */
const MAX_STREAMS_PER_PROTOCOL = 64;

interface Entry {
  device: DeviceId;
  /** Best first: what worked last. */
  addresses: string[];
  connections: Set<Connection>;
  greeting: Greeting | null;
  /** Hellos under way or done, by connection. */
  hellos: Map<Connection, Promise<Greeting>>;
  waiting: Set<(greeting: Greeting) => void>;
  dialling: Promise<Peer> | null;
  /** Monotonic ms. */
  diallingSince: number;
  failures: number;
  /** Wall ms of the last dial that failed; and the addresses that have failed in the one under way, else in the last. */
  failedAt: number | null;
  attempts: DialAttempt[];
  cancelRetry: (() => void) | null;
  cancelDuplicateCheck: (() => void) | null;
  lastSeenAt: number | null;
  foundBy?: "mdns" | "dht";
}

export function createPeers(deps: PeersDeps, options: PeersOptions): Network {
  const { time, device: self } = deps;
  const autoConnect = options.autoConnect ?? true;
  let membership: Membership | null = null;
  let running: RunningLibp2p | null = null;
  let starting: Promise<RunningLibp2p> | null = null;
  let changing: Promise<void> = Promise.resolve();
  let defaultInterface: string | null = null;
  let chosenPort: number | null = null;
  let autoDials = 0;
  /** Devices that a join is just dialling. */
  const joining = new Set<DeviceId>();
  const stopped = new AbortController();
  const entries = new Map<DeviceId, Entry>();
  const listeners = new Set<(event: NetworkEvent) => void>();
  const memberHandlers = new Map<string, PeerHandler>();
  let joinHandler: JoinHandler | undefined;
  const gate: Gate = createGate({ membership: () => membership, time, mayConnect: options.mayConnect });

  for (const [device, addresses] of deps.addressBook?.load() ?? [])
    entryOf(device).addresses = [...addresses].slice(0, MAX_ADDRESSES);

  // ---- the libp2p underneath: one without listeners until there is a mesh, then one with

  async function startLibp2p(mesh: MeshId | null): Promise<RunningLibp2p> {
    defaultInterface = await readDefaultInterface();
    const next = await createLibp2p(
      {
        deviceSeed: deps.deviceSeed,
        device: self,
        mesh,
        listen: mesh === null ? null : { ...options.listen, port: chosenPort ?? options.listen.port },
        announce: options.announce,
        transports: options.listen.transports,
        encrypters: options.encrypters,
        dht: options.discovery?.dht ?? true,
        mdns: mesh !== null && (options.discovery?.mdns ?? true) ? { mesh, port: options.mdnsPort } : null,
        gate,
        userAgent: options.userAgent ?? "kin",
      },
      onConnection,
      onFound,
    );
    running = next;
    chosenPort = next.port ?? chosenPort;
    next.node.addEventListener("peer:identify", (event) => onIdentified(event.detail));
    await next.handle(HELLO_PROTOCOL, gate.guard(acceptHello, "members"), 1);
    for (const [protocol, handler] of memberHandlers) await register(next, protocol, handler);
    if (joinHandler !== undefined) await registerJoin(next, joinHandler);
    return next;
  }

  function libp2p(): Promise<RunningLibp2p> {
    if (stopped.signal.aborted) return Promise.reject(new KinError("CLOSED", "the network is stopped"));
    if (running !== null) return Promise.resolve(running);
    starting ??= startLibp2p(membership?.mesh ?? null).finally(() => {
      starting = null;
    });
    return starting;
  }

  async function stopLibp2p(): Promise<void> {
    const old = running ?? (await starting?.catch(() => null)) ?? null;
    running = null;
    await old?.stop();
  }

  // ---- connections

  function onConnection(connection: Connection): void {
    if (gate.isMember(connection.remotePeer)) adopt(connection);
  }

  function adopt(connection: Connection): void {
    const entry = entryOf(deviceOf(connection.remotePeer)!);
    if (entry.connections.has(connection)) return;
    entry.connections.add(connection);
    entry.lastSeenAt = time.now();
    connection.addEventListener("close", () => onClosed(entry, connection));
    if (connection.direction === "outbound") {
      const hello = sayHello(entry, connection);
      entry.hellos.set(connection, hello);
      hello.catch((error: unknown) => {
        // The peer is there but won't have us: without a hello the connection is good for joining only.
        entry.connections.delete(connection);
        if (joining.has(entry.device) || connection.streams.some((stream) => stream.protocol === JOIN_PROTOCOL)) return;
        connection.abort(error instanceof Error ? error : new Error(String(error)));
      });
    }
    checkDuplicates(entry);
  }

  function onClosed(entry: Entry, connection: Connection): void {
    entry.connections.delete(connection);
    entry.hellos.delete(connection);
    if (entry.connections.size > 0) return;
    entry.cancelDuplicateCheck?.();
    const { greeting } = entry;
    entry.greeting = null;
    if (greeting === null) return;
    entry.lastSeenAt = time.now();
    emit({ type: "peer-disconnected", device: entry.device, person: greeting.person });
    retryLater(entry);
  }

  async function sayHello(entry: Entry, connection: Connection): Promise<Greeting> {
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

  async function helloOver(entry: Entry, connection: Connection): Promise<Greeting> {
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(HELLO_TIMEOUT_MS)]);
    const stream = await connection.newStream(HELLO_PROTOCOL, { signal, runOnLimitedConnection: true });
    return greet(createWire(stream), helloDeps(entry.device), signal);
  }

  async function presentOver(entry: Entry, connection: Connection, refusal: unknown): Promise<void> {
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(HELLO_TIMEOUT_MS)]);
    const wire = createWire(await connection.newStream(JOIN_PROTOCOL, { signal, runOnLimitedConnection: true }));
    try {
      if (await deps.present!(entry.device, wire, signal)) return;
    } finally {
      wire.close().catch(() => {});
    }
    throw new KinError("NOT_A_MEMBER", `${nameOf(entry.device)} does not take us for a member`, { cause: refusal });
  }

  function acceptHello(stream: Stream, connection: Connection): void {
    const entry = entryOf(deviceOf(connection.remotePeer)!);
    const wire = createWire(stream);
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(HELLO_TIMEOUT_MS)]);
    const hello = greet(wire, helloDeps(entry.device), signal).then((greeting) => {
      greeted(entry, connection, greeting);
      return greeting;
    });
    entry.hellos.set(connection, hello);
    hello.catch((error: unknown) => {
      wire.abort(error instanceof Error ? error : new Error(String(error)));
      report(error, `hello with ${nameOf(entry.device)}`);
    });
  }

  function helloDeps(remote: DeviceId) {
    if (membership === null) throw new KinError("NOT_IN_MESH", "there is no mesh to say hello in");
    const me = membership.devices.get(self)?.member.person;
    if (me === undefined) throw new KinError("NOT_A_MEMBER", "this device is not a member of the mesh");
    return {
      mesh: membership.mesh,
      device: self,
      person: me,
      key: deps.deviceKey,
      boot: deps.boot,
      time,
      random: deps.random,
      features: options.features ?? [],
      remote,
      personOf: (device: DeviceId) => gate.personOf(device),
      heads: () => deps.rosterHeads(),
      agentKeys: () => deps.agentKeys(),
    };
  }

  function greeted(entry: Entry, connection: Connection, greeting: Greeting): void {
    if (connection.status !== "open" || !entry.connections.has(connection)) return;
    const before = entry.greeting;
    const restarted = before !== null && !equal(before.boot, greeting.boot);
    if (restarted) dropOlder(entry, connection);
    entry.greeting = greeting;
    entry.lastSeenAt = time.now();
    entry.failures = 0;
    entry.cancelRetry?.();
    if (connection.direction === "outbound") remember(entry, [withoutPeer(connection.remoteAddr.toString())]);
    if (before === null || restarted) announce(entry, greeting);
    for (const ready of entry.waiting) ready(greeting);
    entry.waiting.clear();
    running?.identify(connection).catch((error: unknown) => {
      if (connection.status === "open") report(error, `asking ${nameOf(entry.device)} for its addresses`);
    });
  }

  /** The peer has a new boot id: what still hangs from before its restart is dead, even if TCP has not noticed. */
  function dropOlder(entry: Entry, fresh: Connection): void {
    const { greeting } = entry;
    entry.greeting = null;
    for (const old of entry.connections) if (old !== fresh) old.abort(new KinError("CLOSED", "the peer has restarted"));
    emit({ type: "peer-disconnected", device: entry.device, person: greeting!.person });
  }

  function announce(entry: Entry, greeting: Greeting): void {
    const { device } = entry;
    const { person, skewMs, clock } = greeting;
    emit({ type: "peer-connected", device, person, greeting });
    if (clock !== "good") emit({ type: "clock-skew", device, person, skewMs, clock });
  }

  /** Two connections to one peer: ours is closed when it is the worse one and idle. */
  function checkDuplicates(entry: Entry): void {
    entry.cancelDuplicateCheck?.();
    entry.cancelDuplicateCheck = null;
    if (entry.connections.size < 2) return;
    entry.cancelDuplicateCheck = time.after(DUPLICATE_CHECK_MS, () => {
      const best = bestConnection(entry);
      for (const one of entry.connections) {
        if (one !== best && one.direction === "outbound" && one.streams.length === 0) one.close().catch(() => {});
      }
      checkDuplicates(entry);
    });
  }

  function bestConnection(entry: Entry): Connection | undefined {
    const open = [...entry.connections].filter((connection) => connection.status === "open");
    return open.toSorted((a, b) => rank(a, entry.device) - rank(b, entry.device))[0];
  }

  /** Lower is better; the same on both sides. */
  function rank(connection: Connection, remote: DeviceId): number {
    const dialledBySmaller = (connection.direction === "outbound") === self < remote;
    const transports = ["tcp", "ws", "webrtc-direct", "relayed"];
    return (
      (connection.limits === undefined ? 0 : 100) +
      transports.indexOf(transportOf(connection.remoteAddr.toString())) * 10 +
      (dialledBySmaller ? 0 : 1)
    );
  }

  // ---- reaching a peer

  async function connect(device: DeviceId, more: { addresses?: string[]; signal?: AbortSignal } = {}): Promise<Peer> {
    const person = gate.personOf(device);
    if (person === null)
      throw new KinError(
        "NOT_A_MEMBER",
        `device ${device.slice(0, 8)}… is not a living device of a member of this mesh`,
      );
    if (device === self) throw new KinError("UNREACHABLE", "that device is this one");
    const entry = entryOf(device);
    if (more.addresses !== undefined) remember(entry, more.addresses, "last");
    if (entry.greeting !== null && bestConnection(entry) !== undefined)
      return { device, person, greeting: entry.greeting };
    const earlier = entry.dialling;
    // A dial that began a while ago may be waiting for an address where the peer was not yet: somebody who asks now gets one of now.
    const isStale = earlier !== null && time.monotonic() - entry.diallingSince > STALE_DIAL_MS;
    if (earlier !== null && !isStale) return withSignal(earlier, more.signal);
    const fresh = dialAndGreet(entry).finally(() => {
      if (entry.dialling === fresh) entry.dialling = null;
    });
    entry.dialling = fresh;
    entry.diallingSince = time.monotonic();
    earlier?.catch(() => {});
    return withSignal(fresh, more.signal);
  }

  async function dialAndGreet(entry: Entry): Promise<Peer> {
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)]);
    try {
      const connection = bestConnection(entry) ?? (await dialMember(entry, signal));
      const greeting = await helloOn(entry, connection, signal);
      return { device: entry.device, person: greeting.person, greeting };
    } catch (error) {
      entry.failures++;
      entry.failedAt = time.now();
      if (entry.greeting === null) retryLater(entry);
      throw unreachable(nameOf(entry.device), error);
    }
  }

  async function dialMember(entry: Entry, signal: AbortSignal): Promise<Connection> {
    const lib = await libp2p();
    if (options.mayConnect?.(entry.device) === false)
      throw new KinError("UNREACHABLE", `connections to ${nameOf(entry.device)} are switched off`);
    const known = entry.addresses.length > 0 ? entry.addresses : await askDht(lib, entry, signal);
    const attempts: DialAttempt[] = [];
    entry.attempts = attempts;
    return dial(lib, entry.device, known, signal, (failed) => attempts.push(failed));
  }

  /** The hello on this connection, or, if the peer dialled it, whatever hello of the peer comes first. */
  function helloOn(entry: Entry, connection: Connection, signal: AbortSignal): Promise<Greeting> {
    if (entry.greeting !== null) return Promise.resolve(entry.greeting);
    const hello = entry.hellos.get(connection);
    if (hello !== undefined) return withSignal(hello, signal);
    return nextGreeting(entry, signal);
  }

  function nextGreeting(entry: Entry, signal: AbortSignal): Promise<Greeting> {
    if (entry.greeting !== null) return Promise.resolve(entry.greeting);
    let ready: ((greeting: Greeting) => void) | undefined;
    const greeting = new Promise<Greeting>((resolve) => {
      ready = resolve;
      entry.waiting.add(resolve);
    });
    return withSignal(greeting, signal).finally(() => entry.waiting.delete(ready!));
  }

  function dial(
    lib: RunningLibp2p,
    device: DeviceId,
    addresses: readonly string[],
    signal: AbortSignal,
    onFailed: (attempt: DialAttempt) => void = () => {},
  ): Promise<Connection> {
    const peer = peerIdOf(device).toString();
    return dialAddresses<Connection>(
      {
        time,
        dial: (address, give) => lib.dialAddress(multiaddr(`${address}/p2p/${peer}`), give),
        drop: (connection) => void connection.close().catch(() => {}),
        onFailed,
      },
      addresses.filter((address) => isDialable(address)).map(withoutPeer),
      signal,
    );
  }

  async function askDht(lib: RunningLibp2p, entry: Entry, signal: AbortSignal): Promise<string[]> {
    if (lib.dht === null || lib.routingTable().length === 0) return [];
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(FIND_PEER_TIMEOUT_MS)]);
      const found = await lib.node.peerRouting.findPeer(peerIdOf(entry.device), { signal: limit });
      remember(entry, found.multiaddrs.map(String), "last");
    } catch {
      // Not found is an answer: the caller says that no address is known.
    }
    return entry.addresses;
  }

  function retryLater(entry: Entry): void {
    entry.cancelRetry?.();
    if (!autoConnect || stopped.signal.aborted || gate.personOf(entry.device) === null || entry.device === self) return;
    entry.cancelRetry = time.after(reconnectDelay(entry.failures, deps.random), () => autoDial(entry));
  }

  function autoDial(entry: Entry): void {
    entry.cancelRetry?.();
    entry.cancelRetry = null;
    const mayDial = options.mayConnect?.(entry.device) ?? true;
    if (stopped.signal.aborted || entry.greeting !== null || !mayDial || gate.personOf(entry.device) === null) return;
    if (autoDials >= MAX_AUTO_DIALS) {
      entry.cancelRetry = time.after(AUTO_DIAL_RETRY_MS, () => autoDial(entry));
      return;
    }
    autoDials++;
    // A failure is counted in the entry and tried again later.
    connect(entry.device)
      .catch(() => {})
      .finally(() => autoDials--);
  }

  async function open(device: DeviceId, protocol: string, signal: AbortSignal): Promise<Wire> {
    await connect(device, { signal });
    const entry = entryOf(device);
    const limit = AbortSignal.any([signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)]);
    for (let attempt = 0; ; attempt++) {
      const connection = bestConnection(entry);
      if (connection === undefined) throw new KinError("UNREACHABLE", `${nameOf(device)} has just disconnected`);
      try {
        const stream = await connection.newStream(protocol, {
          signal: limit,
          runOnLimitedConnection: true,
          maxOutboundStreams: MAX_STREAMS_PER_PROTOCOL,
        });
        return createWire(stream);
      } catch (error) {
        signal.throwIfAborted();
        if (connection.status === "open" || attempt > 0) throw notOpened(nameOf(device), protocol, error);
      }
    }
  }

  // ---- what others open with us

  function register(lib: RunningLibp2p, protocol: string, handler: PeerHandler): Promise<void> {
    const accept = (stream: Stream, connection: Connection): void => {
      const wire = createWire(stream);
      serve(wire, connection, handler).catch((error: unknown) => {
        wire.abort(error instanceof Error ? error : new Error(String(error)));
        report(error, `serving ${protocol}`);
      });
    };
    return lib.handle(protocol, gate.guard(accept, "members"), MAX_STREAMS_PER_PROTOCOL);
  }

  async function serve(wire: Wire, connection: Connection, handler: PeerHandler): Promise<void> {
    const entry = entryOf(deviceOf(connection.remotePeer)!);
    const greeting = await nextGreeting(entry, AbortSignal.any([wire.signal, AbortSignal.timeout(HELLO_TIMEOUT_MS)]));
    await handler({ device: entry.device, person: greeting.person, greeting }, wire);
  }

  function registerJoin(lib: RunningLibp2p, handler: JoinHandler): Promise<void> {
    const accept = (stream: Stream, connection: Connection): void => {
      const wire = createWire(stream);
      handler(deviceOf(connection.remotePeer)!, wire).catch((error: unknown) => {
        wire.abort(error instanceof Error ? error : new Error(String(error)));
        report(error, `serving ${JOIN_PROTOCOL}`);
      });
    };
    return lib.handle(JOIN_PROTOCOL, gate.guard(accept, "everyone"), MAX_STREAMS_PER_PROTOCOL);
  }

  async function dialForJoin(
    addresses: string[],
    expected: DeviceId,
    signal: AbortSignal,
    mesh?: MeshId,
  ): Promise<Wire> {
    const release = gate.expect(expected);
    joining.add(expected);
    const listens = mesh !== undefined && (options.discovery?.mdns ?? true);
    try {
      const lib = await libp2p();
      const find = (): Promise<Connection> =>
        findInviter(
          {
            time,
            dial: (at, until) => dial(lib, expected, at, until),
            listen: listens ? listenFor(mesh, self, options.mdnsPort) : null,
          },
          addresses,
          expected,
          signal,
        );
      const open = lib.node.getConnections(peerIdOf(expected)).find((connection) => connection.status === "open");
      const connection = open ?? (await find());
      remember(entryOf(expected), [connection.remoteAddr.toString()]);
      return await joinWire(connection, signal).catch(async (error: unknown) => {
        // An open connection may be one that the peer is just cutting.
        if (open === undefined) throw error;
        return joinWire(await find(), signal);
      });
    } catch (error) {
      signal.throwIfAborted();
      throw joinFailed(error);
    } finally {
      joining.delete(expected);
      release();
    }
  }

  async function joinWire(connection: Connection, signal: AbortSignal): Promise<Wire> {
    const stream = await connection.newStream(JOIN_PROTOCOL, { signal, runOnLimitedConnection: true });
    if (connection.status !== "open") throw new KinError("CLOSED", "the connection was closed");
    return createWire(stream);
  }

  // ---- what we learn of addresses

  function onFound(device: DeviceId, addresses: string[]): void {
    const member = gate.personOf(device) !== null && device !== self;
    emit({ type: "peer-found", device, addresses, member });
    if (!member) return;
    const entry = entryOf(device);
    entry.foundBy = "mdns";
    remember(entry, addresses, "last");
    if (autoConnect && entry.greeting === null && entry.dialling === null) autoDial(entry);
  }

  function onIdentified(result: { connection: Connection; listenAddrs: { toString(): string }[] }): void {
    const device = deviceOf(result.connection.remotePeer);
    if (device === null || gate.personOf(device) === null) return;
    const overLoopback = isLoopback(hostOf(result.connection.remoteAddr.toString()) ?? "");
    remember(entryOf(device), usefulAddresses(result.listenAddrs.map(String), overLoopback), "last");
  }

  /** WebRTC addresses end with a certificate that changes at each start: they are used, but not kept over a restart. */
  function remember(entry: Entry, addresses: readonly string[], where: "first" | "last" = "first"): void {
    const fresh = addresses.filter((address) => isDialable(address)).map(withoutPeer);
    const merged = where === "first" ? [...fresh, ...entry.addresses] : [...entry.addresses, ...fresh];
    const before = entry.addresses.join(" ");
    entry.addresses = [...new Set(merged)].slice(0, MAX_ADDRESSES);
    if (entry.addresses.join(" ") !== before)
      deps.addressBook?.save(
        entry.device,
        entry.addresses.filter((address) => transportOf(address) !== "webrtc-direct"),
      );
  }

  function entryOf(device: DeviceId): Entry {
    let entry = entries.get(device);
    if (entry === undefined) {
      entry = {
        device,
        addresses: [],
        connections: new Set(),
        greeting: null,
        hellos: new Map(),
        waiting: new Set(),
        dialling: null,
        diallingSince: 0,
        failures: 0,
        failedAt: null,
        attempts: [],
        cancelRetry: null,
        cancelDuplicateCheck: null,
        lastSeenAt: null,
      };
      entries.set(device, entry);
    }
    return entry;
  }

  // ---- membership

  async function setMembership(next: Membership | null): Promise<void> {
    const before = membership;
    membership = next;
    for (const connection of gate.enforce()) adopt(connection);
    forgetNonMembers();
    changing = restartIfMeshChanged(changing, before, next);
    await changing;
  }

  async function restartIfMeshChanged(
    earlier: Promise<void>,
    before: Membership | null,
    next: Membership | null,
  ): Promise<void> {
    await earlier.catch(() => {});
    if ((before?.mesh ?? null) !== (next?.mesh ?? null)) {
      await stopLibp2p();
      if (next !== null) await libp2p();
    }
    if (membership === next && next !== null) dialNewMembers(next);
  }

  function forgetNonMembers(): void {
    for (const [device, entry] of entries) {
      if (membership === null || gate.personOf(device) !== null) continue;
      entry.cancelRetry?.();
      entry.cancelDuplicateCheck?.();
      entries.delete(device);
      deps.addressBook?.save(device, []);
      running?.forget(peerIdOf(device)).catch((error: unknown) => report(error, "forgetting a removed device"));
    }
  }

  function dialNewMembers(current: Membership): void {
    if (!autoConnect) return;
    for (const device of current.devices.keys()) {
      if (device === self) continue;
      const entry = entryOf(device);
      if (
        entry.greeting === null &&
        entry.cancelRetry === null &&
        entry.dialling === null &&
        entry.addresses.length > 0
      )
        retryLater(entry);
    }
  }

  // ---- small things

  function emit(event: NetworkEvent): void {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        report(error, `telling of ${event.type}`);
      }
    }
  }

  function report(error: unknown, doing: string): void {
    if (!stopped.signal.aborted) deps.onError?.(error, doing);
  }

  /** "ana (laptop)", for sentences. */
  function nameOf(device: DeviceId): string {
    const found = membership?.devices.get(device);
    return found === undefined ? `device ${device.slice(0, 8)}…` : `${found.member.name} (${found.device.name})`;
  }

  function stateOf(device: DeviceId, person: PersonId): PeerState {
    const entry = entryOf(device);
    const connection = entry.greeting === null ? undefined : bestConnection(entry);
    const address = connection?.remoteAddr.toString();
    return {
      device,
      person,
      connected: connection !== undefined,
      path: connection === undefined ? null : pathOf(connection),
      transport: address === undefined ? null : transportOf(address),
      encrypter: connection?.encryption ?? null,
      rttMs: connection === undefined ? null : Math.round(connection.rtt ?? entry.greeting!.rttMs),
      skewMs: connection === undefined ? null : entry.greeting!.skewMs,
      lastSeenAt: connection === undefined ? entry.lastSeenAt : time.now(),
      addresses: [...entry.addresses],
      failedAt: entry.failedAt,
      attempts: [...entry.attempts],
    };
  }

  function addresses(): string[] {
    return sortByTransport(running?.port == null ? [] : running.node.getMultiaddrs().map(String));
  }

  async function* findProviders(
    cid: CID,
    signal: AbortSignal,
  ): AsyncGenerator<{ device: DeviceId; addresses: string[] }> {
    const lib = await libp2p();
    if (lib.dht === null) return;
    const seen = new Set<DeviceId>();
    for await (const provider of lib.contentRouting.findProviders(cid, { signal })) {
      const device = deviceOf(provider.id);
      if (device === null || device === self || gate.personOf(device) === null || seen.has(device)) continue;
      seen.add(device);
      const told = provider.multiaddrs.map(String).filter((address) => isDialable(address));
      const entry = entryOf(device);
      entry.foundBy = "dht";
      remember(entry, told, "last");
      yield { device, addresses: told };
    }
  }

  async function stop(): Promise<void> {
    if (stopped.signal.aborted) return;
    stopped.abort(new KinError("CLOSED", "the network is stopped"));
    for (const entry of entries.values()) {
      entry.cancelRetry?.();
      entry.cancelDuplicateCheck?.();
    }
    await changing.catch(() => {});
    await stopLibp2p();
  }

  return {
    device: self,
    addresses,
    ticketAddresses: () => ticketAddresses(addresses(), networkInterfaces(), defaultInterface, options.announce),
    get port() {
      return running?.port ?? null;
    },
    setMembership,
    connect,
    open,
    handleForMembers(protocol, handler) {
      memberHandlers.set(protocol, handler);
      if (running !== null)
        register(running, protocol, handler).catch((error: unknown) => report(error, `registering ${protocol}`));
    },
    handleJoin(handler) {
      joinHandler = handler;
      if (running !== null)
        registerJoin(running, handler).catch((error: unknown) => report(error, `registering ${JOIN_PROTOCOL}`));
    },
    dialForJoin,
    peers: () =>
      [...(membership?.devices ?? [])]
        .filter(([device]) => device !== self)
        .map(([device, { member }]) => stateOf(device, member.person)),
    foundBy: (device) => entries.get(device)?.foundBy,
    greeting: (device) => entries.get(device)?.greeting ?? null,
    peerId: (device) => peerIdOf(device).toString(),
    async ping(device, signal) {
      await connect(device, { signal });
      return (await libp2p()).ping(device, signal);
    },
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    dht: {
      async provide(cid, signal) {
        const lib = await libp2p();
        if (lib.dht !== null) await lib.contentRouting.provide(cid, { signal });
      },
      findProviders,
    },
    inside: () => ({
      protocols: () => running?.node.getProtocols() ?? [],
      routingTable: () => (running?.routingTable() ?? []).flatMap((peer) => deviceOf(peer) ?? []),
      knows: async (device) => (await running?.node.peerStore.has(peerIdOf(device))) ?? false,
    }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** How a refused hello looks: the protocol is not offered to strangers, or the stream is cut, or the peer says so. */
function takesUsForStranger(error: unknown): boolean {
  if (error instanceof KinError) return error.code === "NOT_A_MEMBER" || error.code === "CLOSED";
  return error instanceof Error && /UnsupportedProtocol|StreamReset/.test(error.name);
}

function pathOf(connection: Connection): Path {
  if (connection.limits !== undefined || !connection.direct) return "relayed";
  const host = hostOf(connection.remoteAddr.toString()) ?? "";
  if (isLoopback(host)) return "loopback";
  return isPrivate(host) ? "lan" : "direct";
}

/** `promise`, or the reason of `signal` if that comes first; the work itself goes on for others who wait for it. */
function withSignal<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason as Error);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}

/**
 * The node's libp2p: TCP, WebSocket, WebRTC-direct, identify, ping and the mesh's own DHT, all behind the gate. The device key
 * is libp2p's private key, so the peer id is the device.
 */
import { createServer } from "node:net";
import { createSocket } from "node:dgram";
import { networkInterfaces } from "node:os";
import { privateKeyFromRaw, publicKeyFromRaw } from "@libp2p/crypto/keys";
import { identify, type Identify } from "@libp2p/identify";
import {
  start,
  type AbortOptions,
  type Connection,
  type ContentRouting,
  type Libp2p,
  type PeerDiscovery,
  type PeerId,
  type PeerStore,
  type StreamHandler,
} from "@libp2p/interface";
import { kadDHT, passthroughMapper, type KadDHT } from "@libp2p/kad-dht";
import { peerIdFromPublicKey } from "@libp2p/peer-id";
import { ping, type Ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { webSockets } from "@libp2p/websockets";
import type { Multiaddr } from "@multiformats/multiaddr";
import { createLibp2p as createStockLibp2p } from "libp2p";
import { concat } from "../../protocols/bytes.ts";
import { connectionLayers, type Encrypter } from "../../protocols/connection.ts";
import { coalesced } from "./coalesce.ts";
import type { Random } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, meshTag, type DeviceId, type MeshId } from "../../protocols/ids.ts";
import { deviceOf, isForStrangers, type Gate } from "./gate.ts";
import { mdns, type MdnsOptions, type MdnsParts } from "./mdns.ts";
import { override } from "./override.ts";

export type ListenTransport = "tcp" | "ws" | "webrtc-direct";

export interface ListenOptions {
  /** One address or several. @default "0.0.0.0", and all IPv6 addresses where there are any */
  host?: string | readonly string[];
  /** TCP and UDP; WebSocket takes the next one. 0: chosen once, see {@link choosePort}. */
  port: number;
  /** @default all three */
  transports?: readonly ListenTransport[];
}

export const ALL_TRANSPORTS: readonly ListenTransport[] = ["tcp", "ws", "webrtc-direct"];

export interface Libp2pOptions {
  /** Ed25519 seed of the device key, 32 bytes. */
  deviceSeed: Uint8Array;
  device: DeviceId;
  /** null: no mesh yet, so no DHT. */
  mesh: MeshId | null;
  /** null: listen on nothing. */
  listen: ListenOptions | null;
  /** Told to others besides what we listen on. */
  announce?: readonly string[] | undefined;
  encrypters?: readonly Encrypter[] | undefined;
  /** What we can dial over, also while we do not listen. */
  transports?: readonly ListenTransport[] | undefined;
  dht: boolean;
  /** null: off. */
  mdns: MdnsOptions | null;
  gate: Gate;
  /** `kin/0.1.0`: what identify says to members and strangers. */
  userAgent: string;
}

/** Sockets that have not finished their handshake: 10 silent ones blocked a stock node. */
const MAX_PENDING_CONNECTIONS = 256;
/** A handshake takes 3 round trips; one that takes longer holds a pending place for nothing. */
const UPGRADE_TIMEOUT_MS = 3_000;
/** From one host in one second: a team behind one NAT, or many nodes in one test; × upgrade time-out < pending places. */
const MAX_CONNECTIONS_PER_HOST_PER_SECOND = 80;
const MAX_CONNECTIONS = 300;
const DIAL_TIMEOUT_MS = 10_000;
/** One address of several: a firewall that drops must not eat the time of the others. */
export const ADDRESS_DIAL_TIMEOUT_MS = 5_000;
/** First DHT query after 50 ms instead of 1 s. */
const FIRST_SELF_QUERY_MS = 50;
/** A silent peer is found out after this and the ping's time-out (at least 5 s). */
const PING_INTERVAL_MS = 8_000;

/** libp2p with the parts of its inside that the network needs. Started. */
export interface RunningLibp2p {
  node: Libp2p;
  identify(connection: Connection): Promise<void>;
  /** Round trip, ms. */
  ping(device: DeviceId, signal: AbortSignal): Promise<number>;
  /** Dials one address, without libp2p's queue: it would merge dials to one peer and lose which address failed how. */
  dialAddress(address: Multiaddr, signal: AbortSignal): Promise<Connection>;
  contentRouting: ContentRouting;
  dht: KadDHT | null;
  /** Peers in the DHT's table. */
  routingTable(): PeerId[];
  /** Port that we really listen on; null if on none. */
  port: number | null;
  /** Registers a handler that has already been guarded. */
  handle(protocol: string, handler: StreamHandler, maxInboundStreams: number): Promise<void>;
  /** Out of the DHT's table and the peer store. */
  forget(peer: PeerId): Promise<void>;
  stop(): Promise<void>;
}

export function peerIdOf(device: DeviceId): PeerId {
  return peerIdFromPublicKey(publicKeyFromRaw(idBytes(device)));
}

interface Inside {
  registrar: Parameters<Gate["guardRegistrar"]>[0];
  transportManager: { dial(address: Multiaddr, options: AbortOptions): Promise<Connection> };
}

/**
 * @param opened told of each connection before its first stream
 * @param found told of what mDNS sees
 * @throws KinError PORT_TAKEN
 */
export async function createLibp2p(
  options: Libp2pOptions,
  opened: (connection: Connection) => void,
  found: (device: DeviceId, addresses: string[]) => void,
): Promise<RunningLibp2p> {
  const { gate, listen } = options;
  const port = listen === null ? null : listen.port === 0 ? await choosePort(listen) : listen.port;
  if (listen !== null && listen.port !== 0) await assertFree({ ...listen, port: port! });
  let inside: Inside | undefined;
  const guarded = <C extends Inside>(components: C): C =>
    override(components, { registrar: gate.guardRegistrar(components.registrar) } as Partial<C>);
  const dhtProtocol = options.mesh === null ? null : `/kin/${meshTag(options.mesh)}/kad/1.0.0`;

  const services = {
    identify: (components: IdentifyParts) => gatedIdentify(gate, components),
    ping: (components: PingParts) => ping()(guarded(components as PingParts & Inside)),
    inside: (components: Inside) => {
      inside = components;
      return {};
    },
    ...(options.dht && dhtProtocol !== null
      ? { dht: (components: DhtParts) => meshDht(gate, dhtProtocol)(guarded(components as DhtParts & Inside)) }
      : {}),
  };

  const layers = connectionLayers(options.encrypters);
  const node = await createStockLibp2p({
    start: false,
    privateKey: privateKeyFromRaw(concat(options.deviceSeed, idBytes(options.device))),
    nodeInfo: { name: "kin", userAgent: options.userAgent },
    addresses: {
      listen: listen === null ? [] : listenAddresses({ ...listen, port: port! }),
      appendAnnounce: [...(options.announce ?? [])],
    },
    transports: [tcp(), webSockets(), ...(await webRtc(options.transports ?? listen?.transports))],
    peerDiscovery: options.mdns === null ? [] : [tellingMdns(options.mdns, found)],
    ...layers,
    connectionEncrypters: layers.connectionEncrypters.map((encrypter) => coalesced(encrypter)),
    connectionGater: gate.gater,
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      maxIncomingPendingConnections: MAX_PENDING_CONNECTIONS,
      inboundUpgradeTimeout: UPGRADE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: UPGRADE_TIMEOUT_MS,
      inboundConnectionThreshold: MAX_CONNECTIONS_PER_HOST_PER_SECOND,
      dialTimeout: DIAL_TIMEOUT_MS,
      addressDialTimeout: ADDRESS_DIAL_TIMEOUT_MS,
      reconnectRetries: 0,
    },
    connectionMonitor: { pingInterval: PING_INTERVAL_MS },
    services: services as never,
  });

  node.addEventListener("connection:open", (event) => {
    gate.opened(event.detail);
    opened(event.detail);
  });
  node.addEventListener("peer:disconnect", (event) => {
    if (!gate.isMember(event.detail)) node.peerStore.delete(event.detail).catch(() => {});
  });
  try {
    await node.start();
  } catch (cause) {
    throw listenError(cause, port);
  }
  const running = node.services as unknown as { identify: Identify; ping: Ping; dht?: KadDHT };
  return {
    node,
    port,
    dht: running.dht ?? null,
    contentRouting: node.contentRouting,
    identify: async (connection) => {
      await running.identify.identify(connection, { signal: AbortSignal.timeout(DIAL_TIMEOUT_MS) });
    },
    ping: (device, signal) => running.ping.ping(peerIdOf(device), { signal }),
    dialAddress: (address, signal) => inside!.transportManager.dial(address, { signal }),
    routingTable: () => [...(routingTableOf(running.dht)?.kb.toIterable() ?? [])].map((peer) => peer.peerId),
    handle: (protocol, handler, maxInboundStreams) =>
      node.handle(protocol, handler, { runOnLimitedConnection: true, maxInboundStreams, force: true }),
    forget: async (peer) => {
      await routingTableOf(running.dht)?.remove(peer);
      await node.peerStore.delete(peer);
    },
    stop: () => Promise.race([Promise.resolve(node.stop()), stopTimeout()]),
  };
}

type IdentifyParts = Parameters<ReturnType<typeof identify>>[0];
type PingParts = Parameters<ReturnType<typeof ping>>[0];
type DhtParts = Parameters<ReturnType<typeof kadDHT>>[0];

/**
 * identify for members as libp2p has it; strangers are told `/kin/join/1` and no addresses. We ask only members ourselves
 * (after their hello), so a stranger writes nothing into our peer store.
 */
function gatedIdentify(gate: Gate, components: IdentifyParts): Identify {
  const silent = { runOnConnectionOpen: false };
  let answerStranger: StreamHandler | undefined;
  const forStrangers = identify(silent)(
    override(components, {
      peerStore: withShortProfile(components.peerStore, components.peerId),
      addressManager: override(components.addressManager, { getAddresses: () => [] }),
      registrar: override(components.registrar, {
        handle: (_protocol, handler) => {
          answerStranger = handler;
          return Promise.resolve();
        },
        unhandle: () => Promise.resolve(),
      }),
    }),
  );
  const handle: IdentifyParts["registrar"]["handle"] = async (protocol, handler, handleOptions) => {
    await start(forStrangers);
    const answer: StreamHandler = (stream, connection) =>
      gate.isMember(connection.remotePeer) ? handler(stream, connection) : answerStranger!(stream, connection);
    await components.registrar.handle(protocol, gate.guard(answer, "everyone"), handleOptions);
  };
  return identify(silent)(override(components, { registrar: override(components.registrar, { handle }) }));
}

/** Our own entry in the peer store as a stranger may see it. */
function withShortProfile(peerStore: PeerStore, self: PeerId): PeerStore {
  return override(peerStore, {
    get: async (peer, options) => {
      const { peerRecordEnvelope: _record, ...profile } = await peerStore.get(peer, options);
      if (!peer.equals(self)) return profile;
      return { ...profile, addresses: [], protocols: profile.protocols.filter(isForStrangers) };
    },
  });
}

/** The mesh's own DHT. Its routing table takes members only: others have no addresses here, and it ignores who has none. */
function meshDht(gate: Gate, protocol: string): (components: DhtParts) => KadDHT {
  return kadDHT({
    protocol,
    clientMode: false,
    initialQuerySelfInterval: FIRST_SELF_QUERY_MS,
    peerInfoMapper: (peer) => (gate.isMember(peer.id) ? passthroughMapper(peer) : { ...peer, multiaddrs: [] }),
  });
}

/** Not in kad-dht's interface, but there is no other way to take a removed member out of the table. */
function routingTableOf(dht: KadDHT | undefined): RoutingTable | undefined {
  return (dht as unknown as { routingTable: RoutingTable } | undefined)?.routingTable;
}

interface RoutingTable {
  remove(peer: PeerId): Promise<void>;
  kb: { toIterable(): Iterable<{ peerId: PeerId }> };
}

function tellingMdns(options: MdnsOptions, found: (device: DeviceId, addresses: string[]) => void) {
  return (parts: MdnsParts): PeerDiscovery => {
    const discovery = mdns(options)(parts);
    discovery.addEventListener("peer", (event) => {
      const device = deviceOf(event.detail.id);
      if (device !== null) found(device, event.detail.multiaddrs.map(String));
    });
    return discovery;
  };
}

/** Loaded only when needed: it costs 100 ms and a native addon. */
async function webRtc(transports: readonly ListenTransport[] = ALL_TRANSPORTS) {
  if (!transports.includes("webrtc-direct")) return [];
  const { webRTCDirect } = await import("@libp2p/webrtc");
  return [webRTCDirect()];
}

/** To be called once, at the end of the process: WebRTC's threads keep it alive otherwise. */
export async function cleanUpWebRtc(): Promise<void> {
  const { cleanup } = await import("node-datachannel");
  cleanup();
}

/** "::" is left out where there is no IPv6: listening on it would fail. */
function hostsOf(listen: Pick<ListenOptions, "host">): string[] {
  const hosts = listen.host === undefined ? ["0.0.0.0", "::"] : [listen.host].flat();
  return hosts.length > 1 ? hosts.filter((host) => host !== "::" || hasIpv6()) : hosts;
}

function listenAddresses(listen: ListenOptions): string[] {
  const transports = listen.transports ?? ALL_TRANSPORTS;
  const addresses: string[] = [];
  const hosts = hostsOf(listen).map((host) => `/${host.includes(":") ? "ip6" : "ip4"}/${host}`);
  for (const at of hosts) {
    if (transports.includes("tcp")) addresses.push(`${at}/tcp/${listen.port}`);
    if (transports.includes("ws")) addresses.push(`${at}/tcp/${listen.port + 1}/ws`);
  }
  if (transports.includes("webrtc-direct")) addresses.push(`${hosts[0]}/udp/${listen.port}/webrtc-direct`);
  return addresses;
}

function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((infos) =>
    infos?.some((info) => info.family === "IPv6" && !info.internal),
  );
}

/** libp2p waits for WebRTC connections to say that they are closed, and now and then one never does. */
const STOP_TIMEOUT_MS = 5_000;

function stopTimeout(): Promise<void> {
  return new Promise((over) => setTimeout(over, STOP_TIMEOUT_MS).unref());
}

/** Where ports are neither well-known nor handed out for outgoing connections (Linux: from 32768). */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const MAX_PORT_TRIES = 50;

/** A port that is free for all transports that we listen on. The caller keeps it, so that tickets and address books stay right. */
export async function choosePort(listen: Omit<ListenOptions, "port">, random?: Random): Promise<number> {
  const draw = random?.bytes(2 * MAX_PORT_TRIES) ?? crypto.getRandomValues(new Uint8Array(2 * MAX_PORT_TRIES));
  for (let i = 0; i < MAX_PORT_TRIES; i++) {
    const port = FIRST_PORT + (((draw[2 * i]! << 8) | draw[2 * i + 1]!) % (LAST_PORT - FIRST_PORT));
    const taken = await portsTaken({ ...listen, port });
    if (taken === null) return port;
  }
  throw new KinError(
    "PORT_TAKEN",
    `no free port found in ${MAX_PORT_TRIES} tries between ${FIRST_PORT} and ${LAST_PORT}`,
  );
}

/** WebRTC lets go of its port a while after it was stopped: who leaves a mesh of his own for another one takes it again. */
const RELEASE_TRIES = 20;
const RELEASE_INTERVAL_MS = 100;

async function assertFree(listen: ListenOptions): Promise<void> {
  for (let tries = 1; ; tries++) {
    const taken = await portsTaken(listen);
    if (taken === null) return;
    if (tries === RELEASE_TRIES || taken.kind === "TCP") throw portError(taken.port, taken.kind, taken.code);
    await new Promise((later) => setTimeout(later, RELEASE_INTERVAL_MS));
  }
}

/** Whether these ports can be had, perhaps after a moment: WebRTC lets go of its UDP port late, sometimes only with the process. */
export async function canListen(listen: ListenOptions): Promise<boolean> {
  return assertFree(listen).then(
    () => true,
    () => false,
  );
}

function portError(port: number, kind: string, code: string): KinError {
  if (code === "EADDRINUSE")
    return new KinError("PORT_TAKEN", `${kind} port ${port} is in use by another program`, {
      hint: "stop that program, or give kin another port: kin set listen.port <number>",
    });
  if (code === "EACCES")
    return new KinError("PORT_TAKEN", `${kind} port ${port} is not ours to use: ports below 1024 need root`, {
      hint: "kin set listen.port <number above 1024>",
    });
  return new KinError("PORT_TAKEN", `cannot listen on ${kind} port ${port}: ${code}`);
}

/** The first port of `listen` that cannot be had, or null. */
async function portsTaken(listen: ListenOptions): Promise<{ port: number; kind: "TCP" | "UDP"; code: string } | null> {
  const transports = listen.transports ?? ALL_TRANSPORTS;
  const checks: { port: number; kind: "TCP" | "UDP" }[] = [];
  if (transports.includes("tcp")) checks.push({ port: listen.port, kind: "TCP" });
  if (transports.includes("ws")) checks.push({ port: listen.port + 1, kind: "TCP" });
  if (transports.includes("webrtc-direct")) checks.push({ port: listen.port, kind: "UDP" });
  // A dual-stack "::" is not tried: the IPv4 address beside it stands for both.
  for (const host of hostsOf(listen).filter((host, _i, all) => host !== "::" || all.length === 1)) {
    for (const check of checks) {
      const code = check.kind === "TCP" ? await tryTcp(host, check.port) : await tryUdp(host, check.port);
      if (code !== null) return { ...check, code };
    }
  }
  return null;
}

function tryTcp(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

function tryUdp(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
    socket.once("error", (error: NodeJS.ErrnoException) => {
      socket.close();
      resolve(error.code ?? error.message);
    });
    socket.bind({ port, address: host, exclusive: true }, () => socket.close(() => resolve(null)));
  });
}

/** Somebody may take the port between our look and libp2p's. */
function listenError(cause: unknown, port: number | null): unknown {
  const message = cause instanceof Error ? cause.message : String(cause);
  return port !== null && message.includes("EADDRINUSE") ? portError(port, "TCP", "EADDRINUSE") : cause;
}

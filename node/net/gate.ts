/**
 * Who may speak to us (R14). Members of the current membership get everything. A stranger gets identify (with nothing in it
 * but `/kin/join/1`) and `/kin/join/1`: one connection, two streams, ten seconds, at a small fixed rate.
 *
 *   socket ─▶ handshake proves the device key ─▶ gater: member? stranger within the limits? else closed
 *   stream ─▶ the protocol list for *this* peer ─▶ guard(handler): asks again, because membership changes under a connection
 *
 * Both are needed: libp2p negotiates a protocol from one list for all peers and would tell it to anybody (`ls`), so a
 * stranger's connection is given a shorter list; and a transport that names the protocol without negotiation (WebRTC) meets
 * the guard. Every handler goes through `guard`, libp2p's own (ping, DHT) by `guardRegistrar`. Never `registrar.use`: it grows
 * a shared array.
 */
import type {
  Connection,
  ConnectionGater,
  MultiaddrConnection,
  PeerId,
  StreamHandler,
  Topology,
} from "@libp2p/interface";
import { toHex } from "../../protocols/bytes.ts";
import type { Time } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import { JOIN_PROTOCOL } from "../../protocols/join.ts";
import { STRANGER_LIFE_MS, STRANGER_STREAMS } from "../../protocols/limits.ts";
import type { Membership } from "../../protocols/membership.ts";
import { hostOf, isDialable } from "./addresses.ts";
import { override } from "./override.ts";

export const IDENTIFY_PROTOCOL = "/ipfs/id/1.0.0";

export function isForStrangers(protocol: string): boolean {
  return protocol === IDENTIFY_PROTOCOL || protocol === JOIN_PROTOCOL;
}

/** Strangers connected at once: a team that joins in one meeting fits, a flood does not. */
export const MAX_STRANGERS = 64;
/** Of these behind one IP: an office's NAT. */
export const MAX_STRANGERS_PER_IP = 16;
/** Connections of strangers from one IP: so many at once, then one in so many ms. */
export const STRANGER_BURST = 32;
export const STRANGER_REFILL_MS = 500;
/** IPs whose rate is remembered; the one that has been quiet for longest is forgotten. */
const MAX_RATED_IPS = 4096;
/** How often the streams of a stranger's connection are counted: libp2p tells nobody of a stream before it is negotiated. */
const STREAM_COUNT_INTERVAL_MS = 250;
/** An unnegotiated stream or two may be in the making beside those that count. */
const STREAM_COUNT_SLACK = 2;

export interface GateDeps {
  membership(): Membership | null;
  time: Time;
  /** May refuse a member too, in both directions: for tests, and for the DHT's proof. */
  mayConnect?: ((device: DeviceId) => boolean) | undefined;
}

interface RegistrarLike {
  getProtocols(): string[];
  handle(protocol: string, handler: StreamHandler, options?: object): Promise<void>;
  register(protocol: string, topology: Topology): Promise<string>;
}

export interface Gate {
  readonly gater: ConnectionGater;
  isMember(peer: PeerId): boolean;
  /** The living person of a living device. */
  personOf(device: DeviceId): PersonId | null;
  /** Lets a dial to a non-member through (join); returns what ends it. */
  expect(device: DeviceId): () => void;
  /** Wraps a handler of `/kin/join/1` or identify ("everyone") or of anything else ("members"). */
  guard(handler: StreamHandler, allowed: "members" | "everyone"): StreamHandler;
  /** The same registrar for a libp2p service: its handlers are for members, it hears of members only. */
  guardRegistrar<R extends RegistrarLike>(registrar: R): R;
  /** To be called for each new connection, before its first stream. */
  opened(connection: Connection): void;
  /** Protocols that `peer` may negotiate. */
  protocolsFor(peer: PeerId, all: string[]): string[];
  /** After a change of membership: cuts those who were members and are no more. Returns the connections that became a member's. */
  enforce(): Connection[];
}

/** The device behind a libp2p peer id, or null: kin's are Ed25519. */
export function deviceOf(peer: PeerId): DeviceId | null {
  return peer.type === "Ed25519" ? (toHex(peer.publicKey.raw) as DeviceId) : null;
}

export function createGate(deps: GateDeps): Gate {
  const strangers = createStrangerLimits(deps.time);
  const expected = new Map<DeviceId, number>();
  const live = new Map<Connection, "member" | "stranger">();

  function personOf(device: DeviceId): PersonId | null {
    return deps.membership()?.devices.get(device)?.member.person ?? null;
  }

  function mayConnect(device: DeviceId): boolean {
    return deps.mayConnect === undefined || deps.mayConnect(device);
  }

  function isMember(peer: PeerId): boolean {
    const device = deviceOf(peer);
    return device !== null && personOf(device) !== null;
  }

  function denyOutbound(peer: PeerId): boolean {
    const device = deviceOf(peer);
    if (device === null) return true;
    if (expected.has(device)) return false;
    return personOf(device) === null || !mayConnect(device);
  }

  function denyInbound(peer: PeerId, connection: MultiaddrConnection): boolean {
    const device = deviceOf(peer);
    if (device === null) return true;
    if (personOf(device) !== null) return !mayConnect(device);
    return !strangers.admit(device, connection);
  }

  function guard(handler: StreamHandler, allowed: "members" | "everyone"): StreamHandler {
    return (stream, connection) => {
      if (isMember(connection.remotePeer)) return handler(stream, connection);
      if (allowed === "everyone" && inboundStreams(connection) <= STRANGER_STREAMS) return handler(stream, connection);
      stream.abort(new KinError("NOT_A_MEMBER", `only members may use ${stream.protocol}`));
    };
  }

  function protocolsFor(peer: PeerId, all: string[]): string[] {
    return isMember(peer) ? all : all.filter(isForStrangers);
  }

  function watchStranger(connection: Connection): void {
    const cut = (why: string): void => {
      if (!isMember(connection.remotePeer)) connection.abort(new KinError("NOT_A_MEMBER", why));
    };
    if (connection.direction !== "inbound") return;
    const stopLife = deps.time.after(STRANGER_LIFE_MS, () => cut("a stranger's connection lives for 10 s"));
    let stopCount = deps.time.after(STREAM_COUNT_INTERVAL_MS, count);
    function count(): void {
      if (inboundStreams(connection) > STRANGER_STREAMS + STREAM_COUNT_SLACK) cut("a stranger gets two streams");
      stopCount = deps.time.after(STREAM_COUNT_INTERVAL_MS, count);
    }
    connection.addEventListener("close", () => {
      stopLife();
      stopCount();
    });
  }

  return {
    isMember,
    personOf,
    guard,
    protocolsFor,
    gater: {
      denyDialPeer: denyOutbound,
      denyDialMultiaddr: (address) => !isDialable(address.toString()),
      denyOutboundConnection: denyOutbound,
      denyOutboundEncryptedConnection: denyOutbound,
      denyInboundEncryptedConnection: denyInbound,
      filterMultiaddrForPeer: (_peer, address) => isDialable(address.toString()),
    },
    expect(device) {
      expected.set(device, (expected.get(device) ?? 0) + 1);
      let over = false;
      return () => {
        if (over) return;
        over = true;
        const left = (expected.get(device) ?? 1) - 1;
        if (left === 0) expected.delete(device);
        else expected.set(device, left);
      };
    },
    guardRegistrar(registrar) {
      const onlyMembers: Pick<RegistrarLike, "handle" | "register"> = {
        handle: (protocol, handler, options) => registrar.handle(protocol, guard(handler, "members"), options),
        register: (protocol, topology) =>
          registrar.register(protocol, {
            ...topology,
            onConnect: (peer, connection) => {
              if (isMember(peer)) void topology.onConnect?.(peer, connection);
            },
          }),
      };
      return override(registrar, onlyMembers as Partial<typeof registrar>);
    },
    opened(connection) {
      const member = isMember(connection.remotePeer);
      live.set(connection, member ? "member" : "stranger");
      connection.addEventListener("close", () => live.delete(connection));
      shortenProtocolList(connection, protocolsFor);
      if (!member) watchStranger(connection);
    },
    enforce() {
      const adopted: Connection[] = [];
      for (const [connection, was] of live) {
        const is = isMember(connection.remotePeer);
        if (was === "member" && !is) connection.abort(new KinError("REMOVED", "no longer a member"));
        if (was === "stranger" && is) {
          live.set(connection, "member");
          adopted.push(connection);
        }
      }
      return adopted;
    },
  };
}

function inboundStreams(connection: Connection): number {
  return connection.streams.filter((stream) => stream.direction === "inbound").length;
}

/**
 * libp2p asks its registrar for the protocols without saying for which connection, so each connection gets a registrar of
 * its own that knows. The field is private to libp2p; if it is renamed, the test of `ls` goes red and `guard` still holds.
 */
function shortenProtocolList(connection: Connection, protocolsFor: Gate["protocolsFor"]): void {
  const inside = connection as unknown as { components: { registrar: RegistrarLike } };
  const { registrar } = inside.components;
  const own = override(registrar, {
    getProtocols: () => protocolsFor(connection.remotePeer, registrar.getProtocols()),
  });
  inside.components = override(inside.components, { registrar: own });
}

interface Rate {
  tokens: number;
  at: number;
}

/** One connection per device, few per IP, few in all, and a rate per IP. */
function createStrangerLimits(time: Time) {
  const devices = new Set<DeviceId>();
  const perIp = new Map<string, number>();
  const rates = new Map<string, Rate>();

  function mayPass(ip: string): boolean {
    const now = time.monotonic();
    const rate = rates.get(ip) ?? { tokens: STRANGER_BURST, at: now };
    const tokens = Math.min(STRANGER_BURST, rate.tokens + (now - rate.at) / STRANGER_REFILL_MS);
    rates.delete(ip);
    if (rates.size >= MAX_RATED_IPS) rates.delete(rates.keys().next().value!);
    rates.set(ip, { tokens: tokens < 1 ? tokens : tokens - 1, at: now });
    return tokens >= 1;
  }

  return {
    admit(device: DeviceId, connection: MultiaddrConnection): boolean {
      const ip = networkOf(hostOf(connection.remoteAddr.toString()) ?? "");
      const here = perIp.get(ip) ?? 0;
      if (!mayPass(ip)) return false;
      if (devices.has(device) || devices.size >= MAX_STRANGERS || here >= MAX_STRANGERS_PER_IP) return false;
      devices.add(device);
      perIp.set(ip, here + 1);
      connection.addEventListener("close", () => {
        devices.delete(device);
        const left = (perIp.get(ip) ?? 1) - 1;
        if (left <= 0) perIp.delete(ip);
        else perIp.set(ip, left);
      });
      return true;
    },
  };
}

/** What counts as one origin: an IPv4 address, or an IPv6 /64, which one host owns whole. */
export function networkOf(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip);
  if (mapped !== null) return mapped[1]!;
  if (!ip.includes(":")) return ip;
  const [head = "", tail = ""] = ip.split("::");
  const groups = head.split(":").filter(Boolean);
  const after = tail.split(":").filter(Boolean);
  const zeros = Array<string>(Math.max(0, 8 - groups.length - after.length)).fill("0");
  return [...groups, ...zeros, ...after]
    .slice(0, 4)
    .map((group) => group.toLowerCase().replace(/^0+(?=.)/, ""))
    .join(":");
}

/**
 * Finding members on the local network without any server: DNS service discovery over multicast (RFC 6762, 6763), behind
 * libp2p's PeerDiscovery port.
 *
 *   query    PTR _kin-<16 characters of the mesh tag>._udp.local
 *   answer   PTR → <peer id>._kin-….local · TXT "dnsaddr=<multiaddr with peer id>" for each address
 *
 * One socket per network interface: a single one follows the routing table, and on a switch without a gateway there is no
 * route for 224.0.0.251, so stock discovery finds nobody there. An answer proves nothing: whoever is dialled must prove the
 * peer id, so a forged answer costs one failed dial.
 */
import { networkInterfaces } from "node:os";
import {
  peerDiscoverySymbol,
  TypedEventEmitter,
  type PeerDiscovery,
  type PeerDiscoveryEvents,
  type PeerId,
  type PeerInfo,
} from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import multicastDns, { type MulticastDNS, type ResponsePacket, type QueryPacket } from "multicast-dns";
import { meshTag, type MeshId } from "../../protocols/ids.ts";
import { isDialable, isLoopback, hostOf } from "./addresses.ts";

/** Our own question, first at once, then less and less often up to the last. */
const QUERY_INTERVALS_MS = [1_000, 2_000, 5_000, 10_000, 30_000];
/** Interfaces come and go: looked at this often. */
const INTERFACE_INTERVAL_MS = 5_000;
/** Answers to one question go out at most this often per interface: a flood of questions is not multiplied. */
const MIN_ANSWER_INTERVAL_MS = 250;
const MAX_INTERFACES = 16;
/** Peers that are remembered as already told; the oldest is forgotten. */
const MAX_KNOWN_PEERS = 1024;
/** The same peer with the same addresses is told again only after this. */
const TELL_AGAIN_MS = 10_000;
const MAX_ADDRESSES_PER_PEER = 16;
/** A TXT string holds 255 bytes (RFC 1035 §3.3.14), `dnsaddr=` included. */
const MAX_TXT_BYTES = 255;
const MAX_ANSWERS_READ = 64;
const TTL_S = 120;

export interface MdnsOptions {
  mesh: MeshId;
  /** Tests: another port than 5353. */
  port?: number | undefined;
}

export interface MdnsParts {
  peerId: PeerId;
  addressManager: { getAddresses(): { toString(): string }[] };
}

/** DNS labels hold 63 characters, service names 15 by convention: 16 of the tag's 26 tell meshes on one LAN apart. */
export function serviceTag(mesh: MeshId): string {
  return `_kin-${meshTag(mesh).slice(0, 16)}._udp.local`;
}

/** Libp2p option `peerDiscovery: [mdns({ mesh })]`. Emits `peer` for every peer that announces itself under the mesh's tag. */
export function mdns(options: MdnsOptions): (parts: MdnsParts) => PeerDiscovery {
  return (parts) => new Mdns(parts, options);
}

class Mdns extends TypedEventEmitter<PeerDiscoveryEvents> implements PeerDiscovery {
  readonly [peerDiscoverySymbol] = this;
  readonly [Symbol.toStringTag] = "kin/mdns";
  readonly #parts: MdnsParts;
  readonly #tag: string;
  readonly #port: number | undefined;
  readonly #sockets = new Map<string, { dns: MulticastDNS; answeredAt: number }>();
  readonly #told = new Map<string, { at: number; addresses: string }>();
  #timers: NodeJS.Timeout[] = [];
  #started = false;

  constructor(parts: MdnsParts, options: MdnsOptions) {
    super();
    this.#parts = parts;
    this.#tag = serviceTag(options.mesh);
    this.#port = options.port;
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#openSockets();
    const watch = setInterval(() => this.#openSockets(), INTERFACE_INTERVAL_MS);
    watch.unref();
    this.#timers.push(watch);
    this.#ask(0);
  }

  async stop(): Promise<void> {
    this.#started = false;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
    const closing = [...this.#sockets.values()].map(
      ({ dns }) => new Promise<void>((done) => dns.destroy(() => done())),
    );
    this.#sockets.clear();
    this.#told.clear();
    await Promise.all(closing);
  }

  #openSockets(): void {
    const ips = ownIps();
    for (const [ip, { dns }] of this.#sockets) {
      if (ips.includes(ip)) continue;
      this.#sockets.delete(ip);
      dns.destroy();
    }
    for (const ip of ips) {
      if (this.#sockets.has(ip)) continue;
      const dns = multicastDns({
        interface: ip,
        bind: "0.0.0.0",
        ...(this.#port === undefined ? {} : { port: this.#port }),
      });
      this.#sockets.set(ip, { dns, answeredAt: 0 });
      dns.on("query", (packet) => this.#onQuery(ip, packet));
      dns.on("response", (packet) => this.#onResponse(packet));
      // An interface that cannot do multicast, or a port that somebody holds alone: the others go on.
      dns.on("error", () => this.#sockets.delete(ip));
      dns.on("warning", () => {});
    }
  }

  #ask(round: number): void {
    for (const { dns } of this.#sockets.values()) dns.query([{ name: this.#tag, type: "PTR" }]);
    const wait = QUERY_INTERVALS_MS[Math.min(round, QUERY_INTERVALS_MS.length - 1)]!;
    const timer = setTimeout(() => {
      this.#timers = this.#timers.filter((one) => one !== timer);
      this.#ask(round + 1);
    }, wait);
    timer.unref();
    this.#timers.push(timer);
  }

  #onQuery(ip: string, packet: QueryPacket): void {
    if (packet.questions?.some((question) => question.name.toLowerCase() === this.#tag) !== true) return;
    const socket = this.#sockets.get(ip);
    const now = performance.now();
    if (socket === undefined || (socket.answeredAt > 0 && now - socket.answeredAt < MIN_ANSWER_INTERVAL_MS)) return;
    const addresses = announcedAddresses(
      this.#parts.addressManager.getAddresses().map((address) => address.toString()),
    );
    if (addresses.length === 0) return;
    socket.answeredAt = now;
    const name = `${this.#parts.peerId.toString()}.${this.#tag}`;
    socket.dns.respond({
      answers: [
        { name: this.#tag, type: "PTR", ttl: TTL_S, data: name },
        { name, type: "TXT", ttl: TTL_S, data: addresses.map((address) => `dnsaddr=${address}`) },
      ],
    });
  }

  #onResponse(packet: ResponsePacket): void {
    if (!this.#started) return;
    const answers = [...(packet.answers ?? []), ...(packet.additionals ?? [])].slice(0, MAX_ANSWERS_READ);
    for (const answer of answers) {
      if (answer.type !== "TXT" || !answer.name.toLowerCase().endsWith(this.#tag)) continue;
      const strings = (Array.isArray(answer.data) ? answer.data : [answer.data]).slice(0, MAX_ADDRESSES_PER_PEER);
      const found = readAddresses(strings.map(String));
      if (found !== null && found.id !== this.#parts.peerId.toString()) this.#tell(found);
    }
  }

  #tell(found: FoundPeer): void {
    const now = performance.now();
    const addresses = found.addresses.join(" ");
    const told = this.#told.get(found.id);
    if (told !== undefined && told.addresses === addresses && now - told.at < TELL_AGAIN_MS) return;
    this.#told.delete(found.id);
    if (this.#told.size >= MAX_KNOWN_PEERS) this.#told.delete(this.#told.keys().next().value!);
    this.#told.set(found.id, { at: now, addresses });
    const detail: PeerInfo = {
      id: peerIdFromString(found.id),
      multiaddrs: found.addresses.map((address) => multiaddr(address)),
    };
    this.dispatchEvent(new CustomEvent("peer", { detail }));
  }
}

/** What of our addresses is worth saying to the LAN: a node that listens on loopback only, or on nothing, says nothing. */
export function announcedAddresses(listening: readonly string[]): string[] {
  return listening
    .filter((address) => isDialable(address) && !isLoopback(hostOf(address) ?? ""))
    .filter((address) => `dnsaddr=${address}`.length <= MAX_TXT_BYTES)
    .slice(0, MAX_ADDRESSES_PER_PEER);
}

export interface FoundPeer {
  id: string;
  addresses: string[];
}

/** The addresses in an answer's TXT strings: of one peer, dialable, not loopback. Anything else is null. */
export function readAddresses(strings: readonly string[]): FoundPeer | null {
  const addresses: string[] = [];
  let id: string | undefined;
  for (const text of strings) {
    const found = /^dnsaddr=(\/.+\/p2p\/([1-9A-HJ-NP-Za-km-z]{40,60}))$/.exec(text);
    if (found === null) continue;
    const [, address, peer] = found;
    if (id !== undefined && peer !== id) return null;
    if (!isDialable(address!) || isLoopback(hostOf(address!) ?? "") || !isMultiaddr(address!)) continue;
    id = peer!;
    addresses.push(address!);
  }
  return id === undefined || addresses.length === 0 ? null : { id, addresses };
}

function isMultiaddr(text: string): boolean {
  try {
    multiaddr(text);
    peerIdFromString(text.slice(text.lastIndexOf("/") + 1));
    return true;
  } catch {
    return false;
  }
}

/** One IPv4 address per network interface. */
function ownIps(): string[] {
  const first = Object.values(networkInterfaces()).map((infos) =>
    infos?.find((info) => info.family === "IPv4" && !info.internal),
  );
  return first.flatMap((info) => (info === undefined ? [] : [info.address])).slice(0, MAX_INTERFACES);
}

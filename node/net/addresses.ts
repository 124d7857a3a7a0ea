/**
 * Which addresses we give to others, and which of theirs we dial. Pure, but for the two small adapters at the end that ask
 * this machine.
 *
 * A ticket has room for three addresses (R10): the interface with the default route first, then other LANs, then global IPv6;
 * loopback only if there is nothing else; never a container bridge, which exists on every second developer's machine with
 * the same address and leads nowhere from outside.
 */
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { networkInterfaces, type NetworkInterfaceInfo } from "node:os";
import { MAX_TICKET_ADDRESSES } from "../../protocols/limits.ts";

/** The shape of `os.networkInterfaces()`. */
export type Interfaces = {
  [name: string]: readonly Pick<NetworkInterfaceInfo, "address" | "family" | "internal">[] | undefined;
};

/** Bridges and tunnels of Docker, Podman, libvirt, LXC, Kubernetes, VirtualBox, VMware, and macOS's peer-to-peer radio. */
const NOT_REACHABLE_FROM_OUTSIDE =
  /^(docker\d*|br-[\da-f]+|veth.*|virbr\d*|vnet\d*|cni.*|podman\d*|lxc.*|lxdbr\d*|flannel.*|cali.*|kube.*|weave|vboxnet\d*|vmnet\d*|awdl\d*|llw\d*|bridge100|ifb\d*|dummy\d*)$/;

/** An IP of ours and how far it reaches; the order in which a ticket names them. */
type Reach = "default" | "lan" | "global6" | "tunnel" | "loopback";
const ORDER: readonly Reach[] = ["default", "lan", "global6", "tunnel", "loopback"];

export interface OwnAddress {
  address: string;
  interface: string;
  reach: Reach;
}

/** Our IPs that others may reach, best first; loopback only if there is nothing else. */
export function reachableAddresses(interfaces: Interfaces, defaultInterface: string | null): OwnAddress[] {
  const found: OwnAddress[] = [];
  for (const [name, infos] of Object.entries(interfaces)) {
    if (NOT_REACHABLE_FROM_OUTSIDE.test(name)) continue;
    for (const info of infos ?? []) {
      const reach = reachOf(info.address, isInternal(info), name, defaultInterface);
      if (reach !== null) found.push({ address: info.address, interface: name, reach });
    }
  }
  found.sort((a, b) => ORDER.indexOf(a.reach) - ORDER.indexOf(b.reach));
  const outside = found.filter((own) => own.reach !== "loopback");
  return outside.length > 0 ? outside : found;
}

function isInternal(info: { internal: boolean; address: string }): boolean {
  return info.internal || isLoopback(info.address);
}

function reachOf(address: string, internal: boolean, name: string, defaultInterface: string | null): Reach | null {
  if (isIP(address) === 6) {
    if (internal) return address === "::1" ? "loopback" : null;
    return isGlobal6(address) ? "global6" : null;
  }
  if (internal) return "loopback";
  if (isLinkLocal(address)) return null;
  if (name === defaultInterface) return "default";
  return /^(tun|tap|wg|utun|tailscale|zt)/.test(name) ? "tunnel" : "lan";
}

/**
 * The multiaddrs for a ticket: for each of our IPs, best first, one way to reach it; TCP before WebSocket before WebRTC. What
 * room is left is filled with the other ways of the best IP.
 * @param listening multiaddrs that we listen on, as libp2p tells them
 * @param announced multiaddrs of the settings, which come first
 */
export function ticketAddresses(
  listening: readonly string[],
  interfaces: Interfaces,
  defaultInterface: string | null,
  announced: readonly string[] = [],
): string[] {
  const ips = reachableAddresses(interfaces, defaultInterface).map((own) => own.address);
  const ways = ips.map((ip) => sortByTransport(listening.filter((address) => hostOf(address) === ip)));
  const loopback = sortByTransport(listening.filter((address) => isLoopback(hostOf(address) ?? "")));
  const best = ways.flatMap((way) => way.slice(0, 1));
  const rest = ways.flatMap((way) => way.slice(1));
  const all = [...best, ...rest];
  // Whoever sets an address by hand knows better than we do.
  return [...announced, ...(all.length > 0 ? all : loopback)].slice(0, MAX_TICKET_ADDRESSES);
}

/** TCP is preferred when it works; the others are there to reach (§6). */
const TRANSPORTS = ["tcp", "ws", "webrtc-direct", "relayed"] as const;
export type TransportName = (typeof TRANSPORTS)[number];

export function transportOf(address: string): TransportName {
  if (address.includes("/p2p-circuit")) return "relayed";
  if (address.includes("/webrtc")) return "webrtc-direct";
  return /\/wss?(\/|$)/.test(address) ? "ws" : "tcp";
}

/** Stable: within a transport the given order is kept. */
export function sortByTransport(addresses: readonly string[]): string[] {
  return addresses.toSorted((a, b) => TRANSPORTS.indexOf(transportOf(a)) - TRANSPORTS.indexOf(transportOf(b)));
}

/** The IP or name in a multiaddr. */
export function hostOf(address: string): string | null {
  return /^\/(?:ip4|ip6|dns|dns4|dns6|dnsaddr)\/([^/]+)/.exec(address)?.[1] ?? null;
}

/** Without the peer id at its end. */
export function withoutPeer(address: string): string {
  return address.replace(/\/p2p\/[^/]+$/, "");
}

/**
 * May we dial what somebody else told us? Only to IP addresses: a name would be resolved by us to wherever its owner likes
 * (E23). Never to link-local ones: 169.254.169.254 is a cloud's metadata service.
 */
export function isDialable(address: string): boolean {
  if (address.length > MAX_ADDRESS_LENGTH) return false;
  const found = /^\/ip[46]\/([^/]+)\/(tcp|udp)\/(\d{1,5})(\/|$)/.exec(address);
  if (found === null) return false;
  const [, host, , port] = found;
  if (isIP(host!) === 0 || Number(port) < 1 || Number(port) > 65_535) return false;
  return !isLinkLocal(host!) && !isUnspecifiedOrMulticast(host!);
}

/** A WebRTC address with its certificate hash and peer id is about 180 characters. */
const MAX_ADDRESS_LENGTH = 300;

export function isLoopback(ip: string): boolean {
  return ip === "::1" || ip.startsWith("127.") || ip.startsWith("::ffff:127.");
}

function isLinkLocal(ip: string): boolean {
  return /^(::ffff:)?169\.254\./i.test(ip) || /^fe[89ab]/i.test(ip);
}

function isUnspecifiedOrMulticast(ip: string): boolean {
  return ip === "::" || /^(::ffff:)?(0\.|22[4-9]\.|23\d\.|255\.255\.255\.255$)/i.test(ip) || /^ff/i.test(ip);
}

function isGlobal6(ip: string): boolean {
  return /^[23]/.test(ip);
}

/** Private ranges: RFC 1918, RFC 6598 (carrier NAT, Tailscale), unique local IPv6. */
export function isPrivate(ip: string): boolean {
  return (
    isLoopback(ip) ||
    isLinkLocal(ip) ||
    /^(::ffff:)?(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/i.test(ip) ||
    /^f[cd]/i.test(ip)
  );
}

/**
 * The addresses of a peer worth keeping when it tells them itself: a loopback address means something only on the same
 * machine, so only if it reached us over loopback too.
 */
export function usefulAddresses(told: readonly string[], overLoopback: boolean): string[] {
  return told.filter((address) => isDialable(address) && (overLoopback || !isLoopback(hostOf(address) ?? "")));
}

/** The interface with the default route, from the text of Linux's /proc/net/route; the lowest metric wins. */
export function parseDefaultRoute(table: string): string | null {
  const routes = table
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1] === "00000000" && fields[7] === "00000000")
    .map((fields) => ({ name: fields[0]!, metric: Number(fields[6]) }))
    .toSorted((a, b) => a.metric - b.metric);
  return routes[0]?.name ?? null;
}

/** Elsewhere than on Linux the first wired or wireless interface is taken: en0 on macOS. */
export async function readDefaultInterface(): Promise<string | null> {
  try {
    return parseDefaultRoute(await readFile("/proc/net/route", "utf8"));
  } catch {
    return Object.keys(networkInterfaces()).find((name) => /^(en|eth|wl)/.test(name)) ?? null;
  }
}

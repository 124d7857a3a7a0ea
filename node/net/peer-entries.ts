/**
 * What is remembered of each other device: where it is reached, which connections to it are open, what it said in its hello,
 * and how the last tries to reach it went.
 */
import type { Connection } from "@libp2p/interface";
import type { Time } from "../../protocols/effects.ts";
import type { Greeting } from "../../protocols/hello.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import { hostOf, isDialable, isLoopback, isPrivate, transportOf, withoutPeer } from "./addresses.ts";
import type { DialAttempt } from "./dial.ts";
import type { AddressBook, Path, Peer, PeerState } from "./network.ts";

/** Addresses remembered of one device. */
const MAX_ADDRESSES = 16;

export interface PeerEntry {
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

/** The entries of all devices that we have heard of, and their addresses over restarts. */
export interface PeerEntries {
  /** Makes it if there is none. */
  of(device: DeviceId): PeerEntry;
  get(device: DeviceId): PeerEntry | undefined;
  all(): PeerEntry[];
  /** Adds addresses as those that worked last ("first") or that somebody told us ("last"). */
  remember(entry: PeerEntry, addresses: readonly string[], where?: "first" | "last"): void;
  forget(entry: PeerEntry): void;
}

export function createPeerEntries(book: AddressBook | undefined): PeerEntries {
  const entries = new Map<DeviceId, PeerEntry>();

  function of(device: DeviceId): PeerEntry {
    const entry = entries.get(device) ?? emptyEntry(device);
    entries.set(device, entry);
    return entry;
  }

  for (const [device, addresses] of book?.load() ?? []) of(device).addresses = [...addresses].slice(0, MAX_ADDRESSES);

  return {
    of,
    get: (device) => entries.get(device),
    all: () => [...entries.values()],
    /** WebRTC addresses end with a certificate that changes at each start: they are used, but not kept over a restart. */
    remember(entry, addresses, where = "first") {
      const fresh = addresses.filter((address) => isDialable(address)).map(withoutPeer);
      const merged = where === "first" ? [...fresh, ...entry.addresses] : [...entry.addresses, ...fresh];
      const before = entry.addresses.join(" ");
      entry.addresses = [...new Set(merged)].slice(0, MAX_ADDRESSES);
      if (entry.addresses.join(" ") === before) return;
      const lasting = entry.addresses.filter((address) => transportOf(address) !== "webrtc-direct");
      book?.save(entry.device, lasting);
    },
    forget(entry) {
      stopWaiting(entry);
      entries.delete(entry.device);
      book?.save(entry.device, []);
    },
  };
}

function emptyEntry(device: DeviceId): PeerEntry {
  return {
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
}

/** Ends the entry's timers. */
export function stopWaiting(entry: PeerEntry): void {
  entry.cancelRetry?.();
  entry.cancelDuplicateCheck?.();
}

/** The open connection that both sides choose for new streams. */
export function bestConnection(entry: PeerEntry, self: DeviceId): Connection | undefined {
  const open = [...entry.connections].filter((connection) => connection.status === "open");
  return open.toSorted((a, b) => rank(a, entry.device, self) - rank(b, entry.device, self))[0];
}

const TRANSPORTS = ["tcp", "ws", "webrtc-direct", "relayed"];

/** Lower is better; the same on both sides. */
function rank(connection: Connection, remote: DeviceId, self: DeviceId): number {
  const dialledBySmaller = (connection.direction === "outbound") === self < remote;
  return (
    (connection.limits === undefined ? 0 : 100) +
    TRANSPORTS.indexOf(transportOf(connection.remoteAddr.toString())) * 10 +
    (dialledBySmaller ? 0 : 1)
  );
}

export function stateOf(entry: PeerEntry, person: PersonId, self: DeviceId, time: Pick<Time, "now">): PeerState {
  const connection = entry.greeting === null ? undefined : bestConnection(entry, self);
  const address = connection?.remoteAddr.toString();
  return {
    device: entry.device,
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

function pathOf(connection: Connection): Path {
  if (connection.limits !== undefined || !connection.direct) return "relayed";
  const host = hostOf(connection.remoteAddr.toString()) ?? "";
  if (isLoopback(host)) return "loopback";
  return isPrivate(host) ? "lan" : "direct";
}

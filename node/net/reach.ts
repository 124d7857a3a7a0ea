/**
 * Reaching members: at the addresses that we know, else where the DHT says they are; again and again by ourselves, when they
 * are found, lost or new, few at once and ever more slowly (`reconnect.ts`).
 *
 *   connect ─▶ greeted already? ─▶ dial under way and young? share it ─▶ dial (dial.ts) ─▶ hello (greet.ts)
 *                                                                          └ failed ─▶ wait ─▶ connect
 */
import type { Connection } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import type { Random, Time } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Greeting } from "../../protocols/hello.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import { isDialable, withoutPeer } from "./addresses.ts";
import { dialAddresses, type DialAttempt } from "./dial.ts";
import { peerIdOf, type RunningLibp2p } from "./libp2p.ts";
import type { Peer } from "./network.ts";
import { bestConnection, type PeerEntries, type PeerEntry } from "./peer-entries.ts";
import { unreachable } from "./reach-errors.ts";
import { reconnectDelay } from "./reconnect.ts";
import { withSignal } from "./with-signal.ts";

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

export interface ReachDeps {
  self: DeviceId;
  time: Time;
  random: Random;
  entries: PeerEntries;
  readonly libp2p: () => Promise<RunningLibp2p>;
  /** The living person of a living device. */
  readonly personOf: (device: DeviceId) => PersonId | null;
  readonly nameOf: (device: DeviceId) => string;
  readonly mayConnect: (device: DeviceId) => boolean;
  readonly greetingOn: (entry: PeerEntry, connection: Connection, signal: AbortSignal) => Promise<Greeting>;
  stopped: AbortSignal;
}

export interface Reach {
  /** @throws KinError UNREACHABLE, NOT_A_MEMBER, or what the peer refused us with */
  connect(device: DeviceId, more?: { addresses?: string[]; signal?: AbortSignal }): Promise<Peer>;
  /** After a loss or a failure, and for who is new. */
  retryLater(entry: PeerEntry): void;
  /** Now, if there is a place among the dials that we start by ourselves. */
  autoDial(entry: PeerEntry): void;
}

/** @param autoConnect dial members by ourselves */
export function createReach(deps: ReachDeps, autoConnect: boolean): Reach {
  const { self, time, entries, nameOf, personOf, stopped } = deps;
  let autoDials = 0;

  async function connect(device: DeviceId, more: { addresses?: string[]; signal?: AbortSignal } = {}): Promise<Peer> {
    const person = personOf(device);
    if (person === null)
      throw new KinError(
        "NOT_A_MEMBER",
        `device ${device.slice(0, 8)}… is not a living device of a member of this mesh`,
      );
    if (device === self) throw new KinError("UNREACHABLE", "that device is this one");
    const entry = entries.of(device);
    if (more.addresses !== undefined) entries.remember(entry, more.addresses, "last");
    if (entry.greeting !== null && bestConnection(entry, self) !== undefined)
      return { device, person, greeting: entry.greeting };
    return withSignal(sharedDial(entry), more.signal);
  }

  /** A dial that began a while ago may be waiting for an address where the peer was not yet: who asks now gets one of now. */
  function sharedDial(entry: PeerEntry): Promise<Peer> {
    const earlier = entry.dialling;
    const isStale = earlier !== null && time.monotonic() - entry.diallingSince > STALE_DIAL_MS;
    if (earlier !== null && !isStale) return earlier;
    const fresh = dialAndGreet(entry).finally(() => {
      if (entry.dialling === fresh) entry.dialling = null;
    });
    entry.dialling = fresh;
    entry.diallingSince = time.monotonic();
    earlier?.catch(() => {});
    return fresh;
  }

  async function dialAndGreet(entry: PeerEntry): Promise<Peer> {
    const signal = AbortSignal.any([stopped, AbortSignal.timeout(CONNECT_TIMEOUT_MS)]);
    try {
      const connection = bestConnection(entry, self) ?? (await dialMember(entry, signal));
      const greeting = await deps.greetingOn(entry, connection, signal);
      return { device: entry.device, person: greeting.person, greeting };
    } catch (error) {
      entry.failures++;
      entry.failedAt = time.now();
      if (entry.greeting === null) retryLater(entry);
      throw unreachable(nameOf(entry.device), error);
    }
  }

  async function dialMember(entry: PeerEntry, signal: AbortSignal): Promise<Connection> {
    const lib = await deps.libp2p();
    if (!deps.mayConnect(entry.device))
      throw new KinError("UNREACHABLE", `connections to ${nameOf(entry.device)} are switched off`);
    const known = entry.addresses.length > 0 ? entry.addresses : await askDht(lib, entry, signal);
    const attempts: DialAttempt[] = [];
    entry.attempts = attempts;
    return dialDevice(lib, time, entry.device, known, signal, (failed) => attempts.push(failed));
  }

  async function askDht(lib: RunningLibp2p, entry: PeerEntry, signal: AbortSignal): Promise<string[]> {
    if (lib.dht === null || lib.routingTable().length === 0) return [];
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(FIND_PEER_TIMEOUT_MS)]);
      const found = await lib.node.peerRouting.findPeer(peerIdOf(entry.device), { signal: limit });
      entries.remember(entry, found.multiaddrs.map(String), "last");
    } catch {
      // Not found is an answer: the caller says that no address is known.
    }
    return entry.addresses;
  }

  function retryLater(entry: PeerEntry): void {
    entry.cancelRetry?.();
    if (!autoConnect || stopped.aborted || personOf(entry.device) === null || entry.device === self) return;
    entry.cancelRetry = time.after(reconnectDelay(entry.failures, deps.random), () => autoDial(entry));
  }

  function autoDial(entry: PeerEntry): void {
    entry.cancelRetry?.();
    entry.cancelRetry = null;
    if (stopped.aborted || entry.greeting !== null || !deps.mayConnect(entry.device)) return;
    if (personOf(entry.device) === null) return;
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

  return { connect, retryLater, autoDial };
}

/** Dials one device at these addresses. @throws DialFailure */
export function dialDevice(
  lib: RunningLibp2p,
  time: Time,
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

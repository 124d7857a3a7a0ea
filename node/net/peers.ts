/**
 * The network as the rest of the node sees it: members by device id, a wire to each, and who is there. This file puts its
 * parts together and follows the membership:
 *
 *   connect ─▶ dial the addresses we know (reach.ts) ─▶ connection ─▶ hello (greet.ts) ─▶ peer-connected
 *   open    ─▶ connect ─▶ a stream on the best connection (streams.ts)
 *   lost    ─▶ peer-disconnected ─▶ wait (reconnect.ts) ─▶ connect
 *   join    ─▶ the ticket's addresses and mDNS (dial-inviter.ts)
 */
import { networkInterfaces } from "node:os";
import type { Connection } from "@libp2p/interface";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import type { Random, Time, Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { HelloDeps } from "../../protocols/hello.ts";
import type { DeviceId, MeshId, RecordId } from "../../protocols/ids.ts";
import type { Membership } from "../../protocols/membership.ts";
import type { Sealed } from "../../protocols/signature.ts";
import { sortByTransport, ticketAddresses } from "./addresses.ts";
import { dialInviter } from "./dial-inviter.ts";
import { listenFor } from "./find-inviter.ts";
import { createGate, deviceOf, type Gate } from "./gate.ts";
import { createGreetings, type Greetings } from "./greet.ts";
import { createAddressLearner } from "./learn-addresses.ts";
import { peerIdOf, type RunningLibp2p } from "./libp2p.ts";
import type { AddressBook, Network, NetworkEvent, PeersOptions } from "./network.ts";
import { createPeerEntries, stateOf, stopWaiting, type PeerEntries } from "./peer-entries.ts";
import { createReach, type Reach } from "./reach.ts";
import { describeDevice } from "./reach-errors.ts";
import { openStream } from "./streams.ts";
import { createUnderlay, type Underlay } from "./underlay.ts";

export type { AddressBook, Network, NetworkEvent, PeersOptions, PeerState } from "./network.ts";

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

export function createPeers(deps: PeersDeps, options: PeersOptions): Network {
  const { time, device: self } = deps;
  const autoConnect = options.autoConnect ?? true;
  let membership: Membership | null = null;
  let changing: Promise<void> = Promise.resolve();
  /** Devices that a join is just dialling. */
  const joining = new Set<DeviceId>();
  const stopped = new AbortController();
  const listeners = new Set<(event: NetworkEvent) => void>();
  const gate: Gate = createGate({ membership: () => membership, time, mayConnect: options.mayConnect });
  const entries: PeerEntries = createPeerEntries(deps.addressBook);
  const nameOf = (device: DeviceId): string => describeDevice(membership, device);

  const greetings: Greetings = createGreetings({
    self,
    time,
    entries,
    helloFor,
    present: deps.present,
    isJoining: (device) => joining.has(device),
    nameOf,
    emit,
    report,
    identify: async (connection) => underlay.running?.identify(connection),
    lost: (entry) => reach.retryLater(entry),
    stopped: stopped.signal,
  });

  const reach: Reach = createReach(
    {
      self,
      time,
      random: deps.random,
      entries,
      libp2p,
      personOf: (device) => gate.personOf(device),
      nameOf,
      mayConnect: (device) => options.mayConnect?.(device) ?? true,
      greetingOn: (entry, connection, signal) => greetings.on(entry, connection, signal),
      stopped: stopped.signal,
    },
    autoConnect,
  );

  const learner = createAddressLearner({
    self,
    entries,
    personOf: (device) => gate.personOf(device),
    libp2p,
    seen: (entry) => {
      if (autoConnect) reach.autoDial(entry);
    },
    emit,
  });

  const underlay: Underlay = createUnderlay(
    {
      self,
      deviceSeed: deps.deviceSeed,
      gate,
      entries,
      mesh: () => membership?.mesh ?? null,
      acceptHello: (stream, connection) => greetings.accept(stream, connection),
      nextGreeting: (entry, signal) => greetings.next(entry, signal),
      opened: onConnection,
      found: (device, addresses) => learner.found(device, addresses),
      identified: (connection, addresses) => learner.identified(connection, addresses),
      report,
      stopped: stopped.signal,
    },
    options,
  );

  function libp2p(): Promise<RunningLibp2p> {
    return underlay.start();
  }

  function onConnection(connection: Connection): void {
    if (gate.isMember(connection.remotePeer)) greetings.adopt(connection);
  }

  function helloFor(remote: DeviceId): HelloDeps {
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

  // ---- wires

  async function open(device: DeviceId, protocol: string, signal: AbortSignal): Promise<Wire> {
    await reach.connect(device, { signal });
    return openStream({ self, nameOf }, entries.of(device), protocol, signal);
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
    const reached = (address: string): void => entries.remember(entries.of(expected), [address]);
    const listen = listens ? listenFor(mesh, self, options.mdnsPort) : null;
    try {
      return await dialInviter({ time, libp2p, listen, reached }, addresses, expected, signal);
    } finally {
      joining.delete(expected);
      release();
    }
  }

  // ---- membership

  async function setMembership(next: Membership | null): Promise<void> {
    const before = membership;
    membership = next;
    for (const connection of gate.enforce()) greetings.adopt(connection);
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
      await underlay.stop();
      if (next !== null) await libp2p();
    }
    if (membership === next && next !== null) dialNewMembers(next);
  }

  function forgetNonMembers(): void {
    for (const entry of entries.all()) {
      if (membership === null || gate.personOf(entry.device) !== null) continue;
      entries.forget(entry);
      underlay.running
        ?.forget(peerIdOf(entry.device))
        .catch((error: unknown) => report(error, "forgetting a removed device"));
    }
  }

  function dialNewMembers(current: Membership): void {
    if (!autoConnect) return;
    for (const device of current.devices.keys()) {
      if (device === self) continue;
      const entry = entries.of(device);
      const isIdle = entry.greeting === null && entry.cancelRetry === null && entry.dialling === null;
      if (isIdle && entry.addresses.length > 0) reach.retryLater(entry);
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

  function addresses(): string[] {
    return sortByTransport(underlay.running?.port == null ? [] : underlay.running.node.getMultiaddrs().map(String));
  }

  async function stop(): Promise<void> {
    if (stopped.signal.aborted) return;
    stopped.abort(new KinError("CLOSED", "the network is stopped"));
    for (const entry of entries.all()) stopWaiting(entry);
    await changing.catch(() => {});
    await underlay.stop();
  }

  return {
    device: self,
    addresses,
    ticketAddresses: () =>
      ticketAddresses(addresses(), networkInterfaces(), underlay.defaultInterface, options.announce),
    get port() {
      return underlay.running?.port ?? null;
    },
    setMembership,
    connect: (device, more) => reach.connect(device, more),
    open,
    handleForMembers: (protocol, handler) => underlay.handleForMembers(protocol, handler),
    handleJoin: (handler) => underlay.handleJoin(handler),
    dialForJoin,
    peers: () =>
      [...(membership?.devices ?? [])]
        .filter(([device]) => device !== self)
        .map(([device, { member }]) => stateOf(entries.of(device), member.person, self, time)),
    foundBy: (device) => entries.get(device)?.foundBy,
    greeting: (device) => entries.get(device)?.greeting ?? null,
    peerId: (device) => peerIdOf(device).toString(),
    async ping(device, signal) {
      await reach.connect(device, { signal });
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
      findProviders: (cid, signal) => learner.findProviders(cid, signal),
    },
    inside: () => ({
      protocols: () => underlay.running?.node.getProtocols() ?? [],
      routingTable: () => (underlay.running?.routingTable() ?? []).flatMap((peer) => deviceOf(peer) ?? []),
      knows: async (device) => (await underlay.running?.node.peerStore.has(peerIdOf(device))) ?? false,
    }),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * The network as the rest of the node sees it: members by device id, a wire to each, and who is there. `peers.ts` makes it.
 */
import type { CID } from "multiformats/cid";
import type { Encrypter } from "../../protocols/connection.ts";
import type { Wire } from "../../protocols/effects.ts";
import type { Greeting } from "../../protocols/hello.ts";
import type { DeviceId, MeshId, PersonId } from "../../protocols/ids.ts";
import type { Membership } from "../../protocols/membership.ts";
import type { DialAttempt } from "./dial.ts";
import type { ListenOptions } from "./libp2p.ts";

/** A member at the other end of a connection, after its hello. */
export interface Peer {
  device: DeviceId;
  person: PersonId;
  greeting: Greeting;
}

/** How a connection runs: same machine, private network, over the internet, over a relay. */
export type Path = "loopback" | "lan" | "direct" | "relayed";

/** What `kin peers` shows of a member's device. */
export interface PeerState {
  device: DeviceId;
  person: PersonId;
  connected: boolean;
  /** null while not connected. */
  path: Path | null;
  /** "tcp", "ws", "webrtc-direct"; null while not connected. */
  transport: string | null;
  /** "/tls/1.0.0", "/noise", "native" (WebRTC); null while not connected. */
  encrypter: string | null;
  rttMs: number | null;
  skewMs: number | null;
  /** Wall ms of the last sign of life; null: never seen since our start. */
  lastSeenAt: number | null;
  /** Where we would dial it. */
  addresses: string[];
  /** Wall ms of the last dial that failed at all addresses. */
  failedAt: number | null;
  /** What failed in the dial under way, else in the last one. */
  attempts: DialAttempt[];
}

export type NetworkEvent =
  | { type: "peer-connected"; device: DeviceId; person: PersonId; greeting: Greeting }
  | { type: "peer-disconnected"; device: DeviceId; person: PersonId }
  /** Said on both sides when clocks are over 2 min apart. */
  | { type: "clock-skew"; device: DeviceId; person: PersonId; skewMs: number; clock: "warn" | "skewed" }
  /** mDNS saw a peer of this mesh (a member or not: nothing is proved yet). */
  | { type: "peer-found"; device: DeviceId; addresses: string[]; member: boolean };

export type PeerHandler = (peer: Peer, wire: Wire) => Promise<void>;
export type JoinHandler = (remote: DeviceId, wire: Wire) => Promise<void>;

export interface Network extends AsyncDisposable {
  readonly device: DeviceId;
  /** Our multiaddrs with peer id, best first; empty while we listen on nothing. */
  addresses(): string[];
  /** The addresses to put into a ticket (R10): at most 3, never a container bridge. */
  ticketAddresses(): string[];
  /** The port we listen on (WebSocket: the next one); the caller keeps it for the next start. null while we listen on nothing. */
  readonly port: number | null;
  /**
   * The current membership, whenever it changes. null (or never called): no mesh yet, we listen on nothing and only dial to
   * join. Who is no longer a member is cut off before this returns. The promise is for the start of listening.
   * @throws KinError PORT_TAKEN
   */
  setMembership(membership: Membership | null): Promise<void>;
  /** @throws KinError UNREACHABLE naming each address and what happened there, NOT_A_MEMBER, or what the peer refused us with. */
  connect(device: DeviceId, options?: { addresses?: string[]; signal?: AbortSignal }): Promise<Peer>;
  /** A wire to a member, connecting first if needed. */
  open(device: DeviceId, protocol: string, signal: AbortSignal): Promise<Wire>;
  /** Registers for streams of members only (R14); runs after the hello. Rejections are told to `onError` and abort the wire. */
  handleForMembers(protocol: string, handler: PeerHandler): void;
  /** `/kin/join/1`, the one protocol that strangers may open too. */
  handleJoin(handler: JoinHandler): void;
  /**
   * A `/kin/join/1` wire to `expected`, at these addresses or, with `mesh`, where mDNS sees it.
   * @throws KinError JOIN_FAILED naming each address and what happened there, and what mDNS saw.
   */
  dialForJoin(addresses: string[], expected: DeviceId, signal: AbortSignal, mesh?: MeshId): Promise<Wire>;
  peers(): PeerState[];
  /** What told us of the device's address last: mDNS or the DHT. */
  foundBy(device: DeviceId): "mdns" | "dht" | undefined;
  /** The live greeting of a connected member. */
  greeting(device: DeviceId): Greeting | null;
  /** libp2p's text form of a device's key. */
  peerId(device: DeviceId): string;
  /** Round trip over `/ipfs/ping/1.0.0`, ms, dialling first if need be. @throws KinError UNREACHABLE */
  ping(device: DeviceId, signal: AbortSignal): Promise<number>;
  /** Returns what removes the listener. */
  on(listener: (event: NetworkEvent) => void): () => void;
  readonly dht: {
    /** Says in the mesh's DHT that we have it: about 46 RPCs, so in the background. */
    provide(cid: CID, signal: AbortSignal): Promise<void>;
    /** Members that say they have it. Their addresses are remembered, so `open` reaches them. */
    findProviders(cid: CID, signal: AbortSignal): AsyncIterable<{ device: DeviceId; addresses: string[] }>;
  };
  /** What `doctor` and tests look at. */
  inside(): {
    /** All protocols that we serve to members. */
    protocols(): string[];
    /** Devices in the DHT's routing table. */
    routingTable(): DeviceId[];
    /** Whether libp2p remembers anything of the device. */
    knows(device: DeviceId): Promise<boolean>;
  };
  stop(): Promise<void>;
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

/** Where addresses of members are kept over restarts. */
export interface AddressBook {
  load(): Iterable<readonly [DeviceId, readonly string[]]>;
  /** The whole list for a device, best first; called when it changes. */
  save(device: DeviceId, addresses: readonly string[]): void;
}

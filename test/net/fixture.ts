/** Small real meshes for the tests of the network: memberships made by hand, nodes on 127.0.0.1 with real libp2p. */
import { randomBytes } from "node:crypto";
import { privateKeyFromRaw } from "@libp2p/crypto/keys";
import type { Libp2p } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { createLibp2p } from "libp2p";
import { sha256, signingKeyFromSeed } from "#crypto";
import { connectionLayers } from "../../protocols/connection.ts";
import { concat, utf8Bytes } from "../../protocols/bytes.ts";
import type { Random, Time, Wire } from "../../protocols/effects.ts";
import { idOf, type DeviceId, type MeshId, type PersonId } from "../../protocols/ids.ts";
import type { Device, Member, Membership } from "../../protocols/membership.ts";
import {
  createPeers,
  type Network,
  type NetworkEvent,
  type PeersDeps,
  type PeersOptions,
} from "../../node/net/peers.ts";

export const realTime: Time = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};

export const realRandom: Random = { bytes: (count) => new Uint8Array(randomBytes(count)) };

export interface Someone {
  name: string;
  seed: Uint8Array;
  key: ReturnType<typeof signingKeyFromSeed>;
  device: DeviceId;
  person: PersonId;
}

export function someone(name: string): Someone {
  const seed = sha256(utf8Bytes(`test seed of ${name}`));
  const key = signingKeyFromSeed(seed);
  return { name, seed, key, device: idOf(key.publicKey), person: idOf(sha256(utf8Bytes(`person ${name}`))) };
}

export const MESH: MeshId = idOf(sha256(utf8Bytes("the mesh of the network tests")));

export function meshOf(people: readonly Someone[], mesh: MeshId = MESH): Membership {
  const members = new Map<PersonId, Member>();
  const devices = new Map<DeviceId, { member: Member; device: Device }>();
  for (const who of people) {
    const device: Device = { id: who.device, name: "laptop", sealingKey: new Uint8Array(32) };
    const personKey = new Uint8Array(32);
    const member: Member = {
      person: who.person,
      name: who.name,
      role: "member",
      rank: 0,
      personKey,
      devices: [device],
    };
    members.set(who.person, member);
    devices.set(who.device, { member, device });
  }
  return {
    mesh,
    name: "test",
    founder: people[0]!.person,
    policy: "reads-all",
    members,
    devices,
    removed: new Map(),
    formerDevices: new Map(),
    invites: new Map(),
    epochs: new Map(),
    allowedLogs: new Set(),
    heads: [],
    waiting: [],
    void: new Map(),
  };
}

export interface TestNode extends AsyncDisposable {
  who: Someone;
  net: Network;
  events: NetworkEvent[];
  errors: string[];
}

/** Settings of one test node: what is not given is loopback, TCP only, no discovery, no dials by itself. */
export type TestSettings = Partial<PeersOptions> & Partial<Omit<PeersDeps, "device" | "deviceSeed" | "deviceKey">>;

export function testNode(who: Someone, settings: TestSettings = {}): TestNode {
  const events: NetworkEvent[] = [];
  const errors: string[] = [];
  const net = createPeers(
    {
      deviceSeed: who.seed,
      deviceKey: who.key,
      device: who.device,
      boot: settings.boot ?? realRandom.bytes(16),
      time: settings.time ?? realTime,
      random: settings.random ?? realRandom,
      rosterHeads: settings.rosterHeads ?? (() => []),
      agentKeys: settings.agentKeys ?? (() => []),
      present: settings.present,
      addressBook: settings.addressBook,
      onError: (error, doing) => errors.push(`${doing}: ${String(error)}`),
    },
    {
      listen: { host: "127.0.0.1", port: 0, transports: ["tcp"] },
      discovery: { dht: false, mdns: false },
      autoConnect: false,
      ...settings,
    },
  );
  net.on((event) => events.push(event));
  return { who, net, events, errors, [Symbol.asyncDispose]: () => net.stop() };
}

/** Answers each frame with itself. */
export async function echo(_peer: unknown, wire: Wire): Promise<void> {
  for await (const frame of wire.frames()) await wire.send(frame);
  await wire.close();
}

export async function firstFrame(wire: Wire): Promise<Uint8Array> {
  for await (const frame of wire.frames()) return frame;
  throw new Error("the wire ended without a frame");
}

/** Waits for a condition that events bring about; the test's own time-out is the bound. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((later) => setTimeout(later, 5));
}

export const soon = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms);

/** A bare libp2p peer without kin's gate: what a stranger or an attacker runs. */
export async function bareNode(who: Someone, settings: Record<string, unknown> = {}): Promise<Libp2p> {
  return createLibp2p({
    privateKey: privateKeyFromRaw(concat(who.seed, who.key.publicKey)),
    addresses: { listen: [] },
    transports: [tcp()],
    connectionManager: { inboundConnectionThreshold: 1000 },
    connectionMonitor: { enabled: false },
    ...connectionLayers(),
    ...settings,
  });
}

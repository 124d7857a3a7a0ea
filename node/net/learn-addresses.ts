/** What others tell us of where members are: mDNS on this network, identify on a connection, the mesh's DHT. */
import type { Connection } from "@libp2p/interface";
import type { CID } from "multiformats/cid";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import { hostOf, isDialable, isLoopback, usefulAddresses } from "./addresses.ts";
import { deviceOf } from "./gate.ts";
import type { RunningLibp2p } from "./libp2p.ts";
import type { NetworkEvent } from "./network.ts";
import type { PeerEntries, PeerEntry } from "./peer-entries.ts";

export interface LearnDeps {
  self: DeviceId;
  entries: PeerEntries;
  /** The living person of a living device: of others nothing is remembered. */
  personOf(device: DeviceId): PersonId | null;
  libp2p(): Promise<RunningLibp2p>;
  /** A member was seen who is not connected. */
  seen(entry: PeerEntry): void;
  emit(event: NetworkEvent): void;
}

export interface AddressLearner {
  found(device: DeviceId, addresses: string[]): void;
  identified(connection: Connection, addresses: string[]): void;
  findProviders(cid: CID, signal: AbortSignal): AsyncIterable<{ device: DeviceId; addresses: string[] }>;
}

export function createAddressLearner(deps: LearnDeps): AddressLearner {
  const { self, entries } = deps;

  return {
    found(device, addresses) {
      const member = deps.personOf(device) !== null && device !== self;
      deps.emit({ type: "peer-found", device, addresses, member });
      if (!member) return;
      const entry = entries.of(device);
      entry.foundBy = "mdns";
      entries.remember(entry, addresses, "last");
      if (entry.greeting === null && entry.dialling === null) deps.seen(entry);
    },

    identified(connection, addresses) {
      const device = deviceOf(connection.remotePeer);
      if (device === null || deps.personOf(device) === null) return;
      const overLoopback = isLoopback(hostOf(connection.remoteAddr.toString()) ?? "");
      entries.remember(entries.of(device), usefulAddresses(addresses, overLoopback), "last");
    },

    async *findProviders(cid, signal) {
      const lib = await deps.libp2p();
      if (lib.dht === null) return;
      const seen = new Set<DeviceId>();
      for await (const provider of lib.contentRouting.findProviders(cid, { signal })) {
        const device = deviceOf(provider.id);
        if (device === null || device === self || deps.personOf(device) === null || seen.has(device)) continue;
        seen.add(device);
        const told = provider.multiaddrs.map(String).filter((address) => isDialable(address));
        const entry = entries.of(device);
        entry.foundBy = "dht";
        entries.remember(entry, told, "last");
        yield { device, addresses: told };
      }
    },
  };
}

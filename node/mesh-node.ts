/**
 * The composition root: makes the parts of a node, connects them, returns them. It has no behaviour of its own.
 *
 *   network ─ with or without a mesh            mesh (mesh-parts.ts) ─ store → replica → outbox, directory, sync
 *      │ hello, join, sync, card, blob, invoke                         tools → agents → dispatch → calls
 *      └───────────────────────────────────────────────────────────── │ HandleInvocation, InvokeRemote
 */
import { existsSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import type { Random, Time } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import { idOf, type MeshId } from "../protocols/ids.ts";
import { presentRecords } from "../protocols/join.ts";
import { makeGenesis, stampOf } from "../protocols/roster-record.ts";
import { SNAPSHOT_FEATURE } from "../protocols/snapshot.ts";
import type { ControlHandlers } from "./gateway/control-api.ts";
import type { Home } from "./home.ts";
import type { Keystore } from "./keystore.ts";
import type { Lifecycle } from "./lifecycle.ts";
import type { Telemetry } from "./telemetry.ts";
import type { Tool } from "./tools/registry.ts";
import { loadConfig, setConfig, type Config } from "./config.ts";
import type { MeshNode } from "./gateway/mesh.ts";
import { createVerbs } from "./gateway/verbs/verbs.ts";
import { meshFolder } from "./home.ts";
import { openMesh, type OpenMesh } from "./mesh-parts.ts";
import { openAddressBook } from "./net/address-book.ts";
import { canListen, cleanUpWebRtc } from "./net/libp2p.ts";
import { createPeers, type Network } from "./net/peers.ts";
import { systemRandom, systemTime } from "./system.ts";

/** What a node is started with. The folder's lock is held. */
export interface NodeParts {
  home: Home;
  config: Config;
  keystore: Keystore;
  telemetry: Telemetry;
  /** Register what must be closed; `kin down` is answered before any of it. */
  lifecycle: Lifecycle;
}

/** What an embedder puts in the place of the machine's own, or adds (§10). */
export interface Overrides {
  time?: Time;
  random?: Random;
  /** Tools besides the built-in ones and those of MCP servers, under the same rights, audit and bounds. */
  tools?: readonly Tool[];
}

/** What it gives: the verbs of the control socket. `down` is ours. */
export type StartMeshNode = (parts: NodeParts) => Promise<{ control: Omit<ControlHandlers, "down"> }>;

const VERSION = (JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as { version: string })
  .version;

export const startMeshNode: StartMeshNode = async (parts) => ({ control: createVerbs(await createMeshNode(parts)) });

/** For embedding in code: the parts themselves instead of verbs. */
export async function createMeshNode(
  { home, config: firstConfig, keystore, telemetry, lifecycle }: NodeParts,
  { time = systemTime, random = systemRandom, tools = [] }: Overrides = {},
): Promise<MeshNode> {
  const boot = random.bytes(16);
  const device = idOf<"device">(keystore.device.publicKey);
  let config = firstConfig;
  let mesh: OpenMesh | null = null;

  function openNetwork(): Network {
    const book = openAddressBook(join(home.dataFolder, "addresses.json"), time);
    lifecycle.onStop("address book", () => book.stop());
    return createPeers(
      {
        deviceSeed: keystore.deviceSeed,
        deviceKey: keystore.device,
        device,
        boot,
        time,
        random,
        rosterHeads: () => mesh?.replica.rosterHeads() ?? [],
        agentKeys: () => mesh?.keyRecords() ?? [],
        present: async (_peer, wire, signal) => {
          const { replica } = mesh!;
          const proof = (theirHeads: Parameters<typeof replica.roster.proofFor>[1]) =>
            replica.roster.proofFor(device, theirHeads);
          const shown = await presentRecords(
            wire,
            { mesh: replica.mesh, heads: replica.membership().heads, proof },
            signal,
          );
          if (shown.ok) return true;
          if (shown.records.length > 0) await replica.learn(shown.records.map((record) => record.sealed));
          throw new KinError(shown.error.code, shown.error.message);
        },
        addressBook: book,
        onError: (error, doing) =>
          telemetry.warn(doing, { message: error instanceof Error ? error.message : String(error) }),
      },
      networkOptions(config, VERSION),
    );
  }

  let network = openNetwork();
  lifecycle.onStop("webrtc", cleanUpWebRtc);
  lifecycle.onStop("network", () => network.stop());
  lifecycle.onStop("mesh", () => mesh?.stop());

  const deps = {
    home,
    keystore,
    telemetry,
    time,
    random,
    boot,
    tools,
    limits: { dataFolders: [home.dataFolder, home.runFolder, home.meshesFolder, home.keysFolder] },
    config: () => config,
    reloadConfig: () => (config = loadConfig(home.configFile)),
  };

  async function enter(id: MeshId, records: Parameters<typeof openMesh>[2]): Promise<OpenMesh> {
    mesh = await openMesh({ ...deps, network }, id, records);
    if (config.listen.port === 0 && network.port !== null)
      config = setConfig(home.configFile, "listen.port", network.port);
    telemetry.info("mesh open", { mesh: mesh.replica.membership().name, port: network.port });
    return mesh;
  }

  const node: MeshNode = {
    ...deps,
    get network() {
      return network;
    },
    version: VERSION,
    startedAt: time.now(),
    mesh: () => mesh,
    async found(meshName, myName, deviceName) {
      const sealingKey = keystore.sealingKeys()[0]!.publicKey;
      const genesis = makeGenesis(
        {
          mesh: meshName,
          name: myName,
          personKey: keystore.person,
          device: { id: device, name: deviceName, sealingKey },
          policy: "reads-all",
        },
        { hlc: stampOf(time.now()), n: random.bytes(16), certificateN: random.bytes(16) },
      );
      return enter(genesis.mesh, [genesis.sealed]);
    },
    async enter(joined) {
      for (const { epoch, key } of joined.epochKeys) keystore.putEpochKey(joined.membership.mesh, epoch, key);
      return enter(
        joined.membership.mesh,
        joined.records.map((record) => record.sealed),
      );
    },
    async archive() {
      const { folder } = meshFolder(home, mesh!.id);
      await mesh!.stop();
      mesh = null;
      await network.stop();
      await cleanUpWebRtc();
      // Nobody else was in that mesh, so nobody knows the port.
      if (!(await canListen(networkOptions(config, VERSION).listen)))
        config = setConfig(home.configFile, "listen.port", 0);
      network = openNetwork();
      const aside = `${folder}.archived-${new Date(time.now()).toISOString().replaceAll(":", "-")}`;
      renameSync(folder, aside);
      return aside;
    },
  };

  const known = meshOf(home.meshesFolder);
  if (known !== null) await enter(known, []);
  return node;
}

/** One data folder, one mesh (F8). @throws KinError CORRUPT if there are several */
function meshOf(meshesFolder: string): MeshId | null {
  const found = existsSync(meshesFolder) ? readdirSync(meshesFolder).filter((name) => /^[0-9a-f]{64}$/.test(name)) : [];
  if (found.length > 1)
    throw new KinError("CORRUPT", `${meshesFolder} holds ${found.length} meshes, expected one`, {
      hint: "one data folder, one mesh: move the others to another KIN_HOME",
    });
  return (found[0] as MeshId | undefined) ?? null;
}

function networkOptions(config: Config, version: string): Parameters<typeof createPeers>[1] {
  const { hosts, port } = config.listen;
  return {
    listen: {
      port,
      host: hosts,
      transports: config.transports.map((transport) => (transport === "websocket" ? "ws" : transport)),
    },
    discovery: config.discovery,
    encrypters: config.encrypters,
    features: [SNAPSHOT_FEATURE],
    announce: config.addresses,
    userAgent: `kin/${version}`,
  };
}

/** The parts of one mesh, made and connected: the other half of the composition root. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { KinError } from "../protocols/errors.ts";
import { displayName, type Membership } from "../protocols/membership.ts";
import { CARD_PROTOCOL } from "../protocols/directory.ts";
import type { SigningKey } from "../protocols/crypto/keys.ts";
import { idOf, type DeviceId, type EpochId, type MeshId, type PersonId } from "../protocols/ids.ts";
import type { InvokeDeps } from "../protocols/invoke-deps.ts";
import { INVOKE_PROTOCOL, type CallTarget } from "../protocols/invoke.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import { createSealer, type Sealed } from "../protocols/signature.ts";
import { announceSealingKey } from "../sync/acts.ts";
import { MAX_DURABLE_LIFE_MS } from "../sync/asks.ts";
import { newIncarnation } from "../sync/log.ts";
import { openDocuments } from "../sync/documents.ts";
import { createTrialThread } from "../sync/documents/worker.ts";
import { cardsView } from "../sync/card-view.ts";
import { factsView } from "../sync/documents/facts.ts";
import { documentViews } from "../sync/documents/snapshot-views.ts";
import { openSnapshotBase } from "../sync/snapshot-base.ts";
import { openSnapshots } from "../sync/snapshot.ts";
import { createOutbox } from "../sync/outbox.ts";
import { heldEpoch } from "../sync/epochs.ts";
import { openProgress } from "../sync/progress.ts";
import { openReplica, type EpochKeys } from "../sync/replica.ts";
import { createTally } from "../sync/tally.ts";
import { openLibsqlStore } from "../sync/stores/libsql.ts";
import { createAgents, type Agents, type Cards } from "./agents/agents.ts";
import { createDispatch, fetchBefore } from "./agents/dispatch.ts";
import { createLedger } from "./agents/ledger.ts";
import { readSettings } from "./agents/settings.ts";
import { openBlobs } from "./blobs.ts";
import type { Config } from "./config.ts";
import { documentKeep, openIncarnation, openViews } from "./database.ts";
import { listedItems } from "./gateway/verbs/listing.ts";
import type { Mesh, MeshNode } from "./gateway/mesh.ts";
import { personNamed } from "./gateway/resolve.ts";
import { pinPeople, resolveEntry, sharesOf } from "./gateway/shares.ts";
import { prepareMeshFolder } from "./home.ts";
import { createLifecycle } from "./lifecycle.ts";
import { createAttachments } from "./net/attachments.ts";
import type { LocalCard } from "./net/advertise.ts";
import { createDirectory } from "./net/directory.ts";
import { createInvocations } from "./net/invoke.ts";
import { openLogCards } from "./net/log-cards.ts";
import { createOwnCards } from "./net/own-cards.ts";
import { createOwnMachines } from "./net/own-machines.ts";
import { createPeerClocks } from "./net/peer-clocks.ts";
import { fetchSnapshot, serveSnapshots } from "./net/snapshot.ts";
import { createSyncing, syncRun } from "./net/sync.ts";
import { openDoor } from "./net/ticket-join.ts";
import { auditEntry, createAuditWriter } from "./guard/audit.ts";
import { boardTools } from "./tools/builtin/boards.ts";
import { documentTools } from "./tools/builtin/documents.ts";
import type { McpServer } from "./tools/mcp-client.ts";
import type { Tool } from "./tools/registry.ts";
import { createTools } from "./tools/tools.ts";

/** What a mesh gets of the node. */
export type MeshDeps = Pick<
  MeshNode,
  "home" | "keystore" | "telemetry" | "time" | "random" | "network" | "limits" | "config" | "reloadConfig"
> & {
  boot: Uint8Array;
  /** An embedder's own. */
  tools: readonly Tool[];
};

export interface OpenMesh extends Mesh {
  /** Of this device, for its hello. */
  keyRecords(): Sealed[];
  stop(): Promise<void>;
}

/** Opens the mesh in its folder; `records` are what founding or joining has made. @throws KinError CORRUPT, DISK_FULL, PORT_TAKEN */
export async function openMesh(deps: MeshDeps, id: MeshId, records: Sealed[]): Promise<OpenMesh> {
  const { keystore, telemetry, time, random, network } = deps;
  const lifecycle = createLifecycle();
  const folder = prepareMeshFolder(deps.home, id);
  const warn = (message: string): void => telemetry.warn(message);
  const lost = (sentence: string, error: unknown): void => telemetry.warn(sentence, { message: String(error) });
  const isNew = !existsSync(folder.logFile);

  const store = await openLibsqlStore({ file: folder.logFile });
  lifecycle.onStop("log.db", () => store.close());
  const views = await openViews(folder);
  lifecycle.onStop("views.db", () => views.close());
  const blobs = openBlobs(folder.blobsFolder);
  const epochKeys: EpochKeys = {
    get: (epoch) => keystore.epochKey(id, epoch),
    put: async (epoch, key) => keystore.putEpochKey(id, epoch, key),
  };

  const incarnations = openIncarnation(folder, isNew, () => ({ id: newIncarnation(random), bornAt: time.now() }));
  const clocks = createPeerClocks(network, time);
  lifecycle.onStop("peers' clocks", () => clocks.stop());
  const replica = await openReplica({
    store,
    mesh: id,
    deviceKey: keystore.device,
    personKey: keystore.person,
    clocks: () => clocks.samples(),
    // Read anew: a rotation adds one.
    get sealingKeys() {
      return [...keystore.sealingKeys()];
    },
    epochKeys,
    incarnation: incarnations.current,
    renewIncarnation: () => incarnations.renew(),
    hasHeard,
    time,
    random,
    records,
  });
  lifecycle.onStop("replica", () => replica.close());
  const progress = await openProgress(replica, time);
  lifecycle.onStop("progress", () => progress.close());
  /** Before that this node writes nothing by itself: if its store is an old copy, that would fork its log (R2). */
  function hasHeard(): boolean {
    return progress.hasHeard();
  }

  const device = network.device;
  const me = { device, person: ownPerson(replica.membership(), device) };
  // A crash in the middle of a rotation has left two: the roster says which one it is.
  const myself = replica.membership().members.get(me.person);
  if (myself !== undefined) keystore.adoptPersonKey(myself.personKey);
  const base = await openSnapshotBase(store, id);
  const logCards = await openLogCards(replica, base, warn);
  lifecycle.onStop("cards", () => logCards.stop());

  const trials = createTrialThread();
  lifecycle.onStop("trials of documents", () => trials.close());
  const documents = await openDocuments({
    replica,
    base,
    person: me.person,
    runTrial: trials.run,
    keep: documentKeep(views),
    time,
    random,
    hasHeard,
    failed: (error) => lost("a document waits", error),
  });
  lifecycle.onStop("documents", () => documents.close());
  const epochKey = (epoch: EpochId): Uint8Array | undefined => keystore.epochKey(id, epoch);
  const snapshots = await openSnapshots({
    replica,
    base,
    views: [cardsView, factsView, ...documentViews(id, trials.run)],
    hasHeard,
    time,
    fetch: (snapshot, signal) => fetchSnapshot({ network, mesh: id, epochKey, warn }, snapshot, signal),
    settled: () => Promise.all([documents.settled(), logCards.settled()]),
    warn,
  });
  lifecycle.onStop("snapshots", () => snapshots.close());
  serveSnapshots(network, {
    mesh: id,
    random,
    epoch: () => heldEpoch(replica.membership(), epochKey),
    state: (snapshot) => snapshots.state(snapshot),
  });

  const audit = createAuditWriter((records) => replica.append([auditEntry(records)]), time);
  lifecycle.onStop("audit", () => audit.stop());
  const { record } = audit;
  const tools = await createTools({
    shares: () => sharesOf(deps.config().shares, replica.membership()),
    mcpServers: mcpServers(deps.config(), (entry) => resolveEntry(entry, replica.membership())),
    record,
    limits: deps.limits,
    pinsFile: join(deps.home.dataFolder, "mcp-pins.json"),
    time,
    onChange: () => void refreshCards().catch((error: Error) => warn(error.message)),
    onAuditLost: (error) => telemetry.error("audit record lost", { message: String(error) }),
  });
  const onBoards = boardTools({
    documents,
    me: me.person,
    nameOf: (person) => displayName(replica.membership(), person),
    personNamed: (name) => personNamed(replica.membership(), name),
    random,
  });
  for (const tool of [...documentTools(documents, me.person), ...onBoards, ...deps.tools]) tools.add(tool);
  const attachments = createAttachments(network, blobs);
  const agents = await createAgents({
    tools,
    folder: deps.home.agentsFolder,
    me: () => me.person,
    person: (entry) => resolveEntry(entry, replica.membership())[0],
    listing: async (person) =>
      listedItems(directory.list(), person, {
        me,
        membership: replica.membership(),
        peers: network.peers(),
        peerId: (peer) => network.peerId(peer),
      }),
    views: () => views,
    readBlob: (hash, call, signal) => attachments.read(hash, call, signal),
    settings: (agent) => readSettings(documents.records.get(me.person, agent)?.state.values() ?? {}),
  });
  lifecycle.onStop("agents", () => agents.close());

  const ledger = await createLedger({ store, time, warn: lost });
  lifecycle.onStop("ledger", () => ledger.stop());
  const isMember = (person: PersonId, peer: DeviceId): boolean =>
    replica.membership().devices.get(peer)?.member.person === person;
  const handle = createDispatch(
    { self: me, find: agents.find, isMember, ledger, time, record, warn: lost },
    {
      notBefore: () => {
        const { first, bornAt } = replica.incarnation();
        return first ? 0 : bornAt + SKEW_LIMIT_MS;
      },
    },
  );

  const endOfTick = (run: () => void): void => void setImmediate(run);
  const sealing: InvokeDeps = {
    mesh: id,
    self: me,
    boot: deps.boot,
    keyMaySpeakFor: (key, from) => logCards.keys.maySpeakFor(key, from, replica.membership()),
    isMember,
    skewOf: (peer) => network.greeting(peer)?.skewMs ?? null,
    nameOf: (peer) => {
      const found = replica.membership().devices.get(peer);
      return found === undefined ? `device ${peer.slice(0, 8)}` : `${found.member.name}@${found.device.name}`;
    },
    sealAs: sealers(
      keystore.device,
      (agent) => (logCards.keys.current(device, agent) === undefined ? undefined : keystore.agentKey(id, agent).key),
      endOfTick,
    ),
    time,
    random,
    stamp: () => replica.stamp(),
  };
  const invocations = createInvocations({
    ...sealing,
    open: (peer, protocol, signal) => network.open(peer, protocol, signal),
    bootOf: (peer) => (peer === device ? deps.boot : network.greeting(peer)?.boot),
    handle,
    recall: ledger.recall,
    endOfTick,
  });
  lifecycle.onStop("calls", () => invocations.stop());
  network.handleForMembers(INVOKE_PROTOCOL, (peer, wire) => invocations.serve(peer.device, wire));

  const discovery = deps.config().discovery;
  const ownCards = createOwnCards({
    me,
    deviceKey: keystore.device,
    replica,
    logCards,
    log: discovery.log,
    hasHeard,
    agentKey: (agent) => keystore.agentKey(id, agent),
    endAgent: (agent) => keystore.endAgent(id, agent),
    offered: () => offeredCards(agents),
    time,
    random,
  });
  const directory = createDirectory({
    me,
    membership: () => replica.membership(),
    own: () => ownCards.all(),
    logged: () => (discovery.log ? logCards.cards() : []),
    dht: discovery.dht ? network.dht : null,
    open: (peer, signal) => network.open(peer, CARD_PROTOCOL, signal),
    foundBy: (peer) => network.foundBy(peer) ?? undefined,
    hasPeers: () => network.peers().some((peer) => peer.connected),
    after: (delayMs, run) => time.after(delayMs, run),
    random: () => random.bytes(1)[0]! / 256,
    warn,
  });
  lifecycle.onStop("directory", () => directory.stop());
  network.handleForMembers(CARD_PROTOCOL, (peer, wire) => directory.serve(peer.person, wire));

  const tally = createTally(replica);
  lifecycle.onStop("tally", () => tally.stop());
  const unkept = (error: unknown): void => lost("how far a peer is could not be kept", error);
  /** Answers come after the records of the keys that sign them. */
  let hasTold = false;
  const outbox = await createOutbox({
    replica,
    invoke: sealing,
    time,
    recall: (person, request) => ledger.wordOn(person, request),
    keyCouldSpeakFor: (key, from) => logCards.keys.couldSpeakFor(key, from),
    learnKey: (device, sealed) => logCards.learnKeys(device, [sealed]),
    isThere: (device) => network.greeting(device) !== null,
    fetch: (call, signal) => fetchBefore({ find: agents.find, ledger }, call, signal),
    hasHeard: () => hasTold,
    elsewhere: ({ target }) => (agents.find(target) === undefined ? siblingsWith(target) : []),
    warn: lost,
  });
  lifecycle.onStop("outbox", () => outbox.close());
  outbox.onAsked(handle);

  const sweepBlobs = (): void => {
    const held = new Set(
      outbox.waiting().flatMap(({ expiresAt, attached }) => (expiresAt > time.now() ? attached : [])),
    );
    blobs.sweep(held, time.now()).catch((error: Error) => warn(`attachments could not be swept: ${error.message}`));
    dropOldSealingKeys();
    cancelSweep = time.after(BLOB_SWEEP_MS, sweepBlobs);
  };
  let cancelSweep = time.after(0, sweepBlobs);
  lifecycle.onStop("blobs", () => cancelSweep());

  /** What was sealed to them has expired, and the answers to it too (R7). */
  function dropOldSealingKeys(): void {
    try {
      keystore.dropSealingKeys(time.now() - MAIL_EXPIRY_MS);
    } catch (error) {
      lost("old sealing keys could not be deleted", error);
    }
  }

  /** Other living devices of this person that offer it. */
  function siblingsWith(target: CallTarget): DeviceId[] {
    const [kind, name] = "agent" in target ? (["agent", target.agent] as const) : (["tool", target.tool] as const);
    const { devices } = replica.membership();
    return directory
      .list()
      .filter(({ card }) => card.person === me.person && card.kind === kind && card.name === name)
      .map(({ card }) => card.device)
      .filter((sibling) => sibling !== device && devices.has(sibling));
  }

  const ownMachines = createOwnMachines({
    replica,
    personKey: () => keystore.person,
    deviceKey: keystore.device,
    epochKeys,
    time,
    random,
  });
  openDoor({
    network,
    ownMachines,
    replica,
    deviceKey: keystore.device,
    epochKeys,
    time,
    random,
    changed: () => network.setMembership(replica.membership()),
    warn,
  });
  /** All that a peer has is here. */
  function caughtUp(): void {
    if (hasTold) return outbox.lookAgain();
    refreshCards().catch((error: Error) => warn(error.message));
    announceKey();
    snapshots.look().catch((error: Error) => warn(error.message));
  }
  const syncing = createSyncing({
    network,
    run: syncRun({ replica, progress, time, caughtUp, unkept }),
    time,
    random,
    warn,
  });
  lifecycle.onStop("sync", () => syncing.stop());

  /** Settings that can't be read or written now must not end what the change came with. */
  const pin = (): void => {
    try {
      if (pinPeople(deps.home.configFile, replica.membership())) deps.reloadConfig();
    } catch (error) {
      warn(`names in the settings could not be pinned: ${(error as Error).message}`);
    }
  };
  pin();
  lifecycle.onStop(
    "membership",
    replica.on((change) => {
      if (change.type === "membership") {
        network.setMembership(change.membership).catch((error: Error) => warn(error.message));
        pin();
        refreshCards().catch((error: Error) => warn(error.message));
      }
      if (change.type === "grown") syncing.news();
      if (change.type === "trouble") warn(change.error.message);
      if (change.type === "forked") warn("a log has forked");
    }),
  );
  lifecycle.onStop(
    "peers",
    network.on((event) => {
      if (event.type !== "peer-connected") return;
      logCards.learnKeys(event.device, event.greeting.agentKeys);
      outbox.lookAgain();
      directory.publish();
      if (device < event.device)
        invocations.connect(event.device, lifecycle.signal).catch((error: Error) => warn(error.message));
      if (!discovery.log && network.foundBy(event.device) === "mdns")
        directory
          .fetch(event.device, AbortSignal.any([lifecycle.signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]))
          .catch((error: Error) => warn(error.message));
    }),
  );

  /** A crash right after a rotation has left a key that nobody was told of. */
  function announceKey(): void {
    if (!hasHeard() || !replica.membership().devices.has(device)) return;
    announceSealingKey(replica, keystore.sealingKeys()[0]!.publicKey).catch((error: unknown) =>
      lost("the sealing key could not be told", error),
    );
  }

  const refreshCards = async (): Promise<void> => {
    await ownCards.refresh();
    directory.publish();
    if (hasTold || !hasHeard()) return;
    hasTold = true;
    outbox.lookAgain();
  };
  await refreshCards();
  lifecycle.onStop(
    "settings of agents",
    documents.on(({ records }) => {
      if (records) refreshCards().catch((error: Error) => warn(error.message));
    }),
  );
  announceKey();
  await network.setMembership(replica.membership());
  return {
    id,
    me,
    replica,
    directory,
    invoke: invocations.invoke,
    sealing,
    outbox,
    ownMachines,
    progress,
    tally,
    syncNow: (peer) => syncing.now(peer),
    syncAfresh: (peer, signal) => syncing.afresh(peer, signal),
    documents,
    snapshots,
    blobs,
    agents,
    refreshCards,
    problems: () => [...agents.problems(), ...tools.problems()],
    approveTool: (name) => tools.approve(name),
    keyRecords: () => ownCards.keyRecords(),
    stop: async () => {
      for (const { name, error } of await lifecycle.stop())
        telemetry.warn("did not stop well", { name, message: error.message });
    },
  };
}

/** An ask to a sealing key may be written until its author hears of the next one, and its answer lives as long again. */
const MAIL_EXPIRY_MS = 2 * MAX_DURABLE_LIFE_MS;
/** Attachments that nothing needs any more are looked for this often. */
const BLOB_SWEEP_MS = 30 * 60_000;
/** How long a newly connected peer may take to tell its cards. */
const FETCH_TIMEOUT_MS = 10_000;

/** @throws KinError NOT_A_MEMBER if the roster does not know this device at all */
function ownPerson(membership: Membership, device: DeviceId): PersonId {
  const person = membership.devices.get(device)?.member.person ?? membership.formerDevices.get(device)?.person;
  if (person === undefined)
    throw new KinError(
      "NOT_A_MEMBER",
      `this device is not in the roster of ${membership.name}: were keys and data folder mixed?`,
    );
  return person;
}

/** One sealer a key: what it signs in one tick shares a signature. */
function sealers(
  deviceKey: SigningKey,
  agentKey: (agent: string) => SigningKey | undefined,
  endOfTick: (run: () => void) => void,
): InvokeDeps["sealAs"] {
  const device = createSealer(deviceKey, endOfTick);
  const agents = new Map<string, { key: string; sealer: ReturnType<typeof createSealer> }>();
  return (agent) => {
    if (agent === null) return (bytes) => device.seal("envelope/device", bytes);
    const key = agentKey(agent);
    if (key === undefined) return undefined;
    const id = idOf(key.publicKey);
    const known = agents.get(agent);
    const sealer = known?.key === id ? known.sealer : createSealer(key, endOfTick);
    agents.set(agent, { key: id, sealer });
    return (bytes) => sealer.seal("envelope/agent", bytes);
  };
}

function offeredCards(agents: Agents): { shared: LocalCard[]; mine: LocalCard[] } {
  const cards = ({ agents, tools }: Cards): LocalCard[] => [
    ...agents.map((agent) => ({ kind: "agent" as const, ...agent })),
    ...tools.map((tool) => ({ kind: "tool" as const, ...tool })),
  ];
  return { shared: cards(agents.cards()), mine: cards(agents.mine()) };
}

function mcpServers(config: Config, resolve: (entry: string) => PersonId[]): { [name: string]: McpServer } {
  return Object.fromEntries(
    Object.entries(config.mcpServers).map(([name, server]) => [
      name,
      { ...server, for: server.for === "mesh" ? "mesh" : server.for.flatMap(resolve) },
    ]),
  );
}

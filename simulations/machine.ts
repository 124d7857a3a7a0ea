/**
 * One person's machine in a simulation: its disk, keys, settings and clock outlive the processes that run on it. A process is
 * made of the real parts, put together as `node/mesh-parts.ts` does it:
 *
 *   sim disk ─ memory store ─ replica ─┬─ a projection ─ outbox ─ dispatch ─ ledger ─ one tool with a side effect
 *                                      ├─ documents (trials in place, not in a thread) ─ cards ─ snapshots
 *                                      └─ sync sessions ─ live calls ─ simulated peers ─ simulated network
 *
 * What others may see of it (acknowledged appends, side effects, answers) is told to the `Witness`, which is what the
 * invariants are checked against.
 */
import { equal } from "../protocols/bytes.ts";
import { signingKeyFromSeed, sealingKeyFromSeed, sha256 } from "#crypto";
import type { Random, Time, Wire } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EpochId, type MeshId, type PersonId } from "../protocols/ids.ts";
import type { InvokeDeps } from "../protocols/invoke-deps.ts";
import { INVOKE_PROTOCOL } from "../protocols/invoke.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import type { RosterBody } from "../protocols/roster-record.ts";
import type { Ticket } from "../protocols/ticket.ts";
import { createSealer, type Sealed } from "../protocols/signature.ts";
import { parseSigned } from "../protocols/snapshot.ts";
import { utf8Bytes } from "../protocols/bytes.ts";
import { createDispatch } from "../node/agents/dispatch.ts";
import { createLedger } from "../node/agents/ledger.ts";
import { createInvocations, type Invocations } from "../node/net/invoke.ts";
import type { LocalCard } from "../node/net/advertise.ts";
import { openLogCards, type LogCards } from "../node/net/log-cards.ts";
import { createOwnCards } from "../node/net/own-cards.ts";
import { createPeerClocks, type PeerClocks } from "../node/net/peer-clocks.ts";
import { fetchSnapshot, serveSnapshots } from "../node/net/snapshot.ts";
import { createSyncing, syncRun, type Syncing } from "../node/net/sync.ts";
import { joinByTicket, openDoor } from "../node/net/ticket-join.ts";
import { heldEpoch } from "../sync/epochs.ts";
import { cardsView } from "../sync/card-view.ts";
import { openDocuments, type Documents } from "../sync/documents.ts";
import { factsView } from "../sync/documents/facts.ts";
import type { DocumentKeep } from "../sync/documents/saved.ts";
import { documentViews } from "../sync/documents/snapshot-views.ts";
import { runTrial, type RunTrial } from "../sync/documents/trial.ts";
import { createOutbox, type Outbox } from "../sync/outbox.ts";
import { openProjection, type Projection } from "../sync/projection.ts";
import { openProgress } from "../sync/progress.ts";
import { openReplica, type EpochKeys, type Incarnation, type ReadableEvent, type Replica } from "../sync/replica.ts";
import { openSnapshotBase } from "../sync/snapshot-base.ts";
import { openSnapshots, type Snapshots } from "../sync/snapshot.ts";
import type { EventStore } from "../sync/store.ts";
import { openMemoryStore } from "../sync/stores/memory.ts";
import { createSimDisk, type SimDisk } from "./disk.ts";
import type { SimNetwork } from "./network.ts";
import { createSimPeers, dialForJoin, type SimPeers } from "./peers.ts";
import type { Witness } from "./witness.ts";
import { createClock, timeOf, type Life, type SimClock, type World } from "./world.ts";

const DEVICE_NAME = "laptop";
/** What the tool of every machine is called: it does something that must not happen twice. */
export const EFFECT_TOOL = "press";

export interface Machine {
  readonly name: string;
  readonly device: DeviceId;
  readonly keys: MachineKeys;
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly epochKeys: Map<EpochId, Uint8Array>;
  /** The process that runs, opened to its end. */
  readonly process: Process | null;
  /** A process runs or is on its way to. */
  isRunning(): boolean;
  /** Why the last start failed: an unreadable journal. */
  readonly trouble: KinError | null;
  /** Boots a process; it is there a little later. `records` for a machine that has no history yet. */
  start(records?: Sealed[]): Promise<void>;
  /** Joins by ticket; resolves with the records to start with. @throws KinError */
  join(ticket: Ticket): Promise<Sealed[]>;
  /** The process is killed; with `power`, the machine too: what was not flushed may be lost. */
  kill(options?: { power?: boolean }): void;
  /** Ends the process in order. */
  stop(): Promise<void>;
  /** What it says on a sync stream instead of the truth; null: the real session. */
  session: ((wire: Wire, peer: DeviceId, replica: Replica) => Promise<boolean>) | null;
  /** The marker beside the database (R2). */
  incarnation: Incarnation | null;
  /** What its settings say of its tool: told in a card. */
  offers: string;
  /** What documents kept when a process ended in order (`views.db`). */
  kept: Uint8Array[] | null;
}

export interface Process {
  replica: Replica;
  store: EventStore;
  outbox: Outbox;
  peers: SimPeers;
  syncing: Syncing;
  calls: Invocations;
  /** Checks and seals envelopes. */
  invoke: InvokeDeps;
  time: Time;
  random: Random;
  /** The texts of the notes that count and can be read, as the view has folded them one by one. */
  notes: ReadonlyMap<string, number>;
  view: Projection;
  cards: LogCards;
  documents: Documents;
  snapshots: Snapshots;
  /** Tells the mesh what the settings say now. */
  refreshCards(): Promise<void>;
  /** Events of this machine, durable, that nobody was told of as acknowledged. */
  written: ReadableEvent[];
  /** Ends the parts, the newest first. */
  stop(): Promise<void>;
}

export interface MachineKeys {
  person: ReturnType<typeof signingKeyFromSeed>;
  device: ReturnType<typeof signingKeyFromSeed>;
  id: DeviceId;
  sealing: ReturnType<typeof sealingKeyFromSeed>;
}

/** Keys follow from the name alone: who is who is the same with each seed. */
export function keysOf(name: string): MachineKeys {
  const known = made.get(name);
  if (known !== undefined) return known;
  const device = signingKeyFromSeed(seedOf(`${name} device`));
  const keys: MachineKeys = {
    person: signingKeyFromSeed(seedOf(`${name} person`)),
    device,
    id: idOf<"device">(device.publicKey),
    sealing: sealingKeyFromSeed(seedOf(`${name} sealing`)),
  };
  made.set(name, keys);
  return keys;
}

const made = new Map<string, MachineKeys>();

/** 32 bytes that are always the same for one name. */
export function seedOf(name: string): Uint8Array {
  return sha256(utf8Bytes(`kin simulation ${name}`));
}

export function newDevice(name: string): (RosterBody & { type: "admit" })["device"] {
  const { id, sealing } = keysOf(name);
  return { id, name: DEVICE_NAME, sealingKey: sealing.publicKey };
}

export interface MachineDeps {
  world: World;
  network: SimNetwork;
  witness: Witness;
  mesh: MeshId;
}

/** How long the tool takes, ms. */
const TOOL_MS = [5, 4_000] as const;
/** A process that was killed is not there again at once. */
const BOOT_MS = [50, 500] as const;

export function createMachine(deps: MachineDeps, name: string): Machine {
  const { world, network, witness, mesh } = deps;
  const keys = keysOf(name);
  const dice = world.dice(`${name} machine`);
  const disk = createSimDisk(world, name);
  const clock = createClock(world);
  const epochKeys = new Map<EpochId, Uint8Array>();
  let life: Life = { alive: false };
  let starts = 0;

  const keystore: EpochKeys = {
    get: (epoch) => epochKeys.get(epoch),
    put: async (epoch, key) => void epochKeys.set(epoch, key),
  };

  async function start(records?: Sealed[]): Promise<void> {
    if (life.alive) throw new Error(`${name} runs already`);
    const mine: Life = (life = { alive: true });
    machine.trouble = null;
    const run = `${name} ${starts++}`;
    world.note(`${run} starts`);
    const time = timeOf(world, clock, mine, run);
    const random = world.dice(`${run} random`);
    await new Promise<void>((resolve) => time.after(dice.between(...BOOT_MS), resolve));
    try {
      const process = await open(mine, run, time, random, records);
      if (mine.alive) machine.process = process;
    } catch (error) {
      if (!mine.alive) return;
      mine.alive = false;
      if (!(error instanceof KinError)) throw error;
      machine.trouble = error;
      world.count(`starts that failed with ${error.code}`);
      world.note(`${run} failed: ${error.message}`);
    }
  }

  function beginIncarnation(time: Time, random: Random, first: boolean): Incarnation {
    const next = { id: random.bytes(16), first, bornAt: time.now() };
    machine.incarnation = next;
    world.count("incarnations");
    return { ...next, fresh: true };
  }

  async function open(
    mine: Life,
    run: string,
    time: Time,
    random: Random,
    records: Sealed[] | undefined,
  ): Promise<Process> {
    const marked = machine.incarnation;
    let shown: PeerClocks | null = null;
    const store = await openMemoryStore(disk.port(mine));
    const replica = await openReplica({
      store,
      mesh,
      deviceKey: keys.device,
      personKey: keys.person,
      sealingKeys: [keys.sealing],
      epochKeys: keystore,
      incarnation: marked ?? beginIncarnation(time, random, true),
      renewIncarnation: async () => beginIncarnation(time, random, false),
      hasHeard,
      time,
      random,
      clocks: () => shown?.samples() ?? [],
      ...(records !== undefined && { records }),
    });
    const warn = (): void => world.count("warnings");
    const written: ReadableEvent[] = [];
    replica.on((change) => {
      if (change.type === "applied") {
        witness.applied(name, change.events);
        written.push(...change.events.filter(({ device }) => device === keys.id));
        for (const { device, kind, value } of change.events)
          if (device === keys.id && kind === "snapshot-signed") world.count(`snapshots ${parseSigned(value).how}`);
      }
      if (change.type === "forked") world.count("forks seen");
      if (change.type === "incarnation-ended") world.count("logs ended");
      if (change.type === "trouble") world.count(`trouble ${change.error.code}`);
    });
    const me = { person: personOf(replica), device: keys.id };
    const progress = await openProgress(replica, time);
    const stops: (() => unknown)[] = [() => store.close(), () => replica.close(), () => progress.close()];
    function hasHeard(): boolean {
      return progress.hasHeard();
    }

    const { notes, view } = await openNotes(replica);
    stops.push(() => view.close());

    const boot = random.bytes(16);
    const peers = createSimPeers({
      world,
      network,
      life: mine,
      device: keys.id,
      key: keys.device,
      boot,
      replica,
      time,
      random,
    });
    const clocks = (shown = createPeerClocks(peers, time));
    stops.push(
      () => clocks.stop(),
      () => peers.stop(),
    );

    const base = await openSnapshotBase(store, mesh);
    const cards = await openLogCards(replica, base, warn);
    stops.push(() => cards.stop());
    const documents = await openDocuments({
      replica,
      base,
      person: me.person,
      runTrial: tryHere,
      keep: keptOn(machine),
      time,
      random,
      hasHeard,
      failed: broken,
    });
    stops.push(() => documents.close());
    const epochKey = (epoch: EpochId): Uint8Array | undefined => epochKeys.get(epoch);
    const snapshots = await openSnapshots({
      replica,
      base,
      views: [cardsView, factsView, ...documentViews(mesh, tryHere)],
      hasHeard,
      time,
      fetch: (snapshot, signal) => fetchSnapshot({ network: peers, mesh, epochKey, warn }, snapshot, signal),
      settled: () => Promise.all([documents.settled(), cards.settled()]),
      warn,
    });
    stops.push(() => snapshots.close());
    serveSnapshots(peers, {
      mesh,
      random,
      epoch: () => heldEpoch(replica.membership(), epochKey),
      state: (snapshot) => snapshots.state(snapshot),
    });

    const isMember = (person: PersonId, device: DeviceId): boolean =>
      replica.membership().devices.get(device)?.member.person === person;
    const ledger = await createLedger({ store, time, warn });
    stops.push(() => ledger.stop());
    const handle = createDispatch(
      {
        self: me,
        find: (target) => ("tool" in target && target.tool === EFFECT_TOOL ? effectTool(mine, time) : undefined),
        isMember,
        ledger,
        time,
        record: async () => undefined,
        warn,
      },
      {
        notBefore: () => {
          const { first, bornAt } = replica.incarnation();
          return first ? 0 : bornAt + SKEW_LIMIT_MS;
        },
      },
    );
    const endOfTick = (go: () => void): void => void world.after(0, `${run} tick`, () => mine.alive && go());
    const sealer = createSealer(keys.device, endOfTick);
    const invoke: InvokeDeps = {
      mesh,
      self: me,
      boot,
      keyMaySpeakFor: (key, from) => from.agent === null && equal(key, idBytes(from.device)),
      isMember,
      skewOf: (peer) => peers.greeting(peer)?.skewMs ?? null,
      sealAs: (agent) => (agent === null ? (bytes) => sealer.seal("envelope/device", bytes) : undefined),
      time,
      random,
      stamp: () => replica.stamp(),
    };
    const calls = createInvocations({
      ...invoke,
      open: (peer, protocol, signal) => peers.open(peer, protocol, signal),
      bootOf: (peer) => (peer === keys.id ? boot : peers.greeting(peer)?.boot),
      handle,
      recall: ledger.recall,
      endOfTick,
    });
    stops.push(() => calls.stop());
    peers.handleForMembers(INVOKE_PROTOCOL, (peer, wire) => calls.serve(peer.device, wire));
    const ownCards = createOwnCards({
      me,
      deviceKey: keys.device,
      replica,
      logCards: cards,
      log: true,
      hasHeard,
      agentKey: noAgent,
      endAgent: noAgent,
      offered: () => ({ shared: [cardOf(machine)], mine: [] }),
      time,
      random,
    });
    const outbox = await createOutbox({
      replica,
      invoke,
      time,
      recall: (person, request) => ledger.wordOn(person, request),
      hasHeard,
      isThere: (device) => peers.greeting(device) !== null,
      warn,
    });
    stops.push(() => outbox.close());
    outbox.onAsked(handle);
    openDoor({
      network: peers,
      replica,
      deviceKey: keys.device,
      epochKeys: keystore,
      time,
      random,
      changed: async () => peers.setMembership(replica.membership()),
      warn,
    });
    let isFirst = !hasHeard();
    /** All that a peer has is here. */
    function caughtUp(): void {
      outbox.lookAgain();
      if (!isFirst) return;
      isFirst = false;
      refreshLater();
      snapshots.look().catch(broken);
    }
    const runSession = syncRun({
      replica,
      progress,
      time,
      caughtUp,
      unkept: () => world.count("progress not kept"),
    });
    const syncing = createSyncing({
      network: peers,
      run: async (wire, peer, signal) => {
        world.count("syncs");
        if (machine.session !== null) return machine.session(wire, peer, replica);
        const isWhole = await runSession(wire, peer, signal);
        world.note(`${run} sync ended${isWhole ? " with all that there was" : ""}`);
        return isWhole;
      },
      time,
      random,
      warn,
    });
    stops.push(() => syncing.stop());
    const refreshCards = (): Promise<void> => ownCards.refresh();
    const refreshLater = (): void => void refreshCards().catch(warn);
    replica.on((change) => {
      if (change.type === "grown") syncing.news();
      if (change.type !== "membership") return;
      peers.setMembership(change.membership);
      refreshLater();
    });
    peers.on((event) => {
      if (event.type !== "peer-connected") return;
      cards.learnKeys(event.device, event.greeting.agentKeys);
      outbox.lookAgain();
    });
    await refreshCards();
    documents.on((change) => {
      if (change.records) refreshLater();
    });
    peers.setMembership(replica.membership());

    async function stop(): Promise<void> {
      for (const end of stops.toReversed())
        try {
          await end();
        } catch (error) {
          broken(error);
        }
      mine.alive = false;
    }

    /** What a machine says of itself when a part fails. Only what the code says in so many words may. */
    function broken(error: unknown): void {
      if (!(error instanceof KinError)) world.violate(`a part of ${name} failed: ${String((error as Error).stack)}`);
      world.count("warnings");
    }

    return {
      replica,
      store,
      outbox,
      peers,
      syncing,
      calls,
      invoke,
      time,
      random,
      notes,
      view,
      cards,
      documents,
      snapshots,
      refreshCards,
      written,
      stop,
    };
  }

  async function join(ticket: Ticket): Promise<Sealed[]> {
    const guest: Life = { alive: true };
    const joined = await joinByTicket(
      { dialForJoin: (_addresses, inviter) => dialForJoin(network, guest, keys.id, inviter) },
      ticket,
      name,
      {
        personKey: keys.person,
        device: { key: keys.device, sealing: keys.sealing, name: DEVICE_NAME },
        random: world.dice(`${name} joins`),
      },
      new AbortController().signal,
    );
    if (!joined.ok) throw new KinError(joined.error.code, `${name} was not admitted: ${joined.error.message}`);
    for (const { epoch, key } of joined.epochKeys) epochKeys.set(epoch, key);
    return joined.records.map(({ sealed }) => sealed);
  }

  /** Presses a button in the world. It is not undone by whatever happens afterwards. */
  function effectTool(mine: Life, time: Time): NonNullable<ReturnType<Parameters<typeof createDispatch>[0]["find"]>> {
    return {
      readOnly: false,
      mayCall: () => true,
      run: (call) =>
        new Promise((resolve) => {
          if (!mine.alive) return;
          witness.effect(call.from.person, call.request.key, name);
          time.after(dice.between(...TOOL_MS), () =>
            resolve({ tool: { content: [{ type: "text", text: "pressed" }], isError: false } }),
          );
        }),
    };
  }

  /** Who lives by the roster; a removed one knows at least who he was. */
  function personOf(replica: Replica): PersonId {
    const { devices, formerDevices } = replica.membership();
    const person = devices.get(keys.id)?.member.person ?? formerDevices.get(keys.id)?.person;
    if (person === undefined) throw new KinError("NOT_A_MEMBER", `${name} is in no roster`);
    return person;
  }

  function kill({ power = false } = {}): void {
    if (life.alive) network.died(keys.id);
    life.alive = false;
    machine.process = null;
    world.note(`${name} killed ${power ? "with its power" : ""}`);
    world.count(power ? "power cuts" : "kills");
    if (power) disk.crash();
  }

  async function stop(): Promise<void> {
    const { process } = machine;
    if (process === null) return kill();
    machine.process = null;
    await process.stop();
    world.count("stops");
  }

  const machine = {
    name,
    device: keys.id,
    keys,
    disk,
    clock,
    epochKeys,
    process: null as Process | null,
    trouble: null as KinError | null,
    session: null as Machine["session"],
    incarnation: null as Incarnation | null,
    offers: "a button",
    kept: null as Uint8Array[] | null,
    isRunning: () => life.alive,
    start,
    join,
    kill,
    stop,
  };
  return machine;
}

/** In place: a thread's answer would come when the real machine has time. */
const tryHere: RunTrial = async (trial) => runTrial(trial);

/** Like `documentKeep` of `node/database.ts`, in a file that a power cut spares. */
function keptOn(machine: Pick<Machine, "kept">): DocumentKeep {
  return {
    load: async () => machine.kept,
    save: async (rows) => void (machine.kept = rows),
  };
}

/** What this machine says of its tool. */
function cardOf({ offers }: Pick<Machine, "offers">): LocalCard {
  return {
    kind: "tool",
    name: EFFECT_TOOL,
    description: offers,
    inputSchema: { type: "object" },
    readOnly: false,
    allowed: { mesh: true },
    shares: [],
  };
}

function noAgent(): never {
  throw new Error("machines of simulations have no agents");
}

/** A view as a node has many: how often each note was folded into it. */
async function openNotes(replica: Replica): Promise<{ notes: Map<string, number>; view: Projection }> {
  const notes = new Map<string, number>();
  const view = await openProjection(replica, {
    kinds: new Set(["note"]),
    fold: ({ value }) => {
      if (typeof value === "string") notes.set(value, (notes.get(value) ?? 0) + 1);
    },
    clear: () => notes.clear(),
    failed: (error) => {
      if (!(error instanceof KinError)) throw error;
    },
  });
  return { notes, view };
}

/**
 * One person's machine in a simulation: its disk, keys and clock outlive the processes that run on it. A process is made of the
 * real parts, put together as `node/mesh-parts.ts` does it:
 *
 *   sim disk ─ memory store ─ replica ─┬─ projection (its notes) ─ outbox ─ dispatch ─ ledger ─ one tool with a side effect
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
import { createSealer, type Sealed } from "../protocols/signature.ts";
import { utf8Bytes } from "../protocols/bytes.ts";
import { createDispatch } from "../node/agents/dispatch.ts";
import { createLedger } from "../node/agents/ledger.ts";
import { createInvocations, type Invocations } from "../node/net/invoke.ts";
import { createPeerClocks, type PeerClocks } from "../node/net/peer-clocks.ts";
import { createSyncing, type Syncing } from "../node/net/sync.ts";
import { openDoor } from "../node/net/ticket-join.ts";
import { createOutbox, type Outbox } from "../sync/outbox.ts";
import { openProjection, type Projection } from "../sync/projection.ts";
import { openProgress } from "../sync/progress.ts";
import { openReplica, type EpochKeys, type Incarnation, type Replica } from "../sync/replica.ts";
import { runSync } from "../sync/session.ts";
import type { EventStore } from "../sync/store.ts";
import { openMemoryStore } from "../sync/stores/memory.ts";
import { createSimDisk, type SimDisk } from "./disk.ts";
import type { SimNetwork } from "./network.ts";
import { createSimPeers, type SimPeers } from "./peers.ts";
import type { Witness } from "./witness.ts";
import { createClock, timeOf, type Life, type SimClock, type World } from "./world.ts";

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
  /** The process is killed; with `power`, the machine too: what was not flushed may be lost. */
  kill(options?: { power?: boolean }): void;
  /** Ends the process in order. */
  stop(): Promise<void>;
  /** What it says on a sync stream instead of the truth; null: the real session. */
  session: ((wire: Wire, peer: DeviceId, replica: Replica) => Promise<string>) | null;
  /** The marker beside the database (R2). */
  incarnation: Incarnation | null;
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
  return { id, name: "laptop", sealingKey: sealing.publicKey };
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
      time,
      random,
      clocks: () => shown?.samples() ?? [],
      ...(records !== undefined && { records }),
    });
    const warn = (): void => world.count("warnings");
    replica.on((change) => {
      if (change.type === "applied") witness.applied(name, change.events);
      if (change.type === "forked") world.count("forks seen");
      if (change.type === "incarnation-ended") world.count("logs ended");
      if (change.type === "trouble") world.count(`trouble ${change.error.code}`);
    });
    const { notes, view } = await openNotes(replica);

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
    shown = createPeerClocks(peers, time);
    const isMember = (person: PersonId, device: DeviceId): boolean =>
      replica.membership().devices.get(device)?.member.person === person;
    const me = { person: personOf(replica), device: keys.id };
    const ledger = await createLedger({ store, time, warn });
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
    peers.handleForMembers(INVOKE_PROTOCOL, (peer, wire) => calls.serve(peer.device, wire));
    const progress = await openProgress(replica, time);
    const outbox = await createOutbox({
      replica,
      invoke,
      time,
      recall: (person, request) => ledger.wordOn(person, request),
      hasHeard: () => progress.hasHeard(),
      isThere: (device) => peers.greeting(device) !== null,
      warn,
    });
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
    const syncing = createSyncing({
      network: peers,
      run: async (wire, peer, _initiator, signal) => {
        world.count("syncs");
        let over = async (): Promise<void> => undefined;
        const unkept = (): void => world.count("progress not kept");
        if (machine.session !== null) return machine.session(wire, peer, replica);
        const end = await runSync(wire, replica, {
          peer,
          time,
          signal,
          onBegin: (logs) => (over = progress.begin(peer, logs)),
          onCaughtUp: () => {
            progress.caughtUp(peer).catch(unkept);
            outbox.lookAgain();
          },
        });
        await over().catch(unkept);
        world.count(`syncs ${end.reason}`);
        world.note(`${run} sync ended ${end.reason} ${end.error?.code ?? ""}`);
        if (end.error !== null && end.reason !== "broken") throw new Error(`${end.reason}: ${end.error.message}`);
        return end.reason;
      },
      time,
      random,
      warn,
    });
    replica.on((change) => {
      if (change.type === "membership") peers.setMembership(change.membership);
    });
    peers.on((event) => {
      if (event.type === "peer-connected") outbox.lookAgain();
    });
    return { replica, store, outbox, peers, syncing, calls, invoke, time, random, notes, view };
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
    process.syncing.stop();
    await process.calls.stop();
    await process.outbox.close();
    await process.view.close();
    process.peers.stop();
    await process.replica.close();
    await process.store.close();
    life.alive = false;
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
    isRunning: () => life.alive,
    start,
    kill,
    stop,
  };
  return machine;
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

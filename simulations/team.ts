/** A mesh of simulated machines: founded and joined by the real records, and healed when a scenario has done its worst. */
import { KinError } from "../protocols/errors.ts";
import type { DeviceId, MeshId } from "../protocols/ids.ts";
import { SKEW_LIMIT_MS } from "../protocols/limits.ts";
import { makeGenesis, stampMs, stampOf, type ReadPolicy } from "../protocols/roster-record.ts";
import type { Sealed } from "../protocols/signature.ts";
import { TICKET_SEED_BYTES, ticketKey, type Ticket } from "../protocols/ticket.ts";
import { openInvite } from "../sync/acts.ts";
import type { EventStore } from "../sync/store.ts";
import { checkInvariants, isEqual, openAsks } from "./invariants.ts";
import { createMachine, keysOf, newDevice, type Machine, type Process } from "./machine.ts";
import { createSimNetwork, type SimNetwork } from "./network.ts";
import { createWitness, type Witness } from "./witness.ts";
import { START_MS, type Dice, type World } from "./world.ts";

export interface Team {
  readonly world: World;
  readonly network: SimNetwork;
  readonly witness: Witness;
  readonly mesh: MeshId;
  /** Everybody who ever joined, in order; the first is the founder. */
  readonly machines: Machine[];
  /** Who should be equal in the end: members that nobody has removed. */
  living(): Machine[];
  /** While it heals nobody begins anything new. */
  readonly isHealing: boolean;
  /** From now on it is nobody's machine: it may go on, the others need not be equal to it. */
  remove(machine: Machine): void;
  /** `inviter` lets a new machine in, as `/kin/join/1` does. */
  join(inviter: Machine, name: string, role?: "admin" | "member"): Promise<Machine>;
  /** Runs the world until `work` has settled. @throws what it throws, or if that takes longer than a virtual hour */
  complete<T>(work: Promise<T>): Promise<T>;
  /** The same, but gives up after `ms`: what a kill has cut off never ends. True: it ended well; a refusal is counted. */
  attempt(work: Promise<unknown>, ms: number): Promise<boolean>;
  /** Runs the world for so long. */
  pass(ms: number): Promise<void>;
  /** Ids of all events that these machines have. */
  eventsOf(machines: readonly Machine[]): Promise<Set<string>>;
  /**
   * No more faults: networks, disks and, unless `clocks` says otherwise, clocks are right again, who is down starts. Waits until
   * all are equal, then checks every invariant. What does not become equal in time is a violation.
   */
  heal(options?: { clocks?: boolean; limitMs?: number }): Promise<void>;
}

/** A mesh that has not become equal by then never will: the longest back-off is 2 min, the longest look 1 min. */
const EQUAL_WITHIN_MS = 15 * 60_000;
/** Held events are looked at every 10 s; what follows from them takes a moment. */
const SETTLE_MS = 30_000;
/** How often it is looked whether all are equal. */
const LOOK_MS = 1_000;
const LONGEST_WORK_MS = 3_600_000;
const TICKET_LIFE_MS = 3_600_000;

const NAMES = ["ana", "ben", "cleo", "dan", "eva", "finn", "gus", "hana", "ivo", "jana", "kai", "lea"];

export function nameOf(index: number): string {
  const name = NAMES[index % NAMES.length]!;
  return index < NAMES.length ? name : `${name}-${Math.floor(index / NAMES.length) + 1}`;
}

export interface TeamOptions {
  peers: number;
  policy?: ReadPolicy;
  /** How many besides the founder are admins. */
  admins?: number;
}

export async function foundTeam(world: World, { peers, policy = "reads-all", admins = 0 }: TeamOptions): Promise<Team> {
  const network = createSimNetwork(world);
  const witness = createWitness(world);
  const dice = world.dice("team");
  const founder = nameOf(0);
  const genesis = makeGenesis(
    { mesh: "team", name: founder, personKey: keysOf(founder).person, device: newDevice(founder), policy },
    { hlc: stampOf(START_MS), n: dice.bytes(16), certificateN: dice.bytes(16) },
  );
  const machines: Machine[] = [];
  const removed = new Set<DeviceId>();
  const triedAgain = new Set<Machine>();
  let isHealing = false;
  const deps = { world, network, witness, mesh: genesis.mesh };

  const team: Team = {
    world,
    network,
    witness,
    mesh: genesis.mesh,
    machines,
    get isHealing() {
      return isHealing;
    },
    remove: ({ device }) => void removed.add(device),
    living,
    join,
    complete,
    attempt,
    pass: (ms) => world.run(world.now() + ms),
    eventsOf,
    heal,
  };

  /** Whom the founder, whom nobody can remove, does not know as removed. */
  function living(): Machine[] {
    const former = machines[0]?.process?.replica.membership().formerDevices;
    return machines.filter(({ device }) => !removed.has(device) && former?.has(device) !== true);
  }

  async function settled<T>(work: Promise<T>, ms: number) {
    const state: { end?: { value: T } | { error: unknown } } = {};
    work.then(
      (value) => (state.end = { value }),
      (error: unknown) => (state.end = { error }),
    );
    await world.run(world.now() + ms, () => state.end !== undefined);
    return state;
  }

  async function attempt(work: Promise<unknown>, ms: number): Promise<boolean> {
    const { end } = await settled(work, ms);
    if (end !== undefined && "value" in end) return true;
    if (end !== undefined && !(end.error instanceof KinError)) throw end.error;
    world.count(end === undefined ? "acts cut off" : `acts refused with ${(end.error as KinError).code}`);
    return false;
  }

  async function complete<T>(work: Promise<T>): Promise<T> {
    const state = await settled(work, LONGEST_WORK_MS);
    if (state.end === undefined) throw new Error("what the scenario waits for did not end within a virtual hour");
    if ("error" in state.end) throw state.end.error;
    return state.end.value;
  }

  async function add(name: string, records: Sealed[]): Promise<Machine> {
    const machine = createMachine(deps, name);
    machines.push(machine);
    return machine.start(records).then(() => machine);
  }

  async function join(inviter: Machine, name: string, role: "admin" | "member" = "member"): Promise<Machine> {
    const machine = createMachine(deps, name);
    const records = await machine.join(await ticketOf(inviter, name, role));
    machines.push(machine);
    await machine.start(records);
    world.count("joins");
    return machine;
  }

  /** As `kin invite` makes it. */
  async function ticketOf(inviter: Machine, name: string, role: "admin" | "member"): Promise<Ticket> {
    const { replica } = processOf(inviter);
    const seed = dice.bytes(TICKET_SEED_BYTES);
    const expiresAt = inviter.clock.now() + TICKET_LIFE_MS;
    const invite = await openInvite(replica, {
      key: ticketKey(seed, replica.mesh).publicKey,
      name,
      role,
      expires: expiresAt,
      shares: [{ device: replica.device, uses: 1 }],
    });
    const names = { meshName: replica.membership().name, inviterName: inviter.name, guestName: name };
    const where = { inviter: replica.device, addresses: [], relays: [] };
    return { mesh: replica.mesh, ...names, ...where, role, expiresAt, uses: 1, invite, seed };
  }

  async function heal({ clocks = true, limitMs = EQUAL_WITHIN_MS } = {}): Promise<void> {
    world.note("heal");
    isHealing = true;
    triedAgain.clear();
    world.count("heals");
    network.heal();
    for (const { clock, disk } of machines) {
      disk.faults.full = false;
      disk.faults.errorChance = 0;
      if (clocks) clock.offsetMs = clock.drift = 0;
    }
    const startedAt = world.now();
    while (!(await isHealed(clocks)) && world.now() < startedAt + limitMs) {
      await wakeUp();
      await world.run(world.now() + LOOK_MS);
    }
    await world.run(world.now() + SETTLE_MS);
    const took = Math.round(world.now() - startedAt);
    const slowest = "slowest heal, virtual ms";
    world.stats[slowest] = Math.max(world.stats[slowest] ?? 0, took);
    await world.run(world.now() + SETTLE_MS);
    await checkInvariants(team, { clocks });
    isHealing = false;
  }

  /** Who is down starts; who cannot read his disk begins again with nothing but his keys and the roster of others. */
  async function wakeUp(): Promise<void> {
    for (const machine of team.living()) {
      if (machine.isRunning()) continue;
      // The first failure may have been a full disk; one that stays unreadable is given up.
      const isHopeless = machine.trouble !== null && triedAgain.has(machine);
      if (machine.trouble !== null) triedAgain.add(machine);
      if (isHopeless) await reinstall(machine);
      else void machine.start();
    }
  }

  /** What only this disk had is gone: that is said, not hidden. */
  async function reinstall(machine: Machine): Promise<void> {
    const others = team.living().filter((other) => other !== machine && other.process !== null);
    const donor = others[0];
    if (donor === undefined) return;
    const left = await eventsOf(others);
    for (const { id, author } of witness.acknowledged)
      if (author === machine.name && !left.has(id)) witness.excused.add(id);
    machine.disk.restore(new Map());
    witness.forget(machine.name);
    triedAgain.delete(machine);
    world.count("reinstalled");
    await complete(machine.start(donor.process!.replica.records()));
  }

  function eventsOf(some: readonly Machine[]): Promise<Set<string>> {
    return complete(idsIn(some.map((machine) => processOf(machine).store)));
  }

  async function isHealed(areClocksRight: boolean): Promise<boolean> {
    const living = team.living();
    if (living.some(({ process }) => process === null)) return false;
    if (!isEqual(living.map(({ process }) => process!))) return false;
    return !areClocksRight || ((await isAllDue(living)) && openAsks(team).length === 0);
  }

  /** What a clock that was ahead has stamped counts when its time has come; what lies years ahead is not waited for. */
  async function isAllDue(living: Machine[]): Promise<boolean> {
    const { process, clock } = living[0]!;
    for (const { hlc } of await complete(process!.store.logs())) {
      const ahead = hlc === null ? 0 : stampMs(hlc) - clock.now() - SKEW_LIMIT_MS;
      if (ahead > 0 && ahead < EQUAL_WITHIN_MS) return false;
    }
    return true;
  }

  await complete(add(founder, [genesis.sealed]));
  for (let i = 1; i < peers; i++) await complete(join(machines[0]!, nameOf(i), i <= admins ? "admin" : "member"));
  return team;
}

export async function idsIn(stores: readonly EventStore[]): Promise<Set<string>> {
  const ids = new Set<string>();
  for (const store of stores)
    for (const { log, seq } of await store.logs()) for (const { id } of await store.range(log, 0, seq + 1)) ids.add(id);
  return ids;
}

/** @throws KinError CLOSED if nothing runs there */
export function processOf(machine: Machine): Process {
  if (machine.process === null) throw new KinError("CLOSED", `${machine.name} is down`);
  return machine.process;
}

/** Whoever runs now. */
export function upOnes(team: Team): Machine[] {
  return team.living().filter(({ process }) => process !== null);
}

/** Two groups, both with somebody in them. */
export function halves(team: Team, dice: Dice): [Machine[], Machine[]] {
  const all = dice.shuffled(team.machines);
  const cut = dice.int(1, all.length - 1);
  return [all.slice(0, cut), all.slice(cut)];
}

/**
 * Mallory is a member and does what her software should not do. Each run draws some of these:
 *
 *   forks       writes another history of her own log on each side of a partition
 *   floods      the same runs again and again, vectors that claim 2^53 events, bodies of nobody
 *   far future  stamps a year ahead, then goes on
 *   withholds   claims to have what she never sends, also of others' logs
 *   forges      events in ana's name that ana did not sign, and a log of somebody who was never let in
 *
 * What holds: the honest are equal, nothing of theirs is held up or lost, and what counts is by who had the right.
 */
import { signingKeyFromSeed } from "#crypto";
import type { Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import {
  logIdOf,
  logOpeningValue,
  makeEvent,
  signHead,
  type LogOpening,
  type StoredEvent,
} from "../../protocols/events.ts";
import { sealBody } from "../../protocols/event-body.ts";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import { encodeSyncFrame, type SyncFrame, type VectorEntry } from "../../protocols/sync.ts";
import { stampOf } from "../../protocols/roster-record.ts";
import type { Replica } from "../../sync/replica.ts";
import { seedOf, type Machine } from "../machine.ts";
import type { Scenario, Stage } from "../scenario.ts";
import { START_MS, type Dice } from "../world.ts";

const PART_MS = 60_000;
const YEAR_MS = 365 * 86_400_000;
const FLOOD_FRAMES = 300;

export const maliciousPeer: Scenario = {
  name: "malicious-peer",
  summary: "a member forks, floods, stamps the future, withholds and forges; the honest stay equal and unharmed",
  peers: { default: 4, least: 3, most: 12 },
  async run(stage) {
    const { team, work, dice, world } = stage;
    const mallory = team.machines.at(-1)!;
    work.go(4 * PART_MS, 2_000, { ask: 1, askAgain: 0 });
    await team.pass(PART_MS / 2);
    const deeds = dice.shuffled(["forks", "floods", "far future", "withholds", "forges"]).slice(0, dice.int(1, 3));
    for (const deed of deeds) {
      world.count(`mallory ${deed}`);
      await DEEDS[deed]!(stage, mallory);
      await team.pass(PART_MS / 4);
    }
    await team.pass(PART_MS / 2);
    // Equal to her nobody needs to be; she is still there while the others become equal.
    team.remove(mallory);
    await team.heal();
    await checkProven(stage);
  },
};

/** Two histories of one log that the honest have between them: then each of them has the proof. */
async function checkProven({ team, world }: Stage): Promise<void> {
  const honest = team.living();
  const atSeq = new Map<string, Set<string>>();
  for (const { process } of honest) {
    const { replica, store } = process!;
    const stored = await team.complete(store.logs());
    for (const { log, opening, seq } of stored) {
      if (opening.chain !== "mesh") continue;
      for (const { id, header } of await team.complete(store.range(log, 0, seq + 1))) note(log, header.seq, id);
    }
    for (const { log, seq, id } of await team.complete(replica.branchEvents())) note(log, seq, id);
  }
  const forked = new Set([...atSeq].filter(([, ids]) => ids.size > 1).map(([place]) => place.split(" ")[0]!));
  world.count("logs with two histories", forked.size);
  for (const { name, process } of honest)
    for (const log of forked)
      if (!process!.replica.forks().some((proof) => proof.log === log))
        world.violate(`${name} has no proof that log ${log.slice(0, 8)} was written twice`);

  function note(log: string, seq: number, id: string): void {
    const place = `${log} ${seq}`;
    atSeq.set(place, (atSeq.get(place) ?? new Set()).add(id));
  }
}

const DEEDS: { [deed: string]: (stage: Stage, mallory: Machine) => Promise<void> } = {
  async forks({ team, work, dice }, mallory) {
    const honest = team.machines.filter((machine) => machine !== mallory);
    const cut = dice.int(1, honest.length - 1);
    const sides = [honest.slice(0, cut), honest.slice(cut)];
    if (mallory.process === null) return;
    const copy = mallory.disk.backup();
    for (const [i, side] of sides.entries()) {
      const other = sides[1 - i]!;
      team.network.partition([[...side, mallory], other].map((group) => group.map(({ device }) => device)));
      await team.pass(30_000); // until she is connected to this side only
      for (let n = dice.int(1, 4); n > 0; n--) await team.attempt(work.note(mallory, `side ${i}`), 5_000);
      await team.pass(20_000);
      if (i === 1) break;
      if (mallory.isRunning()) mallory.kill();
      mallory.disk.restore(copy);
      team.witness.forget(mallory.name);
      await team.pass(1_000);
      await team.complete(mallory.start());
    }
    team.network.heal();
  },

  async floods({ world, dice }, mallory) {
    mallory.session = async (wire, _peer, replica) => {
      world.count("floods");
      return flood(wire, replica, dice);
    };
    reconnect(mallory);
  },

  async "far future"({ team, work }, mallory) {
    mallory.clock.offsetMs = YEAR_MS;
    for (let n = 0; n < 3; n++)
      if (mallory.process !== null) await team.attempt(work.note(mallory, "from next year"), 5_000);
  },

  async withholds({ world, dice }, mallory) {
    mallory.session = async (wire, _peer, replica) => {
      world.count("sessions that withhold");
      return withhold(wire, replica, dice);
    };
    reconnect(mallory);
  },

  async forges({ world, team }, mallory) {
    mallory.session = async (wire, peer, replica) => {
      world.count("forgeries sent");
      return forge(wire, peer, replica, team.mesh, world.dice(`forgery ${peer}`));
    };
    team.witness.outlaws.set(outsider().device, "its device was never let in");
    reconnect(mallory);
  },
};

/** Sessions begin anew, with what she says now. */
function reconnect(mallory: Machine): void {
  mallory.process?.syncing.stop();
  if (mallory.isRunning()) mallory.kill();
  void mallory.start();
}

async function say(wire: Wire, frame: SyncFrame): Promise<void> {
  await wire.send(encodeSyncFrame(frame));
}

function fullVector(replica: Replica, logs: VectorEntry[]): SyncFrame {
  return { type: "vector", full: true, roster: replica.rosterHeads(), logs };
}

/** Reads what comes, so that the other side can go on talking, until it ends. */
async function listen(wire: Wire): Promise<boolean> {
  try {
    for await (const _ of wire.frames()) continue;
  } catch (error) {
    if (!(error instanceof KinError)) throw error;
  }
  await wire.close();
  return false;
}

async function flood(wire: Wire, replica: Replica, dice: Dice): Promise<boolean> {
  const mine = [...replica.vector().values()];
  const greedy = mine.map((entry) => ({ ...entry, seq: Number.MAX_SAFE_INTEGER - 1 }));
  const listening = listen(wire);
  try {
    await say(wire, fullVector(replica, mine));
    const [log] = mine;
    const found = log === undefined ? undefined : await replica.runFrom(log.log, 0);
    for (let i = 0; i < FLOOD_FRAMES; i++) {
      const draw = dice.next();
      if (draw < 0.3 && found !== undefined) await say(wire, { type: "run", ...found.run });
      else if (draw < 0.6) await say(wire, { type: "vector", full: false, roster: [], logs: greedy });
      else if (draw < 0.8)
        await say(wire, { type: "bodies", bodies: [{ id: idOf(dice.bytes(32)), body: dice.bytes(64) }] });
      else if (draw < 0.9)
        await say(wire, {
          type: "want",
          logs: mine.map(({ log: id, seq }) => ({ log: id, from: 0, to: seq })),
          bodies: [],
        });
      else await wire.send(dice.bytes(200));
    }
  } catch (error) {
    if (!(error instanceof KinError)) throw error; // she was shown the door
  }
  return listening;
}

/** Says that everybody's log is longer than it is, and never sends a thing. */
async function withhold(wire: Wire, replica: Replica, dice: Dice): Promise<boolean> {
  const more = [...replica.vector().values()].map((entry) => ({
    ...entry,
    seq: entry.seq + 50,
    id: idOf<"event">(dice.bytes(32)),
  }));
  const listening = listen(wire);
  await say(wire, fullVector(replica, more)).catch(() => undefined);
  return listening;
}

function outsider(): { key: ReturnType<typeof signingKeyFromSeed>; device: DeviceId } {
  const key = signingKeyFromSeed(seedOf("outsider"));
  return { key, device: idOf<"device">(key.publicKey) };
}

/** A log of a device that nobody let in, and an event that somebody else signed in the peer's name. */
async function forge(
  wire: Wire,
  peer: DeviceId,
  replica: Replica,
  mesh: Replica["mesh"],
  dice: Dice,
): Promise<boolean> {
  const stranger = outsider();
  const listening = listen(wire);
  const mine = [...replica.vector().values()];
  const theirs = mine.find(({ opening }) => opening.device === peer);
  try {
    const opening: LogOpening = { device: stranger.device, incarnation: dice.bytes(16), chain: "mesh" };
    const log = logIdOf(mesh, opening);
    const first = eventOf(log, null, opening, mesh, dice);
    await say(wire, fullVector(replica, [...mine, { log, opening, seq: 0, id: first.id }]));
    await say(wire, runOf(log, first, stranger.key));
    if (theirs !== undefined) {
      const next = eventOf(theirs.log, theirs, theirs.opening, mesh, dice);
      await say(wire, {
        type: "vector",
        full: false,
        roster: [],
        logs: [{ ...theirs, seq: theirs.seq + 1, id: next.id }],
      });
      await say(wire, runOf(theirs.log, next, stranger.key));
    }
  } catch (error) {
    if (!(error instanceof KinError)) throw error;
  }
  return listening;
}

function eventOf(
  log: VectorEntry["log"],
  after: VectorEntry | null,
  opening: LogOpening,
  mesh: Replica["mesh"],
  dice: Dice,
): StoredEvent {
  const header = {
    log,
    seq: after === null ? 0 : after.seq + 1,
    prev: after?.id ?? null,
    deps: [],
    hlc: stampOf(START_MS + PART_MS),
    kind: after === null ? "log-opened" : "agent-key",
    audience: "mesh" as const,
  };
  const value = after === null ? logOpeningValue(opening) : { forged: true };
  const body = sealBody({ mesh, author: opening.device }, header, { form: "clear", value }, dice) as Uint8Array;
  return makeEvent(header, body);
}

function runOf(log: VectorEntry["log"], event: StoredEvent, key: ReturnType<typeof signingKeyFromSeed>): SyncFrame {
  const { seq, hlc } = event.header;
  return { type: "run", log, from: seq, events: [event], head: signHead(key, { log, seq, id: event.id, hlc }) };
}

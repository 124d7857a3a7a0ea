/** A small mesh of real replicas over memory stores, one seed, one clock that the test moves. */
import { sealingKeyFromSeed, signingKeyFromSeed } from "#crypto";
import { idBytes, idOf, type EpochId, type MeshId } from "../../protocols/ids.ts";
import type { Time } from "../../protocols/effects.ts";
import { makeCertificate, makeGenesis, makeProof, stampOf } from "../../protocols/roster-record.ts";
import type { Sealed } from "../../protocols/signature.ts";
import { admit, openInvite } from "../../sync/acts.ts";
import { openReplica, type EpochKeys, type Incarnation, type Replica } from "../../sync/replica.ts";
import type { ClockSample } from "../../sync/skew.ts";
import { runSync, type SyncEnd } from "../../sync/session.ts";
import type { EventStore } from "../../sync/store.ts";
import { createMemoryDisk, type MemoryDisk } from "../../sync/stores/memory-disk.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { openEpochKey } from "../../protocols/epoch.ts";
import { wirePair, type WirePair, type WirePairOptions } from "../wire-pair.ts";
import { bytesOf, seededRandom } from "./chains.ts";

/** Clock and timers that only the test moves. */
export interface TestTime extends Time {
  /** Moves on and runs what is due, in order. */
  pass(ms: number): void;
  /** Another wall clock on the same time line. */
  shifted(byMs: number): Time;
}

export function testTime(start = 1_800_000_000_000): TestTime {
  let now = start;
  let timers: { at: number; run: () => void }[] = [];
  const time: TestTime = {
    now: () => now,
    monotonic: () => now - start,
    after(delayMs, run) {
      const timer = { at: now + delayMs, run };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    pass(ms) {
      const end = now + ms;
      for (;;) {
        const next = timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers = timers.filter((other) => other !== next);
        now = Math.max(now, next.at);
        next.run();
      }
      now = end;
    },
    shifted: (byMs) => ({ ...time, now: () => now + byMs }),
  };
  return time;
}

export interface TestMember {
  name: string;
  replica: Replica;
  epochKeys: EpochKeys & { held: Map<EpochId, Uint8Array> };
  disk: MemoryDisk;
  time: Time;
  keys: ReturnType<typeof keysOf>;
  /** Closes and opens again from what is on the disk. */
  reopen(disk?: MemoryDisk, incarnation?: Incarnation): Promise<TestMember>;
}

export function keysOf(name: string) {
  const device = signingKeyFromSeed(bytesOf(`${name} device`));
  return {
    person: signingKeyFromSeed(bytesOf(`${name} person`)),
    device,
    id: idOf<"device">(device.publicKey),
    sealing: sealingKeyFromSeed(bytesOf(`${name} sealing`)),
  };
}

function heldKeys(held = new Map<EpochId, Uint8Array>()): TestMember["epochKeys"] {
  return { held, get: (epoch) => held.get(epoch), put: async (epoch, key) => void held.set(epoch, key) };
}

let incarnations = 0;
export function incarnationOf(name: string, more: Partial<Incarnation> = {}): Incarnation {
  return { id: bytesOf(`${name} ${incarnations++}`).subarray(0, 16), first: true, bornAt: 0, ...more };
}

export async function openMember(
  name: string,
  mesh: MeshId,
  options: {
    time: Time;
    disk?: MemoryDisk;
    epochKeys?: TestMember["epochKeys"];
    records?: Sealed[];
    incarnation?: Incarnation;
    /** Null: it is not on this machine. */
    personKey?: null;
    clocks?: () => readonly ClockSample[];
    hasHeard?: () => boolean;
    /** @default a memory store on `disk` */
    openStore?: () => Promise<EventStore>;
  },
): Promise<TestMember> {
  const { time, disk = createMemoryDisk(), epochKeys = heldKeys() } = options;
  const incarnation = options.incarnation ?? incarnationOf(name, { fresh: true });
  const keys = keysOf(name);
  const store = await (options.openStore?.() ?? openMemoryStore(disk));
  let current = incarnation;
  const replica = await openReplica({
    store,
    mesh,
    deviceKey: keys.device,
    personKey: options.personKey === null ? undefined : keys.person,
    clocks: options.clocks,
    hasHeard: options.hasHeard,
    sealingKeys: [keys.sealing],
    epochKeys,
    incarnation,
    renewIncarnation: async () => (current = incarnationOf(name, { first: false, bornAt: time.now() })),
    time,
    random: seededRandom(`${name} ${incarnations}`),
    ...(options.records !== undefined && { records: options.records }),
  });
  return {
    name,
    replica,
    epochKeys,
    disk,
    time,
    keys,
    async reopen(other = disk, as = { ...current, fresh: false }) {
      await replica.close();
      await store.close();
      return openMember(name, mesh, { ...options, disk: other, epochKeys, incarnation: as });
    },
  };
}

export async function foundMesh(
  name: string,
  time: Time,
  policy: "reads-all" | "from-epoch" = "reads-all",
): Promise<TestMember> {
  const keys = keysOf(name);
  const device = { id: keys.id, name: "laptop", sealingKey: keys.sealing.publicKey };
  const random = seededRandom(`${name} genesis`);
  const genesis = makeGenesis(
    { mesh: "team", name, personKey: keys.person, device, policy },
    { hlc: stampOf(time.now()), n: random.bytes(16), certificateN: random.bytes(16) },
  );
  return openMember(name, genesis.mesh, { time, records: [genesis.sealed] });
}

/** `inviter` opens an invite and admits `name`, as `/kin/join/1` does. */
export async function admitMember(
  inviter: TestMember,
  name: string,
  options: Partial<Parameters<typeof openMember>[2]> & { role?: "admin" | "member" } = {},
): Promise<TestMember> {
  const { role = "member", time = inviter.time } = options;
  const { replica } = inviter;
  const ticketKey = signingKeyFromSeed(bytesOf(`${name} ticket`));
  const keys = keysOf(name);
  const device = { id: keys.id, name: "laptop", sealingKey: keys.sealing.publicKey };
  const invite = await openInvite(replica, {
    key: ticketKey.publicKey,
    name,
    role,
    expires: inviter.time.now() + 3_600_000,
    shares: [{ device: replica.device, uses: 1 }],
  });
  const challenge = bytesOf(`${name} challenge`);
  const subject = { mesh: replica.mesh, invite, personKey: keys.person.publicKey, device: keys.id };
  const proof = makeProof(ticketKey, {
    ...subject,
    sealingKey: device.sealingKey,
    admitting: replica.device,
    challenge,
  });
  const cert = makeCertificate(keys.person, idBytes(replica.mesh), device, bytesOf(`${name} cert`).subarray(0, 16));
  const request = { invite, name, personKey: keys.person.publicKey, device, cert, challenge, proof };
  const answer = await admit(replica, request, inviter.time.now(), inviter.epochKeys);
  if (!answer.ok) throw new Error(`${name} was not admitted: ${answer.error.message}`);
  const epochKeys = heldKeys();
  for (const { epoch, sealed } of answer.epochKeys) {
    const { keyHash } = replica.membership().epochs.get(epoch)!;
    const key = await openEpochKey(replica.mesh, keyHash, sealed, replica.device, keys.sealing);
    if (key !== null) await epochKeys.put(epoch, key);
  }
  const records = answer.records.map(({ sealed }) => sealed);
  return openMember(name, replica.mesh, { ...options, time, epochKeys, records });
}

export interface Syncing {
  pair: WirePair;
  caughtUp: Promise<void>;
  /** Ends both sides in order. */
  stop(): Promise<[SyncEnd, SyncEnd]>;
  ends: Promise<[SyncEnd, SyncEnd]>;
}

export function startSync(a: TestMember, b: TestMember, options: WirePairOptions = {}): Syncing {
  const pair = wirePair(options);
  const stopping = new AbortController();
  const caught: Promise<void>[] = [];
  const ends = Promise.all(
    (
      [
        [pair.left, a, b],
        [pair.right, b, a],
      ] as const
    ).map(([wire, me, other]) => {
      let onCaughtUp!: () => void;
      caught.push(new Promise((resolve) => (onCaughtUp = resolve)));
      const { device: peer } = other.replica;
      return runSync(wire, me.replica, { peer, time: me.time, signal: stopping.signal, onCaughtUp });
    }),
  ) as Promise<[SyncEnd, SyncEnd]>;
  return {
    pair,
    caughtUp: Promise.all(caught).then(() => undefined),
    ends,
    stop() {
      stopping.abort();
      return ends;
    },
  };
}

/** One sync from the vectors to the end, then closed. */
export async function syncOnce(a: TestMember, b: TestMember): Promise<void> {
  const syncing = startSync(a, b);
  const ended = syncing.ends.then((ends) => {
    throw new Error(`sync of ${a.name} and ${b.name} ended: ${JSON.stringify(ends)}`);
  });
  await Promise.race([syncing.caughtUp, ended]);
  ended.catch(() => undefined);
  await syncing.stop();
}

/** A sync that may end with a refusal. */
export async function meet(a: TestMember, b: TestMember): Promise<void> {
  const syncing = startSync(a, b);
  await Promise.race([syncing.caughtUp, syncing.ends]);
  await syncing.stop();
}

/** What must be the same on every replica: heads, and what is in each log. */
export function stateOf({ replica }: TestMember) {
  const membership = replica.membership();
  return {
    heads: [...replica.vector().values()].map(({ log, seq, id }) => `${log} ${seq} ${id}`).toSorted(),
    members: [...membership.members.values()].map(({ name, role }) => `${name} ${role}`).toSorted(),
    roster: membership.heads.toSorted(),
  };
}

export async function allEvents({ replica }: TestMember) {
  return (await replica.events({ limit: 4096 })).events;
}

/** The notes that a member can read and that count, in a fixed order. */
export async function notesOf(member: TestMember): Promise<string[]> {
  const events = [...(await allEvents(member)), ...(await member.replica.branchEvents())];
  return events
    .filter(({ kind, standing }) => kind === "note" && standing.state === "good")
    .map(({ value }) => (typeof value === "string" ? value : "unreadable"))
    .toSorted();
}

export function memberOf({ replica }: TestMember, name: string) {
  const found = [...replica.membership().members.values()].find((member) => member.name === name);
  if (found === undefined) throw new Error(`no member ${name}`);
  return found;
}

export function note(text: string) {
  return { kind: "note", audience: "mesh" as const, value: text };
}

/** A second life of the same device, keys and incarnation, from what is on its disk now: what a copied folder does. */
export async function twinOf(member: TestMember): Promise<TestMember> {
  const { name, replica, time, epochKeys } = member;
  const incarnation = { ...replica.incarnation(), fresh: false };
  return openMember(name, replica.mesh, { time, disk: member.disk.crash(), epochKeys, incarnation });
}

/** Waits until `is` holds; the wait is over work in flight, not over time. */
export async function until(is: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (let i = 0; i < 2000; i++) {
    if (await is()) return;
    await new Promise((resolve) => setTimeout(resolve, 1)); // key work runs on other threads
  }
  throw new Error(`it never came to be that ${what}`);
}

/** Ben's mesh with Ana in it, in step. */
export async function benAndAna() {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  return { time, ben, ana };
}

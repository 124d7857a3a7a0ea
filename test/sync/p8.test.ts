/** P8: forks are found and converge, whoever wrote twice and however the halves meet again. From one seed; `P8_FORKS=100` by night. */
import { expect, test } from "vitest";
import type { LogId } from "../../protocols/ids.ts";
import { forkPoint } from "../../sync/fork.ts";
import { bytesOf } from "./chains.ts";
import {
  admitMember,
  foundMesh,
  note,
  notesOf,
  startSync,
  syncOnce,
  testTime,
  twinOf,
  type TestMember,
} from "./mesh.ts";

const SEED = process.env["P8_SEED"] ?? "p8";
const FORKS = Number(process.env["P8_FORKS"] ?? 8); // nightly: 100
const FIRST = Number(process.env["P8_FIRST"] ?? 0);
/** Devices of one mesh that write twice; two more are honest. */
const FORKERS = 4;
const KINDS = ["two halves", "restored backup", "three ways"] as const;

interface Expected {
  log: LogId;
  /** The last seq that all lives of the device share. */
  point: number;
  kind: (typeof KINDS)[number];
}

function pick(name: string, below: number): number {
  return new DataView(bytesOf(`${SEED} ${name}`).buffer).getUint32(0) % below;
}

/** In one flush or in many: a head signs one event or several. */
async function write(member: TestMember, count: number, text: string): Promise<void> {
  const notes = Array.from({ length: count }, (_, i) => note(`${text} ${i}`));
  const size = pick(`${text} flush`, 2) === 0 ? 1 : count;
  for (let at = 0; at < count; at += size) await member.replica.append(notes.slice(at, at + size));
}

function ownLog({ replica }: TestMember): { log: LogId; seq: number } {
  return [...replica.vector().values()].find(({ opening }) => opening.device === replica.device)!;
}

/** The device lives two or three lives from one point (or two) on, each heard by another honest peer. */
async function fork(device: TestMember, [ana, ben]: [TestMember, TestMember], name: string) {
  const kind = KINDS[pick(`${name} kind`, KINDS.length)]!;
  await write(device, 1 + pick(`${name} before`, 20), `${name} shared`);
  await syncOnce(device, ana);
  await syncOnce(device, ben);
  const { log, seq: point } = ownLog(device);
  const lives = [device, await twinOf(device)];
  if (kind === "three ways") {
    const [first] = lives as [TestMember];
    await write(first, 2, `${name} a while`);
    lives.push(await twinOf(first));
  }
  const heardBy = kind === "restored backup" ? [ana, ana, ben] : [ana, ben, ben];
  for (const [i, life] of lives.entries()) {
    await write(life, 1 + pick(`${name} life ${i}`, 6), `${name} life ${i}`);
    if (kind === "restored backup" && i === 1) continue; // nobody has heard of what the backup wrote
    await startAndStop(life, heardBy[i]!);
    if (pick(`${name} built on ${i}`, 2) === 0) await write(heardBy[i]!, 1, `${name} built on ${i}`);
  }
  return { expected: { log, point, kind } satisfies Expected, lives };
}

/** A sync that may be refused: two lives of one device meet the same peer. */
async function startAndStop(a: TestMember, b: TestMember): Promise<void> {
  const syncing = startSync(a, b);
  await Promise.race([syncing.caughtUp, syncing.ends]);
  await syncing.stop();
}

async function oneMesh(round: number): Promise<{ expected: Expected[]; members: TestMember[] }> {
  const time = testTime();
  const ana = await foundMesh(`ana${round}`, time);
  const ben = await admitMember(ana, `ben${round}`);
  const expected: Expected[] = [];
  const members = [ana, ben];
  for (let i = 0; i < FORKERS && round * FORKERS + i < FORKS; i++) {
    const device = await admitMember(ana, `li${round}x${i}`);
    await syncOnce(ana, device);
    await syncOnce(ana, ben);
    const { expected: one, lives } = await fork(device, [ana, ben], `fork ${round} ${i}`);
    expected.push(one);
    members.push(...lives);
  }
  return { expected, members };
}

/** Rounds of syncs until nothing changes any more. */
async function heal(members: TestMember[]): Promise<void> {
  const [ana, ben, ...lives] = members as [TestMember, TestMember, ...TestMember[]];
  let before = "";
  for (let round = 0; round < 12; round++) {
    for (const life of lives) for (const peer of [ana, ben]) await startAndStop(life, peer);
    await startAndStop(ana, ben);
    for (const { replica } of members) await replica.idle();
    const now = JSON.stringify(await Promise.all(members.map(stateOf)));
    if (now === before) return;
    before = now;
  }
}

/** What must be the same on every honest node. */
async function stateOf(member: TestMember) {
  const { replica } = member;
  return {
    points: replica
      .forks()
      .map((proof) => `${proof.log} ${forkPoint(proof)}`)
      .toSorted(),
    vector: [...replica.vector().values()].map(({ log, seq, id }) => `${log} ${seq} ${id}`).toSorted(),
    notes: await notesOf(member),
  };
}

test(`P8: ${FORKS} forks are found, all nodes agree where they part and on what counts, none is seen where there was none (C1, C2, R2) [forks-agree]`, async () => {
  let [forks, found, agreed, alarms, kept] = [0, 0, 0, 0, 0];
  for (let round = FIRST; round * FORKERS < FORKS; round++) {
    const { expected, members } = await oneMesh(round);
    await heal(members);
    const states = await Promise.all(members.map(stateOf));
    forks += expected.length;
    for (const { log, point } of expected) {
      const says = members.map(({ replica }) => replica.forks().find((proof) => proof.log === log));
      if (says.every((proof) => proof !== undefined)) found++;
      if (says.every((proof) => proof !== undefined && forkPoint(proof) === point)) agreed++;
    }
    alarms += states[0]!.points.filter((text) => !expected.some(({ log }) => text.startsWith(log))).length;
    const texts = new Set(states[0]!.notes);
    if (texts.size === states[0]!.notes.length) kept++; // nothing counts twice
    for (const [i, state] of states.entries())
      expect([members[i]!.name, i, state]).toEqual([members[i]!.name, i, states[0]]);
    const again = await members[0]!.reopen(members[0]!.disk.crash());
    expect(await stateOf(again)).toEqual(states[0]); // what was told bit by bit is what follows from all of it
    await again.replica.close();
    for (const { replica } of members.slice(1)) await replica.close();
  }
  console.log(`P8 seed ${SEED}: ${forks} forks, found ${found}, agreed ${agreed}, false alarms ${alarms}`);
  expect({ forks, found, agreed, alarms }).toEqual({ forks, found: forks, agreed: forks, alarms: 0 });
  expect(kept).toBe(Math.ceil(FORKS / FORKERS) - FIRST);
}, 900_000);

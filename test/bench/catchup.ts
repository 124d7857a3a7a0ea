/**
 * A member who was away for a year: what it takes to be equal again, from who still has every body (all events), and from who has
 * pruned behind a snapshot (headers, the snapshot's state, the tail). The code of a node over libSQL on disk, with wires in memory
 * that count bytes, so that the time is that of the work and not of a network.
 */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { factSetValue } from "../../protocols/document.ts";
import type { EventId } from "../../protocols/ids.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { hashOf, mateOf, type Mate } from "../snapshot/team.ts";
import {
  admitMember,
  foundMesh,
  openMember,
  startSync,
  testTime,
  type TestMember,
  type TestTime,
} from "../sync/mesh.ts";
import type { Bench, Row } from "./main.ts";
import { rounded } from "./measure.ts";
import { usage } from "./usage.ts";

const FULL = { events: 50_000, keys: 5_000, tail: 500 };
const QUICK = { events: 2_000, keys: 500, tail: 100 };
/** Sets of one append; their keys differ. */
const BATCH = 250;
const VALUE_CHARACTERS = 200;
const MIB = 1024 * 1024;

export const catchupBench: Bench = {
  title: `catchup: ${FULL.events} facts set on ${FULL.keys} keys while a member was away, ${FULL.tail} after the snapshot`,
  columns: {
    name: "from",
    events: "events",
    wireMib: "MiB on the wire",
    stateMib: "of it state",
    seconds: "s until equal",
    cpuSeconds: "CPU s, both sides",
    foldSeconds: "s to open again",
    fileMib: "MiB of log.db and its WAL",
  },
  async measure({ quick, only, say }) {
    const sizes = quick ? QUICK : FULL;
    const folder = await mkdtemp(join(tmpdir(), "kin-catchup-"));
    const open: Mate[] = [];
    try {
      const team = await makeTeam(folder, ["ana", "ben", "away-full", "away-snapshot"]);
      for (const member of team.members) open.push(await mateOf(member));
      const [ana, ben, full, returning] = open as [Mate, Mate, Mate, Mate];
      for (const other of [ben, full, returning]) await syncBetween(ana, other);
      say(`${sizes.events} facts are set…`);
      const standing = new Map<string, EventId>();
      await setFacts(ana, standing, sizes.events / 2, sizes.keys);
      await syncBetween(ana, ben);
      await setFacts(ben, standing, sizes.events / 2, sizes.keys);
      await syncBetween(ana, ben);
      for (const away of ["away-full", "away-snapshot"]) await ana.snapshots.setDormant(personNamed(ana, away), true);
      say("a snapshot is made and signed…");
      const made = performance.now();
      const cpu = usage().cpuMs;
      await ana.snapshots.make();
      say(`  made in ${seconds(performance.now() - made)} s, ${seconds(usage().cpuMs - cpu)} of CPU`);
      await syncBetween(ana, ben);
      await ben.snapshots.look();
      await setFacts(ben, standing, sizes.tail, sizes.keys);
      await syncBetween(ana, ben);

      const rows: Row[] = [];
      const wants = (name: string): boolean => only.length === 0 || only.includes(name);
      if (wants("all events")) rows.push(await catchUp("all events", full, ben, join(folder, "away-full")));
      const pruned = performance.now();
      const cpuBefore = usage().cpuMs;
      const { bodies } = await ben.snapshots.prune();
      say(
        `  ${bodies} bodies dropped in ${seconds(performance.now() - pruned)} s, ${seconds(usage().cpuMs - cpuBefore)} of CPU`,
      );
      returning.peers = [ben];
      if (wants("snapshot")) rows.push(await catchUp("snapshot", returning, ben, join(folder, "away-snapshot")));
      for (const mate of [full, returning])
        if (rows.length === 2 && hashOf(mate) !== hashOf(ana)) throw new Error(`${mate.member.name} is not equal`);
      return rows;
    } finally {
      for (const mate of open) {
        await mate.close();
        await mate.member.replica.close();
        await mate.member.replica.store.close();
      }
      await rm(folder, { recursive: true, force: true });
    }
  },
};

/** Ana founds, the others are in; each over a file of its own. */
async function makeTeam(folder: string, names: string[]): Promise<{ members: TestMember[]; time: TestTime }> {
  const time = testTime();
  const founder = await foundMesh(names[0]!, time);
  const joined = [founder];
  for (const name of names.slice(1)) joined.push(await admitMember(founder, name));
  await founder.replica.idle();
  const records = founder.replica.records();
  const members: TestMember[] = [];
  for (const { name, replica, epochKeys } of joined) {
    await replica.close();
    const openStore = () => openLibsqlStore({ file: join(folder, name) });
    members.push(await openMember(name, replica.mesh, { time, epochKeys, records, openStore }));
  }
  return { members, time };
}

async function setFacts(mate: Mate, standing: Map<string, EventId>, count: number, keys: number): Promise<void> {
  for (let at = 0; at < count; at += BATCH) {
    const names = Array.from({ length: Math.min(BATCH, count - at) }, (_, i) => `fact/${(at + i) % keys}`);
    const done = await mate.member.replica.append(
      names.map((key, i) => {
        const old = standing.get(key);
        const json = JSON.stringify(`${at + i} ${"x".repeat(VALUE_CHARACTERS)}`);
        const value = factSetValue({ scope: null, key, json, replaces: old === undefined ? [] : [old] });
        return { kind: "fact-set", audience: "mesh" as const, value };
      }),
    );
    names.forEach((key, i) => standing.set(key, done[i]!.id));
  }
  await mate.facts.settled();
}

/** One sync, and the state if bodies lack. */
async function catchUp(name: string, mate: Mate, from: Mate, file: string): Promise<Row> {
  const before = [...mate.member.replica.vector().values()].reduce((sum, { seq }) => sum + seq + 1, 0);
  const began = performance.now();
  const cpuBefore = usage().cpuMs;
  let wireBytes = await syncBetween(mate, from);
  await mate.snapshots.look();
  await mate.facts.settled();
  const tookSeconds = (performance.now() - began) / 1000;
  const cpuSeconds = (usage().cpuMs - cpuBefore) / 1000;
  const stateBytes = mate.base.current()?.state.length ?? 0;
  wireBytes += stateBytes;
  const after = [...mate.member.replica.vector().values()].reduce((sum, { seq }) => sum + seq + 1, 0);
  const opened = performance.now();
  const again = await mateOf(mate.member);
  const foldSeconds = (performance.now() - opened) / 1000;
  await again.close();
  return {
    name,
    events: after - before,
    wireMib: rounded(wireBytes / MIB, 2),
    stateMib: rounded(stateBytes / MIB, 2),
    seconds: rounded(tookSeconds, 2),
    cpuSeconds: rounded(cpuSeconds, 2),
    foldSeconds: rounded(foldSeconds, 2),
    fileMib: rounded(((await stat(file)).size + (await stat(`${file}-wal`)).size) / MIB, 2),
  };
}

/** Until both have what the other had. Returns the bytes that went over the wire, both ways. */
async function syncBetween(a: Mate, b: Mate): Promise<number> {
  let bytes = 0;
  const tap = (_from: string, frame: Uint8Array): Uint8Array => {
    bytes += frame.length;
    return frame;
  };
  const syncing = startSync(a.member, b.member, { tap });
  await Promise.race([syncing.caughtUp, syncing.ends.then((ends) => Promise.reject(new Error(JSON.stringify(ends))))]);
  await syncing.stop();
  for (const { member, facts } of [a, b]) {
    await member.replica.idle();
    await facts.settled();
  }
  return bytes;
}

function personNamed({ member }: Mate, name: string) {
  return [...member.replica.membership().members.values()].find((one) => one.name === name)!.person;
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(1);
}

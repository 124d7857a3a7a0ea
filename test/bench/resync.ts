/**
 * How long a member who was away takes to have what a colleague wrote: two processes, one TCP connection on loopback, both
 * `log.db` on this disk. kin: everything a node does but the libp2p stream under it: runs, hashes, one signature a run, one
 * transaction a run, fsynced, told to views; a body is opened when somebody asks what it says, and nobody does. kin-viewed: a
 * view asks it of each, as a node's views do of facts, notes and calls, and has folded all. The floor: the same bytes over the same
 * connection into the same tables with as many transactions, without hash, signature, opening or view. In turn, several rounds; medians.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { idOf } from "../../protocols/ids.ts";
import { logIdOf } from "../../protocols/events.ts";
import { encodeSyncFrame, type VectorEntry } from "../../protocols/sync.ts";
import { takeClaim, wantsOf, type PeerLogs } from "../../sync/reconcile.ts";
import { bytesOf, deviceOf, mesh } from "../sync/chains.ts";
import { startChild } from "./child.ts";
import type { Bench, BenchOptions, Row } from "./main.ts";
import { median, rounded } from "./measure.ts";
import { prepareLog } from "./resync/prepare.ts";
import type { Resynced } from "./resync/side.ts";

const FULL = { events: 100_000, automergeEvents: 3_000, rounds: 3, flushes: [64, 8, 1] };
const QUICK = { events: 2_000, automergeEvents: 200, rounds: 1, flushes: [64] };
/** Two histories of so many events, by so many people, that differ in so many. */
const FINDING = { events: 100_000, people: 100, differences: 100 };

const SIDE = join(import.meta.dirname, "resync/side.ts");
const AUTOMERGE = join(import.meta.dirname, "resync/automerge.ts");

export const resyncBench: Bench = {
  title: `resync of ${FULL.events.toLocaleString("en-US")} events (automerge: ${FULL.automergeEvents.toLocaleString("en-US")}), durable at the receiver; medians of ${FULL.rounds}`,
  columns: {
    name: "system",
    flush: "events a flush",
    events: "events",
    seconds: "seconds",
    ratio: "× floor",
    cpuSeconds: "receiver's CPU s",
    cpuRatio: "× floor's CPU",
    eventsPerSecond: "events/s",
    rssMb: "peak RSS MB",
    bytes: "bytes",
    roundTrips: "round trips",
  },
  async measure(options) {
    const folder = mkdtempSync(join(tmpdir(), "kin-resync-"));
    try {
      const rows = await resyncs(folder, options);
      if (wants(options, "automerge")) rows.push(await automerge(folder, options));
      if (wants(options, "find-100-differences")) rows.push(finding());
      return rows;
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function wants({ only }: BenchOptions, name: string): boolean {
  return only.length === 0 || only.includes(name);
}

async function resyncs(folder: string, options: BenchOptions): Promise<Row[]> {
  const { events, rounds, flushes } = options.quick ? QUICK : FULL;
  const systems = [
    ...flushes.map((flush) => ({ name: "kin", flush })),
    { name: "kin-viewed", flush: flushes[0]! },
    { name: "unsigned-floor", flush: flushes[0]! },
  ].filter(({ name }) => wants(options, name));
  const logs = new Map<number, string>();
  for (const { flush } of systems) {
    options.say(`writing ${events} events, a head each ${flush}`);
    if (!logs.has(flush)) logs.set(flush, await prepareLog(folder, events, flush));
  }
  const seen = systems.map((system) => ({ ...system, runs: [] as Resynced[] }));
  for (let round = 0; round < rounds; round++)
    for (const { name, flush, runs } of seen) {
      const run = await resync(folder, name, logs.get(flush)!, `${name}-${flush}-${round}.db`);
      if (run.events !== events) throw new Error(`${name} received ${run.events} of ${events} events`);
      options.say(`${name} ${flush}: ${run.seconds.toFixed(2)} s, ${run.rssMb.toFixed(0)} MB`);
      runs.push(run);
    }
  const of = (runs: Resynced[], field: keyof Resynced): number => median(runs.map((run) => run[field]));
  const floor = seen.find(({ name }) => name === "unsigned-floor");
  return seen.map(({ name, flush, runs }) => {
    const seconds = of(runs, "seconds");
    return {
      name,
      flush,
      events,
      seconds: rounded(seconds, 2),
      cpuSeconds: rounded(of(runs, "cpuSeconds"), 2),
      ...(floor !== undefined && {
        ratio: rounded(seconds / of(floor.runs, "seconds"), 2),
        cpuRatio: rounded(of(runs, "cpuSeconds") / of(floor.runs, "cpuSeconds"), 2),
      }),
      eventsPerSecond: Math.round(events / seconds),
      rssMb: Math.round(of(runs, "rssMb")),
      bytes: of(runs, "bytes"),
    };
  });
}

async function resync(folder: string, system: string, log: string, name: string): Promise<Resynced> {
  const source = await startChild(SIDE, ["source", system, folder, log]);
  const sink = await startChild(SIDE, ["sink", system, folder, join(folder, name)]);
  try {
    return await sink.ask<Resynced>(source.ready);
  } finally {
    await Promise.all([sink.stop(), source.stop()]);
    rmSync(join(folder, name), { force: true });
    rmSync(join(folder, `${name}-wal`), { force: true });
  }
}

async function automerge(folder: string, options: BenchOptions): Promise<Row> {
  const { automergeEvents, rounds } = options.quick ? QUICK : FULL;
  const changes = join(folder, "changes");
  options.say(`making ${automergeEvents} changes with Automerge`);
  const maker = await startChild(AUTOMERGE, ["make", changes, String(automergeEvents)]);
  await maker.ask({});
  await maker.stop();
  const runs: Resynced[] = [];
  for (let round = 0; round < rounds; round++) {
    const child = await startChild(AUTOMERGE, ["apply", changes, join(folder, "saved")]);
    runs.push(await child.ask<Resynced>({}));
    await child.stop();
  }
  const seconds = median(runs.map((run) => run.seconds));
  return {
    name: "automerge",
    flush: 1,
    events: automergeEvents,
    seconds: rounded(seconds, 2),
    cpuSeconds: rounded(median(runs.map((run) => run.cpuSeconds)), 2),
    eventsPerSecond: Math.round(automergeEvents / seconds),
    rssMb: Math.round(median(runs.map((run) => run.rssMb))),
    bytes: runs[0]!.bytes,
  };
}

/**
 * What passes until a replica knows what it lacks: both vectors cross, then its want; the runs come with the answer. Frames of
 * the real codec, wants of the real reconcile.
 */
function finding(): Row {
  const { events, people, differences } = FINDING;
  const each = events / people;
  const entries = Array.from({ length: people }, (_, i): VectorEntry => {
    const opening = {
      device: deviceOf(`person ${i}`).id,
      incarnation: bytesOf(`life ${i}`).subarray(0, 16),
      chain: "mesh" as const,
    };
    return { log: logIdOf(mesh, opening), opening, seq: each - 1, id: idOf(bytesOf(`last of ${i}`)) };
  });
  const lacking = entries.map((entry, i) => ({
    ...entry,
    seq: entry.seq - differences / people,
    id: idOf<"event">(bytesOf(`before ${i}`)),
  }));
  const frame = (logs: VectorEntry[]): Uint8Array =>
    encodeSyncFrame({ type: "vector", full: true, roster: [idOf(bytesOf("roster"))], logs });
  const heard: PeerLogs = new Map();
  for (const entry of entries) takeClaim(heard, entry);
  const wanted = wantsOf(new Map(lacking.map((entry) => [entry.log, entry])), heard, () => true);
  const found = wanted.reduce((sum, { from, to }) => sum + to - from + 1, 0);
  if (found !== differences) throw new Error(`${found} differences were found, expected ${differences}`);
  const want = encodeSyncFrame({ type: "want", logs: wanted, bodies: [] });
  const bytes = frame(entries).length + frame(lacking).length + want.length;
  return { name: "find-100-differences", events, bytes, roundTrips: 1 };
}

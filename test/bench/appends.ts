/**
 * Durable appends a second, by so many writers that each wait for their own: `kin` through the log (stamp, seal, hash, a signed
 * head a flush, group commit), `store` events made before (group commit alone), `single-commits` such events with a transaction
 * each, in the thread that asks, `fdatasync` a file that is written and synced for each append. In turn, several rounds; medians.
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { openLogFile } from "../../sync/stores/log-file.ts";
import { packBatches } from "../../sync/stores/packed-batch.ts";
import { epoch, epochKey, makeChain, openAnasLog, type ChainOfEvents } from "../sync/chains.ts";
import type { Bench, Row } from "./main.ts";
import { median, rounded } from "./measure.ts";

const WRITERS = [1, 16, 64];
/** Appends of each writer in one round. */
const FULL = { each: 400, single: 2_000, rounds: 5 };
const QUICK = { each: 5, single: 20, rounds: 1 };
const TEXT = "a note of about a hundred bytes, as people and agents write them to each other all day long";
/** What SQLite writes for a small transaction. */
const PAGE_BYTES = 4096;

/** Makes `count` appends with so many writers; returns ms and transactions. */
type System = (file: string, writers: number, count: number) => Promise<{ ms: number; commits: number }>;

const SYSTEMS: { [name: string]: { writers: number[]; run: System } } = {
  kin: { writers: WRITERS, run: throughLog },
  store: { writers: WRITERS, run: throughStore },
  "single-commits": { writers: [1], run: oneByOne },
  fdatasync: { writers: [1], run: synced },
};

export const appendsBench: Bench = {
  title: `appends: durable appends a second; medians of ${FULL.rounds} rounds`,
  columns: {
    name: "system",
    writers: "writers",
    appendsPerSecond: "appends/s",
    appendsPerCommit: "appends a commit",
    timesSingle: "× single commits",
    timesFdatasync: "× fdatasync",
  },
  async measure({ quick, only }) {
    const { each, single, rounds } = quick ? QUICK : FULL;
    const folder = mkdtempSync(join(tmpdir(), "kin-appends-"));
    const seen = Object.entries(SYSTEMS)
      .filter(([name]) => only.length === 0 || only.includes(name))
      .flatMap(([name, { writers, run }]) =>
        writers.map((count) => ({ name, writers: count, run, perSecond: [] as number[], perCommit: [] as number[] })),
      );
    try {
      // The first round warms up.
      for (let round = 0; round <= rounds; round++)
        for (const [i, { writers, run, perSecond, perCommit }] of seen.entries()) {
          const count = writers === 1 ? single : each * writers;
          const { ms, commits } = await run(join(folder, `${round}-${i}.db`), writers, count);
          if (round === 0 && !quick) continue;
          perSecond.push((count * 1000) / ms);
          perCommit.push(count / commits);
        }
    } finally {
      rmSync(folder, { recursive: true });
    }
    const of = (name: string): number | undefined => {
      const found = seen.find((one) => one.name === name);
      return found && median(found.perSecond);
    };
    return seen.map(({ name, writers, perSecond, perCommit }): Row => {
      const appendsPerSecond = median(perSecond);
      const times = (base: number | undefined): number | string =>
        base === undefined ? "" : rounded(appendsPerSecond / base, 1);
      return {
        name,
        writers,
        appendsPerSecond: Math.round(appendsPerSecond),
        appendsPerCommit: rounded(median(perCommit), 1),
        timesSingle: times(of("single-commits")),
        timesFdatasync: times(of("fdatasync")),
      };
    });
  },
};

async function throughLog(file: string, writers: number, count: number): ReturnType<System> {
  const store = await openLibsqlStore({ file });
  const log = await openAnasLog(store);
  const body = { form: "mesh", epoch, key: epochKey, value: TEXT } as const;
  const append = () => log.append([{ kind: "note", audience: "mesh", body }]);
  await append();
  const before = await store.transactions();
  const ms = await timed(writers, count, append);
  const commits = (await store.transactions()) - before;
  await store.close();
  return { ms, commits };
}

/** Chains are made once: they are the same in each round. */
const chains: ChainOfEvents[] = [];

async function throughStore(file: string, writers: number, count: number): ReturnType<System> {
  const each = count / writers;
  const store = await openLibsqlStore({ file });
  const mine = Array.from({ length: writers }, (_, i) => chainOf(i, each));
  await store.append({ logs: mine.map(({ log, opening }) => ({ log, opening })) });
  const before = await store.transactions();
  const began = performance.now();
  await Promise.all(
    mine.map(async ({ events }) => {
      for (let seq = 0; seq < each; seq++) await store.append({ events: [events[seq]!] });
    }),
  );
  const ms = performance.now() - began;
  const commits = (await store.transactions()) - before;
  await store.close();
  return { ms, commits };
}

function chainOf(number: number, count: number): ChainOfEvents {
  if ((chains[number]?.events.length ?? 0) < count) chains[number] = makeChain(`writer ${number}`, count);
  return chains[number]!;
}

async function oneByOne(file: string, _writers: number, count: number): ReturnType<System> {
  const store = openLogFile({ file });
  const { events, log, opening } = chainOf(0, count);
  store.commit(packBatches([{ logs: [{ log, opening }] }]));
  const began = performance.now();
  for (let seq = 0; seq < count; seq++) store.commit(packBatches([{ events: [events[seq]!] }]));
  const ms = performance.now() - began;
  store.close();
  return { ms, commits: count };
}

async function synced(file: string, _writers: number, count: number): ReturnType<System> {
  const fd = openSync(file, "w");
  const page = Buffer.alloc(PAGE_BYTES, 1);
  const began = performance.now();
  for (let i = 0; i < count; i++) {
    writeSync(fd, page);
    fdatasyncSync(fd);
  }
  const ms = performance.now() - began;
  closeSync(fd);
  return { ms, commits: count };
}

async function timed(writers: number, count: number, append: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  let left = count;
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (left-- > 0) await append();
    }),
  );
  return performance.now() - began;
}

/**
 * Request and reply of 1 KiB on loopback, caller and callee in two processes. All systems are started first and measured in
 * turn, several rounds over: a machine that gets slower meanwhile makes all of them slower. Figures are medians of the rounds.
 */
import { join } from "node:path";
import { NODE_FLAGS } from "../../node/node-flags.ts";
import { startChild, type Child } from "./child.ts";
import { SYSTEMS } from "./calls/system.ts";
import type { Bench, BenchOptions, Row } from "./main.ts";
import { median, type Measured, type Round } from "./measure.ts";
import type { Usage } from "./usage.ts";

const BYTES = 1024;
const IN_FLIGHT = [1, 16, 64];
/** Calls of every system before the first round: after about as many nothing gets faster any more. */
const WARM_UP_CALLS = 20_000;
const FULL = { rounds: 3, warmUpMs: 300, measureMs: 1500, warmUpCalls: WARM_UP_CALLS };
const QUICK = { rounds: 1, warmUpMs: 20, measureMs: 50, warmUpCalls: 0 };

export const callsBench: Bench = {
  title: `calls: request and reply of ${BYTES} bytes on loopback, two processes, warm; medians of ${FULL.rounds} rounds`,
  columns: {
    name: "system",
    encrypter: "encrypter",
    inFlight: "in flight",
    bytes: "bytes",
    p50Us: "p50 µs",
    p95Us: "p95 µs",
    callsPerSecond: "calls/s",
    cpuUs: "CPU µs a call",
    errors: "errors",
  },
  async measure(options) {
    const names = Object.keys(SYSTEMS).filter((name) => options.only.length === 0 || options.only.includes(name));
    await using pairs = await startPairs(names, options);
    const results = await measureRounds(pairs.list, options);
    return pairs.list.flatMap((pair) => IN_FLIGHT.map((inFlight) => rowOf(pair, inFlight, results)));
  },
};

interface Pair {
  name: string;
  encrypter: string;
  callee: Child;
  caller: Child;
}

async function startPairs(
  names: readonly string[],
  options: BenchOptions,
): Promise<AsyncDisposable & { list: Pair[] }> {
  const started: Child[] = [];
  const stop = async (): Promise<void> => {
    for (const child of started.toReversed()) await child.stop();
  };
  const start = async (program: string, ...args: string[]): Promise<Child> => {
    const child = await startChild(
      join(import.meta.dirname, "calls", program),
      args,
      args[0]?.startsWith("kin") ? NODE_FLAGS : [],
    );
    started.push(child);
    return child;
  };
  try {
    const list: Pair[] = [];
    for (const name of names) {
      options.say(`starting ${name}`);
      const callee = await start("callee.ts", name);
      const caller = await start("caller.ts", name, (callee.ready as { address: string }).address);
      list.push({ name, callee, caller, encrypter: (caller.ready as { encrypter: string }).encrypter });
    }
    return { list, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** name and number in flight → what each round measured */
type Results = Map<string, Result[]>;
type Result = Measured & { cpuUs: number };

async function measureRounds(pairs: readonly Pair[], options: BenchOptions): Promise<Results> {
  const { rounds, warmUpCalls, ...times } = options.quick ? QUICK : FULL;
  const results: Results = new Map();
  for (const { name, caller } of pairs) {
    options.say(`warming up ${name}`);
    await caller.ask({ warmUpCalls, bytes: BYTES });
  }
  for (let i = 1; i <= rounds; i++) {
    options.say(`round ${i} of ${rounds}`);
    for (const inFlight of IN_FLIGHT)
      for (const pair of pairs) {
        const round: Round = { inFlight, bytes: BYTES, ...times };
        const key = `${pair.name} ${inFlight}`;
        results.set(key, [...(results.get(key) ?? []), await measurePair(pair, round)]);
      }
  }
  return results;
}

/** CPU of both processes: on a busy machine it says more than the clock does. */
async function measurePair({ caller, callee }: Pair, round: Round): Promise<Result> {
  const before = await callee.ask<Usage>(null);
  const measured = await caller.ask<Measured>(round);
  const after = await callee.ask<Usage>(null);
  const cpuMs = measured.cpuMs + after.cpuMs - before.cpuMs;
  return { ...measured, cpuUs: (cpuMs * 1000) / Math.max(1, measured.calls) };
}

function rowOf({ name, encrypter }: Pair, inFlight: number, results: Results): Row {
  const rounds = results.get(`${name} ${inFlight}`)!;
  const middle = (field: "p50Us" | "p95Us" | "callsPerSecond" | "cpuUs"): number =>
    Math.round(median(rounds.map((round) => round[field])));
  return {
    name,
    inFlight,
    bytes: BYTES,
    p50Us: middle("p50Us"),
    p95Us: middle("p95Us"),
    callsPerSecond: middle("callsPerSecond"),
    cpuUs: middle("cpuUs"),
    errors: rounds.reduce((sum, { errors }) => sum + errors, 0),
    encrypter,
  };
}

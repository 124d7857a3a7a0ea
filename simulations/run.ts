/**
 * `node simulations/run.ts <scenario> --seed 7`: plays one scenario and says what became of it; exit code 1 if anything was
 * violated. The same seed plays the same events: a failing one is printed with the command that plays it again.
 */
import { parseArgs } from "node:util";
import { play, type Result, type Scenario } from "./scenario.ts";
import { SCENARIOS } from "./scenarios/all.ts";

const USAGE_ERROR = 2;
const HELP = `usage: node simulations/run.ts <scenario> [--seed N | --seeds A..B] [--peers N] [--json]

  --seed N      the seed to play (default 1)
  --seeds A..B  each seed from A to B, one line each; stops at nothing, ends with exit code 1 if one failed
  --peers N     how many machines the mesh has
  --json        {scenario, seed, peers, events, virtualMs, traceHash, violations, stats} instead of words

scenarios:
${SCENARIOS.map(({ name, summary, peers }) => `  ${name.padEnd(26)}${summary} (${peers.default} peers)`).join("\n")}
`;

interface Wanted {
  scenario: Scenario;
  from: number;
  to: number;
  peers: number;
  json: boolean;
}

/** What was asked for, or the sentence that says what is wrong with it. */
function readArguments(args: readonly string[]): Wanted | string | null {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        seed: { type: "string" },
        seeds: { type: "string" },
        peers: { type: "string" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
  } catch (error) {
    return (error as Error).message;
  }
  const { values, positionals } = parsed;
  if (values.help || positionals.length === 0) return null;
  if (positionals.length > 1) return `one scenario at a time, not ${positionals.length}`;
  const scenario = SCENARIOS.find(({ name }) => name === positionals[0]);
  if (scenario === undefined)
    return `no scenario "${positionals[0]}": there are ${SCENARIOS.map(({ name }) => name).join(", ")}`;
  const { least, most, default: usual } = scenario.peers;
  const peers = values.peers === undefined ? usual : Number(values.peers);
  if (!Number.isInteger(peers) || peers < least || peers > most)
    return `--peers ${values.peers}: ${scenario.name} needs a whole number from ${least} to ${most}`;
  const seeds = /^(\d+)\.\.(\d+)$/.exec(values.seeds ?? `${values.seed ?? 1}..${values.seed ?? 1}`);
  const [from, to] = [Number(seeds?.[1]), Number(seeds?.[2])];
  if (seeds === null || !Number.isSafeInteger(to) || from > to)
    return values.seeds === undefined
      ? `--seed ${values.seed}: a seed is a whole number from 0 on`
      : `--seeds ${values.seeds}: two whole numbers like 1..100, the smaller first`;
  return { scenario, from, to, peers, json: values.json };
}

function describe(result: Result): string {
  const { scenario, seed, peers, events, virtualMs, traceHash, violations, stats } = result;
  const lines = [
    `${scenario}: ${peers} peers, seed ${seed}: ${events} events in ${(virtualMs / 1000).toFixed(1)} virtual s, trace ${traceHash.slice(0, 16)}`,
    ...Object.entries(stats).map(([figure, count]) => `  ${figure}: ${count}`),
    violations.length === 0 ? "nothing violated" : `${violations.length} violated:`,
    ...violations.map((sentence) => `  ${sentence}`),
  ];
  return lines.join("\n");
}

function replayOf({ scenario, seed, peers }: Result): string {
  return `node simulations/run.ts ${scenario} --seed ${seed} --peers ${peers}`;
}

const wanted = readArguments(process.argv.slice(2));
if (wanted === null || typeof wanted === "string") {
  if (wanted === null) console.log(HELP);
  else console.error(`${wanted}\n\n${HELP}`);
  process.exit(wanted === null ? 0 : USAGE_ERROR);
}

const failed: Result[] = [];
for (let seed = wanted.from; seed <= wanted.to; seed++) {
  const result = await play(wanted.scenario, seed, wanted.peers);
  const isBad = result.violations.length > 0;
  if (isBad) failed.push(result);
  if (wanted.json) console.log(JSON.stringify(result));
  else if (wanted.from === wanted.to) console.log(describe(result));
  else
    console.log(
      `seed ${seed}: ${isBad ? "VIOLATED" : "good"}, ${result.events} events, ${result.traceHash.slice(0, 16)}${isBad ? `\n  ${result.violations[0]}` : ""}`,
    );
}
if (!wanted.json && wanted.from !== wanted.to)
  console.log(`${wanted.to - wanted.from + 1} runs, ${failed.length} violated`);
for (const result of failed) console.error(`play it again: ${replayOf(result)}`);
process.exitCode = failed.length === 0 ? 0 : 1;

/**
 * The whole process of `kin status` on a running node, as a user waits for it, against `node -e 0`: what Node itself takes to
 * start and end. In turn, several runs; medians.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { makeHome, removeHome } from "./kin-node.ts";
import type { Bench } from "./main.ts";
import { median, percentile, rounded } from "./measure.ts";

const MAIN = join(import.meta.dirname, "../../node/main.ts");
const FULL = { runs: 21, warmUps: 3 };
const QUICK = { runs: 2, warmUps: 1 };

export const statusBench: Bench = {
  title: `status: spawn to exit of a whole process; medians of ${FULL.runs} runs`,
  columns: { name: "command", wallMs: "ms", p95Ms: "p95 ms", ratio: "× node -e 0", runs: "runs" },
  async measure(options) {
    const { runs, warmUps } = options.quick ? QUICK : FULL;
    const home = makeHome("ben");
    const env = { ...process.env, KIN_HOME: home.dataFolder };
    const commands = { "node -e 0": ["-e", "0"], "kin status": [MAIN, "status"] };
    try {
      await run([MAIN, "up"], env);
      const seen = Object.entries(commands).map(([name, args]) => ({ name, args, wallMs: [] as number[] }));
      for (let i = 0; i < warmUps + runs; i++)
        for (const { args, wallMs } of seen) {
          const took = await run(args, env);
          if (i >= warmUps) wallMs.push(took);
        }
      const floor = median(seen[0]!.wallMs);
      return seen.map(({ name, wallMs }) => ({
        name,
        wallMs: rounded(median(wallMs), 1),
        p95Ms: rounded(
          percentile(
            wallMs.toSorted((a, b) => a - b),
            0.95,
          ),
          1,
        ),
        ratio: rounded(median(wallMs) / floor, 1),
        runs,
      }));
    } finally {
      spawnSync(process.execPath, [MAIN, "down"], { env, stdio: "ignore" });
      removeHome(home);
    }
  },
};

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const began = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "ignore", "inherit"] });
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}`);
  return performance.now() - began;
}

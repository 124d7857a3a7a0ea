/** `kin ping ana`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, duration } from "./output.ts";
import { parseCount } from "./parse.ts";
import { SKEW_WARN_MS } from "../../protocols/limits.ts";

const MAX_PINGS = 100;

export async function ping(context: Context, to: string, options: { count: string }): Promise<number> {
  const { output } = context;
  const count = parseCount(options.count, "--count", MAX_PINGS);
  const client = await connectControl(context.home.socketPath);
  const item = ({ ms }: { ms: number }): void => output.line(`${to}: ${ms.toFixed(2)} ms`);
  const result = await client.request("ping", { to, count }, { item, signal: context.signal });
  client.close();
  output.object(result);
  output.line(
    `${result.peer}, ${result.path}: ${result.minMs.toFixed(2)} / ${result.avgMs.toFixed(2)} / ${result.maxMs.toFixed(2)} ms (least, mean, most)`,
  );
  if (result.skewMs !== null && Math.abs(result.skewMs) > SKEW_WARN_MS)
    output.line(
      `warning: ${result.peer}'s clock is ${duration(Math.abs(result.skewMs))} ${result.skewMs > 0 ? "ahead of" : "behind"} yours`,
    );
  return EXIT.ok;
}

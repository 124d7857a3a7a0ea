/** `kin audit log`: who called what on this machine, the newest last. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, table } from "./output.ts";
import { parseCount } from "./parse.ts";

const MAX_LIMIT = 10_000;

export async function auditLog(context: Context, options: { limit: string }): Promise<number> {
  const limit = parseCount(options.limit, "--limit", MAX_LIMIT);
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request("audit-log", { limit }, { signal: context.signal });
  client.close();
  context.output.object({ items });
  const rows = items.map((item) => [
    new Date(item.at).toISOString(),
    item.event,
    item.caller,
    item.target,
    item.outcome ?? "-",
    item.ms === null ? "-" : `${item.ms} ms`,
  ]);
  if (rows.length === 0) context.output.line("nothing has been called here yet");
  else await table(context.output, ["when", "event", "caller", "target", "outcome", "took"], rows);
  return EXIT.ok;
}

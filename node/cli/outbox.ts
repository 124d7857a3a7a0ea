/** `kin outbox ls`, `kin outbox drop`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, duration, table } from "./output.ts";

export async function outboxList(context: Context): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request("outbox-ls", {}, { signal: context.signal });
  client.close();
  context.output.object({ items });
  const now = Date.now();
  const rows = items.map((item) => [
    item.to,
    duration(now - item.askedAt),
    duration(item.expiresAt - now),
    item.id,
    item.why,
  ]);
  if (rows.length === 0) context.output.line("nothing waits");
  else await table(context.output, ["to", "asked ago", "expires in", "id", "waits because"], rows);
  return EXIT.ok;
}

export async function outboxDrop(context: Context, id: string): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const dropped = await client.request("outbox-drop", { id }, { signal: context.signal });
  client.close();
  context.output.object(dropped);
  context.output.line(`taken back: ${dropped.id}`);
  return EXIT.ok;
}

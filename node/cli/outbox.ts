/** `kin outbox ls`, `retry`, `drop`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { rewriteCommands } from "./hint.ts";
import { EXIT, duration, table } from "./output.ts";
import type { OutboxItem } from "../gateway/control-api.ts";

const STATES: Record<OutboxItem["state"], string> = {
  here: "waits here",
  carried: "under way with others",
  sent: "sent, not answered",
  answered: "answered",
  withdrawn: "taken back",
  expired: "expired",
  gone: "its device was removed",
};

export async function outboxList(context: Context, options: { all?: boolean }): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request("outbox-ls", { all: options.all ?? false }, { signal: context.signal });
  client.close();
  context.output.object({ items });
  const now = Date.now();
  const rows = items.map((item) => [
    item.to,
    item.what,
    duration(now - item.askedAt),
    item.expiresAt > now ? duration(item.expiresAt - now) : "over",
    STATES[item.state],
    item.id,
    item.why,
  ]);
  if (rows.length === 0) context.output.line("nothing waits");
  else await table(context.output, ["to", "what", "asked ago", "expires in", "state", "id", "why"], rows);
  return EXIT.ok;
}

export async function outboxDrop(context: Context, id: string): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const dropped = await client.request("outbox-drop", { id }, { signal: context.signal });
  client.close();
  context.output.object(dropped);
  context.output.line(dropped.said);
  return EXIT.ok;
}

/** It has ended and nothing was done about it: that is a failure. */
const RETRY_EXIT = { answered: EXIT.ok, waits: EXIT.queued, "asked-again": EXIT.queued, ended: EXIT.failed };

export async function outboxRetry(context: Context, id: string, options: { again?: boolean }): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const tried = await client.request(
    "outbox-retry",
    { id, again: options.again ?? false },
    { item: ({ said }) => output.note(said), signal: context.signal },
  );
  client.close();
  const hint = tried.hint === null ? null : rewriteCommands(tried.hint, context.env);
  output.object({ ...tried, hint });
  output.line(tried.said);
  if (hint !== null) output.line(`  ${hint}`);
  return RETRY_EXIT[tried.outcome];
}

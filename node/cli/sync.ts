/** `kin sync status`, `now`, `why`, `allow`, `reissue`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { rewriteCommands } from "./hint.ts";
import { EXIT, counted, duration, table } from "./output.ts";
import type { SyncPeer, SyncStatus } from "../gateway/control-api.ts";

export async function syncStatus(context: Context): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const state = await client.request("sync-status", {}, { signal: context.signal });
  client.close();
  output.object(state);
  const now = Date.now();
  if (state.items.length === 0) output.line("there is no other device in the mesh");
  else await table(output, ["device", "online", "last in step", "it lacks", "we lack"], state.items.map(row));
  output.line("");
  for (const [name, text] of lines(state, context)) output.line(`${name.padEnd(12)}${text}`);
  return EXIT.ok;

  function row(item: SyncPeer): string[] {
    const count = (lacks: number | null): string =>
      lacks === null ? "?" : lacks === 0 ? "nothing" : counted(lacks, "event");
    const inStep = item.inStepAt === null ? "never" : ago(now - item.inStepAt);
    return [item.peer, item.online ? "yes" : "no", inStep, count(item.theyLack), count(item.weLack)];
  }
}

function ago(ms: number): string {
  return ms < 1000 ? "now" : `${duration(ms)} ago`;
}

/** What there is, and only those troubles that there are. */
function lines(state: SyncStatus, context: Context): [name: string, text: string][] {
  const some = (count: number, name: string, text: string): [string, string][] =>
    count === 0 ? [] : [[name, `${count} ${text}`]];
  return [
    [
      "this node",
      `${counted(state.events, "event")} of ${counted(state.logs.length, "log")}${state.isWhole ? "" : " (not all of them looked at yet)"}`,
    ],
    ...some(state.held, "held", "stamped ahead of this clock: they count later"),
    ...some(
      state.quarantined,
      "quarantined",
      "without effect: their author was removed before, or their log was forked",
    ),
    ...some(state.unreadable, "unreadable", "whose key has not come yet"),
    ...some(state.withoutBody, "no body", "of which only the header has come"),
    ...some(state.damaged, "damaged", "that cannot be opened"),
    ...some(state.outbox, "outbox", `waiting: ${context.command("outbox ls")}`),
    ...some(state.asked, "asked", "calls of others that this device is to run"),
    ...some(state.blobs, "attachments", "kept for calls that wait"),
  ];
}

/** Exit 0: somebody was reached and all who were are in step, or there is nobody; 1 otherwise. */
export async function syncNow(context: Context): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request(
    "sync-now",
    {},
    { item: (synced) => output.line(synced.said), signal: context.signal },
  );
  client.close();
  output.object({ items });
  if (items.length === 0) output.line("there is no other device in the mesh");
  const reached = items.filter((item) => item.reached);
  if (items.length > 0 && reached.length === 0) output.line("nobody is reachable now");
  return (items.length === 0 || reached.length > 0) && reached.every((item) => item.inStep) ? EXIT.ok : EXIT.failed;
}

export async function syncWhy(context: Context, item: string): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const why = await client.request("sync-why", { item }, { signal: context.signal });
  client.close();
  const hint = why.hint === null ? null : rewriteCommands(why.hint, context.env);
  output.object({ ...why, hint });
  for (const sentence of why.said) output.line(sentence);
  if (hint !== null) output.line(`  ${hint}`);
  return EXIT.ok;
}

export async function syncAllow(context: Context, who: string): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const allowed = await client.request("sync-allow", { who }, { signal: context.signal });
  client.close();
  output.object(allowed);
  output.line(`what ${allowed.device} writes counts again (${allowed.logs} logs)`);
  return EXIT.ok;
}

export async function syncReissue(context: Context, events: string[]): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request("sync-reissue", { events }, { signal: context.signal });
  client.close();
  output.object({ items });
  for (const { event, again } of items) output.line(`${event.slice(0, 16)}… is said again as ${again}`);
  return EXIT.ok;
}

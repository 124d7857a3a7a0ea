/** `kin peers`, `agents`, `tools`, `members`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, duration, table } from "./output.ts";
import type { AgentItem, MemberItem, PeerItem, Result, ToolItem } from "../gateway/control-api.ts";

type ListVerb = "peers" | "agents" | "tools" | "members";
type ItemOf<V extends ListVerb> = Result<V>["items"][number];

async function list<V extends ListVerb>(
  context: Context,
  verb: V,
  head: string[],
  row: (item: ItemOf<V>) => string[],
  empty: string,
): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request(verb, {}, { signal: context.signal });
  client.close();
  context.output.object({ items });
  if (items.length === 0) context.output.line(empty);
  else await table(context.output, head, (items as ItemOf<V>[]).map(row));
  return EXIT.ok;
}

export function agents(context: Context): Promise<number> {
  const row = (item: AgentItem): string[] => [
    item.address,
    online(item.online),
    item.mayAsk ? "yes" : "no",
    item.shares.join(", ") || "-",
    item.description,
  ];
  return list(context, "agents", ["agent", "online", "may ask", "shares", "does"], row, "no agents are known yet");
}

export function tools(context: Context): Promise<number> {
  const row = (item: ToolItem): string[] => [
    item.address,
    online(item.online),
    item.mayCall ? "yes" : "no",
    item.readOnly ? "reads" : "changes",
    item.description,
  ];
  return list(context, "tools", ["tool", "online", "may call", "effect", "does"], row, "no tools are known yet");
}

/** `kin tools approve everything.echo`: accepts what a tool of an MCP server says of itself now. */
export async function toolsApprove(context: Context, name: string): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const approved = await client.request("tools-approve", { name }, { signal: context.signal });
  client.close();
  context.output.object(approved);
  context.output.line(`${approved.name} is on again, as its server describes it now`);
  return EXIT.ok;
}

export function peers(context: Context): Promise<number> {
  const row = (item: PeerItem): string[] => [
    `${item.person}@${item.device}`,
    online(item.online),
    item.path,
    item.rttMs === null ? "-" : `${item.rttMs.toFixed(1)} ms`,
    item.encrypter ?? "-",
    item.address ?? (item.lastSeenAt === null ? "never seen" : `seen ${duration(Date.now() - item.lastSeenAt)} ago`),
  ];
  return list(
    context,
    "peers",
    ["peer", "online", "path", "round trip", "encrypted", "address"],
    row,
    "no peers are known yet",
  );
}

export function members(context: Context): Promise<number> {
  const row = (item: MemberItem): string[] => [
    item.me ? `${item.name} (you)` : item.name,
    item.role,
    item.devices.map((device) => `${device.name}${device.online ? "" : " (offline)"}`).join(", "),
    item.person,
  ];
  return list(context, "members", ["name", "role", "devices", "id"], row, "there is no mesh yet");
}

function online(isOnline: boolean): string {
  return isOnline ? "yes" : "no";
}

/** `kin device add`, `ls`, `remove`: the machines of one person. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { commandElsewhere } from "./hint.ts";
import { printCode } from "./invite.ts";
import { EXIT, duration, table } from "./output.ts";
import { parseDuration } from "./parse.ts";

export async function deviceAdd(context: Context, options: { expires: string; qr?: boolean }): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const params = { expiresMs: parseDuration(options.expires, "--expires") };
  const made = await client.request("device-add", params, { signal: context.signal });
  client.close();
  const command = commandElsewhere(`join ${made.ticket}`);
  output.object({ ...made, command });
  output.line(
    `Ticket for another machine of yours in ${made.mesh}, valid ${duration(made.expiresAt - Date.now())}, once.`,
  );
  output.line("Whoever has it becomes you: give it to nobody.");
  output.line();
  output.line(made.ticket);
  output.line();
  if (!context.json) await printCode(output, made.ticket, options.qr === true);
  output.line("On the other machine:");
  output.line(`  ${command}`);
  return EXIT.ok;
}

export async function deviceList(context: Context): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request("device-ls", {}, { signal: context.signal });
  client.close();
  context.output.object({ items });
  const rows = items.map((item) => [
    item.device,
    item.me ? "this one" : item.online ? "online" : "offline",
    item.peerId,
  ]);
  await table(context.output, ["machine", "state", "peer id"], rows);
  return EXIT.ok;
}

export async function deviceRemove(context: Context, name: string): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const removed = await client.request("device-rm", { name }, { signal: context.signal });
  client.close();
  context.output.object(removed);
  context.output.line(
    `${removed.device} is no machine of yours any more: it is cut off at every node, and reads nothing new`,
  );
  return EXIT.ok;
}

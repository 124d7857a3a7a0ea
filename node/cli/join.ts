/**
 * `kin join kint1…`: what can be known from the ticket alone is said before anything is made or dialled; then the node is
 * started, with keys and a name if these are the first ones, and it joins.
 */
import type { Context } from "./context.ts";
import { EXIT, duration } from "./output.ts";
import { parseName } from "./parse.ts";
import { ensureNode } from "./up.ts";
import { readDevicePublicKey } from "../keystore.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import { parseTicket, type Ticket } from "../../protocols/ticket.ts";

export async function join(context: Context, pieces: string[], options: { as?: string }): Promise<number> {
  const { output } = context;
  const as = options.as === undefined ? null : parseName(options.as, "--as");
  const text = pieces.join("");
  const { ticket, warning } = readTicket(text, context.home.keysFolder);
  output.note(
    ticket.role === "device"
      ? `mesh ${ticket.meshName}, as a machine of ${ticket.inviterName}`
      : `mesh ${ticket.meshName}, invited by ${ticket.inviterName}, as ${ticket.role}`,
  );
  if (warning === null) output.note(`the ticket is valid for ${duration(ticket.expiresAt - Date.now())} by this clock`);
  else process.stderr.write(`kin: warning: ${warning}\n`);

  const { client } = await ensureNode(context, as, ticket.guestName);
  const item = ({ step }: { step: string }): void => output.note(step);
  const joined = await client.request("join", { ticket: text, as }, { item, signal: context.signal });
  client.close();
  output.object({ ...joined, warnings: warning === null ? [] : [warning] });
  if (joined.archived !== null) output.line(`Your own mesh, which had no other member, is kept in ${joined.archived}.`);
  output.line(
    ticket.role === "device"
      ? `This machine is ${joined.name}'s now, in ${joined.mesh}.`
      : `You are ${joined.name} in ${joined.mesh}, ${company(joined.inviter, joined.members - 1)}.`,
  );
  const askable = joined.agents.filter((agent) => agent.mayAsk);
  if (askable.length > 0) output.line("You can ask:");
  for (const agent of askable) output.line(`  ${agent.address}  ${agent.description}`);
  const first = askable[0];
  if (first !== undefined) output.line(`Try: ${context.command(`ask ${first.address} "what can I ask you?"`)}`);
  return EXIT.ok;
}

/** "with ben", "with ben and 2 others". */
export function company(inviter: string, others: number): string {
  return others <= 1 ? `with ${inviter}` : `with ${inviter} and ${others - 1} ${others === 2 ? "other" : "others"}`;
}

/** Only the admitting side's clock decides whether a ticket has expired (R10): that is a warning, the rest are errors. */
function readTicket(text: string, keysFolder: string): { ticket: Ticket; warning: string | null } {
  const key = readDevicePublicKey(keysFolder);
  const mine: DeviceId | undefined = key === null ? undefined : idOf<"device">(key);
  const parsed = parseTicket(text, { now: Date.now(), mine });
  if (parsed.ok) return { ticket: parsed.ticket, warning: null };
  if (parsed.why === "expired" && parsed.ticket !== undefined)
    return {
      ticket: parsed.ticket,
      warning: `${parsed.message}. Trying all the same: ${parsed.ticket.inviterName}'s clock decides`,
    };
  throw new KinError(parsed.code, parsed.message, { hint: parsed.hint });
}

/** `kin leave`: says what it means, asks, and leaves the mesh. */
import type { Result } from "../gateway/control-api.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT } from "./output.ts";
import { ask, canAsk } from "./secret.ts";

type Plan = Result<"leave-plan">;

export async function leave(context: Context, options: { yes?: boolean; unheard?: boolean }): Promise<number> {
  const { output, signal } = context;
  const client = await connectControl(context.home.socketPath);
  const plan = await client.request("leave-plan", {}, { signal });
  for (const line of meaning(plan)) output.note(line);
  if (options.yes !== true) await confirm(plan);
  const left = await client.request("leave", { unheard: options.unheard ?? false }, { signal });
  client.close();
  output.object(left);
  output.line(outcome(plan, left));
  output.line(`Its folder is kept in ${left.aside}. This node is in no mesh now.`);
  return EXIT.ok;
}

/** What a person should know before he says yes. */
function meaning(plan: Plan): string[] {
  const { mesh, others, online, waiting, devices, shares, servers } = plan;
  const lines = [`You leave the mesh ${mesh}${plan.role === "admin" ? ", as one of its admins" : ""}.`];
  if (plan.role === "removed") lines.push("- you were removed from it before: nobody is told again");
  else if (others === 0) lines.push("- nobody else is in it");
  else if (online.length === 0) lines.push(`- none of the ${others} others is online: nobody would learn of it`);
  else {
    const rest = online.length < others ? ", the rest from them" : "";
    lines.push(`- ${online.join(", ")} ${online.length === 1 ? "learns" : "learn"} it now${rest}`);
  }
  if (waiting.length > 0) {
    lines.push(`- ${calls(waiting.length)} in your outbox, and no answer comes back to you:`);
    for (const item of waiting) lines.push(`    ${item.to}  ${item.id}`);
  }
  if (devices.length > 0)
    lines.push(
      `- your other devices leave with you: ${devices.join(", ")}; what they wrote and is not here counts no longer`,
    );
  if (shares.length > 0) lines.push(`- shares that are for the whole mesh end: ${shares.join(", ")}`);
  if (servers.length > 0)
    lines.push(
      `- MCP servers that are for the whole mesh stay in your settings, for the next mesh too: ${servers.join(", ")}`,
    );
  lines.push("- what you wrote there stays with the others; its folder here is set aside, not deleted");
  if (others > 0)
    lines.push(
      `- this data folder can't come back into ${mesh}: for that you need a new ticket and another folder (KIN_HOME)`,
    );
  return lines;
}

function calls(count: number): string {
  return count === 1 ? "1 call still waits" : `${count} calls still wait`;
}

/** @throws KinError USAGE without a terminal, CANCELLED */
async function confirm({ mesh }: Plan): Promise<void> {
  if (!canAsk())
    throw new KinError("USAGE", "kin leave asks before it leaves, and there is no terminal to ask on", {
      hint: "kin leave --yes",
    });
  const said = await ask(`Type ${mesh} to leave it: `);
  if (said !== mesh) throw new KinError("CANCELLED", `you typed something else than ${mesh}: you are still in it`);
}

function outcome({ others, role }: Plan, { mesh, told }: Result<"leave">): string {
  if (role === "removed" || others === 0) return `You have left ${mesh}.`;
  if (told.length === 0) return `You have left ${mesh}, and nobody has heard it: an admin must remove you there.`;
  return `You have left ${mesh}; ${told.join(", ")} ${told.length === 1 ? "knows" : "know"} it.`;
}

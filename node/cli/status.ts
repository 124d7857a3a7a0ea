/** `kin status`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { rewriteCommands } from "./hint.ts";
import { EXIT, counted, duration } from "./output.ts";
import type { NodeStatus } from "../gateway/control-api.ts";

export async function status(context: Context): Promise<number> {
  const { output } = context;
  const client = await connectControl(context.home.socketPath);
  const state = await client.request("status", {}, { signal: context.signal });
  client.close();
  output.object(state);
  const mesh = state.mesh;
  output.line(
    `${state.name}${state.device === "" ? "" : `@${state.device}`}  up ${duration(Date.now() - state.startedAt)}, process ${state.pid}, kin ${state.version}`,
  );
  output.line(
    mesh === null
      ? `mesh       none yet: ${context.command("invite --name ana")} makes one, ${context.command("join kint1…")} enters one`
      : `mesh       ${mesh.name}, ${standing(mesh)}`,
  );
  output.line(`peers      ${state.peers.online} online of ${state.peers.known}`);
  output.line(`log        ${state.log.events} events${state.log.waiting > 0 ? `, ${state.log.waiting} waiting` : ""}`);
  if (state.outbox > 0) output.line(`outbox     ${state.outbox} waiting: ${context.command("outbox ls")}`);
  output.line(`listening  ${state.listening.join("\n           ") || "nowhere"}`);
  output.line(`data       ${state.home}`);
  for (const warning of state.warnings) output.line(`warning    ${rewriteCommands(warning, context.env)}`);
  return EXIT.ok;
}

function standing(mesh: NonNullable<NodeStatus["mesh"]>): string {
  const members = counted(mesh.members, "member");
  if (mesh.role === "removed") return `${members}; you were removed`;
  return `${mesh.members === 1 ? "only you" : members}, you are ${mesh.role}`;
}

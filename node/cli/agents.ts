/** `kin agents config`: what an agent's owner sets. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, duration, table } from "./output.ts";
import { KinError } from "../../protocols/errors.ts";
import type { Json } from "../../protocols/tool.ts";

export async function agentsConfig(
  context: Context,
  agent: string,
  name: string | undefined,
  value: string | undefined,
  options: { unset?: boolean; history?: boolean },
): Promise<number> {
  const unset = options.unset === true;
  if (name === undefined && unset)
    throw new KinError("USAGE", "--unset needs a setting", { hint: "kin agents config" });
  if (value !== undefined && unset)
    throw new KinError("USAGE", `${name} is set to "${value}" or unset, not both`, { hint: "leave one of them out" });
  const client = await connectControl(context.home.socketPath);
  const isChange = name !== undefined && (value !== undefined || unset);
  const config = isChange
    ? await client.request("agent-config-set", { agent, name, value: value ?? null }, { signal: context.signal })
    : await client.request("agent-config", { agent }, { signal: context.signal });
  client.close();
  context.output.object(config);
  if (options.history === true) {
    const rows = config.history.map((one) => [
      one.name,
      one.unset ? "(unset)" : shown(one.value),
      `${one.by}@${one.device}, ${duration(Date.now() - one.at)} ago`,
    ]);
    if (rows.length === 0) context.output.line(`nothing was ever set for ${config.agent}`);
    else await table(context.output, ["setting", "value", "set by"], rows);
    return EXIT.ok;
  }
  const settings = config.settings.filter((setting) => name === undefined || setting.name === name);
  const rows = settings.map(({ name: setting, value: set, others }) => [
    setting,
    shown(set),
    others.length === 0 ? "" : `set to ${others.map(shown).join(", ")} at the same time`,
  ]);
  if (rows.length === 0)
    context.output.line(`${config.agent} is as its AGENT.md says${name === undefined ? "" : `: ${name} is not set`}`);
  else await table(context.output, ["setting", "value", ""], rows);
  return EXIT.ok;
}

function shown(value: Json): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

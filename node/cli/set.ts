/** `kin set`: lists the settings; `kin set discovery.mdns off` changes one and keeps the file's comments. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, table } from "./output.ts";
import { SETTINGS, loadConfig, parseSetting, setConfig, type Config } from "../config.ts";
import { KinError } from "../../protocols/errors.ts";

export async function set(context: Context, path?: string, word?: string): Promise<number> {
  const { configFile } = context.home;
  const config = loadConfig(configFile);
  if (path === undefined) return listSettings(context, config);
  if (word === undefined) {
    parseSetting(path, "");
    context.output.object({ setting: path, value: valueAt(config, path) });
    context.output.line(shown(valueAt(config, path)));
    return EXIT.ok;
  }
  const value = valueAt(change(configFile, path, word), path);
  const { restart, mesh } = await reload(context, path);
  context.output.object({ setting: path, value, restartNeeded: restart });
  context.output.line(`${path} is ${shown(value)}`);
  if (mesh !== null && (path === "name" || path === "device"))
    context.output.line(`In ${mesh} you keep the name that you joined with; this one counts for the next mesh.`);
  else if (restart)
    context.output.line(`It counts from the next start: ${context.command("down")} && ${context.command("up")}`);
  return EXIT.ok;
}

/** The file was read before: what is refused now is the word, which has no place in the file. @throws KinError USAGE */
function change(configFile: string, path: string, word: string): Config {
  try {
    return setConfig(configFile, path, parseSetting(path, word));
  } catch (error) {
    if (!(error instanceof KinError) || error.code !== "CONFIG_INVALID") throw error;
    const sentence = error.message.slice(configFile.length).replace(/^:\d+:\d+: /, "");
    throw new KinError("USAGE", sentence, { hint: error.hint, cause: error });
  }
}

async function listSettings(context: Context, config: Config): Promise<number> {
  const items = SETTINGS.map(({ path, what, defaultValue }) => ({
    setting: path,
    value: valueAt(config, path),
    default: defaultValue,
    what,
  }));
  context.output.object({ items, file: context.home.configFile });
  await table(
    context.output,
    ["setting", "value", "what"],
    items.map((item) => [item.setting, shown(item.value), item.what]),
  );
  context.output.line(`\nin ${context.home.configFile}`);
  return EXIT.ok;
}

/** Tells a running node. `restart`: the setting counts only from its next start; `mesh`: the one that it is in. */
async function reload(context: Context, path: string): Promise<{ restart: boolean; mesh: string | null }> {
  try {
    const client = await connectControl(context.home.socketPath);
    const { restartNeeded } = await client.request("reload", {}, { signal: context.signal });
    const { mesh } = await client.request("status", {}, { signal: context.signal });
    client.close();
    return { restart: restartNeeded.includes(path), mesh: mesh?.name ?? null };
  } catch (error) {
    if (error instanceof KinError && error.code === "NOT_RUNNING") return { restart: false, mesh: null };
    throw error;
  }
}

function valueAt(config: Config, path: string): unknown {
  return path.split(".").reduce<unknown>((value, key) => (value as { [key: string]: unknown })[key], config);
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return value.join(",") || "-";
  if (value === null) return "-";
  return typeof value === "string" ? value : JSON.stringify(value);
}

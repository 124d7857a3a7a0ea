/** `kin facts set | get | ls | history | unset`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, duration, table } from "./output.ts";
import { jsonOrText } from "./parse.ts";
import { readPiped } from "./piped.ts";
import type { FactValueItem, Params, Result, Verb } from "../gateway/control-api.ts";
import { KinError } from "../../protocols/errors.ts";

interface ScopeOption {
  agent?: string;
}
/** Characters of a value in a table. */
const SHOWN_CHARACTERS = 60;

export async function factsSet(
  context: Context,
  key: string,
  typed: string | undefined,
  options: ScopeOption & { text?: boolean },
): Promise<number> {
  const words = typed ?? (await readPiped(true, "a fact holds JSON or UTF-8 text of at most 16 KiB, and no files"));
  if (words === null)
    throw new KinError("USAGE", `kin facts set ${key} needs a value`, {
      hint: `${context.command(`facts set ${key} VALUE`)}, or pipe it in`,
    });
  const text = typed === undefined ? words.replace(/\n$/, "") : words;
  const value =
    options.text === true
      ? text
      : jsonOrText(text, "the value has", "put it in quotes, or say --text to keep all as it is");
  const fact = await request(context, "facts-set", { key, value, unset: false, agent: options.agent ?? null });
  context.output.line(`${key} = ${shown(fact.values[0] ?? null)}`);
  return EXIT.ok;
}

export async function factsUnset(context: Context, key: string, options: ScopeOption): Promise<number> {
  await request(context, "facts-set", { key, value: null, unset: true, agent: options.agent ?? null });
  context.output.line(`${key} is no longer set`);
  return EXIT.ok;
}

export async function factsGet(context: Context, key: string, options: ScopeOption): Promise<number> {
  const { values } = await request(context, "facts-get", { key, agent: options.agent ?? null });
  const [only, ...others] = values;
  if (others.length === 0) context.output.line(shown(only ?? null, Infinity));
  else {
    context.output.line(`${values.length} values, set without knowledge of each other:`);
    for (const value of values) context.output.line(`  ${shown(value, Infinity)}  (${byWhom(value)})`);
    context.output.line(`Setting it again chooses: ${context.command(`facts set ${key} VALUE`)}`);
  }
  return EXIT.ok;
}

export async function factsList(context: Context, prefix: string | undefined, options: ScopeOption): Promise<number> {
  const { items, total } = await request(context, "facts-ls", { prefix: prefix ?? "", agent: options.agent ?? null });
  const rows = items.flatMap((fact) =>
    fact.values.map((value, i) => [i === 0 ? fact.key : "  or", shown(value), byWhom(value)]),
  );
  if (rows.length === 0) context.output.line(`no facts: ${context.command("facts set <key> <value>")}`);
  else await table(context.output, ["key", "value", "set by"], rows);
  if (total > items.length) context.output.line(`${total - items.length} more: say how their keys begin`);
  return EXIT.ok;
}

export async function factsHistory(context: Context, key: string, options: ScopeOption): Promise<number> {
  const { items, missing } = await request(context, "facts-history", { key, agent: options.agent ?? null });
  const rows = items.map((item) => [shown(item), byWhom(item), item.standing ? "stands" : "replaced"]);
  await table(context.output, ["value", "set by", "state"], rows);
  if (missing > 0) context.output.line(`and ${missing} that were replaced and are not here: pruned, or not come yet`);
  return EXIT.ok;
}

async function request<V extends Verb>(context: Context, verb: V, params: Params<V>): Promise<Result<V>> {
  const client = await connectControl(context.home.socketPath);
  const result = await client.request(verb, params, { signal: context.signal });
  client.close();
  context.output.object(result);
  return result;
}

function byWhom({ by, device, at }: FactValueItem): string {
  return `${by}@${device}, ${duration(Date.now() - at)} ago`;
}

function shown(value: FactValueItem | null, most = SHOWN_CHARACTERS): string {
  if (value === null || value.unset) return "(unset)";
  const text = typeof value.value === "string" ? value.value : JSON.stringify(value.value);
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

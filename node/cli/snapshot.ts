/** `kin snapshot make | ls | show | prune | dormant`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, duration, table } from "./output.ts";
import type { Params, Result, SnapshotItem, Verb } from "../gateway/control-api.ts";

export async function snapshotMake(context: Context): Promise<number> {
  const { snapshot } = await request(context, "snapshot-make", {});
  context.output.line(`snapshot ${snapshot.id}: ${snapshot.events} events as ${size(snapshot.bytes)}`);
  context.output.line(
    snapshot.counts
      ? "It counts at once: there is nobody else to sign it."
      : "The others' nodes fold the same and sign it by themselves when they sync: kin snapshot ls",
  );
  return EXIT.ok;
}

export async function snapshotList(context: Context): Promise<number> {
  const { items, dormant } = await request(context, "snapshot-ls", {});
  const now = Date.now();
  const rows = items.map((item) => [
    item.id,
    item.madeBy,
    duration(now - item.madeAt),
    String(item.events),
    size(item.bytes),
    item.signedBy.join(", "),
    standing(item),
  ]);
  if (rows.length === 0) context.output.line("no snapshots: kin snapshot make");
  else await table(context.output, ["id", "made by", "ago", "events", "size", "signed by", ""], rows);
  if (dormant.length > 0) context.output.line(`nobody waits for ${dormant.join(", ")}`);
  return EXIT.ok;
}

export async function snapshotShow(context: Context, id: string): Promise<number> {
  const shown = await request(context, "snapshot-show", { id });
  const { output } = context;
  output.line(`snapshot ${shown.id} of ${shown.madeBy}: ${shown.events} events as ${size(shown.bytes)}`);
  output.line(`  state of   ${shown.views.map(({ name, version }) => `${name} (version ${version})`).join(", ")}`);
  output.line(`  signed by  ${shown.signers.map(({ device, how }) => `${device} (${how})`).join(", ")}`);
  output.line(`  here       ${standing(shown)}`);
  await table(
    output,
    ["log of", "events", "log"],
    shown.logs.map(({ log, device, events }) => [device, String(events), log.slice(0, 12)]),
  );
  return EXIT.ok;
}

export async function snapshotPrune(context: Context, options: { dryRun?: boolean }): Promise<number> {
  const pruned = await request(context, "snapshot-prune", { dryRun: options.dryRun === true });
  const what = `${pruned.bodies} bodies of ${size(pruned.bytes)}`;
  context.output.line(
    pruned.dryRun
      ? `${what} would be dropped behind snapshot ${pruned.id}`
      : `${what} dropped behind snapshot ${pruned.id}; every header stays, and the space is used again`,
  );
  return EXIT.ok;
}

export async function snapshotDormant(context: Context, name: string, options: { off?: boolean }): Promise<number> {
  const said = await request(context, "snapshot-dormant", { name, on: options.off !== true });
  context.output.line(
    said.dormant
      ? `nobody waits for ${said.name} any more: who comes back catches up by a snapshot`
      : `pruning waits for ${said.name} again`,
  );
  return EXIT.ok;
}

async function request<V extends Verb>(context: Context, verb: V, params: Params<V>): Promise<Result<V>> {
  const client = await connectControl(context.home.socketPath);
  try {
    const result = await client.request(verb, params, { signal: context.signal });
    context.output.object(result);
    return result;
  } finally {
    client.close();
  }
}

function standing({ here, why, counts, waitingFor, base }: SnapshotItem): string {
  if (here === "refused") return `refused here: ${why}`;
  const own = here === "waits" ? `not signed here yet: ${why}` : base ? "this node begins with it" : "";
  const others = !counts
    ? "too few have signed"
    : waitingFor.length > 0
      ? `waits for ${waitingFor.join(", ")}`
      : "all have it";
  return [own, others].filter((part) => part !== "").join("; ");
}

function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const kib = bytes / 1024;
  return kib < 1024 ? `${kib.toFixed(1)} KiB` : `${(kib / 1024).toFixed(1)} MiB`;
}

/** `kin export`: a file that others can check with `kin verify` and the mesh id alone. Says what is in it, and for whom to read. */
import { existsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { Result } from "../gateway/control-api.ts";
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT, counted } from "./output.ts";
import { KinError } from "../../protocols/errors.ts";

interface Options {
  out?: string;
  log?: string[];
  event?: string[];
  call?: string[];
  here?: boolean;
  sealed?: boolean;
  force?: boolean;
}

/** Options that may be given several times, at most so often: each is a range of a log. */
const MAX_NAMED = 256;

export async function exportFile(context: Context, options: Options): Promise<number> {
  const { output } = context;
  const { log = [], event = [], call = [] } = options;
  if (log.length + event.length + call.length > MAX_NAMED)
    throw new KinError("USAGE", `${log.length + event.length + call.length} things to export: at most ${MAX_NAMED}`);
  const params = {
    out: outFile(options.out),
    replace: options.force ?? false,
    people: log,
    events: event,
    calls: call,
    here: options.here ?? false,
    sealed: options.sealed ?? false,
  };
  const client = await connectControl(context.home.socketPath);
  const made = await client.request("export", params, {
    item: ({ bytes }) => output.note(`${megabytes(bytes)} so far`),
    signal: context.signal,
  });
  client.close();
  output.object(made);
  for (const line of described(made)) output.line(line);
  output.line();
  output.line(`Anybody can check it: ${context.command(`verify ${made.file} --mesh ${made.mesh}`)}`);
  return EXIT.ok;
}

/** @throws KinError USAGE */
function outFile(typed: string | undefined): string {
  const file = resolve(typed ?? `kin-${new Date().toISOString().slice(0, 10)}.kin`);
  if (statSync(file, { throwIfNoEntry: false })?.isDirectory() === true)
    return join(file, `kin-${new Date().toISOString().slice(0, 10)}.kin`);
  if (!existsSync(dirname(file))) throw new KinError("USAGE", `there is no folder ${dirname(file)}`);
  return file;
}

/** What is in the file, and what of it an outsider can read. */
export function described(made: Result<"export">): string[] {
  const { records, keys, logs, events, opened, said, bodiless, hereEvents } = made;
  const lines = [
    `${made.file}: ${megabytes(made.bytes)}, ${made.all ? "all that this node has" : "a part"} of ${made.meshName}`,
    `  ${counted(records, "roster record")}, ${counted(keys, "agent key")}, ${counted(events, "event")} of ${counted(logs, "log")}`,
    "Whoever has it can read:",
    "  - who is in the mesh and was: names, roles, devices, invites",
    "  - of each event who wrote it, when by his clock, of what kind, how long it is; agents' cards that are not sealed",
  ];
  if (opened > said) lines.push(`  - what ${counted(opened - said, "event")} for single devices says, by its own key`);
  if (said > 0)
    lines.push(`  - what ${counted(said, "event")} for the mesh says, on your word: its key would open more than that`);
  if (hereEvents > 0)
    lines.push(`  - your own audit, ${counted(hereEvents, "event")} in clear: who called what on this machine`);
  lines.push("All other bodies stay sealed: it holds no key of the mesh.");
  if (bodiless > 0)
    lines.push(`Of ${counted(bodiless, "event")} this node has no body; the file proves that they were written.`);
  return lines;
}

function megabytes(bytes: number): string {
  return bytes < 1_000_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

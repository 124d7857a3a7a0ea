/** `kin share ls | add | rm`. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { folderPath, shareName } from "./invite.ts";
import { EXIT, table } from "./output.ts";
import { KinError } from "../../protocols/errors.ts";

export async function shareList(context: Context): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const { items } = await client.request("share-ls", {}, { signal: context.signal });
  client.close();
  context.output.object({ items });
  const rows = items.map((item) => [
    item.name,
    item.for === "mesh" ? "all members" : item.for.join(", ") || "nobody",
    item.folder,
    item.problem ?? "ok",
  ]);
  if (rows.length === 0) context.output.line(`nothing is shared: ${context.command("share add <folder>")}`);
  else await table(context.output, ["share", "for", "folder", "state"], rows);
  return EXIT.ok;
}

export async function shareAdd(
  context: Context,
  typed: string,
  options: { name?: string; for: string },
): Promise<number> {
  const folder = folderPath(typed);
  const client = await connectControl(context.home.socketPath);
  const params = { folder, name: shareName(folder, options.name), for: audience(options.for) };
  const { share, will } = await client.request("share-add", params, { signal: context.signal });
  client.close();
  context.output.object({ share, will });
  const whom = share.for === "mesh" ? "All members" : share.for.join(", ");
  context.output.line(`${whom} will be able to:`);
  for (const right of will) context.output.line(`  - ${right}`);
  return EXIT.ok;
}

export async function shareRemove(context: Context, name: string): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const result = await client.request("share-rm", { name }, { signal: context.signal });
  client.close();
  context.output.object(result);
  context.output.line(`${result.name} is no longer shared`);
  return EXIT.ok;
}

function audience(words: string): "mesh" | string[] {
  if (words === "mesh") return "mesh";
  const people = words.split(",").map((word) => word.trim());
  if (people.some((person) => person === ""))
    throw new KinError("USAGE", `--for is "${words}", expected names such as ana,li or mesh`);
  return people;
}

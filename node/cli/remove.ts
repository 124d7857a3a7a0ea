/** `kin remove ana`: out of the mesh, and a new read key in the same act. */
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT } from "./output.ts";

export async function remove(context: Context, name: string): Promise<number> {
  const client = await connectControl(context.home.socketPath);
  const result = await client.request("remove", { name }, { signal: context.signal });
  client.close();
  context.output.object(result);
  const reached =
    result.left === 1
      ? "you are the only member now"
      : result.reached.length === 0
        ? "nobody is online: it reaches the others when they sync"
        : `already known to ${result.reached.join(", ")}`;
  context.output.line(`${result.name} is removed; what is written from now on is sealed under a new key; ${reached}.`);
  return EXIT.ok;
}

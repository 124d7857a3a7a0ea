/** `kin keys rotate sealing`, `kin keys rotate agent reviewer`. */
import { KinError } from "../../protocols/errors.ts";
import { didYouMean } from "../did-you-mean.ts";
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT } from "./output.ts";

const WHAT = ["sealing", "agent", "person"] as const;

export async function keysRotate(context: Context, what: string, agent: string | undefined): Promise<number> {
  if (what === "device")
    throw new KinError("DENIED", "a device's key is its address in the network: another key is another device", {
      hint: "if it got out: let an admin remove you, and join anew from another folder: KIN_HOME=~/.kin-other",
    });
  const known = WHAT.find((one) => one === what);
  if (known === undefined) {
    const near = didYouMean(what, WHAT);
    throw new KinError("USAGE", `"${what}" is no key that kin can rotate: ${WHAT.join(", ")}`, {
      hint: `kin keys rotate ${near ?? WHAT[0]}`,
    });
  }
  const client = await connectControl(context.home.socketPath);
  const rotated = await client.request(
    "keys-rotate",
    { what: known, agent: agent ?? null },
    { signal: context.signal },
  );
  client.close();
  context.output.object(rotated);
  const names = {
    sealing: "This device has a new sealing key",
    agent: `${rotated.agent} has key ${rotated.generation}`,
    person: "You have a new person key",
  };
  context.output.line(`${names[rotated.what]}: ${rotated.said}.`);
  return EXIT.ok;
}

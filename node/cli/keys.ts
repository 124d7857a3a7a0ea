/** `kin keys rotate sealing`, `kin keys rotate agent reviewer`. */
import { KinError } from "../../protocols/errors.ts";
import { didYouMean } from "../did-you-mean.ts";
import type { Context } from "./context.ts";
import { connectControl } from "./control-client.ts";
import { EXIT } from "./output.ts";

const WHAT = ["sealing", "agent"] as const;

/** What only others, or nobody, can change, and what to do instead. */
const NOT_HERE: { [what: string]: { why: string; hint: string } } = {
  person: {
    why: "a person's key is changed by an admin or by a recovery key, never by itself: whoever stole it could do that too (R1)",
    hint: "if it got out, let an admin remove you, and join anew from another folder: KIN_HOME=~/.kin-other",
  },
  device: {
    why: "a device's key is its address in the network: another key is another device",
    hint: "if it got out, let an admin remove you, and join anew from another folder: KIN_HOME=~/.kin-other",
  },
};

export async function keysRotate(context: Context, what: string, agent: string | undefined): Promise<number> {
  const refusal = Object.hasOwn(NOT_HERE, what) ? NOT_HERE[what] : undefined;
  if (refusal !== undefined) throw new KinError("DENIED", refusal.why, { hint: refusal.hint });
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
  const name = rotated.agent === null ? "a new sealing key" : `key ${rotated.generation} of ${rotated.agent}`;
  context.output.line(`This device has ${name}: ${rotated.said}.`);
  return EXIT.ok;
}

/**
 * Commands that are printed for copying. The name `kin` on npm belongs to somebody else, so in a clone a hint names this
 * clone's own file and works from any folder; an installed kin is just `kin`.
 */
import { resolve, sep } from "node:path";

const ROOT = resolve(import.meta.dirname, "..", "..");
const VERBS =
  "invite|join|up|down|status|peers|agents|tools|members|ping|ask|call|wait|device|outbox|sync|facts|audit|share|remove|set|doctor|passphrase|help|version|demo|node";

/** `kin <args>` as it can be typed here, with the KIN_HOME that this process was given. */
export function commandHint(args: string, env: NodeJS.ProcessEnv = process.env, root = ROOT): string {
  const home = env["KIN_HOME"] ? `KIN_HOME=${quote(resolve(env["KIN_HOME"]))} ` : "";
  return `${home}${program(root)}${args === "" ? "" : ` ${args}`}`;
}

/** The same for somebody else's machine, who has a clone of her own and no KIN_HOME of ours. */
export function commandElsewhere(args: string, root = ROOT): string {
  return `${isClone(root) ? "npx kin" : "kin"} ${args}`;
}

/** Replaces each `kin <verb>` in a hint by the command that works here. */
export function rewriteCommands(text: string, env: NodeJS.ProcessEnv = process.env, root = ROOT): string {
  return text.replace(
    new RegExp(`(?<![\\w./=-]|npx )kin(?= (?:${VERBS})\\b)`, "g"),
    commandHint("", env, root).replaceAll("$", "$$$$"),
  );
}

function program(root: string): string {
  return isClone(root) ? `node ${quote(`${root}/node/cli/bin.js`)}` : "kin";
}

function isClone(root: string): boolean {
  return !root.split(sep).includes("node_modules");
}

export function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * Who may call what. Pure, default deny: a right says for whom a tool or an agent is, a share says who may read a folder;
 * what neither allows is refused. A person who asks through an agent has his own rights, never the agent's.
 */
import type { Allowed } from "../../protocols/agent-card.ts";
import type { ErrorCode } from "../../protocols/errors.ts";
import type { PersonId } from "../../protocols/ids.ts";

/** A folder that some people may read. Ids, not names (R12). */
export interface Share {
  name: string;
  folder: string;
  rights: "read";
  for: "mesh" | readonly PersonId[];
}

/**
 * For whom a tool or an agent is:
 * - `share-people`: who may read at least one share
 * - `members`: all members of the mesh
 * - `agents`: nobody directly; only a step of an agent that lists it
 * - ids: these persons, and me
 */
export type RightFor = "share-people" | "members" | "agents" | readonly PersonId[];

export interface Right {
  kind: "agent" | "tool";
  name: string;
  for: RightFor;
  /** True: each call is about one share, which the asker must be able to read. */
  onShare: boolean;
}

export interface Asker {
  person: PersonId;
  /** True for the owner of this node. */
  me: boolean;
  /** The agent whose step calls, if one does. */
  through: string | null;
}

export type Decision =
  | { allowed: true; share: Share | null }
  | { allowed: false; code: ErrorCode; message: string; hint?: string };

/** Shares that this person may read, in the order of the configuration. */
export function readableShares(asker: Asker, shares: readonly Share[]): Share[] {
  return shares.filter((share) => asker.me || share.for === "mesh" || share.for.includes(asker.person));
}

/** The one decision. `shareName`: the argument `share`, if the call has one. */
export function authorize(
  asker: Asker,
  right: Right,
  shareName: string | undefined,
  shares: readonly Share[],
): Decision {
  const tool = `${right.kind} ${right.name}`;
  if (!mayUse(asker, right, shares))
    return { allowed: false, code: "DENIED", message: `you are not allowed to use the ${tool} here` };
  if (!right.onShare && shareName === undefined) return { allowed: true, share: null };
  // What he called is what he can mend: the agent, not the tool of its step.
  const what = asker.through === null ? tool : `agent ${asker.through}`;
  return chooseShare(asker, what, shareName, readableShares(asker, shares), right.onShare);
}

/** For a card: who may ask at all. Null: nobody but me. */
export function allowedBy(right: Right, shares: readonly Share[]): Allowed | null {
  if (right.for === "agents") return null;
  if (right.for === "members") return right.onShare ? peopleOf(shares) : { mesh: true };
  if (right.for === "share-people") return peopleOf(shares);
  return right.for.length === 0 ? null : { persons: [...right.for] };
}

function mayUse(asker: Asker, right: Right, shares: readonly Share[]): boolean {
  if (right.for === "agents") return asker.through !== null;
  if (asker.me || right.for === "members") return true;
  if (right.for === "share-people") return readableShares(asker, shares).length > 0;
  return right.for.includes(asker.person);
}

function chooseShare(
  asker: Asker,
  what: string,
  shareName: string | undefined,
  readable: readonly Share[],
  needed: boolean,
): Decision {
  const names = readable.map((share) => share.name).join(", ");
  if (shareName !== undefined) {
    const share = readable.find((share) => share.name === shareName);
    if (share !== undefined) return { allowed: true, share };
    // One sentence for "does not exist" and "not for you": a name must not be guessable.
    const yours = names === "" ? "none" : names;
    return {
      allowed: false,
      code: "DENIED",
      message: `no share "${shareName}" that you may read; you may read: ${yours}`,
    };
  }
  if (!needed) return { allowed: true, share: null };
  if (readable.length === 1) return { allowed: true, share: readable[0]! };
  if (readable.length > 1)
    return {
      allowed: false,
      code: "SHARE_NEEDED",
      message: `the ${what} needs the argument "share": one of ${names}`,
      hint: `add --share ${readable[0]!.name}, or {"share": "${readable[0]!.name}"} in a call`,
    };
  return asker.me
    ? {
        allowed: false,
        code: "NOT_FOUND",
        message: `the ${what} needs a share, and you share no folder`,
        hint: "kin share add FOLDER",
      }
    : { allowed: false, code: "DENIED", message: `the ${what} reads shares, and none is shared with you` };
}

function peopleOf(shares: readonly Share[]): Allowed | null {
  if (shares.some((share) => share.for === "mesh")) return { mesh: true };
  const persons = [...new Set(shares.flatMap((share) => (share.for === "mesh" ? [] : share.for)))];
  return persons.length === 0 ? null : { persons };
}

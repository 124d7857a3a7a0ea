/**
 * What an invite or a share lets people do here, in plain sentences for the one who gives it: read off the same rights and the
 * same decision as every call (`guard/authorize.ts`).
 */
import type { PersonId } from "../../protocols/ids.ts";
import type { Right, Share } from "../guard/authorize.ts";
import { authorize } from "../guard/authorize.ts";

/** Agents and tools that every node has; a test holds this list against what is loaded. */
export const BUILT_IN_RIGHTS: readonly Right[] = [
  { kind: "agent", name: "reviewer", for: "share-people", onShare: false },
  { kind: "agent", name: "librarian", for: "share-people", onShare: false },
  { kind: "agent", name: "guide", for: "members", onShare: false },
  { kind: "tool", name: "git.log", for: "share-people", onShare: true },
  { kind: "tool", name: "git.diff", for: "share-people", onShare: true },
  { kind: "tool", name: "fs.read", for: "share-people", onShare: true },
  { kind: "tool", name: "fs.search", for: "share-people", onShare: true },
  { kind: "tool", name: "time", for: "members", onShare: false },
];

/** Who is invited has no id before he is admitted. */
const GUEST = "0".repeat(64) as PersonId;

/**
 * One sentence an item, to stand after "… will be able to:".
 * @param granted the shares that these people get, whoever else may read them
 * @param rights also those of the user's agents and MCP servers, if they are loaded
 */
export function whatInviteAllows(
  granted: readonly Share[],
  role: "admin" | "member",
  rights: readonly Right[] = BUILT_IN_RIGHTS,
): string[] {
  const shares = granted.map((share): Share => ({ ...share, for: [GUEST] }));
  const may = (right: Right, share?: string) =>
    authorize({ person: GUEST, me: false, through: null }, right, share, shares).allowed;
  const everywhere = rights.filter((right) => right.for !== "share-people" && !right.onShare && may(right));
  return [
    ...shares.flatMap((share) =>
      shareSentences(
        share,
        rights.filter((right) => right.for === "share-people" && may(right, share.name)),
      ),
    ),
    ...(shares.length === 0
      ? []
      : ["never see .git, ignored files, .env files, private keys, or links that lead out of the folder"]),
    ...sentences(everywhere, ""),
    "ping this node",
    ...(role === "admin" ? ["invite others, and remove members"] : []),
  ];
}

function shareSentences(share: Share, rights: readonly Right[]): string[] {
  return sentences(rights, ` on "${share.name}" (${share.folder}, read only)`);
}

function sentences(rights: readonly Right[], where: string): string[] {
  const names = (kind: Right["kind"]) => rights.filter((right) => right.kind === kind).map((right) => right.name);
  const [agents, tools] = [names("agent"), names("tool")];
  return [
    ...(agents.length === 0 ? [] : [`ask ${listed(agents)}${where}`]),
    ...(tools.length === 0 ? [] : [`call ${listed(tools)}${where}`]),
  ];
}

function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)!}`;
}

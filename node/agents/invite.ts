/** What an invite lets its guest do here, in plain sentences: read off the same rights and the same decision as every call. */
import type { PersonId } from "../../protocols/ids.ts";
import type { Right, Share } from "../guard/authorize.ts";
import { authorize } from "../guard/authorize.ts";

/** A guest has no person id before he is admitted; shares that the ticket brings are for this one meanwhile. */
export const INVITED_GUEST = "0".repeat(64) as PersonId;

export interface InviteQuestion {
  /** My name, as addresses begin. */
  owner: string;
  guest: PersonId;
  rights: readonly Right[];
  /** All shares, with the one that the ticket brings. */
  shares: readonly Share[];
}

/** One sentence a line; "can …" is left to the caller's heading. */
export function whatInviteAllows(question: InviteQuestion): string[] {
  const { owner, shares } = question;
  const sentences = shares.flatMap((share) => shareSentences(question, share));
  const agents = allowed(question, "agent", undefined).filter((right) => right.for !== "share-people");
  const tools = allowed(question, "tool", undefined).filter((right) => right.for !== "share-people");
  sentences.push(...asks(owner, agents), ...calls(owner, tools), `ping ${owner}`);
  if (sentences.some((sentence) => sentence.includes("share")))
    sentences.push("never see .git, ignored files, .env files, private keys, or links that lead out of a share");
  return sentences;
}

function shareSentences(question: InviteQuestion, share: Share): string[] {
  const agents = allowed(question, "agent", share.name).filter((right) => right.for === "share-people");
  const tools = allowed(question, "tool", share.name).filter((right) => right.onShare);
  const about = ` on the share ${share.name} (${share.folder}, read only)`;
  return [...asks(question.owner, agents), ...calls(question.owner, tools)].map((sentence) => sentence + about);
}

function allowed(question: InviteQuestion, kind: Right["kind"], share: string | undefined): Right[] {
  const asker = { person: question.guest, me: false, through: null };
  return question.rights.filter(
    (right) =>
      right.kind === kind &&
      (share !== undefined || !right.onShare) &&
      authorize(asker, right, share, question.shares).allowed,
  );
}

function asks(owner: string, agents: readonly Right[]): string[] {
  return agents.length === 0 ? [] : [`ask ${listed(agents.map((right) => `${owner}/${right.name}`))}`];
}

function calls(owner: string, tools: readonly Right[]): string[] {
  return tools.length === 0 ? [] : [`call ${listed(tools.map((right) => `${owner}/tools/${right.name}`))}`];
}

function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)!}`;
}

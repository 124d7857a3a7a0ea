/** `mesh.listing`, the step of the agent `guide`: what the asking person can ask whom. */
import type { PersonId } from "../../../protocols/ids.ts";
import type { Json } from "../../../protocols/tool.ts";
import type { Tool } from "../registry.ts";
import { textResult } from "../output.ts";
import { textArgument } from "../registry.ts";

/** One thing that can be asked or called, as the asker sees it. */
export interface ListedItem {
  /** `ben/reviewer`, `ben/tools/git.log` */
  address: string;
  kind: "agent" | "tool";
  description: string;
  skills: readonly string[];
  online: boolean;
  mayAsk: boolean;
  shares: readonly string[];
}

/** The cards that this person can see. */
export type Listing = (person: PersonId) => Promise<readonly ListedItem[]>;

/** Rows of an answer; a mesh of hundreds is asked with words. */
const MAX_ROWS = 60;
/** Words of a question that say nothing about what is searched. */
const FILLERS = new Set(
  "what can could i ask who whom which agent agents tool tools is are there the a an to of for in on my me do does help how use call available here and or with list show all everything anybody anyone someone please you your yours us we our they them he she him her it this that these those be am was will would should may might must have has get give tell know want need like about from at by if so any some something anything hello hi hey thanks thank question questions mesh kin".split(
    " ",
  ),
);

export function listingTool(listing: Listing): Tool {
  return {
    name: "mesh.listing",
    description: "Lists what the asking person can ask whom.",
    readOnly: true,
    for: "agents",
    onShare: false,
    inputSchema: {
      type: "object",
      properties: { question: { type: "string", maxLength: 65536 } },
      additionalProperties: false,
    },
    async run({ args, person }) {
      const items = (await listing(person)).filter((item) => item.mayAsk);
      const words = wordsOf(textArgument(args, "question"));
      const fitting = words.length === 0 ? [] : ranked(items, words);
      const shown = (fitting.length > 0 ? fitting : items).slice(0, MAX_ROWS);
      return textResult(describe(shown, items.length, fitting.length > 0, words), { items: shown } as unknown as Json);
    },
  };
}

function wordsOf(question: string): string[] {
  return [...new Set(question.toLowerCase().match(/[\p{L}\p{N}][\p{L}\p{N}.-]*/gu) ?? [])]
    .filter((word) => word.length > 1 && !FILLERS.has(word)) // a letter alone is in every description
    .slice(0, 32);
}

function ranked(items: readonly ListedItem[], words: readonly string[]): ListedItem[] {
  const scored = items.map((item) => ({ item, score: score(item, words) })).filter(({ score }) => score > 0);
  return scored.toSorted((a, b) => b.score - a.score).map(({ item }) => item);
}

/** A name says more than a tag, a tag more than a sentence. */
function score(item: ListedItem, words: readonly string[]): number {
  const [name, tags, rest] = [item.address, item.skills.join(" "), `${item.description} ${item.shares.join(" ")}`].map(
    (text) => text.toLowerCase(),
  );
  return words
    .map(stem)
    .reduce(
      (total, word) =>
        total + (name!.includes(word) ? 4 : 0) + (tags!.includes(word) ? 2 : 0) + (rest!.includes(word) ? 1 : 0),
      0,
    );
}

/** `reviews`, `reviewing` → `review` */
function stem(word: string): string {
  return word.length > 4 ? word.replace(/(?:ing|ers|er|es|ed|s)$/, "") : word;
}

function describe(shown: readonly ListedItem[], all: number, fitting: boolean, words: readonly string[]): string {
  if (all === 0) return "Nothing here can be asked by you yet: nobody shares an agent or a tool with you.";
  const agents = shown.filter((item) => item.kind === "agent");
  const tools = shown.filter((item) => item.kind === "tool");
  const lines = fitting
    ? [`For "${words.join(" ")}":`]
    : words.length > 0
      ? [`Nothing is described by "${words.join(" ")}". All that you can ask:`]
      : ["You can ask:"];
  if (agents.length > 0)
    lines.push("", ...agents.map((item) => row(item)), `  ask with: kin ask ${agents[0]!.address} "…"`);
  if (tools.length > 0)
    lines.push("", ...tools.map((item) => row(item)), `  call with: kin call ${tools[0]!.address} '{…}'`);
  if (all > shown.length) lines.push("", `${all - shown.length} more; ask with words of what you look for.`);
  return lines.join("\n");
}

function row(item: ListedItem): string {
  const shares = item.shares.length === 0 ? "" : ` [${item.shares.join(", ")}]`;
  return `  ${item.address}${item.online ? "" : " (offline: waits in the outbox)"}${shares}  ${item.description}`;
}

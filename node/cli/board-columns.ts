/** A board for a terminal: its columns side by side, or below each other where there is no room or no terminal. */
import { clean, type Output } from "./output.ts";
import type { CardItem, ColumnItem } from "../gateway/control-api.ts";

/** Narrower than this a column says nothing: then they stand below each other. */
const LEAST_COLUMN = 16;
const GAP = "  ";

export async function showColumns(output: Output, columns: ColumnItem[]): Promise<void> {
  if (output.json) return;
  const width = Math.floor((output.columns - GAP.length * (columns.length - 1)) / Math.max(1, columns.length));
  if (columns.length === 0) output.line("no columns");
  else if (width < LEAST_COLUMN || !output.isTerminal) belowEachOther(output, columns);
  else await sideBySide(output, columns, width);
}

function belowEachOther(output: Output, columns: ColumnItem[]): void {
  for (const { name, cards } of columns) {
    output.line(`${name} · ${cards.length}`, "bold");
    for (const card of cards) output.line(`${GAP}${cardLine(card)}`);
  }
}

async function sideBySide(output: Output, columns: ColumnItem[], width: number): Promise<void> {
  const [head, ...lines] = await columnLines(columns, width);
  output.line(head, "bold");
  for (const line of lines) output.line(line);
}

/** Each `width` wide; words wrap. */
export async function columnLines(columns: ColumnItem[], width: number): Promise<string[]> {
  const { default: Table } = await import("cli-table3");
  const none = { top: "", "top-mid": "", "top-left": "", "top-right": "", bottom: "", "bottom-mid": "" };
  const noneMore = { "bottom-left": "", "bottom-right": "", left: "", "left-mid": "", mid: "", "mid-mid": "" };
  const chars = { ...none, ...noneMore, right: "", "right-mid": "", middle: GAP };
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const made = new Table({ chars, style, colWidths: columns.map(() => width), wordWrap: true });
  made.push(
    columns.map(({ name, cards }) => clean(`${name} · ${cards.length}`)),
    columns.map(({ cards }) => clean(cards.map(cardLine).join("\n"))),
  );
  return made
    .toString()
    .split("\n")
    .map((line) => line.trimEnd());
}

/** Its first line, and whose it is. */
function cardLine(card: CardItem): string {
  const people = card.for.length > 0 ? ` (${card.for.join(", ")})` : "";
  return `${card.short} ${firstLine(card).replaceAll("\t", " ")}${people}`;
}

export function firstLine({ text }: CardItem): string {
  const [first = "", ...more] = text.trim().split("\n");
  return more.length > 0 ? `${first} …` : first;
}

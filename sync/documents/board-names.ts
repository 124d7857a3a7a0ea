/** How people name cards and columns, and how programs and agents read a board. */
import { KinError } from "../../protocols/errors.ts";
import type { PersonId } from "../../protocols/ids.ts";
import type { BoardColumn, Card, CardId } from "./board.ts";

/** Of an id or a text, to be typed. */
const LEAST_DIGITS = 3;

/** The fewest digits that say which card of its board it is. */
export function shortIds(columns: readonly BoardColumn[]): Map<CardId, string> {
  const ids = columns.flatMap(({ cards }) => cards.map(({ id }) => id)).toSorted();
  const common = (a: string, b = ""): number => Array.from(a).findIndex((digit, i) => digit !== b[i]);
  return new Map(
    ids.map((id, i) => [
      id,
      id.slice(0, Math.max(LEAST_DIGITS, common(id, ids[i - 1]) + 1, common(id, ids[i + 1]) + 1)),
    ]),
  );
}

/** By how its id begins, its text, or how its text begins. @throws KinError NOT_FOUND, USAGE if several are meant */
export function findCard(columns: readonly BoardColumn[], typed: string, title: string): Card {
  const cards = columns.flatMap((column) => column.cards);
  const words = typed.trim().toLowerCase();
  const says = ({ text }: Card): string => text.trim().toLowerCase();
  const tries = [
    (card: Card) => card.id === words,
    (card: Card) => says(card) === words,
    // "add" may be both.
    (card: Card) => words.length >= LEAST_DIGITS && (card.id.startsWith(words) || says(card).startsWith(words)),
  ];
  return oneOf(
    tries.map((isMeant) => cards.filter(isMeant)),
    `card "${typed}"`,
    title,
  );
}

/** By its name, or how it begins, in capitals or not. @throws KinError NOT_FOUND, USAGE if several are meant */
export function findColumn(columns: readonly BoardColumn[], typed: string, title: string): string {
  const words = typed.trim().toLowerCase();
  const tries = [
    (name: string) => name === typed,
    (name: string) => name.toLowerCase() === words,
    (name: string) => words !== "" && name.toLowerCase().startsWith(words),
  ];
  const names = columns.map(({ name }) => name);
  return oneOf(
    tries.map((isMeant) => names.filter(isMeant)),
    `column "${typed}"`,
    title,
  );
}

function oneOf<T>(tries: T[][], what: string, title: string): T {
  const found = tries.find((some) => some.length > 0) ?? [];
  if (found.length > 1) throw new KinError("USAGE", `${found.length} of "${title}" are meant by the ${what}`);
  if (found.length === 0) throw new KinError("NOT_FOUND", `there is no ${what} on "${title}"`);
  return found[0]!;
}

/** As Markdown: what programs and agents read. */
export function formatBoard(columns: readonly BoardColumn[], nameOf: (person: PersonId) => string): string {
  const short = shortIds(columns);
  const line = ({ id, text, assigned }: Card): string => {
    const people = assigned.length === 0 ? "" : ` (${assigned.map(nameOf).join(", ")})`;
    return `- ${short.get(id)!} ${text.trim().replace(/\s*\n\s*/g, " / ")}${people}\n`;
  };
  return columns.map(({ name, cards }) => `## ${name}\n${cards.map(line).join("")}`).join("");
}

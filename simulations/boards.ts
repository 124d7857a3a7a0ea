/**
 * Boards at a heal, held against what people did (`CardAct`). An act counts if its event does, and its author is still a member.
 *
 *   stands   a card is there, once, if an act on it counts that nobody who removed it had
 *   gone     it is not there if somebody who saw all that was ever done to it has removed it
 *   says     each word that was written on a card stands on it, once, and each assignment that nobody has taken back
 *
 * What was done to a card while somebody removed it may be either: the same on all nodes (`documents.ts`).
 */
import type { BoardColumn } from "../sync/documents/board.ts";
import type { ReadableEvent } from "../sync/replica.ts";
import { assignmentText } from "./board-work.ts";
import type { Machine } from "./machine.ts";
import type { Team } from "./team.ts";
import type { CardAct } from "./witness.ts";

type Counting = CardAct & { event: NonNullable<CardAct["event"]> };

/** All that is to be seen of it, a line for each column and card. */
export function boardText(columns: readonly BoardColumn[]): string {
  return columns
    .flatMap(({ name, order, cards }) => [
      `${name} ${order}`,
      ...cards.map((card) => `${card.id} ${card.order} ${card.assigned.join()} ${card.text}`),
    ])
    .join("\n");
}

export function checkBoards(team: Team, machine: Machine, events: readonly ReadableEvent[]): void {
  const { world, witness } = team;
  const good = new Set(events.filter(({ standing }) => standing.state === "good").map(({ id }) => id));
  const living = new Set(team.living().map(({ name }) => name));
  const counts = (act: CardAct): act is Counting =>
    act.event !== null && good.has(act.event.id) && living.has(act.author);
  for (const [id, onBoard] of Map.groupBy(witness.cardActs, ({ board }) => board)) {
    const board = machine.process!.documents.boards.get(id);
    if (board === undefined) {
      // A private one of others, or a traitor's.
      const opening = events.find((event) => event.id === id);
      if (opening?.audience === "mesh" && good.has(id) && onBoard.some(counts))
        world.violate(`${machine.name} does not show the board ${id.slice(0, 8)}`);
      continue;
    }
    const cards = board.board.columns().flatMap((column) => column.cards);
    for (const [card, acts] of Map.groupBy(onBoard, (act) => act.card)) {
      const standing = cards.filter((one) => one.id === card);
      const wrong = (what: string): void =>
        world.violate(`${machine.name} shows the card ${card.slice(0, 8)} of board ${id.slice(0, 8)} ${what}`);
      if (standing.length > 1) wrong(`${standing.length} times`);
      const why = standing.length === 0 ? whyItStands(machine, acts.filter(counts), acts) : null;
      if (why !== null) wrong(`not, after an act of ${why.author} that nobody who removed it had`);
      if (standing.length > 0 && isGone(team, machine, acts, counts)) wrong("after it was removed");
      if (acts.some(({ removal }) => removal !== null))
        world.count(standing.length > 0 ? "removed cards that stand" : "removed cards that are gone");
      else if (standing.length > 0) world.count("cards that stand");
      for (const { word, person } of acts.filter(counts)) {
        const [text, people] = [standing.map((one) => one.text).join(), standing.flatMap((one) => one.assigned)];
        const times = word === null || witness.isStruck(word) ? standing.length : text.split(word).length - 1;
        if (times !== standing.length) wrong(`with "${word!.slice(0, 12)}" ${times} times`);
        if (person !== null && standing.length > 0 && !people.includes(person))
          if (!witness.isStruck(assignmentText(card, person)))
            wrong(`without ${person.slice(0, 8)}, whose it was made`);
      }
    }
  }
}

/** An act that no removal can have taken back. A log that was written twice is no measure of what somebody had. */
function whyItStands({ process }: Machine, counting: readonly Counting[], acts: readonly CardAct[]): CardAct | null {
  const forked = new Set(process!.replica.forkedLogs().map(({ log }) => log));
  const removals = acts.flatMap(({ removal }) => removal ?? []);
  const isUnseen = ({ event: { log, seq } }: Counting): boolean =>
    !forked.has(log) && removals.every(({ had }) => had !== null && (had.get(log) ?? -1) < seq);
  return counting.find((act) => act.removal === null && isUnseen(act)) ?? null;
}

/** Not where something may have been said again since: by who stood on what a removal cut off, or had two histories. */
function isGone(
  team: Team,
  { process }: Machine,
  acts: readonly CardAct[],
  counts: (act: CardAct) => act is Counting,
): boolean {
  if (process!.replica.forkedLogs().length > 0 || team.living().length < team.machines.length) return false;
  const done = acts.filter(({ removal }) => removal === null);
  const removals = acts.filter(counts).flatMap(({ removal }) => removal ?? []);
  return done.every(counts) && removals.some(({ saw }) => done.every(({ event }) => saw.has(event.id)));
}

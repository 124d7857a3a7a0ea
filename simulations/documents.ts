/**
 * Documents at a heal: what each node shows of them must be what the events say, by code of its own where that is short.
 *
 *   equal     facts, shared notes and boards, records and cards read the same on every node, whether it folded them or began with a snapshot
 *   facts     what stands is what no event that counts has replaced, computed anew from the events
 *   typed     each word of an acknowledged edit that counts stands in its note, once, also beside a removed one's
 *   boards    a card stands as long as somebody has done something to it that who removed it had not seen (`boards.ts`)
 *   private   a private note or board is read by its people, by all of them and by nobody else
 *   signed    nobody found that another's snapshot is not what its events fold to
 */
import { createHash } from "node:crypto";
import { encode } from "../protocols/bytes.ts";
import { parseFactSet } from "../protocols/document.ts";
import type { EventId } from "../protocols/ids.ts";
import { sealedValue } from "../protocols/signature.ts";
import type { ReadableEvent } from "../sync/replica.ts";
import { boardText, checkBoards } from "./boards.ts";
import { RECORD } from "./editing.ts";
import type { Machine, Process } from "./machine.ts";
import type { Team } from "./team.ts";

/** Text of each kind of document, the same on every node. */
export async function documentTexts({ process }: Machine): Promise<{ [section: string]: string }> {
  const { documents, cards, replica } = process!;
  await Promise.all([documents.settled(), cards.settled()]);
  const people = [...replica.membership().members.keys()].toSorted();
  return {
    facts: documents.facts
      .list(null)
      .map(({ key, values }) => `${key} ${values.map(({ id, json }) => `${id}=${json}`).join()}`)
      .join("\n"),
    "shared notes": documents.notes
      .all()
      .filter(({ persons }) => persons === null)
      .map(({ id, title, text, waiting }) => `${id} ${title} ${waiting} waiting: ${text.text()}`)
      .toSorted()
      .join("\n"),
    "shared boards": documents.boards
      .all()
      .filter(({ persons }) => persons === null)
      .map(({ id, title, board, waiting }) => `${id} ${title} ${waiting} waiting:\n${boardText(board.columns())}`)
      .toSorted()
      .join("\n"),
    records: people
      .map((person) => `${person} ${settingsText(documents.records.get(person, RECORD)?.state.values() ?? {})}`)
      .join("\n"),
    cards: cards
      .cards()
      .map((sealed) => digest(encode(sealedValue(sealed))))
      .toSorted()
      .join("\n"),
    documents: digest(await documents.hash()),
  };
}

function settingsText(values: object): string {
  return JSON.stringify(Object.entries(values).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** @param exempt machines that show what does not count yet */
export function checkDocuments(
  team: Team,
  machine: Machine,
  events: readonly ReadableEvent[],
  exempt: ReadonlySet<Machine>,
): void {
  checkFacts(team, machine, events);
  checkTyped(team, machine, events);
  checkBoards(team, machine, events);
  checkPrivate(team, machine, exempt);
  checkSigned(team, machine, events);
}

/** A snapshot made under a wrong clock, or before a fork was known, may hold what has not counted since: nobody signs that. */
function checkSigned({ world }: Team, { name, process }: Machine, events: readonly ReadableEvent[]): void {
  for (const { snapshot, verdict } of process!.snapshots.list()) {
    if (!("why" in verdict) || verdict.why !== NOT_SO) continue;
    const isDoubtful = events.some(
      ({ log, seq, standing }) => standing.state !== "good" && seq <= (snapshot.at.get(log)?.seq ?? -1),
    );
    if (isDoubtful) world.count("snapshots that do not stand any more");
    else world.violate(`${name} folds another state than snapshot ${snapshot.id.slice(0, 8)} says`);
  }
}

/** What `snapshot.ts` says of a proposal whose hash it does not get. */
const NOT_SO = "its state is not what its events fold to";

function checkFacts({ world, witness }: Team, { name, process }: Machine, events: readonly ReadableEvent[]): void {
  const standing = new Map<string, Set<EventId>>();
  const replaced = new Set<EventId>();
  for (const { id, kind, standing: at } of events) {
    if (kind !== "fact-set" || at.state !== "good") continue;
    const value = witness.facts.get(id);
    if (value === undefined) continue; // of who was never let in, or to be read by nobody
    const { key, replaces } = parseFactSet(value);
    standing.set(key, (standing.get(key) ?? new Set()).add(id));
    for (const old of replaces) replaced.add(old);
  }
  for (const [key, all] of standing) {
    const expected = [...all].filter((id) => !replaced.has(id)).toSorted();
    const isUnset = expected.every((id) => parseFactSet(witness.facts.get(id)).json === null);
    const shown = (process!.documents.facts.get(null, key)?.values ?? []).map(({ id }) => id).toSorted();
    if (shown.join() !== (isUnset ? "" : expected.join()))
      world.violate(`${name} shows ${shown.length} values of the fact ${key}, ${expected.length} stand`);
  }
}

function checkTyped(team: Team, { name, process }: Machine, events: readonly ReadableEvent[]): void {
  const { world, witness } = team;
  const good = new Set(events.filter(({ standing }) => standing.state === "good").map(({ id }) => id));
  const living = new Set(team.living().map((machine) => machine.name));
  for (const { event, author, note: id, word } of witness.words) {
    const note = process!.documents.notes.get(id);
    // What a traitor types may be refused by all.
    if (note === undefined || !good.has(event) || !living.has(author) || witness.isStruck(word)) continue;
    const times = note.text.text().split(word).length - 1;
    if (times !== 1) world.violate(`${name} shows "${word.slice(0, 12)}" ${times} times in note ${id.slice(0, 8)}`);
  }
}

function checkPrivate(team: Team, { name, device, process }: Machine, exempt: ReadonlySet<Machine>): void {
  const { world, witness } = team;
  const person = process!.replica.membership().devices.get(device)?.member.person;
  for (const note of allNotes(process!)) {
    if (note.persons === null || person === undefined) continue;
    if (witness.secrets.get(note.id)?.has(person) === false)
      world.violate(`${name} reads the private note ${note.id.slice(0, 8)}, which was shared with others`);
    for (const other of team.living()) {
      const theirs = other.process === null ? undefined : allNotes(other.process).find(({ id }) => id === note.id);
      const isTheirs = note.given.some(({ to }) => to.includes(other.device)) && !exempt.has(other);
      if (isTheirs && other.process !== null && theirs?.text !== note.text)
        world.violate(
          `the private note ${note.id.slice(0, 8)} reads "${note.text.slice(0, 40)}" at ${name} and "${theirs?.text.slice(0, 40)}" at ${other.name}`,
        );
    }
  }
}

/** Texts and boards, and what they say. */
function allNotes({ documents: { notes, boards } }: Process) {
  return [
    ...notes.all().map((note) => ({ ...note, text: note.text.text() })),
    ...boards.all().map((board) => ({ ...board, text: boardText(board.board.columns()) })),
  ];
}

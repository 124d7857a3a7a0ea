/**
 * What this device writes into notes, boards and records: as updates that go on from what counts here, in the living log. What it wrote
 * and does not count, and never will, it says again by itself as soon as it knows, so that nothing that was typed is lost:
 *
 *   stands on what a removal cut off (R5)                           ┐ what was meant by it, as changes of what counts (`anew.ts`),
 *   stands in a history of a log that came second in the document   ┘ in a life of the log that is free
 */
import type { Value } from "../../protocols/bytes.ts";
import {
  automergeActorOf,
  MAX_LIVES,
  MAX_NOTE_CLIENTS,
  noteEditedValue,
  recordChangedValue,
  recordDocumentId,
  sealUpdate,
  yjsClientOf,
  type DOCUMENT_KINDS,
  type NoteId,
  type RecordDocumentId,
} from "../../protocols/document.ts";
import type { Random } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { logIdOf } from "../../protocols/events.ts";
import { formatText, idBytes, type DeviceId, type EventId, type LogId, type PersonId } from "../../protocols/ids.ts";
import { createQueue } from "../ground.ts";
import type { NewEntry, ReadableEvent, Replica } from "../replica.ts";
import type { StoreBatch } from "../store.ts";
import { writeMeant, type Meant } from "./anew.ts";
import { placed, type DocumentEvent } from "./arrivals.ts";
import { isBy, type Author, type DocumentFold } from "./collection.ts";
import { documentOf, SHAPES, type Board, type Note, type Notes } from "./notes.ts";
import type { Records, Settings } from "./records.ts";
import type { RefusedEdit } from "./refusals.ts";
import { parseUpdate, type MadeUpdate } from "./yjs.ts";

/** Of the store, stored with what is appended. */
type Rows = NonNullable<StoreBatch["values"]>;

export interface WritingDeps {
  replica: Replica;
  /** This device's person. */
  person: PersonId;
  notes: Notes;
  records: Records;
  /** Edits that have no effect, by document. */
  refused: ReadonlyMap<string, readonly RefusedEdit[]>;
  /** Edits of all documents that are here. */
  edits: () => AsyncIterable<ReadableEvent>;
  isOf: (event: ReadableEvent, ids: ReadonlySet<string>) => boolean;
  /** Events that have not come to their documents. */
  unfolded: () => EventId[];
  settled: () => Promise<void>;
  /** Appends and folds. */
  append: (entries: NewEntry[], values: Rows) => Promise<ReadableEvent[]>;
  /** The snapshot that documents begin with is damaged. */
  isBaseLost: () => boolean;
  isClosed: () => boolean;
  hasHeard: (() => boolean) | undefined;
  random: Random;
  failed: ((error: unknown) => void) | undefined;
  /** Has {@link Writing.lookAgain} called in a while. */
  later: () => void;
}

export interface Writing {
  /** One after the other. */
  inOrder: <T>(job: () => Promise<T>) => Promise<T>;
  /**
   * False: `make` had nothing to write. `look` is called before own edits are said again there: whoever asks has not seen those.
   * @throws KinError CLOCK_SKEW, EARLIER_WAITS, CORRUPT, FORKED, what `make`, `look` and an append throw
   */
  write: (
    id: string,
    of: DocumentFold<string>,
    make: (as: Writer) => NewEntry[],
    look?: () => void,
  ) => Promise<boolean>;
  /** @throws KinError TOO_LARGE */
  clientOf: (as: WriterIn, note: Note | Board) => number;
  noteEntries: (note: Note | Board, as: WriterIn, updates: readonly MadeUpdate[]) => NewEntry[];
  settingEntries: (name: string, as: Writer, settings: Settings) => NewEntry[];
  /** An own edit that was said again by another. */
  isAnew: (event: EventId) => boolean;
  /** After a fold: own edits that count no more are said again soon, if a peer was heard; a restored folder may not know what it says. */
  lookForLost: () => void;
  /** The next look is for what could not be said again before, too. */
  lookAgain: () => void;
}

/** As whom the next update of a document is made. */
export interface Writer {
  log: LogId;
  /** Of the log, in the document. */
  life: number;
  /** Its updates that wait. */
  waiting: EventId[];
}
type WriterIn = Pick<Writer, "log" | "life">;
/** Own updates that are to be made anew, and how. */
interface Anew {
  events: EventId[];
  make: (as: Writer) => NewEntry[];
}

/** In `log.db`, one for each: own edits that were made anew in a later life of their log, or in a later log. */
const ANEW_KEY = "documents/anew/";
/** Of them, in one transaction with what says them: half of what one may have. */
const WITH_ENTRIES = 2048;
/** A log that ends while we write to it: the update is made again for the next one. */
const MAX_TRIES = 3;

export async function openWriting(deps: WritingDeps): Promise<Writing> {
  const { replica, person, notes, records, refused, settled, random } = deps;
  const own = replica.device;
  const inOrder = createQueue();
  /** Own edits that were said again by another. */
  const anew = new Set((await replica.store.values(ANEW_KEY)).map(({ key }) => key.slice(ANEW_KEY.length) as EventId));
  const by: Author = { device: own, done: anew };
  /** What was lost when it was last looked for that, what waited and was refused there, and who was a member. */
  let lookedAt = "";

  /** The log that the next event goes to, unless it ends first. */
  function ownLog(): LogId {
    return logIdOf(replica.mesh, { device: own, incarnation: replica.incarnation().id, chain: "mesh" });
  }

  /**
   * Writes events that are made for one log: if it ended meanwhile they went to another, where nobody takes them, and are made
   * again. False: `make` had nothing to write.
   */
  function write(
    id: string,
    of: DocumentFold<string>,
    make: (as: Writer) => NewEntry[],
    look?: () => void,
  ): Promise<boolean> {
    return inOrder(async () => {
      await settled();
      look?.();
      await goOn(id, of);
      return writeOnce(id, of, make);
    });
  }

  async function writeOnce(
    id: string,
    of: DocumentFold<string>,
    make: (as: Writer) => NewEntry[],
    values: Rows = [],
  ): Promise<boolean> {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      await settled();
      checkWhole();
      const as = writerOf(id, of);
      await checkGoesOn(id, as);
      const entries = make(as);
      if (entries.length === 0) return false;
      const written = await deps.append(entries, values);
      if (written.every((event) => event.log === as.log)) return true;
    }
    throw new KinError("FORKED", "this device's log ended again and again while a document was written");
  }

  /** A life that only holds what was made anew is over: what else waits there would be left behind. @throws KinError TOO_LARGE */
  function writerOf(id: string, of: DocumentFold<string>): Writer {
    const log = ownLog();
    const { life, waiting } = of.lastLife(id, log);
    const isOver = waiting.length > 0 && waiting.every((event) => anew.has(event));
    if (isOver && life + 1 === MAX_LIVES)
      throw new KinError("TOO_LARGE", `what this device wrote there was cut off ${MAX_LIVES} times: begin a new one`);
    return { log, life: isOver ? life + 1 : life, waiting: isOver ? [] : waiting };
  }

  /** Own edits that count no more, or never will, are made anew before anything else is written there. */
  async function goOn(id: string, of: DocumentFold<string>): Promise<void> {
    const waiting = of.waitingOf(own).find((one) => one.id === id)?.events ?? [];
    const found = (await beyondCut(id, of, waiting)) ?? (await beside(id, of, waiting));
    if (found === null) return;
    // What waits for something else in the same life would be left behind: it is looked at again together.
    const behind = of.lastLife(id, ownLog()).waiting.filter((event) => !found.events.includes(event));
    if (behind.every((event) => anew.has(event))) await sayOnce(id, of, found);
  }

  async function beyondCut(id: string, of: DocumentFold<string>, waiting: EventId[]): Promise<Anew | null> {
    if (waiting.every((event) => anew.has(event))) return null;
    const cut = await cutOff(id);
    if (cut.length === 0) return null;
    return of === notes ? noteAnew(id as NoteId, cut) : recordAnew(id, cut);
  }

  /** Where a log was written twice, one history of it comes second in a document: with all that others built on it. */
  async function beside(id: string, of: DocumentFold<string>, waiting: EventId[]): Promise<Anew | null> {
    const edits = refused.get(id) ?? [];
    const isLost = [...edits.filter(({ device }) => device === own).map((edit) => edit.id), ...waiting].some(
      (event) => !anew.has(event),
    );
    if (!isLost || edits.length === 0 || replica.forks().length === 0) return null;
    const all = await eventsOf(edits.map((edit) => edit.id));
    if (of === notes) return noteBeside(id as NoteId, all);
    const left = await eventsOf(waiting);
    return recordBeside(
      id,
      [...all, ...left].filter((event) => isBy(by, event)),
    );
  }

  /** Those that can be read. */
  async function eventsOf(ids: readonly EventId[]): Promise<DocumentEvent[]> {
    const events = await Promise.all(ids.map((id) => replica.event(id)));
    return events.flatMap((event) =>
      event === undefined || event.unreadable !== null || event.repeats === null ? [] : [placed(event)],
    );
  }

  /** That it is said is stored with what says it, so that a crash makes no second saying. */
  async function sayOnce(id: string, of: DocumentFold<string>, { events, make }: Anew): Promise<void> {
    const rows = (value: Uint8Array | null): Rows => events.map((event) => ({ key: ANEW_KEY + event, value }));
    const said = rows(new Uint8Array());
    for (const event of events) anew.add(event);
    try {
      const isWritten = await writeOnce(id, of, make, said.slice(0, WITH_ENTRIES));
      await storeRows(isWritten ? said.slice(WITH_ENTRIES) : said);
    } catch (error) {
      for (const event of events) anew.delete(event);
      // It may have been stored with entries that went to a log that nobody takes them from.
      await storeRows(rows(null));
      throw error;
    }
  }

  async function storeRows(rows: Rows): Promise<void> {
    for (let at = 0; at < rows.length; at += WITH_ENTRIES)
      await replica.store.append({ values: rows.slice(at, at + WITH_ENTRIES) });
  }

  async function noteAnew(id: NoteId, cut: DocumentEvent[]): Promise<Anew | null> {
    const found = await notes.meant(id, by, cut);
    return found === null ? null : { events: found.events, make: (as) => meantEntries(noteHere(id), as, found.meant) };
  }

  function recordAnew(id: string, cut: DocumentEvent[]): Anew | null {
    const found = records.meant(id as RecordDocumentId, by, cut);
    return found === null
      ? null
      : { events: found.events, make: (as) => settingEntries(found.name, as, found.settings) };
  }

  /** Edits of a document that count no more since their authors were removed. */
  async function cutOff(id: string): Promise<DocumentEvent[]> {
    const { formerDevices } = replica.membership();
    const ids = new Set([id]);
    const cut: DocumentEvent[] = [];
    for await (const event of deps.edits())
      if (event.standing.state === "quarantined" && formerDevices.has(event.device) && deps.isOf(event, ids))
        if (event.unreadable === null && event.audience === "mesh" && event.repeats !== null) cut.push(placed(event));
    return cut;
  }

  /** Documents with own edits that count no more and were not said again. */
  function lost(): Map<string, { of: DocumentFold<string>; events: EventId[] }> {
    const found = new Map<string, { of: DocumentFold<string>; events: EventId[] }>();
    for (const fold of [notes, records] as DocumentFold<string>[])
      for (const { id, events } of fold.waitingOf(own)) found.set(id, { of: fold, events });
    for (const [id, events] of replica.forks().length === 0 ? [] : refused) {
      const mine = events.filter((event) => event.device === own).map((event) => event.id);
      const { of, events: waiting } = found.get(id) ?? { of: notes.has(id as NoteId) ? notes : records, events: [] };
      found.set(id, { of, events: [...waiting, ...mine] });
    }
    for (const [id, { events }] of found) if (events.every((event) => anew.has(event))) found.delete(id);
    return found;
  }

  function lookForLost(): void {
    if (deps.isClosed() || deps.hasHeard?.() === false) return;
    const found = [...lost()];
    if (found.length === 0) return;
    // What they stand on may have come since, or may have been refused since.
    const about = found.flatMap(([id, { of, events }]) => [refused.get(id)?.length ?? 0, ...events, ...of.pending()]);
    const state = [...replica.rosterHeads(), ...about].join();
    if (state === lookedAt) return;
    lookedAt = state;
    inOrder(async () => {
      await settled();
      if (deps.isClosed() || !replica.membership().devices.has(own)) return;
      for (const [id, { of }] of lost())
        await goOn(id, of).catch((error: unknown) => {
          // Who opened it was removed meanwhile: there is nothing to write into.
          if (!(error instanceof KinError && error.code === "NOT_FOUND")) deps.failed?.(error);
        });
      // This machine could not, or what they stand on has not come.
      if (lost().size > 0) deps.later();
    }).catch((error: unknown) => deps.failed?.(error));
  }

  async function noteBeside(id: NoteId, all: readonly DocumentEvent[]): Promise<Anew | null> {
    const found = await notes.meantBeside(id, by, all);
    const log = ownLog();
    const life = freeLife(id, log, all);
    if (found === null || life === null) return null;
    const make = (as: Writer): NewEntry[] => {
      if (as.log !== log) throw new KinError("FORKED", "this device's log has ended: it is said in the next one");
      return meantEntries(noteHere(id), { log, life }, found.meant);
    };
    return { events: found.events, make };
  }

  /** @throws KinError NOT_FOUND */
  function noteHere(id: NoteId): Note | Board {
    const note = notes.get(id);
    if (note === undefined) throw new KinError("NOT_FOUND", `there is no note ${id} here any more`);
    return note;
  }

  /** A life in which nobody has seen anything of this log; null: there is none left. */
  function freeLife(id: NoteId, log: LogId, all: readonly DocumentEvent[]): number | null {
    const { life, waiting } = notes.lastLife(id, log);
    const isUsed =
      waiting.length > 0 ||
      all.some((event) => event.device === own && event.log === log) ||
      documentOf(noteHere(id))
        .seen()
        .has(yjsClientOf(log, id, life));
    const free = isUsed ? life + 1 : life;
    return free === MAX_LIVES ? null : free;
  }

  function recordBeside(id: string, changes: readonly DocumentEvent[]): Anew {
    const { name, settings } = records.settingsOf(id as RecordDocumentId, changes);
    return { events: changes.map((event) => event.id), make: (as) => settingEntries(name, as, settings) };
  }

  /** What is written goes on from what this device wrote before: without knowing that, nobody would take it. */
  function checkWhole(): void {
    if (deps.isBaseLost())
      throw new KinError("CORRUPT", "the snapshot that this node begins with is damaged, and not fetched again yet", {
        hint: "kin sync now, while somebody is there who has it",
      });
  }

  /**
   * What is written goes on from what counts here. While an earlier edit of this log does not (its stamp is held since the clock was
   * set back; what it stands on was cut off), the next would begin where that one began, and be refused everywhere.
   */
  async function checkGoesOn(id: string, { log, waiting }: Writer): Promise<void> {
    const ids = new Set([id]);
    for (const one of [...deps.unfolded(), ...waiting]) {
      const event = await replica.event(one);
      if (event?.log !== log || !deps.isOf(event, ids)) continue;
      const since = `an earlier change of this device to it, of ${new Date(event.at).toISOString()}`;
      if (event.standing.state === "held")
        throw new KinError("CLOCK_SKEW", `${since}, is ahead of this machine's clock and does not count yet`, {
          hint: "set this machine's clock (usually by turning on its network time), then try again",
        });
      throw new KinError("EARLIER_WAITS", `${since}, does not count here yet`, {
        hint: `try again in a minute; if it stays so: kin sync why ${formatText("kine", idBytes(event.id))}`,
      });
    }
  }

  /** @throws KinError TOO_LARGE */
  function clientOf({ log, life }: WriterIn, note: Note | Board): number {
    const client = yjsClientOf(log, note.id, life);
    const seen = documentOf(note).seen();
    if (seen.size >= MAX_NOTE_CLIENTS && !seen.has(client))
      throw new KinError("TOO_LARGE", `${MAX_NOTE_CLIENTS} logs have written in "${note.title}": begin a new one`);
    return client;
  }

  function noteEntries(note: Note | Board, { log, life }: WriterIn, updates: readonly MadeUpdate[]): NewEntry[] {
    const { id, form, key } = note;
    return updates.map(({ bytes, seen }) => {
      // What no node takes is not written.
      parseUpdate(bytes, yjsClientOf(log, id, life), seen, SHAPES[form]);
      const at = { mesh: replica.mesh, note: id, author: own };
      const update = key === null ? { open: bytes } : sealUpdate(at, key, bytes, random);
      return entryFor("note-edited", noteEditedValue({ note: id, seen, life, update }), null);
    });
  }

  function meantEntries(note: Note | Board, as: WriterIn, meant: Meant): NewEntry[] {
    return noteEntries(note, as, writeMeant(documentOf(note).state(), clientOf(as, note), note.form, meant));
  }

  function settingEntries(name: string, { log, life }: Writer, settings: Settings): NewEntry[] {
    const id = recordDocumentId(replica.mesh, person, "agent", name);
    const change = records.stateOf(person, name).change(automergeActorOf(log, id, life), settings);
    if (change === null) return [];
    return [entryFor("record-changed", recordChangedValue({ about: "agent", name, change }), null)];
  }

  return {
    inOrder,
    write,
    clientOf,
    noteEntries,
    settingEntries,
    isAnew: (event) => anew.has(event),
    lookForLost,
    lookAgain: () => (lookedAt = ""),
  };
}

/** `to`: devices that it is sealed to; null: the mesh. */
export function entryFor(kind: (typeof DOCUMENT_KINDS)[number], value: Value, to: DeviceId[] | null): NewEntry {
  return to === null ? { kind, audience: "mesh", value } : { kind, audience: "direct", value, to };
}

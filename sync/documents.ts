/**
 * Documents (§7): what the log's `fact-set`, `note-*` and `record-changed` events fold to. The log is the truth; this is a view
 * that can be thrown away at any time and folds again. Pure but for the trial of foreign updates, which is passed in: a thread on
 * a node (`documents/worker.ts`), the function itself in a simulation (`documents/trial.ts`).
 *
 *   log ─▶ projection ─┬─▶ facts                    any order, at once
 *                      ├─▶ notes    ─▶ arrivals ─▶ trial on a copy ─▶ Yjs          texts and boards
 *                      └─▶ records  ─▶ arrivals ─▶ trial on a copy ─▶ Automerge
 */
import {
  DOCUMENT_KINDS,
  factSetValue,
  noteOpenedValue,
  noteSharedValue,
  parseFactSet,
  recordDocumentId,
  type FactScope,
  type NoteForm,
  type NoteId,
} from "../protocols/document.ts";
import { concat, encode, equal } from "../protocols/bytes.ts";
import type { Random, Time } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import type { EventKind } from "../protocols/events.ts";
import { sha256 } from "#crypto";
import { idBytes, idOf, type DeviceId, type EventId, type PersonId } from "../protocols/ids.ts";
import { compareStamps } from "./clock.ts";
import type { Setting } from "./documents/automerge.ts";
import type { Card } from "./documents/board.ts";
import { writeBoard, type BoardAct } from "./documents/board-acts.ts";
import { placed } from "./documents/arrivals.ts";
import type { DocumentEvent } from "./documents/arrivals.ts";
import type { DocumentFold } from "./documents/collection.ts";
import { createFacts, factsView, type Fact, type FactValue } from "./documents/facts.ts";
import { writeText } from "./documents/note-text.ts";
import { createNotes, type Board, type Note } from "./documents/notes.ts";
import { parseSavedRow, savedRow, savedRows, type DocumentKeep, type SavedRow } from "./documents/saved.ts";
import { createRecords, type KinRecord } from "./documents/records.ts";
import { createRefusals, type RefusedUpdate } from "./documents/refusals.ts";
import { documentRows, notesPart, recordsPart } from "./documents/snapshot-views.ts";
import { entryFor, openWriting, type Writer, type Writing } from "./documents/writing.ts";
import { diffText, type Hunk } from "./documents/text-diff.ts";
import type { RunTrial } from "./documents/trial.ts";
import type { MadeUpdate, Run } from "./documents/yjs.ts";
import { openProjection, type ProjectionOptions } from "./projection.ts";
import type { NewEntry, ReadableEvent, Replica } from "./replica.ts";
import type { Base, SnapshotBase } from "./snapshot-base.ts";
import type { SnapshotPart } from "./snapshot-view.ts";
import type { StoreBatch } from "./store.ts";

export interface DocumentsDeps {
  replica: Replica;
  /** The snapshot that documents begin with, if there may be one (R16). */
  base?: SnapshotBase | undefined;
  /** This device's person. */
  person: PersonId;
  runTrial: RunTrial;
  /** Where the fold is kept over a restart; without it, each start folds the log. */
  keep?: DocumentKeep | undefined;
  time: Pick<Time, "after">;
  random: Random;
  /** Whether a peer was heard in this run: before, nothing is written that nobody asked for. @default true */
  hasHeard?: (() => boolean) | undefined;
  /** Told what failed for a reason of this machine, not of an event; it is tried again. */
  failed?: ((error: unknown) => void) | undefined;
}

/** What a reader saw of a note before he edited it: its visible runs and their text. */
export interface NoteBase {
  runs: readonly Run[];
  text: string;
}
/** `text`: what the note is to say (in the place of `base`, or of what it says now); `append`: what is added at its end. */
export type NoteEdit = { text: string; base?: NoteBase } | { append: string };

export interface FactSet extends FactValue {
  /** How many values it took the place of; null: a snapshot stands for it, which does not say. */
  replaces: number | null;
  isStanding: boolean;
}
export interface FactHistory {
  /** All that a key was ever set to, the newest first. */
  sets: FactSet[];
  /** Sets that were replaced and are not here: pruned, or not come yet. */
  missing: number;
}

export interface Documents {
  facts: {
    get(scope: FactScope, key: string): Fact | undefined;
    list(scope: FactScope, prefix?: string): Fact[];
    /** Replaces all values that stand here now; `json` null unsets. Resolves when durable and folded. @throws KinError BAD_REQUEST, TOO_LARGE, NOT_A_MEMBER, REMOVED, DISK_FULL */
    set(scope: FactScope, key: string, json: string | null): Promise<void>;
    history(scope: FactScope, key: string): Promise<FactHistory>;
    count(): number;
  };
  notes: {
    get(id: NoteId): Note | undefined;
    all(): Note[];
    /** `persons`: who may read it besides me; null: the mesh. A board if `form` says so. @throws KinError BAD_REQUEST, TOO_LARGE, NOT_A_MEMBER, REMOVED, DISK_FULL */
    open(note: { title: string; persons: readonly PersonId[] | null; form?: NoteForm }): Promise<NoteId>;
    /** False: it says that already. @throws KinError NOT_FOUND, TOO_LARGE, NOT_A_MEMBER, REMOVED, DISK_FULL */
    edit(id: NoteId, edit: NoteEdit): Promise<boolean>;
    /** Gives a private note or board to more people. @throws KinError NOT_FOUND, BAD_REQUEST, TOO_LARGE */
    share(id: NoteId, persons: readonly PersonId[]): Promise<void>;
  };
  boards: {
    get(id: NoteId): Board | undefined;
    all(): Board[];
    /** False: it is so already. @throws KinError NOT_FOUND, BAD_REQUEST, TOO_LARGE, NOT_A_MEMBER, REMOVED, DISK_FULL */
    edit(id: NoteId, act: BoardAct): Promise<boolean>;
  };
  records: {
    get(person: PersonId, name: string): KinRecord | undefined;
    /** One of mine; undefined unsets. False: it is that already. @throws KinError BAD_REQUEST, TOO_LARGE, NOT_A_MEMBER, REMOVED, DISK_FULL */
    set(name: string, key: string, value: Setting | undefined): Promise<boolean>;
  };
  /** Called when something may read otherwise now; `records`: also a record. Returns how to stop. */
  on(listener: (change: { records: boolean }) => void): () => void;
  /** Events that were refused, the newest last. */
  refused(): RefusedUpdate[];
  /** An edit that waits for what it builds on, or for a key. */
  isWaiting(event: EventId): boolean;
  /** An edit that stood on what a removal cut off, or in a second history, and has no effect: its author has made it anew. */
  isMadeAnew(event: EventId): boolean;
  /** Resolves when all that the replica has now is folded, or waits for something that has not come. */
  settled(): Promise<void>;
  /** Of what is for the mesh: the same 32 bytes on every node that has the same events and can read them. */
  hash(): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** What rows that are kept were folded by: another kin may have passed over what this one takes, or decided in another order (boards, what is said again: 2; lives: 3; shares with a made-up key: 4). */
const FOLD_VERSION = 4;
/** In `log.db`: which run of the node may have kept rows last. */
const RUN_KEY = "documents/run";
const HEAD_ROW = "head";
/** What a person writes; Yjs's state and the trial's copy of it grow with it. */
export const MAX_NOTE_UNITS = 1024 * 1024;
/** Edits whose trial this machine could not finish wait this long. */
const HELD_RETRY_MS = 60_000;
/** What of documents a snapshot may stand for. */
const PARTS: readonly SnapshotPart[] = [factsView, notesPart, recordsPart];
const NOTE_KEY_BYTES = 32;
const PAGE_EVENTS = 512;

export async function openDocuments(deps: DocumentsDeps): Promise<Documents> {
  const { replica, person, runTrial, time, random, failed } = deps;
  let begun: Base | null = null;
  const own = replica.device;
  const listeners = new Set<(change: { records: boolean }) => void>();
  /** Documents that begin anew. */
  const late = new Set<string>();
  /** Edits that are said again, of which the first saying has not come: their place is there. */
  const unplaced = new Set<EventId>();
  /** Of this device, being written now: it made them of what it has, so they are not tried. */
  const trusted = new Set<EventId>();
  let isWriting = false;
  let pumping: Promise<void> | null = null;
  let again = false;
  let recordsCame = false;
  /** What was judged is judged anew and not yet folded again. */
  let isStale = false;
  let run: Uint8Array | null = null;
  let isOpen = false;
  let closed = false;
  /** Keys of private notes may be to be given: machines came (also while nobody looked), or people by another's hand. */
  let isShareDue = true;
  let cancelRetry: (() => void) | null = null;
  let writing: Writing | undefined;
  const refusals = createRefusals(own);
  const parts = {
    mesh: replica.mesh,
    isTrusted: (id: EventId) => trusted.has(id),
    runTrial,
    refused: refuse,
    held,
  };
  const facts = createFacts();
  const notes = createNotes(parts);
  const records = createRecords(parts);
  const folds: readonly DocumentFold<string>[] = [notes, records];
  begin();
  const start = deps.keep === undefined ? undefined : await loadKept(deps.keep);
  const projection = await openProjection(replica, {
    kinds: new Set<string>(DOCUMENT_KINDS),
    fold,
    clear,
    start,
    changed: () => void pump().catch((error: unknown) => failed?.(error)),
    failed,
  });
  isOpen = true;
  if (late.size > 0) pump().catch((error: unknown) => failed?.(error));
  writing = await openWriting({
    replica,
    person,
    notes,
    records,
    refused: refusals.edits,
    edits,
    isOf,
    unfolded: () => [...projection.waiting(), ...unplaced],
    settled,
    append: appendOwn,
    isBaseLost: () => deps.base?.isLost() === true,
    isClosed: () => closed,
    hasHeard: deps.hasHeard,
    random,
    failed,
    later,
  });
  const { inOrder, write } = writing;
  const stopWatching = replica.on((change) => {
    if (change.type === "rejudged") isStale = true;
    if (change.type === "grown" && unplaced.size > 0) pump().catch((error: unknown) => failed?.(error));
    if (change.type !== "membership") return;
    isShareDue = true;
    shareDue();
  });
  shareDue();

  // ── folding ──

  function fold(event: ReadableEvent): void {
    if (isStoodFor(event)) return;
    if (event.kind === "fact-set") return foldFact(event);
    isShareDue ||= event.kind === "note-shared" && event.device !== own;
    if (event.repeats === null) return void unplaced.add(event.id);
    unplaced.delete(event.id);
    foldUpdate(placed(event));
  }

  function foldUpdate(event: ReadableEvent): void {
    if (isWriting && event.device === own) trusted.add(event.id);
    recordsCame ||= event.kind === "record-changed";
    const result = foldOf(event).fold(event);
    if (result instanceof KinError) refuse(event, event.kind, result);
    else if (result !== null) late.add(result.late);
  }

  function foldOf({ kind }: Pick<ReadableEvent, "kind">): DocumentFold<string> {
    return kind === "record-changed" ? records : notes;
  }

  function refuse(event: DocumentEvent, kind: ReadableEvent["kind"], error: KinError): void {
    refusals.add(event, kind, documentOfEvent(event, kind), error);
  }

  /** null: it says none, or none that can be read. */
  function documentOfEvent(event: DocumentEvent, kind: ReadableEvent["kind"]): string | null {
    if (kind === "note-opened") return event.id;
    try {
      return kind === "fact-set" ? null : foldOf({ kind }).idOf(event);
    } catch {
      return null;
    }
  }

  function foldFact(event: ReadableEvent): void {
    // What is said to some only is no fact of the mesh: no snapshot could hold it.
    const error = event.audience === "mesh" ? facts.fold(event) : null;
    if (error !== null) refuse(event, event.kind, error);
  }

  /** Whoever begins with a snapshot folds nothing behind it again, whoever brings it (C25). */
  function isStoodFor(event: ReadableEvent): boolean {
    const part = PARTS.find(({ kinds }) => kinds.has(event.kind));
    return event.audience === "mesh" && part !== undefined && begun?.covers(part, event) === true;
  }

  function begin(): void {
    begun = deps.base?.current() ?? null;
    facts.load(begun?.rows(factsView) ?? []);
    notes.beginWith(documentRows(begun?.rows(notesPart) ?? []));
    records.beginWith(documentRows(begun?.rows(recordsPart) ?? []));
  }

  function clear(): void {
    isStale = false;
    facts.clear();
    for (const one of folds) one.clear();
    begin();
    recordsCame = true;
    late.clear();
    unplaced.clear();
    refusals.clear();
  }

  /** One at a time; what comes meanwhile is decided in the same run. */
  function pump(): Promise<void> {
    again = true;
    pumping ??= pumpAll().finally(() => (pumping = null));
    return pumping;
  }

  async function pumpAll(): Promise<void> {
    while (again) {
      again = false;
      if (closed) return;
      await place();
      await findOpeners();
      await beginLate();
      for (const one of folds) await one.pump();
      const change = { records: recordsCame };
      recordsCame = false;
      for (const listener of listeners) listener(change);
      writing?.lookForLost();
      shareDue();
    }
  }

  async function place(): Promise<void> {
    for (const id of unplaced) {
      const event = await replica.event(id);
      if (event?.standing.state === "good" && event.unreadable === null && event.repeats !== null) fold(event);
    }
  }

  /** The opening of a private note need not be for this device: who wrote it says which key is the note's. */
  async function findOpeners(): Promise<void> {
    for (const id of notes.unopened()) {
      const event = await replica.event(id);
      if (event?.kind !== "note-opened" || event.standing.state !== "good" || event.person === null) continue;
      const result = notes.openedBy(id, event.person);
      if (result !== null) late.add(result.late);
    }
  }

  /** Documents of which an earlier event came after later ones were decided fold again from their first event. */
  async function beginLate(): Promise<void> {
    if (late.size === 0 || !isOpen) return; // while the log is read for the first time, all is not here yet
    // Bodies that it was made of may have been dropped since: then all begins with what stands for them.
    if ((deps.base?.current() ?? null) !== begun) {
      replica.refold();
      return projection.settled();
    }
    const ids = new Set(late);
    late.clear();
    for (const id of ids) refusals.begin(id);
    for (const one of folds) for (const id of ids) one.begin(id);
    for await (const event of edits())
      if (event.standing.state === "good" && event.unreadable === null && isOf(event, ids)) fold(event);
  }

  /** Edits of all documents that the projection has come to. */
  async function* edits(): AsyncGenerator<ReadableEvent> {
    const kinds = new Set<EventKind>(["note-edited", "record-changed"]);
    yield* (await replica.branchEvents()).filter(({ kind }) => kinds.has(kind));
    for (let position = 0; position < projection.position();) {
      const page = await replica.events({ position, limit: PAGE_EVENTS, kinds });
      if (page.next === position) return;
      position = page.next;
      yield* page.events;
    }
  }

  function isOf(event: ReadableEvent, ids: ReadonlySet<string>): boolean {
    try {
      return ids.has(foldOf(event).idOf(event));
    } catch {
      return false; // it was refused when it was folded first
    }
  }

  function held(error: unknown): void {
    failed?.(error);
    later();
  }

  function later(): void {
    cancelRetry ??= time.after(HELD_RETRY_MS, retry);
  }

  function retry(): void {
    cancelRetry = null;
    writing?.lookAgain();
    for (const one of folds) one.retry();
    pump().catch((error: unknown) => failed?.(error));
  }

  async function settled(): Promise<void> {
    await projection.settled();
    await pump();
  }

  // ── what is kept over a restart ──

  /** What rows are good for: the same fold, members, forks and snapshot. */
  function fingerprint(): Uint8Array {
    const forks = replica.forks().map(({ log }) => log);
    return encode([FOLD_VERSION, replica.rosterHeads().toSorted(), forks.toSorted(), begun?.snapshot.id ?? null]);
  }

  /** Rows are good once: for the start after the end that wrote them. */
  async function loadKept(keep: DocumentKeep): Promise<ProjectionOptions["start"]> {
    const before = await replica.store.value(RUN_KEY);
    run = random.bytes(16);
    await replica.store.append({ values: [{ key: RUN_KEY, value: run }] });
    try {
      const [head, ...rows] = ((await keep.load()) ?? []).map(parseSavedRow);
      if (head === undefined || before === undefined || (await replica.branchEvents()).length > 0) return undefined;
      const [tag, print, of, position] = head as unknown as [string, Uint8Array, Uint8Array, number];
      if (tag !== HEAD_ROW || !equal(print, fingerprint()) || !equal(of, before)) return undefined;
      // The base's rows are among those that were kept.
      facts.clear();
      for (const one of folds) one.clear();
      refusals.clear();
      const waiting: EventId[] = [];
      const again: EventId[] = [];
      for (const row of rows) loadRow(row, waiting, again);
      return { position, waiting, again };
    } catch (error) {
      failed?.(error);
      clear();
      return undefined;
    }
  }

  function loadRow(row: SavedRow, waiting: EventId[], pending: EventId[]): void {
    const [tag, , items] = row;
    if (tag === "waiting" || tag === "pending")
      (tag === "waiting" ? waiting : pending).push(...(items as Uint8Array[]).map((id) => idOf<"event">(id)));
    else if (tag === "facts") facts.load(items as Uint8Array[]);
    else if (!refusals.load(row) && !folds.some((one) => one.load(row)))
      throw new KinError("CORRUPT", `documents were kept with a row "${tag}" that nobody knows`);
  }

  async function saveKept(keep: DocumentKeep): Promise<void> {
    const nobody = new Uint8Array();
    const pending = [...unplaced, ...folds.flatMap((one) => one.pending())];
    const rows = [
      savedRow(HEAD_ROW, fingerprint(), run, projection.position()),
      ...savedRows("waiting", nobody, projection.waiting().map(idBytes)),
      ...savedRows("pending", nobody, pending.map(idBytes)),
      ...savedRows("facts", nobody, [...facts.rows()]),
      ...refusals.saved(),
      ...folds.flatMap((one) => [...one.saved()]),
    ];
    await keep.save(rows).catch((error: unknown) => failed?.(error));
  }

  // ── writing ──

  async function appendOwn(entries: NewEntry[], values: StoreBatch["values"]): Promise<ReadableEvent[]> {
    isWriting = true;
    try {
      const written = await replica.append(entries, { values });
      await settled();
      return written;
    } finally {
      isWriting = false;
      trusted.clear();
    }
  }

  async function setFact(scope: FactScope, key: string, json: string | null): Promise<void> {
    await inOrder(async () => {
      await settled();
      const value = factSetValue({ scope, key, json, replaces: facts.standing(scope, key) });
      await replica.append([{ kind: "fact-set", audience: "mesh", value }]);
      await settled();
    });
  }

  async function factHistory(scope: FactScope, key: string): Promise<FactHistory> {
    const standing = new Map(facts.values(scope, key).map((value) => [value.id, value]));
    const events = await Promise.all(
      facts.sets(scope, key).map(async (id) => ({ id, event: await replica.event(id) })),
    );
    const sets = events.flatMap(({ id, event }): FactSet[] => {
      const value = standing.get(id);
      if (event?.kind === "fact-set" && event.value !== undefined && event.standing.state === "good") {
        const { device, at, hlc, value: said } = event;
        const { json, replaces } = parseFactSet(said);
        return [{ id, device, at, hlc, json, replaces: replaces.length, isStanding: value !== undefined }];
      }
      // A snapshot stands for the event: the fold knows what it says.
      return value === undefined ? [] : [{ ...value, replaces: null, isStanding: true }];
    });
    const isMissing = ({ id, event }: (typeof events)[number]): boolean =>
      !standing.has(id) && (event === undefined || event.unreadable !== null);
    return {
      sets: sets.toSorted((a, b) => compareStamps(b.hlc, a.hlc)),
      missing: events.filter(isMissing).length,
    };
  }

  async function openNote(note: Parameters<Documents["notes"]["open"]>[0]): Promise<NoteId> {
    const { title, form = "text" } = note;
    const persons = note.persons === null ? null : [...new Set([person, ...note.persons])];
    const devices = persons === null ? [] : devicesOf(persons);
    const privacy = persons === null ? null : { persons, devices, key: random.bytes(NOTE_KEY_BYTES) };
    const value = noteOpenedValue({ title, form, privacy });
    const [event] = await replica.append([entryFor("note-opened", value, privacy === null ? null : devices)]);
    await settled();
    return event!.id;
  }

  function editNote(id: NoteId, edit: NoteEdit): Promise<boolean> {
    let shown: NoteBase | undefined;
    return writeUpdates(
      id,
      "text",
      ({ text, title }, client) => {
        const { base, hunks } = hunksOf({ text, title }, "append" in edit ? edit : { base: shown!, ...edit });
        return writeText(text.state(), client, base, hunks);
      },
      () => {
        const note = notes.get(id);
        if (note?.form === "text") shown = { runs: note.text.runs(), text: note.text.text() };
      },
    );
  }

  function editBoard(id: NoteId, act: BoardAct): Promise<boolean> {
    let shown: Card | undefined;
    const write = ({ board }: Board, client: number): MadeUpdate[] =>
      writeBoard(board, client, act.act === "edit" && shown !== undefined ? { base: shown, ...act } : act, random);
    return writeUpdates(id, "board", write, () => {
      const note = notes.get(id);
      const cards = note?.form === "board" ? note.board.columns().flatMap((column) => column.cards) : [];
      shown = act.act === "edit" ? cards.find((card) => card.id === act.card) : undefined;
    });
  }

  function writeUpdates<Form extends NoteForm>(
    id: NoteId,
    form: Form,
    make: (note: (Note | Board) & { form: Form }, client: number) => MadeUpdate[],
    look?: () => void,
  ): Promise<boolean> {
    const entries = (as: Writer): NewEntry[] => {
      const note = noteOf(id, form);
      return writing!.noteEntries(note, as, make(note, writing!.clientOf(as, note)));
    };
    return write(id, notes, entries, look);
  }

  async function shareNote(id: NoteId, persons: readonly PersonId[]): Promise<void> {
    await inOrder(async () => {
      await settled();
      const note = headOf(id);
      if (note.persons === null || note.key === null)
        throw new KinError("BAD_REQUEST", `"${note.title}" is for the whole mesh already`);
      await giveKey(note, [...new Set([...note.persons, ...persons])]);
      await settled();
    });
  }

  async function giveKey({ id, title, form, key }: Note | Board, persons: PersonId[]): Promise<void> {
    const devices = devicesOf(persons);
    const value = noteSharedValue({ note: id, title, form, privacy: { persons, devices, key: key! } });
    await replica.append([entryFor("note-shared", value, devices)]);
  }

  function shareDue(): void {
    if (!isShareDue || closed || writing === undefined) return;
    if (deps.hasHeard?.() === false) return later();
    isShareDue = false;
    shareKeys().catch((error: unknown) => failed?.(error));
  }

  /**
   * People get new devices: whoever opened a note, and each of their own other devices, gives its key to them. More may do so
   * at once; that costs an event. Whom another let in, the opener gives the key, too: so they know that it is the note's.
   */
  function shareKeys(): Promise<void> {
    return inOrder(async () => {
      await settled();
      if (closed || !replica.membership().devices.has(own)) return;
      for (const note of notes.all()) {
        if (note.persons === null || note.key === null) continue;
        const given = new Set(note.given.flatMap(({ by, to }) => (note.openedBy === own && by !== person ? [] : to)));
        const lacks = devicesOf(note.persons).filter((device) => !given.has(device));
        const isOurs = (device: DeviceId): boolean =>
          note.openedBy === own || replica.membership().devices.get(device)?.member.person === person;
        // One that can't be given (too many people) keeps no other from it.
        if (lacks.some(isOurs)) await giveKey(note, note.persons).catch((error: unknown) => failed?.(error));
      }
      await settled();
    });
  }

  function setSetting(name: string, key: string, value: Setting | undefined): Promise<boolean> {
    const id = recordDocumentId(replica.mesh, person, "agent", name);
    return write(id, records, (as) => writing!.settingEntries(name, as, new Map([[key, value]])));
  }

  function headOf(id: NoteId): Note | Board {
    const note = notes.get(id);
    if (note === undefined) throw new KinError("NOT_FOUND", `there is no note ${id} that this device can read`);
    return note;
  }

  function noteOf<Form extends NoteForm>(id: NoteId, form: Form): (Note | Board) & { form: Form } {
    const note = headOf(id);
    if (!isForm(note, form)) throw new KinError("BAD_REQUEST", `"${note.title}" is a ${note.form}, not a ${form}`);
    return note;
  }

  function ofForm<Form extends NoteForm>(form: Form) {
    return {
      get(id: NoteId) {
        const note = notes.get(id);
        return note !== undefined && isForm(note, form) ? note : undefined;
      },
      all: () => notes.all().filter((note) => isForm(note, form)),
    };
  }

  function devicesOf(persons: readonly PersonId[]): DeviceId[] {
    const { members } = replica.membership();
    return persons.flatMap((one) => members.get(one)?.devices.map((device) => device.id) ?? []);
  }

  return {
    facts: {
      get: (scope, key) => facts.get(scope, key),
      list: (scope, prefix) => facts.list(scope, prefix),
      set: setFact,
      history: factHistory,
      count: () => facts.count(),
    },
    notes: {
      ...ofForm("text"),
      open: openNote,
      edit: editNote,
      share: shareNote,
    },
    boards: { ...ofForm("board"), edit: editBoard },
    records: { get: (of, name) => records.get(of, name), set: setSetting },
    on(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    refused: () => refusals.shown().filter(({ event }) => !writing.isAnew(event)),
    isWaiting: (event) => unplaced.has(event) || folds.some((one) => one.pending().includes(event)),
    isMadeAnew: (event) => writing.isAnew(event) || folds.some((one) => one.left().includes(event)),
    settled,
    hash: async () => {
      await settled();
      return sha256(concat(facts.hash(), ...folds.map((one) => one.hash())));
    },
    async close() {
      closed = true;
      cancelRetry?.();
      await projection.close();
      await pumping;
      stopWatching();
      if (deps.keep !== undefined && !isStale && late.size === 0) await saveKept(deps.keep);
    },
  };
}

function isForm<Form extends NoteForm>(note: Note | Board, form: Form): note is (Note | Board) & { form: Form } {
  return note.form === form;
}

function hunksOf(note: Pick<Note, "text" | "title">, edit: NoteEdit): { base: readonly Run[]; hunks: Hunk[] } {
  const now = note.text.text();
  if ("append" in edit) {
    checkSize(note, now.length + edit.append.length);
    const hunk = { at: now.length, removed: 0, inserted: edit.append.toWellFormed() };
    return { base: note.text.runs(), hunks: edit.append === "" ? [] : [hunk] };
  }
  checkSize(note, edit.text.length);
  const { runs, text } = edit.base ?? { runs: note.text.runs(), text: now };
  return { base: runs, hunks: diffText(text, edit.text.toWellFormed()) };
}

function checkSize(note: Pick<Note, "title">, units: number): void {
  if (units > MAX_NOTE_UNITS)
    throw new KinError("TOO_LARGE", `"${note.title}" would have ${units} characters: at most ${MAX_NOTE_UNITS}`);
}

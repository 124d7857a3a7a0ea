/**
 * Notes: texts and boards that several people and agents edit at once. A note is the event that opened it, what shares it, and
 * the edits; this file keeps for each what has come, decides which edits count ({@link createArrivals}) and has what those make.
 */
import { sha256 } from "#crypto";
import { encode, type Value } from "../../protocols/bytes.ts";
import {
  MAX_LIVES,
  openUpdate,
  parseNoteEdited,
  parseNoteOpened,
  parseNoteShared,
  yjsClientOf,
  type NoteForm,
  type NoteId,
  type NotePrivacy,
  type Seen,
} from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EventId, type PersonId } from "../../protocols/ids.ts";
import { decodeStamp } from "../clock.ts";
import type { ReadableEvent } from "../replica.ts";
import { BOARD_SHAPE, createBoard, type BoardState } from "./board.ts";
import { meantBy, type Meant } from "./anew.ts";
import { createArrivals, reachIn, type Arrivals, type DocumentEvent } from "./arrivals.ts";
import {
  attempt,
  createCollection,
  isBy,
  orRefusal,
  type Author,
  type DocumentDeps,
  type DocumentFold,
} from "./collection.ts";
import { add, best, counting, isCertain, openedBy, type Offer, type Offers } from "./note-offers.ts";
import { checkNote, noteRows, parseNoteRows, type NoteRows } from "./note-rows.ts";
import { decidedOf, decidedValue, savedRow, savedRows, type SavedRow } from "./saved.ts";
import { createNoteText, TEXT_SHAPE, type NoteText } from "./note-text.ts";
import { renamed, type Renaming } from "./rename.ts";
import { parseUpdate, type Shape, type SharedDocument, type Update } from "./yjs.ts";
import { canonicalState } from "./yjs-state.ts";

/** What is known of a text or board that this device can read. */
export interface NoteHead {
  id: NoteId;
  title: string;
  /** Who may read it; null: the mesh. */
  persons: PersonId[] | null;
  /** Newest of what opened, shared or edited it: wall ms. */
  at: number;
  openedBy: DeviceId;
  editors: { device: DeviceId; edits: number; at: number }[];
  /** Edits that wait for something that has not come. */
  waiting: number;
  /** Of a private note. */
  key: Uint8Array | null;
  /** Who gave its key, and to which devices. */
  given: { by: PersonId | null; to: readonly DeviceId[] }[];
}
export type Note = NoteHead & { form: "text"; text: NoteText };
export type Board = NoteHead & { form: "board"; board: BoardState };

export interface Notes extends DocumentFold<NoteId> {
  get(id: NoteId): Note | Board | undefined;
  has(id: NoteId): boolean;
  /** Notes that somebody shared, and nobody is known to have opened. */
  unopened(): NoteId[];
  /** Who opened one of them. "late": as of {@link DocumentFold.fold}. */
  openedBy(id: NoteId, person: PersonId): { late: NoteId } | null;
  /**
   * What a device meant by edits of it that are refused, or wait, because they stand in a history of some log that came second there;
   * null: none do. `refused`: edits of the note, by anybody.
   */
  meantBeside(
    id: NoteId,
    by: Author,
    refused: readonly DocumentEvent[],
  ): Promise<{ events: EventId[]; meant: Meant } | null>;
  /** What a device meant by edits of it that wait for what was `cut` off; null: none do. */
  meant(id: NoteId, by: Author, cut: readonly DocumentEvent[]): Promise<{ events: EventId[]; meant: Meant } | null>;
  all(): (Note | Board)[];
}

interface State extends Offers {
  id: NoteId;
  /** null: nothing of it counts yet, so it may be of any form. */
  body: Body | null;
  /** Where updates of a client ended, and what each had seen. */
  ends: Map<number, Map<number, Seen>>;
  clocks: Map<number, number>;
  editors: Map<DeviceId, { edits: number; at: number }>;
  arrivals: Arrivals<Edit>;
}

type Body = { form: "text"; text: NoteText } | { form: "board"; board: BoardState };
type Edit = Update & { event: EventId; form: NoteForm };
interface Reached {
  event: DocumentEvent;
  update: Edit;
}

export const SHAPES: { [Form in NoteForm]: Shape } = { text: TEXT_SHAPE, board: BOARD_SHAPE };

export function createNotes(deps: DocumentDeps): Notes {
  const notes = createCollection<NoteId, State>();
  const stateOf = (id: NoteId): State => notes.touch(id, () => newState(id));
  /** What a snapshot stands for. */
  const bases = new Map<NoteId, NoteRows>();
  /** Some of these have been opened since. */
  const unopened = new Set<NoteId>();

  function newState(id: NoteId): State {
    const state: State = { id, offers: [], opener: null, ...empty(), arrivals: undefined as never };
    state.arrivals = createArrivals<Edit>({
      lifeOf: ({ value }) => parseNoteEdited(value).life,
      hasLife: (log, life) => state.clocks.has(yjsClientOf(log, id, life)),
      read: (event) => readEdit(state, event),
      judge: (edit) => judge(state, edit),
      note: (edit) => note(state, edit),
      attempt: (edits) =>
        attempt(
          deps,
          edits.map(({ event }) => event),
          () => {
            const [{ form }] = edits as [Edit];
            return { form, state: documentOf(bodyOf(state, form)).state(), updates: edits };
          },
        ),
      apply(edits, events) {
        const [{ form }] = edits as [Edit];
        state.body = bodyOf(state, form);
        documentOf(state.body).apply(edits.map(({ bytes }) => bytes));
        for (const event of events) noteEditor(state, event);
      },
      refused: (event, error) => deps.refused(event, "note-edited", error),
      held: (error) => deps.held(error),
    });
    return state;
  }

  function readEdit(state: State, { id: event, log, device, value }: DocumentEvent): Edit | null {
    const { seen, life, update } = parseNoteEdited(value);
    const offer = best(state);
    if (offer === undefined) return null;
    const client = yjsClientOf(log, state.id, life);
    const { form } = offer;
    const read = (bytes: Uint8Array): Edit => ({ ...parseUpdate(bytes, client, seen, SHAPES[form]), event, form });
    if (offer.privacy === null) {
      if (!("open" in update)) throw new KinError("BAD_REQUEST", "a sealed edit of a note that is for the mesh");
      return read(update.open);
    }
    if ("open" in update) throw new KinError("BAD_REQUEST", "an edit in the open of a note that is private");
    const at = { mesh: deps.mesh, note: state.id, author: device };
    const bytes = openUpdate(at, offer.privacy.key, update);
    if (bytes !== null) return read(bytes);
    if (isCertain(state, offer))
      throw new KinError("BAD_REQUEST", "an edit that is sealed with another key than the note's");
    return null; // its key may come yet
  }

  function fold(event: ReadableEvent): KinError | null | { late: NoteId } {
    switch (event.kind) {
      case "note-opened": {
        const { title, form, privacy } = parseNoteOpened(event.value);
        if ((privacy === null) !== (event.audience === "mesh"))
          return new KinError("BAD_REQUEST", "a note for the mesh has no key, a private one is sealed to its people");
        return offer(stateOf(event.id), event, { title, form, privacy, isOpening: true });
      }
      case "note-shared": {
        const { note: id, title, form, privacy } = parseNoteShared(event.value);
        if (event.audience !== "direct") return new KinError("BAD_REQUEST", "a note's key is for its people only");
        unopened.add(id);
        return offer(stateOf(id), event, { title, form, privacy, isOpening: false });
      }
      default: {
        // Who can't read it would have another text than who can.
        if (event.audience !== "mesh") return new KinError("BAD_REQUEST", "an edit that is not for all");
        const { note: id } = parseNoteEdited(event.value);
        return stateOf(id).arrivals.push(event) === "late" ? { late: id } : null;
      }
    }
  }

  function view(state: State): Note | Board | undefined {
    const offer = best(state);
    if (offer === undefined) return undefined;
    const editors = [...state.editors].map(([device, { edits, at }]) => ({ device, edits, at }));
    const offers = counting(state);
    const opening = offers.find(({ isOpening }) => isOpening) ?? offer;
    return {
      id: state.id,
      title: offer.title,
      persons: offer.privacy === null ? null : personsOf(offers),
      at: Math.max(...offers.map(({ at }) => at), ...editors.map(({ at }) => at)),
      openedBy: opening.device,
      editors: editors.toSorted((a, b) => b.at - a.at),
      waiting: state.arrivals.waiting().length,
      ...bodyOf(state, offer.form),
      key: offer.privacy?.key ?? null,
      given: offers.map(({ person, privacy }) => ({ by: person, to: privacy?.devices ?? [] })),
    };
  }

  async function meant(id: NoteId, by: Author, cut: readonly DocumentEvent[]) {
    const state = notes.get(id);
    if (state === undefined) return null;
    return meantIn(state, by, (wrong) => neededBy(by, state.arrivals, state.arrivals.reach(cut, wrong)));
  }

  async function meantBeside(id: NoteId, by: Author, refused: readonly DocumentEvent[]) {
    const state = notes.get(id);
    if (state === undefined) return null;
    const meantAs = (edits: readonly Reached[]) =>
      meantIn(state, by, (wrong) =>
        reachIn(
          ordered(edits.filter(({ event }) => !wrong.has(event.id))).map((edit) => [edit]),
          ({ update }) => judge(state, update),
          ({ update }) => note(state, update),
        ),
      );
    // They may stand in the history that came first, and wait behind the other's edits of that log.
    return (await meantAs(readAll(state, state.arrivals.pending()))) ?? meantAs(besideEdits(state, refused));
  }

  function readAll(state: State, events: readonly DocumentEvent[]): Reached[] {
    return events.flatMap((event): Reached[] => {
      const update = orRefusal(() => readEdit(state, event));
      return update === null || update instanceof KinError ? [] : [{ event, update }];
    });
  }

  /** @param reach what would count, without what is wrong */
  async function meantIn(state: State, by: Author, reach: (wrong: ReadonlySet<EventId>) => Reached[]) {
    const offer = best(state);
    if (offer === undefined) return null;
    const wrong = new Set<EventId>();
    const left = new Set(state.arrivals.left());
    for (;;) {
      const reached = reach(wrong);
      if (reached.length === 0) return null;
      const trial = {
        form: offer.form,
        state: documentOf(bodyOf(state, offer.form)).state(),
        updates: reached.map(({ update }) => update),
      };
      const { right, refused } = await deps.runTrial(trial);
      if (refused !== null) {
        // Nobody took it: what its log wrote next may be what others built on.
        wrong.add(reached[right]!.event.id);
        continue;
      }
      const own = reached.filter(({ event }) => isBy(by, event) && !left.has(event));
      if (own.length === 0) return null;
      const mine = new Set<Update>(own.map(({ update }) => update));
      return { events: own.map(({ event }) => event.id), meant: meantBy(trial.state, trial.updates, mine) };
    }
  }

  /**
   * What is refused and what waits, as if who wrote the refused had been somebody else from there on. Also what others have made anew:
   * somebody may have built on it as it was.
   */
  function besideEdits(state: State, refused: readonly DocumentEvent[]): Reached[] {
    const found = readAll(state, [...state.arrivals.pending(), ...refused]);
    const isRefused = new Set(refused.map((event) => event.id));
    const renamings = new Map<number, Renaming>();
    for (const { event, update } of found) {
      if (!isRefused.has(event.id)) continue;
      const { client, from } = update;
      const to = yjsClientOf(event.log, state.id, MAX_LIVES + parseNoteEdited(event.value).life);
      const known = renamings.get(client);
      renamings.set(client, { client, from: Math.min(from, known?.from ?? from), to });
    }
    return found.map(({ event, update }) => {
      let as: Edit = update;
      for (const by of renamings.values()) {
        const { bytes, seen } = renamed(as, by);
        const client = as.client === by.client && as.from >= by.from ? by.to : as.client;
        as = { ...as, ...parseUpdate(bytes, client, seen, SHAPES[as.form]) };
      }
      return { event, update: as };
    });
  }

  const { pump, clear, retry, pending, left, waitingOf, lastLife } = notes;
  return {
    pump,
    clear,
    retry,
    pending,
    left,
    waitingOf,
    lastLife,
    meant,
    meantBeside,
    has: (id) => notes.get(id) !== undefined,
    unopened() {
      for (const id of unopened) if (!isUnopened(notes.get(id))) unopened.delete(id);
      return [...unopened];
    },
    openedBy: (id, person) => (openedBy(notes.get(id)!, person) ? { late: id } : null),
    fold: (event) => orRefusal(() => fold(event)),
    idOf: ({ value }) => parseNoteEdited(value).note,
    get(id) {
      const state = notes.get(id);
      return state === undefined ? undefined : view(state);
    },
    all: () => notes.all().flatMap((state) => view(state) ?? []),
    begin(id) {
      const state = notes.get(id as NoteId);
      if (state === undefined) return;
      state.arrivals.clear();
      Object.assign(state, empty());
      const base = bases.get(id as NoteId);
      if (base !== undefined) beginFrom(state, base);
    },
    *rows() {
      for (const state of notes.all()) {
        const opening = state.offers.find(({ isOpening }) => isOpening);
        if (opening?.privacy === null) yield* noteRows(standing(state, opening));
      }
    },
    beginWith(rows) {
      bases.clear();
      for (const base of parseNoteRows(rows)) {
        bases.set(base.id, base);
        if (notes.get(base.id) !== undefined) continue;
        const state = stateOf(base.id);
        const { title, form, openedBy: device, hlc } = base;
        const at = decodeStamp(hlc).ms;
        state.offers.push({ title, form, privacy: null, isOpening: true, device, person: null, at, hlc });
        beginFrom(state, base);
      }
    },
    check() {
      for (const base of bases.values()) checkNote(base, SHAPES[base.form]);
    },
    *saved() {
      for (const state of notes.all()) yield* savedNote(state);
    },
    load(row) {
      if (!NOTE_ROWS.has(row[0])) return false;
      const state = stateOf(idOf(row[1]));
      loadNote(state, row);
      if (row[0] === "offers") unopened.add(state.id);
      return true;
    },
    hash: () =>
      sha256(
        encode(
          notes.all().flatMap((state): Value[] => {
            const offer = best(state);
            if (offer?.privacy !== null) return [];
            return [[idBytes(state.id), documentOf(bodyOf(state, offer.form)).hash()]];
          }),
        ),
      ),
  };
}

function empty(): Pick<State, "body" | "ends" | "clocks" | "editors"> {
  return { body: null, ends: new Map(), clocks: new Map(), editors: new Map() };
}

function newBody(form: NoteForm, state: Uint8Array | null): Body {
  return form === "text" ? { form, text: createNoteText(state) } : { form, board: createBoard(state) };
}

function isUnopened(state: State | undefined): boolean {
  return state?.opener === null && state.offers.length > 0 && !state.offers.some(({ isOpening }) => isOpening);
}

function offer(
  state: State,
  { device, person, at, hlc }: ReadableEvent,
  what: Pick<Offer, "title" | "form" | "privacy" | "isOpening">,
): { late: NoteId } | null {
  return add(state, { ...what, device, person, at, hlc }) ? { late: state.id } : null;
}

function bodyOf({ body }: State, form: NoteForm): Body {
  return body ?? newBody(form, null);
}

export function documentOf(body: Body): SharedDocument {
  return body.form === "text" ? body.text : body.board;
}

function personsOf(offers: readonly Offer[]): PersonId[] {
  return [...new Set(offers.flatMap(({ privacy }) => privacy?.persons ?? []))].toSorted();
}

function noteEditor({ editors }: State, { device, at }: DocumentEvent): void {
  const known = editors.get(device);
  editors.set(device, { edits: (known?.edits ?? 0) + 1, at: Math.max(at, known?.at ?? 0) });
}

/** Does it go on where its author was, and is what he says to have seen something that can be seen? */
function judge({ ends, clocks }: State, edit: Edit): "next" | "waits" | KinError {
  const { client, from, seen } = edit;
  const mine = clocks.get(client) ?? 0;
  if (from < mine)
    return new KinError("BAD_REQUEST", `an edit from clock ${from} of a log that wrote up to ${mine} already`);
  // Its own client is among them.
  for (const [other, clock] of seen) if ((clocks.get(other) ?? 0) < clock) return "waits";
  const before = ends.get(client)?.get(from);
  for (const [other, clock] of seen) {
    if (before?.get(other) === clock && other !== client) continue; // looked at with the edit before
    const theirs = ends.get(other)?.get(clock);
    if (theirs === undefined)
      return new KinError("BAD_REQUEST", `an edit that has seen half of an edit of client ${other}`);
    for (const [third, least] of theirs)
      if ((seen.get(third) ?? 0) < least)
        return new KinError(
          "BAD_REQUEST",
          `an edit that has seen one of client ${other} without what that one had seen`,
        );
  }
  return "next";
}

function note({ ends, clocks }: State, { client, from, to, seen }: Edit): () => void {
  if (to === from) return () => undefined;
  const mine = ends.get(client) ?? new Map<number, Seen>();
  ends.set(client, mine.set(to, seen));
  clocks.set(client, to);
  return () => {
    mine.delete(to);
    if (from === 0) clocks.delete(client);
    else clocks.set(client, from);
  };
}

function ordered(edits: readonly Reached[]): Reached[] {
  return edits.toSorted((a, b) => a.event.seq - b.event.seq || (a.event.id < b.event.id ? -1 : 1));
}

/** Without what others have done that the author had not seen, or that only took away: nothing of his stands on that. */
function neededBy(by: Author, arrivals: State["arrivals"], reached: Reached[]): Reached[] {
  const seen = new Map<number, number>();
  for (const event of arrivals.waiting())
    if (isBy(by, event))
      for (const [client, clock] of parseNoteEdited(event.value).seen)
        seen.set(client, Math.max(clock, seen.get(client) ?? 0));
  return reached.filter(
    ({ event, update: { client, from, to } }) => isBy(by, event) || (from < to && from < (seen.get(client) ?? 0)),
  );
}

// ── what a snapshot holds ──

function standing({ id, body, ends, editors }: State, { form, title, device, hlc }: Offer): NoteRows {
  const state = body === null ? null : canonicalState(documentOf(body).state());
  return { id, form, title, openedBy: device, hlc, state, ends, editors };
}

function beginFrom(state: State, base: NoteRows): void {
  state.body = base.state === null ? null : newBody(base.form, base.state);
  state.editors = new Map(base.editors);
  for (const [client, byEnd] of base.ends) {
    state.ends.set(client, new Map(byEnd));
    state.clocks.set(client, [...byEnd.keys()].at(-1)!);
  }
}

// ── what is kept ──

const NOTE_ROWS: ReadonlySet<string> = new Set(["note", "offers", "opener", "ends", "decided", "editors"]);

function* savedNote({ id, offers, opener, body, ends, editors, arrivals }: State): Generator<Uint8Array> {
  const note = idBytes(id);
  if (body !== null) yield savedRow("note", note, body.form, documentOf(body).state());
  yield* savedRows(
    "offers",
    note,
    offers.map(({ title, form, privacy, isOpening, device, person, at, hlc }) => [
      title,
      form,
      privacy === null ? null : [privacy.persons.map(idBytes), privacy.devices.map(idBytes), privacy.key],
      isOpening,
      idBytes(device),
      person === null ? null : idBytes(person),
      at,
      hlc,
    ]),
  );
  if (opener !== null) yield savedRow("opener", note, idBytes(opener));
  for (const [client, byEnd] of ends)
    yield* savedRows(
      "ends",
      note,
      [...byEnd].map(([end, seen]) => [client, end, [...seen]]),
    );
  yield* savedRows("decided", note, arrivals.decided().map(decidedValue));
  yield* savedRows(
    "editors",
    note,
    [...editors].map(([device, { edits, at }]) => [idBytes(device), edits, at]),
  );
}

function loadNote(state: State, [tag, , first, second]: SavedRow): void {
  if (tag === "opener") return void (state.opener = idOf(first as Uint8Array));
  if (tag === "note") return void (state.body = newBody(first as NoteForm, second as Uint8Array));
  const items = first as Value[][];
  if (tag === "decided") state.arrivals.restore(items.map(decidedOf));
  for (const item of items)
    switch (tag) {
      case "offers": {
        const [title, form, privacy, isOpening, device, by, at, hlc] = item as [
          string,
          NoteForm,
          Value[] | null,
          boolean,
          Uint8Array,
          Uint8Array | null,
          number,
          Uint8Array,
        ];
        const person = by === null ? null : idOf<"person">(by);
        const said = { title, form, privacy: loadPrivacy(privacy), isOpening };
        state.offers.push({ ...said, device: idOf(device), person, at, hlc });
        break;
      }
      case "ends": {
        const [client, end, seen] = item as [number, number, [number, number][]];
        state.ends.set(client, (state.ends.get(client) ?? new Map<number, Seen>()).set(end, new Map(seen)));
        state.clocks.set(client, Math.max(end, state.clocks.get(client) ?? 0));
        break;
      }
      case "editors": {
        const [device, edits, at] = item as [Uint8Array, number, number];
        state.editors.set(idOf(device), { edits, at });
      }
    }
}

function loadPrivacy(saved: Value[] | null): NotePrivacy | null {
  if (saved === null) return null;
  const [persons, devices, key] = saved as [Uint8Array[], Uint8Array[], Uint8Array];
  return { persons: persons.map((id) => idOf(id)), devices: devices.map((id) => idOf(id)), key };
}

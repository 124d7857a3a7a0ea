/**
 * Notes and records as parts of a snapshot (R16). Rows hold what updates have made of documents for the mesh, and all that is
 * needed to judge further ones ({@link noteRows}, {@link recordRows}). Two sorts of updates they do not stand for, so their bodies stay:
 *
 *   [8, log, [seq…]]   sealed: edits of private notes. Who folds need not be able to read them, and nobody may read them here
 *   [9, log, [seq…]]   waiting for something that is not up to the vector, or said again (R2): decided by who begins with the rows
 *
 * at most 1,024 a row, ascending. A row begins with its kind, so these are found without reading the others.
 */
import { decode, encode } from "../../protocols/bytes.ts";
import { parseNoteEdited } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type EventId, type LogId, type MeshId } from "../../protocols/ids.ts";
import type { ReadableEvent } from "../replica.ts";
import type { KeptEvent, SnapshotFold, SnapshotPart, SnapshotView } from "../snapshot-view.ts";
import type { DocumentDeps, DocumentFold } from "./collection.ts";
import { createNotes } from "./notes.ts";
import { createRecords } from "./records.ts";
import type { RunTrial } from "./trial.ts";

const SEALED = 8;
const WAITS = 9;
const ROW_SEQS = 1024;

/** `direct` openings are no part of it. */
export const notesPart: SnapshotPart = {
  name: "notes",
  version: 1,
  kinds: new Set(["note-opened", "note-edited"]),
  kept: keptIn,
};

export const recordsPart: SnapshotPart = {
  name: "records",
  version: 1,
  kinds: new Set(["record-changed"]),
  kept: keptIn,
};

/** Foreign updates are tried as where they are shown: a fold that this machine could not finish is tried again later. */
export function documentViews(mesh: MeshId, runTrial: RunTrial): SnapshotView[] {
  const viewOf = (part: SnapshotPart, create: (deps: DocumentDeps) => DocumentFold<string>): SnapshotView => ({
    ...part,
    open: () => openFold(mesh, runTrial, create),
  });
  return [viewOf(notesPart, createNotes), viewOf(recordsPart, createRecords)];
}

type Places = Map<LogId, Set<number>>;

function openFold(
  mesh: MeshId,
  runTrial: RunTrial,
  create: (deps: DocumentDeps) => DocumentFold<string>,
): SnapshotFold {
  let isHeld = false;
  const documents = create({
    mesh,
    runTrial,
    isTrusted: () => false,
    refused: () => undefined,
    held: () => (isHeld = true),
  });
  const sealed: Places = new Map();
  /**
   * What is said again comes after all that counts in the log where it was said first. A vector ends where that log was written
   * twice, and what counts beyond may be here or come: so no vector decides it, and what has seen it waits.
   */
  const again: Places = new Map();
  const places = new Map<EventId, { log: LogId; seq: number }>();

  return {
    fold(event) {
      if (isSealed(event)) return addPlace(sealed, event);
      if (event.repeats !== undefined) return addPlace(again, event);
      places.set(event.id, { log: event.log, seq: event.seq });
      documents.fold(event);
    },
    async settle() {
      await documents.pump();
      return isHeld ? "an update of a document could not be tried on this machine" : null;
    },
    *rows() {
      const waiting: Places = new Map([...again].map(([log, seqs]) => [log, new Set(seqs)]));
      for (const id of documents.pending()) addPlace(waiting, places.get(id)!);
      yield* documents.rows();
      yield* placeRows(SEALED, sealed);
      yield* placeRows(WAITS, waiting);
    },
    load(rows) {
      const all = [...rows];
      documents.beginWith(documentRows(all));
      documents.check();
      for (const { log, seq, waits } of keptIn(all)) if (!waits) addPlace(sealed, { log, seq });
    },
  };
}

function isSealed({ kind, value }: ReadableEvent): boolean {
  if (kind !== "note-edited") return false;
  try {
    return !("open" in parseNoteEdited(value).update);
  } catch (error) {
    if (error instanceof KinError) return false; // it has no effect
    throw error;
  }
}

function addPlace(places: Places, { log, seq }: { log: LogId; seq: number }): void {
  const seqs = places.get(log) ?? new Set<number>();
  places.set(log, seqs.add(seq));
}

function* placeRows(kind: number, places: Places): Generator<Uint8Array> {
  for (const [log, seqs] of places) {
    const sorted = [...seqs].toSorted((a, b) => a - b);
    for (let at = 0; at < sorted.length; at += ROW_SEQS)
      yield encode([kind, idBytes(log), sorted.slice(at, at + ROW_SEQS)]);
  }
}

/** Rows of documents among those of a part. */
export function documentRows(rows: readonly Uint8Array[]): Uint8Array[] {
  return rows.filter((row) => !isKeptRow(row));
}

/** A list of under 24 items begins with one byte, a number under 24 is one. */
function isKeptRow(row: Uint8Array): boolean {
  return row[1] === SEALED || row[1] === WAITS;
}

function* keptIn(rows: Iterable<Uint8Array>): Generator<KeptEvent> {
  for (const row of rows) {
    if (!isKeptRow(row)) continue;
    const [kind, log, seqs] = decode(row) as unknown[];
    if (!Array.isArray(seqs))
      throw new KinError("BAD_REQUEST", "what a snapshot does not stand for is [kind, log, [seq…]]");
    for (const seq of seqs) {
      if (typeof seq !== "number" || seq < 0) throw new KinError("BAD_REQUEST", "a seq is a number from 0");
      yield { log: idOf<"log">(log), seq, waits: kind === WAITS };
    }
  }
}

/**
 * Events that have no effect on any node: the newest, to be shown; and of each document its edits, since words of others may stand
 * on them where a log was written twice (`writing.ts`). Those are not kept over a restart: where there are two histories all is
 * folded again.
 */
import type { Value } from "../../protocols/bytes.ts";
import type { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EventId } from "../../protocols/ids.ts";
import type { DocumentEvent } from "./arrivals.ts";
import { savedRows, type SavedRow } from "./saved.ts";

/** An event that has no effect on any node, and why. */
export interface RefusedUpdate {
  event: EventId;
  kind: string;
  device: DeviceId;
  /** The note or record; null: it can't be said. */
  of: string | null;
  code: string;
  message: string;
}
export type RefusedEdit = Pick<DocumentEvent, "id" | "device">;

export interface Refusals {
  add(event: DocumentEvent, kind: string, of: string | null, error: KinError): void;
  /** The newest last. */
  shown(): RefusedUpdate[];
  /** By document. */
  edits: ReadonlyMap<string, readonly RefusedEdit[]>;
  /** The edits of a document are decided again. */
  begin(id: string): void;
  clear(): void;
  saved(): Iterable<Uint8Array>;
  /** Takes one row back; false: it is none of these. */
  load(row: SavedRow): boolean;
}

/** Events that are kept to be shown. */
const MAX_SHOWN = 256;
/** Of one document, besides those of this device. */
const MAX_EDITS = 1024;
const EDIT_KINDS: ReadonlySet<string> = new Set(["note-edited", "record-changed"]);

export function createRefusals(own: DeviceId): Refusals {
  let shown: RefusedUpdate[] = [];
  const edits = new Map<string, RefusedEdit[]>();

  function addEdit(of: string, { id, device }: RefusedEdit): void {
    const known = edits.get(of) ?? [];
    edits.set(of, known);
    if (known.length < MAX_EDITS || device === own) known.push({ id, device });
  }

  return {
    edits,
    shown: () => shown,
    add(event, kind, of, { code, message }) {
      const one = { event: event.id, kind, device: event.device, of, code, message };
      shown = [...shown.filter((other) => other.event !== one.event).slice(1 - MAX_SHOWN), one];
      if (of !== null && EDIT_KINDS.has(kind)) addEdit(of, event);
    },
    begin(id) {
      edits.delete(id);
      shown = shown.filter(({ of, kind }) => of !== id || !EDIT_KINDS.has(kind));
    },
    clear() {
      edits.clear();
      shown = [];
    },
    *saved() {
      yield* savedRows("refused", new Uint8Array(), shown.map(shownValue));
    },
    load([tag, , items]) {
      if (tag !== "refused") return false;
      shown.push(...(items as Value[][]).map(shownOf));
      return true;
    },
  };
}

function shownValue({ event, kind, device, of, code, message }: RefusedUpdate): Value {
  return [idBytes(event), kind, idBytes(device), of, code, message];
}

function shownOf(saved: Value[]): RefusedUpdate {
  const [event, kind, device, of, code, message] = saved as [
    Uint8Array,
    string,
    Uint8Array,
    string | null,
    string,
    string,
  ];
  return { event: idOf(event), kind, device: idOf(device), of, code, message };
}

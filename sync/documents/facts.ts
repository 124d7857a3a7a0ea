/**
 * Keyed facts: a multi-value register for each key, folded from events in any order. A set names the sets that it replaces,
 * which are those that its author knew; what nobody has replaced stands. So values that were written without knowledge of each
 * other stand side by side until somebody who saw them all sets the key again.
 *
 *   ana sets a ──┐                       values of the key:   a            after the first
 *                ├── ben sets b [r: a]                        b            he saw a
 *                └── li  sets c [r: a]                        b, c         she saw a and not b: concurrent
 *                         ana sets d [r: b, c]                d
 *
 * A row of the state is [1, scope, key, id, device, stamp, json | null] for each value that stands, and [2, scope, key, ids]
 * for what was replaced: those ids never stand again, whenever and from wherever their events come.
 */
import { sha256 } from "#crypto";
import { compareBytes, decode, encode, type Value } from "../../protocols/bytes.ts";
import { parseFactSet, type FactScope } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EventId } from "../../protocols/ids.ts";
import { decodeStamp } from "../clock.ts";
import type { ReadableEvent } from "../replica.ts";
import type { SnapshotFold, SnapshotView } from "../snapshot-view.ts";

export interface FactValue {
  id: EventId;
  device: DeviceId;
  /** Wall ms of its stamp. */
  at: number;
  hlc: Uint8Array;
  /** null: unset. */
  json: string | null;
}

export interface Fact {
  scope: FactScope;
  key: string;
  /** What nobody has replaced, the newest first; several: concurrent. */
  values: readonly FactValue[];
}

/** What a fold reads of an event. */
export type FactEvent = Pick<ReadableEvent, "id" | "person" | "device" | "hlc" | "value" | "insteadOf">;

export interface Facts extends SnapshotFold {
  /** Takes a `fact-set` event; one that was taken is passed over. Returns why it has no effect, the same on every node. */
  fold(event: FactEvent): KinError | null;
  clear(): void;
  /** undefined: never set, or unset by all. */
  get(scope: FactScope, key: string): Fact | undefined;
  /** In the order of keys. */
  list(scope: FactScope, prefix?: string): Fact[];
  /** Sets that a new one replaces. */
  standing(scope: FactScope, key: string): EventId[];
  /** What they say, unset ones too, the newest first. */
  values(scope: FactScope, key: string): readonly FactValue[];
  /** All that a key was ever set by, in no order; of what was replaced the event may not have come yet. */
  sets(scope: FactScope, key: string): EventId[];
  /** Keys, also unset ones. */
  count(): number;
  /** Equal on replicas that took the same events. */
  hash(): Uint8Array;
}

/** Facts as part of a snapshot (R16). */
export const factsView: SnapshotView<Facts> = {
  name: "facts",
  version: 1,
  kinds: new Set(["fact-set"]),
  open: createFacts,
};

interface Cell {
  scope: FactScope;
  key: string;
  standing: FactValue[];
  replaced: Set<EventId> | null;
}

/** Ids of one row. */
const ROW_IDS = 1024;
const VALUE_ROW = 1;
const REPLACED_ROW = 2;

export function createFacts(): Facts {
  const scopes = new Map<string, Map<string, Cell>>();

  function cellOf(scope: FactScope, key: string): Cell {
    const cells = cellsOf(scope);
    let cell = cells.get(key);
    if (cell === undefined) cells.set(key, (cell = { scope, key, standing: [], replaced: null }));
    return cell;
  }

  function cellsOf(scope: FactScope): Map<string, Cell> {
    const name = scope === null ? "" : `${scope.person}/${scope.agent}`;
    let cells = scopes.get(name);
    if (cells === undefined) scopes.set(name, (cells = new Map()));
    return cells;
  }

  function fold({ id, person, device, hlc, value, insteadOf = [] }: FactEvent): KinError | null {
    try {
      const { scope, key, json, replaces } = parseFactSet(value);
      checkWriter(scope, person);
      const cell = cellOf(scope, key);
      if (cell.standing.some((standing) => standing.id === id)) return null;
      if (cell.replaced?.has(id) !== true) insert(cell.standing, { id, device, at: decodeStamp(hlc).ms, hlc, json });
      // What is said again may have counted when a snapshot was made that this fold began with.
      for (const old of [...replaces, ...insteadOf]) replace(cell, old);
      return null;
    } catch (error) {
      if (error instanceof KinError) return error;
      throw error;
    }
  }

  function valuesOf(scope: FactScope, key: string): readonly FactValue[] {
    return cellsOf(scope).get(key)?.standing ?? [];
  }

  function get(scope: FactScope, key: string): Fact | undefined {
    const values = valuesOf(scope, key);
    return values.some(({ json }) => json !== null) ? { scope, key, values } : undefined;
  }

  function* rows(): Generator<Uint8Array> {
    for (const cells of scopes.values())
      for (const cell of cells.values()) {
        for (const { id, device, hlc, json } of cell.standing)
          yield encode([VALUE_ROW, ...head(cell), idBytes(id), idBytes(device), hlc, json]);
        for (const ids of pages([...(cell.replaced ?? [])].toSorted()))
          yield encode([REPLACED_ROW, ...head(cell), ids.map(idBytes)]);
      }
  }

  function load(loaded: Iterable<Uint8Array>): void {
    for (const row of loaded) {
      const [kind, scope, key, ...rest] = decode(row) as Value[];
      const cell = cellOf(parseScope(scope), key as string);
      if (kind === VALUE_ROW) insert(cell.standing, loadValue(rest));
      else if (kind === REPLACED_ROW)
        for (const id of rest[0] as Uint8Array[]) (cell.replaced ??= new Set()).add(idOf(id));
      else throw new KinError("BAD_REQUEST", `a row of facts of kind ${JSON.stringify(kind)}`);
    }
  }

  return {
    fold,
    clear: () => scopes.clear(),
    get,
    list: (scope, prefix = "") =>
      [...cellsOf(scope).keys()]
        .filter((key) => key.startsWith(prefix))
        .toSorted()
        .flatMap((key) => get(scope, key) ?? []),
    standing: (scope, key) => valuesOf(scope, key).map(({ id }) => id),
    values: valuesOf,
    sets(scope, key) {
      const cell = cellsOf(scope).get(key);
      return cell === undefined ? [] : [...(cell.replaced ?? []), ...cell.standing.map(({ id }) => id)];
    },
    count: () => [...scopes.values()].reduce((sum, cells) => sum + cells.size, 0),
    rows,
    load,
    hash: () => sha256(encode([...rows()].toSorted(compareBytes))),
  };
}

/** An agent's own facts are written by whoever it belongs to. @throws KinError DENIED */
function checkWriter(scope: FactScope, person: FactEvent["person"]): void {
  if (scope !== null && scope.person !== person)
    throw new KinError("DENIED", `the facts of the agent ${scope.agent} are written by its owner only`);
}

function replace(cell: Cell, old: EventId): void {
  (cell.replaced ??= new Set()).add(old);
  const at = cell.standing.findIndex(({ id }) => id === old);
  if (at >= 0) cell.standing.splice(at, 1);
}

/** The newest first: by stamp, then by id. */
function insert(values: FactValue[], value: FactValue): void {
  const at = values.findIndex((other) => isNewer(value, other));
  values.splice(at < 0 ? values.length : at, 0, value);
}

function isNewer(a: FactValue, b: FactValue): boolean {
  const order = compareBytes(a.hlc, b.hlc);
  return order === 0 ? a.id > b.id : order > 0;
}

function head({ scope, key }: Cell): [Value, string] {
  return [scope === null ? null : [idBytes(scope.person), scope.agent], key];
}

function parseScope(value: Value | undefined): FactScope {
  if (!Array.isArray(value)) return null;
  return { person: idOf(value[0]), agent: value[1] as string };
}

function loadValue(saved: Value[]): FactValue {
  const [id, device, hlc, json] = saved as [Uint8Array, Uint8Array, Uint8Array, string | null];
  return { id: idOf(id), device: idOf(device), at: decodeStamp(hlc).ms, hlc, json };
}

function* pages<T>(items: T[]): Generator<T[]> {
  for (let at = 0; at < items.length; at += ROW_IDS) yield items.slice(at, at + ROW_IDS);
}

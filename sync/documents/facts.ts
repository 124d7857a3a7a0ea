/**
 * Keyed facts: a multi-value register for each key, folded from events in any order. A set names the sets that it replaces,
 * which are those that its author knew; what nobody has replaced stands. So values that were written without knowledge of each
 * other stand side by side until somebody who saw them all sets the key again.
 *
 *   ana sets a ──┐                       values of the key:   a            after the first
 *                ├── ben sets b [r: a]                        b            he saw a
 *                └── li  sets c [r: a]                        b, c         she saw a and not b: concurrent
 *                         ana sets d [r: b, c]                d
 */
import { sha256 } from "#crypto";
import { compareBytes, encode, type Value } from "../../protocols/bytes.ts";
import { parseFactSet, type FactScope } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, type DeviceId, type EventId, type PersonId } from "../../protocols/ids.ts";
import type { ReadableEvent } from "../replica.ts";

export interface FactValue {
  id: EventId;
  person: PersonId;
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

export interface Facts {
  /** Takes a `fact-set` event; one that was taken is passed over. @throws KinError BAD_REQUEST, TOO_LARGE, DENIED: the same on every node */
  fold(event: Pick<ReadableEvent, "id" | "person" | "device" | "at" | "hlc" | "value">): void;
  clear(): void;
  /** undefined: never set, or unset by all. */
  get(scope: FactScope, key: string): Fact | undefined;
  /** In the order of keys. */
  list(scope: FactScope, prefix?: string): Fact[];
  /** Sets that a new one replaces. */
  standing(scope: FactScope, key: string): EventId[];
  /** All sets of a key that were taken, in no order. */
  sets(scope: FactScope, key: string): EventId[];
  count(): number;
  /** Equal on replicas that took the same events. */
  hash(): Uint8Array;
  save(): Value;
  restore(state: Value): void;
}

interface Cell {
  standing: FactValue[];
  /** Replaced ones: taken, or named by a set that came before them. */
  replaced: Map<EventId, "taken" | "awaited"> | null;
}

/** Items of one array of a saved state: decoding allows 4,096. */
const PAGE = 2048;

export function createFacts(): Facts {
  const scopes = new Map<string, Map<string, Cell>>();

  function cellsOf(scope: FactScope): Map<string, Cell> {
    const name = scopeText(scope);
    let cells = scopes.get(name);
    if (cells === undefined) scopes.set(name, (cells = new Map()));
    return cells;
  }

  function fold({ id, person, device, at, hlc, value }: Parameters<Facts["fold"]>[0]): void {
    const { scope, key, json, replaces } = parseFactSet(value);
    checkWriter(scope, person);
    const cells = cellsOf(scope);
    let cell = cells.get(key);
    if (cell === undefined) cells.set(key, (cell = { standing: [], replaced: null }));
    if (isTaken(cell, id)) return;
    if (cell.replaced?.has(id) === true) cell.replaced.set(id, "taken");
    else insert(cell.standing, { id, person, device, at, hlc, json });
    for (const old of replaces) replace(cell, old);
  }

  function get(scope: FactScope, key: string): Fact | undefined {
    const values = cellsOf(scope).get(key)?.standing ?? [];
    return values.some(({ json }) => json !== null) ? { scope, key, values } : undefined;
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
    standing: (scope, key) => (cellsOf(scope).get(key)?.standing ?? []).map(({ id }) => id),
    sets(scope, key) {
      const cell = cellsOf(scope).get(key);
      const past = [...(cell?.replaced ?? [])].flatMap(([id, state]) => (state === "taken" ? [id] : []));
      return [...past, ...(cell?.standing ?? []).map(({ id }) => id)];
    },
    count: () => [...scopes.values()].reduce((sum, cells) => sum + cells.size, 0),
    hash: () => sha256(encode(inOrder(scopes).map(([scope, key, cell]) => [scope, key, idsOf(cell)]))),
    save: () =>
      pages(
        inOrder(scopes).map(([scope, key, cell]) => [
          scope,
          key,
          cell.standing.map(({ id, person, device, at, hlc, json }) => [
            idBytes(id),
            idBytes(person),
            idBytes(device),
            at,
            hlc,
            json,
          ]),
          pages([...(cell.replaced ?? [])].map(([id, state]) => [idBytes(id), state === "taken"])),
        ]),
      ),
    restore(state) {
      scopes.clear();
      for (const [scope, key, standing, replaced] of unpaged(state) as [string, string, unknown[][], Value][]) {
        const cells = scopes.get(scope) ?? new Map<string, Cell>();
        scopes.set(scope, cells);
        const past = unpaged(replaced) as [Uint8Array, boolean][];
        cells.set(key, {
          standing: standing.map(restoreValue),
          replaced:
            past.length === 0 ? null : new Map(past.map(([id, taken]) => [idOf(id), taken ? "taken" : "awaited"])),
        });
      }
    },
  };
}

/** An agent's own facts are written by whoever it belongs to. @throws KinError DENIED */
function checkWriter(scope: FactScope, person: PersonId | null): asserts person is PersonId {
  if (person === null) throw new KinError("DENIED", "a fact of a device that is nobody's");
  if (scope !== null && scope.person !== person)
    throw new KinError("DENIED", `the facts of the agent ${scope.agent} are written by its owner only`);
}

function isTaken(cell: Cell, id: EventId): boolean {
  return cell.replaced?.get(id) === "taken" || cell.standing.some((value) => value.id === id);
}

function replace(cell: Cell, old: EventId): void {
  cell.replaced ??= new Map();
  if (cell.replaced.has(old)) return;
  const at = cell.standing.findIndex(({ id }) => id === old);
  cell.replaced.set(old, at < 0 ? "awaited" : "taken");
  if (at >= 0) cell.standing.splice(at, 1);
}

/** The newest first: by stamp, then by id. */
function insert(values: FactValue[], value: FactValue): void {
  const at = values.findIndex(
    (other) =>
      compareBytes(other.hlc, value.hlc) < 0 || (compareBytes(other.hlc, value.hlc) === 0 && other.id < value.id),
  );
  values.splice(at < 0 ? values.length : at, 0, value);
}

/** "" is the mesh's. */
function scopeText(scope: FactScope): string {
  return scope === null ? "" : `${scope.person}/${scope.agent}`;
}

function inOrder(scopes: Map<string, Map<string, Cell>>): [string, string, Cell][] {
  return [...scopes.keys()]
    .toSorted()
    .flatMap((scope) =>
      [...scopes.get(scope)!.entries()]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, cell]): [string, string, Cell] => [scope, key, cell]),
    );
}

function idsOf(cell: Cell): [Uint8Array[], Uint8Array[]] {
  const past = [...(cell.replaced?.keys() ?? [])].toSorted().map(idBytes);
  return [cell.standing.map(({ id }) => idBytes(id)), past];
}

function restoreValue(saved: unknown): FactValue {
  const [id, person, device, at, hlc, json] = saved as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    number,
    Uint8Array,
    string | null,
  ];
  return { id: idOf(id), person: idOf(person), device: idOf(device), at, hlc, json };
}

function pages(items: Value[]): Value {
  const out: Value[] = [];
  for (let at = 0; at < items.length; at += PAGE) out.push(items.slice(at, at + PAGE));
  return out;
}

function unpaged(state: Value): Value[] {
  return (state as Value[][]).flat();
}

/**
 * The snapshot that this node begins with: a state in the place of bodies that it dropped or never had (R16). It is durable before
 * the first body is dropped, and there is one at a time.
 *
 *   snapshot/part/<id>/<n> = parts of the state …  then  snapshot/base = which one counts  … then the parts of the one before go
 *
 * A crash before `snapshot/base` leaves parts that nobody names; they go at the next start.
 */
import { decode, encode, equal, concat } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import type { StoredEvent } from "../protocols/events.ts";
import type { LogId, MeshId } from "../protocols/ids.ts";
import { parseProposal, proposalValue, stateHash, type Snapshot } from "../protocols/snapshot.ts";
import { parseState, type BaseRows, type Section } from "./snapshot-state.ts";
import type { SnapshotPart } from "./snapshot-view.ts";
import type { EventStore } from "./store.ts";

const BASE_KEY = "snapshot/base";
const PART_PREFIX = "snapshot/part/";
/** Half of what a value may have. */
const PART_BYTES = 512 * 1024;

export interface Base extends BaseRows {
  snapshot: Snapshot;
  state: Uint8Array;
  /** True if it stands for this event in this view: who began with it doesn't fold the event again, whoever brings its body (C25). */
  covers(view: SnapshotPart, event: Pick<StoredEvent["header"], "log" | "seq">): boolean;
}

export interface SnapshotBase {
  /** A view that folds anew asks once, and goes on with what it got until it folds anew again. */
  current(): Base | null;
  /** True: there was one, and its rows on the disk are damaged. Nothing stands for what it stood for until it is got again. */
  isLost(): boolean;
  /** Durable when it resolves. @throws KinError BAD_REQUEST if the state is none, DISK_FULL */
  put(snapshot: Snapshot, state: Uint8Array): Promise<void>;
}

export async function openSnapshotBase(store: EventStore, mesh: MeshId): Promise<SnapshotBase> {
  let current: Base | null = null;
  let lost = false;
  try {
    current = await load(store, mesh);
    await forget(store, current?.snapshot ?? null);
  } catch (error) {
    if (!(error instanceof KinError) || error.code !== "CORRUPT") throw error;
    lost = true;
  }

  return {
    current: () => current,
    isLost: () => lost,
    async put(snapshot, state) {
      const next = baseOf(snapshot, state);
      for (let n = 0; n * PART_BYTES < state.length; n++)
        await store.append({
          values: [{ key: partKey(snapshot, n), value: state.subarray(n * PART_BYTES, (n + 1) * PART_BYTES) }],
        });
      await store.append({ values: [{ key: BASE_KEY, value: encode(proposalValue(snapshot)) }] });
      current = next;
      if (!lost) await forget(store, snapshot); // a damaged row can't be listed: it stays beside
      lost = false;
    },
  };
}

/** @throws KinError CORRUPT if the rows are not what was signed */
async function load(store: EventStore, mesh: MeshId): Promise<Base | null> {
  const row = await store.value(BASE_KEY);
  if (row === undefined) return null;
  const snapshot = parseProposal(mesh, decode(row));
  const parts = await store.values(`${PART_PREFIX}${snapshot.id}/`);
  const state = concat(...parts.map(({ value }) => value));
  if (!equal(stateHash(state), snapshot.state))
    throw new KinError("CORRUPT", `the state of snapshot ${snapshot.id} is not what was signed`);
  return baseOf(snapshot, state);
}

/** Parts of other snapshots go. */
async function forget(store: EventStore, kept: Snapshot | null): Promise<void> {
  for (const { key } of await store.values(PART_PREFIX))
    if (kept === null || !key.startsWith(`${PART_PREFIX}${kept.id}/`))
      await store.append({ values: [{ key, value: null }] });
}

/** @throws KinError BAD_REQUEST if the state is none */
export function baseOf(snapshot: Snapshot, state: Uint8Array): Base {
  const sections = new Map<string, Section>(parseState(state).map((section) => [section.name, section]));
  const keptOf = new Map<string, ReadonlySet<string>>();
  function rows({ name, version }: SnapshotPart): Uint8Array[] | undefined {
    const section = sections.get(name);
    return section?.version === version ? section.rows : undefined;
  }
  function isKept(view: SnapshotPart, log: LogId, seq: number): boolean {
    if (view.kept === undefined) return false;
    let kept = keptOf.get(view.name);
    if (kept === undefined) {
      kept = new Set([...view.kept(rows(view) ?? [])].map((one) => `${one.log} ${one.seq}`));
      keptOf.set(view.name, kept);
    }
    return kept.has(`${log} ${seq}`);
  }
  return {
    snapshot,
    state,
    at: snapshot.at,
    rows,
    covers: (view, { log, seq }) =>
      rows(view) !== undefined && seq <= (snapshot.at.get(log)?.seq ?? -1) && !isKept(view, log, seq),
  };
}

function partKey({ id }: Snapshot, n: number): string {
  return `${PART_PREFIX}${id}/${String(n).padStart(4, "0")}`;
}

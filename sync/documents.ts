/**
 * Documents (§7): what the log's `fact-set`, `note-*` and `record-changed` events fold to. One view of three kinds, of which the
 * log is the truth: it can be thrown away at any time and folds again.
 *
 *   log ─▶ projection ─▶ facts      any order, at once
 */
import type { FactScope } from "../protocols/document.ts";
import { DOCUMENT_KINDS, factSetValue, parseFactSet } from "../protocols/document.ts";
import type { KinError } from "../protocols/errors.ts";
import type { EventId } from "../protocols/ids.ts";
import { compareStamps } from "./clock.ts";
import { createFacts, factsView, type Fact, type FactValue } from "./documents/facts.ts";
import { openProjection } from "./projection.ts";
import type { ReadableEvent, Replica } from "./replica.ts";
import type { SnapshotBase } from "./snapshot-base.ts";

export interface DocumentsDeps {
  replica: Replica;
  /** The snapshot that the facts begin with, if there may be one (R16). */
  base?: SnapshotBase | undefined;
  /** Told what could not be folded for a reason of this machine, not of the event; it is tried again. */
  failed?: ((error: unknown) => void) | undefined;
}

/** An event that has no effect on any node, and why. */
export interface RefusedUpdate {
  event: EventId;
  kind: string;
  code: string;
  message: string;
}

export interface Documents {
  facts: {
    get(scope: FactScope, key: string): Fact | undefined;
    list(scope: FactScope, prefix?: string): Fact[];
    /** Replaces all values that stand here now; `json` null unsets. Resolves when durable and folded. @throws KinError BAD_REQUEST, TOO_LARGE, NOT_A_MEMBER, REMOVED, DISK_FULL */
    set(scope: FactScope, key: string, json: string | null): Promise<void>;
    /** All that was ever set, the newest first. */
    history(scope: FactScope, key: string): Promise<(FactValue & { replaces: EventId[] })[]>;
    count(): number;
  };
  /** Events that were refused, the newest last. */
  refused(): RefusedUpdate[];
  /** Resolves when all that the replica has now is folded, or waits for something that has not come. */
  settled(): Promise<void>;
  /** The same 32 bytes on every node that has the same events and can read them. */
  hash(): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Refused events that are kept to be shown. */
const MAX_REFUSED = 256;

export async function openDocuments({ replica, base, failed }: DocumentsDeps): Promise<Documents> {
  const facts = createFacts();
  begin();
  let refused: RefusedUpdate[] = [];
  const inOrder = createQueue();
  const projection = await openProjection(replica, {
    kinds: new Set<string>(DOCUMENT_KINDS),
    fold,
    clear,
    failed,
  });

  function fold(event: ReadableEvent): void {
    // What is said to some only is no fact of the mesh: no snapshot could hold it.
    const isFact = event.kind === "fact-set" && event.audience === "mesh";
    if (isFact && base?.covers(factsView, event) !== true) refuse(event, facts.fold(event));
  }

  function refuse({ id, kind }: Pick<ReadableEvent, "id" | "kind">, error: KinError | null): void {
    if (error === null) return;
    refused = [...refused.slice(1 - MAX_REFUSED), { event: id, kind, code: error.code, message: error.message }];
  }

  function begin(): void {
    facts.load(base?.current()?.rows(factsView) ?? []);
  }

  function clear(): void {
    facts.clear();
    begin();
    refused = [];
  }

  function set(scope: FactScope, key: string, json: string | null): Promise<void> {
    return inOrder(async () => {
      await projection.settled();
      const value = factSetValue({ scope, key, json, replaces: facts.standing(scope, key) });
      await replica.append([{ kind: "fact-set", audience: "mesh", value }]);
      await projection.settled();
    });
  }

  async function history(scope: FactScope, key: string) {
    const found = await Promise.all(facts.sets(scope, key).map((id) => replica.event(id)));
    return found
      .filter((event): event is ReadableEvent => event?.value !== undefined)
      .map(({ id, device, at, hlc, value }) => {
        const { json, replaces } = parseFactSet(value);
        return { id, device, at, hlc, json, replaces };
      })
      .toSorted((a, b) => compareStamps(b.hlc, a.hlc));
  }

  return {
    facts: {
      get: (scope, key) => facts.get(scope, key),
      list: (scope, prefix) => facts.list(scope, prefix),
      set,
      history,
      count: () => facts.count(),
    },
    refused: () => refused,
    settled: () => projection.settled(),
    hash: async () => {
      await projection.settled();
      return facts.hash();
    },
    close: () => projection.close(),
  };
}

/** Runs jobs one after the other. */
function createQueue(): <T>(job: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (job) => {
    const next = last.then(job, job);
    last = next.catch(() => undefined);
    return next;
  };
}

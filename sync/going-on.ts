/**
 * What a device does after its own log has ended other than it wished (a fork, a clock that was put right): it lets its new log
 * count, hands out epoch keys again, and says again what has no effect where it stands. A person's key lets a device's logs go on
 * once; the second time it takes an admin, and until then what the device writes waits in quarantine (R2).
 */
import { decode } from "../protocols/bytes.ts";
import type { SigningKey } from "../protocols/crypto/keys.ts";
import { KinError } from "../protocols/errors.ts";
import { recipientsOf } from "../protocols/event-body.ts";
import type { EventKind, StoredEvent } from "../protocols/events.ts";
import { idBytes, type DeviceId, type EventId, type LogId } from "../protocols/ids.ts";
import { isLogAllowed } from "../protocols/membership.ts";
import { makeLogWord, MAX_ALLOWED_LOGS } from "../protocols/roster-record.ts";
import { asMap } from "../protocols/signature.ts";
import type { Branches } from "./branches.ts";
import type { Epochs } from "./epochs.ts";
import { forkPoint } from "./fork.ts";
import { createQueue, type Ground, type KnownLog } from "./ground.ts";
import type { OwnLogs } from "./own-logs.ts";
import type { Reading } from "./reading.ts";
import type { Records } from "./records.ts";
import { MAX_REISSUED, REISSUED, type Reissues } from "./reissue.ts";
import type { NewEntry, ReadableEvent } from "./replica.ts";
import type { Writing } from "./writing.ts";

/** Events that one step takes from the store. */
const PAGE_EVENTS = 64;
/** Kinds that are not said again: they count anyway, are made anew, or were about the old log. */
const NOT_AGAIN: ReadonlySet<EventKind> = new Set(["log-opened", "roster", "here-head", "epoch-sealed", REISSUED]);

export interface GoingOnDeps {
  ground: Pick<Ground, "mesh" | "device" | "store" | "clock" | "random" | "logs" | "forks" | "emit" | "isClosed">;
  records: Records;
  branches: Branches;
  reissues: Pick<Reissues, "isRepeatedBy">;
  find: (id: EventId) => Promise<StoredEvent | undefined>;
  read: Reading["read"];
  /** Where the held events of a log begin now. */
  findHeld: (known: KnownLog) => Promise<void>;
  epochs: Pick<Epochs, "share" | "shareAgain">;
  writing: Pick<Writing, "append" | "act">;
  ownLogs: () => Pick<OwnLogs, "settle" | "living" | "hasEnded">;
  /** Null: it is not on this machine. */
  personKey: SigningKey | null;
}

export interface GoingOn {
  /** True: something may be left to do for the living log. */
  isDue: () => boolean;
  settle: () => Promise<void>;
  /** Says again what lost its effect: one's own, and by an admin what was a removed member's. @throws KinError DENIED, NOT_FOUND */
  reissue: (ids: readonly EventId[]) => Promise<ReadableEvent[]>;
}

export function createGoingOn(deps: GoingOnDeps): GoingOn {
  const { ground, records, branches, reissues, read, writing, ownLogs } = deps;
  const { mesh, device, store, clock, logs, forks } = ground;
  const { membership } = records;
  const oneAtATime = createQueue();
  let settledFor: LogId | null = null;

  function isDue(): boolean {
    return ownLogs().hasEnded() || settledFor !== ownLogs().living();
  }

  function settle(): Promise<void> {
    return oneAtATime(async () => {
      if (ground.isClosed() || !membership().devices.has(device)) return;
      await ownLogs().settle();
      settledFor = ownLogs().living();
      try {
        await goOn([...forks.values()].some(({ opening }) => opening.device === device));
      } catch (error) {
        // What only an admin can change is not tried at each write; what the disk refused is.
        if (!(error instanceof KinError && error.code === "FORKED")) settledFor = null;
        throw error;
      }
    });
  }

  async function goOn(hasForked: boolean): Promise<void> {
    if (hasForked) await allow();
    await (hasForked ? deps.epochs.shareAgain() : deps.epochs.share());
    await sayAgain();
  }

  // ── the new log counts ──

  async function allow(): Promise<void> {
    const open = mine().map(({ log }) => log);
    const wanted = [...new Set([ownLogs().living(), ...open])].filter((log) => !forks.has(log));
    const { devices } = membership();
    if (wanted.every((log) => isLogAllowed(membership(), device, log))) return;
    const allowed = { device, logs: wanted.slice(0, MAX_ALLOWED_LOGS).toSorted() };
    if (deps.personKey !== null && !isWordSpent()) {
      const word = makeLogWord(deps.personKey, mesh, allowed, ground.random.bytes(16));
      await writing.act(() => ({ records: [{ type: "log-allowed", ...allowed, word }] }));
    } else if (devices.get(device)?.member.role === "admin")
      await writing.act(() => ({ records: [{ type: "log-allowed", ...allowed }] }));
    else
      throw new KinError("FORKED", "this device has written two histories again: an admin must let its new log count", {
        hint: "what it writes is kept and sent, and has no effect until an admin runs: kin sync allow PERSON@DEVICE",
      });
  }

  function isWordSpent(): boolean {
    const isSpent = records.roster.records().some(({ id, body }) => {
      if (body.type !== "log-allowed" || body.device !== device || body.word === undefined) return false;
      return !membership().void.has(id);
    });
    return isSpent;
  }

  function mine(): KnownLog[] {
    return [...logs.values()].filter(({ opening }) => opening.device === device && opening.chain === "mesh");
  }

  // ── saying again ──

  async function sayAgain(): Promise<void> {
    let unsaid = 0;
    let batch: Again[] = [];
    for (const known of mine())
      for await (const event of lost(known)) {
        if (NOT_AGAIN.has(event.header.kind) || reissues.isRepeatedBy(device, event.id)) continue;
        if ((await read(event)).standing.state === "good") continue;
        const again = await againOf(event);
        if (again === null) unsaid++;
        else batch.push(again);
        if (batch.length < MAX_REISSUED) continue;
        await say(batch);
        batch = [];
      }
    if (batch.length > 0) await say(batch);
    if (unsaid > 0)
      ground.emit({
        type: "trouble",
        error: {
          code: "FORKED",
          message: `${unsaid} entries of an ended log can't be said again: this device can't read them`,
        },
      });
  }

  /** Own events that may have lost their effect, causes first. */
  async function* lost(known: KnownLog): AsyncGenerator<StoredEvent> {
    const { log, tip } = known;
    const proof = forks.get(log);
    const isAhead = proof === undefined && log !== ownLogs().living() && tip !== null && clock.isHeld(tip.hlc);
    if (isAhead) {
      // What we wrote while our clock was ahead counted here then.
      await deps.findHeld(known);
      ground.emit({ type: "rejudged", logs: [log] });
    }
    const from = proof !== undefined ? forkPoint(proof) + 1 : isAhead ? known.heldFrom : null;
    if (from === null || tip === null) return;
    for (let at = from; at <= tip.seq; at += PAGE_EVENTS) yield* await store.range(log, at, at + PAGE_EVENTS);
    for (const id of branches.idsOf(log)) {
      const event = await branches.event(id);
      if (event !== undefined) yield event;
    }
  }

  async function againOf(event: StoredEvent): Promise<Again | null> {
    const { kind, audience } = event.header;
    const { value } = await read(event);
    if (value === undefined || event.body === null || audience === "here") return null;
    const body = asMap(decode(event.body), "an event's body");
    const entry: NewEntry = { kind, audience, value, clear: "c" in body };
    if (audience === "direct") entry.to = recipientsOf(event.body).filter((to) => membership().devices.has(to));
    return entry.to?.length === 0 ? null : { id: event.id, entry };
  }

  async function say(batch: Again[]): Promise<ReadableEvent[]> {
    const of = batch.map(({ id }) => idBytes(id));
    const marker: NewEntry = { kind: REISSUED, audience: "mesh", value: { of }, clear: true };
    const [, ...copies] = await writing.append([marker, ...batch.map(({ entry }) => entry)]);
    return copies;
  }

  async function reissue(ids: readonly EventId[]): Promise<ReadableEvent[]> {
    if (ids.length === 0 || ids.length > MAX_REISSUED)
      throw new KinError("BAD_REQUEST", `${ids.length} entries to say again: 1 to ${MAX_REISSUED}`);
    const batch: Again[] = [];
    for (const id of ids) {
      const event = await deps.find(id);
      if (event === undefined) throw new KinError("NOT_FOUND", `there is no event ${id} here`);
      const { device: author, standing } = await read(event);
      if (standing.state === "good") throw new KinError("BAD_REQUEST", `event ${id} counts where it stands`);
      checkMay(id, author);
      const again = NOT_AGAIN.has(event.header.kind) ? null : await againOf(event);
      if (again === null) throw new KinError("NOT_FOUND", `event ${id} can't be said again: it can't be read here`);
      batch.push(again);
    }
    return say(batch);
  }

  function checkMay(id: EventId, author: DeviceId): void {
    const { devices, formerDevices } = membership();
    if (author === device || (formerDevices.has(author) && devices.get(device)?.member.role === "admin")) return;
    throw new KinError(
      "DENIED",
      `event ${id} is another's: its author says it again, or an admin once the author is removed`,
    );
  }

  return { isDue, settle, reissue };
}

interface Again {
  id: EventId;
  entry: NewEntry;
}

/**
 * From a stored event to a readable one: whose it is, what it says if we have the key, and whether it counts. A body is opened
 * when somebody asks what it says: most of what comes nobody asks for at once. Deps that have not come yet are remembered, so that what named them is judged again when they come; what is read as held is told, so that
 * it is released although it counted before the wall clock was set back.
 */
import type { Value } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import { epochOf, openBody, openShared, type BodyKeys, type OpenedBody } from "../protocols/event-body.ts";
import type { StoredEvent } from "../protocols/events.ts";
import type { DeviceId, EpochId, EventId, LogId } from "../protocols/ids.ts";
import type { Membership } from "../protocols/membership.ts";
import { compareStamps, decodeStamp } from "./clock.ts";
import type { Ground } from "./ground.ts";
import { judge, type Standing } from "./quarantine.ts";
import type { Reissues } from "./reissue.ts";
import type { ReadableEvent } from "./replica.ts";

/** Deps remembered that have not come yet, to judge again what named them. */
const MAX_AWAITED_DEPS = 10_000;

export interface Reading {
  /** @throws KinError NOT_FOUND if we do not have the event's log */
  read: (event: StoredEvent) => Promise<ReadableEvent>;
  /** The epoch that the body is sealed under, and whether we hold its key; null: it is sealed under none, or not here. */
  sealing: (event: StoredEvent) => { epoch: EpochId; isHeld: boolean } | null;
  /** Runs `work` while the values of these own events are known: what we have just written need not be opened again. */
  whileSaying: <T>(said: readonly { id: EventId; value: Value }[], work: () => Promise<T>) => Promise<T>;
  /** Deps that have come late and show that what named them is stamped before them. */
  judgeDependants: (events: StoredEvent[]) => void;
}

export interface ReadingDeps {
  membership: () => Membership;
  bodyKeys: BodyKeys;
  /** Its body is to come. */
  isMissing: (event: Pick<StoredEvent, "id" | "header">) => boolean;
  /** On whatever history of its log. */
  find: (id: EventId) => Promise<StoredEvent | undefined>;
  /** Whether it counts as far as forks are concerned (R2). */
  stands: (log: LogId, seq: number, id: EventId) => boolean;
  reissues: Pick<Reissues, "before" | "originOf" | "hasEnded">;
  /** Somebody was told now that an event is held. */
  noteHeld: (event: StoredEvent) => void;
}

export function createReading(ground: Pick<Ground, "mesh" | "clock" | "logs" | "emit">, deps: ReadingDeps): Reading {
  const { mesh, clock, logs } = ground;
  const { membership, bodyKeys, reissues } = deps;
  const awaitedDeps = new Map<EventId, { log: LogId; hlc: Uint8Array }>();
  const justSaid = new Map<EventId, Value>();

  async function read(event: StoredEvent): Promise<ReadableEvent> {
    const { header, id } = event;
    const author = logs.get(header.log)?.opening.device;
    const isMissing = event.body === null && deps.isMissing(event);
    if (author === undefined)
      throw new KinError("NOT_FOUND", `event ${id} is of log ${header.log}, which we do not have`);
    // Most events are waited for nowhere here: a run has a thousand of them. What is just said is asked for once: it is over soon.
    const value = justSaid.get(id);
    const opened: OpenedBody | null =
      value !== undefined
        ? { state: "open", value }
        : header.audience === "direct"
          ? await openDirect(event, author)
          : null;
    const said = sayingOf(event, author, opened);
    const repeats = reissues.originOf(id) === null ? undefined : await repeatedBy(id, author);
    const insteadOf = reissues.before(id);
    const standing =
      header.deps.length === 0 && insteadOf.length === 0
        ? judgeBy(event, author, [], false)
        : await standingOf(event, author);
    const readable = new Readable(event, author, personOf(membership(), author), standing, said, isMissing);
    if (repeats !== undefined) readable.repeats = repeats;
    if (insteadOf.length > 0) readable.insteadOf = insteadOf;
    return readable;
  }

  async function repeatedBy(copy: EventId, author: DeviceId): Promise<ReadableEvent["repeats"]> {
    const origin = reissues.originOf(copy);
    if (origin === null) return undefined;
    const header = (await deps.find(origin))?.header;
    const theirs = header === undefined ? undefined : logs.get(header.log)?.opening.device;
    if (header === undefined || theirs === undefined) return null;
    return theirs === author ? { log: header.log, seq: header.seq } : undefined;
  }

  /** One to single devices takes a private key, and is opened at once. */
  async function openDirect({ header, body }: StoredEvent, author: DeviceId) {
    return body === null ? null : openBody({ mesh, author }, header, body, bodyKeys);
  }

  /** Opens the body when it is called first, with the key that is there now. */
  function sayingOf(
    { header, headerBytes, body }: StoredEvent,
    author: DeviceId,
    before: OpenedBody | null,
  ): () => OpenedBody | null {
    if (body === null) return () => null;
    let opened = before;
    const epoch = opened === null ? epochOf(body) : null;
    const key = epoch === null ? undefined : bodyKeys.epochKey(epoch);
    return () => (opened ??= openShared({ mesh, author }, { header, headerBytes, body }, { epochKey: () => key }));
  }

  async function standingOf(event: StoredEvent, author: DeviceId): Promise<Standing> {
    return judgeIt(event, author, await isElsewhere(event));
  }

  /** A copy steps back where what it repeats counts, or another copy of it. */
  async function isElsewhere({ id }: StoredEvent): Promise<boolean> {
    for (const other of reissues.before(id)) {
      const found = await deps.find(other);
      const author = found === undefined ? undefined : logs.get(found.header.log)?.opening.device;
      if (author !== undefined && (await judgeIt(found!, author, false)).state === "good") return true;
    }
    return false;
  }

  async function judgeIt(event: StoredEvent, author: DeviceId, isAgain: boolean): Promise<Standing> {
    const { header } = event;
    const named: StoredEvent["header"][] = [];
    for (const dep of header.deps) {
      const found = await deps.find(dep);
      if (found !== undefined) named.push(found.header);
      else if (awaitedDeps.size < MAX_AWAITED_DEPS) awaitedDeps.set(dep, { log: header.log, hlc: header.hlc });
    }
    return judgeBy(event, author, named, isAgain);
  }

  function judgeBy(
    event: StoredEvent,
    author: DeviceId,
    named: readonly StoredEvent["header"][],
    isAgain: boolean,
  ): Standing {
    const { id, header } = event;
    const standing = judge({ id, header }, author, {
      membership: membership(),
      clock,
      stands: deps.stands(header.log, header.seq, id),
      isElsewhere: isAgain,
      hasEnded: reissues.hasEnded(id, author, header.hlc),
      deps: named,
    });
    if (standing.state === "held") deps.noteHeld(event);
    return standing;
  }

  return {
    read,
    sealing({ header, body }) {
      const epoch = header.audience === "mesh" && body !== null ? epochOf(body) : null;
      return epoch === null ? null : { epoch, isHeld: bodyKeys.epochKey(epoch) !== undefined };
    },
    async whileSaying(said, work) {
      for (const { id, value } of said) justSaid.set(id, value);
      const done = await work();
      for (const { id } of said) justSaid.delete(id);
      return done;
    },
    judgeDependants(events) {
      const touched = new Set<LogId>();
      for (const { id, header } of events) {
        const dependant = awaitedDeps.get(id);
        if (dependant === undefined) continue;
        awaitedDeps.delete(id);
        if (compareStamps(header.hlc, dependant.hlc) >= 0) touched.add(dependant.log);
      }
      if (touched.size > 0) ground.emit({ type: "rejudged", logs: [...touched] });
    },
  };
}

/** A class, because getters of an object of its own take longer than all else that a run's event takes here (1.5 µs). */
class Readable implements ReadableEvent {
  readonly id: EventId;
  readonly log: LogId;
  readonly seq: number;
  readonly device: DeviceId;
  readonly person: ReadableEvent["person"];
  readonly kind: ReadableEvent["kind"];
  readonly audience: ReadableEvent["audience"];
  readonly at: number;
  readonly hlc: Uint8Array;
  readonly deps: EventId[];
  readonly standing: Standing;
  declare repeats?: NonNullable<ReadableEvent["repeats"]> | null;
  declare insteadOf?: EventId[];
  readonly #said: () => OpenedBody | null;
  readonly #isMissing: boolean;

  constructor(
    { id, header }: StoredEvent,
    device: DeviceId,
    person: ReadableEvent["person"],
    standing: Standing,
    said: () => OpenedBody | null,
    isMissing: boolean,
  ) {
    this.id = id;
    this.log = header.log;
    this.seq = header.seq;
    this.device = device;
    this.person = person;
    this.kind = header.kind;
    this.audience = header.audience;
    this.at = decodeStamp(header.hlc).ms;
    this.hlc = header.hlc;
    this.deps = header.deps;
    this.standing = standing;
    this.#said = said;
    this.#isMissing = isMissing;
  }

  get value(): ReadableEvent["value"] {
    const opened = this.#said();
    return opened?.state === "open" ? opened.value : undefined;
  }

  get unreadable(): ReadableEvent["unreadable"] {
    return unreadableWhy(this.#said(), this.#isMissing);
  }
}

/** Whose device it is or was; null if the fold does not say. */
function personOf(membership: Membership, device: DeviceId): ReadableEvent["person"] {
  return membership.devices.get(device)?.member.person ?? membership.formerDevices.get(device)?.person ?? null;
}

function unreadableWhy(opened: OpenedBody | null, isMissing: boolean): ReadableEvent["unreadable"] {
  if (opened === null) return isMissing ? "no-body" : "pruned";
  switch (opened.state) {
    case "open":
      return null;
    case "refused":
      return "damaged";
    case "locked":
      return opened.why === "epoch" ? "no-key" : "not-for-us";
  }
}

/**
 * What the events of durable calls say (§7, R8): each ask, which one device is to run it, and how it ended. A fold: the same
 * events say the same whatever order they come in.
 *
 *   named device ──declined { next }──▶ another device of the same person ──declined { next }──▶ …
 *        │                                   └──answered──▶ the end
 *        ├──answered──▶ the end
 *        └──declined {}──▶ the end: nobody runs it
 *
 * Only who is to run it can hand it on, and only before it has started: so there is never a second one. An ask of `only` the
 * named device is not handed on.
 */
import { openEnvelope, type OpenedEnvelope } from "../protocols/envelope.ts";
import { KinError, type ErrorShape } from "../protocols/errors.ts";
import {
  idOf,
  type DeviceId,
  type EnvelopeId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
} from "../protocols/ids.ts";
import { parseEvent, parseRefused, parseRequest } from "../protocols/invoke-bodies.ts";
import type { InvokeDeps } from "../protocols/invoke-deps.ts";
import type { CallEvent, CallRequest } from "../protocols/invoke.ts";
import { asMap, parseSealed, type Sealed } from "../protocols/signature.ts";
import type { ReadableEvent } from "./replica.ts";

/** Longest life of a durable request: a month on a boat. */
export const MAX_DURABLE_LIFE_MS = 31 * 24 * 3_600_000;
/** Asks of one person that this device has before it for running; the others queue. */
const MAX_ASKS_PER_PERSON = 1024;
/** Answers and withdrawals of one device that came before their ask; the oldest make room. */
const MAX_EARLY_PER_DEVICE = 256;
/** Sealed envelopes in one answer: accepted and the end. */
export const MAX_ANSWER_ENVELOPES = 4;
/** Devices of one person whose words about one ask are kept: an ask is rarely handed on even once. */
const MAX_WORDS = 32;

/** Kinds that this fold is made of. */
export const ASK_KINDS = new Set([
  "invocation-asked",
  "invocation-withdrawn",
  "invocation-answered",
  "invocation-declined",
] as const);

export interface Ask {
  id: EnvelopeId;
  opened: OpenedEnvelope;
  request: CallRequest;
  /** Wall ms of the event's stamp. */
  askedAt: number;
  /** Wall ms: the envelope's `exp`. */
  expiresAt: number;
  /** Where its event stands: whoever has so much of the log has the ask. Null before it is written. */
  at: { log: LogId; seq: number } | null;
  /** Its event; null before it is written. */
  event: EventId | null;
  /** The first word of each device of the asked person. */
  said: Map<DeviceId, Word>;
  isWithdrawn: boolean;
  /** The caller means this very device: it hands the ask to no other. */
  isOnly: boolean;
}

type Word =
  | { type: "answered"; events: CallEvent[] }
  /** `at`: wall ms of the event's stamp. */
  | { type: "declined"; error: ErrorShape; next: DeviceId | null; at: number };

/** What this device itself has said and cannot read any more. */
const UNREADABLE: Word = {
  type: "answered",
  events: [{ type: "failure", index: 0, error: { code: "INTERNAL", message: "this device's answer can't be read" } }],
};

export type Course =
  /** `device` is to run it, since `since` (wall ms). */
  { state: "waiting"; device: DeviceId; since: number } | { state: "ended"; device: DeviceId; events: CallEvent[] };

/** Who is to run an ask, or how it ended. */
export function courseOf({ opened, askedAt, said }: Pick<Ask, "opened" | "askedAt" | "said">): Course {
  const seen = new Set<DeviceId>();
  let device = opened.envelope.to.device!;
  let since = askedAt;
  for (;;) {
    const word = said.get(device);
    if (word === undefined) return { state: "waiting", device, since };
    if (word.type === "answered") return { state: "ended", device, events: word.events };
    seen.add(device);
    if (word.next === null || seen.has(word.next))
      return { state: "ended", device, events: [{ type: "failure", index: 0, error: word.error }] };
    device = word.next;
    since = Math.max(since, word.at);
  }
}

export interface AsksDeps {
  mesh: MeshId;
  self: { person: PersonId; device: DeviceId };
  /** Could this key ever speak for the sender (F3)? What was said stays said when a key has ended. */
  couldSpeakFor: InvokeDeps["keyMaySpeakFor"];
  /** Has this device begun to run it? Then a withdrawal can't undo that, and it is answered all the same. */
  hasStarted: (id: EnvelopeId) => boolean;
  /** Told when an ask that this device runs was taken back. */
  withdrawn?: ((id: EnvelopeId) => void) | undefined;
  /** Told of an event that is not what it should be: it has no effect. */
  refused: (event: ReadableEvent, error: KinError) => void;
  /** Asks that are remembered, ours and theirs each; those that have ended make room first. */
  remembered: number;
  /** @default MAX_ASKS_PER_PERSON */
  perPerson?: number | undefined;
}

export interface Asks {
  /** Takes one event of {@link ASK_KINDS}. */
  fold: (event: ReadableEvent) => void;
  clear: () => void;
  /** Checks a request that is to travel as an event. @throws KinError BAD_REQUEST, BAD_SIGNATURE, WRONG_MESH */
  read: (sealed: Sealed, askedAt: number) => Ask;
  /** Those of our person, in order of arrival. */
  readonly asked: ReadonlyMap<EnvelopeId, Ask>;
  /** Those to our person. */
  readonly toUs: ReadonlyMap<EnvelopeId, Ask>;
  /** Those that this device is to run or to answer. */
  readonly open: ReadonlySet<Ask>;
  /** Nobody is left to answer. */
  forget: (ask: Ask) => void;
}

export function createAsks(deps: AsksDeps): Asks {
  const { self, couldSpeakFor } = deps;
  const asked = new Map<EnvelopeId, Ask>();
  const toUs = new Map<EnvelopeId, Ask>();
  const open = new Set<Ask>();
  /** For this device too, but more than one person's share of `open`: the first of them comes in when one of theirs is done. */
  const queued = new Map<PersonId, Set<Ask>>();
  /** What is said of asks that we do not know (yet): the log that carries the ask may come later. */
  const early = new Map<DeviceId, ReadableEvent[]>();

  function fold(event: ReadableEvent): void {
    try {
      if (event.kind === "invocation-asked") foldAsked(event);
      else foldWord(event);
    } catch (error) {
      if (!(error instanceof KinError)) throw error;
      deps.refused(event, error);
    }
  }

  // ── asked ──

  function foldAsked(event: ReadableEvent): void {
    const { q, device, exp, only } = asMap(event.value, "an invocation-asked event");
    const ask = read(parseSealed(q), event.at);
    if (event.audience !== "direct") throw new KinError("BAD_REQUEST", "an ask is sealed to devices");
    checkAuthor(ask.opened, event, { device, exp, only });
    ask.isOnly = only === true;
    const { from, to } = ask.opened.envelope;
    if (known(ask.id) !== undefined) return;
    ask.at = { log: event.log, seq: event.seq };
    ask.event = event.id;
    if (from.person === self.person) remember(asked, ask);
    if (to.person === self.person) remember(toUs, ask);
    reopen(ask);
    for (const said of takeEarly(ask.id)) fold(said);
  }

  function read(sealed: Sealed, askedAt: number): Ask {
    const opened = openEnvelope(sealed, couldSpeakFor);
    const { envelope, id } = opened;
    if (envelope.mesh !== deps.mesh) throw new KinError("WRONG_MESH", "an ask is of another mesh");
    const request = durableRequest(opened);
    const expiresAt = envelope.exp;
    const unwritten = { at: null, event: null, said: new Map(), isWithdrawn: false, isOnly: false };
    return { id, opened, request, askedAt, expiresAt, ...unwritten };
  }

  function known(id: EnvelopeId): Ask | undefined {
    return asked.get(id) ?? toUs.get(id);
  }

  /** Is it for this device to run, as far as we know now? */
  function reopen(ask: Ask): void {
    const course = courseOf(ask);
    const isOurs = course.state === "waiting" && course.device === self.device && toUs.get(ask.id) === ask;
    if (!isOurs || (ask.isWithdrawn && !deps.hasStarted(ask.id))) return shut(ask);
    if (open.has(ask)) return;
    const { person } = ask.opened.envelope.from;
    if (isRoomFor(person)) open.add(ask);
    else queued.set(person, (queued.get(person) ?? new Set()).add(ask));
  }

  function shut(ask: Ask): void {
    const { person } = ask.opened.envelope.from;
    open.delete(ask);
    const theirs = queued.get(person);
    if (theirs === undefined) return;
    theirs.delete(ask);
    const [next] = theirs;
    if (next !== undefined && isRoomFor(person)) {
      theirs.delete(next);
      open.add(next);
    }
    if (theirs.size === 0) queued.delete(person);
  }

  function isRoomFor(person: PersonId): boolean {
    let count = 0;
    for (const { opened } of open) if (opened.envelope.from.person === person) count++;
    return count < (deps.perPerson ?? MAX_ASKS_PER_PERSON);
  }

  /** For lack of room: the oldest that is done goes, else the oldest that is not for this device to run. */
  function remember(map: Map<EnvelopeId, Ask>, ask: Ask): void {
    if (map.size >= deps.remembered) {
      const gone = firstOf(map, isDone) ?? firstOf(map, (one) => map === asked || !isBeforeUs(one));
      // What is before us is not put out by what comes later; the new one is not run here, and its caller sees it expire.
      if (gone === undefined) return;
      map.delete(gone.id);
    }
    map.set(ask.id, ask);
  }

  function isDone(ask: Ask): boolean {
    return courseOf(ask).state === "ended" || (ask.isWithdrawn && !isBeforeUs(ask));
  }

  function isBeforeUs(ask: Ask): boolean {
    return open.has(ask) || queued.get(ask.opened.envelope.from.person)?.has(ask) === true;
  }

  // ── what is said of it ──

  /** An answer, a refusal to run it or a withdrawal: each counts from one side only, and only for an ask that is known. */
  function foldWord(event: ReadableEvent): void {
    const map = asMap(event.value, `an ${event.kind} event`);
    const ask = known(idOf<"envelope">(map["re"]));
    if (ask === undefined) return keepEarly(event);
    try {
      if (event.kind === "invocation-withdrawn") foldWithdrawn(ask, event);
      else foldReply(ask, event, map);
    } finally {
      reopen(ask);
    }
  }

  /** Only with the key that asked: the device's whose log holds the ask. */
  function foldWithdrawn(ask: Ask, { device }: ReadableEvent): void {
    if (device !== ask.opened.envelope.from.device) return;
    ask.isWithdrawn = true;
    deps.withdrawn?.(ask.id);
  }

  /** The first word of each device of the asked person counts, once it is that device's turn (R8). */
  function foldReply(ask: Ask, event: ReadableEvent, map: Record<string, unknown>): void {
    const { device, person } = event;
    if (person !== ask.opened.envelope.to.person || ask.said.has(device) || ask.said.size >= MAX_WORDS) return;
    // Our own ends the ask whatever it says: it is never run again.
    if (device === self.device) ask.said.set(device, UNREADABLE);
    const word = event.kind === "invocation-declined" ? declined(map, event.at) : answered(map["ev"], ask.id, event);
    ask.said.set(device, word);
  }

  function declined({ code, message, next }: Record<string, unknown>, at: number): Word {
    const error = parseRefused({ code: code as string, message: message as string });
    return { type: "declined", error, next: next === undefined ? null : idOf<"device">(next), at };
  }

  /** The sealed envelopes of an answer, each checked by itself. */
  function answered(value: unknown, re: EnvelopeId, { device, person }: ReadableEvent): Word {
    if (!Array.isArray(value) || value.length === 0 || value.length > MAX_ANSWER_ENVELOPES)
      throw new KinError("BAD_REQUEST", `an answer holds 1 to ${MAX_ANSWER_ENVELOPES} envelopes`);
    const events = value.map((item) => {
      const { envelope } = openEnvelope(parseSealed(item), couldSpeakFor);
      if (envelope.re !== re || envelope.from.device !== device || envelope.from.person !== person)
        throw new KinError("BAD_REQUEST", "an answer holds an envelope of another call or device");
      return callEvent(envelope.kind, envelope.body);
    });
    return { type: "answered", events };
  }

  // ── what comes before its ask ──

  function keepEarly(event: ReadableEvent): void {
    const theirs = early.get(event.device) ?? [];
    if (theirs.length >= MAX_EARLY_PER_DEVICE) theirs.shift();
    early.set(event.device, [...theirs, event]);
  }

  function takeEarly(id: EnvelopeId): ReadableEvent[] {
    const taken: ReadableEvent[] = [];
    for (const [device, theirs] of early) {
      const about = theirs.filter(({ value }) => idOf((value as { re: unknown }).re) === id);
      if (about.length === 0) continue;
      taken.push(...about);
      const left = theirs.filter((event) => !about.includes(event));
      if (left.length > 0) early.set(device, left);
      else early.delete(device);
    }
    return taken;
  }

  return {
    fold,
    read,
    asked,
    toUs,
    open,
    clear() {
      for (const all of [asked, toUs, open, queued, early]) all.clear();
    },
    forget: shut,
  };
}

function firstOf(map: ReadonlyMap<EnvelopeId, Ask>, which: (ask: Ask) => boolean): Ask | undefined {
  for (const ask of map.values()) if (which(ask)) return ask;
  return undefined;
}

/**
 * What may be asked by an event (docs/protocol.md §20). Who runs it and who verifies an export ask the same, so that what was run
 * can be proved. @throws KinError BAD_REQUEST
 */
export function durableRequest({ envelope }: OpenedEnvelope): CallRequest {
  if (envelope.kind !== "invoke/request" || envelope.to.device === null)
    throw new KinError("BAD_REQUEST", "an ask is a request that names its executing device (R8)");
  if (envelope.boot !== undefined || envelope.re !== undefined)
    throw new KinError("BAD_REQUEST", "an ask names no start of a node and no other request: it is no live one");
  if (envelope.exp <= envelope.iat || envelope.exp - envelope.iat > MAX_DURABLE_LIFE_MS)
    throw new KinError("BAD_REQUEST", `an ask lives for at most ${MAX_DURABLE_LIFE_MS / 86_400_000} days`);
  return parseRequest(envelope.body);
}

/** An ask is its author's own, and its event says what the request in it says. @throws KinError BAD_REQUEST */
export function checkAuthor(
  { envelope: { from, to, exp } }: OpenedEnvelope,
  author: { device: DeviceId; person: PersonId | null },
  said: { device?: unknown; exp?: unknown; only?: unknown },
): void {
  if (from.device !== author.device || from.person !== author.person)
    throw new KinError("BAD_REQUEST", "an ask holds a request of somebody else than its author");
  if (to.device !== idOf(said.device) || exp !== said.exp)
    throw new KinError("BAD_REQUEST", "an ask names another executing device or expiry than its request");
  if (said.only !== undefined && said.only !== true)
    throw new KinError("BAD_REQUEST", '"only" of an ask is true, or is not there');
}

function callEvent(kind: string, body: unknown): CallEvent {
  switch (kind) {
    case "invoke/refused":
      return { type: "failure", index: 0, error: parseRefused(body) };
    case "invoke/accepted":
    case "invoke/result":
    case "invoke/failure":
      return parseEvent(kind.slice("invoke/".length) as CallEvent["type"], body);
    default:
      throw new KinError("BAD_REQUEST", `an answer holds an envelope of kind ${kind}`);
  }
}

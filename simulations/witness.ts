/**
 * What the outside world knows for certain: what somebody was told is durable, what was done and cannot be undone, what was
 * asked and answered, which machines lost their disk. The invariants hold the nodes against it.
 */
import { toHex, type Value } from "../protocols/bytes.ts";
import type { NoteId } from "../protocols/document.ts";
import type { DeviceId, EnvelopeId, EventId, LogId, PersonId } from "../protocols/ids.ts";
import type { CallEvent } from "../protocols/invoke.ts";
import type { Audience } from "../protocols/events.ts";
import type { CardId } from "../sync/documents/board.ts";
import type { ReadableEvent } from "../sync/replica.ts";
import type { World } from "./world.ts";

/** An append that has resolved: its author was told that it is durable. */
export interface Acknowledged {
  id: EventId;
  log: LogId;
  seq: number;
  author: string;
  audience: Audience;
  kind: string;
  /** Of a note. */
  text: string | null;
}

/** A durable call, from its caller's view. */
export interface AskedCall {
  id: EnvelopeId;
  /** (person, key) in hex: calls that share it are one. */
  once: string;
  caller: string;
  callee: string;
  expiresAt: number;
  withdrawn: boolean;
}

export interface Typed {
  event: EventId;
  author: string;
  note: NoteId;
  word: string;
}

/** What somebody does to a card of a board. */
export interface CardAct {
  board: NoteId;
  card: CardId;
  author: string;
  /** null: it is under way, or was cut off. */
  event: Pick<ReadableEvent, "id" | "log" | "seq"> | null;
  /** A word of its own that it writes on the card. */
  word: string | null;
  /** Whose the card becomes. */
  person: PersonId | null;
  removal: {
    /** Acts that counted for its author when he began. */
    saw: ReadonlySet<EventId>;
    /** The last that he had of each log when he was done; null: nobody knows. */
    had: ReadonlyMap<LogId, number> | null;
  } | null;
}

export interface Witness {
  acknowledged: Acknowledged[];
  acknowledge(author: string, events: readonly ReadableEvent[]): void;
  /** Events that each machine's replica has told its views of. */
  readonly told: ReadonlyMap<string, ReadonlySet<EventId>>;
  applied(machine: string, events: readonly ReadableEvent[]): void;
  /** Its disk is gone: what it was told of is no promise any more. */
  forget(machine: string): void;
  /** How often each (person, key) has had its effect, and where. */
  readonly effects: ReadonlyMap<string, string[]>;
  effect(person: PersonId, key: Uint8Array, machine: string): void;
  asked: AskedCall[];
  /** Ends of live calls by what they share. */
  ended(once: string, end: CallEvent): void;
  readonly ends: ReadonlyMap<string, CallEvent[]>;
  /** Events that only a destroyed disk had: nobody can bring them back. */
  readonly excused: Set<EventId>;
  /** Devices whose events must not count anywhere, and why. */
  readonly outlaws: Map<DeviceId, string>;
  /** What `fact-set` events say, as any machine has read them: bodies may be pruned since. */
  readonly facts: ReadonlyMap<EventId, Value>;
  /** A word of its own that an acknowledged edit has put into a note. */
  typed(word: Typed): void;
  readonly words: readonly Typed[];
  /** Noted when they begin. */
  readonly cardActs: Set<CardAct>;
  /** Somebody means to take this out. */
  strike(text: string): void;
  isStruck(word: string): boolean;
  /** People that a private note was meant for. */
  secret(note: NoteId, persons: readonly PersonId[]): void;
  readonly secrets: ReadonlyMap<NoteId, ReadonlySet<PersonId>>;
}

export function onceOf(person: PersonId, key: Uint8Array): string {
  return `${person}/${toHex(key)}`;
}

export function createWitness(world: World): Witness {
  const told = new Map<string, Set<EventId>>();
  const effects = new Map<string, string[]>();
  const ends = new Map<string, CallEvent[]>();
  const facts = new Map<EventId, Value>();
  const words: Typed[] = [];
  const struck: string[] = [];
  const secrets = new Map<NoteId, Set<PersonId>>();
  const witness: Witness = {
    acknowledged: [],
    acknowledge(author, events) {
      for (const { id, log, seq, audience, kind, value } of events) {
        const text = kind === "note" && typeof value === "string" ? value : null;
        witness.acknowledged.push({ id, log, seq, author, audience, kind, text });
        world.note(`acknowledged ${id}`);
      }
      world.count("acknowledged", events.length);
    },
    told,
    applied(machine, events) {
      const known = told.get(machine) ?? new Set();
      told.set(machine, known);
      for (const { id, audience, kind, value } of events) {
        if (audience !== "here") known.add(id);
        if (kind === "fact-set" && value !== undefined) facts.set(id, value);
      }
    },
    forget: (machine) => void told.delete(machine),
    effects,
    effect(person, key, machine) {
      const once = onceOf(person, key);
      effects.set(once, [...(effects.get(once) ?? []), machine]);
      world.note(`effect ${once} on ${machine}`);
      world.count("effects");
    },
    asked: [],
    ended(once, end) {
      ends.set(once, [...(ends.get(once) ?? []), end]);
    },
    ends,
    excused: new Set(),
    outlaws: new Map(),
    facts,
    typed: (word) => void words.push(word),
    words,
    cardActs: new Set(),
    strike: (text) => void struck.push(text),
    // Two words stand together where others have taken out what was between them.
    isStruck: (word) => struck.some((text) => text.includes(word)),
    secret: (note, persons) => void secrets.set(note, new Set([...(secrets.get(note) ?? []), ...persons])),
    secrets,
  };
  return witness;
}

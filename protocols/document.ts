/**
 * What the events of documents say (§7): facts, notes, records. A document is what its events fold to; an event's author, order,
 * audience and travel are those of the log. Values here are what stands inside an event's sealed body.
 *
 *   fact-set        { s: null | [person, agent name], k: key, v?: JSON text, r: [ids of the fact-set events that it replaces] }
 *                   without `v` the key is unset; `r` is ascending. Only its person writes into an agent's scope
 *   note-opened     { f: form, t: title }                 a note for the mesh; the note's id is the id of this event; f = 1: a text,
 *                                                         2: a board
 *                   { f, t: title, p: [persons], o: [devices], k }   audience direct: a private one; k = its key, 32 bytes, sealed
 *                                                         to the devices that p have now, which are o
 *   note-shared     { d: note, f, t, p, o, k }            audience direct: whoever has the key gives it to more people, or devices
 *   note-edited     { d: note, h: seen, u: update }       `update` is Yjs's, of form V1; seen = [[client id, clock]…], what the
 *                   { d: note, h: seen, n, x }             author had of the note; x = the update under a private note's key
 *                   with l: 1 to 7 in a later life of its log in this note
 *   record-changed  { e: ["agent", name], u: change }     one change chunk of Automerge; the record is its author's person's
 *
 *   client id of Yjs = the low 53 bits of the first 8 bytes of SHA-256("kin/yjs/1" ‖ log ‖ note), actor of Automerge = the first 16 bytes of
 *   SHA-256("kin/automerge/1" ‖ log ‖ record), so that a new incarnation writes as somebody new. A log whose edits of a document stand on
 *   what a removal cut off can't go on there: it begins another life in it, as somebody new again (‖ one byte, the life, from 1 on);
 *   record id = SHA-256("kin/record/1" ‖ canonical [mesh, person, "agent", name])
 *   x = AES-256-GCM(k, nonce n of 12 bytes, update, AAD canonical ["kin/note/1", mesh, note, author's device])
 */
import { aeadOpen, aeadSeal, sha256 } from "#crypto";
import { concat, encode, utf8Bytes, type Value } from "./bytes.ts";
import type { Random } from "./effects.ts";
import { KinError } from "./errors.ts";
import { readFields, type Fields } from "./fields.ts";
import { MAX_DIRECT_RECIPIENTS } from "./limits.ts";
import {
  idBytes,
  idOf,
  isName,
  type DeviceId,
  type EventId,
  type Id,
  type LogId,
  type MeshId,
  type PersonId,
} from "./ids.ts";

/** A note is known by the event that opened it. */
export type NoteId = EventId;
/** Of a record: made of what it is about. */
export type RecordDocumentId = Id<"record-document">;
/** null: for the whole mesh; else one agent's own. */
export type FactScope = { person: PersonId; agent: string } | null;

export interface FactSet {
  scope: FactScope;
  key: string;
  /** JSON; null: the key is unset. */
  json: string | null;
  replaces: EventId[];
}

/** Who may read a private note, and the key that lets them. */
export interface NotePrivacy {
  persons: PersonId[];
  /** That this event gives the key to. */
  devices: DeviceId[];
  /** 32 bytes. */
  key: Uint8Array;
}
/** What a note is made of. */
export type NoteForm = "text" | "board";
export interface NoteOpened {
  title: string;
  form: NoteForm;
  /** null: for the mesh. */
  privacy: NotePrivacy | null;
}
export interface NoteShared {
  note: NoteId;
  title: string;
  form: NoteForm;
  privacy: NotePrivacy;
}
/** What an author had of a note when he wrote: how many units of each client id. */
export type Seen = ReadonlyMap<number, number>;
/** Of a log in one document; each begins where what the one before it stood on counts no more: a removal cut it off, or another history came first. */
export const MAX_LIVES = 8;

export interface NoteEdited {
  note: NoteId;
  seen: Seen;
  /** Of its log in this note, from 0 on. */
  life: number;
  update: { open: Uint8Array } | { nonce: Uint8Array; sealed: Uint8Array };
}
export interface RecordChanged {
  /** So far records are the settings of agents. */
  about: "agent";
  name: string;
  change: Uint8Array;
}

export const DOCUMENT_KINDS = ["fact-set", "note-opened", "note-shared", "note-edited", "record-changed"] as const;

/** A key is a path in the reader's mind: short. Bytes of UTF-8. */
export const MAX_FACT_KEY_BYTES = 128;
/** A fact is something known, not a file: what is larger is shared as one. */
export const MAX_FACT_VALUE_BYTES = 16 * 1024;
/** Whoever reads a value may do it recursively. */
const MAX_FACT_NESTING = 32;
/** Values of one key that were written without knowledge of each other, and that one set replaces. */
export const MAX_REPLACED_FACTS = 64;
export const MAX_TITLE_BYTES = 200;
/** People of a private note: each device of theirs is a recipient of its key. */
export const MAX_NOTE_PERSONS = 64;
/** Half of what may stand in an event; an edit of one person at a time. */
export const MAX_UPDATE_BYTES = 128 * 1024;
/** Client ids that have ever written in one note. A device has one for each of its at most 16 logs. */
export const MAX_NOTE_CLIENTS = 1024;
/** Units (UTF-16) that one client id may write into one note: what is deleted counts. */
export const MAX_CLIENT_CLOCK = 2 ** 24;
/** A record's change holds a handful of settings. */
export const MAX_CHANGE_BYTES = 64 * 1024;

const KEY_PATTERN = /^[^\s\p{C}]+$/u;
const CONTROL = /\p{Cc}/u;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const FORMS: { readonly [Form in NoteForm]: number } = { text: 1, board: 2 };
const FORM_NAMES = Object.keys(FORMS) as NoteForm[];

const YJS_DOMAIN = utf8Bytes("kin/yjs/1");
const AUTOMERGE_DOMAIN = utf8Bytes("kin/automerge/1");
const RECORD_DOMAIN = utf8Bytes("kin/record/1");

// ── Facts ──

export function isNoteForm(name: unknown): name is NoteForm {
  return typeof name === "string" && Object.hasOwn(FORMS, name);
}

/** @throws KinError BAD_REQUEST, TOO_LARGE if the key or the value is none */
export function factSetValue({ scope, key, json, replaces }: FactSet): Value {
  checkFactKey(key);
  if (json !== null) checkJson(json);
  return {
    s: scope === null ? null : [idBytes(scope.person), scope.agent],
    k: key,
    ...(json !== null && { v: json }),
    r: [...new Set(replaces)].toSorted().slice(0, MAX_REPLACED_FACTS).map(idBytes),
  };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseFactSet(value: unknown): FactSet {
  const fields = readFields(value, "a fact");
  const key = text(fields, "k");
  checkFactKey(key);
  const json = fields.has("v") ? text(fields, "v") : null;
  if (json !== null) checkJson(json);
  const scope = parseScope(fields.raw("s"));
  const replaces = ascending(
    fields.list("r", 0, MAX_REPLACED_FACTS, (id) => idOf<"event">(id)),
    "what a fact replaces",
  );
  fields.end();
  return { scope, key, json, replaces };
}

function parseScope(value: unknown): FactScope {
  if (value === null) return null;
  const [person, agent] = Array.isArray(value) && value.length === 2 ? value : [];
  if (typeof agent !== "string" || !isName(agent)) throw bad("a fact's scope is null or [person, agent name]");
  return { person: idOf(person), agent };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function checkFactKey(key: string): void {
  if (isOver(key, MAX_FACT_KEY_BYTES))
    throw new KinError(
      "TOO_LARGE",
      `the key "${key.slice(0, 40)}…" has ${byteLength(key)} bytes: at most ${MAX_FACT_KEY_BYTES}`,
    );
  if (!KEY_PATTERN.test(key) || !key.isWellFormed())
    throw bad(`${JSON.stringify(key)} is no key: characters without white space, such as deploy/window`);
}

function checkJson(json: string): void {
  if (isOver(json, MAX_FACT_VALUE_BYTES))
    throw new KinError("TOO_LARGE", `a fact's value of ${byteLength(json)} bytes: at most ${MAX_FACT_VALUE_BYTES}`);
  if (nesting(json) > MAX_FACT_NESTING)
    throw new KinError("TOO_LARGE", `a fact's value nested deeper than ${MAX_FACT_NESTING}`);
  try {
    JSON.parse(json);
  } catch {
    throw bad(`a fact's value is JSON, ${JSON.stringify(json.slice(0, 40))} is not`);
  }
}

/** How deep brackets outside of texts stand in each other. */
function nesting(json: string): number {
  let depth = 0;
  let deepest = 0;
  if (!/[[{]/.test(json)) return 0;
  for (const found of json.matchAll(/"(?:[^"\\]|\\.)*"|[[{]|[\]}]/g)) {
    if (found[0] === "[" || found[0] === "{") deepest = Math.max(deepest, ++depth);
    else if (found[0] === "]" || found[0] === "}") depth--;
  }
  return deepest;
}

// ── Notes ──

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function noteOpenedValue({ title, form, privacy }: NoteOpened): Value {
  checkTitle(title);
  return { f: FORMS[form], t: title, ...(privacy !== null && privacyValue(privacy)) };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function noteSharedValue({ note, title, form, privacy }: NoteShared): Value {
  checkTitle(title);
  return { d: idBytes(note), f: FORMS[form], t: title, ...privacyValue(privacy) };
}

function privacyValue({ persons, devices, key }: NotePrivacy): { [field: string]: Uint8Array | Uint8Array[] } {
  if (persons.length > MAX_NOTE_PERSONS)
    throw new KinError(
      "TOO_LARGE",
      `a note for ${persons.length} people: at most ${MAX_NOTE_PERSONS}; share it with the mesh`,
    );
  return { p: idsValue(persons), o: idsValue(devices), k: key };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION */
export function parseNoteOpened(value: unknown): NoteOpened {
  const fields = readFields(value, "a note's opening");
  const head = readHead(fields);
  const privacy = fields.has("p") || fields.has("k") ? readPrivacy(fields) : null;
  fields.end();
  return { ...head, privacy };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION */
export function parseNoteShared(value: unknown): NoteShared {
  const fields = readFields(value, "the sharing of a note");
  const note = fields.id<"event">("d");
  const shared = { note, ...readHead(fields), privacy: readPrivacy(fields) };
  fields.end();
  return shared;
}

function readHead(fields: Fields): { title: string; form: NoteForm } {
  const number = fields.integer("f", 1, 0xffff);
  const form = FORM_NAMES.find((name) => FORMS[name] === number);
  if (form === undefined)
    throw new KinError("UNSUPPORTED_VERSION", `a note of form ${number}: this kin reads forms 1 and 2`);
  const title = text(fields, "t");
  checkTitle(title);
  return { title, form };
}

function readPrivacy(fields: Fields): NotePrivacy {
  const persons = fields.list("p", 1, MAX_NOTE_PERSONS, (id) => idOf<"person">(id));
  const devices = fields.list("o", 1, MAX_DIRECT_RECIPIENTS, (id) => idOf<"device">(id));
  ascending(devices, "a note's devices");
  return { persons: ascending(persons, "a note's people"), devices, key: fields.bytes("k", KEY_BYTES) };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function checkTitle(title: string): void {
  if (isOver(title, MAX_TITLE_BYTES))
    throw new KinError("TOO_LARGE", `a title of ${byteLength(title)} bytes: at most ${MAX_TITLE_BYTES}`);
  if (title.trim() === "" || CONTROL.test(title) || !title.isWellFormed())
    throw bad(`${JSON.stringify(title.slice(0, 40))} is no title: one line of text`);
}

/** @throws KinError TOO_LARGE */
export function noteEditedValue({ note, seen, life, update }: NoteEdited): Value {
  const u = "open" in update ? { u: update.open } : { n: update.nonce, x: update.sealed };
  return { d: idBytes(note), h: [...seen].toSorted(([a], [b]) => a - b), ...(life > 0 && { l: life }), ...u };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseNoteEdited(value: unknown): NoteEdited {
  const fields = readFields(value, "an edit of a note");
  const note = fields.id<"event">("d");
  const seen = readSeen(fields);
  const life = fields.has("l") ? fields.integer("l", 1, MAX_LIVES - 1) : 0;
  const update = fields.has("u")
    ? { open: bytesUpTo(fields, "u", MAX_UPDATE_BYTES) }
    : { nonce: fields.bytes("n", NONCE_BYTES), sealed: bytesUpTo(fields, "x", MAX_UPDATE_BYTES + 16) };
  fields.end();
  return { note, seen, life, update };
}

function readSeen(fields: Fields): Seen {
  const seen = new Map<number, number>();
  let last = -1;
  fields.list("h", 0, MAX_NOTE_CLIENTS, (entry) => {
    const [client, clock] = Array.isArray(entry) && entry.length === 2 ? (entry as unknown[]) : [];
    if (!isCount(client) || !isCount(clock) || client <= last || clock < 1 || clock > MAX_CLIENT_CLOCK)
      throw bad("what an edit has seen are [client id, clock] pairs, ascending by client id");
    last = client;
    seen.set(client, clock);
  });
  return seen;
}

/** A private note's update under its key. */
export function sealUpdate(
  at: { mesh: MeshId; note: NoteId; author: DeviceId },
  key: Uint8Array,
  update: Uint8Array,
  random: Random,
): NoteEdited["update"] {
  const nonce = random.bytes(NONCE_BYTES);
  return { nonce, sealed: aeadSeal(key, nonce, update, updateData(at)) };
}

/** null: another key, another note or another author. */
export function openUpdate(
  at: { mesh: MeshId; note: NoteId; author: DeviceId },
  key: Uint8Array,
  update: { nonce: Uint8Array; sealed: Uint8Array },
): Uint8Array | null {
  return aeadOpen(key, update.nonce, update.sealed, updateData(at));
}

function updateData({ mesh, note, author }: { mesh: MeshId; note: NoteId; author: DeviceId }): Uint8Array {
  return encode(["kin/note/1", idBytes(mesh), idBytes(note), idBytes(author)]);
}

// ── Records ──

export function recordChangedValue({ about, name, change }: RecordChanged): Value {
  return { e: [about, name], u: change };
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function parseRecordChanged(value: unknown): RecordChanged {
  const fields = readFields(value, "a record's change");
  const [about, name] = fields.list("e", 2, 2, (part) => part);
  if (about !== "agent") throw bad(`a record is about an agent, not ${JSON.stringify(about)}`);
  if (typeof name !== "string" || !isName(name)) throw bad(`${JSON.stringify(name)} is no agent's name`);
  const change = bytesUpTo(fields, "u", MAX_CHANGE_BYTES);
  fields.end();
  return { about, name, change };
}

export function recordDocumentId(mesh: MeshId, person: PersonId, about: "agent", name: string): RecordDocumentId {
  return idOf(sha256(RECORD_DOMAIN, encode([idBytes(mesh), idBytes(person), about, name])));
}

// ── Who writes inside a document ──

/** 53 bits: the most that Yjs carries. Somebody who wants another log's number must try 2^53 incarnations. */
export function yjsClientOf(log: LogId, note: NoteId, life = 0): number {
  const hash = sha256(YJS_DOMAIN, authorOf(log, note, life));
  const view = new DataView(hash.buffer, hash.byteOffset, 8);
  return (view.getUint32(0) & 0x1fffff) * 2 ** 32 + view.getUint32(4);
}

/** Lower-case hex of 16 bytes. */
export function automergeActorOf(log: LogId, record: RecordDocumentId, life = 0): string {
  return idOf(sha256(AUTOMERGE_DOMAIN, authorOf(log, record, life))).slice(0, 32);
}

function authorOf(log: LogId, document: NoteId | RecordDocumentId, life: number): Uint8Array {
  return concat(idBytes(log), idBytes(document), life === 0 ? new Uint8Array() : Uint8Array.of(life));
}

// ── Small readers ──

function text(fields: Fields, name: string): string {
  const value = fields.raw(name);
  if (typeof value !== "string") throw bad(`${name} is text`);
  return value;
}

function bytesUpTo(fields: Fields, name: string, most: number): Uint8Array {
  const value = fields.raw(name);
  if (!(value instanceof Uint8Array)) throw bad(`${name} are bytes`);
  if (value.length > most) throw new KinError("TOO_LARGE", `${name} has ${value.length} bytes: at most ${most}`);
  return value;
}

function ascending<T extends string>(ids: T[], what: string): T[] {
  if (ids.some((id, i) => i > 0 && ids[i - 1]! >= id)) throw bad(`${what} are strictly ascending ids`);
  return ids;
}

function idsValue(ids: readonly Id<string>[]): Uint8Array[] {
  return [...new Set(ids)].toSorted().map(idBytes);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** A UTF-16 unit is at most 3 bytes of UTF-8: what is short by far is not encoded to see it. */
function isOver(value: string, maxBytes: number): boolean {
  return value.length * 3 > maxBytes && byteLength(value) > maxBytes;
}

function byteLength(value: string): number {
  return utf8Bytes(value).length;
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", message);
}

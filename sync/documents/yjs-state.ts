/**
 * All of a document that Yjs keeps, in its one form: what a snapshot holds of it (R16). It is Yjs's update (form V1) of a document
 * that has nothing else, so whoever begins with it merges further updates as who has applied them all.
 *
 *   state  = [clients, descending: structs of each from clock 0 on, as long as they can be] ‖ [deleted ranges: of the deleted structs]
 *   struct = as in an update; what is deleted has a length in the place of its content
 *
 * The order in which updates were applied leaves no trace in it (a property test shows that): two units are in one struct if their
 * clocks and places follow each other, the second was written after the first, both before the same unit, and both stand or neither.
 */
import { equal } from "../../protocols/bytes.ts";
import { MAX_CLIENT_CLOCK, MAX_NOTE_CLIENTS } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import {
  CONTENT_ANY,
  CONTENT_BITS,
  CONTENT_STRING,
  createReader,
  encodeState,
  HAS_KEY,
  HAS_LEFT,
  HAS_RIGHT,
  loadDocument,
  readValue,
  ROOT_PARENT,
  type Bad,
  type Reader,
  type Shape,
  type Unit,
} from "./yjs.ts";

const CONTENT_DELETED = 1;

/** From whatever Yjs says of a document to the one form. */
export function canonicalState(state: Uint8Array): Uint8Array {
  return encodeState(loadDocument(state));
}

/** What is read before Yjs sees it. */
interface Read {
  /** Units of each client. */
  units: Map<number, number>;
  /** What structs name. */
  named: Unit[];
  /** Client → ranges, apart and ascending. */
  deleted: Map<number, { clock: number; length: number }[]>;
}

/** @throws KinError BAD_REQUEST unless it is the one form of a document of this shape */
export function checkState(state: Uint8Array, shape: Shape): void {
  const bad = (message: string): KinError => new KinError("BAD_REQUEST", `the state of ${shape.name}: ${message}`);
  const reader = createReader(state, bad);
  const read: Read = { units: new Map(), named: [], deleted: new Map() };
  const clients = reader.count("clients");
  if (clients > MAX_NOTE_CLIENTS) throw bad(`${clients} clients: at most ${MAX_NOTE_CLIENTS}`);
  for (let i = 0, last = Infinity; i < clients; i++) last = readClient(reader, last, read, shape, bad);
  for (const { client, clock } of read.named)
    if (clock >= (read.units.get(client) ?? 0)) throw bad(`unit ${client}:${clock} is named, and is not there`);
  readDeleted(reader, read, bad);
  if (!reader.ended()) throw bad("bytes after its end");
  const doc = loadDocument(state);
  if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null)
    throw bad("its units name each other in a circle");
  if (!equal(encodeState(doc), state)) throw bad("it is not in its one form");
}

function readClient(reader: Reader, last: number, read: Read, shape: Shape, bad: Bad): number {
  const structs = reader.count("structs");
  const client = reader.count("a client id");
  if (client >= last || structs === 0) throw bad("its clients are not in their order");
  if (reader.count("a clock") !== 0) throw bad(`client ${client} does not begin at 0`);
  read.units.set(client, 0);
  for (let i = 0; i < structs; i++) readStruct(reader, client, read, shape, bad);
  return client;
}

function readStruct(reader: Reader, client: number, { units, named, deleted }: Read, shape: Shape, bad: Bad): void {
  const info = reader.byte();
  const content = info & CONTENT_BITS;
  const hasKey = (info & HAS_KEY) !== 0;
  const isKnown = content === CONTENT_DELETED || content === (hasKey ? CONTENT_ANY : CONTENT_STRING);
  if (!isKnown || (hasKey && !shape.hasEntries))
    throw bad(`a struct of kind 0x${info.toString(16)}: ${shape.name} is ${shape.content}`);
  const clock = units.get(client)!;
  for (const side of [HAS_LEFT, HAS_RIGHT]) {
    if ((info & side) === 0) continue;
    const unit = { client: reader.count("a client id"), clock: reader.count("a clock") };
    if (unit.client === client && unit.clock >= clock)
      throw bad(`unit ${client}:${clock} names one that came after it`);
    named.push(unit);
  }
  const isFirst = (info & (HAS_LEFT | HAS_RIGHT)) === 0;
  if (isFirst && reader.count("a parent") !== ROOT_PARENT) throw bad(`${shape.content} inside of something`);
  const root = isFirst ? reader.text() : null;
  const key = isFirst && hasKey ? reader.text() : null;
  const value = content === CONTENT_ANY ? readValue(reader, bad) : null;
  const length = value !== null ? 1 : content === CONTENT_DELETED ? reader.count("a length") : reader.text().length;
  if (length === 0 || clock + length > MAX_CLIENT_CLOCK) throw bad(`a struct of ${length} units`);
  const refusal = root === null || content === CONTENT_DELETED ? null : shape.refuses(root, key, value);
  if (refusal !== null) throw bad(refusal);
  units.set(client, clock + length);
  if (content === CONTENT_DELETED) addRange(deleted, client, { clock, length });
}

function addRange(deleted: Read["deleted"], client: number, range: { clock: number; length: number }): void {
  const ranges = deleted.get(client) ?? [];
  deleted.set(client, ranges);
  const last = ranges.at(-1);
  if (last !== undefined && last.clock + last.length === range.clock) last.length += range.length;
  else ranges.push(range);
}

/** They say again what the structs said. */
function readDeleted(reader: Reader, { deleted }: Read, bad: Bad): void {
  const wrong = (): KinError => bad("its deleted ranges are not those of its structs");
  const clients = [...deleted].toSorted(([a], [b]) => b - a);
  if (reader.count("clients") !== clients.length) throw wrong();
  for (const [client, ranges] of clients) {
    if (reader.count("a client id") !== client || reader.count("ranges") !== ranges.length) throw wrong();
    for (const { clock, length } of ranges)
      if (reader.count("a clock") !== clock || reader.count("a length") !== length) throw wrong();
  }
}

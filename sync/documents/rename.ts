/**
 * An update of Yjs under another client id: what a client wrote from some clock on becomes that of another client from 0 on, and all
 * the rest stays as it was. So two histories that a client wrote, and what others built on either, can stand in one document (R2).
 */
import { concat, utf8Bytes } from "../../protocols/bytes.ts";
import type { Seen } from "../../protocols/document.ts";
import { KinError } from "../../protocols/errors.ts";
import {
  CONTENT_ANY,
  CONTENT_BITS,
  createReader,
  HAS_KEY,
  HAS_LEFT,
  HAS_RIGHT,
  type MadeUpdate,
  type Range,
  type Reader,
  type Unit,
  type Update,
} from "./yjs.ts";

export interface Renaming {
  client: number;
  /** From this clock on. */
  from: number;
  to: number;
}

/** @param update as `parseUpdate` has read it */
export function renamed({ bytes, seen, deleted }: Update, by: Renaming): MadeUpdate {
  const reader = createReader(bytes, unreadable);
  const clients = reader.count("clients");
  const structs = clients === 0 ? [uint(0)] : structsOf(reader, by);
  return { seen: seenAs(seen, by), bytes: concat(...structs, deletedAs(deleted, by)) };
}

function unreadable(message: string): KinError {
  return new KinError("INTERNAL", `an update that was read before: ${message}`);
}

function unitAs(unit: Unit, { client, from, to }: Renaming): Unit {
  return unit.client === client && unit.clock >= from ? { client: to, clock: unit.clock - from } : unit;
}

function seenAs(seen: Seen, { client, from, to }: Renaming): Seen {
  const clock = seen.get(client) ?? 0;
  const others = [...seen].filter(([one]) => one !== client);
  const common: [number, number][] = Math.min(clock, from) > 0 ? [[client, Math.min(clock, from)]] : [];
  return new Map([...others, ...common, ...(clock > from ? [[to, clock - from] as [number, number]] : [])]);
}

function structsOf(reader: Reader, by: Renaming): Uint8Array[] {
  const count = reader.count("structs");
  const first = unitAs({ client: reader.count("a client id"), clock: reader.count("a clock") }, by);
  return [uint(1, count, first.client, first.clock), ...Array.from({ length: count }, () => structOf(reader, by))];
}

function structOf(reader: Reader, by: Renaming): Uint8Array {
  const info = reader.byte();
  const out: Uint8Array[] = [Uint8Array.of(info)];
  for (const side of [HAS_LEFT, HAS_RIGHT]) {
    if ((info & side) === 0) continue;
    const { client, clock } = unitAs({ client: reader.count("a client id"), clock: reader.count("a clock") }, by);
    out.push(uint(client, clock));
  }
  if ((info & (HAS_LEFT | HAS_RIGHT)) === 0) {
    out.push(uint(reader.count("a parent")), text(reader.text()));
    if ((info & HAS_KEY) !== 0) out.push(text(reader.text()));
  }
  if ((info & CONTENT_BITS) === CONTENT_ANY) out.push(uint(reader.count("values")), Uint8Array.of(reader.byte()));
  out.push(text(reader.text()));
  return concat(...out);
}

/** Clients descending, ranges ascending. */
function deletedAs(deleted: readonly Range[], by: Renaming): Uint8Array {
  const ranges = deleted.flatMap((range) => split(range, by));
  const clients = [...Map.groupBy(ranges, ({ client }) => client)].toSorted(([a], [b]) => b - a);
  return concat(
    uint(clients.length),
    ...clients.map(([client, own]) => {
      const ascending = own.toSorted((a, b) => a.clock - b.clock);
      return concat(uint(client, own.length), ...ascending.map(({ clock, length }) => uint(clock, length)));
    }),
  );
}

function split({ client, clock, length }: Range, by: Renaming): Range[] {
  const before = client === by.client ? Math.max(0, Math.min(length, by.from - clock)) : length;
  const rest = { ...unitAs({ client, clock: clock + before }, by), length: length - before };
  return [{ client, clock, length: before }, rest].filter((range) => range.length > 0);
}

/** In their shortest form. */
function uint(...numbers: number[]): Uint8Array {
  const out: number[] = [];
  for (let number of numbers) {
    for (; number >= 128; number = Math.floor(number / 128)) out.push((number % 128) + 128);
    out.push(number);
  }
  return Uint8Array.from(out);
}

function text(words: string): Uint8Array {
  const bytes = utf8Bytes(words);
  return concat(uint(bytes.length), bytes);
}

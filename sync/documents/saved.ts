/**
 * What documents keep of what they folded, so that a start need not fold it again (compaction): rows of canonical bytes, each
 * with a tag and whose it is. They are good for the next start only, and only if nothing was judged anew in between.
 */
import { decode, encode, type Value } from "../../protocols/bytes.ts";
import { idBytes, idOf } from "../../protocols/ids.ts";
import type { Decided } from "./arrivals.ts";

/** Where a node keeps rows; what is lost is folded again. */
export interface DocumentKeep {
  /** null: nothing is kept. */
  load(): Promise<Uint8Array[] | null>;
  /** In the place of what was kept before. */
  save(rows: Uint8Array[]): Promise<void>;
}

export type SavedRow = [tag: string, id: Uint8Array, ...rest: Value[]];

/** Items of one row: decoding allows 4,096, and an item has up to 1,024 pairs. */
const ROW_ITEMS = 256;

export function savedRow(tag: string, id: Uint8Array, ...rest: Value[]): Uint8Array {
  return encode([tag, id, ...rest]);
}

/** A long list as several rows. */
export function* savedRows(tag: string, id: Uint8Array, items: Value[]): Generator<Uint8Array> {
  for (let at = 0; at < items.length; at += ROW_ITEMS) yield savedRow(tag, id, items.slice(at, at + ROW_ITEMS));
}

export function parseSavedRow(row: Uint8Array): SavedRow {
  return decode(row) as SavedRow;
}

export function decidedValue({ id, log, life, seq, isAgain = false }: Decided): Value {
  return [idBytes(id), idBytes(log), life, seq, isAgain];
}

export function decidedOf(value: Value): Decided {
  const [id, log, life, seq, isAgain] = value as [Uint8Array, Uint8Array, number, number, boolean];
  return { id: idOf(id), log: idOf(log), life, seq, isAgain };
}

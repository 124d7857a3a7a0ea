/** Updates of Yjs written byte by byte, as no library would write them, and the event that brings one. */
import { concat, utf8Bytes } from "../../protocols/bytes.ts";
import type { NoteId } from "../../protocols/document.ts";
import { idBytes } from "../../protocols/ids.ts";
import type { NewEntry } from "../../sync/replica.ts";

export function uint(...numbers: number[]): Uint8Array {
  const out: number[] = [];
  for (let number of numbers) {
    while (number >= 128) {
      out.push((number % 128) + 128);
      number = Math.floor(number / 128);
    }
    out.push(number);
  }
  return Uint8Array.from(out);
}

export const text = (words: string): Uint8Array => concat(uint(utf8Bytes(words).length), utf8Bytes(words));
/** What a struct begins with. */
export const info = (bits: number): Uint8Array => Uint8Array.of(bits);
export const noDeletes = uint(0);

export function updateOf(client: number, clock: number, structs: Uint8Array[], deletes = noDeletes): Uint8Array {
  return concat(uint(1, structs.length, client, clock), ...structs, deletes);
}

/** @param had client → clock that the author says he had */
export function noteEdited(note: NoteId, had: Iterable<[number, number]>, u: Uint8Array): NewEntry {
  const h = [...had].toSorted(([a], [b]) => a - b);
  return { kind: "note-edited", audience: "mesh", value: { d: idBytes(note), h, u } };
}

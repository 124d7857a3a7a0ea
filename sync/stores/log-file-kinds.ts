/**
 * Of which kind the event at each position of `log.db` is: who wants a few kinds does not read all others to pass them over. (Each view
 * did at each start: ten seconds of CPU for 100,000 events.)
 *
 *   positions   0 … 4095 │ 4096 … 8191 │ 8192 … 8700       a row of `kinds` each: the full blocks;   found anew at each start: the rest
 *
 * One byte a position. The rows can be made of the events again, so nothing is lost with them: a row that is damaged, or not there
 * because an older kin wrote the events, is made anew in memory, and written with the next commit. The table is beside the
 * format: who doesn't know it leaves it alone.
 */
import type Database from "libsql";
import { decode, encode, equal } from "../../protocols/bytes.ts";
import { decodeHeader } from "../../protocols/events.ts";

/** Positions of one row: what is found anew at a start is at most as many headers (4096: about 30 ms). */
const BLOCK = 4096;
/** A header that can't be read, or one kind more than a byte tells apart (foreign ones: kin has some dozens): it may be any. */
const ANY = 0;
const MAX_KINDS = 255;

const TABLE = "CREATE TABLE IF NOT EXISTS kinds (block INTEGER PRIMARY KEY, bytes BLOB NOT NULL, sum BLOB NOT NULL)";

export interface KindIndex {
  /** After the file was opened, or what a transaction wrote may not be there. */
  load(nextPosition: number): void;
  /** The transaction has written this event; positions come in their order. */
  put(position: number, kind: string): void;
  /** Before the transaction ends. */
  settle(): void;
  /** At most `limit` positions ≥ `from`, ascending, of all events of these kinds, and of those that may be of any. */
  positions(kinds: ReadonlySet<string>, from: number, limit: number): number[];
}

export function createKindIndex(db: Database.Database, sumOf: (...parts: Uint8Array[]) => Uint8Array): KindIndex {
  const headers = db
    .prepare("SELECT position, CAST(header AS BLOB) FROM events WHERE position >= ? AND position < ? ORDER BY position")
    .raw();
  const codes = new Map<string, number>();
  let at = new Uint8Array(BLOCK);
  let count = 0;
  /** Full blocks that have no good row yet. */
  const unkept = new Set<number>();

  function codeOf(kind: string): number {
    const known = codes.get(kind);
    if (known !== undefined) return known;
    if (codes.size >= MAX_KINDS) return ANY;
    codes.set(kind, codes.size + 1);
    return codes.size;
  }

  function set(position: number, code: number): void {
    if (position >= at.length) {
      const more = new Uint8Array(Math.max(position + 1, at.length * 2));
      more.set(at);
      at = more;
    }
    at[position] = code;
    count = Math.max(count, position + 1);
  }

  /** What a row says of its block; undefined: there is none that is right. */
  function keptCodes(block: number, bytes: Uint8Array, sum: Uint8Array): Uint8Array | undefined {
    if (!equal(sumOf(encode(block), bytes), sum)) return undefined;
    const [names, kept] = decode(bytes) as [string[], Uint8Array];
    const now = names.map(codeOf);
    return kept.map((code) => now[code - 1] ?? ANY);
  }

  function loadKept(): Map<number, Uint8Array> {
    const found = new Map<number, Uint8Array>();
    try {
      const rows = db.prepare("SELECT block, CAST(bytes AS BLOB), CAST(sum AS BLOB) FROM kinds").raw().all() as [
        number,
        Uint8Array,
        Uint8Array,
      ][];
      for (const [block, bytes, sum] of rows) {
        const kept = keptCodes(block, new Uint8Array(bytes), new Uint8Array(sum));
        if (kept?.length === BLOCK) found.set(block, kept);
      }
    } catch {
      // No table yet, or a page of it is damaged: all is found anew.
    }
    return found;
  }

  function find(from: number, to: number): void {
    at.fill(ANY, from, to);
    for (const [position, header] of headers.iterate(from, to) as Iterable<[number, Uint8Array]>)
      set(position, kindOf(header) ?? ANY);
  }

  function kindOf(header: Uint8Array): number | undefined {
    try {
      return codeOf(decodeHeader(new Uint8Array(header)).kind);
    } catch {
      return undefined; // whoever reads it is told
    }
  }

  return {
    load(nextPosition) {
      at = new Uint8Array(Math.ceil((nextPosition + 1) / BLOCK) * BLOCK);
      count = nextPosition;
      unkept.clear();
      const kept = loadKept();
      for (let from = 0, block = 0; from < nextPosition; from += BLOCK, block++) {
        const known = kept.get(block);
        if (known !== undefined && from + BLOCK <= nextPosition) at.set(known, from);
        else {
          find(from, Math.min(from + BLOCK, nextPosition));
          if (from + BLOCK <= nextPosition) unkept.add(block);
        }
      }
    },
    put(position, kind) {
      set(position, codeOf(kind));
      if ((position + 1) % BLOCK === 0) unkept.add((position + 1) / BLOCK - 1);
    },
    settle() {
      if (unkept.size === 0) return;
      db.exec(TABLE);
      const insert = db.prepare("INSERT OR REPLACE INTO kinds (block, bytes, sum) VALUES (?, ?, ?)");
      for (const block of unkept) {
        const kept = at.slice(block * BLOCK, (block + 1) * BLOCK);
        // What could not be read may be mended: it is looked at again at the next start.
        if (kept.includes(ANY)) continue;
        const bytes = encode([[...codes.keys()], kept]);
        insert.run([block, bytes, sumOf(encode(block), bytes)]);
      }
      unkept.clear();
    },
    positions(kinds, from, limit) {
      const wanted = new Uint8Array(MAX_KINDS + 1);
      wanted[ANY] = 1;
      for (const kind of kinds) wanted[codes.get(kind) ?? ANY] = 1;
      const found: number[] = [];
      for (let position = Math.max(from, 0); position < count && found.length < limit; position++)
        if (wanted[at[position]!] === 1) found.push(position);
      return found;
    },
  };
}

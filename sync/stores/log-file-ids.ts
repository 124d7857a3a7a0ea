/**
 * Where the event of an id stands in `log.db`. Ids are hashes: an index over them dirties another page for nearly each event, which
 * was most of what a commit wrote. So the newest ids are in memory, and go into the index a block at a time, in its order,
 * with the commit that fills the block.
 *
 *   positions   0 … 4095 │ 4096 … 8191 │ 8192 … 8700       in the index: the two full blocks;   in memory: the rest
 *
 * How far the index goes follows from how many events there are: nothing is stored that says it and could be damaged. The
 * index has an id's first bytes, the event's row the whole id. A file made before (format 2) has a unique index on the rows and keeps it.
 */
import type Database from "libsql";
import { toHex } from "../../protocols/bytes.ts";
import type { EventId } from "../../protocols/ids.ts";

/** Positions of one block: with fewer more pages are written for each id, with more the commit that fills one takes longer (4096: about 10 ms). */
const BLOCK = 4096;
/** Of an id in the index: half of what all of them would take with the whole id, and two that begin alike are told apart by the rows. */
const START_BYTES = 8;

export const ID_TABLE = `CREATE TABLE ids (start BLOB NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (start, position)) WITHOUT ROWID;`;

export interface IdIndex {
  /** After the file was opened, or what a transaction wrote may not be there. */
  load(nextPosition: number): void;
  find(id: EventId): number | undefined;
  /** The transaction has written this row. */
  put(id: EventId, position: number): void;
  /** Before the transaction ends. */
  settle(nextPosition: number): void;
}

export function createIdIndex(db: Database.Database): IdIndex {
  const rows = db.prepare("SELECT position, CAST(id AS BLOB) FROM events WHERE position >= ? ORDER BY position").raw();
  const find = db
    .prepare("SELECT e.position FROM ids i JOIN events e ON e.position = i.position WHERE i.start = ? AND e.id = ?")
    .raw();
  const insert = db.prepare("INSERT OR REPLACE INTO ids (start, position) VALUES (?, ?)");
  const insertBlocks = db.prepare(
    `INSERT OR REPLACE INTO ids (start, position)
     SELECT substr(id, 1, ${START_BYTES}), position FROM events WHERE position >= ? AND position < ? ORDER BY 1`,
  );
  let recent = new Map<EventId, number>();
  /** The first position that is not in the index. */
  let from = 0;

  return {
    load(nextPosition) {
      from = nextPosition - (nextPosition % BLOCK);
      recent = new Map();
      for (const [position, id] of rows.iterate(from) as Iterable<[number, Uint8Array]>)
        recent.set(toHex(id) as EventId, position);
    },
    find(id) {
      const position = recent.get(id);
      if (position !== undefined || from === 0) return position;
      const bytes = Buffer.from(id, "hex");
      return (find.get([bytes.subarray(0, START_BYTES), bytes]) as [number] | undefined)?.[0];
    },
    put(id, position) {
      if (position >= from) recent.set(id, position);
      else insert.run([Buffer.from(id, "hex").subarray(0, START_BYTES), position]);
    },
    settle(nextPosition) {
      const end = nextPosition - (nextPosition % BLOCK);
      if (end === from) return;
      insertBlocks.run([from, end]);
      for (const [id, position] of recent) if (position < end) recent.delete(id);
      from = end;
    },
  };
}

/** Of a file of format 2: SQLite keeps the index. */
export function createUniqueIds(db: Database.Database): IdIndex {
  const find = db.prepare("SELECT position FROM events WHERE id = ?").raw();
  const nothing = () => undefined;
  return {
    load: nothing,
    find: (id) => (find.get([Buffer.from(id, "hex")]) as [number] | undefined)?.[0],
    put: nothing,
    settle: nothing,
  };
}

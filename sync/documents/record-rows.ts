/**
 * What a snapshot holds of records (R16): their changes themselves. Automerge's own file depends on the order in which changes came
 * (254 of 300 random histories), and a change may come that names any earlier one.
 *
 *   [1, person, name, log, device, n, [[event, at, change]…]]     changes of one log to one record, ascending, 8 a row
 */
import { compareBytes, decode, encode, type Value } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf, isName, type DeviceId, type EventId, type LogId, type PersonId } from "../../protocols/ids.ts";

export interface ChangeRow {
  event: EventId;
  log: LogId;
  device: DeviceId;
  /** Wall ms. */
  at: number;
  change: Uint8Array;
}

export interface RecordRows {
  person: PersonId;
  name: string;
  /** Of each log ascending. */
  changes: ChangeRow[];
}

const CHANGES = 1;
/** A change has at most 64 KiB: half of what a row may have. */
const ROW_CHANGES = 8;

export function* recordRows({ person, name, changes }: RecordRows): Generator<Uint8Array> {
  const logs = Map.groupBy(changes, ({ log }) => log);
  for (const [log, mine] of logs)
    for (let at = 0; at < mine.length; at += ROW_CHANGES)
      yield encode([
        CHANGES,
        idBytes(person),
        name,
        idBytes(log),
        idBytes(mine[0]!.device),
        at / ROW_CHANGES,
        mine.slice(at, at + ROW_CHANGES).map((one) => [idBytes(one.event), one.at, one.change]),
      ]);
}

/** In any order. @throws KinError BAD_REQUEST */
export function parseRecordRows(rows: Iterable<Uint8Array>): RecordRows[] {
  const records = new Map<string, RecordRows>();
  for (const row of [...rows].toSorted(compareBytes)) {
    const [kind, owner, name, log, device, n, items] = list(decode(row));
    if (kind !== CHANGES || typeof name !== "string" || !isName(name))
      throw bad(`a row of kind ${JSON.stringify(kind)}`);
    const person = idOf<"person">(owner);
    const record = records.get(`${person}/${name}`) ?? { person, name, changes: [] };
    records.set(`${person}/${name}`, record);
    const before = record.changes.filter((one) => one.log === idOf(log)).length;
    if (before !== (n as number) * ROW_CHANGES) throw bad("changes of a log lack");
    for (const item of list(items)) {
      const [event, at, change] = list(item);
      if (typeof at !== "number" || !(change instanceof Uint8Array)) throw bad("a change is [event, at, bytes]");
      record.changes.push({ event: idOf(event), log: idOf(log), device: idOf(device), at, change });
    }
  }
  return [...records.values()];
}

function list(value: Value | undefined): Value[] {
  if (!Array.isArray(value)) throw bad("a row is a list");
  return value;
}

function bad(message: string): KinError {
  return new KinError("BAD_REQUEST", `rows of a record: ${message}`);
}

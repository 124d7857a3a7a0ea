/**
 * Batches on their way to the worker: all bytes in one buffer that changes hands, the rest as plain numbers and strings.
 * Seen for 64 events of 0.6 KB, both threads: a structured clone takes 2.2 times the CPU (4.1 against 1.8 µs an event).
 */
import type { LogId, EventId } from "../../protocols/ids.ts";
import type { LogOpening } from "../../protocols/events.ts";
import type { StoreBatch } from "../store.ts";
import type { PlannedBatch } from "./batch.ts";

/** A piece of the buffer. */
type Piece = [from: number, to: number];

export interface PackedBatches {
  bytes: Uint8Array<ArrayBuffer>;
  batches: PackedBatch[];
}

interface PackedBatch {
  logs: { log: LogId; opening: LogOpening }[];
  events: [
    id: EventId,
    log: LogId,
    seq: number,
    prev: EventId | null,
    hlc: Piece,
    kind: string,
    bodyHash: Piece,
    header: Piece,
    body: Piece | null,
  ][];
  heads: [log: LogId, seq: number, id: EventId, bytes: Piece, sig: Piece][];
  bodies: [id: EventId, body: Piece][];
  drops: EventId[];
  values: [key: string, value: Piece | null][];
}

export function packBatches(batches: readonly StoreBatch[]): PackedBatches {
  const parts: Uint8Array[] = [];
  let length = 0;
  function piece(part: Uint8Array): Piece {
    parts.push(part);
    const from = length;
    length += part.length;
    return [from, length];
  }
  const packed = batches.map((batch) => packBatch(batch, piece));
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { bytes, batches: packed };
}

function packBatch(batch: StoreBatch, piece: (part: Uint8Array) => Piece): PackedBatch {
  return {
    logs: batch.logs ?? [],
    events: (batch.events ?? []).map(({ id, header: { log, seq, prev, hlc, kind, bodyHash }, headerBytes, body }) => [
      id,
      log,
      seq,
      prev,
      piece(hlc),
      kind,
      piece(bodyHash),
      piece(headerBytes),
      body && piece(body),
    ]),
    heads: (batch.heads ?? []).map(({ head, bytes, sig }) => [head.log, head.seq, head.id, piece(bytes), piece(sig)]),
    bodies: (batch.bodies ?? []).map(({ id, body }) => [id, piece(body)]),
    drops: batch.drops ?? [],
    values: (batch.values ?? []).map(({ key, value }) => [key, value && piece(value)]),
  };
}

export function unpackBatches({ bytes, batches }: PackedBatches): PlannedBatch[] {
  const at = ([from, to]: Piece) => bytes.subarray(from, to);
  return batches.map(({ logs, events, heads, bodies, drops, values }) => ({
    logs,
    events: events.map(([id, log, seq, prev, hlc, kind, bodyHash, header, body]) => ({
      id,
      header: { log, seq, prev, hlc: at(hlc), kind, bodyHash: at(bodyHash) },
      headerBytes: at(header),
      body: body && at(body),
    })),
    heads: heads.map(([log, seq, id, head, sig]) => ({ head: { log, seq, id }, bytes: at(head), sig: at(sig) })),
    bodies: bodies.map(([id, body]) => ({ id, body: at(body) })),
    drops,
    values: values.map(([key, value]) => ({ key, value: value && at(value) })),
  }));
}

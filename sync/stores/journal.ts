/**
 * The memory store's file: records one after the other, each with a sum, so that a cut-off tail (which nobody was told is
 * durable) is told from damage in the middle (which loses what somebody was told).
 *
 *   record = u32be length ‖ first 12 bytes of SHA-256(length ‖ payload) ‖ payload
 *
 * A disk can only append, so after a cut-off tail the next record goes to the next segment: `log-0`, `log-1`, …
 */
import { sha256 } from "#crypto";
import { concat, equal } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";

const LENGTH_BYTES = 4;
const SUM_BYTES = 12;
const HEAD_BYTES = LENGTH_BYTES + SUM_BYTES;

export function segmentName(index: number): string {
  return `log-${index}`;
}

export function frameRecord(payload: Uint8Array): Uint8Array {
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, payload.length);
  return concat(length, sumOf(length, payload), payload);
}

/**
 * The records of one segment, and whether it ends in a cut-off one.
 * @throws KinError CORRUPT if a good record follows a bad one
 */
export function readRecords(name: string, bytes: Uint8Array): { records: Uint8Array[]; cutOff: boolean } {
  const records: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.length) {
    const payload = recordAt(bytes, at);
    if (payload === null) {
      for (let later = at + 1; later < bytes.length; later++)
        if (recordAt(bytes, later) !== null)
          throw new KinError(
            "CORRUPT",
            `${name}: record ${records.length} at byte ${at} is damaged and others follow it`,
          );
      return { records, cutOff: true };
    }
    records.push(payload);
    at += HEAD_BYTES + payload.length;
  }
  return { records, cutOff: false };
}

function recordAt(bytes: Uint8Array, at: number): Uint8Array | null {
  const start = at + HEAD_BYTES;
  if (start > bytes.length) return null;
  const length = new DataView(bytes.buffer, bytes.byteOffset + at).getUint32(0);
  if (length > bytes.length - start) return null;
  const payload = bytes.subarray(start, start + length);
  const sum = bytes.subarray(at + LENGTH_BYTES, start);
  return equal(sumOf(bytes.subarray(at, at + LENGTH_BYTES), payload), sum) ? payload : null;
}

function sumOf(length: Uint8Array, payload: Uint8Array): Uint8Array {
  return sha256(length, payload).subarray(0, SUM_BYTES);
}

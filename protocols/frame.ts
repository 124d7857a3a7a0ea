/** Frames (F1): unsigned varint length (≤ 4 bytes, minimal) + payload. The payload is DAG-CBOR on every kin protocol. */
import { concat } from "./bytes.ts";
import { KinError } from "./errors.ts";
import { MAX_FRAME_BYTES } from "./limits.ts";

export function frame(payload: Uint8Array): Uint8Array {
  if (payload.length > MAX_FRAME_BYTES)
    throw new KinError("TOO_LARGE", `a frame of ${payload.length} bytes: at most ${MAX_FRAME_BYTES}`);
  const prefix: number[] = [];
  let left = payload.length;
  while (left > 127) {
    prefix.push((left & 127) | 128);
    left >>>= 7;
  }
  prefix.push(left);
  return concat(Uint8Array.from(prefix), payload);
}

/**
 * Cuts a byte stream into frames. Holds at most one unfinished frame plus one chunk.
 * @throws KinError BAD_REQUEST or TOO_LARGE from `push`, as soon as a length cannot be right.
 */
export function createFrameReader(maxBytes: number = MAX_FRAME_BYTES): {
  push(chunk: Uint8Array): Uint8Array[];
  /** Bytes of an unfinished frame. */ readonly pending: number;
} {
  let chunks: Uint8Array[] = [];
  let total = 0;

  function take(): Uint8Array | undefined {
    const joined = chunks.length === 1 ? chunks[0]! : concat(...chunks);
    chunks = joined.length === 0 ? [] : [joined];
    let length = 0;
    for (let i = 0; i < 4; i++) {
      const byte = joined[i];
      if (byte === undefined) return undefined;
      length |= (byte & 127) << (7 * i);
      if (byte > 127) {
        if (i === 3) throw new KinError("BAD_REQUEST", "a frame length of more than 4 bytes");
        continue;
      }
      if (i > 0 && byte === 0) throw new KinError("BAD_REQUEST", "a frame length that is not minimal");
      if (length > maxBytes) throw new KinError("TOO_LARGE", `a frame of ${length} bytes: at most ${maxBytes}`);
      wanted = i + 1 + length;
      if (joined.length < wanted) return undefined;
      const payload = joined.subarray(i + 1, wanted);
      chunks = joined.length === wanted ? [] : [joined.subarray(wanted)];
      total -= wanted;
      wanted = 1;
      return payload;
    }
    return undefined;
  }

  /** Bytes needed before looking again makes sense: joining the chunks for each of many small ones would be quadratic. */
  let wanted = 1;

  return {
    push(chunk) {
      if (chunk.length > 0) {
        chunks.push(chunk);
        total += chunk.length;
      }
      const out: Uint8Array[] = [];
      while (total >= wanted) {
        const payload = take();
        if (payload === undefined) {
          if (wanted <= total) wanted = total + 1;
          break;
        }
        out.push(payload);
      }
      return out;
    },
    get pending() {
      return total;
    },
  };
}

/** The small values that a replica keeps beside the events: roster records with their place, fork proofs. */
import { concat, decode, encode } from "../protocols/bytes.ts";
import { KinError } from "../protocols/errors.ts";
import { idBytes, idOf, type LogId, type MeshId, type RecordId } from "../protocols/ids.ts";
import { asMap, parseSealed, sealedValue, type Sealed } from "../protocols/signature.ts";
import { encodeSyncFrame, parseSyncFrame, type ForkProof } from "../protocols/sync.ts";

export function recordRow(
  id: RecordId,
  sealed: Sealed,
  at: { log: LogId; seq: number } | null,
): { key: string; value: Uint8Array } {
  const place = at === null ? null : [idBytes(at.log), at.seq];
  return { key: `roster/${id}`, value: encode({ r: sealedValue(sealed), at: place }) };
}

export function parseRecordRow(row: Uint8Array): { sealed: Sealed; at: { log: LogId; seq: number } | null } {
  const { r, at } = asMap(decode(row), "a row of the roster");
  if (!Array.isArray(at)) return { sealed: parseSealed(r), at: null };
  return { sealed: parseSealed(r), at: { log: idOf(at[0]), seq: at[1] as number } };
}

/** Proofs of forks: one row each, or several where one would be too large. */
export function forkRows(proof: ForkProof): { key: string; value: Uint8Array }[] {
  const bytes = encodeSyncFrame({ type: "fork", proof });
  const rows: { key: string; value: Uint8Array }[] = [];
  for (let at = 0; at < bytes.length; at += FORK_ROW_BYTES)
    rows.push({
      key: `fork/${proof.log}${at === 0 ? "" : `/${at / FORK_ROW_BYTES}`}`,
      value: bytes.subarray(at, at + FORK_ROW_BYTES),
    });
  return rows;
}

/** A proof's headers may be some megabytes, a value one. */
const FORK_ROW_BYTES = 512 * 1024;

/** @param rows all whose key begins with `fork/`, in byte order @throws KinError CORRUPT */
export function parseForkRows(rows: readonly { key: string; value: Uint8Array }[], mesh: MeshId): ForkProof[] {
  const parts = new Map<string, { part: number; value: Uint8Array }[]>();
  for (const { key, value } of rows) {
    const [, log, part = "0"] = key.split("/");
    parts.set(log!, [...(parts.get(log!) ?? []), { part: Number(part), value }]);
  }
  return [...parts.values()].map((some) => {
    const bytes = concat(...some.toSorted((a, b) => a.part - b.part).map(({ value }) => value));
    const frame = parseSyncFrame(bytes, mesh);
    if (frame.type !== "fork") throw new KinError("CORRUPT", "a stored fork proof is something else");
    return frame.proof;
  });
}

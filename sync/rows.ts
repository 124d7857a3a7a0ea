/** The small values that a replica keeps beside the events: roster records with their place, fork proofs. */
import { decode, encode } from "../protocols/bytes.ts";
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

export function parseForkRow(row: Uint8Array, mesh: MeshId): ForkProof {
  const frame = parseSyncFrame(row, mesh);
  if (frame.type !== "fork") throw new KinError("CORRUPT", "a stored fork proof is something else");
  return frame.proof;
}

export function forkRow(proof: ForkProof): { key: string; value: Uint8Array } {
  return { key: `fork/${proof.log}`, value: encodeSyncFrame({ type: "fork", proof }) };
}

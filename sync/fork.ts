/**
 * Proof that a log was written twice (R2): two signed heads that no single chain contains. Whoever has it needs nobody's
 * word: `a` is the lower head, `headers` lead from just after `a` to `b`, and they do not start at `a`.
 *
 *        ┌── a                        a and b signed by the log's device
 *   ─────┤
 *        └── · ── h1 ── h2 = b        h1.prev ≠ a's id at the same seq
 */
import { KinError } from "../protocols/errors.ts";
import { decodeHeader, eventId, verifyHead, type SignedHead, type StoredEvent } from "../protocols/events.ts";
import { idBytes, type EventId } from "../protocols/ids.ts";
import { MAX_RUN_EVENTS, type ForkProof } from "../protocols/sync.ts";

/** @throws KinError BAD_REQUEST, BAD_SIGNATURE if it proves nothing. */
export function checkForkProof(proof: ForkProof): void {
  const { a, b, log, opening, headers } = proof;
  if (a.head.log !== log || b.head.log !== log) throw bad(proof, "its heads are of another log");
  for (const head of [a, b])
    if (!verifyHead(idBytes(opening.device), head))
      throw new KinError("BAD_SIGNATURE", `a head in a fork proof of log ${log} is not signed by ${opening.device}`);
  if (headers.length > MAX_RUN_EVENTS || headers.length !== b.head.seq - a.head.seq)
    throw bad(proof, `${headers.length} headers do not lead from ${a.head.seq} to ${b.head.seq}`);
  if (atSeqOf(proof) === a.head.id) throw bad(proof, "one chain holds both heads");
}

/** The id that `b`'s chain has at the seq of `a`. */
function atSeqOf(proof: ForkProof): EventId | null {
  const { a, b, headers } = proof;
  if (headers.length === 0) return b.head.id;
  let previous: EventId | null | undefined;
  let first: EventId | null = null;
  headers.forEach((bytes, i) => {
    const header = decodeHeader(bytes);
    if (header.log !== proof.log || header.seq !== a.head.seq + 1 + i) throw bad(proof, "its headers do not follow");
    if (i === 0) first = header.prev;
    else if (header.prev !== previous) throw bad(proof, "its headers are no chain");
    previous = eventId(bytes);
  });
  if (previous !== b.head.id) throw bad(proof, "its headers do not end at the upper head");
  return first;
}

function bad(proof: ForkProof, why: string): KinError {
  return new KinError("BAD_REQUEST", `a fork proof of log ${proof.log} proves nothing: ${why}`);
}

/** The proof from two heads; `upper` are the events after the lower head, up to the upper one. */
export function makeForkProof(
  log: Pick<ForkProof, "log" | "opening">,
  lower: SignedHead,
  upper: { head: SignedHead; events: readonly StoredEvent[] },
): ForkProof {
  const headers = upper.events
    .filter(({ header }) => header.seq > lower.head.seq && header.seq <= upper.head.head.seq)
    .map(({ headerBytes }) => headerBytes);
  return { log: log.log, opening: log.opening, a: lower, b: upper.head, headers };
}

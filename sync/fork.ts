/**
 * Proof that a log was written twice (R2): two signed heads that no single chain contains. Whoever has it needs nobody's
 * word: `a` is the lower head, `headers` lead from just after `a` to `b`, and they do not start at `a`. `parting` leads from the
 * last event that both histories share up to `a`'s seq on both, so every node computes the same point.
 *
 *              ┌── a1 ── a2 = a                     a and b signed by the log's device
 *   ─── point ─┤   (parting.a, parting.b)
 *              └── b1 ── b2 ── h1 ── h2 = b         h1.prev ≠ a's id at the same seq
 */
import { KinError } from "../protocols/errors.ts";
import {
  decodeHeader,
  eventId,
  verifyHead,
  type EventHeader,
  type SignedHead,
  type StoredEvent,
} from "../protocols/events.ts";
import { idBytes, type EventId } from "../protocols/ids.ts";
import { isLogAllowed, type Membership } from "../protocols/membership.ts";
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
  const atSeq = chainOf(proof, headers, a.head.seq + 1, b.head.id)?.prev ?? b.head.id;
  if (headers.length > 0 && atSeq === a.head.id) throw bad(proof, "one chain holds both heads");
  if (headers.length === 0 && a.head.id === b.head.id) throw bad(proof, "one chain holds both heads");
  if (proof.parting !== undefined) checkParting(proof, proof.parting, atSeq);
}

function checkParting(proof: ForkProof, parting: NonNullable<ForkProof["parting"]>, atSeq: EventId): void {
  const { a, b } = parting;
  const from = proof.a.head.seq - a.length + 1;
  if (a.length === 0 || a.length !== b.length || a.length > MAX_RUN_EVENTS || from < 0)
    throw bad(proof, "its two ways from the parting are not equally long");
  const one = chainOf(proof, a, from, proof.a.head.id);
  const other = chainOf(proof, b, from, atSeq);
  if (one!.prev !== other!.prev) throw bad(proof, "its histories part before what it shows");
  if (eventId(a[0]!) === eventId(b[0]!)) throw bad(proof, "its histories part after what it says");
}

/** Checks that `headers` are a chain of the log from `from` to the event `last`; the first of them, if there is one. */
function chainOf(proof: ForkProof, headers: Uint8Array[], from: number, last: EventId): EventHeader | undefined {
  let previous: EventId | null | undefined;
  let first: EventHeader | undefined;
  headers.forEach((bytes, i) => {
    const header = decodeHeader(bytes);
    if (header.log !== proof.log || header.seq !== from + i) throw bad(proof, "its headers do not follow");
    if (i > 0 && header.prev !== previous) throw bad(proof, "its headers are no chain");
    first ??= header;
    previous = eventId(bytes);
  });
  if (headers.length > 0 && previous !== last) throw bad(proof, "its headers do not end at their head");
  return first;
}

function bad(proof: ForkProof, why: string): KinError {
  return new KinError("BAD_REQUEST", `a fork proof of log ${proof.log} proves nothing: ${why}`);
}

/** Seq of the last event that both histories share; −1 if not even the first. Without `parting` it is the highest that it can be. */
export function forkPoint({ a, parting }: Pick<ForkProof, "a" | "parting">): number {
  return a.head.seq - (parting?.a.length ?? 1);
}

/**
 * The first seq of a mesh log that does not count by itself, as these proofs say (R2): after the parting of a log that was written
 * twice; all of another log of its device, unless the roster allows it. Undefined: all of it counts.
 */
export function forkedAt(
  { log, opening }: Pick<ForkProof, "log" | "opening">,
  proofs: Iterable<ForkProof>,
  membership: Membership,
): number | undefined {
  let isForked = false;
  for (const proof of proofs) {
    if (proof.log === log) return forkPoint(proof) + 1;
    isForked ||= proof.opening.device === opening.device;
  }
  return isForked && !isLogAllowed(membership, opening.device, log) ? 0 : undefined;
}

/** One history from just after the parting up to a signed head. */
export interface PartedHistory {
  head: SignedHead;
  events: readonly StoredEvent[];
}

/** The proof from two histories; the same from both sides. */
export function makeForkProof(
  { log, opening }: Pick<ForkProof, "log" | "opening">,
  one: PartedHistory,
  other: PartedHistory,
): ForkProof {
  const [lower, upper] = isLower(one.head.head, other.head.head) ? [one, other] : [other, one];
  const end = lower.head.head.seq;
  const headersOf = (events: readonly StoredEvent[], of: (seq: number) => boolean) =>
    events.filter(({ header }) => of(header.seq)).map(({ headerBytes }) => headerBytes);
  return {
    log,
    opening,
    a: lower.head,
    b: upper.head,
    headers: headersOf(upper.events, (seq) => seq > end && seq <= upper.head.head.seq),
    parting: { a: headersOf(lower.events, (seq) => seq <= end), b: headersOf(upper.events, (seq) => seq <= end) },
  };
}

function isLower(one: { seq: number; id: EventId }, other: { seq: number; id: EventId }): boolean {
  return one.seq === other.seq ? one.id < other.id : one.seq < other.seq;
}

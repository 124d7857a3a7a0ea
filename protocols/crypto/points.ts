/** Ed25519 points by noble: what node:crypto has no call for. */
import { Point } from "@noble/ed25519";
import { toHex } from "../bytes.ts";

/** The curve's arithmetic takes a millisecond a key, and the same few keys are asked for again with each roster that is read. */
const MAX_REMEMBERED = 4096;
const remembered = new Map<string, boolean>();

/** True if `publicKey` is the canonical encoding of a point of prime order: not small order, no torsion part (R15). */
export function isPrimeOrderPoint(publicKey: Uint8Array): boolean {
  if (publicKey.length !== 32) return false;
  const name = toHex(publicKey);
  const known = remembered.get(name);
  if (known !== undefined) return known;
  const answer = isPrimeOrder(publicKey);
  if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value!);
  remembered.set(name, answer);
  return answer;
}

function isPrimeOrder(publicKey: Uint8Array): boolean {
  try {
    const point = Point.fromBytes(publicKey, false);
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    return false;
  }
}

/** Ed25519 points by noble: what node:crypto has no call for. */
import { Point } from "@noble/ed25519";

/** True if `publicKey` is the canonical encoding of a point of prime order: not small order, no torsion part (R15). */
export function isPrimeOrderPoint(publicKey: Uint8Array): boolean {
  if (publicKey.length !== 32) return false;
  try {
    const point = Point.fromBytes(publicKey, false);
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    return false;
  }
}

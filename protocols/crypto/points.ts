/** Is an Ed25519 key a point of prime order (R15)? By noble's curve arithmetic, for browsers; `prime-order.ts` is the same on Node. */
import { Point } from "@noble/ed25519";

/** True if `publicKey` is the canonical encoding of a point of prime order: not small order, no torsion part. */
export function isPrimeOrder(publicKey: Uint8Array): boolean {
  if (publicKey.length !== 32) return false;
  try {
    const point = Point.fromBytes(publicKey, false);
    return !point.isSmallOrder() && point.isTorsionFree();
  } catch {
    return false;
  }
}

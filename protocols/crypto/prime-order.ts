/**
 * Is an Ed25519 key a point of prime order (R15)? Exactly, by one X25519 of node:crypto: a ninth of the time that curve
 * arithmetic in JavaScript takes.
 *
 * Write the point as A = P + T, P in the subgroup of prime order L, T one of the 8 torsion points. X25519 multiplies by a
 * scalar in [2²⁵⁴, 2²⁵⁵) that is a multiple of 8. 5L − 1 is one (L ≡ 5 mod 8), so
 *
 *   (5L − 1)·A = 5L·P − P + (5L − 1)·T = −P,     and u(−P) = u(P), X25519 sees no sign.
 *
 * u(P) = u(A) if and only if P = ±(P + T): T = 0, or 2P = −T, which only P = 0 fulfils; then the product is the point at
 * infinity, which OpenSSL refuses. A y that is on no point of the curve has its u on the twist, whose order is 4·L' with a
 * prime L' that divides neither 5L nor 5L − 2: there the product is never u either.
 */
import { createPrivateKey, createPublicKey, diffieHellman } from "node:crypto";
import { fromHex, toHex } from "../bytes.ts";

const FIELD = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const PKCS8 = fromHex("302e020100300506032b656e04220420");
const SPKI = fromHex("302a300506032b656e032100");
const SCALAR = createPrivateKey({
  key: Buffer.concat([PKCS8, littleEndian(5n * ORDER - 1n)]),
  format: "der",
  type: "pkcs8",
});

/** True if `publicKey` is the canonical encoding of a point of prime order: not small order, no torsion part. */
export function isPrimeOrder(publicKey: Uint8Array): boolean {
  if (publicKey.length !== 32) return false;
  const y = fieldElement(publicKey);
  // y = 1 is the neutral element, whose u is infinite.
  if (y >= FIELD || y === 1n) return false;
  const u = littleEndian(((1n + y) * inverse(FIELD + 1n - y)) % FIELD);
  try {
    const point = createPublicKey({ key: Buffer.concat([SPKI, u]), format: "der", type: "spki" });
    return diffieHellman({ privateKey: SCALAR, publicKey: point }).equals(u);
  } catch {
    return false; // the product is the point at infinity: small order
  }
}

/** The y of an encoded point: 255 bits, little-endian; the last one is the sign of x. */
function fieldElement(encoded: Uint8Array): bigint {
  const bytes = encoded.toReversed();
  bytes[0]! &= 0x7f;
  return BigInt(`0x${toHex(bytes)}`);
}

function littleEndian(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, "0")).toReversed();
}

/** By Euclid. @param value 0 < value < 2·{@link FIELD}, not {@link FIELD} */
function inverse(value: bigint): bigint {
  let [a, b] = [FIELD, value % FIELD];
  let [x, y] = [0n, 1n];
  while (b !== 0n) {
    const times = a / b;
    [a, b] = [b, a - times * b];
    [x, y] = [y, x - times * y];
  }
  return x < 0n ? x + FIELD : x;
}

/** `#crypto` in a browser: noble's primitives. Verification is computed with noble's points, not with its `verify` (R15). */
import { gcm } from "@noble/ciphers/aes.js";
import { getPublicKey, hashes, Point, sign } from "@noble/ed25519";
import { hkdf as nobleHkdf } from "@noble/hashes/hkdf.js";
import { sha256 as nobleSha256, sha512 } from "@noble/hashes/sha2.js";
import { toHex } from "../bytes.ts";
import type { SigningKey } from "./keys.ts";
import { isPrimeOrder } from "./points.ts";
import { rememberKeys } from "./remember-keys.ts";

export { hpkeOpen, hpkeSeal, sealingKeyFromSeed } from "./hpke.ts";

hashes.sha512 = sha512;

export function sha256(...parts: Uint8Array[]): Uint8Array {
  const hash = nobleSha256.create();
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** {@link sha256} in lower-case hex: what an id is. */
export function sha256Hex(...parts: Uint8Array[]): string {
  return toHex(sha256(...parts));
}

/** SHA-256 of bytes that come piece by piece: `digest` ends it. */
export function createSha256(): { update(bytes: Uint8Array): void; digest(): Uint8Array } {
  const hash = nobleSha256.create();
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest() };
}

export function signingKeyFromSeed(seed: Uint8Array): SigningKey {
  const secret = Uint8Array.from(seed);
  return { publicKey: getPublicKey(secret), sign: (message) => sign(message, secret) };
}

/** L, the order of the base point (RFC 8032 §5.1). */
const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

/** R15: S < L, then `encode(S·B − k·A) = R` byte for byte, without the cofactor. */
export function verify(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== 32 || signature.length !== 64) return false;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= ORDER) return false;
  try {
    const a = Point.fromBytes(publicKey, false);
    const k = littleEndian(sha512.create().update(r).update(publicKey).update(message).digest()) % ORDER;
    const left = s === 0n ? Point.ZERO : Point.BASE.multiply(s, false);
    const right = k === 0n ? Point.ZERO : a.multiply(k, false);
    const expected = left.subtract(right).toBytes();
    return expected.every((byte, i) => byte === r[i]);
  } catch {
    return false;
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}

export const isAdmissibleKey = rememberKeys(isPrimeOrder);

export function hkdf(key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  return nobleHkdf(nobleSha256, key, salt, info, length);
}

export function aeadSeal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array {
  return gcm(key, nonce, aad).encrypt(plaintext);
}

export function aeadOpen(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array | null {
  try {
    return gcm(key, nonce, aad).decrypt(sealed);
  } catch {
    return null;
  }
}

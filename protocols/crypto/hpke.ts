/** HPKE (RFC 9180), base mode: X25519, HKDF-SHA256, AES-256-GCM. The library draws the ephemeral key itself. */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import { x25519 } from "@noble/curves/ed25519.js";
import type { HpkeSealed, SealingKey } from "./keys.ts";

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

export function sealingKeyFromSeed(seed: Uint8Array): SealingKey {
  return { publicKey: x25519.getPublicKey(seed), privateKey: Uint8Array.from(seed) };
}

/** @throws if `recipient` is not an X25519 public key. */
export async function hpkeSeal(
  recipient: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Promise<HpkeSealed> {
  const recipientPublicKey = await suite.kem.deserializePublicKey(buffer(recipient));
  const sender = await suite.createSenderContext({ recipientPublicKey, info: buffer(info) });
  const ciphertext = await sender.seal(buffer(plaintext), buffer(aad));
  return { enc: new Uint8Array(sender.enc), ciphertext: new Uint8Array(ciphertext) };
}

/** The plaintext, or null if it was not sealed for this key with this `info` and `aad`. */
export async function hpkeOpen(
  key: SealingKey,
  sealed: HpkeSealed,
  info: Uint8Array,
  aad: Uint8Array,
): Promise<Uint8Array | null> {
  try {
    const recipientKey = await suite.kem.deserializePrivateKey(buffer(key.privateKey));
    const context = await suite.createRecipientContext({ recipientKey, enc: buffer(sealed.enc), info: buffer(info) });
    return new Uint8Array(await context.open(buffer(sealed.ciphertext), buffer(aad)));
  } catch {
    return null;
  }
}

function buffer(bytes: Uint8Array): ArrayBuffer {
  return bytes.slice().buffer;
}

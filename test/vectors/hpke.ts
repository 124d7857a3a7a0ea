/** HPKE with an ephemeral key from a seed: the same ciphertext each time. For vectors only; the real one draws it. */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256 } from "@hpke/core";
import type { HpkeSealed } from "../../protocols/crypto/keys.ts";

const suite = new CipherSuite({ kem: new DhkemX25519HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

export async function hpkeSealWith(
  ephemeralSeed: Uint8Array,
  recipient: Uint8Array,
  info: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Promise<HpkeSealed> {
  const recipientPublicKey = await suite.kem.deserializePublicKey(buffer(recipient));
  const sender = await suite.createSenderContext({
    recipientPublicKey,
    info: buffer(info),
    ekm: buffer(ephemeralSeed),
  });
  const ciphertext = await sender.seal(buffer(plaintext), buffer(aad));
  return { enc: new Uint8Array(sender.enc), ciphertext: new Uint8Array(ciphertext) };
}

function buffer(bytes: Uint8Array): ArrayBuffer {
  return bytes.slice().buffer;
}

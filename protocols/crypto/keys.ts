/** Shapes of keys, the same in both implementations of `#crypto`. */

export interface SigningKey {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 64-byte signature (RFC 8032, deterministic). */
  sign(message: Uint8Array): Uint8Array;
}

/** X25519 for HPKE. */
export interface SealingKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
  /** 32 bytes. */
  readonly privateKey: Uint8Array;
}

export interface HpkeSealed {
  /** Encapsulated key, 32 bytes. */
  enc: Uint8Array;
  ciphertext: Uint8Array;
}

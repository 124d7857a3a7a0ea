/**
 * Epoch keys (R6, F5). One epoch is one generation of the key under which `mesh` bodies are sealed.
 *
 *   key     = 32 random bytes;   keyHash = SHA-256("kin/epoch/1" ‖ key)
 *   epoch   = a roster record of type "epoch": { after: [epoch ids], keyHash, keys: [[device, enc, ct]…] };  its id is the record's id
 *   [device, enc, ct] = HPKE to the device's sealing key,
 *                       info = canonical ["kin/epoch-key/1", mesh, keyHash, author device, recipient device], no AAD
 *
 * The key's hash stands for the epoch in `info`: the record holds the sealed keys, so its own id cannot be in them. The
 * author's device is in it too, so that nobody can copy a sealed key into a record or event of his own (R7).
 */
import { hpkeOpen, hpkeSeal, sha256 } from "#crypto";
import { encode, equal, utf8Bytes } from "./bytes.ts";
import type { SealingKey } from "./crypto/keys.ts";
import type { Random } from "./effects.ts";
import { KinError } from "./errors.ts";
import { idBytes, idOf, type DeviceId, type MeshId } from "./ids.ts";

export const EPOCH_KEY_BYTES = 32;
const HASH_DOMAIN = utf8Bytes("kin/epoch/1");

/** An epoch's key for one device, as it rides in an `epoch` record, an `epoch-sealed` event or an admission's answer. */
export interface SealedEpochKey {
  device: DeviceId;
  /** Encapsulated key, 32 bytes. */
  enc: Uint8Array;
  /** 32 bytes of key + 16 of tag. */
  ct: Uint8Array;
}

export function newEpochKey(random: Random): Uint8Array {
  return random.bytes(EPOCH_KEY_BYTES);
}

export function epochKeyHash(key: Uint8Array): Uint8Array {
  return sha256(HASH_DOMAIN, key);
}

/** Seals `key` to one device. `author` is the device whose record, event or answer carries it. @throws if the sealing key is not an X25519 key. */
export async function sealEpochKey(
  mesh: MeshId,
  key: Uint8Array,
  recipient: { id: DeviceId; sealingKey: Uint8Array },
  author: DeviceId,
): Promise<SealedEpochKey> {
  const info = sealInfo(mesh, epochKeyHash(key), author, recipient.id);
  const sealed = await hpkeSeal(recipient.sealingKey, info, new Uint8Array(), key);
  return { device: recipient.id, enc: sealed.enc, ct: sealed.ciphertext };
}

/** Seals `key` to each device; one whose sealing key is unusable is left out, so that it cannot stop a new epoch. */
export async function sealEpochKeys(
  mesh: MeshId,
  key: Uint8Array,
  recipients: Iterable<{ id: DeviceId; sealingKey: Uint8Array }>,
  author: DeviceId,
): Promise<SealedEpochKey[]> {
  const sealed: SealedEpochKey[] = [];
  for (const recipient of recipients) {
    try {
      sealed.push(await sealEpochKey(mesh, key, recipient, author));
    } catch {
      continue;
    }
  }
  return sealed;
}

/** The key, or null if it was not sealed by `author` for this device and sealing key, or is not the key of `keyHash`. */
export async function openEpochKey(
  mesh: MeshId,
  keyHash: Uint8Array,
  sealed: SealedEpochKey,
  author: DeviceId,
  mine: SealingKey,
): Promise<Uint8Array | null> {
  const info = sealInfo(mesh, keyHash, author, sealed.device);
  const key = await hpkeOpen(mine, { enc: sealed.enc, ciphertext: sealed.ct }, info, new Uint8Array());
  if (key === null || key.length !== EPOCH_KEY_BYTES || !equal(epochKeyHash(key), keyHash)) return null;
  return key;
}

function sealInfo(mesh: MeshId, keyHash: Uint8Array, author: DeviceId, recipient: DeviceId): Uint8Array {
  return encode(["kin/epoch-key/1", idBytes(mesh), keyHash, idBytes(author), idBytes(recipient)]);
}

/** `[device, enc, ct]` */
export function sealedEpochKeyValue(sealed: SealedEpochKey): [Uint8Array, Uint8Array, Uint8Array] {
  return [idBytes(sealed.device), sealed.enc, sealed.ct];
}

/** @throws KinError BAD_REQUEST */
export function parseSealedEpochKey(value: unknown): SealedEpochKey {
  const [device, enc, ct] = Array.isArray(value) && value.length === 3 ? value : [];
  if (!(enc instanceof Uint8Array) || enc.length !== 32 || !(ct instanceof Uint8Array) || ct.length !== 48)
    throw new KinError("BAD_REQUEST", "a sealed epoch key is [device, 32 bytes, 48 bytes]");
  return { device: idOf(device), enc, ct };
}

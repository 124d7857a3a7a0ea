/**
 * `globalThis.crypto` for a simulation. The HPKE library draws its ephemeral keys from there and computes on threads: both
 * would make two runs of one seed differ. So here is the small part of WebCrypto that it uses (X25519, HKDF, HMAC, AES-256-GCM),
 * with the same results, computed in place by node:crypto, with keys from the seed. The library itself is the real one.
 *
 * It must be in place before the library is used first, as that keeps what it finds: `world.ts` sees to it.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from "node:crypto";
import type { Random } from "../protocols/effects.ts";

/** What stands for a CryptoKey. */
type Key =
  | { kind: "raw"; bytes: Uint8Array }
  | { kind: "public"; bytes: Uint8Array; object: KeyObject }
  | { kind: "private"; bytes: Uint8Array; object: KeyObject };

type Bytes = ArrayBuffer | ArrayBufferView<ArrayBuffer>;
interface Algorithm {
  name?: string;
  public?: Key;
  salt?: Bytes;
  info?: Bytes;
  iv?: Bytes;
  additionalData?: Bytes;
}

const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");
const SPKI_X25519 = Buffer.from("302a300506032b656e032100", "hex");
const TAG_BYTES = 16;

let random: Random | null = null;
/** A library that draws when it is first used, as Automerge's hash tables do, must not move the keys of one seed. */
let others: Random | null = null;
let isInstalled = false;

/** Puts the simulated WebCrypto in place, if it isn't, and lets its keys follow from `seeded`, other draws from `drawn`. */
export function seedWebCrypto(seeded: Random, drawn: Random): void {
  random = seeded;
  others = drawn;
  if (isInstalled) return;
  Object.defineProperty(globalThis, "crypto", { configurable: true, value: { subtle, getRandomValues } });
  isInstalled = true;
}

function getRandomValues(into: Uint8Array): Uint8Array {
  into.set(others!.bytes(into.length));
  return into;
}

const subtle = {
  generateKey: async (_algorithm: string) => {
    const privateKey = privateOf(random!.bytes(32));
    return { privateKey, publicKey: publicOf(rawPublic(privateKey)) };
  },
  importKey: async (format: "raw" | "pkcs8", data: Bytes, algorithm: string | Algorithm): Promise<Key> => {
    const bytes = bytesOf(data);
    const isX25519 = (typeof algorithm === "string" ? algorithm : algorithm.name) === "X25519";
    if (format === "pkcs8") return privateOf(bytes.subarray(PKCS8_X25519.length));
    return isX25519 ? publicOf(bytes) : { kind: "raw", bytes };
  },
  exportKey: async (format: "raw", key: Key): Promise<ArrayBuffer> => {
    if (format !== "raw" || key.kind === "private") throw new Error(`no export as ${format} in a simulation`);
    return bufferOf(key.bytes);
  },
  deriveBits: async (algorithm: Algorithm, key: Key, bits: number): Promise<ArrayBuffer> => {
    if (algorithm.name === "HKDF")
      return bufferOf(
        new Uint8Array(hkdfSync("sha256", key.bytes, bytesOf(algorithm.salt!), bytesOf(algorithm.info!), bits / 8)),
      );
    const peer = algorithm.public!;
    if (key.kind !== "private" || peer.kind !== "public") throw new Error("X25519 needs a private and a public key");
    return bufferOf(
      remembered(shared, `${latin(key.bytes)}${latin(peer.bytes)}`, () =>
        diffieHellman({ privateKey: key.object, publicKey: peer.object }),
      ),
    );
  },
  sign: async (_algorithm: string, key: Key, data: Bytes): Promise<ArrayBuffer> =>
    bufferOf(createHmac("sha256", key.bytes).update(bytesOf(data)).digest()),
  encrypt: async (algorithm: Algorithm, key: Key, data: Bytes): Promise<ArrayBuffer> => {
    const cipher = createCipheriv("aes-256-gcm", key.bytes, bytesOf(algorithm.iv!));
    cipher.setAAD(bytesOf(algorithm.additionalData!));
    return bufferOf(Buffer.concat([cipher.update(bytesOf(data)), cipher.final(), cipher.getAuthTag()]));
  },
  decrypt: async (algorithm: Algorithm, key: Key, data: Bytes): Promise<ArrayBuffer> => {
    const bytes = bytesOf(data);
    const decipher = createDecipheriv("aes-256-gcm", key.bytes, bytesOf(algorithm.iv!));
    decipher.setAAD(bytesOf(algorithm.additionalData!));
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    return bufferOf(Buffer.concat([decipher.update(bytes.subarray(0, -TAG_BYTES)), decipher.final()]));
  },
};

/** The same bodies are opened again and again; what follows from bytes alone is computed once. */
const MAX_REMEMBERED = 20_000;
const keys = new Map<string, Key>();
const shared = new Map<string, Uint8Array>();

function remembered<T>(cache: Map<string, T>, name: string, make: () => T): T {
  const known = cache.get(name);
  if (known !== undefined) return known;
  const made = make();
  if (cache.size >= MAX_REMEMBERED) cache.clear();
  cache.set(name, made);
  return made;
}

function latin(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("latin1");
}

function publicOf(bytes: Uint8Array): Key {
  return remembered(keys, `public ${latin(bytes)}`, () => ({
    kind: "public",
    bytes: Uint8Array.from(bytes),
    object: createPublicKey({ key: Buffer.concat([SPKI_X25519, bytes]), format: "der", type: "spki" }),
  }));
}

function privateOf(bytes: Uint8Array): Key {
  return remembered(keys, `private ${latin(bytes)}`, () => ({
    kind: "private",
    bytes: Uint8Array.from(bytes),
    object: createPrivateKey({ key: Buffer.concat([PKCS8_X25519, bytes]), format: "der", type: "pkcs8" }),
  }));
}

function rawPublic(key: Key): Uint8Array {
  if (key.kind !== "private") return key.bytes;
  return new Uint8Array(
    createPublicKey(key.object).export({ format: "der", type: "spki" }).subarray(SPKI_X25519.length),
  );
}

function bytesOf(data: Bytes): Uint8Array {
  return data instanceof ArrayBuffer
    ? new Uint8Array(data)
    : new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** A buffer of its own: views of node's pool must not leave here. */
function bufferOf(bytes: Uint8Array): ArrayBuffer {
  return Uint8Array.from(bytes).buffer;
}

/**
 * Seals (F3, R18). One signature covers all messages that one key seals in one tick:
 *
 *   leaf  = SHA-256(0x00 ‖ u32be(len bytes) ‖ u8(len kind) ‖ kind ‖ bytes)
 *   node  = SHA-256(0x01 ‖ left ‖ right)                          tree as RFC 6962 §2.1
 *   sig   = Ed25519("kin/seal/1" ‖ root)
 *   seal  = { key, sig, path: { index, size ≤ 128, hashes } }     hashes of exactly the RFC 6962 length
 *
 * The seal is outside the id: the id of a sealed message is its leaf hash.
 */
import { sha256, verify } from "#crypto";
import { concat, equal, utf8Bytes } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import { KinError } from "./errors.ts";
import { MAX_SEAL_BATCH } from "./limits.ts";

/** What a message is: it is part of the leaf, so a signature of one kind never stands for another, and it fixes whose key may sign. */
export type SealKind = keyof typeof PURPOSE;

/** Which of the four key purposes signs which kind (R18). */
export const PURPOSE = {
  genesis: "person",
  certificate: "person",
  roster: "device",
  "agent-key": "device",
  card: "device",
  hello: "device",
  join: "device",
  export: "device",
  "envelope/device": "device",
  "envelope/agent": "agent",
} as const;

export interface Seal {
  /** 32 bytes: the Ed25519 public key that signed. */
  key: Uint8Array;
  /** 64 bytes. */
  sig: Uint8Array;
  path: { index: number; size: number; hashes: Uint8Array[] };
}

/** A sealed message as it is stored and sent: the received bytes are kept. */
export interface Sealed {
  bytes: Uint8Array;
  seal: Seal;
}

const SEAL_DOMAIN = utf8Bytes("kin/seal/1");

const KIND_NAMES = new Map(Object.keys(PURPOSE).map((kind) => [kind, utf8Bytes(kind)]));

export function leafHash(kind: SealKind, bytes: Uint8Array): Uint8Array {
  const name = KIND_NAMES.get(kind)!;
  const head = new Uint8Array(6);
  new DataView(head.buffer).setUint32(1, bytes.length);
  head[5] = name.length;
  return sha256(head, name, bytes);
}

function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(Uint8Array.of(1), left, right);
}

/** Seals 1–128 messages with one signature. */
export function sealAll(key: SigningKey, messages: { kind: SealKind; bytes: Uint8Array }[]): Seal[] {
  if (messages.length === 0 || messages.length > MAX_SEAL_BATCH)
    throw new KinError("TOO_LARGE", `${messages.length} messages under one signature: 1 to ${MAX_SEAL_BATCH}`);
  const leaves = messages.map((message) => leafHash(message.kind, message.bytes));
  const paths: Uint8Array[][] = leaves.map(() => []);
  const root = merkle(leaves, 0, leaves.length, paths);
  const sig = key.sign(concat(SEAL_DOMAIN, root));
  return leaves.map((_, index) => ({
    key: key.publicKey,
    sig,
    path: { index, size: leaves.length, hashes: paths[index]! },
  }));
}

export function sealOne(key: SigningKey, kind: SealKind, bytes: Uint8Array): Sealed {
  return { bytes, seal: sealAll(key, [{ kind, bytes }])[0]! };
}

/** RFC 6962 §2.1 over leaves[from, to); fills each leaf's audit path bottom-up. */
function merkle(leaves: Uint8Array[], from: number, to: number, paths: Uint8Array[][]): Uint8Array {
  if (to - from === 1) return leaves[from]!;
  const middle = from + splitPoint(to - from);
  const left = merkle(leaves, from, middle, paths);
  const right = merkle(leaves, middle, to, paths);
  for (let i = from; i < middle; i++) paths[i]!.push(right);
  for (let i = middle; i < to; i++) paths[i]!.push(left);
  return nodeHash(left, right);
}

/** Largest power of two smaller than `count`. */
function splitPoint(count: number): number {
  let split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

/** A step from a node to its parent: leaves [from, to) of the node beside it, and on which side that is. */
interface Step {
  from: number;
  to: number;
  side: "left" | "right";
}

/** The way from leaf `index` up to the root of `size` leaves. */
function stepsUp(index: number, size: number): Step[] {
  const steps: Step[] = [];
  let from = 0;
  let to = size;
  while (to - from > 1) {
    const middle = from + splitPoint(to - from);
    if (index < middle) {
      steps.push({ from: middle, to, side: "right" });
      to = middle;
    } else {
      steps.push({ from, to: middle, side: "left" });
      from = middle;
    }
  }
  return steps.toReversed();
}

/** Nodes of trees whose root's signature was found good, so that their other leaves need neither a signature nor all hashes. */
type KnownNodes = Map<number, Uint8Array>;
/** At most 255 nodes each: 16 KB. */
const MAX_KNOWN_TREES = 512;
const knownTrees = new Map<string, KnownNodes>();

/** True if `seal` is a good signature of its key over `bytes` as a message of `kind`. Whose key it is, is the caller's question. */
export function isSealed(kind: SealKind, bytes: Uint8Array, seal: Seal): boolean {
  return isSealedLeaf(leafHash(kind, bytes), seal);
}

/** The same for who needs the leaf hash himself. @param leaf from {@link leafHash} */
export function isSealedLeaf(leaf: Uint8Array, seal: Seal): boolean {
  const { index, size, hashes } = seal.path;
  if (
    !Number.isSafeInteger(index) ||
    !Number.isSafeInteger(size) ||
    size < 1 ||
    size > MAX_SEAL_BATCH ||
    index < 0 ||
    index >= size
  )
    return false;
  if (hashes.some((hash) => hash.length !== 32)) return false;
  const steps = stepsUp(index, size);
  if (steps.length !== hashes.length) return false; // exactly the RFC 6962 length
  if (size === 1) return verify(seal.key, concat(SEAL_DOMAIN, leaf), seal.sig);
  const tree = treeName(seal);
  return leadsToRoot(leaf, seal, steps, knownTrees.get(tree), (nodes) => {
    if (knownTrees.size >= MAX_KNOWN_TREES) knownTrees.delete(knownTrees.keys().next().value!);
    knownTrees.set(tree, nodes);
  });
}

/**
 * Hashes upwards until a node that is known or the root. A known node's siblings further up are known too, and the seal must
 * name just these: a seal is good or not by itself, whatever was seen before it.
 */
function leadsToRoot(
  leaf: Uint8Array,
  { key, sig, path }: Seal,
  steps: readonly Step[],
  known: KnownNodes | undefined,
  learn: (nodes: KnownNodes) => void,
): boolean {
  const seen: [number, Uint8Array][] = [];
  let hash = leaf;
  let from = path.index;
  let to = from + 1;
  for (const [i, step] of steps.entries()) {
    const here = known?.get(nodeName(from, to));
    if (here !== undefined) {
      if (!equal(here, hash) || !namesKnown(known!, steps, path.hashes, i)) return false;
      for (const [name, node] of seen) known!.set(name, node);
      return true;
    }
    const sibling = path.hashes[i]!;
    seen.push([nodeName(from, to), hash], [nodeName(step.from, step.to), sibling]);
    hash = step.side === "right" ? nodeHash(hash, sibling) : nodeHash(sibling, hash);
    from = Math.min(from, step.from);
    to = Math.max(to, step.to);
  }
  if (!verify(key, concat(SEAL_DOMAIN, hash), sig)) return false;
  learn(new Map(seen));
  return true;
}

function namesKnown(known: KnownNodes, steps: readonly Step[], hashes: readonly Uint8Array[], first: number): boolean {
  for (let i = first; i < steps.length; i++) {
    const sibling = known.get(nodeName(steps[i]!.from, steps[i]!.to));
    if (sibling === undefined || !equal(sibling, hashes[i]!)) return false;
  }
  return true;
}

function nodeName(from: number, to: number): number {
  return from * (MAX_SEAL_BATCH + 1) + to;
}

/** A root has one name: its signature by this key, and how many leaves are said to hang on it. */
function treeName({ key, sig, path }: Seal): string {
  return `${path.size}:${String.fromCharCode(...key)}${String.fromCharCode(...sig)}`;
}

/** `Sealed` as a CBOR value: `{ b: bytes, k: key, s: sig, p?: [index, size, [hashes]] }`; a lone one has no `p`. */
export function sealedValue(sealed: Sealed): { b: Uint8Array; k: Uint8Array; s: Uint8Array; p?: unknown } {
  const { key, sig, path } = sealed.seal;
  const value = { b: sealed.bytes, k: key, s: sig };
  return path.size === 1 ? value : { ...value, p: [path.index, path.size, path.hashes] };
}

/** @throws KinError BAD_REQUEST. */
export function parseSealed(value: unknown): Sealed {
  const map = asMap(value, "a sealed message");
  const { b, k, s, p } = map;
  if (
    !(b instanceof Uint8Array) ||
    !(k instanceof Uint8Array) ||
    k.length !== 32 ||
    !(s instanceof Uint8Array) ||
    s.length !== 64 ||
    Object.keys(map).length > (p === undefined ? 3 : 4)
  )
    throw new KinError(
      "BAD_REQUEST",
      "a sealed message is {b: bytes, k: 32 bytes, s: 64 bytes, p?: [index, size, [hashes]]}",
    );
  if (p === undefined) return { bytes: b, seal: { key: k, sig: s, path: { index: 0, size: 1, hashes: [] } } };
  const [index, size, hashes] = Array.isArray(p) && p.length === 3 ? p : [];
  if (
    typeof index !== "number" ||
    typeof size !== "number" ||
    size < 2 ||
    !Array.isArray(hashes) ||
    !hashes.every((hash) => hash instanceof Uint8Array)
  )
    throw new KinError("BAD_REQUEST", "the path of a seal is [index, size ≥ 2, [hashes]]");
  return { bytes: b, seal: { key: k, sig: s, path: { index, size, hashes } } };
}

export function asMap(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array)
    throw new KinError("BAD_REQUEST", `${what} is a map`);
  return value as Record<string, unknown>;
}

/**
 * Collects what one key has to sign until `flush` is called at the end of the tick, then signs it as one batch.
 * `schedule` calls its argument once, at the end of the tick.
 */
export function createSealer(
  key: SigningKey,
  schedule: (flush: () => void) => void,
): { seal(kind: SealKind, bytes: Uint8Array): Promise<Sealed> } {
  let waiting: { kind: SealKind; bytes: Uint8Array; done(sealed: Sealed): void; failed(error: unknown): void }[] = [];
  function flush(): void {
    const batch = waiting.splice(0, MAX_SEAL_BATCH);
    if (waiting.length > 0) schedule(flush);
    try {
      const seals = sealAll(key, batch);
      batch.forEach((item, i) => item.done({ bytes: item.bytes, seal: seals[i]! }));
    } catch (error) {
      for (const item of batch) item.failed(error);
    }
  }
  return {
    seal: (kind, bytes) =>
      new Promise((done, failed) => {
        if (waiting.length === 0) schedule(flush);
        waiting.push({ kind, bytes, done, failed });
      }),
  };
}

/** Attack group A, envelopes: what is done to a good one. Replay, boot and audience are tried against a running callee in `test/invoke`. */
import { concat, decode, encode, fromHex, type Value } from "../../protocols/bytes.ts";
import type { Sealed } from "../../protocols/signature.ts";

/** L little-endian, the group order. */
const L = fromHex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

export interface Bend {
  id: string;
  what: string;
  bend(sealed: Sealed): Sealed;
}

const withBytes = (sealed: Sealed, bytes: Uint8Array): Sealed => ({ ...sealed, bytes });
const withSig = (sealed: Sealed, sig: Uint8Array): Sealed => ({ ...sealed, seal: { ...sealed.seal, sig } });
const withKey = (sealed: Sealed, key: Uint8Array): Sealed => ({ ...sealed, seal: { ...sealed.seal, key } });
const edit = (sealed: Sealed, change: (map: { [key: string]: Value | undefined }) => void): Sealed => {
  const map = decode(sealed.bytes) as { [key: string]: Value };
  change(map);
  return withBytes(sealed, encode(map));
};

export const BENDS: Bend[] = [
  { id: "A2", what: "cut off by a byte", bend: (s) => withBytes(s, s.bytes.slice(0, -1)) },
  { id: "A2", what: "a byte behind it", bend: (s) => withBytes(s, concat(s.bytes, Uint8Array.of(0))) },
  { id: "A2", what: "no bytes", bend: (s) => withBytes(s, new Uint8Array()) },
  {
    id: "A6",
    what: "the key is the neutral point and R, S fit it",
    bend: (s) =>
      withSig(
        withKey(s, Uint8Array.of(1, ...new Uint8Array(31))),
        concat(Uint8Array.of(1, ...new Uint8Array(31)), new Uint8Array(32)),
      ),
  },
  {
    id: "A6",
    what: "the key is a point of order 8",
    bend: (s) => withKey(s, fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
  },
  {
    id: "A7",
    what: "the key is not canonical",
    bend: (s) => withKey(s, fromHex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")),
  },
  { id: "A8", what: "S is L", bend: (s) => withSig(s, concat(s.seal.sig.slice(0, 32), L)) },
  {
    id: "A8",
    what: "S is all ones",
    bend: (s) => withSig(s, concat(s.seal.sig.slice(0, 32), new Uint8Array(32).fill(255))),
  },
  {
    id: "A9",
    what: "R is the neutral point",
    bend: (s) => withSig(s, concat(Uint8Array.of(1, ...new Uint8Array(31)), s.seal.sig.slice(32))),
  },
  { id: "A10", what: "the mesh is another", bend: (s) => edit(s, (m) => (m["mesh"] = new Uint8Array(32).fill(1))) },
  {
    id: "A11",
    what: "the recipient is another",
    bend: (s) => edit(s, (m) => ((m["to"] as Value[])[0] = new Uint8Array(32).fill(1))),
  },
  {
    id: "A14",
    what: "it lives a second longer",
    bend: (s) => edit(s, (m) => (m["exp"] = (m["exp"] as number) + 1000)),
  },
  {
    id: "A19",
    what: "the id is kept and the body is another",
    bend: (s) => edit(s, (m) => (m["body"] = { other: 1 })),
  },
  { id: "A20", what: "the id is empty", bend: (s) => edit(s, (m) => (m["id"] = new Uint8Array())) },
  { id: "A20", what: "the id has 17 bytes", bend: (s) => edit(s, (m) => (m["id"] = new Uint8Array(17))) },
  { id: "A21", what: "version 2", bend: (s) => edit(s, (m) => (m["v"] = 2)) },
  { id: "A21", what: "no version", bend: (s) => edit(s, (m) => delete m["v"]) },
  { id: "A22", what: "a field that we do not know", bend: (s) => edit(s, (m) => (m["crit"] = 1)) },
  { id: "A23", what: "a field that names an algorithm", bend: (s) => edit(s, (m) => (m["alg"] = "none")) },
  { id: "A24", what: "a body and a body hash", bend: (s) => edit(s, (m) => (m["bodyHash"] = new Uint8Array(32))) },
  { id: "A24", what: "neither body nor hash", bend: (s) => edit(s, (m) => delete m["body"]) },
  { id: "A25", what: "the signature is zero", bend: (s) => withSig(s, new Uint8Array(64)) },
  { id: "A25", what: "the signature is cut off", bend: (s) => withSig(s, s.seal.sig.slice(0, 63)) },
  { id: "A26", what: "a body of 1 MiB", bend: (s) => edit(s, (m) => (m["body"] = new Uint8Array(1 << 20))) },
  {
    id: "R18",
    what: "a path longer than its size allows",
    bend: (s) => ({ ...s, seal: { ...s.seal, path: { index: 0, size: 1, hashes: [new Uint8Array(32)] } } }),
  },
  {
    id: "R18",
    what: "an index outside of the batch",
    bend: (s) => ({ ...s, seal: { ...s.seal, path: { index: 1, size: 1, hashes: [] } } }),
  },
  {
    id: "R18",
    what: "a batch of 129",
    bend: (s) => ({
      ...s,
      seal: { ...s.seal, path: { index: 0, size: 129, hashes: Array.from({ length: 8 }, () => new Uint8Array(32)) } },
    }),
  },
];

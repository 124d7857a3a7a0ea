import { Point } from "@noble/ed25519";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { concat, fromHex, toHex } from "../../protocols/bytes.ts";
import * as noble from "../../protocols/crypto/noble.ts";
import * as node from "../../protocols/crypto/node.ts";
import * as curve from "../../protocols/crypto/points.ts";
import * as native from "../../protocols/crypto/prime-order.ts";
import { ORDER, SMALL_ORDER } from "../small-order.ts";

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });

/** RFC 8032 §7.1, tests 1–3. */
const RFC8032 = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
] as const;

describe.each([
  ["node", node],
  ["noble", noble],
])("#crypto on %s", (_, crypto) => {
  test.each(RFC8032)("RFC 8032 vector %#", (seed, publicKey, message, signature) => {
    const key = crypto.signingKeyFromSeed(fromHex(seed));
    expect(toHex(key.publicKey)).toBe(publicKey);
    expect(toHex(key.sign(fromHex(message)))).toBe(signature);
    expect(crypto.verify(key.publicKey, fromHex(message), fromHex(signature))).toBe(true);
    expect(crypto.verify(key.publicKey, concat(fromHex(message), Uint8Array.of(0)), fromHex(signature))).toBe(false);
  });

  test.each(SMALL_ORDER)("A6 A7 R15: the key %s of small order or foreign form is not admitted", (hex) => {
    expect(crypto.isAdmissibleKey(fromHex(hex))).toBe(false);
  });

  test("R15: a key with a torsion part is not admitted", () => {
    const torsion = Point.fromBytes(fromHex(SMALL_ORDER[6]!), true);
    for (let i = 1; i < 20; i++) {
      const key = crypto.signingKeyFromSeed(new Uint8Array(32).fill(i)).publicKey;
      expect(crypto.isAdmissibleKey(key)).toBe(true);
      expect(crypto.isAdmissibleKey(Point.fromBytes(key, false).add(torsion).toBytes())).toBe(false);
    }
  });

  test("R15 A9: R with a torsion part is refused, as the equation has no cofactor", () => {
    const torsion = Point.fromBytes(fromHex(SMALL_ORDER[6]!), true);
    for (let i = 1; i < 20; i++) {
      const key = crypto.signingKeyFromSeed(new Uint8Array(32).fill(i));
      const message = Uint8Array.of(i);
      const signature = key.sign(message);
      const r = Point.fromBytes(signature.subarray(0, 32), false).add(torsion).toBytes();
      expect(crypto.verify(key.publicKey, message, concat(r, signature.subarray(32)))).toBe(false);
    }
  });

  test("A8: S + L is refused", () => {
    const key = crypto.signingKeyFromSeed(new Uint8Array(32).fill(3));
    const signature = key.sign(Uint8Array.of(1));
    let s = ORDER;
    for (let i = 31; i >= 0; i--) s += BigInt(signature[32 + i]!) << BigInt(8 * i);
    const big = Uint8Array.from({ length: 32 }, (_, i) => Number((s >> BigInt(8 * i)) & 255n));
    expect(crypto.verify(key.publicKey, Uint8Array.of(1), concat(signature.subarray(0, 32), big))).toBe(false);
  });

  test("AES-256-GCM opens with the same key, nonce and associated data only", () => {
    fc.assert(
      fc.property(bytes(32), bytes(12), fc.uint8Array(), fc.uint8Array(), fc.nat(), (key, nonce, plain, aad, at) => {
        const sealed = crypto.aeadSeal(key, nonce, plain, aad);
        expect(crypto.aeadOpen(key, nonce, sealed, aad)).toEqual(plain);
        expect(crypto.aeadOpen(key, nonce, sealed, concat(aad, Uint8Array.of(0)))).toBeNull();
        sealed[at % sealed.length]! ^= 1;
        expect(crypto.aeadOpen(key, nonce, sealed, aad)).toBeNull();
      }),
      { numRuns: 50 },
    );
  });

  test("HPKE opens for its recipient, info and data only", async () => {
    const key = crypto.sealingKeyFromSeed(new Uint8Array(32).fill(5));
    const other = crypto.sealingKeyFromSeed(new Uint8Array(32).fill(6));
    const [info, aad, plain] = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3, 4)];
    const sealed = await crypto.hpkeSeal(key.publicKey, info, aad, plain);
    expect(await crypto.hpkeOpen(key, sealed, info, aad)).toEqual(plain);
    expect(await crypto.hpkeOpen(other, sealed, info, aad)).toBeNull();
    expect(await crypto.hpkeOpen(key, sealed, aad, aad)).toBeNull();
    expect(await crypto.hpkeOpen(key, sealed, info, info)).toBeNull();
  });
});

test("node and noble agree on every signature, good or bent", () => {
  fc.assert(
    fc.property(bytes(32), fc.uint8Array(), fc.nat(63), fc.nat(255), (seed, message, at, bend) => {
      const key = node.signingKeyFromSeed(seed);
      const signature = key.sign(message);
      expect(noble.signingKeyFromSeed(seed).sign(message)).toEqual(signature);
      signature[at]! ^= bend;
      expect(noble.verify(key.publicKey, message, signature)).toBe(node.verify(key.publicKey, message, signature));
    }),
    { numRuns: 40 },
  );
});

test("node and noble derive and seal alike", () => {
  fc.assert(
    fc.property(bytes(32), fc.uint8Array(), fc.uint8Array(), bytes(12), (key, salt, info, nonce) => {
      expect(noble.hkdf(key, salt, info, 42)).toEqual(node.hkdf(key, salt, info, 42));
      expect(noble.aeadSeal(key, nonce, salt, info)).toEqual(node.aeadSeal(key, nonce, salt, info));
      expect(noble.sha256(key, salt)).toEqual(node.sha256(key, salt));
      for (const suite of [node, noble]) expect(fromHex(suite.sha256Hex(key, salt))).toEqual(node.sha256(key, salt));
      for (const suite of [node, noble]) {
        const hash = suite.createSha256();
        for (const piece of [key, salt, info]) hash.update(piece);
        expect(hash.digest()).toEqual(node.sha256(key, salt, info));
      }
    }),
    { numRuns: 50 },
  );
});

test("R15: both checks of a key agree on points with every torsion part, on what is no point, and on foreign forms", () => {
  const torsion = [Point.ZERO, ...SMALL_ORDER.slice(0, 8).map((hex) => Point.fromBytes(fromHex(hex), true))];
  const points = fc
    .tuple(fc.bigInt(1n, ORDER - 1n), fc.constantFrom(...torsion))
    .map(([scalar, part]) => Point.BASE.multiply(scalar).add(part).toBytes());
  fc.assert(
    fc.property(fc.oneof(points, bytes(32), bytes(31), fc.constantFrom(...SMALL_ORDER).map(fromHex)), (key) => {
      expect(native.isPrimeOrder(key)).toBe(curve.isPrimeOrder(key));
    }),
    { numRuns: 200 },
  );
});

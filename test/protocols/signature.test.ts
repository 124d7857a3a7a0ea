import { expect, test } from "vitest";
import { hpkeOpen, hpkeSeal, isAdmissibleKey, sealingKeyFromSeed, signingKeyFromSeed } from "#crypto";
import { isSealed, parseSealed, sealAll, sealedValue } from "../../protocols/signature.ts";
import { decode, encode } from "../../protocols/bytes.ts";

const key = signingKeyFromSeed(new Uint8Array(32).fill(7));

test("every message of a batch is verifiable by itself", () => {
  for (const count of [1, 2, 3, 5, 8, 127, 128]) {
    const messages = Array.from({ length: count }, (_, i) => ({ kind: "card" as const, bytes: encode({ i }) }));
    const seals = sealAll(key, messages);
    messages.forEach((message, i) => {
      const sealed = parseSealed(decode(encode(sealedValue({ bytes: message.bytes, seal: seals[i]! }))));
      expect(isSealed("card", sealed.bytes, sealed.seal)).toBe(true);
      expect(isSealed("hello", sealed.bytes, sealed.seal)).toBe(false);
      if (count > 1) expect(isSealed("card", messages[(i + 1) % count]!.bytes, sealed.seal)).toBe(false);
    });
  }
});

test("R18: a seal is good or not by itself, whatever of its tree was seen before", () => {
  for (const count of [2, 3, 7, 100, 128]) {
    const messages = Array.from({ length: count }, (_, i) => ({ kind: "card" as const, bytes: encode({ count, i }) }));
    const seals = sealAll(key, messages);
    const good = (i: number, seal = seals[i]!): boolean => isSealed("card", messages[i]!.bytes, seal);
    const order = messages.map((_, i) => (i * 37) % count);
    for (const i of count % 37 === 0 ? messages.keys() : order) {
      const { path, ...rest } = seals[i]!;
      const altered = path.hashes.map((_, at) => ({
        ...rest,
        path: { ...path, hashes: path.hashes.map((hash, j) => (j === at ? hash.map((byte) => byte ^ 1) : hash)) },
      }));
      const others = [
        ...altered,
        { ...rest, path: { ...path, hashes: path.hashes.slice(1) } },
        { ...rest, path: { ...path, hashes: [...path.hashes, new Uint8Array(32)] } },
        { ...rest, path: { ...path, index: (path.index + 1) % count } },
        { ...rest, sig: rest.sig.map((byte, at) => (at === 0 ? byte ^ 1 : byte)), path },
        { ...rest, key: signingKeyFromSeed(new Uint8Array(32).fill(8)).publicKey, path },
      ];
      for (const seal of others) expect(good(i, seal)).toBe(false);
      expect(good(i)).toBe(true);
      for (const seal of others) expect(good(i, seal)).toBe(false);
    }
  }
});

test("an HPKE message opens for its recipient and info only", async () => {
  const recipient = sealingKeyFromSeed(new Uint8Array(32).fill(9));
  const text = new Uint8Array([1, 2, 3]);
  const sealed = await hpkeSeal(recipient.publicKey, new Uint8Array([1]), new Uint8Array(), text);
  expect(await hpkeOpen(recipient, sealed, new Uint8Array([1]), new Uint8Array())).toEqual(text);
  expect(await hpkeOpen(recipient, sealed, new Uint8Array([2]), new Uint8Array())).toBeNull();
});

test("small-order and torsioned keys are not admitted", () => {
  expect(isAdmissibleKey(key.publicKey)).toBe(true);
  expect(isAdmissibleKey(new Uint8Array(32))).toBe(false);
  expect(isAdmissibleKey(Uint8Array.of(1, ...new Uint8Array(31)))).toBe(false);
});

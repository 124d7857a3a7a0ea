/** The hand-written codec against @ipld/dag-cbor, which many read and use: same bytes, same values, same verdicts. */
import * as dagCbor from "@ipld/dag-cbor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decode, decodeShared, encode, fromHex, toHex, type Value } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";

const key = fc
  .string({ unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)), maxLength: 70 })
  .filter((text) => !["__proto__", "constructor", "prototype"].includes(text));
const leaf = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.maxSafeInteger(),
  fc.integer({ min: -300, max: 70_000 }),
  fc.constantFrom(23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, -(2 ** 32), -(2 ** 32) - 1),
  fc.string({ unit: "binary", maxLength: 80 }),
  fc.uint8Array({ maxLength: 300 }),
);
const value = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6 },
    leaf as fc.Arbitrary<Value>,
    fc.array(tie("value"), { maxLength: 30 }),
    fc.dictionary(key, tie("value"), { maxKeys: 30, noNullPrototype: true }),
  ),
})).value;

test("any value has the bytes that dag-cbor gives it, and comes back", () => {
  fc.assert(
    fc.property(value, (value) => {
      const bytes = encode(value);
      expect(toHex(bytes)).toBe(toHex(dagCbor.encode(value)));
      expect(decode(bytes)).toEqual(dagCbor.decode(bytes));
    }),
    { numRuns: 300 },
  );
});

/** What dag-cbor reads and writes again as the same bytes is canonical; F1 then takes the rest away. */
function verdict(bytes: Uint8Array): Value | undefined {
  try {
    const value = dagCbor.decode<Value>(bytes);
    return toHex(dagCbor.encode(value)) === toHex(bytes) && isPlain(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isPlain(value: unknown): boolean {
  if (value === null || typeof value === "string" || typeof value === "boolean" || value instanceof Uint8Array)
    return true;
  if (typeof value === "number") return Number.isSafeInteger(value) && !Object.is(value, -0);
  if (Array.isArray(value)) return value.every(isPlain);
  if (typeof value !== "object") return false;
  return Object.entries(value).every(
    ([key, item]) => /^\p{ASCII}*$/u.test(key) && !["constructor", "prototype"].includes(key) && isPlain(item),
  );
}

function ours(bytes: Uint8Array): Value | undefined {
  try {
    return decode(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(KinError);
    return undefined;
  }
}

test("altered bytes get the verdict that reading and writing again by dag-cbor gives", () => {
  const alteration = fc.tuple(fc.nat(400), fc.constantFrom("set", "insert", "drop"), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(value, fc.array(alteration, { minLength: 1, maxLength: 3 }), (value, alterations) => {
      let bytes = [...encode(value)];
      for (const [place, what, byte] of alterations) {
        const at = place % (bytes.length + 1);
        bytes = [
          ...bytes.slice(0, at),
          ...(what === "drop" ? [] : [byte]),
          ...bytes.slice(what === "insert" ? at : at + 1),
        ];
      }
      const altered = Uint8Array.from(bytes);
      expect(ours(altered)).toEqual(verdict(altered));
    }),
    { numRuns: 2000 },
  );
});

test("short random bytes get the same verdict too", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 12 }), (bytes) => {
      expect(ours(bytes)).toEqual(verdict(bytes));
    }),
    { numRuns: 5000 },
  );
});

test("what is read does not share memory with what it was read from", () => {
  const bytes = Buffer.from(encode({ a: new Uint8Array([1, 2, 3]) }));
  const read = decode(bytes) as { a: Uint8Array };
  bytes.fill(0);
  expect(read.a).toEqual(Uint8Array.of(1, 2, 3));
});

test("what is read shared is the same, in the memory of what it was read from, and the next read copies again", () => {
  fc.assert(
    fc.property(value, (one) => {
      const bytes = encode([one, new Uint8Array([1, 2, 3])]);
      const read = decodeShared(bytes) as [Value, Uint8Array];
      expect(read).toEqual(decode(bytes));
      expect(read[1].buffer).toBe(bytes.buffer);
      expect((decode(bytes) as [Value, Uint8Array])[1].buffer).not.toBe(bytes.buffer);
    }),
    { numRuns: 100 },
  );
  expect(() => decodeShared(Uint8Array.of(0x18))).toThrow(KinError);
  const after = encode([new Uint8Array(1)]);
  expect((decode(after) as [Uint8Array])[0].buffer).not.toBe(after.buffer);
});

test("hex is lower case and whole bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(fromHex(toHex(bytes))).toEqual(bytes);
    }),
  );
  for (const wrong of ["0", "AB", "0g", "g0", "0 ", "é0", "00f"]) expect(() => fromHex(wrong)).toThrow(KinError);
});

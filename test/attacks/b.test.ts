import fc from "fast-check";
import { expect, test } from "vitest";
import { decode, encode, type Value } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import { createFrameReader, frame } from "../../protocols/frame.ts";
import { CASES, FRAMES } from "./b.ts";

test.each(CASES)("$id is refused: $what", ({ bytes }) => {
  const refusal = ((): unknown => {
    try {
      return decode(bytes);
    } catch (error) {
      return error;
    }
  })();
  expect(refusal).toBeInstanceOf(KinError);
  expect(["BAD_REQUEST", "TOO_LARGE"]).toContain((refusal as KinError).code);
});

test.each(FRAMES)("$id is refused: $what", ({ bytes }) => {
  expect(() => createFrameReader().push(bytes)).toThrow(KinError);
});

const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.constant(null),
    fc.boolean(),
    fc.maxSafeInteger().filter((n) => !Object.is(n, -0)),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 30 }),
    fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), tie("value"), { maxKeys: 30, noNullPrototype: true }),
  ),
})).value;

test("F1: what is encoded decodes to the same value and the same bytes", () => {
  fc.assert(
    fc.property(value, (given) => {
      const bytes = encode(given);
      expect(decode(bytes)).toEqual(given);
      expect(encode(decode(bytes))).toEqual(bytes);
    }),
  );
});

test("F1: any bytes either decode to what encodes back to them or are refused with a KinError", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        value.chain((v) => fc.tuple(fc.nat(), fc.nat(255)).map(([at, bend]) => bent(encode(v), at, bend))),
      ),
      (bytes) => {
        let decoded: Value;
        try {
          decoded = decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(KinError);
          return;
        }
        expect(encode(decoded)).toEqual(bytes);
      },
    ),
    { numRuns: 2000 },
  );
});

function bent(bytes: Uint8Array, at: number, bend: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[at % copy.length]! ^= bend;
  return copy;
}

test("F1: integers only: floats, −0, NaN, bigints and functions are not encoded", () => {
  for (const foreign of [0.5, -0, Number.NaN, Infinity, 2 ** 53, 1n, () => 0, Symbol("x")])
    expect(() => encode({ foreign })).toThrow(KinError);
});

test("frames come out whole and in order however the stream is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }),
      (payloads, cuts) => {
        const stream = Uint8Array.from(payloads.flatMap((payload) => [...frame(payload)]));
        const exact = createFrameReader();
        const all: Uint8Array[] = [];
        let from = 0;
        for (let i = 0; from < stream.length; i++) {
          const to = Math.min(stream.length, from + cuts[i % cuts.length]!);
          all.push(...exact.push(stream.subarray(from, to)));
          from = to;
        }
        expect(all).toEqual(payloads);
        expect(exact.pending).toBe(0);
      },
    ),
  );
});

/** Attack group B, encoding: bytes that a decoder must refuse, whatever it is asked to decode. One line a case. */
import { concat, encode, fromHex, utf8Bytes } from "../../protocols/bytes.ts";

const hex = (text: string): Uint8Array => fromHex(text.replaceAll(" ", ""));
const repeat = (byte: number, count: number): Uint8Array => new Uint8Array(count).fill(byte);

export const CASES: { id: string; what: string; bytes: Uint8Array }[] = [
  { id: "B1", what: "keys out of order", bytes: hex("a2 6162 01 6161 02") },
  { id: "B1", what: "keys in byte order instead of length first", bytes: hex("a2 626161 01 6162 02") },
  { id: "B2", what: "the same key twice", bytes: hex("a2 6161 01 6161 02") },
  { id: "B3", what: "23 in two bytes", bytes: hex("18 17") },
  { id: "B3", what: "255 in three bytes", bytes: hex("19 00ff") },
  { id: "B3", what: "65535 in five bytes", bytes: hex("1a 0000ffff") },
  { id: "B3", what: "1 in nine bytes", bytes: hex("1b 0000000000000001") },
  { id: "B3", what: "a length that is not minimal", bytes: hex("78 01 61") },
  { id: "B4", what: "a list of indefinite length", bytes: hex("9f 01 ff") },
  { id: "B4", what: "a map of indefinite length", bytes: hex("bf 6161 01 ff") },
  { id: "B4", what: "bytes of indefinite length", bytes: hex("5f 4101 ff") },
  { id: "B5", what: "a float of 16 bits", bytes: hex("f9 3c00") },
  { id: "B5", what: "a float of 32 bits", bytes: hex("fa 3f800000") },
  { id: "B5", what: "a float of 64 bits", bytes: hex("fb 3ff8000000000000") },
  { id: "B6", what: "NaN", bytes: hex("fb 7ff8000000000000") },
  { id: "B6", what: "infinity", bytes: hex("fb 7ff0000000000000") },
  { id: "B6", what: "minus zero", bytes: hex("fb 8000000000000000") },
  { id: "B7", what: "undefined", bytes: hex("f7") },
  { id: "B7", what: "a simple value", bytes: hex("f8 ff") },
  { id: "B7", what: "break outside of a list", bytes: hex("ff") },
  { id: "B8", what: "tag 0, a date", bytes: hex("c0 63 616263") },
  { id: "B8", what: "a big number", bytes: hex("c2 41 01") },
  { id: "B9", what: "a CID tag", bytes: hex("d8 2a 43 00 01 02") },
  { id: "B10", what: "text that is not UTF-8", bytes: hex("62 c328") },
  { id: "B10", what: "an over-long form of /", bytes: hex("62 c0af") },
  { id: "B10", what: "a map key that is not ASCII", bytes: hex("a1 62c3a4 01") },
  { id: "B11", what: "a lone surrogate", bytes: hex("63 eda080") },
  { id: "B12", what: "17 levels", bytes: concat(repeat(0x81, 17), hex("00")) },
  { id: "B12", what: "10,000 levels", bytes: concat(repeat(0x81, 10_000), hex("00")) },
  { id: "B12", what: "200,000 levels", bytes: concat(repeat(0x81, 200_000), hex("00")) },
  { id: "B13", what: "a text of 2^33 bytes", bytes: hex("7b 0000000200000000") },
  { id: "B13", what: "a list of 2^33 items", bytes: hex("9b 0000000200000000") },
  { id: "B13", what: "bytes longer than the input", bytes: hex("5a 00010000 00") },
  { id: "B14", what: "a map that says a million keys", bytes: hex("ba 000f4240") },
  {
    id: "B14",
    what: "a map of 1,025 keys",
    bytes: encode(Object.fromEntries(Array.from({ length: 1025 }, (_, i) => [`k${i}`, 0]))),
  },
  { id: "B14", what: "a list of 4,097 items", bytes: encode(Array.from({ length: 4097 }, () => 0)) },
  { id: "B15", what: "the key __proto__", bytes: concat(hex("a1 69"), utf8Bytes("__proto__"), hex("a0")) },
  { id: "B15", what: "the key constructor", bytes: concat(hex("a1 6b"), utf8Bytes("constructor"), hex("a0")) },
  { id: "B15", what: "the key prototype", bytes: concat(hex("a1 69"), utf8Bytes("prototype"), hex("a0")) },
  { id: "B16", what: "2^53", bytes: hex("1b 0020000000000000") },
  { id: "B16", what: "2^64 − 1", bytes: hex("1b ffffffffffffffff") },
  { id: "B16", what: "−2^53", bytes: hex("3b 001fffffffffffff") },
  { id: "B17", what: "one more item behind it", bytes: hex("01 02") },
  { id: "B18", what: "nothing", bytes: hex("") },
  { id: "B18", what: "a map that ends early", bytes: hex("a1 6161") },
  { id: "B7", what: "a map key that is a number", bytes: hex("a1 01 01") },
];

/** B20: frame prefixes. */
export const FRAMES: { id: string; what: string; bytes: Uint8Array }[] = [
  { id: "B20", what: "a length of 10 bytes", bytes: hex("ff ff ff ff ff ff ff ff ff 01") },
  { id: "B20", what: "a length of 5 bytes", bytes: hex("80 80 80 80 01") },
  { id: "B20", what: "a length that is not minimal", bytes: hex("81 00 00") },
  { id: "B20", what: "zero in two bytes", bytes: hex("80 00") },
  { id: "B20", what: "1 byte over the limit", bytes: hex("81 80 40") },
  { id: "B20", what: "256 MiB − 1", bytes: hex("ff ff ff 7f") },
];

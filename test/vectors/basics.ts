/** Vectors of bytes, text forms, signatures and seals (§1–§4). */
import { Point } from "@noble/ed25519";
import { sha256, signingKeyFromSeed } from "#crypto";
import { concat, encode, fromHex, toHex, utf8Bytes } from "../../protocols/bytes.ts";
import { frame } from "../../protocols/frame.ts";
import { formatText, idOf, meshTag, type TextPrefix } from "../../protocols/ids.ts";
import { leafHash, sealAll, sealedValue, type SealKind } from "../../protocols/signature.ts";
import { ORDER, SMALL_ORDER } from "../small-order.ts";
import type { VectorFile } from "./make.ts";

/** 32 bytes, or the first `count`, that are always the same for one name. */
export function bytesOf(name: string, count = 32): Uint8Array {
  return sha256(utf8Bytes(`kin vectors ${name}`)).slice(0, count);
}

export function hexOf(value: unknown): string {
  return toHex(encode(value));
}

export function bytesVectors(): { [file: string]: VectorFile } {
  return {
    "text-forms.json": textForms(),
    "cbor.json": cbor(),
    "ed25519.json": signatures(),
    "seals.json": seals(),
  };
}

function textForms(): VectorFile {
  const prefixes: TextPrefix[] = ["kint", "kinc", "kinm", "kinp", "kine", "kini"];
  const bodies = [new Uint8Array(32), bytesOf("text"), Uint8Array.of(7), bytesOf("odd", 19)];
  const good = prefixes.flatMap((prefix) =>
    bodies.map((body) => ({ prefix, body: toHex(body), text: formatText(prefix, body) })),
  );
  const text = formatText("kinm", bytesOf("text"));
  const pasted = [text.toUpperCase(), `  ${text}\n`, `${text.slice(0, 20)}\n  ${text.slice(20)}`];
  const last = text.at(-1) === "a" ? "b" : "a";
  const payload = concat(Uint8Array.of(2), bytesOf("text"));
  const versionTwo = base32(concat(payload, sha256(payload).subarray(0, 4)));
  return {
    section: "2",
    about:
      "good: formatting body gives text, reading text gives body. pasted: read as prefix, each gives body. refused: read as prefix, each is refused.",
    meshTags: [bytesOf("text"), new Uint8Array(32)].map((mesh) => ({ mesh: toHex(mesh), tag: meshTag(idOf(mesh)) })),
    good,
    pasted: pasted.map((item) => ({ prefix: "kinm", text: item, body: toHex(bytesOf("text")) })),
    refused: [
      { prefix: "kinp", text, why: "another kind" },
      { prefix: "kinm", text: text.slice(0, -1), why: "cut off" },
      { prefix: "kinm", text: text.slice(0, -1) + last, why: "damaged at the end" },
      { prefix: "kinm", text: `${text.slice(0, 12)}${text[12] === "a" ? "b" : "a"}${text.slice(13)}`, why: "damaged" },
      { prefix: "kinm", text: text.replace("kinm1", "kinm2"), why: "another version in the prefix" },
      { prefix: "kinm", text: `kinm1${versionTwo}`, why: "another version in the bytes" },
      { prefix: "kinm", text: `${text}=`, why: "padding" },
      { prefix: "kinm", text: "kinm1", why: "empty" },
      { prefix: "kinm", text: "hello", why: "something else" },
    ],
  };
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
function base32(bytes: Uint8Array): string {
  let bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  bits = bits.padEnd(Math.ceil(bits.length / 5) * 5, "0");
  return bits.replace(/.{5}/g, (group) => BASE32[Number.parseInt(group, 2)]!);
}

/** JSON for a value: byte strings as {"hex": …}, maps as a list of pairs {"map": [[key, value]]}. */
function jsonOf(value: unknown): unknown {
  if (value instanceof Uint8Array) return { hex: toHex(value) };
  if (Array.isArray(value)) return value.map(jsonOf);
  if (typeof value === "object" && value !== null)
    return { map: Object.entries(value).map(([key, item]) => [key, jsonOf(item)]) };
  return value;
}

function nested(levels: number): Uint8Array {
  return Uint8Array.from([...Array<number>(levels - 1).fill(0x81), 0x80]);
}

function cbor(): VectorFile {
  const values: [string, unknown][] = [
    ["zero", 0],
    ["integers", [0, 1, 23, 24, 255, 256, 65535, 65536, 4294967295, 4294967296, 9007199254740991]],
    ["negative integers", [-1, -24, -25, -256, -257, -65536, -65537, -4294967296, -4294967297, -9007199254740991]],
    ["true, false, null", [true, false, null]],
    ["texts", ["", "a", "ü", "水", "𐅑", "x".repeat(24), "y".repeat(256)]],
    ["byte strings", [new Uint8Array(), Uint8Array.of(1, 2, 3), new Uint8Array(24), new Uint8Array(256)]],
    ["keys by length, then bytewise", { mesh: 1, t: 2, id: 3, b: 4, aa: 5, Z: 6, "": 7 }],
    ["empty containers", [[], {}]],
    ["a map of 24", Object.fromEntries(Array.from({ length: 24 }, (_, i) => [`k${i}`, i]))],
  ];
  const accepted = values.map(([name, value]) => ({ name, bytes: hexOf(value), value: jsonOf(value) }));
  const bare: [string, string][] = [
    ["16 levels", toHex(nested(16))],
    ["4,096 items", `991000${"00".repeat(4096)}`],
  ];
  const refused: [string, string][] = [
    ["empty", ""],
    ["keys out of order", "a262696401617402"],
    ["keys in alphabetical order", "a2626161016162 02".replace(" ", "")],
    ["a key twice", "a2617401617402"],
    ["an integer that is too long (u8)", "1817"],
    ["an integer that is too long (u16)", "1900ff"],
    ["an integer that is too long (u64)", "1b00000000ffffffff"],
    ["a length that is too long", "5803010203"],
    ["2^53", "1b0020000000000000"],
    ["-2^53", "3b001fffffffffffff"],
    ["2^64 - 1", "1bffffffffffffffff"],
    ["a float of 16 bits", "f93c00"],
    ["a float of 32 bits", "fa3f800000"],
    ["a float of 64 bits", "fb3ff0000000000000"],
    ["NaN", "f97e00"],
    ["undefined", "f7"],
    ["simple value 16", "f0"],
    ["simple value 32", "f820"],
    ["a tag", "c100"],
    ["a CID tag", "d82a450001020304"],
    ["indefinite bytes", "5f4101ff"],
    ["indefinite text", "7f6161ff"],
    ["an indefinite array", "9f01ff"],
    ["an indefinite map", "bf616101ff"],
    ["a reserved length", "1c"],
    ["bytes that end early", "4201"],
    ["an array that ends early", "8201"],
    ["a map without its value", "a16161"],
    ["a length of 2^33", "5b0000000200000000"],
    ["trailing bytes", "0000"],
    ["invalid UTF-8", "61ff"],
    ["a lone surrogate", "63eda080"],
    ["UTF-8 that is too long", "62c080"],
    ["a key that is an integer", "a10001"],
    ["a key that is bytes", "a1416101"],
    ["a key that is not ASCII", "a162c3bc01"],
    ["the key __proto__", `a1${hexOf("__proto__")}01`],
    ["the key constructor", `a1${hexOf("constructor")}01`],
    ["the key prototype", `a1${hexOf("prototype")}01`],
    ["17 levels", toHex(nested(17))],
    ["4,097 items", `991001${"00".repeat(4097)}`],
    ["break", "ff"],
  ];
  const payloads = [hexOf({}), hexOf({ t: "ok" }), hexOf({ t: "x".repeat(150) }), hexOf({ t: "x".repeat(20000) })];
  return {
    section: "1.1, 1.2",
    about:
      'accepted: decoding bytes and encoding the value again gives the same bytes; value is JSON with {"hex"} for byte strings and {"map": [[key, value]]} for maps. refused: no reader takes it. frames: payload ↔ frame. framesRefused: no frame begins like that.',
    accepted: [...accepted, ...bare.map(([name, bytes]) => ({ name, bytes }))],
    refused: refused.map(([name, bytes]) => ({ name, bytes })),
    frames: payloads.map((payload) => ({ payload, frame: toHex(frame(fromHex(payload))) })),
    framesRefused: [
      { name: "a length of 5 bytes", bytes: "8080808001" },
      { name: "a length that is not minimal", bytes: "8100" },
      { name: "1 MiB + 1", bytes: "818040" },
    ],
  };
}

function littleEndian(value: bigint): Uint8Array {
  return fromHex(value.toString(16).padStart(64, "0")).toReversed();
}

function scalarOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes.toReversed())}`);
}

function signatures(): VectorFile {
  const key = signingKeyFromSeed(bytesOf("ed25519"));
  const message = utf8Bytes("kin");
  const good = key.sign(message);
  const torsion = Point.fromBytes(fromHex(SMALL_ORDER[6]!), true);
  const r = good.subarray(0, 32);
  const s = good.subarray(32);
  const torsioned = Point.fromBytes(r, false).add(torsion).toBytes();
  const cases: [string, Uint8Array, boolean][] = [
    ["good", good, true],
    ["S + L", concat(r, littleEndian(scalarOf(s) + ORDER)), false],
    ["R with a torsion part", concat(torsioned, s), false],
    ["R another point", concat(Point.BASE.toBytes(), s), false],
    ["S + 1", concat(r, littleEndian(scalarOf(s) + 1n)), false],
    ["all zero", new Uint8Array(64), false],
    ["63 bytes", good.subarray(0, 63), false],
  ];
  const mixed = Point.fromBytes(key.publicKey, false).add(torsion).toBytes();
  return {
    section: "3",
    about: "seed → key; keys: which are admissible; signatures: which are valid over message by key.",
    seeds: [{ seed: toHex(bytesOf("ed25519")), key: toHex(key.publicKey) }],
    keys: [
      { name: "good", key: toHex(key.publicKey), admissible: true },
      { name: "with a torsion part", key: toHex(mixed), admissible: false },
      ...SMALL_ORDER.map((hex) => ({ name: "of small order, or y ≥ p", key: hex, admissible: false })),
      { name: "no point", key: `02${"00".repeat(31)}`, admissible: false },
    ],
    signatures: cases.map(([name, signature, valid]) => ({
      name,
      key: toHex(key.publicKey),
      message: toHex(message),
      signature: toHex(signature),
      valid,
    })),
  };
}

const KINDS: SealKind[] = ["roster", "envelope/device", "hello", "card"];

function seals(): VectorFile {
  const key = signingKeyFromSeed(bytesOf("seals"));
  const batches = [1, 2, 3, 5, 8, 127, 128].map((size) => {
    const messages = Array.from({ length: size }, (_, i) => ({ kind: KINDS[i % 4]!, bytes: encode({ i }) }));
    const all = sealAll(key, messages);
    const shown = [...new Set([0, 1, Math.floor(size / 2), size - 2, size - 1])].filter((i) => i >= 0 && i < size);
    return {
      size,
      leaves: messages.map(({ kind, bytes }) => toHex(leafHash(kind, bytes))),
      signature: toHex(all[0]!.sig),
      seals: shown.map((index) => ({
        index,
        kind: messages[index]!.kind,
        sealed: hexOf(sealedValue({ bytes: messages[index]!.bytes, seal: all[index]! })),
      })),
    };
  });
  const three = Array.from({ length: 3 }, (_, i) => ({ kind: "roster" as const, bytes: encode({ i }) }));
  const [first, , last] = sealAll(key, three);
  const b = three[0]!.bytes;
  const { hashes } = first!.path;
  const base = { b, k: first!.key, s: first!.sig };
  const refused: [string, SealKind, unknown][] = [
    ["another kind", "card", { ...base, p: [0, 3, hashes] }],
    ["another message", "roster", { ...base, b: encode({ i: 9 }), p: [0, 3, hashes] }],
    ["another index", "roster", { ...base, p: [1, 3, hashes] }],
    ["a size that gives another path", "roster", { ...base, b: three[2]!.bytes, p: [2, 4, last!.path.hashes] }],
    ["index = size", "roster", { ...base, p: [3, 3, hashes] }],
    ["a hash too many", "roster", { ...base, p: [0, 3, [...hashes, hashes[0]]] }],
    ["a hash too few", "roster", { ...base, p: [0, 3, hashes.slice(0, 1)] }],
    ["hashes swapped", "roster", { ...base, p: [0, 3, hashes.toReversed()] }],
    ["size 129", "roster", { ...base, p: [0, 129, hashes] }],
    ["size 1 with a path", "roster", { ...base, p: [0, 1, []] }],
    ["no path", "roster", base],
    ["the path of another leaf", "roster", { ...base, p: [2, 3, last!.path.hashes] }],
    ["a short signature", "roster", { ...base, s: first!.sig.subarray(1), p: [0, 3, hashes] }],
    ["an unknown field", "roster", { ...base, p: [0, 3, hashes], x: 1 }],
  ];
  return {
    section: "4",
    about: `batches: message i is canonical {"i": i} of kind ${KINDS.join(", ")} in turn, sealed by the key of seed; leaves in order; some of the seals as CBOR. refused: no good seal of that kind.`,
    seed: toHex(bytesOf("seals")),
    key: toHex(key.publicKey),
    example: {
      kind: "roster",
      bytes: hexOf({}),
      leaf: toHex(leafHash("roster", encode({}))),
      sealed: hexOf(
        sealedValue({ bytes: encode({}), seal: sealAll(key, [{ kind: "roster", bytes: encode({}) }])[0]! }),
      ),
    },
    batches,
    refused: refused.map(([name, kind, value]) => ({ name, kind, sealed: hexOf(value) })),
  };
}

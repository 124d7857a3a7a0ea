import fc from "fast-check";
import { expect, test } from "vitest";
import { sha256, signingKeyFromSeed } from "#crypto";
import { concat, equal, utf8Bytes } from "../../protocols/bytes.ts";
import {
  checkTimes,
  decodeEnvelope,
  encodeEnvelope,
  envelopeSealKind,
  openEnvelope,
  type Envelope,
} from "../../protocols/envelope.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf } from "../../protocols/ids.ts";
import { isSealed, leafHash, sealAll, sealOne, type Sealed, type SealKind } from "../../protocols/signature.ts";
import { BENDS } from "./a.ts";

const device = signingKeyFromSeed(new Uint8Array(32).fill(1));
const agent = signingKeyFromSeed(new Uint8Array(32).fill(2));
const id = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
const NOW = 1_800_000_000_000;

function envelope(change: Partial<Envelope> = {}): Envelope {
  return {
    mesh: idOf(id(9)),
    from: { person: idOf(id(8)), device: idOf(device.publicKey), agent: null },
    to: { person: idOf(id(7)), device: idOf(id(6)), agent: "reviewer" },
    kind: "invoke/request",
    id: new Uint8Array(16).fill(5),
    boot: new Uint8Array(16).fill(4),
    iat: NOW,
    exp: NOW + 60_000,
    hlc: new Uint8Array(8),
    trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    caps: [],
    body: { text: "what changed?" },
    ...change,
  };
}

const good = sealOne(device, "envelope/device", encodeEnvelope(envelope()));
const isOurs = (key: Uint8Array, from: Envelope["from"]): boolean =>
  equal(key, from.agent === null ? device.publicKey : agent.publicKey);

test("the good one opens", () => {
  expect(openEnvelope(good, isOurs).envelope).toEqual(envelope());
});

test.each(BENDS)("$id is refused: $what", ({ bend }) => {
  expect(() => openEnvelope(bend(good), isOurs)).toThrow(KinError);
});

/** What only its content gives away: signed anew, so that the signature can't be what refuses it. */
const MALFORMED = BENDS.filter(({ id }) => ["A2", "A20", "A21", "A22", "A23", "A24", "A26"].includes(id));

test.each(MALFORMED)("$id is refused although its author signed it: $what", ({ bend }) => {
  const signed = sealOne(device, "envelope/device", bend(good).bytes);
  expect(isSealed("envelope/device", signed.bytes, signed.seal)).toBe(true);
  expect(() => openEnvelope(signed, isOurs)).toThrow(KinError);
});

test("A1 is refused: every byte of envelope, key and signature bent in each bit", () => {
  for (const part of ["bytes", "key", "sig"] as const) {
    const original = part === "bytes" ? good.bytes : good.seal[part];
    for (let at = 0; at < original.length; at++) {
      const bent = Uint8Array.from(original);
      bent[at]! ^= 1 << (at % 8);
      const sealed: Sealed =
        part === "bytes" ? { ...good, bytes: bent } : { ...good, seal: { ...good.seal, [part]: bent } };
      expect(() => openEnvelope(sealed, isOurs), `${part}[${at}]`).toThrow(KinError);
    }
  }
});

test("A3 is refused: a signature over the root without our domain, or under another", () => {
  const root = leafHash("envelope/device", good.bytes);
  for (const message of [
    root,
    concat(utf8Bytes("kin/seal/2"), root),
    concat(utf8Bytes("kin/head/1"), root),
    good.bytes,
    sha256(good.bytes),
  ])
    expect(() => openEnvelope({ ...good, seal: { ...good.seal, sig: device.sign(message) } }, isOurs)).toThrow(
      KinError,
    );
});

test("A4 is refused: a good signature of another kind of message", () => {
  for (const kind of [
    "genesis",
    "certificate",
    "roster",
    "agent-key",
    "card",
    "hello",
    "join",
    "envelope/agent",
  ] satisfies SealKind[])
    expect(() => openEnvelope(sealOne(device, kind, good.bytes), isOurs)).toThrow(KinError);
});

test("A5 is refused: the key of a device for its agent, of an agent for its device, of a stranger for both", () => {
  const stranger = signingKeyFromSeed(id(3));
  const fromAgent = encodeEnvelope(envelope({ from: { ...envelope().from, agent: "librarian" } }));
  expect(openEnvelope(sealOne(agent, "envelope/agent", fromAgent), isOurs).envelope.from.agent).toBe("librarian");
  for (const [key, kind, bytes] of [
    [device, "envelope/agent", fromAgent],
    [device, "envelope/device", fromAgent],
    [agent, "envelope/device", good.bytes],
    [stranger, "envelope/device", good.bytes],
    [stranger, "envelope/agent", fromAgent],
  ] as const)
    expect(() => openEnvelope(sealOne(key, kind, bytes), isOurs)).toThrow(KinError);
});

test.each([
  ["A12: expired by 1 ms", { exp: NOW - 1, iat: NOW - 60_000 }, "EXPIRED"],
  ["A12: expired by a year", { exp: NOW - 31_536_000_000, iat: NOW - 31_536_060_000 }, "EXPIRED"],
  ["A13: from 5 min and 1 ms in the future", { iat: NOW + 300_001, exp: NOW + 310_000 }, "CLOCK_SKEW"],
  ["A14: lives 10 min and 1 ms", { exp: NOW + 600_001 }, "BAD_REQUEST"],
  ["A14: ends before it begins", { exp: NOW - 1 }, "BAD_REQUEST"],
] as const)("%s is refused", (_, change, code) => {
  expect(() => checkTimes(envelope(change), NOW)).toThrow(expect.objectContaining({ code }));
});

test("at the edges of the clock's bounds it is taken", () => {
  checkTimes(envelope({ iat: NOW + 300_000, exp: NOW + 900_000 }), NOW);
  checkTimes(envelope({ iat: NOW - 599_999, exp: NOW + 1 }), NOW);
});

test("R18: in a batch of any size each envelope has its own path, and no other's", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 128 }), fc.nat(), fc.nat(), (size, one, other) => {
      const messages = Array.from({ length: size }, (_, i) => ({
        kind: "envelope/device" as const,
        bytes: encodeEnvelope(envelope({ iat: NOW + i, exp: NOW + 60_000 })),
      }));
      const seals = sealAll(device, messages);
      const [a, b] = [one % size, other % size];
      expect(isSealed("envelope/device", messages[a]!.bytes, seals[b]!)).toBe(a === b);
      expect(
        isSealed("envelope/device", messages[a]!.bytes, {
          ...seals[a]!,
          path: { ...seals[a]!.path, size: size === 128 ? 127 : size + 1 },
        }),
      ).toBe(isSamePath(a, size));
    }),
    { numRuns: 60 },
  );
});

/** A tree of one leaf more can lead to the same root on the same path only if the path has the same turns; then the proof is the same proof. */
function isSamePath(index: number, size: number): boolean {
  const turns = (total: number): string => {
    let [from, to, out] = [0, total, ""];
    while (to - from > 1) {
      let split = 1;
      while (split * 2 < to - from) split *= 2;
      if (index < from + split) [to, out] = [from + split, `${out}l`];
      else [from, out] = [from + split, `${out}r`];
    }
    return out;
  };
  return index < (size === 128 ? 127 : size + 1) && turns(size) === turns(size === 128 ? 127 : size + 1);
}

test("F1: whatever an envelope holds, it comes back the same", () => {
  expect(envelopeSealKind(envelope().from)).toBe("envelope/device");
  for (const change of [
    { boot: undefined, trace: undefined },
    { body: undefined, bodyHash: id(1) },
    { re: idOf(id(2)), caps: [id(3)] },
    { to: { ...envelope().to, device: null, agent: null } },
  ] as Partial<Envelope>[]) {
    const bytes = encodeEnvelope(envelope(change));
    expect(encodeEnvelope(decodeEnvelope(bytes))).toEqual(bytes);
  }
});

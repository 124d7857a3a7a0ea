import fc from "fast-check";
import { expect, test } from "vitest";
import { sealingKeyFromSeed, signingKeyFromSeed } from "#crypto";
import { decode, encode } from "../../protocols/bytes.ts";
import {
  epochKeyHash,
  newEpochKey,
  openEpochKey,
  parseSealedEpochKey,
  sealedEpochKeyValue,
  sealEpochKey,
  sealEpochKeys,
} from "../../protocols/epoch.ts";
import { KinError } from "../../protocols/errors.ts";
import { idBytes, idOf } from "../../protocols/ids.ts";
import {
  makeCertificate,
  makeGenesis,
  parseRosterRecord,
  parseRosterValue,
  personIdOf,
  stampMs,
  stampOf,
  type RosterRecord,
} from "../../protocols/roster-record.ts";
import { sealedValue, sealOne } from "../../protocols/signature.ts";
import {
  act,
  addDevice,
  admit,
  event,
  found,
  invite,
  log,
  machine,
  meshOf,
  newDevice,
  NOW,
  remove,
  setRole,
  someBytes,
} from "./people.ts";

/** One good record of each type, by ben. */
function oneOfEach() {
  const recovery = signingKeyFromSeed(someBytes(32));
  const ben = found("ben", "from-epoch", recovery.publicKey);
  const ana = admit(ben, "ana");
  const next = signingKeyFromSeed(someBytes(32));
  const device = newDevice(ana.machine);
  const cert = makeCertificate(next, idBytes(meshOf(ben)), device, someBytes(16));
  const cuts = [
    { log: log("b"), seq: 3, id: event("b") },
    { log: log("a"), seq: 0, id: event("a") },
  ];
  const ticket = invite(ben);
  addDevice(ben, ben, machine("phone", "ben phone"));
  setRole(ben, ana, "admin");
  remove(ben, ana, cuts);
  act(ben, { type: "leave", cuts });
  act(ben, { type: "device-removed", device: device.id, cuts });
  act(ben, { type: "sealing-key", sealing: someBytes(32) });
  act(ben, { type: "person-rekeyed", person: ana.id, personKey: next.publicKey, devices: [{ device, cert }], cuts });
  act(ben, { type: "rename", person: ana.id, name: "anna" });
  act(ben, { type: "invite-closed", invite: ticket.record.id });
  const keys = [{ device: device.id, enc: someBytes(32), ct: new Uint8Array(48) }];
  act(ben, { type: "epoch", after: [], keyHash: someBytes(32), keys });
  return { ben, records: [...new Map(ben.view.map((record) => [record.body.type, record])).values()] };
}

const { ben, records } = oneOfEach();

test("a record of each type reads back as it was made", () => {
  expect(records).toHaveLength(13);
  for (const record of records) {
    const again = parseRosterValue(decode(encode(sealedValue(record.sealed))));
    expect(again).toEqual(record);
  }
});

test("a record of each type with any byte of it or of its signature bent is refused", () => {
  for (const { sealed, body } of records)
    fc.assert(
      fc.property(fc.nat(sealed.bytes.length - 1), fc.nat(63), fc.nat(7), (at, inSig, bit) => {
        const bytes = Uint8Array.from(sealed.bytes);
        bytes[at]! ^= 1 << bit;
        expect(() => parseRosterRecord({ ...sealed, bytes }), body.type).toThrow(KinError);
        const sig = Uint8Array.from(sealed.seal.sig);
        sig[inSig]! ^= 1 << bit;
        expect(() => parseRosterRecord({ ...sealed, seal: { ...sealed.seal, sig } })).toThrow(/signature/);
      }),
      { numRuns: 30 },
    );
});

test("a record of each type lacking any field, or with one more, is refused by name", () => {
  for (const { sealed, body } of records) {
    const map = decode(sealed.bytes) as Record<string, unknown>;
    const [key, kind] =
      body.type === "genesis" ? ([ben.key, "genesis"] as const) : ([ben.machine.key, "roster"] as const);
    const again = (change: Record<string, unknown>) => () =>
      parseRosterRecord(sealOne(key, kind, encode({ ...map, ...change })));
    expect(again({})).not.toThrow();
    for (const field of Object.keys(map))
      if (field !== "recovery") expect(again({ [field]: undefined }), `${body.type} ${field}`).toThrow(KinError);
    expect(again({ more: 1 })).toThrow(/no field "more"/);
    expect(again({ v: 2 })).toThrow(/version 2/);
  }
});

test("an unknown type is refused, not guessed", () => {
  const map = decode(records.find((record) => record.body.type === "leave")!.sealed.bytes) as Record<string, unknown>;
  for (const type of ["promote", "toString", 5])
    expect(() => parseRosterRecord(sealOne(ben.machine.key, "roster", encode({ ...map, type })))).toThrow(/type/);
});

test("R18: a record sealed as another kind, or by another key than it names, is refused", () => {
  const { sealed } = records.at(-1)!;
  expect(() => parseRosterRecord(sealOne(ben.machine.key, "card", sealed.bytes))).toThrow(/signature/);
  expect(() => parseRosterRecord(sealOne(ben.key, "roster", sealed.bytes))).toThrow(/another key/);
});

test("R15: a key that is no key of prime order enters no roster", () => {
  const bad = [new Uint8Array(32), Uint8Array.of(1, ...new Uint8Array(31)), new Uint8Array(32).fill(255)];
  for (const key of bad) {
    const device = { id: idOf<"device">(key), name: "evil", sealingKey: someBytes(32) };
    const stamp = { hlc: stampOf(NOW), n: someBytes(16), certificateN: someBytes(16) };
    const genesis = { mesh: "team", name: "ben", personKey: ben.key, device, policy: "reads-all" as const };
    expect(() => makeGenesis(genesis, stamp)).toThrow(/prime order/);
    expect(() => addDevice(ben, ben, { ...machine("evil"), id: device.id })).toThrow(/prime order/);
    const body = {
      type: "invite-opened" as const,
      key,
      name: null,
      role: "member" as const,
      expires: NOW,
      shares: [{ device: ben.machine.id, uses: 1 }],
    };
    expect(() => act(ben, body)).toThrow(/prime order/);
  }
});

test("lists are sorted, unique and bounded", () => {
  const share = (device: RosterRecord["author"]["device"], uses: number) => ({ device, uses });
  const open = (shares: { device: RosterRecord["author"]["device"]; uses: number }[]) =>
    act(ben, { type: "invite-opened", key: ben.key.publicKey, name: null, role: "member", expires: NOW, shares });
  const other = machine("other").id;
  expect(() => open([])).toThrow(/list of 1/);
  expect(() => open([share(other, 1), share(other, 1)])).toThrow(/sorted and unique/);
  expect(() => open([share(other, 26), share(ben.machine.id, 25)])).toThrow(/at most 50 uses/);
  expect(() => open([share(other, 0)])).toThrow(/1 to 50/);
  expect(() => act(ben, { type: "leave", cuts: [{ log: log("a"), seq: -1, id: event("a") }] })).toThrow(/seq/);
});

test("R1: a founder's person id is made of the genesis and differs from the mesh id", () => {
  expect(personIdOf(records[0]!.id)).toBe(ben.id);
  expect(ben.id as string).not.toBe(meshOf(ben));
});

test("F1: stamps are 48 bits of ms and 16 of counter, in byte order", () => {
  fc.assert(
    fc.property(
      fc.maxSafeNat().map((ms) => ms % 2 ** 48),
      fc.nat(65_535),
      (ms, counter) => {
        const stamp = stampOf(ms, counter);
        expect(stampMs(stamp)).toBe(ms);
        expect(new DataView(stamp.buffer).getUint16(6)).toBe(counter);
      },
    ),
  );
});

test("R6: an epoch's key opens for its recipient, mesh, author and hash, and for nothing else", async () => {
  const mesh = meshOf(ben);
  const key = newEpochKey({ bytes: someBytes });
  const mine = sealingKeyFromSeed(someBytes(32));
  const me = { id: machine("me").id, sealingKey: mine.publicKey };
  const sealed = parseSealedEpochKey(
    decode(encode(sealedEpochKeyValue(await sealEpochKey(mesh, key, me, ben.machine.id)))),
  );
  const hash = epochKeyHash(key);
  expect(await openEpochKey(mesh, hash, sealed, ben.machine.id, mine)).toEqual(key);
  const other = machine("other").id;
  expect(await openEpochKey(meshOf(found()), hash, sealed, ben.machine.id, mine)).toBeNull();
  expect(await openEpochKey(mesh, hash, sealed, other, mine)).toBeNull();
  expect(await openEpochKey(mesh, hash, { ...sealed, device: other }, ben.machine.id, mine)).toBeNull();
  expect(await openEpochKey(mesh, epochKeyHash(someBytes(32)), sealed, ben.machine.id, mine)).toBeNull();
  expect(await openEpochKey(mesh, hash, sealed, ben.machine.id, sealingKeyFromSeed(someBytes(32)))).toBeNull();
  expect(() => parseSealedEpochKey([idBytes(other), sealed.enc, new Uint8Array(47)])).toThrow(/48 bytes/);
});

test("R6: an unusable sealing key does not stop an epoch for the others", async () => {
  const key = newEpochKey({ bytes: someBytes });
  const good = { id: machine("good").id, sealingKey: machine("good").sealing.publicKey };
  const zero = { id: machine("zero").id, sealingKey: new Uint8Array(32) };
  const sealed = await sealEpochKeys(meshOf(ben), key, [zero, good], ben.machine.id);
  expect(sealed.map((item) => item.device)).toEqual([good.id]);
});

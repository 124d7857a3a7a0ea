/** Frames of an export, and where a log ends by what its file proves (docs/protocol.md §26). */
import { signingKeyFromSeed } from "#crypto";
import { expect, test } from "vitest";
import { decode, encode, type Value } from "../../protocols/bytes.ts";
import type { KinError } from "../../protocols/errors.ts";
import { encodeExportFrame, openExportEnd, parseExportFrame, sealExport, stopOf } from "../../protocols/export.ts";
import { idBytes, idOf, type DeviceId, type EventId, type LogId } from "../../protocols/ids.ts";
import { allowedLog, type Membership } from "../../protocols/membership.ts";
import { checkForkProof, forkedAt } from "../../sync/fork.ts";
import { bytesOf, makeChain, mesh } from "../sync/chains.ts";

const chain = makeChain("ben", 4);
const { log, opening } = chain;
const cutId = idOf<"event">(bytesOf("cut"));

/** Ben's device was removed: his logs end at these cuts. */
function removed(cuts: [LogId, { seq: number; id: EventId }][]): Membership {
  const formerDevices = new Map([[opening.device, { cuts: new Map(cuts) }]]);
  return { devices: new Map<DeviceId, unknown>(), formerDevices } as unknown as Membership;
}

const LIVING = { devices: new Map([[opening.device, {}]]), formerDevices: new Map() } as unknown as Membership;

test("a log ends where a fork or a removal ends it, as far as the range reaches [export-cut]", () => {
  const at5 = removed([[log, { seq: 5, id: cutId }]]);
  const cases: [string, [number, number], Membership, number | undefined, EventId | undefined, number | null][] = [
    ["it lives", [0, 9], LIVING, undefined, undefined, null],
    ["it forked within", [0, 9], LIVING, 4, undefined, 4],
    ["it forked before", [6, 9], LIVING, 4, undefined, 6],
    ["it forked later", [0, 3], LIVING, 4, undefined, null],
    ["nothing of it counts", [2, 9], removed([]), undefined, undefined, 2],
    ["it was cut within", [0, 9], at5, undefined, cutId, 6],
    ["it was cut at the end of the range", [0, 5], at5, undefined, cutId, null],
    ["the range has another event at the cut", [0, 9], at5, undefined, idOf(bytesOf("other")), 5],
    ["the range does not reach the cut, so nothing shows that it was before", [1, 4], at5, undefined, undefined, 1],
    ["the range begins after the cut", [7, 9], at5, undefined, undefined, 7],
    ["it was cut, and forked before", [0, 9], at5, 3, cutId, 3],
  ];
  for (const [what, [from, to], membership, forkedAt, idAtCut, stop] of cases)
    expect([what, stopOf({ log, opening, from, to }, { membership, forkedAt, idAtCut })]).toEqual([what, stop]);
  const here = { ...opening, chain: "here" as const };
  expect(
    stopOf({ log, opening: here, from: 0, to: 9 }, { membership: removed([]), forkedAt: 0, idAtCut: undefined }),
  ).toBe(null);
});

test("of a device that has written two histories only logs that the roster allows count, up to the parting (R2) [export-cut]", () => {
  const fork = makeChain("ben", 4, { branch: "other", forkAt: 2 });
  const proof = {
    log,
    opening,
    a: chain.headAt(2),
    b: fork.headAt(2),
    headers: [],
    parting: { a: [chain.events[2]!.headerBytes], b: [fork.events[2]!.headerBytes] },
  };
  checkForkProof(proof);
  const other = { log: idOf<"log">(bytesOf("another log")), opening };
  const strangers = { log: other.log, opening: makeChain("li", 1).opening };
  const none: Membership = { allowedLogs: new Set() } as unknown as Membership;
  const allowed = { allowedLogs: new Set([allowedLog(opening.device, other.log)]) } as unknown as Membership;
  expect(forkedAt({ log, opening }, [proof], none)).toBe(2);
  expect(forkedAt(other, [proof], none)).toBe(0);
  expect(forkedAt(other, [proof], allowed)).toBe(undefined);
  expect(forkedAt(strangers, [proof], none)).toBe(undefined);
  expect(forkedAt(other, [], none)).toBe(undefined);
});

function codeOf(check: () => unknown): string {
  try {
    check();
    return "none";
  } catch (error) {
    return (error as KinError).code;
  }
}

test("frames are what they were, and no others are read", () => {
  const frames = [
    { type: "export" as const, mesh, all: true, here: false },
    { type: "open" as const, opened: [{ id: cutId, how: "key" as const, bytes: bytesOf("key") }] },
    { type: "log" as const, log, opening, from: 0, to: 3, stop: 2 },
    { type: "run" as const, events: chain.events, head: chain.headAt(3) },
  ];
  for (const frame of frames)
    expect(parseExportFrame(encodeExportFrame(frame), frame.type === "export" ? null : mesh)).toEqual(frame);

  const good = decode(encodeExportFrame(frames[2]!)) as { [field: string]: Value };
  const wrong: [string, { [field: string]: Value | undefined }, string][] = [
    ["an unknown type", { ...good, t: "note" }, "BAD_REQUEST"],
    ["an unknown field", { ...good, x: 1 }, "BAD_REQUEST"],
    ["a range that ends before it begins", { ...good, from: 4 }, "BAD_REQUEST"],
    ["a stop outside of the range", { ...good, stop: 4 }, "BAD_REQUEST"],
    ["another chain", { ...good, o: [idBytes(opening.device), opening.incarnation, "there"] }, "BAD_REQUEST"],
    ["no records", { t: "records", r: [] }, "BAD_REQUEST"],
    ["no agent keys", { t: "keys", k: [] }, "BAD_REQUEST"],
    ["a key of 31 bytes", { t: "open", e: [[bytesOf("e"), "key", new Uint8Array(31)]] }, "BAD_REQUEST"],
    ["opened in another way", { t: "open", e: [[bytesOf("e"), "guessed", bytesOf("k")]] }, "BAD_REQUEST"],
    ["a second beginning", { t: "export", v: 1, mesh: idBytes(mesh), all: true, here: false }, "BAD_REQUEST"],
  ];
  for (const [what, value, code] of wrong)
    expect([what, codeOf(() => parseExportFrame(encode(value), mesh))]).toEqual([what, code]);
  expect(codeOf(() => parseExportFrame(encode(good), null))).toBe("BAD_REQUEST");
  const later = encode({ t: "export", v: 2, mesh: idBytes(mesh), all: true, here: false });
  expect(codeOf(() => parseExportFrame(later, null))).toBe("UNSUPPORTED_VERSION");
  const yes = encode({ t: "export", v: 1, mesh: idBytes(mesh), all: 1, here: false });
  expect(codeOf(() => parseExportFrame(yes, null))).toBe("BAD_REQUEST");
});

test("the end is its device's word, and no other key's", () => {
  const key = signingKeyFromSeed(bytesOf("ben"));
  const end = {
    mesh,
    person: idOf<"person">(bytesOf("p")),
    device: idOf<"device">(key.publicKey),
    at: 5,
    file: bytesOf("f"),
  };
  const sealed = sealExport(key, end, new Uint8Array(16));
  expect(openExportEnd(sealed)).toEqual(end);
  const foreign = sealExport(signingKeyFromSeed(bytesOf("li")), end, new Uint8Array(16));
  expect(codeOf(() => openExportEnd(foreign))).toBe("BAD_SIGNATURE");
  const later = encode({ ...(decode(sealed.bytes) as { [field: string]: Value }), v: 2 });
  expect(codeOf(() => openExportEnd({ ...sealed, bytes: later }))).toBe("UNSUPPORTED_VERSION");
});

import * as fc from "fast-check";
import { expect, test } from "vitest";
import { sealingKeyFromSeed } from "#crypto";
import { concat, decode, encode, type Value } from "../../protocols/bytes.ts";
import {
  decodeHeader,
  encodeHeader,
  eventId,
  eventValue,
  isBodyOf,
  logIdOf,
  logOpeningValue,
  makeEvent,
  parseEvent,
  parseLogOpening,
  parseSignedHead,
  signedHeadValue,
  signHead,
  unsealedParts,
  unsealedValue,
  verifyHead,
  verifyRun,
  type EventHeader,
  type StoredEvent,
} from "../../protocols/events.ts";
import { openBody, sealBody, type BodyKeys, type BodyPlan } from "../../protocols/event-body.ts";
import { idOf, type DeviceId, type EpochId } from "../../protocols/ids.ts";
import { MAX_DEPS, MAX_EVENT_BODY_BYTES, MAX_EVENTS_PER_HEAD } from "../../protocols/limits.ts";
import { bytesOf, deviceOf, epoch, epochKey, makeChain, mesh, seededRandom } from "./chains.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const id = <Kind extends string>() => bytes(32).map((raw) => idOf<Kind>(raw));
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.maxSafeInteger(),
    fc.string({ unit: "binary" }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array(),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.stringMatching(/^[a-z]{1,8}$/), tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
})).value;

const header: fc.Arbitrary<EventHeader> = fc
  .record({
    log: id<"log">(),
    seq: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    prev: id<"event">(),
    deps: fc.uniqueArray(id<"event">(), { maxLength: 5 }).map((deps) => deps.toSorted()),
    hlc: bytes(8),
    kind: fc.stringMatching(/^[a-z][a-z0-9-]{0,31}$/).filter((kind) => kind !== "log-opened"),
    audience: fc.constantFrom("mesh" as const, "direct" as const, "here" as const),
    bodyHash: bytes(32),
  })
  .filter(({ prev, deps }) => !deps.includes(prev));

const ana = makeChain("ana", 6);
const author = ana.opening.device;

// ── Headers ──

test("a header decodes to what was encoded, and its id is the hash of its bytes", () => {
  fc.assert(
    fc.property(header, (one) => {
      expect(decodeHeader(encodeHeader(one))).toEqual(one);
      expect(eventId(encodeHeader(one))).toMatch(/^[0-9a-f]{64}$/);
      // Made of the part that a body is sealed to, and that again of it.
      expect(encodeHeader(one)).toEqual(encode({ ...unsealedValue(one), bodyHash: one.bodyHash }));
      expect(concat(...unsealedParts(encodeHeader(one)))).toEqual(encode(unsealedValue(one)));
    }),
  );
});

test("any header that decodes encodes to the same bytes again: one header, one id", () => {
  const good = encodeHeader(ana.events[3]!.header);
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, byte) => {
      const changed = good.slice();
      changed[at] = byte;
      try {
        expect(encodeHeader(decodeHeader(changed))).toEqual(changed);
      } catch (error) {
        expect(["BAD_REQUEST", "TOO_LARGE", "UNSUPPORTED_VERSION"]).toContain((error as { code: string }).code);
      }
    }),
    { numRuns: 2000 },
  );
});

const someId = (n: number) => bytesOf(`dep ${n}`);
const sortedIds = (count: number) =>
  Array.from({ length: count }, (_, n) => someId(n)).toSorted((a, b) => (idOf(a) < idOf(b) ? -1 : 1));
const BAD_HEADERS: [name: string, change: Record<string, unknown>, code?: string][] = [
  ["A21 unknown version", { v: 2 }, "UNSUPPORTED_VERSION"],
  ["no version", { v: undefined }, "UNSUPPORTED_VERSION"],
  ["A22 unknown field", { extra: 1 }],
  ["short log", { log: new Uint8Array(31) }],
  ["negative seq", { seq: -1 }],
  ["text seq", { seq: "1" }],
  ["seq 0 with prev", { seq: 0, kind: "log-opened" }],
  ["no prev past seq 0", { prev: null }],
  ["missing prev", { prev: undefined }],
  ["log-opened past seq 0", { kind: "log-opened" }],
  ["C7 10k deps", { deps: sortedIds(4000) }, "TOO_LARGE"],
  ["65 deps", { deps: sortedIds(MAX_DEPS + 1) }, "TOO_LARGE"],
  ["unsorted deps", { deps: sortedIds(3).toReversed() }],
  ["a dep twice", { deps: [someId(1), someId(1)] }],
  ["deps not a list", { deps: 3 }],
  ["prev among deps", { deps: [Buffer.from(ana.events[2]!.id, "hex")] }],
  ["hlc of 7 bytes", { hlc: new Uint8Array(7) }],
  ["kind that is no name", { kind: "Note!" }],
  ["kind that is no text", { kind: 1 }],
  ["unknown audience", { audience: "all" }],
  ["bodyHash of 31 bytes", { bodyHash: new Uint8Array(31) }],
  ["missing bodyHash", { bodyHash: undefined }],
];
test.each(BAD_HEADERS)("a header is refused: %s", (_, change, code = "BAD_REQUEST") => {
  const good = decode(ana.events[3]!.headerBytes) as Record<string, unknown>;
  expect(() => decodeHeader(encode(good))).not.toThrow();
  expect(() => decodeHeader(encode({ ...good, ...change }))).toThrow(expect.objectContaining({ code }));
});

test("makeEvent sorts deps, and refuses too many and a body that is too large", () => {
  const { header } = ana.events[3]!;
  const deps = [3, 1, 2, 1].map((n) => idOf<"event">(someId(n)));
  expect(makeEvent({ ...header, deps }, new Uint8Array(1)).header.deps).toEqual([...new Set(deps)].toSorted());
  const many = sortedIds(MAX_DEPS + 1).map((dep) => idOf<"event">(dep));
  expect(() => makeEvent({ ...header, deps: many }, new Uint8Array(1))).toThrow(/65 deps/);
  expect(makeEvent({ ...header, deps: many.slice(1) }, new Uint8Array(1)).header.deps).toHaveLength(MAX_DEPS);
  expect(() => makeEvent(header, new Uint8Array(MAX_EVENT_BODY_BYTES + 1))).toThrow(/as a blob/);
});

// ── Wire ──

test("events, heads and openings survive the wire", () => {
  for (const event of [ana.events[0]!, { ...ana.events[1]!, body: null }])
    expect(parseEvent(decode(encode(eventValue(event))))).toEqual(event);
  expect(parseSignedHead(decode(encode(signedHeadValue(ana.headAt(2)))))).toEqual(ana.headAt(2));
  expect(parseLogOpening(decode(encode(logOpeningValue(ana.opening))))).toEqual(ana.opening);
});

test("what is not an event, a head or an opening is refused", () => {
  const { headerBytes, body } = ana.events[1]!;
  const head = ana.headAt(2);
  const headMap = decode(head.bytes) as Record<string, unknown>;
  const opening = logOpeningValue(ana.opening);
  const refused = expect.objectContaining({ code: "BAD_REQUEST" });
  for (const wrong of [null, {}, [headerBytes], [headerBytes, body, 1], [headerBytes, "x"], [headerBytes, undefined]])
    expect(() => parseEvent(wrong)).toThrow(refused);
  for (const wrong of [
    null,
    [],
    [head.bytes],
    [head.bytes, new Uint8Array(63)],
    [encode({ ...headMap, v: 1 }), head.sig],
    [encode({ ...headMap, seq: -1 }), head.sig],
    [encode({ ...headMap, hlc: new Uint8Array(9) }), head.sig],
  ])
    expect(() => parseSignedHead(wrong)).toThrow(refused);
  for (const wrong of [
    null,
    { ...opening, chain: "all" },
    { ...opening, incarnation: new Uint8Array(15) },
    { ...opening, device: 1 },
    { ...opening, more: 1 },
  ])
    expect(() => parseLogOpening(wrong)).toThrow(refused);
});

test("a log's id depends on mesh, device, incarnation and chain", () => {
  const other = { ...ana.opening, incarnation: bytesOf("again").subarray(0, 16) };
  const ids = [
    logIdOf(mesh, ana.opening),
    logIdOf(idOf(bytesOf("other mesh")), ana.opening),
    logIdOf(mesh, other),
    logIdOf(mesh, { ...ana.opening, chain: "here" }),
    logIdOf(mesh, { ...ana.opening, device: deviceOf("ben").id }),
  ];
  expect(new Set(ids).size).toBe(5);
});

// ── Heads and runs ──

test("F4: a head is signed by its device's key, under its own domain", () => {
  const head = ana.headAt(3);
  expect(verifyHead(ana.key.publicKey, head)).toBe(true);
  expect(verifyHead(deviceOf("ben").key.publicKey, head)).toBe(false);
  expect(verifyHead(ana.key.publicKey, { ...head, sig: ana.key.sign(head.bytes) })).toBe(false);
  expect(verifyHead(ana.key.publicKey, { ...head, head: { ...head.head, seq: 4 } })).toBe(false);
});

function run(events: readonly StoredEvent[], previous = null as Parameters<typeof verifyRun>[1], head = ana.headAt(5)) {
  return () => verifyRun(ana, previous, events, head);
}
const tipAt = (seq: number) => ({ seq, id: ana.events[seq]!.id, hlc: ana.events[seq]!.header.hlc });

test("F4: a run is proved by prev links and the one signature of its head, from wherever we stand", () => {
  expect(run(ana.events)).not.toThrow();
  expect(run(ana.events.slice(3), tipAt(2))).not.toThrow();
  expect(run(ana.events.map((event) => ({ ...event, body: null })))).not.toThrow();
  const here = makeChain("ana", 3, { chain: "here" });
  expect(() => verifyRun(here, null, here.events, here.headAt(2))).not.toThrow();
});

test("A1: a run with any byte of a header, body or head changed is refused", () => {
  const parts = ana.events.slice(0, 3).flatMap((event, i) => [
    { i, part: 0 as const, length: event.headerBytes.length },
    { i, part: 1 as const, length: event.body!.length },
  ]);
  const flipped = (raw: Uint8Array, at: number, by: number) => raw.map((byte, i) => (i === at ? byte ^ by : byte));
  const received = (
    change: (wire: [Uint8Array, Uint8Array | null], i: number) => void,
    head = signedHeadValue(ana.headAt(2)),
  ) =>
    verifyRun(
      ana,
      null,
      ana.events.slice(0, 3).map((event, i) => {
        const wire = eventValue(event);
        change(wire, i);
        return parseEvent(wire);
      }),
      parseSignedHead(head),
    );
  expect(() => received(() => undefined)).not.toThrow();
  for (const { i, part, length } of parts)
    for (let at = 0; at < length; at++)
      expect(() =>
        received((wire, index) => {
          if (index === i) wire[part] = flipped(wire[part]!, at, 1 << (at % 8));
        }),
      ).toThrow();
  const [head, sig] = signedHeadValue(ana.headAt(2));
  for (let at = 0; at < head.length; at++)
    expect(() => received(() => undefined, [flipped(head, at, 1 << (at % 8)), sig])).toThrow();
  for (let at = 0; at < sig.length; at++)
    expect(() => received(() => undefined, [head, flipped(sig, at, 1 << (at % 8))])).toThrow();
});

test("C4 C5 C14: a run with a gap, a foreign event, another prev, a stamp that does not rise or a wrong end is refused", () => {
  const ben = makeChain("ben", 6);
  const other = makeChain("ana", 6, { branch: "'", forkAt: 3 });
  const at3 = ana.events[3]!.header;
  const stale = makeEvent({ ...at3, hlc: ana.events[2]!.header.hlc }, new Uint8Array(1));
  const here = makeEvent({ ...at3, audience: "here" }, new Uint8Array(1));
  const headOf = (event: StoredEvent) =>
    signHead(ana.key, { log: ana.log, seq: 3, id: event.id, hlc: event.header.hlc });
  const cases: [RegExp, () => void][] = [
    [/where 4 was expected/, run([...ana.events.slice(0, 4), ana.events[5]!])],
    [/where 3 was expected/, run(ana.events.slice(4), tipAt(2))],
    [/where 0 was expected/, run(ana.events.slice(1))],
    [/where 4 was expected/, run(ana.events.slice(3), tipAt(3))],
    [/in a run of log/, run([...ana.events.slice(0, 5), ben.events[5]!])],
    [/follows/, run(other.events.slice(4), tipAt(3), other.headAt(5))],
    [/not stamped after/, run([stale], tipAt(2), headOf(stale))],
    [/does not belong to a mesh chain/, run([here], tipAt(2), headOf(here))],
    [/ends at event 4/, run(ana.events.slice(0, 5))],
    [/ends at event 5/, run(ana.events, null, other.headAt(5))],
    [/ends at event 5/, run(ana.events, null, ben.headAt(5))],
    [/without events/, run([])],
    [/not signed by/, run(ana.events, null, signHead(ben.key, ana.headAt(5).head))],
  ];
  for (const [why, attempt] of cases) expect(attempt).toThrow(why);
});

test("a log-opened event that says another opening is refused", () => {
  const first = ana.events[0]!.header;
  const value = { ...logOpeningValue(ana.opening), incarnation: new Uint8Array(16) };
  const body = encode({ n: new Uint8Array(16), c: value });
  const liar = makeEvent(first, body);
  const head = signHead(ana.key, { log: ana.log, seq: 0, id: liar.id, hlc: first.hlc });
  expect(run([liar], null, head)).toThrow(/another opening/);
});

test("a run longer than one head may cover is refused", () => {
  const long = Array.from({ length: MAX_EVENTS_PER_HEAD + 1 }, () => ana.events[0]!);
  expect(run(long)).toThrow(/1025 events/);
});

// ── Bodies ──

const context = { mesh, author };
const benDevice = deviceOf("ben").id;
const carlDevice = deviceOf("carl").id;
const benSealing = sealingKeyFromSeed(bytesOf("ben seals"));
const carlSealing = sealingKeyFromSeed(bytesOf("carl seals"));

function keysOf(device: DeviceId, sealing: typeof benSealing | null, epochs: EpochId[] = []): BodyKeys {
  return {
    device,
    epochKey: (asked) => (epochs.includes(asked) ? epochKey : undefined),
    sealingKeys: () => (sealing === null ? [] : [sealing]),
  };
}
const benKeys = keysOf(benDevice, benSealing, [epoch]);
const toBoth = [
  { device: benDevice, sealingKey: benSealing.publicKey },
  { device: carlDevice, sealingKey: carlSealing.publicKey },
];

async function sealed(audience: EventHeader["audience"], plan: BodyPlan, kind = "note", seed = "body") {
  const header = { ...ana.events[3]!.header, audience, kind };
  return makeEvent(header, await sealBody(context, header, plan, seededRandom(seed)));
}
const meshPlan = (value: Value): BodyPlan => ({ form: "mesh", epoch, key: epochKey, value });
const directPlan = (value: Value): BodyPlan => ({ form: "direct", recipients: toBoth, value });

test("a body opens to what was sealed, whichever way", async () => {
  await fc.assert(
    fc.asyncProperty(value, async (said) => {
      const events = [
        await sealed("mesh", meshPlan(said)),
        await sealed("direct", directPlan(said)),
        await sealed("here", { form: "clear", value: said }),
        await sealed("mesh", { form: "clear", value: said }, "roster"),
        await sealed("mesh", { form: "clear", value: said }, "card"),
        await sealed("mesh", meshPlan(said), "card"),
      ];
      for (const { header, body } of events)
        expect(await openBody(context, header, body!, benKeys)).toEqual({ state: "open", value: said });
    }),
    { numRuns: 30 },
  );
});

test("each recipient of a direct body opens it, an older sealing key too", async () => {
  const { header, body } = await sealed("direct", directPlan("hello"));
  expect(await openBody(context, header, body!, keysOf(carlDevice, carlSealing))).toMatchObject({ state: "open" });
  const rotated = { ...benKeys, sealingKeys: () => [carlSealing, benSealing] };
  expect(await openBody(context, header, body!, rotated)).toMatchObject({ state: "open" });
});

test("what is not for us is locked, not refused, and says what is lacking", async () => {
  const shared = await sealed("mesh", meshPlan("x"));
  expect(await openBody(context, shared.header, shared.body!, keysOf(benDevice, benSealing))).toEqual({
    state: "locked",
    why: "epoch",
    epoch,
  });
  const direct = await sealed("direct", directPlan("x"));
  const dora = keysOf(deviceOf("dora").id, sealingKeyFromSeed(bytesOf("dora seals")), [epoch]);
  expect(await openBody(context, direct.header, direct.body!, dora)).toEqual({
    state: "locked",
    why: "recipients",
    recipients: [benDevice, carlDevice].toSorted(),
  });
});

test("what is sealed does not show what it says", async () => {
  const text = "the secret of the mesh";
  for (const event of [await sealed("mesh", meshPlan(text)), await sealed("direct", directPlan(text))])
    expect(Buffer.from(event.body!).includes(text)).toBe(false);
});

test("two bodies that say the same differ: nobody can guess a body from its hash", async () => {
  for (const form of ["clear", "mesh"] as const) {
    const plan: BodyPlan = form === "clear" ? { form, value: "yes" } : meshPlan("yes");
    const kind = form === "clear" ? "roster" : "note";
    const [a, b] = [await sealed("mesh", plan, kind, "one"), await sealed("mesh", plan, kind, "two")];
    expect(a.header.bodyHash).not.toEqual(b.header.bodyHash);
  }
});

/** A header that an attacker makes fit to copied body bytes. */
function forged(event: StoredEvent, change: Partial<EventHeader>): EventHeader {
  return { ...event.header, ...change };
}

test("R7: a direct body that is copied into another author's event is refused", async () => {
  const { header, body } = await sealed("direct", directPlan("for you only"));
  const thief = makeChain("mallory", 4);
  const stolen = makeEvent({ ...thief.events[3]!.header, audience: "direct" }, body!);
  const theirs = { mesh, author: thief.opening.device };
  expect(await openBody(theirs, stolen.header, stolen.body!, benKeys)).toMatchObject({ state: "refused" });
  // the same header under another author's name: the HPKE info alone refuses it
  expect(await openBody(theirs, header, body!, benKeys)).toMatchObject({ state: "refused" });
});

test("F5 R6 R7: a body opens in no other mesh and under no other header", async () => {
  const changes: Partial<EventHeader>[] = [
    { log: idOf(bytesOf("other log")) },
    { seq: 4 },
    { prev: ana.events[1]!.id },
    { deps: [ana.events[0]!.id] },
    { hlc: new Uint8Array(8) },
    { kind: "other" },
  ];
  for (const event of [await sealed("mesh", meshPlan("x")), await sealed("direct", directPlan("x"))]) {
    for (const change of changes)
      expect(
        await openBody(context, forged(event, change), event.body!, benKeys),
        Object.keys(change)[0],
      ).toMatchObject({
        state: "refused",
      });
    const otherMesh = { mesh: idOf<"mesh">(bytesOf("other mesh")), author };
    expect(await openBody(otherMesh, event.header, event.body!, benKeys)).toMatchObject({ state: "refused" });
  }
});

test("R6: a mesh body opens under no other epoch and with no other key", async () => {
  const { header, body } = await sealed("mesh", meshPlan("x"));
  const other: EpochId = idOf(bytesOf("other epoch"));
  const parsed = decode(body!) as Record<string, Value>;
  const renamed = makeEvent(header, encode({ ...parsed, e: bytesOf("other epoch") }));
  expect(await openBody(context, renamed.header, renamed.body!, keysOf(benDevice, null, [other]))).toMatchObject({
    state: "refused",
  });
  const wrongKey = { ...benKeys, epochKey: () => bytesOf("another key") };
  expect(await openBody(context, header, body!, wrongKey)).toMatchObject({ state: "refused" });
});

test("R7: another recipient set is refused, even by the same author", async () => {
  const { header, body } = await sealed("direct", directPlan("x"));
  const parsed = decode(body!) as { r: [Uint8Array, Uint8Array, Uint8Array][]; n: Uint8Array; x: Uint8Array };
  const mine = parsed.r.filter(([device]) => idOf(device) === benDevice);
  const fewer = makeEvent(header, encode({ ...parsed, r: mine }));
  expect(await openBody(context, fewer.header, fewer.body!, benKeys)).toMatchObject({ state: "refused" });
});

test("A1 A24: every changed byte of a body is refused by its hash", async () => {
  for (const event of [await sealed("mesh", meshPlan("x")), await sealed("direct", directPlan("x"))])
    for (let at = 0; at < event.body!.length; at++) {
      const changed = event.body!.slice();
      changed[at]! ^= 1 << (at % 8);
      expect(isBodyOf(event.header, changed)).toBe(false);
      expect(await openBody(context, event.header, changed, benKeys)).toMatchObject({ state: "refused" });
    }
});

test("A1: with a hash that fits, what is sealed to us still refuses every change, and never says something else", async () => {
  // What only the hash covers: the last 4 salt bytes, and the enc and wrapped key of the other recipient.
  const uncovered = { mesh: 4, direct: 4 + 32 + 48 };
  for (const [audience, plan] of [["mesh", meshPlan("x")] as const, ["direct", directPlan("x")] as const]) {
    const event = await sealed(audience, plan);
    let opened = 0;
    for (let at = 0; at < event.body!.length; at++) {
      const changed = event.body!.slice();
      changed[at]! ^= 1 << (at % 8);
      const resigned = makeEvent(event.header, changed);
      const outcome = await openBody(context, resigned.header, changed, benKeys);
      if (outcome.state === "open") {
        expect(outcome.value).toBe("x");
        opened++;
      }
    }
    expect(opened).toBe(uncovered[audience]);
  }
});

test("which kinds are clear is not the author's choice", async () => {
  const clear: BodyPlan = { form: "clear", value: 1 };
  const cases: [audience: EventHeader["audience"], kind: string, plan: BodyPlan][] = [
    ["mesh", "note", clear],
    ["mesh", "invocation-asked", clear],
    ["mesh", "roster", meshPlan(1)],
    ["mesh", "agent-key", meshPlan(1)],
    ["mesh", "note", directPlan(1)],
    ["direct", "note", clear],
    ["direct", "note", meshPlan(1)],
    ["direct", "roster", directPlan(1)],
    ["here", "note", meshPlan(1)],
    ["here", "note", directPlan(1)],
  ];
  for (const [audience, kind, plan] of cases) {
    await expect(sealed(audience, plan, kind), `${audience} ${kind} ${plan.form}`).rejects.toMatchObject({
      code: "BAD_REQUEST",
    });
    // …and a peer that does it nevertheless is refused
    const fitting = { clear: "roster", mesh: "note", direct: "note" }[plan.form];
    const made = await sealed(plan.form === "direct" ? "direct" : "mesh", plan, fitting);
    const smuggled = makeEvent({ ...made.header, audience, kind }, made.body!);
    expect(await openBody(context, smuggled.header, smuggled.body!, benKeys)).toMatchObject({ state: "refused" });
  }
});

test("bodies of another shape are refused", async () => {
  const n = new Uint8Array(16);
  const recipient = [bytesOf("d"), new Uint8Array(32), new Uint8Array(48)];
  const wrong: unknown[] = [
    1,
    [],
    {},
    { c: 1 },
    { n },
    { n: new Uint8Array(15), c: 1 },
    { n, c: 1, x: n },
    { n, e: new Uint8Array(31), x: n },
    { n, e: bytesOf("e"), x: "text" },
    { n, r: [], x: n },
    { n, r: [recipient.slice(0, 2)], x: n },
    { n, r: [[bytesOf("d"), new Uint8Array(31), new Uint8Array(48)]], x: n },
    { n, r: [[bytesOf("d"), new Uint8Array(32), new Uint8Array(47)]], x: n },
    { n, r: [recipient, recipient], x: n },
    { n, r: sortedIds(257).map((device) => [device, recipient[1], recipient[2]]), x: n },
  ];
  for (const shape of wrong) {
    const event = makeEvent({ ...ana.events[3]!.header, audience: "direct" }, encode(shape));
    expect(await openBody(context, event.header, event.body!, benKeys)).toMatchObject({ state: "refused" });
  }
  const garbage = makeEvent(ana.events[3]!.header, new Uint8Array([0xff, 1, 2]));
  expect(await openBody(context, garbage.header, garbage.body!, benKeys)).toMatchObject({ state: "refused" });
});

test("a direct body for nobody, for too many or for one device twice is not made", async () => {
  const many = sortedIds(257).map((raw) => ({ device: idOf<"device">(raw), sealingKey: benSealing.publicKey }));
  for (const recipients of [[], many, [toBoth[0]!, toBoth[0]!]])
    await expect(sealed("direct", { form: "direct", recipients, value: 1 })).rejects.toMatchObject({
      code: "BAD_REQUEST",
    });
});

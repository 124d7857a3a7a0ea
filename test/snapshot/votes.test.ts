import fc from "fast-check";
import { expect, test } from "vitest";
import { idOf, type DeviceId, type PersonId } from "../../protocols/ids.ts";
import type { Membership, Role } from "../../protocols/membership.ts";
import { dormantValue, proposalValue, signedValue, snapshotOf, type SignedHow } from "../../protocols/snapshot.ts";
import { encodeStamp } from "../../sync/clock.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import { counts, createVotes, personsWhoRecomputed, waitingFor } from "../../sync/snapshot-votes.ts";
import { bytesOf, mesh } from "../sync/chains.ts";

const log = idOf<"log">(bytesOf("log"));
const deviceOf = (n: number): DeviceId => idOf(bytesOf(`device ${n}`));
const personOf = (n: number): PersonId => idOf(bytesOf(`person ${n}`));
/** Reaches to event `n` of one log: a higher one reaches further. */
const snapshotAt = (n: number) =>
  snapshotOf(mesh, {
    at: new Map([[log, { seq: n, id: idOf<"event">(bytesOf(`event ${n}`)) }]]),
    views: [],
    state: bytesOf(`state ${n}`),
    bytes: 1,
  });

/** Each person has one device of his number. */
function membershipOf(roles: { [person: number]: Role }): Membership {
  const members = Object.entries(roles).map(([n, role]) => ({ person: personOf(Number(n)), role, n: Number(n) }));
  return {
    members: new Map(members.map((member) => [member.person, member])),
    devices: new Map(members.map((member) => [deviceOf(member.n), { member }])),
  } as unknown as Membership;
}

function eventOf(by: number, at: number, kind: string, value: ReadableEvent["value"]): ReadableEvent {
  const id = idOf<"event">(bytesOf(`${by} ${at} ${kind}`));
  const hlc = encodeStamp({ ms: 1_700_000_000_000 + at, counter: 0 });
  return { id, device: deviceOf(by), kind, audience: "mesh", at, hlc, value } as unknown as ReadableEvent;
}
const proposed = (by: number, at: number, n: number) =>
  eventOf(by, at, "snapshot-proposed", proposalValue(snapshotAt(n)));
const signed = (by: number, at: number, n: number, how: SignedHow = "recomputed") =>
  eventOf(by, at, "snapshot-signed", signedValue(snapshotAt(n).id, how));
const dormant = (by: number, at: number, of: number, on: boolean) =>
  eventOf(by, at, "dormant", dormantValue(personOf(of), on));

function votesOf(events: readonly ReadableEvent[]) {
  const votes = createVotes(mesh);
  for (const event of events) votes.take(event);
  return votes;
}

const anyEvent = fc
  .record({ by: fc.nat({ max: 3 }), at: fc.nat({ max: 200 }), n: fc.nat({ max: 12 }), what: fc.nat({ max: 3 }) })
  .map(({ by, at, n, what }) =>
    what === 0
      ? proposed(by, at, n)
      : what === 1
        ? dormant(by, at, n % 4, at % 2 === 0)
        : signed(by, at, n, what === 2 ? "recomputed" : "adopted"),
  );

test("what was said folds to the same in any order, however much it is, and nonsense changes nothing", () => {
  const membership = membershipOf({ 0: "admin", 1: "admin", 2: "member", 3: "member" });
  const nonsense = [
    eventOf(1, 5, "snapshot-proposed", { v: 1 }),
    eventOf(1, 6, "dormant", null),
    eventOf(1, 7, "note", "x"),
  ];
  fc.assert(
    fc.property(
      fc
        .uniqueArray(anyEvent, { selector: ({ id }) => id, maxLength: 120 })
        .chain((events) => fc.tuple(fc.constant(events), fc.shuffledSubarray(events, { minLength: events.length }))),
      ([events, shuffled]) => {
        const [one, other] = [votesOf(events), votesOf([...nonsense, ...shuffled])];
        expect(other.proposals()).toEqual(one.proposals());
        expect([...other.dormant(membership)].toSorted()).toEqual([...one.dormant(membership)].toSorted());
        for (let n = 0; n <= 12; n++) {
          const { id } = snapshotAt(n);
          expect(new Map(other.signers(id))).toEqual(new Map(one.signers(id)));
          expect(waitingFor(other, snapshotAt(n), membership)).toEqual(waitingFor(one, snapshotAt(n), membership));
        }
      },
    ),
  );
});

test("two others, or the only other, must have recomputed it; who is removed has signed nothing, adopting is no signature [R16]", () => {
  const four = membershipOf({ 0: "admin", 1: "member", 2: "member", 3: "member" });
  const votes = votesOf([proposed(1, 1, 5), signed(2, 2, 5), signed(3, 3, 5, "adopted")]);
  const signers = votes.signers(snapshotAt(5).id);
  expect([...signers.values()].toSorted()).toEqual(["adopted", "recomputed", "recomputed"]);
  const persons = personsWhoRecomputed(signers, four);
  expect(persons).toEqual(new Set([personOf(1), personOf(2)]));
  expect([0, 1, 2, 3].map((n) => counts(persons, four, personOf(n)))).toEqual([true, false, false, true]);
  expect(counts(persons, four, null)).toBe(true);
  const three = membershipOf({ 0: "admin", 2: "member", 3: "member" });
  expect(counts(personsWhoRecomputed(signers, three), three, personOf(0))).toBe(false);
  const two = membershipOf({ 0: "admin", 2: "member" });
  expect(counts(personsWhoRecomputed(signers, two), two, personOf(0))).toBe(true);
  expect(counts(personsWhoRecomputed(signers, two), two, null)).toBe(false);
  const alone = membershipOf({ 0: "admin" });
  expect(counts(new Set([personOf(0)]), alone, personOf(0))).toBe(false);
  expect(counts(new Set([personOf(0)]), alone, null)).toBe(true);
});

test("who has signed one that reaches further has this one; a dormant's word counts from who is an admin now, the last one [prune-acknowledged]", () => {
  const roles = { 0: "admin", 1: "admin", 2: "member", 3: "member" } as const;
  const membership = membershipOf(roles);
  const base = [proposed(0, 1, 5), signed(1, 2, 5), proposed(2, 3, 7), signed(3, 4, 4)];
  const waits = (events: readonly ReadableEvent[], of: Membership = membership) =>
    waitingFor(votesOf([...base, ...events]), snapshotAt(5), of);
  expect(waits([])).toEqual([deviceOf(3)]);
  expect(waits([dormant(2, 5, 3, true)])).toEqual([deviceOf(3)]);
  expect(waits([dormant(1, 5, 3, true)])).toEqual([]);
  expect(waits([dormant(1, 5, 3, true), dormant(0, 6, 3, false)])).toEqual([deviceOf(3)]);
  expect(waits([dormant(1, 7, 3, true), dormant(0, 6, 3, false)])).toEqual([]);
  expect(waits([dormant(1, 5, 3, true)], membershipOf({ ...roles, 1: "member" }))).toEqual([deviceOf(3)]);
  expect(waits([], membershipOf({ 0: "admin", 1: "admin", 2: "member" }))).toEqual([]);
});

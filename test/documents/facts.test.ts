/** Facts: the register by itself in every order, then over real replicas that were apart. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { factSetValue, MAX_FACT_KEY_BYTES, MAX_FACT_VALUE_BYTES, type FactScope } from "../../protocols/document.ts";
import { toHex } from "../../protocols/bytes.ts";
import { idOf, type PersonId } from "../../protocols/ids.ts";
import { removePerson } from "../../sync/acts.ts";
import { encodeStamp } from "../../sync/clock.ts";
import { createFacts, factsView, type FactEvent } from "../../sync/documents/facts.ts";
import { bytesOf } from "../sync/chains.ts";
import { admitMember, foundMesh, memberOf, syncOnce, testTime } from "../sync/mesh.ts";
import { hashOf, withDocuments } from "./scene.ts";

const ana = idOf<"person">(bytesOf("ana"));
const ben = idOf<"person">(bytesOf("ben"));

function setEvent(
  name: string,
  set: { key?: string; json?: string | null; replaces?: string[]; scope?: FactScope; person?: PersonId; ms?: number },
): FactEvent {
  const { key = "k", json = `"${name}"`, replaces = [], scope = null, person = ana, ms = 1000 } = set;
  const ids = replaces.map((one) => idOf<"event">(bytesOf(one)));
  return {
    id: idOf(bytesOf(name)),
    person,
    device: idOf(bytesOf("device")),
    hlc: encodeStamp({ ms, counter: 0 }),
    value: factSetValue({ scope, key, json, replaces: ids }),
  };
}

/** What people do to a few keys while they know only a part of what the others did: each set replaces what stands there. */
const histories = fc
  .array(
    fc.record({ writer: fc.nat(3), key: fc.constantFrom("a", "b", "c"), unset: fc.boolean(), learnsFrom: fc.nat(3) }),
    { minLength: 1, maxLength: 40 },
  )
  .map((steps) => {
    const events: FactEvent[] = [];
    const known = [0, 1, 2, 3].map(() => ({ facts: createFacts(), has: new Set<FactEvent>() }));
    steps.forEach(({ writer, key, unset, learnsFrom }, i) => {
      const mine = known[writer]!;
      for (const event of known[learnsFrom]!.has) {
        mine.facts.fold(event);
        mine.has.add(event);
      }
      const replaces = mine.facts.standing(null, key);
      const value = factSetValue({ scope: null, key, json: unset ? null : String(i), replaces });
      const event = { ...setEvent(`event ${i}`, { ms: 1000 + (i >> 2) }), value }; // some at the same time
      events.push(event);
      mine.facts.fold(event);
      mine.has.add(event);
    });
    return events;
  });

describe("the register", () => {
  test("facts-converge: any order, with repetitions and half of it from a saved state, gives the same bytes", () => {
    fc.assert(
      fc.property(
        histories.chain((events) =>
          fc.record({
            events: fc.constant(events),
            order: fc.shuffledSubarray([...events, ...events], { minLength: events.length * 2 }),
            cut: fc.nat(events.length),
          }),
        ),
        ({ events, order, cut }) => {
          const straight = createFacts();
          for (const event of events) straight.fold(event);
          const shuffled = createFacts();
          for (const event of order.slice(0, cut)) shuffled.fold(event);
          const resumed = createFacts();
          resumed.load(shuffled.rows());
          for (const event of order.slice(cut)) resumed.fold(event);
          expect(toHex(resumed.hash())).toBe(toHex(straight.hash()));
          for (const key of ["a", "b", "c"]) expect(resumed.get(null, key)).toEqual(straight.get(null, key));
          expect(resumed.sets(null, "a").toSorted()).toEqual(straight.sets(null, "a").toSorted());
        },
      ),
    );
  });

  test("R16: the rows of a part and the other events give the rows of all", () => {
    const rowsOf = (fold: { rows(): Iterable<Uint8Array> }) => [...fold.rows()].map(toHex).toSorted();
    fc.assert(
      fc.property(
        histories.chain((events) => fc.record({ events: fc.constant(events), cut: fc.nat(events.length) })),
        ({ events, cut }) => {
          const [all, part, rest] = [factsView.open(), factsView.open(), factsView.open()];
          for (const event of events) all.fold(event);
          for (const event of events.slice(0, cut)) part.fold(event);
          rest.load(part.rows());
          expect(rowsOf(rest)).toEqual(rowsOf(part));
          for (const event of events.slice(cut)) rest.fold(event);
          expect(rowsOf(rest)).toEqual(rowsOf(all));
        },
      ),
    );
  });

  test("facts-concurrent: what was set without knowledge of each other stands side by side; a set that saw both replaces both", () => {
    const facts = createFacts();
    facts.fold(setEvent("first", {}));
    facts.fold(setEvent("ben's", { replaces: ["first"], ms: 2000, person: ben }));
    facts.fold(setEvent("li's", { replaces: ["first"], ms: 3000 }));
    const values = facts.get(null, "k")!.values;
    expect(values.map(({ json, at }) => [json, at])).toEqual([
      ['"li\'s"', 3000],
      ['"ben\'s"', 2000],
    ]);
    facts.fold(setEvent("another's", { replaces: ["nobody's"], ms: 4000 }));
    expect(facts.get(null, "k")!.values).toHaveLength(3);
    const both = { ...setEvent("both", { ms: 5000 }) };
    both.value = factSetValue({ scope: null, key: "k", json: "1", replaces: facts.standing(null, "k") });
    facts.fold(both);
    expect(facts.get(null, "k")!.values.map(({ json }) => json)).toEqual(["1"]);
  });

  test("C25: an old replica that brings its sets back resurrects nothing that was unset or replaced", () => {
    const facts = createFacts();
    const first = setEvent("first", {});
    const unset = setEvent("unset", { json: null, replaces: ["first"], ms: 2000 });
    facts.fold(unset);
    facts.fold(first);
    expect(facts.get(null, "k")).toBeUndefined();
    facts.fold(first);
    expect(facts.get(null, "k")).toBeUndefined();
    expect(facts.list(null)).toEqual([]);
    expect(facts.sets(null, "k")).toHaveLength(2);
  });

  test("a set that is said again takes the place of its first saying, also where that was in a snapshot [snapshot-again]", () => {
    const begun = createFacts();
    begun.fold(setEvent("first", { json: "1" }));
    const rows = [...begun.rows()];
    const again = { ...setEvent("again", { json: "1" }), insteadOf: [idOf<"event">(bytesOf("first"))] };
    const [withIt, without] = [createFacts(), createFacts()];
    withIt.load(rows);
    for (const facts of [withIt, without]) expect(facts.fold(again)).toBeNull();
    expect(withIt.get(null, "k")?.values.map(({ id }) => id)).toEqual([again.id]);
    expect(toHex(withIt.hash())).toBe(toHex(without.hash()));
    // Brought back by somebody, it stays replaced.
    withIt.fold(setEvent("first", { json: "1" }));
    expect(withIt.get(null, "k")?.values).toHaveLength(1);
  });

  test("a set names only values of its own key and scope", () => {
    const facts = createFacts();
    facts.fold(setEvent("one", { key: "a" }));
    facts.fold(setEvent("two", { key: "b", replaces: ["one"] }));
    facts.fold(setEvent("three", { key: "a", replaces: ["one"], scope: { person: ana, agent: "reviewer" } }));
    expect(facts.get(null, "a")!.values).toHaveLength(1);
  });

  test.each([
    ["another's agent", { ...setEvent("x", { scope: { person: ben, agent: "reviewer" } }) }, "DENIED"],
    ["no JSON", { ...setEvent("x", {}), value: { s: null, k: "k", v: "{", r: [] } }, "BAD_REQUEST"],
    ["a key with a space", { ...setEvent("x", {}), value: { s: null, k: "a b", v: "1", r: [] } }, "BAD_REQUEST"],
    [
      "a key with an invisible sign",
      { ...setEvent("x", {}), value: { s: null, k: "a\u200b", v: "1", r: [] } },
      "BAD_REQUEST",
    ],
    ["no key", { ...setEvent("x", {}), value: { s: null, k: "", v: "1", r: [] } }, "BAD_REQUEST"],
    ["a field too many", { ...setEvent("x", {}), value: { s: null, k: "k", v: "1", r: [], z: 1 } }, "BAD_REQUEST"],
    [
      "replaces twice",
      { ...setEvent("x", {}), value: { s: null, k: "k", v: "1", r: [bytesOf("a"), bytesOf("a")] } },
      "BAD_REQUEST",
    ],
    [
      "a long key",
      { ...setEvent("x", {}), value: { s: null, k: "k".repeat(MAX_FACT_KEY_BYTES + 1), v: "1", r: [] } },
      "TOO_LARGE",
    ],
    [
      "a long value",
      { ...setEvent("x", {}), value: { s: null, k: "k", v: `"${"x".repeat(MAX_FACT_VALUE_BYTES)}"`, r: [] } },
      "TOO_LARGE",
    ],
    [
      "a deep value",
      { ...setEvent("x", {}), value: { s: null, k: "k", v: "[".repeat(40) + "]".repeat(40), r: [] } },
      "TOO_LARGE",
    ],
  ] as [string, FactEvent, string][])("facts-refused: %s", (_, event, code) => {
    const facts = createFacts();
    facts.fold(setEvent("honest", {}));
    const before = toHex(facts.hash());
    expect(facts.fold(event)).toMatchObject({ code });
    expect(toHex(facts.hash())).toBe(before);
  });
});

describe("over replicas", () => {
  test("facts-offline: two who were apart see both values with who and when, then one; states are equal", async () => {
    const a = await withDocuments(await foundMesh("ana", testTime()));
    const b = await withDocuments(await admitMember(a.member, "ben"));
    await syncOnce(a.member, b.member);
    await a.documents.facts.set(null, "port", "1");
    await syncOnce(a.member, b.member);
    await b.documents.settled();
    await Promise.all([a.documents.facts.set(null, "port", "2"), b.documents.facts.set(null, "port", "3")]);
    await syncOnce(a.member, b.member);
    await Promise.all([a.documents.settled(), b.documents.settled()]);
    const both = b.documents.facts.get(null, "port")!.values.map(({ json }) => String(json));
    expect(both.toSorted()).toEqual(["2", "3"]);
    expect(await hashOf(a.documents)).toBe(await hashOf(b.documents));
    await b.documents.facts.set(null, "port", "4");
    await syncOnce(a.member, b.member);
    await a.documents.settled();
    expect(a.documents.facts.get(null, "port")!.values.map(({ json }) => json)).toEqual(["4"]);
    expect((await a.documents.facts.history(null, "port")).sets.map(({ json }) => json)[0]).toBe("4");
    expect(await hashOf(a.documents)).toBe(await hashOf(b.documents));
    const again = (await withDocuments(b.member)).documents;
    expect(await hashOf(again)).toBe(await hashOf(b.documents));
  });

  test("facts-removed: what a removed member set after his cut has no effect, and what it had replaced stands again", async () => {
    const a = await withDocuments(await foundMesh("ana", testTime()));
    const b = await withDocuments(await admitMember(a.member, "ben"));
    const l = await withDocuments(await admitMember(a.member, "li"));
    await syncOnce(a.member, b.member);
    await syncOnce(a.member, l.member);
    await a.documents.facts.set(null, "port", "1");
    await syncOnce(a.member, b.member);
    await b.documents.settled();
    await removePerson(a.member.replica, memberOf(a.member, "ben").person);
    await b.documents.facts.set(null, "port", "666"); // he does not know it yet
    await syncOnce(b.member, l.member);
    await l.documents.settled();
    expect(l.documents.facts.get(null, "port")!.values.map(({ json }) => json)).toEqual(["666"]);
    await syncOnce(a.member, l.member);
    await l.documents.settled();
    expect(l.documents.facts.get(null, "port")!.values.map(({ json }) => json)).toEqual(["1"]);
    expect(await hashOf(l.documents)).toBe(await hashOf(a.documents));
  });

  test("a refused set is shown with its reason and changes nothing", async () => {
    const a = await withDocuments(await foundMesh("ana", testTime()));
    await a.member.replica.append([
      { kind: "fact-set", audience: "mesh", value: { s: null, k: "a b", v: "1", r: [] } },
    ]);
    await a.documents.settled();
    expect(a.documents.refused()).toMatchObject([{ kind: "fact-set", code: "BAD_REQUEST" }]);
    await expect(a.documents.facts.set(null, "a b", "1")).rejects.toMatchObject({ code: "BAD_REQUEST" });
    expect(a.documents.facts.list(null)).toEqual([]);
  });
});

/** The one form of what Yjs keeps: the same bytes, whoever applied what in which order, and nothing else is taken for it. */
import fc from "fast-check";
import { expect, test } from "vitest";
import * as Y from "yjs";
import { concat, toHex, utf8Bytes } from "../../protocols/bytes.ts";
import { createNoteText, TEXT_SHAPE } from "../../sync/documents/note-text.ts";
import { canonicalState, checkState } from "../../sync/documents/yjs-state.ts";
import type { Shape } from "../../sync/documents/yjs.ts";

/** A text and entries, as no form has them yet and some may. */
const SHAPE: Shape = { name: "a page", content: "text and entries", hasEntries: true, refuses: () => null };
const CLIENTS = [2 ** 53 - 1, 5, 2 ** 40 + 1];
const PIECES = ["x", "word ", "😀", "a😁b", "\nline\n"];

const steps = (kinds: readonly ("insert" | "delete" | "set" | "unset" | "learn")[]) =>
  fc.array(
    fc.record({
      who: fc.nat(2),
      does: fc.constantFrom(...kinds),
      from: fc.nat(2),
      at: fc.nat(60),
      length: fc.integer({ min: 1, max: 6 }),
      piece: fc.constantFrom(...PIECES),
    }),
    { minLength: 1, maxLength: 50 },
  );
type Steps = typeof steps extends (...args: never[]) => fc.Arbitrary<infer T> ? T : never;

/** Authors who know only some of what others did, and split characters too: each update with those that it comes after. */
function play(some: Steps): { bytes: Uint8Array; after: Set<number> }[] {
  const made: { bytes: Uint8Array; after: Set<number> }[] = [];
  const known = CLIENTS.map((client) => {
    const doc = new Y.Doc();
    doc.clientID = client;
    const has = new Set<number>();
    doc.on("update", (bytes: Uint8Array, origin: unknown) => {
      if (origin === "learnt") return;
      made.push({ bytes, after: new Set(has) });
      has.add(made.length - 1);
    });
    return { doc, has };
  });
  for (const { who, does, from, at, length, piece } of some) {
    const { doc, has } = known[who]!;
    const text = doc.getText("text");
    const entries = doc.getMap("entries");
    const place = at % (text.length + 1);
    if (does === "insert") text.insert(place, piece);
    if (does === "delete") text.delete(place, Math.min(length, text.length - place));
    if (does === "set") entries.set(`k${at % 3}`, piece);
    if (does === "unset") entries.delete(`k${at % 3}`);
    if (does !== "learn") continue;
    for (const one of known[from]!.has) {
      if (has.has(one)) continue;
      Y.applyUpdate(doc, made[one]!.bytes, "learnt");
      has.add(one);
    }
  }
  return made;
}

/** Causes first, else by these keys. */
function inSomeOrder(made: { bytes: Uint8Array; after: Set<number> }[], keys: readonly number[]): Uint8Array[] {
  const left = new Set(made.keys());
  const out: Uint8Array[] = [];
  const rank = (i: number): number => keys[i % keys.length]! * 31 + i * keys[(i + 1) % keys.length]!;
  while (left.size > 0) {
    const ready = [...left].filter((i) => [...made[i]!.after].every((before) => !left.has(before)));
    const next = ready.toSorted((a, b) => rank(a) - rank(b))[0]!;
    left.delete(next);
    out.push(made[next]!.bytes);
  }
  return out;
}

function stateOf(updates: readonly Uint8Array[], batch: number): Uint8Array {
  const doc = new Y.Doc();
  for (let at = 0; at < updates.length; at += batch)
    doc.transact(() => {
      for (const update of updates.slice(at, at + batch)) Y.applyUpdate(doc, update);
    });
  return canonicalState(Y.encodeStateAsUpdate(doc));
}

const keys = fc.array(fc.nat(1000), { minLength: 50, maxLength: 50 });

test.each([
  ["a text", steps(["insert", "insert", "delete", "learn"]), TEXT_SHAPE],
  ["a text and entries", steps(["insert", "delete", "set", "set", "unset", "learn"]), SHAPE],
])(
  "the state of %s has one form, in whatever order it came to be [document-state]",
  (_, some, shape) => {
    fc.assert(
      fc.property(some, keys, fc.integer({ min: 1, max: 9 }), (chosen, noise, batch) => {
        const made = play(chosen);
        const straight = stateOf(
          made.map(({ bytes }) => bytes),
          1,
        );
        expect(toHex(stateOf(inSomeOrder(made, noise), batch))).toBe(toHex(straight));
        // In two parts, the first of them from its state on, as whoever begins with a snapshot.
        const order = inSomeOrder(made, noise.toReversed());
        const half = order.length >> 1;
        expect(toHex(stateOf([stateOf(order.slice(0, half), 1), ...order.slice(half)], batch))).toBe(toHex(straight));
        expect(() => checkState(straight, shape)).not.toThrow();
      }),
      { numRuns: 300 },
    );
  },
  30_000,
);

test("a byte of a state changed makes another state in its one form, or is refused before Yjs sees it [document-state]", () => {
  fc.assert(
    fc.property(
      steps(["insert", "insert", "delete", "learn"]),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (some, at, by) => {
        const state = stateOf(
          play(some).map(({ bytes }) => bytes),
          1,
        );
        const place = at % state.length;
        const bent = state.with(place, (state[place]! + by) % 256);
        try {
          checkState(bent, TEXT_SHAPE);
        } catch (error) {
          expect(error).toMatchObject({ code: "BAD_REQUEST" });
          return;
        }
        expect(toHex(canonicalState(bent))).toBe(toHex(bent));
        expect([...createNoteText(bent).seen().values()].every((clock) => clock > 0)).toBe(true);
      },
    ),
    { numRuns: 500 },
  );
});

test("a state that is cut, goes on, names what is not there, names in a circle or deletes what stands is refused", () => {
  const text = utf8Bytes("text");
  const insert = (info: number, ...named: number[]) => Uint8Array.of(info, ...named, 1, 0x78);
  const first = concat(Uint8Array.of(4, 1, 4), text, Uint8Array.of(1, 0x78));
  const one = (struct: Uint8Array, deleted = Uint8Array.of(0)) => concat(Uint8Array.of(1, 1, 5, 0), struct, deleted);
  expect(() => checkState(one(first), TEXT_SHAPE)).not.toThrow();
  const wrong: [string, Uint8Array][] = [
    ["ends early", one(first).subarray(0, 8)],
    ["bytes after", concat(one(first), Uint8Array.of(0))],
    ["not there", one(insert(0x84, 9, 0))],
    ["came after it", one(insert(0x84, 5, 0))],
    [
      "in a circle",
      concat(
        Uint8Array.of(2, 1, 6, 0),
        insert(0x84, 5, 0),
        Uint8Array.of(1, 5, 0),
        insert(0x84, 6, 0),
        Uint8Array.of(0),
      ),
    ],
    ["deleted ranges", one(first, Uint8Array.of(1, 5, 1, 0, 1))],
    ["begin at 0", concat(Uint8Array.of(1, 1, 5, 1), first, Uint8Array.of(0))],
    ["of kind", one(concat(Uint8Array.of(8, 1, 4), text, Uint8Array.of(1, 0x78)))],
    ["outside of", one(concat(Uint8Array.of(4, 1, 4), utf8Bytes("tex2"), Uint8Array.of(1, 0x78)))],
    ["one form", concat(Uint8Array.of(1, 2, 5, 0), first, insert(0x84, 5, 0), Uint8Array.of(0))],
  ];
  for (const [why, state] of wrong) expect(() => checkState(state, TEXT_SHAPE), why).toThrow(why);
});

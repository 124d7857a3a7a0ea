/** The text of a note: reading and trying foreign updates, writing one's own, in every order. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { toHex } from "../../protocols/bytes.ts";
import type { Seen } from "../../protocols/document.ts";
import { diffText } from "../../sync/documents/text-diff.ts";
import { createNoteText, TEXT_SHAPE, writeText } from "../../sync/documents/note-text.ts";
import { parseUpdate, tryUpdates } from "../../sync/documents/yjs.ts";

describe("diff", () => {
  const texts = fc
    .array(fc.constantFrom("a", "b", "\n", "😀", "é", "😁"), { maxLength: 30 })
    .map((parts) => parts.join(""));

  test("hunks make the one text of the other, and split no character", () => {
    fc.assert(
      fc.property(texts, texts, (before, after) => {
        let made = before;
        for (const { at, removed, inserted } of diffText(before, after).toReversed()) {
          expect(inserted.isWellFormed()).toBe(true);
          made = made.slice(0, at) + inserted + made.slice(at + removed);
        }
        expect(made).toBe(after);
      }),
      { numRuns: 500 },
    );
  });

  test("two changed places are two hunks", () => {
    expect(diffText("one\ntwo\nthree\n", "ones\ntwo\nthree!\n")).toEqual([
      { at: 3, removed: 0, inserted: "s" },
      { at: 13, removed: 0, inserted: "!" },
    ]);
  });
});

interface Made {
  client: number;
  seen: Seen;
  bytes: Uint8Array;
}

/** Authors who edit while they know only some of what others did. Client ids are as large as ours get. */
const CLIENTS = [2 ** 53 - 1, 5, 2 ** 40 + 1];
const histories = fc
  .array(
    fc.record({
      author: fc.nat(2),
      learnsFrom: fc.nat(2),
      at: fc.nat(40),
      removed: fc.nat(4),
      inserted: fc.constantFrom("", "x", "word ", "😀", "\nline\n"),
      stale: fc.boolean(),
    }),
    { minLength: 1, maxLength: 25 },
  )
  .map((steps) => {
    const made: Made[] = [];
    const known = CLIENTS.map(() => ({ note: createNoteText(), has: new Set<Made>(), base: createNoteText().runs() }));
    const learn = (to: (typeof known)[number], one: Made): void => {
      if (to.has.has(one)) return;
      to.has.add(one);
      to.note.apply([one.bytes]);
    };
    for (const { author, learnsFrom, at, removed, inserted, stale } of steps) {
      const me = known[author]!;
      if (!stale) me.base = me.note.runs();
      for (const one of known[learnsFrom]!.has) learn(me, one);
      const text = me.base.map((run) => run.text ?? "").join("");
      const from = at % (text.length + 1);
      const after = (text.slice(0, from) + inserted + text.slice(from + removed)).toWellFormed();
      for (const update of writeText(me.note.state(), CLIENTS[author]!, me.base, diffText(text, after))) {
        const one = { client: CLIENTS[author]!, ...update };
        made.push(one);
        learn(me, one);
      }
      if (stale) continue;
      me.base = me.note.runs();
    }
    return made;
  });

/** Any order in which each comes after what it has seen. */
function inSomeOrder(made: Made[], keys: number[]): Made[] {
  const left = made.map((one, i) => ({ one, key: keys[i % keys.length]! * 31 + i * keys[(i + 1) % keys.length]! }));
  const out: Made[] = [];
  const has = new Map<number, number>();
  const ready = ({ client, seen }: Made): boolean => {
    const before = made.slice(
      0,
      made.findIndex((one) => one.client === client && one.seen === seen),
    );
    return (
      [...seen].every(([other, clock]) => (has.get(other) ?? 0) >= clock) &&
      before.every((one) => one.client !== client || out.includes(one))
    );
  };
  while (left.length > 0) {
    const next = left.filter(({ one }) => ready(one)).toSorted((a, b) => a.key - b.key)[0]!;
    left.splice(left.indexOf(next), 1);
    out.push(next.one);
    has.set(next.one.client, parseUpdate(next.one.bytes, next.one.client, next.one.seen, TEXT_SHAPE).to);
  }
  return out;
}

test("notes-converge: honest updates are right on every copy, in any order that keeps causes first, to the same bytes", () => {
  fc.assert(
    fc.property(histories, fc.array(fc.nat(1000), { minLength: 30, maxLength: 30 }), (made, keys) => {
      const straight = createNoteText();
      for (const { bytes } of made) straight.apply([bytes]);
      const tried = createNoteText();
      for (const { bytes, client, seen } of inSomeOrder(made, keys)) {
        const update = parseUpdate(bytes, client, seen, TEXT_SHAPE);
        expect(tryUpdates(tried.state(), [update], TEXT_SHAPE)).toEqual({ right: 1, refused: null });
        tried.apply([bytes]);
      }
      expect(tried.text()).toBe(straight.text());
      expect(toHex(tried.hash())).toBe(toHex(straight.hash()));
      const again = createNoteText(tried.state());
      expect(toHex(again.hash())).toBe(toHex(straight.hash()));
    }),
    { numRuns: 100 },
  );
});

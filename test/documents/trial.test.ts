/** Trials: the real thread, what a time-out means, and what comes after later edits were decided. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import type { EventId, LogId } from "../../protocols/ids.ts";
import { createArrivals, type DocumentEvent, type Receiver } from "../../sync/documents/arrivals.ts";
import { runTrial, type RunTrial } from "../../sync/documents/trial.ts";
import { createTrialThread, type TrialThread } from "../../sync/documents/worker.ts";
import { createNoteText, TEXT_SHAPE, writeText } from "../../sync/documents/note-text.ts";
import { parseUpdate, writeAs, type Update } from "../../sync/documents/yjs.ts";
import { admitMember, foundMesh, testTime } from "../sync/mesh.ts";
import { hashOf, meet, withDocuments } from "./scene.ts";

function updateOf(words: string): Update {
  const [{ bytes, seen }] = writeText(createNoteText().state(), 7, [], [{ at: 0, removed: 0, inserted: words }]) as [
    { bytes: Uint8Array; seen: Map<number, number> },
  ];
  return parseUpdate(bytes, 7, seen, TEXT_SHAPE);
}

/** Updates of a thousand pieces, each before the last: whoever tries them walks past all of them for each. */
function manyPieces(count: number): Update[] {
  const made = writeAs(createNoteText().state(), 7, (doc, transact) => {
    for (let i = 0; i < count; i++)
      transact(() => {
        for (let piece = 0; piece < 1000; piece++) doc.getText("text").insert(0, "x");
      });
  });
  return made.map(({ bytes, seen }) => parseUpdate(bytes, 7, seen, TEXT_SHAPE));
}

describe("the thread", () => {
  let thread: TrialThread;
  beforeAll(() => void (thread = createTrialThread()));
  afterAll(() => thread.close());
  const empty = createNoteText().state();

  test("says what the function itself says", async () => {
    const trial = { form: "text" as const, state: empty, updates: [updateOf("words")] };
    expect(await thread.run(trial)).toEqual(runTrial(trial));
    const wrong = {
      ...trial,
      updates: [{ ...trial.updates[0]!, inserts: [{ clock: 3, left: null, right: null, value: null }] }],
    };
    expect(await thread.run(wrong)).toEqual(runTrial(wrong));
    expect((await thread.run(wrong)).refused).toContain("neighbours");
  });

  test("what throws in it is told, and the next trial gets a clean one", async () => {
    const broken = { form: "text" as const, state: Uint8Array.of(1, 2, 3), updates: [updateOf("words")] };
    await expect(thread.run(broken)).rejects.toThrow();
    expect(await thread.run({ ...broken, state: empty })).toEqual({ right: 1, refused: null });
  });

  test("trial-limit: what takes too long is ended, decides nothing, and the next trial is not kept waiting", async () => {
    const hasty = createTrialThread({ limitMs: 1 });
    const slow = { form: "text" as const, state: empty, updates: manyPieces(4) };
    await expect(hasty.run(slow)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await expect(hasty.run(slow)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    await hasty.close();
    await expect(hasty.run(slow)).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("several at once are tried one after the other", async () => {
    const trials = ["a", "b", "c"].map((words) => ({
      form: "text" as const,
      state: empty,
      updates: [updateOf(words)],
    }));
    const tried = await Promise.all(trials.map((trial) => thread.run(trial)));
    expect(tried).toEqual(trials.map(() => ({ right: 1, refused: null })));
  });
});

test("trial-held: an edit that this machine could not try is refused by nobody: it waits here, and counts when it could be tried", async () => {
  const time = testTime();
  let isSlow = true;
  const sometimes: RunTrial = async (trial) => {
    if (isSlow) throw new KinError("DEADLINE_EXCEEDED", "trying an update took over 5000 ms");
    return runTrial(trial);
  };
  const ana = await withDocuments(await foundMesh("ana", time));
  const ben = await withDocuments(await admitMember(ana.member, "ben"), { runTrial: sometimes });
  const id = await ana.documents.notes.open({ title: "plan", persons: null });
  for (const words of ["one ", "two ", "three "]) await ana.documents.notes.edit(id, { append: words });
  await meet(ana, ben);
  expect(ben.documents.refused()).toEqual([]);
  expect(ben.failures.length).toBeGreaterThan(0);
  expect(ben.documents.notes.get(id)).toMatchObject({ waiting: 3 });
  // His own words don't wait for hers.
  await ben.documents.notes.edit(id, { append: "mine " });
  expect(ben.documents.notes.get(id)!.text.text()).toBe("mine ");
  isSlow = false;
  await ana.documents.notes.edit(id, { append: "four " });
  await meet(ana, ben);
  time.pass(60_000);
  await ben.documents.settled();
  expect(ben.documents.notes.get(id)).toMatchObject({ waiting: 0 });
  expect(await hashOf(ben.documents)).toBe(await hashOf(ana.documents));
});

describe("arrivals", () => {
  /** A document that is the list of what counts: an update goes on at `from` and ends at `to`. */
  interface Step {
    from: number;
    to: number;
    says: string;
  }
  function listOf(events: DocumentEvent[], order: DocumentEvent[]) {
    let [text, at] = [new Map<LogId, string>(), new Map<LogId, number>()];
    const refused = new Set<EventId>();
    const receiver: Receiver<Step & { log: LogId }> = {
      lifeOf: () => 0,
      hasLife: () => false,
      read: ({ value, log }) => ({ ...(value as unknown as Step), log }),
      judge: ({ from, log }) => {
        const mine = at.get(log) ?? 0;
        if (from < mine) return new KinError("BAD_REQUEST", "twice");
        return from > mine ? "waits" : "next";
      },
      note({ log, from, to }) {
        at.set(log, to);
        return () => at.set(log, from);
      },
      attempt: async (steps) => {
        const wrong = steps.findIndex(({ says }) => says === "wrong");
        return wrong < 0 ? { right: steps.length, refused: null } : { right: wrong, refused: "wrong" };
      },
      apply(steps) {
        for (const { log, says } of steps) text.set(log, (text.get(log) ?? "") + says);
      },
      refused: ({ id }) => void refused.add(id),
      held: () => undefined,
    };
    const arrivals = createArrivals(receiver);
    return {
      async run() {
        const come: DocumentEvent[] = [];
        for (const event of order) {
          come.push(event);
          if (arrivals.push(event) === "late") {
            arrivals.clear();
            [text, at] = [new Map(), new Map()];
            refused.clear();
            for (const one of come) arrivals.push(one);
          }
          await arrivals.pump();
        }
        return {
          text: [...text].map(([log, said]) => `${log}: ${said}`).toSorted(),
          refused: [...refused].toSorted(),
          waiting: arrivals.waiting().length,
          all: events.length,
        };
      },
    };
  }

  test("late-edits: what counts follows from the set of events, in whatever order their bodies come", async () => {
    const step = fc.record({
      log: fc.constantFrom("a", "b"),
      from: fc.nat(4),
      length: fc.integer({ min: 0, max: 2 }),
      says: fc.constantFrom("x", "y", "wrong"),
    });
    const scenes = fc.array(step, { minLength: 1, maxLength: 10 }).chain((steps) => {
      const events = steps.map(({ log, from, length, says }, i): DocumentEvent => {
        const value = { from, to: from + length, says: says === "wrong" ? says : `${says}${i} ` };
        return { id: `e${i}` as EventId, log: log as LogId, seq: i, device: "d" as never, person: null, at: i, value };
      });
      return fc.record({
        events: fc.constant(events),
        order: fc.shuffledSubarray(events, { minLength: events.length }),
      });
    });
    await fc.assert(
      fc.asyncProperty(scenes, async ({ events, order }) => {
        expect(await listOf(events, order).run()).toEqual(await listOf(events, events).run());
      }),
      { numRuns: 500 },
    );
  });
});

/** The queues of a document by themselves: what is under way when the document begins anew is void. */
import { expect, test } from "vitest";
import type { EventId, LogId } from "../../protocols/ids.ts";
import { createArrivals, type DocumentEvent, type Tried } from "../../sync/documents/arrivals.ts";

const eventAt = (seq: number): DocumentEvent => ({ id: `event ${seq}` as EventId, log: "log" as LogId, seq }) as never;

test("late-edits: a trial that ends after the document began anew decides nothing; the same edits are tried again", async () => {
  const trials: ((tried: Tried) => void)[] = [];
  const applied: number[] = [];
  const refused: EventId[] = [];
  const arrivals = createArrivals<number>({
    lifeOf: () => 0,
    hasLife: () => false,
    read: ({ seq }) => seq,
    judge: () => "next",
    note: () => () => {},
    attempt: () => new Promise((resolve) => trials.push(resolve)),
    apply: (updates) => void applied.push(...updates),
    refused: ({ id }) => void refused.push(id),
    held: (error) => {
      throw error;
    },
  });
  for (const seq of [1, 2]) arrivals.push(eventAt(seq));
  const before = arrivals.pump();
  arrivals.clear();
  for (const seq of [0, 1, 2]) arrivals.push(eventAt(seq));
  trials[0]!({ right: 1, refused: "not of this document" });
  await before;
  expect({ applied, refused, waiting: arrivals.waiting().length }).toEqual({ applied: [], refused: [], waiting: 3 });
  const after = arrivals.pump();
  trials[1]!({ right: 3, refused: null });
  await after;
  expect({ applied, refused, waiting: arrivals.waiting().length }).toEqual({
    applied: [0, 1, 2],
    refused: [],
    waiting: 0,
  });
}, 5_000);

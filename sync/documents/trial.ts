/** Foreign updates on a copy of their document, before they come near the document itself: what runs in the worker, or here. */
import { BOARD_SHAPE } from "./board.ts";
import { TEXT_SHAPE } from "./note-text.ts";
import { tryUpdates, type Update } from "./yjs.ts";
import { tryChanges, type RecordChange } from "./automerge.ts";
import type { Tried } from "./arrivals.ts";

export type Trial =
  | { form: "text" | "board"; state: Uint8Array; updates: Update[] }
  | { form: "record"; state: Uint8Array; updates: RecordChange[] };

/** Rejects if this machine could not finish it: that says nothing of the updates. */
export type RunTrial = (trial: Trial) => Promise<Tried>;

export function runTrial(trial: Trial): Tried {
  switch (trial.form) {
    case "text":
      return tryUpdates(trial.state, trial.updates, TEXT_SHAPE);
    case "board":
      return tryUpdates(trial.state, trial.updates, BOARD_SHAPE);
    case "record":
      return tryChanges(trial.state, trial.updates);
  }
}

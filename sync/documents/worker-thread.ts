/** The thread behind `worker.ts`: trials, answered in their order. */
import { parentPort } from "node:worker_threads";
import { errorShape } from "../../protocols/errors.ts";
import { runTrial } from "./trial.ts";
import type { Question, Reply } from "./worker.ts";

const port = parentPort!;
port.on("message", ({ n, trial }: Question) => port.postMessage(reply(n, trial)));

function reply(n: number, trial: Question["trial"]): Reply {
  try {
    return { n, tried: runTrial(trial) };
  } catch (error) {
    return { n, error: errorShape(error) };
  }
}

/** The thread behind `worker.ts`: trials, answered in their order. */
import { parentPort } from "node:worker_threads";
import { errorShape } from "../../protocols/errors.ts";
import { runTrial } from "./trial.ts";
import { READY, type Question, type Reply } from "./worker.ts";

const port = parentPort!;
// The libraries are loaded: from here on time is counted.
port.postMessage({ n: READY } satisfies Pick<Reply, "n">);
port.on("message", ({ n, trial }: Question) => port.postMessage(reply(n, trial)));

function reply(n: number, trial: Question["trial"]): Reply {
  try {
    return { n, tried: runTrial(trial) };
  } catch (error) {
    return { n, error: errorShape(error) };
  }
}

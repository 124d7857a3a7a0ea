/**
 * The worker behind `libsql.ts`: SQLite blocks its thread, so it gets one of its own. Requests are answered in their order.
 *
 *   parent → { n, ask, args }      worker → { n, value } | { n, error: { code, message, hint } }
 *   first request: open; last: close, after which the thread ends, as it does when the disk fails or the file can't be opened
 */
import { parentPort } from "node:worker_threads";
import { errorShape, KinError, type ErrorShape } from "../../protocols/errors.ts";
import { openLogFile, type LogFile, type LogFileOptions } from "./log-file.ts";

export type Request =
  | { n: number; ask: "open"; args: [LogFileOptions] }
  | { [Ask in keyof LogFile]: { n: number; ask: Ask; args: Parameters<LogFile[Ask]> } }[keyof LogFile];

export type Reply = { n: number; value: unknown } | { n: number; error: ErrorShape };

const port = parentPort!;
let file: LogFile | null = null;

port.on("message", (request: Request) => {
  const answered = reply(request);
  port.postMessage(answered);
  if (isLast(request, answered)) port.close();
});

/**
 * After an I/O error SQLite's connection keeps pages that it could not read or write, and finds the file malformed ever after
 * (seen, tried in test/disk/full.test.ts); libsql can't close it while statements live. So the thread ends, and the store
 * opens the file again in another one.
 */
function isLast({ ask }: Request, answered: Reply): boolean {
  return ask === "close" || ("error" in answered && (ask === "open" || answered.error.code === "DISK_FAILED"));
}

function reply(request: Request): Reply {
  try {
    return { n: request.n, value: answer(request) };
  } catch (error) {
    return { n: request.n, error: errorShape(error) };
  }
}

function answer(request: Request): unknown {
  if (request.ask === "open") {
    file = openLogFile(...request.args);
    return null;
  }
  if (file === null) throw new KinError("CLOSED", "the store is not open");
  switch (request.ask) {
    case "commit":
      return file.commit(...request.args).map((refusal) => (refusal === null ? null : errorShape(refusal)));
    case "logs":
      return file.logs();
    case "event":
      return file.event(...request.args);
    case "range":
      return file.range(...request.args);
    case "headFrom":
      return file.headFrom(...request.args);
    case "since":
      return file.since(...request.args);
    case "value":
      return file.value(...request.args);
    case "values":
      return file.values(...request.args);
    case "damaged":
      return file.damaged(...request.args);
    case "repair":
      return file.repair(...request.args);
    case "transactions":
      return file.transactions();
    case "close":
      return file.close();
  }
}

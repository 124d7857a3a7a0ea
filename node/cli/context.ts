/** What every verb gets, and the one place where a thrown error becomes an exit code. Loads fast: `status` needs it. */
import { commandHint, rewriteCommands } from "./hint.ts";
import { EXIT, createOutput, exitCodeOf, printError, type Output } from "./output.ts";
import { resolveHome, type Home } from "../home.ts";
import { errorShape } from "../../protocols/errors.ts";

export interface Context {
  output: Output;
  json: boolean;
  debug: boolean;
  env: NodeJS.ProcessEnv;
  home: Home;
  /** The file that a daemon is started with: `node/main.ts`, in tests one with small parts. */
  entry: string;
  /** Fires at Ctrl-C. */
  signal: AbortSignal;
  /** A command as the user would have to type it, in a clone too. */
  command(args: string): string;
}

/** `--json` and `--debug` are understood anywhere before `--`. */
export function createContext(argv: readonly string[], entry = `${import.meta.dirname}/../main.ts`): Context {
  const end = argv.indexOf("--");
  const words = end < 0 ? argv : argv.slice(0, end);
  const json = words.includes("--json");
  const env = process.env;
  return {
    output: createOutput(json, env),
    json,
    debug: words.includes("--debug"),
    env,
    home: resolveHome(env),
    entry,
    signal: interruptSignal(),
    command: (args) => commandHint(args, env),
  };
}

export async function runVerb(context: Context, verb: () => Promise<number>): Promise<number> {
  process.stdout.on("error", quietOnClosedPipe);
  try {
    return await verb();
  } catch (error) {
    printError(error, { json: context.json, debug: context.debug, hint: (text) => rewriteCommands(text, context.env) });
    return exitCodeOf(errorShape(error).code);
  }
}

/** `kin agents | head -1` ends like any other command there. */
function quietOnClosedPipe(error: NodeJS.ErrnoException): void {
  process.exit(error.code === "EPIPE" ? EXIT.ok : EXIT.failed);
}

/** The first Ctrl-C cancels what runs; the second ends the process at once. */
function interruptSignal(): AbortSignal {
  const interrupt = new AbortController();
  process.once("SIGINT", () => {
    interrupt.abort(new Error("interrupted"));
    process.once("SIGINT", () => process.exit(EXIT.failed));
  });
  return interrupt.signal;
}

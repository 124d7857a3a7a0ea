/** The command `kin`. `status` is asked most and must be quick, so it goes around the table of commands. */
import { enableCompileCache } from "node:module";
import { join } from "node:path";

// Stripping types and compiling is most of the start (130 → 85 ms for `status`). Kept beside the packages, which only who
// installed kin can write: a cache in a shared temporary folder could be planted. Where it can't be written there is none.
enableCompileCache(join(import.meta.dirname, "..", "node_modules", ".cache", "kin"));

const argv = process.argv.slice(2);
const isPlainStatus = argv[0] === "status" && argv.slice(1).every((word) => word === "--json" || word === "--debug");

if (isPlainStatus) {
  const { createContext, runVerb } = await import("./cli/context.ts");
  const { status } = await import("./cli/status.ts");
  const context = createContext(argv);
  process.exitCode = await runVerb(context, () => status(context));
} else {
  const { runCli } = await import("./cli/command.ts");
  process.exitCode = await runCli(argv);
}

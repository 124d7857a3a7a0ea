/**
 * Before each test file: a temporary folder of its own, and the compile cache of `node/main.ts` for all that it starts, threads
 * too: tests start so many that stripping types would be a third of their time. After its tests, whether they passed, failed or hung until their time-out,
 * the folder is removed and no process that they started is left; one that is fails the file.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll } from "vitest";
import { killAll, said, straysAfterGrace, straysIn, takeOwnTemp } from "../own-temp.ts";

const folder = takeOwnTemp("f-");
process.env["NODE_COMPILE_CACHE"] = join(import.meta.dirname, "../../node_modules/.cache/kin");

// Registered first, so it runs last.
afterAll(async () => {
  const strays = await straysAfterGrace(() => straysIn(folder));
  killAll(strays);
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  if (strays.length > 0) throw new Error(`these tests left behind:\n${strays.map(said).join("\n")}`);
});

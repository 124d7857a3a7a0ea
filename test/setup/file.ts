/**
 * Before each test file: a temporary folder of its own. After its tests, whether they passed, failed or hung until their time-out,
 * the folder is removed and no process that they started is left; one that is fails the file.
 */
import { rmSync } from "node:fs";
import { afterAll } from "vitest";
import { killAll, said, straysAfterGrace, straysIn, takeOwnTemp } from "../own-temp.ts";

const folder = takeOwnTemp("f-");

// Registered first, so it runs last.
afterAll(async () => {
  const strays = await straysAfterGrace(() => straysIn(folder));
  killAll(strays);
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  if (strays.length > 0) throw new Error(`these tests left behind:\n${strays.map(said).join("\n")}`);
});

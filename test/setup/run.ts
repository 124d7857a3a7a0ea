/** Once for a run of tests: all that they make and start lies in one temporary folder, which is gone at the end, also after Ctrl-C. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { endAll, endAllWhenInterrupted, killAll, straysAfterGrace, said, straysIn, takeOwnTemp } from "../own-temp.ts";

/** @returns the end of the run: fails it if something was left behind. */
export default function ownTempOfRun(): () => Promise<void> {
  const folder = takeOwnTemp("kin-tests-");
  endAllWhenInterrupted(folder);
  return async () => {
    // Vitest's own workers end after this.
    const strays = await straysAfterGrace(() => straysIn(folder).filter(({ parent }) => parent !== process.pid));
    killAll(strays);
    // A file none of whose tests was asked for has no end: its folder is there, and empty.
    const folders = readdirSync(folder).flatMap((file) => readdirSync(join(folder, file)));
    endAll(folder);
    const left = [...strays.map(said), ...folders.map((name) => `folder ${name}`)];
    if (left.length > 0) throw new Error(`the tests left behind:\n${left.join("\n")}`);
  };
}

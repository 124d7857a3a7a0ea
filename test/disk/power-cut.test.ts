import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cutAfter, readJournal, saidBefore, snapshot, writeFiles, type Change } from "./cut.ts";
import { failingDisk, noFailingDisk } from "./failing-disk.ts";
import { liveAndDie } from "./life.ts";
import { chance, type Chance } from "./random.ts";
import { checkIntegrity, lostOf, readSaid } from "./verify.ts";

/** CI's size; the nightly one: `KIN_CUTS=1000 npx vitest run test/disk/power-cut.test.ts`. */
const CUTS = Number(process.env["KIN_CUTS"] ?? 50);
/** Moments at which one life is cut; the next life begins from what the last one left. */
const CUTS_A_LIFE = 5;
/** Lives of one store before a new one begins: each cut looks for all that its store ever acknowledged. */
const LIVES_A_STORE = 20;
/** Enough that the write-ahead log moves into the file in many of the lives. */
const MAX_LINES = 600;
/** Cuts after which a store that does not wait for the disk must have been found out. */
const CUTS_TO_FIND = 15;
const ROOT = join(import.meta.dirname, "../..");

let scratch: string;
beforeAll(() => (scratch = mkdtempSync(join(tmpdir(), "kin-cut-"))));
afterAll(() => rmSync(scratch, { recursive: true }));
const newFolder = (name: string): string => mkdtempSync(join(scratch, `${name}-`));

interface Found {
  cuts: number;
  acks: number;
  /** How often the write-ahead log moved into the file. */
  checkpoints: number;
  lost: number;
  /** What could not be opened or verified. */
  broken: string[];
}

/** Lives and cuts until `cuts` are made, or something was lost and `stopAtLoss`. */
async function cutOften(
  random: Chance,
  cuts: number,
  { module, lies = false, stopAtLoss = false }: { module?: string; lies?: boolean; stopAtLoss?: boolean } = {},
): Promise<Found> {
  const found: Found = { cuts: 0, acks: 0, checkpoints: 0, lost: 0, broken: [] };
  let before = new Map<string, Buffer>();
  /** What was acknowledged before this life. */
  let acknowledged = new Map<number, string>();
  for (let life = 0; found.cuts < cuts && !(stopAtLoss && (found.lost > 0 || found.broken.length > 0)); life++) {
    if (life % LIVES_A_STORE === 0) [before, acknowledged] = [new Map(), new Map()];
    const folder = newFolder("life");
    writeFiles(folder, renamed(before, folder));
    const disk = failingDisk(newFolder("disk"), folder, { lies });
    const start = snapshot(folder);
    await liveAndDie({ file: join(folder, "log.db"), lines: random.below(MAX_LINES), env: disk.env, module });
    const changes = readJournal(disk.journal);
    found.checkpoints += changes.filter((one) => one.kind === "sync" && one.path.endsWith("log.db")).length;
    for (let i = 0; i < CUTS_A_LIFE && found.cuts < cuts; i++) {
      const at = random.below(changes.length + 1);
      const left = cutAfter(start, changes, at, random);
      const said = new Map([...acknowledged, ...readSaid(saidBefore(changes, at)).acknowledged]);
      look(left, said, found, `cut after ${at} of ${changes.length} changes`);
      if (i === CUTS_A_LIFE - 1) [before, acknowledged] = [left, said];
    }
    rmSync(folder, { recursive: true });
  }
  return found;
}

function look(left: Map<string, Buffer>, said: Map<number, string>, found: Found, when: string): void {
  const folder = newFolder("cut");
  writeFiles(folder, left);
  found.cuts++;
  found.acks += said.size;
  try {
    found.lost += lostOf(join(folder, "log.db"), said).length;
    checkIntegrity(join(folder, "log.db"));
  } catch (error) {
    found.broken.push(`${when}: ${(error as Error).message}`);
  }
  rmSync(folder, { recursive: true });
}

function renamed(files: ReadonlyMap<string, Buffer>, folder: string): Map<string, Buffer> {
  return new Map([...files].map(([path, bytes]) => [join(folder, path.slice(path.lastIndexOf("/") + 1)), bytes]));
}

const skipped = noFailingDisk === null ? "" : ` (skipped: ${noFailingDisk})`;

test.skipIf(noFailingDisk !== null)(
  `P2 K2: ${CUTS} power cuts of the real store: nothing acknowledged is lost, nothing is corrupt${skipped}`,
  async () => {
    const random = chance();
    const { cuts, acks, checkpoints, lost, broken } = await cutOften(random, CUTS);
    console.log(
      `P2: ${cuts} cuts, ${acks} acknowledged events looked for, ${lost} lost, ${broken.length} corrupt, ${checkpoints} checkpoints, seed ${random.seed}`,
    );
    expect({ lost, broken }).toEqual({ lost: 0, broken: [] });
    expect(acks).toBeGreaterThan(cuts);
    expect(checkpoints).toBeGreaterThan(0);
  },
  60_000 + CUTS * 6_000,
);

test.skipIf(noFailingDisk !== null)(
  `P2: every acknowledgement comes after the sync of what it acknowledges${skipped}`,
  async () => {
    const folder = newFolder("order");
    const disk = failingDisk(newFolder("disk"), folder);
    await liveAndDie({ file: join(folder, "log.db"), lines: MAX_LINES / 2, env: disk.env });
    const changes = readJournal(disk.journal);
    const acks = changes.flatMap((change, at) =>
      change.kind === "said" ? [...readSaid(change.text).acknowledged.values()].map((id) => ({ id, at })) : [],
    );
    const early = acks.filter(({ id, at }) => !isSynced(changes, id, at));
    console.log(`P2: ${acks.length} acknowledgements, ${early.length} before the sync of what they acknowledge`);
    expect(acks.length).toBeGreaterThan(10);
    expect(early).toEqual([]);
  },
  60_000,
);

/** Whether the file that holds the event was synced between its writing and `at`. */
function isSynced(changes: readonly Change[], id: string, at: number): boolean {
  const written = changes.findIndex((change) => change.kind === "write" && change.data.includes(id, 0, "hex"));
  const path = (changes[written] as { path?: string } | undefined)?.path;
  return changes.slice(written, at).some((change) => change.kind === "sync" && change.path === path);
}

for (const [name, pragma] of [
  ["OFF", "synchronous = OFF"],
  ["NORMAL", "synchronous = NORMAL"],
] as const)
  test.skipIf(noFailingDisk !== null)(
    `P2: the detector works: with synchronous=${name} acknowledged events are lost${skipped}`,
    async () => {
      const random = chance();
      const found = await cutOften(random, CUTS_TO_FIND, { module: storeWith(pragma), stopAtLoss: true });
      const works = found.lost > 0 || found.broken.length > 0;
      console.log(
        `P2: detector works with synchronous=${name}: ${works ? "yes" : "no"} (cut ${found.cuts}: ${found.lost} lost, ${found.broken.length} corrupt), seed ${random.seed}`,
      );
      expect(works).toBe(true);
    },
    60_000 + CUTS_TO_FIND * 6_000,
  );

test.skipIf(noFailingDisk !== null)(
  `P2: the detector works: on a disk that says "synced" and did not, acknowledged events are lost${skipped}`,
  async () => {
    const found = await cutOften(chance(), CUTS_TO_FIND, { lies: true, stopAtLoss: true });
    expect(found.lost + found.broken.length).toBeGreaterThan(0);
  },
  60_000 + CUTS_TO_FIND * 6_000,
);

/** The store of a copy of the code with one line changed, as a module's URL. */
function storeWith(pragma: string): string {
  const copy = newFolder("code");
  for (const part of ["protocols", "sync", "package.json"])
    cpSync(join(ROOT, part), join(copy, part), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  mkdirSync(join(copy, "test"));
  const file = join(copy, "sync/stores/log-file.ts");
  const source = readFileSync(file, "utf8");
  const changed = source.replace("synchronous = FULL", pragma);
  expect(changed).not.toBe(source);
  writeFileSync(file, changed);
  return pathToFileURL(join(copy, "sync/stores/libsql.ts")).href;
}

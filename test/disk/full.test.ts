import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cutAfter, readJournal, saidBefore, snapshot, writeFiles } from "./cut.ts";
import { failingDisk, noFailingDisk, type Failure } from "./failing-disk.ts";
import { live, liveAndDie } from "./life.ts";
import { chance } from "./random.ts";
import { addAcknowledged, checkIntegrity, lostOf, readSaid, type Said } from "./verify.ts";

/** Changes of the first life at which the disk begins to fail: every one that it makes while it opens, then some. CI's size. */
const CASES = Number(process.env["KIN_DISK_FAILURES"] ?? 24);
/** About so many changes are made until the store is open, and in the while after it. */
const OPENING_CHANGES = 30;
const MAX_CHANGES = 700;
/** Refusals or acknowledgements that are waited for before the disk is well again, and after. */
const ENOUGH = 3;
const CUTS_A_CASE = 3;

let scratch: string;
beforeAll(() => (scratch = mkdtempSync(join(tmpdir(), "kin-full-"))));
afterAll(() => rmSync(scratch, { recursive: true }));
const newFolder = (name: string): string => mkdtempSync(join(scratch, `${name}-`));
const skipped = noFailingDisk === null ? "" : ` (skipped: ${noFailingDisk})`;

interface Sum {
  cases: number;
  failures: number;
  refused: Map<string, number>;
  acknowledged: number;
  lost: number;
  /** Went on by itself when the disk was well again. */
  recovered: number;
  /** Could not be opened while the disk failed, and said why; then opened. */
  notOpened: number;
}

const FAILURES: readonly Omit<Failure, "from">[] = [
  { code: "ENOSPC", kinds: "w" },
  { code: "ENOSPC", kinds: "w", short: true },
  { code: "EIO", kinds: "w" },
  { code: "EIO", kinds: "s" },
  { code: "EIO", kinds: "wsr" },
  { code: "EROFS", kinds: "wo" },
];

for (const failure of FAILURES) {
  const name = `${failure.code} of ${failure.kinds}${failure.short === true ? ", half a write" : ""}`;
  test.skipIf(noFailingDisk !== null)(
    `P17 K3 K4 K5: ${name} from any change on: nothing acknowledged is lost, refusals say why, and it goes on afterwards${skipped}`,
    async () => {
      const random = chance();
      const sum: Sum = {
        cases: 0,
        failures: 0,
        refused: new Map(),
        acknowledged: 0,
        lost: 0,
        recovered: 0,
        notOpened: 0,
      };
      const count = Math.ceil(CASES / FAILURES.length);
      for (let i = 0; i < count; i++)
        await oneCase({ ...failure, from: 1 + random.below(i % 2 === 0 ? OPENING_CHANGES : MAX_CHANGES) }, random, sum);
      const codes = [...sum.refused].map(([code, times]) => `${times} × ${code}`).join(", ");
      console.log(
        `P17: ${name}: ${sum.cases} cases, ${sum.failures} failing calls, ${sum.acknowledged} acknowledged, ${sum.lost} lost, 0 corrupt, refused ${codes || "none"}, ${sum.notOpened} did not open, ${sum.recovered} went on by themselves, seed ${random.seed}`,
      );
      expect(sum).toMatchObject({ lost: 0, recovered: sum.cases - sum.notOpened });
      const expected = failure.code === "ENOSPC" ? ["DISK_FULL"] : ["DISK_FAILED"];
      expect([...sum.refused.keys()].filter((code) => !expected.includes(code))).toEqual([]);
    },
    30_000 + CASES * 3_000,
  );
}

async function oneCase(failure: Failure, random: ReturnType<typeof chance>, sum: Sum): Promise<void> {
  const folder = newFolder("life");
  const file = join(folder, "log.db");
  const disk = failingDisk(newFolder("disk"), folder);
  const before = snapshot(folder);
  disk.fail(failure);
  const first = await live({ file, env: disk.env, during: failAndRecover });
  async function failAndRecover(soFar: () => Said, signal: AbortSignal): Promise<void> {
    await until(() => disk.failures() > 0 && refusals(soFar()) >= ENOUGH, signal);
    disk.fail(null);
    const acknowledged = soFar().acknowledged.size;
    await until(() => soFar().acknowledged.size >= acknowledged + ENOUGH, signal);
    if (!signal.aborted) sum.recovered++;
  }
  sum.cases++;
  sum.failures += disk.failures();
  for (const [code, times] of first.refused) sum.refused.set(code, (sum.refused.get(code) ?? 0) + times);
  if (first.ended !== null) {
    sum.notOpened++;
    expect(first.ended).toMatch(failure.code === "ENOSPC" ? /the disk is full/ : /the disk|read-only/);
    disk.fail(null);
  }
  const all = new Map(first.acknowledged);
  addAcknowledged(all, (await liveAndDie({ file, lines: ENOUGH, env: disk.env })).acknowledged);
  sum.acknowledged += all.size;
  sum.lost += lostOf(file, all).length;
  checkIntegrity(file);

  // What a power cut at any moment of both lives leaves.
  const changes = readJournal(disk.journal);
  const cut = newFolder("cut");
  for (let i = 0; i < CUTS_A_CASE; i++) {
    const at = random.below(changes.length + 1);
    rmSync(cut, { recursive: true });
    mkdirSync(cut);
    writeFiles(cut, cutAfter(before, changes, at, random));
    sum.lost += lostOf(join(cut, "log.db"), readSaid(saidBefore(changes, at)).acknowledged).length;
    checkIntegrity(join(cut, "log.db"));
  }
  for (const used of [folder, cut]) rmSync(used, { recursive: true });
}

function refusals({ refused }: Said): number {
  return [...refused.values()].reduce((sum, times) => sum + times, 0);
}

/** The test's own time-out is the bound. */
async function until(look: () => boolean, signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !look()) await new Promise((later) => setTimeout(later, 10));
}

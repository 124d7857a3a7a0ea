import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { liveAndDie } from "./life.ts";
import { chance } from "./random.ts";
import { addAcknowledged, checkIntegrity, lostOf } from "./verify.ts";

/** CI's size; the nightly one: `KIN_KILLS=5000 npx vitest run test/disk/kill.test.ts`. */
const KILLS = Number(process.env["KIN_KILLS"] ?? 200);
/** At the same time, each with a file of its own: starting a process takes longer than its life. */
const SIDE_BY_SIDE = 4;
const MAX_LIFE_MS = 120;
const CHECK_EVERY = 10;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kin-kill-"));
});
afterAll(() => rm(folder, { recursive: true }));

test(
  `P1 K1: ${KILLS} × kill -9 at any moment: nothing acknowledged is lost, the chain is whole and signed`,
  async () => {
    const random = chance();
    let acks = 0;
    let lost = 0;
    let kills = 0;
    async function dieOften(side: number): Promise<void> {
      const file = join(folder, `log-${side}.db`);
      const all = new Map<number, string>();
      for (let life = 1; kills < KILLS; life++) {
        kills++;
        const said = await liveAndDie({ file, lifeMs: random.next() * MAX_LIFE_MS });
        addAcknowledged(all, said.acknowledged);
        if (life % CHECK_EVERY === 0) lost += lostOf(file, all).length;
      }
      lost += lostOf(file, all).length;
      checkIntegrity(file);
      acks += all.size;
    }
    await Promise.all(Array.from({ length: SIDE_BY_SIDE }, (_, side) => dieOften(side)));
    console.log(`P1: ${kills} kills, ${acks} acknowledged, ${lost} lost, 0 corrupt, seed ${random.seed}`);
    expect(acks).toBeGreaterThan(KILLS);
    expect(lost).toBe(0);
  },
  60_000 + KILLS * 3000,
);

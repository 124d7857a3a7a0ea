/**
 * P29: caller or callee is killed between any two writes of a durable call. Steps: asked written, delivered, started written,
 * tool ran, answered written, delivered, result read. A disk counts writes and flushes; the process dies before the n-th, for
 * every n; then it starts again from what the disk has kept, without or with what was written and not flushed.
 */
import { expect, test } from "vitest";
import { createMemoryDisk } from "../../sync/stores/memory-disk.ts";
import { admitMember, foundMesh, openMember, syncOnce, testTime, type TestMember } from "../sync/mesh.ts";
import type { EnvelopeId } from "../../protocols/ids.ts";
import {
  answerNow,
  ask,
  marking,
  meet,
  mortal,
  outcomeOf,
  reborn,
  settle,
  startActor,
  type Effects,
} from "./durable-scene.ts";

/** Ask and answer take one each; what is still being written takes another. */
const MAX_MEETINGS = 10;

type Victim = "caller" | "callee";

interface Outcome {
  outcome: string | null;
  runs: number;
  /** False: the call was over before the victim would have died. */
  died: boolean;
}

/** The same member over a disk on which it can die. */
async function mortalLife(member: TestMember) {
  const incarnation = { ...member.replica.incarnation(), fresh: false };
  await member.replica.close();
  await member.replica.store.close();
  const life = mortal(createMemoryDisk({ files: member.disk.files }));
  const { name, replica, time, epochKeys } = member;
  const again = await openMember(name, replica.mesh, { time, disk: life.disk, epochKeys, incarnation });
  return { ...life, member: again };
}

async function killedAt(victim: Victim, after: number, keepUnflushed: number, readOnly: boolean): Promise<Outcome> {
  const time = testTime();
  const effects: Effects = { runs: [] };
  const work = marking(effects, { readOnly });
  let ben = await foundMesh("ben", time);
  let ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  const life = await mortalLife(victim === "caller" ? ana : ben);
  if (victim === "caller") ana = life.member;
  else ben = life.member;
  const anas = await startActor(ana);
  let bens = await startActor(ben, { work });
  bens.outbox.onAsked(bens.handle);

  life.dieAfter(after);
  const dying = [life.died];
  const first = await Promise.race([ask(anas, ben), ...dying]);
  const acknowledged = typeof first === "string" ? first : null;
  if (acknowledged !== null) await Promise.race([untilAnswered(acknowledged), ...dying]);

  async function untilAnswered(id: EnvelopeId): Promise<void> {
    await meet(ana, ben, dying);
    await settle(() => bens.outbox.pending().length === 0 && effects.runs.length > 0);
    await meet(ana, ben, dying);
    await settle(async () => (await outcomeOf(anas, id)) !== null);
  }

  const died = await Promise.race([life.died.then(() => true), new Promise<boolean>((no) => setImmediate(no, false))]);
  // The kill: what is left of the victim can write nothing more.
  const left = life.disk.crash(keepUnflushed);
  if (victim === "caller") ana = await reborn(ana, left);
  else ben = await reborn(ben, left);
  const again = victim === "caller" ? await startActor(ana) : anas;
  if (victim === "callee") {
    bens = await startActor(ben, { work });
    bens.outbox.onAsked(bens.handle);
  }
  // What the caller does not know any more was never acknowledged to him.
  const known = again.outbox.all()[0]?.id;
  if (known !== undefined) {
    for (let i = 0; i < MAX_MEETINGS && (await outcomeOf(again, known)) === null; i++) {
      await meet(ana, ben);
      await settle(async () => (await outcomeOf(again, known)) !== null, 20 * (i + 1));
    }
  }
  const outcome = known === undefined ? "never asked" : await outcomeOf(again, known);
  // The signed receipt comes back with the result, whoever was killed in between.
  if (known !== undefined && outcome?.startsWith("result") === true)
    expect((await answerNow(again, known))![0]).toEqual({ type: "accepted", index: 0 });
  if (acknowledged !== null && known !== acknowledged) throw new Error("an acknowledged ask was lost");
  await again.stop();
  if (victim === "caller") await bens.stop();
  return { outcome, runs: effects.runs.length, died };
}

/** Kills at every write until the call is over before the kill. */
async function everywhere(victim: Victim, keepUnflushed: number, readOnly = false): Promise<Outcome[]> {
  const all: Outcome[] = [];
  for (let after = 0; after < 200; after++) {
    const outcome = await killedAt(victim, after, keepUnflushed, readOnly);
    all.push(outcome);
    if (!outcome.died) return all;
  }
  throw new Error("the call never came to its end");
}

function tallyOf(all: Outcome[]): Record<string, number> {
  const tally: Record<string, number> = {};
  for (const { outcome, runs } of all) {
    const key = `${outcome}, ran ${runs}`;
    tally[key] = (tally[key] ?? 0) + 1;
  }
  return tally;
}

for (const keep of [0, 1 << 20])
  test(`P29: the callee killed at each write (${keep === 0 ? "unflushed lost" : "unflushed kept"}): one result or OUTCOME_UNKNOWN, the tool ran at most once [killed-at-each-step]`, async () => {
    const all = await everywhere("callee", keep);
    const tally = tallyOf(all);
    expect(all.length).toBeGreaterThan(6);
    for (const { outcome, runs } of all) {
      expect(["result:run 1", "OUTCOME_UNKNOWN"]).toContain(outcome);
      expect(runs).toBeLessThanOrEqual(1);
    }
    // Killed between the start and the recorded end there is nothing to know; everywhere else there is a result.
    expect(tally["OUTCOME_UNKNOWN, ran 1"] ?? 0).toBeGreaterThan(0);
    expect(tally["result:run 1, ran 1"]).toBeGreaterThan(3);
  }, 60_000);

for (const keep of [0, 1 << 20])
  test(`P29: the caller killed at each write (${keep === 0 ? "unflushed lost" : "unflushed kept"}): what was acknowledged is answered with its one result [killed-at-each-step]`, async () => {
    const all = await everywhere("caller", keep);
    expect(all.length).toBeGreaterThan(3);
    for (const { outcome, runs } of all) {
      expect(["result:run 1", "never asked"]).toContain(outcome);
      expect(runs).toBe(outcome === "never asked" ? 0 : 1);
    }
  }, 60_000);

test("P29: a call that only reads is run again after a kill: it always ends with its result [killed-at-each-step]", async () => {
  const all = await everywhere("callee", 0, true);
  for (const { outcome } of all) expect(outcome).toMatch(/^result:run [12]$/);
}, 60_000);

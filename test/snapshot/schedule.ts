/**
 * Random schedules: admins who write, meet, make and sign snapshots, prune and restart in whatever order, and Eve, who hears of each
 * turn at once and keeps every body. In the end all must have what she has.
 */
import fc from "fast-check";
import { expect } from "vitest";
import { KinError } from "../../protocols/errors.ts";
import { GAP_MS } from "../../sync/snapshot.ts";
import { admitMember, foundMesh, testTime, type TestMember, type TestTime } from "../sync/mesh.ts";
import { introduce, meet, syncAll, type Mate } from "./team.ts";

/** After so long every proposal is looked at again. */
const TURN_MS = GAP_MS + 1_000;

export interface Turn {
  do: string;
  who: number;
  with: number;
  /** Which key, or which place. */
  at: number;
}

/** `kinds` and `mates` in the order in which a seed means them. */
export function turnsOf(
  { kinds, mates, mostAt }: { kinds: readonly string[]; mates: number; mostAt: number },
  length: { minLength: number; maxLength: number },
): fc.Arbitrary<Turn[]> {
  const one = fc.nat({ max: mates - 1 });
  return fc.array(
    fc.record({ do: fc.constantFrom(...kinds), who: one, with: one, at: fc.nat({ max: mostAt }) }),
    length,
  );
}

export interface Team<M extends Mate> {
  time: TestTime;
  mates: M[];
  eve: M;
  all(): M[];
  /** With what is on its disk, or on another in its place. */
  restart(who: number, disk?: TestMember["disk"]): Promise<void>;
}

export async function foundTeam<M extends Mate>(
  [first, ...names]: readonly [string, ...string[]],
  open: (member: TestMember) => Promise<M>,
): Promise<Team<M>> {
  const time = testTime();
  const founder = await foundMesh(first, time);
  const mates = [await open(founder)];
  for (const name of names) mates.push(await open(await admitMember(founder, name, { role: "admin" })));
  const eve = await open(await admitMember(founder, "eve"));
  const all = (): M[] => [...mates, eve];
  introduce(all());
  return {
    time,
    mates,
    eve,
    all,
    async restart(who, disk) {
      await mates[who]!.close();
      mates[who] = await open(await mates[who]!.member.reopen(disk));
      introduce(all());
    },
  };
}

interface Moves<M extends Mate> {
  /** Begins each turn. */
  write(mate: M, turn: Turn, i: number): Promise<unknown>;
  /** What happens before a restart. */
  between?(turn: Turn, i: number): Promise<unknown>;
  /** Eve has heard of the turn. */
  heard?(): Promise<unknown>;
}

/** Plays, and lets all come to rest: in step, with every snapshot looked at. */
export async function play<M extends Mate>(team: Team<M>, turns: readonly Turn[], moves: Moves<M>): Promise<void> {
  const { time, mates, eve, all } = team;
  await syncAll(...all());
  for (const [i, turn] of turns.entries()) {
    const { do: what, who, with: other } = turn;
    const mate = mates[who]!;
    await moves.write(mate, turn, i);
    if (what === "meet" && who !== other) await meet(mate, mates[other]!);
    if (what === "make") await tried(mate.snapshots.make());
    if (what === "look") await mate.snapshots.look();
    if (what === "prune") await tried(mate.snapshots.prune());
    if (what === "everybody") await makeAndPrune(team, mate);
    await moves.between?.(turn, i);
    if (what === "restart") await team.restart(who);
    await meet(mates[who]!, eve);
    await moves.heard?.();
    time.pass(TURN_MS);
  }
  for (let round = 0; round < 3; round++) {
    await syncAll(...all());
    time.pass(TURN_MS);
    for (const mate of mates) await mate.snapshots.look();
  }
}

async function makeAndPrune({ all }: Team<Mate>, mate: Mate): Promise<void> {
  await tried(mate.snapshots.make());
  await syncAll(...all());
  for (const one of all()) await one.snapshots.look();
  await syncAll(...all());
  await tried(mate.snapshots.prune());
}

/** What may be refused in the middle of things: nothing to make or to prune, a card that another has removed, no right to say it. */
export async function tried(work: Promise<unknown>, ...codes: string[]): Promise<void> {
  await work.catch((error: unknown) => {
    if (!(error instanceof KinError)) throw error;
    expect(["NOT_FOUND", ...codes]).toContain(error.code);
  });
}

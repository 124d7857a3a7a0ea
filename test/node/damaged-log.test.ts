/** P18: a log.db that can't be opened: said, put aside, what can be read saved, the rest brought by others. */
import { existsSync, globSync } from "node:fs";
import { join } from "node:path";
import Database from "libsql";
import { expect, test } from "vitest";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

async function keysOf(person: Person): Promise<string[]> {
  return (await person.json<{ items: { key: string }[] }>(["facts", "ls"])).items.map(({ key }) => key).toSorted();
}

test("P18: [damaged-log] a node whose log.db can't be opened says so and the way out; repaired, it has what it had, unsynced things too", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  for (const key of ["one", "two", "three"]) expect((await ben.kin(["facts", "set", key, "synced"])).code).toBe(0);
  await until(async () => (await keysOf(ana)).length === 3);
  await ana.kin(["down"]);
  expect((await ben.kin(["facts", "set", "alone", "not synced"])).code).toBe(0);
  await ben.kin(["down"]);

  // One value is wrong, and an event of his in the middle is gone.
  const file = globSync(join(ben.home, "meshes", "*", "log.db"))[0]!;
  const db = new Database(file);
  db.exec(
    `UPDATE state SET value = x'00' WHERE key = (SELECT min(key) FROM state);
     DELETE FROM events WHERE position = (SELECT e.position FROM events e JOIN logs l ON l.log = e.log
       JOIN authors a ON a.author = l.author WHERE l.chain = 'mesh' ORDER BY l.log, e.seq LIMIT 1 OFFSET 4)`,
  );
  db.close();

  const refused = await ben.kin(["up"]);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(/log\.db is damaged[^]*CORRUPT[^]*doctor --repair/);
  const named = await ben.kin(["doctor"]);
  expect(named.code).toBe(1);
  expect(named.out).toMatch(/fail +log +log\.db is damaged[^]*doctor --repair/);
  const repaired = await ben.kin(["doctor", "--repair"]);
  expect(repaired.out).toMatch(
    /ok +log +the damaged file is kept in .*; \d+ events and \d+ values were saved; \d+ events wait/,
  );
  expect(existsSync(globSync(join(ben.home, "meshes", "*", "damaged-*", "log.db"))[0]!)).toBe(true);

  expect(await ben.kin(["up"])).toMatchObject({ code: 0 });
  await ana.kin(["up"]);
  await until(async () => (await keysOf(ben)).length === 3);
  await ben.kin(["down"]);
  const again = await ben.kin(["doctor", "--repair"]);
  expect(again.out).toMatch(/ok +log +log\.db can be read; \d+ events/);
  await ben.kin(["up"]);
  for (const person of [ben, ana]) await until(async () => (await keysOf(person)).includes("alone"));
  expect(await keysOf(ana)).toEqual(["alone", "one", "three", "two"]);
  expect((await ben.kin(["facts", "set", "after", "the repair"])).code).toBe(0);
  await until(async () => (await keysOf(ana)).includes("after"));
}, 240_000);

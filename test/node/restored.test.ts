/** P19: a data folder that is put back from a copy, while others know what was written since. */
import { globSync } from "node:fs";
import { cp, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

const WRITTEN_SINCE = 5;

interface Fact {
  key: string;
  values: { value: unknown }[];
}

async function factsOf(person: Person): Promise<string[]> {
  const { items } = await person.json<{ items: Fact[] }>(["facts", "ls"]);
  return items
    .map(
      ({ key, values }) =>
        `${key} = ${values
          .map(({ value }) => JSON.stringify(value))
          .toSorted()
          .join(" | ")}`,
    )
    .toSorted();
}

async function set(person: Person, key: string, value: string): Promise<void> {
  const done = await person.kin(["facts", "set", key, value]);
  expect(done, done.err).toMatchObject({ code: 0 });
}

const isOnline = async (person: Person): Promise<boolean> =>
  (await person.json<{ items: { online: boolean }[] }>(["peers"])).items[0]!.online;

/** Both have the same facts, and these keys are among them. */
async function untilEqual(a: Person, b: Person, keys: readonly string[]): Promise<string[]> {
  return until(async () => {
    const [left, right] = [await factsOf(a), await factsOf(b)];
    const has = (key: string): boolean => left.some((line) => line.startsWith(`${key} = `));
    return left.join("\n") === right.join("\n") && keys.every(has) ? left : undefined;
  });
}

/** Forks that the node has proofs of, and how many logs each device has written into the mesh. */
async function storeOf({ home }: Person): Promise<{ forks: number; logsOfDevice: number[]; events: string[] }> {
  const store = await openLibsqlStore({ file: globSync(join(home, "meshes", "*", "log.db"))[0]! });
  const forks = (await store.values("fork/")).length;
  const counts = new Map<string, number>();
  const events: string[] = [];
  for (const { log, seq, opening } of await store.logs()) {
    if (opening.chain === "here") continue;
    counts.set(opening.device, (counts.get(opening.device) ?? 0) + 1);
    for (const { id } of await store.range(log, 0, seq + 1)) events.push(id);
  }
  await store.close();
  return { forks, logsOfDevice: [...counts.values()].toSorted((a, b) => a - b), events: events.toSorted() };
}

/** Ben's folder is copied, he goes on, and the copy is put back. */
async function restoredBen(ben: Person, ana: Person): Promise<string[]> {
  await set(ben, "before", "the copy");
  await untilEqual(ben, ana, ["before"]);
  await ben.kin(["down"]);
  await cp(ben.home, `${ben.home}-copy`, { recursive: true });
  await ben.kin(["up"]);
  const since = Array.from({ length: WRITTEN_SINCE }, (_, i) => `since-${i}`);
  for (const key of since) await set(ben, key, "written after the copy");
  await untilEqual(ben, ana, since);
  await ben.kin(["down"]);
  await rm(ben.home, { recursive: true });
  await cp(`${ben.home}-copy`, ben.home, { recursive: true });
  return since;
}

test("P19: a restored folder gets back from others what it had written since, goes on in a new log, and forks nothing", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const since = await restoredBen(ben, ana);
  expect((await ben.kin(["up"])).code).toBe(0);
  await until(() => isOnline(ana));
  await set(ben, "after", "the restore");
  const facts = await untilEqual(ben, ana, [...since, "before", "after"]);
  expect(facts).toHaveLength(WRITTEN_SINCE + 2);
  for (const person of [ben, ana]) await person.kin(["down"]);
  const [bens, anas] = [await storeOf(ben), await storeOf(ana)];
  console.log(
    `P19: ${bens.forks + anas.forks} forks, ${WRITTEN_SINCE + 2 - facts.length} facts lost, logs a device ${bens.logsOfDevice.join(" and ")}`,
  );
  expect(bens).toEqual(anas);
  expect(bens).toMatchObject({ forks: 0, logsOfDevice: [1, 2] });
}, 240_000);

test("P19: a restored folder that writes before it meets anybody who knows more loses nothing either", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const since = await restoredBen(ben, ana);
  await ana.kin(["down"]);
  expect((await ben.kin(["up"])).code).toBe(0);
  await set(ben, "alone", "after the restore");
  await ana.kin(["up"]);
  const facts = await untilEqual(ben, ana, [...since, "before", "alone"]);
  expect(facts).toHaveLength(WRITTEN_SINCE + 2);
  await set(ben, "later", "in a new log");
  await set(ana, "hers", "too");
  await untilEqual(ben, ana, ["later", "hers"]);
}, 240_000);

test("[own-writes-wait] a restored folder whose agents have changed meanwhile starts alone, and tells of them without a fork", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const since = await restoredBen(ben, ana);
  await ana.kin(["down"]);
  const folder = join(ben.home, "agents", "teller");
  await mkdir(folder, { recursive: true });
  const front =
    "name: teller\ndescription: Says the time.\nfor: members\ntools: [time]\nsteps:\n  - tool: time\n    as: now";
  await writeFile(join(folder, "AGENT.md"), `---\n${front}\nanswer: "it is {{now.text}}"\n---\nSays the time.\n`);
  expect((await ben.kin(["up"])).code).toBe(0);
  expect((await ben.kin(["agents", "--json"])).out, "he has it himself").toContain("ben/teller");
  await ana.kin(["up"]);
  await until(async () => (await ana.kin(["agents", "--json"])).out.includes("ben/teller"));
  await untilEqual(ben, ana, since);
  for (const person of [ben, ana]) await person.kin(["down"]);
  expect(await storeOf(ben)).toMatchObject({ forks: 0 });
  expect(await storeOf(ana)).toMatchObject({ forks: 0, logsOfDevice: [1, 2] });
}, 240_000);

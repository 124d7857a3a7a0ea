/** Documents by real processes: written apart, equal again; the views may be thrown away; agents' settings work at once. */
import { rm } from "node:fs/promises";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

const noteOf = (person: Person) => person.json<{ text: string }>(["note", "show", "plan"]);

test("documents-offline: two who write notes and facts while the other is off see both when they meet, and after a restart without views", async () => {
  await using world = await openWorld();
  const { ana, ben } = await twoPeople(world, null);
  await ana.kin(["note", "new", "plan", "--text", "milk\nbread\n"]);
  await until(async () => (await noteOf(ben)).text === "milk\nbread\n");

  await ana.kin(["down"]);
  expect(await ben.kin(["note", "edit", "plan", "--append", "jam"])).toMatchObject({ code: 0 });
  expect(await ben.kin(["facts", "set", "port", "1"])).toMatchObject({ code: 0 });
  await ben.kin(["down"]);
  await ana.kin(["up"]);
  expect(await ana.kin(["note", "edit", "plan"], { stdin: "oat milk\nbread\n" })).toMatchObject({ code: 0 });
  expect(await ana.kin(["facts", "set", "port", "2"])).toMatchObject({ code: 0 });
  await ben.kin(["up"]);

  const merged = "oat milk\nbread\njam\n";
  await until(async () => (await noteOf(ana)).text === merged);
  await until(async () => (await noteOf(ben)).text === merged);
  const port = await ben.json<{ values: { value: number; by: string }[] }>(["facts", "get", "port"]);
  expect(port.values.map(({ value, by }) => `${by} ${value}`).toSorted()).toEqual(["ana 2", "ben 1"]);

  await ben.kin(["down"]);
  const meshes = join(ben.home, "meshes");
  for (const mesh of readdirSync(meshes))
    for (const file of readdirSync(join(meshes, mesh)).filter((name) => name.startsWith("views.db")))
      await rm(join(meshes, mesh, file));
  await ben.kin(["up"]);
  expect((await noteOf(ben)).text).toBe(merged);
  await ben.kin(["facts", "set", "port", "3"]);
  const valuesOfAna = async () => (await ana.json<{ values: { value: number }[] }>(["facts", "get", "port"])).values;
  await until(async () => (await valuesOfAna()).length === 1);
  expect((await valuesOfAna())[0]!.value).toBe(3);

  // What its owner sets of an agent counts at once, for others too.
  expect(await ben.kin(["agents", "config", "guide", "paused", "true"])).toMatchObject({ code: 0 });
  expect(await ana.kin(["ask", "ben/guide", "what can I ask?"])).toMatchObject({ code: 4 });
  expect(await ana.kin(["agents", "config", "ben/guide", "paused", "false"])).toMatchObject({ code: 4 });
  expect(await ben.kin(["agents", "config", "guide", "paused", "--unset"])).toMatchObject({ code: 0 });
  expect(await ana.kin(["ask", "ben/guide", "what can I ask?"])).toMatchObject({ code: 0 });
}, 180_000);

import { join } from "node:path";
import { expect, test } from "vitest";
import { makeRepository, openWorld, until } from "./people.ts";

interface Agents {
  items: { address: string; via: string; online: boolean; mayAsk: boolean }[];
}

test("[discovery-log] agents are found in the log with the network down; others' come before mine", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const off = { discovery: { mdns: false, dht: false } };
  const [ben, ana] = [await world.person("ben", off), await world.person("ana", off)];
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "ana", "--share", folder]);
  expect((await ana.kin(["join", ticket])).code).toBe(0);
  await ben.kin(["down"]);
  await ana.kin(["down"]);
  await ana.kin(["up"]);
  const { items } = await ana.json<Agents>(["agents"]);
  expect(
    items
      .filter(({ address }) => address.startsWith("ben/"))
      .map(({ address, via, online, mayAsk }) => ({ address, via, online, mayAsk })),
  ).toEqual([
    { address: "ben/guide", via: "log", online: false, mayAsk: true },
    { address: "ben/librarian", via: "log", online: false, mayAsk: true },
    { address: "ben/reviewer", via: "log", online: false, mayAsk: true },
  ]);
  expect(items.map(({ address }) => address.split("/")[0])).toEqual(["ben", "ben", "ben", "ana", "ana", "ana"]);
}, 60_000);

test("[discovery-switches] with the log off no card arrives as an event, and an agent that is asked for by name is found all the same", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const settings = (dht: boolean): object => ({ discovery: { log: false, mdns: false, dht } });
  const ben = await world.person("ben", { discovery: { log: true, mdns: false, dht: true } });
  const [ana, carl] = [await world.person("ana", settings(true)), await world.person("carl", settings(false))];
  for (const who of [ana, carl]) {
    const { ticket } = await ben.json<{ ticket: string }>([
      "invite",
      "--name",
      who.name,
      ...(who === ana ? ["--share", folder, "--share-name", "app"] : []),
    ]);
    expect((await who.kin(["join", ticket])).code).toBe(0);
  }
  expect((await carl.json<Agents>(["agents"])).items.filter(({ via }) => via !== "self")).toEqual([]);
  await until(async () => (await ana.kin(["ask", "ben/reviewer", "what changed?"])).code === 0);
  const found = (await ana.json<Agents>(["agents"])).items.find(({ address }) => address === "ben/reviewer");
  expect(["dht", "direct"]).toContain(found?.via);
}, 90_000);

import { expect, test } from "vitest";
import { openWorld, until, type Person } from "./people.ts";

interface Item {
  id: string;
  counts: boolean;
  here: string;
  base: boolean;
  signedBy: string[];
  waitingFor: string[];
}
const snapshots = async (person: Person): Promise<Item[]> =>
  (await person.json<{ items: Item[] }>(["snapshot", "ls"])).items;
const facts = (person: Person): Promise<unknown> => person.json(["facts", "ls"]);
const textOf = async (person: Person): Promise<string> =>
  (await person.json<{ text: string }>(["note", "show", "plan"])).text;

async function join(host: Person, guest: Person): Promise<{ agents: { address: string }[] }> {
  const { ticket } = await host.json<{ ticket: string }>(["invite", "--name", guest.name]);
  return guest.json(["join", ticket]);
}

test("[catch-up] [snapshot-notes] three nodes: two make, sign and prune; the third, who was away, takes the state in and has the same facts and notes", async () => {
  await using world = await openWorld();
  const [ben, ana, cem] = [await world.person("ben"), await world.person("ana"), await world.person("cem")];
  await join(ben, ana);
  await join(ben, cem);
  await ben.kin(["note", "new", "plan", "--text", "milk\n"]);
  await ben.kin(["facts", "set", "early", "1"]);
  await until(async () => JSON.stringify(await facts(cem)).includes("early"));
  await cem.kin(["down"]);

  for (const [key, value] of [
    ["k", "1"],
    ["k", "2"],
    ["other", "3"],
  ] as const)
    await ben.kin(["facts", "set", key, value]);
  await ben.kin(["facts", "unset", "early"]);
  await ben.kin(["note", "edit", "plan", "--append", "bread\n"]);
  const refused = await ben.kin(["snapshot", "prune"]);
  expect(refused).toMatchObject({ code: 1, err: expect.stringContaining("there is no snapshot") as string });
  const made = await ben.json<{ snapshot: Item }>(["snapshot", "make"]);
  await until(async () => (await snapshots(ben))[0]?.counts === true);
  const waits = await ben.kin(["snapshot", "prune"]);
  expect(waits.err).toContain("waits for cem");
  expect((await ben.kin(["snapshot", "dormant", "cem"])).code).toBe(0);
  await until(async () => (await ana.json<{ dormant: string[] }>(["snapshot", "ls"])).dormant.includes("cem"));
  for (const person of [ben, ana])
    expect(await person.json(["snapshot", "prune"])).toMatchObject({
      id: made.snapshot.id,
      bodies: expect.any(Number) as number,
    });

  await cem.kin(["up"]);
  await until(async () => (await snapshots(cem)).some(({ here }) => here === "adopted"));
  expect(await facts(cem)).toEqual(await facts(ben));
  expect(await textOf(cem)).toBe("milk\nbread\n");
  await cem.kin(["note", "edit", "plan", "--append", "tea\n"]);
  await cem.kin(["down"]);
  await cem.kin(["up"]);
  expect(await facts(cem)).toEqual(await facts(ben));
  expect(JSON.stringify(await facts(ben))).not.toContain("early");
  expect((await cem.kin(["facts", "get", "k"])).out.trim()).toBe("2");
  expect((await snapshots(cem)).find(({ id }) => id === made.snapshot.id)).toMatchObject({
    base: true,
    signedBy: ["ana", "ben"],
  });

  // A newcomer, too: whom he can ask was said in cards whose bodies are gone.
  const dan = await world.person("dan");
  expect((await join(ben, dan)).agents.map(({ address }) => address)).toContain("ben/guide");
  await until(async () => JSON.stringify(await facts(dan)) === JSON.stringify(await facts(ben)));
  await until(async () => (await textOf(dan)) === "milk\nbread\ntea\n");
}, 240_000);

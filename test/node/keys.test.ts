/** `kin keys rotate`, with real processes: what was under way still opens, what comes after needs the new key. */
import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

const LIMIT_MS = 120_000;

interface SealingFile {
  keys: { key: string; madeAt: number }[];
}

async function sealingFile({ home }: Person): Promise<SealingFile> {
  return JSON.parse(await readFile(join(home, "keys", "sealing.json"), "utf8")) as SealingFile;
}

async function askLater(from: Person, text: string): Promise<string> {
  return (await from.json<{ id: string }>(["ask", "ana/guide", text, "--later"])).id;
}

async function answered(by: Person, id: string): Promise<boolean> {
  return (await by.kin(["wait", id, "--timeout", "30s"])).code === 0;
}

test(
  "R7 keys-rotate: a new sealing key is told; a call under way to the old one is still answered, a later one needs only the new",
  async () => {
    await using world = await openWorld();
    const { ben, ana } = await twoPeople(world, null);
    await ana.kin(["down"]);
    const before = await askLater(ben, "sealed to the old key");
    await ben.kin(["down"]);

    await ana.kin(["up"]);
    const rotated = await ana.kin(["keys", "rotate", "sealing"]);
    expect(rotated, rotated.err).toMatchObject({
      code: 0,
      out: expect.stringContaining("a new sealing key") as string,
    });
    const file = await sealingFile(ana);
    expect(file.keys).toHaveLength(2);

    await ben.kin(["up"]);
    expect(await answered(ben, before)).toBe(true);

    await ana.kin(["down"]);
    const after = await askLater(ben, "sealed to the new key");
    await writeFile(join(ana.home, "keys", "sealing.json"), JSON.stringify({ ...file, keys: file.keys.slice(0, 1) }));
    await ana.kin(["up"]);
    expect(await answered(ben, after)).toBe(true);
    expect((await ana.kin(["facts", "set", "still", "readable"])).code).toBe(0);
    await until(async () => (await ben.kin(["facts", "get", "still"])).out.includes("readable"));
  },
  LIMIT_MS,
);

test(
  "R17 keys-rotate: an agent answers under its new key at once; what kin cannot rotate it says in words",
  async () => {
    await using world = await openWorld();
    const { ben, ana } = await twoPeople(world, null);
    const [mesh] = await readdir(join(ben.home, "meshes"));
    expect((await ana.kin(["ask", "ben/guide", "who is there?"])).code).toBe(0);
    expect(await ben.json(["keys", "rotate", "agent", "guide"])).toMatchObject({ agent: "guide", generation: 2 });
    const file = await readFile(join(ben.home, "keys", mesh!, "agents", "guide.json"), "utf8");
    expect((JSON.parse(file) as { keys: object[] }).keys).toMatchObject([{ generation: 2 }]);
    expect(await ana.kin(["ask", "ben/guide", "and now?"])).toMatchObject({ code: 0 });
    await ben.kin(["down"]);
    await ben.kin(["up"]);
    await until(async () => (await ana.kin(["ping", "ben", "-n", "1"])).code === 0);
    expect(await ana.kin(["ask", "ben/guide", "and after a restart?"])).toMatchObject({ code: 0 });

    const said = async (...words: string[]): Promise<string> => {
      const { code, err } = await ben.kin(["keys", "rotate", ...words]);
      return `${code} ${err}`;
    };
    expect(await said("agent", "nobody")).toMatch(/^1 kin: none of your agents is called "nobody"[\s\S]*guide/);
    expect(await said("device")).toMatch(/^4 .*its address in the network/);
    expect(await said("sealed")).toMatch(/^2 .*no key that kin can rotate[\s\S]*kin keys rotate sealing/);
  },
  LIMIT_MS,
);

test(
  "R1 keys-rotate: an admin gets a new person key, stays who he is and goes on; a member is told why he can't",
  async () => {
    await using world = await openWorld();
    const { ben, ana } = await twoPeople(world, null);
    const personFile = join(ben.home, "keys", "person.json");
    const before = await readFile(personFile, "utf8");
    const me = async (): Promise<unknown> =>
      (await ben.json<{ items: { name: string; person: string }[] }>(["members"])).items.find(
        ({ name }) => name === "ben",
      );
    const whoIWas = await me();

    const refused = await ana.kin(["keys", "rotate", "person"]);
    expect(refused).toMatchObject({
      code: 4,
      err: expect.stringContaining("only an admin can give a person a new key") as string,
    });
    const rotated = await ben.kin(["keys", "rotate", "person"]);
    expect(rotated, rotated.err).toMatchObject({
      code: 0,
      out: expect.stringContaining("You have a new person key") as string,
    });
    const after = JSON.parse(await readFile(personFile, "utf8")) as { public: string; keys: object[] };
    expect(after.keys).toHaveLength(1);
    expect(before).not.toContain(after.public);

    await ben.kin(["down"]);
    await ben.kin(["up"]);
    expect(await me()).toEqual(whoIWas);
    const li = await world.person("li");
    const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "li"]);
    expect((await li.kin(["join", ticket])).code).toBe(0);
    await until(async () => (await ana.kin(["ping", "ben", "-n", "1"])).code === 0);
    expect(await ana.kin(["ask", "ben/guide", "still you?"])).toMatchObject({ code: 0 });
    expect((await ben.kin(["remove", "li"])).code).toBe(0);
  },
  LIMIT_MS,
);

test(
  "[device-add] keys-rotate: whose person key was changed on another machine is told on which one machines are added now",
  async () => {
    await using world = await openWorld();
    const { ben } = await twoPeople(world, null);
    const { items } = await ben.json<{ items: { device: string }[] }>(["device", "ls"]);
    const first = items[0]!.device;
    const { ticket } = await ben.json<{ ticket: string }>(["device", "add"]);
    const desk = await world.person("desk", { name: "ben", device: "desk" });
    expect((await desk.kin(["join", ticket])).code).toBe(0);
    expect(await desk.kin(["device", "add"])).toMatchObject({
      code: 4,
      err: expect.stringContaining(`make the ticket on ${first}: that one holds it`) as string,
    });
    const rotated = await desk.kin(["keys", "rotate", "person"]);
    expect(rotated, rotated.err).toMatchObject({
      code: 0,
      out: expect.stringContaining(`on ${first} neither`) as string,
    });
    const refused = await until(async () => {
      const tried = await ben.kin(["device", "add"]);
      return tried.code === 0 ? undefined : tried;
    });
    expect(refused).toMatchObject({
      code: 4,
      err: expect.stringContaining("make the ticket on desk: that one holds it") as string,
    });
    expect((await desk.kin(["device", "add"])).code).toBe(0);
  },
  LIMIT_MS,
);

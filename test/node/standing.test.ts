import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { AgentItem } from "../../node/gateway/control-api.ts";
import { openWorld, twoPeople, until } from "./people.ts";

test("who may not invite or remove is told so in words, with who may; the last admin stays", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const words = async (person: typeof ben, ...args: string[]): Promise<string> => {
    const ran = await person.kin(args);
    expect(ran.out).toBe("");
    return `${ran.code} ${ran.err}`;
  };
  expect(await words(ana, "invite")).toMatch(/^4 kin: only an admin can invite, .*\n +admins: ben\n$/);
  expect(await words(ana, "remove", "ben")).toContain("only an admin can remove members");
  expect(await words(ben, "remove", "ben")).toContain("ben is the last admin of ben-mesh");
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "li", "--role", "admin"]);
  const li = await world.person("li");
  expect((await li.kin(["join", ticket])).code).toBe(0);
  expect(await words(li, "remove", "ben")).toContain("ben founded ben-mesh");
  expect(await words(li, "remove", "li")).toContain("nobody removes himself");
  expect((await ben.kin(["remove", "li"])).code).toBe(0);
  expect((await ben.kin(["remove", "ana"])).out).toContain("you are the only member now");
}, 120_000);

test("a removed member's own node says so everywhere, and promises nothing", async () => {
  await using world = await openWorld();
  const { ben, ana, ticket } = await twoPeople(world, null);
  const folder = join(world.folder, "other");
  await mkdir(folder);
  expect((await ben.kin(["remove", "ana"])).code).toBe(0);
  const status = await until(async () => {
    const { out } = await ana.kin(["status"]);
    return out.includes("you were removed") && out;
  });
  expect(status).not.toContain("only you");
  expect(await ana.json(["status"])).toMatchObject({ mesh: { role: "removed", members: 1 } });
  const { items } = await ana.json<{ items: AgentItem[] }>(["agents"]);
  expect(items.map(({ mayAsk }) => mayAsk)).toEqual(items.map(() => false));
  for (const args of [
    ["share", "add", folder],
    ["join", ticket],
    ["ask", "ben/guide", "hi"],
  ])
    expect(await ana.kin(args)).toMatchObject({ code: 4, err: expect.stringContaining("(REMOVED)") as string });
}, 120_000);

test("[share-widened] a folder that is shared already is shared with the next guest, too, and with whom it is added for", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const folder = join(world.folder, "app");
  await mkdir(folder);
  const shared = async (): Promise<{ name: string; for: string[] }[]> =>
    (await ben.json<{ items: { name: string; for: string[] }[] }>(["share", "ls"])).items;
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "li", "--share", folder]);
  expect(await shared()).toMatchObject([{ name: "app", for: ["li (invited, not here yet)"] }]);
  const second = await ben.json<{ ticket: string }>(["invite", "--name", "max", "--share", folder]);
  expect(await shared()).toMatchObject([
    { name: "app", for: ["li (invited, not here yet)", "max (invited, not here yet)"] },
  ]);
  const li = await world.person("li");
  expect((await li.kin(["join", ticket])).code).toBe(0);
  await until(async () => (await shared())[0]!.for.includes("li"));
  expect((await ben.kin(["share", "add", folder, "--for", "ana"])).code).toBe(0);
  expect((await shared())[0]!.for.toSorted()).toEqual(["ana", "li", "max (invited, not here yet)"]);
  await until(async () => (await ana.kin(["call", "ben/tools/fs.search", '{"text": "x"}'])).code === 0);
  // Another folder under the same name is another share.
  const other = join(world.folder, "other", "app");
  await mkdir(other, { recursive: true });
  expect(await ben.kin(["share", "add", other])).toMatchObject({
    code: 1,
    err: expect.stringContaining("NAME_TAKEN") as string,
  });
  expect((await ben.kin(["invite", "--close", second.ticket])).code).toBe(0);
}, 120_000);

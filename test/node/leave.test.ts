/** `kin leave`, with real processes: said before, told to who is there, set aside. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { MemberItem, OutboxItem } from "../../node/gateway/control-api.ts";
import { makeRepository, openWorld, twoPeople, until, type Person } from "./people.ts";

const LIMIT_MS = 120_000;

async function membersOf(person: Person): Promise<string[]> {
  return (await person.json<{ items: MemberItem[] }>(["members"])).items.map(({ name }) => name).toSorted();
}

/** Invited by `by` and in. */
async function joinedBy(by: Person, guest: Person, ...options: string[]): Promise<void> {
  const { ticket } = await by.json<{ ticket: string }>(["invite", "--name", guest.name, ...options]);
  const joined = await guest.kin(["join", ticket]);
  if (joined.code !== 0) throw new Error(`join: ${joined.out}${joined.err}`);
}

test(
  "leave: says what it means, tells who is there, ends what was for the whole mesh, sets the folder aside, and the node is free for another mesh",
  async () => {
    await using world = await openWorld();
    const { ben, ana } = await twoPeople(world, null);
    const li = await world.person("li");
    await joinedBy(ben, li);
    await until(async () => (await membersOf(ana)).length === 3);
    await ana.kin(["share", "add", await makeRepository(join(world.folder, "notes"))]);
    await li.kin(["down"]);
    const { id } = await ana.json<{ id: string }>(["ask", "li/guide", "are you there?", "--later"]);

    const refused = await ana.kin(["leave"]);
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining("kin leave --yes") as string });
    expect(await membersOf(ana), "asked, not answered: still in it").toEqual(["ana", "ben", "li"]);

    const left = await ana.kin(["leave", "--yes"]);
    expect(left.code, left.err).toBe(0);
    expect(left.err).toContain("You leave the mesh ben-mesh.");
    expect(left.err).toContain("- ben learns it now, the rest from them");
    expect(left.err).toContain("1 call still waits in your outbox");
    expect(left.err).toContain(id);
    expect(left.err).toContain("shares that are for the whole mesh end: notes");
    expect(left.out).toContain("You have left ben-mesh; ben knows it.");

    expect(await membersOf(ben)).toEqual(["ben", "li"]);
    expect((await ana.json<{ mesh: unknown }>(["status"])).mesh).toBeNull();
    const aside = readdirSync(join(ana.home, "meshes"));
    expect(aside).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.archived-/)]);
    expect(existsSync(join(ana.home, "meshes", aside[0]!, "log.db"))).toBe(true);
    expect(readFileSync(join(ana.home, "config.jsonc"), "utf8")).not.toContain("notes");

    // Who was away hears it from the others, and what is written from now on is sealed under a key that Ana lacks (R6).
    await ben.kin(["facts", "set", "after", "ana"]);
    await li.kin(["up"]);
    await until(async () => (await membersOf(li)).length === 2);
    await until(async () => (await li.kin(["facts", "get", "after"])).out.includes("ana"));

    const cat = await world.person("cat");
    await joinedBy(cat, ana);
    expect(await membersOf(ana)).toEqual(["ana", "cat"]);
  },
  LIMIT_MS,
);

test(
  "leave: not the last admin, not unheard unless that is said, not twice; alone it is only the folder; remove points to it",
  async () => {
    await using world = await openWorld();
    const { ben, ana } = await twoPeople(world, null);
    expect(await ben.kin(["leave", "--yes"])).toMatchObject({
      code: 1,
      err: expect.stringContaining("you are the last admin of ben-mesh") as string,
    });
    expect(await ana.kin(["remove", "ana"])).toMatchObject({
      code: 4,
      err: expect.stringMatching(/nobody removes himself[\s\S]*kin leave/) as string,
    });
    await ben.kin(["down"]);
    await until(async () => !(await ana.kin(["peers"])).out.includes("loopback"));
    const alone = await ana.kin(["leave", "--yes"]);
    expect(alone).toMatchObject({
      code: 1,
      err: expect.stringContaining("nobody would learn that you left") as string,
    });
    expect(await membersOf(ana)).toEqual(["ana", "ben"]);
    const unheard = await ana.kin(["leave", "--yes", "--unheard"]);
    expect(unheard).toMatchObject({
      code: 0,
      out: expect.stringContaining("an admin must remove you there") as string,
    });
    expect(await ana.kin(["leave", "--yes"])).toMatchObject({ err: expect.stringContaining("NOT_IN_MESH") as string });

    await ben.kin(["up"]);
    expect(await membersOf(ben)).toEqual(["ana", "ben"]);
    expect((await ben.kin(["remove", "ana"])).code).toBe(0);
    const last = await ben.kin(["leave", "--yes"]);
    expect(last).toMatchObject({ code: 0, out: expect.stringContaining("You have left ben-mesh.\n") as string });
    expect((await ben.json<{ mesh: unknown }>(["status"])).mesh).toBeNull();
    expect((await ben.json<{ items?: OutboxItem[]; error?: { code: string } }>(["outbox", "ls"])).error?.code).toBe(
      "NOT_IN_MESH",
    );
  },
  LIMIT_MS,
);

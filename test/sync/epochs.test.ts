/** R6 under everything at once: rotation, removal and admission by people who don't know of each other yet. Properties over schedules. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { openEpoch, removePerson } from "../../sync/acts.ts";
import {
  admitMember,
  allEvents,
  foundMesh,
  incarnationOf,
  note,
  notesOf,
  openMember,
  startSync,
  syncOnce,
  testTime,
  type TestMember,
} from "./mesh.ts";

type Step =
  | { what: "write" | "rotate"; who: number }
  | { what: "sync"; who: number; with: number }
  | { what: "admit"; who: number }
  | { what: "remove"; who: number; whom: number };

const index = fc.nat(7);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant("write" as const), who: index }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant("rotate" as const), who: index }) },
  { weight: 4, arbitrary: fc.record({ what: fc.constant("sync" as const), who: index, with: index }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant("admit" as const), who: index }) },
  { weight: 2, arbitrary: fc.record({ what: fc.constant("remove" as const), who: index, whom: index }) },
);

interface Life {
  member: TestMember;
  /** Notes that were written before he was let in, by who let him in or who that one had heard of. */
  before: Set<string>;
}

/** Runs a schedule among two admins, two members and who joins on the way; what somebody may not do is left out. */
async function live(policy: "reads-all" | "from-epoch", steps: readonly Step[]) {
  const time = testTime();
  const ana = await foundMesh("ana", time, policy);
  const lives: Life[] = [{ member: ana, before: new Set() }];
  const join = async (by: TestMember, name: string, role: "admin" | "member") => {
    const before = new Set(await notesOf(by));
    lives.push({ member: await admitMember(by, name, { role }), before });
  };
  await join(ana, "ben", "admin");
  await join(ana, "cleo", "member");
  let count = 0;
  for (const one of steps) {
    time.pass(1000);
    const me = lives[one.who % lives.length]!.member;
    try {
      if (one.what === "write") await me.replica.append([note(`${me.name} ${count++}`)]);
      if (one.what === "rotate") await openEpoch(me.replica);
      if (one.what === "admit" && lives.length < 7) await join(me, `guest${lives.length}`, "member");
      if (one.what === "sync") await meet(me, lives[one.with % lives.length]!.member);
      if (one.what === "remove") await removePerson(me.replica, personOf(me, lives[one.whom % lives.length]!.member));
    } catch {
      continue; // not his to do, or removed already
    }
  }
  await settle(lives.map(({ member }) => member));
  return { ana, lives };
}

function personOf(me: TestMember, other: TestMember) {
  return me.replica.membership().devices.get(other.replica.device)!.member.person;
}

async function meet(a: TestMember, b: TestMember): Promise<void> {
  if (a === b) return;
  const syncing = startSync(a, b);
  await Promise.race([syncing.caughtUp, syncing.ends]);
  await syncing.stop();
}

async function settle(members: TestMember[]): Promise<void> {
  for (let round = 0; round < 4; round++) {
    for (const [i, one] of members.entries()) for (const other of members.slice(i + 1)) await meet(one, other);
    for (const { replica } of members) await replica.idle();
  }
}

function living(lives: Life[], ana: TestMember): Life[] {
  return lives.filter(({ member }) => ana.replica.membership().devices.has(member.replica.device));
}

test("R6: under reads-all every living member ends up reading all that counts, whatever happened at once [epochs-read-all]", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const { ana, lives } = await live("reads-all", steps);
      const expected = await notesOf(ana);
      expect(expected).not.toContain("unreadable");
      for (const { member } of living(lives, ana)) expect(await notesOf(member)).toEqual(expected);
    }),
    { numRuns: 8 },
  );
}, 60_000);

test("R6: who was removed holds no key of what is written once his removal is known, whoever rotated or admitted meanwhile (P11) [removed-reads-nothing]", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("reads-all" as const, "from-epoch" as const),
      fc.array(step, { maxLength: 14 }),
      async (policy, steps) => {
        const { ana, lives } = await live(policy, steps);
        const here = living(lives, ana);
        for (const { member } of here) await member.replica.append([note(`${member.name} at last`)]);
        await settle(here.map(({ member }) => member));
        const last = new Map((await allEvents(ana)).map((event) => [event.value, event.id]));
        for (const { member } of lives.filter((life) => !here.includes(life))) {
          const taker = await stolenReader(member, ana);
          for (const other of here) {
            const id = last.get(`${other.member.name} at last`)!;
            expect((await taker.replica.event(id))?.unreadable ?? "no-key").toBe("no-key");
          }
        }
        for (const { member } of here)
          expect((await notesOf(member)).filter((text) => text.endsWith("at last"))).toHaveLength(here.length);
      },
    ),
    { numRuns: 8 },
  );
}, 60_000);

test("R6: an epoch that was opened at the same time as a removal, for the removed one too, is not written under once both are known [removed-reads-nothing]", async () => {
  for (let round = 0; round < 6; round++) {
    const time = testTime();
    const ana = await foundMesh(`ana${round}`, time);
    const ben = await admitMember(ana, `ben${round}`);
    const li = await admitMember(ana, `li${round}`);
    await settle([ana, ben, li]);
    await openEpoch(ben.replica); // for Li too: he does not know yet
    await meet(ben, li);
    await removePerson(ana.replica, personOf(ana, li));
    await settle([ana, ben]);
    for (const member of [ana, ben]) {
      const [event] = await member.replica.append([note("without li")]);
      const reader = await stolenReader(li, member);
      expect((await reader.replica.event(event!.id))?.unreadable).toBe("no-key");
      await reader.replica.close();
    }
  }
});

test("[cut-epoch] what a member wrote under an epoch of somebody who was removed at the same time is read by all, who joins later too; nobody writes under it", async () => {
  const time = testTime();
  const ana = await foundMesh("ana", time);
  const ben = await admitMember(ana, "ben");
  const li = await admitMember(ana, "li");
  await settle([ana, ben, li]);
  await openEpoch(li.replica);
  await meet(ben, li);
  await ben.replica.append([note("with li")]);
  await removePerson(ana.replica, personOf(ana, li));
  await settle([ana, ben]);
  const dan = await admitMember(ana, "dan");
  await settle([ana, ben, dan]);
  for (const member of [ana, ben, dan]) expect(await notesOf(member), member.name).toEqual(["with li"]);
  const [event] = await ben.replica.append([note("without li")]);
  await settle([ana, ben, dan]);
  const reader = await stolenReader(li, ana);
  expect((await reader.replica.event(event!.id))?.unreadable).toBe("no-key");
  await reader.replica.close();
});

/** The removed one's keys over a living member's disk: he got hold of all ciphertext. */
async function stolenReader(thief: TestMember, victim: TestMember): Promise<TestMember> {
  return openMember(thief.name, victim.replica.mesh, {
    time: victim.time,
    disk: victim.disk.crash(),
    epochKeys: thief.epochKeys,
    incarnation: incarnationOf("thief"),
  });
}

test("R6: a late joiner reads what the mesh's policy says: all, or nothing that was written before (P11) [late-joiner]", async () => {
  for (const policy of ["reads-all", "from-epoch"] as const) {
    const time = testTime();
    const ana = await foundMesh("ana", time, policy);
    await ana.replica.append([note("before all")]);
    const ben = await admitMember(ana, "ben");
    await ana.replica.append([note("before cleo")]);
    await syncOnce(ana, ben);
    await ben.replica.append([note("by ben")]);
    const cleo = await admitMember(ana, "cleo");
    await ana.replica.append([note("after")]);
    await settle([ana, ben, cleo]);
    await ben.replica.append([note("ben after")]);
    await settle([ana, ben, cleo]);
    const readable = (await notesOf(cleo)).filter((text) => text !== "unreadable");
    const all = ["after", "before all", "before cleo", "ben after", "by ben"];
    expect(readable).toEqual(policy === "reads-all" ? all : ["after", "ben after"]);
  }
});

test("R6: under from-epoch nobody reads what was written before he was let in, whatever happened at once (P11)", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 14 }), async (steps) => {
      const { ana, lives } = await live("from-epoch", steps);
      for (const { member, before } of living(lives, ana)) {
        const read = new Set(await notesOf(member));
        expect([...before].filter((text) => text !== "unreadable" && read.has(text))).toEqual([]);
      }
    }),
    { numRuns: 8 },
  );
}, 60_000);

/** What waits, with real processes: carried by a third member, tried again, explained, waited for over restarts. */
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { counter, seesTool } from "./counter.ts";
import { makeRepository, openWorld, twoPeople, until, type Person, type World } from "./people.ts";

interface Queued {
  outcome: string;
  id: string;
  why: string;
}

interface Retried {
  outcome: string;
  state: string;
  said: string;
  newId: string | null;
}

async function join3(world: World, share: string | null): Promise<{ ben: Person; ana: Person; li: Person }> {
  const { ben, ana } = await twoPeople(world, share);
  const li = await world.person("li");
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "li"]);
  const joined = await li.kin(["join", ticket]);
  expect(joined, joined.err).toMatchObject({ code: 0 });
  return { ben, ana, li };
}

/** Two who have only heard of each other look for each other when they are told to. */
function inStep(person: Person, other: string): Promise<unknown> {
  return until(async () => {
    const { items } = await person.json<{ items: { peer: string; inStep: boolean }[] }>(["sync", "now"]);
    return items.some(({ peer, inStep }) => peer.startsWith(`${other}@`) && inStep);
  });
}

test("[carried] [attached-inside] an ask and its answer travel through a third member who cannot read them; each step is said in words", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const { ben, ana, li } = await join3(world, folder);
  await inStep(ana, "li");
  await ben.kin(["down"]);
  const { id } = await ana.json<Queued>(["ask", "ben/reviewer", "what changed?"]);
  const diff = join(world.folder, "change.diff");
  await writeFile(diff, "diff --git a/x.js b/x.js\n--- a/x.js\n+++ b/x.js\n@@ -1 +1,2 @@\n a\n+debugger;\n");
  const attached = await ana.json<Queued>(["ask", "ben/reviewer", "review this", "--attach", diff]);
  await until(async () => {
    const { items } = await ana.json<{ items: { state: string }[] }>(["outbox", "ls"]);
    return items.length === 2 && items.every(({ state }) => state === "carried");
  });
  const why = await ana.kin(["sync", "why", id]);
  expect(why.out).toMatch(/li@\S+ carries it, without being able to read it/);
  expect(why.out).toContain("ben is offline: kin is not running");
  const retried = await ana.kin(["outbox", "retry", id, "--json"]);
  expect(retried.code).toBe(5);
  expect(JSON.parse(retried.out)).toMatchObject({ outcome: "waits", state: "carried" });
  expect((await li.kin(["sync", "why", id])).err).toContain("NOT_FOUND");
  await ana.kin(["down"]);
  // Ben and Ana are never there at the same time.
  await ben.kin(["up"]);
  await until(async () => {
    const { items } = await ben.json<{ items: { event: string; target: string }[] }>(["audit", "log"]);
    return items.filter(({ event, target }) => event === "ended" && target === "reviewer").length === 2;
  });
  const now = await ben.kin(["sync", "now"]);
  expect(now.out).toMatch(/li@\S+ is in step/);
  expect(now.out).toContain("ana is offline");
  await ben.kin(["down"]);
  await ana.kin(["up"]);
  const answer = await ana.kin(["wait", id, "--timeout", "60s"]);
  expect(answer, answer.err).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
  expect((await ana.kin(["sync", "why", id])).out).toContain("it has been answered");
  const reviewed = await ana.kin(["wait", attached.id, "--timeout", "60s"]);
  expect(reviewed, "a small text file goes along").toMatchObject({
    code: 0,
    out: expect.stringMatching(/x\.js.*debugger/s) as string,
  });
}, 240_000);

test("[later] --later queues an ask to somebody who is there; kin wait gets its answer", async () => {
  await using world = await openWorld();
  const { ana } = await twoPeople(world, null);
  const asked = await ana.kin(["ask", "ben/guide", "what can I ask?", "--later", "--json"]);
  expect(asked.code).toBe(5);
  const { id, why } = JSON.parse(asked.out.trim().split("\n").at(-1)!) as Queued;
  expect(why).toContain("--later");
  expect((await ana.kin(["wait", id, "--timeout", "60s"])).out).toContain("You can ask");
  expect(await ana.kin(["outbox", "retry", id])).toMatchObject({ code: 0 });
}, 120_000);

test("[device-add] a second machine of hers sees what she asked on the first, and its answer when the first is gone", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const { ticket } = await ana.json<{ ticket: string }>(["device", "add"]);
  const desk = await world.person("desk", { name: "ana", device: "desk" });
  const joined = await desk.kin(["join", ticket]);
  expect(joined, joined.err).toMatchObject({ code: 0, out: expect.stringContaining("is ana's now") as string });
  const { items } = await desk.json<{ items: { device: string; me: boolean }[] }>(["device", "ls"]);
  expect(items.find(({ me }) => me)?.device).toBe("desk");
  expect(items).toHaveLength(2);
  expect((await desk.kin(["device", "add"])).err).toContain("person key");
  await ben.kin(["down"]);
  const { id } = await ana.json<Queued>(["ask", "ben/guide", "what can I ask?"]);
  await until(async () => (await desk.json<{ items: unknown[] }>(["outbox", "ls"])).items.length === 1);
  expect((await desk.kin(["outbox", "drop", id])).code).toBe(4); // only the machine that asked takes it back
  await ana.kin(["down"]);
  await ben.kin(["up"]);
  const answered = await desk.kin(["wait", id, "--timeout", "90s"]);
  expect(answered, answered.err).toMatchObject({ code: 0, out: expect.stringContaining("You can ask") as string });
  await ana.kin(["up"]);
  expect((await ana.kin(["device", "remove", "desk"])).code).toBe(0);
  await until(async () => (await desk.kin(["ask", "ben/guide", "still?", "--now"])).code === 4);
}, 240_000);

/** An agent of the person's own that says what time it is. */
async function addClock(person: Person): Promise<string> {
  const folder = join(person.home, "agents", "clock");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const front =
    "name: clock\ndescription: Says the time.\nfor: members\ntools: [time]\nsteps:\n  - tool: time\n    as: now";
  await writeFile(join(folder, "AGENT.md"), `---\n${front}\nanswer: "it is {{now.text}}"\n---\nSays the time.\n`);
  return folder;
}

test("[one-executor] [only-this-device] an agent that has moved to the person's other machine runs there what the first was asked", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null, { device: "laptop" });
  const clock = await addClock(ana);
  const { ticket } = await ana.json<{ ticket: string }>(["device", "add"]);
  const desk = await world.person("desk", { name: "ana", device: "desk" });
  expect((await desk.kin(["join", ticket])).code).toBe(0);
  await ana.kin(["down"]);
  await ana.kin(["up"]);
  await until(async () => (await ben.json<{ items: { address: string }[] }>(["agents"])).items.some(isClock));
  await ana.kin(["down"]);
  const { id } = await ben.json<Queued>(["ask", "ana/clock", "what time is it?"]);
  const there = await ben.json<Queued>(["ask", "ana@laptop/clock", "what time is it there?"]);
  // While it is under way the agent moves.
  await rm(clock, { recursive: true });
  await desk.kin(["down"]);
  await addClock(desk);
  await desk.kin(["up"]);
  await ana.kin(["up"]);
  const answered = await ben.kin(["wait", id, "--timeout", "90s"]);
  expect(answered, answered.err).toMatchObject({ code: 0, out: expect.stringContaining("it is ") as string });
  expect((await ben.kin(["sync", "why", id])).out).toContain("handed it to another device");
  expect(await ben.kin(["wait", there.id, "--timeout", "90s"]), "that machine was meant").toMatchObject({
    code: 1,
    err: expect.stringContaining("only on another one, and the call was for this one") as string,
  });
}, 240_000);

function isClock({ address }: { address: string }): boolean {
  return address.endsWith("/clock");
}

test("[sync-why] a log and its newest event are explained too; what is none of these is a usage error", async () => {
  await using world = await openWorld();
  const { ana } = await twoPeople(world, null);
  interface Status {
    logs: { log: string; writer: string; events: number }[];
    items: { peer: string }[];
  }
  const status = await ana.json<Status>(["sync", "status"]);
  expect(status.items).toMatchObject([{ peer: expect.stringMatching(/^ben@/) as string }]);
  const bens = status.logs.find(({ writer }) => writer.startsWith("ben@"))!;
  const log = await ana.kin(["sync", "why", bens.log]);
  expect(log.out).toMatch(/^the log of ben@\S+: \d+ events are here/);
  const event = /kine1[a-z2-7]+/.exec(log.out)?.[0] ?? "";
  const why = await ana.json<{ kind: string; state: string; said: string[] }>(["sync", "why", event]);
  expect(why).toMatchObject({ kind: "event" });
  expect(why.said.join("\n")).toMatch(/of the log \w+ of ben@/);
  expect((await ana.kin(["sync", "why", "nonsense"])).code).toBe(2);
  expect((await ana.kin(["sync", "why", "ab".repeat(32)])).err).toContain("NOT_FOUND");
}, 120_000);

test("[wait-restarts] kin wait goes on over restarts of either node, and ends when the answer is there", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  await ben.kin(["down"]);
  const { id } = await ana.json<Queued>(["ask", "ben/guide", "what can I ask?"]);
  const waiting = ana.kin(["wait", id, "--timeout", "90s"]);
  // Commands that began later have ended: it waits by now.
  for (let i = 0; i < 3; i++) await ana.kin(["outbox", "ls"]);
  process.kill(await ana.pid(), "SIGKILL");
  await until(async () => (await ana.kin(["up"])).code === 0);
  await ana.kin(["down"]);
  await ana.kin(["up"]);
  await ben.kin(["up"]);
  const answered = await waiting;
  expect(answered, answered.err).toMatchObject({ code: 0, out: expect.stringContaining("You can ask") as string });
}, 120_000);

test("[rights-at-execution] a share that is gone when the ask arrives refuses it, and the asker learns why", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const { ben, ana } = await twoPeople(world, folder);
  await seesTool(ana, "ben/tools/git.log");
  await ben.kin(["down"]);
  const { id } = await ana.json<Queued>(["call", "ben/tools/git.log", '{"max": 1}']);
  await ana.kin(["down"]);
  await ben.kin(["up"]);
  expect((await ben.kin(["share", "rm", "app"])).code).toBe(0);
  await ana.kin(["up"]);
  const refused = await ana.kin(["wait", id, "--timeout", "60s"]);
  expect(refused.code, refused.out + refused.err).toBe(4);
  expect(refused.err).toContain("DENIED");
}, 120_000);

/** Ana's call of Ben's counter, which has begun and waits to be let go. */
async function callThatRuns(world: World) {
  const counted = counter(world);
  const { ben, ana } = await twoPeople(world, null, counted.settings);
  await seesTool(ana, "ben/tools/counter.append");
  const { id } = await ana.json<Queued>(["call", "ben/tools/counter.append", "--later"]);
  await counted.began();
  return { counted, ben, ana, id };
}

test("[ask-again] what ended with an unknown outcome is asked again only as a new call, and only when that is said", async () => {
  await using world = await openWorld();
  const { counted, ben, ana, id } = await callThatRuns(world);
  expect((await ana.kin(["outbox", "retry", id, "--again"])).code).toBe(2); // it still waits
  process.kill(await ben.pid(), "SIGKILL");
  await until(async () => (await ben.kin(["up"])).code === 0);
  const unknown = await ana.kin(["wait", id, "--timeout", "60s"]);
  expect(unknown.code).toBe(1);
  expect(unknown.err).toMatch(/OUTCOME_UNKNOWN[^]*outbox retry \S+ --again/);
  const ended = await ana.kin(["outbox", "retry", id]);
  expect(ended.code).toBe(1);
  expect(ended.out).toMatch(/it has ended[^]*--again/);
  expect(await counted.runs()).toBe(1);
  await counted.go();
  const again = await ana.json<Retried>(["outbox", "retry", id, "--again"]);
  expect(again).toMatchObject({ outcome: "asked-again" });
  expect(again.newId).not.toBe(id);
  const answered = await ana.kin(["wait", again.newId!, "--timeout", "60s"]);
  expect(answered, answered.err).toMatchObject({ code: 0, out: expect.stringContaining("appended") as string });
  expect(await counted.runs()).toBe(2);
}, 120_000);

test("[cancel-running] a call that runs at a colleague's is stopped by kin outbox drop", async () => {
  await using world = await openWorld();
  const { counted, ben, ana, id } = await callThatRuns(world);
  const dropped = await ana.kin(["outbox", "drop", id]);
  expect(dropped.out).toContain("has it already");
  await until(async () => {
    const { items } = await ben.json<{ items: { target: string; outcome: string | null }[] }>(["audit", "log"]);
    return items.some(({ target, outcome }) => target === "tools/counter.append" && outcome === "CANCELLED");
  });
  expect(await counted.runs()).toBe(1);
}, 120_000);

import { expect, test } from "vitest";
import { counter, seesTool } from "./counter.ts";
import { openWorld, twoPeople, until } from "./people.ts";

test("[killed-callee] a callee killed between started and answered: the caller gets OUTCOME_UNKNOWN, and the tool has run once", async () => {
  await using world = await openWorld();
  const counted = counter(world);
  const { ben, ana } = await twoPeople(world, null, counted.settings);
  await seesTool(ana, "ben/tools/counter.append");
  const asked = ana.kin(["call", "ben/tools/counter.append", "--now", "--json"]);
  await counted.began();
  process.kill(await ben.pid(), "SIGKILL");
  await until(async () => (await ben.kin(["up"])).code === 0);
  const answered = await asked;
  expect(answered.code, answered.out + answered.err).toBe(1);
  expect(answered.out + answered.err).toContain("OUTCOME_UNKNOWN");
  expect(await counted.runs()).toBe(1);
  // Also after one more start of Ben, when Ana's node has long had its answer.
  await ben.kin(["down"]);
  await ben.kin(["up"]);
  expect((await ana.kin(["call", "ben/tools/counter.hello"])).out).toContain("hello");
  expect(await counted.runs()).toBe(1);
}, 120_000);

test("[killed-callee-durable] a queued call whose callee is killed while it runs is not run again when it is delivered again", async () => {
  await using world = await openWorld();
  const counted = counter(world);
  const { ben, ana } = await twoPeople(world, null, counted.settings);
  await seesTool(ana, "ben/tools/counter.append");
  const { id } = await ana.json<{ id: string }>(["call", "ben/tools/counter.append", "--later"]);
  await counted.began();
  process.kill(await ben.pid(), "SIGKILL");
  await until(async () => (await ben.kin(["up"])).code === 0);
  const answered = await ana.kin(["wait", id, "--timeout", "60s", "--json"]);
  expect(answered.out + answered.err).toContain("OUTCOME_UNKNOWN");
  expect(await counted.runs()).toBe(1);
}, 120_000);

test("[hanging-tool] a tool that hangs past the deadline ends as DEADLINE_EXCEEDED, and the node goes on", async () => {
  await using world = await openWorld();
  const counted = counter(world);
  const { ben, ana } = await twoPeople(world, null, counted.settings);
  await seesTool(ana, "ben/tools/counter.append");
  const late = await ana.kin(["call", "ben/tools/counter.append", "--deadline", "2s"]);
  expect(late.code, late.err).toBe(6);
  expect(late.err).toContain("DEADLINE_EXCEEDED");
  expect(await counted.runs()).toBe(1);
  expect((await ana.kin(["call", "ben/tools/counter.hello"])).out).toContain("hello");
  const audit = await ben.json<{ items: { event: string; target: string; outcome?: string }[] }>(["audit", "log"]);
  expect(JSON.stringify(audit.items)).toContain("DEADLINE_EXCEEDED");
}, 120_000);

test("[killed-caller] a caller killed while the call runs: the tool runs once, and its result is not lost to a queued call", async () => {
  await using world = await openWorld();
  const counted = counter(world);
  const { ana } = await twoPeople(world, null, counted.settings);
  await seesTool(ana, "ben/tools/counter.append");
  const { id } = await ana.json<{ id: string }>(["call", "ben/tools/counter.append", "--later"]);
  await counted.began();
  process.kill(await ana.pid(), "SIGKILL");
  await counted.go();
  await until(async () => (await ana.kin(["up"])).code === 0);
  const answered = await ana.kin(["wait", id, "--timeout", "60s"]);
  expect(answered, answered.err).toMatchObject({ code: 0, out: expect.stringContaining("appended") as string });
  expect(await counted.runs()).toBe(1);
}, 120_000);

import { join } from "node:path";
import { createServer } from "node:net";
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { makeRepository, openWorld, twoPeople, until } from "./people.ts";

interface Queued {
  outcome: string;
  id: string;
  why: string;
  detail?: string;
}

test("[offline-ask] an ask to somebody offline queues by itself, says why, survives restarts of both, and is answered once", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const { ben, ana } = await twoPeople(world, folder);
  await ben.kin(["down"]);
  const asked = await ana.kin(["ask", "ben/reviewer", "what changed?", "--json"]);
  expect(asked.code).toBe(5);
  const queued = JSON.parse(asked.out.trim().split("\n").at(-1)!) as Queued;
  // One plain sentence; what was tried at each address is for who asks for it.
  expect(queued.why).toMatch(/^ben is offline: kin is not running on \S+$/);
  expect(queued.detail).toMatch(/127\.0\.0\.1 tcp \d+: refused/);
  const refused = await ana.kin(["ask", "ben/reviewer", "what changed?", "--now"]);
  expect(refused.code).toBe(1);
  expect(refused.err).toContain("offline");
  expect(await ana.json(["outbox", "ls"])).toMatchObject({ v: 1, items: [{ id: queued.id }] });
  await ana.kin(["down"]);
  await ana.kin(["up"]);
  await ben.kin(["up"]);
  const answer = await ana.kin(["wait", queued.id, "--timeout", "60s"]);
  expect(answer).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
  const audit = await ben.json<{ items: { event: string; target: string; through?: string }[] }>(["audit", "log"]);
  expect(
    audit.items.filter(({ event, target }) => event === "started" && target.endsWith("tools/git.log")),
  ).toHaveLength(1);
  expect(await ana.json(["outbox", "ls"])).toMatchObject({ items: [] });
}, 120_000);

test("[outbox-drop] what is taken back is not run", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const { ben, ana } = await twoPeople(world, folder);
  await ben.kin(["down"]);
  const { id } = await ana.json<Queued>(["ask", "ben/reviewer", "what changed?"]);
  expect((await ana.kin(["outbox", "drop", id])).code).toBe(0);
  await ben.kin(["up"]);
  // On a busy machine the first dial takes longer than an ask waits for somebody who was away.
  await until(async () => (await ana.kin(["ping", "ben", "-n", "1"])).code === 0);
  expect((await ana.kin(["ask", "ben/guide", "what can I ask?"])).code).toBe(0);
  const audit = await ben.json<{ items: { target: string }[] }>(["audit", "log"]);
  expect(audit.items.some(({ target }) => target.includes("reviewer"))).toBe(false);
}, 120_000);

test("[join-failure] a join that fails says per address what happened", async () => {
  await using world = await openWorld();
  const ben = await world.person("ben");
  const ana = await world.person("ana");
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "ana"]);
  await ben.kin(["down"]);
  const failed = await ana.kin(["join", ticket]);
  expect(failed.code).toBe(1);
  expect(failed.err).toMatch(/127\.0\.0\.1.*refused/s);
  expect(failed.err).not.toContain("at Object");
  const { listen } = JSON.parse(await readFile(join(ben.home, "config.jsonc"), "utf8")) as { listen: { port: number } };
  const squatter = createServer((socket) => socket.end("not a peer")).listen(listen.port, "127.0.0.1");
  await new Promise((done) => squatter.once("listening", done));
  try {
    const taken = await ben.kin(["up"]);
    expect(taken.code).toBe(1);
    expect(taken.err).toContain(String(listen.port));
  } finally {
    squatter.close();
  }
}, 120_000);

test("[bad-tickets] what is no ticket, is damaged, of another kind or my own is said before any dial", async () => {
  await using world = await openWorld();
  const ben = await world.person("ben");
  const ana = await world.person("ana");
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "ana"]);
  const cases: [typeof ana, string, RegExp][] = [
    [ana, "hello", /not a ticket|NOT_A_TICKET/],
    [ana, ticket.slice(0, -3), /damaged|TICKET_DAMAGED/],
    [ana, `${ticket.slice(0, 40)}${ticket[40] === "a" ? "b" : "a"}${ticket.slice(41)}`, /damaged|TICKET_DAMAGED/],
    [ana, (await ben.json<{ mesh: { id: string } }>(["status"])).mesh.id, /mesh id|WRONG_KIND_OF_TEXT/],
    [ben, ticket, /made on this device|TICKET_MINE/],
  ];
  for (const [person, text, expected] of cases) {
    const ran = await person.kin(["join", text]);
    expect(ran.code, text).not.toBe(0);
    expect(ran.err).toMatch(expected);
    expect(ran.err).not.toContain("dialling");
  }
  expect((await ana.kin(["join", ticket.toUpperCase()])).code).toBe(0);
}, 120_000);

test("[one-folder-one-node] a second node on one data folder is refused with the pid of the first", async () => {
  await using world = await openWorld();
  const ben = await world.person("ben");
  expect((await ben.kin(["up"])).code).toBe(0);
  const pid = await ben.pid();
  const second = await ben.kin(["node"]);
  expect(second.code).toBe(1);
  expect(second.err).toContain(String(pid));
  expect((await ben.kin(["up"])).out).toContain(String(pid));
}, 60_000);

test("[already-in-mesh] a node in a mesh with others refuses to join another; a mesh of only me is put aside", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  const carl = await world.person("carl");
  const { ticket } = await carl.json<{ ticket: string }>(["invite"]);
  const refused = await ana.kin(["join", ticket]);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(/ALREADY_IN_MESH[^]*KIN_HOME/);
  const { ticket: bens } = await ben.json<{ ticket: string }>(["invite", "--name", "carl"]);
  const joined = await carl.kin(["join", bens]);
  expect(joined, joined.err).toMatchObject({ code: 0 });
  expect(joined.out).toContain("archived");
  const { listening } = await carl.json<{ listening: string[] }>(["status"]);
  expect(listening.map((address) => /webrtc-direct|ws|tcp/.exec(address.replace(/tcp\/\d+\/ws/, "ws"))?.[0])).toEqual([
    "tcp",
    "ws",
    "webrtc-direct",
  ]);
  await until(async () => (await ana.json<{ items: unknown[] }>(["members"])).items.length === 3);
}, 120_000);

test("[kill-node] a node that is killed comes back with all it had", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const { ben, ana } = await twoPeople(world, folder);
  process.kill(await ben.pid(), "SIGKILL");
  await until(async () => (await ben.kin(["up"])).code === 0);
  // On a busy machine an ask may come before they have found each other again: it would be queued.
  await until(async () => (await ana.json<{ items: { inStep: boolean }[] }>(["sync", "now"])).items[0]?.inStep);
  const asked = await ana.kin(["ask", "ben/reviewer", "what changed?"]);
  expect(asked, asked.out + asked.err + (await ana.log()) + (await ben.log())).toMatchObject({ code: 0 });
  expect((await ben.json<{ items: unknown[] }>(["members"])).items).toHaveLength(2);
}, 120_000);

/** P4: five nodes, real processes, cut from each other again and again while all of them write. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connectControl, type ControlClient } from "../../node/cli/control-client.ts";
import { resolveHome } from "../../node/home.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { chance, type Chance } from "../disk/random.ts";
import { cuttableLinks, noCuttableLinks } from "./cuttable.ts";
import { openWorld, until, type Person } from "./people.ts";

/** CI's size; the nightly one: `KIN_HEALS=200 npx vitest run test/node/partition.test.ts`. */
const HEALS = Number(process.env["KIN_HEALS"] ?? 20);
const NAMES = ["ben", "ana", "carl", "dora", "emil"];
const MIN_CUT_MS = 500;
const MORE_CUT_MS = 1_500;
const WRITE_EVERY_MS = 150;
/** It takes some seconds: a bound against waiting for ever. */
const HEAL_LIMIT_MS = 120_000;
/** Keys that they all write: concurrent values are the rule. */
const KEYS = 12;

test.skipIf(noCuttableLinks !== null)(
  `P4: five processes cut from each other ${HEALS} times while all write are equal soon after each heal, and byte for byte at the end${noCuttableLinks === null ? "" : ` (skipped: ${noCuttableLinks})`}`,
  async () => {
    await using world = await openWorld();
    const envs: { [name: string]: string }[] = NAMES.map(() => ({}));
    const settings = { transports: ["tcp"] };
    const people: Person[] = [];
    for (const [i, name] of NAMES.entries()) people.push(await world.person(name, settings, { env: envs[i]! }));
    const [ben, ...others] = people as [Person, ...Person[]];
    for (const other of others) {
      const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", other.name]);
      const joined = await other.kin(["join", ticket]);
      expect(joined, joined.err).toMatchObject({ code: 0 });
    }
    for (const person of people) await person.kin(["down"]);
    await using links = await cuttableLinks(people.map(portOf), world.folder);
    for (const [i, env] of envs.entries()) Object.assign(env, links.env(i));
    for (const person of people) expect(await person.kin(["up"])).toMatchObject({ code: 0 });

    const clients = await Promise.all(
      people.map(({ home }) => connectControl(resolveHome({ KIN_HOME: home }).socketPath)),
    );
    const random = chance();
    const writing = new AbortController();
    const writers = clients.map((client, i) => write(client, NAMES[i]!, random, writing.signal));
    const healMs: number[] = [];
    for (let heal = 0; heal < HEALS; heal++) {
      links.part(someGroups(random));
      await later(MIN_CUT_MS + random.below(MORE_CUT_MS));
      links.heal();
      healMs.push(await timeToEqual(clients));
    }
    writing.abort();
    const writes = (await Promise.all(writers)).reduce((sum, count) => sum + count, 0);
    await timeToEqual(clients);
    const facts = await Promise.all(clients.map((client) => client.request("facts-ls", { prefix: "", agent: null })));
    const members = await Promise.all(
      people.map((person) => person.json<{ items: { id: string; role: string }[] }>(["members"])),
    );
    for (const client of clients) client.close();
    for (const person of people) await person.kin(["down"]);
    const dumps = await Promise.all(people.map(dumpOf));

    const sorted = healMs.toSorted((a, b) => a - b);
    const p95 = sorted[Math.ceil(sorted.length * 0.95) - 1]!;
    console.log(
      `P4: ${HEALS} heals of 5 processes, ${writes} writes, time to equal p50 ${sorted[Math.ceil(HEALS / 2) - 1]} ms, p95 ${p95} ms, max ${sorted.at(-1)} ms, seed ${random.seed}`,
    );
    for (const dump of dumps) expect(dump).toEqual(dumps[0]);
    for (const { items } of facts) expect(items.map(withoutDetail)).toEqual(facts[0]!.items.map(withoutDetail));
    for (const { items } of members)
      expect(items.map(({ id, role }) => `${id} ${role}`).toSorted()).toEqual(
        members[0]!.items.map(({ id, role }) => `${id} ${role}`).toSorted(),
      );
    expect(writes).toBeGreaterThan(HEALS);
  },
  240_000 + HEALS * 20_000,
);

function portOf({ home }: Person): number {
  const config = JSON.parse(readFileSync(join(home, "config.jsonc"), "utf8")) as { listen: { port: number } };
  return config.listen.port;
}

/** Two or three groups; nobody is in two. */
function someGroups(random: Chance): number[][] {
  const groups: number[][] = Array.from({ length: 2 + random.below(2) }, () => []);
  for (const i of NAMES.keys()) random.pick(groups).push(i);
  return groups;
}

/** Until aborted; returns how many writes were acknowledged. */
async function write(client: ControlClient, name: string, random: Chance, signal: AbortSignal): Promise<number> {
  let count = 0;
  while (!signal.aborted) {
    await client.request("facts-set", {
      key: `key-${random.below(KEYS)}`,
      value: `${name} ${count}`,
      unset: false,
      agent: null,
    });
    count++;
    await later(WRITE_EVERY_MS);
  }
  return count;
}

/** ms until everybody has what anybody had at the beginning. */
async function timeToEqual(clients: readonly ControlClient[]): Promise<number> {
  const began = performance.now();
  const target = new Map<string, number>();
  for (const logs of await Promise.all(clients.map(logsOf)))
    for (const [log, events] of logs) target.set(log, Math.max(events, target.get(log) ?? 0));
  await until(async () => {
    if (performance.now() - began > HEAL_LIMIT_MS) throw new Error(`not equal ${HEAL_LIMIT_MS / 1000} s after a heal`);
    return (await Promise.all(clients.map(logsOf))).every((logs) =>
      [...target].every(([log, events]) => (logs.get(log) ?? 0) >= events),
    );
  });
  return Math.round(performance.now() - began);
}

async function logsOf(client: ControlClient): Promise<Map<string, number>> {
  const { logs } = await client.request("sync-status", {});
  return new Map(logs.map(({ log, events }) => [log, events]));
}

/** Every event and the newest head of each log that may travel, as bytes. */
async function dumpOf({ home }: Person): Promise<string[]> {
  const store = await openLibsqlStore({ file: globSync(join(home, "meshes", "*", "log.db"))[0]! });
  const lines: string[] = [];
  for (const { log, seq, opening, head } of await store.logs()) {
    if (opening.chain === "here") continue;
    for (const event of await store.range(log, 0, seq + 1))
      lines.push(`${log} ${event.header.seq} ${event.id} ${Buffer.from(event.body!).toString("base64")}`);
    lines.push(`${log} head ${head!.head.id}`);
  }
  await store.close();
  return lines.toSorted();
}

function withoutDetail({ key, values }: { key: string; values: { value: unknown; unset: boolean; by: string }[] }) {
  return { key, values: values.map(({ value, unset }) => `${JSON.stringify(value)} ${unset}`).toSorted() };
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Data folders that earlier releases wrote (`test/fixtures/`), opened with today's code by real processes. */
import { execFile } from "node:child_process";
import { globSync } from "node:fs";
import { cp, readFile, rename, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { openWorld, type Person } from "./people.ts";

const FIXTURE = join(import.meta.dirname, "../fixtures/issue-3.tar.gz");
/** Where the folders were, and what waits in them. */
const WRITTEN = {
  folder: "/tmp/kin-fixture/app",
  port: 23396,
  waitsAtBen: "kini1agoooz3pxvhn3qx6onx267iwawxwlgtp6jm3vyxdctzbvub3kalmzqkkaodq",
  waitsAtAna: "kini1aeh7yaffooxumum4vdwbedtruftuekf4bbvwjhbelbhgsb7xfmhrzp3iqxsa",
};
/** One hour after it was written: its queued asks wait for 30 days. */
const FAKETIME = "@2026-11-21 17:15:00";

const [faketime] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");
const noClock = faketime === undefined ? "libfaketime (Debian: faketime) is not installed" : null;
if (noClock !== null && process.env["KIN_REQUIRE_ALL"] === "1") throw new Error(noClock);

test.skipIf(noClock !== null)(
  `[upgrade-3] folders of the first mesh's release open with all that they had; the two sync, answer what waited, and ask anew${noClock === null ? "" : ` (skipped: ${noClock})`}`,
  async () => {
    await using world = await openWorld();
    const env = { LD_PRELOAD: faketime, FAKETIME, FAKETIME_DONT_FAKE_MONOTONIC: "1", TZ: "UTC" };
    const ben = await world.person("ben", {}, { env });
    const ana = await world.person("ana", {}, { env });
    await promisify(execFile)("tar", ["-xzf", FIXTURE, "--no-same-owner", "-C", world.folder]);
    await moveHere(ben, ana);
    for (const person of [ben, ana]) await cp(person.home, `${person.home}-before`, { recursive: true });

    for (const person of [ben, ana]) expect(await person.kin(["up"])).toMatchObject({ code: 0 });
    for (const person of [ben, ana]) {
      const { items } = await person.json<{ items: { name: string; role: string }[] }>(["members"]);
      expect(items.map(({ name, role }) => `${name} ${role}`).toSorted()).toEqual(["ana member", "ben admin"]);
    }
    for (const [person, call] of [
      [ben, WRITTEN.waitsAtBen],
      [ana, WRITTEN.waitsAtAna],
    ] as const) {
      const answer = await person.kin(["wait", call, "--timeout", "60s"]);
      expect(answer, answer.err).toMatchObject({ code: 0, out: expect.stringContaining("ask") as string });
    }
    const asked = await ana.kin(["ask", "ben/reviewer", "what changed?", "--now"]);
    expect(asked, asked.err).toMatchObject({ code: 0, out: expect.stringContaining("Say what it is") as string });
    const audit = await ben.json<{ items: { at: string; event: string; target: string }[] }>(["audit", "log"]);
    const old = audit.items.filter(({ at }) => new Date(at) < new Date("2026-11-21T17:00:00Z"));
    expect(old.filter(({ event, target }) => event === "ended" && target.endsWith("tools/git.log"))).toHaveLength(1);
    expect((await ben.kin(["doctor"])).out).not.toMatch(/^fail/m);

    for (const person of [ben, ana]) await person.kin(["down"]);
    for (const person of [ben, ana]) await expectSameHistory(person);
  },
  120_000,
);

/** Other paths and ports than where it was written. */
async function moveHere(ben: Person, ana: Person): Promise<void> {
  const port = await freePort();
  await rename(join(ben.home, "app"), join(ben.home, "..", "app"));
  const edit = async (file: string, change: (text: string) => string): Promise<void> =>
    writeFile(file, change(await readFile(file, "utf8")));
  await edit(join(ben.home, "config.jsonc"), (text) =>
    text.replace(WRITTEN.folder, join(ben.home, "..", "app")).replace(`${WRITTEN.port}`, `${port}`),
  );
  await edit(join(ana.home, "config.jsonc"), (text) => text.replace(/"port": \d+/, '"port": 0'));
  await edit(join(ana.home, "addresses.json"), (text) => text.replace(`tcp/${WRITTEN.port}"`, `tcp/${port}"`));
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** All events that were there are there, in their order, readable; nobody has begun a new log. */
async function expectSameHistory(person: Person): Promise<void> {
  const [before, after] = await Promise.all(
    [`${person.home}-before`, person.home].map(async (home) => {
      const store = await openLibsqlStore({ file: globSync(join(home, "meshes", "*", "log.db"))[0]! });
      const events = (await store.since(0, 1e6)).map(({ event }) => event.id);
      const logs = await store.logs();
      for (const { log, seq } of logs) expect(await store.damaged(log, 0, seq + 1)).toEqual({ events: [], heads: [] });
      await store.close();
      return { events, logs: new Set(logs.map(({ log, opening }) => `${opening.device} ${opening.chain} ${log}`)) };
    }),
  );
  expect(after!.events.slice(0, before!.events.length)).toEqual(before!.events);
  expect(after!.events.length).toBeGreaterThan(before!.events.length);
  expect(after!.logs).toEqual(before!.logs);
}

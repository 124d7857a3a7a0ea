/** What a machine can do to a node: a full disk, files that others may read, damage, a wrong clock, a copied folder. */
import { execFile } from "node:child_process";
import { existsSync, globSync } from "node:fs";
import { chmod, cp, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { MAIN } from "../cli/run-kin.ts";
import { openWorld, twoPeople, until, type Person } from "./people.ts";

const run = promisify(execFile);

/** Fails instead of skipping where everything must be there. */
function skip(reason: string | null): string | null {
  if (reason !== null && process.env["KIN_REQUIRE_ALL"] === "1") throw new Error(reason);
  return reason;
}

// — The disk ———————————————————————————————————————————————————————————————————————————————————————————————————————

const noMounts = skip(
  await run("unshare", ["-m", "true"]).then(
    () => null,
    () => "a private mount needs root and `unshare`",
  ),
);

/** In a mount of its own: a mesh is made, the disk fills, the node is started, the disk is freed, the node is started again. */
const FULL_DISK = `
set -u
mount -t tmpfs -o size=24m tmpfs "$KIN_HOME"
echo '{ "name": "ben", "listen": { "hosts": ["127.0.0.1"] }, "discovery": { "mdns": false } }' > "$KIN_HOME/config.jsonc"
fill() { dd if=/dev/zero of="$KIN_HOME/filler" bs=4k status=none 2>/dev/null; true; }
kin() { "$NODE" "$MAIN" "$@"; echo "exit $?"; }
fill; echo "== first start on a full disk"; kin up 2>&1
rm "$KIN_HOME/filler"; echo "== space again"; kin invite --name ana 2>&1; kin down 2>&1
fill; echo "== a mesh on a full disk"; kin up 2>&1; kin down > /dev/null 2>&1
rm "$KIN_HOME/filler"; echo "== space again"; kin up 2>&1; kin members --json 2>&1; kin down 2>&1
`;

test.skipIf(noMounts !== null)(
  `[full-disk] on a full disk the node does not start and says so; with space again it starts with all it had${noMounts === null ? "" : ` (skipped: ${noMounts})`}`,
  async () => {
    await using world = await openWorld();
    const home = join(world.folder, "small");
    await mkdir(home, { mode: 0o700 });
    const { stdout } = await run("unshare", ["-m", "bash", "-c", FULL_DISK], {
      env: { PATH: process.env["PATH"], HOME: home, KIN_HOME: home, NODE: process.execPath, MAIN },
    });
    const [, first, made, full, again] = stdout.split(/^== .*$/m);
    expect(first, stdout).toMatch(/disk is full[^]*exit 1/);
    expect(made, stdout).toMatch(/kint1[^]*exit 0/);
    expect(full, stdout).toMatch(/disk is full[^]*exit 1/);
    expect(again, stdout).toMatch(/"name":"ben"/);
    for (const part of [first, full]) expect(part).not.toContain("    at ");
  },
  120_000,
);

// — Files ——————————————————————————————————————————————————————————————————————————————————————————————————————————

test("[key-file-start] a node whose key file others may read, or that is damaged, does not start and says which file and what to do", async () => {
  await using world = await openWorld();
  const ben = await world.person("ben");
  expect((await ben.kin(["up"])).code).toBe(0);
  await ben.kin(["down"]);
  const [file] = (await readdir(join(ben.home, "keys"))).map((name) => join(ben.home, "keys", name)).toSorted();
  const before = await readFile(file!);
  await chmod(file!, 0o644);
  const open = await ben.kin(["up"]);
  expect(open.code).toBe(1);
  expect(open.err).toContain(file);
  expect(open.err).toMatch(/chmod 0?600/);
  await chmod(file!, 0o600);
  await writeFile(file!, before.subarray(0, before.length / 2));
  const cut = await ben.kin(["up"]);
  expect(cut.code).toBe(1);
  expect(cut.err).toContain(file);
  expect(cut.err).not.toContain("    at ");
  expect(await readFile(file!)).toEqual(before.subarray(0, before.length / 2));
  await writeFile(file!, before);
  expect((await ben.kin(["up"])).code).toBe(0);
}, 60_000);

test("[config-start] a node whose settings are broken does not start and names line and column", async () => {
  await using world = await openWorld();
  const ben = await world.person("ben");
  const file = join(ben.home, "config.jsonc");
  for (const [text, where] of [
    ['{\n  "name": "ben",\n  "listn": {}\n}', `${file}:3:3: unknown setting "listn"`],
    ['{\n  "name": "ben"\n  "device": "x"\n}', `${file}:3:3: `],
    ['{ "listen": { "port": 70000 } }', `${file}:1:23: `],
  ]) {
    await writeFile(file, text!);
    const refused = await ben.kin(["up"]);
    expect(refused.code).not.toBe(0);
    expect(refused.err).toContain(where);
    expect(await readFile(file, "utf8")).toBe(text);
  }
}, 60_000);

test("[long-home] a data folder whose socket path is over 100 bytes works like any other", async () => {
  await using world = await openWorld();
  const ben = await world.person("ben");
  const deep = join(ben.home, "d".repeat(60), "e".repeat(60));
  await mkdir(deep, { recursive: true, mode: 0o700 });
  await cp(join(ben.home, "config.jsonc"), join(deep, "config.jsonc"));
  const env = { KIN_HOME: deep };
  try {
    const up = await ben.kin(["up"], { env });
    expect(up, up.err).toMatchObject({ code: 0 });
    expect(await ben.json(["status"], { env })).toMatchObject({ name: "ben", home: deep });
    expect((await ben.kin(["ask", "ben/guide", "what can I ask?"], { env })).code).toBe(1); // no mesh yet, but it answers
  } finally {
    expect((await ben.kin(["down"], { env })).code).toBe(0);
  }
  expect(existsSync(join(deep, "run", "kin.sock"))).toBe(false);
}, 60_000);

test("[bit-flip] one flipped bit in log.db is noticed: the row is left out and told, or the node says CORRUPT and which file", async () => {
  await using world = await openWorld();
  const { ben } = await twoPeople(world, null);
  await ben.kin(["down"]);
  const [file] = globSync(join(ben.home, "meshes", "*", "log.db"));
  const bytes = await readFile(file!);
  // Where a roster record lies in clear: the mesh's name.
  const places: number[] = [];
  for (let at = bytes.indexOf("ben-mesh"); at >= 0; at = bytes.indexOf("ben-mesh", at + 1)) places.push(at);
  expect(places.length).toBeGreaterThan(0);
  let noticed = 0;
  for (const place of places) {
    const damaged = Buffer.from(bytes);
    damaged[place]! ^= 4;
    await writeFile(file!, damaged);
    const up = await ben.kin(["up"]);
    if (up.code === 0) {
      // SQLite leaves old copies in the slack of its pages: nothing reads them. Nothing is read wrong in any case.
      const status = await ben.json<{ warnings: string[] }>(["status"]);
      expect(status).toMatchObject({ mesh: { name: "ben-mesh", members: 2 } });
      if (status.warnings.length > 0) noticed++;
      for (const warning of status.warnings) expect(warning).toMatch(/of log\.db (is|are) damaged and left out/);
      await ben.kin(["down"]);
      continue;
    }
    noticed++;
    expect(up.err).toMatch(/log\.db is damaged[^]*CORRUPT/);
    expect(up.err).not.toContain("    at ");
  }
  expect(noticed).toBeGreaterThan(1); // the record and the event that brought it
  await writeFile(file!, bytes);
  expect((await ben.kin(["up"])).code).toBe(0);
}, 120_000);

// — The clock ——————————————————————————————————————————————————————————————————————————————————————————————————————

const [faketime] = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1");
const noClock = skip(faketime === undefined ? "libfaketime (Debian: faketime) is not installed" : null);

test.skipIf(noClock !== null)(
  `[clock-skew] a clock an hour off: live calls fail with whose clock and by how much, status warns on both sides, sync goes on${noClock === null ? "" : ` (skipped: ${noClock})`}`,
  async () => {
    await using world = await openWorld();
    const { ben, ana } = await twoPeople(world, null);
    await ana.kin(["down"]);
    const wrong = { LD_PRELOAD: faketime, FAKETIME: "+1h", FAKETIME_DONT_FAKE_MONOTONIC: "1" };
    expect((await ana.kin(["up"], { env: wrong })).code).toBe(0);
    const online = (person: Person) => async () =>
      (await person.json<{ items: { online: boolean }[] }>(["peers"])).items[0]!.online;
    await until(online(ana));
    const fromAna = await ana.kin(["ask", "ben/guide", "what can I ask?", "--now"]);
    expect(fromAna.code).toBe(1);
    expect(fromAna.err).toMatch(/the clock of ben@\S+ is (59|60)\.\d min behind the clock of ana@[^]*CLOCK_SKEW/);
    await until(online(ben));
    const fromBen = await ben.kin(["ask", "ana/guide", "what can I ask?", "--now"]);
    expect(fromBen.err).toMatch(/the clock of ana@\S+ is (59|60)\.\d min ahead of the clock of ben@[^]*CLOCK_SKEW/);
    const warnings = async (person: Person): Promise<string> =>
      (await person.json<{ warnings: string[] }>(["status"])).warnings.join("\n");
    expect(await warnings(ben)).toMatch(/the clock of ana@\S+ is (59|60)\.\d min ahead of yours/);
    expect(await warnings(ana)).toMatch(/the clock of ben@\S+ is (59|60)\.\d min behind yours/);
    // What Ben writes still comes to her.
    const share = join(world.folder, "notes");
    await mkdir(share);
    await writeFile(join(share, "x.txt"), "x\n");
    expect((await ben.kin(["share", "add", share, "--for", "ana"])).code).toBe(0);
    await until(async () =>
      (await ana.json<{ items: { address: string }[] }>(["tools"])).items.some(
        ({ address }) => address === "ben/tools/fs.read",
      ),
    );
  },
  120_000,
);

// — The folder, twice ——————————————————————————————————————————————————————————————————————————————————————————————

test("[copied-folder] a copied data folder is refused at the port; at another one it harms nobody", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  await ben.kin(["down"]);
  const twin = await world.person("twin");
  await cp(ben.home, twin.home, { recursive: true, force: true });
  expect((await ben.kin(["up"])).code).toBe(0);
  // On one machine the copy already fails at the port.
  const taken = await twin.kin(["up"]);
  expect(taken.code).toBe(1);
  expect(taken.err).toContain("in use");
  await twin.kin(["set", "listen.port", "0"]);
  expect((await twin.kin(["up"])).code).toBe(0);
  // Both write: the same log goes two ways.
  for (const person of [ben, twin]) {
    const queued = await person.kin(["ask", "ana/guide", `from ${person.name}`, "--later"]);
    expect(queued.code, queued.err).toBe(5);
  }
  expect((await twin.kin(["down"])).code).toBe(0);
  // The original goes on, and so does everybody else.
  await until(async () => (await ben.kin(["ask", "ana/guide", "still there?", "--now"])).code === 0);
  await until(async () => (await ana.kin(["ask", "ben/guide", "still there?", "--now"])).code === 0);
  expect((await ana.json<{ items: unknown[] }>(["members"])).items).toHaveLength(2);
}, 120_000);

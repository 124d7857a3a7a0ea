import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  cpSync,
} from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isAlive } from "../../node/alive.ts";
import { readDevicePublicKey } from "../../node/keystore.ts";
import { idOf } from "../../protocols/ids.ts";
import { makeTicket } from "../../protocols/ticket.ts";
import { BIN, MAIN, runKin, type Ran, type RunOptions } from "./run-kin.ts";

let home: string;
const kin = (args: string[], options: Partial<RunOptions> = {}): Promise<Ran> => runKin(args, { home, ...options });
const json = (ran: Ran): { [key: string]: unknown } => JSON.parse(ran.out) as never;

beforeEach(() => (home = mkdtempSync(join(tmpdir(), "kin-start-"))));
afterEach(async () => {
  if (existsSync(join(home, "run", "kin.sock"))) await kin(["down"]);
  rmSync(home, { recursive: true, force: true });
});

function ticket(expiresAt: number, inviter = new Uint8Array(32).fill(1)): string {
  const id = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
  return makeTicket({
    mesh: idOf<"mesh">(id(1)),
    meshName: "team",
    inviter: idOf<"device">(inviter),
    inviterName: "ben",
    role: "member",
    expiresAt,
    uses: 1,
    guestName: "ana",
    invite: idOf<"record">(id(2)),
    seed: new Uint8Array(16),
    addresses: ["/ip4/127.0.0.1/tcp/1"],
    relays: [],
  });
}
/** Many processes, or many scrypt: seconds on a quiet machine, more on a busy one. */
const SLOW = { timeout: 60_000 };
const soon = (): number => Date.now() + 3_600_000;

test(
  "up starts once, also when two ask at the same time; down waits until the process is gone; both may be repeated [up-idempotent]",
  SLOW,
  async () => {
    const both = await Promise.all([kin(["up", "--as", "ben", "--json"]), kin(["up", "--as", "ben", "--json"])]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    const [first, second] = both.map(json);
    expect(first!["pid"]).toBe(second!["pid"]);
    expect([first!["started"], second!["started"]]).toEqual(expect.arrayContaining([false, true]));
    expect(isAlive(Number(first!["pid"]))).toBe(true);
    const keys = readFileSync(join(home, "keys", "device.json"), "utf8");

    expect(json(await kin(["down", "--json"]))).toEqual({ v: 1, stopped: true, pid: first!["pid"] });
    expect(isAlive(Number(first!["pid"]))).toBe(false);
    expect(existsSync(join(home, "run", "kin.sock"))).toBe(false);
    expect(existsSync(join(home, "lock.json"))).toBe(false);
    expect(await kin(["down"])).toMatchObject({ code: 0, out: "no node was running\n" });
    expect(await kin(["status"])).toMatchObject({ code: 3, err: expect.stringContaining("NOT_RUNNING") });
    expect(await runKin(["status", "--json"], { home, program: MAIN })).toMatchObject({
      code: 3,
      err: "",
      out: expect.stringContaining('"v":1,"error":{"code":"NOT_RUNNING"'),
    });

    expect(json(await kin(["up", "--json"]))).toMatchObject({ name: "ben", peerId: first!["peerId"] });
    expect(readFileSync(join(home, "keys", "device.json"), "utf8")).toBe(keys);
  },
);

test("after kill -9 the next start replaces the dead node's socket", async () => {
  const { pid } = json(await kin(["up", "--as", "ben", "--json"]));
  process.kill(Number(pid), "SIGKILL");
  for (let i = 0; i < 200 && isAlive(Number(pid)); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect((await kin(["status"])).code).toBe(3);
  expect((await kin(["doctor"])).out).toContain("nobody answers on");
  expect(json(await kin(["up", "--json"]))).toMatchObject({ started: true });
});

test("SIGTERM ends the daemon cleanly", async () => {
  const pid = Number(json(await kin(["up", "--as", "ben", "--json"]))["pid"]);
  process.kill(pid, "SIGTERM");
  for (let i = 0; i < 500 && isAlive(pid); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(isAlive(pid)).toBe(false);
  expect(existsSync(join(home, "run", "kin.sock"))).toBe(false);
  expect(readFileSync(join(home, "run", "node.log"), "utf8")).toContain('"what":"stopped"');
});

test("F7: the name is --as, else the ticket's, else the OS user; it is kept", async () => {
  const joined = await kin(["join", ticket(soon())]);
  expect(joined).toMatchObject({ code: 0, out: expect.stringContaining("You are ana in team") });
  expect(joined.err).toContain("mesh team, invited by ben, as member\n");
  expect(joined.err).toContain("dialling /ip4/127.0.0.1/tcp/1");
  expect(json(await kin(["status", "--json"]))).toMatchObject({ name: "ana" });
  const again = await kin(["join", ticket(soon()).toUpperCase(), "--as", "anna", "--json"]);
  expect(json(again)).toMatchObject({ v: 1, name: "anna", mesh: "team", warnings: [] });
});

test("invite makes identity and node by itself; my own ticket is said before any dial", async () => {
  const invited = json(await kin(["invite", "--name", "ana", "--as", "ben", "--json"]));
  await kin(["down"]);
  const mine = await kin(["join", String(invited["ticket"])]);
  expect(mine).toMatchObject({ code: 1, err: expect.stringContaining("TICKET_MINE") });
  expect(existsSync(join(home, "run", "kin.sock"))).toBe(false);
  expect(readDevicePublicKey(join(home, "keys"))).toHaveLength(32);
});

test("a file where the data folder should be is named by up and by doctor", async () => {
  const file = join(home, "file");
  writeFileSync(file, "");
  const ran = await kin(["up", "--as", "ben"], { home: file });
  expect(ran).toMatchObject({ code: 1, out: "" });
  expect(ran.err).toContain(file);
  expect(ran.err).not.toContain("nobody answers");
  const doctor = await kin(["doctor"], { home: join(file, "below") });
  expect(doctor.code).toBe(1);
  expect(doctor.out).toMatch(/fail +folders .* can't be made/);
});

test("what is no ticket, damaged or of another kind is said before anything is made", async () => {
  const good = ticket(soon());
  const cases: [string, string, number][] = [
    ["hello", "NOT_A_TICKET", 2],
    [`kinp1${good.slice(5)}`, "WRONG_KIND_OF_TEXT", 2],
    [good.slice(0, -3), "TICKET_DAMAGED", 1],
    [`kint9${good.slice(5)}`, "UNSUPPORTED_VERSION", 1],
  ];
  for (const [text, code, exit] of cases) {
    const ran = await kin(["join", text]);
    expect([text, ran.code, ran.err]).toEqual([text, exit, expect.stringContaining(code)]);
  }
  expect(readdirSync(home)).toEqual([]);
});

test("R10: an expired ticket is said with both clocks, and tried: only the inviter's clock decides", async () => {
  const ran = await kin(["join", ticket(Date.UTC(2026, 0, 1))]);
  expect(ran.err).toContain("expired at 2026-01-01 00:00 UTC by ben's clock; this machine's clock says");
  expect(ran.code).toBe(0);
});

test(
  "what keeps the node from starting is said by up: settings, keys, a newer folder, a folder in use",
  SLOW,
  async () => {
    writeFileSync(join(home, "config.jsonc"), '{\n  "nmae": "ben"\n}');
    expect(await kin(["up"])).toMatchObject({
      code: 1,
      err: expect.stringMatching(
        /config\.jsonc:2:3: unknown setting "nmae" \(CONFIG_INVALID\)\n {2}did you mean "name"\?/,
      ),
    });
    writeFileSync(join(home, "config.jsonc"), '{ "name": "ben" }');
    await kin(["up"]);
    await kin(["down"]);

    chmodSync(join(home, "keys", "person.json"), 0o644);
    expect(await kin(["up"])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/KEY_FILE_TOO_OPEN\)\n {2}chmod 600/),
    });
    expect(await kin(["doctor"])).toMatchObject({ code: 1, out: expect.stringMatching(/^fail +keys .*person\.json/m) });
    chmodSync(join(home, "keys", "person.json"), 0o600);
    const person = readFileSync(join(home, "keys", "person.json"));
    writeFileSync(join(home, "keys", "person.json"), "junk");
    expect(await kin(["up"])).toMatchObject({ code: 1, err: expect.stringContaining("KEY_FILE_UNREADABLE") });
    expect(readFileSync(join(home, "keys", "person.json"), "utf8")).toBe("junk");
    writeFileSync(join(home, "keys", "person.json"), person);

    writeFileSync(join(home, "format.json"), '{"format": 9}');
    expect(await kin(["up"])).toMatchObject({ code: 1, err: expect.stringContaining("UNSUPPORTED_VERSION") });
  },
);

test("a second node on one data folder, with a socket of its own, is refused with the process of the first", async () => {
  const xdg = { KIN_HOME: undefined, XDG_DATA_HOME: join(home, "data"), XDG_CONFIG_HOME: join(home, "config") };
  const one = { env: { ...xdg, XDG_STATE_HOME: join(home, "one") } };
  const two = { env: { ...xdg, XDG_STATE_HOME: join(home, "two") } };
  const pid = Number(json(await kin(["up", "--as", "ben", "--json"], one))["pid"]);
  // The socket is elsewhere, so nothing answers; the lock is in the data folder.
  const refused = spawnSync(process.execPath, [
    "--input-type=module",
    "-e",
    `
    const { lockFolder } = await import(${JSON.stringify(new URL("../../node/lock.ts", import.meta.url).href)});
    try { lockFolder(${JSON.stringify(join(home, "data", "kin"))}); } catch (error) { console.log(error.code, error.message); }`,
  ]);
  expect(refused.stdout.toString()).toContain(
    `FOLDER_IN_USE a node is already running on ${join(home, "data", "kin")}: process ${pid}`,
  );
  expect(await kin(["passphrase", "set"], two)).toMatchObject({
    code: 1,
    err: expect.stringContaining(`process ${pid}`),
  });
  await kin(["down"], one);
});

test(
  "kin up starts Node with small heaps: what takes in 100,000 events stays below 400 MB [small-heap]",
  SLOW,
  async (skipped) => {
    if (!existsSync("/proc/self/cmdline")) return skipped.skip("no /proc here to see how it was started");
    const { pid } = json(await kin(["up", "--as", "ben", "--json"]));
    const started = readFileSync(`/proc/${Number(pid)}/cmdline`, "latin1").split("\0");
    expect(started).toEqual(expect.arrayContaining(["--max-semi-space-size=8", "--heap-growing-percent=50"]));
    await kin(["down"]);
  },
);

test(
  "a passphrase travels by pipe: set, started with it, refused with another, removed [passphrase-pipe]",
  SLOW,
  async () => {
    const file = join(home, "secret");
    const sealed = { env: { KIN_PASSPHRASE_FILE: file } };
    writeFileSync(file, "correct horse\n", { mode: 0o600 });
    expect(await kin(["up", "--as", "ben", "--json"], sealed)).toMatchObject({ code: 0 });
    const state = json(await kin(["status", "--json"]));
    expect(state["warnings"]).toEqual(["sealed: true"]);
    const proc = `/proc/${Number(state["pid"])}`;
    if (existsSync(proc))
      for (const name of ["environ", "cmdline"]) {
        expect(readFileSync(`${proc}/${name}`, "latin1")).not.toContain("correct horse");
        expect(readFileSync(`${proc}/${name}`, "latin1")).not.toContain("KIN_PASSPHRASE_FILE");
      }
    await kin(["down"]);
    expect(await kin(["up"])).toMatchObject({ code: 1, err: expect.stringContaining("PASSPHRASE_NEEDED") });
    expect((await kin(["doctor"])).out).toMatch(/^ok +keys +sealed/m);
    writeFileSync(file, "wrong\n");
    expect(await kin(["up"], sealed)).toMatchObject({ code: 1, err: expect.stringContaining("PASSPHRASE_WRONG") });
    chmodSync(file, 0o644);
    expect(await kin(["up"], sealed)).toMatchObject({ code: 1, err: expect.stringContaining("KEY_FILE_TOO_OPEN") });
    chmodSync(file, 0o600);
    writeFileSync(file, "correct horse\n");
    expect(await kin(["passphrase", "remove"], sealed)).toMatchObject({ code: 0 });
    expect(json(await kin(["passphrase", "set", "--json"], sealed))).toEqual({ v: 1, sealed: true });
    expect(json(await kin(["up", "--json"], sealed))).toMatchObject({ peerId: state["peerId"] });
  },
);

test("a data folder with a long path gets a short socket elsewhere", async () => {
  const long = join(home, "x".repeat(60), "y".repeat(60));
  const options = { env: { KIN_HOME: long, TMPDIR: home } };
  expect(await kin(["up", "--as", "ben"], options)).toMatchObject({ code: 0 });
  expect(json(await kin(["status", "--json"], options))).toMatchObject({ home: long });
  await kin(["down"], options);
});

test("doctor says that another program has taken the port", async () => {
  const taken: Server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  const { port } = taken.address() as { port: number };
  writeFileSync(join(home, "config.jsonc"), JSON.stringify({ listen: { port, hosts: ["127.0.0.1"] } }));
  const ran = await kin(["doctor"]);
  expect(ran.code).toBe(1);
  expect(ran.out).toMatch(new RegExp(`^fail +port +port ${port}: another program uses it`, "m"));
  await new Promise((resolve) => taken.close(resolve));
});

test("bin.js runs kin, says npm ci without packages, and hands over to the bundled Node on an old one [bin-any-node]", async () => {
  expect(await kin(["version", "--json"], { program: BIN })).toMatchObject({
    code: 0,
    out: expect.stringContaining('"node":"24.'),
  });
  expect(await kin(["statsu"], { program: BIN })).toMatchObject({ code: 2 });

  const bare = join(home, "bare");
  mkdirSync(join(bare, "node", "cli"), { recursive: true });
  cpSync(BIN, join(bare, "node", "cli", "bin.js"));
  writeFileSync(join(bare, "package.json"), '{"type":"module"}');
  expect(await kin(["status"], { program: join(bare, "node", "cli", "bin.js") })).toMatchObject({
    code: 1,
    err: expect.stringContaining("run npm ci first"),
  });

  // An older Node, as far as bin.js can see: the version is what it asks for.
  const old = join(home, "old.mjs");
  writeFileSync(
    old,
    `Object.defineProperty(process.versions, "node", { value: "18.20.0" }); process.argv.splice(1, 1); await import(${JSON.stringify(BIN)});`,
  );
  expect(await kin([BIN, "version", "--json"], { program: old })).toMatchObject({
    code: 0,
    out: expect.stringContaining('"node":"24.'),
  });
  expect(await kin([BIN, "statsu"], { program: old })).toMatchObject({ code: 2 });
  mkdirSync(join(bare, "node_modules"));
  symlinkSync(join(BIN, "..", "..", "..", "node_modules", "commander"), join(bare, "node_modules", "commander"));
  writeFileSync(old, readFileSync(old, "utf8").replace(BIN, join(bare, "node", "cli", "bin.js")));
  expect(await kin(["x", "status"], { program: old })).toMatchObject({
    code: 1,
    err: expect.stringContaining("run npm ci, which brings it along"),
  });
});

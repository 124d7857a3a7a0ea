import { execFileSync, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isAlive } from "../../node/alive.ts";
import { diskError, writeAtomic } from "../../node/atomic-file.ts";
import { openIncarnation, openViews, readIncarnation, writeIncarnation } from "../../node/database.ts";
import { prepareMeshFolder, resolveHome } from "../../node/home.ts";
import { createLifecycle } from "../../node/lifecycle.ts";
import { MAX_LOG_BYTES, createTelemetry } from "../../node/telemetry.ts";
import { idOf } from "../../protocols/ids.ts";

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "kin-files-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("a file is replaced whole, for me alone, and nothing temporary stays", () => {
  const file = join(folder, "file");
  writeAtomic(file, "one");
  writeAtomic(file, Buffer.from("two"));
  expect(readFileSync(file, "utf8")).toBe("two");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(readdirSync(folder)).toEqual(["file"]);
});

test("what a failed write means is said with the file's name", () => {
  const failure = (code: string): Error => diskError(Object.assign(new Error(`${code}: bad`), { code }), "/x/file");
  expect(failure("ENOSPC")).toMatchObject({ code: "DISK_FULL", message: "cannot write /x/file: the disk is full" });
  expect(failure("EDQUOT")).toMatchObject({ code: "DISK_FULL" });
  expect(failure("EROFS")).toMatchObject({ code: "INTERNAL", message: expect.stringContaining("/x/file") });
  expect(failure("EIO").message).toBe("EIO: bad");
});

const canMount = spawnSync("unshare", ["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0;

test.skipIf(!canMount)(
  "full disk at start: DISK_FULL for keys, folders and lock; the keys of before stay [full-disk]",
  () => {
    const source = `
    import { writeFileSync, readFileSync, rmSync } from "node:fs";
    const { prepareHome, resolveHome } = await import("${new URL("../../node/home.ts", import.meta.url).href}");
    const { openKeystore } = await import("${new URL("../../node/keystore.ts", import.meta.url).href}");
    const { lockFolder } = await import("${new URL("../../node/lock.ts", import.meta.url).href}");
    const home = resolveHome({ KIN_HOME: "/mnt/kin" });
    const fill = () => { try { writeFileSync("/mnt/fill", Buffer.alloc(1 << 20)); } catch {} };
    const told = (run) => { try { run(); return "ok"; } catch (error) { return error.code + " " + Boolean(error.hint); } };
    fill();
    console.log("home", told(() => prepareHome(home)));
    rmSync("/mnt/fill");
    prepareHome(home);
    fill();
    console.log("keys", told(() => openKeystore(home.keysFolder)));
    rmSync("/mnt/fill");
    const before = openKeystore(home.keysFolder);
    const text = readFileSync(home.keysFolder + "/sealing.json", "utf8");
    fill();
    console.log("sealing", told(() => before.rotateSealingKey(1)));
    console.log("lock", told(() => lockFolder(home.dataFolder)));
    console.log("same", text === readFileSync(home.keysFolder + "/sealing.json", "utf8"), openKeystore(home.keysFolder).sealingKeys().length);`;
    const said = execFileSync("unshare", [
      "-rm",
      "sh",
      "-c",
      `mount -t tmpfs -o size=64k none /mnt && exec "$0" --input-type=module -e "$1"`,
      process.execPath,
      source,
    ]).toString();
    expect(said.trim().split("\n")).toEqual([
      "home DISK_FULL true",
      "keys DISK_FULL true",
      "sealing DISK_FULL true",
      "lock DISK_FULL true",
      "same true 1",
    ]);
  },
);

test("R8: an incarnation is the first only where nothing was before; one begun later in the first run is not, after a restart neither", async () => {
  const home = resolveHome({ KIN_HOME: folder });
  let drawn = 0;
  const draw = () => ({ id: new Uint8Array(16).fill(++drawn), bornAt: drawn });
  const mesh = prepareMeshFolder(home, idOf<"mesh">(new Uint8Array(32).fill(1)));
  const run = openIncarnation(mesh, true, draw);
  expect(run.current).toMatchObject({ first: true, fresh: true, bornAt: 1 });
  const renewed = await run.renew();
  expect(renewed).toMatchObject({ first: false, fresh: true, bornAt: 2 });
  const again = openIncarnation(mesh, false, draw).current;
  expect(again).toEqual({ id: renewed.id, first: false, bornAt: 2 });
  const restored = prepareMeshFolder(home, idOf<"mesh">(new Uint8Array(32).fill(2)));
  expect(openIncarnation(restored, false, draw).current).toMatchObject({ first: false, fresh: true });
});

test("the incarnation is marked outside every database, and a damaged mark is not believed", () => {
  const mesh = prepareMeshFolder(resolveHome({ KIN_HOME: folder }), idOf<"mesh">(new Uint8Array(32)));
  expect(readIncarnation(mesh)).toBeNull();
  const incarnation = { id: new Uint8Array(16).fill(9), first: true, bornAt: 1_795_000_000_000 };
  writeIncarnation(mesh, incarnation);
  expect(readIncarnation(mesh)).toEqual(incarnation);
  expect(() => writeIncarnation(mesh, { ...incarnation, id: new Uint8Array(15) })).toThrow(
    expect.objectContaining({ code: "BAD_REQUEST" }),
  );
  writeIncarnation(mesh, { ...incarnation, first: false });
  expect(readIncarnation(mesh)).toEqual({ ...incarnation, first: false });
  for (const text of ["", "09", `2 ${"09".repeat(16)} first 1\n`, `1 ${"09".repeat(16)} maybe 1\n`]) {
    writeFileSync(mesh.incarnationFile, text);
    expect(() => readIncarnation(mesh)).toThrow(expect.objectContaining({ code: "CORRUPT" }));
  }
});

test("views.db opens in WAL mode, and a file that is no database is said", async () => {
  const mesh = prepareMeshFolder(resolveHome({ KIN_HOME: folder }), idOf<"mesh">(new Uint8Array(32)));
  const views = await openViews(mesh);
  await views.execute("CREATE TABLE t (x INTEGER)");
  expect((await views.execute("PRAGMA journal_mode")).rows[0]![0]).toBe("wal");
  views.close();
  writeFileSync(mesh.viewsFile, "this is not a database, it is a sentence that goes on for a while".repeat(20));
  rmSync(`${mesh.viewsFile}-wal`, { force: true });
  await expect(openViews(mesh)).rejects.toMatchObject({ code: "CORRUPT", hint: expect.stringContaining("rebuilt") });
});

test("parts stop in reverse order; one that fails or hangs keeps none of the others", async () => {
  const lifecycle = createLifecycle(20);
  const order: string[] = [];
  lifecycle.onStop("first", () => order.push("first"));
  lifecycle.onStop("hangs", () => new Promise(() => {}));
  lifecycle.onStop("fails", () => {
    throw new Error("no");
  });
  lifecycle.onStop("last", () => order.push("last"));
  const [problems, again] = await Promise.all([lifecycle.stop(), lifecycle.stop()]);
  expect(order).toEqual(["last", "first"]);
  expect(problems.map(({ name, error }) => [name, error.message])).toEqual([
    ["fails", "no"],
    ["hangs", "did not stop within 20 ms"],
  ]);
  expect(again).toBe(problems);
  expect(lifecycle.signal.aborted).toBe(true);
  lifecycle.onStop("too late", () => order.push("too late"));
  await Promise.resolve();
  expect(order).toContain("too late");
});

test("the log file is bounded, for me alone, and holds no ticket", () => {
  const file = join(folder, "node.log");
  const telemetry = createTelemetry(file, { now: () => 0 });
  telemetry.info("joined", { ticket: `kint1${"a".repeat(40)}`, text: "x".repeat(5_000), count: 1 });
  const [line] = readFileSync(file, "utf8").trim().split("\n");
  expect(JSON.parse(line!)).toMatchObject({
    at: "1970-01-01T00:00:00.000Z",
    level: "info",
    what: "joined",
    ticket: "kint1…",
    count: 1,
  });
  expect(line!.length).toBeLessThan(1_500);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  for (let bytes = 0; bytes < 3 * MAX_LOG_BYTES; bytes += 1_000) telemetry.warn("y".repeat(950));
  expect(statSync(file).size).toBeLessThanOrEqual(MAX_LOG_BYTES);
  expect(readdirSync(folder).toSorted()).toEqual(["node.log", "node.log.1"]);
  chmodSync(folder, 0o500);
  telemetry.error("still running");
  chmodSync(folder, 0o700);
});

test.skipIf(!existsSync("/proc/self/stat"))("a process that has ended but was not collected is not alive", () => {
  expect(isAlive(process.pid)).toBe(true);
  // The shell's child ends; the shell became `sleep`, which never collects it.
  const said = spawnSync("sh", [
    "-c",
    `true & echo $!; exec "${process.execPath}" -e 'setTimeout(() => {
    const pid = Number(process.argv[1]); import(process.argv[2]).then(({ isAlive }) => console.log(isAlive(pid)));
  }, 100)' $! '${new URL("../../node/alive.ts", import.meta.url).href}'`,
  ]).stdout.toString();
  expect(said.trim().split("\n")[1]).toBe("false");
});

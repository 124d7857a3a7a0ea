import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  checkPrivateFolder,
  meshFolder,
  prepareHome,
  prepareMeshFolder,
  readFormat,
  resolveHome,
} from "../../node/home.ts";
import { idOf } from "../../protocols/ids.ts";

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "kin-home-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const mesh = idOf<"mesh">(new Uint8Array(32).fill(5));

test("F8: KIN_HOME holds everything", () => {
  const home = resolveHome({ KIN_HOME: folder });
  expect(home).toMatchObject({
    kinHome: folder,
    dataFolder: folder,
    configFile: join(folder, "config.jsonc"),
    agentsFolder: join(folder, "agents"),
    keysFolder: join(folder, "keys"),
    socketPath: join(folder, "run", "kin.sock"),
  });
  expect(meshFolder(home, mesh)).toMatchObject({
    folder: join(folder, "meshes", mesh),
    logFile: join(folder, "meshes", mesh, "log.db"),
    viewsFile: join(folder, "meshes", mesh, "views.db"),
    incarnationFile: join(folder, "meshes", mesh, "incarnation"),
  });
});

test("F8: without KIN_HOME the parts lie under XDG config, data and state; relative XDG paths are ignored", () => {
  const home = resolveHome({ HOME: "/h", XDG_CONFIG_HOME: "/c", XDG_STATE_HOME: "relative" });
  expect(home.configFile).toBe("/c/kin/config.jsonc");
  expect(home.agentsFolder).toBe("/c/kin/agents");
  expect(home.keysFolder).toBe("/h/.local/share/kin/keys");
  expect(home.formatFile).toBe("/h/.local/share/kin/format.json");
  expect(home.socketPath).toBe("/h/.local/state/kin/run/kin.sock");
});

test("folders are made for me alone, and a second start changes nothing", () => {
  const home = resolveHome({ KIN_HOME: join(folder, "new") });
  prepareHome(home);
  for (const path of [home.dataFolder, home.agentsFolder, home.meshesFolder, home.runFolder])
    expect(statSync(path).mode & 0o777).toBe(0o700);
  const before = readFileSync(home.formatFile, "utf8");
  prepareHome(home);
  expect(readFileSync(home.formatFile, "utf8")).toBe(before);
  expect(readFormat(home)).toBe(1);
  expect(statSync(prepareMeshFolder(home, mesh).blobsFolder).mode & 0o777).toBe(0o700);
});

test("a data folder of a newer kin is refused, a damaged format file is not guessed at", () => {
  const home = resolveHome({ KIN_HOME: folder });
  writeFileSync(home.formatFile, '{"format": 2}');
  expect(() => prepareHome(home)).toThrow(
    expect.objectContaining({ code: "UNSUPPORTED_VERSION", message: expect.stringContaining("its format is 2") }),
  );
  for (const text of ["", "{}", '{"format": "1"}', '{"format": 0}', "null"]) {
    writeFileSync(home.formatFile, text);
    expect(() => prepareHome(home)).toThrow(expect.objectContaining({ code: "CORRUPT" }));
    expect(readFileSync(home.formatFile, "utf8")).toBe(text);
  }
});

test("a file where the folder should be is an error that names it", () => {
  const file = join(folder, "file");
  writeFileSync(file, "");
  expect(() => prepareHome(resolveHome({ KIN_HOME: join(file, "kin") }))).toThrow(
    expect.objectContaining({ code: "CORRUPT", message: expect.stringContaining(join(file, "kin")) }),
  );
});

test("socket path too long: a short name in the runtime folder, else in a folder of mine in the temporary one [socket-path]", () => {
  const long = join(folder, "x".repeat(90));
  const first = resolveHome({ KIN_HOME: long, XDG_RUNTIME_DIR: "/run/user/7" });
  expect(first.socketPath).toMatch(/^\/run\/user\/7\/kin-[0-9a-f]{16}\.sock$/);
  const second = resolveHome({ KIN_HOME: long, TMPDIR: folder });
  expect(second.socketPath).toMatch(new RegExp(`^${folder}/kin-\\d+/[0-9a-f]{16}\\.sock$`));
  expect(resolveHome({ KIN_HOME: long, TMPDIR: folder }).socketPath).toBe(second.socketPath);
  expect(resolveHome({ KIN_HOME: `${long}y`, TMPDIR: folder }).socketPath).not.toBe(second.socketPath);
  expect(resolveHome({ KIN_HOME: long, TMPDIR: join(folder, "y".repeat(90)) }).socketPath).toMatch(/^\/tmp\/kin-/);
  prepareHome(second);
  expect(statSync(join(second.socketPath, "..")).mode & 0o777).toBe(0o700);
});

test("the socket's folder must be a real folder and mine; an open one is closed [socket-path]", () => {
  const open = join(folder, "open");
  mkdirSync(open);
  chmodSync(open, 0o777);
  checkPrivateFolder(open);
  expect(statSync(open).mode & 0o777).toBe(0o700);
  const link = join(folder, "link");
  symlinkSync(open, link);
  expect(() => checkPrivateFolder(link)).toThrow(expect.objectContaining({ code: "SOCKET_PATH_TOO_LONG" }));
  expect(existsSync(open)).toBe(true);
});

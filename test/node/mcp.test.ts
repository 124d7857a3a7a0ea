import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { openWorld } from "./people.ts";

const packageFile = createRequire(import.meta.url).resolve("@modelcontextprotocol/server-filesystem/package.json");

test("tools of a real MCP server: called by name, a failure is one for the shell too, what broke is said, what changed is approved", async () => {
  await using world = await openWorld();
  const folder = join(world.folder, "files");
  await mkdir(folder);
  await writeFile(join(folder, "walrus.txt"), "it sings\n");
  const ben = await world.person("ben", {
    mcpServers: {
      files: { command: process.execPath, args: [join(dirname(packageFile), "dist/index.js"), folder] },
      broken: { command: "/nowhere/server" },
    },
  });
  expect((await ben.kin(["invite", "--name", "ana"])).code).toBe(0);
  const list = (path: string) => ben.kin(["call", "ben/tools/files.list_directory", JSON.stringify({ path })]);
  await expect.poll(async () => (await list(folder)).out, { timeout: 20_000 }).toContain("walrus.txt");
  const refused = await list("/");
  expect(refused).toMatchObject({ code: 1, out: "" });
  expect(refused.err).toContain("Access denied");
  expect(refused.err).toContain("(TOOL_FAILED)");
  expect((await ben.kin(["status"])).out).toContain("MCP server broken: spawn /nowhere/server");

  await ben.kin(["down"]);
  const file = join(ben.home, "mcp-pins.json");
  const pins = JSON.parse(await readFile(file, "utf8")) as { files: { [name: string]: { hash: string } } };
  pins.files["files.list_directory"]!.hash = "0".repeat(64);
  await writeFile(file, JSON.stringify(pins), { mode: 0o600 });
  await ben.kin(["up"]);
  expect((await list(folder)).err).toContain("its description changed");
  expect((await ben.kin(["status"])).out).toContain("tools approve files.list_directory");
  expect((await ben.kin(["tools", "approve", "files.read_file"])).err).toContain("there is: files.list_directory");
  expect((await ben.kin(["tools", "approve", "files.list_directory"])).code).toBe(0);
  expect((await list(folder)).out).toContain("walrus.txt");
}, 120_000);

/** Who a name in the settings means, when files are edited, names come twice and members go (R12). */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { loadConfig } from "../../node/config.ts";
import { pinPeople, resolveEntry } from "../../node/gateway/shares.ts";
import { formatText, idBytes } from "../../protocols/ids.ts";
import { displayName, memberNamed } from "../../protocols/membership.ts";
import { admit, admitBy, fold, found, invite, machine, person, remove, syncAll } from "../membership/people.ts";

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true, force: true })));

function configFile(text: string): string {
  const folder = mkdtempSync(join(tmpdir(), "kin-redteam-"));
  folders.push(folder);
  const file = join(folder, "config.jsonc");
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

const share = (name: string, audience: string): string =>
  `{ "name": "${name}", "folder": "/srv/${name}", "rights": "read", "for": ["${audience}"] }`;

test("R12: names are pinned where the file has them now, for shares and MCP servers, and mean the same person for ever", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  const id = formatText("kinp", idBytes(ana.id));
  const file = configFile(`{
  // mine
  "shares": [${share("one", "zoe")}, ${share("two", "ana")}],
  "mcpServers": { "files": { "command": "x", "for": ["ana"] } }
}`);
  expect(pinPeople(file, fold(ben.view))).toBe(true);
  const config = loadConfig(file);
  expect(config.shares.map(({ name, for: audience }) => [name, audience])).toEqual([
    ["one", ["zoe"]],
    ["two", [id]],
  ]);
  expect(config.mcpServers["files"]!.for).toEqual([id]);
  expect(readFileSync(file, "utf8")).toContain("// mine");
  expect(pinPeople(file, fold(ben.view))).toBe(false);
});

test("R12: a share that was taken out of the file by hand meanwhile gives its people to no other share", () => {
  const ben = found();
  const file = configFile(`{ "shares": [${share("one", "zoe")}, ${share("two", "ana")}, ${share("three", "zoe")}] }`);
  loadConfig(file);
  writeFileSync(file, `{ "shares": [${share("two", "ana")}, ${share("three", "zoe")}] }`);
  admit(ben, "ana");
  pinPeople(file, fold(ben.view));
  const [two, three] = loadConfig(file).shares;
  expect(two!.for).toEqual([expect.stringMatching(/^kinp1/)]);
  expect(three!.for).toEqual(["zoe"]);
});

test("R12: of two that came with one name at once, who stays does not become who was removed", () => {
  const ben = found();
  const ana = admit(ben, "ana", "admin");
  syncAll(ben, ana);
  const one = admit(ben, "dan");
  const other = { ...person("dan"), machine: machine("laptop", "other dan") };
  admitBy(ana, other, invite(ana));
  syncAll(ben, ana);
  remove(ben, one);
  const membership = fold(ben.view);
  expect(membership.members.has(other.id)).toBe(true);
  expect(resolveEntry("dan", membership)).toEqual([]);
  expect(memberNamed(membership, "dan")).toMatchObject({ ok: false, why: "ambiguous" });
  const shown = displayName(membership, other.id);
  expect(shown).toMatch(/^dan~[a-z2-7]{4}$/);
  expect(resolveEntry(shown, membership)).toEqual([other.id]);
});

/** What `kin export` and `kin verify` print, and their exit codes. */
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { formatText, idBytes } from "../../protocols/ids.ts";
import { exportFile } from "../../node/gateway/verbs/export.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import { exportOf, makeTeam, type Team } from "../independent/team.ts";
import { changeless } from "./changeless.ts";
import { runKin, type Ran } from "./run-kin.ts";

let home: string;
let file: string;
let mesh: string;
let team: Team;
const kin = (...args: string[]): Promise<Ran> => runKin(args, { home, cwd: home });

beforeAll(async () => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "kin-export-")));
  team = await makeTeam();
  mesh = formatText("kinm", idBytes(team.ben.replica.mesh));
  file = join(home, "team.kin");
  writeFileSync(file, await exportOf(team.ben, { calls: [team.call.id], events: [team.note], here: true }));
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

test("verify says in words what is proven, by whom, and what is not [verify-words]", async () => {
  const ran = await kin("verify", file, "--mesh", mesh);
  expect(ran).toMatchObject({ code: 0, err: "" });
  const said = [
    `${file} proves what it holds.`,
    `mesh     team, ${mesh}`,
    "made by  ben@laptop, ",
    "ben (admin)",
    "removed  cem",
    "roster   ",
    "ana asked ben/reviewer on ",
    "    what changed?",
    "ben/reviewer on ",
    "    three files",
    'ana@laptop wrote "note" on ',
    "on the word of who made the file",
    '"what ana noted"',
    "audit    151 events",
    "Not proven:",
    "its device was removed",
    "that this is all there is",
  ];
  for (const words of said) expect(ran.out).toContain(words);
  expect(ran.out).not.toContain("no --mesh was given");
  expect(changeless(ran.out)).toBe(true);
});

test("verify needs no node and leaves no data folder; without a mesh id it says whose word the file's is [verify-words]", async () => {
  const elsewhere = join(home, "nobody");
  const ran = await runKin(["verify", file], { home: elsewhere });
  expect(ran.code).toBe(0);
  expect(ran.out).toContain("That is the file's own word: compare it");
  expect(ran.out).toContain("that this is the mesh you mean: no --mesh was given");
  expect(existsSync(elsewhere)).toBe(false);
});

test("verify --json is one object with the same", async () => {
  const said = JSON.parse((await kin("verify", file, "--mesh", mesh, "--json")).out) as { [name: string]: unknown };
  expect(said).toMatchObject({
    v: 1,
    ok: true,
    meshGiven: true,
    mesh: { name: "team", id: mesh },
    by: { person: "ben", device: "ben@laptop" },
    removed: ["cem"],
    calls: [
      {
        id: formatText("kini", idBytes(team.call.id)),
        asked: { from: "ana", to: "ben/reviewer", text: "what changed?" },
        answers: [{ from: "ben/reviewer", end: "result", text: "three files", error: null }],
      },
    ],
    shown: [
      { event: formatText("kine", idBytes(team.note)), device: "ana@laptop", how: "said", value: "what ana noted" },
    ],
  });
});

test("verify ends with 1 and names what is wrong and where [verify-fails]", async () => {
  const bent = join(home, "bent.kin");
  const bytes = await exportOf(team.ben);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(bent, bytes);
  const ran = await kin("verify", bent);
  expect(ran).toMatchObject({ code: 1, out: "" });
  expect(ran.err).toMatch(
    /^kin: .+bent\.kin is not what it says it is: .+ \(NOT_PROVEN\)\n {2}found at byte \d+ \(\w+\)/,
  );
  const json = await kin("verify", bent, "--json");
  expect(json.code).toBe(1);
  expect(JSON.parse(json.out)).toMatchObject({ v: 1, error: { code: "NOT_PROVEN" } });
  const other = await kin("verify", file, "--mesh", formatText("kinm", bytesOf("another")));
  expect(other.code).toBe(1);
  expect(other.err).toContain(`is of the mesh ${mesh}, not of kinm1`);
  const person = await kin("verify", file, "--mesh", formatText("kinp", bytesOf("x")));
  expect(person.code).toBe(2);
  expect(person.err).toContain("is a person id");
});

test("a file that can't be read is not called a forgery, by words or by exit code [verify-unreadable]", async () => {
  for (const [path, says] of [
    ["none.kin", `there is no file ${join(home, "none.kin")}`],
    [".", `${home} is a folder`],
    ["team.kin/x", `can't read ${join(home, "team.kin/x")}: ENOTDIR: not a directory`],
  ] as const) {
    const ran = await kin("verify", path);
    expect(ran).toMatchObject({ code: 2, out: "", err: expect.stringContaining(`kin: ${says} (USAGE)`) });
    expect(ran.err).not.toMatch(/not what it says|believed/);
  }
});

test("a folder that can't be written is named, by its path [export-folder]", async () => {
  const { replica } = team.ben;
  const node = { mesh: () => ({ id: replica.mesh, replica }), random: seededRandom("export") };
  const params = { people: [], events: [], calls: [], here: false, sealed: false, replace: false };
  const made = exportFile(node as never, { ...params, out: join(file, "x.kin") }, () => {}, AbortSignal.timeout(9_000));
  await expect(made).rejects.toMatchObject({
    code: "USAGE",
    message: `can't write into the folder ${file}: ENOTDIR: not a directory`,
  });
});

test("export says what is in the file and who can read what [export-words]", async () => {
  expect(await kin("up", "--as", "ben")).toMatchObject({ code: 0 });
  try {
    const ran = await kin("export", "--out", "x.kin");
    expect(ran.code).toBe(0);
    for (const words of [
      `${join(home, "x.kin")}: 20.0 MB, all that this node has of team`,
      "5 roster records, 1 agent key, 9 events of 2 logs",
      "what 1 event for single devices says, by its own key",
      "what 1 event for the mesh says, on your word",
      "All other bodies stay sealed",
      `verify ${join(home, "x.kin")} --mesh kinm1abc`,
    ])
      expect(ran.out).toContain(words);
    expect(ran.out).not.toContain("your own audit");
    expect(ran.err).toContain("20.0 MB so far");
    const part = await kin("export", "--log", "ana", "--json");
    expect(JSON.parse(part.out)).toMatchObject({ v: 1, all: false, events: 9 });
    expect((JSON.parse(part.out) as { file: string }).file).toMatch(/\/kin-\d{4}-\d\d-\d\d\.kin$/);
    expect(await kin("export", "--out", "no/such/x.kin")).toMatchObject({ code: 2 });
  } finally {
    expect((await kin("down")).code).toBe(0);
  }
});

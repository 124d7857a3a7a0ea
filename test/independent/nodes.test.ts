/** `kin export` of real nodes, checked by `kin verify` in an empty data folder and by the Python program. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeRepository, openWorld, twoPeople, until, type Person } from "../node/people.ts";
import { inPython as it, runPython } from "./python.ts";

interface Made {
  file: string;
  mesh: string;
  opened: number;
}
interface Verified {
  ok: boolean;
  members: { name: string }[];
  by: { person: string };
  logs: { device: string; stop: number | null }[];
  calls: {
    from: string;
    asked: { text: string; to: string };
    answers: { from: string; text: string; end: string }[];
  }[];
  audit: { events: number; witnessedTo: number }[];
}

/** Ana asks ben while he is away; he comes back and answers; what was said is in both logs. */
async function askedAndAnswered(ben: Person, ana: Person): Promise<string> {
  await ben.kin(["down"]);
  const { id } = await ana.json<{ id: string }>(["ask", "ben/reviewer", "what changed?"]);
  await ben.kin(["up"]);
  expect((await ana.kin(["wait", id, "--timeout", "60s"])).code).toBe(0);
  return id;
}

it("a call between two real nodes is proved to an outsider with only the mesh id, by kin and by Python [export-nodes]", async () => {
  await using world = await openWorld();
  const folder = await makeRepository(join(world.folder, "app"));
  const { ben, ana } = await twoPeople(world, folder);
  const call = await askedAndAnswered(ben, ana);
  const outsider = await world.person("outsider");
  const file = join(world.folder, "call.kin");
  const made = await ana.json<Made>(["export", "--out", file, "--call", call]);
  expect(made).toMatchObject({ opened: 2, all: false });

  const verified = await outsider.json<Verified>(["verify", file, "--mesh", made.mesh]);
  expect(verified).toMatchObject({
    ok: true,
    by: { person: "ana" },
    calls: [
      { asked: { to: "ben/reviewer", text: "what changed?" }, answers: [{ from: "ben/reviewer", end: "result" }] },
    ],
  });
  expect(verified.members.map(({ name }) => name).toSorted()).toEqual(["ana", "ben"]);
  expect(verified.calls[0]!.answers[0]!.text).toContain("Greet politely");
  const people = await outsider.kin(["verify", file]);
  expect(people).toMatchObject({ code: 0, err: "" });
  expect(people.out).toContain("compare it with the mesh id");
  expect(people.out).toContain("Greet politely");

  const python = await runPython("verify.py", ["--mesh", made.mesh, file]);
  expect(JSON.parse(python.out)).toMatchObject({
    ok: true,
    by: "ana",
    calls: [{ asked: true, answers: ["result"] }],
  });

  const all = await ben.json<Made>(["export", "--out", join(world.folder, "all.kin"), "--here"]);
  const whole = await outsider.json<Verified>(["verify", all.file, "--mesh", all.mesh]);
  expect(whole.audit[0]!.events).toBeGreaterThan(2);
  expect(whole.audit[0]!.witnessedTo).toBe(whole.audit[0]!.events - 1);
  expect(whole.logs.every(({ stop }) => stop === null)).toBe(true);
  expect((await runPython("verify.py", ["--mesh", all.mesh, all.file])).code).toBe(0);

  const bent = await readFile(all.file);
  bent[bent.length >> 1]! ^= 1;
  await writeFile(file, bent);
  const refused = await outsider.kin(["verify", file, "--mesh", all.mesh]);
  expect(refused.code).toBe(1);
  expect(refused.err).toMatch(/is not what it says it is: .+\n.*at byte \d+/);
  expect((await runPython("verify.py", ["--mesh", all.mesh, file])).code).toBe(1);
}, 120_000);

test("who was removed exports what he had, and an outsider sees where his log ends [export-nodes]", async () => {
  await using world = await openWorld();
  const { ben, ana } = await twoPeople(world, null);
  await until(async () =>
    (await ben.json<{ items: { online: boolean }[] }>(["peers"])).items.some(({ online }) => online),
  );
  expect((await ben.kin(["remove", "ana"])).code).toBe(0);
  await until(async () => (await ana.json<{ mesh: { role: string } }>(["status"])).mesh.role === "removed");
  const made = await ana.json<Made>(["export", "--out", join(world.folder, "ana.kin")]);
  const verified = await ben.json<Verified>(["verify", made.file, "--mesh", made.mesh]);
  expect(verified).toMatchObject({ ok: true, by: { person: "ana" }, members: [{ name: "ben" }] });
  const again = await ana.kin(["export", "--out", made.file]);
  expect(again.code).toBe(2);
  expect(again.err).toContain("is there already");
  expect((await ana.kin(["export", "--out", made.file, "--force", "--log", "ben"])).code).toBe(0);
}, 120_000);

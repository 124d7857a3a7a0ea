/** Exports: what a stranger with only the mesh id can check, and that no bent one passes. Ours; `python.test.ts` asks another program. */
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { concat, encode, utf8Bytes, type Value } from "../../protocols/bytes.ts";
import { noteOpenedValue } from "../../protocols/document.ts";
import { EXPORT_LINE } from "../../protocols/export.ts";
import { frame as framed } from "../../protocols/frame.ts";
import { idBytes, idOf, type MeshId } from "../../protocols/ids.ts";
import { verifyExport, type ExportReport } from "../../sync/verify-export.ts";
import { bytesOf } from "../sync/chains.ts";
import { memberOf } from "../sync/mesh.ts";
import { closePage, HONEST, openedKeys, openPage, TAMPERED } from "./tampered.ts";
import { exportOf, makeTeam, wrongReceipts, type Team } from "./team.ts";

let team: Team;
/** All of the mesh with ben's audit; the call and ana's note are opened. */
let file: Uint8Array;
let mesh: MeshId;
beforeAll(async () => {
  team = await makeTeam();
  mesh = team.ben.replica.mesh;
  file = await exportOf(team.ben, { calls: [team.call.id], events: [team.note], here: true });
});

async function proved(bytes: Uint8Array, known: MeshId | null = mesh): Promise<ExportReport> {
  const verdict = await verifyExport([bytes], known);
  if (!verdict.ok) throw new Error(`${verdict.problem.code} at ${verdict.problem.offset}: ${verdict.problem.message}`);
  return verdict.report;
}

function logOf(report: ExportReport, who: { replica: { device: string } }, chain = "mesh") {
  return report.logs.filter((log) => log.device === who.replica.device && log.opening.chain === chain);
}

test("an export of the whole mesh proves who is in it, each log up to a signed head, and where one ends [export-proves]", async () => {
  const report = await proved(file);
  const { ben, ana, cem, dora } = team;
  expect([...report.membership.members.values()].map(({ name }) => name).toSorted()).toEqual(["ana", "ben", "dora"]);
  expect(report.by).toMatchObject({ device: ben.replica.device, mesh });
  const vector = ben.replica.vector();
  for (const { log, opening, seq, id } of vector.values())
    if (opening.device !== dora.replica.device)
      expect(report.logs.find((one) => one.log === log)).toMatchObject({ from: 0, to: seq, lastId: id, bodiless: 0 });
  expect(logOf(report, ana)).toMatchObject([{ stop: null, why: null, person: memberOf(ben, "ana").person }]);
  const [cems] = logOf(report, cem);
  expect(cems).toMatchObject({ to: 3, stop: 3, why: "removed" });
  const forked = logOf(report, dora).filter(({ why }) => why === "forked");
  expect(report.forks.map(({ log }) => log)).toEqual(forked.map(({ log }) => log));
  expect(forked).toHaveLength(1);
});

test("of what is opened, a direct body is shown by its own key, a mesh body on the exporter's word, nothing else [export-opens]", async () => {
  const report = await proved(file);
  expect(new Map(report.shown.map(({ event, how }) => [event, how]))).toEqual(
    new Map([
      [team.call.asked, "key"],
      [team.call.answered, "key"],
      [team.note, "said"],
    ]),
  );
  expect(report.shown.find(({ event }) => event === team.note)!.value).toBe("what ana noted");
  expect(report.sealed).toBeGreaterThan(3);
  for (const { epochKeys } of [team.ben, team.ana])
    for (const key of epochKeys.held.values()) expect(Buffer.from(file).includes(Buffer.from(key))).toBe(false);
  expect(Buffer.from(file).includes("and more")).toBe(false);
});

test("a call is proved by its own envelopes: who asked whom for what, and who answered [export-call]", async () => {
  const report = await proved(await exportOf(team.ana, { all: false, calls: [team.call.id] }));
  expect(report.events).toBe(2);
  expect(report.logs.map(({ from, to }) => to - from)).toEqual([0, 0]);
  const [call] = report.calls;
  expect(call).toMatchObject({
    id: team.call.id,
    asked: { from: { device: team.ana.replica.device, agent: null }, to: { name: "reviewer" } },
    answers: [{ accepted: true, from: { agent: "reviewer" }, end: { type: "result" } }],
  });
  expect(call!.asked!.request.parts).toEqual([{ text: "what changed?" }]);
  expect(call!.answers[0]!.end).toMatchObject({ outcome: { parts: [{ text: "three files" }] } });
});

test("what is only said of a call proves nothing of it [export-call]", async () => {
  const value = { re: idBytes(team.call.id), code: "DENIED", message: "never" };
  const [event] = await team.ben.replica.append([{ kind: "invocation-declined", audience: "mesh", value }]);
  const report = await proved(await exportOf(team.ben, { all: false, events: [event!.id, team.call.asked] }));
  expect(report.shown.map(({ kind, how }) => [kind, how])).toContainEqual(["invocation-declined", "said"]);
  expect(report.calls).toMatchObject([{ id: team.call.id, declined: [], answers: [] }]);
});

test("an export shows nothing if it is not asked to, and a part has only what proves it [export-opens]", async () => {
  const closed = await proved(await exportOf(team.ana, { all: false, calls: [team.call.id], open: false }));
  expect(closed).toMatchObject({ shown: [], calls: [], events: 2, sealed: 2, all: false });
  const whole = await proved(await exportOf(team.ben, { open: false }));
  expect(whole).toMatchObject({ shown: [], all: true, here: false, audit: [] });
  const bens = await proved(await exportOf(team.ana, { all: false, devices: [team.ben.replica.device] }));
  expect(new Set(bens.logs.map(({ device }) => device))).toEqual(new Set([team.ben.replica.device]));
});

test("an event of a removed member comes with the chain up to the cut, which shows that it was written before [export-cut]", async () => {
  const { ben, cem } = team;
  const log = [...ben.replica.vector().values()].find(({ opening }) => opening.device === cem.replica.device)!.log;
  const [, , before, after] = await ben.replica.store.range(log, 0, 4);
  const early = await proved(await exportOf(ben, { all: false, events: [before!.id] }));
  expect(early.logs).toMatchObject([{ from: 2, to: 2, stop: null }]);
  const late = await proved(await exportOf(ben, { all: false, events: [after!.id] }));
  expect(late.logs).toMatchObject([{ from: 3, to: 3, stop: 3, why: "removed" }]);
});

test("my own audit is exported only on purpose, whole, and as far as the mesh chain witnessed it (R9, P24) [export-audit]", async () => {
  const report = await proved(file);
  expect(report.audit).toMatchObject([{ events: 151, witnessedTo: 150 }]);
  const without = await exportOf(team.ben);
  expect((await proved(without)).logs.every(({ opening }) => opening.chain === "mesh")).toBe(true);
  expect(Buffer.from(without).includes("git.log")).toBe(false);
  const { events } = await team.ben.replica.events({ kinds: new Set(["audit-started"]), limit: 4096 });
  await expect(exportOf(team.ben, { all: false, events: [events[0]!.id] })).rejects.toThrow("own audit");
});

test("an epoch's key, or a private note's, is never shown, not even by who may read it [export-opens] [export-note-key]", async () => {
  for (const { holds, event, bytes } of await openedKeys(team)) {
    const made = exportOf(team.ben, { all: false, events: [event] });
    await expect(made).rejects.toThrow(`event ${event} holds ${holds}`);
    const verdict = await verifyExport([bytes], mesh);
    expect(verdict.ok ? "it passed" : verdict.problem.message).toContain(`event ${event} holds ${holds}`);
    const sealed = await exportOf(team.ben, { all: false, events: [event], open: false });
    expect(await proved(sealed)).toMatchObject({ shown: [], sealed: 1 });
  }
});

test("the opening of a note for the mesh is shown, as what others say to all [export-opens]", async () => {
  const value = noteOpenedValue({ title: "for all", form: "text", privacy: null });
  const [event] = await team.ben.replica.append([{ kind: "note-opened", audience: "mesh", value }]);
  const report = await proved(await exportOf(team.ben, { all: false, events: [event!.id] }));
  expect(report.shown).toMatchObject([{ event: event!.id, how: "said", value }]);
});

test("what is not here can't be exported [export-proves]", async () => {
  await expect(exportOf(team.ben, { events: [idOf(bytesOf("none"))] })).rejects.toThrow("there is no event");
  await expect(exportOf(team.ben, { calls: [idOf(bytesOf("none"))] })).rejects.toThrow("no event here asks the call");
});

test("without a mesh id the file's own is taken, and said to be its own [export-proves]", async () => {
  expect((await proved(file, null)).mesh).toBe(mesh);
});

test("the file may come in pieces of any size [export-proves]", async () => {
  const whole = await proved(file);
  const pieces = Array.from({ length: Math.ceil(file.length / 7) }, (_, i) => file.subarray(i * 7, i * 7 + 7));
  const verdict = await verifyExport(pieces, mesh);
  expect(verdict.ok && verdict.report.events).toBe(whole.events);
});

test("the cases' own tools change nothing: a file taken apart and put together again is good", async () => {
  const again = closePage(openPage(file), team.ben, undefined);
  expect((await proved(again)).events).toBe((await proved(file)).events);
});

for (const { name, says, bend, seal, raw, mesh: reader } of TAMPERED)
  test(`${name}: found, and said [export-tampered]`, async () => {
    const page = openPage(file);
    bend(page, team);
    const closed = closePage(page, team.ben, seal);
    const verdict = await verifyExport([raw?.(closed) ?? closed], reader === "another" ? idOf(bytesOf("x")) : mesh);
    expect(verdict.ok ? "it passed" : `${verdict.problem.code}: ${verdict.problem.message}`).toContain(says);
  });

for (const { name, bend } of HONEST)
  test(`${name}: the file stays good, and says the same of the audit [audit-own-witness]`, async () => {
    const page = openPage(file);
    bend(page, team);
    const report = await proved(closePage(page, team.ben, undefined));
    expect(report.audit).toMatchObject([{ events: 151, witnessedTo: 150 }]);
  });

test("any flipped byte is found (A1) [export-tampered]", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
      const bent = file.slice();
      bent[at]! ^= bits;
      expect((await verifyExport([bent], mesh)).ok).toBe(false);
    }),
    { numRuns: 60 },
  );
});

test("garbage is refused, never thrown at the reader (P6) [export-tampered]", async () => {
  const line = utf8Bytes(EXPORT_LINE);
  const [first] = openPage(file).frames as [{ [field: string]: Value }];
  const value = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.integer({ min: 0, max: 9 }),
    fc.constant(null),
    fc.string(),
  );
  const types = fc.constantFrom("export", "records", "keys", "fork", "open", "log", "run", "end", "other");
  const some = fc.dictionary(
    fc.constantFrom("r", "k", "e", "o", "ev", "h", "s", "from", "to", "stop", "a", "b", "hs"),
    value,
  );
  const frames = fc.array(
    fc.tuple(types, some).map(([t, fields]) => encode({ ...fields, t })),
    { maxLength: 4 },
  );
  await fc.assert(
    fc.asyncProperty(frames, fc.uint8Array({ maxLength: 32 }), fc.boolean(), async (made, rest, isBegun) => {
      const begun = isBegun ? [framed(encode(first))] : [];
      const bytes = concat(line, ...begun, ...made.map((one) => framed(one)), rest);
      expect((await verifyExport([bytes], isBegun ? mesh : null)).ok).toBe(false);
    }),
    { numRuns: 200 },
  );
});

/** What an author signed wrongly himself can't be bent out of a file: it is written so, and found all the same. */
test("a receipt for another request, and one to somebody who did not ask, prove nothing [export-receipt]", async () => {
  for (const { says, bytes } of await wrongReceipts(team)) {
    const verdict = await verifyExport([bytes], mesh);
    expect(verdict.ok ? "it passed" : verdict.problem.message).toContain(says);
  }
});

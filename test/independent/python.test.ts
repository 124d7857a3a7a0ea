/**
 * The same exports before a verifier that shares no line with ours: Python, its own CBOR, fold and curve arithmetic, written from
 * docs/protocol.md.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, expect } from "vitest";
import { formatText, idBytes } from "../../protocols/ids.ts";
import { verifyExport } from "../../sync/verify-export.ts";
import { bytesOf } from "../sync/chains.ts";
import { inPython as test, runPython } from "./python.ts";
import { bendSomewhere, closePage, HONEST, openedKeys, openPage, TAMPERED } from "./tampered.ts";
import { exportOf, makeTeam, wrongReceipts, type Team } from "./team.ts";

const VECTORS = join(import.meta.dirname, "../vectors");

interface Said {
  ok: boolean;
  why?: string;
  [name: string]: unknown;
}

/** One line for each file. */
async function verified(files: Uint8Array[], mesh: Uint8Array): Promise<{ code: number; said: Said[] }> {
  const paths = files.map((bytes, i) => {
    const path = join(folder, `${i}.kin`);
    writeFileSync(path, bytes);
    return path;
  });
  const { code, out, err } = await runPython("verify.py", ["--mesh", formatText("kinm", mesh), ...paths]);
  expect(err).toBe("");
  return {
    code,
    said: out
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Said),
  };
}

/** Curve arithmetic in Python: seconds alone, longer beside a whole suite on two cores. */
const BUSY = { timeout: 120_000 };

let folder: string;
let team: Team;
let file: Uint8Array;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "kin-export-"));
  team = await makeTeam();
  file = await exportOf(team.ben, { calls: [team.call.id], events: [team.note], here: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test(
  "the Python program reads the page as we do: every vector of what an export is made of [independent]",
  BUSY,
  async () => {
    const { code, out, err } = await runPython("vectors.py", [VECTORS]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(Number(/^(\d+) vectors/.exec(out)?.[1])).toBeGreaterThan(250);
  },
);

test("it proves a good export, and the same of it as we do [independent] [audit-own-witness]", BUSY, async () => {
  const { mesh } = team.ben.replica;
  const call = await exportOf(team.ana, { all: false, calls: [team.call.id] });
  const good = HONEST.map(({ bend }) => {
    const page = openPage(file);
    bend(page, team);
    return closePage(page, team.ben, undefined);
  });
  const files = [file, call, ...good];
  const { code, said } = await verified(files, idBytes(mesh));
  expect({ code, said: said.filter(({ ok }) => !ok) }).toEqual({ code: 0, said: [] });
  for (const [i, bytes] of files.entries()) {
    const verdict = await verifyExport([bytes], mesh);
    if (!verdict.ok) throw new Error(verdict.problem.message);
    const { report } = verdict;
    expect(said[i]).toMatchObject({
      ok: true,
      mesh: formatText("kinm", idBytes(mesh)),
      members: [...report.membership.members.values()].map(({ name }) => name).toSorted(),
      records: report.records,
      events: report.events,
      logs: report.logs.map(({ log, from, to, stop, lastId }) => ({ log, from, to, stop, last: lastId })),
      forks: report.forks.map(({ log }) => log),
      shown: report.shown.map(({ event }) => event).toSorted(),
      calls: report.calls.map(({ id, asked }) => ({ id, asked: asked !== null, answers: ["result"] })),
      sealed: report.sealed,
    });
  }
});

test(
  `it finds each of ${TAMPERED.length} bent exports, and any flipped byte [independent-tampered]`,
  BUSY,
  async () => {
    const bent = TAMPERED.map(({ bend, seal, raw }) => {
      const page = openPage(file);
      bend(page, team);
      const closed = closePage(page, team.ben, seal);
      return raw?.(closed) ?? closed;
    });
    const flipped = Array.from({ length: 40 }, (_, i) => {
      const bytes = file.slice();
      bytes[Math.floor((i * file.length) / 40) + (i % 7)]! ^= 1 << (i % 8);
      return bytes;
    });
    const receipts = (await wrongReceipts(team)).map(({ bytes }) => bytes);
    const isOfAnother = TAMPERED.map(({ mesh }) => mesh === "another");
    const { said } = await verified([...bent, ...flipped, ...receipts], idBytes(team.ben.replica.mesh));
    const passed = said.flatMap(({ ok }, i) =>
      ok && isOfAnother[i] !== true ? [TAMPERED[i]?.name ?? `file ${i}`] : [],
    );
    expect(passed).toEqual([]);
    const { code, said: toOther } = await verified([file], bytesOf("x"));
    expect({ code, said: toOther }).toMatchObject({ code: 1, said: [{ ok: false }] });
  },
);

test(
  "it takes no file that opens an event with a key in it [independent-tampered] [export-note-key]",
  BUSY,
  async () => {
    const opened = await openedKeys(team);
    const files = opened.map(({ bytes }) => bytes);
    const { said } = await verified(files, idBytes(team.ben.replica.mesh));
    expect(said.map(({ why }) => why)).toEqual(opened.map(({ holds }) => expect.stringContaining(`holds ${holds},`)));
  },
);

test(
  "of files that are bent anywhere and sealed again, it takes exactly those that we take [independent-tampered]",
  BUSY,
  async () => {
    const { mesh } = team.ben.replica;
    const seeds = fc.sample(fc.nat(), 80);
    const files = seeds.map((seed) => {
      const page = openPage(file);
      bendSomewhere(page, seed);
      return closePage(page, team.ben, undefined);
    });
    const { said } = await verified(files, idBytes(mesh));
    const apart: { seed: number; ours: string; python: string }[] = [];
    for (const [i, bytes] of files.entries()) {
      const verdict = await verifyExport([bytes], mesh);
      const [ours, python] = [verdict.ok ? "good" : verdict.problem.message, said[i]!.why ?? "good"];
      if ((ours === "good") !== (python === "good")) apart.push({ seed: seeds[i]!, ours, python });
    }
    expect(apart).toEqual([]);
  },
);

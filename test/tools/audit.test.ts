/** Audit records on their way to the log: which ride together, and that none gets lost or out of order. */
import { expect, test } from "vitest";
import { AUDIT_KINDS, auditEntry, auditRecords, createAuditWriter, type AuditEnded } from "../../node/guard/audit.ts";

function ended(call: number): AuditEnded {
  const caller = { person: "p", device: "d", agent: null };
  return {
    event: "ended",
    at: 0,
    call: String(call),
    caller,
    target: "tools/time",
    through: null,
    outcome: "ok",
    ms: 0,
  };
}

function scene(append: (count: number) => Promise<void> = async () => {}) {
  const commits: string[][] = [];
  let due: (() => void) | null = null;
  const writer = createAuditWriter(
    async (records) => {
      commits.push(records.map(({ call }) => call));
      await append(records.length);
    },
    { after: (_ms, run) => ((due = run), () => (due = null)) },
  );
  return { writer, commits, tick: () => due?.(), isDue: () => due !== null };
}

test("records that nobody waits for share one commit, a moment later", async () => {
  const { writer, commits, tick } = scene();
  const written = [1, 2, 3].map((call) => writer.record(ended(call), "soon"));
  expect(commits).toEqual([]);
  tick();
  await Promise.all(written);
  expect(commits).toEqual([["1", "2", "3"]]);
});

test("one that is waited for is written at once, after those before it", async () => {
  const { writer, commits, isDue } = scene();
  const before = writer.record(ended(1), "soon");
  await writer.record(ended(2));
  await before;
  expect(commits).toEqual([["1", "2"]]);
  expect(isDue()).toBe(false);
});

test("stopping writes what waits", async () => {
  const { writer, commits } = scene();
  void writer.record(ended(1), "soon");
  await writer.stop();
  expect(commits).toEqual([["1"]]);
});

test("a failed commit is told to everybody whose record was in it", async () => {
  const { writer, tick } = scene(async () => {
    throw new Error("disk full");
  });
  const written = [1, 2].map((call) => writer.record(ended(call), "soon"));
  tick();
  for (const one of written) await expect(one).rejects.toThrow("disk full");
});

test("a disk that hangs does not fill the memory: over 10,000 records are refused", async () => {
  const { writer } = scene(() => new Promise(() => {}));
  for (let i = 0; i < 10_000; i++) void writer.record(ended(i), "soon");
  await expect(writer.record(ended(10_000), "soon")).rejects.toMatchObject({ code: "OVERLOADED" });
});

test("records are read back from one event of many, and from the events of earlier versions, one each", () => {
  const { kind, value } = auditEntry([ended(1), ended(2)]);
  expect(AUDIT_KINDS.has(kind)).toBe(true);
  expect(auditRecords(value)).toEqual([ended(1), ended(2)]);
  const [first] = value as never[];
  for (const earlier of ["audit-started", "audit-ended"]) expect(AUDIT_KINDS.has(earlier)).toBe(true);
  expect(auditRecords(first!)).toEqual([ended(1)]);
});

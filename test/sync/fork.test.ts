/** A log that was written twice: found, proved, frozen, told; its device goes on (R2, C1, P8). */
import { expect, test } from "vitest";
import type { KinError } from "../../protocols/errors.ts";
import { isLogAllowed } from "../../protocols/membership.ts";
import { encodeSyncFrame, type ForkProof } from "../../protocols/sync.ts";
import { checkForkProof } from "../../sync/fork.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import {
  admitMember,
  allEvents,
  benAndAna,
  note,
  notesOf,
  startSync,
  syncOnce,
  type TestMember,
  until,
} from "./mesh.ts";

async function noteEvents(member: TestMember): Promise<ReadableEvent[]> {
  return (await allEvents(member)).filter(({ kind }) => kind === "note");
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "done",
    (error: KinError) => error.code,
  );
}

/** Everybody syncs with everybody, live, until `is` holds. */
async function settle(members: TestMember[], is: () => Promise<boolean>): Promise<void> {
  const pairs = members.flatMap((one, i) => members.slice(i + 1).map((other) => [one, other] as const));
  const syncs = pairs.filter(([a, b]) => a.replica.device !== b.replica.device).map(([a, b]) => startSync(a, b));
  try {
    await until(is, "all agree");
  } finally {
    await Promise.all(syncs.map((sync) => sync.stop()));
  }
}

/** Ben writes on, and so does his backup: two histories under one key. */
async function forked(first: number, second: number) {
  const { ben, ana, time } = await benAndAna();
  const li = await admitMember(ben, "li");
  await syncOnce(ben, li);
  await syncOnce(ben, ana);
  const backup = ben.disk.crash();
  for (let i = 0; i < first; i++) await ben.replica.append([note(`first ${i}`)]);
  await syncOnce(ben, ana);
  const other = await ben.reopen(backup);
  for (let i = 0; i < second; i++) await other.replica.append([note(`second ${i}`)]);
  await syncOnce(other, li);
  return { ana, li, other, time };
}

for (const [first, second] of [
  [1, 1],
  [1, 4],
  [4, 1],
] as const)
  test(`C1: two histories of ${first} and ${second} events are found, proved, frozen and told (R2)`, async () => {
    const { ana, li } = await forked(first, second);
    const syncing = startSync(ana, li);
    await until(() => ana.replica.forks().length === 1 && li.replica.forks().length === 1, "both have the proof");
    await syncing.stop();
    const [proof] = ana.replica.forks() as [ForkProof];
    expect(() => checkForkProof(proof)).not.toThrow();
    const entry = ana.replica.vector().get(proof.log)!;
    expect(ana.replica.accepts(proof.log, entry.opening)).toBe(false);
    const ends = (await noteEvents(ana)).map(({ standing }) => standing.state);
    expect(ends.at(-1)).toBe("quarantined");
    const again = await ana.reopen();
    expect(again.replica.forks()).toEqual([proof]);
  });

test("C1: the author whose log forked goes on in a new log that counts, and what nobody had built on is said again (R2)", async () => {
  const { ana, li, other } = await forked(2, 1);
  const log = [...other.replica.vector().values()].find(({ opening }) => opening.device === other.replica.device)!.log;
  await settle([ana, li, other], async () => {
    const notes = await Promise.all([ana, li, other].map(notesOf));
    return notes.every((texts) => texts.join() === "first 0,first 1,second 0");
  });
  const [event] = await other.replica.append([note("and on")]);
  expect(event!.log).not.toBe(log);
  await syncOnce(other, li);
  expect(await li.replica.event(event!.id)).toMatchObject({ value: "and on", standing: { state: "good" } });
  for (const { replica } of [ana, li, other])
    expect(isLogAllowed(replica.membership(), event!.device, event!.log)).toBe(true);
});

test("a fork proof that proves nothing is refused, each way it can be wrong", async () => {
  const { ana, li } = await forked(1, 3);
  const syncing = startSync(ana, li);
  await until(() => ana.replica.forks().length === 1, "there is a proof");
  await syncing.stop();
  const [proof] = ana.replica.forks() as [ForkProof];
  const flipped = Uint8Array.from(proof.a.sig, (byte, i) => (i === 0 ? byte ^ 1 : byte));
  const wrong: [string, ForkProof, string][] = [
    ["a bad signature", { ...proof, a: { ...proof.a, sig: flipped } }, "BAD_SIGNATURE"],
    ["one head twice", { ...proof, b: proof.a, headers: [] }, "BAD_REQUEST"],
    ["a header missing", { ...proof, headers: proof.headers.slice(1) }, "BAD_REQUEST"],
    ["headers out of order", { ...proof, headers: proof.headers.toReversed() }, "BAD_REQUEST"],
    ["heads swapped", { ...proof, a: proof.b, b: proof.a }, "BAD_REQUEST"],
    ["another log", { ...proof, log: proof.a.head.id as never }, "BAD_REQUEST"],
  ];
  const { parting } = proof;
  const [a, b] = [parting!.a, parting!.b];
  const other = b.map((bytes) => Uint8Array.from(bytes));
  const lies: [string, ForkProof["parting"], string][] = [
    ["no way from the parting", { a: [], b: [] }, "BAD_REQUEST"],
    ["one way longer than the other", { a, b: [...other, ...other] }, "BAD_REQUEST"],
    ["the same way twice", { a, b: a }, "BAD_REQUEST"],
    ["ways that end elsewhere", { a: b, b: a }, "BAD_REQUEST"],
  ];
  for (const [what, parted, code] of lies) wrong.push([what, { ...proof, parting: parted }, code]);
  for (const [what, bad, code] of wrong)
    expect([what, await refusalOf(Promise.resolve().then(() => checkForkProof(bad)))]).toEqual([what, code]);
  expect(encodeSyncFrame({ type: "fork", proof }).length).toBeLessThan(4096);
});

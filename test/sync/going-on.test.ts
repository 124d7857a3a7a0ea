/** What a device says again once its log was written twice, and to whom (R2). */
import { expect, test } from "vitest";
import { decode } from "../../protocols/bytes.ts";
import { idBytes, idOf } from "../../protocols/ids.ts";
import { asMap } from "../../protocols/signature.ts";
import { removePerson } from "../../sync/acts.ts";
import type { ReadableEvent } from "../../sync/replica.ts";
import {
  admitMember,
  allEvents,
  foundMesh,
  meet,
  memberOf,
  note,
  syncOnce,
  testTime,
  twinOf,
  until,
  type TestMember,
} from "./mesh.ts";

/** As `sync/writing.ts` has it. */
const HERE_HEAD_EVERY = 64;

/**
 * Li's log is written twice from its first event on: one life says something of every kind, the other one thing. Ben is told
 * something, and is removed before it is known that Li's log has ended.
 */
async function liComesBack() {
  const time = testTime();
  const ana = await foundMesh("ana", time);
  const ben = await admitMember(ana, "ben");
  const cem = await admitMember(ana, "cem");
  const li = await admitMember(ana, "li", { role: "admin" });
  for (const one of [ben, cem, li]) await syncOnce(ana, one);
  const twin = await twinOf(li);
  await twin.replica.append([note("of the other life")]);
  const to = [ana, ben, li].map(({ replica }) => replica.device);
  await li.replica.append([{ ...note("for Ana and Ben"), audience: "direct", to }]);
  const [late] = await ben.replica.append([note("after Ben's end")]);
  await removePerson(ana.replica, memberOf(ana, "ben").person);
  await meet(ben, cem);
  await meet(cem, li);
  await meet(ana, li);
  for (const { replica } of [cem, li, ana]) await replica.idle();
  await li.replica.reissue([late!.id]);
  const [epoch, key] = [...li.epochKeys.held][0]!;
  const value = { e: idBytes(epoch), k: key };
  await li.replica.append([{ kind: "epoch-sealed", audience: "direct", value, to: [li.replica.device] }]);
  for (let i = 0; i < HERE_HEAD_EVERY; i++)
    await li.replica.append([{ kind: "audit-started", audience: "here", value: i }]);
  await until(async () => (await allEvents(li)).some(({ kind }) => kind === "here-head"), "the witness is written");
  await meet(li, ana);
  await meet(twin, cem);
  await twin.replica.close();
  for (let round = 0; round < 5; round++) {
    await meet(ana, cem);
    await meet(cem, li);
    await meet(ana, li);
    for (const { replica } of [ana, cem, li]) await replica.idle();
  }
  return { ana, ben, cem, li };
}

/** What a device has written for others, on all histories. */
async function writtenBy({ replica }: TestMember): Promise<ReadableEvent[]> {
  const events = (await replica.events({ limit: 4096 })).events;
  return [...events, ...(await replica.branchEvents())].filter(
    ({ device, audience }) => device === replica.device && audience !== "here",
  );
}

test("R2: of what an ended log held, only what people and agents said is said again: no roster record, key, witness, opening or marker", async () => {
  const { ana, li } = await liComesBack();
  const written = await writtenBy(li);
  const lost = written.filter(({ standing }) => standing.state === "quarantined");
  const kinds = ["epoch-sealed", "here-head", "log-opened", "note", "re-issued", "roster"];
  expect([...new Set(lost.map(({ kind }) => kind))].toSorted()).toEqual(kinds);
  const markers = written.filter(({ kind, standing }) => kind === "re-issued" && standing.state === "good");
  const again = markers.flatMap(({ value }) => (value as { of: Uint8Array[] }).of.map((id) => idOf<"event">(id)));
  const notes = lost.filter(({ kind }) => kind === "note");
  expect(again.toSorted()).toEqual(notes.map(({ id }) => id).toSorted());
  const texts = ["after Ben's end", "for Ana and Ben", "of the other life"];
  const counting = (await allEvents(ana)).filter(({ kind, standing }) => kind === "note" && standing.state === "good");
  expect(counting.map(({ value }) => value as string).toSorted()).toEqual(texts);
  for (const { id, kind } of lost)
    if (kind !== "note") await expect(li.replica.reissue([id]), kind).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("R2: what was for a device that has left since is said again without it", async () => {
  const { ana, ben, li } = await liComesBack();
  const said = (await writtenBy(li)).filter(({ value }) => value === "for Ana and Ben");
  expect(said.map(({ standing }) => standing.state).toSorted()).toEqual(["good", "quarantined"]);
  const recipients = async ({ log, seq }: ReadableEvent) => {
    const { run } = (await li.replica.runFrom(log, seq))!;
    const { r } = asMap(decode(run.events[0]!.body!), "a body") as { r: Uint8Array[][] };
    return r.map(([device]) => idOf<"device">(device)).toSorted();
  };
  const copy = said.find(({ standing }) => standing.state === "good")!;
  const devices = [ana, li].map(({ replica }) => replica.device);
  expect(await recipients(said.find((event) => event !== copy)!)).toEqual([...devices, ben.replica.device].toSorted());
  expect(await recipients(copy)).toEqual(devices.toSorted());
});

/** What a replica makes of roster records: those of its own store after a restart, and those that come from outside. */
import { Point } from "@noble/ed25519";
import { expect, test } from "vitest";
import { decode, encode, fromHex } from "../../protocols/bytes.ts";
import { idBytes, type RecordId } from "../../protocols/ids.ts";
import { makeRecord, recordIdOf, stampOf } from "../../protocols/roster-record.ts";
import { sealOne } from "../../protocols/signature.ts";
import { openMemoryStore } from "../../sync/stores/memory.ts";
import { SMALL_ORDER } from "../small-order.ts";
import { bytesOf } from "./chains.ts";
import { admitMember, foundMesh, stateOf, testTime, type TestMember } from "./mesh.ts";

/** As `sync/records.ts` has it. */
const MAX_WAITING_RECORDS = 4_096;

test("roster-load: a stored record with one flipped byte is named when the node starts, wherever the byte is", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  await admitMember(ben, "ana");
  const good = ben.disk.crash();
  const before = stateOf(ben);
  const [row] = (await ben.replica.store.values("roster/")).slice(-1);
  const { r, at } = decode(row!.value) as { r: { b: Uint8Array; k: Uint8Array; s: Uint8Array }; at: unknown };
  for (const [part, index] of [
    ["b", -1],
    ["b", 0],
    ["s", 0],
  ] as const) {
    const flipped = Uint8Array.from(r[part]);
    flipped[(flipped.length + index) % flipped.length]! ^= 1;
    const disk = good.crash();
    const store = await openMemoryStore(disk);
    await store.append({ values: [{ key: row!.key, value: encode({ r: { ...r, [part]: flipped }, at }) }] });
    await store.close();
    await expect(ben.reopen(disk), `a flipped byte in ${part}`).rejects.toMatchObject({ code: "CORRUPT" });
  }
  expect(stateOf(await ben.reopen(good))).toEqual(before);
});

test("R15: a record from outside that brings a key with a torsion part is refused, and nothing of it is kept", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const torsion = Point.fromBytes(fromHex(SMALL_ORDER[6]!), true);
  const { keys, replica } = ben;
  const good = inviteOf(ben, "n", replica.rosterHeads());
  const key = Point.fromBytes(idBytes(keys.id), false).add(torsion).toBytes();
  const bytes = encode({ ...(decode(good.sealed.bytes) as object), key });
  const twisted = sealOne(keys.device, "roster", bytes);
  const id = recordIdOf(twisted, "roster");
  expect(await replica.learn([twisted])).toBe(0);
  expect(replica.roster.has(id)).toBe(false);
  expect(await replica.store.value(`roster/${id}`)).toBeUndefined();
  expect(await replica.learn([good.sealed])).toBe(1);
});

test("records that wait for their parents are bounded: what could be too many is refused until the parents come", async () => {
  const ben = await foundMesh("ben", testTime());
  const { replica } = ben;
  const parent = inviteOf(ben, "parent", replica.rosterHeads());
  const waiting = [1, 2, 3].map((n) => inviteOf(ben, `child ${n}`, [parent.id]));
  await replica.learn(waiting.map(({ sealed }) => sealed));
  expect(replica.membership().waiting).toEqual(waiting.map(({ id }) => id).toSorted());
  const given = (count: number) => replica.learn(Array.from({ length: count }, () => waiting[0]!.sealed));
  await expect(given(MAX_WAITING_RECORDS - 2)).rejects.toMatchObject({ code: "OVERLOADED" });
  expect(await given(MAX_WAITING_RECORDS - 3)).toBe(0); // known already
  await replica.learn([parent.sealed]);
  expect(replica.membership().waiting).toEqual([]);
  expect(await given(MAX_WAITING_RECORDS)).toBe(0);
  await expect(given(MAX_WAITING_RECORDS + 1)).rejects.toMatchObject({ code: "OVERLOADED" });
});

/** An invite that he opens, and that says that he knew `parents`. */
function inviteOf({ keys, replica, time }: TestMember, name: string, parents: RecordId[]) {
  const author = { person: replica.membership().founder, device: keys.device, mesh: replica.mesh };
  return makeRecord(
    { ...author, parents, hlc: stampOf(time.now()), n: bytesOf(name).slice(0, 16) },
    {
      type: "invite-opened",
      key: idBytes(keys.id),
      name: null,
      role: "member",
      expires: time.now() + 1_000,
      shares: [{ device: keys.id, uses: 1 }],
    },
  );
}

/** A new sealing key (R7): told with a new epoch, so that the old key alone reads nothing that is written after. */
import { sealingKeyFromSeed } from "#crypto";
import { expect, test } from "vitest";
import { openEpochKey } from "../../protocols/epoch.ts";
import { announceSealingKey } from "../../sync/acts.ts";
import { bytesOf } from "./chains.ts";
import { admitMember, foundMesh, note, notesOf, syncOnce, testTime } from "./mesh.ts";

test("R7 keys-rotate: the roster says the new sealing key, the epoch after it opens with that key only, and saying it again does nothing", async () => {
  const ben = await foundMesh("ben", testTime());
  const ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  const next = sealingKeyFromSeed(bytesOf("ana's next sealing key"));
  await announceSealingKey(ana.replica, next.publicKey);
  const epochs = ana.replica.membership().epochs.size;
  await announceSealingKey(ana.replica, next.publicKey);
  expect(ana.replica.membership().epochs.size).toBe(epochs);
  await syncOnce(ana, ben);

  const known = ben.replica.membership();
  expect(known.devices.get(ana.keys.id)!.device.sealingKey).toEqual(next.publicKey);
  const epoch = [...known.epochs.values()].find(({ author }) => author.device === ana.keys.id)!;
  const sealed = epoch.keys.find(({ device }) => device === ana.keys.id)!;
  const open = (key: typeof next) => openEpochKey(ben.replica.mesh, epoch.keyHash, sealed, ana.keys.id, key);
  expect(await open(ana.keys.sealing)).toBeNull();
  expect(await open(next)).toHaveLength(32);
  await ben.replica.append([note("under the new epoch")]);
  await syncOnce(ana, ben);
  expect(await notesOf(ana)).toContain("under the new epoch");
});

/** `/kin/sync/1` between real replicas: equal after every cut, live afterwards, and nothing that a peer sends does harm. */
import { expect, test } from "vitest";
import { admitMember, foundMesh, note, notesOf, startSync, stateOf, syncOnce, testTime, until } from "./mesh.ts";

test("two replicas that wrote apart are equal after one sync", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await ben.replica.append([note("from ben")]);
  await ana.replica.append([note("from ana"), note("again")]);
  await syncOnce(ana, ben);
  expect(stateOf(ana)).toEqual(stateOf(ben));
  expect(await notesOf(ana)).toEqual(["again", "from ana", "from ben"]);
  expect(await notesOf(ben)).toEqual(["again", "from ana", "from ben"]);
});

test("after the first reconcile each side's new events reach the other while the stream is open", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  const syncing = startSync(ana, ben);
  await syncing.caughtUp;
  for (let i = 0; i < 5; i++) {
    await ben.replica.append([note(`ben ${i}`)]);
    await ana.replica.append([note(`ana ${i}`)]);
  }
  await until(async () => (await notesOf(ana)).length === 10 && (await notesOf(ben)).length === 10, "all ten arrived");
  expect(stateOf(ana)).toEqual(stateOf(ben));
  expect(await syncing.stop()).toMatchObject([{ error: null }, { error: null }]);
});

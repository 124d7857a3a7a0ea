/** The same over the real store: three replicas on libSQL files, one of which was away. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { admitMember, foundMesh, memberOf, openMember, testTime } from "../sync/mesh.ts";
import { bodiesOf, factsOf, hashOf, lookAll, mateOf, set, syncAll, type Mate } from "./team.ts";

test("over libSQL: two prune, the third catches up, and all are the same after a restart [catch-up] [prune-restart]", async () => {
  const folder = await mkdtemp(join(tmpdir(), "kin-snapshot-libsql-"));
  const time = testTime();
  const founder = await foundMesh("ana", time);
  const joined = [founder, await admitMember(founder, "ben"), await admitMember(founder, "cem")];
  await founder.replica.idle();
  const records = founder.replica.records();
  const mates: Mate[] = [];
  for (const { name, replica, epochKeys } of joined) {
    await replica.close();
    const openStore = () => openLibsqlStore({ file: join(folder, `${name}.db`) });
    mates.push(await mateOf(await openMember(name, replica.mesh, { time, epochKeys, records, openStore })));
  }
  const [ana, ben, cem] = mates as [Mate, Mate, Mate];
  for (const mate of mates) mate.peers = mates.filter((other) => other !== mate);
  await set(ana, "early", "1");
  await syncAll(...mates);
  for (let i = 0; i < 40; i++) await set(i % 2 === 0 ? ana : ben, `k${i % 5}`, String(i));
  await set(ana, "early", null);
  await syncAll(ana, ben);
  await set(cem, "away", "1");
  await ana.snapshots.setDormant(memberOf(ana.member, "cem").person, true);
  await ana.snapshots.make();
  await syncAll(ana, ben);
  await lookAll(time, ana, ben);
  for (const mate of [ana, ben]) expect((await mate.snapshots.prune()).bodies).toBe(42);
  await set(ben, "tail", "1");
  await syncAll(...mates);
  await cem.snapshots.look();
  await syncAll(...mates);
  const hash = hashOf(ana);
  for (const mate of mates) {
    expect(hashOf(mate), mate.member.name).toBe(hash);
    await mate.close();
    const again = await mateOf(await mate.member.reopen());
    expect(hashOf(again), `${mate.member.name} again`).toBe(hash);
    expect(Object.keys(factsOf(again)).toSorted()).toEqual(["away", "k0", "k1", "k2", "k3", "k4", "tail"]);
    expect(await again.member.replica.missingBodies(1)).toEqual([]);
    expect((await bodiesOf(again)).dropped).toBe(mate === cem ? 41 : 42);
    await again.close();
    await again.member.replica.close();
    await again.member.replica.store.close();
  }
  await rm(folder, { recursive: true });
}, 60_000);

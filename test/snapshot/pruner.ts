/** A process that prunes and is killed: `node pruner.ts` with a {@link Life} as its one argument. Says "pruning" when it begins. */
import { fromHex } from "../../protocols/bytes.ts";
import type { EpochId, MeshId } from "../../protocols/ids.ts";
import { openLibsqlStore } from "../../sync/stores/libsql.ts";
import { openMember, testTime, type TestMember } from "../sync/mesh.ts";
import { mateOf } from "./team.ts";

/** Who it is and where its log lies: what a node has in its folder. */
export interface Life {
  file: string;
  mesh: MeshId;
  /** Hex. */
  incarnation: string;
  epochKeys: [EpochId, string][];
}

export async function openLife({ file, mesh, incarnation, epochKeys }: Life): Promise<TestMember> {
  const held = new Map(epochKeys.map(([epoch, key]) => [epoch, fromHex(key)]));
  return openMember("ana", mesh, {
    time: testTime(),
    openStore: () => openLibsqlStore({ file }),
    epochKeys: { held, get: (epoch) => held.get(epoch), put: async (epoch, key) => void held.set(epoch, key) },
    incarnation: { id: fromHex(incarnation), first: true, bornAt: 0, fresh: false },
  });
}

if (import.meta.main) {
  const mate = await mateOf(await openLife(JSON.parse(process.argv[2]!) as Life));
  process.stdout.write("pruning\n");
  await mate.snapshots.prune();
  process.stdout.write("pruned\n");
  setInterval(() => undefined, 1000); // until it is killed
}

/** Becomes equal with one device now, and says in words what came of it. */
import type { DeviceId } from "../../protocols/ids.ts";
import { reach } from "./away.ts";
import type { SyncedPeer } from "./control-api.ts";
import type { Mesh, MeshNode } from "./mesh.ts";
import { peerName } from "./resolve.ts";

/** How long one peer is waited for. */
const SYNC_WAIT_MS = 30_000;
const LOOK_EVERY_MS = 25;

/** Dials, opens a session if there is none, and waits until both have the same. */
export async function syncWith(node: MeshNode, mesh: Mesh, device: DeviceId, signal: AbortSignal): Promise<SyncedPeer> {
  const peer = peerName(mesh.replica.membership(), device);
  const away = await reach(node, mesh, device, { signal });
  if (away !== null) return { peer, reached: false, inStep: false, got: 0, gave: 0, said: away.sentence };
  const most = { weLack: 0, theyLack: 0 };
  const until = node.time.monotonic() + SYNC_WAIT_MS;
  for (;;) {
    mesh.syncNow(device);
    const standing = mesh.progress.of(device);
    const { weLack = 0, theyLack = 0 } = standing ?? {};
    most.weLack = Math.max(most.weLack, weLack);
    most.theyLack = Math.max(most.theyLack, theyLack);
    const got = most.weLack - weLack;
    const gave = most.theyLack - theyLack;
    const inStep = standing?.isOn === true && weLack + theyLack === 0;
    if (inStep) return { peer, reached: true, inStep, got, gave, said: `${peer} is in step${moved(got, gave)}` };
    if (signal.aborted || node.time.monotonic() > until || node.network.greeting(device) === null) {
      const left = standing === undefined ? "it has told nothing yet" : `${weLack} still to get, ${theyLack} to give`;
      return { peer, reached: true, inStep, got, gave, said: `${peer} is not in step: ${left}` };
    }
    await new Promise<void>((resolve) => void node.time.after(LOOK_EVERY_MS, resolve));
  }
}

function moved(got: number, gave: number): string {
  if (got + gave === 0) return "";
  return `: ${got} ${got === 1 ? "event" : "events"} came, ${gave} went`;
}

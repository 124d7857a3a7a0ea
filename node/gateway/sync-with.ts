/** Becomes equal with one device now, and says in words what came of it. */
import type { DeviceId } from "../../protocols/ids.ts";
import { reach } from "./away.ts";
import type { SyncedPeer } from "./control-api.ts";
import type { Mesh, MeshNode } from "./mesh.ts";
import { peerName } from "./resolve.ts";

/** How long one peer is waited for. */
const SYNC_WAIT_MS = 30_000;
const LOOK_EVERY_MS = 25;
/** A session that is on and still out of step then may only not have told what it got from others. */
const AFRESH_AFTER_MS = 300;

/** Dials, opens a session if there is none, and waits until both have the same. */
export async function syncWith(node: MeshNode, mesh: Mesh, device: DeviceId, signal: AbortSignal): Promise<SyncedPeer> {
  const peer = peerName(mesh.replica.membership(), device);
  const away = await reach(node, mesh, device, { signal });
  if (away !== null) return { peer, reached: false, inStep: false, got: 0, gave: 0, said: away.sentence };
  const done = new AbortController();
  try {
    return await becomeEqual(node, mesh, device, AbortSignal.any([signal, done.signal]));
  } finally {
    done.abort();
  }
}

async function becomeEqual(node: MeshNode, mesh: Mesh, device: DeviceId, signal: AbortSignal): Promise<SyncedPeer> {
  const peer = peerName(mesh.replica.membership(), device);
  const most = { weLack: 0, theyLack: 0 };
  const began = node.time.monotonic();
  let isAsked = false;
  for (;;) {
    const standing = mesh.progress.of(device);
    const { weLack = 0, theyLack = 0, isOn = false } = standing ?? {};
    most.weLack = Math.max(most.weLack, weLack);
    most.theyLack = Math.max(most.theyLack, theyLack);
    const [got, gave] = [most.weLack - weLack, most.theyLack - theyLack];
    const took = node.time.monotonic() - began;
    const inStep = isOn && weLack + theyLack === 0;
    if (inStep) return { peer, reached: true, inStep, got, gave, said: `${peer} is in step${moved(got, gave)}` };
    if (!isOn) mesh.syncNow(device);
    else if (took > AFRESH_AFTER_MS && !isAsked) {
      isAsked = true;
      void mesh.syncAfresh(device, signal);
    }
    if (signal.aborted || took > SYNC_WAIT_MS || node.network.greeting(device) === null) {
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

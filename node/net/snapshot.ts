/** `/kin/snapshot/1` at a node: gives the state that it begins with, and asks connected members for one that it lacks (R16). */
import { KinError } from "../../protocols/errors.ts";
import type { EpochId, MeshId } from "../../protocols/ids.ts";
import {
  answerSnapshot,
  askSnapshot,
  SNAPSHOT_FEATURE,
  SNAPSHOT_PROTOCOL,
  type Snapshot,
  type SnapshotHolder,
} from "../../protocols/snapshot.ts";
import type { Network } from "./peers.ts";

/** One peer gets so long for a state: 64 MiB at 1 MB/s. */
const FETCH_TIMEOUT_MS = 70_000;

/** Serves what `holder` has, to members. */
export function serveSnapshots(network: Pick<Network, "handleForMembers">, holder: SnapshotHolder): void {
  network.handleForMembers(SNAPSHOT_PROTOCOL, (_peer, wire) => answerSnapshot(wire, holder));
}

export interface SnapshotFetchDeps {
  network: Pick<Network, "open" | "peers" | "greeting">;
  mesh: MeshId;
  epochKey: (epoch: EpochId) => Uint8Array | undefined;
  /** Told of a peer that gave something else than what was signed. */
  warn: (sentence: string) => void;
}

/** Asks one connected member after the other. @throws KinError NOT_FOUND if nobody gives it, or why the last one did not */
export async function fetchSnapshot(
  { network, mesh, epochKey, warn }: SnapshotFetchDeps,
  snapshot: Snapshot,
  signal: AbortSignal,
): Promise<Uint8Array> {
  let failure = new KinError("NOT_FOUND", "nobody who is online gives its state");
  for (const { device } of network.peers()) {
    if (network.greeting(device)?.features.includes(SNAPSHOT_FEATURE) !== true) continue;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(FETCH_TIMEOUT_MS)]);
    try {
      return await fetchFrom(await network.open(device, SNAPSHOT_PROTOCOL, limit), limit);
    } catch (error) {
      if (signal.aborted) throw error;
      failure = error instanceof KinError ? error : new KinError("UNREACHABLE", (error as Error).message);
      if (failure.code === "BAD_SIGNATURE") warn(`device ${device.slice(0, 8)}: ${failure.message}`);
    }
  }
  throw failure;

  async function fetchFrom(wire: Awaited<ReturnType<Network["open"]>>, limit: AbortSignal): Promise<Uint8Array> {
    const stop = (): void => wire.abort(limit.reason as Error);
    if (limit.aborted) stop();
    limit.addEventListener("abort", stop, { once: true });
    try {
      return await askSnapshot(wire, mesh, snapshot, epochKey);
    } catch (error) {
      wire.abort(error as Error);
      throw error;
    } finally {
      limit.removeEventListener("abort", stop);
    }
  }
}

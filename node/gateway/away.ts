/** Is a device there, and if not, why, in one plain sentence. What was tried at each address is its detail. */
import { errorShape } from "../../protocols/errors.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { displayName } from "../../protocols/membership.ts";
import { describeAttempt, type DialOutcome } from "../net/dial.ts";
import type { PeerState } from "../net/peers.ts";
import type { Mesh, MeshNode } from "./mesh.ts";
import { deviceName } from "./resolve.ts";

/** A dial with hello takes 3–4 round trips: longer than this only over the worst of links. */
const CONNECT_TIMEOUT_MS = 6_000;
/** After this long nobody waits for a device whose machine refused us, or that was away a moment ago: the dial goes on without him. */
const QUICK_MS = 1_500;
/** So long a device that could not be reached is thought to be away still. */
const LATELY_MS = 120_000;

export interface Away {
  /** "ben is offline: kin is not running on laptop" */
  sentence: string;
  /** Each address and what happened there. */
  detail: string;
}

export interface ReachOptions {
  signal: AbortSignal;
  /** Waits for every address, however little hope there is. @default false */
  patient?: boolean;
}

/** null: it is connected, or it is this very node. */
export async function reach(
  node: MeshNode,
  mesh: Mesh,
  device: DeviceId,
  { signal, patient = false }: ReachOptions,
): Promise<Away | null> {
  if (device === mesh.me.device || node.network.greeting(device) !== null) return null;
  const wasAway = wasAwayLately(stateOf(node, device), node.time.now());
  const dialled = node.network
    .connect(device, { signal: AbortSignal.any([signal, AbortSignal.timeout(CONNECT_TIMEOUT_MS)]) })
    .then(
      () => null,
      (error: unknown) => ({ error }),
    );
  let cancelQuick = (): void => {};
  const quick = new Promise<"quick">((resolve) => (cancelQuick = node.time.after(QUICK_MS, () => resolve("quick"))));
  const first = await Promise.race([dialled, quick]);
  cancelQuick();
  const isHopeless = first === "quick" && !patient && (wasAway || isRefused(stateOf(node, device)));
  const end = first === "quick" ? (isHopeless ? undefined : await dialled) : first;
  if (end === null) return null;
  signal.throwIfAborted();
  const sentence = awaySentence(node, mesh, device);
  const tried = (stateOf(node, device)?.attempts ?? []).map(describeAttempt).join("; ");
  return { sentence, detail: tried === "" && end !== undefined ? errorShape(end.error).message : tried };
}

function wasAwayLately(state: PeerState | undefined, now: number): boolean {
  const { failedAt = null, lastSeenAt = null } = state ?? {};
  return failedAt !== null && now - failedAt < LATELY_MS && (lastSeenAt === null || lastSeenAt <= failedAt);
}

function isRefused(state: PeerState | undefined): boolean {
  return state?.attempts.some(({ outcome }) => outcome === "refused") ?? false;
}

export function stateOf(node: MeshNode, device: DeviceId): PeerState | undefined {
  return node.network.peers().find((peer) => peer.device === device);
}

/** "ben is offline: kin is not running on laptop", by what is known now. */
export function awaySentence(node: MeshNode, mesh: Mesh, device: DeviceId): string {
  const membership = mesh.replica.membership();
  const found = membership.devices.get(device);
  if (found === undefined) return `device ${device.slice(0, 8)} is no longer a member's`;
  const state = stateOf(node, device);
  const why = whyAway(deviceName(membership, device), state);
  return `${displayName(membership, found.member.person)} is offline: ${why}`;
}

function whyAway(name: string, state: PeerState | undefined): string {
  const outcomes = new Set<DialOutcome>(state?.attempts.map(({ outcome }) => outcome));
  if (outcomes.has("refused")) return `kin is not running on ${name}`;
  if (outcomes.has("another-peer")) return `another device has the address that ${name} had`;
  if (state === undefined || state.addresses.length === 0) return `no address of ${name} is known`;
  if (outcomes.has("no-route")) return `there is no way to ${name} from this network`;
  return `${name} does not answer`;
}

/** `kin snapshot make|ls|show|prune|dormant`: states instead of old bodies, so that who was away catches up quickly (R16). */
import { KinError } from "../../../protocols/errors.ts";
import type { DeviceId } from "../../../protocols/ids.ts";
import { displayName } from "../../../protocols/membership.ts";
import type { SnapshotInfo } from "../../../sync/snapshot.ts";
import type { Params, Result, SnapshotItem } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { memberTyped, peerName, personOf } from "../resolve.ts";

/** Characters of an id that people see and type. */
const SHOWN_ID = 12;
const ID_PATTERN = /^[0-9a-f]{4,64}$/;

export async function snapshotMake(node: MeshNode): Promise<Result<"snapshot-make">> {
  const mesh = needMembership(node);
  return { snapshot: snapshotItem(mesh, await mesh.snapshots.make()) };
}

export function snapshotList(node: MeshNode): Result<"snapshot-ls"> {
  const mesh = needMesh(node);
  const membership = mesh.replica.membership();
  return {
    items: mesh.snapshots.list().map((info) => snapshotItem(mesh, info)),
    dormant: mesh.snapshots.dormant().map((person) => displayName(membership, person)),
  };
}

export async function snapshotShow(node: MeshNode, params: Params<"snapshot-show">): Promise<Result<"snapshot-show">> {
  const mesh = needMesh(node);
  const info = found(mesh, params.id);
  const membership = mesh.replica.membership();
  return {
    ...snapshotItem(mesh, info),
    views: info.snapshot.views.map(({ name, version }) => ({ name, version })),
    signers: [...info.signers].map(([device, how]) => ({ device: peerName(membership, device), how })),
    logs: [...info.snapshot.at].map(([log, { seq }]) => {
      const device = mesh.replica.vector().get(log)?.opening.device;
      return { log, device: device === undefined ? "?" : peerName(membership, device), events: seq + 1 };
    }),
  };
}

export async function snapshotPrune(
  node: MeshNode,
  { dryRun }: Params<"snapshot-prune">,
  signal: AbortSignal,
): Promise<Result<"snapshot-prune">> {
  const { snapshot, bodies, bytes } = await needMembership(node).snapshots.prune({ dryRun, signal });
  return { id: snapshot.id.slice(0, SHOWN_ID), bodies, bytes, dryRun };
}

export async function snapshotDormant(
  node: MeshNode,
  params: Params<"snapshot-dormant">,
): Promise<Result<"snapshot-dormant">> {
  const mesh = needMembership(node);
  const membership = mesh.replica.membership();
  const member = memberTyped(membership, params.name);
  await mesh.snapshots.setDormant(member.person, params.on);
  return { name: displayName(membership, member.person), dormant: params.on };
}

/** @throws KinError NOT_FOUND, USAGE */
function found(mesh: Mesh, typed: string): SnapshotInfo {
  const alike = ID_PATTERN.test(typed)
    ? mesh.snapshots.list().filter(({ snapshot }) => snapshot.id.startsWith(typed))
    : [];
  if (alike.length === 1) return alike[0]!;
  if (alike.length > 1)
    throw new KinError("USAGE", `${alike.length} snapshots begin with ${typed}`, { hint: "kin snapshot ls" });
  throw new KinError("NOT_FOUND", `there is no snapshot ${typed.slice(0, 80)}`, { hint: "kin snapshot ls" });
}

function snapshotItem(mesh: Mesh, info: SnapshotInfo): SnapshotItem {
  const membership = mesh.replica.membership();
  const names = (devices: readonly DeviceId[]): string[] =>
    [...new Set(devices.map((device) => personOf(membership, device)))].toSorted();
  const recomputed = [...info.signers].filter(([, how]) => how === "recomputed").map(([device]) => device);
  return {
    id: info.snapshot.id.slice(0, SHOWN_ID),
    madeBy: personOf(membership, info.by),
    madeAt: info.at,
    events: info.events,
    bytes: info.snapshot.bytes,
    signedBy: names(recomputed),
    counts: info.counts,
    waitingFor: names(info.waitingFor),
    here: info.verdict.state,
    why: "why" in info.verdict ? info.verdict.why : null,
    base: info.isBase,
  };
}

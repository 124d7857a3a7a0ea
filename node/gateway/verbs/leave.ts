/**
 * `kin leave`: out of a mesh by one's own act. First what it means, for a person to confirm; then the record, those who are
 * there are told, and the mesh's folder is set aside (F8).
 *
 *   leave record ── durable ──▶ sessions carry it ──▶ each peer folds it and cuts us off ──▶ folder aside, no mesh
 */
import { KinError } from "../../../protocols/errors.ts";
import type { DeviceId, LogId } from "../../../protocols/ids.ts";
import { displayName, type Membership } from "../../../protocols/membership.ts";
import { leaveMesh } from "../../../sync/acts.ts";
import { removeShareConfig } from "../../config.ts";
import { meshFolder } from "../../home.ts";
import type { Params, Result } from "../control-api.ts";
import { needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { outboxItems } from "./outbox.ts";

/** A peer that is there folds the record within a few round trips; a slow link and a busy machine have time too. */
const TELL_WAIT_MS = 10_000;
const LOOK_EVERY_MS = 25;

/** Changes nothing. @throws KinError LAST_ADMIN, NOT_IN_MESH */
export async function leavePlan(node: MeshNode): Promise<Result<"leave-plan">> {
  const mesh = needMesh(node);
  const membership = mesh.replica.membership();
  checkMayLeave(mesh, membership);
  const others = membership.members.size - (isLiving(mesh, membership) ? 1 : 0);
  const online = personsOf(membership, mesh, connected(node, mesh));
  const mine = membership.members.get(mesh.me.person)?.devices ?? [];
  return {
    mesh: membership.name,
    role: membership.members.get(mesh.me.person)?.role ?? "removed",
    others,
    online,
    devices: mine.filter(({ id }) => id !== mesh.me.device).map(({ name }) => name),
    waiting: outboxItems(mesh, { all: false }),
    shares: sharesForAll(node),
    servers: serversForAll(node),
    folder: meshFolder(node.home, mesh.id).folder,
  };
}

/** @throws KinError LAST_ADMIN, NOT_IN_MESH; UNREACHABLE if nobody would learn of it and `unheard` does not say that this is meant */
export async function leave(node: MeshNode, { unheard }: Params<"leave">): Promise<Result<"leave">> {
  const mesh = needMesh(node);
  const membership = mesh.replica.membership();
  checkMayLeave(mesh, membership);
  const tells = isLiving(mesh, membership) && membership.members.size > 1;
  const there = connected(node, mesh);
  if (tells && there.length === 0 && !unheard)
    throw new KinError("UNREACHABLE", `nobody of ${membership.name} is online, so nobody would learn that you left`, {
      hint: "try again when somebody is there; kin leave --unheard leaves all the same, and an admin must remove you",
    });
  const told = tells ? await tell(node, mesh, there) : [];
  const ended = endShares(node);
  const aside = await node.archive();
  return { mesh: membership.name, told: personsOf(membership, mesh, told), ended, aside };
}

/** In words of the command; the fold would refuse it all the same. A mesh of only me ends with its folder. */
function checkMayLeave(mesh: Mesh, membership: Membership): void {
  const me = membership.members.get(mesh.me.person);
  const admins = [...membership.members.values()].filter(({ role }) => role === "admin");
  if (me?.role !== "admin" || admins.length > 1 || membership.members.size === 1) return;
  throw new KinError("LAST_ADMIN", `you are the last admin of ${membership.name}, so you can't leave it`, {
    hint: "invite another admin first: kin invite --role admin. Without one nobody could be invited or removed any more",
  });
}

function isLiving(mesh: Mesh, membership: Membership): boolean {
  return membership.devices.has(mesh.me.device);
}

/** Other persons' devices that are there now. */
function connected(node: MeshNode, mesh: Mesh): DeviceId[] {
  return node.network
    .peers()
    .flatMap((peer) => (peer.connected && peer.person !== mesh.me.person ? [peer.device] : []));
}

function personsOf(membership: Membership, mesh: Mesh, devices: readonly DeviceId[]): string[] {
  const persons = devices.flatMap((device) => membership.devices.get(device)?.member.person ?? []);
  return [...new Set(persons)].filter((person) => person !== mesh.me.person).map((one) => displayName(membership, one));
}

/** Writes that we leave, and waits until those who are there have it. Returns who has. */
async function tell(node: MeshNode, mesh: Mesh, there: readonly DeviceId[]): Promise<DeviceId[]> {
  await leaveMesh(mesh.replica);
  const said = [...mesh.replica.vector().values()].filter(({ opening }) => opening.device === mesh.me.device);
  const has = (device: DeviceId): boolean => said.every(({ log, seq }) => progressOf(mesh, device, log) >= seq);
  const until = node.time.monotonic() + TELL_WAIT_MS;
  // Who has folded it cuts us off: then it is more than sent.
  while (
    node.time.monotonic() < until &&
    there.some((device) => !has(device) || node.network.greeting(device) !== null)
  )
    await new Promise<void>((resolve) => void node.time.after(LOOK_EVERY_MS, resolve));
  return there.filter(has);
}

function progressOf(mesh: Mesh, device: DeviceId, log: LogId): number {
  return mesh.progress.has(device, log);
}

function sharesForAll(node: MeshNode): string[] {
  return node.config().shares.flatMap((share) => (share.for === "mesh" ? [share.name] : []));
}

function serversForAll(node: MeshNode): string[] {
  return Object.entries(node.config().mcpServers).flatMap(([name, server]) => (server.for === "mesh" ? [name] : []));
}

/** What was for all of this mesh must not be for all of the next. */
function endShares(node: MeshNode): string[] {
  const ended = sharesForAll(node);
  for (const name of ended) removeShareConfig(node.home.configFile, name);
  if (ended.length > 0) node.reloadConfig();
  return ended;
}

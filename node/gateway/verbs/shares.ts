/** `kin share ls|add|rm`: which folders of this machine others may read. */
import { basename } from "node:path";
import { KinError } from "../../../protocols/errors.ts";
import { isName } from "../../../protocols/ids.ts";
import { whatInviteAllows } from "../../tools/share-rights.ts";
import { addShareConfig, removeShareConfig, widenShareConfig, type ShareConfig } from "../../config.ts";
import { checkShare, shareProblem } from "../../tools/share.ts";
import type { Params, Result, ShareItem } from "../control-api.ts";
import { needMembership, type Mesh, type MeshNode } from "../mesh.ts";
import { personNamed } from "../resolve.ts";
import { audienceNames, pinPeople, sharesOf } from "../shares.ts";

/**
 * Checks folder and name of a share that is to be, or to be widened: a folder that is shared already (under that name, if one is
 * said) is that share. @throws KinError SHARE_REFUSED, NAME_TAKEN, USAGE
 */
export async function newShare(
  node: MeshNode,
  folder: string,
  name: string | null,
): Promise<{ name: string; folder: string }> {
  const real = await checkShare(folder, node.limits);
  const known = node.config().shares.find((share) => share.folder === real && share.name === (name ?? share.name));
  if (known !== undefined) return { name: known.name, folder: real };
  const chosen =
    name ??
    basename(real)
      .toLowerCase()
      .replaceAll(/[^a-z0-9-]/g, "-")
      .replace(/^[^a-z]+/, "")
      .slice(0, 32);
  if (!isName(chosen))
    throw new KinError("USAGE", `"${chosen}" cannot name a share: a–z first, then a–z, 0–9 or -`, {
      hint: "say a name: --share-name NAME",
    });
  if (node.config().shares.some((share) => share.name === chosen))
    throw new KinError("NAME_TAKEN", `there is a share "${chosen}" already`, {
      hint: `say another name, or end that one first: kin share rm ${chosen}`,
    });
  return { name: chosen, folder: real };
}

/** Lets these people read what {@link newShare} has checked: a new share, or the one that there is. */
export async function grantShare(
  node: MeshNode,
  { name, folder }: { name: string; folder: string },
  audience: ShareConfig["for"],
): Promise<ShareConfig> {
  const named = (): ShareConfig | undefined => node.config().shares.find((share) => share.name === name);
  if (named() === undefined) addShareConfig(node.home.configFile, { name, folder, rights: "read", for: audience });
  else widenShareConfig(node.home.configFile, name, audience);
  const membership = node.mesh()?.replica.membership();
  if (membership !== undefined) pinPeople(node.home.configFile, membership);
  node.reloadConfig();
  await node.mesh()?.refreshCards();
  return named()!;
}

export async function shareItem(node: MeshNode, share: ShareConfig): Promise<ShareItem> {
  const membership = node.mesh()?.replica.membership() ?? null;
  return {
    name: share.name,
    folder: share.folder,
    rights: share.rights,
    for: audienceNames(share.for, membership),
    problem: await shareProblem({ ...share, for: [] }, node.limits),
  };
}

export async function shareLs(node: MeshNode): Promise<Result<"share-ls">> {
  return { items: await Promise.all(node.config().shares.map((share) => shareItem(node, share))) };
}

export async function shareAdd(node: MeshNode, params: Params<"share-add">): Promise<Result<"share-add">> {
  const mesh = node.mesh() === null ? null : needMembership(node);
  if (params.for !== "mesh") {
    if (mesh === null)
      throw new KinError("NOT_IN_MESH", "there is nobody to share with yet", { hint: "kin invite --share FOLDER" });
    for (const who of params.for) personNamed(mesh.replica.membership(), who);
  }
  const share = await grantShare(node, await newShare(node, params.folder, params.name), params.for);
  const will = mesh === null ? [] : guestRights(node, mesh, share.name);
  return { share: await shareItem(node, share), will };
}

/** What somebody may do here for whom `shareName` and all that is for everybody is shared, in sentences. */
export function guestRights(
  node: MeshNode,
  mesh: Mesh,
  shareName: string | null,
  role: "admin" | "member" = "member",
): string[] {
  const granted = sharesOf(node.config().shares, mesh.replica.membership()).filter(
    (share) => share.for === "mesh" || share.name === shareName,
  );
  return whatInviteAllows(granted, role, mesh.agents.rights());
}

export async function shareRm(node: MeshNode, params: Params<"share-rm">): Promise<Result<"share-rm">> {
  if (!node.config().shares.some(({ name }) => name === params.name))
    throw new KinError("NOT_FOUND", `there is no share "${params.name}"`, { hint: "kin share ls" });
  removeShareConfig(node.home.configFile, params.name);
  node.reloadConfig();
  await node.mesh()?.refreshCards();
  return { name: params.name };
}

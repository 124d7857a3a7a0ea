/** `kin keys rotate`: new keys in the place of old ones, as far as this node has the right to it by itself. */
import { KinError } from "../../../protocols/errors.ts";
import { announceSealingKey } from "../../../sync/acts.ts";
import { rekeyMyself } from "../../../sync/rekey.ts";
import type { Params, Result } from "../control-api.ts";
import { needMembership, type MeshNode } from "../mesh.ts";

/** @throws KinError NOT_FOUND (no such agent of mine), DENIED (not for me to change), NOT_IN_MESH, REMOVED */
export async function keysRotate(
  node: MeshNode,
  { what, agent }: Params<"keys-rotate">,
): Promise<Result<"keys-rotate">> {
  switch (what) {
    case "sealing":
      return { what, agent: null, generation: null, said: await rotateSealing(node) };
    case "person":
      return { what, agent: null, generation: null, said: await rotatePerson(node) };
    case "agent":
      return rotateAgent(node, agent);
  }
}

async function rotateSealing(node: MeshNode): Promise<string> {
  const mesh = node.mesh() === null ? null : needMembership(node);
  // Durable before anybody may seal to it.
  const { publicKey } = node.keystore.rotateSealingKey(node.time.now());
  if (mesh === null) return "the next mesh that this node enters gets it";
  await announceSealingKey(mesh.replica, publicKey);
  return "the mesh is told, and writes under a new read key; the old one opens what is still under way to you, then it is deleted";
}

/** The new key is durable before the mesh is told, the old one is deleted after: a crash between leaves both, and the roster says which counts. */
async function rotatePerson(node: MeshNode): Promise<string> {
  const { keystore } = node;
  if (node.mesh() === null) {
    keystore.adoptPersonKey(keystore.nextPersonKey().publicKey);
    return "no mesh knew the old one";
  }
  const { replica, me } = needMembership(node);
  const next = keystore.nextPersonKey();
  try {
    await rekeyMyself(replica, next, node.random);
  } finally {
    const known = replica.membership().members.get(me.person);
    if (known !== undefined) keystore.adoptPersonKey(known.personKey);
  }
  const others =
    replica
      .membership()
      .members.get(me.person)
      ?.devices.filter(({ id }) => id !== me.device) ?? [];
  const names = others.map(({ name }) => name).join(", ");
  const elsewhere =
    others.length === 0
      ? ""
      : `, on ${names} neither: it is this machine on which kin device add makes tickets for further ones from now on`;
  return `the mesh is told; you are the same person with the same devices, and the old key certifies nothing any more${elsewhere}`;
}

async function rotateAgent(node: MeshNode, agent: string | null): Promise<Result<"keys-rotate">> {
  const mesh = needMembership(node);
  const offered = [mesh.agents.cards(), mesh.agents.mine()].flatMap(({ agents }) => agents.map(({ name }) => name));
  const mine = [...new Set(offered)].toSorted();
  if (agent === null || !mine.includes(agent))
    throw new KinError("NOT_FOUND", agent === null ? "which agent?" : `none of your agents is called "${agent}"`, {
      hint: `kin keys rotate agent ${mine.length === 0 ? "NAME" : mine.join("|")}`,
    });
  const { generation } = node.keystore.rotateAgentKey(mesh.id, agent);
  await mesh.refreshCards();
  const said = "the mesh is told; what the old key has signed stays good, and it signs nothing new";
  return { what: "agent", agent, generation, said };
}

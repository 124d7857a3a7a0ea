/** `kin agents config`: what an agent's owner has set, and its history. */
import { KinError } from "../../../protocols/errors.ts";
import { parseAddress, type PersonId } from "../../../protocols/ids.ts";
import { displayName } from "../../../protocols/membership.ts";
import { knownSetting, parseSetting } from "../../agents/settings.ts";
import { didYouMean } from "../../did-you-mean.ts";
import type { Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, personOf, resolveMember } from "../resolve.ts";

export async function agentConfig(node: MeshNode, params: Params<"agent-config">): Promise<Result<"agent-config">> {
  const mesh = needMesh(node);
  await mesh.documents.settled();
  const agent = agentNamed(mesh, params.agent);
  const record = mesh.documents.records.get(agent.person, agent.name);
  const membership = mesh.replica.membership();
  const conflicts = record?.state.conflicts() ?? {};
  return {
    agent: `${displayName(membership, agent.person)}/${agent.name}`,
    settings: Object.entries(record?.state.values() ?? {}).map(([name, value]) => ({
      name,
      value,
      others: (conflicts[name] ?? []).filter((other) => other !== value),
    })),
    history: (record?.history ?? [])
      .toSorted((a, b) => a.at - b.at)
      .flatMap(({ device, at, ops }) =>
        ops.map(({ key, value }) => ({
          name: key,
          value: value ?? null,
          unset: value === undefined,
          by: personOf(membership, device),
          device: deviceName(membership, device),
          at,
        })),
      ),
  };
}

export async function agentConfigSet(
  node: MeshNode,
  params: Params<"agent-config-set">,
): Promise<Result<"agent-config-set">> {
  const mesh = needMembership(node);
  const agent = agentNamed(mesh, params.agent);
  if (agent.person !== mesh.me.person)
    throw new KinError(
      "DENIED",
      `${params.agent} is set by ${displayName(mesh.replica.membership(), agent.person)} only`,
    );
  knownSetting(params.name);
  const value = params.value === null ? undefined : parseSetting(params.name, params.value);
  const changed = await mesh.documents.records.set(agent.name, params.name, value);
  return { ...(await agentConfig(node, { agent: params.agent })), changed };
}

/** `reviewer` is mine, `ana/reviewer` hers. @throws KinError NOT_FOUND, USAGE */
function agentNamed(mesh: Mesh, typed: string): { person: PersonId; name: string } {
  if (typed.includes("/")) {
    const address = parseAddress(typed);
    if (address.kind !== "agent") throw new KinError("USAGE", `${typed} names no agent`, { hint: "kin agents" });
    const { person } = resolveMember(mesh.replica.membership(), address);
    return person === mesh.me.person ? agentNamed(mesh, address.name) : { person, name: address.name };
  }
  const names = mesh.agents.mine().agents.map(({ name }) => name);
  if (names.includes(typed)) return { person: mesh.me.person, name: typed };
  const near = didYouMean(typed, names);
  throw new KinError("NOT_FOUND", `you have no agent "${typed}"`, {
    hint: near === null ? `yours: ${names.join(", ")}` : `did you mean ${near}?`,
  });
}

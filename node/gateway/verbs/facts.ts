/** `kin facts set|get|ls|history|unset`: keyed facts of the mesh, or of one agent. */
import type { FactScope } from "../../../protocols/document.ts";
import { checkFactKey } from "../../../protocols/document.ts";
import { KinError } from "../../../protocols/errors.ts";
import { parseAddress } from "../../../protocols/ids.ts";
import { displayName } from "../../../protocols/membership.ts";
import type { Json } from "../../../protocols/tool.ts";
import type { Fact, FactValue } from "../../../sync/documents/facts.ts";
import { didYouMean } from "../../did-you-mean.ts";
import type { FactItem, FactValueItem, Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, personOf, resolveMember } from "../resolve.ts";

/** Facts of one answer: the socket's line has a bound. */
const MAX_LISTED = 1000;

export async function factsSet(node: MeshNode, params: Params<"facts-set">): Promise<Result<"facts-set">> {
  const mesh = needMembership(node);
  const scope = scopeOf(mesh, params.agent);
  if (scope !== null && scope.person !== mesh.me.person)
    throw new KinError(
      "DENIED",
      `the facts of ${params.agent} are written by ${displayName(mesh.replica.membership(), scope.person)} only`,
    );
  checkFactKey(params.key);
  if (params.unset && mesh.documents.facts.get(scope, params.key) === undefined)
    throw unknownFact(mesh, scope, params.key);
  await mesh.documents.facts.set(scope, params.key, params.unset ? null : JSON.stringify(params.value));
  const fact = mesh.documents.facts.get(scope, params.key);
  return factItem(mesh, fact ?? { scope, key: params.key, values: [] });
}

export async function factsGet(node: MeshNode, params: Params<"facts-get">): Promise<Result<"facts-get">> {
  const mesh = needMesh(node);
  const scope = scopeOf(mesh, params.agent);
  await mesh.documents.settled();
  const fact = mesh.documents.facts.get(scope, params.key);
  if (fact === undefined) throw unknownFact(mesh, scope, params.key);
  return factItem(mesh, fact);
}

export async function factsList(node: MeshNode, params: Params<"facts-ls">): Promise<Result<"facts-ls">> {
  const mesh = needMesh(node);
  await mesh.documents.settled();
  const all = mesh.documents.facts.list(scopeOf(mesh, params.agent), params.prefix);
  return { items: all.slice(0, MAX_LISTED).map((fact) => factItem(mesh, fact)), total: all.length };
}

export async function factsHistory(node: MeshNode, params: Params<"facts-history">): Promise<Result<"facts-history">> {
  const mesh = needMesh(node);
  const scope = scopeOf(mesh, params.agent);
  await mesh.documents.settled();
  const { sets, missing } = await mesh.documents.facts.history(scope, params.key);
  if (sets.length + missing === 0) throw unknownFact(mesh, scope, params.key);
  return {
    items: sets.map((set) => ({ ...valueItem(mesh, set), standing: set.isStanding, replaced: set.replaces })),
    missing,
  };
}

/** `reviewer` is mine, `ana/reviewer` hers. */
function scopeOf(mesh: Mesh, agent: string | null): FactScope {
  if (agent === null) return null;
  if (!agent.includes("/")) return { person: mesh.me.person, agent: parseAddress(`me/${agent}`).name };
  const address = parseAddress(agent);
  if (address.kind !== "agent") throw new KinError("USAGE", `${agent} names no agent`);
  return { person: resolveMember(mesh.replica.membership(), address).person, agent: address.name };
}

function unknownFact(mesh: Mesh, scope: FactScope, key: string): KinError {
  const keys = mesh.documents.facts.list(scope).map((fact) => fact.key);
  const near = didYouMean(key, keys);
  return new KinError("NOT_FOUND", `there is no fact "${key}"`, {
    hint: near === null ? "kin facts ls" : `did you mean ${near}?`,
  });
}

function factItem(mesh: Mesh, { scope, key, values }: Fact): FactItem {
  return {
    key,
    scope: scope === null ? "mesh" : `${displayName(mesh.replica.membership(), scope.person)}/${scope.agent}`,
    values: values.map((value) => valueItem(mesh, value)),
  };
}

function valueItem(mesh: Mesh, { json, device, at }: FactValue): FactValueItem {
  const membership = mesh.replica.membership();
  const by = { by: personOf(membership, device), device: deviceName(membership, device), at };
  return json === null ? { value: null, unset: true, ...by } : { value: JSON.parse(json) as Json, unset: false, ...by };
}

/** `kin invite`, `join`, `remove`: how people come into a mesh and leave it. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { KinError, kinError } from "../../../protocols/errors.ts";
import { formatText, idBytes, isName } from "../../../protocols/ids.ts";
import { displayName, type Member } from "../../../protocols/membership.ts";
import { makeTicket, parseTicket, TICKET_SEED_BYTES, ticketKey, type Ticket } from "../../../protocols/ticket.ts";
import { closeInvite as closeInviteAct, openInvite, removePerson } from "../../../sync/acts.ts";
import { shortAddress } from "../../net/dial.ts";
import { joinByTicket } from "../../net/ticket-join.ts";
import type { Item, Params, Result } from "../control-api.ts";
import { needMembership, type Mesh, type MeshNode } from "../mesh.ts";
import { memberTyped } from "../resolve.ts";
import { inviteEntry } from "../shares.ts";
import { agentItems } from "./listing.ts";
import { grantShare, guestRights, newShare, shareItem } from "./shares.ts";
import { viewOf } from "./status.ts";

/** How long `join` waits for the first sync before it says what it knows. */
const FIRST_SYNC_MS = 5_000;
const POLL_MS = 50;

export async function invite(node: MeshNode, params: Params<"invite">): Promise<Result<"invite">> {
  const me = node.config().name;
  if (me === null) throw new KinError("USAGE", "this node has no name yet", { hint: "kin set name NAME" });
  // Checked before anything is made: a refused folder must not leave a mesh and an open invite behind.
  const folder = params.share === null ? null : await newShare(node, params.share, params.shareName);
  const before = node.mesh() === null ? null : needAdmin(node, "invite");
  if (before !== null && params.mesh !== null && before.replica.membership().name !== params.mesh)
    throw new KinError(
      "ALREADY_IN_MESH",
      `this node is in the mesh ${before.replica.membership().name}, not in ${params.mesh}`,
      {
        hint: "one data folder, one mesh: set another KIN_HOME for another mesh",
      },
    );
  const mesh = before ?? (await node.found(params.mesh ?? `${me.slice(0, 27)}-mesh`, me, myDeviceName(node)));
  const seed = Uint8Array.from(randomBytes(TICKET_SEED_BYTES));
  const expiresAt = node.time.now() + params.expiresMs;
  const record = await openInvite(mesh.replica, {
    key: ticketKey(seed, mesh.id).publicKey,
    name: params.name,
    role: params.role,
    expires: expiresAt,
    shares: [{ device: mesh.me.device, uses: params.uses }],
  });
  const share = folder === null ? null : await shareItem(node, await grantShare(node, folder, [inviteEntry(record)]));
  const membership = mesh.replica.membership();
  // The ticket names the device once; libp2p adds it to every address.
  const addresses = node.network.ticketAddresses().map((address) => address.replace(/\/p2p\/[^/]+$/, ""));
  const ticket = makeTicket({
    mesh: mesh.id,
    meshName: membership.name,
    inviter: mesh.me.device,
    inviterName: displayName(membership, mesh.me.person),
    role: params.role,
    expiresAt,
    uses: params.uses,
    guestName: params.name,
    invite: record,
    seed,
    addresses,
    relays: [],
  });
  return {
    ticket,
    mesh: membership.name,
    meshMade: before === null,
    addresses,
    expiresAt,
    uses: params.uses,
    will: guestRights(node, mesh, share?.name ?? null, params.role),
    share,
  };
}

export async function closeInvite(node: MeshNode, params: Params<"invite-close">): Promise<Result<"invite-close">> {
  const mesh = needMembership(node);
  const parsed = parseTicket(params.ticket, { now: 0 });
  const ticket = parsed.ok ? parsed.ticket : parsed.ticket;
  if (ticket === undefined)
    throw new KinError((parsed as { code: string }).code, (parsed as { message: string }).message);
  if (ticket.mesh !== mesh.id)
    throw new KinError(
      "WRONG_MESH",
      `the ticket is of the mesh ${ticket.meshName}, this node is in ${mesh.replica.membership().name}`,
    );
  await closeInviteAct(mesh.replica, ticket.invite);
  return { closed: true };
}

export async function join(
  node: MeshNode,
  params: Params<"join">,
  item: (item: Item<"join">) => void,
  signal: AbortSignal,
): Promise<Result<"join">> {
  const parsed = parseTicket(params.ticket, { now: node.time.now(), mine: node.network.device });
  if (!parsed.ok) throw new KinError(parsed.code, parsed.message, { hint: parsed.hint });
  const { ticket } = parsed;
  const archived = await makeRoom(node, ticket);
  const name = params.as ?? node.config().name ?? ticket.guestName;
  if (name === null || !isName(name))
    throw new KinError("USAGE", "the ticket suggests no name for you", { hint: "say one: join --as NAME" });
  const places = [...new Set(ticket.addresses.map(shortAddress))].join(", ");
  item({ step: `dialling ${ticket.inviterName} at ${places || "no address"}` });
  const sealing = node.keystore.sealingKeys()[0]!;
  const guest = {
    personKey: node.keystore.person,
    device: { key: node.keystore.device, sealing, name: myDeviceName(node) },
    random: node.random,
  };
  const joined = await joinByTicket(node.network, ticket, name, guest, signal);
  if (!joined.ok)
    throw kinError(joined.name === undefined ? joined.error : { ...joined.error, hint: `join --as ${joined.name}` });
  item({ step: `admitted to ${ticket.meshName} by ${ticket.inviterName}` });
  const mesh = await node.enter(joined);
  await node.network
    .connect(ticket.inviter, { addresses: ticket.addresses, signal })
    .catch((error: Error) => node.telemetry.warn("after the join", { message: error.message }));
  item({ step: "syncing" });
  await firstCards(mesh, ticket, signal);
  const membership = mesh.replica.membership();
  return {
    mesh: membership.name,
    inviter: ticket.inviterName,
    name: displayName(membership, mesh.me.person),
    members: membership.members.size,
    agents: agentItems(mesh.directory.list(), viewOf(node, mesh)).filter(
      (agent) => agent.mayAsk && agent.via !== "self",
    ),
    archived,
  };
}

/** A mesh with others in it stays; one of only me is put aside (F8). */
async function makeRoom(node: MeshNode, ticket: Ticket): Promise<string | null> {
  const mesh = node.mesh();
  if (mesh === null) return null;
  const membership = mesh.replica.membership();
  if (mesh.id === ticket.mesh && !membership.devices.has(mesh.me.device))
    throw new KinError("REMOVED", `you were removed from ${membership.name}, and this data folder stays so`, {
      hint: "a ticket for you needs another folder: KIN_HOME=~/.kin-other kin join TICKET",
    });
  if (mesh.id === ticket.mesh)
    throw new KinError("ALREADY_IN_MESH", `you are in ${membership.name} already`, {
      hint: "kin agents shows whom you can ask",
    });
  if (membership.members.size > 1 || membership.removed.size > 0)
    throw new KinError(
      "ALREADY_IN_MESH",
      `this node is in the mesh ${membership.name}, which has or had other members`,
      {
        hint: "one data folder, one mesh: KIN_HOME=~/.kin-other kin join TICKET makes a second node; or leave that mesh first: kin leave",
      },
    );
  return node.archive();
}

/** The inviter's cards have come, or it takes too long to wait for them. */
async function firstCards(mesh: Mesh, ticket: Ticket, signal: AbortSignal): Promise<void> {
  for (let waited = 0; waited < FIRST_SYNC_MS && !signal.aborted; waited += POLL_MS) {
    if (mesh.directory.list().some(({ card }) => card.device === ticket.inviter)) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export async function remove(node: MeshNode, params: Params<"remove">): Promise<Result<"remove">> {
  checkNotMe(needMembership(node), params.name);
  const mesh = needAdmin(node, "remove members");
  const membership = mesh.replica.membership();
  const member = memberTyped(membership, params.name);
  const name = displayName(membership, member.person);
  checkRemovable(mesh, member);
  const made = await removePerson(mesh.replica, member.person);
  const reached = node.network
    .peers()
    .filter((peer) => peer.connected && peer.person !== member.person)
    .map((peer) => displayName(mesh.replica.membership(), peer.person));
  const epoch = made.find(({ body }) => body.type === "epoch");
  return {
    name,
    person: formatText("kinp", idBytes(member.person)),
    epoch: epoch?.id ?? "",
    reached: [...new Set(reached)],
    left: mesh.replica.membership().members.size,
  };
}

/** In words of the command; the fold would refuse it all the same. @throws KinError DENIED, REMOVED, NOT_IN_MESH */
function needAdmin(node: MeshNode, what: string): Mesh {
  const mesh = needMembership(node);
  const membership = mesh.replica.membership();
  if (membership.members.get(mesh.me.person)?.role === "admin") return mesh;
  const admins = [...membership.members.values()].filter(({ role }) => role === "admin");
  throw new KinError("DENIED", `only an admin can ${what}, and you are a member of ${membership.name}`, {
    hint: `admins: ${admins.map(({ person }) => displayName(membership, person)).join(", ")}`,
  });
}

/** @throws KinError LAST_ADMIN, DENIED */
function checkRemovable(mesh: Mesh, member: Member): void {
  const membership = mesh.replica.membership();
  const admins = [...membership.members.values()].filter(({ role }) => role === "admin");
  if (member.role === "admin" && admins.length === 1)
    throw new KinError("LAST_ADMIN", `${member.name} is the last admin of ${membership.name} and can't be removed`, {
      hint: "without an admin nobody could be invited or removed any more",
    });
  if (member.person === membership.founder)
    throw new KinError("DENIED", `${member.name} founded ${membership.name} and can't be removed`);
}

/** @throws KinError LAST_ADMIN, DENIED */
function checkNotMe(mesh: Mesh, name: string): void {
  const membership = mesh.replica.membership();
  const me = membership.members.get(mesh.me.person)!;
  if (name !== me.name && name !== displayName(membership, me.person)) return;
  const admins = [...membership.members.values()].filter(({ role }) => role === "admin");
  if (admins.length > 1 || me.role !== "admin")
    throw new KinError("DENIED", "nobody removes himself", { hint: "kin leave takes you out of the mesh" });
}

/** What the settings say, else the host's name made to fit, else `main`. */
function myDeviceName(node: MeshNode): string {
  const said = node.config().device;
  if (said !== null) return said;
  const fit = hostname()
    .toLowerCase()
    .split(".")[0]!
    .replaceAll(/[^a-z0-9-]/g, "-")
    .replace(/^[^a-z]+/, "")
    .slice(0, 32);
  return isName(fit) ? fit : "main";
}

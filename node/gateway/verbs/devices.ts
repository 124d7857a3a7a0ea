/** `kin device`: the machines of this person. */
import { randomBytes } from "node:crypto";
import { equal } from "../../../protocols/bytes.ts";
import { KinError } from "../../../protocols/errors.ts";
import { displayName, type Member } from "../../../protocols/membership.ts";
import { makeTicket, TICKET_SEED_BYTES, ticketKey } from "../../../protocols/ticket.ts";
import { removeDevice } from "../../../sync/acts.ts";
import { didYouMean } from "../../did-you-mean.ts";
import type { Params, Result } from "../control-api.ts";
import { needMembership, type Mesh, type MeshNode } from "../mesh.ts";

/** A ticket for another machine of mine. */
export async function deviceAdd(node: MeshNode, params: Params<"device-add">): Promise<Result<"device-add">> {
  const mesh = needMembership(node);
  const membership = mesh.replica.membership();
  const me = myself(mesh);
  if (!equal(me.personKey, node.keystore.person.publicKey))
    throw new KinError("DENIED", "this machine does not hold your person key, which certifies your machines", {
      hint: `make the ticket on ${keyHolder(mesh, me) ?? "another machine of yours"}: that one holds it`,
    });
  const seed = Uint8Array.from(randomBytes(TICKET_SEED_BYTES));
  const expiresAt = node.time.now() + params.expiresMs;
  const invite = await mesh.ownMachines.open(ticketKey(seed, mesh.id).publicKey, expiresAt);
  const addresses = node.network.ticketAddresses().map((address) => address.replace(/\/p2p\/[^/]+$/, ""));
  const ticket = makeTicket({
    mesh: mesh.id,
    meshName: membership.name,
    inviter: mesh.me.device,
    inviterName: displayName(membership, me.person),
    role: "device",
    expiresAt,
    uses: 1,
    guestName: me.name,
    invite,
    seed,
    addresses,
    relays: [],
  });
  return { ticket, mesh: membership.name, addresses, expiresAt };
}

export function deviceItems(node: MeshNode): Result<"device-ls"> {
  const mesh = needMembership(node);
  return {
    items: myself(mesh).devices.map(({ id, name }) => ({
      device: name,
      peerId: node.network.peerId(id),
      online: id === mesh.me.device || node.network.greeting(id) !== null,
      me: id === mesh.me.device,
    })),
  };
}

export async function deviceRemove(node: MeshNode, { name }: Params<"device-rm">): Promise<Result<"device-rm">> {
  const mesh = needMembership(node);
  const { devices } = myself(mesh);
  const found = devices.find((device) => device.name === name);
  if (found === undefined) {
    const names = devices.map((device) => device.name);
    const near = didYouMean(name, names);
    throw new KinError("NOT_FOUND", `you have no machine "${name}"`, {
      hint: near === null ? `there are: ${names.join(", ")}` : `did you mean ${near}?`,
    });
  }
  if (found.id === mesh.me.device)
    throw new KinError("USAGE", "that is this very machine", { hint: "remove it from another one of yours" });
  await removeDevice(mesh.replica, found.id);
  return { device: name, left: myself(mesh).devices.length };
}

/** Where my person key was made: with that machine I founded, joined, or rotated it. */
function keyHolder(mesh: Mesh, me: Member): string | undefined {
  const record = mesh.replica.roster
    .records()
    .find(({ body }) => "personKey" in body && equal(body.personKey, me.personKey));
  if (record === undefined) return undefined;
  const { body, author } = record;
  const device = "device" in body && typeof body.device === "object" ? body.device.id : author.device;
  return me.devices.find(({ id }) => id === device)?.name;
}

function myself(mesh: Mesh): Member {
  return mesh.replica.membership().members.get(mesh.me.person)!;
}

/**
 * A second machine of one's own, over `/kin/join/1` (R1, R10). The person key stays on the machine that made the ticket, which
 * certifies the new one and writes the record; the new one never has the person key.
 *
 *   new machine                                             the device that made the ticket
 *   { t: "join-device", v: 1, mesh, invite }           →
 *                                                      ←    { t: "challenge", s: … }                    as for a join
 *   { t: "device", device, proof }                     →         the record is durable before the next frame leaves
 *                                                      ←    { t: "records", … }*, { t: "admitted", … }  as for a join; or { t: "refused", … }
 *
 * `invite` is 32 random bytes that only this device knows, no roster record: nobody else needs to. The proof is that of a join, with
 * the device's key in the place of the guest's person key. A ticket is good for one machine; the same one may ask again.
 */
import { isAdmissibleKey } from "#crypto";
import type { SigningKey } from "./crypto/keys.ts";
import type { Random, Wire } from "./effects.ts";
import { KinError } from "./errors.ts";
import type { Fields } from "./fields.ts";
import { idBytes, idOf, type DeviceId, type MeshId, type RecordId } from "./ids.ts";
import {
  converse,
  expectFrame,
  JOIN_VERSION,
  openEpochs,
  readChallenge,
  readRefusal,
  receiveRoster,
  refusal,
  sendAdmission,
  sendChallenge,
  type AdmitAnswer,
  type Conversation,
  type JoinDeps,
  type JoinRefusal,
  type JoinResult,
} from "./join.ts";
import type { Membership } from "./membership.ts";
import { isProof, makeProof, readDevice, type NewDevice, type RosterRecord } from "./roster-record.ts";
import { createRoster } from "./roster.ts";
import { ticketKey } from "./ticket.ts";

// ── the new machine ──

export type JoinDeviceDeps = Pick<JoinDeps, "ticket" | "peer" | "device">;

/** Becomes a device of the person whose ticket it is. Ends the wire. @throws KinError; a lying peer, a broken wire */
export async function joinDevice(wire: Wire, deps: JoinDeviceDeps, signal: AbortSignal): Promise<JoinResult> {
  return converse(wire, signal, async (peer) => {
    const { ticket } = deps;
    await peer.send({ t: "join-device", v: JOIN_VERSION, mesh: idBytes(ticket.mesh), invite: idBytes(ticket.invite) });
    const first = await peer.receive();
    if (first.t === "refused") return readRefusal(first.fields);
    await peer.send(deviceFrame(readChallenge(expectFrame(first, "challenge"), deps), deps));
    const received = await receiveRoster(peer);
    return received.ok ? checkAdded(received, deps) : received;
  });
}

function deviceFrame(challenge: Uint8Array, { ticket, peer, device }: JoinDeviceDeps): Record<string, unknown> {
  const key = device.key.publicKey;
  const subject = { mesh: ticket.mesh, invite: ticket.invite, personKey: key, device: idOf<"device">(key) };
  const proof = makeProof(ticketKey(ticket.seed, ticket.mesh), {
    ...subject,
    sealingKey: device.sealing.publicKey,
    admitting: peer,
    challenge,
  });
  return { t: "device", device: { key, name: device.name, sealing: device.sealing.publicKey }, proof };
}

/** Our own verdict: the fold has this device in it, as one of the person whose device made the ticket. */
async function checkAdded(
  received: Awaited<ReturnType<typeof receiveRoster>> & { ok: true },
  deps: JoinDeviceDeps,
): Promise<JoinResult> {
  const { ticket } = deps;
  const roster = createRoster(ticket.mesh);
  roster.addRecords(received.records);
  const { membership } = roster;
  const mine = idOf<"device">(deps.device.key.publicKey);
  const record = roster.get(received.admission);
  const entry = membership?.devices.get(mine);
  const owner = membership?.devices.get(ticket.inviter)?.member.person;
  if (record?.body.type !== "device-added" || record.body.device.id !== mine || entry === undefined)
    throw new KinError(
      "BAD_SIGNATURE",
      `what ${ticket.inviterName} sent does not make this machine a device of the mesh`,
    );
  if (owner === undefined || entry.member.person !== owner)
    throw new KinError("BAD_SIGNATURE", `what ${ticket.inviterName} sent makes this machine somebody else's`);
  return {
    ok: true,
    person: entry.member.person,
    admission: record as RosterRecord<"device-added">,
    records: roster.records(),
    membership: membership!,
    epochKeys: await openEpochs(received.epochs, membership!, deps, mine),
  };
}

// ── the device that made the ticket ──

/** What this device remembers of a ticket for a machine of its person. */
export interface DeviceInvite {
  /** The ticket's public key. */
  key: Uint8Array;
  /** Wall ms. */
  expiresAt: number;
  /** The machine that has used it. */
  device: DeviceId | null;
}

export interface ServeDeviceDeps {
  mesh: MeshId;
  /** Who dialled, by the connection's own proof. */
  peer: DeviceId;
  /** This device. */
  device: SigningKey;
  random: Random;
  now: () => number;
  membership: () => Membership;
  invite: (id: RecordId) => Promise<DeviceInvite | undefined>;
  /** Certifies and writes it, durable when it resolves; the same device again gets what it got. */
  add: (device: NewDevice, invite: RecordId) => Promise<AdmitAnswer>;
}

/** Answers one machine at the door, whose first frame has been read. */
export async function serveDevice(guest: Conversation, fields: Fields, deps: ServeDeviceDeps): Promise<AdmitAnswer> {
  const mesh = fields.id<"mesh">("mesh");
  const id = fields.id<"record">("invite");
  fields.end();
  if (mesh !== deps.mesh) return refusal("WRONG_MESH", "this device is in another mesh than the ticket's");
  const invite = await deps.invite(id);
  if (invite === undefined)
    return refusal("INVITE_UNKNOWN", "this device has made no such ticket", "make a new one: kin device add");
  const challenge = await sendChallenge(guest, id, deps);
  const asked = expectFrame(await guest.receive(), "device");
  const device = readDevice(asked.raw("device"));
  const proof = asked.bytes("proof", 64);
  asked.end();
  const admitting = idOf<"device">(deps.device.publicKey);
  const subject = { mesh, invite: id, personKey: idBytes(device.id), device: device.id };
  const isProved = isProof(invite.key, proof, { ...subject, sealingKey: device.sealingKey, admitting, challenge });
  if (!isProved || device.id !== deps.peer)
    return refusal(
      "BAD_SIGNATURE",
      "the proof is not by this ticket's key, or of another device than the one that is connected",
    );
  const refused = checkDevice(device, invite, deps);
  if (refused !== null) return refused;
  const answer = await deps.add(device, id);
  if (answer.ok) await sendAdmission(guest, answer);
  return answer;
}

function checkDevice(
  device: NewDevice,
  invite: DeviceInvite,
  { now, membership }: ServeDeviceDeps,
): JoinRefusal | null {
  if (invite.device === device.id && !membership().formerDevices.has(device.id)) return null; // it asks again: its wire broke
  if (invite.device !== null)
    return refusal("INVITE_USED", "another machine has used the ticket", "make a new one: kin device add");
  if (invite.expiresAt < now())
    return refusal("INVITE_EXPIRED", "the ticket has expired", "make a new one: kin device add");
  if (!isAdmissibleKey(idBytes(device.id)))
    return refusal("BAD_REQUEST", "the machine's key is not an Ed25519 key of prime order (R15)");
  if (membership().formerDevices.has(device.id))
    return refusal("REMOVED", "this machine was in the mesh and has ended", "join from another KIN_HOME");
  if (membership().devices.has(device.id)) return refusal("DENIED", "this machine is in the mesh already");
  return null;
}

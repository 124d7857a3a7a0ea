/**
 * What a node does to the mesh, each as one act: its records, what goes with them and the new epoch leave in one
 * transaction (F5, R5, R6). Who may do what is the fold's question; an act that it would void is refused before it is written.
 */
import { equal } from "../protocols/bytes.ts";
import { sealEpochKey } from "../protocols/epoch.ts";
import { KinError } from "../protocols/errors.ts";
import type { DeviceId, PersonId, RecordId } from "../protocols/ids.ts";
import { decideAdmission, type AdmitAnswer, type AdmitRequest } from "../protocols/join.ts";
import { displayName, usableEpochs, type Epoch, type Membership } from "../protocols/membership.ts";
import type { BodyOf, LogCut, RosterRecord } from "../protocols/roster-record.ts";
import type { EpochKeys, Replica } from "./replica.ts";

/** Opens an invite: the ticket's public key, role, expiry and each admitting device's share of its uses (R10). */
export async function openInvite(replica: Replica, invite: Omit<BodyOf<"invite-opened">, "type">): Promise<RecordId> {
  const [record] = await replica.act(() => ({ records: [{ type: "invite-opened", ...invite }] }));
  return record!.id;
}

/** Closes an invite and changes the epoch key: whoever was let in by it meanwhile gets no new one (§4). */
export async function closeInvite(replica: Replica, invite: RecordId): Promise<void> {
  await replica.act(async (membership) => {
    const known = membership.invites.get(invite);
    if (known === undefined) throw new KinError("INVITE_UNKNOWN", `no invite ${invite} is known`);
    if (known.closed) throw new KinError("INVITE_CLOSED", "the invite is closed already");
    const epoch = await replica.newEpoch(membership, membership.devices.values());
    return { ...epoch, records: [{ type: "invite-closed", invite }, ...epoch.records] };
  });
}

/**
 * Admits a guest, once: the decision is made again under the lock under which the admission is written. The answer carries
 * the keys that the newcomer may have (R6).
 */
export async function admit(
  replica: Replica,
  request: AdmitRequest,
  now: number,
  epochKeys: Pick<EpochKeys, "get">,
): Promise<AdmitAnswer> {
  let decision: ReturnType<typeof decideAdmission> | undefined;
  const made = await replica.act(async (membership) => {
    decision = decideAdmission(membership, request, replica.device, now);
    if (!decision.ok || decision.earlier !== null) return { records: [] };
    if (membership.policy === "reads-all") return { records: [decision.body] };
    const everybody = [...membership.devices.values(), { device: request.device }];
    const epoch = await replica.newEpoch(membership, everybody);
    return { ...epoch, records: [decision.body, ...epoch.records] };
  });
  if (decision === undefined) throw new KinError("INTERNAL", "the admission was not decided");
  if (!decision.ok) return decision;
  const admission = decision.earlier ?? made[0]!.id;
  return {
    ok: true,
    admission,
    records: replica.roster.records(),
    epochKeys: await keysFor(replica, request.device, epochKeys),
  };
}

async function keysFor(
  replica: Replica,
  device: { id: DeviceId; sealingKey: Uint8Array },
  epochKeys: Pick<EpochKeys, "get">,
): Promise<(AdmitAnswer & { ok: true })["epochKeys"]> {
  const out: (AdmitAnswer & { ok: true })["epochKeys"] = [];
  for (const { id } of readableByNewcomers(replica.membership())) {
    const key = epochKeys.get(id);
    if (key !== undefined)
      out.push({ epoch: id, sealed: await sealEpochKey(replica.mesh, key, device, replica.device) });
  }
  return out;
}

/** All epochs under "reads-all", else those that are still written under. */
function readableByNewcomers(membership: Membership): Epoch[] {
  return membership.policy === "reads-all" ? [...membership.epochs.values()] : usableEpochs(membership);
}

/** Removes a person: where each of his logs ends (R5), and a new epoch without him, in one act (F5). */
export async function removePerson(replica: Replica, person: PersonId): Promise<RosterRecord[]> {
  return replica.act(async (membership) => {
    const member = membership.members.get(person);
    if (member === undefined)
      throw new KinError("NOT_A_MEMBER", `${displayName(membership, person)} is not a member of ${membership.name}`);
    const former = [...membership.formerDevices].filter(([, was]) => was.person === person).map(([id]) => id);
    const theirs = new Set([...member.devices.map(({ id }) => id), ...former]);
    const epoch = await replica.newEpoch(membership, othersThan(membership, theirs));
    return { ...epoch, records: [{ type: "remove", person, cuts: cutsOf(replica, theirs) }, ...epoch.records] };
  });
}

/**
 * This device's person leaves: his logs end where they are. The others open a new epoch when they next write (R6): one that
 * he opened he could read.
 */
export async function leaveMesh(replica: Replica): Promise<void> {
  await replica.act((membership) => {
    const { member } = membership.devices.get(replica.device)!;
    const former = [...membership.formerDevices].filter(([, was]) => was.person === member.person).map(([id]) => id);
    const mine = new Set([...member.devices.map(({ id }) => id), ...former]);
    return { records: [{ type: "leave", cuts: cutsOf(replica, mine) }] };
  });
}

/**
 * This device is sealed to under another key from now on, and so is a new epoch: whoever had the old key reads nothing that
 * is written after (R7). Does nothing if the roster says so already.
 */
export async function announceSealingKey(replica: Replica, sealing: Uint8Array): Promise<void> {
  await replica.act(async (membership) => {
    if (equal(membership.devices.get(replica.device)!.device.sealingKey, sealing)) return { records: [] };
    const withNew = [...membership.devices.values()].map(({ device }) =>
      device.id === replica.device ? { device: { ...device, sealingKey: sealing } } : { device },
    );
    const epoch = await replica.newEpoch(membership, withNew);
    return { ...epoch, records: [{ type: "sealing-key", sealing }, ...epoch.records] };
  });
}

/** A new epoch key for all current devices. */
export async function openEpoch(replica: Replica): Promise<RosterRecord[]> {
  return replica.act((membership) => replica.newEpoch(membership, membership.devices.values()));
}

function othersThan(membership: Membership, devices: ReadonlySet<DeviceId>) {
  return [...membership.devices.values()].filter(({ device }) => !devices.has(device.id));
}

/** The last event that we have of each log of these devices. */
function cutsOf(replica: Replica, devices: ReadonlySet<DeviceId>): LogCut[] {
  return [...replica.vector().values()]
    .filter(({ opening }) => devices.has(opening.device))
    .map(({ log, seq, id }) => ({ log, seq, id }));
}

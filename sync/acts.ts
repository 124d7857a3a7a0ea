/**
 * What a node does to the mesh, each as one act: its records, what goes with them and the new epoch leave in one
 * transaction (F5, R5, R6). Who may do what is the fold's question; an act that it would void is refused before it is written.
 */
import { equal } from "../protocols/bytes.ts";
import type { SigningKey } from "../protocols/crypto/keys.ts";
import { sealEpochKey } from "../protocols/epoch.ts";
import { KinError } from "../protocols/errors.ts";
import { idBytes, type DeviceId, type LogId, type PersonId, type RecordId } from "../protocols/ids.ts";
import { decideAdmission, type AdmitAnswer, type AdmitRequest } from "../protocols/join.ts";
import { displayName, isLogAllowed, type Membership } from "../protocols/membership.ts";
import {
  makeCertificate,
  type BodyOf,
  type LogCut,
  type NewDevice,
  type RosterRecord,
} from "../protocols/roster-record.ts";
import { readersOf } from "./epochs.ts";
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

/** Certifies a second machine of this person and writes its record (R1), once: the same device again gets the same. */
export async function addDevice(
  replica: Replica,
  device: NewDevice,
  by: { personKey: SigningKey; n: Uint8Array; epochKeys: Pick<EpochKeys, "get"> },
): Promise<AdmitAnswer & { ok: true }> {
  await replica.act((membership) => {
    const me = membership.devices.get(replica.device)!.member;
    if (membership.devices.get(device.id)?.member.person === me.person) return { records: [] };
    const named = { ...device, name: freeDeviceName(me.devices, device.name) };
    const cert = makeCertificate(by.personKey, idBytes(replica.mesh), named, by.n);
    return { records: [{ type: "device-added", person: me.person, device: named, cert }] };
  });
  const record = replica.roster
    .records()
    .find(({ body }) => body.type === "device-added" && body.device.id === device.id);
  if (record === undefined) throw new KinError("INTERNAL", "the new device's record is missing");
  return {
    ok: true,
    admission: record.id,
    records: replica.roster.records(),
    epochKeys: await keysFor(replica, device, by.epochKeys),
  };
}

/** Ends one device of this person: where each of its logs ends (R5), and a new epoch without it, in one act (F5). */
export async function removeDevice(replica: Replica, device: DeviceId): Promise<void> {
  await replica.act(async (membership) => {
    const epoch = await replica.newEpoch(membership, othersThan(membership, new Set([device])));
    const cuts = cutsOf(replica, new Set([device]));
    return { ...epoch, records: [{ type: "device-removed", device, cuts }, ...epoch.records] };
  });
}

/** Two machines of one person are told apart: `laptop`, then `laptop-2`. */
function freeDeviceName(devices: readonly { name: string }[], name: string): string {
  const taken = new Set(devices.map((device) => device.name));
  if (!taken.has(name)) return name;
  for (let n = 2; ; n++) {
    const next = `${name.slice(0, 28)}-${n}`;
    if (!taken.has(next)) return next;
  }
}

async function keysFor(
  replica: Replica,
  device: { id: DeviceId; sealingKey: Uint8Array },
  epochKeys: Pick<EpochKeys, "get">,
): Promise<(AdmitAnswer & { ok: true })["epochKeys"]> {
  const out: (AdmitAnswer & { ok: true })["epochKeys"] = [];
  const membership = replica.membership();
  const mayRead = readersOf(membership, replica.roster.records());
  for (const epoch of membership.epochs.values()) {
    const { id } = epoch;
    const key = mayRead(epoch, device.id) ? epochKeys.get(id) : undefined;
    if (key !== undefined)
      out.push({ epoch: id, sealed: await sealEpochKey(replica.mesh, key, device, replica.device) });
  }
  return out;
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

/** Lets the logs of a device count whose log was written twice, after its person has done so once (R2). */
export async function allowLogs(replica: Replica, device: DeviceId): Promise<RosterRecord[]> {
  return replica.act((membership) => {
    if (!membership.devices.has(device))
      throw new KinError("NOT_A_MEMBER", `device ${device} is no member's in ${membership.name}`);
    const forked = new Set(replica.forks().map(({ log }) => log));
    const logs = [...replica.vector().values()]
      .filter(({ log, opening }) => opening.device === device && !forked.has(log))
      .map(({ log }) => log);
    if (logs.length === 0)
      throw new KinError("NOT_FOUND", `no log that device ${device} has begun since is here`, {
        hint: "sync with it first, after it has written something",
      });
    if (logs.every((log) => isLogAllowed(membership, device, log)))
      throw new KinError("BAD_REQUEST", `all logs of device ${device} that are here count already`);
    return { records: [{ type: "log-allowed", device, logs: logs.toSorted() }] };
  });
}

function othersThan(membership: Membership, devices: ReadonlySet<DeviceId>) {
  return [...membership.devices.values()].filter(({ device }) => !devices.has(device.id));
}

/** The last event that we have of each log of these devices; of one that was written twice the last of all its histories (R2). */
function cutsOf(replica: Replica, devices: ReadonlySet<DeviceId>): LogCut[] {
  const cuts = new Map<LogId, LogCut>();
  for (const { log, opening, seq, id } of replica.vector().values())
    if (devices.has(opening.device)) cuts.set(log, { log, seq, id });
  for (const { log, opening, ends } of replica.forkedLogs()) {
    const [last] = ends.toSorted((one, other) => other.seq - one.seq);
    if (devices.has(opening.device) && last !== undefined) cuts.set(log, { log, ...last });
  }
  return [...cuts.values()];
}

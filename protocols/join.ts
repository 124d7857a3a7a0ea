/**
 * `/kin/join/1`: the one protocol that a stranger may speak (R10, R14). Frames are canonical maps.
 *
 *   guest                                                        admitting device
 *   { t: "join", v: 1, mesh, invite }                       →
 *                                                           ←    { t: "challenge", s: sealed "join" by the device }   { v: 1, mesh, invite, challenge, n }
 *   { t: "proof", personKey, device, cert, name, proof,
 *     recovery? }                                           →         the admission is durable before the next frame leaves
 *                                                           ←    { t: "records", records: [sealed…] }*                 all of the roster, causes first
 *                                                           ←    { t: "admitted", admission, epochs: [[epoch, device, enc, ct]…] }
 *                                                           or   { t: "refused", error, name? }                        at any time; name: one that is free
 *
 *   somebody whom the other does not know yet                    any member
 *   { t: "present", v: 1, mesh, heads: [record ids] }       →
 *                                                           ←    { t: "heads", heads: [record ids] }               or at once what follows
 *   { t: "proofs", records: [sealed…] }  ≤ 256, ≤ 256 KiB   →
 *                                                           ←    { t: "member" }  or  { t: "removed", records: [sealed…] }  or  { t: "refused", error }
 *
 * The proof is signed with the ticket's key over mesh, invite, the guest's keys, the admitting device and its challenge
 * (`roster-record.ts`); the seed itself is never sent. A guest whose wire broke asks again with the same keys and gets the same
 * admission, not a second use.
 */
import { isAdmissibleKey } from "#crypto";
import { decode, encode, equal } from "./bytes.ts";
import type { SealingKey, SigningKey } from "./crypto/keys.ts";
import type { Random, Wire } from "./effects.ts";
import { openEpochKey, parseSealedEpochKey, sealedEpochKeyValue, type SealedEpochKey } from "./epoch.ts";
import { errorShape, KinError, WIRE_CODES, type ErrorShape, type WireCode } from "./errors.ts";
import { readFields, type Fields } from "./fields.ts";
import { idBytes, idOf, type DeviceId, type EpochId, type MeshId, type PersonId, type RecordId } from "./ids.ts";
import { MAX_PRESENT_BYTES, MAX_PRESENT_RECORDS } from "./limits.ts";
import { freeName, isNameTaken, type Invite, type Membership } from "./membership.ts";
import {
  isCertified,
  isProof,
  makeCertificate,
  makeProof,
  MAX_PARENTS,
  parseRosterValue,
  readDevice,
  type BodyOf,
  type NewDevice,
  type RosterRecord,
} from "./roster-record.ts";
import { createRoster } from "./roster.ts";
import { isSealed, parseSealed, sealedValue, sealOne, type Sealed } from "./signature.ts";
import { ticketKey, type Ticket } from "./ticket.ts";

export const JOIN_PROTOCOL = "/kin/join/1";
export const JOIN_VERSION = 1;
const VERSION = JOIN_VERSION;
const CHALLENGE_BYTES = 32;
/** A frame from a stranger: `proofs` is the longest. */
const MAX_STRANGER_FRAME_BYTES = MAX_PRESENT_BYTES + 1024;
/** Records that go into one frame to the guest, in bytes: far below a frame's limit, with room for one large record. */
const RECORDS_FRAME_BYTES = 256 * 1024;
/** A guest takes at most this much roster: about 100,000 records. */
const MAX_ROSTER_BYTES = 64 * 1024 * 1024;
/** Epochs whose keys a newcomer gets at once; older ones come by sync (R6). */
const MAX_EPOCHS = 1024;

// ── the guest ───────────────────────────────────────────────────────────────────────────────────────────────────────

export interface JoinDeps {
  ticket: Ticket;
  /** Whom the connection proved to be at the other end. */
  peer: DeviceId;
  personKey: SigningKey;
  device: { key: SigningKey; sealing: SealingKey; /** F7. */ name: string };
  /** What the guest wants to be called (F7). */
  name: string;
  /** Public half of a recovery key, if he has one (R1). */
  recovery?: Uint8Array | undefined;
  random: Random;
}

export type JoinResult =
  | {
      ok: true;
      person: PersonId;
      /** What let us in. */
      admission: RosterRecord<"admit" | "device-added">;
      /** The whole roster, causes first. */
      records: RosterRecord[];
      membership: Membership;
      epochKeys: { epoch: EpochId; key: Uint8Array }[];
    }
  | JoinRefusal;

export interface JoinRefusal {
  ok: false;
  error: ErrorShape;
  /** With NAME_TAKEN: one that is free. */
  name?: string | undefined;
}

/** Joins by ticket. Ends the wire. A refusal is a result; a broken wire, an abort and a lying peer throw. @throws KinError */
export async function joinMesh(wire: Wire, deps: JoinDeps, signal: AbortSignal): Promise<JoinResult> {
  return converse(wire, signal, async (peer) => {
    const { ticket } = deps;
    await peer.send({ t: "join", v: VERSION, mesh: idBytes(ticket.mesh), invite: idBytes(ticket.invite) });
    const first = await peer.receive();
    if (first.t === "refused") return readRefusal(first.fields);
    const challenge = readChallenge(expectFrame(first, "challenge"), deps);
    await peer.send(proofFrame(challenge, deps));
    return receiveAdmission(peer, deps);
  });
}

export function readChallenge(fields: Fields, deps: Pick<JoinDeps, "ticket" | "peer">): Uint8Array {
  const sealed = parseSealed(fields.raw("s"));
  fields.end();
  const said = readFields(decode(sealed.bytes), "a challenge");
  said.integer("v", VERSION, VERSION);
  said.bytes("n", 16);
  if (said.id("mesh") !== deps.ticket.mesh || said.id("invite") !== deps.ticket.invite)
    throw new KinError("WRONG_MESH", "the peer answered for another mesh or invite than the ticket's");
  const challenge = said.bytes("challenge", CHALLENGE_BYTES);
  said.end();
  if (!equal(sealed.seal.key, idBytes(deps.peer)) || !isSealed("join", sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", "the challenge is not signed by the device that we are connected to");
  return challenge;
}

function proofFrame(challenge: Uint8Array, deps: JoinDeps): Record<string, unknown> {
  const { ticket, personKey, device } = deps;
  const id = idOf<"device">(device.key.publicKey);
  const mine = { id, sealingKey: device.sealing.publicKey };
  const proof = makeProof(ticketKey(ticket.seed, ticket.mesh), {
    mesh: ticket.mesh,
    invite: ticket.invite,
    personKey: personKey.publicKey,
    device: id,
    sealingKey: mine.sealingKey,
    admitting: deps.peer,
    challenge,
  });
  const cert = makeCertificate(personKey, idBytes(ticket.mesh), mine, deps.random.bytes(16));
  return {
    t: "proof",
    personKey: personKey.publicKey,
    device: { key: device.key.publicKey, name: device.name, sealing: mine.sealingKey },
    cert: sealedValue(cert),
    name: deps.name,
    proof,
    recovery: deps.recovery,
  };
}

async function receiveAdmission(peer: Conversation, deps: JoinDeps): Promise<JoinResult> {
  const received = await receiveRoster(peer);
  if (!received.ok) return received;
  return checkAdmission(received.records, received.admission, received.epochs, deps);
}

type SealedEpoch = { epoch: EpochId; sealed: SealedEpochKey };

/** The roster, the record that let us in, and what was sealed to us; or the refusal. */
export async function receiveRoster(
  peer: Conversation,
): Promise<{ ok: true; records: RosterRecord[]; admission: RecordId; epochs: SealedEpoch[] } | JoinRefusal> {
  const records: RosterRecord[] = [];
  let bytes = 0;
  for (;;) {
    const frame = await peer.receive();
    if (frame.t === "refused") return readRefusal(frame.fields);
    if (frame.t === "records") {
      bytes += frame.bytes;
      if (bytes > MAX_ROSTER_BYTES) throw new KinError("TOO_LARGE", `a roster of more than ${MAX_ROSTER_BYTES} bytes`);
      records.push(...frame.fields.list("records", 1, MAX_FRAME_RECORDS, parseRosterValue));
      frame.fields.end();
      continue;
    }
    const fields = expectFrame(frame, "admitted");
    const admission = fields.id<"record">("admission");
    const epochs = fields.list("epochs", 0, MAX_EPOCHS, readEpoch);
    fields.end();
    return { ok: true, records, admission, epochs };
  }
}

/** A record is at least 200 bytes. */
const MAX_FRAME_RECORDS = 4096;

/** The guest's own verdict: the mesh is the ticket's, the fold has him in it, by an admin, in the role that the ticket says. */
async function checkAdmission(
  records: RosterRecord[],
  id: RecordId,
  epochs: { epoch: EpochId; sealed: SealedEpochKey }[],
  deps: JoinDeps,
): Promise<JoinResult> {
  const { ticket } = deps;
  const roster = createRoster(ticket.mesh);
  roster.addRecords(records);
  const { membership } = roster;
  const lie = (what: string): never => {
    throw new KinError("BAD_SIGNATURE", `the admission that ${ticket.inviterName} sent is not good: ${what}`);
  };
  const admission = roster.get(id);
  if (membership === null || admission === undefined)
    return lie("the mesh's founding or the admission itself is missing");
  const { body } = admission;
  if (body.type !== "admit" || body.invite !== ticket.invite) return lie("it is no admission by this ticket");
  const why = membership.void.get(id);
  if (why !== undefined) return lie(why);
  const mine = idOf<"device">(deps.device.key.publicKey);
  const entry = membership.devices.get(mine);
  if (entry === undefined || body.device.id !== mine || !equal(body.personKey, deps.personKey.publicKey))
    return lie("it does not admit us");
  if (body.role !== ticket.role) return lie(`it admits as ${body.role}, the ticket says ${ticket.role}`);
  const epochKeys = await openEpochs(epochs, membership, deps, mine);
  return {
    ok: true,
    person: entry.member.person,
    admission: admission as RosterRecord<"admit">,
    records: roster.records(),
    membership,
    epochKeys,
  };
}

export async function openEpochs(
  epochs: SealedEpoch[],
  membership: Membership,
  deps: { ticket: Ticket; peer: DeviceId; device: Pick<JoinDeps["device"], "sealing"> },
  mine: DeviceId,
): Promise<{ epoch: EpochId; key: Uint8Array }[]> {
  const opened: { epoch: EpochId; key: Uint8Array }[] = [];
  for (const { epoch, sealed } of epochs) {
    const keyHash = membership.epochs.get(epoch)?.keyHash;
    const key =
      keyHash !== undefined && sealed.device === mine
        ? await openEpochKey(deps.ticket.mesh, keyHash, sealed, deps.peer, deps.device.sealing)
        : null;
    if (key === null) throw new KinError("BAD_SIGNATURE", `the key of the epoch ${epoch.slice(0, 8)} does not open`);
    opened.push({ epoch, key });
  }
  return opened;
}

export function readRefusal(fields: Fields): JoinRefusal {
  const error = readError(fields);
  const name = fields.has("name") ? fields.name("name") : undefined;
  fields.end();
  return name === undefined ? { ok: false, error } : { ok: false, error, name };
}

/** Why a member presents himself: whom B admitted, A has not heard of yet. */
export interface PresentDeps {
  mesh: MeshId;
  /** `membership.heads`. */
  heads: RecordId[];
  /** The records that prove us to who knows `theirHeads`: `roster.proofFor`; null if they are too many. */
  proof(theirHeads: RecordId[]): RosterRecord[] | null;
}

export type PresentResult =
  | { ok: true }
  /** `records` end with the one that removed us, if they could be sent. */
  | { ok: false; error: ErrorShape; records: RosterRecord[] };

/** Shows a member who does not know us what proves our membership (R14). Ends the wire. */
export async function presentRecords(wire: Wire, deps: PresentDeps, signal: AbortSignal): Promise<PresentResult> {
  return converse(wire, signal, async (peer) => {
    await peer.send({
      t: "present",
      v: VERSION,
      mesh: idBytes(deps.mesh),
      heads: deps.heads.slice(0, MAX_PARENTS).map(idBytes),
    });
    const first = await peer.receive();
    if (first.t !== "heads") return readVerdict(first);
    const theirHeads = first.fields.list("heads", 0, MAX_PARENTS, (value) => idOf<"record">(value));
    const proof = deps.proof(theirHeads);
    if (proof === null) {
      const message = `the peer lacks more than ${MAX_PRESENT_RECORDS} roster records that prove us: it has to sync with another member first`;
      return { ok: false, error: { code: "TOO_LARGE", message }, records: [] };
    }
    await peer.send({ t: "proofs", records: proof.map((record) => sealedValue(record.sealed)) });
    return readVerdict(await peer.receive());
  });
}

function readVerdict(frame: Frame): PresentResult {
  if (frame.t === "member") return { ok: true };
  if (frame.t === "refused") return { ok: false, error: readRefusal(frame.fields).error, records: [] };
  const records = expectFrame(frame, "removed").list("records", 1, MAX_PRESENT_RECORDS, parseRosterValue);
  return { ok: false, error: { code: "REMOVED", message: "this device was removed from the mesh" }, records };
}

// ── the admitting side ──────────────────────────────────────────────────────────────────────────────────────────────

/** What a guest asks for, its proof and certificate already checked. */
export interface AdmitRequest {
  invite: RecordId;
  name: string;
  personKey: Uint8Array;
  device: NewDevice;
  cert: Sealed;
  challenge: Uint8Array;
  proof: Uint8Array;
  recovery?: Uint8Array | undefined;
}

export type AdmitAnswer =
  | {
      ok: true;
      admission: RecordId;
      /** The whole roster, causes first: `roster.records()` after the admission. */
      records: RosterRecord[];
      /** The keys that the newcomer may have, sealed to it by this device. */
      epochKeys: { epoch: EpochId; sealed: SealedEpochKey }[];
    }
  | JoinRefusal;

export interface ServeJoinDeps {
  mesh: MeshId;
  /** Who dialled, by the connection's own proof. */
  peer: DeviceId;
  /** This device. */
  device: SigningKey;
  random: Random;
  /** Wall ms. */
  now(): number;
  membership(): Membership;
  /**
   * Makes the admission and resolves once it is durable. Runs {@link decideAdmission} again under its write lock: two guests may
   * come at once.
   */
  admit(request: AdmitRequest, signal: AbortSignal): Promise<AdmitAnswer>;
  /** `roster.consider`, then stores what is to be kept, durable before it answers. */
  present(records: Sealed[], signal: AbortSignal): Promise<{ isMember: boolean }>;
  /** `roster.removalOf` the peer. */
  removal(theirHeads: RecordId[]): RosterRecord[] | null;
  /** What else may be asked for at this door, by the first frame's type. */
  others?: { readonly [t: string]: (guest: Conversation, fields: Fields) => Promise<AdmitAnswer> } | undefined;
}

export type ServedJoin =
  | { kind: "join"; admitted: RecordId | null; error?: ErrorShape | undefined }
  | { kind: "present"; isMember: boolean; error?: ErrorShape | undefined };

/** Answers one stranger's stream. Ends the wire; what it did is the result. @throws if the wire breaks or the signal fires */
export async function serveJoin(wire: Wire, deps: ServeJoinDeps, signal: AbortSignal): Promise<ServedJoin> {
  return converse(wire, signal, async (guest) => {
    let kind: ServedJoin["kind"] = "join";
    try {
      const first = await guest.receive();
      if (first.t === "present") {
        kind = "present";
        return { kind, isMember: await servePresent(guest, expectVersion(first.fields), deps, signal) };
      }
      const other = deps.others !== undefined && Object.hasOwn(deps.others, first.t) ? deps.others[first.t] : undefined;
      const answer =
        other !== undefined
          ? await other(guest, expectVersion(first.fields))
          : await serveTicket(guest, expectVersion(expectFrame(first, "join")), deps, signal);
      if (answer.ok) return { kind, admitted: answer.admission };
      await guest.send({ t: "refused", error: answer.error, name: answer.name });
      return { kind, admitted: null, error: answer.error };
    } catch (error) {
      if (!(error instanceof KinError) || wire.signal.aborted || signal.aborted) throw error;
      const shape = errorShape(error);
      await guest.send({ t: "refused", error: sendable(shape) });
      return kind === "join" ? { kind, admitted: null, error: shape } : { kind, isMember: false, error: shape };
    }
  });
}

/** What is wrong with this machine (a full disk, …) is not told to a stranger. */
function sendable(error: ErrorShape): ErrorShape {
  if ((WIRE_CODES as readonly string[]).includes(error.code)) return error;
  return { code: "INTERNAL", message: "the device could not finish this; its owner can see why" };
}

function expectVersion(fields: Fields): Fields {
  const version = fields.raw("v");
  if (version !== VERSION)
    throw new KinError("UNSUPPORTED_VERSION", `join version ${JSON.stringify(version)}: this kin speaks ${VERSION}`);
  return fields;
}

async function serveTicket(
  guest: Conversation,
  fields: Fields,
  deps: ServeJoinDeps,
  signal: AbortSignal,
): Promise<AdmitAnswer> {
  const mesh = fields.id<"mesh">("mesh");
  const invite = fields.id<"record">("invite");
  fields.end();
  if (mesh !== deps.mesh) return refusal("WRONG_MESH", "this device is in another mesh than the ticket's");
  const early = checkAuthority(deps.membership(), invite, idOf(deps.device.publicKey));
  if (early !== null) return early;
  const challenge = await sendChallenge(guest, invite, deps);
  const request = readProof(expectFrame(await guest.receive(), "proof"), invite, challenge);
  if (request.device.id !== deps.peer)
    return refusal("BAD_SIGNATURE", "the device that asks to be admitted is not the one that is connected");
  const decision = decideAdmission(deps.membership(), request, idOf(deps.device.publicKey), deps.now());
  if (!decision.ok) return decision;
  const answer = await deps.admit(request, signal);
  if (answer.ok) await sendAdmission(guest, answer);
  return answer;
}

/** Signs a fresh challenge for whoever holds the ticket of this invite. */
export async function sendChallenge(
  guest: Conversation,
  invite: RecordId,
  { mesh, device, random }: Pick<ServeJoinDeps, "mesh" | "device" | "random">,
): Promise<Uint8Array> {
  const challenge = random.bytes(CHALLENGE_BYTES);
  const said = { v: VERSION, mesh: idBytes(mesh), invite: idBytes(invite), challenge, n: random.bytes(16) };
  await guest.send({ t: "challenge", s: sealedValue(sealOne(device, "join", encode(said))) });
  return challenge;
}

function readProof(fields: Fields, invite: RecordId, challenge: Uint8Array): AdmitRequest {
  const request: AdmitRequest = {
    invite,
    name: fields.name("name"),
    personKey: fields.bytes("personKey", 32),
    device: readDevice(fields.raw("device")),
    cert: parseSealed(fields.raw("cert")),
    challenge,
    proof: fields.bytes("proof", 64),
    ...(fields.has("recovery") && { recovery: fields.bytes("recovery", 32) }),
  };
  fields.end();
  return request;
}

export async function sendAdmission(guest: Conversation, answer: AdmitAnswer & { ok: true }): Promise<void> {
  for (const records of portions(answer.records))
    await guest.send({ t: "records", records: records.map((record) => sealedValue(record.sealed)) });
  const epochs = answer.epochKeys
    .slice(-MAX_EPOCHS)
    .map(({ epoch, sealed }) => [idBytes(epoch), ...sealedEpochKeyValue(sealed)]);
  await guest.send({ t: "admitted", admission: idBytes(answer.admission), epochs });
}

function* portions(records: RosterRecord[]): Iterable<RosterRecord[]> {
  let portion: RosterRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    bytes += record.sealed.bytes.length + 256;
    portion.push(record);
    if (bytes < RECORDS_FRAME_BYTES && portion.length < MAX_FRAME_RECORDS) continue;
    yield portion;
    portion = [];
    bytes = 0;
  }
  if (portion.length > 0) yield portion;
}

/** What may be done about a request: the body of a new admission, or the one that the same guest has already (a retry). */
export type AdmissionDecision =
  | { ok: true; earlier: RecordId }
  | { ok: true; earlier: null; body: BodyOf<"admit"> }
  | JoinRefusal;

/**
 * Decides about a guest's request by what this device `me` knows now (R10). Pure: run it under the lock under which the admission is
 * written. `now` is wall ms; the admission's stamp must not lie after the expiry either.
 */
export function decideAdmission(
  membership: Membership,
  request: AdmitRequest,
  me: DeviceId,
  now: number,
): AdmissionDecision {
  const refused = checkAuthority(membership, request.invite, me);
  if (refused !== null) return refused;
  const invite = membership.invites.get(request.invite)!;
  if (!isGoodProof(membership.mesh, invite, request, me))
    return refusal("BAD_SIGNATURE", "the proof is not by this ticket's key");
  const earlier = earlierAdmission(membership, invite, request);
  if (earlier !== undefined) return { ok: true, earlier };
  const body = admissionBody(invite, request, me);
  return checkInvite(invite, me, now) ?? checkGuest(membership, request) ?? { ok: true, earlier: null, body };
}

function admissionBody(invite: Invite, request: AdmitRequest, me: DeviceId): BodyOf<"admit"> {
  const taken = new Set(invite.used.filter((used) => used.device === me).map((used) => used.use));
  let use = 0;
  while (taken.has(use)) use++;
  return { type: "admit", ...request, role: invite.role, use };
}

function isGoodProof(mesh: MeshId, invite: Invite, request: AdmitRequest, me: DeviceId): boolean {
  const { personKey, device, challenge, proof } = request;
  const subject = { mesh, invite: invite.record, personKey, device: device.id, sealingKey: device.sealingKey };
  return isProof(invite.key, proof, { ...subject, admitting: me, challenge });
}

/** The admission that the same keys got by the same invite. */
function earlierAdmission(membership: Membership, invite: Invite, request: AdmitRequest): RecordId | undefined {
  const member = membership.devices.get(request.device.id)?.member;
  if (member === undefined || !equal(member.personKey, request.personKey)) return undefined;
  return invite.used.find((used) => used.person === member.person)?.admission;
}

/** Said before the challenge. Closed, expired and used come after the proof: only who holds the ticket hears them, and a retry passes them. */
function checkAuthority(membership: Membership, id: RecordId, me: DeviceId): JoinRefusal | null {
  if (membership.devices.get(me)?.member.role !== "admin")
    return refusal("DENIED", "this device is not an admin's and cannot admit anybody", "ask for a new ticket");
  const invite = membership.invites.get(id);
  if (invite === undefined)
    return refusal(
      "INVITE_UNKNOWN",
      "this device does not know the ticket's invite",
      "try again in a while, or ask for a new ticket",
    );
  if (!invite.usesLeft.has(me))
    return refusal("DENIED", "this device holds no share of the ticket's uses", "dial the device that made the ticket");
  return null;
}

function checkInvite(invite: Invite, me: DeviceId, now: number): JoinRefusal | null {
  if (invite.closed) return refusal("INVITE_CLOSED", "the ticket's invite was closed", "ask for a new ticket");
  if (invite.expiresAt < now) {
    const late = Math.ceil((now - invite.expiresAt) / 60_000);
    const message = `the ticket expired ${late} min ago by the admitting device's clock`;
    return refusal("INVITE_EXPIRED", message, "ask for a new ticket");
  }
  if (invite.usesLeft.get(me)! < 1)
    return refusal("INVITE_USED", "all uses of the ticket are taken", "ask for a new ticket");
  return null;
}

function checkGuest(membership: Membership, request: AdmitRequest): JoinRefusal | null {
  const { device, personKey, recovery } = request;
  const keys = [personKey, idBytes(device.id), ...(recovery === undefined ? [] : [recovery])];
  if (!keys.every(isAdmissibleKey))
    return refusal("BAD_REQUEST", "a key of the guest is not an Ed25519 key of prime order (R15)");
  if (!isCertified(request.cert, personKey, idBytes(membership.mesh), device))
    return refusal("BAD_SIGNATURE", "the guest's certificate does not match its keys");
  if (membership.formerDevices.has(device.id))
    return refusal(
      "REMOVED",
      "this device was in the mesh and has ended",
      "make a new device key: join from another KIN_HOME",
    );
  if (membership.devices.has(device.id)) return refusal("DENIED", "this device is in the mesh already");
  if (isNameTaken(membership, request.name)) {
    const name = freeName(membership, request.name);
    return { ...refusal("NAME_TAKEN", `somebody has or had the name ${request.name}`, `join --as ${name}`), name };
  }
  return null;
}

export function refusal(code: WireCode, message: string, hint?: string): JoinRefusal {
  return { ok: false, error: hint === undefined ? { code, message } : { code, message, hint } };
}

async function servePresent(
  guest: Conversation,
  fields: Fields,
  deps: ServeJoinDeps,
  signal: AbortSignal,
): Promise<boolean> {
  const mesh = fields.id<"mesh">("mesh");
  const theirHeads = fields.list("heads", 0, MAX_PARENTS, (value) => idOf<"record">(value));
  fields.end();
  if (mesh !== deps.mesh) throw new KinError("WRONG_MESH", "this device is in another mesh");
  if (await answerRemoved(guest, deps, theirHeads)) return false;
  await guest.send({ t: "heads", heads: deps.membership().heads.slice(0, MAX_PARENTS).map(idBytes) });
  const frame = await guest.receive();
  const proofs = expectFrame(frame, "proofs");
  if (frame.bytes > MAX_STRANGER_FRAME_BYTES)
    throw new KinError("TOO_LARGE", `proofs of ${frame.bytes} bytes: at most ${MAX_PRESENT_BYTES}`);
  const records = proofs.list("records", 0, MAX_PRESENT_RECORDS, parseSealed);
  proofs.end();
  const { isMember } = await deps.present(records, signal);
  if (await answerRemoved(guest, deps, theirHeads)) return false;
  if (!isMember) throw new KinError("NOT_A_MEMBER", "these records do not make this device a member here");
  await guest.send({ t: "member" });
  return true;
}

/** A removed peer is answered with its removal record, so that it stops trying (R14). */
async function answerRemoved(guest: Conversation, deps: ServeJoinDeps, theirHeads: RecordId[]): Promise<boolean> {
  const removal = deps.removal(theirHeads);
  if (removal === null) return false;
  await guest.send({ t: "removed", records: removal.map((record) => sealedValue(record.sealed)) });
  return true;
}

// ── frames ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface Frame {
  t: string;
  fields: Fields;
  bytes: number;
}

export interface Conversation {
  send(frame: Record<string, unknown>): Promise<void>;
  /** @throws KinError BAD_REQUEST if the other side has ended or the frame is none. */
  receive(): Promise<Frame>;
}

/** Runs a dialogue and ends the wire: in order after a result, at once when something was thrown or `signal` fires. */
export async function converse<T>(
  wire: Wire,
  signal: AbortSignal,
  run: (peer: Conversation) => Promise<T>,
): Promise<T> {
  const stop = () => wire.abort(asError(signal.reason));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const incoming = wire.frames()[Symbol.asyncIterator]();
  try {
    signal.throwIfAborted();
    const result = await run({
      send: (frame) => wire.send(encode(frame)),
      async receive() {
        const next = await incoming.next();
        if (next.done === true) throw new KinError("BAD_REQUEST", "the peer ended the join dialogue early");
        return readFrame(next.value);
      },
    });
    await wire.close();
    return result;
  } catch (error) {
    wire.abort(asError(error));
    throw signal.aborted ? asError(signal.reason) : error;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

function readFrame(bytes: Uint8Array): Frame {
  if (bytes.length > MAX_STRANGER_FRAME_BYTES + RECORDS_FRAME_BYTES)
    throw new KinError("TOO_LARGE", `a join frame of ${bytes.length} bytes`);
  const fields = readFields(decode(bytes), "a join frame");
  const t = fields.raw("t");
  if (typeof t !== "string") throw new KinError("BAD_REQUEST", "a join frame says its type in t");
  return { t, fields, bytes: bytes.length };
}

export function expectFrame(frame: Frame, t: string): Fields {
  if (frame.t === t) return frame.fields;
  throw new KinError("BAD_REQUEST", `expected the join frame ${t}, got ${JSON.stringify(frame.t.slice(0, 32))}`);
}

function readError(fields: Fields): ErrorShape {
  const error = readFields(fields.raw("error"), "a refusal");
  const text = (name: string): string => {
    const value = error.raw(name);
    if (typeof value !== "string" || value.length > MAX_ERROR_CHARACTERS)
      throw new KinError("BAD_REQUEST", `a refusal's ${name} is a text of at most ${MAX_ERROR_CHARACTERS} characters`);
    return value;
  };
  return error.has("hint")
    ? { code: text("code"), message: text("message"), hint: text("hint") }
    : { code: text("code"), message: text("message") };
}

/** What a stranger may make us show. */
const MAX_ERROR_CHARACTERS = 1000;

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new KinError("CANCELLED", String(reason));
}

function readEpoch(value: unknown): { epoch: EpochId; sealed: SealedEpochKey } {
  const [epoch, ...sealed] = Array.isArray(value) ? value : [];
  return { epoch: idOf(epoch), sealed: parseSealedEpochKey(sealed) };
}

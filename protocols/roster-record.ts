/**
 * Roster records (§4; R1, R3, R5, R7, R10): every act that changes who is in the mesh, signed, naming the records that its
 * author knew. They travel as events; `roster.ts` folds any set of them to the membership.
 *
 *   genesis = { v: 1, type: "genesis", name, founder, personKey, device, cert, policy, recovery?, hlc, n }      sealed by the person key, kind "genesis"
 *   record  = { v: 1, mesh, type, author: [person, device], parents: [record ids], hlc, n, …fields of its type }  sealed by the device's key, kind "roster"
 *
 *   record id = leaf hash of the bytes (R18);   mesh id = record id of the genesis
 *   person id = SHA-256("kin/person/1" ‖ record id of the admission, for the founder of the genesis) (R1)
 *
 *   device = { key, name, sealing }
 *   cert   = sealed by the person key, kind "certificate": { v: 1, scope, device, sealing, n };
 *            scope = mesh id, in a genesis (whose id is not known yet) its n
 *   cuts   = [[log, seq, event id]…]: the last event of each log that still counts (R5)
 *   word   = sealed by the person key, kind "certificate": { v: 1, mesh, device, logs, n }: these logs of his device go on after a fork (R2)
 *   proof  = Ed25519 by the ticket's key over "kin/join/1" ‖ canonical [mesh, invite, person key, device, sealing, admitting device, challenge] (R10)
 *
 * `n` is 16 random bytes, `parents` are sorted and unique, `hlc` is never used for order (R13), only against an invite's expiry.
 * Versions grow by `v`: a reader refuses a version, type or field that it does not know, and what builds on it waits until that
 * node is updated. Nothing is ever guessed.
 */
import { isAdmissibleKey, sha256, verify } from "#crypto";
import { compareBytes, concat, decode, encode, equal, utf8Bytes } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import { parseSealedEpochKey, sealedEpochKeyValue, type SealedEpochKey } from "./epoch.ts";
import { KinError } from "./errors.ts";
import { readFields, type Fields } from "./fields.ts";
import {
  idBytes,
  idOf,
  type DeviceId,
  type EpochId,
  type EventId,
  type LogId,
  type MeshId,
  type PersonId,
  type RecordId,
} from "./ids.ts";
import { MAX_EVENT_BODY_BYTES, MAX_TICKET_USES } from "./limits.ts";
import type { Role } from "./membership.ts";
import { asMap, isSealed, leafHash, parseSealed, sealedValue, sealOne, type Sealed } from "./signature.ts";

/** A record must fit into the event that carries it, with its seal and event framing. */
export const MAX_RECORD_BYTES = MAX_EVENT_BODY_BYTES - 1024;
/** More concurrent heads than this are merged by naming the first ones; the next record names the rest. */
export const MAX_PARENTS = 64;
/** Logs that one removal cuts: 16 open logs a device (R2), a few devices. */
export const MAX_CUTS = 1024;
/** Logs that one record allows: all that a device may have open (R2). */
export const MAX_ALLOWED_LOGS = 16;
/** Devices among which one invite shares its uses. */
export const MAX_SHARES = 16;
/** Devices that one epoch record seals its key to (about 120 bytes each). */
export const MAX_EPOCH_RECIPIENTS = 2000;
/** Devices that one rekeying lists. */
export const MAX_REKEYED_DEVICES = 16;

const ROLES = ["admin", "member"] as const;
const POLICIES = ["reads-all", "from-epoch"] as const;
/** What a newcomer may read: all that was written, or what is written from his admission on (R6). */
export type ReadPolicy = (typeof POLICIES)[number];

export interface NewDevice {
  /** Ed25519: also its peer id. */
  id: DeviceId;
  /** F7. */
  name: string;
  /** X25519, 32 bytes. */
  sealingKey: Uint8Array;
}

/** The last event of a log that still counts (R5). */
export interface LogCut {
  log: LogId;
  seq: number;
  id: EventId;
}

/** What a record says, by its type. */
export type RosterBody =
  | {
      type: "genesis";
      /** Of the mesh. */
      name: string;
      founder: string;
      personKey: Uint8Array;
      device: NewDevice;
      cert: Sealed;
      policy: ReadPolicy;
      recovery?: Uint8Array | undefined;
    }
  | {
      type: "admit";
      name: string;
      personKey: Uint8Array;
      role: Role;
      device: NewDevice;
      cert: Sealed;
      invite: RecordId;
      /** Which use of the admitting device's share, from 0. */
      use: number;
      /** 32 bytes, drawn by the admitting device. */
      challenge: Uint8Array;
      /** 64 bytes, by the ticket's key. */
      proof: Uint8Array;
      recovery?: Uint8Array | undefined;
    }
  | { type: "remove"; person: PersonId; cuts: LogCut[] }
  | { type: "leave"; cuts: LogCut[] }
  | { type: "role"; person: PersonId; role: Role }
  | { type: "device-added"; person: PersonId; device: NewDevice; cert: Sealed }
  | { type: "device-removed"; device: DeviceId; cuts: LogCut[] }
  /** After a log of the device was written twice (R2): these others of its logs count whole. */
  | {
      type: "log-allowed";
      device: DeviceId;
      logs: LogId[];
      /** The person key's, once for a device. Absent: an admin is the author. */
      word?: Sealed | undefined;
    }
  | { type: "sealing-key"; sealing: Uint8Array }
  | {
      type: "person-rekeyed";
      person: PersonId;
      personKey: Uint8Array;
      /** The devices that stay or come; every other one of the person ends. */
      devices: { device: NewDevice; cert: Sealed }[];
      cuts: LogCut[];
      /** By the recovery key, kind "certificate": { v: 1, mesh, person, personKey, devices: [keys], n }. Absent: an admin is the author. */
      recovery?: Sealed | undefined;
    }
  | { type: "rename"; person: PersonId; name: string }
  | {
      type: "invite-opened";
      /** Ed25519 public key derived from the ticket's seed. */
      key: Uint8Array;
      /** Suggested. */
      name: string | null;
      role: Role;
      expires: number;
      /** Uses per admitting device (R10). */
      shares: { device: DeviceId; uses: number }[];
    }
  | { type: "invite-closed"; invite: RecordId }
  | { type: "epoch"; after: EpochId[]; keyHash: Uint8Array; keys: SealedEpochKey[] };

export type RosterType = RosterBody["type"];
export type BodyOf<T extends RosterType> = Extract<RosterBody, { type: T }>;

/** A record whose shape, signature and new keys have been checked; only {@link parseRosterRecord} and the makers make one. */
export type RosterRecord<T extends RosterType = RosterType> = RecordOf<BodyOf<T>>;

export interface RecordOf<Body extends RosterBody> {
  id: RecordId;
  mesh: MeshId;
  /** Of a genesis: the founder and his first device. */
  author: { person: PersonId; device: DeviceId };
  parents: RecordId[];
  /** 8 bytes (F1). */
  hlc: Uint8Array;
  body: Body;
  sealed: Sealed;
}

export function isRecordOf<T extends RosterType>(
  record: RosterRecord,
  type: T,
): record is RosterRecord & RosterRecord<T> {
  return record.body.type === type;
}

/** Milliseconds of a record's stamp. */
export function stampMs(hlc: Uint8Array): number {
  let ms = 0;
  for (let i = 0; i < 6; i++) ms = ms * 256 + hlc[i]!;
  return ms;
}

/** 8 bytes for `ms` and `counter` (F1). */
export function stampOf(ms: number, counter = 0): Uint8Array {
  const out = new Uint8Array(8);
  const view = new DataView(out.buffer);
  view.setUint32(0, Math.floor(ms / 0x10000));
  view.setUint16(4, ms % 0x10000);
  view.setUint16(6, counter);
  return out;
}

const PERSON_DOMAIN = utf8Bytes("kin/person/1");

/** The person that a genesis or an admission makes (R1). */
export function personIdOf(record: RecordId): PersonId {
  return idOf(sha256(PERSON_DOMAIN, idBytes(record)));
}

export function recordIdOf(sealed: Sealed, kind: "genesis" | "roster"): RecordId {
  return idOf(leafHash(kind, sealed.bytes));
}

// ── making ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Who writes a record and what he knew. */
export interface RecordAuthor {
  mesh: MeshId;
  person: PersonId;
  device: SigningKey;
  /** `membership.heads`. */
  parents: RecordId[];
  /** 8 bytes (F1). */
  hlc: Uint8Array;
  /** 16 random bytes. */
  n: Uint8Array;
}

/** Makes and checks a record. @throws KinError BAD_REQUEST, TOO_LARGE if a field is out of shape. */
export function makeRecord<T extends Exclude<RosterType, "genesis">>(
  by: RecordAuthor,
  body: BodyOf<T>,
): RosterRecord<T> {
  const parents = [...new Set(by.parents)].toSorted().slice(0, MAX_PARENTS);
  const bytes = encode({
    v: 1,
    mesh: idBytes(by.mesh),
    author: [idBytes(by.person), by.device.publicKey],
    parents: parents.map(idBytes),
    hlc: by.hlc,
    n: by.n,
    ...fieldsOf(body),
  });
  return parseRosterRecord(sealOne(by.device, "roster", bytes)) as RosterRecord<T>;
}

export function makeGenesis(
  founder: {
    mesh: string;
    name: string;
    personKey: SigningKey;
    device: NewDevice;
    policy: ReadPolicy;
    recovery?: Uint8Array | undefined;
  },
  stamp: { hlc: Uint8Array; /** 16 random bytes. */ n: Uint8Array; /** 16 more. */ certificateN: Uint8Array },
): RosterRecord<"genesis"> {
  const cert = makeCertificate(founder.personKey, stamp.n, founder.device, stamp.certificateN);
  const body: BodyOf<"genesis"> = {
    type: "genesis",
    name: founder.mesh,
    founder: founder.name,
    personKey: founder.personKey.publicKey,
    device: founder.device,
    cert,
    policy: founder.policy,
    recovery: founder.recovery,
  };
  const bytes = encode({ v: 1, hlc: stamp.hlc, n: stamp.n, ...fieldsOf(body) });
  return parseRosterRecord(sealOne(founder.personKey, "genesis", bytes)) as RosterRecord<"genesis">;
}

/** The person key's word that a device and its sealing key are his. `scope`: the mesh id's bytes, in a genesis its n. */
export function makeCertificate(
  personKey: SigningKey,
  scope: Uint8Array,
  device: { id: DeviceId; sealingKey: Uint8Array },
  n: Uint8Array,
): Sealed {
  const bytes = encode({ v: 1, scope, device: idBytes(device.id), sealing: device.sealingKey, n });
  return sealOne(personKey, "certificate", bytes);
}

/** True if `cert` is `personKey`'s certificate of this device in this scope. */
export function isCertified(
  cert: Sealed,
  personKey: Uint8Array,
  scope: Uint8Array,
  device: { id: DeviceId; sealingKey: Uint8Array },
): boolean {
  if (!equal(cert.seal.key, personKey)) return false;
  const fields = readFields(decode(cert.bytes), "a certificate");
  const same =
    fields.integer("v", 1, 1) === 1 &&
    sameBytes(fields.raw("scope"), scope) &&
    fields.id("device") === device.id &&
    sameBytes(fields.raw("sealing"), device.sealingKey) &&
    fields.bytes("n", 16).length === 16;
  fields.end();
  return same && isSealed("certificate", cert.bytes, cert.seal);
}

/** The recovery key's word for a rekeying (R1). */
export function makeRecovery(
  recoveryKey: SigningKey,
  mesh: MeshId,
  rekeying: { person: PersonId; personKey: Uint8Array; devices: DeviceId[] },
  n: Uint8Array,
): Sealed {
  return sealOne(recoveryKey, "certificate", encode({ ...recoveryFields(mesh, rekeying), n }));
}

/** True if `recovery` is `recoveryKey`'s word for exactly this rekeying. */
export function isRecovery(recovery: Sealed, recoveryKey: Uint8Array, record: RosterRecord<"person-rekeyed">): boolean {
  const { person, personKey, devices } = record.body;
  const wanted = recoveryFields(record.mesh, { person, personKey, devices: devices.map((entry) => entry.device.id) });
  const { n, ...said } = asMap(decode(recovery.bytes), "a recovery");
  return (
    n instanceof Uint8Array &&
    n.length === 16 &&
    equal(encode(said), encode(wanted)) &&
    equal(recovery.seal.key, recoveryKey) &&
    isSealed("certificate", recovery.bytes, recovery.seal)
  );
}

function recoveryFields(mesh: MeshId, rekeying: { person: PersonId; personKey: Uint8Array; devices: DeviceId[] }) {
  const { person, personKey, devices } = rekeying;
  return { v: 1, mesh: idBytes(mesh), person: idBytes(person), personKey, devices: devices.map(idBytes) };
}

/** The person key's word that these logs of his device go on after a fork (R2). */
export function makeLogWord(
  personKey: SigningKey,
  mesh: MeshId,
  allowed: { device: DeviceId; logs: LogId[] },
  n: Uint8Array,
): Sealed {
  return sealOne(personKey, "certificate", encode({ ...logWordFields(mesh, allowed), n }));
}

/** True if the record's word is `personKey`'s for exactly these logs. */
export function isLogWord(record: RosterRecord<"log-allowed">, personKey: Uint8Array): boolean {
  const { word } = record.body;
  if (word === undefined || !equal(word.seal.key, personKey)) return false;
  const { n, ...said } = asMap(decode(word.bytes), "a word for logs");
  return (
    n instanceof Uint8Array &&
    n.length === 16 &&
    equal(encode(said), encode(logWordFields(record.mesh, record.body))) &&
    isSealed("certificate", word.bytes, word.seal)
  );
}

function logWordFields(mesh: MeshId, { device, logs }: { device: DeviceId; logs: LogId[] }) {
  return { v: 1, mesh: idBytes(mesh), device: idBytes(device), logs: logs.toSorted().map(idBytes) };
}

const PROOF_DOMAIN = utf8Bytes("kin/join/1");

/** What the ticket's key signs, so that a proof is worth nothing to anybody else, anywhere else, or twice (R10). */
export interface ProofSubject {
  mesh: MeshId;
  invite: RecordId;
  personKey: Uint8Array;
  device: DeviceId;
  sealingKey: Uint8Array;
  admitting: DeviceId;
  challenge: Uint8Array;
}

export function makeProof(ticketKey: SigningKey, subject: ProofSubject): Uint8Array {
  return ticketKey.sign(proofMessage(subject));
}

export function isProof(ticketKey: Uint8Array, proof: Uint8Array, subject: ProofSubject): boolean {
  return verify(ticketKey, proofMessage(subject), proof);
}

function proofMessage(subject: ProofSubject): Uint8Array {
  const { mesh, invite, personKey, device, sealingKey, admitting, challenge } = subject;
  return concat(
    PROOF_DOMAIN,
    encode([idBytes(mesh), idBytes(invite), personKey, idBytes(device), sealingKey, idBytes(admitting), challenge]),
  );
}

/** The subject of the proof that an admission holds. */
export function proofSubjectOf(record: RosterRecord<"admit">): ProofSubject {
  const { invite, personKey, device, challenge } = record.body;
  return {
    mesh: record.mesh,
    invite,
    personKey,
    device: device.id,
    sealingKey: device.sealingKey,
    admitting: record.author.device,
    challenge,
  };
}

// ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Checks everything about a record that can be known from it alone: canonical bytes, shape, signature by the key that it
 * names, certificates by keys that are in it, and that each new key is one (R15). Whether its author had the right is the fold's question.
 * @throws KinError BAD_REQUEST, TOO_LARGE, UNSUPPORTED_VERSION, BAD_SIGNATURE
 */
export function parseRosterRecord(sealed: Sealed): RosterRecord {
  if (sealed.bytes.length > MAX_RECORD_BYTES)
    throw new KinError("TOO_LARGE", `a roster record of ${sealed.bytes.length} bytes: at most ${MAX_RECORD_BYTES}`);
  const fields = readFields(decode(sealed.bytes), "a roster record");
  const version = fields.raw("v");
  if (version !== 1)
    throw new KinError(
      "UNSUPPORTED_VERSION",
      `a roster record of version ${JSON.stringify(version)}: this kin reads version 1`,
    );
  const type = fields.raw("type");
  if (typeof type !== "string" || !Object.hasOwn(READERS, type))
    throw new KinError("BAD_REQUEST", `a roster record of type ${JSON.stringify(type)}: this kin does not know it`);
  const body = READERS[type as RosterType](fields);
  const hlc = fields.bytes("hlc", 8);
  const n = fields.bytes("n", 16);
  const record = body.type === "genesis" ? readGenesis(sealed, body, hlc, n) : readRecord(sealed, body, hlc, fields);
  fields.end();
  return record;
}

/** As {@link parseRosterRecord}, from the CBOR value of `sealedValue`. */
export function parseRosterValue(value: unknown): RosterRecord {
  return parseRosterRecord(parseSealed(value));
}

function readGenesis(sealed: Sealed, body: BodyOf<"genesis">, hlc: Uint8Array, n: Uint8Array): RosterRecord {
  checkSignature(sealed, "genesis", body.personKey);
  checkKeys([body.personKey, idBytes(body.device.id), ...(body.recovery === undefined ? [] : [body.recovery])]);
  checkCertificate(body.cert, body.personKey, n, body.device);
  const id = recordIdOf(sealed, "genesis");
  const author = { person: personIdOf(id), device: body.device.id };
  return { id, mesh: idOf(idBytes(id)), author, parents: [], hlc, body, sealed };
}

function readRecord(sealed: Sealed, body: RosterBody, hlc: Uint8Array, fields: Fields): RosterRecord {
  const mesh = fields.id<"mesh">("mesh");
  const who = fields.list("author", 2, 2, (value) => idOf(value));
  const author = { person: who[0] as PersonId, device: who[1] as DeviceId };
  const parents = fields.list("parents", 1, MAX_PARENTS, (value) => idOf<"record">(value));
  checkSorted(parents, "parents");
  checkSignature(sealed, "roster", idBytes(author.device));
  checkNewKeys(mesh, body);
  return { id: recordIdOf(sealed, "roster"), mesh, author, parents, hlc, body, sealed };
}

/** Keys and certificates that the record itself brings. */
function checkNewKeys(mesh: MeshId, body: RosterBody): void {
  const scope = idBytes(mesh);
  switch (body.type) {
    case "admit":
      checkKeys([body.personKey, idBytes(body.device.id), ...(body.recovery === undefined ? [] : [body.recovery])]);
      checkCertificate(body.cert, body.personKey, scope, body.device);
      return;
    case "device-added":
      checkKeys([idBytes(body.device.id)]);
      return;
    case "person-rekeyed":
      checkKeys([body.personKey, ...body.devices.map((entry) => idBytes(entry.device.id))]);
      for (const { device, cert } of body.devices) checkCertificate(cert, body.personKey, scope, device);
      return;
    case "invite-opened":
      checkKeys([body.key]);
      return;
    default:
      return;
  }
}

function checkKeys(keys: Uint8Array[]): void {
  for (const key of keys)
    if (!isAdmissibleKey(key))
      throw new KinError("BAD_REQUEST", "a roster record brings a key that is not an Ed25519 key of prime order (R15)");
}

function checkSignature(sealed: Sealed, kind: "genesis" | "roster", key: Uint8Array): void {
  if (!equal(sealed.seal.key, key))
    throw new KinError("BAD_SIGNATURE", "a roster record is signed by another key than the one it names");
  if (!isSealed(kind, sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", "a roster record's signature does not match");
}

function checkCertificate(cert: Sealed, personKey: Uint8Array, scope: Uint8Array, device: NewDevice): void {
  if (!isCertified(cert, personKey, scope, device))
    throw new KinError("BAD_SIGNATURE", `the certificate of the device ${device.name} is not its person key's`);
}

function checkSorted(ids: string[], what: string): void {
  for (let i = 1; i < ids.length; i++)
    if (ids[i - 1]! >= ids[i]!) throw new KinError("BAD_REQUEST", `a roster record: ${what} are sorted and unique`);
}

function sameBytes(value: unknown, wanted: Uint8Array): boolean {
  return value instanceof Uint8Array && equal(value, wanted);
}

// ── fields of each type ─────────────────────────────────────────────────────────────────────────────────────────────

const READERS: { [T in RosterType]: (fields: Fields) => BodyOf<T> } = {
  genesis: (f) => ({
    type: "genesis",
    name: f.name("name"),
    founder: f.name("founder"),
    personKey: f.bytes("personKey", 32),
    device: readDevice(f.raw("device")),
    cert: parseSealed(f.raw("cert")),
    policy: f.oneOf("policy", POLICIES),
    ...(f.has("recovery") && { recovery: f.bytes("recovery", 32) }),
  }),
  admit: (f) => ({
    type: "admit",
    name: f.name("name"),
    personKey: f.bytes("personKey", 32),
    role: f.oneOf("role", ROLES),
    device: readDevice(f.raw("device")),
    cert: parseSealed(f.raw("cert")),
    invite: f.id("invite"),
    use: f.integer("use", 0, MAX_TICKET_USES - 1),
    challenge: f.bytes("challenge", 32),
    proof: f.bytes("proof", 64),
    ...(f.has("recovery") && { recovery: f.bytes("recovery", 32) }),
  }),
  remove: (f) => ({ type: "remove", person: f.id("person"), cuts: readCuts(f) }),
  leave: (f) => ({ type: "leave", cuts: readCuts(f) }),
  role: (f) => ({ type: "role", person: f.id("person"), role: f.oneOf("role", ROLES) }),
  "device-added": (f) => ({
    type: "device-added",
    person: f.id("person"),
    device: readDevice(f.raw("device")),
    cert: parseSealed(f.raw("cert")),
  }),
  "device-removed": (f) => ({ type: "device-removed", device: f.id("device"), cuts: readCuts(f) }),
  "log-allowed": (f) => {
    const logs = f.list("logs", 1, MAX_ALLOWED_LOGS, (value) => idOf<"log">(value));
    checkSorted(logs, "logs");
    const word = f.has("word") && { word: parseSealed(f.raw("word")) };
    return { type: "log-allowed", device: f.id("device"), logs, ...word };
  },
  "sealing-key": (f) => ({ type: "sealing-key", sealing: f.bytes("sealing", 32) }),
  "person-rekeyed": (f) => ({
    type: "person-rekeyed",
    person: f.id("person"),
    personKey: f.bytes("personKey", 32),
    devices: f.list("devices", 1, MAX_REKEYED_DEVICES, readCertified),
    cuts: readCuts(f),
    ...(f.has("recovery") && { recovery: parseSealed(f.raw("recovery")) }),
  }),
  rename: (f) => ({ type: "rename", person: f.id("person"), name: f.name("name") }),
  "invite-opened": (f) => ({
    type: "invite-opened",
    key: f.bytes("key", 32),
    name: f.nameOrNull("name"),
    role: f.oneOf("role", ROLES),
    expires: f.integer("expires", 0, Number.MAX_SAFE_INTEGER),
    shares: readShares(f),
  }),
  "invite-closed": (f) => ({ type: "invite-closed", invite: f.id("invite") }),
  epoch: (f) => {
    const after = f.list("after", 0, MAX_PARENTS, (value) => idOf<"epoch">(value));
    checkSorted(after, "an epoch's predecessors");
    const keys = f.list("keys", 1, MAX_EPOCH_RECIPIENTS, parseSealedEpochKey);
    checkSorted(
      keys.map((key) => key.device),
      "an epoch's recipients",
    );
    return { type: "epoch", after, keyHash: f.bytes("keyHash", 32), keys };
  },
};

/** The fields of a body as they are encoded; the inverse of READERS. */
function fieldsOf(body: RosterBody): Record<string, unknown> {
  switch (body.type) {
    case "genesis":
    case "admit":
    case "device-added":
      return {
        ...body,
        device: deviceValue(body.device),
        cert: sealedValue(body.cert),
        ...("invite" in body && { invite: idBytes(body.invite) }),
        ...("person" in body && { person: idBytes(body.person) }),
      };
    case "remove":
      return { type: body.type, person: idBytes(body.person), cuts: cutsValue(body.cuts) };
    case "leave":
      return { type: body.type, cuts: cutsValue(body.cuts) };
    case "role":
    case "rename":
      return { ...body, person: idBytes(body.person) };
    case "device-removed":
      return { type: body.type, device: idBytes(body.device), cuts: cutsValue(body.cuts) };
    case "log-allowed":
      return {
        type: body.type,
        device: idBytes(body.device),
        logs: body.logs.toSorted().map(idBytes),
        word: body.word === undefined ? undefined : sealedValue(body.word),
      };
    case "sealing-key":
      return { ...body };
    case "person-rekeyed":
      return {
        ...body,
        person: idBytes(body.person),
        devices: body.devices.map(({ device, cert }) => ({ device: deviceValue(device), cert: sealedValue(cert) })),
        cuts: cutsValue(body.cuts),
        recovery: body.recovery === undefined ? undefined : sealedValue(body.recovery),
      };
    case "invite-opened":
      return {
        ...body,
        shares: body.shares
          .toSorted((a, b) => (a.device < b.device ? -1 : 1))
          .map(({ device, uses }) => [idBytes(device), uses]),
      };
    case "invite-closed":
      return { type: body.type, invite: idBytes(body.invite) };
    case "epoch":
      return {
        type: body.type,
        after: body.after.toSorted().map(idBytes),
        keyHash: body.keyHash,
        keys: body.keys.toSorted((a, b) => (a.device < b.device ? -1 : 1)).map(sealedEpochKeyValue),
      };
  }
}

function deviceValue(device: NewDevice) {
  return { key: idBytes(device.id), name: device.name, sealing: device.sealingKey };
}

export function readDevice(value: unknown): NewDevice {
  const fields = readFields(value, "a device");
  const device = {
    id: fields.id<"device">("key"),
    name: fields.name("name"),
    sealingKey: fields.bytes("sealing", 32),
  };
  fields.end();
  return device;
}

function readCertified(value: unknown): { device: NewDevice; cert: Sealed } {
  const fields = readFields(value, "a certified device");
  const entry = { device: readDevice(fields.raw("device")), cert: parseSealed(fields.raw("cert")) };
  fields.end();
  return entry;
}

function cutsValue(cuts: LogCut[]) {
  return cuts
    .toSorted((a, b) => compareBytes(idBytes(a.log), idBytes(b.log)))
    .map(({ log, seq, id }) => [idBytes(log), seq, idBytes(id)]);
}

function readCuts(fields: Fields): LogCut[] {
  const cuts = fields.list("cuts", 0, MAX_CUTS, (value): LogCut => {
    const [log, seq, id] = Array.isArray(value) && value.length === 3 ? value : [];
    if (typeof seq !== "number" || !Number.isSafeInteger(seq) || seq < 0)
      throw new KinError("BAD_REQUEST", "a cut is [log, seq ≥ 0, event id]");
    return { log: idOf(log), seq, id: idOf(id) };
  });
  checkSorted(
    cuts.map((cut) => cut.log),
    "cuts",
  );
  return cuts;
}

function readShares(fields: Fields): { device: DeviceId; uses: number }[] {
  const shares = fields.list("shares", 1, MAX_SHARES, (value) => {
    const [device, uses] = Array.isArray(value) && value.length === 2 ? value : [];
    if (typeof uses !== "number" || !Number.isSafeInteger(uses) || uses < 1 || uses > MAX_TICKET_USES)
      throw new KinError("BAD_REQUEST", `a share of an invite is [device, 1 to ${MAX_TICKET_USES} uses]`);
    return { device: idOf<"device">(device), uses };
  });
  checkSorted(
    shares.map((share) => share.device),
    "shares",
  );
  const total = shares.reduce((sum, share) => sum + share.uses, 0);
  if (total > MAX_TICKET_USES)
    throw new KinError("BAD_REQUEST", `an invite has at most ${MAX_TICKET_USES} uses, this one ${total}`);
  return shares;
}

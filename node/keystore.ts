/**
 * The private keys of this machine (§4, R1, R7, R17), in files of mode 0600:
 *
 *   keys/master.json                     only with a passphrase: a random master key, wrapped by scrypt + AES-256-GCM
 *   keys/{person,device,sealing}.json    Ed25519 (and the next, until the mesh has it), Ed25519, X25519 (newest first)
 *   keys/<mesh>/agents/<agent>.json      one random key a generation
 *   keys/<mesh>/epochs/<epoch>.json      the mesh's read keys
 *
 * A key file is `{v, purpose, public?, keys: [{key | nonce + sealed, …}]}`. Without a passphrase `key` is raw hex; with one
 * each key is sealed under the master key with the purpose, and what stands beside it, as additional data: a file that was
 * swapped for another, or for a raw one, does not open. Setting and removing a passphrase builds a whole new folder and
 * renames it, so that a crash leaves the old folder or the new one.
 */
import { randomBytes, scryptSync } from "node:crypto";
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { aeadOpen, aeadSeal, sealingKeyFromSeed, signingKeyFromSeed } from "#crypto";
import { diskError, syncFolder, writeAtomic } from "./atomic-file.ts";
import { equal, fromHex, toHex, utf8Bytes } from "../protocols/bytes.ts";
import type { SealingKey, SigningKey } from "../protocols/crypto/keys.ts";
import { KinError } from "../protocols/errors.ts";
import type { EpochId, MeshId } from "../protocols/ids.ts";
import { NAME_PATTERN } from "../protocols/limits.ts";

const FILE_VERSION = 1;
/** 340 ms and 128 MiB a guess on the machine it was measured on; Node's default `maxmem` refuses it. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 };
const KEY_BYTES = 32;
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
/** A key file is small; anything else is not ours. */
const MAX_FILE_BYTES = 1024 * 1024;

export interface AgentKeyPair {
  /** From 1. */
  generation: number;
  key: SigningKey;
}

export interface SealingKeyEntry extends SealingKey {
  /** Wall ms; old ones are deleted after the mail expiry (R7). */
  madeAt: number;
}

export interface Keystore {
  readonly isSealed: boolean;
  /** Signs by whichever key is the person's when it is asked. */
  readonly person: SigningKey;
  /** Makes the person's next key, durable when it returns; it counts from {@link Keystore.adoptPersonKey} on (R1). */
  nextPersonKey(): SigningKey;
  /** The current or the next key is the person's now, whichever has this public key; the other is deleted. */
  adoptPersonKey(publicKey: Uint8Array): void;
  readonly device: SigningKey;
  /** The device key's seed: libp2p makes its peer id of it. */
  readonly deviceSeed: Uint8Array;
  /** Newest first. */
  sealingKeys(): readonly SealingKeyEntry[];
  /** Makes a new sealing key, durable when it returns; the older stay until {@link Keystore.dropSealingKeys}. */
  rotateSealingKey(now: number): SealingKeyEntry;
  /** Deletes all that a newer one has replaced before `replacedBefore`. Says how many. */
  dropSealingKeys(replacedBefore: number): number;
  /** The newest key of an agent in a mesh; made, durably, if there is none or the last one has ended (R17). */
  agentKey(mesh: MeshId, agent: string): AgentKeyPair;
  /** A key of the next generation; the older private key is deleted. */
  rotateAgentKey(mesh: MeshId, agent: string): AgentKeyPair;
  /** Deletes the agent's private key; the generation is remembered. A later agent of that name gets a new key. */
  endAgent(mesh: MeshId, agent: string): void;
  epochKey(mesh: MeshId, epoch: EpochId): Uint8Array | undefined;
  /** Durable when it returns: file and folder are synced. */
  putEpochKey(mesh: MeshId, epoch: EpochId, key: Uint8Array): void;
}

export interface KeystoreOptions {
  passphrase?: string | undefined;
  /** Wall ms, for the first sealing key. */
  now?: number;
}

interface KeyEntry {
  /** Raw, 32 bytes; absent for an agent that has ended. */
  key?: Uint8Array;
  generation?: number;
  madeAt?: number;
}

/** Opens the keystore in `folder`; makes it, with new keys, only where nothing is. @throws KinError of the KEY_FILE_ and PASSPHRASE_ codes, DISK_FULL */
export function openKeystore(folder: string, options: KeystoreOptions = {}): Keystore {
  recover(folder);
  if (!existsSync(folder)) createKeystore(folder, options);
  const master = openMaster(folder, options.passphrase);
  let persons = readEntries(folder, "person", master).map(({ key }) => key!);
  const putPersons = (keys: Uint8Array[]): void => {
    writeKeyFile(
      folder,
      "person",
      keys.map((key) => ({ key })),
      master,
    );
    persons = keys;
    person = signingKeyFromSeed(keys[0]!);
  };
  let person = signingKeyFromSeed(persons[0]!);
  const device = readKey(folder, "device", master);
  let sealing = readEntries(folder, "sealing", master).map(sealingEntry);
  const agents = new Map<string, KeyEntry[]>();
  const epochs = new Map<string, Uint8Array | undefined>();

  const agentEntries = (mesh: MeshId, agent: string): KeyEntry[] => {
    const purpose = agentPurpose(mesh, agent);
    let entries = agents.get(purpose);
    if (entries === undefined) {
      entries = isKeyFile(folder, purpose) ? readEntries(folder, purpose, master) : [];
      agents.set(purpose, entries);
    }
    return entries;
  };
  const putAgent = (mesh: MeshId, agent: string, entry: KeyEntry): void => {
    const purpose = agentPurpose(mesh, agent);
    writeKeyFile(folder, purpose, [entry], master);
    agents.set(purpose, [entry]);
  };
  const rotateAgentKey = (mesh: MeshId, agent: string): AgentKeyPair => {
    const key = new Uint8Array(randomBytes(KEY_BYTES));
    const generation = (agentEntries(mesh, agent)[0]?.generation ?? 0) + 1;
    putAgent(mesh, agent, { key, generation });
    return { generation, key: signingKeyFromSeed(key) };
  };
  const putSealing = (entries: SealingKeyEntry[]): void => {
    writeKeyFile(
      folder,
      "sealing",
      entries.map(({ privateKey, madeAt }) => ({ key: privateKey, madeAt })),
      master,
    );
    sealing = entries;
  };

  return {
    isSealed: master !== null,
    person: {
      get publicKey() {
        return person.publicKey;
      },
      sign: (message) => person.sign(message),
    },
    nextPersonKey: () => {
      const next = new Uint8Array(randomBytes(KEY_BYTES));
      putPersons([persons[0]!, next]);
      return signingKeyFromSeed(next);
    },
    adoptPersonKey: (publicKey) => {
      const adopted = persons.find((key) => equal(signingKeyFromSeed(key).publicKey, publicKey));
      if (adopted !== undefined && persons.length > 1) putPersons([adopted]);
    },
    device: signingKeyFromSeed(device),
    deviceSeed: device,
    sealingKeys: () => sealing,
    rotateSealingKey: (now) => {
      const entry = sealingEntry({ key: new Uint8Array(randomBytes(KEY_BYTES)), madeAt: now });
      putSealing([entry, ...sealing]);
      return entry;
    },
    dropSealingKeys: (replacedBefore) => {
      const kept = sealing.filter((_, index) => index === 0 || sealing[index - 1]!.madeAt >= replacedBefore);
      const dropped = sealing.length - kept.length;
      if (dropped > 0) putSealing(kept);
      return dropped;
    },
    agentKey: (mesh, agent) => {
      const entry = agentEntries(mesh, agent)[0];
      if (entry?.key === undefined) return rotateAgentKey(mesh, agent);
      return { generation: entry.generation ?? 1, key: signingKeyFromSeed(entry.key) };
    },
    rotateAgentKey,
    endAgent: (mesh, agent) => {
      const entry = agentEntries(mesh, agent)[0];
      if (entry?.key !== undefined) putAgent(mesh, agent, { generation: entry.generation ?? 1 });
    },
    epochKey: (mesh, epoch) => {
      const purpose = epochPurpose(mesh, epoch);
      if (!epochs.has(purpose) && isKeyFile(folder, purpose)) epochs.set(purpose, readKey(folder, purpose, master));
      return epochs.get(purpose);
    },
    putEpochKey: (mesh, epoch, key) => {
      if (key.length !== KEY_BYTES)
        throw new KinError("BAD_REQUEST", `an epoch key is ${KEY_BYTES} bytes, got ${key.length}`);
      const purpose = epochPurpose(mesh, epoch);
      writeKeyFile(folder, purpose, [{ key }], master);
      epochs.set(purpose, Uint8Array.from(key));
    },
  };
}

function agentPurpose(mesh: MeshId, agent: string): string {
  if (!NAME_PATTERN.test(agent)) throw new KinError("BAD_REQUEST", `"${agent}" is not an agent's name`);
  return `${meshName(mesh)}/agents/${agent}`;
}

function epochPurpose(mesh: MeshId, epoch: EpochId): string {
  if (!/^[0-9a-f]{64}$/.test(epoch)) throw new KinError("BAD_REQUEST", `"${epoch}" is not an epoch id`);
  return `${meshName(mesh)}/epochs/${epoch}`;
}

/** Ids become file names, so they are checked even though they are branded. */
function meshName(mesh: MeshId): string {
  if (!/^[0-9a-f]{64}$/.test(mesh)) throw new KinError("BAD_REQUEST", `"${mesh}" is not a mesh id`);
  return mesh;
}

function sealingEntry(entry: KeyEntry): SealingKeyEntry {
  const { privateKey, publicKey } = sealingKeyFromSeed(entry.key!);
  return { privateKey, publicKey, madeAt: entry.madeAt ?? 0 };
}

// — The passphrase ————————————————————————————————————————————————————————————————————————————————————————————————

export function isSealedKeystore(folder: string): boolean {
  return existsSync(join(folder, "master.json"));
}

export function hasKeystore(folder: string): boolean {
  return existsSync(folder) || existsSync(newFolder(folder));
}

/** This device's public key, without any passphrase; null if there is no keystore yet. */
export function readDevicePublicKey(folder: string): Uint8Array | null {
  if (!isKeyFile(folder, "device")) return null;
  const { public: publicKey } = parseKeyFile(folder, "device");
  return publicKey;
}

/**
 * Seals all keys under `next`, or opens them to raw files if it is null; the caller holds the folder's lock.
 * @throws KinError PASSPHRASE_NEEDED, PASSPHRASE_WRONG and those of {@link openKeystore}
 */
export function changePassphrase(folder: string, current: string | undefined, next: string | null): void {
  recover(folder);
  const master = openMaster(folder, current);
  const fresh = newFolder(folder);
  mkdirSync(fresh, { mode: 0o700 });
  const nextMaster = next === null ? null : createMaster(fresh, next);
  for (const purpose of purposes(folder))
    writeKeyFile(fresh, purpose, readEntries(folder, purpose, master), nextMaster);
  syncFolder(fresh);
  renameSync(folder, oldFolder(folder));
  renameSync(fresh, folder);
  syncFolder(dirname(folder));
  rmSync(oldFolder(folder), { recursive: true });
}

/** Ends what a crash has left of {@link changePassphrase} or of the first start: a folder counts once it has its name. */
function recover(folder: string): void {
  if (!existsSync(folder) && existsSync(oldFolder(folder))) renameSync(newFolder(folder), folder);
  rmSync(newFolder(folder), { recursive: true, force: true });
  rmSync(oldFolder(folder), { recursive: true, force: true });
}

/** Names that no person would give a backup: what lies under them is ours to delete. */
const newFolder = (folder: string): string => `${folder}.kin-new`;
const oldFolder = (folder: string): string => `${folder}.kin-old`;

function createKeystore(folder: string, options: KeystoreOptions): void {
  const fresh = newFolder(folder);
  try {
    mkdirSync(fresh, { recursive: true, mode: 0o700 });
    const master = options.passphrase === undefined ? null : createMaster(fresh, options.passphrase);
    for (const purpose of ["person", "device"])
      writeKeyFile(fresh, purpose, [{ key: new Uint8Array(randomBytes(KEY_BYTES)) }], master);
    const madeAt = options.now ?? Date.now();
    writeKeyFile(fresh, "sealing", [{ key: new Uint8Array(randomBytes(KEY_BYTES)), madeAt }], master);
    renameSync(fresh, folder);
    syncFolder(dirname(folder));
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw diskError(error, folder);
  }
}

interface MasterFile {
  v: number;
  kdf: "scrypt";
  n: number;
  r: number;
  p: number;
  salt: string;
  nonce: string;
  sealed: string;
}

const MASTER_AAD = utf8Bytes("kin/keystore/1 master");

function createMaster(folder: string, passphrase: string): Uint8Array {
  if (passphrase === "") throw new KinError("USAGE", "an empty passphrase protects nothing");
  const master = new Uint8Array(randomBytes(KEY_BYTES));
  const salt = randomBytes(SALT_BYTES);
  const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
  const sealed = aeadSeal(wrappingKey(passphrase, salt), nonce, master, MASTER_AAD);
  const { N: n, r, p } = SCRYPT;
  const file: MasterFile = {
    v: 1,
    kdf: "scrypt",
    n,
    r,
    p,
    salt: toHex(salt),
    nonce: toHex(nonce),
    sealed: toHex(sealed),
  };
  writeAtomic(join(folder, "master.json"), `${JSON.stringify(file)}\n`);
  return master;
}

/** null: the keys are raw. */
function openMaster(folder: string, passphrase: string | undefined): Uint8Array | null {
  const path = join(folder, "master.json");
  if (!existsSync(path)) {
    checkMode(statSync(folder).mode, folder, "700");
    return null;
  }
  const file = parseMaster(path);
  if (passphrase === undefined)
    throw new KinError("PASSPHRASE_NEEDED", `the keys in ${folder} are sealed by a passphrase`, {
      hint: "start on a terminal, or set KIN_PASSPHRASE_FILE to a file that holds it",
    });
  const master = aeadOpen(
    wrappingKey(passphrase, fromHex(file.salt)),
    fromHex(file.nonce),
    fromHex(file.sealed),
    MASTER_AAD,
  );
  if (master === null)
    throw new KinError("PASSPHRASE_WRONG", `the passphrase does not open the keys in ${folder}`, {
      hint: "try again; there is no way around it but a backup of keys without a passphrase",
    });
  return master;
}

function parseMaster(path: string): MasterFile {
  const file = parseJson(path) as Partial<MasterFile>;
  const isHex = (text: unknown, bytes: number): boolean =>
    typeof text === "string" && text.length === 2 * bytes && /^[0-9a-f]*$/.test(text);
  // Other parameters than ours would let a swapped file make guessing cheap, or start-up take minutes.
  const isOurs = file.kdf === "scrypt" && file.n === SCRYPT.N && file.r === SCRYPT.r && file.p === SCRYPT.p;
  if (file.v !== FILE_VERSION) throw newerOrDamaged(path, file.v);
  if (
    !isOurs ||
    !isHex(file.salt, SALT_BYTES) ||
    !isHex(file.nonce, NONCE_BYTES) ||
    !isHex(file.sealed, KEY_BYTES + 16)
  )
    throw unreadable(path, "its fields are not those of a wrapped master key");
  return file as MasterFile;
}

function wrappingKey(passphrase: string, salt: Uint8Array): Uint8Array {
  return new Uint8Array(scryptSync(passphrase.normalize("NFC"), salt, KEY_BYTES, SCRYPT));
}

// — Key files —————————————————————————————————————————————————————————————————————————————————————————————————————

interface KeyFileEntry {
  generation?: number;
  madeAt?: number;
  key?: string;
  nonce?: string;
  sealed?: string;
}

interface ParsedKeyFile {
  public: Uint8Array | null;
  entries: KeyFileEntry[];
}

function keyFile(folder: string, purpose: string): string {
  return join(folder, `${purpose}.json`);
}

function isKeyFile(folder: string, purpose: string): boolean {
  return existsSync(keyFile(folder, purpose));
}

function purposes(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".json"))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).slice(0, -".json".length))
    .filter((purpose) => purpose !== "master");
}

/** Everything that stands beside a sealed key is bound to it. */
function entryAad(purpose: string, entry: { generation?: number; madeAt?: number }): Uint8Array {
  return utf8Bytes(`kin/keystore/1 ${purpose} ${entry.generation ?? "-"} ${entry.madeAt ?? "-"}`);
}

function writeKeyFile(folder: string, purpose: string, entries: KeyEntry[], master: Uint8Array | null): void {
  const path = keyFile(folder, purpose);
  const parts = entries.map((entry): KeyFileEntry => {
    const { key, ...beside } = entry;
    if (key === undefined) return beside;
    if (master === null) return { ...beside, key: toHex(key) };
    const nonce = new Uint8Array(randomBytes(NONCE_BYTES));
    return { ...beside, nonce: toHex(nonce), sealed: toHex(aeadSeal(master, nonce, key, entryAad(purpose, entry))) };
  });
  const publicKey = isIdentity(purpose) ? { public: toHex(signingKeyFromSeed(entries[0]!.key!).publicKey) } : {};
  makeKeyFolder(dirname(path));
  writeAtomic(path, `${JSON.stringify({ v: FILE_VERSION, purpose, ...publicKey, keys: parts })}\n`);
}

/** The folders between the keystore and the file; a new folder is durable only when the one above it is synced. */
function makeKeyFolder(folder: string): void {
  if (existsSync(folder)) return;
  makeKeyFolder(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
    syncFolder(dirname(folder));
  } catch (error) {
    throw diskError(error, folder);
  }
}

function isIdentity(purpose: string): boolean {
  return purpose === "person" || purpose === "device";
}

function readKey(folder: string, purpose: string, master: Uint8Array | null): Uint8Array {
  const key = readEntries(folder, purpose, master)[0]?.key;
  if (key === undefined) throw unreadable(keyFile(folder, purpose), "it holds no key");
  return key;
}

function readEntries(folder: string, purpose: string, master: Uint8Array | null): KeyEntry[] {
  const path = keyFile(folder, purpose);
  const file = parseKeyFile(folder, purpose);
  const entries = file.entries.map((entry) => openEntry(path, purpose, entry, master));
  const isAgent = purpose.includes("/agents/");
  if (entries.length === 0 || (!isAgent && entries.some((entry) => entry.key === undefined)))
    throw unreadable(path, "it holds no key");
  if (isIdentity(purpose) && !equal(signingKeyFromSeed(entries[0]!.key!).publicKey, file.public ?? new Uint8Array()))
    throw unreadable(path, "the public key in it is not that of its private key");
  return entries;
}

function openEntry(path: string, purpose: string, entry: KeyFileEntry, master: Uint8Array | null): KeyEntry {
  const beside = {
    ...(entry.generation === undefined ? {} : { generation: entry.generation }),
    ...(entry.madeAt === undefined ? {} : { madeAt: entry.madeAt }),
  };
  if (entry.key === undefined && entry.sealed === undefined) return beside;
  if ((entry.key !== undefined) === (master !== null))
    throw unreadable(
      path,
      master === null
        ? "it is sealed, but the keystore's master.json is missing"
        : "it is not sealed, but the keystore has a passphrase: somebody has replaced it",
    );
  const key = master === null ? rawKey(entry.key) : sealedKey(entry, master, entryAad(purpose, beside));
  if (key === null) throw unreadable(path, "its key is damaged, or the file was swapped for another");
  return { ...beside, key };
}

function rawKey(hex: string | undefined): Uint8Array | null {
  return hex !== undefined && /^[0-9a-f]{64}$/.test(hex) ? fromHex(hex) : null;
}

function sealedKey(entry: KeyFileEntry, master: Uint8Array, aad: Uint8Array): Uint8Array | null {
  if (!/^[0-9a-f]{24}$/.test(String(entry.nonce)) || !/^([0-9a-f]{2})+$/.test(String(entry.sealed))) return null;
  const key = aeadOpen(master, fromHex(String(entry.nonce)), fromHex(String(entry.sealed)), aad);
  return key !== null && key.length === KEY_BYTES ? key : null;
}

function parseKeyFile(folder: string, purpose: string): ParsedKeyFile {
  const path = keyFile(folder, purpose);
  const file = parseJson(path) as { v?: unknown; purpose?: unknown; public?: unknown; keys?: unknown };
  if (file.v !== FILE_VERSION) throw newerOrDamaged(path, file.v);
  if (file.purpose !== purpose) throw unreadable(path, `it is a ${String(file.purpose)} key, not a ${purpose} key`);
  if (!Array.isArray(file.keys) || !file.keys.every(isKeyFileEntry)) throw unreadable(path, "it holds no keys");
  const publicKey = rawKey(typeof file.public === "string" ? file.public : undefined);
  return { public: publicKey, entries: file.keys };
}

function isKeyFileEntry(value: unknown): value is KeyFileEntry {
  if (typeof value !== "object" || value === null) return false;
  const entry = value as Record<string, unknown>;
  const isText = (field: unknown): boolean => field === undefined || typeof field === "string";
  const isCount = (field: unknown): boolean => field === undefined || Number.isSafeInteger(field);
  return (
    isText(entry["key"]) &&
    isText(entry["nonce"]) &&
    isText(entry["sealed"]) &&
    isCount(entry["generation"]) &&
    isCount(entry["madeAt"])
  );
}

function parseJson(path: string): object {
  const text = readPrivate(path);
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // said below: a parser's message could quote key material
  }
  throw unreadable(path, "it is not a key file (cut off, or written by something else)");
}

/** Mode and content of the same open file, so that they can't be swapped in between. */
function readPrivate(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw unreadable(path, code === "ENOENT" ? "it is missing" : (error as Error).message, error);
  }
  try {
    const { mode, size } = fstatSync(fd);
    checkMode(mode, path, "600");
    if (size > MAX_FILE_BYTES) throw unreadable(path, `it has ${size} bytes`);
    return readFileSync(fd, "utf8");
  } catch (error) {
    throw error instanceof KinError ? error : unreadable(path, (error as Error).message, error);
  } finally {
    closeSync(fd);
  }
}

function checkMode(mode: number, path: string, wanted: "600" | "700"): void {
  if ((mode & 0o077) === 0) return;
  throw new KinError(
    "KEY_FILE_TOO_OPEN",
    `${path} may be read by other users of this machine: its mode is 0${(mode & 0o777).toString(8)}, expected 0${wanted}`,
    { hint: `chmod ${wanted} '${path}' — and if others have had access, make new keys` },
  );
}

function unreadable(path: string, why: string, cause?: unknown): KinError {
  return new KinError("KEY_FILE_UNREADABLE", `cannot read the key file ${path}: ${why}`, {
    hint: "restore it from a backup. kin never overwrites keys: to begin anew as another person, move the keys folder away yourself",
    cause,
  });
}

function newerOrDamaged(path: string, version: unknown): KinError {
  if (Number.isSafeInteger(version) && (version as number) > FILE_VERSION)
    return new KinError("UNSUPPORTED_VERSION", `${path} was written by a newer kin: version ${String(version)}`, {
      hint: "update kin",
    });
  return unreadable(path, "it has no version");
}

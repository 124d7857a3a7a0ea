/**
 * `/kin/hello/1`: the first dialogue on a new connection between two members. The dialer opens it; both sides do the same:
 *
 *   A                                                        B
 *   { t: "nonce", v: [1], n: 16 random bytes }       →   ←   { t: "nonce", v: [1], n }
 *   { t: "hello", s: sealed "hello" by the device }  →   ←   { t: "hello", s }           bound to the other's nonce and device
 *   { t: "ok" }  or  { t: "refused", error }         →   ←   { t: "ok" } or { t: "refused", error }
 *   (ends its side)
 *
 *   sealed bytes = { v: 1, mesh, from: [person, device], to: device, nonce, boot, wall, features: [text], heads: [record ids] }
 *   the hello frame also carries { keys: [sealed agent-key records] } of the device (F3).
 *
 * What it gives: which version both speak, the peer's boot id (R11), how far the clocks are apart (§5), the round trip, what of
 * the roster the peer has, and its agents' keys. libp2p has already proved the device key; the seal binds it to mesh, boot and clock.
 */
import { decode, encode, equal, type Value } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import type { Random, Time, Wire } from "./effects.ts";
import { errorShape, KinError } from "./errors.ts";
import { idBytes, idOf, type DeviceId, type MeshId, type PersonId, type RecordId } from "./ids.ts";
import { MAX_DEPS, SKEW_LIMIT_MS, SKEW_WARN_MS } from "./limits.ts";
import { asMap, isSealed, parseSealed, sealedValue, sealOne, type Sealed } from "./signature.ts";

export const HELLO_PROTOCOL = "/kin/hello/1";
/** Versions of the hello that this kin speaks, newest first. */
export const HELLO_VERSIONS = [1] as const;
/** The whole dialogue is 1.5 round trips; a peer that takes longer is not there. */
export const HELLO_TIMEOUT_MS = 10_000;
/** Agents of one device whose keys are told: 300 bytes each keep the frame under 64 KiB. */
export const MAX_HELLO_AGENT_KEYS = 128;
export const MAX_FEATURES = 64;
const MAX_FEATURE_LENGTH = 64;
const NONCE_BYTES = 16;
const BOOT_BYTES = 16;

/** What a peer said of itself. */
export interface Greeting {
  device: DeviceId;
  person: PersonId;
  version: number;
  features: string[];
  /** 16 bytes, new at each start of the peer (R11). */
  boot: Uint8Array;
  /** The peer's wall clock minus ours, ms. */
  skewMs: number;
  rttMs: number;
  /** "warn" over 2 min, "skewed" over 5 min: live calls then fail with CLOCK_SKEW, see {@link clockError}. */
  clock: "good" | "warn" | "skewed";
  /** Roster heads that the peer has. */
  heads: RecordId[];
  /** Records that bind agent keys to the device: their seal is checked, their content is not. */
  agentKeys: Sealed[];
}

export interface HelloDeps {
  mesh: MeshId;
  device: DeviceId;
  person: PersonId;
  /** The device's key. */
  key: SigningKey;
  /** 16 bytes, drawn once at start. */
  boot: Uint8Array;
  time: Time;
  random: Random;
  features: readonly string[];
  /** Whom the connection's encryption has proved to be at the other end. */
  remote: DeviceId;
  /** The person whose living device this is, or null. */
  personOf(device: DeviceId): PersonId | null;
  heads(): RecordId[];
  agentKeys(): Sealed[];
}

/**
 * Runs the dialogue; the same on both sides. Ends our side of the wire, also when it throws.
 * @throws KinError UNSUPPORTED_VERSION, WRONG_MESH, NOT_A_MEMBER, BAD_SIGNATURE, BAD_REQUEST, or what the peer refused us with
 */
export async function greet(wire: Wire, deps: HelloDeps, signal: AbortSignal): Promise<Greeting> {
  const stop = (): void => wire.abort(new KinError("DEADLINE_EXCEEDED", "the peer did not finish its hello in time"));
  if (signal.aborted) stop();
  signal.addEventListener("abort", stop, { once: true });
  const frames = wire.frames()[Symbol.asyncIterator]();
  try {
    const nonce = deps.random.bytes(NONCE_BYTES);
    const sentAt = deps.time.monotonic();
    await wire.send(encode({ t: "nonce", v: [...HELLO_VERSIONS], n: nonce }));
    const challenge = parseChallenge(await nextMessage(frames));
    await wire.send(helloFrame(deps, challenge.nonce));
    const message = await nextMessage(frames);
    const rttMs = Math.max(0, Math.round(deps.time.monotonic() - sentAt));
    const greeting = openHello(message, deps, nonce, rttMs, challenge.version);
    await wire.send(encode({ t: "ok" }));
    expect(await nextMessage(frames), "ok");
    return greeting;
  } catch (error) {
    await refuse(wire, error);
    throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    await wire.close().catch(() => {});
  }
}

/** The sentence and code for a call that fails because of the clocks; null while they are close enough. @param who the peer's name */
export function clockError(greeting: Greeting, who: string): KinError | null {
  if (greeting.clock !== "skewed") return null;
  return new KinError("CLOCK_SKEW", `${skewSentence(greeting, who)}: calls need clocks within 5 min of each other`, {
    hint: "set the clock of the machine that is wrong (usually by turning on its network time)",
  });
}

/** "ana's clock is 7 min ahead of ours". */
export function skewSentence(greeting: Pick<Greeting, "skewMs">, who: string): string {
  const seconds = Math.round(Math.abs(greeting.skewMs) / 1000);
  const shown = seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : hours(seconds);
  return `${who}'s clock is ${shown} ${greeting.skewMs > 0 ? "ahead of" : "behind"} ours`;
}

function hours(seconds: number): string {
  const count = Math.round(seconds / 3600);
  return count < 48 ? `${count} h` : `${Math.round(count / 24)} days`;
}

export function clockOf(skewMs: number): Greeting["clock"] {
  const off = Math.abs(skewMs);
  if (off > SKEW_LIMIT_MS) return "skewed";
  return off > SKEW_WARN_MS ? "warn" : "good";
}

async function nextMessage(frames: AsyncIterator<Uint8Array>): Promise<Record<string, unknown>> {
  const next = await frames.next();
  if (next.done === true) throw new KinError("BAD_REQUEST", "the peer ended its hello early");
  const message = asMap(decode(next.value), "a hello message");
  if (message["t"] === "refused") {
    const error = asMap(message["error"], "a hello's error");
    throw new RefusedByPeer(
      typeof error["code"] === "string" ? error["code"].slice(0, 64) : "INTERNAL",
      typeof error["message"] === "string" ? error["message"].slice(0, 1000) : "the peer gave no reason",
    );
  }
  return message;
}

/** So that a refusal is not answered with a refusal. */
class RefusedByPeer extends KinError {}

async function refuse(wire: Wire, error: unknown): Promise<void> {
  if (error instanceof RefusedByPeer || wire.signal.aborted || !(error instanceof KinError)) return;
  const { code, message } = errorShape(error);
  await wire.send(encode({ t: "refused", error: { code, message } })).catch(() => {});
}

function expect(message: Record<string, unknown>, type: string): void {
  if (message["t"] !== type)
    throw new KinError("BAD_REQUEST", `a hello message of type ${JSON.stringify(message["t"])}: expected "${type}"`);
}

function parseChallenge(message: Record<string, unknown>): { nonce: Uint8Array; version: number } {
  expect(message, "nonce");
  const { v, n } = message;
  if (!Array.isArray(v) || v.length > 16) throw new KinError("BAD_REQUEST", "a hello names at most 16 versions");
  const version = HELLO_VERSIONS.find((ours) => v.includes(ours));
  if (version === undefined)
    throw new KinError(
      "UNSUPPORTED_VERSION",
      `the peer speaks hello versions ${v.map(String).join(", ").slice(0, 80)}, we speak ${HELLO_VERSIONS.join(", ")}`,
    );
  if (!(n instanceof Uint8Array) || n.length !== NONCE_BYTES)
    throw new KinError("BAD_REQUEST", `a hello's nonce is ${NONCE_BYTES} bytes`);
  return { nonce: n, version };
}

function helloFrame(deps: HelloDeps, theirNonce: Uint8Array): Uint8Array {
  const bytes = encode({
    v: 1,
    mesh: idBytes(deps.mesh),
    from: [idBytes(deps.person), idBytes(deps.device)],
    to: idBytes(deps.remote),
    nonce: theirNonce,
    boot: deps.boot,
    wall: deps.time.now(),
    features: deps.features.slice(0, MAX_FEATURES),
    heads: deps.heads().slice(0, MAX_DEPS).map(idBytes),
  });
  const sealed = sealOne(deps.key, "hello", bytes);
  const keys = deps.agentKeys().slice(0, MAX_HELLO_AGENT_KEYS);
  return encode({ t: "hello", s: sealedValue(sealed), keys: keys.map((key) => sealedValue(key) as Value) });
}

function openHello(
  message: Record<string, unknown>,
  deps: HelloDeps,
  ourNonce: Uint8Array,
  rttMs: number,
  version: number,
): Greeting {
  expect(message, "hello");
  const remoteKey = idBytes(deps.remote);
  const sealed = parseSealed(message["s"]);
  if (!equal(sealed.seal.key, remoteKey) || !isSealed("hello", sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", "the hello is not signed by the device at the other end of the connection");
  const said = asMap(decode(sealed.bytes), "a hello");
  if (said["v"] !== 1)
    throw new KinError("UNSUPPORTED_VERSION", `a hello of version ${String(said["v"])}: this kin reads version 1`);
  const mesh = idOf<"mesh">(said["mesh"]);
  if (mesh !== deps.mesh) throw new KinError("WRONG_MESH", "the peer belongs to another mesh");
  const from: unknown[] = Array.isArray(said["from"]) ? said["from"] : [];
  const person = idOf<"person">(from[0]);
  if (idOf<"device">(from[1]) !== deps.remote)
    throw new KinError("BAD_SIGNATURE", "the hello names another device than the one that signed it");
  if (idOf<"device">(said["to"]) !== deps.device)
    throw new KinError("BAD_SIGNATURE", "the hello was said to another device");
  if (!(said["nonce"] instanceof Uint8Array) || !equal(said["nonce"], ourNonce))
    throw new KinError("REPLAYED", "the hello answers another challenge than ours");
  if (deps.personOf(deps.remote) !== person)
    throw new KinError("NOT_A_MEMBER", "the device is no living device of the person that the hello names");
  const { boot, wall } = said;
  if (!(boot instanceof Uint8Array) || boot.length !== BOOT_BYTES)
    throw new KinError("BAD_REQUEST", `a hello's boot is ${BOOT_BYTES} bytes`);
  if (typeof wall !== "number" || wall < 0) throw new KinError("BAD_REQUEST", "a hello's wall is integer ms");
  // Both sent their nonce at once, so the hello was written half a round trip ago.
  const skewMs = Math.round(wall - (deps.time.now() - rttMs / 2));
  return {
    device: deps.remote,
    person,
    version,
    features: parseFeatures(said["features"]),
    boot,
    skewMs,
    rttMs,
    clock: clockOf(skewMs),
    heads: list(said["heads"], MAX_DEPS, "heads").map((head) => idOf<"record">(head)),
    agentKeys: list(message["keys"], MAX_HELLO_AGENT_KEYS, "keys").map((key) => openAgentKey(key, remoteKey)),
  };
}

function parseFeatures(value: unknown): string[] {
  return list(value, MAX_FEATURES, "features").map((feature) => {
    if (typeof feature !== "string" || feature.length > MAX_FEATURE_LENGTH)
      throw new KinError("BAD_REQUEST", `a feature is a text of at most ${MAX_FEATURE_LENGTH} characters`);
    return feature;
  });
}

function openAgentKey(value: unknown, device: Uint8Array): Sealed {
  const sealed = parseSealed(value);
  if (!equal(sealed.seal.key, device) || !isSealed("agent-key", sealed.bytes, sealed.seal))
    throw new KinError("BAD_SIGNATURE", "an agent-key record in the hello is not signed by its device");
  return sealed;
}

function list(value: unknown, max: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > max)
    throw new KinError("BAD_REQUEST", `a hello's ${what} is a list of at most ${max}`);
  return value;
}

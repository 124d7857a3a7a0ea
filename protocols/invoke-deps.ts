/** What both halves of `/kin/invoke/1` need from the node, and the window that they agree on. */
import type { Random, Time } from "./effects.ts";
import { encodeEnvelope, type Envelope, type Sender } from "./envelope.ts";
import { KinError } from "./errors.ts";
import type { DeviceId, MeshId, PersonId } from "./ids.ts";
import { SKEW_LIMIT_MS } from "./limits.ts";
import type { Sealed } from "./signature.ts";

export interface InvokeDeps {
  mesh: MeshId;
  self: { person: PersonId; device: DeviceId };
  /** This node's boot id, 16 bytes: what its hello says (R11). */
  boot: Uint8Array;
  /** True if `key` is the device's own (agent null) or bound to that agent on that device by a living agent-key record (F3). */
  keyMaySpeakFor(key: Uint8Array, from: Sender): boolean;
  /** True if the device is a living one of that living member. */
  isMember(person: PersonId, device: DeviceId): boolean;
  /** Their wall clock minus ours as hello measured it, ms; null if it is not known. */
  skewOf(device: DeviceId): number | null;
  /** What people call it, for sentences. @default its id's beginning */
  nameOf?(device: DeviceId): string;
  /** Signs at the end of the tick, with the key of this node's device (null) or of one of its agents. Undefined: it has no such key. */
  sealAs(agent: string | null): ((bytes: Uint8Array) => Promise<Sealed>) | undefined;
  time: Time;
  random: Random;
  /** A new HLC stamp, 8 bytes. */
  stamp(): Uint8Array;
}

/** Events of one call that the callee may have sent or kept without an acknowledgement. */
export const WINDOW_EVENTS = 32;
/** Bytes of envelopes of one call, likewise; a single event may be larger. */
export const WINDOW_BYTES = 256 * 1024;
/** The caller acknowledges after so many used events or bytes: well below the window, so that the callee never stalls. */
export const ACK_EVENTS = 8;
export const ACK_BYTES = 64 * 1024;

/** @throws KinError INTERNAL if this node has no key of `agent`; TOO_LARGE */
export function sealEnvelope(
  deps: InvokeDeps,
  agent: string | null,
  envelope: Omit<Envelope, "mesh" | "from" | "id" | "iat" | "exp" | "hlc" | "caps">,
  lifeMs: number,
): { bytes: Uint8Array; sealed: Promise<Sealed>; id: Uint8Array; iat: number } {
  const seal = deps.sealAs(agent);
  if (seal === undefined)
    throw new KinError("INTERNAL", `this node has no key of ${agent ?? "its device"} to sign with`);
  const iat = deps.time.now();
  const id = deps.random.bytes(16);
  const bytes = encodeEnvelope({
    ...envelope,
    mesh: deps.mesh,
    from: { ...deps.self, agent },
    id,
    iat,
    exp: iat + lifeMs,
    hlc: deps.stamp(),
    caps: [],
  });
  return { bytes, sealed: seal(bytes), id, iat };
}

/** @throws KinError CLOCK_SKEW if hello found the peer's clock more than 5 min from ours. It names whose clock and by how much. */
export function checkSkew(deps: InvokeDeps, device: DeviceId): void {
  const skewMs = deps.skewOf(device);
  if (skewMs === null || Math.abs(skewMs) <= SKEW_LIMIT_MS) return;
  const nameOf = (one: DeviceId): string => deps.nameOf?.(one) ?? `device ${one.slice(0, 8)}`;
  const minutes = (Math.abs(skewMs) / 60_000).toFixed(1);
  throw new KinError(
    "CLOCK_SKEW",
    `the clock of ${nameOf(device)} is ${minutes} min ${skewMs > 0 ? "ahead of" : "behind"} the clock of ${nameOf(deps.self.device)}: calls need less than ${SKEW_LIMIT_MS / 60_000} min`,
    { hint: "set the wrong clock right, then ask again" },
  );
}

export function isSameSender(a: Sender, b: Sender): boolean {
  return a.person === b.person && a.device === b.device && a.agent === b.agent;
}

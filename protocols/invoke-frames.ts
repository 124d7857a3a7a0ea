/** Frames of `/kin/invoke/1`: `{t, c, e}` and `{t: "ack", a}`; what they mean is in `invoke.ts`. */
import { decode, encode } from "./bytes.ts";
import { KinError } from "./errors.ts";
import { MAX_ENVELOPE_BYTES } from "./limits.ts";
import { asMap, parseSealed, sealedValue, type Sealed } from "./signature.ts";

export const CALLER_FRAMES = ["request", "cancel", "resume"] as const;
export const CALLEE_FRAMES = ["accepted", "refused", "progress", "result", "failure"] as const;

/** What a caller says. `call` is its number of the call on this stream. */
export interface CallerFrame {
  t: (typeof CALLER_FRAMES)[number];
  call: number;
  sealed: Sealed;
}

/** What a callee says. `call` is the caller's number. */
export interface CalleeFrame {
  t: (typeof CALLEE_FRAMES)[number];
  call: number;
  sealed: Sealed;
}

/** Of call `call` the caller has used every event with an index below `below`. */
export interface AckFrame {
  t: "ack";
  acks: { call: number; below: number }[];
}

export type InvokeFrame = CallerFrame | CalleeFrame | AckFrame;

/** Pairs in one ack: as many calls as may be in flight. */
export const MAX_ACKS = 256;
/** Room for the seal around the largest envelope: key, signature, a path of 7 hashes, names. */
const MAX_INVOKE_FRAME_BYTES = MAX_ENVELOPE_BYTES + 1024;

export function encodeInvokeFrame(frame: InvokeFrame): Uint8Array {
  if (frame.t === "ack") return encode({ t: "ack", a: frame.acks.flatMap(({ call, below }) => [call, below]) });
  return encode({ t: frame.t, c: frame.call, e: sealedValue(frame.sealed) });
}

/** @throws KinError BAD_REQUEST, TOO_LARGE */
export function decodeInvokeFrame(bytes: Uint8Array): InvokeFrame {
  if (bytes.length > MAX_INVOKE_FRAME_BYTES)
    throw new KinError("TOO_LARGE", `an invoke frame of ${bytes.length} bytes: at most ${MAX_INVOKE_FRAME_BYTES}`);
  const { t, c, e, a, ...rest } = asMap(decode(bytes), "an invoke frame");
  for (const key of Object.keys(rest)) throw new KinError("BAD_REQUEST", `an invoke frame has no field "${key}"`);
  if (t === "ack") {
    if (c !== undefined || e !== undefined) throw new KinError("BAD_REQUEST", "an ack frame has only t and a");
    return { t, acks: parseAcks(a) };
  }
  if (!isOneOf(CALLER_FRAMES, t) && !isOneOf(CALLEE_FRAMES, t))
    throw new KinError("BAD_REQUEST", `unknown invoke frame ${JSON.stringify(t)}`);
  if (a !== undefined) throw new KinError("BAD_REQUEST", `a ${t} frame has only t, c and e`);
  return { t, call: parseCount(c, 1, "c"), sealed: parseSealed(e) };
}

export function isCallerFrame(frame: CallerFrame | CalleeFrame): frame is CallerFrame {
  return isOneOf(CALLER_FRAMES, frame.t);
}

function parseAcks(value: unknown): AckFrame["acks"] {
  if (!Array.isArray(value) || value.length === 0 || value.length % 2 !== 0 || value.length > 2 * MAX_ACKS)
    throw new KinError("BAD_REQUEST", `an ack is 1 to ${MAX_ACKS} pairs [call, below]`);
  const acks: AckFrame["acks"] = [];
  for (let i = 0; i < value.length; i += 2)
    acks.push({ call: parseCount(value[i], 1, "a call"), below: parseCount(value[i + 1], 0, "an index") });
  return acks;
}

function parseCount(value: unknown, least: number, what: string): number {
  if (typeof value !== "number" || value < least)
    throw new KinError("BAD_REQUEST", `${what} of an invoke frame is an integer from ${least} on`);
  return value;
}

function isOneOf<const T extends string>(list: readonly T[], value: unknown): value is T {
  return list.includes(value as T);
}

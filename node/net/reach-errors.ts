/** What a person reads when a peer was not reached: per address what happened there, and what to do. */
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import type { Membership } from "../../protocols/membership.ts";
import { describeAttempt, DialFailure } from "./dial.ts";
import { InviterNotFound } from "./find-inviter.ts";

/** "ana (laptop)", for sentences. */
export function describeDevice(membership: Membership | null, device: DeviceId): string {
  const found = membership?.devices.get(device);
  return found === undefined ? `device ${device.slice(0, 8)}…` : `${found.member.name} (${found.device.name})`;
}

/** @param who "ana (laptop)" */
export function unreachable(who: string, error: unknown): KinError {
  if (error instanceof KinError) return error;
  const hint = `is kin running on ${who}'s machine, and do you share a network? What you ask now can wait for them`;
  if (error instanceof DialFailure && error.attempts.length > 0)
    return new KinError("UNREACHABLE", `cannot reach ${who}: ${error.attempts.map(describeAttempt).join("; ")}`, {
      hint,
    });
  if (error instanceof DialFailure)
    return new KinError("UNREACHABLE", `cannot reach ${who}: no address of it is known`, { hint });
  const why = error instanceof Error ? error.message : String(error);
  return new KinError("UNREACHABLE", `cannot reach ${who}: ${why}`, { hint, cause: error });
}

export function notOpened(who: string, protocol: string, error: unknown): KinError {
  if (error instanceof Error && error.name === "UnsupportedProtocolError")
    return new KinError("NOT_FOUND", `${who} does not speak ${protocol}`, { cause: error });
  const why = error instanceof Error ? error.message : String(error);
  return new KinError("UNREACHABLE", `${protocol} to ${who} failed: ${why}`, { cause: error });
}

export function joinFailed(error: unknown): KinError {
  if (error instanceof KinError) return error;
  if (error instanceof InviterNotFound)
    return new KinError("JOIN_FAILED", `the inviter was not reached: ${whatHappened(error)}`, {
      hint: "is kin running there, and do you share a network? A new ticket (kin invite) has the addresses of now",
    });
  const why = error instanceof Error ? error.message : String(error);
  return new KinError("JOIN_FAILED", `the inviter was reached, then the connection failed: ${why}`, { cause: error });
}

function whatHappened(error: InviterNotFound): string {
  const tried = error.attempts.map(describeAttempt);
  if (tried.length === 0) tried.push("the ticket names no address that can be dialled");
  return [...tried, seenOf(error) ?? []].flat().join("; ");
}

/** null: there is nothing to say, it was not listened to. */
function seenOf({ seen, others }: InviterNotFound): string | null {
  if (seen !== null) return `mDNS saw it at ${seen.map(describeAttempt).join(", at ")}`;
  if (others === null) return null;
  if (others === 0) return "mDNS saw nobody of this mesh on the local network";
  return `mDNS saw ${others} other ${others === 1 ? "device" : "devices"} of this mesh on the local network, not the inviter's`;
}

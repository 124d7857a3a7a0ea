/**
 * One error base for the whole of kin: a code for machines, a sentence for people, a hint of what to do.
 * The sentence names the thing, the value and what was expected. Expected refusals between peers are results, not throws.
 */

/** Codes that may cross the wire. A peer that gets a code it does not know shows it and never guesses (F2). */
export const WIRE_CODES = [
  "BAD_REQUEST", // does not follow the protocol
  "TOO_LARGE", // over a limit of `limits.ts`
  "UNSUPPORTED_VERSION",
  "WRONG_MESH",
  "NOT_A_MEMBER",
  "REMOVED", // was a member
  "BAD_SIGNATURE",
  "EXPIRED",
  "REPLAYED",
  "WRONG_BOOT", // the request names a boot of the callee that is over (R11)
  "CLOCK_SKEW",
  "DENIED", // known, but not allowed
  "NOT_FOUND", // no such agent, tool, card, blob
  "LOOP", // A→B→A
  "TOO_DEEP",
  "BUDGET_EXCEEDED",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "OVERLOADED",
  "OUTCOME_UNKNOWN", // it was started and nobody knows how it ended (R8)
  "TOOL_FAILED",
  "AGENT_FAILED",
  "INVALID_ARGUMENTS",
  "SHARE_NEEDED", // several shares: the argument `share` must name one
  "INVITE_USED",
  "INVITE_EXPIRED",
  "INVITE_CLOSED",
  "INVITE_UNKNOWN",
  "NAME_TAKEN",
  "INTERNAL",
] as const;

/** Codes that stay on this machine. */
export const LOCAL_CODES = [
  "NOT_A_TICKET",
  "TICKET_DAMAGED",
  "TICKET_EXPIRED",
  "TICKET_MINE",
  "WRONG_KIND_OF_TEXT",
  "ALREADY_IN_MESH",
  "NOT_IN_MESH",
  "JOIN_FAILED",
  "LAST_ADMIN",
  "NOT_RUNNING",
  "ALREADY_RUNNING",
  "QUEUED",
  "OFFLINE",
  "UNREACHABLE",
  "USAGE",
  "CONFIG_INVALID",
  "KEY_FILE_UNREADABLE",
  "KEY_FILE_TOO_OPEN",
  "PASSPHRASE_NEEDED",
  "PASSPHRASE_WRONG",
  "FOLDER_IN_USE",
  "DISK_FULL",
  "DISK_FAILED", // it can't be read or written: an I/O error, a read-only mount, a folder that is not ours
  "PORT_TAKEN",
  "SOCKET_PATH_TOO_LONG",
  "SHARE_REFUSED",
  "CORRUPT",
  "NOT_PROVEN", // an export is not what it says it is
  "FORKED",
  "EARLIER_WAITS", // what this device wrote before does not count here yet
  "CLOSED",
] as const;

export type WireCode = (typeof WIRE_CODES)[number];
export type LocalCode = (typeof LOCAL_CODES)[number];
export type ErrorCode = WireCode | LocalCode;

export interface KinErrorOptions {
  /** What the reader can do about it: one sentence or command. */
  hint?: string | undefined;
  cause?: unknown;
}

export class KinError extends Error {
  override readonly name = "KinError";
  /** One of WIRE_CODES or LOCAL_CODES, or a code that a newer peer sent. */
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: ErrorCode | (string & {}), message: string, options: KinErrorOptions = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** The error as it travels and as the CLI prints it (F9). */
export interface ErrorShape {
  code: string;
  message: string;
  hint?: string | undefined;
}

/** Turns anything thrown into what may be shown or sent. The message of an unexpected error is kept, its stack is not. */
export function errorShape(error: unknown): ErrorShape {
  if (error instanceof KinError)
    return error.hint === undefined
      ? { code: error.code, message: error.message }
      : { code: error.code, message: error.message, hint: error.hint };
  return { code: "INTERNAL", message: error instanceof Error ? error.message : String(error) };
}

/**
 * What an unexpected error says, for another machine: of a system error ("ENOENT: no such file or directory, open '/home/…'")
 * only what happened, without the paths and addresses of this one.
 */
export function tellableReason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return "syscall" in error ? error.message.split(", ")[0]!.replace(/ \S*[/:]\S*$/, "") : error.message;
}

export function kinError(shape: ErrorShape): KinError {
  return new KinError(shape.code, shape.message, { hint: shape.hint });
}

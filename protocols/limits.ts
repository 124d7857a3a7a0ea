/** Every bound of the protocol, named once with its reason. Sizes in bytes, times in ms unless the name says otherwise. */

/** A frame on any protocol; a 4-byte varint could say 256 MiB, which nobody needs. Bodies over 128 KiB travel as blobs. */
export const MAX_FRAME_BYTES = 1024 * 1024;
/** An encoded envelope. */
export const MAX_ENVELOPE_BYTES = 256 * 1024;
/** An event's body; more goes into a blob (F6). */
export const MAX_EVENT_BODY_BYTES = 256 * 1024;
/** Part of a body above which it must travel as a blob (F6). */
export const MAX_INLINE_BYTES = 128 * 1024;
export const MAX_BLOB_BYTES = 64 * 1024 * 1024;
export const BLOB_CHUNK_BYTES = 64 * 1024;

/** Nesting of decoded CBOR: deeper input overflows a recursive decoder. */
export const MAX_DEPTH = 16;
export const MAX_ARRAY_ITEMS = 4096;
export const MAX_MAP_ITEMS = 1024;

/** Leaves under one signature (R18). Beyond 128 the path grows and the gain per message is gone. */
export const MAX_SEAL_BATCH = 128;

/** Longest life of a live envelope: the replay table must remember everything that is still valid (R11). */
export const MAX_ENVELOPE_LIFE_MS = 10 * 60_000;
/** How long past `exp` a live request is remembered (R11). */
export const REPLAY_GRACE_MS = 5 * 60_000;
/** Clock difference that is said on both sides. */
export const SKEW_WARN_MS = 2 * 60_000;
/** Clock difference above which live calls fail with CLOCK_SKEW and stamps are held (R13). */
export const SKEW_LIMIT_MS = 5 * 60_000;

/** Heads of other logs that one event may name. */
export const MAX_DEPS = 64;
/** An encoded event header: 64 deps of 34 bytes and the rest of about 300. */
export const MAX_EVENT_HEADER_BYTES = 4096;
/** Devices that one `direct` body is sealed to; each costs 120 bytes and an X25519 operation. */
export const MAX_DIRECT_RECIPIENTS = 256;
/** A replica keeps at least one signed head per this many events, so no batch is longer (F4). */
export const MAX_EVENTS_PER_HEAD = 1024;
/** Open logs of one device (R2). */
export const MAX_OPEN_LOGS = 16;

/** Names of people, devices, agents, shares (F7). */
export const NAME_PATTERN = /^[a-z][a-z0-9-]{0,31}$/;
/** Names of tools: dotted names, e.g. `git.log`. */
export const TOOL_NAME_PATTERN = /^[a-z][a-z0-9-]{0,31}(\.[a-zA-Z0-9_-]{1,64}){0,3}$/;

/** `present` on /kin/join/1 (R14). */
export const MAX_PRESENT_RECORDS = 256;
export const MAX_PRESENT_BYTES = 256 * 1024;
/** What a stranger gets: one connection, two streams, this long (R14). */
export const STRANGER_STREAMS = 2;
export const STRANGER_LIFE_MS = 10_000;

/** Ticket (R10). */
export const MAX_TICKET_ADDRESSES = 3;
export const MAX_TICKET_USES = 50;

/** Depth of delegation, if the request names none. */
export const DEFAULT_CALL_DEPTH = 4;
export const MAX_CALL_DEPTH = 16;
/** Deadline of a call, if the caller names none. */
export const DEFAULT_DEADLINE_MS = 120_000;
/** Longest deadline: work that takes longer is asked for durably. */
export const MAX_DEADLINE_MS = 3_600_000;
/** Calls in flight from one peer. */
export const MAX_CALLS_PER_PEER = 256;

/**
 * Tickets (F2, R10): an invite as one string, `kint1…`.
 *
 *   body = canonical [mesh, mesh name, inviter's device, inviter's name, role, expiry in s, uses, guest's name | null, invite, seed, [addresses], [relays]]
 *   role = 0 member, 1 admin, 2 a second machine of the inviter's person (`join-device.ts`);   seed = 16 random bytes
 *   address = 6 bytes for /ip4/<4>/tcp/<2>, else the multiaddr's text; none ends in /p2p/…: that is the inviter's device
 *   ticket key = Ed25519 from the seed HKDF-SHA256(seed, no salt, "kin/ticket/1" ‖ mesh, 32)
 *
 * The seed never leaves the ticket: a guest proves it by signing with the ticket key, and the mesh holds only its public key.
 */
import { hkdf, signingKeyFromSeed } from "#crypto";
import { concat, decode, encode, utf8Bytes } from "./bytes.ts";
import type { SigningKey } from "./crypto/keys.ts";
import { KinError, type LocalCode, type WireCode } from "./errors.ts";
import { formatText, idBytes, idOf, isName, parseText, type DeviceId, type MeshId, type RecordId } from "./ids.ts";
import { MAX_TICKET_ADDRESSES, MAX_TICKET_USES } from "./limits.ts";
import type { Role } from "./membership.ts";

export const TICKET_SEED_BYTES = 16;
/** By their number in a ticket. */
const ROLES = ["member", "admin", "device"] as const;
/** Relays that a ticket names: one, and one more if the first is down. */
export const MAX_TICKET_RELAYS = 2;
/** An address: a WebRTC-direct one with its certificate hash has about 130 characters. */
const MAX_ADDRESS_CHARACTERS = 256;
/** A pasted string that is longer is no ticket. */
const MAX_TICKET_CHARACTERS = 4096;

export interface Ticket {
  mesh: MeshId;
  meshName: string;
  /** The device that holds the uses: its key is its peer id. */
  inviter: DeviceId;
  inviterName: string;
  /** "device": for a second machine of the inviter's own. */
  role: Role | "device";
  /** Wall ms by the inviter's clock, whole seconds. */
  expiresAt: number;
  uses: number;
  /** What the guest is called unless he says otherwise (F7). */
  guestName: string | null;
  invite: RecordId;
  /** 16 bytes. */
  seed: Uint8Array;
  /** Multiaddrs of the inviter, at most 3. */
  addresses: string[];
  /** Multiaddrs of relays, with their /p2p/…, at most 2. */
  relays: string[];
}

/** The key whose public half the invite holds. */
export function ticketKey(seed: Uint8Array, mesh: MeshId): SigningKey {
  return signingKeyFromSeed(hkdf(seed, new Uint8Array(), concat(utf8Bytes("kin/ticket/1"), idBytes(mesh)), 32));
}

/** @throws KinError BAD_REQUEST if a field is out of shape. */
export function makeTicket(ticket: Ticket): string {
  const body = encode([
    idBytes(ticket.mesh),
    ticket.meshName,
    idBytes(ticket.inviter),
    ticket.inviterName,
    ROLES.indexOf(ticket.role),
    Math.floor(ticket.expiresAt / 1000),
    ticket.uses,
    ticket.guestName,
    idBytes(ticket.invite),
    ticket.seed,
    ticket.addresses.map(packAddress),
    ticket.relays,
  ]);
  readTicket(body);
  return formatText("kint", body);
}

export type TicketFault = "not-a-ticket" | "wrong-kind" | "version" | "damaged" | "expired" | "mine";

export type ParsedTicket =
  | { ok: true; ticket: Ticket }
  | { ok: false; why: TicketFault; code: LocalCode | WireCode; message: string; hint?: string; ticket?: Ticket };

const CODES = {
  other: ["not-a-ticket", "NOT_A_TICKET"],
  "wrong-kind": ["wrong-kind", "WRONG_KIND_OF_TEXT"],
  version: ["version", "UNSUPPORTED_VERSION"],
  damaged: ["damaged", "TICKET_DAMAGED"],
} as const;

/**
 * Reads a pasted ticket. `expired` comes with the ticket: only the admitting side's clock decides (R10), so a caller may warn
 * and go on. `now` is this machine's wall ms, `mine` its device.
 */
export function parseTicket(text: string, here: { now: number; mine?: DeviceId | undefined }): ParsedTicket {
  const parsed = parseText("kint", text.slice(0, MAX_TICKET_CHARACTERS));
  if (!parsed.ok) {
    const [why, code] = CODES[parsed.why];
    return { ok: false, why, code, message: parsed.message, hint: "paste the whole line that the invite printed" };
  }
  let ticket: Ticket;
  try {
    ticket = readTicket(parsed.body);
  } catch (error) {
    const message = `the ticket's checksum is right but its content is not: ${(error as Error).message}`;
    return { ok: false, why: "damaged", code: "TICKET_DAMAGED", message, hint: "ask for a new one" };
  }
  if (ticket.inviter === here.mine)
    return {
      ok: false,
      why: "mine",
      code: "TICKET_MINE",
      message: "this ticket was made on this device",
      hint: "send it to the person that you invite: it is for their machine",
      ticket,
    };
  if (ticket.expiresAt <= here.now) return { ok: false, ...expired(ticket, here.now), ticket };
  return { ok: true, ticket };
}

function expired(ticket: Ticket, now: number) {
  const message =
    `the ticket expired at ${shownTime(ticket.expiresAt)} by ${ticket.inviterName}'s clock; ` +
    `this machine's clock says ${shownTime(now)}, ${shownSpan(now - ticket.expiresAt)} later`;
  const hint = `if this clock is right, ask ${ticket.inviterName} for a new ticket; else set it`;
  return { why: "expired" as const, code: "TICKET_EXPIRED" as const, message, hint };
}

function shownTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function shownSpan(ms: number): string {
  const minutes = Math.max(1, Math.round(ms / 60_000));
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
}

/** @throws KinError BAD_REQUEST */
function readTicket(body: Uint8Array): Ticket {
  const items = decode(body);
  if (!Array.isArray(items) || items.length !== 12) throw new KinError("BAD_REQUEST", "a ticket has 12 fields");
  const [mesh, meshName, inviter, inviterName, role, expires, uses, guestName, invite, seed, addresses, relays] = items;
  if (role !== 0 && role !== 1 && role !== 2)
    throw new KinError("BAD_REQUEST", `a ticket's role is 0, 1 or 2, got ${JSON.stringify(role)}`);
  if (typeof expires !== "number" || expires < 0 || expires > MAX_DATE_S)
    throw new KinError("BAD_REQUEST", "a ticket's expiry is a date in seconds");
  if (typeof uses !== "number" || uses < 1 || uses > MAX_TICKET_USES)
    throw new KinError("BAD_REQUEST", `a ticket has 1 to ${MAX_TICKET_USES} uses, this one ${JSON.stringify(uses)}`);
  if (!(seed instanceof Uint8Array) || seed.length !== TICKET_SEED_BYTES)
    throw new KinError("BAD_REQUEST", `a ticket's seed is ${TICKET_SEED_BYTES} bytes`);
  return {
    mesh: idOf(mesh),
    meshName: readName(meshName),
    inviter: idOf(inviter),
    inviterName: readName(inviterName),
    role: ROLES[role],
    expiresAt: expires * 1000,
    uses,
    guestName: guestName === null ? null : readName(guestName),
    invite: idOf(invite),
    seed,
    addresses: readAddresses(addresses, MAX_TICKET_ADDRESSES),
    relays: readAddresses(relays, MAX_TICKET_RELAYS),
  };
}

/** The last second that a Date can show. */
const MAX_DATE_S = 8_640_000_000_000;

function readName(value: unknown): string {
  if (typeof value !== "string" || !isName(value))
    throw new KinError("BAD_REQUEST", `a ticket names ${JSON.stringify(value)}, which is no name`);
  return value;
}

function readAddresses(value: unknown, most: number): string[] {
  if (!Array.isArray(value) || value.length > most)
    throw new KinError("BAD_REQUEST", `a ticket has at most ${most} addresses of a kind`);
  return value.map(unpackAddress);
}

const IP4_TCP = /^\/ip4\/(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/tcp\/(\d{1,5})$/;

function packAddress(address: string): string | Uint8Array {
  const found = IP4_TCP.exec(address);
  if (found === null) return address;
  const [a, b, c, d, port] = found.slice(1).map(Number) as [number, number, number, number, number];
  const packed = Uint8Array.of(a, b, c, d, port >>> 8, port & 255);
  return unpackAddress(packed) === address ? packed : address;
}

function unpackAddress(value: unknown): string {
  if (value instanceof Uint8Array && value.length === 6)
    return `/ip4/${value.subarray(0, 4).join(".")}/tcp/${value[4]! * 256 + value[5]!}`;
  if (typeof value === "string" && value.startsWith("/") && value.length <= MAX_ADDRESS_CHARACTERS) return value;
  throw new KinError("BAD_REQUEST", "a ticket's address is 6 bytes or a multiaddr's text");
}

/**
 * Shares as the config says them, with people as ids (R12): a name is pinned to the person's id once, an `invite-…` entry stands for
 * whoever that ticket admits, and is pinned when it has.
 */
import { formatText, idBytes, parseText, idOf, type PersonId, type RecordId } from "../../protocols/ids.ts";
import { displayName, memberNamed, type Invite, type Membership } from "../../protocols/membership.ts";
import { loadConfig, setConfig, type ConfigPath, type ShareConfig } from "../config.ts";
import type { Share } from "../tools/share.ts";

/** 16 hex digits of the record that opened the invite. */
export function inviteEntry(invite: RecordId): string {
  return `invite-${invite.slice(0, 16)}`;
}

function isInviteEntry(entry: string): boolean {
  return /^invite-[0-9a-f]{16}$/.test(entry);
}

function inviteOf(entry: string, membership: Membership): Invite | undefined {
  return [...membership.invites.values()].find(({ record }) => entry === inviteEntry(record));
}

/** Who an entry of `for` means now; empty: nobody yet. */
export function resolveEntry(entry: string, membership: Membership | null): PersonId[] {
  if (membership === null) return [];
  if (entry.startsWith("kinp1")) {
    const parsed = parseText("kinp", entry);
    return parsed.ok ? [idOf<"person">(parsed.body)] : [];
  }
  if (isInviteEntry(entry)) {
    const admitted = inviteOf(entry, membership)?.used.map(({ person }) => person) ?? [];
    return admitted.filter((person) => membership.members.has(person));
  }
  const [name, tag] = entry.split("~");
  const named = memberNamed(membership, name!, tag);
  return named.ok ? [named.member.person] : [];
}

/** The shares that count now, for `authorize`. */
export function sharesOf(configs: readonly ShareConfig[], membership: Membership | null): Share[] {
  return configs.map(({ name, folder, rights, for: audience }) => ({
    name,
    folder,
    rights,
    for: audience === "mesh" ? ("mesh" as const) : audience.flatMap((entry) => resolveEntry(entry, membership)),
  }));
}

/** `for` with every name and every used invite replaced by ids; null if nothing changes. */
function pinned(audience: ShareConfig["for"], membership: Membership): string[] | null {
  if (audience === "mesh") return null;
  const next = audience.flatMap((entry) => {
    if (entry.startsWith("kinp1")) return [entry];
    const found = resolveEntry(entry, membership);
    if (found.length === 0) return [entry];
    const ids = found.map((person) => formatText("kinp", idBytes(person)));
    // A ticket with uses left may admit more people.
    return isInviteEntry(entry) && isOpen(entry, membership) ? [entry, ...ids] : ids;
  });
  const unique = [...new Set(next)];
  return unique.length === audience.length && unique.every((entry, i) => entry === audience[i]) ? null : unique;
}

function isOpen(entry: string, membership: Membership): boolean {
  const invite = inviteOf(entry, membership);
  return invite !== undefined && !invite.closed && [...invite.usesLeft.values()].some((uses) => uses > 0);
}

/**
 * Writes the ids that names and used tickets have come to mean into the settings, of shares and MCP servers. They are read
 * anew: who has edited the file since must not find somebody let in at another line. True: something changed.
 * @throws KinError CONFIG_INVALID, DISK_FULL
 */
export function pinPeople(configFile: string, membership: Membership): boolean {
  const { shares, mcpServers } = loadConfig(configFile);
  const places: { path: ConfigPath; audience: ShareConfig["for"] }[] = [
    ...shares.map((share, index) => ({ path: ["shares", index, "for"], audience: share.for })),
    ...Object.entries(mcpServers).map(([name, server]) => ({
      path: ["mcpServers", name, "for"],
      audience: server.for,
    })),
  ];
  let changed = false;
  for (const { path, audience } of places) {
    const next = pinned(audience, membership);
    if (next === null) continue;
    setConfig(configFile, path, next);
    changed = true;
  }
  return changed;
}

/** For people: names, and "whoever joins with the ticket for ana". */
export function audienceNames(audience: ShareConfig["for"], membership: Membership | null): "mesh" | string[] {
  if (audience === "mesh") return "mesh";
  return audience.flatMap((entry) => {
    const persons = resolveEntry(entry, membership);
    if (persons.length > 0 && membership !== null) return persons.map((person) => displayName(membership, person));
    const invite = membership === null ? undefined : inviteOf(entry, membership);
    return [invite === undefined ? entry : `${invite.name ?? "whoever"} (invited, not here yet)`];
  });
}

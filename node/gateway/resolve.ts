/** From what a person types to ids, and back to what he would type (F7, R12). Pure. */
import { KinError } from "../../protocols/errors.ts";
import { idOf, parseText, type Address, type DeviceId, type EventId, type PersonId } from "../../protocols/ids.ts";
import { displayName, memberNamed, type Device, type Member, type Membership } from "../../protocols/membership.ts";
import { didYouMean } from "../did-you-mean.ts";

/** @throws KinError NOT_FOUND with the nearest name, or USAGE if two are called that */
export function resolveMember(membership: Membership, who: Pick<Address, "person" | "tag">): Member {
  const named = memberNamed(membership, who.person, who.tag);
  if (named.ok) return named.member;
  const typed = who.tag === undefined ? who.person : `${who.person}~${who.tag}`;
  if (named.why === "ambiguous")
    throw new KinError("USAGE", `${named.candidates.length} members are called ${typed}`, {
      hint: `say which: ${named.candidates.join(" or ")}`,
    });
  if (named.why === "removed") throw new KinError("NOT_FOUND", `${typed} was removed from ${membership.name}`);
  const names = [...membership.members.values()].map((member) => member.name);
  const near = didYouMean(who.person, names);
  throw new KinError("NOT_FOUND", `nobody in ${membership.name} is called ${typed}`, {
    hint: near === null ? `members: ${names.join(", ")}` : `did you mean ${near}?`,
  });
}

/** `ana`, `ana~k3f9`. @throws KinError as {@link resolveMember} */
export function memberTyped(membership: Membership, typed: string): Member {
  const [person, tag] = typed.split("~");
  return resolveMember(membership, { person: person!, tag });
}

/** Whom {@link memberTyped} finds. @throws KinError as {@link resolveMember} */
export function personNamed(membership: Membership, typed: string): PersonId {
  return memberTyped(membership, typed).person;
}

/** Devices that an address can mean: all of the person's, or the one behind `@`. @throws KinError NOT_FOUND */
export function resolveDevices(member: Member, deviceName: string | undefined): Device[] {
  if (deviceName === undefined) return member.devices;
  const found = member.devices.filter((device) => device.name === deviceName);
  if (found.length > 0) return found;
  throw new KinError("NOT_FOUND", `${member.name} has no device "${deviceName}"`, {
    hint: `devices: ${member.devices.map((device) => device.name).join(", ")}`,
  });
}

/** `ben/reviewer`; with `@laptop` where the person has several devices with one of that name. */
export function formatAddress(
  membership: Membership,
  target: { person: PersonId; device: DeviceId; kind: "agent" | "tool"; name: string },
  needsDevice: boolean,
): string {
  const device = needsDevice ? `@${deviceName(membership, target.device)}` : "";
  return `${displayName(membership, target.person)}${device}/${target.kind === "tool" ? "tools/" : ""}${target.name}`;
}

export function deviceName(membership: Membership, device: DeviceId): string {
  return membership.devices.get(device)?.device.name ?? device.slice(0, 8);
}

/** Whose device it is or was. */
export function personOf(membership: Membership, device: DeviceId): string {
  const person = membership.devices.get(device)?.member.person ?? membership.formerDevices.get(device)?.person;
  return person === undefined ? "nobody" : displayName(membership, person);
}

/** `ben@laptop`: a device as people call it. */
export function peerName(membership: Membership, device: DeviceId): string {
  return `${personOf(membership, device)}@${deviceName(membership, device)}`;
}

/** `kine1…`, or its 64 hexadecimal digits as other commands' JSON has them. @throws KinError USAGE */
export function parseEventId(text: string): EventId {
  if (/^[0-9a-f]{64}$/.test(text)) return text as EventId;
  const parsed = parseText("kine", text);
  if (!parsed.ok) throw new KinError("USAGE", parsed.message);
  return idOf(parsed.body);
}

/** From what a person types to ids, and back to what he would type (F7, R12). Pure. */
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import { personTag, type Address } from "../../protocols/ids.ts";
import { KinError } from "../../protocols/errors.ts";
import { didYouMean } from "../did-you-mean.ts";
import type { Device, Member, Membership } from "../../protocols/membership.ts";

/** `ana`, or `ana~k3f9` where two members are called ana. */
export function displayName(membership: Membership, person: PersonId): string {
  const member = membership.members.get(person);
  const name = member?.name ?? membership.removed.get(person)?.name;
  if (name === undefined) return `someone~${personTag(person)}`;
  const twins = [...membership.members.values()].filter((other) => other.name === name).length;
  return twins > 1 || member === undefined ? `${name}~${personTag(person)}` : name;
}

/** @throws KinError NOT_FOUND with the nearest name, or USAGE if two are called that */
export function resolveMember(membership: Membership, who: Pick<Address, "person" | "tag">): Member {
  const named = [...membership.members.values()].filter((member) => member.name === who.person);
  const found = who.tag === undefined ? named : named.filter((member) => personTag(member.person) === who.tag);
  if (found.length === 1) return found[0]!;
  if (found.length > 1)
    throw new KinError("USAGE", `${found.length} members are called ${who.person}`, {
      hint: `say which: ${found.map((member) => displayName(membership, member.person)).join(" or ")}`,
    });
  const gone = [...membership.removed.values()].find((member) => member.name === who.person);
  if (gone !== undefined) throw new KinError("NOT_FOUND", `${who.person} was removed from ${membership.name}`);
  const names = [...membership.members.values()].map((member) => member.name);
  const near = didYouMean(who.person, names);
  throw new KinError("NOT_FOUND", `nobody in ${membership.name} is called ${who.person}`, {
    hint: near === null ? `members: ${names.join(", ")}` : `did you mean ${near}?`,
  });
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
  const device = needsDevice
    ? `@${membership.devices.get(target.device)?.device.name ?? target.device.slice(0, 8)}`
    : "";
  return `${displayName(membership, target.person)}${device}/${target.kind === "tool" ? "tools/" : ""}${target.name}`;
}

/**
 * A person gets a new key (R1): by an act of an admin, here of the person himself where he is one. All his living devices are
 * certified by the new key in the same record; whatever the old key certified besides counts no longer.
 */
import type { SigningKey } from "../protocols/crypto/keys.ts";
import type { Random } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import { idBytes } from "../protocols/ids.ts";
import { makeCertificate } from "../protocols/roster-record.ts";
import type { Replica } from "./replica.ts";

/** @throws KinError DENIED if this device's person is not an admin */
export async function rekeyMyself(replica: Replica, next: SigningKey, random: Random): Promise<void> {
  await replica.act((membership) => {
    const { person, role, devices } = membership.devices.get(replica.device)!.member;
    if (role !== "admin")
      throw new KinError("DENIED", "only an admin can give a person a new key, and you are a member (R1)", {
        hint: "if the key got out: let an admin remove you, and join anew from another folder: KIN_HOME=~/.kin-other",
      });
    const certified = devices.map(({ id, name, sealingKey }) => {
      const device = { id, name, sealingKey };
      return { device, cert: makeCertificate(next, idBytes(replica.mesh), device, random.bytes(16)) };
    });
    return {
      records: [{ type: "person-rekeyed", person, personKey: next.publicKey, devices: certified, cuts: [] }],
    };
  });
}

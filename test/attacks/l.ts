/**
 * Attack group L, membership and invite: what a mesh must not let happen. Each case plays records and says which one must have
 * no effect, why, and who must be in at the end. One line a case where it can be.
 */
import { signingKeyFromSeed } from "#crypto";
import { idBytes } from "../../protocols/ids.ts";
import { MAX_DEVICES_PER_PERSON } from "../../protocols/roster-rules.ts";
import { makeCertificate, makeProof, proofSubjectOf, type RosterRecord } from "../../protocols/roster-record.ts";
import { ticketKey } from "../../protocols/ticket.ts";
import {
  act,
  addDevice,
  admit,
  admitBy,
  found,
  HOUR,
  invite,
  machine,
  meshOf,
  newDevice,
  NOW,
  person,
  remove,
  setRole,
  someBytes,
  syncAll,
  type Person,
} from "../membership/people.ts";

export interface Played {
  records: RosterRecord[];
  /** Must be void, with these words. */
  refused: { record: RosterRecord; why: RegExp }[];
  /** Names and roles of the members afterwards. */
  members: string[];
}

export interface Case {
  id: string;
  what: string;
  play: () => Played;
}

/** ben founds, ana is an admin by him. */
function twoAdmins(): { ben: Person; ana: Person } {
  const ben = found();
  return { ben, ana: admit(ben, "ana", "admin") };
}

function played(records: RosterRecord[], members: string[], ...refused: [RosterRecord, RegExp][]): Played {
  return { records, members, refused: refused.map(([record, why]) => ({ record, why })) };
}

/** Admits dan with something wrong in the admission. */
function badAdmission(wrong: (ben: Person, dan: Person) => RosterRecord, why: RegExp): () => Played {
  return () => {
    const ben = found();
    const record = wrong(ben, person("dan"));
    return played(ben.view, ["ben:admin"], [record, why]);
  };
}

export const CASES: Case[] = [
  {
    id: "L1",
    what: "an invite is used twice on one device",
    play: () => {
      const ben = found();
      const ticket = invite(ben);
      admitBy(ben, person("dan"), ticket);
      const second = admitBy(ben, person("eve"), ticket);
      return played(ben.view, ["ben:admin", "dan:member"], [second, /use 1 of this share was taken/]);
    },
  },
  {
    id: "L1",
    what: "a use beyond the share",
    play: badAdmission((ben, dan) => admitBy(ben, dan, invite(ben), { use: 1 }), /use 2 of a share of 1/),
  },
  {
    id: "L2",
    what: "an expired invite",
    play: badAdmission((ben, dan) => admitBy(ben, dan, invite(ben), {}, { at: NOW + 2 * HOUR }), /expired/),
  },
  {
    id: "L3",
    what: "an invite for a member admits an admin",
    play: badAdmission((ben, dan) => admitBy(ben, dan, invite(ben), { role: "admin" }), /its invite says member/),
  },
  {
    id: "L3",
    what: "an invite for an admin admits a member",
    play: badAdmission(
      (ben, dan) => admitBy(ben, dan, invite(ben, { role: "admin" }), { role: "member" }),
      /says admin/,
    ),
  },
  {
    id: "L4",
    what: "the invite of a removed admin, used by himself",
    play: () => {
      const { ben, ana } = twoAdmins();
      const ticket = invite(ana);
      syncAll(ben, ana);
      remove(ben, ana);
      const admission = admitBy(ana, person("dan"), ticket);
      return played(syncAll(ben, ana), ["ben:admin"], [admission, /concurrent remove/]);
    },
  },
  {
    id: "L4",
    what: "the invite of a removed admin, used at another admin's device that has a share",
    play: () => {
      const { ben, ana } = twoAdmins();
      const ticket = invite(ana, { shares: [{ device: ben.machine.id, uses: 1 }] });
      syncAll(ben, ana);
      remove(ben, ana);
      const admission = admitBy(ben, person("dan"), ticket);
      return played(ben.view, ["ben:admin"], [admission, /its invite was closed/]);
    },
  },
  {
    id: "L4",
    what: "an invite opened by who is no admin",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      const ticket = invite(ana);
      const admission = admitBy(ana, person("dan"), ticket);
      return played(
        ana.view,
        ["ana:member", "ben:admin"],
        [ticket.record, /not an admin/],
        [admission, /not an admin/],
      );
    },
  },
  {
    id: "L5",
    what: "two admins admit with one use at once",
    play: () => {
      const { ben, ana } = twoAdmins();
      const ticket = invite(ben);
      syncAll(ben, ana);
      admitBy(ben, person("dan"), ticket);
      const other = admitBy(ana, person("eve"), ticket);
      return played(syncAll(ben, ana), ["ana:admin", "ben:admin", "dan:member"], [other, /holds no share/]);
    },
  },
  {
    id: "L5",
    what: "two admins admit the same guest at once, each from his share",
    play: () => {
      const { ben, ana } = twoAdmins();
      const shares = [ben, ana].map((one) => ({ device: one.machine.id, uses: 1 }));
      const ticket = invite(ben, { shares });
      syncAll(ben, ana);
      admitBy(ben, person("dan"), ticket);
      const other = admitBy(ana, person("dan"), ticket);
      return played(syncAll(ben, ana), ["ana:admin", "ben:admin", "dan:member"], [other, /at the same time/]);
    },
  },
  {
    id: "L6",
    what: "a proof by a guessed seed",
    play: badAdmission(
      (ben, dan) => admitBy(ben, dan, { ...invite(ben), seed: someBytes(16) }),
      /ticket proof does not match/,
    ),
  },
  {
    id: "L6",
    what: "the proof of another guest",
    play: () => {
      const ben = found();
      const ticket = invite(ben, { uses: 2 });
      const dan = admitBy(ben, person("dan"), ticket);
      const { proof, challenge } = dan.body;
      const stolen = admitBy(ben, person("eve"), ticket, { use: 1, proof, challenge });
      return played(ben.view, ["ben:admin", "dan:member"], [stolen, /ticket proof/]);
    },
  },
  {
    id: "L7",
    what: "the same seed and guest in a look-alike mesh",
    play: () => {
      const ben = found();
      const lookAlike = found();
      const ticket = invite(ben);
      const dan = person("dan");
      const real = admitBy(ben, dan, ticket);
      const { seed } = ticket;
      const copy = invite(lookAlike, { seed });
      const subject = proofSubjectOf(real);
      const stolen = admitBy(lookAlike, person("dan"), copy, {
        challenge: subject.challenge,
        proof: makeProof(ticketKey(seed, meshOf(ben)), subject),
      });
      return played(lookAlike.view, ["ben:admin"], [stolen, /ticket proof/]);
    },
  },
  {
    id: "L8",
    what: "a removed admin admits himself again without knowing of his removal",
    play: () => {
      const { ben, ana } = twoAdmins();
      remove(ben, ana);
      const again = { ...person("ana-again"), machine: machine("laptop", "ana's second") };
      const admission = admitBy(ana, again, invite(ana, { role: "admin" }));
      return played(syncAll(ben, ana), ["ben:admin"], [admission, /concurrent remove/]);
    },
  },
  {
    id: "L8",
    what: "a removed admin makes an accomplice an admin, who admits him again",
    play: () => {
      const { ben, ana } = twoAdmins();
      const dan = admit(ben, "dan", "member", ana);
      syncAll(ben, ana, dan);
      remove(ben, ana);
      const promotion = setRole(ana, dan, "admin");
      syncAll(ana, dan);
      const again = { ...person("ana-again"), machine: machine("laptop", "ana's second") };
      const admission = admitBy(dan, again, invite(dan));
      return played(
        syncAll(ben, ana, dan),
        ["ben:admin", "dan:member"],
        [promotion, /concurrent remove/],
        [admission, /grant|not an admin|void/],
      );
    },
  },
  {
    id: "L8",
    what: "a removed device comes back",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      addDevice(ana, ana, machine("phone", "ana phone"));
      syncAll(ben, ana);
      act(ben, { type: "device-removed", device: ana.machine.id, cuts: [] });
      const back = addDevice(ben, ana, ana.machine);
      return played(ben.view, ["ana:member", "ben:admin"], [back, /is or was in the mesh/]);
    },
  },
  {
    id: "L9",
    what: "two admins remove each other: the senior one's removal counts",
    play: () => {
      const { ben, ana } = twoAdmins();
      const dan = admit(ana, "dan", "admin", ben);
      syncAll(ben, ana, dan);
      remove(ana, dan);
      const back = remove(dan, ana);
      return played(syncAll(ben, ana, dan), ["ana:admin", "ben:admin"], [back, /concurrent remove/]);
    },
  },
  {
    id: "L10",
    what: "the last admin leaves",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      const leave = act(ben, { type: "leave", cuts: [] });
      return played(syncAll(ben, ana), ["ana:member", "ben:admin"], [leave, /LAST_ADMIN/]);
    },
  },
  {
    id: "L10",
    what: "the last admin steps down",
    play: () => {
      const ben = found();
      const down = setRole(ben, ben, "member");
      return played(ben.view, ["ben:admin"], [down, /LAST_ADMIN/]);
    },
  },
  {
    id: "L11",
    what: "a device certified by a removed person's key",
    play: () => {
      const { ben, ana } = twoAdmins();
      remove(ben, ana);
      const added = addDevice(ben, ana, machine("evil", "ana evil"));
      return played(ben.view, ["ben:admin"], [added, /nobody who was a member/]);
    },
  },
  {
    id: "L11",
    what: "a device that another person's key certified",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      const added = addDevice(ben, { ...ana, key: ben.key }, machine("evil", "evil"));
      return played(ben.view, ["ana:member", "ben:admin"], [added, /not by ana's person key/]);
    },
  },
  {
    id: "L12",
    what: "a certificate by the key before the rekeying",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      const next = signingKeyFromSeed(someBytes(32));
      const device = newDevice(ana.machine);
      const cert = makeCertificate(next, idBytes(meshOf(ben)), device, someBytes(16));
      const body = { person: ana.id, personKey: next.publicKey, devices: [{ device, cert }], cuts: [] };
      act(ben, { type: "person-rekeyed", ...body });
      syncAll(ben, ana);
      const old = addDevice(ana, ana, machine("evil", "ana evil"));
      return played(ana.view, ["ana:member", "ben:admin"], [old, /not by ana's person key/]);
    },
  },
  {
    id: "L12",
    what: "who is no admin and has no recovery key rekeys",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      const next = signingKeyFromSeed(someBytes(32));
      const device = newDevice(ana.machine);
      const cert = makeCertificate(next, idBytes(meshOf(ben)), device, someBytes(16));
      const body = { person: ana.id, personKey: next.publicKey, devices: [{ device, cert }], cuts: [] };
      const rekeying = act(ana, { type: "person-rekeyed", ...body });
      return played(ana.view, ["ana:member", "ben:admin"], [rekeying, /not an admin/]);
    },
  },
  {
    id: "L13",
    what: "a member floods the mesh with devices",
    play: () => {
      const ben = found();
      const added = Array.from({ length: MAX_DEVICES_PER_PERSON }, (_, i) =>
        addDevice(ben, ben, machine(`flood-${i}`, `flood ${i}`)),
      );
      return played(ben.view, ["ben:admin"], [added.at(-1)!, /16 devices, the most/]);
    },
  },
  {
    id: "L14",
    what: "a device that no record names, a relay's, writes a record",
    play: () => {
      const ben = found();
      const relay = machine("relay");
      const record = act(
        ben,
        {
          type: "epoch",
          after: [],
          keyHash: someBytes(32),
          keys: [{ device: relay.id, enc: someBytes(32), ct: new Uint8Array(48) }],
        },
        { on: relay },
      );
      return played(ben.view, ["ben:admin"], [record, /does not belong to a member/]);
    },
  },
  {
    id: "L14",
    what: "a member's device writes in another person's name",
    play: () => {
      const ben = found();
      const ana = admit(ben, "ana");
      const record = setRole(ana, ana, "admin", { as: ben.id });
      return played(ana.view, ["ana:member", "ben:admin"], [record, /does not belong to a member/]);
    },
  },
];

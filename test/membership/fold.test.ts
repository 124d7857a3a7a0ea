import fc from "fast-check";
import { expect, test } from "vitest";
import { signingKeyFromSeed } from "#crypto";
import { displayName, freeName, isNameTaken, isWithinCut, memberNamed } from "../../protocols/membership.ts";
import { MAX_DEVICES_PER_PERSON } from "../../protocols/roster-rules.ts";
import { createRoster } from "../../protocols/roster.ts";
import { makeRecovery, makeCertificate, stampOf, type RosterRecord } from "../../protocols/roster-record.ts";
import { idBytes } from "../../protocols/ids.ts";
import {
  act,
  addDevice,
  admit,
  admitBy,
  canonical,
  event,
  fold,
  found,
  HOUR,
  invite,
  learn,
  log,
  machine,
  meshOf,
  newDevice,
  NOW,
  person,
  remove,
  setRole,
  someBytes,
  syncAll,
  who,
  type Person,
} from "./people.ts";

/** Folds the records in many orders with duplicates; every order must give the same. */
function foldAnyhow(records: RosterRecord[]) {
  const expected = fold(records);
  fc.assert(
    fc.property(fc.shuffledSubarray(records, { minLength: records.length }), fc.subarray(records), (order, twice) => {
      expect(canonical(fold([...order, ...twice]))).toBe(canonical(expected));
    }),
    { numRuns: 10 },
  );
  return expected;
}

/** ben founds; ana and cy are admins by him, and all know all. */
function threeAdmins(): { ben: Person; ana: Person; cy: Person } {
  const ben = found();
  const ana = admit(ben, "ana", "admin");
  const cy = admit(ben, "cy", "admin", ana);
  syncAll(ben, ana, cy);
  return { ben, ana, cy };
}

test("a founder alone is an admin of his mesh", () => {
  const ben = found();
  const membership = fold(ben.view);
  expect(who(membership)).toEqual(["ben:admin"]);
  expect(membership.founder).toBe(ben.id);
  expect(membership.founder).not.toBe(membership.mesh);
  expect(membership.devices.get(ben.machine.id)?.device.name).toBe("laptop");
  expect(membership.heads).toEqual([ben.view[0]!.id]);
});

test("who is admitted is a member everywhere, ranked by grants from the founder", () => {
  const { ben, ana } = threeAdmins();
  const dan = admit(ana, "dan");
  const membership = foldAnyhow(syncAll(ben, ana, dan));
  expect(who(membership)).toEqual(["ana:admin", "ben:admin", "cy:admin", "dan:member"]);
  expect(membership.members.get(ana.id)?.rank).toBe(1);
  expect(membership.members.get(dan.id)?.rank).toBe(2);
  expect([...membership.void]).toEqual([]);
});

test("R3: mutual removal folds alike in every order, and exactly one of the two stays", () => {
  const { ben, ana, cy } = threeAdmins();
  remove(ana, cy);
  remove(cy, ana);
  const membership = foldAnyhow(syncAll(ben, ana, cy));
  expect(membership.members.size).toBe(2);
  expect(membership.void.size).toBe(1);
});

test("R3: the more senior admin wins a mutual removal, whatever the ids are", () => {
  for (let i = 0; i < 8; i++) {
    const ben = found();
    const ana = admit(ben, "ana", "admin");
    const dan = admit(ana, "dan", "admin", ben);
    remove(ana, dan);
    remove(dan, ana);
    expect(who(fold(syncAll(ben, ana, dan)))).toEqual(["ana:admin", "ben:admin"]);
  }
});

test("R3: a ring of three removals has one result", () => {
  const { ben, ana, cy } = threeAdmins();
  const dan = admit(ben, "dan", "admin", ana, cy);
  remove(ana, cy);
  remove(cy, dan);
  remove(dan, ana);
  const membership = foldAnyhow(syncAll(ben, ana, cy, dan));
  expect(membership.members.size).toBeLessThan(4);
  expect(membership.members.size).toBeGreaterThan(1);
});

test("R3: what a removed admin did before is kept, what he did without knowing of it is void", () => {
  const { ben, ana } = threeAdmins();
  const dan = admit(ana, "dan", "member", ben);
  const eve = admit(ana, "eve");
  remove(ben, ana);
  const membership = foldAnyhow(syncAll(ben, ana, eve));
  expect(membership.members.has(dan.id)).toBe(true);
  expect(membership.members.has(eve.id)).toBe(false);
  expect(membership.members.has(ana.id)).toBe(false);
});

test("R3: who was admitted by a removed admin behind the remover's back acts for nothing, with all whom he admitted", () => {
  const { ben, ana, cy } = threeAdmins();
  const mallory = admit(ana, "mallory", "admin");
  const trudy = admit(mallory, "trudy", "admin");
  remove(trudy, cy);
  remove(ben, ana);
  const membership = foldAnyhow(syncAll(ben, ana, cy, mallory, trudy));
  expect(who(membership)).toEqual(["ben:admin", "cy:admin"]);
});

test("R3: a removed admin's acts after his removal are void", () => {
  const { ben, ana, cy } = threeAdmins();
  remove(ben, ana);
  syncAll(ben, ana);
  const late = setRole(ana, cy, "member");
  const membership = foldAnyhow(syncAll(ben, ana, cy));
  expect(membership.void.get(late.id)).toContain("removed");
  expect(membership.members.get(cy.id)?.role).toBe("admin");
});

test("R3: nobody but the founder ends or lowers the founder", () => {
  const { ben, ana } = threeAdmins();
  const removal = remove(ana, ben);
  const demotion = setRole(ana, ben, "member");
  const device = act(ana, { type: "device-removed", device: ben.machine.id, cuts: [] });
  const membership = foldAnyhow(syncAll(ben, ana));
  for (const record of [removal, demotion, device]) expect(membership.void.get(record.id)).toContain("founder");
  expect(membership.members.get(ben.id)?.role).toBe("admin");
});

test("R3: a record whose parents are missing waits, with all that builds on it", () => {
  const { ben, ana } = threeAdmins();
  const before = ana.view;
  const dan = admit(ben, "dan", "member");
  const late = act(ben, { type: "rename", person: dan.id, name: "daniel" });
  const waiting = fold([...before, late]);
  expect(waiting.waiting).toEqual([late.id]);
  expect(waiting.members.size).toBe(3);
  expect(fold([late, ...ben.view.toReversed()]).waiting).toEqual([]);
});

test("R3: LAST_ADMIN — the last admin can't leave or step down", () => {
  const ben = found();
  admit(ben, "ana");
  const leave = act(ben, { type: "leave", cuts: [] });
  const down = setRole(ben, ben, "member");
  const membership = fold(ben.view);
  for (const record of [leave, down]) expect(membership.void.get(record.id)).toContain("LAST_ADMIN");
});

test("R3: LAST_ADMIN — two last admins who leave at once: the junior one stays", () => {
  const ben = found();
  const ana = admit(ben, "ana", "admin");
  act(ben, { type: "leave", cuts: [] });
  act(ana, { type: "leave", cuts: [] });
  const membership = foldAnyhow(syncAll(ben, ana));
  expect(who(membership)).toEqual(["ana:admin"]);
  expect([...membership.void.values()].join()).toContain("LAST_ADMIN");
});

test("R4: the lower of two concurrent roles wins", () => {
  const { ben, ana, cy } = threeAdmins();
  const dan = admit(ben, "dan", "admin", ana, cy);
  setRole(ben, dan, "member");
  setRole(ben, dan, "admin");
  syncAll(ben, ana, cy);
  setRole(ana, dan, "member");
  setRole(cy, dan, "member", { knowing: ana.view.slice(0, -1) });
  setRole(cy, dan, "admin");
  const membership = foldAnyhow(syncAll(ben, ana, cy, dan));
  expect(membership.members.get(dan.id)?.role).toBe("member");
});

test("R4: a promotion that is back-dated to before a demotion has no effect", () => {
  const { ben, ana, cy } = threeAdmins();
  const dan = admit(ben, "dan", "member", ana, cy);
  syncAll(ben, ana, cy, dan);
  const before = ana.view;
  setRole(ana, dan, "admin");
  syncAll(ben, ana, cy, dan);
  setRole(ben, dan, "member");
  setRole(cy, dan, "admin", { knowing: before, at: NOW - HOUR });
  const membership = foldAnyhow(syncAll(ben, ana, cy, dan));
  expect(membership.members.get(dan.id)?.role).toBe("member");
});

test("R4: a demotion takes what the demoted one did as an admin without knowing of it, and nothing else", () => {
  const { ben, ana, cy } = threeAdmins();
  setRole(ben, cy, "member");
  const eve = admit(cy, "eve");
  const key = act(cy, { type: "sealing-key", sealing: new Uint8Array(32).fill(9) });
  const membership = foldAnyhow(syncAll(ben, ana, cy, eve));
  expect(who(membership)).toEqual(["ana:admin", "ben:admin", "cy:member"]);
  expect(membership.void.has(key.id)).toBe(false);
});

test("R4: nobody raises his own role", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  const self = setRole(ana, ana, "admin");
  expect(fold(syncAll(ben, ana)).void.get(self.id)).toBe("its author is not an admin");
  const cy = admit(ben, "cy", "admin");
  setRole(cy, cy, "member");
  const again = setRole(cy, cy, "admin");
  expect(fold(syncAll(ben, ana, cy)).void.has(again.id)).toBe(true);
});

test("R4: who is made a member and then an admin again is an admin", () => {
  const ben = found();
  const ana = admit(ben, "ana", "admin");
  setRole(ben, ana, "member");
  setRole(ben, ana, "admin");
  const membership = foldAnyhow(ben.view);
  expect(membership.members.get(ana.id)?.role).toBe("admin");
  expect(membership.heads).toEqual([ben.view.at(-1)!.id]);
});

test("R3: an act stands on what holds now: a removal that its author knew as void, and that holds after all, ends his right", () => {
  const { ben, ana, cy } = threeAdmins();
  const dan = admit(cy, "dan", "admin");
  const gus = admit(ben, "gus");
  syncAll(ben, ana, cy, dan);
  remove(dan, ana);
  const cancelled = remove(cy, dan);
  syncAll(ana, cy, dan);
  expect(fold(ana.view).members.has(ana.id)).toBe(true);
  const eve = admit(ana, "eve");
  const late = remove(ana, gus);
  remove(ben, cy);
  const membership = foldAnyhow(syncAll(ben, ana, cy, dan));
  expect(membership.void.has(cancelled.id)).toBe(true);
  expect(membership.members.has(ana.id)).toBe(false);
  expect(membership.members.has(eve.id)).toBe(false);
  expect(membership.void.get(late.id)).toBe("its author had been removed");
  expect(membership.members.has(gus.id)).toBe(true);
});

test("R3: who came in by a use that another took first removes nobody", () => {
  const { ben, ana, cy } = threeAdmins();
  const ticket = invite(ana, { role: "admin" });
  const before = ana.view;
  const guests = ["dan", "eve"].map((name) => {
    const guest = person(name);
    const aside = { ...ana, view: before };
    admitBy(aside, guest, ticket);
    remove(guest, cy);
    return guest;
  });
  const records = syncAll(ben, ...guests);
  const membership = foldAnyhow(records);
  const [inside] = guests.filter((guest) => membership.members.has(guest.id));
  const removal = membership.removed.get(cy.id)!.record;
  expect(records.find((record) => record.id === removal)?.author.person).toBe(inside?.id);
  const outside = guests.find((guest) => guest !== inside)!;
  for (const record of records)
    if (record.author.person === outside.id) expect(membership.void.has(record.id)).toBe(true);
});

test("R5: of concurrent removals the lower cut holds, and a log that one of them does not list is cut at 0", () => {
  const { ben, ana, cy } = threeAdmins();
  remove(ben, cy, [
    { log: log("a"), seq: 7, id: event("a7") },
    { log: log("b"), seq: 3, id: event("b3") },
  ]);
  remove(ana, cy, [{ log: log("a"), seq: 5, id: event("a5") }]);
  const membership = foldAnyhow(syncAll(ben, ana, cy));
  expect([...membership.removed.get(cy.id)!.cuts]).toEqual([[log("a"), { seq: 5, id: event("a5") }]]);
  const device = cy.machine.id;
  expect(isWithinCut(membership, device, log("a"), 5, event("a5"))).toBe(true);
  expect(isWithinCut(membership, device, log("a"), 5, event("fork"))).toBe(false);
  expect(isWithinCut(membership, device, log("a"), 6, event("a6"))).toBe(false);
  expect(isWithinCut(membership, device, log("b"), 0, event("b0"))).toBe(false);
  expect(isWithinCut(membership, ben.machine.id, log("ben"), 99, event("x"))).toBe(true);
});

test("R5: a device that ended before its person keeps the cut of its own end", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  addDevice(ana, ana, machine("phone", "ana phone"));
  act(ana, {
    type: "device-removed",
    device: machine("phone", "ana phone").id,
    cuts: [{ log: log("p"), seq: 9, id: event("p9") }],
  });
  syncAll(ben, ana);
  remove(ben, ana, []);
  const membership = foldAnyhow(syncAll(ben, ana));
  const phone = machine("phone", "ana phone").id;
  expect(isWithinCut(membership, phone, log("p"), 9, event("p9"))).toBe(true);
  expect(isWithinCut(membership, ana.machine.id, log("p"), 9, event("p9"))).toBe(false);
});

test("R1: a device counts only if the person key certified it and a living device of his or an admin wrote it in", () => {
  const { ben, ana, cy } = threeAdmins();
  const dan = admit(ben, "dan", "member", ana, cy);
  const own = addDevice(ana, ana, machine("phone", "ana phone"));
  const byAdmin = addDevice(ben, dan, machine("phone", "dan phone"));
  syncAll(ben, ana, cy, dan);
  const byStranger = addDevice(dan, ana, machine("tablet", "ana tablet"));
  const forged = act(dan, {
    type: "device-added",
    person: dan.id,
    device: newDevice(machine("evil", "evil")),
    cert: makeCertificate(ana.key, idBytes(meshOf(ben)), newDevice(machine("evil", "evil")), someBytes(16)),
  });
  const membership = foldAnyhow(syncAll(ben, ana, cy, dan));
  expect(
    membership.members
      .get(ana.id)
      ?.devices.map((device) => device.name)
      .toSorted(),
  ).toEqual(["laptop", "phone"]);
  expect([own, byAdmin].some((record) => membership.void.has(record.id))).toBe(false);
  expect(membership.void.get(byStranger.id)).toBe("its author is not an admin");
  expect(membership.void.get(forged.id)).toContain("person key");
});

test("R1: a stolen device certifies no other once it is removed, however it dates its records", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  addDevice(ana, ana, machine("phone", "ana phone"));
  syncAll(ben, ana);
  const before = ana.view;
  act(ben, { type: "device-removed", device: ana.machine.id, cuts: [] });
  const concurrent = addDevice(ana, ana, machine("evil", "ana evil"), { knowing: before });
  const knowing = [...before, concurrent];
  const renamed = act(
    ana,
    { type: "rename", person: ana.id, name: "evil" },
    { knowing, on: machine("evil", "ana evil") },
  );
  const later = addDevice(ana, ana, machine("worse", "ana worse"), { knowing: ben.view });
  const membership = foldAnyhow(syncAll(ben, ana));
  expect(membership.members.get(ana.id)?.devices.map((device) => device.name)).toEqual(["phone"]);
  for (const record of [concurrent, renamed, later]) expect(membership.void.has(record.id)).toBe(true);
});

test("R1: rekeying keeps the person and ends every device that it does not list", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  addDevice(ana, ana, machine("phone", "ana phone"));
  syncAll(ben, ana);
  const next = signingKeyFromSeed(someBytes(32));
  const phone = machine("phone", "ana phone");
  const cert = makeCertificate(next, idBytes(meshOf(ben)), newDevice(phone), someBytes(16));
  act(ben, {
    type: "person-rekeyed",
    person: ana.id,
    personKey: next.publicKey,
    devices: [{ device: newDevice(phone), cert }],
    cuts: [],
  });
  const concurrent = addDevice(ana, ana, machine("evil", "ana evil"));
  const membership = foldAnyhow(syncAll(ben, ana));
  expect(membership.members.get(ana.id)?.devices.map((device) => device.name)).toEqual(["phone"]);
  expect(membership.members.get(ana.id)?.personKey).toEqual(next.publicKey);
  expect(membership.void.has(concurrent.id)).toBe(true);
  const fresh = addDevice({ ...ana, machine: phone, view: ben.view }, { ...ana, key: next }, machine("new", "ana new"));
  const after = fold([...ben.view, fresh]);
  expect(
    after.members
      .get(ana.id)
      ?.devices.map((device) => device.name)
      .toSorted(),
  ).toEqual(["new", "phone"]);
  const old = addDevice({ ...ana, machine: phone }, ana, machine("old", "ana old"), { knowing: ben.view });
  expect(fold([...ben.view, ...ana.view, old]).void.get(old.id)).toContain("person key");
});

test("R1: a recovery key rekeys its person from a new device, over a stolen one that removes the others", () => {
  const recovery = signingKeyFromSeed(someBytes(32));
  const ben = found("ben", "reads-all", recovery.publicKey);
  const thief = { ...ben, view: ben.view };
  addDevice(thief, ben, machine("evil", "ben evil"));
  const next = signingKeyFromSeed(someBytes(32));
  const fresh = machine("fresh", "ben fresh");
  const cert = makeCertificate(next, idBytes(meshOf(ben)), newDevice(fresh), someBytes(16));
  const rekeying = { person: ben.id, personKey: next.publicKey, devices: [fresh.id] };
  const good = makeRecovery(recovery, meshOf(ben), rekeying, someBytes(16));
  const forged = makeRecovery(signingKeyFromSeed(someBytes(32)), meshOf(ben), rekeying, someBytes(16));
  const body = {
    type: "person-rekeyed" as const,
    person: ben.id,
    personKey: next.publicKey,
    devices: [{ device: newDevice(fresh), cert }],
    cuts: [],
  };
  const bad = act({ ...ben, view: ben.view.slice(0, 1) }, { ...body, recovery: forged }, { on: fresh });
  expect(fold([ben.view[0]!, bad]).void.get(bad.id)).toContain("recovery key");
  act(ben, { ...body, recovery: good }, { on: fresh });
  const membership = foldAnyhow(syncAll(ben, thief));
  expect([...membership.devices.keys()]).toEqual([fresh.id]);
  expect(who(membership)).toEqual(["ben:admin"]);
});

test("R7: a device rotates its sealing key", () => {
  const ben = found();
  act(ben, { type: "sealing-key", sealing: new Uint8Array(32).fill(3) });
  expect(fold(ben.view).devices.get(ben.machine.id)?.device.sealingKey).toEqual(new Uint8Array(32).fill(3));
});

test("R10: two admins who admit at once admit both", () => {
  const { ben, ana, cy } = threeAdmins();
  const dan = admit(ana, "dan");
  const eve = admit(cy, "eve");
  expect(who(foldAnyhow(syncAll(ben, ana, cy, dan, eve)))).toEqual([
    "ana:admin",
    "ben:admin",
    "cy:admin",
    "dan:member",
    "eve:member",
  ]);
});

test("R10: an invite is used as often as the admitting device's share says, also behind its own back", () => {
  const ben = found();
  const ticket = invite(ben, { uses: 1 });
  const before = ben.view;
  const dan = person("dan");
  const eve = person("eve");
  admitBy(ben, dan, ticket);
  const twice = admitBy(ben, eve, ticket);
  expect(fold(ben.view).void.get(twice.id)).toContain("use 1 of this share was taken");
  const fay = person("fay");
  const aside = admitBy({ ...ben, view: before }, fay, ticket);
  const membership = foldAnyhow([...ben.view, aside]);
  expect([dan, fay].filter((guest) => membership.members.has(guest.id))).toHaveLength(1);
  const second = admitBy(ben, person("gus"), ticket, { use: 1 });
  expect(fold(ben.view).void.get(second.id)).toContain("share of 1");
  expect(fold(ben.view).invites.get(ticket.record.id)?.usesLeft.get(ben.machine.id)).toBe(0);
});

test("R10: only a device with a share admits", () => {
  const { ben, ana } = threeAdmins();
  const ticket = invite(ben);
  syncAll(ben, ana);
  const admission = admitBy(ana, person("dan"), ticket);
  expect(fold(ana.view).void.get(admission.id)).toContain("no share");
  const shared = invite(ben, {
    shares: [
      { device: ben.machine.id, uses: 1 },
      { device: ana.machine.id, uses: 1 },
    ],
  });
  syncAll(ben, ana);
  admitBy(ana, person("eve"), shared);
  admitBy(ben, person("fay"), shared);
  expect(foldAnyhow(syncAll(ben, ana)).members.size).toBe(5);
});

test("R10: an admission stamped after the expiry is void, and the fold reads no clock", () => {
  const ben = found();
  const ticket = invite(ben, { expires: NOW + HOUR, uses: 2 });
  const inTime = admitBy(ben, person("dan"), ticket, {}, { at: NOW + HOUR });
  const late = admitBy(ben, person("eve"), ticket, { use: 1 }, { at: NOW + HOUR + 1 });
  const membership = fold(ben.view);
  expect(membership.void.has(inTime.id)).toBe(false);
  expect(membership.void.get(late.id)).toBe("its invite had expired");
});

test("R10: an admission without the ticket's proof, or with another guest's, is void at every node, even by an admin", () => {
  const ben = found();
  const ticket = invite(ben, { uses: 3 });
  const good = admitBy(ben, person("dan"), ticket);
  const stolen = admitBy(ben, person("eve"), ticket, { use: 1, proof: good.body.proof });
  const made = admitBy(ben, person("fay"), ticket, { use: 2, proof: new Uint8Array(64) });
  const membership = fold(ben.view);
  expect(membership.void.has(good.id)).toBe(false);
  for (const { id } of [stolen, made]) expect(membership.void.get(id)).toBe("its ticket proof does not match");
});

test("R10: an admission that the closing did not know is void; one that it knew stays", () => {
  const { ben, ana } = threeAdmins();
  const ticket = invite(ben, { uses: 3 });
  const dan = person("dan");
  admitBy(ben, dan, ticket);
  syncAll(ben, ana);
  act(ana, { type: "invite-closed", invite: ticket.record.id });
  const eve = person("eve");
  const meanwhile = admitBy(ben, eve, ticket, { use: 1 });
  syncAll(ben, ana);
  const after = admitBy(ben, person("fay"), ticket, { use: 2 });
  const membership = foldAnyhow(syncAll(ben, ana));
  expect(membership.members.has(dan.id)).toBe(true);
  expect(membership.void.get(meanwhile.id)).toContain("invite-closed");
  expect(membership.void.get(after.id)).toBe("its invite was closed");
  expect(membership.invites.get(ticket.record.id)?.closed).toBe(true);
});

test("R10: removing an admin closes the invites that he opened: he knows their seeds", () => {
  const { ben, ana, cy } = threeAdmins();
  const ticket = invite(ana, { shares: [{ device: cy.machine.id, uses: 2 }] });
  syncAll(ben, ana, cy);
  remove(ben, ana);
  const concurrent = admitBy(cy, person("dan"), ticket);
  syncAll(ben, cy);
  const later = admitBy(cy, person("eve"), ticket, { use: 1 });
  const membership = foldAnyhow(syncAll(ben, ana, cy));
  expect(membership.invites.get(ticket.record.id)?.closed).toBe(true);
  expect(membership.void.has(concurrent.id)).toBe(true);
  expect(membership.void.get(later.id)).toBe("its invite was closed");
});

test("R10: demoting an admin closes the invites that he opened", () => {
  const { ben, ana, cy } = threeAdmins();
  const ticket = invite(ana, { shares: [{ device: cy.machine.id, uses: 1 }] });
  syncAll(ben, ana, cy);
  setRole(ben, ana, "member");
  const admission = admitBy(cy, person("dan"), ticket);
  const membership = foldAnyhow(syncAll(ben, ana, cy));
  expect(membership.void.get(admission.id)).toContain("concurrent role");
  expect(membership.invites.get(ticket.record.id)?.closed).toBe(true);
});

test("R10: one guest whom two admins admit at once is in once, by the more senior one", () => {
  const ben = found();
  const ana = admit(ben, "ana", "admin");
  const ticket = invite(ben, {
    shares: [
      { device: ben.machine.id, uses: 1 },
      { device: ana.machine.id, uses: 1 },
    ],
  });
  syncAll(ben, ana);
  const dan = person("dan");
  const bySenior = admitBy(ben, dan, ticket);
  const byJunior = admitBy(ana, person("dan"), ticket);
  const membership = foldAnyhow(syncAll(ben, ana));
  expect(membership.void.has(bySenior.id)).toBe(false);
  expect(membership.void.get(byJunior.id)).toContain("at the same time");
  expect(who(membership)).toEqual(["ana:admin", "ben:admin", "dan:member"]);
});

test("R12: equal names that came at once are told apart by a suffix until an admin renames one", () => {
  const { ben, ana, cy } = threeAdmins();
  const one = admit(ana, "dan");
  const other = person("dan");
  other.machine = machine("laptop", "other dan");
  admitBy(cy, other, invite(cy));
  let membership = foldAnyhow(syncAll(ben, ana, cy));
  expect(displayName(membership, one.id)).toMatch(/^dan~[a-z2-7]{4}$/);
  expect(displayName(membership, one.id)).not.toBe(displayName(membership, other.id));
  const found = memberNamed(membership, "dan");
  expect(found).toMatchObject({ ok: false, why: "ambiguous" });
  const tag = displayName(membership, other.id).slice(4);
  expect(memberNamed(membership, "dan", tag)).toMatchObject({ ok: true, member: { person: other.id } });
  act(ben, { type: "rename", person: other.id, name: "danny" });
  membership = fold(ben.view);
  expect(displayName(membership, one.id)).toBe("dan");
});

test("R12: a removed member's name is not given again", () => {
  const ben = found();
  const ana = admit(ben, "ana");
  const same = act(ben, { type: "rename", person: ben.id, name: "ana" });
  remove(ben, ana);
  const again = admitBy(ben, { ...person("ana"), machine: machine("laptop", "second ana") }, invite(ben));
  const membership = fold(ben.view);
  expect(membership.void.get(same.id)).toBe("the name ana was taken");
  expect(membership.void.get(again.id)).toContain("removed member");
  expect(isNameTaken(membership, "ana")).toBe(true);
  expect(freeName(membership, "ana")).toBe("ana-2");
  expect(memberNamed(membership, "ana")).toMatchObject({ ok: false, why: "removed" });
  expect(memberNamed(membership, "zoe")).toMatchObject({ ok: false, why: "unknown" });
});

test("R6: an epoch is not written under once somebody who may hold its key is out", async () => {
  const ben = found();
  const epoch = () =>
    act(ben, {
      type: "epoch",
      after: [],
      keyHash: someBytes(32),
      keys: [{ device: ben.machine.id, enc: someBytes(32), ct: new Uint8Array(48) }],
    });
  const first = epoch();
  const ana = admit(ben, "ana");
  expect(fold(ben.view).epochs.get(first.id as never)?.usable).toBe(true);
  remove(ben, ana);
  expect(fold(ben.view).epochs.get(first.id as never)?.usable).toBe(false);
  const second = epoch();
  expect(fold(ben.view).epochs.get(second.id as never)?.usable).toBe(true);
});

test("a person has at most 16 devices, also when they are added at once", () => {
  const ben = found();
  const base = ben.view;
  const all: RosterRecord[] = [...base];
  for (let i = 0; i < MAX_DEVICES_PER_PERSON + 3; i++)
    all.push(addDevice({ ...ben, view: base }, ben, machine(`d-${i}`, `ben ${i}`)));
  expect(foldAnyhow(all).members.get(ben.id)?.devices).toHaveLength(MAX_DEVICES_PER_PERSON);
});

test("what a stranger presents is looked at and taken back; only what is rightful is worth keeping", () => {
  const { ben, ana } = threeAdmins();
  const roster = createRoster(meshOf(ben));
  roster.addRecords(ana.view);
  const before = canonical(roster.membership!);
  const dan = admit(ben, "dan");
  const junk = act(dan, { type: "rename", person: ben.id, name: "fool" });
  const orphan = act(dan, { type: "sealing-key", sealing: someBytes(32) }, { knowing: [junk] });
  const presented = [...dan.view, orphan].map((record) => record.sealed);
  const { isMember, keep } = roster.consider(dan.machine.id, presented);
  expect(isMember).toBe(true);
  expect(keep.map((record) => record.body.type)).toEqual(["invite-opened", "admit", "sealing-key"]);
  expect(canonical(roster.membership!)).toBe(before);
  expect(roster.consider(machine("x", "nobody").id, presented).isMember).toBe(false);
  const other = act(ana, { type: "rename", person: ana.id, name: "anna" });
  roster.addRecords([other]);
  roster.addRecords(keep);
  expect(roster.membership!.devices.has(dan.machine.id)).toBe(true);
  expect(canonical(roster.membership!)).toBe(canonical(fold([...ana.view, ...keep])));
});

test("R14: the proof of a device is what the other side lacks, causes first", () => {
  const { ben, ana } = threeAdmins();
  const dan = admit(ben, "dan");
  const mine = createRoster(meshOf(ben));
  mine.addRecords(dan.view);
  const theirs = createRoster(meshOf(ben));
  theirs.addRecords(ana.view);
  const proof = mine.proofFor(dan.machine.id, theirs.membership!.heads)!;
  expect(proof.map((record) => record.body.type)).toEqual(["invite-opened", "admit"]);
  theirs.addRecords(proof);
  expect(theirs.membership!.devices.has(dan.machine.id)).toBe(true);
  expect(mine.proofFor(machine("x", "nobody").id)).toBeNull();
  for (let i = 0; i < 300; i++) act(ben, { type: "sealing-key", sealing: new Uint8Array(32).fill(i) });
  const eve = admit(ben, "eve");
  mine.addRecords(eve.view);
  expect(mine.proofFor(eve.machine.id)).toBeNull();
  expect(mine.proofFor(eve.machine.id, [eve.view.at(-3)!.id])).toHaveLength(2);
});

test("records of another mesh are refused", () => {
  const ben = found();
  const roster = createRoster(meshOf(ben));
  roster.addRecords(ben.view);
  const other = found("ben");
  const { refused } = roster.add(other.view.map((record) => record.sealed));
  expect(refused[0]?.error.code).toBe("WRONG_MESH");
  expect(() => fold([...ben.view, ...other.view])).toThrow(/mesh/);
  expect(() => fold([])).toThrow(/genesis/);
});

test("stamps count for nothing but an invite's expiry", () => {
  const { ben, ana, cy } = threeAdmins();
  remove(ben, cy, [], { at: NOW + 1000 * HOUR });
  admit(cy, "eve");
  learn(ana, ben.view);
  setRole(ben, ana, "member", { at: 0 });
  expect(who(foldAnyhow(syncAll(ben, ana, cy)))).toEqual(["ana:member", "ben:admin"]);
  expect(stampOf(NOW)).toHaveLength(8);
});

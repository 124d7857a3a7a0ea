import fc from "fast-check";
import { expect, test } from "vitest";
import { idBytes } from "../../protocols/ids.ts";
import type { Membership } from "../../protocols/membership.ts";
import { makeCertificate, type RosterRecord } from "../../protocols/roster-record.ts";
import { createRoster } from "../../protocols/roster.ts";
import {
  act,
  addDevice,
  admitBy,
  canonical,
  fold,
  found,
  invite,
  learn,
  log,
  event,
  machine,
  meshOf,
  newDevice,
  person,
  remove,
  setRole,
  someBytes,
  type Machine,
  type Person,
} from "./people.ts";

/** In each property; nightly: KIN_RUNS=2000. */
const RUNS = Number(process.env["KIN_RUNS"] ?? 15);

/** What one step may do; `who`, `whom` and `view` are taken modulo what there is. */
const STEPS = [
  "sync",
  "sync",
  "sync",
  "admit",
  "admit",
  "admit-admin",
  "admit-again",
  "remove",
  "remove",
  "promote",
  "demote",
  "leave",
  "add-device",
  "remove-device",
  "rekey",
  "rename",
  "close",
  "epoch",
] as const;

interface Step {
  what: (typeof STEPS)[number];
  who: number;
  whom: number;
  /** How much of his view he pretends not to know. */
  forget: number;
}

const steps = fc.array(
  fc.record({
    what: fc.constantFrom(...STEPS),
    who: fc.nat(50),
    whom: fc.nat(50),
    forget: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(6) }),
  }),
  { minLength: 10, maxLength: 45 },
);

/** Random acts, rightful and not, by random people on what they happen to know; starts with three admins. */
function randomMesh(script: Step[]): RosterRecord[] {
  const ben = found();
  const people: Person[] = [ben];
  const machines: { machine: Machine; owner: Person }[] = [{ machine: ben.machine, owner: ben }];
  const tickets: { ticket: ReturnType<typeof invite>; used: number }[] = [];
  const all = new Map<string, RosterRecord>(ben.view.map((record) => [record.id, record]));
  const guest = (by: Person, role: "admin" | "member", knowing: RosterRecord[]) => {
    const one = person(`p${people.length}`);
    const ticket = invite(by, { role, uses: 2, knowing });
    tickets.push({ ticket, used: 1 });
    admitBy(by, one, ticket, {}, { knowing: [...knowing, ticket.record] });
    people.push(one);
    machines.push({ machine: one.machine, owner: one });
  };
  guest(ben, "admin", ben.view);
  guest(ben, "admin", ben.view);
  for (const step of script) {
    const who = people[step.who % people.length]!;
    const whom = people[step.whom % people.length]!;
    const target = machines[step.whom % machines.length]!;
    const knowing = who.view.slice(0, Math.max(1, who.view.length - step.forget));
    const cuts = [{ log: log(whom.name), seq: step.who, id: event(`${whom.name}${step.who}`) }];
    switch (step.what) {
      case "sync":
        learn(whom, who.view);
        break;
      case "admit":
        guest(who, "member", knowing);
        break;
      case "admit-admin":
        guest(who, "admin", knowing);
        break;
      case "admit-again": {
        const used = tickets[step.whom % tickets.length]!;
        admitBy(who, person(`q${people.length}`), used.ticket, { use: used.used % 2 }, { knowing });
        break;
      }
      case "remove":
        remove(who, whom, cuts, { knowing });
        break;
      case "promote":
        setRole(who, whom, "admin", { knowing });
        break;
      case "demote":
        setRole(who, whom, "member", { knowing });
        break;
      case "leave":
        act(who, { type: "leave", cuts }, { knowing });
        break;
      case "add-device": {
        const added = machine(`m${machines.length}`);
        addDevice(who, whom, added, { knowing });
        machines.push({ machine: added, owner: whom });
        break;
      }
      case "remove-device":
        act(who, { type: "device-removed", device: target.machine.id, cuts }, { knowing });
        break;
      case "rekey": {
        const device = newDevice(target.machine);
        const cert = makeCertificate(whom.key, idBytes(meshOf(ben)), device, someBytes(16));
        const body = { person: whom.id, personKey: whom.key.publicKey, devices: [{ device, cert }], cuts };
        act(who, { type: "person-rekeyed", ...body }, { knowing });
        break;
      }
      case "rename":
        act(who, { type: "rename", person: whom.id, name: `n${step.who}` }, { knowing });
        break;
      case "close":
        act(who, { type: "invite-closed", invite: tickets[step.whom % tickets.length]!.ticket.record.id }, { knowing });
        break;
      case "epoch": {
        const keys = [{ device: who.machine.id, enc: someBytes(32), ct: new Uint8Array(48) }];
        act(who, { type: "epoch", after: [], keyHash: someBytes(32), keys }, { knowing });
        break;
      }
    }
    for (const one of people) for (const record of one.view) all.set(record.id, record);
  }
  return [...all.values()];
}

/** Folds with records arriving one by one in this order. */
function foldOneByOne(records: RosterRecord[], keptFolds?: number): Membership {
  const roster = createRoster(records[0]!.mesh, keptFolds === undefined ? {} : { keptFolds });
  for (const record of records) roster.addRecords([record]);
  return roster.membership!;
}

test("R3: random meshes fold alike in every order, with duplicates, one by one or all at once", () => {
  let voided = 0;
  let kept = 0;
  fc.assert(
    fc.property(steps, fc.infiniteStream(fc.nat(1_000_000)), (script, draws) => {
      const records = randomMesh(script);
      const expected = fold(records);
      voided += expected.void.size;
      kept += records.length - expected.void.size;
      for (let i = 0; i < 3; i++) {
        const order = shuffled(records, draws);
        const twice = [...order, ...order.slice(0, 5)];
        expect(canonical(fold(twice))).toBe(canonical(expected));
        expect(canonical(foldOneByOne(order))).toBe(canonical(expected));
      }
    }),
    { numRuns: RUNS },
  );
  // The generator must not make only nonsense or only rightful acts.
  expect(voided).toBeGreaterThan(RUNS);
  expect(kept).toBeGreaterThan(RUNS);
});

test("R3: any subset folds alike, and what lacks its parents waits", () => {
  fc.assert(
    fc.property(steps, fc.infiniteStream(fc.nat(1_000_000)), (script, draws) => {
      const records = randomMesh(script);
      const some = [records[0]!, ...shuffled(records.slice(1), draws).slice(0, Math.ceil(records.length * 0.8))];
      const expected = fold(some);
      expect(canonical(foldOneByOne(shuffled(some, draws)))).toBe(canonical(expected));
      const there = new Set(some.map((record) => record.id));
      for (const record of some)
        if (record.parents.some((parent) => !there.has(parent))) expect(expected.waiting).toContain(record.id);
    }),
    { numRuns: RUNS },
  );
});

test("R3: the short cut for a record on one head gives what folding everything again gives", () => {
  fc.assert(
    fc.property(steps, (script) => {
      const records = randomMesh(script);
      expect(canonical(foldOneByOne(records, 0))).toBe(canonical(foldOneByOne(records)));
    }),
    { numRuns: RUNS },
  );
});

test("R3: whatever happens there is an admin, the founder is ended by nobody else, and nobody is in and out at once", () => {
  fc.assert(
    fc.property(steps, (script) => {
      const records = randomMesh(script);
      const membership = fold(records);
      const byId = new Map(records.map((record) => [record.id, record]));
      const admins = [...membership.members.values()].filter((member) => member.role === "admin");
      expect(admins.length).toBeGreaterThan(0);
      const end = membership.removed.get(membership.founder);
      if (end !== undefined) expect(byId.get(end.record)?.body.type).toBe("leave");
      for (const removed of membership.removed.keys()) expect(membership.members.has(removed)).toBe(false);
      for (const [id, { member }] of membership.devices) {
        expect(membership.members.get(member.person)).toBe(member);
        expect(membership.formerDevices.has(id)).toBe(false);
      }
      for (const epoch of membership.epochs.values())
        if (epoch.usable) expect(epoch.recipients.every((device) => membership.devices.has(device))).toBe(true);
      for (const invited of membership.invites.values())
        for (const left of invited.usesLeft.values()) expect(left).toBeGreaterThanOrEqual(0);
    }),
    { numRuns: 2 * RUNS },
  );
});

test("R3: nobody gains by withholding: a removal that is accepted in a set is undone only by a more senior one", () => {
  fc.assert(
    fc.property(steps, (script) => {
      const records = randomMesh(script);
      const membership = fold(records);
      const founderActs = records.filter(
        (record) =>
          record.body.type === "remove" &&
          record.author.person === membership.founder &&
          !membership.void.has(record.id),
      );
      for (const record of founderActs)
        if (record.body.type === "remove") expect(membership.members.has(record.body.person)).toBe(false);
    }),
    { numRuns: RUNS },
  );
});

function shuffled<T>(items: T[], draws: Iterator<number>): T[] {
  const out = [...items];
  for (let i = out.length - 1; i > 0; i--) {
    const at = (draws.next().value as number) % (i + 1);
    [out[i], out[at]] = [out[at]!, out[i]!];
  }
  return out;
}

/** Vectors of tickets, roster records, the fold and joining (§7–§10). */
import { sealingKeyFromSeed, signingKeyFromSeed } from "#crypto";
import { decode, encode, toHex } from "../../protocols/bytes.ts";
import { epochKeyHash } from "../../protocols/epoch.ts";
import { idBytes, idOf, type MeshId, type PersonId } from "../../protocols/ids.ts";
import type { Membership } from "../../protocols/membership.ts";
import {
  makeCertificate,
  makeLogWord,
  makeProof,
  makeRecovery,
  personIdOf,
  stampOf,
  type NewDevice,
  type RosterRecord,
} from "../../protocols/roster-record.ts";
import { foldRoster } from "../../protocols/roster.ts";
import { sealedValue, sealOne, type Sealed } from "../../protocols/signature.ts";
import { makeTicket, ticketKey, type Ticket } from "../../protocols/ticket.ts";
import {
  act,
  addDevice,
  admit,
  admitBy,
  event,
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
  type Machine,
  type Person,
} from "../membership/people.ts";
import { bytesOf, hexOf } from "./basics.ts";
import { hpkeSealWith } from "./hpke.ts";
import type { VectorFile } from "./make.ts";

export async function rosterVectors(): Promise<{ [file: string]: VectorFile }> {
  const files = { "ticket.json": tickets(), "roster.json": roster(), "join.json": await join() };
  // Added later: what is drawn for it must not change what others draw, whose bytes the page shows.
  (files["roster.json"]["cases"] as unknown[]).push(rosterCase("logs that are allowed after a fork", allowedLogs()));
  return files;
}

// ── tickets ──

function someTicket(more: Partial<Ticket> = {}): Ticket {
  return {
    mesh: idOf(bytesOf("ticket mesh")),
    meshName: "team",
    inviter: idOf(signingKeyFromSeed(bytesOf("inviter")).publicKey),
    inviterName: "ben",
    role: "member",
    expiresAt: 1_800_000_000_000,
    uses: 1,
    guestName: "ana",
    invite: idOf(bytesOf("invite")),
    seed: bytesOf("ticket seed", 16),
    addresses: ["/ip4/192.168.1.7/tcp/24001", "/ip4/192.168.1.7/tcp/24002/ws"],
    relays: [],
    ...more,
  };
}

function ticketFields(ticket: Ticket) {
  return { ...ticket, seed: toHex(ticket.seed), ticketKey: toHex(ticketKey(ticket.seed, ticket.mesh).publicKey) };
}

function tickets(): VectorFile {
  const plain = someTicket();
  const rich = someTicket({
    role: "admin",
    uses: 50,
    guestName: null,
    addresses: ["/ip6/2001:db8::1/tcp/4001"],
    relays: ["/ip4/51.10.0.1/tcp/4001/p2p/12D3KooWCRscMgHgEo3ojm8ovzheydpvTEqsDtq7Vby38cMHrYjt"],
  });
  const bare = someTicket({ addresses: [] });
  const text = makeTicket(plain);
  return {
    section: "7",
    about: "tickets: text → fields, and the public half of the ticket key. refused: none of these is a good ticket.",
    tickets: [plain, rich, bare].map((ticket) => ({ text: makeTicket(ticket), ...ticketFields(ticket) })),
    refused: [
      { text: text.slice(0, -3), why: "cut off" },
      { text: text.replace("kint", "kinm"), why: "another kind" },
      { text: `${text.slice(0, 40)}${text[40] === "q" ? "r" : "q"}${text.slice(41)}`, why: "a wrong character" },
    ],
  };
}

// ── the roster ──

function sealedHex(sealed: Sealed): string {
  return hexOf(sealedValue(sealed));
}

/** The membership as data: ids in hex, lists and maps in the order of their ids. */
export function membershipValue(membership: Membership) {
  const cuts = (map: ReadonlyMap<string, { seq: number; id: string }>) =>
    [...map].map(([name, cut]) => [name, cut.seq, cut.id]);
  return {
    mesh: membership.mesh,
    name: membership.name,
    founder: membership.founder,
    policy: membership.policy,
    members: [...membership.members.values()].map((member) => ({
      person: member.person,
      name: member.name,
      role: member.role,
      rank: member.rank,
      personKey: toHex(member.personKey),
      devices: member.devices.map((device) => ({
        id: device.id,
        name: device.name,
        sealing: toHex(device.sealingKey),
      })),
    })),
    removed: [...membership.removed].map(([id, was]) => ({
      person: id,
      name: was.name,
      record: was.record,
      cuts: cuts(was.cuts),
    })),
    formerDevices: [...membership.formerDevices].map(([id, was]) => ({
      device: id,
      person: was.person,
      record: was.record,
      cuts: cuts(was.cuts),
    })),
    invites: [...membership.invites.values()].map((one) => ({
      record: one.record,
      closed: one.closed,
      usesLeft: [...one.usesLeft].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    })),
    epochs: [...membership.epochs.values()].map((epoch) => ({ id: epoch.id, usable: epoch.usable })),
    allowed: [...membership.allowedLogs].map((pair) => pair.split("/")),
    heads: membership.heads,
    waiting: membership.waiting,
    void: [...membership.void.keys()],
  };
}

export function rosterCase(name: string, records: RosterRecord[]) {
  return {
    name,
    records: records.map(({ sealed }) => sealedHex(sealed)),
    membership: membershipValue(foldRoster(records)),
  };
}

function roster(): VectorFile {
  const all = [...fixedMeshes(), ...Array.from({ length: 12 }, (_, i) => randomMesh(i))];
  const ben = found("ben", "reads-all");
  const genesis = ben.view[0]!;
  return {
    section: "8, 9",
    about:
      "cases: the records in any order fold to that membership; refused: records that fail alone. Ids are hex; lists are in the order of their ids, `void` and `waiting` are record ids, cuts [log, seq, event id], allowed [device, log].",
    genesis: { sealed: sealedHex(genesis.sealed), id: genesis.id, person: ben.id, mesh: genesis.mesh },
    cases: all.map(([name, records]) => rosterCase(name, records)),
    refused: badRecords(ben),
  };
}

function fixedMeshes(): [string, RosterRecord[]][] {
  return [
    ["alone", found("solo", "from-epoch").view],
    ["every type", everyType()],
    ["two admins remove each other", mutualRemoval()],
    ["three admins in a ring", ringOfThree()],
    ["a removed admin's acts", removedAdminActs()],
    ["a demotion against acts that did not know it", demotion()],
    ["an invite closed meanwhile, used twice, used late", invites()],
    ["the last admin", lastAdmin()],
    ["cuts of two removals", cutsOfTwo()],
    ["a recovery", recovery()],
    ["a record without its parent", waiting()],
  ];
}

function trio(): [Person, Person, Person] {
  const ben = found("ben");
  const ana = admit(ben, "ana", "admin");
  const cem = admit(ben, "cem", "admin", ana);
  learn(cem, ben.view);
  learn(ana, ben.view);
  return [ben, ana, cem];
}

function everyone(...people: Person[]): RosterRecord[] {
  return [...new Map(people.flatMap((one) => one.view).map((record) => [record.id, record])).values()];
}

function everyType(): RosterRecord[] {
  const ben = found("ben");
  const keys = (device: Machine) => [{ device: device.id, enc: someBytes(32), ct: new Uint8Array(48) }];
  const first = act(ben, { type: "epoch", after: [], keyHash: someBytes(32), keys: keys(ben.machine) });
  const ana = admit(ben, "ana");
  const dan = admit(ben, "dan", "member", ana);
  setRole(ben, ana, "admin");
  learn(ana, ben.view);
  addDevice(ana, ana, machine("phone"));
  act(ana, { type: "sealing-key", sealing: someBytes(32) });
  act(ana, { type: "rename", person: dan.id, name: "daniel" });
  const open = invite(ana, { uses: 3 });
  act(ana, { type: "invite-closed", invite: open.record.id });
  act(ana, { type: "device-removed", device: machine("phone").id, cuts: [] });
  learn(dan, ana.view);
  act(dan, { type: "leave", cuts: [{ log: log("dan"), seq: 4, id: event("dan 4") }] });
  const fresh = newDevice(machine("new", "ana new"));
  const newKey = signingKeyFromSeed(bytesOf("ana again"));
  const cert = makeCertificate(newKey, idBytes(meshOf(ben)), fresh, someBytes(16));
  learn(ben, dan.view);
  act(ben, {
    type: "person-rekeyed",
    person: ana.id,
    personKey: newKey.publicKey,
    devices: [{ device: fresh, cert }],
    cuts: [],
  });
  const after = [idOf<"epoch">(idBytes(first.id))];
  act(ben, { type: "epoch", after, keyHash: someBytes(32), keys: keys(ben.machine) });
  return everyone(ben, ana, dan);
}

function mutualRemoval(): RosterRecord[] {
  const [ben, ana, cem] = trio();
  remove(ana, cem);
  remove(cem, ana);
  return everyone(ben, ana, cem);
}

function ringOfThree(): RosterRecord[] {
  const [ben, ana, cem] = trio();
  const dan = admit(ben, "dan", "admin", ana, cem);
  learn(dan, ben.view);
  remove(ana, cem);
  remove(cem, dan);
  remove(dan, ana);
  return everyone(ben, ana, cem, dan);
}

function removedAdminActs(): RosterRecord[] {
  const [ben, ana, cem] = trio();
  const eve = admit(ana, "eve", "admin");
  admit(eve, "fay");
  setRole(ana, cem, "member");
  act(ana, { type: "rename", person: cem.id, name: "cemal" });
  remove(ben, ana, [{ log: log("ana"), seq: 7, id: event("ana 7") }]);
  return everyone(ben, ana, cem, eve);
}

function demotion(): RosterRecord[] {
  const [ben, ana, cem] = trio();
  setRole(ben, ana, "member");
  admit(ana, "gil");
  act(ana, { type: "rename", person: ana.id, name: "anna" });
  setRole(cem, ana, "member");
  return everyone(ben, ana, cem);
}

function invites(): RosterRecord[] {
  const [ben, ana] = trio();
  const shares = [
    { device: ben.machine.id, uses: 2 },
    { device: ana.machine.id, uses: 1 },
  ];
  const ticket = invite(ben, { shares });
  learn(ana, ben.view);
  admitBy(ben, person("hal"), ticket);
  admitBy(ana, person("ida"), ticket);
  admitBy(ben, person("jim"), ticket, { use: 1 }, { at: NOW + 2 * HOUR });
  admitBy(ben, person("kim"), ticket, { use: 2 });
  admitBy(ben, person("lou"), ticket, { use: 0 });
  act(ben, { type: "invite-closed", invite: ticket.record.id });
  return everyone(ben, ana);
}

function lastAdmin(): RosterRecord[] {
  const ben = found("ben");
  const ana = admit(ben, "ana", "admin");
  act(ben, { type: "leave", cuts: [] });
  setRole(ana, ana, "member");
  return everyone(ben, ana);
}

function cutsOfTwo(): RosterRecord[] {
  const [ben, ana, cem] = trio();
  const dan = admit(ben, "dan", "member", ana, cem);
  const cut = (name: string, seq: number) => ({ log: log(name), seq, id: event(`${name} ${seq}`) });
  const sorted = (...cuts: ReturnType<typeof cut>[]) => cuts.toSorted((a, b) => (a.log < b.log ? -1 : 1));
  remove(ana, dan, sorted(cut("dan", 9), cut("dan 2", 3)));
  remove(cem, dan, sorted(cut("dan", 5)));
  return everyone(ben, ana, cem);
}

function recovery(): RosterRecord[] {
  const recoveryKey = signingKeyFromSeed(bytesOf("recovery"));
  const ben = found("ben", "reads-all", recoveryKey.publicKey);
  const personKey = signingKeyFromSeed(bytesOf("ben again"));
  const fresh = machine("rescued");
  const device = newDevice(fresh);
  const cert = makeCertificate(personKey, idBytes(meshOf(ben)), device, someBytes(16));
  const rekeying = { person: ben.id, personKey: personKey.publicKey, devices: [device.id] };
  const word = makeRecovery(recoveryKey, meshOf(ben), rekeying, someBytes(16));
  const known = [...ben.view];
  admit(ben, "mia");
  const body = {
    person: ben.id,
    personKey: personKey.publicKey,
    devices: [{ device, cert }],
    cuts: [],
    recovery: word,
  };
  act(ben, { type: "person-rekeyed", ...body }, { on: fresh, knowing: known });
  return everyone(ben);
}

/** His word once, a second one by himself, one at the same time, one by an admin, one of another device, one of a stranger's key. */
function allowedLogs(): RosterRecord[] {
  const [ben, ana, cem] = trio();
  const dan = admit(ben, "dan", "member", ana, cem);
  learn(dan, ben.view);
  const allow = (by: Person, of: Person, name: string, signer: Person | null): void => {
    const allowed = { device: of.machine.id, logs: [log(name), log(`${name} too`)].toSorted() };
    const word = signer === null ? {} : { word: makeLogWord(signer.key, meshOf(by), allowed, someBytes(16)) };
    act(by, { type: "log-allowed", ...allowed, ...word });
  };
  allow(dan, dan, "dan 1", dan);
  allow(dan, dan, "dan 2", dan);
  allow(dan, dan, "dan 3", null);
  allow(ana, dan, "dan 4", null);
  allow(cem, cem, "dan 5", cem);
  allow(ben, dan, "dan 6", ben);
  allow(ana, ana, "ana 1", ana);
  const before = [...cem.view];
  remove(ben, ana);
  learn(cem, before);
  allow(cem, ana, "ana 2", null);
  return everyone(ben, ana, cem, dan);
}

function waiting(): RosterRecord[] {
  const [ben] = trio();
  return ben.view.filter((_, i) => i !== 1);
}

// ── random meshes ──

const STEPS =
  "sync sync sync admit admit admit-admin admit-again remove remove promote demote leave add-device remove-device rekey rename close epoch".split(
    " ",
  );

/** Random acts, rightful and not, by random people on what they happen to know. */
export function randomMesh(seed: number): [string, RosterRecord[]] {
  let state = seed * 2654435761 + 12345;
  const draw = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
  const ben = found(`ben${seed}`);
  const people: Person[] = [ben];
  const machines: { machine: Machine; owner: Person }[] = [{ machine: ben.machine, owner: ben }];
  const open: { ticket: ReturnType<typeof invite>; used: number }[] = [];
  const guest = (by: Person, role: "admin" | "member", knowing: RosterRecord[]) => {
    const one = person(`p${people.length}`);
    const ticket = invite(by, { role, uses: 2, knowing });
    open.push({ ticket, used: 1 });
    admitBy(by, one, ticket, {}, { knowing: [...knowing, ticket.record] });
    people.push(one);
    machines.push({ machine: one.machine, owner: one });
  };
  const all = new Map<string, RosterRecord>();
  guest(ben, "admin", ben.view);
  guest(ben, "admin", ben.view);
  for (let i = 0; i < 14; i++) {
    const who = people[draw(people.length)]!;
    const whom = people[draw(people.length)]!;
    const target = machines[draw(machines.length)]!;
    const forget = draw(5) === 0 ? draw(6) : 0;
    const knowing = who.view.slice(0, Math.max(1, who.view.length - forget));
    const cuts = [{ log: log(whom.name), seq: i, id: event(`${whom.name}${i}`) }];
    randomStep(STEPS[draw(STEPS.length)]!, i);

    function randomStep(what: string, number: number): void {
      switch (what) {
        case "sync":
          return learn(whom, who.view);
        case "admit":
          return guest(who, "member", knowing);
        case "admit-admin":
          return guest(who, "admin", knowing);
        case "admit-again": {
          const again = open[draw(open.length)]!;
          admitBy(who, person(`q${people.length}`), again.ticket, { use: again.used % 2 }, { knowing });
          return;
        }
        case "remove":
          remove(who, whom, cuts, { knowing });
          return;
        case "promote":
        case "demote":
          setRole(who, whom, what === "promote" ? "admin" : "member", { knowing });
          return;
        case "leave":
          act(who, { type: "leave", cuts }, { knowing });
          return;
        case "add-device": {
          const added = machine(`m${machines.length}`, `m${seed} ${machines.length}`);
          addDevice(who, whom, added, { knowing });
          machines.push({ machine: added, owner: whom });
          return;
        }
        case "remove-device":
          act(who, { type: "device-removed", device: target.machine.id, cuts }, { knowing });
          return;
        case "rekey": {
          const device = newDevice(target.machine);
          const cert = makeCertificate(whom.key, idBytes(meshOf(ben)), device, someBytes(16));
          const devices = [{ device, cert }];
          act(
            who,
            { type: "person-rekeyed", person: whom.id, personKey: whom.key.publicKey, devices, cuts },
            { knowing },
          );
          return;
        }
        case "rename":
          act(who, { type: "rename", person: whom.id, name: `n${number}` }, { knowing });
          return;
        case "close": {
          const { record } = open[draw(open.length)]!.ticket;
          act(who, { type: "invite-closed", invite: record.id }, { knowing });
          return;
        }
        case "epoch": {
          const keys = [{ device: who.machine.id, enc: someBytes(32), ct: new Uint8Array(48) }];
          act(who, { type: "epoch", after: [], keyHash: someBytes(32), keys }, { knowing });
        }
      }
    }
  }
  for (const one of people) for (const record of one.view) all.set(record.id, record);
  return [`random ${seed}`, [...all.values()]];
}

// ── records that fail alone ──

function badRecords(ben: Person) {
  const good = act(ben, { type: "rename", person: ben.id, name: "benno" });
  const fields = decode(good.sealed.bytes) as { [name: string]: unknown };
  const sealed = (change: { [name: string]: unknown }, kind: "roster" | "card" = "roster") =>
    sealedHex(sealOne(ben.machine.key, kind, encode({ ...fields, ...change })));
  const forged = good.sealed.seal.sig.slice();
  forged[0]! ^= 1;
  return [
    ["an unknown field", sealed({ x: 1 })],
    ["an unknown type", sealed({ type: "rejoice" })],
    ["another version", sealed({ v: 2 })],
    ["no parents", sealed({ parents: [] })],
    ["a parent twice", sealed({ parents: [...(fields["parents"] as unknown[]), ...(fields["parents"] as unknown[])] })],
    ["a name that is none", sealed({ name: "Benno" })],
    ["a short n", sealed({ n: new Uint8Array(15) })],
    ["another kind of seal", sealed({}, "card")],
    ["an author who did not sign", sealed({ author: [idBytes(ben.id), new Uint8Array(32)] })],
    ["a flipped bit in the signature", sealedHex({ ...good.sealed, seal: { ...good.sealed.seal, sig: forged } })],
  ].map(([name, bytes]) => ({ name, sealed: bytes }));
}

// ── joining ──

async function join(): Promise<VectorFile> {
  const ben = found("ben");
  const mesh: MeshId = meshOf(ben);
  const ticket = invite(ben, { seed: bytesOf("join seed", 16) });
  const epochKey = bytesOf("join epoch key");
  const guest = {
    personKey: signingKeyFromSeed(bytesOf("guest person")),
    device: signingKeyFromSeed(bytesOf("guest device")),
    sealing: sealingKeyFromSeed(bytesOf("guest sealing")),
  };
  const device: NewDevice = { id: idOf(guest.device.publicKey), name: "laptop", sealingKey: guest.sealing.publicKey };
  const challenge = bytesOf("challenge");
  const subject = { mesh, invite: ticket.record.id, personKey: guest.personKey.publicKey, device: device.id };
  const proof = makeProof(ticketKey(ticket.seed, mesh), {
    ...subject,
    sealingKey: device.sealingKey,
    admitting: ben.machine.id,
    challenge,
  });
  const cert = makeCertificate(guest.personKey, idBytes(mesh), device, bytesOf("cert n", 16));
  const keys = [{ device: ben.machine.id, enc: bytesOf("enc"), ct: new Uint8Array(48) }];
  const keyHash = epochKeyHash(epochKey);
  const epoch = act(ben, { type: "epoch", after: [], keyHash, keys });
  const admission = act(ben, {
    type: "admit",
    name: "ana",
    personKey: guest.personKey.publicKey,
    role: "member",
    device,
    cert,
    invite: ticket.record.id,
    use: 0,
    challenge,
    proof,
  });
  const info = encode(["kin/epoch-key/1", idBytes(mesh), keyHash, idBytes(ben.machine.id), guest.device.publicKey]);
  const sealed = await hpkeSealWith(bytesOf("join ekm"), device.sealingKey, info, new Uint8Array(), epochKey);
  const said = {
    v: 1,
    mesh: idBytes(mesh),
    invite: idBytes(ticket.record.id),
    challenge,
    n: bytesOf("challenge n", 16),
  };
  const proofFrame = {
    t: "proof",
    personKey: guest.personKey.publicKey,
    device: { key: guest.device.publicKey, name: "laptop", sealing: device.sealingKey },
    cert: sealedValue(cert),
    name: "ana",
    proof,
  };
  return {
    section: "10",
    about:
      "One whole join: the secrets of both sides, and every frame's payload in order. A guest with these keys and this ticket accepts it, has this person id and opens this epoch key.",
    ticket: makeTicket(
      someTicket({ mesh, inviter: ben.machine.id, invite: ticket.record.id, seed: ticket.seed, expiresAt: NOW + HOUR }),
    ),
    guest: {
      personSeed: toHex(bytesOf("guest person")),
      deviceSeed: toHex(bytesOf("guest device")),
      sealingPrivateKey: toHex(bytesOf("guest sealing")),
    },
    admitting: ben.machine.id,
    proofMessage: toHex(
      new Uint8Array([
        ...new TextEncoder().encode("kin/join/1"),
        ...encode([
          idBytes(mesh),
          idBytes(ticket.record.id),
          guest.personKey.publicKey,
          guest.device.publicKey,
          device.sealingKey,
          idBytes(ben.machine.id),
          challenge,
        ]),
      ]),
    ),
    proof: toHex(proof),
    frames: [
      { from: "guest", payload: hexOf({ t: "join", v: 1, mesh: idBytes(mesh), invite: idBytes(ticket.record.id) }) },
      {
        from: "device",
        payload: hexOf({ t: "challenge", s: sealedValue(sealOne(ben.machine.key, "join", encode(said))) }),
      },
      { from: "guest", payload: hexOf(proofFrame) },
      {
        from: "device",
        payload: hexOf({ t: "records", records: ben.view.map((record) => sealedValue(record.sealed)) }),
      },
      {
        from: "device",
        payload: hexOf({
          t: "admitted",
          admission: idBytes(admission.id),
          epochs: [[idBytes(epoch.id), guest.device.publicKey, sealed.enc, sealed.ciphertext]],
        }),
      },
    ],
    person: personIdOf(admission.id) satisfies PersonId,
    epochs: [{ id: epoch.id, key: toHex(epochKey) }],
    stamp: { ms: NOW, counter: 0, hlc: toHex(stampOf(NOW)) },
  };
}

/** A second machine of one's own by ticket: `kin device add` (R1, R10). */
import { expect, test } from "vitest";
import { equal, toHex } from "../../protocols/bytes.ts";
import { idOf, type RecordId } from "../../protocols/ids.ts";
import { joinDevice } from "../../protocols/join-device.ts";
import { serveJoin, type JoinResult } from "../../protocols/join.ts";
import { makeTicket, parseTicket, ticketKey, type Ticket } from "../../protocols/ticket.ts";
import { createOwnMachines } from "../../node/net/own-machines.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import {
  admitMember,
  foundMesh,
  keysOf,
  note,
  notesOf,
  openMember,
  syncOnce,
  testTime,
  type TestMember,
} from "../sync/mesh.ts";
import { wirePair } from "../wire-pair.ts";

/** Ana, a plain member, with the tickets that she makes for machines of hers. */
async function scene() {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  const ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  const random = seededRandom("own machines");
  const { replica, keys, epochKeys } = ana;
  const machines = createOwnMachines({
    replica,
    personKey: () => keys.person,
    deviceKey: keys.device,
    epochKeys,
    time,
    random,
  });
  async function ticket(lifeMs = 3_600_000): Promise<Ticket> {
    const seed = random.bytes(16);
    const expiresAt = time.now() + lifeMs;
    const invite = await machines.open(ticketKey(seed, replica.mesh).publicKey, expiresAt);
    return ticketFor(ana, { seed, expiresAt, invite });
  }
  return { time, ben, ana, machines, ticket };
}

function ticketFor(ana: TestMember, more: Pick<Ticket, "seed" | "expiresAt" | "invite">): Ticket {
  const names = { meshName: "team", inviterName: "ana", guestName: "ana" };
  const where = { inviter: ana.replica.device, addresses: [], relays: [] };
  return { mesh: ana.replica.mesh, ...names, ...where, role: "device", uses: 1, ...more };
}

/** The dialogue over a wire, as the new machine `name` sees it. */
async function enter(
  { ana, machines, time }: Awaited<ReturnType<typeof scene>>,
  ticket: Ticket,
  name: string,
  connectedAs = name,
): Promise<JoinResult> {
  const pair = wirePair();
  const { signal } = new AbortController();
  const keys = keysOf(name);
  const served = serveJoin(
    pair.right,
    {
      mesh: ana.replica.mesh,
      peer: keysOf(connectedAs).id,
      device: ana.keys.device,
      random: seededRandom(`${name} challenge ${toHex(ticket.seed)}`),
      now: () => time.now(),
      membership: () => ana.replica.membership(),
      admit: async () => {
        throw new Error("nobody is admitted here");
      },
      present: async () => ({ isMember: false }),
      removal: () => null,
      others: { "join-device": (guest, fields) => machines.serve(keysOf(connectedAs).id, guest, fields) },
    },
    signal,
  );
  const device = { key: keys.device, sealing: keys.sealing, name: "laptop" };
  const joined = await joinDevice(pair.left, { ticket, peer: ana.replica.device, device }, signal);
  await served;
  return joined;
}

test("a second machine becomes a device of the same person: told apart by name, with the keys to read, without the person key [device-add]", async () => {
  const all = await scene();
  const { ana, ben, time } = all;
  await ana.replica.append([note("from before")]);
  const joined = await enter(all, await all.ticket(), "ana desk");
  if (!joined.ok) throw new Error(joined.error.message);
  const desk = keysOf("ana desk");
  const member = joined.membership.devices.get(desk.id)!.member;
  expect(member.name).toBe("ana");
  expect(member.devices.map(({ name }) => name).toSorted()).toEqual(["laptop", "laptop-2"]);
  expect(joined.admission.body.type).toBe("device-added");
  expect(equal(member.personKey, ana.keys.person.publicKey)).toBe(true);
  const held = new Map(joined.epochKeys.map(({ epoch, key }) => [epoch, key]));
  const epochKeys = { held, get: held.get.bind(held), put: async () => {} } as TestMember["epochKeys"];
  const records = joined.records.map(({ sealed }) => sealed);
  const opened = await openMember("ana desk", ana.replica.mesh, { time, epochKeys, records });
  await syncOnce(opened, ana);
  expect(await notesOf(opened)).toEqual(["from before"]);
  await syncOnce(ana, ben);
  expect(ben.replica.membership().devices.get(desk.id)?.member.name).toBe("ana");
});

test("a ticket is good for one machine, which may ask again; another, a late one and a stranger to it are refused [device-add]", async () => {
  const all = await scene();
  const ticket = await all.ticket();
  const first = await enter(all, ticket, "ana desk");
  expect(first.ok).toBe(true);
  const again = await enter(all, ticket, "ana desk");
  if (!first.ok || !again.ok) throw new Error("refused");
  expect(again.admission.id).toBe(first.admission.id);
  expect(await enter(all, ticket, "ana phone")).toMatchObject({ ok: false, error: { code: "INVITE_USED" } });
  const unknown = { ...ticket, invite: idOf<"record">(bytesOf("no ticket")) as RecordId };
  expect(await enter(all, unknown, "ana phone")).toMatchObject({ ok: false, error: { code: "INVITE_UNKNOWN" } });
  const forged = { ...(await all.ticket()), seed: bytesOf("guessed").subarray(0, 16) };
  expect(await enter(all, forged, "ana phone")).toMatchObject({ ok: false, error: { code: "BAD_SIGNATURE" } });
  const fresh = await all.ticket();
  expect(await enter(all, fresh, "ana phone", "eve phone")).toMatchObject({ error: { code: "BAD_SIGNATURE" } });
  all.time.pass(3_700_000);
  expect(await enter(all, fresh, "ana phone")).toMatchObject({ ok: false, error: { code: "INVITE_EXPIRED" } });
  const { devices } = all.ana.replica.membership().devices.get(all.ana.replica.device)!.member;
  expect(devices).toHaveLength(2);
});

test("two machines with one ticket at once: one gets in [device-add]", async () => {
  const all = await scene();
  const ticket = await all.ticket();
  const both = await Promise.all([enter(all, ticket, "ana desk"), enter(all, ticket, "ana phone")]);
  expect(both.filter(({ ok }) => ok)).toHaveLength(1);
});

test("a machine that is already somebody's is refused, and the new machine does not take somebody else's record for its own [device-add]", async () => {
  const all = await scene();
  const li = await admitMember(all.ben, "li");
  await syncOnce(all.ana, all.ben);
  expect(await enter(all, await all.ticket(), "li")).toMatchObject({ ok: false, error: { code: "DENIED" } });
  expect(li.replica.membership().devices.has(li.replica.device)).toBe(true);
  // Ana's device answers with a roster in which the desk is not.
  const lying = { ...all, machines: { ...all.machines, serve: lie } };
  async function lie(...[, guest, fields]: Parameters<typeof all.machines.serve>) {
    fields.id("mesh");
    fields.id("invite");
    const { sendChallenge, sendAdmission } = await import("../../protocols/join.ts");
    const { replica, keys } = all.ana;
    const invite = idOf<"record">(bytesOf("any"));
    await sendChallenge(guest, ticket.invite, { mesh: replica.mesh, device: keys.device, random: seededRandom("lie") });
    await guest.receive();
    const records = replica.roster.records();
    await sendAdmission(guest, { ok: true, admission: records.at(-1)!.id, records, epochKeys: [] });
    return { ok: true as const, admission: invite, records, epochKeys: [] };
  }
  const ticket = await all.ticket();
  await expect(enter(lying, ticket, "ana desk")).rejects.toMatchObject({ code: "BAD_SIGNATURE" });
});

test("a machine's ticket is read as such, and never as an invite [device-add]", async () => {
  const all = await scene();
  const ticket = await all.ticket();
  const parsed = parseTicket(makeTicket(ticket), { now: all.time.now() });
  expect(parsed).toMatchObject({ ok: true, ticket: { role: "device", invite: ticket.invite, uses: 1 } });
  expect(all.ana.replica.membership().invites.has(ticket.invite)).toBe(false);
});

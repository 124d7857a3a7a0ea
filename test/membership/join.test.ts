import { expect, test } from "vitest";
import { decode, encode, type Value } from "../../protocols/bytes.ts";
import { newEpochKey, sealEpochKey, epochKeyHash } from "../../protocols/epoch.ts";
import type { EpochId } from "../../protocols/ids.ts";
import {
  decideAdmission,
  joinMesh,
  presentRecords,
  serveJoin,
  type AdmitAnswer,
  type AdmitRequest,
  type JoinDeps,
  type JoinResult,
  type ServeJoinDeps,
} from "../../protocols/join.ts";
import { createRoster, type Roster } from "../../protocols/roster.ts";
import type { Ticket } from "../../protocols/ticket.ts";
import { wirePair, type WirePairOptions } from "../wire-pair.ts";
import {
  act,
  admit,
  admitBy,
  found,
  HOUR,
  invite,
  machine,
  meshOf,
  NOW,
  person,
  remove,
  setRole,
  someBytes,
  syncAll,
  type Person,
} from "./people.ts";

const random = { bytes: someBytes };

/** One admitting device as the node would wire it: a roster, one epoch, admissions written one after the other. */
function host(who: Person) {
  const roster = createRoster(meshOf(who));
  roster.addRecords(who.view);
  const key = newEpochKey(random);
  let writing = Promise.resolve<unknown>(undefined);
  const served: { admissions: number } = { admissions: 0 };

  async function write(request: AdmitRequest): Promise<AdmitAnswer> {
    const decision = decideAdmission(roster.membership!, request, who.machine.id, clock.now);
    if (!decision.ok) return decision;
    let admission = decision.earlier;
    if (decision.earlier === null) {
      const record = act(who, decision.body, { at: clock.now });
      roster.addRecords([record]);
      served.admissions++;
      admission = record.id;
    }
    const epochKeys = [];
    for (const [epoch, { keyHash }] of roster.membership!.epochs)
      if (keyHash.join() === epochKeyHash(key).join()) {
        const recipient = { id: request.device.id, sealingKey: request.device.sealingKey };
        epochKeys.push({ epoch, sealed: await sealEpochKey(roster.mesh, key, recipient, who.machine.id) });
      }
    return { ok: true, admission: admission!, records: roster.records(), epochKeys };
  }

  const clock = { now: NOW };
  const deps = (peer: Person): ServeJoinDeps => ({
    mesh: roster.mesh,
    peer: peer.machine.id,
    device: who.machine.key,
    random,
    now: () => clock.now,
    membership: () => roster.membership!,
    admit(request) {
      const answer = writing.then(() => write(request));
      writing = answer.catch(() => undefined);
      return answer;
    },
    async present(records) {
      const { isMember, keep } = roster.consider(peer.machine.id, records);
      roster.addRecords(keep);
      return { isMember };
    },
    removal: (theirHeads) => roster.removalOf(peer.machine.id, theirHeads),
  });
  async function openEpoch(): Promise<EpochId> {
    const recipient = { id: who.machine.id, sealingKey: who.machine.sealing.publicKey };
    const keys = [await sealEpochKey(roster.mesh, key, recipient, who.machine.id)];
    const record = act(who, { type: "epoch", after: [], keyHash: epochKeyHash(key), keys });
    roster.addRecords([record]);
    return record.id as string as EpochId;
  }
  return { roster, deps, clock, served, key, openEpoch };
}

function ticketOf(by: Person, made: ReturnType<typeof invite>): Ticket {
  return {
    mesh: meshOf(by),
    meshName: "team",
    inviter: by.machine.id,
    inviterName: by.name,
    role: made.record.body.role,
    expiresAt: made.record.body.expires,
    uses: 1,
    guestName: null,
    invite: made.record.id,
    seed: made.seed,
    addresses: [],
    relays: [],
  };
}

function guestDeps(guest: Person, ticket: Ticket, change: Partial<JoinDeps> = {}): JoinDeps {
  const { key, sealing, name } = guest.machine;
  return {
    ticket,
    peer: ticket.inviter,
    personKey: guest.key,
    device: { key, sealing, name },
    name: guest.name,
    random,
    ...change,
  };
}

const never = () => new AbortController().signal;

/** Runs both sides over a wire; a side that threw gives its error. */
async function run(guest: JoinDeps, serve: ServeJoinDeps, options: WirePairOptions = {}) {
  const pair = wirePair(options);
  const [joined, served] = await Promise.allSettled([
    joinMesh(pair.left, guest, never()),
    serveJoin(pair.right, serve, never()),
  ]);
  return { joined, served };
}

async function join(guest: JoinDeps, serve: ServeJoinDeps): Promise<JoinResult> {
  const { joined } = await run(guest, serve);
  if (joined.status === "rejected") throw joined.reason;
  return joined.value;
}

async function setUp(options: Parameters<typeof invite>[1] = {}) {
  const ben = found();
  const made = invite(ben, options);
  const at = host(ben);
  const epoch = await at.openEpoch();
  return { ben, made, ticket: ticketOf(ben, made), at, epoch, ana: person("ana") };
}

/** Changes frames of one kind as they pass. */
function bend(t: string, change: (frame: Record<string, Value>) => Record<string, unknown>): WirePairOptions {
  return {
    tap(_from, frame) {
      const map = decode(frame) as Record<string, Value>;
      return map["t"] === t ? encode(change(map)) : frame;
    },
  };
}

test("a guest with a ticket is admitted, gets the roster and the epoch key, and verifies all of it", async () => {
  const { ticket, at, epoch, ana } = await setUp();
  const result = await join(guestDeps(ana, ticket), at.deps(ana));
  if (!result.ok) throw new Error(result.error.message);
  expect(result.membership.devices.get(ana.machine.id)?.member.name).toBe("ana");
  expect(result.person).toBe(at.roster.membership!.devices.get(ana.machine.id)?.member.person);
  expect(result.records.map((record) => record.id)).toEqual(at.roster.records().map((record) => record.id));
  expect(result.epochKeys).toEqual([{ epoch, key: at.key }]);
});

test("R10: a guest whose wire broke at any frame joins again with the same keys: one admission, one use", async () => {
  for (let cutAt = 0; cutAt < 6; cutAt++) {
    const { ticket, at, ana } = await setUp();
    let seen = 0;
    const pair = wirePair({
      tap: (_from, frame) => {
        if (seen++ === cutAt) pair.cut();
        return frame;
      },
    });
    const first = await Promise.allSettled([
      joinMesh(pair.left, guestDeps(ana, ticket), never()),
      serveJoin(pair.right, at.deps(ana), never()),
    ]);
    if (cutAt < 4) expect(first[0].status).toBe("rejected");
    const again = await join(guestDeps(ana, ticket), at.deps(ana));
    expect(again.ok).toBe(true);
    expect(at.served.admissions).toBe(1);
    expect([...at.roster.membership!.invites.values()][0]!.used).toHaveLength(1);
  }
});

test("R10: a retry gets its admission also after the ticket has expired and has no use left", async () => {
  const { ticket, at, ana } = await setUp();
  await join(guestDeps(ana, ticket), at.deps(ana));
  at.clock.now += 2 * HOUR;
  expect((await join(guestDeps(ana, ticket), at.deps(ana))).ok).toBe(true);
  expect(at.served.admissions).toBe(1);
});

test("R10: two guests at once with one use: one is in, the other is told", async () => {
  const { ticket, at, ana } = await setUp();
  const dan = person("dan");
  const results = await Promise.all([
    join(guestDeps(ana, ticket), at.deps(ana)),
    join(guestDeps(dan, ticket), at.deps(dan)),
  ]);
  expect(results.filter((result) => result.ok)).toHaveLength(1);
  expect(results.find((result) => !result.ok)).toMatchObject({ error: { code: "INVITE_USED" } });
});

test.each([
  ["INVITE_EXPIRED", (at: ReturnType<typeof host>) => void (at.clock.now += 2 * HOUR)],
  [
    "INVITE_CLOSED",
    (at: ReturnType<typeof host>, ben: Person, ticket: Ticket) =>
      void at.roster.addRecords([act(ben, { type: "invite-closed", invite: ticket.invite })]),
  ],
  [
    "DENIED",
    (at: ReturnType<typeof host>, ben: Person) => {
      const cy = admit(ben, "cy", "admin");
      setRole(ben, ben, "member");
      at.roster.addRecords(syncAll(ben, cy));
    },
  ],
])("R10: a guest is refused with %s", async (code, change) => {
  const { ben, ticket, at, ana } = await setUp();
  change(at, ben, ticket);
  const result = await join(guestDeps(ana, ticket), at.deps(ana));
  expect(result).toMatchObject({ ok: false, error: { code } });
  expect(at.served.admissions).toBe(0);
});

test("an invite that the device does not know, or another mesh's ticket, is refused before the challenge [wrong-mesh]", async () => {
  const { ben, ticket, at, ana } = await setUp();
  const unknown = { ...ticket, invite: meshOf(ben) as string as Ticket["invite"] };
  expect(await join(guestDeps(ana, unknown), at.deps(ana))).toMatchObject({ error: { code: "INVITE_UNKNOWN" } });
  const other = { ...ticket, mesh: meshOf(found()) };
  expect(await join(guestDeps(ana, other), at.deps(ana))).toMatchObject({ error: { code: "WRONG_MESH" } });
});

test("F7: a taken name is refused with one that is free", async () => {
  const { ticket, at, ana } = await setUp();
  const result = await join(guestDeps(ana, ticket, { name: "ben" }), at.deps(ana));
  expect(result).toMatchObject({ ok: false, error: { code: "NAME_TAKEN" }, name: "ben-2" });
  expect((await join(guestDeps(ana, ticket, { name: "ben-2" }), at.deps(ana))).ok).toBe(true);
});

test("R10: a wrong seed, another device's keys and a proof for another admitting device are refused", async () => {
  const { ticket, at, ana } = await setUp();
  const guessed = { ...ticket, seed: someBytes(16) };
  expect(await join(guestDeps(ana, guessed), at.deps(ana))).toMatchObject({ error: { code: "BAD_SIGNATURE" } });
  const dan = person("dan");
  expect(await join(guestDeps(ana, ticket), at.deps(dan))).toMatchObject({ error: { code: "BAD_SIGNATURE" } });
  const { joined } = await run(guestDeps(ana, ticket, { peer: dan.machine.id }), at.deps(ana));
  expect(joined).toMatchObject({ status: "rejected", reason: { code: "BAD_SIGNATURE" } });
  expect(at.served.admissions).toBe(0);
});

test("R10: an admitted guest's keys cannot be changed on the way", async () => {
  const { ticket, at, ana } = await setUp();
  const evil = machine("evil", "evil sealing");
  const swap = bend("proof", (frame) => ({
    ...frame,
    device: { ...(frame["device"] as object), sealing: evil.sealing.publicKey },
  }));
  const { joined } = await run(guestDeps(ana, ticket), at.deps(ana), swap);
  expect(joined).toMatchObject({ status: "fulfilled", value: { ok: false, error: { code: "BAD_SIGNATURE" } } });
  expect(at.served.admissions).toBe(0);
});

test("L7: a guest takes no admission that the mesh's own fold does not hold", async () => {
  const lies: WirePairOptions[] = [
    bend("records", (frame) => ({ ...frame, records: (frame["records"] as Value[]).slice(1) })),
    bend("records", (frame) => ({ ...frame, records: (frame["records"] as Value[]).slice(0, -1) })),
    bend("admitted", (frame) => ({ ...frame, admission: someBytes(32) })),
    bend("admitted", (frame) => {
      const [epoch] = frame["epochs"] as Value[][];
      return { ...frame, epochs: [[epoch![0]!, epoch![1]!, epoch![2]!, new Uint8Array(48)]] };
    }),
    bend("challenge", (frame) => ({ ...frame, s: { ...(frame["s"] as object), s: new Uint8Array(64) } })),
  ];
  for (const lie of lies) {
    const { ticket, at, ana } = await setUp();
    const { joined } = await run(guestDeps(ana, ticket), at.deps(ana), lie);
    expect(joined).toMatchObject({ status: "rejected", reason: { code: "BAD_SIGNATURE" } });
  }
});

test("L7: of two admissions by two admins a guest takes only the one that holds", async () => {
  const ben = found();
  const cy = admit(ben, "cy", "admin");
  const shares = [ben, cy].map(({ machine: { id: device } }) => ({ device, uses: 1 }));
  const made = invite(ben, { shares });
  syncAll(ben, cy);
  const ana = person("ana");
  const byCy = admitBy(cy, person("ana"), made);
  const at = host(ben);
  const { joined } = await run(guestDeps(ana, ticketOf(ben, made)), {
    ...at.deps(ana),
    async admit(request, signal) {
      const answer = await at.deps(ana).admit(request, signal);
      at.roster.addRecords([byCy]);
      return answer.ok ? { ...answer, admission: byCy.id, records: at.roster.records() } : answer;
    },
  });
  expect(at.roster.membership!.void.has(byCy.id)).toBe(true);
  expect(joined).toMatchObject({
    status: "rejected",
    reason: { message: expect.stringContaining("same time") as string },
  });
});

test("L3 L7: a ticket that says another role than its invite is noticed by the guest", async () => {
  const { ticket, at, ana } = await setUp();
  await expect(join(guestDeps(ana, { ...ticket, role: "admin" }), at.deps(ana))).rejects.toThrow(/admits as member/);
});

test("garbage on the wire is refused in words and ends the stream", async () => {
  const { at, ana } = await setUp();
  const garbage: Uint8Array[] = [
    new Uint8Array(),
    Uint8Array.of(0xff),
    encode({ t: "proof" }),
    encode({ t: 5 }),
    encode({ t: "join", v: 2, mesh: someBytes(32), invite: someBytes(32) }),
    encode({ t: "join", v: 1, mesh: someBytes(31), invite: someBytes(32) }),
    encode({ t: "join", v: 1, mesh: someBytes(32), invite: someBytes(32), more: 1 }),
    new Uint8Array(900 * 1024),
  ];
  for (const bytes of garbage) {
    const pair = wirePair();
    const serving = serveJoin(pair.right, at.deps(ana), never());
    await pair.left.send(bytes);
    expect((await serving).error?.code).toMatch(/BAD_REQUEST|UNSUPPORTED_VERSION|TOO_LARGE/);
    const answers = await Array.fromAsync(pair.left.frames());
    expect(decode(answers[0]!)).toMatchObject({ t: "refused" });
  }
});

test("what is wrong with the admitting machine is not told to a stranger", async () => {
  const { ticket, at, ana } = await setUp();
  const { KinError } = await import("../../protocols/errors.ts");
  const full = { ...at.deps(ana), admit: () => Promise.reject(new KinError("DISK_FULL", "/home/ben is full")) };
  const { joined, served } = await run(guestDeps(ana, ticket), full);
  expect(joined).toMatchObject({ value: { ok: false, error: { code: "INTERNAL" } } });
  expect(JSON.stringify(joined)).not.toContain("/home/ben");
  expect(served).toMatchObject({ value: { error: { code: "DISK_FULL" } } });
});

test("both sides stop when their signal fires while the other is silent [silent-peer]", async () => {
  const { ticket, at, ana } = await setUp();
  for (const side of ["guest", "host"] as const) {
    const pair = wirePair();
    const stop = new AbortController();
    const waiting =
      side === "guest"
        ? joinMesh(pair.left, guestDeps(ana, ticket), stop.signal)
        : serveJoin(pair.right, at.deps(ana), stop.signal);
    stop.abort(new Error("too slow"));
    await expect(waiting).rejects.toThrow("too slow");
    expect(pair.left.signal.aborted).toBe(true);
  }
});

// ── present ─────────────────────────────────────────────────────────────────────────────────────────────────────────

async function present(mine: Roster, who: Person, serve: ServeJoinDeps) {
  const pair = wirePair();
  const deps = {
    mesh: mine.mesh,
    heads: mine.membership!.heads,
    proof: (theirHeads: Parameters<Roster["proofFor"]>[1]) => mine.proofFor(who.machine.id, theirHeads),
  };
  const [result, served] = await Promise.all([
    presentRecords(pair.left, deps, never()),
    serveJoin(pair.right, serve, never()),
  ]);
  return { result, served };
}

function rosterOf(who: Person): Roster {
  const roster = createRoster(meshOf(who));
  roster.addRecords(who.view);
  return roster;
}

test("R14: whom B admitted is let in by A, who had not heard of it", async () => {
  const ben = found();
  const ana = admit(ben, "ana", "admin");
  const at = host(ana);
  const dan = admit(ben, "dan");
  const { result, served } = await present(rosterOf(dan), dan, at.deps(dan));
  expect(result).toEqual({ ok: true });
  expect(served).toEqual({ kind: "present", isMember: true });
  expect(at.roster.membership!.devices.has(dan.machine.id)).toBe(true);
});

test("R14: a removed peer is answered with its removal record, also when it presents the past", async () => {
  const ben = found();
  const ana = admit(ben, "ana");
  const before = rosterOf(ana);
  const removal = remove(ben, ana);
  const { result } = await present(before, ana, host(ben).deps(ana));
  expect(result).toMatchObject({ ok: false, error: { code: "REMOVED" } });
  if (result.ok) return;
  before.addRecords(result.records);
  expect(before.membership!.removed.get(ana.id)?.record).toBe(removal.id);
});

test("R14: records that prove nothing are refused and not kept", async () => {
  const ben = found();
  const at = host(ben);
  const mallory = found("mallory");
  const before = at.roster.records().length;
  const { result } = await present(rosterOf(mallory), mallory, at.deps(mallory));
  expect(result).toMatchObject({ ok: false, error: { code: "WRONG_MESH" } });
  const pair = wirePair();
  const serving = serveJoin(pair.right, at.deps(mallory), never());
  await pair.left.send(
    encode({ t: "present", v: 1, mesh: new Uint8Array(Buffer.from(at.roster.mesh, "hex")), heads: [] }),
  );
  await pair.left.send(encode({ t: "proofs", records: [] }));
  expect(await serving).toMatchObject({ kind: "present", isMember: false, error: { code: "NOT_A_MEMBER" } });
  expect(at.roster.records()).toHaveLength(before);
});

test("R14: more than 256 records are refused", async () => {
  const ben = found();
  const at = host(ben);
  const pair = wirePair();
  const serving = serveJoin(pair.right, at.deps(person("x")), never());
  await pair.left.send(
    encode({ t: "present", v: 1, mesh: new Uint8Array(Buffer.from(at.roster.mesh, "hex")), heads: [] }),
  );
  const one = { b: new Uint8Array(1), k: new Uint8Array(32), s: new Uint8Array(64) };
  await pair.left.send(encode({ t: "proofs", records: Array.from({ length: 257 }, () => one) }));
  expect(await serving).toMatchObject({ isMember: false, error: { code: "BAD_REQUEST" } });
});

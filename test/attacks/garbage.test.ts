/** P6: what is malformed ends its own stream with a sentence, never the node, never another peer's stream. One handler after the other. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { signingKeyFromSeed } from "#crypto";
import { encodeCard } from "../../protocols/agent-card.ts";
import { askBlob } from "../../protocols/blob.ts";
import { fromHex } from "../../protocols/bytes.ts";
import { askCards } from "../../protocols/directory.ts";
import type { Wire } from "../../protocols/effects.ts";
import { greet, type HelloDeps } from "../../protocols/hello.ts";
import { idOf } from "../../protocols/ids.ts";
import { joinMesh, presentRecords } from "../../protocols/join.ts";
import { sealOne } from "../../protocols/signature.ts";
import { TICKET_SEED_BYTES, ticketKey, type Ticket } from "../../protocols/ticket.ts";
import { openBlobs } from "../../node/blobs.ts";
import { createAttachments } from "../../node/net/attachments.ts";
import { createDirectory } from "../../node/net/directory.ts";
import type { JoinHandler, PeerHandler } from "../../node/net/network.ts";
import { openDoor } from "../../node/net/ticket-join.ts";
import { openInvite } from "../../sync/acts.ts";
import { runSync } from "../../sync/session.ts";
import { GENERATORS, pour, recorded, type Victim } from "../garbage.ts";
import { MESH, meshOf, realRandom, realTime, someone, soon, type Someone } from "../net/fixture.ts";
import { admitMember, foundMesh, keysOf, note, notesOf, startSync, testTime, type TestMember } from "../sync/mesh.ts";

const SEED = 7;
const [ana, ben, eve] = [someone("ana"), someone("ben"), someone("eve")];
const cleanUp: (() => Promise<unknown>)[] = [];
afterAll(() => Promise.all(cleanUp.map((run) => run())));

// — hello ——————————————————————————————————————————————————————————————————————————————————————————————————————————

function helloDeps(me: Someone, remote: Someone): HelloDeps {
  return {
    mesh: MESH,
    device: me.device,
    person: me.person,
    key: me.key,
    boot: new Uint8Array(16).fill(1),
    time: realTime,
    random: realRandom,
    features: ["resume"],
    remote: remote.device,
    personOf: (device) => [ana, ben, eve].find((one) => one.device === device)?.person ?? null,
    heads: () => [],
    agentKeys: () => [sealOne(me.key, "agent-key", new Uint8Array([0xa0]))],
  };
}

async function helloVictim(): Promise<Victim> {
  const meet = async (from: Someone, left: Wire, right: Wire): Promise<void> => {
    await Promise.all([greet(left, helloDeps(from, ben), soon()), greet(right, helloDeps(ben, from), soon())]);
  };
  const wires = recorded();
  await meet(eve, wires.left, wires.right).catch(() => {});
  return {
    real: wires.frames,
    serve: (wire) => greet(wire, helloDeps(ben, eve), new AbortController().signal),
    honest: async () => {
      const { left, right } = recorded();
      await meet(ana, left, right);
    },
  };
}

// — join ———————————————————————————————————————————————————————————————————————————————————————————————————————————

/** Ben's real replica behind his real door. */
async function door() {
  const time = testTime();
  const host = await foundMesh("ben", time);
  const faults: unknown[] = [];
  let handler!: JoinHandler;
  openDoor({
    network: { handleJoin: (given) => (handler = given) },
    replica: host.replica,
    deviceKey: host.keys.device,
    epochKeys: host.epochKeys,
    time,
    random: realRandom,
    changed: () => Promise.resolve(),
    warn: () => {},
  });
  return { time, host, handler, faults };
}

async function ticketOf(host: TestMember, name: string): Promise<Ticket> {
  const seed = realRandom.bytes(TICKET_SEED_BYTES);
  const { device, mesh } = host.replica;
  const expires = host.time.now() + 3_600_000;
  const invite = await openInvite(host.replica, {
    key: ticketKey(seed, mesh).publicKey,
    name,
    role: "member",
    expires,
    shares: [{ device, uses: 50 }],
  });
  return {
    mesh,
    meshName: "team",
    inviter: device,
    inviterName: "ben",
    role: "member",
    expiresAt: expires,
    uses: 50,
    guestName: name,
    invite,
    seed,
    addresses: [],
    relays: [],
  };
}

/** Joins as `name`; says its frames. A second join with the same keys is answered with the same admission. */
async function joinAs(name: string, ticket: Ticket, handler: JoinHandler): Promise<Uint8Array[]> {
  const { left, right, frames } = recorded();
  const keys = keysOf(name);
  const served = handler(keys.id, right);
  const device = { key: keys.device, sealing: keys.sealing, name: "laptop" };
  const joined = await joinMesh(
    left,
    { ticket, peer: ticket.inviter, personKey: keys.person, device, name, random: realRandom },
    soon(),
  );
  await served;
  expect(joined).toMatchObject({ ok: true });
  return frames;
}

async function strangerVictim(): Promise<Victim> {
  const { host, handler, faults } = await door();
  const ticket = await ticketOf(host, "ana");
  const real = await joinAs("ana", ticket, handler);
  return {
    real,
    faults,
    serve: (wire) => handler(eve.device, wire),
    honest: async () => void (await joinAs("ana", ticket, handler)),
  };
}

async function presentVictim(): Promise<Victim> {
  const { host, handler, faults } = await door();
  const member = await admitMember(host, "li");
  const present = async (frames: Uint8Array[]): Promise<void> => {
    const { left, right, frames: sent } = recorded();
    const { replica } = member;
    const served = handler(replica.device, right);
    const proof: Parameters<typeof presentRecords>[1]["proof"] = () => replica.roster.proofFor(replica.device, []);
    const shown = await presentRecords(left, { mesh: replica.mesh, heads: replica.rosterHeads(), proof }, soon());
    await served;
    expect(shown).toEqual({ ok: true });
    frames.push(...sent);
  };
  const real: Uint8Array[] = [];
  await present(real);
  return { real, faults, serve: (wire) => handler(member.replica.device, wire), honest: () => present([]) };
}

// — sync ———————————————————————————————————————————————————————————————————————————————————————————————————————————

async function syncVictim(): Promise<Victim> {
  const time = testTime();
  const host = await foundMesh("ben", time);
  const attacker = await admitMember(host, "eve");
  const honest = await admitMember(host, "ana");
  for (const member of [host, attacker, honest])
    await member.replica.append([note(`of ${member.name}`), note("another")]);
  const { left, right, frames } = recorded();
  const stop = new AbortController();
  const both = [
    runSync(left, attacker.replica, { peer: host.replica.device, time, signal: stop.signal }),
    runSync(right, host.replica, { peer: attacker.replica.device, time, signal: stop.signal }),
  ];
  while ((await notesOf(host)).length < 4) await new Promise((later) => setTimeout(later, 5));
  stop.abort();
  await Promise.all(both);
  let written = 0;
  return {
    real: frames,
    async serve(wire) {
      const stopping = new AbortController();
      wire.signal.addEventListener("abort", () => stopping.abort(), { once: true });
      const { error, reason } = await runSync(wire, host.replica, {
        peer: attacker.replica.device,
        time,
        signal: stopping.signal,
      });
      expect(reason, error?.message).not.toBe("stalled");
      expect(error?.code, error?.message).not.toBe("INTERNAL");
    },
    async honest() {
      const text = `honest ${written++}`;
      await honest.replica.append([note(text)]);
      const syncing = startSync(honest, host);
      await syncing.caughtUp;
      while (!(await notesOf(host)).includes(text)) await new Promise((later) => setTimeout(later, 1));
      await syncing.stop();
    },
  };
}

// — card, blob —————————————————————————————————————————————————————————————————————————————————————————————————————

async function cardVictim(): Promise<Victim> {
  const faults: unknown[] = [];
  const agentKey = signingKeyFromSeed(new Uint8Array(32).fill(42));
  const card = sealOne(
    ben.key,
    "card",
    encodeCard({
      kind: "agent",
      mesh: MESH,
      person: ben.person,
      device: ben.device,
      name: "reviewer",
      description: "reviews",
      skills: ["review"],
      key: idOf(agentKey.publicKey),
      generation: 1,
      allowed: { mesh: true },
      shares: [],
      issuedAt: 1000,
      ended: false,
    }),
  );
  const directory = createDirectory({
    me: ben,
    membership: () => meshOf([ana, ben, eve]),
    own: () => [card],
    logged: () => [],
    dht: null,
    open: () => Promise.reject(new Error("nobody is dialled here")),
    foundBy: () => undefined,
    hasPeers: () => false,
    after: (delayMs, run) => realTime.after(delayMs, run),
    random: () => 0,
    warn: (message) => faults.push(message),
  });
  const ask = async (who: Someone, question: Parameters<typeof askCards>[1]): Promise<Uint8Array[]> => {
    const { left, right, frames } = recorded();
    const served = directory.serve(who.person, right);
    expect(await askCards(left, question)).toHaveLength(1);
    await served;
    return frames;
  };
  const real = [...(await ask(eve, { q: "all" })), ...(await ask(eve, { q: "name", kind: "agent", name: "reviewer" }))];
  return {
    real,
    faults,
    serve: (wire) => directory.serve(eve.person, wire),
    honest: async () => void (await ask(ana, { q: "all" })),
  };
}

async function blobVictim(): Promise<Victim> {
  const folder = await mkdtemp(join(tmpdir(), "kin-garbage-"));
  cleanUp.push(() => rm(folder, { recursive: true, force: true }));
  const blobs = openBlobs(folder);
  const text = new Uint8Array(100_000).fill(65);
  const hash = await blobs.put(text, ana.person);
  await blobs.put(text, eve.person);
  let handler!: PeerHandler;
  createAttachments(
    {
      device: ben.device,
      handleForMembers: (_protocol, given) => (handler = given),
      open: () => Promise.reject(new Error("nobody is dialled here")),
    },
    blobs,
  );
  const serve = (who: Someone, wire: Wire): Promise<void> =>
    handler({ device: who.device, person: who.person, greeting: {} as never }, wire);
  const fetch = async (who: Someone): Promise<Uint8Array[]> => {
    const { left, right, frames } = recorded();
    const served = serve(who, right);
    let bytes = 0;
    for await (const chunk of askBlob(left, fromHex(hash), 0)) bytes += chunk.length;
    await served;
    expect(bytes).toBe(text.length);
    return frames;
  };
  return {
    real: await fetch(eve),
    serve: (wire) => serve(eve, wire),
    honest: async () => void (await fetch(ana)),
  };
}

// ——————————————————————————————————————————————————————————————————————————————————————————————————————————————————

const HANDLERS: [id: string, what: string, victim: () => Promise<Victim>][] = [
  ["garbage-hello", "/kin/hello/1", helloVictim],
  ["garbage-join", "/kin/join/1 of a stranger", strangerVictim],
  ["garbage-present", "/kin/join/1 of a member", presentVictim],
  ["garbage-sync", "/kin/sync/1", syncVictim],
  ["garbage-card", "/kin/card/1", cardVictim],
  ["garbage-blob", "/kin/blob/1", blobVictim],
];

for (const [id, what, makeVictim] of HANDLERS)
  describe(`[${id}] 20,000 frames of garbage on ${what}`, () => {
    test.each(GENERATORS)(
      `[${id}] %s ×5,000: no crash, bounded memory, and another peer's conversation goes on`,
      async (_name, generate) => {
        const victim = await makeVictim();
        const poured = await pour(victim, generate, SEED);
        expect(poured.frames).toBeGreaterThanOrEqual(5000);
        expect(poured.streams).toBeGreaterThan(1000);
      },
      60_000,
    );
  });

describe("pouring garbage notices", () => {
  const real = [new Uint8Array([0xa0])];
  const [, generate] = GENERATORS[0]!;
  const kept: Uint8Array[] = [];
  test.each([
    ["a handler that crashes", () => Promise.reject(new TypeError("x is undefined")), "x is undefined"],
    ["a handler that keeps what it is sent", () => Promise.resolve(kept.push(new Uint8Array(100_000).fill(1))), "stay"],
  ])("%s", async (_name, serve, says) => {
    await expect(pour({ real, serve, honest: () => Promise.resolve() }, generate, SEED)).rejects.toThrow(says);
    kept.length = 0;
  });
  test("a handler that no longer serves others", async () => {
    const honest = (): Promise<void> => Promise.reject(new Error("nobody answers"));
    await expect(pour({ real, serve: () => Promise.resolve(), honest }, generate, SEED)).rejects.toThrow(
      "nobody answers",
    );
  });
});

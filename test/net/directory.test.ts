import { expect, test } from "vitest";
import { signingKeyFromSeed } from "#crypto";
import { encodeCard, type AgentCard } from "../../protocols/agent-card.ts";
import { CARD_PROTOCOL, directoryCid } from "../../protocols/directory.ts";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import { sealOne, type Sealed } from "../../protocols/signature.ts";
import { changedCards, type AdvertiserDeps } from "../../node/net/advertise.ts";
import { createDirectory, type Directory, type DirectoryDeps } from "../../node/net/directory.ts";
import { meshOf, MESH, realTime, someone, soon, testNode, until, type Someone, type TestNode } from "./fixture.ts";

const agentKey = signingKeyFromSeed(new Uint8Array(32).fill(42));

function card(who: Someone, change: Partial<AgentCard> = {}): AgentCard {
  return {
    kind: "agent",
    mesh: MESH,
    person: who.person,
    device: who.device,
    name: "reviewer",
    description: "reviews",
    skills: ["review"],
    key: idOf(agentKey.publicKey),
    generation: 1,
    allowed: { mesh: true },
    shares: [],
    issuedAt: 1000,
    ended: false,
    ...change,
  };
}

const sealed = (who: Someone, change: Partial<AgentCard> = {}): Sealed =>
  sealOne(who.key, "card", encodeCard(card(who, change)));

function directoryOf(node: TestNode, people: Someone[], more: Partial<DirectoryDeps>): Directory {
  const directory = createDirectory({
    me: { person: node.who.person, device: node.who.device },
    membership: () => meshOf(people),
    own: () => [],
    logged: () => [],
    dht: node.net.dht,
    open: (device, signal) => node.net.open(device, CARD_PROTOCOL, signal),
    foundBy: () => undefined,
    hasPeers: () => true,
    after: (delayMs, run) => realTime.after(delayMs, run),
    random: () => 0,
    warn: () => {},
    ...more,
  });
  node.net.handleForMembers(CARD_PROTOCOL, (peer, wire) => directory.serve(peer.person, wire));
  return directory;
}

/** 12 nodes in one process shake hands at once: on a busy machine a handshake may run out of its 3 s. */
async function connected(from: TestNode, to: TestNode): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await from.net.connect(to.who.device, { addresses: to.net.addresses(), signal: soon() });
      return;
    } catch (error) {
      if (tries === 5) throw error;
    }
  }
}

test("[discovery-dht] among 12 nodes an agent is found over the DHT alone: no connection and no event of it before", async () => {
  const people = Array.from({ length: 12 }, (_, i) => someone(`dht-${i}`));
  const [finder, callee, ...others] = people as [Someone, Someone, ...Someone[]];
  let mayConnect = false;
  await using stack = new AsyncDisposableStack();
  const nodes = people.map((who) =>
    stack.use(
      testNode(who, {
        discovery: { dht: true, mdns: false },
        ...(who === finder && { mayConnect: (device: DeviceId) => device !== callee.device || mayConnect }),
      }),
    ),
  );
  const [finderNode, calleeNode, ...otherNodes] = nodes as [TestNode, TestNode, ...TestNode[]];
  for (const node of nodes) await node.net.setMembership(meshOf(people));
  for (const node of [finderNode, calleeNode]) for (const other of otherNodes) await connected(node, other);
  const theirs = directoryOf(calleeNode, people, { own: () => [sealed(callee)] });
  const mine = directoryOf(finderNode, people, {});
  const withoutDht = directoryOf(finderNode, people, { dht: null });
  await calleeNode.net.dht.provide(directoryCid("agent:reviewer"), soon());

  // With every source off the same look-up finds nothing.
  expect(await withoutDht.find("agent", "reviewer", soon())).toEqual([]);
  expect(mine.list()).toEqual([]);
  const before = finderNode.net.peers().find((peer) => peer.device === callee.device);
  expect(before?.connected ?? false).toBe(false);
  expect(calleeNode.net.peers().find((peer) => peer.device === finder.device)?.connected ?? false).toBe(false);

  // The gater refuses the callee until the DHT has answered.
  const providers: DeviceId[] = [];
  for await (const { device } of finderNode.net.dht.findProviders(directoryCid("agent:reviewer"), soon()))
    providers.push(device);
  expect(providers).toEqual([callee.device]);
  expect(await mine.find("agent", "reviewer", soon())).toEqual([]);
  expect(finderNode.net.peers().find((peer) => peer.device === callee.device)?.connected).toBe(false);

  mayConnect = true;
  const found = await mine.find("agent", "reviewer", soon());
  expect(found.map(({ via, card }) => [via, card.device, card.name])).toEqual([["dht", callee.device, "reviewer"]]);
  expect(others).toHaveLength(10);
  theirs.stop();
  mine.stop();
}, 60_000);

test("cards of one peer are fetched and told with how the peer was found; only those that the asker may use", async () => {
  const people = [someone("asker"), someone("asked")];
  const [asker, asked] = people as [Someone, Someone];
  await using a = testNode(asker);
  await using b = testNode(asked);
  for (const node of [a, b]) await node.net.setMembership(meshOf(people));
  await a.net.connect(asked.device, { addresses: b.net.addresses(), signal: soon() });
  directoryOf(b, people, {
    own: () => [sealed(asked), sealed(asked, { name: "private", allowed: { persons: [asked.person] } })],
  });
  const directory = directoryOf(a, people, { foundBy: () => "mdns" });
  const cards = await directory.fetch(asked.device, soon());
  expect(cards.map(({ via, card }) => [via, card.name])).toEqual([["mdns", "reviewer"]]);
  expect(directory.list()).toHaveLength(1);
});

test("a card counts only if its device signed it and is a member's; a bad one hides no good one [cards-signed]", () => {
  const people = [someone("me"), someone("member")];
  const [me, member] = people as [Someone, Someone];
  const stranger = someone("stranger");
  const forged = { ...sealed(member), seal: sealed(stranger).seal };
  const logged = [
    sealed(stranger),
    forged,
    { bytes: new Uint8Array([1]), seal: forged.seal },
    sealed(member, { mesh: idOf(new Uint8Array(32)) }),
    sealed(member),
  ];
  const node = { who: me, net: { dht: null, handleForMembers: () => {} } } as unknown as TestNode;
  const directory = directoryOf(node, people, { dht: null, logged: () => logged });
  expect(directory.list().map(({ card, via }) => [card.device, via])).toEqual([[member.device, "log"]]);
});

test("the newest card of a slot counts, in any order, and an ended one ends it [cards-signed]", () => {
  const people = [someone("me"), someone("member")];
  const [me, member] = people as [Someone, Someone];
  const node = { who: me, net: { dht: null, handleForMembers: () => {} } } as unknown as TestNode;
  const cards = [
    sealed(member, { issuedAt: 1, description: "old" }),
    sealed(member, { issuedAt: 3, description: "new" }),
    sealed(member, { issuedAt: 2 }),
  ];
  for (const logged of [cards, cards.toReversed()])
    expect(
      directoryOf(node, people, { dht: null, logged: () => logged })
        .list()
        .map(({ card }) => card.description),
    ).toEqual(["new"]);
  const ended = [...cards, sealed(member, { issuedAt: 4, ended: true })];
  expect(directoryOf(node, people, { dht: null, logged: () => ended }).list()).toEqual([]);
});

test("cards are issued when something changed, later than what they replace even if the clock went back", () => {
  const who = someone("issuer");
  let now = 5000;
  const deps: AdvertiserDeps = {
    mesh: MESH,
    person: who.person,
    device: who.device,
    deviceKey: who.key,
    agentKey: () => ({ key: idOf(agentKey.publicKey), generation: 1 }),
    now: () => now,
  };
  const local = {
    kind: "agent" as const,
    name: "reviewer",
    description: "d",
    skills: [],
    allowed: { mesh: true as const },
    shares: [],
  };
  const first = changedCards([], [local], deps);
  expect(first).toHaveLength(1);
  expect(changedCards(first, [local], deps)).toEqual([]);
  now = 10;
  const people = [who];
  const node = { who: someone("other"), net: { dht: null, handleForMembers: () => {} } } as unknown as TestNode;
  const second = changedCards(first, [{ ...local, description: "changed" }], deps);
  expect(
    directoryOf(node, people, { dht: null, logged: () => [...second, ...first] }).list()[0]?.card.description,
  ).toBe("changed");
  const gone = changedCards([...first, ...second], [], deps);
  expect(directoryOf(node, people, { dht: null, logged: () => [...first, ...second, ...gone] }).list()).toEqual([]);
  expect(changedCards([...first, ...second, ...gone], [], deps)).toEqual([]);
});

test("own cards are provided in the DHT in the background, and not when nobody is there", async () => {
  const who = someone("provider");
  const provided: string[] = [];
  const dht: DirectoryDeps["dht"] = {
    provide: async (cid) => void provided.push(cid.toString()),
    findProviders: async function* () {},
  };
  const node = { who, net: { dht: null, handleForMembers: () => {} } } as unknown as TestNode;
  let peers = false;
  const directory = directoryOf(node, [who], { dht, own: () => [sealed(who)], hasPeers: () => peers });
  directory.publish();
  peers = true;
  directory.publish();
  await until(() => provided.length === 2);
  expect(provided).toEqual([directoryCid("agent:reviewer").toString(), directoryCid("skill:review").toString()]);
  directory.stop();
});

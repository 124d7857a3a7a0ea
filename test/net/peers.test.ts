import { createServer, type Server } from "node:net";
import { CID } from "multiformats/cid";
import * as raw from "multiformats/codecs/raw";
import { sha256 } from "multiformats/hashes/sha2";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { cleanUpWebRtc, type ListenTransport } from "../../node/net/libp2p.ts";
import {
  bareNode,
  echo,
  firstFrame,
  meshOf,
  realTime,
  someone,
  soon,
  testNode,
  until,
  type TestNode,
  type TestSettings,
} from "./fixture.ts";

const ana = someone("ana");
const ben = someone("ben");
const cat = someone("cat");
const open: TestNode[] = [];
const servers: Server[] = [];

function node(who: typeof ana, settings?: TestSettings): TestNode {
  const made = testNode(who, settings);
  open.push(made);
  return made;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.net.stop()));
  for (const server of servers.splice(0)) server.close();
});

afterAll(() => cleanUpWebRtc());

async function pair(a: TestSettings = {}, b: TestSettings = {}): Promise<[TestNode, TestNode]> {
  const nodes: [TestNode, TestNode] = [node(ana, a), node(ben, b)];
  for (const one of nodes) one.net.handleForMembers("/kin/echo/1", echo);
  await Promise.all(nodes.map((one) => one.net.setMembership(meshOf([ana, ben]))));
  return nodes;
}

async function say(from: TestNode, to: DeviceId, text: string): Promise<string> {
  const wire = await from.net.open(to, "/kin/echo/1", soon());
  await wire.send(utf8Bytes(text));
  const answer = utf8Text(await firstFrame(wire));
  await wire.close();
  return answer;
}

const connectedTo = (one: TestNode): boolean => one.net.peers().some((peer) => peer.connected);
const countOf = (one: TestNode, type: string): number => one.events.filter((event) => event.type === type).length;

describe("two members", () => {
  test("connect by device id, say hello, and speak over a wire", async () => {
    const [a, b] = await pair();
    const peer = await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    expect(peer).toMatchObject({ person: ben.person, greeting: { device: ben.device, clock: "good" } });
    expect(await say(a, ben.device, "hello ben")).toBe("hello ben");
    await until(() => countOf(b, "peer-connected") === 1);
    expect(b.events[0]).toMatchObject({ type: "peer-connected", device: ana.device, person: ana.person });
    expect(a.net.peers()).toMatchObject([
      { device: ben.device, connected: true, path: "loopback", transport: "tcp", encrypter: "/tls/1.0.0" },
    ]);
    expect(a.net.greeting(ben.device)?.person).toBe(ben.person);
    expect(await say(b, ana.device, "and back, over the same connection")).toContain("and back");
  });

  test.each<[ListenTransport, string]>([
    ["tcp", "/tls/1.0.0"],
    ["ws", "/tls/1.0.0"],
    ["webrtc-direct", "native"],
  ])("speak over %s", async (transport, encrypter) => {
    const listen = { host: "127.0.0.1", port: 0, transports: [transport] };
    const [a, b] = await pair({ listen }, { listen });
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    expect(await say(a, ben.device, `over ${transport}`)).toBe(`over ${transport}`);
    expect(a.net.peers()).toMatchObject([{ transport, encrypter, path: "loopback" }]);
  });

  test("the dialer's order of encrypters decides, and a pinned one is kept [encrypter-order]", async () => {
    const [a, b] = await pair({ encrypters: ["noise"] }, { encrypters: ["tls", "noise"] });
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    expect(a.net.peers()).toMatchObject([{ encrypter: "/noise" }]);
    await until(() => connectedTo(b));
    expect(b.net.peers()).toMatchObject([{ encrypter: "/noise" }]);
  });

  test("that dial each other at once end with one usable pair, and one connected event each", async () => {
    const [a, b] = await pair();
    const [there, back] = await Promise.all([
      a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() }),
      b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() }),
    ]);
    expect([there.person, back.person]).toEqual([ben.person, ana.person]);
    const answers = await Promise.all([say(a, ben.device, "from a"), say(b, ana.device, "from b")]);
    expect(answers).toEqual(["from a", "from b"]);
    expect([countOf(a, "peer-connected"), countOf(b, "peer-connected")]).toEqual([1, 1]);
  });

  test("say it on both sides when their clocks are 4 min apart", async () => {
    const [a, b] = await pair({ time: { ...realTime, now: () => Date.now() - 4 * 60_000 } });
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    await until(() => countOf(b, "clock-skew") === 1 && countOf(a, "clock-skew") === 1);
    expect(a.events.find((event) => event.type === "clock-skew")).toMatchObject({ device: ben.device, clock: "warn" });
    expect(Math.round(a.net.peers()[0]!.skewMs! / 60_000)).toBe(4);
    expect(Math.round(b.net.peers()[0]!.skewMs! / 60_000)).toBe(-4);
  });
});

describe("losing and finding each other", () => {
  test("a lost member is dialled again at the address that worked, and told as disconnected and connected [reconnect-backoff]", async () => {
    const auto: TestSettings = { autoConnect: true };
    const [a, b] = await pair(auto);
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    const port = b.net.port!;
    await b.net.stop();
    await until(() => countOf(a, "peer-disconnected") === 1);
    expect(a.net.peers()).toMatchObject([{ connected: false, path: null, encrypter: null }]);
    const again = node(ben, { listen: { host: "127.0.0.1", port, transports: ["tcp"] } });
    again.net.handleForMembers("/kin/echo/1", echo);
    await again.net.setMembership(meshOf([ana, ben]));
    await until(() => countOf(a, "peer-connected") === 2);
    expect(await say(a, ben.device, "you are back")).toBe("you are back");
  });

  test("a member that restarts while we still hold its old connection counts as new", async () => {
    const [a, b] = await pair();
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    await until(() => connectedTo(a));
    const restarted = node(ben, { boot: new Uint8Array(16).fill(9) });
    await restarted.net.setMembership(meshOf([ana, ben]));
    await restarted.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    await until(() => countOf(a, "peer-connected") === 2);
    expect(countOf(a, "peer-disconnected")).toBe(1);
    expect(a.net.greeting(ben.device)?.boot).toEqual(new Uint8Array(16).fill(9));
  });

  test("known addresses come from the address book and go into it, without WebRTC's certificates", async () => {
    const saved = new Map<DeviceId, readonly string[]>();
    const [, b] = await pair();
    const known = b.net.addresses().map((address) => address.replace(/\/p2p\/.*/, ""));
    const stale = "/ip4/127.0.0.1/udp/9/webrtc-direct/certhash/uEiAAAA";
    const c = node(ana, {
      autoConnect: true,
      addressBook: { load: () => [[ben.device, [...known, stale]]], save: (device, list) => saved.set(device, list) },
    });
    await open[0]!.net.stop();
    await c.net.setMembership(meshOf([ana, ben]));
    await until(() => connectedTo(c));
    await c.net.connect(ben.device, { addresses: ["/ip4/127.0.0.1/tcp/9"] });
    await until(() => saved.has(ben.device));
    expect(saved.get(ben.device)!.every((address) => !address.includes("webrtc"))).toBe(true);
    expect(saved.get(ben.device)![0]).toBe(known[0]);
    await c.net.setMembership(meshOf([ana]));
    expect(saved.get(ben.device), "a removed device is forgotten").toEqual([]);
  });

  test("a member that cannot be reached: per address what happened there", async () => {
    const a = node(ana);
    await a.net.setMembership(meshOf([ana, ben]));
    const other = await bareNode(cat, { addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] } });
    const silent = createServer(() => {}).listen(0, "127.0.0.1");
    servers.push(silent);
    await new Promise((ready) => silent.once("listening", ready));
    const silentPort = (silent.address() as { port: number }).port;
    const otherAddress = other
      .getMultiaddrs()[0]!
      .toString()
      .replace(/\/p2p\/.*/, "");
    const fast = { ...realTime, after: (delayMs: number, run: () => void) => realTime.after(delayMs / 10, run) };
    const b = node(ana, { time: fast });
    await b.net.setMembership(meshOf([ana, ben]));
    const addresses = ["/ip4/127.0.0.1/tcp/1", otherAddress, `/ip4/127.0.0.1/tcp/${silentPort}`];
    const failure = await b.net.connect(ben.device, { addresses, signal: soon() }).catch((error: unknown) => error);
    await other.stop();
    expect(failure).toMatchObject({ code: "UNREACHABLE" });
    const { message } = failure as Error;
    expect(message).toContain("cannot reach ben (laptop)");
    expect(message).toContain("127.0.0.1 tcp 1: refused (kin is not running there)");
    expect(message).toMatch(/answered as another peer/);
    expect(message).toContain(
      `127.0.0.1 tcp ${silentPort}: timed out (a firewall drops it, or it is on another network)`,
    );
    await expect(a.net.connect(ben.device)).rejects.toMatchObject({ message: expect.stringContaining("no address") });
  });

  test("a device that is no member's is not dialled", async () => {
    const [a] = await pair();
    await expect(a.net.connect(cat.device, { addresses: ["/ip4/127.0.0.1/tcp/1"] })).rejects.toMatchObject({
      code: "NOT_A_MEMBER",
    });
  });

  test("E17, E23: names and link-local addresses are not dialled, whoever tells them", async () => {
    const [a] = await pair();
    const addresses = ["/dns4/localhost/tcp/1", "/ip4/169.254.169.254/tcp/80"];
    await expect(a.net.connect(ben.device, { addresses })).rejects.toMatchObject({
      message: expect.stringContaining("no address of it is known"),
    });
  });

  test("a protocol that the peer does not speak is said so", async () => {
    const [a, b] = await pair();
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    await expect(a.net.open(ben.device, "/kin/nothing/1", soon())).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: "ben (laptop) does not speak /kin/nothing/1",
    });
  });
});

describe("listening", () => {
  test("without a mesh on nothing; joining dials all the same; with a mesh on the chosen port, kept over a restart [port-kept]", async () => {
    const a = node(ana);
    a.net.handleJoin(async (remote, wire) => {
      expect(remote).toBe(cat.device);
      await echo(null, wire);
    });
    await a.net.setMembership(meshOf([ana]));
    const c = node(cat);
    expect([c.net.port, c.net.addresses()]).toEqual([null, []]);
    const wire = await c.net.dialForJoin(a.net.addresses(), ana.device, soon());
    await wire.send(utf8Bytes("may I join?"));
    expect(utf8Text(await firstFrame(wire))).toBe("may I join?");
    expect(c.net.addresses()).toEqual([]);
    await c.net.setMembership(meshOf([ana, cat]));
    expect(c.net.port).toBeGreaterThan(1024);
    expect(c.net.addresses()[0]).toContain(`/tcp/${c.net.port}/p2p/`);
    const { port } = c.net;
    await c.net.setMembership(null);
    expect([c.net.port, c.net.addresses()]).toEqual([null, []]);
    await c.net.setMembership(meshOf([ana, cat]));
    expect(c.net.port).toBe(port);
  });

  test("a failed join says per address what happened [join-failure]", async () => {
    const c = node(cat);
    const failure = c.net.dialForJoin(["/ip4/127.0.0.1/tcp/1"], ana.device, soon());
    await expect(failure).rejects.toMatchObject({
      code: "JOIN_FAILED",
      message: "the inviter was not reached: 127.0.0.1 tcp 1: refused (kin is not running there)",
    });
  });

  test("a taken port is named [port-taken]", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    servers.push(server);
    await new Promise((ready) => server.once("listening", ready));
    const { port } = server.address() as { port: number };
    const a = node(ana, { listen: { host: "127.0.0.1", port, transports: ["tcp"] } });
    await expect(a.net.setMembership(meshOf([ana]))).rejects.toMatchObject({
      code: "PORT_TAKEN",
      message: `TCP port ${port} is in use by another program`,
    });
  });
});

describe("the mesh's DHT", () => {
  const dht: TestSettings = { discovery: { dht: true, mdns: false } };
  const knowsBen = (one: TestNode): boolean => one.net.inside().routingTable().includes(ben.device);
  const cidOf = async (text: string): Promise<CID> => CID.createV1(raw.code, await sha256.digest(utf8Bytes(text)));

  async function three(ofAna: TestSettings): Promise<TestNode[]> {
    const people = [ana, ben, cat];
    const nodes = [node(ana, ofAna), node(ben, dht), node(cat, dht)];
    await Promise.all(nodes.map((one) => one.net.setMembership(meshOf(people))));
    const [a, b, c] = nodes as [TestNode, TestNode, TestNode];
    await c.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    const hasDht = ofAna.discovery?.dht === true;
    await until(() => b.net.inside().routingTable().length === (hasDht ? 2 : 1));
    await until(() => knowsBen(c) && (!hasDht || knowsBen(a)));
    return nodes;
  }

  async function providers(of: TestNode, cid: CID): Promise<DeviceId[]> {
    const found: DeviceId[] = [];
    for await (const one of of.net.dht.findProviders(cid, soon())) found.push(one.device);
    return found;
  }

  /** A provider record has no receipt: it is there a moment after it was sent. */
  async function provided(of: TestNode, cid: CID): Promise<void> {
    while ((await providers(of, cid))[0] !== cat.device) await new Promise((later) => setTimeout(later, 10));
  }

  test("who provides is found by whom it never met, without a connection, then reached by what the DHT said", async () => {
    const answers = { allowed: false };
    const mayConnect = (device: DeviceId): boolean => device !== cat.device || answers.allowed;
    const [a, , c] = (await three({ ...dht, mayConnect })) as [TestNode, TestNode, TestNode];
    c.net.handleForMembers("/kin/echo/1", echo);
    const cid = await cidOf("agent:reviewer");
    await c.net.dht.provide(cid, soon());
    await provided(a, cid);
    expect(a.net.foundBy(cat.device)).toBe("dht");
    expect(a.net.peers().find((peer) => peer.device === cat.device)?.connected).toBe(false);
    await expect(a.net.connect(cat.device)).rejects.toMatchObject({ code: "UNREACHABLE" });
    answers.allowed = true;
    expect(await say(a, cat.device, "found you")).toBe("found you");
  });

  test("with the DHT off the same look-up finds nobody [discovery-dht]", async () => {
    const [a, , c] = (await three({})) as [TestNode, TestNode, TestNode];
    const cid = await cidOf("agent:reviewer");
    await c.net.dht.provide(cid, soon());
    await provided(open[1]!, cid);
    expect(await providers(a, cid)).toEqual([]);
  });

  test("E17: a member that names strangers in its answers gets nobody of them dialled or into our table", async () => {
    const [a, b, c] = [node(ana, dht), node(ben, dht), node(cat, dht)];
    await a.net.setMembership(meshOf([ana, ben]));
    await Promise.all([b, c].map((one) => one.net.setMembership(meshOf([ana, ben, cat]))));
    await c.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    await until(() => b.net.inside().routingTable().length === 2 && knowsBen(a) && knowsBen(c));
    const cid = await cidOf("agent:trap");
    await c.net.dht.provide(cid, soon());
    await provided(b, cid);
    expect(await providers(a, cid)).toEqual([]);
    expect(a.net.inside().routingTable()).toEqual([ben.device]);
    expect(c.net.peers().find((peer) => peer.device === ana.device)?.connected).toBe(false);
  });

  test("a removed member leaves the routing table at once", async () => {
    const [, b] = (await three(dht)) as [TestNode, TestNode, TestNode];
    expect(b.net.inside().routingTable().toSorted()).toEqual([ana.device, cat.device].toSorted());
    await b.net.setMembership(meshOf([ana, ben]));
    await until(() => b.net.inside().routingTable().length === 1);
    expect(b.net.inside().routingTable()).toEqual([ana.device]);
  });
});

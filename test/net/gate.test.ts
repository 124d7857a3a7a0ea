import { connect as connectSocket, type Socket } from "node:net";
import { kadDHT, passthroughMapper } from "@libp2p/kad-dht";
import { identify } from "@libp2p/identify";
import { ping } from "@libp2p/ping";
import type { Connection, Libp2p, Stream, StreamHandler, Topology } from "@libp2p/interface";
import { multiaddr } from "@multiformats/multiaddr";
import { afterEach, describe, expect, test } from "vitest";
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import { meshTag } from "../../protocols/ids.ts";
import { createGate, deviceOf, MAX_STRANGERS_PER_IP, networkOf } from "../../node/net/gate.ts";
import { peerIdOf } from "../../node/net/libp2p.ts";
import { createWire } from "../../node/net/wire.ts";
import {
  bareNode,
  echo,
  firstFrame,
  MESH,
  meshOf,
  someone,
  soon,
  testNode,
  until,
  realTime,
  type TestNode,
  type TestSettings,
} from "./fixture.ts";

const ana = someone("ana");
const ben = someone("ben");
const eve = someone("eve");
const KAD = `/kin/${meshTag(MESH)}/kad/1.0.0`;

const withDht: TestSettings = { discovery: { dht: true, mdns: false } };

const nodes: TestNode[] = [];
const bare: Libp2p[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all([...nodes.splice(0).map((one) => one.net.stop()), ...bare.splice(0).map((one) => one.stop())]);
});

async function member(who: typeof ana, settings: TestSettings = {}): Promise<TestNode> {
  const node = testNode(who, settings);
  nodes.push(node);
  node.net.handleForMembers("/kin/echo/1", echo);
  node.net.handleJoin(async (_remote, wire) => echo(null, wire));
  await node.net.setMembership(meshOf([ana, ben]));
  return node;
}

async function stranger(who = eve, settings: Record<string, unknown> = {}): Promise<Libp2p> {
  const node = await bareNode(who, settings);
  bare.push(node);
  return node;
}

/** What a stranger gets when he asks for `protocol` and says something. */
async function ask(from: Libp2p, to: TestNode, protocol: string): Promise<string> {
  let stream: Stream;
  try {
    stream = await from.dialProtocol(to.net.addresses().map(multiaddr), protocol, { signal: soon(3_000) });
  } catch (error) {
    return (error as Error).name;
  }
  const wire = createWire(stream);
  try {
    await wire.send(utf8Bytes("let me in"));
    return `answered ${(await firstFrame(wire)).length}`;
  } catch {
    return "cut";
  } finally {
    wire.abort(new Error("seen enough"));
  }
}

describe("R14: a stranger", () => {
  test("gets join and identify from every protocol that we have, nothing else, and never enters the DHT's table", async () => {
    const a = await member(ana, withDht);
    const member2 = await member(ben, withDht);
    await member2.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    const services = {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({
        protocol: KAD,
        clientMode: false,
        peerInfoMapper: passthroughMapper,
        initialQuerySelfInterval: 50,
      }),
    };
    const listening = { addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] } };
    const from = await stranger(eve, { ...listening, services });
    const identified = new Promise((resolve) => from.addEventListener("peer:identify", resolve));
    await from.dial(a.net.addresses().map(multiaddr));
    await identified;
    const inside = a.net.inside();
    const all = inside.protocols();
    expect(all).toContain(KAD);
    expect(all.length).toBeGreaterThan(5);
    const got: Record<string, string> = {};
    for (const protocol of all) got[protocol] = await ask(from, a, protocol);
    const answered = Object.entries(got).filter(([, what]) => what.startsWith("answered"));
    expect(answered.map(([protocol]) => protocol)).toEqual(["/ipfs/id/1.0.0", "/kin/join/1"]);
    const refused = Object.entries(got).filter(([, what]) => !what.startsWith("answered"));
    expect(new Set(refused.map(([, what]) => what))).toEqual(new Set(["UnsupportedProtocolError"]));
    await until(() => inside.routingTable().length === 1);
    expect(inside.routingTable(), "the member, not the stranger").toEqual([ben.device]);
    await from.stop();
    while (await inside.knows(eve.device)) await new Promise((later) => setTimeout(later, 5));
  });

  test("sees no protocol but join in identify, and no address", async () => {
    const a = await member(ana);
    const from = await stranger(eve, { services: { identify: identify() } });
    const connection = await from.dial(a.net.addresses().map(multiaddr));
    const told = await new Promise<{ protocols: string[]; listenAddrs: unknown[] }>((resolve) => {
      from.addEventListener("peer:identify", (event) => resolve(event.detail));
    });
    expect(told.protocols.toSorted()).toEqual(["/ipfs/id/1.0.0", "/kin/join/1"]);
    expect(told.listenAddrs).toEqual([]);
    await connection.close();
  });

  test("is not told our protocols by multistream's ls either", async () => {
    const a = await member(ana);
    const from = await stranger();
    expect(await listProtocols(from, a)).toEqual(["/ipfs/id/1.0.0", "/kin/join/1"]);
  });

  test("gets two streams at once", async () => {
    const a = await member(ana);
    const from = await stranger();
    const connection = await from.dial(a.net.addresses().map(multiaddr));
    const open = async (): Promise<string> => {
      const wire = createWire(await connection.newStream("/kin/join/1", { signal: soon() }));
      await wire.send(utf8Bytes("x"));
      return firstFrame(wire).then(
        () => "answered",
        () => "cut",
      );
    };
    const first = await open();
    const second = await open();
    const third = await open().catch(() => "cut");
    expect([first, second, third]).toEqual(["answered", "answered", "cut"]);
  });

  test("gets one connection", async () => {
    const a = await member(ana);
    const from = await stranger();
    const [address] = a.net.addresses();
    await from.dial(multiaddr(address));
    await expect(
      (async () => {
        const second = await from.dial(multiaddr(address), { force: true });
        await createWire(await second.newStream("/kin/join/1")).close();
      })(),
    ).rejects.toThrow();
  });

  test(`is one of at most ${MAX_STRANGERS_PER_IP} from one IP; a member still gets in`, async () => {
    const a = await member(ana);
    const b = await member(ben);
    const [address] = a.net.addresses();
    const results = await Promise.allSettled(
      Array.from({ length: MAX_STRANGERS_PER_IP + 8 }, async (_, i) => {
        const from = await stranger(someone(`stranger ${i}`));
        return ask(from, a, "/kin/join/1").then(async (what) => {
          if (!what.startsWith("answered")) throw new Error(what);
          return address;
        });
      }),
    );
    const passed = results.filter((one) => one.status === "fulfilled").length;
    expect(passed).toBeGreaterThan(0);
    expect(passed).toBeLessThanOrEqual(MAX_STRANGERS_PER_IP);
    await expect(b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() })).resolves.toBeDefined();
  });
});

describe("membership changes under a connection", () => {
  test("a removed peer is cut at once, cannot come back, and still reaches /kin/join/1", async () => {
    const a = await member(ana);
    const b = await member(ben);
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    const wire = await b.net.open(ana.device, "/kin/echo/1", soon());
    await until(() => a.events.some((event) => event.type === "peer-connected"));
    await a.net.setMembership(meshOf([ana]));
    await until(() => wire.signal.aborted);
    expect(a.net.peers()).toEqual([]);
    const again = b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    await expect(again).rejects.toMatchObject({ code: expect.stringMatching(/UNREACHABLE|NOT_A_MEMBER|NOT_FOUND/) });
    const join = await b.net.dialForJoin(a.net.addresses(), ana.device, soon());
    await join.send(utf8Bytes("am I out?"));
    expect(utf8Text(await firstFrame(join))).toBe("am I out?");
  });

  test("whom the other side does not know yet presents his proof once, and is let in", async () => {
    const a = testNode(ana);
    nodes.push(a);
    let presented = 0;
    a.net.handleJoin(async (remote, wire) => {
      if (utf8Text(await firstFrame(wire)) !== "my roster records" || remote !== ben.device) return;
      await a.net.setMembership(meshOf([ana, ben]));
      await wire.send(utf8Bytes("welcome"));
      await wire.close();
    });
    a.net.handleForMembers("/kin/echo/1", echo);
    await a.net.setMembership(meshOf([ana]));
    const b = testNode(ben, {
      present: async (device, wire) => {
        expect(device).toBe(ana.device);
        presented++;
        await wire.send(utf8Bytes("my roster records"));
        return utf8Text(await firstFrame(wire)) === "welcome";
      },
    });
    nodes.push(b);
    await b.net.setMembership(meshOf([ana, ben]));
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    const wire = await b.net.open(ana.device, "/kin/echo/1", soon());
    await wire.send(utf8Bytes("hi"));
    expect(utf8Text(await firstFrame(wire))).toBe("hi");
    expect(presented).toBe(1);
  });

  test("what the other side says to the proof is what connect fails with", async () => {
    const a = await member(ana);
    await a.net.setMembership(meshOf([ana]));
    const { KinError } = await import("../../protocols/errors.ts");
    const b = testNode(ben, {
      present: () => Promise.reject(new KinError("REMOVED", "ana removed you on Monday")),
    });
    nodes.push(b);
    await b.net.setMembership(meshOf([ana, ben]));
    await expect(b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() })).rejects.toMatchObject({
      code: "REMOVED",
      message: "ana removed you on Monday",
    });
  });
});

describe("P15: peers that are slow, silent or half open", () => {
  test("E8: 40 silent sockets don't keep a member out", async () => {
    const a = await member(ana);
    const b = await member(ben);
    await openSilent(a, 40);
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    await until(() => a.net.peers()[0]?.connected === true);
  });

  test("E8, E10: a silent socket, garbage and a flood of protocol names are cut within 5 s, and end nothing else", async () => {
    const a = await member(ana);
    const b = await member(ben);
    const [silent, garbage, flood] = await openSilent(a, 3);
    const started = performance.now();
    garbage!.write(Buffer.alloc(100_000, 0xff));
    flood!.write(Buffer.concat(Array.from({ length: 1000 }, () => Buffer.from("\x06/nope\n"))));
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    await until(() => silent!.destroyed && garbage!.destroyed && flood!.destroyed);
    expect(performance.now() - started).toBeLessThan(6_000);
  });

  test("E9: who is silent after the handshake is cut after 10 s (here 0.5), a member meanwhile gets in", async () => {
    const fast = { ...realTime, after: (delayMs: number, run: () => void) => realTime.after(delayMs / 20, run) };
    const a = await member(ana, { time: fast });
    const b = await member(ben);
    const from = await stranger();
    const connection = await from.dial(a.net.addresses().map(multiaddr));
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    const started = performance.now();
    await until(() => connection.status !== "open");
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(a.net.peers()[0]?.connected).toBe(true);
  });

  test("a handler that throws ends its wire and nothing else [bad-peer]", async () => {
    const a = await member(ana);
    const b = await member(ben);
    a.net.handleForMembers("/kin/bad/1", async () => {
      throw new Error("a fault of ours");
    });
    await b.net.connect(ana.device, { addresses: a.net.addresses(), signal: soon() });
    const bad = await b.net.open(ana.device, "/kin/bad/1", soon());
    await until(() => bad.signal.aborted);
    const good = await b.net.open(ana.device, "/kin/echo/1", soon());
    await good.send(utf8Bytes("still there?"));
    expect(utf8Text(await firstFrame(good))).toBe("still there?");
    expect(a.errors.join()).toContain("a fault of ours");
  });
});

describe("the guard, where a transport names the protocol without negotiating it", () => {
  const gate = createGate({ membership: () => meshOf([ana, ben]), time: realTime });
  const called: string[] = [];

  function callAs(who: typeof ana, allowed: "members" | "everyone", inbound: number): string {
    const aborts: string[] = [];
    const streams = Array.from({ length: inbound }, () => ({ direction: "inbound" }));
    const stream = { protocol: "/kin/echo/1", abort: (error: Error) => aborts.push(error.message) };
    const connection = { remotePeer: peerIdOf(who.device), streams };
    const handler = gate.guard(() => void called.push(who.name), allowed);
    void handler(stream as unknown as Stream, connection as unknown as Connection);
    return aborts.join();
  }

  test.each<["members" | "everyone", typeof ana, number, string]>([
    ["members", ben, 50, ""],
    ["members", eve, 1, "only members may use /kin/echo/1"],
    ["everyone", eve, 2, ""],
    ["everyone", eve, 3, "only members may use /kin/echo/1"],
  ])("%s, %o, %i streams", (allowed, who, inbound, refusal) => {
    called.length = 0;
    expect(callAs(who, allowed, inbound)).toBe(refusal);
    expect(called).toEqual(refusal === "" ? [who.name] : []);
  });

  test("a libp2p service behind it hears of members only, and its handlers are guarded", async () => {
    const registered = new Map<string, StreamHandler>();
    let topology: Topology | undefined;
    const registrar = gate.guardRegistrar({
      getProtocols: () => [],
      handle: async (protocol: string, handler: StreamHandler) => void registered.set(protocol, handler),
      register: async (_protocol: string, given: Topology) => {
        topology = given;
        return "id";
      },
    });
    const heard: string[] = [];
    await registrar.register("/x", { onConnect: (peer) => void heard.push(deviceOf(peer)!) });
    for (const who of [eve, ben]) await topology?.onConnect?.(peerIdOf(who.device), {} as Connection);
    expect(heard).toEqual([ben.device]);
    await registrar.handle("/x", () => void called.push("unguarded"));
    const aborted: unknown[] = [];
    const stream = { protocol: "/x", abort: (error: Error) => aborted.push(error) } as unknown as Stream;
    void registered.get("/x")!(stream, { remotePeer: peerIdOf(eve.device), streams: [] } as unknown as Connection);
    expect(called).not.toContain("unguarded");
    expect(aborted.length).toBe(1);
  });
});

test("IPv6 strangers are counted by /64", () => {
  expect(networkOf("2001:db8:0:1:aaaa::1")).toBe(networkOf("2001:0db8::1:ffff:0:0:2"));
  expect(networkOf("2001:db8:0:1::1")).not.toBe(networkOf("2001:db8:0:2::1"));
  expect(networkOf("::ffff:10.0.0.1")).toBe("10.0.0.1");
  expect(networkOf("10.0.0.1")).toBe("10.0.0.1");
});

async function openSilent(to: TestNode, count: number): Promise<Socket[]> {
  const opened = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<Socket>((resolve, reject) => {
          const socket = connectSocket(to.net.port!, "127.0.0.1", () => resolve(socket));
          socket.on("error", reject);
        }),
    ),
  );
  sockets.push(...opened);
  return opened;
}

/** Multistream's `ls` on a fresh stream. */
async function listProtocols(from: Libp2p, to: TestNode): Promise<string[]> {
  const connection = await from.dial(to.net.addresses().map(multiaddr));
  const muxer = (connection as unknown as { muxer: { createStream(options: object): Promise<Stream> } }).muxer;
  const stream = await muxer.createStream({});
  let text = "";
  stream.addEventListener("message", (event) => {
    text += new TextDecoder().decode(event.data.subarray());
  });
  const line = (said: string): Uint8Array => Uint8Array.of(said.length + 1, ...utf8Bytes(`${said}\n`));
  stream.send(line("/multistream/1.0.0"));
  stream.send(line("ls"));
  await until(() => text.includes("/kin/join/1"));
  stream.abort(new Error("read"));
  return [...text.matchAll(/\/(?:ipfs|kin)\/[\w./-]+/g)].map((found) => found[0]).toSorted();
}

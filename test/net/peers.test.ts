import { afterEach, describe, expect, test } from "vitest";
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import { KinError } from "../../protocols/errors.ts";
import {
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

function node(who: typeof ana, settings?: TestSettings): TestNode {
  const made = testNode(who, settings);
  open.push(made);
  return made;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((one) => one.net.stop()));
});

async function pair(a: TestSettings = {}, b: TestSettings = {}): Promise<[TestNode, TestNode]> {
  const nodes: [TestNode, TestNode] = [node(ana, a), node(ben, b)];
  await Promise.all(nodes.map((one) => one.net.setMembership(meshOf([ana, ben]))));
  return nodes;
}

describe("two members", () => {
  test("connect by device id, say hello, and speak over a wire", async () => {
    const [a, b] = await pair();
    b.net.handleForMembers("/kin/echo/1", echo);
    const peer = await a.net.connect(ben.device, { addresses: b.net.addresses(), signal: soon() });
    expect(peer.person).toBe(ben.person);
    const wire = await a.net.open(ben.device, "/kin/echo/1", soon());
    await wire.send(utf8Bytes("hello ben"));
    expect(utf8Text(await firstFrame(wire))).toBe("hello ben");
    await until(() => b.events.length > 0);
    expect(b.events[0]).toMatchObject({ type: "peer-connected", device: ana.device, person: ana.person });
    expect(a.net.peers()).toMatchObject([
      { device: ben.device, connected: true, path: "loopback", transport: "tcp", encrypter: "/tls/1.0.0" },
    ]);
  });
});

import { describe, expect, test } from "vitest";
import {
  isDialable,
  isPrivate,
  parseDefaultRoute,
  reachableAddresses,
  sortByTransport,
  ticketAddresses,
  transportOf,
  usefulAddresses,
  type Interfaces,
} from "../../node/net/addresses.ts";

const ip4 = (address: string, internal = false) => ({ address, family: "IPv4" as const, internal });
const ip6 = (address: string, internal = false) => ({ address, family: "IPv6" as const, internal });
const lo = [ip4("127.0.0.1", true), ip6("::1", true)];

const TICKETS: { name: string; interfaces: Interfaces; route: string | null; expected: string[] }[] = [
  {
    name: "the default route comes first, then other LANs, then global IPv6",
    interfaces: {
      lo,
      wlan0: [ip4("10.1.0.7"), ip6("2001:db8::7"), ip6("fe80::7")],
      eth0: [ip4("192.168.1.5")],
    },
    route: "eth0",
    expected: ["192.168.1.5", "10.1.0.7", "2001:db8::7"],
  },
  {
    name: "container bridges are never named",
    interfaces: {
      lo,
      docker0: [ip4("172.17.0.1")],
      "br-5f2a6e0c1b7d": [ip4("172.18.0.1")],
      veth12ab: [ip4("172.19.0.1")],
      virbr0: [ip4("192.168.122.1")],
      cni0: [ip4("10.88.0.1")],
      podman1: [ip4("10.89.0.1")],
      "cni-podman0": [ip4("10.90.0.1")],
      eth0: [ip4("192.168.1.5")],
    },
    route: "eth0",
    expected: ["192.168.1.5"],
  },
  {
    name: "a bridge of the user's own (br0) is a LAN",
    interfaces: { lo, br0: [ip4("192.168.7.1")] },
    route: null,
    expected: ["192.168.7.1"],
  },
  {
    name: "loopback only if there is nothing else",
    interfaces: { lo, docker0: [ip4("172.17.0.1")] },
    route: null,
    expected: ["127.0.0.1", "::1"],
  },
  {
    name: "link-local addresses are no addresses",
    interfaces: { lo, eth0: [ip4("169.254.8.8"), ip6("fe80::1")] },
    route: "eth0",
    expected: ["127.0.0.1", "::1"],
  },
  {
    name: "a VPN's address comes after everything that others surely share",
    interfaces: { tailscale0: [ip4("100.101.1.2")], eth0: [ip4("10.0.0.2")], eth1: [ip6("2a00::1")] },
    route: "eth0",
    expected: ["10.0.0.2", "2a00::1", "100.101.1.2"],
  },
  { name: "an interface without addresses is passed over", interfaces: { eth0: undefined }, route: null, expected: [] },
];

describe("addresses for a ticket [ticket-addresses]", () => {
  test.each(TICKETS)("$name", ({ interfaces, route, expected }) => {
    expect(reachableAddresses(interfaces, route).map((own) => own.address)).toEqual(expected);
  });

  test("R10: at most three, one per IP before a second way to the same one, TCP before WebSocket before WebRTC", () => {
    const ways = (ip: string) => [
      `/ip4/${ip}/udp/4001/webrtc-direct/certhash/x`,
      `/ip4/${ip}/tcp/4002/ws`,
      `/ip4/${ip}/tcp/4001`,
    ];
    const listening = ["127.0.0.1", "10.0.0.2", "192.168.1.5"].flatMap(ways);
    const interfaces = { lo, a: [ip4("10.0.0.2")], b: [ip4("192.168.1.5")] };
    expect(ticketAddresses(listening, interfaces, "b")).toEqual([
      "/ip4/192.168.1.5/tcp/4001",
      "/ip4/10.0.0.2/tcp/4001",
      "/ip4/192.168.1.5/tcp/4002/ws",
    ]);
  });

  test("a node that listens on loopback only says its loopback addresses", () => {
    const interfaces = { lo, eth0: [ip4("10.0.0.2")] };
    expect(ticketAddresses(["/ip4/127.0.0.1/tcp/9"], interfaces, "eth0")).toEqual(["/ip4/127.0.0.1/tcp/9"]);
  });
});

describe("the default route", () => {
  const head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
  test("the lowest metric wins", () => {
    const wlan = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
    const eth = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    const lan = "eth1\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    expect(parseDefaultRoute(head + wlan + eth + lan)).toBe("eth0");
  });
  test("none", () => expect(parseDefaultRoute(head)).toBeNull());
});

describe("what we dial of what others tell", () => {
  const REFUSED = [
    "/dns4/metadata.internal/tcp/80",
    "/dns/evil.example/tcp/4001",
    "/dnsaddr/evil.example",
    "/ip4/169.254.169.254/tcp/80",
    "/ip6/::ffff:169.254.169.254/tcp/80",
    "/ip6/fe80::1/tcp/4001",
    "/ip4/0.0.0.0/tcp/4001",
    "/ip4/224.0.0.251/udp/5353",
    "/ip4/10.0.0.1/tcp/0",
    "/ip4/10.0.0.1/tcp/70000",
    "/ip4/999.0.0.1/tcp/1",
    "/unix/%2ftmp%2fx",
    "",
    `/ip4/10.0.0.1/tcp/1/${"x".repeat(400)}`,
  ];
  test.each(REFUSED)("E17, E23: %s is refused", (address) => expect(isDialable(address)).toBe(false));

  test.each(["/ip4/10.0.0.1/tcp/4001", "/ip6/2001:db8::1/udp/4001/webrtc-direct", "/ip4/127.0.0.1/tcp/1/ws/p2p/12D3"])(
    "%s is dialled",
    (address) => expect(isDialable(address)).toBe(true),
  );

  test("a peer's loopback address counts only if it came over loopback", () => {
    const told = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/dns/x/tcp/1"];
    expect(usefulAddresses(told, false)).toEqual(["/ip4/10.0.0.1/tcp/1"]);
    expect(usefulAddresses(told, true)).toEqual(["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"]);
  });
});

test("the transport of an address, and their order", () => {
  const all = ["/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/u", "/ip4/1.2.3.4/tcp/2/ws", "/ip4/1.2.3.4/tcp/1"];
  expect(all.map(transportOf)).toEqual(["webrtc-direct", "ws", "tcp"]);
  expect(sortByTransport(all)).toEqual(all.toReversed());
});

test("private and public IPs", () => {
  for (const ip of ["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd00::1", "127.0.0.1"])
    expect(isPrivate(ip), ip).toBe(true);
  for (const ip of ["172.32.0.1", "100.128.0.1", "8.8.8.8", "2001:db8::1"]) expect(isPrivate(ip), ip).toBe(false);
});

import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { idOf } from "../../protocols/ids.ts";
import { announcedAddresses, readAddresses, serviceTag } from "../../node/net/mdns.ts";
import { peerIdOf } from "../../node/net/libp2p.ts";
import { MESH, someone } from "./fixture.ts";

const ana = peerIdOf(someone("ana").device).toString();
const ben = peerIdOf(someone("ben").device).toString();

describe("an mDNS answer", () => {
  test("names one peer and the addresses that can be dialled", () => {
    const strings = [
      `dnsaddr=/ip4/10.0.0.2/tcp/4001/p2p/${ana}`,
      `dnsaddr=/ip4/127.0.0.1/tcp/4001/p2p/${ana}`,
      `dnsaddr=/dns4/evil.example/tcp/4001/p2p/${ana}`,
      `dnsaddr=/ip4/169.254.169.254/tcp/80/p2p/${ana}`,
      `dnsaddr=/ip4/10.0.0.2/tcp/99999/p2p/${ana}`,
      "txtvers=1",
    ];
    expect(readAddresses(strings)).toEqual({ id: ana, addresses: [`/ip4/10.0.0.2/tcp/4001/p2p/${ana}`] });
  });

  const BAD: [name: string, strings: string[]][] = [
    ["E22: that mixes two peers", [`dnsaddr=/ip4/10.0.0.2/tcp/1/p2p/${ana}`, `dnsaddr=/ip4/10.0.0.2/tcp/1/p2p/${ben}`]],
    ["without an address", []],
    ["with a peer id that is none", [`dnsaddr=/ip4/10.0.0.2/tcp/1/p2p/${"1".repeat(52)}`]],
    ["without a peer id", ["dnsaddr=/ip4/10.0.0.2/tcp/1"]],
    ["with an unknown transport", [`dnsaddr=/ip4/10.0.0.2/tcp/1/nonsense/p2p/${ana}`]],
    ["with loopback only", [`dnsaddr=/ip4/127.0.0.1/tcp/1/p2p/${ana}`]],
  ];
  test.each(BAD)("%s is nothing", (_name, strings) => expect(readAddresses(strings)).toBeNull());

  test("of our own names no loopback address: a node on loopback only announces nothing", () => {
    const lan = `/ip4/10.0.0.2/tcp/1/p2p/${ana}`;
    expect(announcedAddresses([`/ip4/127.0.0.1/tcp/1/p2p/${ana}`, lan, `/ip6/::1/tcp/1/p2p/${ana}`])).toEqual([lan]);
    expect(announcedAddresses([`/ip4/127.0.0.1/tcp/1/p2p/${ana}`])).toEqual([]);
    expect(announcedAddresses(Array.from({ length: 40 }, (_, i) => `/ip4/10.0.0.2/tcp/${i + 1}`)).length).toBe(16);
    expect(announcedAddresses([`${lan}${"x".repeat(250)}`]), "does not fit a TXT string").toEqual([]);
  });

  test("belongs to one mesh: the service tag says which [discovery-mdns]", () => {
    expect(serviceTag(MESH)).toMatch(/^_kin-[a-z2-7]{16}\._udp\.local$/);
    expect(serviceTag(idOf(new Uint8Array(32)))).not.toBe(serviceTag(MESH));
  });
});

/** Why the test with real networks cannot run here, or null. */
function reasonToSkip(): string | null {
  if (process.platform !== "linux") return "network namespaces are Linux's";
  if (process.getuid?.() !== 0) return "making network namespaces needs root";
  try {
    const probe = `kin-probe-${process.pid}`;
    execFileSync("ip", ["netns", "add", probe], { stdio: "ignore" });
    execFileSync("ip", ["netns", "del", probe], { stdio: "ignore" });
    return null;
  } catch {
    return "`ip netns` does not work here (iproute2 missing, or a container without CAP_SYS_ADMIN)";
  }
}

const skipped = reasonToSkip();
const tag = String(process.pid % 100_000);
const spaces = [`kin-a-${tag}`, `kin-b-${tag}`];
const made: string[] = [];
const children: ChildProcess[] = [];

function ip(...args: string[]): string {
  return execFileSync("ip", args, { encoding: "utf8" });
}

afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  for (const space of made.splice(0)) ip("netns", "del", space);
});

/** Two machines on one cable: no gateway, no default route, no route for 224/4. */
function cable(): void {
  for (const space of spaces) {
    ip("netns", "add", space);
    made.push(space);
  }
  const [a, b] = spaces as [string, string];
  ip("link", "add", `ka${tag}`, "netns", a, "type", "veth", "peer", "name", `kb${tag}`, "netns", b);
  ip("-n", a, "addr", "add", "10.77.0.1/24", "dev", `ka${tag}`);
  ip("-n", b, "addr", "add", "10.77.0.2/24", "dev", `kb${tag}`);
  for (const [space, link] of [
    [a, `ka${tag}`],
    [b, `kb${tag}`],
  ] as const) {
    ip("-n", space, "link", "set", "lo", "up");
    ip("-n", space, "link", "set", link, "up");
  }
}

function member(space: string, me: string, other: string): AsyncIterator<string> {
  const program = fileURLToPath(new URL("mdns-child.ts", import.meta.url));
  const child = spawn("ip", ["netns", "exec", space, process.execPath, program, me, other], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  children.push(child);
  return createInterface({ input: child.stdout })[Symbol.asyncIterator]();
}

const nextLine = async (lines: AsyncIterator<string>): Promise<Record<string, unknown>> =>
  JSON.parse((await lines.next()).value as string) as Record<string, unknown>;

describe("two machines on one cable, without default route or 224/4 route", () => {
  test.skipIf(skipped !== null)(
    `find each other and speak [discovery-mdns]${skipped === null ? "" : ` (skipped: ${skipped})`}`,
    async () => {
      cable();
      expect(ip("-n", spaces[0]!, "route").trim()).toMatch(/^10\.77\.0\.0\/24 /);
      const a = member(spaces[0]!, "ana", "ben");
      const b = member(spaces[1]!, "ben", "ana");
      const [readyA, readyB] = await Promise.all([nextLine(a), nextLine(b)]);
      expect(readyA["ticket"]).toEqual([expect.stringMatching(/^\/ip4\/10\.77\.0\.1\/tcp\//)]);
      expect(readyB["ticket"]).toEqual([expect.stringMatching(/^\/ip4\/10\.77\.0\.2\/tcp\//)]);
      const [fromA, fromB] = await Promise.all([nextLine(a), nextLine(b)]);
      expect(fromA).toMatchObject({ heard: "hello from ana", path: "lan" });
      expect(fromB).toMatchObject({ heard: "hello from ben", path: "lan" });
      expect([fromA["foundBy"], fromB["foundBy"]]).toContain("mdns");
    },
  );
});

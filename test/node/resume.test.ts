import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { once } from "node:events";
import { expect, test } from "vitest";
import { makeTicket, parseTicket } from "../../protocols/ticket.ts";
import { addSlowAgent, counter, seesTool } from "./counter.ts";
import { openWorld, until } from "./people.ts";

interface Proxy extends AsyncDisposable {
  port: number;
  /** Connections that went through. */
  count: number;
  /** Ends every connection at once, without a word. */
  cut(): void;
}

/** A cable that can be cut. */
async function cuttable(to: number): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = createServer((inside) => {
    const outside = connect(to, "127.0.0.1");
    proxy.count++;
    for (const [socket, other] of [
      [inside, outside],
      [outside, inside],
    ] as const) {
      sockets.add(socket);
      socket.pipe(other);
      socket.on("error", () => other.destroy());
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const cut = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const proxy: Proxy = {
    port: (server.address() as AddressInfo).port,
    count: 0,
    cut,
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
    },
  };
  return proxy;
}

test("[cut-mid-stream] a connection cut in the middle of an answer: the answer arrives complete, the tool ran once", async () => {
  await using world = await openWorld();
  const counted = counter(world);
  const ben = await world.person("ben", { transports: ["tcp"], ...counted.settings });
  const ana = await world.person("ana", { transports: ["tcp"] });
  await ben.kin(["up"]);
  await addSlowAgent(ben);
  const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "ana"]);
  const parsed = parseTicket(ticket, { now: Date.now() });
  if (!parsed.ok) throw new Error(parsed.message);
  const [address] = parsed.ticket.addresses;
  const [, port] = /^\/ip4\/127\.0\.0\.1\/tcp\/(\d+)$/.exec(address!)!;
  await using proxy = await cuttable(Number(port));
  const over = makeTicket({ ...parsed.ticket, addresses: [`/ip4/127.0.0.1/tcp/${proxy.port}`] });
  const joined = await ana.kin(["join", over]);
  expect(joined, joined.err).toMatchObject({ code: 0 });
  await seesTool(ana, "ben/tools/counter.append");
  expect(proxy.count).toBeGreaterThan(0);

  let cuts = 0;
  const asked = ana.kin(["ask", "ben/slow", "go on", "--now"], {
    onOutput: (_child, out) => {
      if (!out.includes("before: hello") || cuts > 0) return;
      cuts++;
      void counted
        .began()
        .then(() => proxy.cut())
        .then(() => counted.go());
    },
  });
  const answer = await asked;
  expect(answer, answer.err).toMatchObject({ code: 0 });
  expect(answer.out).toContain("before: hello after: appended");
  expect(answer.out.match(/before/g)).toHaveLength(1);
  expect(cuts).toBe(1);
  expect(await counted.runs()).toBe(1);
  await until(async () => (await ana.kin(["call", "ben/tools/counter.hello", "--now"])).code === 0);
}, 120_000);

test("[announced-addresses] addresses of the settings come first in a ticket and are told to members", async () => {
  await using world = await openWorld();
  const mine = "/ip4/203.0.113.7/tcp/4001";
  const ben = await world.person("ben", { addresses: [mine] });
  const { addresses } = await ben.json<{ addresses: string[] }>(["invite", "--name", "ana"]);
  expect(addresses[0]).toBe(mine);
  expect(addresses.length).toBeGreaterThan(1);
  const { listening } = await ben.json<{ listening: string[] }>(["status"]);
  expect(listening.some((address) => address.startsWith(mine))).toBe(true);
}, 60_000);

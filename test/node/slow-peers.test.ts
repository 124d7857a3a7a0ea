/** One slow or half-open peer never stops the others (P15). */
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { multiaddr } from "@multiformats/multiaddr";
import { expect, test } from "vitest";
import { bareNode, someone } from "../net/fixture.ts";
import { makeRepository, openWorld, twoPeople, until, type Person } from "./people.ts";

const MAX_GROWTH_BYTES = 50e6;

async function portOf(person: Person): Promise<number> {
  const config = await readFile(join(person.home, "config.jsonc"), "utf8");
  return (JSON.parse(config) as { listen: { port: number } }).listen.port;
}

/** Resident memory of the person's node. */
async function memoryOf(person: Person): Promise<number> {
  const text = await readFile(`/proc/${await person.pid()}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+) kB/.exec(text)![1]) * 1024;
}

async function answers(asker: Person): Promise<void> {
  const asked = await asker.kin(["ask", "ben/reviewer", "what changed?", "--now"]);
  expect(asked, asked.err).toMatchObject({ code: 0, out: expect.stringContaining("Greet politely") as string });
}

/** A length in front and a newline behind, as multistream-select wants it. */
const line = (text: string): Buffer => Buffer.from(`${String.fromCharCode(text.length + 1)}${text}\n`);

test.skipIf(process.platform !== "linux")(
  "[half-open] silent sockets, sockets silent after the first words, strangers silent after the handshake: others are served, memory stays, the silent are cut",
  async () => {
    await using world = await openWorld();
    const folder = await makeRepository(join(world.folder, "app"));
    const { ben, ana } = await twoPeople(world, folder, { transports: ["tcp"] });
    await answers(ana);
    const before = await memoryOf(ben);
    const port = await portOf(ben);
    const sockets: Socket[] = [];
    const ended: Promise<unknown>[] = [];
    for (let i = 0; i < 60; i++) {
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {});
      sockets.push(socket);
      ended.push(once(socket, "close").catch(() => {}));
      await once(socket, "connect");
      if (i % 2 === 0) socket.write(Buffer.concat([line("/multistream/1.0.0"), line("/noise")]));
      if (i % 4 === 0) socket.write(Buffer.from([0xff, 0xff])); // a Noise message of 65,535 bytes that never comes
    }
    const strangers = await Promise.all(["eve", "mallory"].map((name) => bareNode(someone(name))));
    try {
      for (const stranger of strangers)
        await stranger.dial(multiaddr(`/ip4/127.0.0.1/tcp/${port}`), { signal: AbortSignal.timeout(5_000) });
      await answers(ana);
      // A new dial too, while all of them hold their places.
      await ana.kin(["down"]);
      await ana.kin(["up"]);
      await answers(ana);
      for (const socket of sockets) socket.resume();
      await Promise.all(ended);
      await until(async () => strangers.every((stranger) => stranger.getConnections().length === 0));
      expect((await memoryOf(ben)) - before).toBeLessThan(MAX_GROWTH_BYTES);
    } finally {
      for (const socket of sockets) socket.destroy();
      for (const stranger of strangers) await stranger.stop();
    }
  },
  120_000,
);

test.skipIf(process.platform !== "linux")(
  "[stopped-peer] a member whose process stands still: the others ask each other, and memory stays; when it goes on it has everything",
  async () => {
    await using world = await openWorld();
    const folder = await makeRepository(join(world.folder, "app"));
    const { ben, ana } = await twoPeople(world, folder, { transports: ["tcp"] });
    const carl = await world.person("carl", { transports: ["tcp"] });
    const { ticket } = await ben.json<{ ticket: string }>(["invite", "--name", "carl"]);
    expect((await carl.kin(["join", ticket])).code).toBe(0);
    await answers(ana);
    const before = await memoryOf(ben);
    const pid = await carl.pid();
    process.kill(pid, "SIGSTOP");
    try {
      for (let i = 0; i < 5; i++) await answers(ana);
      // What is written meanwhile waits for him; an ask to him does not hang for ever.
      const other = await makeRepository(join(world.folder, "other"));
      expect((await ben.kin(["share", "add", other, "--for", "carl"])).code).toBe(0);
      const asked = await ana.kin(["ask", "carl/guide", "are you there?", "--deadline", "5s"]);
      expect([1, 5, 6]).toContain(asked.code);
      await answers(ana);
      expect((await memoryOf(ben)) - before).toBeLessThan(MAX_GROWTH_BYTES);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await until(async () =>
      (await carl.json<{ items: { address: string; mayAsk?: boolean }[] }>(["agents"])).items.some(
        ({ address, mayAsk }) => address === "ben/reviewer" && mayAsk === true,
      ),
    );
  },
  120_000,
);

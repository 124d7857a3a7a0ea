/** What the simulator itself promises: order, one seed, dead processes that stay dead, disks and wires as described. */
import { describe, expect, test } from "vitest";
import { utf8Bytes, utf8Text } from "../../protocols/bytes.ts";
import { hpkeOpen, hpkeSeal, sealingKeyFromSeed } from "#crypto";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import { createSimDisk } from "../../simulations/disk.ts";
import { createSimNetwork, type Connection, type SimNetwork } from "../../simulations/network.ts";
import { createClock, createDice, createWorld, timeOf, type Life, type World } from "../../simulations/world.ts";

describe("the heap", () => {
  test("events run by time, then in the order of asking; what was taken back does not run", async () => {
    const world = createWorld(1);
    const seen: string[] = [];
    world.after(20, "c", () => seen.push("c"));
    world.after(10, "a", () => seen.push("a"));
    world.after(10, "b", () => seen.push("b"));
    world.after(15, "gone", () => seen.push("gone"))();
    await world.run(15);
    expect([seen.join(""), world.now()]).toEqual(["ab", 15]);
    await world.run(100);
    expect(seen.join("")).toBe("abc");
  });

  test("what an event starts is settled before the next one runs", async () => {
    const world = createWorld(1);
    const seen: string[] = [];
    world.after(1, "first", () => {
      void (async () => {
        for (let i = 0; i < 50; i++) await Promise.resolve();
        seen.push("first is done");
      })();
    });
    world.after(1, "second", () => seen.push("second"));
    await world.run(2);
    expect(seen).toEqual(["first is done", "second"]);
  });

  test("dice follow from the seed and the stream alone", () => {
    expect([...createDice("7 a").bytes(8)]).toEqual([...createDice("7 a").bytes(8)]);
    expect([...createDice("7 a").bytes(8)]).not.toEqual([...createDice("7 b").bytes(8)]);
    const dice = createDice("range");
    const drawn = Array.from({ length: 1000 }, () => dice.int(3, 5));
    expect([...new Set(drawn)].toSorted((x, y) => x - y)).toEqual([3, 4, 5]);
  });

  test("AbortSignal.timeout fires in virtual time", async () => {
    const world = createWorld(1);
    const signal = AbortSignal.timeout(60_000);
    await world.run(59_999);
    expect(signal.aborted).toBe(false);
    await world.run(60_000);
    expect((signal.reason as Error).name).toBe("TimeoutError");
  });

  test("a timer never comes early, so that who waits for the rest of a wait gets past it", async () => {
    const world = createWorld(1);
    let asked = 0;
    await world.run(200_000);
    const due = world.now() + 1e-10; // less than what a sum of this size can tell
    const wait = (): void => {
      asked++;
      if (world.now() < due) world.after(1e-12, "rest", wait);
    };
    wait();
    await world.run(200_001, () => asked > 10);
    expect(asked).toBe(2);
  });

  test("a dead process's timers never fire; clocks drift and jump", async () => {
    const world = createWorld(1);
    const clock = createClock(world);
    const life: Life = { alive: true };
    const time = timeOf(world, clock, life, "a");
    let fired = 0;
    time.after(10, () => fired++);
    time.after(30, () => fired++);
    await world.run(20);
    life.alive = false;
    await world.run(100);
    expect(fired).toBe(1);
    clock.drift = 0.5;
    const before = clock.now();
    await world.run(1100);
    expect(clock.now() - before).toBe(1500);
    clock.offsetMs = -5000;
    expect(clock.now()).toBeLessThan(before);
  });
});

test("HPKE of two simulations with one seed seals the same bytes, and they open", async () => {
  const key = sealingKeyFromSeed(new Uint8Array(32).fill(7));
  const seal = async (seed: number) => {
    createWorld(seed);
    return hpkeSeal(key.publicKey, utf8Bytes("info"), utf8Bytes("aad"), utf8Bytes("secret"));
  };
  const first = await seal(1);
  expect(await seal(1)).toEqual(first);
  expect(await seal(2)).not.toEqual(first);
  const opened = await hpkeOpen(key, first, utf8Bytes("info"), utf8Bytes("aad"));
  expect(utf8Text(opened!)).toBe("secret");
  expect(await hpkeOpen(key, first, utf8Bytes("info"), utf8Bytes("other"))).toBeNull();
});

describe("the disk", () => {
  async function written(world: World, seed: string) {
    const disk = createSimDisk(world, seed);
    const port = disk.port({ alive: true });
    const work = (async () => {
      await port.append("f", utf8Bytes("kept"));
      await port.flush("f");
      await port.append("f", new Uint8Array(1000).fill(120));
    })();
    await world.run(world.now() + 5_000);
    await work;
    return disk;
  }

  test("a crash keeps what was flushed and loses some of the rest", async () => {
    const lost = new Set<number>();
    for (let seed = 0; seed < 20; seed++) {
      const disk = await written(createWorld(seed), "d");
      disk.crash();
      const [bytes] = [...disk.backup().values()];
      expect(utf8Text(bytes!.subarray(0, 4))).toBe("kept");
      lost.add(1004 - bytes!.length);
    }
    expect(lost.size).toBeGreaterThan(5);
  });

  test("a full disk takes a part and fails with ENOSPC; a dead process hears nothing", async () => {
    const world = createWorld(3);
    const disk = await written(world, "d");
    const life: Life = { alive: true };
    const port = disk.port(life);
    disk.faults.full = true;
    const failing = port.append("f", utf8Bytes("more")).catch((error: { code: string }) => error.code);
    await world.run(world.now() + 1000);
    expect(await failing).toBe("ENOSPC");
    disk.faults.full = false;
    let heard = false;
    void port.append("f", utf8Bytes("late")).then(() => (heard = true));
    life.alive = false;
    await world.run(world.now() + 1000);
    expect(heard).toBe(false);
  });

  test("flipped bits are in what is durable", async () => {
    const disk = await written(createWorld(4), "d");
    const before = disk.backup().get("f")!;
    expect(disk.flipBits(1)).toBe(1);
    const after = disk.backup().get("f")!;
    expect(before.filter((byte, i) => byte !== after[i]).length).toBe(1);
  });
});

describe("the network", () => {
  const [a, b] = [1, 2].map((n) => idOf<"device">(new Uint8Array(32).fill(n))) as [DeviceId, DeviceId];

  async function linked(
    world: World,
  ): Promise<{ network: SimNetwork; got: string[]; connection: Connection; broken: string[] }> {
    const network = createSimNetwork(world);
    const got: string[] = [];
    const broken: string[] = [];
    for (const device of [a, b])
      network.listen(
        device,
        { alive: true },
        {
          connected: () => undefined,
          broken: () => broken.push(device === a ? "a" : "b"),
          opened: async (_connection, _protocol, wire) => {
            try {
              for await (const frame of wire.frames()) got.push(utf8Text(frame));
              got.push("end");
            } catch {
              got.push("broken");
            }
          },
        },
      );
    const dialling = network.dial(a, b);
    await world.run(world.now() + 1000);
    return { network, got, connection: await dialling, broken };
  }

  async function sendAll(world: World, connection: Connection, count: number, protocol = "p"): Promise<void> {
    const wire = connection.open(protocol);
    void (async () => {
      for (let i = 0; i < count; i++) await wire.send(utf8Bytes(`${i}`));
      await wire.close();
    })();
    await world.run(world.now() + 400_000);
  }

  test("frames arrive in order and once, whatever is lost below", async () => {
    const world = createWorld(5);
    const { network, got, connection } = await linked(world);
    network.faults.loss = 0.3;
    await sendAll(world, connection, 200);
    expect(got).toEqual([...Array.from({ length: 200 }, (_, i) => `${i}`), "end"]);
    expect(world.stats["packets lost"]).toBeGreaterThan(20);
  });

  test("raw faults lose, repeat and reorder the frames of one protocol, and heal ends the connection", async () => {
    const world = createWorld(6);
    const { network, got, connection, broken } = await linked(world);
    network.faults.raw = { protocol: "p", drop: 0.2, duplicate: 0.2, reorder: 0.2 };
    await sendAll(world, connection, 40);
    const numbers = got.filter((text) => /^\d+$/.test(text)).map(Number);
    expect(new Set(numbers).size).toBeLessThan(40);
    expect(numbers.length).toBeGreaterThan(new Set(numbers).size);
    expect(numbers).not.toEqual(numbers.toSorted((x, y) => x - y));
    network.heal();
    expect(connection.isOpen()).toBe(false);
    expect(broken.toSorted()).toEqual(["a", "b"]);
  });

  test("a partition holds frames, breaks the connection after a while and lets no dial through", async () => {
    const world = createWorld(7);
    const { network, got, connection, broken } = await linked(world);
    network.partition([[a], [b]]);
    const wire = connection.open("p");
    void wire.send(utf8Bytes("lost")).catch(() => undefined);
    await world.run(world.now() + 30_000);
    expect([got, broken.toSorted()]).toEqual([[], ["a", "b"]]);
    const refused = network.dial(a, b).catch((error: { code: string }) => error.code);
    await world.run(world.now() + 10_000);
    expect(await refused).toBe("UNREACHABLE");
  });

  test("a clog holds frames and the connection", async () => {
    const world = createWorld(8);
    const { network, got, connection } = await linked(world);
    network.clog(b, true);
    const wire = connection.open("p");
    void wire.send(utf8Bytes("late"));
    await world.run(world.now() + 60_000);
    expect([got, connection.isOpen()]).toEqual([[], true]);
    network.clog(b, false);
    await world.run(world.now() + 1_000);
    expect(got).toEqual(["late"]);
  });
});

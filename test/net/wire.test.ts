import type { Libp2p, Stream } from "@libp2p/interface";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { concat, equal } from "../../protocols/bytes.ts";
import type { Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { frame } from "../../protocols/frame.ts";
import { MAX_FRAME_BYTES } from "../../protocols/limits.ts";
import { createWire, HIGH_WATER_BYTES, MAX_WAITING_BYTES } from "../../node/net/wire.ts";
import { bareNode, someone, until } from "./fixture.ts";

const PROTOCOL = "/test/wire/1";
let dialer: Libp2p;
let listener: Libp2p;
let accept: (stream: Stream) => void;

beforeEach(async () => {
  [dialer, listener] = await Promise.all([
    bareNode(someone("dialer")),
    bareNode(someone("listener"), { addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] } }),
  ]);
  await listener.handle(PROTOCOL, (stream) => accept(stream), { runOnLimitedConnection: true });
});

afterEach(async () => {
  await Promise.all([dialer.stop(), listener.stop()]);
});

async function streams(): Promise<[Stream, Stream]> {
  const accepted = new Promise<Stream>((resolve) => {
    accept = resolve;
  });
  const opened = await dialer.dialProtocol(listener.getMultiaddrs(), PROTOCOL);
  return [opened, await accepted];
}

async function wires(): Promise<[Wire, Wire]> {
  const [a, b] = await streams();
  return [createWire(a), createWire(b)];
}

async function collect(wire: Wire): Promise<Uint8Array[]> {
  const out: Uint8Array[] = [];
  for await (const one of wire.frames()) out.push(one);
  return out;
}

function numbered(index: number, size = 100): Uint8Array {
  const bytes = new Uint8Array(size);
  new DataView(bytes.buffer).setUint32(0, index);
  return bytes;
}

const numberOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);

/** Whether a promise settles in `ms`. */
async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const done = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([done, new Promise<boolean>((later) => setTimeout(() => later(false), ms))]);
}

describe("a wire over a libp2p stream", () => {
  test("carries frames of every size in order, both ways, and ends when the peer closes", async () => {
    const [a, b] = await wires();
    const sizes = [0, 1, 127, 128, 16_383, 16_384, 300_000, MAX_FRAME_BYTES, 5];
    const sent = sizes.map((size) => new Uint8Array(size).fill(size % 251));
    const receivedByB = collect(b);
    const receivedByA = collect(a);
    for (const one of sent) await a.send(one);
    await a.close();
    const got = await receivedByB;
    expect(got.map((one) => one.length)).toEqual(sizes);
    expect(got.every((one, i) => equal(one, sent[i]!))).toBe(true);
    expect(a.signal.aborted, "half-closed is not closed").toBe(false);
    await b.send(new Uint8Array([9]));
    await b.close();
    expect(await receivedByA).toEqual([new Uint8Array([9])]);
    await until(() => a.signal.aborted && b.signal.aborted);
  });

  test("an answer that arrives together with the end, while the protocol is still negotiated, is read", async () => {
    accept = (stream) => {
      stream.send(frame(numbered(5)));
      stream.close().catch(() => {});
    };
    for (let i = 0; i < 20; i++) {
      const stream = await dialer.dialProtocol(listener.getMultiaddrs(), PROTOCOL);
      await new Promise((later) => setTimeout(later, i % 3));
      const wire = createWire(stream);
      expect((await collect(wire)).map(numberOf)).toEqual([5]);
      await wire.close();
    }
  });

  test("frames of one tick leave in one send [one-stream]", async () => {
    const [a, b] = await streams();
    let sends = 0;
    const send = a.send.bind(a);
    a.send = (data) => {
      sends++;
      return send(data);
    };
    const wire = createWire(a);
    const received = collect(createWire(b));
    await Promise.all(Array.from({ length: 64 }, (_, i) => wire.send(numbered(i))));
    await wire.close();
    expect((await received).map(numberOf)).toEqual(Array.from({ length: 64 }, (_, i) => i));
    expect(sends).toBe(1);
  });

  test("P15: a reader that has stopped holds less than 2 MB at a sender that awaits, and everything arrives when it goes on", async () => {
    const [a, b] = await streams();
    const wire = createWire(a);
    const reader = createWire(b);
    const piece = 60_000;
    let count = 0;
    let sending: Promise<void>;
    for (;;) {
      sending = wire.send(numbered(count++, piece));
      if (!(await settles(sending, 300))) break;
      expect(count * piece, "the sender is held back").toBeLessThan(8_000_000);
    }
    const received = b.readBufferLength;
    expect(count * piece, "taken from the sender, on both sides and in between").toBeLessThan(2_000_000);
    expect(a.writeBufferLength).toBeLessThanOrEqual(HIGH_WATER_BYTES + piece);
    expect(received, "and the receiver is not flooded").toBeLessThanOrEqual(1024 * 1024);
    const got: number[] = [];
    const rest = (async () => {
      for await (const one of reader.frames()) got.push(numberOf(one));
    })();
    await sending;
    for (let i = 0; i < 100; i++) await wire.send(numbered(count++, piece));
    await wire.close();
    await rest;
    expect(got).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  test("a sender that does not await is refused before it fills the memory", async () => {
    const [a, b] = await wires();
    void b;
    const sends = Array.from({ length: 200 }, () => a.send(new Uint8Array(100_000)));
    const results = Promise.allSettled(sends);
    await expect(sends.at(-1)).rejects.toMatchObject({ code: "OVERLOADED" });
    a.abort(new Error("enough"));
    const refused = (await results).filter(
      (one) => one.status === "rejected" && (one.reason as KinError).code === "OVERLOADED",
    );
    expect((200 - refused.length) * 100_000).toBeLessThan(MAX_WAITING_BYTES + HIGH_WATER_BYTES + 400_000);
  });

  test("a reader that breaks off and comes again goes on where it was; two at once are refused", async () => {
    const [a, b] = await wires();
    for (let i = 0; i < 3; i++) await a.send(numbered(i));
    for await (const one of b.frames()) {
      expect(numberOf(one)).toBe(0);
      await expect(b.frames()[Symbol.asyncIterator]().next()).rejects.toThrow("one reader");
      break;
    }
    for await (const one of b.frames()) {
      expect(numberOf(one)).toBe(1);
      break;
    }
  });

  test("abort breaks both sides, can be called twice, and rejects what was being sent", async () => {
    const [a, b] = await wires();
    const reading = collect(b);
    const own = collect(a);
    const reason = new KinError("CANCELLED", "changed my mind");
    a.abort(reason);
    a.abort(reason);
    await expect(own).rejects.toBe(reason);
    await expect(reading).rejects.toMatchObject({ code: "CLOSED" });
    await expect(a.send(new Uint8Array(1))).rejects.toBe(reason);
    expect(a.signal.reason).toBe(reason);
    await until(() => b.signal.aborted);
    await expect(b.send(new Uint8Array(1))).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("a lost connection is an error, not an end", async () => {
    const [a, b] = await wires();
    await a.send(numbered(7));
    const it = b.frames()[Symbol.asyncIterator]();
    expect(numberOf((await it.next()).value)).toBe(7);
    await Promise.all(dialer.getConnections().map((connection) => connection.close()));
    await expect(it.next()).rejects.toMatchObject({ code: "CLOSED" });
    expect(b.signal.aborted).toBe(true);
  });

  test("after our close, a peer that never closes its side is cut", async () => {
    const [a, b] = await streams();
    const wire = createWire(a, { lingerMs: 100 });
    createWire(b);
    await wire.close();
    await until(() => wire.signal.aborted);
    expect((wire.signal.reason as Error).message).toContain("did not close");
  });
});

describe("what a wire refuses", () => {
  /** What the reader of the wire sees when these raw bytes arrive and the peer then closes. */
  async function reading(bytes: Uint8Array): Promise<{ frames: number; error: unknown; wire: Wire }> {
    const [a, b] = await streams();
    const wire = createWire(b);
    let frames = 0;
    a.send(bytes);
    a.close().catch(() => {});
    try {
      for await (const one of wire.frames()) if (one.length >= 0) frames++;
    } catch (error) {
      return { frames, error, wire };
    }
    return { frames, error: null, wire };
  }

  const GARBAGE: [name: string, bytes: Uint8Array, code: string][] = [
    ["a length of 5 bytes", Uint8Array.of(255, 255, 255, 255, 1), "BAD_REQUEST"],
    ["a length over the limit", Uint8Array.of(255, 255, 255, 127), "TOO_LARGE"],
    ["a length that is not minimal", Uint8Array.of(128, 0), "BAD_REQUEST"],
  ];
  test.each(GARBAGE)("%s breaks the wire", async (_name, garbage, code) => {
    const { error, wire } = await reading(concat(frame(new Uint8Array(3)), garbage));
    expect(error).toMatchObject({ code });
    expect(wire.signal.aborted).toBe(true);
  });

  test("D11: a peer that closes inside a frame, at every byte of it", async () => {
    const whole = concat(frame(new Uint8Array(2)), frame(new Uint8Array(200)));
    for (const at of [4, 5, 6, 100, whole.length - 1]) {
      const { frames, error } = await reading(whole.subarray(0, at));
      expect(frames, `cut at ${at}`).toBe(1);
      expect(error, `cut at ${at}`).toMatchObject({ code: "BAD_REQUEST" });
    }
    expect(await reading(whole)).toMatchObject({ frames: 2, error: null });
  });

  test("a frame over the limit is refused at the sender", async () => {
    const [a] = await wires();
    await expect(async () => a.send(new Uint8Array(MAX_FRAME_BYTES + 1))).rejects.toMatchObject({ code: "TOO_LARGE" });
    expect(a.signal.aborted).toBe(false);
  });
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Time } from "../../protocols/effects.ts";
import { classify, dialAddresses, DialFailure, MAX_DIALLED_ADDRESSES, type DialDeps } from "../../node/net/dial.ts";
import { FIRST_DELAY_MS, MAX_DELAY_MS, reconnectDelay } from "../../node/net/reconnect.ts";

/** A clock that jumps to the next timer whenever nothing else is left to do. */
function virtualTime(): { time: Time; run(): Promise<void>; now(): number } {
  let now = 0;
  let nextId = 0;
  const timers = new Map<number, { at: number; run: () => void }>();
  const time: Time = {
    now: () => now,
    monotonic: () => now,
    after(delayMs, run) {
      const id = nextId++;
      timers.set(id, { at: now + delayMs, run });
      return () => timers.delete(id);
    },
  };
  async function run(): Promise<void> {
    for (let i = 0; i < 1000; i++) {
      await new Promise((idle) => setImmediate(idle));
      const [next] = [...timers].toSorted(([, a], [, b]) => a.at - b.at);
      if (next === undefined) return;
      timers.delete(next[0]);
      now = Math.max(now, next[1].at);
      next[1].run();
    }
  }
  return { time, run, now: () => now };
}

/** `stubborn`: goes on although the dial was aborted. */
type Script = { [address: string]: { after: number; fails?: string; stubborn?: true } };

/** Addresses that answer, fail or stay silent as the script says. */
function scripted(script: Script) {
  const clock = virtualTime();
  const started: [address: string, at: number][] = [];
  const dropped: string[] = [];
  const deps: DialDeps<string> = {
    time: clock.time,
    drop: (connection) => dropped.push(connection),
    dial: (address, signal) =>
      new Promise((resolve, reject) => {
        started.push([address, clock.now()]);
        const line = script[address];
        if (line?.stubborn !== true) signal.addEventListener("abort", () => reject(signal.reason as Error));
        if (line === undefined) return;
        clock.time.after(line.after, () =>
          line.fails === undefined ? resolve(address) : reject(new Error(line.fails)),
        );
      }),
  };
  const dial = async (addresses: string[], signal = new AbortController().signal): Promise<string | DialFailure> => {
    const result = dialAddresses(deps, addresses, signal).catch((error: DialFailure) => error);
    await clock.run();
    return result;
  };
  return { dial, started, dropped, clock };
}

const A = "/ip4/10.0.0.1/tcp/1";
const B = "/ip4/10.0.0.2/tcp/1";
const C = "/ip4/10.0.0.3/tcp/1";

describe("dialling several addresses", () => {
  test("the next one starts when the one before has failed, or after 250 ms", async () => {
    const { dial, started } = scripted({ [A]: { after: 10, fails: "ECONNREFUSED" }, [C]: { after: 5 } });
    expect(await dial([A, B, C])).toBe(C);
    expect(started).toEqual([
      [A, 0],
      [B, 10],
      [C, 260],
    ]);
  });

  test("TCP goes before WebSocket before WebRTC, whatever the order they came in", async () => {
    const ws = "/ip4/10.0.0.1/tcp/2/ws";
    const rtc = "/ip4/10.0.0.1/udp/1/webrtc-direct/certhash/u";
    const { dial, started } = scripted({});
    await dial([rtc, ws, A]);
    expect(started.map(([address]) => address)).toEqual([A, ws, rtc]);
  });

  test("a connection that comes after the winner is dropped", async () => {
    const { dial, dropped } = scripted({ [A]: { after: 300, stubborn: true }, [B]: { after: 40 } });
    expect(await dial([A, B])).toBe(B);
    expect(dropped).toEqual([A]);
  });

  test("when all fail, each says what happened to it", async () => {
    const { dial } = scripted({
      [A]: { after: 1, fails: "connect ECONNREFUSED" },
      [C]: { after: 1, fails: "EHOSTUNREACH" },
    });
    const failure = await dial([`${A}/p2p/12D3KooWx`, A, B, C]);
    expect(failure).toBeInstanceOf(DialFailure);
    const attempts = (failure as DialFailure).attempts.map(({ address, outcome }) => [address, outcome]);
    expect(attempts).toContainEqual([A, "refused"]);
    expect(attempts).toContainEqual([B, "timed-out"]);
    expect(attempts).toContainEqual([C, "no-route"]);
  });

  test("nothing to dial fails at once", async () => {
    const { dial } = scripted({});
    expect(await dial([])).toMatchObject({ attempts: [] });
  });

  test(`at most ${MAX_DIALLED_ADDRESSES} are tried`, async () => {
    const { dial, started } = scripted({});
    await dial(Array.from({ length: 50 }, (_, i) => `/ip4/10.0.1.${i}/tcp/1`));
    expect(started.length).toBe(MAX_DIALLED_ADDRESSES);
  });

  test("an abort ends it with the caller's reason", async () => {
    const stop = new AbortController();
    const { dial, clock } = scripted({});
    clock.time.after(100, () => stop.abort(new Error("the caller left")));
    expect(await dial([A, B], stop.signal)).toMatchObject({ message: "the caller left" });
  });

  test.each([
    ["connect ECONNREFUSED 10.0.0.1:1", "refused"],
    ["Payload identity key 12D3 does not match expected remote peer 12D4", "another-peer"],
    ["connect ETIMEDOUT", "timed-out"],
    ["The operation was aborted", "timed-out"],
    ["connect EHOSTUNREACH", "no-route"],
    ["read ECONNRESET", "ended"],
    ["something new", "failed"],
  ])("%s means %s", (message, outcome) => expect(classify(new Error(message))).toBe(outcome));

  test("a WebSocket's error event is read for the error in it, never printed as an object", async () => {
    expect(classify({ type: "error", error: new Error("connect ECONNREFUSED") })).toBe("refused");
    const event = { type: "error", message: "", error: new TypeError("") };
    const deps: DialDeps<string> = { time: virtualTime().time, drop: () => {}, dial: () => Promise.reject(event) };
    const failure = await dialAddresses(deps, [A], AbortSignal.timeout(1000)).catch((error: Error) => error.message);
    expect(failure).toMatch(/: failed$/);
  });
});

describe("trying again", () => {
  const fixed = (byte: number) => ({ bytes: (count: number) => new Uint8Array(count).fill(byte) });

  test("waits longer each time, up to a bound, never less than half the step [reconnect-backoff]", () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.integer({ min: 0, max: 255 }), (failures, byte) => {
        const delay = reconnectDelay(failures, fixed(byte));
        const step = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures, 20));
        expect(delay).toBeGreaterThanOrEqual(step / 2);
        expect(delay).toBeLessThanOrEqual(step);
      }),
    );
  });

  test("two who lost each other at once don't come back in step", () => {
    expect(reconnectDelay(4, fixed(10))).not.toBe(reconnectDelay(4, fixed(200)));
  });
});

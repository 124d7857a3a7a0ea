/** When a sync with a connected device is opened again. */
import { expect, test } from "vitest";
import type { NetworkEvent } from "../../node/net/network.ts";
import { MAX_DELAY_MS } from "../../node/net/reconnect.ts";
import { createSyncing, STEADY_MS } from "../../node/net/sync.ts";
import { idOf } from "../../protocols/ids.ts";
import { seededRandom } from "../sync/chains.ts";
import { testTime } from "../sync/mesh.ts";
import { wirePair } from "../wire-pair.ts";

const [me, ben] = [1, 2].map((n) => idOf<"device">(new Uint8Array(32).fill(n))) as [never, never];

/** Syncing with one connected device, whose sessions last and end as `state` says. */
function withBen() {
  const time = testTime();
  const opened: number[] = [];
  const state = { gotAll: false, lastsMs: 0 };
  let tell!: (event: NetworkEvent) => void;
  const syncing = createSyncing({
    network: {
      device: me,
      on: (listener) => {
        tell = listener;
        return () => {};
      },
      open: async () => {
        opened.push(time.monotonic());
        return wirePair().left;
      },
      handleForMembers: () => {},
      greeting: () => ({}) as never,
    },
    run: async () => {
      const { gotAll, lastsMs } = state;
      if (lastsMs > 0) await new Promise<void>((over) => time.after(lastsMs, over));
      return gotAll;
    },
    time,
    random: seededRandom("syncing"),
    warn: () => {},
  });
  tell({ type: "peer-connected", device: ben, person: ben, greeting: {} as never });
  /** Lets the clock run in small steps, so that what a timer starts can finish. */
  const pass = async (ms: number): Promise<number> => {
    const before = opened.length;
    for (let left = ms; left > 0; left -= 50) {
      time.pass(Math.min(50, left));
      for (let i = 0; i < 10; i++) await Promise.resolve();
    }
    return opened.length - before;
  };
  return { syncing, state, opened, pass };
}

test.each([false, true])(
  "[sync-backoff] a device that ends each sync at once is asked ever more seldom, and soon again after one that worked (had all: %s)",
  async (gotAll) => {
    const { syncing, state, opened, pass } = withBen();
    state.gotAll = gotAll;
    await pass(600_000);
    const gaps = opened.slice(1).map((at, i) => at - opened[i]!);
    expect(gaps[0]).toBeLessThanOrEqual(1_100);
    expect(Math.min(...gaps.slice(8))).toBeGreaterThanOrEqual(MAX_DELAY_MS / 2);
    expect(opened.length).toBeLessThan(25);

    Object.assign(state, { gotAll: true, lastsMs: STEADY_MS });
    await pass(MAX_DELAY_MS);
    Object.assign(state, { gotAll, lastsMs: 0 });
    await pass(STEADY_MS + 1_000);
    const last = opened.slice(-3);
    expect(last[1]! - last[0]!, "from the start again").toBeLessThanOrEqual(STEADY_MS + 1_100);
    expect(last[2]! - last[1]!).toBeLessThanOrEqual(4_100);
    syncing.stop();
    expect(await pass(600_000)).toBe(0);
  },
);

test("[sync-backoff] with news nobody waits long, and nobody is asked more often than every 5 s", async () => {
  const { syncing, pass } = withBen();
  await pass(600_000);
  syncing.news();
  expect(await pass(4_900)).toBe(0);
  expect(await pass(200)).toBe(1);
  let asked = 0;
  for (let i = 0; i < 60; i++) {
    syncing.news();
    asked += await pass(500);
  }
  expect(asked).toBeGreaterThanOrEqual(5);
  expect(asked).toBeLessThanOrEqual(6);
  expect(await pass(50_000), "without news it waits").toBeLessThanOrEqual(1);
  syncing.stop();
});

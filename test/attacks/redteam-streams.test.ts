/** One member with many streams (D10). */
import { expect, test } from "vitest";
import type { PeerHandler } from "../../node/net/network.ts";
import { createSyncing } from "../../node/net/sync.ts";
import { idOf } from "../../protocols/ids.ts";
import { seededRandom } from "../sync/chains.ts";
import { testTime } from "../sync/mesh.ts";
import { wirePair } from "../wire-pair.ts";

test("D10: one device's syncs are few at a time, another's still begin, and a place that is free again is given", async () => {
  const [eve, ana] = [1, 2].map((n) => idOf<"device">(new Uint8Array(32).fill(n))) as [never, never];
  let handler!: PeerHandler;
  const ends: (() => void)[] = [];
  const syncing = createSyncing({
    network: {
      device: idOf<"device">(new Uint8Array(32).fill(9)),
      on: () => () => {},
      open: () => Promise.reject(new Error("nobody is dialled here")),
      handleForMembers: (_protocol, given) => (handler = given),
      greeting: () => null,
    },
    run: () => new Promise((resolve) => ends.push(() => resolve(true))),
    time: testTime(),
    random: seededRandom("syncs"),
    warn: () => {},
  });
  const open = (device: never) => {
    const { right } = wirePair();
    const done = handler({ device, person: device, greeting: {} as never }, right);
    return { right, done };
  };
  const opened = Array.from({ length: 64 }, () => open(eve));
  expect(opened.filter(({ right }) => !right.signal.aborted)).toHaveLength(4);
  expect(open(ana).right.signal.aborted).toBe(false);
  ends[0]!();
  await opened[0]!.done;
  expect(open(eve).right.signal.aborted).toBe(false);
  syncing.stop();
});

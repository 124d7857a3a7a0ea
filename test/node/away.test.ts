/** How long somebody who asks waits for a device that is not there, and what he is told. */
import { expect, test } from "vitest";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import { reach } from "../../node/gateway/away.ts";
import type { Mesh, MeshNode } from "../../node/gateway/mesh.ts";
import type { DialOutcome } from "../../node/net/dial.ts";
import { testTime } from "../sync/mesh.ts";

const BEN = "b".repeat(64) as DeviceId;
const DIAL_MS = 5_000;

/** A node with one peer, to whom a dial takes 5 s at the addresses that drop it. */
function nodeWith(outcomes: DialOutcome[], { failedAt = null as number | null, answersAfterMs = Infinity } = {}) {
  const time = testTime();
  const attempts = outcomes.map((outcome, i) => ({ address: `/ip4/10.0.0.1/tcp/${i + 1}`, outcome, detail: "" }));
  const state = { device: BEN, person: "p" as PersonId, addresses: ["/ip4/10.0.0.1/tcp/1"], lastSeenAt: null };
  const connect = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      if (answersAfterMs < DIAL_MS) time.after(answersAfterMs, () => resolve({ device: BEN }));
      else time.after(DIAL_MS, () => reject(new Error("every address failed")));
    });
  const network = { greeting: () => null, connect, peers: () => [{ ...state, failedAt, attempts }] };
  const node = { network, time } as unknown as MeshNode;
  const member = { person: state.person, name: "ben" };
  const devices = new Map([[BEN, { device: { id: BEN, name: "laptop" }, member }]]);
  const members = new Map([[state.person, member]]);
  const membership = { devices, members, removed: new Map() };
  const mesh = { me: { device: "a".repeat(64) }, replica: { membership: () => membership } } as unknown as Mesh;
  return { node, mesh, time };
}

/** After how many ms of the clock it is known; the test moves it. */
async function timed(scene: ReturnType<typeof nodeWith>, patient = false) {
  const { node, mesh, time } = scene;
  const began = time.now();
  let end: { away: Awaited<ReturnType<typeof reach>>; ms: number } | undefined;
  void reach(node, mesh, BEN, { signal: new AbortController().signal, patient }).then(
    (away) => (end = { away, ms: time.now() - began }),
  );
  for (let i = 0; i < 1000 && end === undefined; i++) {
    time.pass(10);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return end!;
}

test("[away-soon] a machine that refuses us, or a device that was away a moment ago, is given 1.5 s; others all the time of a dial", async () => {
  const refused = await timed(nodeWith(["refused"]));
  expect(refused.ms).toBeLessThan(1_700);
  expect(refused.away?.sentence).toBe("ben is offline: kin is not running on laptop");
  expect(refused.away?.detail).toContain("10.0.0.1 tcp 1: refused");
  const lately = nodeWith(["timed-out"]);
  expect((await timed(nodeWith(["timed-out"], { failedAt: lately.time.now() - 30_000 }))).ms).toBeLessThan(1_700);
  expect((await timed(nodeWith(["timed-out"], { failedAt: lately.time.now() - 600_000 }))).ms).toBeGreaterThan(4_900);
  expect((await timed(nodeWith(["timed-out"]))).ms).toBeGreaterThan(4_900);
  expect((await timed(nodeWith(["refused"]), true)).ms).toBeGreaterThan(4_900); // --now waits
});

test("[away-soon] who answers within that time is there; each reason is one plain sentence", async () => {
  expect((await timed(nodeWith(["refused"], { answersAfterMs: 1_000 }))).away).toBeNull();
  expect((await timed(nodeWith(["timed-out"], { answersAfterMs: 3_000 }))).away).toBeNull();
  expect((await timed(nodeWith(["timed-out"]))).away?.sentence).toBe("ben is offline: laptop does not answer");
  expect((await timed(nodeWith(["another-peer"]))).away?.sentence).toContain("another device has the address");
  expect((await timed(nodeWith(["no-route"]))).away?.sentence).toContain("no way to laptop from this network");
});

/** Own cards in the log: who writes them, and when nobody does yet. */
import { expect, test } from "vitest";
import { createOwnCards, type OwnCards } from "../../node/net/own-cards.ts";
import type { LocalCard } from "../../node/net/advertise.ts";
import { openLogCards } from "../../node/net/log-cards.ts";
import { signingKeyFromSeed } from "#crypto";
import { openProgress, type Progress } from "../../sync/progress.ts";
import { runSync } from "../../sync/session.ts";
import { openSnapshotBase } from "../../sync/snapshot-base.ts";
import { bytesOf, seededRandom } from "../sync/chains.ts";
import {
  admitMember,
  foundMesh,
  memberOf,
  note,
  openMember,
  syncOnce,
  testTime,
  twinOf,
  type TestMember,
} from "../sync/mesh.ts";
import { wirePair } from "../wire-pair.ts";

const reviewer: LocalCard = {
  kind: "agent",
  name: "reviewer",
  description: "reads",
  allowed: { mesh: true },
  shares: [],
  skills: [],
};

async function cardsOf(member: TestMember): Promise<{ cards: OwnCards; progress: Progress; offered: LocalCard[] }> {
  const { replica, time, keys } = member;
  const offered = [reviewer];
  const progress = await openProgress(replica, time);
  const cards = createOwnCards({
    me: { person: memberOf(member, member.name).person, device: keys.id },
    deviceKey: keys.device,
    replica,
    logCards: await openLogCards(replica, await openSnapshotBase(replica.store, replica.mesh), () => {}),
    log: true,
    hasHeard: () => progress.hasHeard(),
    agentKey: (agent) => ({ key: signingKeyFromSeed(bytesOf(`${member.name} ${agent}`)), generation: 1 }),
    endAgent: () => {},
    offered: () => ({ shared: offered, mine: [] }),
    time,
    random: seededRandom(`${member.name}'s cards`),
  });
  return { cards, progress, offered };
}

const written = async ({ replica }: TestMember): Promise<string[]> =>
  (await replica.events({ kinds: new Set(["card", "agent-key"]) })).events.map(({ kind }) => kind).toSorted();

/** One sync, as a node runs it: what `left` hears is noted. */
async function heardSync(left: TestMember, right: TestMember, caughtUp: () => void): Promise<void> {
  const wires = wirePair();
  const stop = new AbortController();
  let both = 0;
  const sides = [
    [left, right, wires.left],
    [right, left, wires.right],
  ] as const;
  await Promise.all(
    sides.map(([me, other, wire]) =>
      runSync(wire, me.replica, {
        peer: other.replica.device,
        time: me.time,
        signal: stop.signal,
        onCaughtUp() {
          if (me === left) caughtUp();
          if (++both === 2) stop.abort();
        },
      }),
    ),
  );
}

test("[own-writes-wait] a device alone in its mesh tells its cards at once, and only what changed", async () => {
  const ben = await foundMesh("ben", testTime());
  const { cards, offered } = await cardsOf(ben);
  await cards.refresh();
  expect(await written(ben)).toEqual(["agent-key", "card"]);
  await cards.refresh();
  expect(await written(ben)).toHaveLength(2);
  offered[0] = { ...offered[0]!, description: "reads more" };
  await cards.refresh();
  expect(await written(ben)).toEqual(["agent-key", "card", "card"]);
  // Nobody can have had more of its log: that somebody has come since changes nothing.
  await admitMember(ben, "ana");
  offered[0] = { ...offered[0], description: "reads all" };
  await cards.refresh();
  expect(await written(ben)).toEqual(["agent-key", "card", "card", "card"]);
});

test("[own-writes-wait] a restored folder whose agents have changed writes nothing before a peer was heard, and forks nothing", async () => {
  const ben = await foundMesh("ben", testTime());
  const ana = await admitMember(ben, "ana");
  await syncOnce(ana, ben);
  const copy = await twinOf(ben);
  await ben.replica.append([note("written after the copy")]);
  await syncOnce(ana, ben);
  await ben.replica.close();

  const { cards, progress } = await cardsOf(copy);
  const before = copy.replica.vector();
  await cards.refresh();
  await cards.refresh();
  expect(await written(copy)).toEqual([]);
  expect(copy.replica.vector()).toEqual(before);
  expect(cards.all(), "they are offered all the same").toHaveLength(1);
  expect(cards.keyRecords()).toHaveLength(1);

  const kept: Promise<unknown>[] = [];
  await heardSync(copy, ana, () => kept.push(progress.caughtUp(ana.replica.device)));
  await Promise.all(kept);
  await cards.refresh();
  expect(await written(copy)).toEqual(["agent-key", "card"]);
  await syncOnce(ana, copy);
  expect(await written(ana)).toEqual(["agent-key", "card"]);
  expect([...ana.replica.forks(), ...copy.replica.forks()]).toEqual([]);
});

test("[own-writes-wait] how far its own actions go is witnessed in the mesh once a peer was heard, not before", async () => {
  const time = testTime();
  const ben = await foundMesh("ben", time);
  await ben.replica.append([note("opens an epoch")]);
  const ana = await admitMember(ben, "ana");
  const state = { heard: false };
  await ana.replica.close();
  const again = await openMember("ana", ben.replica.mesh, {
    time,
    disk: ana.disk.crash(),
    epochKeys: ana.epochKeys,
    incarnation: { ...ana.replica.incarnation(), fresh: false },
    hasHeard: () => state.heard,
  });
  const act = (): Promise<unknown> =>
    again.replica.append(Array.from({ length: 70 }, () => ({ kind: "call-started", audience: "here", value: {} })));
  const witnessed = async (): Promise<number> =>
    (await again.replica.events({ kinds: new Set(["here-head"]) })).events.length;
  await act();
  await again.replica.idle();
  expect(await witnessed()).toBe(0);
  state.heard = true;
  await act();
  await again.replica.idle();
  expect(await witnessed()).toBe(1);
});

/** Who is asked for a state: connected members that say they serve it, one after the other. */
import { expect, test } from "vitest";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import {
  answerSnapshot,
  SNAPSHOT_FEATURE,
  SNAPSHOT_PROTOCOL,
  snapshotOf,
  stateHash,
} from "../../protocols/snapshot.ts";
import { fetchSnapshot, type SnapshotFetchDeps } from "../../node/net/snapshot.ts";
import { bytesOf, epoch, epochKey, mesh, seededRandom } from "../sync/chains.ts";
import { wirePair } from "../wire-pair.ts";

const STATE = new Uint8Array(300_000).fill(7);
const SNAPSHOT = snapshotOf(mesh, { at: new Map(), views: [], state: stateHash(STATE), bytes: STATE.length });

interface Holder {
  features: string[] | null;
  /** null: it never answers. */
  give: Uint8Array | null | Error;
}

/** Each holder behind a wire of its own; `asked` says whom a wire was opened to. */
function networkOf(holders: { [name: string]: Holder }) {
  const asked: string[] = [];
  const warnings: string[] = [];
  const names = new Map(Object.keys(holders).map((name) => [idOf<"device">(bytesOf(name)), name]));
  const network = {
    peers: () => [...names.keys()].map((device) => ({ device })),
    greeting(device: DeviceId) {
      const { features } = holders[names.get(device)!]!;
      return features === null ? null : { features };
    },
    async open(device: DeviceId, protocol: string) {
      const name = names.get(device)!;
      asked.push(name);
      expect(protocol).toBe(SNAPSHOT_PROTOCOL);
      const { left, right } = wirePair();
      const { give } = holders[name]!;
      const state = async (): Promise<Uint8Array> => {
        if (give === null) return new Promise<never>(() => undefined);
        if (give instanceof Error) throw give;
        return give;
      };
      const holder = { mesh, random: seededRandom(name), epoch: () => ({ epoch, key: epochKey }), state };
      answerSnapshot(right, holder).catch(() => undefined);
      return left;
    },
  } as unknown as SnapshotFetchDeps["network"];
  const deps = { network, mesh, epochKey: () => epochKey, warn: (sentence: string) => void warnings.push(sentence) };
  return { asked, warnings, fetch: (signal = new AbortController().signal) => fetchSnapshot(deps, SNAPSHOT, signal) };
}

const serving = [SNAPSHOT_FEATURE];

test("who does not say that it serves snapshots, or is not there, is not asked; who lies is named and the next one is asked [lying-provider]", async () => {
  const { asked, warnings, fetch } = networkOf({
    older: { features: [], give: STATE },
    away: { features: null, give: STATE },
    without: { features: serving, give: new Error("not kept") },
    liar: { features: serving, give: STATE.with(0, 1) },
    honest: { features: [...serving, "other"], give: STATE },
    last: { features: serving, give: STATE },
  });
  expect((await fetch()).length).toBe(STATE.length);
  expect(asked).toEqual(["without", "liar", "honest"]);
  expect(warnings).toEqual([expect.stringContaining("not the one that was signed")]);
});

test("nobody to ask is NOT_FOUND; a node that stops waits for nobody", async () => {
  await expect(networkOf({ older: { features: [], give: STATE } }).fetch()).rejects.toMatchObject({
    code: "NOT_FOUND",
  });
  const stopping = new AbortController();
  const hanging = networkOf({ silent: { features: serving, give: null }, other: { features: serving, give: STATE } });
  const fetching = hanging.fetch(stopping.signal);
  setTimeout(() => stopping.abort(new Error("the node stops")), 20);
  await expect(fetching).rejects.toThrow(/the node stops/);
  expect(hanging.asked).toEqual(["silent"]);
});

import { expect, test } from "vitest";
import type { DeviceId } from "../../protocols/ids.ts";
import { DialFailure } from "../../node/net/dial.ts";
import { findInviter, type FindInviterDeps, type Listen } from "../../node/net/find-inviter.ts";
import { joinFailed } from "../../node/net/reach-errors.ts";
import { testTime } from "../sync/mesh.ts";
import { someone, soon } from "./fixture.ts";

const OLD = "/ip4/10.0.0.2/tcp/4001";
const NEW = "/ip4/10.0.0.9/tcp/4001";
const inviter = someone("ben").device;

/** A network in which only some addresses answer, and mDNS tells what the test says. */
function network(answering: readonly string[]) {
  const time = testTime();
  const dialled: string[][] = [];
  const listeners = new Set<Parameters<Listen>[0]>();
  const deps: FindInviterDeps<string> = {
    time,
    dial(addresses, signal) {
      dialled.push([...addresses]);
      const found = addresses.find((address) => answering.includes(address));
      if (found !== undefined) return Promise.resolve(found);
      if (signal.aborted) return Promise.reject(signal.reason as Error);
      return Promise.reject(
        new DialFailure(addresses.map((address) => ({ address, outcome: "refused", detail: "ECONNREFUSED" }))),
      );
    },
    listen(found) {
      listeners.add(found);
      return () => void listeners.delete(found);
    },
  };
  const see = (device: DeviceId, address: string): void => {
    for (const found of listeners) found(device, [address]);
  };
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { deps, time, dialled, listeners, see, settle };
}

async function failureOf(finding: Promise<unknown>): Promise<string> {
  return joinFailed(await finding.catch((error: unknown) => error)).message;
}

test("the ticket's address answers: nobody waits for mDNS, and nothing listens afterwards", async () => {
  const { deps, listeners } = network([OLD]);
  expect(await findInviter(deps, [OLD], inviter, soon())).toBe(OLD);
  expect(listeners.size).toBe(0);
});

test.each([[[OLD]], [[]]])(
  "[join-mdns] with the ticket's addresses %j leading nowhere, the inviter is reached where mDNS sees it",
  async (addresses) => {
    const { deps, see, settle, dialled, listeners } = network([NEW]);
    const finding = findInviter(deps, addresses, inviter, soon());
    await settle();
    see(someone("eve").device, "/ip4/10.0.0.66/tcp/4001");
    see(inviter, `${NEW}/p2p/12D3KooWKx2E7JqVggZB7ePGhrWNaorGoF7fFfiQSv8gkkuR8m1N`);
    expect(await finding).toBe(NEW);
    expect(dialled).toEqual([addresses, [NEW]]);
    expect(listeners.size).toBe(0);
  },
);

test("[join-mdns] a failed join says what mDNS saw: nobody, others, or the inviter at an address that fails too", async () => {
  for (const [seen, expected] of [
    [[], "10.0.0.2 tcp 4001: refused (kin is not running there); mDNS saw nobody of this mesh on the local network"],
    [[[someone("eve").device, NEW]], "mDNS saw 1 other device of this mesh on the local network, not the inviter's"],
    [[[inviter, NEW]], "mDNS saw it at 10.0.0.9 tcp 4001: refused (kin is not running there)"],
  ] as [[DeviceId, string][], string][]) {
    const { deps, time, see, settle } = network([]);
    const failure = failureOf(findInviter(deps, [OLD], inviter, soon()));
    await settle();
    for (const [device, address] of seen) see(device, address);
    await settle();
    time.pass(4_000);
    expect(await failure).toContain(expected);
  }
});

test("with mDNS off only the ticket's addresses are tried and told", async () => {
  const { deps } = network([]);
  const failure = await failureOf(findInviter({ ...deps, listen: null }, [OLD], inviter, soon()));
  expect(failure).toBe("the inviter was not reached: 10.0.0.2 tcp 4001: refused (kin is not running there)");
});

test("who gives up is told his own reason, and nothing listens afterwards", async () => {
  const { deps, listeners, settle } = network([]);
  const stop = new AbortController();
  const finding = findInviter(deps, [OLD], inviter, stop.signal);
  await settle();
  stop.abort(new Error("Ctrl-C"));
  await expect(finding).rejects.toThrow("Ctrl-C");
  expect(listeners.size).toBe(0);
});

/**
 * How a guest reaches the device that a ticket names: at the ticket's addresses, and at those that mDNS sees it at meanwhile.
 * A ticket outlives an address, and on a LAN without a router there may have been none to put in.
 *
 *   dial the ticket's addresses ──────────────▶ connected
 *   listen to mDNS ──▶ seen? dial it there ───▶ connected      the first wins; both fail → what happened at each
 *
 * Listening says nothing about us: the guest is in no mesh yet and announces nothing.
 */
import type { Time } from "../../protocols/effects.ts";
import type { DeviceId, MeshId } from "../../protocols/ids.ts";
import { withoutPeer } from "./addresses.ts";
import { DialFailure, type DialAttempt } from "./dial.ts";
import { deviceOf } from "./gate.ts";
import { peerIdOf } from "./libp2p.ts";
import { mdns } from "./mdns.ts";

/** Our questions leave at 0, 1 and 3 s; who has not answered by then isn't on this network. */
const LISTEN_MS = 4_000;

/** Calls back for each device that announces itself; returns what ends it. */
export type Listen = (found: (device: DeviceId, addresses: string[]) => void) => () => void;

export interface FindInviterDeps<Connection> {
  time: Time;
  /** @throws DialFailure */
  dial(addresses: readonly string[], signal: AbortSignal): Promise<Connection>;
  /** null: mDNS is off. */
  listen: Listen | null;
}

/** Neither way led to the inviter. */
export class InviterNotFound extends Error {
  override readonly name = "InviterNotFound";
  /** At the ticket's addresses. */
  readonly attempts: DialAttempt[];
  /** At those that mDNS saw; null: mDNS is off or did not see it. */
  readonly seen: DialAttempt[] | null;
  /** Other devices that mDNS saw; null: it is off. */
  readonly others: number | null;
  constructor(attempts: DialAttempt[], seen: DialAttempt[] | null, others: number | null) {
    super("the inviter was not reached");
    this.attempts = attempts;
    this.seen = seen;
    this.others = others;
  }
}

/** @throws InviterNotFound; the reason of `signal` when that fires */
export async function findInviter<Connection>(
  deps: FindInviterDeps<Connection>,
  addresses: readonly string[],
  inviter: DeviceId,
  signal: AbortSignal,
): Promise<Connection> {
  const found = new AbortController();
  const until = AbortSignal.any([signal, found.signal]);
  const others = new Set<DeviceId>();
  const seen: DialAttempt[] = [];
  const atTicket = deps.dial(addresses, until);
  const ways = [atTicket];
  if (deps.listen !== null) ways.push(atSeen(deps, deps.listen, inviter, { others, seen }, until));
  try {
    return await Promise.any(ways);
  } catch {
    signal.throwIfAborted();
    const failure: unknown = await atTicket.catch((error: unknown) => error);
    if (!(failure instanceof DialFailure)) throw failure;
    throw new InviterNotFound(
      failure.attempts,
      seen.length === 0 ? null : seen,
      deps.listen === null ? null : others.size,
    );
  } finally {
    found.abort(new Error("no longer needed"));
  }
}

/** Dials the inviter wherever it is seen, until {@link LISTEN_MS} are over and no dial is under way. */
function atSeen<Connection>(
  deps: FindInviterDeps<Connection>,
  listen: Listen,
  inviter: DeviceId,
  told: { others: Set<DeviceId>; seen: DialAttempt[] },
  until: AbortSignal,
): Promise<Connection> {
  return new Promise((resolve, reject) => {
    let dialling = 0;
    let listening = true;
    const giveUp = (): void => {
      if (!listening && dialling === 0) reject(new Error("not reached where mDNS saw it"));
    };
    const stop = listen((device, addresses) => {
      if (device !== inviter) {
        told.others.add(device);
        return;
      }
      if (!listening) return;
      dialling++;
      deps
        .dial(addresses.map(withoutPeer), until)
        .then(resolve, (error: unknown) => {
          if (error instanceof DialFailure) told.seen.push(...error.attempts);
        })
        .finally(() => {
          dialling--;
          giveUp();
        });
    });
    const end = (): void => {
      listening = false;
      cancel();
      stop();
      giveUp();
    };
    const cancel = deps.time.after(LISTEN_MS, end);
    until.addEventListener("abort", end, { once: true });
  });
}

/** Listens on the local network for devices of `mesh`. @param port tests: another than 5353 */
export function listenFor(mesh: MeshId, self: DeviceId, port: number | undefined): Listen {
  return (found) => {
    const discovery = mdns({ mesh, port })({ peerId: peerIdOf(self), addressManager: { getAddresses: () => [] } });
    discovery.addEventListener("peer", ({ detail }) => {
      const device = deviceOf(detail.id);
      if (device !== null) found(device, detail.multiaddrs.map(String));
    });
    const startable = discovery as unknown as { start(): void; stop(): Promise<void> };
    startable.start();
    return () => void startable.stop();
  };
}

/**
 * Keeps one `/kin/sync/1` stream with each connected member: the device with the smaller id opens it, both serve. A session
 * that ends while the peer is there is opened again, later each time until one has worked for a while. One bad peer never stops
 * the others.
 */
import type { Random, Time, Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { SYNC_PROTOCOL } from "../../protocols/sync.ts";
import type { Progress } from "../../sync/progress.ts";
import type { Replica } from "../../sync/replica.ts";
import { runSync } from "../../sync/session.ts";
import type { Network } from "./peers.ts";
import { reconnectDelay } from "./reconnect.ts";

export interface SyncingDeps {
  network: Pick<Network, "device" | "on" | "open" | "handleForMembers" | "greeting">;
  /** Runs one session until it ends. Resolves with whether we got all that the peer has; rejects when it broke the protocol. */
  run(wire: Wire, peer: DeviceId, signal: AbortSignal): Promise<boolean>;
  time: Time;
  random: Random;
  warn(message: string): void;
}

export interface SyncRunDeps {
  replica: Replica;
  progress: Progress;
  time: Time;
  /** All that the peer has named is here. */
  caughtUp: () => void;
  /** How far the peer is could not be kept. */
  unkept: (error: unknown) => void;
}

/** One session, with a note of how far the peer is. */
export function syncRun({ replica, progress, time, caughtUp, unkept }: SyncRunDeps): SyncingDeps["run"] {
  return async (wire, peer, signal) => {
    let over = async (): Promise<void> => {};
    let gotAll = false;
    const end = await runSync(wire, replica, {
      peer,
      time,
      signal,
      onBegin: (logs) => (over = progress.begin(peer, logs)),
      onCaughtUp() {
        gotAll = true;
        progress.caughtUp(peer).catch(unkept);
        caughtUp();
      },
    });
    await over().catch(unkept);
    if (end.error !== null && end.reason !== "broken") throw new Error(`${end.reason}: ${end.error.message}`);
    return gotAll;
  };
}

/** A session that brought all that the peer has and lasted so long has worked; one that is ended at once would be opened at once. */
export const STEADY_MS = 10_000;
/** With news nobody who is connected waits longer, and nobody is asked more often. */
const NEWS_RETRY_MS = 5_000;
const OPEN_TIMEOUT_MS = 10_000;
/** One at a time is meant; a dying one may linger beside a new one. Each may hold a run of some megabytes. */
const MAX_SESSIONS_PER_PEER = 4;

export interface Syncing {
  /** Devices with a session now. */
  active(): DeviceId[];
  /** Opens a session with a connected device now, if there is none: whoever's turn it is, and however often it failed. */
  now(device: DeviceId): void;
  /** There is something to tell: who waits long for the next session gets one soon. What failed stays failed. */
  news(): void;
  /**
   * Asks a connected device afresh what it has, by a session more that ends with `signal`: on a long one it does not tell what it
   * has got from others. Resolves when that session is over; never rejects.
   */
  afresh(device: DeviceId, signal: AbortSignal): Promise<void>;
  stop(): void;
}

export function createSyncing(deps: SyncingDeps): Syncing {
  const stopped = new AbortController();
  const sessions = new Map<DeviceId, Set<Wire>>();
  /** Of the sessions that we open. */
  const failures = new Map<DeviceId, number>();
  const timers = new Map<DeviceId, { at: number; cancel: () => void }>();
  /** Being opened because somebody asked for it. */
  const hurried = new Set<DeviceId>();

  async function session(wire: Wire, peer: DeviceId, signal: AbortSignal = stopped.signal): Promise<boolean> {
    const open = sessions.get(peer) ?? new Set();
    if (open.size >= MAX_SESSIONS_PER_PEER) {
      wire.abort(new KinError("OVERLOADED", `${MAX_SESSIONS_PER_PEER} syncs with this device are open already`));
      return false;
    }
    sessions.set(peer, open.add(wire));
    try {
      return await deps.run(wire, peer, signal);
    } catch (error) {
      wire.abort(error as Error);
      if (!stopped.signal.aborted) deps.warn(`sync with ${peer.slice(0, 8)}: ${(error as Error).message}`);
      return false;
    } finally {
      open.delete(wire);
      if (open.size === 0) sessions.delete(peer);
    }
  }

  async function start(peer: DeviceId): Promise<void> {
    timers.delete(peer);
    if (stopped.signal.aborted || deps.network.greeting(peer) === null) return;
    const begun = deps.time.monotonic();
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)]);
    let hasWorked = false;
    try {
      const gotAll = await session(await deps.network.open(peer, SYNC_PROTOCOL, signal), peer);
      hasWorked = gotAll && deps.time.monotonic() - begun >= STEADY_MS;
    } catch (error) {
      deps.warn(`sync with ${peer.slice(0, 8)} could not be opened: ${(error as Error).message}`);
    }
    if (hasWorked) failures.delete(peer);
    else failures.set(peer, (failures.get(peer) ?? 0) + 1);
    later(peer);
  }

  function later(peer: DeviceId): void {
    if (stopped.signal.aborted || deps.network.greeting(peer) === null || timers.has(peer)) return;
    startIn(peer, reconnectDelay(failures.get(peer) ?? 0, deps.random));
  }

  function startIn(peer: DeviceId, delayMs: number): void {
    timers.get(peer)?.cancel();
    const cancel = deps.time.after(delayMs, () => void start(peer));
    timers.set(peer, { at: deps.time.monotonic() + delayMs, cancel });
  }

  deps.network.handleForMembers(SYNC_PROTOCOL, async (peer, wire) => void (await session(wire, peer.device)));
  const unsubscribe = deps.network.on((event) => {
    if (event.type === "peer-connected") {
      failures.delete(event.device);
      if (deps.network.device < event.device && !timers.has(event.device)) startIn(event.device, 0);
    }
    if (event.type === "peer-disconnected") {
      timers.get(event.device)?.cancel();
      timers.delete(event.device);
    }
  });

  return {
    active: () => [...sessions.keys()],
    now(device) {
      if (sessions.has(device) || hurried.has(device)) return;
      timers.get(device)?.cancel();
      failures.delete(device);
      hurried.add(device);
      void start(device).finally(() => hurried.delete(device));
    },
    news() {
      const soon = deps.time.monotonic() + NEWS_RETRY_MS;
      for (const [peer, { at }] of timers) if (at > soon) startIn(peer, NEWS_RETRY_MS);
    },
    async afresh(device, signal) {
      const until = AbortSignal.any([stopped.signal, signal]);
      try {
        const wire = await deps.network.open(device, SYNC_PROTOCOL, until);
        await session(wire, device, until);
      } catch (error) {
        if (!until.aborted)
          deps.warn(`sync with ${device.slice(0, 8)} could not be opened: ${(error as Error).message}`);
      }
    },
    stop() {
      stopped.abort();
      unsubscribe();
      for (const { cancel } of timers.values()) cancel();
      for (const open of sessions.values()) for (const wire of open) wire.abort(new Error("the node stops"));
    },
  };
}

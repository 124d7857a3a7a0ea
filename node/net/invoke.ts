/**
 * Binds `/kin/invoke/1` to the streams of peers: one stream a peer, opened right after hello or when a call needs it, opened
 * again when it broke while a call was waiting. Whoever opened it, both sides call over it. A call to this very node goes the
 * same way, over a loopback.
 */
import { createCallee, type CalleeSession } from "../../protocols/call-callee.ts";
import { createCaller, type CallerSession } from "../../protocols/call-caller.ts";
import type { Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import type { InvokeDeps } from "../../protocols/invoke-deps.ts";
import { decodeInvokeFrame, isCallerFrame } from "../../protocols/invoke-frames.ts";
import {
  INVOKE_PROTOCOL,
  type HandleInvocation,
  type InvokeRemote,
  type RecallOutcome,
} from "../../protocols/invoke.ts";
import { createReplayTable } from "../../protocols/replay.ts";
import { createLoopback } from "./loopback.ts";
import { withSignal } from "./with-signal.ts";

/** Dialling and hello take 3–4 round trips; a peer that needs longer isn't there. */
const OPEN_TIMEOUT_MS = 15_000;
/** Given to a wire and not taken by it: one stream's window and what goes along. */
const MAX_UNSENT_BYTES = 1024 * 1024;
/** Both sides may open one at the same time, and one more while an old one dies. */
const MAX_STREAMS_PER_PEER = 4;

export interface InvocationDeps extends InvokeDeps {
  /** Opens a stream, after dialling and hello if need be. @throws KinError OFFLINE, UNREACHABLE … */
  open(device: DeviceId, protocol: string, signal: AbortSignal): Promise<Wire>;
  /** The peer's boot id as the hello of the present connection said it. */
  bootOf(device: DeviceId): Uint8Array | undefined;
  handle: HandleInvocation;
  /** The ledger's memory of calls that ended. */
  recall: RecallOutcome;
  /** `setImmediate`: runs once at the end of this tick. */
  endOfTick(run: () => void): void;
}

export interface Invocations {
  invoke: InvokeRemote;
  /** Serves a stream that the peer opened. Resolves when it is over; never rejects. */
  serve(device: DeviceId, wire: Wire): Promise<void>;
  /** Opens the stream to a peer ahead of the first call: for whoever dialled, right after hello. */
  connect(device: DeviceId, signal: AbortSignal): Promise<void>;
  /** Aborts what runs and closes every stream. */
  stop(): Promise<void>;
  /** Calls of others that this node still knows. */
  readonly size: number;
}

interface Link {
  wire: Wire;
  caller: CallerSession;
  callee: CalleeSession;
  done: Promise<void>;
}

export function createInvocations(deps: InvocationDeps): Invocations {
  const links = new Map<DeviceId, Set<Link>>();
  const opening = new Map<DeviceId, Promise<Link>>();
  const stopped = new AbortController();

  const callee = createCallee({ ...deps, replay: createReplayTable(deps) });
  const caller = createCaller({ ...deps, link: async (device, signal) => (await linkTo(device, signal)).caller });

  function attach(device: DeviceId, wire: Wire, boot: Uint8Array): Link {
    const session = {
      peer: device,
      send: createOrderlySend(wire),
      fail: (error: Error) => wire.abort(error),
    };
    const link: Link = {
      wire,
      callee: callee.join(session),
      caller: caller.join(session, boot),
      done: Promise.resolve(),
    };
    const ofPeer = links.get(device) ?? new Set();
    links.set(device, ofPeer.add(link));
    wire.signal.addEventListener("abort", () => detach(device, link), { once: true });
    link.done = read(device, link);
    return link;
  }

  async function read(device: DeviceId, link: Link): Promise<void> {
    try {
      for await (const bytes of link.wire.frames()) {
        const frame = decodeInvokeFrame(bytes);
        if (frame.t === "ack") link.callee.acknowledge(frame.acks);
        else if (isCallerFrame(frame)) link.callee.receive(frame);
        else link.caller.receive(frame);
      }
      await link.wire.close();
    } catch (error) {
      link.wire.abort(error as Error);
    } finally {
      detach(device, link);
    }
  }

  function detach(device: DeviceId, link: Link): void {
    const ofPeer = links.get(device);
    if (ofPeer?.delete(link) !== true) return;
    if (ofPeer.size === 0) links.delete(device);
    link.callee.leave();
    link.caller.leave();
  }

  async function linkTo(device: DeviceId, signal: AbortSignal): Promise<Link> {
    const [open] = links.get(device) ?? [];
    if (open !== undefined) return open;
    let promise = opening.get(device);
    if (promise === undefined) {
      promise = openLink(device).finally(() => opening.delete(device));
      opening.set(device, promise);
      promise.catch(() => {}); // those who wait below see it
    }
    return await withSignal(promise, signal);
  }

  async function openLink(device: DeviceId): Promise<Link> {
    if (stopped.signal.aborted) throw new KinError("CLOSED", "this node stops");
    if (device === deps.self.device) return openLoopback();
    const late = new AbortController();
    const cancel = deps.time.after(OPEN_TIMEOUT_MS, () =>
      late.abort(new KinError("UNREACHABLE", `no stream to ${device.slice(0, 8)} within ${OPEN_TIMEOUT_MS / 1000} s`)),
    );
    try {
      const signal = AbortSignal.any([stopped.signal, late.signal]);
      const wire = await withSignal(deps.open(device, INVOKE_PROTOCOL, signal), signal);
      const boot = deps.bootOf(device);
      if (boot !== undefined) return attach(device, wire, boot);
      const error = new KinError("UNREACHABLE", `${device.slice(0, 8)} did not say hello`);
      wire.abort(error);
      throw error;
    } finally {
      cancel();
    }
  }

  function openLoopback(): Link {
    const [here, there] = createLoopback();
    attach(deps.self.device, there, deps.boot);
    return attach(deps.self.device, here, deps.boot);
  }

  return {
    invoke: caller.invoke,
    get size() {
      return callee.size;
    },
    async serve(device, wire) {
      const boot = deps.bootOf(device);
      if (boot === undefined || stopped.signal.aborted)
        return wire.abort(new KinError("CLOSED", `no calls with ${device.slice(0, 8)} before hello`));
      if ((links.get(device)?.size ?? 0) >= MAX_STREAMS_PER_PEER)
        return wire.abort(
          new KinError("OVERLOADED", `${MAX_STREAMS_PER_PEER} streams carry calls of this peer already`),
        );
      await attach(device, wire, boot).done;
    },
    async connect(device, signal) {
      await linkTo(device, signal);
    },
    async stop() {
      const reason = new KinError("CLOSED", "this node stops");
      stopped.abort(reason);
      callee.stop();
      const all = [...links.values()].flatMap((ofPeer) => [...ofPeer]);
      for (const link of all) link.wire.abort(reason);
      await Promise.all(all.map((link) => link.done));
    },
  };
}

/**
 * Frames in order, and no more of them given to the wire than it may hold: 256 calls that all have a large result would else
 * pile up there. What waits here is bounded by the calls: each has one frame under way.
 */
function createOrderlySend(wire: Wire): (frame: Uint8Array) => Promise<void> {
  const waiting: { frame: Uint8Array; sent: () => void; failed: (error: unknown) => void }[] = [];
  let unsentBytes = 0;

  function pump(): void {
    for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
      const { frame, sent, failed } = next;
      if (unsentBytes > 0 && unsentBytes + frame.length > MAX_UNSENT_BYTES) return;
      waiting.shift();
      unsentBytes += frame.length;
      void wire
        .send(frame)
        .then(sent, failed)
        .finally(() => {
          unsentBytes -= frame.length;
          pump();
        });
    }
  }

  return (frame) =>
    new Promise((sent, failed) => {
      waiting.push({ frame, sent, failed });
      pump();
    });
}

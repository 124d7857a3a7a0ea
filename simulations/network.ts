/**
 * The wires between machines. A connection carries streams of frames in order, as TCP under libp2p does; below it packets
 * are late, lost and sent again. What a protocol may meet above it: delay, silence, a connection that breaks at any frame,
 * a dial that fails. `raw` faults go further than any real stream may: frames that vanish, come twice or in another order,
 * so that a session's own checks are tried too; they end when the network heals, with the connections that had them.
 *
 *   partition   two groups do not hear each other: frames wait, connections break after a while, dials time out
 *   clog        one machine's frames wait, its connections hold (swizzle-clog: machine after machine, and back in another order)
 *   offline     a machine without a network: everything it had breaks
 */
import type { Wire } from "../protocols/effects.ts";
import { KinError } from "../protocols/errors.ts";
import type { DeviceId } from "../protocols/ids.ts";
import type { Life, World } from "./world.ts";

export interface NetworkFaults {
  /** One way, ms: from, to. Drawn for each frame. */
  latencyMs: readonly [number, number];
  /** Chance that a packet is lost and sent again after a time-out that doubles. */
  loss: number;
  /** Chances for a whole frame of one protocol, against what a stream promises. */
  raw: { protocol: string; drop: number; duplicate: number; reorder: number };
}

/** What a process does with what comes in. */
export interface Receiver {
  /** Somebody has connected. */
  connected(connection: Connection): void;
  /** The other end has opened a stream. */
  opened(connection: Connection, protocol: string, wire: Wire): void;
  broken(connection: Connection): void;
}

/** One end of a connection, as its process sees it. */
export interface Connection {
  readonly peer: DeviceId;
  readonly isDialler: boolean;
  isOpen(): boolean;
  open(protocol: string): Wire;
  break(reason: Error): void;
}

export interface SimNetwork {
  readonly faults: NetworkFaults;
  /** A process on a machine listens. Replaces the one before. */
  listen(device: DeviceId, life: Life, receiver: Receiver): void;
  /** @throws KinError UNREACHABLE after the time that a real dial takes */
  dial(from: DeviceId, to: DeviceId): Promise<Connection>;
  /** The process is gone: its peers notice at once (a reset) or late (silence). */
  died(device: DeviceId): void;
  /** Only machines of one group hear each other; those that are named in none stand alone. */
  partition(groups: readonly (readonly DeviceId[])[]): void;
  clog(device: DeviceId, isClogged: boolean): void;
  setOffline(device: DeviceId, isOffline: boolean): void;
  /** No partition, nothing clogged or offline, no loss; connections that carried raw faults end. */
  heal(): void;
  /** Sees every frame that is sent. */
  watch(see: (from: DeviceId, to: DeviceId, protocol: string, frame: Uint8Array) => void): void;
}

const NO_RAW: NetworkFaults["raw"] = { protocol: "", drop: 0, duplicate: 0, reorder: 0 };

/** A peer that hears nothing for so long takes the connection for dead (libp2p's ping and TCP's time-outs, roughly). */
const SILENCE_MS = [5_000, 20_000] as const;
const DIAL_TIMEOUT_MS = 5_000;
/** A lost packet is sent again after this, then twice this, … (TCP's minimum). */
const RESEND_MS = 200;
const MAX_RESENDS = 8;
/** Bytes that a link carries a ms: 10 MB/s. */
const BYTES_PER_MS = 10_000;
/** Frames in flight or unread in one direction before `send` waits. */
const CAPACITY = 64;
/** How long one frame may fall behind the ones after it. */
const REORDER_MS = 50;

interface Machine {
  device: DeviceId;
  life: Life;
  receiver: Receiver;
  links: Set<Link>;
  isClogged: boolean;
  isOffline: boolean;
}

interface Link {
  ends: readonly [End, End];
  isOpen: boolean;
  /** Carried raw faults. */
  isDirty: boolean;
  streams: Set<{ abort(reason: Error): void }>;
  /** What arrived while the way was blocked. */
  held: (() => void)[];
  /** When it was blocked, or null. */
  silentSince: number | null;
}

interface End {
  machine: Machine;
  life: Life;
  connection: Connection;
}

export function createSimNetwork(world: World): SimNetwork {
  const dice = world.dice("network");
  const faults: NetworkFaults = { latencyMs: [0.5, 5], loss: 0, raw: { ...NO_RAW } };
  const machines = new Map<DeviceId, Machine>();
  const links = new Set<Link>();
  const watchers: Parameters<SimNetwork["watch"]>[0][] = [];
  let groups: Map<DeviceId, number> | null = null;

  function isBlocked(a: Machine, b: Machine): boolean {
    if (a.isClogged || b.isClogged || a.isOffline || b.isOffline) return true;
    return groups !== null && (!groups.has(a.device) || groups.get(a.device) !== groups.get(b.device));
  }

  /** Connections end that should (offline), or begin to count the silence; held frames go on where the way is free again. */
  function lookAtLinks(): void {
    for (const link of links) {
      const [a, b] = link.ends;
      const [one, other] = [a.machine, b.machine];
      if (one.isOffline || other.isOffline) breakLink(link, closed("the network is gone"));
      else if (isBlocked(one, other)) beginSilence(link);
      else endSilence(link);
    }
  }

  function beginSilence(link: Link): void {
    if (link.silentSince !== null) return;
    const since = world.now();
    link.silentSince = since;
    world.after(dice.between(...SILENCE_MS), "silence", () => {
      if (link.silentSince !== since || !link.isOpen || isOnlyClogged(link)) return;
      world.count("connections broken by silence");
      breakLink(link, closed("the peer is silent"));
    });
  }

  /** A clog is slow, not dead: its connections hold. */
  function isOnlyClogged({ ends: [a, b] }: Link): boolean {
    const clogged = [a.machine.isClogged, b.machine.isClogged];
    a.machine.isClogged = b.machine.isClogged = false;
    const isCutToo = isBlocked(a.machine, b.machine);
    [a.machine.isClogged, b.machine.isClogged] = clogged as [boolean, boolean];
    return !isCutToo;
  }

  function endSilence(link: Link): void {
    if (link.silentSince === null) return;
    link.silentSince = null;
    for (const deliver of link.held.splice(0)) world.after(delayMs(0), "held frame", deliver);
  }

  function delayMs(bytes: number): number {
    let ms = dice.between(...faults.latencyMs) + bytes / BYTES_PER_MS;
    for (let i = 0; i < MAX_RESENDS && faults.loss > 0 && dice.chance(faults.loss); i++) {
      ms += RESEND_MS * 2 ** i;
      world.count("packets lost");
    }
    return ms;
  }

  function breakLink(link: Link, reason: Error): void {
    if (!link.isOpen) return;
    link.isOpen = false;
    links.delete(link);
    link.held.length = 0;
    for (const stream of link.streams) stream.abort(reason);
    for (const { machine, life, connection } of link.ends) {
      machine.links.delete(link);
      if (life.alive && machine.life === life) machine.receiver.broken(connection);
    }
  }

  async function dial(from: DeviceId, to: DeviceId): Promise<Connection> {
    const one = machines.get(from)!;
    const { life } = one;
    const other = machines.get(to);
    world.count("dials");
    await wait(2 * dice.between(...faults.latencyMs), "dial", life);
    if (other === undefined || isBlocked(one, other)) {
      await wait(DIAL_TIMEOUT_MS, "dial that times out", life);
      throw new KinError("UNREACHABLE", "the dial timed out");
    }
    if (!other.life.alive) throw new KinError("UNREACHABLE", "nobody listens there");
    const link: Link = {
      ends: undefined as never,
      isOpen: true,
      isDirty: false,
      streams: new Set(),
      held: [],
      silentSince: null,
    };
    link.ends = [endOf(link, one, other, true), endOf(link, other, one, false)];
    links.add(link);
    one.links.add(link);
    other.links.add(link);
    world.count("connections");
    other.receiver.connected(link.ends[1].connection);
    return link.ends[0].connection;
  }

  function wait(ms: number, what: string, life: Life): Promise<void> {
    return new Promise((resolve) => world.after(ms, what, () => life.alive && resolve()));
  }

  function endOf(link: Link, machine: Machine, other: Machine, isDialler: boolean): End {
    const connection: Connection = {
      peer: other.device,
      isDialler,
      isOpen: () => link.isOpen,
      open: (protocol) => openStream(link, isDialler ? 0 : 1, protocol),
      break: (reason) => breakLink(link, reason),
    };
    return { machine, life: machine.life, connection };
  }

  function openStream(link: Link, side: 0 | 1, protocol: string): Wire {
    if (!link.isOpen) throw closed("the connection is closed");
    const mine = link.ends[side];
    const theirs = link.ends[side === 0 ? 1 : 0];
    const stream = createStream(link, mine, theirs, protocol);
    link.streams.add(stream);
    stream.start();
    return stream.wire;
  }

  /** Two pipes, and what tells the other end that there is a stream. */
  function createStream(link: Link, mine: End, theirs: End, protocol: string) {
    const there = createPipe(link, mine, theirs, protocol);
    const back = createPipe(link, theirs, mine, protocol);
    const near = wireOf(there, back, abort);
    const far = wireOf(back, there, abort);

    function abort(reason: Error): void {
      for (const pipe of [there, back]) pipe.break(reason);
      for (const { controller } of [near, far]) controller.abort(reason);
      link.streams.delete(stream);
    }

    const stream = {
      wire: near.wire,
      abort,
      start: () =>
        there.transmit(0, `open ${protocol}`, () => {
          if (theirs.life.alive) theirs.machine.receiver.opened(theirs.connection, protocol, far.wire);
        }),
    };
    return stream;
  }

  /** One direction of one stream. */
  function createPipe(link: Link, from: End, to: End, protocol: string) {
    const frames: Uint8Array[] = [];
    const state = { reason: undefined as Error | undefined, ended: false, isClosing: false, inFlight: 0, lastAt: 0 };
    const writers = new Set<() => void>();
    let wakeReader = (): void => undefined;

    /** In order behind what was sent before, unless it is to be `late`. */
    function transmit(bytes: number, what: string, arrive: () => void, isLate = false): void {
      const at = world.now() + delayMs(bytes);
      const due = isLate ? at + dice.between(0, REORDER_MS) : Math.max(at, state.lastAt);
      if (!isLate) state.lastAt = due;
      const deliver = (): void => {
        if (!link.isOpen || !to.life.alive) return;
        if (link.silentSince !== null) link.held.push(deliver);
        else arrive();
      };
      world.after(due - world.now(), what, deliver);
    }

    function wakeWriters(): void {
      for (const wake of writers) wake();
      writers.clear();
    }

    function arrive(frame: Uint8Array): void {
      state.inFlight--;
      frames.push(frame);
      wakeReader();
    }

    function post(frame: Uint8Array): void {
      const { drop, duplicate, reorder } = faults.raw;
      const isRaw = drop + duplicate + reorder > 0 && protocol === faults.raw.protocol;
      if (isRaw) link.isDirty = true;
      if (isRaw && dice.chance(drop)) {
        world.count("frames dropped");
        return;
      }
      const isLate = isRaw && dice.chance(reorder);
      if (isLate) world.count("frames reordered");
      const copies = isRaw && dice.chance(duplicate) ? 2 : 1;
      if (copies === 2) world.count("frames duplicated");
      for (let i = 0; i < copies; i++) {
        state.inFlight++;
        transmit(frame.length, `frame ${protocol}`, () => arrive(frame), isLate);
      }
    }

    return {
      transmit,
      state,
      async send(frame: Uint8Array): Promise<void> {
        if (!from.life.alive) return new Promise(() => undefined);
        if (state.reason !== undefined) throw state.reason;
        if (state.isClosing) throw closed("the wire is closed");
        world.note(`sent ${from.machine.device.slice(0, 6)} ${protocol}`, frame);
        world.count("frames");
        for (const see of watchers) see(from.machine.device, to.machine.device, protocol, frame);
        post(Uint8Array.from(frame));
        while (state.inFlight + frames.length > CAPACITY && state.reason === undefined)
          await new Promise<void>((resolve) => writers.add(resolve));
        if (state.reason !== undefined) throw state.reason;
      },
      async *read(): AsyncGenerator<Uint8Array> {
        for (;;) {
          if (state.reason !== undefined) throw state.reason;
          const frame = frames.shift();
          if (frame !== undefined) {
            wakeWriters();
            yield frame;
          } else if (state.ended) return;
          else await new Promise<void>((resolve) => (wakeReader = resolve));
        }
      },
      close(onEnd: () => void): void {
        if (state.isClosing || state.reason !== undefined) return;
        state.isClosing = true;
        transmit(0, `end ${protocol}`, () => {
          state.ended = true;
          wakeReader();
          onEnd();
        });
      },
      break(reason: Error): void {
        state.reason ??= reason;
        frames.length = 0;
        wakeReader();
        wakeWriters();
      },
    };
  }

  type Pipe = ReturnType<typeof createPipe>;

  function wireOf(out: Pipe, into: Pipe, abort: (reason: Error) => void) {
    const controller = new AbortController();
    const wire: Wire = {
      signal: controller.signal,
      send: (frame) => out.send(frame),
      frames: () => into.read(),
      async close() {
        out.close(() => {
          if (into.state.ended) controller.abort(closed("the wire was closed"));
        });
      },
      abort,
    };
    return { wire, controller };
  }

  function died(device: DeviceId): void {
    for (const link of machines.get(device)!.links) {
      const late = dice.chance(0.5) ? 0 : dice.between(...SILENCE_MS);
      world.after(late, "peer has died", () => breakLink(link, closed("the peer has died")));
    }
  }

  return {
    faults,
    listen(device, life, receiver) {
      const before = machines.get(device);
      machines.set(
        device,
        Object.assign(before ?? { links: new Set<Link>(), isClogged: false, isOffline: false }, {
          device,
          life,
          receiver,
        }),
      );
    },
    dial,
    died,
    partition(into) {
      groups = new Map(into.flatMap((group, i) => group.map((device) => [device, i] as const)));
      world.count("partitions");
      lookAtLinks();
    },
    clog(device, isClogged) {
      machines.get(device)!.isClogged = isClogged;
      if (isClogged) world.count("clogs");
      lookAtLinks();
    },
    setOffline(device, isOffline) {
      machines.get(device)!.isOffline = isOffline;
      lookAtLinks();
    },
    heal() {
      groups = null;
      faults.loss = 0;
      faults.raw = { ...NO_RAW };
      for (const machine of machines.values()) machine.isClogged = machine.isOffline = false;
      for (const link of links) if (link.isDirty) breakLink(link, closed("a connection that lost frames"));
      lookAtLinks();
    },
    watch: (see) => void watchers.push(see),
  };
}

function closed(message: string): KinError {
  return new KinError("CLOSED", message);
}

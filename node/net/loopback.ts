/** Two wires that are each other's far end, in memory: how a node calls its own agents through the same door as everybody. */
import type { Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";

/** Frames in flight in one direction before `send` waits. */
const CAPACITY = 64;

interface Pipe {
  frames: Uint8Array[];
  /** No more frames will come. */
  closed: boolean;
  wakeReader: () => void;
  wakeWriters: Set<() => void>;
}

export function createLoopback(capacity: number = CAPACITY): [Wire, Wire] {
  const there = createPipe();
  const back = createPipe();
  const broken = { reason: undefined as Error | undefined };
  const controllers = [new AbortController(), new AbortController()] as const;

  function abort(reason: Error): void {
    broken.reason ??= reason;
    for (const pipe of [there, back]) {
      pipe.frames.length = 0;
      wakeAll(pipe);
    }
    for (const controller of controllers) controller.abort(broken.reason);
  }

  function end(out: Pipe, into: Pipe, own: AbortController, other: AbortController): Wire {
    return {
      signal: own.signal,
      abort,
      async send(frame) {
        if (broken.reason !== undefined) throw broken.reason;
        if (out.closed) throw new KinError("CLOSED", "the wire is closed");
        out.frames.push(frame);
        out.wakeReader();
        while (out.frames.length > capacity && broken.reason === undefined)
          await new Promise<void>((resolve) => out.wakeWriters.add(resolve));
        if (broken.reason !== undefined) throw broken.reason;
      },
      async *frames() {
        for (;;) {
          if (broken.reason !== undefined) throw broken.reason;
          const frame = into.frames.shift();
          if (frame !== undefined) {
            wakeWriters(into);
            yield frame;
          } else if (into.closed) return;
          else await new Promise<void>((resolve) => (into.wakeReader = resolve));
        }
      },
      close() {
        out.closed = true;
        wakeAll(out);
        const reason = new KinError("CLOSED", "the wire was closed");
        own.abort(reason);
        if (into.closed) other.abort(reason);
        return Promise.resolve();
      },
    };
  }

  return [end(there, back, ...controllers), end(back, there, controllers[1], controllers[0])];
}

function createPipe(): Pipe {
  return { frames: [], closed: false, wakeReader: () => {}, wakeWriters: new Set() };
}

function wakeWriters(pipe: Pipe): void {
  const waiting = [...pipe.wakeWriters];
  pipe.wakeWriters.clear();
  for (const wake of waiting) wake();
}

function wakeAll(pipe: Pipe): void {
  pipe.wakeReader();
  wakeWriters(pipe);
}

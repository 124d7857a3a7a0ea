/** Two connected `Wire`s in memory, with back-pressure, that can be watched, changed and cut. */
import type { Wire } from "../protocols/effects.ts";
import { createLoopback } from "../node/net/loopback.ts";

export type Side = "left" | "right";

export interface WirePairOptions {
  /** Frames in flight in one direction before `send` waits. @default 64 */
  capacity?: number;
  /** Sees each frame before it is sent; returns what to send instead, or null to lose it. May call `cut`. */
  tap?: (from: Side, frame: Uint8Array, nth: number) => Uint8Array | null;
}

export interface WirePair {
  left: Wire;
  right: Wire;
  /** Breaks the wire at once: what is in flight is lost. */
  cut(reason?: Error): void;
  /** Frames that each side has sent. */
  sent: Record<Side, number>;
}

export function wirePair({ capacity = 64, tap }: WirePairOptions = {}): WirePair {
  const [left, right] = createLoopback(capacity);
  const sent = { left: 0, right: 0 };

  function tapped(side: Side, wire: Wire): Wire {
    return {
      signal: wire.signal,
      abort: (reason) => wire.abort(reason),
      frames: () => wire.frames(),
      close: () => wire.close(),
      async send(frame) {
        const changed = tap === undefined ? frame : tap(side, frame, sent[side]);
        sent[side]++;
        if (changed !== null) await wire.send(changed);
      },
    };
  }

  return {
    left: tapped("left", left),
    right: tapped("right", right),
    cut: (reason = new Error("the wire was cut")) => left.abort(reason),
    sent,
  };
}

/**
 * What the pure part of kin needs from the world. Real implementations live in `node/`, simulated ones in
 * `simulations/`; nothing in `protocols/` or `sync/` reads a clock, draws a random number or does I/O by itself.
 */

export interface Time {
  /** Wall clock, integer ms since 1970. May jump. */
  now(): number;
  /** Monotonic ms, for durations. Never goes back. */
  monotonic(): number;
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void;
}

export interface Random {
  /** `count` unpredictable bytes. */
  bytes(count: number): Uint8Array;
}

/** The memory store's port to a disk. Bytes count as durable only after `flush` resolves. */
export interface Disk {
  read(name: string): Promise<Uint8Array>;
  append(name: string, bytes: Uint8Array): Promise<void>;
  flush(name: string): Promise<void>;
}

/**
 * A two-way pipe of frames with one peer: what a libp2p stream is to the dialogues of `protocols/`.
 * A frame is the payload without its length prefix (F1).
 */
export interface Wire {
  /**
   * Queues one frame; frames of one tick leave together. Resolves when there is room for more (back-pressure):
   * a caller that awaits it never piles up more than the stream's buffer. Rejects when the wire is closed.
   */
  send(frame: Uint8Array): Promise<void>;
  /** Frames as they arrive, in order. Ends when the peer has closed its side; throws when the wire breaks. One reader only. */
  frames(): AsyncIterable<Uint8Array>;
  /** Sends what is queued, then ends our side. */
  close(): Promise<void>;
  /** Drops everything at once. Safe to call twice. */
  abort(reason: Error): void;
  /** Fires when the wire is closed or broken from either side. */
  readonly signal: AbortSignal;
}

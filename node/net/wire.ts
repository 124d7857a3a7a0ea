/**
 * A `Wire` over a libp2p 3 stream.
 *
 *   send(frame) ── frames of one tick ──▶ one stream.send ──▶ window full? wait for "drain"
 *   frames()    ◀── bounded queue ◀── frame reader ◀── "message"; queue full? stream.pause(), so the peer's window runs dry
 *
 * Nobody's memory grows with a peer that does not read: what is sent and not taken is at most HIGH_WATER_BYTES here plus
 * one window in the stream; who sends more waits.
 */
import type { Stream } from "@libp2p/interface";
import { concat } from "../../protocols/bytes.ts";
import { STREAM_WINDOW_BYTES } from "../../protocols/connection.ts";
import type { Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { createFrameReader, frame } from "../../protocols/frame.ts";
import { MAX_FRAME_BYTES } from "../../protocols/limits.ts";

/** Queued bytes from which senders wait, and from which a slow reader pauses the peer. */
export const HIGH_WATER_BYTES = 256 * 1024;
/** Bytes that waiting senders may hold together. A sender that does not await piles up here and is refused. */
export const MAX_WAITING_BYTES = 4 * MAX_FRAME_BYTES;
/** One piece given to the stream: a window, so that its write buffer never holds more than one piece. */
const PIECE_BYTES = STREAM_WINDOW_BYTES;
/** After our side is closed, a peer that stays silent this long and does not close its own is cut. */
export const LINGER_MS = 60_000;

export interface WireOptions {
  maxFrameBytes?: number;
  /** Bytes queued for the reader from which the peer is paused. */
  highWaterBytes?: number;
  lingerMs?: number;
}

export function createWire(stream: Stream, options: WireOptions = {}): Wire {
  const over = new AbortController();
  const writer = createWriter(stream, over.signal);
  const reader = createReader(stream, options, (reason) => fail(reason));
  let lingering: ReturnType<typeof setTimeout> | undefined;

  function fail(reason: Error): void {
    if (over.signal.aborted) return;
    reader.broke(reason);
    end(reason);
    stream.abort(reason);
  }

  function end(reason: Error): void {
    if (over.signal.aborted) return;
    clearTimeout(lingering);
    writer.end(reason);
    over.abort(reason);
  }

  function linger(): void {
    clearTimeout(lingering);
    if (over.signal.aborted) return;
    lingering = setTimeout(
      () => fail(new KinError("CLOSED", "the peer did not close its side of the stream")),
      options.lingerMs ?? LINGER_MS,
    );
    lingering.unref();
  }

  stream.addEventListener("close", (event) => {
    const broken = event.error !== undefined || !reader.peerEnded();
    const reason = new KinError("CLOSED", broken ? "the connection was closed" : "the stream is closed", {
      cause: event.error,
    });
    if (broken) reader.broke(reason);
    end(reason);
  });
  if (stream.status !== "open" && stream.status !== "closing") {
    const reason = new KinError("CLOSED", "the stream was closed before it was used");
    if (stream.status !== "closed") reader.broke(reason);
    end(reason);
  }

  return {
    signal: over.signal,
    send: (payload) => writer.send(frame(payload)),
    frames: () => reader.frames(),
    async close() {
      if (over.signal.aborted) return;
      await writer.flushed();
      await stream.close();
      reader.onFrames(linger);
      linger();
    },
    abort(reason) {
      reader.drop();
      fail(reason);
    },
  };
}

interface Waiting {
  bytes: Uint8Array;
  sent(): void;
  failed(error: Error): void;
}

/** Frames go into `queue` while it has room; later ones wait in `waiting` until what is before them has left. */
function createWriter(stream: Stream, over: AbortSignal) {
  let queue: Uint8Array[] = [];
  let queuedBytes = 0;
  const waiting: Waiting[] = [];
  let waitingBytes = 0;
  const state: { running?: Promise<void> | undefined; ended?: Error; closing: boolean } = { closing: false };

  function enqueue(bytes: Uint8Array): void {
    queue.push(bytes);
    queuedBytes += bytes.length;
    state.running ??= drainQueue();
  }

  /**
   * Runs while there is something to send. Starts when everything that is ready now has run (frames of one tick are sealed
   * together and come together), not a turn of the loop later: that turn is 20 µs of every call.
   */
  async function drainQueue(): Promise<void> {
    try {
      await new Promise<void>((tick) => process.nextTick(tick));
      while (queue.length > 0 && state.ended === undefined) {
        const bytes = queue.length === 1 ? queue[0]! : concat(...queue);
        queue = [];
        for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
          if (!stream.send(bytes.subarray(at, at + PIECE_BYTES))) await drained(stream, over);
        }
        queuedBytes -= bytes.length;
        admitWaiting();
      }
    } catch (cause) {
      if (state.ended === undefined) stream.abort(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      state.running = undefined;
    }
  }

  function admitWaiting(): void {
    while (waiting.length > 0 && queuedBytes < HIGH_WATER_BYTES) {
      const next = waiting.shift()!;
      waitingBytes -= next.bytes.length;
      queue.push(next.bytes);
      queuedBytes += next.bytes.length;
      next.sent();
    }
  }

  return {
    send(bytes: Uint8Array): Promise<void> {
      if (state.ended !== undefined) return Promise.reject(state.ended);
      if (state.closing) return Promise.reject(new KinError("CLOSED", "our side of the wire is closed"));
      if (queuedBytes < HIGH_WATER_BYTES && waiting.length === 0) {
        enqueue(bytes);
        if (queuedBytes < HIGH_WATER_BYTES) return Promise.resolve();
        return new Promise((sent, failed) => waiting.push({ bytes: new Uint8Array(), sent, failed }));
      }
      if (waitingBytes + bytes.length > MAX_WAITING_BYTES)
        return Promise.reject(
          new KinError(
            "OVERLOADED",
            `the peer does not read: ${waitingBytes} bytes are already waiting to be sent to it`,
          ),
        );
      waitingBytes += bytes.length;
      return new Promise((sent, failed) => waiting.push({ bytes, sent, failed }));
    },
    /** Resolves when everything has been given to the stream; nothing can be sent afterwards. */
    async flushed(): Promise<void> {
      state.closing = true;
      while (state.running !== undefined) await state.running;
      if (state.ended !== undefined) throw state.ended;
    },
    end(reason: Error): void {
      state.ended = reason;
      queue = [];
      queuedBytes = 0;
      waitingBytes = 0;
      for (const item of waiting.splice(0)) item.failed(reason);
    },
  };
}

/**
 * Waits until the stream takes more. libp2p's own `onDrain` keeps its first promise and returns at once the second time;
 * and a "drain" may be followed by "full" again before anybody else could send, so it is looked at a tick later.
 */
function drained(stream: Stream, over: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      stream.removeEventListener("drain", look);
      over.removeEventListener("abort", broken);
    };
    const broken = (): void => {
      done();
      reject(over.reason as Error);
    };
    const look = (): void => {
      setImmediate(() => {
        if (over.aborted || stream.writableNeedsDrain) return;
        done();
        resolve();
      });
    };
    if (over.aborted) return reject(over.reason as Error);
    stream.addEventListener("drain", look);
    over.addEventListener("abort", broken, { once: true });
    look();
  });
}

function createReader(stream: Stream, options: WireOptions, fail: (reason: Error) => void) {
  const highWater = options.highWaterBytes ?? HIGH_WATER_BYTES;
  const cut = createFrameReader(options.maxFrameBytes);
  const queue: Uint8Array[] = [];
  let queuedBytes = 0;
  let paused = false;
  /** The peer has closed its side; there may still be frames in the queue. */
  let peerClosed = stream.remoteWriteStatus === "closed";
  let ended = false;
  let error: Error | undefined;
  let wake: (() => void) | undefined;
  let reading = false;
  let heard: (() => void) | undefined;

  function broke(reason: Error): void {
    if (ended || error !== undefined) return;
    error = reason;
    wake?.();
  }

  function finish(): void {
    if (ended || error !== undefined) return;
    if (cut.pending > 0) {
      broke(new KinError("BAD_REQUEST", `the peer ended its side inside a frame, after ${cut.pending} bytes of it`));
      fail(error!);
      return;
    }
    ended = true;
    wake?.();
  }

  function pauseIfFull(): void {
    if (paused || queuedBytes < highWater || stream.readStatus !== "readable") return;
    paused = true;
    stream.pause();
  }

  function resumeIfRoom(): void {
    if (!paused || queuedBytes >= highWater / 2) return;
    paused = false;
    if (stream.readStatus === "paused") stream.resume();
  }

  stream.addEventListener("message", (event) => {
    if (error !== undefined) return;
    try {
      const data = event.data instanceof Uint8Array ? event.data : event.data.subarray();
      // TLS hands out Buffers, whose `slice` shares memory and which print and compare differently.
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      for (const payload of cut.push(bytes)) {
        queue.push(payload);
        queuedBytes += payload.length + FRAME_COST_BYTES;
      }
    } catch (cause) {
      const reason = cause instanceof Error ? cause : new Error(String(cause));
      broke(reason);
      fail(reason);
      return;
    }
    pauseIfFull();
    heard?.();
    wake?.();
    finishIfAllRead();
  });
  stream.addEventListener("remoteCloseWrite", () => {
    peerClosed = true;
    finishIfAllRead();
  });
  finishIfAllRead();

  /** Not libp2p's "end": negotiation may have read ahead to the end, seen that event, and put back what follows its own line. */
  function finishIfAllRead(): void {
    if (peerClosed && stream.readBufferLength === 0) finish();
  }

  async function* frames(): AsyncGenerator<Uint8Array> {
    if (reading) throw new KinError("INTERNAL", "a wire has one reader at a time");
    reading = true;
    try {
      for (;;) {
        const next = queue.shift();
        if (next !== undefined) {
          queuedBytes -= next.length + FRAME_COST_BYTES;
          resumeIfRoom();
          yield next;
          continue;
        }
        if (error !== undefined) throw error;
        if (ended) return;
        await new Promise<void>((ready) => {
          wake = ready;
        });
        wake = undefined;
      }
    } finally {
      reading = false;
    }
  }

  return {
    frames,
    broke,
    /** What has arrived and was not taken is not wanted any more. */
    drop: () => {
      queue.length = 0;
      queuedBytes = 0;
    },
    peerEnded: () => peerClosed,
    onFrames: (listener: () => void) => {
      heard = listener;
    },
  };
}

/** What an array slot and a view cost, so that a flood of empty frames is bounded too. */
const FRAME_COST_BYTES = 128;

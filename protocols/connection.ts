/**
 * How every kin connection is encrypted and multiplexed, with the limits as constants: the one file below `node/` that knows
 * libp2p. Node, relay and browser each call `createLibp2p` with transports of their own and spread `connectionLayers()` in.
 *
 * TLS 1.3 comes first: between Node peers it has 1.2× lower latency and 3.5× the calls at 64 in flight. Noise is what
 * browsers and everybody else speak. The dialer's order decides.
 */
import { noise } from "@chainsafe/libp2p-noise";
import { yamux } from "@chainsafe/libp2p-yamux";
import { tls } from "@libp2p/tls";

export type Encrypter = "tls" | "noise";

/** Streams of one connection, each way: the protocols need about ten, the rest is room for blobs. */
export const MAX_STREAMS = 64;
/** What a peer may send on a stream before we have read it; yamux allows no less. */
export const STREAM_WINDOW_BYTES = 256 * 1024;
/** A fast stream's window grows up to this: 1 MiB in flight fills 80 Mbit/s at 100 ms. */
export const MAX_STREAM_WINDOW_BYTES = 1024 * 1024;
/** Received and not yet taken by a paused reader: a whole window must fit, else pausing would kill the stream. */
export const MAX_READ_BUFFER_BYTES = MAX_STREAM_WINDOW_BYTES;
/** Given to a stream and not yet sent: wires send pieces of at most a window and wait, so more is a fault of ours. */
export const MAX_WRITE_BUFFER_BYTES = 1024 * 1024;
/** Streams that a peer opens before we listen to them. */
const MAX_EARLY_STREAMS = 10;
/** Finds a peer that vanished, and keeps NAT mappings open (most live 60 s or longer). */
const KEEP_ALIVE_INTERVAL_MS = 20_000;

const ENCRYPTERS = { tls, noise };

/** @param encrypters in order of preference; default: all */
export function connectionLayers(encrypters: readonly Encrypter[] = ["tls", "noise"]) {
  return {
    connectionEncrypters: encrypters.map((name) => ENCRYPTERS[name]()),
    streamMuxers: [
      yamux({
        maxInboundStreams: MAX_STREAMS,
        maxOutboundStreams: MAX_STREAMS,
        maxEarlyStreams: MAX_EARLY_STREAMS,
        keepAliveInterval: KEEP_ALIVE_INTERVAL_MS,
        streamOptions: {
          initialStreamWindowSize: STREAM_WINDOW_BYTES,
          maxStreamWindowSize: MAX_STREAM_WINDOW_BYTES,
          maxReadBufferLength: MAX_READ_BUFFER_BYTES,
          maxWriteBufferLength: MAX_WRITE_BUFFER_BYTES,
        },
      }),
    ],
  };
}

/** A `Wire` over a TCP connection: u32be length, then the frame; a send waits while the connection is full. Counts its bytes. */
import { once } from "node:events";
import type { Socket } from "node:net";
import type { Wire } from "../../../protocols/effects.ts";

export interface SocketWire extends Wire {
  bytesRead(): number;
}

export function socketWire(socket: Socket): SocketWire {
  const over = new AbortController();
  socket.on("error", (error) => over.abort(error));
  socket.on("close", () => over.abort(new Error("closed")));
  socket.setNoDelay(true);
  return {
    signal: over.signal,
    bytesRead: () => socket.bytesRead,
    async send(frame) {
      const head = Buffer.alloc(4);
      head.writeUInt32BE(frame.length);
      socket.cork();
      socket.write(head);
      const hasRoom = socket.write(frame);
      socket.uncork();
      if (!hasRoom) await once(socket, "drain", { signal: over.signal });
    },
    async *frames() {
      let held: Buffer = Buffer.alloc(0);
      for await (const chunk of socket as AsyncIterable<Buffer>) {
        held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
        while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
          const end = 4 + held.readUInt32BE(0);
          yield new Uint8Array(held.subarray(4, end));
          held = held.subarray(end);
        }
      }
    },
    async close() {
      socket.end();
    },
    abort: () => void socket.destroy(),
  };
}

/**
 * The baselines' framing over any byte pipe: u32 length, u32 call id, text. Frames of one tick leave in one write, as kin's wires do
 * it, with nothing else on top: no signature, no rights, no log.
 */
export interface BytePipe {
  write(bytes: Uint8Array): void;
  onData(receive: (chunk: Uint8Array) => void): void;
}

const HEADER_BYTES = 8;

export function serveEcho(pipe: BytePipe): void {
  const send = coalesce(pipe);
  pipe.onData(cutFrames((id, text) => send(frameOf(id, text))));
}

export function createEchoCaller(pipe: BytePipe): (payload: string) => Promise<string> {
  const send = coalesce(pipe);
  const waiting = new Map<number, (text: string) => void>();
  let lastId = 0;
  pipe.onData(
    cutFrames((id, text) => {
      waiting.get(id)?.(text.toString("latin1"));
      waiting.delete(id);
    }),
  );
  return (payload) =>
    new Promise((resolve) => {
      lastId = (lastId + 1) >>> 0;
      waiting.set(lastId, resolve);
      send(frameOf(lastId, Buffer.from(payload, "latin1")));
    });
}

function frameOf(id: number, text: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + text.length);
  frame.writeUInt32BE(text.length, 0);
  frame.writeUInt32BE(id, 4);
  frame.set(text, HEADER_BYTES);
  return frame;
}

function coalesce(pipe: BytePipe): (frame: Buffer) => void {
  let queue: Buffer[] = [];
  return (frame) => {
    // After every promise of this tick: what 64 callers send at once leaves together.
    if (queue.push(frame) === 1)
      process.nextTick(() => {
        const bytes = queue.length === 1 ? queue[0]! : Buffer.concat(queue);
        queue = [];
        pipe.write(bytes);
      });
  };
}

function cutFrames(receive: (id: number, text: Buffer) => void): (chunk: Uint8Array) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    let at = 0;
    while (rest.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + rest.readUInt32BE(at);
      if (end > rest.length) break;
      receive(rest.readUInt32BE(at + 4), rest.subarray(at + HEADER_BYTES, end));
      at = end;
    }
    rest = rest.subarray(at);
  };
}

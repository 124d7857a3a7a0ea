/**
 * The control socket: what `kin` on this machine asks of the running node. A unix socket of mode 0600, so the file system
 * says who may; NDJSON as in `control-api.ts`:
 *
 *   CLI  → {id, verb, params}      node → {id, item}*, then {id, result} or {id, error}
 *   CLI  → {id, cancel: true}      a closed socket cancels all that it asked
 *
 * A line that is not such a frame is answered with an error and ends that connection, never the node.
 */
import { chmodSync, lstatSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { ControlHandlers, Verb } from "./control-api.ts";
import { KinError, errorShape } from "../../protocols/errors.ts";
import type { ErrorShape } from "../../protocols/errors.ts";

/** Piped text and arguments travel in one line; attachments travel as paths. */
export const MAX_LINE_BYTES = 4 * 1024 * 1024;
/** Requests in flight of one connection, and connections: far above what a person's terminals ask. */
export const MAX_REQUESTS_PER_SOCKET = 64;
export const MAX_SOCKETS = 256;
/** A reader that stopped reading gets this much and is then cut off. */
const MAX_UNREAD_BYTES = 16 * 1024 * 1024;
/** How long a reader may take for what was written to it before the node stops. */
const GOODBYE_MS = 500;
/** A living node answers a connect at once. */
const PROBE_TIMEOUT_MS = 1_000;

export interface ControlServer {
  readonly socketPath: string;
  /** Cancels what runs, closes all connections, removes the socket file. */
  close(): Promise<void>;
}

/** @throws KinError ALREADY_RUNNING if a living node answers on `socketPath`; a dead one's file is replaced. */
export async function serveControl(socketPath: string, handlers: ControlHandlers): Promise<ControlServer> {
  await removeStaleSocket(socketPath);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    if (sockets.size >= MAX_SOCKETS) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    serveSocket(socket, handlers);
  });
  await listen(server, socketPath);
  chmodSync(socketPath, 0o600);
  return {
    socketPath,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroySoon();
      const late = setTimeout(() => sockets.forEach((socket) => socket.destroy()), GOODBYE_MS);
      await closed;
      clearTimeout(late);
    },
  };
}

async function removeStaleSocket(socketPath: string): Promise<void> {
  const found = lstatSync(socketPath, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new KinError("INTERNAL", `${socketPath} is not a socket, and kin does not delete what it has not made`, {
      hint: "move it away and start again",
    });
  if (await isAnswered(socketPath))
    throw new KinError("ALREADY_RUNNING", `a node already answers on ${socketPath}`, { hint: "kin status" });
  rmSync(socketPath, { force: true });
}

/** True unless the system says that nobody listens: when in doubt the file is left alone. */
export function isAnswered(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath);
    const done = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => done(true));
    socket.once("connect", () => done(true));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      done(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

/** The file is made with the umask's mode: a narrow one keeps everybody else out from the first moment. */
function listen(server: Server, socketPath: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const umask = process.umask(0o177);
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        error.code === "EADDRINUSE"
          ? new KinError("ALREADY_RUNNING", `a node already answers on ${socketPath}`, { hint: "kin status" })
          : new KinError("INTERNAL", `cannot listen on ${socketPath}: ${error.message}`, { cause: error }),
      ),
    );
    server.listen(socketPath, () => resolve());
    process.umask(umask);
  });
}

function serveSocket(socket: Socket, handlers: ControlHandlers): void {
  const running = new Map<number, AbortController>();
  const cancelAll = (): void => {
    for (const request of running.values()) request.abort(new KinError("CANCELLED", "the caller has gone"));
  };
  const send = (frame: object): void => {
    if (!socket.writable) return;
    socket.write(`${JSON.stringify(frame)}\n`);
    if (socket.writableLength > MAX_UNREAD_BYTES) socket.destroy();
  };
  const refuse = (error: ErrorShape): false => {
    send({ id: null, error });
    cancelAll();
    socket.destroySoon();
    return false;
  };
  socket.on("error", () => socket.destroy());
  socket.once("close", cancelAll);
  readLines(
    socket,
    (line) => {
      const frame = parseFrame(line);
      if ("code" in frame) return refuse(frame);
      if ("cancel" in frame) {
        running.get(frame.id)?.abort(new KinError("CANCELLED", "cancelled by the caller"));
        return true;
      }
      if (running.has(frame.id))
        return refuse({ code: "BAD_REQUEST", message: `request ${frame.id} is already running` });
      if (running.size >= MAX_REQUESTS_PER_SOCKET) {
        send({ id: frame.id, error: { code: "OVERLOADED", message: `more than ${MAX_REQUESTS_PER_SOCKET} requests` } });
        return true;
      }
      const abort = new AbortController();
      running.set(frame.id, abort);
      void answer(frame, handlers, send, abort.signal).finally(() => running.delete(frame.id));
      return true;
    },
    refuse,
  );
}

interface Request {
  id: number;
  verb: string;
  params: object;
}

async function answer(
  request: Request,
  handlers: ControlHandlers,
  send: (frame: object) => void,
  signal: AbortSignal,
): Promise<void> {
  const { id, verb, params } = request;
  try {
    if (!Object.hasOwn(handlers, verb))
      throw new KinError("BAD_REQUEST", `the node does not know the verb "${verb}"`, {
        hint: "it may be older than this command: kin down, then kin up",
      });
    const handle = handlers[verb as Verb] as unknown as (
      params: object,
      item: (item: unknown) => void,
      signal: AbortSignal,
    ) => Promise<unknown>;
    send({ id, result: await handle(params, (item) => send({ id, item }), signal) });
  } catch (error) {
    send({ id, error: errorShape(signal.aborted ? (signal.reason as unknown) : error) });
  }
}

/** The frame, or why the line is none. */
function parseFrame(line: string): Request | { id: number; cancel: true } | ErrorShape {
  const bad = (message: string): ErrorShape => ({ code: "BAD_REQUEST", message });
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return bad("a line on the control socket is not JSON");
  }
  if (typeof value !== "object" || value === null) return bad("a line on the control socket is not an object");
  const { id, verb, params, cancel } = value as { id?: unknown; verb?: unknown; params?: unknown; cancel?: unknown };
  if (!Number.isSafeInteger(id)) return bad("a request has no integer id");
  if (cancel === true) return { id: id as number, cancel };
  if (typeof verb !== "string") return bad("a request names no verb");
  if (typeof params !== "object" || params === null || Array.isArray(params)) return bad("params is not an object");
  return { id: id as number, verb, params };
}

/** Lines of UTF-8, each at most MAX_LINE_BYTES; nothing longer is ever kept. Ends when `take` says false. */
function readLines(socket: Socket, take: (line: string) => boolean, refuse: (error: ErrorShape) => void): void {
  let pieces: Buffer[] = [];
  let bytes = 0;
  let isOver = false;
  socket.on("data", (chunk: Buffer) => {
    for (let from = 0; from <= chunk.length && !isOver && !socket.destroyed;) {
      const end = chunk.indexOf(0x0a, from);
      const piece = chunk.subarray(from, end < 0 ? chunk.length : end);
      bytes += piece.length;
      if (bytes > MAX_LINE_BYTES) {
        isOver = true;
        pieces = [];
        refuse({ code: "TOO_LARGE", message: `a line on the control socket is over ${MAX_LINE_BYTES} bytes` });
        return;
      }
      pieces.push(piece);
      if (end < 0) return;
      const line = Buffer.concat(pieces).toString("utf8");
      pieces = [];
      bytes = 0;
      from = end + 1;
      if (line.trim() !== "" && !take(line)) isOver = true;
    }
  });
}

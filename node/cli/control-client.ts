/** Asks the running node over its control socket: the other end of `gateway/control.ts`. Imports almost nothing. */
import { connect, type Socket } from "node:net";
import type { Item, Params, Result, Verb } from "../gateway/control-api.ts";
import { KinError, kinError, type ErrorShape } from "../../protocols/errors.ts";

export interface ControlClient {
  /** Aborting `signal` cancels the request at the node, whose answer is awaited for a moment. @throws KinError what the node says */
  request<V extends Verb>(
    verb: V,
    params: Params<V>,
    options?: { item?: (item: Item<V>) => void; signal?: AbortSignal },
  ): Promise<Result<V>>;
  close(): void;
}

/** How long a cancelled request may take to end before we stop listening. */
const CANCEL_GRACE_MS = 2_000;
/** The node's answers are ours, but a broken one must not eat the memory. */
const MAX_ANSWER_CHARACTERS = 64 * 1024 * 1024;

interface Pending {
  item: (item: unknown) => void;
  done: (outcome: { result: unknown } | { error: Error }) => void;
}

/** @throws KinError NOT_RUNNING if nobody answers */
export async function connectControl(socketPath: string): Promise<ControlClient> {
  const socket = await open(socketPath);
  const pending = new Map<number, Pending>();
  let nextId = 1;
  let broken: Error | null = null;
  const fail = (error: Error): void => {
    broken ??= error;
    for (const request of pending.values()) request.done({ error: broken });
    socket.destroy();
  };
  readFrames(socket, (frame) => take(frame, pending, fail), fail);
  socket.once("close", () =>
    fail(new KinError("CLOSED", "the node stopped while it was answering", { hint: "kin up" })),
  );
  socket.on("error", () => socket.destroy());

  return {
    request: <V extends Verb>(
      verb: V,
      params: Params<V>,
      options: { item?: (item: Item<V>) => void; signal?: AbortSignal } = {},
    ) =>
      new Promise<Result<V>>((resolve, reject) => {
        if (broken !== null) {
          reject(broken);
          return;
        }
        const id = nextId++;
        const cancel = (): void => {
          socket.write(`${JSON.stringify({ id, cancel: true })}\n`);
          setTimeout(() => pending.get(id)?.done({ error: cancelled() }), CANCEL_GRACE_MS).unref();
        };
        pending.set(id, {
          item: (item) => options.item?.(item as Item<V>),
          done: (outcome) => {
            pending.delete(id);
            if (pending.size === 0) socket.unref(); // an idle connection keeps no process alive
            options.signal?.removeEventListener("abort", cancel);
            if ("error" in outcome) reject(outcome.error);
            else resolve(outcome.result as Result<V>);
          },
        });
        socket.ref();
        socket.write(`${JSON.stringify({ id, verb, params })}\n`);
        if (options.signal?.aborted === true) cancel();
        else options.signal?.addEventListener("abort", cancel, { once: true });
      }),
    close: () => socket.destroy(),
  };
}

function cancelled(): KinError {
  return new KinError("CANCELLED", "cancelled");
}

function open(socketPath: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once("connect", () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", (error: NodeJS.ErrnoException) => reject(connectError(error, socketPath)));
  });
}

function connectError(error: NodeJS.ErrnoException, socketPath: string): KinError {
  // ENOTDIR: a file stands where the data folder would be; the start says so.
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED" || error.code === "ENOTDIR")
    return new KinError("NOT_RUNNING", `no node is running here: nobody answers on ${socketPath}`, {
      hint: "start it: kin up",
    });
  return new KinError("NOT_RUNNING", `cannot reach the node on ${socketPath}: ${error.message}`, {
    hint: error.code === "EACCES" ? "it is another user's node: run as that user, or set KIN_HOME" : "kin doctor",
    cause: error,
  });
}

function take(frame: unknown, pending: Map<number, Pending>, fail: (error: Error) => void): void {
  const { id, item, result, error } = frame as { id?: unknown; item?: unknown; result?: unknown; error?: ErrorShape };
  if (id === null && error !== undefined) return fail(kinError(error));
  const request = pending.get(id as number);
  if (request === undefined) return; // its caller has given up on it
  if (error !== undefined) request.done({ error: kinError(error) });
  else if (result !== undefined) request.done({ result });
  else request.item(item);
}

function readFrames(socket: Socket, take: (frame: unknown) => void, fail: (error: Error) => void): void {
  let text = "";
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    if (text.length > MAX_ANSWER_CHARACTERS) return fail(new KinError("TOO_LARGE", "the node's answer is too long"));
    try {
      for (const line of lines) take(JSON.parse(line));
    } catch (error) {
      fail(new KinError("INTERNAL", "what answers on the control socket is not a node", { cause: error }));
    }
  });
}

import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { connectControl } from "../../node/cli/control-client.ts";
import {
  MAX_LINE_BYTES,
  MAX_REQUESTS_PER_SOCKET,
  serveControl,
  type ControlServer,
} from "../../node/gateway/control.ts";
import type { ControlHandlers } from "../../node/gateway/control-api.ts";
import { KinError } from "../../protocols/errors.ts";

let folder: string;
let path: string;
let server: ControlServer;
let cancelled: string[];

/** Handlers of the verbs that these tests call, small and real. */
const handlers = {
  "share-rm": async ({ name }: { name: string }) => {
    if (name === "missing") throw new KinError("NOT_FOUND", "no share is named missing", { hint: "kin share ls" });
    if (name === "broken") throw new TypeError("oops");
    return { name };
  },
  ping: async ({ count }: { count: number }, item: (item: { ms: number }) => void) => {
    for (let ms = 1; ms <= count; ms++) item({ ms });
    return { peer: "ben", path: "direct", minMs: 1, avgMs: 1, maxMs: count, skewMs: null };
  },
  wait: ({ id }: { id: string }, _item: unknown, signal: AbortSignal) =>
    new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        cancelled.push(id);
        reject(signal.reason as Error);
      });
    }),
} as unknown as ControlHandlers;

beforeEach(async () => {
  cancelled = [];
  folder = mkdtempSync(join(tmpdir(), "kin-control-"));
  path = join(folder, "kin.sock");
  server = await serveControl(path, handlers);
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Sends raw bytes; resolves with the frames that came back when the node closed, or after `frames` of them. */
function raw(
  bytes: string | Uint8Array,
  frames = Number.POSITIVE_INFINITY,
): Promise<{ closed: boolean; said: { id: unknown; error?: { code: string } }[] }> {
  return new Promise((resolve) => {
    let text = "";
    const socket = connect(path);
    const said = (): { id: unknown }[] =>
      text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => JSON.parse(line) as { id: unknown });
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (said().length >= frames) {
        socket.destroy();
        resolve({ closed: false, said: said() });
      }
    });
    socket.once("close", () => resolve({ closed: true, said: said() }));
    socket.write(bytes);
  });
}

test("the socket is for me alone; requests run at once and stream [socket-mine]", async () => {
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const client = await connectControl(path);
  const items: number[] = [];
  const [ping, removed] = await Promise.all([
    client.request("ping", { to: "ben", count: 3 }, { item: ({ ms }) => items.push(ms) }),
    client.request("share-rm", { name: "app" }),
  ]);
  expect(items).toEqual([1, 2, 3]);
  expect(ping).toMatchObject({ peer: "ben", maxMs: 3 });
  expect(removed).toEqual({ name: "app" });
  client.close();
});

test("errors arrive with code, sentence and hint; an unexpected one without its stack", async () => {
  const client = await connectControl(path);
  await expect(client.request("share-rm", { name: "missing" })).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: "no share is named missing",
    hint: "kin share ls",
  });
  await expect(client.request("share-rm", { name: "broken" })).rejects.toMatchObject({
    code: "INTERNAL",
    message: "oops",
  });
  await expect(client.request("toString" as "down", {})).rejects.toMatchObject({ code: "BAD_REQUEST" });
  await expect(client.request("status", {})).rejects.toMatchObject({
    code: "BAD_REQUEST",
    hint: expect.stringContaining("older"),
  });
  client.close();
});

test("an aborted request and a closed socket cancel at the node", async () => {
  const client = await connectControl(path);
  const abort = new AbortController();
  const waiting = client.request("wait", { id: "one", timeoutMs: null }, { signal: abort.signal });
  const alsoWaiting = client.request("wait", { id: "two", timeoutMs: null });
  alsoWaiting.catch(() => {});
  await client.request("share-rm", { name: "app" });
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
  expect(cancelled).toEqual(["one"]);
  client.close();
  await expect(alsoWaiting).rejects.toMatchObject({ code: "CLOSED" });
  for (let i = 0; i < 100 && cancelled.length < 2; i++) await sleep(10);
  expect(cancelled).toEqual(["one", "two"]);
});

test("a line that is no request is answered with an error, ends its connection and nothing else", async () => {
  const lines = [
    "garbage",
    "null",
    "[]",
    "1",
    '{"verb":"ping"}',
    '{"id":1}',
    '{"id":1.5,"verb":"ping","params":{}}',
    '{"id":1,"verb":"ping"}',
    '{"id":1,"verb":"ping","params":[]}',
    '{"id":1,"verb":7,"params":{}}',
  ];
  for (const line of lines) {
    const { closed, said } = await raw(`${line}\n{"id":2,"verb":"share-rm","params":{"name":"after"}}\n`);
    expect({ line, closed, said: said.map(({ id, error }) => [id, error?.code]) }).toEqual({
      line,
      closed: true,
      said: [[null, "BAD_REQUEST"]],
    });
  }
  expect((await raw('{"id":1,"verb":"share-rm","params":{"name":"a"}}\n', 1)).said).toEqual([
    { id: 1, result: { name: "a" } },
  ]);
});

test("the same id twice, and an endless line, end the connection", async () => {
  const wait = '{"id":1,"verb":"wait","params":{"id":"x"}}\n';
  const twice = await raw(wait + wait);
  expect(twice.closed).toBe(true);
  expect(twice.said[0]).toMatchObject({ id: null, error: { code: "BAD_REQUEST" } });
  const endless = await raw(Buffer.alloc(MAX_LINE_BYTES + 1, 0x61));
  expect(endless.closed).toBe(true);
  expect(endless.said.map(({ error }) => error?.code)).toEqual(["TOO_LARGE"]);
});

test("a line may arrive in any pieces, also inside a character", async () => {
  const bytes = Buffer.from('{"id":1,"verb":"share-rm","params":{"name":"größe 🦊"}}\n');
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: bytes.length - 1 }), { maxLength: 5 }), async (cuts) => {
      const socket = connect(path);
      const answer = new Promise<string>((resolve) =>
        socket.once("data", (chunk: Buffer) => resolve(chunk.toString())),
      );
      let from = 0;
      for (const to of [...cuts.toSorted((a, b) => a - b), bytes.length]) {
        await new Promise((resolve) => socket.write(bytes.subarray(from, to), resolve));
        from = to;
      }
      expect(JSON.parse(await answer)).toEqual({ id: 1, result: { name: "größe 🦊" } });
      socket.destroy();
    }),
    { numRuns: 20 },
  );
});

test("random bytes never bring the node down", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const socket: Socket = connect(path);
      socket.on("error", () => {});
      await new Promise((resolve) => socket.end(Buffer.concat([bytes, Buffer.from("\n")]), () => resolve(null)));
    }),
    { numRuns: 100 },
  );
  expect((await raw('{"id":1,"verb":"share-rm","params":{"name":"a"}}\n', 1)).said).toEqual([
    { id: 1, result: { name: "a" } },
  ]);
});

test("requests in flight are bounded", async () => {
  const waits = Array.from(
    { length: MAX_REQUESTS_PER_SOCKET + 1 },
    (_, id) => `{"id":${id},"verb":"wait","params":{"id":"x"}}\n`,
  );
  const { said } = await raw(waits.join(""), 1);
  expect(said).toEqual([{ id: MAX_REQUESTS_PER_SOCKET, error: expect.objectContaining({ code: "OVERLOADED" }) }]);
});

test("a living node's socket is never replaced, a dead one's is, another file never [socket-mine]", async () => {
  await expect(serveControl(path, handlers)).rejects.toMatchObject({ code: "ALREADY_RUNNING" });
  expect((await raw('{"id":1,"verb":"share-rm","params":{"name":"a"}}\n', 1)).said).toHaveLength(1);

  const stale = join(folder, "stale.sock");
  const dead = createServer().listen(stale);
  await new Promise((resolve) => dead.once("listening", resolve));
  // As after kill -9: the file stays, nobody listens.
  const { renameSync } = await import("node:fs");
  renameSync(stale, `${stale}.kept`);
  await new Promise((resolve) => dead.close(resolve));
  renameSync(`${stale}.kept`, stale);
  const replaced = await serveControl(stale, handlers);
  await replaced.close();
  expect(existsSync(stale)).toBe(false);

  const file = join(folder, "notes.txt");
  writeFileSync(file, "mine");
  await expect(serveControl(file, handlers)).rejects.toMatchObject({
    code: "INTERNAL",
    message: expect.stringContaining(file),
  });
});

test("nobody there: NOT_RUNNING, with what to do", async () => {
  await expect(connectControl(join(folder, "none.sock"))).rejects.toMatchObject({
    code: "NOT_RUNNING",
    hint: expect.stringContaining("kin up"),
  });
});

test("what answers but is no node is said", async () => {
  const other = join(folder, "other.sock");
  const http = createServer((socket) => socket.resume().end("HTTP/1.1 400 Bad Request\r\n\r\n")).listen(other);
  const client = await connectControl(other);
  await expect(client.request("status", {})).rejects.toMatchObject({
    message: "what answers on the control socket is not a node",
  });
  await new Promise((resolve) => http.close(resolve));
});

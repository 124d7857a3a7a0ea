/**
 * One of the two processes of a resync, connected by TCP on loopback.
 *
 *   side.ts source|sink  kin|kin-viewed|unsigned-floor  <folder> <log.db>
 *   a source says { port }; a sink is asked with it and answers { seconds, rssMb, events, bytes }
 */
import { createServer, connect, type Socket } from "node:net";
import { once } from "node:events";
import Database from "libsql";
import { decodeShared, encode, fromHex } from "../../../protocols/bytes.ts";
import { keysOf } from "../../sync/mesh.ts";
import { systemTime } from "../../../node/system.ts";
import type { Wire } from "../../../protocols/effects.ts";
import { openProjection, type Projection } from "../../../sync/projection.ts";
import type { Replica } from "../../../sync/replica.ts";
import { runSync } from "../../../sync/session.ts";
import { openLibsqlStore } from "../../../sync/stores/libsql.ts";
import { createIdIndex, ID_TABLE } from "../../../sync/stores/log-file-ids.ts";
import { serveParent } from "../child.ts";
import { usage, type Usage } from "../usage.ts";
import { openSide } from "./prepare.ts";
import { socketWire } from "./socket-wire.ts";

/** Events of one frame, and of one transaction, of the floor: as many as a run of kin has at most. */
const FLOOR_BATCH = 1024;

export interface Resynced {
  seconds: number;
  /** Of the receiver, all threads: what a busy machine changes little. */
  cpuSeconds: number;
  rssMb: number;
  events: number;
  bytes: number;
}

const [role, system, folder, file] = process.argv.slice(2) as [string, string, string, string];

if (role === "source") {
  const serve = system === "unsigned-floor" ? await floorSource() : await kinSource();
  const server = createServer((socket) => void serve(socketWire(socket)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  await serveParent(server.address(), () => null);
  server.close();
  process.exit(0);
} else {
  const sink = system === "unsigned-floor" ? floorSink : kinSink;
  await serveParent("ready", async ({ port }: { port: number }) => {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return sink(socket);
  });
  process.exit(0);
}

// ── kin ──

async function kinSource(): Promise<(wire: Wire) => Promise<unknown>> {
  const replica = await openSide(folder, "ana", file);
  return (wire) => runSync(wire, replica, { peer: keysOf("ben").id, time: systemTime, signal: wire.signal });
}

async function kinSink(socket: Socket): Promise<Resynced> {
  const replica = await openSide(folder, "ben", file);
  const view = system === "kin-viewed" ? await viewOf(replica) : null;
  const wire = socketWire(socket);
  const began = usage();
  const caughtUp = await new Promise<boolean>((resolve) => {
    const options = { peer: keysOf("ana").id, time: systemTime, signal: wire.signal, onCaughtUp: () => resolve(true) };
    void runSync(wire, replica, options).then(() => resolve(false));
  });
  if (!caughtUp) throw new Error("the sync ended too early");
  await view?.settled();
  const spent = since(began);
  // Beside it a few records of Ana's roster, in another log of hers.
  const events = Math.max(...[...replica.vector().values()].map(({ seq }) => seq + 1));
  return { ...spent, events, bytes: wire.bytesRead() };
}

/** Asks each note what it says. */
async function viewOf(replica: Replica): Promise<Projection> {
  let characters = 0;
  return openProjection(replica, {
    kinds: new Set(["note"]),
    fold: ({ value }) => void (characters += (value as string).length),
    clear: () => void (characters = 0),
  });
}

// ── the floor: the same bytes into the same table, and nothing else ──

async function floorSource(): Promise<(wire: Wire) => Promise<unknown>> {
  const store = await openLibsqlStore({ file });
  // The kin source has written a few records of Ana's roster into another log.
  const [longest] = (await store.logs()).toSorted((a, b) => b.seq - a.seq);
  return async (wire) => {
    for (let from = 0; from <= longest!.seq; from += FLOOR_BATCH) {
      const events = await store.range(longest!.log, from, from + FLOOR_BATCH);
      await wire.send(
        encode(events.map(({ id, header, headerBytes, body }) => [header.seq, fromHex(id), headerBytes, body])),
      );
    }
    await wire.close();
  };
}

async function floorSink(socket: Socket): Promise<Resynced> {
  const db = new Database(file);
  for (const pragma of ["locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"]) db.pragma(pragma);
  db.exec(
    `CREATE TABLE events (position INTEGER PRIMARY KEY, log INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL,
       header BLOB NOT NULL, body BLOB, UNIQUE (log, seq)); ${ID_TABLE}`,
  );
  const insert = db.prepare("INSERT INTO events (position, log, seq, id, header, body) VALUES (?, 1, ?, ?, ?, ?)");
  const ids = createIdIndex(db);
  const wire = socketWire(socket);
  let events = 0;
  const began = usage();
  for await (const frame of wire.frames()) {
    db.exec("BEGIN");
    const rows = decodeShared(frame) as unknown[][];
    for (const row of rows) insert.run([events++, ...row]);
    ids.settle(events);
    db.exec("COMMIT");
  }
  return { ...since(began), events, bytes: wire.bytesRead() };
}

function since(began: Usage): Pick<Resynced, "seconds" | "cpuSeconds" | "rssMb"> {
  const now = usage();
  return {
    seconds: (now.atMs - began.atMs) / 1000,
    cpuSeconds: (now.cpuMs - began.cpuMs) / 1000,
    rssMb: process.resourceUsage().maxRSS / 1024,
  };
}

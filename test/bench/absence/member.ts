/**
 * Child process: a whole kin node as a member runs it, over libp2p on loopback, in the home that its parent made.
 *
 *   member.ts <home>     says { pid }
 *   { do: "invite" }     { ticket }             founds the mesh
 *   { do: "join", ticket }                      and waits for the roster
 *   { do: "write", count, keys } { last }       facts of 200 characters, 64 a flush: how far its log is
 *   { do: "await", device, last } {…Arrived}    until it holds that log so far, and has folded its facts
 */
import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { factSetValue } from "../../../protocols/document.ts";
import type { DeviceId, EventId } from "../../../protocols/ids.ts";
import { needMesh } from "../../../node/gateway/mesh.ts";
import { createVerbs } from "../../../node/gateway/verbs/verbs.ts";
import { resolveHome } from "../../../node/home.ts";
import { serveParent } from "../child.ts";
import { startNode } from "../kin-node.ts";
import { usage } from "../usage.ts";

const BATCH = 64;
const VALUE_CHARACTERS = 200;
const POLL_MS = 5;
const HOUR_MS = 3_600_000;

type Order =
  | { do: "invite" }
  | { do: "join"; ticket: string }
  | { do: "write"; count: number; keys: number }
  | { do: "await"; device: DeviceId; last: number };

export interface Written {
  device: DeviceId;
  /** Seq of the newest event of its mesh log. */
  last: number;
}

export interface Arrived {
  /** Since the node was asked to start. */
  seconds: number;
  cpuSeconds: number;
  rssMb: number;
  /** Read from and written to all TCP sockets since then. */
  bytes: number;
}

const sockets: Socket[] = [];
for (const channel of ["net.client.socket", "net.server.socket"])
  subscribe(channel, (message) => void sockets.push((message as { socket: Socket }).socket));

const began = usage();
const { node, stop } = await startNode(resolveHome({ KIN_HOME: process.argv[2] }));
const verbs = createVerbs(node);
const { signal } = new AbortController();
/** Which event stands at a key. */
const standing = new Map<string, EventId>();
let written = 0;

await serveParent({ pid: process.pid }, async (order: Order) => {
  switch (order.do) {
    case "invite": {
      const options = {
        share: null,
        shareName: null,
        role: "member" as const,
        uses: 1,
        expiresMs: HOUR_MS,
        mesh: null,
      };
      const { ticket } = await verbs.invite({ name: "ana", ...options }, () => {}, signal);
      return { ticket };
    }
    case "join":
      await verbs.join({ ticket: order.ticket, as: null }, () => {}, signal);
      return null;
    case "write":
      return write(order.count, order.keys);
    case "await":
      return arrival(order.device, order.last);
  }
});
await stop();
// node-datachannel keeps threads alive.
process.exit();

async function write(count: number, keys: number): Promise<Written> {
  const { replica, documents, me } = needMesh(node);
  for (let left = count; left > 0; left -= BATCH) {
    const names = Array.from({ length: Math.min(BATCH, left) }, () => `fact/${written++ % keys}`);
    const done = await replica.append(
      names.map((key, i) => {
        const old = standing.get(key);
        const json = JSON.stringify(`${left - i} ${"x".repeat(VALUE_CHARACTERS)}`);
        const value = factSetValue({ scope: null, key, json, replaces: old === undefined ? [] : [old] });
        return { kind: "fact-set", audience: "mesh" as const, value };
      }),
    );
    names.forEach((key, i) => standing.set(key, done[i]!.id));
  }
  await documents.settled();
  return { device: me.device, last: lengthOf(me.device) };
}

async function arrival(device: DeviceId, last: number): Promise<Arrived> {
  while (lengthOf(device) < last) await sleep(POLL_MS);
  await needMesh(node).documents.settled();
  const now = usage();
  return {
    seconds: (now.atMs - began.atMs) / 1000,
    cpuSeconds: (now.cpuMs - began.cpuMs) / 1000,
    rssMb: process.resourceUsage().maxRSS / 1024,
    bytes: sockets.reduce((sum, { bytesRead, bytesWritten }) => sum + bytesRead + bytesWritten, 0),
  };
}

/** The newest seq of its longest mesh log. */
function lengthOf(device: DeviceId): number {
  const entries = [...needMesh(node).replica.vector().values()];
  return Math.max(-1, ...entries.filter(({ opening }) => opening.device === device).map(({ seq }) => seq));
}

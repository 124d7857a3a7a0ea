/** `kin status`, `ping`, `audit log`, `set` on a running node. */
import { SKEW_WARN_MS } from "../../../protocols/limits.ts";
import { formatText, idBytes, idOf, parseAddress, type DeviceId } from "../../../protocols/ids.ts";
import { fromHex } from "../../../protocols/bytes.ts";
import { KinError } from "../../../protocols/errors.ts";
import { displayName, type Membership } from "../../../protocols/membership.ts";
import { AUDIT_KINDS, auditRecords, type AuditRecord } from "../../guard/audit.ts";
import type { AuditItem, Item, NodeStatus, Params, Result } from "../control-api.ts";
import { needMembership, needMesh, type Mesh, type MeshNode } from "../mesh.ts";
import { deviceName, resolveDevices, resolveMember } from "../resolve.ts";
import { historyWarnings } from "./forks.ts";
import { pathOf, type View } from "./listing.ts";

export function viewOf(node: MeshNode, mesh: Mesh): View {
  return {
    me: mesh.me,
    membership: mesh.replica.membership(),
    peers: node.network.peers(),
    peerId: (device) => node.network.peerId(device),
  };
}

export function status(node: MeshNode): NodeStatus {
  const mesh = node.mesh();
  const membership = mesh?.replica.membership();
  const me = mesh === null ? undefined : membership?.members.get(mesh.me.person);
  const peers = node.network.peers().filter((peer) => membership?.devices.has(peer.device) === true);
  const vector = mesh?.replica.vector();
  return {
    name:
      (mesh !== null && membership !== undefined ? displayName(membership, mesh.me.person) : node.config().name) ?? "",
    device:
      mesh === null || membership === undefined || me === undefined
        ? (node.config().device ?? "")
        : deviceName(membership, mesh.me.device),
    peerId: node.network.peerId(node.network.device),
    pid: process.pid,
    startedAt: node.startedAt,
    home: node.home.dataFolder,
    version: node.version,
    listening: node.network.addresses(),
    mesh:
      mesh === null || membership === undefined
        ? null
        : {
            name: membership.name,
            id: formatText("kinm", idBytes(mesh.id)),
            role: me?.role ?? "removed",
            members: membership.members.size,
          },
    peers: {
      online: peers.filter((peer) => peer.connected).length,
      known: membership === undefined ? 0 : membership.devices.size - (me === undefined ? 0 : 1),
    },
    log: {
      events: vector === undefined ? 0 : [...vector.values()].reduce((sum, { seq }) => sum + seq + 1, 0),
      waiting: membership?.waiting.length ?? 0,
    },
    outbox: mesh?.outbox.waiting().length ?? 0,
    warnings: warnings(node, mesh),
  };
}

function warnings(node: MeshNode, mesh: Mesh | null): string[] {
  if (mesh === null) return [];
  const membership = mesh.replica.membership();
  const said: string[] = [];
  if (!membership.members.has(mesh.me.person)) said.push(`you were removed from ${membership.name}`);
  for (const peer of node.network.peers()) {
    if (!peer.connected || peer.skewMs === null || Math.abs(peer.skewMs) <= SKEW_WARN_MS) continue;
    const minutes = (Math.abs(peer.skewMs) / 60_000).toFixed(1);
    said.push(
      `the clock of ${displayName(membership, peer.person)}@${deviceName(membership, peer.device)} is ${minutes} min ${peer.skewMs > 0 ? "ahead of" : "behind"} yours`,
    );
  }
  const doubts = mesh.outbox.doubts();
  if (doubts.length > 0) {
    const whose = [...new Set(doubts.map(({ from }) => displayName(membership, from.person)))].join(", ");
    const what = doubts.length === 1 ? "a call" : `${doubts.length} calls`;
    said.push(`${what} of ${whose} may have run here, nobody knows how far: look whether the effect is there (R8)`);
  }
  said.push(...historyWarnings(mesh));
  return [...said, ...mesh.problems()];
}

export async function ping(
  node: MeshNode,
  params: Params<"ping">,
  item: (item: Item<"ping">) => void,
  signal: AbortSignal,
): Promise<Result<"ping">> {
  const mesh = needMembership(node);
  const membership = mesh.replica.membership();
  const to = parseAddress(`${params.to}/x`);
  const member = resolveMember(membership, to);
  const device = await nearestDevice(
    node,
    resolveDevices(member, to.device).map(({ id }) => id),
    signal,
  );
  const times: number[] = [];
  for (let i = 0; i < params.count; i++) {
    const ms = await node.network.ping(device, signal);
    times.push(ms);
    item({ ms });
  }
  const state = node.network.peers().find((peer) => peer.device === device);
  return {
    peer: `${displayName(membership, member.person)}@${deviceName(membership, device)}`,
    path: pathOf(state),
    minMs: Math.min(...times),
    avgMs: times.reduce((sum, ms) => sum + ms, 0) / times.length,
    maxMs: Math.max(...times),
    skewMs: state?.skewMs ?? null,
  };
}

/** The one that is connected, else the first that answers a dial. @throws KinError UNREACHABLE */
async function nearestDevice(node: MeshNode, devices: DeviceId[], signal: AbortSignal): Promise<DeviceId> {
  if (devices.includes(node.network.device))
    throw new KinError("USAGE", "that is this very node", { hint: "kin status" });
  const there = devices.find((device) => node.network.greeting(device) !== null);
  if (there !== undefined) return there;
  return Promise.any(devices.map(async (device) => (await node.network.connect(device, { signal })).device)).catch(
    (error: AggregateError) => {
      throw error.errors[0];
    },
  );
}

/** Events read at a time while the newest are collected. */
const PAGE = 1024;

/** Newest last. */
export async function auditLog(node: MeshNode, params: Params<"audit-log">): Promise<Result<"audit-log">> {
  const mesh = needMesh(node);
  const membership = mesh.replica.membership();
  let items: AuditItem[] = [];
  for (let position = 0; ;) {
    const page = await mesh.replica.events({ position, limit: PAGE, kinds: AUDIT_KINDS });
    for (const event of page.events) {
      if (event.value === undefined) continue;
      items.push(...auditRecords(event.value).map((record) => auditItem(membership, record)));
    }
    items = items.slice(-params.limit);
    if (page.next === position) break;
    position = page.next;
  }
  return { items };
}

function auditItem(membership: Membership, record: AuditRecord): AuditItem {
  const { caller } = record;
  return {
    at: record.at,
    event: record.event,
    caller: `${displayName(membership, idOf(fromHex(caller.person)))}${caller.agent === null ? "" : `/${caller.agent}`}`,
    target: record.through === null ? record.target : `${record.through} → ${record.target}`,
    call: formatText("kini", fromHex(record.call)),
    outcome: "outcome" in record ? record.outcome : null,
    ms: "ms" in record ? record.ms : null,
  };
}

/** Settings that a running node cannot take over. */
const AT_START = [
  "listen",
  "discovery",
  "transports",
  "encrypters",
  "device",
  "name",
  "addresses",
  "mcpServers",
] as const;

export async function reload(node: MeshNode): Promise<Result<"reload">> {
  const before = node.config();
  const after = node.reloadConfig();
  const changed = (Object.keys(after) as (keyof typeof after)[]).filter(
    (key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]),
  );
  await node.mesh()?.refreshCards();
  return { changed, restartNeeded: changed.filter((key) => (AT_START as readonly string[]).includes(key)) };
}

/** What the gateway sees of a running node: its parts, as `mesh-node.ts` made and connected them. */
import type { Time, Random } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId, MeshId, PersonId } from "../../protocols/ids.ts";
import type { InvokeDeps } from "../../protocols/invoke-deps.ts";
import type { InvokeRemote } from "../../protocols/invoke.ts";
import type { JoinResult } from "../../protocols/join.ts";
import type { Documents } from "../../sync/documents.ts";
import type { Snapshots } from "../../sync/snapshot.ts";
import type { Outbox } from "../../sync/outbox.ts";
import type { Progress } from "../../sync/progress.ts";
import type { Tally } from "../../sync/tally.ts";
import type { Replica } from "../../sync/replica.ts";
import type { Agents } from "../agents/agents.ts";
import type { Blobs } from "../blobs.ts";
import type { Config } from "../config.ts";
import type { Home } from "../home.ts";
import type { Keystore } from "../keystore.ts";
import type { Telemetry } from "../telemetry.ts";
import type { Directory } from "../net/directory.ts";
import type { OwnMachines } from "../net/own-machines.ts";
import type { Network } from "../net/peers.ts";
import type { ShareLimits } from "../tools/share.ts";

/** The parts of a mesh that this node is in. */
export interface Mesh {
  id: MeshId;
  me: { person: PersonId; device: DeviceId };
  replica: Replica;
  directory: Directory;
  invoke: InvokeRemote;
  /** Seals envelopes that travel as events. */
  sealing: InvokeDeps;
  outbox: Outbox;
  /** Tickets for other machines of this person. */
  ownMachines: OwnMachines;
  /** How far other devices are. */
  progress: Progress;
  /** Which events do not count or cannot be read. */
  tally: Tally;
  /** Opens a session with a connected device, if there is none. */
  syncNow(device: DeviceId): void;
  /** Asks a connected device afresh what it has, until `signal` fires. */
  syncAfresh(device: DeviceId, signal: AbortSignal): Promise<void>;
  documents: Documents;
  snapshots: Snapshots;
  blobs: Blobs;
  agents: Agents;
  /** Makes cards anew after shares or agents changed, and tells others. */
  refreshCards(): Promise<void>;
  /** Of MCP servers and agents that do not work as configured. */
  problems(): string[];
  /** Accepts what a tool of an MCP server says of itself now. @throws KinError NOT_FOUND */
  approveTool(name: string): Promise<void>;
}

export interface MeshNode {
  home: Home;
  keystore: Keystore;
  telemetry: Telemetry;
  time: Time;
  random: Random;
  version: string;
  /** Wall ms. */
  startedAt: number;
  /** There with or without a mesh: without one it listens on nothing and only dials to join. */
  network: Network;
  limits: ShareLimits;
  config(): Config;
  /** Reads the settings again. */
  reloadConfig(): Config;
  mesh(): Mesh | null;
  /** Makes a mesh of which this person is the founder. */
  found(meshName: string, myName: string, deviceName: string): Promise<Mesh>;
  /** Opens the mesh that a join has led into. */
  enter(joined: JoinResult & { ok: true }): Promise<Mesh>;
  /** Puts a mesh of nobody else aside, and says where. */
  archive(): Promise<string>;
}

/** For what needs a living member. @throws KinError NOT_IN_MESH, REMOVED */
export function needMembership(node: MeshNode): Mesh {
  const mesh = needMesh(node);
  const membership = mesh.replica.membership();
  if (membership.devices.has(mesh.me.device)) return mesh;
  throw new KinError("REMOVED", `you were removed from ${membership.name}`, {
    hint: "ask an admin for a new ticket, and join with another KIN_HOME",
  });
}

/** @throws KinError NOT_IN_MESH */
export function needMesh(node: MeshNode): Mesh {
  const mesh = node.mesh();
  if (mesh !== null) return mesh;
  throw new KinError("NOT_IN_MESH", "this node is in no mesh yet", {
    hint: "kin join TICKET, or kin invite to begin one",
  });
}

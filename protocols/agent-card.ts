/**
 * Cards: what an agent or a tool says of itself, signed by its device (kind "card"). They travel as events, as DHT provider
 * records under CIDs of `agent:<name>`, `tool:<name>`, `skill:<tag>`, and over `/kin/card/1`.
 */
import type { AgentKey, DeviceId, MeshId, PersonId } from "./ids.ts";
import type { Json } from "./tool.ts";

/** Who may ask: all members, or these persons. Default deny (§6, part 7). */
export type Allowed = { mesh: true } | { persons: PersonId[] };

export interface AgentCard {
  kind: "agent";
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  name: string;
  description: string;
  skills: string[];
  /** The agent's own Ed25519 key and its generation (R17). */
  key: AgentKey;
  generation: number;
  /** Who may ask, so that a listing can say `mayAsk`; the callee decides. */
  allowed: Allowed;
  /** Names of shares it can be asked about. */
  shares: string[];
  /** Integer ms; the newest of one (device, name) counts. */
  issuedAt: number;
  /** True: the agent is gone. */
  ended: boolean;
}

export interface ToolCard {
  kind: "tool";
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  name: string;
  description: string;
  inputSchema: { [key: string]: Json };
  readOnly: boolean;
  allowed: Allowed;
  shares: string[];
  issuedAt: number;
  ended: boolean;
}

export type Card = AgentCard | ToolCard;

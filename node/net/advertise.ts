/**
 * The cards of this device: what its agents and tools are now, sealed, issued again only when something about them changed.
 * A card of something that is gone is issued once more as `ended`, so that others forget it.
 */
import { sha256 } from "#crypto";
import {
  cardSlot,
  encodeCard,
  parseCard,
  type AgentCard,
  type Card,
  type ToolCard,
} from "../../protocols/agent-card.ts";
import { toHex } from "../../protocols/bytes.ts";
import type { SigningKey } from "../../protocols/crypto/keys.ts";
import type { AgentKey, DeviceId, MeshId, PersonId } from "../../protocols/ids.ts";
import { sealOne, type Sealed } from "../../protocols/signature.ts";

type Unsigned<C extends Card> = Omit<C, "mesh" | "person" | "device" | "key" | "generation" | "issuedAt" | "ended">;
/** What the runtime says of its agents and tools. */
export type LocalCard = Unsigned<AgentCard> | Unsigned<ToolCard>;

export interface AdvertiserDeps {
  mesh: MeshId;
  person: PersonId;
  device: DeviceId;
  deviceKey: SigningKey;
  /** The agent's key in this mesh. */
  agentKey(agent: string): { key: AgentKey; generation: number };
  now(): number;
}

/** The cards that have to be issued to go from `before` (own cards as last issued) to `local`. */
export function changedCards(before: Sealed[], local: LocalCard[], deps: AdvertiserDeps): Sealed[] {
  const old = new Map<string, Card>();
  for (const sealed of before) {
    const card = parseCard(sealed.bytes);
    const slot = cardSlot(card);
    if ((old.get(slot)?.issuedAt ?? -1) <= card.issuedAt) old.set(slot, card);
  }
  const issued: Card[] = [];
  for (const item of local) {
    const card = complete(item, deps);
    const known = old.get(cardSlot(card));
    old.delete(cardSlot(card));
    if (known === undefined || fingerprint(known) !== fingerprint(card)) issued.push(after(card, known));
  }
  for (const gone of old.values())
    if (!gone.ended) issued.push(after({ ...gone, ended: true, issuedAt: deps.now() }, gone));
  return issued.map((card) => sealOne(deps.deviceKey, "card", encodeCard(card)));
}

function complete(item: LocalCard, deps: AdvertiserDeps): Card {
  const base = { mesh: deps.mesh, person: deps.person, device: deps.device, issuedAt: deps.now(), ended: false };
  return item.kind === "agent" ? { ...item, ...base, ...deps.agentKey(item.name) } : { ...item, ...base };
}

/** Newer than what it replaces, also when the clock was set back. */
function after(card: Card, known: Card | undefined): Card {
  return { ...card, issuedAt: Math.max(card.issuedAt, (known?.issuedAt ?? 0) + 1) };
}

function fingerprint(card: Card): string {
  return toHex(sha256(encodeCard({ ...card, issuedAt: 0 })));
}

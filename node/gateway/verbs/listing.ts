/** `kin agents`, `tools`, `members`, `peers`: who and what there is, as far as this node knows, without asking anybody. */
import { isAllowed, type AgentCard, type Card, type ToolCard } from "../../../protocols/agent-card.ts";
import { formatText, idBytes, type DeviceId, type PersonId } from "../../../protocols/ids.ts";
import { displayName, type Membership } from "../../../protocols/membership.ts";
import type { FoundCard } from "../../net/directory.ts";
import type { PeerState } from "../../net/peers.ts";
import type { ListedItem } from "../../tools/builtin/listing.ts";
import type { AgentItem, MemberItem, Path, PeerItem, ToolItem, Via } from "../control-api.ts";
import { deviceName, formatAddress } from "../resolve.ts";

export interface View {
  me: { person: PersonId; device: DeviceId };
  membership: Membership;
  peers: PeerState[];
  peerId(device: DeviceId): string;
}

export function agentItems(cards: FoundCard[], view: View): AgentItem[] {
  return cards
    .filter((found): found is FoundCard & { card: AgentCard } => found.card.kind === "agent")
    .map((found) => ({
      ...offered(found, cards, view),
      mayAsk: isMember(view) && mayUse(found.card, view),
      description: found.card.description,
      shares: found.card.shares,
    }));
}

export function toolItems(cards: FoundCard[], view: View): ToolItem[] {
  return cards
    .filter((found): found is FoundCard & { card: ToolCard } => found.card.kind === "tool")
    .map((found) => ({
      ...offered(found, cards, view),
      mayCall: isMember(view) && mayUse(found.card, view),
      readOnly: found.card.readOnly,
      description: found.card.description,
      inputSchema: found.card.inputSchema,
      shares: found.card.shares,
    }));
}

/** What an agent's and a tool's line have in common. */
function offered(
  found: FoundCard,
  all: FoundCard[],
  view: View,
): Pick<AgentItem, "address" | "person" | "device" | "online" | "via" | "path"> {
  const { card } = found;
  const twins = all.filter(
    ({ card: other }) => other.person === card.person && other.kind === card.kind && other.name === card.name,
  );
  const state = stateOf(card.device, view);
  return {
    address: formatAddress(view.membership, card, twins.length > 1),
    person: displayName(view.membership, card.person),
    device: deviceName(view.membership, card.device),
    online: card.device === view.me.device || state?.connected === true,
    via: found.via satisfies Via,
    path: card.device === view.me.device ? "loopback" : pathOf(state),
  };
}

/** Whoever was removed may ask nobody, whatever the cards of then say. */
function isMember(view: Pick<View, "me" | "membership">): boolean {
  return view.membership.members.has(view.me.person);
}

export function mayUse(card: Card, view: Pick<View, "me">): boolean {
  return card.person === view.me.person || isAllowed(card.allowed, view.me.person);
}

/** What `person` can ask whom, for the agent `guide`: cards of what he may not use are left out. */
export function listedItems(cards: FoundCard[], person: PersonId, view: View): ListedItem[] {
  return cards
    .filter(({ card }) => card.person === person || isAllowed(card.allowed, person))
    .map((found) => ({
      address: offered(found, cards, view).address,
      kind: found.card.kind,
      description: found.card.description,
      skills: found.card.kind === "agent" ? found.card.skills : [],
      online: offered(found, cards, view).online,
      mayAsk: true,
      shares: found.card.shares,
    }));
}

export function memberItems(view: View): MemberItem[] {
  return [...view.membership.members.values()]
    .map((member) => ({
      name: displayName(view.membership, member.person),
      person: formatText("kinp", idBytes(member.person)),
      role: member.role,
      devices: member.devices.map((device) => ({
        name: device.name,
        peerId: view.peerId(device.id),
        online: device.id === view.me.device || stateOf(device.id, view)?.connected === true,
      })),
      me: member.person === view.me.person,
    }))
    .sort((a, b) => a.name.localeCompare(b.name));
}

export function peerItems(view: View): PeerItem[] {
  return view.peers
    .filter((peer) => view.membership.devices.has(peer.device))
    .map((peer) => ({
      person: displayName(view.membership, peer.person),
      device: deviceName(view.membership, peer.device),
      peerId: view.peerId(peer.device),
      online: peer.connected,
      path: pathOf(peer),
      address: peer.addresses[0] ?? null,
      transport: peer.transport,
      encrypter: peer.encrypter,
      rttMs: peer.rttMs,
      skewMs: peer.skewMs,
      lastSeenAt: peer.lastSeenAt,
    }))
    .sort((a, b) => Number(b.online) - Number(a.online) || a.person.localeCompare(b.person));
}

function stateOf(device: DeviceId, view: Pick<View, "peers">): PeerState | undefined {
  return view.peers.find((peer) => peer.device === device);
}

export function pathOf(state: PeerState | undefined): Path {
  return state?.connected === true && state.path !== null ? state.path : "none";
}

/** Cards and agent keys as they came through the log: read once at start, then kept up with what the replica applies. */
import { cardSlot, parseCard } from "../../protocols/agent-card.ts";
import { createAgentKeys, type AgentKeys } from "../../protocols/agent-key.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { parseSealed, type Sealed } from "../../protocols/signature.ts";
import { openProjection } from "../../sync/projection.ts";
import type { ReadableEvent, Replica } from "../../sync/replica.ts";

const KINDS: ReadonlySet<string> = new Set(["card", "agent-key"]);

export interface LogCards {
  keys: AgentKeys;
  /** The newest card of each slot, not verified again: the directory does that on each look-up. */
  cards(): Sealed[];
  cardsOf(device: DeviceId): Sealed[];
  /** Takes key records that hello told. */
  learnKeys(sealed: Sealed[]): void;
  stop(): Promise<void>;
}

export async function openLogCards(replica: Replica, warn: (message: string) => void): Promise<LogCards> {
  const keys = createAgentKeys(replica.mesh);
  let cards = new Map<string, { sealed: Sealed; issuedAt: number; device: DeviceId }>();

  function fold(event: ReadableEvent): void {
    try {
      const sealed = parseSealed(event.value);
      if (event.kind === "agent-key") keys.bind(sealed);
      else takeCard(sealed, event.device);
    } catch (error) {
      warn(`${event.kind} in event ${event.id.slice(0, 8)}: ${(error as Error).message}`);
    }
  }

  /** A card in another device's log is not that device's word. */
  function takeCard(sealed: Sealed, author: DeviceId): void {
    const card = parseCard(sealed.bytes);
    if (card.device !== author) return;
    const slot = cardSlot(card);
    if ((cards.get(slot)?.issuedAt ?? -1) < card.issuedAt)
      cards.set(slot, { sealed, issuedAt: card.issuedAt, device: card.device });
  }

  const projection = await openProjection(replica, { kinds: KINDS, fold, clear: () => (cards = new Map()) });
  await projection.settled();
  return {
    keys,
    cards: () => [...cards.values()].map(({ sealed }) => sealed),
    cardsOf: (device) => [...cards.values()].filter((card) => card.device === device).map(({ sealed }) => sealed),
    learnKeys(sealed) {
      for (const record of sealed) {
        try {
          keys.bind(record);
        } catch (error) {
          warn(`an agent key in a hello: ${(error as Error).message}`);
        }
      }
    },
    stop: () => projection.close(),
  };
}

/** Cards and agent keys as they came through the log: read once at start, then kept up with what the replica applies. */
import { cardSlot, parseCard } from "../../protocols/agent-card.ts";
import { createAgentKeys, type AgentKeys } from "../../protocols/agent-key.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import { parseSealed, type Sealed } from "../../protocols/signature.ts";
import { openProjection } from "../../sync/projection.ts";
import type { ReadableEvent, Replica } from "../../sync/replica.ts";

const KINDS: ReadonlySet<string> = new Set(["card", "agent-key"]);
/** Cards of one device, ended ones too; more are not kept. Each is verified on each look-up. */
export const MAX_CARDS_PER_DEVICE = 1024;

export interface LogCards {
  keys: AgentKeys;
  /** The newest card of each slot, not verified again: the directory does that on each look-up. */
  cards(): Sealed[];
  cardsOf(device: DeviceId): Sealed[];
  /** Takes key records that this device told: in a hello, or in its log. Of another device they are nobody's word. */
  learnKeys(device: DeviceId, sealed: Sealed[]): void;
  stop(): Promise<void>;
}

export async function openLogCards(replica: Replica, warn: (message: string) => void): Promise<LogCards> {
  const keys = createAgentKeys(replica.mesh);
  let cards = new Map<string, { sealed: Sealed; issuedAt: number; device: DeviceId }>();
  const counts = new Map<DeviceId, number>();

  function fold(event: ReadableEvent): void {
    try {
      const sealed = parseSealed(event.value);
      if (event.kind === "agent-key") learnKeys(event.device, [sealed]);
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
    const old = cards.get(slot);
    if (old === undefined && !takePlace(author)) return;
    if ((old?.issuedAt ?? -1) < card.issuedAt) cards.set(slot, { sealed, issuedAt: card.issuedAt, device: author });
  }

  function takePlace(device: DeviceId): boolean {
    const count = (counts.get(device) ?? 0) + 1;
    if (count > MAX_CARDS_PER_DEVICE) return false;
    counts.set(device, count);
    return true;
  }

  function learnKeys(device: DeviceId, sealed: Sealed[]): void {
    for (const record of sealed) {
      try {
        // Before the signature is looked at: a device speaks for its own agents only, and only members' devices fill the table.
        if (idOf<"device">(record.seal.key) !== device) throw new KinError("DENIED", "it is of another device");
        keys.bind(record);
      } catch (error) {
        warn(`an agent key of device ${device.slice(0, 8)}: ${(error as Error).message}`);
      }
    }
  }

  function clear(): void {
    cards = new Map();
    counts.clear();
  }

  const failed = (error: unknown): void => warn(`the cards in the log could not be read: ${(error as Error).message}`);
  const projection = await openProjection(replica, { kinds: KINDS, fold, clear, failed });
  await projection.settled();
  return {
    keys,
    cards: () => [...cards.values()].map(({ sealed }) => sealed),
    cardsOf: (device) => [...cards.values()].filter((card) => card.device === device).map(({ sealed }) => sealed),
    learnKeys,
    stop: () => projection.close(),
  };
}

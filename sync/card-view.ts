/**
 * The cards that came through the log: the newest of each slot (device, kind, name), whatever the order of their coming. A card in
 * another device's log is not that device's word. Part of a snapshot (R16); a row is one sealed card.
 */
import { compareBytes, decode, encode } from "../protocols/bytes.ts";
import { cardSlot, parseCard } from "../protocols/agent-card.ts";
import { KinError } from "../protocols/errors.ts";
import type { DeviceId } from "../protocols/ids.ts";
import { parseSealed, sealedValue, type Sealed } from "../protocols/signature.ts";
import type { ReadableEvent } from "./replica.ts";
import type { SnapshotFold, SnapshotView } from "./snapshot-view.ts";

/** Slots of one device, ended ones too: of more, those first by name. Each card is verified on each look-up. */
const MAX_CARDS_PER_DEVICE = 1024;

/** What a fold reads of an event. */
type CardEvent = Pick<ReadableEvent, "device" | "value">;

export interface CardFold extends SnapshotFold {
  fold(event: CardEvent): void;
  /** Not verified again: whoever looks them up does. */
  cards(): Sealed[];
  cardsOf(device: DeviceId): Sealed[];
}

interface Kept {
  sealed: Sealed;
  bytes: Uint8Array;
  issuedAt: number;
}

export const cardsView: SnapshotView<CardFold> = {
  name: "cards",
  version: 1,
  kinds: new Set(["card"]),
  open: createCardFold,
};

function createCardFold(): CardFold {
  const devices = new Map<DeviceId, Map<string, Kept>>();

  function take(sealed: Sealed, author: DeviceId | null): void {
    const card = parseCard(sealed.bytes);
    if (author !== null && card.device !== author) return;
    const slots = devices.get(card.device) ?? new Map<string, Kept>();
    devices.set(card.device, slots);
    const slot = cardSlot(card);
    const next = { sealed, bytes: encode(sealedValue(sealed)), issuedAt: card.issuedAt };
    const old = slots.get(slot);
    if (old !== undefined && !isNewer(next, old)) return;
    slots.set(slot, next);
    if (slots.size > MAX_CARDS_PER_DEVICE) slots.delete([...slots.keys()].toSorted().at(-1)!);
  }

  return {
    fold({ device, value }) {
      try {
        take(parseSealed(value), device);
      } catch (error) {
        if (!(error instanceof KinError)) throw error; // signed nonsense has no effect
      }
    },
    *rows() {
      for (const slots of devices.values()) for (const { bytes } of slots.values()) yield bytes;
    },
    load(rows) {
      for (const row of rows) take(parseSealed(decode(row)), null);
    },
    cards: () => [...devices.values()].flatMap((slots) => [...slots.values()].map(({ sealed }) => sealed)),
    cardsOf: (device) => [...(devices.get(device)?.values() ?? [])].map(({ sealed }) => sealed),
  };
}

/** Of two cards of one moment the greater bytes count, at every node. */
function isNewer(a: Kept, b: Kept): boolean {
  return a.issuedAt === b.issuedAt ? compareBytes(a.bytes, b.bytes) > 0 : a.issuedAt > b.issuedAt;
}

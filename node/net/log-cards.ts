/** Cards and agent keys as they came through the log: read once at start, then kept up with what the replica applies. */
import { createAgentKeys, type AgentKeys } from "../../protocols/agent-key.ts";
import { KinError } from "../../protocols/errors.ts";
import { idOf, type DeviceId } from "../../protocols/ids.ts";
import { parseSealed, type Sealed } from "../../protocols/signature.ts";
import { cardsView } from "../../sync/card-view.ts";
import { openProjection } from "../../sync/projection.ts";
import type { ReadableEvent, Replica } from "../../sync/replica.ts";
import type { SnapshotBase } from "../../sync/snapshot-base.ts";
import { openSnapshotProjection } from "../../sync/snapshot-projection.ts";

export interface LogCards {
  keys: AgentKeys;
  /** The newest card of each slot, not verified again: the directory does that on each look-up. */
  cards(): Sealed[];
  cardsOf(device: DeviceId): Sealed[];
  /** Takes key records that this device told: in a hello, or in its log. Of another device they are nobody's word. */
  learnKeys(device: DeviceId, sealed: Sealed[]): void;
  /** Resolves when all that the replica has now is in. */
  settled(): Promise<void>;
  stop(): Promise<void>;
}

export async function openLogCards(
  replica: Replica,
  base: SnapshotBase,
  warn: (message: string) => void,
): Promise<LogCards> {
  const keys = createAgentKeys(replica.mesh);
  const failed = (error: unknown): void => warn(`the cards in the log could not be read: ${(error as Error).message}`);
  const cards = await openSnapshotProjection(replica, base, cardsView, { failed });
  // Keys that were bound stay bound: what a removal takes back it takes back by the roster.
  const bound = await openProjection(replica, { kinds: new Set(["agent-key"]), fold, clear: () => undefined, failed });

  function fold({ id, device, value }: ReadableEvent): void {
    try {
      learnKeys(device, [parseSealed(value)]);
    } catch (error) {
      warn(`agent-key in event ${id.slice(0, 8)}: ${(error as Error).message}`);
    }
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

  await Promise.all([cards.settled(), bound.settled()]);
  return {
    keys,
    cards: () => cards.fold().cards(),
    cardsOf: (device) => cards.fold().cardsOf(device),
    learnKeys,
    settled: () => cards.settled(),
    stop: async () => {
      await Promise.all([cards.close(), bound.close()]);
    },
  };
}

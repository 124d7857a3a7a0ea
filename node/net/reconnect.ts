/**
 * When to try a member again that we lost or could not reach: exponential back-off with jitter, so that a team whose switch
 * restarts does not dial in step. Pure; `peers.ts` holds the timers.
 */
import type { Random } from "../../protocols/effects.ts";

/** The first try after a loss: most are a restart of the peer. */
export const FIRST_DELAY_MS = 500;
/** Who is away for a week is asked this often: a dial to nobody costs three packets. */
export const MAX_DELAY_MS = 120_000;
const FACTOR = 2;

/** @param failures tries since the peer was last there, from 0. The delay is between half and the whole of the step. */
export function reconnectDelay(failures: number, random: Random): number {
  const step = Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * FACTOR ** Math.min(failures, 20));
  const [high = 0, low = 0] = random.bytes(2);
  const share = ((high << 8) | low) / 0x1_0000;
  return Math.round(step / 2 + (step / 2) * share);
}

/**
 * Which session fetches which log, so that five peers do not all send the same week of history. A claim ends when its
 * holder lets go or when nothing came for CLAIM_MS: a peer that withholds what it promised delays a log, it never stops it.
 */
import type { Time } from "../protocols/effects.ts";
import type { LogId } from "../protocols/ids.ts";
import { CLAIM_MS } from "../protocols/sync.ts";

export interface Claims {
  /** True: the log is `holder`'s now (again). */
  take(log: LogId, holder: object): boolean;
  /** Gives back all that `holder` has. */
  release(holder: object): void;
  /** Gives back one log. */
  done(log: LogId, holder: object): void;
  /** Called when something was given back. Returns how to stop. */
  onFree(listener: () => void): () => void;
}

/** So long may a peer keep a log from the others however it goes on: one that dribbles is passed by (D8). */
const LONGEST_CLAIM_MS = 6 * CLAIM_MS;

/** At most one claim per log is kept, and only logs of peers' vectors are claimed. */
export function createClaims(time: Pick<Time, "monotonic">): Claims {
  const held = new Map<LogId, { holder: object; since: number; until: number }>();
  const listeners = new Set<() => void>();

  function tell(): void {
    for (const listener of listeners) listener();
  }

  return {
    take(log, holder) {
      const now = time.monotonic();
      const claim = held.get(log);
      const isMine = claim?.holder === holder;
      const isHeld = claim !== undefined && claim.until > now && now - claim.since < LONGEST_CLAIM_MS;
      if (isHeld && !isMine) return false;
      held.set(log, { holder, since: isMine ? claim.since : now, until: now + CLAIM_MS });
      return true;
    },
    release(holder) {
      for (const [log, claim] of held) if (claim.holder === holder) held.delete(log);
      tell();
    },
    done(log, holder) {
      if (held.get(log)?.holder !== holder) return;
      held.delete(log);
      tell();
    },
    onFree(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

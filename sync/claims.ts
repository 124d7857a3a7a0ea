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

/** At most one claim per log is kept, and only logs of peers' vectors are claimed. */
export function createClaims(time: Pick<Time, "monotonic">): Claims {
  const held = new Map<LogId, { holder: object; until: number }>();
  const listeners = new Set<() => void>();

  function tell(): void {
    for (const listener of listeners) listener();
  }

  return {
    take(log, holder) {
      const now = time.monotonic();
      const claim = held.get(log);
      if (claim !== undefined && claim.holder !== holder && claim.until > now) return false;
      held.set(log, { holder, until: now + CLAIM_MS });
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

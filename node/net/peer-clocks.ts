/**
 * What the connected members' clocks show now. Each told its wall time in its hello; from then on it is counted with our
 * monotonic clock, so that it stays right when our own wall clock is set (R13).
 */
import type { Time } from "../../protocols/effects.ts";
import type { DeviceId, PersonId } from "../../protocols/ids.ts";
import type { ClockSample } from "../../sync/skew.ts";
import type { Network } from "./network.ts";

/** How long one look at the clocks holds. */
const SHOWN_MS = 1_000;

export interface PeerClocks {
  /** Each connected device's wall clock minus ours, ms; the same array while nothing has changed. */
  samples(): ClockSample[];
  stop(): void;
}

/** At most one entry a connected device, which the gate bounds. */
export function createPeerClocks(
  network: Pick<Network, "on" | "peers">,
  time: Pick<Time, "now" | "monotonic">,
): PeerClocks {
  /** The peer's wall clock minus our monotonic one. */
  const offsets = new Map<DeviceId, { person: PersonId; offsetMs: number }>();

  function note(device: DeviceId, person: PersonId, skewMs: number): void {
    offsets.set(device, { person, offsetMs: time.now() + skewMs - time.monotonic() });
    shownAt = Number.NEGATIVE_INFINITY;
  }

  let shown: ClockSample[] = [];
  let shownAt = Number.NEGATIVE_INFINITY;
  let shownWall = 0;

  /** The same for a second, unless our wall clock was set: each append asks. */
  function samples(): ClockSample[] {
    const [now, wall] = [time.monotonic(), time.now()];
    const isOld = now - shownAt >= SHOWN_MS || Math.abs(wall - shownWall - (now - shownAt)) > SHOWN_MS;
    if (!isOld) return shown;
    [shownAt, shownWall] = [now, wall];
    shown = [...offsets.values()].map(({ person, offsetMs }) => ({ person, skewMs: offsetMs + now - wall }));
    return shown;
  }

  for (const { device, person, skewMs } of network.peers()) if (skewMs !== null) note(device, person, skewMs);
  const stop = network.on((event) => {
    if (event.type === "peer-connected") note(event.device, event.person, event.greeting.skewMs);
    if (event.type !== "peer-disconnected") return;
    offsets.delete(event.device);
    shownAt = Number.NEGATIVE_INFINITY;
  });

  return { samples, stop };
}

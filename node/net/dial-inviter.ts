/**
 * A guest's `/kin/join/1` wire to the device that his ticket names: over a connection that is open, else at the addresses of
 * the ticket or where mDNS sees the device (`find-inviter.ts`).
 */
import type { Connection } from "@libp2p/interface";
import type { Time, Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { JOIN_PROTOCOL } from "../../protocols/join.ts";
import { findInviter, type Listen } from "./find-inviter.ts";
import { peerIdOf, type RunningLibp2p } from "./libp2p.ts";
import { dialDevice } from "./reach.ts";
import { joinFailed } from "./reach-errors.ts";
import { createWire } from "./wire.ts";

export interface DialInviterDeps {
  time: Time;
  libp2p(): Promise<RunningLibp2p>;
  /** null: mDNS is off, or the ticket names no mesh. */
  listen: Listen | null;
  /** Told where it was reached. */
  reached(address: string): void;
}

/** @throws KinError JOIN_FAILED naming each address and what happened there; the reason of `signal` when that fires */
export async function dialInviter(
  deps: DialInviterDeps,
  addresses: readonly string[],
  inviter: DeviceId,
  signal: AbortSignal,
): Promise<Wire> {
  try {
    const lib = await deps.libp2p();
    const dial = (at: readonly string[], until: AbortSignal): Promise<Connection> =>
      dialDevice(lib, deps.time, inviter, at, until);
    const find = (): Promise<Connection> =>
      findInviter({ time: deps.time, dial, listen: deps.listen }, addresses, inviter, signal);
    const open = lib.node.getConnections(peerIdOf(inviter)).find((connection) => connection.status === "open");
    const connection = open ?? (await find());
    deps.reached(connection.remoteAddr.toString());
    return await joinStream(connection, signal).catch(async (error: unknown) => {
      // An open connection may be one that the peer is just cutting.
      if (open === undefined) throw error;
      return joinStream(await find(), signal);
    });
  } catch (error) {
    signal.throwIfAborted();
    throw joinFailed(error);
  }
}

async function joinStream(connection: Connection, signal: AbortSignal): Promise<Wire> {
  const stream = await connection.newStream(JOIN_PROTOCOL, { signal, runOnLimitedConnection: true });
  if (connection.status !== "open") throw new KinError("CLOSED", "the connection was closed");
  return createWire(stream);
}

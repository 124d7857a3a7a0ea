/**
 * Streams between us and a peer: those that we open to a member, those that members open with us after their hello, and
 * `/kin/join/1`, which a guest opens before he is one.
 */
import type { Connection, Stream } from "@libp2p/interface";
import type { Wire } from "../../protocols/effects.ts";
import { KinError } from "../../protocols/errors.ts";
import { HELLO_TIMEOUT_MS, type Greeting } from "../../protocols/hello.ts";
import type { DeviceId } from "../../protocols/ids.ts";
import { JOIN_PROTOCOL } from "../../protocols/join.ts";
import { deviceOf, type Gate } from "./gate.ts";
import type { RunningLibp2p } from "./libp2p.ts";
import type { JoinHandler, PeerHandler } from "./network.ts";
import { bestConnection, type PeerEntries, type PeerEntry } from "./peer-entries.ts";
import { notOpened } from "./reach-errors.ts";
import { createWire } from "./wire.ts";

const OPEN_TIMEOUT_MS = 10_000;
/** Streams that a member may open at once of one protocol; all of them together are bounded by yamux. */
const MAX_STREAMS_PER_PROTOCOL = 64;

export interface OpenDeps {
  self: DeviceId;
  readonly nameOf: (device: DeviceId) => string;
}

/** A wire to a peer that is connected. A connection that has just died is given a second chance: there may be another. */
export async function openStream(
  { self, nameOf }: OpenDeps,
  entry: PeerEntry,
  protocol: string,
  signal: AbortSignal,
): Promise<Wire> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)]);
  for (let attempt = 0; ; attempt++) {
    const connection = bestConnection(entry, self);
    if (connection === undefined) throw new KinError("UNREACHABLE", `${nameOf(entry.device)} has just disconnected`);
    try {
      const stream = await connection.newStream(protocol, {
        signal: limit,
        runOnLimitedConnection: true,
        maxOutboundStreams: MAX_STREAMS_PER_PROTOCOL,
      });
      return createWire(stream);
    } catch (error) {
      signal.throwIfAborted();
      if (connection.status === "open" || attempt > 0) throw notOpened(nameOf(entry.device), protocol, error);
    }
  }
}

export interface ServeDeps {
  gate: Pick<Gate, "guard">;
  entries: PeerEntries;
  readonly nextGreeting: (entry: PeerEntry, signal: AbortSignal) => Promise<Greeting>;
  readonly report: (error: unknown, doing: string) => void;
}

/** Streams of members only (R14); the handler runs after the hello. */
export function serveMembers(
  { gate, entries, nextGreeting, report }: ServeDeps,
  lib: RunningLibp2p,
  protocol: string,
  handler: PeerHandler,
): Promise<void> {
  const serve = async (wire: Wire, connection: Connection): Promise<void> => {
    const entry = entries.of(deviceOf(connection.remotePeer)!);
    const greeting = await nextGreeting(entry, AbortSignal.any([wire.signal, AbortSignal.timeout(HELLO_TIMEOUT_MS)]));
    await handler({ device: entry.device, person: greeting.person, greeting }, wire);
  };
  return lib.handle(protocol, gate.guard(accepting(protocol, serve, report), "members"), MAX_STREAMS_PER_PROTOCOL);
}

/** `/kin/join/1`, of everybody. */
export function serveJoins(
  { gate, report }: Pick<ServeDeps, "gate" | "report">,
  lib: RunningLibp2p,
  handler: JoinHandler,
): Promise<void> {
  const serve = (wire: Wire, connection: Connection): Promise<void> => handler(deviceOf(connection.remotePeer)!, wire);
  const accept = gate.guard(accepting(JOIN_PROTOCOL, serve, report), "everyone");
  return lib.handle(JOIN_PROTOCOL, accept, MAX_STREAMS_PER_PROTOCOL);
}

/** What goes wrong in one stream ends that stream and is told. */
function accepting(
  protocol: string,
  serve: (wire: Wire, connection: Connection) => Promise<void>,
  report: (error: unknown, doing: string) => void,
): (stream: Stream, connection: Connection) => void {
  return (stream, connection) => {
    const wire = createWire(stream);
    serve(wire, connection).catch((error: unknown) => {
      wire.abort(error instanceof Error ? error : new Error(String(error)));
      report(error, `serving ${protocol}`);
    });
  };
}

/**
 * The libp2p that runs now: one without listeners until there is a mesh, then one with; another when the mesh changes. What
 * was registered is registered with each anew, and the port that was chosen first is kept.
 */
import type { Connection, StreamHandler } from "@libp2p/interface";
import { KinError } from "../../protocols/errors.ts";
import { HELLO_PROTOCOL } from "../../protocols/hello.ts";
import type { DeviceId, MeshId } from "../../protocols/ids.ts";
import { JOIN_PROTOCOL } from "../../protocols/join.ts";
import { readDefaultInterface } from "./addresses.ts";
import type { Gate } from "./gate.ts";
import { createLibp2p, type RunningLibp2p } from "./libp2p.ts";
import type { JoinHandler, PeerHandler, PeersOptions } from "./network.ts";
import { serveJoins, serveMembers, type ServeDeps } from "./streams.ts";

export interface UnderlayDeps extends ServeDeps {
  self: DeviceId;
  deviceSeed: Uint8Array;
  gate: Gate;
  /** The mesh to listen in; null: none yet. */
  readonly mesh: () => MeshId | null;
  acceptHello: StreamHandler;
  readonly opened: (connection: Connection) => void;
  /** mDNS has seen a device. */
  readonly found: (device: DeviceId, addresses: string[]) => void;
  /** A peer has said where it listens. */
  readonly identified: (connection: Connection, addresses: string[]) => void;
  stopped: AbortSignal;
}

export interface Underlay {
  /** null while none has been needed. */
  readonly running: RunningLibp2p | null;
  /** The interface of the default route, as of the last start. */
  readonly defaultInterface: string | null;
  /** Starts one if none runs. @throws KinError PORT_TAKEN, CLOSED */
  start(): Promise<RunningLibp2p>;
  stop(): Promise<void>;
  handleForMembers(protocol: string, handler: PeerHandler): void;
  handleJoin(handler: JoinHandler): void;
}

export function createUnderlay(deps: UnderlayDeps, options: PeersOptions): Underlay {
  const { gate, report } = deps;
  const memberHandlers = new Map<string, PeerHandler>();
  let joinHandler: JoinHandler | undefined;
  let running: RunningLibp2p | null = null;
  let starting: Promise<RunningLibp2p> | null = null;
  let defaultInterface: string | null = null;
  let chosenPort: number | null = null;

  async function startNew(mesh: MeshId | null): Promise<RunningLibp2p> {
    defaultInterface = await readDefaultInterface();
    const next = await createLibp2p(
      {
        deviceSeed: deps.deviceSeed,
        device: deps.self,
        mesh,
        listen: mesh === null ? null : { ...options.listen, port: chosenPort ?? options.listen.port },
        announce: options.announce,
        transports: options.listen.transports,
        encrypters: options.encrypters,
        dht: options.discovery?.dht ?? true,
        mdns: mesh !== null && (options.discovery?.mdns ?? true) ? { mesh, port: options.mdnsPort } : null,
        gate,
        userAgent: options.userAgent ?? "kin",
      },
      (connection) => deps.opened(connection),
      (device, addresses) => deps.found(device, addresses),
    );
    running = next;
    chosenPort = next.port ?? chosenPort;
    next.node.addEventListener("peer:identify", ({ detail }) =>
      deps.identified(detail.connection, detail.listenAddrs.map(String)),
    );
    await next.handle(HELLO_PROTOCOL, gate.guard(deps.acceptHello, "members"), 1);
    for (const [protocol, handler] of memberHandlers) await serveMembers(deps, next, protocol, handler);
    if (joinHandler !== undefined) await serveJoins(deps, next, joinHandler);
    return next;
  }

  return {
    get running() {
      return running;
    },
    get defaultInterface() {
      return defaultInterface;
    },
    start() {
      if (deps.stopped.aborted) return Promise.reject(new KinError("CLOSED", "the network is stopped"));
      if (running !== null) return Promise.resolve(running);
      starting ??= startNew(deps.mesh()).finally(() => {
        starting = null;
      });
      return starting;
    },
    async stop() {
      const old = running ?? (await starting?.catch(() => null)) ?? null;
      running = null;
      await old?.stop();
    },
    handleForMembers(protocol, handler) {
      memberHandlers.set(protocol, handler);
      if (running === null) return;
      serveMembers(deps, running, protocol, handler).catch((error: unknown) =>
        report(error, `registering ${protocol}`),
      );
    },
    handleJoin(handler) {
      joinHandler = handler;
      if (running === null) return;
      serveJoins(deps, running, handler).catch((error: unknown) => report(error, `registering ${JOIN_PROTOCOL}`));
    },
  };
}

/** Bare libp2p with kin's encrypters and muxer: one long-lived stream, frames coalesced per tick; no signature, rights or log. */
import { identify } from "@libp2p/identify";
import type { Stream } from "@libp2p/interface";
import { tcp } from "@libp2p/tcp";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { connectionLayers, type Encrypter } from "../../../protocols/connection.ts";
import { createEchoCaller, serveEcho, type BytePipe } from "./frames.ts";
import type { System } from "./system.ts";

const ECHO = "/kin-bench/echo/1";

export const libp2pNoise: System = libp2pWith("noise");
export const libp2pTls: System = libp2pWith("tls");

function libp2pWith(encrypter: Encrypter): System {
  return {
    async startCallee() {
      const node = await startNode(encrypter, ["/ip4/127.0.0.1/tcp/0"]);
      await node.handle(ECHO, (stream) => serveEcho(pipeOf(stream)));
      return { address: String(node.getMultiaddrs()[0]), stop: async () => node.stop() };
    },
    async startCaller(address) {
      const node = await startNode(encrypter, []);
      const connection = await node.dial(multiaddr(address));
      const stream = await connection.newStream(ECHO);
      return { encrypter, call: createEchoCaller(pipeOf(stream)), stop: async () => node.stop() };
    },
  };
}

function startNode(encrypter: Encrypter, listen: string[]) {
  return createLibp2p({
    addresses: { listen },
    transports: [tcp()],
    ...connectionLayers([encrypter]),
    services: { identify: identify() },
  });
}

/** At most 64 echoes of 1 KiB are ever under way, far below the stream's window: nothing to wait for. */
function pipeOf(stream: Stream): BytePipe {
  return {
    write: (bytes) => void stream.send(bytes),
    onData: (receive) =>
      stream.addEventListener("message", ({ data }) => receive(data instanceof Uint8Array ? data : data.subarray())),
  };
}

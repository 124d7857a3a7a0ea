/** A libp2p peer with kin's connection layers (or the packages that succeed them) and an echo of kin's wires. */
import { noise as nextNoise } from "@libp2p/noise";
import { yamux as nextYamux } from "@libp2p/yamux";
import { identify } from "@libp2p/identify";
import type { Libp2p } from "@libp2p/interface";
import { kadDHT, passthroughMapper, type KadDHT } from "@libp2p/kad-dht";
import { ping, type Ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { webSockets } from "@libp2p/websockets";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { connectionLayers, type Encrypter } from "../../protocols/connection.ts";
import { createWire } from "../../node/net/wire.ts";

export const ECHO = "/kin-interop/echo/1";
/** Empty, one byte, both sides of a longer length prefix, and what a blob chunk weighs. */
export const SIZES = [0, 1, 127, 128, 1024, 16_384, 65_536];

export interface JsPeer extends AsyncDisposable {
  node: Libp2p<{ ping: Ping; dht?: KadDHT }>;
  address(transport: "tcp" | "ws"): string;
  /** Sends frames of `sizes` to `address`, compares the echoes. */
  echo(address: string, sizes?: readonly number[]): Promise<{ encryption: string; multiplexer: string }>;
}

export interface JsPeerOptions {
  encrypters?: readonly Encrypter[];
  /** `/kin/<tag>`: runs the DHT under it. */
  dht?: string;
  /** The packages in which fixes now land, in place of the ones that the product uses. */
  successor?: { noise: boolean; yamux: boolean } | undefined;
}

export async function startJsPeer(options: JsPeerOptions = {}): Promise<JsPeer> {
  const layers = connectionLayers(options.encrypters);
  const node = await createLibp2p({
    addresses: { listen: ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"] },
    transports: [tcp(), webSockets()],
    connectionEncrypters: options.successor?.noise === true ? [nextNoise()] : layers.connectionEncrypters,
    streamMuxers: options.successor?.yamux === true ? [nextYamux()] : layers.streamMuxers,
    services: {
      identify: identify(),
      ping: ping(),
      ...(options.dht === undefined ? {} : { dht: meshDht(options.dht) }),
    },
  });
  await node.handle(ECHO, async (stream) => {
    const wire = createWire(stream);
    for await (const frame of wire.frames()) await wire.send(frame);
    await wire.close();
  });
  return {
    node,
    address: (transport) =>
      node
        .getMultiaddrs()
        .map(String)
        .find((address) => address.includes("/ws/") === (transport === "ws"))!,
    async echo(address, sizes = SIZES) {
      const connection = await node.dial(multiaddr(address));
      const wire = createWire(await connection.newStream(ECHO));
      const frames = wire.frames()[Symbol.asyncIterator]();
      for (const size of sizes) {
        const sent = Uint8Array.from({ length: size }, (_, i) => (i * 31 + size) & 255);
        await wire.send(sent);
        const got = await frames.next();
        if (got.done === true || Buffer.compare(got.value, sent) !== 0)
          throw new Error(`echo of ${size} bytes came back as ${got.value?.length ?? "nothing"}`);
      }
      await wire.close();
      return { encryption: connection.encryption!, multiplexer: connection.multiplexer! };
    },
    async [Symbol.asyncDispose]() {
      await node.stop();
    },
  };
}

function meshDht(prefix: string) {
  return kadDHT({
    protocol: `${prefix}/kad/1.0.0`,
    clientMode: false,
    // Else loopback and LAN peers never enter the table and each query runs to its time-out.
    peerInfoMapper: passthroughMapper,
    initialQuerySelfInterval: 50,
  });
}

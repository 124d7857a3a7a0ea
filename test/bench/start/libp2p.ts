/** Child process: a bare libp2p node with the transports and services that kin's node has, and nothing of kin's. */
import { identify } from "@libp2p/identify";
import { kadDHT, passthroughMapper } from "@libp2p/kad-dht";
import { ping } from "@libp2p/ping";
import { tcp } from "@libp2p/tcp";
import { webRTCDirect } from "@libp2p/webrtc";
import { webSockets } from "@libp2p/websockets";
import { createLibp2p } from "libp2p";
import { connectionLayers } from "../../../protocols/connection.ts";
import { serveParent } from "../child.ts";
import { usage } from "../usage.ts";

const node = await createLibp2p({
  addresses: { listen: ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/udp/0/webrtc-direct"] },
  transports: [tcp(), webSockets(), webRTCDirect()],
  ...connectionLayers(),
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({ protocol: "/kin/bench/kad/1.0.0", clientMode: false, peerInfoMapper: passthroughMapper }),
  },
});
await serveParent({ addresses: node.getMultiaddrs().map(String) }, usage);
await node.stop();
// node-datachannel keeps threads alive after stop().
process.exit();

/** Child process: makes a home with identity and mesh, says its folder, and ends. Its parent deletes it. */
import { PASSPHRASE, makeHome, startNode } from "../kin-node.ts";

const home = makeHome("ben");
const { node, stop } = await startNode(home, process.argv[2] === "sealed" ? PASSPHRASE : undefined);
await node.found("bench", "ben", "bench");
await stop();
process.stdout.write(JSON.stringify(home.dataFolder) + "\n");
process.exit();
